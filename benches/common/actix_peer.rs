//! An actor of actix that adds up what it is sent, as our readers do.
//!
//! Benches of messages start it, here or on an arbiter.
//!
//! Invariant: its mailbox has as much room as one of ours.
//!
//! It is not supervised: a panic would end it for good.

use std::hint::black_box;

use actix::{Actor, Addr, Arbiter, Context, Handler};

use super::readers::Add;

/// Room in mailboxes and channels: as much as one of ours has by default.
pub(crate) const CAPACITY: usize = 1_024;

impl actix::Message for Add {
    type Result = u64;
}

#[derive(Default)]
pub(crate) struct ActixReader {
    sum: u64,
}
impl Actor for ActixReader {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(CAPACITY);
    }
}
impl Handler<Add> for ActixReader {
    type Result = u64;

    fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
        self.sum = black_box(self.sum.wrapping_add(add.0));
        self.sum
    }
}

pub(crate) fn elsewhere(arbiter: &Arbiter) -> Addr<ActixReader> {
    ActixReader::start_in_arbiter(&arbiter.handle(), |_| ActixReader::default())
}

/// Sends within the bound: without waiting while there is room, else with, which in actix is until
/// the answer. Waits for the answer to the last one.
pub(crate) async fn burst(reader: &Addr<ActixReader>, messages: u64) {
    for number in 1..messages {
        if let Err(full) = reader.try_send(Add(number)) {
            reader.send(full.into_inner()).await.unwrap();
        }
    }
    reader.send(Add(0)).await.unwrap();
}
