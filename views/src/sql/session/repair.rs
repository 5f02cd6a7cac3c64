//! What the planner gets wrong, put right in its plan before anything else looks at it: `EXCEPT ALL` and `INTERSECT ALL`,
//! comparisons with ANY and ALL of a subquery, `VALUES` of several types, and `USING` in outer joins, which is refused.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{
    Column, DFSchema, DataFusionError, JoinConstraint, JoinType, NullEquality, Result, ScalarValue,
};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::SetComparison;
use datafusion::logical_expr::{
    Cast, Expr, ExprFunctionExt, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Subquery, Values,
};

use super::semantics::our_type;
use crate::sql::error::SqlError;

/// The plan of a text as it is meant.
pub(in crate::sql) fn repair(plan: LogicalPlan) -> Result<LogicalPlan> {
    let repaired = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => {
            check_using(&join)?;
            if counts_copies(&join) { numbered(join).map(Transformed::yes) } else { compared(LogicalPlan::Join(join)) }
        }
        LogicalPlan::Values(values) => retyped(values),
        other => compared(other),
    })?;
    Ok(repaired.data)
}

/// The column of `USING` is that of the left side for the planner. Where the left side may be missing that is wrong.
fn check_using(join: &Join) -> Result<()> {
    if join.join_constraint != JoinConstraint::Using || !matches!(join.join_type, JoinType::Right | JoinType::Full) {
        return Ok(());
    }
    let error = SqlError::unsupported("USING and NATURAL in a RIGHT or FULL JOIN")
        .hint("write ON a.k = b.k, and coalesce(a.k, b.k) for the common column");
    Err(DataFusionError::External(Box::new(error)))
}

/// Whether a join stands for `EXCEPT ALL` or `INTERSECT ALL`: nothing else is planned as a half join in which NULL equals
/// NULL; without ALL the left side is made distinct first, and where it is, nothing has to be counted.
fn counts_copies(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(*join.left, LogicalPlan::Distinct(_))
}

/// The join with the copies of each row numbered on both sides, so that each meets one copy at most.
fn numbered(join: Join) -> Result<LogicalPlan> {
    const COPY: [&str; 2] = ["__copy", "__other_copy"];
    let columns: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let left = with_copy_numbers(&join.left, COPY[0])?;
    let right = with_copy_numbers(&join.right, COPY[1])?;
    let mut on = join.on;
    on.push((Expr::Column(Column::from_name(COPY[0])), Expr::Column(Column::from_name(COPY[1]))));
    let (left, right) = (Arc::new(left), Arc::new(right));
    let joined = Join::try_new(
        left,
        right,
        on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(joined)).project(columns)?.build()
}

fn with_copy_numbers(side: &LogicalPlan, name: &str) -> Result<LogicalPlan> {
    let mut columns: Vec<Expr> = side.schema().columns().into_iter().map(Expr::Column).collect();
    let number = row_number_udwf().call(Vec::new()).partition_by(columns.clone()).build()?;
    columns.push(Expr::Column(Column::from_name(number.schema_name().to_string())).alias(name));
    LogicalPlanBuilder::from(side.clone()).window([number])?.project(columns)?.build()
}

/// A node with the columns that values are compared with under a name of their own: when the comparison moves into
/// the subquery, a column of the same relation outside must not be taken for the one inside.
fn compared(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    node.map_expressions(|expr| {
        expr.transform_up(|expr| match expr {
            Expr::SetComparison(comparison) => {
                let SetComparison { expr, subquery, op, quantifier } = comparison;
                let plan = subquery.subquery.as_ref().clone();
                let Some(column) = plan.schema().columns().into_iter().next() else {
                    return Ok(Transformed::no(Expr::SetComparison(SetComparison::new(
                        expr, subquery, op, quantifier,
                    ))));
                };
                let values = Expr::Column(column).alias("__compared");
                let plan = LogicalPlanBuilder::from(plan).project([values])?.build()?;
                let subquery = Subquery { subquery: Arc::new(plan), ..subquery };
                Ok(Transformed::yes(Expr::SetComparison(SetComparison::new(expr, subquery, op, quantifier))))
            }
            other => Ok(Transformed::no(other)),
        })
    })
}

/// `VALUES` whose columns have our types, doubles where floats and decimals meet.
fn retyped(values: Values) -> Result<Transformed<LogicalPlan>> {
    let mut fields: Vec<(Option<_>, Arc<Field>)> =
        values.schema.iter().map(|(relation, field)| (relation.cloned(), Arc::clone(field))).collect();
    let mut rows = values.values;
    let mut changed = false;
    for (index, (_, field)) in fields.iter_mut().enumerate() {
        let found = field.data_type();
        let decimal = matches!(found, DataType::Decimal128(..) | DataType::Decimal256(..));
        let floats = decimal && rows.iter().any(|row| is_float(&row[index]));
        let target = match found {
            _ if floats => Some(DataType::Float64),
            // A literal too large for BIGINT is NUMERIC.
            DataType::UInt64 if rows.iter().any(|row| is_huge(&row[index])) => Some(DataType::Decimal128(20, 0)),
            other => our_type(other),
        };
        let Some(target) = target else { continue };
        for row in &mut rows {
            let value = std::mem::take(&mut row[index]);
            let value = if floats { uncast(value) } else { value };
            row[index] = Expr::Cast(Cast::new(Box::new(value), target.clone()));
        }
        *field = Arc::new(field.as_ref().clone().with_data_type(target));
        changed = true;
    }
    let schema = match changed {
        true => Arc::new(DFSchema::new_with_metadata(fields, values.schema.metadata().clone())?),
        false => values.schema,
    };
    let node = LogicalPlan::Values(Values { schema, values: rows });
    Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
}

/// What the planner cast to the type of its column.
fn uncast(expr: Expr) -> Expr {
    match expr {
        Expr::Cast(cast) => *cast.expr,
        other => other,
    }
}

fn is_huge(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::UInt64(Some(value)), _) if i64::try_from(*value).is_err())
}

fn is_float(expr: &Expr) -> bool {
    let inner = match expr {
        Expr::Cast(cast) => &cast.expr,
        other => other,
    };
    inner.get_type(&DFSchema::empty()).is_ok_and(|data_type| data_type.is_floating())
}
