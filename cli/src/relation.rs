//! Relations as they come from the server: one Arrow stream each.

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;
use headwater_proto::v1;

/// Reads the rows of one relation.
pub(crate) struct Relation {
    schema: SchemaRef,
    decoder: StreamDecoder,
}

impl Relation {
    /// Begins with the columns. Fails if they did not come in Arrow's encoding.
    pub(crate) fn start(schema: Option<v1::Schema>) -> anyhow::Result<Relation> {
        let head = schema.context("the server sent no columns")?.arrow_ipc;
        let mut decoder = StreamDecoder::new();
        decoder.decode(&mut Buffer::from(head)).context("the columns that the server sent cannot be read")?;
        let schema = decoder.schema().context("the server sent no columns in the encoding that was asked for")?;
        Ok(Relation { schema, decoder })
    }

    /// The columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of the next part.
    pub(crate) fn rows(&mut self, part: v1::RowBatch) -> anyhow::Result<Vec<RecordBatch>> {
        let mut buffer = Buffer::from(part.arrow_ipc);
        let mut batches = Vec::new();
        while !buffer.is_empty() {
            batches.extend(self.decoder.decode(&mut buffer).context("rows that the server sent cannot be read")?);
        }
        Ok(batches)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use arrow::ipc::writer::StreamWriter;

    use super::*;

    #[test]
    fn parts_become_the_rows_that_were_sent() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
        let sent = RecordBatch::try_from_iter([("s", column)]).unwrap();
        let mut stream = StreamWriter::try_new(Vec::new(), sent.schema_ref()).unwrap();
        let head = v1::Schema { columns: Vec::new(), arrow_ipc: std::mem::take(stream.get_mut()) };
        let mut relation = Relation::start(Some(head)).unwrap();
        assert_eq!(relation.schema().field(0).name(), "s");
        let mut received = Vec::new();
        for slice in [sent.slice(0, 1), sent.slice(1, 2)] {
            stream.write(&slice).unwrap();
            let part = v1::RowBatch { rows: Vec::new(), arrow_ipc: std::mem::take(stream.get_mut()) };
            received.extend(relation.rows(part).unwrap());
        }
        assert_eq!(received, [sent.slice(0, 1), sent.slice(1, 2)]);
    }

    #[test]
    fn columns_in_another_encoding_are_refused() {
        assert!(Relation::start(None).is_err());
        assert!(Relation::start(Some(v1::Schema::default())).is_err());
    }
}
