//! The edge: sources, decoding, the ingest clock and the durable input log.

pub mod clock;
pub mod error;
pub mod ingest;
mod log;
pub mod source;
