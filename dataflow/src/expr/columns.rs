//! Which columns an expression reads, and the same expression over other columns.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::ScalarExpr;

/// Functions that have a value for every row.
const TOTAL_FUNCTIONS: [&str; 6] = ["date_trunc", "date_part", "lower", "upper", "coalesce", "character_length"];

impl ScalarExpr {
    /// The positions of the columns that the expression reads, in ascending order.
    pub(crate) fn columns(&self) -> Vec<usize> {
        let mut columns = Vec::new();
        self.visit(|node| columns.extend(node.downcast_ref::<Column>().map(Column::index)));
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The column that the expression is, if it is nothing more.
    pub(crate) fn column(&self) -> Option<usize> {
        self.expr.downcast_ref::<Column>().map(Column::index)
    }

    /// Whether the expression certainly has a value for every row: columns, literals and a few functions of them.
    pub(crate) fn never_fails(&self) -> bool {
        let mut total = true;
        self.visit(|node| {
            total &= match node.downcast_ref::<ScalarFunctionExpr>() {
                Some(function) => TOTAL_FUNCTIONS.contains(&function.name()),
                None => node.downcast_ref::<Column>().is_some() || node.downcast_ref::<Literal>().is_some(),
            };
        });
        total
    }

    /// The expression over what `project` is computed from: every column becomes the projected expression.
    ///
    /// Panics if the expression reads a column that `project` does not have.
    pub(crate) fn inlined(&self, project: &[ScalarExpr]) -> ScalarExpr {
        self.with_columns(|column| Arc::clone(&project[column.index()].expr))
    }

    /// The expression with every column's position reduced by `offset`.
    ///
    /// Panics if it reads a column before `offset`.
    pub(crate) fn shifted(&self, offset: usize) -> ScalarExpr {
        self.with_columns(|column| Arc::new(Column::new(column.name(), column.index() - offset)))
    }

    fn with_columns(&self, replace: impl Fn(&Column) -> Arc<dyn PhysicalExpr>) -> ScalarExpr {
        let replaced = Arc::clone(&self.expr).transform_up(|node| {
            let column = node.downcast_ref::<Column>().map(&replace);
            Ok(column.map_or_else(|| Transformed::no(node), Transformed::yes))
        });
        let expr = replaced.expect("replacing a column by an expression of its type keeps an expression valid").data;
        ScalarExpr { expr, ..self.clone() }
    }

    fn visit(&self, mut visit: impl FnMut(&dyn PhysicalExpr)) {
        let visited = self.expr.apply(|node| {
            visit(node.as_ref());
            Ok(TreeNodeRecursion::Continue)
        });
        visited.expect("the visitor never fails");
    }
}
