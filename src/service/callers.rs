//! What the caller at the other end of a connection may do.

use rustls::pki_types::CertificateDer;
use spiffe::SpiffeId;
use webpki::EndEntityCert;

use super::socket::Socket;
use crate::authorizer::CallerFacts;
use crate::config::{Caller, Rights, Who};

/// What the calls of a connection may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum May {
    /// Health checks only, since the listener serves nothing else.
    CheckHealth,
    /// Health checks only.
    Nothing,
    /// All calls but those that disclose policies (S-12).
    Authorize,
    /// All calls.
    Disclose,
}

/// What is known of the other end.
#[derive(Debug, Default)]
struct Peer {
    spiffe: Option<SpiffeId>,
    /// In lower case.
    dns: Vec<String>,
    user_and_group: Option<(u32, u32)>,
}

/// Returns what `callers` let the other end of `socket` do. All entries that name it count. `is_local` says whether
/// only this machine can reach the listener.
pub(super) fn may(callers: &[Caller], socket: &Socket, is_local: bool) -> May {
    let peer = Peer::of(socket);
    let named = callers.iter().filter(|caller| peer.is(&caller.who));
    let may = named.map(|caller| match (&caller.who, caller.rights) {
        (Who::Anyone, _) if is_local => May::Disclose,
        (Who::Anyone, _) | (_, Rights::Authorize) => May::Authorize,
        (_, Rights::Disclose) => May::Disclose,
    });
    may.max().unwrap_or(May::Nothing)
}

/// Returns what is known of the other end of `socket`, as the decision log records it.
pub(super) fn caller_at(socket: &Socket) -> CallerFacts {
    let transport = match socket {
        Socket::Tcp(_) => "tcp",
        Socket::Tls(_) => "tls",
        Socket::Unix(_) => "unix",
    };
    let Peer {
        spiffe,
        dns,
        user_and_group,
    } = Peer::of(socket);
    let mut facts = serde_json::json!({ "transport": transport });
    if let Some(facts) = facts.as_object_mut() {
        if let Some(id) = spiffe {
            facts.insert("spiffe".to_owned(), id.to_string().into());
        }
        if !dns.is_empty() {
            facts.insert("dns".to_owned(), dns.into());
        }
        if let Some((user, group)) = user_and_group {
            facts.insert("uid".to_owned(), user.into());
            facts.insert("gid".to_owned(), group.into());
        }
    }
    CallerFacts::of_json(&facts.to_string())
}

impl Peer {
    fn of(socket: &Socket) -> Self {
        match socket {
            Socket::Tcp(_) => Self::default(),
            Socket::Tls(stream) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let own = certificates.and_then(<[_]>::first);
                own.map(Self::with_certificate).unwrap_or_default()
            }
            Socket::Unix(stream) => Self {
                user_and_group: stream.peer_cred().ok().map(|peer| (peer.uid(), peer.gid())),
                ..Self::default()
            },
        }
    }

    /// Returns what a certificate shows that the handshake has verified.
    fn with_certificate(certificate: &CertificateDer<'_>) -> Self {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else {
            return Self::default();
        };
        // A SPIFFE id is the only URI of its certificate; with several, none of them counts.
        let mut uris = certificate.valid_uri_names();
        let spiffe = match (uris.next(), uris.next()) {
            (Some(uri), None) => SpiffeId::new(uri).ok(),
            _ => None,
        };
        let dns = certificate.valid_dns_names();
        Self {
            spiffe,
            dns: dns.map(str::to_ascii_lowercase).collect(),
            user_and_group: None,
        }
    }

    fn is(&self, who: &Who) -> bool {
        match who {
            Who::Anyone => true,
            Who::Spiffe(id) => self.spiffe.as_ref() == Some(id),
            Who::Dns(name) => self.dns.contains(name),
            Who::User(id) => self.user_and_group.is_some_and(|(user, _)| user == *id),
            Who::Group(id) => self.user_and_group.is_some_and(|(_, group)| group == *id),
        }
    }
}
