//! Names of things: ARNs, accounts, principals, actions and resources.
//!
//! Each type is a text whose rules were checked once, when it was made. Names are never normalized (M-17), so two
//! spellings are two names. The exception is action names, which are lower-cased because they are compared so (M-2).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use foldhash::fast::FixedState;

mod action;
mod remembered;
mod text;

pub(crate) use action::action_fingerprint;
pub use action::{Action, ActionKind};
pub(crate) use remembered::Remembered;
pub use text::Malformed;
use text::{at_first, is_in, letters_digits_and};
pub(crate) use text::{is_action_character, is_service_prefix};

/// Returns the hash of `key` in all tables of a store. The keys of a table are names that administrators chose. A
/// caller can only look for names, and so cannot fill a table with keys of one hash.
pub fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    FixedState::with_seed(0).hash_one(key)
}

impl std::error::Error for Malformed {}

/// An account: 12 digits as AWS has them, or a name of `[A-Za-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// Parses an account, which has 1 to 64 allowed characters.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if !Self::is_one(text) {
            return Err(Malformed::because(format!(
                "account id `{text}` must be 12 digits or a name of letters, digits, `_` and `-`"
            )));
        }
        Ok(Self(text.into()))
    }

    /// Returns whether `text` is an account.
    fn is_one(text: &str) -> bool {
        const CHARACTERS: [bool; 256] = letters_digits_and(b"_-");
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| is_in(byte, &CHARACTERS))
    }

    /// Returns the pseudo-account that owns AWS-managed policies (`arn:aws:iam::aws:policy/…`).
    pub fn aws() -> Self {
        Self("aws".into())
    }

    /// Returns whether this is [`AccountId::aws`].
    pub fn is_aws(&self) -> bool {
        &*self.0 == "aws"
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lets tables by account be searched with a plain text.
impl std::borrow::Borrow<str> for AccountId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An Amazon Resource Name: `arn:partition:service:region:account:resource` (M-7, M-8).
///
/// The text is split at the first five colons. The resource part is the rest and may contain more of them. Partition,
/// service and resource part are not empty. Characters are taken literally: `*`, `?` and `${` have no meaning here
/// (M-9).
///
/// The names of a store own their text, and clones share it. The names in a question borrow it: see [`GivenArn`].
#[derive(Clone, Copy)]
pub struct Arn<T = Arc<str>> {
    text: T,
    /// The hash of `text`.
    hash: u64,
    /// INVARIANT: the offsets of the first five colons of `text`, ascending; `split` holds it.
    colons: [u32; 5],
}

/// An [`Arn`] whose text is borrowed from a question.
pub type GivenArn<'q> = Arn<&'q str>;

impl Arn {
    /// Splits `text` into its six fields, and copies it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        GivenArn::split(text).map(GivenArn::owned)
    }

    /// Returns the whole text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// Returns the same name with its text borrowed.
    pub fn given(&self) -> GivenArn<'_> {
        Arn {
            text: &self.text,
            hash: self.hash,
            colons: self.colons,
        }
    }
}

impl<'q> GivenArn<'q> {
    /// Splits `text` into its six fields.
    pub fn split(text: &'q str) -> Result<Self, Malformed> {
        let colons = first_colons(text).ok_or_else(|| not_an_arn(text))?;
        let [arn, partition, service, _, account] = colons;
        let is_well_formed = text.starts_with("arn:")
            && partition - arn > 1
            && service - partition > 1
            && (account as usize) + 1 < text.len();
        if !is_well_formed {
            return Err(not_an_arn(text));
        }
        Ok(Self {
            hash: hash_of(text),
            text,
            colons,
        })
    }

    /// Returns the same name with a copy of its text.
    pub fn owned(self) -> Arn {
        Arn {
            text: self.text.into(),
            hash: self.hash,
            colons: self.colons,
        }
    }

    /// Returns the whole text, for as long as the question has it.
    pub fn text(&self) -> &'q str {
        self.text
    }
}

#[cold]
fn not_an_arn(text: &str) -> Malformed {
    Malformed::because(format!(
        "`{text}` is not an ARN of the form `arn:partition:service:region:account:resource`"
    ))
}

impl<T: Deref<Target = str>> Arn<T> {
    /// Returns the whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the [`hash_of`] the whole text, computed once for all tables.
    pub fn fingerprint(&self) -> u64 {
        self.hash
    }

    /// Returns the offsets of the five colons between the fields.
    pub fn colons(&self) -> impl Iterator<Item = usize> {
        self.colons.into_iter().map(|at| at as usize)
    }

    /// Returns the `n`-th field, counted from 0, which is `arn`.
    pub fn field(&self, n: usize) -> &str {
        let begin = n.checked_sub(1).map(|before| self.colons.get(before));
        match (begin, self.colons.get(n)) {
            (None, _) => "arn",
            (Some(Some(from)), Some(to)) => self.between(*from, *to),
            (Some(Some(_)), None) => self.resource(),
            (Some(None), _) => "",
        }
    }

    /// Returns all six fields, `arn` first.
    pub fn fields(&self) -> [&str; 6] {
        [
            "arn",
            self.partition(),
            self.service(),
            self.region(),
            self.account(),
            self.resource(),
        ]
    }

    /// Returns the text between two colons.
    fn between(&self, from: u32, to: u32) -> &str {
        self.text
            .get(from as usize + 1..to as usize)
            .unwrap_or_default()
    }

    /// Returns the partition: `aws`, `aws-cn`, `app`, ….
    pub fn partition(&self) -> &str {
        let [from, to, _, _, _] = self.colons;
        self.between(from, to)
    }

    /// Returns the service: `iam`, `s3`, `orders`, ….
    pub fn service(&self) -> &str {
        let [_, from, to, _, _] = self.colons;
        self.between(from, to)
    }

    /// Returns the region, which is often empty.
    pub fn region(&self) -> &str {
        let [_, _, from, to, _] = self.colons;
        self.between(from, to)
    }

    /// Returns the account, which may be empty.
    pub fn account(&self) -> &str {
        let [_, _, _, from, to] = self.colons;
        self.between(from, to)
    }

    /// Returns everything after the fifth colon.
    pub fn resource(&self) -> &str {
        after(&self.text, self.colons)
    }
}

impl<T: Deref<Target = str>, U: Deref<Target = str>> PartialEq<Arn<U>> for Arn<T> {
    fn eq(&self, other: &Arn<U>) -> bool {
        self.hash == other.hash && *self.text == *other.text
    }
}

impl<T: Deref<Target = str>> Eq for Arn<T> {}

impl PartialOrd for Arn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl<T> Hash for Arn<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: fmt::Display> fmt::Debug for Arn<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arn({})", self.text)
    }
}

impl<T: fmt::Display> fmt::Display for Arn<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// The principal of a request (E-2). The store may or may not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal<'q> {
    /// `*`: an anonymous caller.
    Anonymous,
    /// A service principal such as `billing.svc.internal`.
    Service(&'q str),
    /// `arn:…:iam::ACCOUNT:root`.
    Root(GivenArn<'q>),
    /// `arn:…:iam::ACCOUNT:user/path/name`.
    User(GivenArn<'q>),
    /// `arn:…:iam::ACCOUNT:role/path/name`: a session of the role without a name (E-4).
    Role(GivenArn<'q>),
    /// `arn:…:sts::ACCOUNT:assumed-role/ROLE/SESSION`, without the role's path (T-30).
    AssumedRole {
        /// The session's ARN.
        arn: GivenArn<'q>,
        /// The role's name.
        role: &'q str,
        /// The session's name.
        session: &'q str,
    },
    /// `arn:…:sts::ACCOUNT:federated-user/NAME`.
    FederatedUser {
        /// The session's ARN.
        arn: GivenArn<'q>,
        /// The name after `federated-user/`.
        name: &'q str,
    },
    /// `arn:…:iam::ACCOUNT:oidc-provider/HOST/PATH` or `…:saml-provider/NAME` (T-20).
    Provider(GivenArn<'q>),
}

impl<'q> Principal<'q> {
    /// Parses a principal as `Authorize` takes it: an ARN, a service principal, or `*`.
    pub fn parse(text: &'q str) -> Result<Self, Malformed> {
        match text {
            "" => Err(Malformed::because(
                "the principal is empty: give an ARN, a service principal, or `*`",
            )),
            "*" => Ok(Self::Anonymous),
            _ if text.bytes().any(|byte| byte == b':') => Self::parse_arn(text),
            _ if is_service_principal(text) => Ok(Self::Service(text)),
            _ => Err(Malformed::because(format!(
                "principal `{text}` is neither an ARN, nor a service principal (a dotted name), nor `*`"
            ))),
        }
    }

    fn parse_arn(text: &'q str) -> Result<Self, Malformed> {
        let arn = GivenArn::split(text)?;
        let malformed = |why: &str| Malformed::because(format!("principal `{text}` {why}"));
        if !arn.region().is_empty() {
            return Err(malformed("has a region, which IAM identities never have"));
        }
        const OF_PARTITIONS: [bool; 256] = letters_digits_and(b"-_.");
        let mut partition = arn.partition().bytes();
        if !partition.all(|byte| is_in(byte, &OF_PARTITIONS)) {
            return Err(malformed("has no valid partition"));
        }
        if !AccountId::is_one(arn.account()) {
            return Err(malformed("has no valid account id"));
        }
        let resource = after(text, arn.colons);
        let (kind, rest) = at_first(b'/', resource).unwrap_or((resource, ""));
        let service = arn.service();
        // PERF: nearly all principals are users, roles and sessions of roles.
        let entity = match kind {
            "user" if service == "iam" => Some(Self::User(arn)),
            "role" if service == "iam" => Some(Self::Role(arn)),
            _ => None,
        };
        if let Some(entity) = entity {
            return match rest.as_bytes() {
                [] | [.., b'/'] => Err(malformed("has no name")),
                _ => Ok(entity),
            };
        }
        match (service, kind) {
            ("iam", "root") if resource == "root" => Ok(Self::Root(arn)),
            ("iam", "oidc-provider") if !is_issuer(rest) => Err(malformed(NO_ISSUER)),
            ("iam", "oidc-provider" | "saml-provider") if !rest.is_empty() => {
                Ok(Self::Provider(arn))
            }
            ("sts", "assumed-role") => {
                let (role, session) = at_first(b'/', rest)
                    .ok_or_else(|| malformed("must end in `assumed-role/ROLE/SESSION`"))?;
                if !is_entity_name(role) {
                    return Err(malformed("has no valid role name"));
                }
                if !is_session_name(session) {
                    return Err(malformed(
                        "has no valid session name: 2 to 64 characters of letters, digits and `_+=,.@-`",
                    ));
                }
                Ok(Self::AssumedRole { arn, role, session })
            }
            ("sts", "federated-user") if is_session_name(rest) => {
                Ok(Self::FederatedUser { arn, name: rest })
            }
            _ => Err(malformed(
                "must be the ARN of a user, role, role session, federated user, root user or identity provider",
            )),
        }
    }

    /// Returns the ARN, or `None` for services and anonymous callers.
    pub fn arn(&self) -> Option<&GivenArn<'q>> {
        match self {
            Self::Anonymous | Self::Service(_) => None,
            Self::Root(arn) | Self::User(arn) | Self::Role(arn) | Self::Provider(arn) => Some(arn),
            Self::AssumedRole { arn, .. } | Self::FederatedUser { arn, .. } => Some(arn),
        }
    }
}

impl fmt::Display for Principal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("*"),
            Self::Service(name) => f.write_str(name),
            other => f.write_str(other.arn().map_or("", GivenArn::text)),
        }
    }
}

/// The resource of a request (M-7): one ARN, or `*` for an action without a specific resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource<'q> {
    /// The literal `*`.
    Any,
    /// A full ARN, taken literally.
    Arn(GivenArn<'q>),
}

impl<'q> Resource<'q> {
    /// Parses a resource as `Authorize` takes it.
    pub fn parse(text: &'q str) -> Result<Self, Malformed> {
        match text {
            "*" => Ok(Self::Any),
            "" => Err(Malformed::because(
                "the resource is empty: give a full ARN, or `*`",
            )),
            _ => GivenArn::split(text).map(Self::Arn),
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &'q str {
        match self {
            Self::Any => "*",
            Self::Arn(arn) => arn.text(),
        }
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns what comes after the last of `colons`.
fn after(text: &str, colons: [u32; 5]) -> &str {
    let [.., last] = colons;
    text.get(last as usize + 1..).unwrap_or_default()
}

/// Returns the offsets of the first five colons of `text`, if it has as many.
///
/// PERF: the fields of ARNs are so short that looking at eight bytes at a time is twice as quick as five searches.
fn first_colons(text: &str) -> Option<[u32; 5]> {
    let mut colons = [0; 5];
    let mut wanted = colons.iter_mut();
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    let mut begin = 0;
    for eight in eights {
        let mut found = bits_of_colons(*eight);
        while found != 0 {
            *wanted.next()? = begin + found.trailing_zeros() / 8;
            if wanted.as_slice().is_empty() {
                return Some(colons);
            }
            found &= found.wrapping_sub(1);
        }
        begin = begin.checked_add(8)?;
    }
    let rest = rest.iter().zip(begin..).filter(|(byte, _)| **byte == b':');
    for (_, at) in rest {
        *wanted.next()? = at;
        if wanted.as_slice().is_empty() {
            return Some(colons);
        }
    }
    None
}

/// Returns the highest bit of each byte that is a colon, and no other bit.
fn bits_of_colons(eight: [u8; 8]) -> u64 {
    const HIGHEST_BITS: u64 = u64::from_le_bytes([0x80; 8]);
    const COLONS: u64 = u64::from_le_bytes([b':'; 8]);
    let differs = u64::from_le_bytes(eight) ^ COLONS;
    !(((differs & !HIGHEST_BITS) + !HIGHEST_BITS) | differs) & HIGHEST_BITS
}

/// Returns whether the text is a service principal: a dotted name such as `ec2.amazonaws.com` (G-26).
pub(crate) fn is_service_principal(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    text.contains('.') && text.len() <= 255 && text.split('.').all(label)
}

/// The reason why a text is not an issuer.
pub(crate) const NO_ISSUER: &str = "needs the issuer's host and path, without a port; `aws`, `iam`, `saml` and `sts` are not issuers";

/// Returns whether the text is the issuer of an OIDC provider: host and path without a scheme. Its claims are context
/// keys that begin with it, so it must not contain a colon, nor be a prefix of AWS's own keys.
pub(crate) fn is_issuer(text: &str) -> bool {
    let is_reserved = |prefix: &&str| text.eq_ignore_ascii_case(prefix);
    !text.is_empty()
        && !text.contains(':')
        && !["aws", "iam", "saml", "sts"].iter().any(is_reserved)
}

/// Returns whether the text is the name of a user, group, role or policy: letters, digits and `_+=,.@-`.
pub(crate) fn is_entity_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_name_byte)
}

/// Returns whether a byte is that of a character in the name of an entity or of a session.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)
}

/// Returns whether a character may stand in the name of an entity or of a session.
pub(crate) fn is_name_character(character: char) -> bool {
    u8::try_from(character).is_ok_and(is_name_byte)
}

/// Returns whether the text is the name of a session (T-30) or a source identity (T-39): 2 to 64 such characters.
pub(crate) fn is_session_name(text: &str) -> bool {
    (2..=64).contains(&text.len()) && is_entity_name(text)
}

#[cfg(test)]
mod tests;
