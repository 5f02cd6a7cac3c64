//! GROUP BY: to Distinct where nothing is computed, else to Reduce.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate as Grouping, Expr};
use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::{Aggregate, AggregateFunc};

use super::{Flow, Lowering, Refusal, bind, contains};
use crate::sql::locate::Construct;
use crate::sql::session::types::sql_name;

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, grouping: &Grouping) -> Result<Flow, Refusal> {
        if grouping.group_expr.iter().any(|expr| contains(expr, |inner| matches!(inner, Expr::GroupingSet(_)))) {
            return Err(Refusal::new(
                Construct::GroupingSets,
                "GROUPING SETS, ROLLUP and CUBE in a view",
                "write one query per grouping and put UNION ALL between them",
            ));
        }
        let input = self.plan(&grouping.input)?;
        let schema = self.nodes.schema(input.node);
        let fields = grouping.schema.fields();
        let keys = grouping
            .group_expr
            .iter()
            .zip(fields)
            .map(|(expr, field)| Ok(bind::named(self.bind(expr, &input.schema, &schema)?, field.name())))
            .collect::<Result<Vec<_>, Refusal>>()?;
        if grouping.aggr_expr.is_empty() && !keys.is_empty() {
            let projected = self.nodes.mfp(input.node, Vec::new(), keys);
            return Ok(Flow { node: self.nodes.distinct(projected), schema: Arc::clone(&grouping.schema) });
        }
        let aggregates = grouping
            .aggr_expr
            .iter()
            .zip(&fields[keys.len()..])
            .map(|(expr, field)| self.function(expr, &input, &schema, field.name(), field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        let node = self.nodes.reduce(input.node, keys, aggregates);
        if grouping.schema.fields().is_empty() {
            return self.filler(node);
        }
        Ok(Flow { node, schema: Arc::clone(&grouping.schema) })
    }

    fn function(
        &self,
        expr: &Expr,
        input: &Flow,
        schema: &SchemaRef,
        name: &str,
        data_type: &DataType,
    ) -> Result<Aggregate, Refusal> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias_nested().data else {
            return Err(Refusal::new(
                Construct::Query,
                format!("{expr} as an aggregate"),
                "use SUM, COUNT, AVG, MIN or MAX",
            ));
        };
        let refuse =
            |message: String, hint: &str| Err(Refusal::new(Construct::Name(func.name().to_owned()), message, hint));
        let shown = func.name().to_uppercase();
        let kind = match func.name() {
            "count" => AggregateFunc::Count,
            "sum" => AggregateFunc::Sum,
            "avg" => AggregateFunc::Avg,
            "min" => AggregateFunc::Min,
            "max" => AggregateFunc::Max,
            "grouping" => return refuse("GROUPING in a view".to_owned(), "write one query per grouping"),
            _ => {
                return refuse(
                    format!("the aggregate {shown} in a view"),
                    "a view can have SUM, COUNT, COUNT(DISTINCT), AVG, MIN and MAX; use others when reading",
                );
            }
        };
        if !params.order_by.is_empty() || params.null_treatment.is_some() {
            return refuse(
                format!("{shown} with an order or a treatment of NULL"),
                "leave it out: it makes no difference",
            );
        }
        if params.distinct && matches!(kind, AggregateFunc::Sum | AggregateFunc::Avg) {
            return refuse(
                format!("{shown}(DISTINCT) in a view"),
                "group twice: SELECT sum(x) FROM (SELECT DISTINCT k, x FROM t) GROUP BY k",
            );
        }
        let [arg] = params.args.as_slice() else {
            return refuse(format!("{shown} of several values"), "count one value, or rows of a SELECT DISTINCT");
        };
        let counts_rows = kind == AggregateFunc::Count && !params.distinct;
        let arg = self.argument(counts_rows, arg, input, schema)?;
        if let Some(arg) = &arg
            && let Err(hint) = check_argument(kind, &arg.data_type)
        {
            return refuse(format!("{shown} of a value of type {}", sql_name(&arg.data_type)), hint);
        }
        let filter = params.filter.as_deref().map(|filter| self.bind(filter, &input.schema, schema)).transpose()?;
        let distinct = params.distinct && kind == AggregateFunc::Count;
        let aggregate =
            Aggregate { func: kind, arg, distinct, filter, name: name.to_owned(), data_type: data_type.clone() };
        match aggregate.check() {
            Ok(()) => Ok(aggregate),
            Err(reason) => refuse(format!("{reason} in a view"), "cast the value, or aggregate it when reading"),
        }
    }

    /// The argument; `None` for a COUNT of a constant, which counts rows (a COUNT(DISTINCT) of one does not).
    fn argument(
        &self,
        counts_rows: bool,
        arg: &Expr,
        input: &Flow,
        schema: &SchemaRef,
    ) -> Result<Option<ScalarExpr>, Refusal> {
        let constant = matches!(arg, Expr::Literal(value, _) if !value.is_null());
        if counts_rows && constant { Ok(None) } else { self.bind(arg, &input.schema, schema).map(Some) }
    }
}

/// What to do if `kind` is not defined on values of `data_type`.
fn check_argument(kind: AggregateFunc, data_type: &DataType) -> Result<(), &'static str> {
    let number = matches!(
        data_type,
        DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(..)
    );
    let ordered =
        number || matches!(data_type, DataType::Utf8 | DataType::Date32 | DataType::Timestamp(..) | DataType::Boolean);
    match kind {
        AggregateFunc::Count => Ok(()),
        AggregateFunc::Sum | AggregateFunc::Avg if number => Ok(()),
        AggregateFunc::Min | AggregateFunc::Max if ordered => Ok(()),
        AggregateFunc::Sum | AggregateFunc::Avg => {
            Err("aggregate numbers: an interval as seconds is extract(epoch FROM x)")
        }
        AggregateFunc::Min | AggregateFunc::Max => Err("take numbers, texts, dates or times out of it"),
    }
}
