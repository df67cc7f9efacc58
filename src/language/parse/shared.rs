//! Lets statements with equal conditions share them.
//!
//! Most conditions of a store stand in many of its statements. With their key and their values they take some five hundred
//! bytes each, which is more than all else that a statement takes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::language::condition::Condition;

/// How many blocks of conditions a thread remembers.
const MAX_BLOCKS: usize = 256;
/// The longest block that is remembered, in bytes.
const MAX_BYTES: usize = 1_024;

thread_local! {
    /// The blocks that this thread has read, by their texts.
    static KNOWN: RefCell<HashMap<Box<str>, Arc<[Condition]>>> = RefCell::default();
}

/// Returns the list `conditions`, shared with that of another block with the same `text` if this thread has read one.
pub(super) fn shared(conditions: Vec<Condition>, text: &str) -> Arc<[Condition]> {
    if conditions.is_empty() {
        return Arc::default(); // the standard library shares its empty list
    }
    if text.len() > MAX_BYTES {
        return conditions.into();
    }
    KNOWN.with_borrow_mut(|known| {
        match known.get(text) {
            // In another version of the language the same text may mean something else (G-6).
            Some(known) if **known == *conditions => return Arc::clone(known),
            _ => {}
        }
        if known.len() == MAX_BLOCKS {
            known.clear();
        }
        let conditions: Arc<[Condition]> = conditions.into();
        known.insert(text.into(), Arc::clone(&conditions));
        conditions
    })
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test may fail by panicking"
    )]

    use super::super::{parse, parse_briefly};
    use super::*;
    use crate::language::document::{PolicyDocument, PolicyType};
    use crate::language::report::Base;

    /// A document of two statements with this condition, written by `version`.
    fn text(version: &str, condition: &str) -> String {
        let statement = format!(
            r#"{{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{condition}}}"#
        );
        format!(r#"{{"Version":"{version}","Statement":[{statement},{statement}]}}"#)
    }

    fn read(text: &str) -> PolicyDocument {
        let base = Base::File("policy.json".into());
        parse(text, PolicyType::Identity, base).0.unwrap()
    }

    fn are_shared(a: &PolicyDocument, b: &PolicyDocument) -> bool {
        Arc::ptr_eq(&a.statements[0].conditions, &b.statements[1].conditions)
    }

    #[test]
    fn equal_blocks_share_their_conditions_and_others_do_not() {
        let of_team = |team: &str| format!(r#"{{"StringEquals":{{"app:team":"{team}"}}}}"#);
        let blue = read(&text("2012-10-17", &of_team("blue")));
        let again = read(&text("2012-10-17", &of_team("blue")));
        let red = read(&text("2012-10-17", &of_team("red")));
        assert!(are_shared(&blue, &blue) && are_shared(&blue, &again));
        assert!(!are_shared(&blue, &red));
        assert_ne!(blue.statements[0].conditions, red.statements[0].conditions);
    }

    /// G-6: before 2012-10-17 a variable is a text.
    #[test]
    fn the_same_block_in_another_version_is_another_one() {
        let of_user = r#"{"StringEquals":{"app:owner":"${aws:username}"}}"#;
        let (new, old) = (text("2012-10-17", of_user), text("2008-10-17", of_user));
        for (first, second) in [(&new, &old), (&old, &new)] {
            let (first, second) = (read(first), read(second));
            assert!(!are_shared(&first, &second));
            assert_ne!(
                first.statements[0].conditions,
                second.statements[0].conditions
            );
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let n_known = || KNOWN.with_borrow(HashMap::len);
        for n in 0..3 * MAX_BLOCKS {
            let condition = format!(r#"{{"NumericEquals":{{"app:n":"{n}"}}}}"#);
            let document = read(&text("2012-10-17", &condition));
            assert!(are_shared(&document, &document));
            assert!(n_known() <= MAX_BLOCKS);
        }
        let before = n_known();
        let long = format!(
            r#"{{"StringEquals":{{"app:team":"{}"}}}}"#,
            "x".repeat(MAX_BYTES)
        );
        let document = read(&text("2012-10-17", &long));
        assert!(!are_shared(&document, &document));
        // What a request brings is not remembered.
        let of_request = text("2012-10-17", r#"{"StringEquals":{"app:team":"green"}}"#);
        let base = Base::File("request".into());
        let document = parse_briefly(&of_request, PolicyType::Session, base)
            .0
            .unwrap();
        assert!(!are_shared(&document, &document));
        assert_eq!(n_known(), before);
    }
}
