//! A service, an event, an ask.
//!
//! Run: `cargo run --example hello`. Prints what the accounts know, and the ledger.

use callboard::prelude::*;

struct OrderPlaced(u64);
impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed";
}

struct Revenue;
impl Message for Revenue {
    type Reply = u64;
}

struct Accounts(u64);
impl Service for Accounts {}
impl Handle<OrderPlaced> for Accounts {
    async fn handle(&mut self, order: &OrderPlaced, _: &mut Context<Self>) -> Outcome {
        self.0 += order.0;
        Ok(())
    }
}
impl Answer<Revenue> for Accounts {
    async fn answer(&mut self, _: Revenue, _: &mut Context<Self>) -> Outcome<u64> {
        Ok(self.0)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let accounts = service("accounts", || Accounts(0)).on::<OrderPlaced>();
    let books = accounts.address();
    let board = Board::start(Supervisor::one_for_one("shop").child(accounts))?;
    board.publish_blocking(OrderPlaced(500))?;
    println!("{} cents\n{}", books.ask_blocking(Revenue)?, board.ledger());
    Ok(())
}
