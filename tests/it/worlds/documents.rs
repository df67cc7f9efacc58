//! Policy documents that are valid (G rules) and as unusual as the grammar allows.

use serde_json::{Map, Value as Json, json};

use super::words;
use super::{A, B, EXTERNAL, Kind, Random};

/// Returns a document of the kind, as an object or now and then as its text.
pub fn document(random: &mut Random, kind: Kind) -> Json {
    let is_2008 = kind != Kind::ResourceControl && random.chance(12);
    let n_statements = 1 + random.below(3);
    let mut statements: Vec<Json> = (0..n_statements)
        .map(|_| statement(random, kind, is_2008))
        .collect();
    // Policy types that only limit would block everything unless they allow much.
    if matches!(kind, Kind::Boundary | Kind::Session | Kind::ServiceControl) && random.chance(65) {
        let resource = random.pick(&["*", "*", "*", "arn:app:*"]);
        statements.push(json!({"Effect": "Allow", "Action": "*", "Resource": resource}));
    }
    let special_percent = match kind {
        Kind::Identity | Kind::Resource => 30,
        Kind::Trust => 50,
        Kind::ResourceControl | Kind::Boundary | Kind::Session | Kind::ServiceControl => 10,
    };
    if random.chance(special_percent) {
        statements.push(special_statement(random, kind, is_2008));
    }
    if kind == Kind::Identity && random.chance(88) {
        let action = random.pick(&["*", "orders:*", "sts:*"]);
        statements.push(json!({"Effect": "Allow", "Action": action, "Resource": "*"}));
    }
    for (index, statement) in statements.iter_mut().enumerate() {
        if random.chance(30) {
            statement["Sid"] = json!(format!("S{index}"));
        }
    }
    let mut document = json!({"Statement": one_or_list(random, statements)});
    match is_2008 {
        false => document["Version"] = json!("2012-10-17"),
        true if kind == Kind::ServiceControl || random.chance(50) => {
            document["Version"] = json!("2008-10-17")
        }
        true => {}
    }
    let is_file = matches!(kind, Kind::ServiceControl | Kind::ResourceControl);
    match random.chance(10) && !is_file && kind == Kind::Trust {
        true => json!(document.to_string()),
        false => document,
    }
}

/// Returns an inline session policy, which is always an object.
pub fn session_document(random: &mut Random) -> Json {
    document(random, Kind::Session)
}

/// Returns a list, or now and then a single element without its list (G-15).
fn one_or_list(random: &mut Random, mut elements: Vec<Json>) -> Json {
    match elements.len() == 1 && random.chance(60) {
        true => elements.remove(0),
        false => json!(elements),
    }
}

fn some_of(random: &mut Random, words: &[&str], most: usize) -> Json {
    let n_words = 1 + random.below(most);
    let words = (0..n_words).map(|_| json!(random.pick(words))).collect();
    one_or_list(random, words)
}

fn statement(random: &mut Random, kind: Kind, is_2008: bool) -> Json {
    let deny_percent = match kind {
        Kind::ResourceControl => 100,
        Kind::ServiceControl => 45,
        Kind::Boundary | Kind::Session => 32,
        Kind::Trust => 12,
        Kind::Resource => 20,
        _ => 16,
    };
    let is_deny = random.chance(deny_percent);
    let mut statement = json!({"Effect": if is_deny { "Deny" } else { "Allow" }});
    let mut actions = some_of(random, words::ACTION_PATTERNS, 3);
    if kind == Kind::ResourceControl {
        actions = some_of(random, words::CONTROLLED_ACTIONS, 3);
    } else if kind == Kind::Trust {
        let trust = [
            "sts:AssumeRole",
            "sts:*",
            "sts:AssumeRole*",
            "sts:TagSession",
            "sts:AssumeRoleWithWebIdentity",
            "sts:assumerolewithsaml",
            "sts:SetSourceIdentity",
            "sts:SetContext",
        ];
        actions = some_of(random, &trust, 3);
    } else if kind == Kind::Identity && random.chance(25) {
        actions = some_of(
            random,
            &[
                "sts:AssumeRole",
                "iam:PassRole",
                "sts:TagSession",
                "iam:*",
                "iam:PassRole",
                "sts:AssumeRoot",
                "sts:SetContext",
            ],
            2,
        );
    }
    let is_not_action = kind != Kind::ResourceControl && random.chance(8);
    statement[if is_not_action { "NotAction" } else { "Action" }] = actions;
    resource(random, &mut statement, kind, is_deny, is_2008);
    match kind {
        Kind::Resource | Kind::Trust => principal(random, &mut statement, kind, is_deny),
        Kind::ResourceControl => statement["Principal"] = json!("*"),
        _ => {}
    }
    let condition_percent = if is_deny { 80 } else { 35 };
    if random.chance(condition_percent) {
        statement["Condition"] = condition(random, is_2008);
        if random.chance(30) {
            add_special_condition(random, &mut statement, kind, is_2008);
        }
    }
    ask_for_audience(random, &mut statement);
    statement
}

/// T-26: adds a condition on the audience for a provider whose tokens anyone can get.
fn ask_for_audience(random: &mut Random, statement: &mut Json) {
    let is_shared = |entries: &Json| entries.to_string().contains(words::COGNITO);
    if statement["Effect"] == "Allow" && statement.get("Principal").is_some_and(is_shared) {
        let operator = *random.pick(&["StringEquals", "StringLike", "ForAnyValue:StringEquals"]);
        let key = format!("{}:aud", words::COGNITO);
        let values = some_of(random, &["mine", "theirs", "ann"], 2);
        statement["Condition"] = json!({(operator): {(key): values}});
    }
}

/// Returns a statement about everything, which depends on one condition alone.
fn special_statement(random: &mut Random, kind: Kind, is_2008: bool) -> Json {
    let is_deny = kind == Kind::ResourceControl || random.chance(15);
    let action = match kind {
        Kind::ResourceControl => json!(["orders:*", "sts:*"]),
        Kind::Trust => json!("sts:*"),
        _ => json!("*"),
    };
    let effect = if is_deny { "Deny" } else { "Allow" };
    let mut statement = json!({"Effect": effect, "Action": action, "Condition": {}});
    if kind != Kind::Trust {
        statement["Resource"] = json!("*");
    }
    match kind {
        Kind::Resource | Kind::Trust => principal(random, &mut statement, kind, is_deny),
        Kind::ResourceControl => statement["Principal"] = json!("*"),
        _ => {}
    }
    add_special_condition(random, &mut statement, kind, is_2008);
    ask_for_audience(random, &mut statement);
    statement
}

/// Adds a condition on what the general vocabulary tests too seldom.
fn add_special_condition(random: &mut Random, statement: &mut Json, kind: Kind, is_2008: bool) {
    let family = match kind {
        Kind::Trust => *random.pick(&[0, 0, 0, 1, 2, 2, 2, 3, 4]),
        Kind::Resource => *random.pick(&[0, 1, 1, 1, 3, 4]),
        _ => *random.pick(&[0, 0, 1, 1, 2, 3, 3, 3, 4]),
    };
    let family = &SPECIAL_FAMILIES[family];
    let operator = *random.pick(family.operators);
    let block = statement["Condition"].as_object_mut().unwrap();
    if !block
        .keys()
        .any(|other| other.eq_ignore_ascii_case(operator))
    {
        let base = operator.rsplit(':').next().unwrap();
        let values = values(random, family, base.trim_end_matches("IfExists"), is_2008);
        block.insert(
            operator.to_owned(),
            json!({(*random.pick(family.keys)): values}),
        );
    }
}

fn resource(random: &mut Random, statement: &mut Json, kind: Kind, is_deny: bool, is_2008: bool) {
    let may_lack = kind == Kind::Resource && random.chance(60);
    if kind == Kind::Trust || may_lack {
        return;
    }
    let is_not = random.chance(12);
    let mut patterns = some_of(random, words::RESOURCE_PATTERNS, 3);
    if is_deny && !is_not && random.chance(35) {
        patterns = some_of(random, words::SHORT_PATTERNS, 2);
    }
    // Without variables, a `${` before the fifth colon is not a field that could match, and the loader refuses some of
    // these.
    if is_2008 && patterns.to_string().contains(":${") {
        patterns = json!("arn:app:files:::home/${aws:username}/*");
    }
    statement[if is_not { "NotResource" } else { "Resource" }] = patterns;
}

fn principal(random: &mut Random, statement: &mut Json, kind: Kind, is_deny: bool) {
    let mut entries = Map::new();
    let mut aws = vec![
        A.to_owned(),
        format!("arn:aws:iam::{A}:root"),
        format!("arn:aws:iam::{B}:root"),
        B.to_owned(),
        EXTERNAL.to_owned(),
        format!("arn:aws:iam::{EXTERNAL}:root"),
        "*".to_owned(),
    ];
    for account in [A, B] {
        for name in [
            "user/ann",
            "user/eng/ann",
            "user/bob",
            "role/ops",
            "role/jobs/ops",
        ] {
            aws.push(format!("arn:aws:iam::{account}:{name}"));
        }
        aws.push(format!("AIDAEXAMPLE{account}ANN"));
        aws.push(format!("AROAEXAMPLE{account}OPS"));
        aws.push(format!("arn:aws:sts::{account}:assumed-role/ops/s1"));
        aws.push(format!("arn:aws:sts::{account}:federated-user/fred"));
    }
    let aws: Vec<&str> = aws.iter().map(String::as_str).collect();
    if is_deny && kind == Kind::Resource && random.chance(60) {
        let chain = match random.below(7) {
            0 => json!("*"),
            1 => json!({"AWS": [format!("arn:aws:iam::{A}:user/ann"), A]}),
            2 => {
                json!({"AWS": [format!("arn:aws:sts::{A}:assumed-role/ops/s1"), format!("arn:aws:iam::{A}:role/ops"), format!("arn:aws:iam::{A}:root")]})
            }
            3 => json!({"Service": "orders.internal", "AWS": A}),
            4 => json!({"AWS": [format!("arn:aws:sts::{A}:federated-user/fred"), A]}),
            _ => json!({"AWS": some_of(random, &aws, 5)}),
        };
        statement["NotPrincipal"] = chain;
        return;
    }
    if random.chance(25) {
        statement["Principal"] = match kind {
            Kind::Trust => json!({"AWS": "*"}),
            _ => json!("*"),
        };
        return;
    }
    if random.chance(45) {
        let roles = [
            format!("arn:aws:iam::{A}:role/ops"),
            format!("arn:aws:iam::{A}:role/jobs/ops"),
        ];
        entries.insert("AWS".into(), json!(roles));
    } else if random.chance(80) {
        entries.insert("AWS".into(), some_of(random, &aws, 4));
    }
    if random.chance(30) || entries.is_empty() {
        entries.insert("Service".into(), some_of(random, words::SERVICES, 2));
    }
    if random.chance(10) {
        entries.insert(
            "CanonicalUser".into(),
            json!(format!("canonical{}", random.pick(&[A, B]))),
        );
    }
    if kind == Kind::Trust && random.chance(50) {
        entries.insert("Federated".into(), some_of(random, words::PROVIDERS, 2));
    }
    statement["Principal"] = json!(entries);
}

/// A family of operators: its operators, policy values and keys.
struct Family {
    operators: &'static [&'static str],
    values: &'static [&'static str],
    keys: &'static [&'static str],
}

const FAMILIES: &[Family] = &[
    Family {
        operators: &[
            "StringEquals",
            "StringNotEquals",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "StringLike",
            "StringNotLike",
        ],
        values: words::STRINGS,
        keys: words::STRING_KEYS,
    },
    Family {
        operators: &[
            "NumericEquals",
            "NumericNotEquals",
            "NumericLessThan",
            "NumericLessThanEquals",
            "NumericGreaterThan",
            "NumericGreaterThanEquals",
        ],
        values: words::NUMBERS,
        keys: words::NUMBER_KEYS,
    },
    Family {
        operators: &[
            "DateEquals",
            "DateNotEquals",
            "DateLessThan",
            "DateLessThanEquals",
            "DateGreaterThan",
            "DateGreaterThanEquals",
        ],
        values: words::DATES,
        keys: words::DATE_KEYS,
    },
    Family {
        operators: &["Bool"],
        values: words::BOOLEANS,
        keys: words::BOOLEAN_KEYS,
    },
    Family {
        operators: &["BinaryEquals"],
        values: words::BYTES,
        keys: &["app:bin"],
    },
    Family {
        operators: &["IpAddress", "NotIpAddress"],
        values: words::ADDRESSES,
        keys: words::ADDRESS_KEYS,
    },
    Family {
        operators: &["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
        values: words::ARNS,
        keys: words::ARN_KEYS,
    },
    Family {
        operators: &["Null"],
        values: &["true", "false", "TRUE"],
        keys: words::STRING_KEYS,
    },
];

const SPECIAL_FAMILIES: &[Family] = &[
    Family {
        operators: &[
            "StringEquals",
            "StringNotEquals",
            "StringNotLike",
            "StringEqualsIfExists",
            "ForAnyValue:StringEquals",
        ],
        values: words::SPECIAL_TAG_VALUES,
        keys: words::RESOURCE_TAG_KEYS,
    },
    Family {
        operators: &[
            "StringEquals",
            "StringLike",
            "StringNotEquals",
            "StringNotLikeIfExists",
        ],
        values: words::SOURCES,
        keys: words::SOURCE_KEYS,
    },
    Family {
        operators: &[
            "StringEquals",
            "StringLike",
            "StringNotEquals",
            "StringLikeIfExists",
            "ForAllValues:StringEquals",
        ],
        values: words::CLAIM_VALUES,
        keys: words::CLAIM_KEYS,
    },
    Family {
        operators: &["Null"],
        values: &["true", "false"],
        keys: words::NULLABLE_KEYS,
    },
    Family {
        operators: &[
            "StringNotEquals",
            "StringNotLike",
            "StringNotEqualsIgnoreCase",
            "StringNotLikeIfExists",
            "ForAllValues:StringNotEquals",
            "ForAnyValue:StringNotLike",
        ],
        values: words::VARIABLES,
        keys: words::KEYS_AT_HAND,
    },
];

fn condition(random: &mut Random, is_2008: bool) -> Json {
    let mut block = Map::new();
    if random.chance(2) {
        return json!(block); // G-19
    }
    for _ in 0..1 + random.below(5) / 2 {
        let family = match random.chance(23) {
            true => &FAMILIES[0],
            // The larger families come up more often.
            false => {
                &FAMILIES[*random.pick(&[1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 4, 5, 5, 6, 6, 6, 6, 7])]
            }
        };
        let base = *random.pick(family.operators);
        let mut operator = base.to_owned();
        if base != "Null" {
            if random.chance(30) {
                operator = format!("{}:{base}", random.pick(&["ForAllValues", "ForAnyValue"]));
            }
            if random.chance(25) {
                operator.push_str("IfExists");
            }
        }
        if random.chance(5) {
            operator = random.recase(&operator);
        }
        if block
            .keys()
            .any(|other| other.eq_ignore_ascii_case(&operator))
        {
            continue; // G-21
        }
        let mut keys = Map::new();
        for _ in 0..1 + usize::from(random.chance(15)) {
            let any_family = random.chance(8);
            let from = if any_family {
                random.pick(FAMILIES)
            } else {
                family
            };
            let key = *random.pick(from.keys);
            if keys
                .keys()
                .any(|other: &String| other.eq_ignore_ascii_case(key))
            {
                continue;
            }
            let key = if random.chance(8) {
                random.recase(key)
            } else {
                key.to_owned()
            };
            keys.insert(key, values(random, family, base, is_2008));
        }
        block.insert(operator, json!(keys));
    }
    json!(block)
}

fn values(random: &mut Random, family: &Family, base: &str, is_2008: bool) -> Json {
    if matches!(base, "Bool" | "Null") {
        // G-34: one only; G-18: with or without quotes
        return match random.below(3) {
            0 => json!(random.chance(50)),
            _ => json!(random.pick(family.values)),
        };
    }
    // Without variables, such an ARN has more than six fields or an unusual one, which is not the subject here.
    let words: Vec<&str> = family
        .values
        .iter()
        .filter(|value| !(is_2008 && base.starts_with("Arn") && value.contains("${")))
        .copied()
        .collect();
    if base.starts_with("Numeric") && random.chance(20) {
        return json!(*random.pick(&[5, 10, -5, 100]));
    }
    some_of(random, &words, 3)
}
