//! Questions taken from one statement of a resource or trust policy: that who, what and where of it meet in a question
//! drawn from all words hardly ever happens.

use serde_json::Value as Json;

use super::questions::{facts, ours};
use super::{A, B, Random, World, words};
use crate::oracle::question::{Question, SessionFacts};

/// Action, resource and principal of a statement that is attached to a resource.
pub fn at_resource_policy(random: &mut Random, world: &World, question: &mut Question) {
    let policies = world
        .files
        .iter()
        .filter(|(path, file)| path.contains("resource-policies/") && file.get("Policy").is_some());
    let policies: Vec<&Json> = policies.map(|(_, file)| file).collect();
    if policies.is_empty() {
        return;
    }
    let file = *random.pick(&policies);
    let statements = list(&file["Policy"]["Statement"]);
    let mut statement = *random.pick(&statements);
    if statement.get("Condition").is_some() {
        statement = *random.pick(&statements); // that it fails is tried often enough
    }
    let scope = text_of(random_of(random, &file["Resource"]));
    question.resource = match random.chance(10) {
        true => scope.to_owned(), // M-9: a wildcard of a request is none
        false => filled(random, scope),
    };
    if let Some(actions) = statement.get("Action") {
        let pattern = text_of(random_of(random, actions));
        question.action = match pattern.contains(':') && pattern != "*:*" {
            true => filled_name(random, pattern),
            false => (*random.pick(words::ACTIONS)).to_owned(),
        };
    }
    match &statement["Principal"] {
        Json::Object(kinds) => {
            let kinds: Vec<(&String, &Json)> = kinds.iter().collect();
            let (kind, values) = *random.pick(&kinds);
            let value = text_of(random_of(random, values)).to_owned();
            ask_as(random, world, question, kind, &value);
        }
        Json::String(everyone) => ask_as(random, world, question, everyone, "*"),
        _ => {}
    }
}

/// A call of a provider that the trust policy of a role names.
pub fn at_federated_trust(random: &mut Random, world: &World, question: &mut Question) {
    let mut trusted = Vec::new();
    for role in &world.roles {
        let account = role.split(':').nth(4).unwrap();
        let name = role.rsplit('/').next().unwrap();
        let folder = if account == A {
            String::new()
        } else {
            format!("accounts/{account}/")
        };
        let file = &world.files[&format!("{folder}roles/{name}.json")];
        let mut document = file["AssumeRolePolicyDocument"].clone();
        if let Some(text) = document.as_str() {
            document = serde_json::from_str(text).unwrap();
        }
        for statement in list(&document["Statement"]) {
            let providers = statement["Principal"].get("Federated");
            for provider in providers.into_iter().flat_map(list) {
                trusted.push((role, text_of(provider).to_owned()));
            }
        }
    }
    if trusted.is_empty() {
        return;
    }
    let (role, provider) = random.pick(&trusted);
    let is_saml = provider == words::SAML_ARN;
    question.resource = (*role).clone();
    question.principal = if is_saml {
        words::SAML_ARN.to_owned()
    } else {
        words::OIDC_ARN.to_owned()
    };
    question.action = match is_saml {
        true => "sts:AssumeRoleWithSAML".to_owned(),
        false => "sts:AssumeRoleWithWebIdentity".to_owned(),
    };
    if random.chance(20) {
        question.action = "sts:TagSession".to_owned();
    }
    question.session = None;
}

fn ask_as(random: &mut Random, world: &World, question: &mut Question, kind: &str, value: &str) {
    let as_anonymous = |question: &mut Question| {
        question.principal = "*".to_owned();
        question.session = None;
    };
    match (kind, value) {
        ("*" | "AWS", "*") if random.chance(45) => as_anonymous(question),
        ("*", _) if random.chance(30) => {
            question.principal = (*random.pick(words::SERVICES)).to_owned();
            question.session = None;
        }
        ("Service", name) => {
            question.principal = name.to_owned();
            question.session = None;
        }
        ("AWS", arn) if arn.contains(":role/") => {
            let account = arn.split(':').nth(4).unwrap();
            let role = arn.rsplit('/').next().unwrap();
            let session = random.pick(words::SESSION_NAMES);
            question.principal = format!("arn:aws:sts::{account}:assumed-role/{role}/{session}");
            question.session = random
                .chance(30)
                .then(|| facts(random, world, &question.principal));
        }
        ("AWS", arn) if arn.contains(":user/") || arn.contains(":assumed-role/") => {
            question.principal = arn.to_owned();
            question.session = None;
        }
        ("AWS", arn) if arn.contains(":federated-user/") => {
            question.principal = arn.to_owned();
            let account = arn.split(':').nth(4).unwrap();
            question.session = Some(SessionFacts {
                parent: ours(random, &world.users, account),
                policies: vec![random.pick(&world.session_documents).clone()],
                ..SessionFacts::default()
            });
        }
        ("AWS", account) => {
            for id in [A, B] {
                if account.contains(id) {
                    question.principal = match random.chance(35) {
                        true => format!("arn:aws:iam::{id}:root"),
                        false => ours(random, &world.users, id),
                    };
                    question.session = None;
                }
            }
        }
        _ => {}
    }
}

fn list(json: &Json) -> Vec<&Json> {
    match json {
        Json::Array(elements) => elements.iter().collect(),
        one => vec![one],
    }
}

fn random_of<'j>(random: &mut Random, json: &'j Json) -> &'j Json {
    let elements = list(json);
    let picked: &&Json = random.pick(&elements);
    picked
}

fn text_of(json: &Json) -> &str {
    json.as_str().unwrap()
}

/// With something in place of the wildcards.
fn filled(random: &mut Random, pattern: &str) -> String {
    let fill = ["", "1", "eu", "vip-1", "order/1"];
    fill_with(random, pattern, &fill)
}

/// The same, of an action.
fn filled_name(random: &mut Random, pattern: &str) -> String {
    let (service, name) = pattern.split_once(':').unwrap();
    let name = match name {
        "*" => "Get".to_owned(),
        name => fill_with(random, name, &["", "e", "All", "xyz"]),
    };
    format!("{service}:{name}")
}

fn fill_with(random: &mut Random, pattern: &str, fill: &[&str]) -> String {
    let mut text = String::new();
    for char in pattern.chars() {
        match char {
            '*' => text.push_str(random.pick::<&str>(fill)),
            '?' => text.push('f'),
            other => text.push(other),
        }
    }
    text
}
