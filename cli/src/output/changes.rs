//! The changes of subscribed views as they come.
//!
//! * `csv`: `time,diff` (with several views `time,diff,view`), then the columns of the view. With progress marks, a mark
//!   is a row in which only `time` is filled: everything before it has been printed.
//! * `json`: `{"time":…,"diff":…,"view":…,"row":{…}}`, `view` only with several; marks are `{"progress":…,"errors":…}`.
//! * `table`: `+` and `-` lines, with a count if a row comes or goes several times.

use std::fmt::Write as _;
use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::table::{self, Heading, Pages};
use super::{OutputFormat, csv, json, value};

/// Prints changes.
pub(crate) struct Changes<W> {
    out: W,
    format: OutputFormat,
    views: Vec<View>,
    /// Whether progress marks are printed.
    progress: bool,
    /// The last mark that was printed. The server repeats a mark as a sign of life.
    marked: Option<i64>,
    /// The view whose header was printed last.
    shown: Option<usize>,
}

struct View {
    name: String,
    pages: Pages,
    columns: usize,
}

impl<W: Write> Changes<W> {
    /// Prints the header, if the format has one. Fails with [`io::ErrorKind::Unsupported`] if views with different columns
    /// should become one CSV.
    pub(crate) fn start(
        mut out: W,
        format: OutputFormat,
        names: &[String],
        schemas: &[SchemaRef],
        progress: bool,
    ) -> io::Result<Changes<W>> {
        if format == OutputFormat::Csv {
            if schemas.iter().any(|schema| names_of(schema) != names_of(&schemas[0])) {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "views with different columns cannot be one CSV: subscribe to them one by one, or use -o json",
                ));
            }
            let view = if names.len() > 1 { &["view"][..] } else { &[] };
            let columns = schemas.first().map(names_of).unwrap_or_default();
            let mut line = String::new();
            csv::write_fields(["time", "diff"].into_iter().chain(view.iter().copied()).chain(columns), &mut line);
            writeln!(out, "{line}")?;
        }
        let view = |(name, schema): (&String, &SchemaRef)| {
            let mut headings = vec![Heading::text(""), Heading::number("time")];
            if names.len() > 1 {
                headings.push(Heading::text("view"));
            }
            headings.extend(table::headings(schema));
            View { name: name.clone(), pages: Pages::new(headings), columns: schema.fields().len() }
        };
        let views = std::iter::zip(names, schemas).map(view).collect();
        Ok(Changes { out, format, views, progress, marked: None, shown: None })
    }

    /// Prints the changes of one view at a time. `diffs` has one number a row.
    pub(crate) fn changes(&mut self, time: i64, view: usize, rows: &RecordBatch, diffs: &[i64]) -> io::Result<()> {
        match self.format {
            OutputFormat::Csv | OutputFormat::Json => {
                for (row, diff) in diffs.iter().enumerate() {
                    let line = self.line(time, view, rows, row, *diff);
                    writeln!(self.out, "{line}")?;
                }
                Ok(())
            }
            OutputFormat::Table => self.lines(time, view, rows, diffs),
        }
    }

    fn line(&self, time: i64, view: usize, rows: &RecordBatch, row: usize, diff: i64) -> String {
        let mut line = String::new();
        let several = (self.views.len() > 1).then_some(self.views[view].name.as_str());
        if self.format == OutputFormat::Csv {
            write!(line, "{time},{diff},").expect("writing to a string cannot fail");
            if let Some(name) = several {
                csv::write_field(name, &mut line);
                line.push(',');
            }
            csv::write_row(rows, row, &mut line);
        } else {
            write!(line, "{{\"time\":{time},\"diff\":{diff},").expect("writing to a string cannot fail");
            if let Some(name) = several {
                line.push_str("\"view\":");
                value::write_json_string(name, &mut line);
                line.push(',');
            }
            line.push_str("\"row\":");
            json::write_row(rows, row, &mut line);
            line.push('}');
        }
        line
    }

    fn lines(&mut self, time: i64, index: usize, rows: &RecordBatch, diffs: &[i64]) -> io::Result<()> {
        let several = self.views.len() > 1;
        let view = &mut self.views[index];
        let cells = diffs.iter().enumerate().map(|(row, diff)| {
            let sign = match *diff {
                1 => "+".to_owned(),
                -1 => "-".to_owned(),
                diff => format!("{diff:+}"),
            };
            let mut cells = vec![sign, time.to_string()];
            if several {
                cells.push(table::safe(&view.name));
            }
            cells.extend(table::cells(rows, row));
            cells
        });
        let cells: Vec<_> = cells.collect();
        if cells.is_empty() {
            return Ok(());
        }
        let header = self.shown.replace(index) != Some(index);
        write!(self.out, "{}", view.pages.page(cells, header))
    }

    /// Prints that everything before `upper` was printed, if marks are wanted.
    pub(crate) fn progress(&mut self, upper: i64, errors: u64) -> io::Result<()> {
        if !self.progress || self.marked >= Some(upper) {
            return Ok(());
        }
        self.marked = Some(upper);
        match self.format {
            OutputFormat::Csv => {
                let columns = self.views.first().map_or(0, |view| view.columns);
                let empty = 1 + usize::from(self.views.len() > 1) + columns;
                writeln!(self.out, "{upper}{}", ",".repeat(empty))
            }
            OutputFormat::Json => writeln!(self.out, "{{\"progress\":{upper},\"errors\":{errors}}}"),
            OutputFormat::Table if errors == 0 => writeln!(self.out, "= everything before {upper}"),
            OutputFormat::Table => writeln!(self.out, "= everything before {upper}, {errors} rows in errors"),
        }
    }

    /// Hands everything printed so far on.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn names_of(schema: &SchemaRef) -> Vec<&str> {
    schema.fields().iter().map(|field| field.name().as_str()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn rows() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("country", Arc::new(StringArray::from(vec!["EIRE", "France"]))),
            ("n", Arc::new(Int64Array::from(vec![1, 20]))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn print(format: OutputFormat, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let schemas = vec![rows().schema(); names.len()];
        let mut out = Vec::new();
        let mut changes = Changes::start(&mut out, format, &names, &schemas, true).unwrap();
        changes.changes(10, 0, &rows(), &[1, -2]).unwrap();
        changes.progress(11, 3).unwrap();
        changes.progress(11, 3).unwrap();
        changes.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_has_a_header_and_marks_without_a_diff() {
        assert_eq!(print(OutputFormat::Csv, &["v"]), "time,diff,country,n\n10,1,EIRE,1\n10,-2,France,20\n11,,,\n");
        assert_eq!(
            print(OutputFormat::Csv, &["v", "w"]),
            "time,diff,view,country,n\n10,1,v,EIRE,1\n10,-2,v,France,20\n11,,,,\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        assert_eq!(
            print(OutputFormat::Json, &["v", "w"]),
            concat!(
                "{\"time\":10,\"diff\":1,\"view\":\"v\",\"row\":{\"country\":\"EIRE\",\"n\":1}}\n",
                "{\"time\":10,\"diff\":-2,\"view\":\"v\",\"row\":{\"country\":\"France\",\"n\":20}}\n",
                "{\"progress\":11,\"errors\":3}\n",
            )
        );
        assert!(!print(OutputFormat::Json, &["v"]).contains("view"));
    }

    #[test]
    fn a_table_shows_what_comes_and_goes() {
        assert_eq!(
            print(OutputFormat::Table, &["v"]),
            concat!(
                "    time  country   n\n",
                "---------------------\n",
                "+     10  EIRE      1\n",
                "-2    10  France   20\n",
                "= everything before 11, 3 rows in errors\n",
            )
        );
    }

    #[test]
    fn views_with_different_columns_are_no_csv() {
        let names = ["v".to_owned(), "w".to_owned()];
        let schemas = [rows().schema(), rows().project(&[0]).unwrap().schema()];
        let error = Changes::start(Vec::new(), OutputFormat::Csv, &names, &schemas, false).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(Changes::start(Vec::new(), OutputFormat::Json, &names, &schemas, false).is_ok());
    }
}
