//! Random tables: columns of all types over small domains, so that keys collide, with hot values, NULLs and extremes.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::types::{Column, Exact, Facts, SqlType};
use crate::engine::rows::{Row, Value};

/// A table and the values its columns take.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) domains: Vec<Domain>,
    /// Never retracts.
    pub(crate) append_only: bool,
    /// Roughly the most rows it has.
    pub(crate) rows_max: usize,
}

/// The values of one column.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    values: Vec<Value>,
    /// How often the first value is taken.
    hot: f64,
    /// How often NULL is taken; 0 makes the column NOT NULL.
    null: f64,
}

impl Table {
    /// The columns in Arrow.
    pub(crate) fn schema(&self) -> SchemaRef {
        let field =
            |(column, domain): (&Column, &Domain)| Field::new(&column.name, column.sql_type.arrow(), domain.null > 0.0);
        Arc::new(Schema::new(self.columns.iter().zip(&self.domains).map(field).collect::<Vec<_>>()))
    }

    /// A random row.
    pub(crate) fn row(&self, rng: &mut ChaCha8Rng) -> Row {
        self.domains.iter().map(|domain| domain.value(rng)).collect()
    }
}

impl Domain {
    /// A random value.
    pub(crate) fn value(&self, rng: &mut ChaCha8Rng) -> Value {
        if self.null > 0.0 && rng.random_bool(self.null) {
            Value::Null
        } else if rng.random_bool(self.hot) {
            self.values[0].clone()
        } else {
            self.values.choose(rng).expect("a domain has values").clone()
        }
    }
}

/// A random table. Every table has a key column `k` whose values also occur in the others.
pub(crate) fn table(rng: &mut ChaCha8Rng, name: String, big: bool) -> Table {
    let mut columns = Vec::new();
    let mut domains = Vec::new();
    let key_type = *[SqlType::BigInt, SqlType::BigInt, SqlType::Int, SqlType::SmallInt, SqlType::Text]
        .choose(rng)
        .expect("not empty");
    let names = ["k", "a", "b", "c", "d", "e"];
    for index in 0..rng.random_range(2..=names.len()) {
        let sql_type = if index == 0 { key_type } else { any_type(rng) };
        let (domain, facts) = if index == 0 { key_domain(rng, sql_type, big) } else { domain(rng, sql_type) };
        let samples = domain.values.iter().take(4).filter_map(|value| literal(value, sql_type)).collect();
        columns.push(Column { name: names[index].to_owned(), sql_type, facts, samples });
        domains.push(domain);
    }
    let rows_max = if big { rng.random_range(150..400) } else { rng.random_range(1..28) };
    Table { name, columns, domains, append_only: rng.random_bool(0.2), rows_max }
}

/// A value in SQL, where that is simple.
fn literal(value: &Value, sql_type: SqlType) -> Option<String> {
    match (value, sql_type) {
        (Value::Int(value), _) if value.unsigned_abs() < 1 << 40 => Some(format!("({value})")),
        (Value::Text(text), _) => Some(format!("'{}'", text.replace('\'', "''"))),
        (Value::Boolean(value), _) => Some(value.to_string()),
        (Value::Timestamp(micros), _) => Some(format!("to_timestamp_micros({micros})")),
        (Value::Decimal(value, scale), SqlType::Decimal(..)) if *scale == 2 && *value >= 0 => {
            Some(format!("CAST({}.{:02} AS {})", value / 100, value % 100, sql_type.name()))
        }
        _ => None,
    }
}

fn any_type(rng: &mut ChaCha8Rng) -> SqlType {
    match rng.random_range(0..23) {
        0..2 => SqlType::Boolean,
        2..4 => SqlType::SmallInt,
        4..7 => SqlType::Int,
        7..10 => SqlType::BigInt,
        10..13 => {
            let (precision, scale) = *[(5, 2), (12, 2), (18, 4), (10, 0)].choose(rng).expect("not empty");
            SqlType::Decimal(precision, scale)
        }
        13..16 => SqlType::Double,
        16..19 => SqlType::Text,
        19..20 => SqlType::Date,
        20..22 => SqlType::Timestamp,
        _ => SqlType::Interval,
    }
}

fn shaped(rng: &mut ChaCha8Rng, values: Vec<Value>, facts: Facts) -> (Domain, Facts) {
    let hot = if rng.random_bool(0.4) { rng.random_range(0.1..0.8) } else { 0.0 };
    let null = if rng.random_bool(0.5) { rng.random_range(0.05..0.4) } else { 0.0 };
    let count = values.len() as f64;
    let first: f64 = hot + (1.0 - hot) / count;
    let repeat = first * first + (count - 1.0) * ((1.0 - hot) / count).powi(2);
    (Domain { values, hot, null }, Facts { repeat, ..facts })
}

fn key_domain(rng: &mut ChaCha8Rng, sql_type: SqlType, big: bool) -> (Domain, Facts) {
    let count = if big { rng.random_range(20..200) } else { rng.random_range(2..9) };
    let values = (0..count)
        .map(|key| if sql_type == SqlType::Text { Value::text(key.to_string()) } else { Value::Int(key) })
        .collect();
    let range = sql_type.is_int().then_some((0, i128::from(count)));
    shaped(rng, values, Facts { range, ..Facts::default() })
}

fn domain(rng: &mut ChaCha8Rng, sql_type: SqlType) -> (Domain, Facts) {
    let count = *[1, 3, 3, 5, 8, 40].choose(rng).expect("not empty");
    match sql_type {
        SqlType::Boolean => shaped(rng, vec![Value::Boolean(true), Value::Boolean(false)], Facts::default()),
        SqlType::SmallInt | SqlType::Int | SqlType::BigInt => ints(rng, sql_type, count),
        SqlType::Decimal(_, scale) => decimals(rng, sql_type, scale, count),
        SqlType::Double => doubles(rng, count),
        SqlType::Text => {
            let values = (0..count).map(|_| Value::text(text(rng))).collect();
            shaped(rng, values, Facts::default())
        }
        SqlType::Date => {
            let tame = rng.random_bool(0.9);
            let mut values: Vec<Value> = (0..count).map(|_| Value::Date(rng.random_range(14_600..15_400))).collect();
            values.push(Value::Date(if tame { -1 } else { 2_932_896 }));
            shaped(rng, values, Facts { tame, ..Facts::default() })
        }
        SqlType::Timestamp => {
            let mut values: Vec<Value> = (0..count).map(|_| Value::Timestamp(timestamp(rng))).collect();
            values.push(Value::Timestamp(-1));
            shaped(rng, values, Facts { tame: true, ..Facts::default() })
        }
        SqlType::Interval => {
            let values = (0..count).map(|_| interval(rng)).collect();
            shaped(rng, values, Facts { tame: true, ..Facts::default() })
        }
    }
}

fn ints(rng: &mut ChaCha8Rng, sql_type: SqlType, count: usize) -> (Domain, Facts) {
    let (low, high) = sql_type.limits().expect("an integer");
    let (low, high) = (i64::try_from(low).expect("fits"), i64::try_from(high).expect("fits"));
    match rng.random_range(0..10) {
        0 => {
            let values = [0, low, high, 1, -1, high - 1].map(Value::Int).to_vec();
            shaped(rng, values, Facts { range: sql_type.limits(), ..Facts::default() })
        }
        1..4 => {
            let values = (0..count).map(|_| Value::Int(rng.random_range(-1_000..=1_000))).collect();
            shaped(rng, values, Facts { range: Some((-1_000, 1_000)), ..Facts::default() })
        }
        _ => {
            let from = if rng.random_bool(0.5) { -3 } else { 0 };
            let values = (0..count).map(|_| Value::Int(rng.random_range(from..=6))).collect();
            shaped(rng, values, Facts { range: Some((from.into(), 6)), ..Facts::default() })
        }
    }
}

fn decimals(rng: &mut ChaCha8Rng, sql_type: SqlType, scale: i8, count: usize) -> (Domain, Facts) {
    let (low, high) = sql_type.limits().expect("a decimal");
    if rng.random_bool(0.1) {
        let values = [0, low, high, 1, -1].map(|value| Value::Decimal(value, scale)).to_vec();
        return shaped(rng, values, Facts { range: sql_type.limits(), ..Facts::default() });
    }
    let limit = *[100, 2_000, 99_999].choose(rng).expect("not empty");
    let values = (0..count).map(|_| Value::Decimal(rng.random_range(-limit / 10..=limit), scale)).collect();
    shaped(rng, values, Facts { range: Some((-limit / 10, limit)), ..Facts::default() })
}

fn doubles(rng: &mut ChaCha8Rng, count: usize) -> (Domain, Facts) {
    let mut values: Vec<Value> =
        (0..count).map(|_| Value::double(f64::from(rng.random_range(-400..=2_000)) / 8.0)).collect();
    let exact = Exact::new(8, 3);
    match rng.random_range(0..10) {
        0 => {
            let some = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 1e308, 0.1, 1e16, 1.0];
            values.extend(some.map(Value::double));
            shaped(rng, values, Facts::default())
        }
        1 | 2 => {
            values.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0].map(Value::double));
            shaped(rng, values, Facts { exact, ..Facts::default() })
        }
        _ => shaped(rng, values, Facts { exact, tame: true, ..Facts::default() }),
    }
}

/// A text: empty, of many alphabets, with shared beginnings, with blanks, quotes and digits.
pub(crate) fn text(rng: &mut ChaCha8Rng) -> String {
    const PIECES: [&str; 20] = [
        "",
        "a",
        "A",
        "ab",
        "abc",
        "abd",
        "ä",
        "äß",
        "日本",
        "🙂",
        " x ",
        "12",
        "-7",
        "3.5",
        "x,y",
        "O'Neil",
        "%_",
        "\\",
        "true",
        "2011-02-03",
    ];
    match rng.random_range(0..8) {
        0 => format!("a rather long beginning that all of them share {}", rng.random_range(0..9)),
        1 => (0..rng.random_range(0..5)).map(|_| *PIECES.choose(rng).expect("not empty")).collect(),
        _ => (*PIECES.choose(rng).expect("not empty")).to_owned(),
    }
}

/// Microseconds somewhere between 2010 and 2012, often the same.
pub(crate) fn timestamp(rng: &mut ChaCha8Rng) -> i64 {
    let second = 1_262_304_000 + rng.random_range(0..700) * 86_400 + rng.random_range(0..24) * 3_600;
    let rest = if rng.random_bool(0.3) { rng.random_range(0..3_600_000_000) } else { 0 };
    second * 1_000_000 + rest
}

/// An interval of one unit.
pub(crate) fn interval(rng: &mut ChaCha8Rng) -> Value {
    let count = rng.random_range(-3..6);
    match rng.random_range(0..3) {
        0 => Value::Interval(count, 0, 0),
        1 => Value::Interval(0, count, 0),
        _ => Value::Interval(0, 0, i64::from(count) * 3_600_000_000_000),
    }
}
