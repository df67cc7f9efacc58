//! The tests are tested: one rule after the other is broken on purpose, and the scenarios or the laws must notice.
//!
//! The list is `tests/mutants/*.yaml`. All mutants are built into one changed copy of the sources, each behind a
//! question that is asked while the program runs, so that there is one build and not a hundred. `tests/README.md` says
//! how to run it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::rules::defined;
use crate::support::{files_below, repository};

/// The fewest mutants there must be.
const N_MUTANTS: usize = 60;

/// One of the two test programs, and what of it may notice a mutant.
struct Tests {
    /// Whether the unit tests are meant, instead of `tests/it`.
    of_units: bool,
    arguments: &'static [&'static str],
}

const SCENARIOS: Tests = Tests {
    of_units: false,
    arguments: &["--exact", "scenarios::scenarios_are_answered_by_the_engine"],
};
/// Each question several times, so that there are indexes.
const CACHED: Tests = Tests {
    of_units: false,
    arguments: &["--exact", "scenarios::scenarios_are_answered_by_the_cache"],
};
const LAWS: Tests = Tests {
    of_units: false,
    arguments: &["--exact", "laws::the_engine_answers_as_the_oracle_does"],
};
const INDEXES: Tests = Tests {
    of_units: false,
    arguments: &["indexes::", "work::", "explain::control_policies"],
};
/// What no question shows, such as a pattern of hundreds of characters.
const UNITS: Tests = Tests {
    of_units: true,
    arguments: &["compile::", "engine::", "language::"],
};

/// How many questions the laws ask a mutant that every scenario overlooks.
const LAWS_CASES: &str = "20000";

/// A mutant that makes a test run this long is noticed too. The tests take seconds.
const LIMIT: Duration = Duration::from_secs(180);

/// One way to break a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// The rule it breaks.
    rule: String,
    /// How.
    what: String,
    /// The source file, from the repository's root.
    file: String,
    /// A text that stands once in the file, if `find` needs it to be unmistakable: the place is behind it.
    #[serde(default)]
    after: Option<String>,
    /// The place: a whole expression, or any text if there is a `schema`. Compared without white space.
    find: String,
    /// The broken expression.
    #[serde(default)]
    replace: Option<String>,
    /// For what is no expression: the text to put in place of `find`, with `MUTANT` where it is asked who is active.
    #[serde(default)]
    schema: Option<String>,
    /// The list it stands in: `layers` of `tests/mutants/layers.yaml`.
    #[serde(skip)]
    list: String,
}

impl Mutant {
    /// Whether its rule, source file, description or list has this in it.
    fn is_about(&self, text: &str) -> bool {
        [&self.rule, &self.file, &self.what, &self.list]
            .iter()
            .any(|of_mutant| of_mutant.contains(text))
    }
}

/// All mutants; their places in the list are their numbers, from 1.
fn read_mutants() -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for path in files_below(&repository().join("tests/mutants"), &["yaml"]) {
        let text = fs::read_to_string(&path).unwrap();
        let read: Vec<Mutant> = serde_saphyr::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let list = path.file_stem().unwrap().to_str().unwrap();
        mutants.extend(read.into_iter().map(|mutant| Mutant {
            list: list.to_owned(),
            ..mutant
        }));
    }
    mutants
}

/// A text without white space, and where each of its bytes stood.
fn squeezed(text: &str) -> (String, Vec<usize>) {
    let kept = text.char_indices().filter(|(_, c)| !c.is_whitespace());
    let (mut squeezed, mut places) = (String::new(), Vec::new());
    for (at, character) in kept {
        squeezed.push(character);
        places.extend((0..character.len_utf8()).map(|offset| at + offset));
    }
    (squeezed, places)
}

/// Where in `source` the mutant's place begins and ends.
fn place(mutant: &Mutant, source: &str) -> Result<(usize, usize), String> {
    let (text, places) = squeezed(source);
    let once = |wanted: &str, from: usize| {
        let wanted = squeezed(wanted).0;
        let found: Vec<usize> = text[from..]
            .match_indices(&wanted)
            .map(|(at, _)| at)
            .collect();
        match (found.as_slice(), from) {
            ([one], 0) => Ok((*one, one + wanted.len())),
            ([first, ..], 1..) => Ok((from + first, from + first + wanted.len())),
            _ => Err(format!(
                "{} times in {}: `{wanted}`",
                found.len(),
                mutant.file
            )),
        }
    };
    let from = match &mutant.after {
        Some(after) => once(after, 0)?.1,
        None => 0,
    };
    let (begin, end) = once(&mutant.find, from)?;
    Ok((places[begin], places[end - 1] + 1))
}

/// The source with all its mutants, each with its number.
fn with_mutants(source: &str, mutants: &[(usize, &Mutant)]) -> Result<String, String> {
    let mut by_place: BTreeMap<(usize, usize), Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in mutants {
        let found = place(mutant, source).map_err(|why| format!("{}: {why}", mutant.rule))?;
        by_place.entry(found).or_default().push((*number, mutant));
    }
    let (mut mutated, mut copied) = (String::new(), 0);
    for ((begin, end), mutants) in by_place {
        let rule = &mutants[0].1.rule;
        if begin < copied {
            return Err(format!("{rule}: its place overlaps another one"));
        }
        let original = &source[begin..end];
        mutated.push_str(&source[copied..begin]);
        match mutants.as_slice() {
            [
                (
                    number,
                    Mutant {
                        schema: Some(schema),
                        replace: None,
                        ..
                    },
                ),
            ] => {
                mutated
                    .push_str(&schema.replace("MUTANT", &format!("crate::mutant::is({number})")));
            }
            _ => {
                mutated.push('(');
                for (number, mutant) in &mutants {
                    let Mutant {
                        replace: Some(replace),
                        schema: None,
                        ..
                    } = mutant
                    else {
                        return Err(format!(
                            "{rule}: either `replace`, or `schema` alone at its place"
                        ));
                    };
                    write!(
                        mutated,
                        "if crate::mutant::is({number}) {{ {replace} }} else "
                    )
                    .unwrap();
                }
                write!(mutated, "{{ {original} }})").unwrap();
            }
        }
        copied = end;
    }
    mutated.push_str(&source[copied..]);
    Ok(mutated)
}

/// The mutants of each file, with their numbers.
fn by_file(mutants: &[Mutant]) -> BTreeMap<&str, Vec<(usize, &Mutant)>> {
    let mut by_file: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (index, mutant) in mutants.iter().enumerate() {
        by_file
            .entry(&mutant.file)
            .or_default()
            .push((index + 1, mutant));
    }
    by_file
}

/// The list keeps up with the sources.
#[test]
fn every_mutant_has_its_place() {
    let mutants = read_mutants();
    assert!(mutants.len() >= N_MUTANTS, "only {} mutants", mutants.len());
    let rules = defined();
    let unknown = mutants
        .iter()
        .filter(|mutant| !rules.contains(&mutant.rule));
    let mut wrong: Vec<String> = unknown
        .map(|mutant| format!("no rule {}", mutant.rule))
        .collect();
    for (file, mutants) in by_file(&mutants) {
        let source = fs::read_to_string(repository().join(file)).unwrap_or_default();
        for mutant in &mutants {
            wrong.extend(with_mutants(&source, &[*mutant]).err());
        }
        if wrong.is_empty() {
            wrong.extend(with_mutants(&source, &mutants).err());
        }
    }
    assert!(
        wrong.is_empty(),
        "the sources have moved on:\n  {}",
        wrong.join("\n  ")
    );
}

/// What the changed copy asks to know which mutant is active.
const SWITCH: &str = r#"//! Which mutant is active.
use std::sync::OnceLock;
pub(crate) fn is(number: usize) -> bool {
    static ACTIVE: OnceLock<usize> = OnceLock::new();
    let read = || std::env::var("IAMD_MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    *ACTIVE.get_or_init(read) == number
}
"#;

/// `IAMD_MUTANTS` limits the run to the mutants whose rule, source file, description or list contains it.
#[test]
#[ignore = "it builds a changed copy of everything and takes minutes"]
fn every_mutant_is_noticed() {
    let mutants = read_mutants();
    let wanted = std::env::var("IAMD_MUTANTS").unwrap_or_default();
    let n_tried = mutants
        .iter()
        .filter(|mutant| mutant.is_about(&wanted))
        .count();
    assert!(n_tried > 0, "no mutant is about `{wanted}`");
    let folder = repository().join("target/mutants");
    let copy = folder.join("src");
    write_copy(&copy, &mutants);
    let programs = build(&copy, &folder.join("build"));
    for tests in [SCENARIOS, CACHED, LAWS, INDEXES, UNITS] {
        if let Some(noticed) = run(&programs, &copy, &tests, "", 0) {
            panic!(
                "{} fails without a mutant:\n{}",
                noticed.test, noticed.output
            );
        }
    }
    let (next, survivors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutant) = mutants.get(index) else {
                        break;
                    };
                    if !mutant.is_about(&wanted) {
                        continue;
                    }
                    let name = format!("{:<5} {}", mutant.rule, mutant.what);
                    // The scenarios of its rule come first: most mutants get no further.
                    let of_rule = Some(&*mutant.rule).filter(|rule| is_cited(rule));
                    let tries = [
                        (SCENARIOS, of_rule),
                        (SCENARIOS, Some("")),
                        (CACHED, Some("")),
                        (LAWS, Some("")),
                        (INDEXES, Some("")),
                        (UNITS, Some("")),
                    ];
                    let noticed = tries.iter().find_map(|(tests, only)| {
                        run(&programs, &copy, tests, (*only)?, index + 1)
                    });
                    match noticed {
                        Some(by) => println!("KILLED    {name}: {}", by.tell(&mutant.rule)),
                        None => {
                            println!("SURVIVED  {name}");
                            survivors.lock().unwrap().push(name);
                        }
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().unwrap();
    println!("{} of {n_tried} mutants killed", n_tried - survivors.len());
    assert!(
        survivors.is_empty(),
        "nobody noticed:\n  {}",
        survivors.join("\n  ")
    );
}

/// What a mutant was noticed by.
struct Noticed {
    test: String,
    /// The rules of the scenarios that got another answer, one element each.
    scenarios: Vec<Vec<String>>,
    took_too_long: bool,
    output: String,
}

impl Noticed {
    fn tell(&self, rule: &str) -> String {
        let n_citing = self
            .scenarios
            .iter()
            .filter(|rules| rules.iter().any(|cited| cited == rule))
            .count();
        match self.scenarios.len() {
            _ if self.took_too_long => format!("{} took too long", self.test),
            0 => format!("by {}", self.test),
            n_scenarios => format!("by {n_scenarios} scenarios, {n_citing} of {rule}"),
        }
    }
}

/// Whether any file of scenarios names the rule.
fn is_cited(rule: &str) -> bool {
    files_below(&repository().join("tests/scenarios"), &["yaml"])
        .iter()
        .any(|path| fs::read_to_string(path).unwrap().contains(rule))
}

/// Runs tests with one mutant, 0 for none, over the files of scenarios that contain `only`. Nothing if it passes.
fn run(
    programs: &Programs,
    copy: &Path,
    tests: &Tests,
    only: &str,
    number: usize,
) -> Option<Noticed> {
    let program = if tests.of_units {
        &programs.units
    } else {
        &programs.it
    };
    let mut child = Command::new(program)
        .args(tests.arguments)
        .current_dir(copy)
        .env("IAMD_MUTANT", number.to_string())
        .env("IAMD_TEST_SCENARIOS", only)
        .env("IAMD_LAWS_CASES", LAWS_CASES)
        .env("IAMD_LAWS_THREADS", "1")
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
    let output = ended.recv_timeout(LIMIT);
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

/// The rules of each scenario that the runner of scenarios says got another answer.
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

/// The test programs of the copy.
struct Programs {
    it: PathBuf,
    units: PathBuf,
}

/// Builds the test programs of the copy. What other crates compile to is shared with the original, where this version of
/// Cargo can keep it apart from the programs.
fn build(copy: &Path, target: &Path) -> Programs {
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
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_BUILD_BUILD_DIR", shared);
    let built = command.output().unwrap();
    let messages: Vec<serde_json::Value> = String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let errors: String = messages
        .iter()
        .filter(|message| message["message"]["level"] == "error")
        .filter_map(|message| message["message"]["rendered"].as_str())
        .collect();
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
    assert!(
        built.status.success(),
        "{errors}\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    println!("built in {:?}", begun.elapsed());
    Programs {
        it: program("it").unwrap(),
        units: program("iamd").unwrap(),
    }
}

/// Writes the package with its mutants to `copy`. Files that are there already stay untouched, so that what they
/// compile to is still good.
fn write_copy(copy: &Path, mutants: &[Mutant]) {
    let by_file = by_file(mutants);
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(repository()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
            copy_below(Path::new(&name), copy, &by_file, &mut written);
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
    // By another version Cargo tells the copy from the original: they share a folder.
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
    mutants: &BTreeMap<&str, Vec<(usize, &Mutant)>>,
    written: &mut BTreeSet<PathBuf>,
) {
    let source = repository().join(path);
    if source.is_dir() {
        for entry in fs::read_dir(source).unwrap() {
            copy_below(
                &path.join(entry.unwrap().file_name()),
                copy,
                mutants,
                written,
            );
        }
        return;
    }
    let mut content = fs::read(source).unwrap();
    if let Some(mutants) = path.to_str().and_then(|path| mutants.get(path)) {
        let text = String::from_utf8(content).unwrap();
        content = with_mutants(&text, mutants).unwrap().into_bytes();
    }
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

/// Removes what an earlier run left and this one did not write.
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
