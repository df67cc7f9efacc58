//! `iamd export`: what the kubelet makes of its objects is the store that was exported.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Mount, Payload};
use crate::support::{
    ANN, ORDER, allow, iamd, repository, revision, run, store_allowing, user, write,
};

/// Returns what `iamd export --kubernetes shop` prints about the store at `root`.
fn export(root: &Path, options: &[&str]) -> String {
    let mut command = iamd(["export", "--kubernetes", "shop", "--store"]);
    command.arg(root).args(options);
    let finished = run(command, "");
    assert_eq!(finished.status, Some(0), "{finished:?}");
    finished.stdout
}

/// Returns the documents of a YAML text.
fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

/// Returns the files that the kubelet writes for a volume with these ConfigMaps. Asserts what Kubernetes asserts about
/// both.
fn payload(config_maps: &[Value], volume: &Value) -> Payload {
    let mut held = BTreeMap::new();
    for map in config_maps {
        assert_eq!(
            (&map["apiVersion"], &map["kind"]),
            (&json!("v1"), &json!("ConfigMap"))
        );
        assert_eq!(map.get("binaryData"), None);
        let data = map["data"].as_object().unwrap();
        let n_bytes: usize = data.values().map(|text| text.as_str().unwrap().len()).sum();
        assert!(n_bytes <= 1 << 20, "{n_bytes} bytes");
        for key in data.keys() {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            assert!(key.len() <= 253 && key.chars().all(is_allowed), "{key}");
            assert!(key != "." && !key.starts_with(".."), "{key}");
        }
        let name = map["metadata"]["name"].as_str().unwrap();
        assert!(held.insert(name, data).is_none(), "{name} is there twice");
    }
    let mut payload = Payload::new();
    for source in volume["projected"]["sources"].as_array().unwrap() {
        let source = &source["configMap"];
        let data = held.remove(source["name"].as_str().unwrap()).unwrap();
        let items = source["items"].as_array().unwrap();
        assert_eq!(items.len(), data.len(), "every key is a file");
        for item in items {
            let text = data[item["key"].as_str().unwrap()].as_str().unwrap();
            let path = item["path"].as_str().unwrap();
            assert!(!path.starts_with('/') && !path.starts_with(".."), "{path}");
            assert!(!path.split('/').any(|part| part == ".."), "{path}");
            let before = payload.insert(path.to_owned(), text.to_owned());
            assert_eq!(before, None, "{path} is there twice");
        }
    }
    assert!(held.is_empty(), "every ConfigMap is in the volume");
    payload
}

/// Returns the revision of the volume with the objects that are exported from `root`, as YAML and as JSON.
fn revisions_of_mounts(root: &Path) -> [String; 2] {
    let from_yaml = (
        documents(&export(root, &[])),
        documents(&export(root, &["--volume"])).remove(0),
    );
    let list: Value = serde_json::from_str(&export(root, &["--output", "json"])).unwrap();
    assert_eq!(list["kind"], "List");
    let from_json = (
        list["items"].as_array().unwrap().clone(),
        serde_json::from_str(&export(root, &["--volume", "--output", "json"])).unwrap(),
    );
    [from_yaml, from_json].map(|(config_maps, volume): (Vec<Value>, Value)| {
        assert_eq!(volume["name"], "iamd-policies");
        let folder = TempDir::new().unwrap();
        let mount = folder.path().join("policies");
        Mount::new(&mount).update(&payload(&config_maps, &volume));
        let command = iamd(["revision", mount.to_str().unwrap()]);
        let finished = run(command, "");
        assert_eq!(finished.status, Some(0), "{finished:?}");
        let revision = finished.stdout.trim_end().to_owned();
        for map in &config_maps {
            let annotations = &map["metadata"]["annotations"];
            assert_eq!(annotations["iamd/revision"], *revision);
            // Older pods need the older one, so an upgrade with Helm must not delete it.
            assert_eq!(annotations["helm.sh/resource-policy"], "keep");
        }
        revision
    })
}

#[test]
fn a_mount_of_the_exported_shop_has_the_revision_of_the_shop() {
    let shop = repository().join("policies");
    let revision = revision(&shop);
    assert_eq!(revisions_of_mounts(&shop), [revision.clone(), revision]);
    assert_eq!(
        export(&shop, &[]),
        export(&shop, &[]),
        "the order is stable"
    );
}

/// Names and texts that ConfigMaps and YAML could change.
#[test]
fn odd_names_and_texts_survive_the_way_into_a_pod() {
    let store = store_allowing("orders:Get");
    let root = store.path();
    let document = allow("orders:Get");
    write(
        root,
        "users/a_b/c+d=e@f,g.json",
        &user("c+d=e@f,g", &document),
    );
    write(
        root,
        "users/a/b_c+d=e@f,g.json",
        &user("b_c+d=e@f,g", &document),
    );
    write(
        root,
        &format!("managed-policies/{}.json", "x".repeat(128)),
        &document,
    );
    write(
        root,
        &format!("managed-policies/deep/{}/p.json", "y".repeat(240)),
        &document,
    );
    write(root, "resource-policies/\u{fc} & # ! 'x'.json", &json!({
        "Resource": "arn:app:x:::y", "Tags": [{"Key": "odd", "Value": "\u{85}\u{2028}\u{feff}\u{7f}😀 \t"}],
    }).to_string());
    write(
        root,
        "managed-policies/dos.json",
        &document.replace(' ', "\r\n\t "),
    );
    write(
        root,
        "managed-policies/blanks.json",
        &format!("\n\n   {document}   \n\n\n"),
    );
    write(root, "groups/empty.json", "{}");
    let revision = revision(root);
    assert_eq!(revisions_of_mounts(root), [revision.clone(), revision]);
}

#[test]
fn a_store_of_several_config_maps_survives_too_and_says_that_it_takes_several() {
    let store = store_allowing("orders:Get");
    let long = " ".repeat(450_000);
    for n in 0..5 {
        let text = format!("{}{long}\n", allow("orders:Get"));
        write(store.path(), &format!("managed-policies/p{n}.json"), &text);
    }
    let revision = revision(store.path());
    assert_eq!(
        revisions_of_mounts(store.path()),
        [revision.clone(), revision]
    );
    let mut command = iamd(["export", "--kubernetes", "shop", "--store"]);
    command.arg(store.path());
    let said = run(command, "").stderr;
    assert!(said.contains("needs 3 ConfigMaps"), "{said}");
}

#[test]
fn only_what_the_store_reads_is_exported() {
    let store = store_allowing("orders:Get");
    let root = store.path();
    let before = export(root, &[]);
    write(root, "README.md", "secret");
    write(root, "users/ann.json.tmp", "secret");
    write(root, "users/.ann.json.swp", "secret");
    write(root, "tests/secret.json", "{}");
    assert_eq!(export(root, &[]), before);
    // Such a file is a warning, which `iamd validate` prints.
    write(root, "users/secret.yaml", "secret");
    assert_eq!(export(root, &[]), before);
}

#[test]
fn a_mounted_config_map_can_be_exported_again() {
    let shop = repository().join("policies");
    let objects = documents(&export(&shop, &[]));
    let volume = documents(&export(&shop, &["--volume"])).remove(0);
    let folder = TempDir::new().unwrap();
    let mount = folder.path().join("policies");
    Mount::new(&mount).update(&payload(&objects, &volume));
    assert_eq!(export(&mount, &[]), export(&shop, &[]));
}

#[test]
fn a_namespace_is_named_only_if_it_is_given() {
    let store = store_allowing("orders:Get");
    let namespace = |options: &[&str]| {
        let objects = documents(&export(store.path(), options));
        objects[0]["metadata"].get("namespace").cloned()
    };
    assert_eq!(namespace(&[]), None);
    assert_eq!(namespace(&["--namespace", "orders"]), Some(json!("orders")));
}

#[test]
fn a_component_has_the_config_maps_and_the_volume() {
    let store = store_allowing("orders:Get");
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("deploy/policies");
    let printed = export(store.path(), &["--kustomize", directory.to_str().unwrap()]);
    assert_eq!(printed, "");
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!(read("configmaps.yaml"), export(store.path(), &[]));
    let patch = documents(&read("volume.yaml")).remove(0);
    let volume = documents(&export(store.path(), &["--volume"])).remove(0);
    assert_eq!(
        patch["spec"]["template"]["spec"]["volumes"],
        json!([volume])
    );
    let component = documents(&read("kustomization.yaml")).remove(0);
    assert_eq!(component["kind"], "Component");
    assert_eq!(component["resources"], json!(["configmaps.yaml"]));
}

#[test]
fn a_store_that_cannot_be_exported_is_refused_with_nothing_on_stdout() {
    let refused = |root: &Path, options: &[&str]| {
        let mut command = iamd(["export", "--store"]);
        command.arg(root).args(options);
        let finished = run(command, "");
        assert_eq!(
            (finished.status, &*finished.stdout),
            (Some(2), ""),
            "{finished:?}"
        );
        finished.stderr
    };
    let store = store_allowing("orders:Get");
    let shop = &["--kubernetes", "shop"];
    write(store.path(), "users/zed.json", "{");
    let said = refused(store.path(), shop);
    assert!(
        said.contains("users/zed.json") && said.contains("does not load"),
        "{said}"
    );

    // A dump may be larger than a ConfigMap.
    let dump =
        json!({"UserDetailList": [], "GroupDetailList": [], "RoleDetailList": [], "Policies": []});
    write(store.path(), "users/zed.json", "{}");
    write(
        store.path(),
        "dump.json",
        &format!("{dump}{}", " ".repeat(1 << 20)),
    );
    let said = refused(store.path(), shop);
    assert!(
        said.contains("`dump.json`") && said.contains("git-sync"),
        "{said}"
    );

    fs::remove_file(store.path().join("dump.json")).unwrap();
    for name in ["", "Shop", "shop-", "shop_1", "shop.1", &"x".repeat(41)] {
        let said = refused(store.path(), &["--kubernetes", name]);
        assert!(said.contains("lower-case"), "{name}: {said}");
    }
    refused(store.path(), &[]);
    let root = store.path().to_str().unwrap();
    let said = refused(store.path(), &["--kubernetes", "shop", "--kustomize", root]);
    assert!(said.contains("is a store"), "{said}");
    assert!(!store.path().join("kustomization.yaml").exists());
}

/// The mount is enforced as the store is.
#[test]
fn a_mount_answers_as_the_store_does() {
    let store = store_allowing("orders:Get");
    let objects = documents(&export(store.path(), &[]));
    let volume = documents(&export(store.path(), &["--volume"])).remove(0);
    let folder = TempDir::new().unwrap();
    let mount = folder.path().join("policies");
    Mount::new(&mount).update(&payload(&objects, &volume));
    for (action, status) in [("orders:Get", 0), ("orders:Refund", 1)] {
        let mut command = iamd(["authorize", "--principal", ANN, "--resource", ORDER]);
        command.args(["--action", action, "--store"]).arg(&mount);
        assert_eq!(run(command, "").status, Some(status), "{action}");
    }
}
