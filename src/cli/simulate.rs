//! `iamd simulate`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;
use jiff::Timestamp;

use super::ask::{Given, context_entry, json_or_file};
use super::authorize::{answer_lines, open};
use super::{Common, Output, Status, load};
use crate::compile::compile;
use crate::compile::snapshot::Revision;
use crate::config::Limits;
use crate::language::document::PolicyType;
use crate::service::client::Client;
use crate::service::question::NoAnswer;
use crate::service::simulate::{Simulation, SimulationAnswer};
use crate::world::World;

/// Try policies that are not in the store, any context, any time, many actions on many resources
///
/// Every action is tried on every resource. Exits with 0 when all are allowed and 1 when one is not. With `--requests`
/// the exit status says whether every line was answered (0) or not (2), whatever the answers are. Where a POLICY is
/// asked for, give a file or the JSON itself.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Who asks; without it, `--policy` is tried by itself, and no store is needed
    #[arg(long, conflicts_with = "requests")]
    principal: Option<String>,
    /// What they want to do, repeatable: `orders:Refund`
    #[arg(
        long = "action",
        value_name = "ACTION",
        required_unless_present = "requests",
        conflicts_with = "requests"
    )]
    actions: Vec<String>,
    /// To what, repeatable: an ARN, or `*` for an action without a resource
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
    /// The account that owns the resources, where neither their ARNs nor the store say
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "requests")]
    resource_account: Option<String>,
    /// Given back in the answer
    #[arg(long, value_name = "ID", conflicts_with = "requests")]
    request_id: Option<String>,
    /// The time it is asked at: `2024-06-01T12:00:00Z`
    #[arg(long, value_name = "TIME", conflicts_with = "requests")]
    at: Option<Timestamp>,
    /// An identity policy, beside the principal's own; repeatable
    #[arg(
        long = "policy",
        visible_alias = "identity-policy",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    policies: Vec<String>,
    /// A policy of the resources, beside their own; repeatable
    #[arg(
        long = "resource-policy",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    resource_policies: Vec<String>,
    /// In place of the principal's permissions boundary
    #[arg(long, value_name = "POLICY", conflicts_with = "requests")]
    permissions_boundary: Option<String>,
    /// A session policy, beside those in `--session`; repeatable
    #[arg(
        long = "session-policy",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    session_policies: Vec<String>,
    /// A service control policy of the principal's account, beside its own; repeatable
    #[arg(
        long = "service-control-policy",
        visible_alias = "scp",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    service_control_policies: Vec<String>,
    /// A resource control policy of the resource's account, beside its own; repeatable
    #[arg(
        long = "resource-control-policy",
        visible_alias = "rcp",
        value_name = "POLICY",
        conflicts_with = "requests"
    )]
    resource_control_policies: Vec<String>,
    /// In place of the trust policy of the role that is asked about
    #[arg(long, value_name = "POLICY", conflicts_with = "requests")]
    trust_policy: Option<String>,
    /// Let only the given policies of this type count, repeatable; with `identity` the principal need not be in the store
    #[arg(long, value_name = "TYPE", value_enum, conflicts_with = "requests")]
    replace: Vec<Replaced>,
    /// Simulate JSON Lines of SimulateRequest from a file or from stdin (`-`), each with a line, in order
    #[arg(long, value_name = "FILE|-")]
    requests: Option<PathBuf>,
    /// Ask this running server instead of reading a store: `127.0.0.1:50051`, `unix:/path`
    #[arg(long, value_name = "ADDR", conflicts_with = "store")]
    server: Option<String>,
}

/// The types of policy, as the command line calls them.
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

/// Whoever answers: a store, here, or a server.
type Ask = Box<dyn Fn(Simulation) -> Result<SimulationAnswer, NoAnswer>>;

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    if let Some(path) = &args.requests {
        let input = open(path)?;
        let Some(ask) = asker(args, common)? else {
            return Ok(Status::Refused);
        };
        return answer_lines(input, out, |line| {
            Simulation::from_json(line)
                .and_then(&ask)
                .map(|answer| answer.to_json())
        });
    }
    let simulation = simulation(args)?;
    let Some(ask) = asker(args, common)? else {
        return Ok(Status::Refused);
    };
    let answer = match ask(simulation) {
        Ok(answer) => answer,
        Err(no_answer) => bail!("{no_answer}"),
    };
    match common.output {
        Output::Text => writeln!(out, "{answer}")?,
        Output::Json => writeln!(out, "{}", answer.to_json())?,
    }
    Ok(if answer.is_allowed() {
        Status::Fine
    } else {
        Status::No
    })
}

/// `None` when the store does not load, which has been reported.
fn asker(args: &Args, common: &Common) -> anyhow::Result<Option<Ask>> {
    if let Some(address) = &args.server {
        let client = Client::connect(address)?;
        return Ok(Some(Box::new(move |simulation| {
            client.simulate(simulation)
        })));
    }
    // Policies by themselves need no store, so a store that does not load is no reason to refuse them.
    let is_by_itself =
        args.requests.is_none() && args.principal.is_none() && common.store.is_none();
    let snapshot = if is_by_itself {
        compile(&World::default(), Revision::new(""))
    } else {
        match load(&common.store()) {
            Ok(snapshot) => snapshot,
            Err(_) => return Ok(None),
        }
    };
    Ok(Some(Box::new(move |simulation| {
        simulation.decide(&snapshot, &Limits::DEFAULT, Timestamp::now())
    })))
}

fn simulation(args: &Args) -> anyhow::Result<Simulation> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if args.principal.is_none() && args.policies.is_empty() {
        bail!("give `--principal`, or `--policy` to try by itself");
    }
    let mut simulation = Simulation::new(
        text(&args.principal),
        args.actions.clone(),
        args.resources.clone(),
    );
    for entry in &args.context {
        match context_entry(entry)? {
            (key, Given::Json(value)) => simulation.context_json(key, value)?,
            (key, Given::Text(text)) => simulation.context_text(key, text),
        }
    }
    if let Some(session) = &args.session {
        simulation.session_json(&json_or_file(session, "session")?)?;
    }
    simulation.resource_account(text(&args.resource_account));
    simulation.request_id(text(&args.request_id));
    if let Some(at) = args.at {
        simulation.at(at);
    }
    let one = |policy: &Option<String>| policy.iter().cloned().collect::<Vec<_>>();
    for (policy_type, policies) in [
        (PolicyType::Identity, args.policies.clone()),
        (PolicyType::Resource, args.resource_policies.clone()),
        (
            PolicyType::PermissionsBoundary,
            one(&args.permissions_boundary),
        ),
        (PolicyType::Session, args.session_policies.clone()),
        (
            PolicyType::ServiceControl,
            args.service_control_policies.clone(),
        ),
        (
            PolicyType::ResourceControl,
            args.resource_control_policies.clone(),
        ),
        (PolicyType::Trust, one(&args.trust_policy)),
    ] {
        for policy in policies {
            let document = json_or_file(&policy, "policy")?;
            if document.trim().is_empty() {
                bail!("the policy file `{policy}` is empty");
            }
            simulation.policy(policy_type, document);
        }
    }
    for replaced in &args.replace {
        simulation.replace((*replaced).into());
    }
    Ok(simulation)
}
