//! Running a board until the system, or the user at the keyboard, asks the program to end.
//!
//! Programs call it from `main`; it calls shutdown.
//!
//! Invariant: signals are listened to before anything is waited for, and not any more once the
//! board has ended.
//!
//! It ends no process: what follows is the caller's.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::{Board, BoardError, ShutdownReport};
use crate::park::block_on;

impl Board {
    /// Waits for Ctrl-C, on Unix also for SIGTERM (which container runtimes and service managers
    /// send), or for the board's own end, then shuts down within `limit`.
    ///
    /// Blocks the thread. It is meant for `main`, and not for a board
    /// [on this thread](crate::BoardBuilder::on_this_thread), which could not run at the same time.
    /// In an async `main`, await a signal and then [`Board::shutdown`] instead. From this call on,
    /// these signals no longer end the process by themselves: a second one during the shutdown
    /// changes nothing, because the shutdown ends by its deadline.
    ///
    /// ```no_run
    /// # use callboard::prelude::*;
    /// # fn run(board: Board) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{}", board.run_until_ctrl_c(secs(5))?);
    /// # Ok(()) }
    /// ```
    ///
    /// On a thread of a board, and in its blocking work, it does not wait: it logs a warning and
    /// returns at once. The report is not [over](ShutdownReport::over), and the board goes on.
    ///
    /// # Errors
    /// [`BoardError`] if the root supervisor gave up.
    pub fn run_until_ctrl_c(&self, limit: Duration) -> Result<ShutdownReport, BoardError> {
        if self.would_wait_for_itself() {
            tracing::warn!(
                target: "callboard::board",
                "run_until_ctrl_c is for main: it does not wait on a thread of the board"
            );
            return Ok(self.report_now());
        }
        // Signals are heard on the board's own runtime; this thread may have none.
        let listening = {
            let _inside = self.inner.time.enter();
            listen()
        };
        match &listening {
            Ok(_) => tracing::info!(
                target: "callboard::board",
                "the board runs until it is told to end"
            ),
            Err(error) => tracing::warn!(
                target: "callboard::board", %error,
                "no signal can be heard, so the board runs until it ends by itself"
            ),
        }
        block_on(self.ends_or_hears(listening.ok()))?;
        Ok(self.shutdown_blocking(limit))
    }

    /// Waits for the board's own end, or for a signal.
    async fn ends_or_hears(
        &self,
        listening: Option<impl Future<Output = &'static str>>,
    ) -> Result<(), BoardError> {
        let mut ended = pin!(self.wait());
        let mut listening = pin!(async {
            match listening {
                Some(listening) => listening.await,
                None => std::future::pending().await,
            }
        });
        poll_fn(|cx| {
            if let Poll::Ready(end) = ended.as_mut().poll(cx) {
                return Poll::Ready(end);
            }
            listening.as_mut().poll(cx).map(|signal| {
                tracing::info!(target: "callboard::board", signal, "the board ends");
                Ok(())
            })
        })
        .await
    }
}

/// Listens from now on; the future ends with the name of the signal that was heard.
#[cfg(all(unix, not(loom)))]
fn listen() -> io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(poll_fn(move |cx| {
        if interrupt.poll_recv(cx).is_ready() {
            return Poll::Ready("SIGINT");
        }
        terminate.poll_recv(cx).map(|_| "SIGTERM")
    }))
}

#[cfg(not(any(unix, loom)))]
fn listen() -> io::Result<impl Future<Output = &'static str>> {
    Ok(async {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "ctrl-c",
            // Without a way to hear it there is none to wait for.
            Err(_) => std::future::pending().await,
        }
    })
}

/// Under the model checker's flag tokio hears no signals; no model runs a board.
#[cfg(loom)]
fn listen() -> io::Result<impl Future<Output = &'static str>> {
    Ok(std::future::pending())
}
