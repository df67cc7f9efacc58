//! **iamd** answers one question: may this *principal* do this *action* on this *resource* in this *context*? It
//! answers as AWS IAM would, from a store of AWS-IAM-style policies on disk.
//!
//! Four nouns and three arrows:
//!
//! ```text
//! policy files ──read──▶ World ──compile──▶ Snapshot ─┐
//!                                                     ├──decide──▶ Decision ──▶ reply
//! request bytes ──parse──▶ Request ───────────────────┘
//! ```
//!
//! A program that wants decisions without a server loads a store and asks it:
//!
//! ```
//! use std::path::Path;
//!
//! use iamd::authorizer::Question;
//! use iamd::engine::request::Request;
//!
//! let loaded = iamd::store::load(Path::new("policies")).map_err(|refused| format!("{refused:?}"))?;
//! let question = Question {
//!     principal: "arn:aws:iam::111122223333:user/support/alice",
//!     action: "orders:Get",
//!     resource: "arn:app:orders:::order/1001/1",
//!     ..Question::default()
//! };
//! let request = Request::parse(&question, "2026-03-01T09:00:00Z".parse()?)?;
//! let decision = iamd::engine::authorize(&loaded.snapshot, &request)?;
//! assert!(decision.is_allowed());
//! assert_eq!(decision.reason().label(), "ALLOW_IDENTITY");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The modules, and what goes where, are on the page [`architecture`]; the rules of evaluation, whose IDs the code
//! cites, on the page [`semantics`].

pub mod analysis;
pub mod authorizer;
pub mod cli;
pub mod compile;
pub mod config;
pub mod context;
pub mod decision_log;
pub mod engine;
pub mod language;
pub mod limits;
pub mod name;
pub mod scenario;
pub mod service;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod world;

#[doc = include_str!("../docs/architecture.md")]
pub mod architecture {}

#[doc = include_str!("../docs/semantics.md")]
#[expect(
    clippy::doc_lazy_continuation,
    reason = "the law is kept as it was written"
)]
pub mod semantics {}
