//! A publisher may wait for what becomes of its event.
//!
//! It hears the fate of the event at each subscriber, in the order of their paths.

use std::sync::Arc;

use callboard::prelude::*;
use callboard::{Fate, Settled};
use tokio::time::Instant;

use crate::support_events::{Note, Step, clerk, failing, gate, here, paused, row, shop};

fn told(fates: &[Settled]) -> Vec<(&str, Fate)> {
    let pairs = fates.iter().map(|one| (one.service.as_str(), one.fate));
    pairs.collect()
}

#[test]
fn every_subscriber_is_named_with_what_became_of_the_event() {
    paused(async {
        let policy = || Policy::new().retry(Retry::fixed(millis(10)).attempts(3));
        let (well, _) = clerk("well", |_| Step::Done);
        let (again, tries) = clerk("again", |seen| match seen.attempt {
            1..=2 => failing(),
            _ => Step::Done,
        });
        let (badly, _) = clerk("badly", |_| failing());
        let (crash, lives) = clerk("crash", |seen| match seen.attempt {
            1 => Step::Panic,
            _ => Step::Sleep(secs(1)),
        });
        let root = shop()
            .policy(policy())
            .child(well.on::<Note>())
            .child(crash.on::<Note>())
            .child(badly.on::<Note>())
            .child(again.on::<Note>());
        let board = here(root).await;
        let began = Instant::now();
        let fates = board.publish(Note(1)).settled().await.unwrap();
        let expected = [
            ("shop/again", Fate::Acknowledged),
            ("shop/badly", Fate::DeadLettered),
            ("shop/crash", Fate::Acknowledged),
            ("shop/well", Fate::Acknowledged),
        ];
        assert_eq!(told(&fates), expected);
        assert_eq!((tries.seen().len(), lives.lives()), (3, 2));
        assert_eq!(began.elapsed(), secs(1));
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn an_event_nobody_hears_is_settled_at_once() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let board = here(shop().child(spec)).await;
        let fates = board.publish(Note(1)).settled().await.unwrap();
        assert!(fates.is_empty());
        let topic = board.ledger().topic("note").unwrap().clone();
        assert_eq!((topic.published, topic.unheard), (1, 1));
    });
}

#[test]
fn what_is_shed_here_may_be_acknowledged_there() {
    paused(async {
        let gate = gate();
        let kept = Arc::clone(&gate);
        let (lazy, log) = clerk("lazy", move |_| Step::Wait(Arc::clone(&kept)));
        let (quick, _) = clerk("quick", |_| Step::Done);
        let lossy = |on: callboard::On<Note>| on.capacity(1).overflow(Overflow::DropOldest);
        let root = shop().child(quick.on::<Note>()).child(lazy.on_with(lossy));
        let board = here(root).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        let (fates, _) = tokio::join!(board.publish(Note(2)).settled(), async {
            board.publish(Note(3)).await.unwrap();
        });
        let fates = fates.unwrap();
        let expected = [
            ("shop/lazy", Fate::Shed),
            ("shop/quick", Fate::Acknowledged),
        ];
        assert_eq!(told(&fates), expected);
        gate.add_permits(9);
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/lazy", "note").shed, 1);
    });
}

#[test]
fn what_is_left_at_shutdown_is_undelivered() {
    paused(async {
        let (slow, log) = clerk("slow", |_| Step::Sleep(secs(3_600)));
        let (tired, _) = clerk("tired", |_| failing());
        let patient = Policy::new().retry(Retry::fixed(secs(3_600)));
        let root = shop()
            .child(tired.on::<Note>().policy(patient))
            .child(slow.on::<Note>());
        let board = here(root).await;
        let (first, second, report) = tokio::join!(
            board.publish(Note(1)).settled(),
            board.publish(Note(2)).settled(),
            async {
                log.until(1).await;
                board.shutdown(secs(1)).await
            }
        );
        let expected = [
            ("shop/slow", Fate::Undelivered),
            ("shop/tired", Fate::Undelivered),
        ];
        assert_eq!(told(&first.unwrap()), expected);
        assert_eq!(told(&second.unwrap()), expected);
        assert_eq!((report.drained, report.ledger.gap()), (false, 0));
        let counts: Vec<_> = report.undelivered.iter().map(|one| one.count).collect();
        assert_eq!(counts, [2, 2]);
        assert!(board.ledger().is_settled());
    });
}

#[test]
fn an_event_that_is_refused_is_not_waited_for() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let board = here(shop().child(spec.on::<Note>())).await;
        board.shutdown(secs(1)).await;
        let refused = board.publish(Note(4)).settled().await.unwrap_err();
        assert_eq!(refused.into_event().0, 4);
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_watcher_that_goes_away_changes_nothing() {
    paused(async {
        let gate = gate();
        let kept = Arc::clone(&gate);
        let (slow, log) = clerk("slow", move |_| Step::Wait(Arc::clone(&kept)));
        let board = here(shop().child(slow.on::<Note>())).await;
        let watching = board.publish(Note(1)).settled();
        tokio::select! {
            biased;
            _ = watching => panic!("nothing has settled"),
            () = log.until(1) => {}
        }
        gate.add_permits(1);
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/slow", "note").acknowledged, 1);
    });
}
