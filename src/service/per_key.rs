//! How a service keeps one instance for each key.
//!
//! Specs hold it; the host makes and retires the instances.
//!
//! Invariant: its bounds are stated when the tree is built, so nothing grows with the number of
//! keys there ever were.
//!
//! It makes no instance itself.

use std::fmt;
use std::time::Duration;

use crate::defaults;
use crate::event::Key;
use crate::policy::LONGEST;

/// Makes the instance for a key.
pub(crate) type MakeOne<S> = Box<dyn FnMut(&Key) -> S + Send>;

/// How many instances a [per-key](crate::ServiceSpec::per_key) service has, and for how long.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct PerKey {
    pub(crate) at_once: usize,
    pub(crate) idle: Duration,
    pub(crate) kept: usize,
}

impl PerKey {
    /// How many keys may be at work at once, at least 1; 64 by default. At that limit no more
    /// events are read until one is done. All instances share the thread of the service, so this
    /// limits how many can wait at the same time.
    pub fn at_once(mut self, keys: usize) -> Self {
        self.at_once = keys;
        self
    }

    /// How long an instance may be idle before it is retired, at least 1 ms; 60 s by default. An
    /// instance with a timer that has not run yet is not idle.
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = time;
        self
    }

    /// How many idle instances are kept at most; 1,024 by default. Beyond that, the one that has
    /// been idle longest is retired at once. With 0, none outlives its work.
    pub fn kept(mut self, instances: usize) -> Self {
        self.kept = instances;
        self
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.at_once == 0 {
            problems.push("no key may be at work, so nothing could ever be handled".to_owned());
        }
        if self.idle < Duration::from_millis(1) {
            problems.push(format!(
                "instances idle for {:?} are retired: at least 1 ms",
                self.idle
            ));
        }
        if self.idle > LONGEST {
            problems.push(format!(
                "the idle time of {:?} is longer than 365 days",
                self.idle
            ));
        }
        problems
    }
}

impl Default for PerKey {
    fn default() -> Self {
        PerKey {
            at_once: defaults::KEYS_AT_ONCE,
            idle: defaults::KEY_IDLE,
            kept: defaults::KEYS_KEPT,
        }
    }
}

/// A recipe with an argument, and its terms.
pub(crate) struct Keyed<S> {
    pub(crate) make: MakeOne<S>,
    pub(crate) terms: PerKey,
}

impl<S> fmt::Debug for Keyed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.terms.fmt(f)
    }
}
