//! Measures on a machine that other programs use too. It uses thread CPU time instead of wall-clock time, lets
//! contenders take turns within one run, and reports medians and the ratios within each round.

mod figures;
mod options;
mod report;

pub use figures::{Demand, Figures};
pub use options::Options;
pub use report::{
    anonymous_memory, conditions, head, median, memory, nanoseconds, row, share, time,
};

use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

/// Returns the CPU time that this thread has used.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

pub fn time_cpu(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let begin = thread_cpu();
    run()?;
    Ok(thread_cpu().saturating_sub(begin))
}

/// A function that does something the given number of times and returns the CPU time of all of them.
type Batch<'c> = Box<dyn FnMut(usize) -> anyhow::Result<Duration> + 'c>;

/// One of the compared functions.
pub struct Contender<'c> {
    name: String,
    batch: Batch<'c>,
    /// How often it runs in one round; 0 until that is known.
    n_times: usize,
    /// How often it has run in all, including warm-up.
    n_done: usize,
    nanoseconds: Vec<f64>,
}

impl<'c> Contender<'c> {
    /// Makes a contender from `batch`, which runs the function the given number of times.
    pub fn new(
        name: impl Into<String>,
        mut batch: impl FnMut(usize) -> anyhow::Result<()> + 'c,
    ) -> Self {
        let timed = move |n_times| time_cpu(|| batch(n_times));
        Self {
            name: name.into(),
            batch: Box::new(timed),
            n_times: 0,
            n_done: 0,
            nanoseconds: Vec::new(),
        }
    }

    /// Makes a contender that makes its own input for each round, and measures with [`time_cpu`] what comes after that.
    pub fn prepared(
        name: impl Into<String>,
        n_times: usize,
        timed: impl FnMut(usize) -> anyhow::Result<Duration> + 'c,
    ) -> Self {
        Self {
            name: name.into(),
            batch: Box::new(timed),
            n_times,
            n_done: 0,
            nanoseconds: Vec::new(),
        }
    }

    /// Runs it `n_times` and returns the CPU time of one run.
    fn time(&mut self, n_times: usize) -> anyhow::Result<f64> {
        let took = (self.batch)(n_times).with_context(|| self.name.clone())?;
        self.n_done += n_times;
        Ok(took.as_nanos() as f64 / n_times as f64)
    }
}

/// The rounds of contenders that took turns.
pub struct Race<'c> {
    contenders: Vec<Contender<'c>>,
}

/// The amount of measuring.
#[derive(Clone, Copy)]
pub struct Effort {
    /// The time that one contender should take in one round.
    pub batch: Duration,
    /// The number of rounds.
    pub n_rounds: usize,
}

impl Effort {
    /// The effort for figures.
    pub const FULL: Self = Self {
        batch: Duration::from_millis(2),
        n_rounds: 101,
    };
    /// The effort to see that everything runs.
    pub const SHORT: Self = Self {
        batch: Duration::from_micros(200),
        n_rounds: 7,
    };
}

impl<'c> Race<'c> {
    /// Finds out how often each contender must run to fill a batch, which also warms it up, and then lets the
    /// contenders take turns. Their order changes from round to round, because each leaves the CPU's caches in another
    /// state.
    pub fn run(mut contenders: Vec<Contender<'c>>, effort: Effort) -> anyhow::Result<Self> {
        let target = effort.batch.as_nanos() as f64;
        for contender in &mut contenders {
            if contender.n_times > 0 {
                contender.time(contender.n_times)?;
                continue;
            }
            let mut n_times = 1;
            loop {
                let each = contender.time(n_times)?;
                if each * n_times as f64 >= target / 2.0 || n_times >= 1 << 24 {
                    contender.n_times = ((target / each.max(0.1)) as usize).max(1);
                    break;
                }
                n_times *= 2;
            }
        }
        let n_contenders = contenders.len();
        for round in 0..effort.n_rounds {
            for turn in 0..n_contenders {
                let turn = match round % 2 {
                    0 => turn,
                    _ => n_contenders - 1 - turn,
                };
                let contender = contenders.get_mut((round + turn) % n_contenders);
                let contender = contender.context("one of them")?;
                let each = contender.time(contender.n_times)?;
                contender.nanoseconds.push(each);
            }
        }
        Ok(Self { contenders })
    }

    /// Returns the nanoseconds of one contender: the median over the rounds.
    pub fn median(&self, name: &str) -> anyhow::Result<f64> {
        Ok(median(self.rounds(name)?.to_vec()))
    }

    /// Returns how many times as long `name` takes as `other`: the median over the rounds of the ratio within each.
    pub fn ratio(&self, name: &str, other: &str) -> anyhow::Result<f64> {
        let pairs = self.rounds(name)?.iter().zip(self.rounds(other)?);
        Ok(median(pairs.map(|(a, b)| a / b.max(0.1)).collect()))
    }

    /// Returns how often `name` has run in all.
    pub fn n_done(&self, name: &str) -> anyhow::Result<usize> {
        Ok(self.contender(name)?.n_done)
    }

    fn rounds(&self, name: &str) -> anyhow::Result<&[f64]> {
        Ok(&self.contender(name)?.nanoseconds)
    }

    fn contender(&self, name: &str) -> anyhow::Result<&Contender<'c>> {
        let mut contenders = self.contenders.iter();
        let found = contenders.find(|contender| contender.name == name);
        found.with_context(|| format!("no contender is called `{name}`"))
    }
}
