//! Writes JSON into memory: texts in whole runs, and numbers without the machinery of formatting.

use crate::authorizer::Value;

/// The name of a member, as it stands after another member.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(super) use name;

/// Writes a member with a text. `name` is a [`name!`].
#[inline]
pub(super) fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    raw(out, name);
    text(out, value);
}

/// Writes a text that is JSON already. Inlined, a constant takes no call.
#[inline]
pub(super) fn raw(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(json.as_bytes());
}

/// Writes a text as a string.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    // PERF: nearly all texts of a record are names, which need no escape. To look for one in sixteen bytes takes as long as
    // in two, one by one (`cargo bench --bench serve -- records`).
    if is_plain(text.as_bytes()) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        raw(out, text);
        out.push(b'"');
    } else {
        let _ = serde_json::to_writer(out, text); // writing to memory does not fail
    }
}

/// Writes a whole number.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    raw(out, itoa::Buffer::new().format(number));
}

/// Writes a value of the context.
pub(super) fn value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Unset | Value::Null => raw(out, "null"),
        Value::Bool(true) => raw(out, "true"),
        Value::Bool(false) => raw(out, "false"),
        Value::Number(number) => {
            let _ = serde_json::to_writer(out, number); // writing to memory does not fail
        }
        Value::Text(value) => text(out, value),
        Value::List(elements) => list(out, elements, self::value),
        // Its contents are not kept, and no rule reads them (T-22).
        Value::Object => raw(out, "{}"),
    }
}

/// Writes a list, each element by `write`.
pub(super) fn list<T>(out: &mut Vec<u8>, elements: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, element);
    }
    out.push(b']');
}

/// Returns whether a string of JSON holds these bytes as they are.
fn is_plain(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let mut filled: Block = [b' '; 16];
    let last = match bytes.last_chunk() {
        Some(last) => last, // it overlaps the block before
        None => {
            if let Some(begin) = filled.get_mut(..rest.len()) {
                begin.copy_from_slice(rest);
            }
            &filled
        }
    };
    blocks.iter().all(is_plain_block) && is_plain_block(last)
}

/// As many bytes as the compiler compares at once.
type Block = [u8; 16];

/// Returns whether no byte of a block has an escape. It looks at all of them even if the first one has, because then it needs
/// no jump.
#[inline(always)]
fn is_plain_block(block: &Block) -> bool {
    let has_escape = |found, byte: &u8| found | is_escaped(*byte);
    !block.iter().fold(false, has_escape)
}

/// Returns whether JSON has an escape for this byte: a control character, a quote or a backslash.
fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        self::text(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_text_is_written_as_serde_json_writes_it_wherever_an_escape_is() {
        // Every ASCII character and some longer ones, at each place of texts of each length around the blocks.
        let ascii = (0..=0x7f_u8).map(char::from);
        for odd in ascii.chain(['é', '€', '\u{2028}', '\u{fffd}', '🔑']) {
            for length in 0..50 {
                for at in 0..=length {
                    let mut text = "x".repeat(length);
                    text.insert(at, odd);
                    assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
                }
            }
        }
    }

    #[test]
    fn numbers_have_their_digits() {
        for n in [0, 7, 10, 99, 100, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, n);
            assert_eq!(String::from_utf8(out).unwrap(), n.to_string());
        }
    }
}
