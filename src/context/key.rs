//! The names of context keys, and what follows from them.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;

use smol_str::{SmolStr, StrExt};

use crate::name::Remembered;

/// The name of a context key in a policy, compared ignoring ASCII case (C-4, V-10).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextKey {
    folded: SmolStr,
    traits: Traits,
}

/// The name of a context key in a question, as the caller spelled it. It is compared ignoring ASCII case (C-4).
#[derive(Clone, Copy, Debug)]
pub struct GivenKey<'q> {
    spelled: &'q str,
    traits: Traits,
}

/// What follows from the name of a context key, however it is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Traits {
    kind: KeyKind,
    /// The offset of the tag key in the name, or the end of the name if it has no tag key.
    tag_at: u32,
    /// A number that is different for nearly every other name.
    fingerprint: u32,
}

/// The source of a context key's value, from the table in section 4.9 of the semantics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the key of its name")]
pub enum KeyKind {
    PrincipalArn,
    PrincipalAccount,
    PrincipalType,
    Username,
    Userid,
    /// `aws:PrincipalTag/…`.
    PrincipalTag,
    PrincipalOrgId,
    PrincipalOrgPaths,
    PrincipalIsAwsService,
    PrincipalServiceName,
    PrincipalServiceNamesList,
    CurrentTime,
    EpochTime,
    TokenIssueTime,
    MultiFactorAuthPresent,
    MultiFactorAuthAge,
    SourceIdentity,
    FederatedProvider,
    ResourceAccount,
    ResourceOrgId,
    ResourceOrgPaths,
    /// `aws:ResourceTag/…`.
    ResourceTag,
    /// `SERVICE:ResourceTag/…`, which means the same as `aws:ResourceTag/…` for resources of that service.
    ServiceResourceTag,
    /// `aws:RequestTag/…`.
    RequestTag,
    TagKeys,
    SecureTransport,
    ViaAwsService,
    CalledVia,
    CalledViaFirst,
    CalledViaLast,
    /// `saml:…`: claims of a SAML assertion.
    Saml,
    /// A key that AWS keeps in a session's credentials (K-8).
    Credential,
    /// `aws:AssumedRoot`, which is one of these keys, but iamd itself knows its value (T-12).
    AssumedRoot,
    /// A key about the resource on whose behalf a service calls (K-9).
    ServiceSource,
    /// `sts:RoleAuthorizedByIdp` (T-25).
    RoleAuthorizedByIdp,
    /// `sts:DurationSeconds`, which is not a context key if it is a parameter of the action (T-31).
    DurationSeconds,
    /// Any other key: one that the caller gives, or a claim of an OIDC token.
    Given,
}

/// A set of kinds of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u64);

/// The last kind has the highest number, for which a set must have a bit.
const _: () = assert!((KeyKind::Given as u32) < u64::BITS);

impl Kinds {
    /// Returns the set of `kinds`.
    pub const fn of(kinds: &[KeyKind]) -> Self {
        let (mut set, mut rest) = (0, kinds);
        while let [first, others @ ..] = rest {
            set |= 1 << *first as u32;
            rest = others;
        }
        Self(set)
    }

    /// Returns whether the sets have a kind in common.
    pub(super) fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns whether `others` has all of them.
    pub const fn are_all_in(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    pub(super) fn insert(&mut self, kind: KeyKind) {
        self.0 |= 1 << kind as u32;
    }
}

impl KeyKind {
    /// The kinds that the caller's `context` may have. Only iamd or the session record may set the others (K-1: classes
    /// D and S).
    pub const OPEN: Kinds = Kinds::of(&[
        Self::ResourceTag,
        Self::ServiceResourceTag,
        Self::ServiceSource,
        Self::DurationSeconds,
        Self::RequestTag,
        Self::TagKeys,
        Self::SecureTransport,
        Self::ViaAwsService,
        Self::CalledVia,
        Self::CalledViaFirst,
        Self::CalledViaLast,
        Self::Given,
    ]);

    /// Returns whether only iamd or the session record may set the value of such a key, never the caller's `context`
    /// (K-1).
    pub fn is_reserved(self) -> bool {
        !Kinds::of(&[self]).meet(Self::OPEN)
    }
}

/// Returns whether `text` is `folded` once it is in lower case.
///
/// PERF: the standard library compares one byte at a time, which takes longer than all else that a lookup does.
fn folds_to(text: &[u8], folded: &[u8]) -> bool {
    if text.len() != folded.len() {
        return false;
    }
    let is_pair = |eight: &[u8; 8], folded: &[u8; 8]| fold(*eight) == u64::from_le_bytes(*folded);
    let (Some((first, rest)), Some((folded_first, folded_rest))) =
        (text.split_first_chunk(), folded.split_first_chunk())
    else {
        return text.eq_ignore_ascii_case(folded);
    };
    // The last eight bytes may overlap those before.
    let (Some(last), Some(folded_last)) = (text.last_chunk(), folded.last_chunk()) else {
        return false;
    };
    if !is_pair(first, folded_first) || !is_pair(last, folded_last) {
        return false;
    }
    let (eights, folded_eights) = (rest.as_chunks().0, folded_rest.as_chunks().0);
    let mut pairs = eights.iter().zip(folded_eights);
    pairs.all(|(eight, folded)| is_pair(eight, folded))
}

/// Compares two texts ignoring case, in an order of its own.
///
/// PERF: a client can send many long keys that all have the same fingerprint and the same beginning.
fn by_folded_eights(one: &str, other: &str) -> Ordering {
    fn eights(text: &str) -> impl Iterator<Item = u64> {
        let (eights, rest) = text.as_bytes().as_chunks::<8>();
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        eights.iter().map(|eight| fold(*eight)).chain([fold(last)])
    }
    let by_length = one.len().cmp(&other.len());
    by_length.then_with(|| eights(one).cmp(eights(other)))
}

/// Returns the bytes with their letters in lower case.
fn fold(eight: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = 0x80 * ONES;
    let bytes = u64::from_le_bytes(eight);
    // In each byte, without its highest bit, the highest bit of these sums is set from `A` on, and behind `Z`.
    let low = bytes & !HIGHEST;
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let behind_z = low + (0x7f - b'Z' as u64) * ONES;
    let is_capital = from_a & !behind_z & !bytes & HIGHEST;
    bytes | (is_capital >> 2)
}

fn fingerprint(folded: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    folded.bytes().fold(0x811c_9dc5, step)
}

/// The exact names, folded, of the keys that have a kind of their own.
const KINDS: &[(&str, KeyKind)] = &[
    ("aws:principalarn", KeyKind::PrincipalArn),
    ("aws:principalaccount", KeyKind::PrincipalAccount),
    ("aws:principaltype", KeyKind::PrincipalType),
    ("aws:username", KeyKind::Username),
    ("aws:userid", KeyKind::Userid),
    ("aws:principalorgid", KeyKind::PrincipalOrgId),
    ("aws:principalorgpaths", KeyKind::PrincipalOrgPaths),
    ("aws:principalisawsservice", KeyKind::PrincipalIsAwsService),
    ("aws:principalservicename", KeyKind::PrincipalServiceName),
    (
        "aws:principalservicenameslist",
        KeyKind::PrincipalServiceNamesList,
    ),
    ("aws:currenttime", KeyKind::CurrentTime),
    ("aws:epochtime", KeyKind::EpochTime),
    ("aws:tokenissuetime", KeyKind::TokenIssueTime),
    (
        "aws:multifactorauthpresent",
        KeyKind::MultiFactorAuthPresent,
    ),
    ("aws:multifactorauthage", KeyKind::MultiFactorAuthAge),
    ("aws:sourceidentity", KeyKind::SourceIdentity),
    ("aws:federatedprovider", KeyKind::FederatedProvider),
    ("aws:resourceaccount", KeyKind::ResourceAccount),
    ("aws:resourceorgid", KeyKind::ResourceOrgId),
    ("aws:resourceorgpaths", KeyKind::ResourceOrgPaths),
    ("aws:tagkeys", KeyKind::TagKeys),
    ("aws:securetransport", KeyKind::SecureTransport),
    ("aws:viaawsservice", KeyKind::ViaAwsService),
    ("aws:calledvia", KeyKind::CalledVia),
    ("aws:calledviafirst", KeyKind::CalledViaFirst),
    ("aws:calledvialast", KeyKind::CalledViaLast),
    ("aws:assumedroot", KeyKind::AssumedRoot),
    ("aws:signinsessionarn", KeyKind::Credential),
    ("aws:chatbotsourcearn", KeyKind::Credential),
    ("aws:ec2instancesourcevpc", KeyKind::Credential),
    ("aws:ec2instancesourceprivateipv4", KeyKind::Credential),
    ("ec2:sourceinstancearn", KeyKind::Credential),
    ("ec2:roledelivery", KeyKind::Credential),
    ("lambda:sourcefunctionarn", KeyKind::Credential),
    ("codebuild:buildarn", KeyKind::Credential),
    ("codebuild:projectarn", KeyKind::Credential),
    ("glue:roleassumedby", KeyKind::Credential),
    ("glue:credentialissuingservice", KeyKind::Credential),
    ("ssm:sourceinstancearn", KeyKind::Credential),
    ("identitystore:userid", KeyKind::Credential),
    ("identitystore:identitystorearn", KeyKind::Credential),
    ("identitycenter:applicationarn", KeyKind::Credential),
    ("identitycenter:credentialid", KeyKind::Credential),
    ("identitycenter:instancearn", KeyKind::Credential),
    ("aws:sourcearn", KeyKind::ServiceSource),
    ("aws:sourceaccount", KeyKind::ServiceSource),
    ("aws:sourceorgid", KeyKind::ServiceSource),
    ("aws:sourceorgpaths", KeyKind::ServiceSource),
    ("sts:roleauthorizedbyidp", KeyKind::RoleAuthorizedByIdp),
    ("sts:durationseconds", KeyKind::DurationSeconds),
];

/// The services of these keys.
const SERVICES: &[&str] = &[
    "aws",
    "codebuild",
    "ec2",
    "glue",
    "identitycenter",
    "identitystore",
    "lambda",
    "ssm",
    "sts",
];

/// The text after the service in the name of a service's own key for resource tags, folded.
const SERVICE_TAG: &str = ":resourcetag/";

const TAG_FAMILIES: &[(&str, KeyKind)] = &[
    ("aws:principaltag/", KeyKind::PrincipalTag),
    ("aws:resourcetag/", KeyKind::ResourceTag),
    ("aws:requesttag/", KeyKind::RequestTag),
];

impl ContextKey {
    /// Folds `text` and looks up its kind. Any text is accepted, because the parser checks which keys a policy may name
    /// (G-22).
    pub fn new(text: &str) -> Self {
        let folded = if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            text.to_ascii_lowercase_smolstr()
        } else {
            SmolStr::new(text)
        };
        let traits = Traits::of(&folded);
        Self { folded, traits }
    }

    /// Returns the name, lower-cased.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// Returns the source of its value.
    pub fn kind(&self) -> KeyKind {
        self.traits.kind
    }

    pub(super) fn fingerprint(&self) -> u32 {
        self.traits.fingerprint
    }

    /// Returns the service of a [`KeyKind::ServiceResourceTag`], lower-cased: `ec2` of `ec2:ResourceTag/Team`.
    pub fn service(&self) -> &str {
        service_of(&self.folded)
    }

    /// Returns the tag key of a tag family's member, lower-cased: `team` of `aws:PrincipalTag/Team`. Returns an empty
    /// text for other keys.
    pub fn tag(&self) -> &str {
        self.traits.tag_of(&self.folded)
    }
}

impl<'q> GivenKey<'q> {
    /// Looks up what follows from the name. Any text is accepted.
    pub fn new(spelled: &'q str) -> Self {
        let traits = REMEMBERED.with_borrow_mut(|remembered| {
            let traits = |text: &str| Ok::<_, Infallible>(ContextKey::new(text).traits);
            remembered.get(spelled, traits)
        });
        let Ok(traits) = traits;
        Self { spelled, traits }
    }

    /// Returns the name as the caller spelled it.
    pub fn spelled(&self) -> &'q str {
        self.spelled
    }

    /// Returns the source of its value.
    pub fn kind(&self) -> KeyKind {
        self.traits.kind
    }

    /// Returns whether it is `key`.
    #[inline]
    pub fn is(&self, key: &ContextKey) -> bool {
        self.traits.fingerprint == key.traits.fingerprint
            && folds_to(self.spelled.as_bytes(), key.folded.as_bytes())
    }

    pub(super) fn fingerprint(&self) -> u32 {
        self.traits.fingerprint
    }

    /// Compares the keys by their fingerprints, and then by their names.
    pub(super) fn order(&self, other: &GivenKey<'_>) -> Ordering {
        self.order_beside(other.spelled, other.traits)
    }

    /// Compares the keys as [`order`](Self::order) does.
    pub(super) fn order_to(&self, key: &ContextKey) -> Ordering {
        self.order_beside(&key.folded, key.traits)
    }

    fn order_beside(&self, name: &str, traits: Traits) -> Ordering {
        let by_fingerprint = self.traits.fingerprint.cmp(&traits.fingerprint);
        by_fingerprint.then_with(|| by_folded_eights(self.spelled, name))
    }

    /// Returns whether both are the same key.
    pub(super) fn is_same(&self, other: &GivenKey<'_>) -> bool {
        self.order(other).is_eq()
    }

    /// Returns the service of a [`KeyKind::ServiceResourceTag`], as it is spelled: `ec2` of `ec2:ResourceTag/Team`.
    pub fn service(&self) -> &'q str {
        service_of(self.spelled)
    }

    /// Returns the tag key of a tag family's member, as it is spelled: `Team` of `aws:RequestTag/Team`. Returns an empty
    /// text for other keys.
    pub fn tag(&self) -> &'q str {
        self.traits.tag_of(self.spelled)
    }
}

impl Traits {
    /// Returns what follows from the name `folded`, which is in lower case.
    fn of(folded: &str) -> Self {
        // PERF: keys are short, so a loop over their bytes is quicker than the search of the standard library.
        let place = |wanted: u8| folded.bytes().position(|byte| byte == wanted);
        let service = place(b':').and_then(|colon| folded.get(..colon));
        let service = service.unwrap_or(folded);
        let kind = kind_of(folded, service);
        let tag_at = match kind {
            KeyKind::ServiceResourceTag => Some(service.len() + SERVICE_TAG.len()),
            _ => place(b'/').map(|slash| slash + 1),
        };
        let tag_at = tag_at.unwrap_or(folded.len());
        Self {
            kind,
            tag_at: u32::try_from(tag_at).unwrap_or(u32::MAX),
            fingerprint: fingerprint(folded),
        }
    }

    fn tag_of(self, name: &str) -> &str {
        name.get(self.tag_at as usize..).unwrap_or("")
    }
}

fn service_of(name: &str) -> &str {
    name.split_once(':').map_or("", |(service, _)| service)
}

/// Returns the kind of the key `folded`, whose first part is `service`.
fn kind_of(folded: &str, service: &str) -> KeyKind {
    // PERF: most keys are the caller's own, of a service that is not named here.
    if SERVICES.contains(&service) {
        let is_of_family =
            |(prefix, _): &&(&str, _)| folded.starts_with(prefix) && folded.len() > prefix.len();
        let family = TAG_FAMILIES.iter().find(is_of_family);
        let kind = family.or_else(|| KINDS.iter().find(|(name, _)| *name == folded));
        if let Some((_, kind)) = kind {
            return *kind;
        }
    }
    if service == "saml" && folded.len() > service.len() {
        return KeyKind::Saml;
    }
    // The key of `aws` has a kind of its own.
    let tag = folded
        .get(service.len()..)
        .and_then(|rest| rest.strip_prefix(SERVICE_TAG));
    match tag {
        Some(key) if !service.is_empty() && !key.is_empty() => KeyKind::ServiceResourceTag,
        _ => KeyKind::Given,
    }
}

thread_local! {
    /// What follows from the keys of the questions that this thread has read.
    static REMEMBERED: RefCell<Remembered<Traits>> = const { RefCell::new(Remembered::NOTHING) };
}

impl fmt::Debug for ContextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextKey({})", self.folded)
    }
}

impl fmt::Display for ContextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.folded)
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test may fail by panicking"
    )]

    use super::*;

    #[test]
    fn the_services_are_those_of_the_keys() {
        let named = KINDS.iter().chain(TAG_FAMILIES);
        let mut services: Vec<&str> = named
            .map(|(name, _)| name.split(':').next().unwrap())
            .collect();
        services.sort_unstable();
        services.dedup();
        assert_eq!(services, SERVICES);
    }

    #[test]
    fn every_byte_folds_as_the_standard_library_folds_it() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                let mut eight = *b"aZ[@`{\xc1\x7f";
                eight[at] = byte;
                let expected = eight.map(|byte| byte.to_ascii_lowercase());
                assert_eq!(fold(eight).to_le_bytes(), expected, "{byte} at {at}");
            }
        }
        for n_bytes in 0..40 {
            let text: Vec<u8> = (0..n_bytes).map(|n| b'A' + n).collect();
            let folded = text.to_ascii_lowercase();
            assert!(folds_to(&text, &folded), "{n_bytes}");
            assert!(!folds_to(&text, &[&folded[..], b"x"].concat()), "{n_bytes}");
            for at in 0..text.len() {
                let mut other = folded.clone();
                other[at] ^= 0x80;
                assert!(!folds_to(&text, &other), "{n_bytes}, {at}");
            }
        }
    }

    #[test]
    fn the_order_of_texts_ignores_case_and_nothing_else() {
        let texts: Vec<String> = (0..20)
            .flat_map(|n| ["a", "B", "b"].map(|end| format!("{}{end}", "xY".repeat(n))))
            .flat_map(|text| [text.to_ascii_uppercase(), text])
            .collect();
        for one in &texts {
            for other in &texts {
                let order = by_folded_eights(one, other);
                assert_eq!(
                    order.is_eq(),
                    one.eq_ignore_ascii_case(other),
                    "{one} {other}"
                );
                assert_eq!(order, by_folded_eights(other, one).reverse());
            }
        }
    }
}
