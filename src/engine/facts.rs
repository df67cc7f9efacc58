//! What is known about one question before any policy is read: who asks, whose the resource is, what is attached to it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::admit::{admit, owner};
use super::caller::Caller;
use super::decision::{Decision, Reason};
use super::error::RequestError;
use super::lost::Lost;
use super::request::Request;
use super::work::Work;
use crate::compile::attachments::Attachment;
use crate::compile::oidc_issuer;
use crate::compile::policy_set::PolicySet;
use crate::compile::rows::Ends;
use crate::compile::snapshot::{Account, Entity, ManagedPolicy, Policy, Role, SetId, Snapshot};
use crate::language::document::PolicyType;
use crate::name::{Principal, Resource};

/// The facts about one question: who asks, whose the resource is, and what is attached to it.
pub struct Facts<'a> {
    /// The store.
    pub snapshot: &'a Snapshot,
    /// The question.
    pub request: &'a Request<'a>,
    /// The principal that asks, and what the store knows of it.
    pub caller: Caller<'a>,
    /// The account that owns the resource. `None` if the owner is not known (E-6).
    pub owner: Option<&'a str>,
    /// The account of the owner; `None` if the store does not have it.
    pub owner_account: Option<&'a Account>,
    /// The owner's files that cover the resource (E-10), in their order.
    pub attached: Attached<'a>,
    /// How the resource's text begins and ends, for the indexes.
    pub ends: Ends,
    /// The OIDC issuer behind the caller, `host/path`.
    pub(super) issuer: Option<&'a str>,
    /// The work that the question may still take.
    pub work: &'a Work,
}

/// Files of `resource-policies/`.
pub type Attached<'a> = SmallVec<[&'a Attachment; 4]>;

/// The reason why no policy is read for a question.
#[derive(Debug)]
pub enum Early {
    /// The question is malformed, or answering it takes too much work.
    Refused(RequestError),
    /// The question is denied, because no policy can allow it.
    Denied(Reason),
}

impl Early {
    /// Returns the answer to the question, unless its work is spent (E-1).
    pub(super) fn answer(self, work: &Work) -> Result<Decision, RequestError> {
        match self {
            Self::Refused(error) => Err(error),
            Self::Denied(reason) => {
                work.conclude()?;
                Ok(Decision::without_statements(reason))
            }
        }
    }
}

impl From<RequestError> for Early {
    fn from(error: RequestError) -> Self {
        Self::Refused(error)
    }
}

impl From<Reason> for Early {
    fn from(reason: Reason) -> Self {
        Self::Denied(reason)
    }
}

impl<'a> Facts<'a> {
    /// Checks the question and finds what is known about it.
    // PERF: it is inlined, because moving the result out of a `Result` would cost more than some of the steps.
    #[inline(always)]
    pub fn find(
        snapshot: &'a Snapshot,
        request: &'a Request<'a>,
        work: &'a Work,
    ) -> Result<Self, Early> {
        Self::find_with(snapshot, request, None, work)
    }

    /// Does the same. If the caller is `known`, a user or role of the snapshot, it need not be looked up.
    #[inline(always)]
    pub fn find_with(
        snapshot: &'a Snapshot,
        request: &'a Request<'a>,
        known: Option<&'a Entity>,
        work: &'a Work,
    ) -> Result<Self, Early> {
        admit(snapshot, request)?;
        let mut attached = Attached::new();
        if snapshot.has_attachments() {
            attached.extend(snapshot.attachments_to(&request.resource, work));
            work.conclude()?; // a file that was not tried may cover the resource
        }
        let owner = owner(snapshot, request, &attached)?;
        let caller = Caller::resolve(snapshot, request, known)?; // E-3, E-5
        let owner_account = owner.and_then(|owner| {
            // PERF: most resources are of the caller's own account. A simulation may bring another account of that name.
            let own = caller.account.filter(|_| request.simulated.is_none());
            let own = own.filter(|own| own.id.as_str() == owner);
            own.or_else(|| snapshot.account(owner))
        });
        if matches!(caller.principal, Principal::Anonymous)
            && !owner_account.is_some_and(|owner| owner.anonymous_allowed)
        {
            return Err(Reason::ImplicitDenyUnknownPrincipal.into()); // E-51
        }
        if !attached.is_empty() {
            attached.retain(|file| owner_account.is_some_and(|owner| owner.id == file.account));
        }
        let provider = match caller.principal {
            Principal::Provider(arn) => Some(arn.as_str()),
            _ => request.session.federated_provider.as_deref(),
        };
        Ok(Self {
            snapshot,
            request,
            caller,
            owner,
            owner_account,
            attached,
            ends: Ends::of(&request.resource),
            issuer: provider.and_then(oidc_issuer),
            work,
        })
    }

    /// Returns the set called `id`. If there is none, the question ends without an answer.
    #[inline]
    pub(super) fn set(&self, id: SetId) -> Option<&'a PolicySet> {
        let found = self.snapshot.set(id);
        if found.is_none() {
            self.work.lose(Lost {
                table: "sets of policies",
                row: id.index(),
            });
        }
        found
    }

    /// Returns the managed policy called `arn` as a session policy, the `index`-th of the session's. If there is none,
    /// although the question was admitted, the question ends without an answer.
    pub(super) fn session_policy(&self, index: usize, arn: &str) -> Option<&'a PolicySet> {
        let managed = self.snapshot.managed_policy(arn);
        let found = managed.and_then(ManagedPolicy::session);
        if found.is_none() {
            self.work.lose(Lost {
                table: "sets of policies",
                row: index,
            });
        }
        found
    }

    /// Returns the policies of this type that a simulation brings; none for other questions.
    pub(super) fn simulated(&self, policy_type: PolicyType) -> &'a [Arc<Policy>] {
        match &self.request.simulated {
            None => &[],
            Some(simulated) => simulated.policies(policy_type),
        }
    }

    /// Returns whether the store's policies of this type count: always, unless a simulation replaces them.
    pub(super) fn keeps(&self, policy_type: PolicyType) -> bool {
        match &self.request.simulated {
            None => true,
            Some(simulated) => !simulated.replaces(policy_type),
        }
    }

    /// Returns the role that the question is about, if the store has it.
    pub fn target_role(&self) -> Option<&'a Role> {
        match &self.request.resource {
            Resource::Arn(arn) => self.snapshot.entity(arn)?.role.as_ref(),
            Resource::Any => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use jiff::Timestamp;

    use super::*;
    use crate::engine::error::RequestErrorKind;
    use crate::engine::question::Question;

    /// E-3: whoever is said to be known is taken only if it is the principal of the question.
    #[test]
    fn nobody_is_taken_for_somebody_else() {
        let account = r#"{"AccountId":"111122223333"}"#;
        let texts = [
            ("account.json", account),
            ("users/ann.json", "{}"),
            ("users/bob.json", "{}"),
        ];
        let snapshot = crate::store::load_texts(texts).unwrap().snapshot;
        let named = |name: &str| snapshot.principals().find(|entity| entity.name() == name);
        for known in [None, named("ann"), named("bob")] {
            let question = Question {
                principal: "arn:aws:iam::111122223333:user/ann",
                action: "a:B",
                resource: "*",
                ..Question::default()
            };
            let request = Request::parse(&question, Timestamp::UNIX_EPOCH).unwrap();
            let work = Work::new();
            let facts = Facts::find_with(&snapshot, &request, known, &work).unwrap();
            assert_eq!(facts.caller.entity.map(Entity::name), Some("ann"));
        }
    }

    #[test]
    fn a_denial_is_no_answer_if_the_work_is_spent() {
        let denied = || Early::from(Reason::ImplicitDenyUnknownPrincipal);
        let kind = |work: &Work| denied().answer(work).map_err(|error| error.kind);
        let decision = kind(&Work::new()).map(|decision| decision.reason());
        assert_eq!(decision, Ok(Reason::ImplicitDenyUnknownPrincipal), "E-3");
        let spent = kind(&Work::of(0)).map(|decision| decision.reason());
        assert_eq!(spent, Err(RequestErrorKind::TooMuchWork), "E-1");
    }
}
