//! Export of records by OTLP, as logs. The caller learns whether the receiver has them, and tries again if not.

use std::fmt;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_otlp::LogExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{
    LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider,
};
use tokio::runtime::{Builder, Runtime};

/// The scope of the records, by which a receiver tells them from the lines of the log.
const SCOPE: &str = "iamd.decision_log";

/// One record.
#[derive(Clone, Debug)]
pub struct ExportedRecord<'r> {
    /// What kind of event it is.
    pub event: &'static str,
    /// When it happened.
    pub at: SystemTime,
    /// The trace that it belongs to, or [`TraceId::INVALID`].
    pub trace_id: TraceId,
    /// The whole record.
    pub body: &'r str,
    /// What receivers filter by.
    pub attributes: Vec<(&'static str, String)>,
}

/// Sends records to the receiver of logs.
pub struct RecordExporter {
    exporter: LogExporter,
    /// Its own, because that of the exporters may end while a message waits for its answer.
    runtime: Runtime,
    timeout: Duration,
    endpoint: String,
    scope: InstrumentationScope,
    /// Makes records; it exports nothing.
    logger: SdkLogger,
}

impl RecordExporter {
    /// Returns what sends by `exporter`.
    pub(super) fn of(
        mut exporter: LogExporter,
        resource: &Resource,
        timeout: Duration,
        endpoint: String,
    ) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build();
        exporter.set_resource(resource);
        Ok(Self {
            exporter,
            runtime: runtime.context("the thread of the decision log")?,
            timeout,
            endpoint,
            scope: InstrumentationScope::builder(SCOPE).build(),
            logger: SdkLoggerProvider::builder().build().logger(SCOPE),
        })
    }

    /// Returns the address of the receiver, for people.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends all of `records` in one message, and waits for the answer, for as long as one export may take
    /// (`OTEL_EXPORTER_OTLP_TIMEOUT`). After an error the receiver may have them or not. A runtime must not call it.
    pub fn export(&self, records: &[ExportedRecord<'_>]) -> anyhow::Result<()> {
        let records: Vec<SdkLogRecord> = records.iter().map(|record| self.log(record)).collect();
        let records: Vec<_> = records.iter().map(|record| (record, &self.scope)).collect();
        let export = self.exporter.export(LogBatch::new(&records));
        let exported = self
            .runtime
            .block_on(async { tokio::time::timeout(self.timeout, export).await });
        match exported {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(anyhow!("{error}")),
            Err(_) => bail!("no answer within {:?}", self.timeout),
        }
    }

    fn log(&self, record: &ExportedRecord<'_>) -> SdkLogRecord {
        let mut log = self.logger.create_log_record();
        log.set_event_name(record.event);
        log.set_timestamp(record.at);
        log.set_observed_timestamp(record.at);
        log.set_severity_number(Severity::Info);
        log.set_severity_text("INFO");
        log.set_body(record.body.to_owned().into());
        for (name, value) in &record.attributes {
            log.add_attribute(*name, value.clone());
        }
        if record.trace_id != TraceId::INVALID {
            log.set_trace_context(record.trace_id, SpanId::INVALID, None);
        }
        log
    }
}

impl fmt::Debug for RecordExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordExporter")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
