//! The durable input log: every row of every source with its tick, and bindings from ticks to source positions.
//!
//! ```text
//!  data_dir/format                  "headwater 1": the version of all that follows
//!  data_dir/lock                    held by the process that works here
//!  data_dir/log/<object>/<n>.seg    frames: head, rows' schema, errors' schema, then the rows and errors of ticks
//!  data_dir/bind/<n>.seg            frames: bindings
//! ```
//! A tick is durable in this order: its rows are appended to the segments of their objects, the segments are synced, a
//! binding that names the new ends and source positions is appended and synced. What stands behind the last binding
//! never happened: recovery cuts it. What stands before it must be whole: recovery reads every byte of it, and refuses
//! anything else by file and byte.
//!
//! Reading without this program: the frame layout is in [`frame`]. In one segment, the payload of the rows' schema frame
//! followed by the payloads of all frames of rows is an Arrow IPC stream; the same holds for errors. Heads and bindings
//! are JSON.
//!
//! Times are safe across restarts because of the *lease*: an announced time is bound itself or, if the tick was empty,
//! lies below the lease of a durable binding. A restart goes on above the lease.
//!
//! There is one [`Log`], used by one thread. Readers work beside it on [`object::ObjectLog`]s and see what is bound.

pub(crate) mod bind;
pub(crate) mod cursor;
mod dir;
pub(crate) mod frame;
pub(crate) mod object;
mod recover;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::{ObjectId, Timestamp};

use self::bind::{BindLog, Bindings, ObjectBind, Reached};
use self::object::{Extent, ObjectLog};
use self::writer::ObjectWriter;
use crate::error::EdgeError;

/// How far a binding reserves times beyond its own, in milliseconds.
const LEASE_MS: u64 = 10_000;
/// An empty tick that comes closer than this to the lease renews it, in milliseconds.
const LEASE_RENEW_MS: u64 = 3_000;
/// Size at which an object's log goes on in a fresh segment, in bytes.
const SEGMENT_LEN_MAX: u64 = 64 << 20;

/// What one object gains at one tick.
#[derive(Debug)]
pub(crate) struct LogPart {
    /// Where it goes.
    pub(crate) log: Arc<ObjectLog>,
    /// Rows, if there are any.
    pub(crate) rows: Option<RecordBatch>,
    /// Errors, if there are any.
    pub(crate) errors: Option<RecordBatch>,
    /// How much of the source is in the log with this tick.
    pub(crate) reached: Reached,
}

/// A sealed tick on its way into the log.
#[derive(Debug)]
pub(crate) struct LogTick {
    /// Its time.
    pub(crate) tick: Timestamp,
    /// How many ticks this process sealed up to it.
    pub(crate) sequence: u64,
    /// What changes; empty for a tick that only says that time passes.
    pub(crate) parts: Vec<LogPart>,
}

/// What the log has cost since the process started.
#[derive(Debug, Default)]
pub(crate) struct LogFigures {
    /// Bytes written to segments.
    pub(crate) bytes: AtomicU64,
    /// Syncs of segments.
    pub(crate) syncs: AtomicU64,
    /// Time spent in them.
    pub(crate) sync_ns: AtomicU64,
}

impl LogFigures {
    fn count_sync(&self, since: Instant) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_ns.fetch_add(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The writing end of the log.
pub(crate) struct Log {
    dir: PathBuf,
    bind: BindLog,
    writers: BTreeMap<ObjectId, ObjectWriter>,
    removed: BTreeSet<ObjectId>,
    segment_len_max: u64,
    figures: Arc<LogFigures>,
    /// A binding could not be written: what is on disk is unknown.
    broken: bool,
}

/// A log that has been opened.
pub(crate) struct Recovered {
    /// The writing end.
    pub(crate) log: Log,
    /// Holds the data directory until it is dropped.
    pub(crate) lock: File,
    /// What is bound.
    pub(crate) bindings: Bindings,
    /// The reading ends of all objects that have rows or errors in the log.
    pub(crate) objects: BTreeMap<ObjectId, Arc<ObjectLog>>,
}

impl Log {
    /// Locks and recovers the log of `data_dir`, or creates it.
    pub(crate) fn open(data_dir: &Path) -> Result<Recovered, EdgeError> {
        Log::open_with(data_dir, SEGMENT_LEN_MAX)
    }

    /// [`Log::open`] with another size of segments.
    pub(crate) fn open_with(data_dir: &Path, segment_len_max: u64) -> Result<Recovered, EdgeError> {
        let lock = dir::lock_data_dir(data_dir)?;
        let (log_dir, bind_dir) = (data_dir.join("log"), data_dir.join("bind"));
        if !dir::check_format(data_dir)? {
            create(data_dir, &log_dir, &bind_dir)?;
        }
        let bind = BindLog::recover(&bind_dir)?;
        let bindings = bind.bindings().clone();
        let mut objects = BTreeMap::new();
        for object_bind in bindings.objects.values() {
            let folder = object_dir(&log_dir, object_bind.object);
            if let Some(log) = recover::recover_object(&folder, object_bind)? {
                objects.insert(object_bind.object, Arc::new(log));
            }
        }
        let log = Log {
            dir: log_dir,
            bind,
            writers: BTreeMap::new(),
            removed: BTreeSet::new(),
            segment_len_max,
            figures: Arc::default(),
            broken: false,
        };
        Ok(Recovered { log, lock, bindings, objects })
    }

    /// What the log costs.
    pub(crate) fn figures(&self) -> Arc<LogFigures> {
        Arc::clone(&self.figures)
    }

    /// Makes ticks durable, in order, together. Afterwards all of them may be announced.
    ///
    /// # Errors
    /// The log must not be used after an error: what is on disk is then unknown until it is recovered.
    pub(crate) fn commit(&mut self, ticks: &[LogTick]) -> Result<(), EdgeError> {
        let Some(last) = ticks.last().map(|tick| tick.tick) else { return Ok(()) };
        let mut touched: BTreeMap<ObjectId, &Reached> = BTreeMap::new();
        for tick in ticks {
            for part in &tick.parts {
                if self.removed.contains(&part.log.object()) {
                    continue;
                }
                self.writer(&part.log)?.append(tick.tick, part.rows.as_ref(), part.errors.as_ref())?;
                touched.insert(part.log.object(), &part.reached);
            }
        }
        if touched.is_empty() && last + LEASE_RENEW_MS < self.bind.bindings().lease {
            // Nothing changes, and the time lies below a durable lease: nothing has to be written.
            return Ok(());
        }
        let mut binds = Vec::with_capacity(touched.len());
        for (object, reached) in &touched {
            let writer = self.writers.get_mut(object).expect("it was just written to");
            let since = Instant::now();
            if writer.sync()? {
                self.figures.count_sync(since);
            }
            self.figures.bytes.fetch_add(writer.take_bytes_written(), Ordering::Relaxed);
            let (segment, offset) = writer.end();
            let counts = writer.counts();
            binds.push(ObjectBind {
                object: *object,
                segment,
                offset,
                rows: counts.rows,
                errors: counts.errors,
                reached: Reached::clone(reached),
            });
        }
        let lease = self.bind.bindings().lease.max(last + LEASE_MS);
        self.bind(last, lease, binds, Vec::new())?;
        for object in touched.keys() {
            self.writers.get_mut(object).expect("it was just written to").publish();
        }
        Ok(())
    }

    /// Forgets an object durably and deletes its folder. Ticks of it that come later are ignored.
    pub(crate) fn remove(&mut self, object: ObjectId) -> Result<(), EdgeError> {
        self.removed.insert(object);
        self.writers.remove(&object);
        let bindings = self.bind.bindings();
        if bindings.objects.contains_key(&object) {
            let (tick, lease) = (bindings.tick, bindings.lease);
            self.bind(tick, lease, Vec::new(), vec![object])?;
        }
        let folder = object_dir(&self.dir, object);
        match fs::remove_dir_all(&folder) {
            Ok(()) => dir::sync_dir(&self.dir),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(EdgeError::io("remove", &folder)(error)),
        }
    }

    /// Whether a binding failed to be written.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Gives back the rest of the lease: nothing above `last`, the last announced time, will be announced.
    pub(crate) fn close(&mut self, last: Timestamp) -> Result<(), EdgeError> {
        let bindings = self.bind.bindings();
        if bindings.lease <= last {
            return Ok(());
        }
        self.bind(last.max(bindings.tick), last.max(bindings.tick), Vec::new(), Vec::new())
    }

    fn writer(&mut self, log: &Arc<ObjectLog>) -> Result<&mut ObjectWriter, EdgeError> {
        match self.writers.entry(log.object()) {
            std::collections::btree_map::Entry::Occupied(writer) => Ok(writer.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => {
                Ok(place.insert(ObjectWriter::open(Arc::clone(log), self.segment_len_max)?))
            }
        }
    }

    fn bind(
        &mut self,
        tick: Timestamp,
        lease: Timestamp,
        objects: Vec<ObjectBind>,
        removed: Vec<ObjectId>,
    ) -> Result<(), EdgeError> {
        let since = Instant::now();
        self.broken = true;
        let written = self.bind.append(tick, lease, objects, removed)?;
        self.broken = false;
        self.figures.count_sync(since);
        self.figures.bytes.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }
}

/// The reading end for an object of which nothing is bound. Leftovers of a tick that was never bound are deleted.
pub(crate) fn begin_object(data_dir: &Path, object: ObjectId, schema: SchemaRef) -> Result<Arc<ObjectLog>, EdgeError> {
    let folder = object_dir(&data_dir.join("log"), object);
    recover::clear_segments(&folder)?;
    Ok(Arc::new(ObjectLog::new(object, folder, schema, Extent::default())))
}

fn object_dir(log_dir: &Path, object: ObjectId) -> PathBuf {
    log_dir.join(object.0.to_string())
}

/// Makes an empty log. The format comes last: with it, the rest must be there.
fn create(data_dir: &Path, log_dir: &Path, bind_dir: &Path) -> Result<(), EdgeError> {
    let bound_before = dir::segment_numbers(bind_dir)?.iter().any(|number| *number > 0);
    let logged_before = fs::read_dir(log_dir).is_ok_and(|mut entries| entries.next().is_some());
    if bound_before || logged_before {
        let what = "the file is missing, but the directory holds a log";
        return Err(EdgeError::damaged(&data_dir.join("format"), 0, what));
    }
    dir::ensure_dir(log_dir)?;
    BindLog::create(bind_dir)?;
    dir::write_format(data_dir)
}

#[cfg(test)]
mod tests;
