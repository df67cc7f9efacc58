//! Permissions in plain data, as clients and people read them.

use super::area::{Area, Open};
use crate::engine::decision::StatementName;
use crate::engine::explain::{REDACTED, Redacted};
use crate::language::pattern::{ActionPattern, ResourcePattern};

/// A set of questions that are allowed: `Permission` in the protocol. Empty lists say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of `Permission` in the protocol")]
pub struct Permission {
    pub actions: Vec<String>,
    pub not_actions: Vec<String>,
    pub resources: Vec<String>,
    pub not_resources: Vec<String>,
    pub conditions: Vec<PermissionCondition>,
    pub except: Vec<Permission>,
    pub statements: Vec<StatementName>,
}

/// A condition on a context key that the request does not give: `Condition` in the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionCondition {
    /// The operator with its set qualifier and `IfExists`, in the canonical spelling.
    pub operator: String,
    /// The key, lower-cased.
    pub key: String,
    /// The values of the policy.
    pub values: Vec<String>,
}

impl Permission {
    /// Returns the permission of an area. The values of the keys in `redacted` are hidden.
    pub fn of(area: &Area, redacted: &Redacted) -> Self {
        let mut permission = Self::part(area, redacted);
        let everything = || vec!["*".to_owned()];
        if permission.actions.is_empty() && permission.not_actions.is_empty() {
            permission.actions = everything();
        }
        if permission.resources.is_empty() && permission.not_resources.is_empty() {
            permission.resources = everything();
        }
        permission
    }

    fn part(area: &Area, redacted: &Redacted) -> Self {
        let actions = |all: &[ActionPattern]| -> Vec<String> {
            all.iter().map(|one| one.as_str().to_owned()).collect()
        };
        let resources = |all: &[ResourcePattern]| -> Vec<String> {
            all.iter().map(|one| one.as_str().to_owned()).collect()
        };
        let mut statements: Vec<StatementName> = Vec::new();
        for statement in area.statements.iter().map(StatementName::from) {
            if !statements.contains(&statement) {
                statements.push(statement);
            }
        }
        let conditions = area.conditions.iter();
        let except = area.except.iter();
        Self {
            actions: actions(area.actions.as_deref().unwrap_or_default()),
            not_actions: actions(&area.not_actions),
            resources: resources(area.resources.as_deref().unwrap_or_default()),
            not_resources: resources(&area.not_resources),
            conditions: conditions
                .filter_map(|open| written(open, redacted))
                .collect(),
            except: except.map(|area| Self::part(area, redacted)).collect(),
            statements,
        }
    }
}

fn written(open: &Open, redacted: &Redacted) -> Option<PermissionCondition> {
    let condition = open.condition()?;
    let values = open.values();
    Some(PermissionCondition {
        operator: condition.operator.name(),
        key: condition.key.folded().to_owned(),
        values: if redacted.hides(&condition.key) {
            values.iter().map(|_| REDACTED.to_owned()).collect()
        } else {
            values
        },
    })
}
