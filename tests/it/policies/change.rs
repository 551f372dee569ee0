//! What is in force is told, and changed while the board runs.

use std::sync::Arc;

use callboard::PolicyError;
use callboard::prelude::*;

use super::Bill;
use crate::support_events::{
    Clerk, Memo, Note, Step, clerk, failing, gate, here, paused, row, shop,
};

fn attempts(count: u32) -> Policy {
    Policy::new().retry(Retry::fixed(secs(1)).attempts(count))
}

#[test]
fn each_part_says_where_it_was_set() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let spec = spec
            .on::<Note>()
            .on_with::<Memo>(|on| on.policy(Policy::new().timeout(secs(2))))
            .policy(attempts(4));
        let above = Policy::new().timeout(secs(9)).failure(OnFailure::discard());
        let board = here(shop().policy(above).child(spec)).await;
        let policies = board.policies();
        let text = policies.to_string();
        let expected = "\
shop/clerk on memo
  timeout: 2s (shop/clerk on memo)
  retry: 4 attempts in place, after 1s (shop/clerk)
  failure: discard (shop)
shop/clerk on note
  timeout: 9s (shop)
  retry: 4 attempts in place, after 1s (shop/clerk)
  failure: discard (shop)";
        assert_eq!(text, expected);
        let memo = policies.row("shop/clerk", "memo").unwrap();
        let part = memo
            .policy
            .parts
            .iter()
            .find(|part| part.name == "deadline")
            .unwrap();
        assert!(part.is_default && part.from.is_none());
        assert_eq!(part.to_string(), "deadline: none (default)");
    });
}

#[test]
fn a_policy_explains_itself_outside_of_any_tree() {
    let policy = Policy::new()
        .retry(
            Retry::exponential(millis(50))
                .at_most(secs(5))
                .within(secs(9))
                .parked(),
        )
        .time_to_live(secs(3))
        .failure_of::<std::fmt::Error>(OnFailure::dead_letter().escalate())
        .success(
            OnSuccess::acknowledge()
                .publish(|_: &Clerk, _: &Note| Memo(1))
                .waited(),
        );
    let expected = "\
time_to_live: 3s
dedupe: none (default)
breaker: none (default)
rate_limit: none (default)
timeout: none (default)
timeout_restarts: no (default)
deadline: none (default)
success: acknowledge, publish memo for note, waited for
retry: 3 attempts parked by key, after 50ms, times 2, at most 5s, full jitter, within 9s
retry_budget: none (default)
failure_of: core::fmt::Error: dead letter, escalate the service
failure: dead letter (default)";
    assert_eq!(policy.explain().to_string(), expected);
}

#[test]
fn a_change_applies_from_the_next_failure_and_delays_stay() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| failing());
        let board = here(shop().child(spec.on::<Note>().policy(attempts(3)))).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        let later = Policy::new().retry(Retry::fixed(secs(60)).attempts(3));
        board.set_policy("shop/clerk", later).unwrap();
        board.settle().await.unwrap();
        // The delay that had begun stays 1 s.
        assert_eq!(log.pauses(), [secs(1), secs(60)]);
        board
            .set_policy("shop/clerk", Policy::new().retry(Retry::never()))
            .unwrap();
        board.publish(Note(2)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts().last(), Some(&(2, 1)));
    });
}

#[test]
fn a_change_applies_to_what_has_just_been_subscribed_to() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, log) = clerk("clerk", move |seen| match seen.id {
            1 => Step::Wait(Arc::clone(&wait)),
            _ => failing(),
        });
        let address = spec.address();
        let board = here(shop().child(spec.on::<Note>())).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        // Both while the clerk is at work, which looks at neither before its next delivery.
        board.subscribe::<Memo>(&address).await.unwrap();
        let never = Policy::new().retry(Retry::never());
        board.set_policy("shop/clerk", never).unwrap();
        gate.add_permits(1);
        board.publish(Memo(2)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (2, 1)]);
    });
}

#[test]
fn a_change_during_an_attempt_applies_to_its_failure() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, log) = clerk("clerk", move |seen| match seen.attempt {
            1 => Step::Wait(Arc::clone(&wait)),
            _ => failing(),
        });
        let policy = attempts(2).timeout(secs(1));
        let board = here(shop().child(spec.on::<Note>().policy(policy))).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board
            .set_policy("shop/clerk", Policy::new().retry(Retry::never()))
            .unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1)]);
        assert_eq!(row(&board, "shop/clerk", "note").dead_lettered, 1);
    });
}

#[test]
fn a_change_during_an_attempt_applies_where_its_life_is_lost() {
    paused(async {
        let gate = gate();
        let (spec, log) = clerk("clerk", move |_| Step::Wait(Arc::clone(&gate)));
        let board = here(shop().child(spec.on::<Note>().policy(attempts(2)))).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board
            .set_policy("shop/clerk", Policy::new().retry(Retry::never()))
            .unwrap();
        board.kill("shop/clerk").await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1)]);
        assert_eq!(row(&board, "shop/clerk", "note").dead_lettered, 1);
    });
}

#[test]
fn a_change_above_reaches_all_below_that_do_not_set_it_nearer() {
    paused(async {
        let (first, one) = clerk("one", |_| failing());
        let (second, two) = clerk("two", |_| failing());
        let root = shop()
            .child(first.on::<Note>())
            .child(second.on_with::<Note>(|on| on.policy(attempts(2))));
        let board = here(root).await;
        board.set_policy("shop", attempts(4)).unwrap();
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!((one.ids().len(), two.ids().len()), (4, 2));
        board
            .set_policy_on::<Note>("shop/two", Policy::new())
            .unwrap();
        board.publish(Note(2)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!((one.ids().len(), two.ids().len()), (8, 6));
        assert!(board.policies().to_string().contains("(shop)"));
    });
}

#[test]
fn a_change_survives_a_restart() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match (seen.id, seen.attempt) {
            (1, 1) => Step::Panic,
            (1, _) => Step::Done,
            _ => failing(),
        });
        let board = here(shop().child(spec.on::<Note>())).await;
        board.set_policy("shop/clerk", attempts(5)).unwrap();
        board.publish(Note(1)).await.unwrap();
        board.publish(Note(2)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!((log.ids().len(), log.lives()), (7, 2));
    });
}

#[test]
fn an_impossible_change_is_refused_and_the_old_policy_stays() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| failing());
        let board = here(shop().child(spec.on::<Note>().policy(attempts(2)))).await;
        let before = board.policies();
        let waits = OnFailure::discard()
            .publish(|_: &Note, _: &Failure| Note(7))
            .waited();
        for (policy, word) in [
            (attempts(0), "attempts is 0"),
            (
                attempts(9),
                "9 attempts, but its supervisor allows 5 restarts",
            ),
            (Policy::new().timeout(Duration::ZERO), "timeout is zero"),
            (Policy::new().failure(waits), "handles itself"),
        ] {
            for error in [
                board.set_policy("shop/clerk", policy.clone()).unwrap_err(),
                board
                    .set_policy_on::<Note>("shop/clerk", policy.clone())
                    .unwrap_err(),
            ] {
                assert!(matches!(error, PolicyError::Impossible { .. }));
                let text = error.to_string();
                assert!(text.contains(word) && text.contains("shop/clerk"), "{text}");
            }
        }
        let error = board.set_policy("shop/nobody", Policy::new()).unwrap_err();
        assert!(error.to_string().contains("shop/nobody"), "{error}");
        let error = board
            .set_policy_on::<Bill>("shop/clerk", Policy::new())
            .unwrap_err();
        assert!(
            error.to_string().contains("has not subscribed to bill"),
            "{error}"
        );
        assert_eq!(board.policies(), before);
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids().len(), 2);
    });
}
