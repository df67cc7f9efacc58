//! What a benchmark is told on its command line.

use anyhow::bail;

use super::Effort;

/// The arguments of a benchmark.
pub struct Options {
    /// Which parts; all if none is named.
    parts: Vec<String>,
    /// Whether a missed figure is an error.
    pub is_checked: bool,
    /// Whether only to see that everything runs: small stores, few rounds. Its figures mean nothing.
    pub is_short: bool,
}

impl Options {
    /// Reads the command line; `parts` are those there are. None where nothing is to be measured.
    pub fn read(parts: &[&str]) -> anyhow::Result<Option<Self>> {
        let mut options = Self {
            parts: Vec::new(),
            is_checked: false,
            is_short: false,
        };
        // Cargo says `--bench` to a benchmark; without it, this is `cargo test --benches`, where nothing is timed.
        let mut is_bench = false;
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--bench" => is_bench = true,
                "--check" => options.is_checked = true,
                "--short" => options.is_short = true,
                part if parts.contains(&part) => options.parts.push(argument),
                unknown => bail!(
                    "`{unknown}` is none of --check, --short, {}",
                    parts.join(", ")
                ),
            }
        }
        if options.is_checked && options.is_short {
            bail!("a short run has no figures to check");
        }
        Ok(is_bench.then_some(options))
    }

    /// Whether `part` was asked for.
    pub fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|other| other == part)
    }

    /// How long to measure.
    pub fn effort(&self) -> Effort {
        match self.is_short {
            true => Effort::SHORT,
            false => Effort::FULL,
        }
    }

    /// `full`, or `short` in a short run.
    pub fn pick<T>(&self, full: T, short: T) -> T {
        if self.is_short { short } else { full }
    }
}
