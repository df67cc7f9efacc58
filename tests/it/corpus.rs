//! Tests with real policies: published policies parse or are rejected for the right reason, and account dumps can be
//! served.
//!
//! `tests/corpus/README.md` says where the material comes from, what its labels mean, and where we disagree with them.

mod accounts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use iamd::language::document::{PolicyDocument, PolicyType, PrincipalEntry};
use iamd::language::finding::{Code, Finding};
use iamd::language::parse::parse;
use iamd::language::report::Base;
use iamd::store;
use serde::Deserialize;
use serde_json::value::RawValue;
use tempfile::TempDir;

/// What the corpus says about the records of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Label {
    Good,
    Bad,
    /// Each record has its own label.
    Mixed,
}

/// Every file, its label, and the policy type of its documents unless the record says otherwise.
const FILES: &[(&str, Label, PolicyType)] = &[
    (
        "managed/policies.jsonl.gz",
        Label::Good,
        PolicyType::Identity,
    ),
    (
        "policies/identity.jsonl.gz",
        Label::Good,
        PolicyType::Identity,
    ),
    ("policies/trust.jsonl.gz", Label::Good, PolicyType::Trust),
    (
        "policies/resource.jsonl.gz",
        Label::Good,
        PolicyType::Resource,
    ),
    (
        "policies/scp.jsonl",
        Label::Good,
        PolicyType::ServiceControl,
    ),
    (
        "policies/rcp.jsonl",
        Label::Good,
        PolicyType::ResourceControl,
    ),
    ("policies/vpce.jsonl", Label::Good, PolicyType::Resource),
    (
        "policies/boundary.jsonl",
        Label::Good,
        PolicyType::PermissionsBoundary,
    ),
    (
        "checks/accepted-edge-cases.jsonl",
        Label::Good,
        PolicyType::Identity,
    ),
    ("invalid/syntax.jsonl", Label::Bad, PolicyType::Identity),
    (
        "invalid/duplicate-keys.jsonl",
        Label::Bad,
        PolicyType::Identity,
    ),
    ("invalid/grammar.jsonl", Label::Bad, PolicyType::Identity),
    ("invalid/aws-errors.jsonl", Label::Bad, PolicyType::Identity),
    (
        "invalid/labelled-findings.jsonl",
        Label::Mixed,
        PolicyType::Identity,
    ),
    (
        "invalid/labelled-structure.jsonl",
        Label::Mixed,
        PolicyType::Identity,
    ),
];

/// One line of a file. The names of its members differ from file to file.
#[derive(Deserialize)]
struct Line<'l> {
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow, alias = "doc", alias = "text")]
    document: &'l RawValue,
    kind: Option<String>,
    policy_type: Option<String>,
    json_error: Option<String>,
    expected_findings: Option<Vec<String>>,
    error_count: Option<usize>,
}

/// One policy of the corpus.
struct Record {
    line: usize,
    id: String,
    /// The source text with its original spacing, order and repeated members (G-2).
    text: String,
    policy_type: PolicyType,
    label: Label,
    json_error: Option<String>,
}

/// What the tables say about one record.
#[derive(Deserialize)]
struct Expected {
    file: String,
    line: usize,
    id: String,
    /// The cause of a disagreement. A plain rejection has none.
    because: Option<String>,
    /// All expected errors. If there are none, the record is accepted.
    errors: Vec<ExpectedError>,
    /// Names among its principals that no store has (G-24). The record parses, but does not load anywhere.
    #[serde(default)]
    unknown_ids: Vec<String>,
    /// The codes of warnings that must be among the findings.
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct ExpectedError {
    rule: String,
    code: String,
    at: String,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        GzDecoder::new(bytes.as_slice())
            .read_to_string(&mut text)
            .unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    text
}

fn records(file: &'static str, label: Label, policy_type: PolicyType) -> Vec<Record> {
    let text = read(&corpus().join(file));
    text.lines()
        .enumerate()
        .map(|(index, line)| record(file, index + 1, line, label, policy_type))
        .collect()
}

fn record(
    file: &'static str,
    line: usize,
    text: &str,
    label: Label,
    policy_type: PolicyType,
) -> Record {
    let parsed: Line<'_> =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{file}:{line}: {error}"));
    // A string is the text of the policy. Any other value is the policy itself.
    let document: String = serde_json::from_str(parsed.document.get())
        .unwrap_or_else(|_| parsed.document.get().to_owned());
    let policy_type = match parsed.kind.or(parsed.policy_type).as_deref() {
        Some("identity") => PolicyType::Identity,
        Some("resource" | "vpce") => PolicyType::Resource,
        Some("trust") => PolicyType::Trust,
        Some("scp") => PolicyType::ServiceControl,
        Some("rcp") => PolicyType::ResourceControl,
        Some("boundary") => PolicyType::PermissionsBoundary,
        Some(other) => panic!("{file}:{line}: unknown kind `{other}`"),
        // The labeled texts do not say. Those with principals are resource policies.
        None if file == "invalid/labelled-findings.jsonl" && document.contains("\"Principal\"") => {
            PolicyType::Resource
        }
        None => policy_type,
    };
    let label = match (label, parsed.expected_findings, parsed.error_count) {
        (Label::Mixed, Some(findings), _) if findings.is_empty() => Label::Good,
        (Label::Mixed, Some(_), _) => Label::Bad,
        (Label::Mixed, None, Some(0)) => Label::Good,
        (Label::Mixed, None, Some(_)) => Label::Bad,
        (label, ..) => label,
    };
    let id = parsed.id.or(parsed.name).unwrap();
    Record {
        line,
        id,
        text: document,
        policy_type,
        label,
        json_error: parsed.json_error,
    }
}

fn table(name: &str) -> BTreeMap<(String, usize), Expected> {
    read(&corpus().join(name))
        .lines()
        .map(|line| {
            serde_json::from_str::<Expected>(line)
                .unwrap_or_else(|error| panic!("{name}: {error}: {line}"))
        })
        .map(|expected| ((expected.file.clone(), expected.line), expected))
        .collect()
}

/// Returns the errors among `findings` in the form of the tables.
fn errors(findings: &[Finding]) -> BTreeSet<(String, String)> {
    findings
        .iter()
        .filter(|finding| finding.is_error())
        .map(|finding| {
            (
                finding.code.as_str().to_owned(),
                finding.at.pointer.to_string(),
            )
        })
        .collect()
}

/// Returns the names among the document's principals that are not unique ids of AWS (G-24): accounts or ids that the
/// store must have.
fn unknown_ids(document: &PolicyDocument) -> Vec<&str> {
    let is_unique_id = |id: &str| {
        let (kind, rest) = id.split_at_checked(4).unwrap_or((id, ""));
        let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        kind.bytes().all(|byte| byte.is_ascii_uppercase())
            && rest.len() >= 12
            && rest.bytes().all(fits)
    };
    let principals = document
        .statements
        .iter()
        .filter_map(|statement| statement.principal.as_ref());
    principals
        .flat_map(|principal| &principal.entries)
        .filter_map(|entry| match entry {
            PrincipalEntry::Id(id) if !is_unique_id(id) => Some(&**id),
            _ => None,
        })
        .collect()
}

fn list(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("\n    {finding}"))
        .collect()
}

/// The result of parsing a record.
struct Outcome {
    findings: Vec<Finding>,
    errors: BTreeSet<(String, String)>,
    unknown_ids: Vec<String>,
}

impl Outcome {
    fn of(record: &Record, place: &str) -> Self {
        let (document, findings) =
            parse(&record.text, record.policy_type, Base::File(place.into()));
        let errors = errors(&findings);
        assert_eq!(
            document.is_some(),
            errors.is_empty(),
            "{place}: either a document or errors"
        );
        let unknown_ids = document.as_ref().map(unknown_ids).unwrap_or_default();
        Self {
            findings,
            errors,
            unknown_ids: unknown_ids.into_iter().map(str::to_owned).collect(),
        }
    }

    fn is_rejected(&self) -> bool {
        !self.errors.is_empty() || !self.unknown_ids.is_empty()
    }

    /// Returns whether the result is what the tables expect. A record that is in no table has no errors.
    fn is(&self, expected: Option<&Expected>) -> bool {
        let Some(expected) = expected else {
            return !self.is_rejected();
        };
        let error = |error: &ExpectedError| (error.code.clone(), error.at.clone());
        let has = |code: &String| {
            self.findings
                .iter()
                .any(|finding| finding.code.as_str() == code)
        };
        self.errors == expected.errors.iter().map(error).collect()
            && self.unknown_ids == expected.unknown_ids
            && expected.warnings.iter().all(has)
    }
}

#[test]
fn every_policy_of_the_corpus_is_read_as_its_label_or_our_rules_say() {
    let disagreements = table("disagreements.jsonl");
    let rejections = table("rejections.jsonl");
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for &(file, label, policy_type) in FILES {
        for record in records(file, label, policy_type) {
            let place = format!("{file}:{} ({})", record.line, record.id);
            let outcome = Outcome::of(&record, &place);
            let key = (file.to_owned(), record.line);
            let (disagreed, rejected) = (disagreements.get(&key), rejections.get(&key));
            assert!(
                disagreed.is_none() || rejected.is_none(),
                "{place} stands in both tables"
            );
            let expected = disagreed.or(rejected);
            assert!(
                expected.is_none_or(|it| it.id == record.id),
                "{place}: the table means another record"
            );
            assert!(
                record.label != Label::Bad || expected.is_some(),
                "{place}: labelled bad, but in no table"
            );
            if !outcome.is(expected) {
                wrong.push(format!(
                    "{place}: {:?}{}",
                    outcome.unknown_ids,
                    list(&outcome.findings)
                ));
            }
            seen.insert(key);
        }
    }
    for key in disagreements.keys().chain(rejections.keys()) {
        assert!(
            seen.contains(key),
            "the tables speak of {key:?}, which is not there"
        );
    }
    assert!(
        wrong.is_empty(),
        "{} records are read otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_tables_cite_codes_that_exist_and_name_a_cause() {
    const CAUSES: &[&str] = &[
        "unfilled-template",
        "wrong-kind-of-arn",
        "stand-in",
        "aws-rejects",
        "execute-api",
        "stricter",
        "type-mismatch",
        "typing-error",
        "a-lint",
        "version-is-optional",
        "no-catalogue",
        "advice",
    ];
    let codes: BTreeSet<&str> = Code::ALL.iter().map(|(code, _)| code.as_str()).collect();
    for (name, is_disagreement) in [("disagreements.jsonl", true), ("rejections.jsonl", false)] {
        for ((file, line), expected) in table(name) {
            for error in &expected.errors {
                assert!(
                    codes.contains(error.code.as_str()),
                    "{file}:{line}: no code `{}`",
                    error.code
                );
                let (family, number) = error.rule.split_once('-').unwrap();
                assert!(
                    "GVMCT".contains(family) && number.parse::<u8>().is_ok(),
                    "{file}:{line}: no rule `{}`",
                    error.rule
                );
            }
            assert_eq!(expected.because.is_some(), is_disagreement, "{file}:{line}");
            if let Some(cause) = expected.because {
                assert!(
                    CAUSES.contains(&cause.as_str()),
                    "{file}:{line}: unknown cause `{cause}`"
                );
            }
        }
    }
}

/// Section 9 of the semantics states how many of the good files our rules reject. The counts must not change unnoticed.
#[test]
fn as_many_good_policies_are_rejected_as_the_semantics_say() {
    let mut n_rejected: BTreeMap<&str, usize> = BTreeMap::new();
    for &(file, label, policy_type) in FILES.iter().filter(|(_, label, _)| *label == Label::Good) {
        let rejected = |record: &Record| Outcome::of(record, file).is_rejected();
        let n = records(file, label, policy_type)
            .iter()
            .filter(|record| rejected(record))
            .count();
        n_rejected.insert(file, n);
    }
    let expected = [
        ("managed/policies.jsonl.gz", 0),
        ("policies/identity.jsonl.gz", 12),
        ("policies/trust.jsonl.gz", 23),
        ("policies/resource.jsonl.gz", 152),
        ("policies/scp.jsonl", 12),
        ("policies/rcp.jsonl", 2),
        ("policies/vpce.jsonl", 0),
        ("policies/boundary.jsonl", 0),
        ("checks/accepted-edge-cases.jsonl", 10),
    ];
    assert_eq!(n_rejected, BTreeMap::from(expected));
}

#[test]
fn broken_json_is_reported_where_another_parser_sees_it() {
    let mut n = 0;
    for record in records("invalid/syntax.jsonl", Label::Bad, PolicyType::Identity) {
        let (_, findings) = parse(
            &record.text,
            record.policy_type,
            Base::File(record.id.as_str().into()),
        );
        let [finding] = findings.as_slice() else {
            panic!("{}: {}", record.id, list(&findings))
        };
        assert_eq!(finding.code, Code::SYNTAX, "{}", record.id);
        let json_error = record.json_error.unwrap();
        let wanted = json_error
            .rsplit_once(" at line ")
            .unwrap()
            .1
            .replace(" column ", ":");
        let (line, column) = wanted.split_once(':').unwrap();
        assert_eq!(
            finding.at.line,
            line.parse::<u32>().unwrap(),
            "{}: {finding}, elsewhere: {json_error}",
            record.id
        );
        // If a value is missing, one parser points at the first character in its place and the other after what it has
        // read.
        let distance = finding.at.column.abs_diff(column.parse::<u32>().unwrap());
        assert!(
            distance <= 1,
            "{}: {finding}, elsewhere: {json_error}",
            record.id
        );
        n += 1;
    }
    assert_eq!(n, 18);
}

/// Puts the document where a store keeps policies of its type.
fn put(root: &Path, name: &str, record: &Record) {
    let text = &record.text;
    let (folder, text) = match record.policy_type {
        PolicyType::Identity | PolicyType::PermissionsBoundary | PolicyType::Session => {
            ("managed-policies", text.clone())
        }
        PolicyType::ServiceControl => ("service-control-policies", text.clone()),
        PolicyType::ResourceControl => ("resource-control-policies", text.clone()),
        PolicyType::Trust => (
            "roles",
            format!(r#"{{"AssumeRolePolicyDocument": {text}}}"#),
        ),
        PolicyType::Resource => (
            "resource-policies",
            format!(r#"{{"Resource": "*", "Policy": {text}}}"#),
        ),
    };
    let folder = root.join(folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.json")), text).unwrap();
}

fn empty_store() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(
        root.path().join("account.json"),
        r#"{"AccountId": "111122223333"}"#,
    )
    .unwrap();
    root
}

#[test]
fn good_policies_load_in_their_place() {
    let disagreements = table("disagreements.jsonl");
    let root = empty_store();
    let mut n_put = 0;
    for (index, &(file, label, policy_type)) in FILES.iter().enumerate() {
        for record in records(file, label, policy_type) {
            let key = (file.to_owned(), record.line);
            if label != Label::Good {
                continue;
            }
            match disagreements.get(&key) {
                None => {
                    put(root.path(), &format!("p{index}-{}", record.line), &record);
                    n_put += 1;
                }
                Some(expected) if !expected.unknown_ids.is_empty() => {
                    let alone = empty_store();
                    put(alone.path(), "alone", &record);
                    let refused = store::load(alone.path()).expect_err(&record.id);
                    let errors: Vec<_> = refused
                        .findings
                        .into_iter()
                        .filter(Finding::is_error)
                        .collect();
                    let [error] = errors.as_slice() else {
                        panic!("{}:{}", record.id, list(&errors))
                    };
                    assert_eq!(error.code, Code::INVALID_PRINCIPAL, "{error}");
                    assert!(
                        error
                            .message
                            .contains(&format!("`{}`", expected.unknown_ids[0])),
                        "{error}"
                    );
                }
                Some(_) => {}
            }
        }
    }
    match store::load(root.path()) {
        Ok(loaded) => assert_eq!(loaded.n_files, n_put + 1, "beside account.json"),
        Err(refused) => {
            let errors: Vec<_> = refused
                .findings
                .into_iter()
                .filter(Finding::is_error)
                .collect();
            panic!("{} errors:{}", errors.len(), list(&errors));
        }
    }
}
