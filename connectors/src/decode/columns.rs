//! The columns of a batch under construction: rows go in whole or not at all.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::column::Column;
use crate::source::SourceError;

/// The columns of a batch under construction.
#[derive(Debug)]
pub(crate) struct Columns {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
}

impl Columns {
    /// No rows yet.
    ///
    /// # Errors
    /// A declared type that a source cannot have.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Columns, SourceError> {
        let columns = schema.fields().iter().map(Column::new).collect::<Result<_, _>>()?;
        Ok(Columns { schema: SchemaRef::clone(schema), columns, rows: 0 })
    }

    /// The number of whole rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The declared names, in order.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(Column::name)
    }

    /// Appends one row with `append`, which gives every column one value. If it fails, no column keeps anything of it.
    #[inline]
    pub(super) fn push_row<E>(&mut self, append: impl FnOnce(&mut [Column]) -> Result<(), E>) -> Result<(), E> {
        let appended = append(&mut self.columns);
        match appended {
            Ok(()) => self.rows += 1,
            Err(_) => self.columns.iter_mut().for_each(|column| column.truncate(self.rows)),
        }
        appended
    }

    /// Takes the rows; there are none afterwards.
    pub(crate) fn finish(&mut self) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        let columns = self.columns.iter_mut().map(Column::finish).collect();
        RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), columns, &options)
            .expect("the columns were made from the schema and have one value a row")
    }
}
