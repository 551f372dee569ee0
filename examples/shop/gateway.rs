//! The bank's gateway: slow, sometimes down, sometimes refusing, and written so badly that it
//! sometimes panics.
//!
//! What it does is decided by the seed, the order and the attempt, so that the same day goes the
//! same way whatever the timing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How badly the gateway behaves; rates are parts of one.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Manners {
    /// Seeds all that the gateway does by chance
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A call to the gateway takes up to so many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1)]
    gateway_ms: u64,
    /// Share of calls during which the gateway panics
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = rate)]
    panic_rate: f64,
    /// Share of calls that find the gateway down, and are tried again
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = rate)]
    outage_rate: f64,
    /// Share of orders whose card is declined
    #[arg(long, value_name = "RATE", default_value_t = 0.02, value_parser = rate)]
    refusal_rate: f64,
    /// Every so-manieth order panics the gateway on every attempt; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    poison_every: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number from 0 to 1".into()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the gateway is down")]
pub(crate) struct Outage;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Taken,
    /// The bank's last word, and no failure of ours: trying again would not change it.
    Declined,
}

pub(crate) struct Gateway {
    manners: Manners,
    /// What was charged, by order: asked twice for the same order, a bank charges once.
    charged: Mutex<HashMap<u64, i64>>,
    pub(crate) panics: AtomicU64,
    pub(crate) outages: AtomicU64,
}

impl Gateway {
    pub(crate) fn new(manners: Manners) -> Self {
        Self {
            manners,
            charged: Mutex::default(),
            panics: AtomicU64::new(0),
            outages: AtomicU64::new(0),
        }
    }

    /// How many orders have been charged.
    pub(crate) fn charged(&self) -> u64 {
        self.charged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
    }

    pub(crate) async fn charge(
        &self,
        order: u64,
        cents: i64,
        attempt: u32,
    ) -> Result<Answer, Outage> {
        let manners = &self.manners;
        let mut rng = self.dice(order, attempt);
        let wait = rng.u64(0..=manners.gateway_ms);
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let (panics, down) = (
            rng.f64() < manners.panic_rate,
            rng.f64() < manners.outage_rate,
        );
        if manners.poison_every > 0 && order.is_multiple_of(manners.poison_every) {
            self.panic(order);
        }
        if down {
            self.outages.fetch_add(1, Relaxed);
            return Err(Outage);
        }
        if self.dice(order, 0).f64() < manners.refusal_rate {
            if panics {
                self.panic(order);
            }
            return Ok(Answer::Declined);
        }
        let mut charged = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
        charged.insert(order, cents);
        drop(charged);
        // The money is taken and the answer lost: the worst moment there is.
        if panics {
            self.panic(order);
        }
        Ok(Answer::Taken)
    }

    fn dice(&self, order: u64, attempt: u32) -> fastrand::Rng {
        let which = order.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(attempt) << 56;
        fastrand::Rng::with_seed(self.manners.seed ^ which)
    }

    fn panic(&self, order: u64) -> ! {
        self.panics.fetch_add(1, Relaxed);
        panic!("gateway: lost its mind over order {order}");
    }
}
