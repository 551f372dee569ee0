//! A service that dies of an event once, and handles it in its next life.
//!
//! Benches of restarts start it.
//!
//! Invariant: each event costs one life, and is handled; its board counts both.
//!
//! It prints nothing: whoever runs it sets the panic hook.
#![allow(clippy::panic, reason = "it dies on purpose")]

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use callboard::prelude::*;
use callboard::{And, Nothing, On, ServiceSpec};

use super::readers::Add;

/// Its handler panics at the first attempt.
pub(crate) struct Boom;
impl Event for Boom {
    const NAME: &'static str = "boom";
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) lives: AtomicU64,
    pub(crate) handled: AtomicU64,
}

pub(crate) struct Phoenix(Arc<Tally>);
impl Service for Phoenix {}
impl Handle<Boom> for Phoenix {
    async fn handle(&mut self, _: &Boom, cx: &mut Context<Self>) -> Outcome {
        if cx.attempt() == 1 {
            panic_any("on purpose");
        }
        self.0.handled.fetch_add(1, Relaxed);
        Ok(())
    }
}
impl Answer<Add> for Phoenix {
    async fn answer(&mut self, add: Add, _: &mut Context<Self>) -> Outcome<u64> {
        Ok(add.0)
    }
}

/// One whose retries have no delay.
pub(crate) fn phoenix(tally: &Arc<Tally>) -> ServiceSpec<Phoenix, And<On<Boom>, Nothing>> {
    let tally = Arc::clone(tally);
    let recipe = move || {
        tally.lives.fetch_add(1, Relaxed);
        Phoenix(Arc::clone(&tally))
    };
    let at_once = Policy::new().retry(Retry::fixed(Duration::ZERO));
    service("phoenix", recipe).on::<Boom>().policy(at_once)
}
