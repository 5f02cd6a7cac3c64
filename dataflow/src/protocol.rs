//! What the control plane and the workers say to each other.
//!
//! Commands reach every worker in the same order; a worker obeys between two steps. Commands and data have no common
//! order: only a [`port`](crate::port) makes a seam exact.

use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;

use crate::figures::DataflowFigures;
use crate::plan::Plan;
use crate::port::PortReader;
use crate::repr::{Chunk, CollectionId, Delta, ObjectId, Row, Timestamp};

/// One process's reader of a port, on its way to the worker that reads.
#[derive(Clone)]
pub struct PortHandle(Arc<Mutex<Option<PortReader>>>);

impl PortHandle {
    /// Wraps the reader of [`port`](crate::port::port).
    pub fn new(reader: PortReader) -> PortHandle {
        PortHandle(Arc::new(Mutex::new(Some(reader))))
    }

    /// Takes the reader. Panics if it was taken before.
    pub(crate) fn take(&self) -> PortReader {
        self.0.lock().expect("no thread panics while it takes a reader").take().expect("a reader is taken once")
    }
}

/// A collection that a dataflow reads.
#[derive(Clone)]
pub enum Import {
    /// A collection of a source, through a port made at the seam `as_of`.
    Source {
        /// The collection.
        collection: CollectionId,
        /// Its columns.
        schema: SchemaRef,
        /// Where the rows come from.
        port: PortHandle,
        /// What the rows of the port are.
        form: PortForm,
    },
    /// A collection of another dataflow, through its arrangement. The control plane guarantees that the arrangement's
    /// since is not beyond the importer's `as_of`; every worker asserts it.
    View {
        /// The collection.
        collection: CollectionId,
        /// Its columns.
        schema: SchemaRef,
    },
    /// The rows of an index, which the plan's joins look up; as [`Import::View`].
    Index {
        /// The rows.
        collection: CollectionId,
        /// Their columns, those of the key first.
        schema: SchemaRef,
        /// How many columns are the key's.
        key: usize,
    },
}

/// What the rows of a port are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortForm {
    /// Rows that come, with the columns of the import.
    Rows,
    /// Rows that come. The import's columns end with a BIGINT that the port does not deliver: the place of each row in the
    /// order in which the port delivers them, from 1 on. It is the same for every number of workers.
    Numbered,
    /// Rows that come and go. Behind the import's columns the port delivers a BIGINT that is no column: the row's diff.
    Signed,
}

impl Import {
    /// The collection that is read.
    pub fn collection(&self) -> CollectionId {
        match self {
            Import::Source { collection, .. } | Import::View { collection, .. } | Import::Index { collection, .. } => {
                *collection
            }
        }
    }
}

/// A dataflow to build.
#[derive(Clone)]
pub struct DataflowDescription {
    /// The view whose rows and errors the dataflow maintains.
    pub object: ObjectId,
    /// The view's name, for logs and operators.
    pub name: String,
    /// Every collection that `plan` gets.
    pub imports: Vec<Import>,
    /// What is computed.
    pub plan: Plan,
    /// A collection of errors among the imports whose rows are errors of `object`, too.
    pub errors: Option<CollectionId>,
    /// Of an index, how many of the plan's first columns are its key: each row is kept by the worker that owns its key, and
    /// batches say that times have passed, but not what changed.
    pub key: Option<usize>,
    /// The first readable time: all earlier history of the imports counts as of this time.
    pub as_of: Timestamp,
}

/// Which rows of an index are wanted.
#[derive(Clone, Debug)]
pub struct IndexKeys {
    /// What they begin with: different ones, none of which begins another.
    pub beginnings: Arc<[Row]>,
    /// Whether these are whole keys. Then rows are looked up; else all are compared.
    pub whole: bool,
}

/// What the control plane tells every worker.
#[derive(Clone)]
pub enum Command {
    /// Build a dataflow. Requires that all imported views exist. Answered by [`Response::Batch`]es.
    Create(Box<DataflowDescription>),
    /// Read a view at one closed time: since <= `at` < upper on every worker. Answered by one [`Response::Peeked`] per
    /// worker.
    Peek {
        /// Names the answer.
        peek: u64,
        /// What to read.
        collection: CollectionId,
        /// When.
        at: Timestamp,
        /// Of an index, which rows are wanted; `None` for all.
        keys: Option<IndexKeys>,
    },
    /// Say what the dataflows have done and what they hold. Answered by one [`Response::Measured`] per worker.
    Measure {
        /// Names the answer.
        measure: u64,
    },
    /// Let arrangements forget: after this, each object is only read (peeked or imported) at its time or later. Times
    /// never move back. Without it everything since `as_of` stays readable, and in memory. No answer.
    AllowCompaction {
        /// The new since of each object named.
        since: Arc<[(ObjectId, Timestamp)]>,
    },
    /// Stop exporting. Answered by [`Response::SinkClosed`] per worker, after which no batch of the object follows.
    CloseSink {
        /// The view.
        object: ObjectId,
    },
    /// Release what the dataflow holds. Requires that every worker has closed the sink and that no dataflow that imports
    /// the object exists. Answered by [`Response::Released`] per worker.
    Release {
        /// The view.
        object: ObjectId,
    },
}

/// What workers tell the control plane.
#[derive(Debug)]
pub enum Response {
    /// The changes of a view in `[lower, upper)`, consolidated on this worker; another worker may hold the opposite of a
    /// row. `lower` is the `upper` of the worker's previous batch, and `as_of + 1` in the first: what is readable at
    /// `as_of` is not exported, a peek reads it. A batch without chunks says that the times have passed.
    Batch {
        /// The view.
        object: ObjectId,
        /// Which worker, counted over all processes.
        worker: usize,
        /// The first time of the batch.
        lower: Timestamp,
        /// The first time after the batch.
        upper: Timestamp,
        /// Changed rows.
        rows: Vec<Chunk>,
        /// Changed errors.
        errors: Vec<Chunk>,
    },
    /// A worker's share of a view at the time of the peek.
    Peeked {
        /// The name in the command.
        peek: u64,
        /// Which worker, counted over all processes.
        worker: usize,
        /// The rows, consolidated on this worker; diffs may be negative where another worker holds the opposite.
        rows: Vec<Delta>,
    },
    /// The figures of all dataflows on one worker.
    Measured {
        /// The name in the command.
        measure: u64,
        /// Which worker.
        worker: usize,
        /// Those that are installed.
        figures: Vec<(ObjectId, DataflowFigures)>,
    },
    /// The worker exports nothing more of the view.
    SinkClosed {
        /// The view.
        object: ObjectId,
        /// Which worker, counted over all processes.
        worker: usize,
    },
    /// The worker holds nothing more of the view.
    Released {
        /// The view.
        object: ObjectId,
        /// Which worker, counted over all processes.
        worker: usize,
    },
}
