//! Tests who may connect to a Unix socket from the first moment on, and what clients send there.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use iamd::service::pb;
use tempfile::TempDir;

use super::GET;
use super::raw::{Outcome, Raw};
use crate::support::{Server, channel_to, iamd, iamd_after, log_field, ready, run, store_allowing};

/// Returns the permissions of the file at `path`, if it exists.
fn mode(path: &Path) -> Option<u32> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some(metadata.permissions().mode() & 0o7777)
}

/// Starts a server on a socket at `path`, under `umask`. It listens, but may not be ready.
fn on_socket(path: &Path, root: &Path, umask: &str, options: &[&str]) -> Server {
    let listen = format!("unix:{}", path.display());
    let mut command = iamd_after(&format!("umask {umask}"), ["serve", "--store"]);
    command.arg(root).args(["--listen", &listen]).args(options);
    Server::spawn(command)
}

/// Makes a link to `folder` that the system takes long to follow. If a process creates a file behind it and sets its
/// mode afterwards, the file keeps its first mode for a millisecond.
fn long_way_to(folder: &Path, links: &Path) -> PathBuf {
    let detour = "./".repeat(2_000);
    let mut way = folder.to_owned();
    for n in 0..35 {
        let link = links.join(n.to_string());
        let target = match way.file_name() {
            Some(name) if n > 0 => Path::new(&detour).join(name),
            _ => way,
        };
        symlink(target, &link).unwrap();
        way = link;
    }
    way
}

/// Returns the permissions of all sockets in `folder`, combined.
fn modes_in(folder: &Path) -> u32 {
    let mut modes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(path);
        if let Ok(metadata) = metadata.as_ref()
            && metadata.file_type().is_socket()
        {
            modes |= metadata.permissions().mode() & 0o7777;
        }
    }
    modes
}

#[test]
fn a_socket_is_never_open_to_all_whatever_the_umask() {
    let store = store_allowing(GET);
    let (folder, links) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = folder.path().join("iamd.sock");
    let way = long_way_to(folder.path(), links.path()).join("iamd.sock");
    for umask in ["0", "077", "022"] {
        for _ in 0..5 {
            let mut server = on_socket(&way, store.path(), umask, &[]);
            // The test looks at the sockets all the time while they are created, under any name.
            let mut seen = 0;
            while !is_listening(&server) {
                assert!(server.is_running(), "{:?}", server.log());
                seen |= modes_in(folder.path());
            }
            assert_eq!(seen & !0o660, 0, "umask {umask}: {seen:o} for a moment");
            assert_eq!(mode(&path), Some(0o660), "umask {umask}");
            server.signal("TERM");
            server.exit_status();
            let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

/// Returns whether the server has logged where it listens.
fn is_listening(server: &Server) -> bool {
    let log = server.log();
    log.iter().any(|line| log_field(line, "address").is_some())
}

#[tokio::test]
async fn a_socket_has_the_mode_that_was_asked_for() {
    let store = store_allowing(GET);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("iamd.sock");
    for (umask, asked, expected) in [
        ("077", "0666", 0o666),
        ("0", "0600", 0o600),
        ("022", "660", 0o660),
        ("022", "0777", 0o777),
    ] {
        let server = on_socket(&path, store.path(), umask, &["--socket-mode", asked]);
        let channel = channel_to(&format!("unix:{}", path.display()));
        ready(&channel, &server).await;
        assert_eq!(mode(&path), Some(expected), "{asked} under umask {umask}");
    }
}

/// Only root may give a file any group; others may give it one of their own.
#[tokio::test]
async fn a_socket_has_the_group_that_was_asked_for() {
    let store = store_allowing(GET);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("iamd.sock");
    let own = fs::metadata(folder.path()).unwrap();
    let group = if own.uid() == 0 { 65_432 } else { own.gid() };
    let asked = group.to_string();
    let server = on_socket(&path, store.path(), "0", &["--socket-group", &asked]);
    let channel = channel_to(&format!("unix:{}", path.display()));
    ready(&channel, &server).await;
    assert_eq!(fs::metadata(&path).unwrap().gid(), group);
    assert_eq!(mode(&path), Some(0o660));
    for bad in ["users", "-1", "4294967295", ""] {
        let mut command = iamd(["serve", "--listen", "127.0.0.1:0", "--store"]);
        command
            .arg(store.path())
            .arg(format!("--socket-group={bad}"));
        let ended = run(command, "");
        assert_eq!(ended.status, Some(2), "`{bad}`: {ended:?}");
        let told = format!("`--socket-group`: `{bad}`");
        assert!(ended.stderr.contains(&told), "`{bad}`: {ended:?}");
    }
}

#[test]
fn a_mode_that_is_none_is_a_usage_error() {
    let store = store_allowing(GET);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("iamd.sock");
    let listen = format!("unix:{}", path.display());
    for bad in [
        "99",
        "8",
        "0o660",
        "rw-rw----",
        "-1",
        "",
        "1000",
        "4660",
        "0668",
    ] {
        let mut command = iamd(["serve", "--listen", &listen, "--store"]);
        command
            .arg(store.path())
            .arg(format!("--socket-mode={bad}"));
        let ended = run(command, "");
        assert_eq!(ended.status, Some(2), "`{bad}`: {ended:?}");
        let told = format!("`--socket-mode`: `{bad}`");
        assert!(ended.stderr.contains(&told), "`{bad}`: {ended:?}");
        assert!(!path.exists(), "`{bad}`");
    }
    let mut command = iamd(["serve", "--listen", &listen, "--store"]);
    command.arg(store.path()).env("IAMD_SOCKET_MODE", "99");
    let ended = run(command, "");
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("IAMD_SOCKET_MODE"), "{ended:?}");
}

#[test]
fn an_abstract_socket_is_refused_and_makes_no_file() {
    let store = store_allowing(GET);
    for address in ["unix:@iamd", "unix://@iamd", "unix:@"] {
        let folder = TempDir::new().unwrap();
        let mut command = iamd(["serve", "--listen", address, "--store"]);
        command.arg(store.path()).current_dir(folder.path());
        let mut server = Server::spawn(command);
        while server.is_running() {
            assert!(!is_listening(&server), "{address}: {:?}", server.log());
        }
        assert_eq!(server.exit_status().code(), Some(2), "{address}");
        let told = server.whole_log().join("\n");
        assert!(told.contains("abstract"), "{address}: {told}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{address}: {left:?}");
    }
}

/// Clients on gRPC's C core (Python, C++, Ruby, PHP) and in Java send the path as the authority, which HTTP does not
/// allow. They see a reset, so the operator of iamd must learn what to set.
#[tokio::test]
async fn a_client_whose_authority_is_the_path_is_told_what_to_set() {
    let store = store_allowing(GET);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("iamd.sock");
    let address = format!("unix:{}", path.display());
    let mut server = on_socket(&path, store.path(), "022", &[]);
    ready(&channel_to(&address), &server).await;
    let ask = async |authority: &str| {
        let mut raw = Raw::greeted(&address).await.unwrap();
        raw.ask(authority, GET).await
    };
    let advice = |log: Vec<String>| -> Vec<String> {
        let advice = log.into_iter();
        advice
            .filter(|line| line.contains("grpc.default_authority"))
            .collect()
    };
    assert_eq!(
        ask("localhost").await,
        Outcome::Decided(pb::Decision::Allow)
    );
    assert_eq!(advice(server.log()), Vec::<String>::new());

    let path = path.to_str().unwrap();
    for authority in [&path.replace('/', "%2F"), path] {
        for _ in 0..3 {
            let outcome = ask(authority).await;
            assert!(
                matches!(outcome, Outcome::Reset(_) | Outcome::NoAnswer),
                "{authority}: {outcome:?}"
            );
        }
    }
    server.wait_for_log("the advice", |line| {
        line.contains("grpc.default_authority").then_some(())
    });
    assert_eq!(
        ask("localhost").await,
        Outcome::Decided(pb::Decision::Allow)
    );
    server.signal("TERM");
    let advice = advice(server.whole_log());
    let told = |line: &&String| log_field(line, "repeated").is_none();
    let [once] = advice.iter().filter(told).collect::<Vec<_>>()[..] else {
        panic!("{advice:#?}")
    };
    assert_eq!(log_field(once, "level").as_deref(), Some("WARN"), "{once}");
}
