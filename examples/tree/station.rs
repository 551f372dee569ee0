//! The plant: a weather station that measures, sends, and has visitors.
//!
//! ```text
//! station          one_for_one
//! ├─ reporter      prints what happens to everybody
//! ├─ ticker        publishes a tick every now and then
//! ├─ readings      rest_for_one, with a backoff: each builds on those before it
//! │  ├─ sensor     gust -> reading
//! │  ├─ filter     reading -> weather
//! │  └─ archive    keeps the weather
//! ├─ radio         one_for_all: the two ends of one line
//! │  ├─ sender     weather -> signal
//! │  └─ echo       hears the signal
//! └─ sessions      dynamic: one for each visitor, who hears the ticks
//! ```

use callboard::{Backoff, Lifecycle, On, Restart, Shutdown, prelude::*};

use crate::say;
use crate::trouble::{Trouble, Word};

/// What comes from outside: `publish N` makes N of them.
pub(crate) struct Gust;
struct Reading;
struct Weather;
struct Signal;
struct Tick;

impl Event for Gust {
    const NAME: &'static str = "gust";
}
impl Event for Reading {
    const NAME: &'static str = "reading";
}
impl Event for Weather {
    const NAME: &'static str = "weather";
}
impl Event for Signal {
    const NAME: &'static str = "signal";
}
impl Event for Tick {
    const NAME: &'static str = "tick";
}

/// The whole tree.
pub(crate) fn tree(tick: Duration) -> Supervisor {
    let readings = Supervisor::rest_for_one("readings")
        .max_restarts(3, secs(60))
        .backoff(Backoff::fixed(millis(50)), secs(60))
        .child(
            service("sensor", Part::default)
                .on::<Gust>()
                .on::<Trouble>(),
        )
        .child(
            service("filter", Part::default)
                .on::<Reading>()
                .on::<Trouble>(),
        )
        .child(
            service("archive", Part::default)
                .on::<Weather>()
                .on::<Trouble>(),
        );
    let radio = Supervisor::one_for_all("radio")
        .child(service("sender", || Sender).on::<Weather>().on::<Trouble>())
        .child(
            service("echo", Part::default)
                .on::<Signal>()
                .on::<Trouble>(),
        );
    let sessions = Supervisor::dynamic("sessions", |visitor: String| {
        service(visitor, Part::default)
            .on_with::<Tick>(|on: On<Tick>| on.capacity(16).overflow(Overflow::DropOldest))
            .on::<Trouble>()
            .restart(Restart::Transient)
    });
    Supervisor::one_for_one("station")
        .max_restarts(5, secs(60))
        .policy(Policy::new().retry(Retry::fixed(millis(10)).attempts(3)))
        // First, so that it stops last, and is still there to tell how the others stopped.
        .child(reporter())
        .child(service("ticker", move || Ticker { tick }).on::<Trouble>())
        .child(readings)
        .child(radio)
        .child(sessions)
}

fn reporter() -> impl Into<callboard::Child> {
    service("reporter", || Reporter)
        .on::<Lifecycle>()
        .on::<Word>()
        .on::<Trouble>()
        .shutdown(Shutdown::Drain(secs(1)))
}

/// Whatever handles one kind of event and passes on what follows from it.
#[derive(Default)]
struct Part {
    /// Since this life began: a new one starts from nothing.
    kept: u64,
}
impl Service for Part {}
impl Handle<Gust> for Part {
    async fn handle(&mut self, _: &Gust, cx: &mut Context<Self>) -> Outcome {
        cx.publish_on_success(Reading);
        Ok(())
    }
}
impl Handle<Reading> for Part {
    async fn handle(&mut self, _: &Reading, cx: &mut Context<Self>) -> Outcome {
        cx.publish_on_success(Weather);
        Ok(())
    }
}
impl Handle<Weather> for Part {
    async fn handle(&mut self, _: &Weather, _: &mut Context<Self>) -> Outcome {
        self.kept += 1;
        Ok(())
    }
}
impl Handle<Signal> for Part {
    async fn handle(&mut self, _: &Signal, _: &mut Context<Self>) -> Outcome {
        self.kept += 1;
        Ok(())
    }
}
impl Handle<Tick> for Part {
    async fn handle(&mut self, _: &Tick, _: &mut Context<Self>) -> Outcome {
        self.kept += 1;
        Ok(())
    }
}

struct Sender;
impl Service for Sender {}
impl Handle<Weather> for Sender {
    async fn handle(&mut self, _: &Weather, cx: &mut Context<Self>) -> Outcome {
        cx.publish_on_success(Signal);
        Ok(())
    }
}

struct Ticker {
    tick: Duration,
}
impl Service for Ticker {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        cx.every(self.tick, async |_: &mut Self, cx| {
            cx.publish(Tick).await?;
            Ok(())
        });
        Ok(())
    }
}

/// Prints every change in the life of every service and supervisor, in order, as it happens.
struct Reporter;
impl Service for Reporter {}
impl Handle<Lifecycle> for Reporter {
    async fn handle(&mut self, news: &Lifecycle, _: &mut Context<Self>) -> Outcome {
        say(&format!("    {news}"));
        Ok(())
    }
}

impl Handle<Word> for Reporter {
    async fn handle(&mut self, Word(word): &Word, _: &mut Context<Self>) -> Outcome {
        say(&format!("    {word}"));
        Ok(())
    }
}

impl Handle<Trouble> for Part {
    async fn handle(&mut self, trouble: &Trouble, cx: &mut Context<Self>) -> Outcome {
        trouble.befall(cx).await
    }
}
impl Handle<Trouble> for Sender {
    async fn handle(&mut self, trouble: &Trouble, cx: &mut Context<Self>) -> Outcome {
        trouble.befall(cx).await
    }
}
impl Handle<Trouble> for Ticker {
    async fn handle(&mut self, trouble: &Trouble, cx: &mut Context<Self>) -> Outcome {
        trouble.befall(cx).await
    }
}
impl Handle<Trouble> for Reporter {
    async fn handle(&mut self, trouble: &Trouble, cx: &mut Context<Self>) -> Outcome {
        trouble.befall(cx).await
    }
}
