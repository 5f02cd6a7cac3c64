//! Relations as they come from the server: one Arrow stream each.

use std::io::Read;

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use headwater_proto::v1;

/// Reads the rows of one relation.
pub(crate) struct Relation {
    schema: SchemaRef,
    /// The head of the stream. Each part is read behind it as a stream of its own: no part needs another one, and a reader
    /// that is fed bit by bit would keep a batch without bytes (of NULLs only) back until the next one comes.
    head: Vec<u8>,
}

impl Relation {
    /// Begins with the columns. Fails if they did not come in Arrow's encoding.
    pub(crate) fn start(schema: Option<v1::Schema>) -> anyhow::Result<Relation> {
        let head = schema.context("the server sent no columns")?.arrow_ipc;
        let reader = StreamReader::try_new(head.as_slice(), None)
            .context("the columns that the server sent are not in the encoding that was asked for")?;
        Ok(Relation { schema: reader.schema(), head })
    }

    /// The columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of the next part.
    pub(crate) fn rows(&self, part: &v1::RowBatch) -> anyhow::Result<Vec<RecordBatch>> {
        let stream = self.head.as_slice().chain(part.arrow_ipc.as_slice());
        let batches = StreamReader::try_new(stream, None).and_then(Iterator::collect);
        batches.context("rows that the server sent cannot be read")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, NullArray, StringArray};
    use arrow::ipc::writer::StreamWriter;

    use super::*;

    #[test]
    fn parts_become_the_rows_that_were_sent() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
        check(&RecordBatch::try_from_iter([("s", text)]).unwrap());
        let nothing: ArrayRef = Arc::new(NullArray::new(3));
        check(&RecordBatch::try_from_iter_with_nullable([("s", nothing, true)]).unwrap());
    }

    fn check(sent: &RecordBatch) {
        let mut stream = StreamWriter::try_new(Vec::new(), sent.schema_ref()).unwrap();
        let head = v1::Schema { columns: Vec::new(), arrow_ipc: std::mem::take(stream.get_mut()) };
        let relation = Relation::start(Some(head)).unwrap();
        assert_eq!(relation.schema().field(0).name(), "s");
        let mut received = Vec::new();
        for slice in [sent.slice(0, 1), sent.slice(1, 2)] {
            stream.write(&slice).unwrap();
            let part = v1::RowBatch { rows: Vec::new(), arrow_ipc: std::mem::take(stream.get_mut()) };
            received.extend(relation.rows(&part).unwrap());
        }
        assert_eq!(received, [sent.slice(0, 1), sent.slice(1, 2)]);
    }

    #[test]
    fn columns_in_another_encoding_are_refused() {
        assert!(Relation::start(None).is_err());
        assert!(Relation::start(Some(v1::Schema::default())).is_err());
    }
}
