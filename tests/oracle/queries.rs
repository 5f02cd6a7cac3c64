//! Random queries: projections, filters, joins, groups, distinct rows, set operations, nested and named subqueries.

mod aggregates;
mod from;
mod group;
mod union;
mod unnest;
mod window;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::expressions::{Class, Expressions, Typed};
use super::syntax::{Kind, Node};
use super::types::{Column, Facts, SqlType};

/// Estimated rows of an intermediate result beyond which nothing more is joined.
const ROWS_MAX: f64 = 2_000.0;

/// Something a query can name.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) name: String,
    /// The columns, not qualified.
    pub(crate) columns: Vec<Column>,
    /// Roughly how many rows it has.
    pub(crate) rows: f64,
}

/// A query and what it returns.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) node: Node,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: f64,
}

/// Makes queries over some relations.
pub(crate) struct Queries<'a> {
    pub(crate) rng: &'a mut ChaCha8Rng,
    pub(crate) relations: Vec<Relation>,
    next_name: usize,
}

impl<'a> Queries<'a> {
    /// Queries over `relations`.
    pub(crate) fn new(rng: &'a mut ChaCha8Rng, relations: Vec<Relation>) -> Queries<'a> {
        Queries { rng, relations, next_name: 0 }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    fn name(&mut self, prefix: &str) -> String {
        self.next_name += 1;
        format!("{prefix}{}", self.next_name)
    }

    fn over<'b>(&'b mut self, columns: &'b [Column]) -> Expressions<'b> {
        Expressions { rng: self.rng, columns }
    }

    /// A query with at most `depth` levels of subqueries.
    pub(crate) fn query(&mut self, depth: usize) -> Query {
        match self.rng.random_range(0..20) {
            0..3 if depth > 0 => self.union(depth),
            3..5 if depth > 0 => self.with(depth),
            13..15 if depth > 0 => self.windowed(depth),
            5..11 => self.grouped(depth),
            11 => self.distinct(depth),
            12 => self.unnested(depth),
            _ => self.select(depth),
        }
    }

    /// Items over a FROM clause with its conditions.
    fn select(&mut self, depth: usize) -> Query {
        let (from, columns, rows) = self.from(depth);
        let count = self.rng.random_range(1..=4);
        let mut items: Vec<Typed> = (0..count).map(|_| self.over(&columns).any(2)).collect();
        if self.chance(6) {
            items.extend(self.scalar(&columns));
        }
        if self.chance(5)
            && let Some(node) = self.existence(&columns, 0)
        {
            items.push(Typed { node, sql_type: SqlType::Boolean, facts: Facts::unknown() });
        }
        let (list, columns) = name_items(&items);
        Query { node: Node::new(Kind::Query, "SELECT {}{}", [list, from]), columns, rows }
    }

    fn distinct(&mut self, depth: usize) -> Query {
        let (from, columns, rows) = self.from(depth);
        let count = self.rng.random_range(1..=3);
        let items: Vec<Typed> = (0..count).map(|_| self.over(&columns).any(1)).collect();
        let (list, columns) = name_items(&items);
        Query { node: Node::new(Kind::Query, "SELECT DISTINCT {}{}", [list, from]), columns, rows }
    }

    /// `WITH name AS (…)` and a query that can use it.
    fn with(&mut self, depth: usize) -> Query {
        let inner = self.query(depth - 1);
        let name = self.name("w");
        let relation = Relation { name: name.clone(), columns: inner.columns, rows: inner.rows };
        let kept = self.relations.len();
        // Several entries make it likely that the name is used, and used twice.
        self.relations.extend(vec![relation; kept + 1]);
        let outer = self.query(depth - 1);
        self.relations.truncate(kept);
        // A query that begins with WITH itself needs parentheses there.
        let body = if outer.node.sql().starts_with("WITH") { "({})" } else { "{}" };
        let node = Node::new(Kind::Query, &format!("WITH {name} AS ({{}}) {body}"), [inner.node, outer.node]);
        Query { node, ..outer }
    }

    /// Conditions for WHERE: comparisons and the like, and with some luck a subquery, alone or under OR.
    fn filters(&mut self, columns: &[Column], depth: usize) -> Vec<Node> {
        let mut conditions = Vec::new();
        if self.chance(40) {
            let count = if self.chance(80) { 1 } else { 2 };
            for _ in 0..count {
                conditions.push(self.over(columns).of(Class::Boolean, 2).node);
            }
        }
        if self.chance(18) {
            conditions.extend(self.existence(columns, depth));
        }
        if self.chance(5)
            && let Some(asked) = self.existence(columns, 0)
        {
            let other = self.over(columns).of(Class::Boolean, 1).node;
            conditions.push(Node::new(Kind::Boolean, "({} OR {})", [asked, other]));
        }
        if self.chance(6)
            && let Some(value) = self.scalar(columns)
        {
            let other = self.over(columns).like(&value, 1).node;
            let operator = ["=", "<", ">=", "<>"][self.rng.random_range(0..4)];
            conditions.push(Node::new(Kind::Boolean, &format!("{{}} {operator} {{}}"), [other, value.node]));
        }
        conditions
    }
}

/// `a AS c0, b AS c1`, and the columns that gives.
fn name_items(items: &[Typed]) -> (Node, Vec<Column>) {
    let columns: Vec<Column> = items
        .iter()
        .enumerate()
        .map(|(index, item)| Column {
            name: format!("c{index}"),
            sql_type: item.sql_type,
            facts: item.facts,
            samples: Vec::new(),
        })
        .collect();
    let nodes = items
        .iter()
        .zip(&columns)
        .map(|(item, column)| Node::new(Kind::Clause, &format!("{{}} AS {}", column.name), [item.node.clone()]));
    (Node::list(", ", nodes), columns)
}
