//! What follows an event that is over: failure and success policies, waited for or not.

use std::io;
use std::sync::Arc;

use callboard::prelude::*;
use callboard::{Exit, Reason, State};

use crate::support_events::{
    Clerk, Log, Memo, Note, ON_PURPOSE, Seen, Step, clerk, failing, gate, here, paused, row, shop,
};
use crate::support_lives::until;

fn once() -> Policy {
    Policy::new().retry(Retry::never())
}

/// Turns a note that is given up into a memo.
fn compensate(then: OnFailure) -> OnFailure {
    then.publish(|note: &Note, _: &Failure| Memo(note.0 + 100))
}

/// A clerk for notes under a policy, one for memos, and their logs.
async fn pair(
    policy: Policy,
    notes: impl Fn(&Seen) -> Step + Send + Sync + 'static,
    memos: impl Fn(&Seen) -> Step + Send + Sync + 'static,
) -> (Board, Log, Log) {
    let (first, first_log) = clerk("notes", notes);
    let (second, second_log) = clerk("memos", memos);
    let root = shop()
        .child(first.on::<Note>().policy(policy))
        .child(second.on::<Memo>().on::<DeadLetter>());
    (here(root).await, first_log, second_log)
}

async fn publish(board: &Board, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        board.publish(Note(id)).await.unwrap();
    }
}

#[test]
fn what_is_given_up_may_be_discarded() {
    paused(async {
        let policy = once().failure(OnFailure::discard());
        let (board, notes, memos) = pair(policy, |_| failing(), |_| Step::Done).await;
        publish(&board, [1, 2]).await;
        board.settle().await.unwrap();
        assert_eq!((notes.ids(), memos.ids()), (vec![1, 2], vec![]));
        assert_eq!(row(&board, "shop/notes", "note").discarded, 2);
        assert!(board.dead_letters().is_empty());
    });
}

#[test]
fn a_compensating_event_carries_the_event_as_its_cause() {
    paused(async {
        let policy = once().failure(compensate(OnFailure::discard()));
        let fails = |seen: &Seen| if seen.id == 1 { failing() } else { Step::Done };
        let (board, notes, memos) = pair(policy, fails, |_| Step::Done).await;
        publish(&board, [1, 2]).await;
        board.settle().await.unwrap();
        assert_eq!((notes.ids(), memos.ids()), (vec![1, 2], vec![101]));
        let cause = memos.seen()[0].cause.unwrap();
        assert_eq!((cause.id, cause.attempt), (notes.seen()[0].number, 1));
        let row = row(&board, "shop/notes", "note");
        assert_eq!((row.discarded, row.acknowledged, row.retried), (1, 1, 0));
    });
}

#[test]
fn a_follow_up_that_is_waited_for_is_settled_before_the_next_event() {
    for waited in [false, true] {
        paused(async move {
            let then = compensate(OnFailure::dead_letter());
            let then = if waited { then.waited() } else { then };
            let gate = gate();
            let wait = Arc::clone(&gate);
            let slow = move |seen: &Seen| match seen.id {
                101 => Step::Wait(Arc::clone(&wait)),
                _ => Step::Done,
            };
            let fails = |seen: &Seen| if seen.id == 1 { failing() } else { Step::Done };
            let (board, notes, memos) = pair(once().failure(then), fails, slow).await;
            publish(&board, [1, 2]).await;
            memos.until(1).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let (expected, letters) = if waited {
                (vec![1], 0)
            } else {
                (vec![1, 2], 1)
            };
            assert_eq!(
                (notes.ids(), board.dead_letters().len()),
                (expected, letters)
            );
            gate.add_permits(1);
            board.settle().await.unwrap();
            assert_eq!((notes.ids(), board.dead_letters().len()), (vec![1, 2], 1));
            assert_eq!(board.dead_letters()[0].reason(), Reason::AttemptsUsedUp);
            assert_eq!(row(&board, "shop/notes", "note").dead_lettered, 1);
        });
    }
}

#[test]
fn a_dead_letter_that_is_waited_for_is_settled_before_the_next_event() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let slow = move |_: &Seen| Step::Wait(Arc::clone(&wait));
        let fails = |seen: &Seen| if seen.id == 1 { failing() } else { Step::Done };
        let policy = once().failure(OnFailure::dead_letter().waited());
        let (board, notes, letters) = pair(policy, fails, slow).await;
        publish(&board, [1, 2]).await;
        letters.until(1).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!((notes.ids(), letters.ids()), (vec![1], vec![1]));
        gate.add_permits(1);
        board.settle().await.unwrap();
        assert_eq!(notes.ids(), [1, 2]);
        assert_eq!(board.dead_letters().len(), 1);
    });
}

#[test]
fn after_a_crash_the_next_life_does_what_is_to_follow() {
    paused(async {
        let policy = once().failure(compensate(OnFailure::discard()).waited());
        let fails = |seen: &Seen| {
            if seen.id == 1 {
                Step::Panic
            } else {
                Step::Done
            }
        };
        let (board, notes, memos) = pair(policy, fails, |_| Step::Done).await;
        publish(&board, [1, 2]).await;
        board.settle().await.unwrap();
        assert_eq!((notes.ids(), memos.ids()), (vec![1, 2], vec![101]));
        // One restart for the crash, and none for what followed it.
        assert_eq!(notes.lives(), 2);
        assert_eq!(row(&board, "shop/notes", "note").discarded, 1);
    });
}

#[test]
fn a_life_that_is_killed_while_it_follows_up_has_made_no_other_attempt() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let policy = once().failure(compensate(OnFailure::dead_letter()).waited());
        let slow = move |seen: &Seen| match seen.id {
            101 => Step::Wait(Arc::clone(&wait)),
            _ => Step::Done,
        };
        let (board, notes, memos) = pair(policy, |_| failing(), slow).await;
        publish(&board, [1]).await;
        memos.until(1).await;
        board.kill("shop/notes").await.unwrap();
        gate.add_permits(2);
        board.settle().await.unwrap();
        assert_eq!((notes.ids(), notes.lives()), (vec![1], 2));
        let letters = board.dead_letters();
        assert_eq!((letters.len(), letters[0].attempts().len()), (1, 1));
        assert_eq!(letters[0].reason(), Reason::AttemptsUsedUp);
        // The next life has followed it up again.
        let followed = memos.ids().iter().filter(|id| **id == 101).count();
        assert_eq!(followed, 2);
    });
}

#[test]
fn a_follow_up_that_cannot_be_made_leaves_a_dead_letter() {
    paused(async {
        let then = OnFailure::discard()
            .publish(|_: &Note, _: &Failure| -> Memo { panic!("{ON_PURPOSE}") });
        let (board, notes, memos) = pair(once().failure(then), |_| failing(), |_| Step::Done).await;
        publish(&board, [1]).await;
        board.settle().await.unwrap();
        assert_eq!((notes.lives(), memos.ids()), (1, vec![1]));
        let letters = board.dead_letters();
        assert_eq!(letters[0].reason(), Reason::NotFollowedUp);
        assert_eq!(row(&board, "shop/notes", "note").dead_lettered, 1);
    });
}

#[test]
fn the_type_of_the_failure_chooses_and_the_nearest_setting_wins() {
    paused(async {
        let above = Policy::new()
            .failure(OnFailure::discard())
            .failure_of::<io::Error>(OnFailure::dead_letter());
        let policy = once().failure_of::<io::Error>(compensate(OnFailure::discard()));
        let fails = |seen: &Seen| match seen.id {
            1 => Step::Fail(io::Error::other("no line").into()),
            _ => failing(),
        };
        let (first, notes) = clerk("notes", fails);
        let (second, others) = clerk("others", fails);
        let (third, memos) = clerk("memos", |_| Step::Done);
        let root = shop()
            .policy(above)
            .child(first.on::<Note>().policy(policy))
            .child(second.on::<Note>().policy(once()))
            .child(third.on::<Memo>());
        let board = here(root).await;
        publish(&board, [1, 2]).await;
        board.settle().await.unwrap();
        assert_eq!((notes.ids(), others.ids()), (vec![1, 2], vec![1, 2]));
        assert_eq!(memos.ids(), [101]);
        assert_eq!(row(&board, "shop/notes", "note").discarded, 2);
        let row = row(&board, "shop/others", "note");
        assert_eq!((row.discarded, row.dead_lettered), (1, 1));
    });
}

/// What becomes of a service whose failure policy says this of it, and of its supervisor.
async fn suffering(then: OnFailure, script: fn(&Seen) -> Step) -> (Board, Log) {
    let (spec, log) = clerk("notes", script);
    let root = shop().child(
        Supervisor::one_for_one("desk").child(spec.on::<Note>().policy(once().failure(then))),
    );
    let board = here(root).await;
    publish(&board, [1]).await;
    (board, log)
}

#[test]
fn a_failure_policy_may_restart_the_service() {
    paused(async {
        let fails = |seen: &Seen| if seen.id == 1 { failing() } else { Step::Done };
        for then in [
            OnFailure::discard().restart(),
            compensate(OnFailure::discard()).restart(),
        ] {
            let (board, log) = suffering(then, fails).await;
            board.settle().await.unwrap();
            publish(&board, [2]).await;
            board.settle().await.unwrap();
            assert_eq!((log.ids(), log.lives()), (vec![1, 2], 2));
        }
    });
}

#[test]
fn a_failure_policy_may_stop_the_service_for_good() {
    paused(async {
        for crash in [false, true] {
            let script: fn(&Seen) -> Step = match crash {
                false => |_| failing(),
                true => |_| Step::Panic,
            };
            let (board, log) = suffering(OnFailure::dead_letter().stop(), script).await;
            until(|| {
                board
                    .inspect("shop/desk/notes")
                    .is_ok_and(|one| one.state == State::Closed)
            })
            .await;
            assert_eq!(log.lives(), 1);
            let exit = board.inspect("shop/desk/notes").unwrap().last_exit.unwrap();
            assert!(matches!(exit, Exit::Retired(_)), "{exit}");
            assert_eq!(row(&board, "shop/desk/notes", "note").dead_lettered, 1);
            let (_, log) = suffering(OnFailure::discard(), |_| Step::Done).await;
            log.until(1).await;
        }
    });
}

#[test]
fn a_failure_policy_may_end_the_supervisor() {
    paused(async {
        for crash in [false, true] {
            let script: fn(&Seen) -> Step = match crash {
                false => |seen| {
                    if seen.life == 1 {
                        failing()
                    } else {
                        Step::Done
                    }
                },
                true => |seen| {
                    if seen.life == 1 {
                        Step::Panic
                    } else {
                        Step::Done
                    }
                },
            };
            let (board, log) = suffering(OnFailure::dead_letter().escalate(), script).await;
            until(|| log.lives() == 2).await;
            let exit = board.inspect("shop/desk").unwrap().last_exit.unwrap();
            let text = format!("shop/desk {exit}");
            assert!(
                text.starts_with("shop/desk gave up: shop/desk/notes"),
                "{text}"
            );
            publish(&board, [2]).await;
            board.settle().await.unwrap();
            assert_eq!(log.ids(), [1, 2]);
        }
    });
}

#[test]
fn a_success_policy_publishes_from_the_service_and_the_event() {
    for waited in [false, true] {
        paused(async move {
            let then =
                OnSuccess::acknowledge().publish(|_: &Clerk, note: &Note| Memo(note.0 + 100));
            let then = if waited { then.waited() } else { then };
            let gate = gate();
            let wait = Arc::clone(&gate);
            let slow = move |_: &Seen| Step::Wait(Arc::clone(&wait));
            let (board, notes, memos) = pair(once().success(then), |_| Step::Done, slow).await;
            publish(&board, [1, 2]).await;
            memos.until(1).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let done = row(&board, "shop/notes", "note").acknowledged;
            assert_eq!(
                (notes.ids().len(), done),
                if waited { (1, 0) } else { (2, 2) }
            );
            gate.add_permits(2);
            board.settle().await.unwrap();
            assert_eq!((notes.ids(), memos.ids()), (vec![1, 2], vec![101, 102]));
            assert_eq!(memos.seen()[0].cause.unwrap().id, notes.seen()[0].number);
        });
    }
}

#[test]
fn a_success_hook_belongs_to_the_attempt() {
    paused(async {
        let then = OnSuccess::acknowledge().hook(|_: &mut Clerk, note: &Note, cx| {
            if note.0 == 1 && cx.attempt() == 1 {
                return Err(Failure::new(ON_PURPOSE));
            }
            cx.try_publish(Memo(note.0 + 100))?;
            Ok(())
        });
        let policy = Policy::new().retry(Retry::fixed(millis(5))).success(then);
        let (board, notes, memos) = pair(policy, |_| Step::Done, |_| Step::Done).await;
        publish(&board, [1, 2]).await;
        board.settle().await.unwrap();
        assert_eq!(notes.attempts(), [(1, 1), (1, 2), (2, 1)]);
        assert_eq!(memos.ids(), [101, 102]);
    });
}

async fn refused(root: Supervisor) -> String {
    let started = Board::builder().on_this_thread().start(root).await;
    started.unwrap_err().to_string()
}

#[test]
fn a_service_that_would_wait_for_itself_is_refused() {
    paused(async {
        let success = OnSuccess::acknowledge().publish(|_: &Clerk, note: &Note| Memo(note.0));
        let failure = compensate(OnFailure::discard());
        for policy in [
            once().success(success.clone().waited()),
            once().failure(failure.clone().waited()),
            once().failure_of::<io::Error>(failure.clone().waited()),
        ] {
            let (spec, _) = clerk("clerk", |_| Step::Done);
            let text = refused(shop().policy(policy).child(spec.on::<Note>().on::<Memo>())).await;
            for word in ["shop/clerk, on note", "wait for memo", "handles itself"] {
                assert!(text.contains(word), "{word} in {text}");
            }
        }
        let (spec, _) = clerk("clerk", |_| Step::Done);
        here(
            shop()
                .policy(once().success(success).failure(failure))
                .child(spec.on::<Note>().on::<Memo>()),
        )
        .await;
    });
}

#[test]
fn a_step_that_would_never_be_taken_is_refused() {
    paused(async {
        let policy = || once().failure(compensate(OnFailure::discard()));
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let text = refused(shop().child(spec.on_with::<Memo>(|on| on.policy(policy())))).await;
        assert!(
            text.contains("this subscription does not receive: publish memo for note"),
            "{text}"
        );
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let text = refused(shop().child(spec.on::<Memo>().policy(policy()))).await;
        assert!(text.contains("none of its subscriptions"), "{text}");
        let (spec, _) = clerk("clerk", |_| Step::Done);
        here(shop().policy(policy()).child(spec.on::<Memo>())).await;
    });
}
