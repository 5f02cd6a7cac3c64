//! Plain data: identifiers, times, updates, rows as bytes and the relation of errors.

mod chunk;
mod errors;
mod id;
mod rows;
pub(crate) mod values;

pub(crate) use chunk::slice_rows;
pub use chunk::{Chunk, Delta, Diffs};
pub use errors::{ErrorRow, ErrorRows, errors_schema};
pub use id::{CollectionId, ObjectId, Part};
pub use rows::{EncodedRows, Row, RowBlock, RowCodec, any_null, hash_bytes, owner, same_bytes};
pub(crate) use rows::{order_rows, prefix};

/// A time of the engine: milliseconds since the Unix epoch, minted by the ingest clock, totally ordered.
pub type Timestamp = u64;

/// How often a row is added (positive) or taken away (negative).
pub type Diff = i64;
