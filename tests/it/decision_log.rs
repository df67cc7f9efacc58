//! The decision log of the real binary: what its records hold, what happens when they cannot be written, and how past
//! decisions are explained and asked again.

use std::fs;
use std::path::{Path, PathBuf};

use iamd::service::pb;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Client, Server, ann_asks, eventually, iamd, store_allowing};

mod failures;
mod killed;
mod past;
mod records;
mod schema;
mod sent;
mod traces;

const GET: &str = "orders:Get";
const REFUND: &str = "orders:Refund";

/// A server with a decision log in a folder of its own.
struct Logged {
    store: TempDir,
    folder: TempDir,
    server: Server,
    client: Client,
}

impl Logged {
    /// Starts a server in this mode for a store in which ann may do [`GET`].
    async fn start(mode: &str, options: &[&str]) -> Self {
        Self::start_in(mode, options, &[]).await
    }

    /// Starts it with these variables, too.
    async fn start_in(mode: &str, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let (store, folder) = (store_allowing(GET), TempDir::new().unwrap());
        let log = folder.path().join("decisions.jsonl");
        let own = [
            "--listen",
            "127.0.0.1:0",
            "--decision-log",
            mode,
            "--decision-log-file",
            log.to_str().unwrap(),
        ];
        let mut command = iamd(["serve", "--store"]);
        command.arg(store.path()).args(own).args(options);
        command.envs(variables.iter().copied());
        let server = Server::spawn(command);
        let client = server.client().await;
        Self {
            store,
            folder,
            server,
            client,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("decisions.jsonl")
    }

    /// Asks whether ann may do `action`.
    async fn ask(&mut self, action: &str) -> Result<pb::AuthorizeResponse, tonic::Status> {
        let answer = self.client.authorize(ann_asks(action)).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Ends the server in order, and returns all lines of its log.
    fn ended(&mut self) -> Vec<Value> {
        self.server.signal("TERM");
        assert_eq!(self.server.exit_status().code(), Some(0));
        lines_of(&self.path())
    }

    /// Waits until the log has `n` records of decisions, and returns them.
    async fn decisions(&self, n: usize) -> Vec<Value> {
        let path = self.path();
        eventually("the records", async || {
            let decisions = of_type(lines_of(&path), "decision");
            (decisions.len() >= n).then_some(decisions)
        })
        .await
    }
}

/// Returns the lines of a log. Every one must be JSON.
fn lines_of(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn of_type(lines: Vec<Value>, wanted: &str) -> Vec<Value> {
    let mut lines = lines;
    lines.retain(|line| line["type"] == wanted);
    lines
}

/// Returns the whole log: all full files, then the current one.
fn with_full_files(path: &Path) -> Vec<Value> {
    let folder = path.parent().unwrap();
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|found| {
            found
                .to_str()
                .unwrap()
                .starts_with(&format!("{}.", path.display()))
        })
        .collect();
    paths.sort();
    paths.push(path.to_owned());
    paths.iter().flat_map(|path| lines_of(path)).collect()
}

/// Returns the numbers of the decisions among `lines`.
fn sequences(lines: &[Value]) -> Vec<u64> {
    let decisions = lines.iter().filter(|line| line["type"] == "decision");
    decisions
        .map(|line| line["sequence"].as_u64().unwrap())
        .collect()
}
