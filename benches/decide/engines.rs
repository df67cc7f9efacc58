//! The ways to get an answer that are compared.

use std::collections::HashMap;
use std::hint::black_box;

use anyhow::anyhow;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::decision::Decision;
use iamd::engine::request::{Request, RequestError};

pub use iamd::engine::{authorize, authorize_by_scan};

/// A way to answer.
pub type Engine = fn(&Snapshot, &Request) -> Result<Decision, RequestError>;

/// Asks `engine` one request after the other, from the first again when all were asked.
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

/// The floor: every answer is ready, by everything that the request says. Length-prefixed fields, so that no two
/// requests have one key; the key is built for each call, as it would have to be.
#[derive(Default)]
pub struct ReadyAnswers(HashMap<Vec<u8>, bool>);

impl ReadyAnswers {
    /// The answers of `snapshot` to `requests`, among `n_entries` of the same kind.
    pub fn of(snapshot: &Snapshot, requests: &[Request], n_entries: usize) -> anyhow::Result<Self> {
        let mut ready = Self::default();
        for request in requests {
            let decision = crate::worlds::decided(snapshot, request)?;
            ready.0.insert(key(request), decision.is_allowed());
        }
        // Answers to what nobody asks here: they keep the table from lying in the nearest cache alone.
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

    /// Looks one request up after the other.
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

/// Everything that a request without a session says.
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
        field(entry.key.folded());
        for value in entry.value.values() {
            field(value);
        }
    }
    key
}
