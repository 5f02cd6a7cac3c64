//! Reads: any SELECT at one time that all of its collections have reached. The coordinator chooses the time; the rows
//! are fetched and the answer is computed elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_connectors::ingest::Ingest;
use headwater_dataflow::expr::caught;
use headwater_dataflow::repr::{CollectionId, Delta, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::Coordinator;
use super::deploy::edge_failed;
use super::plan::guarded;
use super::progress::hydration_ratio;
use crate::catalog::Object;
use crate::control::{ControlError, QueryAnswer, Reply};
use crate::hub::{Frontier, MergeError, Peeked, consolidate, repeat};
use crate::sql::{self, IndexLookup, ObjectKind, PlannedRead, Position, SqlError};

/// Reads that are computed at the same time; the others wait for their turn.
pub(super) const READS_MAX: usize = 4;

/// How queries that do not come from a file are named in errors.
const QUERY_ORIGIN: &str = "<query>";

/// A read whose time has not come.
pub(super) struct WaitingRead {
    planned: PlannedRead,
    at: Option<Timestamp>,
    /// The last write into any table that the read depends on when it came: what has been acknowledged is seen.
    floor: Timestamp,
    deadline: Instant,
    place: Place,
    to: AnswerTo,
}

/// Where the text of a query stands.
#[derive(Clone, Debug)]
struct Place {
    origin: String,
    position: Position,
}

/// Who asked.
enum AnswerTo {
    Client(Reply<QueryAnswer>),
    Deployment(mpsc::Sender<Result<QueryAnswer, ControlError>>),
}

impl AnswerTo {
    async fn answer(self, answer: Result<QueryAnswer, ControlError>) {
        match self {
            // Whoever asked may have gone.
            AnswerTo::Client(reply) => drop(reply.send(answer)),
            AnswerTo::Deployment(sender) => drop(sender.send(answer).await),
        }
    }
}

/// Whether a read can be made.
enum Readiness {
    /// At this time.
    Ready(Timestamp),
    /// Not yet: why.
    NotYet(String),
    /// Never.
    Never(ControlError),
}

/// Where the rows of one collection come from.
enum Rows {
    /// The log.
    Log,
    /// The workers.
    Maintained { name: String, schema: SchemaRef, shares: Peeked },
    /// The workers, by an index, of whose columns these are the collection's.
    Indexed { name: String, schema: SchemaRef, shares: Peeked, columns: Vec<usize> },
}

impl Coordinator {
    /// Answers a query of a client.
    pub(super) fn query(&mut self, sql: String, at: Option<Timestamp>, reply: Reply<QueryAnswer>) {
        let place = Place { origin: QUERY_ORIGIN.to_owned(), position: Position { line: 1, column: 1 } };
        self.read(&sql, at, place, AnswerTo::Client(reply));
    }

    /// Answers a query of the deployment under way.
    pub(super) fn query_of_deployment(&mut self, origin: &str, sql: &str, position: Position) {
        let place = Place { origin: origin.to_owned(), position };
        let to = AnswerTo::Deployment(self.answers.0.clone());
        self.read(sql, None, place, to);
    }

    fn read(&mut self, sql: &str, at: Option<Timestamp>, place: Place, to: AnswerTo) {
        match guarded(|| sql::plan_read(sql, &self.catalog)) {
            Ok(planned) => self.begin_read(planned, at, place, to),
            Err(error) => self.refuse(to, place.error(error)),
        }
    }

    /// Answers a read at the newest time, what has been written so far included.
    pub(super) fn read_planned(&mut self, planned: PlannedRead, reply: Reply<QueryAnswer>) {
        let place = Place { origin: QUERY_ORIGIN.to_owned(), position: Position { line: 1, column: 1 } };
        self.begin_read(planned, None, place, AnswerTo::Client(reply));
    }

    fn begin_read(&mut self, planned: PlannedRead, at: Option<Timestamp>, place: Place, to: AnswerTo) {
        let deadline = Instant::now() + self.parts.read_wait;
        let floor = if at.is_none() { self.last_write(planned.collections()) } else { 0 };
        self.read_or_wait(WaitingRead { planned, at, floor, deadline, place, to });
    }

    /// The last write into any table that the collections depend on, durable or not.
    fn last_write(&self, collections: &[CollectionId]) -> Timestamp {
        let objects = collections.iter().flat_map(|collection| self.catalog.sources(collection.object));
        let tables =
            objects.filter(|id| self.catalog.get(*id).is_some_and(|object| object.kind() == ObjectKind::Table));
        let last = tables.filter_map(|table| self.parts.ingest.source_status(table));
        last.map(|status| status.last_tick).max().unwrap_or(0)
    }

    /// Starts the reads whose time has come, and gives up those that have waited too long.
    pub(super) fn look_at_reads(&mut self) {
        for read in std::mem::take(&mut self.reads) {
            self.read_or_wait(read);
        }
    }

    fn read_or_wait(&mut self, read: WaitingRead) {
        match self.readiness(&read.planned, read.at, read.floor) {
            Readiness::Ready(at) => self.start_read(read, at),
            Readiness::NotYet(message) if Instant::now() >= read.deadline => {
                self.refuse(read.to, ControlError::NotReady { message });
            }
            Readiness::NotYet(_) => self.reads.push(read),
            Readiness::Never(error) => self.refuse(read.to, error),
        }
    }

    fn refuse(&self, to: AnswerTo, error: ControlError) {
        self.parts.runtime.spawn(to.answer(Err(error)));
    }

    /// The time of a read: `at`, or the newest time that all collections have reached, which must not be before `floor`.
    fn readiness(&self, planned: &PlannedRead, at: Option<Timestamp>, floor: Timestamp) -> Readiness {
        let frontiers = self.frontiers();
        let (mut oldest, mut newest) = (0, frontiers.bound);
        for collection in planned.collections() {
            let Some(object) = self.catalog.get(collection.object) else {
                let message = "an object that the query reads was dropped".to_owned();
                return Readiness::Never(ControlError::NotReady { message });
            };
            if let Some((_, frontier)) = self.lookup(planned, *collection, at) {
                oldest = oldest.max(frontier.since);
                newest = newest.min(frontier.upper - 1);
                continue;
            }
            if object.maintained().is_none() {
                continue;
            }
            let frontier = frontiers.views.get(&object.id).copied().unwrap_or_default();
            if !frontier.readable() {
                return Readiness::NotYet(self.why_not_readable(object));
            }
            oldest = oldest.max(frontier.since);
            newest = newest.min(frontier.upper - 1);
        }
        match at {
            None if newest < floor => {
                Readiness::NotYet("what was written last has not reached the views yet: ask again".to_owned())
            }
            None if oldest <= newest => Readiness::Ready(newest),
            None => Readiness::NotYet("the views have no readable time in common yet: ask again shortly".to_owned()),
            Some(at) if at < oldest => Readiness::Never(ControlError::OutOfRange { at, side: "oldest", limit: oldest }),
            Some(at) if at > frontiers.bound => {
                Readiness::Never(ControlError::OutOfRange { at, side: "newest", limit: frontiers.bound })
            }
            // The time is there; a view that is behind will reach it.
            Some(at) if at > newest => {
                Readiness::NotYet(format!("the views have not reached time {at} yet: ask again"))
            }
            Some(at) => Readiness::Ready(at),
        }
    }

    /// The index by which a read looks a collection up, and how far it is; `None` if there is none that could be read at
    /// `at`: then all rows of the collection are read.
    fn lookup<'p>(
        &self,
        planned: &'p PlannedRead,
        collection: CollectionId,
        at: Option<Timestamp>,
    ) -> Option<(&'p IndexLookup, Frontier)> {
        let lookup = planned.lookups().get(&collection)?;
        // It may have been dropped since the read was planned.
        let index = self.catalog.get(lookup.index.object)?;
        let frontier = self.frontiers().views.get(&index.id).copied()?;
        (frontier.readable() && at.is_none_or(|at| frontier.since <= at)).then_some((lookup, frontier))
    }

    fn why_not_readable(&self, object: &Object) -> String {
        let (kind, name) = (object.kind(), &object.name);
        match self.dataflows.get(&object.id).and_then(hydration_ratio) {
            Some(ratio) => {
                let percent = ratio * 100.0;
                format!("{kind} \"{name}\" is hydrating, {percent:.0} % of its snapshot is in: ask again later")
            }
            None => format!("{kind} \"{name}\" is hydrating: ask again later"),
        }
    }

    fn start_read(&self, read: WaitingRead, at: Timestamp) {
        let WaitingRead { planned, place, to, .. } = read;
        let mut rows = BTreeMap::new();
        for collection in planned.collections() {
            let Some(object) = self.catalog.get(collection.object) else { continue };
            let lookup = self.lookup(&planned, *collection, Some(at)).filter(|(_, frontier)| at < frontier.upper);
            let from = if let Some((lookup, _)) = lookup
                && let Some(index) = self.catalog.get(lookup.index.object)
            {
                let shares = self.parts.hub.peek_keys(lookup.index, at, Some(lookup.keys.clone()));
                let (name, schema) = (index.name.clone(), Arc::clone(&index.schema));
                Rows::Indexed { name, schema, shares, columns: lookup.columns.clone() }
            } else if object.maintained().is_some() {
                Rows::Maintained {
                    name: object.name.clone(),
                    schema: object.columns(collection.part),
                    shares: self.parts.hub.peek(*collection, at),
                }
            } else {
                Rows::Log
            };
            rows.insert(*collection, from);
        }
        let reading = Reading {
            ingest: self.parts.ingest.clone(),
            runtime: self.parts.runtime.clone(),
            alone: self.parts.workers == 1,
            permits: Arc::clone(&self.read_permits),
        };
        self.parts.runtime.spawn(async move {
            let answer = Box::pin(reading.answer(planned, rows, at, place)).await;
            to.answer(answer).await;
        });
    }
}

impl Place {
    fn error(&self, error: SqlError) -> ControlError {
        let error = if error.position.is_some() { error.within(self.position) } else { error };
        ControlError::Sql { origin: self.origin.clone(), error }
    }
}

/// What a read works with once its time is chosen.
struct Reading {
    ingest: Ingest,
    runtime: Handle,
    alone: bool,
    permits: Arc<Semaphore>,
}

impl Reading {
    async fn answer(
        self,
        planned: PlannedRead,
        rows: BTreeMap<CollectionId, Rows>,
        at: Timestamp,
        place: Place,
    ) -> Result<QueryAnswer, ControlError> {
        // The permit comes before the rows are kept, so that waiting reads hold no memory but the workers' answers.
        let _permit = self.permits.acquire().await.map_err(|_| gone("the server is stopping"))?;
        let mut tables = BTreeMap::new();
        for (collection, from) in rows {
            let batches = match from {
                Rows::Log => {
                    let ingest = self.ingest.clone();
                    let read = move || ingest.read(collection, at).map_err(edge_failed);
                    self.blocking(read).await??
                }
                Rows::Indexed { name, schema, shares, columns } => {
                    let shares = shares.await.map_err(|_| lost(&name, at))?;
                    let failed = |message: String| ControlError::Failed { message: format!("\"{name}\": {message}") };
                    // Each row is on one worker.
                    let rows = merge(&schema, shares, true).map_err(|error| failed(error.to_string()))?;
                    let rows = rows.iter().map(|rows| rows.project(&columns)).collect::<Result<Vec<_>, _>>();
                    rows.map_err(|error| failed(error.to_string()))?
                }
                Rows::Maintained { name, schema, shares } => {
                    let shares = shares.await.map_err(|_| lost(&name, at))?;
                    let alone = self.alone;
                    let failed =
                        move |error: MergeError| ControlError::Failed { message: format!("\"{name}\": {error}") };
                    self.blocking(move || merge(&schema, shares, alone).map_err(failed)).await??
                }
            };
            tables.insert(collection, batches);
        }
        let schema = planned.schema();
        let runtime = self.runtime.clone();
        let run = move || caught(|| runtime.block_on(planned.run(tables)).map_err(|error| place.error(error)));
        let panicked = |message| ControlError::Failed { message: format!("a function failed on a row: {message}") };
        let batches = self.blocking(run).await?.map_err(panicked)??;
        Ok(QueryAnswer { at, schema, batches })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ControlError> {
        let failed = |error| ControlError::Failed { message: format!("internal error: the read broke off: {error}") };
        self.runtime.spawn_blocking(work).await.map_err(failed)
    }
}

/// The rows of a view out of the workers' shares.
fn merge(schema: &SchemaRef, shares: Vec<Delta>, alone: bool) -> Result<Vec<RecordBatch>, MergeError> {
    let merged = if alone { shares } else { vec![consolidate(schema, &shares)?] };
    merged.iter().map(repeat).collect()
}

fn lost(name: &str, at: Timestamp) -> ControlError {
    gone(&format!("\"{name}\" was dropped, or lost the time {at}, while it was read: ask again"))
}

fn gone(message: &str) -> ControlError {
    ControlError::NotReady { message: message.to_owned() }
}
