//! The server's memory over many reloads.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::client::Client;
use crate::generated;
use crate::measure::{Figures, Options, head, memory, row};
use crate::server::Server;
use crate::worlds::{self, Question};

const N_POLICIES: usize = 1_000;
/// A reload that takes longer fails the measurement.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most memory of a server with 1,000 policies, in bytes.
const AT_MOST: f64 = 20e6;

/// A store with a question about it. The store has a policy that is attached to no principal.
struct Store {
    name: String,
    directory: TempDir,
    question: Question,
}

/// Prints the table.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let n_reloads = options.pick(1_000, 20);
    head(
        &format!(
            "Memory of `iamd serve`, resident (in brackets: anonymous), and {n_reloads} reloads"
        ),
        &[
            "store",
            "after the start",
            "after one reload",
            &format!("after {n_reloads}"),
            "last ÷ first",
            "peak",
        ],
    );
    for store in [generated_policies()?, published_policies()?] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let server = Server::start(store.directory.path(), &store.question)?;
        let started = Held::by(&server)?;
        let mut after_one = None;
        runtime.block_on(async {
            let mut client = Client::connect(&server.address).await?;
            for change in 1..=n_reloads {
                let before = client.ask(&store.question).await?.revision;
                write_marker(store.directory.path(), change)?;
                let begin = Instant::now();
                while client.ask(&store.question).await?.revision == before {
                    ensure!(
                        begin.elapsed() < PATIENCE,
                        "a reload took over {PATIENCE:?}"
                    );
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if change == 1 {
                    after_one = Some(Held::by(&server)?);
                }
            }
            anyhow::Ok(())
        })?;
        let after_one = after_one.context("there was one reload")?;
        let after_all = Held::by(&server)?;
        let growth = after_all.resident as f64 / after_one.resident as f64;
        row(&[
            store.name.clone(),
            started.to_string(),
            after_one.to_string(),
            after_all.to_string(),
            format!("{growth:.2}"),
            memory(server.memory_kib("VmHWM")? * 1_024),
        ]);
        let megabytes = started.resident as f64 / 1e6;
        figures.at_most(
            "9",
            format!("MB resident, {}", store.name),
            megabytes,
            AT_MOST / 1e6,
        );
        figures.at_most(
            "9",
            format!("after {n_reloads} reloads ÷ after one, {}", store.name),
            growth,
            1.2,
        );
    }
    Ok(())
}

/// The memory of a process, in bytes.
#[derive(Clone, Copy)]
struct Held {
    resident: u64,
    anonymous: u64,
}

impl Held {
    fn by(server: &Server) -> anyhow::Result<Self> {
        Ok(Self {
            resident: server.memory_kib("VmRSS")? * 1_024,
            anonymous: server.memory_kib("RssAnon")? * 1_024,
        })
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", memory(self.resident), memory(self.anonymous))
    }
}

/// Returns a question about a store, which nobody has been granted.
pub fn ungranted(sized: &generated::Sized) -> anyhow::Result<Question> {
    let user = sized.hot.first().context("a user")?;
    Ok(Question::new(
        "nobody has been granted this",
        &generated::user_arn(&user.name),
        "marker:Ask",
        "arn:app:marker:::x",
        false,
    ))
}

fn generated_policies() -> anyhow::Result<Store> {
    let directory = new_directory()?;
    let sized = generated::by_size(N_POLICIES);
    sized.world.write(directory.path())?;
    write_marker(directory.path(), 0)?;
    let question = ungranted(&sized)?;
    Ok(Store {
        name: format!("{N_POLICIES} generated policies of three statements"),
        directory,
        question,
    })
}

fn published_policies() -> anyhow::Result<Store> {
    let world = worlds::all()?
        .into_iter()
        .last()
        .context("the larger of the baseline's stores")?;
    let directory = world.copy()?;
    write_marker(directory.path(), 0)?;
    Ok(Store {
        name: format!("{N_POLICIES} policies that AWS publishes"),
        directory,
        question: world.first_question()?.clone(),
    })
}

pub fn new_directory() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("iamd-memory-").tempdir()?)
}

/// Writes, by a rename, a policy that differs with each `change` and is attached to no principal.
fn write_marker(root: &Path, change: usize) -> anyhow::Result<()> {
    let folder = root.join("managed-policies");
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": format!("marker:Change{change}"), "Resource": "*"},
    ]});
    let beside = folder.join("Marker.json.tmp");
    fs::write(&beside, policy.to_string())?;
    Ok(fs::rename(beside, folder.join("Marker.json"))?)
}
