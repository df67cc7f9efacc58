//! Tests which edits change only a few tables, and which require a full compilation. The former must patch, or reloads
//! of large stores would cost as much as before. The latter must not, or facts that other files were checked against
//! would change unnoticed.

use iamd::compile::snapshot::Snapshot;
use iamd::store::Loader;
use serde_json::{Value as Json, json};

use super::{Files, answers, load, policies, seen};
use crate::oracle::question::Question;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Takes {
    /// The load patches a few tables of the last snapshot.
    Patch,
    Whole,
}
use Takes::{Patch, Whole};

/// The name of the edit, the file, the member, its new value as JSON, and what the load must do.
type Edit = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Takes,
);

#[rustfmt::skip]
const EDITS: &[Edit] = &[
    ("nothing", "users/ann.json", "/UserName", r#""ann""#, Patch),
    ("what a user may do", "users/ann.json", "/UserPolicyList/0/PolicyDocument/Statement/0/Action", r#""orders:List""#, Patch),
    ("a user's tag", "users/ann.json", "/Tags/0/Value", r#""gold""#, Patch),
    ("what a user has", "users/ann.json", "/AttachedManagedPolicies", r#"[{"PolicyName": "two", "PolicyArn": "arn:aws:iam::111122223333:policy/two"}]"#, Patch),
    ("a user's group", "users/ann.json", "/GroupList", "[]", Patch),
    ("a user's boundary", "users/ann.json", "/PermissionsBoundary", r#"{"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": "arn:aws:iam::111122223333:policy/two"}"#, Patch),
    ("a user's path", "users/ann.json", "/Path", r#""/team/""#, Whole),
    ("a user's unique id", "users/ann.json", "/UserId", r#""AIDAOTHER""#, Whole),
    ("one more account", "accounts/444455556666/account.json", "", r#"{"AccountId": "444455556666"}"#, Whole),
    ("an account's switch", "account.json", "/RootUserEnabled", "true", Whole),
    ("the organization", "organization.json", "/Root/ServiceControlPolicies", r#"["FullAWSAccess"]"#, Whole),
    ("one more user", "users/eve.json", "", r#"{"UserName": "eve"}"#, Whole),
    ("what a group may do", "groups/staff.json", "/GroupPolicyList/0/PolicyDocument/Statement/0/Action", r#""orders:List""#, Patch),
    ("the name of what a group may do", "groups/staff.json", "/GroupPolicyList/0/PolicyName", r#""other""#, Whole),
    ("what a group has", "groups/staff.json", "/AttachedManagedPolicies", r#"[{"PolicyName": "two", "PolicyArn": "arn:aws:iam::111122223333:policy/two"}]"#, Whole),
    ("a group's path", "groups/staff.json", "/Path", r#""/team/""#, Whole),
    ("what a role may do", "roles/ops.json", "/RolePolicyList/0/PolicyDocument/Statement/0/Action", r#""orders:List""#, Patch),
    ("whom a role trusts", "roles/ops.json", "/AssumeRolePolicyDocument/Statement/0/Principal", r#"{"AWS": "arn:aws:iam::111122223333:root"}"#, Patch),
    ("a role's issuer", "roles/ops.json", "/AssumeRolePolicyDocument/Statement/1/Principal/Federated", r#""arn:aws:iam::111122223333:oidc-provider/two.example""#, Whole),
    ("a unique id that a role trusts", "roles/ops.json", "/AssumeRolePolicyDocument/Statement/0/Principal", r#"{"AWS": "AIDAANN"}"#, Whole),
    ("a role's path", "roles/ops.json", "/Path", r#""/team/""#, Whole),
    ("a managed policy", "managed-policies/one.json", "/PolicyVersionList/0/Document/Statement/0/Action", r#""orders:List""#, Patch),
    ("a managed policy's tag", "managed-policies/one.json", "/Tags/0/Value", r#""gold""#, Whole),
    ("a managed policy's path", "managed-policies/two.json", "/Path", r#""/team/""#, Whole),
    ("a resource policy", "resource-policies/orders.json", "/Policy/Statement/0/Action", r#""orders:List""#, Patch),
    ("whom a resource policy names", "resource-policies/orders.json", "/Policy/Statement/0/Principal", r#"{"AWS": "arn:aws:iam::111122223333:role/ops"}"#, Patch),
    ("a unique id in a resource policy", "resource-policies/orders.json", "/Policy/Statement/0/Principal", r#"{"AWS": "AIDAANN"}"#, Whole),
    ("where a resource policy stands", "resource-policies/orders.json", "/Resource", r#""arn:app:orders:::order/2""#, Whole),
    ("what a resource is tagged with", "resource-policies/orders.json", "/Tags/0/Value", r#""gold""#, Whole),
    ("that a resource policy is required", "resource-policies/orders.json", "/ResourcePolicyRequired", "true", Whole),
    ("a policy for a resource that has none", "resource-policies/bare.json", "/Policy", r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*", "Action": "*"}}"#, Whole),
    ("a pattern that misses a resource by its case", "users/ann.json", "/UserPolicyList/0/PolicyDocument/Statement/0/Resource", r#""arn:app:orders:::Order/1""#, Whole),
    ("a service control policy", "service-control-policies/limits.json", "/Statement/0/Action", r#""orders:List""#, Patch),
    ("a resource control policy", "resource-control-policies/fence.json", "/Statement/0/Action", r#""orders:List""#, Patch),
    ("a policy that is not there", "users/ann.json", "/AttachedManagedPolicies", r#"[{"PolicyName": "none", "PolicyArn": "arn:aws:iam::111122223333:policy/none"}]"#, Whole),
    ("a group that is not there", "users/ann.json", "/GroupList", r#"["none"]"#, Whole),
    ("a principal that is not there", "resource-policies/orders.json", "/Policy/Statement/0/Principal", r#"{"AWS": "arn:aws:iam::111122223333:user/none"}"#, Patch),
    ("a session in a resource policy", "resource-policies/orders.json", "/Policy/Statement/0/Principal", r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/ops/session"}"#, Patch),
    ("a session of a role that is not there", "resource-policies/orders.json", "/Policy/Statement/0/Principal", r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/none/session"}"#, Patch),
    ("an account in a resource policy", "resource-policies/orders.json", "/Policy/Statement/0/Principal", r#"{"AWS": "111122223333"}"#, Patch),
];

/// Returns a store that has a file of each kind.
fn base() -> Vec<(&'static str, Json)> {
    let document = |effect: &str, action: &str| json!({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": "*"}]});
    let about_all = |effect: &str, action: &str| json!({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Principal": "*", "Action": action}]});
    let managed = |name: &str, action: &str| {
        json!({"PolicyName": name, "Tags": [{"Key": "tier", "Value": "iron"}],
            "PolicyVersionList": [{"VersionId": "v1", "IsDefaultVersion": true, "Document": document("Allow", action)}]})
    };
    let attached =
        json!([{"PolicyName": "one", "PolicyArn": "arn:aws:iam::111122223333:policy/one"}]);
    let account = json!({"Id": "111122223333", "ServiceControlPolicies": ["FullAWSAccess"]});
    vec![
        ("account.json", json!({"AccountId": "111122223333"})),
        (
            "organization.json",
            json!({"Id": "o-example1", "ManagementAccountId": "999988887777", "Root": {
                "Id": "r-ex01", "ServiceControlPolicies": ["FullAWSAccess", "limits"],
                "ResourceControlPolicies": ["RCPFullAWSAccess", "fence"], "Accounts": [account]}}),
        ),
        (
            "users/ann.json",
            json!({"UserName": "ann", "UserId": "AIDAANN", "Tags": [{"Key": "tier", "Value": "iron"}],
                "GroupList": ["staff"], "AttachedManagedPolicies": attached,
                "UserPolicyList": [{"PolicyName": "inline", "PolicyDocument": document("Allow", "orders:Get")}]}),
        ),
        (
            "groups/staff.json",
            json!({"GroupName": "staff",
                "GroupPolicyList": [{"PolicyName": "inline", "PolicyDocument": document("Allow", "orders:Put")}]}),
        ),
        (
            "roles/ops.json",
            json!({"RoleName": "ops",
                "RolePolicyList": [{"PolicyName": "inline", "PolicyDocument": document("Allow", "orders:Get")}],
                "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [
                    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:user/ann"}, "Action": "sts:AssumeRole"},
                    {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
                        "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/one.example"}}]}}),
        ),
        ("managed-policies/one.json", managed("one", "orders:Pay")),
        ("managed-policies/two.json", managed("two", "orders:Send")),
        (
            "resource-policies/orders.json",
            json!({"Resource": "arn:app:orders:::order/1", "Tags": [{"Key": "tier", "Value": "iron"}],
                "Policy": about_all("Deny", "orders:Drop")}),
        ),
        (
            "resource-policies/bare.json",
            json!({"Resource": "arn:app:orders:::order/3", "Tags": [{"Key": "tier", "Value": "iron"}]}),
        ),
        (
            "service-control-policies/limits.json",
            document("Deny", "orders:Purge"),
        ),
        (
            "resource-control-policies/fence.json",
            json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Deny", "Principal": "*", "Action": "orders:Purge", "Resource": "*"}]}),
        ),
    ]
}

/// Returns the file with `text` in place of what `pointer` points to, or of the whole file.
fn edited(base: &[(&'static str, Json)], path: &'static str, pointer: &str, text: &str) -> Files {
    let mut files = base.to_vec();
    let new: Json = serde_json::from_str(text).unwrap();
    match pointer.rsplit_once('/') {
        None => files.push((path, new)),
        Some((parent, member)) => {
            let (_, file) = files.iter_mut().find(|(name, _)| *name == path).unwrap();
            let parent = file.pointer_mut(parent).unwrap();
            parent[member] = new;
        }
    }
    texts(&files)
}

fn texts(files: &[(&str, Json)]) -> Files {
    let text = |(path, json): &(&str, Json)| ((*path).to_owned(), json.to_string());
    files.iter().map(text).collect()
}

/// Returns questions of every principal for every action on every resource, and those of ann and of a token for the
/// role.
fn questions() -> Vec<Question> {
    let question = |principal: &str, action: &str, resource: &str| Question {
        principal: format!("arn:aws:iam::111122223333:{principal}"),
        action: action.to_owned(),
        resource: resource.to_owned(),
        at: 1_717_200_000,
        ..Question::default()
    };
    let mut questions = Vec::new();
    for principal in ["user/ann", "role/ops", "user/team/ann"] {
        for action in ["Get", "Put", "List", "Pay", "Send", "Drop", "Purge"] {
            for order in 1..=3 {
                let resource = format!("arn:app:orders:::order/{order}");
                questions.push(question(principal, &format!("orders:{action}"), &resource));
            }
        }
        questions.push(question(
            principal,
            "sts:AssumeRole",
            "arn:aws:iam::111122223333:role/ops",
        ));
    }
    for host in ["one", "two"] {
        let provider = format!("oidc-provider/{host}.example");
        let role = "arn:aws:iam::111122223333:role/ops";
        questions.push(question(&provider, "sts:AssumeRoleWithWebIdentity", role));
    }
    questions
}

/// An edit of one policy changes the sets that contain it.
const MAX_CHANGED_SETS: usize = 2;

fn n_tries(snapshot: &Snapshot) -> usize {
    snapshot.sets().filter(|set| set.trie().is_some()).count()
}

#[test]
fn an_edit_that_others_do_not_see_changes_a_few_tables_and_no_other_does() {
    let (base, questions) = (base(), questions());
    for (what, path, pointer, text, takes) in EDITS {
        let mut loader = Loader::new();
        let first = load(&mut loader, &texts(&base));
        let first = first.unwrap_or_else(|refused| panic!("{:#?}", refused.findings));
        let before = answers(&first.snapshot, &questions);
        let n_first = n_tries(&first.snapshot);
        assert!(n_first > 2 * MAX_CHANGED_SETS, "{n_first} sets have slices");

        let files = edited(&base, path, pointer, text);
        let incremental = load(&mut loader, &files);
        let whole = load(&mut Loader::new(), &files);
        assert_eq!(seen(&incremental), seen(&whole), "{what}");
        let (Ok(incremental), Ok(whole)) = (incremental, whole) else {
            assert_eq!(*takes, Whole, "{what}: it is refused");
            continue;
        };
        // The indexes that the first questions built are not built again, except for the few sets that the edit
        // changed.
        let n_kept = n_tries(&incremental.snapshot);
        assert!(
            n_kept + MAX_CHANGED_SETS >= n_first,
            "{what}: {n_kept} of {n_first} sets"
        );
        let took = if incremental.is_patched { Patch } else { Whole };
        assert_eq!(took, *takes, "{what}: {path} {pointer}");
        let found = policies(&incremental.snapshot);
        assert_eq!(found, policies(&whole.snapshot), "{what}");
        let after = answers(&whole.snapshot, &questions);
        assert_eq!(answers(&incremental.snapshot, &questions), after, "{what}");
        assert_eq!(
            answers(&first.snapshot, &questions),
            before,
            "{what}: the old snapshot"
        );
    }
}

/// A managed policy is compiled as a session policy when a session first names it, and not again until it changes.
#[test]
fn a_session_policy_is_kept_until_its_managed_policy_changes() {
    let base = base();
    let sessions = |snapshot: &Snapshot| {
        ["one", "two"].map(|name| {
            let arn = format!("arn:aws:iam::111122223333:policy/{name}");
            let managed = snapshot.managed_policy(&arn).unwrap();
            std::ptr::from_ref(managed.session().unwrap())
        })
    };
    let mut loader = Loader::new();
    let first = load(&mut loader, &texts(&base)).unwrap().snapshot;
    let before = sessions(&first);
    assert_eq!(sessions(&first), before, "each is made once");

    let action = "/PolicyVersionList/0/Document/Statement/0/Action";
    let changed = r#""orders:List""#;
    let mut files = edited(&base, "managed-policies/one.json", action, changed);
    let patched = load(&mut loader, &files).unwrap();
    assert!(patched.is_patched);
    let after = sessions(&patched.snapshot);
    assert_ne!(after[0], before[0], "its document has changed");
    assert_eq!(after[1], before[1], "nothing of it has changed");

    files.insert("users/eve.json".to_owned(), "{}".to_owned());
    let whole = load(&mut loader, &files).unwrap();
    assert!(!whole.is_patched);
    assert_eq!(sessions(&whole.snapshot), after);
}

/// Each list of policies that an entity has had is a set. It stays after no entity has it any more, until there are too
/// many of them.
#[test]
fn sets_that_nobody_has_any_more_are_gone_after_a_thousand_edits() {
    const N_POLICIES: usize = 12;
    let arn = |policy: usize| format!("arn:aws:iam::111111111111:policy/p{policy}");
    let mut files = Files::from([(
        "account.json".to_owned(),
        r#"{"AccountId": "111111111111"}"#.to_owned(),
    )]);
    for policy in 0..N_POLICIES {
        let text = crate::support::allow(&format!("orders:Get{policy}"));
        files.insert(format!("managed-policies/p{policy}.json"), text);
    }
    let mut loader = Loader::new();
    // The bits of the number say which policies ann has.
    let mut is_whole = |n: &usize| {
        let has = (0..N_POLICIES).filter(|policy| n & (1 << policy) != 0);
        let attached: Vec<Json> = has
            .map(|policy| json!({"PolicyArn": arn(policy)}))
            .collect();
        let user = json!({"AttachedManagedPolicies": attached}).to_string();
        files.insert("users/ann.json".to_owned(), user);
        !load(&mut loader, &files).unwrap().is_patched
    };
    let wholes: Vec<usize> = (1..2_200).filter(|n| is_whole(n)).collect();
    assert_eq!(wholes.len(), 3, "{wholes:?}");
    assert_eq!(wholes[0], 1);
    let between = wholes.windows(2).map(|pair| pair[1] - pair[0]);
    // The store itself has one set.
    assert!(between.min() >= Some(1_024), "{wholes:?}");
}
