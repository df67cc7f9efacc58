//! Who asks a question over gRPC, and in which trace.

use opentelemetry_http::HeaderExtractor;
use tonic::codegen::http::{Extensions, HeaderMap, HeaderName};

use super::drain::Entrance;
use crate::authorizer::{Asker, Authorizer, CallerFacts};
use crate::telemetry::{Protocol, TraceId, trace_id};

/// Returns who asks a question over gRPC.
pub(super) fn asker(caller: &CallerFacts, trace_id: TraceId) -> Asker<'_> {
    Asker {
        protocol: Protocol::Grpc,
        caller,
        trace_id,
    }
}

/// Returns what is known of the other end of the connection of the call with these `extensions`.
pub(super) fn caller_of(extensions: &Extensions) -> CallerFacts {
    let entrance = extensions.get::<Entrance>();
    entrance
        .map(|entrance| entrance.calls.caller.clone())
        .unwrap_or_default()
}

/// Returns the trace of the call that this thread is at, whose headers these are. It is looked for only if decisions are
/// recorded, because nothing else needs it.
pub(super) fn trace_of(authorizer: &Authorizer, headers: &HeaderMap) -> TraceId {
    // PERF: a name that is made once needs no check of its letters, which took 300 instructions a call.
    static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    if authorizer.is_recorded() {
        let names_one = headers.contains_key(&TRACEPARENT);
        let headers = HeaderExtractor(headers);
        trace_id(names_one.then_some(&headers))
    } else {
        TraceId::INVALID
    }
}
