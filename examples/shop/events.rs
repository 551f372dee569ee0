//! What happens in the shop. Every event is about one order, which is its key: so a dead letter
//! of any of them tells which order it was.

use callboard::{Event, Key};

pub(crate) struct OrderPlaced {
    pub(crate) order: u64,
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) cents: i64,
}

pub(crate) struct StockReserved {
    pub(crate) order: u64,
    pub(crate) cents: i64,
}

pub(crate) struct StockRefused(pub(crate) u64);
pub(crate) struct PaymentTaken(pub(crate) u64);
pub(crate) struct PaymentRefused(pub(crate) u64);
pub(crate) struct OrderShipped(pub(crate) u64);

impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed";
    fn key(&self) -> Key {
        self.order.into()
    }
}

impl Event for StockReserved {
    const NAME: &'static str = "stock.reserved";
    fn key(&self) -> Key {
        self.order.into()
    }
}

impl Event for StockRefused {
    const NAME: &'static str = "stock.refused";
    fn key(&self) -> Key {
        self.0.into()
    }
}

impl Event for PaymentTaken {
    const NAME: &'static str = "payment.taken";
    fn key(&self) -> Key {
        self.0.into()
    }
}

impl Event for PaymentRefused {
    const NAME: &'static str = "payment.refused";
    fn key(&self) -> Key {
        self.0.into()
    }
}

impl Event for OrderShipped {
    const NAME: &'static str = "order.shipped";
    fn key(&self) -> Key {
        self.0.into()
    }
}
