//! The goals of the benchmarks, and whether the measured figures meet them.

use anyhow::ensure;

use super::report::{head, row};

/// One measured figure.
struct Figure {
    goal: &'static str,
    what: String,
    measured: f64,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(limit) => self.measured <= limit,
            Bound::AtLeast(limit) => self.measured >= limit,
        }
    }
}

/// The goal of a figure that has none but not to become worse.
const GATE: &str = "gate";

/// Which figures a run must meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// None of them.
    Nothing,
    /// Those that no change may make worse.
    Gate,
    /// All of them.
    Everything,
}

impl Demand {
    fn asks_for(self, figure: &Figure) -> bool {
        match self {
            Self::Nothing => false,
            Self::Gate => figure.goal == GATE,
            Self::Everything => true,
        }
    }
}

/// The measured figures of a run that have a goal.
#[derive(Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Adds a figure that must be at most `limit`. `goal` is the number of its line in the table of goals.
    pub fn at_most(
        &mut self,
        goal: &'static str,
        what: impl Into<String>,
        measured: f64,
        limit: f64,
    ) {
        self.add(goal, what.into(), measured, Bound::AtMost(limit));
    }

    /// Adds a figure that must be at least `limit`.
    pub fn at_least(
        &mut self,
        goal: &'static str,
        what: impl Into<String>,
        measured: f64,
        limit: f64,
    ) {
        self.add(goal, what.into(), measured, Bound::AtLeast(limit));
    }

    fn add(&mut self, goal: &'static str, what: String, measured: f64, bound: Bound) {
        self.0.push(Figure {
            goal,
            what,
            measured,
            bound,
        });
    }

    /// Adds a figure that no change may make worse than `limit`, which was measured before.
    pub fn gate(&mut self, what: impl Into<String>, measured: f64, limit: f64) {
        self.at_most(GATE, what, measured, limit);
    }

    /// Prints the table. A missed figure that `demand` asks for is an error that names it.
    pub fn conclude(self, demand: Demand) -> anyhow::Result<()> {
        head(
            "Figures to meet",
            &["goal", "what", "measured", "must be", "met"],
        );
        let number = |number: f64| match number {
            n if n.abs() >= 100.0 => format!("{n:.0}"),
            n => format!("{n:.2}"),
        };
        for figure in &self.0 {
            let bound = match figure.bound {
                Bound::AtMost(limit) => format!("≤ {}", number(limit)),
                Bound::AtLeast(limit) => format!("≥ {}", number(limit)),
            };
            row(&[
                figure.goal.to_owned(),
                figure.what.clone(),
                number(figure.measured),
                bound,
                if figure.is_met() { "yes" } else { "**no**" }.to_owned(),
            ]);
        }
        let missed: Vec<String> = self
            .0
            .iter()
            .filter(|figure| !figure.is_met() && demand.asks_for(figure))
            .map(|figure| {
                format!(
                    "{} ({}: {})",
                    figure.goal,
                    figure.what,
                    number(figure.measured)
                )
            })
            .collect();
        ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
        Ok(())
    }
}
