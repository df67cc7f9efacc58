//! The commands of the documentation: each block of `sh` runs, or says why it does not.
//!
//! A block runs in a folder of its own for each page, which has a copy of `policies/` and of what else it names, and in
//! which `iamd` and `cargo run --` are the binary under test. The blocks of a page run one after the other. One that
//! starts with `iamd serve` goes on until the next such block or the end of the page, on a port that the system
//! chooses. A block of `text` right after a block of `sh` is its output; a `…` in it stands for anything. A block that
//! does not run has a comment before it:
//!
//! ```text
//! <!-- not run: it needs a cluster -->
//! ```

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use super::support::{PATIENCE, files_below, repository};

/// What pages write where a reader's server listens.
const ADDRESS: &str = "127.0.0.1:50051";

/// A block of a page that begins with three backquotes.
#[derive(Debug)]
struct Block {
    line: usize,
    language: String,
    text: String,
    /// Why it does not run.
    reason: Option<String>,
    /// Whether only blank lines are between it and the block before.
    follows: bool,
}

#[test]
fn every_command_of_the_documentation_runs_or_says_why_not() {
    let mut pages = files_below(&repository().join("docs"), &["md"]);
    pages.push(repository().join("README.md"));
    let mut n_run = 0;
    for page in pages {
        n_run += run(&page);
    }
    assert!(n_run >= 20, "only {n_run} blocks were run");
}

#[test]
fn a_page_is_cut_into_its_blocks() {
    let page = "a\n```sh\nb\n```\n\n```text\nc\n```\nd\n<!-- not run: e -->\n```sh\nf\n```\n";
    let blocks = blocks(page);
    let seen: Vec<_> = blocks
        .iter()
        .map(|block| (&*block.text, block.follows))
        .collect();
    assert_eq!(seen, [("b\n", false), ("c\n", true), ("f\n", false)]);
    assert_eq!(blocks[2].reason.as_deref(), Some("e"));
    assert!(is_output("x…\n…\nz\n", "xy\n1\n2\nz\n"));
    assert!(!is_output("x\n", "x\ny\n"));
    assert!(!is_output("x…z\n", "xy\n"));
}

#[test]
fn every_test_that_a_page_names_exists() {
    let mut sources = String::new();
    for folder in ["src", "tests/it", "tests/peers/python"] {
        for file in files_below(&repository().join(folder), &["rs", "py"]) {
            sources += &fs::read_to_string(file).unwrap();
        }
    }
    let mut n_names = 0;
    for page in ["README.md", "docs/security-model.md"] {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        let names = text.split('`').skip(1).step_by(2).filter(|name| {
            let is_name = |letter: char| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
            };
            name.matches('_').count() > 3 && name.chars().all(is_name)
        });
        for name in names {
            let is_there = ["fn ", "def test_"]
                .iter()
                .any(|start| sources.contains(&format!("{start}{name}(")));
            assert!(is_there, "{page}: there is no test `{name}`");
            n_names += 1;
        }
    }
    assert!(n_names > 15, "{n_names} names");
}

/// Runs the blocks of a page, and returns how many there were.
fn run(page: &Path) -> usize {
    let blocks = blocks(&fs::read_to_string(page).unwrap());
    let place = |block: &Block| format!("{}:{}", page.display(), block.line);
    if blocks
        .iter()
        .all(|block| block.language != "sh" || block.reason.is_some())
    {
        return 0;
    }
    let folder = reader_folder();
    let mut server: Option<Server> = None;
    let mut n_run = 0;
    for (number, block) in blocks.iter().enumerate() {
        if block.language != "sh" || block.reason.is_some() {
            continue;
        }
        n_run += 1;
        if is_server(&block.text) {
            drop(server.take());
            let commands = block.text.replace(ADDRESS, "127.0.0.1:0");
            server = Some(Server::start(folder.path(), &commands, &place(block)));
            continue;
        }
        let address = server
            .as_ref()
            .map_or(ADDRESS, |server| server.address.as_str());
        let commands = block.text.replace(ADDRESS, address);
        let output = shell(folder.path(), &commands).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        // 1 is an answer: a denial, or findings.
        let failures = fs::read_to_string(folder.path().join("failures")).unwrap_or_default();
        assert!(
            matches!(output.status.code(), Some(0 | 1)) && failures.is_empty(),
            "{}: {:?} {failures}\n{stdout}{stderr}",
            place(block),
            output.status
        );
        let expected = blocks
            .get(number + 1)
            .filter(|next| next.follows && next.language == "text");
        if let Some(expected) = expected {
            assert!(
                is_output(&expected.text, &stdout),
                "{}: the output is\n{stdout}{stderr}",
                place(expected)
            );
        }
    }
    n_run
}

/// A folder with what a reader has: the store, the protocol, and the programs that pages call.
fn reader_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for shared in ["proto", "tests", "docs"] {
        symlink(repository().join(shared), folder.path().join(shared)).unwrap();
    }
    let copied = Command::new("cp")
        .args(["-r", "policies"])
        .arg(folder.path())
        .current_dir(repository())
        .status();
    assert!(copied.unwrap().success());
    // Notes what ended with another status than that of an answer, which a shell would forget.
    let iamd = format!(
        "#!/bin/sh\n[ \"$1\" = serve ] && exec '{binary}' \"$@\"\n'{binary}' \"$@\"\nstatus=$?\n\
         [ $status -lt 2 ] || echo \"iamd $*: $status\" >>\"$READER/failures\"\nexit $status\n",
        binary = env!("CARGO_BIN_EXE_iamd")
    );
    let cargo = "#!/bin/sh\n[ \"$1 $2\" = 'run --' ] || exit 99\nshift 2\nexec iamd \"$@\"\n";
    fs::create_dir(folder.path().join("bin")).unwrap();
    for (name, text) in [("iamd", iamd.as_str()), ("cargo", cargo)] {
        let path = folder.path().join("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn shell(folder: &Path, commands: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", commands])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .env("READER", folder)
        .env("NO_COLOR", "1")
        .env("IAMD_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null());
    shell
}

fn is_server(commands: &str) -> bool {
    let command = commands
        .trim_start()
        .trim_start_matches("cargo run -- ")
        .trim_start_matches("iamd ");
    command.starts_with("serve")
}

/// A server that a block of a page started.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path, commands: &str, place: &str) -> Self {
        let mut process = shell(folder, &format!("exec {commands}"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let began = Instant::now();
        let mut said = String::new();
        let mut line = String::new();
        while log.read_line(&mut line).unwrap() > 0 && began.elapsed() < PATIENCE {
            if let Some(address) = listening(&line) {
                // What it says from now on is read, or it would wait.
                std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
                let server = Self { process, address };
                server.wait(folder, place);
                return server;
            }
            said += &std::mem::take(&mut line);
        }
        process.kill().unwrap();
        process.wait().unwrap();
        panic!("{place}: the server does not say where it listens: {said}");
    }

    fn wait(&self, folder: &Path, place: &str) {
        let began = Instant::now();
        let command = format!("iamd healthcheck --server {}", self.address);
        while !shell(folder, &command).output().unwrap().status.success() {
            assert!(
                began.elapsed() < PATIENCE,
                "{place}: the server is not ready"
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn listening(line: &str) -> Option<String> {
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = record.get("fields").unwrap_or(&record);
    let message = fields.get("message")?.as_str()?;
    let address = fields.get("address")?.as_str()?;
    message.contains("listening").then(|| address.to_owned())
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    let mut reason = None;
    let mut follows = false;
    for (line, text) in (1..).zip(page.lines()) {
        if let Some(mut block) = open.take() {
            if text == "```" {
                blocks.push(block);
                follows = true;
            } else {
                block.text += text;
                block.text.push('\n');
                open = Some(block);
            }
        } else if let Some(language) = text.strip_prefix("```") {
            open = Some(Block {
                line,
                language: language.to_owned(),
                text: String::new(),
                reason: reason.take(),
                follows,
            });
        } else if let Some(comment) = text.strip_prefix("<!-- not run: ") {
            reason = Some(comment.trim_end_matches(" -->").to_owned());
        } else if !text.is_empty() {
            (reason, follows) = (None, false);
        }
    }
    blocks
}

/// Returns whether `output` is what a page shows, in which `…` stands for any text, line breaks included.
fn is_output(shown: &str, output: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = output.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        let found = if parts.peek().is_none() {
            rest.ends_with(part).then(|| rest.len() - part.len())
        } else {
            rest.find(part)
        };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}
