//! The listing of a store: which files there are, through every link that stays inside, and what is wrong with others.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirEntry, Metadata, MetadataExt};

use super::place;
use super::read::{MAX_FILES, Seen, Stamp, Survey, WHOLE_STORE, unreadable};
use crate::language::finding::{Code, Finding, Location};

/// A folder still to be listed.
struct Folder {
    /// As files below it are called; empty for the root.
    path: String,
    base: Arc<Dir>,
    below_base: PathBuf,
    /// The folders it was reached through, by device and inode: to meet one again is a loop.
    above: Vec<(u64, u64)>,
}

/// One entry of a folder, what it is behind all links.
struct Entry {
    name: String,
    base: Arc<Dir>,
    below_base: PathBuf,
    metadata: Metadata,
}

/// Looks at every file below `root` without reading one.
pub fn survey(root: &Path) -> Survey {
    Walk::of(root).survey
}

struct Walk {
    survey: Survey,
    n_folders: usize,
}

impl Walk {
    fn of(root: &Path) -> Self {
        let mut walk = Self {
            survey: Survey::default(),
            n_folders: 0,
        };
        match Dir::open_ambient_dir(root, ambient_authority()) {
            Ok(dir) => walk.run(Arc::new(dir)),
            Err(error) => walk.survey.findings.push(no_root(root, &error)),
        }
        walk.survey
            .seen
            .sort_unstable_by(|a, b| a.path.cmp(&b.path));
        walk.survey.findings.sort_unstable();
        walk
    }

    fn run(&mut self, root: Arc<Dir>) {
        let mut folders = vec![Folder {
            path: String::new(),
            base: root,
            below_base: ".".into(),
            above: Vec::new(),
        }];
        while let Some(folder) = folders.pop() {
            self.n_folders += 1;
            if self.survey.seen.len() > MAX_FILES || self.n_folders > MAX_FILES {
                let message = format!("the store has more than {MAX_FILES} files");
                self.error(Code::TOO_LARGE, WHOLE_STORE, message);
                self.survey.seen.clear();
                return;
            }
            self.list(folder, &mut folders);
        }
    }

    /// Lists `folder`, through its `..data` if it has one.
    fn list(&mut self, mut folder: Folder, folders: &mut Vec<Folder>) {
        let place = if folder.path.is_empty() {
            WHOLE_STORE.to_owned()
        } else {
            folder.path.clone()
        };
        let opened = folder
            .base
            .open_dir(&folder.below_base)
            .and_then(|dir| Ok((dir.dir_metadata()?, dir)));
        let dir = match opened {
            Ok((metadata, dir)) => {
                let identity = (metadata.dev(), metadata.ino());
                if folder.above.contains(&identity) {
                    self.error(
                        Code::BAD_LINK,
                        &place,
                        "the link leads back to a folder it stands in",
                    );
                    return;
                }
                folder.above.push(identity);
                dir
            }
            Err(error) => return self.access_error(&place, &error),
        };
        let mut names = BTreeSet::new();
        let has_data;
        match dir.entries().and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| (entry.file_name(), entry)))
                .collect::<io::Result<Vec<_>>>()
        }) {
            Ok(all) => {
                has_data = all.iter().any(|(name, _)| name == "..data");
                for (name, entry) in all {
                    // What stands beside `..data` must be compared with what stands in it.
                    if has_data || !self.list_file(&folder, &name, &entry) {
                        self.keep_name(&folder.path, &name, &mut names);
                    }
                }
            }
            Err(error) => return self.access_error(&place, &error),
        }
        if has_data {
            self.list_data(&folder, &dir, &mut names, folders);
        }
        for name in names {
            let below_base = folder.below_base.join(&name);
            let base = Arc::clone(&folder.base);
            self.visit(&folder, name, base, below_base, folders);
        }
    }

    /// Lists an entry that is plainly a file of the store: no link, no folder. False for anything else.
    ///
    /// PERF: asks for the metadata by the folder's handle, one call of the system instead of four; most of a reload of
    /// a large store is this.
    fn list_file(&mut self, folder: &Folder, name: &OsStr, entry: &DirEntry) -> bool {
        let Some(name) = name.to_str() else {
            return false;
        };
        let is_plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_plain || is_skipped(name) || !name.ends_with(".json") {
            return false;
        }
        // Should a link have taken its place meanwhile, this is the link's own.
        let Ok(metadata) = entry.metadata() else {
            return false;
        };
        if !metadata.is_file() {
            return false;
        }
        self.survey.seen.push(Seen {
            path: join(&folder.path, name).into(),
            stamp: Stamp::of(&metadata),
            base: Arc::clone(&folder.base),
            below_base: folder.below_base.join(name),
        });
        true
    }

    /// Lists `folder/..data` under the names of `folder`, and takes those names out of `names` which only lead there.
    fn list_data(
        &mut self,
        folder: &Folder,
        dir: &Dir,
        names: &mut BTreeSet<String>,
        folders: &mut Vec<Folder>,
    ) {
        let place = join(&folder.path, "..data");
        let listed = dir.open_dir("..data").and_then(|data| {
            let all = data
                .entries()?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()?;
            Ok((Arc::new(data), all))
        });
        let (data, all) = match listed {
            Ok(listed) => listed,
            Err(error) => return self.access_error(&place, &error),
        };
        // The links beside `..data` are for people; the kubelet takes away those of the last version a moment later.
        names.retain(|name| {
            !dir.read_link_contents(name)
                .is_ok_and(|target| target.starts_with("..data"))
        });
        let mut inner = BTreeSet::new();
        for name in all {
            self.keep_name(&folder.path, &name, &mut inner);
        }
        for name in inner {
            if names.contains(&name) {
                let message = "stands both in this folder and in its `..data`";
                self.error(Code::UNKNOWN_FILE, &join(&folder.path, &name), message);
                continue;
            }
            let below_base = PathBuf::from(&name);
            self.visit(folder, name, Arc::clone(&data), below_base, folders);
        }
    }

    /// Keeps `name` unless it is one that is never read.
    fn keep_name(&mut self, folder: &str, name: &OsStr, names: &mut BTreeSet<String>) {
        let Some(text) = name.to_str() else {
            let lossy = name.to_string_lossy();
            if !is_skipped(&lossy) {
                self.error(
                    Code::UNKNOWN_FILE,
                    &join(folder, &lossy),
                    "the name of this file is not UTF-8",
                );
            }
            return;
        };
        if !text.starts_with('.') {
            names.insert(text.to_owned());
        }
    }

    fn visit(
        &mut self,
        folder: &Folder,
        name: String,
        base: Arc<Dir>,
        below_base: PathBuf,
        folders: &mut Vec<Folder>,
    ) {
        let path = join(&folder.path, &name);
        match base.metadata(&below_base) {
            Ok(metadata) => {
                let entry = Entry {
                    name,
                    base,
                    below_base,
                    metadata,
                };
                self.sort(folder, path, entry, folders);
            }
            Err(_) if is_skipped(&name) => {}
            Err(error) => self.access_error(&path, &error),
        }
    }

    fn sort(&mut self, folder: &Folder, path: String, entry: Entry, folders: &mut Vec<Folder>) {
        let Entry {
            name,
            base,
            below_base,
            metadata,
        } = entry;
        let is_json = name.ends_with(".json");
        if metadata.is_dir() {
            if is_json {
                self.error(
                    Code::NOT_A_FILE,
                    &path,
                    "this is a directory with the name of a file",
                );
            } else if !place::is_tests_folder(&path) {
                folders.push(Folder {
                    path,
                    base,
                    below_base,
                    above: folder.above.clone(),
                });
            }
        } else if is_skipped(&name) {
        } else if !is_json {
            let finding = Finding::warning(
                Code::IGNORED_FILE,
                Location::file(path),
                "only `*.json` is read",
            );
            self.survey.findings.push(finding);
        } else if metadata.is_file() {
            let stamp = Stamp::of(&metadata);
            self.survey.seen.push(Seen {
                path: path.into(),
                stamp,
                base,
                below_base,
            });
        } else {
            self.error(Code::NOT_A_FILE, &path, "this is no regular file");
        }
    }

    fn error(&mut self, code: Code, path: &str, message: impl Into<String>) {
        self.survey
            .findings
            .push(Finding::error(code, Location::file(path), message));
    }

    /// A file or folder that the listing has, and that cannot be reached.
    fn access_error(&mut self, path: &str, error: &io::Error) {
        let leads_out =
            error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
        let finding = if leads_out {
            Finding::error(
                Code::BAD_LINK,
                Location::file(path),
                "the link leads out of the store",
            )
            .help("put the file into the store, or make it a relative link that stays inside")
        } else if error.raw_os_error() == Some(libc::ELOOP) {
            Finding::error(
                Code::BAD_LINK,
                Location::file(path),
                "the link leads back to itself",
            )
        } else if error.kind() == io::ErrorKind::NotFound {
            Finding::error(
                Code::BAD_LINK,
                Location::file(path),
                "the link leads nowhere",
            )
        } else {
            unreadable(path, error)
        };
        self.survey.findings.push(finding);
    }
}

fn no_root(root: &Path, error: &io::Error) -> Finding {
    let root = root.display();
    let (code, message) = match error.kind() {
        io::ErrorKind::NotFound => (Code::EMPTY_STORE, format!("there is no directory `{root}`")),
        io::ErrorKind::NotADirectory => (Code::NOT_A_FILE, format!("`{root}` is not a directory")),
        _ => (
            Code::UNREADABLE,
            format!("the directory `{root}` cannot be read: {error}"),
        ),
    };
    Finding::error(code, Location::file(WHOLE_STORE), message)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// Files that are there for people and editors.
fn is_skipped(name: &str) -> bool {
    name.starts_with('.')
        || name.starts_with("README")
        || name.starts_with("LICENSE")
        || [".md", "~", ".tmp", ".swp"]
            .iter()
            .any(|end| name.ends_with(end))
}
