//! Services subscribe and unsubscribe, also while events flow.
//!
//! Whoever comes late hears only what comes after; what was not read at the end is undelivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callboard::prelude::*;
use callboard::{On, StartError, SubscribeError};

use crate::support_events::{
    Clerk, HowMany, Memo, Note, Raise, Step, clerk, failing, gate, here, paused, row, shop,
};

#[test]
fn three_services_of_one_type_hear_everything_each() {
    paused(async {
        let (mut root, mut logs) = (shop(), Vec::new());
        for name in ["a", "b", "c"] {
            let (spec, log) = clerk(name, |_| Step::Done);
            root = root.child(spec.on::<Note>());
            logs.push(log);
        }
        let board = here(root).await;
        for id in 0..10 {
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        for (name, log) in ["shop/a", "shop/b", "shop/c"].iter().zip(&logs) {
            assert_eq!(log.ids(), (0..10).collect::<Vec<_>>());
            assert_eq!(row(&board, name, "note").acknowledged, 10);
        }
    });
}

#[test]
fn whoever_subscribes_late_hears_only_what_comes_after() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let spec = spec.on::<Memo>();
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        board.publish(Note(1)).await.unwrap();
        board.subscribe::<Note>(&address).await.unwrap();
        board.publish(Note(2)).await.unwrap();
        board.publish(Memo(3)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [2, 3]);
        let topic = board.ledger().topic("note").unwrap().clone();
        assert_eq!((topic.unheard, topic.heard), (1, 1));
        assert_eq!(row(&board, "shop/clerk", "note").accepted, 1);
    });
}

#[test]
fn a_subscription_made_while_running_survives_a_restart() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match (seen.id, seen.attempt) {
            (1, 1) => Step::Panic,
            (2, 1) => failing(),
            _ => Step::Done,
        });
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        let twice =
            |on: On<Note>| on.policy(Policy::new().retry(Retry::fixed(millis(5)).attempts(2)));
        board.subscribe_with(&address, twice).await.unwrap();
        for id in 1..=3 {
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]);
        assert_eq!((log.lives(), log.pauses()[2]), (2, millis(5)));
        assert_eq!(row(&board, "shop/clerk", "note").acknowledged, 3);
    });
}

#[test]
fn what_was_not_read_when_unsubscribing_is_undelivered() {
    paused(async {
        let gate = gate();
        let kept = Arc::clone(&gate);
        let (spec, log) = clerk("clerk", move |_| Step::Wait(Arc::clone(&kept)));
        let spec = spec.on::<Note>();
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        for id in 1..=5 {
            board.publish(Note(id)).await.unwrap();
        }
        log.until(1).await;
        board.unsubscribe::<Note>(&address).await.unwrap();
        gate.add_permits(9);
        board.settle().await.unwrap();
        board.publish(Note(6)).await.unwrap();
        assert_eq!(log.ids(), [1]);
        let row = row(&board, "shop/clerk", "note");
        assert_eq!((row.accepted, row.acknowledged, row.undelivered), (5, 1, 4));
        assert_eq!(board.ledger().topic("note").unwrap().unheard, 1);
        let report = board.shutdown(secs(1)).await;
        let [left] = &*report.undelivered else {
            panic!("{report}");
        };
        assert_eq!((&*left.service, left.count), ("shop/clerk", 4));
    });
}

#[test]
fn subscribing_twice_is_an_error_and_so_is_leaving_twice() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let spec = spec.on::<Note>();
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        let twice = board.subscribe::<Note>(&address).await.unwrap_err();
        assert!(matches!(twice, SubscribeError::AlreadySubscribed { .. }));
        assert_eq!(twice.to_string(), "shop/clerk already subscribes to note");
        let never = board.unsubscribe::<Memo>(&address).await.unwrap_err();
        assert!(matches!(never, SubscribeError::NotSubscribed { .. }));
        board.unsubscribe::<Note>(&address).await.unwrap();
        let again = board.unsubscribe::<Note>(&address).await.unwrap_err();
        assert!(matches!(again, SubscribeError::NotSubscribed { .. }));
        board.subscribe::<Note>(&address).await.unwrap();
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1]);
        let empty = board.subscribe_with(&address, |on: On<Memo>| on.capacity(0));
        assert!(matches!(
            empty.await,
            Err(SubscribeError::Impossible { .. })
        ));
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_spec_that_subscribes_twice_is_refused() {
    let (spec, _) = clerk("clerk", |_| Step::Done);
    let refused = Board::start(shop().child(spec.on::<Note>().on::<Note>())).unwrap_err();
    assert!(matches!(refused, StartError::Refused { .. }));
    assert!(
        refused
            .to_string()
            .contains("shop/clerk, on note: it subscribes twice")
    );
}

#[test]
fn a_service_that_does_not_run_here_cannot_subscribe() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let address = spec.address();
        let board = here(shop()).await;
        let stranger = board.subscribe::<Note>(&address).await;
        assert!(matches!(stranger, Err(SubscribeError::NotRunning)));
        drop(spec);
        assert_eq!(board.ledger().gap(), 0);
    });
}

/// Hears memos only between the notes 1 and 2.
#[derive(Clone, Default)]
struct Curious(Arc<std::sync::Mutex<Vec<u64>>>);
impl Service for Curious {}
impl Handle<Note> for Curious {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        match note.0 {
            1 => cx.subscribe::<Memo>()?,
            2 => cx.unsubscribe::<Memo>()?,
            3 => cx.unsubscribe::<Note>()?,
            4 => {}
            _ => assert!(cx.subscribe::<Note>().is_err()),
        }
        Ok(())
    }
}
impl Handle<Memo> for Curious {
    async fn handle(&mut self, memo: &Memo, _: &mut Context<Self>) -> Outcome {
        self.0.lock().unwrap().push(memo.0);
        Ok(())
    }
}

#[test]
fn a_handler_may_subscribe_and_unsubscribe_its_own_service() {
    paused(async {
        let curious = Curious::default();
        let kept = curious.clone();
        let board = here(shop().child(service("curious", move || kept.clone()).on::<Note>())).await;
        for (round, note) in [0, 1, 2, 1].into_iter().enumerate() {
            board.publish(Note(note)).await.unwrap();
            board.settle().await.unwrap();
            board.publish(Memo(round as u64)).await.unwrap();
            board.settle().await.unwrap();
        }
        assert_eq!(*curious.0.lock().unwrap(), [1, 3]);
        let row = row(&board, "shop/curious", "memo");
        assert_eq!((row.accepted, row.acknowledged), (2, 2));
        assert_eq!(board.ledger().topic("memo").unwrap().unheard, 2);
    });
}

#[test]
fn whoever_unsubscribes_hears_nothing_more_of_the_same_batch() {
    paused(async {
        let board = here(shop().child(service("curious", Curious::default).on::<Note>())).await;
        let notes = [4, 4, 3, 4, 4].map(Note);
        board.publish_all(notes).await.unwrap();
        board.settle().await.unwrap();
        let row = row(&board, "shop/curious", "note");
        assert_eq!((row.acknowledged, row.undelivered, row.gap()), (3, 2, 0));
    });
}

/// Subscribes and leaves again; returns the gap.
async fn come_and_go(board: &Board, address: &Address<Clerk>) -> i64 {
    board.subscribe::<Note>(address).await.unwrap();
    board.unsubscribe::<Note>(address).await.unwrap();
    board.ledger().gap()
}

#[test]
fn coming_and_going_a_thousand_times_while_events_flow_leaves_the_ledger_exact() {
    const TIMES: u64 = if cfg!(debug_assertions) { 200 } else { 1_000 };
    let (fickle, heard) = clerk("fickle", |_| Step::Done);
    let (steady, all) = clerk("steady", |_| Step::Done);
    let fickle = fickle.on::<Memo>();
    let address = fickle.address();
    let root = shop()
        .child(fickle.spread())
        .child(steady.on::<Note>().spread());
    let board = Board::builder().arbiters(2).start(root).unwrap();
    let done = AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut id = 0;
            while !done.load(Ordering::Relaxed) {
                board.publish_blocking(Note(id)).unwrap();
                id += 1;
            }
            id
        });
        let over = Raise(&done);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let gaps: Vec<_> = (0..TIMES)
            .map(|_| runtime.block_on(come_and_go(&board, &address)))
            .collect();
        assert_eq!(gaps, vec![0; gaps.len()]);
        drop(over);
        publishing.join().unwrap()
    });
    assert_eq!(address.ask_blocking(HowMany).unwrap(), heard.seen().len());
    board.settle_blocking().unwrap();
    let fickle = row(&board, "shop/fickle", "note");
    assert_eq!(fickle.accepted, fickle.acknowledged + fickle.undelivered);
    assert_eq!(fickle.acknowledged, heard.seen().len() as u64);
    let numbers: Vec<_> = heard.ids();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    assert_eq!(row(&board, "shop/steady", "note").acknowledged, published);
    assert_eq!(all.ids(), (0..published).collect::<Vec<_>>());
    let report = board.shutdown_blocking(secs(5));
    assert_eq!((report.drained, report.ledger.gap()), (true, 0));
}

/// Hears memos from each of its starts on.
struct Eager;
impl Service for Eager {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        cx.subscribe::<Memo>()?;
        Ok(())
    }
}
impl Handle<Memo> for Eager {
    async fn handle(&mut self, _: &Memo, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}
impl Handle<Note> for Eager {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

/// Subscribes to notes and leaves again until told to end. Nobody else does.
fn knock(board: &Board, address: &Address<Eager>, is_over: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        while !is_over.load(Ordering::SeqCst) {
            match board.subscribe::<Note>(address).await {
                // It may have ended since.
                Ok(()) => drop(board.unsubscribe::<Note>(address).await),
                Err(SubscribeError::NotRunning) => {}
                Err(other) => panic!("{other}"),
            }
        }
    });
}

#[test]
fn whoever_subscribes_while_a_service_ends_and_starts_again_is_heard_or_told_that_it_is_not() {
    let spec = service("eager", || Eager);
    let address = spec.address();
    let board = Board::start(shop().child(spec)).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let knocking = scope.spawn(|| knock(&board, &address, &is_over));
        let _end = Raise(&is_over);
        for _ in 0..1_000 {
            board.stop_blocking("shop/eager").unwrap();
            board.restart_blocking("shop/eager").unwrap();
            let fates = board.publish(Memo(1)).settled().wait_blocking().unwrap();
            assert_eq!(fates.len(), 1, "it has subscribed");
            assert!(!knocking.is_finished());
        }
    });
    assert_eq!(board.ledger().gap(), 0);
    assert!(board.shutdown_blocking(secs(5)).drained);
}

#[test]
fn a_thread_without_a_runtime_subscribes_and_unsubscribes_too() {
    let (spec, log) = clerk("clerk", |_| Step::Done);
    let address = spec.address();
    let board = Board::start(shop().child(spec)).unwrap();
    board.subscribe_blocking::<Note>(&address).unwrap();
    let empty = board.subscribe_with_blocking(&address, |on: On<Memo>| on.capacity(0));
    assert!(matches!(empty, Err(SubscribeError::Impossible { .. })));
    let terms = |on: On<Memo>| on.capacity(7);
    board.subscribe_with_blocking(&address, terms).unwrap();
    let again = board.subscribe_blocking::<Memo>(&address).unwrap_err();
    assert!(matches!(again, SubscribeError::AlreadySubscribed { .. }));
    board.publish_blocking(Note(1)).unwrap();
    board.publish_blocking(Memo(2)).unwrap();
    board.settle_blocking().unwrap();
    board.unsubscribe_blocking::<Note>(&address).unwrap();
    board.publish_blocking(Note(3)).unwrap();
    board.publish_blocking(Memo(4)).unwrap();
    board.settle_blocking().unwrap();
    assert_eq!(log.ids(), [1, 2, 4]);
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}

/// Would block the thread that it runs on, and says what it was told.
struct Hasty(Address<Clerk>);
impl Service for Hasty {}
struct Try;
impl Message for Try {
    type Reply = [String; 3];
}
impl Answer<Try> for Hasty {
    async fn answer(&mut self, _: Try, cx: &mut Context<Self>) -> Outcome<[String; 3]> {
        let (board, clerk) = (Board::of(cx).unwrap(), &self.0);
        let tried = [
            board.subscribe_blocking::<Memo>(clerk),
            board.subscribe_with_blocking(clerk, |on: On<Memo>| on.capacity(7)),
            board.unsubscribe_blocking::<Note>(clerk),
        ];
        Ok(tried.map(|refused| refused.unwrap_err().to_string()))
    }
}

#[test]
fn a_thread_of_the_board_is_refused_at_once_and_nothing_changes() {
    let (spec, log) = clerk("clerk", |_| Step::Done);
    let spec = spec.on::<Note>();
    let address = spec.address();
    let hasty = service("hasty", move || Hasty(address.clone()));
    let to_hasty = hasty.address();
    let board = Board::builder()
        .arbiters(1)
        .start(shop().child(spec).child(hasty))
        .unwrap();
    let text = "a blocking call on a thread of a board would stop its services: use the async form";
    assert_eq!(to_hasty.ask_blocking(Try).unwrap(), [text; 3]);
    board.publish_blocking(Memo(1)).unwrap();
    board.publish_blocking(Note(2)).unwrap();
    board.settle_blocking().unwrap();
    assert_eq!(log.ids(), [2]);
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}
