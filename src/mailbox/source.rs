//! One subscription as its reader keeps it: a cursor, and custody of what was taken.
//!
//! The mailbox merges sources; the host runs handlers on what they hold.
//!
//! Invariant: an event that was taken is in flight or deferred until a verdict settles it,
//! whatever becomes of the life that took it.
//!
//! It never runs a handler and does not decide: the verdict is a pure function.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::bell::Bell;
use crate::clock::Look;
use crate::event::{Event, Key};
use crate::mailbox::aside::Aside;
use crate::mailbox::doors::{Door, Watched};
use crate::mailbox::gauge::Watch;
use crate::mailbox::guards::{Guards, Ticket};
use crate::mailbox::held::Held;
use crate::panic::guard;
use crate::policy::{Reason, Report, Rules};
use crate::sync::Arc;
use crate::topic::Topic;
use crate::topic::block::Pinned;
use crate::topic::cursor::Cursor;
use crate::topic::place::{Place, Terms};
use crate::topic::settlement::{Ending, Fate};
use crate::topic::tally::Count;

mod admission;
mod ruling;

pub(crate) use admission::Admission;
pub(crate) use ruling::{Ruling, Setback};

/// When what waits in a source is to be taken up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dues {
    /// Other events of the mailbox wait as well until then.
    pub(crate) in_place: Option<Instant>,
    pub(crate) aside: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Source<E> {
    pub(crate) cursor: Cursor<E>,
    pub(crate) rules: Arc<Rules>,
    /// Whether the rules ask for nothing at each event. Kept, since it is asked for each batch.
    is_lax: bool,
    /// What is being tried again, or followed up.
    /// A box, here and below: where nothing fails, there is none.
    pub(crate) current: Option<Box<Held<E>>>,
    /// What waits in place.
    held: Option<Box<Held<E>>>,
    aside: Aside<E>,
    /// What is in flight in later work, or out to an instance, by the number of that.
    open: BTreeMap<u64, Held<E>>,
    /// Whether its events are handed out to instances per key: whichever fails waits aside.
    is_keyed: bool,
    /// Nothing is read before.
    paused: Option<Instant>,
    /// A box: most subscriptions have none.
    guards: Option<Box<Guards>>,
    /// When the attempt at what is in flight began, where that is worth a look at the clock.
    began: Option<Instant>,
    /// Found nothing when it last looked.
    dry: bool,
    /// Found an event that was given back.
    returned: bool,
}

/// A source whose event type is not known here.
pub(crate) trait AnySource {
    /// Looks what is next: its number, if there is something.
    fn look(&mut self) -> Option<u64>;
    /// Whether the last look found nothing.
    fn is_dry(&self) -> bool;
    /// Whether what the last look found is an event that was given back.
    fn is_returned(&self) -> bool;
    /// Holds the event given back with this number, if it is next of those.
    fn hold_returned(&mut self, number: u64, now: Instant);
    /// When what waits here is to be taken up.
    fn dues(&self) -> Dues;
    /// Takes what is open under this number back into hand. False if it is gone.
    fn take_back(&mut self, work: u64) -> bool;
    /// Lets what was taken back wait, to be taken up again: it has not been begun.
    fn put_back(&mut self, now: Instant);
    /// The attempt at what was taken back began then.
    fn note_first(&mut self, began: Instant);
    /// The number of the oldest event of this key that is not settled, while such events wait for
    /// each other.
    fn line_head(&self, key: &Key) -> Option<u64>;
    /// Whether something is open under this number.
    fn is_open(&self, work: u64) -> bool;
    /// What was taken back was handled.
    fn finish(&mut self, late: bool);
    /// What was taken back is settled after what had to follow it.
    fn conclude(&mut self, reason: Option<Reason>) -> Option<Ruling>;
    /// Ends a pause. False if there is none, but an event that waits in place.
    fn resume(&mut self) -> bool;
    fn is_in_flight(&self) -> bool;
    /// Whether everything with a number below this is settled, and nothing more will come.
    fn is_past(&self, limit: u64) -> bool;
    /// Lists itself as asleep; false if there is something to read with a number below this.
    fn sleep(&self, below: u64) -> bool;
    /// Where publishers wait for room in it.
    fn door(&self) -> Watched;
    /// Settles, or holds, what is in flight after an attempt that did not succeed.
    fn rule(&mut self, setback: Setback) -> Option<Ruling>;
    /// Holds what is in flight, to be taken up first, without counting an attempt.
    fn hand_back(&mut self, now: Instant);
    /// Holds what was in flight in later work, or at instances, which have ended with their life,
    /// without counting an attempt.
    fn hand_back_open(&mut self, now: Instant);
    /// Ends the subscription; returns the numbers of what nobody will handle.
    fn close(&mut self) -> Vec<u64>;
    /// Subscribes anew after an end, from the topic's tail on.
    fn reopen(&mut self, bell: &Arc<Bell>);
    /// Follows other rules from now on; delays that have begun stay.
    fn follow(&mut self, rules: &Arc<Rules>, watch: &dyn Fn() -> Option<Arc<dyn Watch>>);
    fn event_type(&self) -> TypeId;
    fn event_name(&self) -> &'static str;
}

impl<E: Event> Source<E> {
    pub(crate) fn open(
        topic: Arc<Topic<E>>,
        terms: Terms,
        bell: Arc<Bell>,
        rules: Arc<Rules>,
    ) -> Self {
        if rules.needs_time() {
            topic.keep_time();
        }
        let place = topic.subscribe(terms, bell);
        Source {
            cursor: Cursor::new(topic, place),
            is_lax: rules.are_lax(),
            rules,
            current: None,
            held: None,
            aside: Aside::new(),
            open: BTreeMap::new(),
            is_keyed: false,
            paused: None,
            guards: None,
            began: None,
            dry: false,
            returned: false,
        }
    }

    /// Sets up the guards that the rules ask for; `watch` is whom they tell.
    pub(crate) fn guard(&mut self, watch: &dyn Fn() -> Option<Arc<dyn Watch>>) {
        if self.rules.has_guards()
            && let Some(watch) = watch()
        {
            let guards = Guards::new(self.cursor.topic.name, &self.rules, watch);
            self.guards = Some(Box::new(guards));
        }
    }

    /// Whether its events need nothing but their handler.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.is_lax && !self.aside.has_lines()
    }

    /// Whether as many wait aside as may. What is out for its key is among them: it may have to.
    fn is_full(&self) -> bool {
        let out = if self.is_keyed { self.open.len() } else { 0 };
        (self.aside.len() + out) as u64 >= self.cursor.place.terms.capacity
    }

    /// Whether no event may be handed out to its instance for want of room aside.
    fn is_crowded(&self) -> bool {
        self.is_keyed && self.is_full()
    }

    /// Tells the breaker that let an attempt through how it went.
    fn hear(&mut self, ticket: Option<Ticket>, report: Report) {
        let Some(ticket) = ticket else { return };
        let at = self.cursor.topic.pulse.clock.since_start();
        self.hear_at(ticket, report, at);
    }

    fn hear_at(&mut self, ticket: Ticket, report: Report, at: Duration) {
        if ticket.report(report, at) {
            self.let_go();
            self.guards.as_mut().into_iter().for_each(|it| it.go_on());
        }
    }

    /// Whatever guards make wait need not wait longer: they are asked anew.
    fn let_go(&mut self) {
        self.paused = None;
        let now = self.cursor.topic.pulse.clock.now();
        self.aside.let_go(now);
        if let Some(held) = self.held.as_mut().filter(|held| held.is_put_off) {
            held.due = now;
        }
    }

    /// An attempt begins at what was taken last, or taken up: it may be the first.
    pub(crate) fn note_began(&mut self, time: &mut Look<'_>) {
        self.began = self.rules.retry.is_bounded().then(|| time.now());
    }

    /// The event that was taken last was handled.
    pub(crate) fn settle_taken(&mut self, late: bool, time: &mut Look<'_>) {
        self.began = None;
        if let Some(ticket) = self.guards.as_mut().and_then(|it| it.ticket.take()) {
            self.hear_at(ticket, Report::Succeeded, time.since_start());
        }
        let place = &self.cursor.place;
        place.settle_done(late);
        if let Some(slot) = self.cursor.taken() {
            place.report(slot, Ending::after(1, Fate::Acknowledged));
        }
    }

    /// What is in flight is handed out for its key, under this number: those behind it with the
    /// same key wait. Returns the key, and what is known of the event.
    pub(crate) fn open_for_key(&mut self, work: u64, now: Instant) -> Option<(Key, &Held<E>)> {
        let mut held = self.in_custody(now)?;
        self.is_keyed = true;
        let key = match &held.line {
            Some(key) => key.clone(),
            None => {
                let key = held.event.slot().map(|slot| key_of(&slot.event));
                let key = key.unwrap_or_default();
                // One that was given back may find another at the head.
                let heads = self.aside.begin_line(&key, held.number());
                held.line = heads.then(|| key.clone());
                key
            }
        };
        held.is_aside = true;
        self.open.insert(work, held);
        self.open.get(&work).map(|held| (key, held))
    }

    /// What is in flight goes on in later work with this number.
    pub(crate) fn open_up(&mut self, work: u64, now: Instant) {
        if let Some(mut held) = self.begun(now) {
            held.is_later = true;
            self.open.insert(work, held);
        }
    }

    /// What is in flight, out of the hands of whoever handles it.
    fn in_custody(&mut self, now: Instant) -> Option<Held<E>> {
        match self.current.take() {
            Some(held) => Some(*held),
            None => self.taken(now),
        }
    }

    /// As `in_custody`, of what has been begun.
    fn begun(&mut self, now: Instant) -> Option<Held<E>> {
        let began = self.began.take();
        let mut held = self.in_custody(now)?;
        held.first.get_or_insert(began.unwrap_or(now));
        Some(held)
    }

    /// What was taken last, out of the block it is in.
    fn taken(&mut self, now: Instant) -> Option<Held<E>> {
        let event = self.cursor.pin_taken()?;
        let accepted = event.slot().and_then(|slot| slot.stamp.accepted());
        let mut held = Held::new(event, accepted, now);
        held.ticket = self.guards.as_mut().and_then(|it| it.ticket.take());
        Some(held)
    }

    /// Whether the budget allows another retry; that is counted.
    fn may_retry(&self, at: Duration) -> bool {
        let guards = self.guards.as_ref();
        guards.is_none_or(|guards| guards.withdraw(at))
    }

    fn shift(&self, from: Count, to: Count) {
        self.cursor.place.tally.shift(from, to);
    }

    /// Settles what is in flight.
    fn settle(&self, event: &Pinned<E>, count: Count, ending: Ending) {
        self.shift(Count::InFlight, count);
        if let Some(slot) = event.slot() {
            self.cursor.place.report(slot, ending);
        }
    }

    fn move_up(&mut self, line: Option<Key>, now: Instant) {
        let makes_room = line.is_some() || self.is_keyed;
        if let Some(key) = line {
            self.aside.move_up(key, now);
        }
        if makes_room {
            // There may be room aside now. Whatever else it paused for is asked again.
            self.paused = None;
            if let Some(held) = self.held.as_mut().filter(|held| held.is_put_off) {
                held.due = now;
            }
        }
    }
}

/// Where publishers wait for room in one subscription.
struct Entrance<E>(Arc<Topic<E>>, Arc<Place<E>>);

impl<E: Event> Door for Entrance<E> {
    fn taken(&self) -> u64 {
        self.1.position()
    }

    fn announce(&self) {
        self.0.announce_room();
    }
}

/// What an event is about: `Key::None` if it cannot say.
fn key_of<E: Event>(event: &E) -> Key {
    guard(|| event.key()).unwrap_or_default()
}

impl<E: Event> AnySource for Source<E> {
    fn look(&mut self) -> Option<u64> {
        let head = self.cursor.look();
        let returned = self.cursor.place.next_return();
        let next = match (head, returned) {
            (Some(head), Some(returned)) => Some(head.min(returned)),
            (head, returned) => head.or(returned),
        };
        self.dry = next.is_none();
        self.returned = next.is_some() && next == returned;
        next
    }

    fn is_dry(&self) -> bool {
        self.dry
    }

    fn is_returned(&self) -> bool {
        self.returned
    }

    fn hold_returned(&mut self, number: u64, now: Instant) {
        if self.cursor.place.next_return() != Some(number) {
            return;
        }
        let Some(returned) = self.cursor.place.take_return(Count::Deferred) else {
            return;
        };
        let at = self.cursor.topic.pulse.clock.since_start_at(now);
        let mut held = Held::new(returned.event, Some(at), now);
        held.redriven = true;
        held.lapsed = returned.tries;
        self.held = Some(Box::new(held));
    }

    fn dues(&self) -> Dues {
        let held = self.held.as_ref().map(|held| held.due);
        Dues {
            in_place: held.or(self.paused),
            aside: self.aside.due(),
        }
    }

    fn take_back(&mut self, work: u64) -> bool {
        self.current = self.open.remove(&work).map(Box::new);
        self.current.is_some()
    }

    fn put_back(&mut self, now: Instant) {
        let Some(held) = self.current.take() else {
            return;
        };
        if !held.attempts.is_empty() && held.sentence.is_none() {
            // Counted when it was taken up; what only follows an attempt is not.
            let tally = &self.cursor.place.tally;
            tally.change(|tally| tally.take(Count::Retried));
        }
        self.wait(*held, now);
    }

    fn note_first(&mut self, began: Instant) {
        if let Some(held) = &mut self.current {
            held.first.get_or_insert(began);
        }
    }

    fn line_head(&self, key: &Key) -> Option<u64> {
        self.aside.line_head(key)
    }

    fn is_open(&self, work: u64) -> bool {
        self.open.contains_key(&work)
    }

    fn finish(&mut self, late: bool) {
        self.began = None;
        let Some(mut held) = self.current.take() else {
            return;
        };
        self.hear(held.ticket.take(), Report::Succeeded);
        let place = &self.cursor.place;
        place.settle_done(late);
        if let Some(slot) = held.event.slot() {
            place.report(slot, Ending::after(held.next_attempt(), Fate::Acknowledged));
        }
        self.move_up(held.line, held.due);
    }

    fn conclude(&mut self, reason: Option<Reason>) -> Option<Ruling> {
        self.settle_condemned(reason)
    }

    fn resume(&mut self) -> bool {
        self.held.is_none() && self.paused.take().is_some()
    }

    fn is_in_flight(&self) -> bool {
        self.cursor.place.tally.now(Count::InFlight) > self.open.len() as u64
    }

    fn is_past(&self, limit: u64) -> bool {
        let Cursor { topic, place, .. } = &self.cursor;
        let open = [Count::InFlight, Count::Deferred].map(|state| place.tally.now(state));
        open == [0, 0] && topic.is_past(place, limit)
    }

    fn sleep(&self, below: u64) -> bool {
        self.cursor.topic.sleep(&self.cursor.place, below)
    }

    fn door(&self) -> Watched {
        let (topic, place) = (&self.cursor.topic, &self.cursor.place);
        Watched::new(Entrance(Arc::clone(topic), Arc::clone(place)))
    }

    fn rule(&mut self, setback: Setback) -> Option<Ruling> {
        self.judge(setback)
    }

    fn hand_back(&mut self, now: Instant) {
        if !self.is_in_flight() {
            return;
        }
        if let Some(mut held) = self.begun(now) {
            held.lapse();
            self.wait(held, now);
        }
    }

    fn hand_back_open(&mut self, now: Instant) {
        for (_, mut held) in std::mem::take(&mut self.open) {
            held.first.get_or_insert(now);
            held.lapse();
            held.is_aside = true;
            self.wait(held, now);
        }
    }

    fn close(&mut self) -> Vec<u64> {
        let held = self.held.take().map(|held| *held);
        let deferred = held.into_iter().chain(self.aside.drain());
        let deferred = deferred.map(|held| (Count::Deferred, held));
        let open = std::mem::take(&mut self.open).into_values();
        let open = open.map(|held| (Count::InFlight, held));
        let mut numbers = Vec::new();
        for (from, mut held) in deferred.chain(open).collect::<Vec<_>>() {
            self.hear(held.ticket.take(), Report::Void);
            let place = &self.cursor.place;
            place.tally.shift(from, Count::Undelivered);
            if let Some(slot) = held.event.slot() {
                numbers.push(slot.stamp.number);
                place.report(slot, Ending::after(held.counted(), Fate::Undelivered));
            }
        }
        self.paused = None;
        if let Some(guards) = &mut self.guards {
            guards.go_on();
            guards.delist();
        }
        numbers.extend(self.cursor.topic.unsubscribe(&self.cursor.place));
        self.cursor.let_go();
        numbers
    }

    fn reopen(&mut self, bell: &Arc<Bell>) {
        if self.cursor.place.is_closed() {
            let topic = Arc::clone(&self.cursor.topic);
            let terms = self.cursor.place.terms.clone();
            let place = topic.subscribe(terms, Arc::clone(bell));
            self.cursor = Cursor::new(topic, place);
            if let Some(guards) = &self.guards {
                guards.enlist();
            }
        }
    }

    fn follow(&mut self, rules: &Arc<Rules>, watch: &dyn Fn() -> Option<Arc<dyn Watch>>) {
        if self.cursor.place.is_closed() {
            // They are those of the subscription that has taken its place, if any has. Its own are
            // followed when it is open again.
            return;
        }
        if rules.needs_time() {
            self.cursor.topic.keep_time();
        }
        self.rules = Arc::clone(rules);
        self.is_lax = rules.are_lax();
        match &mut self.guards {
            None => self.guard(watch),
            Some(guards) => {
                guards.follow(rules);
                if !rules.has_guards() && guards.ticket.is_none() {
                    guards.delist();
                    self.guards = None;
                }
                self.let_go();
            }
        }
    }

    fn event_type(&self) -> TypeId {
        TypeId::of::<E>()
    }

    fn event_name(&self) -> &'static str {
        self.cursor.topic.name
    }
}
