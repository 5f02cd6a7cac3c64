//! The hub against an engine that a random program plays: batches of several workers in any order, a bound that lags,
//! peeks that are answered late. Whatever a subscriber applies must be the views' contents at every mark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use crossbeam_channel::{Receiver, Sender};
use headwater_dataflow::plan::Plan;
use headwater_dataflow::protocol::{Command, DataflowDescription, Response};
use headwater_dataflow::repr::{Chunk, Delta, Diff, Diffs, ObjectId, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;

use super::*;
use crate::control::{SubscribeOptions, SubscriptionEvent};
use crate::watched;

const AS_OF: Timestamp = 1_000;
const HISTORY_MS: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(20);

type Contents = BTreeMap<i64, Diff>;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn delta(rows: &[(i64, Diff)]) -> Delta {
    let values: Int64Array = rows.iter().map(|row| row.0).collect();
    let rows_batch = RecordBatch::try_new(schema(), vec![Arc::new(values)]).unwrap();
    Delta { rows: rows_batch, diffs: Diffs::Each(rows.iter().map(|row| row.1).collect()) }
}

fn apply(contents: &mut Contents, rows: &RecordBatch, diffs: &[Diff]) {
    let values: &Int64Array = rows.column(0).as_any().downcast_ref().unwrap();
    assert_eq!(values.len(), diffs.len());
    for (value, diff) in values.values().iter().zip(diffs) {
        assert_ne!(*diff, 0, "nothing that changes nothing is sent");
        let count = contents.entry(*value).or_default();
        *count += diff;
        if *count == 0 {
            contents.remove(value);
        }
    }
}

/// One view as the played engine knows it: the updates and the upper of each worker.
struct Played {
    updates: Vec<Vec<(Timestamp, i64, Diff)>>,
    uppers: Vec<Timestamp>,
    hydrated: Vec<bool>,
}

impl Played {
    fn new(workers: usize, rng: &mut ChaCha8Rng) -> Played {
        // Worker 0 has a snapshot; the others hold retractions of some of it, so that only the sum is right.
        let mut updates = vec![Vec::new(); workers];
        for value in 0..20 {
            updates[0].push((AS_OF, value, 2));
            updates[workers - 1].push((AS_OF, value, -rng.random_range(0..=2)));
        }
        Played { updates, uppers: vec![AS_OF + 1; workers], hydrated: vec![false; workers] }
    }

    fn contents(&self, at: Timestamp) -> Contents {
        let mut contents = Contents::new();
        for (_, value, diff) in self.updates.iter().flatten().filter(|update| update.0 <= at) {
            *contents.entry(*value).or_default() += diff;
        }
        contents.retain(|_, count| *count != 0);
        contents
    }

    fn share(&self, worker: usize, at: Timestamp) -> Delta {
        let mut share = Contents::new();
        for (_, value, diff) in self.updates[worker].iter().filter(|update| update.0 <= at) {
            *share.entry(*value).or_default() += diff;
        }
        delta(&share.into_iter().filter(|(_, diff)| *diff != 0).collect::<Vec<_>>())
    }
}

/// A subscriber that checks everything it is told.
struct Subscriber {
    views: Vec<ObjectId>,
    events: mpsc::Receiver<SubscriptionEvent>,
    contents: Vec<Contents>,
    parts: Vec<crate::control::ViewChanges>,
    last: Option<Timestamp>,
    lazy: bool,
    closed: Option<String>,
}

impl Subscriber {
    fn take(&mut self, bound: Timestamp, views: &BTreeMap<ObjectId, Played>) -> bool {
        let Ok(event) = self.events.try_recv() else { return false };
        match event {
            SubscriptionEvent::Started { schemas, .. } => assert_eq!(schemas.len(), self.views.len()),
            SubscriptionEvent::Transition { from, to, snapshot, more, changes } => {
                assert!(to <= bound, "rule W");
                assert_eq!(snapshot, self.last.is_none());
                assert_eq!(from, self.last.unwrap_or(0), "transitions follow each other without a gap");
                assert!(snapshot || to > from);
                self.parts.extend(changes);
                if !more {
                    for part in std::mem::take(&mut self.parts) {
                        apply(&mut self.contents[part.view], &part.rows, &part.diffs);
                    }
                    self.last = Some(to);
                    self.check(to, views);
                }
            }
            SubscriptionEvent::Progress { upper, .. } => {
                assert!(upper <= bound + 1, "rule W");
                assert!(Some(upper - 1) >= self.last);
                self.last = Some(upper - 1);
                self.check(upper - 1, views);
            }
            SubscriptionEvent::Closing { reason } => self.closed = Some(reason),
        }
        true
    }

    fn check(&self, at: Timestamp, views: &BTreeMap<ObjectId, Played>) {
        for (view, contents) in self.views.iter().zip(&self.contents) {
            assert_eq!(*contents, views[view].contents(at), "{view} at {at}");
        }
    }
}

/// The engine that the test plays, and the hub before it.
struct Play {
    workers: usize,
    hub: Hub,
    commands: Receiver<Command>,
    responses: Sender<Response>,
    bound_signal: BoundSignal,
    bound: Timestamp,
    views: BTreeMap<ObjectId, Played>,
    created: BTreeSet<ObjectId>,
    allowed: BTreeMap<ObjectId, Timestamp>,
    acknowledged: mpsc::UnboundedReceiver<Acknowledged>,
    _runtime: tokio::runtime::Runtime,
}

impl Play {
    fn start(workers: usize) -> Play {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let (sent, commands) = crossbeam_channel::unbounded();
        let (responses, received) = crossbeam_channel::unbounded();
        let (bound_signal, watch) = bound_signal();
        let send = Box::new(move |command| sent.send(command).unwrap());
        let started = Hub::start(workers, send, received, watch, runtime.handle().clone()).unwrap();
        Play {
            workers,
            hub: started.hub,
            commands,
            responses,
            bound_signal,
            bound: 0,
            views: BTreeMap::new(),
            created: BTreeSet::new(),
            allowed: BTreeMap::new(),
            acknowledged: started.acknowledged,
            _runtime: runtime,
        }
    }

    fn create(&mut self, id: u64, rng: &mut ChaCha8Rng) {
        let object = ObjectId(id);
        let description = DataflowDescription {
            object,
            name: format!("v{id}"),
            imports: Vec::new(),
            plan: Plan::default(),
            errors: None,
            key: None,
            as_of: AS_OF,
        };
        self.views.insert(object, Played::new(self.workers, rng));
        self.hub.create(description, HISTORY_MS, schema());
        // Workers cannot report on what they have not been told to create.
        self.until("the command", |play| play.created.contains(&object));
    }

    /// A worker reports: at first that it is hydrated, then changes of some further times.
    fn report(&mut self, object: ObjectId, worker: usize, rng: &mut ChaCha8Rng) {
        let view = self.views.get_mut(&object).unwrap();
        let lower = view.uppers[worker];
        let upper = if view.hydrated[worker] { lower + rng.random_range(1..6) } else { lower };
        view.hydrated[worker] = true;
        let mut rows = Vec::new();
        for time in lower..upper {
            let changes: Vec<(i64, Diff)> = (0..rng.random_range(0..4))
                .map(|_| (rng.random_range(0..40), if rng.random() { 1 } else { -1 }))
                .collect();
            // A row must not be there less than zero times when all workers are added up; the snapshot at AS_OF keeps
            // its sums by these pairs on one worker: what goes comes back two times later.
            for (value, _) in changes {
                view.updates[worker].push((time, value, 1));
                rows.push(Chunk { time, delta: delta(&[(value, 1)]) });
                if time + 1 < upper {
                    view.updates[worker].push((time + 1, value, -1));
                    rows.push(Chunk { time: time + 1, delta: delta(&[(value, -1)]) });
                }
            }
        }
        view.uppers[worker] = upper;
        self.responses.send(Response::Batch { object, worker, lower, upper, rows, errors: Vec::new() }).unwrap();
    }

    /// A worker closes everything before `upper`, without changes.
    fn finish(&mut self, object: ObjectId, worker: usize, upper: Timestamp) {
        let view = self.views.get_mut(&object).unwrap();
        let lower = std::mem::replace(&mut view.uppers[worker], upper);
        let batch = Response::Batch { object, worker, lower, upper, rows: Vec::new(), errors: Vec::new() };
        self.responses.send(batch).unwrap();
    }

    fn advance_bound(&mut self, bound: Timestamp) {
        self.bound = self.bound.max(bound);
        self.bound_signal.advance(self.bound);
    }

    /// Obeys the commands that wait, as every worker would.
    fn obey(&mut self) {
        for command in self.commands.try_iter().collect::<Vec<_>>() {
            match command {
                Command::Create(description) => drop(self.created.insert(description.object)),
                Command::Peek { peek, collection, at, keys: _ } => {
                    let view = &self.views[&collection.object];
                    let since = self.allowed.get(&collection.object).copied().unwrap_or(AS_OF);
                    assert!(
                        since <= at && view.uppers.iter().all(|upper| at < *upper),
                        "only readable times are peeked"
                    );
                    for worker in 0..self.workers {
                        let rows = match collection.part {
                            headwater_dataflow::repr::Part::Rows => vec![view.share(worker, at)],
                            headwater_dataflow::repr::Part::Errors => Vec::new(),
                        };
                        self.responses.send(Response::Peeked { peek, worker, rows }).unwrap();
                    }
                }
                Command::Measure { measure } => {
                    for worker in 0..self.workers {
                        self.responses.send(Response::Measured { measure, worker, figures: Vec::new() }).unwrap();
                    }
                }
                Command::AllowCompaction { since } => self.allowed.extend(since.iter().copied()),
                Command::CloseSink { object } => {
                    for worker in 0..self.workers {
                        self.responses.send(Response::SinkClosed { object, worker }).unwrap();
                    }
                }
                Command::Release { object } => {
                    for worker in 0..self.workers {
                        self.responses.send(Response::Released { object, worker }).unwrap();
                    }
                }
            }
        }
    }

    fn subscribe(&self, views: &[u64], lazy: bool, progress: bool) -> Subscriber {
        let views: Vec<ObjectId> = views.iter().map(|id| ObjectId(*id)).collect();
        let collections = views.iter().map(|view| view.rows()).collect();
        let options = SubscribeOptions { views: Vec::new(), skip_snapshot: false, progress };
        Subscriber {
            contents: vec![Contents::new(); views.len()],
            events: self.hub.subscribe(collections, options),
            views,
            parts: Vec::new(),
            last: None,
            lazy,
            closed: None,
        }
    }

    /// Goes on until `done`, or fails after the deadline.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Play) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < DEADLINE, "waited too long for {what}");
            self.obey();
            std::thread::yield_now();
        }
    }

    fn upper(&self, object: ObjectId) -> Timestamp {
        self.views[&object].uppers.iter().copied().min().unwrap()
    }
}

fn random_play(seed: u64, workers: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut play = Play::start(workers);
    for id in 1..=3 {
        play.create(id, &mut rng);
    }
    let mut subscribers = Vec::new();
    for _ in 0..400 {
        match rng.random_range(0..10) {
            0..=4 => {
                let object = ObjectId(rng.random_range(1..=3));
                let worker = rng.random_range(0..workers);
                play.report(object, worker, &mut rng);
            }
            5 | 6 => {
                let lag = rng.random_range(0..10);
                let ahead = play.views.values().flat_map(|view| &view.uppers).max().copied().unwrap();
                play.advance_bound(ahead.saturating_sub(lag));
            }
            7 => play.obey(),
            8 if subscribers.len() < 12 => {
                let views: Vec<u64> = match rng.random_range(0..3) {
                    0 => vec![rng.random_range(1..=3)],
                    1 => vec![1, 2],
                    _ => vec![3, 1, 2],
                };
                let (lazy, progress) = (rng.random(), rng.random());
                subscribers.push(play.subscribe(&views, lazy, progress));
            }
            _ => {
                for subscriber in &mut subscribers {
                    if !subscriber.lazy || rng.random_range(0..20) == 0 {
                        subscriber.take(play.bound, &play.views);
                    }
                }
            }
        }
    }
    // The end: every worker closes the same times, everything is durable, and all subscribers get there.
    let end = play.views.values().flat_map(|view| &view.uppers).max().copied().unwrap() + 5;
    for object in [1, 2, 3].map(ObjectId) {
        for worker in 0..workers {
            play.finish(object, worker, end);
        }
    }
    play.advance_bound(end + 100);
    let goal = Some(end - 1);
    let started = Instant::now();
    loop {
        let mut behind = Vec::new();
        for subscriber in &mut subscribers {
            while subscriber.take(play.bound, &play.views) {}
            assert_eq!(subscriber.closed, None, "seed {seed}, {workers} workers");
            if subscriber.last < goal {
                behind.push((&subscriber.views, subscriber.last));
            }
        }
        if behind.is_empty() {
            break;
        }
        let frontiers = watched::now(&play.hub.frontiers());
        assert!(started.elapsed() < DEADLINE, "seed {seed}, {workers} workers: {behind:?}, {frontiers:?}");
        play.obey();
        std::thread::yield_now();
    }
    play.hub.stop();
}

#[test]
fn subscribers_always_hold_the_views_contents() {
    for seed in 0..6 {
        for workers in [1, 2, 4] {
            random_play(seed, workers);
        }
    }
}

#[test]
fn nothing_leaves_before_its_time_is_durable() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut play = Play::start(2);
    play.create(1, &mut rng);
    let object = ObjectId(1);
    for worker in [0, 1] {
        play.report(object, worker, &mut rng);
        play.report(object, worker, &mut rng);
    }
    play.advance_bound(AS_OF - 1);
    let frontiers = play.hub.frontiers();
    play.until("the batches", |_| {
        watched::now(&frontiers).views.get(&object).is_some_and(|frontier| frontier.hydrated)
    });
    assert!(!watched::now(&frontiers).views[&object].readable());
    play.advance_bound(AS_OF);
    play.until("the bound", |_| watched::now(&frontiers).views[&object].readable());
    assert_eq!(watched::now(&frontiers).views[&object].upper, AS_OF + 1);
    play.hub.stop();
}

#[test]
fn a_dropped_view_closes_its_subscriptions_and_is_acknowledged() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut play = Play::start(2);
    play.create(1, &mut rng);
    let mut subscriber = play.subscribe(&[1], false, false);
    play.hub.close(ObjectId(1), "view \"v1\" was dropped");
    play.until("the reason", |play| {
        while subscriber.take(play.bound, &play.views) {}
        subscriber.closed.is_some()
    });
    assert_eq!(subscriber.closed.as_deref(), Some("view \"v1\" was dropped"));
    play.until("the sinks", |play| play.acknowledged.try_recv() == Ok(Acknowledged::SinkClosed(ObjectId(1))));
    play.hub.release(ObjectId(1));
    play.until("the release", |play| play.acknowledged.try_recv() == Ok(Acknowledged::Released(ObjectId(1))));
    play.hub.stop();
}

#[test]
fn a_subscriber_that_does_not_read_gets_one_merged_transition() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut play = Play::start(1);
    play.create(1, &mut rng);
    let object = ObjectId(1);
    let mut subscriber = play.subscribe(&[1], true, true);
    for _ in 0..200 {
        play.report(object, 0, &mut rng);
        let bound = play.upper(object);
        play.advance_bound(bound);
        play.obey();
    }
    let frontiers = play.hub.frontiers();
    let upper = play.upper(object);
    play.until("the last tick", |_| watched::now(&frontiers).views.get(&object).is_some_and(|f| f.upper == upper));
    let mut events = 0;
    play.until("the end", |play| {
        while subscriber.take(play.bound, &play.views) {
            events += 1;
        }
        subscriber.last == Some(upper - 1)
    });
    assert!(events < 60, "{events} events for 200 ticks");
    play.hub.stop();
}

#[test]
fn a_stopping_hub_tells_its_subscribers() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let mut play = Play::start(1);
    play.create(1, &mut rng);
    let mut subscriber = play.subscribe(&[1], false, false);
    let hub = play.hub.clone();
    let drained = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(hub.drain("stopping"));
    });
    play.until("the reason", |play| {
        while subscriber.take(play.bound, &play.views) {}
        subscriber.closed.is_some()
    });
    drained.join().unwrap();
    play.hub.stop();
}
