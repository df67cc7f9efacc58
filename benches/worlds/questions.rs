//! Questions, and their conversion to requests.

use anyhow::{Context, ensure};
use iamd::compile::snapshot::Snapshot;
use iamd::engine::authorize;
use iamd::engine::decision::Decision;
use iamd::engine::question::{Question as Asked, Value};
use iamd::engine::request::Request;

use super::model::{Holder, Statement, World};
use super::random::Random;
use super::statements::{action_of, resource_of, service, word};
use super::{ACCOUNT, user_arn};

/// One question in plain texts.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The principal's ARN.
    pub principal: String,
    /// The action, without wildcards.
    pub action: String,
    /// The resource's ARN.
    pub resource: String,
    /// The keys and values of the context.
    pub context: Vec<(String, String)>,
}

/// The kind of a question's answer, as far as it matters to the cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The question is allowed.
    Hit,
    /// The question is explicitly denied.
    Deny,
    /// No statement allows the question.
    Miss,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 3] = [Self::Hit, Self::Deny, Self::Miss];

    /// Returns the outcome of a decision.
    pub fn of(decision: &Decision) -> Self {
        match decision.reason() {
            reason if reason.is_allow() => Self::Hit,
            reason if reason.is_explicit_deny() => Self::Deny,
            _ => Self::Miss,
        }
    }

    /// Returns the name of the outcome in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Hit => "allow",
            Self::Deny => "explicit deny",
            Self::Miss => "miss",
        }
    }
}

impl Question {
    /// Makes a question of `user` that `statement` should match. One in three is then changed so that it misses.
    pub fn about(random: &mut Random, user: &Holder, statement: &Statement) -> Self {
        let pattern = random.pick(&statement.actions).cloned().unwrap_or_default();
        let mut action = match statement.excepts_actions {
            true => format!("{}:GetItem", service(random)),
            false => action_of(random, &pattern),
        };
        let service = action.split(':').next().unwrap_or_default().to_owned();
        let pattern = random
            .pick(&statement.resources)
            .cloned()
            .unwrap_or_default();
        let mut resource = match statement.excepts_resources {
            true => resource_of(random, "*", &service, &user.name),
            false => resource_of(random, &pattern, &service, &user.name),
        };
        let mut question = Self::plain(random, user, String::new(), String::new());
        for condition in &statement.conditions {
            let value = condition
                .fulfilled_by
                .replace("${aws:username}", &user.name);
            question.context.retain(|(key, _)| *key != condition.key);
            question.context.push((condition.key.clone(), value));
        }
        if random.chance(33) {
            match random.below(3) {
                0 => action = format!("{service}:Frobnicate{}", random.below(50)),
                1 => {
                    resource = format!(
                        "arn:aws:{service}:eu-north-1:{ACCOUNT}:none/{}",
                        word(random)
                    )
                }
                _ => question.context.clear(),
            }
        }
        question.action = action;
        question.resource = resource;
        question
    }

    /// Makes a question with the context that every caller has: an address, whether the channel is safe, and an id.
    pub fn plain(random: &mut Random, user: &Holder, action: String, resource: String) -> Self {
        let context = [
            ("aws:SourceIp", "203.0.113.20".to_owned()),
            ("aws:SecureTransport", "true".to_owned()),
            ("app:requestId", format!("{:016x}", random.next())),
        ];
        Self {
            principal: user_arn(&user.name),
            action,
            resource,
            context: context.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        }
    }

    /// Converts it to the question that a protocol makes.
    pub fn asked(&self) -> Asked<'_> {
        let context = self.context.iter();
        Asked {
            principal: &self.principal,
            action: &self.action,
            resource: &self.resource,
            context: context
                .map(|(key, value)| (key.as_str(), Value::Text(value)))
                .collect(),
            ..Asked::default()
        }
    }

    /// Converts it as [`asked`](Self::asked) does, but with its texts one after another, as in the message of a client.
    /// They stay in memory until the program ends.
    pub fn received(&self) -> Asked<'static> {
        let mut message = [&*self.principal, &self.action, &self.resource].concat();
        for (key, value) in &self.context {
            message.extend([key.as_str(), value]);
        }
        let mut rest: &'static str = message.leak();
        let mut next = |text: &str| {
            let (taken, others) = rest.split_at(text.len());
            rest = others;
            taken
        };
        let [principal, action, resource] =
            [&self.principal, &self.action, &self.resource].map(|text| next(text));
        let context = self.context.iter();
        Asked {
            principal,
            action,
            resource,
            context: context
                .map(|(key, value)| (next(key), Value::Text(next(value))))
                .collect(),
            ..Asked::default()
        }
    }

    /// Parses it as a request at a fixed time.
    pub fn request(&self) -> anyhow::Result<Request<'_>> {
        parsed(&self.asked())
    }
}

/// Parses all `questions`. The texts of each are one after another, as in the message of a client, and stay in memory
/// until the program ends.
pub fn requests(questions: &[Question]) -> anyhow::Result<Vec<Request<'static>>> {
    let received = questions.iter().map(Question::received);
    received.map(|asked| parsed(&asked)).collect()
}
fn parsed<'q>(asked: &Asked<'q>) -> anyhow::Result<Request<'q>> {
    Request::parse(asked, "2026-03-01T09:00:00Z".parse()?)
        .map_err(|error| anyhow::anyhow!("{asked:?} does not parse: {error:?}"))
}

/// Returns the decision of `snapshot` about a request.
pub fn decided(snapshot: &Snapshot, request: &Request) -> anyhow::Result<Decision> {
    authorize(snapshot, request).map_err(|error| anyhow::anyhow!("{request:?}: {error:?}"))
}

/// Returns `n_each` questions of `users` for each outcome, in turns. Each question is decided to learn its outcome,
/// since another statement than the one it was made for may allow it.
pub fn balanced(
    snapshot: &Snapshot,
    world: &World,
    users: &[Holder],
    n_each: usize,
    random: &mut Random,
) -> anyhow::Result<Vec<Question>> {
    ensure!(!users.is_empty(), "nobody to ask about");
    let mut found: [Vec<Question>; 3] = Default::default();
    // Every user gets a turn with each of its statements before the loop gives up.
    for turn in 0..n_each * 3_000 {
        let user = users.get(turn % users.len()).context("one of them")?;
        let attached: Vec<&Statement> = world.attached(user).collect();
        let statement = random.pick(&attached).context("something is attached")?;
        let question = Question::about(random, user, statement);
        let outcome = Outcome::of(&decided(snapshot, &question.request()?)?);
        let at = Outcome::ALL.iter().position(|other| *other == outcome);
        if let Some(list) = at.and_then(|at| found.get_mut(at))
            && list.len() < n_each
        {
            list.push(question);
        }
        if found.iter().all(|list| list.len() == n_each) {
            let [hits, denies, misses] = found;
            let mixed = hits.into_iter().zip(denies).zip(misses);
            return Ok(mixed
                .flat_map(|((hit, deny), miss)| [hit, deny, miss])
                .collect());
        }
    }
    let lengths = found.each_ref().map(Vec::len);
    anyhow::bail!("of {n_each} questions of each outcome only {lengths:?} were found")
}
