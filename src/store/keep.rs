//! Keeps the files of the last revisions, so that a past decision can be explained by the policies of its time.
//!
//! ```text
//! DIR/revisions/<revision>.json   the paths of its files, each with the digest of its content
//! DIR/files/ab/abcd…              one content, under its SHA-256; revisions that have it share it
//! ```
//! Every file is written beside its place and renamed, so it is there as a whole or not at all. What is read back must
//! have the digest of its name. A failure delays no reload and is told in the log, and the next check of the store tries
//! again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File as DiskFile, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::contents::Contents;
use super::file::{ContentDigest, File};
use super::{Loaded, Refused, load_texts};
use crate::compile::snapshot::Revision;

/// The version of the lists of files.
const VERSION: u32 = 1;
/// The longest list of files that is read: several times what the most files of a store need.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// Keeps revisions in a folder.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    /// How many revisions are kept.
    n_kept: usize,
    /// The contents that were read and are not kept yet, by the paths of their files.
    unkept: HashMap<Arc<str>, (ContentDigest, Arc<[u8]>), FixedState>,
    /// The contents that were kept once, and need not stay in memory.
    known: HashSet<ContentDigest, FixedState>,
    /// The last revision that is kept.
    last: Option<Revision>,
    is_failing: bool,
}

/// The list of a revision's files.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    version: u32,
    revision: String,
    /// The digest of each file by its path.
    files: BTreeMap<String, String>,
}

impl Keeper {
    /// Keeps the last `n_kept` revisions in `folder`, which is created if need be.
    pub fn new(folder: &Path, n_kept: usize) -> anyhow::Result<Self> {
        for part in ["files", "revisions"] {
            let part = folder.join(part);
            fs::create_dir_all(&part)
                .with_context(|| format!("the folder `{}` for revisions", part.display()))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            n_kept: n_kept.max(1),
            unkept: HashMap::default(),
            known: HashSet::default(),
            last: None,
            is_failing: false,
        })
    }

    /// Notes the contents that were read, whether their store loads or not: a later load may use them again without
    /// reading them. A newer content of a file takes the place of the older one.
    pub(super) fn note(&mut self, read: &[File]) {
        for file in read {
            if !self.known.contains(&file.digest) {
                let content = (file.digest, Arc::clone(&file.text));
                self.unkept.insert(Arc::clone(&file.path), content);
            }
        }
    }

    /// Keeps the revision in force, which consists of `contents` of the store at `root`. Does nothing if it is kept.
    pub(super) fn keep(&mut self, root: &Path, revision: &Revision, contents: &Contents) {
        if self.last.as_ref() == Some(revision) {
            return;
        }
        match self.try_keep(root, revision, contents) {
            Ok(()) => {
                self.last = Some(revision.clone());
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(%revision, "revisions are kept again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(
                        id = "revision-not-kept", %revision,
                        "the revision cannot be kept, so its decisions cannot be explained later: {error:#}"
                    );
                }
            }
        }
    }

    fn try_keep(
        &mut self,
        root: &Path,
        revision: &Revision,
        contents: &Contents,
    ) -> anyhow::Result<()> {
        let mut files = BTreeMap::new();
        for content in contents.iter() {
            let digest = content.digest;
            let path = self.content_path(&digest);
            // What is known may have been removed, so each is looked for.
            if !path.exists() {
                let text = self.text(root, &content.path, &digest)?;
                write_whole(&path, &text)
                    .with_context(|| format!("`{}` of the store", content.path))?;
            }
            self.known.insert(digest);
            files.insert(content.path.to_string(), hex(&digest));
        }
        let list = List {
            version: VERSION,
            revision: revision.to_string(),
            files,
        };
        let path = list_path(&self.folder, revision.as_str());
        // A revision that comes back is written anew, which makes it the newest.
        write_whole(&path, &serde_json::to_vec(&list)?)?;
        self.unkept.clear();
        if let Err(error) = self.remove_oldest() {
            tracing::warn!(
                id = "revision-not-kept",
                "old revisions cannot be removed: {error:#}"
            );
        }
        Ok(())
    }

    /// Returns the content of a file, as it was read or as it is on the disk still.
    fn text(&self, root: &Path, path: &str, digest: &ContentDigest) -> anyhow::Result<Arc<[u8]>> {
        match self.unkept.get(path) {
            Some((of_text, text)) if of_text == digest => return Ok(Arc::clone(text)),
            _ => {}
        }
        let text = fs::read(root.join(path)).with_context(|| format!("`{path}` of the store"))?;
        if ContentDigest::from(Sha256::digest(&text)) != *digest {
            bail!("`{path}` of the store has changed again");
        }
        Ok(text.into())
    }

    fn content_path(&self, digest: &ContentDigest) -> PathBuf {
        content_path(&self.folder, &hex(digest))
    }

    /// Removes the oldest lists, and the contents that only they name.
    fn remove_oldest(&mut self) -> anyhow::Result<()> {
        let mut lists = Vec::new();
        for entry in fs::read_dir(self.folder.join("revisions"))? {
            let entry = entry?;
            let is_list = entry.path().extension().is_some_and(|end| end == "json");
            if is_list {
                lists.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        let n_old = lists.len().saturating_sub(self.n_kept);
        if n_old == 0 {
            return Ok(());
        }
        lists.sort();
        let mut candidates = HashSet::new();
        for (_, path) in lists.iter().take(n_old) {
            // A list that cannot be read names nothing, and goes all the same.
            candidates.extend(
                read_list(path)
                    .into_iter()
                    .flat_map(|list| list.files.into_values()),
            );
        }
        for (_, path) in lists.iter().skip(n_old) {
            let list = read_list(path)?; // without it, nobody knows what is still named
            list.files.values().for_each(|digest| {
                candidates.remove(digest);
            });
        }
        for (_, path) in lists.iter().take(n_old) {
            fs::remove_file(path)?;
        }
        self.known.retain(|known| !candidates.contains(&hex(known)));
        for digest in candidates {
            match fs::remove_file(content_path(&self.folder, &digest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Loads the kept revision called `revision`. The outer error says why it cannot be read, the inner one why it does not
/// load, which only another version of iamd can bring about.
pub fn load_kept(folder: &Path, revision: &str) -> anyhow::Result<Result<Loaded, Refused>> {
    if revision.is_empty() || !revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("`{revision}` is no revision");
    }
    let path = list_path(folder, revision);
    let list = match read_list(&path) {
        Err(error) if is_missing(&error) => bail!(
            "the revision {revision} is not kept in `{}`",
            folder.display()
        ),
        list => list.with_context(|| format!("the list of files `{}`", path.display()))?,
    };
    let mut texts = Vec::with_capacity(list.files.len());
    for (path, digest) in &list.files {
        let text =
            read_content(folder, digest).with_context(|| format!("the kept file `{path}`"))?;
        texts.push((path.as_str(), text));
    }
    let loaded = load_texts(texts.iter().map(|(path, text)| (*path, text.as_str())));
    if let Ok(loaded) = &loaded
        && loaded.snapshot.revision.as_str() != revision
    {
        bail!("the kept files are those of another revision");
    }
    Ok(loaded)
}

fn read_content(folder: &Path, digest: &str) -> anyhow::Result<String> {
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("`{digest}` is no digest");
    }
    let text = fs::read(content_path(folder, digest))?;
    if hex(&Sha256::digest(&text).into()) != digest {
        bail!("its content has changed since it was kept");
    }
    String::from_utf8(text).map_err(|_| anyhow!("is not UTF-8"))
}

fn read_list(path: &Path) -> anyhow::Result<List> {
    let file = DiskFile::open(path)?;
    let n_bytes = file.metadata()?.len();
    if n_bytes > MAX_LIST_BYTES {
        bail!("is longer than {MAX_LIST_BYTES} bytes");
    }
    let list: List = serde_json::from_reader(io::BufReader::new(file))?;
    if list.version != VERSION {
        bail!(
            "has the version {}, and this iamd reads {VERSION}",
            list.version
        );
    }
    Ok(list)
}

fn is_missing(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound)
}

fn list_path(folder: &Path, revision: &str) -> PathBuf {
    folder.join("revisions").join(format!("{revision}.json"))
}

fn content_path(folder: &Path, digest: &str) -> PathBuf {
    let beginning = digest.get(..2).unwrap_or_default();
    folder.join("files").join(beginning).join(digest)
}

/// Writes a file in one step: whoever reads it finds the old one or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o640);
        let renamed = options
            .open(&beside)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&beside, path));
        if renamed.is_err() {
            let _ = fs::remove_file(&beside); // what is left of it takes space and is of no use
        }
        renamed
    };
    written().with_context(|| format!("cannot write `{}`", path.display()))
}

fn hex(digest: &ContentDigest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::super::Loader;
    use super::*;

    const ROLE: &str = r#"{"UserName": "ann"}"#;

    /// Writes a store with one user of this path, and loads it.
    fn load(loader: &mut Loader, root: &Path, path: &str) -> Revision {
        fs::create_dir_all(root.join("users")).unwrap();
        fs::write(
            root.join("account.json"),
            r#"{"AccountId": "111111111111"}"#,
        )
        .unwrap();
        let user = format!(r#"{{"UserName": "ann", "Path": "{path}"}}"#);
        fs::write(root.join("users/ann.json"), user).unwrap();
        loader.load(root).unwrap().snapshot.revision
    }

    fn n_files(folder: &Path) -> usize {
        let folders = fs::read_dir(folder.join("files")).unwrap();
        folders
            .map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count())
            .sum()
    }

    #[test]
    fn the_last_revisions_load_again_and_older_ones_are_gone() {
        let (store, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut loader = Loader::new().keeping(Keeper::new(kept.path(), 2).unwrap());
        let mut revisions = Vec::new();
        for path in ["/one/", "/two/", "/three/"] {
            revisions.push(load(&mut loader, store.path(), path));
            loader.keep(store.path());
        }
        for (revision, is_kept) in revisions.iter().zip([false, true, true]) {
            let loaded = load_kept(kept.path(), revision.as_str());
            assert_eq!(loaded.is_ok(), is_kept, "{revision}");
            if let Ok(loaded) = loaded {
                assert_eq!(loaded.unwrap().snapshot.revision, *revision);
            }
        }
        // `account.json` is the same in all of them.
        assert_eq!(n_files(kept.path()), 3);
    }

    #[test]
    fn a_file_that_was_read_with_a_refused_store_is_kept_with_the_next_one() {
        let (store, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut loader = Loader::new().keeping(Keeper::new(kept.path(), 9).unwrap());
        let bad = store.path().join("managed-policies");
        fs::create_dir_all(&bad).unwrap();
        fs::write(bad.join("a.json"), "no JSON").unwrap();
        fs::create_dir_all(store.path().join("users")).unwrap();
        fs::write(store.path().join("users/ann.json"), ROLE).unwrap();
        assert!(loader.load(store.path()).is_err());
        fs::remove_dir_all(&bad).unwrap();
        let revision = load(&mut loader, store.path(), "/one/");
        // The file is already another one when the revision is kept.
        fs::write(store.path().join("account.json"), "{}").unwrap();
        loader.keep(store.path());
        let loaded = load_kept(kept.path(), revision.as_str()).unwrap();
        assert_eq!(loaded.unwrap().snapshot.revision, revision);
    }

    #[test]
    fn what_was_changed_since_it_was_kept_is_not_used() {
        let (store, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut loader = Loader::new().keeping(Keeper::new(kept.path(), 9).unwrap());
        let revision = load(&mut loader, store.path(), "/one/");
        loader.keep(store.path());
        let list = read_list(&list_path(kept.path(), revision.as_str())).unwrap();
        let digest = list.files.get("users/ann.json").unwrap();
        fs::write(content_path(kept.path(), digest), ROLE).unwrap();
        let error = load_kept(kept.path(), revision.as_str()).unwrap_err();
        assert!(format!("{error:#}").contains("has changed"), "{error:#}");
        for bad in ["", "../x", "00"] {
            assert!(load_kept(kept.path(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error_and_the_next_check_tries_again() {
        let (store, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut loader = Loader::new().keeping(Keeper::new(kept.path(), 9).unwrap());
        let revision = load(&mut loader, store.path(), "/one/");
        fs::remove_dir_all(kept.path().join("files")).unwrap();
        fs::write(kept.path().join("files"), "in the way").unwrap();
        loader.keep(store.path());
        assert!(load_kept(kept.path(), revision.as_str()).is_err());
        fs::remove_file(kept.path().join("files")).unwrap();
        loader.keep(store.path());
        assert!(load_kept(kept.path(), revision.as_str()).unwrap().is_ok());
    }
}
