//! The columns of a batch under construction: rows go in whole or not at all.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::column::Column;
use crate::source::{SourceDescription, SourceError};

/// The columns of a batch under construction.
#[derive(Debug)]
pub(crate) struct Columns {
    /// The columns of the batch.
    schema: SchemaRef,
    /// The declared columns.
    columns: Vec<Column>,
    rows: usize,
    /// Of an enveloped source: whether each row deletes. It is the last column of the batch.
    deleted: Option<Vec<bool>>,
}

impl Columns {
    /// No rows yet of a source.
    ///
    /// # Errors
    /// A declared type that a source cannot have.
    pub(crate) fn of_source(description: &SourceDescription) -> Result<Columns, SourceError> {
        let mut columns = Columns::new(&description.schema)?;
        columns.schema = description.logged_schema();
        columns.deleted = description.envelope.key().map(|_| Vec::new());
        Ok(columns)
    }

    /// No rows yet with these columns, which are only appended to.
    ///
    /// # Errors
    /// As of [`Columns::of_source`].
    pub(crate) fn new(schema: &SchemaRef) -> Result<Columns, SourceError> {
        let columns = schema.fields().iter().map(Column::new).collect::<Result<_, _>>()?;
        Ok(Columns { schema: SchemaRef::clone(schema), columns, rows: 0, deleted: None })
    }

    /// The number of whole rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The declared columns, in order.
    pub(super) fn all(&self) -> &[Column] {
        &self.columns
    }

    /// The declared names, in order.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(Column::name)
    }

    /// Appends one row with `append`, which gives every column one value. If it fails, no column keeps anything of it.
    #[inline]
    pub(super) fn push_row<E>(&mut self, append: impl FnOnce(&mut [Column]) -> Result<(), E>) -> Result<(), E> {
        self.push_rows(&[false], append)
    }

    /// Appends as many rows as `deleted` has flags with `append`, which gives every column as many values: rows, and
    /// records that delete. If it fails, no column keeps anything of them.
    #[inline]
    pub(super) fn push_rows<E>(
        &mut self,
        deleted: &[bool],
        append: impl FnOnce(&mut [Column]) -> Result<(), E>,
    ) -> Result<(), E> {
        let appended = append(&mut self.columns);
        match appended {
            Ok(()) => {
                self.rows += deleted.len();
                if let Some(flags) = &mut self.deleted {
                    flags.extend_from_slice(deleted);
                }
            }
            Err(_) => self.columns.iter_mut().for_each(|column| column.truncate(self.rows)),
        }
        appended
    }

    /// Takes the rows; there are none afterwards.
    pub(crate) fn finish(&mut self) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
        if let Some(deleted) = &mut self.deleted {
            columns.push(Arc::new(BooleanArray::from(std::mem::take(deleted))));
        }
        RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), columns, &options)
            .expect("the columns were made from the schema and have one value a row")
    }
}
