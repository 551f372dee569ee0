//! A publisher may wait for what becomes of its event.
//!
//! It hears the fate of the event at each subscriber, in the order of their paths, or by its
//! deadline as much as is known.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{self, Poll, Wake, Waker};

use callboard::prelude::*;
use callboard::{AskError, Fate, PublishError, Reason, Settled, Shutdown};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::support_events::{
    Memo, Note, Step, clerk, failing, gate, here, paused, paused_elsewhere, row, shop,
};

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

#[test]
fn at_the_deadline_each_subscriber_is_named_with_attempts_reason_or_as_open() {
    paused(async {
        let hold = gate();
        let kept = Arc::clone(&hold);
        let (well, _) = clerk("a-well", |_| Step::Done);
        let (again, _) = clerk("b-again", |seen| match seen.attempt {
            1 => failing(),
            _ => Step::Done,
        });
        let (badly, _) = clerk("c-badly", |_| failing());
        let (never, _) = clerk("d-never", |_| Step::Fail(Failure::permanent("no")));
        let (crash, lives) = clerk("e-crash", |seen| match seen.attempt {
            1 => Step::Panic,
            _ => Step::Done,
        });
        let (busy, _) = clerk("f-busy", move |_| Step::Wait(Arc::clone(&kept)));
        let (later, _) = clerk("g-later", |_| failing());
        let (behind, _) = clerk("h-behind", |_| Step::Sleep(secs(3_600)));
        let patient = Policy::new().retry(Retry::fixed(secs(600)));
        let root = shop()
            .policy(Policy::new().retry(Retry::fixed(millis(10)).attempts(3)))
            .child(well.on::<Note>())
            .child(again.on::<Note>())
            .child(badly.on::<Note>())
            .child(never.on::<Note>())
            .child(crash.on::<Note>())
            .child(busy.on::<Note>())
            .child(later.on::<Note>().policy(patient))
            .child(behind.on::<Note>().on::<Memo>());
        let board = here(root).await;
        board.publish(Memo(0)).await.unwrap();
        let began = Instant::now();
        let publish = board.publish(Note(1)).settled().within(secs(2));
        let all = publish.await.unwrap();
        assert_eq!(began.elapsed(), secs(2));
        let lines: Vec<String> = all.iter().map(Settled::to_string).collect();
        let expected = [
            "shop/a-well: acknowledged after 1 attempt",
            "shop/b-again: acknowledged after 2 attempts",
            "shop/c-badly: dead-lettered after 3 attempts (attempts used up)",
            "shop/d-never: dead-lettered after 1 attempt (permanent failure)",
            "shop/e-crash: acknowledged after 2 attempts",
            "shop/f-busy: open",
            "shop/g-later: open after 1 attempt",
            "shop/h-behind: open",
        ];
        assert_eq!(lines, expected);
        assert_eq!(all[3].reason, Some(Reason::Permanent));
        assert_eq!((all[5].fate, lives.lives()), (Fate::Open, 2));
        // Open is nothing the ledger knows of: there each is in its own state.
        let states = ["f-busy", "g-later", "h-behind"].map(|name| {
            let row = row(&board, &format!("shop/{name}"), "note");
            (row.in_flight, row.deferred, row.queued)
        });
        assert_eq!(states, [(1, 0, 0), (0, 1, 0), (0, 0, 1)]);
        hold.add_permits(1);
        while row(&board, "shop/f-busy", "note").acknowledged == 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn what_settles_before_the_deadline_is_not_waited_for_longer() {
    paused(async {
        let (slow, _) = clerk("slow", |_| Step::Sleep(millis(300)));
        let board = here(shop().child(slow.on::<Note>())).await;
        let began = Instant::now();
        let publish = board.publish(Note(1)).settled().within(secs(60));
        let all = publish.await.unwrap();
        assert_eq!(began.elapsed(), millis(300));
        assert_eq!(told(&all), [("shop/slow", Fate::Acknowledged)]);
    });
}

#[test]
fn a_deadline_that_passes_before_there_is_room_means_that_nobody_accepted_it() {
    paused(async {
        let hold = gate();
        let kept = Arc::clone(&hold);
        let (slow, log) = clerk("slow", move |_| Step::Wait(Arc::clone(&kept)));
        let board = here(shop().child(slow.on_with::<Note>(|on| on.capacity(1)))).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        for limit in [Duration::ZERO, millis(200)] {
            let began = Instant::now();
            let refused = board.publish(Note(3)).settled().within(limit).await;
            assert!(
                matches!(refused, Err(PublishError::Full { .. })),
                "{refused:?}"
            );
            assert_eq!(began.elapsed(), limit);
        }
        assert_eq!(row(&board, "shop/slow", "note").accepted, 2);
        // One who is in a hurry does not speak for the others: they still wait.
        let began = Instant::now();
        let (accepted, ()) = tokio::join!(board.publish(Note(4)), async {
            tokio::time::sleep(secs(1)).await;
            hold.add_permits(9);
        });
        accepted.unwrap();
        assert_eq!(began.elapsed(), secs(1));
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 4]);
    });
}

/// Publishes and waits for a while, and keeps what it has waited with.
struct Hasty {
    board: Board,
    over: Arc<Notify>,
}
impl Service for Hasty {}
impl Handle<Memo> for Hasty {
    async fn handle(&mut self, _: &Memo, _: &mut Context<Self>) -> Outcome {
        let mut publish = Box::pin(self.board.publish(Note(1)).settled().within(secs(1)));
        let all = publish.as_mut().await?;
        assert_eq!(told(&all), [("shop/asker", Fate::Open)]);
        self.over.notify_one();
        tokio::time::sleep(secs(1)).await;
        drop(publish);
        Ok(())
    }
}
struct Well;
impl Message for Well {
    type Reply = bool;
}
impl Answer<Well> for Hasty {
    async fn answer(&mut self, _: Well, _: &mut Context<Self>) -> Outcome<bool> {
        Ok(true)
    }
}

/// Asks the publisher back, once that does not wait any more, and once while it does.
struct Asker {
    hasty: Address<Hasty>,
    over: Arc<Notify>,
    heard: Arc<Mutex<Vec<String>>>,
}
impl Service for Asker {}
impl Handle<Note> for Asker {
    async fn handle(&mut self, _: &Note, cx: &mut Context<Self>) -> Outcome {
        let early = cx.ask(&self.hasty, Well).await;
        self.over.notified().await;
        let late = cx.ask(&self.hasty, Well).await;
        let text = |asked: Result<bool, AskError<Well>>| match asked {
            Ok(well) => well.to_string(),
            Err(error) => error.to_string(),
        };
        *self.heard.lock().unwrap() = vec![text(early), text(late)];
        Ok(())
    }
}

#[test]
fn after_the_deadline_the_publisher_waits_for_nobody() {
    paused(async {
        let (over, heard) = (Arc::<Notify>::default(), Arc::<Mutex<Vec<_>>>::default());
        let at: Arc<OnceLock<Board>> = Arc::default();
        let (kept, told_over) = (Arc::clone(&at), Arc::clone(&over));
        let hasty = service("hasty", move || Hasty {
            board: kept.get().unwrap().clone(),
            over: Arc::clone(&told_over),
        });
        let (address, written) = (hasty.address(), Arc::clone(&heard));
        let asker = service("asker", move || Asker {
            hasty: address.clone(),
            over: Arc::clone(&over),
            heard: Arc::clone(&written),
        });
        let board = here(shop().child(asker.on::<Note>())).await;
        at.set(board.clone()).unwrap();
        let shop = board.supervisor("shop").unwrap();
        shop.start_child(hasty.on::<Memo>()).await.unwrap();
        board.publish(Memo(1)).await.unwrap();
        board.settle().await.unwrap();
        let expected = [
            "a cycle of waits: shop/asker -> shop/hasty -> shop/asker",
            "true",
        ];
        assert_eq!(*heard.lock().unwrap(), expected);
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_thread_may_block_until_all_have_settled_and_a_service_may_not() {
    struct Blocks(Arc<Mutex<Option<String>>>);
    impl Service for Blocks {}
    impl Handle<Memo> for Blocks {
        async fn handle(&mut self, _: &Memo, cx: &mut Context<Self>) -> Outcome {
            let refused = cx.publish(Note(2)).settled().wait_blocking().unwrap_err();
            *self.0.lock().unwrap() = Some(format!("{refused:?}"));
            assert_eq!(refused.into_event().0, 2);
            Ok(())
        }
    }
    let said = Arc::<Mutex<Option<String>>>::default();
    let kept = Arc::clone(&said);
    let (quick, _) = clerk("quick", |_| Step::Done);
    let hold = gate();
    let shut = Arc::clone(&hold);
    let (stuck, _) = clerk("stuck", move |_| Step::Wait(Arc::clone(&shut)));
    let blocks = service("blocks", move || Blocks(Arc::clone(&kept))).on::<Memo>();
    let root = shop()
        .child(blocks)
        .child(quick.on::<Note>())
        .child(stuck.on::<Note>());
    let board = Board::start(root).unwrap();
    let within = board.publish(Note(1)).settled().within(millis(1));
    let all = within.wait_blocking().unwrap();
    assert_eq!(all[1].to_string(), "shop/stuck: open");
    let memo = board.publish(Memo(1)).settled().wait_blocking().unwrap();
    assert_eq!(told(&memo), [("shop/blocks", Fate::Acknowledged)]);
    assert_eq!(said.lock().unwrap().as_deref(), Some("Blocking"));
    assert_eq!(board.ledger().topic("note").unwrap().published, 1);
    hold.add_permits(1);
    assert!(board.shutdown_blocking(secs(5)).drained);
}

/// Publishes, and says so once it waits for room.
struct Patient(Arc<Notify>);
impl Service for Patient {}
impl Handle<Memo> for Patient {
    async fn handle(&mut self, _: &Memo, cx: &mut Context<Self>) -> Outcome {
        let mut publish = pin!(cx.publish(Note(3)).settled());
        let pending = poll_fn(|task| Poll::Ready(publish.as_mut().poll(task).is_pending())).await;
        assert!(pending, "there is no room");
        self.0.notify_one();
        publish.await?;
        Ok(())
    }
}

/// Would have the publisher of what it hears settle something first.
struct Late(Arc<Mutex<String>>);
impl Service for Late {}
impl Handle<Note> for Late {
    async fn handle(&mut self, _: &Note, cx: &mut Context<Self>) -> Outcome {
        let refused = cx.publish(Memo(2)).settled().await.unwrap_err();
        *self.0.lock().unwrap() = refused.to_string();
        Ok(())
    }
}

#[test]
fn whoever_subscribes_while_the_publisher_waits_for_room_is_waited_for_as_well() {
    paused(async {
        let (waits, heard) = (Arc::<Notify>::default(), Arc::<Mutex<String>>::default());
        let (signal, said) = (Arc::clone(&waits), Arc::clone(&heard));
        let hold = gate();
        let shut = Arc::clone(&hold);
        let (full, log) = clerk("full", move |_| Step::Wait(Arc::clone(&shut)));
        let patient = service("patient", move || Patient(Arc::clone(&signal)));
        let late = service("late", move || Late(Arc::clone(&said)));
        let address = late.address();
        let root = shop()
            .child(full.on_with::<Note>(|on| on.capacity(1)))
            .child(patient.on::<Memo>())
            .child(late);
        let board = here(root).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        board.publish(Memo(1)).await.unwrap();
        waits.notified().await;
        board.subscribe::<Note>(&address).await.unwrap();
        hold.add_permits(9);
        board.settle().await.unwrap();
        let path = "shop/late -> shop/patient -> shop/late";
        assert_eq!(*heard.lock().unwrap(), format!("a cycle of waits: {path}"));
        assert_eq!(row(&board, "shop/late", "note").acknowledged, 1);
        assert_eq!(row(&board, "shop/patient", "memo").acknowledged, 1);
    });
}

/// Looks at the board whenever it is woken.
struct Onlooker {
    board: Board,
    gaps: Mutex<Vec<i64>>,
}

impl Wake for Onlooker {
    fn wake(self: Arc<Self>) {
        let gap = self.board.ledger().gap();
        self.gaps.lock().unwrap().push(gap);
    }
}

#[test]
fn whoever_is_woken_by_an_outcome_may_look_at_the_board_at_once() {
    paused_elsewhere(async || {
        let never = gate();
        let (lazy, log) = clerk("lazy", move |_| Step::Wait(Arc::clone(&never)));
        let lazy = lazy.on_with::<Note>(|on| on.capacity(1).overflow(Overflow::DropOldest));
        let lazy = lazy.shutdown(Shutdown::Kill);
        let board = here(shop().child(lazy)).await;
        let onlooker = Arc::new(Onlooker {
            board: board.clone(),
            gaps: Mutex::default(),
        });
        let waker = Waker::from(Arc::clone(&onlooker));
        let mut task = task::Context::from_waker(&waker);
        board.publish(Note(0)).await.unwrap();
        log.until(1).await;
        let [mut shed, mut unread] = [1, 2].map(|id| Box::pin(board.publish(Note(id)).settled()));
        assert!(shed.as_mut().poll(&mut task).is_pending());
        assert!(unread.as_mut().poll(&mut task).is_pending());
        assert_eq!(shed.await.unwrap()[0].fate, Fate::Shed);
        board.stop("shop/lazy").await.unwrap();
        assert_eq!(unread.await.unwrap()[0].fate, Fate::Undelivered);
        assert_eq!(*onlooker.gaps.lock().unwrap(), [0, 0]);
    });
}

#[test]
fn what_has_been_published_already_has_no_outcomes_to_wait_for() {
    paused(async {
        let board = here(shop()).await;
        let mut publish = board.publish(Note(1));
        (&mut publish).await.unwrap();
        let settled = publish.settled().within(secs(1));
        let settled = tokio::time::timeout(secs(9), settled).await.unwrap();
        assert!(settled.unwrap().is_empty());
    });
}
