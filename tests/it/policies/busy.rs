//! Time that passes while nobody waits: a handler keeps its thread, and so may a function that
//! tells copies. It counts for the attempt, and for all that comes after it.

use std::sync::{Arc, Mutex};

use callboard::prelude::*;
use callboard::{Dedupe, DeliveryRow, Key, Overdue};
use futures_util::FutureExt;
use tokio::time::{advance, sleep};

use crate::support_events::{here, paused, row, shop};

/// Time passes without anybody waiting for it.
fn pass(time: Duration) {
    let _ = advance(time).now_or_never();
}

/// Keeps the thread of whoever handles it for so many milliseconds.
#[derive(Clone, Copy)]
struct Job(u64);
impl Event for Job {
    const NAME: &'static str = "job";
}

struct Done(Job);
impl Event for Done {
    const NAME: &'static str = "done";
}

#[derive(Default)]
struct Worker(Arc<Mutex<Vec<u64>>>);
impl Service for Worker {}
impl Handle<Job> for Worker {
    async fn handle(&mut self, job: &Job, _: &mut Context<Self>) -> Outcome {
        if job.0 > 0 {
            self.0.lock().unwrap().push(job.0);
            pass(millis(job.0));
        }
        Ok(())
    }
}

/// Waits for 100 ms when it hears that a job is done.
struct Listener;
impl Service for Listener {}
impl Handle<Done> for Listener {
    async fn handle(&mut self, done: &Done, _: &mut Context<Self>) -> Outcome {
        if done.0.0 > 0 {
            sleep(millis(100)).await;
        }
        Ok(())
    }
}

/// So many jobs that take no time go before: then several more are done in one turn, however long
/// they take.
const FAST: u64 = 128;

/// What a worker has begun of jobs that are published at once, and what became of all of them.
fn work(policy: Policy, jobs: &[u64]) -> (Vec<u64>, DeliveryRow) {
    let begun = Arc::default();
    let worker = Worker(Arc::clone(&begun));
    let once = Mutex::new(Some(worker));
    let spec = service("worker", move || once.lock().unwrap().take().unwrap());
    let spec = spec.on::<Job>().policy(policy.retry(Retry::never()));
    let fast = (0..FAST).map(|_| Job(0));
    let jobs: Vec<_> = fast.chain(jobs.iter().map(|takes| Job(*takes))).collect();
    let mut row = paused(async move {
        let root = shop().child(spec);
        let listener = service("listener", || Listener).on::<Done>();
        let board = here(root.child(listener)).await;
        board.publish_all(jobs).await.unwrap();
        board.settle().await.unwrap();
        row(&board, "shop/worker", "job")
    });
    row.acknowledged -= FAST;
    let begun = begun.lock().unwrap().clone();
    (begun, row)
}

#[test]
fn an_attempt_that_ends_at_its_limit_is_in_time_and_one_beyond_it_is_late() {
    for policy in [
        Policy::new().timeout(millis(100)),
        Policy::new().deadline(millis(100)),
        Policy::new().timeout(secs(9)).deadline(millis(100)),
        Policy::new().timeout(millis(100)).time_to_live(secs(9)),
    ] {
        for (takes, late) in [(1, 0), (100, 0), (101, 1)] {
            let (begun, row) = work(policy.clone(), &[takes]);
            assert_eq!(begun, [takes]);
            assert_eq!((row.acknowledged, row.late), (1, late), "{takes} ms");
        }
    }
}

/// Keeps its thread for 60 ms, then waits as long.
struct Slow;
impl Service for Slow {}
impl Handle<Job> for Slow {
    async fn handle(&mut self, _: &Job, _: &mut Context<Self>) -> Outcome {
        pass(millis(60));
        sleep(millis(60)).await;
        Ok(())
    }
}

#[test]
fn an_attempt_is_cancelled_at_its_limit_however_late_it_first_waits() {
    paused(async {
        for (limit, acknowledged) in [(millis(100), 0), (millis(121), 1)] {
            let policy = Policy::new().timeout(limit).retry(Retry::never());
            let slow = service("slow", || Slow).on::<Job>().policy(policy);
            let board = here(shop().child(slow)).await;
            board.publish(Job(1)).await.unwrap();
            board.settle().await.unwrap();
            let row = row(&board, "shop/slow", "job");
            let ends = (row.acknowledged, row.dead_lettered, row.late);
            assert_eq!(ends, (acknowledged, 1 - acknowledged, 0));
        }
    });
}

#[test]
fn the_time_of_an_attempt_counts_from_its_own_beginning() {
    let jobs = [60, 60, 101, 60, 100];
    let (begun, row) = work(Policy::new().timeout(millis(100)), &jobs);
    assert_eq!(begun, jobs);
    assert_eq!((row.acknowledged, row.late), (5, 1));
}

#[test]
fn what_earlier_events_took_adds_to_the_age_of_the_next() {
    let lived = Policy::new().time_to_live(millis(100));
    for policy in [lived.clone(), lived.timeout(secs(9))] {
        let (begun, row) = work(policy, &[60, 40, 1]);
        assert_eq!(begun, [60, 40]);
        assert_eq!((row.acknowledged, row.late, row.expired), (2, 0, 1));
    }
    let overdue = Policy::new()
        .deadline(millis(100))
        .failure_of::<Overdue>(OnFailure::discard());
    let (begun, row) = work(overdue, &[60, 41, 1]);
    assert_eq!(begun, [60, 41]);
    // The second had 40 ms left.
    assert_eq!((row.acknowledged, row.late, row.discarded), (2, 1, 1));
}

#[test]
fn what_follows_an_event_adds_to_the_age_of_the_next() {
    let then = OnSuccess::acknowledge().publish(|_: &Worker, job: &Job| Done(*job));
    let policy = Policy::new()
        .timeout(secs(9))
        .time_to_live(millis(100))
        .success(then.waited());
    let (begun, row) = work(policy, &[1, 2]);
    assert_eq!(begun, [1]);
    assert_eq!((row.acknowledged, row.expired), (1, 1));
}

#[test]
fn the_time_it_takes_to_tell_copies_adds_to_the_age_of_an_event() {
    let dedupe = Dedupe::by(secs(60), |job: &Job| {
        if job.0 == 0 {
            return Key::None;
        }
        pass(millis(60));
        job.0.into()
    });
    let policy = Policy::new().timeout(secs(9)).time_to_live(millis(100));
    let (begun, row) = work(policy.dedupe(dedupe), &[1, 2]);
    assert_eq!(begun, [1]);
    assert_eq!((row.acknowledged, row.expired), (1, 1));
}
