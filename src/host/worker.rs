//! A service with several workers that has not been opened yet, its types no longer known.
//!
//! A supervisor makes a branch of it, with one child for each worker, also while it runs.
//!
//! Invariant: all workers of a service come from one spec: one recipe, one list of subscriptions,
//! one team.
//!
//! It starts nothing.

use std::any::{Any, TypeId};

use crate::crew::{Crew, Share};
use crate::defaults::WORKERS_MAX;
use crate::host::recipe::{Recipe, Shared};
use crate::host::seed::{self, Entry, Opened, Opening, Problem, Seed};
use crate::policy::{Policy, Standing};
use crate::restart::Restart;
use crate::service::team::Team;
use crate::service::wish::Wish;
use crate::service::{Inbox, Placement, Service, ServiceSpec, Subscriptions};
use crate::shutdown::Shutdown;
use crate::sync::{Arc, Mutex, lock};
use crate::vitals::Vitals;
use crate::wall::Wall;

/// The workers of one service, their types not known here.
pub(crate) trait Troupe: Send {
    /// How many there are at the start.
    fn len(&self) -> usize;
    /// As [`Seed::check`], for all of them.
    fn check(
        &self,
        path: &str,
        outer: &Policy,
        max_restarts: u32,
        problems: &mut Vec<Problem>,
    ) -> Vec<Wish>;
    /// Whether the service as a whole may end its supervisor.
    fn is_significant(&self) -> bool;
    /// The service's own policy.
    fn policy(&self) -> Policy;
    /// When the service as a whole comes back.
    fn restart(&self) -> Restart;
    /// Where the service itself belongs; no worker is opened before.
    fn open(
        &self,
        wall: &Arc<Wall>,
        vitals: &Arc<Vitals>,
        policy: &Arc<Standing>,
    ) -> Arc<dyn Entry>;
    /// The worker with this index, to be opened.
    fn worker(&self, index: usize) -> Box<dyn Seed>;
    fn crew(&self) -> &Arc<Crew>;
}

/// What all workers of a service have in common.
struct Common<S: Service, L> {
    /// The spec without its recipe.
    spec: Mutex<ServiceSpec<S, L>>,
    recipe: Arc<Shared<S>>,
    team: Arc<Team<S>>,
}

/// One worker that has not been opened.
struct Worker<S: Service, L> {
    name: String,
    index: usize,
    common: Arc<Common<S, L>>,
}

/// Makes a troupe of a spec that asks for workers.
pub(crate) fn troupe<S: Service, L>(mut spec: ServiceSpec<S, L>, workers: usize) -> Box<dyn Troupe>
where
    L: Subscriptions<S> + Send + 'static,
{
    let recipe = Shared::new(spec.parts.recipe.take());
    let spec = Mutex::new(spec);
    let team = Team::new(workers);
    Box::new(Arc::new(Common { spec, recipe, team }))
}

/// What is impossible about such a number.
pub(crate) fn number_problem(workers: usize) -> Option<String> {
    match workers {
        0 => Some("0 workers, so nothing would ever be handled".to_owned()),
        1..=WORKERS_MAX => None,
        _ => Some(format!("{workers} workers, of at most {WORKERS_MAX}")),
    }
}

impl<S: Service, L: Subscriptions<S> + Send + 'static> Troupe for Arc<Common<S, L>> {
    fn len(&self) -> usize {
        self.team.crew.workers()
    }

    fn check(
        &self,
        path: &str,
        outer: &Policy,
        max_restarts: u32,
        problems: &mut Vec<Problem>,
    ) -> Vec<Wish> {
        let mut note = |text| {
            problems.push(Problem {
                path: path.to_owned(),
                event: None,
                text,
            });
        };
        number_problem(self.len()).map(&mut note);
        let spec = lock(&self.spec);
        if spec.parts.restart != Restart::Permanent {
            note("it has workers but is not permanent: a key would be left to nobody".to_owned());
        }
        spec.check(path, outer, max_restarts, problems)
    }

    fn is_significant(&self) -> bool {
        lock(&self.spec).parts.significant
    }

    fn policy(&self) -> Policy {
        lock(&self.spec).parts.policy.clone()
    }

    fn restart(&self) -> Restart {
        lock(&self.spec).parts.restart
    }

    fn open(
        &self,
        wall: &Arc<Wall>,
        vitals: &Arc<Vitals>,
        policy: &Arc<Standing>,
    ) -> Arc<dyn Entry> {
        let inbox = Arc::clone(&lock(&self.spec).parts.inbox);
        inbox.join(Arc::clone(&self.team));
        inbox.move_in(seed::home(wall, vitals, Arc::clone(policy), None));
        let team = Arc::clone(&self.team);
        Arc::new(Whole { inbox, team })
    }

    fn worker(&self, index: usize) -> Box<dyn Seed> {
        Box::new(Worker {
            name: index.to_string(),
            index,
            common: Arc::clone(self),
        })
    }

    fn crew(&self) -> &Arc<Crew> {
        &self.team.crew
    }
}

impl<S: Service, L: Subscriptions<S> + Send + 'static> Seed for Worker<S, L> {
    fn name(&self) -> &str {
        &self.name
    }

    fn restart(&self) -> Restart {
        Restart::Permanent
    }

    fn shutdown(&self) -> Shutdown {
        lock(&self.common.spec).parts.shutdown
    }

    fn is_significant(&self) -> bool {
        false
    }

    fn placement(&self) -> Placement {
        match lock(&self.common.spec).parts.placement {
            Placement::Together => Placement::Spread,
            placement => placement,
        }
    }

    fn check(
        &self,
        path: &str,
        outer: &Policy,
        max_restarts: u32,
        problems: &mut Vec<Problem>,
    ) -> Vec<Wish> {
        lock(&self.common.spec).check(path, outer, max_restarts, problems)
    }

    fn open(
        self: Box<Self>,
        wall: &Arc<Wall>,
        vitals: &Arc<Vitals>,
        above: &Arc<Standing>,
    ) -> Opened {
        let Common { spec, recipe, team } = &*self.common;
        let path = Arc::clone(&vitals.path);
        let service = path.rsplit_once('/').map_or(&*path, |(service, _)| service);
        let share = Arc::new(Share {
            crew: Arc::clone(&team.crew),
            index: self.index,
            service: service.into(),
            path: Arc::clone(&path),
        });
        let inbox = Inbox::new();
        inbox.join(Arc::clone(team));
        let policy = Standing::new(&path, Policy::new(), Some(above));
        let spec = lock(spec);
        let opening = Opening {
            inbox: Arc::clone(&inbox),
            home: seed::home(wall, vitals, policy, Some(share)),
            letters: spec.parts.letters as u64,
            laters: spec.parts.laters,
            keyed: None,
        };
        let recipe = Arc::clone(recipe);
        let opened = opening.open(&spec.on, move || Recipe::Shared(recipe));
        team.enter(self.index, &inbox);
        opened
    }
}

/// A service with workers, as it is found by its path.
struct Whole<S: Service> {
    inbox: Arc<Inbox<S>>,
    team: Arc<Team<S>>,
}

impl<S: Service> Whole<S> {
    /// What is said of the subscriptions is the same for all workers.
    fn of_one<R: Default>(&self, ask: impl FnOnce(&Arc<Inbox<S>>) -> R) -> R {
        self.team.inboxes().first().map(ask).unwrap_or_default()
    }
}

impl<S: Service> Entry for Whole<S> {
    fn type_name(&self) -> &'static str {
        self.inbox.type_name()
    }

    fn address(self: Arc<Self>) -> Box<dyn Any> {
        Arc::clone(&self.inbox).address()
    }

    fn call(&self) {
        self.team.inboxes().iter().for_each(|inbox| inbox.call());
    }

    fn wishes_supposing(&self, path: &str, policy: &Policy) -> Vec<Wish> {
        self.of_one(|inbox| inbox.wishes_supposing(path, policy))
    }

    fn wishes(&self) -> Vec<Wish> {
        self.of_one(|inbox| Entry::wishes(&**inbox))
    }

    fn misplaced(&self, policy: &Policy, event: TypeId) -> Vec<String> {
        self.inbox.misplaced(policy, event)
    }

    fn set_policy_on(&self, event: TypeId, policy: Policy) -> bool {
        self.team.set_policy(event, &policy)
    }

    fn note_new_policy(&self) {
        let inboxes = self.team.inboxes();
        inboxes.iter().for_each(|inbox| inbox.note_new_policy());
    }
}
