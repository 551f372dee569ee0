//! Every default, by name, in one place.
//!
//! Builders on every floor start from these. It calls nothing.
//!
//! Invariant: a default is stated here and nowhere else.
//!
//! What is not a number is not here: there is no timeout, no deadline and no time to live unless
//! you set one, an event that is given up becomes a dead letter, a child is permanent, and the
//! board starts one arbiter per core.

use std::time::Duration;

/// Attempts at an event, the first included: 3. Fewer than [`MAX_RESTARTS`], so that one event
/// that always panics cannot use up the restarts of its supervisor.
pub const ATTEMPTS: u32 = 3;

/// The first delay before an event is tried again: 50 ms, doubled each time, with full jitter.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(50);

/// The longest delay before an event is tried again: 5 s.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Events that a subscription which discards copies remembers: 65,536.
pub const DEDUPE_REMEMBERED: usize = 65_536;

/// The share of calls that fail, from which on a breaker opens: half.
pub const BREAKER_FAILURE_RATE: f64 = 0.5;

/// The time over which a breaker counts calls: 10 s.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(10);

/// Calls that a breaker must have seen before it may open: 20.
pub const BREAKER_CALLS: u32 = 20;

/// How long a breaker stays open before it lets a probe through: 5 s.
pub const BREAKER_OPEN: Duration = Duration::from_secs(5);

/// Probes that must succeed before a breaker closes: 1.
pub const BREAKER_PROBES: u32 = 1;

/// Retries a second that a retry budget allows however few deliveries there are: 10.
pub const RETRY_BUDGET_AT_LEAST: u32 = 10;

/// The time over which a retry budget counts: 10 s.
pub const RETRY_BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Restarts a supervisor makes within [`RESTART_WINDOW`] before it gives up: 5.
pub const MAX_RESTARTS: u32 = 5;

/// The time within which [`MAX_RESTARTS`] are allowed: 10 s.
pub const RESTART_WINDOW: Duration = Duration::from_secs(10);

/// Events a subscription may lag behind: 1,024.
pub const CAPACITY: usize = 1_024;

/// Letters a service may have waiting: 1,024.
pub const LETTER_CAPACITY: usize = 1_024;

/// Events of a service that may be open in later work: 256.
pub const LATERS: usize = 256;

/// Keys of a per-key service that may be at work at once: 64.
pub const KEYS_AT_ONCE: usize = 64;

/// How long an idle instance of a key is kept: 60 s.
pub const KEY_IDLE: Duration = Duration::from_secs(60);

/// Idle instances of keys that are kept at most: 1,024.
pub const KEYS_KEPT: usize = 1_024;

/// How long `publish` and `tell` wait for room at most: 5 s, or what is left of the handler's own
/// time. A fixed limit.
pub const PUBLISH_WAIT: Duration = Duration::from_secs(5);

/// How long `ask` waits for room and reply together: 5 s. For another limit, use `ask_within`.
pub const ASK_WAIT: Duration = Duration::from_secs(5);

/// How long a child may take to stop before it is killed: 5 s.
pub const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// The time limit for a shutdown begun by a service, or by a root supervisor that ends: 5 s.
pub const BOARD_SHUTDOWN_WAIT: Duration = SHUTDOWN_WAIT;

/// How long a child may take to start: 30 s. A fixed limit.
pub const START_WAIT: Duration = Duration::from_secs(30);

/// How long a control verb (start, stop, restart of a child) waits for the supervisor's answer:
/// 60 s. A fixed limit, for the waiting only; what was requested goes on.
pub const CONTROL_WAIT: Duration = Duration::from_secs(60);

/// How long a handler may block its thread before the watchdog warns: 1 s.
pub const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// How long a handler may wait before the watchdog warns: 30 s.
pub const WAITING_AFTER: Duration = Duration::from_secs(30);

/// Dead letters the board keeps on its shelf; the oldest goes first: 1,024.
pub const SHELF: usize = 1_024;

/// Events left unread whose numbers the board keeps for its shutdown report, for each service and
/// event: the last 1,024. All are counted.
pub const UNDELIVERED_IDS: usize = 1_024;

/// Threads that do blocking work for handlers at the same time: 512, as tokio's runtimes have. A
/// blocked thread costs little but its stack; beyond this, work waits for one to come free.
pub const BLOCKING_THREADS: usize = 512;

/// Workers that a service may have at most: 1,024.
pub const WORKERS_MAX: usize = 1_024;

/// Deliveries a service handles in one turn before it lets others run: 64, as many as there are
/// events in a block. Twice as many made an answer among neighbours that always have work take
/// twice as long.
pub const BATCH_DELIVERIES: usize = 64;

/// Deliveries a service handles in one turn if they are so fast that it is still
/// [brief](BATCH_BRIEF): up to 256.
pub const BATCH_DELIVERIES_MAX: usize = 256;

/// A turn is not over after [`BATCH_DELIVERIES`] if as many more are likely to be over within this
/// time of its beginning: 2 us. To take turns takes half a microsecond, more than 64 of the fastest
/// deliveries.
pub const BATCH_BRIEF: Duration = Duration::from_micros(2);

/// How long a service handles deliveries in one turn before it lets others run: about 1 ms.
pub const BATCH_TIME: Duration = Duration::from_millis(1);

// What must hold between them; see the docs of each.
const _: () = assert!(ATTEMPTS <= MAX_RESTARTS);
const _: () = assert!(BATCH_DELIVERIES <= BATCH_DELIVERIES_MAX);
const _: () = assert!(BACKOFF_FIRST.as_nanos() <= BACKOFF_MAX.as_nanos());
