//! A service may end its own board, from anywhere, and never waits for itself.

use std::sync::{Arc, OnceLock, mpsc};

use callboard::prelude::*;
use callboard::{BoardBuilder, PublishError, ServiceSpec, ShutdownReport, StartError};

use crate::support_lives::{Deed, Log, Note, hearer, here, note, paused, probe, probe_with};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

/// Where a service ends its board.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Started,
    Handler,
    Answer,
    Timer,
    Blocking,
}

/// How it does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Context,
    Shutdown,
    ShutdownBlocking,
}

/// The board, as soon as there is one.
type Cell = Arc<OnceLock<Board>>;

struct Closer {
    at: At,
    by: By,
    log: Log,
    board: Cell,
}

struct Close;
impl Message for Close {
    type Reply = ();
}

impl Closer {
    /// Ends the board, and goes on working.
    async fn close(&self, at: At, cx: &Context<Self>) -> Outcome {
        if at != self.at {
            return Ok(());
        }
        let report = match (self.by, self.board.get()) {
            (By::Shutdown, Some(board)) => Some(board.shutdown(secs(60)).await),
            (By::ShutdownBlocking, Some(board)) => Some(board.shutdown_blocking(secs(60))),
            _ => {
                cx.stop_board();
                cx.stop_board();
                None
            }
        };
        if let Some(report) = report {
            assert!(!report.over && !report.drained, "{report}");
            let text = report.to_string();
            assert!(text.starts_with("shutting down, not drained"));
            let is_open = text.contains("\nopen: 1 of note for shop/closer");
            assert_eq!(is_open, at == At::Handler, "{text}");
            assert!(!text.contains("undelivered"), "{text}");
            assert!(report.stuck.is_empty() && report.ledger.gap() == 0);
        }
        self.log.say("closing");
        if let Some(board) = self.board.get() {
            // Its own end, which does not come before this goes on.
            board.wait().await?;
            // The handle knows that a handler holds it.
            board.publish(note(1)).await?;
        }
        cx.publish(note(2)).await?;
        self.log.say("closer goes on");
        Ok(())
    }
}

impl Service for Closer {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        if self.at == At::Timer {
            cx.after(millis(1), async |closer: &mut Closer, cx| {
                closer.close(At::Timer, cx).await
            });
        }
        self.close(At::Started, cx).await
    }

    async fn stopping(&mut self, _: &Exit, _: &mut Context<Self>) {
        self.log.say("closer stopped");
    }
}

impl Handle<Note> for Closer {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        if note.id != 0 {
            return Ok(());
        }
        if let (At::Blocking, Some(board)) = (self.at, self.board.get().cloned()) {
            let report = cx
                .blocking(move || board.shutdown_blocking(secs(60)))
                .await?;
            assert!(!report.over, "{report}");
            self.log.say("closing");
            cx.publish(Note {
                id: 2,
                ..crate::support_lives::note(2)
            })
            .await?;
            self.log.say("closer goes on");
        }
        self.close(At::Handler, cx).await
    }
}

impl Answer<Close> for Closer {
    async fn answer(&mut self, _: Close, cx: &mut Context<Self>) -> Outcome {
        self.close(At::Answer, cx).await
    }
}

fn closer(at: At, by: By, log: &Log) -> (ServiceSpec<Closer>, Cell) {
    let (log, cell) = (log.clone(), Cell::default());
    let board = Arc::clone(&cell);
    let closer = service("closer", move || Closer {
        at,
        by,
        log: log.clone(),
        board: Arc::clone(&board),
    });
    (closer, cell)
}

const CASES: [(At, By); 10] = [
    (At::Started, By::Context),
    (At::Handler, By::Context),
    (At::Handler, By::Shutdown),
    (At::Handler, By::ShutdownBlocking),
    (At::Answer, By::Context),
    (At::Answer, By::Shutdown),
    (At::Timer, By::Context),
    (At::Timer, By::Shutdown),
    (At::Timer, By::ShutdownBlocking),
    (At::Blocking, By::ShutdownBlocking),
];

fn check(at: At, report: &ShutdownReport, log: &Log) {
    assert!(report.over && report.drained, "{at:?} {report}");
    assert!(
        report.stuck.is_empty() && report.undelivered.is_empty(),
        "{at:?} {report} {:#?}",
        log.lines()
    );
    assert_eq!(report.ledger.gap(), 0);
    let lines = log.lines();
    let place = |line: &str| {
        let place = lines.iter().position(|said| said == line);
        place.unwrap_or_else(|| panic!("{at:?}: no {line} in {lines:#?}"))
    };
    assert!(place("closing") < place("closer goes on"));
    // All was delivered before anybody stopped, and the stop hooks ran in reverse order.
    let stops = ["b stopped", "closer stopped", "a stopped"].map(place);
    assert!(stops.is_sorted(), "{at:?}: {lines:#?}");
    for line in ["a 2", "b 2", "closer goes on"] {
        assert!(place(line) < stops[0], "{at:?}: {lines:#?}");
    }
    assert_eq!(log.count("closing"), 1);
}

#[test]
fn from_anywhere_on_the_callers_thread() {
    for (at, by) in CASES {
        paused(async {
            let log = Log::new();
            let (spec, cell) = closer(at, by, &log);
            let address = spec.address();
            let root = shop()
                .child(hearer("a", &log))
                .child(spec.on::<Note>())
                .child(hearer("b", &log));
            let board = here(root).await;
            cell.set(board.clone()).unwrap();
            if at != At::Started {
                board.publish(note(0)).await.unwrap();
            }
            if at == At::Answer {
                address.ask(Close).await.unwrap();
            }
            board.wait().await.unwrap();
            let report = board.shutdown(secs(60)).await;
            check(at, &report, &log);
            assert_eq!(board.shutdown(secs(1)).await.took, report.took);
        });
    }
}

#[test]
fn from_anywhere_on_threads_of_its_own() {
    for (at, by) in CASES {
        let log = Log::new();
        let (spec, cell) = closer(at, by, &log);
        let address = spec.address();
        let root = shop()
            .child(hearer("a", &log))
            .child(spec.on::<Note>())
            .child(hearer("b", &log));
        let board = Board::builder().arbiters(2).start(root).unwrap();
        cell.set(board.clone()).unwrap();
        // With a timer of 1 ms, or at the start, the end may have begun by now.
        if !matches!(at, At::Started | At::Timer) {
            board.publish_blocking(note(0)).unwrap();
        }
        if at == At::Answer {
            address.ask_blocking(Close).unwrap();
        }
        board.wait_blocking().unwrap();
        let report = board.shutdown_blocking(secs(60));
        check(at, &report, &log);
        assert_eq!(board.shutdown_blocking(secs(1)).took, report.took);
    }
}

#[test]
fn outsiders_are_refused_from_then_on() {
    paused(async {
        let log = Log::new();
        let (spec, _) = closer(At::Handler, By::Context, &log);
        let slow = Note {
            id: 0,
            deed: Deed::Sleep(secs(2)),
        };
        let root = shop().child(hearer("a", &log)).child(spec.on::<Note>());
        let board = here(root).await;
        board.publish(slow).await.unwrap();
        log.wait_for("closing").await;
        let refused = board.publish(note(9)).await;
        assert!(matches!(refused, Err(PublishError::Closed { .. })));
        let report = board.shutdown(secs(60)).await;
        assert!(
            report.drained && log.has("a 2") && !log.has("a 9"),
            "{report}"
        );
        assert_eq!((report.took.as_secs(), report.ledger.gap()), (2, 0));
    });
}

fn hanging() -> Note {
    Note {
        id: 0,
        deed: Deed::Hang,
    }
}

async fn ended_by_itself(builder: BoardBuilder) -> ShutdownReport {
    let log = Log::new();
    let (spec, _) = closer(At::Handler, By::Context, &log);
    let root = shop().child(hearer("a", &log)).child(spec.on::<Note>());
    let board = builder.on_this_thread().start(root).await.unwrap();
    board.publish(hanging()).await.unwrap();
    board.wait().await.unwrap();
    board.shutdown(secs(60)).await
}

#[test]
fn it_ends_within_the_limit_that_was_set_or_the_default() {
    paused(async {
        for (builder, limit) in [
            (Board::builder(), callboard::defaults::BOARD_SHUTDOWN_WAIT),
            (Board::builder().shutdown_limit(millis(700)), millis(700)),
        ] {
            let report = ended_by_itself(builder).await;
            assert!(!report.drained, "{report}");
            assert!(
                report.took >= limit && report.took < limit + millis(500),
                "{report}"
            );
            assert_eq!(report.undelivered[0].service, "shop/a");
            assert_eq!(report.ledger.gap(), 0);
        }
    });
}

#[test]
fn a_start_that_would_take_too_long_is_ended_by_the_limit() {
    paused(async {
        let log = Log::new();
        let (spec, _) = closer(At::Started, By::Context, &log);
        let root = shop()
            .child(hearer("a", &log))
            .child(spec.on::<Note>())
            .child(probe_with("b", &log, |_| Deed::Hang));
        let began = tokio::time::Instant::now();
        let builder = Board::builder().shutdown_limit(secs(1));
        let started = builder.on_this_thread().start(root).await;
        let Err(StartError::Failed { path, exit, .. }) = started else {
            panic!("it starts: {:?}", log.lines())
        };
        assert!(began.elapsed() >= secs(1) && began.elapsed() < secs(2));
        assert_eq!(path, "shop", "{exit}");
        assert!(log.has("closing") && log.has("a dropped"));
    });
}

#[test]
fn it_needs_no_handle_to_the_board() {
    let log = Log::new();
    let (spec, _) = closer(At::Answer, By::Context, &log);
    let address = spec.address();
    let root = shop().child(probe("a", &log)).child(spec);
    drop(Board::start(root).unwrap());
    address.ask_blocking(Close).unwrap();
    while !log.has("a dropped") {
        std::thread::yield_now();
    }
    assert!(log.has("closer stopped"));
}

/// Blocks its thread until it is let go.
struct Blocker(Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>);
impl Service for Blocker {}
impl Handle<Note> for Blocker {
    async fn handle(&mut self, _: &Note, cx: &mut Context<Self>) -> Outcome {
        let (entered, release) = self.0.take().unwrap();
        cx.stop_board();
        entered.send(()).unwrap();
        let _ = release.recv();
        Ok(())
    }
}

#[test]
fn who_waits_for_a_board_whose_service_is_stuck_waits_until_the_limit() {
    let ((entered, entering), (release, released)) = (mpsc::channel(), mpsc::channel());
    let mut parts = Some((entered, released));
    let blocker = service("blocker", move || Blocker(parts.take()));
    let root = shop().child(blocker.on::<Note>().dedicated());
    let builder = Board::builder().arbiters(1).shutdown_limit(millis(50));
    let board = builder.start(root).unwrap();
    board.publish_blocking(note(0)).unwrap();
    entering.recv().unwrap();
    board.wait_blocking().unwrap();
    let report = board.shutdown_blocking(secs(60));
    assert_eq!(report.stuck[0].service, "shop/blocker");
    assert_eq!((report.drained, report.ledger.gap()), (false, 0));
    release.send(()).unwrap();
}

/// Blocks its thread over a note until it is let go.
struct Stuck(mpsc::Sender<()>, mpsc::Receiver<()>);
impl Service for Stuck {}
impl Handle<Note> for Stuck {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        self.0.send(()).unwrap();
        let _ = self.1.recv();
        Ok(())
    }
}

/// Ends the root of its board, by its policy or by failing in its start, once another is stuck.
struct Fatal(mpsc::Receiver<()>, bool);
impl Fatal {
    fn fail(&self) -> Outcome {
        self.0.recv()?;
        Err(Failure::new("no"))
    }
}
impl Service for Fatal {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        cx.publish(note(0)).await?;
        if self.1 { Ok(()) } else { self.fail() }
    }
}
impl Handle<Note> for Fatal {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        self.fail()
    }
}

/// The board is to end though a service on another thread never lets go.
fn start_falling(starts: bool) -> (Result<Board, StartError>, mpsc::Sender<()>) {
    let ((entered, entering), (release, released)) = (mpsc::channel(), mpsc::channel());
    let (mut stuck, mut fatal) = (Some(Stuck(entered, released)), Some(entering));
    let stuck = service("stuck", move || stuck.take().unwrap()).on::<Note>();
    let fatal = service("fatal", move || Fatal(fatal.take().unwrap(), starts)).on::<Note>();
    let policy = Policy::new().retry(Retry::never());
    let policy = policy.failure(OnFailure::dead_letter().escalate());
    let root = shop()
        .child(stuck.arbiter(1))
        .child(fatal.policy(policy).arbiter(0));
    let builder = Board::builder().arbiters(2).shutdown_limit(millis(50));
    (builder.start(root), release)
}

#[test]
fn a_root_that_gives_up_ends_its_board_though_a_service_is_stuck() {
    let (started, release) = start_falling(true);
    let board = started.unwrap();
    let error = board.wait_blocking().unwrap_err().to_string();
    assert!(error.starts_with("shop gave up: shop/fatal "), "{error}");
    let report = board.shutdown_blocking(secs(60));
    assert_eq!(report.stuck[0].service, "shop/stuck", "{report}");
    assert_eq!(report.ledger.gap(), 0);
    release.send(()).unwrap();
}

#[test]
fn a_start_that_fails_while_a_service_is_stuck_ends() {
    let (started, release) = start_falling(false);
    let Err(StartError::Failed { path, exit, .. }) = started else {
        panic!("it starts");
    };
    assert_eq!((&*path, &*exit.to_string()), ("shop/fatal", "failed: no"));
    release.send(()).unwrap();
}

/// Ends its board and blocks its thread, in its start.
struct Ender(mpsc::Receiver<()>);
impl Service for Ender {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        cx.stop_board();
        let _ = self.0.recv();
        Ok(())
    }
}

#[test]
fn a_start_ends_with_its_board_though_it_is_stuck() {
    let (release, released) = mpsc::channel();
    let mut parts = Some(released);
    let ender = service("ender", move || Ender(parts.take().unwrap()));
    let builder = Board::builder().arbiters(1).shutdown_limit(millis(50));
    let Err(StartError::Failed { path, exit, .. }) = builder.start(shop().child(ender)) else {
        panic!("it starts");
    };
    assert_eq!((&*path, &*exit.to_string()), ("shop", "was killed"));
    release.send(()).unwrap();
}
