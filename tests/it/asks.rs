//! Every ask ends: with an answer, or at once with the reason why there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callboard::prelude::*;
use callboard::{AskError, EventId, Recipient, Restart, ServiceSpec, TellError};
use tokio::time::Instant;

use crate::support_lives::{
    Deed, Do, Log, Note, Probe, boom, end, hearer, here, note, paused, probe, probe_with, until,
};

const NOTHING: Do = Do(Deed::Nothing);

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

#[test]
fn a_service_that_has_not_been_started_gives_the_message_back() {
    paused(async {
        let a = probe("a", &Log::new()).address();
        let error = a.ask(NOTHING).await.unwrap_err();
        assert!(matches!(error, AskError::NotStarted(_)) && error.is_unheard());
        assert_eq!(error.into_message(), Some(NOTHING));
        let error = a.tell(NOTHING).await.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(
            error.to_string(),
            "the service has not been started: is it in the tree of a board that runs?"
        );
        assert!(matches!(a.try_tell(NOTHING), Err(TellError::NotStarted(_))));
        assert!(matches!(
            a.try_ask(NOTHING).await,
            Err(AskError::NotStarted(_))
        ));
        assert_eq!(a.path(), "");
    });
}

#[test]
fn a_service_that_has_ended_takes_nothing_however_many_letters_it_has_room_for() {
    paused(async {
        let spec = probe("a", &Log::new()).letters(usize::MAX);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        a.ask(NOTHING).await.unwrap();
        board.stop("shop/a").await.unwrap();
        let error = a.tell(NOTHING).await.unwrap_err();
        assert!(matches!(error, TellError::Stopped(_)));
        let error = a.ask(NOTHING).await.unwrap_err();
        assert!(matches!(error, AskError::Stopped(_)));
        end(&board).await;
    });
}

#[test]
fn a_service_that_crashes_while_it_answers_says_so_at_once() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = probe("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let error = a.ask(Do(Deed::Panic)).await.unwrap_err();
        assert!(matches!(error, AskError::Crashed) && !error.is_unheard());
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(board.ledger().letter("shop/a").unwrap().failed, 1);
        end(&board).await;
    });
}

#[test]
fn a_service_that_is_restarting_answers_when_it_is_up() {
    paused(async {
        let log = Log::new();
        let spec = probe_with("a", &log, |life| match life {
            1 => Deed::Nothing,
            _ => Deed::Sleep(secs(2)),
        });
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        assert!(a.ask(Do(Deed::Panic)).await.is_err());
        let began = Instant::now();
        assert_eq!(a.ask(NOTHING).await.unwrap(), 2);
        assert_eq!(began.elapsed().as_secs(), 2);
        end(&board).await;
    });
}

#[test]
fn a_service_that_has_ended_gives_the_message_back() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log).restart(Restart::Temporary);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        a.tell(Do(Deed::Stop)).await.unwrap();
        until(|| a.try_tell(NOTHING).is_err()).await;
        let error = a.ask(NOTHING).await.unwrap_err();
        assert_eq!(error.to_string(), "the service has stopped");
        assert_eq!(error.into_message(), Some(NOTHING));
        assert!(matches!(
            a.try_ask(NOTHING).await,
            Err(AskError::Stopped(_))
        ));
        end(&board).await;
    });
}

#[test]
fn what_a_service_had_not_come_to_when_it_ended_is_undelivered() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log).restart(Restart::Temporary);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let (first, second) = tokio::join!(a.ask(Do(Deed::Panic)), a.ask(NOTHING));
        assert!(matches!(first, Err(AskError::Crashed)));
        assert!(matches!(second, Err(AskError::Undelivered)));
        let row = board.ledger().letter("shop/a").unwrap().clone();
        assert_eq!((row.accepted, row.failed, row.undelivered), (2, 1, 1));
        end(&board).await;
    });
}

#[test]
fn an_ask_ends_after_5_seconds_and_a_letter_nobody_waits_for_is_never_handled() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = probe("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let busy = a.ask(Do(Deed::Sleep(secs(8))));
        let (first, second) = tokio::join!(busy, a.ask(Do(Deed::Countdown(0))));
        for answer in [first, second] {
            let error = answer.unwrap_err();
            assert_eq!(error.to_string(), "no answer within 5s");
            assert!(!error.is_unheard());
        }
        assert_eq!(began.elapsed().as_secs(), 5);
        board.settle().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 8);
        assert_eq!(log.lines(), ["a started 1", "a Sleep(8s)"]);
        let row = board.ledger().letter("shop/a").unwrap().clone();
        assert_eq!((row.accepted, row.answered, row.expired), (2, 1, 1));
        end(&board).await;
    });
}

/// Passes on what it is asked, and would wait for an answer for long.
struct Relay(Address<Probe>);
impl Service for Relay {}
impl Answer<Do> for Relay {
    async fn answer(&mut self, what: Do, cx: &mut Context<Self>) -> Outcome<u32> {
        Ok(cx.ask_within(&self.0, what, secs(60)).await?)
    }
}

#[test]
fn an_ask_takes_as_long_as_its_asker_allows_and_in_a_chain_as_the_first_does() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log);
        let a = spec.address();
        let to = a.clone();
        let relay = service("relay", move || Relay(to.clone()));
        let (relayed, sleep) = (relay.address(), Do(Deed::Sleep(secs(8))));
        let board = here(shop().child(spec).child(relay)).await;
        assert_eq!(a.ask_within(sleep, secs(9)).await.unwrap(), 1);
        assert_eq!(relayed.ask_within(sleep, secs(9)).await.unwrap(), 1);
        let of_any_type = Recipient::from(a.clone());
        assert_eq!(of_any_type.ask_within(sleep, secs(9)).await.unwrap(), 1);
        let began = Instant::now();
        let late = relayed.ask_within(sleep, secs(2)).await.unwrap_err();
        assert_eq!(late.to_string(), "no answer within 2s");
        assert_eq!(began.elapsed().as_secs(), 2);
        board.settle().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 8);
        let row = board.ledger().letter("shop/relay").unwrap().clone();
        assert_eq!((row.accepted, row.failed), (2, 1));
        end(&board).await;
    });
}

/// How a message fared by itself, and the next ones: told, told if there was room, and asked.
struct Fared;
impl Message for Fared {
    type Reply = [String; 3];
}

/// What has led to the question.
struct Why;
impl Message for Why {
    type Reply = Option<EventId>;
}

struct Witness;
impl Service for Witness {}
impl Answer<Why> for Witness {
    async fn answer(&mut self, _: Why, cx: &mut Context<Self>) -> Outcome<Option<EventId>> {
        Ok(cx.cause().map(|cause| cause.id))
    }
}
impl Answer<Do> for Witness {
    async fn answer(&mut self, _: Do, _: &mut Context<Self>) -> Outcome<u32> {
        std::future::pending().await
    }
}

struct Envoy(Address<Witness>);
impl Service for Envoy {}
impl Answer<Fared> for Envoy {
    async fn answer(&mut self, _: Fared, cx: &mut Context<Self>) -> Outcome<[String; 3]> {
        Ok([
            format!("{:?}", cx.tell(&self.0, Why).await),
            format!("{:?}", cx.try_tell(&self.0, Why)),
            format!("{:?}", cx.ask(&self.0, Why).await),
        ])
    }
}

fn envoy(name: &str, to: &Address<Witness>) -> ServiceSpec<Envoy> {
    let to = to.clone();
    service(name, move || Envoy(to.clone()))
}

#[test]
fn a_service_of_another_board_is_an_outsider() {
    paused(async {
        let [near, far] = ["near", "far"].map(|name| service(name, || Witness));
        let (to_near, to_far) = (near.address(), far.address());
        let [neighbour, stranger] =
            [("neighbour", &to_near), ("stranger", &to_far)].map(|(name, to)| envoy(name, to));
        let (near_by, from_afar) = (neighbour.address(), stranger.address());
        let home = here(shop().child(near).child(neighbour).child(stranger)).await;
        let abroad = here(shop().child(far)).await;
        let [told, tried, asked] = near_by.ask(Fared).await.unwrap();
        assert_eq!([&*told, &*tried], ["Ok(())"; 2]);
        assert!(asked.starts_with("Ok(Some("), "{asked}");
        let fared = from_afar.ask(Fared).await.unwrap();
        assert_eq!(fared, ["Ok(())", "Ok(())", "Ok(None)"]);
        to_far.tell(NOTHING).await.unwrap();
        let asking = async {
            until(|| to_far.try_tell(Why).is_err()).await;
            from_afar.ask(Fared).await.unwrap()
        };
        let (report, fared) = tokio::join!(abroad.shutdown(secs(60)), asking);
        assert_eq!(fared, ["Err(Stopped)"; 3]);
        assert_eq!(report.ledger.gap(), 0, "{report}");
        end(&home).await;
    });
}

/// Counts, and panics, when it is dropped.
struct Bomb(Arc<AtomicU32>);
impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        boom();
    }
}

struct Build(Arc<AtomicU32>);
impl Message for Build {
    type Reply = Bomb;
}

struct Builder;
impl Service for Builder {}
impl Answer<Build> for Builder {
    async fn answer(&mut self, build: Build, _: &mut Context<Self>) -> Outcome<Bomb> {
        tokio::time::sleep(secs(1)).await;
        Ok(Bomb(build.0))
    }
}

#[test]
fn a_reply_that_nobody_waits_for_may_panic_when_it_is_dropped() {
    paused(async {
        let spec = service("builder", || Builder);
        let builder = spec.address();
        let board = here(shop().child(spec)).await;
        let drops = Arc::<AtomicU32>::default();
        let asked = builder.ask_within(Build(Arc::clone(&drops)), millis(10));
        assert!(matches!(asked.await, Err(AskError::TimedOut(_))));
        board.settle().await.unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        let row = board.ledger().letter("shop/builder").unwrap().clone();
        assert_eq!((row.accepted, row.answered), (1, 1));
        assert_eq!(board.inspect("shop/builder").unwrap().life, 1);
        end(&board).await;
    });
}

#[test]
fn a_failure_goes_to_the_asker_and_the_service_lives_on() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let error = a.ask(Do(Deed::Fail)).await.unwrap_err();
        assert!(matches!(error, AskError::Failed(_)));
        assert_eq!(error.to_string(), "the answer failed: no");
        assert_eq!(a.ask(NOTHING).await.unwrap(), 1);
        let row = board.ledger().letter("shop/a").unwrap().clone();
        assert_eq!((row.accepted, row.answered, row.failed), (2, 1, 1));
        end(&board).await;
    });
}

#[test]
fn a_full_mailbox_gives_the_message_back_at_once_or_after_the_wait() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = probe("a", &log).letters(1);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        a.tell(Do(Deed::Sleep(secs(20)))).await.unwrap();
        log.wait_for("a Sleep(20s)").await;
        a.try_tell(NOTHING).unwrap();
        assert_eq!(
            a.try_tell(Do(Deed::Stop)).unwrap_err().into_message(),
            Do(Deed::Stop)
        );
        let error = Recipient::from(a.clone())
            .try_ask(NOTHING)
            .await
            .unwrap_err();
        assert!(matches!(error, AskError::Full(NOTHING)));
        let error = a.try_ask(Do(Deed::Stop)).await.unwrap_err();
        assert_eq!(error.into_message(), Some(Do(Deed::Stop)));
        assert_eq!(began.elapsed(), Duration::ZERO);
        let (told, asked) = tokio::join!(a.tell(NOTHING), a.ask(NOTHING));
        assert!(told.unwrap_err().is_retryable());
        assert_eq!(asked.unwrap_err().to_string(), "the mailbox is full");
        assert_eq!(began.elapsed().as_secs(), 5);
        assert_eq!(board.ledger().letter("shop/a").unwrap().accepted, 2);
        end(&board).await;
    });
}

#[test]
fn whoever_waits_for_room_gets_it() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log).letters(1);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        a.tell(Do(Deed::Sleep(secs(2)))).await.unwrap();
        log.wait_for("a Sleep(2s)").await;
        a.try_tell(NOTHING).unwrap();
        let (told, asked) = tokio::join!(a.tell(NOTHING), a.ask(NOTHING));
        assert!(told.is_ok() && asked.unwrap() == 1);
        board.settle().await.unwrap();
        assert_eq!(log.count("a Nothing"), 3);
        end(&board).await;
    });
}

#[test]
fn room_is_heard_of_while_the_message_that_left_it_is_being_answered() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = probe("a", &log).letters(1);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let sleep = || Do(Deed::Sleep(secs(3)));
        a.tell(sleep()).await.unwrap();
        log.wait_for("a Sleep(3s)").await;
        a.tell(sleep()).await.unwrap();
        a.tell(sleep()).await.unwrap();
        // The second one has just been taken; its answer takes its time.
        assert_eq!((began.elapsed(), log.count("a Sleep(3s)")), (secs(3), 2));
        board.settle().await.unwrap();
        end(&board).await;
    });
}

/// A service that asks from inside its own answers.
struct Inner(Address<Probe>);
struct Itself;
impl Message for Itself {
    type Reply = String;
}
struct Blocking;
impl Message for Blocking {
    type Reply = [String; 8];
}
impl Service for Inner {}
impl Answer<Itself> for Inner {
    async fn answer(&mut self, _: Itself, cx: &mut Context<Self>) -> Outcome<String> {
        let error = cx.ask(&cx.address(), Itself).await.unwrap_err();
        let text = error.to_string();
        assert!(error.into_message().is_some());
        Ok(text)
    }
}
impl Answer<Blocking> for Inner {
    async fn answer(&mut self, _: Blocking, cx: &mut Context<Self>) -> Outcome<[String; 8]> {
        let (a, recipient) = (&self.0, Recipient::from(self.0.clone()));
        let ask_within = recipient.ask_within_blocking(NOTHING, secs(60));
        let board = Board::start(shop());
        Ok([
            a.ask_blocking(NOTHING).unwrap_err().to_string(),
            a.tell_blocking(NOTHING).unwrap_err().to_string(),
            a.tell_all_blocking(NOTHING).unwrap_err().to_string(),
            recipient.ask_blocking(NOTHING).unwrap_err().to_string(),
            ask_within.unwrap_err().to_string(),
            recipient.tell_blocking(NOTHING).unwrap_err().to_string(),
            cx.address().ask_blocking(Itself).unwrap_err().to_string(),
            board.unwrap_err().to_string(),
        ])
    }
}

#[test]
fn asking_oneself_is_an_error_at_once() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let a = probe("a", &log);
        let address = a.address();
        let inner = service("inner", move || Inner(address.clone()));
        let to_inner = inner.address();
        let board = here(shop().child(a).child(inner)).await;
        let text = to_inner.ask(Itself).await.unwrap();
        assert_eq!(text, "a cycle of waits: shop/inner -> shop/inner");
        assert_eq!(began.elapsed(), Duration::ZERO);
        end(&board).await;
    });
}

#[test]
fn a_blocking_form_on_a_thread_of_the_board_is_an_error_at_once() {
    let a = probe("a", &Log::new());
    let address = a.address();
    let inner = service("inner", move || Inner(address.clone()));
    let to_inner = inner.address();
    let board = Board::builder()
        .arbiters(2)
        .start(shop().child(a).child(inner))
        .unwrap();
    let [refused @ .., start] = to_inner.ask_blocking(Blocking).unwrap();
    let text = "a blocking call on a thread of a board would stop its services: use the async form";
    assert_eq!(refused, [text; 7]);
    assert_eq!(
        start,
        "a board cannot be started on a thread of a board, which it would block"
    );
    let report = board.shutdown_blocking(secs(60));
    assert_eq!(report.ledger.letter("shop/a"), None);
    assert_eq!(report.ledger.gap(), 0);
}

#[test]
fn the_blocking_forms_work_on_any_other_thread() {
    let (spec, crew) = (
        probe("a", &Log::new()),
        probe("crew", &Log::new()).workers(2),
    );
    let (a, to_crew) = (spec.address(), crew.address());
    let board = Board::builder()
        .arbiters(1)
        .start(shop().child(spec).child(crew))
        .unwrap();
    a.tell_blocking(NOTHING).unwrap();
    assert_eq!(a.ask_blocking(NOTHING).unwrap(), 1);
    assert_eq!(a.ask_within_blocking(NOTHING, secs(60)).unwrap(), 1);
    let a = Recipient::from(a);
    a.tell_blocking(NOTHING).unwrap();
    assert_eq!(a.ask_blocking(NOTHING).unwrap(), 1);
    assert_eq!(a.ask_within_blocking(NOTHING, secs(60)).unwrap(), 1);
    board.suspend("shop/a").unwrap();
    let error = a.ask_within_blocking(NOTHING, millis(5)).unwrap_err();
    assert!(matches!(error, AskError::TimedOut(limit) if limit == millis(5)));
    board.resume("shop/a").unwrap();
    to_crew.tell_all_blocking(NOTHING).unwrap();
    let report = board.shutdown_blocking(secs(60));
    assert_eq!(report.ledger.letter("shop/a").unwrap().answered, 6);
    assert_eq!(report.ledger.letter("shop/crew").unwrap().answered, 2);
    assert_eq!(report.ledger.gap(), 0);
}

#[test]
fn a_recipient_behaves_as_its_address() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log);
        let a: Recipient<Do> = spec.address().into();
        assert!(matches!(a.ask(NOTHING).await, Err(AskError::NotStarted(_))));
        let board = here(shop().child(spec)).await;
        assert_eq!(
            (a.path(), a.clone().ask(NOTHING).await.unwrap()),
            ("shop/a", 1)
        );
        a.tell(NOTHING).await.unwrap();
        a.try_tell(NOTHING).unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.count("a Nothing"), 3);
        end(&board).await;
        assert!(matches!(a.try_tell(NOTHING), Err(TellError::Stopped(_))));
    });
}

#[test]
fn a_service_is_found_by_its_path_and_type() {
    paused(async {
        let log = Log::new();
        let team = Supervisor::one_for_one("team").child(probe("b", &log));
        let board = here(shop().child(probe("a", &log)).child(team)).await;
        assert_eq!(board.services(), ["shop/a", "shop/team/b"]);
        let b = board.service::<Probe>("shop/team/b").unwrap();
        assert_eq!(b.ask(NOTHING).await.unwrap(), 1);
        let error = board.service::<Probe>("shop/b").unwrap_err();
        let text = "there is no service at shop/b; known paths: shop/a, shop/team/b";
        assert_eq!(error.to_string(), text);
        let error = board.service::<Inner>("shop/a").unwrap_err().to_string();
        assert!(error.starts_with("the service at shop/a is a "), "{error}");
        assert!(
            error.contains("Probe, not a ") && error.ends_with("Inner"),
            "{error}"
        );
        end(&board).await;
    });
}

#[test]
fn what_is_queued_is_handled_when_every_handle_has_been_dropped() {
    let log = Log::new();
    let spec = hearer("a", &log);
    let a = spec.address();
    let board = Board::builder()
        .arbiters(1)
        .start(shop().child(spec))
        .unwrap();
    for id in 0..100 {
        let deed = if id == 50 { Deed::Panic } else { Deed::Nothing };
        board.try_publish(Note { id, deed }).unwrap();
    }
    let publisher = board.publisher();
    drop(board);
    drop(a);
    publisher.publish_blocking(note(100)).unwrap();
    drop(publisher);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(log.wait_for("a 100"));
    assert_eq!(log.lines().len(), 1 + 101 + 1 + 2);
}
