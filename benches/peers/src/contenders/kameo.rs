//! Kameo, and the pubsub actor of its own collection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kameo::Actor;
use kameo::actor::{ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message};
use kameo::supervision::RestartPolicy;
use kameo_actors::DeliveryStrategy;
use kameo_actors::pubsub::{PubSub, Publish};
use tokio::runtime::Runtime;

use crate::allocator;
use crate::clock::Clock;
use crate::contender::{About, Contender};
use crate::ground::{Remains, fail, here, hush, workers};
use crate::sample::Sample;
use crate::tally::{Done, Tally};
use crate::workload::{
    ASKS, AUDIENCE, BURST, CAPACITY, LONG_BURST, QUEUED, SENDERS, STARTED, WEIGHED,
};

pub struct Kameo;

#[derive(Clone)]
struct Tick(u64);

#[derive(Clone)]
struct Tock(u64);

struct Sum(u64);

struct Boom;

#[derive(Actor)]
struct Reader(Tally);
impl Message<Tick> for Reader {
    type Reply = ();

    async fn handle(&mut self, tick: Tick, _: &mut Context<Self, ()>) {
        self.0.take(tick.0);
    }
}
impl Message<Tock> for Reader {
    type Reply = ();

    async fn handle(&mut self, tock: Tock, _: &mut Context<Self, ()>) {
        self.0.take(tock.0);
    }
}
impl Message<Sum> for Reader {
    type Reply = u64;

    async fn handle(&mut self, sum: Sum, _: &mut Context<Self, u64>) -> u64 {
        self.0.take(sum.0)
    }
}

struct Idle;
impl Actor for Idle {
    type Args = Arc<Done>;
    type Error = Infallible;

    async fn on_start(done: Arc<Done>, _: ActorRef<Self>) -> Result<Self, Infallible> {
        done.arrive();
        Ok(Idle)
    }
}

#[derive(Actor)]
struct Parent;

struct Phoenix(Arc<Remains>);
impl Actor for Phoenix {
    type Args = Arc<Remains>;
    type Error = Infallible;

    async fn on_start(remains: Arc<Remains>, _: ActorRef<Self>) -> Result<Self, Infallible> {
        remains.begin();
        Ok(Phoenix(remains))
    }
}
impl Message<Boom> for Phoenix {
    type Reply = ();

    async fn handle(&mut self, _: Boom, _: &mut Context<Self, ()>) {
        fail()
    }
}
impl Message<Tick> for Phoenix {
    type Reply = ();

    async fn handle(&mut self, _: Tick, _: &mut Context<Self, ()>) {
        self.0.handle();
    }
}
impl Message<Sum> for Phoenix {
    type Reply = u64;

    async fn handle(&mut self, sum: Sum, _: &mut Context<Self, u64>) -> u64 {
        sum.0
    }
}

impl Contender for Kameo {
    fn about(&self) -> About {
        About {
            name: "kameo",
            packages: &["kameo", "kameo_actors"],
            configuration: "mailboxes of 1,024; one thread: current-thread runtime; across: one \
                worker thread; fan-in: 8 tasks and the actor on 2 stealing workers; its bus is a \
                spawned `PubSub`, told to publish, guaranteed delivery; one `PubSub` per type",
            fairness: "built with its tracing feature, which kameo_actors switches on; actors are \
                `Send` and may move between workers; its supervisor restarts after a panic",
        }
    }

    fn tell_here(&self, clock: Clock) -> Sample {
        self.publish(clock, 1)
    }

    fn tell_across(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let other = workers(1);
        let reader = reader(&other, LONG_BURST, &done);
        let burst = async || {
            for number in 0..LONG_BURST {
                reader.tell(Tick(number)).send().await.expect("an actor");
            }
            done.wait().await;
        };
        here().block_on(clock.bursts_async(LONG_BURST, burst))
    }

    fn fan_in(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let both = workers(2);
        let reader = reader(&both, LONG_BURST, &done);
        clock.bursts(LONG_BURST, || {
            for _ in 0..SENDERS {
                both.spawn(send(reader.clone()));
            }
            done.wait_blocking();
        })
    }

    fn ask_here(&self, clock: Clock) -> Sample {
        let runtime = here();
        let reader = reader(&runtime, ASKS, &Done::of(1));
        runtime.block_on(asks(clock, &reader))
    }

    fn ask_across(&self, clock: Clock) -> Sample {
        let other = workers(1);
        let reader = reader(&other, ASKS, &Done::of(1));
        here().block_on(asks(clock, &reader))
    }

    fn publish(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let runtime = here();
        let reader = |_| reader(&runtime, BURST, &done);
        let readers: Vec<_> = (0..subscribers).map(reader).collect();
        let burst = async || {
            for number in 0..BURST {
                for reader in &readers {
                    reader.tell(Tick(number)).send().await.expect("an actor");
                }
            }
            done.wait().await;
        };
        runtime.block_on(clock.bursts_async(BURST * subscribers as u64, burst))
    }

    fn bus(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let runtime = here();
        let mut bus = PubSub::new(DeliveryStrategy::Guaranteed);
        for _ in 0..subscribers {
            bus.subscribe(reader(&runtime, BURST, &done));
        }
        let bus = spawn(&runtime, bus);
        let burst = async || {
            for number in 0..BURST {
                bus.tell(Publish(Tick(number))).send().await.expect("a bus");
            }
            done.wait().await;
        };
        runtime.block_on(clock.bursts_async(BURST * subscribers as u64, burst))
    }

    fn two_topics(&self, clock: Clock) -> Sample {
        let done = Done::of(AUDIENCE);
        let runtime = here();
        let mut ticks = PubSub::new(DeliveryStrategy::Guaranteed);
        let mut tocks = PubSub::new(DeliveryStrategy::Guaranteed);
        for _ in 0..AUDIENCE {
            let reader = reader(&runtime, BURST, &done);
            ticks.subscribe(reader.clone());
            tocks.subscribe(reader);
        }
        let (ticks, tocks) = (spawn(&runtime, ticks), spawn(&runtime, tocks));
        let burst = async || {
            for number in 0..BURST / 2 {
                ticks
                    .tell(Publish(Tick(number)))
                    .send()
                    .await
                    .expect("a bus");
                tocks
                    .tell(Publish(Tock(number)))
                    .send()
                    .await
                    .expect("a bus");
            }
            done.wait().await;
        };
        let sample = runtime.block_on(clock.bursts_async(BURST * AUDIENCE as u64, burst));
        sample.noted("no order between them")
    }

    fn start(&self, clock: Clock) -> Sample {
        let burst = async || {
            let done = Done::of(STARTED);
            let mut idle = Vec::with_capacity(STARTED);
            let begun = Instant::now();
            for _ in 0..STARTED {
                idle.push(Idle::spawn_with_mailbox(
                    Arc::clone(&done),
                    mailbox::bounded(CAPACITY),
                ));
            }
            done.wait().await;
            let spent = begun.elapsed();
            for idle in idle {
                idle.kill();
                idle.wait_for_shutdown().await;
            }
            spent
        };
        here().block_on(clock.timed_async(STARTED as u64, burst))
    }

    fn weigh(&self) -> Sample {
        let done = Done::of(WEIGHED);
        let mut idle = Vec::with_capacity(WEIGHED);
        here().block_on(async {
            allocator::start_counting();
            for _ in 0..WEIGHED {
                idle.push(Idle::spawn_with_mailbox(
                    Arc::clone(&done),
                    mailbox::bounded(CAPACITY),
                ));
            }
            done.wait().await;
            tokio::task::yield_now().await;
            let bytes = allocator::stop_counting();
            Sample::Number(bytes as f64 / WEIGHED as f64, String::new())
        })
    }

    fn restart(&self, clock: Clock) -> Sample {
        hush();
        let remains = Remains::shared();
        let sample = here().block_on(async {
            let (phoenix, _parent) = phoenix(&remains).await;
            let mut restarts = 0;
            let burst = async || {
                phoenix.tell(Boom).send().await.expect("an actor");
                while phoenix.ask(Sum(1)).send().await.is_err() {
                    tokio::task::yield_now().await;
                }
                restarts += 1;
            };
            let sample = clock.bursts_async(1, burst).await;
            remains.expect_restarts(restarts);
            sample
        });
        sample.noted("its message lost")
    }

    fn keep(&self) -> Sample {
        hush();
        let remains = Remains::shared();
        here().block_on(async {
            let (phoenix, _parent) = phoenix(&remains).await;
            phoenix.tell(Boom).send().await.expect("an actor");
            for number in 0..QUEUED {
                phoenix.tell(Tick(number)).send().await.expect("an actor");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
        remains.expect_restarts(1);
        remains.sample()
    }
}

fn spawn<A: Actor<Args = A>>(runtime: &Runtime, actor: A) -> ActorRef<A> {
    let _inside = runtime.enter();
    A::spawn_with_mailbox(actor, mailbox::bounded(CAPACITY))
}

fn reader(runtime: &Runtime, burst: u64, done: &Arc<Done>) -> ActorRef<Reader> {
    spawn(runtime, Reader(Tally::new(burst, done)))
}

async fn send(reader: ActorRef<Reader>) {
    for number in 0..LONG_BURST / SENDERS as u64 {
        reader.tell(Tick(number)).send().await.expect("an actor");
    }
}

/// Each burst is a task, as an actor that asks is.
async fn asks(clock: Clock, reader: &ActorRef<Reader>) -> Sample {
    let burst = async || {
        let reader = reader.clone();
        let asker = async move {
            for number in 0..ASKS {
                reader.ask(Sum(number)).send().await.expect("an answer");
            }
        };
        tokio::spawn(asker).await.expect("it ends");
    };
    clock.bursts_async(ASKS, burst).await
}

/// A supervised actor, and its supervisor, which ends with its last reference.
async fn phoenix(remains: &Arc<Remains>) -> (ActorRef<Phoenix>, ActorRef<Parent>) {
    let parent = Parent::spawn(Parent);
    let child = Phoenix::supervise(&parent, Arc::clone(remains));
    let started = child
        .restart_policy(RestartPolicy::Permanent)
        .restart_limit(u32::MAX, Duration::from_millis(1))
        .spawn_with_mailbox(mailbox::bounded(CAPACITY));
    let phoenix = started.await;
    // What comes before the start is over is buffered elsewhere, and would not be kept.
    phoenix.wait_for_startup().await;
    (phoenix, parent)
}
