//! User code may panic anywhere: the process lives, the tree recovers, and nothing is lost.
//!
//! Each case runs in a process of its own, this very test binary, because what must not happen
//! is that the process aborts.

use std::env;
use std::fmt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use callboard::prelude::*;
use callboard::{Key, Restart};

use crate::support_lives::{Log, end, here, paused};

const CASE: &str = "CALLBOARD_PANIC_CASE";

/// Where user code panics, once or (in drops and shows) each time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Recipe,
    Started,
    Stopping,
    BeforeAwait,
    AfterAwait,
    Answer,
    Timer,
    DropOfService,
    DropOfServiceWhilePanicking,
    DropOfEvent,
    DropOfMessage,
    DropOfQueuedMessage,
    DropOfLeftMessages,
    DropOfCopies,
    ShowingFailure,
    ShowingFailureOfAnswer,
    DropOfFailure,
    RetryWith,
    RetryWhen,
    KeyOfDeadLetter,
    Twice,
    PoisonedMutex,
    PayloadThatPanicks,
    DropOfFollowUps,
    DropOfTimers,
    DropOfLaters,
    DropOfLatersPerKey,
}

const CASES: [At; 27] = [
    At::Recipe,
    At::Started,
    At::Stopping,
    At::BeforeAwait,
    At::AfterAwait,
    At::Answer,
    At::Timer,
    At::DropOfService,
    At::DropOfServiceWhilePanicking,
    At::DropOfEvent,
    At::DropOfMessage,
    At::DropOfQueuedMessage,
    At::DropOfLeftMessages,
    At::DropOfCopies,
    At::ShowingFailure,
    At::ShowingFailureOfAnswer,
    At::DropOfFailure,
    At::RetryWith,
    At::RetryWhen,
    At::KeyOfDeadLetter,
    At::Twice,
    At::PoisonedMutex,
    At::PayloadThatPanicks,
    At::DropOfFollowUps,
    At::DropOfTimers,
    At::DropOfLaters,
    At::DropOfLatersPerKey,
];

#[test]
fn no_panic_of_user_code_ends_the_process_or_loses_an_event() {
    let children = CASES.map(|case| {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args([
            "panics::one_case_in_a_process_of_its_own",
            "--exact",
            "--nocapture",
        ]);
        (case, child.env(CASE, format!("{case:?}")).output().unwrap())
    });
    for (case, child) in children {
        let out = String::from_utf8_lossy(&child.stdout).into_owned();
        let err = String::from_utf8_lossy(&child.stderr).into_owned();
        assert!(
            child.status.success(),
            "{case:?}: {}\n{out}\n{err}",
            child.status
        );
        assert!(
            out.contains(&format!("survived {case:?}")),
            "{case:?}: {out}\n{err}"
        );
        assert!(
            err.contains("panicked at"),
            "{case:?} never panicked:\n{err}"
        );
    }
}

#[test]
fn one_case_in_a_process_of_its_own() {
    let Ok(name) = env::var(CASE) else { return };
    let case = CASES
        .into_iter()
        .find(|case| format!("{case:?}") == name)
        .unwrap();
    paused(async {
        match case {
            At::DropOfLatersPerKey => survive_per_key().await,
            _ => survive(case).await,
        }
    });
    println!("survived {case:?}");
}

/// An event, a message and an error that panic when they are told to.
#[derive(Debug)]
struct Rude(At);
impl Event for Rude {
    const NAME: &'static str = "rude";

    fn key(&self) -> Key {
        if self.0 == At::KeyOfDeadLetter {
            panic!("in key");
        }
        Key::None
    }
}
impl Message for Rude {
    type Reply = At;
}
impl fmt::Display for Rude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            At::ShowingFailure | At::ShowingFailureOfAnswer => panic!("in Display"),
            _ => f.write_str("rude"),
        }
    }
}
impl std::error::Error for Rude {}

/// The error of a failure; it panics when it is dropped.
#[derive(Debug, thiserror::Error)]
#[error("explosive")]
struct Explosive;
impl Drop for Explosive {
    fn drop(&mut self) {
        panic!("in the drop of an error");
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        if matches!(
            self.0,
            At::DropOfEvent | At::DropOfMessage | At::DropOfQueuedMessage
        ) {
            panic!("in the drop of what was sent");
        }
    }
}

#[derive(Clone)]
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in the drop of a payload");
    }
}

struct Mine(Bomb);
impl Event for Mine {
    const NAME: &'static str = "mine";
}

/// A message that panics when it is dropped, and is never answered.
#[derive(Clone)]
struct Left(Bomb);
impl Message for Left {
    type Reply = ();
}
impl Answer<Left> for Victim {
    async fn answer(&mut self, _: Left, _: &mut Context<Self>) -> Outcome {
        unreachable!("it is suspended")
    }
}

struct Plain(u64);
impl Event for Plain {
    const NAME: &'static str = "plain";
}

struct Victim {
    case: At,
    life: u32,
    log: Log,
    shared: Arc<Mutex<u64>>,
}

impl Victim {
    /// Panics in the first life, if this is the case.
    fn at(&self, case: At) {
        let again = self.life == 2 && self.case == At::Twice && case == At::BeforeAwait;
        if (self.life == 1 && self.case == case) || again {
            panic!("at {case:?}");
        }
    }

    async fn handle_rude(&mut self, event: &Rude) -> Outcome {
        self.at(At::BeforeAwait);
        if self.life == 1 && self.case == At::DropOfServiceWhilePanicking {
            panic!("before the drop");
        }
        if self.life == 1 && self.case == At::PayloadThatPanicks {
            std::panic::panic_any(Bomb);
        }
        if self.life == 1 && self.case == At::Twice {
            panic!("the first time");
        }
        tokio::task::yield_now().await;
        self.at(At::AfterAwait);
        let shared = Arc::clone(&self.shared);
        let mut count = shared.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        self.at(At::PoisonedMutex);
        match event.0 {
            At::ShowingFailure | At::KeyOfDeadLetter => Err(Rude(event.0))?,
            At::RetryWith | At::RetryWhen => Err(Failure::new("no"))?,
            At::DropOfFailure => Err(Explosive)?,
            _ => Ok(()),
        }
    }
}

impl Service for Victim {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        // In the first start it would reach whoever starts the board.
        if self.life == 2 && self.case == At::Started {
            panic!("at Started");
        }
        if self.life == 1 && self.case == At::Timer {
            cx.after(millis(10), async |victim: &mut Victim, _| {
                victim.at(At::Timer);
                Ok(())
            });
        }
        self.log.say(format!("up {}", self.life));
        Ok(())
    }

    async fn stopping(&mut self, _: &Exit, _: &mut Context<Self>) {
        self.at(At::Stopping);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if self.life == 1
            && matches!(
                self.case,
                At::DropOfService | At::DropOfServiceWhilePanicking
            )
        {
            panic!("in the drop of the service");
        }
    }
}

impl Victim {
    /// Wants two things to be done that panic when they are dropped, and fails.
    fn lay_mines(&self, case: At, cx: &mut Context<Self>) -> Outcome {
        for _ in 0..2 {
            match case {
                At::DropOfFollowUps => cx.publish_on_success(Mine(Bomb)),
                At::DropOfTimers => {
                    let bomb = Bomb;
                    let late = async move |_: &mut Self, _: &mut Context<Self>| {
                        drop(bomb);
                        Ok(())
                    };
                    cx.after(secs(3_600), late);
                }
                At::DropOfLaters => {
                    let bomb = Bomb;
                    let done = async |_: &mut Self, _, _: &mut Context<Self>| Ok(());
                    cx.later(async move { bomb }, done);
                }
                _ => return Ok(()),
            }
        }
        if case == At::DropOfTimers {
            cx.stop();
            return Ok(());
        }
        Err(Failure::new("no"))
    }
}

impl Handle<Rude> for Victim {
    async fn handle(&mut self, event: &Rude, cx: &mut Context<Self>) -> Outcome {
        if cx.attempt() == 1 && self.life == 1 {
            self.lay_mines(event.0, cx)?;
        }
        self.handle_rude(event).await
    }
}

impl Handle<Plain> for Victim {
    async fn handle(&mut self, plain: &Plain, _: &mut Context<Self>) -> Outcome {
        self.log.say(format!("plain {}", plain.0));
        Ok(())
    }
}

struct Crash;
impl Message for Crash {
    type Reply = ();
}
impl Answer<Crash> for Victim {
    async fn answer(&mut self, _: Crash, cx: &mut Context<Self>) -> Outcome {
        match self.case {
            At::Recipe | At::Started => panic!("to be rebuilt"),
            At::Stopping | At::DropOfService => cx.stop(),
            _ => {}
        }
        Ok(())
    }
}

impl Answer<Rude> for Victim {
    async fn answer(&mut self, rude: Rude, _: &mut Context<Self>) -> Outcome<At> {
        self.at(At::Answer);
        if rude.0 == At::ShowingFailureOfAnswer {
            return Err(Rude(rude.0).into());
        }
        Ok(rude.0)
    }
}

/// Goes on three times in its first attempt: the first fails, and the others must not be dropped
/// together.
struct Hasty;
impl Service for Hasty {}
impl Handle<Plain> for Hasty {
    async fn handle(&mut self, _: &Plain, cx: &mut Context<Self>) -> Outcome {
        if cx.attempt() == 1 {
            cx.later(async {}, async |_, (), _| Err(Failure::new("no")));
            for _ in 0..2 {
                let bomb = Bomb;
                cx.later(async move { bomb }, async |_, _, _| Ok(()));
            }
        }
        Ok(())
    }
}

async fn survive_per_key() {
    let retry = Policy::new().retry(Retry::fixed(Duration::ZERO));
    let hasty = service("hasty", || Hasty).per_key(|_| Hasty);
    let hasty = hasty.on::<Plain>().policy(retry);
    let board = here(Supervisor::one_for_one("shop").child(hasty)).await;
    board.publish(Plain(1)).await.unwrap();
    board.settle().await.unwrap();
    // Nobody is to blame: neither the instance nor its service has ended.
    let seen = board.inspect("shop/hasty").unwrap();
    assert_eq!((seen.life, seen.instances), (1, 1));
    let row = board.ledger();
    let row = row.delivery("shop/hasty", "plain").unwrap();
    assert_eq!((row.acknowledged, row.retried), (1, 1));
    assert_eq!(seen.last_failure.unwrap().failure.to_string(), "no");
    end(&board).await;
}

fn policy(case: At) -> Policy {
    let now = Retry::fixed(Duration::ZERO);
    Policy::new().retry(match case {
        At::RetryWith => Retry::with(|_| panic!("in Retry::with")),
        At::RetryWhen => now.when(|_| panic!("in Retry::when")),
        _ => now,
    })
}

/// Has copies of a message for workers who take none of them.
async fn tell_in_vain() {
    let make = || Victim {
        case: At::DropOfCopies,
        life: 1,
        log: Log::new(),
        shared: Arc::default(),
    };
    let crew = service("crew", make).workers(2);
    let address = crew.address();
    let board = here(Supervisor::one_for_one("shop").child(crew)).await;
    end(&board).await;
    let back = address.tell_all(Left(Bomb)).await.unwrap_err();
    assert!(std::panic::catch_unwind(move || drop(back)).is_err());
}

async fn survive(case: At) {
    if case == At::DropOfCopies {
        return tell_in_vain().await;
    }
    let (log, lines, shared, mut life) = (Log::new(), Log::new(), Arc::default(), 0);
    let said = lines.clone();
    let victim = service("victim", move || {
        life += 1;
        if life == 2 && case == At::Recipe {
            panic!("at Recipe");
        }
        Victim {
            case,
            life,
            log: said.clone(),
            shared: Arc::clone(&shared),
        }
    });
    let victim = victim.on::<Rude>().on::<Plain>().policy(policy(case));
    let address = victim.address();
    let neighbour = crate::support_lives::probe("neighbour", &log);
    let to_neighbour = neighbour.address();
    let board = here(
        Supervisor::one_for_one("shop")
            .child(victim)
            .child(neighbour),
    )
    .await;
    board.publish(Plain(1)).await.unwrap();
    board.publish(Rude(case)).await.unwrap();
    board.publish(Plain(2)).await.unwrap();
    address.tell(Crash).await.unwrap();
    if let Err(error) = address.ask(Rude(case)).await {
        assert!(!error.to_string().is_empty());
    }
    if case == At::DropOfQueuedMessage {
        address.try_tell(Rude(case)).unwrap();
    }
    tokio::time::sleep(millis(20)).await;
    board.settle().await.unwrap();
    board.publish(Plain(3)).await.unwrap();
    board.settle().await.unwrap();
    for id in 1..=3 {
        assert_eq!(
            lines.count(&format!("plain {id}")),
            1,
            "{:?}",
            lines.lines()
        );
    }
    check_dead(case, &board);
    let life = to_neighbour
        .ask(crate::support_lives::Do(Default::default()))
        .await;
    assert_eq!(life.unwrap(), 1);
    if case == At::DropOfLeftMessages {
        // Never closed: they go with the thread's tasks.
        board.suspend("shop/victim").unwrap();
        return (0..2).for_each(|_| address.try_tell(Left(Bomb)).unwrap());
    }
    end(&board).await;
}

/// Whose failure it was, and whose it was not.
fn check_dead(case: At, board: &Board) {
    let letters = board.dead_letters();
    let dead = [
        At::ShowingFailure,
        At::RetryWith,
        At::RetryWhen,
        At::KeyOfDeadLetter,
    ];
    let dead = dead.contains(&case) || case == At::DropOfFailure;
    assert_eq!(letters.len(), usize::from(dead), "{letters:?}");
    if matches!(case, At::DropOfFollowUps | At::DropOfLaters) {
        // Nobody is to blame for that: no life has ended.
        assert_eq!(board.inspect("shop/victim").unwrap().life, 1);
        let row = board
            .ledger()
            .delivery("shop/victim", "rude")
            .unwrap()
            .clone();
        assert_eq!((row.acknowledged, row.retried), (1, 1));
    }
    for letter in &letters {
        assert_eq!(letter.key(), Key::None);
        assert!(
            letter.to_string().starts_with("rude 2 for shop/victim, "),
            "{letter}"
        );
    }
}

/// It panics while it is dropped because it panicked in a handler that was dropped by a kill.
#[test]
fn a_service_that_panics_in_its_drop_while_being_killed_is_survived() {
    struct Clinging;
    impl Service for Clinging {
        async fn stopping(&mut self, _: &Exit, _: &mut Context<Self>) {
            std::future::pending().await
        }
    }
    impl Drop for Clinging {
        fn drop(&mut self) {
            crate::support_lives::boom();
        }
    }
    paused(async {
        let spec = service("clinging", || Clinging).restart(Restart::Temporary);
        let board = here(Supervisor::one_for_one("shop").child(spec)).await;
        end(&board).await;
        board.wait().await.unwrap();
    });
}
