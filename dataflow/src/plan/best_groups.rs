//! Groups below an order of which only the first rows leave: a group-by whose answers go nowhere else may keep to itself
//! what is far from the first.

use super::{Aggregate, AggregateFunc, BestGroups, NodeId, Op, Places, Plan, WindowCall};
use crate::expr::ScalarExpr;

/// Tells every group-by that may keep groups to itself.
pub(super) fn keep_best_groups(plan: &mut Plan) {
    let mut uses = vec![0usize; plan.nodes.len()];
    for node in &plan.nodes {
        node.op.inputs().iter().for_each(|input| uses[input.0] += 1);
    }
    for index in 0..plan.nodes.len() {
        if let Some((reduce, found)) = below(plan, NodeId(index), &uses)
            && let Op::Reduce { best, .. } = &mut plan.nodes[reduce.0].op
        {
            *best = Some(found);
        }
    }
}

/// The group-by below the order-based operator at `id`, and which of its groups can be of use.
fn below(plan: &Plan, id: NodeId, uses: &[usize]) -> Option<(NodeId, BestGroups)> {
    let Op::Window { input, partition, order, functions, limit } = &plan.node(id).op else { return None };
    // What the rows behind the last that leaves are like must make no difference to those before.
    let counts_from_first =
        |call: &WindowCall| matches!(call, WindowCall::RowNumber | WindowCall::Rank | WindowCall::DenseRank);
    if uses[input.0] > 1 || !functions.iter().all(|function| counts_from_first(&function.call)) {
        return None;
    }
    // Of peers more may leave than are counted.
    let rows = limit.filter(|limit| limit.fetch.is_some() && limit.places == Places::Rows)?.end();
    let (reduce, project) = match &plan.node(*input).op {
        Op::Mfp { input: reduce, filters, project } if filters.is_empty() && uses[reduce.0] == 1 => {
            (*reduce, Some(project))
        }
        _ => (*input, None),
    };
    let Op::Reduce { keys, aggregates, .. } = &plan.node(reduce).op else { return None };
    // Errors of groups that do not leave would be lost.
    let computed = || project.into_iter().flatten().chain(order.iter().map(|key| &key.expr));
    if keys.is_empty() || !computed().all(ScalarExpr::never_fails) || !aggregates.iter().all(fails_visibly) {
        return None;
    }
    let column = |expr: &ScalarExpr| project.map_or_else(|| expr.column(), |project| expr.inlined(project).column());
    let partition =
        partition.iter().map(|expr| column(expr).filter(|at| *at < keys.len())).collect::<Option<Vec<_>>>()?;
    let first = order.first()?;
    let aggregate = column(&first.expr)?.checked_sub(keys.len())?;
    let ordered = !matches!(aggregates[aggregate].func, AggregateFunc::Moment(_) | AggregateFunc::Recomputed(_));
    let found = BestGroups { partition, aggregate, descending: first.descending, nulls_first: first.nulls_first, rows };
    ordered.then_some((reduce, found))
}

/// Whether a group whose answer cannot be represented is found out by looking at its sums.
fn fails_visibly(aggregate: &Aggregate) -> bool {
    !matches!(aggregate.func, AggregateFunc::Recomputed(_))
}
