//! Makes the tries of a small store before anybody asks.

use std::collections::HashSet;
use std::sync::Arc;

use super::policy::Policy;
use super::policy_set::PolicySet;
use super::snapshot::Snapshot;
use crate::limits::MAX_PREPARED_BYTES;

impl Snapshot {
    /// Makes the tries of the policy sets, in their order, as long as they and the rows of their policies take at most about
    /// [`MAX_PREPARED_BYTES`]. Those that are there already count too, so that reloads do not add up.
    ///
    /// Without this, the first question to a set waits for its trie, as those to the other sets of a larger store always do.
    ///
    /// Whoever has asked in `before`, the snapshot that this one replaces, most likely asks again, so their tries are made however large
    /// the store is. If somebody has asked for a list of principals, the index for that is made anew, too. So are the actions that the
    /// statements name.
    ///
    /// Ends early once `is_awaited` says that something waits for the thread, such as another change.
    pub fn prepare(&self, before: Option<&Self>, is_awaited: impl Fn() -> bool) {
        self.named_actions();
        self.prepare_up_to(MAX_PREPARED_BYTES);
        if let Some(before) = before {
            self.prepare_as(before, &is_awaited);
        }
        if self.holders.is_wanted() && !is_awaited() {
            self.holders();
        }
    }

    /// Makes the tries of those users and roles whose sets had one in `before`.
    fn prepare_as(&self, before: &Self, is_awaited: impl Fn() -> bool) {
        for entity in self.principals() {
            if is_awaited() {
                return;
            }
            let missing = entity.sets().map(|id| {
                let set = self.set(id?)?;
                set.trie().is_none().then_some(set)
            });
            if missing.iter().all(Option::is_none) {
                continue;
            }
            let Some(known) = before.find(&entity.arn) else {
                continue;
            };
            for (set, known) in missing.into_iter().zip(known.sets()) {
                let was_asked = known
                    .and_then(|id| before.set(id))
                    .is_some_and(|known| known.trie().is_some());
                if let Some(set) = set.filter(|_| was_asked) {
                    set.trie_or_made();
                }
            }
        }
    }

    fn prepare_up_to(&self, max_bytes: usize) {
        let mut counted = HashSet::new();
        let (mut n_bytes, mut n_large) = (0, 0);
        for set in self.sets() {
            if n_bytes + estimate(set, &counted) > max_bytes {
                n_large += 1;
                if n_large == MAX_LARGE {
                    return;
                }
                continue;
            }
            n_bytes += prepare(set, &mut counted);
        }
    }
}

/// After so many sets that do not fit, the others are not looked at.
const MAX_LARGE: usize = 64;
/// About how many bytes a statement and one of its actions take.
const STATEMENT: usize = 96;
const ACTION: usize = 120;

/// Returns about how many bytes [`prepare`] would return, without making anything.
fn estimate(set: &PolicySet, counted: &HashSet<*const Policy>) -> usize {
    let of_policy = |policy: &Arc<Policy>| {
        let of_statements = policy.statements.iter().map(|statement| {
            let n_actions = statement.actions.entries().len();
            let is_counted = counted.contains(&Arc::as_ptr(policy));
            (if is_counted { 0 } else { STATEMENT }) + n_actions * ACTION
        });
        of_statements.sum::<usize>()
    };
    set.policies().iter().map(of_policy).sum()
}

/// Makes the trie of a set. Returns how many bytes the trie takes, with the rows that are not in `counted`, which are the
/// addresses of policies.
fn prepare(set: &PolicySet, counted: &mut HashSet<*const Policy>) -> usize {
    let trie = set.trie_or_made().n_bytes();
    let new = set.policies().iter();
    let new = new.filter(|policy| counted.insert(Arc::as_ptr(policy)));
    trie + new.map(|policy| policy.rows().n_bytes()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use crate::name::Arn;
    use crate::store::Loader;

    /// A snapshot whose users have a policy of their own each.
    fn of_users(n_users: usize) -> Snapshot {
        loaded(&mut Loader::new(), n_users, "*")
    }

    /// The same for resources that match a pattern, compiled by `loader`.
    fn loaded(loader: &mut Loader, n_users: usize, pattern: &str) -> Snapshot {
        let user = |n: usize| {
            let text = format!(
                r#"{{"UserPolicyList":[{{"PolicyName":"own","PolicyDocument":{{"Statement":
                [{{"Effect":"Allow","Action":"app:Do{n}","Resource":"{pattern}"}}]}}}}]}}"#
            );
            (format!("users/u{n}.json"), text)
        };
        let account = (
            "account.json".to_owned(),
            r#"{"AccountId":"111122223333"}"#.to_owned(),
        );
        let files: Vec<_> = (0..n_users).map(user).chain([account]).collect();
        let loaded = loader.load_texts(
            files
                .iter()
                .map(|(path, text)| (path.as_str(), text.as_str())),
        );
        loaded.unwrap().snapshot
    }

    fn n_made(snapshot: &Snapshot) -> usize {
        snapshot.sets().filter(|set| set.trie().is_some()).count()
    }

    #[test]
    fn tries_are_prepared_up_to_a_number_of_bytes() {
        let snapshot = of_users(20);
        assert_eq!(n_made(&snapshot), 0, "loading makes none");
        let one = prepare(snapshot.sets().next().unwrap(), &mut HashSet::new());
        for _ in 0..3 {
            snapshot.prepare_up_to(3 * one);
            assert!(
                (2..=4).contains(&n_made(&snapshot)),
                "{}",
                n_made(&snapshot)
            );
        }
        snapshot.prepare(None, || false);
        assert_eq!(n_made(&snapshot), snapshot.sets().count());
        let small = of_users(2);
        small.prepare_up_to(one / 8);
        assert_eq!(n_made(&small), 0, "a set larger than the bound is not made");
    }

    #[test]
    fn whoever_has_asked_before_finds_a_trie_again() {
        let mut loader = Loader::new();
        let before = loaded(&mut loader, 20, "arn:app:a:::*");
        let of = |snapshot: &Snapshot, name: &str| {
            let arn = format!("arn:aws:iam::111122223333:user/{name}");
            let arn = Arn::parse(&arn).unwrap();
            snapshot.find(&arn).unwrap().identity.unwrap()
        };
        for name in ["u3", "u7"] {
            before.set(of(&before, name)).unwrap().trie_or_made();
        }
        let after = loaded(&mut loader, 20, "arn:app:b:::*");
        assert_eq!(n_made(&after), 0, "all sets have changed");
        after.prepare_as(&before, || true);
        assert_eq!(n_made(&after), 0, "a change waits for this thread");
        after.prepare_as(&before, || false);
        assert_eq!(n_made(&after), 2);
        for name in ["u3", "u7"] {
            assert!(after.set(of(&after, name)).unwrap().trie().is_some());
        }
    }
}
