//! The network's doors: a question comes in as bytes, becomes a [`RawRequest`](crate::engine::request::RawRequest),
//! is decided, and its decision goes out as bytes.
//!
//! ```text
//! gRPC bytes ──▶ pb::AuthorizeRequest ──convert──▶ Request ──decide──▶ Decision ──convert──▶ pb::AuthorizeResponse
//! JSON line ──json──┘                                                                        └──json──▶ JSON line
//! ```
//! The generated types stay in this module: others hold a [`Question`](question::Question) and an
//! [`Answer`](question::Answer).

mod calls;
pub mod client;
mod convert;
pub mod explain;
mod grpc;
mod health;
mod hints;
mod json;
mod listen;
pub mod question;
pub mod server;
pub mod simulate;

/// The types of `proto/iamd/v1/authorization.proto`, which documents them. Maps are lists of their entries, so that
/// repeated keys stay visible (C-4).
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    reason = "generated; documented in the protocol"
)]
pub mod pb {
    tonic::include_proto!("iamd.v1");

    /// The descriptors of the protocol and of all that it imports, as reflection gives them out.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/iamd.descriptors.bin"));
}
