//! Stores that a kubelet mounts: what it writes into the volume of a ConfigMap, step by step, while clients ask.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

mod export;
mod replayed;

/// The files of a volume: paths and texts.
pub type Payload = BTreeMap<String, String>;

/// The steps of one update, which the kubelet makes one after the other (its `AtomicWriter`). Older versions make the
/// links that users see before the swap, and newer ones after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A folder with a time in its name is created.
    Folder,
    /// The first half of the files is written into it.
    HalfOfFiles,
    /// The other half is written.
    Files,
    /// The files get their mode, one by one.
    Modes,
    /// `..data_tmp` is made, which leads to the folder.
    Link,
    /// It is renamed to `..data`. This is the moment of the change.
    Swap,
    /// Links are made to names in the root that are new.
    NewNames,
    /// Links to names in the root that are gone are removed.
    OldNames,
    /// The old folder is removed.
    OldFolder,
}

/// The order in which the kubelet of today makes the steps.
pub const NEW_ORDER: [Step; 9] = [
    Step::Folder,
    Step::HalfOfFiles,
    Step::Files,
    Step::Modes,
    Step::Link,
    Step::Swap,
    Step::NewNames,
    Step::OldNames,
    Step::OldFolder,
];

/// The order before the links to new names came last.
pub const OLD_ORDER: [Step; 9] = [
    Step::Folder,
    Step::HalfOfFiles,
    Step::Files,
    Step::Modes,
    Step::NewNames,
    Step::Link,
    Step::Swap,
    Step::OldNames,
    Step::OldFolder,
];

/// A volume as the kubelet writes it.
pub struct Mount {
    root: PathBuf,
    n_updates: usize,
    /// The folder that is written now.
    folder: String,
}

impl Mount {
    /// Returns the volume at `root`, which does not exist yet.
    pub fn new(root: &Path) -> Self {
        fs::create_dir(root).unwrap();
        Self {
            root: root.to_owned(),
            n_updates: 0,
            folder: String::new(),
        }
    }

    /// Makes all steps of an update.
    pub fn update(&mut self, payload: &Payload) {
        for step in NEW_ORDER {
            self.make(step, payload);
        }
    }

    /// Makes one step of an update to `payload`.
    pub fn make(&mut self, step: Step, payload: &Payload) {
        let half = payload.len() / 2;
        match step {
            Step::Folder => {
                self.n_updates += 1;
                self.folder = format!("..2026_11_29_10_00_00.{:010}", self.n_updates);
                fs::create_dir(self.root.join(&self.folder)).unwrap();
            }
            Step::HalfOfFiles => self.write(payload.iter().take(half)),
            Step::Files => self.write(payload.iter().skip(half)),
            Step::Modes => {
                for path in payload.keys() {
                    let path = self.root.join(&self.folder).join(path);
                    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
                }
            }
            Step::Link => symlink(&self.folder, self.root.join("..data_tmp")).unwrap(),
            Step::Swap => {
                fs::rename(self.root.join("..data_tmp"), self.root.join("..data")).unwrap();
            }
            Step::NewNames => {
                for name in names(payload).difference(&self.linked()) {
                    symlink(Path::new("..data").join(name), self.root.join(name)).unwrap();
                }
            }
            Step::OldNames => {
                for name in self.linked().difference(&names(payload)) {
                    fs::remove_file(self.root.join(name)).unwrap();
                }
            }
            Step::OldFolder => {
                for name in entries(&self.root) {
                    if name.starts_with("..2026") && name != self.folder {
                        fs::remove_dir_all(self.root.join(name)).unwrap();
                    }
                }
            }
        }
    }

    /// Forgets the update that has begun, as a kubelet does that ends in the middle of it. What it has written stays.
    pub fn give_up(&mut self) {
        _ = fs::remove_file(self.root.join("..data_tmp"));
    }

    fn write<'p>(&self, files: impl Iterator<Item = (&'p String, &'p String)>) {
        for (path, text) in files {
            let path = self.root.join(&self.folder).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    /// Returns the names in the root that users see.
    fn linked(&self) -> BTreeSet<String> {
        let names = entries(&self.root);
        names.filter(|name| !name.starts_with("..")).collect()
    }
}

/// Returns the first parts of all paths.
fn names(payload: &Payload) -> BTreeSet<String> {
    let first = |path: &String| path.split('/').next().unwrap().to_owned();
    payload.keys().map(first).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    fs::read_dir(folder)
        .unwrap()
        .map(name)
        .map(|name| name.into_string().unwrap())
}
