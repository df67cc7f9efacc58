//! Statements as they occur in practice, drawn at random.
//!
//! The shares are those of policies that AWS publishes: 39 % of the resources are a bare `*`, 39 % have a wildcard in
//! the first five fields of the ARN, 38 % of the statements have conditions, 94 % of the actions are literal. A third
//! of the resources are such as applications use, some with the principal's name in them.

use super::model::{Condition, Statement};
use super::random::Random;
use super::{ACCOUNT, REGION};

const SERVICES: [&str; 40] = [
    "orders",
    "invoices",
    "catalog",
    "payments",
    "shipping",
    "users",
    "carts",
    "returns",
    "search",
    "mail",
    "sqs",
    "sns",
    "s3",
    "dynamodb",
    "ec2",
    "lambda",
    "kms",
    "logs",
    "events",
    "states",
    "ecr",
    "ecs",
    "eks",
    "rds",
    "glue",
    "athena",
    "batch",
    "backup",
    "config",
    "route53",
    "acm",
    "apigateway",
    "cognito",
    "firehose",
    "kinesis",
    "redshift",
    "sagemaker",
    "secrets",
    "ssm",
    "transfer",
];
const VERBS: [&str; 12] = [
    "Get", "List", "Describe", "Create", "Update", "Delete", "Put", "Tag", "Untag", "Send",
    "Start", "Stop",
];
const NOUNS: [&str; 10] = [
    "Item", "Table", "Queue", "Topic", "Key", "Job", "Order", "Report", "Rule", "Version",
];
const KINDS: [&str; 6] = ["item", "table", "queue", "job", "order", "report"];

/// Returns one of 4096 short words.
pub fn word(random: &mut Random) -> String {
    format!("w{:03x}", random.below(4096))
}

/// Returns a service.
pub fn service(random: &mut Random) -> &'static str {
    random.word(&SERVICES)
}

/// Returns a literal action of `service`.
pub fn action(random: &mut Random, service: &str) -> String {
    format!("{service}:{}{}", random.word(&VERBS), random.word(&NOUNS))
}

/// Makes a statement. A Deny is narrow, so that other questions stay allowed.
pub fn statement(random: &mut Random) -> Statement {
    let service = service(random);
    let mut actions: Vec<String> = (0..1 + random.below(3))
        .map(|_| action_pattern(random, service))
        .collect();
    actions.dedup();
    let denies = random.chance(15);
    let resource = match denies {
        true => format!("arn:aws:{service}:*:{ACCOUNT}:secret/{}/*", word(random)),
        false => resource_pattern(random, service),
    };
    let conditions = match random.chance(38) {
        true => {
            let n_conditions = 1 + random.below(3);
            conditions(random, n_conditions)
        }
        false => Vec::new(),
    };
    let mut statement = Statement {
        denies,
        actions,
        conditions,
        ..Statement::allow("", resource)
    };
    match random.below(100) {
        // A rare statement about everything except one service's administration. It is a candidate for every action.
        0 if !denies => {
            statement.excepts_actions = true;
            statement.resources = vec![format!("arn:aws:{service}:{REGION}:{ACCOUNT}:shared/*")];
        }
        1 if !denies => {
            statement.excepts_resources = true;
            statement.resources = vec![format!("arn:aws:{service}:*:{ACCOUNT}:secret/*")];
        }
        _ => {}
    }
    statement
}

fn action_pattern(random: &mut Random, service: &str) -> String {
    match random.below(100) {
        0 => format!("{service}:*"),
        1..=5 => format!("{service}:{}*", random.word(&VERBS)),
        6..=9 => action(random, service).to_ascii_lowercase(),
        10..=11 => action(random, service).to_ascii_uppercase(),
        _ => action(random, service),
    }
}

fn resource_pattern(random: &mut Random, service: &str) -> String {
    let (kind, name) = (random.word(&KINDS), word(random));
    if random.chance(33) {
        return match random.below(3) {
            0 => format!("arn:app:{service}:{REGION}:{ACCOUNT}:{kind}/${{aws:username}}/*"),
            1 => format!("arn:app:{service}:::{kind}/{name}/*"),
            _ => format!("arn:app:{service}:::{kind}/{name}/{}", word(random)),
        };
    }
    match random.below(100) {
        0..=38 => "*".to_owned(),
        39..=58 => format!("arn:aws:{service}:*:{ACCOUNT}:{kind}/{name}*"),
        59..=70 => format!("arn:aws:{service}:*:*:{kind}/{name}/*"),
        71..=77 => format!("arn:*:{service}:*:*:{kind}/*/{name}"),
        78..=90 => format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}/{name}*"),
        91..=94 => format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}/{name}/v?"),
        _ => format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}/{name}"),
    }
}

/// A condition to draw: operator, key, operands, and a value that fulfils it.
type Template = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const CONDITIONS: [Template; 16] = [
    (
        "StringEquals",
        "app:team",
        &["support", "finance", "sales"],
        "finance",
    ),
    ("Bool", "aws:SecureTransport", &["true"], "true"),
    (
        "IpAddress",
        "aws:SourceIp",
        &["10.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"],
        "203.0.113.20",
    ),
    ("NumericLessThanEquals", "app:amount", &["100"], "42"),
    (
        "StringLike",
        "app:email",
        &["*@shop.example", "*@*.shop.example"],
        "kim@shop.example",
    ),
    (
        "DateLessThan",
        "app:due",
        &["2029-01-01T00:00:00Z"],
        "2026-03-01T09:00:00Z",
    ),
    (
        "StringNotEquals",
        "app:stage",
        &["frozen", "retired"],
        "open",
    ),
    (
        "StringEquals",
        "app:owner",
        &["${aws:username}"],
        "${aws:username}",
    ),
    (
        "ArnLike",
        "app:sourceArn",
        &["arn:aws:sns:*:111122223333:topic-*"],
        "arn:aws:sns:eu-west-1:111122223333:topic-7",
    ),
    ("NumericGreaterThan", "app:priority", &["2"], "5"),
    (
        "StringEqualsIgnoreCase",
        "app:channel",
        &["Web", "Phone"],
        "web",
    ),
    (
        "DateGreaterThan",
        "app:since",
        &["2020-01-01T00:00:00Z"],
        "2026-03-01T09:00:00Z",
    ),
    ("Null", "app:ticket", &["false"], "T-1001"),
    (
        "NotIpAddress",
        "app:peer",
        &["198.51.100.0/24"],
        "192.0.2.7",
    ),
    (
        "StringNotLike",
        "app:agent",
        &["*crawler*", "bot-*"],
        "browser/7",
    ),
    ("NumericNotEquals", "app:code", &["13"], "12"),
];

/// Returns `n_conditions` different conditions, at most 16. No two have both the same operator and the same key.
pub fn conditions(random: &mut Random, n_conditions: usize) -> Vec<Condition> {
    let first = random.below(CONDITIONS.len());
    let chosen = CONDITIONS.iter().cycle().skip(first);
    chosen
        .take(n_conditions.min(CONDITIONS.len()))
        .map(|(operator, key, operands, fulfilled_by)| Condition {
            operator,
            key: (*key).to_owned(),
            operands: operands
                .iter()
                .map(|operand| (*operand).to_owned())
                .collect(),
            fulfilled_by: (*fulfilled_by).to_owned(),
        })
        .collect()
}

/// Returns a literal action that `pattern` matches.
pub fn action_of(random: &mut Random, pattern: &str) -> String {
    match pattern.strip_suffix('*') {
        None => pattern.to_owned(),
        Some(prefix) if prefix.ends_with(':') => {
            format!("{prefix}{}{}", random.word(&VERBS), random.word(&NOUNS))
        }
        Some(prefix) => format!("{prefix}{}", random.word(&NOUNS)),
    }
}

/// Returns a resource that `pattern` matches for the user called `username`.
pub fn resource_of(random: &mut Random, pattern: &str, service: &str, username: &str) -> String {
    if pattern == "*" {
        let (kind, name) = (random.word(&KINDS), word(random));
        return format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}/{name}/1");
    }
    let pattern = pattern.replace("${aws:username}", username);
    let fields = pattern.splitn(6, ':').enumerate().map(|(at, field)| {
        let field = match (at, field) {
            (1, "*") => "aws".to_owned(),
            (3, "*") => REGION.to_owned(),
            (4, "*") => ACCOUNT.to_owned(),
            _ => field.replace('?', "7"),
        };
        match field.contains('*') {
            true => field.replace('*', &word(random)),
            false => field,
        }
    });
    fields.collect::<Vec<_>>().join(":")
}
