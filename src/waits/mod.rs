//! Who waits for whom: a small set of edges between services.
//!
//! A verb that is about to wait for another service notes it here first, on behalf of the service
//! that runs it. A wait ends where its reason ends: with the answer, with the room, with the
//! outcome, or with the future that waits; not when the one who waited is polled again.
//!
//! Invariant: the waits that are noted with a look never form a cycle, so no set of services
//! waits for itself; the one that would close it is refused. Under [`Cycles::Warn`] it is told
//! instead, and the search ends all the same.
//!
//! It knows services by path and wakes nobody.

pub(crate) mod graph;
mod running;

use std::collections::HashMap;
use std::fmt;
use std::slice;
use std::sync::Weak;

use foldhash::fast::RandomState;

use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, lock};
use graph::{Graph, Node};

pub(crate) use running::{LetGo, Mark, Running, running};

/// What happens to a wait that would close a cycle: see [the tour](crate#waiting-in-a-circle).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cycles {
    /// It fails at once, with the path in the error.
    #[default]
    Refuse,
    /// A warning with the path is logged, with the target `callboard::waits`, and the wait goes on
    /// until its time limit. A `.settled()` has no limit of its own: it then waits until its
    /// handler's timeout, or until the board ends.
    Warn,
}

/// All waits on one board.
#[derive(Debug)]
pub(crate) struct Waits {
    graph: Mutex<Graph>,
    /// Looked up by path, and never walked through: their order would say nothing.
    seats: Mutex<HashMap<Arc<str>, Weak<Seat>, RandomState>>,
    cycles: Cycles,
}

/// A service, or a supervisor, as one that may wait and be waited for. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Waiter(Arc<Seat>);

/// A wait that has been noted, until it or a clone of it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    from: Waiter,
    /// Keeps the nodes that the edges lead to.
    _to: To,
    wait: u64,
}

/// The paths of the services that would wait for each other, the first one repeated at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cycle(Vec<Arc<str>>);

#[derive(Debug)]
struct Seat {
    waits: Arc<Waits>,
    /// The supervisor, unless this is the root.
    above: Option<Waiter>,
    path: Arc<str>,
    node: Node,
    /// How many edges start here. Changed under the lock of the graph; whoever looks for its own
    /// edge without it, and finds none, has none.
    edges: AtomicUsize,
    /// It is a supervisor, and nothing waits for the starts of its children but who asked for one.
    apart: AtomicBool,
    /// Somebody has asked for its start.
    awaited: AtomicBool,
}

/// Somebody waits for the start of this one, until dropped.
#[derive(Debug)]
pub(crate) struct Awaited(Waiter);

/// For whom a wait is. One is by far the most usual, and takes no memory.
#[derive(Clone, Debug)]
enum To {
    One(Waiter),
    All(Box<[Waiter]>),
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" -> "))
    }
}

impl Default for Waits {
    fn default() -> Self {
        Waits::new(Cycles::default())
    }
}

impl Waits {
    pub(crate) fn new(cycles: Cycles) -> Self {
        Waits {
            graph: Mutex::new(Graph::default()),
            seats: Mutex::default(),
            cycles,
        }
    }

    /// Differs between boards that live at the same time.
    pub(crate) fn board(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The one at this path.
    pub(crate) fn waiter(self: &Arc<Self>, path: &Arc<str>) -> Waiter {
        self.waiter_at(path, || Arc::clone(path))
    }

    fn waiter_at(self: &Arc<Self>, path: &str, owned: impl FnOnce() -> Arc<str>) -> Waiter {
        let known = lock(&self.seats).get(path).and_then(Weak::upgrade);
        if let Some(seat) = known {
            return Waiter(seat);
        }
        let above = self.above(path);
        let path = owned();
        let mut seats = lock(&self.seats);
        let known = seats.entry(Arc::clone(&path)).or_default();
        // Somebody else may have been first.
        if let Some(seat) = known.upgrade() {
            return Waiter(seat);
        }
        let seat = Arc::new(Seat {
            waits: Arc::clone(self),
            above,
            node: lock(&self.graph).enter(Arc::clone(&path)),
            path,
            edges: AtomicUsize::new(0),
            apart: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
        });
        *known = Arc::downgrade(&seat);
        Waiter(seat)
    }

    /// The supervisor of the one at this path, unless that is the root.
    fn above(self: &Arc<Self>, path: &str) -> Option<Waiter> {
        let (above, _) = path.rsplit_once('/')?;
        Some(self.waiter_at(above, || above.into()))
    }
}

impl Waiter {
    /// As [`Waits::board`].
    pub(crate) fn board(&self) -> usize {
        self.0.waits.board()
    }

    /// The supervisor, or for a worker its service; none for the root.
    pub(crate) fn above(&self) -> Option<&Waiter> {
        self.0.above.as_ref()
    }

    /// Its number. Another one may have it once this one has gone, and with it all that this one
    /// could still have handled.
    pub(crate) fn number(&self) -> u32 {
        u32::try_from(self.0.node).unwrap_or(u32::MAX)
    }

    /// Notes that the supervisor waits for the start of this one, unless nobody waits for that:
    /// whoever waits for the supervisor waits for something else then.
    pub(crate) fn note_start(&self) -> Option<Waiting> {
        let supervisor = self.0.above.as_ref()?;
        let is_awaited = self.0.awaited.load(Ordering::Acquire);
        let counts = is_awaited || !supervisor.0.apart.load(Ordering::Acquire);
        counts.then(|| supervisor.hold(self.clone()))
    }

    /// From now on the children of this supervisor start apart from each other, or again in order.
    pub(crate) fn start_apart(&self, apart: bool) {
        self.0.apart.store(apart, Ordering::Release);
    }

    /// Notes that somebody waits for the start of this one, before it is begun.
    pub(crate) fn await_start(&self) -> Awaited {
        self.0.awaited.store(true, Ordering::Release);
        Awaited(self.clone())
    }

    /// Notes that this one waits for its turn to start, and so for its supervisor.
    pub(crate) fn note_turn(&self) -> Option<Waiting> {
        let supervisor = self.0.above.clone()?;
        Some(self.hold(supervisor))
    }

    /// Notes that this service waits for another, or says which cycle that would close. Nothing
    /// is noted then.
    pub(crate) fn wait_for(&self, to: &Waiter) -> Result<Waiting, Cycle> {
        self.begin(To::One(to.clone()))
    }

    /// As [`Waiter::wait_for`], for both of these at once.
    pub(crate) fn wait_for_both(&self, to: &Waiter, and: &Waiter) -> Result<Waiting, Cycle> {
        self.begin(To::All([to.clone(), and.clone()].into()))
    }

    /// Notes a wait that cannot be refused, because it follows from the tree. Such waits are
    /// noted before those that they could close a cycle with.
    pub(crate) fn hold(&self, to: Waiter) -> Waiting {
        self.note(&mut lock(&self.0.waits.graph), To::One(to))
    }

    /// As [`Waiter::wait_for`], for all of these paths at once.
    pub(crate) fn wait(&self, to: Vec<Arc<str>>) -> Result<Waiting, Cycle> {
        let waits = &self.0.waits;
        self.begin(To::All(to.iter().map(|path| waits.waiter(path)).collect()))
    }

    /// Between two handlers a service waits for nobody, whatever futures it has kept.
    #[inline]
    pub(crate) fn rest(&self) {
        if self.0.edges.load(Ordering::Relaxed) > 0 {
            self.change(|graph, node| graph.end_all(node));
        }
    }

    fn begin(&self, to: To) -> Result<Waiting, Cycle> {
        let waits = &self.0.waits;
        let mut graph = lock(&waits.graph);
        let look = |next: &Waiter| graph.way(next.0.node, self.0.node);
        let way = to.all().iter().find_map(look);
        let cycle = way.map(|mut way| {
            way.insert(0, Arc::clone(&self.0.path));
            Cycle(way)
        });
        match cycle {
            None => Ok(self.note(&mut graph, to)),
            Some(cycle) if waits.cycles == Cycles::Refuse => Err(cycle),
            Some(cycle) => {
                let waiting = self.note(&mut graph, to);
                drop(graph);
                tracing::warn!(
                    target: "callboard::waits",
                    path = %cycle,
                    "services wait for each other in a circle: only a deadline ends it"
                );
                Ok(waiting)
            }
        }
    }

    fn note(&self, graph: &mut Graph, to: To) -> Waiting {
        let node = self.0.node;
        let wait = graph.add(node, to.all().iter().map(|to| to.0.node));
        self.0.edges.store(graph.degree(node), Ordering::Relaxed);
        Waiting {
            from: self.clone(),
            _to: to,
            wait,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Graph, Node)) {
        let node = self.0.node;
        let mut graph = lock(&self.0.waits.graph);
        change(&mut graph, node);
        self.0.edges.store(graph.degree(node), Ordering::Relaxed);
    }
}

impl Waiting {
    /// The wait is over as far as it was for this path.
    pub(crate) fn end_for(&self, path: &Arc<str>) {
        let to = self.from.0.waits.waiter(path).0.node;
        self.from
            .change(|graph, node| graph.end_one(node, self.wait, to));
    }
}

impl To {
    fn all(&self) -> &[Waiter] {
        match self {
            To::One(one) => slice::from_ref(one),
            To::All(all) => all,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Where the wait has been ended by its other side, there is often nothing left to end.
        if self.from.0.edges.load(Ordering::Relaxed) > 0 {
            self.from.change(|graph, node| graph.end(node, self.wait));
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.0.awaited.store(false, Ordering::Release);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = lock(&self.waits.seats);
        // Another may have taken the path since.
        let is_this = |seat: &Weak<Seat>| std::ptr::eq(seat.as_ptr(), self);
        if seats.get(&self.path).is_some_and(is_this) {
            seats.remove(&self.path);
        }
        drop(seats);
        lock(&self.waits.graph).leave(self.node);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    struct Services(Arc<Waits>);

    impl Services {
        fn wait<const N: usize>(&self, path: &str, to: [&str; N]) -> Result<Waiting, Cycle> {
            let waiter = self.0.waiter(&path.into());
            waiter.wait(to.map(Arc::from).to_vec())
        }

        /// How many edges there are, and for how many paths something is kept.
        fn kept(&self) -> (usize, usize) {
            let seats = lock(&self.0.seats);
            let degree = |seat: Arc<Seat>| lock(&self.0.graph).degree(seat.node);
            let edges = seats.values().filter_map(Weak::upgrade).map(degree).sum();
            (edges, seats.len())
        }
    }

    fn services() -> Services {
        Services(Arc::default())
    }

    #[test]
    fn the_wait_that_closes_a_cycle_is_refused_with_its_path() {
        let services = services();
        let _ab = services.wait("a", ["b"]).unwrap();
        let _bc = services.wait("b", ["c"]).unwrap();
        let cycle = services.wait("c", ["a"]).unwrap_err();
        assert_eq!(cycle.to_string(), "c -> a -> b -> c");
    }

    #[test]
    fn waiting_for_oneself_is_a_cycle() {
        assert_eq!(
            services().wait("a", ["a"]).unwrap_err().to_string(),
            "a -> a"
        );
    }

    #[test]
    fn a_wait_that_is_over_closes_no_cycle() {
        let services = services();
        drop(services.wait("a", ["b", "b"]).unwrap());
        let _ba = services.wait("b", ["a"]).unwrap();
        assert!(services.wait("a", ["b"]).is_err());
        assert_eq!(services.kept(), (1, 2));
    }

    #[test]
    fn several_waits_at_once_are_all_looked_at() {
        let services = services();
        let _ca = services.wait("c", ["a"]).unwrap();
        assert!(services.wait("a", ["b", "c"]).is_err());
        let _ab = services.wait("a", ["b"]).unwrap();
        let _ab_again = services.wait("a", ["b"]).unwrap();
    }

    #[test]
    fn nothing_is_kept_of_waits_that_are_over() {
        let services = services();
        let ab = services.wait("a", ["b", "c"]).unwrap();
        let twin = ab.clone();
        drop(ab);
        assert_eq!(services.kept(), (0, 3));
        drop(twin);
        assert_eq!(services.kept(), (0, 0));
        let _ba = services.wait("b", ["a"]).unwrap();
    }

    #[test]
    fn a_wait_for_several_ends_for_each() {
        let services = services();
        let all = services.wait("a", ["b", "c"]).unwrap();
        all.end_for(&"b".into());
        let ba = services.wait("b", ["a"]).unwrap();
        assert!(services.wait("c", ["a"]).is_err());
        drop((all, ba));
        assert_eq!(services.kept(), (0, 0));
    }

    #[test]
    fn one_of_two_waits_for_the_same_ends_alone() {
        let services = services();
        let (first, second) = (services.wait("a", ["b"]), services.wait("a", ["b"]));
        drop(first.unwrap());
        assert!(services.wait("b", ["a"]).is_err());
        drop(second.unwrap());
        services.wait("b", ["a"]).unwrap();
    }

    #[test]
    fn a_service_at_rest_waits_for_nobody() {
        let services = services();
        let kept = services.wait("a", ["b"]).unwrap();
        services.0.waiter(&"a".into()).rest();
        let _ba = services.wait("b", ["a"]).unwrap();
        drop(kept);
        assert_eq!(services.kept(), (1, 2));
    }

    #[test]
    fn a_sibling_whose_turn_has_not_come_is_not_waited_for() {
        let services = services();
        assert!(services.0.waiter(&"shop".into()).note_start().is_none());
        let turn = services.0.waiter(&"shop/e".into()).note_turn().unwrap();
        let start = services.0.waiter(&"shop/d".into()).note_start().unwrap();
        let cycle = services.wait("shop/d", ["shop/e"]).unwrap_err();
        let path = "shop/d -> shop/e -> shop -> shop/d";
        assert_eq!(cycle.to_string(), path);
        // Its start is over, and then its sibling's turn comes.
        drop(start);
        let _de = services.wait("shop/d", ["shop/e"]).unwrap();
        drop(turn);
        assert_eq!(services.kept().0, 1);
    }

    #[test]
    fn where_children_start_apart_a_start_counts_for_whoever_asked_for_it() {
        let services = services();
        let waiter = |path: &str| services.0.waiter(&path.into());
        let (shop, d, e) = (waiter("shop"), waiter("shop/d"), waiter("shop/e"));
        shop.start_apart(true);
        let awaited = e.await_start();
        let _starts = (d.note_start(), e.note_start());
        let _as = services.wait("a", ["shop"]).unwrap();
        services.wait("shop/d", ["a"]).unwrap();
        let cycle = services.wait("shop/e", ["a"]).unwrap_err();
        assert_eq!(cycle.to_string(), "shop/e -> a -> shop -> shop/e");
        drop(awaited);
        assert!(e.note_start().is_none());
        shop.start_apart(false);
        let _start = d.note_start();
        assert!(services.wait("shop/d", ["a"]).is_err());
    }

    #[test]
    fn what_is_held_may_close_a_cycle_and_the_search_ends() {
        let services = services();
        let (a, b) = (
            services.0.waiter(&"a".into()),
            services.0.waiter(&"b".into()),
        );
        let _ab = a.hold(b.clone());
        let _ba = b.hold(a);
        let _cb = services.wait("c", ["b"]).unwrap();
        assert!(services.wait("a", ["c"]).is_err());
    }

    #[test]
    fn a_chain_of_ten_thousand_is_closed_by_nobody() {
        let waits = Arc::<Waits>::default();
        let path = |index: usize| Arc::from(format!("tree/service-{index}"));
        let chain: Vec<_> = (0..10_000)
            .map(|index| waits.waiter(&path(index)))
            .collect();
        let links = chain.windows(2);
        let waiting: Vec<_> = links.map(|pair| pair[0].wait_for(&pair[1])).collect();
        assert!(waiting.iter().all(Result::is_ok));
        let Cycle(way) = chain[9_999].wait_for(&chain[0]).unwrap_err();
        assert_eq!(
            (way.len(), &way[1], &way[0]),
            (10_001, &path(0), &path(9_999))
        );
    }

    #[test]
    fn a_warning_lets_the_wait_go_on() {
        let services = Services(Arc::new(Waits::new(Cycles::Warn)));
        let _ab = services.wait("a", ["b"]).unwrap();
        let _ba = services.wait("b", ["a"]).unwrap();
        let _ca = services.wait("c", ["a"]).unwrap();
        assert_eq!(services.kept(), (3, 3));
    }
}
