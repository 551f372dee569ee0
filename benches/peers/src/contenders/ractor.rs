//! Ractor, and its output port.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, OutputPort, RpcReplyPort, SupervisionEvent};
use tokio::runtime::Runtime;

use crate::allocator;
use crate::clock::Clock;
use crate::contender::{About, Contender};
use crate::ground::{Remains, fail, here, hush, workers};
use crate::sample::Sample;
use crate::tally::{Done, Tally};
use crate::workload::{ASKS, AUDIENCE, BURST, LONG_BURST, QUEUED, SENDERS, STARTED, WEIGHED};

pub struct Ractor;

const UNBOUNDED: &str = "unbounded";

type Outcome<T> = Result<T, ActorProcessingErr>;

#[derive(Clone)]
struct Tick(u64);

#[derive(Clone)]
struct Tock(u64);

/// An actor of ractor takes one type.
enum Job {
    Tick(u64),
    Tock(u64),
    Sum(u64, RpcReplyPort<u64>),
    Boom,
}

struct Reader;
impl Actor for Reader {
    type Msg = Job;
    type State = Tally;
    type Arguments = Tally;

    async fn pre_start(&self, _: ActorRef<Job>, tally: Tally) -> Outcome<Tally> {
        Ok(tally)
    }

    async fn handle(&self, _: ActorRef<Job>, job: Job, tally: &mut Tally) -> Outcome<()> {
        match job {
            Job::Tick(number) | Job::Tock(number) => {
                tally.take(number);
            }
            Job::Sum(number, reply) => reply.send(tally.take(number))?,
            Job::Boom => fail(),
        }
        Ok(())
    }
}

struct Idle;
impl Actor for Idle {
    type Msg = Job;
    type State = ();
    type Arguments = Arc<Done>;

    async fn pre_start(&self, _: ActorRef<Job>, done: Arc<Done>) -> Outcome<()> {
        done.arrive();
        Ok(())
    }
}

struct Phoenix;
impl Actor for Phoenix {
    type Msg = Job;
    type State = Arc<Remains>;
    type Arguments = Arc<Remains>;

    async fn pre_start(&self, _: ActorRef<Job>, remains: Arc<Remains>) -> Outcome<Arc<Remains>> {
        remains.begin();
        Ok(remains)
    }

    async fn handle(&self, _: ActorRef<Job>, job: Job, remains: &mut Arc<Remains>) -> Outcome<()> {
        match job {
            Job::Tick(_) | Job::Tock(_) => remains.handle(),
            Job::Sum(number, reply) => reply.send(number)?,
            Job::Boom => fail(),
        }
        Ok(())
    }
}

/// Where the current life of the phoenix is to be found.
#[derive(Clone, Default)]
struct Nest {
    phoenix: Arc<Mutex<Option<ActorRef<Job>>>>,
    remains: Arc<Remains>,
}

impl Nest {
    fn phoenix(&self) -> ActorRef<Job> {
        let phoenix = self.phoenix.lock().unwrap_or_else(PoisonError::into_inner);
        phoenix.clone().expect("a first life")
    }

    async fn hatch(&self, parent: &ActorRef<()>) -> Outcome<()> {
        let remains = Arc::clone(&self.remains);
        let life = Actor::spawn_linked(None, Phoenix, remains, parent.get_cell());
        let (next, _) = life.await?;
        *self.phoenix.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        Ok(())
    }
}

struct Parent;
impl Actor for Parent {
    type Msg = ();
    type State = Nest;
    type Arguments = Nest;

    async fn pre_start(&self, myself: ActorRef<()>, nest: Nest) -> Outcome<Nest> {
        nest.hatch(&myself).await?;
        Ok(nest)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        nest: &mut Nest,
    ) -> Outcome<()> {
        if let SupervisionEvent::ActorFailed(..) = event {
            nest.hatch(&myself).await?;
        }
        Ok(())
    }
}

impl Contender for Ractor {
    fn about(&self) -> About {
        About {
            name: "ractor",
            packages: &["ractor"],
            configuration: "`cast` and `call` with one enum of messages; without \
                `message_span_propogation`; one thread: current-thread runtime; across: one worker \
                thread; fan-in: 8 tasks and the actor on 2 stealing workers; its bus is the \
                `OutputPort` of the feature `output-port-v2`, since the other keeps 10 events and \
                loses those of a burst; one port per type",
            fairness: "mailboxes have no bound; panics are caught and told to the supervisor, \
                which restarts by hand: as a new actor with a new reference and an empty mailbox",
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
                reader.cast(Job::Tick(number)).expect("an actor");
            }
            done.wait().await;
        };
        let sample = here().block_on(clock.bursts_async(LONG_BURST, burst));
        sample.noted(UNBOUNDED)
    }

    fn fan_in(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let both = workers(2);
        let reader = reader(&both, LONG_BURST, &done);
        let sample = clock.bursts(LONG_BURST, || {
            for _ in 0..SENDERS {
                let reader = reader.clone();
                both.spawn(async move {
                    for number in 0..LONG_BURST / SENDERS as u64 {
                        reader.cast(Job::Tick(number)).expect("an actor");
                    }
                });
            }
            done.wait_blocking();
        });
        sample.noted(UNBOUNDED)
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
                    reader.cast(Job::Tick(number)).expect("an actor");
                }
            }
            done.wait().await;
        };
        let sample = runtime.block_on(clock.bursts_async(BURST * subscribers as u64, burst));
        sample.noted(UNBOUNDED)
    }

    fn bus(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let runtime = here();
        let _inside = runtime.enter();
        let port = OutputPort::<Tick>::default();
        for _ in 0..subscribers {
            let reader = reader(&runtime, BURST, &done);
            port.subscribe(reader, |tick| Some(Job::Tick(tick.0)));
        }
        let burst = async || {
            for number in 0..BURST {
                port.send(Tick(number));
            }
            done.wait().await;
        };
        let sample = runtime.block_on(clock.bursts_async(BURST * subscribers as u64, burst));
        sample.noted(UNBOUNDED)
    }

    fn two_topics(&self, clock: Clock) -> Sample {
        let done = Done::of(AUDIENCE);
        let runtime = here();
        let _inside = runtime.enter();
        let (ticks, tocks) = (OutputPort::<Tick>::default(), OutputPort::<Tock>::default());
        for _ in 0..AUDIENCE {
            let reader = reader(&runtime, BURST, &done);
            ticks.subscribe(reader.clone(), |tick| Some(Job::Tick(tick.0)));
            tocks.subscribe(reader, |tock| Some(Job::Tock(tock.0)));
        }
        let burst = async || {
            for number in 0..BURST / 2 {
                ticks.send(Tick(number));
                tocks.send(Tock(number));
            }
            done.wait().await;
        };
        let sample = runtime.block_on(clock.bursts_async(BURST * AUDIENCE as u64, burst));
        sample.noted("unbounded, no order between them")
    }

    fn start(&self, clock: Clock) -> Sample {
        let burst = async || {
            let done = Done::of(STARTED);
            let mut idle = Vec::with_capacity(STARTED);
            let begun = Instant::now();
            for _ in 0..STARTED {
                let started = Actor::spawn(None, Idle, Arc::clone(&done)).await;
                idle.push(started.expect("an actor"));
            }
            done.wait().await;
            let spent = begun.elapsed();
            for (idle, handle) in idle {
                idle.kill();
                let _ = handle.await;
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
                let started = Actor::spawn(None, Idle, Arc::clone(&done)).await;
                idle.push(started.expect("an actor").0);
            }
            done.wait().await;
            tokio::task::yield_now().await;
            let bytes = allocator::stop_counting();
            Sample::Number(bytes as f64 / WEIGHED as f64, String::new())
        })
    }

    fn restart(&self, clock: Clock) -> Sample {
        hush();
        let nest = Nest::default();
        let sample = here().block_on(async {
            let parent = Actor::spawn(None, Parent, nest.clone()).await;
            parent.expect("a supervisor");
            let mut restarts = 0;
            let burst = async || {
                nest.phoenix().cast(Job::Boom).expect("an actor");
                while !ask(&nest.phoenix(), 1).await {
                    tokio::task::yield_now().await;
                }
                restarts += 1;
            };
            let sample = clock.bursts_async(1, burst).await;
            nest.remains.expect_restarts(restarts);
            sample
        });
        sample.noted("hand-made, new reference")
    }

    fn keep(&self) -> Sample {
        hush();
        let nest = Nest::default();
        here().block_on(async {
            let parent = Actor::spawn(None, Parent, nest.clone()).await;
            parent.expect("a supervisor");
            let phoenix = nest.phoenix();
            phoenix.cast(Job::Boom).expect("an actor");
            for number in 0..QUEUED {
                phoenix.cast(Job::Tick(number)).expect("an actor");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
        nest.remains.expect_restarts(1);
        nest.remains.sample()
    }
}

fn reader(runtime: &Runtime, burst: u64, done: &Arc<Done>) -> ActorRef<Job> {
    let started = Actor::spawn(None, Reader, Tally::new(burst, done));
    runtime.block_on(started).expect("an actor").0
}

async fn ask(actor: &ActorRef<Job>, number: u64) -> bool {
    let answer = actor.call(|reply| Job::Sum(number, reply), None).await;
    matches!(answer, Ok(CallResult::Success(_)))
}

/// Each burst is a task, as an actor that asks is.
async fn asks(clock: Clock, reader: &ActorRef<Job>) -> Sample {
    let burst = async || {
        let reader = reader.clone();
        let asker = async move {
            for number in 0..ASKS {
                assert!(ask(&reader, number).await, "no answer");
            }
        };
        tokio::spawn(asker).await.expect("it ends");
    };
    clock.bursts_async(ASKS, burst).await
}
