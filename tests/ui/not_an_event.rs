use callboard::prelude::*;

struct OrderPlaced;

fn publish(board: &Board) {
    let _ = board.publish_blocking(OrderPlaced);
}

fn main() {}
