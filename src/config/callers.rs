//! Who may ask a server, as `--callers` names them.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use rustls::pki_types::DnsName;
use spiffe::SpiffeId;

/// One entry of the setting: who, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub who: Who,
    /// What they may do. [`Who::Anyone`] may authorize, and on this machine the other calls too.
    pub rights: Rights,
}

/// Who a caller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody who can connect: `anyone`.
    Anyone,
    /// The SPIFFE id of a client certificate.
    Spiffe(SpiffeId),
    /// A DNS name of a client certificate, in lower case.
    Dns(String),
    /// The user of a process at a Unix socket: `uid:1000`.
    User(u32),
    /// The group of a process at a Unix socket: `gid:1000`. Supplementary groups do not count.
    Group(u32),
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Ask for decisions.
    Authorize,
    /// Ask for decisions, and make the calls that disclose policies (S-12).
    Disclose,
}

impl Who {
    /// Returns whether only a client certificate can show this name.
    pub fn needs_certificate(&self) -> bool {
        matches!(self, Self::Spiffe(_) | Self::Dns(_))
    }
}

impl FromStr for Caller {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (who, rights) = text.split_once('=').unwrap_or((text, "authorize"));
        let rights = match rights {
            "authorize" => Rights::Authorize,
            "disclose" => Rights::Disclose,
            _ => bail!("must end with `=authorize` or `=disclose`, or have no `=`"),
        };
        let who = who.parse()?;
        if who == Who::Anyone && rights == Rights::Disclose {
            bail!("would disclose the policies to everybody who can connect: name the callers");
        }
        Ok(Self { who, rights })
    }
}

impl FromStr for Who {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        const NUMBER: &str = "must have a number after the colon, such as `uid:1000`";
        if text == "anyone" {
            return Ok(Self::Anyone);
        }
        if let Some(number) = text.strip_prefix("uid:") {
            return number.parse().map(Self::User).context(NUMBER);
        }
        if let Some(number) = text.strip_prefix("gid:") {
            return number.parse().map(Self::Group).context(NUMBER);
        }
        if text.contains(':') {
            let id = SpiffeId::new(text).context("is not a SPIFFE id");
            return id.map(Self::Spiffe);
        }
        let name = DnsName::try_from(text).ok().context(
            "must be a SPIFFE id, a DNS name without wildcards, `uid:N`, `gid:N` or `anyone`",
        )?;
        Ok(Self::Dns(name.to_lowercase_owned().as_ref().to_owned()))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Spiffe(id) => id.fmt(f),
            Self::Dns(name) => f.write_str(name),
            Self::User(id) => write!(f, "uid:{id}"),
            Self::Group(id) => write!(f, "gid:{id}"),
        }
    }
}
