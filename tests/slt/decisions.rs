//! Where we answer something else on purpose, or nothing: a short list of reasons. What is not here is wrong.

use super::judge::Verdict;

/// How times and intervals differ.
pub(super) const TIMES: &str =
    "times have microseconds and are in UTC, there is one type of dates and one of intervals";

/// Settings that change what queries mean, and what they are here.
const SETTINGS: [(&str, &str); 5] = [
    ("default_null_ordering", "nulls_max"),
    ("enable_ident_normalization", "true"),
    ("parse_float_as_decimal", "true"),
    ("sql_parser.dialect", "postgresql"),
    ("time_zone", "+00:00"),
];

/// Subqueries of suites with a limit that many choices of rows fulfil.
const LOOSE_LIMITS: [&str; 2] =
    ["FROM ordered_table ORDER BY b desc, d desc OFFSET 1 LIMIT 4", "(select * from topk limit 8)"];

/// Rows of suites that tie in the order of a window.
const TIED: [(&str, &str); 2] = [("annotated_data_", "(ORDER BY ts "), ("(3,6), (3, NULL)", "ORDER BY column1")];

/// Why a record is not asked at all.
pub(super) fn skipped(sql: &str) -> Option<&'static str> {
    let sql = sql.to_lowercase();
    if ["arrow_typeof", "arrow_field", "arrow_metadata"].iter().any(|name| sql.contains(name)) {
        return Some("names of another program's types");
    }
    if sql.contains("information_schema") {
        return Some("the catalog of another program");
    }
    foreign_rows(&sql)
}

/// Why the rows that a statement makes would be others here.
pub(super) fn foreign_rows(sql: &str) -> Option<&'static str> {
    const CASTS: [&str; 2] = ["::timestamp::bigint", "cast(column1 as timestamp)"];
    CASTS.iter().any(|cast| sql.contains(cast)).then_some("times as numbers, which count microseconds here")
}

/// Why queries mean something else after a SET.
pub(super) fn settings(before: Option<&'static str>, sql: &str) -> Option<&'static str> {
    let sql = sql.to_lowercase();
    let Some((_, ours)) = SETTINGS.iter().find(|(name, _)| sql.contains(name)) else { return before };
    let value = sql.rsplit('=').next().unwrap_or_default().trim().trim_matches(['\'', '"', ';', ' ']).to_owned();
    (value != *ours).then_some("a setting that changes what queries mean")
}

/// What it means that a record is answered although it expects an error.
pub(super) fn answered(sql: &str) -> Verdict {
    let words: Vec<&str> = sql.split_whitespace().collect();
    Verdict::Failed(format!("an error was expected: {}", words.join(" ")))
}

/// The verdict, or the reason why we differ.
pub(super) fn decided(sql: &str, verdict: Verdict) -> Verdict {
    match &verdict {
        Verdict::Failed(message) if message.to_lowercase().contains("overflow") => {
            Verdict::Differs("arithmetic is checked")
        }
        Verdict::Wrong(_) if TIED.iter().any(|(rows, order)| sql.contains(rows) && sql.contains(order)) => {
            Verdict::Differs("windows over rows that tie in their order")
        }
        Verdict::Wrong(_) if sql.contains("OR id NOT IN (SELECT id FROM inner_table2)") => {
            Verdict::Differs("NOT IN is unknown for NULL under OR too")
        }
        Verdict::Wrong(_) if sql.contains("NULLIF") && sql.contains("AVG") => {
            Verdict::Differs("NULLIF has the type that its arguments have in common, averages are NUMERIC")
        }
        Verdict::Wrong(_) if LOOSE_LIMITS.iter().any(|limit| sql.contains(limit)) => {
            Verdict::Differs("a limit inside whose rows tie in the order, or have none")
        }
        Verdict::Wrong(_) if sql.contains("FROM sales_global") && sql.contains("ORDER BY ts") => {
            Verdict::Differs("aggregates over rows that tie in their order")
        }
        Verdict::Wrong(_) if ["LAST_VALUE(column1)", "LAST_VALUE(x)"].iter().any(|last| sql.contains(last)) => {
            Verdict::Differs("the last of rows without an order")
        }
        Verdict::Wrong(_) if sql.contains("'Date64'") && sql.contains("approx_distinct") => {
            Verdict::Differs("there is one type of dates")
        }
        Verdict::Wrong(_) if sql.contains("'-NaN'") || sql.contains("test_float") => {
            Verdict::Differs("there is one NaN, greater than all numbers")
        }
        _ => verdict,
    }
}

/// Whether lines differ only in how times are written: zone, digits beyond microseconds, a date with the time of
/// midnight.
pub(super) fn same_times(expected: &[String], got: &[String]) -> bool {
    let plain = |lines: &[String]| -> Vec<String> {
        let line = |line: &String| {
            let line =
                ["0 days ", "0 hours ", "0 mins "].iter().fold(line.clone(), |line, zero| line.replace(zero, ""));
            line.split(' ').map(time).collect::<Vec<_>>().join(" ")
        };
        let mut lines: Vec<String> = lines.iter().map(line).collect();
        lines.sort_unstable();
        lines
    };
    expected.len() == got.len() && plain(expected) == plain(got)
}

/// A word, as a time where it is one.
fn time(word: &str) -> String {
    let is_time =
        word.is_ascii() && word.len() >= 19 && &word[4..5] == "-" && &word[10..11] == "T" && &word[13..14] == ":";
    if !is_time {
        // The seconds of an interval.
        let number = word.trim_start_matches('[');
        return match number.split_once('.') {
            Some((_, digits)) if digits.len() == 9 && number.parse::<f64>().is_ok() => {
                word.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => word.to_owned(),
        };
    }
    let (seconds, rest) = word.split_at(19);
    let digits: String = rest.chars().skip(1).take_while(char::is_ascii_digit).take(6).collect();
    let digits = if rest.starts_with('.') { digits.trim_end_matches('0') } else { "" };
    match (seconds.strip_suffix("T00:00:00"), digits) {
        (Some(date), "") => date.to_owned(),
        _ => format!("{seconds}.{digits}"),
    }
}
