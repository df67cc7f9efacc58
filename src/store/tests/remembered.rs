//! A reload that remembers unchanged files gives the same results as one that reads everything.

use std::time::Instant;

use super::*;

/// Returns the revision and the sizes of a store that loads, and all findings about it.
fn said(loaded: Result<Loaded, Refused>) -> (Option<(String, [usize; 3])>, Vec<Finding>) {
    match loaded {
        Ok(loaded) => {
            let sizes = [loaded.n_files, loaded.n_statements, loaded.n_principals];
            let revision = loaded.snapshot.revision.to_string();
            (Some((revision, sizes)), loaded.findings)
        }
        Err(refused) => (None, refused.findings),
    }
}

/// Applies each step to one store. After each step, compares the results of a reader with a memory and of one without.
#[test]
fn what_is_remembered_is_what_would_be_read() {
    let user = |policy: &str| {
        format!(r#"{{"UserPolicyList":[{{"PolicyName":"p","PolicyDocument":{policy}}}]}}"#)
    };
    let attached = r#"{"AttachedManagedPolicies":[{"PolicyName":"m","PolicyArn":"arn:aws:iam::111122223333:policy/m"}]}"#;
    let dump = r#"{"UserDetailList":[],"GroupDetailList":[],"RoleDetailList":[],"Policies":[{"PolicyName":"ReadOnly","Arn":"arn:aws:iam::aws:policy/ReadOnly","DefaultVersionId":"v1","PolicyVersionList":[{"VersionId":"v1","IsDefaultVersion":true,"Document":DOC}]}]}"#;
    let (allow, deny) = (ALLOW.to_owned(), ALLOW.replace("Allow", "Deny"));
    let steps: Vec<(&str, Option<String>)> = vec![
        ("users/ann.json", Some(user(&allow))),
        ("users/bob.json", Some("{}".to_owned())),
        ("managed-policies/m.json", Some(allow.clone())),
        ("users/bob.json", Some(attached.to_owned())),
        ("managed-policies/m.json", Some(deny.clone())),
        ("managed-policies/m.json", Some("{".to_owned())), // refused
        ("users/ann.json", Some(user(&deny))), // still refused
        ("managed-policies/m.json", Some(allow.clone())),
        ("managed-policies/m.json", None), // refused: bob is attached to it
        ("users/bob.json", None),
        ("users/ann.json", Some("{ }".to_owned())),
        ("users/ann.json", Some(user(&allow))),
        // This changes the owner of every file, but not their contents.
        ("account.json", Some(r#"{"AccountId":"444455556666"}"#.to_owned())),
        ("account.json", Some(r#"{"AccountId":"444455556666","Partition":"aws-cn"}"#.to_owned())),
        ("account.json", Some(r#"{"AccountId":"#.to_owned())), // refused
        ("account.json", Some(r#"{"AccountId":"111122223333"}"#.to_owned())),
        // Two dumps have the same AWS-managed policy, then they differ, then one of them is removed.
        ("one.json", Some(dump.replace("DOC", &allow))),
        ("two.json", Some(dump.replace("DOC", &allow))),
        ("two.json", Some(dump.replace("DOC", &deny))), // refused
        ("one.json", None),
        ("organization.json", Some(r#"{"Id":"o-1","ManagementAccountId":"111122223333","Root":{"Id":"r-1","Accounts":[{"Id":"111122223333"}]}}"#.to_owned())),
        ("organization.json", None),
    ];
    let root = store(&[ACCOUNT]);
    let mut loader = Loader::new();
    let (mut n_loaded, mut n_refused) = (0, 0);
    for (index, (path, text)) in steps.iter().enumerate() {
        match text {
            Some(text) => write(root.path(), &[(path, text)]),
            None => fs::remove_file(root.path().join(path)).unwrap(),
        }
        let read = said(load(root.path()));
        assert_eq!(said(loader.load(root.path())), read, "step {index}: {path}");
        match read.0 {
            Some(_) => n_loaded += 1,
            None => n_refused += 1,
        }
    }
    assert_eq!((n_loaded, n_refused), (17, 5), "the steps do what they say");
}

/// This is like the test above, for files and folders that are old enough to be taken as unchanged.
#[test]
fn what_is_old_and_has_not_changed_stays_what_it_was() {
    let root = store(&[
        ACCOUNT,
        ("users/ann.json", "{}"),
        ("users/eng/bob.json", "{}"),
        ("managed-policies/m.json", ALLOW),
        ("groups/g.json", "{}"),
    ]);
    let mut loader = Loader::new();
    let mut load_both = |what: &str| {
        let read = said(load(root.path()));
        assert_eq!(said(loader.load(root.path())), read, "{what}");
        let scan = loader.seen();
        scan.listing
            .folders
            .iter()
            .filter(|folder| folder.is_settled)
            .count()
    };
    assert_eq!(load_both("everything is new"), 0);
    // Only what has not changed for a while is taken as unchanged, and only time makes it older.
    let deadline = Instant::now() + Duration::from_secs(60);
    while load_both("read until it is old") < 5 {
        assert!(Instant::now() < deadline, "it stays too new");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(load_both("nothing has changed"), 5);
    assert_eq!(load_both("nothing has changed again"), 5);
    type Change = fn(&Path);
    let changes: [(&str, Change); 9] = [
        ("another content", |root| {
            write(root, &[("users/ann.json", "{ }")])
        }),
        ("a new file", |root| {
            write(root, &[("users/new.json", "{}")])
        }),
        ("a new folder", |root| {
            write(root, &[("managed-policies/x/n.json", ALLOW)])
        }),
        ("a folder less", |root| {
            fs::remove_dir_all(root.join("managed-policies/x")).unwrap()
        }),
        ("what does not load", |root| {
            write(root, &[("managed-policies/x/M.json", ALLOW)])
        }),
        ("what loads", |root| {
            fs::remove_dir_all(root.join("managed-policies/x")).unwrap()
        }),
        ("no JSON", |root| {
            write(root, &[("users/eng/bob.json", "{")])
        }),
        ("a file less", |root| {
            fs::remove_file(root.join("users/eng/bob.json")).unwrap()
        }),
        ("another account", |root| {
            write(root, &[("account.json", r#"{"AccountId":"444455556666"}"#)]);
        }),
    ];
    for (what, change) in changes {
        change(root.path());
        load_both(what);
        load_both(what);
    }
}

#[test]
fn an_edit_is_parsed_once_whatever_becomes_of_it() {
    let inline = |policy: &str| {
        format!(r#"{{"UserPolicyList":[{{"PolicyName":"p","PolicyDocument":{policy}}}]}}"#)
    };
    let (allow, deny) = (inline(ALLOW), inline(&ALLOW.replace("Allow", "Deny")));
    let attached = r#"{"AttachedManagedPolicies":[{"PolicyName":"m","PolicyArn":"arn:aws:iam::111122223333:policy/m"}]}"#;
    let root = shop(&[
        ("users/ann.json", &allow),
        ("users/bob.json", "{}"),
        ("groups/g.json", "{}"),
        ("managed-policies/m.json", ALLOW),
    ]);
    let mut loader = Loader::new();
    let mut parses = |path: &str, text: &str| {
        write(root.path(), &[(path, text)]);
        let before = shape::N_PARSED.get();
        let loaded = loader.load(root.path());
        let is_patched = loaded.map(|loaded| loaded.is_patched).ok();
        (shape::N_PARSED.get() - before, is_patched)
    };
    assert_eq!(
        parses("users/bob.json", "{ }"),
        (4, Some(false)),
        "all of it"
    );
    assert_eq!(parses("users/ann.json", &deny), (1, Some(true)));
    // The users of the group have another policy now, so the whole store is compiled.
    assert_eq!(parses("groups/g.json", attached), (1, Some(false)));
    // No other file changes, and the reference leads nowhere.
    let dangling = attached.replace("policy/m", "policy/none");
    assert_eq!(parses("users/bob.json", &dangling), (1, None));
    assert_eq!(parses("users/bob.json", attached), (1, Some(false)));
    assert_eq!(parses("users/ann.json", "{"), (1, None), "no JSON");
    assert_eq!(parses("users/ann.json", &allow), (1, Some(false)));
    assert_eq!(parses("users/ann.json", &allow), (0, Some(true)), "nothing");
}
