//! Adding up the diffs of equal rows: what several workers, or several times, say about one row becomes one diff.
//!
//! Rows are compared in the byte form of arrow-row, in which equal values (NULL too) have equal bytes. What comes out
//! stands in the order in which its rows were first seen.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{Row, RowConverter, Rows, SortField};
use headwater_dataflow::repr::{Delta, Diff, Diffs};

/// Why rows cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Arrow refused.
    #[error("cannot merge rows: {0}")]
    Arrow(#[from] ArrowError),
    /// The workers' shares add up to less than nothing: the engine is wrong.
    #[error("internal error: a row has the negative count {0}; please report it with the view's definition")]
    Negative(Diff),
}

/// Every different row of `deltas` once with the sum of its diffs; rows whose sum is 0 are left out.
///
/// # Errors
/// A type that has no byte form, or more rows than a batch can hold.
pub fn consolidate(schema: &SchemaRef, deltas: &[Delta]) -> Result<Delta, ArrowError> {
    if schema.fields().is_empty() {
        return Ok(consolidate_unit(schema, deltas));
    }
    let deltas: Vec<&Delta> = deltas.iter().filter(|delta| !delta.is_empty()).collect();
    if deltas.is_empty() {
        return Ok(Delta { rows: RecordBatch::new_empty(Arc::clone(schema)), diffs: Diffs::Each(Arc::from([])) });
    }
    if let [delta] = deltas[..]
        && delta.len() == 1
        && delta.diffs.get(0) != 0
    {
        return Ok(delta.clone());
    }
    let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    let bytes: Vec<Rows> =
        deltas.iter().map(|delta| converter.convert_columns(delta.rows.columns())).collect::<Result<_, _>>()?;

    let mut slots: HashMap<Row<'_>, usize, foldhash::fast::FixedState> = HashMap::default();
    let mut found: Vec<((usize, usize), Diff)> = Vec::new();
    for (batch, (delta, rows)) in deltas.iter().zip(&bytes).enumerate() {
        for (index, row) in rows.iter().enumerate() {
            let slot = *slots.entry(row).or_insert(found.len());
            match found.get_mut(slot) {
                Some((_, sum)) => *sum += delta.diffs.get(index),
                None => found.push(((batch, index), delta.diffs.get(index))),
            }
        }
    }
    found.retain(|(_, sum)| *sum != 0);
    let diffs: Arc<[Diff]> = found.iter().map(|(_, sum)| *sum).collect();
    if found.is_empty() {
        return Ok(Delta { rows: RecordBatch::new_empty(Arc::clone(schema)), diffs: Diffs::Each(diffs) });
    }
    let batches: Vec<&RecordBatch> = deltas.iter().map(|delta| &delta.rows).collect();
    let indices: Vec<(usize, usize)> = found.into_iter().map(|(place, _)| place).collect();
    let rows = interleave_record_batch(&batches, &indices)?;
    Ok(Delta { rows, diffs: Diffs::Each(diffs) })
}

/// The rows of consolidated updates, each as often as its diff says.
///
/// # Errors
/// [`MergeError::Negative`] for a diff below zero.
pub fn repeat(delta: &Delta) -> Result<RecordBatch, MergeError> {
    let Diffs::Each(diffs) = &delta.diffs else { return Ok(delta.rows.clone()) };
    check_counts(delta)?;
    if diffs.iter().all(|diff| *diff == 1) {
        return Ok(delta.rows.clone());
    }
    if delta.rows.num_columns() == 0 {
        let rows = diffs.iter().filter_map(|diff| usize::try_from(*diff).ok()).sum();
        return Ok(unit_rows(delta.rows.schema(), rows));
    }
    let mut indices = Vec::with_capacity(diffs.len());
    for (index, diff) in (0u32..).zip(diffs.iter()) {
        indices.extend(std::iter::repeat_n(index, usize::try_from(*diff).unwrap_or(0)));
    }
    Ok(take_record_batch(&delta.rows, &UInt32Array::from(indices))?)
}

/// Checks that no row of consolidated updates is there less than zero times.
///
/// # Errors
/// [`MergeError::Negative`].
pub(super) fn check_counts(delta: &Delta) -> Result<(), MergeError> {
    let Diffs::Each(diffs) = &delta.diffs else { return Ok(()) };
    match diffs.iter().find(|diff| **diff < 0) {
        Some(diff) => Err(MergeError::Negative(*diff)),
        None => Ok(()),
    }
}

/// The sum of all diffs.
pub(super) fn total(delta: &Delta) -> Diff {
    match &delta.diffs {
        Diffs::Ones => Diff::try_from(delta.len()).unwrap_or(Diff::MAX),
        Diffs::Each(diffs) => diffs.iter().sum(),
    }
}

/// Without columns all rows are equal.
fn consolidate_unit(schema: &SchemaRef, deltas: &[Delta]) -> Delta {
    let sum: Diff = deltas.iter().map(total).sum();
    let diffs: Arc<[Diff]> = if sum == 0 { Arc::new([]) } else { Arc::new([sum]) };
    Delta { rows: unit_rows(Arc::clone(schema), diffs.len()), diffs: Diffs::Each(diffs) }
}

fn unit_rows(schema: SchemaRef, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, Vec::new(), &options).expect("there is no column that could not match")
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]))
    }

    fn delta(rows: &[(Option<&str>, Option<i64>, Diff)]) -> Delta {
        let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>());
        let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>());
        let rows_batch = RecordBatch::try_new(schema(), vec![keys, numbers]).unwrap();
        Delta { rows: rows_batch, diffs: Diffs::Each(rows.iter().map(|row| row.2).collect()) }
    }

    fn shown(delta: &Delta) -> Vec<(Option<String>, Option<i64>, Diff)> {
        let keys: &StringArray = delta.rows.column(0).as_any().downcast_ref().unwrap();
        let numbers: &Int64Array = delta.rows.column(1).as_any().downcast_ref().unwrap();
        (0..delta.len())
            .map(|row| {
                let number = numbers.iter().nth(row).unwrap();
                (keys.iter().nth(row).unwrap().map(str::to_owned), number, delta.diffs.get(row))
            })
            .collect()
    }

    #[test]
    fn equal_rows_are_added_up_and_zeros_vanish() {
        let a = delta(&[(Some("x"), Some(1), 1), (None, None, 2), (Some("y"), Some(2), 1)]);
        let b = delta(&[(Some("x"), Some(1), -1), (None, None, 1), (Some(""), None, -4)]);
        let merged = consolidate(&schema(), &[a, b]).unwrap();
        let expected = vec![(None, None, 3), (Some("y".to_owned()), Some(2), 1), (Some(String::new()), None, -4)];
        assert_eq!(shown(&merged), expected);
        assert_eq!(total(&merged), 0);
    }

    #[test]
    fn nothing_stays_nothing() {
        assert!(consolidate(&schema(), &[]).unwrap().is_empty());
        let cancelled = [delta(&[(Some("x"), None, 1)]), delta(&[(Some("x"), None, -1)])];
        assert!(consolidate(&schema(), &cancelled).unwrap().is_empty());
    }

    #[test]
    fn repeated_rows_stand_as_often_as_their_diff_and_negative_ones_are_refused() {
        let rows = repeat(&delta(&[(Some("x"), Some(1), 2), (None, None, 1)])).unwrap();
        let expected = delta(&[(Some("x"), Some(1), 1), (Some("x"), Some(1), 1), (None, None, 1)]);
        assert_eq!(rows, expected.rows);
        let error = repeat(&delta(&[(Some("x"), Some(1), 1), (None, None, -2)])).expect_err("a negative count");
        assert!(error.to_string().contains("negative count -2"), "{error}");
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let schema: SchemaRef = Arc::new(Schema::empty());
        let one = Delta::insert(unit_rows(Arc::clone(&schema), 3));
        let merged = consolidate(&schema, &[one.clone(), one]).unwrap();
        assert_eq!(merged.diffs.get(0), 6);
        assert_eq!(repeat(&merged).unwrap().num_rows(), 6);
    }
}
