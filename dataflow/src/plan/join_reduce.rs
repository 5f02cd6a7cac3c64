//! Aggregation below joins (eager aggregation: W. P. Yan and P.-Å. Larson, "Eager Aggregation and Lazy Aggregation",
//! VLDB 1995): a group-by over an inner join, whose aggregates are additive and read one side only, adds that side up per
//! (key, group) before the join. Multiplicities of the other side become factors, so it need not be unique.

use super::{Aggregate, JoinKind, JoinedSide, NodeId, Op, Plan};
use crate::expr::ScalarExpr;

#[derive(Clone, Copy, PartialEq)]
enum JoinSide {
    Left,
    Right,
}

/// Replaces every group-by over a join that allows it.
pub(super) fn aggregate_below_joins(plan: &mut Plan) {
    let mut uses = vec![0usize; plan.nodes.len()];
    for node in &plan.nodes {
        node.op.inputs().iter().for_each(|input| uses[input.0] += 1);
    }
    for index in 0..plan.nodes.len() {
        if let Some(fused) = fuse(plan, NodeId(index), &uses) {
            plan.nodes[index].op = fused;
        }
    }
    drop_unused(plan);
}

/// The fused operator for a group-by at `id`, if it is one over a join and nobody else reads what lies between.
fn fuse(plan: &Plan, id: NodeId, uses: &[usize]) -> Option<Op> {
    let Op::Reduce { input, keys, aggregates, .. } = &plan.node(id).op else { return None };
    if keys.is_empty() || uses[input.0] > 1 || !aggregates.iter().all(Aggregate::additive) {
        return None;
    }
    let (join, project) = match &plan.node(*input).op {
        Op::Mfp { input: join, filters, project } if filters.is_empty() && uses[join.0] == 1 => (*join, Some(project)),
        _ => (*input, None),
    };
    let Op::Join { left, right, kind: JoinKind::Inner, left_keys, right_keys, null_equals_null, filter: None } =
        &plan.node(join).op
    else {
        return None;
    };
    if left_keys.is_empty() {
        return None;
    }
    let width = plan.node(*left).schema.fields().len();
    let below = |expr: &ScalarExpr| below_join(expr, project, width);
    let groups: Vec<(ScalarExpr, Option<JoinSide>)> = keys.iter().map(&below).collect::<Option<_>>()?;
    let mut facts = None;
    let mut below_aggregates = Vec::with_capacity(aggregates.len());
    for aggregate in aggregates {
        let mut moved = aggregate.clone();
        for part in moved.args.iter_mut().chain(&mut moved.filter) {
            let (expr, side) = below(part)?;
            if let Some(side) = side
                && *facts.get_or_insert(side) != side
            {
                return None;
            }
            *part = expr;
        }
        below_aggregates.push(moved);
    }
    let facts = facts.unwrap_or(JoinSide::Left);
    let (mut fact_groups, mut partner_groups, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (expr, side) in groups {
        let of_facts = side.is_none_or(|side| side == facts);
        let list = if of_facts { &mut fact_groups } else { &mut partner_groups };
        places.push((of_facts, list.len()));
        list.push(expr);
    }
    let count = fact_groups.len();
    let order = places.into_iter().map(|(of_facts, at)| if of_facts { at } else { count + at }).collect();
    let left = JoinedSide { input: *left, keys: left_keys.clone(), groups: Vec::new() };
    let right = JoinedSide { input: *right, keys: right_keys.clone(), groups: Vec::new() };
    let (facts, partners) = if facts == JoinSide::Left { (left, right) } else { (right, left) };
    Some(Op::JoinReduce {
        facts: JoinedSide { groups: fact_groups, ..facts },
        partners: JoinedSide { groups: partner_groups, ..partners },
        null_equals_null: *null_equals_null,
        aggregates: below_aggregates,
        order,
    })
}

/// The expression over one side's columns, and that side (`None` for constants).
///
/// `None` if it needs both sides, or might fail: below the join it might fail for a row that has no partner, and an error
/// would appear that the query does not have.
fn below_join(
    expr: &ScalarExpr,
    project: Option<&Vec<ScalarExpr>>,
    width: usize,
) -> Option<(ScalarExpr, Option<JoinSide>)> {
    let composed = project.map_or_else(|| expr.clone(), |project| expr.inlined(project));
    if !composed.never_fails() {
        return None;
    }
    let columns = composed.columns();
    match (columns.first(), columns.last()) {
        (Some(_), Some(last)) if *last < width => Some((composed, Some(JoinSide::Left))),
        (Some(first), Some(_)) if *first >= width => Some((composed.shifted(width), Some(JoinSide::Right))),
        (Some(_), Some(_)) => None,
        _ => Some((composed, None)),
    }
}

/// Removes nodes that nobody reads any more.
pub(super) fn drop_unused(plan: &mut Plan) {
    let mut used = vec![false; plan.nodes.len()];
    let output = plan.output().0;
    used[output] = true;
    for index in (0..=output).rev() {
        if used[index] {
            plan.nodes[index].op.inputs().iter().for_each(|input| used[input.0] = true);
        }
    }
    let mut renamed = Vec::with_capacity(used.len());
    let mut next = 0;
    for used in &used {
        renamed.push(NodeId(next));
        next += usize::from(*used);
    }
    let mut keep = used.iter();
    plan.nodes.retain(|_| *keep.next().expect("one mark a node"));
    for node in &mut plan.nodes {
        node.op = node.op.clone().with_inputs(|id| renamed[id.0]);
    }
}
