//! One reader's way through a topic.
//!
//! A mailbox owns one per subscription, and asks it what is next; the host reads the event in
//! place while the cursor keeps its block.
//!
//! Invariant: the block of the last event taken stays held until the next one is taken, or the
//! subscription ends, so what is in flight can be read, and pinned, at any time.
//!
//! It never waits, and takes the topic's lock only to cross into another block.

use std::ops::Range;

use crate::crew::Portion;
use crate::event::Event;
use crate::sync::Arc;
use crate::topic::Topic;
use crate::topic::block::{Block, Pinned, Slot};
use crate::topic::place::Place;

#[derive(Debug)]
pub(crate) struct Cursor<E> {
    pub(crate) topic: Arc<Topic<E>>,
    pub(crate) place: Arc<Place<E>>,
    block: Option<Block<E>>,
    /// For one of several workers only: what is its own.
    portion: Option<Box<Portion>>,
    /// The next position to read; the topic may have moved the place on by shedding.
    next: u64,
    /// How far the topic was written when this cursor last looked.
    seen: u64,
    /// The next position and the number of what is there, once seen, if nobody else moves it.
    known: Option<(u64, u64)>,
}

impl<E: Event> Cursor<E> {
    pub(crate) fn new(topic: Arc<Topic<E>>, place: Arc<Place<E>>) -> Self {
        let next = place.position();
        let share = place.terms.share.as_ref();
        let portion = share.map(|share| Box::new(Portion::new(Arc::clone(share))));
        Cursor {
            topic,
            place,
            block: None,
            portion,
            next,
            seen: next,
            known: None,
        }
    }

    /// Looks how far the topic is written; returns the number of the next event, if there is one.
    pub(crate) fn look(&mut self) -> Option<u64> {
        if self.place.is_closed() {
            return None;
        }
        // Most sources are looked at again and again while another one's events are next.
        if let Some((next, number)) = self.known
            && next == self.next
        {
            return Some(number);
        }
        self.seen = self.topic.tail();
        let head = self.head();
        let stays = self.portion.is_none() && !self.place.is_moved;
        self.known = head.filter(|_| stays).map(|number| (self.next, number));
        head
    }

    /// The number of the next event among those seen at the last look.
    pub(crate) fn head(&mut self) -> Option<u64> {
        loop {
            self.catch_up();
            if self.next >= self.seen {
                return None;
            }
            if let Some(slot) = self.block.as_ref().and_then(|block| block.slot(self.next)) {
                let number = slot.stamp.number;
                if self.portion.is_none() || !self.pass() {
                    return Some(number);
                }
                continue;
            }
            // Crossing into another block; if it is gone, it was shed, and the place has moved.
            self.block = self.topic.block(self.next);
            if self.block.is_none() && self.place.position() <= self.next {
                return None;
            }
        }
    }

    /// Whether there is more among those seen at the last look. One of several workers looks anew.
    pub(crate) fn goes_on(&mut self) -> bool {
        self.portion.is_none() && self.head().is_some()
    }

    /// Passes over what is another worker's, as far as this block goes. False if the next event is
    /// this one's.
    fn pass(&mut self) -> bool {
        let Some((block, portion)) = self.block.as_ref().zip(self.portion.as_mut()) else {
            return false;
        };
        let end = self.seen.min(block.end());
        let slots = (self.next..end).map_while(|at| block.slot(at));
        let others = slots.take_while(|slot| !portion.owns(slot.stamp.number, slot.stamp.lane));
        let to = self.next + others.count() as u64;
        // If the topic has moved the place meanwhile, the next look catches up.
        if to > self.next && self.place.pass(self.next, to) {
            self.next = to;
            return true;
        }
        to > self.next
    }

    /// How far a batch may go: a worker's ends before what is another's, or not yet to be read.
    fn batch_end(&mut self) -> u64 {
        let Some(block) = self.block.as_ref() else {
            return self.next;
        };
        let end = self.seen.min(block.end());
        let Some(portion) = &mut self.portion else {
            return end;
        };
        let slots = (self.next..end).map_while(|at| block.slot(at));
        let own = slots.take_while(|slot| portion.may_take(slot.stamp.number, slot.stamp.lane));
        self.next + own.count() as u64
    }

    /// Follows the place over what the topic has shed, or passed over.
    fn catch_up(&mut self) {
        if self.place.is_moved {
            self.next = self.next.max(self.place.position());
        }
    }

    /// Nothing is read any more: what was read last is given back now, and not when this is
    /// dropped, wherever that is.
    pub(crate) fn let_go(&mut self) {
        self.known = None;
        self.block = None;
    }

    /// Splits off what a batch needs at once: the block to read from, and how to move on in it.
    pub(crate) fn split(&mut self) -> Option<(&Block<E>, Steps<'_, E>)> {
        let end = self.batch_end();
        let block = self.block.as_ref()?;
        Some((
            block,
            Steps {
                next: &mut self.next,
                end,
                place: &self.place,
            },
        ))
    }

    /// Splits off what a batch needs whose events are acknowledged one after the other: the block
    /// to read from, where they are, and how to move on.
    pub(crate) fn run(&mut self) -> Option<(&Block<E>, Range<u64>, Run<'_, E>)> {
        let at = self.next..self.batch_end();
        let run = Run {
            next: &mut self.next,
            place: &self.place,
            custody: Custody::None,
            handled: 0,
        };
        Some((self.block.as_ref()?, at, run))
    }

    /// The event taken last, readable until the next one is taken.
    pub(crate) fn taken(&self) -> Option<&Slot<E>> {
        self.block.as_ref()?.slot(self.next.checked_sub(1)?)
    }

    /// The event taken last, kept readable whatever happens to the rest of its topic.
    pub(crate) fn pin_taken(&self) -> Option<Pinned<E>> {
        let taken = self.next.checked_sub(1)?;
        Pinned::new(self.block.clone()?, taken)
    }
}

/// How a batch moves along one block.
pub(crate) struct Steps<'a, E> {
    next: &'a mut u64,
    end: u64,
    place: &'a Place<E>,
}

impl<E> Steps<'_, E> {
    /// Where the next event of the batch is, if the block has one that was seen.
    pub(crate) fn position(&self) -> Option<u64> {
        (*self.next < self.end).then_some(*self.next)
    }

    /// Takes the event at [`Steps::position`] into custody. False if the topic has shed it in the
    /// meantime.
    pub(crate) fn take(&mut self) -> bool {
        self.place.take(self.next)
    }
}

/// What a run has in custody: nothing, or the event that it took last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Custody {
    None,
    /// In a run of the place, which moves on by itself.
    Run,
    /// Of a place that the topic moves too, so that each event is taken by itself.
    One,
}

/// How a batch moves along one block if each event is done before the next one is taken.
///
/// Dropped, as by a panic or a kill, it leaves in flight what it took last and has not settled.
pub(crate) struct Run<'a, E> {
    next: &'a mut u64,
    pub(crate) place: &'a Place<E>,
    custody: Custody,
    /// Of a run of the place, how many were handled. Counted by itself, so that what moves the
    /// place is not what says that the ledger is right.
    handled: u64,
}

impl<E> Run<'_, E> {
    /// The next position to be read.
    fn position(&self) -> u64 {
        match self.custody {
            Custody::Run => self.place.position(),
            Custody::None | Custody::One => *self.next,
        }
    }

    /// How many of these have been taken.
    pub(crate) fn since(&self, left: &Range<u64>) -> u32 {
        // A batch is within one block.
        u32::try_from(self.position().saturating_sub(left.start)).unwrap_or(u32::MAX)
    }

    /// The event taken last was handled: it is acknowledged when the next one is taken, or with
    /// [`Run::settle`]. Nothing that may wait or panic comes between this and either of them.
    #[inline]
    pub(crate) fn note_handled(&mut self) {
        self.handled += 1;
    }

    /// Acknowledges the event before, and takes the next into custody. False if the topic has shed
    /// that in the meantime.
    #[inline]
    pub(crate) fn take(&mut self) -> bool {
        if self.custody == Custody::Run {
            self.place.run_on();
            return true;
        }
        self.begin()
    }

    fn begin(&mut self) -> bool {
        if !self.place.is_moved {
            self.place.begin_run(*self.next);
            self.custody = Custody::Run;
            self.handled = 0;
            return true;
        }
        self.settle();
        let taken = self.place.take(self.next);
        if taken {
            self.custody = Custody::One;
        }
        taken
    }

    /// The event taken last, if any, was handled.
    pub(crate) fn settle(&mut self) {
        match self.custody {
            Custody::None => {}
            Custody::Run => self.end_run(true),
            Custody::One => self.place.settle_done(false),
        }
        self.custody = Custody::None;
    }

    fn end_run(&mut self, done: bool) {
        *self.next = self.place.position();
        self.place.end_run(self.handled, done);
    }
}

impl<E> Drop for Run<'_, E> {
    fn drop(&mut self) {
        if self.custody == Custody::Run {
            self.end_run(false);
        }
    }
}
