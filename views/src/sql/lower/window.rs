//! Window functions, DISTINCT ON and LIMIT: to order-based operators, one for each order that is asked for.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, Sort, WindowFunctionParams};
use datafusion::logical_expr::{
    AggregateUDF, Expr, FetchType, Limit, LogicalPlan, SkipType, Window, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, lit, when,
};
use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::{
    AggregateFunc, Frame, FrameOffset, FrameUnits, OrderBy, Places, RowLimit, WindowCall, WindowFunction,
};

use super::{Flow, Lowering, Refusal, bind, contains, renamed};
use crate::sql::error::SqlError;
use crate::sql::locate::Construct;
use crate::sql::session::types::sql_name;

/// Functions of one operator at most: each has a few sums.
const FUNCTIONS_MAX: usize = 8;

/// Functions that share an order, with their places among all: one operator, so that they agree on which copy of a row
/// comes first.
struct Ordering {
    partition: Vec<ScalarExpr>,
    order: Vec<OrderBy>,
    functions: Vec<(usize, WindowFunction)>,
}

impl Lowering<'_> {
    pub(super) fn window(&mut self, window: &Window) -> Result<Flow, Refusal> {
        let input = self.plan(&window.input)?;
        let schema = self.nodes.schema(input.node);
        let width = window.schema.fields().len() - window.window_expr.len();
        let mut orderings: Vec<Ordering> = Vec::new();
        for (at, expr) in window.window_expr.iter().enumerate() {
            let field = window.schema.field(width + at);
            let (partition, order, function) = self.function_over(expr, &input, &schema, field.data_type())?;
            let known = orderings.iter_mut().find(|known| {
                known.functions.len() < FUNCTIONS_MAX
                    && same_exprs(&known.partition, &partition)
                    && same_order(&known.order, &order)
            });
            match known {
                Some(known) => known.functions.push((at, function)),
                None => orderings.push(Ordering { partition, order, functions: vec![(at, function)] }),
            }
        }
        let first = schema.fields().len();
        let mut node = input.node;
        let mut places = vec![0; window.window_expr.len()];
        for Ordering { partition, order, functions, .. } in orderings {
            let begin = self.nodes.schema(node).fields().len();
            functions.iter().enumerate().for_each(|(index, (at, _))| places[*at] = begin + index);
            let functions = functions.into_iter().map(|(_, function)| function).collect();
            node = self.nodes.window(node, partition, order, functions, None);
        }
        let columns = self.nodes.columns(node);
        // A filler column, if there is one, is not among the planner's.
        let inputs = if width == 0 { 0..0 } else { 0..first };
        let project = inputs.chain(places).map(|place| columns[place].clone()).collect();
        Ok(Flow { node: self.nodes.mfp(node, Vec::new(), project), schema: Arc::clone(&window.schema) })
    }

    /// LIMIT and OFFSET, after ORDER BY if there is one: the rows at some places of one order of all.
    pub(super) fn limit(&mut self, limit: &Limit) -> Result<Flow, Refusal> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Err(Refusal::new(Construct::Limit, "a LIMIT that is no constant in a view", "write a number"));
        };
        let places = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.top(&limit.input, RowLimit { places: Places::Rows, offset: places(skip), fetch: fetch.map(places) })
    }

    /// The rows of `plan` at some places of the order that it ends with, if there is one. What the planner put above the
    /// order is applied to what is left.
    fn top(&mut self, plan: &LogicalPlan, limit: RowLimit) -> Result<Flow, Refusal> {
        let (flow, order) = match plan {
            LogicalPlan::Projection(projection) => {
                let input = self.top(&projection.input, limit)?;
                return self.projected(input, projection);
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.top(&alias.input, limit)?;
                return Ok(renamed(input, &alias.schema));
            }
            LogicalPlan::Sort(sort) => {
                let input = self.plan(&sort.input)?;
                let order = self.order(&sort.expr, &input, &self.nodes.schema(input.node))?;
                (input, order)
            }
            other => (self.plan(other)?, Vec::new()),
        };
        let node = self.nodes.window(flow.node, Vec::new(), order, Vec::new(), Some(limit));
        Ok(Flow { node, schema: flow.schema })
    }

    fn order(&self, keys: &[Sort], input: &Flow, schema: &SchemaRef) -> Result<Vec<OrderBy>, Refusal> {
        let key = |key: &Sort| {
            let expr = self.bind(&key.expr, &input.schema, schema)?;
            Ok(OrderBy { expr, descending: !key.asc, nulls_first: key.nulls_first })
        };
        keys.iter().map(key).collect()
    }

    fn function_over(
        &self,
        expr: &Expr,
        input: &Flow,
        schema: &SchemaRef,
        data_type: &DataType,
    ) -> Result<(Vec<ScalarExpr>, Vec<OrderBy>, WindowFunction), Refusal> {
        let Expr::WindowFunction(call) = expr.clone().unalias_nested().data else {
            return Err(Refusal::new(
                Construct::Window,
                format!("{expr} as a window function"),
                "use a function of SQL",
            ));
        };
        let params = &call.params;
        let partition = params.partition_by.iter().map(|expr| self.bind(expr, &input.schema, schema));
        let partition = partition.collect::<Result<Vec<_>, _>>()?;
        let order = self.order(&params.order_by, input, schema)?;
        let (what, args, filter) = match &call.fun {
            WindowFunctionDefinition::AggregateUDF(func) => {
                self.aggregate_over(func, params, (input, schema), data_type)?
            }
            WindowFunctionDefinition::WindowUDF(_) => {
                let (what, arg) = self.window_call(&call.fun, params, input, schema)?;
                (what, arg.into_iter().collect(), None)
            }
        };
        let frame = frame(params, &order)?;
        // The planner's own name for it repeats the whole window.
        let shown: Vec<String> = params.args.iter().map(|arg| arg.human_display().to_string()).collect();
        let name = format!("{}({})", call.fun.name(), shown.join(", "));
        Ok((partition, order, WindowFunction { call: what, args, filter, frame, name, data_type: data_type.clone() }))
    }

    /// An aggregate over a frame: the function, its arguments, and which rows it sees.
    fn aggregate_over(
        &self,
        func: &Arc<AggregateUDF>,
        params: &WindowFunctionParams,
        (input, schema): (&Flow, &SchemaRef),
        data_type: &DataType,
    ) -> Result<(WindowCall, Vec<ScalarExpr>, Option<ScalarExpr>), Refusal> {
        if params.distinct {
            let shown = func.name().to_uppercase();
            return Err(Refusal::new(
                Construct::Name(func.name().to_owned()),
                format!("{shown}(DISTINCT) over a window in a view"),
                "take DISTINCT rows first",
            ));
        }
        let planned = |args: Vec<Expr>, filter: Option<Box<Expr>>| {
            let (func, nulls) = (Arc::clone(func), params.null_treatment);
            let call = AggregateFunction::new_udf(func.clone(), args, false, filter, Vec::new(), nulls);
            self.function(&Expr::AggregateFunction(call), input, schema, func.name(), data_type)
        };
        let mut aggregate = planned(params.args.clone(), None)?;
        if let Some(filter) = &params.filter {
            aggregate = if let AggregateFunc::Recomputed(_) = aggregate.func {
                planned(params.args.clone(), Some(filter.clone()))?
            } else {
                // NULL is what these functions do not see.
                let first = if aggregate.args.is_empty() { lit(true) } else { params.args[0].clone() };
                let seen = when(filter.as_ref().clone(), first).end()?;
                planned(std::iter::once(seen).chain(params.args.iter().skip(1).cloned()).collect(), None)?
            };
        }
        Ok((WindowCall::Aggregate(aggregate.func), aggregate.args, aggregate.filter))
    }

    /// The function and its argument.
    fn window_call(
        &self,
        function: &WindowFunctionDefinition,
        params: &WindowFunctionParams,
        input: &Flow,
        schema: &SchemaRef,
    ) -> Result<(WindowCall, Option<ScalarExpr>), Refusal> {
        let refuse =
            |message: String, hint: &str| Err(Refusal::new(Construct::Name(function.name().to_owned()), message, hint));
        let shown = function.name().to_uppercase();
        let ignore_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let bound = |arg: &Expr| self.bind(arg, &input.schema, schema);
        let number = |at: usize, or: i64| constant_number(params.args.get(at), or, &shown);
        let argument = || match params.args.first() {
            Some(arg) => bound(arg).map(Some),
            None => Ok(None),
        };
        Ok(match function.name() {
            "row_number" => (WindowCall::RowNumber, None),
            "rank" => (WindowCall::Rank, None),
            "dense_rank" => (WindowCall::DenseRank, None),
            "percent_rank" => (WindowCall::PercentRank, None),
            "cume_dist" => (WindowCall::CumeDist, None),
            "ntile" => match number(0, 0)? {
                tiles @ 1.. => (WindowCall::Ntile(tiles), None),
                _ => return Err(Refusal::Invalid(SqlError::invalid("argument of ntile must be greater than zero"))),
            },
            "lag" | "lead" => {
                let offset = number(1, 1)?;
                let offset = if function.name() == "lag" { offset } else { offset.saturating_neg() };
                let default = self.default_of(params.args.get(2), params, input, schema, &shown)?;
                // An argument that is nothing but NULL has the type of what stands for it.
                let arg = match (argument()?, &default) {
                    (Some(arg), Some(default)) => Some(bind::cast(arg, &default.data_type)),
                    (arg, _) => arg,
                };
                (WindowCall::Lag { offset, default, ignore_nulls }, arg)
            }
            "first_value" => (WindowCall::Nth { n: 1, ignore_nulls }, argument()?),
            "last_value" => (WindowCall::Nth { n: -1, ignore_nulls }, argument()?),
            "nth_value" => (WindowCall::Nth { n: number(1, 1)?, ignore_nulls }, argument()?),
            _ => {
                return refuse(
                    format!("{shown} over a window in a view"),
                    "a view can have ranks, LAG, LEAD, FIRST_VALUE, LAST_VALUE, NTH_VALUE and aggregates over windows",
                );
            }
        })
    }

    /// What a LAG gives where there is no row, in the type of its argument.
    fn default_of(
        &self,
        default: Option<&Expr>,
        params: &WindowFunctionParams,
        input: &Flow,
        schema: &SchemaRef,
        shown: &str,
    ) -> Result<Option<ScalarExpr>, Refusal> {
        let (Some(default), Some(arg)) = (default, params.args.first()) else { return Ok(None) };
        if contains(default, |inner| matches!(inner, Expr::Column(_))) {
            return Err(Refusal::new(
                Construct::Name(shown.to_lowercase()),
                format!("{shown} with a default that is no constant in a view"),
                "leave it out and use COALESCE",
            ));
        }
        let data_type = self.bind(arg, &input.schema, schema)?.data_type;
        let mut default = self.bind(default, &input.schema, schema)?;
        if data_type != DataType::Null {
            default = bind::cast(default, &data_type);
        }
        // A worker takes it for granted that the constant has a value.
        let value = default.expr.evaluate(&bind::one_row()?).and_then(|value| value.into_array(1));
        value.map(|_| Some(default)).map_err(Refusal::Planner)
    }
}

/// A whole number that stands in the text.
fn constant_number(expr: Option<&Expr>, or: i64, shown: &str) -> Result<i64, Refusal> {
    let value = match expr {
        None => return Ok(or),
        Some(Expr::Literal(value, _)) => Some(value.clone()),
        Some(Expr::Negative(inner)) => match inner.as_ref() {
            Expr::Literal(value, _) => value.arithmetic_negate().ok(),
            _ => None,
        },
        Some(Expr::Cast(cast)) => return constant_number(Some(&cast.expr), or, shown),
        Some(_) => None,
    };
    match value.and_then(|value| value.cast_to(&DataType::Int64).ok()) {
        // Places are counted in both directions: the least number has no opposite.
        Some(ScalarValue::Int64(Some(number))) => Ok(number.max(-i64::MAX)),
        _ => Err(Refusal::new(
            Construct::Name(shown.to_lowercase()),
            format!("{shown} with an argument that is no constant number in a view"),
            "write the number itself",
        )),
    }
}

fn frame(params: &WindowFunctionParams, order: &[OrderBy]) -> Result<Frame, Refusal> {
    let units = match params.window_frame.units {
        WindowFrameUnits::Rows => FrameUnits::Rows,
        WindowFrameUnits::Range => FrameUnits::Range,
        WindowFrameUnits::Groups => FrameUnits::Groups,
    };
    let bound = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => Ok(Some(FrameOffset::Current)),
        WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value) if value.is_null() => Ok(None),
        WindowFrameBound::Preceding(value) => offset(units, value, order, true).map(Some),
        WindowFrameBound::Following(value) => offset(units, value, order, false).map(Some),
    };
    Ok(Frame { units, start: bound(&params.window_frame.start_bound)?, end: bound(&params.window_frame.end_bound)? })
}

fn offset(units: FrameUnits, value: &ScalarValue, order: &[OrderBy], preceding: bool) -> Result<FrameOffset, Refusal> {
    let sign = if preceding { -1 } else { 1 };
    let unsupported = || {
        Refusal::new(
            Construct::Window,
            format!("a frame of {value} in a view"),
            "use a number, or an interval where the order is by a date or time",
        )
    };
    if units != FrameUnits::Range {
        return match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(count))) => Ok(FrameOffset::Count(i128::from(sign * count))),
            _ => Err(unsupported()),
        };
    }
    let [key] = order else { return Err(unsupported()) };
    match (&key.expr.data_type, value) {
        (DataType::Date32 | DataType::Timestamp(..), ScalarValue::IntervalMonthDayNano(Some(interval))) => {
            Ok(interval_offset(&key.expr.data_type, *interval, sign))
        }
        (DataType::Float32 | DataType::Float64, value) => match value.cast_to(&DataType::Float64) {
            Ok(ScalarValue::Float64(Some(by))) => Ok(FrameOffset::Float(by * sign as f64)),
            _ => Err(unsupported()),
        },
        (DataType::Decimal128(precision, scale), value) => {
            match value.cast_to(&DataType::Decimal128(*precision, *scale)) {
                Ok(ScalarValue::Decimal128(Some(by), _, _)) => Ok(FrameOffset::Count(by * i128::from(sign))),
                _ => Err(unsupported()),
            }
        }
        (data_type, value) if data_type.is_integer() => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(by))) => Ok(FrameOffset::Count(i128::from(by) * i128::from(sign))),
            _ => Err(unsupported()),
        },
        (data_type, _) => Err(Refusal::new(
            Construct::Window,
            format!("a RANGE over values of type {} in a view", sql_name(data_type)),
            "order by a number, a date or a time",
        )),
    }
}

/// An interval as an offset of dates (in days) or times (in microseconds).
fn interval_offset(data_type: &DataType, interval: IntervalMonthDayNano, sign: i64) -> FrameOffset {
    const MICROS_A_DAY: i64 = 86_400_000_000;
    let days = i64::from(interval.days).saturating_mul(MICROS_A_DAY);
    let micros = days.saturating_add(interval.nanoseconds / 1_000).max(-i64::MAX) * sign;
    if interval.months != 0 {
        return FrameOffset::Calendar { months: interval.months * sign as i32, micros };
    }
    FrameOffset::Count(match data_type {
        DataType::Date32 => i128::from(micros.div_euclid(MICROS_A_DAY)),
        _ => i128::from(micros),
    })
}

fn same_exprs(a: &[ScalarExpr], b: &[ScalarExpr]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.expr.as_ref() == b.expr.as_ref())
}

fn same_order(a: &[OrderBy], b: &[OrderBy]) -> bool {
    let same = |(a, b): (&OrderBy, &OrderBy)| {
        a.expr.expr.as_ref() == b.expr.expr.as_ref() && a.descending == b.descending && a.nulls_first == b.nulls_first
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}
