//! Replays: an importer's way from the log to the sealed ticks.
//!
//! ```text
//!            replay reached its end,            the live queue is full
//!            nothing overflowed                 at tick n
//!  Joining ─────────────────────► Following ───────────────────────┐
//!   │  ▲                                                           ▼
//!   │  └──────────────── replay is near the last sealed tick ─── Behind
//!   └─────────────── the live queue overflowed at tick n ──────────▲
//! ```
//! While it joins, an importer is pushed every tick behind the end of its replay; what is pushed waits in the live queue.
//! When the live queue overflows at tick n, the queue holds exactly the ticks before n: they are moved behind what was
//! replayed, and the next replay goes on at n. Nothing is lost and nothing comes twice, because every change of stage
//! happens in the critical section in which ticks are sealed.
//!
//! A replay reads only what is durable, so that readers of the log never meet its writer.

use std::sync::Arc;

use headwater_dataflow::port::{PortFeed, PortItem, PushError, Tick};
use headwater_dataflow::repr::{Delta, Part, Timestamp};

use super::Inner;
use super::core::Stage;
use crate::error::EdgeError;
use crate::log::cursor::{LogCursor, counts_through};
use crate::log::object::ObjectLog;

/// A replay that is this many ticks behind lets ticks be pushed again.
const NEAR_TICKS: u64 = 64;

/// Why a replay ended before its time.
enum End {
    /// The dataflow or the source is gone, or ingest is shut down.
    NotWanted,
    /// The log cannot be read.
    Failed(EdgeError),
}

impl From<PushError> for End {
    fn from(_: PushError) -> End {
        // A replay waits for room: the only reason is that the port is closed.
        End::NotWanted
    }
}

impl From<EdgeError> for End {
    fn from(error: EdgeError) -> End {
        match error {
            EdgeError::Stopped => End::NotWanted,
            other => End::Failed(other),
        }
    }
}

/// One importer's replay.
pub(crate) struct Replay {
    /// The importer.
    pub(crate) importer: u64,
    /// Where it gets its ticks.
    pub(crate) feed: PortFeed,
    /// The log, and which of its collections; `None` for the clock, which has no rows.
    pub(crate) log: Option<(Arc<ObjectLog>, Part)>,
    /// The first time after what has been delivered.
    pub(crate) next: Timestamp,
}

impl Replay {
    /// Hydrates a new importer: everything up to `as_of` as its snapshot, later ticks up to `end` one by one, and then
    /// what was pushed meanwhile. The importer must have been registered when `end` was the last sealed tick.
    pub(crate) fn hydrate(mut self, inner: &Inner, as_of: Timestamp, end: Timestamp) {
        let outcome = self.snapshot(inner, as_of, end).and_then(|cursor| self.join(inner, cursor, end));
        self.conclude(inner, outcome);
    }

    /// Goes on for an importer whose live queue overflowed at tick `next`.
    pub(crate) fn resume(mut self, inner: &Inner) {
        self.feed.reopen();
        let mut cursor = self.log.as_ref().map(|(log, part)| LogCursor::new(log, *part, self.next));
        let outcome = self.approach(inner, &mut cursor).and_then(|end| self.join(inner, cursor, end));
        self.conclude(inner, outcome);
    }

    fn conclude(&self, inner: &Inner, outcome: Result<(), End>) {
        let Err(end) = outcome else { return };
        inner.core().importers.remove(&self.importer);
        match end {
            // Files vanish when their source is dropped.
            End::Failed(_) if self.log.as_ref().is_some_and(|(log, _)| log.is_removed()) => {}
            End::Failed(error) => inner.fail(&error),
            End::NotWanted => {}
        }
    }

    fn snapshot(&mut self, inner: &Inner, as_of: Timestamp, end: Timestamp) -> Result<Option<LogCursor>, End> {
        inner.durable.wait_for(end)?;
        let mut cursor = None;
        if let Some((log, part)) = &self.log {
            self.feed.announce_snapshot(counts_through(log, as_of)?.of(*part));
            let mut reading = LogCursor::new(log, *part, 0);
            while let Some(rows) = reading.next_coalesced(as_of)? {
                self.feed.replay(PortItem::Snapshot(Arc::new(Delta::insert(rows))))?;
            }
            cursor = Some(reading);
        }
        self.feed.replay(PortItem::SnapshotComplete)?;
        self.next = as_of + 1;
        Ok(cursor)
    }

    /// Delivers ticks up to `end`, up to which the log must be durable.
    fn ticks(&mut self, cursor: &mut Option<LogCursor>, end: Timestamp) -> Result<(), End> {
        if let Some(cursor) = cursor {
            while let Some(logged) = cursor.next(end)? {
                let delta = Some(Delta::insert(logged.rows));
                self.feed.replay(PortItem::Tick(Arc::new(Tick { time: logged.tick, delta })))?;
                self.next = logged.tick + 1;
            }
        }
        if self.next <= end {
            self.feed.replay(PortItem::Tick(Arc::new(Tick { time: end, delta: None })))?;
            self.next = end + 1;
        }
        Ok(())
    }

    /// Reads on until few ticks are missing, then lets ticks be pushed. Returns the last tick that will not be.
    fn approach(&mut self, inner: &Inner, cursor: &mut Option<LogCursor>) -> Result<Timestamp, End> {
        loop {
            // At least the refused tick, which may not be durable yet.
            let bound = inner.durable.wait_for(self.next)?;
            self.ticks(cursor, bound.tick)?;
            let mut core = inner.core();
            if core.sequence.saturating_sub(bound.sequence) <= NEAR_TICKS {
                let end = core.sealed;
                let importer = core.importers.get_mut(&self.importer).ok_or(End::NotWanted)?;
                importer.stage = Stage::Joining { overflow: None };
                return Ok(end);
            }
        }
    }

    /// Delivers ticks up to `end`, and then makes the importer follow.
    fn join(&mut self, inner: &Inner, mut cursor: Option<LogCursor>, mut end: Timestamp) -> Result<(), End> {
        loop {
            inner.durable.wait_for(end)?;
            self.ticks(&mut cursor, end)?;
            {
                let mut core = inner.core();
                let importer = core.importers.get_mut(&self.importer).ok_or(End::NotWanted)?;
                match importer.stage {
                    Stage::Joining { overflow: None } => {
                        importer.stage = Stage::Following;
                        self.feed.follow();
                        return Ok(());
                    }
                    Stage::Joining { overflow: Some(from) } => {
                        importer.stage = Stage::Behind;
                        self.feed.reopen();
                        self.next = from;
                    }
                    Stage::Following | Stage::Behind => unreachable!("only its replay ends an importer's joining"),
                }
            }
            // What was pushed before the overflow has been delivered: pass over it in the log.
            cursor = self.log.as_ref().map(|(log, part)| LogCursor::new(log, *part, self.next));
            end = self.approach(inner, &mut cursor)?;
        }
    }
}
