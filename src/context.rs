//! The context of a request: context keys and their values.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;

use smallvec::{SmallVec, smallvec};
use smol_str::{SmolStr, StrExt};

use crate::name::{Malformed, Remembered};

/// The name of a context key, compared ignoring ASCII case (C-4, V-10).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextKey {
    folded: SmolStr,
    kind: KeyKind,
    /// The offset of the tag key in `folded`, or the end of `folded` if it has no tag key.
    tag_at: u32,
    /// A number that follows from `folded` and is different for nearly every other key.
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

/// The most entries of a context that are searched by their fingerprints.
const MAX_COMPARED: usize = 64;

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
        // PERF: keys are short, so a loop over their bytes is quicker than the search of the standard library.
        let place = |wanted: u8| folded.bytes().position(|byte| byte == wanted);
        let service = place(b':').and_then(|colon| folded.get(..colon));
        let service = service.unwrap_or(&folded);
        let kind = kind_of(&folded, service);
        let tag_at = match kind {
            KeyKind::ServiceResourceTag => Some(service.len() + SERVICE_TAG.len()),
            _ => place(b'/').map(|slash| slash + 1),
        };
        let tag_at = tag_at.unwrap_or(folded.len());
        Self {
            tag_at: u32::try_from(tag_at).unwrap_or(u32::MAX),
            fingerprint: fingerprint(&folded),
            folded,
            kind,
        }
    }

    /// Returns the name, lower-cased.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// Returns the source of its value.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns the service of a [`KeyKind::ServiceResourceTag`], lower-cased: `ec2` of `ec2:ResourceTag/Team`.
    pub fn service(&self) -> &str {
        self.folded
            .split_once(':')
            .map_or("", |(service, _)| service)
    }

    /// Returns the tag key of a tag family's member, lower-cased: `team` of `aws:PrincipalTag/Team`. Returns an empty
    /// text for other keys.
    pub fn tag(&self) -> &str {
        self.folded.get(self.tag_at as usize..).unwrap_or("")
    }

    /// Returns whether only iamd or the session record may set its value, never the caller's `context` (K-1: classes D
    /// and S).
    pub fn is_reserved(&self) -> bool {
        use KeyKind as K;
        !matches!(
            self.kind,
            K::ResourceTag
                | K::ServiceResourceTag
                | K::ServiceSource
                | K::DurationSeconds
                | K::RequestTag
                | K::TagKeys
                | K::SecureTransport
                | K::ViaAwsService
                | K::CalledVia
                | K::CalledViaFirst
                | K::CalledViaLast
                | K::Given
        )
    }
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
    /// The keys of the questions that this thread has read.
    static REMEMBERED: RefCell<Remembered<ContextKey>> = const { RefCell::new(Remembered::NOTHING) };
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

/// A value in its canonical string form (C-5). It is a list. A list of one element equals a scalar (C-10), and an empty
/// list equals absence (C-7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ContextValue(SmallVec<[SmolStr; 1]>);

impl ContextValue {
    /// Returns a single string.
    pub fn string(text: impl Into<SmolStr>) -> Self {
        Self(smallvec![text.into()])
    }

    /// Returns a number in its canonical form: the shortest decimal without an exponent. Refuses NaN, infinities, and
    /// magnitudes of 2^53 or more, where a double cannot tell neighbors apart (C-5).
    pub fn number(number: f64) -> Result<Self, Malformed> {
        const LIMIT: f64 = 9_007_199_254_740_992.0;
        if !number.is_finite() {
            return Err(Malformed::because(
                "NaN and infinities are not context values",
            ));
        }
        if number.abs() >= LIMIT {
            return Err(Malformed::because(
                "numbers of 2^53 and more lose digits: send them as a string",
            ));
        }
        // `+ 0.0` turns -0 into 0.
        Ok(Self::string((number + 0.0).to_string()))
    }

    /// Returns `true` or `false` as text.
    pub fn bool(value: bool) -> Self {
        Self::string(if value { "true" } else { "false" })
    }

    /// Returns a list of values, in order.
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        Self(values.into_iter().flat_map(|value| value.0).collect())
    }

    /// Returns the strings, in order.
    pub fn values(&self) -> &[SmolStr] {
        &self.0
    }
}

/// One entry of a [`Context`]: the key, how it was spelled, and its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContextEntry {
    /// The key.
    pub key: ContextKey,
    /// The key as the caller spelled it. The tag key of `aws:RequestTag/Team` keeps its case in `aws:TagKeys`.
    pub spelled: SmolStr,
    /// The value.
    pub value: ContextValue,
}

/// The context of a request, sorted by key. No two keys are equal after folding (C-4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    entries: Vec<ContextEntry>,
    /// The fingerprints of the keys, in the order of the entries. Empty if there are more than [`MAX_COMPARED`].
    ///
    /// PERF: they are stored together, because most keys that are looked up are absent, and nearly all keys differ in
    /// this number.
    fingerprints: SmallVec<[u32; 8]>,
    /// Whether no key has a kind of its own.
    is_plain: bool,
}

impl Context {
    /// Returns a context without entries, with space for `n_entries`.
    pub fn with_capacity(n_entries: usize) -> Self {
        Self {
            entries: Vec::with_capacity(n_entries),
            fingerprints: SmallVec::new(),
            is_plain: true,
        }
    }

    /// Adds an entry whose key is spelled `spelled`. After the last one, [`sort`](Self::sort) must be called.
    pub fn push(&mut self, spelled: &str, value: ContextValue) {
        let Ok((spelled, key)) = REMEMBERED.with_borrow_mut(|remembered| {
            remembered.get(spelled, |text| Ok::<_, Infallible>(ContextKey::new(text)))
        });
        self.is_plain &= key.kind == KeyKind::Given;
        self.entries.push(ContextEntry {
            key,
            spelled,
            value,
        });
    }

    /// Sorts the entries. Fails with the spelling of a key that is given twice.
    pub fn sort(mut self) -> Result<Self, DuplicateKey> {
        let sorted = &mut self.entries;
        sorted.sort_by(|a, b| a.key.folded.cmp(&b.key.folded));
        for pair in sorted.windows(2) {
            if let [first, second] = pair
                && first.key == second.key
            {
                return Err(DuplicateKey(second.spelled.to_string()));
            }
        }
        if sorted.len() <= MAX_COMPARED {
            let fingerprints = sorted.iter().map(|entry| entry.key.fingerprint);
            self.fingerprints.extend(fingerprints);
        }
        Ok(self)
    }

    /// Returns the value of `key`, if the caller gave one. Returns `None` for the empty list (C-7).
    pub fn get(&self, key: &ContextKey) -> Option<&ContextValue> {
        if self.entries.len() > MAX_COMPARED {
            return self.get_folded(key.folded());
        }
        let mut fingerprints = self.fingerprints.iter();
        let at = fingerprints.position(|fingerprint| *fingerprint == key.fingerprint)?;
        match self.entries.get(at) {
            Some(entry) if entry.key.folded == key.folded => {
                Some(&entry.value).filter(|value| !value.values().is_empty())
            }
            // Another key has the same fingerprint, and ours may come after it.
            _ => self.get_folded(key.folded()),
        }
    }

    /// Returns the value of the key that is `folded` in lower case. Returns `None` for the empty list (C-7).
    pub fn get_folded(&self, folded: &str) -> Option<&ContextValue> {
        let at = self
            .entries
            .binary_search_by(|entry| (*entry.key.folded).cmp(folded))
            .ok()?;
        let value = self.entries.get(at).map(|entry| &entry.value);
        value.filter(|value| !value.values().is_empty())
    }

    /// Returns the tags in the request: entries `aws:RequestTag/…` that have a value (C-7).
    pub fn request_tags(&self) -> impl Iterator<Item = &ContextEntry> {
        self.entries.iter().filter(|entry| {
            entry.key.kind() == KeyKind::RequestTag && !entry.value.values().is_empty()
        })
    }

    /// Returns whether every key is [`KeyKind::Given`].
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Returns all entries, sorted by folded key.
    pub fn entries(&self) -> &[ContextEntry] {
        &self.entries
    }
}

/// Two context keys are equal ignoring case (C-4). The error holds one spelling of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateKey(pub String);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn context<'k>(
        entries: impl IntoIterator<Item = (&'k str, ContextValue)>,
    ) -> Result<Context, DuplicateKey> {
        let mut context = Context::with_capacity(0);
        for (key, value) in entries {
            context.push(key, value);
        }
        context.sort()
    }

    fn text(value: &ContextValue) -> &str {
        value.values().first().map_or("", |text| text)
    }

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
    fn numbers_have_one_canonical_form() {
        for (number, expected) in [
            (50.0, "50"),
            (-0.0, "0"),
            (0.1, "0.1"),
            (1.5, "1.5"),
            (1e-7, "0.0000001"),
            (-3.0, "-3"),
            (9007199254740991.0, "9007199254740991"),
        ] {
            assert_eq!(
                text(&ContextValue::number(number).unwrap()),
                expected,
                "C-5"
            );
        }
        for refused in [
            f64::NAN,
            f64::INFINITY,
            9_007_199_254_740_992.0,
            -9_007_199_254_740_992.0,
            1e300,
        ] {
            assert!(ContextValue::number(refused).is_err(), "C-5: {refused}");
        }
    }

    #[test]
    fn keys_that_differ_only_in_case_are_one_key() {
        let twice = [
            ("app:x", ContextValue::string("1")),
            ("APP:X", ContextValue::string("2")),
        ];
        assert!(context(twice).is_err(), "C-4");
        let context = context([("App:X", ContextValue::string("1"))]).unwrap();
        assert_eq!(
            context.get(&ContextKey::new("APP:x")).map(text),
            Some("1"),
            "C-4"
        );
    }

    #[test]
    fn a_key_is_found_however_many_there_are_and_whatever_its_number_is() {
        for n_keys in [1, 2, MAX_COMPARED - 2, MAX_COMPARED - 1, MAX_COMPARED, 300] {
            // These are two pairs of keys with equal fingerprints.
            let pairs = ["Costarring", "Liquid", "declinate", "macallums"];
            let keys = pairs.into_iter().map(str::to_owned);
            let keys: Vec<String> = keys
                .chain((0..n_keys).map(|n| format!("app:Key-{n}")))
                .collect();
            for left_out in 0..keys.len().min(6) {
                let given = keys.iter().enumerate().filter(|(at, _)| *at != left_out);
                let entry = |(_, key)| (key, ContextValue::string(key));
                let given = given.map(|(at, key)| (at, key.as_str()));
                let context = context(given.map(entry)).unwrap();
                for (at, key) in keys.iter().enumerate() {
                    let found = context.get(&ContextKey::new(key)).map(text);
                    let expected = (at != left_out).then_some(&**key);
                    assert_eq!(found, expected, "C-4: {key} among {}", keys.len() - 1);
                }
            }
        }
        for [one, other] in [["costarring", "liquid"], ["declinate", "macallums"]] {
            assert_eq!(fingerprint(one), fingerprint(other));
        }
    }

    #[test]
    fn derived_and_session_keys_are_reserved_and_environment_keys_are_not() {
        for key in [
            "aws:PrincipalTag/role",
            "AWS:PrincipalArn",
            "aws:CurrentTime",
            "aws:TokenIssueTime",
            "saml:aud",
        ] {
            assert!(ContextKey::new(key).is_reserved(), "K-1: {key}");
        }
        for key in [
            "aws:SourceIp",
            "aws:RequestTag/a",
            "aws:TagKeys",
            "orders:amount",
            "aws:PrincipalTag",
            "sts:ExternalId",
        ] {
            assert!(!ContextKey::new(key).is_reserved(), "K-2: {key}");
        }
        assert_eq!(
            ContextKey::new("aws:PrincipalTag/a:b/c").tag(),
            "a:b/c",
            "G-22"
        );
    }
}
