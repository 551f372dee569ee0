//! The in-memory log of one event type: written once, read in place.
//!
//! Publishers append under a short lock; each subscriber reads through its own cursor, without
//! a lock but when it crosses into another block or falls asleep.
//!
//! Invariant: a position below `tail` is written, and stays readable until every place has
//! passed its block. An event is accepted by all places or by none.
//!
//! It knows neither services nor handlers, and runs no user code under its lock.

pub(crate) mod batch;
pub(crate) mod block;
pub(crate) mod cursor;
mod line;
mod origin;
pub(crate) mod place;
pub(crate) mod publish;
pub(crate) mod room;
pub(crate) mod schedule;
pub(crate) mod series;
pub(crate) mod settled;
pub(crate) mod settlement;
mod squad;
pub(crate) mod tally;
mod writer;

pub(crate) use origin::Origin;

use std::any::Any;
use std::fmt;
use std::task::Waker;
use std::vec::IntoIter;

use crossbeam_utils::CachePadded;

use crate::bell::Bell;
use crate::crew;
use crate::event::{Event, EventId};
use crate::ledger::{DeliveryRow, TopicRow};
use crate::panic::guard;
use crate::pulse::Pulse;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, fence, lock};
use crate::waits::Waiting;
use block::{Block, Moment, Pinned, Slot, Stamp};
use place::{Place, Returned, Terms};
use room::Queue;
use settlement::{Settlement, Word};
use writer::{Leftovers, Writer};

/// Why an event was not accepted.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// This subscriber has no room. Stalled: a publisher has waited for it in vain already.
    Full {
        service: Arc<str>,
        /// Who is waited for: the worker, if the service has several.
        path: Arc<str>,
        stalled: bool,
    },
    /// The board takes in nothing more.
    Closed,
    /// Others read here than those for whom the publisher is noted to wait: it is to note them.
    OtherReaders,
}

pub(crate) struct Topic<E> {
    pub(crate) name: &'static str,
    tail: CachePadded<AtomicU64>,
    /// Whether a service with several workers reads here, so that publishers ask for the key.
    shared: AtomicBool,
    writer: Mutex<Writer<E>>,
    room: Queue,
    keeps_time: AtomicBool,
    /// Whether an event was ever published here that nobody heard.
    was_unheard: AtomicBool,
    pub(crate) pulse: Arc<Pulse>,
}

impl<E: Event> Topic<E> {
    pub(crate) fn new(pulse: Arc<Pulse>) -> Self {
        Topic {
            name: E::NAME,
            tail: CachePadded::new(AtomicU64::new(0)),
            shared: AtomicBool::new(false),
            writer: Mutex::new(Writer::new()),
            room: Queue::new(),
            keeps_time: AtomicBool::new(false),
            was_unheard: AtomicBool::new(false),
            pulse,
        }
    }

    /// Lists a new reader first and places it after, at the tail: it hears what is published
    /// from now on.
    pub(crate) fn subscribe(&self, terms: Terms, bell: Arc<Bell>) -> Arc<Place<E>> {
        let mut writer = lock(&self.writer);
        let place = writer.open(terms, bell, self.name);
        self.shared.store(writer.is_shared(), Ordering::Relaxed);
        place
    }

    /// Ends a reader's subscription; what it had not read is undelivered. Returns the numbers
    /// of those events.
    pub(crate) fn unsubscribe(&self, place: &Arc<Place<E>>) -> Vec<u64> {
        let (numbers, left) = {
            let mut writer = lock(&self.writer);
            let numbers = writer.close(place);
            self.shared.store(writer.is_shared(), Ordering::Relaxed);
            (numbers, writer.leftovers())
        };
        self.clear(left);
        self.room.let_go();
        self.pulse.ran_dry();
        numbers
    }

    /// Appends an event for all places, or refuses it for all. Never waits.
    pub(crate) fn offer(
        &self,
        event: E,
        origin: &Origin,
        watch: Option<&Arc<Settlement>>,
    ) -> Result<EventId, (E, Refusal)> {
        let (mut writer, lane) = self.lock_to_write(|| lane_of(&event));
        // Within the lock, so that whoever has it is somebody for whom the publisher waits.
        if watch.is_some_and(|watch| !watch.is_noted_at(writer.version())) {
            return Err((event, Refusal::OtherReaders));
        }
        if let Err(refusal) = self.admit(&mut writer, origin) {
            return Err((event, refusal));
        }
        let number = self.pulse.next_number();
        let lane = lane.unwrap_or_else(|| writer.next_lane());
        if !writer.count_published(number, lane) {
            drop(writer);
            if let Some(watch) = watch {
                let word = watch.expect(std::iter::empty());
                word.into_iter().for_each(Word::say);
            }
            self.pass_unheard(event);
            return Ok(EventId::new(number));
        }
        if let Some(watch) = watch {
            writer.expect(watch, number, lane);
        }
        self.write(&mut writer, number, lane, event, origin, watch);
        writer.wake();
        let left = writer.leftovers();
        drop(writer);
        self.clear(left);
        Ok(EventId::new(number))
    }

    /// As [`Topic::offer`] for at most so many of these events, one after the other, under one
    /// lock. Those that are accepted are taken out, and their numbers noted; a refusal is of the
    /// first that is left. There must be room for the numbers.
    pub(crate) fn offer_some(
        &self,
        events: &mut IntoIter<E>,
        origin: &Origin,
        accepted: &mut Vec<EventId>,
        most: usize,
    ) -> Option<Refusal> {
        let (mut unheard, mut refusal) = (Vec::new(), None);
        let most = most.min(events.len());
        let first = events.as_slice().get(..most).unwrap_or_default();
        let lanes = || first.iter().map(lane_of).collect::<Vec<_>>();
        let (mut writer, lanes) = self.lock_to_write(lanes);
        let mut lanes = lanes.into_iter();
        let tail = writer.tail;
        for _ in 0..most {
            if let Err(refused) = self.admit(&mut writer, origin) {
                refusal = Some(refused);
                break;
            }
            let Some(event) = events.next() else { break };
            let number = self.pulse.next_number();
            accepted.push(EventId::new(number));
            let lane = lanes.next().flatten();
            let lane = lane.unwrap_or_else(|| writer.next_lane());
            if writer.count_published(number, lane) {
                self.write(&mut writer, number, lane, event, origin, None);
                if writer.is_shared() {
                    // Each event wakes the worker whose it is, and is passed over for the others.
                    writer.wake();
                }
            } else {
                unheard.push(event);
            }
        }
        // Nobody falls asleep while the lock is held, so waking them once is enough. They must not
        // be woken for nothing: falling asleep again wakes whoever waits for room, and so on.
        if writer.tail > tail && !writer.is_shared() {
            writer.wake();
        }
        let left = writer.leftovers();
        drop(writer);
        unheard
            .into_iter()
            .for_each(|event| self.pass_unheard(event));
        self.clear(left);
        refusal
    }

    /// Nobody hears this event. The first time the log tells: a subscription may be missing.
    fn pass_unheard(&self, event: E) {
        if !self.was_unheard.swap(true, Ordering::Relaxed) {
            tracing::debug!(
                target: "callboard::board",
                event = self.name,
                "published, and no service subscribes to it: it is counted as unheard"
            );
        }
        // Nobody's failure, whatever its `drop` does.
        let _ = guard(move || drop(event));
    }

    /// Checks that an event of this origin is taken in now, and that all places have room.
    fn admit(&self, writer: &mut Writer<E>, origin: &Origin) -> Result<(), Refusal> {
        if !self.pulse.accepts(origin.is_insider()) {
            return Err(Refusal::Closed);
        }
        writer.admit()
    }

    /// Writes an event that has been admitted, and shows it to the readers.
    fn write(
        &self,
        writer: &mut Writer<E>,
        number: u64,
        lane: u64,
        event: E,
        origin: &Origin,
        watch: Option<&Arc<Settlement>>,
    ) {
        writer.accept(number, lane);
        let at = self.moment();
        writer.append(|| Slot {
            stamp: Stamp {
                number,
                lane,
                byline: origin.byline(),
                span: origin.span().cloned(),
                watch: watch.cloned(),
                at,
            },
            event,
        });
        self.tail.store(writer.tail, Ordering::Release);
    }

    /// Locks the topic for events, whose lanes are found first if several workers share it: their
    /// keys are the user's code. By default they have none.
    fn lock_to_write<T: Default>(
        &self,
        lanes: impl FnOnce() -> T,
    ) -> (MutexGuard<'_, Writer<E>>, T) {
        if !self.shared.load(Ordering::Relaxed) {
            let writer = lock(&self.writer);
            // They may have come in the meantime.
            if !writer.is_shared() {
                return (writer, T::default());
            }
        }
        let lanes = lanes();
        (lock(&self.writer), lanes)
    }

    /// Notes from now on when each event is published: somebody wants to know how old it is.
    pub(crate) fn keep_time(&self) {
        self.keeps_time.store(true, Ordering::Release);
    }

    /// A look at the clock, if somebody wants to know.
    fn moment(&self) -> Moment {
        if !self.keeps_time.load(Ordering::Acquire) {
            return Moment::default();
        }
        Moment::new(self.pulse.clock.since_start())
    }

    /// Does what is left, outside the lock: an event's drop is the user's code, and waking another
    /// thread may take a system call.
    #[inline]
    fn clear(&self, left: Option<Leftovers<E>>) {
        if let Some(left) = left {
            self.clear_up(left);
        }
    }

    fn clear_up(&self, left: Leftovers<E>) {
        let Leftovers {
            freed,
            mut woken,
            words,
            shedding,
        } = left;
        // Readers first: the drop of a user's event may take long, or wait for one of them.
        if !woken.is_empty() {
            for place in woken.drain(..) {
                place.bell.ring();
            }
            lock(&self.writer).keep_spare(woken);
        }
        words.into_iter().for_each(Word::say);
        for place in shedding {
            place.tell_of_shedding(self.name);
        }
        drop(freed);
    }

    /// Whether anybody hears an event published now.
    pub(crate) fn has_readers(&self) -> bool {
        lock(&self.writer).has_readers()
    }

    /// The paths of all who hear an event published now, and the version of that list.
    pub(crate) fn readers(&self) -> (Vec<Arc<str>>, u64) {
        let writer = lock(&self.writer);
        (writer.readers(), writer.version())
    }

    /// The open places, for tests that look behind the counters.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn places(&self) -> Vec<Arc<Place<E>>> {
        lock(&self.writer).open_places()
    }

    /// How far the log is written.
    pub(crate) fn tail(&self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }

    /// The live block that holds `position`, if it has not been freed.
    pub(crate) fn block(&self, position: u64) -> Option<Block<E>> {
        lock(&self.writer).find(position).cloned()
    }

    /// Lists `place` as asleep unless there is something for it to read with a number below this.
    /// True if it may sleep.
    pub(crate) fn sleep(&self, place: &Arc<Place<E>>, below: u64) -> bool {
        let (may_sleep, left) = {
            let mut writer = lock(&self.writer);
            let may_sleep = writer.sleep(place, below);
            writer.free_read();
            (may_sleep, writer.leftovers())
        };
        self.clear(left);
        // Asleep, it makes no more room: let those who wait for it look once more.
        if may_sleep {
            self.announce_room();
        }
        may_sleep
    }

    /// Wakes publishers who wait for room, if any. Called by readers after they have moved on.
    pub(crate) fn announce_room(&self) {
        // Orders the reader's position before the look at the count of waiters; a publisher
        // orders its count before its look at the position.
        fence(Ordering::SeqCst);
        self.room.let_go_if_any();
    }

    /// Registers `waker` to hear of room. False if there is room now (or the board has closed).
    /// Until it hears of it, or gives up its place, `waiting` goes on.
    pub(crate) fn wait_for_room(
        &self,
        ticket: u64,
        waker: &Waker,
        insider: bool,
        waiting: Option<Waiting>,
    ) -> bool {
        self.room.enter(ticket, waker, waiting);
        fence(Ordering::SeqCst);
        let full = {
            let mut writer = lock(&self.writer);
            self.pulse.accepts(insider) && writer.admit_waits().is_err()
        };
        if !full {
            self.room.leave(ticket);
        }
        full
    }

    /// Whether the holder of `ticket` is noted as waiting for room.
    pub(crate) fn is_waiting(&self, ticket: u64) -> bool {
        self.room.is_waiting(ticket)
    }

    /// A ticket for [`Topic::wait_for_room`].
    pub(crate) fn room_ticket(&self) -> u64 {
        self.room.ticket()
    }

    /// Whether a reader has nothing below this number to read any more, and never will have.
    pub(crate) fn is_past(&self, place: &Place<E>, limit: u64) -> bool {
        lock(&self.writer).is_past(place, limit)
    }

    /// The holder of `ticket` no longer waits.
    pub(crate) fn leave_room(&self, ticket: u64) {
        self.room.leave(ticket);
    }

    /// Notes that a publisher has waited in vain: until the reader has caught up to half its
    /// capacity, further publishers do not wait for it.
    pub(crate) fn mark_stalled(&self) {
        lock(&self.writer).mark_stalled();
    }

    /// Gives a failed event back to the reader that failed it, or to the worker whose it is now, as
    /// a new accepted delivery. It has been begun so often before.
    pub(crate) fn redrive(
        &self,
        place: &Arc<Place<E>>,
        event: Pinned<E>,
        tries: u32,
    ) -> Option<EventId> {
        let (number, owner) = {
            let writer = lock(&self.writer);
            if !self.pulse.accepts(false) {
                return None;
            }
            let number = self.pulse.next_number();
            let lane = event.slot().map_or(0, |slot| slot.stamp.lane);
            let owner = writer.owner(place, number, lane);
            if owner.is_closed() {
                return None;
            }
            owner.give_back(Returned {
                number,
                event,
                tries,
            });
            (number, owner)
        };
        owner.bell.ring();
        Some(EventId::new(number))
    }
}

/// The lane of an event among workers, if it has a key.
fn lane_of<E: Event>(event: &E) -> Option<u64> {
    crew::lane(&guard(|| event.key()).unwrap_or_default())
}

impl<E> fmt::Debug for Topic<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.name)
    }
}

/// A topic whose event type is not known here.
pub(crate) trait AnyTopic: Any + Send + Sync {
    fn name(&self) -> &'static str;
    fn row(&self) -> TopicRow;
    fn delivery_rows(&self, rows: &mut Vec<DeliveryRow>);
    /// One row for each worker of a service.
    fn worker_rows(&self, rows: &mut Vec<DeliveryRow>);
    /// Adds the row of a service that has ended to the row of this name.
    fn fold(&self, service: &str, into: &Arc<str>);
    /// The first place, from this one on and round to it again, at which something is certainly
    /// queued, in flight or deferred. None where several workers share the topic.
    fn open_from(&self, place: u64) -> Option<u64>;
    /// All that was ever accepted, if nothing of it is queued, in flight or deferred; else a place
    /// at which something is.
    fn settled(&self) -> Result<u64, u64>;
    /// Wakes everybody who waits for room, because the board's phase has changed.
    fn phase_changed(&self);
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<E: Event> AnyTopic for Topic<E> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn row(&self) -> TopicRow {
        lock(&self.writer).row(self.name)
    }

    fn delivery_rows(&self, rows: &mut Vec<DeliveryRow>) {
        lock(&self.writer).delivery_rows(rows);
    }

    fn worker_rows(&self, rows: &mut Vec<DeliveryRow>) {
        lock(&self.writer).worker_rows(rows);
    }

    fn open_from(&self, place: u64) -> Option<u64> {
        lock(&self.writer).open_from(place)
    }

    fn settled(&self) -> Result<u64, u64> {
        lock(&self.writer).settled()
    }

    fn fold(&self, service: &str, into: &Arc<str>) {
        lock(&self.writer).fold(service, into);
    }

    fn phase_changed(&self) {
        self.room.let_go();
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
