//! The edge: sources, decoding, the ingest clock and the durable input log.
