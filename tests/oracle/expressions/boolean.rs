//! Conditions.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::{Class, Expressions, Typed};
use crate::oracle::syntax::Node;
use crate::oracle::types::{Facts, SqlType};

fn condition(template: &str, children: impl IntoIterator<Item = Node>) -> Typed {
    Typed::new(SqlType::Boolean, Facts { repeat: 0.5, ..Facts::default() }, template, children)
}

impl Expressions<'_> {
    pub(super) fn boolean(&mut self, depth: usize) -> Typed {
        match self.rng.random_range(0..14) {
            0..5 => self.comparison(depth),
            5 => {
                let (a, b) = (self.of(Class::Boolean, depth), self.of(Class::Boolean, depth));
                let template = self.pick(&["({} AND {})", "({} OR {})"]);
                condition(template, [a.node, b.node])
            }
            6 => {
                let a = self.of(Class::Boolean, depth);
                let template =
                    self.pick(&["NOT ({})", "({}) IS TRUE", "({}) IS NOT TRUE", "({}) IS FALSE", "({}) IS UNKNOWN"]);
                condition(template, [a.node])
            }
            7 => {
                let a = self.any_column();
                let template = self.pick(&["{} IS NULL", "{} IS NOT NULL"]);
                condition(template, [a.node])
            }
            8 => {
                let a = self.any_column();
                let b = self.like(&a, depth);
                let template = self.pick(&["({} IS DISTINCT FROM {})", "({} IS NOT DISTINCT FROM {})"]);
                condition(template, [a.node, b.node])
            }
            9 => {
                let a = self.ordered(depth);
                let (b, c) = (self.like(&a, 0), self.like(&a, 0));
                let template = self.pick(&["{} BETWEEN {} AND {}", "{} NOT BETWEEN {} AND {}"]);
                condition(template, [a.node, b.node, c.node])
            }
            10 => {
                let a = self.ordered(0);
                let class = Class::of(a.sql_type);
                let items: Vec<Node> = (0..self.rng.random_range(1..5)).map(|_| self.literal(class).node).collect();
                let template = self.pick(&["{} IN ({})", "{} NOT IN ({})"]);
                condition(template, [a.node, Node::list(", ", items)])
            }
            11 => {
                let a = self.of(Class::Text, depth);
                let template = self.pick(&[
                    "{} LIKE 'a%'",
                    "{} NOT LIKE '%b%'",
                    "{} LIKE '_'",
                    "{} ILIKE 'A%'",
                    "starts_with({}, 'ab')",
                    "{} ~ '^[a-c]+$'",
                    "contains({}, 'x')",
                ]);
                condition(template, [a.node])
            }
            _ => self.comparison(0),
        }
    }

    /// An expression whose values have an order.
    fn ordered(&mut self, depth: usize) -> Typed {
        for _ in 0..4 {
            let a = self.any(depth);
            if !matches!(a.sql_type, SqlType::Interval | SqlType::Boolean) {
                return a;
            }
        }
        self.of(Class::Int, depth)
    }

    /// A column compared with one of its own values.
    fn sampled(&mut self) -> Option<Typed> {
        let column = self.columns.choose(self.rng)?;
        let sample = column.samples.choose(self.rng)?;
        let node = Node::leaf(column.sql_type.kind(), sample.clone());
        let operator = self.pick(&["=", "<>", "<=", ">=", "<", ">"]);
        Some(condition(&format!("{{}} {operator} {{}}"), [Typed::column(column).node, node]))
    }

    /// Two values compared; their types may differ.
    pub(crate) fn comparison(&mut self, depth: usize) -> Typed {
        if self.chance(45)
            && let Some(hit) = self.sampled()
        {
            return hit;
        }
        let a = self.ordered(depth);
        let class = Class::of(a.sql_type);
        let other = match class {
            Class::Int | Class::Decimal | Class::Double if self.chance(20) => {
                self.pick(&[Class::Int, Class::Decimal, Class::Double])
            }
            Class::Date if self.chance(20) && a.facts.tame => Class::Timestamp,
            class => class,
        };
        let b = if self.chance(40) { self.literal(other) } else { self.of(other, depth) };
        let operator = self.pick(&["=", "=", "<>", "<", "<=", ">", ">="]);
        let template = format!("{{}} {operator} {{}}");
        Typed::new(SqlType::Boolean, Facts { repeat: 0.5, ..Facts::default() }, &template, [wrap(a), wrap(b)])
    }
}

/// A value that can stand beside an operator.
pub(super) fn wrap(value: Typed) -> Node {
    let sql = value.node.sql();
    let plain = sql.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '_');
    let kind = value.sql_type.kind();
    if plain { value.node } else { Node::new(kind, "({})", [value.node]) }
}
