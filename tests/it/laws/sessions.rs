//! Somebody is listed if one of the sessions that they can have is allowed, and only if one is, as far as a list can know: where no
//! condition has a variable, it tries every value that makes a difference.
//!
//! The stores are so small that all their sessions can be tried: their conditions speak of three keys and a few values. A
//! value that no policy names stands for all others. Some stores are asked who may assume a role: there the session may pass
//! on tags in place of the role's own (T-8), and the trust policy has conditions, too.
//!
//! A usual run makes 40 stores, which is enough to try the code and too few to find most faults. After a change of
//! `src/analysis`, set `IAMD_LAWS_CASES=250000` (250 stores, about a minute) and try several seeds.

use std::collections::BTreeSet;
use std::iter;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::asked::asked_of;
use super::lists::{ALL, by_pages};
use super::{Files, Run, ask, load_world};
use crate::oracle::question::{Given, Question, SessionFacts};
use crate::worlds::{A, Random};

/// 2024-06-01T00:00:00Z.
const TURN: i64 = 1_717_200_000;
/// When the lists are made.
const NOW: i64 = TURN + 1_000;
const TAG: &str = "aws:PrincipalTag/team";
const ISSUED: &str = "aws:TokenIssueTime";
const MFA: &str = "aws:MultiFactorAuthPresent";
const AGE: &str = "aws:MultiFactorAuthAge";
const IDENTITY: &str = "aws:SourceIdentity";
const REQUEST_TAG: &str = "aws:RequestTag/team";
const TAG_KEYS: &str = "aws:TagKeys";
const APP: &str = "app:k";
/// A key of which a question gives lists.
const LIST: &str = "app:l";
/// Names of a tag of the resource: the second one of a role's, and the third one of a page's.
const RESOURCE_TAG: &str = "aws:ResourceTag/team";
const ROLE_TAG: &str = "iam:ResourceTag/team";
const PAGE_TAG: &str = "docs:ResourceTag/team";
const KEYS: [&str; 12] = [
    TAG,
    ISSUED,
    MFA,
    AGE,
    IDENTITY,
    REQUEST_TAG,
    TAG_KEYS,
    APP,
    LIST,
    RESOURCE_TAG,
    ROLE_TAG,
    PAGE_TAG,
];

/// Which users and roles there are, and their tags.
const ENTITIES: [(&str, Option<&str>); 6] = [
    ("users/ann", None),
    ("users/bob", Some("blue")),
    ("users/cat", Some("red")),
    ("users/dan", Some("")),
    ("roles/app", None),
    ("roles/job", Some("blue")),
];

/// A role that the others may assume.
const TARGET: &str = "roles/target";

/// Returns a condition on one of `keys`, as a block.
///
/// The simple ones have no variables and few values that make a difference, so that the test can try them all.
fn condition(random: &mut Random, keys: &[&str], is_simple: bool) -> Json {
    let key = *random.pick(keys);
    if random.chance(20) {
        return json!({"Null": {key: *random.pick(&["true", "false"])}});
    }
    let texts = [
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIfExists",
        "StringEqualsIgnoreCase",
        "StringLike",
        "StringNotLikeIfExists",
    ];
    let of_lists = [
        "ForAnyValue:StringEquals",
        "ForAllValues:StringEquals",
        "ForAnyValue:StringNotEquals",
        "ForAllValues:StringNotLike",
    ];
    let (operators, values): (&[&str], &[&str]) = match key {
        MFA => (&["Bool", "BoolIfExists"], &["true", "false"]),
        AGE => (
            &[
                "NumericLessThan",
                "NumericGreaterThanEquals",
                "NumericGreaterThanIfExists",
            ],
            &["60"],
        ),
        ISSUED => (
            &[
                "DateLessThan",
                "DateGreaterThanEquals",
                "DateLessThanIfExists",
            ],
            &["2024-06-01T00:00:00Z"],
        ),
        IDENTITY => (&texts, &["ann", "bob", "a*"]),
        TAG_KEYS => (&of_lists, &["team", "Team", "tier"]),
        LIST => (&of_lists, &["blue", "red"]),
        APP if !is_simple && random.chance(40) => (&of_lists, &["blue", "red"]),
        APP if !is_simple && random.chance(20) => (&texts, &["${aws:PrincipalTag/team}"]),
        _ => (&texts, &["blue", "red", "", "b*", "other"]),
    };
    let first = *random.pick(values);
    let mut values = vec![first, *random.pick(values)];
    values.dedup();
    if key == MFA {
        values.truncate(1);
    }
    let operator = *random.pick(operators);
    if operator == "StringEqualsIgnoreCase" {
        values = vec![if key == IDENTITY { "ann" } else { "blue" }];
    }
    json!({operator: {key: values}})
}

fn statement(random: &mut Random, keys: &[&str], is_simple: bool, effect: &str) -> Json {
    let actions = ["docs:Read", "sts:AssumeRole"];
    let mut statement = json!({"Effect": effect, "Action": actions, "Resource": "*"});
    let n_conditions = random.below(3).max(usize::from(effect == "Deny"));
    for _ in 0..n_conditions {
        let more = condition(random, keys, is_simple);
        let block = &mut statement["Condition"];
        if block.is_null() {
            *block = json!({});
        }
        for (operator, entry) in more.as_object().unwrap() {
            if block.get(operator).is_none() {
                block[operator] = entry.clone();
            }
        }
    }
    statement
}

fn store(random: &mut Random, keys: &[&str], is_simple: bool) -> Files {
    let mut statements = vec![statement(random, keys, is_simple, "Allow")];
    for _ in 0..1 + random.below(3) {
        let effect = *random.pick(&["Allow", "Deny", "Deny"]);
        statements.push(statement(random, keys, is_simple, effect));
    }
    let trust = json!([{"Effect": "Allow", "Principal": {"AWS": A}, "Action": "sts:AssumeRole"}]);
    let mut trusted = statement(random, keys, is_simple, "Allow");
    trusted["Principal"] = json!({"AWS": A});
    trusted["Action"] = "sts:AssumeRole".into();
    trusted.as_object_mut().unwrap().remove("Resource");
    let document = |statements: Json| json!({"Version": "2012-10-17", "Statement": statements});
    let mut files = Files::new();
    files.insert("account.json".into(), json!({"AccountId": A}));
    for (path, tag) in ENTITIES {
        let mut own = statements.clone();
        if random.chance(20) {
            own.truncate(2);
        }
        let policies = json!([{"PolicyName": "p", "PolicyDocument": document(own.into())}]);
        let mut entity = match path.starts_with("users/") {
            true => json!({"UserPolicyList": policies}),
            false => {
                json!({"RolePolicyList": policies, "AssumeRolePolicyDocument": document(trust.clone())})
            }
        };
        if let Some(tag) = tag {
            entity["Tags"] = json!([{"Key": "team", "Value": tag}]);
        }
        files.insert(format!("{path}.json"), entity);
    }
    let mut target = json!({"AssumeRolePolicyDocument": document(json!([trusted]))});
    if let Some(tag) = random.pick(&[None, Some("blue"), Some("other"), Some("")]) {
        target["Tags"] = json!([{"Key": "team", "Value": tag}]);
    }
    files.insert(format!("{TARGET}.json"), target);
    files
}

fn text(text: &str) -> Given {
    Given::Text(text.into())
}

fn list(texts: &[&str]) -> Given {
    Given::List(texts.iter().map(|one| text(one)).collect())
}

/// The texts that make a difference, and some others.
const TEXTS: [&str; 8] = ["blue", "Blue", "red", "", "bx", "b*", "other", "none"];

/// Tags of a request besides the one that conditions read.
const OTHER_TAGS: [&str; 2] = ["aws:RequestTag/tier", "aws:RequestTag/other"];

/// Returns all lists of these texts, in one order each, and of each text twice.
fn lists(texts: &[&str]) -> Vec<Given> {
    let members = (0..1 << texts.len()).map(|members: u32| {
        let is_member = |at: &usize| members >> at & 1 == 1;
        let of_list = (0..texts.len()).filter(is_member);
        list(&of_list.map(|at| texts[at]).collect::<Vec<_>>())
    });
    let twice = texts.iter().map(|one| list(&[one, one]));
    members.chain(twice).collect()
}

/// Returns whether the list names each tag of the request, ignoring case, and no other one of those that differ here (section 4.9).
/// Without any tag it may say anything. Other lists would only be refused.
fn names_tags(list: &Given, context: &[(String, Given)]) -> bool {
    let Given::List(listed) = list else {
        return false;
    };
    let tags = context.iter().filter_map(|(key, value)| {
        let tag = key.strip_prefix("aws:RequestTag/")?;
        (*value != self::list(&[])).then(|| tag.to_lowercase())
    });
    let tags: BTreeSet<String> = tags.collect();
    let listed = listed.iter().map(|name| match name {
        Given::Text(name) => name.to_lowercase(),
        _ => String::new(),
    });
    tags.is_empty() || tags == listed.collect()
}

/// Returns the contexts that agree with `given` and differ in these keys.
fn contexts(
    keys: &[&str],
    given: &[(String, Given)],
    is_of_role: bool,
) -> Vec<Vec<(String, Given)>> {
    // One of these is a further name of the resource's tag, and the other one an ordinary key.
    let (own, other) = match is_of_role {
        true => (ROLE_TAG, PAGE_TAG),
        false => (PAGE_TAG, ROLE_TAG),
    };
    let mut contexts = vec![given.to_vec()];
    // The list of the tags shows how they are spelled, and that there are others.
    let reads_tag_keys = keys.contains(&TAG_KEYS);
    let spellings = &[REQUEST_TAG, "aws:RequestTag/Team", "aws:RequestTag/TEAM"];
    let spellings = if reads_tag_keys {
        &spellings[..]
    } else {
        &spellings[..1]
    };
    let add_other_tags = |key: &str, contexts: &mut Vec<_>| {
        for other in OTHER_TAGS {
            if key == REQUEST_TAG && reads_tag_keys {
                let more = each_with_one(contexts, &[(other, text("blue"))]);
                contexts.extend(more);
            }
        }
    };
    let is_given = |key: &str| given.iter().any(|(name, _)| name.eq_ignore_ascii_case(key));
    for key in [REQUEST_TAG, TAG_KEYS, APP, LIST, RESOURCE_TAG, own, other] {
        let is_read = match key {
            REQUEST_TAG => keys.contains(&key) || keys.contains(&TAG_KEYS),
            RESOURCE_TAG => keys.contains(&key) || keys.contains(&own),
            // Else it comes instead of the tag's other name.
            _ if key == own => is_given(RESOURCE_TAG),
            _ => keys.contains(&key),
        };
        if is_given(key) || !is_read {
            add_other_tags(key, &mut contexts);
            continue;
        }
        let choices: Vec<(&str, Given)> = match key {
            REQUEST_TAG => spellings
                .iter()
                .flat_map(|key| TEXTS.map(|value| (*key, text(value))))
                .chain([(key, list(&[])), (key, list(&["blue", "red"]))])
                .chain(OTHER_TAGS.map(|key| (key, text("blue"))))
                .collect(),
            TAG_KEYS => lists(&["", "team", "Team", "tier", "other"])
                .into_iter()
                .map(|list| (key, list))
                .collect(),
            LIST => lists(&["", "blue", "red", "other"])
                .into_iter()
                .map(|list| (key, list))
                .collect(),
            RESOURCE_TAG | ROLE_TAG | PAGE_TAG => TEXTS
                .iter()
                .map(|value| (key, text(value)))
                .chain([&[][..], &["blue", "other"], &["", "red"]].map(|one| (key, list(one))))
                .chain(["blue", "", "other"].map(|value| (own, text(value))))
                .take(if key == RESOURCE_TAG && !is_given(own) {
                    14
                } else {
                    11
                })
                .collect(),
            _ => TEXTS
                .iter()
                .map(|value| (key, text(value)))
                .chain(
                    [list(&[]), list(&["blue", "red"]), list(&["blue", "other"])]
                        .map(|one| (key, one)),
                )
                .collect(),
        };
        let more = each_with_one(&contexts, &choices);
        contexts.extend(more);
        add_other_tags(key, &mut contexts);
    }
    contexts
}

/// Returns each context with each of these entries, where this makes sense.
fn each_with_one(
    contexts: &[Vec<(String, Given)>],
    entries: &[(&str, Given)],
) -> Vec<Vec<(String, Given)>> {
    let with_each = contexts.iter().flat_map(|context| {
        let is_new = |key: &str| context.iter().all(|(name, _)| name != key);
        let entries = entries.iter().filter(move |(key, value)| {
            is_new(key) && (*key != TAG_KEYS || names_tags(value, context))
        });
        entries.map(|(key, value)| {
            let mut context = context.clone();
            context.push(((*key).to_owned(), value.clone()));
            context
        })
    });
    with_each.collect()
}

/// Returns what a session can bring along as far as these keys tell.
fn sessions(keys: &[&str], is_of_role: bool) -> Vec<SessionFacts> {
    let has = |wanted: &[&str]| keys.iter().any(|key| wanted.contains(key));
    let is_chaining = is_of_role && has(&[RESOURCE_TAG, ROLE_TAG]);
    let tags: &[Option<&str>] = match has(&[TAG]) {
        false if is_chaining => &[None, Some("blue"), Some(""), Some("none")],
        true => &[
            None,
            Some("blue"),
            Some("Blue"),
            Some("red"),
            Some(""),
            Some("bx"),
            Some("b*"),
            Some("other"),
            Some("none"),
        ],
        false => &[None],
    };
    let issued: &[Option<i64>] = match has(&[ISSUED]) {
        true => &[None, Some(TURN - 1), Some(TURN), Some(TURN + 1)],
        false => &[Some(TURN)],
    };
    let mfa: &[Option<i64>] = match has(&[MFA, AGE]) {
        true => &[None, Some(NOW - 59), Some(NOW - 60), Some(NOW - 61)],
        false => &[None],
    };
    let identities: &[&str] = match has(&[IDENTITY]) {
        true => &["", "ann", "Ann", "bob", "ax", "other", "none"],
        false => &[""],
    };
    // T-45: nothing is known of a second factor of those who came from a provider.
    let providers: &[&str] = match has(&[MFA, AGE]) {
        true => &["", "accounts.google.com"],
        false => &[""],
    };
    let plain = SessionFacts {
        expires_at: Some(NOW + 1_000),
        ..SessionFacts::default()
    };
    let mut sessions = vec![plain];
    vary(&mut sessions, tags, |facts, tag| {
        let tag = tag.iter();
        facts.tags = tag.map(|tag| ("team".into(), (*tag).into())).collect();
    });
    if is_chaining {
        vary(&mut sessions, &[false, true], |facts, passes_on| {
            let tags = facts.tags.iter().filter(|_| *passes_on);
            facts.transitive_tag_keys = tags.map(|(key, _)| key.clone()).collect();
        });
    }
    vary(&mut sessions, issued, |facts, at| facts.issued_at = *at);
    vary(&mut sessions, mfa, |facts, at| facts.mfa_at = *at);
    vary(&mut sessions, identities, |facts, identity| {
        facts.source_identity = (*identity).into();
    });
    vary(&mut sessions, providers, |facts, provider| {
        facts.federated_provider = (*provider).into();
    });
    sessions
}

/// Makes of each session one for each choice.
fn vary<T>(sessions: &mut Vec<SessionFacts>, choices: &[T], set: impl Fn(&mut SessionFacts, &T)) {
    let with = |facts: &SessionFacts, choice: &T| {
        let mut facts = facts.clone();
        set(&mut facts, choice);
        facts
    };
    *sessions = sessions
        .iter()
        .flat_map(|facts| choices.iter().map(move |choice| with(facts, choice)))
        .collect();
}

/// Returns what the request of a list may say about the context.
fn given(random: &mut Random, keys: &[&str]) -> Vec<(String, Given)> {
    let mut given = Vec::new();
    let is_asked = |key: &str| keys.contains(&key);
    if is_asked(APP) && random.chance(40) {
        let values = [
            text("blue"),
            text("other"),
            list(&[]),
            list(&["blue", "red"]),
        ];
        given.push((APP.to_owned(), random.pick(&values).clone()));
    }
    if is_asked(REQUEST_TAG) && random.chance(30) {
        let values = [text("blue"), text(""), list(&[])];
        given.push((REQUEST_TAG.to_owned(), random.pick(&values).clone()));
    }
    // Two names of one tag must not contradict each other.
    let tag = random.pick(&[text("blue"), text(""), list(&[])]).clone();
    for key in [RESOURCE_TAG, ROLE_TAG, PAGE_TAG] {
        let is_read =
            is_asked(key) || key == RESOURCE_TAG && (is_asked(ROLE_TAG) || is_asked(PAGE_TAG));
        if is_read && random.chance(20) {
            given.push((key.to_owned(), tag.clone()));
        }
    }
    if is_asked(TAG_KEYS) && given.is_empty() && random.chance(30) {
        given.push((TAG_KEYS.to_owned(), list(&[])));
    }
    given
}

#[test]
fn somebody_is_listed_if_and_only_if_one_of_their_sessions_is_allowed() {
    let run = Run::of_environment();
    let (mut n_listed, mut n_plain, mut n_unlisted, mut n_answers, mut n_refused) = (0, 0, 0, 0, 0);
    let mut differences = Vec::new();
    for index in 0..(run.n_cases / 1_000).max(20) {
        let seed = run.seed.wrapping_mul(3_000_000_019).wrapping_add(index);
        let mut random = Random::new(seed);
        let mut keys = KEYS.to_vec();
        random.shuffle(&mut keys);
        keys.truncate(1 + random.below(3));
        let is_simple = random.chance(60);
        let is_of_role = random.chance(40);
        if is_simple && is_of_role {
            // A list does not know that a request gives no tag that the session passes on (T-37).
            keys.retain(|key| *key != REQUEST_TAG);
        }
        if keys.is_empty() {
            keys.push(ROLE_TAG);
        }
        let files = store(&mut random, &keys, is_simple);
        let snapshot = load_world(&files);
        let (action, resource) = match is_of_role {
            true => ("sts:AssumeRole", &*format!("arn:aws:iam::{A}:role/target")),
            false => ("docs:Read", "arn:app:docs:::page/1"),
        };
        let mut question = Question {
            action: action.into(),
            resource: resource.into(),
            context: given(&mut random, &keys),
            at: NOW,
            ..Question::default()
        };
        let at = Timestamp::from_second(NOW).unwrap();
        let request = question.clone();
        let asked = asked_of(&request);
        let all = by_pages(&snapshot, &asked, at, ALL);
        let contexts = contexts(&keys, &question.context, is_of_role);
        let sessions = sessions(&keys, is_of_role);
        for (path, _) in ENTITIES {
            let (kind, name) = path.split_once("s/").unwrap();
            let own = format!("arn:aws:iam::{A}:{kind}/{name}");
            let listed = all.iter().find(|one| one.principal == own);
            let acting = match kind {
                "user" => own.clone(),
                _ => format!("arn:aws:sts::{A}:assumed-role/{name}/one"),
            };
            let (mut allowed, mut denied) = (None, None);
            let with = sessions.iter().map(Some);
            for session in iter::once(None).chain(with) {
                question.session = session.cloned();
                // A list stands for the role itself, too, which is nobody that is allowed.
                let is_itself = kind == "role" && session.is_none();
                let principal = if is_itself { &own } else { &acting };
                question.principal.clone_from(principal);
                for context in &contexts {
                    question.context.clone_from(context);
                    let Ok(decision) = ask(&snapshot, &question) else {
                        n_refused += 1; // its tags contradict their keys
                        continue;
                    };
                    n_answers += 1;
                    let first = match decision.is_allowed() {
                        true if is_itself => continue,
                        true => &mut allowed,
                        false => &mut denied,
                    };
                    if first.is_none() {
                        *first = Some(question.clone());
                    }
                }
            }
            // It does not tell what is the same for all sessions that pass on a tag.
            let knows_always = is_simple
                && !(is_of_role
                    && keys
                        .iter()
                        .any(|key| [RESOURCE_TAG, ROLE_TAG].contains(key)));
            let wrong = match (listed, &allowed, &denied) {
                (None, Some(_), _) => Some("is left out"),
                (Some(_), None, _) if is_simple => Some("is listed, though never allowed"),
                (Some(one), _, Some(_)) if !one.is_conditional => Some("is not always allowed"),
                (Some(one), _, None) if knows_always && one.is_conditional => {
                    Some("is listed with conditions, though always allowed")
                }
                _ => None,
            };
            let listed = listed.map(|one| one.is_conditional);
            n_listed += u32::from(is_simple && listed.is_some());
            n_unlisted += u32::from(is_simple && listed.is_none());
            n_plain += u32::from(listed == Some(false));
            if let Some(wrong) = wrong {
                let policy = &files[&format!("{path}.json")];
                let given = &asked.context;
                differences.push(format!(
                    "seed {seed}: {own} {wrong}: {policy} given {given:?}: {allowed:?} {denied:?}"
                ));
            }
        }
    }
    let n = differences.len();
    differences.truncate(2);
    assert!(n == 0, "{n} differences:\n{}", differences.join("\n"));
    assert!(n_refused < n_answers, "{n_refused} {n_answers}");
    assert!(
        n_listed > 20 && n_unlisted > 5 && n_plain > 2,
        "{n_listed} {n_unlisted} {n_plain}"
    );
}
