use allocation_counter::measure;
use callboard::Supervisor;

use crate::stage::{Stage, root};

const SERVICES: usize = 1_000;

/// What a service keeps that has one subscription and nothing to do. It takes some 4,200 bytes.
const BYTES: i64 = 4_400;
/// What is allocated for its spec, and until it is up: some 47 times.
const ALLOCATIONS: u64 = 50;

#[test]
fn an_idle_service_takes_little_and_so_does_its_start() {
    let stage = Stage::new();
    let mut board = None;
    let info = measure(|| {
        let readers = (0..SERVICES).map(|index| stage.reader(index));
        let started = stage.board(readers.fold(root(), Supervisor::child));
        stage.run(started.settle()).unwrap();
        board = Some(started);
    });
    assert_eq!(board.unwrap().services().len(), SERVICES);
    println!("{SERVICES} services started: {info:?}");
    assert!(info.bytes_current <= BYTES * SERVICES as i64, "{info:?}");
    assert!(
        info.count_total <= ALLOCATIONS * SERVICES as u64,
        "{info:?}"
    );
}
