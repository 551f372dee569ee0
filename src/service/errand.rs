//! One event or letter on its way to the instance of its key.
//!
//! Sources hand them out to a per-key life; an instance runs them, one after the other.
//!
//! Invariant: an event that is out on an errand is open in its source, so it is never lost with
//! the instance.
//!
//! It settles nothing: its end does, which the life hears of.

use std::any::TypeId;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::clock::{Clock, Look, by};
use crate::event::{Event, Key};
use crate::failure::Outcome;
use crate::mailbox::held::{Sentence, Try};
use crate::mailbox::source::{Admission, Ruling, Source};
use crate::panic::guard;
use crate::policy::{Reason, Rules};
use crate::service::attempt::{Allowance, End, Fault, attempt};
use crate::service::deliver::{Work, follow, follow_failure};
use crate::service::letter::{Sealed, Unanswered, answer};
use crate::service::pace::Pace;
use crate::service::{Context, Handle, Service};
use crate::sync::Arc;
use crate::topic::block::Pinned;

/// How an errand ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Handled {
        late: bool,
    },
    Failed(Fault),
    /// It came to its turn too late, and was not tried.
    TooLate,
    /// What had to follow an event that is given up was done, or could not be.
    FollowedUp(Option<Reason>),
    /// With what was wrong, if the answer was a failure.
    Answered(Option<Unanswered>),
}

impl Ended {
    /// Whether a verdict follows, which may be against whoever ran it.
    pub(crate) fn is_judged(&self) -> bool {
        matches!(self, Ended::Failed(_) | Ended::FollowedUp(_))
    }
}

/// An errand whose event or message is not known here.
pub(crate) trait Errand<S: Service> {
    fn run<'a>(
        self: Box<Self>,
        service: &'a mut S,
        cx: &'a mut Context<S>,
    ) -> Pin<Box<dyn Future<Output = Ended> + 'a>>;
    /// It will not be run. Returns the letter, if it is about one; an event is open in its source.
    fn into_letter(self: Box<Self>) -> Option<Sealed<S>>;
}

/// An errand, and what it is about.
pub(crate) struct Handed<S: Service> {
    pub(crate) key: Key,
    /// The number of its event or letter.
    pub(crate) number: u64,
    /// The number under which its event is open.
    pub(crate) work: u64,
    /// The event's type; `None` for a letter.
    pub(crate) event: Option<TypeId>,
    /// Whether it matters when it is begun.
    pub(crate) is_timed: bool,
    pub(crate) errand: Box<dyn Errand<S>>,
}

impl<S: Service> Handed<S> {
    /// It is lost: whoever asked hears so. Returns its number.
    pub(crate) fn lose(self) -> u64 {
        let work = self.work;
        // Its message is the user's.
        let _ = guard(move || drop(self));
        work
    }
}

/// What sources hand out to.
pub(crate) struct Tray<'a, S: Service> {
    pub(crate) out: Vec<Handed<S>>,
    pub(crate) next: &'a mut u64,
    pub(crate) clock: &'a Clock,
    /// How many more may be handed out.
    pub(crate) room: usize,
    /// How much more may be done in this turn.
    pub(crate) pace: &'a mut Pace,
    /// Whether an event that others may wait for is over without having been handed out.
    pub(crate) has_lapsed: bool,
}

impl<S: Service> Tray<'_, S> {
    /// Whether another may be looked at.
    fn step(&mut self) -> bool {
        self.room > 0 && self.pace.step(self.clock)
    }
}

struct EventErrand<E> {
    event: Pinned<E>,
    what: Try,
    /// No attempt at it has begun.
    is_new: bool,
    accepted: Option<Duration>,
    rules: Arc<Rules>,
    sentence: Option<Box<Sentence>>,
}

/// Hands out from one source, as long as there is something, and room, and the turn goes on.
pub(crate) fn hand_out<S: Handle<E>, E: Event>(
    source: &mut Source<E>,
    work: Work,
    tray: &mut Tray<'_, S>,
) -> Result<(), Box<Ruling>> {
    let mut time = Look::at(tray.clock);
    match work {
        Work::Events { until } => {
            while tray.step() {
                // Finding out its key has run the user's code.
                time.forget();
                match source.admit(until, &mut time) {
                    Admission::Taken => hand_out_current(source, tray),
                    Admission::Passed => {}
                    Admission::Ruled(ruling) => return Err(ruling),
                    Admission::Nothing => break,
                }
            }
        }
        Work::Held | Work::Aside if tray.step() => {
            let taken = source.take_up(matches!(work, Work::Aside), &mut time);
            tray.has_lapsed = matches!(taken, Admission::Ruled(_) | Admission::Passed);
            match taken {
                Admission::Taken => hand_out_current(source, tray),
                Admission::Ruled(ruling) => return Err(ruling),
                Admission::Passed | Admission::Nothing => {}
            }
        }
        Work::Held | Work::Aside | Work::Finished => {}
    }
    Ok(())
}

/// Hands out what is in flight.
fn hand_out_current<S: Handle<E>, E: Event>(source: &mut Source<E>, tray: &mut Tray<'_, S>) {
    *tray.next += 1;
    let rules = Arc::clone(&source.rules);
    let work = *tray.next;
    let Some((key, held)) = source.open_for_key(work, tray.clock.now()) else {
        return;
    };
    tray.room = tray.room.saturating_sub(1);
    tray.out.push(Handed {
        key,
        number: held.number(),
        work,
        event: Some(TypeId::of::<E>()),
        is_timed: rules.retry.is_bounded(),
        errand: Box::new(EventErrand {
            event: held.event.clone(),
            what: held.next_try(),
            is_new: held.is_new(),
            accepted: held.accepted,
            rules,
            sentence: held.sentence.clone(),
        }),
    });
}

impl<S: Handle<E>, E: Event> Errand<S> for EventErrand<E> {
    fn run<'a>(
        self: Box<Self>,
        service: &'a mut S,
        cx: &'a mut Context<S>,
    ) -> Pin<Box<dyn Future<Output = Ended> + 'a>> {
        Box::pin(async move {
            match self.sentence {
                Some(_) => self.follow_up(cx).await,
                None => self.handle(service, cx).await,
            }
        })
    }

    fn into_letter(self: Box<Self>) -> Option<Sealed<S>> {
        None
    }
}

impl<E: Event> EventErrand<E> {
    async fn handle<S: Handle<E>>(&self, service: &mut S, cx: &mut Context<S>) -> Ended {
        let Some(slot) = self.event.slot() else {
            return Ended::Handled { late: false };
        };
        let clock = cx.wall.pulse.clock.clone();
        let mut time = Look::at(&clock);
        let is_first = self.is_new && !self.what.redriven;
        let is_dated = self.rules.needs_time();
        if is_dated && (self.rules).is_too_late(self.accepted, time.since_start(), is_first) {
            return Ended::TooLate;
        }
        let allowance = Allowance::of(&self.rules, self.accepted, &mut time);
        let until = allowance.map(|allowance| allowance.until);
        cx.begin::<E>(&slot.stamp, self.what, until);
        let done = async {
            let end = attempt(slot, allowance, service, cx, &mut time).await?;
            if end == End::Later {
                finish_here(allowance, service, cx, &clock).await?;
            }
            follow(&self.rules, slot, service, cx).await?;
            Ok(Ended::Handled {
                late: end == End::Late,
            })
        };
        done.await.unwrap_or_else(Ended::Failed)
    }

    async fn follow_up<S: Handle<E>>(&self, cx: &mut Context<S>) -> Ended {
        let (Some(slot), Some(sentence)) = (self.event.slot(), &self.sentence) else {
            return Ended::FollowedUp(None);
        };
        cx.begin_follow_up::<E>(&slot.stamp, self.what);
        Ended::FollowedUp(follow_failure(&self.rules, slot, sentence, cx).await)
    }
}

/// Does what the handler has asked to be done later, while its instance waits.
async fn finish_here<S: Service>(
    allowance: Option<Allowance>,
    service: &mut S,
    cx: &mut Context<S>,
    clock: &Clock,
) -> Result<(), Fault> {
    let until = allowance.map(|allowance| allowance.until);
    let done = by(clock, until, finish_all(service, cx)).await;
    Fault::of(done, allowance)
}

/// Does what has been asked to be done later, and what that asks, here and now.
pub(crate) async fn finish_all<S: Service>(service: &mut S, cx: &mut Context<S>) -> Outcome {
    while cx.laters.is_asked() {
        // Taken one by one: what is left when one fails is buried.
        let mut asked = cx.laters.take_asked();
        asked.reverse();
        while let Some(future) = asked.pop() {
            future.await.run(service, cx).await?;
        }
    }
    cx.publish_follow_ups().await
}

/// A letter for the instance of its key.
pub(crate) struct LetterErrand<S: Service>(pub(crate) Sealed<S>);

impl<S: Service> LetterErrand<S> {
    /// What its message is about: `Key::None` if it cannot say.
    pub(crate) fn key(&self) -> Key {
        guard(|| self.0.key()).unwrap_or_default()
    }
}

impl<S: Service> Errand<S> for LetterErrand<S> {
    fn run<'a>(
        self: Box<Self>,
        service: &'a mut S,
        cx: &'a mut Context<S>,
    ) -> Pin<Box<dyn Future<Output = Ended> + 'a>> {
        Box::pin(async move {
            let LetterErrand(letter) = *self;
            if letter.is_expired() {
                letter.abandon();
                return Ended::TooLate;
            }
            let then = async |service: &mut S, cx: &mut Context<S>| finish_all(service, cx).await;
            let answered = answer(letter, service, cx, then).await;
            Ended::Answered(answered.and_then(Result::err))
        })
    }

    fn into_letter(self: Box<Self>) -> Option<Sealed<S>> {
        Some(self.0)
    }
}
