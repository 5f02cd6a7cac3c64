//! Plans put together by hand: columns, comparisons, and one expression that makes a worker late on purpose.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::{Aggregate, AggregateFunc};

/// A schema of nullable columns.
pub(crate) fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn scalar(expr: Arc<dyn PhysicalExpr>, data_type: DataType) -> ScalarExpr {
    ScalarExpr { name: expr.to_string(), expr, data_type, nullable: true }
}

/// Column `index`, a BIGINT.
pub(crate) fn int(index: usize) -> ScalarExpr {
    column(index, DataType::Int64)
}

/// Column `index`.
pub(crate) fn column(index: usize, data_type: DataType) -> ScalarExpr {
    scalar(Arc::new(Column::new(&format!("c{index}"), index)), data_type)
}

/// A comparison or a sum of two BIGINTs.
pub(crate) fn binary(left: ScalarExpr, operator: Operator, right: ScalarExpr) -> ScalarExpr {
    let data_type = if operator.supports_propagation() { DataType::Boolean } else { DataType::Int64 };
    scalar(Arc::new(BinaryExpr::new(left.expr, operator, right.expr)), data_type)
}

/// A BIGINT literal.
pub(crate) fn literal(value: i64) -> ScalarExpr {
    scalar(Arc::new(Literal::new(ScalarValue::Int64(Some(value)))), DataType::Int64)
}

/// An aggregate without DISTINCT and FILTER.
pub(crate) fn aggregate(func: AggregateFunc, arg: Option<ScalarExpr>, data_type: DataType) -> Aggregate {
    let name = format!("{func:?}");
    Aggregate { func, args: arg.into_iter().collect(), distinct: false, filter: None, name, data_type }
}

/// A BIGINT column whose values below zero keep the worker that meets them busy: -3 for three milliseconds.
pub(crate) fn late(index: usize) -> ScalarExpr {
    scalar(Arc::new(Late(Column::new(&format!("c{index}"), index))), DataType::Int64)
}

#[derive(Debug, PartialEq, Eq)]
struct Late(Column);

impl Hash for Late {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "late({})", self.0)
    }
}

impl PhysicalExpr for Late {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let value = self.0.evaluate(batch)?;
        let values = value.to_array(batch.num_rows())?;
        for value in values.as_primitive::<Int64Type>().iter().flatten() {
            if let Ok(late_ms) = u64::try_from(-value) {
                std::thread::sleep(Duration::from_millis(late_ms));
            }
        }
        Ok(ColumnarValue::Array(values))
    }

    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        self.0.return_field(input)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
