//! What the crate tells tracing: spans and events at fixed targets, and nothing unless asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ::tracing::field::{Field, Visit};
use ::tracing::level_filters::LevelFilter;
use ::tracing::span::{Attributes, Id};
use ::tracing::{Dispatch, Level, Subscriber};
use callboard::prelude::*;
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::support_events::{clerk, failing, row};
use crate::support_lives::{Deed, Do, Log, Note, end, hearer, here, note, paused};

/// A span or event that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    id: u64,
    target: String,
    name: String,
    level: Option<Level>,
    parent: Option<u64>,
    follows: Vec<u64>,
    fields: BTreeMap<String, String>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields
            .insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

#[derive(Clone, Default)]
pub(crate) struct Witness {
    spans: Arc<Mutex<Vec<Seen>>>,
    events: Arc<Mutex<Vec<Seen>>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Witness {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        let metadata = attributes.metadata();
        let contextual = || context.current_span().id().map(Id::into_u64);
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_contextual() => contextual(),
            None => None,
        };
        let mut seen = Seen {
            id: id.into_u64(),
            target: metadata.target().to_owned(),
            name: metadata.name().to_owned(),
            level: Some(*metadata.level()),
            parent,
            ..Seen::default()
        };
        attributes.record(&mut seen);
        self.spans.lock().unwrap().push(seen);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: LayerContext<'_, S>) {
        let mut spans = self.spans.lock().unwrap();
        let span = spans
            .iter_mut()
            .rfind(|span| span.id == id.into_u64())
            .unwrap();
        span.follows.push(follows.into_u64());
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: LayerContext<'_, S>) {
        let metadata = event.metadata();
        let mut seen = Seen {
            target: metadata.target().to_owned(),
            level: Some(*metadata.level()),
            ..Seen::default()
        };
        event.record(&mut seen);
        self.events.lock().unwrap().push(seen);
    }
}

impl Witness {
    fn spans(&self, name: &str) -> Vec<Seen> {
        let spans = self.spans.lock().unwrap();
        spans
            .iter()
            .filter(|span| span.name == name)
            .cloned()
            .collect()
    }

    pub(crate) fn events(&self, target: &str, level: Level) -> Vec<Seen> {
        let mut seen = self.of(target);
        seen.retain(|event| event.level == Some(level));
        seen
    }

    /// All at one target, in the order in which they were told.
    fn of(&self, target: &str) -> Vec<Seen> {
        let events = self.events.lock().unwrap();
        let of = |event: &&Seen| event.target == target;
        events.iter().filter(of).cloned().collect()
    }
}

/// Runs it on a board with a hearer of notes, under a filter, and shows what was seen.
fn witness<F: AsyncFnOnce(&Board, &Log)>(filter: &str, run: F) -> Witness {
    watched(filter, || {
        paused(async {
            let log = Log::new();
            let retry = Policy::new().retry(Retry::fixed(millis(10)).attempts(2));
            let spec = hearer("a", &log).policy(retry);
            let board = here(Supervisor::one_for_one("shop").child(spec)).await;
            run(&board, &log).await;
            board.settle().await.unwrap();
            end(&board).await;
        });
    })
}

/// Keeps one more subscriber alive, which hears nothing.
///
/// While there is only one, tracing asks the default of whatever thread comes to a span first
/// whether anybody listens to it: that of another test's thread, where nobody does.
pub(crate) fn never_alone() {
    static DEAF: OnceLock<Dispatch> = OnceLock::new();
    DEAF.get_or_init(|| Dispatch::new(Registry::default().with(LevelFilter::OFF)));
}

/// Runs it under a filter, and shows what was seen on this thread.
pub(crate) fn watched(filter: &str, run: impl FnOnce()) -> Witness {
    let witness = Witness::default();
    let layers = Registry::default()
        .with(EnvFilter::new(filter))
        .with(witness.clone());
    never_alone();
    ::tracing::subscriber::with_default(layers, run);
    witness
}

#[test]
fn each_attempt_has_a_root_span_that_follows_from_its_publishers() {
    let seen = witness("debug", async |board, _| {
        let outside = ::tracing::info_span!("outside");
        // It is the span that is current when the verb is called.
        let publish = outside.in_scope(|| {
            board.publish(Note {
                id: 1,
                deed: Deed::Panic,
            })
        });
        publish.await.unwrap();
    });
    let outside = seen.spans("outside")[0].id;
    let handled = seen.spans("handle");
    assert_eq!(handled.len(), 2);
    for (attempt, span) in (1..).zip(&handled) {
        assert_eq!(span.target, "callboard::host");
        assert_eq!(
            (span.parent, span.follows.as_slice()),
            (None, &[outside][..])
        );
        let fields = ["service", "event", "event_id", "attempt"].map(|name| span.field(name));
        assert_eq!(fields, ["shop/a", "note", "1", &attempt.to_string()]);
    }
}

#[test]
fn what_a_handler_publishes_follows_from_the_handlers_span() {
    let seen = witness("debug", async |board, _| {
        board
            .publish(Note {
                id: 1,
                deed: Deed::Countdown(0),
            })
            .await
            .unwrap();
    });
    let handled = seen.spans("handle");
    let [first, second] = &handled[..] else {
        panic!("{handled:?}")
    };
    assert_eq!(first.follows, [0; 0]);
    assert_eq!(
        (second.parent, second.follows.as_slice()),
        (None, &[first.id][..])
    );
}

#[test]
fn what_was_scheduled_follows_from_no_span() {
    let seen = witness("debug", async |board, _| {
        let outside = ::tracing::info_span!("outside");
        let note = Note {
            id: 1,
            deed: Deed::Nothing,
        };
        let scheduled = outside.in_scope(|| board.publish(note).after(secs(1)));
        drop(outside);
        scheduled.await.unwrap();
    });
    let handled = seen.spans("handle");
    // The span has ended long ago; its number may be another's.
    assert_eq!((handled.len(), handled[0].follows.len()), (1, 0));
}

#[test]
fn an_answer_has_a_span_too() {
    let seen = witness("debug", async |board, _| {
        let a = board
            .service::<crate::support_lives::Probe>("shop/a")
            .unwrap();
        let ask = async { a.ask(Do(Deed::Nothing)).await.unwrap() };
        ::tracing::Instrument::instrument(ask, ::tracing::info_span!("outside")).await;
    });
    let outside = seen.spans("outside")[0].id;
    let answered = seen.spans("answer");
    let [span] = &answered[..] else {
        panic!("{answered:?}")
    };
    assert_eq!(
        (span.target.as_str(), span.parent),
        ("callboard::host", None)
    );
    assert_eq!(
        (span.follows[0], span.field("service")),
        (outside, "shop/a")
    );
    assert!(span.field("message_type").ends_with("::Do"));
}

#[test]
fn each_death_is_told_once_and_before_the_recovery_from_it() {
    let seen = witness("info", async |board, log| {
        for id in 1..=2 {
            let deed = Deed::PanicAlways;
            board.publish(Note { id, deed }).await.unwrap();
        }
        log.wait_for("a started 5").await;
    });
    let told = seen.of("callboard::supervision");
    let lines = told.iter().map(|told| {
        let [child, life, message] = ["child", "life", "message"].map(|name| told.field(name));
        format!("{} {child} {life} {message}", told.level.unwrap())
    });
    let mut expected = Vec::new();
    for life in 1..=4 {
        expected.push(format!("ERROR shop/a {life} a child ended abnormally"));
        expected.push(format!("INFO shop/a {} a child is up again", life + 1));
    }
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}

#[test]
fn verdicts_and_restarts_are_told_at_their_targets() {
    let seen = witness("info", async |board, _| {
        board
            .publish(Note {
                id: 1,
                deed: Deed::PanicAlways,
            })
            .await
            .unwrap();
        board
            .publish(Note {
                id: 2,
                deed: Deed::Fail,
            })
            .await
            .unwrap();
    });
    assert_eq!(seen.spans("handle").len(), 0);
    let tried = seen.events("callboard::policy", Level::WARN);
    let dead = seen.events("callboard::policy", Level::ERROR);
    let facts = |event: &Seen| {
        [
            "service", "event", "event_id", "attempt", "trouble", "failure",
        ]
        .map(|name| event.field(name).to_owned())
        .join(" ")
    };
    let tried: Vec<String> = tried.iter().map(facts).collect();
    let dead: Vec<String> = dead.iter().map(facts).collect();
    let expected = [
        "shop/a note 1 1 Crashed panicked: boom",
        "shop/a note 2 1 Failed no",
    ];
    assert_eq!(tried, expected);
    assert_eq!(dead[0], "shop/a note 1 2 Crashed panicked: boom");
    assert!(dead[1].starts_with("shop/a note ") && dead[1].ends_with(" 2 Failed no"));
    let ended = seen.events("callboard::supervision", Level::ERROR);
    assert_eq!(ended.len(), 2);
    assert!(
        ended
            .iter()
            .all(|event| event.field("exit") == "panicked: boom")
    );
    assert_eq!(ended[0].field("child"), "shop/a");
}

#[test]
fn a_dead_letter_whose_own_handler_fails_is_said_to_be_discarded() {
    let seen = watched("callboard=warn", || {
        paused(async {
            let once = Policy::new().retry(Retry::never());
            let (failer, _) = clerk("failer", |_| failing());
            let (mourner, log) = clerk("mourner", |_| failing());
            let root = Supervisor::one_for_one("shop")
                .policy(once)
                .child(failer.on::<crate::support_events::Note>())
                .child(mourner.on::<DeadLetter>());
            let board = here(root).await;
            let note = crate::support_events::Note(1);
            board.publish(note).await.unwrap();
            board.settle().await.unwrap();
            assert_eq!(log.ids(), [1]);
            let row = row(&board, "shop/mourner", DeadLetter::NAME);
            assert_eq!((row.discarded, row.dead_lettered), (1, 0));
        });
    });
    let told = |level| {
        let seen = seen.events("callboard::policy", level);
        let line = |told: &Seen| format!("{}: {}", told.field("event"), told.field("message"));
        seen.iter().map(line).collect::<Vec<_>>()
    };
    let dead = ["note: given up: the event is a dead letter"];
    assert_eq!(told(Level::ERROR), dead);
    let discarded = ["callboard.dead_letter: given up: the event is discarded"];
    assert_eq!(told(Level::WARN), discarded);
}

/// An event and error that count how often anybody looks at them.
#[derive(Clone)]
struct Private(Arc<AtomicU64>);
impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fetch_add(1, Ordering::SeqCst);
        f.write_str("private")
    }
}
impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
impl std::error::Error for Private {}
impl Event for Private {
    const NAME: &'static str = "private";
}
impl Message for Private {
    type Reply = ();
}
struct Discreet;
impl Service for Discreet {}
impl Handle<Private> for Discreet {
    async fn handle(&mut self, private: &Private, _: &mut Context<Self>) -> Outcome {
        Err(private.clone().into())
    }
}
impl Answer<Private> for Discreet {
    async fn answer(&mut self, private: Private, _: &mut Context<Self>) -> Outcome {
        Err(private.into())
    }
}

fn looks(filter: &str) -> u64 {
    let looks = Arc::new(AtomicU64::new(0));
    let layers = Registry::default()
        .with(EnvFilter::new(filter))
        .with(Witness::default());
    never_alone();
    ::tracing::subscriber::with_default(layers, || {
        paused(async {
            let spec = service("discreet", || Discreet).on::<Private>();
            let address = spec.address();
            let board = here(Supervisor::one_for_one("shop").child(spec)).await;
            board.publish(Private(Arc::clone(&looks))).await.unwrap();
            assert!(address.ask(Private(Arc::clone(&looks))).await.is_err());
            board.settle().await.unwrap();
            assert_eq!(board.dead_letters().len(), 1);
            end(&board).await;
        });
    });
    looks.load(Ordering::SeqCst)
}

#[test]
fn nothing_is_put_into_words_unless_somebody_listens() {
    assert_eq!(looks("off"), 0);
    assert_eq!(looks("callboard::supervision=trace"), 0);
    // Three attempts and an answer, each failure told once; never the payload itself.
    assert_eq!(looks("trace"), 4);
}

#[test]
fn notes_are_handled_when_nobody_listens() {
    let seen = witness("off", async |board, log| {
        board.publish(note(1)).await.unwrap();
        log.wait_for("a 1").await;
    });
    assert!(seen.spans("handle").is_empty() && seen.events.lock().unwrap().is_empty());
}

struct Unheard;
impl Event for Unheard {
    const NAME: &'static str = "unheard";
}

#[test]
fn each_board_takes_a_seed_of_its_own_unless_it_is_given_one() {
    let seen = watched("callboard::board=debug", || {
        for builder in [Board::builder(), Board::builder(), Board::builder().seed(7)] {
            let board = builder.arbiters(1).start(Supervisor::one_for_one("shop"));
            board.unwrap().shutdown_blocking(secs(60));
        }
        paused(async { end(&here(Supervisor::one_for_one("shop")).await).await });
    });
    let seen = seen.events("callboard::board", Level::DEBUG);
    let seeds: Vec<_> = seen.iter().map(|start| start.field("seed")).collect();
    let [first, second, "7", "0"] = seeds[..] else {
        panic!("{seeds:?}");
    };
    assert_ne!(first, second);
}

#[test]
fn the_first_event_of_a_type_that_nobody_hears_is_told_of() {
    let seen = witness("callboard::board=debug", async |board, _| {
        for _ in 0..2 {
            board.publish(Unheard).await.unwrap();
        }
        board.publish_all([Unheard, Unheard]).await.unwrap();
        board.publish(note(1)).await.unwrap();
    });
    let told = seen.events("callboard::board", Level::DEBUG);
    let events: Vec<_> = told.iter().map(|event| event.field("event")).collect();
    assert_eq!(events, ["", "unheard"], "the start of the board, and that");
}
