//! A store as a value that can be edited, and the single changes on disk that turn one such value into another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::random::Random;

const SHOP: &str = "arn:aws:iam::111111111111:policy/";
const POLICIES: [&str; 4] = ["Read", "Write", "Limit", "Forbid"];
const AWS_READ: &str = "arn:aws:iam::aws:policy/AwsRead";
const GROUPS: [&str; 3] = ["staff", "ops", "audit"];
const SCPS: [&str; 3] = ["FullAWSAccess", "open", "no-refund"];
const RCPS: [&str; 2] = ["RCPFullAWSAccess", "inside"];

/// The content at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    File(Vec<u8>),
    Folder,
    Link(String),
}

/// The files of a store: their contents, and faults in some of them.
#[derive(Clone)]
pub struct Tree {
    said: BTreeMap<String, Value>,
    /// The faulty text in place of a file's content. `None` means that the file is missing.
    faults: BTreeMap<String, Option<Item>>,
    n_edits: u64,
}

/// One atomic change.
#[derive(Debug)]
pub enum Change {
    /// A file, renamed into its place.
    Put(String, Vec<u8>),
    /// A file, written in place. It is JSON of which no prefix is JSON.
    Write(String, Vec<u8>),
    Rename(String, String),
    Remove(String),
    Folder(String),
    Link(String, String),
}

impl Change {
    pub fn make(&self, root: &Path) {
        let place = |path: &str| {
            let place = root.join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            place
        };
        match self {
            Self::Put(path, bytes) => {
                let beside = root.join(".beside");
                fs::write(&beside, bytes).unwrap();
                fs::rename(beside, place(path)).unwrap();
            }
            Self::Write(path, bytes) => fs::write(place(path), bytes).unwrap(),
            Self::Rename(from, to) => fs::rename(place(from), place(to)).unwrap(),
            Self::Remove(path) if place(path).is_dir() => fs::remove_dir(place(path)).unwrap(),
            Self::Remove(path) => fs::remove_file(place(path)).unwrap(),
            Self::Folder(path) => fs::create_dir(place(path)).unwrap(),
            Self::Link(path, target) => symlink(target, place(path)).unwrap(),
        }
    }
}

impl Tree {
    /// Returns about thirty entities of all kinds.
    pub fn first(random: &mut Random) -> Self {
        let mut said = BTreeMap::new();
        let mut say = |path: &str, value: Value| said.insert(path.to_owned(), value);
        say(
            "account.json",
            json!({"AccountId": "111111111111", "RootUserEnabled": random.chance(50), "AnonymousAllowed": random.chance(50)}),
        );
        let level = json!(["FullAWSAccess"]);
        say(
            "organization.json",
            json!({"Id": "o-1", "ManagementAccountId": "999999999999", "Root": {
            "Id": "r-1", "ServiceControlPolicies": level, "ResourceControlPolicies": ["RCPFullAWSAccess"],
            "OrganizationalUnits": [
                {"Id": "ou-1", "ServiceControlPolicies": level, "ResourceControlPolicies": ["inside"],
                 "Accounts": [{"Id": "111111111111", "ServiceControlPolicies": level}]},
                {"Id": "ou-2", "ServiceControlPolicies": level,
                 "Accounts": [{"Id": "222222222222", "ServiceControlPolicies": ["open"]}]},
            ]}}),
        );
        for name in ["ann", "eng/bob", "cyd", "dan", "eve"] {
            let mut user = json!({"UserPolicyList": [inline(random)], "Tags": tags(random)});
            user["GroupList"] = json!([random.one(&GROUPS)]);
            say(&format!("users/{name}.json"), user);
        }
        for name in GROUPS {
            let group = json!({"GroupPolicyList": [inline(random)], "AttachedManagedPolicies": attached(random)});
            say(&format!("groups/{name}.json"), group);
        }
        for name in ["clerk", "auditor", "job"] {
            let role = json!({"AssumeRolePolicyDocument": document(random, Kind::Trust), "RolePolicyList": [inline(random)],
                "AttachedManagedPolicies": attached(random), "Tags": tags(random)});
            say(&format!("roles/{name}.json"), role);
        }
        for name in POLICIES {
            let version = |id: &str, is_default: bool, random: &mut Random| json!({"VersionId": id, "IsDefaultVersion": is_default, "Document": document(random, Kind::Identity)});
            let policy = json!({"PolicyVersionList": [version("v1", true, random), version("v2", false, random)]});
            say(&format!("managed-policies/{name}.json"), policy);
        }
        for (path, resource) in [
            ("resource-policies/orders.json", "arn:app:orders:::order/*"),
            ("resource-policies/vip.json", "arn:app:orders:::vip/*"),
            (
                "accounts/222222222222/resource-policies/invoices.json",
                "arn:app:invoices::222222222222:invoice/*",
            ),
        ] {
            let policy = document(random, Kind::Resource);
            say(
                path,
                json!({"Resource": [resource], "Policy": policy, "Tags": tags(random)}),
            );
        }
        let open = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        say("service-control-policies/open.json", open);
        say(
            "service-control-policies/no-refund.json",
            document(random, Kind::ServiceControl),
        );
        say(
            "resource-control-policies/inside.json",
            document(random, Kind::ResourceControl),
        );
        say(
            "accounts/aws/managed-policies/AwsRead.json",
            document(random, Kind::Identity),
        );
        let zoe = json!({"UserPolicyList": [inline(random)], "Tags": tags(random)});
        say("accounts/222222222222/users/zoe.json", zoe);
        say("accounts/222222222222/users/yan.json", json!({}));
        let role = json!({"AssumeRolePolicyDocument": document(random, Kind::Trust)});
        say("accounts/222222222222/roles/partner.json", role);
        let read = document(random, Kind::Identity);
        say("accounts/222222222222/managed-policies/Zread.json", read);
        let of = |kind: &str| format!("arn:aws:iam::333333333333:{kind}");
        let dump = json!({
            "UserDetailList": [{"UserName": "zed", "Arn": of("user/zed"), "GroupList": ["all"], "UserPolicyList": [inline(random)]}],
            "GroupDetailList": [{"GroupName": "all", "Arn": of("group/all"), "GroupPolicyList": [inline(random)]}],
            "RoleDetailList": [{"RoleName": "guest", "Arn": of("role/guest"), "AssumeRolePolicyDocument": document(random, Kind::Trust)}],
            "Policies": [], "IsTruncated": false});
        say("dumps/partner.json", dump);
        Self {
            said,
            faults: BTreeMap::new(),
            n_edits: 0,
        }
    }

    /// Returns the text at each path.
    fn items(&self) -> BTreeMap<String, Item> {
        let mut items = BTreeMap::new();
        for (path, value) in &self.said {
            // There is no line break at the end, so the file is JSON only with its last byte.
            items.insert(
                path.clone(),
                Item::File(serde_json::to_vec_pretty(value).unwrap()),
            );
        }
        for (path, fault) in &self.faults {
            match fault {
                Some(item) => items.insert(path.clone(), item.clone()),
                None => items.remove(path),
            };
        }
        items
    }

    /// Writes all files below `root`.
    pub fn write(&self, root: &Path) {
        fs::create_dir_all(root).unwrap();
        for (path, item) in self.items() {
            creation(path, item).make(root);
        }
    }

    /// Returns the changes that turn this tree into `next`, in any possible order.
    pub fn changes_to(&self, next: &Self, random: &mut Random) -> Vec<Change> {
        let (old, new) = (self.items(), next.items());
        let gone: Vec<_> = old.keys().filter(|path| !new.contains_key(*path)).collect();
        let come: Vec<_> = new.keys().filter(|path| !old.contains_key(*path)).collect();
        let mut steps: Vec<Vec<Change>> = Vec::new();
        if let ([from], [to]) = (&*gone, &*come)
            && old[*from] == new[*to]
        {
            steps.push(vec![Change::Rename((*from).clone(), (*to).clone())]);
        } else {
            steps.extend(
                gone.iter()
                    .map(|path| vec![Change::Remove((*path).clone())]),
            );
            steps.extend(
                come.iter()
                    .map(|path| vec![creation((*path).clone(), new[*path].clone())]),
            );
        }
        for (path, item) in &new {
            match (old.get(path), item) {
                (Some(before), _) if before == item => {}
                (Some(Item::File(_)), Item::File(bytes)) => {
                    let is_json = serde_json::from_slice::<Value>(bytes).is_ok();
                    steps.push(vec![if is_json && random.chance(30) {
                        Change::Write(path.clone(), bytes.clone())
                    } else {
                        Change::Put(path.clone(), bytes.clone())
                    }]);
                }
                (Some(_), _) => steps.push(vec![
                    Change::Remove(path.clone()),
                    creation(path.clone(), item.clone()),
                ]),
                (None, _) => {}
            }
        }
        random.shuffle(&mut steps);
        steps.into_iter().flatten().collect()
    }

    /// Changes the text of a file but not its meaning.
    pub fn touched(&self) -> Self {
        let mut tree = self.clone();
        tree.n_edits += 1;
        tree.said.get_mut("users/dan.json").unwrap()["CreateDate"] = json!(tree.n_edits);
        tree
    }

    /// Makes one to three edits.
    pub fn edited(&self, random: &mut Random) -> Self {
        let mut tree = self.clone();
        for _ in 0..=random.below(3) {
            tree.n_edits += 1;
            if random.chance(15) {
                tree.spoil(random);
            } else {
                tree.edit(random);
            }
        }
        tree
    }

    /// Returns a path of `folder` that exists.
    fn path(&self, folder: &str, random: &mut Random) -> String {
        let paths: Vec<_> = self
            .said
            .keys()
            .filter(|path| path.starts_with(folder))
            .collect();
        (*random.one(&paths)).clone()
    }

    fn entity(&mut self, folder: &str, random: &mut Random) -> &mut Value {
        let path = self.path(folder, random);
        self.said.get_mut(&path).unwrap()
    }

    /// Makes an edit that a person would make.
    fn edit(&mut self, random: &mut Random) {
        let n_edits = self.n_edits;
        match random.below(16) {
            0..=5 => self.edit_statement(random),
            6 => {
                let folder = *random.one(&["users", "roles", "resource-policies"]);
                self.entity(folder, random)["Tags"] = tags(random);
            }
            7 => {
                let folder = *random.one(&["users", "groups", "roles"]);
                self.entity(folder, random)["AttachedManagedPolicies"] = attached(random);
            }
            8 => self.entity("users", random)["GroupList"] = subset(&GROUPS, 0, random),
            9 => {
                let folder = *random.one(&["users", "roles"]);
                let boundary = random.chance(60).then(
                    || json!({"PermissionsBoundaryArn": format!("{SHOP}{}", random.one(&POLICIES))}),
                );
                put(self.entity(folder, random), "PermissionsBoundary", boundary);
            }
            10 => self.edit_organization(random),
            11 => {
                let switch = *random.one(&["RootUserEnabled", "AnonymousAllowed"]);
                self.entity("account.json", random)[switch] = json!(random.chance(50));
            }
            12 => {
                let folder = *random.one(&["users", "roles"]);
                self.entity(folder, random)["Disabled"] = json!(random.chance(50));
            }
            13 => {
                let policy = self.entity("managed-policies", random);
                for (at, version) in policy["PolicyVersionList"]
                    .as_array_mut()
                    .unwrap()
                    .iter_mut()
                    .enumerate()
                {
                    version["IsDefaultVersion"] = json!(at as u64 == n_edits % 2);
                }
            }
            14 => {
                // A user is added or removed.
                let new = json!({"UserPolicyList": [inline(random)], "CreateDate": n_edits});
                if self.said.remove("users/new.json").is_none() {
                    self.said.insert("users/new.json".to_owned(), new);
                }
            }
            _ => {
                // A user moves to another path, and so gets another ARN.
                let [here, there] = ["users/cyd.json", "users/eng/cyd.json"];
                let (from, to) = if self.said.contains_key(here) {
                    (here, there)
                } else {
                    (there, here)
                };
                let user = self.said.remove(from).unwrap();
                self.said.insert(to.to_owned(), user);
            }
        }
    }

    fn edit_statement(&mut self, random: &mut Random) {
        let path = self.path("", random);
        let value = self.said.get_mut(&path).unwrap();
        let mut found = Vec::new();
        documents(value, String::new(), &mut found);
        if found.is_empty() {
            return;
        }
        let pointer = random.one(&found).clone();
        let kind = Kind::of(&path, &pointer);
        let statements = value.pointer_mut(&pointer).unwrap()["Statement"]
            .as_array_mut()
            .unwrap();
        let at = random.below(statements.len());
        match random.below(3) {
            0 if statements.len() < 5 => statements.insert(at, statement(random, kind)),
            1 if statements.len() > 1 => _ = statements.remove(at),
            _ => statements[at] = statement(random, kind),
        }
    }

    fn edit_organization(&mut self, random: &mut Random) {
        let whole = self.said.get_mut("organization.json").unwrap();
        let units = "/Root/OrganizationalUnits";
        let node = random
            .one(&[
                "/Root".to_owned(),
                format!("{units}/0"),
                format!("{units}/1"),
            ])
            .clone();
        match random.below(4) {
            0 => {
                // The second account moves from one unit to another.
                let mut take = |unit: usize| {
                    let accounts = whole.pointer_mut(&format!("{units}/{unit}/Accounts"))?;
                    let accounts = accounts.as_array_mut()?;
                    let at = accounts
                        .iter()
                        .position(|account| account["Id"] == "222222222222")?;
                    Some(accounts.remove(at))
                };
                let (account, to) = match take(0) {
                    Some(account) => (account, 1),
                    None => (take(1).unwrap(), 0),
                };
                let accounts = whole
                    .pointer_mut(&format!("{units}/{to}/Accounts"))
                    .unwrap();
                accounts.as_array_mut().unwrap().push(account);
            }
            1 => {
                whole.pointer_mut(&node).unwrap()["ResourceControlPolicies"] =
                    subset(&RCPS, 1, random);
            }
            _ => {
                whole.pointer_mut(&node).unwrap()["ServiceControlPolicies"] =
                    subset(&SCPS, 1, random);
            }
        }
    }

    /// Makes an edit that a person should not have made.
    fn spoil(&mut self, random: &mut Random) {
        let path = self.path("", random);
        let n_edits = self.n_edits;
        let text = serde_json::to_vec_pretty(&self.said[&path]).unwrap();
        let fault = |bytes: Vec<u8>| Some(Item::File(bytes));
        match random.below(12) {
            0 | 1 => {
                let n_bytes = random.below(text.len());
                self.faults.insert(path, fault(text[..n_bytes].to_vec()));
            }
            2 => {
                let bytes = [b"\xef\xbb\xbf".as_slice(), &text].concat();
                self.faults.insert(path, fault(bytes));
            }
            3 => {
                let name = format!("{{\"Tgas{n_edits}\": 1,");
                let bytes = [name.as_bytes(), text.get(1..).unwrap()].concat();
                self.faults.insert(path, fault(bytes));
            }
            4 => {
                let missing = format!("{SHOP}Gone{n_edits}");
                self.entity("users", random)["AttachedManagedPolicies"] =
                    json!([{"PolicyArn": missing}]);
            }
            5 => {
                let whole = self.said.get_mut("organization.json").unwrap();
                whole.pointer_mut("/Root/OrganizationalUnits/1").unwrap()["ServiceControlPolicies"] =
                    json!([]);
            }
            6 => {
                let folder = format!("users/f{n_edits}.json");
                self.faults.insert(folder, Some(Item::Folder));
            }
            7 => {
                let link = format!("groups/l{n_edits}.json");
                self.faults
                    .insert(link, Some(Item::Link("nowhere.json".to_owned())));
            }
            8 => {
                let stray = format!("user/s{n_edits}.json");
                self.faults.insert(stray, fault(b"{}".to_vec()));
            }
            9 => {
                // Removes a file that others may refer to. If none do, the store still loads.
                let folders = [
                    "managed-policies",
                    "groups",
                    "account.json",
                    "resource-control",
                ];
                let folder = *random.one(&folders);
                let gone = self.path(folder, random);
                self.faults.insert(gone, None);
            }
            10 => {
                // Renames a file, so that its place means something else or nothing.
                let to = format!("stray{n_edits}.json");
                self.faults.insert(path, None);
                self.faults.insert(to, fault(text));
            }
            _ => {
                let policy = self.entity("managed-policies", random);
                for at in 0..2 {
                    policy["PolicyVersionList"][at]["IsDefaultVersion"] = json!(true);
                }
            }
        }
    }
}

fn creation(path: String, item: Item) -> Change {
    match item {
        Item::File(bytes) => Change::Put(path, bytes),
        Item::Folder => Change::Folder(path),
        Item::Link(target) => Change::Link(path, target),
    }
}

fn put(value: &mut Value, member: &str, new: Option<Value>) {
    match new {
        Some(new) => value[member] = new,
        None => _ = value.as_object_mut().unwrap().remove(member),
    }
}

/// Collects the pointers of the documents in a file.
fn documents(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) if members.contains_key("Statement") => found.push(pointer),
        Value::Object(members) => {
            for (name, member) in members {
                documents(member, format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(elements) => {
            for (at, element) in elements.iter().enumerate() {
                documents(element, format!("{pointer}/{at}"), found);
            }
        }
        _ => {}
    }
}

/// The owner of the words that a document may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Identity,
    Resource,
    Trust,
    ServiceControl,
    ResourceControl,
}

impl Kind {
    fn of(path: &str, pointer: &str) -> Self {
        if pointer.contains("AssumeRolePolicyDocument") {
            Self::Trust
        } else if path.contains("resource-policies/") {
            Self::Resource
        } else if path.contains("service-control-policies/") {
            Self::ServiceControl
        } else if path.contains("resource-control-policies/") {
            Self::ResourceControl
        } else {
            Self::Identity
        }
    }
}

fn document(random: &mut Random, kind: Kind) -> Value {
    let n_statements = 1 + random.below(3);
    let statements: Vec<_> = (0..n_statements).map(|_| statement(random, kind)).collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn inline(random: &mut Random) -> Value {
    json!({"PolicyName": "inline", "PolicyDocument": document(random, Kind::Identity)})
}

fn statement(random: &mut Random, kind: Kind) -> Value {
    let is_deny = kind == Kind::ResourceControl || random.chance(25);
    let mut statement = json!({
        "Sid": format!("S{}", random.below(1_000_000_000)),
        "Effect": if is_deny { "Deny" } else { "Allow" },
    });
    statement["Action"] = match kind {
        Kind::Trust => json!("sts:AssumeRole"),
        Kind::ResourceControl => json!(random.one(&["orders:Put", "invoices:*"])),
        _ => json!(random.one(&[
            "*",
            "orders:*",
            "orders:Get",
            "orders:Put",
            "orders:Re*",
            "invoices:Get",
            "sts:AssumeRole"
        ])),
    };
    if matches!(
        kind,
        Kind::Identity | Kind::ServiceControl | Kind::ResourceControl
    ) {
        statement["Resource"] = json!(random.one(&[
            "*",
            "*",
            "arn:app:orders:::*",
            "arn:app:orders:::order/*",
            "arn:app:*:*:*:vip/?",
            "arn:app:invoices:*:*:invoice/*",
            "arn:aws:iam::111111111111:role/*",
        ]));
        if kind == Kind::Identity && random.chance(10) {
            statement["Resource"] = json!("arn:app:orders:::home/${aws:username}");
        }
    }
    match kind {
        Kind::Resource | Kind::Trust => {
            statement["Principal"] = random
                .one(&[
                    json!({"AWS": "*"}),
                    json!({"AWS": "111111111111"}),
                    json!({"AWS": "arn:aws:iam::111111111111:user/ann"}),
                    json!({"AWS": "arn:aws:iam::111111111111:role/clerk"}),
                    json!({"AWS": ["arn:aws:iam::222222222222:user/zoe", "arn:aws:iam::333333333333:root"]}),
                    json!({"Service": "jobs.shop.internal"}),
                ])
                .clone();
        }
        Kind::ResourceControl => statement["Principal"] = json!("*"),
        _ => {}
    }
    if random.chance(35) {
        statement["Condition"] = random
            .one(&[
                json!({"StringEquals": {"aws:PrincipalTag/team": "red"}}),
                json!({"StringNotEquals": {"aws:PrincipalAccount": "111111111111"}}),
                json!({"StringLike": {"app:kind": ["lo*", "none"]}}),
                json!({"StringEqualsIfExists": {"app:kind": "high"}}),
                json!({"StringEquals": {"aws:ResourceTag/team": "blue"}}),
                json!({"Null": {"app:kind": "true"}}),
                json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}),
            ])
            .clone();
    }
    statement
}

fn tags(random: &mut Random) -> Value {
    json!([{"Key": "team", "Value": random.one(&["red", "blue"])}])
}

fn attached(random: &mut Random) -> Value {
    let mut arns = BTreeSet::new();
    for _ in 0..random.below(3) {
        arns.insert(match random.below(POLICIES.len() + 1) {
            0 => AWS_READ.to_owned(),
            at => format!("{SHOP}{}", POLICIES[at - 1]),
        });
    }
    arns.iter().map(|arn| json!({"PolicyArn": arn})).collect()
}

/// Returns at least `least` of `items`.
fn subset(items: &[&str], least: usize, random: &mut Random) -> Value {
    let mut chosen = items.to_vec();
    random.shuffle(&mut chosen);
    chosen.truncate(least + random.below(items.len() - least + 1));
    json!(chosen)
}
