//! Messages told in a row are handled one by one, in order, and each has its own end.

use std::sync::{Arc, Mutex};

use callboard::prelude::*;
use callboard::{Address, EventId, LetterRow, Restart, ServiceSpec, defaults};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::time::advance;

use crate::support_events::{ON_PURPOSE, be_quiet};
use crate::support_lives::{end, here, paused, until};

/// What was seen, in order.
type Seen = Arc<Mutex<Vec<String>>>;

struct Teller {
    seen: Seen,
    gate: Arc<Semaphore>,
    /// What had caused the event that was heard last.
    cause: Option<EventId>,
}
impl Service for Teller {}

impl Teller {
    fn note(&self, what: impl Into<String>) {
        self.seen.lock().unwrap().push(what.into());
    }
}

/// What to do with a message, after it was noted.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    Fail,
    Panic,
    Wait,
    /// Keep the thread for so long.
    Take(Duration),
    Stop,
    Publish,
    PublishOnSuccess,
}

struct Number(u64, Then);
impl Message for Number {
    type Reply = ();
}
impl Answer<Number> for Teller {
    async fn answer(&mut self, Number(number, then): Number, cx: &mut Context<Self>) -> Outcome {
        self.note(format!("number {number}"));
        match then {
            Then::Nothing => {}
            Then::Fail => return Err(Failure::new(ON_PURPOSE)),
            Then::Panic => panic!("{ON_PURPOSE}"),
            Then::Wait => self.gate.acquire().await?.forget(),
            Then::Take(time) => drop(advance(time).now_or_never()),
            Then::Stop => cx.stop(),
            Then::Publish => drop(cx.publish(Heard(number)).await?),
            Then::PublishOnSuccess => cx.publish_on_success(Heard(number)),
        }
        Ok(())
    }
}

struct Word(&'static str);
impl Message for Word {
    type Reply = usize;
}
impl Answer<Word> for Teller {
    async fn answer(&mut self, Word(word): Word, _: &mut Context<Self>) -> Outcome<usize> {
        self.note(word);
        Ok(word.len())
    }
}

struct Heard(u64);
impl Event for Heard {
    const NAME: &'static str = "heard";
}
impl Handle<Heard> for Teller {
    async fn handle(&mut self, heard: &Heard, cx: &mut Context<Self>) -> Outcome {
        let (attempt, cause) = cx.cause().map(|it| (it.attempt, it.id)).unzip();
        if cause.is_some() && cause <= self.cause {
            self.note("the cause of another");
        }
        self.cause = cause;
        self.note(format!("heard {} of {attempt:?}", heard.0));
        Ok(())
    }
}

fn named(name: &str, seen: &Seen, gate: &Arc<Semaphore>) -> ServiceSpec<Teller> {
    let (seen, gate) = (Arc::clone(seen), Arc::clone(gate));
    let make = move || Teller {
        seen: Arc::clone(&seen),
        gate: Arc::clone(&gate),
        cause: None,
    };
    service(name, make).letters(1_000)
}

/// A board with a teller, which hears what it publishes itself.
struct Shop {
    board: Board,
    address: Address<Teller>,
    seen: Seen,
    gate: Arc<Semaphore>,
}

impl Shop {
    async fn open(restart: Restart) -> Self {
        be_quiet();
        let (seen, gate) = (Seen::default(), Arc::new(Semaphore::new(0)));
        let spec = named("teller", &seen, &gate).restart(restart);
        let address = spec.address();
        let root = Supervisor::one_for_one("shop").child(spec.on::<Heard>());
        Shop {
            board: here(root).await,
            address,
            seen,
            gate,
        }
    }

    fn tell(&self, row: impl IntoIterator<Item = (u64, Then)>) {
        for (number, then) in row {
            self.address.try_tell(Number(number, then)).unwrap();
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn row(&self) -> LetterRow {
        self.board.ledger().letter("shop/teller").unwrap().clone()
    }
}

/// Tells a new service all this at once; what it saw, and its row when all was settled.
fn told(row: impl IntoIterator<Item = (u64, Then)>) -> (Vec<String>, LetterRow) {
    paused(async move {
        let shop = Shop::open(Restart::Permanent).await;
        shop.tell(row);
        shop.board.settle().await.unwrap();
        assert_eq!(shop.board.ledger().gap(), 0);
        let seen_and_row = (shop.seen(), shop.row());
        end(&shop.board).await;
        seen_and_row
    })
}

/// A row of so many, all of them plain but this one.
fn row(count: u64, at: u64, then: Then) -> impl Iterator<Item = (u64, Then)> {
    plain(0..at).chain([(at, then)]).chain(plain(at + 1..count))
}

fn plain(numbers: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Then)> {
    numbers.map(|number| (number, Then::Nothing))
}

fn lines(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("number {number}")).collect()
}

#[test]
fn all_that_is_told_in_a_row_is_handled_in_order_and_counted_one_by_one() {
    let (seen, row) = told(plain(0..500));
    assert_eq!(seen, lines(0..500));
    assert_eq!((row.accepted, row.taken, row.answered), (500, 500, 500));
}

#[test]
fn a_failure_in_the_middle_of_a_row_is_of_that_message_alone() {
    let (seen, row) = told(row(20, 5, Then::Fail));
    assert_eq!(seen, lines(0..20));
    assert_eq!((row.accepted, row.answered, row.failed), (20, 19, 1));
}

#[test]
fn a_panic_in_the_middle_of_a_row_loses_that_message_alone() {
    let (seen, row) = told(row(20, 5, Then::Panic));
    assert_eq!(seen, lines(0..20));
    assert_eq!((row.accepted, row.answered, row.failed), (20, 19, 1));
}

/// Three messages in a row publish an event each, and a fourth is told later.
fn what_a_row_publishes(then: Then) {
    paused(async move {
        let shop = Shop::open(Restart::Permanent).await;
        shop.tell((0..3).map(|number| (number, then)));
        shop.board.settle().await.unwrap();
        shop.tell(plain(3..4));
        end(&shop.board).await;
        let heard = (0..3).map(|number| format!("heard {number} of Some(1)"));
        let all = lines(0..3).into_iter().chain(heard).chain(lines(3..4));
        assert_eq!(shop.seen(), all.collect::<Vec<_>>());
    });
}

#[test]
fn what_each_of_a_row_publishes_has_a_cause_of_its_own_and_comes_before_what_is_told_later() {
    what_a_row_publishes(Then::Publish);
    what_a_row_publishes(Then::PublishOnSuccess);
}

#[test]
fn messages_of_two_types_keep_their_order() {
    paused(async {
        let shop = Shop::open(Restart::Permanent).await;
        shop.tell(plain(0..2));
        shop.address.try_tell(Word("two")).unwrap();
        shop.address.try_tell(Word("three")).unwrap();
        shop.tell(plain(4..7));
        shop.board.settle().await.unwrap();
        let told = [
            "number 0", "number 1", "two", "three", "number 4", "number 5", "number 6",
        ];
        assert_eq!(shop.seen(), told);
        end(&shop.board).await;
    });
}

#[test]
fn one_that_asks_in_a_row_of_told_messages_has_its_answer_in_turn() {
    paused(async {
        let shop = Shop::open(Restart::Permanent).await;
        shop.address.try_tell(Word("told")).unwrap();
        let asked = async {
            assert_eq!(shop.address.ask(Word("asked")).await.unwrap(), 5);
        };
        let after = async { shop.address.try_tell(Word("after")).unwrap() };
        tokio::join!(biased; asked, after);
        shop.board.settle().await.unwrap();
        assert_eq!(shop.seen(), ["told", "asked", "after"]);
        end(&shop.board).await;
    });
}

#[test]
fn a_service_that_stops_in_the_middle_of_a_row_handles_no_more_of_it() {
    paused(async {
        let shop = Shop::open(Restart::Temporary).await;
        shop.tell(row(4, 1, Then::Stop));
        shop.board.settle().await.unwrap();
        assert_eq!(shop.seen(), lines(0..2));
        let row = shop.row();
        assert_eq!((row.accepted, row.answered, row.undelivered), (4, 2, 2));
        end(&shop.board).await;
    });
}

#[test]
fn one_that_waits_holds_up_those_behind_it_and_is_alone_in_flight() {
    paused(async {
        let shop = Shop::open(Restart::Permanent).await;
        shop.tell(row(4, 2, Then::Wait));
        until(|| shop.seen().len() == 3).await;
        assert_eq!(shop.seen(), lines(0..3));
        let row = shop.row();
        assert_eq!((row.answered, row.in_flight, row.queued), (2, 1, 1));
        shop.gate.add_permits(1);
        shop.board.settle().await.unwrap();
        assert_eq!(shop.seen(), lines(0..4));
        end(&shop.board).await;
    });
}

#[test]
fn an_event_published_between_two_of_a_row_is_heard_between_them() {
    paused(async {
        let shop = Shop::open(Restart::Permanent).await;
        shop.tell(plain(0..1));
        shop.board.try_publish(Heard(7)).unwrap();
        shop.tell(plain(1..2));
        shop.board.settle().await.unwrap();
        assert_eq!(shop.seen(), ["number 0", "heard 7 of None", "number 1"]);
        end(&shop.board).await;
    });
}

#[test]
fn a_service_that_is_suspended_in_the_middle_of_a_row_goes_on_with_it_when_it_is_resumed() {
    paused(async {
        let shop = Shop::open(Restart::Permanent).await;
        shop.tell(row(4, 1, Then::Wait));
        until(|| shop.seen().len() == 2).await;
        shop.board.suspend("shop/teller").unwrap();
        shop.gate.add_permits(1);
        shop.board.settle().await.unwrap_err();
        assert_eq!(shop.seen(), lines(0..2));
        shop.board.resume("shop/teller").unwrap();
        shop.board.settle().await.unwrap();
        assert_eq!(shop.seen(), lines(0..4));
        end(&shop.board).await;
    });
}

/// What was seen first when two services have long rows, of which the first takes this time.
fn first_turn(first: Then) -> Vec<String> {
    const EACH: u64 = 2 * defaults::BATCH_DELIVERIES_MAX as u64;
    let all = Seen::default();
    let seen = Arc::clone(&all);
    paused(async move {
        let gate = Arc::new(Semaphore::new(0));
        let specs = ["a", "b"].map(|name| named(name, &seen, &gate));
        let [a, b] = specs.each_ref().map(ServiceSpec::address);
        let root = Supervisor::one_for_one("shop");
        let board = here(specs.into_iter().fold(root, Supervisor::child)).await;
        for number in 0..EACH {
            let then = if number == 0 { first } else { Then::Nothing };
            a.try_tell(Number(number, then)).unwrap();
            b.try_tell(Number(EACH + number, Then::Nothing)).unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(seen.lock().unwrap().len() as u64, 2 * EACH);
        end(&board).await;
    });
    let seen = all.lock().unwrap().clone();
    let theirs = format!("number {EACH}");
    seen.into_iter().take_while(|one| *one != theirs).collect()
}

#[test]
fn a_row_that_is_longer_than_a_turn_lets_the_neighbours_have_theirs() {
    let turn = lines(0..defaults::BATCH_DELIVERIES as u64);
    assert_eq!(first_turn(Then::Take(defaults::BATCH_BRIEF)), turn);
}

#[test]
fn a_turn_that_takes_next_to_no_time_is_longer() {
    let turn = lines(0..defaults::BATCH_DELIVERIES_MAX as u64);
    assert_eq!(first_turn(Then::Nothing), turn);
}
