//! The coordinator: one loop over one closed enum of events. It alone changes the catalog and decides what dataflows
//! there are; rows never pass through it.
//!
//! A deployment reads, from top to bottom: parse and plan every statement (`plan`) → refuse, or for each statement in
//! order: commit it to the catalog → choose `as_of` at the seam → command to the workers (`deploy`, `dataflows`) →
//! hydrated → caught up → serving (`progress`). A restart takes the same steps for each statement of the catalog.
//!
//! It runs on a thread of its own, because planning and syncing the catalog block. What may take long, a read, runs
//! elsewhere and answers by itself (`reads`).

mod analysis;
mod answers;
mod asking;
mod dataflows;
mod deploy;
pub(crate) mod plan;
mod progress;
mod reads;
mod writes;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_connectors::clock::Clock;
use headwater_connectors::ingest::Ingest;
use headwater_dataflow::repr::{ObjectId, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::Catalog;
use crate::catalog::store::Store;
use crate::control::{ControlError, QueryAnswer, Reply, Request};
use crate::hub::{Acknowledged, Figures, Frontiers, Hub};
use crate::metrics::Observed;
use crate::tables::SharedWriter;
use crate::watched;
use dataflows::Dataflow;
use deploy::Deployment;
use progress::Watcher;
use reads::WaitingRead;

pub use deploy::RecoveryError;

/// How often states are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often metrics are published.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// What the coordinator is made of and works with.
pub struct Parts {
    /// The durable catalog.
    pub store: Store,
    /// The edge.
    pub ingest: Ingest,
    /// The hub, which passes commands on to the engine.
    pub hub: Hub,
    /// What the workers have confirmed.
    pub acknowledged: mpsc::UnboundedReceiver<Acknowledged>,
    /// Where rows are read and answers computed.
    pub runtime: Handle,
    /// The time, for the freshness of views.
    pub clock: Arc<dyn Clock>,
    /// Where metrics and readiness are published.
    pub observed: watch::Sender<Observed>,
    /// Where files of sources are looked for.
    pub base_dir: PathBuf,
    /// How long times stay readable.
    pub history_ms: u64,
    /// How many workers the engine has.
    pub workers: usize,
    /// How long a read waits for a view that is not readable yet.
    pub read_wait: Duration,
    /// When the server began to start.
    pub started: Instant,
}

/// Everything the loop obeys.
enum Event {
    /// Somebody wants something.
    Request(Request),
    /// Something became visible.
    Frontiers,
    /// The workers have confirmed a step of a drop.
    Acknowledged(Acknowledged),
    /// A query of the deployment under way has been answered.
    Answered(Result<QueryAnswer, ControlError>),
    /// The sources of a deployment have been asked for.
    Asked(Deployment),
    /// It is time to look at states.
    Timer,
    /// The server stops.
    Stop,
}

/// A change of the catalog that waits until the deployment before it is done.
enum Change {
    Deploy(Deployment),
    Drop { name: String, cascade: bool, if_exists: bool, reply: Reply<Vec<String>> },
}

/// What became of a read.
type ReadAnswer = Result<QueryAnswer, ControlError>;

/// The coordinator's state.
pub struct Coordinator {
    parts: Parts,
    catalog: Catalog,
    frontiers: watch::Receiver<Arc<Frontiers>>,
    figures: watch::Receiver<Arc<Figures>>,
    dataflows: BTreeMap<ObjectId, Dataflow>,
    /// Dropped sources whose readers have not gone yet.
    doomed_sources: Vec<ObjectId>,
    /// Of every table that has been written into since the start: its writer, who lets one statement in at a time.
    writers: BTreeMap<ObjectId, SharedWriter>,
    reads: Vec<WaitingRead>,
    read_permits: Arc<tokio::sync::Semaphore>,
    watchers: Vec<Watcher>,
    /// The deployment that waits for the answer to one of its queries.
    deployment: Option<Deployment>,
    changes: VecDeque<Change>,
    answers: (mpsc::Sender<ReadAnswer>, mpsc::Receiver<ReadAnswer>),
    /// Deployments whose sources have been asked for.
    asked: (mpsc::UnboundedSender<Deployment>, mpsc::UnboundedReceiver<Deployment>),
    started_ms: u64,
    observed_at: Option<Instant>,
    /// The last durable time that the recovery found.
    recovered_bound: Timestamp,
    recovery_ms: Option<u64>,
}

impl Coordinator {
    fn new(parts: Parts) -> Coordinator {
        Coordinator {
            catalog: Catalog::default(),
            frontiers: parts.hub.frontiers(),
            figures: parts.hub.figures(),
            dataflows: BTreeMap::new(),
            doomed_sources: Vec::new(),
            writers: BTreeMap::new(),
            reads: Vec::new(),
            read_permits: Arc::new(tokio::sync::Semaphore::new(reads::READS_MAX)),
            watchers: Vec::new(),
            deployment: None,
            changes: VecDeque::new(),
            answers: mpsc::channel(1),
            asked: mpsc::unbounded_channel(),
            started_ms: parts.clock.now_ms(),
            observed_at: None,
            recovered_bound: parts.ingest.bound(),
            recovery_ms: None,
            parts,
        }
    }

    /// The loop. Ends when `stop` fires or every sender of `requests` is gone; what waits then is refused.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>, mut stop: oneshot::Receiver<()>) {
        let mut timer = tokio::time::interval(LOOK_EVERY);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                _ = &mut stop => Event::Stop,
                Some(acknowledged) = self.parts.acknowledged.recv() => Event::Acknowledged(acknowledged),
                Some(answer) = self.answers.1.recv() => Event::Answered(answer),
                Some(deployment) = self.asked.1.recv() => Event::Asked(deployment),
                // Most ticks interest nobody here.
                Ok(()) = self.frontiers.changed(), if !self.reads.is_empty() => Event::Frontiers,
                request = requests.recv() => request.map_or(Event::Stop, Event::Request),
                _ = timer.tick() => Event::Timer,
            };
            match event {
                Event::Request(request) => self.answer(request),
                Event::Frontiers => self.look_at_reads(),
                Event::Acknowledged(acknowledged) => self.acknowledge(acknowledged),
                Event::Answered(answer) => self.resume(answer),
                Event::Asked(deployment) => self.begin(deployment),
                Event::Timer => self.look(),
                Event::Stop => return,
            }
        }
    }

    /// How far everything is.
    fn frontiers(&self) -> Arc<Frontiers> {
        watched::now(&self.frontiers)
    }

    fn answer(&mut self, request: Request) {
        // Whoever asked may have gone: then the answer is dropped with its place.
        match request {
            Request::Deploy { scripts, validate_only, reply } => self.deploy(scripts, validate_only, reply),
            Request::Drop { name, cascade, if_exists, reply } => {
                self.change(Change::Drop { name, cascade, if_exists, reply });
            }
            Request::Watch { names, reply } => drop(reply.send(self.watch(&names))),
            Request::List { reply } => drop(reply.send(Ok(self.list()))),
            Request::Get { name, reply } => drop(reply.send(self.get(&name))),
            Request::Explain { target, analyze: false, reply } => drop(reply.send(self.explain(&target))),
            Request::Explain { target, analyze: true, reply } => self.explain_analyze(&target, reply),
            Request::Query { sql, at, reply } => self.query(sql, at, reply),
            Request::Read { planned, reply } => self.read_planned(*planned, reply),
            Request::PlanWrite { statement, data, reply } => {
                drop(reply.send(self.plan_write(&statement, data.as_deref())));
            }
            Request::Subscribe { options, reply } => drop(reply.send(self.subscribe(options))),
            Request::Status { reply } => drop(reply.send(Ok(self.status()))),
        }
    }

    /// What time does by itself: states move on, reads give up, metrics are published.
    fn look(&mut self) {
        self.look_at_progress();
        self.look_at_reads();
        self.look_at_watchers();
        if self.observed_at.is_none_or(|at| at.elapsed() >= OBSERVE_EVERY) {
            self.observed_at = Some(Instant::now());
            self.observe();
        }
    }
}
