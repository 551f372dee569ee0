//! What the docs say of the public types, as code: handles go anywhere, services need not.

use std::rc::Rc;

use callboard::prelude::*;
use callboard::{
    AskError, Blocking, BlockingError, BoardBuilder, BoardError, Breaker, Cause, Dedupe, EventId,
    FailedAttempt, Key, Ledger, LookupError, Panic, Publish, PublishAll, PublishAllError,
    PublishError, PublishSettled, Publisher, RateLimit, Recipient, RedriveError, RetryBudget,
    Scheduled, Series, Settled, ShutdownReport, StartError, Stop, SubscribeError, TellError,
    TimerId,
};

/// Neither `Send` nor `Sync`, as a service may be.
struct Homebody(#[expect(dead_code, reason = "it is only there")] Rc<u8>);
impl Service for Homebody {}

struct Fact;
impl Event for Fact {
    const NAME: &'static str = "fact";
}
struct Question;
impl Message for Question {
    type Reply = ();
}

const fn goes_anywhere<T: Send + Sync + 'static>() {}
const fn is_sent<T: Send + 'static>() {}
const fn is_cloned<T: Clone>() {}
const fn is_shown<T: std::fmt::Debug>() {}
const fn is_an_error<T: std::error::Error + Send + Sync + 'static>() {}

const _: () = {
    goes_anywhere::<Board>();
    goes_anywhere::<Address<Homebody>>();
    goes_anywhere::<Publisher<Fact>>();
    goes_anywhere::<Recipient<Question>>();
    goes_anywhere::<DeadLetter>();
    goes_anywhere::<Ledger>();
    goes_anywhere::<ShutdownReport>();
    goes_anywhere::<Failure>();
    goes_anywhere::<Exit>();
    goes_anywhere::<Policy>();
    goes_anywhere::<Retry>();
    goes_anywhere::<(RateLimit, Dedupe, Breaker, RetryBudget)>();
    goes_anywhere::<BoardBuilder>();
    goes_anywhere::<FailedAttempt>();
    goes_anywhere::<Panic>();
    goes_anywhere::<Settled>();
    goes_anywhere::<Scheduled<Fact>>();
    goes_anywhere::<Series>();
    goes_anywhere::<Stop>();
    goes_anywhere::<(EventId, Cause, Key, TimerId)>();
};

const _: () = {
    is_sent::<Supervisor>();
    is_sent::<callboard::Child>();
    is_sent::<callboard::ServiceSpec<Homebody>>();
    is_sent::<Publish<Fact>>();
    is_sent::<Blocking<std::cell::Cell<u8>>>();
    is_sent::<PublishSettled<Fact>>();
    is_sent::<PublishAll<Fact>>();
    is_sent::<AskError<Question>>();
    is_sent::<TellError<Question>>();
};

const _: () = {
    is_cloned::<Board>();
    is_cloned::<Address<Homebody>>();
    is_cloned::<Publisher<Fact>>();
    is_cloned::<Recipient<Question>>();
    is_cloned::<DeadLetter>();
    is_shown::<Address<Homebody>>();
    is_shown::<Publisher<Fact>>();
    is_shown::<Context<Homebody>>();
    is_shown::<AskError<Question>>();
    is_an_error::<PublishError<Fact>>();
    is_an_error::<PublishAllError<Fact>>();
    is_an_error::<AskError<Question>>();
    is_an_error::<TellError<Question>>();
    is_an_error::<BoardError>();
    is_an_error::<BlockingError>();
    is_an_error::<StartError>();
    is_an_error::<LookupError>();
    is_an_error::<SubscribeError>();
    is_an_error::<RedriveError>();
};

/// A handle is a pointer or two, and an outcome is one.
const _: () = {
    assert!(size_of::<Board>() <= 2 * size_of::<usize>());
    assert!(size_of::<Address<Homebody>>() <= 2 * size_of::<usize>());
    assert!(size_of::<Publisher<Fact>>() <= 2 * size_of::<usize>());
    assert!(size_of::<Outcome>() == size_of::<usize>());
};

#[test]
fn the_defaults_are_those_of_the_docs() {
    use callboard::defaults;
    assert_eq!((defaults::ATTEMPTS, defaults::MAX_RESTARTS), (3, 5));
    assert_eq!(
        (defaults::CAPACITY, defaults::LETTER_CAPACITY),
        (1_024, 1_024)
    );
    assert_eq!(defaults::RESTART_WINDOW, secs(10));
    assert_eq!(
        [
            defaults::PUBLISH_WAIT,
            defaults::ASK_WAIT,
            defaults::SHUTDOWN_WAIT
        ],
        [secs(5); 3]
    );
    assert_eq!((defaults::START_WAIT, defaults::SHELF), (secs(30), 1_024));
    assert_eq!(
        (defaults::BACKOFF_FIRST, defaults::BACKOFF_MAX),
        (millis(50), secs(5))
    );
}

#[test]
fn handles_are_shown_by_what_they_lead_to() {
    let spec = service("home", || Homebody(Rc::new(1)));
    let address = spec.address();
    assert_eq!(format!("{address:?}"), "Address(\"\")");
    assert_eq!(address, address.clone());
    let board = Board::builder()
        .arbiters(1)
        .start(Supervisor::one_for_one("shop").child(spec));
    let board = board.unwrap();
    assert_eq!(format!("{address:?}"), "Address(\"shop/home\")");
    assert_eq!(
        format!("{:?}", board.publisher::<Fact>()),
        "Publisher(fact)"
    );
    assert_eq!(format!("{board:?}"), "Board { root: \"shop\", .. }");
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}
