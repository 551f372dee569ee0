//! Whoever asks is answered, whatever else is asked meanwhile.

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
