//! What can be done to a service from outside: an event that means one of them.
//!
//! It is an event and no letter, because events are tried again: most kinds spoil the first
//! attempt only, so that each shows how its event comes through all the same.

use std::future::pending;
use std::thread;

use callboard::prelude::*;

/// How panics on purpose begin.
pub(crate) const ON_PURPOSE: &str = "on purpose";
/// How long `block` holds the thread.
const BLOCKED: Duration = secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first attempt fails.
    Fail,
    /// The first attempt panics.
    Panic,
    /// The first attempt never ends, and lets its thread go.
    Hang,
    /// Its thread is held for a while.
    Block,
    /// Every attempt fails.
    Poison,
}

/// Trouble for the service at a path; all others pass over it.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) path: String,
    pub(crate) kind: Kind,
}

impl Event for Trouble {
    const NAME: &'static str = "trouble";
}

/// What a service says of its trouble. The reporter prints it: an event comes after its causes, so
/// this stands where it belongs among the ends and starts that are told there.
#[derive(Debug)]
pub(crate) struct Word(pub(crate) String);

impl Event for Word {
    const NAME: &'static str = "word";
}

impl Trouble {
    /// Happens to the service that handles it, if it is meant.
    pub(crate) async fn befall<S: Service>(&self, cx: &Context<S>) -> Outcome {
        if self.path != cx.path() {
            return Ok(());
        }
        let attempt = cx.attempt();
        let first = attempt == 1;
        let word = match self.kind {
            Kind::Panic if first => panic!("{ON_PURPOSE}"),
            Kind::Fail if first => "fails",
            Kind::Poison => "fails",
            Kind::Hang if first => "waits for ever",
            Kind::Block => "holds its thread for a second",
            _ => "is well again",
        };
        let word = format!("{} {word}, attempt {attempt}", self.path);
        cx.publish(Word(word)).await?;
        match self.kind {
            Kind::Fail if first => Err(Failure::new(ON_PURPOSE)),
            Kind::Poison => Err(Failure::new(ON_PURPOSE)),
            Kind::Hang if first => pending().await,
            Kind::Block => {
                thread::sleep(BLOCKED);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
