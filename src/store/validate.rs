//! What `iamd validate` says about a store or a single file.

use std::path::Path;
use std::sync::Arc;

use super::place::Kind;
use super::{load, shape};
use crate::language::finding::{Code, Finding, Location};

/// Every finding about `path`, sorted by place: a directory is a store, and a file is an entity, a dump or a policy
/// document, whichever its folder or its members say.
pub fn validate(path: &Path) -> Vec<Finding> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => match load(path) {
            Ok(loaded) => loaded.findings,
            Err(refused) => refused.findings,
        },
        Ok(metadata) if !metadata.is_file() => {
            vec![error(
                path,
                Code::NOT_A_FILE,
                "this is neither a file nor a directory",
            )]
        }
        Ok(metadata) if metadata.len() > Kind::Elsewhere.max_bytes() => {
            let message = format!(
                "the file has {} bytes; at most {} are read",
                metadata.len(),
                Kind::Elsewhere.max_bytes()
            );
            vec![error(path, Code::TOO_LARGE, &message)]
        }
        Ok(_) => match std::fs::read(path) {
            Ok(bytes) => file(path, &bytes),
            Err(cause) => vec![error(
                path,
                Code::UNREADABLE,
                &format!("cannot be read: {cause}"),
            )],
        },
        Err(cause) => vec![error(
            path,
            Code::UNREADABLE,
            &format!("cannot be read: {cause}"),
        )],
    }
}

fn file(path: &Path, bytes: &[u8]) -> Vec<Finding> {
    let kind = path
        .ancestors()
        .skip(1)
        .find_map(|folder| kind_of_folder(folder.file_name()?.to_str()?));
    let mut findings = shape::lone_file(&name(path), bytes, kind);
    findings.sort();
    findings.dedup();
    findings
}

fn kind_of_folder(name: &str) -> Option<Kind> {
    Some(match name {
        "users" => Kind::User,
        "groups" => Kind::Group,
        "roles" => Kind::Role,
        "managed-policies" => Kind::ManagedPolicy,
        "resource-policies" => Kind::ResourcePolicy,
        "service-control-policies" => Kind::ServiceControlPolicy,
        "resource-control-policies" => Kind::ResourceControlPolicy,
        _ => return None,
    })
}

fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

fn error(path: &Path, code: Code, message: &str) -> Finding {
    Finding::error(code, Location::file(name(path)), message)
}
