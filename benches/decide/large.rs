//! Measures what the first questions to a very large set of policies pay for: its rows, its trie, and the filter of a node with
//! many statements.

use std::hint::black_box;

use anyhow::Context;
use iamd::engine::authorize;

use crate::measure::{Options, head, median, nanoseconds, row, thread_cpu};
use crate::worlds::Question;

/// The policies of the user, and the statements of each: all of them speak of one action.
const POLICIES: usize = 100;
const STATEMENTS: usize = 50;
/// How many questions are asked one after the other. The filter is made for one of them.
const N_ASKED: usize = 16;

/// Prints the table.
pub fn measure(options: &Options) -> anyhow::Result<()> {
    let n_statements = POLICIES * STATEMENTS;
    head(
        &format!("Large: {n_statements} statements about one action in one set"),
        &[
            "patterns in each",
            "first question",
            "the one that makes the filter",
            "a later one",
        ],
    );
    for n_patterns in options.pick(vec![1, 3, 10], vec![1]) {
        let files = store(n_patterns);
        let [mut firsts, mut filters, mut laters] = [(); 3].map(|()| Vec::new());
        for _ in 0..options.pick(7, 1) {
            let texts = files.iter().map(|(path, text)| (&**path, &**text));
            let Ok(loaded) = iamd::store::load_texts(texts) else {
                anyhow::bail!("the store does not load");
            };
            let mut took = Vec::new();
            for number in 0..N_ASKED {
                let question = question(number);
                let request = question.request()?;
                let begun = thread_cpu();
                let decision = black_box(authorize(&loaded.snapshot, &request));
                took.push(thread_cpu().saturating_sub(begun).as_nanos() as f64);
                if decision.is_err() {
                    anyhow::bail!("{request:?} was refused");
                }
            }
            let (first, others) = took.split_first().context("some are asked")?;
            firsts.push(*first);
            filters.push(others.iter().copied().fold(0.0, f64::max));
            laters.push(median(others.to_vec()));
        }
        let times = [firsts, filters, laters].map(|times| nanoseconds(median(times)));
        row(&[&[n_patterns.to_string()], &times[..]].concat());
    }
    Ok(())
}

fn question(number: usize) -> Question {
    Question {
        principal: "arn:aws:iam::111122223333:user/ann".to_owned(),
        action: "orders:Get".to_owned(),
        resource: format!("arn:app:orders:::shelf-{number}/box-{number}/order"),
        context: Vec::new(),
    }
}

/// Returns a store with one user, whose policies have this many patterns in each statement.
fn store(n_patterns: usize) -> Vec<(String, String)> {
    let statement = |number: usize| {
        let patterns: Vec<String> = (0..n_patterns)
            .map(|pattern| format!(r#""arn:app:orders:::shelf-{number}/*/of-{pattern}""#))
            .collect();
        format!(
            r#"{{"Effect": "Allow", "Action": "orders:Get", "Resource": [{}]}}"#,
            patterns.join(", ")
        )
    };
    let policy = |policy: usize| {
        let first = policy * STATEMENTS;
        let statements: Vec<String> = (first..first + STATEMENTS).map(statement).collect();
        let document = statements.join(", ");
        (
            format!("managed-policies/p{policy}.json"),
            format!(r#"{{"Version": "2012-10-17", "Statement": [{document}]}}"#),
        )
    };
    let attached: Vec<String> = (0..POLICIES)
        .map(|policy| format!(r#"{{"PolicyArn": "arn:aws:iam::111122223333:policy/p{policy}"}}"#))
        .collect();
    let user = format!(
        r#"{{"AttachedManagedPolicies": [{}]}}"#,
        attached.join(", ")
    );
    let others = [
        (
            "account.json".to_owned(),
            r#"{"AccountId": "111122223333"}"#.to_owned(),
        ),
        ("users/ann.json".to_owned(), user),
    ];
    (0..POLICIES).map(policy).chain(others).collect()
}
