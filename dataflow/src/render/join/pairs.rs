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
    left_rows: RowShape,
    right_rows: RowShape,
    schema: SchemaRef,
    filter: Option<ScalarExpr>,
    position: String,
    errors: ErrorLog,
    left: RowBlock,
    right: RowBlock,
    diffs: Vec<Diff>,
}

/// How the bytes of a side's rows become its columns.
pub(super) struct RowShape {
    codec: RowCodec,
    /// Which of the columns in the bytes are the side's; `None` for all, in order.
    columns: Option<Vec<usize>>,
    /// A row of NULLs, for what has no partner on this side.
    nulls: Row,
}

impl RowShape {
    /// Rows with all columns of `schema`, of which those in `columns` are the side's.
    pub(super) fn new(schema: &SchemaRef, columns: Option<Vec<usize>>) -> RowShape {
        let codec = codec_for(schema);
        RowShape { nulls: row_of_nulls(schema, &codec), codec, columns }
    }

    /// The columns of rows.
    pub(super) fn decode(&self, rows: &RowBlock) -> Vec<ArrayRef> {
        let all = self.codec.decode(rows.iter()).expect("rows of a side decode");
        match &self.columns {
            None => all,
            Some(columns) => columns.iter().map(|column| all[*column].clone()).collect(),
        }
    }
}

/// A row of `schema`'s types in which everything is NULL.
fn row_of_nulls(schema: &SchemaRef, codec: &RowCodec) -> Row {
    let nulls: Vec<ArrayRef> = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    Row::new(codec.encode(&nulls).expect("NULLs of the codec's types").get(0))
}

impl PairBuilder {
    pub(super) fn new(
        (left_rows, right_rows): (RowShape, RowShape),
        schema: &SchemaRef,
        filter: Option<ScalarExpr>,
        position: String,
        errors: ErrorLog,
    ) -> PairBuilder {
        PairBuilder {
            left_rows,
            right_rows,
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
        self.left.push(left.unwrap_or(self.left_rows.nulls.bytes()));
        self.right.push(right.unwrap_or(self.right_rows.nulls.bytes()));
        self.diffs.push(diff);
        if self.diffs.len() >= CHUNK_ROWS { self.flush(time) } else { None }
    }

    /// The pairs gathered so far, if any passes the condition.
    pub(super) fn flush(&mut self, time: Timestamp) -> Option<Chunk> {
        if self.diffs.is_empty() {
            return None;
        }
        let mut columns = self.left_rows.decode(&self.left);
        columns.extend(self.right_rows.decode(&self.right));
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
