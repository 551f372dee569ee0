//! An invalid tree is refused before anything starts, with every problem and its path.

use callboard::prelude::*;
use callboard::{AutoShutdown, Backoff, Restart, Shutdown, StartError};

use crate::support_lives::{Log, paused, probe, try_here};

fn impossible(log: &Log) -> Supervisor {
    let crowd = Supervisor::dynamic("crowd", |name: String| service(name, || Nobody))
        .child(probe("fixed", log));
    let done = Supervisor::one_for_one("done")
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(probe("permanent", log).significant());
    Supervisor::one_for_one("shop")
        .max_restarts(3, Duration::ZERO)
        .shutdown(Shutdown::Graceful(Duration::ZERO))
        .child(probe("a", log))
        .child(probe("a", log).shutdown(Duration::ZERO))
        .child(probe("b", log).shutdown(Shutdown::Drain(Duration::ZERO)))
        .child(probe("c", log).restart(Restart::Transient).significant())
        .child(Supervisor::one_for_one("d").backoff(Backoff::fixed(secs(1)), Duration::ZERO))
        .child(Supervisor::one_for_one("x/y"))
        .child(Supervisor::one_for_one("").child(probe("*", log)))
        .child(crowd)
        .child(done)
}

struct Nobody;
impl Service for Nobody {}

#[test]
fn everything_impossible_is_named_at_once_with_its_path() {
    paused(async {
        let log = Log::new();
        let Err(StartError::Refused { problems, .. }) = try_here(impossible(&log)).await else {
            panic!("it starts")
        };
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "shop: the window of max_restarts is zero, so it would limit nothing",
            "shop: graceful within 0ns leaves no time to stop: use Shutdown::Kill",
            "shop/a: two children have this name",
            "shop/a: graceful within 0ns leaves no time to stop: use Shutdown::Kill",
            "shop/b: drain within 0ns leaves no time to stop: use Shutdown::Kill",
            "shop/c: it is significant, but its supervisor has no auto_shutdown",
            "shop/d: a life is stable after no time, so the backoff would never grow",
            "shop/x/y: the name contains a `/`, which separates names in a path",
            "shop/: the name is empty",
            "shop//*: the name `*` stands for children that are gone",
            "shop/crowd: it makes its children from a recipe, so it takes no others",
            "shop/done/permanent: it is significant and permanent: it is always restarted, so it \
             would never end its supervisor",
        ];
        assert_eq!(said, expected);
        assert_eq!(log.lines(), Vec::<String>::new());
    });
}
