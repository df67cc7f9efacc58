//! Reads the members of one JSON object by name. An unknown member is an error with a suggestion.

use crate::language::finding::{Code, did_you_mean};
use crate::language::json::{Member, Node, Value};
use crate::language::report::Report;

/// A member's text, if it has one, with its node.
pub type Given<'n, 't> = Option<(&'n str, &'n Node<'t>)>;

/// The members of an object whose names have been checked.
#[derive(Clone, Copy)]
pub struct Members<'n, 't> {
    /// The object.
    pub node: &'n Node<'t>,
    members: &'n [Member<'t>],
}

impl<'n, 't> Members<'n, 't> {
    /// Takes `node` as `what`, an object that may have the members `read`, and also `unread`, which are not checked.
    pub fn of(
        node: &'n Node<'t>,
        what: &str,
        read: &[&str],
        unread: &[&str],
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let Value::Object(members) = &node.value else {
            report
                .error(
                    Code::WRONG_TYPE,
                    &node.span,
                    format!("{what} must be an object, not {}", node.kind()),
                )
                .help("write its members between `{` and `}`");
            return None;
        };
        for member in repeated(members) {
            let message = format!("member `{}` appears twice in {what}", member.name);
            report
                .error(Code::DUPLICATE_MEMBER, &member.name_span, message)
                .help("keep one of them");
        }
        for member in members {
            let name = member.name.as_ref();
            if unread.contains(&name) {
                no_member_twice(&member.value, report);
            } else if !read.contains(&name) {
                let guess = did_you_mean(name, read.iter().chain(unread).copied());
                report
                    .error(
                        Code::UNKNOWN_MEMBER,
                        &member.name_span,
                        format!("unknown member `{name}` of {what}"),
                    )
                    .maybe_help(guess);
            }
        }
        Some(Self { node, members })
    }

    /// Returns the value of `name`.
    pub fn get(&self, name: &str) -> Option<&'n Node<'t>> {
        self.members
            .iter()
            .find(|member| member.name == name)
            .map(|member| &member.value)
    }

    /// Returns the value of `name`, which must be there.
    pub fn required(
        &self,
        name: &str,
        what: &str,
        report: &mut Report<'_>,
    ) -> Option<&'n Node<'t>> {
        let value = self.get(name);
        if value.is_none() {
            report.error(
                Code::MISSING_MEMBER,
                &self.node.span,
                format!("{what} needs the member `{name}`"),
            );
        }
        value
    }

    /// Returns the string at `name`, with its node.
    pub fn text(&self, name: &str, report: &mut Report<'_>) -> Given<'n, 't> {
        let node = self.get(name)?;
        Some((string(node, name, report)?, node))
    }

    /// Returns the string at `name`, which must be there.
    pub fn required_text(&self, name: &str, what: &str, report: &mut Report<'_>) -> Given<'n, 't> {
        let node = self.required(name, what, report)?;
        Some((string(node, name, report)?, node))
    }

    /// Returns the Boolean at `name`, or `false` if it is absent.
    pub fn flag(&self, name: &str, report: &mut Report<'_>) -> bool {
        match self.get(name) {
            None => false,
            Some(Node {
                value: Value::Bool(flag),
                ..
            }) => *flag,
            Some(node) => {
                let message = format!("`{name}` must be true or false, not {}", node.kind());
                report
                    .error(Code::WRONG_TYPE, &node.span, message)
                    .help("write `true` or `false` without quotes");
                false
            }
        }
    }

    /// Returns the elements of the list at `name`, or no elements if it is absent.
    pub fn list(&self, name: &str, report: &mut Report<'_>) -> &'n [Node<'t>] {
        match self.get(name) {
            None => &[],
            Some(Node {
                value: Value::Array(elements),
                ..
            }) => elements,
            Some(node) => {
                let message = format!("`{name}` must be a list, not {}", node.kind());
                report
                    .error(Code::WRONG_TYPE, &node.span, message)
                    .help("write the elements between `[` and `]`");
                &[]
            }
        }
    }
}

/// Returns the text of `node`, which is the member `name` or an element of it.
pub fn string<'n>(node: &'n Node<'_>, name: &str, report: &mut Report<'_>) -> Option<&'n str> {
    let text = node.as_str();
    match text {
        None => {
            report
                .error(
                    Code::WRONG_TYPE,
                    &node.span,
                    format!("`{name}` must be a string, not {}", node.kind()),
                )
                .help("write one text in quotes");
        }
        Some(text) if text.contains('\0') => {
            report
                .error(
                    Code::NUL_CHARACTER,
                    &node.span,
                    format!("`{name}` contains the character U+0000"),
                )
                .help("remove the character");
            return None;
        }
        Some(_) => {}
    }
    text
}

/// Reports every repeated name anywhere below `node`, for a value that is not read otherwise.
pub fn no_member_twice(node: &Node<'_>, report: &mut Report<'_>) {
    match &node.value {
        Value::Array(elements) => elements
            .iter()
            .for_each(|element| no_member_twice(element, report)),
        Value::Object(members) => {
            for member in repeated(members) {
                let message = format!("member `{}` appears twice", member.name);
                report
                    .error(Code::DUPLICATE_MEMBER, &member.name_span, message)
                    .help("keep one of them");
            }
            members
                .iter()
                .for_each(|member| no_member_twice(&member.value, report));
        }
        _ => {}
    }
}

/// Returns each member whose name already occurred.
fn repeated<'n, 't>(members: &'n [Member<'t>]) -> Vec<&'n Member<'t>> {
    let mut seen = std::collections::BTreeSet::new();
    members
        .iter()
        .filter(|member| !seen.insert(member.name.as_ref()))
        .collect()
}
