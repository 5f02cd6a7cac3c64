//! Writers: who writes into a table. One statement at a time, each into a tick of its own.
//!
//! A writer knows which keys the table has, as of the last statement that was sealed, durable or not: so the next statement
//! is checked without waiting for the disk, and many are on their way to it together. Rows stay where they are maintained;
//! a statement that needs them reads them as everybody does, at a time that the last write has reached.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use headwater_connectors::error::EdgeError;
use headwater_connectors::ingest::{Ingest, signed_schema};
use headwater_dataflow::repr::{EncodedRows, ObjectId, Row, RowCodec, Timestamp};
use tokio::sync::{Mutex, oneshot};

use crate::control::ControlError;
use crate::sql::{SqlError, Table};

/// The writer of a table, which lets one statement in at a time.
pub type SharedWriter = Arc<Mutex<Writer>>;

type Keys = HashSet<Row, foldhash::fast::FixedState>;

/// Who writes into a table.
pub struct Writer {
    ingest: Ingest,
    object: ObjectId,
    table: Arc<Table>,
    /// The keys of the table; `None` while they have not been read, and without a key.
    keys: Option<Keys>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("table", &self.table.name).finish_non_exhaustive()
    }
}

/// A write that has been sealed into a tick. It is there for ever once `durable` says so.
#[derive(Debug)]
pub struct Sealed {
    /// How many rows the statement concerned.
    pub rows: usize,
    /// Errs if the write will never be durable; `None` if nothing was to be written.
    pub durable: Option<oneshot::Receiver<()>>,
}

impl Writer {
    /// A writer of `table`.
    pub fn new(ingest: Ingest, object: ObjectId, table: Arc<Table>) -> Writer {
        Writer { ingest, object, table, keys: None }
    }

    /// What is written into.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Whether the rows of the table have to be read before the next write; see [`Writer::learn`].
    pub fn must_learn(&self) -> bool {
        self.keys.is_none() && !self.table.key.is_empty()
    }

    /// Learns the keys of the rows that the table has.
    ///
    /// # Errors
    /// Rows of other types than the table's.
    pub fn learn(&mut self, rows: &[RecordBatch]) -> Result<(), ControlError> {
        let mut keys = Keys::default();
        for rows in rows {
            let encoded = self.encode(rows)?;
            keys.extend((0..rows.num_rows()).map(|row| Row::new(encoded.get(row))));
        }
        self.keys = Some(keys);
        Ok(())
    }

    /// Splits rows into those whose key is free and those whose key the table has; of several with one key the first is
    /// free and the others are not.
    ///
    /// # Errors
    /// As of [`Writer::learn`].
    pub fn split(&self, rows: &RecordBatch) -> Result<(RecordBatch, RecordBatch), ControlError> {
        let Some(keys) = &self.keys else { return Ok((rows.clone(), rows.slice(0, 0))) };
        let encoded = self.encode(rows)?;
        let mut seen = Keys::default();
        let free: BooleanArray = (0..rows.num_rows())
            .map(|row| Some(!keys.contains(&Row::new(encoded.get(row))) && seen.insert(Row::new(encoded.get(row)))))
            .collect();
        let taken = arrow::compute::not(&free).map_err(|error| failed(&error))?;
        let of = |mask: &BooleanArray| filter_record_batch(rows, mask).map_err(|error| failed(&error));
        Ok((of(&free)?, of(&taken)?))
    }

    /// The rows of `all` whose key one of `wanted` has. No two of `wanted` may have the same key.
    ///
    /// # Errors
    /// Two of `wanted` have one key.
    pub fn matching(&self, all: &[RecordBatch], wanted: &RecordBatch) -> Result<Vec<RecordBatch>, ControlError> {
        let encoded = self.encode(wanted)?;
        let mut keys = Keys::default();
        for row in 0..wanted.num_rows() {
            if !keys.insert(Row::new(encoded.get(row))) {
                let message = "ON CONFLICT DO UPDATE command cannot affect row a second time";
                return Err(refused(SqlError::invalid(message).hint("two of the rows have the same key")));
            }
        }
        let mut found = Vec::new();
        for rows in all {
            let encoded = self.encode(rows)?;
            let mask: BooleanArray =
                (0..rows.num_rows()).map(|row| Some(keys.contains(&Row::new(encoded.get(row))))).collect();
            found.push(filter_record_batch(rows, &mask).map_err(|error| failed(&error))?);
        }
        Ok(found)
    }

    /// Lets rows go and rows come, in one tick. `concerned` is how many rows the statement says it concerned.
    ///
    /// # Errors
    /// A key would be there twice; then nothing is written. The log has failed; then a restart says what is written.
    pub async fn write(
        &mut self,
        old: Option<RecordBatch>,
        new: Option<RecordBatch>,
        concerned: usize,
    ) -> Result<Sealed, ControlError> {
        self.exchange_keys(old.as_ref(), new.as_ref())?;
        let Some(rows) = signed(&self.table.schema, old, new).map_err(|error| failed(&error))? else {
            return Ok(Sealed { rows: concerned, durable: None });
        };
        let (tell_sealed, sealed) = oneshot::channel();
        let (tell_durable, durable) = oneshot::channel();
        // Whoever asked may have gone; the write goes on.
        let on_sealed = Box::new(move |tick| drop(tell_sealed.send(tick)));
        let on_durable = Box::new(move || {
            let _ = tell_durable.send(());
        });
        self.ingest.write(self.object, rows, on_sealed, on_durable);
        let tick: Result<Timestamp, EdgeError> = sealed.await.map_err(|_| self.lost())?;
        match tick {
            Ok(_) => Ok(Sealed { rows: concerned, durable: Some(durable) }),
            Err(_) => Err(ControlError::NotReady {
                message: format!("table \"{}\" was dropped while it was written into", self.table.name),
            }),
        }
    }

    /// Why a write came to nothing, or may have.
    pub fn lost(&self) -> ControlError {
        match self.ingest.failure() {
            Some(message) => ControlError::Failed { message: format!("the log failed: {message}") },
            None => ControlError::Unavailable { message: "the server is stopping".to_owned() },
        }
    }

    /// Takes the keys of `old` out and those of `new` in, or changes nothing.
    fn exchange_keys(&mut self, old: Option<&RecordBatch>, new: Option<&RecordBatch>) -> Result<(), ControlError> {
        if self.table.key.is_empty() {
            return Ok(());
        }
        let encoded = |rows: Option<&RecordBatch>| -> Result<Vec<Row>, ControlError> {
            let Some(rows) = rows else { return Ok(Vec::new()) };
            let encoded = self.encode(rows)?;
            Ok((0..rows.num_rows()).map(|row| Row::new(encoded.get(row))).collect())
        };
        let (gone, come) = (encoded(old)?, encoded(new)?);
        let keys = self.keys.as_mut().expect("the keys are learned before the first write");
        for key in &gone {
            keys.remove(key);
        }
        let taken = come.iter().position(|key| !keys.insert(key.clone()));
        let (Some(taken), Some(rows)) = (taken, new) else { return Ok(()) };
        for key in &come[..taken] {
            keys.remove(key);
        }
        keys.extend(gone);
        Err(refused(duplicate(&self.table, rows, taken)))
    }

    fn encode(&self, rows: &RecordBatch) -> Result<EncodedRows, ControlError> {
        encode_keys(&self.table, rows).map_err(|error| failed(&error))
    }
}

/// Rows that go, then rows that come, with their diffs; `None` if there are none.
///
/// # Errors
/// Rows of other columns than `schema`.
pub fn signed(
    schema: &SchemaRef,
    old: Option<RecordBatch>,
    new: Option<RecordBatch>,
) -> Result<Option<RecordBatch>, ArrowError> {
    let schema = signed_schema(schema);
    let mut batches = Vec::new();
    for (rows, diff) in [(old, -1), (new, 1)] {
        let Some(rows) = rows.filter(|rows| rows.num_rows() > 0) else { continue };
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_value(diff, rows.num_rows())) as ArrayRef);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        batches.push(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?);
    }
    if batches.is_empty() {
        return Ok(None);
    }
    concat_batches(&schema, &batches).map(Some)
}

/// Checks that no two rows have one key: what the first rows of a table must be.
///
/// # Errors
/// The first key that is there twice.
pub fn check_first_rows(table: &Table, rows: &RecordBatch) -> Result<(), SqlError> {
    if table.key.is_empty() {
        return Ok(());
    }
    let encoded = encode_keys(table, rows).map_err(|error| SqlError::invalid(error.to_string()))?;
    let mut keys = Keys::default();
    match (0..rows.num_rows()).find(|row| !keys.insert(Row::new(encoded.get(*row)))) {
        None => Ok(()),
        Some(row) => Err(duplicate(table, rows, row)),
    }
}

fn encode_keys(table: &Table, rows: &RecordBatch) -> Result<EncodedRows, ArrowError> {
    let columns: Vec<ArrayRef> = table.key.iter().map(|column| Arc::clone(rows.column(*column))).collect();
    RowCodec::new(columns.iter().map(|column| column.data_type()))?.encode(&columns)
}

fn duplicate(table: &Table, rows: &RecordBatch, row: usize) -> SqlError {
    let names: Vec<&str> = table.key.iter().map(|column| table.schema.field(*column).name().as_str()).collect();
    let value = |column: &usize| array_value_to_string(rows.column(*column), row).unwrap_or_default();
    let values: Vec<String> = table.key.iter().map(value).collect();
    SqlError::invalid(format!(
        "duplicate key value violates unique constraint \"{}_pkey\": key ({})=({}) already exists",
        table.name,
        names.join(", "),
        values.join(", ")
    ))
    .hint("ON CONFLICT DO NOTHING leaves such rows out, ON CONFLICT (…) DO UPDATE SET … changes what is there")
}

fn refused(error: SqlError) -> ControlError {
    ControlError::Sql { origin: String::new(), error }
}

fn failed(error: &ArrowError) -> ControlError {
    ControlError::Failed { message: format!("rows of a table: {error}") }
}
