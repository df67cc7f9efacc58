//! The engines that are compared.

use std::collections::HashMap;
use std::hint::black_box;

use anyhow::anyhow;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::decision::Decision;
use iamd::engine::error::RequestError;
use iamd::engine::request::Request;

pub use iamd::engine::{authorize, authorize_by_scan};

/// A function that decides.
pub type Engine = fn(&Snapshot, &Request) -> Result<Decision, RequestError>;

/// Returns a function that asks `engine` one request after the other, and begins again with the first after the last.
pub fn ask<'c>(
    engine: Engine,
    snapshot: &'c Snapshot,
    requests: &'c [Request],
) -> impl FnMut(usize) -> anyhow::Result<()> + 'c {
    let mut requests = requests.iter().cycle();
    move |n_times| {
        for request in requests.by_ref().take(n_times) {
            let decision = engine(black_box(snapshot), black_box(request));
            if black_box(decision).is_err() {
                return Err(anyhow!("{request:?} was refused"));
            }
        }
        Ok(())
    }
}

/// The lower bound: a map from everything in the request to its ready answer. The fields of the key have their length
/// in front, so that no two requests share a key. The key is built for each call, as a real application would have to.
#[derive(Default)]
pub struct ReadyAnswers(HashMap<Vec<u8>, bool>);

impl ReadyAnswers {
    /// Makes a map of `n_entries` entries, with the answers of `snapshot` to `requests` among them.
    pub fn of(snapshot: &Snapshot, requests: &[Request], n_entries: usize) -> anyhow::Result<Self> {
        let mut ready = Self::default();
        for request in requests {
            let decision = crate::worlds::decided(snapshot, request)?;
            ready.0.insert(key(request), decision.is_allowed());
        }
        // The other entries are never asked for. They make the table too large for the fastest CPU cache.
        for (index, request) in requests.iter().cycle().enumerate() {
            if ready.0.len() >= n_entries {
                break;
            }
            let mut key = key(request);
            key.extend_from_slice(&index.to_le_bytes());
            ready.0.insert(key, false);
        }
        Ok(ready)
    }

    /// Returns a function that looks up one request after the other.
    pub fn ask<'c>(
        &'c self,
        requests: &'c [Request],
    ) -> impl FnMut(usize) -> anyhow::Result<()> + 'c {
        let mut requests = requests.iter().cycle();
        move |n_times| {
            for request in requests.by_ref().take(n_times) {
                let key = key(black_box(request));
                if black_box(self.0.get(&key)).is_none() {
                    return Err(anyhow!("no answer is ready to {request:?}"));
                }
            }
            Ok(())
        }
    }
}

/// Returns the key of a request without a session.
fn key(request: &Request) -> Vec<u8> {
    let mut key = Vec::with_capacity(512);
    let mut field = |text: &str| {
        key.extend_from_slice(&(text.len() as u32).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
    };
    field(request.principal.arn().map_or("", |arn| arn.as_str()));
    field(request.action.as_str());
    field(request.resource.as_str());
    let owner = request.resource_account.as_ref();
    field(owner.map_or("", |owner| owner.as_str()));
    for entry in request.context.entries() {
        field(entry.key.spelled());
        for value in entry.value.all() {
            field(value);
        }
    }
    key
}
