//! Every event is dropped exactly once, and what is kept keeps nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use callboard::prelude::*;

use crate::support_events::{ON_PURPOSE, be_quiet, here, paused, row, shop};

/// The most slots of a block: what a pinned event may keep besides itself.
const BLOCK: i64 = 64;

/// Counts itself: how many are alive, and how often each was dropped.
struct Parcel {
    id: u64,
    live: Arc<AtomicI64>,
    drops: Option<Arc<Vec<AtomicU64>>>,
}
impl Event for Parcel {
    const NAME: &'static str = "parcel";
}
impl Parcel {
    fn new(id: u64, live: &Arc<AtomicI64>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        Parcel {
            id,
            live: Arc::clone(live),
            drops: None,
        }
    }
}
impl Drop for Parcel {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
        if let Some(drops) = &self.drops {
            drops[usize::try_from(self.id).unwrap()].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Fails or panics on some parcels.
struct Porter {
    handled: Arc<AtomicU64>,
    fails: fn(u64) -> bool,
    panics: fn(u64, u32) -> bool,
}
impl Service for Porter {}
impl Handle<Parcel> for Porter {
    async fn handle(&mut self, parcel: &Parcel, cx: &mut Context<Self>) -> Outcome {
        self.handled.fetch_add(1, Ordering::Relaxed);
        assert!(!(self.panics)(parcel.id, cx.attempt()), "{ON_PURPOSE}");
        if (self.fails)(parcel.id) {
            return Err(Failure::permanent(ON_PURPOSE));
        }
        Ok(())
    }
}

fn porter(
    name: &str,
    fails: fn(u64) -> bool,
    panics: fn(u64, u32) -> bool,
) -> (callboard::ServiceSpec<Porter>, Arc<AtomicU64>) {
    be_quiet();
    let handled = Arc::new(AtomicU64::new(0));
    let kept = Arc::clone(&handled);
    let recipe = move || Porter {
        handled: Arc::clone(&kept),
        fails,
        panics,
    };
    (service(name, recipe), handled)
}

#[test]
fn every_event_is_dropped_exactly_once() {
    const COUNT: u64 = 5_000;
    let live = Arc::new(AtomicI64::new(0));
    let drops: Arc<Vec<_>> = Arc::new((0..=COUNT).map(|_| AtomicU64::new(0)).collect());
    let (one, handled) = porter("one", |id| id % 97 == 0, |_, _| false);
    let (two, _) = porter(
        "two",
        |_| false,
        |id, attempt| id % 501 == 0 && attempt == 1,
    );
    let lossy = |on: callboard::On<Parcel>| on.capacity(4).overflow(Overflow::DropOldest);
    let root = shop()
        .max_restarts(100, secs(600))
        .child(one.on_with::<Parcel>(|on| on.capacity(32)).spread())
        .child(two.on_with(lossy).spread());
    let board = Board::builder().arbiters(2).shelf(10).start(root).unwrap();
    for id in 0..COUNT {
        let mut parcel = Parcel::new(id, &live);
        parcel.drops = Some(Arc::clone(&drops));
        board.publish_blocking(parcel).unwrap();
    }
    board.settle_blocking().unwrap();
    let letters = board.dead_letters();
    assert_eq!(
        (letters.len(), handled.load(Ordering::Relaxed)),
        (10, COUNT)
    );
    let kept = letters[9].downcast_ref::<Parcel>().unwrap().id;
    let report = board.shutdown_blocking(secs(5));
    assert_eq!((report.drained, report.ledger.gap()), (true, 0));
    // Refused, so dropped by whoever gets it back.
    let mut refused = Parcel::new(COUNT, &live);
    refused.drops = Some(Arc::clone(&drops));
    drop(board.publish_blocking(refused).unwrap_err());
    assert!(drops[usize::try_from(kept).unwrap()].load(Ordering::Relaxed) == 0);
    drop((letters, board));
    let all: Vec<_> = drops
        .iter()
        .map(|one| one.load(Ordering::Relaxed))
        .collect();
    assert_eq!(all, vec![1; all.len()]);
    assert_eq!(live.load(Ordering::Relaxed), 0);
}

/// As many as the first block of a topic holds: it is given back as soon as nobody reads in it.
const FIRST_BLOCK: u64 = 4;

#[test]
fn who_ends_gives_back_at_once_what_it_has_read_last() {
    paused(async {
        let live = Arc::default();
        let (spec, _) = porter("porter", |_| false, |_, _| false);
        let board = here(shop().child(spec.on::<Parcel>())).await;
        for id in 0..FIRST_BLOCK {
            board.publish(Parcel::new(id, &live)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(live.load(Ordering::Relaxed), FIRST_BLOCK as i64);
        board.stop("shop/porter").await.unwrap();
        assert_eq!(live.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_dead_letter_keeps_its_block_and_no_other() {
    paused(async {
        let live = Arc::new(AtomicI64::new(0));
        let (spec, _) = porter("porter", |id| id == 1_000, |_, _| false);
        let board = here(shop().child(spec.on::<Parcel>())).await;
        for id in 0..10_000 {
            board.publish(Parcel::new(id, &live)).await.unwrap();
        }
        board.settle().await.unwrap();
        let letter = board.dead_letters().remove(0);
        assert_eq!(letter.downcast_ref::<Parcel>().unwrap().id, 1_000);
        // Its own block, the one being read, and the one being written.
        let kept = live.load(Ordering::Relaxed);
        assert!((BLOCK..=3 * BLOCK).contains(&kept), "{kept} are kept");
        assert_eq!(row(&board, "shop/porter", "parcel").dead_lettered, 1);
    });
}

#[test]
fn any_number_of_events_past_one_dead_letter_do_not_grow_memory() {
    const COUNT: u64 = if cfg!(debug_assertions) {
        200_000
    } else {
        10_000_000
    };
    const ROOM: usize = 1_024;
    let live = Arc::new(AtomicI64::new(0));
    let (spec, handled) = porter("porter", |id| id == 3, |_, _| false);
    let root = shop().child(spec.on_with::<Parcel>(|on| on.capacity(ROOM)));
    let board = Board::start(root).unwrap();
    let publisher = board.publisher();
    let mut most = 0;
    for id in 0..COUNT {
        publisher.publish_blocking(Parcel::new(id, &live)).unwrap();
        if id % 512 == 0 {
            most = most.max(live.load(Ordering::Relaxed));
        }
    }
    board.settle_blocking().unwrap();
    assert_eq!(handled.load(Ordering::Relaxed), COUNT);
    assert_eq!(board.dead_letters().len(), 1);
    // What was read may be on its way out, in another thread, while as much again comes in.
    assert!(
        most <= 2 * ROOM as i64 + 4 * BLOCK,
        "{most} were alive at once"
    );
    assert!(live.load(Ordering::Relaxed) <= 3 * BLOCK);
    assert_eq!(row(&board, "shop/porter", "parcel").acknowledged, COUNT - 1);
    board.shutdown_blocking(secs(5));
}

/// Panics when it is dropped.
struct Bomb;
impl Event for Bomb {
    const NAME: &'static str = "bomb";
}
impl Drop for Bomb {
    fn drop(&mut self) {
        BOMBS.fetch_add(1, Ordering::Relaxed);
        panic!("{ON_PURPOSE}");
    }
}
static BOMBS: AtomicU64 = AtomicU64::new(0);

struct Sapper;
impl Service for Sapper {}
impl Handle<Bomb> for Sapper {
    async fn handle(&mut self, _: &Bomb, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

#[test]
fn events_whose_drop_panics_harm_nobody() {
    be_quiet();
    paused(async {
        let lives = Arc::new(AtomicU64::new(0));
        let kept = Arc::clone(&lives);
        let sapper = service("sapper", move || {
            kept.fetch_add(1, Ordering::Relaxed);
            Sapper
        });
        let board = here(shop().child(sapper.on::<Bomb>())).await;
        for _ in 0..500 {
            board.publish(Bomb).await.unwrap();
        }
        board.settle().await.unwrap();
        assert!(BOMBS.load(Ordering::Relaxed) >= 300);
        assert_eq!(lives.load(Ordering::Relaxed), 1);
        let row = row(&board, "shop/sapper", "bomb");
        assert_eq!((row.acknowledged, row.retried), (500, 0));
        let report = board.shutdown(secs(5)).await;
        assert_eq!((report.drained, report.ledger.gap()), (true, 0));
        drop(board);
    });
    assert_eq!(BOMBS.load(Ordering::Relaxed), 500);
    paused(async {
        let board = here(shop()).await;
        board.publish(Bomb).await.unwrap();
        assert_eq!(board.ledger().topic("bomb").unwrap().unheard, 1);
        assert_eq!(board.ledger().gap(), 0);
    });
    assert_eq!(BOMBS.load(Ordering::Relaxed), 501);
}
