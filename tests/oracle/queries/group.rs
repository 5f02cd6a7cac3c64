//! GROUP BY with aggregates, FILTER and HAVING.

use rand::Rng;

use super::{Queries, Query, name_items};
use crate::oracle::expressions::{Class, Typed};
use crate::oracle::syntax::{Kind, Node};
use crate::oracle::types::{Column, Exact, Facts, SqlType};

/// More rows than a group of a test ever has.
const GROUP_ROWS_MAX: i128 = 100_000;

impl Queries<'_> {
    /// A query with GROUP BY or with aggregates over everything.
    pub(super) fn grouped(&mut self, depth: usize) -> Query {
        let (from, columns, rows) = self.from(depth);
        let key_count = match self.rng.random_range(0..10) {
            0..2 => 0,
            2..7 => 1,
            7..9 => 2,
            _ => 3,
        };
        let mut keys: Vec<Typed> = Vec::new();
        for _ in 0..key_count {
            let key = self.key(&columns);
            if keys.iter().all(|other| other.node.sql() != key.node.sql()) {
                keys.push(key);
            }
        }
        let least = usize::from(keys.is_empty() || self.chance(92));
        let aggregates: Vec<Typed> = (0..self.rng.random_range(least..=4)).map(|_| self.aggregate(&columns)).collect();
        let group_by = self.group_by(&keys);
        let mut items = keys.clone();
        let several = group_by.as_ref().is_some_and(|node| node.sql().ends_with(')'));
        if several && self.chance(50) {
            let facts = Facts { range: Some((0, 1)), repeat: 0.5, ..Facts::default() };
            let node = Node::new(Kind::Number, "CAST(GROUPING({}) AS BIGINT)", [keys[0].node.clone()]);
            items.push(Typed { node, sql_type: SqlType::BigInt, facts });
        }
        items.extend(aggregates.iter().cloned());
        if let [.., a, b] = &aggregates[..]
            && self.chance(15)
        {
            items.extend(sum_of(a, b));
        }
        if items.is_empty() {
            items.push(self.aggregate(&columns));
        }
        let having = if self.chance(25) { self.having(&columns) } else { None };
        let (list, columns) = name_items(&items);
        let mut node = Node::new(Kind::Query, "SELECT {}{}", [list, from]);
        if let Some(group_by) = group_by {
            node.push(group_by);
        }
        if let Some(having) = having {
            node.push_optional(having);
        }
        let rows = if keys.is_empty() { 1.0 } else { (rows * 0.5).min(200.0) };
        Query { node, columns, rows }
    }

    fn key(&mut self, columns: &[Column]) -> Typed {
        let depth = usize::from(self.chance(30));
        self.over(columns).any(depth)
    }

    fn group_by(&mut self, keys: &[Typed]) -> Option<Node> {
        if keys.is_empty() {
            return None;
        }
        let literal = keys.iter().any(|key| !key.node.sql().contains('.'));
        if !literal && self.chance(18) {
            return Some(self.grouping_sets(keys));
        }
        if self.chance(40) || literal {
            let ordinals = (1..=keys.len()).map(|ordinal| Node::leaf(Kind::Clause, ordinal.to_string()));
            return Some(Node::new(Kind::Clause, " GROUP BY {}", [Node::list(", ", ordinals)]));
        }
        Some(Node::new(Kind::Clause, " GROUP BY {}", [Node::list(", ", keys.iter().map(|key| key.node.clone()))]))
    }

    /// Several groupings at once.
    fn grouping_sets(&mut self, keys: &[Typed]) -> Node {
        let nodes = || Node::list(", ", keys.iter().map(|key| key.node.clone()));
        match self.rng.random_range(0..4) {
            0 => Node::new(Kind::Clause, " GROUP BY CUBE ({})", [nodes()]),
            1 => {
                let count = self.rng.random_range(1..4);
                let mut sets = Vec::new();
                for _ in 0..count {
                    let kept: Vec<&Typed> = keys.iter().filter(|_| self.rng.random_bool(0.6)).collect();
                    let kept = Node::list(", ", kept.into_iter().map(|key| key.node.clone()));
                    sets.push(Node::new(Kind::Clause, "({})", [kept]));
                }
                // One set has them all, so that every key is a column.
                sets.push(Node::new(Kind::Clause, "({})", [nodes()]));
                Node::new(Kind::Clause, " GROUP BY GROUPING SETS ({})", [Node::list(", ", sets)])
            }
            _ => Node::new(Kind::Clause, " GROUP BY ROLLUP ({})", [nodes()]),
        }
    }

    fn having(&mut self, columns: &[Column]) -> Option<Node> {
        let aggregate = self.aggregate(columns);
        let class = Class::of(aggregate.sql_type);
        let literal = self.over(columns).literal(class).node;
        let template = match class {
            Class::Boolean | Class::Interval => " HAVING {} IS NOT DISTINCT FROM {}",
            _ => [" HAVING {} > {}", " HAVING {} <= {}", " HAVING {} <> {}"][self.rng.random_range(0..3)],
        };
        Some(Node::new(Kind::Clause, template, [aggregate.node, literal]))
    }

    /// One aggregate over `columns` whose result does not depend on the order of rows and cannot overflow.
    pub(crate) fn aggregate(&mut self, columns: &[Column]) -> Typed {
        if self.chance(30) {
            let other = self.other_aggregate(columns);
            return self.filtered(other, columns);
        }
        let depth = usize::from(self.chance(30));
        let arg = self.over(columns).any(depth);
        let count = Facts { range: Some((0, GROUP_ROWS_MAX)), repeat: 0.3, ..Facts::default() };
        let (sql_type, facts, template) = match self.rng.random_range(0..12) {
            0 | 1 => (SqlType::BigInt, count, "COUNT(*)"),
            2 => (SqlType::BigInt, count, "COUNT({})"),
            3 | 4 => (SqlType::BigInt, count, "COUNT(DISTINCT {})"),
            5..8 => match sum_type(&arg) {
                Some((sql_type, facts)) => (sql_type, facts, "SUM({})"),
                None => (SqlType::BigInt, count, "COUNT({})"),
            },
            8 => match mean_type(&arg) {
                Some((sql_type, facts)) => (sql_type, facts, "AVG({})"),
                None => (SqlType::BigInt, count, "COUNT({})"),
            },
            _ if matches!(arg.sql_type, SqlType::Interval | SqlType::Boolean) => {
                (SqlType::BigInt, count, "COUNT(DISTINCT {})")
            }
            _ => {
                let template = if self.chance(50) { "MIN({})" } else { "MAX({})" };
                (arg.sql_type, arg.facts, template)
            }
        };
        let children = if template == "COUNT(*)" { Vec::new() } else { vec![arg.node] };
        let node = Node::new(sql_type.kind(), template, children);
        self.filtered(Typed { node, sql_type, facts }, columns)
    }

    /// The aggregate, with some luck with a FILTER.
    fn filtered(&mut self, mut aggregate: Typed, columns: &[Column]) -> Typed {
        // A FILTER stands behind a call and nowhere else.
        let sql = aggregate.node.sql();
        let wrapped = ["array_to_string(", "CAST(", "GREATEST("].iter().any(|word| sql.starts_with(word))
            || sql.ends_with("NULLS");
        if !wrapped && self.chance(22) {
            let condition = self.over(columns).of(Class::Boolean, 1).node;
            aggregate.node.push_optional(Node::new(Kind::Clause, " FILTER (WHERE {})", [condition]));
        }
        aggregate
    }
}

/// The type of SUM, if the sum cannot overflow and does not depend on the order.
pub(super) fn sum_type(arg: &Typed) -> Option<(SqlType, Facts)> {
    let range = arg.facts.range.map(|(low, high)| (low.min(0) * GROUP_ROWS_MAX, high.max(0) * GROUP_ROWS_MAX));
    let facts = Facts { range, repeat: 0.2, ..Facts::default() };
    match arg.sql_type {
        SqlType::SmallInt | SqlType::Int | SqlType::BigInt => {
            SqlType::BigInt.holds(range?).then_some((SqlType::BigInt, facts))
        }
        SqlType::Decimal(precision, scale) => {
            let sum = SqlType::Decimal((precision + 10).min(38), scale);
            sum.holds(range?).then_some((sum, facts))
        }
        SqlType::Double => {
            let exact = arg.facts.exact?;
            let facts = Facts { exact: Exact::new(exact.whole + 12, exact.fraction), repeat: 0.2, ..Facts::default() };
            Some((SqlType::Double, facts))
        }
        _ => None,
    }
}

/// The type of AVG, if it cannot overflow and does not depend on the order.
pub(super) fn mean_type(arg: &Typed) -> Option<(SqlType, Facts)> {
    let facts = Facts { repeat: 0.2, ..Facts::default() };
    match arg.sql_type {
        SqlType::SmallInt | SqlType::Int | SqlType::BigInt => {
            let (low, high) = arg.facts.range?;
            let limit = 1i128 << 52;
            let exact = low * GROUP_ROWS_MAX > -limit && high * GROUP_ROWS_MAX < limit;
            exact.then_some((SqlType::Double, facts))
        }
        SqlType::Decimal(precision, scale) => {
            sum_type(arg)?;
            let mean = SqlType::Decimal((precision + 4).min(38), (scale + 4).min(38));
            let (low, high) = arg.facts.range?;
            let range = (low * 10_000, high * 10_000);
            let sums = (range.0 * GROUP_ROWS_MAX, range.1 * GROUP_ROWS_MAX);
            let fits = mean.holds(range) && SqlType::Decimal(38, 0).holds(sums);
            fits.then_some((mean, Facts { range: Some(range), ..facts }))
        }
        SqlType::Double => arg.facts.exact.map(|_| (SqlType::Double, facts)),
        _ => None,
    }
}

/// An expression over two aggregates.
fn sum_of(a: &Typed, b: &Typed) -> Option<Typed> {
    if a.sql_type != SqlType::BigInt || b.sql_type != SqlType::BigInt {
        return None;
    }
    let (x, y) = (a.facts.range?, b.facts.range?);
    let range = (x.0 - y.1, x.1 - y.0);
    let node = Node::new(Kind::Number, "{} - {}", [a.node.clone(), b.node.clone()]);
    let facts = Facts { range: Some(range), repeat: 0.3, ..Facts::default() };
    SqlType::BigInt.holds(range).then_some(Typed { node, sql_type: SqlType::BigInt, facts })
}
