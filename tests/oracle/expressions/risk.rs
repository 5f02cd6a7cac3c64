//! Expressions that fail on some rows: overflows, divisions by zero, casts of what is no number.

use rand::Rng;

use super::boolean::wrap;
use super::{Class, Expressions, Typed};
use crate::oracle::types::{Facts, SqlType};

impl Expressions<'_> {
    /// An expression that fails on some rows.
    pub(crate) fn risky(&mut self) -> Typed {
        match self.rng.random_range(0..10) {
            0..2 => self.division(Class::Int),
            2 => self.division(Class::Decimal),
            3 => self.division(Class::Double),
            4..6 => self.overflow(),
            6 | 7 => {
                let Some(a) = self.column_of(Class::Text) else { return self.division(Class::Int) };
                let target = self.pick(&[SqlType::BigInt, SqlType::Double, SqlType::Date, SqlType::Boolean]);
                self.cast(a, target)
            }
            8 => {
                let Some(a) = self.column_of(Class::Double) else { return self.overflow() };
                let target = self.pick(&[SqlType::Int, SqlType::BigInt]);
                self.cast(a, target)
            }
            _ => {
                let Some(a) = self.column_of(Class::Decimal) else { return self.division(Class::Int) };
                self.cast(a, SqlType::Decimal(3, 2))
            }
        }
    }

    fn cast(&mut self, a: Typed, target: SqlType) -> Typed {
        Typed::new(target, Facts::unknown(), &format!("CAST({{}} AS {})", target.name()), [a.node])
    }

    fn division(&mut self, class: Class) -> Typed {
        let a = self.column_of(class).unwrap_or_else(|| self.literal(class));
        let b = self.of(class, 1);
        let operator = if class == Class::Int { self.pick(&["/", "%"]) } else { "/" };
        let sql_type = if class == Class::Int { a.sql_type.wider(b.sql_type) } else { a.sql_type };
        Typed::new(sql_type, Facts::unknown(), &format!("({{}} {operator} {{}})"), [wrap(a), wrap(b)])
    }

    fn overflow(&mut self) -> Typed {
        let a = self.column_of(Class::Int).unwrap_or_else(|| self.integer_literal());
        let factor = match a.sql_type {
            SqlType::SmallInt => "CAST(9000 AS SMALLINT)",
            SqlType::Int => "CAST(900000000 AS INT)",
            _ => "2305843009213693952",
        };
        let operator = self.pick(&["*", "*", "+", "-"]);
        let (sql_type, facts) = (a.sql_type, Facts::unknown());
        match self.rng.random_range(0..4) {
            0 => {
                let b = self.simple(Class::Int);
                let sql_type = sql_type.wider(b.sql_type);
                Typed::new(sql_type, facts, &format!("({{}} {operator} {{}})"), [wrap(a), wrap(b)])
            }
            1 => Typed::new(sql_type, facts, &format!("(- ({{}} {operator} {factor}))"), [wrap(a)]),
            _ => Typed::new(sql_type, facts, &format!("({{}} {operator} {factor})"), [wrap(a)]),
        }
    }
}
