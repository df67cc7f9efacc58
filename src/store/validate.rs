//! Collects the findings of `iamd validate` about a store or a single file.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::place::Kind;
use super::{load, shape};
use crate::language::document::PolicyType;
use crate::language::finding::{Code, Finding, Location};

/// Returns every finding about `path`, sorted by place. A directory is a store. A file is an entity, a dump or a policy
/// document, depending on its folder or its members.
pub fn validate(path: &Path) -> Vec<Finding> {
    if path.is_dir() {
        return match load(path) {
            Ok(loaded) => loaded.findings,
            Err(refused) => refused.findings,
        };
    }
    validate_file(path, None)
}

/// Returns every finding about the file at `path`. `policy_type` says that it is a document of this type.
pub fn validate_file(path: &Path, policy_type: Option<PolicyType>) -> Vec<Finding> {
    // Pipes and devices are read too, such as `/dev/stdin` or the file behind a shell's `<(…)`.
    match std::fs::File::open(path) {
        Ok(file) => validate_stream(path, file, policy_type),
        Err(cause) => vec![unreadable(path, &cause)],
    }
}

/// Returns every finding about the bytes of `stream`. The findings give `path` as the file.
pub fn validate_stream(
    path: &Path,
    stream: impl Read,
    policy_type: Option<PolicyType>,
) -> Vec<Finding> {
    match read_whole(path, stream, Kind::Elsewhere.max_bytes()) {
        Ok(bytes) => file(path, &bytes, policy_type),
        Err(finding) => vec![finding],
    }
}

/// Reads all of `stream`, unless it has more than `max_bytes`.
fn read_whole(path: &Path, stream: impl Read, max_bytes: u64) -> Result<Vec<u8>, Finding> {
    let mut bytes = Vec::new();
    match stream.take(max_bytes + 1).read_to_end(&mut bytes) {
        Err(cause) => Err(unreadable(path, &cause)),
        Ok(n_bytes) if n_bytes as u64 > max_bytes => {
            let message = format!("the file has more than the {max_bytes} bytes that are read");
            Err(error(path, Code::TOO_LARGE, &message))
        }
        Ok(_) => Ok(bytes),
    }
}

fn file(path: &Path, bytes: &[u8], policy_type: Option<PolicyType>) -> Vec<Finding> {
    let mut findings = match policy_type {
        Some(policy_type) => shape::lone_document(&name(path), bytes, policy_type),
        None => {
            let kind = path
                .ancestors()
                .skip(1)
                .find_map(|folder| kind_of_folder(folder.file_name()?.to_str()?));
            shape::lone_file(&name(path), bytes, kind)
        }
    };
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

fn unreadable(path: &Path, cause: &io::Error) -> Finding {
    error(path, Code::UNREADABLE, &format!("cannot be read: {cause}"))
}

fn error(path: &Path, code: Code, message: &str) -> Finding {
    Finding::error(code, Location::file(name(path)), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_up_to_its_limit_and_a_byte_beyond() {
        let read = |stream: &mut dyn Read| {
            let read = read_whole(Path::new("-"), stream, 1_000);
            read.map(|bytes| bytes.len())
                .map_err(|finding| finding.code)
        };
        assert_eq!(read(&mut &[b' '; 1_000][..]), Ok(1_000));
        assert_eq!(read(&mut &[b' '; 1_001][..]), Err(Code::TOO_LARGE));
        assert_eq!(read(&mut io::repeat(b' ')), Err(Code::TOO_LARGE));
    }
}
