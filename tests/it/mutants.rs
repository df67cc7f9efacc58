//! Tests the tests: one rule after another is broken on purpose, and the tests must detect it.
//!
//! The list is `tests/mutants/*.yaml`. It has mutants of the rules of the semantics, and mutants of the store, the
//! service and the command line that name the tests that must fail. All mutants are built into one changed copy of the
//! sources. Each is behind a check at run time, so that one build is enough for all of them. `tests/README.md` says how
//! to run it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::rules::defined;
use crate::support::{files_below, repository};
use copy::{Noticed, Programs, Tests, build, run, run_without_mutant, write_copy};

mod copy;
mod generated;

/// The minimum number of mutants.
const N_MUTANTS: usize = 60;

const SCENARIOS: Tests<'static> = Tests {
    of_units: false,
    arguments: &["--exact", "scenarios::scenarios_are_answered_by_the_engine"],
};
/// The scenarios, with each question asked several times, so that there are indexes.
const CACHED: Tests<'static> = Tests {
    of_units: false,
    arguments: &["--exact", "scenarios::scenarios_are_answered_by_the_cache"],
};
const LAWS: Tests<'static> = Tests {
    of_units: false,
    arguments: &["--exact", "laws::the_engine_answers_as_the_oracle_does"],
};
const INDEXES: Tests<'static> = Tests {
    of_units: false,
    arguments: &["indexes::", "work::", "explain::control_policies"],
};
/// The unit tests, for mutants that no question shows, such as those for a pattern of hundreds of characters.
const UNITS: Tests<'static> = Tests {
    of_units: true,
    arguments: &["compile::", "engine::", "language::"],
};

/// A mutant also counts as detected if a test runs this long with it. The tests take seconds.
const LIMIT: Duration = Duration::from_secs(180);

/// One way to break a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// The rule that it breaks. Empty if it names its tests.
    #[serde(default)]
    rule: String,
    /// What it breaks.
    what: String,
    /// The source file, from the repository's root.
    file: String,
    /// A text that occurs once in the file, if `find` alone would be ambiguous. The place is after it.
    #[serde(default)]
    after: Option<String>,
    /// The place: a whole expression, or any text if there is a `schema`. White space is ignored in comparisons.
    find: String,
    /// The broken expression.
    #[serde(default)]
    replace: Option<String>,
    /// For a place that is not an expression: the text that replaces `find`, with `MUTANT` for the check which mutant
    /// is active.
    #[serde(default)]
    schema: Option<String>,
    /// The unit tests that must fail, by their whole names. If no tests are named, all tests that can detect a broken
    /// rule run.
    #[serde(default)]
    units: Vec<String>,
    /// The tests of `tests/it` that must fail.
    #[serde(default)]
    it: Vec<String>,
    /// The list that it is in: `layers` for `tests/mutants/layers.yaml`.
    #[serde(skip)]
    list: String,
}

impl Mutant {
    /// Returns whether its rule, source file, description or list contains this text.
    fn is_about(&self, text: &str) -> bool {
        [&self.rule, &self.file, &self.what, &self.list]
            .iter()
            .any(|of_mutant| of_mutant.contains(text))
    }

    fn names_tests(&self) -> bool {
        !self.units.is_empty() || !self.it.is_empty()
    }

    /// Returns the tests that it names, and for each whether it is a unit test.
    fn named_tests(&self) -> impl Iterator<Item = (bool, &str)> {
        let units = self.units.iter().map(|name| (true, name.as_str()));
        units.chain(self.it.iter().map(|name| (false, name.as_str())))
    }

    /// Returns the tests among those it names that fail to detect it.
    fn unmoved_tests(&self, programs: &Programs, number: usize) -> Vec<&str> {
        let named = self.named_tests();
        let unmoved = named.filter(|(of_units, name)| {
            let tests = Tests {
                of_units: *of_units,
                arguments: &["--exact", name],
            };
            run(programs, &tests, "", number, LIMIT).is_none()
        });
        unmoved.map(|(_, name)| name).collect()
    }
}

/// Returns all mutants. Their numbers are their positions in the list, from 1.
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

/// Returns a text without white space, and the original position of each of its bytes.
fn squeezed(text: &str) -> (String, Vec<usize>) {
    let kept = text.char_indices().filter(|(_, c)| !c.is_whitespace());
    let (mut squeezed, mut places) = (String::new(), Vec::new());
    for (at, character) in kept {
        squeezed.push(character);
        places.extend((0..character.len_utf8()).map(|offset| at + offset));
    }
    (squeezed, places)
}

/// Returns where in `source` the mutant's place begins and ends.
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

/// Returns the source with all its mutants, each with its number.
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

/// Returns the mutants of each file, with their numbers.
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

/// The list matches the sources.
#[test]
fn every_mutant_has_its_place() {
    let mutants = read_mutants();
    assert!(mutants.len() >= N_MUTANTS, "only {} mutants", mutants.len());
    let rules = defined();
    let unknown = mutants.iter().filter(|mutant| {
        let is_without = mutant.rule.is_empty() && mutant.names_tests();
        !is_without && !rules.contains(&mutant.rule)
    });
    let mut wrong: Vec<String> = unknown
        .map(|mutant| format!("no rule `{}`: {}", mutant.rule, mutant.what))
        .collect();
    let (units, it) = (functions_below("src"), functions_below("tests/it"));
    for mutant in &mutants {
        let is_missing = |(of_units, test): &(bool, &str)| {
            let name = test.rsplit("::").next().unwrap();
            !if *of_units { &units } else { &it }.contains(name)
        };
        let missing = mutant.named_tests().filter(is_missing);
        wrong.extend(missing.map(|(_, test)| format!("no test {test}: {}", mutant.what)));
    }
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

/// Returns the names of all functions in the sources below a folder.
fn functions_below(folder: &str) -> BTreeSet<String> {
    let files = files_below(&repository().join(folder), &["rs"]);
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
    let names = |text: String| -> Vec<String> {
        let after = text.split("fn ").skip(1);
        let name = |after: &str| after.split('(').next().unwrap_or_default().to_owned();
        after.map(name).collect()
    };
    texts.flat_map(names).collect()
}

/// `IAMD_MUTANTS` limits the run to mutants whose rule, source file, description or list contains it.
#[test]
#[ignore = "it builds a changed copy of everything and takes minutes"]
fn every_mutant_is_noticed() {
    let mutants = read_mutants();
    let wanted = std::env::var("IAMD_MUTANTS").unwrap_or_default();
    let tried: Vec<&Mutant> = mutants
        .iter()
        .filter(|mutant| mutant.is_about(&wanted))
        .collect();
    let n_tried = tried.len();
    assert!(n_tried > 0, "no mutant is about `{wanted}`");
    let folder = repository().join("target/mutants");
    let copy = folder.join("src");
    let changed = by_file(&mutants).into_iter().map(|(file, mutants)| {
        let source = fs::read_to_string(repository().join(file)).unwrap();
        (file, with_mutants(&source, &mutants).unwrap())
    });
    write_copy(&copy, &changed.collect());
    let programs =
        build(&copy, &folder.join("build")).unwrap_or_else(|broken| panic!("{}", broken.told));
    pass_without_mutant(&programs, &tried);
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
                    if mutant.names_tests() {
                        let unmoved = mutant.unmoved_tests(&programs, index + 1);
                        if unmoved.is_empty() {
                            println!("KILLED    {name}: by what it names");
                        } else {
                            println!("SURVIVED  {name}: {unmoved:?}");
                            survivors
                                .lock()
                                .unwrap()
                                .push(format!("{name}: {unmoved:?}"));
                        }
                        continue;
                    }
                    // The scenarios of its rule come first, because most mutants get no further.
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
                        run(&programs, tests, (*only)?, index + 1, LIMIT)
                    });
                    match noticed {
                        Some(by) => println!("KILLED    {name}: {}", told(&by, &mutant.rule)),
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

/// Runs the tests that must detect the mutants of `tried`, without a mutant. They must pass.
fn pass_without_mutant(programs: &Programs, tried: &[&Mutant]) {
    if tried.iter().any(|mutant| !mutant.names_tests()) {
        let all = [&SCENARIOS, &CACHED, &LAWS, &INDEXES, &UNITS];
        run_without_mutant(programs, &all, LIMIT);
    }
    for of_units in [true, false] {
        let named = tried.iter().flat_map(|mutant| mutant.named_tests());
        let names: BTreeSet<&str> = named
            .filter(|(is_unit, _)| *is_unit == of_units)
            .map(|(_, name)| name)
            .collect();
        if names.is_empty() {
            continue;
        }
        let arguments: Vec<&str> = std::iter::once("--exact").chain(names).collect();
        let tests = Tests {
            of_units,
            arguments: &arguments,
        };
        run_without_mutant(programs, &[&tests], 4 * LIMIT);
    }
}

/// Returns a line about the result of a mutant of `rule`.
fn told(noticed: &Noticed, rule: &str) -> String {
    let n_citing = noticed
        .scenarios
        .iter()
        .filter(|rules| rules.iter().any(|cited| cited == rule))
        .count();
    match noticed.scenarios.len() {
        _ if noticed.took_too_long => format!("{} took too long", noticed.test),
        0 => format!("by {}", noticed.test),
        n_scenarios => format!("by {n_scenarios} scenarios, {n_citing} of {rule}"),
    }
}

/// Returns whether any file of scenarios names the rule.
fn is_cited(rule: &str) -> bool {
    files_below(&repository().join("tests/scenarios"), &["yaml"])
        .iter()
        .any(|path| fs::read_to_string(path).unwrap().contains(rule))
}
