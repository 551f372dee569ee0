//! Timers run between deliveries, end with their life, and never wait behind a queue.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use callboard::TimerId;
use callboard::prelude::*;
use tokio::time::Instant;

use crate::support_events::paused_elsewhere;
use crate::support_lives::{Log, boom, end, here, paused};

struct Work;
impl Event for Work {
    const NAME: &'static str = "work";
}

/// Counts the deliveries that begin after a timer was due and before it ran.
struct Race {
    due: Arc<std::sync::Mutex<Option<Instant>>>,
    late: Arc<AtomicU64>,
    fired: Arc<AtomicBool>,
}

impl Race {
    fn new() -> Self {
        Race {
            due: Arc::default(),
            late: Arc::default(),
            fired: Arc::default(),
        }
    }

    fn share(&self) -> Race {
        let Race { due, late, fired } = self;
        Race {
            due: due.clone(),
            late: late.clone(),
            fired: fired.clone(),
        }
    }

    fn set<S: Service>(&self, cx: &mut Context<S>) {
        *self.due.lock().unwrap() = Some(cx.now() + millis(20));
        let fired = self.fired.clone();
        cx.after(millis(20), async move |_: &mut S, _: &mut Context<S>| {
            fired.store(true, Ordering::SeqCst);
            Ok(())
        });
    }
}

/// Blocks its thread for a millisecond over each event.
struct Busy {
    race: Race,
    own: bool,
}
impl Service for Busy {}
impl Handle<Work> for Busy {
    async fn handle(&mut self, _: &Work, cx: &mut Context<Self>) -> Outcome {
        if self.own && self.race.due.lock().unwrap().is_none() {
            self.race.share().set(cx);
        }
        if self.race.fired.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self
            .race
            .due
            .lock()
            .unwrap()
            .is_some_and(|due| due < cx.now())
        {
            self.race.late.fetch_add(1, Ordering::SeqCst);
        }
        std::thread::sleep(millis(1));
        Ok(())
    }
}

/// A neighbour on the same thread that has nothing but a timer.
struct Neighbour(Race);
impl Service for Neighbour {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        self.0.set(cx);
        Ok(())
    }
}

fn race(own: bool) -> u64 {
    let race = Race::new();
    let (busy, idle) = (race.share(), race.share());
    let busy = service("busy", move || Busy {
        race: busy.share(),
        own,
    })
    .on::<Work>();
    let team = Supervisor::one_for_one("team").child(busy);
    let team = if own {
        team
    } else {
        team.child(service("idle", move || Neighbour(idle.share())))
    };
    let root = Supervisor::one_for_one("shop").child(team);
    let board = Board::builder().arbiters(1).start(root).unwrap();
    for _ in 0..1_000 {
        board.try_publish(Work).unwrap();
    }
    board.settle_blocking().unwrap();
    let report = board.shutdown_blocking(secs(60));
    assert_eq!(
        report
            .ledger
            .delivery("shop/team/busy", "work")
            .unwrap()
            .acknowledged,
        1_000
    );
    assert_eq!(report.ledger.gap(), 0);
    assert!(race.fired.load(Ordering::SeqCst));
    race.late.load(Ordering::SeqCst)
}

#[test]
fn a_timer_of_a_busy_service_runs_within_a_few_deliveries() {
    let late = race(true);
    assert!(late <= 8, "{late} deliveries began after the timer was due");
}

#[test]
fn a_timer_of_a_busy_services_neighbour_runs_within_a_few_deliveries() {
    let late = race(false);
    assert!(late <= 8, "{late} deliveries began after the timer was due");
}

type Plan = fn(&mut Ticker, &mut Context<Ticker>);

/// Starts the timers of its plan.
struct Ticker {
    log: Log,
    began: Instant,
    life: u32,
    ticks: u32,
    timer: Option<TimerId>,
    plan: Plan,
}

impl Ticker {
    fn tick(&mut self) {
        self.ticks += 1;
        self.log.say(format!(
            "{} at {}",
            self.ticks,
            self.began.elapsed().as_millis()
        ));
    }
}

impl Service for Ticker {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        let plan = self.plan;
        plan(self, cx);
        Ok(())
    }

    async fn stopping(&mut self, exit: &Exit, _: &mut Context<Self>) {
        self.log.say(exit.to_string());
    }
}

fn ticks(plan: Plan) -> Vec<String> {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let (lines, mut life) = (log.clone(), 0);
        let ticker = service("ticker", move || {
            life += 1;
            Ticker {
                log: log.clone(),
                began,
                life,
                ticks: 0,
                timer: None,
                plan,
            }
        });
        let board = here(Supervisor::one_for_one("shop").child(ticker)).await;
        tokio::time::sleep(millis(65)).await;
        let said = lines.take();
        let report = board.shutdown(secs(1)).await;
        assert_eq!((report.drained, report.ledger.gap()), (true, 0));
        said
    })
}

#[test]
fn a_repeated_timer_runs_until_it_cancels_itself() {
    let said = ticks(|ticker, cx| {
        let timer = cx.every(
            millis(10),
            async |ticker: &mut Ticker, cx: &mut Context<Ticker>| {
                ticker.tick();
                if ticker.ticks == 3 {
                    cx.cancel(ticker.timer.unwrap());
                }
                Ok(())
            },
        );
        ticker.timer = Some(timer);
    });
    assert_eq!(said, ["1 at 10", "2 at 20", "3 at 30"]);
}

#[test]
fn a_repeated_timer_that_cancels_itself_and_then_another_ends() {
    let said = ticks(|ticker, cx| {
        let other = cx.after(millis(30), async |ticker: &mut Ticker, _| {
            ticker.tick();
            Ok(())
        });
        let timer = cx.every(
            millis(10),
            async move |ticker: &mut Ticker, cx: &mut Context<Ticker>| {
                ticker.tick();
                cx.cancel(ticker.timer.unwrap());
                cx.cancel(other);
                Ok(())
            },
        );
        ticker.timer = Some(timer);
    });
    assert_eq!(said, ["1 at 10"]);
}

#[test]
fn a_timer_that_was_cancelled_does_not_run() {
    let said = ticks(|ticker, cx| {
        let other = cx.after(millis(30), async |ticker: &mut Ticker, _| {
            ticker.tick();
            Ok(())
        });
        ticker.timer = Some(other);
        cx.after(
            millis(20),
            async |ticker: &mut Ticker, cx: &mut Context<Ticker>| {
                ticker.tick();
                cx.cancel(ticker.timer.unwrap());
                Ok(())
            },
        );
    });
    assert_eq!(said, ["1 at 20"]);
}

#[test]
fn ticks_that_were_missed_are_skipped() {
    let said = ticks(|_, cx| {
        cx.every(millis(10), async |ticker: &mut Ticker, _| {
            ticker.tick();
            if ticker.ticks == 1 {
                tokio::time::sleep(millis(35)).await;
            }
            Ok(())
        });
    });
    assert_eq!(said, ["1 at 10", "2 at 50", "3 at 60"]);
}

#[test]
fn a_timer_that_fails_ends_its_life_and_the_next_one_begins() {
    let said = ticks(|ticker, cx| {
        if ticker.life > 1 {
            return ticker.log.say(format!("life {}", ticker.life));
        }
        cx.after(millis(10), async |_, _| Err(Failure::new("no tick")));
    });
    assert_eq!(said, ["failed: no tick", "life 2"]);
}

#[test]
fn timers_end_with_their_life() {
    let said = ticks(|ticker, cx| {
        if ticker.life > 1 {
            return ticker.log.say(format!("life {}", ticker.life));
        }
        cx.every(millis(10), async |ticker: &mut Ticker, _| {
            ticker.tick();
            Ok(())
        });
        cx.after(millis(15), async |_, _| boom());
    });
    assert_eq!(said, ["1 at 10", "life 2"]);
}

/// Has a timer that is due at once set the next one, until it hears of work.
struct Restless {
    log: Log,
    has_heard: bool,
}

impl Restless {
    fn new(log: &Log) -> Self {
        Restless {
            log: log.clone(),
            has_heard: false,
        }
    }

    fn again(cx: &mut Context<Self>) {
        cx.after(
            Duration::ZERO,
            async |restless: &mut Self, cx: &mut Context<Self>| {
                if !restless.has_heard {
                    Self::again(cx);
                }
                Ok(())
            },
        );
    }
}

impl Service for Restless {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        Self::again(cx);
        self.log.say("started");
        Ok(())
    }
}

impl Handle<Work> for Restless {
    async fn handle(&mut self, _: &Work, _: &mut Context<Self>) -> Outcome {
        self.has_heard = true;
        self.log.say("heard");
        Ok(())
    }
}

impl Answer<Hello> for Restless {
    async fn answer(&mut self, _: Hello, _: &mut Context<Self>) -> Outcome<()> {
        Ok(())
    }
}

/// Makes an instance for its sender.
struct Hello;
impl Message for Hello {
    type Reply = ();
}

#[test]
fn a_timer_that_sets_itself_anew_at_once_leaves_the_thread_to_others() {
    paused_elsewhere(async || {
        let log = Log::new();
        let kept = log.clone();
        let restless = service("restless", move || Restless::new(&kept)).on::<Work>();
        let board = here(Supervisor::one_for_one("shop").child(restless)).await;
        log.wait_for("started").await;
        board.publish(Work).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("heard"));
        assert_eq!(board.shutdown(secs(1)).await.ledger.gap(), 0);
    });
}

#[test]
fn a_timer_of_an_instance_that_sets_itself_anew_at_once_leaves_the_thread_to_others() {
    paused_elsewhere(async || {
        let log = Log::new();
        let kept = log.clone();
        let restless = service("restless", || -> Restless { unreachable!("not used") });
        let restless = restless.on::<Work>().per_key(move |_| Restless::new(&kept));
        let address = restless.address();
        let board = here(Supervisor::one_for_one("shop").child(restless)).await;
        address.ask(Hello).await.unwrap();
        board.publish(Work).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("heard"));
        assert_eq!(log.count("started"), 1);
        assert_eq!(board.shutdown(secs(1)).await.ledger.gap(), 0);
    });
}

/// Sets a timer in each life, and cancels the first one of all.
struct Keeper {
    log: Log,
    first: Arc<OnceLock<TimerId>>,
}

impl Service for Keeper {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        let log = self.log.clone();
        let timer = cx.after(secs(1), async move |_, _| {
            log.say("rang");
            Ok(())
        });
        if self.first.set(timer).is_err() {
            cx.cancel(*self.first.wait());
        }
        self.log.say("started");
        Ok(())
    }
}

#[test]
fn the_name_of_a_timer_of_an_earlier_life_cancels_no_other() {
    paused(async {
        let (log, first) = (Log::new(), Arc::default());
        let keeper = log.clone();
        let keeper = service("keeper", move || Keeper {
            log: keeper.clone(),
            first: Arc::clone(&first),
        });
        let board = here(Supervisor::one_for_one("shop").child(keeper)).await;
        board.restart("shop/keeper").await.unwrap();
        log.wait_for("rang").await;
        assert_eq!(log.lines(), ["started", "started", "rang"]);
        end(&board).await;
    });
}

/// Whether what is due comes before what is queued.
#[derive(Clone, Copy, PartialEq)]
enum Due {
    Timer,
    Later,
}

/// Is fast over work, and slow over chores: the first of which wants something soon.
struct Slow {
    due: Due,
    log: Log,
    chores: u32,
}
impl Slow {
    async fn work(&mut self, cx: &mut Context<Self>) {
        self.chores += 1;
        if self.chores == 1 && self.due == Due::Timer {
            cx.after(millis(20), async |slow: &mut Self, _| slow.due());
        } else if self.chores == 1 {
            let soon = tokio::time::sleep(millis(20));
            cx.later(soon, async |slow: &mut Self, (), _| slow.due());
        }
        tokio::time::sleep(secs(1)).await;
    }

    fn due(&mut self) -> Outcome {
        self.log.say(format!("after {}", self.chores));
        Ok(())
    }
}
impl Service for Slow {}
impl Handle<Work> for Slow {
    async fn handle(&mut self, _: &Work, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}
struct Chore;
impl Event for Chore {
    const NAME: &'static str = "chore";
}
impl Message for Chore {
    type Reply = ();
}
impl Handle<Chore> for Slow {
    async fn handle(&mut self, _: &Chore, cx: &mut Context<Self>) -> Outcome {
        self.work(cx).await;
        Ok(())
    }
}
impl Answer<Chore> for Slow {
    async fn answer(&mut self, _: Chore, cx: &mut Context<Self>) -> Outcome {
        self.work(cx).await;
        Ok(())
    }
}

#[test]
fn what_is_due_comes_before_what_is_queued_however_fast_the_service_was() {
    for (due, told, careful) in [
        (Due::Timer, false, false),
        (Due::Timer, false, true),
        (Due::Timer, true, false),
        (Due::Later, false, false),
        (Due::Later, false, true),
    ] {
        paused(async move {
            let log = Log::new();
            let said = log.clone();
            let slow = service("slow", move || Slow {
                due,
                log: said.clone(),
                chores: 0,
            });
            let address = slow.address();
            let mut slow = slow.on::<Work>().on::<Chore>();
            if careful {
                slow = slow.policy(Policy::new().deadline(secs(3_600)));
            }
            let board = here(Supervisor::one_for_one("shop").child(slow)).await;
            for _ in 0..4 {
                for _ in 0..1_000 {
                    board.try_publish(Work).unwrap();
                }
                board.settle().await.unwrap();
            }
            for _ in 0..64 {
                if told {
                    address.try_tell(Chore).unwrap();
                } else {
                    board.try_publish(Chore).unwrap();
                }
            }
            board.settle().await.unwrap();
            let in_time = log.has("after 1") || log.has("after 2");
            assert!(in_time, "{:?}", log.lines());
            end(&board).await;
        });
    }
}
