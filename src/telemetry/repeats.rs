//! Lines that come again and again are told once, and then how often they came.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

/// How long a line must not have come to be told at once the next time; doubled while it keeps coming.
const SHORTEST: Duration = Duration::from_secs(1);
/// How many different lines are remembered. What does not fit is told each time.
const MAX_LINES: usize = 256;

/// The lines of late.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: HashMap<u64, Recent>,
    hasher: RandomState,
}

/// A line that was told, and came again since then, or not.
#[derive(Debug)]
struct Recent {
    line: Box<[u8]>,
    /// When it came last.
    at: SystemTime,
    /// Until then it is only counted.
    until: Instant,
    period: Duration,
    repeated: u64,
}

/// How often a line came again.
pub(super) struct Told {
    pub(super) at: SystemTime,
    pub(super) line: Box<[u8]>,
    pub(super) repeated: u64,
}

impl Repeats {
    /// The longest that a line is only counted.
    pub(super) const LONGEST: Duration = Duration::from_secs(60);

    /// Whether `line`, which came `at` this time, is to be told now. If not it was counted.
    pub(super) fn is_new(&mut self, line: &[u8], at: SystemTime, now: Instant) -> bool {
        let hash = self.hasher.hash_one(line);
        if let Some(recent) = self.lines.get_mut(&hash) {
            if *recent.line != *line {
                return true; // two lines of one hash
            }
            // What came again in time waits for its count to be told.
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

    /// One of the lines whose count is to be told by `now`.
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
