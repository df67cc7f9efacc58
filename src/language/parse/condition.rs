//! Parses `Condition` blocks by G-18 to G-22, G-33, G-34 and the V rules for condition values.

use std::borrow::Cow;
use std::collections::HashMap;

use super::list;
use crate::context::ContextKey;
use crate::language::condition::global::{GLOBAL_KEYS, is_global};
use crate::language::condition::{
    Arns, Base, Condition, Networks, Operand, Operator, Relation, Texts,
};
use crate::language::document::Version;
use crate::language::finding::{Code, did_you_mean};
use crate::language::json::{Member, Node, Value};
use crate::language::operand::{Instant, Number, parse_bool, parse_bytes, parse_network};
use crate::language::pattern::{ArnPattern, Syntax, Template};
use crate::language::report::Report;

/// Parses the block at `node`. Returns `None` after an error.
pub(super) fn parse(
    node: &Node<'_>,
    version: Version,
    report: &mut Report<'_>,
) -> Option<Vec<Condition>> {
    let Value::Object(operators) = &node.value else {
        let message = format!("`Condition` must be an object, not {}", node.kind());
        report
            .error(Code::WRONG_TYPE, &node.span, message)
            .help(r#"write it as `{"StringEquals": {"aws:PrincipalTag/team": "eng"}}`, with your conditions"#);
        return None;
    };
    if operators.is_empty() {
        report
            .warning(
                Code::EMPTY_CONDITION,
                &node.span,
                "an empty `Condition` has no effect",
            )
            .help("remove it");
    }
    check_repeated(operators, "operator", report);
    let n_errors = report.n_errors();
    let mut conditions = Vec::new();
    for member in operators {
        let Some(operator) = operator(member, report) else {
            continue;
        };
        let Value::Object(keys) = &member.value.value else {
            let message = format!(
                "`{}` must hold an object of condition keys, not {}",
                member.name,
                member.value.kind()
            );
            report
                .error(Code::WRONG_TYPE, &member.value.span, message)
                .help(r#"write it as `{"aws:PrincipalTag/team": "eng"}`, with your keys"#);
            continue;
        };
        if keys.is_empty() {
            let message = format!("`{}` compares nothing", member.name);
            report
                .error(Code::EMPTY_LIST, &member.value.span, message)
                .help("add a condition key, or remove the operator");
        }
        check_repeated(keys, "condition key", report);
        conditions.extend(
            keys.iter()
                .filter_map(|key| condition(operator, key, version, report)),
        );
    }
    (report.n_errors() == n_errors).then_some(conditions)
}

/// Reports names that are equal ignoring case (G-21). Equal spellings are `duplicate-member` already.
fn check_repeated(members: &[Member<'_>], what: &str, report: &mut Report<'_>) {
    // The names are grouped by their folded form. Comparing all pairs takes minutes for the keys that fit into one
    // document.
    let mut spellings: HashMap<String, Vec<&str>> = HashMap::new();
    for member in members {
        let name = &*member.name;
        let earlier = spellings.entry(name.to_ascii_lowercase()).or_default();
        let other = earlier.iter().find(|spelled| **spelled != name).copied();
        if earlier.len() < 2 && !earlier.contains(&name) {
            earlier.push(name); // with two different spellings kept, one differs from any name
        }
        if let Some(earlier) = other {
            let message = format!("{what} `{name}` is `{earlier}` again, in another case");
            report
                .error(Code::DUPLICATE_CONDITION, &member.name_span, message)
                .help("merge the values");
        }
    }
}

/// Reads the name of a condition operator (G-20).
fn operator(member: &Member<'_>, report: &mut Report<'_>) -> Option<Operator> {
    let Some(operator) = Operator::parse(&member.name) else {
        let plain = member
            .name
            .split_once(':')
            .map_or(&*member.name, |(_, rest)| rest);
        let plain = plain.strip_suffix("IfExists").unwrap_or(plain);
        let help = || match plain {
            "Null" => Some("`Null` takes neither a set qualifier nor `IfExists`".to_owned()),
            _ => did_you_mean(plain, Base::ALL.iter().map(|(_, name)| *name)),
        };
        let message = format!("unknown condition operator `{}`", member.name);
        report
            .error(Code::UNKNOWN_OPERATOR, &member.name_span, message)
            .guess(help);
        return None;
    };
    let canonical = operator.name();
    if canonical != member.name {
        let message = format!(
            "condition operator `{}` is spelled `{canonical}`",
            member.name
        );
        report.warning(Code::NON_CANONICAL_CASE, &member.name_span, message);
    }
    Some(operator)
}

fn condition(
    operator: Operator,
    member: &Member<'_>,
    version: Version,
    report: &mut Report<'_>,
) -> Option<Condition> {
    let is_key = check_key(member, report);
    let reader = Reader {
        operator,
        variables: version == Version::V2012,
    };
    let operand = reader.operand(member, report)?;
    let spelled: Box<str> = (&*member.name).into();
    is_key.then(|| Condition {
        operator,
        key: ContextKey::new(&member.name),
        spelled,
        operand,
    })
}

/// Checks the name of a condition key (G-22, V-4).
fn check_key(member: &Member<'_>, report: &mut Report<'_>) -> bool {
    let name = &*member.name;
    let folded = name.to_ascii_lowercase();
    let is_family = |family: &str| {
        folded
            .split_once('/')
            .is_some_and(|(prefix, tag)| tag.is_empty() && prefix.ends_with(family))
    };
    if name.contains("${") {
        let message = format!("condition key `{name}` must not contain a policy variable");
        report.error(Code::MISPLACED_VARIABLE, &member.name_span, message); // V-4
        return false;
    }
    let problem = if name.contains(['*', '?']) {
        Some("must not contain a wildcard")
    } else if !name
        .split_once(':')
        .is_some_and(|(prefix, rest)| !prefix.is_empty() && !rest.is_empty())
    {
        Some("must be of the form `prefix:name`")
    } else if ["aws:principaltag", ":requesttag", ":resourcetag"]
        .into_iter()
        .any(is_family)
        || ["aws:principaltag", "aws:requesttag", "aws:resourcetag"].contains(&&*folded)
    {
        Some("needs a tag key after `/`")
    } else {
        None
    };
    if let Some(problem) = problem {
        report.error(
            Code::INVALID_CONDITION_KEY,
            &member.name_span,
            format!("condition key `{name}` {problem}"),
        );
        return false;
    }
    let is_tag = ["aws:principaltag/", "aws:requesttag/", "aws:resourcetag/"]
        .iter()
        .any(|family| folded.starts_with(family));
    if folded.starts_with("aws:") && !is_tag && !is_global(&folded) {
        report
            .warning(
                Code::UNKNOWN_GLOBAL_KEY,
                &member.name_span,
                format!("AWS has no global condition key `{name}`"),
            )
            .guess(|| did_you_mean(&folded, GLOBAL_KEYS.iter().copied()));
    }
    true
}

/// Reads the values of one key as its operator's type.
struct Reader {
    operator: Operator,
    variables: bool,
}

impl Reader {
    fn operand(&self, member: &Member<'_>, report: &mut Report<'_>) -> Option<Operand> {
        use Base as B;
        use Relation as R;
        let base = self.operator.base;
        Some(match base {
            B::StringEquals | B::StringNotEquals => {
                Operand::StringEquals(Texts::exact(self.templates(member, report)?))
            }
            B::StringEqualsIgnoreCase | B::StringNotEqualsIgnoreCase => {
                Operand::StringEqualsIgnoreCase(Texts::ignoring_case(
                    self.templates(member, report)?,
                ))
            }
            B::StringLike | B::StringNotLike => {
                Operand::StringLike(Texts::exact(self.templates(member, report)?))
            }
            B::NumericEquals | B::NumericNotEquals => {
                Operand::Numeric(R::Equals, self.numbers(member, report)?)
            }
            B::NumericLessThan => Operand::Numeric(R::LessThan, self.numbers(member, report)?),
            B::NumericLessThanEquals => {
                Operand::Numeric(R::LessThanEquals, self.numbers(member, report)?)
            }
            B::NumericGreaterThan => {
                Operand::Numeric(R::GreaterThan, self.numbers(member, report)?)
            }
            B::NumericGreaterThanEquals => {
                Operand::Numeric(R::GreaterThanEquals, self.numbers(member, report)?)
            }
            B::DateEquals | B::DateNotEquals => {
                Operand::Date(R::Equals, self.instants(member, report)?)
            }
            B::DateLessThan => Operand::Date(R::LessThan, self.instants(member, report)?),
            B::DateLessThanEquals => {
                Operand::Date(R::LessThanEquals, self.instants(member, report)?)
            }
            B::DateGreaterThan => Operand::Date(R::GreaterThan, self.instants(member, report)?),
            B::DateGreaterThanEquals => {
                Operand::Date(R::GreaterThanEquals, self.instants(member, report)?)
            }
            B::Bool => Operand::Bool(self.bool(member, report)?),
            B::Null => Operand::Null(self.bool(member, report)?),
            B::BinaryEquals => Operand::Binary(self.values(
                member,
                report,
                "standard base64 with padding",
                |text| parse_bytes(text).map(|bytes| bytes.as_slice().into()),
            )?),
            B::IpAddress | B::NotIpAddress => Operand::IpAddress(Networks::new(self.values(
                member,
                report,
                "an IP address or a CIDR range",
                parse_network,
            )?)),
            B::ArnEquals | B::ArnNotEquals | B::ArnLike | B::ArnNotLike => {
                Operand::Arn(Arns::new(self.arns(member, report)?))
            }
        })
    }

    /// Returns the text of a string, a number by its source text, or a Boolean (G-18).
    fn text<'n>(&self, node: &'n Node<'_>, report: &mut Report<'_>) -> Option<Cow<'n, str>> {
        match &node.value {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(source) => Some(Cow::Borrowed(source)),
            Value::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                let message = format!(
                    "a condition value must be a string, a number or a Boolean, or a flat list of them, not {}",
                    node.kind()
                );
                report
                    .error(Code::WRONG_TYPE, &node.span, message)
                    .help("write one value, or a list of values between `[` and `]`");
                None
            }
        }
    }

    fn templates(&self, member: &Member<'_>, report: &mut Report<'_>) -> Option<Box<[Template]>> {
        let syntax = Syntax {
            wildcards: self.operator.base.takes_wildcards(),
            variables: self.variables,
        };
        list(member, report, |node, report| {
            let text = self.text(node, report)?;
            self.lint_version(&text, node, report);
            match Template::parse(&text, syntax) {
                Ok(template) => Some(template),
                Err(malformed) => {
                    report
                        .error(Code::INVALID_VARIABLE, &node.span, malformed.to_string())
                        .help(VARIABLE_HELP);
                    None
                }
            }
        })
    }

    fn arns(&self, member: &Member<'_>, report: &mut Report<'_>) -> Option<Box<[ArnPattern]>> {
        let syntax = Syntax {
            wildcards: true,
            variables: self.variables,
        };
        list(member, report, |node, report| {
            let text = self.text(node, report)?;
            self.lint_version(&text, node, report);
            if let Err(malformed) = Template::parse(&text, syntax) {
                report
                    .error(Code::INVALID_VARIABLE, &node.span, malformed.to_string())
                    .help(VARIABLE_HELP);
                return None;
            }
            match ArnPattern::parse(&text, syntax) {
                Ok(pattern) => Some(pattern),
                Err(malformed) => {
                    let message = format!("`{}`: {malformed}", self.operator.name());
                    report
                        .error(Code::INVALID_CONDITION_VALUE, &node.span, message)
                        .help("fields may be empty or `*`; use `StringLike` for other texts");
                    None
                }
            }
        })
    }

    fn numbers(&self, member: &Member<'_>, report: &mut Report<'_>) -> Option<Box<[Number]>> {
        let read = |text: &str| Number::parse(text).map(|number| number.to_owned());
        self.values(
            member,
            report,
            "a decimal number of at most 38 digits, without an exponent",
            read,
        )
    }

    fn instants(&self, member: &Member<'_>, report: &mut Report<'_>) -> Option<Box<[Instant]>> {
        let what = "a date such as `2024-06-01T00:00:00Z` or epoch seconds (four digits alone could be either)";
        self.values(member, report, what, Instant::parse)
    }

    /// Reads exactly one Boolean (G-34).
    fn bool(&self, member: &Member<'_>, report: &mut Report<'_>) -> Option<bool> {
        match *self.values(member, report, "`true` or `false`", parse_bool)? {
            [value] => Some(value),
            _ => {
                let message = format!(
                    "`{}` of `{}` takes one Boolean, not several",
                    member.name,
                    self.operator.name()
                );
                report
                    .error(Code::MULTIPLE_BOOLEANS, &member.value.span, message)
                    .help("keep one of them");
                None
            }
        }
    }

    /// Reads values that contain no variables (V-2) and must be readable (G-33).
    fn values<T>(
        &self,
        member: &Member<'_>,
        report: &mut Report<'_>,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Box<[T]>> {
        list(member, report, |node, report| {
            let text = self.text(node, report)?;
            let operator = self.operator.name();
            if self.variables && text.contains("${") {
                let message = format!("`{operator}` takes no policy variables");
                report
                    .error(Code::MISPLACED_VARIABLE, &node.span, message)
                    .help("only `String…` and `Arn…` operators do");
                return None;
            }
            let value = read(&text);
            if value.is_none() {
                let message = format!("`{text}` is not a value for `{operator}`");
                report
                    .error(Code::INVALID_CONDITION_VALUE, &node.span, message)
                    .help(format!("it must be {what}"));
            }
            value
        })
    }

    /// Warns of `${` in a document whose version has no variables (V-1).
    fn lint_version(&self, text: &str, node: &Node<'_>, report: &mut Report<'_>) {
        if !self.variables && text.contains("${") {
            report
                .warning(
                    Code::VARIABLE_WITHOUT_VERSION,
                    &node.span,
                    "`${` has no meaning before version 2012-10-17",
                )
                .help("add `\"Version\": \"2012-10-17\"`");
        }
    }
}

const VARIABLE_HELP: &str = "write `${key}` or `${key, 'default'}`; `${$}`, `${*}` and `${?}` are the characters themselves";
