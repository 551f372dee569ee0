use callboard::prelude::*;

struct Accounts;

fn main() {
    let _ = service("accounts", || Accounts);
}
