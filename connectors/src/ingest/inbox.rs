//! The inbox: where readers leave rows and the ingest thread finds the next tick.
//!
//! It decides *when* a tick closes: when rows wait and the previous tick is durable, or when rows have waited long enough
//! or are many enough and only a few ticks are still on their way to the disk, or when nothing happened for a while.
//! A source whose rows wait too long for a tick makes its reader wait, no other. A write closes a tick at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use headwater_dataflow::repr::ObjectId;

use super::status::SourceState;
use super::write::Write;
use crate::log::bind::Reached;

/// Sealed ticks that may wait for the disk.
const IN_FLIGHT_MAX: usize = 4;
/// Sealed ticks that may wait for the disk while writes come. Each is acknowledged by itself, so the more of them go to the
/// disk together the better.
const WRITES_IN_FLIGHT_MAX: usize = 64;
/// A reader waits while its source has this many ticks' worth of rows in the inbox.
const WAITING_TICKS_MAX: usize = 4;

/// What a reader got out of its source in one go.
#[derive(Debug)]
pub(crate) struct Item {
    /// Rows, if there are any.
    pub(crate) rows: Option<RecordBatch>,
    /// Errors, if there are any.
    pub(crate) errors: Option<RecordBatch>,
    /// What is reached before the item.
    pub(crate) start: Reached,
    /// What is reached after it.
    pub(crate) end: Reached,
    /// The source's state after it.
    pub(crate) state: SourceState,
    /// When it arrived.
    pub(crate) arrived: Instant,
    /// Whether its rows may go into several ticks. The position between is then the one before it and a number of rows,
    /// which says the same after a restart only if the source returns the same rows in the same order again.
    pub(crate) divisible: bool,
}

impl Item {
    fn cost(&self) -> usize {
        row_count(self.rows.as_ref()) + row_count(self.errors.as_ref())
    }

    /// Whether it must go through a tick, because the log changes.
    fn is_logged(&self) -> bool {
        self.cost() > 0 || self.start != self.end
    }

    /// Takes the first `rows` rows and all errors away.
    fn split(&mut self, rows: usize) -> Item {
        let all = self.rows.take().expect("only items with rows are divided");
        let mut middle = self.start.clone();
        middle.rows_ahead += rows as u64;
        middle.errors_ahead += row_count(self.errors.as_ref()) as u64;
        let head = Item {
            rows: Some(all.slice(0, rows)),
            errors: self.errors.take(),
            start: std::mem::replace(&mut self.start, middle.clone()),
            end: middle,
            state: SourceState::Reading,
            arrived: self.arrived,
            divisible: true,
        };
        self.rows = Some(all.slice(rows, all.num_rows() - rows));
        head
    }
}

fn row_count(batch: Option<&RecordBatch>) -> usize {
    batch.map_or(0, RecordBatch::num_rows)
}

/// What the next tick takes from one source.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The source.
    pub(crate) object: ObjectId,
    /// Its items, in order; at least one.
    pub(crate) items: Vec<Item>,
}

impl Taken {
    /// Whether the log changes.
    pub(crate) fn is_logged(&self) -> bool {
        self.items.iter().any(Item::is_logged)
    }
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    cost: usize,
}

impl Queue {
    /// Moves items worth about `budget` rows to `taken`; returns what they are worth.
    fn take(&mut self, budget: usize, taken: &mut Vec<Item>) -> usize {
        let mut spent = 0;
        while let Some(front) = self.items.front_mut() {
            let (cost, rows, left) = (front.cost(), row_count(front.rows.as_ref()), budget - spent.min(budget));
            let item = if cost <= left {
                self.items.pop_front().expect("there is a front")
            } else if left == 0 {
                break;
            } else if rows > left && front.divisible {
                front.split(left)
            } else {
                self.items.pop_front().expect("there is a front")
            };
            spent += item.cost();
            taken.push(item);
        }
        self.cost -= spent;
        spent
    }
}

/// Why the inbox closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What waits is still sealed.
    Drain,
    /// What waits is forgotten.
    Abandon,
}

#[derive(Debug)]
struct State {
    queues: BTreeMap<ObjectId, Queue>,
    /// Bounded by those who write: each waits until its write is sealed.
    writes: VecDeque<Write>,
    in_flight: usize,
    stop: Option<Stop>,
    last_tick: Instant,
    /// The source that comes first in the next tick.
    first: ObjectId,
}

impl State {
    fn waiting_cost(&self) -> usize {
        self.queues.values().map(|queue| queue.cost).sum()
    }

    fn oldest(&self) -> Option<Instant> {
        let logged = |queue: &Queue| queue.items.iter().find(|item| item.is_logged()).map(|item| item.arrived);
        self.queues.values().filter_map(logged).min()
    }

    /// Takes a tick's worth, an equal share of every source that has as much.
    fn take(&mut self, rows_max: usize) -> Vec<Taken> {
        let mut taken: BTreeMap<ObjectId, Vec<Item>> = BTreeMap::new();
        let mut budget = rows_max;
        loop {
            let waiting: Vec<ObjectId> =
                self.queues.iter().filter(|(_, queue)| !queue.items.is_empty()).map(|(object, _)| *object).collect();
            let from = waiting.partition_point(|object| *object < self.first);
            let mut moved = 0;
            for (index, object) in waiting[from..].iter().chain(&waiting[..from]).enumerate() {
                let share = budget.div_ceil(waiting.len() - index);
                let items = taken.entry(*object).or_default();
                let before = items.len();
                let spent = self.queues.get_mut(object).expect("it was just listed").take(share, items);
                budget = budget.saturating_sub(spent);
                moved += items.len() - before;
            }
            if moved == 0 || budget == 0 {
                break;
            }
        }
        self.first = ObjectId(self.first.0 + 1);
        if self.queues.last_key_value().is_some_and(|(last, _)| self.first > *last) {
            self.first = ObjectId(0);
        }
        taken
            .into_iter()
            .filter(|(_, items)| !items.is_empty())
            .map(|(object, items)| Taken { object, items })
            .collect()
    }
}

/// What the ingest thread has to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Seal a tick with this, perhaps nothing.
    Seal(Vec<Taken>, Option<Write>),
    /// Note the new states of these sources; nothing of them needs a tick.
    Note(Vec<Taken>),
    /// End.
    Stop,
}

/// When ticks close.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TickPolicy {
    /// Rows of a tick, over all sources.
    pub(crate) rows_max: usize,
    /// Longest wait of a row while the disk keeps up.
    pub(crate) wait_max: Duration,
    /// Longest time without a tick.
    pub(crate) idle: Duration,
}

/// The inbox of all sources.
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Something for the ingest thread.
    arrived: Condvar,
    /// Something for waiting readers.
    room: Condvar,
    policy: TickPolicy,
}

impl Inbox {
    /// An empty inbox.
    pub(crate) fn new(policy: TickPolicy) -> Inbox {
        let state = State {
            queues: BTreeMap::new(),
            writes: VecDeque::new(),
            in_flight: 0,
            stop: None,
            last_tick: Instant::now(),
            first: ObjectId(0),
        };
        Inbox { state: Mutex::new(state), arrived: Condvar::new(), room: Condvar::new(), policy }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the inbox")
    }

    /// Rows a reader asks its source for at a time.
    pub(crate) fn rows_max(&self) -> usize {
        self.policy.rows_max
    }

    /// Accepts items of `object` from now on.
    pub(crate) fn add(&self, object: ObjectId) {
        self.lock().queues.insert(object, Queue::default());
    }

    /// Forgets what waits of `object` and refuses more.
    pub(crate) fn remove(&self, object: ObjectId) {
        self.lock().queues.remove(&object);
        self.room.notify_all();
    }

    /// Closes the inbox.
    pub(crate) fn stop(&self, stop: Stop) {
        let mut state = self.lock();
        if state.stop != Some(Stop::Abandon) {
            state.stop = Some(stop);
        }
        if stop == Stop::Abandon {
            // Whoever waits for them learns from the dropped callbacks that nothing was written.
            state.writes.clear();
        }
        drop(state);
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// Whether items of `object` are still accepted.
    pub(crate) fn is_open(&self, object: ObjectId) -> bool {
        let state = self.lock();
        state.stop.is_none() && state.queues.contains_key(&object)
    }

    /// Leaves an item, waiting while too much of the same source waits. False if it is not wanted any more.
    pub(crate) fn offer(&self, object: ObjectId, item: Item) -> bool {
        let mut state = self.lock();
        loop {
            if state.stop.is_some() {
                return false;
            }
            let Some(queue) = state.queues.get_mut(&object) else { return false };
            if queue.cost < self.policy.rows_max.saturating_mul(WAITING_TICKS_MAX) {
                queue.cost += item.cost();
                queue.items.push_back(item);
                drop(state);
                self.arrived.notify_all();
                return true;
            }
            state = self.room.wait(state).expect("no thread panics while it holds the inbox");
        }
    }

    /// Leaves a write, behind those that were left before. It is dropped if the inbox is closed.
    pub(crate) fn write(&self, write: Write) {
        let mut state = self.lock();
        if state.stop.is_none() {
            state.writes.push_back(write);
            drop(state);
            self.arrived.notify_all();
        }
    }

    /// So many sealed ticks have become durable.
    pub(crate) fn committed(&self, ticks: usize) {
        self.lock().in_flight -= ticks;
        self.arrived.notify_all();
    }

    /// Waits for the next thing to do. A tick that is returned counts as in flight until [`Inbox::committed`].
    pub(crate) fn next(&self) -> Next {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let oldest = state.oldest();
            let draining = match state.stop {
                Some(Stop::Abandon) => return Next::Stop,
                Some(Stop::Drain) if oldest.is_none() && state.writes.is_empty() => return Next::Stop,
                Some(Stop::Drain) => true,
                None => false,
            };
            if state.in_flight < WRITES_IN_FLIGHT_MAX
                && let Some(write) = state.writes.pop_front()
            {
                return Next::Seal(self.take(&mut state, now), Some(write));
            }
            let room = state.in_flight < IN_FLIGHT_MAX;
            let mut wake_at = None;
            match oldest {
                Some(oldest) => {
                    let late = oldest + self.policy.wait_max;
                    let full = state.waiting_cost() >= self.policy.rows_max;
                    if state.in_flight == 0 || (room && (draining || full || late <= now)) {
                        return Next::Seal(self.take(&mut state, now), None);
                    }
                    if room {
                        wake_at = Some(late);
                    }
                }
                None => {
                    if state.queues.values().any(|queue| !queue.items.is_empty()) {
                        return Next::Note(state.take(self.policy.rows_max));
                    }
                    let idle_at = state.last_tick + self.policy.idle;
                    if room && idle_at <= now {
                        return Next::Seal(self.take(&mut state, now), None);
                    }
                    if room {
                        wake_at = Some(idle_at);
                    }
                }
            }
            state = match wake_at {
                Some(at) => {
                    let wait = at.saturating_duration_since(now);
                    self.arrived.wait_timeout(state, wait).expect("no thread panics while it holds the inbox").0
                }
                None => self.arrived.wait(state).expect("no thread panics while it holds the inbox"),
            };
        }
    }

    fn take(&self, state: &mut State, now: Instant) -> Vec<Taken> {
        state.in_flight += 1;
        state.last_tick = now;
        let taken = state.take(self.policy.rows_max);
        self.room.notify_all();
        taken
    }
}
