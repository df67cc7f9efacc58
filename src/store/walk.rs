//! Lists a store: its files, through every link that stays inside, and the errors of all other entries.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirEntry, Metadata};
use rustix::fs::{AtFlags, FileType, statat};

use super::file::unreadable;
use super::moment::Moment;
use super::pace::Pace;
use super::place;
use super::stamp::Stamp;
use super::survey::{KnownFolder, Listed, Listing, Survey, Surveyed, WHOLE_STORE};
use crate::config::MAX_FILES;
use crate::language::finding::{Code, Finding, Location};

/// A folder that is still to be listed.
struct Folder {
    /// The path that precedes the names of its files. It is empty for the root.
    path: String,
    base: Arc<Dir>,
    below_base: PathBuf,
    /// The folders on the way to it, by device and inode. Meeting one of them again is a loop.
    above: Vec<(u64, u64)>,
}

impl Folder {
    /// Returns the folder called `name` in this one.
    fn below(&self, name: &str) -> Self {
        Self {
            path: join(&self.path, name),
            base: Arc::clone(&self.base),
            below_base: self.below_base.join(name),
            above: self.above.clone(),
        }
    }

    fn name(&self) -> Box<str> {
        let path = &self.path;
        path.rsplit_once('/')
            .map_or(&**path, |(_, name)| name)
            .into()
    }
}

/// One entry of a folder, with all links resolved.
struct Entry {
    name: String,
    base: Arc<Dir>,
    below_base: PathBuf,
    metadata: Metadata,
}

/// Looks at every file below `root` without reading one. If a folder has the same stamp as in `last`, its names are
/// taken from there.
pub fn survey(root: &Path, last: &Listing) -> Survey {
    Walk::of(root, last, MAX_FILES, None).survey
}

/// Looks at every file like [`survey`], at this pace.
pub fn survey_at(root: &Path, last: &Listing, pace: &mut Pace<'_>) -> Survey {
    Walk::of(root, last, MAX_FILES, Some(pace)).survey
}

struct Walk<'l, 'p> {
    last: &'l Listing,
    /// `None` if somebody waits for the end.
    pace: Option<&'l mut Pace<'p>>,
    /// The most files and folders that may exist.
    most_files: usize,
    survey: Survey,
    /// The files of the folder that is being listed.
    files: Vec<(Arc<str>, Stamp)>,
    n_files: usize,
    n_folders: usize,
    /// How many files are not `*.json`.
    n_ignored: usize,
}

/// How many files that are not read are reported one by one.
const MAX_IGNORED: usize = 100;

impl<'l, 'p> Walk<'l, 'p> {
    fn of(
        root: &Path,
        last: &'l Listing,
        most_files: usize,
        pace: Option<&'l mut Pace<'p>>,
    ) -> Self {
        let mut walk = Self {
            last,
            pace,
            most_files,
            survey: Survey::default(),
            files: Vec::new(),
            n_files: 0,
            n_folders: 0,
            n_ignored: 0,
        };
        match Dir::open_ambient_dir(root, ambient_authority()) {
            Ok(dir) => walk.run(Arc::new(dir)),
            Err(error) => walk.survey.findings.push(no_root(root, &error)),
        }
        walk.survey
            .folders
            .sort_unstable_by(|a, b| a.listed.key().cmp(&b.listed.key()));
        walk.survey.findings.sort_unstable();
        walk
    }

    fn run(&mut self, root: Arc<Dir>) {
        self.survey.moment = root
            .dir_metadata()
            .ok()
            .and_then(|metadata| Moment::now(&root, &Stamp::of(&metadata)));
        let mut folders = vec![Folder {
            path: String::new(),
            base: root,
            below_base: ".".into(),
            above: Vec::new(),
        }];
        while let Some(folder) = folders.pop() {
            self.n_folders += 1;
            self.list(folder, &mut folders);
            let n_files = self.n_files.max(self.n_folders).max(self.n_ignored);
            if n_files > self.most_files {
                let message = format!("the store has more than {} files", self.most_files);
                let help = "move some of them to another store";
                self.error(Code::TOO_LARGE, WHOLE_STORE, &message, help);
                self.survey.folders.clear();
                return;
            }
        }
        if let Some(n_more) = self.n_ignored.checked_sub(MAX_IGNORED).filter(|n| *n > 0) {
            let message = format!("{n_more} more files that are not `*.json` are not read");
            let at = Location::file(WHOLE_STORE);
            let finding = Finding::warning(Code::IGNORED_FILE, at, message);
            self.survey.findings.push(finding);
        }
    }

    /// Lists `folder`, through its `..data` if it has one.
    fn list(&mut self, mut folder: Folder, folders: &mut Vec<Folder>) {
        let place = if folder.path.is_empty() {
            WHOLE_STORE.to_owned()
        } else {
            folder.path.clone()
        };
        let now = SystemTime::now();
        let Some((looked, dir)) = self.open(&mut folder, &place) else {
            return;
        };
        let last = self.last.find((&folder.path, false));
        if let Some(last) = last.filter(|last| last.stamp == Some(looked))
            && let Some(listed) = self.list_again(&dir, last)
        {
            self.n_files += listed.files.len();
            for name in &listed.folders {
                folders.push(folder.below(name));
            }
            return self.keep(listed, looked, Some(looked), folder.base, folder.below_base);
        }
        let (n_findings, n_folders) = (self.survey.findings.len(), folders.len());
        let n_ignored = self.n_ignored;
        let mut names = BTreeSet::new();
        let (has_data, mut is_plain);
        match entries(&dir, self.most_files) {
            Ok(all) if all.len() > 2 * self.most_files => {
                return self.too_many_entries(&place);
            }
            Ok(all) => {
                has_data = all.iter().any(|(name, _)| name == "..data");
                is_plain = !has_data;
                for (name, entry) in all {
                    // Entries beside `..data` must be compared with those in it.
                    if has_data || !self.list_file(&folder, &dir, &name, &entry) {
                        let is_kept = self.keep_name(&folder.path, &name, &mut names);
                        is_plain &= !is_kept || has_plain_type(&entry);
                    }
                }
            }
            Err(error) => return self.access_error(&place, &error),
        }
        if has_data {
            self.list_data(&folder, &dir, looked, &mut names, folders);
        }
        for name in names {
            let below_base = folder.below_base.join(&name);
            let base = Arc::clone(&folder.base);
            self.visit(&folder, name, base, below_base, folders);
        }
        // The next look must find the same errors, and count the same ignored files.
        is_plain &= self.survey.findings.len() == n_findings && self.n_ignored == n_ignored;
        if !is_plain {
            self.see_link();
        }
        let names = folders.get(n_folders..).unwrap_or_default().iter();
        let names = names.filter(|_| is_plain).map(Folder::name).collect();
        let listed = self.listed(&folder.path, false, names);
        let stamp = Some(looked).filter(|looked| is_plain && looked.is_settled(now));
        self.keep(listed, looked, stamp, folder.base, folder.below_base);
    }

    /// Opens `folder`, which findings call `place`, and takes its stamp. Returns `None` if that is not possible, or if
    /// the folder was already opened on the way to itself.
    fn open(&mut self, folder: &mut Folder, place: &str) -> Option<(Stamp, Dir)> {
        let opened = folder
            .base
            .open_dir(&folder.below_base)
            .and_then(|dir| Ok((Stamp::of(&dir.dir_metadata()?), dir)));
        let (looked, dir) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.access_error(place, &error);
                return None;
            }
        };
        let identity = looked.identity();
        if folder.above.contains(&identity) {
            let message = "the link leads back to a folder that contains it";
            self.error(Code::BAD_LINK, place, message, "remove the link");
            return None;
        }
        folder.above.push(identity);
        self.see(&looked);
        Some((looked, dir))
    }

    /// Looks at the files of a folder whose names have not changed. Returns `None` if one of them is not a file any
    /// more.
    ///
    /// PERF: this takes one system call per file, and nothing else that grows with their number. It is most of the time
    /// that a reload of a large store takes.
    fn list_again(&mut self, dir: &Dir, last: &KnownFolder) -> Option<Arc<Listed>> {
        let Listed { folder, files, .. } = &*last.listed;
        let n_before = match folder.len() {
            0 => 0,
            n => n + 1,
        };
        let mut changed = Vec::new();
        for (index, (path, known)) in files.iter().enumerate() {
            let stat = statat(dir, path.get(n_before..)?, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return None;
            }
            let stamp = Stamp::of_stat(&stat);
            self.see(&stamp);
            if stamp != *known {
                changed.push((index, stamp));
            }
        }
        if changed.is_empty() {
            return Some(Arc::clone(&last.listed));
        }
        let mut files = files.clone();
        for (index, stamp) in changed {
            files.get_mut(index)?.1 = stamp;
        }
        Some(Arc::new(Listed {
            folder: folder.clone(),
            is_data: false,
            files,
            folders: last.listed.folders.clone(),
        }))
    }

    /// Returns the files that were found. They are shared with the previous listing if that is the same.
    fn listed(&mut self, folder: &str, is_data: bool, folders: Vec<Box<str>>) -> Arc<Listed> {
        let mut files = std::mem::take(&mut self.files);
        self.n_files += files.len();
        files.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let last = self.last.find((folder, is_data));
        if let Some(last) = last {
            // Each path shares one text, however often it is listed.
            for (path, _) in &mut files {
                let known = &last.listed.files;
                let at = known.binary_search_by(|(known, _)| known.cmp(path));
                if let Some((known, _)) = at.ok().and_then(|at| known.get(at)) {
                    *path = Arc::clone(known);
                }
            }
        }
        files.shrink_to_fit();
        let listed = Listed {
            folder: folder.into(),
            is_data,
            files,
            folders,
        };
        match last {
            Some(last) if *last.listed == listed => Arc::clone(&last.listed),
            _ => Arc::new(listed),
        }
    }

    fn keep(
        &mut self,
        listed: Arc<Listed>,
        looked: Stamp,
        stamp: Option<Stamp>,
        base: Arc<Dir>,
        below_base: PathBuf,
    ) {
        self.survey.folders.push(Surveyed {
            listed,
            looked,
            stamp,
            base,
            below_base,
        });
    }

    /// Notes the stamp of a file or folder.
    fn see(&mut self, stamp: &Stamp) {
        if let Some(pace) = &mut self.pace {
            pace.step();
        }
        if let Some(moment) = &mut self.survey.moment {
            moment.see(stamp);
        }
    }

    fn see_link(&mut self) {
        if let Some(moment) = &mut self.survey.moment {
            moment.see_link();
        }
    }

    /// Lists an entry that is plainly a file of the store: neither a link nor a folder. Returns `false` for all other
    /// entries.
    ///
    /// PERF: it reads the metadata through the folder's handle, with one system call instead of four.
    fn list_file(&mut self, folder: &Folder, dir: &Dir, name: &OsStr, entry: &DirEntry) -> bool {
        let Some(name) = name.to_str() else {
            return false;
        };
        let is_plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_plain || is_skipped(name) || !name.ends_with(".json") {
            return false;
        }
        // If a link has taken its place meanwhile, this is the stamp of the link itself.
        let Ok(stat) = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return false;
        }
        let stamp = Stamp::of_stat(&stat);
        self.see(&stamp);
        self.files.push((join(&folder.path, name).into(), stamp));
        true
    }

    /// Lists `folder/..data` under the names of `folder`. Names that only lead there are removed from `names`.
    fn list_data(
        &mut self,
        folder: &Folder,
        dir: &Dir,
        looked: Stamp,
        names: &mut BTreeSet<String>,
        folders: &mut Vec<Folder>,
    ) {
        let place = join(&folder.path, "..data");
        let listed = dir.open_dir("..data").and_then(|data| {
            let all = data
                .entries()?
                .take(2 * self.most_files + 1)
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()?;
            Ok((Arc::new(data), all))
        });
        let (data, all) = match listed {
            Ok(listed) => listed,
            Err(error) => return self.access_error(&place, &error),
        };
        if all.len() > 2 * self.most_files {
            return self.too_many_entries(&place);
        }
        // The links beside `..data` only make the files easier to find. The kubelet removes those of the last version a
        // moment later.
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
                let message = "is both in this folder and in its `..data`";
                let path = join(&folder.path, &name);
                self.error(Code::UNKNOWN_FILE, &path, message, "remove one of the two");
                continue;
            }
            let below_base = PathBuf::from(&name);
            self.visit(folder, name, Arc::clone(&data), below_base, folders);
        }
        let listed = self.listed(&folder.path, true, Vec::new());
        self.keep(listed, looked, None, data, PathBuf::new());
    }

    /// Keeps `name` unless it is never read. Returns whether it was kept.
    fn keep_name(&mut self, folder: &str, name: &OsStr, names: &mut BTreeSet<String>) -> bool {
        let Some(text) = name.to_str() else {
            let lossy = name.to_string_lossy();
            if !is_skipped(&lossy) {
                self.error(
                    Code::UNKNOWN_FILE,
                    &join(folder, &lossy),
                    "the name of this file is not UTF-8",
                    "rename the file",
                );
            }
            return false;
        };
        let is_kept = !text.starts_with('.');
        if is_kept {
            names.insert(text.to_owned());
        }
        is_kept
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
                    "rename the directory so that it does not end in `.json`",
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
            self.n_ignored += 1;
            if self.n_ignored <= MAX_IGNORED {
                let finding = Finding::warning(
                    Code::IGNORED_FILE,
                    Location::file(path),
                    "only `*.json` is read",
                );
                let help = "rename it, or move it out of the store";
                self.survey.findings.push(finding.help(help));
            }
        } else if metadata.is_file() {
            let stamp = Stamp::of(&metadata);
            self.see(&stamp);
            self.files.push((path.into(), stamp));
        } else {
            self.error(
                Code::NOT_A_FILE,
                &path,
                "this is not a regular file",
                "replace it with a regular file",
            );
        }
    }

    fn too_many_entries(&mut self, folder: &str) {
        let message = format!("the folder has more than {} entries", 2 * self.most_files);
        let help = "remove what is no policy, or move it to other folders";
        self.error(Code::TOO_LARGE, folder, &message, help);
    }

    fn error(&mut self, code: Code, path: &str, message: &str, help: &str) {
        self.survey
            .findings
            .push(Finding::error(code, Location::file(path), message).help(help));
    }

    /// Reports a file or folder that is listed but cannot be reached.
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
            .help("remove the link, or let it point to a file")
        } else if error.kind() == io::ErrorKind::NotFound {
            Finding::error(
                Code::BAD_LINK,
                Location::file(path),
                "the link leads nowhere",
            )
            .help("remove the link, or restore the file that it points to")
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

/// Returns the entries of a folder, up to the limit.
fn entries(dir: &Dir, most_files: usize) -> io::Result<Vec<(OsString, DirEntry)>> {
    dir.entries()?
        .take(2 * most_files + 1)
        .map(|entry| entry.map(|entry| (entry.file_name(), entry)))
        .collect()
}

/// Returns whether the entry is neither a link nor anything else that may lead elsewhere.
fn has_plain_type(entry: &DirEntry) -> bool {
    let kind = entry.file_type();
    kind.is_ok_and(|kind| kind.is_file() || kind.is_dir())
}

/// Returns whether a store skips a file of this name, such as a README or the backup of an editor.
fn is_skipped(name: &str) -> bool {
    name.starts_with('.')
        || name.starts_with("README")
        || name.starts_with("LICENSE")
        || [".md", "~", ".tmp", ".swp"]
            .iter()
            .any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests;
