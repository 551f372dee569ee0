//! A tree starts in order, from any runtime; one that cannot start leaves nothing running.

use callboard::prelude::*;
use callboard::{ServiceSpec, StartError};

use crate::support_lives::{
    Deed, Do, Hook, Log, Note, Probe, boom, end, hearer, here, note, paused, probe, probe_with,
    try_here,
};

fn two(log: &Log) -> Supervisor {
    let team = Supervisor::one_for_one("team").child(hearer("b", log));
    Supervisor::one_for_one("shop")
        .child(hearer("a", log))
        .child(team)
}

fn check_start() {
    let log = Log::new();
    let board = Board::builder().arbiters(2).start(two(&log)).unwrap();
    board.publish_blocking(note(7)).unwrap();
    let report = board.shutdown_blocking(secs(60));
    assert!(report.drained, "{report}");
    assert_eq!((log.count("a 7"), log.count("b 7")), (1, 1));
    assert_eq!(log.lines()[..2], ["a started 1", "b started 1"]);
    assert_eq!(report.ledger.gap(), 0);
}

#[test]
fn a_board_starts_on_a_plain_thread() {
    check_start();
}

#[tokio::test]
async fn a_board_starts_within_a_tokio_runtime_of_one_thread() {
    check_start();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_starts_within_a_tokio_runtime_of_several_threads() {
    check_start();
}

#[actix_rt::test]
async fn a_board_starts_within_an_actix_system() {
    check_start();
}

#[tokio::test]
async fn a_board_starts_on_a_task_that_has_used_up_its_turn() {
    // What a task of tokio may do before it yields.
    for _ in 0..1_000 {
        if !tokio::task::coop::has_budget_remaining() {
            break;
        }
        let mut once = std::pin::pin!(tokio::task::coop::consume_budget());
        let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(once.as_mut().poll(cx))).await;
    }
    assert!(!tokio::task::coop::has_budget_remaining());
    check_start();
}

#[test]
fn each_child_is_up_before_the_next_starts() {
    paused(async {
        let log = Log::new();
        let slow: Hook = |_| Deed::Sleep(secs(1));
        let team = Supervisor::one_for_one("team").child(probe_with("b", &log, slow));
        let root = Supervisor::one_for_one("shop")
            .child(probe_with("a", &log, slow))
            .child(team)
            .child(probe("c", &log));
        let board = here(root).await;
        assert_eq!(log.take(), ["a started 1", "b started 1", "c started 1"]);
        end(&board).await;
    });
}

/// Starts a, b, c of which b cannot, and says what the error was.
async fn failing(log: &Log, b: ServiceSpec<Probe>, nested: bool) -> (StartError, Vec<String>) {
    let a = probe("a", log);
    let address = a.address();
    let root = Supervisor::one_for_one("shop").child(a);
    let root = if nested {
        root.child(Supervisor::one_for_one("team").child(b))
    } else {
        root.child(b)
    };
    let error = try_here(root.child(probe("c", log))).await.unwrap_err();
    assert_eq!(
        address.try_tell(Do(Deed::Nothing)).unwrap_err().to_string(),
        STOPPED
    );
    (error, log.take())
}

const STOPPED: &str = "the service has stopped";

#[test]
fn a_start_that_fails_is_named_and_leaves_nothing_running() {
    let table: [(Hook, &str, bool); 3] = [
        (|_| Deed::Fail, "failed: no", false),
        (|_| Deed::PanicAlways, "panicked: boom", false),
        (|_| Deed::Fail, "failed: no", true),
    ];
    for (started, why, nested) in table {
        paused(async {
            let log = Log::new();
            let (error, lines) = failing(&log, probe_with("b", &log, started), nested).await;
            let path = if nested { "shop/team/b" } else { "shop/b" };
            assert_eq!(error.to_string(), format!("{path} did not start: it {why}"));
            let expected = [
                "a started 1",
                "b dropped",
                "a stopping: was shut down",
                "a stopped",
                "a dropped",
            ];
            assert_eq!(lines, expected);
        });
    }
}

#[test]
fn a_recipe_that_panics_fails_the_start() {
    paused(async {
        let log = Log::new();
        let (error, lines) = failing(&log, service("b", || boom()), false).await;
        assert_eq!(error.to_string(), "shop/b did not start: it panicked: boom");
        let expected = [
            "a started 1",
            "a stopping: was shut down",
            "a stopped",
            "a dropped",
        ];
        assert_eq!(lines, expected);
    });
}

#[test]
fn a_start_that_hangs_ends_after_30_seconds() {
    paused(async {
        let (log, began) = (Log::new(), tokio::time::Instant::now());
        let (error, lines) = failing(&log, probe_with("b", &log, |_| Deed::Hang), false).await;
        assert_eq!(
            error.to_string(),
            "shop/b did not start: it timed out after 30s"
        );
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!(lines.last().unwrap(), "a dropped");
    });
}

#[test]
fn a_failed_start_on_threads_takes_them_down_again() {
    let log = Log::new();
    let a = probe("a", &log);
    let address = a.address();
    let root = Supervisor::one_for_one("shop").child(a);
    let b = probe_with("b", &log, |_| Deed::Fail).dedicated();
    let error = Board::builder()
        .arbiters(1)
        .start(root.child(b))
        .unwrap_err();
    assert_eq!(error.to_string(), "shop/b did not start: it failed: no");
    assert!(log.has("a dropped") && log.has("b dropped"));
    assert_eq!(
        address
            .ask_blocking(Do(Deed::Nothing))
            .unwrap_err()
            .to_string(),
        STOPPED
    );
}

#[test]
fn what_the_first_child_publishes_while_it_starts_is_heard_by_later_siblings() {
    paused(async {
        let log = Log::new();
        let root = Supervisor::one_for_one("shop")
            .child(probe_with("a", &log, |_| Deed::Countdown(0)))
            .child(probe_with("b", &log, |_| Deed::Sleep(secs(1))))
            .child(hearer("c", &log));
        let board = here(root).await;
        board.settle().await.unwrap();
        assert_eq!(
            log.take(),
            ["a started 1", "b started 1", "c started 1", "c 0"]
        );
        assert_eq!(board.ledger().topic("note").unwrap().unheard, 0);
        end(&board).await;
    });
}

struct Impostor;
impl Event for Impostor {
    const NAME: &'static str = "note";
}
struct Fooled;
impl Service for Fooled {}
impl Handle<Impostor> for Fooled {
    async fn handle(&mut self, _: &Impostor, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

struct Nameless;
impl Event for Nameless {
    const NAME: &'static str = "";
}
impl Handle<Nameless> for Fooled {
    async fn handle(&mut self, _: &Nameless, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

fn attempts(count: u32) -> Policy {
    Policy::new().retry(Retry::default().attempts(count))
}

fn impossible(log: &Log) -> Supervisor {
    Supervisor::one_for_one("shop")
        .max_restarts(5, Duration::ZERO)
        .child(hearer("twin", log))
        .child(Supervisor::one_for_one("twin"))
        .child(probe("", log))
        .child(probe("a/b", log))
        .child(
            probe("small", log)
                .letters(0)
                .on_with::<Note>(|on| on.capacity(0)),
        )
        .child(hearer("never", log).policy(attempts(0)))
        .child(hearer("eager", log).policy(attempts(6)))
        .child(hearer("hasty", log).policy(Policy::new().timeout(Duration::ZERO)))
        .child(hearer("far", log).arbiter(1))
        .child(hearer("twice", log).on::<Note>())
        .child(service("fooled", || Fooled).on::<Impostor>())
        .child(service("nameless", || Fooled).on::<Nameless>())
        .child(probe("sad", log).on_with::<DeadLetter>(|on| on.overflow(Overflow::Wait)))
}

const PROBLEMS: [&str; 14] = [
    "shop: the window of max_restarts is zero, so it would limit nothing",
    "shop/twin: two children have this name",
    "shop/: the name is empty",
    "shop/a/b: the name contains a `/`, which separates names in a path",
    "shop/small: the capacity of letters is 0, so nothing could be asked",
    "shop/small, on note: the capacity is 0, so no event could ever be queued",
    "shop/never: retry: attempts is 0, but the first attempt counts as one",
    "shop/eager, on note: 6 attempts, but its supervisor allows 5 restarts, so one event that \
     always panics would end it: raise max_restarts or lower attempts",
    "shop/hasty: the timeout is zero, so no attempt could succeed",
    "shop/far: arbiter 1 does not exist: this board has 1, numbered from 0",
    "shop/twice, on note: it subscribes twice",
    concat!(
        "shop/fooled, on note: `",
        env!("CARGO_CRATE_NAME"),
        "::start::Impostor` has the same NAME as `",
        env!("CARGO_CRATE_NAME"),
        "::support_lives::Note`"
    ),
    concat!(
        "shop/nameless, on : the NAME of `",
        env!("CARGO_CRATE_NAME"),
        "::start::Nameless` is empty"
    ),
    "shop/sad, on callboard.dead_letter: callboard.dead_letter never waits for room: use \
     Overflow::DropOldest",
];

#[test]
fn an_impossible_tree_is_refused_with_everything_that_is_wrong() {
    let log = Log::new();
    let error = Board::builder()
        .arbiters(1)
        .start(impossible(&log))
        .unwrap_err();
    let text = format!("invalid supervisor tree: {}", PROBLEMS.join("; "));
    assert_eq!(error.to_string(), text);
    let StartError::Refused { problems, .. } = error else {
        panic!("not refused");
    };
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts, PROBLEMS);
    assert_eq!(log.lines(), [""; 0]);
}

#[test]
fn an_impossible_tree_is_refused_on_this_thread_too() {
    paused(async {
        let error = try_here(impossible(&Log::new())).await.unwrap_err();
        let StartError::Refused { problems, .. } = error else {
            panic!("not refused");
        };
        // Placement means nothing there.
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let placed = |text: &&str| !text.contains("arbiter");
        let expected: Vec<&str> = PROBLEMS.into_iter().filter(placed).collect();
        assert_eq!(texts, expected);
    });
}

#[test]
fn a_board_without_arbiters_is_refused() {
    let error = Board::builder()
        .arbiters(0)
        .start(two(&Log::new()))
        .unwrap_err();
    let text = "invalid supervisor tree: board: a board needs at least one arbiter";
    assert_eq!(error.to_string(), text);
}
