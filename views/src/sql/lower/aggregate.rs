//! GROUP BY: to Distinct where nothing is computed, else to Reduce.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, NullTreatment, Sort};
use datafusion::logical_expr::{Aggregate as Grouping, AggregateUDF, Expr};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use headwater_dataflow::exact::Moment;
use headwater_dataflow::expr::{AggregateCall, Recomputed, ScalarExpr};
use headwater_dataflow::plan::{Aggregate, AggregateFunc, BitFunc};

use super::{Flow, Lowering, Refusal, bind};
use crate::sql::locate::Construct;
use crate::sql::session::grouping_sets::grouping_set;
use crate::sql::session::types::sql_name;

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, grouping: &Grouping) -> Result<Flow, Refusal> {
        if let Some(set) = grouping_set(grouping) {
            return self.grouping_sets(grouping, set);
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

    pub(super) fn function(
        &self,
        expr: &Expr,
        input: &Flow,
        schema: &SchemaRef,
        name: &str,
        data_type: &DataType,
    ) -> Result<Aggregate, Refusal> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias_nested().data else {
            return Err(Refusal::new(Construct::Query, format!("{expr} as an aggregate"), "use an aggregate function"));
        };
        let distinct = params.distinct;
        let kind = match (func.name(), params.args.len()) {
            ("count", 1) => AggregateFunc::Count,
            ("sum", 1) => AggregateFunc::Sum,
            ("avg", 1) => AggregateFunc::Avg,
            ("min" | "bool_and", 1) => AggregateFunc::Min,
            ("max" | "bool_or", 1) => AggregateFunc::Max,
            ("bit_and", 1) => AggregateFunc::Bits(BitFunc::And),
            ("bit_or", 1) => AggregateFunc::Bits(BitFunc::Or),
            ("bit_xor", 1) if !distinct => AggregateFunc::Bits(BitFunc::Xor),
            (name, count) if !distinct && Moment::of(name).is_some_and(|moment| moment.arguments() == count) => {
                AggregateFunc::Moment(Moment::of(name).expect("it was just found"))
            }
            _ => return self.recomputed(&func, &params, (input, schema), name, data_type),
        };
        let refuse =
            |message: String, hint: &str| Err(Refusal::new(Construct::Name(func.name().to_owned()), message, hint));
        let args = self.arguments((&kind, distinct), &params.args, input, schema)?;
        if let Some(arg) = args.first()
            && let Err(hint) = check_argument(&kind, &arg.data_type)
        {
            let shown = func.name().to_uppercase();
            return refuse(format!("{shown} of a value of type {}", sql_name(&arg.data_type)), hint);
        }
        let filter = params.filter.as_deref().map(|filter| self.bind(filter, &input.schema, schema)).transpose()?;
        let distinct = distinct && matches!(kind, AggregateFunc::Count | AggregateFunc::Sum | AggregateFunc::Avg);
        let aggregate =
            Aggregate { func: kind, args, distinct, filter, name: name.to_owned(), data_type: data_type.clone() };
        match aggregate.check() {
            Ok(()) => Ok(aggregate),
            Err(reason) => refuse(format!("{reason} in a view"), "cast the value, or aggregate it when reading"),
        }
    }

    /// A function that is answered from all rows of its group.
    fn recomputed(
        &self,
        func: &Arc<AggregateUDF>,
        params: &AggregateFunctionParams,
        (input, schema): (&Flow, &SchemaRef),
        name: &str,
        data_type: &DataType,
    ) -> Result<Aggregate, Refusal> {
        let bind = |expr: &Expr| self.bind(expr, &input.schema, schema);
        let mut exprs = params.args.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let args: Vec<Arc<dyn PhysicalExpr>> = exprs.iter().map(|arg| Arc::clone(&arg.expr)).collect();
        let fields = args.iter().map(|arg| arg.return_field(schema)).collect::<Result<Vec<_>, _>>()?;
        let mut order = Vec::with_capacity(params.order_by.len());
        let mut order_types = Vec::with_capacity(params.order_by.len());
        for Sort { expr, asc, nulls_first } in &params.order_by {
            let key = bind(expr)?;
            let options = SortOptions { descending: !asc, nulls_first: *nulls_first };
            order.push(PhysicalSortExpr::new(Arc::clone(&key.expr), options));
            order_types.push(key.data_type.clone());
            exprs.push(key);
        }
        let (function, kept) = Recomputed::new(&AggregateCall {
            function: Arc::clone(func),
            args: &args,
            fields: &fields,
            order: &order,
            order_types: &order_types,
            distinct: params.distinct,
            ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
            result: Arc::new(Field::new(name, data_type.clone(), func.is_nullable())),
        })?;
        Ok(Aggregate {
            func: AggregateFunc::Recomputed(function),
            args: kept.into_iter().map(|index| exprs[index].clone()).collect(),
            distinct: false,
            filter: params.filter.as_deref().map(bind).transpose()?,
            name: name.to_owned(),
            data_type: data_type.clone(),
        })
    }

    /// The arguments; none for a COUNT of a constant, which counts rows (a COUNT(DISTINCT) of one does not).
    fn arguments(
        &self,
        (kind, distinct): (&AggregateFunc, bool),
        args: &[Expr],
        input: &Flow,
        schema: &SchemaRef,
    ) -> Result<Vec<ScalarExpr>, Refusal> {
        if *kind == AggregateFunc::Count && !distinct && matches!(args, [Expr::Literal(value, _)] if !value.is_null()) {
            return Ok(Vec::new());
        }
        let bound = |arg: &Expr| -> Result<ScalarExpr, Refusal> {
            let arg = self.bind(arg, &input.schema, schema)?;
            // A column of the type NULL has no bits that say so, and its values would be counted. As an extreme it is NULL.
            let extreme = matches!(kind, AggregateFunc::Min | AggregateFunc::Max);
            Ok(if arg.data_type == DataType::Null && !extreme { bind::cast(arg, &DataType::Utf8) } else { arg })
        };
        args.iter().map(bound).collect()
    }
}

/// What to do if `kind` is not defined on values of `data_type`.
fn check_argument(kind: &AggregateFunc, data_type: &DataType) -> Result<(), &'static str> {
    let number = matches!(
        data_type,
        DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(..)
    );
    let ordered = number
        || *data_type == DataType::Null
        || data_type.is_string()
        || matches!(data_type, DataType::Date32 | DataType::Timestamp(..) | DataType::Boolean);
    match kind {
        AggregateFunc::Count | AggregateFunc::Bits(_) | AggregateFunc::Moment(_) | AggregateFunc::Recomputed(_) => {
            Ok(())
        }
        AggregateFunc::Sum | AggregateFunc::Avg if number => Ok(()),
        AggregateFunc::Min | AggregateFunc::Max if ordered => Ok(()),
        AggregateFunc::Sum | AggregateFunc::Avg => {
            Err("aggregate numbers: an interval as seconds is extract(epoch FROM x)")
        }
        AggregateFunc::Min | AggregateFunc::Max => Err("take numbers, texts, dates or times out of it"),
    }
}
