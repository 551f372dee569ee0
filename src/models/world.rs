//! What the models of the real topic and mailbox are made of: a pulse, a sleeper, publishers.
//!
//! Invariant: nothing here waits but [`Signal::wait`], so a lost wake-up shows as a deadlock.

use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};

use shuttle::sync::{Condvar, Mutex};
use tokio::runtime::{Builder, Runtime};

use crate::clock::Clock;
use crate::dice::Dice;
use crate::event::Event;
use crate::mailbox::bundle::{AnyBundle, Bundle, Bundled};
use crate::mailbox::letters::{Letterbox, Unsent};
use crate::pulse::Pulse;
use crate::sync::{Ordering, fence};
use crate::topic::place::{Overflow, Terms};
use crate::topic::{Origin, Refusal, Topic};

/// Schedules of each model in the default tests, which add up to more than 100,000, and in the
/// others.
pub(super) const FEW: usize = 20_000;
pub(super) const MANY: usize = 200_000;

/// Runs a model in so many random schedules, half of them with few preemptions. A failure
/// prints its schedule.
pub(super) fn check(schedules: usize, model: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(model, schedules / 2);
    shuttle::check_pct(model, schedules - schedules / 2, 3);
}

pub(super) fn pulse() -> Arc<Pulse> {
    // Outside the schedules: no thread of a model is ever inside it.
    static TIME: OnceLock<Runtime> = OnceLock::new();
    let time = TIME.get_or_init(|| Builder::new_current_thread().enable_time().build().unwrap());
    Arc::new(Pulse::new(Clock::new(time.handle().clone()), Dice::new(1)))
}

pub(super) fn terms(service: &str, capacity: u64, overflow: Overflow) -> Terms {
    Terms {
        service: service.into(),
        capacity,
        overflow,
        share: None,
    }
}

/// Where one thread of a model sleeps.
pub(super) struct Signal {
    woken: Mutex<bool>,
    heard: Condvar,
}

impl Signal {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Signal {
            woken: Mutex::new(false),
            heard: Condvar::new(),
        })
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    pub(super) fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.heard.wait(woken).unwrap();
        }
        *woken = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.heard.notify_one();
    }
}

/// Publishes, and waits for room, as `Publish` does.
pub(super) fn publish<E: Event>(topic: &Topic<E>, mut event: E) -> u64 {
    let (signal, ticket) = (Signal::new(), topic.room_ticket());
    let waker = signal.waker();
    loop {
        match topic.offer(event, &Origin::default(), None) {
            Ok(id) => {
                topic.leave_room(ticket);
                return id.number();
            }
            Err((back, Refusal::Full { .. })) => event = back,
            Err((_, refusal)) => panic!("nobody has closed the board: {refusal:?}"),
        }
        if topic.wait_for_room(ticket, &waker, false, None) {
            signal.wait();
        }
    }
}

/// Publishes a batch, and waits for room, as `PublishAll` does.
pub(super) fn publish_all<E: Event>(topic: &Topic<E>, events: Vec<E>) {
    let (signal, ticket) = (Signal::new(), topic.room_ticket());
    let waker = signal.waker();
    let mut numbers = Vec::with_capacity(events.len());
    let mut events = events.into_iter();
    while !events.as_slice().is_empty() {
        match topic.offer_some(&mut events, &Origin::default(), &mut numbers, 8) {
            None => {}
            Some(Refusal::Full { .. }) => {
                if topic.wait_for_room(ticket, &waker, false, None) {
                    signal.wait();
                }
            }
            Some(refusal) => panic!("nobody has closed the board: {refusal:?}"),
        }
    }
    topic.leave_room(ticket);
    assert!(numbers.is_sorted(), "{numbers:?}");
}

/// A letter, and the number that it was given.
#[derive(Debug)]
pub(super) struct Card<T> {
    number: u64,
    pub(super) letter: T,
}

/// Where all letters are cards of one type.
pub(super) type Cards<T> = Bundle<Card<T>>;

impl<T> Card<T> {
    pub(super) fn new(letter: T) -> Self {
        Card { number: 0, letter }
    }
}

impl<T: 'static> Bundled<Cards<T>> for Card<T> {
    fn wrap(bundle: Box<Cards<T>>) -> Box<Cards<T>> {
        bundle
    }

    fn among(bundle: &mut Cards<T>) -> Option<&mut Cards<T>> {
        Some(bundle)
    }

    fn enter(&mut self, number: u64) {
        self.number = number;
    }
}

impl<T> AnyBundle for Cards<T> {
    type Item = Card<T>;

    fn head(&self) -> Option<u64> {
        self.first().map(|card| card.number)
    }

    fn take(&mut self) -> Option<Card<T>> {
        self.pop()
    }

    fn is_small(&self) -> bool {
        self.is_small()
    }
}

/// Sends a letter, and waits for room, as an inbox does. False once it is closed.
pub(super) fn send<T: 'static>(letters: &Letterbox<Cards<T>>, pulse: &Pulse, letter: T) -> bool {
    let signal = Signal::new();
    let (waker, ticket) = (signal.waker(), letters.room.ticket());
    let card = Card::new(letter);
    let accepted = loop {
        match letters.enter(pulse, false) {
            Ok(room) => {
                room.put(pulse, card);
                break true;
            }
            Err(Unsent::Closed) => break false,
            Err(Unsent::Full) => {}
        }
        letters.room.enter(ticket, &waker, None);
        fence(Ordering::SeqCst);
        if letters.has_room() == Some(false) {
            signal.wait();
        }
    };
    letters.room.leave(ticket);
    if accepted {
        letters.ring();
    }
    accepted
}
