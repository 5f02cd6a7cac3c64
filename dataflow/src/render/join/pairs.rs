//! Pairs of matched rows, or of a row and NULLs, on their way back to columns.

use std::rc::Rc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::SchemaRef;

use super::Pair;
use crate::expr::{ScalarExpr, as_filter, evaluate};
use crate::render::ErrorLog;
use crate::render::context::batch;
use crate::render::import::CHUNK_ROWS;
use crate::render::split::Split;
use crate::repr::{Chunk, Delta, Diff, Diffs, Row, RowBlock, RowCodec, Timestamp};

/// One side of the pairs.
struct Half {
    split: Rc<Split>,
    /// What stands beside the key where there is no row.
    nothing: Row,
    rest: RowBlock,
    /// The pairs, by number, in which there is no row.
    missing: Vec<u32>,
}

impl Half {
    fn new(split: Rc<Split>) -> Half {
        let nothing = split.nulls();
        Half { split, nothing, rest: RowBlock::default(), missing: Vec::new() }
    }

    fn push(&mut self, row: Option<&[u8]>) {
        if row.is_none() {
            self.missing.push(u32::try_from(self.rest.len()).expect("chunks are small"));
        }
        self.rest.push(row.unwrap_or(self.nothing.bytes()));
    }

    /// The columns of this side, of pairs with these keys; forgets the rows.
    fn take(&mut self, keys: &[ArrayRef]) -> Vec<ArrayRef> {
        let missing = (!self.missing.is_empty()).then(|| {
            let mut missing = vec![false; self.rest.len()];
            self.missing.drain(..).for_each(|pair| missing[pair as usize] = true);
            BooleanArray::from(missing)
        });
        let columns = self.split.columns(keys, self.rest.iter(), missing.as_ref());
        self.rest.clear();
        columns
    }
}

/// Gathers pairs of one time and turns them into chunks that pass the join's further condition.
pub(super) struct PairBuilder {
    key_codec: RowCodec,
    /// The keys of the pairs, unless no column is in them.
    keys: Option<RowBlock>,
    sides: [Half; 2],
    diffs: Vec<Diff>,
    schema: SchemaRef,
    filter: Option<ScalarExpr>,
    position: String,
    errors: ErrorLog,
}

impl PairBuilder {
    /// Pairs of sides that are divided by `splits`, with `schema` for both together. The condition comes with its place
    /// in the plan.
    pub(super) fn new(
        key_codec: RowCodec,
        splits: [Rc<Split>; 2],
        schema: &SchemaRef,
        (filter, position): (Option<ScalarExpr>, String),
        errors: ErrorLog,
    ) -> PairBuilder {
        PairBuilder {
            key_codec,
            keys: splits.iter().any(|split| split.uses(0..usize::MAX)).then(RowBlock::default),
            sides: splits.map(Half::new),
            diffs: Vec::new(),
            schema: schema.clone(),
            filter: filter.map(|filter| filter.prepared(schema)),
            position,
            errors,
        }
    }

    /// Adds a pair; returns a chunk when one is full.
    pub(super) fn push(&mut self, time: Timestamp, (key, left, right): Pair<'_>, diff: Diff) -> Option<Chunk> {
        if let Some(keys) = &mut self.keys {
            keys.push(key);
        }
        let [left_half, right_half] = &mut self.sides;
        left_half.push(left);
        right_half.push(right);
        self.diffs.push(diff);
        if self.diffs.len() >= CHUNK_ROWS { self.flush(time) } else { None }
    }

    /// The pairs gathered so far, if any passes the condition.
    pub(super) fn flush(&mut self, time: Timestamp) -> Option<Chunk> {
        if self.diffs.is_empty() {
            return None;
        }
        let keys = match &mut self.keys {
            Some(rows) => {
                let keys = self.key_codec.decode(rows.iter()).expect("keys decode");
                rows.clear();
                keys
            }
            None => Vec::new(),
        };
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for side in &mut self.sides {
            columns.extend(side.take(&keys));
        }
        let rows = batch(&self.schema, columns, self.diffs.len());
        let mut delta = Delta { rows, diffs: Diffs::Each(self.diffs.as_slice().into()) };
        self.diffs.clear();
        if let Some(filter) = &self.filter {
            let evaluated = evaluate(std::slice::from_ref(filter), delta, &self.position);
            self.errors.extend(time, evaluated.errors);
            delta = evaluated.delta.filter(&as_filter(&evaluated.columns[0])).expect("a mask as long as the batch");
        }
        (!delta.is_empty()).then_some(Chunk { time, delta })
    }
}
