//! Joins: where there is no more than equal keys they are one operator each; further conditions of outer and existence
//! joins become an inner join that finds the pairs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DFSchemaRef, JoinType, NullEquality, TableReference};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use datafusion::physical_expr::expressions::Column;
use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::{Aggregate, AggregateFunc, JoinKind, NodeId};

use super::nodes::{replace_columns, visit_columns};
use super::{Flow, Lowering, Refusal, bind, is_filler};

/// A join's condition, bound.
struct Condition {
    left_keys: Vec<ScalarExpr>,
    right_keys: Vec<ScalarExpr>,
    null_equals_null: bool,
    filter: Option<ScalarExpr>,
}

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Flow, Refusal> {
        if join.null_aware {
            return Err(bind::subquery_value());
        }
        let (left, mut right) = (self.plan(&join.left)?, self.plan(&join.right)?);
        if is_value(join) {
            right = self.at_most_one_row(&right);
        }
        let kind = match join.join_type {
            JoinType::Inner => {
                let condition = self.condition(join, &left, &right, false)?;
                return self.inner_join(&left, &right, condition);
            }
            JoinType::Left => JoinKind::Left,
            JoinType::Right => JoinKind::Right,
            JoinType::Full => JoinKind::Full,
            JoinType::LeftSemi | JoinType::RightSemi => JoinKind::LeftSemi,
            JoinType::LeftAnti | JoinType::RightAnti => JoinKind::LeftAnti,
            JoinType::LeftMark | JoinType::RightMark => JoinKind::LeftMark,
        };
        if kind.pairs() {
            let condition = self.condition(join, &left, &right, false)?;
            return self.outer_join(&left, &right, kind, condition);
        }
        let swapped = matches!(join.join_type, JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark);
        let (left, right) = if swapped { (right, left) } else { (left, right) };
        let condition = self.condition(join, &left, &right, swapped)?;
        let node = self.existence_join(left.node, right.node, kind, condition);
        let schema = if kind == JoinKind::LeftMark { with_mark(&left.schema, &join.schema)? } else { left.schema };
        Ok(Flow { node, schema })
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

    /// Pairs and what has no partner. With a condition beyond equal keys the pairs that pass it are joined first; who is in
    /// none of them is found by an anti join.
    fn outer_join(&mut self, left: &Flow, right: &Flow, kind: JoinKind, condition: Condition) -> Result<Flow, Refusal> {
        let names = nullable(&left.schema, kind.keeps_right())?.join(&nullable(&right.schema, kind.keeps_left())?)?;
        let sides = (left.node, right.node);
        let Condition { left_keys, right_keys, null_equals_null, filter } = condition;
        let Some(filter) = filter else {
            let node = self.nodes.join(sides, kind, (left_keys, right_keys), null_equals_null, None);
            return self.without_fillers(node, names);
        };
        let (left_width, right_width) = (self.width(left.node), self.width(right.node));
        let of_left = used(left_keys.iter(), &filter, 0..left_width);
        let of_right = used(right_keys.iter(), &filter, left_width..left_width + right_width);
        let keys = (left_keys, right_keys);
        let pairs = self.nodes.join(sides, JoinKind::Inner, keys, null_equals_null, Some(filter));
        let mut parts = vec![pairs];
        if kind.keeps_left() {
            let alone = self.without_partner(left.node, pairs, &of_left, 0);
            parts.push(self.beside_nulls(alone, &[], &self.nodes.schema(right.node)));
        }
        if kind.keeps_right() {
            let alone = self.without_partner(right.node, pairs, &of_right, left_width);
            let nulls = self.nodes.schema(left.node);
            parts.push(self.beside_nulls(alone, nulls.fields(), &Schema::empty()));
        }
        let schema = self.nodes.schema(pairs);
        let node = self.nodes.union(parts, &schema);
        self.without_fillers(node, names)
    }

    fn width(&self, node: NodeId) -> usize {
        self.nodes.schema(node).fields().len()
    }

    /// Rows of `side` that stand in none of `pairs`, where their columns begin at `offset`. Whether a row has a partner
    /// depends on its columns `kept` alone.
    fn without_partner(&mut self, side: NodeId, pairs: NodeId, kept: &[usize], offset: usize) -> NodeId {
        let (schema, pair_schema) = (self.nodes.schema(side), self.nodes.schema(pairs));
        let keys = or_filler(kept.iter().map(|index| bind::column(&schema, *index)).collect());
        let answered = or_filler(kept.iter().map(|index| bind::column(&pair_schema, offset + index)).collect());
        let witnesses = self.nodes.mfp(pairs, Vec::new(), answered);
        let witnesses = self.nodes.distinct(witnesses);
        let witness_keys = self.nodes.columns(witnesses);
        self.nodes.join((side, witnesses), JoinKind::LeftAnti, (keys, witness_keys), true, None)
    }

    /// The columns of `node` between NULLs.
    fn beside_nulls(&mut self, node: NodeId, before: &[Arc<Field>], after: &Schema) -> NodeId {
        let nulls = |fields: &[Arc<Field>]| -> Vec<ScalarExpr> {
            fields.iter().map(|field| bind::null(field.name(), field.data_type())).collect()
        };
        let project = [nulls(before), self.nodes.columns(node), nulls(after.fields())].concat();
        self.nodes.mfp(node, Vec::new(), project)
    }

    /// Left rows by whether they have a partner.
    fn existence_join(&mut self, left: NodeId, right: NodeId, kind: JoinKind, condition: Condition) -> NodeId {
        if condition.filter.is_some() {
            return self.existence_by_witness(left, right, kind, condition);
        }
        let Condition { left_keys, right_keys, null_equals_null, .. } = condition;
        let keys = (or_filler(left_keys), or_filler(right_keys));
        self.nodes.join((left, right), kind, keys, null_equals_null, None)
    }

    /// An existence join with a condition beyond equal keys: the different left rows, as far as the condition looks at
    /// them, are joined with the right; those that find a partner are the right side of a plain existence join.
    fn existence_by_witness(&mut self, left: NodeId, right: NodeId, kind: JoinKind, condition: Condition) -> NodeId {
        let Condition { left_keys, right_keys, null_equals_null, filter } = condition;
        let left_schema = self.nodes.schema(left);
        let width = left_schema.fields().len();
        let kept = used(left_keys.iter(), filter.as_slice().first().unwrap_or(&bind::filler()), 0..width);
        // Without any column of the left in the condition every left row asks the same: a constant stands for it.
        let project = or_filler(kept.iter().map(|index| bind::column(&left_schema, *index)).collect());
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
            (left_keys.into_iter().map(moved).collect(), right_keys),
            null_equals_null,
            filter.map(moved),
        );
        let answered: Vec<ScalarExpr> = self.nodes.columns(pairs).into_iter().take(project.len()).collect();
        let witnesses = self.nodes.mfp(pairs, Vec::new(), answered);
        let witnesses = self.nodes.distinct(witnesses);
        let witness_keys = self.nodes.columns(witnesses);
        self.nodes.join((left, witnesses), kind, (keys_of_left, witness_keys), true, None)
    }

    /// What a subquery that is used as a value may give: its row if it is the only one, an error if there are several.
    fn at_most_one_row(&mut self, flow: &Flow) -> Flow {
        let count = Aggregate {
            func: AggregateFunc::Count,
            args: Vec::new(),
            distinct: false,
            filter: None,
            name: "rows".to_owned(),
            data_type: DataType::Int64,
        };
        // Of one row every column is its own least value.
        let least = self.nodes.columns(flow.node).into_iter().map(|column| Aggregate {
            func: AggregateFunc::Min,
            name: column.name.clone(),
            data_type: column.data_type.clone(),
            args: vec![column],
            distinct: false,
            filter: None,
        });
        let aggregates: Vec<Aggregate> = std::iter::once(count).chain(least).collect();
        let node = self.nodes.reduce(flow.node, Vec::new(), aggregates);
        let mut columns = self.nodes.columns(node);
        let alone = bind::is_one(columns.remove(0));
        let node = self.nodes.mfp(node, vec![alone], columns);
        Flow { node, schema: Arc::clone(&flow.schema) }
    }
}

/// Whether `join` brings a subquery that is used as a value and may have several rows.
fn is_value(join: &Join) -> bool {
    let LogicalPlan::SubqueryAlias(alias) = join.right.as_ref() else { return false };
    join.join_type == JoinType::Left
        && join.on.is_empty()
        && alias.alias.table().starts_with("__scalar_sq")
        && alias.input.max_rows().is_none_or(|rows| rows > 1)
}

/// The columns of `left`, and the mark, which is the last column of `join`.
fn with_mark(left: &DFSchema, join: &DFSchema) -> Result<DFSchemaRef, Refusal> {
    let last = join.fields().len().saturating_sub(1);
    let fields = left.iter().chain(join.iter().skip(last));
    let fields = fields.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?))
}

/// The columns of one side that keys and condition look at; in the condition that side's columns are `range`.
fn used<'a>(keys: impl Iterator<Item = &'a ScalarExpr>, filter: &ScalarExpr, range: Range<usize>) -> Vec<usize> {
    let mut used = vec![false; range.len()];
    for key in keys {
        visit_columns(&key.expr, &mut |index| used[index] = true);
    }
    visit_columns(&filter.expr, &mut |index| {
        if range.contains(&index) {
            used[index - range.start] = true;
        }
    });
    (0..used.len()).filter(|index| used[*index]).collect()
}

/// The same columns, which may be NULL if `beside_nulls`: functions of them take that from here.
fn nullable(schema: &DFSchema, beside_nulls: bool) -> Result<DFSchema, Refusal> {
    let field = |(qualifier, field): (Option<&TableReference>, &Arc<Field>)| {
        let nullable = beside_nulls || field.is_nullable();
        (qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(nullable)))
    };
    Ok(DFSchema::new_with_metadata(schema.iter().map(field).collect(), HashMap::new())?)
}

/// `exprs`, or a constant if there are none.
fn or_filler(exprs: Vec<ScalarExpr>) -> Vec<ScalarExpr> {
    if exprs.is_empty() { vec![bind::filler()] } else { exprs }
}
