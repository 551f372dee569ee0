use callboard::prelude::*;

struct Revenue;
impl Message for Revenue {
    type Reply = u64;
}

struct Accounts;
impl Service for Accounts {}

fn main() {
    let accounts = service("accounts", || Accounts).address();
    let _ = accounts.ask_blocking(Revenue);
}
