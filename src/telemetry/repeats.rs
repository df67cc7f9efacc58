//! Repeated lines. The first of a series of equal lines is written at once; later, one line tells how many followed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

/// The first period in which equal lines are only counted. It doubles while they keep coming.
const SHORTEST: Duration = Duration::from_secs(1);
/// The most different lines that are remembered. Other lines are written each time.
const MAX_LINES: usize = 256;

/// The recently written lines.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: HashMap<u64, Recent>,
    hasher: RandomState,
}

/// A line that was written, and how often it came again since then.
#[derive(Debug)]
struct Recent {
    line: Box<[u8]>,
    /// The time of its last occurrence.
    at: SystemTime,
    /// The end of the period in which it is only counted.
    until: Instant,
    period: Duration,
    repeated: u64,
}

/// A line to write again, with the number of repeats.
pub(super) struct Told {
    pub(super) at: SystemTime,
    pub(super) line: Box<[u8]>,
    pub(super) repeated: u64,
}

impl Repeats {
    /// The longest period in which a line is only counted.
    pub(super) const LONGEST: Duration = Duration::from_secs(60);

    /// Returns whether `line`, logged at the time `at`, must be written now. If not, it was counted.
    pub(super) fn is_new(&mut self, line: &[u8], at: SystemTime, now: Instant) -> bool {
        let hash = self.hasher.hash_one(line);
        if let Some(recent) = self.lines.get_mut(&hash) {
            if *recent.line != *line {
                return true; // two different lines share one hash
            }
            // A repeat is only counted until its count is written.
            if now < recent.until || recent.repeated > 0 {
                recent.repeated += 1;
                recent.at = at;
                return false;
            }
        }
        if self.lines.len() < MAX_LINES {
            let recent = Recent {
                line: line.into(),
                at,
                until: now + SHORTEST,
                period: SHORTEST,
                repeated: 0,
            };
            self.lines.insert(hash, recent);
        }
        true
    }

    /// Returns one of the lines whose count is due by `now`.
    pub(super) fn due(&mut self, now: Instant) -> Option<Told> {
        self.lines
            .retain(|_, recent| recent.repeated > 0 || now < recent.until);
        let mut recents = self.lines.values_mut();
        let recent = recents.find(|recent| now >= recent.until)?;
        recent.period = (recent.period * 2).min(Self::LONGEST);
        recent.until = now + recent.period;
        Some(Told {
            at: recent.at,
            line: recent.line.clone(),
            repeated: std::mem::take(&mut recent.repeated),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn a_line_is_told_at_once_then_counted_ever_longer() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let mut told = Vec::new();
        for tenth in 0..1_000 {
            let now = start + Duration::from_millis(100 * tenth);
            if repeats.is_new(b"x", AT, now) {
                told.push((tenth, 1));
            }
            while let Some(again) = repeats.due(now) {
                told.push((tenth, again.repeated));
            }
        }
        let n_lines: u64 = told.iter().map(|(_, n)| n).sum();
        let tenths: Vec<u64> = told.iter().map(|(tenth, _)| *tenth).collect();
        assert_eq!(tenths, [0, 10, 30, 70, 150, 310, 630], "{told:?}");
        assert_eq!(n_lines, 631, "each is counted once: {told:?}");
    }

    #[test]
    fn what_stopped_is_forgotten_and_new_again() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert!(repeats.is_new(b"x", AT, start));
        assert!(repeats.due(start + SHORTEST).is_none());
        assert!(repeats.lines.is_empty());
        assert!(repeats.is_new(b"x", AT, start + SHORTEST));
    }

    #[test]
    fn what_does_not_fit_is_told_each_time() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for n in 0..2 * MAX_LINES {
            assert!(repeats.is_new(n.to_string().as_bytes(), AT, start));
        }
        assert_eq!(repeats.lines.len(), MAX_LINES);
        assert!(!repeats.is_new(b"0", AT, start));
        assert!(repeats.is_new((2 * MAX_LINES - 1).to_string().as_bytes(), AT, start));
        let told = repeats.due(start + SHORTEST).unwrap();
        assert_eq!((&*told.line, told.repeated), (&b"0"[..], 1));
    }
}
