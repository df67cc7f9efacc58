//! `iamd export`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{Common, Output, Status, report, report_refused};
use crate::store;
use kubernetes::{Export, Names, yaml};

mod kubernetes;

/// Print the store as Kubernetes objects, ready for `kubectl apply --server-side -f -`
///
/// The objects are ConfigMaps, and `--volume` prints the volume that gives a pod their files as the store's tree. Each
/// version of the store that has other files has other names, so a pod never sees a mix of two versions. Exits with 2 if
/// the store does not load, or does not fit into ConfigMaps.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name of the ConfigMaps, to which a hash is added
    #[arg(long, value_name = "NAME", value_parser = label::<MAX_NAME>)]
    kubernetes: String,
    /// The namespace that the ConfigMaps name; without it, they name none
    #[arg(long, value_name = "NAMESPACE", value_parser = label::<MAX_LABEL>)]
    namespace: Option<String>,
    /// Print the volume instead, for the list `volumes` of a pod
    #[arg(long)]
    volume: bool,
    /// Write a kustomize component with the ConfigMaps and the volume into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with_all = ["volume", "output"])]
    kustomize: Option<PathBuf>,
}

/// The most characters of a store's name, which leaves space for a hash and a number in a label.
const MAX_NAME: usize = 40;
/// The most characters of a label of Kubernetes, which a namespace is.
const MAX_LABEL: usize = 63;

/// Parses a label of Kubernetes with at most `MAX` characters.
fn label<const MAX: usize>(text: &str) -> Result<String, String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_good = !text.is_empty()
        && text.len() <= MAX
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_good {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "must be 1 to {MAX} lower-case letters, digits and hyphens, without a hyphen at either end"
        ))
    }
}

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    let root = common.store();
    let store = match store::load_with_texts(&root) {
        Ok(store) => store,
        Err(refused) => {
            report_refused(&root, &refused);
            return Ok(Status::Refused);
        }
    };
    let names = Names {
        name: &args.kubernetes,
        namespace: args.namespace.as_deref(),
    };
    let revision = store.loaded.snapshot.revision.as_str();
    let export = Export::of(&names, revision, &store.texts)?;
    if export.config_maps.len() > 1 {
        report(format_args!(
            "note: the store needs {} ConfigMaps, which Kubernetes does not replace in one step: every change of it has \
             names of its own and takes effect when its pods are rolled out",
            export.config_maps.len()
        ));
    }
    match (&args.kustomize, args.volume, common.output) {
        (Some(directory), ..) => write_component(&export, directory)?,
        (None, true, Output::Text) => out.write_all(yaml(&[&export.volume])?.as_bytes())?,
        (None, true, Output::Json) => writeln!(out, "{}", serde_json::to_string(&export.volume)?)?,
        (None, false, Output::Text) => out.write_all(yaml(&export.config_maps)?.as_bytes())?,
        (None, false, Output::Json) => writeln!(out, "{}", serde_json::to_string(&export.list())?)?,
    }
    Ok(Status::Fine)
}

/// Writes the files of a kustomize component. Other files of the directory stay as they are.
fn write_component(export: &Export<'_>, directory: &Path) -> anyhow::Result<()> {
    if directory.join("account.json").exists() || directory.join("accounts").exists() {
        bail!("`{}` is a store", directory.display());
    }
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory `{}`", directory.display()))?;
    for (name, text) in export.component()? {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}
