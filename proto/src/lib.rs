//! The wire: the messages and services of `headwater.v1`, what a refusal carries, and a thin typed client.
//!
//! The `.proto` files under `headwater/v1` are the contract; everything in [`v1`] is generated from them at build time.

pub mod client;
pub mod decimal;
pub mod refusal;

/// The generated messages, clients and servers of package `headwater.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines)]
pub mod v1 {
    tonic::include_proto!("headwater.v1");
}

/// The encoded `FileDescriptorSet` of package `headwater.v1`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("headwater.v1");
