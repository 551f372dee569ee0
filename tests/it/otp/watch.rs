//! A watchdog: what hangs is named, and fails.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Real time, which paused clocks do not stop.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a case on a thread of its own, and fails when it takes longer than a minute.
pub(crate) fn watched(what: &str, case: impl FnOnce() + Send + 'static) {
    let (done, over) = sync_channel::<()>(0);
    let runs = thread::spawn(move || {
        // Dropped also when the case panics.
        let _done = done;
        case();
    });
    match over.recv_timeout(LIMIT) {
        Err(RecvTimeoutError::Timeout) => panic!("still not over after a minute: {what}"),
        _ => {
            if let Err(panic) = runs.join() {
                eprintln!("in {what}");
                resume_unwind(panic);
            }
        }
    }
}

#[test]
#[should_panic(expected = "on purpose")]
fn a_case_that_panics_fails_its_test() {
    watched("a panic", || resume_unwind(Box::new("on purpose")));
}
