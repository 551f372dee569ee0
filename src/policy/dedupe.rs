//! Letting each event through once, and its copies not.
//!
//! A policy holds a [`Dedupe`]; hosts ask the [`Memory`] made from it once for each delivery, and
//! tell it of those that they take. It calls the event's `key`, or the user's function, guarded.
//!
//! Invariant: an event is called a copy only if one like it was let through within the window and
//! is still remembered; what cannot be told is let through.
//!
//! It does not know what became of those it let through.

use std::any::Any;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::defaults;
use crate::event::{Byline, Event, Key};
use crate::panic::{Frail, guard};
use crate::policy::backoff::LONGEST;

type Told = Arc<dyn Fn(&dyn Any) -> Key + Send + Sync>;

/// Which events are copies of earlier ones, and so discarded instead of handled.
///
/// Each subscription remembers what it has let through, for the window and up to a number of
/// events; the oldest is forgotten first. The outcome does not matter: a copy of an event that is
/// now a dead letter is discarded, because the dead letter can be redriven. But an event that was
/// shed or has expired before its turn was not let through. Neither a retry nor a redriven dead
/// letter is a copy: each delivery is checked once, before its first attempt.
///
/// ```
/// use callboard::{Dedupe, secs};
///
/// let by_attempt = Dedupe::by_cause(secs(60));
/// let by_order = Dedupe::by_key(secs(3_600)).at_most(10_000);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Dedupe {
    by: By,
    window: Duration,
    at_most: usize,
}

#[derive(Clone)]
enum By {
    Cause,
    Key,
    Told(Told),
}

impl Dedupe {
    /// What one attempt of a service at a cause has published passes; what its later attempts at
    /// the same cause publish again, within this time of the first, is a copy. What another service
    /// publishes is none.
    ///
    /// Several events of one type and cause are distinguished by their order: the second one of the
    /// second attempt is a copy if there was a second one before. So this suits handlers whose
    /// attempts publish the same events in the same order; for others, use
    /// [`by_key`](Self::by_key). An event without a cause, published from outside, is never a copy.
    pub fn by_cause(window: Duration) -> Self {
        Self::within(window, By::Cause)
    }

    /// Of events with equal [keys](Event::key), only the first within the window passes. Events
    /// with [`Key::None`] always pass.
    pub fn by_key(window: Duration) -> Self {
        Self::within(window, By::Key)
    }

    /// Of the events of type `E` for which the function returns equal keys, only the first within
    /// the window passes. Events with [`Key::None`], and events of any other type, always pass. If
    /// the function panics, the event passes.
    pub fn by<E: Event>(window: Duration, key: impl Fn(&E) -> Key + Send + Sync + 'static) -> Self {
        let key = Frail::new(key);
        let told = move |event: &dyn Any| event.downcast_ref().map_or(Key::None, &*key);
        Self::within(window, By::Told(Arc::new(told)))
    }

    /// Sets how many events are remembered, at least 1; by default 65,536
    /// ([`defaults::DEDUPE_REMEMBERED`]).
    pub fn at_most(mut self, events: usize) -> Self {
        self.at_most = events;
        self
    }

    /// Whether both say the same, with the same function: what is remembered for one fits the
    /// other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let by = match (&self.by, &other.by) {
            (By::Cause, By::Cause) | (By::Key, By::Key) => true,
            (By::Told(one), By::Told(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        by && (self.window, self.at_most) == (other.window, other.at_most)
    }

    /// What a new subscription remembers.
    pub(crate) fn state(&self) -> Memory {
        Memory {
            window: self.window,
            at_most: self.at_most.max(1),
            numbers: HashSet::default(),
            texts: HashSet::new(),
            causes: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    /// Finds out by what an event is known. User code runs here, and no state is held meanwhile.
    pub(crate) fn identity<E: Event>(&self, event: &E, byline: Option<Byline>) -> Identity {
        let key = match &self.by {
            By::Cause => return byline.map_or(Identity::None, Identity::Copy),
            By::Key => guard(|| event.key()),
            By::Told(told) => guard(|| told(event)),
        };
        match key {
            Ok(Key::None) | Err(_) => Identity::None,
            Ok(key) => Identity::Key(key),
        }
    }

    /// Names the invalid settings, in plain words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.window.is_zero() {
            problems.push("dedupe: the window is zero, so nothing is a copy".to_owned());
        }
        if self.window > LONGEST {
            let window = self.window;
            problems.push(format!(
                "dedupe: the window of {window:?} is longer than 365 days"
            ));
        }
        if self.at_most == 0 {
            problems.push("dedupe: at_most is 0, so nothing is remembered".to_owned());
        }
        problems
    }

    fn within(window: Duration, by: By) -> Self {
        Self {
            by,
            window,
            at_most: defaults::DEDUPE_REMEMBERED,
        }
    }
}

impl fmt::Debug for Dedupe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Cause => "cause",
            By::Key => "key",
            By::Told(_) => "(a function)",
        };
        f.debug_struct("Dedupe")
            .field("by", &format_args!("{by}"))
            .field("window", &self.window)
            .field("at_most", &self.at_most)
            .finish()
    }
}

impl fmt::Display for Dedupe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Cause => "cause",
            By::Key => "key",
            By::Told(_) => "what a function says",
        };
        write!(
            f,
            "by {by} within {:?}, at most {} remembered",
            self.window, self.at_most
        )
    }
}

/// By what an event is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// By nothing: it has no copies.
    None,
    /// By what it is about.
    Key(Key),
    /// By the attempt that published it, and whose that was.
    Copy(Byline),
}

/// What one subscription has let through lately.
///
/// By whatever they are known, it is looked up in a set of its own: a number takes no allocation,
/// and is found without following a pointer. Numbers have a hasher of their own, too, which is as
/// random: the standard one takes 230 instructions for each.
#[derive(Debug)]
pub(crate) struct Memory {
    window: Duration,
    at_most: usize,
    numbers: HashSet<u64, RandomState>,
    texts: HashSet<Arc<str>>,
    causes: HashMap<Handling, Family, RandomState>,
    /// All that is known, by when it was first seen.
    order: VecDeque<(Duration, Known)>,
}

#[derive(Debug)]
enum Known {
    Number(u64),
    Text(Arc<str>),
    Cause(Handling),
}

/// One event in the hands of one service: the numbers of both.
type Handling = (u64, u64);

impl Memory {
    /// Whether this event would be let through. Nothing is remembered of it: it may never be taken.
    pub(crate) fn is_first(&mut self, identity: &Identity, now: Duration) -> bool {
        self.forget_old(now);
        match identity {
            Identity::None | Identity::Key(Key::None) => true,
            Identity::Key(Key::Number(number)) => !self.numbers.contains(number),
            Identity::Key(Key::Text(text)) => !self.texts.contains(&**text),
            Identity::Copy(byline) => {
                let family = self.causes.get(&handling(*byline));
                family.is_none_or(|family| family.would_grow(byline.cause().attempt))
            }
        }
    }

    /// Tells whether this event is the first of its kind, and remembers it.
    pub(crate) fn admit(&mut self, identity: Identity, now: Duration) -> bool {
        self.forget_old(now);
        match identity {
            Identity::None | Identity::Key(Key::None) => true,
            Identity::Key(Key::Number(number)) => {
                let is_new = self.numbers.insert(number);
                if is_new {
                    self.remember(Known::Number(number), now);
                }
                is_new
            }
            Identity::Key(Key::Text(text)) => {
                let is_new = !self.texts.contains(&*text);
                if is_new {
                    let text: Arc<str> = text.into();
                    self.texts.insert(Arc::clone(&text));
                    self.remember(Known::Text(text), now);
                }
                is_new
            }
            Identity::Copy(byline) => self.admit_copy(byline, now),
        }
    }

    fn admit_copy(&mut self, byline: Byline, now: Duration) -> bool {
        let (handling, attempt) = (handling(byline), byline.cause().attempt);
        if let Some(family) = self.causes.get_mut(&handling) {
            return family.grows(attempt);
        }
        self.causes.insert(handling, Family::of(attempt));
        self.remember(Known::Cause(handling), now);
        true
    }

    /// Puts what is known now into its place in the order.
    fn remember(&mut self, known: Known, now: Duration) {
        if self.order.len() >= self.at_most {
            self.forget_first();
        }
        self.order.push_back((now, known));
    }

    fn forget_old(&mut self, now: Duration) {
        let window = self.window;
        let is_old = |(at, _): &(Duration, Known)| now.saturating_sub(*at) >= window;
        while self.order.front().is_some_and(is_old) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        match self.order.pop_front() {
            Some((_, Known::Number(number))) => drop(self.numbers.remove(&number)),
            Some((_, Known::Text(text))) => drop(self.texts.remove(&text)),
            Some((_, Known::Cause(handling))) => drop(self.causes.remove(&handling)),
            None => {}
        }
    }
}

fn handling(byline: Byline) -> Handling {
    (byline.cause().id.number(), byline.service())
}

/// Those with one cause and from one service.
#[derive(Debug)]
struct Family {
    /// The attempt whose events are coming in.
    attempt: u32,
    /// How many of them there have been.
    seen: u32,
    /// How many have been let through, from whatever attempt.
    passed: u32,
}

impl Family {
    fn of(attempt: u32) -> Self {
        Self {
            attempt,
            seen: 1,
            passed: 1,
        }
    }

    /// Whether the next one of this attempt is one more than any attempt has had.
    fn would_grow(&self, attempt: u32) -> bool {
        let seen = if self.attempt == attempt {
            self.seen
        } else {
            0
        };
        seen >= self.passed
    }

    /// As [`Family::would_grow`], and counts it.
    fn grows(&mut self, attempt: u32) -> bool {
        if self.attempt != attempt {
            (self.attempt, self.seen) = (attempt, 0);
        }
        self.seen = self.seen.saturating_add(1);
        let is_new = self.seen > self.passed;
        self.passed = self.passed.max(self.seen);
        is_new
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::event::{Cause, EventId};

    const SECOND: Duration = Duration::from_secs(1);

    struct Paid(u64);
    impl Event for Paid {
        const NAME: &'static str = "paid";
        fn key(&self) -> Key {
            match self.0 {
                0 => Key::None,
                13 => panic!("boom"),
                number => number.into(),
            }
        }
    }

    struct Sent;
    impl Event for Sent {
        const NAME: &'static str = "sent";
    }

    fn cause(id: u64, attempt: u32) -> Byline {
        by(1, id, attempt)
    }

    fn by(service: u32, id: u64, attempt: u32) -> Byline {
        Byline::new(Cause::new(EventId::new(id), attempt), service)
    }

    fn key(key: u64) -> Identity {
        Identity::Key(key.into())
    }

    /// What is let through of those that come at these seconds.
    fn fresh(dedupe: &Dedupe, events: &[(u64, Identity)]) -> Vec<bool> {
        let mut memory = dedupe.state();
        let events = events.iter().cloned();
        let admitted = events.map(|(at, identity)| {
            let now = SECOND * at as u32;
            let is_first = memory.is_first(&identity, now);
            // Asking changes nothing.
            assert_eq!(memory.is_first(&identity, now), is_first);
            assert_eq!(memory.admit(identity, now), is_first);
            is_first
        });
        admitted.collect()
    }

    #[test]
    fn an_event_is_known_by_what_was_chosen() {
        let (by_cause, by_key) = (Dedupe::by_cause(SECOND), Dedupe::by_key(SECOND));
        let told = Dedupe::by(SECOND, |paid: &Paid| match paid.0 {
            13 => panic!("boom"),
            number => number.to_string().into(),
        });
        let some = Some(cause(9, 2));
        assert_eq!(
            by_cause.identity(&Paid(7), some),
            Identity::Copy(cause(9, 2))
        );
        assert_eq!(by_cause.identity(&Paid(7), None), Identity::None);
        assert_eq!(by_key.identity(&Paid(7), some), key(7));
        for unknown in [Paid(0), Paid(13)] {
            assert_eq!(by_key.identity(&unknown, some), Identity::None);
        }
        assert_eq!(told.identity(&Paid(7), None), Identity::Key("7".into()));
        assert_eq!(told.identity(&Paid(13), None), Identity::None);
        assert_eq!(told.identity(&Sent, None), Identity::None);
    }

    #[test]
    fn the_first_with_a_key_is_let_through_once_in_a_window() {
        let dedupe = Dedupe::by_key(SECOND * 10);
        let events = [
            (0, key(1)),
            (0, key(1)),
            (5, key(2)),
            (9, key(1)),
            (10, key(1)),
            (14, key(2)),
            (14, Identity::None),
            (14, Identity::None),
            (20, key(1)),
        ];
        let expected = [true, false, true, false, true, false, true, true, true];
        assert_eq!(fresh(&dedupe, &events), expected);
    }

    #[test]
    fn a_number_and_a_text_are_two_keys() {
        let text = Identity::Key("1".into());
        let events = [(0, key(1)), (0, text.clone()), (0, text)];
        assert_eq!(fresh(&Dedupe::by_key(SECOND), &events), [true, true, false]);
    }

    #[test]
    fn what_later_attempts_publish_again_is_a_copy_and_what_they_add_is_not() {
        let came = |id, attempt| (0, Identity::Copy(cause(id, attempt)));
        let other = |id, attempt| (0, Identity::Copy(by(2, id, attempt)));
        for (events, expected) in [
            // One attempt may publish several.
            (vec![came(1, 1), came(1, 1), came(1, 1)], vec![true; 3]),
            // The first attempt failed after one of its two.
            (
                vec![came(1, 1), came(1, 2), came(1, 2)],
                vec![true, false, true],
            ),
            (
                vec![
                    came(1, 1),
                    came(1, 1),
                    came(1, 2),
                    came(1, 3),
                    came(1, 3),
                    came(1, 3),
                ],
                vec![true, true, false, false, false, true],
            ),
            // The first attempt published nothing that came here.
            (vec![came(1, 3), came(1, 4)], vec![true, false]),
            (
                vec![came(1, 1), came(2, 2), came(1, 2)],
                vec![true, true, false],
            ),
            // Another service has handled the same event.
            (
                vec![came(1, 1), came(1, 2), other(1, 1), came(1, 3), other(1, 2)],
                vec![true, false, true, false, false],
            ),
        ] {
            assert_eq!(
                fresh(&Dedupe::by_cause(SECOND), &events),
                expected,
                "{events:?}"
            );
        }
    }

    #[test]
    fn the_oldest_is_forgotten_first_when_there_are_too_many() {
        let dedupe = Dedupe::by_key(SECOND * 10).at_most(2);
        let events = [1, 2, 1, 3, 2, 1, 3].map(|number| (0, key(number)));
        let expected = [true, true, false, true, false, true, false];
        assert_eq!(fresh(&dedupe, &events), expected);
        let mut memory = Dedupe::by_key(LONGEST).at_most(3).state();
        for number in 0..1_000_u64 {
            let text = Identity::Key(number.to_string().into());
            for identity in [key(number), text, Identity::Copy(cause(number, 1))] {
                assert!(memory.admit(identity, Duration::ZERO));
            }
        }
        let Memory {
            numbers,
            texts,
            causes,
            order,
            ..
        } = &memory;
        let kept = (numbers.len(), texts.len(), causes.len(), order.len());
        assert_eq!(kept, (1, 1, 1, 3));
    }

    #[test]
    fn a_clock_that_goes_back_or_far_ahead_loses_nothing_but_memories() {
        let mut memory = Dedupe::by_key(SECOND).state();
        assert!(memory.admit(key(1), SECOND * 5));
        assert!(!memory.admit(key(1), Duration::ZERO));
        assert!(memory.admit(key(2), Duration::ZERO));
        assert!(!memory.admit(key(2), SECOND * 5));
        assert!(memory.admit(key(1), Duration::MAX) && !memory.admit(key(1), Duration::MAX));
        assert_eq!(memory.numbers.len(), 1);
    }

    #[test]
    fn settings_that_cannot_be_meant_are_named() {
        assert_eq!(Dedupe::by_key(LONGEST).at_most(1).problems(), [""; 0]);
        for (dedupe, word) in [
            (Dedupe::by_key(Duration::ZERO), "zero"),
            (Dedupe::by_cause(Duration::MAX), "365"),
            (Dedupe::by_cause(SECOND).at_most(0), "at_most"),
        ] {
            let problems = dedupe.problems();
            let named = problems.len() == 1 && problems[0].starts_with("dedupe: ");
            assert!(named && problems[0].contains(word), "{problems:?}");
            let mut memory = dedupe.state();
            assert!(memory.admit(key(1), Duration::ZERO));
        }
        let shown = format!("{:?}", Dedupe::by(SECOND, |_: &Paid| Key::None));
        assert_eq!(
            shown,
            "Dedupe { by: (a function), window: 1s, at_most: 65536 }"
        );
    }

    /// Keeps everything for ever and looks through all of it.
    fn naive(window: u64, at_most: usize, events: &[(u64, u64)]) -> Vec<bool> {
        let mut let_through: Vec<(u64, u64)> = Vec::new();
        let mut verdicts = Vec::new();
        for (now, key) in events {
            let recent = let_through.iter().rev().take(at_most);
            let is_fresh = !recent
                .clone()
                .any(|(at, known)| known == key && now - at < window);
            if is_fresh {
                let_through.push((*now, *key));
            }
            verdicts.push(is_fresh);
        }
        verdicts
    }

    proptest! {
        #[test]
        fn it_agrees_with_one_that_forgets_nothing(
            window in 1u64..20,
            at_most in 1usize..6,
            steps in vec((0u64..5, 0u64..8), 0..80),
        ) {
            let mut now = 0;
            let events: Vec<(u64, u64)> =
                steps.iter().map(|(step, key)| { now += step; (now, *key) }).collect();
            let dedupe = Dedupe::by_key(SECOND * window as u32).at_most(at_most);
            let known = |number: u64| match number % 2 {
                0 => key(number),
                _ => Identity::Key(number.to_string().into()),
            };
            let asked: Vec<_> = events.iter().map(|(at, number)| (*at, known(*number))).collect();
            prop_assert_eq!(fresh(&dedupe, &asked), naive(window, at_most, &events));
        }

        #[test]
        fn of_the_events_of_one_cause_each_place_is_let_through_once(
            attempts in vec(0usize..6, 1..6),
        ) {
            let mut events = Vec::new();
            for (attempt, count) in (1..).zip(&attempts) {
                events.extend(vec![(0, Identity::Copy(cause(1, attempt))); *count]);
            }
            let admitted = fresh(&Dedupe::by_cause(SECOND), &events);
            let through = admitted.into_iter().filter(|is_fresh| *is_fresh).count();
            prop_assert_eq!(through, attempts.into_iter().max().unwrap_or_default());
        }
    }
}
