//! The stores that are measured, and their questions. Everything is made from a seed.

mod candidates;
mod guards;
mod layers;
mod model;
mod patterns;
mod questions;
mod random;
mod sizes;
mod statements;

pub use candidates::{by_candidates, by_conditions};
pub use guards::guarded;
pub use layers::layered;
pub use model::{Condition, Holder, Policy, Statement, World, document};
pub use patterns::adversarial;
pub use questions::{Outcome, Question, balanced, decided, requests};
pub use random::Random;
pub use sizes::{Sized, by_attached, by_holders, by_size};

/// The account of every store.
pub const ACCOUNT: &str = "111122223333";
/// The region of every resource that has one.
pub const REGION: &str = "eu-west-1";
/// The seed of everything that is random.
pub const SEED: u64 = 0x1a3d;

/// Returns the ARN of a user.
pub fn user_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/{name}")
}

/// Loads a world from memory.
pub fn load(world: &World) -> anyhow::Result<iamd::store::Loaded> {
    let files: Vec<(String, String)> = world.files().collect();
    load_files(&mut iamd::store::Loader::new(), &files)
}

/// Loads these files, each with its path, after those that `loader` has loaded before.
pub fn load_files(
    loader: &mut iamd::store::Loader,
    files: &[(String, String)],
) -> anyhow::Result<iamd::store::Loaded> {
    let texts = files.iter().map(|(path, text)| (&**path, &**text));
    loader.load_texts(texts).map_err(|refused| {
        let first = refused.findings.iter().find(|finding| finding.is_error());
        anyhow::anyhow!("a generated store does not load: {first:?}")
    })
}
