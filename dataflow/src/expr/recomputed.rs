//! Aggregate functions that are computed anew from all rows of a group, in an order that the rows themselves determine.
//!
//! Any function of DataFusion's can be had like this. A group's rows are kept as bytes that sort as the text asks: the keys of
//! ORDER BY first, then the arguments. So an answer depends on what rows there are, and not on how they came or went.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, Schema};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::AggregateUDF;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use super::{caught, message_of};
use crate::repr::{EncodedRows, Row, RowCodec};

/// What a text says about a call of an aggregate function.
pub struct AggregateCall<'a> {
    /// The function.
    pub function: Arc<AggregateUDF>,
    /// Its arguments.
    pub args: &'a [Arc<dyn PhysicalExpr>],
    /// The fields of the arguments.
    pub fields: &'a [FieldRef],
    /// ORDER BY.
    pub order: &'a [PhysicalSortExpr],
    /// The types of the keys of ORDER BY.
    pub order_types: &'a [DataType],
    /// Whether equal arguments count once.
    pub distinct: bool,
    /// IGNORE NULLS.
    pub ignore_nulls: bool,
    /// The result.
    pub result: FieldRef,
}

/// A call, ready to be answered over the rows of a group.
#[derive(Clone)]
pub struct Recomputed(Arc<Inner>);

struct Inner {
    function: Arc<AggregateUDF>,
    /// The arguments: literals, and columns of the kept rows.
    args: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    /// The order that the function itself must know: of percentiles.
    order: Vec<PhysicalSortExpr>,
    distinct: bool,
    ignore_nulls: bool,
    result: FieldRef,
    /// The columns of a kept row.
    kept: Vec<(DataType, SortOptions)>,
    /// How many of them, the first ones, the text orders by.
    keys: usize,
    schema: Schema,
    codec: RowCodec,
    result_codec: RowCodec,
    empty: OnceLock<Row>,
}

/// The first byte of an answer: a value follows, or the message of an error.
const VALUE: u8 = 0;
const ERROR: u8 = 1;

impl Recomputed {
    /// Prepares `call`. Beside it, which expressions of the arguments followed by the keys of ORDER BY a kept row consists
    /// of, by position.
    ///
    /// # Errors
    /// An order that DISTINCT leaves undetermined, and types that cannot be kept.
    pub fn new(call: &AggregateCall<'_>) -> Result<(Recomputed, Vec<usize>)> {
        let count = call.args.len();
        // Percentiles name their argument in ORDER BY; what they take from it is the direction.
        let within = call.function.inner().supports_within_group_clause();
        let mut exprs: Vec<&Arc<dyn PhysicalExpr>> = Vec::new();
        let mut kept = Vec::new();
        let mut positions = Vec::new();
        for (index, (key, data_type)) in call.order.iter().zip(call.order_types).enumerate().filter(|_| !within) {
            if call.distinct && !call.args.contains(&key.expr) {
                return plan_err!(
                    "in an aggregate with DISTINCT, ORDER BY expressions must appear in the argument list"
                );
            }
            if !is_literal(&key.expr) && !exprs.contains(&&key.expr) {
                exprs.push(&key.expr);
                kept.push((data_type.clone(), key.options));
                positions.push(count + index);
            }
        }
        let keys = kept.len();
        let mut args: Vec<Arc<dyn PhysicalExpr>> = Vec::with_capacity(count);
        for (index, (arg, field)) in call.args.iter().zip(call.fields).enumerate() {
            if is_literal(arg) {
                args.push(Arc::clone(arg));
                continue;
            }
            let at = exprs.iter().position(|known| *known == arg).unwrap_or_else(|| {
                exprs.push(arg);
                kept.push((field.data_type().clone(), SortOptions::default()));
                positions.push(index);
                exprs.len() - 1
            });
            args.push(kept_column(at));
        }
        let order = call.order.iter().filter(|_| within).zip(&args);
        let order = order.map(|(key, arg)| PhysicalSortExpr::new(Arc::clone(arg), key.options)).collect();
        let field = |(at, (data_type, _)): (usize, &(DataType, SortOptions))| {
            Field::new(format!("c{at}"), data_type.clone(), true)
        };
        let inner = Inner {
            function: Arc::clone(&call.function),
            fields: call.fields.to_vec(),
            order,
            distinct: call.distinct,
            ignore_nulls: call.ignore_nulls,
            result: Arc::clone(&call.result),
            schema: Schema::new(kept.iter().enumerate().map(field).collect::<Vec<_>>()),
            codec: RowCodec::ordered(kept.iter().cloned())?,
            result_codec: RowCodec::new([call.result.data_type()])?,
            empty: OnceLock::new(),
            args,
            kept,
            keys,
        };
        inner.accumulator()?;
        Ok((Recomputed(Arc::new(inner)), positions))
    }

    /// The name of the function.
    pub fn name(&self) -> &str {
        self.0.function.name()
    }

    /// Whether equal arguments count once.
    pub fn is_distinct(&self) -> bool {
        self.0.distinct
    }

    /// The arguments: literals, and columns of a kept row.
    pub fn args(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.0.args
    }

    /// The order that the text asks for, over columns of a kept row.
    pub fn order(&self) -> Vec<PhysicalSortExpr> {
        let columns = self.0.kept.iter().take(self.0.keys).enumerate();
        let keys = columns.map(|(at, (_, options))| PhysicalSortExpr::new(kept_column(at), *options));
        keys.chain(self.0.order.iter().cloned()).collect()
    }

    /// Rows as they are kept: the columns are those that [`Recomputed::new`] named.
    ///
    /// Panics on columns of other types.
    pub fn encode(&self, columns: &[ArrayRef]) -> EncodedRows {
        self.0.codec.encode(columns).expect("columns have their planned types")
    }

    /// The answer over kept rows in their order, each with how often it is there. See [`Recomputed::decode`].
    pub fn answer<'a>(&self, rows: impl Iterator<Item = (&'a [u8], i64)>) -> Row {
        self.0.answer(rows)
    }

    /// The answer over nothing.
    pub fn empty(&self) -> &Row {
        self.0.empty.get_or_init(|| self.0.answer(std::iter::empty()))
    }

    /// Answers as a column; NULL stands where one is an error, whose message `failed` gets.
    pub fn decode<'a>(
        &self,
        answers: impl Iterator<Item = &'a [u8]>,
        mut failed: impl FnMut(usize, String),
    ) -> ArrayRef {
        let null = ScalarValue::try_from(self.0.result.data_type()).and_then(|null| null.to_array());
        let null = self.0.result_codec.encode(&[null.expect("every type has NULL")]).expect("NULL has the type");
        let answers: Vec<&[u8]> = answers
            .enumerate()
            .map(|(index, answer)| match answer.split_first() {
                Some((&VALUE, value)) => value,
                Some((_, message)) => {
                    failed(index, String::from_utf8_lossy(message).into_owned());
                    null.get(0)
                }
                None => unreachable!("an answer has a first byte"),
            })
            .collect();
        self.0.result_codec.decode(answers).expect("answers decode").remove(0)
    }
}

impl Inner {
    fn accumulator(&self) -> Result<Box<dyn datafusion::logical_expr::Accumulator>> {
        self.function.accumulator(AccumulatorArgs {
            return_field: Arc::clone(&self.result),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order,
            is_reversed: false,
            name: self.function.name(),
            is_distinct: false,
            exprs: &self.args,
            expr_fields: &self.fields,
        })
    }

    fn answer<'a>(&self, rows: impl Iterator<Item = (&'a [u8], i64)>) -> Row {
        // Copies stand beside each other. Counts below zero are nobody's rows.
        let copies = |count: i64| if self.distinct { count.clamp(0, 1) } else { count.max(0) };
        let rows: Vec<&[u8]> = rows
            .flat_map(|(row, count)| std::iter::repeat_n(row, usize::try_from(copies(count)).unwrap_or_default()))
            .collect();
        let answer = caught(|| self.compute(&rows)).map_err(datafusion::error::DataFusionError::Execution);
        match answer.and_then(|answer| answer) {
            Ok(value) => {
                let encoded = self.result_codec.encode(&[value]).expect("an answer has its planned type");
                Row::new(&[&[VALUE], encoded.get(0)].concat())
            }
            Err(error) => Row::new(&[&[ERROR], message_of(&error).as_bytes()].concat()),
        }
    }

    fn compute(&self, rows: &[&[u8]]) -> Result<ArrayRef> {
        let mut accumulator = self.accumulator()?;
        if !rows.is_empty() {
            let columns = self.codec.decode(rows.iter().copied())?;
            let arguments = self.args.iter().chain(self.order.iter().map(|key| &key.expr));
            let arguments = arguments.map(|arg| match arg.downcast_ref::<Column>() {
                Some(column) => Ok(Arc::clone(&columns[column.index()])),
                None => arg.downcast_ref::<Literal>().expect("a literal").value().to_array_of_size(rows.len()),
            });
            accumulator.update_batch(&arguments.collect::<Result<Vec<_>>>()?)?;
        }
        let value = accumulator.evaluate()?.to_array()?;
        let data_type = self.result.data_type();
        Ok(canonical(if value.data_type() == data_type { value } else { cast(&value, data_type)? }))
    }
}

/// One zero and one NaN.
fn canonical(values: ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => {
            let value = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(value)) as ArrayRef
        }
        DataType::Float32 => {
            let value = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(value)) as ArrayRef
        }
        _ => values,
    }
}

fn kept_column(at: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(&format!("c{at}"), at))
}

fn is_literal(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Literal>().is_some()
}

impl PartialEq for Recomputed {
    fn eq(&self, other: &Recomputed) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        a.function == b.function
            && a.args == b.args
            && a.order == b.order
            && a.kept == b.kept
            && a.result == b.result
            && (a.distinct, a.ignore_nulls) == (b.distinct, b.ignore_nulls)
    }
}

impl Eq for Recomputed {}

impl fmt::Debug for Recomputed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recomputed").field("function", &self.name()).field("args", &self.0.args).finish()
    }
}
