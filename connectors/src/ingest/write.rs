//! Writes: what statements bring into tables. A table is a source without a reader: its log holds rows that come and rows
//! that go, and every write is sealed into a tick of its own, so that it is seen whole or not at all.
//!
//! Writes overtake what waits of sources, but a tick with a write takes along as much of that as any other: a stream of
//! statements holds nobody up. More writes than ordinary ticks may be on their way to the disk, because each waits for its
//! own acknowledgement: the log makes as many durable together as wait.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_dataflow::repr::{ObjectId, Timestamp};

use super::core::SealPart;
use super::status::SourceState;
use crate::error::EdgeError;
use crate::log::bind::Reached;

/// The last column that the log of a table holds: how many copies of the row come, or go if it is below zero. No declared
/// column can have the name.
pub const DIFF: &str = "$diff";

/// The columns that the log of a table with the columns `schema` holds.
pub fn signed_schema(schema: &SchemaRef) -> SchemaRef {
    let diff = Arc::new(Field::new(DIFF, DataType::Int64, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([diff]).collect::<Vec<_>>()))
}

/// What a write is told when it has been sealed into a tick: the tick's time, or why there is none.
pub type OnSealed = Box<dyn FnOnce(Result<Timestamp, EdgeError>) + Send>;

/// What a write is told when it is durable. It is dropped if that will never be.
pub type OnDurable = Box<dyn FnOnce() + Send>;

/// Rows on their way into a table.
pub(crate) struct Write {
    /// The table.
    pub(crate) object: ObjectId,
    /// The columns of [`signed_schema`].
    pub(crate) rows: RecordBatch,
    /// Who is told when the tick is sealed.
    pub(crate) on_sealed: OnSealed,
    /// Who is told when it is durable.
    pub(crate) on_durable: OnDurable,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write").field("object", &self.object).field("rows", &self.rows.num_rows()).finish()
    }
}

/// What the table brings into a tick. A table has no position: nothing is read again.
pub(crate) fn seal_part(object: ObjectId, rows: RecordBatch) -> SealPart {
    let (reached, state) = (Some(Reached::default()), SourceState::CaughtUp);
    SealPart { object, rows: Some(rows), errors: None, reached, state }
}
