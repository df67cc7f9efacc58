//! Counts how often each feature came up in the questions of the long law, and checks that the counts are high enough.

use std::collections::BTreeMap;

use iamd::engine::decision::Reason;

use super::{MODES, OFF};
use crate::oracle::met::Met;

/// How often each feature came up.
#[derive(Default)]
pub struct Shares {
    pub n_cases: u64,
    pub n_worlds: u64,
    /// The number of questions with a listener.
    pub n_heard: u64,
    pub refused: u64,
    /// The features that [`asked`] names.
    pub asked: BTreeMap<&'static str, u64>,
    pub reasons: BTreeMap<&'static str, u64>,
    pub heard: BTreeMap<String, u64>,
    /// The features that the oracle met.
    pub met: BTreeMap<Met, u64>,
    pub ways: Ways,
}

/// The ways in which the answers came.
#[derive(Default)]
pub struct Ways {
    pub scan: u64,
    /// The number of sets with a trie when each question was asked for the last time without a cache.
    pub n_tries: u64,
    /// How often each mode of the cache was asked.
    pub asked: [u64; MODES.len()],
    /// How many of these answers came from memory, by mode.
    pub hits: [u64; MODES.len()],
}

impl Shares {
    pub fn add(&mut self, other: Self) {
        self.n_cases += other.n_cases;
        self.n_worlds += other.n_worlds;
        self.n_heard += other.n_heard;
        self.refused += other.refused;
        for (name, count) in other.asked {
            *self.asked.entry(name).or_default() += count;
        }
        for (name, count) in other.reasons {
            *self.reasons.entry(name).or_default() += count;
        }
        for (name, count) in other.heard {
            *self.heard.entry(name).or_default() += count;
        }
        for (met, count) in other.met {
            *self.met.entry(met).or_default() += count;
        }
        let (ways, more) = (&mut self.ways, other.ways);
        ways.scan += more.scan;
        ways.n_tries += more.n_tries;
        add_each(&mut ways.asked, &more.asked);
        add_each(&mut ways.hits, &more.hits);
    }

    /// Returns every name with its share in percent.
    fn percents(&self) -> BTreeMap<String, f64> {
        let percent = |count: u64, of: u64| count as f64 * 100.0 / of as f64;
        let asked = self.asked.iter();
        let asked = asked.map(|(name, count)| (format!("asked: {name}"), *count, self.n_cases));
        let reasons = self.reasons.iter();
        let reasons = reasons.map(|(name, count)| (format!("reason {name}"), *count, self.n_cases));
        let heard = self.heard.iter();
        let heard = heard.map(|(name, count)| (format!("heard: {name}"), *count, self.n_heard));
        let met = Met::ALL.iter().map(|met| {
            let count = self.met.get(met).copied().unwrap_or_default();
            (format!("met: {met:?}"), count, self.n_cases)
        });
        asked
            .chain(reasons)
            .chain(heard)
            .chain(met)
            .chain([("refused".to_owned(), self.refused, self.n_cases)])
            .map(|(name, count, of)| (name, percent(count, of)))
            .collect()
    }

    /// Checks that each feature comes up often enough. A feature that hardly ever comes up is hardly tested.
    pub fn assert_balance(&self) {
        if self.n_cases < 40_000 {
            return;
        }
        let percents = self.percents();
        // The share of one name, or of all names with the prefix before `*`.
        let percent = |wanted: &str| -> f64 {
            let is_wanted = |name: &str| match wanted.strip_suffix('*') {
                Some(begin) => name.starts_with(begin),
                None => name == wanted,
            };
            let of_name = percents.iter().filter(|(name, _)| is_wanted(name));
            of_name.map(|(_, percent)| percent).sum()
        };
        let mut least = vec![
            ("reason ALLOW*".to_owned(), 25.0),
            ("reason EXPLICIT_DENY*".to_owned(), 15.0),
        ];
        for (reason, label) in Reason::ALL {
            // RCPs always allow, except for their Denies (E-26).
            if *reason != Reason::ImplicitDenyResourceControl {
                least.push((format!("reason {label}"), 0.5));
            }
        }
        let features = percents.keys().filter(|name| name.contains(": "));
        let features = features.filter(|name| !name.starts_with("met: "));
        least.extend(features.map(|name| (name.clone(), 2.0)));
        least.extend(Met::ALL.map(|met| (format!("met: {met:?}"), met.least())));
        let rare: Vec<String> = least
            .iter()
            .map(|(name, least)| (name, percent(name), least))
            .filter(|(_, found, least)| found < *least)
            .map(|(name, found, least)| format!("  {found:.2} % of {least} %: {name}"))
            .collect();
        assert!(rare.is_empty(), "too rare:\n{}", rare.join("\n"));
        let n_named = |begin: &str| {
            let names = self.heard.keys();
            names.filter(|name| name.starts_with(begin)).count()
        };
        let parts = ["operator", "qualifier", "suffix", "element", "statement"];
        let n_heard = parts.map(n_named);
        assert_eq!(n_heard, [27, 2, 1, 3, 7], "{parts:?}: each is there");
    }

    /// Checks that each way gave answers. A law about a way that gave none would show nothing.
    pub fn assert_ways(&self) {
        let Ways {
            scan,
            n_tries,
            asked,
            hits,
        } = self.ways;
        let n_decided = self.n_cases - self.refused;
        assert_eq!((scan, asked[OFF]), (n_decided, n_decided));
        if self.n_cases < 40_000 {
            return;
        }
        assert!(n_tries >= 2 * self.n_worlds, "{n_tries} tries");
        assert_eq!(hits[OFF], 0);
        for mode in 0..MODES.len() {
            assert!(asked[mode] >= n_decided, "{}", MODES[mode].0);
            let percent = hits[mode] as f64 * 100.0 / asked[mode] as f64;
            assert!(
                percent >= LEAST_HITS[mode],
                "{}: {percent} %",
                MODES[mode].0
            );
        }
    }

    pub fn print(&self) {
        println!("{} questions in {} worlds", self.n_cases, self.n_worlds);
        for (name, percent) in self.percents() {
            println!("  {percent:6.2} %  {name}");
        }
        let ways = &self.ways;
        println!("answered by the oracle, and the same");
        println!("  {} times by scan", ways.scan);
        println!(
            "  {} times by index ({} tries)",
            ways.asked[OFF], ways.n_tries
        );
        for (((mode, _), asked), hits) in MODES.iter().zip(ways.asked).zip(ways.hits).skip(1) {
            let percent = hits as f64 * 100.0 / asked as f64;
            println!(
                "  {asked} times with the cache {mode}, {hits} of them from memory ({percent:.1} %)"
            );
        }
    }
}

/// The minimum share of hits, in percent of the questions asked.
const LEAST_HITS: [f64; MODES.len()] = [0.0, 1.0, 15.0];

fn add_each<const N: usize>(sums: &mut [u64; N], more: &[u64; N]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}
