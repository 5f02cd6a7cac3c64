//! The columns of rows that are kept under keys, divided between the keys and what is kept beside them: no column is kept
//! twice.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray, new_null_array};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, SchemaRef};

use crate::repr::{Row, RowCodec};

/// Where a column is.
#[derive(Clone, Copy)]
enum Place {
    /// In the keys, as this one.
    Key(usize),
    /// Beside the keys, as this column of the rest.
    Rest(usize),
}

/// The division of a schema's columns.
pub(super) struct Split {
    places: Vec<Place>,
    /// The columns that are kept beside the keys, by position in the schema.
    rest: Vec<usize>,
    types: Vec<DataType>,
    codec: RowCodec,
}

impl Split {
    /// Divides the columns of `schema`: those that are a key as they stand are in the keys. Of each key is told which column
    /// it is, if it is one.
    pub(super) fn new(schema: &SchemaRef, keys: &[Option<usize>]) -> Split {
        let (mut places, mut rest, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for (index, field) in schema.fields().iter().enumerate() {
            match keys.iter().position(|key| *key == Some(index)) {
                Some(key) => places.push(Place::Key(key)),
                None => {
                    places.push(Place::Rest(rest.len()));
                    rest.push(index);
                    types.push(field.data_type().clone());
                }
            }
        }
        let codec = RowCodec::new(&types).unwrap_or_else(|error| panic!("a planned schema cannot be encoded: {error}"));
        Split { places, rest, types, codec }
    }

    /// The division of the columns of an index, of which these are the side's: the first `key` are in the key, and all others
    /// beside it.
    pub(super) fn of_index(index: &SchemaRef, key: usize, columns: &[usize]) -> Split {
        let place = |column: &usize| column.checked_sub(key).map_or(Place::Key(*column), Place::Rest);
        let rest: Vec<usize> = (key..index.fields().len()).collect();
        let types: Vec<DataType> = rest.iter().map(|column| index.field(*column).data_type().clone()).collect();
        let codec = RowCodec::new(&types).unwrap_or_else(|error| panic!("a planned schema cannot be encoded: {error}"));
        Split { places: columns.iter().map(place).collect(), rest, types, codec }
    }

    /// Whether some column is in one of these keys alone.
    pub(super) fn uses(&self, keys: Range<usize>) -> bool {
        self.places.iter().any(|place| matches!(place, Place::Key(key) if keys.contains(key)))
    }

    /// What is kept beside the keys, of all columns.
    pub(super) fn rest(&self, columns: &[ArrayRef]) -> Vec<ArrayRef> {
        self.rest.iter().map(|column| columns[*column].clone()).collect()
    }

    /// The codec of what is kept beside the keys.
    pub(super) fn codec(&self) -> &RowCodec {
        &self.codec
    }

    /// NULL in every column beside the keys.
    pub(super) fn nulls(&self) -> Row {
        let nulls: Vec<ArrayRef> = self.types.iter().map(|data_type| new_null_array(data_type, 1)).collect();
        Row::new(self.codec.encode(&nulls).expect("NULLs of the codec's types").get(0))
    }

    /// The columns again, out of those of the keys and the rest's bytes. Where `missing` says so, there is no row: the keys,
    /// which are those of another row, become NULL.
    pub(super) fn columns<'a>(
        &self,
        keys: &[ArrayRef],
        rest: impl Iterator<Item = &'a [u8]>,
        missing: Option<&BooleanArray>,
    ) -> Vec<ArrayRef> {
        let rest = self.codec.decode(rest).expect("what was encoded decodes");
        let column = |place: &Place| match (place, missing) {
            (Place::Rest(at), _) => rest[*at].clone(),
            (Place::Key(at), None) => keys[*at].clone(),
            (Place::Key(at), Some(_)) if *keys[*at].data_type() == DataType::Null => keys[*at].clone(),
            (Place::Key(at), Some(missing)) => nullif(&keys[*at], missing).expect("a mask as long as the keys"),
        };
        self.places.iter().map(column).collect()
    }
}
