//! A question is allowed if and only if some listed permission covers it.

use iamd::analysis::context_keys::context_keys;
use iamd::analysis::permission::{Permission, PermissionCondition};
use iamd::analysis::permissions::{Narrowing, permissions};
use iamd::analysis::principals::{Bounds, PrincipalAccess, principals};
use iamd::compile::attachments::Attachment;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::explain::Redacted;
use iamd::engine::facts::Facts;
use iamd::engine::question::Question as Asked;
use iamd::engine::work::Work;
use iamd::language::condition::Condition;
use iamd::language::condition::operator::{Truth, evaluate};
use iamd::language::document::{Effect, PolicyType};
use iamd::language::parse::parse;
use iamd::language::pattern::{ActionPattern, Reach, ResourcePattern, Syntax};
use iamd::language::report::Base;
use iamd::name::{Principal, Resource};
use jiff::Timestamp;

use super::asked::asked_of;
use super::{Case, ask, each_world, to_request};
use crate::oracle::question::Question;
use crate::worlds::Random;
use iamd::engine::decision::Reason;

const SYNTAX: Syntax = Syntax {
    wildcards: true,
    variables: true,
};

/// Returns whether a permission covers the question of `facts`, as product documentation says: it is read as a statement
/// of this effect, and each exception as one of the other effect.
fn covers(permission: &Permission, effect: Effect, facts: &Facts<'_>) -> bool {
    let action = &facts.request.action;
    let is_action = |text: &String| ActionPattern::parse(text).unwrap().matches(action);
    let (listed, unlisted, other) = match effect {
        Effect::Allow => (Reach::Narrow, Reach::Broad, Effect::Deny),
        Effect::Deny => (Reach::Broad, Reach::Narrow, Effect::Allow),
    };
    let resource = |text: &String, reach: Reach| {
        let pattern = ResourcePattern::parse(text, SYNTAX).unwrap();
        pattern.matches(&facts.request.resource, reach, facts)
    };
    let holds = |condition: &PermissionCondition| match evaluated(condition, facts) {
        Truth::True => true,
        Truth::False => false,
        Truth::Indeterminate => effect == Effect::Deny,
    };
    let Permission {
        actions,
        not_actions,
        resources,
        not_resources,
        conditions,
        except,
        ..
    } = permission;
    (actions.is_empty() || actions.iter().any(is_action))
        && !not_actions.iter().any(is_action)
        && (resources.is_empty()
            || resources
                .iter()
                .any(|one| resource(one, listed) == Some(true)))
        && !not_resources
            .iter()
            .any(|one| match resource(one, unlisted) {
                None => effect == Effect::Allow,
                Some(covers) => covers,
            })
        && conditions.iter().all(holds)
        && !except.iter().any(|one| covers(one, other, facts))
}

fn evaluated(condition: &PermissionCondition, facts: &Facts<'_>) -> Truth {
    let condition = parsed(condition);
    evaluate(&condition, &facts.values(&condition.key), facts)
}

fn parsed(condition: &PermissionCondition) -> Condition {
    let document = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {&condition.operator: {&condition.key: &condition.values}}}],
    });
    let text = document.to_string();
    let (document, findings) = parse(&text, PolicyType::Identity, Base::File("list".into()));
    let document = document.unwrap_or_else(|| panic!("{text}: {findings:?}"));
    document.statements[0].conditions[0].clone()
}

/// Returns what is listed for the principal of a question, given a part of its context.
fn listed(case: &Case, question: &Question, random: &mut Random) -> Option<Vec<Permission>> {
    let mut asked = asked_of(question);
    let percent = *random.pick(&[0, 50, 100]);
    asked.context.retain(|_| random.chance(percent));
    let at = Timestamp::from_second(question.at).unwrap();
    let redacted = Redacted::default();
    let (narrowing, work) = (Narrowing::default(), Work::ample());
    let found = permissions(&case.snapshot, &asked, &narrowing, &redacted, at, &work);
    let found = found.ok()?;
    Some(
        found
            .iter()
            .map(|area| Permission::of(area, &redacted))
            .collect(),
    )
}

/// Returns whether a wildcard of a scope reaches the resource only if it crosses colons. An exception is read as in a Deny,
/// whose wildcards do, and nothing in a permission says that those of a scope do not (M-12, E-10). So a list leaves out
/// such resources.
fn is_near_a_scope(case: &Case, resource: &Resource) -> bool {
    let work = Work::ample();
    let denies = |file: &&Attachment| {
        let set = file.policy.and_then(|id| case.snapshot.set(id));
        let policies = set.iter().flat_map(|set| set.policies());
        let mut statements = policies.flat_map(|policy| policy.statements.iter());
        file.required || statements.any(|statement| statement.effect == Effect::Deny)
    };
    let files = case.snapshot.attachments().iter().filter(denies);
    files.flat_map(Attachment::scopes).any(|scope| {
        let covers = |reach| scope.matches(resource, reach, &work) == Some(true);
        covers(Reach::Broad) && !covers(Reach::Narrow)
    })
}

#[test]
fn a_question_is_allowed_if_and_only_if_a_listed_permission_covers_it() {
    let (mut n_allowed, mut n_asked, mut differences) = (0, 0, Vec::new());
    each_world(|case, random| {
        for question in case.questions() {
            let Ok(decision) = ask(&case.snapshot, &question) else {
                continue;
            };
            let Some(permissions) = listed(case, &question, random) else {
                differences.push(format!("no list: {question:?}"));
                continue;
            };
            let request = to_request(&question).unwrap();
            let work = Work::ample();
            let covering: Vec<&Permission> = match Facts::find(&case.snapshot, &request, &work) {
                Ok(facts) => {
                    let covering = permissions.iter();
                    covering
                        .filter(|one| covers(one, Effect::Allow, &facts))
                        .collect()
                }
                Err(_) => Vec::new(),
            };
            n_asked += 1;
            n_allowed += usize::from(decision.is_allowed());
            if decision.is_allowed() == covering.is_empty()
                && !(decision.is_allowed() && is_near_a_scope(case, &request.resource))
            {
                differences.push(format!(
                    "{:?} {} {} {}{}: {covering:#?}: {question:?}",
                    decision.reason(),
                    question.principal,
                    question.action,
                    question.resource,
                    if decision.is_allowed() {
                        format!(" {permissions:#?}")
                    } else {
                        String::new()
                    }
                ));
            }
        }
    });
    let n = differences.len();
    differences.truncate(3);
    assert!(
        n == 0,
        "{n} differences of {n_asked}: {}",
        differences.join("\n")
    );
    assert!(
        10 * n_allowed > n_asked,
        "{n_allowed} of {n_asked} are allowed"
    );
}

/// Returns the principals that are listed on pages of at most so many principals and bytes.
pub fn by_pages(
    snapshot: &Snapshot,
    asked: &Asked<'_>,
    at: Timestamp,
    (most, most_bytes): (usize, usize),
) -> Vec<PrincipalAccess> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let bounds = Bounds {
            after: &after,
            most,
            most_bytes,
            bytes_of_area: 0,
        };
        let page = principals(snapshot, asked, &bounds, at, &Work::ample()).unwrap();
        assert!(page.principals.len() <= most);
        all.extend(page.principals);
        let Some(next) = page.next else {
            return all;
        };
        assert!(next > after, "{next} is where the page begins");
        after = next;
    }
}

/// The bounds of a page that has all.
pub const ALL: (usize, usize) = (10_000, usize::MAX);

/// Returns the ARN of the user or role that asks, if the store has it.
fn asking(case: &Case, question: &Question) -> Option<String> {
    let entity = match Principal::parse(&question.principal).ok()? {
        Principal::User(arn) | Principal::Role(arn) => case.snapshot.entity(&arn),
        Principal::AssumedRole { arn, role, .. } => case.snapshot.role_named(arn.account(), role),
        _ => None,
    };
    entity.map(|entity| entity.arn.as_str().to_owned())
}

#[test]
fn who_is_allowed_is_listed_and_who_is_listed_without_conditions_is_allowed() {
    let (mut n_allowed, mut n_plain, mut n_conditional, mut differences) = (0, 0, 0, Vec::new());
    each_world(|case, random| {
        for question in case.questions() {
            let (Ok(decision), Some(own)) =
                (ask(&case.snapshot, &question), asking(case, &question))
            else {
                continue;
            };
            let mut asked = asked_of(&question);
            let percent = *random.pick(&[0, 50, 100]);
            asked.context.retain(|_| random.chance(percent));
            let at = Timestamp::from_second(question.at).unwrap();
            let all = by_pages(&case.snapshot, &asked, at, ALL);
            let names = |list: &[PrincipalAccess]| -> Vec<String> {
                list.iter().map(|one| one.principal.clone()).collect()
            };
            let bounds = (1 + random.below(3), *random.pick(&[0, 300, usize::MAX]));
            let few = by_pages(&case.snapshot, &asked, at, bounds);
            assert_eq!(names(&few), names(&all), "{question:?}");
            let listed = all.iter().find(|one| one.principal == own);
            let has_policies = question.session.as_ref().is_some_and(|session| {
                !session.policies.is_empty() || !session.policy_arns.is_empty()
            });
            let is_ended = matches!(decision.reason(), Reason::ImplicitDenySessionExpired);
            n_allowed += u32::from(decision.is_allowed());
            let is_wrong = match listed {
                None => decision.is_allowed(),
                Some(one) if one.is_conditional => {
                    n_conditional += 1;
                    false
                }
                Some(_) => {
                    n_plain += 1;
                    !decision.is_allowed() && !has_policies && !is_ended
                }
            };
            if is_wrong {
                let (reason, world) = (decision.reason(), case.seed);
                differences.push(format!(
                    "{reason:?} {listed:#?} {question:?} in world {world}"
                ));
            }
        }
    });
    let n = differences.len();
    differences.truncate(3);
    assert!(n == 0, "{n} differences: {}", differences.join("\n"));
    assert!(n_allowed > 50 && n_plain > 5 && n_conditional > 50);
}

/// Returns whether a key of the context is one of `keys`, or gives a value to one of them.
fn is_among(key: &str, keys: &[String]) -> bool {
    let key = key.to_ascii_lowercase();
    let is_tag = |prefix: &str| keys.iter().any(|listed| listed.contains(prefix));
    keys.contains(&key)
        || key.starts_with("aws:requesttag/") && is_tag("aws:tagkeys") // section 4.9
        || key.contains(":resourcetag/") && is_tag(":resourcetag/") // its other name
}

#[test]
fn no_key_outside_the_list_changes_an_answer() {
    let (mut n_changed, mut n_listed, mut differences) = (0, 0, Vec::new());
    each_world(|case, random| {
        for question in case.questions() {
            let Ok(decision) = ask(&case.snapshot, &question) else {
                continue;
            };
            let mut asked = asked_of(&question);
            if random.chance(30) {
                asked.action = "";
            }
            if random.chance(30) {
                asked.resource = "";
                asked.resource_account = "";
            }
            let at = Timestamp::from_second(question.at).unwrap();
            let redacted = Redacted::default();
            let keys = context_keys(&case.snapshot, &asked, &redacted, at, &Work::ample());
            let keys: Vec<String> = keys.unwrap().into_iter().map(|found| found.key).collect();
            n_listed += keys.len();
            for index in 0..question.context.len() {
                let mut other = question.clone();
                let (key, _) = other.context.remove(index);
                let Ok(changed) = ask(&case.snapshot, &other) else {
                    continue;
                };
                if changed.is_allowed() != decision.is_allowed() {
                    n_changed += 1;
                    if !is_among(&key, &keys) {
                        differences.push(format!("{key} of {keys:?}: {question:?}"));
                    }
                }
            }
        }
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(n_changed > 5, "{n_changed}");
}
