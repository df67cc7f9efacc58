//! The policies that all engines get, and the questions.
//!
//! They use only features that all engines have: literal actions, resources that are `*` or a prefix, conditions of
//! four operators, users in one group each, and policies of one statement, since a policy of Cedar has one effect.

use anyhow::Context;
use iamd::compile::snapshot::Snapshot;
use iamd::engine::authorize;
use iamd::engine::request::Request;

use crate::worlds::{
    self, ACCOUNT, Condition, Holder, Outcome, Question, REGION, Random, Statement, World,
};

const N_POLICIES_PER_GROUP: usize = 20;
const N_USERS_PER_GROUP: usize = 5;
const N_EACH: usize = 300;
const SERVICES: [&str; 5] = ["orders", "invoices", "catalog", "payments", "shipping"];
const VERBS: [&str; 4] = ["Get", "List", "Update", "Delete"];
const NOUNS: [&str; 5] = ["Item", "Order", "Report", "Job", "Key"];

/// The store and the questions about it.
pub struct Company {
    /// The policies and groups.
    pub world: World,
    /// The questions.
    pub questions: Vec<Question>,
    /// Whether each question is allowed.
    pub answers: Vec<bool>,
    snapshot: Snapshot,
}

/// iamd as an engine: the store with the parsed questions.
pub struct Engine<'c> {
    snapshot: &'c Snapshot,
    requests: Vec<Request<'c>>,
}

impl Engine<'_> {
    /// Returns whether iamd allows question `index`.
    pub fn ask(&self, index: usize) -> anyhow::Result<bool> {
        let request = self.requests.get(index).context("a request")?;
        let decision = authorize(self.snapshot, request);
        let decision = decision.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(decision.is_allowed())
    }
}

impl Company {
    /// Makes `n_groups` groups with twenty policies each.
    pub fn of(n_groups: usize) -> anyhow::Result<Self> {
        let mut random = Random::new(worlds::SEED + 7);
        let mut world = World::default();
        for group in 0..n_groups {
            let service = format!("{}{}", random.word(&SERVICES), group % 40);
            let policies = (0..N_POLICIES_PER_GROUP)
                .map(|index| {
                    let statement = statement(&mut random, &service);
                    world.add_policy(format!("P{group}-{index}"), vec![statement])
                })
                .collect();
            world.groups.push(Holder {
                name: format!("group-{group}"),
                policies,
                ..Holder::default()
            });
            world
                .users
                .extend((0..N_USERS_PER_GROUP).map(|index| Holder {
                    name: format!("user-{group}-{index}"),
                    groups: vec![group],
                    ..Holder::default()
                }));
        }
        let snapshot = worlds::load(&world)?.snapshot;
        let questions = worlds::balanced(&snapshot, &world, &world.users, N_EACH, &mut random)?;
        let mut answers = Vec::new();
        for request in worlds::requests(&questions)? {
            let outcome = Outcome::of(&worlds::decided(&snapshot, &request)?);
            answers.push(outcome == Outcome::Hit);
        }
        Ok(Self {
            world,
            questions,
            answers,
            snapshot,
        })
    }

    /// Parses the questions.
    pub fn engine(&self) -> anyhow::Result<Engine<'_>> {
        Ok(Engine {
            snapshot: &self.snapshot,
            requests: worlds::requests(&self.questions)?,
        })
    }

    /// Returns the name of the group of the question's principal.
    pub fn group_of(&self, question: &Question) -> anyhow::Result<&str> {
        let (_, name) = question.principal.rsplit_once('/').context("an ARN")?;
        let mut users = self.world.users.iter();
        let user = users.find(|user| user.name == name).context("a user")?;
        let group = user.groups.first().context("a group")?;
        let group = self.world.groups.get(*group).context("a group")?;
        Ok(&group.name)
    }

    /// Returns each statement with the name of its policy and the name of the group that has it.
    pub fn statements(&self) -> impl Iterator<Item = (&str, &str, &Statement)> {
        self.world.groups.iter().flat_map(|group| {
            let policies = group.policies.iter();
            let policies = policies.filter_map(|policy| self.world.policies.get(*policy));
            policies.flat_map(|policy| {
                let statements = policy.statements.iter();
                statements.map(|statement| (&*group.name, &*policy.name, statement))
            })
        })
    }
}

fn statement(random: &mut Random, service: &str) -> Statement {
    let mut actions: Vec<String> = (0..1 + random.below(2))
        .map(|_| format!("{service}:{}{}", random.word(&VERBS), random.word(&NOUNS)))
        .collect();
    actions.dedup();
    let denies = random.chance(15);
    let resource = match random.chance(39) && !denies {
        true => "*".to_owned(),
        false => format!(
            "arn:aws:{service}:{REGION}:{ACCOUNT}:item/w{:02x}*",
            random.below(256)
        ),
    };
    let conditions = match random.chance(38) {
        true => conditions(random),
        false => Vec::new(),
    };
    Statement {
        denies,
        actions,
        conditions,
        ..Statement::allow("", resource)
    }
}

fn conditions(random: &mut Random) -> Vec<Condition> {
    let condition = |operator, key: &str, operands: &[&str], fulfilled_by: &str| Condition {
        operator,
        key: key.to_owned(),
        operands: operands
            .iter()
            .map(|operand| (*operand).to_owned())
            .collect(),
        fulfilled_by: fulfilled_by.to_owned(),
    };
    let all = [
        condition(
            "StringEquals",
            "app:team",
            &["support", "finance", "sales"],
            "finance",
        ),
        condition("Bool", "aws:SecureTransport", &["true"], "true"),
        condition(
            "IpAddress",
            "aws:SourceIp",
            &["10.0.0.0/8", "203.0.113.0/24"],
            "203.0.113.20",
        ),
        condition("NumericLessThanEquals", "app:amount", &["100"], "42"),
    ];
    let n_conditions = 1 + random.below(2);
    let first = random.below(all.len());
    all.iter()
        .cycle()
        .skip(first)
        .take(n_conditions)
        .cloned()
        .collect()
}
