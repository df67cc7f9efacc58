//! Warns about documents that are legal but surely not intended, and refuses a few things that only a whole statement
//! shows.
//!
//! The parser reports what a single value shows (an odd `Sid`, a short ARN). The lints here look at a whole statement.
//! Each fires only if the statement cannot mean what it seems to say, because authors soon switch off a lint with false
//! alarms, and then miss its next true one.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::condition::global::{MULTIVALUED, is_global};
use super::condition::{Condition, Operand, Operator, Qualifier};
use super::document::{
    Effect, Listed, PolicyDocument, PolicyType, PrincipalElement, PrincipalEntry, Statement,
};
use super::finding::Code;
use super::json::{Node, Value};
use super::pattern::relation::can_meet;
use super::pattern::{ActionPattern, ResourcePattern, Template, Variable};
use super::report::Report;
use crate::context::{ContextKey, KeyKind};
use crate::name::{Action, Arn, Principal};

mod shadowed;
mod web_identity;

/// The keys whose values a client writes into its own request, folded.
const CLIENT_CONTROLLED: &[&str] = &["aws:referer", "aws:useragent"];

/// The actions that a trust policy decides (T-6).
const TRUST_ACTIONS: &[&str] = &[
    "sts:AssumeRole",
    "sts:AssumeRoleWithSAML",
    web_identity::WEB_IDENTITY,
    "sts:SetContext",
    "sts:SetSourceIdentity",
    "sts:TagSession",
];

/// Refuses statements that are wrong as a whole. Unlike a lint, this cannot be ignored.
pub fn refuse(
    document: &PolicyDocument,
    policy_type: PolicyType,
    node: &Node<'_>,
    report: &mut Report<'_>,
) {
    if policy_type != PolicyType::Trust {
        return;
    }
    for (statement, node) in document.statements.iter().zip(statements_of(node)) {
        web_identity::lint(statement, &Place { node }, report);
    }
}

fn statements_of<'n, 't>(node: &'n Node<'t>) -> &'n [Node<'t>] {
    node.member("Statement")
        .map_or(&[][..], |member| member.value.one_or_many())
}

/// Lints `document`, which was parsed from `node`.
pub fn lint(
    document: &PolicyDocument,
    policy_type: PolicyType,
    node: &Node<'_>,
    report: &mut Report<'_>,
) {
    size(policy_type, node, report);
    shadowed::lint(document, statements_of(node), report);
    for (statement, node) in document.statements.iter().zip(statements_of(node)) {
        let at = Place { node };
        conditions(statement, policy_type, &at, report);
        client_controlled(statement, &at, report);
        deny_list_style(statement, &at, report);
        if policy_type != PolicyType::Resource {
            allow_list_style(statement, &at, report);
        }
        if let Some(principal) = &statement.principal {
            not_principal(principal, &at, report);
        }
        if policy_type == PolicyType::Trust {
            useless_actions(statement, &at, report);
        }
    }
}

/// Warns if a resource policy names resources that none of its `scopes` covers (E-13). `node` is the policy.
///
/// The check asks whether the two patterns could meet if every wildcard and variable stood for any text. So it may stay
/// silent if they do not meet, but it never warns if they do.
pub fn scope(
    document: &PolicyDocument,
    scopes: &[ResourcePattern],
    node: &Node<'_>,
    report: &mut Report<'_>,
) {
    let statements = statements_of(node);
    let mut steps_left = MAX_STEPS;
    for (index, statement) in document.statements.iter().enumerate() {
        let Some(Listed::Any(patterns)) = &statement.resources else {
            continue;
        };
        for (entry, pattern) in patterns.iter().enumerate() {
            let n_steps = scopes
                .iter()
                .map(|scope| scope.as_str().len() * pattern.as_str().len());
            let Some(left) = steps_left.checked_sub(n_steps.sum()) else {
                return;
            };
            steps_left = left;
            if scopes.iter().any(|scope| can_meet(scope, pattern)) {
                continue;
            }
            // A document inside a string has no nodes in this file.
            let span = statements.get(index).map_or_else(
                || node.span.clone(),
                |node| Place { node }.entry("Resource", entry),
            );
            let message = format!(
                "resource `{}` is outside of what the policy is attached to: it never applies",
                pattern.as_str()
            );
            report
                .warning(Code::RESOURCE_OUTSIDE_SCOPE, &span, message)
                .help("widen the `Resource` beside the policy, or remove this one");
        }
    }
}

/// How many pairs of characters of scopes and patterns are compared in one file. Beyond that the lint stays silent, as
/// it may.
const MAX_STEPS: usize = 50_000_000;

/// Finds the positions of a statement's parts.
struct Place<'n, 't> {
    node: &'n Node<'t>,
}

impl Place<'_, '_> {
    /// Returns the range of an element's name, or of the statement if it has no such element.
    fn element(&self, name: &str) -> Range<usize> {
        self.node
            .member(name)
            .map_or_else(|| self.node.span.clone(), |member| member.name_span.clone())
    }

    /// Returns the range of one entry of an element.
    fn entry(&self, name: &str, index: usize) -> Range<usize> {
        self.node
            .member(name)
            .and_then(|member| member.value.one_or_many().get(index))
            .map_or_else(|| self.element(name), |entry| entry.span.clone())
    }

    /// Returns the range of a condition key's name for a warning. Finding it searches as many keys as there are
    /// conditions, so this is skipped for a warning that is only counted.
    fn warned_condition(&self, condition: &Condition, report: &Report<'_>) -> Range<usize> {
        match report.has_enough_warnings() {
            true => self.node.span.clone(),
            false => self.condition(condition),
        }
    }

    /// Returns the range of a condition key's name.
    fn condition(&self, condition: &Condition) -> Range<usize> {
        self.node
            .member("Condition")
            .and_then(|block| {
                let Value::Object(operators) = &block.value.value else {
                    return None;
                };
                operators
                    .iter()
                    .filter(|member| Operator::parse(&member.name) == Some(condition.operator))
                    .find_map(|member| member.value.member(&condition.spelled))
            })
            .map_or_else(
                || self.element("Condition"),
                |member| member.name_span.clone(),
            )
    }
}

/// Warns of a policy that is longer than AWS allows (G-39). White space counts only in control policies. A document
/// cannot tell whether it is a managed or an inline policy, and AWS's own policies exceed the limits of customers, so
/// identity policies have no limit here.
fn size(policy_type: PolicyType, node: &Node<'_>, report: &mut Report<'_>) {
    let (limit, white_space_counts) = match policy_type {
        PolicyType::PermissionsBoundary => (6_144, false),
        PolicyType::Session | PolicyType::Trust => (2_048, false),
        PolicyType::ServiceControl | PolicyType::ResourceControl => (5_120, true),
        PolicyType::Identity | PolicyType::Resource => return,
    };
    let source = report.source(&node.span);
    let n_characters = source
        .chars()
        .filter(|character| white_space_counts || !character.is_whitespace())
        .count();
    if n_characters > limit {
        let message = format!(
            "the policy has {n_characters} characters, more than the {limit} that AWS allows"
        );
        report.warning(Code::AWS_QUOTA, &node.span, message);
    }
}

/// Warns of conditions that do not restrict as they seem to (C-73, C-74, V-9).
fn conditions(
    statement: &Statement,
    policy_type: PolicyType,
    at: &Place<'_, '_>,
    report: &mut Report<'_>,
) {
    let is_allow = statement.effect == Effect::Allow;
    let required = Required::by(&statement.conditions);
    for condition in statement.conditions.iter() {
        let Operator {
            qualifier,
            if_exists,
            base,
        } = condition.operator;
        let key = &condition.spelled;
        let for_all = qualifier == Some(Qualifier::ForAllValues);
        if for_all && is_single_valued(&condition.key) {
            let message = format!(
                "`ForAllValues:` tests a set, but `{key}` has at most one value, and holds when it has none"
            );
            report
                .warning(
                    Code::FORALLVALUES_ON_SINGLE_VALUED,
                    &at.warned_condition(condition, report),
                    message,
                )
                .help("use the operator without `ForAllValues:`");
        }
        if for_all && is_allow && !required.has(&condition.key) {
            let message = format!("`ForAllValues:` allows requests without `{key}`");
            report
                .warning(
                    Code::FORALLVALUES_ALLOW,
                    &at.warned_condition(condition, report),
                    message,
                )
                .help(format!("add `\"Null\": {{\"{key}\": \"false\"}}`"));
        }
        if qualifier.is_some() && if_exists {
            if_exists_of_set(condition, for_all, at, report);
        }
        if is_allow
            && base.is_negated()
            && let Some(variable) = condition
                .operand
                .variables()
                .into_iter()
                .find(|variable| may_lack_value(variable, policy_type))
        {
            let name = variable.key.folded();
            let message = format!(
                "`{key}` cannot be compared while `${{{name}}}` has no value, so the statement then allows nothing"
            );
            report
                .warning(
                    Code::ALLOW_NEGATED_VARIABLE,
                    &at.warned_condition(condition, report),
                    message,
                )
                .help("give the variable a default, or compare with a value that is always there");
        }
    }
}

/// Warns of `IfExists` with a set qualifier (C-74).
fn if_exists_of_set(
    condition: &Condition,
    for_all: bool,
    at: &Place<'_, '_>,
    report: &mut Report<'_>,
) {
    let key = &condition.spelled;
    let message = match for_all {
        true => format!("`ForAllValues:` holds without `{key}` anyway: `IfExists` adds nothing"),
        false => {
            format!("`ForAnyValue:` with `IfExists` has no clear meaning if `{key}` is missing")
        }
    };
    report
        .warning(
            Code::IFEXISTS_WITH_SET_QUALIFIER,
            &at.warned_condition(condition, report),
            message,
        )
        .help("remove `IfExists`; for the missing key, write a second statement with `Null`");
}

fn is_single_valued(key: &ContextKey) -> bool {
    let is_tag = matches!(
        key.kind(),
        KeyKind::PrincipalTag | KeyKind::ResourceTag | KeyKind::RequestTag
    );
    is_tag || is_global(key.folded()) && !MULTIVALUED.contains(&key.folded())
}

/// The keys whose absence makes some condition of the statement false, so that a missing key cannot make
/// `ForAllValues:` true.
struct Required<'c> {
    keys: HashSet<&'c ContextKey>,
    /// Whether a tag of the request is among them. Tags in the request imply tag keys (section 4.9).
    are_tags: bool,
}

impl<'c> Required<'c> {
    fn by(conditions: &'c [Condition]) -> Self {
        let mut required = Self {
            keys: HashSet::new(),
            are_tags: false,
        };
        for condition in conditions.iter().filter(|one| is_false_when_missing(one)) {
            required.keys.insert(&condition.key);
            required.are_tags |= condition.key.kind() == KeyKind::RequestTag;
        }
        required
    }

    fn has(&self, key: &ContextKey) -> bool {
        self.keys.contains(key) || key.kind() == KeyKind::TagKeys && self.are_tags
    }
}

/// Returns whether the condition is false if its key is missing (C-6).
fn is_false_when_missing(condition: &Condition) -> bool {
    let Operator {
        qualifier,
        base,
        if_exists,
    } = condition.operator;
    match (&condition.operand, qualifier) {
        (Operand::Null(must_be_absent), _) => !must_be_absent,
        (_, Some(Qualifier::ForAllValues)) => false,
        // Indeterminate is no Allow either (C-74).
        (_, Some(Qualifier::ForAnyValue)) => true,
        (_, None) => !if_exists && !base.is_negated(),
    }
}

/// Returns whether a request can leave the variable without a value (V-9).
fn may_lack_value(variable: &Variable, policy_type: PolicyType) -> bool {
    use KeyKind as K;
    // A principal with an identity policy is a user or a session, so its account, ARN and type are always known.
    let is_attached_to_principals = !matches!(
        policy_type,
        PolicyType::Resource | PolicyType::ResourceControl | PolicyType::Trust
    );
    let is_always_known = match variable.key.kind() {
        K::CurrentTime | K::EpochTime | K::SecureTransport | K::ViaAwsService => true,
        K::PrincipalArn | K::PrincipalAccount | K::PrincipalType | K::PrincipalIsAwsService => {
            is_attached_to_principals
        }
        _ => false,
    };
    variable.default.is_none() && !is_always_known
}

/// Warns of an Allow that tests a key whose value the client chooses (section 4.9). It allows every client that knows
/// which value to send.
fn client_controlled(statement: &Statement, at: &Place<'_, '_>, report: &mut Report<'_>) {
    if statement.effect != Effect::Allow {
        return;
    }
    let is_controlled = |key: &ContextKey| CLIENT_CONTROLLED.contains(&key.folded());
    for condition in statement.conditions.iter() {
        let variables = condition.operand.variables();
        let mut keys = variables
            .iter()
            .map(|variable| &variable.key)
            .chain([&condition.key]);
        if let Some(key) = keys.find(|key| is_controlled(key)) {
            let message = format!(
                "this Allow depends on `{}`, which the client controls",
                key.folded()
            );
            report
                .warning(
                    Code::CLIENT_CONTROLLED_KEY,
                    &at.warned_condition(condition, report),
                    message,
                )
                .help("base it on the principal or on its network");
        }
    }
    let Some(Listed::Any(resources)) = &statement.resources else {
        return;
    };
    for (index, resource) in resources.iter().enumerate() {
        let mut variables = resource.variables();
        if let Some(variable) = variables.find(|variable| is_controlled(&variable.key)) {
            let message = format!(
                "this Allow covers any resource that the client names in `{}`",
                variable.key.folded()
            );
            report
                .warning(
                    Code::CLIENT_CONTROLLED_KEY,
                    &at.entry("Resource", index),
                    message,
                )
                .help("base the resource on a key that the client does not control");
        }
    }
}

/// Warns of a Deny of list actions on all ARNs of a service (M-11). It does not cover the resource `*`, which list
/// requests name.
fn deny_list_style(statement: &Statement, at: &Place<'_, '_>, report: &mut Report<'_>) {
    let (Effect::Deny, Listed::Any(actions), Some(Listed::Any(resources))) =
        (statement.effect, &statement.actions, &statement.resources)
    else {
        return;
    };
    if resources.iter().any(ResourcePattern::is_everything) {
        return;
    }
    let Some(whole) = resources.iter().position(covers_whole_service) else {
        return;
    };
    let Some(list) = actions.iter().find(|action| is_list_action(action)) else {
        return;
    };
    let message = format!(
        "`{}` is usually requested on the resource `*`, which no ARN pattern covers: this Deny does not stop it",
        list.as_str()
    );
    report
        .warning(Code::DENY_LIST_STYLE, &at.entry("Resource", whole), message)
        .help("add `\"*\"` to `Resource`");
}

/// Warns of an Allow of list actions on ARNs (M-11). It does not cover the resource `*`, which list requests name. Many
/// list actions list the contents of a resource and name its ARN. The lint leaves out every action that may be of that
/// kind.
fn allow_list_style(statement: &Statement, at: &Place<'_, '_>, report: &mut Report<'_>) {
    let (Effect::Allow, Listed::Any(actions), Some(Listed::Any(resources))) =
        (statement.effect, &statement.actions, &statement.resources)
    else {
        return;
    };
    if resources.iter().any(ResourcePattern::is_everything) {
        return;
    }
    // An Allow may have many actions and many resources, so each pair must not be compared.
    let whole = resources.iter().position(covers_whole_service);
    let mut named = HashMap::new();
    for (index, pattern) in resources.iter().enumerate() {
        for things in names_of_lists(pattern).into_iter().flatten() {
            named.entry(things).or_insert(index);
        }
    }
    let lists_what = |action: &ActionPattern| {
        let folded = action.as_str().to_ascii_lowercase();
        if lists_all(&folded) {
            return (!resources.is_empty()).then_some(0);
        }
        let (_, things) = folded.split_once(":list")?;
        let named = named.get(things).copied();
        whole.into_iter().chain(named).min()
    };
    let found = actions
        .iter()
        .filter(|action| is_list_action(action))
        .find_map(|action| Some((action, lists_what(action)?)));
    let Some((list, index)) = found else { return };
    let message = format!(
        "`{}` is usually requested on the resource `*`, which no ARN pattern covers: this Allow does not grant it",
        list.as_str()
    );
    report
        .warning(
            Code::ALLOW_LIST_STYLE,
            &at.entry("Resource", index),
            message,
        )
        .help("allow it in a statement of its own with `\"Resource\": \"*\"`");
}

/// Returns whether the action lists everything: `orders:list`, `orders:list*`, `s3:listallmybuckets`.
fn lists_all(folded: &str) -> bool {
    let name = folded.split_once(":list").map_or("", |(_, name)| name);
    let is_everything = matches!(name, "" | "*") && folded != "s3:list*";
    is_everything || name.starts_with("all")
}

/// Returns the names after `List` in an action that lists what the ARN itself names: `orders` for `order/*`.
fn names_of_lists(pattern: &ResourcePattern) -> Option<[String; 3]> {
    let resource = pattern.as_str().splitn(6, ':').nth(5)?;
    let end =
        resource.find(|character: char| !character.is_ascii_alphanumeric() && character != '-');
    let thing = resource.get(..end.unwrap_or(resource.len()))?;
    let thing = thing.replace('-', "").to_ascii_lowercase();
    let stem = thing.strip_suffix('y').unwrap_or(&thing);
    let plural = [
        format!("{thing}s"),
        format!("{thing}es"),
        format!("{stem}ies"),
    ];
    (!thing.is_empty()).then_some(plural)
}

/// Returns whether the pattern covers everything that has an ARN: `arn:app:orders:::*`, `arn:app:orders:*`.
fn covers_whole_service(pattern: &ResourcePattern) -> bool {
    if !pattern.ends_in_wildcard() {
        return false;
    }
    let fields = pattern.fields();
    // The fields after partition and service.
    let behind = fields.get(2..).unwrap_or_default();
    let is_open = |field: &Template| field.literal() == Some("") || field.is_everything();
    behind.iter().all(is_open) && behind.last().is_some_and(Template::is_everything)
}

fn is_list_action(action: &ActionPattern) -> bool {
    let folded = action.as_str().to_ascii_lowercase();
    let Some((service, name)) = folded.split_once(':') else {
        return false;
    };
    // S3 lists the contents of a bucket, so these actions name the bucket's ARN.
    let is_inside = service == "s3" && (name.starts_with("listbucket") || name.ends_with("parts"));
    name.starts_with("list") && !is_inside
}

/// Warns of uses of `NotPrincipal` that do not do what they seem to do (P-8, P-10).
fn not_principal(principal: &PrincipalElement, at: &Place<'_, '_>, report: &mut Report<'_>) {
    if !principal.negated {
        return;
    }
    let place = at.element("NotPrincipal");
    let everyone = |entry: &PrincipalEntry| {
        matches!(entry, PrincipalEntry::Everyone | PrincipalEntry::EveryAws)
    };
    if principal.entries.iter().any(everyone) {
        report
            .warning(
                Code::NOTPRINCIPAL_EVERYONE,
                &place,
                "`NotPrincipal` with `*` exempts everyone: the Deny never applies",
            )
            .help("name the principals to exempt");
        return;
    }
    let chains = Chains::of(&principal.entries);
    for entry in &principal.entries {
        let PrincipalEntry::Entity(arn) = entry else {
            continue;
        };
        if let Some(missing) = chains.missing_for(arn) {
            let message = format!("`{arn}` is not exempt unless {missing} is listed too");
            report
                .warning(Code::NOTPRINCIPAL_INCOMPLETE, &place, message)
                .help("list the whole chain: the session, its role, and the account");
        }
    }
}

/// The accounts and roles of a `NotPrincipal`, with which its other entries are compared.
struct Chains<'e> {
    /// The accounts, with the partition if one is written.
    accounts: HashSet<(Option<&'e str>, &'e str)>,
    /// The roles, by account and name.
    roles: HashSet<(&'e str, &'e str)>,
}

impl<'e> Chains<'e> {
    fn of(entries: &'e [PrincipalEntry]) -> Self {
        let (mut accounts, mut roles) = (HashSet::new(), HashSet::new());
        for entry in entries {
            match entry {
                PrincipalEntry::Account { account, partition } => {
                    accounts.insert((partition.as_deref(), account.as_str()));
                }
                // An account that the store declares (G-24).
                PrincipalEntry::Id(id) => {
                    accounts.insert((None, id));
                }
                PrincipalEntry::Entity(arn) if arn.resource().starts_with("role/") => {
                    let name = arn.resource().rsplit('/').next();
                    roles.extend(name.map(|name| (arn.account(), name)));
                }
                _ => {}
            }
        }
        Self { accounts, roles }
    }

    /// Returns which entry is missing to exempt `arn`: its account, or a session's role.
    fn missing_for(&self, arn: &Arn) -> Option<String> {
        let account = arn.account();
        let partitions = [None, Some(arn.partition())];
        let has = |partition| self.accounts.contains(&(partition, account));
        if !partitions.into_iter().any(has) {
            return Some(format!("account `{account}`"));
        }
        let Ok(Principal::AssumedRole { role, .. }) = Principal::parse(arn.as_str()) else {
            return None;
        };
        let lists_role = self.roles.contains(&(account, role));
        (!lists_role).then(|| format!("its role `{role}`"))
    }
}

/// Warns of actions that a trust policy never decides (T-6).
fn useless_actions(statement: &Statement, at: &Place<'_, '_>, report: &mut Report<'_>) {
    let Listed::Any(actions) = &statement.actions else {
        return;
    };
    for (index, action) in actions.iter().enumerate() {
        if !TRUST_ACTIONS.iter().any(|useful| covers(action, useful)) {
            let message = format!("a trust policy never decides `{}`", action.as_str());
            report
                .warning(
                    Code::USELESS_TRUST_ACTION,
                    &at.entry("Action", index),
                    message,
                )
                .help("a trust policy decides `sts:AssumeRole*`, `sts:TagSession`, `sts:SetSourceIdentity` and `sts:SetContext`");
        }
    }
}

fn covers(pattern: &ActionPattern, action: &str) -> bool {
    Action::parse(action).is_ok_and(|action| pattern.matches(&action))
}

#[cfg(test)]
mod tests;
