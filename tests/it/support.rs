//! Code that the tests share: the repository's paths, stores made for a test, the real binary and its clients.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use iamd::authorizer::{Authorizer, Explained, Redacted};
use iamd::compile::snapshot::Snapshot;
use iamd::engine::work::wanted;
use iamd::service::json::{self, Message, NoAnswer};
use iamd::service::pb;
use jiff::Timestamp;
use pb::authorization_service_client::AuthorizationServiceClient;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long a test waits for an event that must come. It is far longer than needed, so that a busy machine fails no
/// test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is checked while a test waits for it.
const PACE: Duration = Duration::from_millis(2);

pub type Client = AuthorizationServiceClient<Channel>;

/// Returns the folder that contains `Cargo.toml`.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all files below `folder` with one of the extensions, sorted.
pub fn files_below(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return files;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path, extensions));
        } else if path
            .extension()
            .is_some_and(|found| extensions.iter().any(|extension| found == *extension))
        {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Writes `text` to `path` below `folder`, and creates the folders on the way.
pub fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Makes a file in a store which takes long to read, and no space on the disk. The store does not load.
pub fn write_hole(root: &Path) {
    fs::create_dir_all(root.join("dumps")).unwrap();
    let hole = fs::File::create(root.join("dumps/hole.json")).unwrap();
    hole.set_len(250 << 20).unwrap();
}

/// Removes a folder in one step. While it is emptied file by file, its remains are a store too.
pub fn vanish(folder: &Path) {
    let away = folder.with_extension("vanished");
    fs::rename(folder, &away).unwrap();
    fs::remove_dir_all(away).unwrap();
}

/// Writes `text` beside `path` and renames it into its place, as editors do.
pub fn write_by_rename(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    let beside = path.with_extension("json.tmp");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

pub const ACCOUNT: &str = "111111111111";
pub const ANN: &str = "arn:aws:iam::111111111111:user/ann";
pub const ORDER: &str = "arn:app:orders:::order/1";

/// Returns the file of a user with one inline policy.
pub fn user(name: &str, document: &str) -> String {
    format!(
        r#"{{
  "UserName": "{name}",
  "UserPolicyList": [
    {{"PolicyName": "inline", "PolicyDocument": {document}}}
  ]
}}
"#
    )
}

/// Returns a document that allows `action` on everything.
pub fn allow(action: &str) -> String {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Sid": "One", "Effect": "Allow", "Action": "{action}", "Resource": "*"}}]}}"#
    )
}

/// Writes the store in which ann may do `action`.
pub fn write_store(root: &Path, action: &str) {
    write(
        root,
        "account.json",
        &format!(r#"{{"AccountId": "{ACCOUNT}"}}"#),
    );
    write(root, "users/ann.json", &user("ann", &allow(action)));
}

/// Returns a store in which ann may do `action`.
pub fn store_allowing(action: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    write_store(folder.path(), action);
    folder
}

/// Returns the revision that every replica gives the store at `root`.
pub fn revision(root: &Path) -> String {
    iamd::store::load(root)
        .unwrap()
        .snapshot
        .revision
        .to_string()
}

/// Returns a question of ann about order 1.
pub fn ann_asks(action: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: ANN.to_owned(),
        action: action.to_owned(),
        resource: ORDER.to_owned(),
        ..pb::AuthorizeRequest::default()
    }
}

/// Returns a command for the real binary, without the settings in the environment of the test run.
pub fn iamd(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iamd"));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("IAMD_")
            || name_text.starts_with("OTEL_")
            || matches!(&*name_text, "RUST_LOG" | "NO_COLOR")
        {
            command.env_remove(&name);
        }
    }
    let arguments: Vec<_> = arguments.into_iter().collect();
    if arguments
        .first()
        .is_some_and(|first| first.as_ref() == "serve")
    {
        // Servers of other tests run at the same time, and only one of them could have the default port.
        command.env("IAMD_HTTP_LISTEN", "127.0.0.1:0");
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Returns the real binary, run by a shell that has set limits with `script` before: `ulimit -n 256`.
pub fn iamd_after(script: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let direct = iamd(arguments);
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{script} && exec \"$0\" \"$@\"")])
        .arg(direct.get_program())
        .args(direct.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in direct.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// A running `iamd serve`. Dropping this ends it.
pub struct Server {
    child: Child,
    log: Arc<Log>,
    /// A thread that ends with the process's stderr.
    reader: Option<thread::JoinHandle<()>>,
}

/// What a process has written to stderr so far.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

impl Server {
    /// Starts `iamd serve` on a port of its own, with the store at `root`. It listens, but may not be ready.
    pub fn start(root: &Path) -> Self {
        Self::start_with(root, &["--listen", "127.0.0.1:0"])
    }

    /// Starts it with the options of the caller.
    pub fn start_with(root: &Path, options: &[&str]) -> Self {
        let mut command = iamd(["serve", "--store"]);
        command.arg(root).args(options);
        Self::spawn(command)
    }

    /// Runs `command` and collects its log, unless its stderr is not a pipe of this process.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let grown = Arc::clone(&log);
        let reader = child.stderr.take().map(|stderr| {
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines() {
                    let Ok(line) = line else { break };
                    grown.lines.lock().unwrap().push(line);
                    grown.grew.notify_all();
                }
            })
        });
        Self { child, log, reader }
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a line of the log satisfies `wanted`.
    pub fn wait_for_log<T>(&self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(found) = lines.iter().find_map(|line| wanted(line)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{what} never came; the log:\n{}",
                lines.join("\n")
            );
            lines = self.log.grew.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Returns the lines logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Returns everything that it logged, once it has ended.
    pub fn whole_log(&mut self) -> Vec<String> {
        self.exit_status();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.log()
    }

    /// Returns the first address in its log.
    pub fn address(&self) -> String {
        self.wait_for_log("the address", |line| log_field(line, "address"))
    }

    /// Returns a channel to it. Waits for nothing.
    pub fn channel(&self) -> Channel {
        channel_to(&self.address())
    }

    /// Returns a client of it, once it is ready.
    pub async fn client(&self) -> Client {
        let channel = self.channel();
        ready(&channel, self).await;
        AuthorizationServiceClient::new(channel)
    }

    /// Returns a client of it, or `None` if the process ends without ever being ready.
    pub async fn client_unless_it_ends(&mut self) -> Option<Client> {
        let address = eventually("the address or the end", async || {
            let found = self
                .log()
                .iter()
                .find_map(|line| log_field(line, "address"));
            if found.is_none() && !self.is_running() {
                Some(None)
            } else {
                found.map(Some)
            }
        });
        address.await?;
        let channel = self.channel();
        eventually("readiness or the end", async || {
            if health(&channel, "").await == Ok(ServingStatus::Serving) {
                return Some(Some(AuthorizationServiceClient::new(channel.clone())));
            }
            (!self.is_running()).then_some(None)
        })
        .await
    }

    /// Sends it a signal: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {}", self.child.id()))
            .status()
            .unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// Returns whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn exit_status(&mut self) -> ExitStatus {
        self.exit_status_within(PATIENCE)
    }

    /// Waits for its end, which must come within `limit`.
    pub fn exit_status_within(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it has not ended in {limit:?}; the log:\n{}",
                self.log().join("\n")
            );
            thread::sleep(PACE);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Returns a channel to a server at `address`, which may be `unix:/path`. Waits for nothing.
pub fn channel_to(address: &str) -> Channel {
    let uri = match address.strip_prefix("unix:") {
        Some(path) => format!("unix://{path}"),
        None => format!("http://{address}"),
    };
    Endpoint::from_shared(uri).unwrap().connect_lazy()
}

/// Waits until the server behind `channel` says that it is serving.
pub async fn ready(channel: &Channel, server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = health(channel, "").await;
        if answer == Ok(ServingStatus::Serving) {
            return;
        }
        let log = || server.log().join("\n");
        assert!(
            Instant::now() < deadline,
            "never ready: {answer:?}; the log:\n{}",
            log()
        );
        tokio::time::sleep(PACE).await;
    }
}

/// Returns the health of `service`, or the status.
pub async fn health(channel: &Channel, service: &str) -> Result<ServingStatus, tonic::Code> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    answer
        .map(|response| response.into_inner().status())
        .map_err(|status| status.code())
}

/// How long each thread of some processes has wanted a processor and got none. A bound of time that is tested does not
/// count it.
pub struct Starved {
    processes: Vec<u32>,
    before: HashMap<PathBuf, u64>,
}

impl Starved {
    /// Begins to count for these processes.
    pub fn begin(processes: &[u32]) -> Self {
        let before = processes.iter().flat_map(|id| waits(*id)).collect();
        Self {
            processes: processes.to_vec(),
            before,
        }
    }

    /// Returns the time since the beginning, of all threads that are still there.
    pub fn end(&self) -> Duration {
        let now = self.processes.iter().flat_map(|id| waits(*id));
        let since = now.map(|(thread, waited)| waited - self.before.get(&thread).unwrap_or(&0));
        Duration::from_nanos(since.sum())
    }
}

/// Returns how long each thread of a process has waited for a processor, in nanoseconds.
fn waits(process: u32) -> impl Iterator<Item = (PathBuf, u64)> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.filter_map(|thread| {
        // A thread that has ended meanwhile waits no more.
        let path = thread.ok()?.path();
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        Some((path, text.split(' ').nth(1)?.parse().ok()?))
    })
}

/// Checks repeatedly until `condition` returns a value.
pub async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition).await
}

/// Does the same within `limit`, which is the bound that a test is about.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        // A server that does not answer must not block the test either.
        let left = limit.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, condition()).await {
            Ok(Some(found)) => return found,
            Ok(None) if begun.elapsed() < limit => tokio::time::sleep(PACE).await,
            _ => panic!("{what} has not come in {limit:?}"),
        }
    }
}

/// Asks until the answer comes from `revision`.
pub async fn until_revision(client: &mut Client, revision: &str) -> pb::AuthorizeResponse {
    eventually(&format!("revision {revision}"), async || {
        let answer = client
            .authorize(ann_asks("orders:Get"))
            .await
            .unwrap()
            .into_inner();
        (answer.revision == revision).then_some(answer)
    })
    .await
}

/// Returns the member `name` of a log line, wherever the log format puts fields.
pub fn log_field(line: &str, name: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let value = line.get(name).or_else(|| line.get("fields")?.get(name))?;
    Some(
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
    )
}

/// Returns the findings of severity error among lines of a log.
pub fn errors_in<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<String> {
    lines
        .filter_map(|line| log_field(line, "finding"))
        .filter(|finding| finding.contains(": error["))
        .collect()
}

/// The output of a finished process.
#[derive(Debug)]
pub struct Finished {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `iamd serve` to its end. If it becomes ready, ends it and returns `None`.
pub fn run_until_it_serves(command: Command) -> Option<Finished> {
    let mut server = Server::spawn(command);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if runtime.block_on(server.client_unless_it_ends()).is_some() {
        return None;
    }
    let status = server.exit_status().code();
    Some(Finished {
        status,
        stdout: String::new(),
        stderr: server.whole_log().join("\n"),
    })
}

/// Runs `command` to its end with `input` on its standard input.
pub fn run(mut command: Command, input: &str) -> Finished {
    use std::io::Write as _;

    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A process that ends early closes the pipe, which is not an error here.
    let writer = thread::spawn(move || _ = stdin.write_all(input.as_bytes()));
    let mut stderr = child.stderr.take().unwrap();
    let errors = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    let status = child.wait().unwrap().code();
    writer.join().unwrap();
    Finished {
        status,
        stdout,
        stderr: errors.join().unwrap(),
    }
}

/// Returns the number in the variable `name`, or `usual`.
pub fn number_from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect(name))
}

/// Returns what `iamd authorize --requests` prints for `question`, asked at `now`.
pub fn answer_line(snapshot: &Snapshot, question: &str, now: Timestamp) -> String {
    let message = Message::parse(question, "").unwrap();
    let refused = |refusal| NoAnswer::refused(message.request_id(), refusal).to_json();
    let question = match message.question() {
        Ok(question) => question,
        Err(refusal) => return refused(refusal),
    };
    let authorizer = Authorizer::of(snapshot.clone());
    match authorizer.authorize(&question, now).to_answer() {
        Ok(answer) => json::answer(&answer),
        Err(refusal) => refused(refusal),
    }
}

/// Returns what `iamd simulate --requests` prints for `simulation`, asked at `now`.
pub fn simulation_line(snapshot: &Snapshot, simulation: &str, now: Timestamp) -> String {
    let message = Message::parse(simulation, "").unwrap();
    let authorizer = Authorizer::of(snapshot.clone());
    let simulated = message
        .simulation()
        .and_then(|simulation| authorizer.simulate(&simulation, now, &wanted()));
    match simulated {
        Ok(simulated) => json::simulated(&simulated),
        Err(refusal) => NoAnswer::refused(message.request_id(), refusal).to_json(),
    }
}

/// Returns the explanation of `question`, asked at `now`, with the values of `redacted` keys hidden.
pub fn explained_at(
    snapshot: &Snapshot,
    question: &str,
    redacted: &[&str],
    now: Timestamp,
) -> Explained {
    let message = Message::parse(question, "").unwrap();
    let redacted = Redacted::new(redacted.iter().copied());
    let authorizer = Authorizer::of(snapshot.clone()).redacting(redacted);
    let question = message.question().unwrap();
    authorizer.explain(&question, now, &wanted()).unwrap()
}
