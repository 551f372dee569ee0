//! The threads of a board: one that keeps the time, and the arbiters where services run.
//!
//! The builder raises it, shutdown takes it down.
//!
//! Invariant: no service runs on the thread that keeps the time, so deadlines pass even while
//! handlers block every arbiter.
//!
//! It knows no service.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place that starts threads"
)]

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use actix_rt::{Arbiter, ArbiterHandle, System};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::host::Home;
use crate::service::Placement;

/// What the timekeeping thread is asked.
enum Call {
    /// One more arbiter.
    Raise(mpsc::Sender<io::Result<ArbiterHandle>>),
}

/// The house of one board.
pub(crate) struct House {
    calls: Option<mpsc::Sender<Call>>,
    pub(crate) time: Handle,
    arbiters: Vec<ArbiterHandle>,
    turn: usize,
    /// Says that everything has stopped.
    stop: Option<oneshot::Sender<()>>,
    /// How many arbiters have not ended yet.
    pub(crate) left: watch::Receiver<usize>,
    /// Ends the timekeeping thread when the last clock has gone.
    pub(crate) driver: Arc<oneshot::Sender<()>>,
}

impl House {
    /// Starts the threads; those for blocking work are started when there is some.
    pub(crate) fn raise(arbiters: usize, blocking: usize) -> io::Result<Self> {
        let mut runtime = Builder::new_current_thread();
        runtime
            .enable_all()
            .max_blocking_threads(blocking)
            .thread_name("callboard-blocking");
        let runtime = Arc::new(runtime.build()?);
        let time = runtime.handle().clone();
        let (calls, called) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (driver, unused) = oneshot::channel();
        let (leaving, left) = watch::channel(0);
        let keep = Keeper {
            runtime,
            called,
            stopped,
            unused,
            leaving,
        };
        thread::Builder::new()
            .name("callboard".to_owned())
            .spawn(move || keep.time())?;
        let mut house = House {
            calls: Some(calls),
            time,
            arbiters: Vec::new(),
            turn: 0,
            stop: Some(stop),
            left,
            driver: Arc::new(driver),
        };
        for _ in 0..arbiters {
            let arbiter = house.arbiter()?;
            house.arbiters.push(arbiter);
        }
        Ok(house)
    }

    fn arbiter(&self) -> io::Result<ArbiterHandle> {
        let gone = || io::Error::other("the board's own thread has ended");
        let (reply, raised) = mpsc::channel();
        let calls = self.calls.as_ref().ok_or_else(gone)?;
        calls.send(Call::Raise(reply)).map_err(|_| gone())?;
        raised.recv().map_err(|_| gone())?
    }

    /// The home of something that asks for one. The root's is arbiter 0.
    pub(crate) fn place(&mut self, placement: Placement) -> io::Result<Home> {
        let number = match placement {
            Placement::Dedicated => return self.arbiter().map(Home::Arbiter),
            Placement::Together => 0,
            Placement::Arbiter(number) => number,
            Placement::Spread => {
                self.turn += 1;
                self.turn - 1
            }
        };
        let count = self.arbiters.len().max(1);
        let arbiter = self.arbiters.get(number % count).cloned();
        arbiter
            .map(Home::Arbiter)
            .ok_or_else(|| io::Error::other("the board has no arbiter"))
    }

    /// No more arbiters will be asked for.
    pub(crate) fn settle_in(&mut self) {
        self.calls = None;
    }

    /// Stops the arbiters, each after what it is doing; `left` tells how many are still at it.
    pub(crate) fn take_down(&mut self) {
        self.calls = None;
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// Lets an arbiter read the board's clock without entering its runtime: nothing is paused here,
/// so all runtimes tell the same time.
pub(crate) fn adopt(home: &Home, clock: &Clock) {
    if let Home::Arbiter(arbiter) = home {
        let clock = clock.clone();
        arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                let _adopted = clock.adopt();
                // Ends with the arbiter: the thread belongs to this board.
                std::future::pending::<()>().await;
            });
        });
    }
}

struct Keeper {
    runtime: Arc<Runtime>,
    called: mpsc::Receiver<Call>,
    stopped: oneshot::Receiver<()>,
    unused: oneshot::Receiver<()>,
    leaving: watch::Sender<usize>,
}

impl Keeper {
    fn time(self) {
        let Keeper {
            runtime,
            called,
            stopped,
            unused,
            leaving,
        } = self;
        let system = System::with_tokio_rt(|| Arc::clone(&runtime));
        let mut arbiters = Vec::new();
        while let Ok(Call::Raise(reply)) = called.recv() {
            let _ = reply.send(raise(&mut arbiters));
        }
        leaving.send_replace(arbiters.len());
        system.block_on(async move {
            let _ = stopped.await;
            for arbiter in &arbiters {
                arbiter.stop();
            }
            join_all(arbiters, leaving);
            // Clocks may still be read, and sleeps polled, until the last handle has gone.
            let _ = unused.await;
        });
    }
}

fn raise(arbiters: &mut Vec<Arbiter>) -> io::Result<ArbiterHandle> {
    let arbiter = Arbiter::try_new()?;
    let handle = arbiter.handle();
    arbiters.push(arbiter);
    Ok(handle)
}

/// Joins each arbiter on a thread of its own: one whose handler never returns is left behind.
fn join_all(arbiters: Vec<Arbiter>, leaving: watch::Sender<usize>) {
    let leaving = Arc::new(leaving);
    for arbiter in arbiters {
        let leaving = Arc::clone(&leaving);
        let join = move || {
            let _ = arbiter.join();
            leaving.send_modify(|left| *left = left.saturating_sub(1));
        };
        // Without a thread to wait on, nobody waits: the arbiter has been told to stop.
        let _ = thread::Builder::new()
            .name("callboard-join".to_owned())
            .spawn(join);
    }
}
