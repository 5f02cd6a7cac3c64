//! UNION, INTERSECT and EXCEPT, each with and without ALL.

use rand::Rng;

use super::{Queries, Query};
use crate::oracle::expressions::{Class, Typed};
use crate::oracle::syntax::{Kind, Node};
use crate::oracle::types::Column;

impl Queries<'_> {
    /// Two or three queries whose rows are put together.
    pub(super) fn union(&mut self, depth: usize) -> Query {
        let first = self.query(depth - 1);
        let (mut columns, mut rows) = (first.columns.clone(), first.rows);
        let separator = match self.rng.random_range(0..20) {
            0..12 => " UNION ALL ",
            12..14 => " UNION ",
            14..16 => " INTERSECT ",
            16 => " INTERSECT ALL ",
            17 => " EXCEPT ALL ",
            _ => " EXCEPT ",
        };
        // ORDER BY and LIMIT at the end would belong to the whole.
        let template = if first.node.sql().contains(" ORDER BY ") { "({})" } else { "{}" };
        let mut node = Node::new(Kind::Query, template, [first.node]);
        for _ in 0..self.rng.random_range(1..=2) {
            let arm = if self.chance(12) { self.constant(&columns) } else { self.arm(&columns) };
            for (column, other) in columns.iter_mut().zip(&arm.columns) {
                if column.sql_type.is_int() {
                    column.sql_type = column.sql_type.wider(other.sql_type);
                }
                column.facts = column.facts.either(other.facts);
            }
            rows += arm.rows;
            node.push_optional(Node::new(Kind::Clause, &format!("{separator}{{}}"), [arm.node]));
        }
        Query { node, columns, rows }
    }

    /// A query whose columns fit `wanted`.
    fn arm(&mut self, wanted: &[Column]) -> Query {
        let (relation, alias) = self.base();
        let columns: Vec<Column> = relation
            .columns
            .iter()
            .map(|column| Column { name: format!("{alias}.{}", column.name), ..column.clone() })
            .collect();
        let items: Vec<Typed> =
            wanted.iter().map(|column| self.over(&columns).like(&Typed::column(column), 1)).collect();
        let filters = self.filters(&columns, 0);
        let mut query = items_of(&items);
        query.node.push(Node::leaf(Kind::Clause, format!(" FROM {} AS {alias}", relation.name)));
        if !filters.is_empty() {
            let filters = filters.into_iter().map(|node| Node::new(Kind::Boolean, "({})", [node]));
            query.node.push_optional(Node::new(Kind::Clause, " WHERE {}", [Node::list(" AND ", filters)]));
        }
        query.rows = relation.rows;
        query
    }

    /// One row of literals that fit `wanted`.
    fn constant(&mut self, wanted: &[Column]) -> Query {
        let items: Vec<Typed> = wanted
            .iter()
            .map(|column| {
                let literal = self.over(&[]).literal(Class::of(column.sql_type));
                let fits = literal.sql_type == column.sql_type || column.sql_type.is_int();
                if fits { literal } else { self.over(&[]).null(column.sql_type) }
            })
            .collect();
        items_of(&items)
    }
}

fn items_of(items: &[Typed]) -> Query {
    let (list, columns) = super::name_items(items);
    Query { node: Node::new(Kind::Query, "SELECT {}", [list]), columns, rows: 1.0 }
}
