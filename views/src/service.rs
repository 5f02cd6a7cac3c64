//! The gRPC services of `headwater.v1` over [`Control`], with health and reflection.
//!
//! This is the only place of the control plane that sees the messages of the wire. It decides nothing: it checks a
//! request's form, asks the coordinator, and translates the answer.

mod admin;
mod columns;
mod encoder;
mod execute;
mod objects;
mod read;
mod refusal;
mod rows;
mod subscription;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use headwater_proto::FILE_DESCRIPTOR_SET;
use headwater_proto::client::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_BYTES_MAX};
use headwater_proto::v1::view_admin_service_server::{self, ViewAdminServiceServer};
use headwater_proto::v1::view_service_server::{self, ViewServiceServer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use self::admin::Admin;
use self::read::Read;
use crate::control::Control;
use crate::watched;

/// Streams that one connection may have open at once.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// How long calls in flight may take to end once the server stops.
const DRAIN: Duration = Duration::from_secs(4);
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Why the services could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The compiled-in description of the protocol cannot be read.
    #[error("cannot describe the protocol for reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The network failed.
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves gRPC on `listener` until `shutdown` resolves, then drains: subscriptions get their closing message, other calls
/// may finish within four seconds. The health service says SERVING while `ready` is true.
///
/// There is no authentication: who can reach the listener can do everything.
pub async fn serve(
    control: Control,
    listener: TcpListener,
    ready: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServiceError> {
    let (stop, stopping) = watch::channel(false);
    let (reporter, health) = health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let admin = ViewAdminServiceServer::new(Admin::new(control.clone(), stopping.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let read = ViewServiceServer::new(Read::new(control, stopping.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(health)
        .add_service(reflection)
        .add_service(admin)
        .add_service(read);
    let signal = async move {
        shutdown.await;
        stop.send_replace(true);
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::select! {
        served = server.serve_with_incoming_shutdown(incoming, signal) => Ok(served?),
        () = report_health(reporter, ready, stopping.clone()) => unreachable!("the report never ends by itself"),
        () = drained(stopping) => {
            tracing::warn!(seconds = DRAIN.as_secs(), "gave up waiting for calls in flight");
            Ok(())
        }
    }
}

async fn report_health(
    reporter: HealthReporter,
    mut ready: watch::Receiver<bool>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut settled = false;
    loop {
        let serving = *ready.borrow_and_update() && !watched::now(&stopping);
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", view_admin_service_server::SERVICE_NAME, view_service_server::SERVICE_NAME] {
            reporter.set_service_status(service, status).await;
        }
        tokio::select! {
            changed = ready.changed(), if !settled => settled = changed.is_err(),
            () = stopped(&mut stopping), if serving => {}
            // Nothing is left that could change the report.
            else => std::future::pending::<()>().await,
        }
    }
}

/// Resolves when the server begins to stop.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the server.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn drained(mut stopping: watch::Receiver<bool>) {
    stopped(&mut stopping).await;
    tokio::time::sleep(DRAIN).await;
}
