//! One managed policy on its own, apart from whoever has it attached.

use std::sync::{Arc, OnceLock};

use super::policy::Policy;
use super::policy_set::PolicySet;
use super::tags::Tags;
use crate::language::document::PolicyType;

/// A managed policy on its own.
#[derive(Debug)]
pub struct ManagedPolicy {
    /// The policy as an identity policy.
    pub policy: Arc<Policy>,
    /// Its tags, for requests whose resource is the policy.
    pub tags: Tags,
    /// The policy as a session policy, once a session names it. Most policies of a large store are never used so.
    session: OnceLock<Option<Box<PolicySet>>>,
}

impl ManagedPolicy {
    /// Returns the row of an identity policy.
    pub(super) fn new(policy: Arc<Policy>, tags: Tags) -> Self {
        Self {
            policy,
            tags,
            session: OnceLock::new(),
        }
    }

    /// Returns the policy as a session policy, for sessions whose `policy_arns` name it. Every managed policy can be one.
    pub fn session(&self) -> Option<&PolicySet> {
        let session = || {
            Some(Box::new(PolicySet::new([Arc::new(
                self.policy.as_type(PolicyType::Session),
            )])))
        };
        self.session.get_or_init(session).as_deref()
    }

    /// Returns the same policy after a fault, for tests: its session policy is lost.
    #[cfg(test)]
    pub(super) fn without_session(&self) -> Self {
        Self {
            policy: Arc::clone(&self.policy),
            tags: self.tags.clone(),
            session: None.into(),
        }
    }
}
