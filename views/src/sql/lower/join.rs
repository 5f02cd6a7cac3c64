//! Joins: inner ones as they are, semi joins turned to the left and their extra conditions turned into a join before.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join};
use datafusion::physical_expr::expressions::Column;
use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::{JoinKind, NodeId};

use super::nodes::{replace_columns, visit_columns};
use super::{Flow, Lowering, Refusal, bind, is_filler};
use crate::sql::locate::Construct;

/// A join's condition, bound.
struct Condition {
    left_keys: Vec<ScalarExpr>,
    right_keys: Vec<ScalarExpr>,
    null_equals_null: bool,
    filter: Option<ScalarExpr>,
}

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Flow, Refusal> {
        match join.join_type {
            JoinType::Inner => {
                let (left, right) = (self.plan(&join.left)?, self.plan(&join.right)?);
                let condition = self.condition(join, &left, &right, false)?;
                self.inner_join(&left, &right, condition)
            }
            JoinType::LeftSemi => {
                let (left, right) = (self.plan(&join.left)?, self.plan(&join.right)?);
                let condition = self.condition(join, &left, &right, false)?;
                Ok(self.semi_join(left, &right, condition))
            }
            JoinType::RightSemi => {
                let (left, right) = (self.plan(&join.right)?, self.plan(&join.left)?);
                let condition = self.condition(join, &left, &right, true)?;
                Ok(self.semi_join(left, &right, condition))
            }
            JoinType::Left | JoinType::Right | JoinType::Full => Err(Refusal::new(
                Construct::OuterJoin,
                "outer joins in a view",
                "use JOIN for rows that have a partner, or join when reading",
            )),
            JoinType::LeftAnti | JoinType::RightAnti => Err(Refusal::new(
                Construct::AntiJoin,
                "NOT IN (SELECT …), NOT EXISTS and EXCEPT in a view",
                "ask when reading, or keep a count per key and compare it with 0",
            )),
            JoinType::LeftMark | JoinType::RightMark => Err(bind::mark_join()),
        }
    }

    /// Binds keys and filter of `join`; `swapped` if `left` is the join's right input.
    fn condition(&self, join: &Join, left: &Flow, right: &Flow, swapped: bool) -> Result<Condition, Refusal> {
        let (left_schema, right_schema) = (self.nodes.schema(left.node), self.nodes.schema(right.node));
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for (a, b) in &join.on {
            let (for_left, for_right) = if swapped { (b, a) } else { (a, b) };
            let left_key = self.bind(for_left, &left.schema, &left_schema)?;
            let right_key = self.bind(for_right, &right.schema, &right_schema)?;
            right_keys.push(bind::cast(right_key, &left_key.data_type));
            left_keys.push(left_key);
        }
        let filter = join.filter.as_ref().map(|filter| self.pair_filter(filter, left, right)).transpose()?;
        let null_equals_null = join.null_equality == NullEquality::NullEqualsNull;
        Ok(Condition { left_keys, right_keys, null_equals_null, filter })
    }

    /// Binds a condition over pairs: left's columns, then right's.
    fn pair_filter(&self, filter: &Expr, left: &Flow, right: &Flow) -> Result<ScalarExpr, Refusal> {
        let names = left.schema.join(&right.schema)?;
        let (left, right) = (self.nodes.schema(left.node), self.nodes.schema(right.node));
        let fields: Vec<_> = left.fields().iter().chain(right.fields().iter()).cloned().collect();
        self.bind(filter, &names, &Arc::new(arrow::datatypes::Schema::new(fields)))
    }

    fn inner_join(&mut self, left: &Flow, right: &Flow, condition: Condition) -> Result<Flow, Refusal> {
        let names = left.schema.join(&right.schema)?;
        let node = self.nodes.join(
            (left.node, right.node),
            JoinKind::Inner,
            (condition.left_keys, condition.right_keys),
            condition.null_equals_null,
            condition.filter,
        );
        self.without_fillers(node, names)
    }

    /// A join's columns without those that nobody reads; see [`Flow`].
    fn without_fillers(&mut self, node: NodeId, names: DFSchema) -> Result<Flow, Refusal> {
        let read: Vec<usize> = (0..names.fields().len()).filter(|index| !is_filler(&names, *index)).collect();
        if read.len() == names.fields().len() {
            return Ok(Flow { node, schema: Arc::new(names) });
        } else if read.is_empty() {
            return self.filler(node);
        }
        let columns = self.nodes.columns(node);
        let project = read.iter().map(|index| columns[*index].clone()).collect();
        let fields = read.iter().map(|index| {
            let (qualifier, field) = names.qualified_field(*index);
            (qualifier.cloned(), Arc::clone(field))
        });
        let schema = DFSchema::new_with_metadata(fields.collect(), HashMap::new())?;
        Ok(Flow { node: self.nodes.mfp(node, Vec::new(), project), schema: Arc::new(schema) })
    }

    fn semi_join(&mut self, left: Flow, right: &Flow, condition: Condition) -> Flow {
        let Condition { left_keys, right_keys, null_equals_null, filter } = condition;
        let node = match filter {
            None if !left_keys.is_empty() => self.nodes.join(
                (left.node, right.node),
                JoinKind::LeftSemi,
                (left_keys, right_keys),
                null_equals_null,
                None,
            ),
            filter => {
                let condition = Condition { left_keys, right_keys, null_equals_null, filter };
                self.semi_join_by_witness(left.node, right.node, condition)
            }
        };
        Flow { node, schema: left.schema }
    }

    /// A semi join with a condition beyond equal keys: the different left rows, as far as the condition looks at them,
    /// are joined with the right; those that find a partner are the keys of a plain semi join.
    fn semi_join_by_witness(&mut self, left: NodeId, right: NodeId, condition: Condition) -> NodeId {
        let left_schema = self.nodes.schema(left);
        let width = left_schema.fields().len();
        let mut used = vec![false; width];
        for expr in &condition.left_keys {
            visit_columns(&expr.expr, &mut |index| used[index] = true);
        }
        if let Some(filter) = &condition.filter {
            visit_columns(&filter.expr, &mut |index| {
                if index < width {
                    used[index] = true;
                }
            });
        }
        let kept: Vec<usize> = (0..width).filter(|index| used[*index]).collect();
        // Without any column of the left in the condition every left row asks the same: a constant stands for it.
        let project: Vec<ScalarExpr> = if kept.is_empty() {
            vec![bind::filler()]
        } else {
            kept.iter().map(|index| bind::column(&left_schema, *index)).collect()
        };
        let keys_of_left = project.clone();
        let place = |index: usize| {
            if index < width {
                kept.iter().position(|column| *column == index).unwrap_or_default()
            } else {
                index - width + project.len()
            }
        };
        let moved = |expr: ScalarExpr| ScalarExpr {
            expr: replace_columns(&expr.expr, &|column| Arc::new(Column::new(column.name(), place(column.index())))),
            ..expr
        };
        let asking = self.nodes.mfp(left, Vec::new(), project.clone());
        let asking = self.nodes.distinct(asking);
        let pairs = self.nodes.join(
            (asking, right),
            JoinKind::Inner,
            (condition.left_keys.into_iter().map(moved).collect(), condition.right_keys),
            condition.null_equals_null,
            condition.filter.map(moved),
        );
        let answered: Vec<ScalarExpr> = self.nodes.columns(pairs).into_iter().take(project.len()).collect();
        let witnesses = self.nodes.mfp(pairs, Vec::new(), answered);
        let witnesses = self.nodes.distinct(witnesses);
        let witness_keys = self.nodes.columns(witnesses);
        self.nodes.join((left, witnesses), JoinKind::LeftSemi, (keys_of_left, witness_keys), true, None)
    }
}
