//! What the board hangs on: every topic, every letterbox, the shelf of dead letters.
//!
//! Verbs find their topic here, without asking anyone; the ledger is read off here.
//!
//! Invariant: there is one topic per event type, for as long as the board lives.
//!
//! It knows no service and starts nothing.

use std::any::{Any, TypeId, type_name};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::dead_letter::DeadLetter;
use crate::defaults::UNDELIVERED_IDS;
use crate::event::Event;
use crate::gauges::Gauges;
use crate::ledger::{Ledger, LetterRow, take_tree};
use crate::lifecycle::{Change, Lifecycle};
use crate::names::EventNames;
use crate::pulse::{Phase, Pulse};
use crate::shelf::Shelf;
use crate::sync::{Arc, Mutex, OnceLock, Weak, lock};
use crate::topic::{AnyTopic, Origin, Topic};
use crate::vitals::Vitals;
use crate::waits::{Cycles, Waits};
use crate::works::Works;

/// Letters whose service is not known here.
pub(crate) trait AnyLetters: Send + Sync {
    /// Their accounting, without a name.
    fn counts(&self) -> LetterRow;
    /// Wakes everybody who waits for room, because the board's phase has changed.
    fn phase_changed(&self);
}

/// The events left unread, by path and event.
pub(crate) type Unread = BTreeMap<(Arc<str>, &'static str), Left>;

/// What was left unread of one event: how many, and the numbers of the last of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    pub(crate) count: u64,
    pub(crate) numbers: Vec<u64>,
}

impl Left {
    /// Adds as many more, and their numbers as far as they are known. The last
    /// [`UNDELIVERED_IDS`] are kept.
    fn add(&mut self, count: u64, numbers: Vec<u64>) {
        self.count += count;
        // What is too old goes first, so that nothing more is ever kept.
        let known = self.numbers.len() + numbers.len();
        let old = known.saturating_sub(UNDELIVERED_IDS);
        let passed = old.saturating_sub(self.numbers.len());
        self.numbers.drain(..old - passed);
        self.numbers.extend(numbers.into_iter().skip(passed));
    }
}

/// A topic, and a place there at which something is open.
type Open = (Arc<dyn AnyTopic>, u64);

/// A letterbox, and the path that the ledger counts it under.
type Counted = (Arc<str>, Arc<dyn AnyLetters>);

pub(crate) struct Wall {
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) shelf: Shelf,
    pub(crate) waits: Arc<Waits>,
    pub(crate) works: Arc<Works>,
    topics: DashMap<TypeId, Arc<dyn AnyTopic>, RandomState>,
    /// Which type has which event name: those that a tree or subscription names, and all topics.
    pub(crate) names: Mutex<EventNames>,
    /// By path. Whoever looks at `folded`, or changes it, holds this meanwhile: a row that moves
    /// from here to there is always in one of them.
    letters: Mutex<BTreeMap<Arc<str>, Counted>>,
    /// The letters of services that will not come back, summed up by what they had in common.
    folded: Mutex<BTreeMap<Arc<str>, LetterRow>>,
    /// What services left behind when they ended for good.
    undelivered: Mutex<Unread>,
    /// The services that were killed while the board ended.
    killed: Mutex<BTreeSet<Arc<str>>>,
    /// The services that are suspended: what they hold does not move.
    suspended: Mutex<BTreeSet<Arc<str>>>,
    pub(crate) gauges: Gauges,
    /// The board that this hangs on.
    owner: OnceLock<Weak<dyn Any + Send + Sync>>,
    /// Begins the end of the board, without waiting for it.
    end: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Why a board does not settle: the work that is left does not move by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// Everything else is settled, but these services are suspended and hold events or letters.
    #[error("cannot settle: suspended services still hold work: {}", services.join(", "))]
    #[non_exhaustive]
    Suspended {
        /// Their paths, sorted.
        services: Vec<String>,
    },
    /// Everything else is settled, or suspended, but in these subscriptions an open breaker makes
    /// events wait.
    #[error("cannot settle: open breakers hold events: {}", subscriptions.join(", "))]
    #[non_exhaustive]
    BreakerOpen {
        /// The path of each service, ` on ` and the event's name; sorted.
        subscriptions: Vec<String>,
    },
    /// The board has ended and left these services behind with events or letters, because a service
    /// blocks its thread: that work will never be settled.
    #[error("cannot settle: the board has ended and left work behind: {}", services.join(", "))]
    #[non_exhaustive]
    LeftBehind {
        /// Their paths, sorted.
        services: Vec<String>,
    },
    /// It was called inside a service of this board, or in its blocking work, which would wait for
    /// itself.
    #[error("a service cannot wait for its own board to settle: it would wait for itself")]
    Inside,
}

impl Wall {
    pub(crate) fn new(pulse: Pulse, shelf: usize, cycles: Cycles) -> Arc<Self> {
        Arc::new(Wall {
            pulse: Arc::new(pulse),
            shelf: Shelf::new(shelf),
            waits: Arc::new(Waits::new(cycles)),
            works: Arc::default(),
            topics: DashMap::default(),
            names: Mutex::default(),
            letters: Mutex::new(BTreeMap::new()),
            folded: Mutex::default(),
            undelivered: Mutex::new(BTreeMap::new()),
            killed: Mutex::default(),
            suspended: Mutex::default(),
            gauges: Gauges::default(),
            owner: OnceLock::new(),
            end: OnceLock::new(),
        })
    }

    /// Differs between boards that live at the same time.
    pub(crate) fn id(&self) -> usize {
        self.waits.board()
    }

    /// The topic of an event type; made when it is first asked for.
    pub(crate) fn topic<E: Event>(&self) -> Arc<Topic<E>> {
        let id = TypeId::of::<E>();
        let found = self.topics.get(&id).map(|topic| Arc::clone(&topic));
        let topic = found.unwrap_or_else(|| {
            let (pulse, mut is_new) = (&self.pulse, false);
            let made = || {
                is_new = true;
                Arc::new(Topic::<E>::new(Arc::clone(pulse))) as Arc<dyn AnyTopic>
            };
            let topic = Arc::clone(&self.topics.entry(id).or_insert_with(made));
            if is_new {
                self.name_topic::<E>();
            }
            topic
        });
        // The map's key is the type, so this never makes another.
        let topic = topic.into_any().downcast::<Topic<E>>();
        topic.unwrap_or_else(|_| Arc::new(Topic::new(Arc::clone(&self.pulse))))
    }

    /// Takes the name of an event for this type.
    ///
    /// # Errors
    /// Another type has it, in words.
    pub(crate) fn take_name<E: Event>(&self) -> Result<(), String> {
        lock(&self.names).take(E::NAME, TypeId::of::<E>(), type_name::<E>())
    }

    /// Whoever publishes is not refused for the name of the event: it is told here, once.
    fn name_topic<E: Event>(&self) {
        let event = E::NAME;
        if let Err(problem) = self.take_name::<E>() {
            tracing::error!(
                target: "callboard::board",
                event, "two rows of the ledger have the same name: {problem}"
            );
        }
    }

    /// Notes which board it belongs to, once.
    pub(crate) fn belongs_to(&self, owner: Weak<dyn Any + Send + Sync>) {
        let _ = self.owner.set(owner);
    }

    /// The board it belongs to, unless that has ended and gone.
    pub(crate) fn owner(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.owner.get()?.upgrade()
    }

    /// The topic of an event type, if it was ever asked for.
    fn known_topic<E: Event>(&self) -> Option<Arc<Topic<E>>> {
        let topic = self
            .topics
            .get(&TypeId::of::<E>())
            .map(|topic| Arc::clone(&topic))?;
        topic.into_any().downcast::<Topic<E>>().ok()
    }

    /// The counts of a service that was at this path before, and is forgotten, are kept.
    /// They are counted under the path of their `service`, which is their own but for a worker's.
    pub(crate) fn add_letters(
        &self,
        path: Arc<str>,
        service: &Arc<str>,
        letters: Arc<dyn AnyLetters>,
    ) {
        let entry = (Arc::clone(service), letters);
        let mut letters = lock(&self.letters);
        let before = letters.insert(path, entry);
        if let Some((service, before)) = &before {
            keep_row(&mut lock(&self.folded), &before.counts(), service);
        }
        // Outside the lock: the last letters may go with it, and their drop is the user's code.
        drop(letters);
        drop(before);
    }

    /// One moment's accounting. Rows are read one after the other, each consistent in itself,
    /// ordered by event and service, so that two ledgers compare.
    pub(crate) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for topic in self.sorted_topics() {
            topic.delivery_rows(&mut ledger.deliveries);
            ledger.topics.push(topic.row());
        }
        ledger
            .deliveries
            .sort_by(|a, b| (&a.service, &a.event).cmp(&(&b.service, &b.event)));
        let (letters, mut rows) = {
            let letters = lock(&self.letters);
            (letters.clone(), lock(&self.folded).clone())
        };
        for (service, letters) in letters.values() {
            keep_row(&mut rows, &letters.counts(), service);
        }
        ledger.letters = rows.into_values().collect();
        ledger
    }

    /// The ledger, with rows for each worker of a service beside those of the service.
    pub(crate) fn detailed_ledger(&self) -> Ledger {
        let mut ledger = self.ledger();
        for topic in self.sorted_topics() {
            topic.worker_rows(&mut ledger.deliveries);
        }
        let letters = lock(&self.letters).clone();
        let workers = letters
            .iter()
            .filter(|(path, (service, _))| *path != service);
        let rows = workers.map(|(path, (_, letters))| LetterRow {
            service: path.to_string(),
            ..letters.counts()
        });
        ledger.letters.extend(rows);
        ledger
    }

    fn sorted_topics(&self) -> Vec<Arc<dyn AnyTopic>> {
        let mut topics: Vec<_> = self
            .topics
            .iter()
            .map(|topic| Arc::clone(topic.value()))
            .collect();
        topics.sort_by_key(|topic| topic.name());
        topics
    }

    /// Moves the board on; those who wait for room look again.
    pub(crate) fn advance(&self, phase: Phase) {
        self.pulse.advance(phase);
        for topic in self.sorted_topics() {
            topic.phase_changed();
        }
        let letters: Vec<_> = lock(&self.letters).values().cloned().collect();
        for (_, letters) in letters {
            letters.phase_changed();
        }
    }

    /// Says how the board is ended from inside. The board says it once; what it says must not
    /// keep the board.
    pub(crate) fn ends_by(&self, end: impl Fn() + Send + Sync + 'static) {
        let _ = self.end.set(Box::new(end));
    }

    /// Begins the end of the board, and returns at once.
    pub(crate) fn begin_end(&self) {
        if let Some(end) = self.end.get() {
            end();
        }
    }

    /// Waits until nothing is queued, in flight or deferred.
    ///
    /// Rows are not read at one instant, so work could slip from one not yet read to one already
    /// read. Whatever is accepted takes a number: if none was taken during the reading, nothing
    /// slipped.
    pub(crate) async fn settle(&self) -> Result<(), SettleError> {
        self.quiet(|| false, Self::held).await
    }

    /// Whether all is settled, or all but what is suspended; `None` if something still moves.
    fn settled(&self, ledger: &Ledger) -> Option<Result<(), SettleError>> {
        let open = ledger.open_services();
        if open.is_empty() {
            return Some(Ok(()));
        }
        let suspended = lock(&self.suspended);
        let stuck =
            |(service, in_flight): (&&str, &bool)| !in_flight && suspended.contains(*service);
        open.iter().all(stuck).then(|| {
            let services = open.keys().map(|service| (*service).to_owned()).collect();
            Err(SettleError::Suspended { services })
        })
    }

    /// What is still open, now that the board has ended.
    fn left_behind(&self) -> Result<(), SettleError> {
        let ledger = self.ledger();
        let open = ledger.open_services().into_keys();
        let services: Vec<_> = open.map(ToOwned::to_owned).collect();
        if services.is_empty() {
            return Ok(());
        }
        Err(SettleError::LeftBehind { services })
    }

    /// What open breakers hold, if all that is open is held by one, or suspended.
    fn held(&self) -> Option<SettleError> {
        let held = self.gauges.held_back(self.pulse.clock.since_start())?;
        let suspended = lock(&self.suspended).clone();
        let subscriptions = held.all(&self.detailed_ledger(), &suspended)?;
        Some(SettleError::BreakerOpen { subscriptions })
    }

    /// Lets a service handle nothing for now, or again something, and with it its workers, if it
    /// has some: none at all if it has gone. Tells whether that is new.
    pub(crate) fn suspend(
        &self,
        service: &Vitals,
        workers: impl FnOnce() -> Option<Vec<Arc<Vitals>>>,
        suspended: bool,
    ) -> bool {
        let mut all = lock(&self.suspended);
        // All within one lock, so that the flags and the set say the same whoever comes last; and
        // one that has gone is forgotten before, or after.
        let Some(workers) = workers() else {
            return false;
        };
        if !service.suspend(suspended) {
            return false;
        }
        for one in iter::once(service).chain(workers.iter().map(|worker| &**worker)) {
            one.suspend(suspended);
            if suspended {
                all.insert(Arc::clone(&one.path));
            } else {
                all.remove(&one.path);
            }
        }
        drop(all);
        self.pulse.ran_dry();
        true
    }

    /// Has a new worker handle nothing while its service does not. It is one of the workers by
    /// now, so whoever changes that later finds it.
    pub(crate) fn suspend_like(&self, service: &Vitals, worker: &Vitals) {
        let mut all = lock(&self.suspended);
        if service.is_suspended() {
            worker.suspend(true);
            all.insert(Arc::clone(&worker.path));
        }
    }

    /// Tells what happened to a service or supervisor, if anybody listens. Never waits.
    pub(crate) fn announce(&self, vitals: &Vitals, change: Change) {
        let topic = self
            .known_topic::<Lifecycle>()
            .filter(|topic| topic.has_readers());
        if topic.is_none() && !vitals.has_monitors() {
            return;
        }
        let news = Lifecycle {
            path: Arc::clone(&vitals.path),
            life: vitals.life(),
            at: self.pulse.clock.since_start(),
            change,
        };
        vitals.tell(&news);
        if let Some(topic) = topic {
            let origin = Origin::new(true, None, None);
            // Refused only once the board has closed.
            let _ = topic.offer(news, &origin, None);
        }
    }

    /// What was at and below a path will not come back: another that takes its name is not
    /// suspended, and no breaker holds anything there.
    pub(crate) fn forget(&self, path: &str) {
        lock(&self.suspended).retain(|one| !is_within(one, path));
        self.gauges.forget(|one| is_within(one, path));
    }

    /// The rows of what was at and below a path, and will not come back, are added to those of its
    /// likes, so that services which come and go leave one row and not thousands.
    pub(crate) fn fold(&self, path: &str, into: &Arc<str>) {
        for topic in self.sorted_topics() {
            topic.fold(path, into);
        }
        self.fold_letters(path, into);
        let mut undelivered = lock(&self.undelivered);
        let theirs = undelivered.keys();
        let theirs = theirs.filter(|(service, _)| is_within(service, path));
        for key in theirs.cloned().collect::<Vec<_>>() {
            let left = undelivered.remove(&key).unwrap_or_default();
            let likes = undelivered.entry((Arc::clone(into), key.1)).or_default();
            likes.add(left.count, left.numbers);
        }
    }

    fn fold_letters(&self, path: &str, into: &Arc<str>) {
        let mut letters = lock(&self.letters);
        let gone = take_tree(&mut letters, path);
        let mut folded = lock(&self.folded);
        let before = take_tree(&mut folded, path);
        let rows = gone.iter().map(|(_, letters)| letters.counts());
        for row in rows.chain(before) {
            keep_row(&mut folded, &row, into);
        }
        // Before `gone`: see `add_letters`.
        drop(folded);
        drop(letters);
    }

    /// As [`Wall::settle`], and waits for the hooks and timers that are running as well: what they
    /// still publish is to be delivered.
    pub(crate) async fn drain(&self) -> Result<(), SettleError> {
        // Breakers do not stay open for ever, but a drain has a deadline.
        self.quiet(|| self.pulse.has_jobs(), |_| None).await
    }

    /// Waits until all is settled, and `busy` says no, or `held` what keeps it from that.
    async fn quiet(
        &self,
        busy: impl Fn() -> bool,
        held: impl Fn(&Self) -> Option<SettleError>,
    ) -> Result<(), SettleError> {
        let mut open = None;
        let mut look = |accepted: &mut Option<u64>| {
            if self.pulse.is_abandoned() {
                return Some(self.left_behind());
            }
            let before = self.pulse.numbers_given();
            // Looked at first: a job that is over has published what the ledger then shows.
            if busy() {
                return None;
            }
            let (settled, now) = match self.accepted_if_settled(&mut open) {
                Some(accepted) => (Ok(()), accepted),
                None if !self.may_be_held_up() => return None,
                None => {
                    // A ledger says by name where it is.
                    let ledger = self.ledger();
                    let settled = self.settled(&ledger).or_else(|| held(self).map(Err))?;
                    (settled, ledger.accepted())
                }
            };
            let is_so = self.pulse.numbers_given() == before || *accepted == Some(now);
            *accepted = Some(now);
            is_so.then_some(settled)
        };
        // Twice: numbers may be given all the time to events that nobody hears, which end without
        // a sign. If nothing was accepted between two readings, what both say was so meanwhile.
        let quiet = || {
            let mut accepted = None;
            look(&mut accepted).or_else(|| accepted.and_then(|_| look(&mut accepted)))
        };
        self.pulse.until(quiet).await
    }

    /// Whether a service is suspended, or a subscription has a guard: what is open may stay so.
    fn may_be_held_up(&self) -> bool {
        !lock(&self.suspended).is_empty() || !self.gauges.is_empty()
    }

    /// All that was ever accepted, if it is settled. Else notes where a subscription is open: while
    /// it is, the others need not be looked at again. To look at all of 100,000 services whenever
    /// one fell asleep took minutes; to write a ledger for it took a small board most of the time
    /// that it needed to settle.
    fn accepted_if_settled(&self, open: &mut Option<Open>) -> Option<u64> {
        if let Some((topic, place)) = open.take()
            && let Some(next) = topic.open_from(place)
        {
            *open = Some((topic, next));
            return None;
        }
        let mut accepted = self.letters_if_settled()?;
        for topic in &self.topics {
            match topic.settled() {
                Ok(count) => accepted += count,
                Err(place) => {
                    *open = Some((Arc::clone(&topic), place));
                    return None;
                }
            }
        }
        Some(accepted)
    }

    fn letters_if_settled(&self) -> Option<u64> {
        let letters = lock(&self.letters);
        let folded: u64 = lock(&self.folded).values().map(|row| row.accepted).sum();
        let mut rows = letters.values().map(|(_, letters)| letters.counts());
        rows.try_fold(folded, |sum, row| Some(sum + row.settled()?))
    }

    /// A service has ended for good and left these unread.
    pub(crate) fn note_undelivered(
        &self,
        service: &Arc<str>,
        event: &'static str,
        numbers: Vec<u64>,
    ) {
        let mut undelivered = lock(&self.undelivered);
        undelivered
            .entry((Arc::clone(service), event))
            .or_default()
            .add(numbers.len() as u64, numbers);
    }

    /// A service did not stop in time. Of interest once the board ends: else whoever stops it sees.
    pub(crate) fn note_killed(&self, service: &Arc<str>) {
        if self.pulse.phase() > Phase::Open {
            lock(&self.killed).insert(Arc::clone(service));
        }
    }

    /// The services that did not stop in time while the board ended, by path.
    pub(crate) fn killed(&self) -> BTreeSet<Arc<str>> {
        lock(&self.killed).clone()
    }

    /// What has been left unread so far, by path and event.
    pub(crate) fn undelivered(&self) -> Unread {
        lock(&self.undelivered).clone()
    }

    /// Puts a dead letter on the shelf.
    pub(crate) fn keep(&self, letter: DeadLetter) {
        self.shelf.put(letter);
    }

    /// Puts a dead letter on the shelf and tells those who listen. Never waits.
    pub(crate) fn mourn(&self, letter: &DeadLetter) {
        self.keep(letter.clone());
        self.announce_death(letter);
    }

    /// Tells those who listen of a dead letter. Never waits.
    pub(crate) fn announce_death(&self, letter: &DeadLetter) {
        let origin = Origin::new(true, letter.byline(), None);
        // Refused only once the board has closed; the shelf has it.
        let _ = self
            .topic::<DeadLetter>()
            .offer(letter.clone(), &origin, None);
    }
}

/// Whether this is the path, or one below it.
fn is_within(one: &str, path: &str) -> bool {
    let rest = one.strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Adds a row, if it counts anything, to the one of this name.
fn keep_row(rows: &mut BTreeMap<Arc<str>, LetterRow>, row: &LetterRow, into: &Arc<str>) {
    if row.accepted == 0 {
        return;
    }
    let sum = rows.entry(Arc::clone(into));
    sum.or_insert_with(|| LetterRow::new(into.to_string()))
        .add(row);
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wall")
            .field("topics", &self.topics.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::dice::Dice;
    use crate::sync::{AtomicBool, Ordering};

    /// Letters of which one was accepted, and whether they are being folded.
    #[derive(Default)]
    struct OneLetter(AtomicBool);
    impl AnyLetters for OneLetter {
        fn counts(&self) -> LetterRow {
            if !self.0.swap(true, Ordering::SeqCst) {
                // Whoever can look in between does.
                (0..20).for_each(|_| thread::yield_now());
            }
            LetterRow {
                accepted: 1,
                ..LetterRow::default()
            }
        }

        fn phase_changed(&self) {}
    }

    fn wall() -> Arc<Wall> {
        let clock = Clock::new(tokio::runtime::Handle::current());
        Wall::new(Pulse::new(clock, Dice::new(1)), 1, Cycles::default())
    }

    #[tokio::test]
    async fn workers_follow_their_service_whoever_changes_it_and_whenever_they_come() {
        let wall = wall();
        let vitals = |path: &str| Vitals::new(path.into());
        let service = vitals("shop/hands");
        let workers = Mutex::new(vec![vitals("shop/hands/0")]);
        let is_listing = AtomicBool::new(false);
        let all = || lock(&workers).clone();
        for round in 1..=200 {
            is_listing.store(false, Ordering::SeqCst);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let list = || {
                        let found = all();
                        is_listing.store(true, Ordering::SeqCst);
                        // Whoever can come in between does.
                        (0..20).for_each(|_| thread::yield_now());
                        Some(found)
                    };
                    wall.suspend(&service, list, round % 2 == 1);
                });
                while !is_listing.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                let worker = vitals(&format!("shop/hands/{round}"));
                lock(&workers).push(Arc::clone(&worker));
                wall.suspend_like(&service, &worker);
                if round % 3 == 0 {
                    wall.suspend(&service, || Some(all()), round % 2 == 0);
                }
            });
            let is_suspended = service.is_suspended();
            let strays = all()
                .into_iter()
                .find(|one| one.is_suspended() != is_suspended);
            assert!(strays.is_none(), "in round {round}: {strays:?}");
            let count = if is_suspended { all().len() + 1 } else { 0 };
            assert_eq!(lock(&wall.suspended).len(), count, "in round {round}");
            // So that the next round changes something.
            wall.suspend(&service, || Some(all()), round % 2 == 1);
        }
    }

    /// Letters of which a number is given whenever they are looked at.
    struct Restless(Arc<Wall>);

    impl AnyLetters for Restless {
        fn counts(&self) -> LetterRow {
            self.0.pulse.next_number();
            LetterRow::default()
        }

        fn phase_changed(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_board_on_which_nobody_hears_what_is_published_all_the_time_is_settled() {
        let wall = wall();
        let path = Arc::<str>::from("shop/restless");
        wall.add_letters(
            Arc::clone(&path),
            &path,
            Arc::new(Restless(Arc::clone(&wall))),
        );
        let settled = tokio::time::timeout(Duration::from_secs(1), wall.settle()).await;
        assert_eq!(settled, Ok(Ok(())));
    }

    #[tokio::test]
    async fn a_service_that_has_gone_is_not_suspended() {
        let wall = wall();
        let vitals = Vitals::new("shop/gone".into());
        assert!(!wall.suspend(&vitals, || None, true));
        assert!(lock(&wall.suspended).is_empty() && !vitals.is_suspended());
    }

    #[tokio::test]
    async fn letters_that_are_folded_meanwhile_are_counted_once() {
        let wall = wall();
        let count = || wall.ledger().letters.iter().map(|row| row.accepted).sum();
        let mut counts: Vec<u64> = Vec::new();
        for index in 0..200 {
            let path = Arc::<str>::from(format!("shop/{index}"));
            let letters = Arc::new(OneLetter::default());
            wall.add_letters(Arc::clone(&path), &path, Arc::clone(&letters) as _);
            thread::scope(|scope| {
                scope.spawn(|| wall.fold(&path, &"shop/*".into()));
                while !letters.0.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                counts.push(count());
            });
        }
        assert_eq!(counts, (1..=200).collect::<Vec<_>>());
    }
}
