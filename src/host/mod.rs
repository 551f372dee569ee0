//! Running one service: its lives, one after the other, on one arbiter.
//!
//! The supervisor's actor orders; the host's actor obeys and reports each life's start and exit.
//! The service itself runs in a guarded future that the actor spawns, never in an actix hook.
//!
//! Invariant: whatever ends a life, the mailbox comes back, and what was in flight gets its
//! verdict before anybody hears of the exit.
//!
//! It does not decide about restarts.

mod actor;
mod guard;
mod home;
mod instance;
mod keyed;
mod life;
mod recipe;
mod ruling;
pub(crate) mod seed;
pub(crate) mod spin;
mod worker;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::mailbox::Mailbox;
use crate::mailbox::doors::Doors;
use crate::mailbox::source::Setback;
use crate::policy::Trouble;
use crate::service::control::{Control, Kill};
use crate::service::mail::Mail;
use crate::service::per_key::Keyed;
use crate::service::strand::Strand;
use crate::service::{AddedSource, Change, Context, Deliver, Inbox, Pace, Service};
use crate::sync::Arc;
use crate::topic::tally::Count;
use crate::waits::Mark;
use guard::Kept;
use keyed::KeyedLife;
use life::Life;
use recipe::Recipe;

pub(crate) use actor::{After, ChildReport, Host, LAST_TURN, News, Order};
pub(crate) use home::Home;
pub(crate) use seed::{Entry, Problem, Seed};
pub(crate) use worker::{Troupe, number_problem, troupe};

/// The mailbox of a service.
pub(crate) type ServiceMailbox<S, L> = Mailbox<L, dyn AddedSource<S> + Send, dyn Mail<S>>;

/// What was not delivered of one event when a service ended for good.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    /// The path that the ledger counts under.
    pub(crate) service: Arc<str>,
    pub(crate) event: &'static str,
    pub(crate) numbers: Vec<u64>,
}

/// Where something stays between the lives it is lent to.
type Shelf<T> = Rc<Cell<Option<T>>>;

/// Something lent to one life at a time: dropping the loan brings it back, panics included.
pub(crate) struct Borrowed<T> {
    value: Option<T>,
    home: Shelf<T>,
}

impl<T> Borrowed<T> {
    fn lend(value: T, home: &Shelf<T>) -> Self {
        Borrowed {
            value: Some(value),
            home: Rc::clone(home),
        }
    }
}

impl<T> Deref for Borrowed<T> {
    type Target = T;

    #[expect(
        clippy::expect_used,
        reason = "the value leaves only when the loan is dropped"
    )]
    fn deref(&self) -> &T {
        self.value.as_ref().expect("a loan holds its value")
    }
}

impl<T> DerefMut for Borrowed<T> {
    #[expect(
        clippy::expect_used,
        reason = "the value leaves only when the loan is dropped"
    )]
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("a loan holds its value")
    }
}

impl<T> Drop for Borrowed<T> {
    fn drop(&mut self) {
        self.home.set(self.value.take());
    }
}

/// What the end of a life says against the event in flight, if anything.
fn trouble(exit: &Exit, killed: Option<Kill>) -> Option<(Trouble, Failure)> {
    match exit {
        Exit::Panic(panic) => Some((Trouble::Crashed, Failure::from(panic.clone()))),
        Exit::Killed if killed == Some(Kill::Asked) => {
            Some((Trouble::Killed, Failure::new("killed on request")))
        }
        _ => None,
    }
}

pub(crate) type BoxedLife = Pin<Box<dyn Future<Output = Exit>>>;

/// A life that has been begun.
pub(crate) struct Begun {
    life: BoxedLife,
    control: Rc<Control>,
    /// Marks the thread while it is polled, and knows where it announces the room that it makes.
    mark: Rc<Mark<Doors>>,
}

/// A service whose types are not known here, between and during its lives.
pub(crate) trait Stage {
    /// Begins a life, which may take so long for `stopping` if it ends by itself; `None` if the one
    /// before is not over, which is never seen.
    fn begin(&mut self, farewell: Duration) -> Option<Begun>;
    /// Makes the life look up before its next delivery.
    fn call(&self);
    /// Takes the mailbox back after a life, and settles what was in flight; a life that was
    /// killed because of what it did leaves a failed attempt. Returns how the life has ended,
    /// which is another way if the verdict on that attempt says more about the worker.
    fn after(&mut self, exit: Exit, killed: Option<Kill>) -> Exit;
    /// Ends all subscriptions and refuses letters from now on.
    fn close(&mut self) -> Vec<Unread>;
}

/// One service: its recipe, and the mailbox that outlives its lives.
pub(crate) struct Engine<S: Service, L> {
    recipe: Recipe<S>,
    /// For a service with an instance per key.
    keyed: Option<Shelf<Keyed<S>>>,
    /// A box, so that it takes its room once, here or in a life.
    mailbox: Shelf<Box<ServiceMailbox<S, L>>>,
    inbox: Arc<Inbox<S>>,
    dice: fastrand::Rng,
    letters: u64,
    laters: usize,
    closed: bool,
}

impl<S: Service, L: Deliver<S> + 'static> Engine<S, L> {
    /// Lets the mailbox be changed between two lives.
    fn with_mailbox<R>(&self, act: impl FnOnce(&mut ServiceMailbox<S, L>) -> R) -> Option<R> {
        let mut mailbox = self.mailbox.take()?;
        let result = act(&mut mailbox);
        self.mailbox.set(Some(mailbox));
        Some(result)
    }

    fn reopen(&mut self) {
        if std::mem::take(&mut self.closed) {
            self.inbox.join_crew();
            self.inbox.resubscribe();
            // Policies may have been set while there was nobody to follow them.
            self.inbox.renew_rules();
            self.with_mailbox(|mailbox| {
                mailbox.reopen();
                mailbox.follow(self.inbox.take_new_rules(), &|| self.inbox.watch());
            });
            // Last: whoever subscribes after this finds what the spec says noted.
            self.inbox.letters.open(self.letters);
        }
    }
}

impl<S: Service, L: Deliver<S> + 'static> Stage for Engine<S, L> {
    fn begin(&mut self, farewell: Duration) -> Option<Begun> {
        self.reopen();
        let home = self.inbox.home().cloned()?;
        let recipe = self.recipe.lend()?;
        let mut mailbox = self.mailbox.take()?;
        let control = Rc::new(Control::new(home.waiter.note_start(), farewell));
        let mark = Rc::new(Mark {
            waiter: home.waiter,
            others: Doors::new(Arc::clone(&self.inbox.bell), mailbox.doors()),
        });
        let life = Life {
            mailbox: Borrowed::lend(mailbox, &self.mailbox),
            inbox: Arc::clone(&self.inbox),
            vitals: Arc::clone(&home.vitals),
            pulse: Arc::clone(&home.wall.pulse),
            pace: Pace::new(home.wall.pulse.clock.now()),
            dice: self.dice.fork(),
            share: home.share,
            mark: Rc::clone(&mark),
        };
        let address = crate::service::Address::new(Arc::clone(&self.inbox));
        let strand = Strand::of_life(home.vitals);
        let cx = Context::new(home.wall, address, Rc::clone(&control), strand);
        if let Some(home) = &self.keyed
            && let Some(keyed) = home.take()
        {
            let life = KeyedLife::new(life, Borrowed::lend(keyed, home));
            return Some(Begun {
                life: Box::pin(life.run(cx)),
                control,
                mark,
            });
        }
        let mut cx = Kept::new(cx);
        cx.laters.allow(self.laters);
        Some(Begun {
            life: Box::pin(life.run(recipe, cx)),
            control,
            mark,
        })
    }

    fn after(&mut self, mut exit: Exit, killed: Option<Kill>) -> Exit {
        let Some(home) = self.inbox.home() else {
            return exit;
        };
        let pulse = &home.wall.pulse;
        let jitter = self.dice.f64();
        home.vitals.own.note_rest();
        self.with_mailbox(|mailbox| {
            let now = pulse.clock.now();
            mailbox.follow(self.inbox.take_new_rules(), &|| self.inbox.watch());
            if let Some((trouble, failure)) = trouble(&exit, killed) {
                let at = pulse.clock.since_start();
                let setback = Setback {
                    trouble,
                    failure: failure.clone(),
                    now,
                    at,
                    jitter,
                };
                let consequence = ruling::judge(mailbox, setback, &home.wall, &home.vitals);
                exit = consequence.exit(failure, |_| exit.clone());
            } else if let Some(source) = mailbox.in_flight() {
                mailbox.with(source, |source| source.hand_back(now));
            }
            mailbox.each(|_, source| source.hand_back_open(now));
            mailbox.note_waiting();
            while mailbox.letters.is_in_flight() {
                mailbox.letters.settle(Count::Failed);
            }
            mailbox.wake();
            for door in mailbox.doors() {
                door.announce();
            }
        });
        pulse.ran_dry();
        exit
    }

    fn call(&self) {
        self.inbox.call();
    }

    fn close(&mut self) -> Vec<Unread> {
        if std::mem::replace(&mut self.closed, true) {
            return Vec::new();
        }
        let closed = self.with_mailbox(|mailbox| {
            // First: who subscribes after this sees that it came too late.
            let letters = mailbox.letters.close();
            for change in self.inbox.take_changes() {
                if let Change::Subscribe(source) = change {
                    mailbox.add(source);
                }
            }
            (mailbox.close(), letters)
        });
        // Last: whoever has subscribed in time is among them, and nobody can any more.
        self.inbox.forget_subscriptions();
        let Some((unread, letters)) = closed else {
            return Vec::new();
        };
        for letter in letters {
            letter.abandon();
        }
        let Some(home) = self.inbox.home() else {
            return Vec::new();
        };
        if let Some(share) = &home.share {
            share.crew.leave(share.index);
        }
        home.wall.pulse.ran_dry();
        let service = Arc::clone(home.service());
        unread
            .into_iter()
            .map(|(event, numbers)| Unread {
                service: Arc::clone(&service),
                event,
                numbers,
            })
            .collect()
    }
}

impl<S: Service, L> fmt::Debug for Engine<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("inbox", &self.inbox)
            .finish_non_exhaustive()
    }
}
