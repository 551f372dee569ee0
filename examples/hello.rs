//! A service, an event, an ask.
//!
//! Run: `cargo run --example hello`. Prints what the accounts know, the ledger, and how the
//! shutdown went.
#![allow(clippy::print_stdout)]

use callboard::prelude::*;

struct OrderPlaced {
    cents: u64,
}
impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed";
}

struct Revenue;
impl Message for Revenue {
    type Reply = u64;
}

#[derive(Default)]
struct Accounts {
    cents: u64,
}
impl Service for Accounts {}
impl Handle<OrderPlaced> for Accounts {
    async fn handle(&mut self, order: &OrderPlaced, _: &mut Context<Self>) -> Outcome {
        self.cents += order.cents;
        Ok(())
    }
}
impl Answer<Revenue> for Accounts {
    async fn answer(&mut self, _: Revenue, _: &mut Context<Self>) -> Outcome<u64> {
        Ok(self.cents)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let accounts = service("accounts", Accounts::default).on::<OrderPlaced>();
    let books = accounts.address();
    let board = Board::start(Supervisor::one_for_one("shop").child(accounts))?;
    board.publish_blocking(OrderPlaced { cents: 500 })?;
    println!("{} cents", books.ask_blocking(Revenue)?);
    println!("{}\n{}", board.ledger(), board.shutdown_blocking(secs(5)));
    Ok(())
}
