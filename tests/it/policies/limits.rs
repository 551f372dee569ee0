//! Limits in time: total time, hints, deadlines, time to live, and deadlines carried along.

use std::sync::{Arc, Mutex};

use callboard::prelude::*;
use callboard::{AskError, DeadLetter, Overdue, RateLimit, Reason, TimedOut};
use tokio::time::{Instant, advance};

use crate::support_events::{
    Log, Memo, Note, Seen, Step, clerk, failing, gate, here, paused, row, shop,
};

async fn notes(
    policy: Policy,
    script: impl Fn(&Seen) -> Step + Send + Sync + 'static,
) -> (Board, Log) {
    let (spec, log) = clerk("clerk", script);
    (
        here(shop().child(spec.on::<Note>().policy(policy))).await,
        log,
    )
}

fn only_letter(board: &Board) -> DeadLetter {
    let letters = board.dead_letters();
    assert_eq!(letters.len(), 1);
    letters[0].clone()
}

#[test]
fn no_attempt_begins_after_the_total_time() {
    paused(async {
        let retry = Retry::fixed(secs(10)).attempts(5).within(secs(35));
        let (board, log) = notes(Policy::new().retry(retry), |_| failing()).await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.pauses(), [secs(10); 3]);
        assert_eq!(only_letter(&board).reason(), Reason::TimeUsedUp);
    });
}

#[test]
fn the_total_time_counts_from_the_beginning_of_the_first_attempt() {
    paused(async {
        let retry = Retry::fixed(secs(1)).within(secs(5));
        let gate = gate();
        let wait = Arc::clone(&gate);
        let script = move |_: &Seen| Step::Wait(Arc::clone(&wait));
        let (board, log) = notes(Policy::new().retry(retry), script).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        advance(secs(10)).await;
        gate.close();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1)]);
        assert_eq!(only_letter(&board).reason(), Reason::TimeUsedUp);
    });
}

#[test]
fn the_total_time_of_an_event_that_is_given_back_counts_from_its_own_first_attempt() {
    paused(async {
        let retry = Retry::fixed(secs(1)).attempts(2).within(secs(5));
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (board, log) = notes(Policy::new().retry(retry), move |seen| {
            if seen.redriven {
                Step::Wait(Arc::clone(&wait))
            } else {
                failing()
            }
        })
        .await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        board.redrive(&only_letter(&board)).await.unwrap();
        log.until(3).await;
        advance(secs(10)).await;
        gate.close();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (1, 1)]);
    });
}

#[test]
fn a_failure_may_say_how_long_to_wait() {
    paused(async {
        let retry = Retry::fixed(secs(1)).attempts(4);
        let (board, log) = notes(Policy::new().retry(retry), |seen| match seen.attempt {
            2 => Step::Fail(Failure::new("busy").retry_after(secs(30))),
            _ => failing(),
        })
        .await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.pauses(), [secs(1), secs(30), secs(1)]);
        assert_eq!(only_letter(&board).reason(), Reason::AttemptsUsedUp);
    });
}

#[test]
fn a_deadline_counts_from_publishing_and_ends_the_attempts() {
    paused(async {
        let retry = Retry::fixed(secs(10)).attempts(5);
        let policy = Policy::new().retry(retry).deadline(secs(25));
        let (board, log) = notes(policy, |_| failing()).await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.pauses(), [secs(10); 2]);
        let letter = only_letter(&board);
        assert_eq!(
            (letter.reason(), letter.attempts().len()),
            (Reason::DeadlinePassed, 3)
        );
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn an_attempt_is_cancelled_at_the_deadline() {
    paused(async {
        let policy = Policy::new().deadline(secs(3)).timeout(secs(60));
        let (board, log) = notes(policy, |_| Step::Sleep(secs(10))).await;
        let began = Instant::now();
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), secs(3));
        assert_eq!((log.attempts(), log.finished()), (vec![(1, 1)], 0));
        let letter = only_letter(&board);
        assert_eq!(letter.reason(), Reason::DeadlinePassed);
        assert!(letter.failure().unwrap().is::<TimedOut>());
    });
}

#[test]
fn an_event_that_comes_to_its_turn_after_its_deadline_is_not_tried() {
    paused(async {
        let policy = Policy::new()
            .deadline(secs(3))
            .failure_of::<Overdue>(OnFailure::discard());
        let (board, log) = notes(policy, |seen| match seen.id {
            1 => Step::Spin(Duration::ZERO),
            _ => Step::Done,
        })
        .await;
        board.suspend("shop/clerk").unwrap();
        board.publish(Note(1)).await.unwrap();
        advance(secs(2)).await;
        board.publish(Note(2)).await.unwrap();
        advance(secs(1)).await;
        board.resume("shop/clerk").unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [2]);
        let row = row(&board, "shop/clerk", "note");
        assert_eq!((row.acknowledged, row.discarded), (1, 1));
    });
}

#[test]
fn an_event_that_is_overdue_may_cost_its_service_a_restart_that_says_why() {
    paused(async {
        let policy = Policy::new()
            .deadline(secs(3))
            .failure(OnFailure::discard().restart());
        let (board, log) = notes(policy, |_| Step::Done).await;
        board.suspend("shop/clerk").unwrap();
        board.publish(Note(1)).await.unwrap();
        advance(secs(3)).await;
        board.resume("shop/clerk").unwrap();
        board.settle().await.unwrap();
        let exit = board.inspect("shop/clerk").unwrap().last_exit.unwrap();
        assert_eq!(
            exit.to_string(),
            "failed: not handled within 3s of its publication"
        );
        assert_eq!((log.lives(), log.ids().len()), (2, 0));
    });
}

#[test]
fn what_has_waited_longer_than_it_lives_is_expired() {
    paused(async {
        let policy = Policy::new().time_to_live(secs(3));
        let (board, log) = notes(policy, |_| Step::Done).await;
        board.suspend("shop/clerk").unwrap();
        board.publish(Note(1)).await.unwrap();
        let watched = tokio::task::spawn_local(board.publish(Note(2)).settled());
        tokio::task::yield_now().await;
        advance(secs(2)).await;
        board.publish(Note(3)).await.unwrap();
        advance(secs(1)).await;
        board.resume("shop/clerk").unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [3]);
        let row = row(&board, "shop/clerk", "note");
        assert_eq!((row.acknowledged, row.expired), (1, 2));
        let settled = watched.await.unwrap().unwrap();
        assert_eq!(settled[0].fate, callboard::Fate::Expired);
        assert!(board.dead_letters().is_empty());
    });
}

#[test]
fn a_time_to_live_says_nothing_of_further_attempts() {
    paused(async {
        let retry = Retry::fixed(secs(10)).attempts(3);
        let policy = Policy::new().retry(retry).time_to_live(secs(3));
        let (board, log) = notes(policy, |_| failing()).await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts().len(), 3);
    });
}

#[test]
fn a_redriven_event_has_its_time_anew() {
    paused(async {
        let gates = gate();
        let gone = Arc::clone(&gates);
        let policy = Policy::new().retry(Retry::never()).deadline(secs(3));
        let (board, log) = notes(policy, move |seen| match seen.redriven {
            false => failing(),
            true => Step::Wait(Arc::clone(&gone)),
        })
        .await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        advance(secs(60)).await;
        board.redrive(&only_letter(&board)).await.unwrap();
        gates.add_permits(1);
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 1)]);
        assert_eq!(row(&board, "shop/clerk", "note").acknowledged, 1);
    });
}

#[test]
fn a_redriven_event_is_not_let_go_however_long_it_waits() {
    paused(async {
        let policy = Policy::new()
            .retry(Retry::never())
            .time_to_live(secs(3))
            .rate_limit(RateLimit::per(1, secs(10)));
        let (board, log) = notes(policy, |seen| match (seen.id, seen.redriven) {
            (1, false) => failing(),
            _ => Step::Done,
        })
        .await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        advance(secs(10)).await;
        board.publish(Note(2)).await.unwrap();
        board.settle().await.unwrap();
        board.redrive(&only_letter(&board)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 1]);
        assert_eq!(log.pauses(), [secs(10); 2]);
        let row = row(&board, "shop/clerk", "note");
        assert_eq!((row.acknowledged, row.expired), (2, 0));
    });
}

struct Ask;
impl Message for Ask {
    type Reply = ();
}

/// Asks the next in line, or never answers; notes how long it took to hear that there is none.
struct Relay {
    next: Option<Address<Relay>>,
    heard: Arc<Mutex<Vec<Duration>>>,
}
impl Service for Relay {}
impl Answer<Ask> for Relay {
    async fn answer(&mut self, _: Ask, cx: &mut Context<Self>) -> Outcome {
        let began = cx.now();
        let Some(next) = &self.next else {
            std::future::pending::<()>().await;
            return Ok(());
        };
        tokio::time::sleep(secs(1)).await;
        let answer = cx.ask(next, Ask).await;
        assert!(matches!(answer, Err(AskError::TimedOut(_))));
        self.heard.lock().unwrap().push(cx.now() - began);
        Ok(())
    }
}

/// A tree of relays, of whom only the last has none to ask; the first of them, and what they hear.
fn relays(names: &[&'static str]) -> (Supervisor, Address<Relay>, Arc<Mutex<Vec<Duration>>>) {
    let heard: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let (mut root, mut next) = (shop(), None);
    for name in names.iter().rev() {
        let (before, heard) = (next.take(), Arc::clone(&heard));
        let spec = service(*name, move || Relay {
            next: before.clone(),
            heard: Arc::clone(&heard),
        });
        next = Some(spec.address());
        root = root.child(spec);
    }
    (root, next.unwrap(), heard)
}

/// Asks a relay once its later work is done.
struct Patron(Address<Relay>);
impl Service for Patron {}
impl Handle<Note> for Patron {
    async fn handle(&mut self, _: &Note, cx: &mut Context<Self>) -> Outcome {
        cx.later(
            std::future::ready(()),
            async |patron: &mut Self, (), cx: &mut Context<Self>| {
                Ok(cx.ask(&patron.0, Ask).await?)
            },
        );
        Ok(())
    }
}

#[test]
fn what_is_done_after_later_work_carries_its_timeout_along() {
    paused(async {
        let (root, relay, heard) = relays(&["a", "b"]);
        let patron = service("patron", move || Patron(relay.clone())).on::<Note>();
        let policy = Policy::new().retry(Retry::never()).timeout(secs(3));
        let board = here(root.child(patron.policy(policy))).await;
        let settled = board.publish(Note(1)).settled().await.unwrap();
        assert_eq!(settled[0].fate, callboard::Fate::DeadLettered);
        crate::support_lives::until(|| heard.lock().unwrap().len() == 1).await;
        // The relay waits no longer than whoever has asked it.
        assert_eq!(heard.lock().unwrap()[..], [secs(3)]);
        board.shutdown(secs(1)).await;
    });
}

#[test]
fn the_deadline_of_an_ask_is_carried_along() {
    paused(async {
        let (root, relay, heard) = relays(&["a", "b", "c"]);
        let board = here(root).await;
        let began = Instant::now();
        assert!(matches!(relay.ask(Ask).await, Err(AskError::TimedOut(_))));
        assert_eq!(began.elapsed(), secs(5));
        crate::support_lives::until(|| heard.lock().unwrap().len() == 2).await;
        // Both have waited as long as the first asker, and no longer: each began 1 s later.
        let mut heard = heard.lock().unwrap().clone();
        heard.sort();
        assert_eq!(heard, [secs(4), secs(5)]);
        board.shutdown(secs(1)).await;
    });
}

#[test]
fn limits_that_cannot_be_meant_are_refused_with_the_path() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let policy = Policy::new()
            .deadline(Duration::ZERO)
            .time_to_live(Duration::MAX);
        let root = shop().child(spec.on_with::<Memo>(|on| on.policy(policy)));
        let refused = Board::builder().on_this_thread().start(root).await;
        let text = refused.unwrap_err().to_string();
        for word in ["shop/clerk, on memo", "deadline is zero", "365 days"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    });
}
