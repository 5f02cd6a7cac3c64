//! The composition of a server: edge, engine, hub, catalog, coordinator, gRPC and HTTP, started from the bottom up and
//! stopped from the top down.
//!
//! Nothing is served before the catalog has been replayed, and no tick is sealed before every dataflow of the catalog
//! has its port: a restart finds every input complete.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_connectors::clock::Clock;
use headwater_connectors::error::EdgeError;
use headwater_connectors::ingest::{Ingest, IngestConfig};
use headwater_dataflow::engine::{Engine, EngineConfig, EngineError};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle as Task;

use crate::catalog::store::{Change, Store, StoreError};
use crate::control::{Control, Request};
use crate::coordinator::{Coordinator, Parts, RecoveryError};
use crate::hub::{self, BoundSignal, Hub};
use crate::metrics::{self, Observed};
use crate::{http, service, watched};

/// Requests that wait for the coordinator; then whoever asks waits.
const REQUESTS_MAX: usize = 256;
/// Messages of workers that wait for the hub; then the workers wait.
const RESPONSES_MAX: usize = 8_192;
/// Planning walks nested expressions recursively.
const COORDINATOR_STACK_BYTES: usize = 16 << 20;
/// How long open connections are waited for when the server stops.
const CONNECTIONS_DRAIN_MAX: Duration = Duration::from_secs(5);

/// How a server runs.
#[derive(Clone)]
pub struct ServerConfig {
    /// Where the log and the catalog live; locked while the server runs.
    pub data_dir: PathBuf,
    /// Where relative paths of sources are looked for.
    pub base_dir: PathBuf,
    /// Where gRPC is served; port 0 chooses one.
    pub listen: SocketAddr,
    /// Where metrics and health are served, if anywhere; port 0 chooses one.
    pub http_listen: Option<SocketAddr>,
    /// Timely workers, at least 1.
    pub workers: usize,
    /// How long times stay readable, in milliseconds.
    pub history_ms: u64,
    /// The longest wait of a record for its tick, in milliseconds.
    pub tick_max_ms: u64,
    /// The most rows in one tick.
    pub tick_rows_max: usize,
    /// The longest time between two ticks, in milliseconds.
    pub idle_tick_ms: u64,
    /// How long a query waits for a view that is not readable yet.
    pub read_wait: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The log or its directory.
    #[error(transparent)]
    Edge(#[from] EdgeError),
    /// The workers.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The catalog's file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog's content.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A port.
    #[error("cannot listen on {address}: {error}; stop what listens there or choose another port")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running server.
pub struct Server {
    control: Control,
    local_addr: SocketAddr,
    http_addr: Option<SocketAddr>,
    draining: watch::Sender<bool>,
    stop_coordinator: oneshot::Sender<()>,
    services: Vec<Task<()>>,
    floors: Floors,
    coordinator: JoinHandle<()>,
}

/// What is below the coordinator.
struct Floors {
    ingest: Ingest,
    engine: Arc<Engine>,
    hub: Hub,
    hub_thread: JoinHandle<()>,
}

impl Server {
    /// Starts a server on the current tokio runtime. When this returns, the catalog has been recovered and requests are
    /// answered; views may still be hydrating.
    ///
    /// # Errors
    /// [`ServerError`]; nothing is left running.
    pub async fn start(config: ServerConfig) -> Result<Server, ServerError> {
        let started = Instant::now();
        let runtime = Handle::current();
        let listener = listen(config.listen).await?;
        let http_listener = match config.http_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let addr = |listener: &TcpListener| {
            listener.local_addr().map_err(|error| ServerError::Listen { address: config.listen, error })
        };
        let (local_addr, http_addr) = (addr(&listener)?, http_listener.as_ref().map(addr).transpose()?);

        let (observe, observed) = watch::channel(Observed::starting());
        let (draining, drained) = watch::channel(false);
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let (stop_coordinator, stopped) = oneshot::channel();
        // Opening the log and planning the catalog block.
        let start = move || start_floors(&config, &runtime, started, observe, (received, stopped));
        let (floors, coordinator) = tokio::task::spawn_blocking(start)
            .await
            .map_err(|error| std::io::Error::other(format!("the start broke off: {error}")))??;

        let control = Control::new(requests);
        let mut services = Vec::new();
        if let Some(listener) = http_listener {
            let registry = metrics::registry(observed.clone(), floors.ingest.clone());
            let serve = http::serve(listener, registry, observed.clone(), drained.clone(), is_set(drained.clone()));
            services.push(tokio::spawn(async move {
                if let Err(error) = serve.await {
                    tracing::error!(%error, "the HTTP port ended");
                }
            }));
        }
        let ready = readiness(observed, drained.clone());
        let serve = service::serve(control.clone(), listener, ready, is_set(drained));
        services.push(tokio::spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "the gRPC port ended");
            }
        }));
        Ok(Server { control, local_addr, http_addr, draining, stop_coordinator, services, floors, coordinator })
    }

    /// A handle for requests, without a network in between.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Where gRPC is served.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where metrics and health are served.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// The dataflows that run in the engine; for tests, which want to see them go.
    pub fn installed_dataflows(&self) -> usize {
        self.floors.engine.installed_dataflows().len()
    }

    /// Stops: subscriptions are told, open connections get some seconds, what has been read is sealed and made durable,
    /// the workers end.
    pub async fn shutdown(self) {
        let Server { control, draining, stop_coordinator, services, floors, coordinator, .. } = self;
        tracing::info!("stopping");
        draining.send_replace(true);
        floors.hub.drain("the server is stopping").await;
        for service in services {
            let abort = service.abort_handle();
            if tokio::time::timeout(CONNECTIONS_DRAIN_MAX, service).await.is_err() {
                abort.abort();
            }
        }
        drop(control);
        // An error means that the coordinator has ended by itself.
        let _ = stop_coordinator.send(());
        let stop = move || {
            join(coordinator, "coordinator");
            floors.stop();
        };
        if tokio::task::spawn_blocking(stop).await.is_err() {
            tracing::error!("the server did not stop cleanly");
        }
    }
}

impl Floors {
    /// Ends everything, from the top down. What was read is durable afterwards.
    fn stop(self) {
        let Floors { ingest, engine, hub, hub_thread } = self;
        ingest.shutdown();
        hub.stop();
        join(hub_thread, "hub");
        // Nobody listens to the workers any more, so they wait for nobody.
        match Arc::into_inner(engine) {
            Some(engine) => engine.shutdown(),
            None => tracing::error!("the engine is in use although the hub has ended"),
        }
    }
}

fn join(thread: JoinHandle<()>, name: &str) {
    if thread.join().is_err() {
        tracing::error!(thread = name, "a thread panicked");
    }
}

/// Starts everything below the network and replays the catalog.
fn start_floors(
    config: &ServerConfig,
    runtime: &Handle,
    started: Instant,
    observed: watch::Sender<Observed>,
    (requests, stop): (mpsc::Receiver<Request>, oneshot::Receiver<()>),
) -> Result<(Floors, JoinHandle<()>), ServerError> {
    let (bound, bound_watch) = hub::bound_signal();
    let ingest = open_ingest(config, bound.clone())?;
    bound.advance(ingest.bound());
    let (store, changes) = Store::open(&config.data_dir)?;
    let (respond, responses) = crossbeam_channel::bounded(RESPONSES_MAX);
    let engine = Arc::new(Engine::start(EngineConfig::alone(config.workers), respond)?);
    let commands = Arc::clone(&engine);
    let send = Box::new(move |command| commands.send(command));
    let hub::Started { hub, acknowledged, thread } =
        Hub::start(config.workers, send, responses, bound_watch, runtime.clone())?;
    let floors = Floors { ingest: ingest.clone(), engine, hub: hub.clone(), hub_thread: thread };
    let parts = Parts {
        store,
        ingest: ingest.clone(),
        hub,
        acknowledged,
        runtime: runtime.clone(),
        clock: Arc::clone(&config.clock),
        observed,
        base_dir: config.base_dir.clone(),
        history_ms: config.history_ms,
        workers: config.workers,
        read_wait: config.read_wait,
        started,
    };
    match start_coordinator(parts, changes, requests, stop) {
        Ok(coordinator) => Ok((floors, coordinator)),
        Err(error) => {
            floors.stop();
            Err(error)
        }
    }
}

fn open_ingest(config: &ServerConfig, bound: BoundSignal) -> Result<Ingest, EdgeError> {
    let ingest = IngestConfig {
        data_dir: config.data_dir.clone(),
        base_dir: config.base_dir.clone(),
        history_ms: config.history_ms,
        tick_max_ms: config.tick_max_ms,
        tick_rows_max: config.tick_rows_max,
        idle_tick_ms: config.idle_tick_ms,
        clock: Arc::clone(&config.clock),
    };
    Ingest::open(ingest, Box::new(move |time| bound.advance(time)))
}

/// Replays the catalog, lets time begin, and gives the coordinator its thread.
fn start_coordinator(
    parts: Parts,
    changes: Vec<Change>,
    requests: mpsc::Receiver<Request>,
    stop: oneshot::Receiver<()>,
) -> Result<JoinHandle<()>, ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let ingest = parts.ingest.clone();
    let coordinator = Coordinator::recover(parts, changes)?;
    ingest.start();
    let run = move || runtime.block_on(coordinator.run(requests, stop));
    let thread = std::thread::Builder::new().name("coordinator".to_owned()).stack_size(COORDINATOR_STACK_BYTES);
    Ok(thread.spawn(run)?)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|error| ServerError::Listen { address, error })
}

/// Ends when `flag` is set, or nobody is left to set it.
async fn is_set(mut flag: watch::Receiver<bool>) {
    // An error means that the server is gone.
    let _ = flag.wait_for(|set| *set).await;
}

/// Whether everything serves, as the health service wants it.
fn readiness(mut observed: watch::Receiver<Observed>, draining: watch::Receiver<bool>) -> watch::Receiver<bool> {
    let (tell, ready) = watch::channel(false);
    tokio::spawn(async move {
        while !watched::now(&draining) {
            tell.send_replace(observed.borrow_and_update().not_ready.is_empty());
            if observed.changed().await.is_err() {
                return;
            }
        }
    });
    ready
}

#[cfg(test)]
mod tests;

/// Whether a panic of this thread, now, costs no more than one row: a hook that ends the process asks it first.
pub fn panic_is_caught() -> bool {
    headwater_dataflow::expr::is_catching()
}
