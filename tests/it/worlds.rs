//! Small stores full of collisions, and questions made of their own words, for the tests of the laws.
//!
//! Everything comes from one seed. The same seed gives the same worlds and questions on every machine.

mod aimed;
mod documents;
mod questions;
mod words;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

pub use documents::document;
use documents::session_document;
pub use questions::question;

/// The generator SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Returns true in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len())]
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }

    /// Returns the text with each letter in upper or lower case at random.
    pub fn recase(&mut self, text: &str) -> String {
        let one = |char: char| match self.chance(50) {
            true => char.to_ascii_uppercase(),
            false => char.to_ascii_lowercase(),
        };
        text.chars().map(one).collect()
    }
}

/// The kind of a document, which determines the elements that it may have (G-29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Identity,
    Boundary,
    Session,
    Resource,
    Trust,
    ServiceControl,
    ResourceControl,
}

/// A store as its files, from path to text, and the names to ask about.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub files: BTreeMap<String, Json>,
    /// ARNs of users, of roles (with the role name for their sessions) and of managed policies.
    pub users: Vec<String>,
    pub roles: Vec<String>,
    pub managed: Vec<String>,
    /// The AWS-managed policies of root tasks (T-12).
    pub tasks: Vec<String>,
    /// The roles that are service-linked.
    pub service_linked: Vec<String>,
    /// Documents as texts, because their members must be in another order.
    pub session_documents: Vec<String>,
}

pub const A: &str = "111111111111";
pub const B: &str = "222222222222";
/// The management account.
pub const M: &str = "999999999999";
pub const EXTERNAL: &str = "tax-adviser";

impl World {
    /// Returns the file of a role, in any folder of its account.
    pub fn role_file(&self, arn: &str) -> &Json {
        let account = arn.split(':').nth(4).unwrap();
        let name = arn.rsplit('/').next().unwrap();
        let own = self
            .files
            .get(&format!("accounts/{account}/roles/{name}.json"));
        own.unwrap_or_else(|| &self.files[&format!("roles/{name}.json")])
    }

    /// Returns the texts that the loader and the oracle read.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let text = |(path, json): (&String, &Json)| (path.clone(), json.to_string());
        self.files.iter().map(text).collect()
    }
}

pub fn world(random: &mut Random) -> World {
    let mut world = World::default();
    let mut root = switches(random, A);
    if random.chance(10) {
        root["Alias"] = json!("shop");
    }
    world.files.insert("account.json".into(), root);
    let other = switches(random, B);
    world
        .files
        .insert(format!("accounts/{B}/account.json"), other);
    world.files.insert(
        format!("accounts/{M}/account.json"),
        json!({"AccountId": M}),
    );
    let trusted = random.chance(50);
    let external =
        json!({"AccountId": EXTERNAL, "External": true, "TrustExternalIdentity": trusted});
    world
        .files
        .insert(format!("accounts/{EXTERNAL}/account.json"), external);

    managed_policies(random, &mut world);
    identities(random, &mut world, A, "");
    identities(random, &mut world, B, &format!("accounts/{B}/"));
    if random.chance(60) {
        identities(random, &mut world, M, &format!("accounts/{M}/"));
    }
    resource_policies(random, &mut world, "", 4);
    if random.chance(70) {
        resource_policies(random, &mut world, &format!("accounts/{B}/"), 3);
    }
    if random.chance(72) {
        organization(random, &mut world);
    }
    for _ in 0..3 {
        let document = session_document(random);
        world.session_documents.push(document.to_string());
    }
    world
}

fn switches(random: &mut Random, id: &str) -> Json {
    let mut account = json!({"AccountId": id});
    for (name, percent) in [("RootUserEnabled", 85), ("AnonymousAllowed", 80)] {
        if random.chance(percent) {
            account[name] = json!(true);
        }
    }
    if random.chance(60) {
        account["CanonicalUserId"] = json!(format!("canonical{id}"));
    }
    account
}

fn managed_policies(random: &mut Random, world: &mut World) {
    for (account, folder) in [
        (A, String::new()),
        (B, format!("accounts/{B}/")),
        ("aws", "accounts/aws/".into()),
    ] {
        for index in 0..3 {
            let current = document(
                random,
                if index == 2 {
                    Kind::Boundary
                } else {
                    Kind::Identity
                },
            );
            let mut file = current.clone();
            if random.chance(40) {
                let old = document(random, Kind::Identity);
                let mut versions = vec![
                    json!({"VersionId": "v1", "IsDefaultVersion": false, "Document": old}),
                    json!({"VersionId": "v2", "IsDefaultVersion": true, "Document": current}),
                ];
                random.shuffle(&mut versions);
                file = json!({"PolicyName": format!("P{index}"), "PolicyVersionList": versions});
            }
            world
                .files
                .insert(format!("{folder}managed-policies/P{index}.json"), file);
            world
                .managed
                .push(format!("arn:aws:iam::{account}:policy/P{index}"));
        }
    }
    for name in ["Unlock", "Delete"] {
        let file = document(random, Kind::Identity);
        let path = format!("accounts/aws/managed-policies/root-task/{name}.json");
        world.files.insert(path, file);
        let arn = format!("arn:aws:iam::aws:policy/root-task/{name}");
        world.tasks.push(arn);
    }
}

/// Returns the ARNs of managed policies that may be attached in `account`.
fn attachable(world: &World, account: &str) -> Vec<String> {
    let is_ours = |arn: &&String| arn.contains(account) || arn.contains("::aws:");
    world.managed.iter().filter(is_ours).cloned().collect()
}

fn identities(random: &mut Random, world: &mut World, account: &str, folder: &str) {
    let managed = attachable(world, account);
    let inline = |random: &mut Random, most: usize| -> Json {
        let n_policies = random.below(most + 1).max(random.below(2));
        let policy = |index| json!({"PolicyName": format!("i{index}"), "PolicyDocument": document(random, Kind::Identity)});
        (0..n_policies).map(policy).collect()
    };
    let attached = |random: &mut Random| -> Json {
        let mut arns = managed.clone();
        random.shuffle(&mut arns);
        arns.truncate(random.below(3));
        let attachment =
            |arn: &String| json!({"PolicyName": arn.rsplit('/').next(), "PolicyArn": arn});
        arns.iter().map(attachment).collect()
    };
    let group = json!({"GroupName": "agents", "GroupPolicyList": inline(random, 2), "AttachedManagedPolicies": attached(random)});
    world
        .files
        .insert(format!("{folder}groups/agents.json"), group);

    for name in ["ann", "bob", "gone"] {
        let mut user = json!({"UserPolicyList": inline(random, 2), "AttachedManagedPolicies": attached(random)});
        let mut path = "";
        if random.chance(40) {
            user["GroupList"] = json!(["agents"]);
        }
        if random.chance(50) {
            user["UserId"] = json!(format!("AIDAEXAMPLE{account}{}", name.to_uppercase()));
        }
        if name == "gone" && random.chance(25) {
            user["Disabled"] = json!(true);
        }
        if random.chance(20) {
            path = "eng/";
        }
        decorate(random, &mut user, &managed);
        world
            .users
            .push(format!("arn:aws:iam::{account}:user/{path}{name}"));
        world
            .files
            .insert(format!("{folder}users/{path}{name}.json"), user);
    }
    for name in ["ops", "jobs"] {
        // A permission that only a resource policy grants needs a principal without policies of its own.
        let has_policies = random.chance(58);
        let mut role = json!({
            "RolePolicyList": if has_policies { inline(random, 2) } else { json!([]) },
            "AttachedManagedPolicies": if has_policies { attached(random) } else { json!([]) },
            "AssumeRolePolicyDocument": document(random, Kind::Trust),
        });
        if random.chance(40) {
            let everybody = json!({"AWS": [A, B, M]});
            let statement = json!({"Effect": "Allow", "Principal": everybody, "Action": "sts:*"});
            trust(&mut role, statement);
        }
        let mut path = "";
        if random.chance(50) {
            role["RoleId"] = json!(format!("AROAEXAMPLE{account}{}", name.to_uppercase()));
        }
        if random.chance(50) {
            role["MaxSessionDuration"] = json!(*random.pick(&[3600, 7200, 43200]));
        }
        if random.chance(20) {
            path = "jobs/";
            role["Path"] = json!("/jobs/");
        }
        let arn = format!("arn:aws:iam::{account}:role/{path}{name}");
        if name == "jobs" && random.chance(60) {
            role["ServiceLinked"] = json!(true);
            if random.chance(70) {
                let services = json!({"Service": words::SERVICES});
                let statement =
                    json!({"Effect": "Allow", "Principal": services, "Action": "sts:*"});
                trust(&mut role, statement);
            }
            world.service_linked.push(arn.clone());
        }
        decorate(random, &mut role, &managed);
        world.roles.push(arn);
        world
            .files
            .insert(format!("{folder}roles/{name}.json"), role);
    }
}

/// Adds a statement to the trust policy of `role`.
fn trust(role: &mut Json, statement: Json) {
    let document = &mut role["AssumeRolePolicyDocument"];
    if let Some(text) = document.as_str() {
        *document = serde_json::from_str(text).unwrap();
    }
    let mut lists = Vec::new();
    statement_lists(document, &mut lists);
    for list in lists {
        list.as_array_mut().unwrap().push(statement.clone());
    }
}

/// Changes the layout but not the content: the account at the root has none of its files at the root, or no other
/// account has any files, or both (E-6). The organization may still name other accounts.
pub fn lay_out(world: &mut World, random: &mut Random) {
    let (is_alone, is_rootless) = *random.pick(&[(true, false), (false, true), (true, true)]);
    if is_alone {
        let is_ours =
            |path: &str| !path.starts_with("accounts/") || path.starts_with("accounts/aws/");
        let is_of_organization =
            |path: &str| path.contains("control-policies/") || path == "organization.json";
        let keeps_organization = random.chance(50);
        world
            .files
            .retain(|path, _| is_ours(path) && (keeps_organization || !is_of_organization(path)));
        for file in world.files.values_mut() {
            // An account whose name is not a number must be one of the store (G-24).
            *file = serde_json::from_str(&file.to_string().replace(EXTERNAL, B)).unwrap();
        }
        let arns = [
            &mut world.users,
            &mut world.roles,
            &mut world.managed,
            &mut world.service_linked,
        ];
        for arns in arns {
            arns.retain(|arn| arn.contains(A) || arn.contains("::aws:"));
        }
    }
    if is_rootless {
        let files = std::mem::take(&mut world.files);
        let moved = |path: String| match path.starts_with("accounts/")
            || path.contains("control-policies/")
            || path == "organization.json"
        {
            true => path,
            false => format!("accounts/{A}/{path}"),
        };
        world.files = files
            .into_iter()
            .map(|(path, file)| (moved(path), file))
            .collect();
    }
}

/// Adds a boundary and tags.
fn decorate(random: &mut Random, entity: &mut Json, managed: &[String]) {
    if random.chance(35) {
        let arn = random.pick(managed);
        entity["PermissionsBoundary"] =
            json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn});
    }
    if random.chance(60) {
        entity["Tags"] = tags(random);
    }
}

fn tags(random: &mut Random) -> Json {
    let mut tags = Vec::new();
    for key in ["team", "tier"] {
        if random.chance(70) {
            let key = if random.chance(20) {
                random.recase(key)
            } else {
                key.to_owned()
            };
            tags.push(json!({"Key": key, "Value": random.pick(words::TAG_VALUES)}));
        }
    }
    json!(tags)
}

fn resource_policies(random: &mut Random, world: &mut World, folder: &str, most: usize) {
    let ours = if folder.is_empty() {
        words::SCOPES
    } else {
        words::OTHER_SCOPES
    };
    let mut scopes = ours.to_vec();
    random.shuffle(&mut scopes);
    for index in 0..random.below(most) + 1 {
        let n_scopes = 1 + usize::from(random.chance(30));
        let mine: Vec<&str> = (0..n_scopes).filter_map(|_| scopes.pop()).collect();
        if mine.is_empty() {
            break;
        }
        let mut file =
            json!({"Resource": if mine.len() == 1 { json!(mine[0]) } else { json!(mine) }});
        if random.chance(90) {
            file["Policy"] = document(random, Kind::Resource);
        }
        if random.chance(50) {
            file["Tags"] = tags(random);
        }
        if random.chance(15) {
            file["ResourcePolicyRequired"] = json!(true);
        }
        world
            .files
            .insert(format!("{folder}resource-policies/r{index}.json"), file);
    }
}

fn organization(random: &mut Random, world: &mut World) {
    for index in 0..3 {
        let scp = document(random, Kind::ServiceControl);
        world
            .files
            .insert(format!("service-control-policies/s{index}.json"), scp);
        let rcp = document(random, Kind::ResourceControl);
        world
            .files
            .insert(format!("resource-control-policies/c{index}.json"), rcp);
    }
    let has_scps = random.chance(85);
    let has_rcps = random.chance(80);
    let account =
        |random: &mut Random, id: &str| attach(random, json!({"Id": id}), has_scps, has_rcps);
    let mut inner = json!({"Id": "ou-1-inner", "Accounts": [account(random, A)]});
    inner = attach(random, inner, has_scps, has_rcps);
    let mut outer = json!({"Id": "ou-1-outer", "Name": "outer", "OrganizationalUnits": [inner], "Accounts": []});
    outer = attach(random, outer, has_scps, has_rcps);
    let mut root =
        json!({"Id": "r-1", "OrganizationalUnits": [outer], "Accounts": [account(random, M)]});
    if random.chance(70) {
        let member = account(random, B);
        root["Accounts"].as_array_mut().unwrap().push(member);
    }
    root = attach(random, root, has_scps, has_rcps);
    let organization = json!({"Id": "o-1", "ManagementAccountId": M, "Root": root});
    world.files.insert("organization.json".into(), organization);
}

/// Attaches control policies to one node of the organization.
fn attach(random: &mut Random, mut node: Json, has_scps: bool, has_rcps: bool) -> Json {
    if has_scps {
        let mut scps: Vec<String> = (0..3)
            .filter(|_| random.chance(15))
            .map(|n| format!("s{n}"))
            .collect();
        if random.chance(87) {
            scps.push("FullAWSAccess".into());
        }
        if scps.is_empty() {
            scps.push(
                random
                    .pick(&["s0", "s1", "s2", "FullAWSAccess"])
                    .to_string(),
            );
        }
        node["ServiceControlPolicies"] = json!(scps);
    }
    if has_rcps {
        let mut rcps: Vec<String> = (0..3)
            .filter(|_| random.chance(6))
            .map(|n| format!("c{n}"))
            .collect();
        if random.chance(50) {
            rcps.push("RCPFullAWSAccess".into());
        }
        node["ResourceControlPolicies"] = json!(rcps);
    }
    node
}

/// Collects every list of policy statements in `json`, at any place. Documents that are text are left out.
pub fn statement_lists<'j>(json: &'j mut Json, found: &mut Vec<&'j mut Json>) {
    match json {
        Json::Object(members) => {
            for (name, member) in members {
                if name == "Statement" {
                    if !member.is_array() {
                        *member = json!([member.take()]);
                    }
                    found.push(member);
                } else {
                    statement_lists(member, found);
                }
            }
        }
        Json::Array(elements) => {
            for element in elements {
                statement_lists(element, found);
            }
        }
        _ => {}
    }
}

/// Returns the files of managed policies.
fn of_identities(world: &mut World) -> impl Iterator<Item = &mut Json> {
    let is_policy = |path: &str| path.contains("policies/") && !path.contains("resource-policies/");
    let files = world.files.iter_mut();
    files
        .filter(move |(path, _)| is_policy(path) && !path.contains("control"))
        .map(|(_, json)| json)
}

/// Adds `n_statements` to each identity policy, including boundaries. They are copies of statements of other policies.
pub fn widen(world: &mut World, random: &mut Random, n_statements: usize) {
    let mut pool = Vec::new();
    for json in of_identities(world) {
        let mut lists = Vec::new();
        statement_lists(json, &mut lists);
        let lists = lists.into_iter().filter_map(|list| list.as_array());
        pool.extend(lists.flatten().cloned());
    }
    for json in of_identities(world) {
        let mut lists = Vec::new();
        statement_lists(json, &mut lists);
        for list in lists.into_iter().filter_map(Json::as_array_mut) {
            for _ in 0..n_statements {
                let mut statement = random.pick(&pool).clone();
                if statement["Effect"] == "Deny" && random.chance(50) {
                    continue; // or next to nothing would be allowed
                }
                if let Some(members) = statement.as_object_mut() {
                    members.remove("Sid"); // unique in a document
                }
                list.push(statement);
            }
        }
    }
}

/// Repeats statements that add nothing new in identity policies and some others, until they are so long that looking an
/// answer up pays off.
pub fn make_expensive(world: &mut World, random: &mut Random) {
    let never: Vec<String> = (0..12).map(|n| format!("never {n}*")).collect();
    for (path, file) in &mut world.files {
        let is_identity = path.contains("users/") || path.contains("roles/");
        if !is_identity && !random.chance(30) {
            continue;
        }
        let mut lists = Vec::new();
        statement_lists(file, &mut lists);
        for list in lists {
            let Some(statements) = list.as_array_mut() else {
                continue;
            };
            // Short patterns are allowed in only one of the two positions (M-12).
            let is_plain = |statement: &&Json| {
                ["Principal", "NotPrincipal", "NotResource"]
                    .iter()
                    .all(|element| statement.get(element).is_none())
            };
            let Some(mut another) = statements.iter().find(is_plain).cloned() else {
                continue;
            };
            another["Effect"] = json!("Deny");
            another["Resource"] = json!("*"); // which no index leaves out
            another.as_object_mut().unwrap().remove("Sid");
            another["Condition"] = json!({
                "ForAnyValue:StringLike": {"aws:PrincipalArn": never}, // expensive, and the first to be tried
                "NumericEquals": {"app:n": "-77"},
                "StringEquals": {"app:k": "never so", "app:list": ["never this", "nor that"]},
            });
            statements.extend(vec![another; 16]);
        }
    }
}

/// Returns the same JSON with the members of objects and the elements of lists in another order (I-5).
pub fn permuted(json: &Json, random: &mut Random) -> String {
    let mut parts: Vec<String> = match json {
        Json::Object(members) => {
            let member = |(name, value): (&String, &Json)| {
                format!("{}: {}", json!(name), permuted(value, random))
            };
            members.iter().map(member).collect()
        }
        Json::Array(elements) => elements
            .iter()
            .map(|element| permuted(element, random))
            .collect(),
        other => return other.to_string(),
    };
    random.shuffle(&mut parts);
    match json {
        Json::Object(_) => format!("{{{}}}", parts.join(", ")),
        _ => format!("[{}]", parts.join(" , ")),
    }
}

/// Returns the same policies with actions and condition keys in other cases (I-7).
pub fn recased(json: &Json, random: &mut Random) -> Json {
    let of_strings = |json: &Json, random: &mut Random| match json {
        Json::Array(elements) => elements
            .iter()
            .map(|one| json!(random.recase(one.as_str().unwrap())))
            .collect(),
        one => json!(random.recase(one.as_str().unwrap())),
    };
    match json {
        Json::Object(members) => {
            let mut recased_members = serde_json::Map::new();
            for (name, value) in members {
                let value = match name.as_str() {
                    "Action" | "NotAction" => of_strings(value, random),
                    "Condition" => keys_recased(value, random),
                    _ => recased(value, random),
                };
                recased_members.insert(name.clone(), value);
            }
            json!(recased_members)
        }
        Json::Array(elements) => elements
            .iter()
            .map(|element| recased(element, random))
            .collect(),
        other => other.clone(),
    }
}

fn keys_recased(condition: &Json, random: &mut Random) -> Json {
    let mut operators = serde_json::Map::new();
    for (operator, keys) in condition.as_object().unwrap() {
        let keys = keys.as_object().unwrap().iter();
        let keys: serde_json::Map<_, _> = keys
            .map(|(key, values)| (random.recase(key), values.clone()))
            .collect();
        operators.insert(operator.clone(), json!(keys));
    }
    json!(operators)
}
