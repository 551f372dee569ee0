//! What is played: a tree, its policies and subscriptions, and how every attempt will go.
//!
//! `Plan::draw` takes everything from one seed. How an attempt goes is a function of the event,
//! the service, the round and the attempt, so that the outcome of every delivery is known before
//! anything runs.

use callboard::prelude::*;
use callboard::{Jitter, Retry};

/// How many types of events there are.
pub(crate) const TOPICS: usize = 3;

/// Attempts that take this long are over every timeout.
pub(crate) const SLOW: Duration = millis(90);
/// The timeout, where there is one; no nap is as long.
pub(crate) const LIMIT: Duration = millis(50);

/// What may go wrong with the tree itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Supervisors have more restarts than they need, and all is settled before the shutdown.
    Settled,
    /// The same, but the board is shut down in the middle of things.
    Abrupt,
    /// Restarts are few: supervisors give up, subtrees end and come back, the board may end.
    GivingUp,
}

/// One attempt as it is written in the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Succeed,
    Nap(u64),
    /// Over the timeout; a success where there is none.
    Slow,
    Fail,
    FailLate,
    Permanent,
    Panic,
    PanicLate,
    Relay(usize),
    Timer(Alarm, u64),
    Stop,
    Subscribe,
    Unsubscribe,
}

/// What a timer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    Ring,
    Fail,
    Panic,
    Publish(usize),
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Done,
    Failed,
    Permanent,
    TimedOut,
    Panicked,
    /// Its life was ended from outside; no attempt is counted.
    Interrupted,
}

/// The parts of a policy that are set at one place of the tree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    pub(crate) attempts: Option<(u32, u8)>,
    /// `Some(false)`: as long as it likes, whatever is set above.
    pub(crate) timeout: Option<bool>,
    pub(crate) timeout_restarts: bool,
}

/// One subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    pub(crate) part: Part,
}

/// One service.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) path: String,
    /// Below the root itself, or below the supervisor with this index.
    pub(crate) below: Option<usize>,
    /// From the start, by topic.
    pub(crate) on: [bool; TOPICS],
    pub(crate) terms: [Terms; TOPICS],
    pub(crate) part: Part,
    pub(crate) letters: usize,
    pub(crate) mourns: bool,
}

/// Everything about one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) root: Part,
    pub(crate) inner: Vec<Part>,
    pub(crate) roles: Vec<Role>,
    pub(crate) steps: usize,
    pub(crate) most_events: u64,
    /// Of 100 attempts, so many go wrong.
    trouble: u64,
}

impl Part {
    fn draw(dice: &mut fastrand::Rng) -> Self {
        Part {
            attempts: dice.bool().then(|| (dice.u32(1..=4), dice.u8(0..4))),
            timeout: dice.bool().then(|| dice.u8(0..3) > 0),
            timeout_restarts: dice.u8(0..4) == 0,
        }
    }

    /// The policy as the library is told.
    pub(crate) fn policy(self) -> Policy {
        let mut policy = Policy::new();
        if let Some((attempts, kind)) = self.attempts {
            let retry = match kind {
                0 => Retry::fixed(Duration::ZERO),
                1 => Retry::fixed(millis(20)),
                2 => Retry::exponential(millis(10)).at_most(secs(1)),
                _ => Retry::exponential(millis(5)).jitter(Jitter::None),
            };
            policy = policy.retry(retry.attempts(attempts));
        }
        policy = match self.timeout {
            Some(true) => policy.timeout(LIMIT),
            Some(false) => policy.no_timeout(),
            None => policy,
        };
        if self.timeout_restarts {
            policy = policy.timeout_restarts();
        }
        policy
    }
}

impl Terms {
    fn draw(dice: &mut fastrand::Rng) -> Self {
        Terms {
            capacity: dice.usize(1..=8),
            overflow: if dice.bool() {
                Overflow::Wait
            } else {
                Overflow::DropOldest
            },
            part: Part::draw(dice),
        }
    }
}

impl Role {
    fn draw(dice: &mut fastrand::Rng, index: usize, inner: usize) -> Self {
        let below = (inner > 0 && dice.bool()).then(|| dice.usize(0..inner));
        Role {
            path: match below {
                Some(one) => format!("root/inner{one}/service{index}"),
                None => format!("root/service{index}"),
            },
            below,
            on: [(); TOPICS].map(|()| dice.u8(0..3) > 0),
            terms: [(); TOPICS].map(|()| Terms::draw(dice)),
            part: Part::draw(dice),
            letters: dice.usize(1..=8),
            mourns: dice.u8(0..4) == 0,
        }
    }
}

impl Plan {
    pub(crate) fn draw(seed: u64, mode: Mode) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let inner: Vec<Part> = (0..dice.usize(0..=2))
            .map(|_| Part::draw(&mut dice))
            .collect();
        let services = dice.usize(1..=5);
        Plan {
            seed,
            mode,
            root: Part::draw(&mut dice),
            roles: (0..services)
                .map(|index| Role::draw(&mut dice, index, inner.len()))
                .collect(),
            inner,
            steps: dice.usize(5..40),
            most_events: dice.u64(20..120),
            trouble: dice.u64(0..60),
        }
    }

    /// How many attempts a delivery has, and whether they have a timeout.
    pub(crate) fn rules(&self, service: usize, topic: usize) -> (u32, bool) {
        let role = &self.roles[service];
        let parts = [
            Some(role.terms[topic].part),
            Some(role.part),
            role.below.map(|one| self.inner[one]),
            Some(self.root),
        ];
        let nearest_first = || parts.into_iter().flatten();
        let attempts = nearest_first().find_map(|part| part.attempts);
        let timeout = nearest_first().find_map(|part| part.timeout);
        (
            attempts.map_or(3, |(most, _)| most),
            timeout.unwrap_or(false),
        )
    }

    /// What an attempt at an event does.
    pub(crate) fn act(&self, service: usize, event: u64, round: u32, attempt: u32) -> Act {
        let place = (service as u64) << 48 | u64::from(round) << 40 | u64::from(attempt) << 32;
        let mut dice = fastrand::Rng::with_seed(mix(self.seed ^ mix(event ^ place)));
        if dice.u64(0..100) < self.trouble {
            return match dice.u8(0..8) {
                0 | 1 => Act::Fail,
                2 => Act::FailLate,
                3 => Act::Permanent,
                4 => Act::Panic,
                5 => Act::PanicLate,
                _ => Act::Slow,
            };
        }
        match dice.u8(0..20) {
            0..6 => Act::Nap(dice.u64(1..30)),
            6..11 => Act::Relay(dice.usize(0..TOPICS)),
            11 => Act::Timer(self.alarm(&mut dice), dice.u64(0..80)),
            12 if self.trouble > 0 => Act::Stop,
            13 => Act::Subscribe,
            14 if dice.bool() => Act::Unsubscribe,
            _ => Act::Succeed,
        }
    }

    fn alarm(&self, dice: &mut fastrand::Rng) -> Alarm {
        match dice.u8(0..6) {
            0 if self.trouble > 0 => Alarm::Fail,
            1 if self.trouble > 0 => Alarm::Panic,
            2 | 3 => Alarm::Publish(dice.usize(0..TOPICS)),
            _ => Alarm::Ring,
        }
    }

    /// How a delivery will end, from the script alone: whether it succeeds, and all its attempts.
    pub(crate) fn predict(
        &self,
        service: usize,
        topic: usize,
        event: u64,
        round: u32,
    ) -> (bool, Vec<End>) {
        let (most, timed) = self.rules(service, topic);
        let mut ends = Vec::new();
        for attempt in 1..=most {
            ends.push(match self.act(service, event, round, attempt) {
                Act::Fail | Act::FailLate => End::Failed,
                Act::Permanent => End::Permanent,
                Act::Panic | Act::PanicLate => End::Panicked,
                Act::Slow if timed => End::TimedOut,
                _ => End::Done,
            });
            match ends.last() {
                Some(End::Done) => return (true, ends),
                Some(End::Permanent) => break,
                _ => {}
            }
        }
        (false, ends)
    }
}

/// A number that tells nothing about the one it was made from (the finisher of splitmix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
