//! Aggregates of reads whose answer depends on the order of the rows: the dataflow's own, so that a read over a source
//! equals the view that maintains it.
//!
//! DataFusion sees rows as they come. Here they are collected and answered in the order that they determine themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, Signature};
use datafusion::optimizer::analyzer::AnalyzerRule;
use headwater_dataflow::exact::Moment;
use headwater_dataflow::expr::{AggregateCall, Recomputed};
use headwater_dataflow::repr::Row;

use super::estimates::is_estimated;
use super::semantics::rewrite;

/// Functions whose answer depends on the order of rows.
const ORDERED: &[&str] = &[
    "array_agg",
    "string_agg",
    "first_value",
    "last_value",
    "nth_value",
    "any_value",
    "approx_percentile_cont_with_weight",
    "mode",
];

/// The rule. It leaves window functions alone: their frames have an order.
#[derive(Debug)]
pub(super) struct OrderedAggregates;

impl AnalyzerRule for OrderedAggregates {
    fn name(&self) -> &str {
        "ordered_aggregates"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, &|expr, _| {
            let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else {
                return Ok(Transformed::no(expr));
            };
            // What DataFusion cannot do over different values, or does in whatever order a hash table has them.
            let distinct = params.distinct
                && match func.name() {
                    "count" => params.args.len() > 1,
                    "sum" | "avg" => true,
                    name => Moment::of(name).is_some(),
                };
            let theirs = matches!(func.name(), "approx_percentile_cont" | "approx_median")
                && !is_estimated(func.name(), params.args.len(), params.distinct);
            if !distinct && !theirs && !ORDERED.contains(&func.name()) {
                return Ok(Transformed::no(Expr::AggregateFunction(AggregateFunction { func, params })));
            }
            let func = Arc::new(AggregateUDF::from(Ordered { inner: func }));
            Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params })))
        })
    }
}

/// DataFusion's function over collected rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Ordered {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Ordered {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arg_fields)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let order_types =
            args.order_bys.iter().map(|key| key.expr.data_type(args.schema)).collect::<Result<Vec<_>>>()?;
        let (function, kept) = Recomputed::new(&AggregateCall {
            function: Arc::clone(&self.inner),
            args: args.exprs,
            fields: args.expr_fields,
            order: args.order_bys,
            order_types: &order_types,
            distinct: args.is_distinct,
            ignore_nulls: args.ignore_nulls,
            result: Arc::clone(&args.return_field),
        })?;
        Ok(Box::new(Collected { function, kept, rows: BTreeMap::new() }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let rows = DataType::new_list(DataType::Binary, true);
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "rows"), rows, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        // The keys of ORDER BY come along, the rows may come in any order.
        AggregateOrderSensitivity::SoftRequirement
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        _beneficial_ordering: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.inner().default_value(data_type)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.inner().supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.inner().supports_within_group_clause()
    }
}

/// The rows of a group so far.
#[derive(Debug)]
struct Collected {
    function: Recomputed,
    /// Which of the values that come are kept.
    kept: Vec<usize>,
    rows: BTreeMap<Row, i64>,
}

impl Collected {
    fn add(&mut self, row: &[u8], diff: i64) {
        let row = Row::new(row);
        let count = self.rows.entry(row.clone()).or_insert(0);
        *count += diff;
        if *count == 0 {
            self.rows.remove(&row);
        }
    }

    fn change(&mut self, values: &[ArrayRef], diff: i64) {
        let columns: Vec<ArrayRef> = self.kept.iter().map(|index| Arc::clone(&values[*index])).collect();
        let rows = self.function.encode(&columns);
        let count = values.first().map_or(0, |column| column.len());
        (0..count).for_each(|row| self.add(rows.get(row), diff));
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let answer = self.function.answer(self.rows.iter().map(|(row, count)| (row.bytes(), *count)));
        let mut failure = None;
        let values = self.function.decode(std::iter::once(answer.bytes()), |_, message| failure = Some(message));
        match failure {
            Some(message) => exec_err!("{message}"),
            None => ScalarValue::try_from_array(&values, 0),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let copies = |(row, count): (&Row, &i64)| {
            let value = ScalarValue::Binary(Some(row.bytes().to_vec()));
            std::iter::repeat_n(value, usize::try_from(*count).unwrap_or_default())
        };
        let rows: Vec<ScalarValue> = self.rows.iter().flat_map(copies).collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&rows, &DataType::Binary))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for rows in states[0].as_list::<i32>().iter().flatten() {
            rows.as_binary::<i32>().iter().flatten().for_each(|row| self.add(row, 1));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.keys().map(|row| row.bytes().len() + 48).sum::<usize>()
    }
}
