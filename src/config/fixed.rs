//! Times and sizes that no setting changes, because each has one right value.

use std::time::Duration;

/// How long a command waits for a server's answer. It is longer than the server's own deadline and short for a user.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `iamd wait` pauses before it asks again a server that is not there.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// After which time a client should retry while the server has no snapshot: most stores load in well under a second.
pub const NOT_READY_RETRY: Duration = Duration::from_millis(200);

/// The longest header list that a call may bring.
pub const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;

/// The most streams that a peer may reset before they are accepted. With one more the connection is closed, against the
/// rapid reset attack.
pub const MAX_PENDING_RESET_STREAMS: usize = 20;

/// The most streams that iamd resets because of the peer's faults. With one more the connection is closed.
pub const MAX_LOCAL_ERROR_RESET_STREAMS: usize = 1024;

/// The interval of keepalive pings on a silent connection, and how long the peer may take to answer one.
pub const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// The most worker threads that a setting may ask for: more than any machine has processors, yet quick to start.
pub const MAX_WORKER_THREADS: usize = 1024;

/// The most connections that a setting may allow: more than a process gets descriptors for.
pub const MAX_MAX_CONNECTIONS: usize = 1 << 20;

/// How long a new connection may take to send the HTTP/2 preface. Keepalive watches a connection only from then on, so
/// without this limit a silent one would count towards the most connections for ever.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most connections for health checks alone. They count apart, so that clients which hold all other connections
/// keep no kubelet away. For one more, the oldest is closed.
pub const MAX_HEALTH_CONNECTIONS: usize = 16;

/// After which time a client should retry a call that was refused because the server is overloaded.
pub const OVERLOADED_RETRY: Duration = Duration::from_millis(100);

/// How long the TLS handshake of a new connection may take. It needs two ways across the network.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection that has lost its place may take to leave before the next one loses its place, too.
pub const TIME_TO_LEAVE: Duration = Duration::from_millis(50);

/// The most open connections of the HTTP listener. For one more, the oldest is closed. Monitoring needs a few.
pub const MAX_HTTP_CONNECTIONS: usize = 32;

/// How long a client of the HTTP listener may take to send the head of a request, or be idle between two.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection of the HTTP listener may live. A client that does not read its answer ends with it.
pub const HTTP_CONNECTION_TIME: Duration = Duration::from_secs(60);

/// The longest head of a request to the HTTP listener, in bytes, and the most headers in it.
pub const MAX_HTTP_HEAD: (usize, usize) = (16 * 1024, 64);

/// How often the latencies of decisions are noted, of which `/statusz` shows those of the last minute.
pub const LATENCY_SAMPLE: Duration = Duration::from_secs(5);

/// How often the files with certificates and keys are looked at: as often as a store from which no events come.
pub const TLS_CHECK: Duration = Duration::from_secs(5);

/// The longest file with certificates or a key, in bytes. The authorities of a whole operating system take a fifth of it.
pub const MAX_TLS_FILE_BYTES: u64 = 1 << 20;

/// How long a connection without a call may stay open once the server drains. It is long enough for a client to send a
/// call that it has just begun, and to learn that the server drains.
pub const FAREWELL_TO_IDLE: Duration = Duration::from_millis(200);

/// After the first signal to end, a second one counts only if it comes this much later. Tools that end a whole group of
/// processes often send two signals at once.
pub const SECOND_SIGNAL_AFTER: Duration = Duration::from_secs(1);

/// How long the process waits at its end until what is left is exported.
pub const EXPORT_PATIENCE: Duration = Duration::from_secs(1);

/// How long the process waits at its end until the last log lines are written.
pub const LOG_PATIENCE: Duration = Duration::from_millis(250);

/// The same if the server could not start: then the last log lines say why.
pub const LOG_PATIENCE_AT_START: Duration = Duration::from_secs(3);

/// How long the process waits at its end until the last records of the decision log are written.
pub const DECISION_LOG_PATIENCE: Duration = Duration::from_secs(1);

/// The default deadline of health checks, reflection and Status; a stream only has to begin within it. An Explain or
/// Simulate call must also send its question within this time once the server reads it.
pub const AUXILIARY_DEADLINE: Duration = Duration::from_secs(5);

/// The longest deadline that a client can set. The server keeps an unfinished question in memory until then.
pub const LONGEST_DEADLINE: Duration = Duration::from_secs(60);

/// How many bytes of a peer are worth one of the 128 units of a task's turn. So 32 KiB may be read before other connections have
/// theirs.
pub const BYTES_PER_UNIT: usize = 256;

/// The same while its bytes begin no calls, as those of frames that it may send without an end, and those of a long message.
/// So 4 KiB may be read, and what was read with them: a tenth of a millisecond of work even if they are frames of a few bytes.
pub const BYTES_PER_UNIT_WITHOUT_CALLS: usize = 32;

/// How many bytes of a connection are read before it waits for its turn while others have much to do. That has space for a question
/// with a long context or a few short ones, and is a tenth of a millisecond of work.
pub const BYTES_AT_FIRST: usize = 2048;

/// How long a call with many questions may work before it lets others go on. The question that it is at then is
/// answered first, so a turn takes up to one decision longer.
pub const TURN: Duration = Duration::from_micros(100);

/// The most batches of one connection that are received or answered at once. The server reads nothing of further ones.
pub const MAX_BATCHES_AT_ONCE: usize = 4;

/// How many questions of a connection may be in flight although those of all connections are as many as may be.
pub const MAX_CALLS_OF_ITS_OWN: usize = 2;

/// How many bytes of each call a client may send before the server reads them.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// The most bytes that HTTP/2 allows a client to send on a connection before the server reads them.
pub const MAX_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// How long a client may go without reading more of an explanation, a simulation or the answers to a large batch.
pub const TIME_TO_READ: Duration = Duration::from_secs(10);

/// The longest policy document in a simulation: the same limit as for a file of the store.
pub const MAX_SIMULATED_DOCUMENT_BYTES: usize = 1024 * 1024;

/// The longest request of reflection.
pub const MAX_AUXILIARY_BYTES: usize = 4 * 1024;

/// The longest request of a health check, of Status and of WatchRevision. They have the name of a service or nothing.
pub const MAX_HEALTH_BYTES: usize = 1024;

/// The file descriptors that connections must leave for the store, its watch, the log, signals and listeners.
pub const RESERVED_DESCRIPTORS: usize = 64;

/// The file descriptors of a thread that serves connections: its queue of events and what wakes it.
pub const DESCRIPTORS_OF_THREAD: usize = 4;

/// How long the server stops accepting connections when the system has no descriptor left: otherwise the loop would
/// spin.
pub const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// The longest explanation that the command line accepts from a server: several times the server's own limit.
pub const MAX_EXPLANATION_BYTES: usize = 16 * 1024 * 1024;

/// The default of the longest message that a server accepts; also the longest line of `--requests`.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The most bytes of one encoded simulation. It is more than for a question because a simulation contains policies.
pub const MAX_SIMULATION_BYTES: usize = 4 * 1024 * 1024;

/// The most pairs of an action and a resource in one simulation: as many as a batch has questions.
pub const MAX_SIMULATED_PAIRS: usize = 10_000;

/// The most levels of service control policies in one simulation. An organization of AWS has at most seven.
pub const MAX_SIMULATED_LEVELS: usize = 16;

/// The most bytes of all encoded results of one simulation: gRPC clients accept about this much by default.
pub const MAX_SIMULATION_RESULT_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// The most simulations and explanations that run at once; further ones wait. They may take seconds and must leave the
/// processors to decisions.
pub const MAX_SIMULATIONS_AT_ONCE: usize = 4;

/// The most simulations and explanations that are received or answered at once. The server reads nothing of further
/// ones.
pub const MAX_SIMULATIONS_RECEIVED: usize = 16;

/// The most simulations, explanations and lists that wait until they are received. A client may have sent
/// [`STREAM_WINDOW_BYTES`] of each.
pub const MAX_INTERACTIVE_WAITING: usize = 1024;

/// How long after its deadline a call may take to tell its client, before it is reset.
pub const TIME_TO_TELL: Duration = Duration::from_millis(100);

/// The most items on one page of a list, and the number where the client does not say.
pub const MAX_LISTED: usize = 1_000;

/// About the most bytes of texts on one page of a list. A page has one item at least.
pub const MAX_LIST_BYTES: usize = 1024 * 1024;

/// The default and the longest deadline of an Explain, Simulate or List call, and the default of a BatchAuthorize call: ten
/// thousand of the most expensive questions take ten seconds of one thread.
pub const INTERACTIVE_DEADLINE: Duration = Duration::from_secs(30);

/// The most findings that `Status` lists, and the most bytes of them. gRPC clients accept 4 MiB by default.
pub const MAX_STATUS_FINDINGS: (usize, usize) = (1000, 3 * 1024 * 1024);

/// The most files in a store.
pub const MAX_FILES: usize = 250_000;

/// The most bytes in a store.
pub const MAX_STORE_BYTES: u64 = 1 << 30;

/// The longest file with one document or one entity, in bytes.
pub const MAX_ENTITY_BYTES: u64 = 1 << 20;

/// The longest dump and the longest `organization.json`, in bytes. They grow with the number of accounts and entities.
pub const MAX_DUMP_BYTES: u64 = 256 << 20;

/// How often the loader tries to read a store that keeps changing.
pub const MAX_TRIES: u32 = 20;
