//! Stakker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};
use stakker::sync::{Channel, ChannelGuard};
use stakker::{ActorOwn, CX, actor, call, fwd_to, ret, ret_nop, ret_some_to};

use crate::allocator;
use crate::clock::Clock;
use crate::contender::{About, Contender};
use crate::ground::Crowd;
use crate::sample::Sample;
use crate::tally::{Done, Tally};
use crate::workload::{ASKS, AUDIENCE, BURST, LONG_BURST, SENDERS, STARTED, WEIGHED};

pub struct Stakker;

const UNBOUNDED: &str = "unbounded";

type Question = (u64, Sender<u64>);

struct Reader {
    tally: Tally,
    _guards: Option<(ChannelGuard, ChannelGuard)>,
}

impl Reader {
    fn init(_: CX![], tally: Tally) -> Option<Self> {
        let _guards = None;
        Some(Reader { tally, _guards })
    }

    /// Opens channels for other threads, and hands them out.
    fn open(cx: CX![], tally: Tally, out: Sender<Doors>) -> Option<Self> {
        let ticks = fwd_to!([cx], tick() as (u64));
        let (ticks, first) = Channel::new(cx, ticks);
        let questions = fwd_to!([cx], answer() as (Question));
        let (questions, second) = Channel::new(cx, questions);
        let _guards = Some((first, second));
        out.send(Doors { ticks, questions }).ok()?;
        Some(Reader { tally, _guards })
    }

    fn tick(&mut self, _: CX![], number: u64) {
        self.tally.take(number);
    }

    fn tock(&mut self, _: CX![], number: u64) {
        self.tally.take(number);
    }

    fn sum(&mut self, _: CX![], number: u64, reply: stakker::Ret<u64>) {
        ret!([reply], self.tally.take(number));
    }

    fn answer(&mut self, _: CX![], (number, reply): Question) {
        let _ = reply.send(self.tally.take(number));
    }
}

/// Asks the next question when the last is answered.
struct Asker {
    reader: stakker::Actor<Reader>,
    left: u64,
}

impl Asker {
    fn init(_: CX![], reader: stakker::Actor<Reader>) -> Option<Self> {
        Some(Asker { reader, left: 0 })
    }

    fn begin(&mut self, cx: CX![], count: u64) {
        self.left = count;
        let reply = ret_some_to!([cx], next() as (u64));
        call!([self.reader], sum(count, reply));
    }

    fn next(&mut self, cx: CX![], _: u64) {
        self.left -= 1;
        if self.left > 0 {
            let reply = ret_some_to!([cx], next() as (u64));
            call!([self.reader], sum(self.left, reply));
        }
    }
}

struct Idle;
impl Idle {
    fn init(_: CX![], done: Arc<Done>) -> Option<Self> {
        done.arrive();
        Some(Idle)
    }
}

impl Contender for Stakker {
    fn about(&self) -> About {
        About {
            name: "stakker",
            packages: &["stakker"],
            configuration: "one thread: `call!` and `run`; across: a thread that runs it and \
                parks, reached through its `Channel`; answers to other threads through \
                crossbeam-channel",
            fairness: "queues have no bound; calls are plain functions on one thread, nothing is \
                scheduled by a runtime, and no panic is caught: it ends all actors of the thread",
        }
    }

    fn tell_here(&self, clock: Clock) -> Sample {
        self.publish(clock, 1)
    }

    fn tell_across(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let house = House::new(LONG_BURST, &done);
        let sample = clock.bursts(LONG_BURST, || {
            for number in 0..LONG_BURST {
                assert!(house.doors.ticks.send(number));
            }
            done.wait_blocking();
        });
        sample.noted(UNBOUNDED)
    }

    fn fan_in(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let house = House::new(LONG_BURST, &done);
        let crowd = Crowd::new(SENDERS, || {
            let ticks = house.doors.ticks.clone();
            move || {
                for number in 0..LONG_BURST / SENDERS as u64 {
                    assert!(ticks.send(number));
                }
            }
        });
        let sample = clock.bursts(LONG_BURST, || {
            crowd.go();
            done.wait_blocking();
        });
        sample.noted("unbounded, 9 threads")
    }

    fn ask_here(&self, clock: Clock) -> Sample {
        let done = Done::of(1);
        let mut system = stakker::Stakker::new(Instant::now());
        let system = &mut system;
        let reader = reader(system, ASKS, &done);
        let asker = actor!(system, Asker::init(reader.clone()), ret_nop!());
        clock.bursts(ASKS, || {
            call!([asker, system], begin(ASKS));
            system.run(Instant::now(), false);
            done.expect();
        })
    }

    fn ask_across(&self, clock: Clock) -> Sample {
        let house = House::new(ASKS, &Done::of(1));
        let (reply, answers) = bounded(1);
        let sample = clock.bursts(ASKS, || {
            for number in 0..ASKS {
                assert!(house.doors.questions.send((number, reply.clone())));
                answers.recv().expect("an answer");
            }
        });
        sample.noted("answer through crossbeam, which spins before it parks")
    }

    fn publish(&self, clock: Clock, subscribers: usize) -> Sample {
        let done = Done::of(subscribers);
        let mut system = stakker::Stakker::new(Instant::now());
        let system = &mut system;
        let readers: Vec<_> = (0..subscribers)
            .map(|_| reader(system, BURST, &done))
            .collect();
        let sample = clock.bursts(BURST * subscribers as u64, || {
            for number in 0..BURST {
                for reader in &readers {
                    call!([reader, system], tick(number));
                }
            }
            system.run(Instant::now(), false);
            done.expect();
        });
        sample.noted(UNBOUNDED)
    }

    fn bus(&self, _: Clock, _: usize) -> Sample {
        Sample::words("none")
    }

    fn two_topics(&self, clock: Clock) -> Sample {
        let done = Done::of(AUDIENCE);
        let mut system = stakker::Stakker::new(Instant::now());
        let system = &mut system;
        let readers: Vec<_> = (0..AUDIENCE)
            .map(|_| reader(system, BURST, &done))
            .collect();
        let sample = clock.bursts(BURST * AUDIENCE as u64, || {
            for number in 0..BURST / 2 {
                for reader in &readers {
                    call!([reader, system], tick(number));
                }
                for reader in &readers {
                    call!([reader, system], tock(number));
                }
            }
            system.run(Instant::now(), false);
            done.expect();
        });
        sample.noted("unbounded, loop")
    }

    fn start(&self, clock: Clock) -> Sample {
        let mut system = stakker::Stakker::new(Instant::now());
        clock.timed(STARTED as u64, || {
            let done = Done::of(STARTED);
            let mut idle = Vec::with_capacity(STARTED);
            let begun = Instant::now();
            start(&mut system, STARTED, &done, &mut idle);
            done.expect();
            let spent = begun.elapsed();
            drop(idle);
            system.run(Instant::now(), false);
            spent
        })
    }

    fn weigh(&self) -> Sample {
        let done = Done::of(WEIGHED);
        let mut idle = Vec::with_capacity(WEIGHED);
        let mut system = stakker::Stakker::new(Instant::now());
        allocator::start_counting();
        start(&mut system, WEIGHED, &done, &mut idle);
        let bytes = allocator::stop_counting();
        done.expect();
        Sample::Number(bytes as f64 / WEIGHED as f64, String::new())
    }

    fn restart(&self, _: Clock) -> Sample {
        Sample::words("no panics caught")
    }

    fn keep(&self) -> Sample {
        Sample::words("no panics caught")
    }
}

fn reader(system: &mut stakker::Stakker, burst: u64, done: &Arc<Done>) -> ActorOwn<Reader> {
    let tally = Tally::new(burst, done);
    let reader = actor!(system, Reader::init(tally), ret_nop!());
    system.run(Instant::now(), false);
    reader
}

fn start(
    system: &mut stakker::Stakker,
    count: usize,
    done: &Arc<Done>,
    idle: &mut Vec<ActorOwn<Idle>>,
) {
    for _ in 0..count {
        idle.push(actor!(system, Idle::init(Arc::clone(done)), ret_nop!()));
    }
    system.run(Instant::now(), false);
}

/// How other threads reach a reader.
struct Doors {
    ticks: Channel<u64>,
    questions: Channel<Question>,
}

/// A thread that runs one reader, and parks when there is nothing to do.
struct House {
    doors: Doors,
    over: Arc<AtomicBool>,
}

impl House {
    fn new(burst: u64, done: &Arc<Done>) -> Self {
        let (out, doors) = bounded(1);
        let over = Arc::new(AtomicBool::new(false));
        let (ending, tally) = (Arc::clone(&over), Tally::new(burst, done));
        std::thread::spawn(move || live(tally, out, &ending));
        let doors = doors.recv().expect("doors");
        House { doors, over }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

fn live(tally: Tally, out: Sender<Doors>, over: &AtomicBool) {
    let mut system = stakker::Stakker::new(Instant::now());
    let system = &mut system;
    let thread = std::thread::current();
    system.set_poll_waker(move || thread.unpark());
    let _reader = actor!(system, Reader::open(tally, out), ret_nop!());
    while !over.load(Relaxed) {
        system.poll_wake();
        system.run(Instant::now(), false);
        std::thread::park();
    }
}
