//! Runs the driver under callgrind and reads callgrind's output. Its format is in the chapter "Callgrind Format
//! Specification" of valgrind's manual; the compressed form is not used.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::driver;

/// The linker's names of the functions that allocate.
const ALLOCATORS: [&str; 8] = [
    "malloc",
    "calloc",
    "realloc",
    "aligned_alloc",
    "posix_memalign",
    "mi_malloc_aligned",
    "mi_zalloc_aligned",
    "mi_realloc_aligned",
];

/// The counts of a run.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// The instructions of each function without its callees, by name.
    pub functions: BTreeMap<String, f64>,
    /// The calls of functions that allocate.
    pub n_allocations: f64,
}

impl Profile {
    /// Returns the number of all instructions.
    pub fn n_instructions(&self) -> f64 {
        self.functions.values().sum()
    }

    /// Returns the counts without those of `other`.
    pub fn less(mut self, other: &Self) -> Self {
        for (function, n_instructions) in &other.functions {
            *self.functions.entry(function.clone()).or_default() -= n_instructions;
        }
        self.functions
            .retain(|_, n_instructions| *n_instructions != 0.0);
        self.n_allocations -= other.n_allocations;
        self
    }

    /// Returns the counts per decision of a run of `n_times` decisions.
    pub fn divided_by(mut self, n_times: usize) -> Self {
        for n_instructions in self.functions.values_mut() {
            *n_instructions /= n_times as f64;
        }
        self.n_allocations /= n_times as f64;
        self
    }
}

/// Counts `n_decisions` of one outcome.
pub fn run(outcome: &str, n_decisions: usize) -> anyhow::Result<Profile> {
    let directory = tempfile::Builder::new()
        .prefix("iamd-callgrind-")
        .tempdir()?;
    let file = directory.path().join("out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .args([
            "--compress-strings=no",
            "--compress-pos=no",
            "--dump-line=no",
        ])
        // Only the decisions are counted, so that differences between loads do not show.
        .args([
            "--collect-atstart=no",
            "--toggle-collect=*driver::counted_*",
        ])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args([driver::FLAG, outcome, &n_decisions.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("`valgrind` is missing: install the package of that name")?;
    ensure!(
        output.status.success(),
        "callgrind failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let profile = read(&fs::read_to_string(&file)?)?;
    ensure!(
        profile.n_instructions() > n_decisions as f64,
        "callgrind did not see the decisions"
    );
    Ok(profile)
}

/// Reads callgrind's output.
fn read(text: &str) -> anyhow::Result<Profile> {
    let mut profile = Profile::default();
    let (mut function, mut called) = ("", "");
    // The line after `calls=` has the inclusive cost of the call. It is skipped, since the callee's own lines have it
    // too.
    let mut is_call = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            called = name;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            is_call = true;
            let n_calls: f64 = calls.split(' ').next().unwrap_or_default().parse()?;
            // A suffix such as `'2` marks a recursion.
            let plain = called.split('\'').next().unwrap_or_default();
            if ALLOCATORS.contains(&plain) {
                profile.n_allocations += n_calls;
            }
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            if std::mem::take(&mut is_call) {
                continue;
            }
            let cost = line.split(' ').nth(1).unwrap_or_default();
            let cost: f64 = cost.parse().with_context(|| format!("the line `{line}`"))?;
            *profile.functions.entry(function.to_owned()).or_default() += cost;
        }
    }
    Ok(profile)
}

/// Returns whether `function` belongs to `module`, by its own path or by the type or trait of its `impl`. Generic
/// arguments do not count.
pub fn belongs_to(function: &str, module: &str) -> bool {
    let mut rest = function;
    let mut path = String::new();
    while let Some(at) = rest.find("::<") {
        path.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 3..).unwrap_or_default();
        let mut depth = 1;
        let mut before = ' ';
        let end = rest.find(|char: char| {
            match char {
                '<' => depth += 1,
                '>' if before != '-' => depth -= 1,
                _ => {}
            }
            before = char;
            depth == 0
        });
        rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
    }
    path.push_str(rest);
    path.contains(module)
}
