//! One event that is to be published at a later time.
//!
//! `publish(..).after(..)` and `.at(..)` make it; the board's agenda says when it is due.
//!
//! Invariant: until it is due the event is in no topic and in no row of the ledger; it is then
//! accepted, or comes back to whoever holds the handle, exactly once.
//!
//! It keeps no board alive and nothing from settling.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::publish::{Publish, PublishError};
use crate::agenda::{Agenda, Entry, Spot};
use crate::event::{Event, EventId};
use crate::insider::InsideOf;
use crate::panic::guard;
use crate::sync::{Arc, Mutex, Weak, lock};

type Outcome<E> = Result<EventId, PublishError<E>>;

/// An event that will be published later; made by [`Publish::after`] and [`Publish::at`].
///
/// Awaiting it waits until the event has been published, and returns its number. Dropping it
/// changes nothing: the event is still published. Only [`cancel`](Self::cancel) takes it back.
///
/// ```
/// # use callboard::{Scheduled, prelude::*};
/// # struct Reminder { order: u64 }
/// # impl Event for Reminder { const NAME: &'static str = "reminder"; }
/// # struct Paid;
/// # impl Event for Paid { const NAME: &'static str = "paid"; }
/// #[derive(Default)]
/// struct Desk { reminder: Option<Scheduled<Reminder>> }
/// # impl Service for Desk {}
/// # impl Desk {
/// fn remind(&mut self, order: u64, cx: &Context<Self>) {
///     self.reminder = Some(cx.publish(Reminder { order }).after(secs(3_600)));
/// }
/// # }
/// impl Handle<Paid> for Desk {
///     async fn handle(&mut self, _: &Paid, _: &mut Context<Self>) -> Outcome {
///         self.reminder.take().map(Scheduled::cancel); // it will not be published
///         Ok(())
///     }
/// }
/// ```
///
/// # Errors
/// As [`Publish`]: [`PublishError::Closed`], with the event, if the board begins to shut down
/// before it is due, and [`PublishError::Full`] if there is no room within 5 s of its time.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub struct Scheduled<E: Event> {
    slot: Arc<Slot<E>>,
    due: Instant,
    agenda: Weak<Agenda>,
    spot: Option<Spot>,
    outcome: Option<oneshot::Receiver<Outcome<E>>>,
}

/// What the handle and the agenda share.
struct Slot<E: Event>(Mutex<State<E>>);

enum State<E: Event> {
    /// Not accepted yet; what waits for room, when it is due, is woken through the waker.
    Open {
        /// A box: what is over is kept for as long as its handle is.
        publish: Box<Publish<E>>,
        done: oneshot::Sender<Outcome<E>>,
        waker: Option<Waker>,
    },
    /// It is being tried at this moment.
    Tried,
    Over,
}

impl<E: Event> Scheduled<E> {
    pub(super) fn new(publish: Publish<E>, due: Instant) -> Self {
        let agenda = Arc::clone(&publish.topic().pulse.agenda);
        let has_event = publish.is_open();
        let (done, outcome) = oneshot::channel();
        let open = State::Open {
            publish: Box::new(publish),
            done,
            waker: None,
        };
        let state = if has_event { open } else { State::Over };
        let slot = Arc::new(Slot(Mutex::new(state)));
        let enter = || agenda.enter(due, Arc::clone(&slot) as Arc<dyn Entry>);
        let spot = has_event.then(enter).flatten();
        Scheduled {
            slot,
            due,
            agenda: Arc::downgrade(&agenda),
            spot,
            outcome: Some(outcome),
        }
    }

    /// When the event is due, by the board's clock.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Whether it is done: the event has been accepted, or has come back.
    pub fn is_done(&self) -> bool {
        matches!(*lock(&self.slot.0), State::Over)
    }

    /// Takes the event back, also while it waits for room. `None` if it is too late: the event has
    /// been accepted, or is just being published, as if the handle had been dropped.
    pub fn cancel(mut self) -> Option<E> {
        let open = self.slot.take(State::Over);
        if let Some((agenda, spot)) = self.agenda.upgrade().zip(self.spot) {
            agenda.cross_out(spot);
        }
        if let Some((mut publish, _, waker)) = open {
            // What polls it finds nothing left and ends.
            if let Some(waker) = waker {
                waker.wake();
            }
            return publish.take_back();
        }
        let outcome = self.outcome.as_mut()?.try_recv().ok()?;
        outcome.err().map(PublishError::into_event)
    }
}

impl<E: Event> Slot<E> {
    /// Takes what is open, and leaves this state.
    #[expect(clippy::type_complexity, reason = "the parts of one variant")]
    fn take(
        &self,
        then: State<E>,
    ) -> Option<(Publish<E>, oneshot::Sender<Outcome<E>>, Option<Waker>)> {
        let mut state = lock(&self.0);
        match std::mem::replace(&mut *state, then) {
            State::Open {
                publish,
                done,
                waker,
            } => Some((*publish, done, waker)),
            before => {
                *state = before;
                None
            }
        }
    }

    /// Tries to publish it, outside the lock. Ready if it is over.
    fn attempt(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((mut publish, done, _)) = self.take(State::Tried) else {
            return Poll::Ready(());
        };
        // Events are dropped in it, which is the user's code: it must not block this thread.
        let _inside = InsideOf::enter(publish.board());
        let Poll::Ready(outcome) = Pin::new(&mut publish).poll(cx) else {
            let waker = Some(cx.waker().clone());
            *lock(&self.0) = State::Open {
                publish: Box::new(publish),
                done,
                waker,
            };
            return Poll::Pending;
        };
        *lock(&self.0) = State::Over;
        if let Some(refused) = tell(done, outcome) {
            lose(&publish.topic().pulse.agenda, refused);
        }
        Poll::Ready(())
    }

    /// Takes the event back and gives it to the handle. True if it was open.
    fn close(&self) -> bool {
        let Some((mut publish, done, waker)) = self.take(State::Over) else {
            return false;
        };
        let _inside = InsideOf::enter(publish.board());
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(event) = publish.take_back() {
            // It is counted by whoever calls it off.
            let _ = guard(|| drop(tell(done, Err(PublishError::Closed { event }))));
        }
        true
    }
}

/// Tells the handle. What was refused comes back if there is none.
fn tell<E>(done: oneshot::Sender<Outcome<E>>, outcome: Outcome<E>) -> Option<PublishError<E>> {
    done.send(outcome).err()?.err()
}

/// An event was refused, and nobody else hears of it. Dropping it here is nobody's failure.
fn lose<E: Event>(agenda: &Agenda, refused: PublishError<E>) {
    if matches!(refused, PublishError::Closed { .. }) {
        agenda.note_called_off();
    } else {
        tracing::warn!(
            target: "callboard::schedule",
            event = E::NAME, error = %refused,
            "a scheduled event was not accepted"
        );
    }
    let _ = guard(move || drop(refused));
}

impl<E: Event> Entry for Slot<E> {
    /// Published in the order in which they are due. What finds no room waits on its own.
    fn fall_due(self: Arc<Self>) {
        let handle = match &*lock(&self.0) {
            State::Open { publish, .. } => publish.topic().pulse.clock.handle(),
            State::Tried | State::Over => return,
        };
        if self
            .attempt(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            let waits = Waits(self);
            handle.spawn(async move { poll_fn(|cx| waits.0.attempt(cx)).await });
        }
    }

    fn call_off(self: Arc<Self>) -> bool {
        self.close()
    }
}

/// An event that is due waits for room. If its task goes, because the board's runtime does, the
/// event comes back.
struct Waits<E: Event>(Arc<Slot<E>>);

impl<E: Event> Drop for Waits<E> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<E: Event> Future for Scheduled<E> {
    type Output = Outcome<E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(outcome) = &mut this.outcome else {
            return Poll::Pending;
        };
        match Pin::new(outcome).poll(cx) {
            Poll::Ready(Ok(outcome)) => {
                this.outcome = None;
                Poll::Ready(outcome)
            }
            // There was no event left to be published: as a future that is polled again.
            Poll::Ready(Err(_)) => {
                this.outcome = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

// The event is moved, never pinned.
impl<E: Event> Unpin for Scheduled<E> {}

impl<E: Event> fmt::Debug for Scheduled<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled")
            .field("event", &E::NAME)
            .field("due", &self.due)
            .field("is_done", &self.is_done())
            .finish()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::time::Duration;

    use super::super::place::{Overflow, Terms};
    use super::super::{Origin, Topic};
    use super::*;
    use crate::bell::Bell;
    use crate::clock::Clock;
    use crate::defaults::PUBLISH_WAIT;
    use crate::dice::Dice;
    use crate::pulse::Pulse;

    struct Tick;
    impl Event for Tick {
        const NAME: &'static str = "tick";
    }

    fn topic() -> Arc<Topic<Tick>> {
        let clock = Clock::new(tokio::runtime::Handle::current());
        Arc::new(Topic::new(Arc::new(Pulse::new(clock, Dice::new(1)))))
    }

    fn publish(topic: &Arc<Topic<Tick>>) -> Publish<Tick> {
        let topic = Arc::clone(topic);
        Publish::new(topic, Tick, Origin::default(), PUBLISH_WAIT, 0)
    }

    fn entries(topic: &Topic<Tick>) -> String {
        format!("{:?}", topic.pulse.agenda)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_what_was_cancelled() {
        let topic = topic();
        let scheduled = publish(&topic).after(Duration::from_secs(60));
        let slot = Arc::downgrade(&scheduled.slot);
        assert_eq!(entries(&topic), "Agenda { entries: 1, closed: false, .. }");
        assert!(scheduled.cancel().is_some());
        assert_eq!(entries(&topic), "Agenda { entries: 0, closed: false, .. }");
        assert!(slot.upgrade().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_what_was_cancelled_while_it_waited_for_room() {
        let topic = topic();
        let terms = Terms {
            service: "full".into(),
            capacity: 1,
            overflow: Overflow::Wait,
            share: None,
        };
        let _place = topic.subscribe(terms, Arc::new(Bell::new()));
        publish(&topic).await.unwrap();
        let scheduled = publish(&topic).after(Duration::from_millis(1));
        let slot = Arc::downgrade(&scheduled.slot);
        topic
            .pulse
            .clock
            .sleep_until(scheduled.due() + Duration::from_millis(1))
            .await;
        assert!(!scheduled.is_done());
        assert_eq!(slot.strong_count(), 2);
        assert!(scheduled.cancel().is_some());
        tokio::task::yield_now().await;
        assert!(slot.upgrade().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_been_published_already_is_not_scheduled() {
        let topic = topic();
        let mut published = publish(&topic);
        (&mut published).await.unwrap();
        let scheduled = published.after(Duration::ZERO);
        assert!(scheduled.is_done());
        assert_eq!(entries(&topic), "Agenda { entries: 0, closed: false, .. }");
        assert!(scheduled.cancel().is_none());
    }
}
