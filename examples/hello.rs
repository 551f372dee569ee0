//! A service that panics over an event, and gets it back in its next life.
//!
//! Run: `cargo run --example hello`. It is the program at the top of README.md.

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
    async fn handle(&mut self, order: &OrderPlaced, cx: &mut Context<Self>) -> Outcome {
        assert!(cx.attempt() > 1, "a bug that shows only once"); // the event comes back
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
    let books = accounts.address(); // valid before the start and across restarts
    let board = Board::start(Supervisor::one_for_one("shop").child(accounts))?;
    board.publish_blocking(OrderPlaced { cents: 500 })?;
    board.settle_blocking()?; // until every accepted event is in a final state
    println!("{} cents", books.ask_blocking(Revenue)?);
    println!("{}\n{}", board.tree(), board.ledger());
    println!("{}", board.shutdown_blocking(secs(5)));
    Ok(())
}
