//! The critical section of ingest: what a tick changes at once, and what a seam sees at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use headwater_dataflow::port::{PortFeed, PushError, Tick};
use headwater_dataflow::repr::{CollectionId, Delta, ObjectId, Timestamp};

use super::status::{SourceState, SourceStatus};
use super::throttle::Throttle;
use crate::log::bind::Reached;
use crate::log::object::{Counts, ObjectLog};
use crate::log::{LogPart, LogTick};
use crate::source::{SourceDescription, SourceProgress};

/// A clock that runs ahead by more than this is reported, in milliseconds.
const JUMP_MS: u64 = 60_000;

/// A source that is being read, or a table.
pub(crate) struct SourceEntry {
    /// What it reads; `None` for a table.
    pub(crate) description: Option<SourceDescription>,
    /// Its log.
    pub(crate) log: Arc<ObjectLog>,
    /// How much of it is in sealed ticks.
    pub(crate) reached: Reached,
    /// Rows and errors in sealed ticks.
    pub(crate) counts: Counts,
    /// The tick of the newest row or error.
    pub(crate) last_tick: Timestamp,
    /// Its state as of the last sealed tick.
    pub(crate) state: SourceState,
    /// What its reader has read.
    pub(crate) progress: Arc<Mutex<SourceProgress>>,
    /// What its reader may read.
    pub(crate) throttle: Arc<Throttle>,
}

impl SourceEntry {
    /// The source for those who ask.
    pub(crate) fn status(&self) -> SourceStatus {
        let progress = self.progress.lock().expect("no thread panics while it holds a source's progress").clone();
        SourceStatus {
            records: self.counts.rows,
            errors: self.counts.errors,
            bytes_read: progress.bytes_read,
            bytes_total: progress.bytes_total,
            records_behind: progress.records_behind,
            waits_for: progress.waits_for,
            pace: self.throttle.pace(),
            state: self.state.clone(),
            last_tick: self.last_tick,
        }
    }
}

/// How an importer gets its ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A replay is on its way to a tick at which ticks have been pushed ever since; it overflowed at the given one.
    Joining {
        /// The first tick that did not find room.
        overflow: Option<Timestamp>,
    },
    /// Ticks are pushed as they are sealed.
    Following,
    /// A replay is far behind; nothing is pushed.
    Behind,
}

/// A collection that a dataflow reads.
pub(crate) struct Importer {
    /// What it reads.
    pub(crate) collection: CollectionId,
    /// Where to.
    pub(crate) feed: PortFeed,
    /// How.
    pub(crate) stage: Stage,
}

/// An importer that overflowed: a replay has to go on at `from`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// The importer.
    pub(crate) importer: u64,
    /// The tick that was refused.
    pub(crate) from: Timestamp,
}

/// What one source brings into a tick.
pub(crate) struct SealPart {
    /// The source.
    pub(crate) object: ObjectId,
    /// Rows, if there are any.
    pub(crate) rows: Option<RecordBatch>,
    /// Errors, if there are any.
    pub(crate) errors: Option<RecordBatch>,
    /// What is reached, if the log has to know.
    pub(crate) reached: Option<Reached>,
    /// The state afterwards.
    pub(crate) state: SourceState,
}

/// Everything a tick or a seam touches.
#[derive(Default)]
pub(crate) struct Core {
    /// The last sealed tick; after a recovery the last bound one.
    pub(crate) sealed: Timestamp,
    /// No time up to this may be minted: a process before this one may have announced it.
    pub(crate) floor: Timestamp,
    /// How many ticks were sealed.
    pub(crate) sequence: u64,
    /// How many of them were empty.
    pub(crate) empty_ticks: u64,
    /// What was sealed by this process.
    pub(crate) sealed_counts: Counts,
    /// How often an importer overflowed.
    pub(crate) overflows: u64,
    /// The sources.
    pub(crate) sources: BTreeMap<ObjectId, SourceEntry>,
    /// What was recovered of objects whose source has not been added.
    pub(crate) recovered: BTreeMap<ObjectId, (Option<Arc<ObjectLog>>, Reached)>,
    /// The importers.
    pub(crate) importers: BTreeMap<u64, Importer>,
    /// The name of the next importer.
    pub(crate) next_importer: u64,
    /// Sources are read.
    pub(crate) started: bool,
    /// Ingest is shut down.
    pub(crate) stopped: bool,
    /// Why the log failed.
    pub(crate) failure: Option<String>,
}

impl Core {
    /// Registers an importer: it gets every tick sealed from now on.
    pub(crate) fn register(&mut self, collection: CollectionId, feed: PortFeed) -> u64 {
        let importer = self.next_importer;
        self.next_importer += 1;
        self.importers.insert(importer, Importer { collection, feed, stage: Stage::Joining { overflow: None } });
        importer
    }

    /// Notes the states of sources that need no tick.
    pub(crate) fn note(&mut self, object: ObjectId, state: SourceState) {
        if let Some(source) = self.sources.get_mut(&object) {
            source.state = state;
        }
    }

    /// Seals a tick: mints its time and hands it to every importer. Returns what the log has to write, and who could not
    /// keep up.
    pub(crate) fn seal(&mut self, now_ms: u64, parts: Vec<SealPart>) -> (LogTick, Vec<Overflow>) {
        let tick = self.mint(now_ms);
        let mut deltas: BTreeMap<CollectionId, Arc<Tick>> = BTreeMap::new();
        let mut logged = Vec::with_capacity(parts.len());
        for part in parts {
            // The source may have been dropped while its rows were on their way.
            let Some(source) = self.sources.get_mut(&part.object) else { continue };
            source.state = part.state;
            let Some(reached) = part.reached else { continue };
            for (collection, batch) in [(part.object.rows(), &part.rows), (part.object.errors(), &part.errors)] {
                if let Some(batch) = batch {
                    let delta = Some(Delta::insert(batch.clone()));
                    deltas.insert(collection, Arc::new(Tick { time: tick, delta }));
                    source.last_tick = tick;
                }
            }
            let rows = part.rows.as_ref().map_or(0, |rows| rows.num_rows() as u64);
            let errors = part.errors.as_ref().map_or(0, |errors| errors.num_rows() as u64);
            for counts in [&mut source.counts, &mut self.sealed_counts] {
                counts.rows += rows;
                counts.errors += errors;
            }
            source.reached = reached.clone();
            logged.push(LogPart { log: Arc::clone(&source.log), rows: part.rows, errors: part.errors, reached });
        }
        self.empty_ticks += u64::from(logged.is_empty());
        let overflows = self.push(tick, &deltas);
        (LogTick { tick, sequence: self.sequence, parts: logged }, overflows)
    }

    /// The time of the next tick: the clock's, unless it stands still or goes back.
    fn mint(&mut self, now_ms: u64) -> Timestamp {
        if self.sequence > 0 && now_ms > self.sealed + JUMP_MS {
            tracing::warn!(from = self.sealed, to = now_ms, "the clock jumped forward by {} ms", now_ms - self.sealed);
        }
        let tick = now_ms.max(self.sealed.max(self.floor) + 1);
        self.sealed = tick;
        self.sequence += 1;
        tick
    }

    fn push(&mut self, tick: Timestamp, deltas: &BTreeMap<CollectionId, Arc<Tick>>) -> Vec<Overflow> {
        let unchanged = Arc::new(Tick { time: tick, delta: None });
        let mut overflows = Vec::new();
        self.importers.retain(|id, importer| {
            if !matches!(importer.stage, Stage::Following | Stage::Joining { overflow: None }) {
                return !importer.feed.is_closed();
            }
            match importer.feed.push(deltas.get(&importer.collection).unwrap_or(&unchanged)) {
                Ok(()) => true,
                Err(PushError::Closed) => false,
                Err(PushError::Full) => {
                    if importer.stage == Stage::Following {
                        importer.stage = Stage::Behind;
                        overflows.push(Overflow { importer: *id, from: tick });
                    } else {
                        importer.stage = Stage::Joining { overflow: Some(tick) };
                    }
                    self.overflows += 1;
                    true
                }
            }
        });
        overflows
    }
}
