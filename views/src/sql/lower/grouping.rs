//! GROUPING SETS, ROLLUP and CUBE: one group-by per set over one input, under each other.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Aggregate as Grouping, Expr, GroupingSet};
use datafusion::physical_expr::expressions::Literal;
use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::{Aggregate, NodeId};

use super::{Flow, Lowering, Refusal, bind};
use crate::sql::locate::Construct;

/// The most sets of one query: each is an operator with a table of its own.
const SETS_MAX: usize = 256;

/// The grouping sets of a query that has any.
pub(super) fn grouping_set(grouping: &Grouping) -> Option<&GroupingSet> {
    match grouping.group_expr.as_slice() {
        [Expr::GroupingSet(set)] => Some(set),
        _ => None,
    }
}

impl Lowering<'_> {
    pub(super) fn grouping_sets(&mut self, grouping: &Grouping, set: &GroupingSet) -> Result<Flow, Refusal> {
        let sets = enumerate(set)?;
        let input = self.plan(&grouping.input)?;
        let schema = self.nodes.schema(input.node);
        let fields = grouping.schema.fields();
        let exprs = set.distinct_expr();
        let keys = exprs
            .iter()
            .zip(fields)
            .map(|(expr, field)| Ok(bind::named(self.bind(expr, &input.schema, &schema)?, field.name())))
            .collect::<Result<Vec<_>, Refusal>>()?;
        let aggregates = grouping
            .aggr_expr
            .iter()
            .zip(&fields[keys.len() + 1..])
            .map(|(expr, field)| self.function(expr, &input, &schema, field.name(), field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut nodes = Vec::with_capacity(sets.len());
        for (index, set) in sets.iter().enumerate() {
            let present: Vec<bool> = exprs.iter().map(|expr| set.contains(expr)).collect();
            let earlier = sets[..index].iter().filter(|earlier| same_set(earlier, set)).count();
            let id = grouping_id(&present, earlier, fields[keys.len()].data_type())?;
            nodes.push(self.grouped_by(input.node, &keys, &present, &aggregates, id)?);
        }
        let types: SchemaRef = Arc::new(grouping.schema.as_arrow().clone());
        let node = if let [only] = nodes.as_slice() { *only } else { self.nodes.union(nodes, &types) };
        Ok(Flow { node, schema: Arc::clone(&grouping.schema) })
    }

    /// One set: NULL stands for the keys that are not in it.
    fn grouped_by(
        &mut self,
        input: NodeId,
        keys: &[ScalarExpr],
        present: &[bool],
        aggregates: &[Aggregate],
        id: ScalarExpr,
    ) -> Result<NodeId, Refusal> {
        let kept: Vec<ScalarExpr> =
            keys.iter().zip(present).filter(|(_, here)| **here).map(|(k, _)| k.clone()).collect();
        let count = kept.len();
        let grouped = match (aggregates.is_empty(), count) {
            // There is one row whatever the input.
            (true, 0) => self.nodes.constant(bind::one_row()?),
            (true, _) => {
                let projected = self.nodes.mfp(input, Vec::new(), kept);
                self.nodes.distinct(projected)
            }
            (false, _) => self.nodes.reduce(input, kept, aggregates.to_vec()),
        };
        let schema = self.nodes.schema(grouped);
        let mut place = 0;
        let mut project: Vec<ScalarExpr> = Vec::with_capacity(keys.len() + 1 + aggregates.len());
        for (key, here) in keys.iter().zip(present) {
            if *here {
                project.push(bind::named(bind::column(&schema, place), &key.name));
                place += 1;
            } else {
                let null = ScalarValue::try_from(&key.data_type).expect("every type has NULL");
                project.push(literal(null, &key.name));
            }
        }
        project.push(id);
        project.extend((0..aggregates.len()).map(|index| bind::column(&schema, count + index)));
        Ok(self.nodes.mfp(grouped, Vec::new(), project))
    }
}

/// The sets one by one.
fn enumerate(set: &GroupingSet) -> Result<Vec<Vec<Expr>>, Refusal> {
    let too_many = || {
        Refusal::new(
            Construct::GroupingSets,
            format!("more than {SETS_MAX} grouping sets"),
            "name those you need: GROUPING SETS ((a, b), (a), ())",
        )
    };
    let sets: Vec<Vec<Expr>> = match set {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len()).rev().map(|count| exprs[..count].to_vec()).collect(),
        GroupingSet::Cube(exprs) if exprs.len() > 8 => return Err(too_many()),
        GroupingSet::Cube(exprs) => {
            let subset = |mask: u32| {
                let chosen = exprs.iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1);
                chosen.map(|(_, expr)| expr.clone()).collect()
            };
            (0..1_u32 << exprs.len()).rev().map(subset).collect()
        }
    };
    if sets.len() > SETS_MAX { Err(too_many()) } else { Ok(sets) }
}

fn same_set(a: &[Expr], b: &[Expr]) -> bool {
    a.iter().all(|expr| b.contains(expr)) && b.iter().all(|expr| a.contains(expr))
}

/// The number by which GROUPING() knows a set: one bit per key, the last key's lowest, 1 where the key is not in the set;
/// above them how many equal sets came before.
fn grouping_id(present: &[bool], earlier: usize, data_type: &DataType) -> Result<ScalarExpr, Refusal> {
    let missing = present.iter().fold(0_u64, |id, here| id << 1 | u64::from(!here));
    let id = missing | (earlier as u64) << present.len();
    let value = ScalarValue::UInt64(Some(id)).cast_to(data_type)?;
    Ok(literal(value, Grouping::INTERNAL_GROUPING_ID))
}

fn literal(value: ScalarValue, name: &str) -> ScalarExpr {
    ScalarExpr {
        data_type: value.data_type(),
        nullable: value.is_null(),
        expr: Arc::new(Literal::new(value)),
        name: name.to_owned(),
    }
}
