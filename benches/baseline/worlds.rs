//! The stores that are measured, and the questions that they are asked.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const N_MANAGED_POLICIES: usize = 1_000;

/// A store in a directory of its own.
pub struct World {
    /// As the tables call it.
    pub name: String,
    /// How many files it has.
    pub n_files: usize,
    /// Allows and denies, in the order in which they are asked.
    pub questions: Vec<Question>,
    directory: TempDir,
}

/// A question whose answer is known.
#[derive(Clone)]
pub struct Question {
    /// For messages.
    pub label: &'static str,
    pub principal: String,
    pub action: String,
    pub resource: String,
    /// The right answer.
    pub is_allowed: bool,
}

impl World {
    /// The store.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The question that shows readiness and that ghz repeats.
    pub fn first_question(&self) -> anyhow::Result<&Question> {
        self.questions.first().context("a world has questions")
    }

    /// The same store in another directory.
    pub fn copy(&self) -> anyhow::Result<TempDir> {
        let directory = new_directory()?;
        copy_files(self.path(), directory.path())?;
        Ok(directory)
    }
}

/// Every world, small before large.
pub fn all() -> anyhow::Result<Vec<World>> {
    Ok(vec![shop()?, managed_policies()?])
}

fn question(label: &'static str, principal: &str, action: &str, resource: &str, is_allowed: bool) -> Question {
    let [principal, action, resource] = [principal, action, resource].map(str::to_owned);
    Question { label, principal, action, resource, is_allowed }
}

/// The example store as it is.
fn shop() -> anyhow::Result<World> {
    let directory = new_directory()?;
    let n_files = copy_files(&Path::new(ROOT).join("policies"), directory.path())?;
    Ok(World { name: "policies/".to_owned(), n_files, questions: SHOP_QUESTIONS(), directory })
}

/// What a user of a real account has attached: ten of the policies, as many as AWS allows by default.
const ATTACHED: [&str; 10] = [
    "AmazonS3ReadOnlyAccess",
    "AmazonEC2ReadOnlyAccess",
    "AmazonSQSFullAccess",
    "AmazonSNSFullAccess",
    "AmazonDynamoDBReadOnlyAccess",
    "CloudWatchReadOnlyAccess",
    "AWSCloudTrail_ReadOnlyAccess",
    "AmazonRDSReadOnlyAccess",
    "AmazonECS_FullAccess",
    "SecurityAudit",
];

/// A thousand of the managed policies that AWS publishes, and a user with ten of them.
fn managed_policies() -> anyhow::Result<World> {
    let corpus = Path::new(ROOT).join("tests/corpus/managed/policies.jsonl.gz");
    let mut lines = String::new();
    let file = fs::File::open(&corpus).with_context(|| format!("{}", corpus.display()))?;
    flate2::read::GzDecoder::new(file).read_to_string(&mut lines)?;
    let mut policies = Vec::new();
    for line in lines.lines() {
        let record: Value = serde_json::from_str(line)?;
        policies.push((record["name"].as_str().context("a policy has a name")?.to_owned(), record["document"].clone()));
    }
    // Those that get attached first, so that they are among the thousand.
    policies.sort_by_key(|(name, _)| !ATTACHED.contains(&name.as_str()));
    ensure!(policies.len() >= N_MANAGED_POLICIES, "the corpus has only {} managed policies", policies.len());
    policies.truncate(N_MANAGED_POLICIES);

    let directory = new_directory()?;
    write_json(directory.path(), "account.json", &json!({"AccountId": "111122223333"}))?;
    for (name, document) in &policies {
        write_json(directory.path(), &format!("managed-policies/{name}.json"), document)?;
    }
    let attached: Vec<Value> = ATTACHED
        .iter()
        .map(|name| json!({"PolicyName": name, "PolicyArn": format!("arn:aws:iam::111122223333:policy/{name}")}))
        .collect();
    let user = json!({"UserName": "analyst", "AttachedManagedPolicies": attached});
    write_json(directory.path(), "users/analyst.json", &user)?;

    let analyst = "arn:aws:iam::111122223333:user/analyst";
    let questions = vec![
        question("read an object", analyst, "s3:GetObject", "arn:aws:s3:::reports/2026/q3.csv", true),
        question("delete an object", analyst, "s3:DeleteObject", "arn:aws:s3:::reports/2026/q3.csv", false),
        question("describe instances", analyst, "ec2:DescribeInstances", "*", true),
        question("send a message", analyst, "sqs:SendMessage", "arn:aws:sqs:eu-central-1:111122223333:jobs", true),
        question("create a user", analyst, "iam:CreateUser", "arn:aws:iam::111122223333:user/bob", false),
    ];
    let n_files = policies.len() + 2;
    Ok(World { name: format!("{N_MANAGED_POLICIES} managed policies"), n_files, questions, directory })
}

fn new_directory() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("iamd-baseline-").tempdir()?)
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
