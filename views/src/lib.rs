//! The control plane: SQL text to plans, the catalog, the coordinator, subscriptions and the gRPC service.

pub mod catalog;
pub mod control;
pub mod hub;
pub mod sql;
