//! The handle by which the outside world (the gRPC service, the demo, tests) asks the coordinator for something.
//!
//! Every method may be called from any task. Answers obey rule W: they show only times whose binding is durable.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_dataflow::figures::NodeFigures;
use headwater_dataflow::repr::{Diff, ObjectId, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::sql::{Notice, ObjectKind, Parsed, PlannedRead, PlannedWrite, SqlError};
use crate::tables::SharedWriter;

/// A text of statements and where it came from.
#[derive(Clone, Debug)]
pub struct Script {
    /// The file name, or `<query>`; shown with positions.
    pub origin: String,
    /// The statements.
    pub text: String,
}

/// Why a request was refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// The SQL text is wrong, not supported, or names what does not exist.
    #[error("{error}")]
    Sql {
        /// Which script.
        origin: String,
        /// What is wrong, where, and what to do.
        error: SqlError,
    },
    /// There is no object of that name.
    #[error("{kind} \"{name}\" does not exist")]
    NotFound {
        /// What was looked for, in words.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An object of that name exists with another definition.
    #[error("\"{name}\" exists with another definition")]
    AlreadyExists {
        /// Its name.
        name: String,
    },
    /// Others depend on the object.
    #[error("cannot drop \"{name}\": {} {} on it", dependents.join(", "), if dependents.len() == 1 { "depends" } else { "depend" })]
    Dependencies {
        /// Its name.
        name: String,
        /// Who depends on it.
        dependents: Vec<String>,
    },
    /// The time asked for is no longer or not yet readable.
    #[error("time {at} is not readable: the {side} readable time is {limit}")]
    OutOfRange {
        /// What was asked for.
        at: Timestamp,
        /// `oldest` or `newest`.
        side: &'static str,
        /// The oldest or the newest readable time.
        limit: Timestamp,
    },
    /// The object exists but cannot answer yet, or failed.
    #[error("{message}")]
    NotReady {
        /// What it is waiting for.
        message: String,
    },
    /// The server is stopping or still recovering.
    #[error("{message}")]
    Unavailable {
        /// Which.
        message: String,
    },
    /// Something outside failed: a file, the disk.
    #[error("{message}")]
    Failed {
        /// What and where.
        message: String,
    },
}

/// What became of one statement of a deployment.
#[derive(Clone, Debug)]
pub struct StatementOutcome {
    /// Which script.
    pub origin: String,
    /// 1-based line of the statement in its script.
    pub line: u32,
    /// The object concerned; empty for statements without one.
    pub name: String,
    /// What the object is.
    pub kind: Option<ObjectKind>,
    /// What was done.
    pub action: Action,
    /// The rows that the statement returned (SHOW, EXPLAIN, SELECT), if any.
    pub rows: Option<(SchemaRef, Vec<RecordBatch>)>,
    /// What should be known of what it created.
    pub notices: Vec<Notice>,
}

/// What a statement did, or would do when only validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The object was created.
    Created,
    /// The object exists with the same definition; nothing changed.
    Unchanged,
    /// The source is read at another pace.
    Altered,
    /// The table got its first rows.
    Inserted,
    /// The object was dropped.
    Dropped,
    /// The statement only returned rows.
    Answered,
}

/// Where an object is in its life.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectState {
    /// In the catalog; its dataflow is being built.
    Planned,
    /// Computing the snapshot at its `as_of`.
    Hydrating {
        /// 0 to 1, when known.
        ratio: Option<f64>,
    },
    /// Readable, but its sources have not yet delivered all that they had at the deploy.
    CatchingUp {
        /// 0 to 1, when known.
        ratio: Option<f64>,
    },
    /// A source that delivers nothing because something outside is away; it goes on by itself.
    Waiting {
        /// What it waits for.
        reason: String,
    },
    /// A source that is not read because somebody said so.
    Paused,
    /// Caught up and kept fresh.
    Serving,
    /// It cannot go on.
    Failed {
        /// Why.
        reason: String,
    },
    /// Being dropped.
    Stopping,
}

/// What is known of an object.
#[derive(Clone, Debug)]
pub struct ObjectInfo {
    /// Its id.
    pub object: ObjectId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Where it is in its life.
    pub state: ObjectState,
    /// The statement that created it.
    pub sql: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The names of the objects that it reads.
    pub reads: Vec<String>,
    /// The first readable time.
    pub since: Timestamp,
    /// The first time that is not yet readable.
    pub upper: Timestamp,
    /// Rows received (a source) or changes emitted since the start (a materialised view).
    pub updates: u64,
    /// Rows now in its errors relation.
    pub errors: u64,
    /// The most rows that a source reads in a second, if it has a limit.
    pub rows_per_second_max: Option<u32>,
    /// How old the newest readable time is, in milliseconds: the time of the clock minus the time of the last tick whose
    /// changes can all be read. `None` for what is not maintained, and while nothing can be read.
    pub freshness_ms: Option<u64>,
    /// What the dataflow that maintains it had done, and held, at most a second ago.
    pub figures: Option<NodeFigures>,
}

/// The rows of a read at one time.
#[derive(Clone, Debug)]
pub struct QueryAnswer {
    /// The time.
    pub at: Timestamp,
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

/// A statement that writes, planned, and the writer that carries it out.
#[derive(Debug)]
pub struct WriteOrder {
    /// The statement.
    pub planned: PlannedWrite,
    /// The writer of its table.
    pub writer: SharedWriter,
}

/// What to subscribe to.
#[derive(Clone, Debug, Default)]
pub struct SubscribeOptions {
    /// Names of materialised views (or their `name$errors`), all shown at the same times.
    pub views: Vec<String>,
    /// Leave out the snapshot: only changes after the start are sent.
    pub skip_snapshot: bool,
    /// Also send a progress mark for times at which nothing changed, at most one a tick.
    pub progress: bool,
}

/// The changes of one view in a transition, consolidated.
#[derive(Clone, Debug)]
pub struct ViewChanges {
    /// Index into the subscription's views.
    pub view: usize,
    /// The changed rows.
    pub rows: RecordBatch,
    /// As many diffs as rows.
    pub diffs: Arc<[Diff]>,
}

/// What a subscription delivers, in order.
#[derive(Clone, Debug)]
pub enum SubscriptionEvent {
    /// The first event: the views' columns and the time of the snapshot.
    Started {
        /// One schema a view.
        schemas: Vec<SchemaRef>,
        /// The time of the snapshot.
        at: Timestamp,
    },
    /// Applied to the views' contents at `from` it gives their contents at `to`. The snapshot goes from 0 to its time.
    /// A large transition comes in several parts with the same bounds; apply it when `more` is false.
    Transition {
        /// Contents before.
        from: Timestamp,
        /// Contents after.
        to: Timestamp,
        /// This is (a part of) the snapshot.
        snapshot: bool,
        /// Another part of the same transition follows.
        more: bool,
        /// The changes.
        changes: Vec<ViewChanges>,
    },
    /// Everything before `upper` has been delivered.
    Progress {
        /// The first time that may still change.
        upper: Timestamp,
        /// Rows in the errors relations of the views at that time.
        errors: u64,
    },
    /// The last event: why no more follow.
    Closing {
        /// The view was dropped, the subscriber was too slow, or the server is stopping.
        reason: String,
    },
}

/// The whole server in a few figures.
#[derive(Clone, Debug)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// How many timely workers.
    pub workers: usize,
    /// The last durable time.
    pub bound: Timestamp,
    /// Whether everything serves.
    pub healthy: bool,
    /// All objects.
    pub objects: Vec<ObjectInfo>,
    /// How the last start went: milliseconds until everything served again, once it has.
    pub recovery_ms: Option<u64>,
}

/// The place for the answer of a request.
pub type Reply<T> = oneshot::Sender<Result<T, ControlError>>;

/// A request to the coordinator with the place for its answer.
///
/// The variants mirror the methods of [`Control`]; see there.
#[derive(Debug)]
pub enum Request {
    /// [`Control::deploy`].
    Deploy {
        /// The scripts, in order.
        scripts: Vec<Script>,
        /// Check only.
        validate_only: bool,
        /// What became of each statement.
        reply: Reply<Vec<StatementOutcome>>,
    },
    /// [`Control::drop_object`].
    Drop {
        /// The object.
        name: String,
        /// With everything that depends on it.
        cascade: bool,
        /// An object that does not exist is no error.
        if_exists: bool,
        /// The names dropped.
        reply: Reply<Vec<String>>,
    },
    /// [`Control::watch`].
    Watch {
        /// The objects.
        names: Vec<String>,
        /// Their states.
        reply: Reply<mpsc::Receiver<Vec<ObjectInfo>>>,
    },
    /// [`Control::list`].
    List {
        /// All objects.
        reply: Reply<Vec<ObjectInfo>>,
    },
    /// [`Control::get`].
    Get {
        /// The object.
        name: String,
        /// What is known of it.
        reply: Reply<ObjectInfo>,
    },
    /// [`Control::explain`].
    Explain {
        /// A name or a query.
        target: String,
        /// With the figures of its dataflow.
        analyze: bool,
        /// The plan.
        reply: Reply<String>,
    },
    /// [`Control::query`].
    Query {
        /// The SELECT.
        sql: String,
        /// At which time.
        at: Option<Timestamp>,
        /// The rows.
        reply: Reply<QueryAnswer>,
    },
    /// [`Control::read`].
    Read {
        /// The read.
        planned: Box<PlannedRead>,
        /// The rows.
        reply: Reply<QueryAnswer>,
    },
    /// [`Control::plan_write`].
    PlanWrite {
        /// The statement.
        statement: Box<Parsed>,
        /// The lines behind a COPY.
        data: Option<String>,
        /// The plan.
        reply: Reply<WriteOrder>,
    },
    /// [`Control::subscribe`].
    Subscribe {
        /// What to subscribe to.
        options: SubscribeOptions,
        /// The events.
        reply: Reply<mpsc::Receiver<SubscriptionEvent>>,
    },
    /// [`Control::status`].
    Status {
        /// The state of the server.
        reply: Reply<Status>,
    },
}

/// A handle to the coordinator.
#[derive(Clone, Debug)]
pub struct Control {
    requests: mpsc::Sender<Request>,
}

impl Control {
    /// Wraps the sending end of the coordinator's queue.
    pub fn new(requests: mpsc::Sender<Request>) -> Control {
        Control { requests }
    }

    /// Checks all statements of all scripts, in order, then (unless `validate_only`) applies them in order. Nothing is
    /// applied if any is refused. Returns when the catalog is durable, not when views are hydrated.
    pub async fn deploy(
        &self,
        scripts: Vec<Script>,
        validate_only: bool,
    ) -> Result<Vec<StatementOutcome>, ControlError> {
        self.ask(|reply| Request::Deploy { scripts, validate_only, reply }).await
    }

    /// Drops an object, with everything that depends on it if `cascade`. Returns the names dropped, dependents first.
    pub async fn drop_object(&self, name: &str, cascade: bool, if_exists: bool) -> Result<Vec<String>, ControlError> {
        let name = name.to_owned();
        self.ask(|reply| Request::Drop { name, cascade, if_exists, reply }).await
    }

    /// Reports the state of the named objects: at once, and at every change, until all are serving or failed.
    pub async fn watch(&self, names: Vec<String>) -> Result<mpsc::Receiver<Vec<ObjectInfo>>, ControlError> {
        self.ask(|reply| Request::Watch { names, reply }).await
    }

    /// All objects, in the order of their names.
    pub async fn list(&self) -> Result<Vec<ObjectInfo>, ControlError> {
        self.ask(|reply| Request::List { reply }).await
    }

    /// One object.
    pub async fn get(&self, name: &str) -> Result<ObjectInfo, ControlError> {
        let name = name.to_owned();
        self.ask(|reply| Request::Get { name, reply }).await
    }

    /// The plan of a view by name, or of any query that could be a view; with `analyze`, which is for what a dataflow
    /// maintains, also what each operator has done and holds.
    pub async fn explain(&self, target: &str, analyze: bool) -> Result<String, ControlError> {
        let target = target.to_owned();
        self.ask(|reply| Request::Explain { target, analyze, reply }).await
    }

    /// Any SELECT over views, tables and sources at one time: `at`, or the newest time that all of them have reached, which
    /// is not before the last write into any of the tables.
    pub async fn query(&self, sql: &str, at: Option<Timestamp>) -> Result<QueryAnswer, ControlError> {
        let sql = sql.to_owned();
        self.ask(|reply| Request::Query { sql, at, reply }).await
    }

    /// The rows of a planned read at the newest time, which everything that has been written so far has reached.
    pub async fn read(&self, planned: PlannedRead) -> Result<QueryAnswer, ControlError> {
        let planned = Box::new(planned);
        self.ask(|reply| Request::Read { planned, reply }).await
    }

    /// Plans a statement that writes into a table. Places in errors are counted from its beginning.
    pub async fn plan_write(&self, statement: Parsed, data: Option<String>) -> Result<WriteOrder, ControlError> {
        let statement = Box::new(statement);
        self.ask(|reply| Request::PlanWrite { statement, data, reply }).await
    }

    /// Opens a subscription. Dropping the receiver ends it. The queue is bounded: a subscriber that falls behind gets
    /// merged transitions, and [`SubscriptionEvent::Closing`] if that is not enough.
    pub async fn subscribe(
        &self,
        options: SubscribeOptions,
    ) -> Result<mpsc::Receiver<SubscriptionEvent>, ControlError> {
        self.ask(|reply| Request::Subscribe { options, reply }).await
    }

    /// The state of the server.
    pub async fn status(&self) -> Result<Status, ControlError> {
        self.ask(|reply| Request::Status { reply }).await
    }

    /// Puts one request into the coordinator's queue (waiting while it is full) and waits for the answer.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

fn stopping() -> ControlError {
    ControlError::Unavailable { message: "the server is stopping: ask again when it has been restarted".to_owned() }
}
