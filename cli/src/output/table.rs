//! Aligned columns for people: numbers to the right, no borders.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use comfy_table::{CellAlignment, ColumnConstraint, Table, TableComponent, Width, presets};

use super::value::{is_null, is_number, write_text};

/// The space between two columns.
const GAP: u16 = 2;

/// A column of a table.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    /// Its name.
    pub(crate) name: String,
    /// Whether its cells stand to the right.
    pub(crate) right: bool,
}

impl Heading {
    /// A column of text.
    pub(crate) fn text(name: &str) -> Heading {
        Heading { name: name.to_owned(), right: false }
    }

    /// A column of numbers.
    pub(crate) fn number(name: &str) -> Heading {
        Heading { name: name.to_owned(), right: true }
    }
}

/// A table that comes in pages; each page is at least as wide as the ones before it, so that they stay aligned.
#[derive(Debug)]
pub(crate) struct Pages {
    headings: Vec<Heading>,
    widths: Vec<u16>,
}

impl Pages {
    /// A table of these columns.
    pub(crate) fn new(headings: Vec<Heading>) -> Pages {
        Pages { widths: vec![0; headings.len()], headings }
    }

    /// The lines of a page, with the end of each.
    pub(crate) fn page(&mut self, cells: Vec<Vec<String>>, header: bool) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        if header {
            table.set_style(TableComponent::HeaderLines, '-');
            table.set_header(self.headings.iter().map(|heading| safe(&heading.name)));
        }
        table.add_rows(cells);
        table.discover_columns();
        for (index, width) in table.column_max_content_widths().into_iter().enumerate() {
            self.widths[index] = self.widths[index].max(width);
        }
        let last = self.headings.len().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            let gap = if index == last { 0 } else { GAP };
            column.set_padding((0, gap));
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(self.widths[index] + gap)));
            if self.headings[index].right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut page = table.trim_fmt();
        if !page.is_empty() {
            page.push('\n');
        }
        page
    }
}

/// The columns of a relation.
pub(crate) fn headings(schema: &Schema) -> Vec<Heading> {
    let heading = |field: &arrow::datatypes::FieldRef| Heading {
        name: field.name().clone(),
        right: is_number(field.data_type()),
    };
    schema.fields().iter().map(heading).collect()
}

/// The cells of a row.
pub(crate) fn cells(rows: &RecordBatch, row: usize) -> Vec<String> {
    let cell = |column: &arrow::array::ArrayRef| {
        if is_null(column.as_ref(), row) {
            return "NULL".to_owned();
        }
        let mut text = String::new();
        write_text(column.as_ref(), row, &mut text);
        safe(&text)
    };
    rows.columns().iter().map(cell).collect()
}

/// Text in which nothing can move the cursor of a terminal: control characters are written out.
pub(crate) fn safe(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let escape = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn numbers_stand_right_and_pages_stay_aligned() {
        let mut pages = Pages::new(vec![Heading::text("country"), Heading::number("n")]);
        let first = pages.page(vec![row(&["United Kingdom", "7"]), row(&["EIRE", "12345"])], true);
        assert_eq!(
            first,
            "country             n\n---------------------\nUnited Kingdom      7\nEIRE            12345\n"
        );
        assert_eq!(pages.page(vec![row(&["France", "1"])], false), "France              1\n");
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        let mut pages = Pages::new(vec![Heading::text("a"), Heading::text("bc")]);
        assert_eq!(pages.page(Vec::new(), true), "a  bc\n-----\n");
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(safe("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
    }
}
