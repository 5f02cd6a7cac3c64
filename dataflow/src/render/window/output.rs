//! Rows with their answers on their way back to columns.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, SchemaRef};

use super::kind::Function;
use super::row::{Value, holds_codes};
use crate::expr::describe_row;
use crate::render::context::batch;
use crate::render::import::{CHUNK_ROWS, codec_for};
use crate::render::reduce::values::{from_bytes, from_codes};
use crate::render::{Context, ErrorLog};
use crate::repr::{Chunk, Delta, Diff, Diffs, ErrorRow, RowBlock, RowCodec, Timestamp};

/// Gathers rows of one time.
pub(super) struct Output {
    codec: RowCodec,
    schema: SchemaRef,
    /// Name and type of each function's column.
    functions: Vec<(String, DataType)>,
    position: String,
    errors: ErrorLog,
    rows: RowBlock,
    /// The answers, row after row.
    values: Vec<Value>,
    diffs: Vec<Diff>,
}

impl Output {
    pub(super) fn new(input: &SchemaRef, functions: &[Function], schema: &SchemaRef, context: &Context<'_>) -> Output {
        Output {
            codec: codec_for(input),
            schema: schema.clone(),
            functions: functions.iter().map(|function| (function.name.clone(), function.data_type.clone())).collect(),
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
        let answers = self.functions.iter().enumerate().map(|(at, (_, data_type))| self.column(at, data_type));
        let columns: Vec<ArrayRef> = inputs.iter().cloned().chain(answers).collect();
        let rows = batch(&self.schema, columns, count);
        let mut delta = Delta { rows, diffs: Diffs::Each(self.diffs.as_slice().into()) };
        if self.values.contains(&Value::OutOfRange) {
            let keep = self.note_errors(time, &delta);
            delta = delta.filter(&keep).expect("a mask as long as the batch");
        }
        self.rows.clear();
        self.values.clear();
        self.diffs.clear();
        (!delta.is_empty()).then_some(Chunk { time, delta })
    }

    fn column(&self, function: usize, data_type: &DataType) -> ArrayRef {
        let values = self.values.iter().skip(function).step_by(self.functions.len());
        if holds_codes(data_type) {
            let codes: Vec<Option<i128>> =
                values.map(|value| if let Value::Code(code) = value { Some(*code) } else { None }).collect();
            from_codes(&codes, data_type)
        } else {
            let bytes: Vec<Option<&[u8]>> =
                values.map(|value| if let Value::Bytes(bytes) = value { Some(bytes.bytes()) } else { None }).collect();
            from_bytes(&bytes, data_type)
        }
    }

    /// Notes the rows that are errors; returns which are none.
    fn note_errors(&self, time: Timestamp, delta: &Delta) -> BooleanArray {
        let width = self.functions.len();
        let inputs: Vec<usize> = (0..self.schema.fields().len() - width).collect();
        let shown = delta.rows.project(&inputs).expect("the input's columns come first");
        let failed =
            |row: usize| self.values[row * width..(row + 1) * width].iter().position(|v| *v == Value::OutOfRange);
        let errors = (0..delta.len()).filter_map(|row| {
            let (name, data_type) = &self.functions[failed(row)?];
            let error = ErrorRow {
                position: self.position.clone(),
                column: Some(name.clone()),
                message: format!("the result of {name} is out of the range of {data_type}"),
                payload: Some(describe_row(&shown, row)),
            };
            Some((error, self.diffs[row]))
        });
        self.errors.extend(time, errors);
        (0..delta.len()).map(|row| Some(failed(row).is_none())).collect()
    }
}
