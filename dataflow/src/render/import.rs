//! Imports: another dataflow's arrangement becomes a stream of chunks.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::context::batch;
use super::{ChunkStream, Context};
use crate::repr::{Chunk, CollectionId, Delta, Diff, Diffs, RowBlock, RowCodec, Timestamp};
use crate::spines::{for_each_imported, import_rows};

/// Rows in one chunk, at most: large enough for vectorised work, small enough for the cache. Of 1,000 to 16,000 rows, 4,096
/// were the best compromise: half of a larger chunk's cost where groups are few, a little more where they are many.
pub(super) const CHUNK_ROWS: usize = 4_096;

/// The contents of a view at `as_of`, then its changes.
pub(super) fn import<'scope>(
    scope: Scope<'scope, Timestamp>,
    collection: CollectionId,
    schema: &SchemaRef,
    context: &mut Context<'_>,
) -> ChunkStream<'scope> {
    let flow = context.flows.get(&collection).expect("the control plane creates a view before its importers");
    let (stream, token) = import_rows(&flow.trace, scope, &format!("Import {collection}"), context.as_of);
    context.tokens.push(Box::new(token));
    context.tokens.push(Box::new(flow.tokens.clone()));
    let schema = schema.clone();
    let codec = codec_for(&schema);
    let meter = context.meter.clone();
    stream.unary(Pipeline, "Rows", move |_, _| {
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|capability, spans| {
                let mut session = output.session(&capability);
                for batch in spans.drain(..).filter_map(|span| span.inner) {
                    let mut updates = UpdatesByTime::default();
                    for_each_imported(&batch, |row, time, diff| {
                        if let Some(chunk) = updates.push(row, time, diff, &codec, &schema) {
                            session.give(chunk);
                        }
                    });
                    for chunk in updates.finish(&codec, &schema) {
                        session.give(chunk);
                    }
                }
            });
        }
    })
}

/// A codec for all columns of a schema.
///
/// Panics if a column's type cannot be a row: planning refuses such types.
pub(crate) fn codec_for(schema: &SchemaRef) -> RowCodec {
    RowCodec::new(schema.fields().iter().map(|field| field.data_type()))
        .unwrap_or_else(|error| panic!("a planned schema cannot be encoded as rows: {error}"))
}

/// Row bytes and diffs gathered by time.
#[derive(Default)]
pub(super) struct UpdatesByTime {
    times: BTreeMap<Timestamp, (RowBlock, Vec<Diff>)>,
}

impl UpdatesByTime {
    /// Adds an update; returns a chunk when one is full.
    pub(super) fn push(
        &mut self,
        row: &[u8],
        time: Timestamp,
        diff: Diff,
        codec: &RowCodec,
        schema: &SchemaRef,
    ) -> Option<Chunk> {
        let (rows, diffs) = self.times.entry(time).or_default();
        rows.push(row);
        diffs.push(diff);
        if rows.len() < CHUNK_ROWS {
            return None;
        }
        let chunk = decode_chunk(time, rows, diffs, codec, schema);
        rows.clear();
        diffs.clear();
        Some(chunk)
    }

    /// Everything that is left.
    pub(super) fn finish(self, codec: &RowCodec, schema: &SchemaRef) -> Vec<Chunk> {
        let times = self.times.into_iter().filter(|(_, (rows, _))| !rows.is_empty());
        times.map(|(time, (rows, diffs))| decode_chunk(time, &rows, &diffs, codec, schema)).collect()
    }
}

/// Rows of one time as columns.
pub(super) fn decode_chunk(
    time: Timestamp,
    rows: &RowBlock,
    diffs: &[Diff],
    codec: &RowCodec,
    schema: &SchemaRef,
) -> Chunk {
    Chunk { time, delta: decode_delta(rows, diffs, codec, schema) }
}

/// Rows as columns.
///
/// Panics if the bytes are no rows of the schema: only bytes that the same types were encoded to get here.
pub(crate) fn decode_delta(rows: &RowBlock, diffs: &[Diff], codec: &RowCodec, schema: &SchemaRef) -> Delta {
    let columns = codec.decode(rows.iter()).expect("rows of the schema decode");
    Delta { rows: batch(schema, columns, rows.len()), diffs: Diffs::Each(diffs.into()) }
}
