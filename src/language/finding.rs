//! Findings: everything that a policy author is told.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// The stable, documented name of a kind of finding: lower-case with hyphens (`docs/findings.md` lists them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(&'static str);

impl Code {
    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Declares each code once, with its meaning and the rule behind it. Defines the constants and [`Code::ALL`].
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        impl Code {
            $($(#[doc = $doc])+ pub const $name: Self = Self($text);)+

            /// Every code with its meaning.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, concat!($($doc),+))),+];
        }
    };
}

codes! {
    // Findings about any file.
    /// The file has more findings than are shown.
    MORE_FINDINGS = "more-findings";

    // Findings about reading text.
    /// The text is not JSON (G-1).
    SYNTAX = "syntax";
    /// The file begins with a byte order mark (G-1).
    BYTE_ORDER_MARK = "byte-order-mark";
    /// The file is not UTF-8 (G-1).
    NOT_UTF8 = "not-utf8";
    /// The JSON is nested deeper than allowed (G-1).
    TOO_DEEP = "too-deep";
    /// A member name appears twice in one object (G-2).
    DUPLICATE_MEMBER = "duplicate-member";
    /// A member that does not belong there (G-3).
    UNKNOWN_MEMBER = "unknown-member";
    /// A required member is missing.
    MISSING_MEMBER = "missing-member";
    /// A value of the wrong JSON type, or null (G-17).
    WRONG_TYPE = "wrong-type";
    /// A string that holds U+0000 (G-32).
    NUL_CHARACTER = "nul-character";

    // Findings about the grammar of documents.
    /// `Version` is neither `2012-10-17` nor `2008-10-17` (G-5).
    INVALID_VERSION = "invalid-version";
    /// An empty list of statements (G-9) or of anything else (G-16).
    EMPTY_LIST = "empty-list";
    /// An empty string where a pattern or principal belongs (G-17).
    EMPTY_STRING = "empty-string";
    /// `Effect` is not exactly `Allow` or `Deny` (G-11).
    INVALID_EFFECT = "invalid-effect";
    /// Two elements that exclude each other, such as `Action` and `NotAction` (G-12 to G-14).
    CONFLICTING_ELEMENTS = "conflicting-elements";
    /// An element that this type of policy does not have (G-29).
    ELEMENT_NOT_ALLOWED = "element-not-allowed";
    /// A `Sid` that appears twice in one document (G-10).
    DUPLICATE_SID = "duplicate-sid";
    /// `NotPrincipal` in an Allow statement (G-30).
    NOT_PRINCIPAL_WITH_ALLOW = "not-principal-with-allow";
    /// A principal that is not valid (G-23, G-24, G-26).
    INVALID_PRINCIPAL = "invalid-principal";
    /// A wildcard inside a principal (G-25).
    WILDCARD_IN_PRINCIPAL = "wildcard-in-principal";
    /// An action pattern that is not valid (G-27).
    INVALID_ACTION = "invalid-action";
    /// A resource pattern that is not valid (G-28, V-3).
    INVALID_RESOURCE = "invalid-resource";
    /// A pattern with fewer than six ARN fields. It is an error if it would allow more and does not end in `*`, as in an
    /// Allow or in the `NotResource` of a Deny. Otherwise it is a warning (M-12).
    SHORT_ARN = "short-arn";
    /// A policy variable with wrong syntax (V-5).
    INVALID_VARIABLE = "invalid-variable";
    /// A policy variable where none is allowed (V-2, V-3, V-4).
    MISPLACED_VARIABLE = "misplaced-variable";
    /// A condition operator that does not exist (G-20).
    UNKNOWN_OPERATOR = "unknown-operator";
    /// Two operators or condition keys that are equal ignoring case (G-21).
    DUPLICATE_CONDITION = "duplicate-condition";
    /// A condition key that is not valid (G-22).
    INVALID_CONDITION_KEY = "invalid-condition-key";
    /// A condition value that its operator cannot read (G-33).
    INVALID_CONDITION_VALUE = "invalid-condition-value";
    /// Several Boolean values for one key (G-34).
    MULTIPLE_BOOLEANS = "multiple-booleans";

    // Findings about documents that are legal, but probably not intended.
    /// `Id` in a document that is not resource-based (G-7).
    ID_IN_IDENTITY_POLICY = "id-in-identity-policy";
    /// An empty `Sid`, the same as none (G-10).
    EMPTY_SID = "empty-sid";
    /// A `Sid` with characters other than letters and digits (G-10).
    ODD_SID = "odd-sid";
    /// `Condition: {}` (G-19).
    EMPTY_CONDITION = "empty-condition";
    /// An operator or element that is not written in its documented case (G-20).
    NON_CANONICAL_CASE = "non-canonical-case";
    /// An `aws:` context key that AWS does not have (G-22).
    UNKNOWN_GLOBAL_KEY = "unknown-global-key";
    /// A principal that the store does not know (G-24).
    UNKNOWN_PRINCIPAL = "unknown-principal";
    /// A unique id that belongs to no entity in the store (G-24).
    ORPHANED_PRINCIPAL_ID = "orphaned-principal-id";
    /// `*:*` or `**` in place of `*` (G-27).
    REDUNDANT_WILDCARD = "redundant-wildcard";
    /// A service control policy without `Version` (G-29).
    MISSING_VERSION = "missing-version";
    /// `${` in a document whose version has no variables (V-1).
    VARIABLE_WITHOUT_VERSION = "variable-without-version";
    /// A variable in the region or account field of a resource (V-3).
    VARIABLE_BEFORE_FIFTH_COLON = "variable-before-fifth-colon";
    /// An Allow whose negated condition has a variable that may have no value (V-9).
    ALLOW_NEGATED_VARIABLE = "allow-negated-variable";
    /// A wildcard in the service field of a resource (M-18).
    WILDCARD_IN_SERVICE = "wildcard-in-service";
    /// `ForAllValues:` on a key that has one value (C-73).
    FORALLVALUES_ON_SINGLE_VALUED = "forallvalues-on-single-valued";
    /// An Allow with `ForAllValues:` and no `Null` check: true when the key is missing (C-73).
    FORALLVALUES_ALLOW = "forallvalues-allow";
    /// `IfExists` together with a set qualifier (C-74).
    IFEXISTS_WITH_SET_QUALIFIER = "ifexists-with-set-qualifier";
    /// A Deny that names a List action but no `*` resource (M-11).
    DENY_LIST_STYLE = "deny-list-style";
    /// An Allow that names a List action but no `*` resource (M-11).
    ALLOW_LIST_STYLE = "allow-list-style";
    /// A statement that another one of the same policy covers wholly (E-14).
    SHADOWED_STATEMENT = "shadowed-statement";
    /// A `NotPrincipal` that does not list the whole chain (P-8).
    NOTPRINCIPAL_INCOMPLETE = "notprincipal-incomplete";
    /// `NotPrincipal: "*"`, which exempts everyone (P-10).
    NOTPRINCIPAL_EVERYONE = "notprincipal-everyone";
    /// A trust policy action that no trust policy needs (T-6).
    USELESS_TRUST_ACTION = "useless-trust-action";
    /// A web identity trust without a condition on subject or audience (T-23).
    OIDC_TRUST_WITHOUT_CONDITION = "oidc-trust-without-condition";
    /// A trust in a web identity provider whose tokens anyone can get, without a condition on the tenant (T-26).
    SHARED_PROVIDER_WITHOUT_CONDITION = "shared-provider-without-condition";
    /// An Allow that depends on text the client controls (section 4.9).
    CLIENT_CONTROLLED_KEY = "client-controlled-key";
    /// A resource policy pattern that its own scope excludes (E-13).
    RESOURCE_OUTSIDE_SCOPE = "resource-outside-scope";
    /// A resource that differs from one of the store only in upper and lower case (M-16).
    CASE_MISMATCH = "case-mismatch";
    /// A character outside of AWS's repertoire (G-32).
    UNUSUAL_CHARACTER = "unusual-character";
    /// A size or count above AWS's quotas (G-39).
    AWS_QUOTA = "aws-quota";

    // Findings about files.
    /// The store has no entity at all.
    EMPTY_STORE = "empty-store";
    /// A file that cannot be read.
    UNREADABLE = "unreadable";
    /// A file, document or store above its size limit.
    TOO_LARGE = "too-large";
    /// A `*.json` file whose place and shape do not tell what it holds.
    UNKNOWN_FILE = "unknown-file";
    /// A file that is not a `*.json` file and is not read.
    IGNORED_FILE = "ignored-file";
    /// A directory whose name ends in `.json`, or another file that is not regular.
    NOT_A_FILE = "not-a-file";
    /// A link that leaves the store, or a loop of links.
    BAD_LINK = "bad-link";

    // Findings about entities.
    /// A name with characters that are not allowed in names.
    INVALID_NAME = "invalid-name";
    /// An ARN that contradicts the name, path, partition or account beside it.
    CONTRADICTION = "contradiction";
    /// An entity that nothing assigns to an account.
    UNKNOWN_ACCOUNT = "unknown-account";
    /// Two entities of one kind with the same name, ignoring case (G-40).
    DUPLICATE_ENTITY = "duplicate-entity";
    /// A reference to something that the store does not hold (G-38).
    DANGLING_REFERENCE = "dangling-reference";
    /// A managed policy that does not have exactly one default version (G-36).
    DEFAULT_VERSION = "default-version";
    /// A dump with `IsTruncated: true`.
    TRUNCATED_DUMP = "truncated-dump";
    /// A value that is not valid for its member.
    INVALID_VALUE = "invalid-value";
    /// A tag key that appears twice, ignoring case.
    DUPLICATE_TAG = "duplicate-tag";
    /// The organization's tree is not a tree: a cycle, or a node in two places (G-38).
    ORGANIZATION_TREE = "organization-tree";
    /// A node without a service control policy (E-31).
    EMPTY_LEVEL = "empty-level";
    /// A file with the name of a built-in policy.
    RESERVED_NAME = "reserved-name";
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The store loads, but the author should look at the finding.
    Warning,
    /// The store does not load (G-37).
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A place in a file of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file, relative to the store's root, with `/` between its parts.
    pub file: Arc<str>,
    /// The line, from 1, or 0 if the location is the whole file.
    pub line: u32,
    /// The column in Unicode scalar values, from 1, or 0 if the location is the whole file.
    pub column: u32,
    /// The RFC 6901 pointer, such as `/Statement/0/Action`. Empty for the whole file.
    pub pointer: Arc<str>,
}

impl Location {
    /// Returns the location of the whole file.
    pub fn file(file: impl Into<Arc<str>>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            pointer: Arc::default(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// One thing wrong with a policy file, in words for its author.
///
/// PERF: a reload repeats those of all files that did not change, so a clone shares the texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// The location.
    pub at: Location,
    /// The severity.
    pub severity: Severity,
    /// The kind of mistake.
    pub code: Code,
    /// The mistake in words: "unknown condition operator `StringLikes`".
    pub message: Arc<str>,
    /// How to fix it: "did you mean `StringLike`?".
    pub help: Option<Arc<str>>,
}

impl Finding {
    /// Returns an error, which keeps the store from loading.
    pub fn error(code: Code, at: Location, message: impl Into<Arc<str>>) -> Self {
        Self {
            at,
            severity: Severity::Error,
            code,
            message: message.into(),
            help: None,
        }
    }

    /// Returns a warning.
    pub fn warning(code: Code, at: Location, message: impl Into<Arc<str>>) -> Self {
        Self {
            at,
            severity: Severity::Warning,
            code,
            message: message.into(),
            help: None,
        }
    }

    /// Adds how to fix it.
    #[must_use]
    pub fn help(mut self, help: impl Into<Arc<str>>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns whether it keeps the store from loading.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    /// Writes one line, such as
    /// ``users/ann.json:3:5: error[unknown-member]: unknown member `Tgas` (at /Tgas); did you mean `Tags`?``
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Escaping(f);
        write!(
            line,
            "{}: {}[{}]: {}",
            self.at, self.severity, self.code, self.message
        )?;
        if !self.at.pointer.is_empty() {
            write!(line, " (at {})", self.at.pointer)?;
        }
        match &self.help {
            Some(help) => write!(line, "; {help}"),
            None => Ok(()),
        }
    }
}

/// Shows foreign text on one line, whatever it contains. A name with a line break could forge a line of the log, and a
/// name with an escape sequence could control the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'t>(pub &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaping(f).write_str(self.0)
    }
}

/// Writes its input with every character escaped that is not for display.
struct Escaping<'f, 'w>(&'f mut fmt::Formatter<'w>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_not_for_display) {
            match part.char_indices().next_back() {
                Some((at, last)) if is_not_for_display(last) => {
                    self.0.write_str(part.get(..at).unwrap_or_default())?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Returns true for controls, line and paragraph separators, and marks that reorder the text around them.
fn is_not_for_display(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the candidate that `word` was probably meant to be, as "did you mean `…`?".
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let folded = word.to_lowercase();
    let n_characters = folded.chars().count();
    candidates
        .into_iter()
        // The distance is at least the difference in length. Computing it takes memory and time of one length times the
        // other, which would be gigabytes for a word of some megabytes.
        .filter(|candidate| n_characters <= 2 * candidate.len() + 1)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays_on_its_line_and_does_not_speak_to_the_terminal() {
        let at = Location::file("users/x\u{1b}]0;owned\u{7}\r\nFAKE: error");
        let finding = Finding::warning(Code::ODD_SID, at, "`a\u{9b}31m\u{2028}\u{202e}` ä")
            .help("remove `\n`");
        let shown = finding.to_string();
        assert_eq!(
            shown,
            r"users/x\u{1b}]0;owned\u{7}\r\nFAKE: error: warning[odd-sid]: `a\u{9b}31m\u{2028}\u{202e}` ä; remove `\n`"
        );
        assert_eq!(Escaped("\u{1b}").to_string(), r"\u{1b}");
    }

    #[test]
    fn a_guess_costs_nothing_for_a_word_that_is_far_too_long() {
        assert_eq!(
            did_you_mean("Tgas", ["Path", "Tags"]).as_deref(),
            Some("did you mean `Tags`?")
        );
        // A table of its distances would have billions of cells, and no machine has memory for that.
        let giant = "x".repeat(20_000_000);
        assert_eq!(did_you_mean(&giant, ["StringEquals"; 100]), None);
    }
}
