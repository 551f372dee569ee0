//! The whole mailbox in random schedules: two topics and letters merged in causal order, and
//! letters against their capacity and their end.
//!
//! Invariant: nobody sees an effect before its cause, a sleeping mailbox is woken, a letter is
//! refused only where there is no room, and every letter is accounted for.

use std::sync::Arc;

use shuttle::thread;

use super::world::{Card, Cards, FEW, MANY, Signal, check, publish, pulse, send, terms};
use crate::bell::Bell;
use crate::event::Event;
use crate::mailbox::letters::{Letterbox, Letters};
use crate::mailbox::source::{AnySource, Source};
use crate::mailbox::{AsSource, End, Mailbox, Next, Then};
use crate::policy::Policy;
use crate::pulse::Pulse;
use crate::topic::place::Overflow;
use crate::topic::tally::Count;
use crate::topic::{AnyTopic, Topic};

struct Asked(u64);
struct Answered(u64);

impl Event for Asked {
    const NAME: &'static str = "asked";
}

impl Event for Answered {
    const NAME: &'static str = "answered";
}

/// What a mailbox may hold, in causal order for each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Asked(u64),
    Answered(u64),
    Letter(u64),
}

type Both = Then<Source<Answered>, Then<Source<Asked>, End>>;
type Witness = Mailbox<Both, dyn AsSource, Cards<u64>>;

fn source<E: Event>(topic: &Arc<Topic<E>>, service: &str, bell: &Arc<Bell>) -> Source<E> {
    let terms = terms(service, 2, Overflow::Wait);
    Source::open(
        Arc::clone(topic),
        terms,
        Arc::clone(bell),
        Arc::new(Policy::new().rules()),
    )
}

/// Handles events below `until`, as a host does: `heard` is called while each is in flight.
pub(super) fn deliver<E: Event>(source: &mut Source<E>, until: u64, mut heard: impl FnMut(&E)) {
    while source.cursor.head().is_some_and(|number| number < until) {
        let (block, mut steps) = source.cursor.split().unwrap();
        let Some(position) = steps.position() else {
            return;
        };
        assert!(steps.take(), "nothing is shed here");
        heard(&block.slot(position).unwrap().event);
        source.cursor.place.settle_done(false);
        source.cursor.topic.announce_room();
    }
}

/// Reads a mailbox until it has seen `wanted` things.
fn witness(mailbox: &mut Witness, pulse: &Pulse, wanted: usize) -> Vec<Seen> {
    let signal = Signal::new();
    let waker = signal.waker();
    let mut seen = Vec::new();
    while seen.len() < wanted {
        match mailbox.next(|| pulse.clock.now()) {
            Next::Events { source: 0, until } => {
                deliver(&mut mailbox.fixed.first, until, |event| {
                    seen.push(Seen::Answered(event.0));
                });
            }
            Next::Events { until, .. } => {
                deliver(&mut mailbox.fixed.rest.first, until, |event| {
                    seen.push(Seen::Asked(event.0));
                });
            }
            Next::Letters { until } => {
                let letters = &mut mailbox.letters;
                while letters.head().is_some_and(|number| number < until) {
                    seen.push(Seen::Letter(letters.take(Count::InFlight).unwrap().letter));
                    letters.shared.tally.shift(Count::InFlight, Count::Done);
                    letters.shared.announce();
                }
            }
            Next::Nothing => {
                if mailbox.sleep(&waker) {
                    signal.wait();
                }
                mailbox.wake();
            }
            other => panic!("nothing is held here: {other:?}"),
        }
    }
    seen
}

const EVENTS: u64 = 2;

/// A relay hears `Asked`, publishes `Answered` and writes a letter; a witness hears all three.
/// With room for so many letters: for one, the relay waits; for more, they are answered in batches.
fn an_effect_follows_its_cause(room: u64) {
    let pulse = pulse();
    let asked = Arc::new(Topic::<Asked>::new(Arc::clone(&pulse)));
    let answered = Arc::new(Topic::<Answered>::new(Arc::clone(&pulse)));
    let bell = Arc::new(Bell::new());
    let letterbox = Arc::new(Letterbox::new(Arc::clone(&bell), room));
    letterbox.open(room);
    let both = Then {
        first: source(&answered, "witness", &bell),
        rest: Then {
            first: source(&asked, "witness", &bell),
            rest: End,
        },
    };
    let mut mailbox = Witness::new(both, Letters::new(Arc::clone(&letterbox)), bell);
    let relay = {
        let (pulse, letterbox) = (Arc::clone(&pulse), Arc::clone(&letterbox));
        let (answered, bell) = (Arc::clone(&answered), Arc::new(Bell::new()));
        let mut source = source(&asked, "relay", &bell);
        thread::spawn(move || {
            let (signal, mut handled) = (Signal::new(), 0);
            while handled < EVENTS {
                if source.look().is_some() {
                    deliver(&mut source, u64::MAX, |event| {
                        publish(&answered, Answered(event.0));
                        assert!(send(&letterbox, &pulse, event.0));
                        handled += 1;
                    });
                    continue;
                }
                bell.arm(&signal.waker());
                if source.sleep(u64::MAX) {
                    signal.wait();
                }
                bell.disarm();
            }
        })
    };
    let publisher = {
        let asked = Arc::clone(&asked);
        thread::spawn(move || {
            for count in 0..EVENTS {
                publish(&asked, Asked(count));
            }
        })
    };
    let seen = witness(&mut mailbox, &pulse, 3 * EVENTS as usize);
    publisher.join().unwrap();
    relay.join().unwrap();
    for count in 0..EVENTS {
        let at = |what| seen.iter().position(|seen| *seen == what).unwrap();
        let chain = [
            Seen::Asked(count),
            Seen::Answered(count),
            Seen::Letter(count),
        ]
        .map(at);
        assert!(chain.is_sorted(), "an effect before its cause: {seen:?}");
    }
    let mut rows = Vec::new();
    asked.delivery_rows(&mut rows);
    answered.delivery_rows(&mut rows);
    for row in rows {
        assert_eq!((row.gap(), row.acknowledged), (0, EVENTS), "{row:?}");
    }
    let row = letterbox.counts();
    assert_eq!((row.gap(), row.answered, row.queued), (0, EVENTS, 0));
}

fn letterbox(capacity: u64) -> (Arc<Letterbox<Cards<u64>>>, Letters<Cards<u64>>) {
    let letterbox = Arc::new(Letterbox::new(Arc::new(Bell::new()), capacity));
    letterbox.open(capacity);
    (Arc::clone(&letterbox), Letters::new(letterbox))
}

/// Senders wait for room while the reader takes some letters, then closes.
fn a_close_returns_what_was_accepted() {
    let pulse = pulse();
    let (letterbox, mut letters) = letterbox(1);
    let senders: Vec<_> = (0..3)
        .map(|letter| {
            let (letterbox, pulse) = (Arc::clone(&letterbox), Arc::clone(&pulse));
            thread::spawn(move || send(&letterbox, &pulse, letter))
        })
        .collect();
    let mut got = Vec::new();
    if let Some(card) = letters.take(Count::InFlight) {
        got.push(card.letter);
        letters.shared.tally.shift(Count::InFlight, Count::Done);
        letters.shared.announce();
    }
    assert_eq!(letterbox.counts().gap(), 0);
    got.extend(letters.close().into_iter().map(|card| card.letter));
    assert!(!send(&letterbox, &pulse, 3), "accepted after the end");
    let sent: Vec<bool> = senders.into_iter().map(|it| it.join().unwrap()).collect();
    let mut sent: Vec<u64> = (0..3).filter(|it| sent[*it as usize]).collect();
    got.sort_unstable();
    sent.sort_unstable();
    assert_eq!(got, sent, "each exactly once");
    let row = letterbox.counts();
    let counted = row.answered + row.undelivered;
    assert_eq!((row.gap(), row.queued, counted), (0, 0, row.accepted));
}

/// There is always room for as many letters as there are senders, so none is ever refused.
fn a_letter_is_refused_only_when_full() {
    let pulse = pulse();
    let (letterbox, mut letters) = letterbox(3);
    let senders: Vec<_> = (0..3)
        .map(|letter| {
            let (letterbox, pulse) = (Arc::clone(&letterbox), Arc::clone(&pulse));
            thread::spawn(move || {
                let room = letterbox.enter(&pulse, false).ok();
                let room = room.expect("refused although there is room");
                room.put(&pulse, Card::new(letter));
                letterbox.ring();
            })
        })
        .collect();
    let signal = Signal::new();
    let mut taken = 0;
    while taken < 3 {
        if letters.take(Count::Done).is_some() {
            taken += 1;
            continue;
        }
        letterbox.bell.arm(&signal.waker());
        if letters.look_last().is_none() {
            signal.wait();
        }
        letterbox.bell.disarm();
    }
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(letterbox.counts().gap(), 0);
}

#[test]
fn nobody_sees_an_effect_before_its_cause() {
    check(FEW, || an_effect_follows_its_cause(1));
}

#[test]
fn nobody_sees_an_effect_before_its_cause_in_a_batch_of_letters() {
    check(FEW, || an_effect_follows_its_cause(EVENTS));
}

#[test]
fn every_accepted_letter_is_taken_or_returned_by_the_close() {
    check(FEW, a_close_returns_what_was_accepted);
}

#[test]
fn a_letter_is_refused_only_when_there_is_no_room() {
    check(FEW, a_letter_is_refused_only_when_full);
}

#[test]
#[ignore = "long"]
fn nobody_sees_an_effect_before_its_cause_for_long() {
    check(MANY, || an_effect_follows_its_cause(1));
    check(MANY, || an_effect_follows_its_cause(EVENTS));
}

#[test]
#[ignore = "long"]
fn every_accepted_letter_is_taken_or_returned_by_the_close_for_long() {
    check(MANY, a_close_returns_what_was_accepted);
}

#[test]
#[ignore = "long"]
fn a_letter_is_refused_only_when_there_is_no_room_for_long() {
    check(MANY, a_letter_is_refused_only_when_full);
}
