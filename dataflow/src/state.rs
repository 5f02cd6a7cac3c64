//! Private state: tables that one operator alone reads. They know only now, cannot be shared, and are rebuilt from the
//! operator's input.

mod chunked;
mod counted_set;
mod extremes;
mod float_sum;
mod key_table;
mod multimap;
mod ordered;
mod places;
mod slab;
mod upsert_table;

pub(crate) use chunked::{Chunked, sampled};
pub(crate) use counted_set::{CountedSet, mix};
pub(crate) use extremes::Extremes;
pub(crate) use float_sum::FloatSum;
pub(crate) use key_table::KeyTable;
pub(crate) use multimap::{Multimap, Presence};
pub(crate) use ordered::{Cursor, Entry, Ordered, TOGETHER, Warm, Weigh, Weightless, add_weights};
pub(crate) use places::Places;
pub(crate) use slab::Slab;
pub(crate) use upsert_table::{Change, UpsertTable};
