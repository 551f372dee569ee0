//! Ctrl-C and SIGTERM end a program in order, with everything drained.
//!
//! Each case runs in a process of its own, this very test binary.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use ::tracing::{Event as TracingEvent, Subscriber};
use callboard::prelude::*;
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};

use crate::support_lives::{Deed, Log, Note, hearer, note};

const CASE: &str = "CALLBOARD_SIGNAL_CASE";

/// Runs the program, sends it a signal once it is up, and returns what it printed then.
fn end_by(signal: &str) -> String {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["signals::a_program", "--exact", "--nocapture"])
        .env(CASE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line.trim_end() != "up" {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it is never up");
    }
    let id = child.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}\n{rest}");
    rest
}

#[test]
fn the_signals_that_ask_a_program_to_end_drain_its_board() {
    for signal in ["-TERM", "-INT"] {
        let out = end_by(signal);
        assert!(out.contains(&format!("SIG{}", &signal[1..])), "{out}");
        assert!(out.contains(", drained\ngap: 0\n"), "{out}");
        assert!(out.contains("11 handled, then: a dropped\n"), "{out}");
    }
}

/// Prints when the program is up, and what ended it.
struct Says;
impl<S: Subscriber> Layer<S> for Says {
    fn on_event(&self, event: &TracingEvent<'_>, _: LayerContext<'_, S>) {
        if event.metadata().target() == "callboard::board" {
            let mut words = Words(String::new());
            event.record(&mut words);
            match words.0.contains("runs until") {
                true => println!("\nup"),
                false => println!("{}", words.0),
            }
        }
    }
}

struct Words(String);
impl ::tracing::field::Visit for Words {
    fn record_debug(&mut self, _: &::tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{value:?} "));
    }
}

#[test]
fn a_program() {
    if env::var(CASE).is_err() {
        return;
    }
    let log = Log::new();
    let board = Board::start(Supervisor::one_for_one("shop").child(hearer("a", &log))).unwrap();
    // What handlers publish still flows while outsiders are refused.
    let deed = Deed::Countdown(9);
    board.publish_blocking(Note { id: 10, deed }).unwrap();
    let says = tracing_subscriber::registry().with(Says);
    let report = ::tracing::subscriber::with_default(says, || board.run_until_ctrl_c(secs(60)));
    println!("{}", report.unwrap());
    let handled = (0..=10).filter(|id| log.has(&format!("a {id}"))).count();
    println!("{handled} handled, then: {}", log.lines().pop().unwrap());
}

#[test]
fn a_program_whose_board_ends_by_itself_waits_for_no_signal() {
    struct Brief;
    impl Service for Brief {
        async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
            cx.stop_board();
            Ok(())
        }
    }
    let root = Supervisor::one_for_one("shop").child(service("brief", || Brief));
    let report = Board::start(root).unwrap().run_until_ctrl_c(secs(60));
    let report = report.unwrap();
    assert!(report.over && report.drained, "{report}");
}

struct Run(Board);
impl Message for Run {
    type Reply = bool;
}

#[test]
fn a_service_does_not_wait_for_the_end_of_its_own_board() {
    #[derive(Default)]
    struct Main;
    impl Service for Main {}
    impl Answer<Run> for Main {
        async fn answer(&mut self, Run(board): Run, _: &mut Context<Self>) -> Outcome<bool> {
            Ok(board.run_until_ctrl_c(secs(60))?.over)
        }
    }
    let service = service("main", Main::default);
    let address = service.address();
    let board = Board::start(Supervisor::one_for_one("shop").child(service)).unwrap();
    assert!(!address.ask_blocking(Run(board.clone())).unwrap());
    // It began nothing either.
    board.publish_blocking(note(1)).unwrap();
    assert!(board.shutdown_blocking(secs(60)).drained);
}
