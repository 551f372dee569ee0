//! What can be done to a service from outside: an event that means one of them.
//!
//! It is an event and no letter, because events are tried again: most kinds spoil the first
//! attempt only, so that each shows how its event comes through all the same.

use std::future::pending;
use std::thread;

use callboard::prelude::*;

use crate::say;

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

impl Trouble {
    /// Happens to the service that handles it, if it is meant.
    pub(crate) async fn befall<S: Service>(&self, cx: &Context<S>) -> Outcome {
        if self.path != cx.path() {
            return Ok(());
        }
        let (path, attempt) = (&self.path, cx.attempt());
        let first = attempt == 1;
        match self.kind {
            Kind::Fail if first => say(&format!("    {path} fails, attempt 1")),
            Kind::Poison => say(&format!("    {path} fails, attempt {attempt}")),
            Kind::Panic if first => panic!("{ON_PURPOSE}"),
            Kind::Hang if first => {
                say(&format!("    {path} waits for ever, attempt 1"));
                pending().await
            }
            Kind::Block => {
                say(&format!("    {path} holds its thread for {BLOCKED:?}"));
                thread::sleep(BLOCKED);
                return Ok(());
            }
            _ => {
                say(&format!("    {path} is well again, attempt {attempt}"));
                return Ok(());
            }
        }
        Err(Failure::new(ON_PURPOSE))
    }
}
