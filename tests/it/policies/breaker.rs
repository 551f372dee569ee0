//! A breaker stops the trying while too much fails, and lets it begin again.

use callboard::prelude::*;
use callboard::{
    Breaker, BreakerOpen, BreakerState, Change, Guarded, RateLimit, Reason, SettleError,
};
use tokio::time::{advance, sleep};

use super::Bill;
use crate::support_events::{
    HowMany, Log, Memo, Note, ON_PURPOSE, Seen, Step, clerk, clerks, failing, gate, here, paused,
    row, shop,
};

/// Opens for 10 s when half of at least two have failed.
fn breaker() -> Breaker {
    Breaker::new().at_least(2).open_for(secs(10))
}

/// One attempt for each event.
fn once(breaker: Breaker) -> Policy {
    Policy::new().retry(Retry::never()).breaker(breaker)
}

async fn notes(
    policy: Policy,
    script: impl Fn(&Seen) -> Step + Send + Sync + 'static,
) -> (Board, Address<crate::support_events::Clerk>, Log) {
    let (spec, log) = clerk("clerk", script);
    let spec = spec.on::<Note>().policy(policy);
    let address = spec.address();
    (here(shop().child(spec)).await, address, log)
}

async fn publish(board: &Board, notes: std::ops::RangeInclusive<u64>) {
    for note in notes {
        board.publish(Note(note)).await.unwrap();
    }
}

fn up_to(last: u64) -> impl Fn(&Seen) -> Step + Send + Sync + 'static {
    move |seen| {
        if seen.id <= last {
            failing()
        } else {
            Step::Done
        }
    }
}

fn guarded(board: &Board) -> Guarded {
    let inspection = board.inspect("shop/clerk").unwrap();
    assert_eq!(inspection.guards.len(), 1);
    inspection.guards[0].clone()
}

/// Settles, however long breakers stay open.
async fn settle(board: &Board) {
    while let Err(held) = board.settle().await {
        assert!(matches!(held, SettleError::BreakerOpen { .. }), "{held}");
        sleep(secs(1)).await;
    }
}

fn reasons(board: &Board) -> Vec<Reason> {
    let letters = board.dead_letters();
    letters.iter().map(|letter| letter.reason()).collect()
}

#[test]
fn it_opens_and_probes_and_closes_and_keeps_the_order() {
    paused(async {
        let (board, address, log) = notes(once(breaker()), up_to(2)).await;
        let mut monitor = board.monitor(&address).unwrap();
        publish(&board, 1..=5).await;
        let held = board.settle().await.unwrap_err();
        assert_eq!(
            held.to_string(),
            "cannot settle: open breakers hold events: shop/clerk on note"
        );
        let now = guarded(&board);
        assert_eq!(now.breaker, Some(BreakerState::Open));
        assert_eq!(now.paused_until, Some(secs(10)));
        // Letters go on.
        assert_eq!(address.ask(HowMany).await.unwrap(), 2);
        settle(&board).await;
        assert_eq!(log.ids(), [1, 2, 3, 4, 5]);
        assert_eq!(log.pauses(), [secs(0), secs(10), secs(0), secs(0)]);
        let now = guarded(&board);
        assert_eq!(
            (now.breaker, now.paused_until),
            (Some(BreakerState::Closed), None)
        );
        let row = row(&board, "shop/clerk", "note");
        assert_eq!((row.acknowledged, row.dead_lettered), (3, 2));
        let event = "note";
        for expected in ["stops trying", "probes", "tries"] {
            let news = monitor.next().await.unwrap();
            let text = news.to_string();
            assert!(text.contains(expected) && text.contains(event), "{text}");
        }
    });
}

#[test]
fn a_probe_that_fails_opens_it_again() {
    paused(async {
        let (board, _, log) = notes(once(breaker()), up_to(4)).await;
        publish(&board, 1..=5).await;
        settle(&board).await;
        assert_eq!(log.pauses(), [secs(0), secs(10), secs(10), secs(10)]);
    });
}

#[test]
fn several_probes_must_succeed() {
    paused(async {
        let script = |seen: &Seen| match seen.id {
            1 | 2 | 4 => failing(),
            _ => Step::Done,
        };
        let (board, _, log) = notes(once(breaker().probes(2)), script).await;
        publish(&board, 1..=7).await;
        settle(&board).await;
        let pauses = [0, 10, 0, 10, 0, 0].map(secs);
        assert_eq!(log.pauses(), pauses);
    });
}

#[test]
fn it_may_let_nothing_wait() {
    paused(async {
        let then = OnFailure::discard();
        let policy = once(breaker().dead_letters());
        for (policy, dead, discarded) in [
            (policy.clone(), 4, 0),
            (policy.failure_of::<BreakerOpen>(then), 2, 2),
        ] {
            let (board, _, log) = notes(policy, up_to(2)).await;
            publish(&board, 1..=4).await;
            board.settle().await.unwrap();
            assert_eq!(log.ids(), [1, 2]);
            let row = row(&board, "shop/clerk", "note");
            assert_eq!((row.dead_lettered, row.discarded), (dead, discarded));
            if let Some(letter) = board.dead_letters().get(2) {
                assert_eq!(
                    (letter.reason(), letter.attempts().len()),
                    (Reason::BreakerOpen, 0)
                );
            }
            advance(secs(10)).await;
            publish(&board, 5..=5).await;
            board.settle().await.unwrap();
            assert_eq!(log.ids(), [1, 2, 5]);
        }
    });
}

#[test]
fn a_retry_that_finds_it_open_is_given_up_where_nothing_waits() {
    paused(async {
        let retry = Retry::fixed(secs(1)).attempts(5);
        let policy = Policy::new().retry(retry).breaker(breaker().dead_letters());
        let (board, _, log) = notes(policy, |_| failing()).await;
        publish(&board, 1..=1).await;
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2)]);
        let letters = board.dead_letters();
        assert_eq!(letters[0].reason(), Reason::BreakerOpen);
        assert_eq!(letters[0].attempts().len(), 2);
    });
}

#[test]
fn retries_wait_for_it_and_are_not_counted_meanwhile() {
    paused(async {
        for retry in [
            Retry::fixed(secs(1)).in_place(),
            Retry::fixed(secs(1)).deferred(),
            Retry::fixed(secs(1)).parked(),
        ] {
            let policy = Policy::new().retry(retry.attempts(3)).breaker(breaker());
            let script = |seen: &Seen| match seen.attempt {
                3 => Step::Done,
                _ => failing(),
            };
            let (board, _, log) = notes(policy, script).await;
            publish(&board, 1..=1).await;
            settle(&board).await;
            assert_eq!(log.attempts(), [(1, 1), (1, 2), (1, 3)]);
            // It opens at the second failure.
            assert_eq!(log.pauses(), [secs(1), secs(10)]);
            let row = row(&board, "shop/clerk", "note");
            assert_eq!((row.acknowledged, row.retried), (1, 2));
        }
    });
}

#[test]
fn what_is_permanent_or_not_meant_does_not_count() {
    paused(async {
        let permanent = |_: &Seen| Step::Fail(Failure::permanent("never"));
        let (board, _, log) = notes(once(breaker()), permanent).await;
        publish(&board, 1..=5).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids().len(), 5);
        let picky = breaker().when(|failure| failure.to_string() != ON_PURPOSE);
        let (board, _, log) = notes(once(picky), |_| failing()).await;
        publish(&board, 1..=5).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids().len(), 5);
        assert_eq!(guarded(&board).breaker, Some(BreakerState::Closed));
    });
}

#[test]
fn crashes_and_timeouts_count_and_a_new_life_finds_it_open() {
    paused(async {
        let script = |seen: &Seen| match seen.id {
            1 => Step::Panic,
            2 => Step::Sleep(secs(60)),
            _ => Step::Done,
        };
        let policy = once(breaker()).timeout(secs(1)).timeout_restarts();
        let (board, _, log) = notes(policy, script).await;
        publish(&board, 1..=3).await;
        settle(&board).await;
        assert_eq!(log.ids(), [1, 2, 3]);
        assert_eq!(log.pauses(), [secs(0), secs(11)]);
        assert_eq!(log.lives(), 3);
    });
}

#[test]
fn an_attempt_that_was_handed_back_gives_its_probe_back() {
    paused(async {
        let gates = gate();
        let wait = gates.clone();
        let script = move |seen: &Seen| match (seen.id, seen.life) {
            (1 | 2, _) => failing(),
            (3, 1) => Step::Wait(wait.clone()),
            _ => Step::Done,
        };
        let (board, _, log) = notes(once(breaker()), script).await;
        publish(&board, 1..=4).await;
        log.until(3).await;
        // A restart on request is no failure.
        let board_too = board.clone();
        let restarting =
            tokio::task::spawn_local(async move { board_too.restart("shop/clerk").await });
        restarting.await.unwrap().unwrap();
        settle(&board).await;
        assert_eq!(log.attempts(), [(1, 1), (2, 1), (3, 1), (3, 1), (4, 1)]);
        // The probe was not lost, which would have cost another 10 s.
        assert!(log.pauses()[2] < secs(9), "{:?}", log.pauses());
    });
}

#[test]
fn settling_waits_for_whatever_else_moves() {
    paused(async {
        let (slow, slow_log) = clerk("slow", |_| Step::Sleep(secs(5)));
        let (spec, _) = clerk("clerk", |_| failing());
        let spec = spec
            .on_with::<Note>(|on| on.policy(once(breaker())))
            .on::<Memo>();
        let board = here(shop().child(spec).child(slow.on::<Bill>())).await;
        publish(&board, 1..=3).await;
        board.publish(Memo(1)).await.unwrap();
        board.publish(Bill { id: 1, of: 1 }).await.unwrap();
        let held = board.settle().await.unwrap_err();
        assert_eq!(slow_log.finished(), 1);
        let SettleError::BreakerOpen { subscriptions, .. } = held else {
            panic!("{held}");
        };
        assert_eq!(subscriptions, ["shop/clerk on note"]);
        // One that is suspended beside it makes no difference.
        board.suspend("shop/slow").unwrap();
        board.publish(Bill { id: 2, of: 1 }).await.unwrap();
        let held = board.settle().await.unwrap_err();
        assert!(matches!(held, SettleError::BreakerOpen { .. }), "{held}");
        board.resume("shop/slow").unwrap();
        settle(&board).await;
    });
}

#[test]
fn what_waits_aside_for_an_open_breaker_lets_the_rest_move() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match seen.id {
            1 => failing(),
            _ => Step::Done,
        });
        let policy = Policy::new()
            .retry(Retry::fixed(secs(1)).attempts(3).deferred())
            .breaker(breaker());
        let spec = spec.on_with::<Note>(|on| on.policy(policy)).on::<Memo>();
        let board = here(shop().child(spec)).await;
        publish(&board, 1..=1).await;
        board.settle().await.unwrap_err();
        board.publish(Memo(2)).await.unwrap();
        board.settle().await.unwrap_err();
        assert_eq!(log.ids(), [1, 1, 2]);
        // Its retry was refused after another second.
        assert_eq!(log.pauses(), [secs(1), secs(1)]);
    });
}

#[test]
fn a_shutdown_waits_for_it_and_leaves_what_it_holds_undelivered() {
    paused(async {
        for (limit, acknowledged, undelivered) in [(60, 2, 0), (5, 0, 2)] {
            let (board, _, log) = notes(once(breaker()), up_to(2)).await;
            publish(&board, 1..=4).await;
            log.until(2).await;
            let report = board.shutdown(secs(limit)).await;
            let row = report.ledger.delivery("shop/clerk", "note").unwrap();
            assert_eq!(report.ledger.gap(), 0, "{report}");
            let found = (row.acknowledged, row.undelivered);
            assert_eq!(found, (acknowledged, undelivered), "{report}");
            assert!(report.stuck.is_empty(), "{report}");
        }
    });
}

#[test]
fn a_change_of_policy_keeps_it_or_ends_it() {
    paused(async {
        let policy = once(breaker());
        let (board, _, log) = notes(policy.clone(), up_to(2)).await;
        publish(&board, 1..=3).await;
        board.settle().await.unwrap_err();
        let timed = policy.timeout(secs(3));
        board.set_policy("shop/clerk", timed).unwrap();
        let held = board.settle().await.unwrap_err();
        assert!(matches!(held, SettleError::BreakerOpen { .. }), "{held}");
        assert_eq!(guarded(&board).breaker, Some(BreakerState::Open));
        // Another breaker has counted nothing.
        let other = once(breaker().at_least(3));
        board.set_policy("shop/clerk", other).unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 3]);
        assert_eq!(log.pauses(), [secs(0); 2]);
        board.set_policy("shop/clerk", Policy::new()).unwrap();
        publish(&board, 4..=4).await;
        board.settle().await.unwrap();
        assert!(board.inspect("shop/clerk").unwrap().guards.is_empty());
    });
}

#[test]
fn a_subscription_may_have_none_of_what_its_service_has() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| failing());
        let free = Policy::new().no_breaker();
        let spec = spec
            .on_with::<Memo>(|on| on.policy(free))
            .policy(once(breaker()));
        let board = here(shop().child(spec)).await;
        for memo in 1..=4 {
            board.publish(Memo(memo)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(log.ids().len(), 4);
        assert!(board.inspect("shop/clerk").unwrap().guards.is_empty());
    });
}

#[test]
fn instances_per_key_share_their_subscriptions_breaker() {
    paused(async {
        let (make, log) = clerks(|seen| match seen.id {
            1 | 2 => failing(),
            _ => Step::Sleep(millis(2_500)),
        });
        let spec = service("clerk", make.clone()).per_key(move |_| make());
        let spec = spec.on::<Bill>().policy(once(breaker()));
        let board = here(shop().child(spec)).await;
        for id in 1..=2 {
            board.publish(Bill { id, of: id }).await.unwrap();
        }
        board.settle().await.unwrap();
        for id in 3..=6 {
            board.publish(Bill { id, of: id }).await.unwrap();
        }
        settle(&board).await;
        let row = row(&board, "shop/clerk", "bill");
        assert_eq!((row.acknowledged, row.dead_lettered), (4, 2));
        // One probe goes alone, and the rest as soon as it has succeeded.
        let pauses = log.pauses();
        assert_eq!(pauses[1..], [secs(10), millis(2_500), secs(0), secs(0)]);
    });
}

/// Two workers that have handled a bill about each of eight; then one of them fails once. Returns
/// the board, whose bills were that one's and whose the other's, and who handles bills then.
async fn two_workers(breaker: Breaker) -> (Board, [Vec<u64>; 2], Log) {
    let (spec, log) = clerk("clerk", |seen| match seen.id {
        100 => failing(),
        _ => Step::Done,
    });
    let breaker = breaker.at_least(1).failure_rate(0.01);
    let spec = spec.on::<Bill>().workers(2).policy(once(breaker));
    let board = here(shop().child(spec)).await;
    for id in 1..=8 {
        board.publish(Bill { id, of: id }).await.unwrap();
    }
    board.settle().await.unwrap();
    // Each worker has one life.
    let seen = log.seen();
    let of = |life| {
        let theirs = seen.iter().filter(move |seen| seen.life == life);
        theirs.map(|seen| seen.id).collect::<Vec<_>>()
    };
    let both = [of(1), of(2)];
    assert!(both.iter().all(|ids| !ids.is_empty()), "{both:?}");
    let of = both[0][0];
    board.publish(Bill { id: 100, of }).await.unwrap();
    board.settle().await.unwrap();
    for id in 1..=8 {
        board.publish(Bill { id, of: id }).await.unwrap();
    }
    (board, both, log)
}

#[test]
fn each_worker_has_its_own_unless_it_is_shared() {
    paused(async {
        for is_shared in [false, true] {
            let breaker = breaker().dead_letters();
            let breaker = if is_shared { breaker.shared() } else { breaker };
            let (board, [_, other], log) = two_workers(breaker).await;
            board.settle().await.unwrap();
            let handled = log.ids().split_off(9);
            let expected = if is_shared { vec![] } else { other };
            assert_eq!(handled, expected, "shared: {is_shared}");
            let row = row(&board, "shop/clerk", "bill");
            assert_eq!(row.acknowledged, 8 + expected.len() as u64);
        }
    });
}

#[test]
fn settling_names_the_worker_whose_breaker_is_open() {
    paused(async {
        let (board, [_, other], log) = two_workers(breaker()).await;
        let held = board.settle().await.unwrap_err();
        let text = held.to_string();
        let names = ["shop/clerk/0 on bill", "shop/clerk/1 on bill"];
        assert_eq!(
            names.iter().filter(|name| text.contains(**name)).count(),
            1,
            "{text}"
        );
        assert_eq!(log.ids().split_off(9), other);
        settle(&board).await;
        assert_eq!(row(&board, "shop/clerk", "bill").acknowledged, 16);
    });
}

#[test]
fn a_probe_that_says_nothing_is_followed_by_another() {
    paused(async {
        let (board, _, log) = notes(once(breaker()), |seen| match seen.id {
            1 | 2 => failing(),
            3 => Step::Fail(Failure::permanent("never")),
            _ => Step::Done,
        })
        .await;
        publish(&board, 1..=4).await;
        settle(&board).await;
        assert_eq!(log.pauses(), [secs(0), secs(10), secs(0)]);
    });
}

#[test]
fn a_probe_that_has_to_wait_for_its_rate_is_not_lost() {
    paused(async {
        let breaker = breaker().window(secs(60));
        let policy = once(breaker).rate_limit(RateLimit::per(1, secs(12)));
        let (board, _, log) = notes(policy, up_to(2)).await;
        publish(&board, 1..=3).await;
        settle(&board).await;
        // It is half open after 10 s, and what it lets through then goes after 12.
        assert_eq!(log.pauses(), [secs(12), secs(12)]);
    });
}

/// Does everything a second later; fails with the first two.
struct Desk;
impl Service for Desk {}
impl Handle<Note> for Desk {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        let fails = note.0 <= 2;
        cx.later(sleep(secs(1)), async move |_, (), _| {
            if fails {
                return Err(Failure::new(ON_PURPOSE));
            }
            Ok(())
        });
        Ok(())
    }
}

#[test]
fn a_probe_goes_back_when_its_subscription_ends() {
    paused(async {
        let desk = service("desk", || Desk);
        let address = desk.address();
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let root = shop()
            .policy(once(breaker().shared()))
            .child(desk.on::<Note>())
            .child(spec.on::<Memo>());
        let board = here(root).await;
        publish(&board, 1..=2).await;
        board.settle().await.unwrap();
        advance(secs(10)).await;
        publish(&board, 3..=3).await;
        let probing = || {
            let guards = board.inspect("shop/clerk").unwrap().guards;
            guards[0].breaker == Some(BreakerState::HalfOpen)
        };
        crate::support_lives::until(probing).await;
        board.unsubscribe::<Note>(&address).await.unwrap();
        let began = tokio::time::Instant::now();
        board.publish(Memo(4)).await.unwrap();
        board.settle().await.unwrap();
        // Another probe is let through at once, and not when the first counts as lost.
        assert_eq!((log.ids(), began.elapsed()), (vec![4], Duration::ZERO));
    });
}

#[test]
fn later_work_tells_it_how_it_went() {
    paused(async {
        let spec = service("clerk", || Desk).on::<Note>();
        let board = here(shop().child(spec.policy(once(breaker())))).await;
        publish(&board, 1..=2).await;
        board.settle().await.unwrap();
        publish(&board, 3..=4).await;
        let began = tokio::time::Instant::now();
        board.settle().await.unwrap_err();
        settle(&board).await;
        // The second goes when the probe has succeeded, 1 s after it began.
        assert_eq!(began.elapsed(), secs(12));
        assert_eq!(row(&board, "shop/clerk", "note").acknowledged, 2);
    });
}

/// A real board, whose services are on different threads.
#[test]
fn two_services_share_one_across_threads() {
    let breaker = breaker().open_for(secs(3_600)).dead_letters().shared();
    let (a, _) = clerk("a", |_| failing());
    let (b, log) = clerk("b", |_| Step::Done);
    let root = shop()
        .policy(once(breaker))
        .child(a.on::<Note>().spread())
        .child(b.on::<Memo>().spread());
    let board = Board::builder().arbiters(2).start(root).unwrap();
    for note in 1..=2 {
        board.publish_blocking(Note(note)).unwrap();
    }
    board.settle_blocking().unwrap();
    board.publish_blocking(Memo(3)).unwrap();
    board.settle_blocking().unwrap();
    assert!(log.ids().is_empty());
    assert_eq!(reasons(&board).last(), Some(&Reason::BreakerOpen));
    let guards = board.inspect("shop/b").unwrap().guards;
    assert_eq!(guards[0].breaker, Some(BreakerState::Open));
    let report = board.shutdown_blocking(secs(5));
    assert_eq!(report.ledger.gap(), 0);
}

#[test]
fn its_changes_are_events_where_somebody_listens() {
    struct Pager(std::sync::Arc<std::sync::Mutex<Vec<String>>>);
    impl Service for Pager {}
    impl Handle<Lifecycle> for Pager {
        async fn handle(&mut self, news: &Lifecycle, _: &mut Context<Self>) -> Outcome {
            let change = match news.change() {
                Change::BreakerOpened { event, .. } => format!("opened {event}"),
                Change::BreakerHalfOpen { event, .. } => format!("half open {event}"),
                Change::BreakerClosed { event, .. } => format!("closed {event}"),
                _ => return Ok(()),
            };
            self.0
                .lock()
                .unwrap()
                .push(format!("{} {change}", news.path()));
            Ok(())
        }
    }
    use callboard::Lifecycle;
    paused(async {
        let heard: std::sync::Arc<std::sync::Mutex<Vec<String>>> = Default::default();
        let kept = heard.clone();
        let pager = service("pager", move || Pager(kept.clone())).on::<Lifecycle>();
        let (spec, _) = clerk("clerk", up_to(2));
        let spec = spec.on::<Note>().policy(once(breaker()));
        let board = here(shop().child(pager).child(spec)).await;
        publish(&board, 1..=3).await;
        settle(&board).await;
        let expected = ["opened note", "half open note", "closed note"];
        let expected = expected.map(|change| format!("shop/clerk {change}"));
        assert_eq!(*heard.lock().unwrap(), expected);
    });
}

#[test]
fn a_breaker_is_known_again_when_its_subscription_comes_back_with_its_service() {
    paused(async {
        let (board, address, _) = notes(once(breaker()), up_to(9)).await;
        board.unsubscribe::<Note>(&address).await.unwrap();
        let guards = || board.inspect("shop/clerk").unwrap().guards.len();
        board.settle().await.unwrap();
        address.ask(HowMany).await.unwrap();
        assert_eq!(guards(), 0);
        board.subscribe::<Note>(&address).await.unwrap();
        board.stop("shop/clerk").await.unwrap();
        board.restart("shop/clerk").await.unwrap();
        assert_eq!(guards(), 1);
        let began = tokio::time::Instant::now();
        publish(&board, 1..=3).await;
        let held = board.settle().await.unwrap_err();
        assert!(matches!(held, SettleError::BreakerOpen { .. }), "{held}");
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}
