//! Xtra.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use xtra::prelude::{Actor, Address, Context, Handler, Mailbox};

use crate::allocator;
use crate::clock::Clock;
use crate::contender::{About, Contender};
use crate::ground::{Remains, fail, here, hush, workers};
use crate::sample::Sample;
use crate::tally::{Done, Tally};
use crate::workload::{
    ASKS, AUDIENCE, BURST, CAPACITY, LONG_BURST, QUEUED, SENDERS, STARTED, WEIGHED,
};

pub struct Xtra;

struct Tick(u64);

struct Tock(u64);

struct Sum(u64);

struct Boom;

struct Reader(Tally);
impl Actor for Reader {
    type Stop = ();

    async fn stopped(self) {}
}
impl Handler<Tick> for Reader {
    type Return = ();

    async fn handle(&mut self, tick: Tick, _: &mut Context<Self>) {
        self.0.take(tick.0);
    }
}
impl Handler<Tock> for Reader {
    type Return = ();

    async fn handle(&mut self, tock: Tock, _: &mut Context<Self>) {
        self.0.take(tock.0);
    }
}
impl Handler<Sum> for Reader {
    type Return = u64;

    async fn handle(&mut self, sum: Sum, _: &mut Context<Self>) -> u64 {
        self.0.take(sum.0)
    }
}

struct Idle(Arc<Done>);
impl Actor for Idle {
    type Stop = ();

    async fn started(&mut self, _: &Mailbox<Self>) -> Result<(), ()> {
        self.0.arrive();
        Ok(())
    }

    async fn stopped(self) {}
}

struct Phoenix(Arc<Remains>);
impl Actor for Phoenix {
    type Stop = ();

    async fn started(&mut self, _: &Mailbox<Self>) -> Result<(), ()> {
        self.0.begin();
        Ok(())
    }

    async fn stopped(self) {}
}
impl Handler<Boom> for Phoenix {
    type Return = ();

    async fn handle(&mut self, _: Boom, _: &mut Context<Self>) {
        fail()
    }
}
impl Handler<Tick> for Phoenix {
    type Return = ();

    async fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        self.0.handle();
    }
}
impl Handler<Sum> for Phoenix {
    type Return = u64;

    async fn handle(&mut self, sum: Sum, _: &mut Context<Self>) -> u64 {
        sum.0
    }
}

impl Contender for Xtra {
    fn about(&self) -> About {
        About {
            name: "xtra",
            packages: &["xtra"],
            configuration: "mailboxes of 1,024, `detach` for tells; one thread: current-thread \
                runtime; across: one worker thread; fan-in: 8 tasks and the actor on 2 stealing \
                workers",
            fairness: "no supervisor and no panic caught: restarts are hand-made, by a task that \
                runs a new actor on a clone of the mailbox; its locks spin, which costs time \
                slices on a busy machine; no bus for events of several actors",
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
            send(&reader, LONG_BURST).await;
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
                let reader = reader.clone();
                both.spawn(async move { send(&reader, LONG_BURST / SENDERS as u64).await });
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
                    tell(reader, Tick(number)).await;
                }
            }
            done.wait().await;
        };
        runtime.block_on(clock.bursts_async(BURST * subscribers as u64, burst))
    }

    fn bus(&self, _: Clock, _: usize) -> Sample {
        Sample::words("none")
    }

    fn two_topics(&self, clock: Clock) -> Sample {
        let done = Done::of(AUDIENCE);
        let runtime = here();
        let reader = |_| reader(&runtime, BURST, &done);
        let readers: Vec<_> = (0..AUDIENCE).map(reader).collect();
        let burst = async || {
            for number in 0..BURST / 2 {
                for reader in &readers {
                    tell(reader, Tick(number)).await;
                }
                for reader in &readers {
                    tell(reader, Tock(number)).await;
                }
            }
            done.wait().await;
        };
        let sample = runtime.block_on(clock.bursts_async(BURST * AUDIENCE as u64, burst));
        sample.noted("loop")
    }

    fn start(&self, clock: Clock) -> Sample {
        let burst = async || {
            let done = Done::of(STARTED);
            let mut idle = Vec::with_capacity(STARTED);
            let begun = Instant::now();
            for _ in 0..STARTED {
                idle.push(spawn(Idle(Arc::clone(&done))));
            }
            done.wait().await;
            let spent = begun.elapsed();
            drop(idle);
            tokio::task::yield_now().await;
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
                idle.push(spawn(Idle(Arc::clone(&done))));
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
        let runtime = here();
        let phoenix = phoenix(&runtime, &remains);
        let mut restarts = 0;
        let burst = async || {
            tell(&phoenix, Boom).await;
            while phoenix.send(Sum(1)).await.is_err() {
                tokio::task::yield_now().await;
            }
            restarts += 1;
        };
        let sample = runtime.block_on(clock.bursts_async(1, burst));
        remains.expect_restarts(restarts);
        sample.noted("hand-made")
    }

    fn keep(&self) -> Sample {
        hush();
        let remains = Remains::shared();
        let runtime = here();
        let phoenix = phoenix(&runtime, &remains);
        runtime.block_on(async {
            tell(&phoenix, Boom).await;
            for number in 0..QUEUED {
                tell(&phoenix, Tick(number)).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
        remains.expect_restarts(1);
        remains.sample()
    }
}

fn spawn<A: Actor<Stop = ()>>(actor: A) -> Address<A> {
    xtra::spawn_tokio(actor, Mailbox::bounded(CAPACITY))
}

fn reader(runtime: &Runtime, burst: u64, done: &Arc<Done>) -> Address<Reader> {
    let _inside = runtime.enter();
    spawn(Reader(Tally::new(burst, done)))
}

/// Waits for room, but not for the handler.
async fn tell<A: Handler<M>, M: Send + 'static>(to: &Address<A>, message: M) {
    drop(to.send(message).detach().await.expect("an actor"));
}

async fn send(reader: &Address<Reader>, count: u64) {
    for number in 0..count {
        tell(reader, Tick(number)).await;
    }
}

/// Each burst is a task, as an actor that asks is.
async fn asks(clock: Clock, reader: &Address<Reader>) -> Sample {
    let burst = async || {
        let reader = reader.clone();
        let asker = async move {
            for number in 0..ASKS {
                reader.send(Sum(number)).await.expect("an answer");
            }
        };
        tokio::spawn(asker).await.expect("it ends");
    };
    clock.bursts_async(ASKS, burst).await
}

/// Runs the next life on the same mailbox whenever the task of the last has panicked.
fn phoenix(runtime: &Runtime, remains: &Arc<Remains>) -> Address<Phoenix> {
    let (address, mailbox) = Mailbox::bounded(CAPACITY);
    let remains = Arc::clone(remains);
    runtime.spawn(async move {
        loop {
            let life = xtra::run(mailbox.clone(), Phoenix(Arc::clone(&remains)));
            if tokio::spawn(life).await.is_ok() {
                return;
            }
        }
    });
    address
}
