//! A message on its way to one service: `tell` without, `ask` with a way back.
//!
//! Addresses write letters; the host has the service answer them.
//!
//! Invariant: an asker always hears something: dropping an unanswered letter is an answer.
//!
//! It is handled by value, so it is never tried again.

use std::any::type_name;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use crate::event::Key;
use crate::failure::{Failure, Outcome};
use crate::mailbox::bundle::Bundle;
use crate::message::Message;
use crate::panic::guard;
use crate::service::control::{Control, Kill};
use crate::service::mail::{How, Mail};
use crate::service::pile::Pile;
use crate::service::{Answer, Context, Service};
use crate::topic::Origin;
use crate::waits::Waiting;

/// How the answering ended.
#[derive(Debug)]
pub(crate) enum LetterEnd {
    Answered,
    Failed(Failure),
}

/// What an asker hears, other than that the letter was dropped in a crash.
#[derive(Debug)]
pub(crate) enum Word<R> {
    Reply(R),
    Failed(Failure),
    Undelivered,
    /// The life that answered it was ended so that another could follow; nobody's failure.
    Restarted,
}

/// The way back of a letter that is being answered: dropped unanswered, it still says why.
struct Way<R> {
    reply: Option<Reply<R>>,
    control: Rc<Control>,
}

impl<R> Drop for Way<R> {
    fn drop(&mut self) {
        // Else the dropped sender itself says that there was a crash.
        if self.control.killed() == Some(Kill::Restarted)
            && let Some(reply) = self.reply.take()
        {
            reply.send(Word::Restarted);
        }
    }
}

/// A letter whose message is not known here.
pub(crate) trait AnyLetter<S: Service>: Send {
    /// The message's type, for the log.
    fn name(&self) -> &'static str;
    fn number(&self) -> u64;
    /// Where it comes from.
    fn origin(&self) -> &Origin;
    /// Whether nobody waits for the answer any more.
    fn is_expired(&self) -> bool;
    /// Until when somebody waits for it.
    fn until(&self) -> Option<Instant>;
    /// What the message is about.
    fn key(&self) -> Key;
    /// Has it answered, once.
    fn answer<'a>(self: Box<Self>, service: &'a mut S, cx: &'a mut Context<S>) -> Answering<'a>;
    /// The service will not see it.
    fn abandon(self: Box<Self>);
    /// What may be given back to a mailbox.
    fn into_mail(self: Box<Self>) -> Box<dyn Mail<S>>;
}

pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = LetterEnd> + 'a>>;

/// A letter in its envelope.
pub(crate) type Sealed<S> = Box<dyn AnyLetter<S>>;

/// A letter as its mailbox keeps it, with others of its type.
pub(crate) trait Enclosed<S: Service>: AnyLetter<S> + Sized + 'static {
    /// It is accepted.
    fn enter(&mut self, number: u64);
    /// Has it answered, and the like of it that is next on the pile.
    fn answer_from<'a>(
        self,
        pile: Pile<'a, S>,
        service: &'a mut S,
        cx: &'a mut Context<S>,
    ) -> Answering<'a>;

    fn show(&self) -> &(dyn AnyLetter<S> + 'static) {
        self
    }

    fn seal(self) -> Sealed<S> {
        Box::new(self)
    }
}

/// A letter that is to be answered, and what has it answered.
pub(crate) trait Open<S: Service> {
    /// `None` if there is none.
    fn show(&self) -> Option<&(dyn AnyLetter<S> + 'static)>;
    /// Begins.
    fn open<'a>(self, service: &'a mut S, cx: &'a mut Context<S>) -> Option<Answering<'a>>
    where
        Self: 'a;
}

impl<S: Service> Open<S> for Sealed<S> {
    fn show(&self) -> Option<&(dyn AnyLetter<S> + 'static)> {
        Some(&**self)
    }

    fn open<'a>(self, service: &'a mut S, cx: &'a mut Context<S>) -> Option<Answering<'a>>
    where
        Self: 'a,
    {
        Some(self.answer(service, cx))
    }
}

impl<S: Service> Open<S> for (How<S>, Pile<'_, S>) {
    fn show(&self) -> Option<&(dyn AnyLetter<S> + 'static)> {
        self.1.first()
    }

    fn open<'a>(self, service: &'a mut S, cx: &'a mut Context<S>) -> Option<Answering<'a>>
    where
        Self: 'a,
    {
        let (how, pile) = self;
        how(pile, service, cx)
    }
}

/// Has it handle a message to which nobody waits for a reply, and those of its type that are next:
/// one box for all of them.
async fn heed<S: Answer<M>, M: Message>(
    mut message: M,
    mut pile: Option<Pile<'_, S>>,
    service: &mut S,
    cx: &mut Context<S>,
) -> LetterEnd {
    loop {
        if let Err(failure) = service.answer(message, cx).await {
            return LetterEnd::Failed(failure);
        }
        let next = pile.as_mut().and_then(|pile| pile.next_told(cx));
        match next {
            Some(next) => message = next,
            None => return LetterEnd::Answered,
        }
    }
}

async fn reply_to<S: Answer<M>, M: Message>(
    message: M,
    reply: Reply<M::Reply>,
    service: &mut S,
    cx: &mut Context<S>,
) -> LetterEnd {
    let mut way = Way {
        reply: Some(reply),
        control: Rc::clone(&cx.control),
    };
    let (word, end) = match service.answer(message, cx).await {
        Ok(answer) => (Word::Reply(answer), LetterEnd::Answered),
        Err(failure) => (Word::Failed(failure.clone()), LetterEnd::Failed(failure)),
    };
    if let Some(reply) = way.reply.take() {
        reply.send(word);
    }
    end
}

/// An answer that was a failure.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// The message's type.
    pub(crate) message: &'static str,
    pub(crate) failure: Failure,
}

/// Has a letter answered, and does what is to be done after it, in its span. What else it takes
/// from a pile it settles, but for the last. `None` if there is no letter.
pub(crate) async fn answer<S: Service>(
    letter: impl Open<S>,
    service: &mut S,
    cx: &mut Context<S>,
    then: impl AsyncFnOnce(&mut S, &mut Context<S>) -> Outcome,
) -> Option<Result<(), Unanswered>> {
    let first = letter.show()?;
    // One after the other, in registers: a copy of what was stored just before waits for it.
    let (message, number, origin) = (first.name(), first.number(), first.origin());
    cx.begin_letter(number, origin.cause(), first.until());
    let is_traced = Context::<S>::is_traced();
    let span = is_traced.then(|| cx.letter_span(message, number, origin.span()));
    let mut answering = letter.open(service, cx)?;
    if let Some(span) = &span {
        answering = Box::pin(answering.instrument(span.clone()));
    }
    let end = answering.await;
    let mut done = Ok(());
    if matches!(end, LetterEnd::Failed(_)) {
        cx.forget_more();
    } else if cx.has_more() {
        // Rarely so, and then in a box of its own.
        let more = then(service, cx).instrument(span.unwrap_or_else(tracing::Span::none));
        done = Box::pin(more).await;
        if done.is_err() {
            cx.forget_more();
        }
    }
    Some(match (end, done) {
        (LetterEnd::Answered, Ok(())) => Ok(()),
        (LetterEnd::Failed(failure), _) | (_, Err(failure)) => Err(Unanswered { message, failure }),
    })
}

/// A message, where it comes from, and the way back, if somebody asks.
pub(crate) struct Letter<M, W> {
    /// 0 until it is accepted.
    pub(crate) number: u64,
    pub(crate) message: M,
    pub(crate) origin: Origin,
    pub(crate) way: W,
}

impl<M, W> Letter<M, W> {
    /// Writes one that has no number yet.
    #[inline]
    pub(crate) fn new(message: M, origin: Origin, way: W) -> Self {
        Letter {
            number: 0,
            message,
            origin,
            way,
        }
    }
}

/// A message that was told.
pub(crate) type Told<M> = Letter<M, NoWay>;

/// A message to whose answer somebody waits.
pub(crate) type Asked<M> = Letter<M, Reply<<M as Message>::Reply>>;

/// Nobody waits for an answer.
pub(crate) struct NoWay;

/// What of a letter depends on whether somebody waits for the answer.
pub(crate) trait Back<S: Service, M>: Send + 'static {
    /// Whether nobody waits any more.
    fn is_closed(&self) -> bool;
    fn until(&self) -> Option<Instant>;
    fn answer<'a>(
        self,
        message: M,
        pile: Option<Pile<'a, S>>,
        service: &'a mut S,
        cx: &'a mut Context<S>,
    ) -> Answering<'a>;
    /// The service will not see the message.
    fn abandon(self);
}

/// The way back to an asker.
pub(crate) struct Reply<R> {
    /// Ends before the asker hears anything: whoever has answered is not waited for any more,
    /// whether or not the asker has been polled since.
    waiting: Option<Waiting>,
    word: oneshot::Sender<Word<R>>,
    until: Instant,
}

impl<R> Reply<R> {
    pub(crate) fn new(
        word: oneshot::Sender<Word<R>>,
        waiting: Option<Waiting>,
        until: Instant,
    ) -> Self {
        Reply {
            waiting,
            word,
            until,
        }
    }

    /// The asker may have gone; then nobody hears it.
    fn send(self, word: Word<R>) {
        drop(self.waiting);
        if let Err(unheard) = self.word.send(word) {
            let _ = guard(move || drop(unheard));
        }
    }
}

impl<S: Answer<M>, M: Message, W: Back<S, M>> Enclosed<S> for Letter<M, W> {
    fn enter(&mut self, number: u64) {
        self.number = number;
    }

    fn answer_from<'a>(
        self,
        pile: Pile<'a, S>,
        service: &'a mut S,
        cx: &'a mut Context<S>,
    ) -> Answering<'a> {
        self.way.answer(self.message, Some(pile), service, cx)
    }
}

impl<S: Answer<M>, M: Message, W: Back<S, M>> AnyLetter<S> for Letter<M, W> {
    fn name(&self) -> &'static str {
        type_name::<M>()
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn is_expired(&self) -> bool {
        self.way.is_closed()
    }

    fn until(&self) -> Option<Instant> {
        self.way.until()
    }

    fn key(&self) -> Key {
        self.message.key()
    }

    fn answer<'a>(self: Box<Self>, service: &'a mut S, cx: &'a mut Context<S>) -> Answering<'a> {
        self.way.answer(self.message, None, service, cx)
    }

    fn abandon(self: Box<Self>) {
        let Letter { message, way, .. } = *self;
        way.abandon();
        let _ = guard(move || drop(message));
    }

    fn into_mail(self: Box<Self>) -> Box<dyn Mail<S>> {
        Bundle::of(*self)
    }
}

impl<S: Answer<M>, M: Message> Back<S, M> for NoWay {
    fn is_closed(&self) -> bool {
        false
    }

    fn until(&self) -> Option<Instant> {
        None
    }

    fn answer<'a>(
        self,
        message: M,
        pile: Option<Pile<'a, S>>,
        service: &'a mut S,
        cx: &'a mut Context<S>,
    ) -> Answering<'a> {
        Box::pin(heed(message, pile, service, cx))
    }

    fn abandon(self) {}
}

impl<S: Answer<M>, M: Message> Back<S, M> for Reply<M::Reply> {
    fn is_closed(&self) -> bool {
        self.word.is_closed()
    }

    fn until(&self) -> Option<Instant> {
        Some(self.until)
    }

    fn answer<'a>(
        self,
        message: M,
        _: Option<Pile<'a, S>>,
        service: &'a mut S,
        cx: &'a mut Context<S>,
    ) -> Answering<'a> {
        Box::pin(reply_to(message, self, service, cx))
    }

    fn abandon(self) {
        self.send(Word::Undelivered);
    }
}
