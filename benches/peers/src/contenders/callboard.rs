//! Callboard itself, with everything switched on.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use callboard::{And, Nothing, On, ServiceSpec, prelude::*};
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, spawn_local};

use crate::allocator;
use crate::clock::Clock;
use crate::contender::{About, Contender};
use crate::ground::{Remains, fail, here, hush};
use crate::sample::Sample;
use crate::tally::{Done, Tally};
use crate::workload::{ASKS, AUDIENCE, BURST, LONG_BURST, QUEUED, SENDERS, STARTED, WEIGHED};

pub struct Callboard;

struct Tick(u64);
impl Event for Tick {
    const NAME: &'static str = "tick";
}

struct Tock(u64);
impl Event for Tock {
    const NAME: &'static str = "tock";
}

/// The handler panics, at the first attempt.
struct Boom;
impl Event for Boom {
    const NAME: &'static str = "boom";
}

struct Add(u64);
impl Message for Add {
    type Reply = ();
}

struct Sum(u64);
impl Message for Sum {
    type Reply = u64;
}

/// Tells the reader so many numbers.
struct Go(u64);
impl Message for Go {
    type Reply = ();
}

struct Reader(Tally);
impl Service for Reader {}
impl Handle<Tick> for Reader {
    async fn handle(&mut self, tick: &Tick, _: &mut Context<Self>) -> Outcome {
        self.0.take(tick.0);
        Ok(())
    }
}
impl Handle<Tock> for Reader {
    async fn handle(&mut self, tock: &Tock, _: &mut Context<Self>) -> Outcome {
        self.0.take(tock.0);
        Ok(())
    }
}
impl Answer<Add> for Reader {
    async fn answer(&mut self, add: Add, _: &mut Context<Self>) -> Outcome {
        self.0.take(add.0);
        Ok(())
    }
}
impl Answer<Sum> for Reader {
    async fn answer(&mut self, sum: Sum, _: &mut Context<Self>) -> Outcome<u64> {
        Ok(self.0.take(sum.0))
    }
}

struct Sender(Address<Reader>);
impl Service for Sender {}
impl Answer<Go> for Sender {
    async fn answer(&mut self, go: Go, cx: &mut Context<Self>) -> Outcome {
        for number in 0..go.0 {
            cx.tell(&self.0, Add(number)).await?;
        }
        Ok(())
    }
}

struct Idle;
impl Service for Idle {}
impl Handle<Tick> for Idle {
    async fn handle(&mut self, _: &Tick, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

type BoomAndTick = And<On<Tick>, And<On<Boom>, Nothing>>;

struct Phoenix(Arc<Remains>);
impl Service for Phoenix {}
impl Handle<Boom> for Phoenix {
    async fn handle(&mut self, _: &Boom, cx: &mut Context<Self>) -> Outcome {
        if cx.attempt() == 1 {
            fail();
        }
        self.0.returned.store(true, Relaxed);
        Ok(())
    }
}
impl Handle<Tick> for Phoenix {
    async fn handle(&mut self, _: &Tick, _: &mut Context<Self>) -> Outcome {
        self.0.handle();
        Ok(())
    }
}
impl Answer<Sum> for Phoenix {
    async fn answer(&mut self, sum: Sum, _: &mut Context<Self>) -> Outcome<u64> {
        Ok(sum.0)
    }
}

impl Contender for Callboard {
    fn about(&self) -> About {
        About {
            name: "callboard",
            packages: &["callboard"],
            configuration: "one thread: `on_this_thread` in a `LocalSet`; across: one \
                arbiter; fan-in: 8 services on 2 arbiters; capacities of 1,024; \
                the default policy; a supervisor above each",
            fairness: "everything is on: panics caught, custody, ledger, causal order; the event \
                whose handler panicked is handled again; every ask has a deadline; services \
                have names and a subscription",
        }
    }

    fn tell_here(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let spec = reader("reader".to_owned(), BURST, &done);
        let reader = spec.address();
        local(root().child(spec), async |_| {
            let burst = async || {
                for number in 0..BURST {
                    reader.tell(Add(number)).await.expect("room");
                }
                done.wait().await;
            };
            clock.bursts_async(BURST, burst).await
        })
    }

    fn tell_across(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let spec = reader("reader".to_owned(), LONG_BURST, &done);
        let reader = spec.address();
        let _board = threads(1, root().child(spec));
        let burst = async || {
            for number in 0..LONG_BURST {
                reader.tell(Add(number)).await.expect("room");
            }
            done.wait().await;
        };
        here().block_on(clock.bursts_async(LONG_BURST, burst))
    }

    fn fan_in(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let spec = reader("reader".to_owned(), LONG_BURST, &done).arbiter(0);
        let reader = spec.address();
        let mut root = root().child(spec);
        let mut senders = Vec::new();
        for index in 0..SENDERS {
            let address = reader.clone();
            let sender = service(format!("sender{index}"), move || Sender(address.clone()));
            senders.push(sender.address());
            root = root.child(sender.arbiter(index % 2));
        }
        let _board = threads(2, root);
        clock.bursts(LONG_BURST, || {
            for sender in &senders {
                let share = Go(LONG_BURST / SENDERS as u64);
                sender.tell_blocking(share).expect("room");
            }
            done.wait_blocking();
        })
    }

    fn ask_here(&self, clock: Clock) -> Sample {
        let spec = reader("reader".to_owned(), ASKS, &Done::of(1));
        let reader = spec.address();
        local(root().child(spec), async |_| {
            asks_as_task(clock, &reader).await
        })
    }

    fn ask_across(&self, clock: Clock) -> Sample {
        let spec = reader("reader".to_owned(), ASKS, &Done::of(1));
        let reader = spec.address();
        let _board = threads(1, root().child(spec));
        here().block_on(asks(clock, &reader))
    }

    fn publish(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let (mut root, mut readers) = (root(), Vec::new());
        for index in 0..subscribers {
            let reader = reader(format!("reader{index}"), BURST, &done);
            readers.push(reader.address());
            root = root.child(reader);
        }
        local(root, async |_| {
            let burst = async || {
                for number in 0..BURST {
                    for reader in &readers {
                        reader.tell(Add(number)).await.expect("room");
                    }
                }
                done.wait().await;
            };
            clock.bursts_async(BURST * subscribers as u64, burst).await
        })
        .noted("`tell`: letters, not events")
    }

    fn bus(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let named = |index| reader(format!("reader{index}"), BURST, &done).on::<Tick>();
        let root = (0..subscribers).fold(root(), |root, index| root.child(named(index)));
        local(root, async |board| {
            let ticks = board.publisher::<Tick>();
            let burst = async || {
                for number in 0..BURST {
                    ticks.publish(Tick(number)).await.expect("room");
                }
                done.wait().await;
            };
            clock.bursts_async(BURST * subscribers as u64, burst).await
        })
    }

    fn two_topics(&self, clock: Clock) -> Sample {
        let done = Done::of(AUDIENCE);
        let named = |index| {
            let reader = reader(format!("reader{index}"), BURST, &done);
            reader.on::<Tick>().on::<Tock>()
        };
        let root = (0..AUDIENCE).fold(root(), |root, index| root.child(named(index)));
        local(root, async |board| {
            let (ticks, tocks) = (board.publisher::<Tick>(), board.publisher::<Tock>());
            let burst = async || {
                for number in 0..BURST / 2 {
                    ticks.publish(Tick(number)).await.expect("room");
                    tocks.publish(Tock(number)).await.expect("room");
                }
                done.wait().await;
            };
            clock.bursts_async(BURST * AUDIENCE as u64, burst).await
        })
        .noted("causal order")
    }

    fn start(&self, clock: Clock) -> Sample {
        let (runtime, set) = ground();
        clock.timed(STARTED as u64, || {
            set.block_on(&runtime, async {
                let begun = Instant::now();
                let board = begin(crowd(STARTED)).await;
                let spent = begun.elapsed();
                board.shutdown(secs(5)).await;
                spent
            })
        })
    }

    fn weigh(&self) -> Sample {
        let (runtime, set) = ground();
        set.block_on(&runtime, async {
            allocator::start_counting();
            let board = begin(crowd(WEIGHED)).await;
            board.settle().await.expect("quiet");
            let bytes = allocator::stop_counting();
            assert_eq!(board.services().len(), WEIGHED);
            Sample::Number(bytes as f64 / WEIGHED as f64, String::new())
        })
    }

    fn restart(&self, clock: Clock) -> Sample {
        hush();
        let remains = Remains::shared();
        let spec = phoenix(&remains);
        let address = spec.address();
        local(root().child(spec), async |board| {
            let booms = board.publisher::<Boom>();
            let mut restarts = 0;
            let burst = async || {
                booms.publish(Boom).await.expect("room");
                address.ask(Sum(1)).await.expect("an answer");
                restarts += 1;
            };
            let sample = clock.bursts_async(1, burst).await;
            remains.expect_restarts(restarts);
            sample
        })
        .noted("its event handled again")
    }

    fn keep(&self) -> Sample {
        hush();
        let remains = Remains::shared();
        local(root().child(phoenix(&remains)), async |board| {
            board.publish(Boom).await.expect("room");
            for number in 0..QUEUED {
                board.publish(Tick(number)).await.expect("room");
            }
            board.settle().await.expect("quiet");
            remains.expect_restarts(1);
            remains.sample()
        })
    }
}

/// Without a limit of restarts that a measurement would meet.
fn root() -> Supervisor {
    Supervisor::one_for_one("peers").max_restarts(u32::MAX, Duration::from_millis(1))
}

fn reader(name: String, burst: u64, done: &Arc<Done>) -> ServiceSpec<Reader> {
    let done = Arc::clone(done);
    service(name, move || Reader(Tally::new(burst, &done)))
}

fn phoenix(remains: &Arc<Remains>) -> ServiceSpec<Phoenix, BoomAndTick> {
    let remains = Arc::clone(remains);
    let life = move || {
        remains.begin();
        Phoenix(Arc::clone(&remains))
    };
    service("phoenix", life).on::<Boom>().on::<Tick>()
}

/// A tree of idle services with one subscription each.
fn crowd(size: usize) -> Supervisor {
    let idle = |index| service(format!("idle{index}"), || Idle).on::<Tick>();
    (0..size).fold(root(), |root, index| root.child(idle(index)))
}

fn ground() -> (Runtime, LocalSet) {
    (here(), LocalSet::new())
}

async fn begin(root: Supervisor) -> Board {
    let started = Board::builder().on_this_thread().start(root).await;
    started.expect("a board")
}

/// Does the work beside a board on the same thread.
fn local(root: Supervisor, work: impl AsyncFnOnce(Board) -> Sample) -> Sample {
    let (runtime, set) = ground();
    set.block_on(&runtime, async { work(begin(root).await).await })
}

fn threads(arbiters: usize, root: Supervisor) -> Board {
    let started = Board::builder().arbiters(arbiters).start(root);
    started.expect("a board")
}

async fn asks(clock: Clock, reader: &Address<Reader>) -> Sample {
    let burst = async || {
        tokio::spawn(ask_all(reader.clone()))
            .await
            .expect("it ends")
    };
    clock.bursts_async(ASKS, burst).await
}

/// Each burst is a task, as a service that asks is.
async fn asks_as_task(clock: Clock, reader: &Address<Reader>) -> Sample {
    let burst = async || {
        let asker = ask_all(reader.clone());
        spawn_local(asker).await.expect("it ends");
    };
    clock.bursts_async(ASKS, burst).await
}

async fn ask_all(reader: Address<Reader>) {
    for number in 0..ASKS {
        reader.ask(Sum(number)).await.expect("an answer");
    }
}
