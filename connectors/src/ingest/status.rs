//! What ingest says about itself and its sources.

use headwater_dataflow::repr::Timestamp;

use crate::source::Pace;

/// How far a source has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// There is more to read, as far as is known.
    Reading,
    /// Everything that existed when the source last looked is in sealed ticks; more may come.
    CaughtUp,
    /// The input was bounded and all of it is in sealed ticks.
    Ended,
    /// The source cannot be read; the text says why. It is tried again after a restart.
    Failed(String),
}

/// A source as of the last sealed tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Rows in sealed ticks, over the whole life of the source.
    pub records: u64,
    /// Errors in sealed ticks, over the whole life of the source.
    pub errors: u64,
    /// Bytes read, as the source counts them: with those of earlier processes.
    pub bytes_read: u64,
    /// Bytes there are to read, if the source knows.
    pub bytes_total: Option<u64>,
    /// Records there are to read, if the source knows.
    pub records_behind: Option<u64>,
    /// What the source waits for, if something outside is away.
    pub waits_for: Option<String>,
    /// How fast it is read.
    pub pace: Pace,
    /// How far it has come. When this says `CaughtUp` or `Ended`, a view that is complete at `last_tick` has all of it.
    pub state: SourceState,
    /// The tick that holds the newest row or error; 0 if there is none.
    pub last_tick: Timestamp,
}

/// What ingest did since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct IngestMetrics {
    /// Sealed ticks, empty ones included.
    pub ticks: u64,
    /// Sealed ticks that changed no source.
    pub empty_ticks: u64,
    /// Rows in sealed ticks.
    pub rows: u64,
    /// Errors in sealed ticks.
    pub errors: u64,
    /// Bytes appended to the log.
    pub bytes_appended: u64,
    /// Syncs of log files.
    pub syncs: u64,
    /// Time spent in syncs, in seconds.
    pub sync_seconds: f64,
    /// Imports that get ticks as they are sealed.
    pub imports_following: usize,
    /// Imports that read the log, because they are hydrating or fell behind.
    pub imports_replaying: usize,
    /// How often an import fell behind and went on from the log.
    pub overflows: u64,
}
