//! Shows who may do what in the example store `policies/`, as one table of ✓ and ✗ in a snapshot.
//!
//! A change of meaning, in the store or in the engine, shows in a reviewer's diff as changed cells of
//! `snapshots/it__matrix__who_may_what.snap`. The engine decides each cell and the oracle must agree. A statement of
//! the store that determines no cell is a failure: an author who adds a statement also adds a line to [`ASKED`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::rc::Rc;

use iamd::store;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::laws::{is_admissible, name, to_request};
use crate::oracle::question::{Given, Question, SessionFacts};
use crate::oracle::store::{Policy, Store};
use crate::oracle::{self, Answer, Name};
use crate::scenarios::by_oracle::texts;
use crate::support::repository;

/// The time of all questions.
pub const AT: &str = "2026-06-01T12:00:00Z";

/// A column: its heading, the principal, and what its session and, in `context`, its calls always contain.
pub type Asker = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
pub const ASKERS: &[Asker] = &[
    ("alice", "arn:aws:iam::111122223333:user/support/alice", "{}"),
    ("al+mf", "arn:aws:iam::111122223333:user/support/alice", r#"{"mfaAt": "2026-06-01T11:00:00Z"}"#),
    ("bob",   "arn:aws:iam::111122223333:user/support/bob", "{}"),
    ("carol", "arn:aws:iam::111122223333:user/finance/carol", "{}"),
    ("dave",  "arn:aws:iam::111122223333:user/finance/dave", "{}"),
    ("erin",  "arn:aws:iam::111122223333:user/support/erin", "{}"),
    ("er+mf", "arn:aws:iam::111122223333:user/support/erin", r#"{"mfaAt": "2026-06-01T11:00:00Z"}"#),
    ("frank", "arn:aws:iam::111122223333:user/frank", "{}"),
    ("root",  "arn:aws:iam::111122223333:root", "{}"),
    ("order", "arn:aws:sts::111122223333:assumed-role/order-service/pod-1", "{}"),
    ("break", "arn:aws:sts::111122223333:assumed-role/breakglass/erin", r#"{"issuedAt": "2026-06-01T11:30:00Z"}"#),
    ("br-13", "arn:aws:sts::111122223333:assumed-role/breakglass/erin", r#"{"issuedAt": "2026-01-13T00:00:00Z"}"#),
    ("custo", "arn:aws:sts::111122223333:assumed-role/customer/web-1001", r#"{"tags": {"customer": "1001"}}"#),
    ("cu+de", "arn:aws:sts::111122223333:assumed-role/customer/web-1001", r#"{"tags": {"customer": "1001", "market": "de"}}"#),
    ("reten", "arn:aws:sts::111122223333:assumed-role/retention/nightly", "{}"),
    ("feder", "arn:aws:sts::111122223333:federated-user/kiosk", r#"{"parent": "arn:aws:iam::111122223333:user/support/alice", "policies": ["{\"Version\": \"2012-10-17\", \"Statement\": {\"Effect\": \"Allow\", \"Action\": \"orders:Get\", \"Resource\": \"*\"}}"]}"#),
    ("gina",  "arn:aws:iam::444455556666:user/gina", "{}"),
    ("deliv", "arn:aws:sts::444455556666:assumed-role/delivery/van-7", "{}"),
    ("taxad", "arn:aws:iam::tax-adviser:user/tina", "{}"),
    ("anon",  "*", "{}"),
    ("sched", "scheduler.shop.internal", r#"{"context": {"aws:SourceAccount": "111122223333"}}"#),
    ("sc-44", "scheduler.shop.internal", r#"{"context": {"aws:SourceAccount": "444455556666"}}"#),
    ("ordsv", "orders.shop.internal", "{}"),
    ("retsv", "retention.shop.internal", "{}"),
    ("vans",  "vans.courier.example", "{}"),
    ("login", "arn:aws:iam::111122223333:oidc-provider/login.shop.example", r#"{"claims": {"aud": "shop-web", "sub": "1001"}}"#),
    ("news",  "arn:aws:iam::111122223333:oidc-provider/login.shop.example", r#"{"claims": {"aud": "newsletter", "sub": "1001"}}"#),
];

/// A line: the action, the resource and the context.
pub type Asked = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
pub const ASKED: &[Asked] = &[
    ("orders:Get", "arn:app:orders:::order/1001/1", "{}"),
    ("orders:Get", "arn:app:orders:::order/7/1", "{}"),
    ("orders:List", "*", "{}"),
    ("orders:List", "*", r#"{"orders:customer": "1001"}"#),
    ("orders:Place", "arn:app:orders:::order/1001/2", "{}"),
    ("orders:Place", "arn:app:orders:::order/7/2", "{}"),
    ("orders:Cancel", "arn:app:orders:::order/1001/1", "{}"),
    ("orders:Ship", "arn:app:orders:::order/1001/1", "{}"),
    ("orders:Refund", "arn:app:orders:::order/1001/1", r#"{"orders:amount": 100}"#),
    ("orders:Refund", "arn:app:orders:::order/1001/1", r#"{"orders:amount": 101}"#),
    ("orders:Refund", "arn:app:orders:::order/9001/1", r#"{"orders:amount": 100}"#),
    ("orders:Tag", "arn:app:orders:::order/1001/1", r#"{"aws:RequestTag/priority": "high"}"#),
    ("orders:Tag", "arn:app:orders:::order/1001/1", r#"{"aws:RequestTag/owner": "me"}"#),
    ("orders:Purge", "arn:app:orders:::order/1001/1", r#"{"orders:age-in-years": 10}"#),
    ("orders:Purge", "arn:app:orders:::order/1001/1", r#"{"orders:age-in-years": 9}"#),
    ("orders:Reserve", "arn:app:orders:::stock/eu-3/teapot", "{}"),
    ("orders:Reserve", "arn:app:orders:::stock/us-3/teapot", "{}"),
    ("orders:GetPriceList", "arn:app:orders:::price-list/world", "{}"),
    ("orders:GetPriceList", "arn:app:orders:::price-list/de", "{}"),
    ("orders:PutPriceList", "arn:app:orders:::price-list/de", "{}"),
    ("orders:Browse", "arn:app:orders:::catalog/teapots", r#"{"aws:SecureTransport": true}"#),
    ("orders:Browse", "arn:app:orders:::catalog/teapots", r#"{"aws:SecureTransport": false}"#),
    ("orders:GetShipment", "arn:app:orders:::shipment/5001", "{}"),
    ("orders:ConfirmDelivery", "arn:app:orders:::shipment/5001", "{}"),
    ("orders:DeleteShipment", "arn:app:orders:::shipment/5001", "{}"),
    ("invoices:Get", "arn:app:invoices:::invoice/1001/1", "{}"),
    ("invoices:Get", "arn:app:invoices:::invoice/7/1", "{}"),
    ("invoices:Issue", "arn:app:invoices:::invoice/1001/2", r#"{"aws:SourceIp": "203.0.113.20"}"#),
    ("invoices:Issue", "arn:app:invoices:::invoice/1001/2", r#"{"aws:SourceIp": "198.51.100.7"}"#),
    ("invoices:Send", "arn:app:invoices:::invoice/1001/1", "{}"),
    ("payments:Get", "arn:app:payments:::payment/1", "{}"),
    ("payments:Capture", "arn:app:payments:::payment/1", "{}"),
    ("payments:Dispute", "arn:app:payments:::payment/1", r#"{"aws:SourceIp": "203.0.113.20"}"#),
    ("payments:Refund", "arn:app:payments:::payment/1", r#"{"aws:SourceIp": "203.0.113.20"}"#),
    ("users:Get", "arn:app:users:::profile/alice", "{}"),
    ("users:Update", "arn:app:users:::profile/erin", "{}"),
    ("users:Invite", "*", r#"{"users:email": "hugo@shop.example"}"#),
    ("users:Invite", "*", r#"{"users:email": "hugo@else.example"}"#),
    ("iam:ChangePassword", "arn:aws:iam::111122223333:user/frank", "{}"),
    ("iam:ChangePassword", "arn:aws:iam::111122223333:user/support/alice", "{}"),
    ("iam:GetAccountPasswordPolicy", "*", "{}"),
    ("sts:AssumeRole", "arn:aws:iam::111122223333:role/breakglass", "{}"),
    ("sts:AssumeRole", "arn:aws:iam::111122223333:role/order-service", "{}"),
    ("sts:AssumeRole", "arn:aws:iam::111122223333:role/jobs/retention", "{}"),
    ("sts:AssumeRole", "arn:aws:iam::444455556666:role/delivery", "{}"),
    ("sts:AssumeRoleWithWebIdentity", "arn:aws:iam::111122223333:role/customer", "{}"),
];

/// The reasons in cells, in capitals if a Deny determined the answer.
#[rustfmt::skip]
const REASONS: &[(&str, &str)] = &[
    ("✓id", "ALLOW_IDENTITY"),
    ("✓rd", "ALLOW_RESOURCE_DIRECT"),
    ("✓re", "ALLOW_RESOURCE_ENTITY"),
    ("✓xa", "ALLOW_CROSS_ACCOUNT"),
    ("✓ro", "ALLOW_ROOT"),
    ("✓sv", "ALLOW_SERVICE"),
    ("✓an", "ALLOW_ANONYMOUS"),
    ("✓fe", "ALLOW_FEDERATED"),
    ("✗ID", "EXPLICIT_DENY_IDENTITY"),
    ("✗RS", "EXPLICIT_DENY_RESOURCE"),
    ("✗PB", "EXPLICIT_DENY_PERMISSIONS_BOUNDARY"),
    ("✗SE", "EXPLICIT_DENY_SESSION"),
    ("✗SC", "EXPLICIT_DENY_SERVICE_CONTROL"),
    ("✗RC", "EXPLICIT_DENY_RESOURCE_CONTROL"),
    ("✗id", "IMPLICIT_DENY_IDENTITY"),
    ("✗rs", "IMPLICIT_DENY_RESOURCE"),
    ("✗pb", "IMPLICIT_DENY_PERMISSIONS_BOUNDARY"),
    ("✗se", "IMPLICIT_DENY_SESSION"),
    ("✗sc", "IMPLICIT_DENY_SERVICE_CONTROL"),
    ("✗rc", "IMPLICIT_DENY_RESOURCE_CONTROL"),
    ("✗up", "IMPLICIT_DENY_UNKNOWN_PRINCIPAL"),
    ("✗ex", "IMPLICIT_DENY_SESSION_EXPIRED"),
    ("✗it", "IMPLICIT_DENY_INVALID_IDENTITY_TOKEN"),
];

/// Statements that cannot determine any question, with the reason.
#[rustfmt::skip]
const SETTLE_NOTHING: &[(&str, &str)] = &[
    ("boundary arn:aws:iam::111122223333:policy/ReadOnlyBoundary 0", "an Allow of a boundary lets through, and grants nothing (E-48)"),
    ("resource resource-policies/payments 2", "it names the account, whose own policies grant (E-45)"),
    ("trust arn:aws:iam::111122223333:role/breakglass/trust 0", "it names the account, whose own policies grant (T-2)"),
];

#[test]
fn who_may_what() {
    let folder = repository().join("policies");
    let snapshot = store::load(&folder).unwrap().snapshot;
    let oracles = oracle::store::read(&texts(&folder));
    let mut table = legend();
    let (mut settling, mut service) = (BTreeSet::new(), "");
    for asked in ASKED {
        let of = asked.0.split_once(':').unwrap().0;
        if of != service {
            service = of;
            table.push('\n');
            table += &line(ASKERS.iter().map(|(head, _, _)| *head), "");
        }
        let mut cells = Vec::new();
        for asker in ASKERS {
            if !may_ask(asker, asked) {
                cells.push(NOT_ASKED);
                continue;
            }
            let question = question(asker, asked);
            let decision = to_request(&question)
                .and_then(|request| {
                    iamd::engine::authorize(&snapshot, &request).map_err(|error| error.to_string())
                })
                .unwrap_or_else(|error| panic!("{asker:?} {asked:?}: {error}"));
            let names: Vec<Name> = decision.determining().iter().map(name).collect();
            let reason = decision.reason().label();
            let by_oracle = oracle::answer(&oracles, &question);
            let agrees = matches!(&by_oracle, Answer::Decided(expected)
                if expected.reason == reason && is_admissible(&names, &expected.determining));
            assert!(
                agrees,
                "{asker:?} {asked:?}: {reason} by {names:?}, but the oracle says {by_oracle:?}"
            );
            let (cell, _) = REASONS.iter().find(|(_, of)| *of == reason).unwrap();
            assert_eq!(decision.is_allowed(), cell.starts_with('✓'));
            cells.push(*cell);
            settling.extend(names.iter().map(told));
        }
        let (action, resource, context) = *asked;
        let context = if context == "{}" { "" } else { context };
        table += &line(cells.into_iter(), &format!("{action} {resource} {context}"));
    }
    assert_every_statement_settles(&oracles, &settling);
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("who_may_what", table);
    });
}

/// The cell of a question that is impossible.
const NOT_ASKED: &str = "·";

/// Returns whether the question is possible. An identity provider asks only for roles (E-2, T-20).
fn may_ask((_, principal, _): &Asker, (action, ..): &Asked) -> bool {
    !principal.contains(":oidc-provider/") || action.starts_with("sts:")
}

/// Returns the columns and the cells in words.
fn legend() -> String {
    let mut legend = format!("At {AT}.\n\n");
    for (head, principal, session) in ASKERS {
        let session = if *session == "{}" { "" } else { session };
        writeln!(
            legend,
            "{}",
            format!("{head:<6}{principal} {session}").trim_end()
        )
        .unwrap();
    }
    legend.push('\n');
    for (cell, reason) in REASONS {
        writeln!(legend, "{cell}   {reason}").unwrap();
    }
    writeln!(
        legend,
        "{NOT_ASKED}     an identity provider asks for roles only"
    )
    .unwrap();
    legend
}

/// Returns one line of the table: the cells, followed by the question.
fn line<'c>(cells: impl Iterator<Item = &'c str>, asked: &str) -> String {
    let cells: String = cells.map(|cell| format!("{cell:<6}")).collect();
    format!("{}\n", format!("{cells}{asked}").trim_end())
}

/// Checks that each statement determines a cell or is listed with the reason why it does not, and that nothing else is
/// listed.
fn assert_every_statement_settles(store: &Store, settling: &BTreeSet<String>) {
    let listed: BTreeMap<&str, &str> = SETTLE_NOTHING.iter().copied().collect();
    let all = statements(store);
    let silent: Vec<&String> = all
        .iter()
        .filter(|name| !settling.contains(*name) && !listed.contains_key(name.as_str()))
        .collect();
    assert!(
        silent.is_empty(),
        "these statements settle no cell: add a line to `ASKED` or `ASKERS`, or list them with a reason: {silent:#?}"
    );
    for (name, reason) in listed {
        assert!(all.contains(name), "there is no `{name}` ({reason})");
        assert!(
            !settling.contains(name),
            "`{name}` settles a cell ({reason})"
        );
    }
}

/// Returns all statements of the store, by the policy type in which each counts.
fn statements(store: &Store) -> BTreeSet<String> {
    let (mut all, mut attached) = (BTreeSet::new(), BTreeSet::new());
    let mut add = |kind: &'static str, policy: &Policy| {
        attached.insert(policy.name.clone());
        let names = (0..policy.statements.len()).map(|index| (kind, policy.name.clone(), index));
        all.extend(names.map(|name| told(&name)));
    };
    for account in store.accounts.values() {
        for entity in account.users.iter().chain(&account.roles) {
            for policy in &entity.identity {
                add("identity", policy);
            }
            if let Some(boundary) = &entity.boundary {
                add("boundary", boundary);
            }
            if let Some(trust) = &entity.trust {
                add("trust", trust);
            }
        }
        for attachment in &account.resource_policies {
            if let Some(policy) = &attachment.policy {
                add("resource", policy);
            }
        }
    }
    let organization = store.organization.as_ref().unwrap();
    // The policies of AWS that allow everything are in no file.
    let is_of_store = |policy: &&Rc<Policy>| !policy.name.ends_with("FullAWSAccess");
    for node in organization.paths.values().flatten() {
        for policy in node.scps.iter().filter(is_of_store) {
            add("scp", policy);
        }
        for policy in node.rcps.iter().filter(is_of_store) {
            add("rcp", policy);
        }
    }
    for name in store.managed.keys() {
        assert!(attached.contains(name.as_str()), "nobody has `{name}`");
    }
    all
}

fn told((kind, policy, index): &Name) -> String {
    format!("{kind} {policy} {index}")
}

fn question((_, principal, session): &Asker, (action, resource, context): &Asked) -> Question {
    let mut session: Json = serde_json::from_str(session).unwrap();
    let always = session.as_object_mut().unwrap().remove("context");
    let mut given = entries(&serde_json::from_str(context).unwrap());
    given.extend(always.iter().flat_map(entries));
    Question {
        principal: (*principal).to_owned(),
        action: (*action).to_owned(),
        resource: (*resource).to_owned(),
        context: given,
        session: Some(facts(&session)).filter(|_| session != Json::Object(Default::default())),
        resource_account: String::new(),
        at: seconds(AT),
    }
}

fn seconds(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_second()
}

fn facts(session: &Json) -> SessionFacts {
    let mut facts = SessionFacts::default();
    for (name, value) in session.as_object().unwrap() {
        let text = || value.as_str().unwrap().to_owned();
        match name.as_str() {
            "mfaAt" => facts.mfa_at = Some(seconds(&text())),
            "issuedAt" => facts.issued_at = Some(seconds(&text())),
            "parent" => facts.parent = text(),
            "claims" => facts.claims = entries(value),
            "tags" => {
                let tags = entries(value).into_iter();
                facts.tags = tags
                    .map(|(key, value)| (key, value.texts().concat()))
                    .collect();
            }
            "policies" => {
                let policies = value.as_array().unwrap().iter();
                facts.policies = policies
                    .map(|text| text.as_str().unwrap().to_owned())
                    .collect();
            }
            other => panic!("no member `{other}`"),
        }
    }
    facts
}

fn entries(members: &Json) -> Vec<(String, Given)> {
    let given = |value: &Json| match value {
        Json::Bool(value) => Given::Bool(*value),
        Json::Number(number) => Given::Number(number.as_f64().unwrap()),
        Json::String(text) => Given::Text(text.clone()),
        other => panic!("no value: {other}"),
    };
    let members = members.as_object().unwrap().iter();
    members
        .map(|(key, value)| (key.clone(), given(value)))
        .collect()
}
