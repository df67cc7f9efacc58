//! Policies and their holders before they become JSON. The policies of other engines are made from them too.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::ACCOUNT;

/// One condition of a statement: a key, and values of which one must match.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The operator, as the policy spells it: `StringEquals`.
    pub operator: &'static str,
    /// The context key.
    pub key: String,
    /// The values in the policy.
    pub operands: Vec<String>,
    /// A value in a request that fulfils it; `${aws:username}` stands for the name of the principal.
    pub fulfilled_by: String,
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Whether it is a Deny.
    pub denies: bool,
    /// The action patterns.
    pub actions: Vec<String>,
    /// Whether the patterns are those of `NotAction`.
    pub excepts_actions: bool,
    /// The resource patterns.
    pub resources: Vec<String>,
    /// Whether the patterns are those of `NotResource`.
    pub excepts_resources: bool,
    /// The conditions, which must all hold.
    pub conditions: Vec<Condition>,
}

impl Statement {
    /// Makes an unconditional Allow.
    pub fn allow(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            denies: false,
            actions: vec![action.into()],
            excepts_actions: false,
            resources: vec![resource.into()],
            excepts_resources: false,
            conditions: Vec::new(),
        }
    }

    /// Returns the statement as JSON.
    pub fn json(&self) -> Json {
        let mut statement = json!({
            "Effect": if self.denies { "Deny" } else { "Allow" },
            (if self.excepts_actions { "NotAction" } else { "Action" }): self.actions,
            (if self.excepts_resources { "NotResource" } else { "Resource" }): self.resources,
        });
        let mut blocks = serde_json::Map::new();
        for condition in &self.conditions {
            let block = blocks
                .entry(condition.operator)
                .or_insert_with(|| json!({}));
            if let Some(block) = block.as_object_mut() {
                block.insert(condition.key.clone(), json!(condition.operands));
            }
        }
        if let (false, Some(members)) = (blocks.is_empty(), statement.as_object_mut()) {
            members.insert("Condition".to_owned(), blocks.into());
        }
        statement
    }
}

/// A managed policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The name, unique in its world.
    pub name: String,
    /// Its statements.
    pub statements: Vec<Statement>,
}

impl Policy {
    /// Returns the policy document.
    pub fn document(&self) -> Json {
        document(&self.statements)
    }
}

/// Returns a policy document of `statements`.
pub fn document(statements: &[Statement]) -> Json {
    let statements: Vec<Json> = statements.iter().map(Statement::json).collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// A group, or a user: a name and indices of policies.
#[derive(Clone, Debug, Default)]
pub struct Holder {
    /// The name, unique among groups or users.
    pub name: String,
    /// The indices of its policies in [`World::policies`].
    pub policies: Vec<usize>,
    /// The indices of its groups in [`World::groups`]; empty for a group.
    pub groups: Vec<usize>,
    /// The index of its boundary in [`World::policies`].
    pub boundary: Option<usize>,
}

/// Everything in one store.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The managed policies.
    pub policies: Vec<Policy>,
    /// The groups.
    pub groups: Vec<Holder>,
    /// The users.
    pub users: Vec<Holder>,
    /// Further files of the store.
    pub extra: Vec<(String, Json)>,
}

impl World {
    /// Adds a policy and returns its index.
    pub fn add_policy(&mut self, name: String, statements: Vec<Statement>) -> usize {
        self.policies.push(Policy { name, statements });
        self.policies.len() - 1
    }

    /// Returns how many statements its managed policies have.
    pub fn n_statements(&self) -> usize {
        self.policies
            .iter()
            .map(|policy| policy.statements.len())
            .sum()
    }

    /// Returns all statements that `user` has attached, directly or by a group.
    pub fn attached<'w>(&'w self, user: &'w Holder) -> impl Iterator<Item = &'w Statement> {
        let of_groups = user
            .groups
            .iter()
            .filter_map(|group| self.groups.get(*group))
            .flat_map(|group| &group.policies);
        user.policies
            .iter()
            .chain(of_groups)
            .filter_map(|policy| self.policies.get(*policy))
            .flat_map(|policy| &policy.statements)
    }

    /// Returns the files of the store: the path below its root and the JSON of each.
    pub fn files(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let account = json!({"AccountId": ACCOUNT}).to_string();
        let extra = self.extra.iter();
        let extra = extra.map(|(path, json)| (path.clone(), json.to_string()));
        std::iter::once(("account.json".to_owned(), account))
            .chain((0..self.policies.len()).filter_map(|index| self.policy_file(index)))
            .chain((0..self.groups.len()).filter_map(|index| self.group_file(index)))
            .chain((0..self.users.len()).filter_map(|index| self.user_file(index)))
            .chain(extra)
    }

    /// Returns the file of one policy.
    pub fn policy_file(&self, index: usize) -> Option<(String, String)> {
        let policy = self.policies.get(index)?;
        let name = &policy.name;
        // Each folder holds a thousand files. A folder matters only for the default path, and the file gives its path.
        let path = format!("managed-policies/{:03}/{name}.json", index / 1_000);
        let version =
            json!({"VersionId": "v1", "IsDefaultVersion": true, "Document": policy.document()});
        let policy = json!({"PolicyName": name, "Path": "/", "DefaultVersionId": "v1", "PolicyVersionList": [version]});
        Some((path, policy.to_string()))
    }

    /// Returns the file of one group.
    pub fn group_file(&self, index: usize) -> Option<(String, String)> {
        let group = self.groups.get(index)?;
        let json = json!({"GroupName": group.name, "AttachedManagedPolicies": self.attachments(&group.policies)});
        Some((format!("groups/{}.json", group.name), json.to_string()))
    }

    /// Returns the file of one user.
    pub fn user_file(&self, index: usize) -> Option<(String, String)> {
        let user = self.users.get(index)?;
        let groups = user.groups.iter();
        let groups = groups.filter_map(|group| Some(&*self.groups.get(*group)?.name));
        let mut json = json!({
            "UserName": user.name, "Path": "/", "GroupList": groups.collect::<Vec<&str>>(),
            "AttachedManagedPolicies": self.attachments(&user.policies),
        });
        let boundary = user
            .boundary
            .and_then(|boundary| self.attachments(&[boundary]).pop());
        if let (Some(boundary), Some(members)) = (boundary, json.as_object_mut()) {
            let boundary = json!({
                "PermissionsBoundaryType": "Policy",
                "PermissionsBoundaryArn": boundary.get("PolicyArn"),
            });
            members.insert("PermissionsBoundary".to_owned(), boundary);
        }
        let path = format!("users/{:03}/{}.json", index / 1_000, user.name);
        Some((path, json.to_string()))
    }

    /// Writes the files of the store below `root`. Returns their number and their bytes.
    pub fn write(&self, root: &Path) -> anyhow::Result<(usize, u64)> {
        let (mut n_files, mut n_bytes) = (0, 0);
        for (path, text) in self.files() {
            let path = root.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, &text)?;
            n_files += 1;
            n_bytes += text.len() as u64;
        }
        Ok((n_files, n_bytes))
    }

    fn attachments(&self, policies: &[usize]) -> Vec<Json> {
        policies
            .iter()
            .filter_map(|policy| self.policies.get(*policy))
            .map(|policy| json!({"PolicyName": policy.name, "PolicyArn": format!("arn:aws:iam::{ACCOUNT}:policy/{}", policy.name)}))
            .collect()
    }
}
