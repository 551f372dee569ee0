//! The letters of one service that are out, and may be answered in this turn.
//!
//! The life looks at the first; whoever answers it takes it, and the like of it that is next.
//!
//! Invariant: a letter is taken only when its turn has come: in the order of numbers, unless the
//! life has to look at something else first, and as one of the turn's deliveries.
//!
//! It has nothing answered.

use crate::clock::Clock;
use crate::mailbox::letters::Letters;
use crate::message::Message;
use crate::service::letter::{AnyLetter, Enclosed, Sealed, Told};
use crate::service::mail::{How, Mail};
use crate::service::{Answer, Context, Pace, Service};
use crate::topic::tally::Count;

pub(crate) struct Pile<'a, S: Service> {
    pub(crate) letters: &'a mut Letters<dyn Mail<S>>,
    /// Letters with numbers from this on are not next.
    pub(crate) until: u64,
    pub(crate) pace: &'a mut Pace,
    pub(crate) clock: &'a Clock,
}

impl<S: Service> Pile<'_, S> {
    /// Whether a letter is to be answered before anything else.
    pub(crate) fn is_next(&self, cx: &Context<S>) -> bool {
        self.letters.head().is_some_and(|head| head < self.until) && !cx.is_interrupted()
    }

    /// The turn of the first letter has come: how it is answered; nothing if nobody waits for its
    /// answer any more.
    pub(crate) fn begin(&mut self) -> Option<How<S>> {
        if !self.pace.step(self.clock) {
            return None;
        }
        let front = self.letters.front()?;
        if front.first().is_some_and(AnyLetter::is_expired) {
            self.give_up();
            return None;
        }
        Some(front.how())
    }

    pub(crate) fn first(&self) -> Option<&(dyn AnyLetter<S> + 'static)> {
        self.letters.front()?.first()
    }

    /// Takes the first letter, whose turn has come, if it is of this type.
    pub(crate) fn take<L: Enclosed<S>>(&mut self) -> Option<L> {
        self.letters.take_if(Count::InFlight, |_| true)
    }

    /// Takes out the first letter, whatever it is, unless nobody waits for its answer any more.
    pub(crate) fn take_out(&mut self) -> Option<Sealed<S>> {
        self.begin()?;
        self.letters.take(Count::InFlight)
    }

    #[cold]
    fn give_up(&mut self) {
        if let Some(letter) = self.letters.take(Count::InFlight) {
            letter.abandon();
            self.letters.settle(Count::Expired);
        }
    }

    /// The message just told has been handled, and nothing is left to be done after it: the next
    /// one, if it was told as well, and is of the same type.
    pub(crate) fn next_told<M: Message>(&mut self, cx: &mut Context<S>) -> Option<M>
    where
        S: Answer<M>,
    {
        // Each has a span of its own, if there is one.
        if cx.is_stirred() || Context::<S>::is_traced() || cx.is_interrupted() {
            return None;
        }
        let (until, pace, clock) = (self.until, &mut self.pace, self.clock);
        let is_next = |next: &Told<M>| next.number < until && pace.step(clock);
        let told = self.letters.take_if(Count::Done, is_next)?;
        cx.begin_next(told.number, told.origin.cause());
        Some(told.message)
    }
}
