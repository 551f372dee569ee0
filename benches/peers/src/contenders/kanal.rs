//! Channels of kanal between threads: the raw limit.

use std::sync::Arc;

use kanal::{Receiver, Sender, bounded};

use crate::clock::Clock;
use crate::contender::{About, Contender};
use crate::ground::Crowd;
use crate::sample::Sample;
use crate::tally::{Done, Tally};
use crate::workload::{ASKS, AUDIENCE, BURST, CAPACITY, LONG_BURST, SENDERS};

pub struct Kanal;

/// Two types through one channel.
enum Either {
    Tick(u64),
    Tock(u64),
}

impl Contender for Kanal {
    fn about(&self) -> About {
        About {
            name: "kanal",
            packages: &["kanal"],
            configuration: "bounded channels of 1,024, blocking; one thread: a burst is put in and \
                taken out by the same thread; across: one thread each",
            fairness: "a channel, not an actor: no task is scheduled, nothing is supervised, and \
                a receiver costs a thread, so starting and weighing are left out",
        }
    }

    fn tell_here(&self, clock: Clock) -> Sample {
        self.publish(clock, 1)
    }

    fn tell_across(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let sender = reader(&done);
        clock.bursts(LONG_BURST, || {
            for number in 0..LONG_BURST {
                sender.send(number).expect("a receiver");
            }
            done.wait_blocking();
        })
    }

    fn fan_in(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let sender = reader(&done);
        let crowd = Crowd::new(SENDERS, || {
            let sender = sender.clone();
            move || {
                for number in 0..LONG_BURST / SENDERS as u64 {
                    sender.send(number).expect("a receiver");
                }
            }
        });
        let sample = clock.bursts(LONG_BURST, || {
            crowd.go();
            done.wait_blocking();
        });
        sample.noted("9 threads")
    }

    fn ask_here(&self, _: Clock) -> Sample {
        Sample::words("no actor on the same thread")
    }

    fn ask_across(&self, clock: Clock) -> Sample {
        let (questions, asked) = bounded::<u64>(CAPACITY);
        let (replies, answers) = bounded(1);
        std::thread::spawn(move || {
            let mut tally = Tally::new(ASKS, &Done::of(1));
            while let Ok(number) = asked.recv() {
                let _ = replies.send(tally.take(number));
            }
        });
        let sample = clock.bursts(ASKS, || {
            for number in 0..ASKS {
                questions.send(number).expect("a receiver");
                answers.recv().expect("an answer");
            }
        });
        sample.noted("spins before it parks; one reply channel for all")
    }

    fn publish(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let mut readers = readers::<u64>(subscribers, &done);
        clock.bursts(BURST * subscribers as u64, || {
            for number in 0..BURST {
                for (sender, _, _) in &readers {
                    sender.send(number).expect("a receiver");
                }
            }
            for (_, receiver, tally) in &mut readers {
                for number in drained(receiver) {
                    tally.take(number);
                }
            }
            done.expect();
        })
    }

    fn bus(&self, _: Clock, _: usize) -> Sample {
        Sample::words("none")
    }

    fn two_topics(&self, clock: Clock) -> Sample {
        let done = Done::of(AUDIENCE);
        let mut readers = readers::<Either>(AUDIENCE, &done);
        let sample = clock.bursts(BURST * AUDIENCE as u64, || {
            for number in 0..BURST / 2 {
                for (sender, _, _) in &readers {
                    sender.send(Either::Tick(number)).expect("a receiver");
                }
                for (sender, _, _) in &readers {
                    sender.send(Either::Tock(number)).expect("a receiver");
                }
            }
            for (_, receiver, tally) in &mut readers {
                for either in drained(receiver) {
                    let (Either::Tick(number) | Either::Tock(number)) = either;
                    tally.take(number);
                }
            }
            done.expect();
        });
        sample.noted("one channel of an enum, loop")
    }

    fn start(&self, _: Clock) -> Sample {
        Sample::words("no actors")
    }

    fn weigh(&self) -> Sample {
        Sample::words("no actors")
    }

    fn restart(&self, _: Clock) -> Sample {
        Sample::words("no panics caught")
    }

    fn keep(&self) -> Sample {
        Sample::words("no panics caught")
    }
}

fn reader(done: &Arc<Done>) -> Sender<u64> {
    let (sender, receiver) = bounded(CAPACITY);
    let mut tally = Tally::new(LONG_BURST, done);
    std::thread::spawn(move || {
        while let Ok(number) = receiver.recv() {
            tally.take(number);
        }
    });
    sender
}

fn readers<M>(count: usize, done: &Arc<Done>) -> Vec<(Sender<M>, Receiver<M>, Tally)> {
    let reader = |_| {
        let (sender, receiver) = bounded(CAPACITY);
        (sender, receiver, Tally::new(BURST, done))
    };
    (0..count).map(reader).collect()
}

/// What is in the channel now.
fn drained<M>(receiver: &Receiver<M>) -> impl Iterator<Item = M> {
    std::iter::from_fn(|| receiver.try_recv().expect("a sender"))
}
