//! Who takes part: the columns of the table.
//!
//! One file per contender below `contenders/`, all of the same shape. The child process calls one
//! method of one of them.
//!
//! Invariant: no method has a default, so that each contender either does the work or says why
//! not.
//!
//! A contender knows nothing of rounds, tables and the others.

use crate::clock::Clock;
use crate::contenders::{
    actix::Actix, callboard::Callboard, crossbeam::Crossbeam, kameo::Kameo, kanal::Kanal,
    ractor::Ractor, stakker::Stakker, tokio::Tokio, xtra::Xtra,
};
use crate::sample::Sample;

/// What has to be known about a contender to read its figures.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its column, and its name on the command line.
    pub name: &'static str,
    /// The packages it is made of, as Cargo.lock names them.
    pub packages: &'static [&'static str],
    /// How it is set up.
    pub configuration: &'static str,
    /// What it does less, or more, than the others for these figures.
    pub fairness: &'static str,
}

/// The same work, done with one crate. See [`Workload`](crate::workload::Workload).
pub trait Contender {
    fn about(&self) -> About;

    /// Bursts of messages to one actor on the sender's thread.
    fn tell_here(&self, clock: Clock) -> Sample;

    /// The same to an actor on another thread; the sender waits for room.
    fn tell_across(&self, clock: Clock) -> Sample;

    /// Many senders and one actor share two threads.
    fn fan_in(&self, clock: Clock) -> Sample;

    /// One question after the other, each with its answer, on one thread.
    fn ask_here(&self, clock: Clock) -> Sample;

    /// The same across threads: each waits, parked, while the other works.
    fn ask_across(&self, clock: Clock) -> Sample;

    /// Each event is sent to every subscriber, in a loop; one thread.
    fn publish(&self, clock: Clock, subscribers: usize) -> Sample;

    /// Each event is published on the contender's own bus; one thread.
    fn bus(&self, clock: Clock, subscribers: usize) -> Sample;

    /// Two event types in turn to many subscribers of both, by the bus if there is one.
    fn two_topics(&self, clock: Clock) -> Sample;

    /// From the call until the actors have begun to run; ending them is not counted.
    fn start(&self, clock: Clock) -> Sample;

    /// What stays allocated for each actor that has started and has nothing to do.
    fn weigh(&self) -> Sample;

    /// From a message whose handler panics to the answer to the next question.
    fn restart(&self, clock: Clock) -> Sample;

    /// What is left of the queue behind a message whose handler panics, and of that message.
    fn keep(&self) -> Sample;
}

/// All of them, in the order of the columns.
pub const CONTENDERS: [&dyn Contender; 9] = [
    &Callboard, &Actix, &Ractor, &Kameo, &Xtra, &Stakker, &Tokio, &Crossbeam, &Kanal,
];

/// The contender of that name.
pub fn named(name: &str) -> Result<&'static dyn Contender, String> {
    let known = || {
        CONTENDERS
            .map(|contender| contender.about().name)
            .join(", ")
    };
    let mut all = CONTENDERS.into_iter();
    all.find(|contender| contender.about().name == name)
        .ok_or_else(|| format!("the contenders are {}", known()))
}
