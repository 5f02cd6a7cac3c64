//! What commands print: relations as a table, as CSV or as JSON lines, and failures.

pub(crate) mod changes;
pub(crate) mod csv;
pub(crate) mod failure;
pub(crate) mod json;
pub(crate) mod notice;
pub(crate) mod table;
pub(crate) mod value;

use std::io::{self, BufWriter, StdoutLock, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use self::table::Pages;

/// How many rows decide the widths of a table's columns before any is printed.
const PAGE_ROWS: usize = 10_000;

/// The form in which a command prints its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns, for people.
    Table,
    /// A header and RFC 4180 rows; NULL is the empty field, empty text is `""`.
    Csv,
    /// One JSON object a line; decimals are numbers with all their digits.
    Json,
}

/// The standard output, buffered.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// Prints the rows of one relation.
pub(crate) struct Printer<W> {
    out: W,
    format: OutputFormat,
    pages: Pages,
    /// The rows of the page that is not printed yet.
    cells: Vec<Vec<String>>,
    headed: bool,
    line: String,
}

impl<W: Write> Printer<W> {
    /// Prints the header, if the format has one.
    pub(crate) fn start(mut out: W, format: OutputFormat, schema: &Schema) -> io::Result<Printer<W>> {
        let mut line = String::new();
        if format == OutputFormat::Csv {
            csv::write_fields(schema.fields().iter().map(|field| field.name().as_str()), &mut line);
            writeln!(out, "{line}")?;
        }
        let pages = Pages::new(table::headings(schema));
        Ok(Printer { out, format, pages, cells: Vec::new(), headed: false, line })
    }

    /// Prints rows.
    pub(crate) fn rows(&mut self, rows: &RecordBatch) -> io::Result<()> {
        for row in 0..rows.num_rows() {
            self.line.clear();
            match self.format {
                OutputFormat::Csv => csv::write_row(rows, row, &mut self.line),
                OutputFormat::Json => json::write_row(rows, row, &mut self.line),
                OutputFormat::Table => {
                    self.cells.push(table::cells(rows, row));
                    if self.cells.len() == PAGE_ROWS {
                        self.page()?;
                    }
                    continue;
                }
            }
            writeln!(self.out, "{}", self.line)?;
        }
        Ok(())
    }

    /// Prints what is left, and below a table `note`.
    pub(crate) fn finish(mut self, note: &str) -> io::Result<()> {
        if self.format == OutputFormat::Table {
            if !self.cells.is_empty() || !self.headed {
                self.page()?;
            }
            if !note.is_empty() {
                writeln!(self.out, "{note}")?;
            }
        }
        self.out.flush()
    }

    fn page(&mut self) -> io::Result<()> {
        let page = self.pages.page(std::mem::take(&mut self.cells), !self.headed);
        self.headed = true;
        write!(self.out, "{page}")
    }
}

/// Prints a relation that is at hand.
pub(crate) fn print_rows(out: impl Write, format: OutputFormat, rows: &RecordBatch, note: &str) -> io::Result<()> {
    let mut printer = Printer::start(out, format, rows.schema_ref())?;
    printer.rows(rows)?;
    printer.finish(note)
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn print(format: OutputFormat, rows: usize) -> String {
        let count = i64::try_from(rows).unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("a,b", Arc::new(StringArray::from(vec!["x"; rows]))),
            ("n", Arc::new(Int64Array::from_iter_values(0..count))),
        ];
        let mut out = Vec::new();
        print_rows(&mut out, format, &RecordBatch::try_from_iter(columns).unwrap(), "(note)").unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_prints_header_and_rows() {
        assert_eq!(print(OutputFormat::Csv, 2), "\"a,b\",n\nx,0\nx,1\n");
        assert_eq!(print(OutputFormat::Json, 1), "{\"a,b\":\"x\",\"n\":0}\n");
        assert_eq!(print(OutputFormat::Table, 1), "a,b  n\n------\nx    0\n(note)\n");
        assert_eq!(print(OutputFormat::Table, 0), "a,b  n\n------\n(note)\n");
        assert_eq!(print(OutputFormat::Csv, 0), "\"a,b\",n\n");
    }

    #[test]
    fn a_long_table_has_one_header_and_all_rows() {
        let text = print(OutputFormat::Table, PAGE_ROWS + 5);
        assert_eq!(text.lines().count(), PAGE_ROWS + 5 + 3);
        assert_eq!(text.matches("a,b").count(), 1);
    }
}
