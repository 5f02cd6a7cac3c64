//! Unnest: lists become rows, structs become columns. Stateless like a projection.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};

use super::context::batch;
use crate::plan::EmptyLists;
use crate::repr::{Delta, Diffs};

/// What an unnest does, ready to be done.
pub(super) struct Unnest {
    /// The columns that are lists.
    pub(super) lists: Vec<usize>,
    /// The columns whose values, after that, are structs.
    pub(super) structs: Vec<usize>,
    /// What becomes of rows without items.
    pub(super) empty: EmptyLists,
    /// The output's columns.
    pub(super) schema: SchemaRef,
}

/// Where the items of each row stand in one array of values; `None` for NULL.
struct Items {
    values: ArrayRef,
    spans: Vec<Option<(usize, usize)>>,
}

impl Unnest {
    /// The rows of a delta, each as often as its longest list has items: shorter lists are filled up with NULL.
    pub(super) fn run(&self, delta: &Delta) -> Delta {
        let columns = delta.rows.columns();
        let lists: Vec<Items> = self.lists.iter().map(|index| items(&columns[*index])).collect();
        let lengths: Vec<usize> = (0..delta.len())
            .map(|row| lists.iter().map(|list| self.length(list.spans[row])).max().unwrap_or(1))
            .collect();
        let rows: Vec<u64> = (0..).zip(&lengths).flat_map(|(row, length)| std::iter::repeat_n(row, *length)).collect();
        let diffs = match &delta.diffs {
            Diffs::Ones => Diffs::Ones,
            Diffs::Each(diffs) => Diffs::Each(rows.iter().map(|row| diffs[*row as usize]).collect()),
        };
        let count = rows.len();
        let rows = UInt64Array::from(rows);
        let mut output: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (index, column) in columns.iter().enumerate() {
            let values = match self.lists.iter().position(|list| *list == index) {
                Some(list) => unrolled(&lists[list], &lengths),
                None => take(column, &rows, None).expect("rows of the batch"),
            };
            if self.structs.contains(&index) {
                output.extend(fields(&values));
            } else {
                output.push(values);
            }
        }
        let typed = output.iter().zip(self.schema.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Arc::clone(column);
            }
            cast(column, field.data_type()).expect("items have their planned type but for the names of fields")
        });
        let typed = typed.collect();
        Delta { rows: batch(&self.schema, typed, count), diffs }
    }

    fn length(&self, span: Option<(usize, usize)>) -> usize {
        match (span, self.empty) {
            (None, EmptyLists::Drop) => 0,
            (None, EmptyLists::KeepNull | EmptyLists::Keep) => 1,
            (Some((_, 0)), EmptyLists::Keep) => 1,
            (Some((_, length)), _) => length,
        }
    }
}

fn items(lists: &ArrayRef) -> Items {
    let spans = |span: &dyn Fn(usize) -> (usize, usize)| -> Vec<Option<(usize, usize)>> {
        (0..lists.len()).map(|row| lists.is_valid(row).then(|| span(row))).collect()
    };
    match lists.data_type() {
        DataType::List(_) => {
            let array = lists.as_list::<i32>();
            let offset = |row: usize| array.value_offsets()[row] as usize;
            let spans = spans(&|row| (offset(row), offset(row + 1) - offset(row)));
            Items { values: Arc::clone(array.values()), spans }
        }
        DataType::LargeList(_) => {
            let array = lists.as_list::<i64>();
            let offset = |row: usize| array.value_offsets()[row] as usize;
            let spans = spans(&|row| (offset(row), offset(row + 1) - offset(row)));
            Items { values: Arc::clone(array.values()), spans }
        }
        DataType::FixedSizeList(_, length) => {
            let array = lists.as_fixed_size_list();
            let length = usize::try_from(*length).expect("a length is not negative");
            let spans = spans(&|row| (array.value_offset(row) as usize, length));
            Items { values: Arc::clone(array.values()), spans }
        }
        // Only NULL: a list without items.
        DataType::Null => Items { values: Arc::clone(lists), spans: vec![None; lists.len()] },
        other => panic!("an unnest of {other} is refused by lowering"),
    }
}

/// The items of all rows one after the other, each row's filled up with NULL.
fn unrolled(list: &Items, lengths: &[usize]) -> ArrayRef {
    let indices: UInt64Array = list
        .spans
        .iter()
        .zip(lengths)
        .flat_map(|(span, length)| {
            let (start, count) = span.unwrap_or((0, 0));
            (0..*length).map(move |at| (at < count).then_some((start + at) as u64))
        })
        .collect();
    take(&list.values, &indices, None).expect("indices of items")
}

/// The fields of a column of structs; those of a NULL are NULL.
fn fields(structs: &ArrayRef) -> Vec<ArrayRef> {
    let array = structs.as_struct();
    let Some(nulls) = array.nulls() else { return array.columns().to_vec() };
    let present: UInt64Array = (0..array.len() as u64).map(|row| nulls.is_valid(row as usize).then_some(row)).collect();
    array.columns().iter().map(|column| take(column, &present, None).expect("rows of the column")).collect()
}
