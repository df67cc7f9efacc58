//! What no setting changes: times and sizes that have one right value.

use std::time::Duration;

/// How long a command waits for a server's answer: longer than the server's own deadline, short enough not to hang.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// When to ask again a server that has no snapshot yet: loading takes well under a second for most stores.
pub const NOT_READY_RETRY: Duration = Duration::from_millis(200);

/// The longest header list that a call may bring.
pub const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;

/// Streams that a peer may reset before they were accepted, and before the connection is closed (rapid reset).
pub const MAX_PENDING_RESET_STREAMS: usize = 20;

/// Streams that iamd may reset because of the peer's faults before the connection is closed.
pub const MAX_LOCAL_ERROR_RESET_STREAMS: usize = 1024;

/// How often a silent connection is asked whether its peer is still there, and how long the peer may take to say so.
pub const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// The most threads that may be asked for: far beyond the processors of any machine, and still started in a moment.
pub const MAX_WORKER_THREADS: usize = 1024;

/// The most connections that may be allowed: beyond what one process gets descriptors for.
pub const MAX_MAX_CONNECTIONS: usize = 1 << 20;

/// How long a new connection may take to say that it speaks HTTP/2. From then on keepalive watches over it; before, a
/// silent one would hold one of the places for ever.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection without a call may stay open once the server drains: long enough for a client to send what it
/// was about to, and to hear that it is the end.
pub const FAREWELL_TO_IDLE: Duration = Duration::from_millis(200);

/// After the first signal to end, a further one counts only this much later: who ends a whole group of processes often
/// sends two at once.
pub const SECOND_SIGNAL_AFTER: Duration = Duration::from_secs(1);

/// How long the end waits for the last log lines to be written.
pub const LOG_PATIENCE: Duration = Duration::from_millis(250);

/// The same where they say why the server did not even start.
pub const LOG_PATIENCE_AT_START: Duration = Duration::from_secs(3);

/// When a call of the helpers (health checks, reflection) ends whose client set no deadline and does not send its
/// request.
pub const DEADLINE_FOR_HELPERS: Duration = Duration::from_secs(5);

/// The longest that any call may take, whatever deadline its client sets: until then an unfinished question is kept.
pub const LONGEST_DEADLINE: Duration = Duration::from_secs(60);

/// How many bytes of each call a client may send before they are read.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// The most bytes that HTTP/2 lets a client send before they are read, on all streams of a connection.
pub const MAX_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// How long a client may go without reading more of an explanation or a simulation.
pub const TIME_TO_READ: Duration = Duration::from_secs(10);

/// The longest document that a simulation may bring: as long as one of a store.
pub const MAX_SIMULATED_DOCUMENT_BYTES: usize = 1024 * 1024;

/// The longest request of a health check or a reflection.
pub const MAX_HELPER_BYTES: usize = 4 * 1024;

/// The descriptors that no connection may take: for the store, its watch, the log, signals and listeners.
pub const RESERVED_DESCRIPTORS: usize = 64;

/// How long accepting pauses when the system has no descriptor left: without a pause the loop would spin.
pub const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// The longest explanation that the command line takes from a server: several times what one may have.
pub const MAX_EXPLANATION_BYTES: usize = 16 * 1024 * 1024;

/// The longest message that a server takes if it is not told otherwise; also the longest line of `--requests`.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The encoded size of one simulation: it brings policies along.
pub const MAX_SIMULATION_BYTES: usize = 4 * 1024 * 1024;

/// How many pairs of an action and a resource one simulation may ask: as many as there are questions in a batch.
pub const MAX_SIMULATED_PAIRS: usize = 10_000;

/// The encoded size of all results of one simulation: what a client takes that was told no other limit.
pub const MAX_SIMULATION_RESULT_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// How many simulations and explanations run at once; further ones wait. They may take seconds, and must not crowd out
/// decisions.
pub const MAX_SIMULATIONS_AT_ONCE: usize = 4;

/// How many simulations and explanations are received or run at once; of further ones nothing is read yet.
pub const MAX_SIMULATIONS_RECEIVED: usize = 16;

/// When a call for people ends whose client set no deadline.
pub const DEADLINE_FOR_PEOPLE: Duration = Duration::from_secs(30);

/// The most files in a store.
pub const MAX_FILES: usize = 250_000;

/// The most bytes in a store.
pub const MAX_STORE_BYTES: u64 = 1 << 30;

/// The longest file of a store with a document or one entity.
pub const MAX_ENTITY_BYTES: u64 = 1 << 20;

/// The longest dump, and the longest file of the organization: they grow with the number of accounts and entities, not
/// with one document.
pub const MAX_DUMP_BYTES: u64 = 256 << 20;

/// How often a store that changes while it is read is read again.
pub const MAX_TRIES: u32 = 20;
