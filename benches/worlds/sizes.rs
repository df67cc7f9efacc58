//! Stores of every size, and users with few and with many policies.

use super::SEED;
use super::model::{Holder, Statement, World};
use super::random::Random;
use super::statements::statement;

const N_HOT_GROUPS: usize = 8;
const N_USERS_PER_HOT_GROUP: usize = 8;
const N_POLICIES_PER_HOT_GROUP: usize = 7;
const N_STATEMENTS: usize = 3;
/// How many of the other users share a group.
const N_PER_GROUP: usize = 20;

/// A store with the users that the questions are about, who come first in it.
pub struct Sized {
    /// The store.
    pub world: World,
    /// The users that the questions are about.
    pub hot: Vec<Holder>,
}

/// Makes `n_policies` managed policies of three statements and as many users. The first 64 users are the same in a
/// store of any size: they are in eight groups with seven policies each, so each has 21 statements attached.
/// `n_policies` is at least 100.
pub fn by_size(n_policies: usize) -> Sized {
    let mut random = Random::new(SEED);
    let mut world = World::default();
    for group in 0..N_HOT_GROUPS {
        let policies = (0..N_POLICIES_PER_HOT_GROUP)
            .map(|index| {
                add(
                    &mut world,
                    &mut random,
                    &format!("Hot{group}-{index}"),
                    N_STATEMENTS,
                )
            })
            .collect();
        world.groups.push(Holder {
            name: format!("hot-{group}"),
            policies,
            ..Holder::default()
        });
        for index in 0..N_USERS_PER_HOT_GROUP {
            world.users.push(Holder {
                name: format!("hot-{group}-{index}"),
                groups: vec![group],
                ..Holder::default()
            });
        }
    }
    let hot = world.users.clone();
    fill(&mut world, n_policies);
    Sized { world, hot }
}

/// Makes eight users for each number in `n_attached` of attached statements, in one store of `n_policies`.
pub fn by_attached(n_attached: &[usize], n_policies: usize) -> (World, Vec<(usize, Vec<Holder>)>) {
    const N_USERS: usize = 8;
    const N_PER_POLICY: usize = 5;
    let mut random = Random::new(SEED + 1);
    let mut world = World::default();
    let mut sets = Vec::new();
    for &n_attached in n_attached {
        let mut users = Vec::new();
        for index in 0..N_USERS {
            let policies = (0..n_attached / N_PER_POLICY)
                .map(|policy| {
                    let name = format!("A{n_attached}-{index}-{policy}");
                    let at = add(&mut world, &mut random, &name, N_PER_POLICY);
                    // Even five statements need a Deny, or there would be no question with an explicit deny.
                    if let Some(policy) = world.policies.get_mut(at) {
                        ensure_both_effects(&mut policy.statements);
                    }
                    at
                })
                .collect();
            users.push(Holder {
                name: format!("a{n_attached}-{index}"),
                policies,
                ..Holder::default()
            });
        }
        world.users.extend(users.iter().cloned());
        sets.push((n_attached, users));
    }
    fill(&mut world, n_policies);
    (world, sets)
}

/// Makes `n_users` users with `n_attached` statements each, drawn from `n_policies` policies that they share.
pub fn by_holders(n_users: usize, n_attached: usize, n_policies: usize) -> World {
    const N_PER_POLICY: usize = 5;
    let mut random = Random::new(SEED + 3);
    let mut world = World::default();
    for index in 0..n_policies {
        add(
            &mut world,
            &mut random,
            &format!("P{index:05}"),
            N_PER_POLICY,
        );
    }
    for index in 0..n_users {
        let mut policies = Vec::new();
        while policies.len() < n_attached / N_PER_POLICY {
            let policy = random.below(n_policies);
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        world.users.push(Holder {
            name: format!("user-{index:05}"),
            policies,
            ..Holder::default()
        });
    }
    world
}

/// If no statement denies, makes the last one a narrow Deny about the actions and resources of the first.
fn ensure_both_effects(statements: &mut [Statement]) {
    if statements.iter().any(|statement| statement.denies) {
        return;
    }
    let Some(first) = statements.first().cloned() else {
        return;
    };
    let Some(last) = statements.last_mut() else {
        return;
    };
    let service = first
        .actions
        .first()
        .and_then(|action| action.split(':').next());
    let resource = format!(
        "arn:aws:{}:*:{}:secret/s/*",
        service.unwrap_or_default().to_ascii_lowercase(),
        super::ACCOUNT,
    );
    *last = Statement {
        denies: true,
        actions: first.actions,
        ..Statement::allow("", resource)
    };
}

/// Adds policies that no question is about until there are `n_policies`, and as many users with some of them.
fn fill(world: &mut World, n_policies: usize) {
    let mut random = Random::new(SEED + 2);
    let first = world.policies.len();
    for index in first..n_policies {
        add(world, &mut random, &format!("P{index:06}"), N_STATEMENTS);
    }
    let n_policies = world.policies.len() - first;
    if n_policies == 0 {
        return;
    }
    let n_users = n_policies;
    let first_group = world.groups.len();
    for index in 0..n_users.div_ceil(N_PER_GROUP) {
        world.groups.push(Holder {
            name: format!("group-{index:05}"),
            policies: some(&mut random, first, n_policies, 3),
            ..Holder::default()
        });
    }
    for index in 0..n_users {
        world.users.push(Holder {
            name: format!("user-{index:06}"),
            policies: some(&mut random, first, n_policies, 2),
            groups: vec![first_group + index / N_PER_GROUP],
            ..Holder::default()
        });
    }
}

/// Returns up to `n_chosen` different indices of the `n_policies` from `first` on.
fn some(random: &mut Random, first: usize, n_policies: usize, n_chosen: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..n_chosen)
        .map(|_| first + random.below(n_policies))
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn add(world: &mut World, random: &mut Random, name: &str, n_statements: usize) -> usize {
    let statements = (0..n_statements).map(|_| statement(random)).collect();
    world.add_policy(name.to_owned(), statements)
}
