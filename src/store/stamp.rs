//! What a file or folder looks like from outside.

use std::time::{Duration, SystemTime};

use cap_std::fs::{Metadata, MetadataExt};

/// A file system counts time in ticks, of two seconds at worst. So a file that was changed less than this before it was
/// read may be changed again and keep its stamp.
const STAMP_GRAIN: Duration = Duration::from_secs(2);

const NANOSECONDS: i64 = 1_000_000_000;

/// The metadata that shows whether a file or folder has changed, without reading it. There is one for each file of a
/// store, so it is small: times are numbers of nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    n_bytes: u64,
    modified: i64,
    changed: i64,
}

/// Returns a time in nanoseconds since 1970. A time after 2262 is the last one that there is. As it lies in the future, it
/// never counts as settled.
fn time(seconds: i64, nanoseconds: i64) -> i64 {
    let seconds = seconds.saturating_mul(NANOSECONDS);
    seconds.saturating_add(nanoseconds)
}

impl Stamp {
    /// Returns the stamp of the file or folder that has this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            n_bytes: metadata.size(),
            modified: time(metadata.mtime(), metadata.mtime_nsec()),
            changed: time(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns the stamp of a file or folder from the result of a system call that [`Metadata`] cannot be made from.
    #[expect(
        clippy::unnecessary_cast,
        reason = "how wide these are differs between systems"
    )]
    pub(super) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            n_bytes: stat.st_size as u64,
            modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// Returns the size of the file in bytes.
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Returns the file system that holds the file.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// Returns the numbers that tell a file or folder from all others that exist at the same time.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Returns the time of the last change, in seconds and nanoseconds since 1970.
    pub(super) fn changed(&self) -> (i64, i64) {
        (
            self.changed.div_euclid(NANOSECONDS),
            self.changed.rem_euclid(NANOSECONDS),
        )
    }

    /// Returns the time of the last change, since 1970, by the clock of the file system.
    pub fn changed_at(&self) -> Duration {
        let (seconds, nanoseconds) = self.changed();
        Duration::new(
            u64::try_from(seconds).unwrap_or(0),
            u32::try_from(nanoseconds).unwrap_or(0),
        )
    }

    /// Returns whether every change after `now` must give the file another stamp.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        now.is_ok_and(|now| self.changed_at() + STAMP_GRAIN < now)
    }
}
