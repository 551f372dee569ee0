//! The five services, and the tree they live in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use callboard::Key;
use callboard::prelude::*;

use crate::book::{Book, State};
use crate::events::{
    OrderPlaced, OrderShipped, PaymentRefused, PaymentTaken, StockRefused, StockReserved,
};
use crate::gateway::{Answer as BankAnswer, Gateway};

/// Each article is in store so many times when the shop opens.
const IN_STORE: i64 = 1_000_000;
/// Room for what must never make its publisher wait, lest two services wait for each other.
const AMPLE: usize = 100_000;

/// Keeps the order book up to date.
struct Orders(Book);

impl Service for Orders {}

impl Handle<OrderShipped> for Orders {
    async fn handle(&mut self, event: &OrderShipped, _: &mut Context<Self>) -> Outcome {
        self.0.end(event.0, State::Shipped);
        Ok(())
    }
}

impl Handle<PaymentRefused> for Orders {
    async fn handle(&mut self, event: &PaymentRefused, _: &mut Context<Self>) -> Outcome {
        self.0.end(event.0, State::Cancelled);
        Ok(())
    }
}

impl Handle<StockRefused> for Orders {
    async fn handle(&mut self, event: &StockRefused, _: &mut Context<Self>) -> Outcome {
        self.0.end(event.0, State::Cancelled);
        Ok(())
    }
}

impl Handle<DeadLetter> for Orders {
    async fn handle(&mut self, letter: &DeadLetter, _: &mut Context<Self>) -> Outcome {
        // These three carry an order on; what hangs on the end of one, such as a mail or goods
        // put back, may be lost without the order being so.
        let carries = [OrderPlaced::NAME, StockReserved::NAME, PaymentTaken::NAME];
        if let Key::Number(order) = letter.key()
            && carries.contains(&letter.event_name())
        {
            self.0.end(order, State::DeadLettered);
        }
        Ok(())
    }
}

/// What is in store and what is reserved; captured by the recipe, so a restart forgets nothing.
#[derive(Clone, Default)]
struct Inventory(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    left: HashMap<String, i64>,
    reserved: HashMap<u64, (String, i64)>,
}

impl Inventory {
    /// Reserves once for each order, however often it is asked.
    fn reserve(&self, order: &OrderPlaced) -> bool {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if store.reserved.contains_key(&order.order) {
            return true;
        }
        let left = store.left.entry(order.sku.clone()).or_insert(IN_STORE);
        if *left < order.quantity {
            return false;
        }
        *left -= order.quantity;
        store
            .reserved
            .insert(order.order, (order.sku.clone(), order.quantity));
        true
    }

    fn release(&self, order: u64) {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sku, quantity)) = store.reserved.remove(&order) {
            *store.left.entry(sku).or_insert(IN_STORE) += quantity;
        }
    }
}

impl Service for Inventory {}

impl Handle<OrderPlaced> for Inventory {
    async fn handle(&mut self, event: &OrderPlaced, cx: &mut Context<Self>) -> Outcome {
        let (order, cents) = (event.order, event.cents);
        if self.reserve(event) {
            cx.publish_on_success(StockReserved { order, cents });
        } else {
            cx.publish_on_success(StockRefused(order));
        }
        Ok(())
    }
}

impl Handle<PaymentRefused> for Inventory {
    async fn handle(&mut self, event: &PaymentRefused, _: &mut Context<Self>) -> Outcome {
        self.release(event.0);
        Ok(())
    }
}

struct Payments(Arc<Gateway>);

impl Service for Payments {}

impl Handle<StockReserved> for Payments {
    async fn handle(&mut self, event: &StockReserved, cx: &mut Context<Self>) -> Outcome {
        let order = event.order;
        // An outage is a failure, which the policy tries again; a panic costs this life.
        match self.0.charge(order, event.cents, cx.attempt()).await? {
            BankAnswer::Taken => cx.publish_on_success(PaymentTaken(order)),
            BankAnswer::Declined => cx.publish_on_success(PaymentRefused(order)),
        }
        Ok(())
    }
}

struct Shipping;

impl Service for Shipping {}

impl Handle<PaymentTaken> for Shipping {
    async fn handle(&mut self, event: &PaymentTaken, cx: &mut Context<Self>) -> Outcome {
        cx.publish_on_success(OrderShipped(event.0));
        Ok(())
    }
}

struct Mailer;

impl Service for Mailer {}

impl Handle<OrderShipped> for Mailer {
    async fn handle(&mut self, event: &OrderShipped, _: &mut Context<Self>) -> Outcome {
        tracing::debug!(order = event.0, "your order is on its way");
        Ok(())
    }
}

/// How many lives each service has had. A life cannot count those before it, its recipe can.
#[derive(Clone, Default)]
pub(crate) struct Lives(Arc<Mutex<Vec<Counted>>>);

/// A service and its lives so far.
type Counted = (&'static str, Arc<AtomicU64>);

impl Lives {
    fn counted<S>(
        &self,
        name: &'static str,
        make: impl Fn() -> S + Send + 'static,
    ) -> impl FnMut() -> S + Send + 'static {
        let lives = Arc::new(AtomicU64::new(0));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((name, Arc::clone(&lives)));
        move || {
            lives.fetch_add(1, Relaxed);
            make()
        }
    }

    pub(crate) fn restarts(&self) -> Vec<(&'static str, u64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let restarts = |lives: &AtomicU64| lives.load(Relaxed).saturating_sub(1);
        all.iter()
            .map(|(name, lives)| (*name, restarts(lives)))
            .collect()
    }
}

/// The tree: whoever deals with the gateway has a supervisor whose budget fits its panics; the
/// others keep the default of 5 restarts in 10 s.
pub(crate) fn tree(
    book: &Book,
    gateway: &Arc<Gateway>,
    lives: &Lives,
    capacity: usize,
) -> Supervisor {
    let (book, gateway, stock) = (book.clone(), Arc::clone(gateway), Inventory::default());
    let orders = service(
        "orders",
        lives.counted("orders", move || Orders(book.clone())),
    )
    .on_with::<OrderShipped>(|on| on.capacity(AMPLE))
    .on_with::<PaymentRefused>(|on| on.capacity(AMPLE))
    .on_with::<StockRefused>(|on| on.capacity(AMPLE))
    .on_with::<DeadLetter>(|on| on.capacity(AMPLE));
    let inventory = service(
        "inventory",
        lives.counted("inventory", move || stock.clone()),
    )
    .on_with::<OrderPlaced>(|on| on.capacity(capacity))
    .on_with::<PaymentRefused>(|on| on.capacity(AMPLE));
    let payments = lives.counted("payments", move || Payments(Arc::clone(&gateway)));
    let shipping = service("shipping", lives.counted("shipping", || Shipping));
    let mailer = service("mailer", lives.counted("mailer", || Mailer));
    Supervisor::one_for_one("shop")
        .child(
            Supervisor::one_for_one("desk")
                .child(orders)
                .child(inventory),
        )
        .child(
            Supervisor::one_for_one("till")
                .max_restarts(10_000, secs(10))
                .policy(Policy::new().retry(Retry::fixed(millis(2)).attempts(3)))
                .child(service("payments", payments).on::<StockReserved>()),
        )
        .child(
            Supervisor::one_for_one("dispatch")
                .policy(Policy::new().retry(Retry::exponential(millis(10)).attempts(4)))
                .child(shipping.on::<PaymentTaken>())
                .child(mailer.on_with::<OrderShipped>(|on| on.capacity(AMPLE))),
        )
}
