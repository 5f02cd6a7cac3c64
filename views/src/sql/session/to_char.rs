//! `to_char(timestamp | date, pattern)` with the patterns of Postgres.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::types::{sql_name, timestamptz};
use crate::sql::error::SqlError;

/// Puts our `to_char` in the place of DataFusion's, whose patterns are others.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    state.register_udf(Arc::new(ScalarUDF::from(ToChar {
        signature: Signature::user_defined(Volatility::Immutable),
    })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    signature: Signature,
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        "to_char"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, _] = arg_types else { return plan_err!("to_char needs a time and a pattern") };
        match value {
            DataType::Date32 => Ok(vec![DataType::Date32, DataType::Utf8]),
            DataType::Timestamp(..) | DataType::Date64 | DataType::Null => Ok(vec![timestamptz(), DataType::Utf8]),
            other => Err(DataFusionError::External(Box::new(
                SqlError::unsupported(format!("to_char of a value of type {}", sql_name(other)))
                    .hint("it takes a TIMESTAMPTZ or a DATE; turn other values into text with x::TEXT"),
            ))),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let [value, pattern] = args.args.as_slice() else { return plan_err!("to_char needs a time and a pattern") };
        let rows = if scalars { 1 } else { args.number_rows };
        let value = value.to_array(rows)?;
        let constant = match pattern {
            ColumnarValue::Scalar(scalar) => match scalar.try_as_str() {
                Some(Some(text)) => Some(parse(text)?),
                _ => Some(Vec::new()),
            },
            ColumnarValue::Array(_) => None,
        };
        let patterns = pattern.to_array(rows)?;
        let patterns = patterns.as_string::<i32>();
        let mut out = StringBuilder::new();
        let mut buffer = String::new();
        for row in 0..rows {
            if patterns.is_null(row) || value.is_null(row) {
                out.append_null();
                continue;
            }
            let time = time_at(value.as_ref(), row)?;
            buffer.clear();
            match &constant {
                Some(pieces) => show(pieces, time, &mut buffer)?,
                None => show(&parse(patterns.value(row))?, time, &mut buffer)?,
            }
            out.append_value(&buffer);
        }
        let out: StringArray = out.finish();
        if scalars {
            Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&out, 0)?))
        } else {
            Ok(ColumnarValue::Array(Arc::new(out)))
        }
    }
}

fn time_at(value: &dyn Array, row: usize) -> Result<NaiveDateTime> {
    let time = match value.data_type() {
        DataType::Date32 => date32_to_datetime(value.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            timestamp_us_to_datetime(value.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        _ => None,
    };
    time.ok_or_else(|| exec_datafusion_err!("the time is out of range for to_char"))
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { field: Field, padded: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year(usize),
    IsoYear(usize),
    Century,
    Quarter,
    Month,
    MonthName(Case, bool),
    DayOfYear,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    DayName(Case, bool),
    WeekOfYear,
    WeekOfMonth,
    IsoWeek,
    JulianDay,
    Hour12,
    Hour24,
    Minute,
    Second,
    SecondOfDay,
    Millisecond,
    Microsecond,
    Meridiem { upper: bool, dots: bool },
    Zone { upper: bool },
    Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Upper,
    Title,
    Lower,
}

/// The patterns, longer ones before their beginnings. Names of months and days come in three spellings.
const FIELDS: &[(&str, Field)] = &[
    ("YYYY", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("Y", Field::Year(1)),
    ("IYYY", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("IDDD", Field::DayOfYear),
    ("ID", Field::IsoDayOfWeek),
    ("IW", Field::IsoWeek),
    ("I", Field::IsoYear(1)),
    ("CC", Field::Century),
    ("Q", Field::Quarter),
    ("MM", Field::Month),
    ("MI", Field::Minute),
    ("MS", Field::Millisecond),
    ("DDD", Field::DayOfYear),
    ("DD", Field::Day),
    ("D", Field::DayOfWeek),
    ("WW", Field::WeekOfYear),
    ("W", Field::WeekOfMonth),
    ("J", Field::JulianDay),
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("SSSSS", Field::SecondOfDay),
    ("SSSS", Field::SecondOfDay),
    ("SS", Field::Second),
    ("US", Field::Microsecond),
    ("TZH", Field::Offset),
    ("OF", Field::Offset),
    ("TZ", Field::Zone { upper: true }),
    ("tz", Field::Zone { upper: false }),
    ("A.M.", Field::Meridiem { upper: true, dots: true }),
    ("P.M.", Field::Meridiem { upper: true, dots: true }),
    ("a.m.", Field::Meridiem { upper: false, dots: true }),
    ("p.m.", Field::Meridiem { upper: false, dots: true }),
    ("AM", Field::Meridiem { upper: true, dots: false }),
    ("PM", Field::Meridiem { upper: true, dots: false }),
    ("am", Field::Meridiem { upper: false, dots: false }),
    ("pm", Field::Meridiem { upper: false, dots: false }),
];

const NAMES: &[(&str, Field)] = &[
    ("MONTH", Field::MonthName(Case::Upper, true)),
    ("Month", Field::MonthName(Case::Title, true)),
    ("month", Field::MonthName(Case::Lower, true)),
    ("MON", Field::MonthName(Case::Upper, false)),
    ("Mon", Field::MonthName(Case::Title, false)),
    ("mon", Field::MonthName(Case::Lower, false)),
    ("DAY", Field::DayName(Case::Upper, true)),
    ("Day", Field::DayName(Case::Title, true)),
    ("day", Field::DayName(Case::Lower, true)),
    ("DY", Field::DayName(Case::Upper, false)),
    ("Dy", Field::DayName(Case::Title, false)),
    ("dy", Field::DayName(Case::Lower, false)),
];

/// Patterns that Postgres knows and we refuse rather than print them as they are.
const UNKNOWN: &[&str] =
    &["TM", "SP", "FX", "BC", "B.C.", "AD", "A.D.", "RM", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6"];

fn parse(pattern: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = pattern;
    let mut padded = true;
    while let Some(next) = rest.chars().next() {
        if next == '"' {
            let quoted = &rest[1..];
            let end = quoted.find('"').unwrap_or(quoted.len());
            text.push_str(&quoted[..end]);
            rest = quoted.get(end + 1..).unwrap_or_default();
        } else if let Some(after) = strip(rest, "FM") {
            padded = false;
            rest = after;
        } else if let Some((field, after)) = field(rest) {
            if let Some(suffix) = ["TH", "th"].iter().find(|suffix| after.starts_with(**suffix)) {
                return Err(exec_datafusion_err!("to_char does not know the suffix {suffix}"));
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Field { field, padded: std::mem::replace(&mut padded, true) });
            rest = after;
        } else if let Some(unknown) = UNKNOWN.iter().find(|unknown| rest.starts_with(**unknown)) {
            return Err(exec_datafusion_err!("to_char does not know the pattern {unknown}"));
        } else {
            let (escaped, after) = match rest.strip_prefix('\\') {
                Some(after) if after.starts_with('"') => ('"', &after[1..]),
                _ => (next, &rest[next.len_utf8()..]),
            };
            text.push(escaped);
            rest = after;
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn field(text: &str) -> Option<(Field, &str)> {
    // Names and the marks of forenoon and zone are spelt as they are to be printed; for numbers case does not matter.
    let exact = |(name, field): &(&str, Field)| text.strip_prefix(*name).map(|rest| (*field, rest));
    let any_case = |(name, field): &(&str, Field)| {
        let spelt = matches!(field, Field::Meridiem { .. } | Field::Zone { .. });
        if spelt { exact(&(*name, *field)) } else { strip(text, name).map(|rest| (*field, rest)) }
    };
    NAMES.iter().find_map(exact).or_else(|| FIELDS.iter().find_map(any_case))
}

fn show(pieces: &[Piece], time: NaiveDateTime, out: &mut String) -> Result<()> {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Field { field, padded } => show_field(*field, *padded, time, out)
                .map_err(|_| exec_datafusion_err!("the time is out of range for to_char"))?,
        }
    }
    Ok(())
}

fn show_field(field: Field, padded: bool, time: NaiveDateTime, out: &mut String) -> std::fmt::Result {
    let mut number = |value: i64, width: usize| {
        if padded { write!(out, "{value:0width$}") } else { write!(out, "{value}") }
    };
    let short = |year: i32, digits: usize| match digits {
        1 => year.rem_euclid(10),
        2 => year.rem_euclid(100),
        3 => year.rem_euclid(1000),
        _ => year,
    };
    match field {
        Field::Year(digits) => number(i64::from(short(time.year(), digits)), digits),
        Field::IsoYear(digits) => number(i64::from(short(time.iso_week().year(), digits)), digits),
        Field::Century => number(i64::from((time.year() - 1).div_euclid(100) + 1), 2),
        Field::Quarter => number(i64::from((time.month() - 1) / 3 + 1), 1),
        Field::Month => number(i64::from(time.month()), 2),
        Field::DayOfYear => number(i64::from(time.ordinal()), 3),
        Field::Day => number(i64::from(time.day()), 2),
        Field::DayOfWeek => number(i64::from(time.weekday().number_from_sunday()), 1),
        Field::IsoDayOfWeek => number(i64::from(time.weekday().number_from_monday()), 1),
        Field::WeekOfYear => number(i64::from((time.ordinal() - 1) / 7 + 1), 2),
        Field::WeekOfMonth => number(i64::from((time.day() - 1) / 7 + 1), 1),
        Field::IsoWeek => number(i64::from(time.iso_week().week()), 2),
        // Chrono counts days from the first of January of the year 1, astronomers from 4713 BC.
        Field::JulianDay => number(i64::from(time.num_days_from_ce()) + 1_721_425, 1),
        Field::Hour12 => number(i64::from(time.hour12().1), 2),
        Field::Hour24 => number(i64::from(time.hour()), 2),
        Field::Minute => number(i64::from(time.minute()), 2),
        Field::Second => number(i64::from(time.second()), 2),
        Field::SecondOfDay => number(i64::from(time.num_seconds_from_midnight()), 1),
        Field::Millisecond => number(i64::from(time.nanosecond() / 1_000_000), 3),
        Field::Microsecond => number(i64::from(time.nanosecond() / 1_000), 6),
        Field::MonthName(case, full) => {
            name(time.format(if full { "%B" } else { "%b" }).to_string(), case, full && padded, out)
        }
        Field::DayName(case, full) => {
            name(time.format(if full { "%A" } else { "%a" }).to_string(), case, full && padded, out)
        }
        Field::Meridiem { upper, dots } => {
            let mark = match (time.hour12().0, dots) {
                (false, false) => "AM",
                (true, false) => "PM",
                (false, true) => "A.M.",
                (true, true) => "P.M.",
            };
            out.push_str(&if upper { mark.to_owned() } else { mark.to_lowercase() });
            Ok(())
        }
        Field::Zone { upper } => {
            out.push_str(if upper { "UTC" } else { "utc" });
            Ok(())
        }
        Field::Offset => {
            out.push_str("+00");
            Ok(())
        }
    }
}

/// Full names are padded to the longest, as Postgres does.
fn name(name: String, case: Case, padded: bool, out: &mut String) -> std::fmt::Result {
    let name = match case {
        Case::Upper => name.to_uppercase(),
        Case::Title => name,
        Case::Lower => name.to_lowercase(),
    };
    if padded { write!(out, "{name:<9}") } else { write!(out, "{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_postgres() {
        let time = chrono::NaiveDate::from_ymd_opt(2011, 12, 9).unwrap().and_hms_micro_opt(15, 4, 5, 60_708).unwrap();
        for (pattern, expected) in [
            ("YYYY-MM-DD", "2011-12-09"),
            ("yyyy-mm-dd hh24:mi:ss", "2011-12-09 15:04:05"),
            ("HH24:MI:SS.MS", "15:04:05.060"),
            ("HH12:MI AM", "03:04 PM"),
            ("HH:MI p.m.", "03:04 p.m."),
            ("US", "060708"),
            ("Mon DD, YY", "Dec 09, 11"),
            ("Month|", "December |"),
            ("FMMonth FMDD", "December 9"),
            ("Day|Dy|DY", "Friday   |Fri|FRI"),
            ("FMday", "friday"),
            ("YYYY-\"Q\"Q", "2011-Q4"),
            ("YYYY-\"W\"IW ID", "2011-W49 5"),
            ("IYYY-IW", "2011-49"),
            ("DDD WW W D J CC", "343 49 2 6 2455905 21"),
            ("SSSSS TZ OF", "54245 UTC +00"),
            ("", ""),
            ("at: é", "at: é"),
        ] {
            let mut out = String::new();
            show(&parse(pattern).unwrap(), time, &mut out).unwrap();
            assert_eq!(out, expected, "{pattern}");
        }
        assert!(parse("DDth").is_err());
        assert!(parse("RM").is_err());
    }
}
