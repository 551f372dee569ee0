use callboard::prelude::*;

struct Revenue;

struct Accounts;
impl Service for Accounts {}

fn ask(accounts: &Address<Accounts>) {
    let _ = accounts.ask_blocking(Revenue);
}

fn main() {}
