//! The lists of the example store, compared with simulations of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::json as listed;
use crate::matrix::{ASKED, ASKERS, AT};
use crate::support::{iamd, repository, run};

/// Returns whether each of these simulations is allowed.
fn simulated(lines: &[String]) -> Vec<bool> {
    let mut command = iamd(["simulate", "--requests", "-", "--store"]);
    command.arg(repository().join("policies"));
    let finished = run(command, &lines.join("\n"));
    let answers: Vec<bool> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .map(|answer: Value| answer["decision"] == "DECISION_ALLOW")
        .collect();
    assert_eq!(answers.len(), lines.len(), "{}", finished.stderr);
    answers
}

/// Returns the user or the role as whom `principal` is listed, if it is one of the store.
fn listed_as(principal: &str) -> Option<String> {
    if let Some((account, role)) = principal.split_once(":assumed-role/") {
        let (name, _) = role.split_once('/')?;
        // No two roles of the example store differ in their path alone.
        let path = if name == "retention" { "jobs/" } else { "" };
        let account = account.replace(":sts:", ":iam:");
        return Some(format!("{account}:role/{path}{name}"));
    }
    // The store has an account for the tax adviser, and no user of it.
    let is_of_store = principal.contains(":user/") && !principal.contains(":tax-adviser:");
    is_of_store.then(|| principal.to_owned())
}

#[test]
fn whoever_is_simulated_as_allowed_is_listed_and_who_is_listed_without_conditions_is_allowed() {
    let (mut cases, mut lines) = (Vec::new(), Vec::new());
    for (action, resource, context) in ASKED {
        let context: Value = serde_json::from_str(context).unwrap();
        let given = context.as_object().unwrap().iter();
        let given: Vec<String> = given
            .map(|(key, value)| format!("{key}:={value}"))
            .collect();
        let mut arguments = vec!["principals", "--action", action, "--resource", resource];
        arguments.extend(given.iter().flat_map(|entry| ["--context", entry]));
        let found = listed(&arguments);
        let found = found["principals"].as_array().unwrap();
        let access: BTreeMap<&str, &str> = found
            .iter()
            .map(|one| {
                (
                    one["principal"].as_str().unwrap(),
                    one["access"].as_str().unwrap(),
                )
            })
            .collect();
        for (_, principal, session) in ASKERS {
            let Some(own) = listed_as(principal) else {
                continue;
            };
            let session: Value = serde_json::from_str(session).unwrap();
            let line = json!({"principal": principal, "action": action, "resource": resource,
                "context": context, "session": session, "evaluationTime": AT});
            lines.push(line.to_string());
            cases.push(access.get(&*own).map(|access| *access == "ACCESS_ALLOWED"));
        }
    }
    let (mut n_allowed, mut n_listed) = (0, 0);
    for ((is_allowed, is_plain), line) in simulated(&lines).into_iter().zip(cases).zip(&lines) {
        match is_plain {
            None => assert!(!is_allowed, "left out: {line}"),
            Some(is_plain) => assert!(is_allowed || !is_plain, "not always: {line}"),
        }
        n_allowed += u32::from(is_allowed);
        n_listed += u32::from(is_plain == Some(true));
    }
    assert!(n_allowed > 50 && n_listed > 20, "{n_allowed} {n_listed}");
}
