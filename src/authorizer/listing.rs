//! Lists: what a principal may do, who may do something, and which context keys count. Page by page, each of one revision.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use super::{IsWanted, Question, Redacted};
use crate::analysis::area::Area;
use crate::analysis::context_keys::{self, ContextKeyUse};
use crate::analysis::permission::Permission;
use crate::analysis::permissions::{Narrowing, permissions};
use crate::analysis::principals::{Bounds, principals};
use crate::compile::snapshot::Snapshot;
use crate::config::{MAX_LIST_BYTES, MAX_LISTED};
use crate::engine::error::RequestError;
use crate::engine::work::Work;
use crate::language::pattern::{ActionPattern, ResourcePattern, Syntax};
use crate::name::{AccountId, hash_of};

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paging<'b> {
    /// The most items to return; 0 means as many as a page may have.
    pub page_size: i32,
    /// The token of the last page; empty for the first.
    pub page_token: &'b str,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// The token of the next page; empty on the last.
    pub next_page_token: String,
    /// The revision of the store that was read.
    pub revision: String,
}

/// A user or a role that may do what was asked, in plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its ARN.
    pub principal: String,
    /// Whether it hangs on anything that the request does not say.
    pub is_conditional: bool,
    /// What it hangs on.
    pub permissions: Vec<Permission>,
}

/// The store, the limits and the time of a list.
pub(super) struct Lister<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) redacted: &'s Redacted,
    pub(super) at: Timestamp,
    pub(super) is_wanted: &'s IsWanted,
}

impl Lister<'_> {
    /// Lists what the principal of `question` may do. Its action and its resource are patterns that narrow the list, or
    /// empty.
    pub(super) fn permissions(
        &self,
        question: &Question<'_>,
        paging: Paging<'_>,
    ) -> Result<Listed<Permission>, RequestError> {
        let start = self.start(question, paging)?;
        check_account(question)?;
        let skipped = start
            .position
            .map_or(Ok(0), |position| position.parse().map_err(|_| unreadable()))?;
        let narrowing = narrowing(question)?;
        let all = permissions(
            self.snapshot,
            question,
            &narrowing,
            self.redacted,
            self.at,
            &self.work(),
        )?;
        let mut n_bytes = 0;
        let shown = all.iter().skip(skipped).take(start.most);
        let shown = shown.take_while(|area| {
            n_bytes += area.n_bytes();
            n_bytes <= MAX_LIST_BYTES || n_bytes == area.n_bytes()
        });
        let items: Vec<Permission> = shown
            .map(|area| Permission::of(area, self.redacted))
            .collect();
        let end = skipped + items.len();
        let next = (end < all.len()).then(|| end.to_string());
        Ok(self.listed(items, next.as_deref(), start.asked))
    }

    /// Lists who may do the action of `question` on its resource. Its principal and its session are not read.
    pub(super) fn principals(
        &self,
        question: &Question<'_>,
        paging: Paging<'_>,
    ) -> Result<Listed<Access>, RequestError> {
        let start = self.start(question, paging)?;
        let resource = literal(question.resource);
        let bounds = Bounds {
            after: start.position.as_deref().unwrap_or_default(),
            most: start.most,
            most_bytes: MAX_LIST_BYTES,
            bytes_of_area: question.action.len() + resource.len(),
        };
        let page = principals(self.snapshot, question, &bounds, self.at, &self.work())?;
        let of_question = |area: &Area| {
            let mut permission = Permission::of(area, self.redacted);
            permission.actions = vec![question.action.to_owned()];
            if area.resources.is_none() {
                permission.resources = vec![resource.clone()];
            }
            permission
        };
        let items = page.principals.into_iter().map(|found| Access {
            principal: found.principal,
            is_conditional: found.is_conditional,
            permissions: found.areas.iter().map(of_question).collect(),
        });
        Ok(self.listed(items.collect(), page.next.as_deref(), start.asked))
    }

    /// Lists the context keys that policies can read in questions of the principal of `question`. An empty action or
    /// resource stands for all.
    pub(super) fn context_keys(
        &self,
        question: &Question<'_>,
    ) -> Result<Listed<ContextKeyUse>, RequestError> {
        check_account(question)?;
        let work = self.work();
        let (snapshot, redacted) = (self.snapshot, self.redacted);
        let keys = context_keys::context_keys(snapshot, question, redacted, self.at, &work)?;
        Ok(self.listed(keys, None, 0))
    }

    fn work(&self) -> Work {
        Work::interactive(Arc::clone(self.is_wanted))
    }

    fn listed<T>(&self, items: Vec<T>, next: Option<&str>, asked: u64) -> Listed<T> {
        let revision = self.snapshot.revision.as_str();
        let token = next.map(|position| format!("{revision} {asked:016x} {position}"));
        Listed {
            items,
            next_page_token: token.map_or_else(String::new, |text| URL_SAFE_NO_PAD.encode(text)),
            revision: revision.to_owned(),
        }
    }

    /// Reads where a page starts, and checks that its token belongs to this revision and to this question.
    fn start(&self, question: &Question<'_>, paging: Paging<'_>) -> Result<Start, RequestError> {
        let most = match usize::try_from(paging.page_size) {
            Ok(0) => MAX_LISTED,
            Ok(size) => size.min(MAX_LISTED),
            Err(_) => {
                let message = "is negative: give the most items that a page may have, or 0";
                return Err(RequestError::invalid("page_size", message));
            }
        };
        let question = Question {
            request_id: "",
            ..question.clone()
        };
        let asked = hash_of(&format!("{question:?}"));
        if paging.page_token.is_empty() {
            return Ok(Start {
                most,
                position: None,
                asked,
            });
        }
        let text = URL_SAFE_NO_PAD.decode(paging.page_token).ok();
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(unreadable)?;
        let mut parts = text.splitn(3, ' ');
        let (Some(revision), Some(of), Some(position)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(unreadable());
        };
        let current = self.snapshot.revision.as_str();
        if revision != current {
            let message = format!(
                "the token belongs to revision {revision} of the store, and {current} is in force: ask for the first page again"
            );
            return Err(RequestError::invalid("page_token", message));
        }
        if of != format!("{asked:016x}") {
            let message = "the token belongs to a request with other fields: repeat them, or ask for the first page";
            return Err(RequestError::invalid("page_token", message));
        }
        Ok(Start {
            most,
            position: Some(position.to_owned()),
            asked,
        })
    }
}

/// Where a page starts.
struct Start {
    /// The most items of the page.
    most: usize,
    /// What the token says. `None` for the first page.
    position: Option<String>,
    /// A number that differs between questions.
    asked: u64,
}

/// Refuses a malformed account, which a list without a resource does not read.
fn check_account(question: &Question<'_>) -> Result<(), RequestError> {
    match question.resource_account {
        "" => Ok(()),
        text => AccountId::parse(text)
            .map(|_| ())
            .map_err(|bad| RequestError::invalid("resource_account", bad.0)),
    }
}

fn unreadable() -> RequestError {
    let message = "is no token of a page: send the `next_page_token` of the last page, or nothing";
    RequestError::invalid("page_token", message)
}

fn narrowing(question: &Question<'_>) -> Result<Narrowing, RequestError> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let action = given(question.action).map(|text| ActionPattern::parse(&text));
    let action = action.transpose();
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let resource = given(question.resource).map(|text| ResourcePattern::parse(&text, syntax));
    let resource = resource.transpose();
    Ok(Narrowing {
        action: action.map_err(|bad| RequestError::invalid("action", bad.0))?,
        resource: resource.map_err(|bad| RequestError::invalid("resource", bad.0))?,
    })
}

/// Returns a resource as a pattern that covers nothing else.
fn literal(resource: &str) -> String {
    if resource == "*" {
        return resource.to_owned();
    }
    let mut text = String::new();
    let mut characters = resource.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' => text.extend(['$', '{', character, '}']),
            '$' if characters.peek() == Some(&'{') => text.push_str("${$}"),
            other => text.push(other),
        }
    }
    text
}
