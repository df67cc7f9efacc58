//! Finds parts of a store that are mounted so that changes never reach them, such as with `subPath` in Kubernetes.
//!
//! A kubelet writes a volume anew and swaps a link in it. A mount of the whole volume follows the link; a mount of one file
//! or folder in it shows what the link led to when the pod started, until the pod ends.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use tracing::warn;

/// Where the system lists the mounts that this process sees.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Warns if the store at `root`, or a part of it, is mounted so that changes do not reach it. A system that does not list
/// its mounts is not asked again.
pub fn warn_of_frozen(root: &Path) {
    let Ok(root) = fs::canonicalize(root) else {
        return;
    };
    let mounts = fs::read(MOUNTS).unwrap_or_default();
    let frozen = frozen(&mounts, &root, Path::is_file);
    let Some(first) = frozen.first() else {
        return;
    };
    warn!(
        id = "store-frozen",
        path = %first.display(),
        n_mounts = frozen.len(),
        "a part of the store is mounted by itself, as with `subPath`: changes do not reach it until the process starts \
         again, so mount the whole volume instead"
    );
}

/// Returns the mount points at which `root` and what is below it do not change with their volume. `mounts` is the
/// system's list, and `is_file` tells whether a mount point is a file.
fn frozen(mounts: &[u8], root: &Path, is_file: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mounts = mounts.split(|byte| *byte == b'\n').filter_map(Mount::of);
    let mut around: Option<Mount> = None;
    let mut found = Vec::new();
    for mount in mounts {
        if root.starts_with(&mount.point) {
            // The longest path is the mount that holds the root, and of those at one path the last one.
            let length = |mount: &Mount| mount.point.as_os_str().len();
            if around
                .as_ref()
                .is_none_or(|around| length(around) <= length(&mount))
            {
                around = Some(mount);
            }
        } else if mount.point.starts_with(root) && (mount.is_version() || is_file(&mount.point)) {
            found.push(mount.point);
        }
    }
    found.extend(around.filter(Mount::is_version).map(|mount| mount.point));
    found.sort();
    found.dedup();
    found
}

/// One mount.
struct Mount {
    /// The path in its file system that is shown.
    shown: PathBuf,
    /// The path at which this process sees it.
    point: PathBuf,
}

impl Mount {
    /// Parses a line of the system's list.
    fn of(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        Some(Self {
            shown: unescaped(fields.next()?),
            point: unescaped(fields.next()?),
        })
    }

    /// Returns whether it shows one version of a volume of the kubelet, whose folder is called after a time, such as
    /// `..2026_11_29_10_00_00.123456789`.
    fn is_version(&self) -> bool {
        self.shown.components().any(|part| {
            let name = part.as_os_str().as_encoded_bytes();
            let time = name.strip_prefix(b"..").and_then(|rest| rest.get(..19));
            time.is_some_and(|time| {
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                time.iter().filter(|byte| is_digit(byte)).count() == 14
                    && time.iter().all(|byte| is_digit(byte) || *byte == b'_')
            })
        })
    }
}

/// Returns the path in a field, in which blanks, line breaks and backslashes are three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The root of a container and what each line adds to it, as a kubelet mounts it.
    const BASE: &str = "\
100 90 0:50 / / rw,relatime - overlay overlay rw
101 100 0:51 / /proc rw - proc proc rw
102 100 254:0 /var/lib/kubelet/pods/7/etc-hosts /etc/hosts rw - ext4 /dev/vda rw
";
    const VOLUME: &str = "/var/lib/kubelet/pods/7/volumes/kubernetes.io~configmap/policies";
    const VERSION: &str = "..2026_11_29_10_00_00.123456789";

    fn frozen_with(lines: &[(&str, &str)], root: &str) -> Vec<PathBuf> {
        let line = |(shown, point): &(&str, &str)| {
            format!("110 100 254:0 {shown} {point} ro,relatime - ext4 /dev/vda rw\n")
        };
        let mounts: String = std::iter::once(BASE.to_owned())
            .chain(lines.iter().map(line))
            .collect();
        let is_file = |path: &Path| path.extension().is_some();
        frozen(mounts.as_bytes(), Path::new(root), is_file)
    }

    #[test]
    fn a_mount_of_a_whole_volume_follows_its_changes() {
        assert!(frozen_with(&[(VOLUME, "/policies")], "/policies").is_empty());
        assert!(frozen_with(&[], "/policies").is_empty());
        // The volume of a larger mount, and a volume inside the store.
        assert!(frozen_with(&[(VOLUME, "/mnt")], "/mnt/policies").is_empty());
        assert!(frozen_with(&[(VOLUME, "/policies/users")], "/policies").is_empty());
        // Other parts of the pod may be mounted as they like.
        let other = format!("{VOLUME}/{VERSION}/app.conf");
        assert!(frozen_with(&[(&other, "/etc/app.conf")], "/policies").is_empty());
        assert!(frozen_with(&[(&other, "/policies-of-others/app.conf")], "/policies").is_empty());
    }

    #[test]
    fn files_and_folders_that_are_mounted_by_themselves_are_found() {
        let file = format!("{VOLUME}/{VERSION}/account.json");
        let folder = format!("{VOLUME}/{VERSION}/users");
        let found = frozen_with(
            &[
                (&file, "/policies/account.json"),
                (&folder, "/policies/users"),
            ],
            "/policies",
        );
        let expected = ["/policies/account.json", "/policies/users"].map(PathBuf::from);
        assert_eq!(found, expected);
        // A file that no kubelet has mounted.
        let found = frozen_with(
            &[("/home/me/a.json", "/policies/users/a.json")],
            "/policies",
        );
        assert_eq!(found, [PathBuf::from("/policies/users/a.json")]);
    }

    #[test]
    fn a_store_inside_a_mounted_folder_is_found() {
        let folder = format!("/{VERSION}/policies");
        for (point, root) in [("/policies", "/policies"), ("/mnt", "/mnt/shop/policies")] {
            assert_eq!(
                frozen_with(&[(&folder, point)], root),
                [PathBuf::from(point)]
            );
        }
        // A whole volume is mounted over it.
        assert!(frozen_with(&[(&folder, "/p"), (VOLUME, "/p")], "/p").is_empty());
        assert!(frozen_with(&[(&folder, "/mnt"), (VOLUME, "/mnt/p")], "/mnt/p").is_empty());
    }

    #[test]
    fn names_are_read_as_the_system_writes_them() {
        let found = frozen_with(&[("/a", r"/my\040policies/a\134b.json")], "/my policies");
        assert_eq!(found, [PathBuf::from(r"/my policies/a\b.json")]);
        assert_eq!(unescaped(br"a\9zz\04"), PathBuf::from(r"a\9zz\04"));
        assert!(frozen(b"\n\n1 2 3\n\xff \xff\n", Path::new("/"), |_| true).is_empty());
        for name in [
            "..2026_11_29",
            "..data",
            "..2026-11-29_10_00_00.1",
            "2026_11_29_10_00_00.1",
        ] {
            let shown = format!("/{name}");
            assert!(frozen_with(&[(&shown, "/p")], "/p").is_empty(), "{name}");
        }
    }
}
