//! Tables out of CSV files, which some suites read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::sql::parser::CreateExternalTable;

use super::evaluate::Failure;
use super::statement::conform;

/// The rows of the file that a `CREATE EXTERNAL TABLE` names.
pub(super) fn read(create: &CreateExternalTable, schema: SchemaRef, from: &Path) -> Result<RecordBatch, Failure> {
    if !create.file_type.eq_ignore_ascii_case("csv") {
        return Err(Failure::Skipped("a file in a format that is not read here"));
    }
    if schema.fields().is_empty() {
        return Err(Failure::Skipped("a CSV file without declared columns"));
    }
    let Some(path) = create.locations.first().and_then(|location| find(location, from)) else {
        return Err(Failure::Skipped("a file that is not here"));
    };
    let option = |name: &str| {
        let value = create.options.iter().find(|(key, _)| key.ends_with(name));
        value.map(|(_, value)| value.to_string().trim_matches('\'').to_owned())
    };
    let header = option("has_header").is_some_and(|value| value == "true");
    let delimiter = option("delimiter").and_then(|value| value.bytes().next()).unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(header)
        .delimiter(delimiter)
        .from_path(path)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); schema.fields().len()];
    for record in reader.records() {
        let record = record.map_err(|error| Failure::Failed(error.to_string()))?;
        for (index, column) in columns.iter_mut().enumerate() {
            column.push(record.get(index).filter(|value| !value.is_empty()).map(str::to_owned));
        }
    }
    let rows = columns.first().map_or(0, Vec::len);
    let columns: Vec<ArrayRef> =
        columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
    conform(&columns, &schema, rows)
}

/// A file named from some folder above.
fn find(location: &str, from: &Path) -> Option<PathBuf> {
    from.ancestors().skip(1).map(|folder| folder.join(location)).find(|path| path.is_file())
}
