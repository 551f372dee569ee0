//! A service that has not been opened yet, its types no longer known.
//!
//! Supervisors collect seeds as children; the board checks them all, then opens them all.
//!
//! Invariant: checking changes nothing, so a tree that is refused has done nothing.
//!
//! It starts nothing.

use std::any::{Any, TypeId, type_name};
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::crew::Share;
use crate::host::recipe::Recipe;
use crate::host::{Engine, ServiceMailbox, Stage};
use crate::mailbox::letters::Letters;
use crate::policy::{Policy, Standing};
use crate::restart::Restart;
use crate::service::inbox::Home;
use crate::service::per_key::Keyed;
use crate::service::wish::{Wish, against};
use crate::service::{Inbox, Placement, Service, ServiceSpec, Subscriptions, misplaced};
use crate::shutdown::Shutdown;
use crate::sync::Arc;
use crate::vitals::Vitals;
use crate::wall::{AnyLetters, Wall};

/// One thing that is wrong with a tree, a child or a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The path of the service or supervisor.
    pub path: String,
    /// The event's name, if the problem is one of a subscription.
    pub event: Option<&'static str>,
    /// What is wrong, in words.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A root without a name is one of the problems.
        let path = match &*self.path {
            "" => "the root",
            path => path,
        };
        match self.event {
            Some(event) => write!(f, "{path}, on {event}: {}", self.text),
            None => write!(f, "{path}: {}", self.text),
        }
    }
}

/// What can be asked about a service by its path.
pub(crate) trait Entry: Send + Sync {
    fn type_name(&self) -> &'static str;
    fn address(self: Arc<Self>) -> Box<dyn Any>;
    /// Makes the service look up before its next delivery.
    fn call(&self);
    /// The subscriptions, with what would be in force if the policy at `path`, here or above, were
    /// this.
    fn wishes_supposing(&self, path: &str, policy: &Policy) -> Vec<Wish>;
    /// The subscriptions, with what is in force.
    fn wishes(&self) -> Vec<Wish>;
    /// What a subscription's own policy would say in vain.
    fn misplaced(&self, policy: &Policy, event: TypeId) -> Vec<String>;
    /// Sets the own policy of one subscription. False if there is none to that type.
    fn set_policy_on(&self, event: TypeId, policy: Policy) -> bool;
    /// Has the service make its rules anew.
    fn note_new_policy(&self);
}

impl<S: Service> Entry for Inbox<S> {
    fn type_name(&self) -> &'static str {
        type_name::<S>()
    }

    fn address(self: Arc<Self>) -> Box<dyn Any> {
        Box::new(crate::service::Address::new(self))
    }

    fn call(&self) {
        Inbox::call(self);
    }

    fn wishes_supposing(&self, path: &str, policy: &Policy) -> Vec<Wish> {
        let home = self.home();
        home.map_or_else(Vec::new, |home| {
            Inbox::wishes(self, &home.policy.supposing(path, policy))
        })
    }

    fn wishes(&self) -> Vec<Wish> {
        let home = self.home();
        home.map_or_else(Vec::new, |home| {
            Inbox::wishes(self, &home.policy.in_force())
        })
    }

    fn misplaced(&self, policy: &Policy, event: TypeId) -> Vec<String> {
        misplaced(policy, event, TypeId::of::<S>())
    }

    fn set_policy_on(&self, event: TypeId, mut policy: Policy) -> bool {
        Inbox::set_policy(self, event, &mut policy)
    }

    fn note_new_policy(&self) {
        Inbox::note_new_policy(self);
    }
}

/// What the supervisor needs to know of a child that has been opened.
pub(crate) struct Opened {
    pub(crate) entry: Arc<dyn Entry>,
    pub(crate) policy: Arc<Standing>,
    /// Builds the stage, on the thread where it will stay.
    pub(crate) stage: Box<dyn FnOnce() -> Box<dyn Stage> + Send>,
}

/// A service that has not been opened.
pub(crate) trait Seed: Send {
    fn name(&self) -> &str;
    fn restart(&self) -> Restart;
    fn shutdown(&self) -> Shutdown;
    fn is_significant(&self) -> bool;
    fn placement(&self) -> Placement;
    /// What is impossible about it. `max_restarts` is its supervisor's. Returns its subscriptions:
    /// the names of their types are compared across the tree.
    fn check(
        &self,
        path: &str,
        outer: &Policy,
        max_restarts: u32,
        problems: &mut Vec<Problem>,
    ) -> Vec<Wish>;
    /// Takes its places on the board, and its letters.
    fn open(
        self: Box<Self>,
        wall: &Arc<Wall>,
        vitals: &Arc<Vitals>,
        above: &Arc<Standing>,
    ) -> Opened;
}

impl<S: Service, L: Subscriptions<S> + Send + 'static> Seed for ServiceSpec<S, L> {
    fn name(&self) -> &str {
        &self.parts.name
    }

    fn restart(&self) -> Restart {
        self.parts.restart
    }

    fn shutdown(&self) -> Shutdown {
        self.parts.shutdown
    }

    fn is_significant(&self) -> bool {
        self.parts.significant
    }

    fn placement(&self) -> Placement {
        self.parts.placement
    }

    fn check(
        &self,
        path: &str,
        outer: &Policy,
        max_restarts: u32,
        problems: &mut Vec<Problem>,
    ) -> Vec<Wish> {
        let mut note = |event, text: String| {
            problems.push(Problem {
                path: path.to_owned(),
                event,
                text,
            });
        };
        let problems = self.parts.policy.problems();
        for text in problems.into_iter().chain(self.parts.shutdown.problem()) {
            note(None, text);
        }
        if self.parts.letters == 0 {
            note(
                None,
                "the capacity of letters is 0, so nothing could be asked".to_owned(),
            );
        }
        if let Some(keyed) = &self.parts.per_key {
            for text in keyed.terms.problems() {
                note(None, text);
            }
            if self.parts.workers.is_some() {
                let text = "it has an instance per key, so it takes no workers";
                note(None, text.to_owned());
            }
        }
        if self.parts.laters == 0 {
            note(
                None,
                "no event may be open in later work, so none could ever be read".to_owned(),
            );
        }
        let mut wishes = Vec::new();
        let policy = self.parts.policy.clone().made_at(path).over(outer);
        self.on.each(path, &policy, &mut |wish| wishes.push(wish));
        for (index, wish) in wishes.iter().enumerate() {
            for text in &wish.problems {
                note(Some(wish.event), text.clone());
            }
            let mut before = wishes.iter().take(index);
            if before.any(|one| one.event_type == wish.event_type) {
                note(Some(wish.event), "it subscribes twice".to_owned());
            }
        }
        for (step, _) in self.parts.policy.steps() {
            if !wishes.iter().any(|wish| step.is_for::<S>(wish.event_type)) {
                let text =
                    format!("its policy says to {step}, but none of its subscriptions is that");
                note(None, text);
            }
        }
        for (event, text) in against(&wishes, self.parts.restart, max_restarts) {
            note(Some(event), text);
        }
        wishes
    }

    fn open(
        self: Box<Self>,
        wall: &Arc<Wall>,
        vitals: &Arc<Vitals>,
        above: &Arc<Standing>,
    ) -> Opened {
        let ServiceSpec { parts, on } = *self;
        let policy = Standing::new(&vitals.path, parts.policy, Some(above));
        let opening = Opening {
            inbox: parts.inbox,
            home: home(wall, vitals, policy, None),
            letters: parts.letters as u64,
            laters: parts.laters,
            keyed: parts.per_key,
        };
        let recipe = parts.recipe;
        opening.open(&on, move || Recipe::own(recipe))
    }
}

/// Where a service belongs from now on.
pub(super) fn home(
    wall: &Arc<Wall>,
    vitals: &Arc<Vitals>,
    policy: Arc<Standing>,
    share: Option<Arc<Share>>,
) -> Home {
    Home {
        wall: Arc::clone(wall),
        waiter: wall.waits.waiter(&vitals.path),
        policy,
        vitals: Arc::clone(vitals),
        share,
    }
}

/// What it takes to open a service.
pub(super) struct Opening<S: Service> {
    pub(super) inbox: Arc<Inbox<S>>,
    pub(super) home: Home,
    pub(super) letters: u64,
    pub(super) laters: usize,
    pub(super) keyed: Option<Keyed<S>>,
}

impl<S: Service> Opening<S> {
    /// Takes its places on the board, and its letters. The recipe is made where it will stay.
    pub(super) fn open<L: Subscriptions<S>>(
        self,
        on: &L,
        recipe: impl FnOnce() -> Recipe<S> + Send + 'static,
    ) -> Opened {
        let Opening {
            inbox,
            home,
            letters,
            laters,
            keyed,
        } = self;
        let policy = Arc::clone(&home.policy);
        let wall = &home.wall;
        inbox.move_in(home.clone());
        inbox.letters.open(letters);
        inbox.join_crew();
        let letterbox = Arc::clone(&inbox.letters) as Arc<dyn AnyLetters>;
        wall.add_letters(Arc::clone(home.path()), home.service(), letterbox);
        let sources = on.open(&inbox, &home);
        // Boxed here, so that what is carried to where it will stay is small.
        let mailbox: Box<ServiceMailbox<S, _>> = Box::new(ServiceMailbox::new(
            sources,
            Letters::new(Arc::clone(&inbox.letters)),
            inbox.bell.clone(),
        ));
        let dice = wall.pulse.dice.fork(home.path());
        let entry = Arc::clone(&inbox) as Arc<dyn Entry>;
        let stage = Box::new(move || {
            Box::new(Engine {
                recipe: recipe(),
                keyed: keyed.map(|keyed| Rc::new(Cell::new(Some(keyed)))),
                mailbox: Rc::new(Cell::new(Some(mailbox))),
                inbox,
                dice,
                letters,
                laters,
                closed: false,
            }) as Box<dyn Stage>
        });
        Opened {
            entry,
            policy,
            stage,
        }
    }
}
