//! Ports: how rows of sources enter a dataflow.
//!
//! Ingest creates a port at the seam, in the critical section that takes (log position p, tick t), and the command that
//! creates the dataflow carries it. It therefore does not matter when a worker obeys the command: every tick after t
//! waits in the port, and everything up to t comes out of the log.
//!
//! A port has two queues. A *replay* (a thread of the edge that reads the log) waits when its queue is full. The *live*
//! queue never makes ingest wait: when it is full it is closed, and a replay goes on from the log where it ended.
//!
//! ```text
//!  log ── replay: snapshot at as_of, ticks ──┐             ┌── worker 0's source operator
//!                                            ├── port ─────┤
//!  ingest ── live: ticks as they are sealed ─┘             └── worker 1's source operator
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use timely::scheduling::activate::SyncActivator;

use crate::repr::{Delta, Timestamp};

/// Rows that wait in a replay's queue before the replay has to wait.
const REPLAY_ROWS_MAX: usize = 200_000;
/// Ticks that wait in the live queue before it is closed.
const LIVE_TICKS_MAX: usize = 256;
/// Rows that wait in the live queue before it is closed.
const LIVE_ROWS_MAX: usize = 1_000_000;

/// What one collection gains and loses at one time.
#[derive(Clone, Debug)]
pub struct Tick {
    /// The time. It is complete with this value.
    pub time: Timestamp,
    /// The change; `None` if the collection does not change.
    pub delta: Option<Delta>,
}

/// What comes out of a port, in this order: snapshots, then ticks with growing times.
#[derive(Clone, Debug)]
pub enum PortItem {
    /// Rows that belong to the dataflow's `as_of`.
    Snapshot(Arc<Delta>),
    /// One complete time after `as_of`. The first tick, whatever its time, also completes the snapshot.
    Tick(Arc<Tick>),
    /// Every snapshot has been delivered: the time `as_of` is complete.
    SnapshotComplete,
}

/// Why a push was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The live queue is full. It has been closed; a replay must go on with the tick that was refused.
    Full,
    /// The dataflow no longer exists.
    Closed,
}

#[derive(Default)]
struct Queues {
    replay: VecDeque<PortItem>,
    replay_rows: usize,
    live: VecDeque<Arc<Tick>>,
    live_rows: usize,
    /// The reader takes from `live` (true) or from `replay`.
    following: bool,
    /// `live` got no tick since it overflowed.
    overflowed: bool,
}

struct Lane {
    queues: Mutex<Queues>,
    room: Condvar,
    activator: Mutex<Option<SyncActivator>>,
    closed: AtomicBool,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().expect("no thread panics while it holds a port's queues")
    }

    fn wake(&self) {
        if let Some(activator) = &*self.activator.lock().expect("no thread panics while it holds an activator") {
            // A worker that has gone away needs no waking.
            let _ = activator.activate();
        }
    }
}

/// The feeding end of a port, shared by all workers of one dataflow.
#[derive(Clone)]
pub struct PortFeed {
    lanes: Arc<Vec<Arc<Lane>>>,
    snapshot_rows_fed: Arc<AtomicU64>,
    snapshot_rows_total: Arc<AtomicU64>,
}

/// One worker's reading end of a port. Dropping it closes the port for the feeding end.
pub struct PortReader {
    lane: Arc<Lane>,
}

/// Creates a port for a dataflow on `workers` workers. It starts in replay: [`PortFeed::follow`] opens the live queue.
pub fn port(workers: usize) -> (PortFeed, Vec<PortReader>) {
    let lanes: Vec<Arc<Lane>> = (0..workers)
        .map(|_| {
            Arc::new(Lane {
                queues: Mutex::default(),
                room: Condvar::new(),
                activator: Mutex::new(None),
                closed: AtomicBool::new(false),
            })
        })
        .collect();
    let readers = lanes.iter().map(|lane| PortReader { lane: Arc::clone(lane) }).collect();
    let feed =
        PortFeed { lanes: Arc::new(lanes), snapshot_rows_fed: Arc::default(), snapshot_rows_total: Arc::default() };
    (feed, readers)
}

impl PortFeed {
    /// Appends to the replay, waiting while the slowest worker has too much of it in front of it.
    ///
    /// # Errors
    /// [`PushError::Closed`] when the dataflow no longer exists.
    pub fn replay(&self, item: PortItem) -> Result<(), PushError> {
        let rows = match &item {
            PortItem::Snapshot(delta) => delta.len(),
            PortItem::Tick(tick) => tick.delta.as_ref().map_or(0, Delta::len),
            PortItem::SnapshotComplete => 0,
        };
        if let PortItem::Snapshot(delta) = &item {
            self.snapshot_rows_fed.fetch_add(u64::try_from(delta.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        for lane in self.lanes.iter() {
            let mut queues = lane.lock();
            while queues.replay_rows > REPLAY_ROWS_MAX && !lane.closed.load(Ordering::Acquire) {
                queues = lane.room.wait(queues).expect("no thread panics while it holds a port's queues");
            }
            if lane.closed.load(Ordering::Acquire) {
                return Err(PushError::Closed);
            }
            queues.replay.push_back(item.clone());
            // A full queue counts at least one a tick, so that empty ticks are bounded too.
            queues.replay_rows += rows.max(1);
            drop(queues);
            lane.wake();
        }
        Ok(())
    }

    /// Ends the replay: when it has been read, the readers go on with the live queue.
    pub fn follow(&self) {
        for lane in self.lanes.iter() {
            let mut queues = lane.lock();
            queues.following = true;
            queues.overflowed = false;
            drop(queues);
            lane.wake();
        }
    }

    /// Appends a sealed tick to the live queue without waiting. Ticks may be pushed before [`PortFeed::follow`].
    ///
    /// # Errors
    /// [`PushError::Full`]: the queue is closed until [`PortFeed::reopen`]; a replay has to take over from this tick.
    /// [`PushError::Closed`]: the dataflow no longer exists.
    pub fn push(&self, tick: &Arc<Tick>) -> Result<(), PushError> {
        let mut guards = Vec::with_capacity(self.lanes.len());
        for lane in self.lanes.iter() {
            if lane.closed.load(Ordering::Acquire) {
                return Err(PushError::Closed);
            }
            guards.push(lane.lock());
        }
        // All lanes take the tick or none does: otherwise the replay would not know where to go on.
        if guards.iter().any(|q| q.overflowed || q.live.len() >= LIVE_TICKS_MAX || q.live_rows >= LIVE_ROWS_MAX) {
            for queues in &mut guards {
                queues.overflowed = true;
            }
            return Err(PushError::Full);
        }
        let rows = tick.delta.as_ref().map_or(0, Delta::len);
        for queues in &mut guards {
            queues.live.push_back(Arc::clone(tick));
            queues.live_rows += rows;
        }
        drop(guards);
        for lane in self.lanes.iter() {
            lane.wake();
        }
        Ok(())
    }

    /// Opens the live queue again after an overflow: readers first finish what the live queue still holds, then take the
    /// new replay, and after the next [`PortFeed::follow`] the live queue. Call it in the critical section in which the
    /// replay learns where it has to end.
    pub fn reopen(&self) {
        for lane in self.lanes.iter() {
            let mut queues = lane.lock();
            // What is left in the live queue precedes the replay.
            let left: Vec<PortItem> = queues.live.drain(..).map(PortItem::Tick).collect();
            queues.replay_rows += queues.live_rows;
            queues.live_rows = 0;
            queues.replay.extend(left);
            queues.following = false;
            queues.overflowed = false;
        }
    }

    /// Whether the dataflow no longer exists.
    pub fn is_closed(&self) -> bool {
        self.lanes.iter().any(|lane| lane.closed.load(Ordering::Acquire))
    }

    /// Says how many rows the snapshot will have, for progress reports.
    pub fn announce_snapshot(&self, rows: u64) {
        self.snapshot_rows_total.store(rows, Ordering::Relaxed);
    }

    /// Rows of the snapshot delivered so far, and how many there will be.
    pub fn snapshot_progress(&self) -> (u64, u64) {
        (self.snapshot_rows_fed.load(Ordering::Relaxed), self.snapshot_rows_total.load(Ordering::Relaxed))
    }
}

impl PortReader {
    /// Sets who is woken when something arrives.
    pub(crate) fn set_activator(&self, activator: SyncActivator) {
        *self.lane.activator.lock().expect("no thread panics while it holds an activator") = Some(activator);
    }

    /// The next item, if one waits.
    pub fn pop(&self) -> Option<PortItem> {
        let mut queues = self.lane.lock();
        if let Some(item) = queues.replay.pop_front() {
            let rows = match &item {
                PortItem::Snapshot(delta) => delta.len(),
                PortItem::Tick(tick) => tick.delta.as_ref().map_or(0, Delta::len),
                PortItem::SnapshotComplete => 0,
            };
            queues.replay_rows = queues.replay_rows.saturating_sub(rows.max(1));
            self.lane.room.notify_all();
            return Some(item);
        }
        if !queues.following {
            return None;
        }
        let tick = queues.live.pop_front()?;
        queues.live_rows -= tick.delta.as_ref().map_or(0, Delta::len);
        Some(PortItem::Tick(tick))
    }

    /// Whether an item waits.
    pub fn ready(&self) -> bool {
        let queues = self.lane.lock();
        !queues.replay.is_empty() || (queues.following && !queues.live.is_empty())
    }
}

impl Drop for PortReader {
    fn drop(&mut self) {
        // The lock orders the store with a replay that is about to wait.
        let queues = self.lane.lock();
        self.lane.closed.store(true, Ordering::Release);
        drop(queues);
        self.lane.room.notify_all();
    }
}
