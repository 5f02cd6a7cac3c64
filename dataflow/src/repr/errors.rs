//! Errors as data: the relation that every source and view has beside its rows.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

static ERRORS_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("position", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, true),
        Field::new("message", DataType::Utf8, false),
        Field::new("payload", DataType::Utf8, true),
    ]))
});

/// The columns of every `$errors` relation: `position` (where: `lines.csv:17`, or the operator of a view), `column_name`
/// (the column concerned, if one is known), `message` (what), `payload` (the offending record or row, shortened).
pub fn errors_schema() -> SchemaRef {
    Arc::clone(&ERRORS_SCHEMA)
}

/// One row of an errors relation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorRow {
    /// Where: the source position, or the operator of a view.
    pub position: String,
    /// The column concerned, if one is known.
    pub column: Option<String>,
    /// What went wrong.
    pub message: String,
    /// The offending record or row, shortened.
    pub payload: Option<String>,
}

/// Collects error rows into a batch of [`errors_schema`].
#[derive(Debug, Default)]
pub struct ErrorRows {
    position: StringBuilder,
    column: StringBuilder,
    message: StringBuilder,
    payload: StringBuilder,
    len: usize,
}

impl ErrorRows {
    /// Appends one row.
    pub fn push(&mut self, row: &ErrorRow) {
        self.position.append_value(&row.position);
        self.column.append_option(row.column.as_deref());
        self.message.append_value(&row.message);
        self.payload.append_option(row.payload.as_deref());
        self.len += 1;
    }

    /// How many rows wait to be taken.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the collected rows; the collector is empty afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        self.len = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.position.finish()),
            Arc::new(self.column.finish()),
            Arc::new(self.message.finish()),
            Arc::new(self.payload.finish()),
        ];
        RecordBatch::try_new(errors_schema(), columns).expect("the builders match the schema")
    }
}
