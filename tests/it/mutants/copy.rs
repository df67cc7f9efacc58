//! A changed copy of the package: writes it, builds its two test programs, and runs them with one mutant active.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::repository;

/// The code with which the changed copy finds out which mutant is active. 0 means none.
const SWITCH: &str = r#"//! Which mutant is active.
use std::sync::OnceLock;
pub(crate) fn active() -> usize {
    static ACTIVE: OnceLock<usize> = OnceLock::new();
    let read = || std::env::var("ACTIVE_MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    *ACTIVE.get_or_init(read)
}
#[allow(dead_code)]
pub(crate) fn is(number: usize) -> bool {
    active() == number
}
"#;

/// Writes the package to `copy`, with changed text in the files of `changed`, whose paths begin at its root. Files that
/// are already there and equal stay untouched, so that their build results remain valid.
pub fn write_copy(copy: &Path, changed: &BTreeMap<&str, String>) {
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(repository()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
            copy_below(Path::new(&name), copy, changed, &mut written);
        }
    }
    let mut put = |path: &str, content: String| {
        write_if_new(copy, Path::new(path), content.as_bytes(), &mut written);
    };
    let original = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    put("src/mutant.rs", SWITCH.to_owned());
    put(
        "src/lib.rs",
        format!("{}\nmod mutant;\n", original("src/lib.rs")),
    );
    // Cargo tells the copy from the original by its version, because both share a target folder.
    let version = |of: &str| format!("name = \"iamd\"\nversion = \"{of}\"");
    for path in ["Cargo.toml", "Cargo.lock"] {
        let (ours, other) = (version(env!("CARGO_PKG_VERSION")), version("0.0.0-mutants"));
        let text = original(path);
        assert!(text.contains(&ours), "the version stands in {path}");
        put(path, text.replace(&ours, &other));
    }
    remove_others(copy, Path::new(""), &written);
}

fn copy_below(
    path: &Path,
    copy: &Path,
    changed: &BTreeMap<&str, String>,
    written: &mut BTreeSet<PathBuf>,
) {
    let source = repository().join(path);
    if source.is_dir() {
        for entry in fs::read_dir(source).unwrap() {
            let below = path.join(entry.unwrap().file_name());
            copy_below(&below, copy, changed, written);
        }
        return;
    }
    let content = match path.to_str().and_then(|path| changed.get(path)) {
        Some(text) => text.clone().into_bytes(),
        None => fs::read(source).unwrap(),
    };
    if !["src/lib.rs", "Cargo.toml", "Cargo.lock"]
        .map(Path::new)
        .contains(&path)
    {
        write_if_new(copy, path, &content, written);
    }
}

fn write_if_new(copy: &Path, path: &Path, content: &[u8], written: &mut BTreeSet<PathBuf>) {
    let target = copy.join(path);
    written.insert(path.to_owned());
    if fs::read(&target).is_ok_and(|old| old == content) {
        return;
    }
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(target, content).unwrap();
}

/// Removes files that an earlier run left and this one did not write.
fn remove_others(copy: &Path, path: &Path, written: &BTreeSet<PathBuf>) {
    for entry in fs::read_dir(copy.join(path)).unwrap() {
        let path = path.join(entry.unwrap().file_name());
        if copy.join(&path).is_dir() {
            remove_others(copy, &path, written);
        } else if !written.contains(&path) {
            fs::remove_file(copy.join(path)).unwrap();
        }
    }
}

/// The test programs of the copy.
pub struct Programs {
    it: PathBuf,
    units: PathBuf,
    /// The copy that they belong to. They read their scenarios there.
    copy: PathBuf,
}

/// Why a copy does not compile.
pub struct Broken {
    /// The compiler's error messages, as Cargo prints them with `--message-format json`.
    pub errors: Vec<serde_json::Value>,
    /// All messages, and the output of Cargo itself.
    pub told: String,
}

/// The profile of the copy, which corresponds to this program's own profile.
const OPTIMISED: &[&str] = if cfg!(debug_assertions) {
    &[]
} else {
    &["--profile", "fast"]
};

/// Builds the test programs of the copy, optimized if this program is. The builds of other crates are shared with the
/// original.
pub fn build(copy: &Path, target: &Path) -> Result<Programs, Broken> {
    let begun = Instant::now();
    let shared = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository().join("target"), PathBuf::from);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "test",
            "--lib",
            "--test",
            "it",
            "--no-run",
            "--message-format",
            "json",
        ])
        .args(OPTIMISED)
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_BUILD_BUILD_DIR", shared);
    let built = command.output().unwrap();
    let messages: Vec<serde_json::Value> = String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if !built.status.success() {
        let mut errors: Vec<_> = messages
            .iter()
            .map(|told| told["message"].clone())
            .collect();
        errors.retain(|message| message["level"] == "error");
        let rendered = errors.iter().filter_map(|error| error["rendered"].as_str());
        let told = rendered.collect::<String>() + &String::from_utf8_lossy(&built.stderr);
        return Err(Broken { errors, told });
    }
    let program = |name: &str| {
        let found = messages.iter().find_map(|message| {
            let is_meant = message["target"]["name"] == *name;
            let is_test = message["profile"]["test"] == true;
            message["executable"]
                .as_str()
                .filter(|_| is_meant && is_test)
        });
        found.map(PathBuf::from)
    };
    println!("built in {:?}", begun.elapsed());
    Ok(Programs {
        it: program("it").unwrap(),
        units: program("iamd").unwrap(),
        copy: copy.to_owned(),
    })
}

/// One of the two test programs, and which of its tests may detect a mutant.
pub struct Tests<'t> {
    /// Whether the unit tests are meant, instead of `tests/it`.
    pub of_units: bool,
    pub arguments: &'t [&'t str],
}

/// Limits on the questions about a mutant that no scenario detects. They run on one thread, because each mutant has its
/// own.
const LIMITS: [(&str, &str); 5] = [
    ("IAMD_LAWS_CASES", "20000"),
    ("IAMD_LAWS_THREADS", "1"),
    ("IAMD_CACHE_CASES", "20000"),
    ("IAMD_CACHE_THREADS", "1"),
    ("IAMD_INCREMENTAL_SEQUENCES", "40"),
];

/// What detected a mutant.
pub struct Noticed {
    pub test: String,
    /// The rules of the scenarios that got another answer, one element for each.
    pub scenarios: Vec<Vec<String>>,
    pub took_too_long: bool,
    pub output: String,
}

/// Runs tests with one mutant, or none for 0, over the files of scenarios that contain `only`. Returns `None` if they
/// pass within `limit`.
pub fn run(
    programs: &Programs,
    tests: &Tests<'_>,
    only: &str,
    number: usize,
    limit: Duration,
) -> Option<Noticed> {
    let program = if tests.of_units {
        &programs.units
    } else {
        &programs.it
    };
    let mut child = Command::new(program)
        .args(tests.arguments)
        .current_dir(&programs.copy)
        // The name is not that of a setting of the program, because a server that a test starts must have the mutant
        // too.
        .env("ACTIVE_MUTANT", number.to_string())
        .env("IAMD_TEST_SCENARIOS", only)
        .envs(LIMITS)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (sender, ended) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut output = String::new();
        let _ = stdout.read_to_string(&mut output);
        let _ = sender.send(output);
    });
    let output = ended.recv_timeout(limit);
    if output == Err(RecvTimeoutError::Timeout) {
        child.kill().unwrap();
    }
    let succeeded = child.wait().unwrap().success();
    reader.join().unwrap();
    let took_too_long = output.is_err();
    let output = output.unwrap_or_default();
    let test = tests.arguments.join(" ").replace("--exact ", "");
    assert!(
        !succeeded || !output.contains(" 0 passed"),
        "{test} is no test:\n{output}"
    );
    (!succeeded).then(|| Noticed {
        test,
        scenarios: scenarios_in(&output),
        took_too_long,
        output,
    })
}

/// Runs all of `tests` without a mutant. They must pass.
pub fn run_without_mutant(programs: &Programs, tests: &[&Tests<'_>], limit: Duration) {
    for tests in tests {
        let begun = Instant::now();
        if let Some(noticed) = run(programs, tests, "", 0, limit) {
            panic!(
                "{} fails without a mutant:\n{}",
                noticed.test, noticed.output
            );
        }
        println!("{:>8.1?}  {}", begun.elapsed(), tests.arguments.join(" "));
    }
}

/// Returns the rules of each scenario that the scenario runner reports as answered differently.
fn scenarios_in(output: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = output.lines().collect();
    let told = lines
        .windows(2)
        .filter(|pair| pair[1].starts_with("    expected  "));
    told.map(|pair| {
        let rules = pair[0].rsplit_once('(').map_or("", |(_, rules)| rules);
        rules
            .trim_end_matches(')')
            .split(", ")
            .map(str::to_owned)
            .collect()
    })
    .collect()
}
