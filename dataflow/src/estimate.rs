//! Summaries of bounded size of values that only come and never go. What they are depends on which values there are, and not
//! on their order nor on how they came together, and they are exact while the values are few: so a read and every worker
//! find the same.

mod distinct;
mod quantile;

pub use distinct::{DistinctEstimate, hashes};
pub use quantile::QuantileEstimate;
