//! JSON with positions. Each value and each member name knows its position in the text, repeated names stay visible
//! (G-2), and numbers keep their source text (G-18).
//!
//! serde_json does the parsing. This module asks it for the raw text of every part, whose address within the whole text
//! gives the position. Each level is parsed once more than the level above, which is fast enough for the depth of
//! policies.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

mod mend;

/// A JSON value and its range in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<'t> {
    /// The range in the text, in bytes.
    pub span: Range<usize>,
    /// The value.
    pub value: Value<'t>,
}

/// The value of a [`Node`].
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the kinds of JSON values")]
pub enum Value<'t> {
    Null,
    Bool(bool),
    /// The source text.
    Number(&'t str),
    String(Cow<'t, str>),
    Array(Vec<Node<'t>>),
    /// The members in source order, including repeated names.
    Object(Vec<Member<'t>>),
}

/// One member of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Member<'t> {
    /// The unescaped name.
    pub name: Cow<'t, str>,
    /// The range of the name, including quotes.
    pub name_span: Range<usize>,
    /// The value.
    pub value: Node<'t>,
}

/// Returns `text` as JSON writes it, including quotes.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'t> Node<'t> {
    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the elements of an array. For any other value returns the value itself, because a scalar equals a list
    /// of one (G-15).
    pub fn one_or_many(&self) -> &[Self] {
        match &self.value {
            Value::Array(elements) => elements,
            _ => std::slice::from_ref(self),
        }
    }

    /// Returns the first member called `name`.
    pub fn member(&self, name: &str) -> Option<&Member<'t>> {
        match &self.value {
            Value::Object(members) => members.iter().find(|member| member.name == name),
            _ => None,
        }
    }

    /// Returns the kind of value for messages: "an object", "null", ….
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a Boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// Returns a text that two nodes share if and only if they hold the same values, whatever their layout and the order
    /// of their members. It is not JSON.
    pub fn to_canonical(&self) -> String {
        let mut text = String::new();
        self.write_canonical(&mut text);
        text
    }

    fn write_canonical(&self, text: &mut String) {
        match &self.value {
            Value::Array(elements) => {
                text.push('[');
                for element in elements {
                    element.write_canonical(text);
                    text.push(',');
                }
                text.push(']');
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by(|a, b| a.name.cmp(&b.name));
                text.push('{');
                for member in members {
                    let _ = write!(text, "{:?}:", member.name);
                    member.value.write_canonical(text);
                    text.push(',');
                }
                text.push('}');
            }
            scalar => {
                let _ = write!(text, "{scalar:?}");
            }
        }
    }

    /// Returns the RFC 6901 pointer, below this node, to the innermost value or name at byte `offset`.
    pub fn pointer_to(&self, offset: usize) -> String {
        let mut pointer = String::new();
        let mut node = self;
        loop {
            let next = match &node.value {
                Value::Array(elements) => {
                    let index = elements.partition_point(|element| element.span.end <= offset);
                    elements
                        .get(index)
                        .filter(|element| element.span.contains(&offset))
                        .map(|element| (index.to_string(), element))
                }
                Value::Object(members) => {
                    let index = members.partition_point(|member| member.value.span.end <= offset);
                    members
                        .get(index)
                        .filter(|member| member.name_span.start <= offset)
                        .map(|member| {
                            (
                                member.name.replace('~', "~0").replace('/', "~1"),
                                &member.value,
                            )
                        })
                }
                _ => None,
            };
            let Some((step, inner)) = next else {
                return pointer;
            };
            pointer.push('/');
            pointer.push_str(&step);
            node = inner;
        }
    }
}

/// The reason why a text is not JSON, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The byte offset in the text.
    pub offset: usize,
    /// The reason in words.
    pub message: String,
    /// How to fix it.
    pub help: Option<Cow<'static, str>>,
    /// Whether the text is JSON, but nested too deep.
    pub too_deep: bool,
}

/// Parses `text`, which must be exactly one JSON value by RFC 8259, nested at most `max_depth` deep.
pub fn parse(text: &str, max_depth: usize) -> Result<Node<'_>, SyntaxError> {
    let raw: Result<&RawValue, _> = serde_json::from_str(text);
    let raw = raw.map_err(|error| syntax_error(text, 0, &error));
    raw.and_then(|raw| node(text, raw, max_depth))
        .map_err(|error| in_our_words(text, error))
}

/// Replaces the message by our own words, which explain the mistake if it is a known one.
fn in_our_words(text: &str, error: SyntaxError) -> SyntaxError {
    if error.too_deep {
        return error;
    }
    let fault = mend::fault(text);
    let (message, help) = fault.map_or_else(
        || ("the text is not JSON".to_owned(), None),
        |fault| (fault.message, Some(fault.help)),
    );
    SyntaxError {
        message,
        help,
        ..error
    }
}

fn node<'t>(text: &'t str, raw: &'t RawValue, depth_left: usize) -> Result<Node<'t>, SyntaxError> {
    let source = raw.get();
    // The raw text is a slice of `text`, so the difference of the addresses is its offset.
    let start = (source.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let span = start..start + source.len();
    let wrong = |error: serde_json::Error| syntax_error(source, start, &error);
    let value = match source.as_bytes().first() {
        Some(b'{' | b'[') if depth_left == 0 => {
            return Err(SyntaxError {
                offset: start,
                message: "nested too deep".into(),
                help: Some("use fewer levels of objects and lists".into()),
                too_deep: true,
            });
        }
        Some(b'{') => {
            let RawObject(members) = serde_json::from_str(source).map_err(wrong)?;
            let member = |(name, value): (&'t RawValue, &'t RawValue)| {
                let name = node(text, name, depth_left - 1)?;
                let Value::String(spelled) = name.value else {
                    return Err(SyntaxError {
                        offset: start,
                        message: "a member without a name".into(),
                        help: None,
                        too_deep: false,
                    });
                };
                Ok(Member {
                    name: spelled,
                    name_span: name.span,
                    value: node(text, value, depth_left - 1)?,
                })
            };
            Value::Object(members.into_iter().map(member).collect::<Result<_, _>>()?)
        }
        Some(b'[') => {
            let RawArray(elements) = serde_json::from_str(source).map_err(wrong)?;
            Value::Array(
                elements
                    .into_iter()
                    .map(|raw| node(text, raw, depth_left - 1))
                    .collect::<Result<_, _>>()?,
            )
        }
        Some(b'"') => {
            let Text(text) = serde_json::from_str(source).map_err(wrong)?;
            Value::String(text)
        }
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') => Value::Null,
        _ => Value::Number(source),
    };
    Ok(Node { span, value })
}

/// Converts an error of serde_json, which counts lines and columns (in bytes, from 1). `source` begins at byte `start`
/// of the text.
fn syntax_error(source: &str, start: usize, error: &serde_json::Error) -> SyntaxError {
    let line_start: usize = source
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let offset = start + (line_start + error.column().saturating_sub(1)).min(source.len());
    SyntaxError {
        offset,
        message: String::new(),
        help: None,
        too_deep: false,
    }
}

/// The names and values as source text.
struct RawObject<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> Deserialize<'de> for RawObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawObject<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    members.push(entry);
                }
                Ok(RawObject(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

struct RawArray<'t>(Vec<&'t RawValue>);

impl<'de> Deserialize<'de> for RawArray<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = RawArray<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(RawArray(elements))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

/// A string, borrowed if it contains no escapes.
struct Text<'t>(Cow<'t, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Either)
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test may fail by panicking"
    )]

    use super::*;

    #[test]
    fn every_value_and_name_knows_its_place() {
        let text = "{\"a\" : [1.50, \"x\\n\"],\n \"a\": {\"~/\": null}}";
        let root = parse(text, 4).unwrap();
        let Value::Object(members) = &root.value else {
            panic!()
        };
        assert_eq!(members.len(), 2, "G-2: both stay visible");
        assert_eq!(text.get(members[0].name_span.clone()), Some("\"a\""));
        let [number, string] = members[0].value.one_or_many() else {
            panic!()
        };
        assert_eq!(number.value, Value::Number("1.50"), "G-18");
        assert_eq!(string.as_str(), Some("x\n"));
        assert_eq!(root.pointer_to(string.span.start), "/a/1");
        assert_eq!(root.pointer_to(text.find("null").unwrap()), "/a/~0~1");
    }

    #[test]
    fn only_strict_json_is_read() {
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "// c\n1",
            "'a'",
            "01",
            "+1",
            "1 2",
            "\u{feff}1",
            "\"a\nb\"",
            "nul",
            "{a:1}",
            "\"\\ud800\"",
            "{\"\\ud800\":1}",
            "NaN",
        ] {
            assert!(parse(bad, 4).is_err(), "G-1: {bad:?}");
        }
        let error = parse("{\n  \"a\": tru\n}", 4).unwrap_err();
        assert!((9..14).contains(&error.offset), "{error:?}");
    }

    #[test]
    fn depth_is_bounded_without_recursion_first() {
        assert!(parse("[[1]]", 2).is_ok());
        assert!(parse("[[[1]]]", 2).unwrap_err().too_deep);
        let deep = "[".repeat(50_000) + &"]".repeat(50_000);
        assert!(parse(&deep, 64).unwrap_err().too_deep, "G-1");
    }
}
