//! Users whose questions must all be compared with many conditions.

use super::model::{Condition, Holder, Statement, World};
use super::questions::Question;
use super::random::Random;
use super::statements::conditions;
use super::{ACCOUNT, REGION, SEED};

const ACTION: &str = "docs:Read";
/// How many conditions of each Deny hold. One more does not.
const N_FULFILLED: usize = 5;

/// Makes a user for each number in `n_guards`. The user has one Allow and this many Denies about everything, and
/// `n_questions` that are allowed. Five conditions of each Deny hold and the sixth does not, so that no condition can
/// be skipped.
pub fn guarded(n_guards: &[usize], n_questions: usize) -> (World, Vec<(usize, Vec<Question>)>) {
    let mut random = Random::new(SEED + 7);
    let mut world = World::default();
    let mut sets = Vec::new();
    for &n_guards in n_guards {
        let mut statements: Vec<Statement> = (0..n_guards)
            .map(|index| guard(&mut random, index))
            .collect();
        let resource = format!("arn:app:docs:{REGION}:{ACCOUNT}:report/*");
        statements.push(Statement::allow(ACTION, resource));
        let user = Holder {
            name: format!("g{n_guards}"),
            policies: vec![world.add_policy(format!("G{n_guards}"), statements)],
            ..Holder::default()
        };
        let questions = (0..n_questions).map(|index| question(&mut random, &user, index));
        let questions = questions.collect();
        world.users.push(user);
        sets.push((n_guards, questions));
    }
    (world, sets)
}

fn guard(random: &mut Random, index: usize) -> Statement {
    let mut conditions = conditions(random, N_FULFILLED);
    conditions.push(Condition {
        operator: "StringLike",
        key: "app:purpose".to_owned(),
        operands: vec![format!("*-migration-{index:02}-*")],
        fulfilled_by: format!("a-migration-{index:02}-b"),
    });
    Statement {
        denies: true,
        conditions,
        ..Statement::allow(ACTION, "*")
    }
}

/// Makes a question with a value for every key that a condition may read.
fn question(random: &mut Random, user: &Holder, index: usize) -> Question {
    let resource = format!("arn:app:docs:{REGION}:{ACCOUNT}:report/{index}");
    let mut question = Question::plain(random, user, ACTION.to_owned(), resource);
    let all = conditions(&mut Random::new(SEED), usize::MAX);
    let values = all.into_iter().map(|condition| {
        let value = condition
            .fulfilled_by
            .replace("${aws:username}", &user.name);
        (condition.key, value)
    });
    let values: Vec<_> = values.collect();
    question
        .context
        .retain(|(key, _)| !values.iter().any(|(other, _)| other == key));
    question.context.extend(values);
    question
        .context
        .push(("app:purpose".to_owned(), "the nightly report".to_owned()));
    question
}
