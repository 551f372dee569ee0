//! One instance per key: in order for each, none waiting for another, and none kept for ever.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use callboard::prelude::*;
use callboard::{AskError, Exit, Key, LetterRow, PerKey, ServiceSpec, Shutdown, State, TimedOut};
use tokio::sync::Semaphore;

use crate::support_events::{
    ON_PURPOSE, be_quiet, gate, here, paused, paused_elsewhere, row, shop,
};
use crate::support_lives::until;

/// The `id`th event about an account.
#[derive(Clone, Copy)]
struct Move {
    account: u64,
    id: u64,
}
impl Event for Move {
    const NAME: &'static str = "move";
    fn key(&self) -> Key {
        self.account.into()
    }
}

/// A move of another type.
struct Transfer(Move);
impl Event for Transfer {
    const NAME: &'static str = "transfer";
    fn key(&self) -> Key {
        self.0.account.into()
    }
}

struct Freeze(u64);
impl Event for Freeze {
    const NAME: &'static str = "freeze";
    fn key(&self) -> Key {
        self.0.into()
    }
}

/// Asks the instance of an account what it has seen in this life.
struct Seen(u64);
impl Message for Seen {
    type Reply = Vec<u64>;
    fn key(&self) -> Key {
        self.0.into()
    }
}

/// Keeps the instance of an account busy.
struct Hold(u64, Arc<Semaphore>);
impl Message for Hold {
    type Reply = ();
    fn key(&self) -> Key {
        self.0.into()
    }
}

enum Do {
    Nothing,
    Fail,
    Panic,
    Wait(Arc<Semaphore>),
    WaitAndFail(Arc<Semaphore>),
    WaitAndPanic(Arc<Semaphore>),
    Later(Arc<Semaphore>),
    After(Duration),
    /// A timer that is due at once, waits, and fails.
    FailAfter(Arc<Semaphore>),
    /// Two timers, of which the first is due at once, and waits.
    Timers(Arc<Semaphore>, Duration),
    /// So many timers, all due in a second.
    ManyTimers(u64),
    Stop,
    /// Stops after so long, in a timer; another one is due much later.
    StopAfter(Duration),
}

type Script = Arc<dyn Fn(Move, u32) -> Do + Send + Sync>;

/// Stands in the books for a timer that has begun.
const TIMER: u64 = 8_888;

/// Stands there for a message that keeps its instance busy.
const HELD: u64 = 7_777;

/// What all instances have done.
#[derive(Default)]
struct Books {
    /// Account, id, attempt, in the order of the attempts.
    attempts: Mutex<Vec<(u64, u64, u32)>>,
    stopped: Mutex<Vec<(u64, String)>>,
    made: AtomicU64,
    alive: AtomicU64,
    most: AtomicU64,
}

impl Books {
    fn of(&self, account: u64) -> Vec<(u64, u32)> {
        let all = self.attempts.lock().unwrap();
        let mine = all.iter().filter(|(of, ..)| *of == account);
        mine.map(|(_, id, attempt)| (*id, *attempt)).collect()
    }

    fn len(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }

    fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }
}

struct Account {
    number: u64,
    seen: Vec<u64>,
    script: Script,
    books: Arc<Books>,
}

impl Drop for Account {
    fn drop(&mut self) {
        self.books.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service for Account {
    async fn stopping(&mut self, exit: &Exit, _: &mut Context<Self>) {
        let mut stopped = self.books.stopped.lock().unwrap();
        stopped.push((self.number, exit.to_string()));
    }
}

fn stop_after(time: Duration, cx: &mut Context<Account>) {
    cx.after(time, async |_: &mut Account, cx| {
        cx.stop();
        Ok(())
    });
    cx.after(secs(3_600), async |_: &mut Account, _| Ok(()));
}

impl Handle<Move> for Account {
    async fn handle(&mut self, event: &Move, cx: &mut Context<Self>) -> Outcome {
        assert_eq!(event.account, self.number);
        let entry = (event.account, event.id, cx.attempt());
        self.books.attempts.lock().unwrap().push(entry);
        match (self.script)(*event, cx.attempt()) {
            Do::Nothing => {}
            Do::Fail => return Err(Failure::new(ON_PURPOSE)),
            Do::Panic => panic!("{ON_PURPOSE}"),
            Do::Wait(gate) => gate.acquire().await?.forget(),
            Do::WaitAndFail(gate) => {
                gate.acquire().await?.forget();
                return Err(Failure::new(ON_PURPOSE));
            }
            Do::WaitAndPanic(gate) => {
                gate.acquire().await?.forget();
                panic!("{ON_PURPOSE}")
            }
            Do::Later(gate) => cx.later(
                async move { gate.acquire().await.map(|permit| permit.forget()) },
                async |account: &mut Self, done: Result<_, _>, _: &mut Context<Self>| {
                    done?;
                    account.seen.push(1_000);
                    Ok(())
                },
            ),
            Do::After(time) => {
                cx.after(time, async |account: &mut Self, _| {
                    account.seen.push(2_000);
                    Ok(())
                });
            }
            Do::FailAfter(gate) => {
                cx.after(Duration::ZERO, async move |account: &mut Self, _| {
                    let entry = (account.number, TIMER, 1);
                    account.books.attempts.lock().unwrap().push(entry);
                    gate.acquire().await?.forget();
                    Err(Failure::new(ON_PURPOSE))
                });
            }
            Do::Timers(gate, time) => {
                cx.after(Duration::ZERO, async move |_: &mut Self, _| {
                    gate.acquire().await?.forget();
                    Ok(())
                });
                cx.after(time, async |account: &mut Self, _| {
                    let entry = (account.number, TIMER, 1);
                    account.books.attempts.lock().unwrap().push(entry);
                    Ok(())
                });
            }
            Do::ManyTimers(timers) => {
                for number in 1..=timers {
                    cx.after(secs(1), async move |account: &mut Self, _| {
                        let entry = (account.number, number, 1);
                        account.books.attempts.lock().unwrap().push(entry);
                        Ok(())
                    });
                }
            }
            Do::StopAfter(time) => stop_after(time, cx),
            Do::Stop => cx.stop(),
        }
        self.seen.push(event.id);
        Ok(())
    }
}

impl Handle<Transfer> for Account {
    async fn handle(&mut self, event: &Transfer, cx: &mut Context<Self>) -> Outcome {
        self.handle(&event.0, cx).await
    }
}

impl Handle<Freeze> for Account {
    async fn handle(&mut self, freeze: &Freeze, _: &mut Context<Self>) -> Outcome {
        assert_eq!(freeze.0, self.number);
        let mut attempts = self.books.attempts.lock().unwrap();
        attempts.push((self.number, 9_999, 1));
        self.seen.push(9_999);
        Ok(())
    }
}

impl Answer<Seen> for Account {
    async fn answer(&mut self, seen: Seen, _: &mut Context<Self>) -> Outcome<Vec<u64>> {
        assert_eq!(seen.0, self.number);
        Ok(self.seen.clone())
    }
}

impl Answer<Hold> for Account {
    async fn answer(&mut self, hold: Hold, _: &mut Context<Self>) -> Outcome {
        let entry = (self.number, HELD, 1);
        self.books.attempts.lock().unwrap().push(entry);
        hold.1.acquire().await?.forget();
        Ok(())
    }
}

type Spec = ServiceSpec<Account, callboard::And<callboard::On<Move>, callboard::Nothing>>;

fn accounts(
    terms: impl FnOnce(PerKey) -> PerKey,
    script: impl Fn(Move, u32) -> Do + Send + Sync + 'static,
) -> (Spec, Arc<Books>) {
    be_quiet();
    let books = Arc::new(Books::default());
    let (kept, script) = (Arc::clone(&books), Arc::new(script) as Script);
    let make = move |key: &Key| {
        let Key::Number(number) = *key else {
            panic!("{ON_PURPOSE}")
        };
        kept.made.fetch_add(1, Ordering::SeqCst);
        let alive = kept.alive.fetch_add(1, Ordering::SeqCst) + 1;
        kept.most.fetch_max(alive, Ordering::SeqCst);
        Account {
            number,
            seen: Vec::new(),
            script: Arc::clone(&script),
            books: Arc::clone(&kept),
        }
    };
    let spec = service("accounts", || -> Account { unreachable!("not used") });
    (spec.on::<Move>().per_key_with(make, terms), books)
}

/// Each attempt waits for a permit.
fn accounts_that_wait() -> (Spec, Arc<Books>, Arc<Semaphore>) {
    let gate = gate();
    let wait = Arc::clone(&gate);
    let (spec, books) = accounts(|terms| terms, move |_, _| Do::Wait(Arc::clone(&wait)));
    (spec, books, gate)
}

/// The messages of the accounts.
fn letters(board: &Board) -> LetterRow {
    letters_of(board, "shop/accounts")
}

fn letters_of(board: &Board, service: &str) -> LetterRow {
    board.ledger().letter(service).cloned().unwrap_or_default()
}

async fn publish(board: &Board, moves: impl IntoIterator<Item = (u64, u64)>) {
    for (account, id) in moves {
        board.publish(Move { account, id }).await.unwrap();
    }
}

#[test]
fn each_key_has_an_instance_and_keeps_its_order() {
    paused(async {
        let gates = [gate(), gate()];
        let wait = gates.clone();
        let (spec, books) = accounts(
            |terms| terms,
            move |event, _| match event {
                Move { account, id: 0 } if account < 2 => {
                    Do::Wait(Arc::clone(&wait[account as usize]))
                }
                _ => Do::Nothing,
            },
        );
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        publish(&board, (0..12).map(|n| (n % 3, n / 3))).await;
        until(|| books.len() == 6).await;
        // Two keys wait, the third does not.
        assert_eq!(address.ask(Seen(2)).await.unwrap(), [0, 1, 2, 3]);
        let open = row(&board, "shop/accounts", "move");
        assert_eq!(
            (open.in_flight, open.deferred, open.acknowledged),
            (2, 6, 4)
        );
        assert_eq!(board.inspect("shop/accounts").unwrap().instances, 3);
        assert!(
            board
                .tree()
                .to_string()
                .contains("3 instances, 2 in flight")
        );
        gates[1].add_permits(1);
        assert_eq!(address.ask(Seen(1)).await.unwrap()[..1], [0]);
        gates[0].add_permits(1);
        board.settle().await.unwrap();
        for account in 0..3 {
            assert_eq!(address.ask(Seen(account)).await.unwrap(), [0, 1, 2, 3]);
        }
        assert_eq!(
            (
                books.made(),
                row(&board, "shop/accounts", "move").acknowledged
            ),
            (3, 12)
        );
    });
}

#[test]
fn only_so_many_keys_are_at_work_at_once() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, books) = accounts(
            |terms| terms.at_once(2),
            move |_, _| Do::Wait(Arc::clone(&wait)),
        );
        let board = here(shop().child(spec)).await;
        publish(&board, (0..5).map(|account| (account, 0))).await;
        until(|| books.len() == 2).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            (books.len(), row(&board, "shop/accounts", "move").in_flight),
            (2, 2)
        );
        gate.add_permits(5);
        board.settle().await.unwrap();
        assert_eq!(books.len(), 5);
    });
}

#[test]
fn a_panic_costs_its_own_instance_alone() {
    paused(async {
        let (spec, books) = accounts(
            |terms| terms,
            |event, attempt| match (event.account, event.id) {
                (1, 1) if attempt == 1 => Do::Panic,
                (2, 1) => Do::Panic,
                _ => Do::Nothing,
            },
        );
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        publish(&board, (0..9).map(|n| (n % 3, n / 3))).await;
        board.settle().await.unwrap();
        assert_eq!(books.of(1), [(0, 1), (1, 1), (1, 2), (2, 1)]);
        assert_eq!(books.of(2), [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1)]);
        // The state before the panic is gone with the instance; other keys keep theirs.
        assert_eq!(address.ask(Seen(1)).await.unwrap(), [1, 2]);
        assert_eq!(address.ask(Seen(2)).await.unwrap(), [2]);
        assert_eq!(address.ask(Seen(0)).await.unwrap(), [0, 1, 2]);
        assert_eq!(board.inspect("shop/accounts").unwrap().life, 1);
        let row = row(&board, "shop/accounts", "move");
        assert_eq!((row.acknowledged, row.dead_lettered), (8, 1));
        assert_eq!(board.dead_letters()[0].attempts().len(), 3);
    });
}

#[test]
fn an_event_that_waits_to_be_tried_again_holds_its_key_alone() {
    paused(async {
        for retry in [
            Retry::fixed(secs(1)).in_place(),
            Retry::fixed(secs(1)).deferred(),
            Retry::fixed(secs(1)).parked(),
        ] {
            let (spec, books) = accounts(
                |terms| terms,
                |event, attempt| match event {
                    Move { account: 0, id: 0 } if attempt < 3 => Do::Fail,
                    _ => Do::Nothing,
                },
            );
            let root = shop().child(spec.policy(Policy::new().retry(retry)));
            let board = here(root).await;
            let began = tokio::time::Instant::now();
            publish(&board, [(0, 0), (0, 1), (1, 0), (1, 1)]).await;
            until(|| books.of(1).len() == 2).await;
            assert_eq!(began.elapsed(), Duration::ZERO);
            board.settle().await.unwrap();
            assert_eq!(began.elapsed(), secs(2));
            assert_eq!(books.of(0), [(0, 1), (0, 2), (0, 3), (1, 1)]);
        }
    });
}

#[test]
fn causes_come_before_effects_within_a_key_across_types() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, books) = accounts(
            |terms| terms,
            move |event, _| match event.id {
                0 => Do::Wait(Arc::clone(&wait)),
                _ => Do::Nothing,
            },
        );
        let address = spec.address();
        let board = here(shop().child(spec.on::<Freeze>())).await;
        publish(&board, [(7, 0)]).await;
        board.publish(Freeze(7)).await.unwrap();
        publish(&board, [(7, 1)]).await;
        until(|| books.len() == 1).await;
        gate.add_permits(1);
        board.settle().await.unwrap();
        let seen = address.ask(Seen(7)).await.unwrap();
        assert_eq!(seen[..2], [0, 9_999], "{seen:?}");
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn events_of_one_key_keep_their_order_whatever_their_types() {
    paused(async {
        let (spec, books) = accounts(
            |terms| terms.at_once(2),
            |event, attempt| match event.id {
                2 if attempt == 1 => Do::Fail,
                _ => Do::Nothing,
            },
        );
        let retry = Policy::new().retry(Retry::fixed(secs(1)));
        let board = here(shop().child(spec.on::<Freeze>().policy(retry))).await;
        // Behind the first of its key, the others are lined up in a topic each.
        publish(&board, (0..4).map(|id| (7, id))).await;
        board.publish(Freeze(7)).await.unwrap();
        publish(&board, (4..6).map(|id| (7, id))).await;
        board.publish(Freeze(8)).await.unwrap();
        until(|| !books.of(8).is_empty()).await;
        let before = [(0, 1), (1, 1), (2, 1)];
        assert_eq!(books.of(7), before, "what waits holds its key alone");
        board.settle().await.unwrap();
        let after = [(2, 2), (3, 1), (9_999, 1), (4, 1), (5, 1)];
        assert_eq!(books.of(7)[3..], after);
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn an_event_that_waited_for_a_subscription_that_ends_goes_on() {
    paused(async {
        let (spec, books) = accounts(
            |terms| terms,
            |event, _| match event.id {
                0 => Do::Fail,
                _ => Do::Nothing,
            },
        );
        let address = spec.address();
        let retry = Policy::new().retry(Retry::fixed(secs(60)));
        let board = here(shop().child(spec.on::<Freeze>().policy(retry))).await;
        publish(&board, [(7, 0), (7, 1)]).await;
        board.publish(Freeze(7)).await.unwrap();
        until(|| row(&board, "shop/accounts", "move").deferred == 2).await;
        let began = tokio::time::Instant::now();
        board.unsubscribe::<Move>(&address).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "at once");
        assert_eq!(books.of(7), [(0, 1), (9_999, 1)]);
        assert_eq!(row(&board, "shop/accounts", "move").undelivered, 2);
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn an_event_whose_own_subscription_ends_is_not_handled_after_others() {
    paused(async {
        let (spec, books) = accounts(
            |terms| terms,
            |event, attempt| match event.id {
                0 if attempt == 1 => Do::Fail,
                _ => Do::Nothing,
            },
        );
        let address = spec.address();
        let retry = Policy::new().retry(Retry::fixed(secs(10)));
        let board = here(shop().child(spec.on::<Freeze>().policy(retry))).await;
        publish(&board, [(7, 0)]).await;
        board.publish(Freeze(7)).await.unwrap();
        until(|| row(&board, "shop/accounts", "freeze").in_flight == 1).await;
        board.unsubscribe::<Freeze>(&address).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(books.of(7), [(0, 1), (0, 2)]);
        assert_eq!(row(&board, "shop/accounts", "freeze").undelivered, 1);
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn an_instance_waits_for_its_own_later_work() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, books) = accounts(
            |terms| terms,
            move |event, _| match event {
                Move { account: 0, id: 0 } => Do::Later(Arc::clone(&wait)),
                _ => Do::Nothing,
            },
        );
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        publish(&board, [(0, 0), (0, 1), (1, 0)]).await;
        until(|| books.of(1).len() == 1).await;
        assert_eq!(books.of(0), [(0, 1)]);
        gate.add_permits(1);
        board.settle().await.unwrap();
        assert_eq!(address.ask(Seen(0)).await.unwrap(), [0, 1_000, 1]);
    });
}

#[test]
fn later_work_of_an_instance_has_the_timeout_of_its_event() {
    paused(async {
        let (spec, books) = accounts(|terms| terms, |_, _| Do::Later(gate()));
        let policy = Policy::new().retry(Retry::never()).timeout(secs(5));
        let board = here(shop().child(spec.policy(policy))).await;
        let began = tokio::time::Instant::now();
        publish(&board, [(7, 0)]).await;
        board.settle().await.unwrap();
        assert_eq!((books.of(7), began.elapsed()), (vec![(0, 1)], secs(5)));
        let letters = board.dead_letters();
        assert!(letters[0].failure().unwrap().is::<TimedOut>());
    });
}

#[test]
fn an_instance_whose_timer_runs_is_not_idle_while_another_is_to_come() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, books) = accounts(
            |terms| terms.kept(0),
            move |_, _| Do::Timers(Arc::clone(&wait), secs(1)),
        );
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0)]).await;
        board.settle().await.unwrap();
        gate.add_permits(1);
        let stopped = || books.stopped.lock().unwrap().len();
        tokio::time::sleep(millis(900)).await;
        assert_eq!(stopped(), 0);
        tokio::time::sleep(millis(200)).await;
        assert_eq!(stopped(), 1);
    });
}

#[test]
fn many_timers_that_are_due_leave_others_their_turn_and_keep_their_order() {
    const TIMERS: u64 = 1_000;
    paused(async {
        let (spec, books) = accounts(|terms| terms, |_, _| Do::ManyTimers(TIMERS));
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0)]).await;
        board.settle().await.unwrap();
        assert_eq!(books.len(), 1);
        tokio::time::advance(secs(1)).await;
        let mut turns = 0;
        until(|| {
            turns += 1;
            books.len() as u64 == TIMERS + 1
        })
        .await;
        assert!(turns > 3, "others have had {turns} turns");
        assert!(books.of(7).iter().is_sorted());
    });
}

#[test]
fn many_messages_for_one_instance_leave_others_their_turn() {
    const LETTERS: u64 = 1_000;
    paused(async {
        let (spec, books, gate) = accounts_that_wait();
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        for _ in 0..LETTERS {
            address.tell(Seen(7)).await.unwrap();
        }
        until(|| letters(&board).in_flight == LETTERS).await;
        gate.add_permits(1);
        let mut turns = 0;
        until(|| {
            turns += 1;
            letters(&board).answered == LETTERS
        })
        .await;
        assert!(turns > 3, "others have had {turns} turns");
    });
}

#[test]
fn idle_instances_are_retired_with_their_hook_and_made_anew() {
    paused(async {
        let (spec, books) = accounts(|terms| terms.idle(secs(10)), |_, _| Do::Nothing);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        publish(&board, [(1, 0)]).await;
        board.settle().await.unwrap();
        tokio::time::sleep(secs(6)).await;
        publish(&board, [(2, 0)]).await;
        assert_eq!(address.ask(Seen(1)).await.unwrap(), [0]);
        tokio::time::sleep(secs(9)).await;
        assert!(books.stopped.lock().unwrap().is_empty());
        tokio::time::sleep(secs(2)).await;
        let stopped = std::mem::take(&mut *books.stopped.lock().unwrap());
        assert_eq!(stopped.len(), 2, "{stopped:?}");
        assert_eq!(books.alive.load(Ordering::SeqCst), 0);
        assert!(address.ask(Seen(1)).await.unwrap().is_empty());
        assert_eq!(books.made(), 3);
    });
}

#[test]
fn an_instance_that_takes_too_long_to_stop_is_cut_off() {
    /// Never done stopping.
    struct Stubborn;
    impl Service for Stubborn {
        async fn stopping(&mut self, _: &Exit, _: &mut Context<Self>) {
            std::future::pending().await
        }
    }
    impl Handle<Freeze> for Stubborn {
        async fn handle(&mut self, _: &Freeze, cx: &mut Context<Self>) -> Outcome {
            cx.stop();
            Ok(())
        }
    }
    for (shutdown, time) in [
        (Shutdown::Graceful(secs(2)), secs(2)),
        (Shutdown::Drain(secs(3)), secs(3)),
        (Shutdown::Kill, secs(5)),
    ] {
        paused(async {
            let spec = service("stubborn", || -> Stubborn { unreachable!("not used") });
            let spec = spec.on::<Freeze>().per_key(|_| Stubborn);
            let board = here(shop().child(spec.shutdown(shutdown))).await;
            let done = || row(&board, "shop/stubborn", "freeze").acknowledged;
            let began = tokio::time::Instant::now();
            for _ in 0..2 {
                board.publish(Freeze(7)).await.unwrap();
            }
            until(|| done() == 1).await;
            tokio::time::sleep(time - millis(1)).await;
            assert_eq!(done(), 1);
            board.settle().await.unwrap();
            assert_eq!((done(), began.elapsed()), (2, time));
        });
    }
}

#[test]
fn an_instance_with_a_timer_is_not_idle() {
    paused(async {
        let (spec, books) = accounts(
            |terms| terms.idle(secs(10)),
            |event, _| match event.id {
                0 => Do::After(secs(25)),
                _ => Do::Nothing,
            },
        );
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        publish(&board, [(1, 0)]).await;
        board.settle().await.unwrap();
        tokio::time::sleep(secs(26)).await;
        assert_eq!(address.ask(Seen(1)).await.unwrap(), [0, 2_000]);
        tokio::time::sleep(secs(60)).await;
        assert_eq!(books.stopped.lock().unwrap().len(), 1);
    });
}

#[test]
fn an_instance_is_retired_after_its_last_timer() {
    paused(async {
        let (spec, books) = accounts(|terms| terms.idle(secs(10)), |_, _| Do::After(secs(25)));
        let board = here(shop().child(spec)).await;
        publish(&board, [(1, 0)]).await;
        board.settle().await.unwrap();
        tokio::time::sleep(secs(34)).await;
        assert!(books.stopped.lock().unwrap().is_empty());
        tokio::time::sleep(secs(60)).await;
        assert_eq!(books.stopped.lock().unwrap().len(), 1);
        assert_eq!(board.inspect("shop/accounts").unwrap().instances, 0);
    });
}

#[test]
fn an_instance_may_stop_itself_and_another_follows() {
    paused(async {
        let (spec, books) = accounts(
            |terms| terms,
            |event, _| match event.id {
                0 => Do::Stop,
                _ => Do::Nothing,
            },
        );
        let board = here(shop().child(spec)).await;
        publish(&board, [(1, 0), (1, 1), (1, 2)]).await;
        board.settle().await.unwrap();
        assert_eq!(books.of(1), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(books.made(), 2);
        assert_eq!(
            books.stopped.lock().unwrap()[..],
            [(1, "ended normally".to_owned())]
        );
    });
}

#[test]
fn an_instance_may_stop_itself_in_a_timer() {
    paused(async {
        let (spec, books) = accounts(|terms| terms, |_, _| Do::StopAfter(secs(5)));
        let board = here(shop().child(spec)).await;
        publish(&board, [(1, 0)]).await;
        board.settle().await.unwrap();
        tokio::time::sleep(millis(4_999)).await;
        assert_eq!(board.inspect("shop/accounts").unwrap().instances, 1);
        tokio::time::sleep(millis(2)).await;
        assert_eq!(board.inspect("shop/accounts").unwrap().instances, 0);
        let stopped = books.stopped.lock().unwrap();
        assert_eq!(stopped[..], [(1, "ended normally".to_owned())]);
    });
}

/// 20,000 keys (a million in release), of which few live at a time.
#[test]
fn many_keys_over_time_leave_nothing_behind() {
    const KEYS: u64 = if cfg!(debug_assertions) {
        20_000
    } else {
        1_000_000
    };
    paused(async {
        let (spec, books) = accounts(|terms| terms.kept(100).at_once(8), |_, _| Do::Nothing);
        let board = here(shop().child(spec)).await;
        publish(&board, (0..KEYS).map(|account| (account, 0))).await;
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/accounts", "move").acknowledged, KEYS);
        assert_eq!(books.made(), KEYS);
        let most = books.most.load(Ordering::SeqCst);
        assert!(most <= 100 + 2 * 8 + 128, "{most} at once");
    });
}

#[test]
fn a_recipe_that_panics_counts_an_attempt() {
    paused(async {
        struct Keyless;
        impl Event for Keyless {
            const NAME: &'static str = "keyless";
        }
        impl Handle<Keyless> for Account {
            async fn handle(&mut self, _: &Keyless, _: &mut Context<Self>) -> Outcome {
                Ok(())
            }
        }
        let (spec, books) = accounts(|terms| terms, |_, _| Do::Nothing);
        let board = here(shop().child(spec.on::<Keyless>())).await;
        board.publish(Keyless).await.unwrap();
        publish(&board, [(1, 0)]).await;
        board.settle().await.unwrap();
        assert_eq!((books.made(), board.dead_letters().len()), (1, 1));
        assert_eq!(board.dead_letters()[0].attempts().len(), 3);
        assert_eq!(board.inspect("shop/accounts").unwrap().life, 1);
    });
}

#[test]
fn an_instance_that_does_not_start_counts_an_attempt_of_what_it_was_made_for() {
    /// Does not start before the third time.
    struct Sleepy(Arc<AtomicU64>);
    impl Service for Sleepy {
        async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Err(Failure::new(ON_PURPOSE)),
                1 => panic!("{ON_PURPOSE}"),
                _ => Ok(()),
            }
        }
    }
    impl Handle<Freeze> for Sleepy {
        async fn handle(&mut self, _: &Freeze, cx: &mut Context<Self>) -> Outcome {
            assert_eq!(cx.attempt(), 3);
            Ok(())
        }
    }
    paused(async {
        be_quiet();
        let starts = Arc::new(AtomicU64::new(0));
        let kept = Arc::clone(&starts);
        let spec = service("sleepy", || -> Sleepy { unreachable!("not used") });
        let spec = spec
            .on::<Freeze>()
            .per_key(move |_| Sleepy(Arc::clone(&kept)));
        let policy = Policy::new().retry(Retry::fixed(secs(1)));
        let board = here(shop().child(spec.policy(policy))).await;
        board.publish(Freeze(7)).await.unwrap();
        board.settle().await.unwrap();
        let row = row(&board, "shop/sleepy", "freeze");
        assert_eq!((row.acknowledged, row.retried), (1, 2));
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        assert_eq!(board.inspect("shop/sleepy").unwrap().life, 1);
    });
}

#[test]
fn an_instance_that_stops_before_it_begins_counts_an_attempt_of_what_it_was_made_for() {
    /// Wants none of it.
    struct Unwilling;
    impl Service for Unwilling {
        async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
            cx.stop();
            Ok(())
        }
    }
    impl Handle<Freeze> for Unwilling {
        async fn handle(&mut self, _: &Freeze, _: &mut Context<Self>) -> Outcome {
            unreachable!("it has stopped")
        }
    }
    paused_elsewhere(async || {
        let spec = service("unwilling", || -> Unwilling { unreachable!("not used") });
        let spec = spec.on::<Freeze>().per_key(|_| Unwilling);
        let board = here(shop().child(spec)).await;
        board.publish(Freeze(7)).await.unwrap();
        board.settle().await.unwrap();
        let letters = board.dead_letters();
        assert_eq!(letters[0].attempts().len(), 3);
        let failure = letters[0].failure().unwrap().to_string();
        assert_eq!(
            failure,
            "its instance stopped itself before it began anything"
        );
    });
}

#[test]
fn a_recipe_that_panics_is_charged_to_one_errand_at_a_time() {
    /// Made once, and then not before the third time it is tried again.
    struct Rare(Arc<Semaphore>);
    impl Service for Rare {}
    impl Handle<Freeze> for Rare {
        async fn handle(&mut self, _: &Freeze, _: &mut Context<Self>) -> Outcome {
            self.0.acquire().await?.forget();
            panic!("{ON_PURPOSE}")
        }
    }
    impl Answer<Seen> for Rare {
        async fn answer(&mut self, _: Seen, _: &mut Context<Self>) -> Outcome<Vec<u64>> {
            Ok(Vec::new())
        }
    }
    paused(async {
        be_quiet();
        let (gate, made) = (gate(), AtomicU64::new(0));
        let wait = Arc::clone(&gate);
        let spec = service("rare", || -> Rare { unreachable!("not used") });
        let spec = spec.on::<Freeze>().per_key(move |_| {
            let made = made.fetch_add(1, Ordering::SeqCst);
            assert!(made != 1, "{ON_PURPOSE}");
            Rare(Arc::clone(&wait))
        });
        let (address, policy) = (spec.address(), Policy::new().retry(Retry::never()));
        let board = here(shop().child(spec.policy(policy))).await;
        board.publish(Freeze(7)).await.unwrap();
        until(|| row(&board, "shop/rare", "freeze").in_flight == 1).await;
        let letters = || letters_of(&board, "shop/rare");
        let opening = async {
            until(|| letters().in_flight == 3).await;
            gate.add_permits(1);
        };
        let asking = futures_util::future::join_all((0..3).map(|_| address.ask(Seen(7))));
        let (answers, ()) = tokio::join!(asking, opening);
        let lost = answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!((lost, letters().failed, letters().answered), (1, 1, 2));
        assert_eq!(board.ledger().gap(), 0);
    });
}

/// Counts, and panics, when it is dropped.
struct Rude(Arc<AtomicU64>);
impl Message for Rude {
    type Reply = ();
}
impl Drop for Rude {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("{ON_PURPOSE}");
    }
}

/// Does not start.
struct Unable;
impl Service for Unable {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        Err(Failure::new(ON_PURPOSE))
    }
}
impl Answer<Rude> for Unable {
    async fn answer(&mut self, _: Rude, _: &mut Context<Self>) -> Outcome {
        unreachable!("it has not started")
    }
}

#[test]
fn a_message_without_an_instance_that_panics_when_it_is_dropped_is_lost_alone() {
    let recipes: [fn() -> Unable; 2] = [|| Unable, || panic!("{ON_PURPOSE}")];
    for make in recipes {
        paused(async {
            be_quiet();
            let spec = service("unable", make).per_key(move |_| make());
            let address = spec.address();
            let board = here(shop().child(spec)).await;
            let drops = Arc::<AtomicU64>::default();
            address.tell(Rude(Arc::clone(&drops))).await.unwrap();
            board.settle().await.unwrap();
            assert_eq!(drops.load(Ordering::SeqCst), 1);
            let letters = letters_of(&board, "shop/unable");
            assert_eq!((letters.accepted, letters.failed), (1, 1));
            assert_eq!(board.inspect("shop/unable").unwrap().life, 1);
        });
    }
}

#[test]
fn what_waits_behind_an_event_without_an_instance_goes_on() {
    /// Lost over its first event.
    struct Frail(Arc<Semaphore>);
    impl Service for Frail {}
    impl Handle<Move> for Frail {
        async fn handle(&mut self, _: &Move, _: &mut Context<Self>) -> Outcome {
            self.0.acquire().await?.forget();
            panic!("{ON_PURPOSE}")
        }
    }
    impl Handle<Freeze> for Frail {
        async fn handle(&mut self, _: &Freeze, _: &mut Context<Self>) -> Outcome {
            unreachable!("none can be made for it")
        }
    }
    impl Handle<Transfer> for Frail {
        async fn handle(&mut self, _: &Transfer, _: &mut Context<Self>) -> Outcome {
            Ok(())
        }
    }
    paused(async {
        be_quiet();
        let (gate, made) = (gate(), AtomicU64::new(0));
        let wait = Arc::clone(&gate);
        let spec = service("frail", || -> Frail { unreachable!("not used") });
        let spec = spec.on::<Move>().on::<Freeze>().on::<Transfer>();
        let spec = spec.per_key(move |_| {
            let made = made.fetch_add(1, Ordering::SeqCst);
            assert!(made != 1, "{ON_PURPOSE}");
            Frail(Arc::clone(&wait))
        });
        let policy = Policy::new().retry(Retry::never());
        let board = here(shop().child(spec.policy(policy))).await;
        publish(&board, [(7, 0)]).await;
        board.publish(Freeze(7)).await.unwrap();
        let last = Transfer(Move { account: 7, id: 1 });
        board.publish(last).await.unwrap();
        let transfers = || row(&board, "shop/frail", "transfer");
        until(|| transfers().in_flight == 1).await;
        gate.add_permits(1);
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/frail", "freeze").dead_lettered, 1);
        assert_eq!(transfers().acknowledged, 1);
    });
}

#[test]
fn what_is_queued_is_not_charged_for_an_instance_that_fails_by_itself() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, books) = accounts(
            |terms| terms,
            move |event, _| match event.id {
                0 | 2 => Do::FailAfter(Arc::clone(&wait)),
                _ => Do::Nothing,
            },
        );
        let address = spec.address();
        let policy = Policy::new().retry(Retry::never());
        let board = here(shop().child(spec.policy(policy))).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.of(7).len() == 2).await;
        publish(&board, [(7, 1), (7, 2)]).await;
        until(|| row(&board, "shop/accounts", "move").in_flight == 1).await;
        gate.add_permits(1);
        until(|| books.of(7).len() == 5).await;
        // The timer of the second instance has begun: whoever asks now waits behind it.
        let letters = || letters(&board);
        let opening = async {
            until(|| letters().in_flight == 1).await;
            gate.add_permits(1);
        };
        let (seen, ()) = tokio::join!(address.ask(Seen(7)), opening);
        assert!(seen.unwrap().is_empty());
        board.settle().await.unwrap();
        let expected = [(0, 1), (TIMER, 1), (1, 1), (2, 1), (TIMER, 1)];
        assert_eq!(books.of(7), expected);
        assert_eq!((books.made(), board.dead_letters().len()), (3, 0));
        let row = row(&board, "shop/accounts", "move");
        assert_eq!((row.acknowledged, row.retried), (3, 0));
    });
}

#[test]
fn an_instance_that_is_lost_before_it_begins_anything_counts_an_attempt() {
    /// Starts, and fails before it does anything else.
    struct Doomed;
    impl Service for Doomed {
        async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
            cx.after(Duration::ZERO, async |_, _| Err(Failure::new(ON_PURPOSE)));
            Ok(())
        }
    }
    impl Handle<Freeze> for Doomed {
        async fn handle(&mut self, _: &Freeze, _: &mut Context<Self>) -> Outcome {
            unreachable!("its timer comes first")
        }
    }
    paused_elsewhere(async || {
        be_quiet();
        let spec = service("doomed", || -> Doomed { unreachable!("not used") });
        let spec = spec.on::<Freeze>().per_key(|_| Doomed);
        let board = here(shop().child(spec)).await;
        board.publish(Freeze(7)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(board.dead_letters()[0].attempts().len(), 3);
    });
}

#[test]
fn instances_of_a_suspended_service_finish_what_they_do_and_begin_nothing() {
    paused(async {
        let (spec, books, gate) = accounts_that_wait();
        let address = spec.address();
        let board = here(shop().child(spec.on::<Freeze>())).await;
        publish(&board, [(7, 0), (7, 1)]).await;
        until(|| books.len() == 1).await;
        board.publish(Freeze(7)).await.unwrap();
        let asked = [(); 3].map(|()| {
            let address = address.clone();
            actix_rt::spawn(async move { address.ask(Seen(7)).await })
        });
        let letters = || letters(&board);
        until(|| letters().in_flight == 3).await;
        board.suspend("shop/accounts").unwrap();
        until(|| letters().queued == 3).await;
        gate.add_permits(2);
        let held = board.settle().await.unwrap_err().to_string();
        assert_eq!(
            held,
            "cannot settle: suspended services still hold work: shop/accounts"
        );
        assert_eq!(books.of(7), [(0, 1)]);
        let moves = row(&board, "shop/accounts", "move");
        assert_eq!((moves.in_flight, moves.acknowledged), (0, 1));
        let freezes = row(&board, "shop/accounts", "freeze");
        assert_eq!((freezes.in_flight, freezes.deferred), (0, 1));
        assert_eq!(board.ledger().gap(), 0);
        board.resume("shop/accounts").unwrap();
        board.settle().await.unwrap();
        assert_eq!(books.of(7), [(0, 1), (1, 1), (9_999, 1)]);
        for answer in asked {
            assert_eq!(answer.await.unwrap().unwrap()[0], 0);
        }
        assert_eq!((letters().answered, letters().taken), (3, 3));
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn what_follows_an_event_and_is_taken_back_by_a_suspension_is_no_retry() {
    paused(async {
        let (gate, hold) = (gate(), gate());
        let wait = Arc::clone(&gate);
        let script = move |_, _| Do::WaitAndFail(Arc::clone(&wait));
        let (spec, books) = accounts(|terms| terms, script);
        let address = spec.address();
        let then = OnFailure::dead_letter().publish(|one: &Move, _: &Failure| Freeze(one.account));
        let policy = Policy::new().retry(Retry::never()).failure(then);
        let board = here(shop().child(spec.policy(policy))).await;
        let moves = || row(&board, "shop/accounts", "move");
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        address.tell(Hold(7, Arc::clone(&hold))).await.unwrap();
        until(|| letters(&board).in_flight == 1).await;
        gate.add_permits(1);
        // What is to follow it waits behind the message.
        until(|| books.of(7) == [(0, 1), (HELD, 1)]).await;
        until(|| moves().in_flight == 1).await;
        board.suspend("shop/accounts").unwrap();
        until(|| moves().deferred == 1).await;
        assert_eq!(moves().retried, 0);
        hold.add_permits(1);
        board.resume("shop/accounts").unwrap();
        board.settle().await.unwrap();
        assert_eq!((moves().retried, moves().dead_lettered), (0, 1));
    });
}

#[test]
fn timers_of_instances_wait_while_their_service_is_suspended() {
    paused(async {
        let (cell, open) = (
            Arc::<OnceLock<Board>>::default(),
            Arc::new(Semaphore::new(1)),
        );
        let board = Arc::clone(&cell);
        let script = move |_, _| {
            board.get().unwrap().suspend("shop/accounts").unwrap();
            Do::FailAfter(Arc::clone(&open))
        };
        let (spec, books) = accounts(|terms| terms, script);
        let board = here(shop().child(spec)).await;
        cell.set(board.clone()).unwrap();
        publish(&board, [(7, 0)]).await;
        board.settle().await.unwrap();
        tokio::time::sleep(secs(60)).await;
        assert_eq!(books.of(7), [(0, 1)]);
        board.resume("shop/accounts").unwrap();
        until(|| books.len() == 2).await;
        assert_eq!(books.of(7), [(0, 1), (TIMER, 1)]);
    });
}

#[test]
fn what_waits_too_long_for_its_instance_is_not_tried() {
    let bounded = Policy::new().retry(Retry::default().within(secs(600)));
    for policy in [Policy::new(), bounded] {
        paused(async {
            let gate = gate();
            let wait = Arc::clone(&gate);
            let script = move |event: Move, _| match event.id {
                // Its timer keeps the instance busy.
                0 => Do::Timers(Arc::clone(&wait), secs(600)),
                _ => Do::Nothing,
            };
            let (spec, books) = accounts(|terms| terms, script);
            let (policy, address) = (policy.time_to_live(secs(60)), spec.address());
            let spec = spec.on_with::<Freeze>(|on| on.policy(Policy::new().no_time_to_live()));
            let board = here(shop().child(spec.policy(policy))).await;
            publish(&board, [(7, 0)]).await;
            board.settle().await.unwrap();
            publish(&board, [(7, 1)]).await;
            board.publish(Freeze(7)).await.unwrap();
            let moves = || row(&board, "shop/accounts", "move");
            until(|| moves().in_flight == 1).await;
            assert!(address.ask(Seen(7)).await.is_err(), "nobody can answer");
            tokio::time::advance(secs(60)).await;
            gate.add_permits(1);
            board.settle().await.unwrap();
            assert_eq!(books.of(7), [(0, 1), (9_999, 1)]);
            assert_eq!((moves().acknowledged, moves().expired), (1, 1));
            let letters = letters(&board);
            assert_eq!((letters.accepted, letters.expired), (1, 1));
            assert_eq!(board.ledger().gap(), 0);
        });
    }
}

#[test]
fn what_has_begun_in_time_is_tried_again_however_old_it_is() {
    paused(async {
        let (spec, books, gate) = accounts_that_wait();
        let policy = Policy::new().time_to_live(secs(60));
        let board = here(shop().child(spec.policy(policy))).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        tokio::time::advance(secs(60)).await;
        board.kill("shop/accounts").await.unwrap();
        gate.add_permits(1);
        board.settle().await.unwrap();
        let moves = row(&board, "shop/accounts", "move");
        assert_eq!((moves.acknowledged, moves.expired), (1, 0));
        assert_eq!(books.of(7), [(0, 1), (0, 1)]);
    });
}

#[test]
fn the_total_time_does_not_count_how_long_an_event_waits_for_its_instance() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let script = move |event: Move, attempt| match event.id {
            0 => Do::Timers(Arc::clone(&wait), secs(600)),
            _ if attempt == 1 => Do::Fail,
            _ => Do::Nothing,
        };
        let (spec, books) = accounts(|terms| terms, script);
        let retry = Retry::fixed(secs(1)).attempts(2).within(secs(5));
        let board = here(shop().child(spec.policy(Policy::new().retry(retry)))).await;
        publish(&board, [(7, 0)]).await;
        board.settle().await.unwrap();
        publish(&board, [(7, 1)]).await;
        until(|| row(&board, "shop/accounts", "move").in_flight == 1).await;
        tokio::time::advance(secs(10)).await;
        gate.add_permits(1);
        board.settle().await.unwrap();
        assert_eq!(books.of(7), [(0, 1), (1, 1), (1, 2)]);
    });
}

#[test]
fn an_instance_is_not_idle_while_its_service_is_suspended() {
    paused(async {
        let (spec, books, gate) = accounts_that_wait();
        let board = here(shop().child(spec.on::<Freeze>())).await;
        publish(&board, [(7, 0), (7, 1)]).await;
        until(|| books.len() == 1).await;
        board.suspend("shop/accounts").unwrap();
        gate.add_permits(2);
        assert!(board.settle().await.is_err());
        tokio::time::advance(secs(600)).await;
        board.resume("shop/accounts").unwrap();
        board.settle().await.unwrap();
        assert_eq!((books.of(7).len(), books.made()), (2, 1));
        assert!(books.stopped.lock().unwrap().is_empty());
    });
}

#[test]
fn of_timers_that_are_due_together_none_runs_after_a_suspension() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let script = move |_, _| Do::Timers(Arc::clone(&wait), Duration::ZERO);
        let (spec, books) = accounts(|terms| terms, script);
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0)]).await;
        board.settle().await.unwrap();
        board.suspend("shop/accounts").unwrap();
        gate.add_permits(1);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(books.of(7), [(0, 1)]);
        board.resume("shop/accounts").unwrap();
        until(|| books.len() == 2).await;
        assert_eq!(books.of(7), [(0, 1), (TIMER, 1)]);
    });
}

#[test]
fn an_instance_that_rests_between_its_timers_is_not_seen_as_busy() {
    paused(async {
        let script = |event: Move, _| Do::After(secs(10 + 600 * event.id));
        let (spec, _) = accounts(|terms| terms, script);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0), (7, 1)]).await;
        board.settle().await.unwrap();
        tokio::time::sleep(secs(60)).await;
        let found = board.inspect("shop/accounts").unwrap();
        assert!(found.current.is_none(), "{:?}", found.current);
        assert_eq!(address.ask(Seen(7)).await.unwrap(), [0, 1, 2_000]);
    });
}

#[test]
fn letters_that_no_instance_has_begun_are_answered_in_the_next_life() {
    paused(async {
        let (spec, books, gate) = accounts_that_wait();
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        for how in ["restart", "kill"] {
            let before = books.len();
            publish(&board, [(7, 0)]).await;
            until(|| books.len() == before + 1).await;
            let asking = address.ask(Seen(7));
            let ending = async {
                until(|| letters(&board).in_flight == 1).await;
                if how == "kill" {
                    board.kill("shop/accounts").await.unwrap();
                    gate.add_permits(1);
                } else {
                    gate.add_permits(1);
                    board.restart("shop/accounts").await.unwrap();
                }
            };
            let (seen, ()) = tokio::join!(asking, ending);
            assert!(seen.is_ok(), "after a {how}: {seen:?}");
            board.settle().await.unwrap();
            assert_eq!(board.ledger().gap(), 0);
        }
    });
}

#[test]
fn a_letter_that_no_instance_has_begun_is_undelivered_at_the_end() {
    paused(async {
        let (spec, books, gate) = accounts_that_wait();
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        address.tell(Seen(7)).await.unwrap();
        let letters = || letters(&board);
        until(|| letters().in_flight == 1).await;
        let ending = async {
            tokio::task::yield_now().await;
            gate.add_permits(1);
        };
        let (ended, ()) = tokio::join!(board.stop("shop/accounts"), ending);
        ended.unwrap();
        assert_eq!((letters().undelivered, letters().in_flight), (1, 0));
        assert_eq!(row(&board, "shop/accounts", "move").acknowledged, 1);
    });
}

#[test]
fn letters_behind_a_loss_that_ends_the_service_are_undelivered() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let script = move |_, _| Do::WaitAndPanic(Arc::clone(&wait));
        let (spec, books) = accounts(|terms| terms, script);
        let policy = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::dead_letter().stop());
        let address = spec.address();
        let board = here(shop().child(spec.policy(policy))).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        let opening = async {
            address.tell(Seen(7)).await.unwrap();
            until(|| letters(&board).in_flight == 2).await;
            gate.add_permits(1);
        };
        let (asked, ()) = tokio::join!(address.ask(Seen(7)), opening);
        assert!(matches!(asked, Err(AskError::Undelivered)), "{asked:?}");
        until(|| letters(&board).in_flight == 0).await;
        let letters = letters(&board);
        assert_eq!((letters.undelivered, letters.failed), (2, 0));
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn letters_behind_an_event_without_an_instance_that_ends_the_service_are_undelivered() {
    /// Lost over its first message.
    struct Frail;
    impl Service for Frail {}
    impl Handle<Freeze> for Frail {
        async fn handle(&mut self, _: &Freeze, _: &mut Context<Self>) -> Outcome {
            unreachable!("none can be made for it")
        }
    }
    impl Answer<Hold> for Frail {
        async fn answer(&mut self, hold: Hold, _: &mut Context<Self>) -> Outcome {
            hold.1.acquire().await?.forget();
            panic!("{ON_PURPOSE}")
        }
    }
    impl Answer<Seen> for Frail {
        async fn answer(&mut self, _: Seen, _: &mut Context<Self>) -> Outcome<Vec<u64>> {
            unreachable!("none can be made for it")
        }
    }
    paused(async {
        be_quiet();
        let (gate, made) = (gate(), AtomicU64::new(0));
        let spec = service("frail", || -> Frail { unreachable!("not used") });
        let spec = spec.on::<Freeze>().per_key(move |_| {
            assert!(made.fetch_add(1, Ordering::SeqCst) == 0, "{ON_PURPOSE}");
            Frail
        });
        let (address, policy) = (spec.address(), Policy::new().retry(Retry::never()));
        let policy = policy.failure(OnFailure::dead_letter().stop());
        let board = here(shop().child(spec.policy(policy))).await;
        let letters = || letters_of(&board, "shop/frail");
        address.tell(Hold(7, Arc::clone(&gate))).await.unwrap();
        until(|| letters().in_flight == 1).await;
        board.publish(Freeze(7)).await.unwrap();
        until(|| row(&board, "shop/frail", "freeze").in_flight == 1).await;
        address.tell(Seen(7)).await.unwrap();
        until(|| letters().in_flight == 2).await;
        gate.add_permits(1);
        until(|| letters().in_flight == 0).await;
        assert_eq!((letters().failed, letters().undelivered), (1, 1));
        assert_eq!(row(&board, "shop/frail", "freeze").dead_lettered, 1);
    });
}

#[test]
fn letters_behind_a_loss_that_fails_the_supervisor_are_answered_in_the_next_life() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let script = move |_, _| Do::WaitAndPanic(Arc::clone(&wait));
        let (spec, books) = accounts(|terms| terms, script);
        let policy = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::dead_letter().escalate());
        let address = spec.address();
        let inner = Supervisor::one_for_one("inner").child(spec.policy(policy));
        let board = here(shop().child(inner)).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        let letters = || {
            let ledger = board.ledger();
            ledger
                .letter("shop/inner/accounts")
                .cloned()
                .unwrap_or_default()
        };
        let opening = async {
            address.tell(Seen(7)).await.unwrap();
            until(|| letters().in_flight == 2).await;
            gate.add_permits(1);
        };
        let (asked, ()) = tokio::join!(address.ask(Seen(7)), opening);
        assert!(asked.unwrap().is_empty());
        board.settle().await.unwrap();
        assert_eq!((letters().answered, letters().failed), (2, 0));
    });
}

#[test]
fn a_failure_policy_that_restarts_costs_the_instance_of_its_key_alone() {
    paused(async {
        let (spec, books) = accounts(
            |terms| terms,
            |event, _| match event {
                Move { account: 1, id: 1 } => Do::Fail,
                _ => Do::Nothing,
            },
        );
        let address = spec.address();
        let policy = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::discard().restart());
        let board = here(shop().child(spec.policy(policy))).await;
        publish(&board, (0..6).map(|n| (n % 2, n / 2))).await;
        board.settle().await.unwrap();
        assert_eq!(address.ask(Seen(0)).await.unwrap(), [0, 1, 2]);
        assert_eq!(address.ask(Seen(1)).await.unwrap(), [2]);
        assert_eq!((books.made(), books.stopped.lock().unwrap().len()), (3, 1));
        assert_eq!(board.inspect("shop/accounts").unwrap().life, 1);
    });
}

#[test]
fn an_instance_that_a_timeout_costs_does_nothing_more() {
    let policies = [
        Policy::new().timeout_restarts(),
        Policy::new().failure_of::<TimedOut>(OnFailure::dead_letter().restart()),
    ];
    for policy in policies {
        paused(async {
            let (spec, books, _gate) = accounts_that_wait();
            let address = spec.address();
            let policy = policy.retry(Retry::never()).timeout(secs(1));
            let board = here(shop().child(spec.policy(policy))).await;
            publish(&board, [(7, 0)]).await;
            until(|| books.len() == 1).await;
            // It waits behind what takes too long, and is answered by another.
            assert!(address.ask(Seen(7)).await.unwrap().is_empty());
            board.settle().await.unwrap();
            let stopped = books.stopped.lock().unwrap().clone();
            assert_eq!((books.made(), stopped), (2, Vec::new()));
            assert_eq!(row(&board, "shop/accounts", "move").dead_lettered, 1);
            assert_eq!(board.inspect("shop/accounts").unwrap().life, 1);
        });
    }
}

#[test]
fn an_instance_that_a_failure_costs_does_nothing_more_than_stop() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let script = move |_, _| Do::WaitAndFail(Arc::clone(&wait));
        let (spec, books) = accounts(|terms| terms, script);
        let address = spec.address();
        let policy = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::discard().restart());
        let board = here(shop().child(spec.policy(policy))).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        let opening = async {
            until(|| letters(&board).in_flight == 1).await;
            gate.add_permits(1);
        };
        let (seen, ()) = tokio::join!(address.ask(Seen(7)), opening);
        assert!(seen.is_ok());
        let stopped = books.stopped.lock().unwrap().clone();
        assert_eq!(books.made(), 2, "another has answered");
        assert_eq!(stopped, [(7, format!("failed: {ON_PURPOSE}"))]);
    });
}

#[test]
fn a_failure_policy_that_stops_the_service_ends_all_instances() {
    paused(async {
        let (spec, books) = accounts(
            |terms| terms,
            |event, _| match event.account {
                1 => Do::Fail,
                _ => Do::Nothing,
            },
        );
        let policy = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::discard().stop());
        let board = here(shop().child(spec.policy(policy))).await;
        publish(&board, [(0, 0)]).await;
        board.settle().await.unwrap();
        publish(&board, [(1, 0), (0, 1)]).await;
        until(|| {
            board
                .inspect("shop/accounts")
                .is_ok_and(|one| one.state == State::Closed)
        })
        .await;
        assert_eq!(books.alive.load(Ordering::SeqCst), 0);
        assert_eq!(books.stopped.lock().unwrap().len(), 2);
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_service_that_its_policy_ends_waits_for_no_handler_that_never_returns() {
    paused(async {
        let (spec, books) = accounts(
            |terms| terms,
            |event, _| match event.account {
                1 => Do::Fail,
                _ => Do::Wait(gate()),
            },
        );
        let policy = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::discard().stop());
        let board = here(shop().child(spec.policy(policy).shutdown(secs(3)))).await;
        publish(&board, [(0, 0)]).await;
        until(|| books.len() == 1).await;
        publish(&board, [(1, 0)]).await;
        tokio::time::sleep(millis(2_999)).await;
        assert_eq!(
            board.inspect("shop/accounts").unwrap().state,
            State::Running
        );
        tokio::time::sleep(millis(2)).await;
        assert_eq!(board.inspect("shop/accounts").unwrap().state, State::Closed);
        let exit = board.inspect("shop/accounts").unwrap().last_exit.unwrap();
        assert!(matches!(exit, Exit::Retired(_)), "{exit}");
        assert_eq!(books.alive.load(Ordering::SeqCst), 0);
        let row = row(&board, "shop/accounts", "move");
        assert_eq!((row.discarded, row.undelivered), (1, 1));
    });
}

#[test]
fn a_policy_that_stops_the_service_is_heeded_while_it_is_restarted_with_its_group() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let script = move |_, _| Do::WaitAndFail(Arc::clone(&wait));
        let (spec, books) = accounts(|terms| terms, script);
        let policy = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::discard().stop());
        let group = Supervisor::one_for_all("group").child(spec.policy(policy));
        let group = group.child(crate::support_lives::probe(
            "b",
            &crate::support_lives::Log::new(),
        ));
        let board = here(shop().child(group)).await;
        publish(&board, [(1, 0)]).await;
        until(|| books.len() == 1).await;
        board.kill("shop/group/b").await.unwrap();
        until(|| board.inspect("shop/group/accounts").unwrap().state == State::Stopping).await;
        gate.add_permits(1);
        until(|| board.inspect("shop/group/b").unwrap().life == 2).await;
        let accounts = board.inspect("shop/group/accounts").unwrap();
        assert_eq!(accounts.state, State::Closed);
        assert!(matches!(accounts.last_exit, Some(Exit::Retired(_))));
    });
}

#[test]
fn what_is_to_follow_an_event_that_no_instance_can_be_made_for_is_given_up() {
    paused(async {
        struct Told;
        impl Event for Told {
            const NAME: &'static str = "told";
        }
        struct Keyless;
        impl Event for Keyless {
            const NAME: &'static str = "keyless";
        }
        impl Handle<Keyless> for Account {
            async fn handle(&mut self, _: &Keyless, _: &mut Context<Self>) -> Outcome {
                Ok(())
            }
        }
        let (spec, _) = accounts(|terms| terms, |_, _| Do::Nothing);
        let follow = OnFailure::dead_letter().publish(|_: &Keyless, _: &Failure| Told);
        let policy = Policy::new().failure(follow);
        let spec = spec.on_with::<Keyless>(|on| on.policy(policy));
        let board = here(shop().child(spec)).await;
        board.publish(Keyless).await.unwrap();
        let settled = tokio::time::timeout(secs(60), board.settle()).await;
        settled.unwrap().unwrap();
        let letters = board.dead_letters();
        assert_eq!(letters[0].reason(), callboard::Reason::NotFollowedUp);
        assert_eq!((letters.len(), letters[0].attempts().len()), (1, 3));
    });
}

#[test]
fn what_is_done_when_another_instance_ends_the_service_is_settled() {
    paused(async {
        let (gate, never) = (gate(), gate());
        let wait = Arc::clone(&gate);
        let script = move |event: Move, _| match event.account {
            7 => Do::Wait(Arc::clone(&never)),
            _ => Do::Wait(Arc::clone(&wait)),
        };
        let (spec, books) = accounts(|terms| terms, script);
        let address = spec.address();
        let policy = Policy::new()
            .retry(Retry::never())
            .timeout(secs(1))
            .failure_of::<TimedOut>(OnFailure::dead_letter().stop());
        let spec = spec.on_with::<Transfer>(|on| on.policy(Policy::new().no_timeout()));
        let board = here(shop().child(spec.policy(policy))).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        let transfer = Transfer(Move { account: 8, id: 0 });
        board.publish(transfer).await.unwrap();
        address.tell(Hold(9, Arc::clone(&gate))).await.unwrap();
        until(|| books.len() == 3).await;
        // The time of the first is over when the others are done.
        tokio::time::sleep(secs(1)).await;
        gate.add_permits(2);
        let rows = || ["move", "transfer"].map(|event| row(&board, "shop/accounts", event));
        until(|| rows().iter().all(|row| row.in_flight == 0)).await;
        let [moves, transfers] = rows();
        assert_eq!(moves.dead_lettered, 1);
        assert_eq!((transfers.acknowledged, transfers.undelivered), (1, 0));
        assert_eq!((letters(&board).answered, letters(&board).failed), (1, 0));
        let ended = board.inspect("shop/accounts").unwrap();
        assert_eq!((ended.state, ended.life), (State::Closed, 1));
    });
}

#[test]
fn a_shutdown_drains_all_keys_or_leaves_them_undelivered() {
    paused(async {
        for drained in [true, false] {
            let gate = gate();
            let wait = Arc::clone(&gate);
            let (spec, books) = accounts(
                |terms| terms,
                move |event, _| match event.account {
                    0 => Do::Wait(Arc::clone(&wait)),
                    _ => Do::Nothing,
                },
            );
            let board = here(shop().child(spec)).await;
            publish(&board, (0..12).map(|n| (n % 3, n / 3))).await;
            until(|| books.len() == 9).await;
            gate.add_permits(if drained { 4 } else { 0 });
            let report = board.shutdown(secs(30)).await;
            let row = report.ledger.delivery("shop/accounts", "move").unwrap();
            let expected = if drained { (12, 0) } else { (8, 4) };
            assert_eq!((row.acknowledged, row.undelivered), expected, "{report}");
            assert_eq!(report.ledger.gap(), 0);
            tokio::task::yield_now().await;
            assert_eq!(books.alive.load(Ordering::SeqCst), 0);
            let stopped = books.stopped.lock().unwrap().len();
            assert_eq!(stopped, if drained { 3 } else { 2 });
        }
    });
}

#[test]
fn one_that_is_stopped_and_drains_waits_for_its_instances() {
    paused(async {
        let (spec, books, gate) = accounts_that_wait();
        let spec = spec.shutdown(Shutdown::Drain(secs(60)));
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0), (7, 1), (8, 0)]).await;
        until(|| books.len() == 2).await;
        let opening = async {
            tokio::time::sleep(secs(1)).await;
            gate.add_permits(3);
        };
        let (ended, ()) = tokio::join!(board.stop("shop/accounts"), opening);
        ended.unwrap();
        let row = row(&board, "shop/accounts", "move");
        assert_eq!((row.acknowledged, row.undelivered), (3, 0));
    });
}

#[test]
fn one_that_drains_leaves_the_thread_to_its_instances_whatever_is_published() {
    paused_elsewhere(async || {
        let (spec, books, gate) = accounts_that_wait();
        let spec = spec.shutdown(Shutdown::Drain(secs(60)));
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        let opening = async {
            // All that can be done has been by then, the order to stop included.
            tokio::time::sleep(secs(1)).await;
            publish(&board, [(7, 1)]).await;
            tokio::time::sleep(secs(1)).await;
            gate.add_permits(1);
        };
        let (ended, ()) = tokio::join!(board.stop("shop/accounts"), opening);
        ended.unwrap();
        let row = row(&board, "shop/accounts", "move");
        assert_eq!((row.acknowledged, row.undelivered), (1, 1));
    });
}

#[test]
fn letters_for_a_busy_key_are_bounded_and_hold_up_no_other_key() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, books) = accounts(
            |terms| terms.at_once(2),
            move |event, _| match event.account {
                7 => Do::Wait(Arc::clone(&wait)),
                _ => Do::Nothing,
            },
        );
        let spec = spec.letters(2);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0)]).await;
        until(|| books.len() == 1).await;
        let mut accepted = 0;
        while accepted < 100 && address.try_tell(Seen(7)).is_ok() {
            accepted += 1;
            // Whatever can be taken has been by then.
            tokio::time::sleep(millis(1)).await;
        }
        // Two that wait for the instance, and two that wait for those.
        assert_eq!(accepted, 4);
        publish(&board, [(8, 1)]).await;
        until(|| books.of(8) == [(1, 1)]).await;
        gate.add_permits(1);
        board.settle().await.unwrap();
        let letters = letters(&board);
        assert_eq!((letters.accepted, letters.answered), (4, 4));
    });
}

#[test]
fn an_event_given_back_to_a_busy_key_leaves_its_line_in_order() {
    paused(async {
        let (gate, is_broken) = (gate(), Arc::new(AtomicBool::new(true)));
        let (wait, broken) = (Arc::clone(&gate), Arc::clone(&is_broken));
        let (spec, books) = accounts(
            |terms| terms,
            move |event, attempt| match (event.id, attempt) {
                (0, _) if broken.load(Ordering::SeqCst) => Do::Fail,
                (1, _) => Do::Wait(Arc::clone(&wait)),
                (2, 1) => Do::Fail,
                _ => Do::Nothing,
            },
        );
        let retry = Retry::fixed(secs(1)).attempts(2);
        let spec = spec.policy(Policy::new().retry(retry));
        let board = here(shop().child(spec)).await;
        publish(&board, [(7, 0)]).await;
        board.settle().await.unwrap();
        is_broken.store(false, Ordering::SeqCst);
        publish(&board, [(7, 1), (7, 2)]).await;
        until(|| books.len() == 3).await;
        board.redrive(&board.dead_letters()[0]).await.unwrap();
        // All that can be done has been by then.
        tokio::time::sleep(millis(1)).await;
        gate.add_permits(1);
        until(|| books.of(7).contains(&(2, 1))).await;
        publish(&board, [(7, 3)]).await;
        board.settle().await.unwrap();
        let done = books.of(7);
        let at = |entry| done.iter().position(|one| *one == entry).unwrap();
        assert!(at((2, 2)) < at((3, 1)), "{done:?}");
        assert_eq!(row(&board, "shop/accounts", "move").acknowledged, 4);
    });
}

#[test]
fn one_that_finds_no_room_in_line_rests_until_there_is() {
    paused_elsewhere(async || {
        let (spec, books, gate) = accounts_that_wait();
        let spec = spec.on_with::<Transfer>(|on| on.capacity(2));
        let board = here(shop().child(spec)).await;
        for id in 0..4 {
            let transfer = Transfer(Move { account: 7, id });
            board.publish(transfer).await.unwrap();
        }
        // Time passes only when nobody has anything to do.
        tokio::time::sleep(secs(1)).await;
        assert_eq!(books.of(7), [(0, 1)]);
        gate.add_permits(4);
        board.settle().await.unwrap();
        assert_eq!(books.of(7), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(row(&board, "shop/accounts", "transfer").acknowledged, 4);
    });
}

#[test]
fn what_waits_to_be_tried_again_is_bounded_whatever_its_keys() {
    paused(async {
        const KEYS: u64 = 3_000;
        let is_broken = Arc::new(AtomicBool::new(true));
        let broken = Arc::clone(&is_broken);
        let (spec, books) = accounts(
            |terms| terms,
            move |_, _| match broken.load(Ordering::SeqCst) {
                true => Do::Fail,
                false => Do::Nothing,
            },
        );
        let retry = Policy::new().retry(Retry::fixed(secs(600)));
        let board = here(shop().child(spec.policy(retry).on::<Freeze>())).await;
        let moves = || row(&board, "shop/accounts", "move");
        let freezes = || row(&board, "shop/accounts", "freeze");
        let mut refused = 0;
        for account in 0..KEYS {
            refused += u64::from(board.try_publish(Move { account, id: 0 }).is_err());
            refused += u64::from(board.try_publish(Freeze(account)).is_err());
            if account % 16 == 0 {
                tokio::time::sleep(millis(1)).await;
                assert!(moves().deferred <= 1_024, "{}", moves().deferred);
                // Those wait for the moves of their keys.
                assert!(freezes().in_flight <= 1_024, "{}", freezes().in_flight);
            }
        }
        assert!(refused > 0, "publishers hear of it");
        is_broken.store(false, Ordering::SeqCst);
        board.settle().await.unwrap();
        let done = moves().acknowledged + freezes().acknowledged;
        assert_eq!(done, 2 * KEYS - refused);
        assert!(books.len() as u64 > done, "some were tried again");
    });
}

#[test]
fn what_is_given_back_waits_for_room_like_what_is_new() {
    paused_elsewhere(async || {
        let is_broken = Arc::new(AtomicBool::new(true));
        let broken = Arc::clone(&is_broken);
        let (spec, _) = accounts(
            |terms| terms,
            move |_, attempt| match broken.load(Ordering::SeqCst) {
                true if attempt == 1 => Do::Fail,
                _ => Do::Nothing,
            },
        );
        let retry = Policy::new().retry(Retry::never());
        let spec = spec.on_with::<Transfer>(|on| on.capacity(2));
        let address = spec.address();
        let board = here(shop().child(spec.policy(retry))).await;
        let transfers = || row(&board, "shop/accounts", "transfer");
        for account in 0..6 {
            let transfer = Transfer(Move { account, id: 0 });
            board.publish(transfer).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(transfers().dead_lettered, 6);
        let retry = Policy::new().retry(Retry::fixed(secs(600)));
        board.set_policy("shop/accounts", retry).unwrap();
        for letter in board.dead_letters() {
            board.redrive(&letter).await.unwrap();
        }
        tokio::time::sleep(secs(1)).await;
        let now = transfers();
        assert_eq!((now.deferred, now.queued), (3, 3), "one at the door");
        assert!(address.ask(Seen(9)).await.unwrap().is_empty());
        is_broken.store(false, Ordering::SeqCst);
        board.settle().await.unwrap();
        assert_eq!(transfers().acknowledged, 6);
    });
}

#[test]
fn a_long_line_is_not_made_in_one_turn() {
    paused(async {
        const EVENTS: u64 = 1_000;
        let (spec, _, gate) = accounts_that_wait();
        let spec = spec.on_with::<Transfer>(|on| on.capacity(10_000));
        let board = here(shop().child(spec)).await;
        for id in 0..EVENTS {
            let transfer = Transfer(Move { account: 7, id });
            board.try_publish(transfer).unwrap();
        }
        let transfers = || row(&board, "shop/accounts", "transfer");
        let mut turns = 0;
        until(|| {
            turns += u32::from(transfers().deferred > 0);
            transfers().deferred == EVENTS - 1
        })
        .await;
        assert!(turns > 3, "others have had {turns} turns");
        gate.add_permits(EVENTS as usize);
        board.settle().await.unwrap();
        assert_eq!(transfers().acknowledged, EVENTS);
    });
}

#[test]
fn every_event_is_handled_in_order_under_random_trouble() {
    for seed in 0..20_u64 {
        paused(async move {
            let mut dice = fastrand::Rng::with_seed(seed);
            let salt = dice.u64(..);
            let (spec, books) = accounts(
                |terms| terms.at_once(4).kept(3).idle(millis(200)),
                move |event, attempt| {
                    let mix = fastrand::Rng::with_seed(
                        salt ^ (event.account << 40) ^ (event.id << 8) ^ u64::from(attempt),
                    )
                    .u32(..100);
                    match mix {
                        0..8 => Do::Fail,
                        8..12 => Do::Panic,
                        12..16 => Do::After(millis(50)),
                        16..18 => Do::Stop,
                        _ => Do::Nothing,
                    }
                },
            );
            let retry = Retry::fixed(millis(20)).attempts(3);
            let spec = spec.policy(Policy::new().retry(retry));
            // Small ones, too: all that waits has to find room, and to leave it.
            let capacity = 1 << dice.usize(..9);
            let spec = spec.on_with::<Transfer>(|on| on.capacity(capacity));
            let board = here(shop().child(spec)).await;
            let mut next = BTreeMap::<u64, u64>::new();
            for _ in 0..600 {
                let account = dice.u64(..12);
                let id = next.entry(account).or_default();
                let event = Move { account, id: *id };
                match dice.bool() {
                    true => board.publish(event).await.map(drop).unwrap(),
                    false => board.publish(Transfer(event)).await.map(drop).unwrap(),
                }
                *id += 1;
                let transfers = row(&board, "shop/accounts", "transfer");
                assert!(transfers.deferred <= capacity as u64, "seed {seed}");
                if dice.u32(..20) == 0 {
                    tokio::time::sleep(millis(dice.u64(1..400))).await;
                }
            }
            board.settle().await.unwrap();
            for (account, count) in next {
                let attempts = books.of(account);
                let mut ids: Vec<_> = attempts.iter().map(|(id, _)| *id).collect();
                assert!(
                    ids.is_sorted(),
                    "seed {seed}, account {account}: {attempts:?}"
                );
                ids.dedup();
                assert_eq!(ids, (0..count).collect::<Vec<_>>(), "seed {seed}");
                assert!(attempts.iter().all(|(_, attempt)| *attempt <= 3));
            }
            let rows = ["move", "transfer"].map(|event| row(&board, "shop/accounts", event));
            let dead: u64 = rows.iter().map(|row| row.dead_lettered).sum();
            let done: u64 = rows.iter().map(|row| row.acknowledged).sum();
            assert_eq!(done + dead, 600);
            assert_eq!(board.dead_letters().len() as u64, dead);
            let report = board.shutdown(secs(5)).await;
            assert_eq!(report.ledger.gap(), 0);
        });
    }
}

#[test]
fn terms_that_cannot_be_meant_are_refused() {
    paused(async {
        let (spec, _) = accounts(
            |terms| terms.at_once(0).idle(Duration::ZERO),
            |_, _| Do::Nothing,
        );
        let refused = Board::builder()
            .on_this_thread()
            .start(shop().child(spec))
            .await;
        let text = refused.unwrap_err().to_string();
        for word in ["shop/accounts", "no key may be at work", "at least 1 ms"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        let (spec, _) = accounts(|terms| terms, |_, _| Do::Nothing);
        let root = shop().child(spec.workers(2));
        let text = Board::builder()
            .on_this_thread()
            .start(root)
            .await
            .unwrap_err()
            .to_string();
        assert!(text.contains("it takes no workers"), "{text}");
    });
}
