//! GROUPING SETS, ROLLUP and CUBE taken apart: which keys each set has, and for reads the group-bys that they stand for.
//!
//! DataFusion's own operator claims for its result what holds for its input only: that a key is constant or in order, where
//! some sets have NULL in its place. What comes above then believes it and gives rows twice.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, plan_datafusion_err};
use datafusion::logical_expr::{
    Aggregate, EmptyRelation, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, Projection,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

use crate::sql::error::SqlError;

/// The most sets of one query: each is an operator of its own.
pub(in crate::sql) const SETS_MAX: usize = 256;

/// One set of keys.
pub(in crate::sql) struct KeySet {
    /// For each key of the query whether it is in the set.
    pub(in crate::sql) present: Vec<bool>,
    /// The number by which GROUPING() knows the set.
    pub(in crate::sql) id: ScalarValue,
}

/// The grouping sets of a query that has any.
pub(in crate::sql) fn grouping_set(grouping: &Aggregate) -> Option<&GroupingSet> {
    match grouping.group_expr.as_slice() {
        [Expr::GroupingSet(set)] => Some(set),
        _ => None,
    }
}

/// The sets of `grouping` one by one; none if there are more than [`SETS_MAX`].
///
/// # Errors
/// When the planner's column for the numbers of sets cannot hold them.
pub(in crate::sql) fn key_sets(grouping: &Aggregate, set: &GroupingSet) -> Result<Option<Vec<KeySet>>> {
    let Some(sets) = enumerate(set) else { return Ok(None) };
    let exprs = set.distinct_expr();
    let id_type = grouping.schema.field(exprs.len()).data_type();
    let key_set = |(index, set): (usize, &Vec<Expr>)| {
        let present: Vec<bool> = exprs.iter().map(|expr| set.contains(expr)).collect();
        let earlier = sets[..index].iter().filter(|earlier| same_set(earlier, set)).count();
        let id = grouping_id(&present, earlier, id_type)?;
        Ok(KeySet { present, id })
    };
    sets.iter().enumerate().map(key_set).collect::<Result<Vec<_>>>().map(Some)
}

fn enumerate(set: &GroupingSet) -> Option<Vec<Vec<Expr>>> {
    let sets: Vec<Vec<Expr>> = match set {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len()).rev().map(|count| exprs[..count].to_vec()).collect(),
        GroupingSet::Cube(exprs) if exprs.len() > 8 => return None,
        GroupingSet::Cube(exprs) => {
            let subset = |mask: u32| {
                let chosen = exprs.iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1);
                chosen.map(|(_, expr)| expr.clone()).collect()
            };
            (0..1_u32 << exprs.len()).rev().map(subset).collect()
        }
    };
    (sets.len() <= SETS_MAX).then_some(sets)
}

fn same_set(a: &[Expr], b: &[Expr]) -> bool {
    a.iter().all(|expr| b.contains(expr)) && b.iter().all(|expr| a.contains(expr))
}

/// One bit per key, the last key's lowest, 1 where the key is not in the set; above them how many equal sets came before.
fn grouping_id(present: &[bool], earlier: usize, data_type: &DataType) -> Result<ScalarValue> {
    let missing = present.iter().fold(0_u64, |id, here| id << 1 | u64::from(!here));
    ScalarValue::UInt64(Some(missing | (earlier as u64) << present.len())).cast_to(data_type)
}

/// Puts a union of plain group-bys in the place of each grouping by sets.
#[derive(Debug)]
pub(super) struct SetsApart;

impl AnalyzerRule for SetsApart {
    fn name(&self) -> &str {
        "sets_apart"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match &node {
            LogicalPlan::Aggregate(grouping) => match grouping_set(grouping) {
                Some(set) => union(grouping, set).map(Transformed::yes),
                None => Ok(Transformed::no(node)),
            },
            _ => Ok(Transformed::no(node)),
        })
        .data()
    }
}

fn union(grouping: &Aggregate, set: &GroupingSet) -> Result<LogicalPlan> {
    let Some(sets) = key_sets(grouping, set)? else {
        let error = SqlError::unsupported(format!("more than {SETS_MAX} grouping sets"))
            .hint("name those you need: GROUPING SETS ((a, b), (a), ())");
        return Err(DataFusionError::External(Box::new(error)));
    };
    let keys: Vec<Expr> = set.distinct_expr().into_iter().cloned().collect();
    let mut plans = sets.into_iter().map(|set| one_set(grouping, &keys, set));
    let first = plans.next().ok_or_else(|| plan_datafusion_err!("GROUPING SETS without a set"))??;
    let union = plans.try_fold(LogicalPlanBuilder::from(first), |union, plan| union.union(plan?))?;
    // A union forgets which relation a column belongs to.
    let columns = grouping.schema.iter().enumerate().map(|(at, (qualifier, field))| {
        Expr::Column(Column::new_unqualified(name_of(at))).alias_qualified(qualifier.cloned(), field.name())
    });
    union.project(columns)?.build()
}

/// The name of a column of the union.
fn name_of(at: usize) -> String {
    format!("$set{at}")
}

/// The group-by of one set, its columns those of the whole.
fn one_set(grouping: &Aggregate, keys: &[Expr], set: KeySet) -> Result<LogicalPlan> {
    let kept: Vec<Expr> =
        keys.iter().zip(&set.present).filter(|(_, here)| **here).map(|(key, _)| key.clone()).collect();
    let count = kept.len();
    let grouped = match kept.is_empty() && grouping.aggr_expr.is_empty() {
        // There is one row whatever the input.
        true => {
            LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) })
        }
        false => LogicalPlanBuilder::from(grouping.input.as_ref().clone())
            .aggregate(kept, grouping.aggr_expr.clone())?
            .build()?,
    };
    let columns: Vec<Expr> = grouped.schema().columns().into_iter().map(Expr::Column).collect();
    let (key_columns, results) = columns.split_at(count.min(columns.len()));
    let mut key_columns = key_columns.iter();
    let mut values: Vec<Expr> = Vec::with_capacity(grouping.schema.fields().len());
    for (here, field) in set.present.iter().zip(grouping.schema.fields()) {
        match here {
            true => values.push(key_columns.next().expect("each key in the set is a column").clone()),
            false => values.push(Expr::Literal(ScalarValue::try_from(field.data_type())?, None)),
        }
    }
    values.push(Expr::Literal(set.id, None));
    values.extend(results.iter().cloned());
    let named = values.into_iter().enumerate().map(|(at, value)| value.alias(name_of(at)));
    Projection::try_new(named.collect(), Arc::new(grouped)).map(LogicalPlan::Projection)
}
