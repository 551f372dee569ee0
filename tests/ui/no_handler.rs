use callboard::prelude::*;

struct OrderPlaced;
impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed";
}

struct Accounts;
impl Service for Accounts {}

fn main() {
    let _ = service("accounts", || Accounts).on::<OrderPlaced>();
}
