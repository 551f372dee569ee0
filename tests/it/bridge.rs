//! An actor of actix subscribes to the board and publishes on it.

use std::sync::mpsc;

use actix::prelude::*;
use callboard::prelude::{Board, Event, Outcome, Policy, Retry, Service, Supervisor, millis, secs};
use callboard::{Context as Cx, Handle, Reason, service, to_actix};

#[derive(Clone, Debug, PartialEq)]
struct Paid(u64);
impl Event for Paid {
    const NAME: &'static str = "paid";
}
impl Message for Paid {
    type Result = ();
}

struct Noted(u64);
impl Event for Noted {
    const NAME: &'static str = "noted";
}

/// An actor as it may have existed before: it publishes what it hears under another name.
struct Legacy {
    board: mpsc::Receiver<Board>,
    known: Option<Board>,
    heard: mpsc::Sender<u64>,
}

impl Actor for Legacy {
    type Context = Context<Self>;
}

impl Handler<Paid> for Legacy {
    type Result = ();

    fn handle(&mut self, Paid(id): Paid, _: &mut Context<Self>) {
        let board = self.known.get_or_insert_with(|| self.board.recv().unwrap());
        board.try_publish(Noted(id)).unwrap();
        self.heard.send(id).unwrap();
    }
}

struct Notes(mpsc::Sender<u64>);
impl Service for Notes {}
impl Handle<Noted> for Notes {
    async fn handle(&mut self, Noted(id): &Noted, _: &mut Cx<Self>) -> Outcome {
        self.0.send(*id)?;
        Ok(())
    }
}

/// A system of actix on a thread of its own, with the actor in it.
fn legacy(board: mpsc::Receiver<Board>, heard: mpsc::Sender<u64>) -> (Addr<Legacy>, System) {
    let (started, starts) = mpsc::channel();
    std::thread::spawn(move || {
        let runner = System::new();
        runner.block_on(async {
            let legacy = Legacy {
                board,
                known: None,
                heard,
            };
            started.send((legacy.start(), System::current())).unwrap();
        });
        runner.run().unwrap();
    });
    starts.recv().unwrap()
}

#[test]
fn an_actix_actor_hears_events_in_order_and_publishes_others() {
    let ((give_board, board_given), (heard, hears)) = (mpsc::channel(), mpsc::channel());
    let (noted, notes) = mpsc::channel();
    let (address, system) = legacy(board_given, heard);
    let tree = Supervisor::one_for_one("shop")
        .child(to_actix::<Paid>("legacy", address))
        .child(service("notes", move || Notes(noted.clone())).on::<Noted>());
    let board = Board::start(tree).unwrap();
    give_board.send(board.clone()).unwrap();
    for id in 0..100 {
        board.publish_blocking(Paid(id)).unwrap();
    }
    board.settle_blocking().unwrap();
    let expected: Vec<u64> = (0..100).collect();
    assert_eq!(hears.try_iter().collect::<Vec<_>>(), expected);
    assert_eq!(notes.try_iter().collect::<Vec<_>>(), expected);
    let ledger = board.ledger();
    assert_eq!(ledger.gap(), 0);
    assert_eq!(
        ledger.delivery("shop/legacy", "paid").unwrap().acknowledged,
        100
    );
    assert!(board.shutdown_blocking(secs(5)).drained);
    system.stop();
}

#[test]
fn an_event_for_an_actix_actor_that_has_gone_is_a_dead_letter() {
    let ((_, board_given), (heard, _)) = (mpsc::channel(), mpsc::channel());
    let (address, system) = legacy(board_given, heard);
    system.stop();
    while address.connected() {
        std::thread::yield_now();
    }
    let policy = Policy::new().retry(Retry::fixed(millis(1)).attempts(3));
    let spec = to_actix::<Paid>("legacy", address.recipient()).policy(policy);
    let board = Board::start(Supervisor::one_for_one("shop").child(spec)).unwrap();
    board.publish_blocking(Paid(7)).unwrap();
    board.settle_blocking().unwrap();
    let letters = board.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].downcast_ref::<Paid>(), Some(&Paid(7)));
    assert_eq!(letters[0].reason(), Reason::Permanent);
    assert_eq!(board.ledger().gap(), 0);
    board.shutdown_blocking(secs(5));
}
