//! Escalation: level by level, once each, up to the board.

use callboard::prelude::*;
use callboard::{Change, Exit, Lifecycle};

use crate::support_lives::{Deed, Do, Log, here, note, paused, probe};

fn level(name: &str, max: u32) -> Supervisor {
    Supervisor::one_for_one(name).max_restarts(max, secs(3_600))
}

struct Ear(Log);
impl Service for Ear {}
impl Handle<Lifecycle> for Ear {
    async fn handle(&mut self, news: &Lifecycle, _: &mut Context<Self>) -> Outcome {
        if let Change::Ended(exit @ Exit::Escalated { .. }) = news.change() {
            self.0.say(format!("{} {exit}", news.path()));
        }
        Ok(())
    }
}

#[test]
fn three_levels_give_up_one_after_the_other_and_each_once() {
    paused(async {
        let (log, heard) = (Log::new(), Log::new());
        let a = probe("a", &log);
        let address = a.address();
        let ear = heard.clone();
        let ear = service("ear", move || Ear(ear.clone())).on::<Lifecycle>();
        // Each level allows one restart, so the leaf lives 2 * 2 * 2 times.
        let team = level("team", 1).child(a);
        let floor = level("floor", 1).child(team).child(probe("b", &log));
        let root = level("shop", 1).child(probe("c", &log)).child(floor);
        let board = here(root.child(ear.restart(callboard::Restart::Temporary))).await;
        for life in 2..=8 {
            address.try_tell(Do(Deed::Panic)).unwrap();
            log.wait_for(&format!("a started {life}")).await;
        }
        board.settle().await.unwrap();
        let boom = "gave up: shop/floor/team/a panicked: boom";
        let team = format!("shop/floor/team {boom}");
        let floor = format!("shop/floor gave up: {team}");
        let told = heard.lines();
        assert_eq!(told, [&team, &team, &floor, &team].map(String::clone));
        address.try_tell(Do(Deed::Panic)).unwrap();
        let error = board.wait().await.unwrap_err();
        assert_eq!(error.to_string(), format!("shop gave up: {floor}"));
        assert!(!log.has("a started 9"));
        // The floor was made anew once, and the shop never.
        assert_eq!((log.count("b dropped"), log.count("c dropped")), (2, 1));
        assert!(board.try_publish(note(1)).is_err());
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn without_any_budget_the_first_end_is_handed_up() {
    paused(async {
        let log = Log::new();
        let a = probe("a", &log);
        let address = a.address();
        let floor = level("floor", 0).child(level("team", 0).child(a));
        let board = here(level("shop", 0).child(floor)).await;
        address.try_tell(Do(Deed::Stop)).unwrap();
        let error = board.wait().await.unwrap_err();
        let chain = "shop gave up: shop/floor gave up: shop/floor/team gave up: \
                     shop/floor/team/a ended normally";
        assert_eq!(error.to_string(), chain);
        assert_eq!(log.count("a started 1"), 1);
        assert_eq!(board.ledger().gap(), 0);
    });
}
