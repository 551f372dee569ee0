//! Actix, and its broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::{
    Actor, Addr, Arbiter, Context, Handler, Message, Supervised, Supervisor, System,
};
use actix_broker::{ArbiterBroker, Broker, BrokerSubscribe};

use crate::allocator;
use crate::clock::Clock;
use crate::contender::{About, Contender};
use crate::ground::{Remains, fail, hush};
use crate::sample::Sample;
use crate::tally::{Done, Tally};
use crate::workload::{
    ASKS, AUDIENCE, BURST, CAPACITY, LONG_BURST, QUEUED, SENDERS, STARTED, WEIGHED,
};

pub struct Actix;

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Tick(u64);

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Tock(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Sum(u64);

#[derive(Message)]
#[rtype(result = "()")]
struct Boom;

struct Reader {
    tally: Tally,
    on_bus: bool,
}

impl Actor for Reader {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if self.on_bus {
            self.subscribe_async::<ArbiterBroker, Tick>(context);
            self.subscribe_async::<ArbiterBroker, Tock>(context);
        }
    }
}
impl Handler<Tick> for Reader {
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Self::Context) {
        self.tally.take(tick.0);
    }
}
impl Handler<Tock> for Reader {
    type Result = ();

    fn handle(&mut self, tock: Tock, _: &mut Self::Context) {
        self.tally.take(tock.0);
    }
}
impl Handler<Sum> for Reader {
    type Result = u64;

    fn handle(&mut self, sum: Sum, _: &mut Self::Context) -> u64 {
        self.tally.take(sum.0)
    }
}

struct Idle(Option<Arc<Done>>);
impl Actor for Idle {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if let Some(done) = self.0.take() {
            done.arrive();
        }
    }
}

struct Phoenix(Arc<Remains>);
impl Actor for Phoenix {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.0.begin();
    }
}
impl Supervised for Phoenix {}
impl Handler<Boom> for Phoenix {
    type Result = ();

    fn handle(&mut self, _: Boom, _: &mut Self::Context) {
        fail()
    }
}
impl Handler<Tick> for Phoenix {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Self::Context) {
        self.0.handle();
    }
}
impl Handler<Sum> for Phoenix {
    type Result = u64;

    fn handle(&mut self, sum: Sum, _: &mut Self::Context) -> u64 {
        sum.0
    }
}

impl Contender for Actix {
    fn about(&self) -> About {
        About {
            name: "actix",
            packages: &["actix", "actix-broker"],
            configuration: "mailboxes of 1,024 and `try_send`, but `send` when full; one \
                thread: the system's; across: one arbiter; fan-in: 8 tasks on 2 arbiters; its bus \
                is the `ArbiterBroker` of actix-broker, `issue_async`",
            fairness: "handlers are plain functions, not futures; a panic is not caught: it ends \
                the arbiter with all actors on it; `send` counts against the bound, `do_send` and \
                the broker do not",
        }
    }

    fn tell_here(&self, clock: Clock) -> Sample {
        self.publish(clock, 1)
    }

    fn tell_across(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let system = System::new();
        let reader = elsewhere(&Arbiter::new(), reader(LONG_BURST, &done, false));
        let burst = async || {
            send(&reader, LONG_BURST).await;
            done.wait().await;
        };
        system.block_on(clock.bursts_async(LONG_BURST, burst))
    }

    fn fan_in(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let _system = System::new();
        let arbiters = [Arbiter::new(), Arbiter::new()];
        let reader = elsewhere(&arbiters[0], reader(LONG_BURST, &done, false));
        clock.bursts(LONG_BURST, || {
            for index in 0..SENDERS {
                let reader = reader.clone();
                let share = LONG_BURST / SENDERS as u64;
                arbiters[index % 2].spawn(async move { send(&reader, share).await });
            }
            done.wait_blocking();
        })
    }

    fn ask_here(&self, clock: Clock) -> Sample {
        System::new().block_on(async {
            let reader = start(reader(ASKS, &Done::of(1), false));
            asks(clock, &reader).await
        })
    }

    fn ask_across(&self, clock: Clock) -> Sample {
        let system = System::new();
        let reader = elsewhere(&Arbiter::new(), reader(ASKS, &Done::of(1), false));
        system.block_on(asks(clock, &reader))
    }

    fn publish(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        System::new().block_on(async {
            let reader = |_| start(reader(BURST, &done, false));
            let readers: Vec<_> = (0..subscribers).map(reader).collect();
            let burst = async || {
                for number in 0..BURST {
                    for reader in &readers {
                        reader.try_send(Tick(number)).expect("room");
                    }
                }
                done.wait().await;
            };
            clock.bursts_async(BURST * subscribers as u64, burst).await
        })
    }

    fn bus(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let sample = System::new().block_on(async {
            let _readers = audience(subscribers, &done).await;
            let burst = async || {
                for number in 0..BURST {
                    Broker::<ArbiterBroker>::issue_async(Tick(number));
                }
                done.wait().await;
            };
            clock.bursts_async(BURST * subscribers as u64, burst).await
        });
        sample.noted("unbounded")
    }

    fn two_topics(&self, clock: Clock) -> Sample {
        let done = Done::of(AUDIENCE);
        let sample = System::new().block_on(async {
            let _readers = audience(AUDIENCE, &done).await;
            let burst = async || {
                for number in 0..BURST / 2 {
                    Broker::<ArbiterBroker>::issue_async(Tick(number));
                    Broker::<ArbiterBroker>::issue_async(Tock(number));
                }
                done.wait().await;
            };
            clock.bursts_async(BURST * AUDIENCE as u64, burst).await
        });
        sample.noted("unbounded")
    }

    fn start(&self, clock: Clock) -> Sample {
        System::new().block_on(clock.timed_async(STARTED as u64, async || {
            let done = Done::of(STARTED);
            let mut idle = Vec::with_capacity(STARTED);
            let begun = Instant::now();
            for _ in 0..STARTED {
                idle.push(start(Idle(Some(Arc::clone(&done)))));
            }
            done.wait().await;
            let spent = begun.elapsed();
            drop(idle);
            tokio::task::yield_now().await;
            spent
        }))
    }

    fn weigh(&self) -> Sample {
        let done = Done::of(WEIGHED);
        let mut idle = Vec::with_capacity(WEIGHED);
        System::new().block_on(async {
            allocator::start_counting();
            for _ in 0..WEIGHED {
                idle.push(start(Idle(Some(Arc::clone(&done)))));
            }
            done.wait().await;
            let bytes = allocator::stop_counting();
            Sample::Number(bytes as f64 / WEIGHED as f64, String::new())
        })
    }

    fn restart(&self, _: Clock) -> Sample {
        hush();
        let remains = Remains::shared();
        let (phoenix, system) = phoenix(&remains);
        phoenix.do_send(Boom);
        match system.block_on(phoenix.send(Sum(1))) {
            Ok(_) => Sample::Failed("it was restarted after a panic".to_owned()),
            Err(_) => Sample::words("never after a panic"),
        }
    }

    fn keep(&self) -> Sample {
        hush();
        let remains = Remains::shared();
        let (phoenix, _system) = phoenix(&remains);
        phoenix.do_send(Boom);
        for number in 0..QUEUED {
            phoenix.do_send(Tick(number));
        }
        std::thread::sleep(Duration::from_millis(100));
        remains.expect_restarts(0);
        remains.sample()
    }
}

fn reader(burst: u64, done: &Arc<Done>, on_bus: bool) -> Reader {
    let tally = Tally::new(burst, done);
    Reader { tally, on_bus }
}

fn start<A: Actor<Context = Context<A>>>(actor: A) -> Addr<A> {
    A::create(|context| {
        context.set_mailbox_capacity(CAPACITY);
        actor
    })
}

fn elsewhere(arbiter: &Arbiter, reader: Reader) -> Addr<Reader> {
    Reader::start_in_arbiter(&arbiter.handle(), move |context| {
        context.set_mailbox_capacity(CAPACITY);
        reader
    })
}

/// Without waiting while there is room; else with, which in actix is until the answer.
async fn send(reader: &Addr<Reader>, count: u64) {
    for number in 0..count {
        if let Err(full) = reader.try_send(Tick(number)) {
            reader.send(full.into_inner()).await.expect("an actor");
        }
    }
}

/// Each burst is a task, as an actor that asks is.
async fn asks(clock: Clock, reader: &Addr<Reader>) -> Sample {
    let burst = async || {
        let reader = reader.clone();
        let asker = async move {
            for number in 0..ASKS {
                reader.send(Sum(number)).await.expect("an answer");
            }
        };
        tokio::task::spawn_local(asker).await.expect("it ends");
    };
    clock.bursts_async(ASKS, burst).await
}

/// Readers of both types, once the broker knows all of them.
async fn audience(size: usize, done: &Arc<Done>) -> Vec<Addr<Reader>> {
    let reader = |_| start(reader(BURST, done, true));
    let readers = (0..size).map(reader).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    readers
}

/// One under actix's own supervisor, on an arbiter of its own.
fn phoenix(remains: &Arc<Remains>) -> (Addr<Phoenix>, actix::SystemRunner) {
    let system = System::new();
    let remains = Arc::clone(remains);
    let start = move |_: &mut Context<Phoenix>| Phoenix(remains);
    (
        Supervisor::start_in_arbiter(&Arbiter::new().handle(), start),
        system,
    )
}
