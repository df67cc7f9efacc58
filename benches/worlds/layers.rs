//! A user for whom every policy type is in play.

use serde_json::json;

use super::model::{Holder, Statement, World, document};
use super::questions::Question;
use super::random::Random;
use super::{ACCOUNT, REGION, SEED};

/// Makes a user with a boundary below three levels of service control policies. The resources have a resource policy
/// and a resource control policy. All of these policies allow the questions.
pub fn layered() -> (World, Vec<Question>) {
    let mut random = Random::new(SEED + 6);
    let mut world = World::default();
    let resource = format!("arn:app:docs:{REGION}:{ACCOUNT}:report/*");
    let granted = vec![
        Statement::allow("docs:Read", resource.clone()),
        Statement::allow("docs:List*", "*"),
        deny(
            "docs:Read",
            &format!("arn:app:docs:*:{ACCOUNT}:report/secret/*"),
        ),
    ];
    let bounding = vec![Statement::allow("docs:*", "*"), deny("docs:Delete*", "*")];
    let granted = world.add_policy("Granted".to_owned(), granted);
    let bounding = world.add_policy("Bounding".to_owned(), bounding);
    let user = Holder {
        name: "layered".to_owned(),
        policies: vec![granted],
        boundary: Some(bounding),
        ..Holder::default()
    };
    let guard = [deny("docs:Purge", "*")];
    let inside = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "docs:*", "Resource": "*",
        "Condition": {"StringNotEquals": {"aws:PrincipalAccount": ACCOUNT}},
    }]});
    let on_reports = json!({
        "Resource": resource,
        "Policy": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "docs:Read", "Resource": resource,
             "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "docs:Share", "Resource": resource},
        ]},
    });
    let full = "FullAWSAccess";
    let account = json!({"Id": ACCOUNT, "ServiceControlPolicies": [full]});
    let unit = json!({
        "Id": "ou-x-inner", "ServiceControlPolicies": [full, "guard"], "ResourceControlPolicies": ["inside"],
        "Accounts": [account],
    });
    let organization = json!({
        "Id": "o-x", "ManagementAccountId": "999988887777",
        "Root": {
            "Id": "r-x", "ServiceControlPolicies": [full, "guard"], "ResourceControlPolicies": ["RCPFullAWSAccess"],
            "OrganizationalUnits": [unit],
            "Accounts": [{"Id": "999988887777", "ServiceControlPolicies": [full]}],
        },
    });
    world.extra = vec![
        ("organization.json".to_owned(), organization),
        (
            "service-control-policies/guard.json".to_owned(),
            document(&guard),
        ),
        ("resource-control-policies/inside.json".to_owned(), inside),
        ("resource-policies/reports.json".to_owned(), on_reports),
    ];
    let questions = (0..64).map(|index| {
        let resource = format!("arn:app:docs:{REGION}:{ACCOUNT}:report/{index}");
        Question::plain(&mut random, &user, "docs:Read".to_owned(), resource)
    });
    let questions = questions.collect();
    world.users.push(user);
    (world, questions)
}

fn deny(action: &str, resource: &str) -> Statement {
    Statement {
        denies: true,
        ..Statement::allow(action, resource)
    }
}
