//! A store on disk in which one file changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::worlds::{Holder, Question, Random, Statement, World};

/// A resource on which only the changes grant an action.
const RESOURCE: &str = "arn:app:marker:::x";
const ATTACHED: &str = "marker:Attached";

/// A kind of change.
#[derive(Clone, Copy)]
pub enum Change {
    /// The document of this managed policy changes.
    Policy(usize),
    /// The list of this user's attached policies changes.
    UserList(usize),
    /// The list of this group's attached policies changes.
    GroupList(usize),
}

/// The store.
pub struct Store {
    root: PathBuf,
    world: World,
    /// A policy that only the changes attach.
    marker: usize,
    n_changes: usize,
}

/// A change that is not written yet.
pub struct Pending {
    path: PathBuf,
    text: String,
    /// The question whose answer shows whether the change is in force.
    pub shows: Question,
    /// The answer once the change is in force; until then it is the opposite.
    pub is_allowed: bool,
}

impl Pending {
    /// Writes the change by a rename, as editors do.
    pub fn write(&self) -> anyhow::Result<()> {
        let beside = self.path.with_extension("json.tmp");
        fs::write(&beside, &self.text)?;
        Ok(fs::rename(beside, &self.path)?)
    }
}

impl Store {
    /// Writes `world` below `root`, with another policy that is attached to no principal. Returns the number of files
    /// and their bytes too.
    pub fn write(mut world: World, root: &Path) -> anyhow::Result<(Self, usize, u64)> {
        let marks = vec![Statement::allow(ATTACHED, "*")];
        let marker = world.add_policy("Marker".to_owned(), marks);
        let (n_files, n_bytes) = world.write(root)?;
        let store = Self {
            root: root.to_owned(),
            world,
            marker,
            n_changes: 0,
        };
        Ok((store, n_files, n_bytes))
    }

    /// Returns the next change of a kind, which differs each time.
    pub fn next(&mut self, change: Change) -> anyhow::Result<Pending> {
        self.n_changes += 1;
        let mut action = ATTACHED.to_owned();
        let (asking, file, is_allowed) = match change {
            Change::Policy(index) => {
                action = format!("marker:Change{}", self.n_changes);
                let policy = self.world.policies.get_mut(index).context("the policy")?;
                // It replaces the change before, so that the policy keeps its size.
                let of_change = |action: &String| action.starts_with("marker:");
                policy
                    .statements
                    .retain(|statement| !statement.actions.iter().any(of_change));
                let statement = Statement::allow(action.clone(), "*");
                policy.statements.push(statement);
                let file = self.world.policy_file(index);
                (self.holder_of(index)?, file, true)
            }
            Change::UserList(index) => {
                let user = self.world.users.get_mut(index).context("the user")?;
                let is_attached = toggle(user, self.marker);
                let file = self.world.user_file(index);
                (index, file, is_attached)
            }
            Change::GroupList(index) => {
                let group = self.world.groups.get_mut(index).context("the group")?;
                let is_attached = toggle(group, self.marker);
                let mut users = self.world.users.iter();
                let member = users.position(|user| user.groups.contains(&index));
                let file = self.world.group_file(index);
                (member.context("nobody is in the group")?, file, is_attached)
            }
        };
        let (path, text) = file.context("its file")?;
        let user = self.world.users.get(asking).context("who asks")?;
        let mut random = Random::new(self.n_changes as u64);
        Ok(Pending {
            path: self.root.join(path),
            text,
            shows: Question::plain(&mut random, user, action, RESOURCE.to_owned()),
            is_allowed,
        })
    }

    /// Returns a user who has this policy attached, directly or by a group.
    fn holder_of(&self, policy: usize) -> anyhow::Result<usize> {
        let World { users, groups, .. } = &self.world;
        let holds = |user: &Holder| {
            let of_groups = user.groups.iter().filter_map(|group| groups.get(*group));
            let mut holders = of_groups.chain([user]);
            holders.any(|holder| holder.policies.contains(&policy))
        };
        let holder = users.iter().position(holds);
        holder.context("nobody has the policy to be changed")
    }

    /// Returns how many users have this policy attached, directly or by a group.
    pub fn n_holders(&self, policy: usize) -> usize {
        let World { users, groups, .. } = &self.world;
        let of_group = |group: &usize| {
            let group = groups.get(*group);
            group.is_some_and(|group| group.policies.contains(&policy))
        };
        let holds =
            |user: &&Holder| user.policies.contains(&policy) || user.groups.iter().any(of_group);
        users.iter().filter(holds).count()
    }

    /// Returns the index of the last user, who is in no other question.
    pub fn last_user(&self) -> anyhow::Result<usize> {
        ensure!(!self.world.users.is_empty(), "there are no users");
        Ok(self.world.users.len() - 1)
    }
}

/// Attaches `policy`, or detaches it if it is attached. Returns whether it is attached now.
fn toggle(holder: &mut Holder, policy: usize) -> bool {
    let n_before = holder.policies.len();
    holder.policies.retain(|at| *at != policy);
    let is_attached = holder.policies.len() == n_before;
    if is_attached {
        holder.policies.push(policy);
    }
    is_attached
}
