//! Events are tried again as the nearest policy says.
//!
//! In place: younger events wait and letters go on. Attempts are counted across crashes.

use std::io;

use callboard::policy::Trouble;
use callboard::prelude::*;
use callboard::{DeadLetter, Jitter, Reason};
use tokio::time::Instant;

use crate::support_events::{
    HowMany, Log, Memo, Note, Step, clerk, failing, here, paused, row, shop,
};

/// What one event that always fails gets: its log and its dead letter.
async fn always_failing(retry: Retry) -> (Log, DeadLetter) {
    let (spec, log) = clerk("clerk", |_| failing());
    let root = shop().child(spec.on::<Note>().policy(Policy::new().retry(retry)));
    let board = here(root).await;
    board.publish(Note(1)).await.unwrap();
    board.settle().await.unwrap();
    let tried = log.seen().len() as u64;
    let row = row(&board, "shop/clerk", "note");
    assert_eq!((row.dead_lettered, row.retried), (1, tried - 1));
    let letters = board.dead_letters();
    assert_eq!(letters.len(), 1);
    (log, letters[0].clone())
}

#[test]
fn never_means_one_attempt() {
    paused(async {
        let (log, letter) = always_failing(Retry::never()).await;
        assert_eq!(log.attempts(), [(1, 1)]);
        assert_eq!(letter.reason(), Reason::AttemptsUsedUp);
    });
}

#[test]
fn delays_are_exact() {
    paused(async {
        let steady = Retry::fixed(millis(20)).attempts(4);
        let (log, letter) = always_failing(steady).await;
        assert_eq!(log.pauses(), [millis(20); 3]);
        assert_eq!(letter.attempts().len(), 4);
        let growing = || {
            Retry::exponential(millis(50))
                .jitter(Jitter::None)
                .attempts(5)
        };
        let (log, _) = always_failing(growing()).await;
        assert_eq!(log.pauses(), [50, 100, 200, 400].map(millis));
        let (log, _) = always_failing(growing().at_most(millis(150))).await;
        assert_eq!(log.pauses(), [50, 100, 150, 150].map(millis));
        let (log, _) = always_failing(growing().factor(3.0)).await;
        assert_eq!(log.pauses(), [50, 150, 450, 1_350].map(millis));
    });
}

#[test]
fn a_function_of_the_user_gives_the_delays_and_gives_up() {
    paused(async {
        let delays = |attempt| (attempt < 4).then(|| millis(u64::from(attempt) * 10));
        let (log, letter) = always_failing(Retry::with(delays).attempts(5)).await;
        assert_eq!(log.pauses(), [10, 20, 30].map(millis));
        assert_eq!(letter.reason(), Reason::NotRetried);
    });
}

#[test]
fn a_condition_says_which_failures_are_worth_another_attempt() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match seen.id {
            1 => Step::Fail(io::Error::other("no line").into()),
            2 => failing(),
            _ => Step::Fail(Failure::permanent("never")),
        });
        let retry = Retry::fixed(millis(1)).when(|failure| !failure.is::<io::Error>());
        let root = shop().child(spec.on::<Note>().policy(Policy::new().retry(retry)));
        let board = here(root).await;
        for id in 1..=3 {
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (2, 1), (2, 2), (2, 3), (3, 1)]);
        let reasons: Vec<_> = board
            .dead_letters()
            .iter()
            .map(DeadLetter::reason)
            .collect();
        let expected = [
            Reason::NotRetried,
            Reason::AttemptsUsedUp,
            Reason::Permanent,
        ];
        assert_eq!(reasons, expected);
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn attempts_are_counted_across_crashes() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match (seen.id, seen.attempt) {
            (2, 1 | 3) => Step::Panic,
            (2, 2 | 4) => failing(),
            _ => Step::Done,
        });
        let retry = Retry::fixed(millis(5)).attempts(5);
        let root = shop().child(spec.on::<Note>().policy(Policy::new().retry(retry)));
        let board = here(root).await;
        for id in 1..=3 {
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        let tries = [(1, 1), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5), (3, 1)];
        assert_eq!(log.attempts(), tries);
        let lives: Vec<_> = log.seen().iter().map(|seen| seen.life).collect();
        assert_eq!(lives, [1, 1, 2, 2, 3, 3, 3]);
        let row = row(&board, "shop/clerk", "note");
        assert_eq!((row.accepted, row.acknowledged, row.retried), (3, 3, 4));
    });
}

#[test]
fn an_event_that_always_panics_becomes_a_dead_letter_and_the_next_proceeds() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match seen.id {
            1 => Step::Panic,
            _ => Step::Done,
        });
        let board = here(shop().child(spec.on::<Note>())).await;
        for id in 1..=2 {
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (1, 3), (2, 1)]);
        assert_eq!(log.lives(), 4);
        let letter = &board.dead_letters()[0];
        let troubles: Vec<_> = letter.attempts().iter().map(|one| one.trouble).collect();
        assert_eq!(troubles, [Trouble::Crashed; 3]);
        assert!(letter.failure().unwrap().is::<callboard::Panic>());
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn in_place_younger_events_wait_and_letters_go_on() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match (seen.id, seen.attempt) {
            (2, 1..=2) => failing(),
            _ => Step::Done,
        });
        let spec = spec.on::<Note>().on::<Memo>();
        let address = spec.address();
        let patient = Policy::new().retry(Retry::fixed(secs(60)));
        let board = here(shop().child(spec.policy(patient))).await;
        board.publish(Note(1)).await.unwrap();
        board.publish(Note(2)).await.unwrap();
        board.publish(Memo(3)).await.unwrap();
        board.publish(Note(4)).await.unwrap();
        let began = Instant::now();
        log.until(2).await;
        for _ in 0..10 {
            assert_eq!(address.ask(HowMany).await.unwrap(), 2);
        }
        let waiting = row(&board, "shop/clerk", "note");
        assert_eq!((waiting.deferred, waiting.queued), (1, 1));
        assert_eq!(began.elapsed(), Duration::ZERO);
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), secs(120));
        assert_eq!(
            log.attempts(),
            [(1, 1), (2, 1), (2, 2), (2, 3), (3, 1), (4, 1)]
        );
    });
}

#[test]
fn the_nearest_policy_wins() {
    paused(async {
        let attempts = |count| Policy::new().retry(Retry::fixed(millis(1)).attempts(count));
        let (default, one) = clerk("default", |_| failing());
        let (outer, two) = clerk("outer", |_| failing());
        let (own, three) = clerk("own", |_| failing());
        let (terms, four) = clerk("terms", |_| failing());
        let inner = Supervisor::one_for_one("inner")
            .policy(attempts(2))
            .child(outer.on::<Note>())
            .child(own.on::<Note>().policy(attempts(4)))
            .child(
                terms
                    .on_with::<Note>(|on| on.policy(attempts(5)))
                    .policy(attempts(4)),
            );
        let root = shop()
            .policy(attempts(1))
            .child(default.on::<Note>())
            .child(inner);
        let board = here(root).await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        let tried = [one, two, three, four].map(|log| log.seen().len());
        assert_eq!(tried, [1, 2, 4, 5]);
        assert_eq!(board.dead_letters().len(), 4);
        assert_eq!(board.ledger().gap(), 0);
    });
}
