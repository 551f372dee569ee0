//! A series publishes an event per tick, until it is cancelled or the board begins to end.

use std::sync::{Arc, Mutex};

use ::tracing::Level;
use callboard::prelude::*;
use callboard::{MissedTicks, Series};
use tokio::time::Instant;

use crate::support_events::{
    Log, Memo, Note, ON_PURPOSE, Step, be_quiet, clerk, gate, here, paused, row, shop,
};
use crate::tracing::watched;

/// When each event of a series was made, and its number.
#[derive(Clone)]
struct Made {
    began: Instant,
    made: Arc<Mutex<Vec<(u64, u128)>>>,
}

impl Made {
    fn new() -> Self {
        Made {
            began: Instant::now(),
            made: Arc::default(),
        }
    }

    /// A function that makes notes, and writes that down.
    fn notes(&self) -> impl FnMut(u64) -> Note + Send + 'static {
        let Made { began, made } = self.clone();
        move |number| {
            let at = began.elapsed().as_millis();
            made.lock().unwrap().push((number, at));
            Note(number)
        }
    }

    fn times(&self) -> Vec<u128> {
        let made = self.made.lock().unwrap();
        let numbers = made.iter().map(|(number, _)| *number);
        assert!(numbers.eq(0..made.len() as u64), "{made:?}");
        made.iter().map(|(_, at)| *at).collect()
    }
}

/// A clerk that handles notes once it is let, with room for one more.
async fn slow() -> (Board, Log, Arc<tokio::sync::Semaphore>) {
    let hold = gate();
    let kept = Arc::clone(&hold);
    let (spec, log) = clerk("slow", move |_| Step::Wait(Arc::clone(&kept)));
    let board = here(shop().child(spec.on_with::<Note>(|on| on.capacity(1)))).await;
    (board, log, hold)
}

#[test]
fn events_come_one_per_interval_and_are_numbered() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let board = here(shop().child(spec.on::<Note>())).await;
        let made = Made::new();
        let series = board.every(millis(100), made.notes());
        // Nobody waits for it.
        board.settle().await.unwrap();
        assert_eq!(made.times(), [0; 0]);
        tokio::time::sleep(millis(350)).await;
        assert_eq!(made.times(), [100, 200, 300]);
        series.cancel();
        tokio::time::sleep(secs(10)).await;
        assert!(series.is_over());
        board.settle().await.unwrap();
        assert_eq!((log.ids(), made.times().len()), (vec![0, 1, 2], 3));
        assert_eq!(row(&board, "shop/clerk", "note").acknowledged, 3);
        // An interval of nothing is the shortest one.
        let quick = board.every(Duration::ZERO, made.notes());
        tokio::time::sleep(millis(5)).await;
        quick.cancel();
        assert!((4..=5).contains(&(made.made.lock().unwrap().len() - 3)));
    });
}

#[test]
fn missed_ticks_are_left_out_made_up_for_or_shift_the_rest() {
    let choices = [
        (None, [10, 20, 30, 70, 80]),
        (Some(MissedTicks::Skip), [10, 20, 30, 70, 80]),
        (Some(MissedTicks::Burst), [10, 20, 30, 65, 65]),
        (Some(MissedTicks::Delay), [10, 20, 30, 75, 85]),
    ];
    for (choice, expected) in choices {
        paused(async {
            let (board, log, hold) = slow().await;
            let made = Made::new();
            let mut series: Series = board.every(millis(10), made.notes());
            if let Some(choice) = choice {
                series = series.missed(choice);
            }
            // The first is being handled, the second is queued, the third waits for room.
            tokio::time::sleep(millis(65)).await;
            assert_eq!(made.times(), [10, 20, 30]);
            assert_eq!(row(&board, "shop/slow", "note").accepted, 2);
            hold.add_permits(99);
            tokio::time::sleep(millis(24)).await;
            series.cancel();
            board.settle().await.unwrap();
            let times = made.times();
            assert_eq!(times[..5], expected, "{choice:?}");
            if choice == Some(MissedTicks::Burst) {
                // All that were missing, and then in step again.
                assert_eq!(times, [10, 20, 30, 65, 65, 65, 70, 80]);
            }
            assert_eq!(log.ids().len(), times.len());
        });
    }
}

#[test]
fn an_event_that_finds_no_room_is_told_of_and_the_series_goes_on() {
    let seen = watched("callboard::series=warn", || {
        paused(async {
            let (board, log, hold) = slow().await;
            let made = Made::new();
            let series = board
                .every(secs(1), made.notes())
                .missed(MissedTicks::Delay);
            // The third waits for 5 s in vain; the next ones do not wait for such a reader.
            tokio::time::sleep(millis(9_500)).await;
            assert_eq!(made.times(), [1_000, 2_000, 3_000, 9_000]);
            hold.add_permits(99);
            tokio::time::sleep(secs(1)).await;
            series.cancel();
            board.settle().await.unwrap();
            assert_eq!(log.ids(), [0, 1, 4]);
            assert_eq!(row(&board, "shop/slow", "note").accepted, 3);
        });
    });
    let told = seen.events("callboard::series", Level::WARN);
    let numbers: Vec<_> = told.iter().map(|told| told.field("number")).collect();
    assert_eq!(numbers, ["2", "3"]);
    assert_eq!(told[0].field("event"), "note");
    assert_eq!(
        told[0].field("error"),
        "the subscription of shop/slow is full"
    );
}

#[test]
fn a_function_that_would_block_the_boards_own_thread_is_refused() {
    let (told, hears) = std::sync::mpsc::channel();
    let (spec, _) = clerk("clerk", |_| Step::Done);
    let board = Board::start(shop().child(spec.on::<Note>())).unwrap();
    let inside = board.clone();
    let series = board.every(millis(1), move |number| {
        let refused = inside.publish_blocking(Note(number)).unwrap_err();
        let _ = told.send(refused.to_string());
        Note(number)
    });
    let refused = hears.recv().unwrap();
    assert!(refused.contains("thread of a board"), "{refused}");
    series.cancel();
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}

#[test]
fn a_function_that_panics_ends_its_series_and_nothing_else() {
    be_quiet();
    let seen = watched("callboard::series=error", || {
        paused(async {
            let (spec, log) = clerk("clerk", |_| Step::Done);
            let board = here(shop().child(spec.on::<Note>().on::<Memo>())).await;
            let bad = board.every(secs(1), |number| {
                assert!(number < 2, "{ON_PURPOSE}");
                Note(number)
            });
            let good = board.every(secs(1), |number| Memo(10 + number));
            tokio::time::sleep(millis(4_500)).await;
            assert!(bad.is_over() && !good.is_over());
            let mut ids = log.ids();
            ids.sort_unstable();
            assert_eq!(ids, [0, 1, 10, 11, 12, 13]);
            assert_eq!(board.ledger().gap(), 0);
        });
    });
    let told = seen.events("callboard::series", Level::ERROR);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].field("event"), told[0].field("number")),
        ("note", "2")
    );
    assert_eq!(told[0].field("panic"), format!("panicked: {ON_PURPOSE}"));
}

#[test]
fn a_series_ends_when_its_board_begins_to_end() {
    paused(async {
        let (board, log, _hold) = slow().await;
        let made = Made::new();
        let idle = board.every(secs(3_600), made.notes());
        // This one waits for room when the end comes.
        let waiting = board.publisher().every(millis(1), Note);
        tokio::time::sleep(millis(10)).await;
        assert!(!idle.is_over() && !waiting.is_over());
        let (report, ()) = tokio::join!(board.shutdown(secs(1)), async {
            tokio::time::sleep(millis(1)).await;
            assert!(idle.is_over() && waiting.is_over());
        });
        // A series is no event that was scheduled.
        assert_eq!(report.not_due, 0);
        assert_eq!(log.ids(), [0]);
        assert_eq!(report.undelivered[0].count, 2);
        let late = board.every(secs(1), made.notes());
        tokio::time::sleep(secs(5)).await;
        assert!(late.is_over());
        assert_eq!(made.times(), [0; 0]);
    });
}

#[test]
fn a_series_that_is_cancelled_drops_the_event_that_waits_for_room() {
    paused(async {
        let (board, log, hold) = slow().await;
        let series = board.every(millis(1), Note);
        tokio::time::sleep(millis(10)).await;
        series.cancel();
        tokio::task::yield_now().await;
        hold.add_permits(99);
        tokio::time::sleep(secs(1)).await;
        assert!(series.is_over());
        assert_eq!(log.ids(), [0, 1]);
        assert_eq!(row(&board, "shop/slow", "note").accepted, 2);
    });
}

#[test]
fn a_board_is_not_kept_by_its_series() {
    let (spec, log) = clerk("clerk", |_| Step::Done);
    let board = Board::start(shop().child(spec.on::<Note>())).unwrap();
    let series = board.every(millis(1), Note);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(log.until(3));
    assert_eq!(log.ids()[..3], [0, 1, 2]);
    assert!(board.shutdown_blocking(secs(5)).over);
    drop(board);
    while !series.is_over() {
        std::thread::yield_now();
    }
}
