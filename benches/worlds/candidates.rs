//! Users with many statements about one action, and with many conditions in one statement.

use super::model::{Holder, Statement, World};
use super::questions::Question;
use super::random::Random;
use super::statements::conditions;
use super::{ACCOUNT, REGION, SEED};

/// About the most statements that fit into AWS's size limit of one policy.
const N_PER_POLICY: usize = 32;
const ACTION: &str = "docs:Read";

/// The questions about a user with many candidates.
pub struct Candidates {
    /// The number of candidates.
    pub n_candidates: usize,
    /// The questions that one of them allows.
    pub hits: Vec<Question>,
    /// The questions that none of them allows.
    pub misses: Vec<Question>,
}

/// Makes a user for each number in `n_candidates`. The user has this many statements about one action attached. There
/// are `n_questions` that one of them allows and as many that none allows. Half of the patterns have a long literal
/// prefix, half have an early wildcard, and every eighth statement denies something narrow.
pub fn by_candidates(n_candidates: &[usize], n_questions: usize) -> (World, Vec<Candidates>) {
    let mut random = Random::new(SEED + 3);
    let mut world = World::default();
    let mut sets = Vec::new();
    for &n_candidates in n_candidates {
        let statements: Vec<Statement> = (0..n_candidates).map(candidate).collect();
        let policies = statements
            .chunks(N_PER_POLICY)
            .enumerate()
            .map(|(index, chunk)| {
                world.add_policy(format!("C{n_candidates}-{index}"), chunk.to_vec())
            })
            .collect();
        let user = Holder {
            name: format!("c{n_candidates}"),
            policies,
            ..Holder::default()
        };
        let mut ask = |folder: String| {
            let tail = format!("{:06}", random.below(1_000_000));
            let resource = format!("arn:app:docs:{REGION}:{ACCOUNT}:{folder}/{tail}");
            Question::plain(&mut random, &user, ACTION.to_owned(), resource)
        };
        let hits = (0..n_questions)
            .map(|index| ask(folder(allowing(index * 37 % n_candidates))))
            .collect();
        let misses = (0..n_questions)
            .map(|index| ask(folder(n_candidates + index)))
            .collect();
        world.users.push(user);
        sets.push(Candidates {
            n_candidates,
            hits,
            misses,
        });
    }
    (world, sets)
}

fn candidate(index: usize) -> Statement {
    let folder = folder(index);
    let resource = match (index % 8, index % 2) {
        (7, _) => format!("arn:app:docs:{REGION}:{ACCOUNT}:{folder}/private/*"),
        (_, 0) => format!("arn:app:docs:{REGION}:{ACCOUNT}:{folder}/*"),
        _ => format!("arn:app:docs:*:*:{folder}/*"),
    };
    Statement {
        denies: index % 8 == 7,
        ..Statement::allow(ACTION, resource)
    }
}

/// Returns `index`, or the index of a neighbour that allows.
fn allowing(index: usize) -> usize {
    match index % 8 {
        7 => index - 1,
        _ => index,
    }
}

fn folder(index: usize) -> String {
    format!("folder-{:06}", index * 7_919 % 1_000_000)
}

/// Makes a user for each number in `n_conditions`. The user has one statement with this many conditions, and a question
/// that fulfils them all.
pub fn by_conditions(n_conditions: &[usize]) -> (World, Vec<(usize, Vec<Question>)>) {
    let mut random = Random::new(SEED + 4);
    let mut world = World::default();
    let mut sets = Vec::new();
    for &n_conditions in n_conditions {
        let resource = format!("arn:app:docs:{REGION}:{ACCOUNT}:report/*");
        // The same seed gives every user the conditions of the user before and some more.
        let conditions = conditions(&mut Random::new(SEED), n_conditions);
        let statement = Statement {
            conditions,
            ..Statement::allow(ACTION, resource)
        };
        let policy = world.add_policy(format!("N{n_conditions}"), vec![statement.clone()]);
        let user = Holder {
            name: format!("n{n_conditions}"),
            policies: vec![policy],
            ..Holder::default()
        };
        let questions = (0..64).map(|index| {
            let resource = format!("arn:app:docs:{REGION}:{ACCOUNT}:report/{index}");
            let mut question = Question::plain(&mut random, &user, ACTION.to_owned(), resource);
            question.context.retain(|(key, _)| {
                !statement
                    .conditions
                    .iter()
                    .any(|condition| condition.key == *key)
            });
            let fulfilled = statement.conditions.iter().map(|condition| {
                let value = condition
                    .fulfilled_by
                    .replace("${aws:username}", &user.name);
                (condition.key.clone(), value)
            });
            question.context.extend(fulfilled);
            question
        });
        let questions = questions.collect();
        world.users.push(user);
        sets.push((n_conditions, questions));
    }
    (world, sets)
}
