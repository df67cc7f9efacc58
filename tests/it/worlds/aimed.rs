//! Questions derived from one statement of a resource or trust policy. Its principal, action and resource hardly ever
//! meet in a question that is drawn from all words.

use serde_json::Value as Json;

use super::questions::{claims, facts, ours, roles_of_token, with_task};
use super::{A, B, EXTERNAL, M, Random, World, words};
use crate::oracle::question::{Given, Question, SessionFacts};

/// Fills in the action, resource and principal of a statement that is attached to a resource.
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

/// Makes the question a call by a provider that the trust policy of a role names.
pub fn at_federated_trust(random: &mut Random, world: &World, question: &mut Question) {
    let mut trusted = Vec::new();
    for role in &world.roles {
        let mut document = world.role_file(role)["AssumeRolePolicyDocument"].clone();
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
    question.principal = provider_of(random, role, provider);
    question.action = match is_saml {
        true => "sts:AssumeRoleWithSAML".to_owned(),
        false => "sts:AssumeRoleWithWebIdentity".to_owned(),
    };
    if random.chance(25) {
        let others = ["sts:TagSession", "sts:SetSourceIdentity", "sts:SetContext"];
        question.action = (*random.pick(&others)).to_owned();
    }
    question.session = random.chance(90).then(|| SessionFacts {
        claims: claims(random),
        ..SessionFacts::default()
    });
    if let Some(session) = &mut question.session {
        roles_of_token(random, role, &mut session.claims);
    }
}

/// Returns the ARN of the provider that a trust policy names, most often in the account of the role (T-21).
fn provider_of(random: &mut Random, role: &str, provider: &str) -> String {
    let account = match random.chance(90) {
        true => role.split(':').nth(4).unwrap(),
        false => *random.pick(&[A, B]),
    };
    let kind = if provider == words::SAML_ARN {
        "saml"
    } else {
        "oidc"
    };
    let name = provider
        .rsplit_once("-provider/")
        .map_or(provider, |(_, name)| name);
    format!("arn:aws:iam::{account}:{kind}-provider/{name}")
}

/// T-11.
pub fn at_root_user(random: &mut Random, world: &World, question: &mut Question) {
    question.action =
        (*random.pick(&["sts:AssumeRoot", "sts:AssumeRoot", "STS:assumeroot"])).into();
    let roots = [A, A, A, A, B, B, B, M, EXTERNAL, "333333333333"];
    question.resource = format!("arn:aws:iam::{}:root", random.pick(&roots));
    if random.chance(6) {
        let others = [
            "arn:aws-cn:iam::111111111111:root",
            "arn:aws:iam::111111111111:role/ops",
            "arn:aws:sts::111111111111:root",
            "*",
        ];
        question.resource = (*random.pick(&others)).into();
    }
    let of_management = world.users.iter().any(|arn| arn.contains(M));
    if of_management && random.chance(80) {
        question.principal = ours(random, &world.users, M);
        question.session = None;
        if random.chance(40) {
            let role = ours(random, &world.roles, M);
            question.principal = match random.chance(30) {
                true => role,
                false => session_of(random, &role),
            };
        }
        if random.chance(10) {
            question.principal = format!("arn:aws:iam::{M}:root");
        } else if random.chance(20) && question.principal.contains(":assumed-role/") {
            question.session = Some(facts(random, world, &question.principal, question.at));
        }
    }
    let text = |text: &str| Given::Text(text.into());
    let task = text(random.pick::<String>(&world.tasks));
    let task = match random.below(100) {
        0..55 => task,
        55..58 => Given::List(vec![task]),
        58 => Given::List(vec![task.clone(), task]),
        59 => Given::List(vec![]),
        60..63 => text(random.pick::<&str>(&[
            "arn:aws:iam::aws:policy/P0",
            "arn:aws:iam::111111111111:policy/root-task/Unlock",
            "arn:aws:iam::aws:policy/root-task/",
            "arn:aws:iam::aws:policy/root-task/a/b",
            "arn:aws-cn:iam::aws:policy/root-task/Unlock",
            "arn:aws:iam::aws:policy/Root-Task/Unlock",
            "Unlock",
            "",
        ])),
        _ => Given::List(vec![]),
    };
    if random.chance(70) {
        question.context.push(("sts:TaskPolicyArn".into(), task));
    }
    if random.chance(25) {
        let seconds = random.pick(&["900", "900", "0", "60", "901", "-1"]);
        let seconds = Given::Text((*seconds).into());
        question
            .context
            .push(("sts:DurationSeconds".into(), seconds));
    }
}

/// E-27: makes the question one of a service about the role that is linked to it.
pub fn at_service_linked_role(random: &mut Random, world: &World, question: &mut Question) {
    question.resource = ours(random, &world.service_linked, A);
    let actions = [
        "sts:AssumeRole",
        "sts:AssumeRole",
        "sts:AssumeRole",
        "sts:TagSession",
        "sts:SetSourceIdentity",
        "sts:SetContext",
    ];
    question.action = (*random.pick(&actions)).into();
    question.principal = (*random.pick(words::SERVICES)).into();
    question.session = None;
}

/// T-8: makes the question one of a session with transitive tags about a role with tags of its own.
pub fn at_chained_role(random: &mut Random, world: &World, question: &mut Question) {
    let account = *random.pick(&[A, A, A, B]);
    let role = ours(random, &world.roles, account);
    question.principal = session_of(random, &role);
    question.resource = ours(random, &world.roles, account);
    question.action =
        (*random.pick(&["sts:AssumeRole", "sts:AssumeRole", "sts:TagSession"])).into();
    let mut facts = facts(random, world, &question.principal, question.at);
    (facts.tags, facts.transitive_tag_keys) = (vec![], vec![]);
    for key in ["team", "tier"] {
        if random.chance(80) {
            facts
                .tags
                .push((key.into(), (*random.pick(words::TAG_VALUES)).into()));
            if random.chance(90) {
                facts.transitive_tag_keys.push(random.recase(key));
            }
        }
    }
    question.session = Some(facts);
}

fn session_of(random: &mut Random, role: &str) -> String {
    let account = role.split(':').nth(4).unwrap();
    let name = role.rsplit('/').next().unwrap();
    let session = random.pick(words::SESSION_NAMES);
    format!("arn:aws:sts::{account}:assumed-role/{name}/{session}")
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
                .then(|| facts(random, world, &question.principal, question.at));
        }
        ("AWS", arn) if arn.contains(":user/") || arn.contains(":assumed-role/") => {
            question.principal = arn.to_owned();
            question.session = None;
        }
        ("AWS", arn) if arn.contains(":federated-user/") => {
            question.principal = arn.to_owned();
            let account = arn.split(':').nth(4).unwrap();
            let parent = match random.chance(40) {
                true => format!("arn:aws:iam::{account}:root"), // E-49
                false => ours(random, &world.users, account),
            };
            question.session = Some(SessionFacts {
                parent,
                policies: match random.chance(75) {
                    true => vec![random.pick(&world.session_documents).clone()],
                    false => vec![],
                },
                ..SessionFacts::default()
            });
        }
        ("AWS", account) => {
            for id in [A, B] {
                if account.contains(id) {
                    question.principal = ours(random, &world.users, id);
                    question.session = None;
                    if random.chance(35) {
                        question.principal = format!("arn:aws:iam::{id}:root");
                        question.session = random
                            .chance(50)
                            .then(|| with_task(random, world, question.at));
                    }
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

/// Returns the pattern with its wildcards filled in.
fn filled(random: &mut Random, pattern: &str) -> String {
    let fill = ["", "1", "eu", "vip-1", "order/1"];
    fill_with(random, pattern, &fill)
}

/// Returns an action pattern with its wildcards filled in.
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
