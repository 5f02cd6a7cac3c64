//! Envelopes: what the records of a source mean for its rows, and what of them the log holds.
//!
//! The log stays raw: of an enveloped source it holds every record as it arrived, in order, with a flag that says whether
//! it deletes. Which record is the last of its key is found out by whoever reads the log.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::SourceDescription;

/// What a record means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Envelope {
    /// Every record is one row, and stays.
    #[default]
    None,
    /// A record is the row of its key until the next one; a record without a value deletes it.
    Upsert {
        /// The columns of the key, by position; none of them is nullable.
        key: Vec<usize>,
    },
    /// A record is a change as Debezium's connectors write them, in JSON.
    Debezium {
        /// As of [`Envelope::Upsert`].
        key: Vec<usize>,
    },
}

impl Envelope {
    /// The columns of the key; `None` if rows are only appended.
    pub fn key(&self) -> Option<&[usize]> {
        match self {
            Envelope::None => None,
            Envelope::Upsert { key } | Envelope::Debezium { key } => Some(key),
        }
    }
}

/// The last column that the log of an enveloped source holds: whether the record deletes the row of its key. No declared
/// column can have the name.
pub const DELETED: &str = "$deleted";

impl SourceDescription {
    /// The columns that the log holds: the declared ones, and of an enveloped source [`DELETED`] behind them. A record
    /// that deletes has a key and otherwise what there is.
    pub fn logged_schema(&self) -> SchemaRef {
        let Some(key) = self.envelope.key() else { return Arc::clone(&self.schema) };
        let declared = self.schema.fields().iter().enumerate();
        let nullable = |(index, field): (usize, &Arc<Field>)| {
            let nullable = field.is_nullable() || !key.contains(&index);
            Arc::new(field.as_ref().clone().with_nullable(nullable))
        };
        let deleted = Arc::new(Field::new(DELETED, DataType::Boolean, false));
        Arc::new(Schema::new(declared.map(nullable).chain([deleted]).collect::<Vec<_>>()))
    }
}
