//! Pairs of matched rows, or of a row and NULLs, on their way back to columns.

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::SchemaRef;

use crate::expr::{ScalarExpr, as_filter, evaluate};
use crate::render::ErrorLog;
use crate::render::context::batch;
use crate::render::import::{CHUNK_ROWS, codec_for};
use crate::repr::{Chunk, Delta, Diff, Diffs, Row, RowBlock, RowCodec, Timestamp};

/// Gathers pairs of one time and turns them into chunks that pass the join's further condition.
pub(super) struct PairBuilder {
    left_codec: RowCodec,
    right_codec: RowCodec,
    schema: SchemaRef,
    filter: Option<ScalarExpr>,
    position: String,
    errors: ErrorLog,
    /// A row of NULLs, for what has no partner on that side.
    no_left: Row,
    no_right: Row,
    left: RowBlock,
    right: RowBlock,
    diffs: Vec<Diff>,
}

/// A row of `schema`'s types in which everything is NULL.
fn row_of_nulls(schema: &SchemaRef, codec: &RowCodec) -> Row {
    let nulls: Vec<ArrayRef> = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    Row::new(codec.encode(&nulls).expect("NULLs of the codec's types").get(0))
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
        let (left_codec, right_codec) = (codec_for(left), codec_for(right));
        PairBuilder {
            no_left: row_of_nulls(left, &left_codec),
            no_right: row_of_nulls(right, &right_codec),
            left_codec,
            right_codec,
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
    pub(super) fn push(
        &mut self,
        time: Timestamp,
        left: Option<&[u8]>,
        right: Option<&[u8]>,
        diff: Diff,
    ) -> Option<Chunk> {
        self.left.push(left.unwrap_or(self.no_left.bytes()));
        self.right.push(right.unwrap_or(self.no_right.bytes()));
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
