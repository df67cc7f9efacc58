//! A store as its files describe it: section 2 of product.md, in the shapes that the generated worlds use.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::slice;
use std::sync::Arc;

use serde_json::Value as Json;

use super::condition::Condition;
use super::context::Context;
use super::matching::{ActionPattern, Reach, ResourcePattern, pieces};

#[derive(Debug, Default)]
pub struct Store {
    pub accounts: BTreeMap<String, Account>,
    /// The account of `account.json` at the root.
    pub root: Option<String>,
    pub organization: Option<Organization>,
    /// The managed policies by ARN.
    pub managed: BTreeMap<String, Rc<Policy>>,
    /// Their tags.
    pub managed_tags: BTreeMap<String, Vec<(String, String)>>,
    /// The OIDC providers that trust policies name, as `host/path` in lower case.
    pub issuers: BTreeSet<String>,
    /// The session policies of questions, by their place and text. Each is parsed once.
    session_policies: RefCell<BTreeMap<(usize, String), Rc<Policy>>>,
}

#[derive(Debug, Default)]
pub struct Account {
    pub partition: String,
    pub root_user_enabled: bool,
    pub anonymous_allowed: bool,
    pub is_external: bool,
    pub trust_external_identity: bool,
    pub canonical_id: Option<String>,
    pub users: Vec<Entity>,
    pub roles: Vec<Entity>,
    pub resource_policies: Vec<Attachment>,
}

/// A user or a role.
#[derive(Debug)]
pub struct Entity {
    pub arn: String,
    pub name: String,
    pub unique_id: Option<String>,
    pub tags: Vec<(String, String)>,
    pub is_disabled: bool,
    pub is_service_linked: bool,
    pub max_session_seconds: i64,
    /// The inline and attached policies, including those of the groups (E-8).
    pub identity: Vec<Rc<Policy>>,
    pub boundary: Option<Rc<Policy>>,
    /// The trust policy, for roles.
    pub trust: Option<Policy>,
}

/// One file of `resource-policies/`.
#[derive(Debug)]
pub struct Attachment {
    pub scopes: Vec<Scope>,
    pub policy: Option<Policy>,
    pub tags: Vec<(String, String)>,
    pub is_required: bool,
}

/// The scope that a resource policy is attached to.
#[derive(Debug)]
pub struct Scope {
    pub text: String,
    pattern: ResourcePattern,
}

impl Scope {
    fn of(text: String) -> Self {
        let pattern = ResourcePattern::of(pieces(&text, false), Reach::Narrow);
        Self { text, pattern }
    }

    /// E-10.
    pub fn covers(&self, resource: &str) -> bool {
        self.pattern.covers(resource, &Context::default()) == Some(true)
    }
}

#[derive(Debug, Default)]
pub struct Organization {
    pub id: String,
    pub management: String,
    pub has_scps: bool,
    pub has_rcps: bool,
    /// The nodes from the root down to each account.
    pub paths: BTreeMap<String, Vec<Node>>,
    /// The path of each account, `o-x/r-y/ou-z/`, without the account.
    pub written_paths: BTreeMap<String, String>,
}

/// The root, an OU or an account.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: String,
    pub scps: Vec<Rc<Policy>>,
    pub rcps: Vec<Rc<Policy>>,
}

#[derive(Clone, Debug)]
pub struct Policy {
    pub name: Arc<str>,
    pub statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
pub struct Statement {
    pub is_allow: bool,
    pub principal: Option<Principals>,
    pub is_not_action: bool,
    pub actions: Vec<ActionPattern>,
    pub is_not_resource: bool,
    /// The resources. `None` if the statement names none (E-12).
    pub resources: Option<Vec<ResourcePattern>>,
    pub conditions: Vec<Condition>,
}

/// `Principal` or `NotPrincipal` as kinds and values. `("*", "*")` is the string `*`.
#[derive(Clone, Debug)]
pub struct Principals {
    pub is_not: bool,
    pub entries: Vec<(String, String)>,
}

/// Reads the files of a store, from path to text.
pub fn read(files: &BTreeMap<String, String>) -> Store {
    let json =
        |(path, text): (&String, &String)| (path.clone(), serde_json::from_str(text).unwrap());
    of_files(&files.iter().map(json).collect())
}

/// Reads the files of a store, from path to parsed JSON.
pub fn of_files(files: &BTreeMap<String, Json>) -> Store {
    let json: BTreeMap<&str, &Json> = files
        .iter()
        .map(|(path, json)| (path.as_str(), json))
        .collect();
    let mut store = Store::default();
    let mut root_partition = "aws".to_owned();
    if let Some(root) = json.get("account.json") {
        let id = text(root, "AccountId").unwrap();
        root_partition = text(root, "Partition").unwrap_or(root_partition);
        store
            .accounts
            .insert(id.clone(), account(root, &root_partition));
        store.root = Some(id);
    }
    for (path, file) in &json {
        let (id, rest) = store.place(path);
        if id != "aws" && path.starts_with("accounts/") {
            let known = store.accounts.entry(id.clone()).or_default();
            if known.partition.is_empty() {
                known.partition = root_partition.clone();
            }
            if rest == "account.json" {
                *known = account(file, &root_partition);
            }
        }
    }
    for (path, file) in &json {
        let (id, rest) = store.place(path);
        if let Some(below) = rest.strip_prefix("managed-policies/") {
            let partition = store.partition(&id);
            let (name, folder) = name_and_path(below, file, "PolicyName");
            let arn = format!("arn:{partition}:iam::{id}:policy{folder}{name}");
            let policy = policy(&arn, default_version(file));
            store.managed_tags.insert(arn.clone(), tags(file));
            store.managed.insert(arn, Rc::new(policy));
        }
    }
    let mut groups: BTreeMap<(String, String), Vec<Rc<Policy>>> = BTreeMap::new();
    for (path, file) in &json {
        let (id, rest) = store.place(path);
        if let Some(below) = rest.strip_prefix("groups/") {
            let (name, folder) = name_and_path(below, file, "GroupName");
            let arn = format!("arn:{}:iam::{id}:group{folder}{name}", store.partition(&id));
            let policies = identity(file, &arn, "GroupPolicyList", &store.managed);
            groups.insert((id, name), policies);
        }
    }
    for (path, file) in &json {
        let (id, rest) = store.place(path);
        if let Some(below) = rest.strip_prefix("users/") {
            let mut user = store.entity(&id, below, file, "User");
            for group in array(file, "GroupList") {
                let key = (id.clone(), group.as_str().unwrap().to_owned());
                user.identity.extend(groups[&key].iter().cloned());
            }
            store.accounts.get_mut(&id).unwrap().users.push(user);
        } else if let Some(below) = rest.strip_prefix("roles/") {
            let role = store.entity(&id, below, file, "Role");
            for statement in &role.trust.as_ref().unwrap().statements {
                for (kind, provider) in &statement.principal.as_ref().unwrap().entries {
                    if kind == "Federated" {
                        store.issuers.extend(issuer(provider));
                    }
                }
            }
            store.accounts.get_mut(&id).unwrap().roles.push(role);
        } else if rest.starts_with("resource-policies/") {
            let name = path.strip_suffix(".json").unwrap();
            let attachment = Attachment {
                scopes: strings(&file["Resource"])
                    .into_iter()
                    .map(Scope::of)
                    .collect(),
                policy: file.get("Policy").map(|document| policy(name, document)),
                tags: tags(file),
                is_required: flag(file, "ResourcePolicyRequired"),
            };
            let account = store.accounts.get_mut(&id).unwrap();
            account.resource_policies.push(attachment); // by path, as `json` is
        }
    }
    if let Some(file) = json.get("organization.json") {
        let organization = organization(file, &json);
        // An account that only the organization names is also one of the store (E-6).
        for id in organization.paths.keys() {
            let known = store.accounts.entry(id.clone()).or_default();
            if known.partition.is_empty() {
                known.partition = root_partition.clone();
            }
        }
        store.organization = Some(organization);
    }
    store
}

impl Store {
    /// E-47: returns the session policy number `index`.
    pub fn session_policy(&self, index: usize, text: &str) -> Rc<Policy> {
        let mut known = self.session_policies.borrow_mut();
        let read = || {
            policy(
                &format!("session/{index}"),
                &serde_json::from_str(text).unwrap(),
            )
        };
        let policy = known.entry((index, text.to_owned()));
        Rc::clone(policy.or_insert_with(|| Rc::new(read())))
    }

    /// Returns the account of the folder that `path` is in, and the rest of the path.
    fn place<'p>(&self, path: &'p str) -> (String, &'p str) {
        match path.strip_prefix("accounts/") {
            Some(below) => {
                let (id, rest) = below.split_once('/').unwrap();
                (id.to_owned(), rest)
            }
            None => (self.root.clone().unwrap_or_default(), path),
        }
    }

    fn partition(&self, id: &str) -> &str {
        self.accounts
            .get(id)
            .map_or("aws", |account| &account.partition)
    }

    fn entity(&self, id: &str, below: &str, file: &Json, kind: &str) -> Entity {
        let (name, folder) = name_and_path(below, file, &format!("{kind}Name"));
        let partition = self.partition(id);
        let arn = format!(
            "arn:{partition}:iam::{id}:{}{folder}{name}",
            kind.to_lowercase()
        );
        let boundary = file.get("PermissionsBoundary").map(|boundary| {
            let arn = text(boundary, "PermissionsBoundaryArn").unwrap();
            Rc::clone(&self.managed[&arn])
        });
        Entity {
            name,
            unique_id: text(file, &format!("{kind}Id")),
            tags: tags(file),
            is_disabled: flag(file, "Disabled"),
            is_service_linked: flag(file, "ServiceLinked"),
            max_session_seconds: file["MaxSessionDuration"].as_i64().unwrap_or(3600),
            identity: identity(file, &arn, &format!("{kind}PolicyList"), &self.managed),
            boundary,
            trust: file
                .get("AssumeRolePolicyDocument")
                .map(|document| policy(&format!("{arn}/trust"), document)),
            arn,
        }
    }
}

/// Returns `host/path` of an OIDC provider that is named by its ARN or by just that. SAML providers have none.
pub fn issuer(provider: &str) -> Option<String> {
    let (_, issuer) = match provider.starts_with("arn:") {
        true => provider.split_once(":oidc-provider/")?,
        false => ("", provider),
    };
    Some(issuer.to_ascii_lowercase())
}

fn account(file: &Json, root_partition: &str) -> Account {
    Account {
        partition: text(file, "Partition").unwrap_or(root_partition.to_owned()),
        root_user_enabled: flag(file, "RootUserEnabled"),
        anonymous_allowed: flag(file, "AnonymousAllowed"),
        is_external: flag(file, "External"),
        trust_external_identity: flag(file, "TrustExternalIdentity"),
        canonical_id: text(file, "CanonicalUserId"),
        ..Account::default()
    }
}

/// Returns the name and the path. The members of the file take precedence over its stem and folder.
fn name_and_path(below: &str, file: &Json, name_member: &str) -> (String, String) {
    let stem = below.strip_suffix(".json").unwrap();
    let (folder, stem) = stem.rsplit_once('/').unwrap_or(("", stem));
    let folder = if folder.is_empty() {
        "/".to_owned()
    } else {
        format!("/{folder}/")
    };
    let name = text(file, name_member).unwrap_or(stem.to_owned());
    (name, text(file, "Path").unwrap_or(folder))
}

/// Returns the default version. Only that one counts (G-36).
fn default_version(file: &Json) -> &Json {
    match file.get("PolicyVersionList") {
        None => file,
        Some(versions) => {
            let mut versions = versions.as_array().unwrap().iter();
            &versions
                .find(|version| flag(version, "IsDefaultVersion"))
                .unwrap()["Document"]
        }
    }
}

fn identity(
    file: &Json,
    arn: &str,
    inline: &str,
    managed: &BTreeMap<String, Rc<Policy>>,
) -> Vec<Rc<Policy>> {
    let inline = array(file, inline).iter().map(|entry| {
        let name = text(entry, "PolicyName").unwrap();
        let name = format!("{arn}/inline/{name}");
        Rc::new(policy(&name, &entry["PolicyDocument"]))
    });
    let attached = array(file, "AttachedManagedPolicies")
        .iter()
        .map(|entry| Rc::clone(&managed[&text(entry, "PolicyArn").unwrap()]));
    inline.chain(attached).collect()
}

fn organization(file: &Json, json: &BTreeMap<&str, &Json>) -> Organization {
    let root = &file["Root"];
    let mut organization = Organization {
        id: text(file, "Id").unwrap(),
        management: text(file, "ManagementAccountId").unwrap(),
        has_scps: root.get("ServiceControlPolicies").is_some(),
        has_rcps: root.get("ResourceControlPolicies").is_some(),
        ..Organization::default()
    };
    walk(root, &[], json, &mut organization);
    organization
}

fn walk(
    node: &Json,
    above: &[Node],
    json: &BTreeMap<&str, &Json>,
    organization: &mut Organization,
) {
    let named = |folder: &str, list: &str| -> Vec<Rc<Policy>> {
        let load = |name: &Json| {
            let name = format!("{folder}/{}", name.as_str().unwrap());
            Rc::new(match name.as_str() {
                "service-control-policies/FullAWSAccess" => policy(&name, &everything()),
                "resource-control-policies/RCPFullAWSAccess" => policy(&name, &everything()),
                _ => policy(&name, json[format!("{name}.json").as_str()]),
            })
        };
        array(node, list).iter().map(load).collect()
    };
    let mut rcps = named("resource-control-policies", "ResourceControlPolicies");
    rcps.push(Rc::new(policy("RCPFullAWSAccess", &everything()))); // E-26: on every level, listed or not
    let mut path = above.to_vec();
    path.push(Node {
        id: text(node, "Id").unwrap(),
        scps: named("service-control-policies", "ServiceControlPolicies"),
        rcps,
    });
    for unit in array(node, "OrganizationalUnits") {
        walk(unit, &path, json, organization);
    }
    for account in array(node, "Accounts") {
        walk(account, &path, json, organization);
    }
    let is_account = node.get("Accounts").is_none() && node.get("OrganizationalUnits").is_none();
    if is_account {
        let id = text(node, "Id").unwrap();
        let above = above.iter().map(|node| format!("{}/", node.id));
        let written = format!("{}/{}", organization.id, above.collect::<String>());
        organization.written_paths.insert(id.clone(), written);
        organization.paths.insert(id, path);
    }
}

fn everything() -> Json {
    serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
}

/// Reads a document, given as an object or as its text.
pub fn policy(name: &str, document: &Json) -> Policy {
    if let Some(text) = document.as_str() {
        return policy(name, &serde_json::from_str(text).unwrap());
    }
    let has_variables = text(document, "Version").as_deref() == Some("2012-10-17"); // G-5, V-1
    let statements = list(&document["Statement"]);
    Policy {
        name: name.into(),
        statements: statements
            .iter()
            .map(|statement| self::statement(statement, has_variables))
            .collect(),
    }
}

fn statement(json: &Json, has_variables: bool) -> Statement {
    let either = |name: &str| {
        let not = format!("Not{name}");
        let found = json.get(name).map(|value| (false, value));
        found.or_else(|| json.get(&not).map(|value| (true, value)))
    };
    let (is_not_action, actions) = either("Action").unwrap();
    let resource = either("Resource");
    let mut conditions = Vec::new();
    for (operator, keys) in json["Condition"].as_object().into_iter().flatten() {
        for (key, values) in keys.as_object().unwrap() {
            conditions.push(Condition::parse(
                operator,
                key,
                &strings(values),
                has_variables,
            ));
        }
    }
    let is_allow = json["Effect"] == "Allow";
    let is_not_resource = resource.as_ref().is_some_and(|(is_not, _)| *is_not);
    let reach = match is_allow == is_not_resource {
        true => Reach::Broad,
        false => Reach::Narrow,
    };
    Statement {
        is_allow,
        principal: either("Principal").map(|(is_not, value)| principals(is_not, value)),
        is_not_action,
        actions: strings(actions)
            .iter()
            .map(|text| ActionPattern::of(text))
            .collect(),
        is_not_resource,
        resources: resource.map(|(_, values)| {
            let pattern = |text: &String| ResourcePattern::of(pieces(text, has_variables), reach);
            strings(values).iter().map(pattern).collect()
        }),
        conditions,
    }
}

fn principals(is_not: bool, json: &Json) -> Principals {
    let mut entries = Vec::new();
    match json.as_object() {
        None => entries.push(("*".to_owned(), "*".to_owned())),
        Some(kinds) => {
            for (kind, values) in kinds {
                entries.extend(
                    strings(values)
                        .into_iter()
                        .map(|value| (kind.clone(), value)),
                );
            }
        }
    }
    Principals { is_not, entries }
}

/// Returns the elements of a list. A scalar counts as a list of one (G-15).
fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(slice::from_ref(json), Vec::as_slice)
}

/// Returns the strings of a list. Numbers and Booleans count by their text (G-18).
fn strings(json: &Json) -> Vec<String> {
    let text = |json: &Json| {
        json.as_str()
            .map_or_else(|| json.to_string(), str::to_owned)
    };
    list(json).iter().map(text).collect()
}

fn array<'j>(json: &'j Json, name: &str) -> &'j [Json] {
    json.get(name)
        .and_then(Json::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text(json: &Json, name: &str) -> Option<String> {
    json.get(name).and_then(Json::as_str).map(str::to_owned)
}

fn flag(json: &Json, name: &str) -> bool {
    json.get(name) == Some(&Json::Bool(true))
}

fn tags(json: &Json) -> Vec<(String, String)> {
    let tag = |json: &Json| (text(json, "Key").unwrap(), text(json, "Value").unwrap());
    array(json, "Tags").iter().map(tag).collect()
}
