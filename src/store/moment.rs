//! When one look at a store is enough.
//!
//! What is seen one after the other need not have been there together, so a store is looked at twice, and each look
//! asks the system for every file. But where whatever is seen has last changed before the look began, all of it was
//! there at that very moment, and the second look can be left out:
//!
//! ```text
//!   last change of anything ──▶ the look begins ──▶ folders and files, one by one ──▶ the folders once more: the same?
//!                                     ▲
//!                                     └── all that is seen was so at this moment
//! ```
//!
//! This compares stamps with a clock, so it must be the clock that the stamps are made by: the kernel's own, of which
//! the file systems of this machine take the time as of its last tick. Where that is not certain, two looks are taken.

use cap_std::fs::Dir;

use super::stamp::Stamp;

/// A clock that was set back meanwhile by more than this is noticed.
const MAX_STEP_NANOSECONDS: i64 = 1_000_000;

/// The moment at which a look began, as long as all that was seen since may have been there at it.
#[derive(Debug)]
pub struct Moment {
    /// Whatever changes from now on has a later stamp than this.
    began: (i64, i64),
    /// By what the clock on the wall is ahead of the one that nobody sets, in nanoseconds.
    ahead: i64,
    device: u64,
    is_proof: bool,
}

impl Moment {
    /// Now, for a look at what is below `root`; none where the stamps there are made by another clock, perhaps.
    pub fn now(root: &Dir, of_root: &Stamp) -> Option<Self> {
        let (began, ahead) = system::clocks_of(root)?;
        Some(Self {
            began,
            ahead,
            device: of_root.device(),
            is_proof: true,
        })
    }

    /// Takes note of the stamp of a file or folder.
    ///
    /// Some file systems count whole seconds: such a stamp says too little.
    pub fn see(&mut self, stamp: &Stamp) {
        let changed = stamp.changed();
        self.is_proof &= changed < self.began && changed.1 != 0 && stamp.device() == self.device;
    }

    /// Takes note of a link, which may lead elsewhere without a change of anything that it leads to.
    pub fn see_link(&mut self) {
        self.is_proof = false;
    }

    /// Whether nothing that was seen speaks against it.
    pub fn may_hold(&self) -> bool {
        self.is_proof
    }

    /// Whether all that was seen was there when the look began. The caller has seen that the folders are what they were.
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

    /// ext4, XFS, Btrfs, tmpfs and F2FS: local ones that stamp by the kernel's clock. A server's clock is another.
    const LOCAL: [u64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010];

    /// The time that no change from now on is stamped before, and [`ahead`].
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

    /// By what the clock on the wall is ahead of the one that nobody sets.
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

    /// No other system tells the time of its last tick.
    pub fn clocks_of(_root: &Dir) -> Option<((i64, i64), i64)> {
        None
    }

    pub fn ahead() -> Option<i64> {
        None
    }
}
