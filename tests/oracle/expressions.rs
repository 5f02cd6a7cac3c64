//! Random scalar expressions that cannot fail on any row, as far as the facts about their operands tell; those that can
//! fail come from [`Expressions::risky`] alone.

mod boolean;
mod number;
mod risk;
mod text;
mod time;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::syntax::{Kind, Node};
use super::types::{Column, Facts, SqlType};

/// Types that take each other's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Boolean,
    Int,
    Decimal,
    Double,
    Text,
    Date,
    Timestamp,
    Interval,
}

impl Class {
    /// The class of a type.
    pub(crate) fn of(sql_type: SqlType) -> Class {
        match sql_type {
            SqlType::Boolean => Class::Boolean,
            SqlType::SmallInt | SqlType::Int | SqlType::BigInt => Class::Int,
            SqlType::Decimal(..) => Class::Decimal,
            SqlType::Double => Class::Double,
            SqlType::Text => Class::Text,
            SqlType::Date => Class::Date,
            SqlType::Timestamp => Class::Timestamp,
            SqlType::Interval => Class::Interval,
        }
    }
}

/// An expression, its type, and what is known of its values.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(crate) node: Node,
    pub(crate) sql_type: SqlType,
    pub(crate) facts: Facts,
}

impl Typed {
    fn new(sql_type: SqlType, facts: Facts, template: &str, children: impl IntoIterator<Item = Node>) -> Typed {
        Typed { node: Node::new(sql_type.kind(), template, children), sql_type, facts }
    }

    /// A column.
    pub(crate) fn column(column: &Column) -> Typed {
        let node = Node::leaf(column.sql_type.kind(), column.name.clone());
        Typed { node, sql_type: column.sql_type, facts: column.facts }
    }
}

/// Makes expressions over some columns.
pub(crate) struct Expressions<'a> {
    pub(crate) rng: &'a mut ChaCha8Rng,
    pub(crate) columns: &'a [Column],
}

impl Expressions<'_> {
    /// True in `percent` of a hundred cases.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    /// One of `choices`.
    pub(super) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices.choose(self.rng).expect("there is a choice").clone()
    }

    /// Any column; a literal where there is none.
    pub(crate) fn any_column(&mut self) -> Typed {
        match self.columns.choose(self.rng) {
            Some(column) => Typed::column(column),
            None => self.literal(Class::Int),
        }
    }

    /// A column of `class`, if there is one.
    pub(crate) fn column_of(&mut self, class: Class) -> Option<Typed> {
        let fitting: Vec<&Column> = self.columns.iter().filter(|column| Class::of(column.sql_type) == class).collect();
        fitting.choose(self.rng).map(|column| Typed::column(column))
    }

    /// An expression of any class, mostly a plain column.
    pub(crate) fn any(&mut self, depth: usize) -> Typed {
        if depth == 0 || self.chance(55) {
            return self.any_column();
        }
        let classes = [
            Class::Boolean,
            Class::Int,
            Class::Int,
            Class::Int,
            Class::Decimal,
            Class::Decimal,
            Class::Double,
            Class::Text,
            Class::Text,
            Class::Date,
            Class::Timestamp,
            Class::Timestamp,
        ];
        let class = self.pick(&classes);
        self.of(class, depth)
    }

    /// An expression of `class`.
    pub(crate) fn of(&mut self, class: Class, depth: usize) -> Typed {
        if depth == 0 || self.chance(25) {
            return self.simple(class);
        }
        if self.chance(25) {
            return self.conditional(class, depth - 1);
        }
        match class {
            Class::Boolean => self.boolean(depth - 1),
            Class::Int => self.integer(depth - 1),
            Class::Decimal => self.decimal(depth - 1),
            Class::Double => self.double(depth - 1),
            Class::Text => self.text(depth - 1),
            Class::Date => self.date(depth - 1),
            Class::Timestamp => self.timestamp(depth - 1),
            Class::Interval => self.simple(class),
        }
    }

    /// A column of `class`, or a literal.
    pub(crate) fn simple(&mut self, class: Class) -> Typed {
        match self.column_of(class) {
            Some(column) if self.chance(85) => column,
            _ => self.literal(class),
        }
    }

    /// A literal.
    pub(crate) fn literal(&mut self, class: Class) -> Typed {
        match class {
            Class::Boolean => {
                let text = self.pick(&["TRUE", "FALSE", "CAST(NULL AS BOOLEAN)"]);
                Typed { node: Node::leaf(Kind::Boolean, text), sql_type: SqlType::Boolean, facts: Facts::unknown() }
            }
            Class::Int => self.integer_literal(),
            Class::Decimal => self.decimal_literal(),
            Class::Double => self.double_literal(),
            Class::Text => {
                let text = super::tables::text(self.rng).replace('\'', "''");
                let node = Node::leaf(Kind::Text, format!("'{text}'"));
                Typed { node, sql_type: SqlType::Text, facts: Facts::unknown() }
            }
            Class::Date => self.date_literal(),
            Class::Timestamp => self.timestamp_literal(),
            Class::Interval => self.interval_literal(),
        }
    }

    /// NULL of a type.
    pub(crate) fn null(&mut self, sql_type: SqlType) -> Typed {
        let range = sql_type.limits().map(|_| (0, 0));
        let facts = Facts { range, exact: super::types::Exact::new(0, 0), tame: true, repeat: 1.0 };
        Typed { node: Node::leaf(sql_type.kind(), format!("CAST(NULL AS {})", sql_type.name())), sql_type, facts }
    }

    /// An expression of exactly the type of `other`, so that both fit into one column.
    pub(crate) fn like(&mut self, other: &Typed, depth: usize) -> Typed {
        let class = Class::of(other.sql_type);
        for _ in 0..3 {
            let candidate = self.of(class, depth);
            if candidate.sql_type == other.sql_type || class == Class::Int {
                return candidate;
            }
        }
        self.null(other.sql_type)
    }

    /// CASE, COALESCE, NULLIF, GREATEST or LEAST.
    fn conditional(&mut self, class: Class, depth: usize) -> Typed {
        let first = self.of(class, depth);
        let second = self.like(&first, depth);
        let sql_type = join_types(first.sql_type, second.sql_type);
        let facts = first.facts.either(second.facts);
        match self.rng.random_range(0..8) {
            0..3 => {
                let condition = self.of(Class::Boolean, depth).node;
                let mut node = Node::new(sql_type.kind(), "CASE WHEN {} THEN {}", [condition, first.node]);
                node.push_optional(Node::new(Kind::Clause, " ELSE {}", [second.node]));
                node.push(Node::leaf(Kind::Clause, " END"));
                Typed { node, sql_type, facts }
            }
            3 => {
                let key = self.any_column();
                let when = self.like(&key, 0);
                let children = [key.node, when.node, first.node, second.node];
                Typed::new(sql_type, facts, "CASE {} WHEN {} THEN {} ELSE {} END", children)
            }
            4 | 5 => Typed::new(sql_type, facts, "COALESCE({}, {})", [first.node, second.node]),
            6 => Typed::new(first.sql_type, first.facts, "NULLIF({}, {})", [first.node, second.node]),
            _ if matches!(class, Class::Boolean | Class::Interval) => first,
            _ => {
                let template = self.pick(&["GREATEST({}, {})", "LEAST({}, {})"]);
                Typed::new(sql_type, facts, template, [first.node, second.node])
            }
        }
    }
}

/// The type of a column that holds values of both types, which are of one class.
pub(crate) fn join_types(a: SqlType, b: SqlType) -> SqlType {
    if a.is_int() { a.wider(b) } else { a }
}
