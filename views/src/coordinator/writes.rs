//! Statements that write: planned against the catalog here, carried out by whoever asked; see [`crate::execute`].

use std::sync::{Arc, mpsc};

use arrow::array::RecordBatch;
use headwater_dataflow::repr::ObjectId;
use tokio::sync::Mutex;

use super::Coordinator;
use super::deploy::edge_failed;
use super::plan::{find_table, guarded};
use crate::catalog::{Definition, Object};
use crate::control::{ControlError, WriteOrder};
use crate::sql::{self, Parsed, SqlError, Statement, Table};
use crate::tables::{SharedWriter, Writer, signed};

impl Coordinator {
    /// Plans a statement that writes, and finds the writer of its table.
    pub(super) fn plan_write(&mut self, parsed: &Parsed, data: Option<&str>) -> Result<WriteOrder, ControlError> {
        let refuse = |error: SqlError| ControlError::Sql { origin: String::new(), error };
        let Statement::Write(write) = &parsed.statement else {
            return Err(refuse(SqlError::invalid("the statement writes nothing")));
        };
        let (object, table) = find_table(&self.catalog, write).map_err(refuse)?;
        let (id, table) = (object.id, Arc::clone(table));
        let planned = guarded(|| sql::plan_write(write, (&parsed.text, data), &table, &self.catalog));
        let planned = planned.map_err(refuse)?;
        Ok(WriteOrder { planned, writer: self.writer(id, table) })
    }

    fn writer(&mut self, id: ObjectId, table: Arc<Table>) -> SharedWriter {
        let ingest = &self.parts.ingest;
        let new = || Arc::new(Mutex::new(Writer::new(ingest.clone(), id, table)));
        Arc::clone(self.writers.entry(id).or_insert_with(new))
    }

    /// Makes the first rows of a table durable before the catalog knows the table: either all of it is there after a
    /// crash, or nothing.
    pub(super) fn write_first_rows(&self, object: &Object, rows: &RecordBatch) -> Result<(), ControlError> {
        let Definition::Table { table, .. } = &object.definition else { return Ok(()) };
        self.parts.ingest.add_table(object.id, &table.name, &table.schema).map_err(edge_failed)?;
        let rows = signed(&table.schema, None, Some(rows.clone()));
        let rows = rows.map_err(|error| ControlError::Failed { message: error.to_string() })?;
        let Some(rows) = rows else { return Ok(()) };
        let (tell, durable) = mpsc::channel();
        let tell_sealed = tell.clone();
        let on_sealed = Box::new(move |tick: Result<_, _>| {
            if let Err(error) = tick {
                // Nobody listens any more only when the server stops.
                let _ = tell_sealed.send(Err(edge_failed(error)));
            }
        });
        let on_durable = Box::new(move || drop(tell.send(Ok(()))));
        self.parts.ingest.write(object.id, rows, on_sealed, on_durable);
        durable.recv().unwrap_or_else(|_| {
            let message = self.parts.ingest.failure().unwrap_or_else(|| "the server is stopping".to_owned());
            Err(ControlError::Failed { message: format!("the first rows of the table are not durable: {message}") })
        })
    }
}
