//! A store as Kubernetes objects: ConfigMaps with its files, and the volume that makes them a tree again.
//!
//! ```text
//! users/support/alice.json ──key_of──▶ users__support__alice.json    an entry of a ConfigMap, which has no folders
//!                                                  │
//!                                                  ▼ the volume's `items`
//!                              users/support/alice.json               what the kubelet writes into the pod
//! ```
//!
//! A pod must see one version of the store and never a mix of two. So names follow from what the kubelet cannot replace
//! in one step:
//!
//! - The kubelet replaces the contents of one ConfigMap in one step. The list of its files is in the pod, which does not
//!   change with it. So the name of a single ConfigMap has the hash of the list: a change of contents takes effect in
//!   running pods, and other files need other pods.
//! - Several ConfigMaps are written one after the other. So their names have the revision of the store, and they are
//!   immutable: every change needs other pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use serde::Serialize;
use serde_saphyr::{DoubleQuoted, LitStr, ser_options};
use sha2::{Digest, Sha256};

/// The most bytes that a ConfigMap may take. Kubernetes refuses values of more than this, and larger objects do not fit
/// into a request to its database. A key counts twice, because the object also says who has set it.
pub const MAX_CONFIG_MAP_BYTES: usize = 1 << 20;
/// The bytes that Kubernetes adds to each key where it says who has set it.
const BYTES_BESIDE_KEY: usize = 16;
/// The most bytes of a volume, which are part of every pod, and must leave space for the rest of the pod.
pub const MAX_VOLUME_BYTES: usize = 512 << 10;
/// The most bytes of a key.
const MAX_KEY_BYTES: usize = 253;
/// The name of the volume in a pod.
pub const VOLUME: &str = "iamd-policies";

/// The kinds of objects that run pods with a template, for the patch of a kustomize component.
const WORKLOADS: &str = "(Deployment|StatefulSet|DaemonSet)";

/// What the objects are called.
pub struct Names<'n> {
    /// The name of the store, to which hashes are added.
    pub name: &'n str,
    /// The namespace, if the objects name it.
    pub namespace: Option<&'n str>,
}

/// A store as Kubernetes objects.
pub struct Export<'s> {
    /// The ConfigMaps, in the order of the paths that they hold.
    pub config_maps: Vec<ConfigMap<'s>>,
    /// The volume with their files.
    pub volume: Volume,
}

/// A ConfigMap with files of the store.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMap<'s> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    immutable: Option<bool>,
    data: BTreeMap<String, Text<'s>>,
}

#[derive(Serialize)]
struct Metadata {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
}

/// The volume of a pod.
#[derive(Serialize)]
pub struct Volume {
    name: &'static str,
    projected: Projected,
}

#[derive(Serialize)]
struct Projected {
    sources: Vec<Source>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    config_map: Projection,
}

#[derive(Serialize)]
struct Projection {
    name: String,
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    key: String,
    path: String,
}

/// Several objects as one, which is how JSON holds them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List<'e, 's> {
    api_version: &'static str,
    kind: &'static str,
    items: &'e [ConfigMap<'s>],
}

/// The text of a file. YAML shows it line by line where that gives every reader the same bytes, and quotes it elsewhere.
struct Text<'s>(&'s str);

impl Serialize for Text<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(text) = *self;
        if is_plain(text) {
            LitStr(text).serialize(serializer)
        } else {
            DoubleQuoted(text).serialize(serializer)
        }
    }
}

/// Returns whether a block of YAML keeps `text` as it is: with lines that end in `\n`, with ASCII alone, and without
/// spaces that could be taken for the indentation.
fn is_plain(text: &str) -> bool {
    let starts_well = text.starts_with(|first: char| first.is_ascii_graphic());
    let is_printable = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
    let ends_well = text.ends_with(|last: char| last.is_ascii_graphic())
        || (text.ends_with('\n') && !text.ends_with("\n\n"));
    starts_well && ends_well && text.bytes().all(is_printable) && !text.contains(" \n")
}

/// A file on its way into a ConfigMap.
struct Entry<'s> {
    path: &'s str,
    key: String,
    text: &'s str,
}

impl Entry<'_> {
    fn n_bytes(&self) -> usize {
        2 * self.key.len() + BYTES_BESIDE_KEY + self.text.len()
    }
}

impl<'s> Export<'s> {
    /// Returns the objects of the store of this revision with these files, which are sorted by path. Fails if a file or
    /// the list of files is too large.
    pub fn of(
        names: &Names<'_>,
        revision: &str,
        texts: &'s [(Arc<str>, Arc<str>)],
    ) -> anyhow::Result<Self> {
        let parts = parts_of(texts)?;
        let is_single = parts.len() == 1;
        let hash = if is_single {
            hash(texts.iter().map(|(path, _)| &**path))
        } else {
            revision.to_owned()
        };
        let hash = hash.get(..8).unwrap_or(&hash);
        let mut config_maps = Vec::new();
        let mut sources = Vec::new();
        for (number, part) in parts.into_iter().enumerate() {
            let name = match is_single {
                true => format!("{}-{hash}", names.name),
                false => format!("{}-{hash}-{number}", names.name),
            };
            let items = part.iter().map(|entry| Item {
                key: entry.key.clone(),
                path: entry.path.to_string(),
            });
            sources.push(Source {
                config_map: Projection {
                    name: name.clone(),
                    items: items.collect(),
                },
            });
            config_maps.push(config_map(names, name, revision, part, !is_single));
        }
        let volume = Volume {
            name: VOLUME,
            projected: Projected { sources },
        };
        let n_bytes = serde_json::to_vec(&volume)?.len();
        if n_bytes > MAX_VOLUME_BYTES {
            bail!(
                "the list of the store's {} files takes {n_bytes} bytes of every pod, and at most {MAX_VOLUME_BYTES} are \
                 taken: bring the store into the pod another way, such as git-sync",
                texts.len()
            );
        }
        Ok(Self {
            config_maps,
            volume,
        })
    }

    /// Returns the ConfigMaps as one object.
    pub fn list(&self) -> List<'_, 's> {
        List {
            api_version: "v1",
            kind: "List",
            items: &self.config_maps,
        }
    }

    /// Returns the files of a kustomize component, with their names. It adds the ConfigMaps, and the volume to every
    /// workload of the kustomization that includes it.
    pub fn component(&self) -> anyhow::Result<[(&'static str, String); 3]> {
        let patch = serde_json::json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "every-workload"},
            "spec": {"template": {"spec": {"volumes": [self.volume]}}},
        });
        let component = serde_json::json!({
            "apiVersion": "kustomize.config.k8s.io/v1alpha1",
            "kind": "Component",
            "resources": ["configmaps.yaml"],
            "patches": [{"path": "volume.yaml", "target": {"kind": WORKLOADS}}],
        });
        Ok([
            ("configmaps.yaml", yaml(&self.config_maps)?),
            ("volume.yaml", yaml(&[patch])?),
            ("kustomization.yaml", yaml(&[component])?),
        ])
    }
}

/// Returns the files in as many parts as there are ConfigMaps, in their order. Fails if one of them is too large alone.
fn parts_of(texts: &[(Arc<str>, Arc<str>)]) -> anyhow::Result<Vec<Vec<Entry<'_>>>> {
    let mut parts: Vec<Vec<Entry<'_>>> = Vec::new();
    let mut n_bytes = 0;
    for (path, text) in texts {
        let entry = Entry {
            path,
            key: key_of(path),
            text,
        };
        if entry.n_bytes() > MAX_CONFIG_MAP_BYTES {
            bail!(
                "`{path}` has {} bytes and does not fit into a ConfigMap, which holds {MAX_CONFIG_MAP_BYTES}: split \
                 it, or bring the store into the pod another way, such as git-sync",
                text.len()
            );
        }
        n_bytes += entry.n_bytes();
        match parts.last_mut() {
            Some(part) if n_bytes <= MAX_CONFIG_MAP_BYTES => part.push(entry),
            _ => {
                n_bytes = entry.n_bytes();
                parts.push(vec![entry]);
            }
        }
    }
    Ok(parts)
}

fn config_map<'s>(
    names: &Names<'_>,
    name: String,
    revision: &str,
    entries: Vec<Entry<'s>>,
    is_immutable: bool,
) -> ConfigMap<'s> {
    let texts = entries
        .iter()
        .flat_map(|entry| [entry.key.as_str(), entry.text]);
    ConfigMap {
        api_version: "v1",
        kind: "ConfigMap",
        metadata: Metadata {
            name,
            namespace: names.namespace.map(str::to_owned),
            labels: BTreeMap::from([
                ("app.kubernetes.io/managed-by", "iamd".to_owned()),
                ("iamd/store", names.name.to_owned()),
            ]),
            annotations: BTreeMap::from([
                ("iamd/content-sha256", hash(texts)),
                ("iamd/revision", revision.to_owned()),
                // Helm would delete it while pods of the version before still need it.
                ("helm.sh/resource-policy", "keep".to_owned()),
            ]),
        },
        immutable: is_immutable.then_some(true),
        data: entries
            .into_iter()
            .map(|entry| (entry.key, Text(entry.text)))
            .collect(),
    }
}

/// Returns the objects as documents of YAML.
pub fn yaml(objects: &[impl Serialize]) -> anyhow::Result<String> {
    let options = ser_options! {
        // Long names must not be wrapped. Texts say themselves how they are written.
        prefer_block_scalars: false,
    };
    Ok(serde_saphyr::to_string_multiple_with_options(
        objects, options,
    )?)
}

/// Returns the key of a ConfigMap for the file at `path`. A key has letters, digits, `-`, `.` and `_` alone. No two paths
/// have the same key: `/` becomes `__`, and every other byte that a key cannot have, and `_`, becomes `_` with two
/// hexadecimal digits. If that is too long, the end is a hash of the path.
fn key_of(path: &str) -> String {
    let mut key = String::new();
    for byte in path.bytes() {
        match byte {
            b'/' => key.push_str("__"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => key.push(char::from(byte)),
            _ => key.push_str(&format!("_{byte:02x}")),
        }
    }
    if key.len() > MAX_KEY_BYTES {
        // No other key has a `_` before an `x`.
        key.truncate(MAX_KEY_BYTES - 66);
        key.push_str("_x");
        key.push_str(&hash([path]));
    }
    key
}

/// Returns the SHA-256 of some texts and their lengths, in hexadecimal digits.
fn hash<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
