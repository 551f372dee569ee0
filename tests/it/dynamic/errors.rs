//! Whatever is refused says why, and has changed nothing.

use std::sync::{Arc, OnceLock};

use callboard::prelude::*;
use callboard::{ChildError, Restart};

use super::{names, shop};
use crate::support_lives::{
    Deed, Hook, Log, Note, boom, end, hearer, here, paused, probe, probe_with,
};

struct Session;
impl Service for Session {}

fn sessions() -> Supervisor {
    Supervisor::dynamic("sessions", |id: u64| {
        if id == 13 {
            boom()
        }
        service(format!("s{id}"), || Session)
    })
}

fn said<T: std::fmt::Debug>(result: Result<T, ChildError>) -> String {
    result.unwrap_err().to_string()
}

/// An event with the name of another.
struct Impostor;
impl Event for Impostor {
    const NAME: &'static str = "note";
}
struct Deaf;
impl Service for Deaf {}
impl Handle<Impostor> for Deaf {
    async fn handle(&mut self, _: &Impostor, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

#[test]
fn a_child_that_cannot_be_meant_is_refused_with_every_reason() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        let handle = board.supervisor("shop").unwrap();
        let below = Supervisor::one_for_one("team")
            .max_restarts(1, Duration::ZERO)
            .child(service("deaf", || Deaf).on::<Impostor>().significant())
            .child(probe("x/y", &log));
        let refused = handle.start_child(below).await;
        let clash = concat!(
            "`",
            env!("CARGO_CRATE_NAME"),
            "::dynamic::errors::Impostor` has the same NAME as `",
            env!("CARGO_CRATE_NAME"),
            "::support_lives::Note`"
        );
        let expected = format!(
            "invalid child: \
            shop/team: the window of max_restarts is zero, so it would limit nothing; \
            shop/team/deaf: it is significant and permanent: it is always restarted, so it would \
            never end its supervisor; \
            shop/team/deaf: it is significant, but its supervisor has no auto_shutdown; \
            shop/team/deaf, on note: 3 attempts, but its supervisor allows 1 restart, so one event \
            that always panics would end it: raise max_restarts or lower attempts; \
            shop/team/deaf, on note: {clash}; \
            shop/team/x/y: the name contains a `/`, which separates names in a path"
        );
        assert_eq!(said(refused), expected);
        assert_eq!(names(&handle), ["a"]);
        // A refused child has taken no name of an event.
        let refused = handle
            .start_child(service("deaf", || Deaf).on::<Impostor>())
            .await;
        let expected = format!("invalid child: shop/deaf, on note: {clash}");
        assert_eq!(said(refused), expected);
        assert!(log.has("a started 1") && board.ledger().deliveries.len() == 1);
        end(&board).await;
    });
}

#[test]
fn every_verb_says_why_not() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(probe("a", &log)).child(sessions())).await;
        let shop = board.supervisor("shop").unwrap();
        let crowd = board.supervisor("shop/sessions").unwrap();
        assert_eq!(
            crowd.start_child_from(1_u64).await.unwrap(),
            "shop/sessions/s1"
        );
        let unknown = "there is no child at shop/x; known paths: shop/a, shop/sessions";
        let again = "shop/a has not ended for good: stop it first, or restart it as it is";
        #[rustfmt::skip]
        let table = [
            (said(shop.start_child(probe("a", &log)).await), "there is already a child at shop/a"),
            (said(shop.terminate_child("x").await), unknown),
            (said(shop.restart_child("x").await), unknown),
            (said(shop.delete_child("x").await), unknown),
            (said(shop.restart_child("a").await), again),
            (said(shop.delete_child("a").await), again),
            (said(shop.start_child_from(1_u64).await), "shop has no recipe: use start_child"),
            (said(crowd.start_child(probe("b", &log)).await),
                "shop/sessions makes its children from a recipe: use start_child_from"),
            (said(crowd.start_child_from(1_u64).await),
                "there is already a child at shop/sessions/s1"),
            (said(crowd.start_child_from("one").await),
                "the recipe of shop/sessions takes a u64, not a &str"),
            (said(crowd.start_child_from(13_u64).await), "the recipe of shop/sessions panicked"),
            (said(board.stop("shop").await), "shop is the root: shut the board down"),
        ];
        for (found, expected) in table {
            assert_eq!(found, expected);
        }
        board.stop("shop/a").await.unwrap();
        let refused = board.kill("shop/a").await;
        assert_eq!(
            said(refused),
            "shop/a has ended for good: restart starts it again"
        );
        let already = said(shop.start_child(probe("a", &log)).await);
        assert_eq!(already, "there is already a child at shop/a");
        assert_eq!((names(&shop).len(), names(&crowd).len()), (2, 1));
        // The recipe works on after its panic.
        crowd.start_child_from(2_u64).await.unwrap();
        end(&board).await;
    });
}

#[test]
fn a_child_that_does_not_start_is_told_and_not_kept() {
    let hooks: [(Hook, &str); 3] = [
        (|_| Deed::Fail, "failed: no"),
        (|_| Deed::PanicAlways, "panicked: boom"),
        (|_| Deed::Hang, "timed out after 30s"),
    ];
    for (started, why) in hooks {
        for restart in [Restart::Permanent, Restart::Temporary] {
            paused(async {
                let log = Log::new();
                let root = shop().max_restarts(0, secs(9)).child(probe("a", &log));
                let board = here(root).await;
                let shop = board.supervisor("shop").unwrap();
                let b = probe_with("b", &log, started).restart(restart);
                let expected = format!("shop/b did not start: it {why}");
                assert_eq!(said(shop.start_child(b).await), expected);
                assert_eq!(names(&shop), ["a"]);
                assert_eq!(log.count("b dropped"), 1);
                // Nobody was disturbed, and the name is free.
                shop.start_child(probe("b", &log)).await.unwrap();
                assert!(!log.has("a dropped"));
                end(&board).await;
            });
        }
    }
}

#[test]
fn one_that_does_not_start_again_stays_ended_and_keeps_its_spec() {
    paused(async {
        let log = Log::new();
        let second: Hook = |life| match life {
            2 => Deed::Fail,
            _ => Deed::Nothing,
        };
        let board = here(shop().child(probe_with("a", &log, second))).await;
        let shop = board.supervisor("shop").unwrap();
        shop.terminate_child("a").await.unwrap();
        let failed = said(shop.restart_child("a").await);
        assert_eq!(failed, "shop/a did not start: it failed: no");
        assert_eq!(shop.children()[0].state, callboard::State::Closed);
        shop.restart_child("a").await.unwrap();
        assert!(log.has("a started 3"));
        end(&board).await;
    });
}

#[test]
fn a_supervisor_that_stops_takes_no_more_children() {
    paused(async {
        let log = Log::new();
        let slow: Hook = |_| Deed::Sleep(secs(2));
        let a = crate::support_lives::probe_hooked("a", &log, (|_| Deed::Nothing, slow));
        let board = here(shop().child(a)).await;
        let shop = board.supervisor("shop").unwrap();
        let late = async {
            log.wait_for("a stopping: was shut down").await;
            said(shop.start_child(probe("b", &log)).await)
        };
        let (_, refused) = tokio::join!(board.shutdown(secs(60)), late);
        assert_eq!(refused, "shop is stopping, or has ended");
        let refused = said(shop.start_child(probe("b", &log)).await);
        assert_eq!(refused, "shop is stopping, or has ended");
        assert!(!log.has("b started 1"));
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[derive(Clone, Default)]
struct Asker(Arc<OnceLock<Board>>);
impl Service for Asker {}
struct Ask;
impl Message for Ask {
    type Reply = String;
}
impl Answer<Ask> for Asker {
    async fn answer(&mut self, _: Ask, _: &mut Context<Self>) -> Outcome<String> {
        let shop = self.0.get().unwrap().supervisor("shop").unwrap();
        let texts = [
            said(shop.start_child_blocking(service("b", || Session))),
            said(shop.terminate_child_blocking("asker")),
            said(shop.restart_child_blocking("asker")),
            said(shop.delete_child_blocking("asker")),
        ];
        assert!(texts.iter().all(|text| *text == texts[0]));
        // Waiting without blocking is fine, for what does not wait for this handler.
        shop.start_child(service("b", || Session)).await.unwrap();
        Ok(texts[0].clone())
    }
}

#[test]
fn a_blocking_verb_is_refused_on_a_thread_of_the_board() {
    let asker = Asker::default();
    let kept = asker.clone();
    let spec = service("asker", move || asker.clone());
    let address = spec.address();
    let board = Board::builder()
        .arbiters(1)
        .start(shop().child(spec))
        .unwrap();
    kept.0.set(board.clone()).unwrap();
    let expected =
        "a blocking call on a thread of a board would stop its services: use the async form";
    assert_eq!(address.ask_blocking(Ask).unwrap(), expected);
    assert_eq!(names(&board.supervisor("shop").unwrap()), ["asker", "b"]);
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}

/// Panics when it is dropped.
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        boom()
    }
}

#[test]
fn what_is_refused_ends_no_supervisor_when_it_is_dropped() {
    paused(async {
        let log = Log::new();
        let crasher = hearer("a", &log);
        let root = shop().child(crasher).child(sessions());
        let board = here(root).await;
        let handle = board.supervisor("shop").unwrap();
        let bomb = Arc::new(Bomb);
        let armed = Arc::clone(&bomb);
        let again = service("a", move || {
            let _ = &armed;
            Session
        });
        // The last that holds it is what is refused.
        drop(bomb);
        let refused = handle.start_child(again).await;
        assert_eq!(said(refused), "there is already a child at shop/a");
        let sessions = board.supervisor("shop/sessions").unwrap();
        let refused = sessions.start_child_from(Bomb).await;
        assert!(said(refused).starts_with("the recipe of shop/sessions"));
        board
            .publish(Note {
                id: 1,
                deed: Deed::Panic,
            })
            .await
            .unwrap();
        board.settle().await.unwrap();
        assert!(log.has("a started 2"));
        sessions.start_child_from(7_u64).await.unwrap();
        end(&board).await;
    });
}
