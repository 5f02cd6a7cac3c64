//! The hub: the one place where what the engine computes becomes visible, to reads and to subscriptions.
//!
//! A thread of its own owns all state and obeys one closed enum of commands. It passes commands on to the engine (so
//! that they keep the coordinator's order), keeps what workers report until rule W lets it out, answers peeks and feeds
//! subscriptions. Changes of views never pass through the coordinator: that one learns only frontiers and
//! acknowledgements.
//!
//! A view without subscribers costs a queue entry a tick: its changes only move counters.

mod measures;
mod merge;
mod state;
mod subscription;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use arrow::datatypes::SchemaRef;
use crossbeam_channel::{Receiver, Sender};
use headwater_dataflow::protocol::{Command, DataflowDescription, IndexKeys, Response};
use headwater_dataflow::repr::{CollectionId, Delta, ObjectId, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

pub use measures::Figures;
pub use merge::{MergeError, consolidate, repeat};
pub use view::Frontier;

use crate::control::{SubscribeOptions, SubscriptionEvent};
use measures::Measures;
use state::{Exits, State};

/// Events in a subscriber's queue.
const SUBSCRIBER_QUEUE: usize = 16;

/// What the hub lets everybody know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontiers {
    /// The last durable time.
    pub bound: Timestamp,
    /// Every dataflow.
    pub views: BTreeMap<ObjectId, Frontier>,
    /// How many subscriptions are open.
    pub subscriptions: usize,
}

/// A dataflow's way out, as all workers have confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// No worker exports anything more of the view.
    SinkClosed(ObjectId),
    /// No worker holds anything more of the view.
    Released(ObjectId),
}

/// The workers' shares of a collection at one time, not merged.
pub type Peeked = oneshot::Receiver<Vec<Delta>>;

enum HubCommand {
    Create { description: Box<DataflowDescription>, history_ms: u64, schema: SchemaRef },
    Peek { collection: CollectionId, at: Timestamp, keys: Option<IndexKeys>, reply: oneshot::Sender<Vec<Delta>> },
    Measure { reply: oneshot::Sender<Arc<Figures>> },
    Close { object: ObjectId, reason: String },
    Release { object: ObjectId },
    Subscribe { collections: Vec<CollectionId>, options: SubscribeOptions, sender: mpsc::Sender<SubscriptionEvent> },
    SnapshotReady { subscription: u64, member: usize, result: Result<Vec<Delta>, MergeError> },
    Room { subscription: u64 },
    Drain { reason: String, done: oneshot::Sender<()> },
    Stop,
}

/// Where the last durable time is told to the hub. Cheap, and may be called from any thread.
#[derive(Clone)]
pub struct BoundSignal {
    bound: Arc<AtomicU64>,
    wake: Sender<()>,
}

impl BoundSignal {
    /// Every time up to `bound` is durable. Smaller values than before are ignored.
    pub fn advance(&self, bound: Timestamp) {
        self.bound.fetch_max(bound, Ordering::AcqRel);
        // A full wake queue already holds a waking that has not been answered.
        let _ = self.wake.try_send(());
    }
}

/// The receiving end of a [`BoundSignal`].
pub struct BoundWatch {
    bound: Arc<AtomicU64>,
    woken: Receiver<()>,
}

/// Creates the way on which the last durable time reaches the hub.
pub fn bound_signal() -> (BoundSignal, BoundWatch) {
    let bound = Arc::new(AtomicU64::new(0));
    let (wake, woken) = crossbeam_channel::bounded(1);
    (BoundSignal { bound: Arc::clone(&bound), wake }, BoundWatch { bound, woken })
}

/// The handle of the hub's thread.
#[derive(Clone)]
pub struct Hub {
    // Unbounded, but never long: the coordinator sends one command a request, and every subscription at most one.
    commands: Sender<HubCommand>,
    frontiers: watch::Receiver<Arc<Frontiers>>,
    figures: watch::Receiver<Arc<Figures>>,
}

/// What [`Hub::start`] gives.
pub struct Started {
    /// The handle.
    pub hub: Hub,
    /// What the workers have confirmed. Unbounded: two messages a dropped view.
    pub acknowledged: mpsc::UnboundedReceiver<Acknowledged>,
    /// The thread; it ends after [`Hub::stop`], or when the engine has dropped its end of the responses.
    pub thread: JoinHandle<()>,
}

impl Hub {
    /// Starts the hub for an engine of `workers` workers: `send` passes a command to it, `responses` is what it answers.
    /// `runtime` runs the merging of snapshots.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        workers: usize,
        send: Box<dyn Fn(Command) + Send>,
        responses: Receiver<Response>,
        bound: BoundWatch,
        runtime: Handle,
    ) -> std::io::Result<Started> {
        let (commands, received) = crossbeam_channel::unbounded();
        let (frontiers, watched) = watch::channel(Arc::default());
        let (latest, figures) = watch::channel(Arc::default());
        let (acknowledge, acknowledged) = mpsc::unbounded_channel();
        let exits = Exits { commands: commands.clone(), frontiers, acknowledge, runtime };
        let state = State::new(Measures::new(workers, latest), workers, send, Arc::clone(&bound.bound), exits);
        let thread = std::thread::Builder::new()
            .name("hub".to_owned())
            .spawn(move || state.run(&received, &responses, &bound.woken))?;
        Ok(Started { hub: Hub { commands, frontiers: watched, figures }, acknowledged, thread })
    }

    /// Creates a dataflow whose rows have the columns `schema` and whose times are readable for `history_ms`.
    pub fn create(&self, description: DataflowDescription, history_ms: u64, schema: SchemaRef) {
        self.command(HubCommand::Create { description: Box::new(description), history_ms, schema });
    }

    /// Reads a collection at one time; since <= `at` < upper as [`Hub::frontiers`] shows it. The receiver errs if the view
    /// is dropped, or the time passes out of its history, before the workers have read it.
    pub fn peek(&self, collection: CollectionId, at: Timestamp) -> Peeked {
        self.peek_keys(collection, at, None)
    }

    /// As [`Hub::peek`], but of an index only the wanted rows, if `keys` says which.
    pub fn peek_keys(&self, collection: CollectionId, at: Timestamp, keys: Option<IndexKeys>) -> Peeked {
        let (reply, answer) = oneshot::channel();
        self.command(HubCommand::Peek { collection, at, keys, reply });
        answer
    }

    /// Asks the workers for the figures of all dataflows that have been created. The receiver errs if the hub ends.
    pub fn measure(&self) -> oneshot::Receiver<Arc<Figures>> {
        let (reply, answer) = oneshot::channel();
        self.command(HubCommand::Measure { reply });
        answer
    }

    /// The figures of all dataflows as they were at most a second ago.
    pub fn figures(&self) -> watch::Receiver<Arc<Figures>> {
        self.figures.clone()
    }

    /// Closes the subscriptions to a view with `reason` and stops its export on every worker.
    pub fn close(&self, object: ObjectId, reason: &str) {
        self.command(HubCommand::Close { object, reason: reason.to_owned() });
    }

    /// Releases a view whose sink is closed and that no dataflow imports any more.
    pub fn release(&self, object: ObjectId) {
        self.command(HubCommand::Release { object });
    }

    /// Opens a subscription to collections of existing dataflows.
    pub fn subscribe(
        &self,
        collections: Vec<CollectionId>,
        options: SubscribeOptions,
    ) -> mpsc::Receiver<SubscriptionEvent> {
        let (sender, receiver) = mpsc::channel(SUBSCRIBER_QUEUE);
        self.command(HubCommand::Subscribe { collections, options, sender });
        receiver
    }

    /// Closes all subscriptions, now and later, with `reason`. Returns when the subscribers have taken what they were
    /// sent, or after two seconds.
    pub async fn drain(&self, reason: &str) {
        let (done, drained) = oneshot::channel();
        self.command(HubCommand::Drain { reason: reason.to_owned(), done });
        // An error means that the hub has ended, and with it every subscription.
        let _ = drained.await;
    }

    /// Ends the hub's thread, and with it everything that waits for an answer.
    pub fn stop(&self) {
        self.command(HubCommand::Stop);
    }

    /// How far everything is; the receiver is told about every change.
    pub fn frontiers(&self) -> watch::Receiver<Arc<Frontiers>> {
        self.frontiers.clone()
    }

    fn command(&self, command: HubCommand) {
        // A hub that has ended drops the command, and with it the place for the answer.
        let _ = self.commands.send(command);
    }
}

#[cfg(test)]
mod tests;
