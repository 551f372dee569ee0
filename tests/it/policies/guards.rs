//! Rate limits, copies and retry budgets, each alone and one before the other.

use std::sync::Arc;

use callboard::prelude::*;
use callboard::{Breaker, Dedupe, Fate, On, Overflow, RateLimit, Reason, RetryBudget};
use tokio::sync::Semaphore;
use tokio::time::{Instant, advance, sleep};

use super::Bill;
use crate::support_events::{
    HowMany, Log, Memo, Note, ON_PURPOSE, Seen, Step, be_quiet, clerk, clerks, failing, gate, here,
    paused, row, shop,
};
use crate::support_lives::until;

async fn bills(
    policy: Policy,
    script: impl Fn(&Seen) -> Step + Send + Sync + 'static,
) -> (Board, Log) {
    let (spec, log) = clerk("clerk", script);
    let board = here(shop().child(spec.on::<Bill>().policy(policy))).await;
    (board, log)
}

/// One bill for each, about these.
async fn publish(board: &Board, of: &[u64]) {
    for (id, of) in (1..).zip(of) {
        board.publish(Bill { id, of: *of }).await.unwrap();
    }
}

async fn publish_one(board: &Board, id: u64, of: u64) {
    board.publish(Bill { id, of }).await.unwrap();
}

fn every_second() -> RateLimit {
    RateLimit::per_second(1)
}

#[test]
fn what_comes_too_fast_waits_in_order_and_holds_the_mailbox() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let policy = Policy::new().rate_limit(every_second());
        let spec = spec.on_with::<Note>(|on| on.policy(policy)).on::<Memo>();
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        for id in 1..=3 {
            board.publish(Note(id)).await.unwrap();
        }
        board.publish(Memo(4)).await.unwrap();
        // Letters do not wait.
        assert!(address.ask(HowMany).await.unwrap() <= 1);
        let guards = board.inspect("shop/clerk").unwrap().guards;
        assert_eq!(guards[0].paused_until, Some(secs(1)));
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 3, 4]);
        assert_eq!(log.pauses(), [secs(1), secs(1), secs(0)]);
    });
}

#[test]
fn each_attempt_counts_for_a_rate() {
    paused(async {
        for retry in [
            Retry::fixed(millis(10)).in_place(),
            Retry::fixed(millis(10)).deferred(),
        ] {
            let policy = Policy::new()
                .retry(retry.attempts(3))
                .rate_limit(every_second());
            let (board, log) = bills(policy, |_| failing()).await;
            publish(&board, &[1]).await;
            board.settle().await.unwrap();
            assert_eq!(log.attempts(), [(1, 1), (1, 2), (1, 3)]);
            assert_eq!(log.pauses(), [secs(1); 2]);
        }
    });
}

#[test]
fn a_restart_does_not_begin_a_rate_anew() {
    paused(async {
        let policy = Policy::new()
            .retry(Retry::fixed(millis(1)).attempts(2))
            .rate_limit(every_second());
        let (board, log) = bills(policy, |seen| match seen.id {
            1 => Step::Panic,
            _ => Step::Done,
        })
        .await;
        publish(&board, &[1, 2]).await;
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (2, 1)]);
        assert_eq!((log.pauses(), log.lives()), (vec![secs(1); 2], 3));
    });
}

#[test]
fn a_shared_rate_is_one_for_all_who_inherit_it() {
    paused(async {
        for (limit, last) in [(every_second(), 1), (every_second().shared(), 3)] {
            let (a, a_log) = clerk("a", |_| Step::Done);
            let (b, b_log) = clerk("b", |_| Step::Done);
            let root = shop()
                .policy(Policy::new().rate_limit(limit))
                .child(a.on::<Note>())
                .child(b.on::<Note>());
            let board = here(root).await;
            let began = Instant::now();
            for id in 1..=2 {
                board.publish(Note(id)).await.unwrap();
            }
            board.settle().await.unwrap();
            assert_eq!(began.elapsed(), secs(last));
            assert_eq!((a_log.ids(), b_log.ids()), (vec![1, 2], vec![1, 2]));
        }
    });
}

#[test]
fn two_subscriptions_of_one_service_may_share_a_rate() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let policy = Policy::new().rate_limit(every_second().shared());
        let spec = spec.on::<Note>().on::<Memo>().policy(policy);
        let board = here(shop().child(spec)).await;
        for id in [1, 3] {
            board.publish(Note(id)).await.unwrap();
            board.publish(Memo(id + 1)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 3, 4]);
        assert_eq!(log.pauses(), [secs(1); 3]);
    });
}

#[test]
fn copies_are_discarded_within_the_window() {
    paused(async {
        let policy = Policy::new().dedupe(Dedupe::by_key(secs(10)));
        let (board, log) = bills(policy, |_| Step::Done).await;
        publish(&board, &[7, 7, 8, 7]).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 3]);
        let settled = board
            .publish(Bill { id: 5, of: 7 })
            .settled()
            .await
            .unwrap();
        assert_eq!(settled[0].fate, Fate::Discarded);
        advance(secs(10)).await;
        board.publish(Bill { id: 6, of: 7 }).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 3, 6]);
        let row = row(&board, "shop/clerk", "bill");
        assert_eq!((row.acknowledged, row.discarded), (3, 3));
    });
}

#[test]
fn neither_a_retry_nor_a_redriven_event_is_a_copy() {
    paused(async {
        let policy = Policy::new()
            .retry(Retry::fixed(secs(1)).attempts(2))
            .dedupe(Dedupe::by_key(secs(60)));
        let (board, log) = bills(policy, |seen| match seen.redriven {
            true => Step::Done,
            false => failing(),
        })
        .await;
        publish(&board, &[7, 7]).await;
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2)]);
        board.redrive(&board.dead_letters()[0]).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (1, 1)]);
        let row = row(&board, "shop/clerk", "bill");
        assert_eq!((row.acknowledged, row.discarded), (1, 1));
    });
}

#[test]
fn a_restart_and_a_change_of_other_parts_keep_what_is_remembered() {
    paused(async {
        let dedupe = Dedupe::by(secs(60), |bill: &Bill| bill.of.into());
        let policy = Policy::new().retry(Retry::never()).dedupe(dedupe.clone());
        let (board, log) = bills(policy, |seen| match seen.id {
            1 => Step::Panic,
            _ => Step::Done,
        })
        .await;
        publish(&board, &[7, 7]).await;
        board.settle().await.unwrap();
        let other = Policy::new().timeout(secs(1)).dedupe(dedupe);
        board.set_policy("shop/clerk", other).unwrap();
        board.publish(Bill { id: 3, of: 7 }).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!((log.ids(), log.lives()), (vec![1], 2));
        let new = Policy::new().dedupe(Dedupe::by_key(secs(60)));
        board.set_policy("shop/clerk", new).unwrap();
        board.publish(Bill { id: 4, of: 7 }).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 4]);
    });
}

struct Teller;
impl Service for Teller {}
impl Handle<Note> for Teller {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        cx.publish(Memo(note.0)).await?;
        cx.publish(Memo(note.0 + 10)).await?;
        if cx.attempt() < 3 {
            return Err(Failure::new("again"));
        }
        Ok(())
    }
}

#[test]
fn what_later_attempts_publish_again_is_heard_once() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let policy = Policy::new().dedupe(Dedupe::by_cause(secs(60)));
        let root = shop()
            .child(spec.on::<Memo>().policy(policy))
            .child(service("teller", || Teller).on::<Note>());
        let board = here(root).await;
        for note in 1..=2 {
            board.publish(Note(note)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 11, 2, 12]);
        assert_eq!(row(&board, "shop/clerk", "memo").discarded, 8);
    });
}

/// Publishes a memo with its own number, after it has got a permit.
struct Echo {
    id: u64,
    attempts: u32,
    gate: Arc<Semaphore>,
}
impl Service for Echo {}
impl Handle<Note> for Echo {
    async fn handle(&mut self, _: &Note, cx: &mut Context<Self>) -> Outcome {
        self.gate.acquire().await?.forget();
        cx.publish(Memo(self.id)).await?;
        if cx.attempt() < self.attempts {
            return Err(Failure::new("again"));
        }
        Ok(())
    }
}

#[test]
fn what_another_service_publishes_for_the_same_cause_is_no_copy() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let policy = Policy::new().dedupe(Dedupe::by_cause(secs(60)));
        let gates = [gate(), gate()];
        let echo = |name, id, attempts| {
            let gate = Arc::clone(&gates[id as usize - 1]);
            let make = move || Echo {
                id,
                attempts,
                gate: Arc::clone(&gate),
            };
            let at_once = Policy::new().retry(Retry::fixed(Duration::ZERO));
            service(name, make).on::<Note>().policy(at_once)
        };
        let root = shop()
            .child(spec.on::<Memo>().policy(policy))
            .child(echo("twice", 1, 2))
            .child(echo("once", 2, 1));
        let board = here(root).await;
        board.publish(Note(1)).await.unwrap();
        gates[0].add_permits(2);
        until(|| row(&board, "shop/clerk", "memo").discarded == 1).await;
        gates[1].add_permits(1);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2]);
        assert_eq!(row(&board, "shop/clerk", "memo").discarded, 1);
    });
}

/// Publishes, and goes on later; breaks its life over the second note.
struct Slow(Arc<Semaphore>);
impl Service for Slow {}
impl Handle<Note> for Slow {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        if note.0 == 2 && cx.attempt() == 1 {
            panic!("{ON_PURPOSE}");
        }
        cx.publish(Memo(note.0)).await?;
        let gate = Arc::clone(&self.0);
        let open = async move { gate.acquire().await.unwrap().forget() };
        cx.later(open, async |_, (), _| Ok(()));
        Ok(())
    }
}

#[test]
fn what_is_published_again_after_an_attempt_that_nobody_counts_is_heard_once() {
    be_quiet();
    paused(async {
        let (gate, (spec, log)) = (gate(), clerk("clerk", |_| Step::Done));
        let policy = Policy::new().dedupe(Dedupe::by_cause(secs(60)));
        let kept = Arc::clone(&gate);
        let slow = service("slow", move || Slow(Arc::clone(&kept))).on::<Note>();
        let root = shop().child(spec.on::<Memo>().policy(policy)).child(slow);
        let board = here(root).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        log.until(2).await;
        gate.add_permits(9);
        board.settle().await.unwrap();
        assert_eq!(board.inspect("shop/slow").unwrap().life, 2);
        assert_eq!(log.ids(), [1, 2]);
        let memos = row(&board, "shop/clerk", "memo");
        assert_eq!((memos.acknowledged, memos.discarded), (2, 1));
    });
}

/// Publishes, and does not succeed before it has failed for good and been redriven twice.
struct Doomed(u32);
impl Service for Doomed {}
impl Handle<Note> for Doomed {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        self.0 += 1;
        assert_eq!(cx.attempt(), if self.0 < 3 { self.0 } else { 1 });
        cx.publish(Memo(note.0)).await?;
        match self.0 {
            1 => Err(Failure::new("again")),
            2 | 3 => Err(Failure::permanent("not yet")),
            _ => Ok(()),
        }
    }
}

#[test]
fn what_is_published_again_after_a_redrive_is_a_copy_with_a_higher_attempt() {
    paused(async {
        let (once, heard) = clerk("once", |_| Step::Done);
        let (all, log) = clerk("all", |_| Step::Done);
        let policy = Policy::new().dedupe(Dedupe::by_cause(secs(60)));
        let root = shop()
            .child(once.on::<Memo>().policy(policy))
            .child(all.on::<Memo>())
            .child(service("doomed", || Doomed(0)).on::<Note>());
        let board = here(root).await;
        let note = board.publish(Note(1)).await.unwrap();
        for _ in 0..2 {
            board.settle().await.unwrap();
            let letter = board.dead_letters().remove(0);
            assert_eq!(letter.reason(), Reason::Permanent);
            board.redrive(&letter).await.unwrap();
        }
        board.settle().await.unwrap();
        let causes = log.seen().into_iter().map(|seen| seen.cause.unwrap());
        let causes: Vec<_> = causes.map(|cause| (cause.id, cause.attempt)).collect();
        assert_eq!(causes, [1, 2, 3, 4].map(|attempt| (note, attempt)));
        assert_eq!(heard.ids(), [1]);
        assert_eq!(row(&board, "shop/once", "memo").discarded, 3);
    });
}

#[test]
fn each_delivery_is_asked_about_once_though_it_waits() {
    paused(async {
        let guards = Policy::new()
            .dedupe(Dedupe::by_key(secs(60)))
            .rate_limit(every_second());
        let (board, log) = bills(guards.clone(), |_| Step::Done).await;
        publish(&board, &[7, 8, 7, 9]).await;
        board.settle().await.unwrap();
        // A copy takes nothing of the rate.
        assert_eq!(log.ids(), [1, 2, 4]);
        assert_eq!(log.pauses(), [secs(1); 2]);
        let (make, log) = clerks(|_| Step::Done);
        let spec = service("clerk", make.clone()).per_key(move |_| make());
        let board = here(shop().child(spec.on::<Bill>().policy(guards))).await;
        publish(&board, &[7, 8, 7, 9]).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 4]);
    });
}

#[test]
fn what_stands_in_line_is_asked_about_once_and_waits_for_its_rate() {
    paused(async {
        let dedupe = Dedupe::by(secs(60), |bill: &Bill| bill.id.into());
        let policy = Policy::new()
            .dedupe(dedupe)
            .rate_limit(every_second())
            .retry_budget(RetryBudget::new(0.0).at_least(1));
        let (make, log) = clerks(|_| Step::Sleep(millis(10)));
        let spec = service("clerk", make.clone()).per_key(move |_| make());
        let board = here(shop().child(spec.on::<Bill>().policy(policy))).await;
        publish(&board, &[7, 7, 7]).await;
        board.publish(Bill { id: 2, of: 7 }).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 3]);
        assert_eq!(log.pauses(), [secs(1); 2]);
        assert_eq!(row(&board, "shop/clerk", "bill").discarded, 1);
    });
}

#[test]
fn what_stands_in_line_may_expire_there() {
    paused(async {
        let policy = Policy::new().time_to_live(secs(3));
        let (make, log) = clerks(|_| Step::Sleep(secs(5)));
        let spec = service("clerk", make.clone()).per_key(move |_| make());
        let board = here(shop().child(spec.on::<Bill>().policy(policy))).await;
        publish(&board, &[7, 7, 7, 8]).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 4]);
        let row = row(&board, "shop/clerk", "bill");
        assert_eq!((row.acknowledged, row.expired), (2, 2));
    });
}

#[test]
fn what_has_expired_was_never_let_through() {
    paused(async {
        let policy = Policy::new()
            .time_to_live(secs(3))
            .dedupe(Dedupe::by_key(secs(60)));
        let (board, log) = bills(policy, |_| Step::Done).await;
        board.suspend("shop/clerk").unwrap();
        publish(&board, &[7]).await;
        advance(secs(3)).await;
        board.resume("shop/clerk").unwrap();
        board.settle().await.unwrap();
        board.publish(Bill { id: 2, of: 7 }).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [2]);
        let row = row(&board, "shop/clerk", "bill");
        assert_eq!((row.expired, row.discarded), (1, 0));
    });
}

#[test]
fn what_has_expired_while_it_waited_for_a_breaker_was_never_let_through() {
    paused(async {
        let breaker = Breaker::new().at_least(1).open_for(secs(10));
        let policy = Policy::new()
            .retry(Retry::never())
            .breaker(breaker)
            .time_to_live(secs(5))
            .dedupe(Dedupe::by_key(secs(60)));
        let (board, log) = bills(policy, |seen| match seen.id {
            1 => failing(),
            _ => Step::Done,
        })
        .await;
        publish(&board, &[1, 7]).await;
        sleep(secs(10)).await;
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/clerk", "bill").expired, 1);
        publish_one(&board, 3, 7).await;
        publish_one(&board, 4, 7).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 3]);
        assert_eq!(row(&board, "shop/clerk", "bill").discarded, 1);
    });
}

#[test]
fn what_was_shed_while_it_waited_for_its_rate_was_never_let_through() {
    paused(async {
        let policy = Policy::new()
            .rate_limit(every_second())
            .dedupe(Dedupe::by_key(secs(60)));
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let on = |on: On<Bill>| on.policy(policy).capacity(1).overflow(Overflow::DropOldest);
        let board = here(shop().child(spec.on_with(on))).await;
        publish_one(&board, 1, 1).await;
        log.until(1).await;
        publish_one(&board, 2, 7).await;
        let waits = || board.inspect("shop/clerk").unwrap().guards[0].paused_until;
        until(|| waits().is_some()).await;
        publish_one(&board, 3, 8).await;
        publish_one(&board, 4, 7).await;
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/clerk", "bill").shed, 2);
        assert_eq!(log.ids(), [1, 4]);
        assert_eq!(row(&board, "shop/clerk", "bill").discarded, 0);
    });
}

#[test]
fn what_is_overdue_takes_nothing_of_the_rate() {
    paused(async {
        let policy = Policy::new()
            .deadline(millis(500))
            .rate_limit(RateLimit::per(1, secs(100)));
        let (board, log) = bills(policy, |_| Step::Done).await;
        board.suspend("shop/clerk").unwrap();
        publish(&board, &[7, 7, 7]).await;
        advance(millis(500)).await;
        board.publish(Bill { id: 4, of: 7 }).await.unwrap();
        board.resume("shop/clerk").unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [4]);
        assert_eq!(row(&board, "shop/clerk", "bill").dead_lettered, 3);
    });
}

#[test]
fn a_budget_bounds_the_retries_of_all_events() {
    paused(async {
        let policy = Policy::new()
            .retry(Retry::fixed(secs(1)).attempts(4).deferred())
            .retry_budget(RetryBudget::new(0.5).at_least(0).window(secs(60)));
        let (board, log) = bills(policy, |_| failing()).await;
        publish(&board, &[1, 2, 3, 4]).await;
        board.settle().await.unwrap();
        // Two of the four are tried once more, and then nothing is left.
        let attempts = log.attempts();
        assert_eq!(attempts.len(), 6, "{attempts:?}");
        let letters = board.dead_letters();
        assert!(
            letters
                .iter()
                .all(|letter| letter.reason() == Reason::RetryBudgetSpent)
        );
        let guards = board.inspect("shop/clerk").unwrap().guards;
        assert_eq!(guards[0].retries_left, Some(0));
        let row = row(&board, "shop/clerk", "bill");
        assert_eq!((row.dead_lettered, row.retried), (4, 2));
    });
}

#[test]
fn poison_spends_the_budget_too_and_costs_its_lives_only() {
    paused(async {
        let policy = Policy::new()
            .retry(Retry::fixed(millis(1)).attempts(5))
            .retry_budget(RetryBudget::new(0.0).at_least(1).window(secs(1)));
        let (board, log) = bills(policy, |seen| match seen.id {
            1 => Step::Panic,
            _ => Step::Done,
        })
        .await;
        publish(&board, &[1, 2]).await;
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (2, 1)]);
        assert_eq!(log.lives(), 3);
        assert_eq!(board.dead_letters()[0].reason(), Reason::RetryBudgetSpent);
        assert_eq!(row(&board, "shop/clerk", "bill").acknowledged, 1);
    });
}

#[test]
fn a_redriven_event_pays_in_as_a_new_one_does() {
    paused(async {
        let policy = Policy::new()
            .retry(Retry::fixed(secs(1)).attempts(3))
            .retry_budget(RetryBudget::new(1.0).at_least(0).window(secs(100)));
        let (board, log) = bills(policy, |_| failing()).await;
        publish(&board, &[1]).await;
        board.settle().await.unwrap();
        board.redrive(&board.dead_letters()[0]).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (1, 1), (1, 2)]);
    });
}

#[test]
fn what_waits_for_its_rate_is_undelivered_when_the_time_is_up() {
    paused(async {
        let policy = Policy::new().rate_limit(RateLimit::per(1, secs(10)));
        for (limit, acknowledged) in [(60, 3), (15, 2)] {
            let (board, _) = bills(policy.clone(), |_| Step::Done).await;
            publish(&board, &[1, 2, 3]).await;
            let report = board.shutdown(secs(limit)).await;
            assert_eq!(report.ledger.gap(), 0, "{report}");
            let row = report.ledger.delivery("shop/clerk", "bill").unwrap();
            assert_eq!(
                (row.acknowledged, row.undelivered),
                (acknowledged, 3 - acknowledged)
            );
        }
    });
}

#[test]
fn a_lifted_limit_lets_go_what_waits_for_it() {
    paused(async {
        let policy = Policy::new().rate_limit(RateLimit::per(1, secs(1_000)));
        let (board, log) = bills(policy, |_| Step::Done).await;
        publish(&board, &[1, 2, 3]).await;
        sleep(secs(1)).await;
        assert_eq!(log.ids(), [1]);
        board.set_policy("shop/clerk", Policy::new()).unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.pauses(), [secs(1), secs(0)]);
    });
}

#[test]
fn a_lifted_limit_lets_go_retries_that_wait_for_it() {
    paused(async {
        let retry = Retry::fixed(secs(1)).attempts(2);
        for retry in [retry.clone().in_place(), retry.deferred()] {
            let policy = Policy::new().retry(retry);
            let limited = policy.clone().rate_limit(RateLimit::per(1, secs(3_600)));
            let (board, log) = bills(limited, |seen| match seen.attempt {
                1 => failing(),
                _ => Step::Done,
            })
            .await;
            let began = Instant::now();
            publish(&board, &[1]).await;
            // Its delay is over, and its rate says no.
            sleep(secs(60)).await;
            assert_eq!(log.attempts(), [(1, 1)]);
            board.set_policy("shop/clerk", policy).unwrap();
            board.settle().await.unwrap();
            assert_eq!(log.attempts(), [(1, 1), (1, 2)]);
            assert_eq!(began.elapsed(), secs(60));
        }
    });
}

#[test]
fn the_guards_of_a_policy_say_what_they_do() {
    let policy = Policy::new()
        .dedupe(Dedupe::by_key(secs(60)).at_most(10))
        .breaker(Breaker::new().dead_letters())
        .rate_limit(RateLimit::per_second(20).burst(5).shared())
        .retry_budget(RetryBudget::new(0.2));
    let text = policy.explain().to_string();
    for line in [
        "dedupe: by key within 60s, at most 10 remembered",
        "breaker: opens for 5s when 0.5 of at least 20 have failed within 10s, closes after 1; \
         meanwhile dead letters",
        "rate_limit: 20 in 1s, at most 5 at once, shared",
        "retry_budget: 0.2 retries for each event and 10 a second, within 10s",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in {text}");
    }
    let lifted = Policy::new()
        .no_dedupe()
        .no_breaker()
        .no_rate_limit()
        .no_retry_budget();
    let text = lifted.explain().to_string();
    for part in ["dedupe", "breaker", "rate_limit", "retry_budget"] {
        let line = format!("{part}: none");
        assert!(text.lines().any(|one| one == line), "{line} in {text}");
    }
}

#[test]
fn guards_that_cannot_be_meant_are_refused_with_the_path() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let policy = Policy::new()
            .dedupe(Dedupe::by_key(Duration::ZERO))
            .breaker(Breaker::new().probes(0))
            .rate_limit(RateLimit::per_second(0))
            .retry_budget(RetryBudget::new(-1.0));
        let root = shop().child(spec.on_with::<Memo>(|on| on.policy(policy)));
        let refused = Board::builder().on_this_thread().start(root).await;
        let text = refused.unwrap_err().to_string();
        for word in [
            "on memo",
            "dedupe:",
            "breaker:",
            "rate limit:",
            "retry budget:",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
    });
}
