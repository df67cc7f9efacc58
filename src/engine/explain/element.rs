//! Shows the elements of a statement as text, next to the values in the question.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Cause, ConditionResult, Element, ElementResult, PolicyValue, REDACTED, Redacted};
use crate::context::{ContextKey, KeyKind};
use crate::engine::facts::Facts;
use crate::language::condition::operator::{Truth, Values};
use crate::language::condition::{Condition, Operand, Qualifier};
use crate::language::document::{Effect, Listed, PrincipalEntry, Statement};
use crate::language::operand::arn_fields;
use crate::language::pattern::{Atom, Substitute, Template, Variables};

/// The values of variables, with hidden ones replaced.
struct Shown<'a, 'q> {
    facts: &'a Facts<'q>,
    redacted: &'a Redacted,
}

impl Variables for Shown<'_, '_> {
    fn substitute(&self, key: &ContextKey) -> Substitute<'_> {
        match self.facts.substitute(key) {
            Substitute::Value(_) if self.redacted.hides(key) => Substitute::Value(REDACTED.into()),
            other => other,
        }
    }
}

/// The longest text in an explanation, in bytes. The rest is cut off.
const MAX_TEXT_BYTES: usize = 1_024;
/// The most values of one key in an explanation.
const MAX_VALUES: usize = 64;

/// The mark at the end of a text that was cut off.
const CUT: &str = "…";

/// Returns `text`, cut off if it is too long to be shown.
pub(super) fn clipped(text: &str) -> String {
    let mut out = String::new();
    push_clipped(&mut out, text);
    out
}

/// Appends as much of `text` as fits. Returns whether all of it did.
fn push_clipped(out: &mut String, text: &str) -> bool {
    let n_left = MAX_TEXT_BYTES.saturating_sub(out.len());
    if text.len() <= n_left {
        out.push_str(text);
        return true;
    }
    let mut ends = (0..=n_left).rev();
    let kept = ends.find_map(|end| text.get(..end)); // between two characters
    out.push_str(kept.unwrap_or_default());
    out.push_str(CUT);
    false
}

impl ElementResult {
    /// Returns the approximate number of bytes in the texts.
    pub(super) fn n_bytes(&self) -> usize {
        let values = self.policy_values.iter().map(PolicyValue::n_bytes);
        values.sum::<usize>() + self.request_value.len()
    }

    /// Returns an element that shows no values.
    pub(super) fn empty(element: Element, matches: bool) -> Self {
        Self {
            element,
            matches,
            policy_values: Vec::new(),
            request_value: String::new(),
            matched_because_missing: false,
            failed_because_missing: false,
        }
    }
}

impl ConditionResult {
    /// Returns the approximate number of bytes in the texts.
    pub(super) fn n_bytes(&self) -> usize {
        let values = self.policy_values.iter().map(PolicyValue::n_bytes);
        let of_request = self.request_values.iter().map(|value| value.len() + 24);
        values.sum::<usize>() + of_request.sum::<usize>() + self.key.len()
    }
}

impl PolicyValue {
    fn n_bytes(&self) -> usize {
        let resolved = self.resolved.as_ref().map_or(0, String::len);
        let missing = self.missing.iter().map(|key| key.len() + 24);
        self.written.len() + resolved + missing.sum::<usize>() + size_of::<Self>()
    }
}

pub(super) fn action(statement: &Statement, action: &str, matches: bool) -> ElementResult {
    let element = match &statement.actions {
        Listed::Any(_) => Element::Action,
        Listed::Not(_) => Element::NotAction,
    };
    let patterns = statement.actions.entries().iter();
    ElementResult {
        element,
        matches,
        policy_values: patterns.map(|pattern| written(pattern.as_str())).collect(),
        request_value: clipped(action),
        matched_because_missing: false,
        failed_because_missing: false,
    }
}

pub(super) fn principal(
    statement: &Statement,
    facts: &Facts<'_>,
    matches: bool,
) -> Option<ElementResult> {
    let element = statement.principal.as_ref()?;
    Some(ElementResult {
        element: if element.negated {
            Element::NotPrincipal
        } else {
            Element::Principal
        },
        matches,
        policy_values: element
            .entries
            .iter()
            .map(|entry| written(&entry_text(entry)))
            .collect(),
        request_value: clipped(&facts.request.principal.to_string()),
        matched_because_missing: false,
        failed_because_missing: false,
    })
}

fn entry_text(entry: &PrincipalEntry) -> String {
    use PrincipalEntry as E;
    match entry {
        E::Everyone => "*".to_owned(),
        E::EveryAws => "AWS: *".to_owned(),
        E::Account {
            account,
            partition: None,
        } => format!("AWS: {account}"),
        E::Account {
            account,
            partition: Some(partition),
        } => format!("AWS: arn:{partition}:iam::{account}:root"),
        E::Entity(arn) => format!("AWS: {arn}"),
        E::Id(id) => format!("AWS: {id}"),
        E::Service(name) => format!("Service: {name}"),
        E::Federated(provider) => format!("Federated: {provider}"),
        E::CanonicalUser(id) => format!("CanonicalUser: {id}"),
    }
}

pub(super) fn resource(
    statement: &Statement,
    facts: &Facts<'_>,
    matches: bool,
    redacted: &Redacted,
) -> Option<ElementResult> {
    let listed = statement.resources.as_ref()?;
    let policy_values: Vec<PolicyValue> = listed
        .entries()
        .iter()
        .map(|pattern| {
            let fields = pattern.fields();
            let fields: Vec<&Template> = fields.iter().collect();
            with_variables(pattern.as_str(), "arn:", &fields, facts, redacted)
        })
        .collect();
    let lacks = policy_values.iter().any(|value| !value.missing.is_empty());
    let (element, may_widen) = match (listed, statement.effect) {
        (Listed::Any(_), _) => (Element::Resource, false),
        (Listed::Not(_), Effect::Allow) => (Element::NotResource, false),
        (Listed::Not(_), Effect::Deny) => (Element::NotResource, true), // V-9
    };
    Some(ElementResult {
        element,
        matches,
        request_value: clipped(facts.request.resource.as_str()),
        matched_because_missing: matches && lacks && may_widen,
        failed_because_missing: !matches && lacks,
        policy_values,
    })
}

pub(super) fn condition(
    condition: &Condition,
    facts: &Facts<'_>,
    values: &Values<'_>,
    holds: Truth,
    redacted: &Redacted,
) -> ConditionResult {
    let operator = condition.operator;
    let request_values: Vec<&str> = match values {
        Values::Absent | Values::Unknown | Values::Uncertain => Vec::new(),
        Values::One(value) => vec![value],
        Values::Many(values) => values.iter().map(|value| &**value).collect(),
    };
    // C-8: under a qualifier, a list of empty strings counts as no value.
    let is_missing = *values == Values::Absent
        || (operator.qualifier.is_some()
            && !matches!(values, Values::Unknown | Values::Uncertain)
            && request_values.iter().all(|value| value.is_empty()));
    let is_hidden = redacted.hides(&condition.key);
    let policy_values = operand(&condition.operand, facts, redacted);
    let lacks = policy_values.iter().any(|value| !value.missing.is_empty());
    let is_negated = operator.base.is_negated();
    ConditionResult {
        operator: operator.name(),
        key: condition.spelled.to_string(),
        holds,
        matched_because_missing: holds == Truth::True && is_missing,
        failed_because_missing: holds == Truth::False && (is_missing || (lacks && !is_negated)),
        indeterminate: (holds == Truth::Indeterminate)
            .then(|| cause(condition, values, is_missing, lacks)),
        n_request_values: request_values.len(),
        request_values: shown(request_values.into_iter(), is_hidden),
        // The policy's value reveals as much as the request's value.
        policy_values: if is_hidden && !matches!(condition.operand, Operand::Null(_)) {
            policy_values.iter().map(|_| written(REDACTED)).collect()
        } else {
            policy_values
        },
    }
}

fn shown<'v>(values: impl ExactSizeIterator<Item = &'v str>, is_hidden: bool) -> Vec<String> {
    let n_more = values.len().saturating_sub(MAX_VALUES);
    let shown = values.take(MAX_VALUES);
    let mut shown: Vec<String> = shown
        .map(|value| clipped(if is_hidden { REDACTED } else { value }))
        .collect();
    if n_more > 0 {
        shown.push(format!("{CUT} and {n_more} more"));
    }
    shown
}

fn cause(condition: &Condition, values: &Values<'_>, is_missing: bool, lacks: bool) -> Cause {
    let operator = condition.operator;
    let is_readable = || match &condition.operand {
        Operand::Arn(_) => values.all().all(|value| arn_fields(value).is_some()),
        _ => true,
    };
    match values {
        Values::Unknown | Values::Uncertain if condition.key.kind() == KeyKind::TokenIssueTime => {
            Cause::UnknownIssueTime
        }
        Values::Unknown | Values::Uncertain => Cause::UnknownTag,
        _ if matches!(condition.operand, Operand::Null(_)) => Cause::EmptyString,
        _ if is_missing && operator.qualifier == Some(Qualifier::ForAnyValue) => {
            Cause::MissingUnderIfExists
        }
        Values::Many(_) if operator.qualifier.is_none() => Cause::SeveralValues,
        _ if lacks && is_readable() => Cause::VariableWithoutValue,
        _ => Cause::Unreadable,
    }
}

fn operand(operand: &Operand, facts: &Facts<'_>, redacted: &Redacted) -> Vec<PolicyValue> {
    fn canonical<T: ToString>(values: &[T]) -> Vec<PolicyValue> {
        values
            .iter()
            .map(|value| written(&value.to_string()))
            .collect()
    }
    match operand {
        Operand::StringEquals(texts)
        | Operand::StringEqualsIgnoreCase(texts)
        | Operand::StringLike(texts) => texts
            .iter()
            .map(|text| with_variables(text.as_str(), "", &[text], facts, redacted))
            .collect(),
        Operand::Arn(patterns) => patterns
            .iter()
            .map(|pattern| {
                let fields: Vec<&Template> = pattern.fields().iter().collect();
                let texts: Vec<&str> = fields.iter().map(|field| field.as_str()).collect();
                let text = if texts.is_empty() {
                    "*".to_owned()
                } else {
                    texts.join(":")
                };
                with_variables(&text, "", &fields, facts, redacted)
            })
            .collect(),
        Operand::Numeric(_, numbers) => canonical(numbers),
        Operand::Date(_, instants) => canonical(instants),
        Operand::Bool(value) | Operand::Null(value) => vec![written(&value.to_string())],
        Operand::Binary(values) => values
            .iter()
            .map(|bytes| written(&STANDARD.encode(bytes)))
            .collect(),
        Operand::IpAddress(networks) => canonical(networks),
    }
}

fn written(text: &str) -> PolicyValue {
    PolicyValue {
        written: clipped(text),
        ..PolicyValue::default()
    }
}

/// Returns the text of a policy, which is `prefix` followed by `fields` joined with colons, and the values of its
/// variables.
fn with_variables(
    text: &str,
    prefix: &str,
    fields: &[&Template],
    facts: &Facts<'_>,
    redacted: &Redacted,
) -> PolicyValue {
    let variables = || fields.iter().flat_map(|field| field.variables());
    let n_variables = variables().count();
    // Each variable is looked up twice. If the budget cannot pay for that, there will be no answer to show it in (E-1).
    if n_variables == 0 || !facts.work.spend(12 * n_variables) {
        return written(text);
    }
    let has_value = |substitute: Substitute<'_>, has_default: bool| match substitute {
        Substitute::Value(_) => true,
        Substitute::Missing => has_default,
        Substitute::Several | Substitute::Unknown => false,
    };
    let missing = variables()
        .filter(|variable| !has_value(facts.substitute(&variable.key), variable.default.is_some()))
        .map(|variable| variable.key.folded().to_owned())
        .collect();
    let shown = Shown { facts, redacted };
    PolicyValue {
        written: clipped(text),
        resolved: resolved(prefix, fields, &shown),
        missing,
    }
}

/// Returns `fields` joined with colons and with the values of their variables, or `None` if a variable has no value. A
/// value may be long, and the policy may use it several times.
fn resolved(prefix: &str, fields: &[&Template], shown: &Shown<'_, '_>) -> Option<String> {
    let mut text = prefix.to_owned();
    let mut is_complete = true;
    for (index, field) in fields.iter().enumerate() {
        let atoms = field.resolve(shown)?;
        if index > 0 {
            is_complete = is_complete && push_clipped(&mut text, ":");
        }
        for atom in &atoms {
            is_complete = is_complete && push_clipped(&mut text, atom_text(atom));
        }
    }
    Some(text)
}

fn atom_text<'a>(atom: &'a Atom<'_>) -> &'a str {
    match atom {
        Atom::Text(text) => text,
        Atom::AnyOne => "?",
        Atom::AnyRun => "*",
    }
}
