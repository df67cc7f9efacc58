//! The caller of a question, as the store knows it.

use std::ops::Deref;
use std::sync::Arc;

use crate::compile::snapshot::{Account, Entity, Policy, SetId, Snapshot};
use crate::engine::decision::Reason;
use crate::engine::request::Request;
use crate::language::document::PolicyType;
use crate::name::{Arn, GivenArn, Principal};

/// A principal that was found in the store (E-3), or one that does not need to be in it.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'s> {
    /// The principal that the request names.
    pub principal: &'s Principal<'s>,
    /// The principal's account. `None` for services and the anonymous principal.
    pub account: Option<&'s Account>,
    /// The user, the role of a session, or the user behind a federated user. `None` for principals of external
    /// accounts, whose own side iamd cannot see (E-72).
    pub entity: Option<&'s Entity>,
    /// The permissions boundary (E-46). The root user has none (E-50).
    pub boundary: Option<Boundary<'s>>,
    /// The user behind a federated user, known or external (P-1).
    pub parent: Option<&'s Arn>,
    /// Whether this is a root user whose credentials are for one task (T-12).
    pub is_assumed_root: bool,
}

/// A permissions boundary from the store or from a simulation.
#[derive(Clone, Copy, Debug)]
pub enum Boundary<'s> {
    /// The boundary in the store, which is one policy.
    Stored(SetId),
    /// The boundary that a simulation brings.
    Simulated(&'s Arc<Policy>),
}

impl<'s> Caller<'s> {
    /// Finds the principal of `request`. Returns the reason to deny if the store does not have it or its session has
    /// expired. The principal may be `known` already.
    #[inline(always)] // PERF: it has one caller, and the result is too large for registers.
    pub fn resolve(
        snapshot: &'s Snapshot,
        request: &'s Request<'s>,
        known: Option<&'s Entity>,
    ) -> Result<Self, Reason> {
        let principal = &request.principal;
        let Some(arn) = principal.arn() else {
            return Ok(Self {
                principal,
                account: None,
                entity: None,
                boundary: None,
                parent: None,
                is_assumed_root: false,
            });
        };
        let (account, entity) = match &request.simulated {
            None => Self::look_up(snapshot, request, arn, known)?,
            // E-3 applies to a principal that is not in the store, unless a simulation provides one.
            Some(simulated) => {
                let stand_in = simulated.stand_in(snapshot);
                match Self::look_up(snapshot, request, arn, None) {
                    Ok(found) if !simulated.is_unnamed() => found,
                    Ok(_) => stand_in.ok_or(Reason::ImplicitDenyUnknownPrincipal)?,
                    Err(reason) => stand_in.ok_or(reason)?,
                }
            }
        };
        if request
            .session
            .expires_at
            .is_some_and(|end| request.at >= end)
        {
            return Err(Reason::ImplicitDenySessionExpired); // E-5
        }
        let stored = || {
            let id = entity.and_then(|entity| entity.permissions_boundary)?;
            Some(Boundary::Stored(id))
        };
        let boundary = match &request.simulated {
            None => stored(),
            Some(simulated) => {
                let is_kept = !simulated.replaces(PolicyType::PermissionsBoundary);
                let given = simulated.policies(PolicyType::PermissionsBoundary).first();
                let given = given.map(Boundary::Simulated);
                given.or_else(|| stored().filter(|_| is_kept))
            }
        };
        Ok(Self {
            principal,
            account: Some(account),
            entity,
            parent: request.session.parent.as_ref(),
            is_assumed_root: matches!(principal, Principal::Root(_))
                && !request.session.policy_arns.is_empty(),
            boundary,
        })
    }

    /// Returns the account and the user or role behind `arn`.
    fn look_up(
        snapshot: &'s Snapshot,
        request: &'s Request<'s>,
        arn: &GivenArn<'_>,
        known: Option<&'s Entity>,
    ) -> Result<(&'s Account, Option<&'s Entity>), Reason> {
        let principal = &request.principal;
        let unknown = Reason::ImplicitDenyUnknownPrincipal;
        // PERF: nearly every caller has a home account in the store, which saves looking the account up.
        if let Principal::User(_) | Principal::Role(_) = principal
            && let Some(entity) = known
                .filter(|known| known.arn == *arn && !known.disabled)
                .or_else(|| snapshot.entity(arn))
            && let Some(home) = snapshot.home(entity)
        {
            return Ok((home, Some(entity)));
        }
        // the same name in another partition is a different principal.
        let account = snapshot
            .account(arn.account())
            .filter(|account| *account.partition == *arn.partition());
        let account = account.ok_or(unknown)?;
        let entity = match principal {
            Principal::Root(_) if !account.root_user_enabled => return Err(unknown), // E-50
            Principal::FederatedUser { .. }
                if !account.root_user_enabled
                    && request.session.parent.as_ref().is_some_and(is_root_user) =>
            {
                return Err(unknown); // E-49, E-50
            }
            Principal::Root(_) | Principal::Provider(_) => None,
            _ if account.external => None,
            Principal::AssumedRole { role, .. } => {
                let role = snapshot.role_named(account.id.as_str(), role);
                Some(
                    role.filter(|role| role.arn.partition() == arn.partition())
                        .ok_or(unknown)?,
                )
            }
            Principal::FederatedUser { .. } => {
                let parent = request.session.parent.as_ref().ok_or(unknown)?;
                if is_root_user(parent) {
                    None
                } else {
                    Some(snapshot.entity(parent).ok_or(unknown)?)
                }
            }
            Principal::User(_) | Principal::Role(_) => Some(snapshot.entity(arn).ok_or(unknown)?),
            Principal::Anonymous | Principal::Service(_) => None,
        };
        Ok((account, entity))
    }

    /// Returns whether only resource policies can allow the caller: services, the anonymous principal and identity
    /// providers (5.5).
    pub fn is_outsider(&self) -> bool {
        matches!(
            self.principal,
            Principal::Anonymous | Principal::Service(_) | Principal::Provider(_)
        )
    }

    /// Returns whether the caller is the root user.
    pub fn is_root(&self) -> bool {
        matches!(self.principal, Principal::Root(_))
    }

    /// Returns whether the caller is a session of a federated user that the root user requested (E-49).
    pub fn is_federated_root(&self) -> bool {
        self.is_federated() && self.parent.is_some_and(is_root_user)
    }

    /// Returns whether the caller is a session of a federated user.
    pub fn is_federated(&self) -> bool {
        matches!(self.principal, Principal::FederatedUser { .. })
    }

    /// Returns whether the caller is a session of a role, with or without a name (E-4).
    pub fn is_role(&self) -> bool {
        matches!(
            self.principal,
            Principal::AssumedRole { .. } | Principal::Role(_)
        )
    }

    /// Returns whether the caller has temporary credentials (section 4.9).
    pub fn is_temporary(&self, request: &Request) -> bool {
        match self.principal {
            Principal::User(_) => request.session.is_temporary(),
            _ => self.is_role() || self.is_federated() || self.is_assumed_root,
        }
    }

    /// Returns whether the caller is a session of a service-linked role (E-27).
    pub fn is_service_linked(&self) -> bool {
        self.is_role()
            && self
                .entity
                .and_then(|entity| entity.role.as_ref())
                .is_some_and(|role| role.service_linked)
    }

    /// Returns whether a permissions boundary is attached (P-9). The root user has none (E-50).
    pub fn has_boundary(&self) -> bool {
        self.boundary.is_some()
    }

    /// Returns `aws:PrincipalArn`, which is the role's ARN for its sessions (K-5). Outsiders have none.
    pub fn arn(&self) -> Option<GivenArn<'s>> {
        match self.principal {
            Principal::AssumedRole { .. } => self.entity.map(|role| role.arn.given()),
            _ if self.is_outsider() => None,
            other => other.arn().copied(),
        }
    }
}

/// Returns whether `arn` is the ARN of an account's root user.
pub(super) fn is_root_user(arn: &Arn<impl Deref<Target = str>>) -> bool {
    arn.service() == "iam" && arn.resource() == "root"
}
