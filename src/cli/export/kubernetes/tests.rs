//! Tests of the objects: keys, limits, names, and texts that YAML must not change.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const NAMES: Names<'static> = Names {
    name: "shop",
    namespace: None,
};
const REVISION: &str = "0123456789abcdef0123456789abcdef";

fn texts(of: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
    let text = |(path, text): &(&str, &str)| (Arc::from(*path), Arc::from(*text));
    of.iter().map(text).collect()
}

fn names(texts: &[(Arc<str>, Arc<str>)]) -> Vec<String> {
    let export = Export::of(&NAMES, REVISION, texts).unwrap();
    let names = export.config_maps.iter().map(|map| &map.metadata.name);
    names.cloned().collect()
}

#[test]
fn keys_are_keys_of_a_config_map_and_no_two_paths_share_one() {
    let long = "users/".to_owned() + &"x".repeat(240);
    let paths = [
        "account.json",
        "users/a.json",
        "users/a/b.json",
        "users_a.json",
        "users__a.json",
        "users_2fa.json",
        "users/ä+b@c,d=e.json",
        "accounts/1/users/a.json",
        &format!("{long}1.json"),
        &format!("{long}2.json"),
    ];
    let keys: BTreeSet<String> = paths.iter().map(|path| key_of(path)).collect();
    assert_eq!(keys.len(), paths.len());
    for key in &keys {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        assert!(key.len() <= 253 && key.chars().all(is_allowed), "{key}");
        assert!(!key.starts_with(".."), "{key}");
    }
    assert_eq!(
        key_of("users/support/al_1.json"),
        "users__support__al_5f1.json"
    );
}

#[test]
fn a_name_changes_with_the_list_of_files_and_not_with_their_contents() {
    let one = names(&texts(&[("a.json", "{}"), ("b.json", "{}")]));
    let edited = names(&texts(&[("a.json", "{ }"), ("b.json", "[]")]));
    let more = names(&texts(&[
        ("a.json", "{}"),
        ("b.json", "{}"),
        ("c.json", "{}"),
    ]));
    let renamed = names(&texts(&[("a.json", "{}"), ("c.json", "{}")]));
    assert_eq!(one, edited);
    assert_eq!(BTreeSet::from([&one, &more, &renamed]).len(), 3);
}

#[test]
fn a_store_that_needs_several_config_maps_has_the_revision_in_their_names() {
    let large = "x".repeat(400_000);
    let files = ["a.json", "b.json", "c.json", "d.json", "e.json"].map(|path| (path, &*large));
    let files = texts(&files);
    let export = Export::of(&NAMES, REVISION, &files).unwrap();
    assert_eq!(
        names(&files),
        ["shop-01234567-0", "shop-01234567-1", "shop-01234567-2"]
    );
    for map in &export.config_maps {
        assert_eq!(map.immutable, Some(true));
        let n_bytes: usize = map
            .data
            .iter()
            .map(|(key, text)| key.len() + text.0.len())
            .sum();
        assert!(n_bytes <= MAX_CONFIG_MAP_BYTES, "{n_bytes}");
    }
    let paths = export.volume.projected.sources.iter();
    let paths = paths.flat_map(|source| source.config_map.items.iter().map(|item| &*item.path));
    assert!(paths.eq(["a.json", "b.json", "c.json", "d.json", "e.json"]));
}

#[test]
fn what_does_not_fit_is_refused_with_its_size() {
    let refused = |texts: &[(Arc<str>, Arc<str>)]| {
        let export = Export::of(&NAMES, REVISION, texts);
        export.err().map(|error| error.to_string())
    };
    let most = MAX_CONFIG_MAP_BYTES - 2 * "a.json".len() - BYTES_BESIDE_KEY;
    assert_eq!(refused(&texts(&[("a.json", &"x".repeat(most))])), None);
    let error = refused(&texts(&[("a.json", &"x".repeat(most + 1))])).unwrap();
    assert!(error.contains("`a.json` has 1048549 bytes"), "{error}");
    let many: Vec<_> = (0..9_000)
        .map(|n| format!("users/user-{n:05}.json"))
        .collect();
    let many: Vec<_> = many.iter().map(|path| (&**path, "{}")).collect();
    let error = refused(&texts(&many)).unwrap();
    assert!(error.contains("9000 files"), "{error}");
}

/// A reader of YAML must find the text that was written, whatever is in it.
#[test]
fn texts_survive_yaml() {
    let odd = [
        "{}",
        "{}\n",
        "{}\n\n",
        "{}\n\n\n",
        "\n{}",
        "  {}\n",
        "{\r\n}\r\n",
        "{ \n}",
        "{\t}\n",
        "\t{}",
        "{\n  \"a\": 1\n}\n",
        "{\n\n\n}\n",
        "{}   ",
        "{} \n",
        "",
        "{\"a\": \"# no comment: & * ! | > ' \\\" % @ `\"}\n",
        "{\"a\": \"ü 😀 \u{feff} \u{85} \u{2028} \u{7f} \u{9f} \u{fffe}\"}\n",
        "---\n",
        "null",
        "yes",
    ];
    let paths: Vec<String> = (0..odd.len()).map(|n| format!("f{n:02}.json")).collect();
    let files: Vec<_> = paths.iter().map(|path| &**path).zip(odd).collect();
    let files = texts(&files);
    let export = Export::of(&NAMES, REVISION, &files).unwrap();
    let text = yaml(&export.config_maps).unwrap();
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    for (path, text) in &files {
        assert_eq!(read["data"][&**path], **text, "{path}");
    }
    // What readers of YAML may take for a break, or refuse, is not there as it is.
    for odd in [
        '\u{feff}', '\u{85}', '\u{2028}', '\u{7f}', '\u{9f}', '\u{fffe}', '\r', '\t',
    ] {
        assert!(!text.contains(odd), "{odd:?}");
    }
}
