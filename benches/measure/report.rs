//! The output of figures: Markdown tables on standard output.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Returns the median. For an even number of figures it is the mean of the two in the middle.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    match figures.len() % 2 {
        0 if middle > 0 => (at(middle - 1) + at(middle)) / 2.0,
        _ => at(middle),
    }
}

/// Returns the smallest of `samples` that is not below `share` of them (nearest rank).
pub fn share(samples: &mut [u32], share: f64) -> u32 {
    samples.sort_unstable();
    let rank = (share * samples.len() as f64).ceil() as usize;
    samples
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// Formats nanoseconds with three significant digits: `123 ns`, `4.56 µs`, `7.89 ms`.
pub fn nanoseconds(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1_000.0 => format!("{n:.0} ns"),
        n if n < 1_000_000.0 => format!("{:.2} µs", n / 1e3),
        n if n < 10_000_000_000.0 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.1} s", n / 1e9),
    }
}

/// Formats a duration in the same way.
pub fn time(duration: Duration) -> String {
    nanoseconds(duration.as_nanos() as f64)
}

/// Formats bytes as `12.3 MB`, where 1 MB is a million bytes.
pub fn memory(n_bytes: u64) -> String {
    format!("{:.1} MB", n_bytes as f64 / 1e6)
}

/// Returns the anonymous memory of this process in bytes.
pub fn anonymous_memory() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = number.context("no `RssAnon`")?.parse()?;
    Ok(kib * 1_024)
}

/// Prints the head of a Markdown table under a title.
pub fn head(title: &str, columns: &[&str]) {
    println!("\n### {title}\n");
    println!("| {} |", columns.join(" | "));
    println!("|{}", " --- |".repeat(columns.len()));
}

/// Prints one row of the table.
pub fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

/// Prints what the figures depend on: the machine and its load.
pub fn conditions(when: &str) -> anyhow::Result<()> {
    let cpu = fs::read_to_string("/proc/cpuinfo").context("the benchmarks read /proc: Linux")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("\t: unknown");
    let load = fs::read_to_string("/proc/loadavg")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!(
        "\n{} CPUs, {}, Linux {}, load average {when}: {}",
        std::thread::available_parallelism()?,
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim(),
        load.split(' ').take(3).collect::<Vec<_>>().join(" "),
    );
    Ok(())
}
