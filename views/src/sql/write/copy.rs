//! The lines behind `COPY … FROM STDIN`: CSV after RFC 4180, or Postgres' text with tabs and backslashes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;

use super::assign::{bad_value, complete};
use super::{Table, type_name};
use crate::sql::error::SqlError;
use crate::sql::statement::write::Copy;

/// One record: its first line, counted from 1, and its fields.
type Record = (usize, Vec<Option<String>>);

/// The rows that the lines stand for.
pub(super) fn rows(copy: &Copy, data: &str, table: &Table, targets: &[usize]) -> Result<RecordBatch, SqlError> {
    let mut records = if copy.csv { csv(copy, data)? } else { text(copy, data)? };
    if copy.header && !records.is_empty() {
        records.remove(0);
    }
    for (line, fields) in &records {
        if let Some(missing) = targets.get(fields.len()) {
            let name = table.schema.field(*missing).name();
            return Err(in_line(*line, SqlError::invalid(format!("missing data for column \"{name}\""))));
        }
        if fields.len() > targets.len() {
            return Err(in_line(*line, SqlError::invalid("extra data after last expected column")));
        }
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(targets.len());
    for (index, target) in targets.iter().enumerate() {
        let texts: StringArray = records.iter().map(|(_, fields)| fields[index].as_deref()).collect();
        columns.push(column(table, *target, texts, &records)?);
    }
    let whole = complete(table, targets, &columns, records.len());
    whole.map_err(|error| missing_value(table, targets, &columns, &records).unwrap_or(error))
}

/// The values of one column. The first text that is none is named with its line.
fn column(table: &Table, target: usize, texts: StringArray, records: &[Record]) -> Result<ArrayRef, SqlError> {
    let data_type = table.schema.field(target).data_type();
    if *data_type == DataType::Utf8 {
        return Ok(Arc::new(texts));
    }
    let trimmed: StringArray = texts.iter().map(|text| text.map(str::trim)).collect();
    // What is no value becomes NULL, and is found by that.
    let values = cast_with_options(&trimmed, data_type, &CastOptions { safe: true, ..CastOptions::default() });
    let Ok(values) = values else {
        let message = format!("values of type {} cannot be copied", type_name(data_type));
        return Err(SqlError::unsupported(message).hint("copy into a TEXT column and convert with INSERT … SELECT"));
    };
    match (0..texts.len()).find(|row| values.is_null(*row) && texts.is_valid(*row)) {
        None => Ok(values),
        Some(row) => {
            let message = format!("invalid input syntax for type {}: \"{}\"", type_name(data_type), texts.value(row));
            Err(in_line(records[row].0, bad_value(table, target, &message)))
        }
    }
}

/// The first NULL in a column that must not have any, with its line.
fn missing_value(table: &Table, targets: &[usize], columns: &[ArrayRef], records: &[Record]) -> Option<SqlError> {
    targets.iter().zip(columns).find_map(|(target, column)| {
        let field = table.schema.field(*target);
        let row = (0..column.len()).find(|row| !field.is_nullable() && column.is_null(*row))?;
        let message = format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            field.name(),
            table.name
        );
        Some(in_line(records[row].0, SqlError::invalid(message)))
    })
}

fn in_line(line: usize, error: SqlError) -> SqlError {
    SqlError { message: format!("{}, in line {line} of the data", error.message), ..error }
}

/// Lines of fields with a delimiter between, NULL as `\N`, and what a backslash says.
fn text(copy: &Copy, data: &str) -> Result<Vec<Record>, SqlError> {
    let mut records = Vec::new();
    for (index, line) in data.lines().enumerate() {
        if line == "\\." {
            break;
        }
        let (mut fields, mut field, mut raw) = (Vec::new(), String::new(), String::new());
        let mut chars = line.chars().peekable();
        let mut close = |field: &mut String, raw: &mut String| {
            let null = *raw == copy.null;
            fields.push((!null).then(|| std::mem::take(field)));
            field.clear();
            raw.clear();
        };
        while let Some(char) = chars.next() {
            if char == copy.delimiter {
                close(&mut field, &mut raw);
                continue;
            }
            raw.push(char);
            if char != '\\' {
                field.push(char);
                continue;
            }
            let Some(escaped) = chars.next() else {
                return Err(in_line(index + 1, SqlError::invalid("a backslash at the end of the line")));
            };
            raw.push(escaped);
            field.push(match escaped {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                other => other,
            });
        }
        close(&mut field, &mut raw);
        records.push((index + 1, fields));
    }
    Ok(records)
}

/// Records with fields in quotes or without; a field without quotes that is the text for NULL is NULL.
fn csv(copy: &Copy, data: &str) -> Result<Vec<Record>, SqlError> {
    let mut records = Vec::new();
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let (mut line, mut first_line, mut in_quotes) = (1, 1, false);
    let mut chars = data.chars().peekable();
    let close = |field: &mut String, quoted: &mut bool, fields: &mut Vec<Option<String>>| {
        let null = !std::mem::take(quoted) && *field == copy.null;
        let text = std::mem::take(field);
        fields.push((!null).then_some(text));
    };
    while let Some(char) = chars.next() {
        if in_quotes {
            match char {
                '"' if chars.peek() == Some(&'"') => {
                    chars.next();
                    field.push('"');
                }
                '"' => in_quotes = false,
                other => {
                    line += usize::from(other == '\n');
                    field.push(other);
                }
            }
        } else if char == '"' {
            (in_quotes, quoted) = (true, true);
        } else if char == copy.delimiter {
            close(&mut field, &mut quoted, &mut fields);
        } else if char == '\n' || (char == '\r' && chars.peek() == Some(&'\n')) {
            if char == '\r' {
                chars.next();
            }
            close(&mut field, &mut quoted, &mut fields);
            records.push((first_line, std::mem::take(&mut fields)));
            line += 1;
            first_line = line;
        } else {
            field.push(char);
        }
    }
    if in_quotes {
        return Err(in_line(first_line, SqlError::invalid("unterminated CSV quoted field")));
    }
    if !field.is_empty() || quoted || !fields.is_empty() {
        close(&mut field, &mut quoted, &mut fields);
        records.push((first_line, fields));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(csv: bool) -> Copy {
        let (delimiter, null) = if csv { (',', "") } else { ('\t', "\\N") };
        Copy { columns: Vec::new(), csv, header: false, delimiter, null: null.to_owned() }
    }

    fn fields(records: Vec<Record>) -> Vec<(usize, Vec<String>)> {
        let shown = |field: Option<String>| field.unwrap_or_else(|| "NULL".to_owned());
        records.into_iter().map(|(line, fields)| (line, fields.into_iter().map(shown).collect())).collect()
    }

    fn expected(records: &[(usize, &[&str])]) -> Vec<(usize, Vec<String>)> {
        records.iter().map(|(line, fields)| (*line, fields.iter().map(|text| (*text).to_owned()).collect())).collect()
    }

    #[test]
    fn csv_has_quotes_line_ends_and_two_kinds_of_nothing() {
        let found = fields(csv(&copy(true), "1,a b,\n2,\"say \"\"x\"\",\n\",\"\"\r\n,,\n3,x,y").unwrap());
        let wanted: &[(usize, &[&str])] = &[
            (1, &["1", "a b", "NULL"]),
            (2, &["2", "say \"x\",\n", ""]),
            (4, &["NULL", "NULL", "NULL"]),
            (5, &["3", "x", "y"]),
        ];
        assert_eq!(found, expected(wanted));
        let error = csv(&copy(true), "1\n\"a\nb").unwrap_err();
        assert_eq!(error.message, "unterminated CSV quoted field, in line 2 of the data");
    }

    #[test]
    fn text_has_tabs_backslashes_and_an_end() {
        let found = fields(text(&copy(false), "1\t\\N\ta\\tb\\\\\n\\\\N\t\tx\n\\.\n9").unwrap());
        let wanted: &[(usize, &[&str])] = &[(1, &["1", "NULL", "a\tb\\"]), (2, &["\\N", "", "x"])];
        assert_eq!(found, expected(wanted));
        assert!(text(&copy(false), "a\\").is_err());
    }
}
