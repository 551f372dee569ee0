//! Workers in random schedules: events and letters, shared by key, while their number changes.
//!
//! Invariant: what has one key is handled in the order in which it was published and sent, each
//! once, whoever has it; nobody waits for ever; and the topic's count of what is whose agrees with
//! what the workers have taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use super::mailbox::deliver;
use super::world::{Card, Cards, FEW, MANY, Signal, check, publish, pulse, terms};
use crate::bell::Bell;
use crate::crew::{self, Crew, Share};
use crate::event::{Event, Key};
use crate::mailbox::letters::{Letterbox, Letters};
use crate::mailbox::source::Source;
use crate::mailbox::{AsSource, End, Mailbox, Next, Then};
use crate::policy::Policy;
use crate::pulse::Pulse;
use crate::topic::place::Overflow;
use crate::topic::tally::Count;
use crate::topic::{AnyTopic, Topic};

/// Something about a key, and which of the things about it this is.
#[derive(Clone, Copy)]
struct Thing(u64, u64);

impl Event for Thing {
    const NAME: &'static str = "thing";

    fn key(&self) -> Key {
        self.0.into()
    }
}

/// Two that one of two workers has each.
const KEYS: [u64; 2] = [0, 1];
const THINGS: u64 = 3;

/// What all threads of the model share.
struct House {
    pulse: Arc<Pulse>,
    topic: Arc<Topic<Thing>>,
    crew: Arc<Crew>,
    seen: Mutex<Vec<(u64, u64)>>,
    bells: Mutex<Vec<Arc<Bell>>>,
    boxes: Mutex<Vec<Arc<Letterbox<Cards<Thing>>>>>,
    handled: AtomicU64,
    is_over: AtomicBool,
}

type Desk = Mailbox<Then<Source<Thing>, End>, dyn AsSource + Send, Cards<Thing>>;

struct Worker {
    house: Arc<House>,
    index: usize,
    mailbox: Desk,
    called: Arc<AtomicBool>,
}

impl House {
    fn new(workers: usize) -> Arc<Self> {
        let pulse = pulse();
        Arc::new(House {
            topic: Arc::new(Topic::new(Arc::clone(&pulse))),
            pulse,
            crew: Crew::new(workers),
            seen: Mutex::new(Vec::new()),
            bells: Mutex::new(Vec::new()),
            boxes: Mutex::new(Vec::new()),
            handled: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    fn note(&self, thing: Thing) {
        self.seen.lock().unwrap().push((thing.0, thing.1));
        let all = 2 * THINGS * KEYS.len() as u64;
        if self.handled.fetch_add(1, Relaxed) + 1 == all {
            self.is_over.store(true, Ordering::SeqCst);
            let bells = self.bells.lock().unwrap().clone();
            bells.iter().for_each(|bell| bell.ring());
        }
    }

    /// As a team sends.
    fn send(&self, thing: Thing) {
        let lane = crew::lane(&thing.key()).unwrap();
        let sent = self.crew.post(|workers| {
            let boxes = self.boxes.lock().unwrap();
            let letters = Arc::clone(&boxes[crew::share_out(lane, workers)]);
            drop(boxes);
            let room = letters.enter(&self.pulse, false).ok().unwrap();
            room.put(&self.pulse, Card::new(thing));
            letters
        });
        sent.ring();
    }

    /// Events and letters about both keys, one after the other.
    fn send_all(&self) {
        for count in 0..THINGS {
            for key in KEYS {
                publish(&self.topic, Thing(key, 2 * count));
                self.send(Thing(key, 2 * count + 1));
            }
        }
    }
}

impl Worker {
    fn open(house: &Arc<House>, index: usize) -> Worker {
        let (bell, called) = (Arc::new(Bell::new()), Arc::new(AtomicBool::new(false)));
        let letters = Arc::new(Letterbox::new(Arc::clone(&bell), 100));
        letters.open(100);
        house.bells.lock().unwrap().push(Arc::clone(&bell));
        house.boxes.lock().unwrap().push(Arc::clone(&letters));
        let (rung, flag) = (Arc::clone(&bell), Arc::clone(&called));
        house.crew.join(index, move || {
            flag.store(true, Ordering::SeqCst);
            rung.ring();
        });
        let mut terms = terms("house", 100, Overflow::Wait);
        terms.share = Some(Arc::new(Share {
            crew: Arc::clone(&house.crew),
            index,
            service: "house".into(),
            path: format!("house/{index}").into(),
        }));
        let rules = Arc::new(Policy::new().rules());
        let topic = Arc::clone(&house.topic);
        let first = Source::open(topic, terms, Arc::clone(&bell), rules);
        let sources = Then { first, rest: End };
        Worker {
            house: Arc::clone(house),
            index,
            mailbox: Desk::new(sources, Letters::new(letters), bell),
            called,
        }
    }

    /// Works as a life does, until all has been handled.
    fn work(mut self) {
        let house = Arc::clone(&self.house);
        let (crew, signal) = (&house.crew, Signal::new());
        while !house.is_over.load(Ordering::SeqCst) {
            self.called.store(false, Ordering::SeqCst);
            let (version, limit) = (crew.version(), crew.limit());
            let next = self.mailbox.next_below(limit, || house.pulse.clock.now());
            if crew.version() != version {
                continue;
            }
            match next {
                Next::Events { until, .. } => {
                    let source = &mut self.mailbox.fixed.first;
                    deliver(source, until, |thing| house.note(*thing));
                }
                Next::Letters { .. } => self.answer(),
                Next::Nothing if self.has_finished() => {}
                Next::Nothing => self.rest(&signal),
                other => panic!("nothing waits here: {other:?}"),
            }
        }
    }

    fn answer(&mut self) {
        let letters = &mut self.mailbox.letters;
        let thing = letters.take(Count::InFlight).unwrap().letter;
        self.house.note(thing);
        letters.shared.tally.shift(Count::InFlight, Count::Done);
    }

    fn has_finished(&mut self) -> bool {
        let crew = &self.house.crew;
        let limit = crew.limit();
        if limit == u64::MAX || !crew.awaits(self.index) || !self.mailbox.is_past(limit) {
            return false;
        }
        crew.finish(self.index, limit);
        true
    }

    fn rest(&mut self, signal: &Arc<Signal>) {
        let limit = self.house.crew.limit();
        let asleep = self.mailbox.sleep_below(limit, &signal.waker());
        let is_called = self.called.load(Ordering::SeqCst);
        if asleep && !is_called && !self.house.is_over.load(Ordering::SeqCst) {
            signal.wait();
        }
        self.mailbox.wake();
    }
}

fn order_is_kept(from: usize, to: usize) {
    let house = House::new(from);
    let staff = (0..from).map(|index| Worker::open(&house, index));
    let staff: Vec<_> = staff.collect();
    let mut threads: Vec<_> = staff
        .into_iter()
        .map(|worker| thread::spawn(|| worker.work()))
        .collect();
    let sender = {
        let house = Arc::clone(&house);
        thread::spawn(move || house.send_all())
    };
    for index in from..to {
        let worker = Worker::open(&house, index);
        threads.push(thread::spawn(|| worker.work()));
    }
    house.crew.scale(to, &house.pulse, None);
    sender.join().unwrap();
    for worker in threads {
        worker.join().unwrap();
    }
    for key in KEYS {
        let seen = house.seen.lock().unwrap();
        let about: Vec<_> = seen.iter().filter(|one| one.0 == key).collect();
        let expected: Vec<_> = (0..2 * THINGS).map(|count| (key, count)).collect();
        assert!(
            about.into_iter().eq(expected.iter()),
            "out of order: {seen:?}"
        );
    }
    let mut rows = Vec::new();
    house.topic.delivery_rows(&mut rows);
    let all = THINGS * KEYS.len() as u64;
    assert_eq!((rows.len(), rows[0].gap()), (1, 0));
    assert_eq!((rows[0].accepted, rows[0].acknowledged), (all, all));
}

fn more_workers() {
    order_is_kept(1, 2);
}

fn fewer_workers() {
    order_is_kept(2, 1);
}

#[test]
fn keys_keep_their_order_when_a_worker_is_added() {
    check(FEW, more_workers);
}

#[test]
fn keys_keep_their_order_when_a_worker_goes() {
    check(FEW, fewer_workers);
}

#[test]
#[ignore = "long"]
fn keys_keep_their_order_when_a_worker_is_added_for_long() {
    check(MANY, more_workers);
}

#[test]
#[ignore = "long"]
fn keys_keep_their_order_when_a_worker_goes_for_long() {
    check(MANY, fewer_workers);
}
