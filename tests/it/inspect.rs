//! What a service is doing is read while it does it, and asks nobody.

use std::sync::mpsc;

use callboard::prelude::*;
use callboard::{AskError, Backoff, Current, Restart, Shutdown, State, Strategy};

use crate::support_blocker::blocker;
use crate::support_lives::{
    Deed, Do, Hook, Log, Note, end, hearer, here, note, paused, probe, probe_hooked, probe_with,
    until,
};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

fn doing(id: u64, deed: Deed) -> Note {
    Note { id, deed }
}

fn current(board: &Board, path: &str) -> Option<Current> {
    board.inspect(path).unwrap().current
}

#[test]
fn one_that_blocks_its_thread_is_seen_all_the_same() {
    let (spec, reins) = blocker("a");
    let root = shop().child(spec);
    let board = Board::builder().arbiters(1).start(root).unwrap();
    board.publish_blocking(note(0)).unwrap();
    let id = board.publish_blocking(note(1)).unwrap();
    board.publish_blocking(note(2)).unwrap();
    reins.blocks.recv().unwrap();
    let found = board.inspect("shop/a").unwrap();
    assert_eq!((found.state, found.mailbox.queued), (State::Running, 1));
    let first = found.current.unwrap();
    assert_eq!((first.event.as_deref(), first.attempt), (Some("note"), 1));
    assert_eq!((first.event_id, first.on_thread), (Some(id.number()), true));
    while current(&board, "shop/a").unwrap().age <= first.age + millis(2) {
        std::thread::yield_now();
    }
    let tree = board.tree().to_string();
    assert!(tree.ends_with("running  1 queued, 1 in flight"), "{tree}");
    reins.release.send(()).unwrap();
    board.settle_blocking().unwrap();
    while current(&board, "shop/a").is_some() {
        std::thread::yield_now();
    }
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}

#[test]
fn what_is_found_can_be_written_down() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board.publish(doing(1, Deed::Fail)).await.unwrap();
        board.settle().await.unwrap();
        board.restart("shop/a").await.unwrap();
        let found = serde_json::to_value(board.inspect("shop").unwrap()).unwrap();
        assert_eq!(
            (&found["strategy"], &found["path"]),
            (&"OneForOne".into(), &"shop".into())
        );
        let a = &found["children"][0];
        assert_eq!((&a["state"], &a["life"]), (&"Running".into(), &2.into()));
        assert_eq!(
            (&a["last_exit"], &a["restart"]),
            (&"was shut down".into(), &"Permanent".into())
        );
        assert_eq!(a["last_failure"]["failure"], "no");
        assert_eq!(a["mailbox"]["queued"], 0);
        end(&board).await;
    });
}

#[test]
fn one_that_waits_is_not_on_its_thread_and_an_idle_one_does_nothing() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        until(|| current(&board, "shop/a").is_none()).await;
        let id = board.publish(doing(1, Deed::Sleep(secs(9)))).await.unwrap();
        log.wait_for("a 1").await;
        tokio::time::sleep(secs(4)).await;
        let now = current(&board, "shop/a").unwrap();
        let expected = (Some("note"), Some(id.number()), 1);
        assert_eq!((now.event.as_deref(), now.event_id, now.attempt), expected);
        assert_eq!((now.age, now.on_thread), (secs(4), false));
        board.settle().await.unwrap();
        assert_eq!(current(&board, "shop/a"), None);
        assert_eq!(current(&board, "shop"), None);
        end(&board).await;
    });
}

#[test]
fn the_age_is_that_of_the_event_in_hand_also_after_a_fast_batch() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        for id in 1..=100 {
            board.try_publish(note(id)).unwrap();
        }
        for id in 101..=104 {
            board.try_publish(doing(id, Deed::Sleep(secs(10)))).unwrap();
        }
        log.wait_for("a 104").await;
        tokio::time::sleep(secs(1)).await;
        assert_eq!(current(&board, "shop/a").unwrap().age, secs(1));
        end(&board).await;
    });
}

#[test]
fn an_event_that_is_tried_again_is_shown_with_its_attempt() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board.publish(doing(1, Deed::Hang)).await.unwrap();
        log.wait_for("a 1").await;
        board.kill("shop/a").await.unwrap();
        log.wait_for("a 1, attempt 2").await;
        assert_eq!(current(&board, "shop/a").unwrap().attempt, 2);
        board.stop("shop/a").await.unwrap();
        end(&board).await;
    });
}

#[test]
fn a_letter_and_a_hook_are_shown_without_an_event() {
    paused(async {
        let log = Log::new();
        let slow: Hook = |life| match life {
            1 => Deed::Nothing,
            _ => Deed::Sleep(secs(9)),
        };
        let spec = probe_hooked("a", &log, (slow, |_| Deed::Sleep(secs(4))));
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        a.tell(Do(Deed::Sleep(secs(2)))).await.unwrap();
        tokio::time::sleep(secs(1)).await;
        let now = current(&board, "shop/a").unwrap();
        assert!(now.event.is_none() && now.event_id.is_some());
        assert_eq!((now.attempt, now.age), (1, secs(1)));
        let hooks = async {
            tokio::time::sleep(secs(3)).await;
            let stopping = current(&board, "shop/a");
            tokio::time::sleep(secs(4)).await;
            [stopping, current(&board, "shop/a")]
        };
        let (hooks, restarted) = tokio::join!(hooks, board.restart("shop/a"));
        restarted.unwrap();
        for (hook, age) in hooks.into_iter().zip([2, 2]) {
            let hook = hook.expect("it is busy with a hook");
            assert_eq!((hook.event, hook.event_id), (None, None));
            assert_eq!((hook.age, hook.on_thread), (secs(age), false));
        }
        end(&board).await;
    });
}

#[test]
fn the_mailbox_is_counted_state_by_state() {
    paused(async {
        let log = Log::new();
        let patient = Policy::new().retry(Retry::fixed(secs(60)));
        let spec = hearer("a", &log).policy(patient);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let load = || board.inspect("shop/a").unwrap().mailbox;
        assert_eq!(load(), callboard::MailboxLoad::default());
        board.publish(doing(1, Deed::Fail)).await.unwrap();
        until(|| load().deferred == 1).await;
        for id in 2..=4 {
            board.publish(note(id)).await.unwrap();
        }
        a.tell(Do(Deed::Sleep(secs(1)))).await.unwrap();
        log.wait_for("a Sleep(1s)").await;
        a.tell(Do(Deed::Nothing)).await.unwrap();
        let now = load();
        assert_eq!((now.queued, now.in_flight, now.deferred), (3, 0, 1));
        assert_eq!((now.letters, now.letters_in_flight), (1, 1));
        let tree = board.tree().to_string();
        let notes = "running  3 queued, 1 deferred, 1 letter, 1 being answered";
        assert!(tree.ends_with(notes), "{tree}");
        board.settle().await.unwrap();
        assert_eq!(load(), callboard::MailboxLoad::default());
        end(&board).await;
    });
}

#[test]
fn the_last_failure_and_the_last_exit_are_kept() {
    paused(async {
        let log = Log::new();
        let spec = hearer("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let found = || board.inspect("shop/a").unwrap();
        assert!(found().last_failure.is_none() && found().last_exit.is_none());
        tokio::time::sleep(secs(1)).await;
        let id = board.publish(doing(1, Deed::Fail)).await.unwrap();
        until(|| found().last_failure.is_some()).await;
        let last = found().last_failure.unwrap();
        let expected = ("note", id.number(), 1, secs(1));
        assert_eq!((last.event, last.event_id, last.attempt, last.at), expected);
        assert_eq!(last.failure.to_string(), "no");
        board.settle().await.unwrap();
        assert_eq!(found().last_failure.unwrap().attempt, 3);
        assert_eq!((found().restarts(), found().last_exit.is_none()), (0, true));
        let crashed = a.ask(Do(Deed::Panic)).await;
        assert!(matches!(crashed, Err(AskError::Crashed)));
        log.wait_for("a started 2").await;
        let Some(Exit::Panic(panic)) = found().last_exit else {
            panic!("it did not panic")
        };
        assert_eq!((panic.message.as_str(), panic.location), ("boom", None));
        assert_eq!((found().restarts(), found().life), (1, 2));
        board.publish(doing(2, Deed::Panic)).await.unwrap();
        board.settle().await.unwrap();
        let last = found().last_failure.unwrap();
        assert_eq!(
            (last.failure.to_string().as_str(), last.attempt),
            ("panicked: boom", 1)
        );
        end(&board).await;
    });
}

#[test]
fn children_are_shown_in_the_order_of_their_starting() {
    paused(async {
        let log = Log::new();
        let team =
            Supervisor::rest_for_one("a").child(probe("z", &log).restart(Restart::Transient));
        let root = Supervisor::one_for_all("shop").child(probe("c", &log));
        let board = here(root.child(team).child(probe("b", &log))).await;
        let shop = board.supervisor("shop").unwrap();
        shop.start_child(probe("aa", &log)).await.unwrap();
        let tree = board.tree();
        let paths: Vec<&str> = tree.root().walk().map(|one| one.path.as_str()).collect();
        assert_eq!(
            paths,
            ["shop", "shop/c", "shop/a", "shop/a/z", "shop/b", "shop/aa"]
        );
        let started: Vec<String> = log.lines();
        assert_eq!(
            started,
            ["c", "z", "b", "aa"].map(|name| format!("{name} started 1"))
        );
        let found = board.inspect("shop/a").unwrap();
        assert_eq!(
            (found.strategy, found.type_name),
            (Some(Strategy::RestForOne), None)
        );
        assert_eq!(found.children[0].restart, Restart::Transient);
        let name = found.children[0].type_name.unwrap();
        assert!(name.ends_with("Probe") && found.children[0].strategy.is_none());
        end(&board).await;
    });
}

/// A board with a child in every state.
async fn every_state(log: &Log) -> Board {
    let second: Hook = |life| match life {
        1 => Deed::Nothing,
        _ => Deed::Sleep(secs(9)),
    };
    let slowly = Policy::new().retry(Retry::never());
    let team = Supervisor::rest_for_one("team")
        .backoff(Backoff::fixed(secs(60)), secs(60))
        .child(hearer("held", log))
        .child(probe("broken", log));
    let pool = Supervisor::dynamic("pool", |name: &'static str| {
        probe(name, &Log::new()).shutdown(Shutdown::Kill)
    });
    let root = Supervisor::one_for_one("shop").policy(slowly);
    let root = root
        .child(probe_hooked("starting", log, (second, |_| Deed::Nothing)))
        .child(team)
        .child(probe_hooked(
            "stopping",
            log,
            (|_| Deed::Nothing, |_| Deed::Sleep(secs(4))),
        ))
        .child(pool)
        .child(Supervisor::one_for_all("crew").child(probe("ended", log)));
    let board = here(root).await;
    let broken = board
        .service::<crate::support_lives::Probe>("shop/team/broken")
        .unwrap();
    broken.ask(Do(Deed::PanicAlways)).await.unwrap_err();
    let pool = board.supervisor("shop/pool").unwrap();
    pool.start_child_from("member").await.unwrap();
    board.suspend("shop/team/held").unwrap();
    for id in 1..=2 {
        board.publish(note(id)).await.unwrap();
    }
    board.stop("shop/crew/ended").await.unwrap();
    let busy = async { tokio::join!(board.restart("shop/starting"), board.stop("shop/stopping")) };
    let _ = tokio::time::timeout(secs(1), busy).await;
    board
}

const TEXT: &str = "\
shop          one_for_one   running
├─ starting   service       starting     1 restart
├─ team       rest_for_one  running
│  ├─ held    service       suspended    2 queued
│  └─ broken  service       backing off  last: panicked: boom
├─ stopping   service       stopping
├─ pool       dynamic       running
│  └─ member  service       running
└─ crew       one_for_all   running
   └─ ended   service       closed";

const PICTURE: &str = r#"flowchart TD
    n0(["shop<br/>one_for_one<br/>running"])
    n1["starting<br/>service<br/>starting<br/>1 restart"]:::held
    n0 --> n1
    n2(["team<br/>rest_for_one<br/>running"])
    n0 --> n2
    n3["held<br/>service<br/>suspended<br/>2 queued"]:::held
    n2 --> n3
    n4["broken<br/>service<br/>backing off<br/>last: panicked: boom"]:::down
    n2 --> n4
    n5["stopping<br/>service<br/>stopping"]:::held
    n0 --> n5
    n6(["pool<br/>dynamic<br/>running"])
    n0 --> n6
    n7["member<br/>service<br/>running"]
    n6 --> n7
    n8(["crew<br/>one_for_all<br/>running"])
    n0 --> n8
    n9["ended<br/>service<br/>closed"]:::down
    n8 --> n9
    classDef down stroke:#c00,stroke-dasharray: 4
    classDef held stroke:#b80
"#;

#[test]
fn the_tree_is_text_and_a_picture_of_every_state() {
    paused(async {
        let log = Log::new();
        let board = every_state(&log).await;
        let tree = board.tree();
        assert_eq!(tree.to_string().replace(' ', "."), TEXT.replace(' ', "."));
        assert_eq!(tree.mermaid(), PICTURE);
        // It is data: what happens later does not change it.
        board.resume("shop/team/held").unwrap();
        assert_eq!(tree.mermaid(), PICTURE);
        end(&board).await;
    });
}

#[test]
fn the_root_is_shown_as_stopping_and_then_as_closed() {
    paused(async {
        let log = Log::new();
        let spec = probe_hooked("a", &log, (|_| Deed::Nothing, |_| Deed::Sleep(secs(4))));
        let board = here(shop().child(spec)).await;
        let looking = async {
            tokio::time::sleep(secs(1)).await;
            board.tree().to_string()
        };
        let ((), text) = tokio::join!(end(&board), looking);
        let lines = ["shop  one_for_one  stopping", "└─ a  service      stopping"];
        assert_eq!(text, lines.join("\n"));
        let text = board.tree().to_string();
        let lines = ["shop  one_for_one  closed", "└─ a  service      closed"];
        assert_eq!(text, lines.join("\n"));
    });
}

#[test]
fn hostile_names_and_texts_stay_within_their_labels() {
    paused(async {
        let log = Log::new();
        let name = "`a\"]-->x[\"<b>&#35;`";
        let spec = probe(name, &log);
        let board = here(shop().child(spec).child(Supervisor::one_for_one("b\nend"))).await;
        let path = format!("shop/{name}");
        let address = board.service::<Shouter>(&path);
        assert!(address.is_err());
        let spec = service("c", || Shouter);
        let shouter = spec.address();
        board
            .supervisor("shop")
            .unwrap()
            .start_child(spec)
            .await
            .unwrap();
        shouter.ask(Do(Deed::Panic)).await.unwrap_err();
        until(|| board.inspect("shop/c").unwrap().restarts() == 1).await;
        until(|| board.inspect("shop/c").unwrap().state == State::Running).await;
        let picture = board.tree().mermaid();
        let labels: Vec<&str> = picture.lines().collect();
        let name = "#96;a#quot;]--#gt;x[#quot;#lt;b#gt;#amp;#35;35;#96;";
        assert_eq!(
            labels[2],
            format!("    n1[\"{name}<br/>service<br/>running\"]")
        );
        assert_eq!(labels[4], "    n2([\"b end<br/>one_for_one<br/>running\"])");
        let text = "1 restart, last: panicked: #37;#37;{init: {}}#37;#37; #lt;script#gt; end";
        assert_eq!(
            labels[6],
            format!("    n3[\"c<br/>service<br/>running<br/>{text}\"]")
        );
        assert_eq!(labels.len(), 10);
        let lines = board.tree().to_string().lines().count();
        assert_eq!(lines, 4);
        end(&board).await;
    });
}

/// Panics with a text that would be more than a text.
struct Shouter;
impl Service for Shouter {}
impl Answer<Do> for Shouter {
    async fn answer(&mut self, _: Do, _: &mut Context<Self>) -> Outcome<u32> {
        let text = "%%{init: {}}%%\n<script>\u{1b}end";
        std::panic::resume_unwind(Box::new(text.to_owned()))
    }
}

#[test]
fn a_service_in_its_first_start_is_seen() {
    let ((entered, entering), (release, released)) = (mpsc::channel(), mpsc::channel());
    let log = Log::new();
    let root = shop().child(probe_with("a", &log, |_| Deed::Nothing));
    let board = Board::builder().arbiters(1).start(root).unwrap();
    let mut parts = Some((entered, released));
    let late = service("late", move || Late(parts.take()));
    let shop = board.supervisor("shop").unwrap();
    let (looking, shop) = (&board, &shop);
    // What is moved in is dropped if a check fails, which lets the service go.
    std::thread::scope(move |scope| {
        let starting = scope.spawn(move || shop.start_child_blocking(late));
        entering.recv().unwrap();
        let found = looking.inspect("shop/late").unwrap();
        assert_eq!((found.state, found.life), (State::Starting, 1));
        let hook = found.current.unwrap();
        assert!(hook.on_thread && hook.event_id.is_none());
        release.send(()).unwrap();
        assert_eq!(starting.join().unwrap().unwrap(), "shop/late");
    });
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}

/// Blocks its thread when it starts, until it is let go.
struct Late(Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>);
impl Service for Late {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        if let Some((entered, release)) = self.0.take() {
            entered.send(())?;
            release.recv()?;
        }
        Ok(())
    }
}
