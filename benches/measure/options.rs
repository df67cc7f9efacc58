//! The command line of a benchmark.

use anyhow::bail;

use super::{Demand, Effort};

/// The arguments of a benchmark.
pub struct Options {
    /// The parts to run. If it is empty, all run.
    parts: Vec<String>,
    /// Which missed figures are errors.
    pub demand: Demand,
    /// Whether the run only shows that everything works, with small stores and few rounds. Its figures mean nothing.
    pub is_short: bool,
}

impl Options {
    /// Reads the command line. `parts` are the existing parts. Returns `None` if nothing must be measured.
    pub fn read(parts: &[&str]) -> anyhow::Result<Option<Self>> {
        let mut options = Self {
            parts: Vec::new(),
            demand: Demand::Nothing,
            is_short: false,
        };
        // Cargo passes `--bench` to a benchmark. Without it, this is `cargo test --benches`, which must not time
        // anything.
        let mut is_bench = false;
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--bench" => is_bench = true,
                "--check" => options.demand = Demand::Everything,
                "--gate" => options.demand = Demand::Gate,
                "--short" => options.is_short = true,
                part if parts.contains(&part) => options.parts.push(argument),
                unknown => bail!(
                    "`{unknown}` is none of --check, --gate, --short, {}",
                    parts.join(", ")
                ),
            }
        }
        if options.demand != Demand::Nothing && options.is_short {
            bail!("a short run has no figures to check");
        }
        Ok(is_bench.then_some(options))
    }

    /// Returns whether `part` must run.
    pub fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|other| other == part)
    }

    /// Returns the amount of measuring.
    pub fn effort(&self) -> Effort {
        match self.is_short {
            true => Effort::SHORT,
            false => Effort::FULL,
        }
    }

    /// Returns `short` in a short run, else `full`.
    pub fn pick<T>(&self, full: T, short: T) -> T {
        if self.is_short { short } else { full }
    }
}
