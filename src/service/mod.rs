//! The protocols: they turn bytes into a [`Question`](crate::authorizer::Question), ask the
//! [`Authorizer`](crate::authorizer::Authorizer), and turn its outcome into bytes.
//!
//! ```text
//! gRPC bytes ──▶ pb::AuthorizeRequest ──convert──▶ Question ──Authorizer──▶ Outcome ──convert──▶ pb::AuthorizeResponse
//! JSON line ──▶ json::Message ─────────────────────┘                          └──▶ Answer ──json──▶ JSON line
//! ```
//! The types generated from the protocol stay in this module.

mod answer;
mod asker;
mod at_once;
pub mod batch;
mod bind;
mod callers;
mod calls;
pub mod client;
mod connection;
mod convert;
mod drain;
mod encoded;
mod explain;
mod framed;
mod grpc;
mod health;
pub mod http;
mod http2;
mod interactive;
pub mod json;
mod life;
mod listen;
mod lists;
mod messages;
mod newest;
mod observed;
mod overload;
mod relay;
pub mod server;
mod simulate;
mod socket;
pub mod status;
mod statusz;
mod stream;
mod tls;
mod turns;
mod wire;
mod workers;

pub use convert::{check_simulation_size, check_size};
pub use encoded::Encoded;
pub(crate) use interactive::INTERACTIVE;
pub(crate) use overload::woke;

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

    /// The descriptors of the protocol and of everything it imports, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/iamd.descriptors.bin"));
}

/// The types of `proto/grpc/health/v1/health.proto`, which documents them.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    reason = "generated; documented in the protocol"
)]
pub mod health_pb {
    tonic::include_proto!("grpc.health.v1");
}
