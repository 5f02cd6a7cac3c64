//! Queries evaluated once, by the session that evaluates reads.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::CollectionId;
use headwater_views::sql::{self, Relations, SqlError, SqlErrorKind};
use tokio::runtime::Runtime;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The text is not supported, by us or by the planner.
    Refused(String),
    /// It was planned, and failed over the rows.
    Failed(String),
    /// The record asks for what is not there to be asked: settings and plans of another program, files that are not here.
    Skipped(&'static str),
}

impl Failure {
    /// What a refusal by the planner is.
    pub(super) fn planning(error: &SqlError) -> Failure {
        let kind = match error.kind {
            SqlErrorKind::Unsupported => "",
            SqlErrorKind::Invalid => "invalid: ",
            SqlErrorKind::NotFound => "not found: ",
            SqlErrorKind::AlreadyExists | SqlErrorKind::Dependencies => "catalog: ",
        };
        Failure::Refused(format!("{kind}{}", error.message))
    }

    /// What a failure of an execution is.
    pub(super) fn running(error: &SqlError) -> Failure {
        match error.kind {
            SqlErrorKind::Unsupported => Failure::Refused(format!("at run time: {}", error.message)),
            _ => Failure::Failed(error.message.clone()),
        }
    }

    /// The message.
    pub(super) fn message(&self) -> &str {
        match self {
            Failure::Refused(message) | Failure::Failed(message) => message,
            Failure::Skipped(message) => message,
        }
    }
}

/// What `plan` gives; a panic fails the query and not the run.
pub(super) fn caught<T>(plan: impl FnOnce() -> T) -> Result<T, Failure> {
    std::panic::catch_unwind(AssertUnwindSafe(plan)).map_err(|_| Failure::Failed("the planner panics".to_owned()))
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
}

/// Evaluates.
pub(super) struct Reader {
    runtime: Runtime,
}

impl Reader {
    /// Something that evaluates.
    pub(super) fn new() -> Reader {
        Reader { runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts") }
    }

    /// The answer of `query` over what `content` says each collection contains.
    pub(super) fn read(
        &self,
        query: &str,
        relations: &dyn Relations,
        content: impl Fn(CollectionId) -> RecordBatch,
    ) -> Result<Answer, Failure> {
        let query = query.trim_end().trim_end_matches(';');
        let planned = caught(|| sql::plan_read(query, relations))?.map_err(|error| Failure::planning(&error))?;
        let schema = planned.schema();
        let tables: BTreeMap<_, _> = planned.collections().iter().map(|id| (*id, vec![content(*id)])).collect();
        let batches = self.runtime.block_on(planned.run(tables)).map_err(|error| Failure::running(&error))?;
        Ok(Answer { schema, batches })
    }
}
