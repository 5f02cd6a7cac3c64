//! Pairs of matched rows on their way back to columns.

use arrow::datatypes::SchemaRef;

use crate::expr::{ScalarExpr, as_filter, evaluate};
use crate::render::ErrorLog;
use crate::render::context::batch;
use crate::render::import::{CHUNK_ROWS, codec_for};
use crate::repr::{Chunk, Delta, Diff, Diffs, RowBlock, RowCodec, Timestamp};

/// Gathers pairs of one time and turns them into chunks that pass the join's further condition.
pub(super) struct PairBuilder {
    left_codec: RowCodec,
    right_codec: RowCodec,
    schema: SchemaRef,
    filter: Option<ScalarExpr>,
    position: String,
    errors: ErrorLog,
    left: RowBlock,
    right: RowBlock,
    diffs: Vec<Diff>,
}

impl PairBuilder {
    pub(super) fn new(
        left: &SchemaRef,
        right: &SchemaRef,
        schema: &SchemaRef,
        filter: Option<ScalarExpr>,
        position: String,
        errors: ErrorLog,
    ) -> PairBuilder {
        PairBuilder {
            left_codec: codec_for(left),
            right_codec: codec_for(right),
            schema: schema.clone(),
            filter: filter.map(|filter| filter.prepared(schema)),
            position,
            errors,
            left: RowBlock::default(),
            right: RowBlock::default(),
            diffs: Vec::new(),
        }
    }

    /// Adds a pair; returns a chunk when one is full.
    pub(super) fn push(&mut self, time: Timestamp, left: &[u8], right: &[u8], diff: Diff) -> Option<Chunk> {
        self.left.push(left);
        self.right.push(right);
        self.diffs.push(diff);
        if self.diffs.len() >= CHUNK_ROWS { self.flush(time) } else { None }
    }

    /// The pairs gathered so far, if any passes the condition.
    pub(super) fn flush(&mut self, time: Timestamp) -> Option<Chunk> {
        if self.diffs.is_empty() {
            return None;
        }
        let mut columns = self.left_codec.decode(self.left.iter()).expect("left rows decode");
        columns.extend(self.right_codec.decode(self.right.iter()).expect("right rows decode"));
        let rows = batch(&self.schema, columns, self.diffs.len());
        let mut delta = Delta { rows, diffs: Diffs::Each(self.diffs.as_slice().into()) };
        self.left.clear();
        self.right.clear();
        self.diffs.clear();
        if let Some(filter) = &self.filter {
            let evaluated = evaluate(std::slice::from_ref(filter), delta, &self.position);
            self.errors.extend(time, evaluated.errors);
            delta = evaluated.delta.filter(&as_filter(&evaluated.columns[0])).expect("a mask as long as the batch");
        }
        (!delta.is_empty()).then_some(Chunk { time, delta })
    }
}
