//! Whatever happens to a service with guards, each event ends in one state and the gap is 0.

use callboard::prelude::*;
use callboard::{Breaker, Dedupe, RateLimit, RetryBudget};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::sleep;

use super::Bill;
use crate::support_events::{Seen, Step, clerks, failing, here, paused, row, shop};

#[derive(Clone, Copy, Debug)]
enum Act {
    /// About this; its attempts go as these bits say.
    Publish(u64, u16),
    Policy(usize),
    Restart,
    Kill,
    Suspend,
    Resume,
    Wait(u64),
    Redrive,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    PerKey,
    Workers,
}

const ATTEMPTS: u32 = 3;

fn step(bits: u16) -> Step {
    match bits % 5 {
        0 => Step::Panic,
        1 => failing(),
        2 => Step::Sleep(millis(u64::from(bits % 700))),
        _ => Step::Done,
    }
}

/// Every guard, in several settings; a clone keeps what it has counted.
fn policies() -> Vec<Policy> {
    let retry = || Retry::fixed(millis(30)).attempts(ATTEMPTS);
    let breaker = || Breaker::new().at_least(2).open_for(millis(300));
    let all = Policy::new()
        .retry(retry())
        .timeout(millis(500))
        .dedupe(Dedupe::by(secs(1), |bill: &Bill| (bill.of / 4).into()))
        .breaker(breaker())
        .rate_limit(RateLimit::per_second(20))
        .retry_budget(RetryBudget::new(0.5).at_least(1));
    vec![
        all.clone(),
        all.clone().breaker(breaker().dead_letters().shared()),
        all.clone().retry(retry().deferred()).no_dedupe(),
        all.clone().retry(retry().parked()).no_rate_limit(),
        all.time_to_live(millis(400)).deadline(secs(1)).no_breaker(),
        Policy::new().retry(retry()),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let rest = prop_oneof![
        (0_usize..6).prop_map(Act::Policy),
        Just(Act::Restart),
        Just(Act::Kill),
        Just(Act::Suspend),
        Just(Act::Resume),
        (1_u64..400).prop_map(Act::Wait),
        Just(Act::Redrive),
    ];
    prop_oneof![
        5 => (0_u64..16, any::<u16>()).prop_map(|(of, bits)| Act::Publish(of, bits)),
        2 => rest,
    ]
}

async fn perform(board: &Board, act: Act, id: u64, policies: &[Policy]) {
    match act {
        Act::Publish(of, _) => drop(board.publish(Bill { id, of }).await.unwrap()),
        Act::Policy(which) => {
            let policy = policies[which].clone();
            board.set_policy("shop/clerk", policy).unwrap();
        }
        Act::Suspend => board.suspend("shop/clerk").unwrap(),
        Act::Resume => board.resume("shop/clerk").unwrap(),
        Act::Wait(time) => sleep(millis(time)).await,
        Act::Redrive => {
            if let Some(letter) = board.dead_letters().first() {
                board.redrive(letter).await.unwrap();
            }
        }
        // It may be between two lives.
        Act::Restart => drop(board.restart("shop/clerk").await),
        Act::Kill => drop(board.kill("shop/clerk").await),
    }
}

fn run(kind: Kind, first: usize, acts: &[Act]) -> Result<(), TestCaseError> {
    paused(async {
        let script = acts.to_vec();
        let (make, log) = clerks(move |seen: &Seen| match script[seen.id as usize] {
            Act::Publish(_, bits) => step(bits >> (3 * seen.attempt.min(4))),
            _ => Step::Done,
        });
        let spec = service("clerk", make.clone()).on::<Bill>();
        let policies = policies();
        let spec = spec.policy(policies[first].clone());
        let spec = match kind {
            Kind::Plain => spec,
            Kind::PerKey => spec.per_key(move |_| make()),
            Kind::Workers => spec.workers(2),
        };
        let root = shop().max_restarts(10_000, secs(1)).child(spec);
        let board = here(root).await;
        for (id, act) in (0..).zip(acts) {
            perform(&board, *act, id, &policies).await;
            let gap = board.ledger().gap();
            prop_assert_eq!(gap, 0);
        }
        board.resume("shop/clerk").unwrap();
        while board.settle().await.is_err() {
            sleep(millis(100)).await;
        }
        let row = row(&board, "shop/clerk", "bill");
        let ended = row.acknowledged + row.dead_lettered + row.discarded + row.expired;
        prop_assert_eq!(row.accepted, ended);
        prop_assert!(log.seen().iter().all(|seen| seen.attempt <= ATTEMPTS));
        let report = board.shutdown(secs(5)).await;
        prop_assert_eq!(report.ledger.gap(), 0);
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn each_event_ends_in_one_state_whatever_happens(
        kind in prop_oneof![Just(Kind::Plain), Just(Kind::PerKey), Just(Kind::Workers)],
        first in 0_usize..6,
        acts in vec(acts(), 0..120),
    ) {
        run(kind, first, &acts)?;
    }
}
