//! Lists as rows, and columns of lists and structs.

use rand::Rng;

use super::{Queries, Query, name_items};
use crate::oracle::expressions::{Class, Typed};
use crate::oracle::syntax::{Kind, Node};
use crate::oracle::types::{Column, Facts, SqlType};

impl Queries<'_> {
    /// Items beside the items of lists.
    pub(super) fn unnested(&mut self, depth: usize) -> Query {
        let (from, columns, rows) = self.from(depth);
        let mut items = vec![self.over(&columns).any(1)];
        for _ in 0..if self.chance(70) { 1 } else { 2 } {
            items.push(self.items(&columns));
        }
        let (list, columns) = name_items(&items);
        Query { node: Node::new(Kind::Query, "SELECT {}{}", [list, from]), columns, rows: rows * 2.0 }
    }

    /// `unnest` of a list.
    fn items(&mut self, columns: &[Column]) -> Typed {
        match self.rng.random_range(0..5) {
            0 => {
                let text = self.over(columns).of(Class::Text, 1).node;
                let template = "unnest(string_to_array({}, 'a'))";
                Typed {
                    node: Node::new(Kind::Clause, template, [text]),
                    sql_type: SqlType::Text,
                    facts: Facts::unknown(),
                }
            }
            1 => {
                let (condition, item) =
                    (self.over(columns).of(Class::Boolean, 1).node, self.over(columns).of(Class::Text, 1));
                let template = "unnest(CASE WHEN {} THEN make_array({}, 'x') END)";
                Typed { node: Node::new(Kind::Clause, template, [condition, item.node]), ..item }
            }
            _ => {
                let class = [Class::Int, Class::Text, Class::Timestamp, Class::Double][self.rng.random_range(0..4)];
                let first = self.over(columns).of(class, 1);
                let others: Vec<Typed> =
                    (0..self.rng.random_range(0..3)).map(|_| self.over(columns).like(&first, 1)).collect();
                let facts = others.iter().fold(first.facts, |facts, other| facts.either(other.facts));
                let sql_type = others
                    .iter()
                    .fold(first.sql_type, |all, other| crate::oracle::expressions::join_types(all, other.sql_type));
                let nodes = std::iter::once(first.node).chain(others.into_iter().map(|other| other.node));
                let list = Node::list(", ", nodes);
                Typed { node: Node::new(Kind::Clause, "unnest(make_array({}))", [list]), sql_type, facts }
            }
        }
    }

    /// A query over `query` that shows a list or a struct; no other query reads it.
    pub(crate) fn nested(&mut self, query: Query) -> Node {
        let value = self.over(&query.columns).any(1).node;
        let alias = "q";
        let value = Node::new(Kind::Clause, "{}", [value]);
        match self.rng.random_range(0..4) {
            0 => Node::new(
                Kind::Query,
                &format!("SELECT c0, make_array({{}}, NULL) AS l0 FROM ({{}}) AS {alias}"),
                [value, query.node],
            ),
            1 => Node::new(
                Kind::Query,
                &format!("SELECT c0, named_struct('a', c0, 'b', make_array({{}})) AS s0 FROM ({{}}) AS {alias}"),
                [value, query.node],
            ),
            2 => Node::new(
                Kind::Query,
                &format!(
                    "SELECT c0, unnest(l0) AS c1, l0 FROM (SELECT c0, array_agg({{}}) AS l0 FROM ({{}}) AS {alias} GROUP BY c0) AS r"
                ),
                [value, query.node],
            ),
            _ => Node::new(
                Kind::Query,
                &format!("SELECT c0, array_agg(DISTINCT {{}}) AS l0 FROM ({{}}) AS {alias} GROUP BY c0"),
                [value, query.node],
            ),
        }
    }
}
