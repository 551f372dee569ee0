//! A wait that would close a cycle is an error at once, with the path, and not a hang.

use std::cell::RefCell;
use std::rc::Rc;

use callboard::prelude::*;
use callboard::{AskError, PublishError};

/// Asks the next one in line, with what is left of the line, and says what came of it.
struct Pass(Vec<usize>);
impl Message for Pass {
    type Reply = String;
}

#[derive(Clone, Default)]
struct Ring(Rc<RefCell<Vec<Address<Member>>>>);

struct Member(Ring);
impl Service for Member {}
impl Answer<Pass> for Member {
    async fn answer(&mut self, Pass(line): Pass, cx: &mut Context<Self>) -> Outcome<String> {
        let Some((next, rest)) = line.split_first() else {
            return Ok("the end".to_owned());
        };
        let next = self.0.0.borrow()[*next].clone();
        Ok(match cx.ask(&next, Pass(rest.to_vec())).await {
            Ok(said) => said,
            Err(AskError::Cycle { path, .. }) => path,
            Err(other) => format!("{other}"),
        })
    }
}

/// Runs on a paused clock: whoever waits for a deadline moves it.
fn paused<F: Future>(run: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, run)
}

thread_local! {
    /// Recipes are `Send` and the ring is not: it stays on the board's one thread.
    static RING: Ring = Ring::default();
}

async fn pass(line: &[usize]) -> (String, Duration) {
    let mut tree = Supervisor::one_for_one("ring");
    RING.with(|ring| ring.0.borrow_mut().clear());
    for name in ["a", "b", "c"] {
        let member = service(name, || Member(RING.with(Ring::clone)));
        RING.with(|ring| ring.0.borrow_mut().push(member.address()));
        tree = tree.child(member);
    }
    let board = Board::builder().on_this_thread().start(tree).await.unwrap();
    let first = RING.with(|ring| ring.0.borrow()[0].clone());
    let before = tokio::time::Instant::now();
    let said = first.ask(Pass(line.to_vec())).await.unwrap();
    let took = before.elapsed();
    assert_eq!(board.ledger().gap(), 0);
    board.shutdown(secs(1)).await;
    (said, took)
}

#[test]
fn asks_in_a_line_are_answered() {
    assert_eq!(paused(pass(&[1, 2])).0, "the end");
}

#[test]
fn asks_in_a_cycle_fail_at_once_with_the_path() {
    let (said, took) = paused(pass(&[1, 2, 0]));
    assert_eq!(said, "ring/c -> ring/a -> ring/b -> ring/c");
    assert_eq!(took, Duration::ZERO);
}

#[test]
fn a_service_that_asks_itself_is_refused_at_once() {
    let (said, took) = paused(pass(&[0]));
    assert_eq!((said.as_str(), took), ("ring/a -> ring/a", Duration::ZERO));
}

#[derive(Debug)]
struct Tick(u32);
impl Event for Tick {
    const NAME: &'static str = "tick";
}

/// Hears its own ticks, of which one may be queued, and publishes two more on the first.
struct Clock(std::sync::mpsc::Sender<String>);
impl Service for Clock {}
impl Handle<Tick> for Clock {
    async fn handle(&mut self, Tick(count): &Tick, cx: &mut Context<Self>) -> Outcome {
        if *count > 0 {
            return Ok(());
        }
        cx.publish(Tick(1)).await?;
        match cx.publish(Tick(2)).await {
            Err(PublishError::Cycle {
                path,
                event: Tick(2),
                ..
            }) => self.0.send(path)?,
            other => self.0.send(format!("{other:?}"))?,
        }
        match cx.publish(Tick(3)).settled().await {
            Err(PublishError::Cycle {
                path,
                event: Tick(3),
                ..
            }) => self.0.send(path)?,
            other => self.0.send(format!("{other:?}"))?,
        }
        Ok(())
    }
}

#[test]
fn waiting_for_ones_own_room_or_outcome_is_refused_at_once() {
    paused(async {
        let (says, said) = std::sync::mpsc::channel();
        let clock = service("clock", move || Clock(says.clone()));
        let clock = clock.on_with::<Tick>(|on| on.capacity(1));
        let tree = Supervisor::one_for_one("tower").child(clock);
        let board = Board::builder().on_this_thread().start(tree).await.unwrap();
        let before = tokio::time::Instant::now();
        board.publish(Tick(0)).await.unwrap();
        board.settle().await.unwrap();
        let cycle = "tower/clock -> tower/clock";
        assert_eq!(said.try_iter().collect::<Vec<_>>(), [cycle, cycle]);
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(
            board
                .ledger()
                .delivery("tower/clock", "tick")
                .unwrap()
                .acknowledged,
            2
        );
        assert_eq!(board.ledger().gap(), 0);
    });
}

/// Does to its own board what would wait for itself, and says what came of it.
struct Rash;
struct Try(Board, &'static str);
impl Message for Try {
    type Reply = String;
}
impl Service for Rash {}
impl Answer<Try> for Rash {
    async fn answer(&mut self, Try(board, what): Try, _: &mut Context<Self>) -> Outcome<String> {
        let shop = board.supervisor("shop")?;
        let done = match what {
            "stop itself" => board.stop("shop/team/rash").await,
            "restart above" => board.restart("shop/team").await,
            "terminate above" => shop.terminate_child("team").await,
            "restart beside" => board.restart("shop/other").await,
            _ => board.settle().await.map(|()| Ok(()))?,
        };
        Ok(done.map_or_else(|error| error.to_string(), |()| "done".to_owned()))
    }
}

#[test]
fn a_service_that_would_wait_for_its_own_end_or_rest_is_told_at_once() {
    paused(async {
        let rash = service("rash", || Rash);
        let address = rash.address();
        let team = Supervisor::one_for_one("team").child(rash);
        let tree = Supervisor::one_for_one("shop").child(team);
        let tree = tree.child(service("other", || Rash));
        let board = Board::builder().on_this_thread().start(tree).await.unwrap();
        let before = tokio::time::Instant::now();
        for (what, said) in [
            (
                "stop itself",
                "a cycle of waits: shop/team/rash -> shop/team/rash",
            ),
            (
                "restart above",
                "a cycle of waits: shop/team/rash -> shop/team -> shop/team/rash",
            ),
            (
                "terminate above",
                "a cycle of waits: shop/team/rash -> shop/team -> shop/team/rash",
            ),
            ("restart beside", "done"),
            ("settle", "done"),
        ] {
            assert_eq!(
                address.ask(Try(board.clone(), what)).await.unwrap(),
                said,
                "{what}"
            );
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(board.inspect("shop/team/rash").unwrap().life, 1);
        assert_eq!(board.inspect("shop/other").unwrap().life, 2);
        board.shutdown(secs(1)).await;
    });
}
