//! Whoever asks is answered, whatever else is asked meanwhile.

use std::sync::{Arc, OnceLock};

use callboard::prelude::*;
use callboard::{ChildError, State};
use tokio::time::Instant;

use super::{names, shop};
use crate::support_lives::{Deed, Hook, Log, end, here, paused, probe, probe_with, until};

#[test]
fn a_supervisor_that_is_started_again_while_it_closes_answers_both_askers() {
    paused(async {
        let log = Log::new();
        let team = Supervisor::one_for_one("team");
        let team = ["a", "b", "c"]
            .into_iter()
            .fold(team, |team, name| team.child(probe(name, &log)));
        let board = here(shop().child(team)).await;
        let handle = board.supervisor("shop").unwrap();
        let began = Instant::now();
        let again = async {
            until(|| handle.children()[0].state == State::Closed).await;
            handle.restart_child("team").await
        };
        let (stopped, started) = tokio::join!(handle.terminate_child("team"), again);
        stopped.unwrap();
        started.unwrap();
        assert_eq!(began.elapsed().as_secs(), 0);
        assert_eq!(board.services().len(), 3);
        handle.terminate_child("team").await.unwrap();
        handle.delete_child("team").await.unwrap();
        end(&board).await;
    });
}

#[test]
fn a_start_that_is_terminated_is_told_so() {
    paused(async {
        let log = Log::new();
        let board = here(shop()).await;
        let handle = board.supervisor("shop").unwrap();
        let slow: Hook = |_| Deed::Hang;
        let stop = async {
            until(|| handle.children().len() == 1).await;
            handle.terminate_child("a").await
        };
        let start = handle.start_child(probe_with("a", &log, slow));
        let (started, stopped) = tokio::join!(start, stop);
        assert!(
            matches!(started, Err(ChildError::Failed { .. })),
            "{started:?}"
        );
        stopped.unwrap();
        assert_eq!(names(&handle), Vec::<String>::new());
        end(&board).await;
    });
}

#[test]
fn many_verbs_at_once_for_one_child_are_all_answered() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(probe("a", &log))).await;
        let handle = board.supervisor("shop").unwrap();
        let began = Instant::now();
        let (one, two, three, four, five) = tokio::join!(
            handle.terminate_child("a"),
            board.restart("shop/a"),
            handle.terminate_child("a"),
            board.restart("shop/a"),
            board.kill("shop/a"),
        );
        // The last one to say what follows is heeded.
        assert!(four.is_ok() && five.is_ok(), "{four:?} {five:?}");
        for overtaken in [one, three] {
            assert!(matches!(overtaken, Err(ChildError::Running { .. })));
        }
        assert!(two.is_ok(), "{two:?}");
        assert_eq!(began.elapsed().as_secs(), 0);
        assert_eq!(handle.children()[0].state, State::Running);
        handle.terminate_child("a").await.unwrap();
        end(&board).await;
    });
}

/// Hands its board out while the others still start.
struct Usher(Arc<OnceLock<Board>>);
impl Service for Usher {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        self.0.get_or_init(|| Board::of(cx).unwrap());
        Ok(())
    }
}

#[test]
fn what_is_asked_of_a_supervisor_before_its_turn_to_start_stands() {
    paused(async {
        let (log, hall) = (Log::new(), Arc::<OnceLock<Board>>::default());
        let usher = Arc::clone(&hall);
        let pool = Supervisor::one_for_one("pool").child(probe("x", &log));
        let root = shop()
            .child(service("usher", move || Usher(Arc::clone(&usher))))
            .child(probe_with("slow", &log, |_| Deed::Sleep(secs(10))))
            .child(pool.child(probe("z", &log)));
        let asking = async {
            until(|| hall.get().is_some()).await;
            let board = hall.get().unwrap();
            let pool = board.supervisor("shop/pool").unwrap();
            let began = Instant::now();
            board.stop("shop/pool/x").await.unwrap();
            assert_eq!(began.elapsed().as_secs(), 0);
            let fails = probe_with("y", &log, |_| Deed::Fail);
            let (added, failed) =
                tokio::join!(pool.start_child(probe("w", &log)), pool.start_child(fails));
            assert_eq!(added.unwrap(), "shop/pool/w");
            assert!(
                matches!(failed, Err(ChildError::Failed { .. })),
                "{failed:?}"
            );
            assert_eq!(began.elapsed().as_secs(), 10);
        };
        let (board, ()) = tokio::join!(here(root), asking);
        assert_eq!(
            log.take(),
            ["slow started 1", "z started 1", "w started 1", "y dropped"]
        );
        assert_eq!(
            names(&board.supervisor("shop/pool").unwrap()),
            ["x", "z", "w"]
        );
        assert_eq!(board.inspect("shop/pool/x").unwrap().state, State::Closed);
        board.restart("shop/pool/x").await.unwrap();
        assert!(log.has("x started 1"));
        end(&board).await;
    });
}
