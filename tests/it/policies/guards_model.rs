//! All guards together, against a plain statement of what they do: one event after the other, in
//! the documented order.

use callboard::prelude::*;
use callboard::{Breaker, Dedupe, Key, RateLimit, RetryBudget};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::Bill;
use crate::support_events::{Seen, Step, clerk, failing, here, paused, row, shop};

/// All times are in milliseconds; guards count over a second.
#[derive(Clone, Debug)]
struct Plan {
    time_to_live: Option<u64>,
    dedupe: Option<u64>,
    breaker: Option<Gate>,
    /// Events a second, and the burst.
    rate: Option<(u32, u32)>,
    /// Percent of the deliveries, and retries a second besides.
    budget: Option<(u32, u32)>,
    attempts: u32,
    delay: u64,
    /// After how long each comes, what it is about, and which of its attempts fail.
    arrivals: Vec<(u64, u64, u8)>,
}

#[derive(Clone, Copy, Debug)]
struct Gate {
    at_least: u32,
    open_for: u64,
    probes: u32,
    dead_letters: bool,
}

impl Plan {
    fn policy(&self) -> Policy {
        let retry = Retry::fixed(millis(self.delay)).attempts(self.attempts);
        let mut policy = Policy::new().retry(retry);
        if let Some(limit) = self.time_to_live {
            policy = policy.time_to_live(millis(limit));
        }
        if let Some(window) = self.dedupe {
            policy = policy.dedupe(Dedupe::by_key(millis(window)));
        }
        if let Some(gate) = self.breaker {
            let breaker = Breaker::new()
                .window(secs(1))
                .at_least(gate.at_least)
                .open_for(millis(gate.open_for))
                .probes(gate.probes);
            policy = policy.breaker(match gate.dead_letters {
                true => breaker.dead_letters(),
                false => breaker,
            });
        }
        if let Some((events, burst)) = self.rate {
            policy = policy.rate_limit(RateLimit::per_second(events).burst(burst));
        }
        if let Some((percent, at_least)) = self.budget {
            let budget = RetryBudget::new(f64::from(percent) / 100.0).at_least(at_least);
            policy = policy.retry_budget(budget.window(secs(1)));
        }
        policy
    }

    fn fails(&self, id: u64, attempt: u32) -> bool {
        self.arrivals[id as usize].2 >> attempt & 1 == 1
    }
}

/// Each attempt: event, number, time. Then how many were acknowledged, dead-lettered, discarded,
/// expired.
type History = (Vec<(u64, u32, u64)>, [u64; 4]);

enum Answer {
    Go,
    Wait(u64),
    Refused,
}

/// What the guards have counted.
struct Naive {
    plan: Plan,
    known: Vec<(u64, u64)>,
    /// Attempts since it was last closed, and whether they failed.
    reports: Vec<(u64, bool)>,
    open_until: Option<u64>,
    /// Probes that have succeeded, while it is half open.
    probed: Option<u32>,
    next_slot: u64,
    deliveries: Vec<u64>,
    retries: Vec<u64>,
}

/// Whether something that was counted then counts still: a window has ten steps.
fn counts(at: u64, now: u64) -> bool {
    now / 100 - at / 100 < 10
}

impl Naive {
    fn new(plan: &Plan) -> Self {
        Naive {
            plan: plan.clone(),
            known: Vec::new(),
            reports: Vec::new(),
            open_until: None,
            probed: None,
            next_slot: 0,
            deliveries: Vec::new(),
            retries: Vec::new(),
        }
    }

    fn is_copy(&self, key: u64, now: u64) -> bool {
        let Some(window) = self.plan.dedupe else {
            return false;
        };
        let like = |(at, known): &(u64, u64)| *known == key && now - at < window;
        key != 0 && self.known.iter().any(like)
    }

    fn ask(&mut self, now: u64) -> Answer {
        if let Some(gate) = self.plan.breaker
            && let Some(until) = self.open_until
        {
            if now < until && gate.dead_letters {
                return Answer::Refused;
            }
            if now < until {
                return Answer::Wait(until);
            }
            (self.open_until, self.probed) = (None, Some(0));
        }
        let Some((events, burst)) = self.plan.rate else {
            return Answer::Go;
        };
        let interval = u64::from(1_000 / events);
        let ahead = interval * u64::from(burst - 1);
        if now + ahead < self.next_slot {
            return Answer::Wait(self.next_slot - ahead);
        }
        self.next_slot = self.next_slot.max(now) + interval;
        Answer::Go
    }

    fn report(&mut self, failed: bool, now: u64) {
        let Some(gate) = self.plan.breaker else {
            return;
        };
        let opens = match self.probed {
            Some(_) if failed => true,
            Some(probed) => {
                self.probed = Some(probed + 1).filter(|probed| *probed < gate.probes);
                if self.probed.is_none() {
                    self.reports.clear();
                }
                false
            }
            None => {
                self.reports.push((now, failed));
                let recent = self.reports.iter().filter(|(at, _)| counts(*at, now));
                let (all, bad) = (recent.clone().count(), recent.filter(|it| it.1).count());
                all >= gate.at_least as usize && bad * 2 >= all
            }
        };
        if opens {
            (self.open_until, self.probed) = (Some(now + gate.open_for), None);
        }
    }

    fn may_retry(&mut self, now: u64) -> bool {
        let Some((percent, at_least)) = self.plan.budget else {
            return true;
        };
        let recent = |all: &[u64]| all.iter().filter(|at| counts(**at, now)).count() as u32;
        let paid = recent(&self.deliveries) * percent + at_least * 100;
        let may = (recent(&self.retries) + 1) * 100 <= paid;
        self.retries.extend(may.then_some(now));
        may
    }

    fn play(mut self) -> History {
        let (mut attempts, mut counted) = (Vec::new(), [0; 4]);
        let (mut arrival, mut now) = (0, 0);
        for (id, (gap, key, _)) in (0..).zip(self.plan.arrivals.clone()) {
            arrival += gap;
            now = arrival.max(now);
            let (mut number, mut is_vetted) = (1, false);
            let end = loop {
                let age = now - arrival;
                let is_first = number == 1;
                if is_first && self.plan.time_to_live.is_some_and(|limit| age >= limit) {
                    break 3;
                }
                if !is_vetted && self.is_copy(key, now) {
                    break 2;
                }
                is_vetted = true;
                let answer = self.ask(now);
                if let Answer::Wait(until) = answer {
                    now = until;
                    continue;
                }
                self.known.extend(is_first.then_some((now, key)));
                if matches!(answer, Answer::Refused) {
                    break 1;
                }
                self.deliveries.extend(is_first.then_some(now));
                attempts.push((id, number, now));
                let failed = self.plan.fails(id, number);
                self.report(failed, now);
                if !failed {
                    break 0;
                }
                if number >= self.plan.attempts || !self.may_retry(now) {
                    break 1;
                }
                number += 1;
                now += self.plan.delay;
            };
            counted[end] += 1;
        }
        (attempts, counted)
    }
}

/// What a board does.
fn run(plan: &Plan) -> History {
    paused(async {
        let script = plan.clone();
        let (spec, log) = clerk("clerk", move |seen: &Seen| {
            match script.fails(seen.id, seen.attempt) {
                true => failing(),
                false => Step::Done,
            }
        });
        let policy = plan.policy();
        let board = here(shop().child(spec.on::<Keyed>().policy(policy))).await;
        let began = Instant::now();
        for (id, (gap, of, _)) in (0..).zip(&plan.arrivals) {
            sleep(millis(*gap)).await;
            board.publish(Keyed(Bill { id, of: *of })).await.unwrap();
        }
        while board.settle().await.is_err() {
            sleep(millis(100)).await;
        }
        let seen = log.seen().into_iter().map(|seen| {
            let at = (seen.at - began).as_millis() as u64;
            (seen.id, seen.attempt, at)
        });
        let row = row(&board, "shop/clerk", "keyed");
        let counted = [
            row.acknowledged,
            row.dead_lettered,
            row.discarded,
            row.expired,
        ];
        (seen.collect(), counted)
    })
}

/// A bill that may be about nothing.
struct Keyed(Bill);
impl Event for Keyed {
    const NAME: &'static str = "keyed";
    fn key(&self) -> Key {
        match self.0.of {
            0 => Key::None,
            of => of.into(),
        }
    }
}
impl Handle<Keyed> for crate::support_events::Clerk {
    async fn handle(&mut self, bill: &Keyed, cx: &mut Context<Self>) -> Outcome {
        self.see(bill.0.id, cx).await
    }
}

fn gates() -> impl Strategy<Value = Gate> {
    (1_u32..5, 1_u64..2_000, 1_u32..4, any::<bool>()).prop_map(
        |(at_least, open_for, probes, dead_letters)| Gate {
            at_least,
            open_for,
            probes,
            dead_letters,
        },
    )
}

fn plans() -> impl Strategy<Value = Plan> {
    let rates = proptest::sample::select(vec![1_u32, 2, 5, 10, 20]);
    (
        proptest::option::of(1_u64..1_500),
        proptest::option::of(1_u64..2_000),
        proptest::option::of(gates()),
        proptest::option::of((rates, 1_u32..4)),
        proptest::option::of((0_u32..150, 1_u32..3)),
        1_u32..4,
        1_u64..700,
        vec((0_u64..400, 0_u64..6, any::<u8>()), 0..40),
    )
        .prop_map(
            |(time_to_live, dedupe, breaker, rate, budget, attempts, delay, arrivals)| Plan {
                time_to_live,
                dedupe,
                breaker,
                rate,
                budget,
                attempts,
                delay,
                arrivals,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_board_does_what_the_plain_statement_says(plan in plans()) {
        prop_assert_eq!(run(&plan), Naive::new(&plan).play());
    }
}
