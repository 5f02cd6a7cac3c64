//! Numbers: integers and decimals within known ranges, doubles with known exactness.

use rand::Rng;

use super::boolean::wrap;
use super::{Class, Expressions, Typed};
use crate::oracle::syntax::{Kind, Node};
use crate::oracle::types::{Exact, Facts, SqlType};

type Range = (i128, i128);

fn product(a: Range, b: Range) -> Option<Range> {
    let all = [a.0.checked_mul(b.0)?, a.0.checked_mul(b.1)?, a.1.checked_mul(b.0)?, a.1.checked_mul(b.1)?];
    Some((*all.iter().min()?, *all.iter().max()?))
}

fn magnitude(range: Range) -> i128 {
    range.0.unsigned_abs().max(range.1.unsigned_abs()).try_into().unwrap_or(i128::MAX)
}

fn ranged(range: Range) -> Facts {
    Facts { range: Some(range), repeat: 0.3, ..Facts::default() }
}

impl Expressions<'_> {
    pub(super) fn integer_literal(&mut self) -> Typed {
        let value: i64 = self.rng.random_range(-2..8);
        let (sql_type, text) = match self.rng.random_range(0..10) {
            0 => (SqlType::SmallInt, format!("CAST({value} AS SMALLINT)")),
            1 => (SqlType::Int, format!("CAST({value} AS INT)")),
            _ => (SqlType::BigInt, if value < 0 { format!("({value})") } else { value.to_string() }),
        };
        Typed { node: Node::leaf(Kind::Number, text), sql_type, facts: ranged((value.into(), value.into())) }
    }

    pub(super) fn decimal_literal(&mut self) -> Typed {
        let value: i128 = self.rng.random_range(0..1_000);
        let node = Node::leaf(Kind::Number, format!("CAST({}.{:02} AS DECIMAL(12,2))", value / 100, value % 100));
        Typed { node, sql_type: SqlType::Decimal(12, 2), facts: ranged((value, value)) }
    }

    pub(super) fn double_literal(&mut self) -> Typed {
        let eighths: i32 = self.rng.random_range(-16..64);
        let node = Node::leaf(Kind::Number, format!("CAST({} AS DOUBLE)", f64::from(eighths) / 8.0));
        let facts = Facts { exact: Exact::new(3, 3), tame: true, repeat: 1.0, ..Facts::default() };
        Typed { node, sql_type: SqlType::Double, facts }
    }

    pub(super) fn integer(&mut self, depth: usize) -> Typed {
        match self.rng.random_range(0..12) {
            0..4 => {
                let (a, b) = (self.of(Class::Int, depth), self.of(Class::Int, depth));
                self.integer_operation(a, b)
            }
            4 => self.integer_division(depth),
            5 => {
                let a = self.of(Class::Int, depth);
                self.integer_sign(a)
            }
            6 => {
                let a = self.of(Class::Text, depth);
                let template = self.pick(&["length({})", "strpos({}, 'a')", "octet_length({})"]);
                Typed::new(SqlType::Int, ranged((0, 100_000)), template, [a.node])
            }
            7 => {
                let a = self.of(Class::Boolean, depth);
                Typed::new(SqlType::Int, ranged((0, 1)), "CAST({} AS INT)", [a.node])
            }
            8 | 9 => self.calendar(depth),
            10 => {
                let a = self.of(Class::Int, depth);
                let target = self.pick(&[SqlType::SmallInt, SqlType::Int, SqlType::BigInt]);
                match a.facts.range {
                    Some(range) if target.holds(range) => {
                        let template = format!("CAST({{}} AS {})", target.name());
                        Typed::new(target, ranged(range), &template, [a.node])
                    }
                    _ => a,
                }
            }
            _ => self.truncated(depth),
        }
    }

    fn integer_operation(&mut self, a: Typed, b: Typed) -> Typed {
        let (Some(x), Some(y)) = (a.facts.range, b.facts.range) else { return a };
        let (operator, range) = match self.rng.random_range(0..3) {
            0 => ("+", Some((x.0 + y.0, x.1 + y.1))),
            1 => ("-", Some((x.0 - y.1, x.1 - y.0))),
            _ => ("*", product(x, y)),
        };
        let Some(range) = range else { return a };
        let narrow = a.sql_type.wider(b.sql_type);
        if narrow.holds(range) {
            return Typed::new(narrow, ranged(range), &format!("({{}} {operator} {{}})"), [wrap(a), wrap(b)]);
        }
        if SqlType::BigInt.holds(range) {
            let template = format!("(CAST({{}} AS BIGINT) {operator} {{}})");
            return Typed::new(SqlType::BigInt, ranged(range), &template, [a.node, wrap(b)]);
        }
        a
    }

    fn integer_division(&mut self, depth: usize) -> Typed {
        let (a, b) = (self.of(Class::Int, depth), self.of(Class::Int, depth));
        let sql_type = a.sql_type.wider(b.sql_type);
        let Some(range) = a.facts.range.filter(|range| sql_type.holds((range.0 - 1, range.1))) else { return a };
        let limit = magnitude(range);
        let facts = ranged((-limit, limit));
        let guarded = self.chance(40);
        let operator = self.pick(&["/", "%"]);
        if guarded {
            let children = [wrap(b.clone()), wrap(a), wrap(b)];
            return Typed::new(
                sql_type,
                facts,
                &format!("CASE WHEN {{}} <> 0 THEN {{}} {operator} {{}} END"),
                children,
            );
        }
        Typed::new(sql_type, facts, &format!("({{}} {operator} NULLIF({{}}, 0))"), [wrap(a), b.node])
    }

    fn integer_sign(&mut self, a: Typed) -> Typed {
        let Some(range) = a.facts.range.filter(|range| a.sql_type.holds((-range.1, -range.0))) else { return a };
        let sql_type = a.sql_type;
        if self.chance(50) {
            return Typed::new(sql_type, ranged((-range.1, -range.0)), "(- {})", [wrap(a)]);
        }
        Typed::new(sql_type, ranged((0, magnitude(range))), "abs({})", [a.node])
    }

    /// A whole number out of a double or a decimal.
    fn truncated(&mut self, depth: usize) -> Typed {
        let a = self.of(Class::Double, depth);
        match a.facts.exact {
            Some(exact) if a.facts.tame && exact.whole < 31 => {
                let limit = 1i128 << exact.whole;
                Typed::new(SqlType::BigInt, ranged((-limit, limit)), "CAST({} AS BIGINT)", [a.node])
            }
            _ => self.of(Class::Int, depth),
        }
    }

    pub(super) fn decimal(&mut self, depth: usize) -> Typed {
        match self.rng.random_range(0..7) {
            0..4 => self.decimal_operation(depth),
            4 => {
                let a = self.of(Class::Int, depth);
                let target = SqlType::Decimal(14, 2);
                match a.facts.range {
                    Some((low, high)) if target.holds((low * 100, high * 100)) => {
                        Typed::new(target, ranged((low * 100, high * 100)), "CAST({} AS DECIMAL(14,2))", [a.node])
                    }
                    _ => self.simple(Class::Decimal),
                }
            }
            5 => {
                let a = self.of(Class::Decimal, depth);
                let (sql_type, facts) = (a.sql_type, a.facts);
                let facts = Facts { range: facts.range.map(|range| (0, magnitude(range))), ..facts };
                Typed::new(sql_type, facts, "abs({})", [a.node])
            }
            _ => self.rescaled(depth),
        }
    }

    fn decimal_operation(&mut self, depth: usize) -> Typed {
        let (a, b) = (self.of(Class::Decimal, depth), self.of(Class::Decimal, depth));
        let (SqlType::Decimal(p, s), SqlType::Decimal(q, t)) = (a.sql_type, b.sql_type) else { return a };
        let (Some(x), Some(y)) = (a.facts.range, b.facts.range) else { return a };
        if self.chance(40) {
            let (precision, scale) = (p + q + 1, s + t);
            return match product(x, y) {
                Some(range) if precision <= 38 && SqlType::Decimal(precision, scale).holds(range) => {
                    Typed::new(SqlType::Decimal(precision, scale), ranged(range), "({} * {})", [wrap(a), wrap(b)])
                }
                _ => a,
            };
        }
        let scale = s.max(t);
        let whole = (p.cast_signed() - s).max(q.cast_signed() - t);
        let precision = (whole + scale + 1).cast_unsigned();
        if precision > 38 {
            return a;
        }
        let up = |range: Range, from: i8| {
            let factor = 10i128.pow((scale - from).cast_unsigned().into());
            (range.0 * factor, range.1 * factor)
        };
        let (x, y) = (up(x, s), up(y, t));
        let facts = ranged((x.0.min(-y.1 + x.0).min(x.0 + y.0), (x.1 - y.0).max(x.1 + y.1)));
        let template = self.pick(&["({} + {})", "({} - {})"]);
        Typed::new(SqlType::Decimal(precision, scale), facts, template, [wrap(a), wrap(b)])
    }

    /// A decimal rounded to one digit.
    fn rescaled(&mut self, depth: usize) -> Typed {
        let a = self.of(Class::Decimal, depth);
        let SqlType::Decimal(_, scale) = a.sql_type else { return a };
        let Some(range) = a.facts.range.filter(|_| scale > 1) else { return a };
        let factor = 10i128.pow((scale - 1).cast_unsigned().into());
        let range = (range.0 / factor - 1, range.1 / factor + 1);
        let target = SqlType::Decimal(20, 1);
        if !target.holds(range) {
            return a;
        }
        Typed::new(target, ranged(range), "CAST({} AS DECIMAL(20,1))", [a.node])
    }

    pub(super) fn double(&mut self, depth: usize) -> Typed {
        let double = |exact, tame| Facts { exact, tame, repeat: 0.3, ..Facts::default() };
        match self.rng.random_range(0..10) {
            0..3 => {
                let (a, b) = (self.of(Class::Double, depth), self.of(Class::Double, depth));
                let exact = a.facts.exact.zip(b.facts.exact);
                let exact = exact.and_then(|(x, y)| Exact::new(x.whole.max(y.whole) + 1, x.fraction.max(y.fraction)));
                let facts = double(exact, a.facts.tame && b.facts.tame && exact.is_some());
                let template = self.pick(&["({} + {})", "({} - {})"]);
                Typed::new(SqlType::Double, facts, template, [wrap(a), wrap(b)])
            }
            3 => {
                let (a, b) = (self.of(Class::Double, depth), self.of(Class::Double, depth));
                let exact = a.facts.exact.zip(b.facts.exact);
                let exact = exact.and_then(|(x, y)| Exact::new(x.whole + y.whole, x.fraction + y.fraction));
                let facts = double(exact, a.facts.tame && b.facts.tame && exact.is_some());
                Typed::new(SqlType::Double, facts, "({} * {})", [wrap(a), wrap(b)])
            }
            4 => {
                let (a, b) = (self.of(Class::Double, depth), self.of(Class::Double, depth));
                Typed::new(SqlType::Double, double(None, false), "({} / NULLIF({}, 0))", [wrap(a), b.node])
            }
            5 => {
                let a = self.of(Class::Double, depth);
                let facts = double(a.facts.exact, a.facts.tame);
                Typed::new(SqlType::Double, facts, "(- {})", [wrap(a)])
            }
            6 => {
                let a = self.of(Class::Double, depth);
                let exact = a.facts.exact.and_then(|exact| Exact::new(exact.whole + 1, 0));
                let facts = double(exact, a.facts.tame);
                let template = self.pick(&["floor({})", "ceil({})", "abs({})", "round({})"]);
                let facts = if template.starts_with("abs") { double(a.facts.exact, a.facts.tame) } else { facts };
                Typed::new(SqlType::Double, facts, template, [a.node])
            }
            7 => {
                let a = self.of(Class::Int, depth);
                let bits = a.facts.range.map(|range| 128 - magnitude(range).leading_zeros());
                let exact = bits.and_then(|bits| Exact::new(bits, 0));
                Typed::new(SqlType::Double, double(exact, exact.is_some()), "CAST({} AS DOUBLE)", [a.node])
            }
            8 => {
                let a = self.of(Class::Decimal, depth);
                Typed::new(SqlType::Double, double(None, false), "CAST({} AS DOUBLE)", [a.node])
            }
            _ => {
                let a = self.of(Class::Double, depth);
                Typed::new(SqlType::Double, double(None, false), "sqrt(abs({}))", [a.node])
            }
        }
    }
}
