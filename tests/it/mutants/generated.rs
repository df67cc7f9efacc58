//! Generated mutants: those that cargo-mutants lists, without a build for each.
//!
//! A function gets the bodies of all its mutants beside its own, and checks at run time which one is active:
//!
//! ```text
//! fn is_full(&self) -> bool {        fn is_full(&self) -> bool {
//!     self.len == self.most     →        match crate::mutant::active() {
//! }                                          7 => { true }
//!                                            8 => { self.len != self.most }
//!                                            _ => { self.len == self.most }
//!                                        }
//!                                    }
//! ```
//!
//! Each mutant is a whole body and not a check at each operator, because the list says where an operator is but not
//! what its operands are. That way nothing here needs to understand Rust, and nested mutants are not a special case.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::copy::{Broken, Programs, Tests, build, run, run_without_mutant, write_copy};
use super::{CACHED, INDEXES, LAWS, SCENARIOS, UNITS};
use crate::support::{number_from_environment, repository};
use crate::worlds::Random;

/// The files whose mutants are listed, without those that do not affect an answer: unit tests, explanations, output
/// that is only printed, and the cost estimate by which the cache decides whether it is worth asking.
const LISTED: &[&str] = &[
    "--file=src/compile/**",
    "--file=src/engine/**",
    "--exclude=**/tests.rs",
    "--exclude=**/tests/**",
    "--exclude=src/engine/explain*",
    "--exclude=src/engine/explain/**",
    "--exclude-re=impl (fmt::)?(Debug|Display)",
    r"--exclude-re=\b(section|statement|condition)_cost\b",
];

const INCREMENTAL: Tests<'static> = Tests {
    of_units: false,
    arguments: &["incremental::"],
};
const OTHERS: Tests<'static> = Tests {
    of_units: false,
    arguments: &[
        "laws::",
        "cached::",
        "simulate::",
        "explain::",
        "explained::",
        "allocations::the_memory",
    ],
};

/// The tests from the fastest to the slowest, because most mutants get no further than the first.
const TRIES: &[&Tests<'static>] = &[
    &SCENARIOS,
    &CACHED,
    &LAWS,
    &INDEXES,
    &INCREMENTAL,
    &UNITS,
    &OTHERS,
];

/// A mutant counts as detected if a test runs this long with it. Without it, the test would have ended long before.
const LIMIT: Duration = Duration::from_secs(60);

/// The minimum share of detected mutants, in percent.
const LEAST_NOTICED: usize = 90;

/// One mutant, as cargo-mutants lists it.
#[derive(Debug, Deserialize)]
struct Mutant {
    file: String,
    /// The function that it is in, if any.
    function: Option<Function>,
    genre: String,
    /// The place and the change: `src/engine/work.rs:40:9: replace > with == in Work::spend`.
    name: String,
    replacement: String,
    /// The text that the replacement replaces.
    span: Span,
}

#[derive(Debug, Deserialize)]
struct Function {
    return_type: String,
    span: Span,
    /// The body in its braces, known from the mutant that replaces all of it.
    #[serde(skip)]
    body: Option<Span>,
}

impl Mutant {
    /// Returns the whole function and its body, or `None` for a mutant in a constant, where nothing can be checked at
    /// run time.
    fn place(&self) -> Option<(Span, Span)> {
        let function = self.function.as_ref()?;
        Some((function.span, function.body?))
    }
}

/// A range from one position up to but not including another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// A line and a column in characters, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

impl Span {
    /// Returns the range in bytes of `source`.
    fn in_bytes(self, source: &str) -> Range<usize> {
        let byte = |place: Place| {
            let mut lines = source.split_inclusive('\n');
            let before: usize = lines.by_ref().take(place.line - 1).map(str::len).sum();
            let line = lines.next().unwrap_or_default();
            let columns = line.chars().take(place.column - 1);
            before + columns.map(char::len_utf8).sum::<usize>()
        };
        byte(self.start)..byte(self.end)
    }
}

/// Returns all mutants that the tool lists. Their numbers are their positions in the list, from 1.
fn list() -> Vec<Mutant> {
    let listed = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["mutants", "--list", "--json"])
        .args(LISTED)
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(
        listed.status.success(),
        "`cargo install cargo-mutants --locked` comes first: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    with_bodies(serde_json::from_slice(&listed.stdout).unwrap())
}

/// Returns the mutants, each with the body of its function.
fn with_bodies(mut mutants: Vec<Mutant>) -> Vec<Mutant> {
    let place = |mutant: &Mutant| Some((mutant.file.clone(), mutant.function.as_ref()?.span));
    let bodies: BTreeMap<_, Span> = mutants
        .iter()
        .filter(|mutant| mutant.genre == "FnValue")
        .filter_map(|mutant| Some((place(mutant)?, mutant.span)))
        .collect();
    for mutant in &mut mutants {
        let body = place(mutant).and_then(|place| bodies.get(&place).copied());
        if let Some(function) = &mut mutant.function {
            function.body = body;
        }
    }
    mutants
}

/// A function with its mutants, in bytes of its file.
struct Mutated<'m> {
    /// The range from its signature to its closing brace.
    whole: Range<usize>,
    body: Range<usize>,
    /// The mutants with their numbers.
    mutants: Vec<(usize, &'m Mutant)>,
}

/// Returns the functions of one file. An outer function comes before those inside it.
fn functions<'m>(source: &str, mutants: &[(usize, &'m Mutant)]) -> Vec<Mutated<'m>> {
    let mut by_function: BTreeMap<(Span, Span), Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in mutants {
        if let Some(place) = mutant.place() {
            by_function
                .entry(place)
                .or_default()
                .push((*number, mutant));
        }
    }
    let mut mutated: Vec<Mutated> = by_function
        .into_iter()
        .map(|((whole, body), mutants)| Mutated {
            whole: whole.in_bytes(source),
            body: body.in_bytes(source),
            mutants,
        })
        .collect();
    mutated.sort_by_key(|function| (function.whole.start, usize::MAX - function.whole.end));
    mutated
}

/// A file with its mutants, and the new position of each.
#[derive(Default)]
struct Schema {
    text: String,
    /// The bytes of `text` that belong to one mutant, and its number.
    mutants: Vec<(Range<usize>, usize)>,
    /// The bytes of a whole function, and the numbers of all its mutants. A function inside another comes before it.
    functions: Vec<(Range<usize>, Vec<usize>)>,
}

impl Schema {
    fn of(source: &str, mutants: &[(usize, &Mutant)]) -> Self {
        let mut schema = Self::default();
        schema.write(source, 0..source.len(), &functions(source, mutants));
        schema
    }

    /// Writes `range` of the source with the `functions` in it.
    fn write(&mut self, source: &str, range: Range<usize>, functions: &[Mutated]) {
        let (mut copied, mut rest) = (range.start, functions);
        while let Some((function, after)) = rest.split_first() {
            let n_within = after.partition_point(|other| other.whole.end <= function.whole.end);
            let (within, after) = after.split_at(n_within);
            self.text.push_str(&source[copied..function.whole.start]);
            self.write_function(source, function, within);
            (copied, rest) = (function.whole.end, after);
        }
        self.text.push_str(&source[copied..range.end]);
    }

    fn write_function(&mut self, source: &str, function: &Mutated, within: &[Mutated]) {
        let begun = self.text.len();
        let body = function.body.clone();
        self.text
            .push_str(&source[function.whole.start..body.start]);
        self.text.push_str("match crate::mutant::active() {\n");
        let (open, close) = braces(function);
        for (number, mutant) in &function.mutants {
            let begun = self.text.len();
            let place = mutant.span.in_bytes(source);
            let (before, after) = (
                &source[body.start..place.start],
                &source[place.end..body.end],
            );
            let replacement = &mutant.replacement;
            self.text += &format!("{number} => {open}{before}{replacement}{after}\n{close}\n");
            self.mutants.push((begun..self.text.len(), *number));
        }
        self.text += &format!("_ => {open}");
        self.write(source, body.clone(), within);
        self.text += &format!("\n{close}\n}}");
        self.text.push_str(&source[body.end..function.whole.end]);
        let numbers = function.mutants.iter().map(|(number, _)| *number);
        self.functions
            .push((begun..self.text.len(), numbers.collect()));
    }

    /// Returns the mutants that caused an error at `byte`: the one there, or all of the function around it.
    fn at_fault(&self, byte: usize) -> Vec<usize> {
        if let Some((_, number)) = self.mutants.iter().find(|(place, _)| place.contains(&byte)) {
            return vec![*number];
        }
        let around = self
            .functions
            .iter()
            .find(|(place, _)| place.contains(&byte));
        around.map_or_else(Vec::new, |(_, numbers)| numbers.clone())
    }
}

/// Returns the wrapper of each body. Bodies that return `impl Trait` have different types, so they go into boxes.
fn braces(function: &Mutated) -> (String, String) {
    let (_, mutant) = function.mutants[0];
    let given = mutant.function.as_ref().map(|of| &*of.return_type);
    match given.and_then(|given| given.strip_prefix("-> impl ")) {
        Some(bound) => (
            "Box::new({ ".to_owned(),
            format!("}}) as Box<dyn {bound} + '_>,"),
        ),
        None => ("{ ".to_owned(), "}".to_owned()),
    }
}

/// Builds all of `mutants` that compile together, and returns their numbers.
fn build_viable(mutants: &[Mutant]) -> (Programs, BTreeSet<usize>) {
    let folder = repository().join("target/mutants/generated");
    let mut viable: BTreeSet<usize> = (1..=mutants.len())
        .filter(|number| mutants[number - 1].place().is_some())
        .collect();
    loop {
        let mut by_file: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
        for number in &viable {
            let mutant = &mutants[number - 1];
            let of_file = by_file.entry(&mutant.file).or_default();
            of_file.push((*number, mutant));
        }
        let schemas: BTreeMap<&str, Schema> = by_file
            .iter()
            .map(|(file, mutants)| {
                let source = fs::read_to_string(repository().join(file)).unwrap();
                (*file, Schema::of(&source, mutants))
            })
            .collect();
        let texts = schemas
            .iter()
            .map(|(file, schema)| (*file, schema.text.clone()));
        write_copy(&folder.join("src"), &texts.collect());
        match build(&folder.join("src"), &folder.join("build")) {
            Ok(programs) => return (programs, viable),
            Err(broken) => {
                let n_before = viable.len();
                for number in at_fault(&broken, &schemas) {
                    viable.remove(&number);
                }
                println!("{} do not compile", n_before - viable.len());
                assert!(
                    viable.len() < n_before,
                    "no mutant's fault: {}",
                    broken.told
                );
            }
        }
    }
}

/// Returns the mutants that prevent a copy from compiling. Those that only a later compiler pass finds show up in a
/// later try.
fn at_fault(broken: &Broken, schemas: &BTreeMap<&str, Schema>) -> BTreeSet<usize> {
    let spans = broken
        .errors
        .iter()
        .filter_map(|error| error["spans"].as_array())
        .flatten()
        .filter(|span| span["is_primary"] == true);
    spans
        .filter_map(|span| {
            // An error in the text of a macro belongs to the place where the macro is called.
            let mut span = span;
            while !span["expansion"].is_null() {
                span = &span["expansion"]["span"];
            }
            let schema = schemas.get(span["file_name"].as_str()?)?;
            Some(schema.at_fault(span["byte_start"].as_u64()? as usize))
        })
        .flatten()
        .collect()
}

/// `IAMD_MUTANTS` limits the run to mutants whose name contains it, `IAMD_MUTANTS_MINUTES` limits its time, and
/// `IAMD_MUTANTS_SEED` sets the order, so that the mutants that fit into the time are a fair sample.
#[test]
#[ignore = "it needs cargo-mutants, builds a changed copy of everything and takes an hour"]
fn generated_mutants_are_noticed() {
    let mutants = list();
    let (programs, viable) = build_viable(&mutants);
    let wanted = std::env::var("IAMD_MUTANTS").unwrap_or_default();
    let mut tried: Vec<usize> = viable
        .iter()
        .copied()
        .filter(|number| mutants[number - 1].name.contains(&wanted))
        .collect();
    let seed = number_from_environment("IAMD_MUTANTS_SEED", 1);
    Random::new(seed).shuffle(&mut tried);
    run_without_mutant(&programs, TRIES, LIMIT);
    let minutes = number_from_environment("IAMD_MUTANTS_MINUTES", 24 * 60);
    let outcomes = try_until(
        Instant::now() + Duration::from_secs(60 * minutes),
        &programs,
        &tried,
        &mutants,
    );

    let (noticed, survived): (Vec<&Outcome>, Vec<&Outcome>) = outcomes
        .iter()
        .partition(|outcome| outcome.noticed_by.is_some());
    let lines = |outcomes: &[&Outcome]| -> String {
        outcomes
            .iter()
            .map(|outcome| format!("{outcome}\n"))
            .collect()
    };
    let report = repository().join("target/mutants/generated/outcomes.txt");
    fs::write(&report, lines(&survived) + &lines(&noticed)).unwrap();
    let n_noticed = noticed.len();
    println!("\n{}", lines(&survived));
    println!(
        "{} listed, {} of them compile, {} tried (seed {seed}): {n_noticed} noticed, {:.1} %; all in {}",
        mutants.len(),
        viable.len(),
        outcomes.len(),
        100.0 * n_noticed as f64 / outcomes.len() as f64,
        report.display()
    );
    assert!(
        !outcomes.is_empty() && 100 * n_noticed >= LEAST_NOTICED * outcomes.len(),
        "fewer than {LEAST_NOTICED} % were noticed"
    );
}

/// The outcome of a mutant.
struct Outcome<'m> {
    number: usize,
    mutant: &'m Mutant,
    /// The tests that detected it, if any.
    noticed_by: Option<String>,
}

impl std::fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let name = &self.mutant.name;
        match &self.noticed_by {
            Some(by) => write!(f, "KILLED    {name}: {by}"),
            None => write!(f, "SURVIVED  {name}"),
        }
    }
}

/// Tries one mutant after another, on `IAMD_MUTANTS_THREADS` threads, and starts none once the time is up.
fn try_until<'m>(
    end: Instant,
    programs: &Programs,
    numbers: &[usize],
    mutants: &'m [Mutant],
) -> Vec<Outcome<'m>> {
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..number_from_environment("IAMD_MUTANTS_THREADS", n_threads as u64) {
            scope.spawn(|| {
                while Instant::now() < end
                    && let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let noticed = TRIES
                        .iter()
                        .find_map(|tests| run(programs, tests, "", *number, LIMIT));
                    let outcome = Outcome {
                        number: *number,
                        mutant: &mutants[number - 1],
                        noticed_by: noticed.map(|noticed| match noticed.took_too_long {
                            true => format!("{} took too long", noticed.test),
                            false => noticed.test,
                        }),
                    };
                    println!("{outcome}");
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by_key(|outcome: &Outcome| outcome.number);
    outcomes
}

/// Nested functions and characters of several bytes are where the positions could go wrong.
#[test]
fn a_function_has_each_of_its_mutants_as_a_body() {
    let source =
        "/// Ä\nfn outer(ä: u8) -> bool {\n    fn inner() -> u8 { 7 }\n    ä < inner()\n}\n";
    let mutant = |function: [usize; 4], place: [usize; 4], genre: &str, replacement: &str| {
        let span = |[from, column, to, end]: [usize; 4]| json!({"start": {"line": from, "column": column}, "end": {"line": to, "column": end}});
        let function = json!({"return_type": "-> T", "span": span(function)});
        let listed = json!({"file": "a.rs", "name": "a", "genre": genre, "replacement": replacement,
            "function": function, "span": span(place)});
        serde_json::from_value::<Mutant>(listed).unwrap()
    };
    let (outer, inner) = ([2, 1, 5, 2], [3, 5, 3, 27]);
    let mutants = [
        mutant(outer, [3, 5, 4, 16], "FnValue", "true"),
        mutant(inner, [3, 24, 3, 25], "FnValue", "0"),
        mutant(outer, [4, 7, 4, 8], "BinaryOperator", ">"),
    ];
    let mutants = with_bodies(mutants.into());
    let numbered: Vec<(usize, &Mutant)> = (1..).zip(&mutants).collect();
    let schema = Schema::of(source, &numbered);
    let expected = "/// Ä
fn outer(ä: u8) -> bool {
    match crate::mutant::active() {
1 => { true
}
3 => { fn inner() -> u8 { 7 }
    ä > inner()
}
_ => { fn inner() -> u8 { match crate::mutant::active() {
2 => { 0
}
_ => { 7
}
} }
    ä < inner()
}
}
}
";
    assert_eq!(schema.text, expected);
    let at_fault = |text: &str| schema.at_fault(expected.find(text).unwrap());
    assert_eq!(at_fault("true"), [1]);
    assert_eq!(at_fault("ä > "), [3]);
    assert_eq!(at_fault("0\n"), [2]);
    assert_eq!(at_fault("_ => { 7"), [2], "all of the inner function's");
    assert_eq!(at_fault("ä < "), [1, 3], "all of the outer function's");
    assert_eq!(at_fault("/// "), [0; 0], "no function's");
    let without = Schema::of(source, &numbered[1..]).text;
    assert_eq!(without, expected.replace("1 => { true\n}\n", ""));
}
