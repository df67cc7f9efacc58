//! What a principal may do: areas of questions that are allowed, which together are all of them.
//!
//! Questions are taken apart by what the combination of the verdicts depends on: whose the resource is, whether its own
//! policy must allow, and whether the action is one that a role's trust policy decides. In each part, the policies in play
//! are the same for all questions.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::area::{Area, Open};
use super::layers::Layers;
use crate::compile::attachments::Attachment;
use crate::compile::snapshot::{Account, Snapshot};
use crate::context::ContextKey;
use crate::engine::error::{RequestError, RequestErrorKind};
use crate::engine::explain::Redacted;
use crate::engine::facts::{Early, Facts};
use crate::engine::known::Scope;
use crate::engine::layer::strength_of;
use crate::engine::plan::Standing;
use crate::engine::question::Question;
use crate::engine::request::Request;
use crate::engine::work::Work;
use crate::language::condition::{Base, Condition, Operand, Operator, Texts};
use crate::language::document::Effect;
use crate::language::pattern::relation::{actions_meet, can_meet};
use crate::language::pattern::{ActionPattern, ResourcePattern, Syntax, Template};
use crate::name::Principal;

/// Which permissions are asked for.
#[derive(Debug, Default)]
pub struct Narrowing {
    /// Only permissions that may cover one of these actions.
    pub action: Option<ActionPattern>,
    /// Only permissions that may cover one of these resources.
    pub resource: Option<ResourcePattern>,
}

/// The actions about which a role's trust policy or the identity side alone decides (T-1, T-50), and T-11.
const SPECIAL: [&str; 8] = [
    "iam:PassRole",
    "sts:AssumeRole",
    "sts:AssumeRoleWithWebIdentity",
    "sts:AssumeRoleWithSAML",
    "sts:TagSession",
    "sts:SetSourceIdentity",
    "sts:SetContext",
    "sts:AssumeRoot",
];

const ONE: Scope<'_> = Scope {
    any_session: false,
    one_resource: true,
    hidden: None,
};

/// Returns what the principal of `question` may do. Its action and its resource are not read; its context and its session
/// hold for all questions.
pub fn permissions(
    snapshot: &Snapshot,
    question: &Question<'_>,
    narrowing: &Narrowing,
    redacted: &Redacted,
    at: Timestamp,
    work: &Work,
) -> Result<Vec<Area>, RequestError> {
    let mut listing = Listing {
        scope: Scope {
            any_session: false,
            one_resource: false,
            hidden: Some(redacted),
        },
        snapshot,
        question,
        narrowing,
        at,
        work,
        found: Vec::new(),
    };
    let principal = Principal::parse(question.principal);
    listing.request("sts:AssumeRole", "arn:any:any:::any")?; // what is malformed is so for all questions
    // E-2: a provider asks for the sessions of roles, and for nothing else.
    if !matches!(principal, Ok(Principal::Provider(_))) {
        for account in snapshot.accounts() {
            listing.add_ordinary(account)?;
        }
    }
    listing.add_roles()?;
    listing.add_roots()?;
    work.conclude()?; // E-1: a role that was not looked at may be missing
    Ok(listing.found)
}

/// Returns the areas of the question that `request` asks: under which conditions it is allowed.
fn of_one(
    snapshot: &Snapshot,
    request: &Request,
    scope: Scope<'_>,
    work: &Work,
) -> Result<Vec<Area>, RequestError> {
    let facts = match Facts::find(snapshot, request, work) {
        Ok(facts) => facts,
        Err(Early::Denied(_)) => return Ok(Vec::new()),
        Err(Early::Refused(error)) => return Err(error),
    };
    let areas = of_facts(&facts, scope);
    work.conclude()?;
    Ok(areas)
}

/// Returns the areas of the one question of `facts`, whose action and resource are left out.
fn of_facts(facts: &Facts<'_>, scope: Scope<'_>) -> Vec<Area> {
    if facts.authorized_by_idp() == Some(Some(false)) {
        return Vec::new(); // T-25
    }
    of_layers(&Layers::of(facts, scope), facts)
}

/// Returns the areas of the one question of `facts`, for which these policies are in play.
pub fn of_layers(layers: &Layers, facts: &Facts<'_>) -> Vec<Area> {
    let granted = layers.granted(facts, Standing::of(facts).requires_resource_policy());
    let mut areas = granted.by_resource;
    areas.extend(granted.by_identity);
    areas
}

struct Listing<'q> {
    snapshot: &'q Snapshot,
    question: &'q Question<'q>,
    narrowing: &'q Narrowing,
    /// The questions that have the same policies in play.
    scope: Scope<'q>,
    at: Timestamp,
    work: &'q Work,
    found: Vec<Area>,
}

impl<'q> Listing<'q> {
    /// Parses the question about one action and one resource.
    fn request<'r>(&self, action: &'r str, resource: &'r str) -> Result<Request<'r>, RequestError>
    where
        'q: 'r,
    {
        let question = Question {
            action,
            resource,
            resource_account: "",
            ..self.question.clone()
        };
        Request::parse_interactive(&question, self.at)
    }

    /// Adds what is permitted on the resources of an account, except for actions that are special about roles.
    fn add_ordinary(&mut self, owner: &Account) -> Result<(), RequestError> {
        if owner.id.is_aws() {
            return Ok(()); // E-6: the owner of AWS's resources is another
        }
        let resource = format!("arn:{}:any::{}:any", owner.partition, owner.id);
        let request = self.request("any:Any", &resource)?;
        let facts = match Facts::find(self.snapshot, &request, self.work) {
            Ok(facts) => facts,
            Err(Early::Denied(_)) => return Ok(()),
            Err(Early::Refused(error)) => return Err(error),
        };
        let files = self.snapshot.attachments().iter();
        let files: Vec<&Attachment> = files.filter(|file| file.account == owner.id).collect();
        let mut layers = Layers::of(&facts, self.scope);
        for file in &files {
            if let Some(set) = file.policy.and_then(|id| self.snapshot.set(id)) {
                for policy in set.policies() {
                    layers.attach(policy, file.scopes(), &facts, self.scope);
                }
            }
        }
        let flagged = files.iter().filter(|file| file.required);
        let flagged: Vec<ResourcePattern> =
            flagged.flat_map(|file| file.scopes().to_vec()).collect();
        let special = specials(&SPECIAL)?;
        for area in layers.granted(&facts, true).by_resource {
            self.add(area, &special, owner);
        }
        let mut without = specials(SPECIAL.get(1..).unwrap_or_default())?;
        if !Standing::of(&facts).is_in_own_account() {
            without.clone_from(&special);
        }
        if !flagged.is_empty() {
            without.push(Arc::new(Area {
                resources: Some(flagged),
                not_actions: specials(SPECIAL.get(..1).unwrap_or_default())?
                    .into_iter()
                    .flat_map(|area| area.actions.clone().unwrap_or_default())
                    .collect(),
                ..Area::default()
            }));
        }
        for area in layers.granted(&facts, false).by_identity {
            self.add(area, &without, owner);
        }
        self.work.conclude()
    }

    /// Adds the actions that request a session of a role, for each role that trusts the principal.
    fn add_roles(&mut self) -> Result<(), RequestError> {
        for action in SPECIAL {
            if !self.asks_for(action) {
                continue;
            }
            let request = match self.request(action, "arn:aws:iam::any:role/any") {
                Ok(request) if request.action.kind().is_of_trust() => request,
                // The context says something of the resource that is true of no role.
                Err(error) if error.kind == RequestErrorKind::Invalid => continue,
                Ok(_) => continue,
                Err(error) => return Err(error),
            };
            let facts = match Facts::find(self.snapshot, &request, self.work) {
                Ok(facts) => facts,
                Err(Early::Denied(_)) => continue,
                // A parameter in the context suits no role (T-31).
                Err(Early::Refused(error)) if error.kind == RequestErrorKind::Invalid => continue,
                Err(Early::Refused(error)) => return Err(error),
            };
            let mut roles = Vec::new();
            for entity in self.snapshot.principals() {
                let trust = entity.role.as_ref().filter(|_| !entity.disabled);
                let Some(set) = trust.and_then(|role| self.snapshot.set(role.trust)) else {
                    continue;
                };
                let mut statements = set.policies().iter().flat_map(|one| one.statements.iter());
                let trusts = statements.any(|statement| {
                    statement.effect == Effect::Allow
                        && self.work.spend(2)
                        && strength_of(statement, &facts).is_some()
                });
                if trusts {
                    roles.push(entity.arn.as_str());
                }
            }
            roles.sort_unstable();
            for role in roles {
                self.add_one(action, role)?;
            }
        }
        Ok(())
    }

    /// Adds `sts:AssumeRoot` on the root user of each account (T-11).
    fn add_roots(&mut self) -> Result<(), RequestError> {
        let action = "sts:AssumeRoot";
        if !self.asks_for(action) {
            return Ok(());
        }
        let accounts = self.snapshot.accounts().filter(|it| it.root_user_enabled);
        let roots: BTreeSet<String> = accounts
            .map(|account| format!("arn:{}:iam::{}:root", account.partition, account.id))
            .collect();
        for root in roots {
            self.add_one(action, &root)?;
        }
        Ok(())
    }

    fn asks_for(&self, action: &str) -> bool {
        let asked = self.narrowing.action.as_ref();
        let is_asked = |asked: &ActionPattern| {
            ActionPattern::parse(action).is_ok_and(|action| actions_meet(&action, asked))
        };
        asked.is_none_or(is_asked)
    }

    fn add_one(&mut self, action: &str, resource: &str) -> Result<(), RequestError> {
        let request = self.request(action, resource);
        let areas = request.and_then(|request| of_one(self.snapshot, &request, ONE, self.work));
        let areas = match areas {
            Ok(areas) => areas,
            // A parameter in the context does not suit this role (T-31): no such question is allowed.
            Err(error) if error.kind == RequestErrorKind::Invalid => return Ok(()),
            Err(error) => return Err(error),
        };
        for mut area in areas {
            let open = area.resources.take();
            area = Area {
                actions: Some(vec![action_of(action)?]),
                resources: Some(vec![resource_of(resource)?]),
                ..area
            };
            if let Some(open) = open {
                // Their variables are open, so they cover this resource or not.
                area.except.push(Arc::new(Area {
                    not_resources: open,
                    ..Area::default()
                }));
            }
            self.push(area);
        }
        Ok(())
    }

    fn add(&mut self, area: Area, without: &[Arc<Area>], owner: &Account) {
        let Some(mut area) = self.confined(area, owner) else {
            return;
        };
        if without.iter().all(|other| area.take_away(other)) {
            self.push(area);
        }
    }

    fn push(&mut self, area: Area) {
        let asked = Area {
            actions: self.narrowing.action.clone().map(|action| vec![action]),
            resources: self.narrowing.resource.clone().map(|one| vec![one]),
            ..Area::default()
        };
        let is_asked = area.meets(&asked);
        if is_asked {
            self.found.push(area);
        }
    }

    /// Returns what of an area is about resources of `owner`.
    fn confined(&self, mut area: Area, owner: &Account) -> Option<Area> {
        let mut is_open = area.resources.is_none();
        if let Some(resources) = &mut area.resources {
            resources.retain(|pattern| match self.owner_of(pattern, owner) {
                Owner::This => true,
                Owner::Other => false,
                Owner::Open => {
                    is_open = true;
                    true
                }
            });
        }
        if is_open {
            area.conditions.push(is_owned_by(owner));
        }
        area.tidy().then_some(area)
    }

    /// Returns whether the resources that a pattern covers belong to `owner` (E-6).
    fn owner_of(&self, pattern: &ResourcePattern, owner: &Account) -> Owner {
        let fields = pattern.fields();
        let literal = |n: usize| fields.get(n).and_then(Template::literal);
        let (Some(partition), Some(account)) = (literal(0), literal(3)) else {
            return Owner::Open;
        };
        if !matches!(account, "" | "aws") {
            return if account == owner.id.as_str() {
                Owner::This
            } else {
                Owner::Other
            };
        }
        let given = self.question.resource_account;
        let covering = self.snapshot.attachments().iter();
        let mut covering = covering.filter(|file| {
            let mut scopes = file.scopes().iter();
            scopes.any(|scope| can_meet(scope, pattern))
        });
        let is_covered_by_others = covering.any(|file| file.account != owner.id);
        let is_unknown = partition.starts_with("aws") && self.snapshot.has_several_accounts();
        let default = match given {
            "" if is_unknown => None,
            "" => self
                .snapshot
                .default_owner()
                .map(|account| account.as_str()),
            given => Some(given),
        };
        if !is_covered_by_others && default == Some(owner.id.as_str()) {
            Owner::This
        } else {
            Owner::Open
        }
    }
}

/// Whose the resources of a pattern are.
enum Owner {
    /// All of them are the account's.
    This,
    /// None of them is.
    Other,
    /// Some may be.
    Open,
}

/// Returns the condition that a resource belongs to an account.
fn is_owned_by(owner: &Account) -> Open {
    let key = "aws:ResourceAccount";
    let syntax = Syntax {
        wildcards: false,
        variables: false,
    };
    let value: Box<[Template]> = Template::parse(owner.id.as_str(), syntax)
        .into_iter()
        .collect();
    let condition = Condition {
        operator: Operator {
            qualifier: None,
            base: Base::StringEquals,
            if_exists: false,
        },
        key: ContextKey::new(key),
        spelled: key.into(),
        operand: Operand::StringEquals(Texts::exact(value)),
    };
    let all: Arc<[Condition]> = Arc::from([condition]);
    Open::of(&all, 0)
}

fn specials(actions: &[&str]) -> Result<Vec<Arc<Area>>, RequestError> {
    let patterns: Result<_, _> = actions.iter().map(|action| action_of(action)).collect();
    Ok(vec![Arc::new(Area {
        actions: Some(patterns?),
        ..Area::default()
    })])
}

fn action_of(action: &str) -> Result<ActionPattern, RequestError> {
    ActionPattern::parse(action).map_err(|malformed| RequestError::invalid("action", malformed.0))
}

fn resource_of(resource: &str) -> Result<ResourcePattern, RequestError> {
    let syntax = Syntax {
        wildcards: true,
        variables: true,
    };
    let text: String = resource
        .chars()
        .map(|character| match character {
            '*' | '?' => format!("${{{character}}}"),
            other => other.to_string(),
        })
        .collect();
    ResourcePattern::parse(&text, syntax)
        .map_err(|malformed| RequestError::invalid("resource", malformed.0))
}
