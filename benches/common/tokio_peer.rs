//! A task that adds up what comes through its channel, as our readers do.
//!
//! Benches of messages start it on a runtime or a set of their own.
//!
//! Invariant: its channel has as much room as one of our mailboxes.
//!
//! Nobody restarts it.

use std::future::Future;
use std::hint::black_box;

use tokio::sync::{mpsc, oneshot};

use super::actix_peer::CAPACITY;

/// A number, and where the sum goes if anybody wants to know it.
pub(crate) type Letter = (u64, Option<oneshot::Sender<u64>>);

/// The sender to a reader, and the reader: the task to be spawned.
pub(crate) fn reader() -> (
    mpsc::Sender<Letter>,
    impl Future<Output = ()> + Send + 'static,
) {
    let (sender, mut receiver) = mpsc::channel::<Letter>(CAPACITY);
    let task = async move {
        let mut sum = 0_u64;
        while let Some((number, reply)) = receiver.recv().await {
            sum = black_box(sum.wrapping_add(number));
            reply.map(|reply| reply.send(sum));
        }
    };
    (sender, task)
}

pub(crate) async fn ask(reader: &mpsc::Sender<Letter>, number: u64) -> u64 {
    let (reply, answer) = oneshot::channel();
    reader.send((number, Some(reply))).await.unwrap();
    answer.await.unwrap()
}

/// Waits for the answer to the last one.
pub(crate) async fn burst(reader: &mpsc::Sender<Letter>, messages: u64) {
    for number in 1..messages {
        reader.send((number, None)).await.unwrap();
    }
    ask(reader, 0).await;
}
