//! The whole topic in random schedules: publishers wait for room, readers fall behind, come and
//! go, and get failed events back.
//!
//! Invariant: a reader whose publishers wait hears everything once and in order, whatever the
//! others do, and every place accounts for what it accepted.

use std::sync::Arc;

use shuttle::thread;

use super::world::{FEW, MANY, Signal, check, publish, publish_all, pulse, terms};
use crate::bell::Bell;
use crate::event::Event;
use crate::topic::block::Slot;
use crate::topic::cursor::Cursor;
use crate::topic::place::Overflow;
use crate::topic::tally::Count;
use crate::topic::{AnyTopic, Topic};

/// The publisher, and which of its events.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Said(u64, u64);

impl Event for Said {
    const NAME: &'static str = "said";
}

const LAST: u64 = u64::MAX;

struct Reader {
    cursor: Cursor<Said>,
    signal: Arc<Signal>,
    heard: Heard,
}

/// What has been heard, in order.
#[derive(Default)]
struct Heard {
    numbers: Vec<u64>,
    said: Vec<Said>,
}

impl Heard {
    fn hear(&mut self, slot: &Slot<Said>) {
        let number = slot.stamp.number;
        assert!(self.numbers.last() < Some(&number), "out of order");
        self.numbers.push(number);
        self.said.push(slot.event);
    }
}

impl Reader {
    fn new(topic: &Arc<Topic<Said>>, service: &str, capacity: u64, overflow: Overflow) -> Self {
        let terms = terms(service, capacity, overflow);
        let place = topic.subscribe(terms, Arc::new(Bell::new()));
        Reader {
            cursor: Cursor::new(Arc::clone(topic), place),
            signal: Signal::new(),
            heard: Heard::default(),
        }
    }

    /// Takes the next event, if there is one, into custody.
    fn take(&mut self) -> Option<Said> {
        while let Some(number) = self.cursor.look() {
            let (block, mut steps) = self.cursor.split().unwrap();
            let Some(position) = steps.position() else {
                continue;
            };
            if !steps.take() {
                continue;
            }
            let slot = block.slot(position).unwrap();
            assert!(slot.stamp.number >= number, "only shedding moves the head");
            self.heard.hear(slot);
            return Some(slot.event);
        }
        None
    }

    /// Handles all there is, in runs.
    fn read(&mut self) {
        while self.cursor.look().is_some() {
            let (block, at, mut run) = self.cursor.run().unwrap();
            for slot in block.slots(at) {
                if !run.take() {
                    break;
                }
                self.heard.hear(slot);
                run.note_handled();
            }
            run.settle();
        }
        self.cursor.topic.announce_room();
    }

    fn settle(&self) {
        self.cursor.place.settle_done(false);
        self.cursor.topic.announce_room();
    }

    /// Sleeps until there may be something to read.
    fn sleep(&self) {
        let (place, topic) = (&self.cursor.place, &self.cursor.topic);
        place.bell.arm(&self.signal.waker());
        if topic.sleep(place, u64::MAX) {
            self.signal.wait();
        }
        place.bell.disarm();
    }

    /// Reads until it has heard the last event.
    fn read_all(mut self) -> Self {
        loop {
            self.read();
            let last = self.heard.said.last();
            if last.is_some_and(|said| said.0 == LAST) {
                return self;
            }
            self.sleep();
        }
    }
}

fn accounts(topic: &Topic<Said>) -> Vec<crate::ledger::DeliveryRow> {
    let mut rows = Vec::new();
    topic.delivery_rows(&mut rows);
    for row in &rows {
        assert_eq!(row.gap(), 0, "{row:?}");
    }
    assert_eq!(topic.row().gap(), 0);
    rows
}

const PUBLISHERS: u64 = 2;
const EVENTS: u64 = 2;

fn publishers_and_readers() {
    let topic = Arc::new(Topic::<Said>::new(pulse()));
    let steady = Reader::new(&topic, "steady", 1, Overflow::Wait);
    let shedding = Reader::new(&topic, "shedding", 2, Overflow::DropOldest);
    let steady = thread::spawn(move || steady.read_all());
    let shedding = thread::spawn(move || shedding.read_all());
    let late = {
        let topic = Arc::clone(&topic);
        thread::spawn(move || {
            let mut late = Reader::new(&topic, "late", 1, Overflow::Wait);
            if late.take().is_some() {
                late.settle();
            }
            topic.unsubscribe(&late.cursor.place).len() + late.heard.said.len()
        })
    };
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let topic = Arc::clone(&topic);
            thread::spawn(move || {
                let said = (0..EVENTS).map(|count| Said(publisher, count));
                // One publishes its events one by one, the other all at once.
                if publisher == 0 {
                    for said in said {
                        publish(&topic, said);
                    }
                } else {
                    publish_all(&topic, said.collect());
                }
            })
        })
        .collect();
    accounts(&topic);
    for publisher in publishers {
        publisher.join().unwrap();
    }
    publish(&topic, Said(LAST, 0));
    let steady = steady.join().unwrap();
    let shedding = shedding.join().unwrap();
    let late = late.join().unwrap() as u64;
    for publisher in 0..PUBLISHERS {
        let of = |said: &&Said| said.0 == publisher;
        let counts: Vec<u64> = steady
            .heard
            .said
            .iter()
            .filter(of)
            .map(|said| said.1)
            .collect();
        assert_eq!(counts, (0..EVENTS).collect::<Vec<_>>());
    }
    let rows = accounts(&topic);
    let row = |service: &str| rows.iter().find(|row| row.service == service).unwrap();
    let all = PUBLISHERS * EVENTS + 1;
    assert_eq!(row("steady").acknowledged, all);
    assert_eq!(
        row("shedding").acknowledged,
        shedding.heard.said.len() as u64
    );
    assert_eq!(row("shedding").acknowledged + row("shedding").shed, all);
    assert_eq!(row("late").accepted, late);
}

fn failed_events_come_back() {
    let topic = Arc::new(Topic::<Said>::new(pulse()));
    let mut reader = Reader::new(&topic, "reader", 1, Overflow::Wait);
    let place = Arc::clone(&reader.cursor.place);
    let publisher = {
        let topic = Arc::clone(&topic);
        thread::spawn(move || {
            for count in 0..EVENTS {
                publish(&topic, Said(0, count));
            }
        })
    };
    let mut redriven = Vec::new();
    let mut returned = 0;
    while returned < EVENTS {
        if reader.take().is_some() {
            let event = reader.cursor.pin_taken().unwrap();
            let place = Arc::clone(&place);
            place.tally.shift(Count::InFlight, Count::DeadLettered);
            topic.announce_room();
            let topic = Arc::clone(&topic);
            redriven.push(thread::spawn(move || {
                topic.redrive(&place, event, 1).unwrap()
            }));
        } else if let Some(back) = place.take_return(Count::InFlight) {
            assert!(back.event.slot().unwrap().stamp.number < back.number);
            place.settle_done(false);
            returned += 1;
        } else {
            reader.sleep();
        }
    }
    publisher.join().unwrap();
    for redrive in redriven {
        redrive.join().unwrap();
    }
    let rows = accounts(&topic);
    assert_eq!(rows[0].accepted, 2 * EVENTS);
    assert_eq!(
        (rows[0].acknowledged, rows[0].dead_lettered),
        (EVENTS, EVENTS)
    );
}

/// The quick one was as far behind as the slow one, and moves on while the topic looks who is.
fn a_quick_and_a_slow_reader() {
    let topic = Arc::new(Topic::<Said>::new(pulse()));
    let [mut quick, mut slow] =
        ["quick", "slow"].map(|name| Reader::new(&topic, name, 100, Overflow::Wait));
    let mut published = 0;
    let mut publish_next = || {
        publish(&topic, Said(0, published));
        published += 1;
    };
    for _ in 0..3 {
        publish_next();
        for reader in [&mut quick, &mut slow] {
            assert!(reader.take().is_some());
            reader.settle();
        }
    }
    publish_next();
    let quick = thread::spawn(move || {
        while quick.take().is_some() {
            quick.settle();
        }
    });
    // The first block is full, and the second is begun.
    publish_next();
    let position = slow.cursor.place.position();
    assert!(topic.block(position).is_some(), "{position} was freed");
    quick.join().unwrap();
    while slow.take().is_some() {
        slow.settle();
    }
    assert_eq!(slow.heard.said.len() as u64, published);
    accounts(&topic);
}

#[test]
fn what_the_slowest_has_not_read_stays() {
    check(FEW, a_quick_and_a_slow_reader);
}

#[test]
fn publishers_and_readers_come_and_go() {
    check(FEW, publishers_and_readers);
}

#[test]
fn an_event_given_back_is_heard() {
    check(FEW, failed_events_come_back);
}

#[test]
#[ignore = "long"]
fn publishers_and_readers_come_and_go_for_long() {
    check(MANY, publishers_and_readers);
}

#[test]
#[ignore = "long"]
fn an_event_given_back_is_heard_for_long() {
    check(MANY, failed_events_come_back);
}
