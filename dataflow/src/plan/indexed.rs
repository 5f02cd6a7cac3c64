//! Indexes in plans: a join one of whose inputs is nothing but a collection, kept by exactly the columns that are the
//! join's keys, needs no table of that input: it looks up in the index.

use super::{NodeId, Op, Plan, join_reduce};
use crate::expr::ScalarExpr;
use crate::repr::CollectionId;

/// An arrangement of a collection whose rows begin with the columns of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The collection.
    pub of: CollectionId,
    /// The rows of the index.
    pub rows: CollectionId,
    /// The collection's columns in the order of the index: all of them, those of the key first.
    pub columns: Vec<usize>,
    /// How many columns are the key's.
    pub key: usize,
}

/// How an index serves as an input of a join.
struct Use {
    index: CollectionId,
    /// The input's columns, by position in the index's.
    columns: Vec<usize>,
    /// The places of the join's keys in the order of the index.
    order: Vec<usize>,
}

/// Replaces the inputs of joins that `indexes` serve.
pub(super) fn use_indexes(plan: &mut Plan, indexes: &[Index]) {
    if indexes.is_empty() {
        return;
    }
    let nodes = std::mem::take(&mut plan.nodes);
    let old = Plan { nodes };
    let mut moved: Vec<NodeId> = Vec::with_capacity(old.nodes.len());
    for node in &old.nodes {
        let mut op = node.op.clone().with_inputs(|id| moved[id.0]);
        if let (
            Op::Join { left, right, .. },
            Op::Join { left: new_left, right: new_right, left_keys, right_keys, .. },
        ) = (&node.op, &mut op)
        {
            let serves = |input: &NodeId, keys: &[ScalarExpr]| {
                indexes.iter().find_map(|index| serves(index, &old, *input, keys))
            };
            let of_right = serves(right, right_keys);
            let of_left = serves(left, left_keys);
            // Two indexes serve one join if they keep its keys in the same order.
            let of_left = of_left.filter(|left| of_right.as_ref().is_none_or(|right| right.order == left.order));
            if let Some(used) = of_right.as_ref().or(of_left.as_ref()) {
                *left_keys = used.order.iter().map(|key| left_keys[*key].clone()).collect();
                *right_keys = used.order.iter().map(|key| right_keys[*key].clone()).collect();
            }
            for (used, input, new) in [(of_left, left, new_left), (of_right, right, new_right)] {
                if let Some(Use { index, columns, .. }) = used {
                    *new = plan.push(Op::Index { index, columns }, old.node(*input).schema.clone());
                }
            }
        }
        moved.push(plan.push(op, node.schema.clone()));
    }
    join_reduce::drop_unused(plan);
}

/// How `index` serves as the input of a join with these keys over it, if it does.
fn serves(index: &Index, plan: &Plan, input: NodeId, keys: &[ScalarExpr]) -> Option<Use> {
    let (collection, columns) = read(plan, input)?;
    if collection != index.of || keys.len() != index.key {
        return None;
    }
    let keys: Vec<usize> = keys.iter().map(|key| Some(columns[key.column()?])).collect::<Option<_>>()?;
    let place = |column: &usize| keys.iter().position(|key| key == column);
    let order = index.columns[..index.key].iter().map(place).collect::<Option<_>>()?;
    let place = |column: &usize| index.columns.iter().position(|kept| kept == column);
    let columns = columns.iter().map(place).collect::<Option<_>>()?;
    Some(Use { index: index.rows, columns, order })
}

/// The collection that a node reads and does nothing to, and which of its columns.
fn read(plan: &Plan, node: NodeId) -> Option<(CollectionId, Vec<usize>)> {
    match &plan.node(node).op {
        Op::Get { collection, columns, .. } => Some((*collection, columns.clone())),
        Op::Mfp { input, filters, project } if filters.is_empty() => {
            let (collection, columns) = read(plan, *input)?;
            let projected = project.iter().map(|expr| Some(columns[expr.column()?]));
            Some((collection, projected.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use datafusion::physical_expr::expressions::Column;

    use super::*;
    use crate::plan::JoinKind;
    use crate::repr::ObjectId;

    fn schema(columns: usize) -> SchemaRef {
        let field = |index| Field::new(format!("c{index}"), DataType::Int64, true);
        Arc::new(Schema::new((0..columns).map(field).collect::<Vec<_>>()))
    }

    fn column(index: usize) -> ScalarExpr {
        let name = format!("c{index}");
        let expr = Arc::new(Column::new(&name, index));
        ScalarExpr { expr, name, data_type: DataType::Int64, nullable: true }
    }

    /// A join of object 1 (columns 0, 1) and the columns `read` of object 2, on `keys` of the latter.
    fn joined(read: &[usize], keys: &[usize]) -> Plan {
        let mut plan = Plan::default();
        let get = |object: u64, columns: Vec<usize>| Op::Get {
            collection: ObjectId(object).rows(),
            columns,
            append_only: false,
        };
        let left = plan.push(get(1, vec![0, 1]), schema(2));
        let right = plan.push(get(2, read.to_vec()), schema(read.len()));
        let op = Op::Join {
            left,
            right,
            kind: JoinKind::Left,
            left_keys: (0..keys.len()).map(column).collect(),
            right_keys: keys.iter().map(|key| column(*key)).collect(),
            null_equals_null: false,
            filter: None,
        };
        plan.push(op, schema(2 + read.len()));
        plan
    }

    fn index(columns: &[usize], key: usize) -> Index {
        Index { of: ObjectId(2).rows(), rows: ObjectId(7).rows(), columns: columns.to_vec(), key }
    }

    /// What the right input reads of the index, and the join's keys.
    fn used(mut plan: Plan, indexes: &[Index]) -> Option<(Vec<usize>, Vec<usize>, Vec<usize>)> {
        plan.use_indexes(indexes);
        let Op::Join { right, left_keys, right_keys, .. } = &plan.node(plan.output()).op else { return None };
        let Op::Index { columns, .. } = &plan.node(*right).op else { return None };
        assert_eq!(plan.nodes.len(), 3, "what the index replaces is gone");
        let keys = |keys: &[ScalarExpr]| keys.iter().filter_map(ScalarExpr::column).collect();
        Some((columns.clone(), keys(left_keys), keys(right_keys)))
    }

    #[test]
    fn keys_stand_in_the_order_of_the_index() {
        let plan = || joined(&[3, 1, 2], &[0, 1]);
        let found = used(plan(), &[index(&[1, 3, 0, 2], 2)]);
        assert_eq!(found, Some((vec![1, 0, 3], vec![1, 0], vec![1, 0])));
        let found = used(plan(), &[index(&[0, 1, 2, 3], 1), index(&[3, 1, 0, 2], 2)]);
        assert_eq!(found, Some((vec![0, 1, 3], vec![0, 1], vec![0, 1])));
    }

    #[test]
    fn only_exactly_the_keys_are_served() {
        assert_eq!(used(joined(&[3, 1, 2], &[0, 1]), &[index(&[3, 1, 2, 0], 3)]), None);
        assert_eq!(used(joined(&[3, 1, 2], &[0, 1]), &[index(&[3, 2, 1, 0], 2)]), None);
        assert_eq!(used(joined(&[3, 1, 2], &[0, 0]), &[index(&[3, 1, 2, 0], 2)]), None);
        let other = Index { of: ObjectId(3).rows(), ..index(&[3, 1, 2, 0], 2) };
        assert_eq!(used(joined(&[3, 1, 2], &[0, 1]), &[other]), None);
    }
}
