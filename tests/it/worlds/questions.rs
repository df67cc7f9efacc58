//! Questions made from the words of the policies, from near misses, and from what attackers send.

use super::{A, B, EXTERNAL, M, Random, World};
use super::{aimed, words};
use crate::oracle::question::{Given, Question, SessionFacts};

/// 2024-06-01T00:00:00Z, the date that policies name.
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
    match random.below(100) {
        0..22 => aimed::at_resource_policy(random, world, &mut question),
        22..27 => aimed::at_federated_trust(random, world, &mut question),
        27..30 => aimed::at_root_user(random, world, &mut question),
        30..38 if !world.service_linked.is_empty() => {
            aimed::at_service_linked_role(random, world, &mut question);
        }
        38..42 => aimed::at_chained_role(random, world, &mut question),
        42..52 => about_a_role(random, world, &mut question),
        52..60 => {
            question.resource = (*random.pick(words::AWS_RESOURCES)).into();
            if random.chance(20) {
                question.resource_account = (*random.pick(&[A, A, B])).into();
            }
        }
        60..63 => question.resource = drawn(random, words::RESOURCE_PATTERNS),
        _ => {}
    }
    if random.chance(3) {
        question.resource_account = (*random.pick(&[A, B, EXTERNAL])).into();
    }
    context(random, &mut question);
    if random.chance(2) {
        spoil(random, world, &mut question);
    } else if random.chance(3) {
        spoil_times(random, &mut question);
    }
    question
}

/// Returns a pattern with its wildcards filled in.
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
        0..36 | 95.. => {
            question.principal = ours(random, &world.users, account);
            if random.chance(40) {
                let mut facts = facts(random, world, &question.principal, question.at);
                if facts.issued_at.is_none() {
                    facts.expires_at.get_or_insert(question.at + 100);
                }
                question.session = Some(facts);
            }
        }
        36..66 => {
            let role = ours(random, &world.roles, account);
            let (account, name) = (
                role.split(':').nth(4).unwrap(),
                role.rsplit('/').next().unwrap(),
            );
            let session = random.pick(words::SESSION_NAMES);
            question.principal = format!("arn:aws:sts::{account}:assumed-role/{name}/{session}");
            if random.chance(85) {
                question.session = Some(facts(random, world, &question.principal, question.at));
            }
        }
        66..71 => {
            question.principal = ours(random, &world.roles, account);
            if random.chance(30) {
                question.session = Some(SessionFacts {
                    issued_at: Some(question.at.min(TURN - 1)),
                    ..SessionFacts::default()
                });
            }
        }
        71..78 => {
            let name = random.pick(&["fred", "ann"]);
            let account = if random.chance(5) { EXTERNAL } else { account };
            question.principal = format!("arn:aws:sts::{account}:federated-user/{name}");
            let mut facts = facts(random, world, &question.principal, question.at);
            facts.parent = match account {
                EXTERNAL => format!("arn:aws:iam::{EXTERNAL}:user/eve"),
                _ => ours(random, &world.users, account),
            };
            if random.chance(55) {
                facts.parent = format!("arn:aws:iam::{account}:root"); // E-49
            }
            question.session = Some(facts);
        }
        78..84 => {
            question.principal = format!("arn:aws:iam::{account}:root");
            question.session = random
                .chance(65)
                .then(|| with_task(random, world, question.at));
        }
        84..87 => question.principal = (*random.pick(words::SERVICES)).into(),
        87..89 => question.principal = "*".into(),
        89..93 => {
            let name = random.pick(&["user/eve", "role/ops", "role/jobs/ops"]);
            question.principal = format!("arn:aws:iam::{EXTERNAL}:{name}");
            if random.chance(40) {
                question.principal = format!("arn:aws:sts::{EXTERNAL}:assumed-role/ops/s1");
                question.session = Some(facts(random, world, &question.principal, question.at));
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

/// T-12: returns what a root user with a task policy brings along.
pub(super) fn with_task(random: &mut Random, world: &World, at: i64) -> SessionFacts {
    let mut facts = SessionFacts {
        policy_arns: vec![random.pick(&world.tasks).clone()],
        ..SessionFacts::default()
    };
    times(random, at, &mut facts);
    if random.chance(20) {
        facts.source_identity = "ann".into();
    }
    if random.chance(15) {
        facts.attributes = attributes(random);
    } else if random.chance(15) {
        facts
            .attributes
            .push(("aws:AssumedRoot".into(), Given::Bool(true)));
    }
    facts
}

/// Returns an entity, most often one of `account`.
pub(super) fn ours(random: &mut Random, arns: &[String], account: &str) -> String {
    let ours: Vec<&String> = arns.iter().filter(|arn| arn.contains(account)).collect();
    match random.chance(95) && !ours.is_empty() {
        true => (*random.pick(&ours)).clone(),
        false => random.pick(arns).clone(),
    }
}

/// Sets plausible times (T-47), most of them close to those in policies.
fn times(random: &mut Random, at: i64, facts: &mut SessionFacts) {
    if random.chance(70) {
        let issued_at = TURN + *random.pick(&[-86_400, -1, 0, -2]);
        let latest = at + *random.pick(&[0, 0, 300]);
        facts.issued_at = Some(issued_at.min(latest));
    }
    if random.chance(35) {
        let mfa_at = at - *random.pick(&[0, 5, 10, 100, 86_400, -5]);
        facts.mfa_at = Some(mfa_at);
    }
    if random.chance(30) {
        let expires_at = TURN + *random.pick(&[1, 2, 86_401, 86_401, 40_000_000, 40_000_000]);
        let begins = facts.issued_at.max(facts.mfa_at);
        facts.expires_at = Some(expires_at.max(begins.unwrap_or_default() + 1));
    }
}

/// Returns keys of a session's credentials (K-8).
fn attributes(random: &mut Random) -> Vec<(String, Given)> {
    let mut attributes: Vec<(String, Given)> = Vec::new();
    for (key, usual) in words::ATTRIBUTES {
        if random.chance(60) {
            let key = if random.chance(10) {
                random.recase(key)
            } else {
                (*key).to_owned()
            };
            let value = one(random, usual, words::STRANGE_STRINGS);
            let value = match random.below(20) {
                0 => Given::List(vec![]),
                1 | 2 => Given::List(vec![value]),
                _ => value,
            };
            attributes.push((key, value));
        }
    }
    attributes
}

pub(super) fn facts(random: &mut Random, world: &World, principal: &str, at: i64) -> SessionFacts {
    let mut facts = SessionFacts::default();
    times(random, at, &mut facts);
    if random.chance(20) {
        facts.attributes = attributes(random);
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
    if random.chance(18) {
        facts.federated_provider = (*random.pick(words::PROVIDERS)).into();
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

pub(super) fn claims(random: &mut Random) -> Vec<(String, Given)> {
    let mut claims = Vec::new();
    for name in words::CLAIMS {
        if random.chance(50) {
            let value = match random.chance(75) {
                true => values(random, &["mine", "mine", "ann", "theirs"], words::STRINGS),
                false => values(random, words::STRINGS, words::STRANGE_STRINGS),
            };
            claims.push(((*name).to_owned(), value));
        }
    }
    claims
}

/// T-25: adds, now and then, the roles that a token is for.
pub(super) fn roles_of_token(random: &mut Random, role: &str, claims: &mut Vec<(String, Given)>) {
    if !random.chance(55) {
        return;
    }
    let other = "arn:aws:iam::111111111111:role/other";
    let text = |text: &str| Given::Text(text.into());
    let value = match random.below(14) {
        12 if random.chance(5) => Given::List(vec![text(&format!("{other};{role}"))]),
        13 => text(&format!("{other}; {role}")),
        0..3 => text(role),
        3..5 => Given::List(vec![text(other), text(role)]),
        5 => text(&format!("{other};{role}")),
        6 => Given::List(vec![text(other)]),
        7 => text(&format!("{other};{role}x")),
        8 => Given::List(vec![]),
        9 => text(""),
        10 => text(&role.to_uppercase()),
        _ => text(other),
    };
    claims.push(("https://aws.amazon.com/roles".into(), value));
}

/// Makes the question one about assuming, tagging or passing a role.
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
        "sts:SetContext",
        "sts:SetContext",
        "sts:setcontext",
        "iam:PassRole",
        "iam:PassRole",
        "iam:PassRole",
        "iam:PassRole",
        "iam:GetRole",
        "STS:assumerole",
    ];
    question.action = (*random.pick(&actions)).into();
    if random.chance(20) {
        let (action, provider) = *random.pick(&[
            ("sts:AssumeRoleWithWebIdentity", words::OIDC_ARN),
            ("sts:AssumeRoleWithWebIdentity", words::OIDC_ARN),
            ("sts:AssumeRoleWithSAML", words::SAML_ARN),
            ("sts:AssumeRoleWithWebIdentity", words::SAML_ARN),
            ("sts:TagSession", words::OIDC_ARN),
            ("sts:AssumeRole", words::OIDC_ARN),
            ("sts:SetSourceIdentity", words::SAML_ARN),
            ("sts:SetContext", words::OIDC_ARN),
            ("sts:AssumeRoot", words::OIDC_ARN),
            ("iam:GetRole", words::SAML_ARN),
        ]);
        question.action = action.into();
        question.principal = provider.into();
        let mut claims = claims(random);
        roles_of_token(random, &question.resource, &mut claims);
        question.session = Some(SessionFacts {
            claims,
            ..SessionFacts::default()
        });
    }
    if question.is_action("sts:SetContext") && random.chance(50) {
        let provider = Given::Text((*random.pick(&["mine", "ann"])).into());
        question
            .context
            .push(("sts:RequestContextProviders".into(), provider));
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
        ("sts:ExternalId", 3, &["blue"], words::STRINGS),
    ];
    // K-9: any other caller that names one is refused.
    let of_service: &[(&str, usize, &[&str], &[&str])] = &[
        (
            "aws:SourceArn",
            60,
            words::REQUEST_ARNS,
            words::STRANGE_ARNS,
        ),
        ("aws:SourceAccount", 40, &[A], words::STRINGS),
        ("aws:SourceOrgID", 20, &["o-1"], words::STRINGS),
    ];
    let is_service = !question.principal.contains(':') && question.principal != "*";
    let of_service = of_service.iter().filter(|_| is_service);
    for (key, percent, usual, strange) in given.iter().chain(of_service) {
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
    resource_tags(random, question);
    // Many keys are found in another way than few.
    if random.chance(5) {
        for number in 0..15 + random.below(10) {
            let at = random.below(question.context.len() + 1);
            let filler = (format!("app:filler{number}"), Given::Text("x".into()));
            question.context.insert(at, filler);
        }
    }
    if random.chance(3) && !has(question, "sts:DurationSeconds") {
        question
            .context
            .push(("sts:DurationSeconds".into(), Given::Text("5".into())));
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

fn has(question: &Question, key: &str) -> bool {
    let mut keys = question.context.iter();
    keys.any(|(other, _)| other.eq_ignore_ascii_case(key))
}

/// Adds a tag under one of its names, or now and then under two, which must not contradict each other.
fn resource_tags(random: &mut Random, question: &mut Question) {
    let service = question.resource.split(':').nth(2).unwrap_or("iam");
    let families = ["aws", service, service, "svc"].map(str::to_owned);
    let mut n_names = usize::from(random.chance(35));
    if random.chance(4) {
        n_names = 2;
    }
    let value = values(random, words::TAG_VALUES, words::STRINGS);
    for _ in 0..n_names {
        let family = random.pick(&families);
        let tag = *random.pick(&["team", "team", "Team", "tier"]);
        let key = format!("{family}:ResourceTag/{tag}");
        let value = match random.chance(85) {
            true => value.clone(),
            false => Given::Text((*random.pick(words::TAG_VALUES)).into()),
        };
        if !has(question, &key) {
            question.context.push((key, value));
        }
    }
}

/// Returns one value, several or none, as text, number or Boolean.
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

/// T-47: sets impossible times, for any caller.
fn spoil_times(random: &mut Random, question: &mut Question) {
    const YEAR_1: i64 = -62_135_596_800;
    let at = question.at;
    let session = question.session.get_or_insert_default();
    match random.below(9) {
        0 => session.mfa_at = Some(0),
        1 => session.mfa_at = Some(YEAR_1),
        2 => session.mfa_at = Some(at + 301),
        3 => session.mfa_at = Some(at + 3_600),
        4 => session.issued_at = Some(0),
        5 => session.issued_at = Some(at + 301),
        6 => session.expires_at = Some(*random.pick(&[0, -1, YEAR_1])),
        7 => (session.issued_at, session.expires_at) = (Some(at), Some(at)),
        _ => (session.mfa_at, session.expires_at) = (Some(at + 2), Some(at + 1)),
    }
}

/// Changes the question into one that must be refused, or nearly so.
fn spoil(random: &mut Random, world: &World, question: &mut Question) {
    let text = |text: &str| Given::Text(text.into());
    match random.below(30) {
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
        13 => question
            .context
            .push(("aws:EpochTime".into(), Given::Number(1.0))),
        14 | 15 => question
            .context
            .push(((*random.pick(words::SOURCE_KEYS)).into(), text("vpc-1"))),
        16 => question
            .context
            .push(("STS:RoleAuthorizedByIdp".into(), Given::Bool(true))),
        17 => question
            .context
            .push(("aws:AssumedRoot".into(), text("true"))),
        18 => question.session = Some(with_task(random, world, question.at)),
        19 => question
            .context
            .push(("aws:SourceAccount".into(), Given::List(vec![]))),
        _ => {
            let at = question.at;
            let value = text("vpc-1");
            let session = question.session.get_or_insert_default();
            let attributes = &mut session.attributes;
            match random.below(14) {
                8 => attributes.push(("aws:AssumedRoot".into(), text("TRUE"))),
                9 => attributes.push(("aws:AssumedRoot".into(), Given::List(vec![]))),
                10 => {
                    let list = Given::List(vec![Given::Bool(true)]);
                    attributes.push(("AWS:assumedRoot".into(), list));
                }
                11 => attributes.push(("glue:RoleAssumedBy".into(), Given::List(vec![]))),
                12 => session.federated_provider = words::OIDC_ARN.into(),
                13 => session.parent = format!("arn:aws:iam::{A}:root"),
                0 => attributes.push(("aws:SourceIp".into(), text("10.1.2.3"))),
                1 => attributes.push(("aws:PrincipalTag/team".into(), text("blue"))),
                2 => attributes.push(("aws:AssumedRoot".into(), Given::Bool(true))),
                3 => attributes.push(("aws:AssumedRoot".into(), text("false"))),
                4 => {
                    let list = Given::List(vec![value.clone(), value]);
                    attributes.push(("glue:RoleAssumedBy".into(), list));
                }
                5 => attributes.extend([
                    ("codebuild:BuildArn".into(), value.clone()),
                    ("CodeBuild:buildARN".into(), value),
                ]),
                6 => {
                    session.issued_at.get_or_insert(at - 1);
                    session.policy_arns.push(random.pick(&world.tasks).clone());
                }
                _ => attributes.push(("ec2:RoleDelivery".into(), Given::Number(2.0))),
            }
        }
    }
}
