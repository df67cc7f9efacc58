//! The layers of `docs/architecture.md`: which module may use which, and what no module holds.
//!
//! The file is long because its tables have a line for each module and each file of a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

mod source;

use source::{UsedPath, functions, paths};

/// One line per module, from the top layer to the lowest: the modules above that it may use.
const MODULES: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("name", &[]),
    ("context", &["name"]),
    ("language", &["name", "context"]),
    ("world", &["name", "context", "language"]),
    (
        "compile",
        &["limits", "name", "context", "language", "world"],
    ),
    (
        "engine",
        &["limits", "name", "context", "language", "world", "compile"],
    ),
    (
        "analysis",
        &["name", "context", "language", "world", "compile", "engine"],
    ),
    (
        "scenario",
        &["name", "context", "language", "engine", "analysis"],
    ),
    ("config", &["language"]),
    ("state", &["language", "compile"]),
    ("telemetry", &["language", "engine", "config", "state"]),
    (
        "authorizer",
        &[
            "name",
            "context",
            "language",
            "compile",
            "engine",
            "analysis",
            "config",
            "telemetry",
        ],
    ),
    (
        "decision_log",
        &["language", "engine", "authorizer", "config", "telemetry"],
    ),
    (
        "store",
        &[
            "name",
            "context",
            "language",
            "world",
            "compile",
            "engine",
            "config",
            "telemetry",
            "state",
        ],
    ),
    (
        "service",
        &[
            "name",
            "context",
            "language",
            "compile",
            "engine",
            "analysis",
            "authorizer",
            "decision_log",
            "config",
            "telemetry",
            "state",
        ],
    ),
    (
        "cli",
        &[
            "name",
            "context",
            "language",
            "world",
            "compile",
            "engine",
            "analysis",
            "scenario",
            "authorizer",
            "decision_log",
            "config",
            "telemetry",
            "state",
            "store",
            "service",
        ],
    ),
];

/// The last module whose results depend only on its input.
const LAST_PURE_MODULE: &str = "scenario";

/// Modules that read or write the shapes of files and messages.
const MODULES_WITH_SHAPES: &[&str] = &[
    "decision_log",
    "store",
    "service",
    "config",
    "scenario",
    "cli",
];

/// Files of one module that use each other in a circle, and why that is accepted. A circle that is not among these is
/// an error: one of its files then contains something that belongs in a file below all of them.
///
/// Besides these, a file may use the files of its own folder and be used by them, because they are one unit that was
/// split for its length. `compile` has no circle at all, not even of this kind.
const CIRCLES: &[(&[&str], &str)] = &[
    (
        &[
            "engine",
            "engine::admit",
            "engine::caller",
            "engine::decide",
            "engine::derived",
            "engine::facts",
            "engine::layer",
            "engine::plan",
            "engine::principal",
            "engine::question",
            "engine::request",
            "engine::request::session",
            "engine::session_policy",
            "engine::simulated",
            "engine::trace",
        ],
        "the steps of a decision notify a listener of each other, and a simulated request carries the entities that they look up",
    ),
    (
        &["scenario", "scenario::simulated"],
        "the root of the module is its first file, and the other one is split from it for its length",
    ),
    (
        &[
            "authorizer",
            "authorizer::answer",
            "authorizer::hints",
            "authorizer::limits",
            "authorizer::listing",
            "authorizer::recorder",
            "authorizer::simulation",
        ],
        "the root of the module is its first file, and the others are split from it for its length",
    ),
    (
        &["service", "service::convert", "service::simulate"],
        "a simulation consists of converted questions, and its message determines its size limit",
    ),
    (
        &["store", "store::keep", "store::loader", "store::validate"],
        "the root of the module is its first file, and defines what the others load",
    ),
    (
        &[
            "cli",
            "cli::authorize",
            "cli::completions",
            "cli::config",
            "cli::explain",
            "cli::explain::past",
            "cli::export",
            "cli::healthcheck",
            "cli::list",
            "cli::man",
            "cli::replay",
            "cli::revision",
            "cli::serve",
            "cli::settings",
            "cli::simulate",
            "cli::status",
            "cli::validate",
            "cli::wait",
        ],
        "the command runs its subcommands, which return its `Status`",
    ),
];

/// Modules in which even a file and its folder must not form a circle.
const WITHOUT_CIRCLES: &[&str] = &["compile"];

/// Paths that reach out of the process, or bring in values that differ from run to run.
const IMPURE: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "net", "TcpListener"],
    &["std", "net", "TcpStream"],
    &["std", "net", "ToSocketAddrs"],
    &["std", "net", "UdpSocket"],
    &["std", "env"],
    &["std", "os"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
    &["SystemTime"],
    &["RandomState"],
    &["Instant", "now"],
    &["Timestamp", "now"],
    &["Zoned", "now"],
    &["tokio"],
    &["tonic"],
    &["prost"],
    &["notify"],
    &["cap_std"],
    &["tracing"],
    &["rand"],
];

/// The most lines of a file that gives no reason for its length.
const MAX_LINES: usize = 700;

/// The most lines of a function that gives no reason for its length: a screen.
const MAX_LINES_OF_FUNCTION: usize = 70;

/// The tests that print, below `tests/it/`. Each has a long run (`tests/README.md`) that somebody watches with
/// `--nocapture`: it shows its progress, its seed and what it has covered.
const PRINTING: &[&str] = &[
    "cached.rs",
    "edits.rs",
    "faults/cycles.rs",
    "incremental.rs",
    "kubelet/replayed.rs",
    "laws.rs",
    "laws/shares.rs",
    "mutants.rs",
    "mutants/copy.rs",
    "mutants/generated.rs",
    "observe/export.rs",
    "tls/rotation.rs",
];

struct Source {
    /// The path below `src/`, or below `tests/it/`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// Returns `name` for `name.rs` and `language` for `language/json.rs`.
    fn module(&self) -> &str {
        let first = self
            .path
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Returns how many `super` lead from the file to the crate's root.
    fn depth(&self) -> usize {
        let n_parts = self.path.components().count();
        if self.path.ends_with("mod.rs") {
            n_parts - 1
        } else {
            n_parts
        }
    }

    /// Returns `compile`, `section` for `compile/section.rs` and `compile` for `compile/mod.rs`.
    fn path_of_modules(&self) -> Vec<&str> {
        let n_names = self.path.components().count() - usize::from(self.path.ends_with("mod.rs"));
        let names = self.path.components().take(n_names);
        let names = names.map(|name| name.as_os_str().to_str().unwrap());
        names
            .map(|name| name.strip_suffix(".rs").unwrap_or(name))
            .collect()
    }

    fn is_tests(&self) -> bool {
        self.path.ends_with("tests.rs")
            || self
                .path
                .components()
                .any(|part| part.as_os_str() == "tests")
    }

    /// Returns all paths except those in tests, which may use anything that they need.
    fn shipped_paths(&self) -> Vec<UsedPath> {
        let mut paths = paths(&self.text);
        paths.retain(|used| !used.in_tests && !self.is_tests());
        paths
    }

    fn is(&self, path: &str) -> bool {
        self.path == Path::new(path)
    }
}

fn sources() -> Vec<Source> {
    sources_below("src")
}

/// Returns all Rust files in a folder of the repository, sorted by path.
fn sources_below(folder: &str) -> Vec<Source> {
    fn collect(folder: &Path, root: &Path, sources: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, root, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source {
                    path: path.strip_prefix(root).unwrap().to_owned(),
                    text,
                });
            }
        }
    }
    let root = crate::support::repository().join(folder);
    let mut sources = Vec::new();
    collect(&root, &root, &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 20, "the sources are there");
    sources
}

fn assert_none(what: &str, violations: &BTreeSet<String>) {
    assert!(
        violations.is_empty(),
        "{what}:\n  {}",
        violations.iter().cloned().collect::<Vec<_>>().join("\n  ")
    );
}

#[test]
fn a_module_only_uses_modules_above_it() {
    let mut violations = BTreeSet::new();
    for source in sources() {
        let path = source.path.display();
        if source.is("lib.rs") {
            continue; // The crate's root names every module.
        }
        let module = source.module();
        let allowed: &[&str] = match MODULES.iter().find(|(name, _)| *name == module) {
            Some((_, allowed)) => allowed,
            None if module == "main" => &["cli"],
            None => {
                violations.insert(format!("{path}: `{module}` is no module"));
                continue;
            }
        };
        for used in source.shipped_paths() {
            let other = match used.segments.first().map(String::as_str) {
                Some("crate" | "iamd") => used.segments.get(1).map_or("", String::as_str),
                Some("super") => {
                    let n_supers = used
                        .segments
                        .iter()
                        .take_while(|segment| *segment == "super")
                        .count();
                    if n_supers < source.depth() + used.n_modules {
                        continue;
                    }
                    violations.insert(format!(
                        "{path}: `{used}` leaves the module: begin with `crate::`"
                    ));
                    continue;
                }
                _ => continue,
            };
            if other != module && !allowed.contains(&other) {
                violations.insert(format!("{path}: `{module}` may not use `{used}`"));
            }
        }
    }
    assert_none("the layers are broken", &violations);
}

/// Returns, for each shipped file by its module path, the other files of its module that it uses.
fn used_files() -> BTreeMap<String, BTreeSet<String>> {
    let sources = sources();
    let shipped = sources.iter().filter(|source| !source.is_tests());
    let files: BTreeMap<Vec<&str>, &Source> = shipped
        .map(|source| (source.path_of_modules(), source))
        .collect();
    let mut uses = BTreeMap::new();
    for (here, source) in &files {
        let mut used_here = BTreeSet::new();
        for used in source.shipped_paths() {
            let segments: Vec<&str> = used.segments.iter().map(String::as_str).collect();
            let n_supers = segments.iter().take_while(|s| **s == "super").count();
            let path = match segments.first() {
                Some(&("crate" | "iamd")) => segments[1..].to_vec(),
                Some(&"super") => {
                    let n_kept = here.len() - n_supers.saturating_sub(used.n_modules);
                    [&here[..n_kept], &segments[n_supers..]].concat()
                }
                Some(&"self") => [here, &segments[1..]].concat(),
                _ => [here, &segments[..]].concat(),
            };
            // Finds the file that contains what the path names. Further segments are items in it.
            let mut file = &path[..];
            while !file.is_empty() && !files.contains_key(file) {
                file = &file[..file.len() - 1];
            }
            if file != &here[..] && file.first() == here.first() {
                used_here.insert(file.join("::"));
            }
        }
        uses.insert(here.join("::"), used_here);
    }
    uses
}

/// Returns the sets of more than one file in which each reaches the others.
fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<BTreeSet<String>> {
    let mut reach = uses.clone();
    loop {
        let further: BTreeMap<String, BTreeSet<String>> = reach
            .iter()
            .map(|(file, used)| {
                let theirs = used.iter().filter_map(|other| reach.get(other)).flatten();
                (file.clone(), used.iter().chain(theirs).cloned().collect())
            })
            .collect();
        if further == reach {
            break;
        }
        reach = further;
    }
    let reaches = |one: &str, other: &str| reach.get(one).is_some_and(|used| used.contains(other));
    let circle = |file: &String| -> BTreeSet<String> {
        let others = reach.keys();
        let back = others.filter(|other| reaches(file, other) && reaches(other, file));
        back.cloned().collect()
    };
    let circles = reach.keys().map(circle);
    circles.filter(|circle| circle.len() > 1).collect()
}

/// Returns whether one of the files has all others in its folder and is not the root of a module.
fn is_file_with_folder(circle: &BTreeSet<String>) -> bool {
    let Some(first) = circle.first() else {
        return false;
    };
    let folder = format!("{first}::");
    let is_in_folder = |file: &String| file == first || file.starts_with(&folder);
    first.contains("::") && circle.iter().all(is_in_folder)
}

#[test]
fn files_use_each_other_in_no_new_circle() {
    let circles = circles(&used_files());
    let accepts = |files: &[&str], circle: &BTreeSet<String>| {
        circle.iter().all(|file| files.contains(&&**file))
    };
    let mut violations = BTreeSet::new();
    for circle in &circles {
        let is_strict = WITHOUT_CIRCLES.iter().any(|module| {
            circle
                .iter()
                .any(|file| file.split("::").next() == Some(module))
        });
        let is_accepted = CIRCLES.iter().any(|(files, _)| accepts(files, circle));
        if is_strict || !is_file_with_folder(circle) && !is_accepted {
            let files: Vec<&str> = circle.iter().map(String::as_str).collect();
            violations.insert(files.join(", "));
        }
    }
    assert_none("files of a module use each other in a circle", &violations);
    for (files, reason) in CIRCLES {
        assert!(!reason.is_empty(), "{files:?} need a reason");
        let is_there = circles.iter().any(|circle| accepts(files, circle));
        assert!(is_there, "{files:?} are no circle any more: remove them");
    }
}

#[test]
fn circles_are_found_where_files_reach_each_other() {
    let uses = |pairs: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
        let owned = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect();
        let pairs = pairs.iter();
        pairs
            .map(|(file, used)| ((*file).to_owned(), owned(used)))
            .collect()
    };
    let straight = uses(&[
        ("m::a", &["m::b", "m::c"]),
        ("m::b", &["m::c"]),
        ("m::c", &[]),
    ]);
    assert!(circles(&straight).is_empty());
    let round = uses(&[
        ("m::a", &["m::b"]),
        ("m::b", &["m::c"]),
        ("m::c", &["m::a"]),
        ("m::d", &["m::a"]),
        ("m::e", &["m::e::part"]),
        ("m::e::part", &["m::e"]),
    ]);
    let found: Vec<Vec<String>> = circles(&round)
        .into_iter()
        .map(|circle| circle.into_iter().collect())
        .collect();
    assert_eq!(
        found,
        [vec!["m::a", "m::b", "m::c"], vec!["m::e", "m::e::part"]]
    );
    let of_files = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect();
    assert!(is_file_with_folder(&of_files(&["m::e", "m::e::part"])));
    assert!(!is_file_with_folder(&of_files(&["m::e", "m::f"])));
    assert!(!is_file_with_folder(&of_files(&["m", "m::e", "m::f"])));
}

#[test]
fn each_layer_only_knows_those_above() {
    for (index, (module, allowed)) in MODULES.iter().enumerate() {
        for other in *allowed {
            let above = MODULES[..index].iter().any(|(name, _)| name == other);
            assert!(above, "`{module}` uses `{other}`, which is not above it");
        }
    }
    let uses = |module: &str, other: &str| {
        MODULES
            .iter()
            .any(|(name, allowed)| *name == module && allowed.contains(&other))
    };
    assert!(
        !uses("store", "service") && !uses("service", "store"),
        "one changes a `Live` and a `SharedState`, the other reads them"
    );
}

#[test]
fn pure_modules_reach_for_nothing_outside() {
    let n_pure = MODULES
        .iter()
        .position(|(module, _)| *module == LAST_PURE_MODULE)
        .unwrap()
        + 1;
    let mut violations = BTreeSet::new();
    for source in sources() {
        if !MODULES[..n_pure]
            .iter()
            .any(|(module, _)| *module == source.module())
        {
            continue;
        }
        for used in source.shipped_paths() {
            for impure in IMPURE {
                // A crate can only begin a path. A type can be anywhere in it.
                let is_crate = impure[0].starts_with(|c: char| c.is_ascii_lowercase());
                let mut windows = used.segments.windows(impure.len());
                let found = if is_crate {
                    windows.next().is_some_and(|w| w == *impure)
                } else {
                    windows.any(|w| w == *impure)
                };
                if found {
                    violations.insert(format!("{}: `{used}`", source.path.display()));
                }
            }
        }
    }
    assert_none(
        "a pure module reaches outside: let the caller bring what it needs",
        &violations,
    );
}

#[test]
fn domain_types_know_nothing_of_files_and_messages() {
    let mut violations = BTreeSet::new();
    for source in sources() {
        for used in source.shipped_paths() {
            let first = used.segments.first().map_or("", String::as_str);
            let is_serde = matches!(
                first,
                "serde" | "serde_json" | "serde_saphyr" | "serde_core"
            );
            let may_serde =
                source.is("language/json.rs") || MODULES_WITH_SHAPES.contains(&source.module());
            let is_wire = first.starts_with("prost")
                || first.starts_with("tonic")
                || used.segments.iter().any(|s| s == "pb");
            let may_wire = source.module() == "service";
            if (is_serde && !may_serde) || (is_wire && !may_wire) {
                violations.insert(format!("{}: `{used}`", source.path.display()));
            }
        }
    }
    assert_none(
        "shapes of files and messages outside of their modules",
        &violations,
    );
}

/// Returns whether one of these lines gives the reason for a length.
fn is_reason<'l>(lines: impl IntoIterator<Item = &'l str>) -> bool {
    let mut lines = lines.into_iter();
    lines.any(|line| line.to_lowercase().contains("long because"))
}

#[test]
fn long_files_say_why() {
    let mut violations = BTreeSet::new();
    for folder in ["src", "tests/it"] {
        for source in sources_below(folder) {
            let n_lines = source.text.lines().count();
            let lines = source.text.lines();
            let page = lines.take_while(|line| line.starts_with("//!"));
            if n_lines > MAX_LINES && !is_reason(page) {
                let path = source.path.display();
                violations.insert(format!("{folder}/{path}: {n_lines} lines"));
            }
        }
    }
    assert_none(
        "find the seam, or say `The file is long because …` in the module page",
        &violations,
    );
}

#[test]
fn tests_print_in_long_runs_only() {
    let prints = |source: &Source| {
        let mut lines = source.text.lines().map(str::trim_start);
        lines.any(|line| line.starts_with("println!(") || line.starts_with("eprintln!("))
    };
    let printing: BTreeSet<String> = sources_below("tests/it")
        .iter()
        .filter(|source| prints(source))
        .map(|source| source.path.display().to_string())
        .collect();
    let expected: BTreeSet<String> = PRINTING.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(printing, expected, "a test asserts; it has nobody to tell");
}

#[test]
fn long_functions_say_why() {
    let mut violations = BTreeSet::new();
    let mut n_long = 0;
    for source in sources() {
        for function in functions(&source.text) {
            if function.n_lines <= MAX_LINES_OF_FUNCTION {
                continue;
            }
            n_long += 1;
            if !is_reason(function.comment.lines()) {
                let (path, name) = (source.path.display(), &function.name);
                violations.insert(format!("{path}: {name}: {} lines", function.n_lines));
            }
        }
    }
    assert!(n_long > 1, "the tables are among them");
    assert_none(
        "split it, or say `The function is long because …` in its comment",
        &violations,
    );
}

/// Returns the first sentence of the file's description, which stands in its `//!` lines.
fn description(source: &Source) -> String {
    let lines = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"));
    let first: Vec<&str> = lines
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let text = first.join(" ");
    let end = text.find(". ").or_else(|| text.rfind('.'));
    text.get(..end.unwrap_or(text.len()))
        .unwrap()
        .trim_end_matches(':')
        .replace(['[', ']'], "") // links lead nowhere on that page
}

/// A reader of the architecture finds each file by what it does.
#[test]
fn the_architecture_lists_every_file() {
    let mut expected = String::new();
    let mut module = String::new();
    for source in sources() {
        if source.is_tests() || source.path.components().count() == 1 && source.is("lib.rs") {
            continue;
        }
        if source.module() != module {
            module = source.module().to_owned();
            expected += &format!("\n**{module}**\n\n");
        }
        let text = description(&source);
        assert!(
            !text.is_empty(),
            "{} says nothing of itself",
            source.path.display()
        );
        expected += &format!("- `{}`: {text}.\n", source.path.display());
    }
    let page = fs::read_to_string(crate::support::repository().join("docs/architecture.md"));
    let page = page.unwrap();
    let (_, list) = page.split_once("## File by file\n").unwrap();
    let (_, list) = list.split_once("\n\n").unwrap();
    let list = list.split("\n## ").next().unwrap();
    assert!(
        list.trim() == expected.trim(),
        "the list of files should be:\n{expected}"
    );
}
