//! Findings about the store in the log: each is told once, and of one file no more than a reader wants.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::language::finding::{Code, Finding, Severity};
use crate::telemetry::clipped;

/// How many findings of one file are told.
const MAX_OF_FILE: usize = 100;
/// How many findings of one load are told.
const MAX_OF_LOAD: usize = 1_000;

/// What was told of the last load. A store that is refused again for the same reason, or has the warnings that it had,
/// says nothing new.
#[derive(Debug, Default)]
pub struct FindingLog {
    told: HashSet<u64>,
    hasher: RandomState,
}

impl FindingLog {
    /// After `findings` were told by somebody else.
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

    /// Logs what `findings`, all those of one load, say that the load before did not.
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
                tell(finding); // how many there are besides those of its file
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
                file,
                n_more,
                "more findings of this file: `iamd validate` lists them"
            );
        }
        if others > 0 {
            tracing::warn!(
                n_more = others,
                "more findings of other files: `iamd validate` lists them"
            );
        }
        self.told = now;
    }
}

/// One line for one finding.
fn tell(finding: &Finding) {
    let at = &finding.at;
    let (code, line, column) = (finding.code.as_str(), at.line, at.column);
    let (file, text) = (clipped(&at.file), finding.to_string());
    let text = clipped(&text);
    match finding.severity {
        Severity::Error => {
            tracing::error!(finding = text, code, file, line, column, "in the store");
        }
        Severity::Warning => {
            tracing::warn!(finding = text, code, file, line, column, "in the store");
        }
    }
}
