//! Every change in the life of a service is told, in order, to whoever listens, and stops nobody.

use std::sync::mpsc::{self, TryRecvError};

use callboard::prelude::*;
use callboard::{Backoff, Change, Lifecycle, Monitor, Restart, StartError, State, SubscribeError};

use crate::support_lives::{
    Deed, Do, Log, Note, Probe, boom, end, hearer, here, note, paused, probe, try_here, until,
};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

fn heard(monitor: &mut Monitor) -> Vec<String> {
    let news = std::iter::from_fn(|| monitor.try_next());
    news.map(|news| news.to_string()).collect()
}

/// Waits for the end of the next life, or start, of whoever is monitored.
async fn exit(monitor: &mut Monitor) -> Exit {
    loop {
        let news = monitor.next().await.expect("it is still running");
        if let Change::Ended(exit) = news.change() {
            return exit.clone();
        }
    }
}

/// Writes down what it hears.
struct Watcher(Log);
impl Service for Watcher {}
impl Handle<Lifecycle> for Watcher {
    async fn handle(&mut self, news: &Lifecycle, _: &mut Context<Self>) -> Outcome {
        self.0.say(news.to_string());
        Ok(())
    }
}

fn watcher(log: &Log) -> callboard::ServiceSpec<Watcher> {
    let log = log.clone();
    service("watcher", move || Watcher(log.clone()))
}

#[test]
fn a_monitor_hears_every_change_in_order() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log);
        let a = spec.address();
        let root = shop().backoff(Backoff::fixed(secs(2)), secs(60));
        let board = here(root.child(spec)).await;
        let mut monitor = board.monitor(&a).unwrap();
        a.ask(Do(Deed::Panic)).await.unwrap_err();
        log.wait_for("a started 2").await;
        board.suspend("shop/a").unwrap();
        board.suspend("shop/a").unwrap();
        board.resume("shop/a").unwrap();
        board.stop("shop/a").await.unwrap();
        board.stop("shop/a").await.unwrap();
        let shop = board.supervisor("shop").unwrap();
        shop.restart_child("a").await.unwrap();
        end(&board).await;
        let lines = [
            "(life 1) panicked: boom",
            "(life 1) starts again in 2s",
            "(life 2) is starting",
            "(life 2) has started",
            "(life 2) is suspended",
            "(life 2) is resumed",
            "(life 2) is stopping",
            "(life 2) was shut down",
            "(life 2) has ended for good",
            "(life 3) is starting",
            "(life 3) has started",
            "(life 3) is stopping",
            "(life 3) was shut down",
            "(life 3) has ended for good",
        ];
        assert_eq!(
            heard(&mut monitor),
            lines.map(|line| format!("shop/a {line}"))
        );
        assert_eq!(
            (monitor.missed(), monitor.next().await.is_none()),
            (0, true)
        );
    });
}

#[test]
fn one_that_has_ended_is_not_said_to_end_again_with_its_board() {
    paused(async {
        let log = Log::new();
        let spec = hearer("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let mut monitor = board.monitor(&a).unwrap();
        board.stop("shop/a").await.unwrap();
        end(&board).await;
        let lines = ["is stopping", "was shut down", "has ended for good"];
        let expected = lines.map(|line| format!("shop/a (life 1) {line}"));
        assert_eq!(heard(&mut monitor), expected);
    });
}

#[test]
fn a_monitor_says_whose_change_it_is_and_when() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let mut monitor = board.monitor(&a).unwrap();
        tokio::time::sleep(secs(7)).await;
        board.suspend("shop/a").unwrap();
        let news = monitor.next().await.unwrap();
        assert_eq!(
            (news.path(), news.life(), news.at()),
            ("shop/a", 1, secs(7))
        );
        assert!(matches!(news.change(), Change::Suspended));
        assert_eq!(news.key(), callboard::Key::from("shop/a"));
        let text = "Monitor { waiting: 0, missed: 0 }";
        assert_eq!(format!("{monitor:?}"), text);
        end(&board).await;
    });
}

#[test]
fn a_monitor_ends_with_the_board_though_somebody_holds_a_handle() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log);
        let a = spec.address();
        let team = Supervisor::one_for_one("team").child(spec);
        let board = here(shop().child(team)).await;
        let mut monitor = board.monitor(&a).unwrap();
        let listening = async {
            let mut count = 0;
            while monitor.next().await.is_some() {
                count += 1;
            }
            count
        };
        let (count, ()) = tokio::join!(listening, end(&board));
        assert_eq!(count, 3);
        let mut late = board.monitor(&a).unwrap();
        assert!(late.next().await.is_none());
    });
}

/// Would wait for news on the thread that it runs on.
struct Hasty(Address<Probe>);
impl Service for Hasty {}
struct Try;
impl Message for Try {
    type Reply = [Option<String>; 2];
}
impl Answer<Try> for Hasty {
    async fn answer(&mut self, _: Try, cx: &mut Context<Self>) -> Outcome<[Option<String>; 2]> {
        let board = Board::of(cx).unwrap();
        let mut monitor = board.monitor(&self.0)?;
        board.suspend("shop/a")?;
        let heard = [monitor.next_blocking(), monitor.next_blocking()];
        Ok(heard.map(|news| news.map(|news| news.to_string())))
    }
}

#[test]
fn a_thread_without_a_runtime_waits_for_news_and_one_of_the_board_does_not() {
    let spec = probe("a", &Log::new());
    let a = spec.address();
    let to_a = a.clone();
    let hasty = service("hasty", move || Hasty(to_a.clone()));
    let to_hasty = hasty.address();
    let board = Board::start(shop().child(spec).child(hasty)).unwrap();
    let suspended = Some("shop/a (life 1) is suspended".to_owned());
    assert_eq!(to_hasty.ask_blocking(Try).unwrap(), [suspended, None]);
    let mut monitor = board.monitor(&a).unwrap();
    let ending = std::thread::spawn(move || board.shutdown_blocking(secs(60)));
    let news = std::iter::from_fn(|| monitor.next_blocking());
    let lines: Vec<String> = news.map(|news| news.to_string()).collect();
    let expected = ["is stopping", "was shut down", "has ended for good"];
    assert_eq!(
        lines,
        expected.map(|line| format!("shop/a (life 1) {line}"))
    );
    assert_eq!(ending.join().unwrap().ledger.gap(), 0);
}

#[test]
fn a_monitor_ends_when_its_service_is_deleted() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let mut monitor = board.monitor(&a).unwrap();
        let shop = board.supervisor("shop").unwrap();
        shop.terminate_child("a").await.unwrap();
        shop.delete_child("a").await.unwrap();
        assert_eq!(heard(&mut monitor).len(), 3);
        assert!(monitor.next().await.is_none());
        let mut late = board.monitor(&a).unwrap();
        assert!(late.next().await.is_none());
        end(&board).await;
    });
}

#[test]
fn a_monitor_that_is_not_read_misses_the_oldest_and_stops_nobody() {
    paused(async {
        let log = Log::new();
        let spec = hearer("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let mut monitor = board.monitor(&a).unwrap();
        for _ in 0..200 {
            board.suspend("shop/a").unwrap();
            board.resume("shop/a").unwrap();
        }
        board.publish(note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("a 1"));
        let lines = heard(&mut monitor);
        assert_eq!((lines.len(), monitor.missed()), (256, 144));
        assert_eq!(lines[255], "shop/a (life 1) is resumed");
        end(&board).await;
    });
}

/// An error that calls into the board when it is dropped, from another thread, and says whether
/// that came back.
#[derive(Debug, thiserror::Error)]
#[error("curious")]
struct Curious(Board, Address<Till>, mpsc::Sender<bool>);
impl Drop for Curious {
    fn drop(&mut self) {
        let (board, till) = (self.0.clone(), self.1.clone());
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let monitored = board.monitor(&till).is_ok();
            let changed = board.suspend("shop/till").and(board.resume("shop/till"));
            let _ = said.send(monitored && changed.is_ok());
        });
        // The time passes only where the board holds a lock meanwhile.
        let came_back = heard.recv_timeout(secs(10)).unwrap_or(false);
        let _ = self.2.send(came_back);
    }
}

#[test]
fn an_error_that_is_dropped_with_the_news_of_it_may_call_into_the_board() {
    paused(async {
        let (said, heard) = mpsc::channel();
        let mut lives = 0;
        let spec = service("till", move || {
            lives += 1;
            Till(lives)
        });
        let till = spec.address();
        let board = here(shop().child(spec)).await;
        let mut monitor = board.monitor(&till).unwrap();
        // As long as it is not read, the news stays.
        let unread = board.monitor(&till).unwrap();
        let curious = Curious(board.clone(), till.clone(), said);
        till.tell(Break(Failure::from(curious))).await.unwrap();
        drop(exit(&mut monitor).await);
        // The next life fails as well: from here on only the news knows of the first failure.
        drop(exit(&mut monitor).await);
        until(|| board.inspect("shop/till").unwrap().state == State::Running).await;
        assert_eq!(heard.try_recv(), Err(TryRecvError::Empty));
        for _ in 0..300 {
            board.suspend("shop/till").unwrap();
            board.resume("shop/till").unwrap();
        }
        assert_eq!(heard.try_recv(), Ok(true));
        drop(unread);
        end(&board).await;
    });
}

#[test]
fn a_service_of_another_board_cannot_be_monitored() {
    paused(async {
        let log = Log::new();
        let (ours, theirs) = (probe("a", &log), probe("a", &log));
        let (our, their) = (ours.address(), theirs.address());
        let board = here(shop().child(ours)).await;
        for address in [&their, &probe("b", &log).address()] {
            let refused = board.monitor(address).unwrap_err();
            assert!(matches!(refused, SubscribeError::NotRunning));
        }
        assert!(board.monitor(&our).is_ok());
        let other = here(shop().child(theirs)).await;
        assert!(board.monitor(&their).is_err() && other.monitor(&their).is_ok());
        end(&other).await;
        end(&board).await;
    });
}

#[test]
fn a_subscriber_hears_of_the_whole_tree() {
    paused(async {
        let log = Log::new();
        let team = Supervisor::one_for_one("team").child(probe("a", &Log::new()));
        let root = shop().child(watcher(&log).on::<Lifecycle>()).child(team);
        let board = here(root).await;
        board.settle().await.unwrap();
        let lines = [
            "shop (life 1) is starting",
            "shop/watcher (life 1) is starting",
            "shop/watcher (life 1) has started",
            "shop/team (life 1) is starting",
            "shop/team/a (life 1) is starting",
            "shop/team/a (life 1) has started",
            "shop/team (life 1) has started",
            "shop (life 1) has started",
        ];
        assert_eq!(log.take(), lines);
        board.kill("shop/team").await.unwrap();
        log.wait_for("shop/team (life 2) has started").await;
        let lines = [
            "shop/team/a (life 1) is stopping",
            "shop/team/a (life 1) was killed",
            "shop/team (life 1) was killed",
            "shop/team (life 2) is starting",
            "shop/team/a (life 2) is starting",
            "shop/team/a (life 2) has started",
            "shop/team (life 2) has started",
        ];
        assert_eq!(log.take(), lines);
        end(&board).await;
    });
}

#[test]
fn a_subscription_to_it_that_would_wait_is_refused() {
    paused(async {
        let (log, team) = (Log::new(), Log::new());
        let waits = |on: callboard::On<Lifecycle>| on.overflow(Overflow::Wait);
        let root = shop().child(watcher(&log).on_with(waits));
        let Err(StartError::Refused { problems, .. }) = try_here(root).await else {
            panic!("it starts")
        };
        let problem = "callboard.lifecycle never waits for room: use Overflow::DropOldest";
        let text = format!("shop/watcher, on callboard.lifecycle: {problem}");
        assert_eq!(problems[0].to_string(), text);
        let spec = watcher(&log);
        let address = spec.address();
        let board = here(shop().child(probe("a", &team)).child(spec)).await;
        let refused = board.subscribe_with(&address, waits).await.unwrap_err();
        assert_eq!(refused.to_string(), text);
        end(&board).await;
    });
}

#[test]
fn a_slow_subscriber_loses_the_oldest_and_makes_nobody_wait() {
    paused(async {
        let (log, other) = (Log::new(), Log::new());
        let few = watcher(&log).on_with::<Lifecycle>(|on| on.capacity(2));
        let board = here(shop().child(few).child(hearer("a", &other))).await;
        board.settle().await.unwrap();
        board.suspend("shop/watcher").unwrap();
        log.take();
        let began = tokio::time::Instant::now();
        for _ in 0..10 {
            board.restart("shop/a").await.unwrap();
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        let row = || {
            board
                .ledger()
                .delivery("shop/watcher", "callboard.lifecycle")
                .cloned()
        };
        // Each restart is four changes; its own suspension is one more.
        assert_eq!((row().unwrap().shed, row().unwrap().queued), (39, 2));
        board.resume("shop/watcher").unwrap();
        board.settle().await.unwrap();
        // Its own resumption shed one more.
        let lines = [
            "shop/a (life 11) has started",
            "shop/watcher (life 1) is resumed",
        ];
        assert_eq!(log.lines(), lines);
        assert_eq!(row().unwrap().shed, 40);
        end(&board).await;
    });
}

#[test]
fn it_is_not_published_while_nobody_subscribes() {
    paused(async {
        let log = Log::new();
        let (spec, watcher) = (probe("a", &log), watcher(&log));
        let (a, address) = (spec.address(), watcher.address());
        let board = here(shop().child(spec).child(watcher)).await;
        let mut monitor = board.monitor(&a).unwrap();
        board.restart("shop/a").await.unwrap();
        assert_eq!(heard(&mut monitor).len(), 4);
        assert!(board.ledger().topic("callboard.lifecycle").is_none());
        board.subscribe::<Lifecycle>(&address).await.unwrap();
        board.restart("shop/a").await.unwrap();
        board.settle().await.unwrap();
        let published = || {
            board
                .ledger()
                .topic("callboard.lifecycle")
                .unwrap()
                .published
        };
        assert_eq!(published(), 4);
        board.unsubscribe::<Lifecycle>(&address).await.unwrap();
        until(|| board.ledger().is_settled()).await;
        board.restart("shop/a").await.unwrap();
        assert_eq!(published(), 4);
        assert!(log.has("shop/a (life 3) has started"));
        assert!(!log.has("shop/a (life 4) has started"));
        end(&board).await;
    });
}

/// Panics over whatever it hears of.
struct Nervous(Log);
impl Service for Nervous {}
impl Handle<Lifecycle> for Nervous {
    async fn handle(&mut self, _: &Lifecycle, _: &mut Context<Self>) -> Outcome {
        self.0.say("heard");
        boom()
    }
}

#[test]
fn a_subscriber_that_panics_over_it_is_ended_by_the_budget() {
    paused(async {
        let log = Log::new();
        let kept = log.clone();
        let nervous = service("nervous", move || Nervous(kept.clone()));
        let team = Supervisor::one_for_one("team").child(nervous.on::<Lifecycle>());
        let board = here(shop().child(team.restart(Restart::Temporary))).await;
        until(|| board.inspect("shop/team").is_err()).await;
        assert_eq!(log.count("heard"), 6);
        board.settle().await.unwrap();
        end(&board).await;
    });
}

#[derive(Debug, thiserror::Error)]
#[error("the till is stuck")]
struct Stuck(#[source] std::num::ParseIntError);

/// Fails to start for the second time.
struct Till(u32);
impl Service for Till {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        if self.0 == 2 {
            return Err(Failure::from(Stuck("x".parse::<u32>().unwrap_err())));
        }
        Ok(())
    }
}

/// A letter that ends its service with this.
struct Break(Failure);
impl Message for Break {
    type Reply = ();
}
impl Answer<Break> for Till {
    async fn answer(&mut self, Break(failure): Break, cx: &mut Context<Self>) -> Outcome<()> {
        cx.after(Duration::ZERO, async |_, _| Err(failure));
        Ok(())
    }
}

#[test]
fn a_failure_is_heard_with_its_source() {
    paused(async {
        let mut lives = 0;
        let spec = service("till", move || {
            lives += 1;
            Till(lives)
        });
        let till = spec.address();
        let board = here(shop().child(spec)).await;
        let mut monitor = board.monitor(&till).unwrap();
        board.restart("shop/till").await.unwrap_err();
        assert!(matches!(exit(&mut monitor).await, Exit::Shutdown));
        let failed = exit(&mut monitor).await;
        let text = "failed: the till is stuck: invalid digit found in string";
        assert_eq!(failed.to_string(), text);
        let Exit::Failure(failure) = failed else {
            panic!("{failed}")
        };
        assert!(failure.is::<Stuck>() && failure.error().source().is_some());
        end(&board).await;
    });
}

#[test]
fn each_exit_is_heard_as_it_was() {
    let shown = |exit: &Exit| match exit {
        Exit::Panic(panic) => (panic.message.clone(), panic.location.clone()),
        other => (other.to_string(), None),
    };
    let table = [
        (Deed::Stop, "ended normally"),
        (Deed::TimerFails, "failed: late"),
        (Deed::TimerPanics, "boom"),
        (Deed::PanicAlways, "boom"),
        (Deed::Hang, "timed out after 3s"),
    ];
    for (deed, text) in table {
        paused(async {
            let log = Log::new();
            let strict = Policy::new().timeout(secs(3)).timeout_restarts();
            let spec = hearer("a", &log).policy(strict);
            let a = spec.address();
            let board = here(shop().child(spec)).await;
            let mut monitor = board.monitor(&a).unwrap();
            board.publish(Note { id: 1, deed }).await.unwrap();
            let exit = exit(&mut monitor).await;
            assert_eq!(shown(&exit), (text.to_owned(), None), "{deed:?}");
            assert_eq!(exit.is_abnormal(), deed != Deed::Stop);
            let known = board.inspect("shop/a").unwrap().last_exit.unwrap();
            assert_eq!(known.to_string(), exit.to_string());
            board.settle().await.unwrap();
            end(&board).await;
        });
    }
}

#[test]
fn a_stop_a_kill_and_a_start_without_end_are_heard_as_such() {
    paused(async {
        let log = Log::new();
        let hangs = |life| if life == 2 { Deed::Hang } else { Deed::Nothing };
        let spec = crate::support_lives::probe_with("a", &log, hangs);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let mut monitor = board.monitor(&a).unwrap();
        board.kill("shop/a").await.unwrap();
        assert!(matches!(exit(&mut monitor).await, Exit::Killed));
        let late = exit(&mut monitor).await;
        assert_eq!(late.to_string(), "timed out after 30s");
        log.wait_for("a started 3").await;
        board.stop("shop/a").await.unwrap();
        assert!(matches!(exit(&mut monitor).await, Exit::Shutdown));
        end(&board).await;
    });
}

#[test]
fn an_escalation_is_heard_with_the_path_and_its_cause() {
    paused(async {
        let (log, spec) = (Log::new(), probe("a", &Log::new()));
        let a = spec.address();
        let team = Supervisor::one_for_one("team").max_restarts(0, secs(60));
        let root = shop().child(watcher(&log).on::<Lifecycle>());
        let board = here(root.child(team.child(spec))).await;
        a.ask(Do(Deed::PanicAlways)).await.unwrap_err();
        let text = "shop/team (life 1) gave up: shop/team/a panicked: boom";
        log.wait_for(text).await;
        log.wait_for("shop/team (life 2) has started").await;
        let Some(Exit::Escalated { path, cause, .. }) =
            board.inspect("shop/team").unwrap().last_exit
        else {
            panic!("it did not give up")
        };
        assert_eq!(path, "shop/team/a");
        assert!(matches!(*cause, Exit::Panic(_)));
        end(&board).await;
    });
}
