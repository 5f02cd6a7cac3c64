//! Rows with their answers on their way back to columns.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, NullArray};
use arrow::datatypes::{DataType, SchemaRef};

use super::Over;
use super::kind::{Function, Kind};
use super::partition::RowBytes;
use super::row::{OrderCodec, Value, holds_codes, measured};
use crate::expr::{Recomputed, ScalarExpr, describe_row};
use crate::render::context::batch;
use crate::render::import::CHUNK_ROWS;
use crate::render::reduce::values::{from_bytes, from_codes};
use crate::render::split::Split;
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

/// How the columns of the input are kept: under the partition's key, in the order's keys, and beside both.
pub(super) struct Input {
    pub(super) partition: RowCodec,
    pub(super) order: OrderCodec,
    order_types: Vec<DataType>,
    pub(super) split: Split,
    /// Whether columns are in the partition's key alone, and in the order's keys.
    in_partition: bool,
    in_order: bool,
    /// How many columns divide the partitions.
    partitions: usize,
}

impl Input {
    pub(super) fn new(schema: &SchemaRef, over: &Over<'_>) -> Input {
        let types = |exprs: &[ScalarExpr]| exprs.iter().map(|expr| expr.data_type.clone()).collect::<Vec<_>>();
        let order = OrderCodec::new(over.order, measured(over.functions));
        let mut columns: Vec<Option<usize>> = over.partition.iter().map(ScalarExpr::column).collect();
        let partitions = columns.len();
        columns.extend(order.columns(over.order));
        let split = Split::new(schema, &columns);
        Input {
            partition: RowCodec::new(&types(over.partition)).unwrap_or_else(|error| panic!("{error}")),
            order_types: over.order.iter().map(|key| key.expr.data_type.clone()).collect(),
            in_partition: split.uses(0..partitions),
            in_order: split.uses(partitions..columns.len()),
            order,
            split,
            partitions,
        }
    }
}

/// Gathers rows of one time.
pub(super) struct Output {
    input: Rc<Input>,
    schema: SchemaRef,
    functions: Vec<Column>,
    position: String,
    errors: ErrorLog,
    partitions: RowBlock,
    orders: RowBlock,
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
    pub(super) fn new(input: Rc<Input>, functions: &[Function], schema: &SchemaRef, context: &Context<'_>) -> Output {
        Output {
            input,
            schema: schema.clone(),
            functions: functions.iter().map(Column::new).collect(),
            position: context.position("window"),
            errors: context.errors.clone(),
            partitions: RowBlock::default(),
            orders: RowBlock::default(),
            rows: RowBlock::default(),
            values: Vec::new(),
            diffs: Vec::new(),
        }
    }

    /// Adds a row of the partition `key`; returns a chunk when one is full.
    pub(super) fn push(
        &mut self,
        time: Timestamp,
        (key, (order, rest)): (&[u8], RowBytes<'_>),
        values: &[Value],
        diff: Diff,
    ) -> Option<Chunk> {
        if self.input.in_partition {
            self.partitions.push(key);
        }
        if self.input.in_order {
            self.orders.push(order);
        }
        self.rows.push(rest);
        self.values.extend_from_slice(values);
        self.diffs.push(diff);
        if self.diffs.len() >= CHUNK_ROWS { self.flush(time) } else { None }
    }

    /// The input's columns.
    fn inputs(&self) -> Vec<ArrayRef> {
        let Input { partition, order, order_types, split, in_partition, in_order, partitions } = &*self.input;
        // What nobody asks for is not decoded.
        let nothing = || -> ArrayRef { Arc::new(NullArray::new(0)) };
        let mut keys = match in_partition {
            true => partition.decode(self.partitions.iter()).expect("keys decode"),
            false => (0..*partitions).map(|_| nothing()).collect(),
        };
        if *in_order {
            keys.extend(order.decode(self.orders.iter(), order_types));
        }
        split.columns(&keys, self.rows.iter(), None)
    }

    /// The rows gathered so far. Those with an answer that its type cannot hold are errors instead.
    pub(super) fn flush(&mut self, time: Timestamp) -> Option<Chunk> {
        if self.diffs.is_empty() {
            return None;
        }
        let inputs = self.inputs();
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
        self.partitions.clear();
        self.orders.clear();
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
