#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;
use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as WireValue};
use tonic::Status;

use super::*;
use crate::authorizer::{Asker, Authorizer, CallerFacts};
use crate::config::Limits;
use crate::service::answer::{answer, answer_message};
use crate::service::{convert, pb};
use crate::store::Loader;
use crate::telemetry::{Protocol, TraceId};

/// Returns an authorizer of the example store.
fn authorizer() -> Authorizer {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    Authorizer::of(Loader::new().load(&store).unwrap().snapshot)
}

fn asker() -> Asker<'static> {
    static NOBODY: LazyLock<CallerFacts> = LazyLock::new(CallerFacts::default);
    Asker {
        protocol: Protocol::Grpc,
        caller: &NOBODY,
        trace_id: TraceId::INVALID,
    }
}

/// Pseudo-random numbers: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }

    /// Returns one of `texts`, and now and then `odd`.
    fn odd(&mut self, odd: &str, texts: &[&str]) -> String {
        match self.below(20) {
            0 => odd.to_owned(),
            _ => self.pick(texts).to_owned(),
        }
    }

    fn value(&mut self, depth: usize) -> WireValue {
        let kind = match self.below(if depth > 2 { 21 } else { 24 }) {
            0..16 => Kind::StringValue(self.pick(&["", "prod", "203.0.113.9", "ü"]).into()),
            16..18 => Kind::NumberValue([0.0, -1.5, f64::NAN, 1e300][self.below(4)]),
            18..21 => Kind::BoolValue(self.below(2) == 0),
            21 => Kind::NullValue(0),
            22 => Kind::StructValue(Struct::default()),
            _ => Kind::ListValue(ListValue {
                values: (0..self.below(4)).map(|_| self.value(depth + 1)).collect(),
            }),
        };
        WireValue {
            kind: (self.below(50) > 0).then_some(kind),
        }
    }

    fn question(&mut self) -> pb::AuthorizeRequest {
        const PRINCIPALS: &[&str] = &[
            "arn:aws:iam::111122223333:user/support/alice",
            "arn:aws:iam::111122223333:user/support/bob",
            "arn:aws:iam::111122223333:user/finance/carol",
            "arn:aws:iam::111122223333:user/nobody",
            "arn:aws:sts::111122223333:assumed-role/order-service/s1",
            "*",
        ];
        let keys = ["aws:SourceIp", "app:stage", "app:amount", "app:b", "app:c"];
        let n_keys = [0, 0, 1, 2, 2, 5][self.below(6)];
        pb::AuthorizeRequest {
            principal: self.odd("nobody", PRINCIPALS),
            action: self.odd("x", &["orders:Get", "orders:Cancel", "orders:List"]),
            resource: self.odd("", &["arn:app:orders:::order/1", "arn:app:orders:::*", "*"]),
            context: (0..n_keys)
                .map(|_| pb::authorize_request::ContextEntry {
                    key: self.pick(&keys).into(),
                    value: (self.below(60) > 0).then(|| self.value(0)),
                })
                .collect(),
            session: (self.below(8) == 0).then(|| pb::SessionContext {
                source_identity: self.pick(&["", "alice"]).into(),
                ..Default::default()
            }),
            resource_account: self.odd("?", &["", "", "111122223333"]),
            request_id: self.pick(&["", "r-1"]).into(),
        }
    }

    /// Changes `bytes` in up to three places.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let n_changes = [0, 0, 1, 2, 3][self.below(5)];
        for _ in 0..n_changes {
            let at = self.below(bytes.len() + 1);
            let byte = u8::try_from(self.below(256)).unwrap();
            match self.below(6) {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 if at < bytes.len() => bytes[at] = byte,
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                4 => bytes.truncate(at),
                _ => {
                    // A piece that is there twice.
                    let end = at + self.below(bytes.len() - at + 1);
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
    }
}

/// Returns the answer through the generated reader and writer.
fn by_messages(authorizer: &Authorizer, bytes: &[u8]) -> Result<Vec<u8>, Status> {
    let message = pb::AuthorizeRequest::decode(bytes).map_err(|_| convert::undecodable())?;
    Ok(answer_message(authorizer, &message, &asker())?.encode_to_vec())
}

/// Returns the answer from bytes to bytes.
fn by_bytes(
    authorizer: &Authorizer,
    bytes: &[u8],
    scratch: &mut Scratch,
) -> Result<Vec<u8>, Status> {
    answer(authorizer, None, bytes, &asker(), scratch, |answer| {
        let mut out = Vec::new();
        answer.put(&mut out);
        assert_eq!(out.len(), answer.n_bytes());
        out
    })
}

fn said(answered: Result<Vec<u8>, Status>) -> Result<Vec<u8>, (i32, String, Vec<u8>)> {
    answered.map_err(|status| {
        let (code, message) = (status.code().into(), status.message().to_owned());
        (code, message, status.details().to_vec())
    })
}

/// `IAMD_WIRE_CASES` says how many messages are tried, `IAMD_WIRE_SEED` which.
#[test]
fn bytes_are_answered_as_the_generated_reader_and_writer_would() {
    let set = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap())
    };
    let (n_cases, seed) = (set("IAMD_WIRE_CASES", 20_000), set("IAMD_WIRE_SEED", 17));
    let authorizer = authorizer();
    let mut random = Random(seed);
    let mut scratch = Scratch::default();
    let (mut n_in_place, mut n_answered, mut n_refused) = (0, 0, 0);
    for case in 0..n_cases {
        let mut bytes = random.question().encode_to_vec();
        random.mutate(&mut bytes);
        let most = authorizer.limits().max_context_entries;
        n_in_place += u64::from(question(&bytes, most, &mut Scratch::default()).is_some());
        let expected = said(by_messages(&authorizer, &bytes));
        let found = said(by_bytes(&authorizer, &bytes, &mut scratch));
        assert_eq!(found, expected, "case {case} of seed {seed}: {bytes:?}");
        match found {
            Ok(_) => n_answered += 1,
            Err(_) => n_refused += 1,
        }
    }
    // Each way is taken often enough to mean something.
    for n in [n_in_place, n_answered, n_refused] {
        assert!(n > n_cases / 10, "{n_in_place} {n_answered} {n_refused}");
    }
}

/// Every field of an answer is there in one question of the example store.
#[test]
fn an_answer_is_written_as_the_generated_writer_writes_it() {
    let authorizer = authorizer();
    let mut n_with_statements = 0;
    for (action, resource) in [
        ("orders:Get", "arn:app:orders:::order/1"),
        ("orders:Cancel", "arn:app:orders:::order/1"),
        ("orders:List", "arn:app:orders:::*"),
        ("users:Delete", "arn:app:users:::user/1"),
    ] {
        for principal in [
            "user/alice",
            "user/bob",
            "user/eng/carol",
            "role/order-service",
        ] {
            let question = Question {
                principal: &format!("arn:aws:iam::111122223333:{principal}"),
                action,
                resource,
                request_id: "r-1",
                ..Question::default()
            };
            let outcome = authorizer.authorize(&question, Timestamp::UNIX_EPOCH);
            let Ok(decision) = &outcome.answer else {
                continue;
            };
            let mut out = Vec::new();
            Answer::of(&outcome, decision, "d-1").put(&mut out);
            let mut message = convert::response(&outcome).unwrap();
            message.decision_id = "d-1".to_owned();
            assert_eq!(out, message.encode_to_vec(), "{message:?}");
            n_with_statements += usize::from(!message.determining_statements.is_empty());
        }
    }
    assert!(n_with_statements > 2, "{n_with_statements}");
}

#[test]
fn the_ordinary_question_is_read_in_place_and_borrows() {
    let entry = |key: &str, kind| pb::authorize_request::ContextEntry {
        key: key.into(),
        value: Some(WireValue { kind: Some(kind) }),
    };
    let list = ListValue {
        values: vec![WireValue {
            kind: Some(Kind::StringValue("a".into())),
        }],
    };
    let message = pb::AuthorizeRequest {
        principal: "p".into(),
        action: "a:b".into(),
        resource: "r".repeat(300),
        context: vec![
            entry("k", Kind::StringValue("v".into())),
            entry("k", Kind::NumberValue(1.5)),
            entry("l", Kind::ListValue(list)),
            entry("b", Kind::BoolValue(true)),
        ],
        resource_account: "1".into(),
        request_id: "i".into(),
        session: None,
    };
    let bytes = message.encode_to_vec();
    let mut scratch = Scratch::default();
    let read = question(&bytes, 4, &mut scratch).unwrap();
    let expected = convert::question(&message, &Limits::DEFAULT).unwrap();
    assert_eq!(read, expected, "repeated keys stay visible (C-4)");
    assert!(bytes.as_ptr_range().contains(&read.resource.as_ptr()));
    assert_eq!(question(&bytes, 3, &mut scratch), None, "too many entries");
    scratch.keep(read.context);
    assert!(scratch.context.capacity() >= 4 && scratch.context.is_empty());
    assert_eq!(question(&bytes, 4, &mut scratch), Some(expected));
}
