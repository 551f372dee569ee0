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

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix_rt::{Arbiter, ArbiterHandle, System};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{mpsc as calls, oneshot, watch};

use crate::clock::Clock;
use crate::host::{self, Home};
use crate::service::Placement;
use crate::supervisor::Threads;
use crate::sync::{Mutex, lock};

/// An arbiter that has been asked for.
struct Raising {
    number: u64,
    raised: crossbeam_channel::Receiver<io::Result<ArbiterHandle>>,
}

impl Raising {
    /// Waits for it.
    fn home(self) -> io::Result<Home> {
        let arbiter = self.raised.recv().map_err(|_| gone())??;
        Ok(Home::Arbiter(arbiter, self.number))
    }
}

fn gone() -> io::Error {
    io::Error::other("the board's own thread has ended")
}

/// What the timekeeping thread is asked.
enum Call {
    /// One more arbiter, of this number.
    Raise(u64, crossbeam_channel::Sender<io::Result<ArbiterHandle>>),
    /// The arbiter of this number ends.
    Release(u64),
}

/// The house of one board.
pub(crate) struct House {
    calls: Option<calls::UnboundedSender<Call>>,
    pub(crate) time: Handle,
    arbiters: Vec<Home>,
    turn: usize,
    /// The number of the next arbiter.
    next: u64,
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
        let (calls, called) = calls::unbounded_channel();
        let (driver, unused) = oneshot::channel();
        let (leaving, left) = watch::channel(0);
        let keep = Keeper {
            runtime,
            called,
            unused,
            arbiters: Arbiters {
                running: BTreeMap::new(),
                left: Arc::new(leaving),
            },
        };
        thread::Builder::new()
            .name("callboard".to_owned())
            .spawn(move || keep.time())?;
        let mut house = House {
            calls: Some(calls),
            time,
            arbiters: Vec::new(),
            turn: 0,
            next: 0,
            left,
            driver: Arc::new(driver),
        };
        for _ in 0..arbiters {
            let arbiter = house.arbiter()?;
            house.arbiters.push(arbiter);
        }
        Ok(house)
    }

    fn arbiter(&mut self) -> io::Result<Home> {
        self.ask_for_one()?.home()
    }

    /// Asks for another arbiter.
    fn ask_for_one(&mut self) -> io::Result<Raising> {
        let (reply, raised) = crossbeam_channel::bounded(1);
        let number = self.next;
        let calls = self.calls.as_ref().ok_or_else(gone)?;
        calls.send(Call::Raise(number, reply)).map_err(|_| gone())?;
        self.next += 1;
        Ok(Raising { number, raised })
    }

    /// The home of something that asks for one. The root's is arbiter 0.
    pub(crate) fn place(&mut self, placement: Placement) -> io::Result<Home> {
        let number = match placement {
            Placement::Dedicated => return self.arbiter(),
            Placement::Together => 0,
            Placement::Arbiter(number) => number,
            Placement::Spread => {
                self.turn += 1;
                self.turn - 1
            }
        };
        let count = self.arbiters.len().max(1);
        let arbiter = self.arbiters.get(number % count).cloned();
        arbiter.ok_or_else(|| io::Error::other("the board has no arbiter"))
    }

    /// Ends an arbiter that was made for one child.
    fn release(&self, home: &Home) {
        if let Some((calls, number)) = self.calls.as_ref().zip(home.number()) {
            // Without a timekeeping thread all arbiters have been told to end.
            let _ = calls.send(Call::Release(number));
        }
    }

    /// Stops the arbiters, each after what it is doing; `left` tells how many are still at it.
    pub(crate) fn take_down(&mut self) {
        self.calls = None;
    }
}

/// Hands out the threads of a house, whose clock they keep.
pub(crate) struct Rooms {
    house: Arc<Mutex<House>>,
    clock: Clock,
    /// For how long an arbiter spins before it parks; zero is not at all.
    spin: Duration,
}

impl Rooms {
    /// All arbiters keep this clock from now on.
    pub(crate) fn new(house: Arc<Mutex<House>>, clock: Clock, spin: Duration) -> Self {
        for home in &lock(&house).arbiters {
            adopt(home, &clock, spin);
        }
        Rooms { house, clock, spin }
    }
}

impl Threads for Rooms {
    fn place(&self, placement: Placement) -> io::Result<Home> {
        if placement != Placement::Dedicated {
            return lock(&self.house).place(placement);
        }
        // Waited for without the lock: whoever answers may want it to take all down.
        let raising = lock(&self.house).ask_for_one()?;
        let home = raising.home()?;
        adopt(&home, &self.clock, self.spin);
        Ok(home)
    }

    fn release(&self, home: &Home) {
        lock(&self.house).release(home);
    }
}

/// The caller's own thread is all there is.
pub(crate) struct OneThread;

impl Threads for OneThread {
    fn place(&self, _: Placement) -> io::Result<Home> {
        Ok(Home::Here)
    }

    fn release(&self, _: &Home) {}
}

/// Lets an arbiter read the board's clock without entering its runtime: nothing is paused here,
/// so all runtimes tell the same time.
fn adopt(home: &Home, clock: &Clock, spin: Duration) {
    if let Home::Arbiter(arbiter, _) = home {
        let clock = clock.clone();
        arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                let _adopted = clock.adopt();
                if !spin.is_zero() {
                    host::spin::spin(spin, clock).await;
                }
                // Ends with the arbiter: the thread belongs to this board.
                std::future::pending::<()>().await;
            });
        });
    }
}

struct Keeper {
    runtime: Arc<Runtime>,
    called: calls::UnboundedReceiver<Call>,
    unused: oneshot::Receiver<()>,
    arbiters: Arbiters,
}

impl Keeper {
    /// Keeps the time until the last handle is gone, and the arbiters until they are taken down.
    fn time(self) {
        let Keeper {
            runtime,
            mut called,
            unused,
            mut arbiters,
        } = self;
        let system = System::with_tokio_rt(|| Arc::clone(&runtime));
        system.block_on(async move {
            while let Some(call) = called.recv().await {
                match call {
                    Call::Raise(number, reply) => {
                        let _ = reply.send(arbiters.raise(number));
                    }
                    Call::Release(number) => arbiters.end(number),
                }
            }
            arbiters.end_all();
            // Clocks may still be read, and sleeps polled, until the last handle has gone.
            let _ = unused.await;
        });
    }
}

/// The arbiters that have not been told to end, by number.
struct Arbiters {
    running: BTreeMap<u64, Arbiter>,
    left: Arc<watch::Sender<usize>>,
}

impl Arbiters {
    fn raise(&mut self, number: u64) -> io::Result<ArbiterHandle> {
        let arbiter = Arbiter::try_new()?;
        let handle = arbiter.handle();
        self.running.insert(number, arbiter);
        self.left.send_modify(|left| *left += 1);
        Ok(handle)
    }

    fn end(&mut self, number: u64) {
        if let Some(arbiter) = self.running.remove(&number) {
            arbiter.stop();
            self.join(arbiter);
        }
    }

    fn end_all(&mut self) {
        for arbiter in self.running.values() {
            arbiter.stop();
        }
        for (_, arbiter) in std::mem::take(&mut self.running) {
            self.join(arbiter);
        }
    }

    /// Joins an arbiter on a thread of its own: one whose handler never returns is left behind.
    fn join(&self, arbiter: Arbiter) {
        let left = Arc::clone(&self.left);
        let join = move || {
            let _ = arbiter.join();
            left.send_modify(|left| *left = left.saturating_sub(1));
        };
        // Without a thread to wait on, nobody waits: the arbiter has been told to stop.
        let _ = thread::Builder::new()
            .name("callboard-join".to_owned())
            .spawn(join);
    }
}
