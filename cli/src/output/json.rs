//! One JSON object a line, the columns in their order.

use arrow::array::RecordBatch;

use super::value::{write_json, write_json_string};

/// Appends a row as an object, without the end of the line.
pub(crate) fn write_row(rows: &RecordBatch, row: usize, line: &mut String) {
    line.push('{');
    for (index, (field, column)) in std::iter::zip(rows.schema_ref().fields(), rows.columns()).enumerate() {
        if index > 0 {
            line.push(',');
        }
        write_json_string(field.name(), line);
        line.push(':');
        write_json(column.as_ref(), row, line);
    }
    line.push('}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, StringArray};

    use super::*;

    #[test]
    fn decimals_keep_their_digits_and_columns_their_order() {
        let amount =
            Decimal128Array::from(vec![12_345_678_901_234_567_890_123]).with_precision_and_scale(38, 2).unwrap();
        let columns: Vec<(&str, ArrayRef)> =
            vec![("z", Arc::new(amount)), ("a \"b\"", Arc::new(StringArray::from(vec![None::<&str>])))];
        let mut line = String::new();
        write_row(
            &RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap(),
            0,
            &mut line,
        );
        assert_eq!(line, r#"{"z":123456789012345678901.23,"a \"b\"":null}"#);
    }
}
