//! Generated code and client.
