//! The stores that are measured, and their questions.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use iamd::service::pb::authorize_request::ContextEntry;
use iamd::service::pb::session_context::TagsEntry;
use iamd::service::pb::{AuthorizeRequest, SessionContext};
use prost_types::value::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const N_MANAGED_POLICIES: usize = 1_000;

/// A store in a directory of its own.
pub struct World {
    /// Its name in the tables.
    pub name: String,
    /// The number of its files.
    pub n_files: usize,
    /// Allows and denies, in the order in which they are asked.
    pub questions: Vec<Question>,
    directory: TempDir,
}

/// A question whose answer is known.
#[derive(Clone)]
pub struct Question {
    /// The name of the question in messages.
    pub label: &'static str,
    /// The message that is sent.
    pub request: AuthorizeRequest,
    /// The right answer.
    pub is_allowed: bool,
}

impl Question {
    /// A question without context.
    pub fn new(
        label: &'static str,
        principal: &str,
        action: &str,
        resource: &str,
        is_allowed: bool,
    ) -> Self {
        let [principal, action, resource] = [principal, action, resource].map(str::to_owned);
        let request = AuthorizeRequest {
            principal,
            action,
            resource,
            ..AuthorizeRequest::default()
        };
        Self {
            label,
            request,
            is_allowed,
        }
    }

    fn with_text(mut self, key: &str, text: &str) -> Self {
        let value = prost_types::Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        };
        self.request.context.push(ContextEntry {
            key: key.to_owned(),
            value: Some(value),
        });
        self
    }

    fn with_session_tag(mut self, key: &str, value: &str) -> Self {
        let tag = TagsEntry {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        self.request
            .session
            .get_or_insert_with(SessionContext::default)
            .tags
            .push(tag);
        self
    }
}

impl World {
    /// Returns the path of the store.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the question that shows readiness and that ghz repeats.
    pub fn first_question(&self) -> anyhow::Result<&Question> {
        self.questions.first().context("a world has questions")
    }

    /// Copies the store to another directory.
    pub fn copy(&self) -> anyhow::Result<TempDir> {
        let directory = new_directory()?;
        copy_files(self.path(), directory.path())?;
        Ok(directory)
    }
}

/// Returns every world, the small one first.
pub fn all() -> anyhow::Result<Vec<World>> {
    Ok(vec![shop()?, managed_policies()?])
}

/// Returns a copy of the example store.
fn shop() -> anyhow::Result<World> {
    let directory = new_directory()?;
    let n_files = copy_files(&Path::new(ROOT).join("policies"), directory.path())?;
    let alice = "arn:aws:iam::111122223333:user/support/alice";
    let dave = "arn:aws:iam::111122223333:user/finance/dave";
    let order_service = "arn:aws:sts::111122223333:assumed-role/order-service/pod-1";
    let customer = "arn:aws:sts::111122223333:assumed-role/customer/web-1001";
    let questions = vec![
        Question::new(
            "support reads an order",
            alice,
            "orders:Get",
            "arn:app:orders:::order/1001/1",
            true,
        ),
        Question::new(
            "support cancels an order",
            alice,
            "orders:Cancel",
            "arn:app:orders:::order/1001/1",
            false,
        ),
        Question::new(
            "the service ships an order",
            order_service,
            "orders:Ship",
            "arn:app:orders:::order/1001/1",
            true,
        ),
        Question::new(
            "a customer's own order",
            customer,
            "orders:Get",
            "arn:app:orders:::order/1001/1",
            true,
        )
        .with_session_tag("customer", "1001"),
        Question::new(
            "another customer's order",
            customer,
            "orders:Get",
            "arn:app:orders:::order/7/1",
            false,
        )
        .with_session_tag("customer", "1001"),
        Question::new(
            "an invoice from the office",
            dave,
            "invoices:Issue",
            "arn:app:invoices:::invoice/1001/17",
            true,
        )
        .with_text("aws:SourceIp", "203.0.113.20"),
        Question::new(
            "an invoice from outside",
            dave,
            "invoices:Issue",
            "arn:app:invoices:::invoice/1001/17",
            false,
        )
        .with_text("aws:SourceIp", "198.51.100.7"),
    ];
    Ok(World {
        name: "policies/".to_owned(),
        n_files,
        questions,
        directory,
    })
}

/// The policies attached to the user: ten, the most that AWS allows by default.
const ATTACHED: [&str; 10] = [
    "AmazonS3ReadOnlyAccess",
    "AmazonEC2ReadOnlyAccess",
    "AmazonSQSFullAccess",
    "AmazonSNSFullAccess",
    "AmazonDynamoDBReadOnlyAccess",
    "CloudWatchReadOnlyAccess",
    "AmazonSSMReadOnlyAccess",
    "AmazonRDSReadOnlyAccess",
    "AmazonECS_FullAccess",
    "SecurityAudit",
];

/// The parts of the corpus's records that are read.
#[derive(serde::Deserialize)]
struct ManagedPolicy {
    name: String,
    document: Value,
}

/// Returns a store of a thousand managed policies that AWS publishes, and a user with ten of them.
fn managed_policies() -> anyhow::Result<World> {
    let corpus = Path::new(ROOT).join("tests/corpus/managed/policies.jsonl.gz");
    let mut lines = String::new();
    let file = fs::File::open(&corpus).with_context(|| format!("{}", corpus.display()))?;
    flate2::read::GzDecoder::new(file).read_to_string(&mut lines)?;
    let mut policies = Vec::new();
    for line in lines.lines() {
        policies.push(serde_json::from_str::<ManagedPolicy>(line)?);
    }
    // The attached ones come first, so that they are among the thousand.
    policies.sort_by_key(|policy| !ATTACHED.contains(&policy.name.as_str()));
    ensure!(
        policies.len() >= N_MANAGED_POLICIES,
        "the corpus has only {} managed policies",
        policies.len()
    );
    policies.truncate(N_MANAGED_POLICIES);
    let n_attached = policies
        .iter()
        .filter(|policy| ATTACHED.contains(&policy.name.as_str()))
        .count();
    ensure!(
        n_attached == ATTACHED.len(),
        "the corpus lacks a policy that gets attached"
    );

    let directory = new_directory()?;
    write_json(
        directory.path(),
        "account.json",
        &json!({"AccountId": "111122223333"}),
    )?;
    for ManagedPolicy { name, document } in &policies {
        write_json(
            directory.path(),
            &format!("managed-policies/{name}.json"),
            document,
        )?;
    }
    let attached: Vec<Value> = ATTACHED
        .iter()
        .map(|name| json!({"PolicyName": name, "PolicyArn": format!("arn:aws:iam::111122223333:policy/{name}")}))
        .collect();
    let user = json!({"UserName": "analyst", "AttachedManagedPolicies": attached});
    write_json(directory.path(), "users/analyst.json", &user)?;

    let analyst = "arn:aws:iam::111122223333:user/analyst";
    let questions = vec![
        Question::new(
            "read an object",
            analyst,
            "s3:GetObject",
            "arn:aws:s3:::reports/2026/q3.csv",
            true,
        ),
        Question::new(
            "delete an object",
            analyst,
            "s3:DeleteObject",
            "arn:aws:s3:::reports/2026/q3.csv",
            false,
        ),
        Question::new(
            "describe instances",
            analyst,
            "ec2:DescribeInstances",
            "*",
            true,
        ),
        Question::new(
            "send a message",
            analyst,
            "sqs:SendMessage",
            "arn:aws:sqs:eu-central-1:111122223333:jobs",
            true,
        ),
        Question::new(
            "create a user",
            analyst,
            "iam:CreateUser",
            "arn:aws:iam::111122223333:user/bob",
            false,
        ),
    ];
    let n_files = policies.len() + 2;
    Ok(World {
        name: format!("{N_MANAGED_POLICIES} managed policies"),
        n_files,
        questions,
        directory,
    })
}

fn new_directory() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new()
        .prefix("iamd-baseline-")
        .tempdir()?)
}

fn write_json(root: &Path, path: &str, value: &Value) -> anyhow::Result<()> {
    let path = root.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, format!("{value:#}\n"))?)
}

/// Copies a directory with what is in it and returns the number of files.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<usize> {
    let mut n_files = 0;
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            n_files += copy_files(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
            n_files += 1;
        }
    }
    Ok(n_files)
}
