//! Rows into messages of a sensible size, in the encoding that the client asked for.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use arrow::ipc::writer::StreamWriter;
use headwater_proto::v1;
use tonic::Status;

use super::columns::WireSchema;
use super::refusal::{failed, invalid};
use super::rows::rows;

/// About how many bytes of Arrow columns go into one message. Small enough that a slow client holds little memory.
pub(super) const SLICE_BYTES: usize = 1 << 20;
/// How many rows go into one message at most: rows as values are several times larger than columns.
pub(super) const SLICE_ROWS: usize = 8_192;

/// The encoding that a request names; unspecified means rows.
pub(super) fn encoding(number: i32) -> Result<v1::Encoding, Status> {
    match v1::Encoding::try_from(number) {
        Ok(v1::Encoding::Unspecified | v1::Encoding::Rows) => Ok(v1::Encoding::Rows),
        Ok(v1::Encoding::ArrowIpc) => Ok(v1::Encoding::ArrowIpc),
        Err(_) => Err(invalid(format!("there is no encoding {number}"))),
    }
}

/// Encodes the rows of one relation, in order.
pub(super) struct RowEncoder {
    schema: WireSchema,
    /// The Arrow stream; what it has written is taken out after each batch.
    stream: Option<StreamWriter<Vec<u8>>>,
}

impl RowEncoder {
    /// Also returns the columns, which the client must have before any rows.
    pub(super) fn start(schema: &Schema, encoding: v1::Encoding) -> Result<(RowEncoder, v1::Schema), Status> {
        let schema = WireSchema::new(schema)?;
        let mut head = schema.message();
        let stream = match encoding {
            v1::Encoding::Unspecified | v1::Encoding::Rows => None,
            v1::Encoding::ArrowIpc => {
                let mut stream = StreamWriter::try_new(Vec::new(), schema.arrow())
                    .map_err(|error| failed(format!("cannot begin an Arrow stream: {error}")))?;
                head.arrow_ipc = std::mem::take(stream.get_mut());
                Some(stream)
            }
        };
        Ok((RowEncoder { schema, stream }, head))
    }

    /// The rows of `batch`, all in one message: see [`slices`].
    pub(super) fn encode(&mut self, batch: &RecordBatch) -> Result<v1::RowBatch, Status> {
        let batch = self.schema.convert(batch)?;
        match &mut self.stream {
            None => Ok(v1::RowBatch { rows: rows(&batch), arrow_ipc: Vec::new() }),
            Some(stream) => {
                stream.write(&batch).map_err(|error| failed(format!("cannot write an Arrow batch: {error}")))?;
                Ok(v1::RowBatch { rows: Vec::new(), arrow_ipc: std::mem::take(stream.get_mut()) })
            }
        }
    }
}

/// Cuts a batch into slices of about [`SLICE_BYTES`] and at most [`SLICE_ROWS`]; none of an empty batch. No row is copied.
pub(super) fn slices(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let step = slice_rows(batch);
    (0..rows).step_by(step).map(|offset| batch.slice(offset, step.min(rows - offset))).collect()
}

/// How many rows of `batch` go into a slice: at least one.
pub(super) fn slice_rows(batch: &RecordBatch) -> usize {
    let row_bytes = slice_bytes(batch).div_ceil(batch.num_rows().max(1)).max(1);
    (SLICE_BYTES / row_bytes).clamp(1, SLICE_ROWS)
}

/// About how many bytes the rows of `batch` take in Arrow columns.
pub(super) fn slice_bytes(batch: &RecordBatch) -> usize {
    let bytes = |column: &dyn Array| {
        // Types that Arrow cannot measure by the slice are measured by their buffers.
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(|column| bytes(column.as_ref())).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::buffer::Buffer;
    use arrow::ipc::reader::StreamDecoder;

    use super::*;

    fn batch(rows: usize, width: usize) -> RecordBatch {
        let count = i64::try_from(rows).unwrap();
        let text: Vec<String> = (0..rows).map(|row| format!("{row}{}", "x".repeat(width))).collect();
        let columns: Vec<(&str, ArrayRef)> =
            vec![("n", Arc::new(Int64Array::from_iter_values(0..count))), ("s", Arc::new(StringArray::from(text)))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn slices_are_bounded_and_lose_nothing() {
        assert!(slices(&batch(0, 1)).is_empty());
        assert_eq!(slices(&batch(1, 1)).len(), 1);
        let narrow = slices(&batch(20_000, 1));
        assert_eq!(narrow.iter().map(RecordBatch::num_rows).sum::<usize>(), 20_000);
        assert!(narrow.iter().all(|slice| slice.num_rows() <= SLICE_ROWS));
        let wide = slices(&batch(3_000, 1_000));
        assert_eq!(wide.iter().map(RecordBatch::num_rows).sum::<usize>(), 3_000);
        assert!(wide.len() >= 3 && wide.iter().all(|slice| slice_bytes(slice) <= SLICE_BYTES));
        assert_eq!(slices(&batch(2, SLICE_BYTES * 2)).len(), 2);
    }

    #[test]
    fn head_and_batches_are_one_arrow_stream() {
        let sent = batch(10, 3);
        let (mut encoder, head) = RowEncoder::start(&sent.schema(), v1::Encoding::ArrowIpc).unwrap();
        let mut parts = vec![head.arrow_ipc];
        for slice in [sent.slice(0, 4), sent.slice(4, 6)] {
            let message = encoder.encode(&slice).unwrap();
            assert!(message.rows.is_empty());
            parts.push(message.arrow_ipc);
        }
        let mut decoder = StreamDecoder::new();
        let mut received = Vec::new();
        for part in parts {
            let mut buffer = Buffer::from(part);
            while !buffer.is_empty() {
                received.extend(decoder.decode(&mut buffer).unwrap());
            }
        }
        assert_eq!(arrow::compute::concat_batches(&received[0].schema(), &received).unwrap().columns(), sent.columns());
    }

    #[test]
    fn rows_are_the_default() {
        let sent = batch(2, 1);
        let (mut encoder, head) = RowEncoder::start(&sent.schema(), encoding(0).unwrap()).unwrap();
        assert!(head.arrow_ipc.is_empty());
        let message = encoder.encode(&sent).unwrap();
        assert_eq!((message.rows.len(), message.arrow_ipc.len()), (2, 0));
        assert!(encoding(17).is_err());
    }
}
