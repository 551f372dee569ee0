//! What one service has still to read: its places on the board, and its letters.
//!
//! It belongs to the child, not to a life: the host lends it to one life after the other.
//!
//! Invariant: of several sources the one with the smallest number is read first, after a second
//! look at those that were empty; so nobody sees an effect before its cause (for first attempts).
//!
//! It runs no handler; it says what is next and keeps what was taken.

mod aside;
pub(crate) mod bundle;
pub(crate) mod doors;
pub(crate) mod gauge;
mod guards;
pub(crate) mod held;
pub(crate) mod letters;
pub(crate) mod source;

use std::any::TypeId;
use std::task::Waker;

use tokio::time::Instant;

use crate::bell::Bell;
use crate::policy::Rules;
use crate::sync::Arc;
use bundle::AnyBundle;
use doors::Watched;
use gauge::Watch;
use letters::Letters;
use source::AnySource;

/// A list of sources whose types are known: what a service subscribed to in its spec.
pub(crate) trait Sources {
    /// How many there are.
    const LEN: usize;

    /// Shows each of them, numbered from `first`.
    fn each(&mut self, first: usize, visit: &mut dyn FnMut(usize, &mut dyn AnySource));

    /// Compares what is next in each of them with the head of the line, or only in those that were
    /// empty. The types being known, this is one straight piece of code.
    fn meet(&mut self, first: usize, again: bool, line: &mut Line);
}

/// The end of a list of sources.
#[derive(Debug)]
pub(crate) struct End;

/// A source and the rest of the list.
#[derive(Debug)]
pub(crate) struct Then<A, B> {
    pub(crate) first: A,
    pub(crate) rest: B,
}

impl Sources for End {
    const LEN: usize = 0;

    fn each(&mut self, _: usize, _: &mut dyn FnMut(usize, &mut dyn AnySource)) {}

    fn meet(&mut self, _: usize, _: bool, _: &mut Line) {}
}

impl<A: AnySource, B: Sources> Sources for Then<A, B> {
    const LEN: usize = 1 + B::LEN;

    fn each(&mut self, first: usize, visit: &mut dyn FnMut(usize, &mut dyn AnySource)) {
        visit(first, &mut self.first);
        self.rest.each(first + 1, visit);
    }

    fn meet(&mut self, first: usize, again: bool, line: &mut Line) {
        meet(&mut self.first, first, again, line);
        self.rest.meet(first + 1, again, line);
    }
}

/// Compares what is next in a source, if it is to be looked at, with the head of the line.
#[inline]
fn meet<A: AnySource + ?Sized>(source: &mut A, index: usize, again: bool, line: &mut Line) {
    if again && !source.is_dry() {
        return;
    }
    match source.look() {
        Some(number) => {
            let is_returned = source.is_returned();
            line.meet(number, Lane::Source { index, is_returned });
        }
        None => line.was_empty = true,
    }
}

/// What can be shown as a source.
pub(crate) trait AsSource {
    fn as_source(&mut self) -> &mut dyn AnySource;
}

/// What a mailbox has for its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Events of this source, as far as it has looked, with numbers below `until`.
    Events { source: usize, until: u64 },
    /// The event that waits in place in this source is to be tried now.
    Held { source: usize },
    /// An event that waits aside in this source is to be tried now.
    Aside { source: usize },
    /// Letters that are out, with numbers below `until`.
    Letters { until: u64 },
    /// Nothing to read; something waits until then.
    Later(Instant),
    /// Nothing.
    Nothing,
}

/// `L`: the typed sources. `D`: those added while running. `B`: the letters.
#[derive(Debug)]
pub(crate) struct Mailbox<L, D: ?Sized, B: ?Sized> {
    pub(crate) fixed: L,
    pub(crate) added: Vec<Box<D>>,
    pub(crate) letters: Letters<B>,
    bell: Arc<Bell>,
    /// The source in which an event waits in place, or that pauses, and until when: younger
    /// events wait behind it.
    holding: Option<(usize, Instant)>,
    /// The source in which an event waits aside that is due first.
    aside: Option<(usize, Instant)>,
    /// No event is read, whatever there is.
    is_shut: bool,
}

/// The line of all sources, while they are compared.
pub(crate) struct Line {
    /// What is at its head; the highest number if nothing is.
    number: u64,
    lane: Lane,
    /// The smallest number known of any other source.
    next: u64,
    /// The head has changed.
    is_new: bool,
    /// One of those that were looked at had nothing.
    was_empty: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Source {
        index: usize,
        /// Whether it is an event that was given back.
        is_returned: bool,
    },
    Letters,
}

impl Line {
    fn new() -> Self {
        Line {
            number: u64::MAX,
            lane: Lane::Letters,
            next: u64::MAX,
            is_new: false,
            was_empty: false,
        }
    }

    #[inline]
    fn meet(&mut self, number: u64, lane: Lane) {
        if self.number <= number {
            self.next = self.next.min(number);
            return;
        }
        self.next = self.number;
        (self.number, self.lane, self.is_new) = (number, lane, true);
    }
}

impl<L: Sources, D: AsSource + ?Sized, B: AnyBundle + ?Sized> Mailbox<L, D, B> {
    pub(crate) fn new(fixed: L, letters: Letters<B>, bell: Arc<Bell>) -> Self {
        Mailbox {
            fixed,
            added: Vec::new(),
            letters,
            bell,
            holding: None,
            aside: None,
            is_shut: false,
        }
    }

    /// Shows every source.
    pub(crate) fn each(&mut self, mut visit: impl FnMut(usize, &mut dyn AnySource)) {
        self.fixed.each(0, &mut visit);
        for (index, source) in self.added.iter_mut().enumerate() {
            visit(L::LEN + index, source.as_source());
        }
    }

    /// Shows one source.
    pub(crate) fn with<R>(
        &mut self,
        wanted: usize,
        act: impl FnOnce(&mut dyn AnySource) -> R,
    ) -> Option<R> {
        let (mut act, mut result) = (Some(act), None);
        self.each(|index, source| {
            if index == wanted
                && let Some(act) = act.take()
            {
                result = Some(act(source));
            }
        });
        result
    }

    /// What is to be handled next. While an event is held, no other event is, but letters are.
    #[cfg(all(test, shuttle))]
    pub(crate) fn next(&mut self, now: impl Fn() -> Instant) -> Next {
        self.next_below(u64::MAX, now)
    }

    /// What is to be handled next of what has a number below this, or waits already.
    pub(crate) fn next_below(&mut self, below: u64, now: impl Fn() -> Instant) -> Next {
        if self.is_shut {
            return self.letters_below(below).unwrap_or(Next::Nothing);
        }
        if let Some(next) = self.next_waiting(below, &now) {
            return next;
        }
        let head = self.first_in_line();
        if head.number >= below {
            return self
                .aside
                .map_or(Next::Nothing, |(_, due)| Next::Later(due));
        }
        match head.lane {
            Lane::Letters => Next::Letters {
                until: head.next.min(below),
            },
            Lane::Source { index, is_returned } if is_returned => {
                self.with(index, |one| one.hold_returned(head.number, now()));
                self.note_waiting();
                Next::Held { source: index }
            }
            Lane::Source { index, .. } => Next::Events {
                source: index,
                until: head.next.min(below),
            },
        }
    }

    /// The source whose events are next, and up to which number, if it has several and events are.
    pub(crate) fn next_events(&mut self, below: u64) -> Option<(usize, u64)> {
        let has_several = L::LEN + self.added.len() > 1;
        if !has_several || self.is_shut || self.holding.is_some() || self.aside.is_some() {
            return None;
        }
        let head = self.first_in_line();
        match head.lane {
            Lane::Source { index, is_returned } if !is_returned && head.number < below => {
                Some((index, head.next.min(below)))
            }
            _ => None,
        }
    }

    fn letters_below(&mut self, until: u64) -> Option<Next> {
        let letter = self.letters.look().filter(|number| *number < until);
        letter.map(|_| Next::Letters { until })
    }

    /// What is next because of what waits; `None` if the events at the heads are.
    fn next_waiting(&mut self, below: u64, now: &dyn Fn() -> Instant) -> Option<Next> {
        if self.holding.is_none() && self.aside.is_none() {
            return None;
        }
        let now = now();
        let is_due = |waiting: &(usize, Instant)| waiting.1 <= now;
        if let Some((source, _)) = self.holding.filter(is_due) {
            if self.with(source, |one| one.resume()) != Some(true) {
                return Some(Next::Held { source });
            }
            self.note_waiting();
            return self.next_waiting(below, &|| now);
        }
        if let Some((source, _)) = self.aside.filter(is_due) {
            return Some(Next::Aside { source });
        }
        let (_, held) = self.holding?;
        let due = self.aside.map_or(held, |(_, aside)| aside.min(held));
        Some(self.letters_below(below).unwrap_or(Next::Later(due)))
    }

    /// Reads no event from now on, or does again; letters are read all the same.
    pub(crate) fn shut(&mut self, is_shut: bool) {
        self.is_shut = is_shut;
    }

    /// Compares the heads of all sources. Those that were empty are looked at once more after
    /// the head was seen: what caused it must be visible by now. Whenever that changes the head,
    /// they are looked at again.
    fn first_in_line(&mut self) -> Line {
        let mut line = Line::new();
        self.meet_sources(false, &mut line);
        let mut has_letter = self.meet_letters(&mut line);
        while line.is_new && (line.was_empty || !has_letter) {
            line.is_new = false;
            if line.was_empty {
                line.was_empty = false;
                self.meet_sources(true, &mut line);
            }
            has_letter = has_letter || self.meet_letters(&mut line);
        }
        line
    }

    fn meet_sources(&mut self, again: bool, line: &mut Line) {
        self.fixed.meet(0, again, line);
        for (index, source) in self.added.iter_mut().enumerate() {
            meet(source.as_source(), L::LEN + index, again, line);
        }
    }

    fn meet_letters(&mut self, line: &mut Line) -> bool {
        let number = self.letters.look();
        if let Some(number) = number {
            line.meet(number, Lane::Letters);
        }
        number.is_some()
    }

    /// Arms the bell and looks for the last time. False if there is something to read.
    #[cfg(all(test, shuttle))]
    pub(crate) fn sleep(&mut self, waker: &Waker) -> bool {
        self.sleep_below(u64::MAX, waker)
    }

    /// As `sleep`, for one that reads nothing with a number from this on.
    pub(crate) fn sleep_below(&mut self, below: u64, waker: &Waker) -> bool {
        self.bell.arm(waker);
        let mut asleep = true;
        if self.holding.is_none() && !self.is_shut {
            self.each(|_, source| asleep = asleep && source.sleep(below));
        }
        asleep = asleep
            && self
                .letters
                .look_last()
                .is_none_or(|number| number >= below);
        if !asleep {
            self.bell.disarm();
        }
        asleep
    }

    /// Where somebody may wait for room.
    pub(crate) fn doors(&mut self) -> Vec<Watched>
    where
        B: 'static,
    {
        let mut doors = Vec::with_capacity(1 + L::LEN + self.added.len());
        doors.push(Watched::new(Arc::clone(&self.letters.shared)));
        self.each(|_, source| doors.push(source.door()));
        doors
    }

    /// The mailbox is being read again.
    pub(crate) fn wake(&mut self) {
        self.bell.disarm();
    }

    /// Notes what waits, and until when.
    pub(crate) fn note_waiting(&mut self) {
        let (mut holding, mut aside) = (None, None);
        self.each(|index, source| {
            let dues = source.dues();
            earlier(&mut holding, index, dues.in_place);
            earlier(&mut aside, index, dues.aside);
        });
        (self.holding, self.aside) = (holding, aside);
    }

    /// Follows other rules from now on; `watch` is whom their guards tell.
    pub(crate) fn follow(
        &mut self,
        all: Vec<(TypeId, Arc<Rules>)>,
        watch: &dyn Fn() -> Option<Arc<dyn Watch>>,
    ) {
        if all.is_empty() {
            return;
        }
        for (event, rules) in all {
            self.each(|_, source| {
                if source.event_type() == event {
                    source.follow(&rules, watch);
                }
            });
        }
        self.note_waiting();
    }

    /// The source whose event is in flight.
    pub(crate) fn in_flight(&mut self) -> Option<usize> {
        let mut found = None;
        self.each(|index, source| {
            if source.is_in_flight() {
                found = Some(index);
            }
        });
        found
    }

    /// Whether everything with a number below this is settled, and nothing more will come: the
    /// number was taken after all of it, and senders take theirs under one lock with it.
    pub(crate) fn is_past(&mut self, limit: u64) -> bool {
        let mut past = self.letters.look().is_none_or(|number| number >= limit);
        self.each(|_, source| past = past && source.is_past(limit));
        past
    }

    /// The source of this event type.
    pub(crate) fn source_of(&mut self, event: TypeId) -> Option<usize> {
        let mut found = None;
        self.each(|index, source| {
            if source.event_type() == event {
                found = Some(index);
            }
        });
        found
    }

    /// Adds a source while running.
    pub(crate) fn add(&mut self, source: Box<D>) {
        self.added.push(source);
    }

    /// Ends one subscription: what nobody will handle, by event.
    pub(crate) fn unsubscribe(&mut self, event: TypeId) -> Vec<(&'static str, Vec<u64>)> {
        let mut unread = Vec::new();
        self.each(|_, source| {
            if source.event_type() == event {
                unread.push((source.event_name(), source.close()));
            }
        });
        self.added
            .retain_mut(|source| source.as_source().event_type() != event);
        self.note_waiting();
        unread
    }

    /// Ends all subscriptions: what was not read, by event.
    pub(crate) fn close(&mut self) -> Vec<(&'static str, Vec<u64>)> {
        let mut unread = Vec::new();
        self.each(|_, source| {
            let numbers = source.close();
            if !numbers.is_empty() {
                unread.push((source.event_name(), numbers));
            }
        });
        self.added.clear();
        (self.holding, self.aside) = (None, None);
        unread
    }

    /// Subscribes anew to what the spec says.
    pub(crate) fn reopen(&mut self) {
        let bell = Arc::clone(&self.bell);
        self.fixed.each(0, &mut |_, source| source.reopen(&bell));
    }
}

fn earlier(first: &mut Option<(usize, Instant)>, source: usize, due: Option<Instant>) {
    if let Some(due) = due
        && first.is_none_or(|(_, first)| due < first)
    {
        *first = Some((source, due));
    }
}
