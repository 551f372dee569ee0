//! The workers of one service, as its addresses know them.
//!
//! Addresses of the service and of its workers send through it; the crew says whose a letter is.
//!
//! Invariant: a letter takes its number, its worker and its place in the queue in one step, while
//! the number of workers does not change; so what is about one thing keeps its order.
//!
//! It keeps no worker: who has gone takes nothing any more.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::deadline;
use crate::crew::{self, Crew};
use crate::mailbox::letters::Unsent;
use crate::message::Message;
use crate::panic::{Fragile, guard};
use crate::policy::Policy;
use crate::service::ask::{AskError, Question};
use crate::service::inbox::{Home, NoRoom};
use crate::service::letter::{Asked, Enclosed, NoWay, Told};
use crate::service::{Answer, Inbox, Service, TellError};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, Weak, lock};
use crate::topic::Origin;
use crate::wall::Wall;

pub(crate) struct Team<S: Service> {
    pub(crate) crew: Arc<Crew>,
    inboxes: Mutex<BTreeMap<usize, Weak<Inbox<S>>>>,
    /// Held while the policies of the workers change, and while one that is new takes them over.
    policies: Mutex<()>,
    /// Whose turn it is to get a letter without a key.
    turn: AtomicU64,
}

/// To whom a letter is sent.
#[derive(Clone, Copy, Debug)]
enum To {
    /// To whoever has this lane.
    Lane(u64),
    /// To this worker, whatever the letter's key is.
    Worker(usize),
}

impl To {
    fn index(self, workers: usize) -> usize {
        match self {
            To::Lane(lane) => crew::share_out(lane, workers),
            To::Worker(index) => index,
        }
    }
}

/// What came of sending to all.
enum ToAll<S: Service> {
    Sent(Vec<Arc<Inbox<S>>>),
    /// There are more workers now than copies.
    TooFew(usize),
    Full(Arc<Inbox<S>>),
    Closed,
}

impl<S: Service> Team<S> {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Team {
            crew: Crew::new(workers),
            inboxes: Mutex::default(),
            policies: Mutex::default(),
            turn: AtomicU64::new(0),
        })
    }

    /// A worker is there, with the policies that the others have.
    pub(crate) fn enter(&self, index: usize, inbox: &Arc<Inbox<S>>) {
        let policies = lock(&self.policies);
        let others = self.inboxes();
        if let Some(other) = others.first() {
            inbox.set_policies_of(other);
        }
        lock(&self.inboxes).insert(index, Arc::downgrade(inbox));
        drop(policies);
    }

    /// Sets the own policy of one subscription, for every worker. False if there is none to that
    /// type.
    pub(crate) fn set_policy(&self, event: TypeId, policy: &Policy) -> bool {
        let policies = lock(&self.policies);
        let inboxes = self.inboxes();
        let mut own = vec![policy.clone(); inboxes.len()];
        let mut is_set = !inboxes.is_empty();
        for (inbox, policy) in inboxes.iter().zip(&mut own) {
            is_set &= inbox.set_policy(event, policy);
        }
        // Before those that they had.
        drop(policies);
        is_set
    }

    /// The workers that are there, by index.
    pub(crate) fn inboxes(&self) -> Vec<Arc<Inbox<S>>> {
        let inboxes = lock(&self.inboxes);
        inboxes.values().filter_map(Weak::upgrade).collect()
    }

    fn inbox(&self, index: usize) -> Option<Arc<Inbox<S>>> {
        lock(&self.inboxes).get(&index)?.upgrade()
    }

    /// To whom a letter goes that was sent to `address`: its worker, if it is one's.
    fn to(&self, address: &Inbox<S>, message: &impl Message) -> To {
        if let Some(share) = address.home().and_then(|home| home.share.as_ref()) {
            return To::Worker(share.index);
        }
        let key = guard(|| message.key()).unwrap_or_default();
        // In turn, if it has none.
        To::Lane(crew::lane(&key).unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed)))
    }

    /// Whose it is now.
    fn receiver(&self, to: To) -> Option<Arc<Inbox<S>>> {
        self.crew.post(|workers| self.inbox(to.index(workers)))
    }

    /// Sends if there is room. False if it is another worker's by now.
    fn send<L: Enclosed<S>>(
        &self,
        to: To,
        inbox: &Inbox<S>,
        home: &Home,
        letter: &mut Option<L>,
        version: Option<u64>,
    ) -> Result<bool, Unsent> {
        let pulse = &home.wall.pulse;
        let index = home.share.as_ref().map(|share| share.index);
        let sent = self.crew.post(|workers| {
            // With another version the answer would be waited for in another way.
            let is_other = version.is_some_and(|version| version != self.crew.version());
            if is_other || index != Some(to.index(workers)) {
                return Ok(false);
            }
            inbox.put(pulse, letter)?;
            Ok(true)
        })?;
        if sent {
            inbox.letters.ring();
        }
        Ok(sent)
    }

    pub(super) async fn tell<M: Message>(
        &self,
        address: &Inbox<S>,
        letter: Told<M>,
        wait: Duration,
    ) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        let to = self.to(address, &letter.message);
        let is_insider = letter.origin.is_insider();
        let mut letter = Some(letter);
        let mut until = None;
        let failed = loop {
            let Some(inbox) = self.receiver(to) else {
                break NoRoom::Unsent(Unsent::Closed);
            };
            let Some(home) = inbox.home() else {
                break NoRoom::Unsent(Unsent::Closed);
            };
            let left = left(&home.wall, wait, &mut until);
            let send = || self.send(to, &inbox, home, &mut letter, None);
            match inbox.when_room(home, is_insider, left, None, send).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(failed) => break failed,
            }
        };
        TellError::give_back(letter, failed)
    }

    pub(super) fn try_tell<M: Message>(
        &self,
        address: &Inbox<S>,
        letter: Told<M>,
    ) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        let to = self.to(address, &letter.message);
        let mut letter = Some(letter);
        let failed = loop {
            let inbox = self.receiver(to);
            let Some((inbox, home)) = inbox.as_ref().and_then(|one| Some((one, one.home()?)))
            else {
                break Unsent::Closed;
            };
            match self.send(to, inbox, home, &mut letter, None) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(unsent) => break unsent,
            }
        };
        TellError::give_back(letter, NoRoom::Unsent(failed))
    }

    pub(super) async fn ask<M: Message>(
        &self,
        address: &Inbox<S>,
        message: M,
        origin: Origin,
        room_wait: Duration,
        wait: Duration,
    ) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        let to = self.to(address, &message);
        let is_insider = origin.is_insider();
        let (mut message, mut origin) = (message, origin);
        let mut until = None;
        loop {
            let Some(inbox) = self.receiver(to) else {
                return Err(AskError::Stopped(message));
            };
            let Some(home) = inbox.home() else {
                return Err(AskError::Stopped(message));
            };
            let version = Some(self.crew.version());
            let waiting = match home.wait_for_answer() {
                Ok(waiting) => waiting,
                Err(cycle) => return Err(AskError::cycle(message, &cycle)),
            };
            let now = home.wall.pulse.clock.now();
            let until = *until.get_or_insert_with(|| deadline(now, wait));
            let (question, reply) = Question::new(&home.wall, until, wait, waiting);
            let mut letter = Some(Asked::new(message, origin, reply));
            let send = || self.send(to, &inbox, home, &mut letter, version);
            let for_room = until.saturating_duration_since(now).min(room_wait);
            let covered = question.waiting.as_ref();
            let sent = inbox.when_room(home, is_insider, for_room, covered, send);
            match sent.await {
                Ok(true) => return question.await,
                Ok(false) => {}
                Err(failed) => return Err(AskError::give_back(letter, failed)),
            }
            let Some(back) = letter else {
                // It leaves only when it was sent.
                return Err(AskError::Undelivered);
            };
            (message, origin) = (back.message, back.origin);
        }
    }

    /// Sends a copy to every worker, or to none.
    pub(super) async fn tell_all<M: Message + Clone>(
        &self,
        message: M,
        origin: Origin,
        wait: Duration,
    ) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        let is_insider = origin.is_insider();
        let slip = |message| Some(Told::new(message, origin.clone(), NoWay));
        let mut copies: Fragile<Option<Told<M>>> = Fragile::default();
        let mut until = None;
        let failed = loop {
            let inbox = match self.send_all(&mut copies, is_insider) {
                ToAll::Sent(inboxes) => {
                    inboxes.iter().for_each(|inbox| inbox.letters.ring());
                    return Ok(());
                }
                ToAll::TooFew(workers) => {
                    copies.resize_with(workers, || slip(message.clone()));
                    continue;
                }
                ToAll::Closed => break NoRoom::Unsent(Unsent::Closed),
                ToAll::Full(inbox) => inbox,
            };
            let Some(home) = inbox.home() else {
                break NoRoom::Unsent(Unsent::Closed);
            };
            let left = left(&home.wall, wait, &mut until);
            let look = || inbox.letters.enter(&home.wall.pulse, is_insider).map(drop);
            let room = inbox.when_room(home, is_insider, left, None, look);
            if let Err(failed) = room.await {
                break failed;
            }
        };
        Err(TellError::no_room(message, failed))
    }

    fn send_all<M: Message>(&self, copies: &mut [Option<Told<M>>], is_insider: bool) -> ToAll<S>
    where
        S: Answer<M>,
    {
        self.crew.post(|workers| {
            if copies.len() < workers {
                return ToAll::TooFew(workers);
            }
            let inboxes: Vec<_> = (0..workers).map_while(|index| self.inbox(index)).collect();
            if inboxes.len() < workers {
                return ToAll::Closed;
            }
            let Some(Home { wall, .. }) = inboxes.first().and_then(|inbox| inbox.home()) else {
                return ToAll::Closed;
            };
            // Room in all of them before anything is put into one: a board that begins to drain
            // meanwhile, or to close, refuses all or none. Nobody else takes room in several.
            let mut rooms = Vec::with_capacity(workers);
            for inbox in &inboxes {
                match inbox.letters.enter(&wall.pulse, is_insider) {
                    Ok(room) => rooms.push(room),
                    Err(Unsent::Full) => return ToAll::Full(Arc::clone(inbox)),
                    Err(Unsent::Closed) => return ToAll::Closed,
                }
            }
            for (room, letter) in rooms.into_iter().zip(copies) {
                if let Some(letter) = letter.take() {
                    room.put(&wall.pulse, letter);
                }
            }
            ToAll::Sent(inboxes)
        })
    }
}

/// What is left of a wait that began when this was first asked.
fn left(wall: &Wall, wait: Duration, until: &mut Option<Instant>) -> Duration {
    let now = wall.pulse.clock.now();
    let until = *until.get_or_insert_with(|| deadline(now, wait));
    until.saturating_duration_since(now).min(wait)
}

impl<S: Service> fmt::Debug for Team<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team")
            .field("crew", &self.crew)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::thread;

    use super::*;
    use crate::sync::AtomicBool;

    struct Hand;
    impl Service for Hand {}

    struct Event<const NUMBER: usize>;
    impl<const NUMBER: usize> crate::event::Event for Event<NUMBER> {
        const NAME: &'static str = "event";
    }

    macro_rules! events {
        ($($number:literal)*) => {
            /// Many, so that the policies of a worker are not copied at once.
            fn events() -> [TypeId; 16] {
                [$(TypeId::of::<Event<$number>>()),*]
            }

            fn worker() -> Arc<Inbox<Hand>> {
                let inbox = Inbox::new();
                $(inbox.note_fixed::<Event<$number>>(Policy::new());)*
                inbox
            }
        };
    }

    events!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

    fn policies(inbox: &Inbox<Hand>) -> Vec<String> {
        let wishes = inbox.wishes(&Policy::new()).into_iter();
        wishes
            .map(|wish| wish.policy.explain().to_string())
            .collect()
    }

    #[test]
    fn a_worker_that_enters_while_a_policy_is_set_has_it() {
        let ttl = Policy::new().time_to_live(Duration::from_secs(1));
        for round in 0..2_000 {
            let team = Team::<Hand>::new(1);
            let (old, new) = (worker(), worker());
            team.enter(0, &old);
            let is_ready = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    is_ready.store(true, Ordering::SeqCst);
                    for event in events() {
                        assert!(team.set_policy(event, &ttl));
                    }
                });
                while !is_ready.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
                team.enter(1, &new);
            });
            assert_eq!(policies(&old), policies(&new), "in round {round}");
        }
    }
}
