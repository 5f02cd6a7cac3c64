//! The control plane: SQL text to plans, the catalog, the coordinator, subscriptions and the gRPC service.

pub mod control;
pub mod service;
pub mod sql;
