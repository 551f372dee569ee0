//! One service asks another; what it could not do becomes a dead letter, and is given back once the
//! cause is mended.
//!
//! Run: `cargo run --example repair`. Prints each order that is shipped, the dead letter, and the
//! ledger at the end. An async program: the board runs on threads of its own.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use callboard::prelude::*;

struct OrderPlaced {
    id: u64,
    pieces: u32,
}
impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed";
}

/// Takes pieces out of the stock; the reply is how many are left.
struct Take(u32);
impl Message for Take {
    type Reply = u32;
}

/// Adds pieces to the stock; the reply is how many there are now.
struct Restock(u32);
impl Message for Restock {
    type Reply = u32;
}

#[derive(Default)]
struct Stock {
    pieces: u32,
}
impl Service for Stock {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        // What has to be fetched or opened is fetched here: the recipe can neither fail nor wait.
        self.pieces = 5;
        Ok(())
    }
}
impl Answer<Take> for Stock {
    async fn answer(&mut self, Take(pieces): Take, _: &mut Context<Self>) -> Outcome<u32> {
        let left = self.pieces.checked_sub(pieces);
        self.pieces = left.ok_or(Failure::new("out of stock"))?;
        Ok(self.pieces)
    }
}
impl Answer<Restock> for Stock {
    async fn answer(&mut self, Restock(pieces): Restock, _: &mut Context<Self>) -> Outcome<u32> {
        self.pieces += pieces;
        Ok(self.pieces)
    }
}

/// Has the address of the service that it asks from its recipe.
struct Shipping {
    stock: Address<Stock>,
}
impl Service for Shipping {}
impl Handle<OrderPlaced> for Shipping {
    async fn handle(&mut self, order: &OrderPlaced, cx: &mut Context<Self>) -> Outcome {
        let left = cx.ask(&self.stock, Take(order.pieces)).await?;
        println!("order {} shipped, {left} pieces left", order.id);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stock = service("stock", Stock::default);
    let shelves = stock.address();
    let to = shelves.clone();
    let shipping = service("shipping", move || Shipping { stock: to.clone() });
    let tree = Supervisor::one_for_one("shop")
        .policy(Policy::new().retry(Retry::fixed(millis(10)).attempts(2)))
        .child(stock)
        .child(shipping.on::<OrderPlaced>());
    // It blocks until all have started, so it is kept off the async threads.
    let board = tokio::task::spawn_blocking(move || Board::start(tree)).await??;

    for (id, pieces) in (1..).zip([3, 4, 1]) {
        board.publish(OrderPlaced { id, pieces }).await?;
    }
    board.settle().await?;
    let letters = board.dead_letters();
    letters
        .iter()
        .for_each(|letter| println!("dead letter: {letter}"));

    println!("restocked to {} pieces", shelves.ask(Restock(10)).await?);
    for letter in &letters {
        board.redrive(letter).await?;
    }
    board.settle().await?;
    println!("{}", board.ledger());

    assert_eq!(letters.len(), 1, "the second order, and no other");
    assert!(board.dead_letters().is_empty(), "it has been shipped, too");
    assert_eq!(board.ledger().gap(), 0);
    println!("{}", board.shutdown(secs(5)).await);
    Ok(())
}
