//! Drives an engine the way the control plane does: sends commands, feeds ports, collects what the workers answer, and
//! checks on the way what every answer promises (batches that meet, times inside their batch, nothing after a close).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use headwater_dataflow::engine::{Cluster, Engine, EngineConfig};
use headwater_dataflow::plan::Plan;
use headwater_dataflow::port::{self, PortFeed};
use headwater_dataflow::protocol::{Command, DataflowDescription, Import, IndexKeys, PortForm, PortHandle, Response};
use headwater_dataflow::repr::{Chunk, CollectionId, ObjectId, Timestamp};

use super::rows::{Rows, add_all, add_delta, rows_of};

/// How long an answer may take on a busy machine before the test calls it a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// The workers did not answer in time, or are gone.
#[derive(Clone, Debug)]
pub(crate) struct Stalled(pub(crate) String);

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the engine does not answer: {}", self.0)
    }
}

/// What a dataflow changes at one time, over all workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) rows: Rows,
    pub(crate) errors: Rows,
}

/// Everything one dataflow has exported.
#[derive(Debug)]
pub(crate) struct Export {
    pub(crate) as_of: Timestamp,
    /// Per worker the upper of its last batch; `as_of` before the first.
    pub(crate) uppers: Vec<Timestamp>,
    /// Whether each worker has sent its first batch.
    pub(crate) hydrated: Vec<bool>,
    pub(crate) changes: BTreeMap<Timestamp, Changes>,
    closed: Vec<bool>,
    released: Vec<bool>,
}

impl Export {
    /// The first time that is not closed on every worker.
    pub(crate) fn upper(&self) -> Timestamp {
        self.uppers.iter().copied().min().expect("an engine has workers")
    }

    /// The rows at each of `times` (ascending), given those at `as_of`.
    pub(crate) fn states(&self, at_as_of: &Rows, times: &[Timestamp]) -> Vec<Rows> {
        let mut state = at_as_of.clone();
        let mut changes = self.changes.iter().peekable();
        let mut states = Vec::with_capacity(times.len());
        for time in times {
            while let Some((_, change)) = changes.next_if(|(at, _)| *at <= time) {
                add_all(&mut state, &change.rows);
            }
            states.push(state.clone());
        }
        states
    }

    /// The errors at each of `times` (ascending), given those at `as_of`.
    pub(crate) fn error_states(&self, at_as_of: &Rows, times: &[Timestamp]) -> Vec<Rows> {
        let mut state = at_as_of.clone();
        let mut changes = self.changes.iter().peekable();
        let mut states = Vec::with_capacity(times.len());
        for time in times {
            while let Some((_, change)) = changes.next_if(|(at, _)| *at <= time) {
                add_all(&mut state, &change.errors);
            }
            states.push(state.clone());
        }
        states
    }
}

/// An engine and what it has said.
pub(crate) struct Driver {
    engine: Engine,
    responses: Receiver<Response>,
    workers: usize,
    /// The number of its first worker: others may run in other processes.
    first: usize,
    next_object: u64,
    next_peek: u64,
    exports: BTreeMap<ObjectId, Export>,
    peeks: BTreeMap<u64, Vec<Option<Rows>>>,
    /// Only the times of batches are looked at.
    unread: bool,
    /// Broken promises of the protocol.
    pub(crate) violations: Vec<String>,
}

impl Driver {
    /// Starts an engine.
    pub(crate) fn start(workers: usize) -> Driver {
        Driver::start_in(workers, None)
    }

    /// Starts the part of an engine that runs in this process.
    pub(crate) fn start_in(workers: usize, cluster: Option<Cluster>) -> Driver {
        let first = cluster.as_ref().map_or(0, |cluster| cluster.process * workers);
        let (sender, responses) = crossbeam_channel::unbounded();
        let engine = Engine::start(EngineConfig { workers, cluster }, sender).expect("the engine starts");
        Driver {
            engine,
            responses,
            workers,
            first,
            next_object: 1,
            next_peek: 1,
            exports: BTreeMap::new(),
            peeks: BTreeMap::new(),
            unread: false,
            violations: Vec::new(),
        }
    }

    /// How many workers the engine has.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// An identifier that was never used in this engine.
    pub(crate) fn new_object(&mut self) -> ObjectId {
        self.next_object += 1;
        ObjectId(self.next_object - 1)
    }

    /// The number of the next object. Errors name objects: processes that compute together must agree on them.
    pub(crate) fn next_object(&self) -> u64 {
        self.next_object
    }

    /// Goes on with the object `next`, as another process does.
    pub(crate) fn go_on_with(&mut self, next: u64) {
        self.next_object = next;
    }

    /// A port for a collection of a source, and the import that reads it.
    pub(crate) fn port(&self, collection: CollectionId, schema: &SchemaRef) -> (PortFeed, Import) {
        let (feed, reader) = port::port();
        let import =
            Import::Source { collection, schema: schema.clone(), port: PortHandle::new(reader), form: PortForm::Rows };
        (feed, import)
    }

    /// Sends a command.
    pub(crate) fn send(&self, command: Command) {
        self.engine.send(command);
    }

    /// Creates a dataflow and starts to collect what it exports.
    pub(crate) fn create(&mut self, object: ObjectId, imports: Vec<Import>, plan: Plan, as_of: Timestamp) {
        self.create_keyed(object, imports, (plan, None), as_of);
    }

    /// Creates a dataflow; that of an index has a key.
    pub(crate) fn create_keyed(
        &mut self,
        object: ObjectId,
        imports: Vec<Import>,
        (plan, key): (Plan, Option<usize>),
        as_of: Timestamp,
    ) {
        let export = Export {
            as_of,
            uppers: vec![as_of; self.workers],
            hydrated: vec![false; self.workers],
            changes: BTreeMap::new(),
            closed: vec![false; self.workers],
            released: vec![false; self.workers],
        };
        self.exports.insert(object, export);
        let name = format!("view_{}", object.0);
        let description = DataflowDescription { object, name, imports, plan, errors: None, key, as_of };
        self.send(Command::Create(Box::new(description)));
    }

    /// What `object` has exported.
    pub(crate) fn export(&self, object: ObjectId) -> &Export {
        &self.exports[&object]
    }

    /// Lets the arrangements of `objects` forget what was before `since`.
    pub(crate) fn allow_compaction(&self, objects: impl IntoIterator<Item = ObjectId>, since: Timestamp) {
        let since = objects.into_iter().map(|object| (object, since)).collect();
        self.send(Command::AllowCompaction { since });
    }

    /// How many dataflows are installed.
    pub(crate) fn installed(&self) -> usize {
        self.engine.installed_dataflows().len()
    }

    /// Ends the engine.
    pub(crate) fn shutdown(self) {
        self.engine.shutdown();
    }

    /// Takes in whatever has been answered, without waiting.
    pub(crate) fn pump(&mut self) {
        while let Ok(response) = self.responses.try_recv() {
            self.take(response);
        }
    }

    /// Takes in answers until `done`.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Driver) -> bool) -> Result<(), Stalled> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            match self.responses.recv_deadline(deadline) {
                Ok(response) => self.take(response),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Stalled(format!("{what} took more than {} s", PATIENCE.as_secs())));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Stalled(format!("{what}: the workers are gone"))),
            }
        }
        Ok(())
    }

    /// Waits until every time before `upper` is closed on every worker.
    pub(crate) fn wait_upper(&mut self, object: ObjectId, upper: Timestamp) -> Result<(), Stalled> {
        let what = format!("the upper {upper} of {object}");
        self.until(&what, |driver| {
            let export = &driver.exports[&object];
            export.hydrated.iter().all(|hydrated| *hydrated) && export.upper() >= upper
        })
    }

    /// Waits until every time before `upper` is closed on every worker, without a look at what changed.
    pub(crate) fn wait_upper_unread(&mut self, object: ObjectId, upper: Timestamp) -> Result<(), Stalled> {
        self.unread = true;
        let waited = self.wait_upper(object, upper);
        self.unread = false;
        waited
    }

    /// Reads a collection at one closed time.
    pub(crate) fn peek(&mut self, collection: CollectionId, at: Timestamp) -> Result<Rows, Stalled> {
        self.peek_keys(collection, at, None)
    }

    /// Reads an index at one closed time: all rows, or those that are wanted.
    pub(crate) fn peek_keys(
        &mut self,
        collection: CollectionId,
        at: Timestamp,
        keys: Option<IndexKeys>,
    ) -> Result<Rows, Stalled> {
        let peek = self.next_peek;
        self.next_peek += 1;
        self.peeks.insert(peek, vec![None; self.workers]);
        self.send(Command::Peek { peek, collection, at, keys });
        let what = format!("the peek of {collection} at {at}");
        self.until(&what, |driver| driver.peeks[&peek].iter().all(Option::is_some))?;
        let mut rows = Rows::new();
        for part in self.peeks.remove(&peek).expect("the peek was just there") {
            add_all(&mut rows, &part.expect("every worker has answered"));
        }
        Ok(rows)
    }

    /// Waits until every worker has closed the sink of `object`.
    pub(crate) fn wait_closed(&mut self, object: ObjectId) -> Result<(), Stalled> {
        self.until("the close of a sink", |driver| driver.exports[&object].closed.iter().all(|closed| *closed))
    }

    /// Waits until every worker has released `object`, and forgets what it exported.
    pub(crate) fn wait_released(&mut self, object: ObjectId) -> Result<(), Stalled> {
        self.until("a release", |driver| driver.exports[&object].released.iter().all(|released| *released))?;
        self.exports.remove(&object);
        Ok(())
    }

    /// Forgets the changes that `object` has exported so far.
    pub(crate) fn forget(&mut self, object: ObjectId) {
        if let Some(export) = self.exports.get_mut(&object) {
            export.changes.clear();
        }
    }

    /// Drops dataflows in two phases; importers stand before what they import.
    pub(crate) fn drop_views(&mut self, objects: &[ObjectId]) -> Result<(), Stalled> {
        for object in objects {
            self.send(Command::CloseSink { object: *object });
        }
        for object in objects {
            self.wait_closed(*object)?;
        }
        for object in objects {
            self.send(Command::Release { object: *object });
        }
        for object in objects {
            self.wait_released(*object)?;
        }
        Ok(())
    }

    /// Waits until no more than `count` dataflows are installed.
    pub(crate) fn wait_installed(&mut self, count: usize) -> Result<(), Stalled> {
        let deadline = Instant::now() + PATIENCE;
        while self.installed() > count {
            if Instant::now() > deadline {
                return Err(Stalled(format!("{} dataflows instead of {count} are installed", self.installed())));
            }
            self.pump();
            std::thread::yield_now();
        }
        Ok(())
    }

    fn take(&mut self, response: Response) {
        match response {
            Response::Batch { object, worker, lower, upper, rows, errors } => {
                let (rows, errors) = if self.unread { (Vec::new(), Vec::new()) } else { (rows, errors) };
                self.take_batch(object, worker - self.first, (lower, upper), &rows, &errors);
            }
            Response::Peeked { peek, worker, rows } => {
                let worker = worker - self.first;
                let Some(parts) = self.peeks.get_mut(&peek) else {
                    self.violations.push(format!("worker {worker} answers peek {peek}, which nobody waits for"));
                    return;
                };
                let mut part = Rows::new();
                for delta in &rows {
                    add_delta(&mut part, delta);
                }
                if parts[worker].replace(part).is_some() {
                    self.violations.push(format!("worker {worker} answers peek {peek} twice"));
                }
            }
            Response::Measured { measure, worker, .. } => {
                self.violations.push(format!("worker {worker} answers {measure}, which nobody asked"));
            }
            Response::SinkClosed { object, worker } => match self.exports.get_mut(&object) {
                Some(export) => export.closed[worker - self.first] = true,
                None => self.violations.push(format!("{object} is closed, but it does not exist")),
            },
            Response::Released { object, worker } => match self.exports.get_mut(&object) {
                Some(export) => export.released[worker - self.first] = true,
                None => self.violations.push(format!("{object} is released, but it does not exist")),
            },
        }
    }

    fn take_batch(
        &mut self,
        object: ObjectId,
        worker: usize,
        (lower, upper): (Timestamp, Timestamp),
        rows: &[Chunk],
        errors: &[Chunk],
    ) {
        let Some(export) = self.exports.get_mut(&object) else {
            self.violations.push(format!("worker {worker} exports {object}, which does not exist"));
            return;
        };
        let mut broken = Vec::new();
        let expected = if export.hydrated[worker] { export.uppers[worker] } else { export.as_of + 1 };
        if lower != expected {
            broken.push(format!("lower {lower} does not meet {expected}"));
        }
        if upper < lower {
            broken.push(format!("upper {upper} is before lower {lower}"));
        }
        if export.closed[worker] {
            broken.push("a batch after the sink was closed".to_owned());
        }
        for chunk in rows.iter().chain(errors) {
            if chunk.time < lower || chunk.time >= upper {
                broken.push(format!("time {} is not in [{lower}, {upper})", chunk.time));
            }
        }
        if !consolidated(rows) || !consolidated(errors) {
            broken.push("the changes are not consolidated".to_owned());
        }
        let header = || format!("worker {worker} of {object} [{lower}, {upper}): ");
        self.violations.extend(broken.into_iter().map(|text| header() + &text));
        export.hydrated[worker] = true;
        export.uppers[worker] = upper;
        for chunk in rows {
            add_delta(&mut export.changes.entry(chunk.time).or_default().rows, &chunk.delta);
        }
        for chunk in errors {
            add_delta(&mut export.changes.entry(chunk.time).or_default().errors, &chunk.delta);
        }
    }
}

/// Whether no row stands twice at one time, and none has the diff 0.
fn consolidated(chunks: &[Chunk]) -> bool {
    let mut seen = BTreeSet::new();
    chunks.iter().all(|chunk| {
        let rows = rows_of(&chunk.delta.rows);
        rows.into_iter()
            .enumerate()
            .all(|(index, row)| chunk.delta.diffs.get(index) != 0 && seen.insert((chunk.time, row)))
    })
}
