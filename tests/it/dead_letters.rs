//! What was given up is a dead letter.
//!
//! It is an event itself, lies on a bounded shelf, and can be given back to who failed it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use callboard::policy::Trouble;
use callboard::prelude::*;
use callboard::{EventId, Reason, RedriveError};

use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

use crate::support_events::{
    Memo, Note, ON_PURPOSE, Step, clerk, failing, here, paused, row, shop,
};

fn twice() -> Policy {
    Policy::new().retry(Retry::fixed(millis(10)).attempts(2))
}

#[test]
fn a_dead_letter_tells_everything_about_its_event() {
    paused(async {
        let (spec, _) = clerk("clerk", |seen| match seen.attempt {
            1 => failing(),
            _ => Step::Panic,
        });
        let board = here(shop().child(spec.on::<Note>().policy(twice()))).await;
        let number = board.publish(Note(7)).await.unwrap();
        board.settle().await.unwrap();
        let letters = board.dead_letters();
        assert_eq!(letters.len(), 1);
        let letter = &letters[0];
        assert_eq!((letter.event_id(), letter.event_name()), (number, "note"));
        assert_eq!(letter.downcast_ref::<Note>().unwrap().0, 7);
        assert!(letter.downcast_ref::<Memo>().is_none());
        assert_eq!(letter.service(), "shop/clerk");
        assert_eq!(letter.reason(), Reason::AttemptsUsedUp);
        assert!(!letter.is_redriven() && letter.cause().is_none());
        let tried = letter.attempts();
        assert_eq!(tried.len(), 2);
        assert_eq!((tried[0].number, tried[0].trouble), (1, Trouble::Failed));
        assert_eq!((tried[1].number, tried[1].trouble), (2, Trouble::Crashed));
        assert_eq!(tried[0].failure.to_string(), ON_PURPOSE);
        assert_eq!(tried[1].at - tried[0].at, millis(10));
        let said =
            format!("note {number} for shop/clerk, attempts used up (2): panicked: {ON_PURPOSE}");
        assert_eq!(letter.to_string(), said);
        assert_eq!(row(&board, "shop/clerk", "note").dead_lettered, 1);
    });
}

/// Looks at the board whenever it is said that an event is a dead letter.
struct Onlooker {
    board: OnceLock<Board>,
    seen: Mutex<Vec<(u64, usize, u64)>>,
}

impl<S: ::tracing::Subscriber> Layer<S> for &'static Onlooker {
    fn on_event(&self, event: &::tracing::Event<'_>, _: LayerContext<'_, S>) {
        let is_end = *event.metadata().level() == ::tracing::Level::ERROR;
        let Some(board) = self.board.get().filter(|_| is_end) else {
            return;
        };
        let (dead, ledger) = (
            row(board, "shop/clerk", "note").dead_lettered,
            board.ledger(),
        );
        let told = ledger.topic("callboard.dead_letter").unwrap().published;
        let mut seen = self.seen.lock().unwrap();
        seen.push((dead, board.dead_letters().len(), told));
    }
}

#[test]
fn whoever_hears_of_a_dead_letter_finds_it_on_the_shelf() {
    let onlooker: &Onlooker = Box::leak(Box::new(Onlooker {
        board: OnceLock::new(),
        seen: Mutex::default(),
    }));
    crate::tracing::never_alone();
    ::tracing::subscriber::with_default(Registry::default().with(onlooker), || {
        paused(async {
            let (spec, _) = clerk("clerk", |_| failing());
            let (mourner, _) = clerk("mourner", |_| Step::Done);
            let root = shop()
                .child(mourner.on::<DeadLetter>())
                .child(spec.on::<Note>().policy(twice()));
            let board = here(root).await;
            onlooker.board.set(board.clone()).ok().unwrap();
            for note in 0..3 {
                board.publish(Note(note)).await.unwrap();
                board.settle().await.unwrap();
            }
        });
    });
    assert_eq!(
        *onlooker.seen.lock().unwrap(),
        [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    );
}

#[test]
fn one_that_cannot_be_waited_for_hears_of_a_dead_letter_all_the_same() {
    paused(async {
        let has_failed = AtomicBool::new(false);
        let (spec, log) = clerk("clerk", move |_| {
            if has_failed.swap(true, Ordering::SeqCst) {
                return Step::Done;
            }
            failing()
        });
        let policy = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::dead_letter().waited());
        // It would wait for itself.
        let spec = spec.on::<Note>().on::<DeadLetter>().policy(policy);
        let board = here(shop().child(spec)).await;
        board.publish(Note(7)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [7, 7]);
        let told = board
            .ledger()
            .topic("callboard.dead_letter")
            .unwrap()
            .published;
        assert_eq!((told, board.dead_letters().len()), (1, 1));
    });
}

#[test]
fn a_service_may_subscribe_to_dead_letters() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| failing());
        let (mourner, mourned) = clerk("mourner", |_| Step::Done);
        let root = shop()
            .child(mourner.on::<DeadLetter>())
            .child(spec.on::<Note>().policy(twice()));
        let board = here(root).await;
        for id in 1..=3 {
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(mourned.ids(), [1, 2, 3]);
        let heard = row(&board, "shop/mourner", DeadLetter::NAME);
        assert_eq!((heard.accepted, heard.acknowledged), (3, 3));
    });
}

#[test]
fn a_handler_of_dead_letters_that_fails_makes_no_second_one() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| failing());
        let (mourner, mourned) = clerk("mourner", |seen| match seen.attempt {
            1 => Step::Panic,
            _ => failing(),
        });
        let root = shop()
            .child(mourner.on::<DeadLetter>().policy(twice()))
            .child(spec.on::<Note>().policy(twice()));
        let board = here(root).await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(mourned.attempts(), [(1, 1), (1, 2)]);
        assert_eq!(board.dead_letters().len(), 1);
        let heard = row(&board, "shop/mourner", DeadLetter::NAME);
        assert_eq!((heard.discarded, heard.dead_lettered), (1, 0));
        let topic = board.ledger().topic(DeadLetter::NAME).unwrap().clone();
        assert_eq!((topic.published, topic.heard), (1, 1));
    });
}

#[test]
fn dead_letters_never_wait_for_room() {
    paused(async {
        let gate = crate::support_events::gate();
        let (spec, _) = clerk("clerk", |_| failing());
        let (mourner, _) = clerk("mourner", move |_| Step::Wait(Arc::clone(&gate)));
        let root = shop()
            .child(mourner.on_with::<DeadLetter>(|on| on.capacity(1)))
            .child(
                spec.on::<Note>()
                    .policy(Policy::new().retry(Retry::never())),
            );
        let board = here(root).await;
        for id in 1..=50 {
            board.publish(Note(id)).settled().await.unwrap();
        }
        assert_eq!(row(&board, "shop/clerk", "note").dead_lettered, 50);
        let heard = row(&board, "shop/mourner", DeadLetter::NAME);
        assert_eq!((heard.accepted, heard.shed), (50, 48));
    });
}

#[test]
fn the_shelf_keeps_the_newest_and_says_once_that_it_is_full() {
    let run = async {
        let (spec, log) = clerk("clerk", |_| failing());
        let root = shop().child(
            spec.on::<Note>()
                .policy(Policy::new().retry(Retry::never())),
        );
        let builder = Board::builder().shelf(3).on_this_thread();
        let board = builder.start(root).await.unwrap();
        board.publish(Note(1)).settled().await.unwrap();
        let first = board.dead_letters().remove(0);
        for id in 2..=10 {
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        let kept = board.dead_letters();
        let ids: Vec<_> = kept
            .iter()
            .map(|one| one.downcast_ref::<Note>().unwrap().0)
            .collect();
        assert_eq!((log.seen().len(), ids), (10, vec![8, 9, 10]));
        assert_eq!(row(&board, "shop/clerk", "note").dead_lettered, 10);
        assert_eq!(
            board.redrive(&first).await,
            Err(RedriveError::NotOnTheShelf)
        );
    };
    let witness = crate::tracing::watched("callboard=warn", || paused(run));
    let told = witness.events("callboard::policy", ::tracing::Level::WARN);
    let told = told.iter().map(|one| one.field("most"));
    let full: Vec<&str> = told.filter(|most| !most.is_empty()).collect();
    assert_eq!(full, ["3"]);
}

#[test]
fn a_redriven_letter_goes_to_the_very_subscriber_that_failed_it() {
    paused(async {
        let mended = Arc::new(AtomicBool::new(false));
        let seen_by_clerk = Arc::clone(&mended);
        let (spec, log) = clerk("clerk", move |_| {
            if seen_by_clerk.load(Ordering::Relaxed) {
                Step::Done
            } else {
                failing()
            }
        });
        let (other, heard) = clerk("other", |_| Step::Done);
        let root = shop()
            .child(spec.on::<Note>().policy(twice()))
            .child(other.on::<Note>());
        let board = here(root).await;
        let first = board.publish(Note(7)).await.unwrap();
        board.settle().await.unwrap();
        mended.store(true, Ordering::Relaxed);
        let letter = board.dead_letters().remove(0);
        let again = board.redrive(&letter).await.unwrap();
        assert!(again > first && board.dead_letters().is_empty());
        assert_eq!(
            board.redrive(&letter).await,
            Err(RedriveError::NotOnTheShelf)
        );
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(7, 1), (7, 2), (7, 1)]);
        let marks: Vec<_> = log.seen().iter().map(|seen| seen.redriven).collect();
        assert_eq!(marks, [false, false, true]);
        assert_eq!(heard.ids(), [7]);
        let row = row(&board, "shop/clerk", "note");
        assert_eq!(
            (row.accepted, row.dead_lettered, row.acknowledged),
            (2, 1, 1)
        );
        assert_eq!(board.ledger().topic("note").unwrap().published, 1);
    });
}

#[test]
fn a_redriven_letter_that_fails_again_is_a_new_letter() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| failing());
        let board = here(shop().child(spec.on::<Note>().policy(twice()))).await;
        board.publish(Note(7)).await.unwrap();
        board.settle().await.unwrap();
        let letter = board.dead_letters().remove(0);
        board.redrive(&letter).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(7, 1), (7, 2), (7, 1), (7, 2)]);
        let letters = board.dead_letters();
        assert_eq!((letters.len(), letters[0].is_redriven()), (1, true));
        assert_eq!(
            board.redrive(&letter).await,
            Err(RedriveError::NotOnTheShelf)
        );
        let row = row(&board, "shop/clerk", "note");
        assert_eq!((row.accepted, row.dead_lettered), (2, 2));
    });
}

#[test]
fn a_letter_whose_subscription_has_ended_stays_on_the_shelf() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| failing());
        let (spec, address) = {
            let spec = spec.on::<Note>().policy(twice());
            let address = spec.address();
            (spec, address)
        };
        let board = here(shop().child(spec)).await;
        for note in [7, 8] {
            board.publish(Note(note)).await.unwrap();
        }
        board.settle().await.unwrap();
        let letter = board.dead_letters().remove(0);
        board.unsubscribe::<Note>(&address).await.unwrap();
        address.ask(crate::support_events::HowMany).await.unwrap();
        assert_eq!(board.redrive(&letter).await, Err(RedriveError::Ended));
        let left = board.dead_letters();
        let left = left.iter().map(|one| one.downcast_ref::<Note>().unwrap().0);
        assert_eq!(left.collect::<Vec<_>>(), [7, 8], "where it was");
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn one_that_nobody_has_heard_of_at_the_end_is_named_in_the_report() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| failing());
        let (ear, _) = clerk("ear", |_| Step::Done);
        let root = shop()
            .child(spec.on::<Note>().policy(twice()))
            .child(ear.on::<DeadLetter>());
        let board = here(root).await;
        board.suspend("shop/ear").unwrap();
        board.publish(Note(7)).await.unwrap();
        board.settle().await.unwrap_err();
        let report = board.shutdown(secs(1)).await;
        let [row] = &report.undelivered[..] else {
            panic!("{report}")
        };
        let row = (row.service.as_str(), row.event.as_str(), row.count);
        assert_eq!(row, ("shop/ear", DeadLetter::NAME, 1));
        assert_eq!(report.ledger.gap(), 0);
    });
}

/// Would give the first letter back on the thread that it runs on.
struct Hasty;
impl Service for Hasty {}
struct Try;
impl Message for Try {
    type Reply = Result<EventId, RedriveError>;
}
impl Answer<Try> for Hasty {
    async fn answer(&mut self, _: Try, cx: &mut Context<Self>) -> Outcome<<Try as Message>::Reply> {
        let board = Board::of(cx).unwrap();
        Ok(board.redrive_blocking(&board.dead_letters()[0]))
    }
}

#[test]
fn a_thread_without_a_runtime_gives_a_letter_back_and_one_of_the_board_is_refused_at_once() {
    let (spec, log) = clerk(
        "clerk",
        |seen| {
            if seen.redriven { Step::Done } else { failing() }
        },
    );
    let spec = spec.on::<Note>().policy(twice());
    let hasty = service("hasty", || Hasty);
    let to_hasty = hasty.address();
    let board = Board::builder()
        .arbiters(1)
        .start(shop().child(spec).child(hasty))
        .unwrap();
    board.publish_blocking(Note(7)).unwrap();
    board.settle_blocking().unwrap();
    let refused = to_hasty.ask_blocking(Try).unwrap();
    assert_eq!(refused, Err(RedriveError::Blocking));
    let [letter] = &board.dead_letters()[..] else {
        panic!("it is on the shelf")
    };
    board.redrive_blocking(letter).unwrap();
    let again = board.redrive_blocking(letter);
    assert_eq!(again, Err(RedriveError::NotOnTheShelf));
    board.settle_blocking().unwrap();
    assert_eq!(log.attempts(), [(7, 1), (7, 2), (7, 1)]);
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}
