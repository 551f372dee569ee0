//! Services that wait for each other as a line of moves says, and write down what was refused.
//!
//! Invariant: whoever is waited for is told so before it is waited for, and makes the rest of the
//! line meanwhile, so that a line which leads back to its start closes a cycle in any schedule.

use std::sync::{Arc, Mutex, OnceLock};

use callboard::prelude::*;
use callboard::{AskError, BoardBuilder, PublishError, Recipient, TellError};
use tokio::sync::{Barrier, Semaphore};

use crate::support_lives::Log;

/// What makes one player wait for another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verb {
    Ask,
    TryAsk,
    /// Tells until the mailbox is full, and once more.
    Tell,
    /// Publishes until the subscription is full, and once more.
    Publish,
    Settled,
    /// Waits until all who are to meet are there, and goes on with the line.
    Meet,
}

/// Through what a verb is called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Through {
    Context,
    /// An address, or the board.
    Handle,
    /// A recipient, or a publisher.
    Narrow,
}

pub(crate) const WAYS: [Through; 3] = [Through::Context, Through::Handle, Through::Narrow];

/// Each move by the player that the move before went to, the first by the first player.
pub(crate) type Line = Vec<(Verb, usize)>;

/// Makes a line, and says how it went.
pub(crate) struct Make(pub(crate) Line);
impl Message for Make {
    type Reply = String;
}

/// The event that only the player with this index hears.
pub(crate) struct Cue<const N: usize>(pub(crate) Line);
impl<const N: usize> Event for Cue<N> {
    const NAME: &'static str = ["cue-0", "cue-1", "cue-2"][N];
}

/// Anything else a player may do.
pub(crate) type Act = for<'a> fn(
    &'a mut Player,
    &'a mut Context<Player>,
) -> std::pin::Pin<Box<dyn Future<Output = String> + 'a>>;

pub(crate) struct Run(pub(crate) Act);
impl Message for Run {
    type Reply = String;
}

/// What all players of a board know.
pub(crate) struct Table {
    through: Through,
    players: OnceLock<Vec<Address<Player>>>,
    board: OnceLock<Board>,
    pub(crate) log: Log,
    pub(crate) cycles: Mutex<Vec<String>>,
    pub(crate) gate: Semaphore,
    meeting: Barrier,
}

impl Table {
    pub(crate) fn player(&self, index: usize) -> &Address<Player> {
        &self.players.get().unwrap()[index]
    }

    pub(crate) fn board(&self) -> &Board {
        self.board.get().unwrap()
    }

    /// The cycles that were refused since this was last asked.
    pub(crate) fn refused(&self) -> Vec<String> {
        std::mem::take(&mut self.cycles.lock().unwrap())
    }
}

/// So many players, ready to be started.
pub(crate) fn players(
    count: usize,
    through: Through,
    placed: fn(callboard::ServiceSpec<Player>) -> callboard::ServiceSpec<Player>,
) -> (Arc<Table>, Supervisor) {
    let table = Arc::new(Table {
        through,
        players: OnceLock::new(),
        board: OnceLock::new(),
        log: Log::new(),
        cycles: Mutex::default(),
        gate: Semaphore::new(0),
        meeting: Barrier::new(2),
    });
    let mut tree = Supervisor::one_for_one("ring");
    let mut addresses = Vec::new();
    for index in 0..count {
        let at = Arc::clone(&table);
        let spec = service(name(index), move || Player {
            name: name(index),
            table: Arc::clone(&at),
            kept: None,
        });
        let spec = placed(spec.letters(1));
        addresses.push(spec.address());
        tree = match index {
            0 => tree.child(spec.on_with::<Cue<0>>(|on| on.capacity(1))),
            1 => tree.child(spec.on_with::<Cue<1>>(|on| on.capacity(1))),
            2 => tree.child(spec.on_with::<Cue<2>>(|on| on.capacity(1))),
            _ => tree.child(spec),
        };
    }
    assert!(table.players.set(addresses).is_ok());
    (table, tree)
}

pub(crate) fn name(index: usize) -> String {
    format!("p{index}")
}

/// Starts players on this thread.
pub(crate) async fn table(count: usize, through: Through, builder: BoardBuilder) -> Arc<Table> {
    let (table, tree) = players(count, through, |spec| spec);
    let board = builder.on_this_thread().start(tree).await.unwrap();
    assert!(table.board.set(board).is_ok());
    table
}

/// Starts players on three threads, neighbours apart.
pub(crate) fn spread(count: usize, through: Through) -> Arc<Table> {
    let (table, tree) = players(count, through, |spec| spec.spread());
    let board = Board::builder().arbiters(3).start(tree).unwrap();
    assert!(table.board.set(board).is_ok());
    table
}

pub(crate) struct Player {
    pub(crate) name: String,
    pub(crate) table: Arc<Table>,
    /// A wait that a handler has begun and not ended.
    pub(crate) kept: Option<std::pin::Pin<Box<dyn Future<Output = String>>>>,
}

impl Service for Player {}

impl Answer<Make> for Player {
    async fn answer(&mut self, Make(line): Make, cx: &mut Context<Self>) -> Outcome<String> {
        Ok(self.make(line, cx).await)
    }
}

impl Answer<Run> for Player {
    async fn answer(&mut self, Run(act): Run, cx: &mut Context<Self>) -> Outcome<String> {
        Ok(act(self, cx).await)
    }
}

impl<const N: usize> Handle<Cue<N>> for Player {
    async fn handle(&mut self, Cue(line): &Cue<N>, cx: &mut Context<Self>) -> Outcome {
        self.make(line.clone(), cx).await;
        Ok(())
    }
}

/// A move that did not come off: the path of the cycle, or the error's text.
type Refused = (bool, String);

fn asked(error: AskError<Make>) -> Refused {
    match error {
        AskError::Cycle { path, .. } => (true, path),
        other => (false, other.to_string()),
    }
}

fn told(error: TellError<Make>) -> Refused {
    match error {
        TellError::Cycle { path, .. } => (true, path),
        other => (false, other.to_string()),
    }
}

fn published<const N: usize>(error: PublishError<Cue<N>>) -> Refused {
    match error {
        PublishError::Cycle { path, .. } => (true, path),
        other => (false, other.to_string()),
    }
}

impl Player {
    /// Makes the first move of the line, the others make the rest.
    pub(crate) async fn make(&self, mut line: Line, cx: &mut Context<Self>) -> String {
        if line.first().is_some_and(|next| next.0 == Verb::Meet) {
            line.remove(0);
            self.table.meeting.wait().await;
        }
        if line.is_empty() {
            return "done".to_owned();
        }
        self.table.log.say(format!("{} began", self.name));
        let (verb, to) = line.remove(0);
        let moved = match verb {
            Verb::Meet => Ok(()),
            Verb::Ask => self.ask(to, line, cx).await,
            Verb::TryAsk => {
                let asked_now = self.table.player(to).try_ask(Make(line)).await;
                asked_now.map(drop).map_err(asked)
            }
            Verb::Tell => self.tell_to_the_brim(to, line, cx).await,
            Verb::Publish | Verb::Settled => match to {
                0 => self.publish::<0>(verb, line, cx).await,
                1 => self.publish::<1>(verb, line, cx).await,
                _ => self.publish::<2>(verb, line, cx).await,
            },
        };
        match moved {
            Ok(()) => "done".to_owned(),
            Err((is_cycle, text)) => {
                assert!(is_cycle, "{} failed to {verb:?}: {text}", self.name);
                self.table.cycles.lock().unwrap().push(text.clone());
                text
            }
        }
    }

    async fn ask(&self, to: usize, line: Line, cx: &Context<Self>) -> Result<(), Refused> {
        let (to, make) = (self.table.player(to), Make(line));
        let answer = match self.table.through {
            Through::Context => cx.ask(to, make).await,
            Through::Handle => to.ask(make).await,
            Through::Narrow => Recipient::from(to.clone()).ask(make).await,
        };
        answer.map(drop).map_err(asked)
    }

    async fn tell(&self, to: usize, line: Line, cx: &Context<Self>) -> Result<(), Refused> {
        let (to, make) = (self.table.player(to), Make(line));
        let sent = match self.table.through {
            Through::Context => cx.tell(to, make).await,
            Through::Handle => to.tell(make).await,
            Through::Narrow => Recipient::from(to.clone()).tell(make).await,
        };
        sent.map_err(told)
    }

    async fn tell_to_the_brim(
        &self,
        to: usize,
        line: Line,
        cx: &Context<Self>,
    ) -> Result<(), Refused> {
        if !line.is_empty() {
            self.tell(to, line, cx).await?;
            self.table
                .log
                .wait_for(&format!("{} began", name(to)))
                .await;
        }
        self.tell(to, Line::new(), cx).await?;
        self.tell(to, Line::new(), cx).await
    }

    async fn publish<const N: usize>(
        &self,
        verb: Verb,
        line: Line,
        cx: &Context<Self>,
    ) -> Result<(), Refused> {
        let board = self.table.board();
        let publish = |line| match self.table.through {
            Through::Context => cx.publish(Cue::<N>(line)),
            Through::Handle => board.publish(Cue::<N>(line)),
            Through::Narrow => board.publisher().publish(Cue::<N>(line)),
        };
        if verb == Verb::Settled {
            return publish(line).settled().await.map(drop).map_err(published);
        }
        if !line.is_empty() {
            publish(line).await.map_err(published)?;
            self.table.log.wait_for(&format!("{} began", name(N))).await;
        }
        publish(Line::new()).await.map_err(published)?;
        publish(Line::new()).await.map(drop).map_err(published)
    }
}
