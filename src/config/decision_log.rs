//! The settings of the decision log that are more than a number or a path.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::read::duration;

/// Whether decisions are recorded, and what happens when a record cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionLogMode {
    /// No decision is recorded.
    Off,
    /// Records are written by a thread of their own. No answer waits; records that do not fit are lost and counted.
    BestEffort,
    /// A record is handed to the system before its answer leaves. If that fails, the question has no answer.
    Required,
}

impl FromStr for DecisionLogMode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "off" => Ok(Self::Off),
            "best_effort" => Ok(Self::BestEffort),
            "required" => Ok(Self::Required),
            _ => bail!("must be `off`, `best_effort` or `required`"),
        }
    }
}

impl fmt::Display for DecisionLogMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::BestEffort => "best_effort",
            Self::Required => "required",
        })
    }
}

/// Where the records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecisionLogFile {
    /// The standard output: `-`.
    Stdout,
    /// The receiver of logs that the `OTEL_*` variables name: `otlp:`.
    Otlp,
    /// The file of this path.
    Path(PathBuf),
}

impl FromStr for DecisionLogFile {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "" => bail!(
                "must be the path of a file, `-` for the standard output, or `otlp:` for logs of OTLP"
            ),
            "-" => Ok(Self::Stdout),
            "otlp:" => Ok(Self::Otlp),
            address if address.starts_with("otlp:") => bail!(
                "must be `otlp:` alone: `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT` says where logs go"
            ),
            path => Ok(Self::Path(path.into())),
        }
    }
}

/// When the system is told to put records on the disk. Without that, they survive the end of the process but not of
/// the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Never: the system does it by itself, usually within half a minute.
    Never,
    /// After each write; in the mode `required` before the answer leaves.
    Always,
    /// This long after a write at the latest.
    Within(Duration),
}

impl FromStr for Fsync {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "never" => Ok(Self::Never),
            "always" => Ok(Self::Always),
            _ => match duration(text) {
                Ok(time) if !time.is_zero() => Ok(Self::Within(time)),
                _ => bail!("must be `never`, `always` or a duration such as `1s`"),
            },
        }
    }
}

/// Reads a duration; `None` for `none`.
pub(super) fn optional_duration(text: &str) -> anyhow::Result<Option<Duration>> {
    match text {
        "none" => Ok(None),
        _ => match duration(text)? {
            Duration::ZERO => bail!("must be longer than no time, or `none`"),
            time => Ok(Some(time)),
        },
    }
}

/// Reads the share of allows that are recorded: a number above 0 and up to 1.
pub(super) fn share(text: &str) -> anyhow::Result<f64> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => bail!("must be a number above 0 and up to 1, such as `0.1`"),
    }
}

/// Reads a rule of masking, or `none`, which is no rule.
pub(super) fn mask(text: &str) -> anyhow::Result<Option<MaskRule>> {
    match text {
        "none" => Ok(None),
        _ => text.parse().map(Some),
    }
}

/// One rule that hides a part of the records: `context.aws:SourceIp=hash`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskRule {
    /// The member of a record that it hides.
    pub field: MaskedField,
    /// Whose value is hidden, of a member that is a map. Folded; empty for a member that is no map.
    pub key: String,
    /// Whether `key` is only the beginning of the keys: `context.aws:RequestTag/*`.
    pub is_prefix: bool,
    /// What takes the place of the value.
    pub mask: Mask,
}

/// A member of a record that can be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the member of its name")]
pub enum MaskedField {
    Principal,
    Resource,
    RequestId,
    Context,
    SessionPolicies,
    SessionSourceIdentity,
    SessionParent,
    SessionTags,
    SessionClaims,
    SessionAttributes,
}

impl MaskedField {
    /// Every member with its name, and whether it is a map.
    pub const ALL: &[(Self, &str, bool)] = &[
        (Self::Principal, "principal", false),
        (Self::Resource, "resource", false),
        (Self::RequestId, "requestId", false),
        (Self::Context, "context", true),
        (Self::SessionPolicies, "session.policies", false),
        (Self::SessionSourceIdentity, "session.sourceIdentity", false),
        (Self::SessionParent, "session.parent", false),
        (Self::SessionTags, "session.tags", true),
        (Self::SessionClaims, "session.claims", true),
        (Self::SessionAttributes, "session.attributes", true),
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(field, ..)| *field == self);
        found.map_or("", |(_, name, _)| name)
    }
}

/// What takes the place of a hidden value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Nothing.
    Drop,
    /// A keyed hash: equal values stay equal, and nobody without the key can find out the value.
    Hash,
    /// The last characters.
    Last(usize),
}

impl FromStr for MaskRule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let Some((what, how)) = text.rsplit_once('=') else {
            bail!("must be `MEMBER=drop`, `MEMBER=hash` or `MEMBER=last:N`");
        };
        let mask = match how.split_once(':') {
            None if how == "drop" => Mask::Drop,
            None if how == "hash" => Mask::Hash,
            Some(("last", n)) => Mask::Last(n.parse().context("needs a number after `last:`")?),
            _ => bail!("must end with `=drop`, `=hash` or `=last:N`"),
        };
        let of_name = |(_, name, is_map): &&(MaskedField, &str, bool)| {
            let rest = what.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || *is_map && rest.starts_with('.'))
        };
        let Some((field, name, is_map)) = MaskedField::ALL.iter().find(of_name) else {
            let names: Vec<&str> = MaskedField::ALL.iter().map(|(_, name, _)| *name).collect();
            bail!(
                "must begin with one of {}; a key may follow, as in `context.aws:SourceIp=drop`",
                names.join(", ")
            );
        };
        let key = what.get(name.len()..).unwrap_or_default();
        let key = key.strip_prefix('.').unwrap_or(key).to_ascii_lowercase();
        // A map without a key stands for all of its keys.
        let (key, is_prefix) = match key.strip_suffix('*') {
            Some(beginning) => (beginning.to_owned(), true),
            None => {
                let is_whole = key.is_empty() && *is_map;
                (key, is_whole)
            }
        };
        Ok(Self {
            field: *field,
            key,
            is_prefix,
            mask,
        })
    }
}

impl MaskRule {
    /// Returns whether it hides the value of `key` in its member.
    pub fn covers(&self, key: &str) -> bool {
        let beginning = key.get(..self.key.len());
        let begins = beginning.is_some_and(|part| part.eq_ignore_ascii_case(&self.key));
        begins && (self.is_prefix || key.len() == self.key.len())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn rule(text: &str) -> MaskRule {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_names_a_member_and_a_key_and_what_takes_its_place() {
        let of_ip = rule("context.aws:SourceIp=hash");
        assert_eq!(of_ip.field, MaskedField::Context);
        assert_eq!(of_ip.mask, Mask::Hash);
        assert!(of_ip.covers("aws:sourceip") && of_ip.covers("AWS:SourceIp"));
        assert!(!of_ip.covers("aws:SourceIpx") && !of_ip.covers("aws:Source"));
        let of_tags = rule("session.tags.cost-*=last:3");
        assert_eq!(of_tags.field, MaskedField::SessionTags);
        assert_eq!(of_tags.mask, Mask::Last(3));
        assert!(of_tags.covers("Cost-center") && !of_tags.covers("team"));
        assert!(rule("session.claims=drop").covers("sub"));
        assert!(rule("principal=hash").covers(""));
    }

    #[test]
    fn a_rule_that_hides_nothing_is_refused() {
        for bad in [
            "context",
            "context=hide",
            "context=last:",
            "context=last:x",
            "contexts.a=drop",
            "principal.a=drop",
            "action=drop",
            "=drop",
        ] {
            assert!(bad.parse::<MaskRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_mode_reads_back_as_it_is_written() {
        use DecisionLogMode as M;
        for mode in [M::Off, M::BestEffort, M::Required] {
            assert_eq!(mode.to_string().parse::<M>().unwrap(), mode);
        }
        assert!("on".parse::<M>().is_err());
    }

    #[test]
    fn records_go_to_a_file_the_standard_output_or_a_receiver() {
        use DecisionLogFile as F;
        for (text, place) in [
            ("-", F::Stdout),
            ("otlp:", F::Otlp),
            ("otlp", F::Path("otlp".into())),
            ("./otlp:", F::Path("./otlp:".into())),
        ] {
            assert_eq!(text.parse::<F>().unwrap(), place);
        }
        for bad in ["", "otlp:http://127.0.0.1:4318"] {
            assert!(bad.parse::<F>().is_err(), "{bad}");
        }
    }

    #[test]
    fn fsync_is_never_always_or_within_a_time() {
        assert_eq!("never".parse::<Fsync>().unwrap(), Fsync::Never);
        let within = "250ms".parse::<Fsync>().unwrap();
        assert_eq!(within, Fsync::Within(Duration::from_millis(250)));
        for bad in ["0s", "5", "no"] {
            assert!(bad.parse::<Fsync>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_above_nothing_and_at_most_all() {
        assert!((share("0.25").unwrap() - 0.25).abs() < f64::EPSILON);
        for bad in ["0", "1.5", "-0.1", "NaN", "all"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
