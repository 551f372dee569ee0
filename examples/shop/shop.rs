//! The shop as a whole: taking orders in, and the report at the end.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use callboard::{Board, PublishError, StartError, secs};

use crate::book::Book;
use crate::events::OrderPlaced;
use crate::gateway::{Gateway, Manners};
use crate::order::NewOrder;
use crate::services::{Lives, tree};

#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) board: Board,
    pub(crate) book: Book,
    gateway: Arc<Gateway>,
    lives: Lives,
}

/// Why an order was not taken in.
pub(crate) enum Refused {
    Full,
    Closed,
}

impl Shop {
    pub(crate) fn start(manners: Manners, capacity: usize) -> Result<Self, StartError> {
        let (book, lives, seed) = (Book::default(), Lives::default(), manners.seed);
        let gateway = Arc::new(Gateway::new(manners));
        let tree = tree(&book, &gateway, &lives, capacity);
        let board = Board::builder().seed(seed).start(tree)?;
        Ok(Self {
            board,
            book,
            gateway,
            lives,
        })
    }

    /// Takes an order in, or says at once that there is no room.
    pub(crate) fn place(&self, new: &NewOrder) -> Result<u64, Refused> {
        self.book.enter(|order| {
            let placed = OrderPlaced {
                order,
                sku: new.sku.clone(),
                quantity: new.quantity,
                cents: new.cents,
            };
            match self.board.try_publish(placed) {
                Ok(_) => Ok(()),
                Err(PublishError::Full { .. }) => Err(Refused::Full),
                Err(_) => Err(Refused::Closed),
            }
        })
    }

    /// Closes the shop. Returns the report, and whether all is as it must be.
    pub(crate) fn close(&self) -> (String, bool) {
        let letters = self.board.dead_letters();
        let shutdown = self.board.shutdown_blocking(secs(30));
        let totals = self.book.totals();
        let gap = shutdown.ledger.gap();
        let mut text = format!("\n{}\n\nrestarts\n", shutdown.ledger);
        for (name, restarts) in self.lives.restarts() {
            let _ = writeln!(text, "  {name:<10} {restarts}");
        }
        let _ = writeln!(text, "\ndead letters: {}", totals.dead_lettered);
        for letter in letters.iter().take(3) {
            let _ = writeln!(text, "  order {}: {letter}", letter.key());
        }
        if letters.len() > 3 {
            let _ = writeln!(text, "  and {} more", letters.len() - 3);
        }
        let (panics, outages) = (&self.gateway.panics, &self.gateway.outages);
        let _ = writeln!(
            text,
            "\ngateway: {} panics, {} outages, {} orders charged",
            panics.load(Relaxed),
            outages.load(Relaxed),
            self.gateway.charged()
        );
        let _ = writeln!(
            text,
            "orders: {} accepted = {} shipped + {} cancelled + {} dead-lettered",
            totals.accepted, totals.shipped, totals.cancelled, totals.dead_lettered
        );
        let good = totals.balance() && gap == 0 && shutdown.drained;
        let verdict = if good {
            "every accepted order ended in exactly one way"
        } else {
            "NOT every accepted order ended in exactly one way"
        };
        let took = shutdown.took.as_millis();
        let _ = writeln!(text, "{verdict}; gap: {gap}; shut down in {took} ms");
        (text, good)
    }
}
