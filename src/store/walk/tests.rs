#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;

use tempfile::TempDir;

use super::*;

fn store(folder: &str, n: usize, end: &str) -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join(folder)).unwrap();
    for number in 0..n {
        let path = root.path().join(folder).join(format!("{number}{end}"));
        match end {
            "" => fs::create_dir(path).unwrap(),
            _ => fs::write(path, "{}").unwrap(),
        }
    }
    root
}

/// Returns the error about a store of which at most `most` files may be listed, and how many of its folders are kept.
fn listed(root: &TempDir, most: usize) -> (String, usize) {
    listed_again(root, most, &Listing::default())
}

fn listed_again(root: &TempDir, most: usize, last: &Listing) -> (String, usize) {
    let survey = Walk::of(root.path(), last, most, None).survey;
    let errors = survey.findings.iter().filter(|finding| finding.is_error());
    let errors: Vec<String> = errors.map(ToString::to_string).collect();
    (errors.join(" and "), survey.folders.len())
}

const MANY: &str =
    ".: error[too-large]: the store has more than 6 files; move some of them to another store";

#[test]
fn a_store_has_so_many_files_at_most() {
    // The files are in the last folder that is listed, in other folders, or in a folder where nothing is read.
    for (folder, end, n_folders) in [
        ("users", ".json", 2),
        (".", ".json", 1),
        ("users", ".txt", 2),
        ("users/a", ".json", 3),
    ] {
        let at_it = store(folder, 6, end);
        assert_eq!(
            listed(&at_it, 6),
            (String::new(), n_folders),
            "{folder} {end}"
        );
        let over_it = store(folder, 7, end);
        assert_eq!(listed(&over_it, 6), (MANY.to_owned(), 0), "{folder} {end}");
    }
}

#[test]
fn a_store_has_so_many_folders_at_most() {
    // The root counts as one, and so does the folder that holds the files.
    assert_eq!(listed(&store("users", 4, ""), 6), (String::new(), 6));
    assert_eq!(listed(&store("users", 5, ""), 6), (MANY.to_owned(), 0));
}

#[test]
fn files_that_are_known_from_the_look_before_are_counted_too() {
    let root = store("users", 7, ".json");
    let survey = Walk::of(root.path(), &Listing::default(), 7, None).survey;
    let mut listing = survey.listing();
    for (known, surveyed) in listing.folders.iter_mut().zip(&survey.folders) {
        known.stamp = Some(surveyed.looked);
    }
    assert_eq!(listed_again(&root, 7, &listing), (String::new(), 2));
    assert_eq!(listed_again(&root, 6, &listing), (MANY.to_owned(), 0));
}

#[test]
fn a_folder_has_twice_as_many_entries_at_most() {
    // Names that are never read are not files of the store, but they still have to be listed.
    for folder in ["users", "users/..data"] {
        assert_eq!(listed(&store(folder, 12, ".md"), 6).0, "", "{folder}");
        let told = listed(&store(folder, 13, ".md"), 6).0;
        let expected = format!(
            "{folder}: error[too-large]: the folder has more than 12 entries; remove what is no policy, or move it to other folders"
        );
        assert_eq!(told, expected);
    }
}
