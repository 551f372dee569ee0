//! The services that play, what they send each other, and the tree they form.

use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use callboard::prelude::*;
use callboard::{ServiceSpec, SubscribeError};
use tokio::time::{Instant, sleep};

use super::book::Book;
use super::plan::{Act, Alarm, End, LIMIT, Mode, Plan, SLOW, TOPICS};

/// What everybody writes into.
pub(crate) type Shared = Arc<Mutex<Book>>;

pub(crate) fn open(book: &Shared) -> MutexGuard<'_, Book> {
    // A run that fails does so while it holds the book, and its services are dropped after it.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics on purpose begin so; the hook lets them pass in silence.
const MARK: &str = "as the script says";

/// Lets panics of the script pass in silence, and no other.
pub(crate) fn silence_the_script() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&MARK) {
                before(info);
            }
        }));
    });
}

/// An event of one of three types.
#[derive(Debug)]
pub(crate) struct Note<const T: usize> {
    pub(crate) id: u64,
}

impl Event for Note<0> {
    const NAME: &'static str = "note.0";
}
impl Event for Note<1> {
    const NAME: &'static str = "note.1";
}
impl Event for Note<2> {
    const NAME: &'static str = "note.2";
}

/// Calls a generic function with the topic as a constant.
macro_rules! with_topic {
    ($topic:expr, $call:ident :: <T> ($($argument:expr),*) $($rest:tt)*) => {
        match $topic {
            0 => $call::<0>($($argument),*) $($rest)*,
            1 => $call::<1>($($argument),*) $($rest)*,
            _ => $call::<2>($($argument),*) $($rest)*,
        }
    };
}
pub(crate) use with_topic;

/// A letter.
#[derive(Debug)]
pub(crate) struct Whim {
    pub(crate) id: u64,
    /// Not asked: letters that were told come in the order of their numbers.
    pub(crate) told: bool,
    pub(crate) act: Act,
}

impl Message for Whim {
    type Reply = u64;
}

pub(crate) struct Player {
    book: Shared,
    index: usize,
    life: u32,
}

/// Writes the end of an attempt down, also when it is cut off.
struct Attempt {
    book: Shared,
    index: usize,
    act: Act,
    timed: bool,
    began: Instant,
    ended: bool,
}

impl Attempt {
    fn ends(mut self, end: End) {
        self.ended = true;
        open(&self.book).end(self.index, end);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let spent = self.began.elapsed();
        let mut book = open(&self.book);
        let end = if std::thread::panicking() {
            End::Panicked
        } else if self.timed && self.act == Act::Slow && spent >= LIMIT {
            // Or was it killed in the very moment in which its time was over?
            book.unsure |= book.closing;
            End::TimedOut
        } else {
            End::Interrupted
        };
        book.end(self.index, end);
    }
}

/// The same for an answer.
struct Answering(Shared, usize, bool);

impl Drop for Answering {
    fn drop(&mut self) {
        let letters = &mut open(&self.0).casts[self.1].letters;
        if self.2 {
            letters.answered += 1;
        } else {
            letters.failed += 1;
        }
    }
}

impl Service for Player {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        let mut book = open(&self.book);
        book.casts[self.index].lives += 1;
        self.life = book.casts[self.index].lives;
        if book.plan.roles[self.index].mourns {
            match cx.subscribe::<DeadLetter>() {
                Ok(()) | Err(SubscribeError::AlreadySubscribed { .. }) => {}
                Err(error) => book.fault(format!("a mourner could not subscribe: {error}")),
            }
        }
        Ok(())
    }
}

impl Player {
    async fn play<const T: usize>(&mut self, event: u64, cx: &mut Context<Self>) -> Outcome {
        let (act, timed) = {
            let mut book = open(&self.book);
            let (act, _) = book.begin(self.index, T, event, cx.attempt(), cx.is_redriven());
            (act, book.plan.rules(self.index, T).1)
        };
        let attempt = Attempt {
            book: Arc::clone(&self.book),
            index: self.index,
            act,
            timed,
            began: Instant::now(),
            ended: false,
        };
        let end = self.act(act, event, timed, cx).await;
        attempt.ends(end);
        match end {
            End::Permanent => Err(Failure::permanent("for good")),
            End::Done => Ok(()),
            _ => Err(Failure::new("not yet")),
        }
    }

    async fn act(&mut self, act: Act, event: u64, timed: bool, cx: &mut Context<Self>) -> End {
        let other = usize::try_from(event).unwrap() % TOPICS;
        match act {
            Act::Succeed => {}
            Act::Nap(time) => sleep(millis(time)).await,
            Act::Slow => sleep(SLOW).await,
            Act::Fail => return End::Failed,
            Act::FailLate => {
                sleep(LIMIT / 3).await;
                return End::Failed;
            }
            Act::Permanent => return End::Permanent,
            Act::Panic => std::panic::panic_any(MARK),
            Act::PanicLate => {
                sleep(LIMIT / 3).await;
                std::panic::panic_any(MARK)
            }
            Act::Relay(topic) => with_topic!(topic, relay::<T>(&self.book, timed, cx).await),
            Act::Timer(alarm, after) => self.set(alarm, millis(after), cx),
            Act::Stop => cx.stop(),
            Act::Subscribe => with_topic!(other, subscribe::<T>(self, cx)),
            Act::Unsubscribe => with_topic!(other, unsubscribe::<T>(self, cx)),
        }
        End::Done
    }

    fn set(&self, alarm: Alarm, after: Duration, cx: &mut Context<Self>) {
        let due = Instant::now() + after;
        let life = self.life;
        cx.after(
            after,
            async move |player: &mut Player, cx: &mut Context<Player>| {
                if Instant::now() < due || player.life != life {
                    let text = format!("a timer of service {} ran out of turn", player.index);
                    open(&player.book).fault(text);
                }
                open(&player.book).moves_on(player.index);
                match alarm {
                    Alarm::Ring => Ok(()),
                    Alarm::Fail => Err(Failure::new("the alarm failed")),
                    Alarm::Panic => std::panic::panic_any(MARK),
                    Alarm::Publish(topic) => {
                        with_topic!(topic, relay::<T>(&player.book, true, cx).await);
                        Ok(())
                    }
                }
            },
        );
    }
}

/// Publishes from inside a handler: at once where a timeout could cut the waiting off.
async fn relay<const T: usize>(book: &Shared, at_once: bool, cx: &Context<Player>)
where
    Note<T>: Event,
{
    let Some(id) = open(book).next_event() else {
        return;
    };
    if at_once {
        let room = open(book).has_room(T);
        let offered = cx.try_publish(Note::<T> { id });
        return note(book, T, id, room, offered.map(drop));
    }
    // What room there is when it is accepted, nobody can tell here.
    let offered = cx.publish(Note::<T> { id }).await;
    note(book, T, id, None, offered.map(drop));
}

/// Writes down what came of publishing.
pub(crate) fn note<E>(
    book: &Shared,
    topic: usize,
    id: u64,
    room: Option<bool>,
    offered: Result<(), callboard::PublishError<E>>,
) {
    match offered {
        Ok(()) => open(book).accept(topic, id, room),
        Err(callboard::PublishError::Full { .. }) => open(book).refuse(topic, id, room),
        Err(_) => {}
    }
}

fn subscribe<const T: usize>(player: &Player, cx: &Context<Player>)
where
    Note<T>: Event,
    Player: Handle<Note<T>>,
{
    let mut book = open(&player.book);
    let terms = book.plan.roles[player.index].terms[T];
    let made = cx.subscribe_with::<Note<T>>(|on| {
        let on = on.capacity(terms.capacity).overflow(terms.overflow);
        on.policy(terms.part.policy())
    });
    book.subscribe(player.index, T, made.is_ok());
}

fn unsubscribe<const T: usize>(player: &Player, cx: &Context<Player>)
where
    Note<T>: Event,
{
    let mut book = open(&player.book);
    let ended = cx.unsubscribe::<Note<T>>();
    book.unsubscribe(player.index, T, ended.is_ok());
}

impl<const T: usize> Handle<Note<T>> for Player
where
    Note<T>: Event,
{
    async fn handle(&mut self, event: &Note<T>, cx: &mut Context<Self>) -> Outcome {
        self.play::<T>(event.id, cx).await
    }
}

impl Handle<DeadLetter> for Player {
    async fn handle(&mut self, letter: &DeadLetter, _: &mut Context<Self>) -> Outcome {
        let mut book = open(&self.book);
        book.moves_on(self.index);
        let number = letter.event_id().number();
        book.casts[self.index].mourned.push(number);
        Ok(())
    }
}

impl Answer<Whim> for Player {
    async fn answer(&mut self, whim: Whim, cx: &mut Context<Self>) -> Outcome<u64> {
        open(&self.book).begin_letter(self.index, whim.id, whim.told);
        let mut answering = Answering(Arc::clone(&self.book), self.index, false);
        match self.act(whim.act, whim.id, true, cx).await {
            End::Done => answering.2 = true,
            _ => return Err(Failure::new("no answer")),
        }
        Ok(whim.id * 2)
    }
}

/// Makes the tree of a plan, and the addresses of its services.
pub(crate) fn tree(plan: &Plan, book: &Shared) -> (Supervisor, Vec<Address<Player>>) {
    // With few, still as many as one delivery may need.
    let few = (4, secs(1));
    let (most, window) = match plan.mode {
        Mode::GivingUp => few,
        Mode::Settled | Mode::Abrupt => (1_000_000, secs(1)),
    };
    let supervisor = |name: String, policy| {
        let made = Supervisor::one_for_one(name).max_restarts(most, window);
        made.policy(policy)
    };
    let mut root = supervisor("root".to_owned(), plan.root.policy());
    let mut inner: Vec<Supervisor> = Vec::new();
    for (index, part) in plan.inner.iter().enumerate() {
        inner.push(supervisor(format!("inner{index}"), part.policy()));
    }
    let mut addresses = Vec::new();
    for (index, role) in plan.roles.iter().enumerate() {
        let (child, address) = player(plan, book, index);
        addresses.push(address);
        match role.below {
            None => root = root.child(child),
            Some(one) => {
                let above = std::mem::replace(&mut inner[one], Supervisor::one_for_one("none"));
                inner[one] = above.child(child);
            }
        }
    }
    (inner.into_iter().fold(root, Supervisor::child), addresses)
}

fn player(plan: &Plan, book: &Shared, index: usize) -> (callboard::Child, Address<Player>) {
    let role = &plan.roles[index];
    let book = Arc::clone(book);
    let recipe = move || Player {
        book: Arc::clone(&book),
        index,
        life: 0,
    };
    let spec = service(format!("service{index}"), recipe)
        .policy(role.part.policy())
        .letters(role.letters);
    let address = spec.address();
    // Each set of subscriptions is a type of its own.
    macro_rules! on {
        ($spec:expr, $($topic:literal)*) => {
            $spec$(.on_with::<Note<$topic>>(|on| {
                let terms = role.terms[$topic];
                let on = on.capacity(terms.capacity).overflow(terms.overflow);
                on.policy(terms.part.policy())
            }))*.into()
        };
    }
    let spec: ServiceSpec<Player> = spec;
    let child = match role.on {
        [false, false, false] => on!(spec,),
        [true, false, false] => on!(spec, 0),
        [false, true, false] => on!(spec, 1),
        [true, true, false] => on!(spec, 0 1),
        [false, false, true] => on!(spec, 2),
        [true, false, true] => on!(spec, 0 2),
        [false, true, true] => on!(spec, 2 1),
        [true, true, true] => on!(spec, 0 1 2),
    };
    (child, address)
}
