//! What is published: a fact, told to all who subscribe.
//!
//! Users implement [`Event`]; everything above this floor names events by it. It calls nothing.
//!
//! Invariant: an event's number is given once, and whatever its handling publishes has a higher
//! one.
//!
//! It says nothing about who hears an event, or when.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::dice::fnv1a;

/// A fact, published to all who subscribe to it, and read in place: it is never cloned.
///
/// ```
/// use callboard::{Event, Key};
///
/// struct OrderPlaced { id: u64 }
///
/// impl Event for OrderPlaced {
///     const NAME: &'static str = "order.placed";
///     fn key(&self) -> Key { self.id.into() }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "this type does not implement `Event`",
    note = "an event needs a durable name: `impl Event for {Self}` with `const NAME: &'static str`",
    note = "an event is read by services on several threads, so it must be `Send + Sync + 'static`"
)]
pub trait Event: Send + Sync + 'static {
    /// The durable name, such as `order.placed`; it stays when the type is renamed.
    ///
    /// It is not empty, and no other event type on the board has it: a tree or subscription in
    /// which that is otherwise is refused. Publishing is not, and makes a second row of that name
    /// in the ledger; that is logged as an error, once.
    const NAME: &'static str;

    /// What the event is about; events with equal keys keep their order among workers.
    /// [`Key::None`] unless overridden.
    fn key(&self) -> Key {
        Key::None
    }
}

/// The name of an event type as one word, where only a word can be kept. 0 is no name's.
pub(crate) const fn word_of(name: &str) -> u64 {
    match fnv1a(name) {
        0 => 1,
        word => word,
    }
}

/// What an event or message is about, compared by equality.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Key {
    /// About nothing in particular.
    #[default]
    None,
    /// About something known by a number, such as an order.
    Number(u64),
    /// About something known by a text, such as an account name.
    Text(Box<str>),
}

/// The number of one event or letter, unique on its board and given in causal order: what was
/// published because of an event has a higher number than that event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(NonZeroU64);

/// The event or letter whose handling published this one.
///
/// Copies published by several attempts at one event carry the same `id` and rising `attempt`s,
/// also where an attempt was cut short and not counted, by a restart of its group for instance, and
/// after a [redrive](crate::Board::redrive).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cause {
    /// The number of the event or letter that was being handled.
    pub id: EventId,
    /// Which attempt at handling it this was, from 1 on. Attempts that were cut short without being
    /// counted, and those before a redrive, are included, which
    /// [`Context::attempt`](crate::Context::attempt) leaves out.
    pub attempt: u32,
}

/// A cause, and whose attempt it was: of several services with one event each counts its own.
/// Whole words, since it is copied with whoever publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Byline {
    id: EventId,
    /// The number of the service, and below it that of the attempt.
    attempt: u64,
}

impl EventId {
    /// Returns the bare number.
    pub const fn number(self) -> u64 {
        self.0.get()
    }

    /// Numbers begin at 1.
    pub(crate) const fn new(number: u64) -> Self {
        match NonZeroU64::new(number) {
            Some(number) => Self(number),
            None => Self(NonZeroU64::MIN),
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Cause {
    pub(crate) const fn new(id: EventId, attempt: u32) -> Self {
        Self { id, attempt }
    }
}

impl Byline {
    #[inline]
    pub(crate) fn new(cause: Cause, service: u32) -> Self {
        Self {
            id: cause.id,
            attempt: u64::from(service) << 32 | u64::from(cause.attempt),
        }
    }

    #[inline]
    pub(crate) fn cause(self) -> Cause {
        let attempt = u32::try_from(self.attempt & u64::from(u32::MAX));
        Cause::new(self.id, attempt.unwrap_or(u32::MAX))
    }

    /// The number of the service that has published.
    pub(crate) fn service(self) -> u64 {
        self.attempt >> 32
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// Prints the number or text alone, and `-` for [`Key::None`].
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("-"),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.pad(text),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_from_a_number_or_a_text() {
        assert_eq!(Key::from(7), Key::Number(7));
        assert_eq!(Key::from("ada"), Key::from(String::from("ada")));
        assert_ne!(Key::from("7"), Key::from(7));
        let shown = [Key::None, 7.into(), "ada".into()].map(|key| key.to_string());
        assert_eq!(shown, ["-", "7", "ada"]);
    }

    #[test]
    fn a_key_survives_serialization() {
        for key in [Key::None, 7.into(), "ada".into()] {
            let text = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key);
        }
    }

    #[test]
    fn a_byline_keeps_its_cause_apart_from_its_service() {
        for (attempt, service) in [(1, 0), (u32::MAX, 7), (0, u32::MAX)] {
            let cause = Cause::new(EventId::new(17), attempt);
            let byline = Byline::new(cause, service);
            assert_eq!((byline.cause(), byline.service()), (cause, service.into()));
        }
        assert_eq!(size_of::<Option<Byline>>(), size_of::<Option<Cause>>());
    }

    #[test]
    fn an_event_id_is_stored_and_shown_as_its_bare_number() {
        let id = EventId::new(17);
        assert_eq!(id.to_string(), "17");
        assert_eq!(serde_json::to_string(&id).unwrap(), "17");
        assert_eq!(serde_json::from_str::<EventId>("17").unwrap(), id);
        assert!(id < EventId::new(18));
    }
}
