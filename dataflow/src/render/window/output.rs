//! Rows with their answers on their way back to columns.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, SchemaRef};

use super::kind::{Function, Kind};
use super::row::{Value, holds_codes};
use crate::expr::{Recomputed, describe_row};
use crate::render::context::batch;
use crate::render::import::{CHUNK_ROWS, codec_for};
use crate::render::reduce::values::{from_bytes, from_codes};
use crate::render::{Context, ErrorLog};
use crate::repr::{Chunk, Delta, Diff, Diffs, ErrorRow, RowBlock, RowCodec, Timestamp};

/// The column of a function.
struct Column {
    name: String,
    data_type: DataType,
    /// The function, if it is one that is computed anew.
    recomputed: Option<Recomputed>,
}

/// An answer that is none.
struct Failure {
    row: usize,
    /// The place of the function.
    function: usize,
    message: String,
}

/// Gathers rows of one time.
pub(super) struct Output {
    codec: RowCodec,
    schema: SchemaRef,
    functions: Vec<Column>,
    position: String,
    errors: ErrorLog,
    rows: RowBlock,
    /// The answers, row after row.
    values: Vec<Value>,
    diffs: Vec<Diff>,
}

impl Column {
    fn new(function: &Function) -> Column {
        let recomputed =
            if let Kind::Recomputed { function, .. } = &function.kind { Some(function.clone()) } else { None };
        Column { name: function.name.clone(), data_type: function.data_type.clone(), recomputed }
    }
}

impl Output {
    pub(super) fn new(input: &SchemaRef, functions: &[Function], schema: &SchemaRef, context: &Context<'_>) -> Output {
        Output {
            codec: codec_for(input),
            schema: schema.clone(),
            functions: functions.iter().map(Column::new).collect(),
            position: context.position("window"),
            errors: context.errors.clone(),
            rows: RowBlock::default(),
            values: Vec::new(),
            diffs: Vec::new(),
        }
    }

    /// Adds a row; returns a chunk when one is full.
    pub(super) fn push(&mut self, time: Timestamp, row: &[u8], values: &[Value], diff: Diff) -> Option<Chunk> {
        self.rows.push(row);
        self.values.extend_from_slice(values);
        self.diffs.push(diff);
        if self.diffs.len() >= CHUNK_ROWS { self.flush(time) } else { None }
    }

    /// The rows gathered so far. Those with an answer that its type cannot hold are errors instead.
    pub(super) fn flush(&mut self, time: Timestamp) -> Option<Chunk> {
        if self.diffs.is_empty() {
            return None;
        }
        let inputs = self.codec.decode(self.rows.iter()).expect("rows of the input decode");
        let count = self.diffs.len();
        let mut failures = Vec::new();
        let mut columns: Vec<ArrayRef> = inputs;
        for function in 0..self.functions.len() {
            columns.push(self.column(function, &mut failures));
        }
        let rows = batch(&self.schema, columns, count);
        let mut delta = Delta { rows, diffs: Diffs::Each(self.diffs.as_slice().into()) };
        if !failures.is_empty() {
            let keep = self.note_errors(time, &delta, failures);
            delta = delta.filter(&keep).expect("a mask as long as the batch");
        }
        self.rows.clear();
        self.values.clear();
        self.diffs.clear();
        (!delta.is_empty()).then_some(Chunk { time, delta })
    }

    fn column(&self, function: usize, failures: &mut Vec<Failure>) -> ArrayRef {
        let Column { name, data_type, recomputed } = &self.functions[function];
        let values = || self.values.iter().skip(function).step_by(self.functions.len());
        if let Some(recomputed) = recomputed {
            let answers = values().map(|value| match value {
                Value::Answer(answer) => answer.bytes(),
                other => unreachable!("{other:?} is no answer of a function that is computed anew"),
            });
            return recomputed.decode(answers, |row, message| failures.push(Failure { row, function, message }));
        }
        for (row, _) in values().enumerate().filter(|(_, value)| **value == Value::OutOfRange) {
            let message = format!("the result of {name} is out of the range of {data_type}");
            failures.push(Failure { row, function, message });
        }
        if holds_codes(data_type) {
            let codes: Vec<Option<i128>> =
                values().map(|value| if let Value::Code(code) = value { Some(*code) } else { None }).collect();
            from_codes(&codes, data_type)
        } else {
            let bytes: Vec<Option<&[u8]>> = values()
                .map(|value| if let Value::Bytes(bytes) = value { Some(bytes.bytes()) } else { None })
                .collect();
            from_bytes(&bytes, data_type)
        }
    }

    /// Notes the rows that are errors, each by its first function that failed; returns which are none.
    fn note_errors(&self, time: Timestamp, delta: &Delta, mut failures: Vec<Failure>) -> BooleanArray {
        failures.sort_by_key(|failure| (failure.row, failure.function));
        failures.dedup_by_key(|failure| failure.row);
        let inputs: Vec<usize> = (0..self.schema.fields().len() - self.functions.len()).collect();
        let shown = delta.rows.project(&inputs).expect("the input's columns come first");
        let mut keep = vec![true; delta.len()];
        let errors = failures.into_iter().map(|Failure { row, function, message }| {
            keep[row] = false;
            let error = ErrorRow {
                position: self.position.clone(),
                column: Some(self.functions[function].name.clone()),
                message,
                payload: Some(describe_row(&shown, row)),
            };
            (error, self.diffs[row])
        });
        self.errors.extend(time, errors.collect::<Vec<_>>());
        BooleanArray::from(keep)
    }
}
