//! The edge: sources, decoding, the ingest clock and the durable input log.

pub mod clock;
mod decode;
pub mod decoding;
pub mod error;
pub mod ingest;
mod log;
pub mod source;
