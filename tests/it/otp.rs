//! OTP's supervision, on live boards: who comes back, in which order, and with what in its mailbox.

mod backoff;

mod by_policy;

mod chain;

mod completion;

mod kills;

mod order;

mod refused;

mod semantics;

mod stage;

mod table;

mod watch;
