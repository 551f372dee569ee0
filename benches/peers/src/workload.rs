//! What is to be done: the rows of the table.
//!
//! The command line names them, the runner walks through them, and each is one method of
//! [`Contender`].
//!
//! Invariant: every number that shapes the work is here, and is the same for all contenders.
//!
//! How a contender does it is its own business.

use crate::clock::Clock;
use crate::contender::Contender;
use crate::sample::Sample;

/// What a bounded mailbox or channel holds.
pub const CAPACITY: usize = 1_024;

/// Messages in a burst on one thread. It fits every mailbox, so that nobody waits for room, and
/// 100 queues of it fit the cache, so that it is not the memory that is measured.
pub const BURST: u64 = 256;

/// Messages in a burst across threads: enough that the one wake-up at its end, which can take
/// 100 us, is not seen.
pub const LONG_BURST: u64 = 100_000;

/// Asks between two looks at the clock.
pub const ASKS: u64 = 16;

/// Who sends in the fan-in.
pub const SENDERS: usize = 8;

/// Actors that are started at a time.
pub const STARTED: usize = 1_000;

/// Idle actors that are weighed.
pub const WEIGHED: usize = 10_000;

/// Messages that are queued behind the one that panics.
pub const QUEUED: u64 = 40;

/// Subscribers of the two topics.
pub const AUDIENCE: usize = 100;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    TellHere,
    TellAcross,
    FanIn,
    AskHere,
    AskAcross,
    Publish(usize),
    Bus(usize),
    TwoTopics,
    Start,
    Weigh,
    Restart,
    Keep,
}

impl Workload {
    pub const ALL: [Workload; 16] = [
        Workload::TellHere,
        Workload::TellAcross,
        Workload::FanIn,
        Workload::AskHere,
        Workload::AskAcross,
        Workload::Publish(1),
        Workload::Publish(10),
        Workload::Publish(100),
        Workload::Bus(1),
        Workload::Bus(10),
        Workload::Bus(100),
        Workload::TwoTopics,
        Workload::Start,
        Workload::Weigh,
        Workload::Restart,
        Workload::Keep,
    ];

    /// Its name on the command line.
    pub fn name(self) -> String {
        match self {
            Workload::TellHere => "tell-here".to_owned(),
            Workload::TellAcross => "tell-across".to_owned(),
            Workload::FanIn => "fan-in".to_owned(),
            Workload::AskHere => "ask-here".to_owned(),
            Workload::AskAcross => "ask-across".to_owned(),
            Workload::Publish(subscribers) => format!("publish-{subscribers}"),
            Workload::Bus(subscribers) => format!("bus-{subscribers}"),
            Workload::TwoTopics => "two-topics".to_owned(),
            Workload::Start => "start".to_owned(),
            Workload::Weigh => "weigh".to_owned(),
            Workload::Restart => "restart".to_owned(),
            Workload::Keep => "keep".to_owned(),
        }
    }

    pub fn named(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let mut all = Self::ALL.into_iter();
        all.find(|workload| workload.name() == name)
            .ok_or_else(|| format!("the workloads are {}", known()))
    }

    /// What the table calls it, with its unit.
    pub fn title(self) -> String {
        match self {
            Workload::TellHere => "tell, bounded, one thread: ns".to_owned(),
            Workload::TellAcross => "tell, bounded, to another thread: ns".to_owned(),
            Workload::FanIn => format!("fan-in {SENDERS} to 1, bounded, two threads: ns"),
            Workload::AskHere => "ask, one thread: ns".to_owned(),
            Workload::AskAcross => "ask another thread, both parked in between: ns".to_owned(),
            Workload::Publish(n) => format!("loop of sends to {n}: ns per delivery"),
            Workload::Bus(n) => format!("own bus to {n}: ns per delivery"),
            Workload::TwoTopics => {
                format!("two event types in turn to {AUDIENCE}: ns per delivery")
            }
            Workload::Start => "start of one actor: ns".to_owned(),
            Workload::Weigh => "bytes per idle actor".to_owned(),
            Workload::Restart => "restart after a panic, to the next answer: ns".to_owned(),
            Workload::Keep => format!("of {QUEUED} queued messages, kept over that restart"),
        }
    }

    /// Whether the figures are nanoseconds.
    pub fn is_time(self) -> bool {
        !matches!(self, Workload::Weigh | Workload::Keep)
    }

    /// Does it once.
    pub fn run(self, contender: &dyn Contender, clock: Clock) -> Sample {
        match self {
            Workload::TellHere => contender.tell_here(clock),
            Workload::TellAcross => contender.tell_across(clock),
            Workload::FanIn => contender.fan_in(clock),
            Workload::AskHere => contender.ask_here(clock),
            Workload::AskAcross => contender.ask_across(clock),
            Workload::Publish(subscribers) => contender.publish(clock, subscribers),
            Workload::Bus(subscribers) => contender.bus(clock, subscribers),
            Workload::TwoTopics => contender.two_topics(clock),
            Workload::Start => contender.start(clock),
            Workload::Weigh => contender.weigh(),
            Workload::Restart => contender.restart(clock),
            Workload::Keep => contender.keep(),
        }
    }
}
