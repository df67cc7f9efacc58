//! One call of gRPC, observed from its headers to the end of its answer: its duration, and its span if traces are
//! exported.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, TraceId, Tracer as _};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

use super::counters::{Protocol, counters};
use super::methods::{CODES, RpcMethod};
use crate::engine::decision::Reason;

/// The number of the status `CANCELLED`.
const CANCELLED: usize = 1;

/// The statuses that are faults of the server and make its span an error, by number, as OpenTelemetry says: `UNKNOWN`,
/// `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS`.
const FAULTS: [usize; 6] = [2, 4, 12, 13, 14, 15];

/// What makes spans. Without it there are none.
struct Tracing {
    tracer: SdkTracer,
    /// Whether a span continues the trace that the caller names.
    continues: bool,
}

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// Makes `tracer` make a span for each call from now on.
pub(super) fn trace_by(tracer: SdkTracer, continues: bool) {
    let _ = TRACING.set(Tracing { tracer, continues }); // a process starts its exporters once
}

/// How many decisions the call of a span has made.
#[derive(Debug, Default)]
struct Decisions(AtomicU64);

/// A call in progress. Dropping it says that the client no longer waited.
#[derive(Debug)]
pub struct Call {
    method: RpcMethod,
    began: Instant,
    /// The gRPC status with which it ended.
    code: usize,
    /// Has its span. `None` if traces are not exported.
    context: Option<Context>,
}

impl Call {
    /// Begins the call of the method at `path`. `headers` may name the trace to which it belongs.
    pub fn begin(path: &str, headers: &dyn Extractor) -> Self {
        let method = RpcMethod::of(path);
        let context = TRACING.get().map(|tracing| tracing.begin(method, headers));
        Self {
            method,
            began: Instant::now(),
            code: CANCELLED,
            context,
        }
    }

    /// Makes its span the current one of this thread, as long as the guard is held. Decisions are noted there.
    pub fn enter(&self) -> Option<ContextGuard> {
        self.context.clone().map(Context::attach)
    }

    /// Ends the call with the gRPC status `code`.
    pub fn end(mut self, code: usize) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        counters().called(self.method, self.code, self.began.elapsed());
        if let Some(context) = &self.context {
            end_span(context, self.code);
        }
    }
}

impl Tracing {
    fn begin(&self, method: RpcMethod, headers: &dyn Extractor) -> Context {
        let parent = if self.continues {
            TraceContextPropagator::new().extract_with_context(&Context::new(), headers)
        } else {
            Context::new()
        };
        let span = self
            .tracer
            .span_builder(method.name())
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", method.name()),
            ])
            .start_with_context(&self.tracer, &parent);
        parent.with_span(span).with_value(Decisions::default())
    }
}

/// Returns the trace of the call that this thread is at: that of its span if traces are exported, and otherwise the one that
/// the caller names in the header `traceparent`. Returns [`TraceId::INVALID`] if there is none. `headers` are those of the
/// call, if they have that header, which most have not.
pub fn trace_id(headers: Option<&dyn Extractor>) -> TraceId {
    if TRACING.get().is_some() {
        return Context::map_current(|context| context.span().span_context().trace_id());
    }
    let Some(headers) = headers else {
        return TraceId::INVALID;
    };
    let named = TraceContextPropagator::new().extract_with_context(&Context::new(), headers);
    named.span().span_context().trace_id()
}

fn end_span(context: &Context, code: usize) {
    let span = context.span();
    let name = CODES.get(code).copied().unwrap_or("UNKNOWN");
    span.set_attribute(KeyValue::new("rpc.response.status_code", name));
    if FAULTS.contains(&code) {
        span.set_attribute(KeyValue::new("error.type", name));
        span.set_status(Status::Error {
            description: Cow::Borrowed(""),
        });
    }
    let decisions = context.get::<Decisions>();
    match decisions.map_or(0, |decisions| decisions.0.load(Ordering::Relaxed)) {
        0 | 1 => {}
        n => span.set_attribute(KeyValue::new(
            "iamd.decisions",
            i64::try_from(n).unwrap_or(i64::MAX),
        )),
    }
    span.end();
}

/// Counts a decision, and notes it in the span of the call that this thread is at. A span with many decisions has the
/// first one and their number.
pub fn decided(
    protocol: Protocol,
    reason: Reason,
    took: Duration,
    revision: &str,
    is_cached: bool,
) {
    counters().decided(protocol, reason, took);
    if TRACING.get().is_some() {
        trace_decision(reason, revision, is_cached);
    }
}

#[inline(never)]
fn trace_decision(reason: Reason, revision: &str, is_cached: bool) {
    Context::map_current(|context| {
        let Some(decisions) = context.get::<Decisions>() else {
            return;
        };
        let span = context.span();
        if decisions.0.fetch_add(1, Ordering::Relaxed) > 0 || !span.is_recording() {
            return;
        }
        let decision = if reason.is_allow() { "allow" } else { "deny" };
        span.set_attributes([
            KeyValue::new("iamd.decision", decision),
            KeyValue::new("iamd.reason", reason.label().to_ascii_lowercase()),
            KeyValue::new("iamd.revision", revision.to_owned()),
            KeyValue::new("iamd.cache.hit", is_cached),
        ]);
    });
}
