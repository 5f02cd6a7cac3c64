//! The operator's HTTP port: `/metrics`, `/healthz` (the process lives), `/readyz` (everything serves).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::Observed;
use crate::watched;

/// The content type that Prometheus asks for.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Shown {
    registry: Arc<Registry>,
    observed: watch::Receiver<Observed>,
    draining: watch::Receiver<bool>,
}

/// Serves until `shutdown` ends.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    observed: watch::Receiver<Observed>,
    draining: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let shown = Shown { registry: Arc::new(registry), observed, draining };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shown);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shown.registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, METRICS_TYPE)], text),
        Err(error) => {
            let message = format!("cannot write the metrics: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], message)
        }
    }
}

async fn healthz() -> &'static str {
    "alive\n"
}

async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    if watched::now(&shown.draining) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n".to_owned());
    }
    let reasons = watched::now(&shown.observed).not_ready;
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}
