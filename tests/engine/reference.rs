//! Plain answers: what every operator class must show, computed over whole multisets with maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::Operator;
use headwater_dataflow::plan::{AggregateFunc, JoinKind, NodeId, Op, Plan};
use headwater_dataflow::repr::{CollectionId, Delta};

use super::plans::{aggregate, binary, int, literal, schema};
use super::rows::{Row, Rows, Value, add, add_all, batch_of};

/// One operator class: a plan over some tables, and what it must show.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    pub(crate) name: &'static str,
    pub(crate) tables: usize,
    pub(crate) append_only: bool,
    pub(crate) plan: fn(&[CollectionId]) -> Plan,
    pub(crate) reference: fn(&[Rows]) -> Rows,
}

/// All classes.
pub(crate) const CLASSES: [Class; 11] = [
    Class { name: "map, filter, project", tables: 1, append_only: false, plan: mfp_plan, reference: mfp },
    Class { name: "distinct", tables: 1, append_only: false, plan: distinct_plan, reference: distinct },
    Class { name: "union", tables: 2, append_only: false, plan: union_plan, reference: union },
    Class { name: "inner join", tables: 2, append_only: false, plan: join_plan, reference: join },
    Class { name: "join of equal NULLs", tables: 2, append_only: false, plan: null_join_plan, reference: null_join },
    Class { name: "semi join", tables: 2, append_only: false, plan: semi_plan, reference: semi },
    Class { name: "cross join", tables: 2, append_only: false, plan: cross_plan, reference: cross },
    Class { name: "reduce", tables: 1, append_only: false, plan: reduce_plan, reference: reduce },
    Class { name: "append-only reduce", tables: 1, append_only: true, plan: append_reduce_plan, reference: reduce },
    Class { name: "global reduce", tables: 1, append_only: false, plan: global_plan, reference: global },
    Class { name: "distinct, reduce, join", tables: 2, append_only: false, plan: chain_plan, reference: chain },
];

/// The columns of every table: a key and a value.
pub(crate) fn pairs() -> SchemaRef {
    schema(&[("k", DataType::Int64), ("v", DataType::Int64)])
}

/// A plan that reads `tables` and goes on with `more`.
pub(crate) fn plan_over(tables: &[CollectionId], append_only: bool, more: impl FnOnce(&mut Plan, &[NodeId])) -> Plan {
    let mut plan = Plan::default();
    let gets: Vec<NodeId> = tables
        .iter()
        .map(|collection| plan.push(Op::Get { collection: *collection, columns: vec![0, 1], append_only }, pairs()))
        .collect();
    more(&mut plan, &gets);
    plan
}

fn mfp_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        let filters = vec![binary(int(1), Operator::Gt, literal(2)), binary(int(0), Operator::NotEq, int(1))];
        let project = vec![int(0), binary(int(0), Operator::Plus, int(1))];
        plan.push(Op::Mfp { input: gets[0], filters, project }, pairs());
    })
}

fn mfp(tables: &[Rows]) -> Rows {
    let mut out = Rows::new();
    for (row, diff) in &tables[0] {
        if let (Value::Int(k), Value::Int(v)) = (&row[0], &row[1])
            && *v > 2
            && k != v
        {
            add(&mut out, vec![Value::Int(*k), Value::Int(k + v)], *diff);
        }
    }
    out
}

fn distinct_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        plan.push(Op::Distinct { input: gets[0] }, pairs());
    })
}

fn distinct(tables: &[Rows]) -> Rows {
    tables[0].keys().map(|row| (row.clone(), 1)).collect()
}

fn union_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        let row = vec![Value::Int(7), Value::Null];
        let rows = Delta::insert(batch_of(&pairs(), [&row, &row]));
        let constant = plan.push(Op::Constant { rows }, pairs());
        plan.push(Op::Union { inputs: vec![gets[0], gets[1], gets[0], constant] }, pairs());
    })
}

fn union(tables: &[Rows]) -> Rows {
    let mut out = tables[0].clone();
    add_all(&mut out, &tables[0]);
    add_all(&mut out, &tables[1]);
    add(&mut out, vec![Value::Int(7), Value::Null], 2);
    out
}

fn wide() -> SchemaRef {
    schema(&[("k", DataType::Int64), ("v", DataType::Int64), ("k2", DataType::Int64), ("v2", DataType::Int64)])
}

fn join_op(gets: &[NodeId], null_equals_null: bool, filter: bool) -> Op {
    Op::Join {
        left: gets[0],
        right: gets[1],
        kind: JoinKind::Inner,
        left_keys: vec![int(0)],
        right_keys: vec![int(0)],
        null_equals_null,
        filter: filter.then(|| binary(int(1), Operator::LtEq, int(3))),
    }
}

fn join_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        plan.push(join_op(gets, false, true), wide());
    })
}

/// Pairs of rows for which `fits`.
fn pairs_where(tables: &[Rows], fits: impl Fn(&Row, &Row) -> bool) -> Rows {
    let mut out = Rows::new();
    for (a, m) in &tables[0] {
        for (b, n) in &tables[1] {
            if fits(a, b) {
                add(&mut out, a.iter().chain(b).cloned().collect(), m * n);
            }
        }
    }
    out
}

fn join(tables: &[Rows]) -> Rows {
    pairs_where(tables, |a, b| {
        a[0] != Value::Null && a[0] == b[0] && a[1].int().zip(b[1].int()).is_some_and(|(x, y)| x <= y)
    })
}

fn null_join_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        plan.push(join_op(gets, true, false), wide());
    })
}

fn null_join(tables: &[Rows]) -> Rows {
    pairs_where(tables, |a, b| a[0] == b[0])
}

fn semi_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        let op = Op::Join {
            left: gets[0],
            right: gets[1],
            kind: JoinKind::LeftSemi,
            left_keys: vec![int(0)],
            right_keys: vec![int(1)],
            null_equals_null: false,
            filter: None,
        };
        plan.push(op, pairs());
    })
}

fn semi(tables: &[Rows]) -> Rows {
    let partners: BTreeSet<&Value> = tables[1].keys().map(|row| &row[1]).filter(|v| **v != Value::Null).collect();
    tables[0].iter().filter(|(row, _)| partners.contains(&row[0])).map(|(row, diff)| (row.clone(), *diff)).collect()
}

fn cross_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        let op = Op::Join {
            left: gets[0],
            right: gets[1],
            kind: JoinKind::Inner,
            left_keys: Vec::new(),
            right_keys: Vec::new(),
            null_equals_null: false,
            filter: None,
        };
        plan.push(op, wide());
    })
}

fn cross(tables: &[Rows]) -> Rows {
    pairs_where(tables, |_, _| true)
}

fn aggregates_schema(keys: usize) -> SchemaRef {
    let names = ["k", "rows", "values", "different", "sum", "least", "greatest", "some"];
    schema(&names[1 - keys..].iter().map(|name| (*name, DataType::Int64)).collect::<Vec<_>>())
}

fn reduce_op(input: NodeId, keys: usize, append_only: bool) -> Op {
    let int64 = DataType::Int64;
    let mut different = aggregate(AggregateFunc::Count, Some(int(1)), int64.clone());
    different.distinct = true;
    let mut some = aggregate(AggregateFunc::Sum, Some(int(1)), int64.clone());
    some.filter = Some(binary(int(1), Operator::Gt, literal(4)));
    Op::Reduce {
        input,
        keys: (0..keys).map(int).collect(),
        aggregates: vec![
            aggregate(AggregateFunc::Count, None, int64.clone()),
            aggregate(AggregateFunc::Count, Some(int(1)), int64.clone()),
            different,
            aggregate(AggregateFunc::Sum, Some(int(1)), int64.clone()),
            aggregate(AggregateFunc::Min, Some(int(1)), int64.clone()),
            aggregate(AggregateFunc::Max, Some(int(1)), int64),
            some,
        ],
        append_only,
        best: None,
    }
}

fn reduce_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        plan.push(reduce_op(gets[0], 1, false), aggregates_schema(1));
    })
}

fn append_reduce_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, true, |plan, gets| {
        plan.push(reduce_op(gets[0], 1, true), aggregates_schema(1));
    })
}

/// The aggregates of one group.
fn aggregates(group: &Rows) -> Row {
    let values: Vec<(i64, i64)> = group.iter().filter_map(|(row, diff)| Some((row[1].int()?, *diff))).collect();
    let sum = |fits: fn(i64) -> bool| {
        let fitting: Vec<_> = values.iter().filter(|(value, _)| fits(*value)).collect();
        if fitting.is_empty() { Value::Null } else { Value::Int(fitting.iter().map(|(v, n)| v * n).sum()) }
    };
    let or_null = |value: Option<i64>| value.map_or(Value::Null, Value::Int);
    vec![
        Value::Int(group.values().sum()),
        Value::Int(values.iter().map(|(_, count)| count).sum()),
        Value::Int(i64::try_from(values.len()).expect("it is small")),
        sum(|_| true),
        or_null(values.iter().map(|(value, _)| *value).min()),
        or_null(values.iter().map(|(value, _)| *value).max()),
        sum(|value| value > 4),
    ]
}

fn reduce(tables: &[Rows]) -> Rows {
    let mut groups: BTreeMap<Value, Rows> = BTreeMap::new();
    for (row, diff) in &tables[0] {
        add(groups.entry(row[0].clone()).or_default(), row.clone(), *diff);
    }
    let row = |(key, group): (Value, Rows)| {
        let mut row = vec![key];
        row.extend(aggregates(&group));
        (row, 1)
    };
    groups.into_iter().map(row).collect()
}

fn global_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        plan.push(reduce_op(gets[0], 0, false), aggregates_schema(0));
    })
}

/// The group of a table's rows by (k, v) keeps copies apart by their count alone.
fn global(tables: &[Rows]) -> Rows {
    let mut group = Rows::new();
    for (row, diff) in &tables[0] {
        // Different values are counted once, whatever their keys.
        add(&mut group, vec![Value::Null, row[1].clone()], *diff);
    }
    Rows::from([(aggregates(&group), 1)])
}

fn chain_plan(tables: &[CollectionId]) -> Plan {
    plan_over(tables, false, |plan, gets| {
        let distinct = plan.push(Op::Distinct { input: gets[0] }, pairs());
        let count = aggregate(AggregateFunc::Count, None, DataType::Int64);
        let reduce =
            Op::Reduce { input: distinct, keys: vec![int(1)], aggregates: vec![count], append_only: false, best: None };
        let reduced = plan.push(reduce, pairs());
        plan.push(join_op(&[reduced, gets[1]], false, false), wide());
    })
}

fn chain(tables: &[Rows]) -> Rows {
    let mut counts: BTreeMap<&Value, i64> = BTreeMap::new();
    for row in tables[0].keys() {
        *counts.entry(&row[1]).or_default() += 1;
    }
    let counts: Rows = counts.into_iter().map(|(value, n)| (vec![value.clone(), Value::Int(n)], 1)).collect();
    pairs_where(&[counts, tables[1].clone()], |a, b| a[0] != Value::Null && a[0] == b[0])
}

/// The collections that a class's plan imports beside its tables.
pub(crate) fn needs_clock(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| matches!(node.op, Op::Constant { .. }))
}

/// The columns of the clock: none.
pub(crate) fn clock_schema() -> SchemaRef {
    Arc::new(arrow::datatypes::Schema::empty())
}
