//! `iamd simulate`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;
use jiff::Timestamp;

use super::answerer::Answerer;
use super::ask::{Facts, json_or_file, text};
use super::authorize::{answer_lines, open, parse_line};
use super::tls::Tls;
use super::{Common, Output, Status};
use crate::authorizer::{Authorizer, Overrides, Question, Simulation};
use crate::compile::compile;
use crate::compile::snapshot::Revision;
use crate::language::document::PolicyType;
use crate::service::json::{self, NoAnswer};
use crate::world::World;

/// Simulate decisions with policies that are not in the store, any context, any time, many actions and resources
///
/// Decides every action on every resource. Exits with 0 when all are allowed and 1 when one is not. With `--requests`
/// the exit status only says whether every line was answered (0) or not (2). A POLICY is a file or the JSON itself.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// The principal; without it, `--policy` is simulated on its own and no store is needed
    #[arg(long, conflicts_with = "requests")]
    principal: Option<String>,
    /// The action, repeatable: `orders:Refund`
    #[arg(
        long = "action",
        value_name = "ACTION",
        required_unless_present = "requests",
        conflicts_with = "requests"
    )]
    actions: Vec<String>,
    /// The resource, repeatable: an ARN, or `*` for an action without a resource
    #[arg(
        long = "resource",
        value_name = "RESOURCE",
        required_unless_present = "requests",
        conflicts_with = "requests"
    )]
    resources: Vec<String>,
    /// Any context entry, repeatable: `app:x=text`, `app:x:=50`; `aws:MultiFactorAuthPresent:=null` makes a key absent
    #[arg(
        long = "context",
        value_name = "KEY=VALUE",
        conflicts_with = "requests"
    )]
    context: Vec<String>,
    /// The facts of the session, a JSON object or a file with one: `{"tags": {"team": "blue"}}`
    #[arg(long, value_name = "JSON|FILE", conflicts_with = "requests")]
    session: Option<String>,
    /// The account that owns the resources, if neither their ARNs nor the store name it
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "requests")]
    resource_account: Option<String>,
    /// An id that the answer repeats
    #[arg(long, value_name = "ID", conflicts_with = "requests")]
    request_id: Option<String>,
    /// The time of the question: `2024-06-01T12:00:00Z`
    #[arg(long, value_name = "TIME", conflicts_with = "requests")]
    at: Option<Timestamp>,
    /// An identity policy in addition to the principal's own; repeatable
    #[arg(
        long = "policy",
        visible_alias = "identity-policy",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    policies: Vec<String>,
    /// A resource policy in addition to those of the resources; repeatable
    #[arg(
        long = "resource-policy",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    resource_policies: Vec<String>,
    /// A permissions boundary in place of the principal's
    #[arg(long, value_name = "POLICY", conflicts_with = "requests")]
    permissions_boundary: Option<String>,
    /// A session policy in addition to those in `--session`; repeatable
    #[arg(
        long = "session-policy",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    session_policies: Vec<String>,
    /// A service control policy in addition to those of the principal's account; repeatable
    #[arg(
        long = "service-control-policy",
        visible_alias = "scp",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    service_control_policies: Vec<String>,
    /// A further level of service control policies, which must allow too; repeatable, from the root down to the account
    #[arg(
        long = "organization-level",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    organization_levels: Vec<String>,
    /// A resource control policy in addition to those of the resource's account; repeatable
    #[arg(
        long = "resource-control-policy",
        visible_alias = "rcp",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    resource_control_policies: Vec<String>,
    /// A trust policy in place of that of the role in the question
    #[arg(long, value_name = "POLICY", conflicts_with = "requests")]
    trust_policy: Option<String>,
    /// Use only the given policies of this type, repeatable; with `identity` the principal need not be in the store
    #[arg(long, value_name = "TYPE", value_enum, conflicts_with = "requests")]
    replace: Vec<Replaced>,
    /// Simulate JSON Lines of SimulateRequest from a file or from stdin (`-`), with one line of output for each, in order
    #[arg(long, value_name = "FILE|-")]
    requests: Option<PathBuf>,
    /// Ask this running server instead of reading a store: `127.0.0.1:50051`, `unix:/path`, `https://host:50051`
    #[arg(long, value_name = "ADDR", conflicts_with = "store")]
    server: Option<String>,
    #[command(flatten)]
    tls: Tls,
}

/// The policy types, as the command line calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Replaced {
    Identity,
    Resource,
    PermissionsBoundary,
    Session,
    ServiceControl,
    ResourceControl,
    Trust,
}

impl From<Replaced> for PolicyType {
    fn from(replaced: Replaced) -> Self {
        match replaced {
            Replaced::Identity => Self::Identity,
            Replaced::Resource => Self::Resource,
            Replaced::PermissionsBoundary => Self::PermissionsBoundary,
            Replaced::Session => Self::Session,
            Replaced::ServiceControl => Self::ServiceControl,
            Replaced::ResourceControl => Self::ResourceControl,
            Replaced::Trust => Self::Trust,
        }
    }
}

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    if let Some(path) = &args.requests {
        let input = open(path)?;
        let Some(answerer) = answerer(args, common)? else {
            return Ok(Status::Refused);
        };
        return answer_lines(input, out, |line| simulate_line(&answerer, line));
    }
    with_simulation(args, |simulation| {
        let Some(answerer) = answerer(args, common)? else {
            return Ok(Status::Refused);
        };
        let simulated = match answerer.simulate(simulation) {
            Ok(simulated) => simulated,
            Err(no_answer) => bail!("{no_answer}"),
        };
        match common.output {
            Output::Text => writeln!(out, "{simulated}")?,
            Output::Json => writeln!(out, "{}", json::simulated(&simulated))?,
        }
        Ok(Status::of_decision(simulated.is_allowed))
    })
}

fn simulate_line(answerer: &Answerer, line: &str) -> Result<String, NoAnswer> {
    let message = parse_line(line)?;
    let simulation = message.simulation();
    let simulation =
        simulation.map_err(|refusal| NoAnswer::refused(message.request_id(), refusal))?;
    answerer
        .simulate(&simulation)
        .map(|simulated| json::simulated(&simulated))
}

/// Returns the source of answers; `None` if the store does not load, which has been reported.
fn answerer(args: &Args, common: &Common) -> anyhow::Result<Option<Answerer>> {
    // Without a principal, only the given policies count. They need no store, so a store that does not load does not
    // matter.
    let is_by_itself = args.server.is_none()
        && args.requests.is_none()
        && args.principal.is_none()
        && common.store.is_none();
    if is_by_itself {
        let snapshot = compile(&World::default(), Revision::new(""));
        return Ok(Some(Answerer::Store(Box::new(Authorizer::of(snapshot)))));
    }
    super::authorize::answerer(args.server.as_deref(), &args.tls, common)
}

/// Calls `answer` with the simulation. Reads the files of its session and its policies first.
fn with_simulation<R>(
    args: &Args,
    answer: impl FnOnce(&Simulation<'_>) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    if args.principal.is_none() && args.policies.is_empty() {
        bail!("give `--principal`, or `--policy` to simulate it on its own");
    }
    let facts = Facts::read(&args.context, args.session.as_deref())?;
    let facts = facts.parse()?;
    let lists = [
        documents(&args.policies)?,
        documents(&args.resource_policies)?,
        documents(&args.session_policies)?,
        documents(&args.service_control_policies)?,
        documents(&args.resource_control_policies)?,
    ];
    let singles = [
        documents(args.permissions_boundary.as_slice())?,
        documents(args.trust_policy.as_slice())?,
    ];
    let levels = documents(&args.organization_levels)?;
    let replace = args.replace.iter().map(|replaced| (*replaced).into());
    answer(&Simulation {
        question: Question {
            principal: text(&args.principal),
            action: "",
            resource: "",
            context: facts.context()?,
            session: facts.session()?,
            resource_account: text(&args.resource_account),
            request_id: text(&args.request_id),
        },
        actions: args.actions.iter().map(String::as_str).collect(),
        resources: args.resources.iter().map(String::as_str).collect(),
        evaluation_time: args.at,
        overrides: Overrides::new(
            lists
                .each_ref()
                .map(|list| list.iter().map(String::as_str).collect()),
            singles
                .each_ref()
                .map(|single| single.first().map_or("", String::as_str)),
            replace.collect(),
        )
        .with_levels(levels.iter().map(|level| vec![level.as_str()])),
    })
}

/// Returns the documents of `policies`, each of which is JSON or the name of a file.
fn documents(policies: &[String]) -> anyhow::Result<Vec<String>> {
    let document = |policy: &String| {
        let document = json_or_file(policy, "policy")?;
        if document.trim().is_empty() {
            bail!("the policy file `{policy}` is empty");
        }
        Ok(document)
    };
    policies.iter().map(document).collect()
}
