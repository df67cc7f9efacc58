//! Writes times at little cost: each second is formatted once, however many times within it follow.

use std::io::Write as _;

use jiff::Timestamp;

use super::json::raw;

/// Writes times, and remembers the last second.
pub(super) struct Clock {
    second: i64,
    /// Its time without an end, such as `2026-11-29T11:45:12`. Empty before the first time.
    text: String,
}

impl Clock {
    pub(super) const fn new() -> Self {
        Self {
            second: 0,
            text: String::new(),
        }
    }

    /// Writes a time as its `Display` does: with as many digits of the second as it has.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, at: Timestamp) {
        if at < Timestamp::UNIX_EPOCH {
            let _ = write!(out, "{at}"); // writing to memory does not fail
            return;
        }
        let second = at.as_second();
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = format!("{at:.0}");
            self.text.pop(); // the `Z`
        }
        raw(out, &self.text);
        let nanos = at.subsec_nanosecond().unsigned_abs();
        if nanos > 0 {
            // Ten digits, so that those after the first have their zeros in front.
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(1_000_000_000 + nanos).trim_end_matches('0');
            out.push(b'.');
            raw(out, digits.get(1..).unwrap_or_default());
        }
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn times_are_written_as_jiff_writes_them() {
        let mut clock = Clock::new();
        let nanos = [
            0,
            1,
            10,
            999,
            1_000,
            123_000_000,
            100_000_000,
            500_000_001,
            123_456_789,
            999_999_999,
        ];
        let minutes = (-3..3).chain([1_764_000_000, 1_772_323_199, 4_102_444_799]);
        for second in minutes.chain([-62_135_596_800, 253_402_207_199]) {
            for nanos in nanos {
                let at = Timestamp::new(second, nanos).unwrap();
                // Twice, so that the second is a remembered one.
                for _ in 0..2 {
                    let mut out = Vec::new();
                    clock.write(&mut out, at);
                    assert_eq!(String::from_utf8(out).unwrap(), at.to_string());
                }
            }
        }
    }
}
