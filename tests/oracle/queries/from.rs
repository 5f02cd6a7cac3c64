//! FROM and WHERE: relations, derived tables, joins of all kinds on any number of keys, cross joins of tiny ones, and
//! subqueries as conditions.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::{Queries, ROWS_MAX, Relation};
use crate::oracle::expressions::{Class, Typed};
use crate::oracle::syntax::{Kind, Node};
use crate::oracle::types::{Column, Facts, SqlType};

/// A relation in a FROM clause under its own name.
struct Item {
    /// What stands in the text.
    node: Node,
    /// Qualified columns.
    columns: Vec<Column>,
    rows: f64,
}

impl Queries<'_> {
    /// ` FROM … WHERE …` with the columns in scope and the estimated number of rows.
    pub(super) fn from(&mut self, depth: usize) -> (Node, Vec<Column>, f64) {
        let wanted = match self.rng.random_range(0..20) {
            0..10 => 1,
            10..16 => 2,
            16..19 => 3,
            _ => 4,
        };
        let first = self.item(depth);
        let mut node = Node::new(Kind::Clause, " FROM {}", [first.node]);
        let (mut columns, mut rows) = (first.columns, first.rows);
        let mut conditions = Vec::new();
        // JOIN binds closer than the comma: after the first comma there are only commas.
        let mut commas = false;
        for _ in 1..wanted {
            let item = self.item(depth);
            let Some(joined) = self.join(&columns, rows, &item) else { continue };
            commas |= self.chance(30);
            // Rows that are kept without a partner.
            let mut alone = 0.0;
            if commas {
                node.push(Node::new(Kind::Clause, ", {}", [item.node]));
                conditions.extend(joined.conditions);
            } else if joined.conditions.is_empty() {
                node.push(Node::new(Kind::Clause, " CROSS JOIN {}", [item.node]));
            } else {
                let on = Node::list(" AND ", joined.conditions);
                let kind = match self.rng.random_range(0..20) {
                    0..4 => "LEFT JOIN",
                    4..6 => "RIGHT JOIN",
                    6..8 => "FULL JOIN",
                    _ => "JOIN",
                };
                node.push(Node::new(Kind::Clause, &format!(" {kind} {{}} ON {{}}"), [item.node, on]));
                alone = if kind == "JOIN" { 0.0 } else { rows + item.rows };
            }
            columns.extend(item.columns);
            rows = joined.rows + alone;
        }
        let filters = self.filters(&columns, depth);
        if !filters.is_empty() {
            rows *= 0.7;
        }
        conditions.extend(filters);
        if !conditions.is_empty() {
            let conditions = conditions.into_iter().map(|node| Node::new(Kind::Boolean, "({})", [node]));
            node.push_optional(Node::new(Kind::Clause, " WHERE {}", [Node::list(" AND ", conditions)]));
        }
        (node, columns, rows)
    }

    fn item(&mut self, depth: usize) -> Item {
        let alias = self.name("x");
        let (node, columns, rows) = match self.rng.random_range(0..20) {
            0..5 if depth > 0 => {
                let query = self.query(depth - 1);
                (Node::new(Kind::Clause, &format!("({{}}) AS {alias}"), [query.node]), query.columns, query.rows)
            }
            5 if self.chance(30) => self.values(&alias),
            _ => {
                let relation = self.relations.choose(self.rng).expect("there are relations").clone();
                let node = Node::leaf(Kind::Clause, format!("{} AS {alias}", relation.name));
                (node, relation.columns, relation.rows)
            }
        };
        let columns =
            columns.into_iter().map(|column| Column { name: format!("{alias}.{}", column.name), ..column }).collect();
        Item { node, columns, rows }
    }

    /// A constant relation.
    fn values(&mut self, alias: &str) -> (Node, Vec<Column>, f64) {
        let rows: Vec<Node> = (0..self.rng.random_range(1..4))
            .map(|key| {
                let text = ["'a'", "'ab'", "''", "NULL"].choose(self.rng).expect("not empty");
                Node::leaf(Kind::Clause, format!("({key}, {text})"))
            })
            .collect();
        let count = rows.len();
        let facts = Facts { range: Some((0, 3)), repeat: 0.4, ..Facts::default() };
        let columns = vec![
            Column { name: "v0".to_owned(), sql_type: SqlType::BigInt, facts, samples: vec!["1".to_owned()] },
            Column { name: "v1".to_owned(), sql_type: SqlType::Text, facts: Facts::unknown(), samples: Vec::new() },
        ];
        let template = format!("(VALUES {{}}) AS {alias} (v0, v1)");
        (Node::new(Kind::Clause, &template, [Node::list(", ", rows)]), columns, count as f64)
    }

    fn join(&mut self, left: &[Column], rows: f64, right: &Item) -> Option<Joined> {
        let mut pairs = Vec::new();
        for a in left {
            for b in &right.columns {
                if comparable(a, b) {
                    pairs.push((a.clone(), b.clone()));
                }
            }
        }
        let mut estimate = rows * right.rows;
        let mut conditions = Vec::new();
        let mut wanted = match self.rng.random_range(0..10) {
            0 if estimate <= 150.0 => 0,
            0..7 => 1,
            7..9 => 2,
            _ => 3,
        };
        while (wanted > 0 || estimate > ROWS_MAX) && !pairs.is_empty() {
            let keyed: Vec<usize> = (0..pairs.len()).filter(|index| pairs[*index].0.name.ends_with(".k")).collect();
            let index = match keyed.choose(self.rng) {
                Some(index) if self.rng.random_bool(0.75) => *index,
                _ => self.rng.random_range(0..pairs.len()),
            };
            let (a, b) = pairs.swap_remove(index);
            estimate *= a.facts.repeat.max(b.facts.repeat);
            conditions.push(self.equal(&a, &b));
            wanted = usize::saturating_sub(wanted, 1);
        }
        if estimate > ROWS_MAX || (conditions.is_empty() && estimate > 150.0) {
            return None;
        }
        let cross = conditions.is_empty();
        if !cross && self.chance(25) {
            let both: Vec<Column> = left.iter().chain(&right.columns).cloned().collect();
            conditions.push(self.over(&both).comparison(1).node);
        }
        Some(Joined { conditions, rows: estimate })
    }

    fn equal(&mut self, a: &Column, b: &Column) -> Node {
        let (left, right) = (Typed::column(a).node, Typed::column(b).node);
        let template = match (Class::of(a.sql_type), self.rng.random_range(0..20)) {
            (_, 0) => "({} IS NOT DISTINCT FROM {})",
            (Class::Text, 1..4) => "upper({}) = upper({})",
            (Class::Int, 1) if a.facts.range.is_some_and(|range| range.1 < 1_000) => "{} + 1 = {}",
            (Class::Timestamp, 1..4) if a.facts.tame && b.facts.tame => {
                "date_trunc('month', {}) = date_trunc('month', {})"
            }
            _ if self.chance(50) => "{} = {}",
            _ => return Node::new(Kind::Boolean, "{} = {}", [right, left]),
        };
        Node::new(Kind::Boolean, template, [left, right])
    }

    /// Whether a row of `columns` stands in some relation, or does not: `[NOT] IN (SELECT …)` or `[NOT] EXISTS (SELECT …)`.
    pub(super) fn existence(&mut self, columns: &[Column], depth: usize) -> Option<Node> {
        let not = if self.chance(35) { "NOT " } else { "" };
        if self.chance(25) && depth > 0 {
            let query = self.query(depth - 1);
            let inner = query.columns.first()?.clone();
            let outer = self.partner(columns, &inner)?;
            let alias = self.name("s");
            let template = format!("{{}} {not}IN (SELECT {alias}.{} FROM ({{}}) AS {alias})", inner.name);
            return Some(Node::new(Kind::Boolean, &template, [Typed::column(&outer).node, query.node]));
        }
        let item = self.item(0);
        let inner = item.columns.choose(self.rng)?.clone();
        let outer = self.partner(columns, &inner)?;
        let filter = self.chance(40).then(|| self.over(&item.columns).of(Class::Boolean, 1).node);
        if self.chance(50) {
            let mut node = Node::new(
                Kind::Boolean,
                &format!("{{}} {not}IN (SELECT {{}} FROM {{}}"),
                [Typed::column(&outer).node, Typed::column(&inner).node, item.node],
            );
            if let Some(filter) = filter {
                node.push_optional(Node::new(Kind::Clause, " WHERE {}", [filter]));
            }
            node.push(Node::leaf(Kind::Clause, ")"));
            return Some(node);
        }
        let mut node = Node::new(
            Kind::Boolean,
            &format!("{not}EXISTS (SELECT 1 FROM {{}} WHERE {{}} = {{}}"),
            [item.node, Typed::column(&inner).node, Typed::column(&outer).node],
        );
        if let Some(filter) = filter {
            node.push_optional(Node::new(Kind::Clause, " AND {}", [filter]));
        }
        if self.chance(20) {
            let both: Vec<Column> = columns.iter().chain(&item.columns).cloned().collect();
            let condition = self.over(&both).comparison(0).node;
            node.push_optional(Node::new(Kind::Clause, " AND {}", [condition]));
        }
        node.push(Node::leaf(Kind::Clause, ")"));
        Some(node)
    }

    /// A subquery as a value: the greatest or least of something, of all rows or of those that belong to a row of `columns`.
    pub(super) fn scalar(&mut self, columns: &[Column]) -> Option<Typed> {
        let item = self.item(0);
        let value = item.columns.choose(self.rng)?.clone();
        if matches!(value.sql_type, SqlType::Interval) {
            return None;
        }
        let function = if self.chance(50) { "max" } else { "min" };
        let inner = item.columns.choose(self.rng)?.clone();
        let outer = if self.chance(60) { self.partner(columns, &inner) } else { None };
        let argument = Typed::column(&value);
        let template = format!("(SELECT {function}({{}}) FROM {{}}{{}})");
        let condition = match &outer {
            Some(outer) => {
                let sides = [Typed::column(&inner).node, Typed::column(outer).node];
                Node::new(Kind::Clause, " WHERE {}", [Node::new(Kind::Boolean, "{} = {}", sides)])
            }
            None => Node::leaf(Kind::Clause, ""),
        };
        let node = Node::new(value.sql_type.kind(), &template, [argument.node, item.node, condition]);
        Some(Typed { node, ..argument })
    }

    fn partner(&mut self, columns: &[Column], inner: &Column) -> Option<Column> {
        let partners: Vec<&Column> = columns.iter().filter(|column| comparable(column, inner)).collect();
        partners.choose(self.rng).map(|column| (*column).clone())
    }

    /// A relation to choose items from when a union's other arms need some.
    pub(super) fn base(&mut self) -> (Relation, String) {
        let relation = self.relations.choose(self.rng).expect("there are relations").clone();
        let alias = self.name("x");
        (relation, alias)
    }
}

struct Joined {
    conditions: Vec<Node>,
    rows: f64,
}

/// Whether an equation of both makes sense.
fn comparable(a: &Column, b: &Column) -> bool {
    let (x, y) = (Class::of(a.sql_type), Class::of(b.sql_type));
    x == y || matches!((x, y), (Class::Int, Class::Decimal) | (Class::Decimal, Class::Int))
}
