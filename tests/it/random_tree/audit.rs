//! The books against the board: during a run, when it has settled, and when it is over.

use std::collections::BTreeMap;

use callboard::prelude::*;
use callboard::{BoardError, DeliveryRow, Fate, Ledger, Reason, ShutdownReport};

use super::book::{Book, Finished, Lane};
use super::drive::{Summary, Watched, end_of};
use super::plan::{End, Mode, TOPICS};
use super::players::{Note, Shared, open};

const NAMES: [&str; TOPICS] = [Note::<0>::NAME, Note::<1>::NAME, Note::<2>::NAME];

/// Fails the run, naming its mode and seed.
fn broken(book: &Book, what: &str) -> ! {
    let (mode, seed) = (book.plan.mode, book.plan.seed);
    panic!("{mode:?}, seed {seed}: {what}\n{:#?}", book.faults);
}

pub(crate) fn promise(book: &Shared, kept: bool, what: &str) {
    if !kept {
        broken(&open(book), &format!("not so: {what}"));
    }
}

/// Which delivery a dead letter is about.
pub(crate) fn of(book: &Shared, letter: &DeadLetter) -> Option<(usize, usize, u64)> {
    let (topic, event) = if let Some(note) = letter.downcast_ref::<Note<0>>() {
        (0, note.id)
    } else if let Some(note) = letter.downcast_ref::<Note<1>>() {
        (1, note.id)
    } else {
        (2, letter.downcast_ref::<Note<2>>()?.id)
    };
    let roles = &open(book).plan.roles;
    let service = roles.iter().position(|role| role.path == letter.service());
    service.map(|service| (service, topic, event))
}

fn row(ledger: &Ledger, path: &str, topic: usize) -> DeliveryRow {
    let found = ledger.delivery(path, NAMES[topic]);
    found.cloned().unwrap_or_default()
}

/// After every step: no gap, no fault, no queue beyond its capacity, and the queues as expected.
pub(crate) fn in_between(book: &Shared, ledger: &Ledger) {
    let book = open(book);
    if !book.faults.is_empty() {
        broken(&book, "a promise was broken");
    }
    if ledger.gap() != 0 {
        broken(&book, &format!("there is a gap\n{ledger}"));
    }
    if book.unsure {
        return;
    }
    for (role, cast) in book.plan.roles.iter().zip(&book.casts) {
        for (topic, lane) in cast.lanes.iter().enumerate() {
            let row = row(ledger, &role.path, topic);
            // What was given back waits beside the queue, and so does what a subscription that
            // ends has not read.
            let most = role.terms[topic].capacity as u64;
            let room = !lane.ending && lane.returned.is_empty();
            if book.is_exact() && room && row.queued > most {
                broken(&book, &format!("more than {most} queued: {row:?}"));
            }
            if book.is_exact() && !lane.vague && !lane.ending {
                let open = cast.current.as_ref().is_some_and(|now| now.topic == topic);
                agree(&book, lane, &row, u64::from(open));
            }
        }
    }
}

/// Compares what no restart that is under way can have left for later, then the rest as a sum.
fn agree(book: &Book, lane: &Lane, row: &DeliveryRow, open: u64) {
    let queued = (lane.queue.len() + lane.returned.len()) as u64;
    let expected = [
        lane.accepted,
        queued,
        lane.shed,
        lane.acknowledged,
        lane.retried,
        lane.dead + open,
    ];
    let found = [
        row.accepted,
        row.queued,
        row.shed,
        row.acknowledged,
        row.retried,
        row.dead_lettered + row.in_flight + row.deferred,
    ];
    if found != expected {
        broken(book, &format!("expected {expected:?}: {row:?}\n{lane:?}"));
    }
}

/// When the board says that it has settled.
pub(crate) fn settled(book: &Shared, ledger: &Ledger) {
    in_between(book, ledger);
    let book = open(book);
    if !ledger.is_settled() {
        broken(&book, &format!("it is not settled\n{ledger}"));
    }
    if !book.is_exact() {
        return;
    }
    for cast in &book.casts {
        let queued = cast.lanes.iter().any(|lane| !lane.queue.is_empty());
        if queued || cast.current.is_some() {
            broken(&book, &format!("something is left: {cast:?}"));
        }
    }
}

/// When the board has ended.
pub(crate) fn over(
    book: &Shared,
    board: &Board,
    report: &ShutdownReport,
    ended: Result<(), BoardError>,
    watched: &[Watched],
) -> Summary {
    let ledger = board.ledger();
    in_between(book, &ledger);
    if !open(book).unsure {
        dead_letters(book, board);
    }
    let book = open(book);
    if ledger.gap() != 0 || report.ledger.gap() != 0 || !ledger.is_settled() {
        broken(&book, &format!("not all is in a final state\n{ledger}"));
    }
    if ended.is_err() && book.is_exact() {
        broken(&book, &format!("it gave up: {ended:?}"));
    }
    for (service, role) in book.plan.roles.iter().enumerate() {
        for topic in 0..TOPICS {
            lane_over(
                &book,
                service,
                topic,
                &row(&ledger, &role.path, topic),
                report,
            );
        }
        letters_over(&book, service, &ledger);
    }
    for (topic, name) in NAMES.iter().enumerate() {
        let published = ledger.topic(name).map_or(0, |row| row.published);
        if published != book.published[topic] {
            broken(&book, &format!("{published} of {name} were published"));
        }
    }
    for watch in watched {
        watch_over(&book, watch);
    }
    summary(&book, &ledger, ended.is_err())
}

fn lane_over(
    book: &Book,
    service: usize,
    topic: usize,
    row: &DeliveryRow,
    report: &ShutdownReport,
) {
    let lane = &book.casts[service].lanes[topic];
    let sure = [lane.acknowledged, lane.dead, lane.retried];
    if book.unsure {
        return;
    }
    if sure != [row.acknowledged, row.dead_lettered, row.retried] {
        broken(book, &format!("expected {lane:?}: {row:?}"));
    }
    if !book.is_exact() || lane.vague {
        return;
    }
    let all = [lane.accepted, lane.shed, lane.undelivered];
    if all != [row.accepted, row.shed, row.undelivered] {
        broken(book, &format!("expected {lane:?}: {row:?}"));
    }
    let path = &book.plan.roles[service].path;
    let named = report
        .undelivered
        .iter()
        .find(|found| found.service == *path && found.event == NAMES[topic]);
    let named = named.map_or(0, |found| found.count);
    if !lane.ended && named != row.undelivered {
        broken(
            book,
            &format!("{named} are reported as undelivered: {row:?}"),
        );
    }
}

fn letters_over(book: &Book, service: usize, ledger: &Ledger) {
    let (role, letters) = (&book.plan.roles[service], &book.casts[service].letters);
    let row = ledger.letter(&role.path).cloned().unwrap_or_default();
    let expected = [letters.accepted, letters.answered, letters.failed];
    if expected != [row.accepted, row.answered, row.failed] || row.expired > letters.given_up {
        broken(book, &format!("expected {letters:?}: {row:?}"));
    }
    if book.plan.mode == Mode::Settled && row.undelivered > 0 {
        broken(book, &format!("letters were not delivered: {row:?}"));
    }
    let mourned = ledger.delivery(&role.path, DeadLetter::NAME);
    let mourned = mourned.map_or(0, |row| row.acknowledged);
    if mourned != book.casts[service].mourned.len() as u64 {
        broken(book, &format!("service {service} mourned {mourned}"));
    }
}

/// `settled()` told the same outcomes as the books, of the same services.
fn watch_over(book: &Book, watch: &Watched) {
    if !book.is_exact() || book.unsure {
        return;
    }
    let path = |service: &usize| book.plan.roles[*service].path.clone();
    let fate = |service: &usize| {
        let found = book.fates.get(&(*service, watch.event));
        found.copied().unwrap_or(Fate::Undelivered)
    };
    let expected: BTreeMap<String, Fate> = watch
        .heard
        .iter()
        .map(|one| (path(one), fate(one)))
        .collect();
    let told: BTreeMap<String, Fate> = watch
        .told
        .iter()
        .map(|one| (one.service.clone(), one.fate))
        .collect();
    if told != expected {
        let event = watch.event;
        broken(
            book,
            &format!("event {event} was told as {told:?}, not {expected:?}"),
        );
    }
}

/// The shelf holds exactly the deliveries that failed for good and were not given back, each with
/// all its attempts.
fn dead_letters(book: &Shared, board: &Board) {
    let letters = board.dead_letters();
    let about: Vec<_> = letters.iter().map(|letter| of(book, letter)).collect();
    let book = open(book);
    let mut failed: Vec<(&Finished, &Vec<End>)> = book
        .finished
        .iter()
        .filter(|(_, (succeeded, _))| !succeeded)
        .map(|(key, (_, ends))| (key, ends))
        .collect();
    let all = failed.len() as u64;
    if letters.len() as u64 + book.redriven != all {
        let found = letters.len();
        broken(
            &book,
            &format!("{found} dead letters of {all}, {} redriven", book.redriven),
        );
    }
    for (letter, about) in letters.iter().zip(about) {
        let ends: Vec<End> = letter.attempts().iter().map(end_of).collect();
        let numbers = letter.attempts().iter().map(|attempt| attempt.number);
        let fits = |(key, expected): &(&Finished, &Vec<End>)| {
            let same = Some((key.service, key.topic, key.event)) == about;
            same && (key.round > 0) == letter.is_redriven() && **expected == ends
        };
        let Some(index) = failed.iter().position(fits) else {
            broken(&book, &format!("nobody failed like {letter:?}: {ends:?}"));
        };
        failed.swap_remove(index);
        let counted = numbers.eq(1..=u32::try_from(ends.len()).unwrap());
        let permanent = ends.last() == Some(&End::Permanent);
        let reasons = (letter.reason() == Reason::Permanent, letter.reason());
        let used_up = (false, Reason::AttemptsUsedUp);
        if !counted || reasons.0 != permanent || !(permanent || reasons == used_up) {
            broken(&book, &format!("the attempts of {letter:?}: {ends:?}"));
        }
    }
}

fn summary(book: &Book, ledger: &Ledger, gave_up: bool) -> Summary {
    let sum = |of: fn(&DeliveryRow) -> u64| ledger.deliveries.iter().map(of).sum();
    let ends = |wanted| {
        let all = book.finished.values().flat_map(|(_, ends)| ends);
        all.filter(|end| **end == wanted).count() as u64
    };
    Summary {
        trace: book.trace(),
        handled: book.handled,
        acknowledged: sum(|row| row.acknowledged),
        dead: sum(|row| row.dead_lettered),
        shed: sum(|row| row.shed),
        undelivered: sum(|row| row.undelivered),
        retried: sum(|row| row.retried),
        redriven: book.redriven,
        panicked: ends(End::Panicked),
        timed_out: ends(End::TimedOut),
        expired: ledger.letters.iter().map(|row| row.expired).sum(),
        restarted: book
            .casts
            .iter()
            .map(|cast| u64::from(cast.lives.saturating_sub(1)))
            .sum(),
        given_up: u64::from(gave_up),
    }
}
