//! The hub's loop and everything that it owns.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use crossbeam_channel::{Receiver, Sender};
use headwater_dataflow::protocol::{Command, IndexKeys, Response};
use headwater_dataflow::repr::{CollectionId, Delta, ObjectId, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::measures::Measures;
use super::merge::{MergeError, check_counts, consolidate, total};
use super::subscription::{Delivery, Member, Snapshot, Subscription};
use super::view::{Closed, View};
use super::{Acknowledged, Figures, Frontiers, HubCommand};
use crate::control::{SubscribeOptions, SubscriptionEvent};

/// Messages taken from one channel before the consequences are drawn.
const BATCH_MESSAGES_MAX: usize = 4_096;
/// How often idle subscribers are looked after.
const IDLE_EVERY: Duration = Duration::from_millis(250);
/// How often the workers are allowed to forget more.
const COMPACT_EVERY: Duration = Duration::from_millis(500);
/// How long subscribers that do not read are waited for when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Where the hub's results go.
pub(super) struct Exits {
    /// Back to the hub, for work that is done elsewhere.
    pub(super) commands: Sender<HubCommand>,
    pub(super) frontiers: watch::Sender<Arc<Frontiers>>,
    pub(super) acknowledge: mpsc::UnboundedSender<Acknowledged>,
    /// Merges snapshots and waits for room in queues.
    pub(super) runtime: Handle,
}

/// A peek under way.
struct Peek {
    collection: CollectionId,
    answers: Vec<Delta>,
    missing: usize,
    purpose: Purpose,
}

/// What a peek is for.
enum Purpose {
    /// Somebody reads.
    Read(oneshot::Sender<Vec<Delta>>),
    /// The snapshot of one member of a subscription.
    Snapshot { subscription: u64, member: usize },
    /// The number of error rows.
    Count,
}

/// A dataflow on its way out: how many workers have confirmed the present step.
#[derive(Default)]
struct Leaving {
    sinks_closed: usize,
    released: usize,
}

struct Draining {
    reason: String,
    done: Vec<oneshot::Sender<()>>,
    until: Instant,
}

/// Everything the hub's thread owns.
pub(super) struct State {
    workers: usize,
    send: Box<dyn Fn(Command) + Send>,
    bound: Arc<AtomicU64>,
    exits: Exits,
    views: BTreeMap<ObjectId, View>,
    leaving: BTreeMap<ObjectId, Leaving>,
    peeks: HashMap<u64, Peek>,
    measures: Measures,
    subscriptions: BTreeMap<u64, Subscription>,
    draining: Option<Draining>,
    /// When the workers were last allowed to forget something.
    compacted: Instant,
    /// When idle subscribers were last looked after.
    looked_after: Instant,
    /// Something that [`Frontiers`] show has changed.
    moved: bool,
    next_id: u64,
}

impl State {
    pub(super) fn new(
        measures: Measures,
        workers: usize,
        send: Box<dyn Fn(Command) + Send>,
        bound: Arc<AtomicU64>,
        exits: Exits,
    ) -> State {
        State {
            workers,
            send,
            bound,
            exits,
            views: BTreeMap::new(),
            leaving: BTreeMap::new(),
            peeks: HashMap::new(),
            measures,
            subscriptions: BTreeMap::new(),
            draining: None,
            compacted: Instant::now(),
            looked_after: Instant::now(),
            moved: false,
            next_id: 0,
        }
    }

    /// The loop. Ends when it is told to, or when the engine has dropped its end of the responses.
    pub(super) fn run(mut self, commands: &Receiver<HubCommand>, responses: &Receiver<Response>, woken: &Receiver<()>) {
        loop {
            crossbeam_channel::select! {
                recv(commands) -> command => {
                    let more = commands.try_iter().take(BATCH_MESSAGES_MAX);
                    for command in command.into_iter().chain(more) {
                        if matches!(command, HubCommand::Stop) {
                            return;
                        }
                        self.obey(command);
                    }
                }
                recv(responses) -> response => {
                    let Ok(response) = response else { return };
                    for response in std::iter::once(response).chain(responses.try_iter().take(BATCH_MESSAGES_MAX)) {
                        self.take(response);
                    }
                }
                recv(woken) -> _ => {}
                default(IDLE_EVERY) => {}
            }
            self.advance();
            self.look_after_draining();
        }
    }

    fn obey(&mut self, command: HubCommand) {
        self.moved = true;
        match command {
            HubCommand::Create { description, history_ms, schema } => {
                let object = description.object;
                let view = View::new(object, schema, description.as_of, history_ms, self.workers);
                self.views.insert(object, view);
                (self.send)(Command::Create(description));
            }
            HubCommand::Peek { collection, at, keys, reply } => {
                self.peek_keys(collection, at, keys, Purpose::Read(reply));
            }
            HubCommand::Measure { reply } => self.measure(Some(reply)),
            HubCommand::Close { object, reason } => self.close(object, &reason),
            HubCommand::Release { object } => (self.send)(Command::Release { object }),
            HubCommand::Subscribe { collections, options, sender } => self.subscribe(&collections, &options, sender),
            HubCommand::SnapshotReady { subscription, member, result } => {
                let Some(subscription) = self.subscriptions.get_mut(&subscription) else { return };
                subscription.touched = true;
                match result {
                    Ok(deltas) => subscription.members[member].snapshot = Snapshot::Ready(deltas),
                    Err(error) => subscription.close(&error.to_string()),
                }
            }
            HubCommand::Room { subscription } => {
                if let Some(subscription) = self.subscriptions.get_mut(&subscription) {
                    subscription.awaits_room = false;
                    subscription.touched = true;
                }
            }
            HubCommand::Drain { reason, done } => self.drain(reason, done),
            HubCommand::Stop => unreachable!("the loop ends before it obeys"),
        }
    }

    fn take(&mut self, response: Response) {
        match response {
            Response::Batch { object, worker, lower, upper, rows, errors } => {
                // What a worker sent before it closed the sink of a view that is being dropped is of no interest.
                if let Some(view) = self.views.get_mut(&object) {
                    let hydrated = view.hydrated();
                    view.receive(worker, (lower, upper), rows, errors);
                    self.moved |= hydrated != view.hydrated();
                }
            }
            Response::Peeked { peek, rows, .. } => self.peeked(peek, rows),
            Response::Measured { measure, figures, .. } => self.measures.take(measure, figures),
            Response::SinkClosed { object, .. } => {
                let leaving = self.leaving.entry(object).or_default();
                leaving.sinks_closed += 1;
                if leaving.sinks_closed == self.workers {
                    self.acknowledge(Acknowledged::SinkClosed(object));
                }
            }
            Response::Released { object, .. } => {
                let leaving = self.leaving.entry(object).or_default();
                leaving.released += 1;
                if leaving.released == self.workers {
                    self.leaving.remove(&object);
                    self.acknowledge(Acknowledged::Released(object));
                }
            }
        }
    }

    fn acknowledge(&self, acknowledged: Acknowledged) {
        // Nobody listens only when the coordinator has ended before the engine, at a shutdown.
        let _ = self.exits.acknowledge.send(acknowledged);
    }

    fn subscribe(
        &mut self,
        collections: &[CollectionId],
        options: &SubscribeOptions,
        sender: mpsc::Sender<SubscriptionEvent>,
    ) {
        let mut members = Vec::new();
        // No view has passed on a change after this time, and every view can still be read at it.
        let mut at = 0;
        for collection in collections {
            let Some(view) = self.views.get(&collection.object) else {
                // Dropped between the coordinator's look and this one; the queue is new and has room.
                let _ = sender.try_send(SubscriptionEvent::Closing { reason: "the view was dropped".to_owned() });
                return;
            };
            at = at.max(view.as_of()).max(view.visible().saturating_sub(1));
            members.push((*collection, view.schema(collection.part)));
        }
        let mut subscription = Subscription::new(members, at, (options.skip_snapshot, options.progress), sender);
        if let Some(draining) = &self.draining {
            subscription.close(&draining.reason);
        }
        let id = self.new_id();
        self.subscriptions.insert(id, subscription);
    }

    /// Draws the consequences of everything that was received: what is visible, what subscribers get.
    fn advance(&mut self) {
        let bound = self.bound.load(Ordering::Acquire);
        let mut counts = Vec::new();
        for (object, view) in &mut self.views {
            if let Some(closed) = view.advance(bound) {
                self.moved = true;
                pass_on(&mut self.subscriptions, *object, &closed);
                counts.extend(view.start_counting());
            }
        }
        for (collection, at) in counts {
            self.peek(collection, at, Purpose::Count);
        }
        // Whoever hears of a time can read at it: frontiers are published before subscribers are served.
        if std::mem::take(&mut self.moved) || bound != self.exits.frontiers.borrow().bound {
            self.publish(bound);
        }
        self.ask_for_snapshots();
        self.serve();
        self.allow_compaction();
        if !self.views.is_empty() && self.measures.due() {
            self.measure(None);
        }
    }

    fn publish(&self, bound: Timestamp) {
        let frontiers = Frontiers {
            bound,
            views: self.views.iter().map(|(object, view)| (*object, view.frontier())).collect(),
            subscriptions: self.subscriptions.len(),
        };
        self.exits.frontiers.send_if_modified(|known| {
            let changed = **known != frontiers;
            *known = Arc::new(frontiers);
            changed
        });
    }

    fn ask_for_snapshots(&mut self) {
        let mut asked = Vec::new();
        for (id, subscription) in self.subscriptions.iter_mut().filter(|(_, subscription)| subscription.touched) {
            let at = subscription.at;
            for (index, member) in subscription.members.iter_mut().enumerate() {
                let reached = self.views.get(&member.collection.object).is_some_and(|view| view.visible() > at);
                if reached && matches!(member.snapshot, Snapshot::Expected) {
                    member.snapshot = Snapshot::Asked;
                    asked.push((member.collection, at, Purpose::Snapshot { subscription: *id, member: index }));
                }
            }
        }
        for (collection, at, purpose) in asked {
            self.peek(collection, at, purpose);
        }
    }

    /// Lets the workers forget what nobody may read any more.
    fn allow_compaction(&mut self) {
        if self.compacted.elapsed() < COMPACT_EVERY {
            return;
        }
        self.compacted = Instant::now();
        let mut held: BTreeMap<ObjectId, Timestamp> = BTreeMap::new();
        for subscription in self.subscriptions.values() {
            let expected = |member: &&Member| matches!(member.snapshot, Snapshot::Expected);
            for member in subscription.members.iter().filter(expected) {
                let held = held.entry(member.collection.object).or_insert(subscription.at);
                *held = subscription.at.min(*held);
            }
        }
        let allowed =
            |(object, view): (&ObjectId, &mut View)| Some((*object, view.allow_compaction(held.get(object).copied())?));
        let since: Arc<[(ObjectId, Timestamp)]> = self.views.iter_mut().filter_map(allowed).collect();
        if !since.is_empty() {
            (self.send)(Command::AllowCompaction { since });
        }
    }

    /// Lets every subscription that something happened to send what it can; now and then all of them, so that idle ones
    /// hear how far their views are, and those that nobody reads any more are noticed.
    fn serve(&mut self) {
        let all = self.looked_after.elapsed() >= IDLE_EVERY;
        if all {
            self.looked_after = Instant::now();
        }
        let (views, exits) = (&self.views, &self.exits);
        let before = self.subscriptions.len();
        self.subscriptions.retain(|id, subscription| {
            if !std::mem::take(&mut subscription.touched) && !all {
                return true;
            }
            let upper = subscription.objects.iter().map(|object| views.get(object).map_or(0, View::visible)).min();
            let upper = upper.unwrap_or(0);
            let errors = subscription.objects.iter().filter_map(|object| views.get(object));
            // A subscription begins when the errors are known, a moment after its views are readable.
            let (upper, errors) = match errors.map(|view| view.errors_before(upper)).sum::<Option<u64>>() {
                Some(errors) => (upper, errors),
                None => (0, 0),
            };
            match subscription.advance(upper, errors) {
                Delivery::Done => true,
                Delivery::Blocked => {
                    if !std::mem::replace(&mut subscription.awaits_room, true) {
                        await_room(exits, *id, subscription.sender().clone());
                    }
                    true
                }
                Delivery::Over => false,
            }
        });
        self.moved |= before != self.subscriptions.len();
    }

    fn close(&mut self, object: ObjectId, reason: &str) {
        for subscription in self.subscriptions.values_mut().filter(|subscription| subscription.reads(object)) {
            subscription.close(reason);
        }
        self.views.remove(&object);
        self.peeks.retain(|_, peek| peek.collection.object != object);
        self.leaving.insert(object, Leaving::default());
        (self.send)(Command::CloseSink { object });
    }

    fn drain(&mut self, reason: String, done: oneshot::Sender<()>) {
        for subscription in self.subscriptions.values_mut() {
            subscription.close(&reason);
        }
        let until = Instant::now() + DRAIN_MAX;
        self.draining.get_or_insert(Draining { reason, done: Vec::new(), until }).done.push(done);
    }

    fn look_after_draining(&mut self) {
        if let Some(draining) = &mut self.draining
            && (self.subscriptions.is_empty() || Instant::now() >= draining.until)
        {
            for done in draining.done.drain(..) {
                // Whoever waited may have given up.
                let _ = done.send(());
            }
        }
    }

    fn measure(&mut self, reply: Option<oneshot::Sender<Arc<Figures>>>) {
        let measure = self.new_id();
        self.measures.ask(measure, reply);
        (self.send)(Command::Measure { measure });
    }

    fn peek(&mut self, collection: CollectionId, at: Timestamp, purpose: Purpose) {
        self.peek_keys(collection, at, None, purpose);
    }

    fn peek_keys(&mut self, collection: CollectionId, at: Timestamp, keys: Option<IndexKeys>, purpose: Purpose) {
        // A view, or a time, that is gone drops the purpose, and with it the place for the answer.
        if !self.views.get(&collection.object).is_some_and(|view| view.remembers(at)) {
            return;
        }
        let peek = self.new_id();
        self.peeks.insert(peek, Peek { collection, answers: Vec::new(), missing: self.workers, purpose });
        (self.send)(Command::Peek { peek, collection, at, keys });
    }

    fn peeked(&mut self, id: u64, rows: Vec<Delta>) {
        let Some(peek) = self.peeks.get_mut(&id) else { return };
        peek.answers.extend(rows.into_iter().filter(|delta| !delta.is_empty()));
        peek.missing -= 1;
        if peek.missing > 0 {
            return;
        }
        let Some(Peek { collection, answers, purpose, .. }) = self.peeks.remove(&id) else { return };
        match purpose {
            // Whoever asked may have given up.
            Purpose::Read(reply) => drop(reply.send(answers)),
            Purpose::Count => {
                if let Some(view) = self.views.get_mut(&collection.object) {
                    view.count(answers.iter().map(total).sum());
                    self.moved = true;
                    let object = collection.object;
                    let waiting = self.subscriptions.values_mut().filter(|subscription| subscription.reads(object));
                    waiting.for_each(|subscription| subscription.touched = true);
                }
            }
            Purpose::Snapshot { subscription, member } => {
                self.merge_snapshot(collection, answers, subscription, member)
            }
        }
    }

    /// Merges the workers' shares outside of the loop: a large snapshot would hold up everybody else.
    fn merge_snapshot(&self, collection: CollectionId, answers: Vec<Delta>, subscription: u64, member: usize) {
        let Some(view) = self.views.get(&collection.object) else { return };
        let schema = view.schema(collection.part);
        let commands = self.exits.commands.clone();
        let alone = self.workers == 1;
        self.exits.runtime.spawn_blocking(move || {
            let result = merge_shares(&schema, answers, alone);
            // The hub may have ended.
            let _ = commands.send(HubCommand::SnapshotReady { subscription, member, result });
        });
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// One worker's rows are consolidated already; those of several are added up.
fn merge_shares(schema: &SchemaRef, shares: Vec<Delta>, alone: bool) -> Result<Vec<Delta>, MergeError> {
    let merged = if alone { shares } else { vec![consolidate(schema, &shares)?] };
    for delta in &merged {
        check_counts(delta)?;
    }
    Ok(merged)
}

fn pass_on(subscriptions: &mut BTreeMap<u64, Subscription>, object: ObjectId, closed: &Closed) {
    for subscription in subscriptions.values_mut().filter(|subscription| subscription.reads(object)) {
        // Also where nothing changed: that the time has passed is news.
        subscription.touched = true;
        for (time, changes) in closed {
            for (part, delta) in changes {
                subscription.note(CollectionId { object, part: *part }, *time, delta);
            }
        }
    }
}

/// Tells the hub when the subscriber's queue has room again.
fn await_room(exits: &Exits, subscription: u64, sender: mpsc::Sender<SubscriptionEvent>) {
    let commands = exits.commands.clone();
    exits.runtime.spawn(async move {
        // An error says that the subscriber has gone, which the hub finds out by itself when it looks.
        drop(sender.reserve().await);
        let _ = commands.send(HubCommand::Room { subscription });
    });
}
