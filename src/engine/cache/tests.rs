#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::engine::live::{Generation, Live};
use crate::engine::question::{Question, SessionFacts, Value};
use crate::name::{Principal, Resource};

mod doorkeeper;

const ANN: &str = "arn:aws:iam::111122223333:user/ann";
const MORNING: &str = "2026-03-01T09:00:00Z";

/// A store with the user ann and the role ops, each with these statements and this tag `team`.
fn store(statements: &str, team: &str) -> Vec<(String, String)> {
    let document = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    let tags = format!(r#""Tags":[{{"Key":"team","Value":"{team}"}}]"#);
    let policies = format!(r#"[{{"PolicyName":"p","PolicyDocument":{document}}}]"#);
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]}"#;
    [
        ("account.json", r#"{"AccountId":"111122223333"}"#.to_owned()),
        (
            "users/ann.json",
            format!(r#"{{"UserPolicyList":{policies},{tags}}}"#),
        ),
        ("users/bob.json", r#"{"UserPolicyList":[]}"#.to_owned()),
        (
            "roles/ops.json",
            format!(r#"{{"RolePolicyList":{policies},"AssumeRolePolicyDocument":{trust},{tags}}}"#),
        ),
        ("managed-policies/all.json", allow("*", "")),
        ("managed-policies/none.json", deny("*", "")),
    ]
    .map(|(path, text)| (path.to_owned(), wrapped(path, text)))
    .into()
}

fn wrapped(path: &str, text: String) -> String {
    match path.starts_with("managed-policies") {
        true => format!(r#"{{"Version":"2012-10-17","Statement":[{text}]}}"#),
        false => text,
    }
}

fn allow(resource: &str, condition: &str) -> String {
    statement("Allow", resource, condition)
}

fn deny(resource: &str, condition: &str) -> String {
    statement("Deny", resource, condition)
}

fn statement(effect: &str, resource: &str, condition: &str) -> String {
    format!(
        r#"{{"Effect":"{effect}","Action":"orders:*","Resource":"{resource}","Condition":{{{condition}}}}}"#
    )
}

fn publish(live: &Live, files: &[(String, String)]) -> Arc<Generation> {
    let texts = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    match crate::store::load_texts(texts) {
        Ok(loaded) => _ = live.publish(loaded.snapshot),
        Err(refused) => panic!("{:#?}", refused.findings),
    }
    live.load_full().unwrap()
}

/// A live store that keeps every decision it can.
fn keeping(statements: &str) -> (Live, Arc<Generation>) {
    kept_by(Mode::Always, statements)
}

fn kept_by(mode: Mode, statements: &str) -> (Live, Arc<Generation>) {
    let live = Live::new(Caching::new(mode, 1 << 20, 7));
    let generation = publish(&live, &store(statements, "blue"));
    (live, generation)
}

/// Context keys with their values.
type Entries<'e> = &'e [(&'e str, &'e [&'e str])];

fn question<'b>(context: &[(&'b str, &[&'b str])]) -> Question<'b> {
    let value = |values: &[&'b str]| Value::List(values.iter().copied().map(Value::Text).collect());
    Question {
        principal: ANN,
        action: "orders:Get",
        resource: "arn:app:orders:::order/1",
        context: context
            .iter()
            .map(|(key, values)| (*key, value(values)))
            .collect(),
        ..Question::default()
    }
}

fn of_session(session: SessionFacts<'_>) -> Question<'_> {
    Question {
        principal: "arn:aws:sts::111122223333:assumed-role/ops/s1",
        session: Some(Box::new(session)),
        ..question(&[])
    }
}

fn at<'q>(raw: &Question<'q>, time: &str) -> Request<'q> {
    Request::parse(raw, time.parse::<Timestamp>().unwrap()).unwrap()
}

/// What one question gets, which must be what it gets without a cache.
fn ask_at(generation: &Generation, raw: &Question<'_>, time: &str) -> &'static str {
    let request = at(raw, time);
    let decision = generation.authorize(&request).unwrap();
    let uncached = crate::engine::authorize(&generation.snapshot, &request).unwrap();
    let places = |decision: &Decision| -> Vec<_> {
        let statements = decision.determining().iter();
        statements
            .map(|statement| (Arc::as_ptr(&statement.policy), statement.index))
            .collect()
    };
    assert_eq!(decision.reason(), uncached.reason(), "K-45: {raw:?}");
    assert_eq!(places(&decision), places(&uncached), "K-45: {raw:?}");
    decision.reason().label()
}

fn ask(generation: &Generation, raw: &Question<'_>) -> &'static str {
    ask_at(generation, raw, MORNING)
}

/// Asks until the answer is kept, and once more: that one must come from the cache.
fn ask_warm(live: &Live, generation: &Generation, raw: &Question<'_>) -> &'static str {
    for _ in 0..3 {
        ask(generation, raw);
    }
    let before = live.cache_counts().hits;
    let answer = ask(generation, raw);
    assert_eq!(live.cache_counts().hits, before + 1, "found: {raw:?}");
    answer
}

/// The question is evaluated, not looked up with success.
fn ask_new(live: &Live, generation: &Generation, raw: &Question<'_>) -> &'static str {
    let before = live.cache_counts().hits;
    let answer = ask(generation, raw);
    assert_eq!(live.cache_counts().hits, before, "not found: {raw:?}");
    answer
}

#[test]
fn a_key_that_was_absent_is_a_new_question_when_it_is_there() {
    let prod = deny("*", r#""StringEquals":{"app:env":"prod"}"#);
    let (live, generation) = keeping(&format!("{},{prod}", allow("*", "")));
    let (without, with) = (question(&[]), question(&[("app:env", &["prod"])]));
    assert_eq!(ask_warm(&live, &generation, &without), "ALLOW_IDENTITY");
    let answer = ask_new(&live, &generation, &with);
    assert_eq!(answer, "EXPLICIT_DENY_IDENTITY", "Z-80, K-40");
    let answer = ask_warm(&live, &generation, &without);
    assert_eq!(answer, "ALLOW_IDENTITY", "Z-80, K-40");
}

#[test]
fn keys_that_no_statement_reads_are_no_part_of_the_question() {
    let (live, generation) = keeping(&allow("*", r#""StringEquals":{"app:env":"test"}"#));
    ask_warm(&live, &generation, &question(&[("app:env", &["test"])]));
    let before = live.cache_counts().hits;
    for id in ["1", "2", "3"] {
        let with_id = question(&[("app:env", &["test"]), ("app:request-id", &[id])]);
        ask(&generation, &with_id);
    }
    assert_eq!(live.cache_counts().hits, before + 3, "K-40");
    assert_eq!(generation.n_cached(), 1, "K-40");
}

#[test]
fn whoever_asks_for_something_else_asks_anew() {
    let (live, generation) = keeping(&allow(
        "arn:app:orders:::order/${aws:PrincipalTag/team}",
        "",
    ));
    let tagged = |team| SessionFacts {
        tags: vec![("team", team)],
        ..SessionFacts::default()
    };
    let restricted = |arn| SessionFacts {
        policy_arns: vec![arn],
        ..SessionFacts::default()
    };
    let base = of_session(SessionFacts::default());
    let with = |change: &dyn Fn(&mut Question<'_>)| {
        let mut raw = base.clone();
        change(&mut raw);
        raw
    };
    let all = "arn:aws:iam::111122223333:policy/all";
    let none = "arn:aws:iam::111122223333:policy/none";
    let questions = [
        (base.clone(), "IMPLICIT_DENY_IDENTITY"),
        (
            with(&|raw| raw.principal = "arn:aws:sts::111122223333:assumed-role/ops/s2"),
            "IMPLICIT_DENY_IDENTITY",
        ),
        (with(&|raw| raw.principal = ANN), "IMPLICIT_DENY_IDENTITY"),
        (
            with(&|raw| raw.action = "orders:Put"),
            "IMPLICIT_DENY_IDENTITY",
        ),
        (
            with(&|raw| raw.resource = "arn:app:orders:::order/blue"),
            "ALLOW_IDENTITY",
        ),
        (
            with(&|raw| raw.resource_account = "444455556666"),
            "IMPLICIT_DENY_RESOURCE",
        ),
        (of_session(tagged("1")), "ALLOW_IDENTITY"),
        (of_session(tagged("red")), "IMPLICIT_DENY_IDENTITY"),
        (of_session(restricted(all)), "IMPLICIT_DENY_IDENTITY"),
        (of_session(restricted(none)), "EXPLICIT_DENY_SESSION"),
    ];
    for (question, expected) in &questions {
        for _ in 0..3 {
            assert_eq!(ask(&generation, question), *expected, "K-40: {question:?}");
        }
    }
    for (question, expected) in &questions {
        // The session's policies have their say after the role's, but a Deny of theirs is warm as well.
        assert_eq!(
            ask_warm(&live, &generation, question),
            *expected,
            "K-40: {question:?}"
        );
    }
    assert_eq!(generation.n_cached(), questions.len() as u64, "K-40");
}

#[test]
fn the_case_of_an_action_makes_no_new_question() {
    let (live, generation) = keeping(&allow("*", ""));
    ask_warm(&live, &generation, &question(&[]));
    let mut other = question(&[]);
    other.action = "ORDERS:gET";
    let before = live.cache_counts().hits;
    assert_eq!(ask(&generation, &other), "ALLOW_IDENTITY");
    assert_eq!(live.cache_counts().hits, before + 1, "K-40");
}

#[test]
fn what_reads_the_clock_is_never_kept() {
    let turn = "2026-03-01T12:00:00Z";
    let conditions = [
        format!(r#""DateLessThan":{{"aws:CurrentTime":"{turn}"}}"#),
        r#""NumericLessThan":{"aws:EpochTime":"1772366400"}"#.to_owned(),
        r#""StringLike":{"app:day":"${aws:CurrentTime}*"},"Bool":{"app:never":"true"}"#.to_owned(),
    ];
    for (index, condition) in conditions.iter().enumerate() {
        let (live, generation) = keeping(&allow("*", condition));
        let question = question(&[("app:day", &["2026"])]);
        let expected = if index < 2 {
            "ALLOW_IDENTITY"
        } else {
            "IMPLICIT_DENY_IDENTITY"
        };
        for _ in 0..4 {
            assert_eq!(ask(&generation, &question), expected, "Z-79, K-41");
        }
        let after = ask_at(&generation, &question, turn);
        assert_eq!(after, "IMPLICIT_DENY_IDENTITY", "Z-79, K-41");
        let Counts {
            hits,
            misses,
            bypasses,
            ..
        } = live.cache_counts();
        assert_eq!((hits, misses), (0, 0), "K-41: {condition}");
        assert!(bypasses > 0, "K-41: {condition}");
        assert_eq!(generation.n_cached(), 0, "K-41: {condition}");
    }
}

#[test]
fn the_age_of_a_second_factor_is_the_clocks() {
    let young = r#""NumericLessThan":{"aws:MultiFactorAuthAge":"3600"}"#;
    let (live, generation) = keeping(&allow("*", young));
    let question = of_session(SessionFacts {
        mfa_at: Some("2026-03-01T08:30:00Z".parse().unwrap()),
        ..SessionFacts::default()
    });
    for _ in 0..3 {
        assert_eq!(ask(&generation, &question), "ALLOW_IDENTITY", "K-41");
    }
    let later = ask_at(&generation, &question, "2026-03-01T09:30:00Z");
    assert_eq!(later, "IMPLICIT_DENY_IDENTITY", "K-41");
    assert_eq!(live.cache_counts().hits, 0, "K-41");
}

#[test]
fn a_policy_behind_a_kept_one_that_reads_the_clock_counts_too() {
    let (live, generation) = keeping(&allow("*", ""));
    // The boundary reads the clock; the identity policy, which is met first, does not.
    let mut files = store(&allow("*", ""), "blue");
    let condition = r#""DateLessThan":{"aws:CurrentTime":"2026-03-01T12:00:00Z"}"#;
    for (path, text) in &mut files {
        match path.as_str() {
            "managed-policies/all.json" => {
                *text = wrapped(path, allow("*", condition));
            }
            "users/ann.json" => {
                let boundary = r#"{"PermissionsBoundary":{"PermissionsBoundaryType":"Policy","PermissionsBoundaryArn":"arn:aws:iam::111122223333:policy/all"},"#;
                *text = text.replacen('{', boundary, 1);
            }
            _ => {}
        }
    }
    drop(generation);
    let generation = publish(&live, &files);
    for _ in 0..4 {
        assert_eq!(ask(&generation, &question(&[])), "ALLOW_IDENTITY");
    }
    let after = ask_at(&generation, &question(&[]), "2026-03-01T12:00:00Z");
    assert_eq!(after, "IMPLICIT_DENY_PERMISSIONS_BOUNDARY", "K-41");
    assert_eq!(generation.n_cached(), 0, "K-41");
}

#[test]
fn a_session_ends_whatever_was_kept_of_it() {
    let (live, generation) = keeping(&allow("*", ""));
    let question = of_session(SessionFacts {
        expires_at: Some("2026-03-01T10:00:00Z".parse().unwrap()),
        ..SessionFacts::default()
    });
    let answer = ask_warm(&live, &generation, &question);
    assert_eq!(answer, "ALLOW_IDENTITY", "K-41");
    let after = ask_at(&generation, &question, "2026-03-01T10:00:00Z");
    assert_eq!(after, "IMPLICIT_DENY_SESSION_EXPIRED", "K-41");
}

#[test]
fn a_new_generation_begins_with_nothing() {
    let own = allow("arn:app:orders:::order/${aws:PrincipalTag/team}", "");
    let (live, before) = keeping(&own);
    let mut question = question(&[]);
    question.resource = "arn:app:orders:::order/blue";
    let answer = ask_warm(&live, &before, &question);
    assert_eq!(answer, "ALLOW_IDENTITY", "K-42");
    let counts = live.cache_counts();
    let after = publish(&live, &store(&own, "red"));
    assert_eq!(after.n_cached(), 0, "K-42");
    for _ in 0..3 {
        assert_eq!(ask(&after, &question), "IMPLICIT_DENY_IDENTITY", "K-42");
    }
    // Who still holds the old one is answered by it, and what it keeps is its own.
    assert_eq!(ask(&before, &question), "ALLOW_IDENTITY", "K-42");
    assert_eq!((before.n_cached(), after.n_cached()), (1, 1), "K-42");
    assert!(live.cache_counts().hits > counts.hits, "the counts go on");
}

#[test]
fn what_is_refused_is_not_kept() {
    let (live, generation) = keeping(&allow("*", ""));
    ask_warm(&live, &generation, &question(&[]));
    let counts = live.cache_counts();
    let mut contradictory = question(&[]);
    contradictory.resource = "arn:app:orders::111122223333:order/1";
    contradictory.resource_account = "444455556666";
    for _ in 0..4 {
        let refused = generation.authorize(&at(&contradictory, MORNING));
        assert_eq!(refused.unwrap_err().field, "resource_account", "K-43");
    }
    assert_eq!(live.cache_counts(), counts, "K-43");
    assert_eq!(generation.n_cached(), 1, "K-43");
}

#[test]
fn absent_empty_list_and_empty_text_are_three_values() {
    // C-60: `Null` is true for absence, false for a value, and says nothing about an empty text.
    let (live, generation) = keeping(&allow("*", r#""Null":{"app:x":"true"}"#));
    let values: [(Entries<'_>, &str); 6] = [
        (&[], "ALLOW_IDENTITY"),
        (&[("app:x", &[])], "ALLOW_IDENTITY"),
        (&[("app:x", &[""])], "IMPLICIT_DENY_IDENTITY"),
        (&[("app:x", &["a"])], "IMPLICIT_DENY_IDENTITY"),
        (&[("app:x", &["a", "b"])], "IMPLICIT_DENY_IDENTITY"),
        (&[("app:x", &["", ""])], "IMPLICIT_DENY_IDENTITY"),
    ];
    for (context, expected) in values {
        let answer = ask_new(&live, &generation, &question(context));
        assert_eq!(answer, expected, "K-44: {context:?}");
    }
    for (context, expected) in values {
        let answer = ask_warm(&live, &generation, &question(context));
        assert_eq!(answer, expected, "K-44: {context:?}");
    }
    assert_eq!(generation.n_cached(), 6, "K-44");
}

#[test]
fn an_unknown_value_is_none_of_them() {
    let old = r#""DateLessThan":{"aws:TokenIssueTime":"2026-01-01T00:00:00Z"}"#;
    let statements = format!("{},{}", allow("*", ""), deny("*", old));
    let (live, generation) = keeping(&statements);
    let issued = |time: Option<&str>| {
        of_session(SessionFacts {
            issued_at: time.map(|time| time.parse().unwrap()),
            ..SessionFacts::default()
        })
    };
    let mut user = issued(None);
    (user.principal, user.session) = (ANN, None);
    for (question, expected) in [
        (issued(None), "EXPLICIT_DENY_IDENTITY"), // T-43, C-3
        (issued(Some("2026-02-01T00:00:00Z")), "ALLOW_IDENTITY"),
        (
            issued(Some("2025-02-01T00:00:00Z")),
            "EXPLICIT_DENY_IDENTITY",
        ),
        (user, "ALLOW_IDENTITY"), // absent
    ] {
        let answer = ask_warm(&live, &generation, &question);
        assert_eq!(answer, expected, "K-40, T-43: {question:?}");
    }
}

/// The bytes of a question's key; none if it has none.
fn key_of(generation: &Generation, raw: &Question<'_>) -> Option<Vec<u8>> {
    let request = at(raw, MORNING);
    let work = request.remaining_work();
    let facts =
        Facts::find(&generation.snapshot, &request, &work).unwrap_or_else(|_| panic!("{raw:?}"));
    let mut key = Key::new();
    let has_key = Plan::with(&facts, true, |plan| key.fill(&facts, plan, 7));
    has_key.then(|| key.bytes().to_vec())
}

#[test]
fn no_two_questions_are_written_alike() {
    let both = r#""StringLike":{"app:a":"*","app:b":"*"}"#;
    let (_, generation) = keeping(&allow("*", both));
    let values: &[&[&str]] = &[
        &[],
        &[""],
        &["a"],
        &["ab"],
        &["a", "b"],
        &["b", "a"],
        &["", ""],
        &["a", "", "b"],
        &["\0"],
        &["\u{3}\u{1}\0\0\0a"],
    ];
    let mut keys = vec![key_of(&generation, &question(&[])).unwrap()];
    for a in values {
        keys.push(key_of(&generation, &question(&[("app:a", a)])).unwrap());
        keys.push(key_of(&generation, &question(&[("app:b", a)])).unwrap());
        for b in values {
            let both = question(&[("app:a", a), ("app:b", b)]);
            keys.push(key_of(&generation, &both).unwrap());
        }
    }
    let n_keys = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), n_keys, "K-40, K-44");
    // Nor does the hash tell them apart alone: it is the front of the key.
    assert!(keys.iter().all(|key| key.len() > 8));
}

#[test]
fn a_question_about_too_long_an_action_or_with_too_long_a_value_has_no_key() {
    let (live, generation) = keeping(&allow("*", r#""StringLike":{"app:x":"*"}"#));
    let action = format!("orders:{}", "x".repeat(600));
    let mut about_it = question(&[]);
    about_it.action = &action;
    assert_eq!(key_of(&generation, &about_it), None);
    assert!(key_of(&generation, &question(&[])).is_some());
    let long = "x".repeat(5_000);
    let long = question(&[("app:x", &[&long])]);
    assert_eq!(key_of(&generation, &long), None);
    let before = live.cache_counts();
    assert_eq!(ask(&generation, &long), "ALLOW_IDENTITY");
    assert_eq!(live.cache_counts().bypasses, before.bypasses + 1);
}

#[test]
fn policies_without_a_name_and_trust_are_evaluated() {
    let (live, generation) = keeping(&allow("*", ""));
    let policy = wrapped("managed-policies", allow("*", ""));
    let inline = of_session(SessionFacts {
        policies: vec![&policy],
        ..SessionFacts::default()
    });
    let mut assuming = question(&[]);
    assuming.action = "sts:AssumeRole";
    assuming.resource = "arn:aws:iam::111122223333:role/ops";
    for question in [&inline, &assuming] {
        for _ in 0..4 {
            ask(&generation, question);
        }
    }
    let counts = live.cache_counts();
    assert_eq!((counts.hits, counts.misses), (0, 0));
    assert!(counts.bypasses >= 4, "{counts:?}");
}

/// Forty Denies with a condition each that every question has to be held against.
fn expensive() -> String {
    let conditions = r#""StringEquals":{"app:colour":["red","green","blue"]},"StringLike":{"app:shape":"round*"}"#;
    let denies: Vec<String> = (0..40).map(|_| deny("*", conditions)).collect();
    format!("{},{}", denies.join(","), allow("*", ""))
}

#[test]
fn cheap_questions_are_not_looked_up() {
    let (live, generation) = kept_by(Mode::Auto, &allow("*", ""));
    for _ in 0..100 {
        ask(&generation, &question(&[]));
    }
    assert_eq!(live.cache_counts(), Counts::default());
    let (live, generation) = kept_by(Mode::Off, &expensive());
    for _ in 0..100 {
        ask(&generation, &question(&[]));
    }
    assert_eq!(live.cache_counts(), Counts::default());
}

#[test]
fn expensive_questions_are_kept_when_they_are_asked_again() {
    let (live, generation) = kept_by(Mode::Auto, &expensive());
    for _ in 0..100 {
        ask(&generation, &question(&[("app:colour", &["white"])]));
    }
    let counts = live.cache_counts();
    // The doorkeeper sees the first, and the second is kept.
    assert!(counts.hits >= 98, "{counts:?}");
    assert_eq!(counts.insertions, 1, "{counts:?}");
}

#[test]
fn expensive_statements_that_are_settled_at_once_are_not_kept() {
    let first = deny("*", r#""StringEquals":{"app:colour":"white"}"#);
    let (live, generation) = kept_by(Mode::Auto, &format!("{first},{}", expensive()));
    for _ in 0..2_000 {
        ask(&generation, &question(&[("app:colour", &["white"])]));
    }
    let counts = live.cache_counts();
    assert_eq!((counts.hits, counts.insertions), (0, 0), "{counts:?}");
    assert!(
        counts.bypasses > counts.misses,
        "soon not looked up: {counts:?}"
    );
}

#[test]
fn expensive_questions_that_never_repeat_are_not_kept_and_soon_not_looked_up() {
    let (live, generation) = kept_by(Mode::Auto, &expensive());
    for number in 0..20_000 {
        let resource = format!("arn:app:orders:::order/{number}");
        let question = Question {
            resource: &resource,
            ..question(&[])
        };
        _ = generation.authorize(&at(&question, MORNING)).unwrap();
    }
    let counts = live.cache_counts();
    assert_eq!((counts.hits, counts.insertions), (0, 0), "{counts:?}");
    assert!(counts.bypasses > 8 * counts.misses, "{counts:?}");
    assert_eq!(generation.n_cached(), 0);
}

#[test]
fn memory_is_bounded() {
    let live = Live::new(Caching::new(Mode::Always, 64 * 1024, 7));
    let generation = publish(&live, &store(&allow("*", ""), "blue"));
    for number in 0..5_000 {
        let resource = format!("arn:app:orders:::order/{number}");
        let question = Question {
            resource: &resource,
            ..question(&[])
        };
        _ = generation.authorize(&at(&question, MORNING)).unwrap();
    }
    assert!(generation.n_cached() <= 64 * 1024 / 256);
    assert!(generation.n_cached() > 10, "{}", generation.n_cached());
}

/// A store where one managed policy makes the questions of the users `u0`, `u1` … and of the role `greedy` expensive.
fn shared_by(n_users: usize) -> Vec<(String, String)> {
    let attached =
        r#""AttachedManagedPolicies":[{"PolicyArn":"arn:aws:iam::111122223333:policy/heavy"}]"#;
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]}"#;
    // The model says that they are expensive, and they take much work for little time, as the value is long.
    let denies: Vec<String> = (0..12)
        .map(|_| {
            deny(
                "*",
                r#""ArnLike":{"app:parent":"arn:app:orders:::shelf/*"}"#,
            )
        })
        .collect();
    let heavy = format!("{},{}", denies.join(","), allow("*", ""));
    let users =
        (0..n_users).map(|number| (format!("users/u{number}.json"), format!("{{{attached}}}")));
    let others = [
        ("account.json", r#"{"AccountId":"111122223333"}"#.to_owned()),
        (
            "managed-policies/heavy.json",
            wrapped("managed-policies", heavy),
        ),
        (
            "roles/greedy.json",
            format!(r#"{{{attached},"AssumeRolePolicyDocument":{trust}}}"#),
        ),
    ];
    let others = others.map(|(path, text)| (path.to_owned(), text));
    users.chain(others).collect()
}

/// One client asks for so much that it would fill the cache many times over, each question once or twice, under one name
/// or as many sessions. Others ask for the same few things now and then, and their answers stay. Those who come
/// meanwhile get theirs kept, too.
#[test]
fn a_greedy_client_does_not_empty_the_cache_for_the_others() {
    const N_USERS: usize = 20;
    const N_EACH: usize = 5;
    // Without optimization it takes a quarter of a minute for each 100,000.
    const N_GREEDY: usize = if cfg!(debug_assertions) {
        20_000
    } else {
        100_000
    };
    const EVERY: usize = N_GREEDY / 10;
    const MAX_BYTES: usize = 25 * N_GREEDY;
    let parent = format!("arn:app:orders:::box/{}", "x".repeat(230));
    for (n_times, n_sessions) in [(1, 1), (2, 1), (1, 1_000), (10, 1), (10, 1_000)] {
        let live = Live::new(Caching::new(Mode::Auto, MAX_BYTES, 7));
        let generation = publish(&live, &shared_by(2 * N_USERS));
        // PERF: reading a question takes longer than answering it.
        let asked = at(&question(&[("app:parent", &[&*parent])]), MORNING);
        let mut ask = |principal: &str, number: usize| {
            let resource = format!("arn:app:orders:::order/{number}");
            let principal = Principal::parse(principal).unwrap();
            let mut request = asked.of_principal(principal, &Work::new());
            request.resource = Resource::parse(&resource).unwrap();
            _ = generation.authorize(&request).unwrap();
        };
        // Returns how many of the answers were kept.
        let ask_for = |ask: &mut dyn FnMut(&str, usize), first: usize| {
            let before = live.cache_counts().hits;
            for user in first..first + N_USERS {
                let principal = format!("arn:aws:iam::111122223333:user/u{user}");
                (0..N_EACH).for_each(|number| ask(&principal, number));
            }
            live.cache_counts().hits - before
        };
        let (early, late) = (0, N_USERS);
        (0..3).for_each(|_| _ = ask_for(&mut ask, early));
        for number in 0..N_GREEDY {
            let session = number % n_sessions;
            let principal = format!("arn:aws:sts::111122223333:assumed-role/greedy/s{session}");
            (0..n_times).for_each(|_| ask(&principal, 1_000 + number));
            if number % EVERY == EVERY - 1 {
                ask_for(&mut ask, early);
                if number > N_GREEDY / 2 {
                    ask_for(&mut ask, late);
                }
            }
        }
        let kept = [early, late].map(|first| ask_for(&mut ask, first));
        let counts = live.cache_counts();
        let nearly_all = (N_USERS * N_EACH * 9 / 10) as u64;
        assert!(
            kept.iter().all(|n_kept| *n_kept >= nearly_all),
            "{kept:?} are kept, {n_times} times under {n_sessions} names: {counts:?}"
        );
        assert!(generation.n_cached() as usize <= MAX_BYTES / ENTRY_BYTES);
    }
}

#[test]
fn a_federated_user_is_told_apart_by_its_parent() {
    let (_, generation) = keeping(&allow("*", ""));
    let of = |parent| Question {
        principal: "arn:aws:sts::111122223333:federated-user/guest",
        session: Some(Box::new(SessionFacts {
            parent,
            policy_arns: vec!["arn:aws:iam::111122223333:policy/all"],
            ..SessionFacts::default()
        })),
        ..question(&[])
    };
    let parents = [ANN, "arn:aws:iam::111122223333:user/bob"];
    let [ann, bob] = parents.map(|parent| key_of(&generation, &of(parent)).unwrap());
    assert_ne!(ann, bob, "K-40");
}
