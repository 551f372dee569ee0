//! A hundred thousand children, and twenty thousand that come and go.

use std::time::Instant;

use callboard::prelude::*;
use callboard::{Restart, SupervisorHandle};
use tokio::task::{JoinSet, LocalSet};

use super::shop;
use crate::support_lives::{paused, try_here};

const CROWD: u64 = if cfg!(debug_assertions) {
    5_000
} else {
    100_000
};
const PASSING: u64 = if cfg!(debug_assertions) {
    2_000
} else {
    20_000
};

struct Tick;
impl Event for Tick {
    const NAME: &'static str = "tick";
}

struct Who;
impl Message for Who {
    type Reply = (u64, u64);
}

struct Session {
    id: u64,
    ticks: u64,
}
impl Service for Session {}
impl Handle<Tick> for Session {
    async fn handle(&mut self, _: &Tick, _: &mut Context<Self>) -> Outcome {
        self.ticks += 1;
        Ok(())
    }
}
impl Answer<Who> for Session {
    async fn answer(&mut self, _: Who, _: &mut Context<Self>) -> Outcome<(u64, u64)> {
        Ok((self.id, self.ticks))
    }
}

fn sessions() -> Supervisor {
    let recipe = |id: u64| {
        service(format!("s{id}"), move || Session { id, ticks: 0 })
            .on::<Tick>()
            .restart(Restart::Transient)
    };
    Supervisor::dynamic("sessions", recipe)
}

/// Does the same for many children at once.
async fn each<F: Future<Output = ()> + 'static>(ids: std::ops::Range<u64>, act: impl Fn(u64) -> F) {
    let mut jobs = JoinSet::new();
    for id in ids {
        if jobs.len() >= 1_000 {
            jobs.join_next().await.unwrap().unwrap();
        }
        jobs.spawn_local(act(id));
    }
    while let Some(job) = jobs.join_next().await {
        job.unwrap();
    }
}

async fn start(handle: &SupervisorHandle, ids: std::ops::Range<u64>) {
    each(ids, |id| {
        let handle = handle.clone();
        async move { drop(handle.start_child_from(id).await.unwrap()) }
    })
    .await;
}

async fn terminate(handle: &SupervisorHandle, ids: std::ops::Range<u64>) {
    each(ids, |id| {
        let handle = handle.clone();
        async move { handle.terminate_child(&format!("s{id}")).await.unwrap() }
    })
    .await;
}

async fn ask(board: &Board, ids: std::ops::Range<u64>, ticks: u64) {
    each(ids, |id| {
        let one = board
            .service::<Session>(&format!("shop/sessions/s{id}"))
            .unwrap();
        async move { assert_eq!(one.ask(Who).await.unwrap(), (id, ticks)) }
    })
    .await;
}

/// Prints how long each step takes; nothing is asserted of it.
struct Watch(Instant);
impl Watch {
    fn lap(&mut self, what: &str) {
        eprintln!("{CROWD} children {what}: {:?}", self.0.elapsed());
        self.0 = Instant::now();
    }
}

async fn crowd(board: Board) {
    let mut watch = Watch(Instant::now());
    let handle = board.supervisor("shop/sessions").unwrap();
    start(&handle, 0..CROWD).await;
    watch.lap("start");
    assert_eq!(handle.count().active as u64, CROWD);
    board.publish(Tick).await.unwrap();
    board.settle().await.unwrap();
    watch.lap("handle an event");
    ask(&board, 0..CROWD, 1).await;
    watch.lap("answer a letter");
    terminate(&handle, 0..CROWD / 2).await;
    watch.lap("(half of them) are terminated");
    assert_eq!(handle.count().active as u64, CROWD / 2);
    let row = board
        .ledger()
        .delivery("shop/sessions/*", "tick")
        .unwrap()
        .clone();
    assert_eq!(row.acknowledged, CROWD / 2);
    let report = board.shutdown(secs(60)).await;
    watch.lap("(the others) end with the board");
    assert_eq!((report.ledger.gap(), report.drained), (0, true));
    let rows = report.ledger.letters.iter();
    assert_eq!(rows.map(|row| row.answered).sum::<u64>(), CROWD);
    let rows = report.ledger.deliveries.iter();
    assert_eq!(rows.map(|row| row.acknowledged).sum::<u64>(), CROWD);
}

#[test]
fn a_hundred_thousand_children_start_work_answer_and_stop() {
    let board = Board::builder()
        .arbiters(2)
        .start(shop().child(sessions()))
        .unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, crowd(board));
}

#[test]
fn children_that_come_and_go_leave_nothing_behind() {
    paused(async {
        let board = try_here(shop().child(sessions())).await.unwrap();
        let handle = board.supervisor("shop/sessions").unwrap();
        start(&handle, 0..10).await;
        let nodes = |board: &Board| board.inspect("shop").unwrap().walk().count();
        let (mut first, round) = (10, PASSING / 20);
        while first < PASSING {
            start(&handle, first..first + round).await;
            board.publish(Tick).await.unwrap();
            board.settle().await.unwrap();
            ask(&board, first..first + round, 1).await;
            terminate(&handle, first..first + round).await;
            first += round;
            // The ten that stay, the row of those that went, and the two above.
            let ledger = board.ledger();
            assert_eq!(ledger.deliveries.len(), 10 + 1);
            assert_eq!((ledger.letters.len(), ledger.gap()), (1, 0));
            assert_eq!((board.services().len(), nodes(&board)), (10, 12));
            assert_eq!((handle.count().specs, handle.children().len()), (10, 10));
        }
        let letters = board.ledger().letter("shop/sessions/*").unwrap().answered;
        assert_eq!(letters, first - 10);
        ask(&board, 0..10, (first - 10) / round).await;
        let report = board.shutdown(secs(60)).await;
        assert_eq!((report.ledger.gap(), report.drained), (0, true));
    });
}
