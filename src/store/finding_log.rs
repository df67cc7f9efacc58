//! Logs findings about the store. Each finding is logged once, and there is a limit for each file.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::language::finding::{Code, Finding, Severity};
use crate::telemetry::clipped;

/// How many findings of one file are logged.
const MAX_OF_FILE: usize = 100;
/// How many findings of one load are logged.
const MAX_OF_LOAD: usize = 1_000;

/// The findings of the last load that were logged. A store that is refused again for the same reason, or that has the
/// same warnings as before, logs nothing new.
#[derive(Debug, Default)]
pub struct FindingLog {
    told: HashSet<u64>,
    hasher: RandomState,
}

impl FindingLog {
    /// Returns a log that treats `findings` as already logged.
    pub fn knowing(findings: &[Finding]) -> Self {
        let mut log = Self::default();
        log.told = findings.iter().map(|finding| log.hash(finding)).collect();
        log
    }

    fn hash(&self, finding: &Finding) -> u64 {
        let at = &finding.at;
        let place = (&at.file, at.line, at.column);
        self.hasher
            .hash_one((place, finding.code, &finding.message))
    }

    /// Logs those of `findings` that the load before did not have. `findings` must be all findings of one load.
    pub fn log(&mut self, findings: &[Finding]) {
        let mut now = HashSet::with_capacity(findings.len());
        let mut of_files: HashMap<&str, (usize, usize)> = HashMap::new();
        let mut n_told = 0;
        for finding in findings {
            let hash = self.hash(finding);
            let is_new = now.insert(hash) && !self.told.contains(&hash);
            if !is_new {
                continue;
            }
            if finding.code == Code::MORE_FINDINGS {
                tell(finding); // says how many more findings the file has
                continue;
            }
            let (of_file, left_out) = of_files.entry(&finding.at.file).or_default();
            if *of_file < MAX_OF_FILE && n_told < MAX_OF_LOAD {
                *of_file += 1;
                n_told += 1;
                tell(finding);
            } else {
                *left_out += 1;
            }
        }
        let mut left_out: Vec<(&str, usize)> = of_files
            .into_iter()
            .filter(|(_, (_, left_out))| *left_out > 0)
            .map(|(file, (_, left_out))| (file, left_out))
            .collect();
        left_out.sort_unstable();
        let others: usize = left_out.iter().skip(MAX_OF_FILE).map(|(_, n)| n).sum();
        for (file, n_more) in left_out.into_iter().take(MAX_OF_FILE) {
            let file = clipped(file);
            tracing::warn!(
                id = "store-finding",
                file,
                n_more,
                "more findings of this file: `iamd validate` lists them"
            );
        }
        if others > 0 {
            tracing::warn!(
                id = "store-finding",
                n_more = others,
                "more findings of other files: `iamd validate` lists them"
            );
        }
        self.told = now;
    }
}

/// Writes one line for one finding.
fn tell(finding: &Finding) {
    let at = &finding.at;
    let (code, line, column) = (finding.code.as_str(), at.line, at.column);
    let (file, text) = (clipped(&at.file), finding.to_string());
    let text = clipped(&text);
    match finding.severity {
        Severity::Error => {
            tracing::error!(
                id = "store-finding",
                finding = text,
                code,
                file,
                line,
                column,
                "in the store"
            );
        }
        Severity::Warning => {
            tracing::warn!(
                id = "store-finding",
                finding = text,
                code,
                file,
                line,
                column,
                "in the store"
            );
        }
    }
}
