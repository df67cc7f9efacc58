//! Tells when one look at a store is enough.
//!
//! Files that are seen one after another need not have existed together, so a store is looked at twice, and each look
//! asks the system for every file. But if everything that was seen had last changed before the look began, then all of
//! it existed together at that moment, and the second look can be left out:
//! ```text
//!   last change of anything ──▶ the look begins ──▶ folders and files, one by one ──▶ the folders once more: the same?
//!                                     ▲
//!                                     └── all that is seen was so at this moment
//! ```
//!
//! This compares stamps with a clock, so it must be the clock that makes the stamps: the kernel's own. The local file
//! systems stamp with the time of its last tick. If it is not certain that they do, the store is looked at twice.

use cap_std::fs::Dir;

use super::stamp::Stamp;

/// The smallest step of the wall clock that is noticed if the clock is set while the store is listed.
const MAX_STEP_NANOSECONDS: i64 = 1_000_000;

/// The moment at which a look began, valid as long as everything seen since may have existed at that moment.
#[derive(Debug)]
pub struct Moment {
    /// Every later change has a later stamp than this.
    began: (i64, i64),
    /// How far the wall clock is ahead of the clock that nobody can set, in nanoseconds.
    ahead: i64,
    device: u64,
    is_proof: bool,
}

impl Moment {
    /// Returns the current moment, for a look below `root`. Returns `None` if another clock may make the stamps there.
    pub fn now(root: &Dir, of_root: &Stamp) -> Option<Self> {
        let (began, ahead) = system::clocks_of(root)?;
        Some(Self {
            began,
            ahead,
            device: of_root.device(),
            is_proof: true,
        })
    }

    /// Records the stamp of a file or folder.
    ///
    /// Some file systems count whole seconds. Such a stamp is not precise enough.
    pub fn see(&mut self, stamp: &Stamp) {
        let changed = stamp.changed();
        self.is_proof &= changed < self.began && changed.1 != 0 && stamp.device() == self.device;
    }

    /// Records a link, because a link may lead elsewhere without a change of its target.
    pub fn see_link(&mut self) {
        self.is_proof = false;
    }

    /// Returns whether nothing seen so far rules the moment out.
    pub fn may_hold(&self) -> bool {
        self.is_proof
    }

    /// Returns whether everything that was seen existed when the look began. The caller has checked that the folders
    /// have not changed.
    pub fn holds(&self) -> bool {
        self.is_proof
            && system::ahead().is_some_and(|ahead| {
                ahead.abs_diff(self.ahead) < MAX_STEP_NANOSECONDS.unsigned_abs()
            })
    }
}

#[cfg(target_os = "linux")]
mod system {
    use cap_std::fs::Dir;
    use rustix::time::{ClockId, Timespec, clock_gettime};

    use super::MAX_STEP_NANOSECONDS;

    /// ext4, XFS, Btrfs, tmpfs and F2FS. They are local and stamp by the kernel's clock. A file server has another
    /// clock.
    const LOCAL: [u64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010];

    /// Returns a time that is not after the stamp of any later change, and [`ahead`].
    pub fn clocks_of(root: &Dir) -> Option<((i64, i64), i64)> {
        let kind = rustix::fs::fstatfs(root).ok()?.f_type;
        if !LOCAL.iter().any(|local| u64::try_from(kind) == Ok(*local)) {
            return None;
        }
        let ahead = ahead()?;
        let tick = nanoseconds(clock_gettime(ClockId::RealtimeCoarse))?;
        let began = tick.checked_sub(2 * MAX_STEP_NANOSECONDS)?;
        Some((
            (
                began.div_euclid(1_000_000_000),
                began.rem_euclid(1_000_000_000),
            ),
            ahead,
        ))
    }

    /// Returns how far the wall clock is ahead of the clock that nobody can set.
    pub fn ahead() -> Option<i64> {
        let wall = nanoseconds(clock_gettime(ClockId::Realtime))?;
        wall.checked_sub(nanoseconds(clock_gettime(ClockId::Monotonic))?)
    }

    fn nanoseconds(time: Timespec) -> Option<i64> {
        time.tv_sec
            .checked_mul(1_000_000_000)?
            .checked_add(time.tv_nsec)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use cap_std::fs::Dir;

    /// Returns `None`, because other systems do not offer the time of the last tick.
    pub fn clocks_of(_root: &Dir) -> Option<((i64, i64), i64)> {
        None
    }

    pub fn ahead() -> Option<i64> {
        None
    }
}
