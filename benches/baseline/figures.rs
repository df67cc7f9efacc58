//! Samples and their output.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// The measured durations of one kind of event.
#[derive(Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one sample.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Adds all of `others`.
    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the smallest sample that is not below `share` of them (nearest rank): 0.5 is the median, 1.0 the
    /// maximum.
    pub fn quantile(&mut self, share: f64) -> Duration {
        self.0.sort_unstable();
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

/// Formats a duration with three significant digits: `1.23 ms`, `45.6 µs`.
pub fn time(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    if micros < 1_000.0 {
        format!("{micros:.1} µs")
    } else {
        format!("{:.2} ms", micros / 1e3)
    }
}

/// Formats kibibytes as `12.3 MiB`.
pub fn memory(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

/// Prints one row of a Markdown table.
pub fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

/// Prints the head of a Markdown table under a title.
pub fn head(title: &str, columns: &[&str]) {
    println!("\n## {title}\n");
    println!("| {} |", columns.join(" | "));
    println!("|{}", " --- |".repeat(columns.len()));
}

/// Prints what the figures depend on: the machine, and its load before the start.
pub fn print_conditions() -> anyhow::Result<()> {
    let cpu = fs::read_to_string("/proc/cpuinfo")
        .context("this benchmark reads /proc: it needs Linux")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("\t: unknown");
    let load = fs::read_to_string("/proc/loadavg")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!(
        "{} CPUs, {}, Linux {}, load average before: {}",
        std::thread::available_parallelism()?,
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim(),
        load.split(' ').take(3).collect::<Vec<_>>().join(" "),
    );
    Ok(())
}
