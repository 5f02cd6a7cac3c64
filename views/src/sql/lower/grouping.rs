//! GROUPING SETS, ROLLUP and CUBE: one group-by per set over one input, under each other.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Aggregate as Grouping, GroupingSet};
use datafusion::physical_expr::expressions::Literal;
use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::{Aggregate, NodeId};

use super::{Flow, Lowering, Refusal, bind};
use crate::sql::locate::Construct;
use crate::sql::session::grouping_sets::{KeySet, SETS_MAX, key_sets};

impl Lowering<'_> {
    pub(super) fn grouping_sets(&mut self, grouping: &Grouping, set: &GroupingSet) -> Result<Flow, Refusal> {
        let sets = key_sets(grouping, set)?.ok_or_else(|| {
            Refusal::new(
                Construct::GroupingSets,
                format!("more than {SETS_MAX} grouping sets"),
                "name those you need: GROUPING SETS ((a, b), (a), ())",
            )
        })?;
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
            .map(|(expr, field)| self.grouped(expr, &input, &schema, field.name(), field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut nodes = Vec::with_capacity(sets.len());
        for KeySet { present, id } in sets {
            let id = literal(id, Grouping::INTERNAL_GROUPING_ID);
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

fn literal(value: ScalarValue, name: &str) -> ScalarExpr {
    ScalarExpr {
        data_type: value.data_type(),
        nullable: value.is_null(),
        expr: Arc::new(Literal::new(value)),
        name: name.to_owned(),
    }
}
