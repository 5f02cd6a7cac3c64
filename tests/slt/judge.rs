//! Whether what came out is what the file says.

use arrow::datatypes::{DataType, SchemaRef};
use sqllogictest::SortMode;

use super::record::{Dialect, Expect};
use super::{datafusion, decisions, sqlite};
use crate::engine::rows::Row;

/// How far two floating-point results may be apart, of their size.
const TOLERANCE: f64 = 1e-9;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// Not supported, with the message.
    Refused(String),
    /// The answer is another one: what was expected and got.
    Wrong(String),
    /// There is no answer for another reason.
    Failed(String),
    /// We answer something else on purpose.
    Differs(&'static str),
    /// Nothing to be asked here.
    Skipped(&'static str),
}

/// Rows as texts.
pub(super) type Texts = Vec<Vec<String>>;

/// The texts of rows.
pub(super) fn texts<'a>(
    dialect: Dialect,
    letters: &[char],
    schema: &SchemaRef,
    rows: impl Iterator<Item = &'a Row>,
) -> Texts {
    let letter = |index: usize| letters.get(index).copied().unwrap_or('?');
    rows.map(|row| {
        let cells = row.iter().zip(schema.fields()).enumerate();
        cells
            .map(|(index, (value, field))| match dialect {
                Dialect::Sqlite => sqlite::cell(letter(index), value, field.data_type()),
                Dialect::DataFusion => datafusion::cell(value, field.data_type()),
            })
            .collect()
    })
    .collect()
}

/// Whether a query's answer can only be compared in its order.
pub(super) fn needs_order(expect: &Expect) -> bool {
    expect.sort == SortMode::NoSort && sqlite::hashed(&expect.lines).is_some()
}

/// Compares an answer with what the file says; `ordered` says whether the rows have the query's order.
pub(super) fn compare(expect: &Expect, schema: &SchemaRef, rows: &Texts, ordered: bool) -> Verdict {
    let sort = if ordered || expect.sort != SortMode::NoSort { expect.sort } else { SortMode::RowSort };
    if let Some((count, hash)) = sqlite::hashed(&expect.lines) {
        let values = values(rows.clone(), sort);
        return match values.len() == count && sqlite::hash(&values) == hash {
            true => Verdict::Passed,
            false => Verdict::Wrong(said(&expect.lines, &lines_of(rows))),
        };
    }
    let (mut expected, mut got) = if expect.value_wise {
        let width = expect.letters.len().max(1);
        let expected = expect.lines.chunks(width).map(<[String]>::to_vec).collect();
        (values(expected, sort), values(rows.clone(), sort))
    } else {
        (expect.lines.iter().map(|line| plain(line)).collect(), lines_of(rows))
    };
    if !expect.value_wise && sort == SortMode::ValueSort {
        let words = |lines: Vec<String>| lines.iter().flat_map(|l| l.split(' ').map(str::to_owned)).collect();
        (expected, got) = (words(expected), words(got));
    }
    if sort != SortMode::NoSort {
        expected.sort_unstable();
        got.sort_unstable();
    }
    if expected == got {
        return Verdict::Passed;
    }
    match near(&expected, &got, schema) {
        Some(0) => Verdict::Passed,
        Some(_) => Verdict::Differs("exact decimals where the file has floating point"),
        None if decisions::same_times(&expected, &got) => Verdict::Differs(decisions::TIMES),
        None => Verdict::Wrong(said(&expected, &got)),
    }
}

/// Values a line each, sorted as the file asks.
fn values(mut rows: Texts, sort: SortMode) -> Vec<String> {
    if sort == SortMode::RowSort {
        rows.sort_unstable();
    }
    let mut values: Vec<String> = rows.into_iter().flatten().collect();
    if sort == SortMode::ValueSort {
        values.sort_unstable();
    }
    values
}

fn lines_of(rows: &Texts) -> Vec<String> {
    rows.iter().map(|row| plain(&row.join(" "))).collect()
}

/// A line with single blanks.
pub(super) fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether lines differ in the last digits of numbers only: how many differ in what a decimal of ours cuts off.
fn near(expected: &[String], got: &[String], schema: &SchemaRef) -> Option<usize> {
    if expected.len() != got.len() {
        return None;
    }
    let scale = schema.fields().iter().filter_map(|field| match field.data_type() {
        DataType::Decimal128(_, scale) => Some(i32::from(*scale)),
        _ => None,
    });
    let cut = scale.min().map(|scale| 10f64.powi(-scale));
    let floating = schema.fields().iter().any(|field| field.data_type().is_floating());
    let mut cuts = 0;
    for (expected, got) in expected.iter().zip(got) {
        let (expected, got): (Vec<&str>, Vec<&str>) = (expected.split(' ').collect(), got.split(' ').collect());
        if expected.len() != got.len() {
            return None;
        }
        for (expected, got) in expected.iter().zip(got) {
            let (Ok(a), Ok(b)) = (expected.parse::<f64>(), got.parse::<f64>()) else {
                if *expected == got {
                    continue;
                }
                return None;
            };
            let apart = (a - b).abs();
            let close = a == b || floating && apart <= TOLERANCE * a.abs().max(b.abs());
            if !close && cut.is_none_or(|cut| apart > cut) {
                return None;
            }
            cuts += usize::from(!close);
        }
    }
    Some(cuts)
}

fn said(expected: &[String], got: &[String]) -> String {
    const LINES: usize = 12;
    let some = |lines: &[String]| {
        let shown: Vec<&str> = lines.iter().take(LINES).map(String::as_str).collect();
        let more = if lines.len() > LINES { format!("\n      … {} lines", lines.len()) } else { String::new() };
        format!("\n      {}{more}", shown.join("\n      "))
    };
    format!("    expected:{}\n    got:{}", some(expected), some(got))
}
