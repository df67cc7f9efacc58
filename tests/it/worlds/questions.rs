//! Questions: from the words of the policies, near misses and what attackers send.

use super::{A, B, EXTERNAL, M, Random, World};
use super::{aimed, words};
use crate::oracle::question::{Given, Question, SessionFacts};

/// 2024-06-01T00:00:00Z: the date that policies name.
const TURN: i64 = 1_717_200_000;

pub fn question(random: &mut Random, world: &World) -> Question {
    let mut question = Question {
        action: (*random.pick(words::ACTIONS)).into(),
        resource: match random.chance(70) {
            true => (*random.pick(words::COMMON_RESOURCES)).into(),
            false => (*random.pick(words::RESOURCES)).into(),
        },
        at: TURN + *random.pick(&[-1, 0, 0, 1, 86_400, -86_400, 31_536_000]),
        ..Question::default()
    };
    principal(random, world, &mut question);
    let aim = random.below(100);
    if aim < 24 {
        aimed::at_resource_policy(random, world, &mut question);
    } else if aim < 27 {
        aimed::at_federated_trust(random, world, &mut question);
    } else if random.chance(14) {
        about_a_role(random, world, &mut question);
    } else if random.chance(6) {
        question.resource = drawn(random, words::RESOURCE_PATTERNS);
    }
    if random.chance(3) {
        question.resource_account = (*random.pick(&[A, B, EXTERNAL])).into();
    }
    context(random, &mut question);
    if random.chance(2) {
        spoil(random, &mut question);
    }
    question
}

/// A pattern with its wildcards filled in.
fn drawn(random: &mut Random, patterns: &[&str]) -> String {
    let fill = ["", "x", "eu", ":", "1/2", "order"];
    let mut text = String::new();
    for char in random.pick(patterns).chars() {
        match char {
            '*' => text.push_str(random.pick::<&str>(&fill)),
            '?' => text.push('1'),
            other => text.push(other),
        }
    }
    text
}

fn principal(random: &mut Random, world: &World, question: &mut Question) {
    let kind = random.below(100);
    let account = *random.pick(&[A, A, A, A, A, A, A, B]);
    match kind {
        0..36 | 92.. => {
            question.principal = ours(random, &world.users, account);
            if random.chance(40) {
                let mut facts = facts(random, world, &question.principal);
                if facts.issued_at.is_none() {
                    facts.expires_at.get_or_insert(question.at + 100);
                }
                question.session = Some(facts);
            }
        }
        36..68 => {
            let role = ours(random, &world.roles, account);
            let (account, name) = (
                role.split(':').nth(4).unwrap(),
                role.rsplit('/').next().unwrap(),
            );
            let session = random.pick(words::SESSION_NAMES);
            question.principal = format!("arn:aws:sts::{account}:assumed-role/{name}/{session}");
            if random.chance(85) {
                question.session = Some(facts(random, world, &question.principal));
            }
        }
        68..73 => {
            question.principal = ours(random, &world.roles, account);
            if random.chance(30) {
                let issued_at = Some(TURN - 1);
                question.session = Some(SessionFacts {
                    issued_at,
                    ..SessionFacts::default()
                });
            }
        }
        73..79 => {
            let name = random.pick(&["fred", "ann"]);
            question.principal = format!("arn:aws:sts::{account}:federated-user/{name}");
            let mut facts = facts(random, world, &question.principal);
            facts.parent = ours(random, &world.users, account);
            question.session = Some(facts);
        }
        79..82 => question.principal = format!("arn:aws:iam::{account}:root"),
        82..84 => question.principal = (*random.pick(words::SERVICES)).into(),
        84..86 => question.principal = "*".into(),
        86..90 => {
            let name = random.pick(&["user/eve", "role/ops", "role/jobs/ops"]);
            question.principal = format!("arn:aws:iam::{EXTERNAL}:{name}");
            if random.chance(40) {
                question.principal = format!("arn:aws:sts::{EXTERNAL}:assumed-role/ops/s1");
                question.session = Some(facts(random, world, &question.principal));
            }
        }
        _ => {
            let unknown = [
                format!("arn:aws:iam::{A}:user/nobody"),
                format!("arn:aws:iam::{A}:user/ANN"),
                format!("arn:aws:sts::{A}:assumed-role/nothing/s1"),
                "arn:aws:iam::333333333333:user/ann".into(),
                format!("arn:aws-cn:iam::{A}:user/ann"),
                format!("arn:aws:iam::{M}:user/ann"),
            ];
            question.principal = random.pick(&unknown).clone();
        }
    }
}

/// Most often one of `account`.
pub(super) fn ours(random: &mut Random, arns: &[String], account: &str) -> String {
    let ours: Vec<&String> = arns.iter().filter(|arn| arn.contains(account)).collect();
    match random.chance(95) && !ours.is_empty() {
        true => (*random.pick(&ours)).clone(),
        false => random.pick(arns).clone(),
    }
}

pub(super) fn facts(random: &mut Random, world: &World, principal: &str) -> SessionFacts {
    let mut facts = SessionFacts::default();
    if random.chance(75) {
        facts.issued_at = Some(TURN + *random.pick(&[-86_400, -1, 0, -2]));
    }
    if random.chance(30) {
        facts.expires_at =
            Some(TURN + *random.pick(&[1, 2, 86_401, 86_401, 40_000_000, 40_000_000]));
    }
    if random.chance(35) {
        facts.mfa_at = Some(TURN - *random.pick(&[86_400, 86_405, 90_000, 86_410]));
    }
    for key in ["team", "tier"] {
        if random.chance(45) {
            let key = if random.chance(20) {
                random.recase(key)
            } else {
                key.to_owned()
            };
            if random.chance(15) {
                facts.transitive_tag_keys.push(key.clone());
            }
            facts
                .tags
                .push((key, (*random.pick(words::TAG_VALUES)).into()));
        }
    }
    if random.chance(15) {
        facts.source_identity = (*random.pick(&["ann", "blue"])).into();
    }
    if random.chance(15) {
        facts.federated_provider =
            (*random.pick(&[words::OIDC, words::OIDC_ARN, words::SAML_ARN])).into();
        facts.claims = claims(random);
    }
    if random.chance(8) {
        let account = principal.split(':').nth(4).unwrap();
        facts
            .policy_arns
            .push(ours(random, &world.managed, account));
    }
    if random.chance(25) {
        for _ in 0..1 + random.below(2) {
            facts
                .policies
                .push(random.pick(&world.session_documents).clone());
        }
    }
    facts
}

fn claims(random: &mut Random) -> Vec<(String, Given)> {
    let mut claims = Vec::new();
    for name in ["sub", "aud", "groups"] {
        if random.chance(70) {
            claims.push((
                name.to_owned(),
                values(random, words::STRINGS, words::STRANGE_STRINGS),
            ));
        }
    }
    claims
}

/// Assuming, tagging, passing.
fn about_a_role(random: &mut Random, world: &World, question: &mut Question) {
    question.resource = ours(random, &world.roles, A);
    if random.chance(6) {
        let others = [
            "arn:aws:iam::111111111111:role/nothing",
            "*",
            "arn:app:orders:::order/1",
        ];
        question.resource = (*random.pick(&others)).into();
    }
    let actions = [
        "sts:AssumeRole",
        "sts:AssumeRole",
        "sts:TagSession",
        "sts:SetSourceIdentity",
        "iam:PassRole",
        "iam:PassRole",
        "iam:PassRole",
        "iam:PassRole",
        "iam:GetRole",
        "STS:assumerole",
    ];
    question.action = (*random.pick(&actions)).into();
    if random.chance(30) {
        let (action, provider) = *random.pick(&[
            ("sts:AssumeRoleWithWebIdentity", words::OIDC_ARN),
            ("sts:AssumeRoleWithWebIdentity", words::OIDC_ARN),
            ("sts:AssumeRoleWithSAML", words::SAML_ARN),
            ("sts:AssumeRoleWithWebIdentity", words::SAML_ARN),
            ("sts:TagSession", words::OIDC_ARN),
            ("sts:AssumeRole", words::OIDC_ARN),
            ("sts:SetSourceIdentity", words::SAML_ARN),
        ]);
        question.action = action.into();
        question.principal = provider.into();
        question.session = Some(SessionFacts {
            claims: claims(random),
            ..SessionFacts::default()
        });
    }
    if random.chance(15) {
        let seconds = random.pick(&[
            "900", "3600", "3600", "1800", "3601", "43200", "899", "43201", "an hour",
        ]);
        question
            .context
            .push(("sts:DurationSeconds".into(), Given::Text((*seconds).into())));
    }
    if random.chance(30) {
        question
            .context
            .push(("sts:ExternalId".into(), Given::Text("blue".into())));
    }
}

fn context(random: &mut Random, question: &mut Question) {
    let given: &[(&str, usize, &[&str], &[&str])] = &[
        ("app:k", 60, words::STRINGS, words::STRANGE_STRINGS),
        ("app:list", 50, words::STRINGS, words::STRANGE_STRINGS),
        ("app:n", 60, words::NUMBERS, words::STRANGE_NUMBERS),
        ("app:d", 60, words::DATES, words::STRANGE_DATES),
        ("app:b", 60, words::BOOLEANS, words::STRANGE_BOOLEANS),
        ("app:bin", 60, words::BYTES, words::STRANGE_BYTES),
        (
            "aws:SourceIp",
            60,
            words::REQUEST_ADDRESSES,
            words::STRANGE_ADDRESSES,
        ),
        (
            "app:ip",
            50,
            words::REQUEST_ADDRESSES,
            words::STRANGE_ADDRESSES,
        ),
        ("app:arn", 60, words::REQUEST_ARNS, words::STRANGE_ARNS),
        (
            "aws:SourceArn",
            50,
            words::REQUEST_ARNS,
            words::STRANGE_ARNS,
        ),
        (
            "aws:ResourceTag/team",
            20,
            words::TAG_VALUES,
            words::STRINGS,
        ),
        (
            "svc:ResourceTag/team",
            20,
            words::TAG_VALUES,
            words::STRINGS,
        ),
        (
            "aws:SecureTransport",
            50,
            &["true", "false"],
            words::STRANGE_BOOLEANS,
        ),
        ("aws:ViaAWSService", 10, &["true", "false"], &["1"]),
        ("aws:CalledVia", 15, words::SERVICES, words::STRINGS),
        ("iam:PassedToService", 10, words::SERVICES, words::STRINGS),
        ("aws:SourceAccount", 10, &[A], words::STRINGS),
    ];
    for (key, percent, usual, strange) in given {
        if random.chance(*percent) {
            let key = if random.chance(8) {
                random.recase(key)
            } else {
                (*key).to_owned()
            };
            let value = match random.chance(3) {
                true => values(random, words::STRINGS, words::STRANGE_STRINGS),
                false => values(random, usual, strange),
            };
            question.context.push((key, value));
        }
    }
    if random.chance(20) {
        let tag = *random.pick(&["team", "Team", "tier"]);
        let value = Given::Text((*random.pick(words::TAG_VALUES)).into());
        question
            .context
            .push((format!("aws:RequestTag/{tag}"), value));
        if random.chance(10) {
            question.context.push((
                "aws:TagKeys".into(),
                Given::Text((*random.pick(&["team", "TEAM"])).into()),
            ));
        }
    } else if random.chance(15) {
        question.context.push((
            "aws:TagKeys".into(),
            values(random, &["team", "tier", "blue"], &["red"]),
        ));
    }
}

/// One value, several, none; as text, number or Boolean.
fn values(random: &mut Random, usual: &[&str], strange: &[&str]) -> Given {
    match random.below(20) {
        0 => Given::List(vec![]),
        1..4 => {
            let n_values = 1 + random.below(3);
            Given::List((0..n_values).map(|_| one(random, usual, strange)).collect())
        }
        4 if random.chance(40) => Given::Text(String::new()),
        _ => one(random, usual, strange),
    }
}

fn one(random: &mut Random, usual: &[&str], strange: &[&str]) -> Given {
    let words = if random.chance(12) { strange } else { usual };
    let text = *random.pick(words);
    match text {
        "true" if random.chance(50) => Given::Bool(true),
        "false" if random.chance(50) => Given::Bool(false),
        "5" | "10" | "1.5" | "-0" | "1.50" | "100" | "1717200000" if random.chance(50) => {
            Given::Number(text.parse().unwrap())
        }
        _ => Given::Text(text.into()),
    }
}

/// What must be refused, or nearly.
fn spoil(random: &mut Random, question: &mut Question) {
    let text = |text: &str| Given::Text(text.into());
    match random.below(14) {
        0 => question
            .context
            .push(("aws:PrincipalTag/team".into(), text("blue"))),
        1 => question.context.push(("AWS:userName".into(), text("ann"))),
        2 => question
            .context
            .push(("aws:CurrentTime".into(), text("2024-06-01"))),
        3 => question
            .context
            .extend([("app:x".into(), text("1")), ("APP:X".into(), text("1"))]),
        4 => {
            question.action = (*random.pick(&[
                "orders:",
                "orders",
                "orders:Get*",
                "a:b:c",
                ":Get",
                "orders:Gét",
            ]))
            .into()
        }
        5 => {
            question.resource = (*random.pick(&[
                "",
                "order/1",
                "arn:app:orders",
                "arn:app:orders:::",
                "arn::orders:::x",
                "**",
            ]))
            .into()
        }
        6 => {
            question.principal = (*random.pick(&[
                "",
                "ann",
                "arn:aws:iam::111111111111:group/agents",
                "arn:aws:iam::111111111111:policy/P0",
                "arn:aws:sts::111111111111:assumed-role/ops",
                "arn:aws:sts::111111111111:assumed-role/ops/x",
            ]))
            .into()
        }
        7 => question
            .context
            .push(("app:big".into(), Given::Number(9_007_199_254_740_992.0))),
        8 => question
            .context
            .push((format!("{}:sub", words::OIDC), text("ann"))),
        9 => question.context.push(("saml:sub".into(), text("ann"))),
        10 => {
            let tags = vec![("team".into(), "a".into()), ("TEAM".into(), "b".into())];
            question.session = Some(SessionFacts {
                tags,
                ..SessionFacts::default()
            });
        }
        11 => {
            let transitive_tag_keys = vec!["team".into()];
            question.session = Some(SessionFacts {
                transitive_tag_keys,
                ..SessionFacts::default()
            });
        }
        12 => {
            let tags = vec![("aws:team".into(), "a".into())];
            question.session = Some(SessionFacts {
                tags,
                ..SessionFacts::default()
            });
        }
        _ => question
            .context
            .push(("aws:EpochTime".into(), Given::Number(1.0))),
    }
}
