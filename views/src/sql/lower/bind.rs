//! Expressions: from the planner's, which name columns, to ours, which number them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Operator, Values};
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, create_physical_expr};
use headwater_dataflow::expr::ScalarExpr;

use super::{Lowering, Refusal, contains};
use crate::sql::locate::Construct;
use crate::sql::session::one_row::ONLY_ROW;

impl Lowering<'_> {
    /// Binds `expr` to the columns of a node: `names` is what the planner calls them, `schema` what they are.
    pub(super) fn bind(&self, expr: &Expr, names: &DFSchema, schema: &SchemaRef) -> Result<ScalarExpr, Refusal> {
        check(expr)?;
        let bound =
            create_physical_expr(expr, names, self.state.execution_props(), &PhysicalPlanningContext::default())?;
        Ok(ScalarExpr {
            name: expr.human_display().to_string(),
            data_type: bound.data_type(schema)?,
            nullable: bound.nullable(schema)?,
            expr: bound,
        })
    }
}

/// Refuses what has a meaning only with other rows at hand.
fn check(expr: &Expr) -> Result<(), Refusal> {
    if contains(expr, |inner| matches!(inner, Expr::ScalarSubquery(_))) {
        return Err(subquery_value());
    }
    if contains(expr, |inner| matches!(inner, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))) {
        return Err(mark_join());
    }
    if contains(expr, |inner| matches!(inner, Expr::OuterReferenceColumn(..))) {
        return Err(Refusal::new(Construct::MarkJoin, "this correlated subquery in a view", "write it as a join"));
    }
    if contains(expr, |inner| matches!(inner, Expr::Placeholder(_) | Expr::ScalarVariable(..))) {
        return Err(Refusal::new(Construct::Query, "parameters and variables", "write the value itself"));
    }
    Ok(())
}

/// Subqueries that the planner could not turn into joins.
pub(super) fn subquery_value() -> Refusal {
    Refusal::new(
        Construct::ScalarSubquery,
        "a subquery as a value in this place of a view",
        "join with it: FROM t CROSS JOIN (SELECT max(x) AS x FROM u) AS m",
    )
}

/// EXISTS and IN (SELECT) where they are neither conditions nor in the select list.
pub(super) fn mark_join() -> Refusal {
    Refusal::new(
        Construct::MarkJoin,
        "EXISTS or IN (SELECT …) in this place of a view",
        "use it as a condition in WHERE or in the select list, or join",
    )
}

/// The same expression under another name.
pub(super) fn named(expr: ScalarExpr, name: &str) -> ScalarExpr {
    ScalarExpr { name: name.to_owned(), ..expr }
}

/// The field of a column that `expr` gives.
pub(super) fn field(expr: &ScalarExpr) -> Arc<Field> {
    Arc::new(Field::new(&expr.name, expr.data_type.clone(), expr.nullable))
}

/// Column `index` of `schema`.
pub(super) fn column(schema: &Schema, index: usize) -> ScalarExpr {
    let field = schema.field(index);
    ScalarExpr {
        expr: Arc::new(Column::new(field.name(), index)),
        name: field.name().clone(),
        data_type: field.data_type().clone(),
        nullable: field.is_nullable(),
    }
}

/// `expr` as another type; an error for values that the type cannot hold.
pub(super) fn cast(expr: ScalarExpr, data_type: &DataType) -> ScalarExpr {
    if expr.data_type == *data_type {
        return expr;
    }
    ScalarExpr {
        expr: Arc::new(CastExpr::new(expr.expr, data_type.clone(), None)),
        data_type: data_type.clone(),
        ..expr
    }
}

/// A column that is only there because a batch needs one.
pub(super) fn filler() -> ScalarExpr {
    ScalarExpr {
        expr: Arc::new(Literal::new(ScalarValue::Boolean(Some(true)))),
        name: "row".to_owned(),
        data_type: DataType::Boolean,
        nullable: false,
    }
}

/// NULL of a type.
pub(super) fn null(name: &str, data_type: &DataType) -> ScalarExpr {
    let value = ScalarValue::try_from(data_type).expect("every type of a column has a NULL");
    ScalarExpr {
        expr: Arc::new(Literal::new(value)),
        name: name.to_owned(),
        data_type: data_type.clone(),
        nullable: true,
    }
}

/// Whether a number of rows is one; an error for more.
pub(super) fn is_one(rows: ScalarExpr) -> ScalarExpr {
    let field = Field::new("only_row", DataType::Boolean, true);
    let function = Arc::clone(&ONLY_ROW);
    let call = ScalarFunctionExpr::new("only_row", function, vec![rows.expr], Arc::new(field), Arc::default());
    ScalarExpr { expr: Arc::new(call), name: "only_row".to_owned(), data_type: DataType::Boolean, nullable: true }
}

/// The greatest value of a column, of those that `wanted` names, for which `filter` can be true, if it says so.
pub(super) fn at_most(filter: &ScalarExpr, wanted: &impl Fn(usize) -> bool) -> Option<i64> {
    let binary = filter.expr.downcast_ref::<BinaryExpr>()?;
    let column = |mut expr: &Arc<dyn PhysicalExpr>| {
        while let Some(cast) = expr.downcast_ref::<CastExpr>() {
            expr = cast.expr();
        }
        expr.downcast_ref::<Column>().is_some_and(|column| wanted(column.index()))
    };
    let number = |expr: &Arc<dyn PhysicalExpr>| {
        let value = expr.downcast_ref::<Literal>()?.value().cast_to(&DataType::Int64).ok()?;
        if let ScalarValue::Int64(number) = value { number } else { None }
    };
    let (operator, bound) = if column(binary.left()) {
        (*binary.op(), number(binary.right())?)
    } else if column(binary.right()) {
        (binary.op().swap()?, number(binary.left())?)
    } else {
        return None;
    };
    match operator {
        Operator::LtEq | Operator::Eq => Some(bound),
        Operator::Lt => Some(bound.saturating_sub(1)),
        _ => None,
    }
}

/// One row of which nothing but its existence matters.
pub(super) fn one_row() -> Result<RecordBatch> {
    let schema = Schema::new(vec![Field::new("row", DataType::Boolean, false)]);
    Ok(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(BooleanArray::from(vec![true]))])?)
}

/// The rows of VALUES.
pub(super) fn constant_rows(state: &SessionState, values: &Values) -> Result<RecordBatch, Refusal> {
    let empty = DFSchema::empty();
    let one = one_row()?;
    let schema: SchemaRef = Arc::new(values.schema.as_arrow().clone());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        let mut cells = Vec::with_capacity(values.values.len());
        for row in &values.values {
            check(&row[index])?;
            let expr = create_physical_expr(
                &row[index],
                &empty,
                state.execution_props(),
                &PhysicalPlanningContext::default(),
            )?;
            let cell = ScalarValue::try_from_array(&expr.evaluate(&one)?.into_array(1)?, 0)?;
            cells.push(cell.cast_to(field.data_type())?);
        }
        columns.push(ScalarValue::iter_to_array(cells)?);
    }
    let nullable: Vec<Field> = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), field.data_type().clone(), column.logical_null_count() > 0))
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(nullable)), columns)
        .map_err(datafusion::error::DataFusionError::from)?)
}
