#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;

use super::*;
use crate::compile::snapshot::Snapshot;
use crate::engine::work::Work;
use crate::store::Loader;

/// What each user may do, and on what.
type Users = BTreeMap<usize, (usize, String)>;

/// What a change is called, and what it does.
type Change = (&'static str, fn(&mut Users));

const N_USERS: usize = 3 * MAX_POLICIES - 10;

fn users() -> Users {
    let user = |n| (n, (n % 50, format!("arn:app:docs:::page/{}", n % 7)));
    (0..N_USERS).map(user).collect()
}

fn load(loader: &mut Loader, users: &Users) -> Snapshot {
    let user = |(n, (action, resource)): (&usize, &(usize, String))| {
        let text = format!(
            r#"{{"UserPolicyList":[{{"PolicyName":"own","PolicyDocument":{{"Statement":
            [{{"Effect":"Allow","Action":"docs:Do{action}","Resource":"{resource}"}}]}}}}]}}"#
        );
        (format!("users/u{n}.json"), text)
    };
    let account = (
        "account.json".to_owned(),
        r#"{"AccountId":"111122223333"}"#.to_owned(),
    );
    let files: Vec<_> = users.iter().map(user).chain([account]).collect();
    let texts = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    loader.load_texts(texts).unwrap().snapshot
}

/// Returns who may do it, as the names of the users say it and as `holders` does.
fn who(users: &Users, holders: &Holders, action: usize, page: usize) -> [Vec<String>; 2] {
    let resource = format!("arn:app:docs:::page/{page}");
    let named = users
        .iter()
        .filter(|(_, may)| **may == (action, resource.clone()));
    let mut named: Vec<String> = named.map(|(n, _)| format!("u{n}")).collect();
    let action = Action::parse(&format!("docs:Do{action}")).unwrap();
    let resource = Resource::parse(&resource).unwrap();
    let found = holders.of_question(&action, &resource, &Work::ample());
    let mut found: Vec<String> = found
        .iter()
        .map(|entity| entity.name().to_owned())
        .collect();
    named.sort();
    found.sort();
    [named, found]
}

fn n_kept(holders: &Holders, before: &Holders) -> usize {
    let is_old = |part: &&Part| {
        let mut old = before.parts.iter();
        old.any(|old| Arc::ptr_eq(&old.policies, &part.policies))
    };
    holders.parts.iter().filter(is_old).count()
}

#[test]
fn a_change_of_a_few_policies_leaves_the_other_parts_as_they_are() {
    let (mut loader, mut users) = (Loader::new(), users());
    let mut last = load(&mut loader, &users);
    assert_eq!(last.holders().parts.len(), 3);
    let changes: [Change; 5] = [
        ("one is edited", |users| users.get_mut(&7).unwrap().0 = 99),
        ("one is gone", |users| _ = users.remove(&8)),
        ("one is new", |users| {
            _ = users.insert(N_USERS, (99, "arn:app:docs:::page/0".into()))
        }),
        ("back", |users| users.get_mut(&7).unwrap().0 = 7),
        ("nothing has changed but a name", |users| {
            let moved = users.remove(&100).unwrap();
            users.insert(N_USERS + 1, moved);
        }),
    ];
    for (what, change) in changes {
        change(&mut users);
        let next = load(&mut loader, &users);
        assert!(
            next.holders.is_wanted(),
            "{what}: since it was asked for before"
        );
        next.prepare(Some(&last), || false);
        assert!(next.holders.found.get().is_some(), "{what}");
        assert!(!next.holders.is_wanted(), "{what}: the last one is let go");
        let holders = next.holders();
        assert!(n_kept(holders, last.holders()) >= 2, "{what}");
        assert_eq!(
            holders.policies().count(),
            users.len(),
            "{what}: without those that are gone"
        );
        for (action, page) in (0..50)
            .flat_map(|action| [(action, action % 7), (action, 3)])
            .chain([(99, 0), (7, 0)])
        {
            let [expected, found] = who(&users, holders, action, page);
            assert_eq!(found, expected, "{what}: {action} on {page}");
        }
        last = next;
    }
}

#[test]
fn nobody_makes_it_anew_if_nobody_has_asked() {
    let (mut loader, mut users) = (Loader::new(), users());
    let last = load(&mut loader, &users);
    users.remove(&7);
    let next = load(&mut loader, &users);
    next.prepare(Some(&last), || false);
    assert!(next.holders.found.get().is_none());

    // Nor while something waits; then the next one still knows that it is wanted.
    next.holders();
    users.remove(&8);
    let busy = load(&mut loader, &users);
    busy.prepare(Some(&next), || true);
    assert!(busy.holders.found.get().is_none() && busy.holders.is_wanted());
    users.remove(&9);
    let after = load(&mut loader, &users);
    after.prepare(Some(&busy), || false);
    assert!(n_kept(after.holders(), next.holders()) >= 2);
}
