//! The letters of one service that are out, and may be answered in this turn.
//!
//! The life takes the first; whoever answers it takes the like of it that is next.
//!
//! Invariant: a letter is taken only when its turn has come: in the order of numbers, unless the
//! life has to look at something else first, and as one of the turn's deliveries.
//!
//! It has nothing answered.

use std::any::Any;

use crate::clock::Clock;
use crate::mailbox::letters::Letters;
use crate::message::Message;
use crate::service::letter::{Letter, Sealed, Told};
use crate::service::{Context, Pace, Service};
use crate::topic::tally::Count;

pub(crate) struct Pile<'a, S: Service> {
    pub(crate) letters: &'a mut Letters<Sealed<S>>,
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

    /// Takes the next letter, unless nobody waits for its answer any more.
    pub(crate) fn take(&mut self) -> Option<Sealed<S>> {
        if !self.pace.step(self.clock) {
            return None;
        }
        let letter = self.letters.take(Count::InFlight)?;
        if letter.is_expired() {
            letter.abandon();
            self.letters.settle(Count::Expired);
            return None;
        }
        Some(letter)
    }

    /// The message just told has been handled, and nothing is left to be done after it: the next
    /// one, if it was told as well, and is of the same type.
    pub(crate) fn next_told<M: Message>(&mut self, cx: &mut Context<S>) -> Option<M> {
        // Each has a span of its own, if there is one.
        if cx.is_stirred() || Context::<S>::is_traced() || !self.is_next(cx) {
            return None;
        }
        let (pace, clock) = (&mut self.pace, self.clock);
        let told = self.letters.take_if(Count::Done, |letter| {
            let any: &dyn Any = &*letter;
            if !any.is::<Told<M>>() || !pace.step(clock) {
                return Err(letter);
            }
            let any: Box<dyn Any> = letter;
            Ok(any.downcast::<Told<M>>())
        });
        let Letter {
            number,
            message,
            origin,
            ..
        } = *told?.ok()?;
        cx.begin_next(number, origin.cause());
        Some(message)
    }
}
