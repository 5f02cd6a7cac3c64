//! Leaf expressions: DataFusion's physical expressions with what the plan needs to know about them.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;

mod caught;
mod columns;
mod eval;
mod function;
mod recomputed;

pub use caught::{caught, is_catching};
use eval::message_of;
pub(crate) use eval::{as_filter, describe_row, evaluate};
pub use recomputed::{AggregateCall, Recomputed};

/// A vectorised expression over the columns of one input batch.
///
/// It is deterministic: the same row always gives the same value or the same error, so that a retraction cancels what
/// its insertion produced.
#[derive(Clone)]
pub struct ScalarExpr {
    /// The expression, bound to the input's columns by position.
    pub expr: Arc<dyn PhysicalExpr>,
    /// The name of the value: the output column, or the text of the expression.
    pub name: String,
    /// The type of the value.
    pub data_type: DataType,
    /// Whether the value can be NULL.
    pub nullable: bool,
}

impl fmt::Debug for ScalarExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expr)
    }
}

impl fmt::Display for ScalarExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expr)
    }
}
