//! The control plane: SQL text to plans, the catalog, the coordinator, subscriptions and the gRPC service.

pub mod catalog;
pub mod control;
pub mod coordinator;
pub mod execute;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod server;
pub mod service;
pub mod sql;
pub mod tables;
mod watched;
