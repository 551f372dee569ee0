//! Tasks of tokio that own a channel: what one writes without a framework.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{Mutex, broadcast, mpsc, oneshot};

use crate::allocator;
use crate::clock::Clock;
use crate::contender::{About, Contender};
use crate::ground::{Remains, fail, here, hush, workers};
use crate::sample::Sample;
use crate::tally::{Done, Tally};
use crate::workload::{
    ASKS, AUDIENCE, BURST, CAPACITY, LONG_BURST, QUEUED, SENDERS, STARTED, WEIGHED,
};

pub struct Tokio;

/// What a worker is sent that can panic.
enum Job {
    Boom,
    Add,
    Sum(u64, oneshot::Sender<u64>),
}

type Question = (u64, oneshot::Sender<u64>);

impl Contender for Tokio {
    fn about(&self) -> About {
        About {
            name: "tokio",
            packages: &["tokio"],
            configuration: "a task with a bounded `mpsc` of 1,024, replies by `oneshot`; its bus \
                is `broadcast` of 1,024; one thread: current-thread runtime; across: one worker \
                thread; fan-in: 8 tasks and the receiver on 2 stealing workers",
            fairness: "channels and tasks, no actors: no supervisor, no panic caught; `broadcast` \
                loses the oldest events of a receiver that lags; restarts are hand-made, with the \
                receiver kept outside the worker's task",
        }
    }

    fn tell_here(&self, clock: Clock) -> Sample {
        self.publish(clock, 1)
    }

    fn tell_across(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let other = workers(1);
        let sender = reader(&other, LONG_BURST, &done);
        let burst = async || {
            for number in 0..LONG_BURST {
                sender.send(number).await.expect("a receiver");
            }
            done.wait().await;
        };
        here().block_on(clock.bursts_async(LONG_BURST, burst))
    }

    fn fan_in(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let both = workers(2);
        let sender = reader(&both, LONG_BURST, &done);
        clock.bursts(LONG_BURST, || {
            for _ in 0..SENDERS {
                let sender = sender.clone();
                both.spawn(async move {
                    for number in 0..LONG_BURST / SENDERS as u64 {
                        sender.send(number).await.expect("a receiver");
                    }
                });
            }
            done.wait_blocking();
        })
    }

    fn ask_here(&self, clock: Clock) -> Sample {
        let runtime = here();
        let sender = answerer(&runtime);
        runtime.block_on(asks(clock, &sender))
    }

    fn ask_across(&self, clock: Clock) -> Sample {
        let other = workers(1);
        let sender = answerer(&other);
        here().block_on(asks(clock, &sender))
    }

    fn publish(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let runtime = here();
        let reader = |_| reader(&runtime, BURST, &done);
        let senders: Vec<_> = (0..subscribers).map(reader).collect();
        let burst = async || {
            for number in 0..BURST {
                for sender in &senders {
                    sender.send(number).await.expect("a receiver");
                }
            }
            done.wait().await;
        };
        runtime.block_on(clock.bursts_async(BURST * subscribers as u64, burst))
    }

    fn bus(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let runtime = here();
        let (sender, _) = broadcast::channel(CAPACITY);
        for _ in 0..subscribers {
            let (mut receiver, mut tally) = (sender.subscribe(), Tally::new(BURST, &done));
            runtime.spawn(async move {
                while let Ok(number) = receiver.recv().await {
                    tally.take(number);
                }
            });
        }
        let burst = async || {
            for number in 0..BURST {
                sender.send(number).expect("receivers");
            }
            done.wait().await;
        };
        let sample = runtime.block_on(clock.bursts_async(BURST * subscribers as u64, burst));
        sample.noted("receivers that lag lose events")
    }

    fn two_topics(&self, clock: Clock) -> Sample {
        let done = Done::of(AUDIENCE);
        let runtime = here();
        let (ticks, _) = broadcast::channel::<u64>(CAPACITY);
        let (tocks, _) = broadcast::channel::<u64>(CAPACITY);
        for _ in 0..AUDIENCE {
            let (mut ticks, mut tocks) = (ticks.subscribe(), tocks.subscribe());
            let mut tally = Tally::new(BURST, &done);
            runtime.spawn(async move {
                loop {
                    let next = tokio::select! {
                        tick = ticks.recv() => tick,
                        tock = tocks.recv() => tock,
                    };
                    let Ok(number) = next else { return };
                    tally.take(number);
                }
            });
        }
        let burst = async || {
            for number in 0..BURST / 2 {
                ticks.send(number).expect("receivers");
                tocks.send(number).expect("receivers");
            }
            done.wait().await;
        };
        let sample = runtime.block_on(clock.bursts_async(BURST * AUDIENCE as u64, burst));
        sample.noted("two `broadcast`, no order between them")
    }

    fn start(&self, clock: Clock) -> Sample {
        let runtime = here();
        let burst = async || {
            let done = Done::of(STARTED);
            let mut senders = Vec::with_capacity(STARTED);
            let begun = Instant::now();
            for _ in 0..STARTED {
                senders.push(idle(&done));
            }
            done.wait().await;
            let spent = begun.elapsed();
            drop(senders);
            tokio::task::yield_now().await;
            spent
        };
        runtime.block_on(clock.timed_async(STARTED as u64, burst))
    }

    fn weigh(&self) -> Sample {
        let done = Done::of(WEIGHED);
        let mut senders = Vec::with_capacity(WEIGHED);
        here().block_on(async {
            allocator::start_counting();
            for _ in 0..WEIGHED {
                senders.push(idle(&done));
            }
            done.wait().await;
            let bytes = allocator::stop_counting();
            Sample::Number(bytes as f64 / WEIGHED as f64, String::new())
        })
    }

    fn restart(&self, clock: Clock) -> Sample {
        hush();
        let remains = Remains::shared();
        let runtime = here();
        let sender = phoenix(&runtime, &remains);
        let mut restarts = 0;
        let burst = async || {
            sender.send(Job::Boom).await.expect("a receiver");
            let (reply, answer) = oneshot::channel();
            sender.send(Job::Sum(1, reply)).await.expect("a receiver");
            answer.await.expect("an answer");
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
        let sender = phoenix(&runtime, &remains);
        runtime.block_on(async {
            sender.send(Job::Boom).await.expect("a receiver");
            for _ in 0..QUEUED {
                sender.send(Job::Add).await.expect("a receiver");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
        remains.expect_restarts(1);
        remains.sample()
    }
}

fn reader(runtime: &Runtime, burst: u64, done: &Arc<Done>) -> mpsc::Sender<u64> {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let mut tally = Tally::new(burst, done);
    runtime.spawn(async move {
        while let Some(number) = receiver.recv().await {
            tally.take(number);
        }
    });
    sender
}

fn answerer(runtime: &Runtime) -> mpsc::Sender<Question> {
    let (sender, mut receiver) = mpsc::channel::<Question>(CAPACITY);
    let mut tally = Tally::new(ASKS, &Done::of(1));
    runtime.spawn(async move {
        while let Some((number, reply)) = receiver.recv().await {
            let _ = reply.send(tally.take(number));
        }
    });
    sender
}

/// Each burst is a task, as an actor that asks is: the outermost future of a runtime pays a look at
/// its driver for each wait.
async fn asks(clock: Clock, sender: &mpsc::Sender<Question>) -> Sample {
    let burst = async || {
        let sender = sender.clone();
        let asker = async move {
            for number in 0..ASKS {
                let (reply, answer) = oneshot::channel();
                sender.send((number, reply)).await.expect("a receiver");
                answer.await.expect("an answer");
            }
        };
        tokio::spawn(asker).await.expect("it ends");
    };
    clock.bursts_async(ASKS, burst).await
}

fn idle(done: &Arc<Done>) -> mpsc::Sender<u64> {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let done = Arc::clone(done);
    tokio::spawn(async move {
        done.arrive();
        drop(done);
        while receiver.recv().await.is_some() {}
    });
    sender
}

/// Starts the worker again with the same receiver whenever its task has panicked.
fn phoenix(runtime: &Runtime, remains: &Arc<Remains>) -> mpsc::Sender<Job> {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let (receiver, remains) = (Arc::new(Mutex::new(receiver)), Arc::clone(remains));
    runtime.spawn(async move {
        loop {
            let life = work(Arc::clone(&receiver), Arc::clone(&remains));
            if tokio::spawn(life).await.is_ok() {
                return;
            }
        }
    });
    sender
}

async fn work(receiver: Arc<Mutex<mpsc::Receiver<Job>>>, remains: Arc<Remains>) {
    remains.begin();
    let mut receiver = receiver.lock().await;
    while let Some(job) = receiver.recv().await {
        match job {
            Job::Boom => fail(),
            Job::Add => remains.handle(),
            Job::Sum(number, reply) => {
                let _ = reply.send(number);
            }
        }
    }
}
