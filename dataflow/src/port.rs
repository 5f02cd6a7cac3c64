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
//!  log ── replay: snapshot at as_of, ticks ──┐
//!                                            ├── port ── source operator of the process's first worker
//!  ingest ── live: ticks as they are sealed ─┘
//! ```
//!
//! One worker reads, and gives the others their shares of what is worth sharing: a tick of a few rows wakes it alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::Thread;

use crate::repr::{Delta, Timestamp};

/// Rows that wait in a replay's queue before the replay has to wait.
const REPLAY_ROWS_MAX: usize = 200_000;
/// With no more than so many left a replay that waits goes on: waking it for every tick costs more than a tick does.
const REPLAY_ROWS_LOW: usize = REPLAY_ROWS_MAX / 2;
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

struct Shared {
    queues: Mutex<Queues>,
    room: Condvar,
    /// Something has arrived since the reader last looked.
    arrived: AtomicBool,
    /// Who reads.
    thread: OnceLock<Thread>,
    closed: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().expect("no thread panics while it holds a port's queues")
    }

    /// Called after something has been queued. Before there is a reader nobody needs waking: it looks first.
    fn wake(&self) {
        self.arrived.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// The feeding end of a port.
#[derive(Clone)]
pub struct PortFeed {
    shared: Arc<Shared>,
    snapshot_rows_fed: Arc<AtomicU64>,
    snapshot_rows_total: Arc<AtomicU64>,
}

/// The reading end of a port. Dropping it closes the port for the feeding end.
pub struct PortReader {
    shared: Arc<Shared>,
}

/// Creates a port for a dataflow. It starts in replay: [`PortFeed::follow`] opens the live queue.
pub fn port() -> (PortFeed, PortReader) {
    let shared = Arc::new(Shared {
        queues: Mutex::default(),
        room: Condvar::new(),
        arrived: AtomicBool::new(false),
        thread: OnceLock::new(),
        closed: AtomicBool::new(false),
    });
    let reader = PortReader { shared: Arc::clone(&shared) };
    (PortFeed { shared, snapshot_rows_fed: Arc::default(), snapshot_rows_total: Arc::default() }, reader)
}

impl PortFeed {
    /// Appends to the replay, waiting while the reader has too much of it in front of it.
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
        let mut queues = self.shared.lock();
        while queues.replay_rows > REPLAY_ROWS_MAX && !self.is_closed() {
            queues = self.shared.room.wait(queues).expect("no thread panics while it holds a port's queues");
        }
        if self.is_closed() {
            return Err(PushError::Closed);
        }
        queues.replay.push_back(item);
        // A full queue counts at least one a tick, so that empty ticks are bounded too.
        queues.replay_rows += rows.max(1);
        drop(queues);
        self.shared.wake();
        Ok(())
    }

    /// Ends the replay: when it has been read, the reader goes on with the live queue.
    pub fn follow(&self) {
        let mut queues = self.shared.lock();
        queues.following = true;
        queues.overflowed = false;
        drop(queues);
        self.shared.wake();
    }

    /// Appends a sealed tick to the live queue without waiting. Ticks may be pushed before [`PortFeed::follow`].
    ///
    /// # Errors
    /// [`PushError::Full`]: the queue is closed until [`PortFeed::reopen`]; a replay has to take over from this tick.
    /// [`PushError::Closed`]: the dataflow no longer exists.
    pub fn push(&self, tick: &Arc<Tick>) -> Result<(), PushError> {
        if self.is_closed() {
            return Err(PushError::Closed);
        }
        let mut queues = self.shared.lock();
        if queues.overflowed || queues.live.len() >= LIVE_TICKS_MAX || queues.live_rows >= LIVE_ROWS_MAX {
            queues.overflowed = true;
            return Err(PushError::Full);
        }
        queues.live.push_back(Arc::clone(tick));
        queues.live_rows += tick.delta.as_ref().map_or(0, Delta::len);
        drop(queues);
        self.shared.wake();
        Ok(())
    }

    /// Opens the live queue again after an overflow: the reader first finishes what the live queue still holds, then takes the
    /// new replay, and after the next [`PortFeed::follow`] the live queue. Call it in the critical section in which the
    /// replay learns where it has to end.
    pub fn reopen(&self) {
        let mut queues = self.shared.lock();
        // What is left in the live queue precedes the replay.
        let left: Vec<PortItem> = queues.live.drain(..).map(PortItem::Tick).collect();
        queues.replay_rows += queues.live_rows;
        queues.live_rows = 0;
        queues.replay.extend(left);
        queues.following = false;
        queues.overflowed = false;
    }

    /// Whether the dataflow no longer exists.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
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
    /// Makes the calling thread the one that is woken when something arrives; it looks with [`PortReader::arrivals`].
    pub(crate) fn read_here(&self) {
        // A reader has one thread for its whole life.
        let _ = self.shared.thread.set(std::thread::current());
    }

    /// Tells whether something has arrived since the last look.
    pub(crate) fn arrivals(&self) -> Arrivals {
        Arrivals(Arc::clone(&self.shared))
    }

    /// The next item, if one waits.
    pub fn pop(&self) -> Option<PortItem> {
        let mut queues = self.shared.lock();
        if let Some(item) = queues.replay.pop_front() {
            let rows = match &item {
                PortItem::Snapshot(delta) => delta.len(),
                PortItem::Tick(tick) => tick.delta.as_ref().map_or(0, Delta::len),
                PortItem::SnapshotComplete => 0,
            };
            queues.replay_rows = queues.replay_rows.saturating_sub(rows.max(1));
            if queues.replay_rows <= REPLAY_ROWS_LOW {
                self.shared.room.notify_all();
            }
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
        let queues = self.shared.lock();
        !queues.replay.is_empty() || (queues.following && !queues.live.is_empty())
    }
}

/// Tells whether something has arrived at a port.
pub(crate) struct Arrivals(Arc<Shared>);

impl Arrivals {
    /// Whether something has arrived since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.arrived.load(Ordering::Relaxed) && self.0.arrived.swap(false, Ordering::Acquire)
    }
}

impl Drop for PortReader {
    fn drop(&mut self) {
        // The lock orders the store with a replay that is about to wait.
        let queues = self.shared.lock();
        self.shared.closed.store(true, Ordering::Release);
        drop(queues);
        self.shared.room.notify_all();
    }
}
