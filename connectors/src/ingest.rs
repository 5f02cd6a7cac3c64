//! Ingest: reads the sources, seals ticks, keeps the durable log, and feeds the ports of dataflows.
//!
//! ```text
//!  source ─ reader thread ─┐                        ┌─ ports of every importing dataflow (live)
//!  source ─ reader thread ─┼─ inbox ─ ingest thread ┤
//!  statement ─ write ──────┘          seals ticks   └─ log thread ─ files ─ replay threads ─ ports (replay)
//!                                                            └─ on_bound(t): t may leave the process
//! ```
//! The ingest thread alone mints times. A tick goes to the ports when it is sealed, before it is durable: computing on it
//! is free, and rule W (nothing at time t leaves before t is bound) is kept by whoever listens to `on_bound`.
//!
//! What is not promised: the rows of different sources keep no common order beyond ticks; a source that has failed is
//! tried again only after a restart.

mod commit;
mod core;
mod durable;
mod inbox;
mod reader;
mod replay;
mod seal;
mod status;
mod throttle;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use crossbeam_channel::Sender;
use headwater_dataflow::port::{PortFeed, PortReader, port};
use headwater_dataflow::repr::{CollectionId, ObjectId, Part, Timestamp};

use self::commit::{COMMANDS_MAX, LogCommand};
use self::core::{Core, SourceEntry, Stage};
use self::durable::Durable;
use self::inbox::{Inbox, Stop, TickPolicy};
use self::replay::Replay;
pub use self::status::{IngestMetrics, SourceState, SourceStatus};
use self::throttle::Throttle;
use self::write::Write;
pub use self::write::{DIFF, OnDurable, OnSealed, signed_schema};
use crate::clock::Clock;
use crate::error::EdgeError;
use crate::log::bind::Reached;
use crate::log::cursor::LogCursor;
use crate::log::object::{Counts, ObjectLog};
use crate::log::{Log, LogFigures, Recovered, begin_object};
use crate::source::{self, Pace, Source, SourceDescription, SourceError, SourcePosition};

/// The object whose rows are the clock: no columns, no rows, only ticks.
pub const CLOCK: ObjectId = ObjectId(0);

/// How ingest works.
#[derive(Clone)]
pub struct IngestConfig {
    /// Where the log lives. It is locked as long as ingest runs.
    pub data_dir: PathBuf,
    /// What paths in sources are relative to.
    pub base_dir: PathBuf,
    /// How far back importers reach at a restart, in milliseconds. The log itself keeps everything.
    pub history_ms: u64,
    /// Longest wait of a row for its tick while the disk keeps up, in milliseconds.
    pub tick_max_ms: u64,
    /// Most rows in one tick, over all sources; at least 1.
    pub tick_rows_max: usize,
    /// Longest time between two ticks, in milliseconds.
    pub idle_tick_ms: u64,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// Where a dataflow enters: what it is as of, and a port for each collection it imports.
pub struct Seam {
    /// Everything up to this time is the snapshot.
    pub as_of: Timestamp,
    /// Feeding end (for progress reports) and one reading end per worker.
    pub ports: BTreeMap<CollectionId, (PortFeed, PortReader)>,
}

/// Opens a source.
type Opener =
    Box<dyn Fn(&SourceDescription, &Path, &SourcePosition) -> Result<Box<dyn Source>, SourceError> + Send + Sync>;

/// What the handles and threads of one ingest share.
pub(crate) struct Inner {
    config: IngestConfig,
    opener: Opener,
    core: Mutex<Core>,
    inbox: Inbox,
    durable: Durable,
    log: Mutex<Option<Sender<LogCommand>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<File>>,
    figures: Arc<LogFigures>,
}

/// The handle to ingest. When the last one is dropped without [`Ingest::shutdown`], ingest stops as if it had been killed.
#[derive(Clone)]
pub struct Ingest {
    handle: Arc<Handle>,
}

struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop(Stop::Abandon);
    }
}

impl Ingest {
    /// Locks the data directory and recovers its log. Nothing is read from sources and no tick is sealed until
    /// [`Ingest::start`].
    ///
    /// `on_bound` is called in order with every time (or a later one) that has become durable, on the log's thread.
    ///
    /// # Errors
    /// The directory is in use, has a newer format, or is damaged other than by a torn tail; the file is named.
    pub fn open(config: IngestConfig, on_bound: Box<dyn Fn(Timestamp) + Send + Sync>) -> Result<Ingest, EdgeError> {
        Ingest::open_with(config, on_bound, Box::new(source::open))
    }

    /// [`Ingest::open`] with another way to open sources.
    pub(crate) fn open_with(
        config: IngestConfig,
        on_bound: Box<dyn Fn(Timestamp) + Send + Sync>,
        opener: Opener,
    ) -> Result<Ingest, EdgeError> {
        let Recovered { log, lock, bindings, mut objects } = Log::open(&config.data_dir)?;
        let policy = TickPolicy {
            rows_max: config.tick_rows_max.max(1),
            wait_max: Duration::from_millis(config.tick_max_ms),
            idle: Duration::from_millis(config.idle_tick_ms),
        };
        let recovered = bindings
            .objects
            .into_iter()
            .map(|(object, bind)| (object, (objects.remove(&object), bind.reached)))
            .collect();
        let core = Core { sealed: bindings.tick, floor: bindings.lease, recovered, ..Core::default() };
        let (commands, serve) = crossbeam_channel::bounded(COMMANDS_MAX);
        let inner = Arc::new(Inner {
            config,
            opener,
            core: Mutex::new(core),
            inbox: Inbox::new(policy),
            durable: Durable::new(bindings.tick),
            log: Mutex::new(Some(commands)),
            threads: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            figures: log.figures(),
        });
        let log_thread = Arc::clone(&inner);
        inner.spawn("log", move || commit::run(&log_thread, log, &serve, &*on_bound))?;
        Ok(Ingest { handle: Arc::new(Handle(inner)) })
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.handle.0
    }

    /// Whether the source can be opened at its beginning: what a statement that creates it should know first.
    ///
    /// # Errors
    /// What the source says.
    pub fn check_source(&self, description: &SourceDescription) -> Result<(), SourceError> {
        let inner = self.inner();
        (inner.opener)(description, &inner.config.base_dir, &SourcePosition::default()).map(drop)
    }

    /// Reads a source from now on (or from [`Ingest::start`]), continuing at the position its log has. A source that
    /// cannot be opened is added nonetheless and says so in its status.
    ///
    /// # Errors
    /// The object is read already, or its log holds other columns.
    pub fn add_source(&self, description: SourceDescription) -> Result<(), EdgeError> {
        let inner = self.inner();
        let object = description.object;
        let mut core = inner.core();
        let (name, schema) = (description.name.clone(), description.logged_schema());
        let entry = inner.adopt(&mut core, object, &name, &schema, Some(description))?;
        core.sources.insert(object, entry);
        inner.inbox.add(object);
        if core.started { inner.spawn_reader(&core.sources[&object]) } else { Ok(()) }
    }

    /// Keeps the log of a table with the columns `schema` from now on, with what it holds already; see [`Ingest::write`].
    ///
    /// # Errors
    /// The object is there already, or its log holds other columns.
    pub fn add_table(&self, object: ObjectId, name: &str, schema: &SchemaRef) -> Result<(), EdgeError> {
        let inner = self.inner();
        let mut core = inner.core();
        let entry = inner.adopt(&mut core, object, name, &signed_schema(schema), None)?;
        core.sources.insert(object, entry);
        Ok(())
    }

    /// Seals `rows`, with the columns of [`signed_schema`], into a tick of their own. Writes are sealed in the order of the
    /// calls. Returns at once; `on_sealed` and then `on_durable` are called by the threads of ingest and must not block.
    /// Both are dropped if ingest ends before.
    pub fn write(&self, object: ObjectId, rows: RecordBatch, on_sealed: OnSealed, on_durable: OnDurable) {
        self.inner().inbox.write(Write { object, rows, on_sealed, on_durable });
    }

    /// Deletes what the log holds of objects that nobody has added: what a deployment left behind that was cut off before
    /// it reached the catalog.
    ///
    /// # Errors
    /// As of [`Ingest::remove_source`].
    pub fn remove_unclaimed(&self) -> Result<(), EdgeError> {
        let unclaimed: Vec<ObjectId> = self.inner().core().recovered.keys().copied().collect();
        unclaimed.into_iter().try_for_each(|object| self.remove_source(object))
    }

    /// Reads a source at another pace from now on. What was read already, a second's worth at most, still comes.
    ///
    /// # Errors
    /// There is no such source.
    pub fn set_pace(&self, object: ObjectId, pace: Pace) -> Result<(), EdgeError> {
        let mut core = self.inner().core();
        core.usable()?;
        let source = core.sources.get_mut(&object).ok_or(EdgeError::UnknownCollection { collection: object.rows() })?;
        if let Some(description) = &mut source.description {
            description.pace = pace;
        }
        source.throttle.set(pace);
        Ok(())
    }

    /// Stops reading a source and deletes its log. No dataflow may import it any more. Also deletes what a source of an
    /// earlier process left behind. Must not be called from `on_bound`.
    ///
    /// # Errors
    /// The log cannot be written or its files cannot be removed.
    pub fn remove_source(&self, object: ObjectId) -> Result<(), EdgeError> {
        let inner = self.inner();
        {
            let mut core = inner.core();
            core.usable()?;
            if let Some(source) = core.sources.remove(&object) {
                source.log.mark_removed();
            }
            if let Some((Some(log), _)) = core.recovered.remove(&object) {
                log.mark_removed();
            }
            inner.inbox.remove(object);
        }
        let (done, removed) = crossbeam_channel::bounded(1);
        let commands = inner.log_sender().ok_or(EdgeError::Stopped)?;
        commands.send(LogCommand::Remove(object, done)).map_err(|_| EdgeError::Stopped)?;
        removed.recv().unwrap_or_else(|_| {
            let message = inner.core().failure.clone().unwrap_or_else(|| "the log thread ended".into());
            Err(EdgeError::LogFailed { message })
        })
    }

    /// Starts sealing ticks and reading sources. Does nothing if it has been called before.
    ///
    /// # Panics
    /// The operating system has no thread left.
    pub fn start(&self) {
        let inner = self.inner();
        let mut core = inner.core();
        if core.started || core.stopped {
            return;
        }
        core.started = true;
        let threads = (|| {
            let ingest = Arc::clone(inner);
            inner.spawn("ingest", move || seal::run(&ingest))?;
            core.sources.values().try_for_each(|source| inner.spawn_reader(source))
        })();
        threads.expect("a process can start as many threads as it has sources");
    }

    /// The last durable time; right after [`Ingest::open`] the recovered one.
    pub fn bound(&self) -> Timestamp {
        self.inner().durable.bound().tick
    }

    /// The seam: between two ticks, registers importers of `collections` and returns their ports. Each gets the ticks
    /// `<= as_of` as its snapshot, every later tick that has been sealed one by one, and then every tick as it is sealed.
    /// `as_of` is the last sealed tick if it is not given.
    ///
    /// # Errors
    /// No source owns a collection, or `as_of` has not come yet.
    pub fn import(&self, collections: &[CollectionId], as_of: Option<Timestamp>) -> Result<Seam, EdgeError> {
        let inner = self.inner();
        let mut ports = BTreeMap::new();
        let mut replays = Vec::new();
        let mut core = inner.core();
        core.usable()?;
        let end = core.sealed;
        let as_of = as_of.unwrap_or(end);
        if as_of > end {
            return Err(EdgeError::AsOfAhead { as_of, current: end });
        }
        let logs = collections
            .iter()
            .map(|collection| Ok((*collection, core.log_of(*collection)?)))
            .collect::<Result<BTreeMap<_, _>, EdgeError>>()?;
        for (collection, log) in logs {
            let (feed, reader) = port();
            let importer = core.register(collection, feed.clone());
            let log = log.map(|log| (log, collection.part));
            replays.push((collection, Replay { importer, feed: feed.clone(), log, next: 0 }));
            ports.insert(collection, (feed, reader));
        }
        drop(core);
        for (collection, replay) in replays {
            let replaying = Arc::clone(inner);
            inner.spawn_detached(&format!("replay {collection}"), move || replay.hydrate(&replaying, as_of, end))?;
        }
        Ok(Seam { as_of, ports })
    }

    /// All rows of a collection at `at`, or at [`Ingest::bound`] if that is earlier.
    ///
    /// # Errors
    /// No source owns the collection, or its log cannot be read.
    pub fn read(&self, collection: CollectionId, at: Timestamp) -> Result<Vec<RecordBatch>, EdgeError> {
        let inner = self.inner();
        let Some(log) = inner.core().log_of(collection)? else { return Ok(Vec::new()) };
        let limit = at.min(self.bound());
        let mut cursor = LogCursor::new(&log, collection.part, 0);
        std::iter::from_fn(|| cursor.next_coalesced(limit).transpose()).collect()
    }

    /// How far a source has come; `None` if it does not exist.
    pub fn source_status(&self, object: ObjectId) -> Option<SourceStatus> {
        let core = self.inner().core();
        let mut status = core.sources.get(&object)?.status();
        if let Some(message) = &core.failure {
            status.state = SourceState::Failed(message.clone());
        }
        Some(status)
    }

    /// Why the log cannot be written or read any more, if so. Everything up to [`Ingest::bound`] is safe; only a restart
    /// goes on.
    pub fn failure(&self) -> Option<String> {
        self.inner().core().failure.clone()
    }

    /// What ingest did since it was opened.
    pub fn metrics(&self) -> IngestMetrics {
        let inner = self.inner();
        let core = inner.core();
        let following = core.importers.values().filter(|importer| importer.stage == Stage::Following).count();
        let nanoseconds = Duration::from_nanos(inner.figures.sync_ns.load(Ordering::Relaxed));
        let Counts { rows, errors } = core.sealed_counts;
        IngestMetrics {
            ticks: core.sequence,
            empty_ticks: core.empty_ticks,
            rows,
            errors,
            bytes_appended: inner.figures.bytes.load(Ordering::Relaxed),
            syncs: inner.figures.syncs.load(Ordering::Relaxed),
            sync_seconds: nanoseconds.as_secs_f64(),
            imports_following: following,
            imports_replaying: core.importers.len() - following,
            overflows: core.overflows,
        }
    }

    /// Seals what waits, makes it durable, stops the threads and unlocks the data directory. Must not be called from
    /// `on_bound`.
    pub fn shutdown(&self) {
        let inner = self.inner();
        inner.stop(Stop::Drain);
        loop {
            let thread = inner.threads().pop();
            let Some(thread) = thread else { break };
            if thread.join().is_err() {
                tracing::error!("a thread of ingest panicked");
            }
        }
        inner.durable.stop();
        inner.lock.lock().expect("no thread panics while it holds the lock").take();
    }
}

impl Core {
    fn usable(&self) -> Result<(), EdgeError> {
        match &self.failure {
            Some(message) => Err(EdgeError::LogFailed { message: message.clone() }),
            None if self.stopped => Err(EdgeError::Stopped),
            None => Ok(()),
        }
    }

    /// The log of a collection; `None` for the clock.
    fn log_of(&self, collection: CollectionId) -> Result<Option<Arc<ObjectLog>>, EdgeError> {
        if collection == CLOCK.rows() {
            return Ok(None);
        }
        match self.sources.get(&collection.object) {
            Some(source) => Ok(Some(Arc::clone(&source.log))),
            None => Err(EdgeError::UnknownCollection { collection }),
        }
    }
}

impl Inner {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("no thread panics in the critical section")
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().expect("no thread panics while it holds the list of threads")
    }

    fn log_sender(&self) -> Option<Sender<LogCommand>> {
        self.log.lock().expect("no thread panics while it holds the log's channel").clone()
    }

    /// The first failure of the log ends everything: see [`Ingest::failure`].
    fn fail(&self, error: &EdgeError) {
        let message = error.with_causes();
        tracing::error!(message, "the log failed");
        self.core().failure.get_or_insert(message.clone());
        self.durable.fail(message);
        self.inbox.stop(Stop::Abandon);
    }

    fn stop(&self, stop: Stop) {
        self.core().stopped = true;
        self.inbox.stop(stop);
        self.log.lock().expect("no thread panics while it holds the log's channel").take();
        if stop == Stop::Abandon {
            self.durable.stop();
        }
    }

    /// Starts a thread that shutdown waits for.
    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), EdgeError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(EdgeError::io("start a thread for", &self.config.data_dir))?;
        let mut threads = self.threads();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Starts a thread that ends when nobody reads its port any more.
    fn spawn_detached(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), EdgeError> {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map(drop)
            .map_err(EdgeError::io("start a thread for", &self.config.data_dir))
    }

    /// A source or table with the log that it has, or with a new one.
    fn adopt(
        &self,
        core: &mut Core,
        object: ObjectId,
        name: &str,
        schema: &SchemaRef,
        description: Option<SourceDescription>,
    ) -> Result<SourceEntry, EdgeError> {
        core.usable()?;
        if object == CLOCK || core.sources.contains_key(&object) {
            return Err(EdgeError::SourceExists { object, name: name.to_owned() });
        }
        let (log, reached) = match core.recovered.get(&object) {
            Some((Some(log), reached)) => (Arc::clone(log), reached.clone()),
            Some((None, reached)) => {
                (begin_object(&self.config.data_dir, object, SchemaRef::clone(schema))?, reached.clone())
            }
            None => (begin_object(&self.config.data_dir, object, SchemaRef::clone(schema))?, Reached::default()),
        };
        check_columns(object, name, schema, &log.schema(Part::Rows))?;
        let (counts, last_tick) = {
            let extent = log.extent();
            (extent.counts, extent.last_tick)
        };
        core.recovered.remove(&object);
        // Of a table there is never more to come than what has been written.
        let state = if description.is_some() { SourceState::Reading } else { SourceState::CaughtUp };
        let pace = description.as_ref().map(|description| description.pace).unwrap_or_default();
        let (progress, throttle) = (Arc::default(), Arc::new(Throttle::new(pace)));
        Ok(SourceEntry { description, log, reached, counts, last_tick, state, progress, throttle })
    }

    /// Starts to read a source; a table is not read.
    fn spawn_reader(self: &Arc<Self>, source: &SourceEntry) -> Result<(), EdgeError> {
        let inner = Arc::clone(self);
        let Some(description) = source.description.clone() else { return Ok(()) };
        let reached = source.reached.clone();
        let (progress, throttle) = (Arc::clone(&source.progress), Arc::clone(&source.throttle));
        self.spawn(&format!("source {}", description.name), move || {
            // A source that is paused from the start is not even opened: what it reads may be away for good reasons.
            while throttle.pace().paused {
                if !inner.inbox.is_open(description.object) {
                    return;
                }
                throttle.rest();
            }
            match (inner.opener)(&description, &inner.config.base_dir, &reached.position) {
                Ok(opened) => reader::read_source(opened, &description, reached, &inner.inbox, &progress, &throttle),
                Err(error) => {
                    reader::report_failure(description.object, reached, &inner.inbox, reader::with_causes(&error));
                }
            }
        })
    }
}

fn check_columns(object: ObjectId, name: &str, declared: &SchemaRef, logged: &SchemaRef) -> Result<(), EdgeError> {
    let columns = |schema: &SchemaRef| {
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| {
                format!("{} {}{}", field.name(), field.data_type(), if field.is_nullable() { "" } else { " NOT NULL" })
            })
            .collect();
        format!("({})", columns.join(", "))
    };
    if declared.fields() == logged.fields() {
        return Ok(());
    }
    Err(EdgeError::SchemaChanged {
        object,
        name: name.to_owned(),
        declared: columns(declared),
        logged: columns(logged),
    })
}

#[cfg(test)]
mod tests;
