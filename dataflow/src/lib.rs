//! The data plane: plans rendered as differential dataflows on timely workers.
//!
//! This crate owns rows and updates ([`repr`]), expressions ([`expr`]), sums without rounding ([`exact`]), percentiles
//! ([`quantile`]) and estimates ([`estimate`]), the plan ([`plan`]), the protocol between the control plane and the workers
//! ([`protocol`], [`port`]) and the workers themselves ([`engine`]). It knows nothing of SQL text, files, networks, wall
//! clocks or randomness: time and rows come in as data through a [`port`], commands as values of [`protocol::Command`], and
//! everything leaves as [`protocol::Response`].

pub mod repr;

pub mod engine;
pub mod estimate;
pub mod exact;
pub mod expr;
pub mod figures;
pub mod plan;
pub mod port;
pub mod protocol;
pub mod quantile;

mod render;
mod spines;
mod state;
mod worker;
