//! Tables of text cells: what the reference files hold, what the command line prints, and how the two are compared.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{Array, RecordBatch, timezone::Tz};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Columns and rows of text, NULL as the empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads CSV with a header.
    pub(crate) fn from_csv(text: &[u8]) -> Result<Table> {
        let mut reader = csv::Reader::from_reader(text);
        let columns = reader.headers()?.iter().map(str::to_owned).collect();
        let rows =
            reader.records().map(|row| Ok(row?.iter().map(str::to_owned).collect())).collect::<Result<Vec<_>>>()?;
        Ok(Table { columns, rows })
    }

    /// Formats batches the way the reference files and `-o csv` do.
    pub(crate) fn from_batches(batches: &[RecordBatch]) -> Result<Table> {
        let Some(first) = batches.first() else { return Ok(Table::default()) };
        let columns = first.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut rows = Vec::new();
        for batch in batches {
            let cells = batch.columns().iter().map(|column| cells(column.as_ref())).collect::<Result<Vec<_>>>()?;
            rows.extend((0..batch.num_rows()).map(|row| cells.iter().map(|column| column[row].clone()).collect()));
        }
        Ok(Table { columns, rows })
    }

    /// The position of the column `name`.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        self.columns
            .iter()
            .position(|column| column == name)
            .with_context(|| format!("no column {name} among {}", self.columns.join(", ")))
    }

    /// The only row's cell in the column `name`.
    pub(crate) fn cell(&self, name: &str) -> Result<&str> {
        ensure!(self.rows.len() == 1, "{} rows instead of one", self.rows.len());
        Ok(&self.rows[0][self.column(name)?])
    }

    /// The sum of a column of integers.
    pub(crate) fn sum(&self, name: &str) -> Result<i64> {
        let column = self.column(name)?;
        self.rows.iter().map(|row| row[column].parse::<i64>().with_context(|| format!("{name}: {row:?}"))).sum()
    }

    /// Rows in order: for tables whose order means nothing.
    pub(crate) fn sorted(mut self) -> Table {
        self.rows.sort();
        self
    }

    /// The cells by the first column.
    fn by_key(&self) -> Result<BTreeMap<&str, &Vec<String>>> {
        let map: BTreeMap<_, _> = self.rows.iter().map(|row| (row[0].as_str(), row)).collect();
        ensure!(map.len() == self.rows.len(), "{} rows but {} keys", self.rows.len(), map.len());
        Ok(map)
    }
}

/// Fails unless `got` has exactly the cells of `want`, row for row by the first column. The columns `left_out` are those
/// of `want` that `got` does not have; all others must be there, in any order, and no more.
pub(crate) fn assert_cells(name: &str, got: &Table, want: &Table, left_out: &[&str]) -> Result<()> {
    let wanted: Vec<&String> = want.columns.iter().filter(|column| !left_out.contains(&column.as_str())).collect();
    ensure!(wanted.len() == got.columns.len(), "{name}: columns {} instead of {wanted:?}", got.columns.join(", "));
    let pairs = wanted
        .iter()
        .map(|column| Ok((got.column(column)?, want.column(column)?)))
        .collect::<Result<Vec<(usize, usize)>>>()?;
    let (got_rows, want_rows) = (got.by_key()?, want.by_key()?);
    let mut differences = Vec::new();
    for (key, row) in &want_rows {
        let Some(found) = got_rows.get(key) else {
            differences.push(format!("{key}: missing"));
            continue;
        };
        for &(left, right) in &pairs {
            if found[left] != row[right] {
                differences.push(format!("{key}.{}: {} instead of {}", got.columns[left], found[left], row[right]));
            }
        }
    }
    differences
        .extend(got_rows.keys().filter(|key| !want_rows.contains_key(*key)).map(|key| format!("{key}: too many")));
    if !differences.is_empty() {
        let shown = differences.iter().take(12).cloned().collect::<Vec<_>>().join("\n  ");
        bail!("{name}: {} differences in {} rows\n  {shown}", differences.len(), want_rows.len());
    }
    Ok(())
}

/// One column's cells as text.
fn cells(column: &dyn Array) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("");
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let micros = match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(arrow::array::cast::as_primitive_array::<arrow::datatypes::TimestampMicrosecondType>(column))
        }
        _ => None,
    };
    (0..column.len())
        .map(|row| match micros {
            Some(times) if times.is_valid(row) => {
                let utc: Tz = "+00:00".parse()?;
                let time = times.value_as_datetime_with_tz(row, utc).context("a time out of range")?;
                Ok(time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string())
            }
            _ => Ok(formatter.value(row).to_string()),
        })
        .collect()
}
