//! A wait that would close a cycle is an error at once, with the path, and not a hang.

mod players;

use std::sync::{Arc, Mutex};

use callboard::prelude::*;
use callboard::{BoardBuilder, Cycles, PublishError};
use tokio::time::Instant;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use crate::support_lives::{Log, end, here, paused, until};
use players::{Act, Cue, Line, Make, Player, Run, Table, Through, Verb, WAYS, name, spread, table};

use Through::Handle as Plain;
use Verb::{Ask, Meet, Publish, Settled, Tell, TryAsk};

/// A line around so many players and back to the first, by these verbs in turn.
fn around(count: usize, verbs: &[Verb]) -> Line {
    let verbs = verbs.iter().copied().cycle();
    verbs.zip((1..count).chain([0])).collect()
}

/// The path of the cycle of so many, as whoever closes it sees it, turned so that the first one
/// of all stands first.
fn ring(count: usize) -> String {
    let names = (0..count)
        .chain([0])
        .map(|index| format!("ring/{}", name(index)));
    names.collect::<Vec<_>>().join(" -> ")
}

/// Turns a cycle so that it begins with its first name in order.
fn turned(path: &str) -> String {
    let mut names: Vec<&str> = path.split(" -> ").collect();
    assert_eq!(names.first(), names.last(), "{path} is no cycle");
    names.pop();
    let first = (0..names.len()).min_by_key(|&index| names[index]).unwrap();
    names.rotate_left(first);
    names.push(names[0]);
    names.join(" -> ")
}

/// One thread, a paused clock.
async fn on_one_thread(count: usize, through: Through) -> Arc<Table> {
    table(count, through, Board::builder()).await
}

async fn make(table: &Table, first: usize, line: Line) -> String {
    table.log.take();
    table.player(first).ask(Make(line)).await.unwrap()
}

/// Tells a player to do something, from outside.
async fn run(table: &Table, player: usize, act: Act) -> String {
    table.player(player).ask(Run(act)).await.unwrap()
}

/// Asserts that the line closes one cycle, of so many, in no time, and that this is forgotten.
async fn closes(table: &Table, line: Line, count: usize) {
    let before = Instant::now();
    make(table, 0, line.clone()).await;
    table.board().settle().await.unwrap();
    let refused = table.refused();
    assert_eq!(refused.len(), 1, "{line:?} closed {refused:?}");
    assert_eq!(turned(&refused[0]), ring(count), "{line:?}");
    assert_eq!(before.elapsed(), Duration::ZERO, "{line:?}");
    // Each of these waits is one of those that closed it.
    make(table, 0, (1..count).map(|to| (Ask, to)).collect()).await;
    make(
        table,
        count - 1,
        (0..count - 1).map(|to| (Ask, to)).collect(),
    )
    .await;
    assert_eq!(table.refused(), [""; 0]);
    assert_eq!(table.board().ledger().gap(), 0);
}

#[test]
fn asks_around_a_ring_of_any_length_fail_at_once_through_any_handle() {
    paused(async {
        for count in [1, 2, 3, 10] {
            for through in WAYS {
                let table = on_one_thread(count, through).await;
                closes(&table, around(count, &[Ask]), count).await;
                closes(&table, around(count, &[TryAsk]), count).await;
                end(table.board()).await;
            }
        }
    });
}

#[test]
fn the_path_begins_with_the_service_whose_wait_was_refused() {
    paused(async {
        let table = on_one_thread(3, Plain).await;
        make(&table, 0, around(3, &[Ask])).await;
        assert_eq!(
            table.refused(),
            ["ring/p2 -> ring/p0 -> ring/p1 -> ring/p2"]
        );
        end(table.board()).await;
    });
}

#[test]
fn rings_through_room_and_outcomes_of_every_mixture_fail_at_once() {
    const VERBS: [Verb; 4] = [Ask, Tell, Publish, Settled];
    paused(async {
        for through in WAYS {
            for first in VERBS {
                let alone = on_one_thread(1, through).await;
                closes(&alone, around(1, &[first]), 1).await;
                end(alone.board()).await;
                for (second, third) in VERBS.iter().flat_map(|b| VERBS.map(|c| (*b, c))) {
                    let table = on_one_thread(3, through).await;
                    closes(&table, around(2, &[first, second]), 2).await;
                    closes(&table, around(3, &[first, second, third]), 3).await;
                    end(table.board()).await;
                }
            }
        }
    });
}

/// No time is promised here: threads are slow to wake. But every wait is answered, none by its
/// deadline, and one is refused.
#[test]
fn rings_across_arbiters_fail_as_well() {
    for (count, verbs) in [
        (2, &[Ask][..]),
        (3, &[Ask]),
        (10, &[Ask]),
        (2, &[Tell, Ask]),
        (3, &[Publish, Tell, Settled]),
        (3, &[Settled, Publish, Ask]),
    ] {
        let table = spread(count, Plain);
        let line = around(count, verbs);
        table.player(0).ask_blocking(Make(line)).unwrap();
        table.board().settle_blocking().unwrap();
        let refused = table.refused();
        assert_eq!(
            refused.iter().map(|path| turned(path)).collect::<Vec<_>>(),
            [ring(count)]
        );
        assert_eq!(table.board().ledger().gap(), 0);
        table.board().shutdown_blocking(secs(60));
    }
}

#[test]
fn of_two_that_ask_each_other_at_the_same_moment_one_is_answered() {
    let table = spread(2, Through::Context);
    for round in 0..300 {
        std::thread::scope(|threads| {
            for (from, to) in [(0, 1), (1, 0)] {
                let line = vec![(Meet, from), (Ask, to)];
                let player = table.player(from);
                threads.spawn(move || player.ask_blocking(Make(line)).unwrap());
            }
        });
        assert_eq!(table.refused().len(), 1, "in round {round}");
    }
    let report = table.board().shutdown_blocking(secs(60));
    assert_eq!(report.ledger.gap(), 0);
}

/// Asks the third and the second at once.
const JOIN: Act = |me, cx| {
    Box::pin(async move {
        let (third, second) = (me.table.player(2), me.table.player(1));
        let third = cx.ask(third, Make(vec![]));
        let second = cx.ask(second, Make(vec![]));
        let answers = tokio::join!(third, second);
        format!("{answers:?}")
    })
};

#[test]
fn of_several_waits_that_are_joined_the_one_that_closes_a_cycle_fails() {
    paused(async {
        let table = on_one_thread(3, Plain).await;
        let before = Instant::now();
        let said = run(&table, 1, |me, _| {
            Box::pin(async { me.table.player(0).ask(Run(JOIN)).await.unwrap() })
        });
        let path = "ring/p0 -> ring/p1 -> ring/p0";
        let cycle = format!("(Ok(\"done\"), Err(Cycle {{ path: {path:?}, .. }}))");
        assert_eq!(said.await, cycle);
        assert_eq!(before.elapsed(), Duration::ZERO);
        // Without the second waiting for it, all is well.
        assert_eq!(run(&table, 0, JOIN).await, "(Ok(\"done\"), Ok(\"done\"))");
        end(table.board()).await;
    });
}

/// Waits at the gate.
const PASS: Act = |me, _| {
    Box::pin(async {
        me.table.log.say(format!("{} at the gate", me.name));
        me.table.gate.acquire().await.unwrap().forget();
        "passed".to_owned()
    })
};

/// Asks the second to pass the gate, and the third to ask back meanwhile.
const JOIN_AND_BE_ASKED: Act = |me, _| {
    Box::pin(async {
        let (second, third) = (me.table.player(1), me.table.player(2));
        let back = third.ask(Make(vec![(Ask, 0)]));
        let (passed, back) = tokio::join!(second.ask(Run(PASS)), async {
            let back = back.await;
            me.table.gate.add_permits(1);
            back
        });
        format!("{}, {}", passed.unwrap(), back.unwrap())
    })
};

#[test]
fn a_ring_is_closed_through_any_of_several_joined_waits() {
    paused(async {
        let table = on_one_thread(3, Plain).await;
        let before = Instant::now();
        let said = run(&table, 0, JOIN_AND_BE_ASKED).await;
        assert_eq!(said, "passed, ring/p2 -> ring/p0 -> ring/p2");
        assert_eq!(before.elapsed(), Duration::ZERO);
        end(table.board()).await;
    });
}

/// Gives up waiting for the second once it is at the gate; then the third asks back.
const GIVE_UP: Act = |me, _| {
    Box::pin(async {
        let (second, third) = (me.table.player(1), me.table.player(2));
        let asked = second.ask(Run(PASS));
        tokio::select! {
            passed = asked => unreachable!("{passed:?}"),
            () = me.table.log.wait_for("p1 at the gate") => {}
        }
        me.table.gate.add_permits(1);
        // The second, as it is, may ask the first now.
        third.ask(Make(vec![(Ask, 1)])).await.unwrap();
        second.try_tell(Make(vec![(Ask, 0)])).unwrap();
        "gave up".to_owned()
    })
};

#[test]
fn a_wait_that_was_given_up_closes_no_cycle() {
    paused(async {
        let table = on_one_thread(3, Plain).await;
        assert_eq!(run(&table, 0, GIVE_UP).await, "gave up");
        table.board().settle().await.unwrap();
        assert!(table.log.has("p1 began"));
        assert_eq!(table.refused(), [""; 0]);
        end(table.board()).await;
    });
}

/// The second asks the first, once it has a turn.
async fn let_the_second_ask_back(table: &Table) {
    table.player(1).tell(Make(vec![(Ask, 0)])).await.unwrap();
}

/// All went well, and the second has asked the first.
async fn ends_well(table: &Table) {
    table.board().settle().await.unwrap();
    assert!(table.log.has("p1 began"));
    assert_eq!(table.refused(), [""; 0]);
    end(table.board()).await;
}

#[test]
fn whoever_has_answered_may_ask_back_before_the_asker_goes_on() {
    paused(async {
        let table = on_one_thread(2, Plain).await;
        let ask: Act = |me, _| Box::pin(async { me.table.player(1).ask(Run(PASS)).await.unwrap() });
        table.player(0).tell(Run(ask)).await.unwrap();
        table.log.wait_for("p1 at the gate").await;
        // Behind what it answers: it takes this up in the same turn.
        let_the_second_ask_back(&table).await;
        table.gate.add_permits(1);
        ends_well(&table).await;
    });
}

#[test]
fn whoever_has_made_room_may_ask_the_one_that_waited_for_it() {
    paused(async {
        let table = on_one_thread(2, Plain).await;
        table.player(1).tell(Run(PASS)).await.unwrap();
        table.log.wait_for("p1 at the gate").await;
        let tell: Act = |me, _| {
            Box::pin(async {
                let_the_second_ask_back(&me.table).await;
                me.table.log.say("p0 waits");
                let told = me.table.player(1).tell(Make(vec![])).await;
                format!("{told:?}")
            })
        };
        table.player(0).tell(Run(tell)).await.unwrap();
        table.log.wait_for("p0 waits").await;
        table.gate.add_permits(1);
        ends_well(&table).await;
    });
}

#[test]
fn whoever_has_settled_an_event_may_ask_its_publisher() {
    paused(async {
        let table = on_one_thread(3, Plain).await;
        let third = table.player(2);
        table.board().subscribe::<Cue<1>>(third).await.unwrap();
        third.tell(Run(PASS)).await.unwrap();
        table.log.wait_for("p2 at the gate").await;
        let publish: Act = |me, _| {
            Box::pin(async {
                let settled = me.table.board().publish(Cue::<1>(vec![])).settled();
                format!("{:?}", settled.await.unwrap())
            })
        };
        table.player(0).tell(Run(publish)).await.unwrap();
        until(|| {
            let ledger = table.board().ledger();
            ledger.delivery("ring/p1", "cue-1").unwrap().acknowledged == 1
        })
        .await;
        let_the_second_ask_back(&table).await;
        table.log.wait_for("p1 began").await;
        table.gate.add_permits(1);
        ends_well(&table).await;
    });
}

#[test]
fn a_wait_that_a_handler_has_kept_for_later_closes_no_cycle() {
    const PASS_AND_ASK: Act = |me, cx| {
        Box::pin(async {
            PASS(me, cx).await;
            me.make(vec![(Ask, 0)], cx).await
        })
    };
    paused(async {
        let table = on_one_thread(2, Plain).await;
        let keep: Act = |me, _| {
            let second = me.table.player(1).clone();
            let mut ask = Box::pin(async move { second.ask(Run(PASS_AND_ASK)).await.unwrap() });
            Box::pin(async move {
                tokio::select! {
                    done = &mut ask => unreachable!("{done}"),
                    () = me.table.log.wait_for("p1 at the gate") => {}
                }
                me.kept = Some(ask);
                "kept".to_owned()
            })
        };
        assert_eq!(run(&table, 0, keep).await, "kept");
        table.gate.add_permits(1);
        table.log.wait_for("p1 began").await;
        let go_on: Act = |me, _| Box::pin(async { me.kept.take().unwrap().await });
        assert_eq!(run(&table, 0, go_on).await, "done");
        ends_well(&table).await;
    });
}

struct Beat(u32);
impl Event for Beat {
    const NAME: &'static str = "beat";
}
struct Ping;
impl Message for Ping {
    type Reply = ();
}
struct Back(Address<Drummer>);
impl Message for Back {
    type Reply = ();
}
struct Drummer {
    rebound: Address<Rebound>,
    log: Log,
    kept: Option<std::pin::Pin<Box<dyn Future<Output = ()>>>>,
}
impl Service for Drummer {}
impl Answer<Ping> for Drummer {
    async fn answer(&mut self, _: Ping, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}
impl Handle<Beat> for Drummer {
    async fn handle(&mut self, beat: &Beat, cx: &mut Context<Self>) -> Outcome {
        if beat.0 == 2 {
            self.log.wait_for("asking back").await;
            return Ok(());
        }
        let (rebound, back) = (self.rebound.clone(), cx.address());
        let mut ask = Box::pin(async move { rebound.ask(Back(back)).await.unwrap() });
        // Its wait begins, and the next event is handled without leaving the thread.
        tokio::select! {
            biased;
            () = &mut ask => unreachable!("the other one runs on this thread"),
            () = std::future::ready(()) => {}
        }
        self.kept = Some(ask);
        Ok(())
    }
}
struct Rebound(Log);
impl Service for Rebound {}
impl Answer<Back> for Rebound {
    async fn answer(&mut self, Back(to): Back, cx: &mut Context<Self>) -> Outcome {
        self.0.say("asking back");
        self.0.say(match cx.ask(&to, Ping).await {
            Ok(()) => "answered".to_owned(),
            Err(error) => error.to_string(),
        });
        Ok(())
    }
}

#[test]
fn a_wait_that_is_kept_is_over_before_the_next_event_of_a_batch() {
    paused(async {
        let log = Log::new();
        let (heard, said) = (log.clone(), log.clone());
        let rebound = service("rebound", move || Rebound(said.clone()));
        let address = rebound.address();
        let drummer = service("drummer", move || Drummer {
            rebound: address.clone(),
            log: heard.clone(),
            kept: None,
        });
        let tree = Supervisor::one_for_one("ring")
            .child(rebound)
            .child(drummer.on::<Beat>());
        let board = Board::builder().on_this_thread().start(tree).await.unwrap();
        board.publish_all([Beat(1), Beat(2)]).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.take(), ["asking back", "answered"]);
        end(&board).await;
    });
}

#[test]
fn a_task_that_a_handler_has_spawned_makes_nobody_wait() {
    paused(async {
        let table = on_one_thread(1, Plain).await;
        let spawn: Act = |me, _| {
            Box::pin(async {
                let (own, log) = (me.table.player(0).clone(), me.table.log.clone());
                tokio::task::spawn_local(async move {
                    log.say(own.ask(Make(vec![])).await.unwrap());
                });
                tokio::task::yield_now().await;
                "spawned".to_owned()
            })
        };
        assert_eq!(run(&table, 0, spawn).await, "spawned");
        table.log.wait_for("done").await;
        end(table.board()).await;
    });
}

thread_local! {
    static ABROAD: std::cell::OnceCell<Address<Player>> = const { std::cell::OnceCell::new() };
}

#[test]
fn services_of_two_boards_are_told_apart_though_their_paths_are_the_same() {
    paused(async {
        let (table, other) = (on_one_thread(1, Plain).await, on_one_thread(1, Plain).await);
        let abroad = other.player(0).clone();
        ABROAD.with(|cell| cell.set(abroad).unwrap());
        let ask: Act = |_, cx| {
            let abroad = ABROAD.with(|cell| cell.get().unwrap().clone());
            Box::pin(async move { cx.ask(&abroad, Make(vec![])).await.unwrap() })
        };
        assert_eq!(run(&table, 0, ask).await, "done");
        end(table.board()).await;
        end(other.board()).await;
    });
}

/// The paths of the warnings that were told.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::field::Visit for Warnings {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "path" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let metadata = event.metadata();
        if (metadata.target(), metadata.level()) == ("callboard::waits", &tracing::Level::WARN) {
            event.record(&mut self.clone());
        }
    }
}

#[test]
fn a_cycle_is_a_warning_where_that_is_set_and_ends_by_its_deadline() {
    let warnings = Warnings::default();
    let layers = tracing_subscriber::registry().with(warnings.clone());
    crate::tracing::never_alone();
    tracing::subscriber::with_default(layers, || {
        paused(async {
            let builder: BoardBuilder = Board::builder().cycles(Cycles::Warn);
            let table = table(1, Plain, builder).await;
            let before = Instant::now();
            let wait: Act = |me, cx| {
                Box::pin(async {
                    let asked = cx.ask(&cx.address(), Make(vec![])).await;
                    me.table.log.say(format!("{asked:?}"));
                    cx.publish(Cue::<0>(vec![])).await.unwrap();
                    let published = cx.publish(Cue::<0>(vec![])).await;
                    me.table.log.say(format!("{published:?}"));
                    String::new()
                })
            };
            table.player(0).tell(Run(wait)).await.unwrap();
            table.board().settle().await.unwrap();
            let full = "Err(Full { service: \"ring/p0\", .. })";
            assert_eq!(table.log.lines(), ["Err(TimedOut(5s))", full]);
            assert_eq!(before.elapsed(), secs(10));
            end(table.board()).await;
        });
    });
    let told = warnings.0.lock().unwrap().clone();
    assert_eq!(told, ["ring/p0 -> ring/p0"; 2]);
}

#[derive(Debug)]
struct Tick(u32);
impl Event for Tick {
    const NAME: &'static str = "tick";
}

/// Hears its own ticks, of which one may be queued, and publishes two more on the first.
struct Clock(std::sync::mpsc::Sender<String>);
impl Service for Clock {}
impl Handle<Tick> for Clock {
    async fn handle(&mut self, Tick(count): &Tick, cx: &mut Context<Self>) -> Outcome {
        if *count > 0 {
            return Ok(());
        }
        cx.publish(Tick(1)).await?;
        match cx.publish(Tick(2)).await {
            Err(PublishError::Cycle {
                path,
                event: Tick(2),
                ..
            }) => self.0.send(path)?,
            other => self.0.send(format!("{other:?}"))?,
        }
        match cx.publish(Tick(3)).settled().await {
            Err(PublishError::Cycle {
                path,
                event: Tick(3),
                ..
            }) => self.0.send(path)?,
            other => self.0.send(format!("{other:?}"))?,
        }
        Ok(())
    }
}

#[test]
fn waiting_for_ones_own_room_or_outcome_is_refused_at_once() {
    paused(async {
        let (says, said) = std::sync::mpsc::channel();
        let clock = service("clock", move || Clock(says.clone()));
        let clock = clock.on_with::<Tick>(|on| on.capacity(1));
        let tree = Supervisor::one_for_one("tower").child(clock);
        let board = here(tree).await;
        let before = Instant::now();
        board.publish(Tick(0)).await.unwrap();
        board.settle().await.unwrap();
        let cycle = "tower/clock -> tower/clock";
        assert_eq!(said.try_iter().collect::<Vec<_>>(), [cycle, cycle]);
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(
            board
                .ledger()
                .delivery("tower/clock", "tick")
                .unwrap()
                .acknowledged,
            2
        );
        assert_eq!(board.ledger().gap(), 0);
    });
}

/// Publishes two more ticks once it has succeeded, of which one has room.
struct Echo;
impl Service for Echo {}
impl Handle<Tick> for Echo {
    async fn handle(&mut self, Tick(count): &Tick, cx: &mut Context<Self>) -> Outcome {
        if *count == 0 {
            cx.publish_on_success(Tick(1));
            cx.publish_on_success(Tick(2));
        }
        Ok(())
    }
}

#[test]
fn what_is_to_be_published_on_success_is_refused_as_well() {
    paused(async {
        let policy = Policy::new().retry(Retry::fixed(secs(1)).attempts(1));
        let echo = service("echo", || Echo).policy(policy);
        let echo = echo.on_with::<Tick>(|on| on.capacity(1));
        let board = here(Supervisor::one_for_one("tower").child(echo)).await;
        let before = Instant::now();
        board.publish(Tick(0)).await.unwrap();
        board.settle().await.unwrap();
        let letters = board.dead_letters();
        assert_eq!(letters.len(), 1);
        let cycle = "a cycle of waits: tower/echo -> tower/echo";
        assert!(letters[0].to_string().contains(cycle), "{}", letters[0]);
        assert_eq!(before.elapsed(), Duration::ZERO);
        end(&board).await;
    });
}

/// Asks a sibling, in its first hook or with its first event.
struct Caller {
    sibling: Address<Player>,
    early: bool,
    says: std::sync::mpsc::Sender<String>,
}
impl Caller {
    async fn call(&self) {
        let said = self.sibling.ask(Make(vec![])).await;
        self.says.send(format!("{said:?}")).unwrap();
    }
}
impl Service for Caller {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        if self.early {
            self.call().await;
        } else {
            cx.publish(Tick(0)).await?;
        }
        Ok(())
    }
}
impl Handle<Tick> for Caller {
    async fn handle(&mut self, _: &Tick, _: &mut Context<Self>) -> Outcome {
        self.call().await;
        Ok(())
    }
}

/// Starts a caller before its sibling, in a family of its own if that is `apart`.
async fn call_from_below(early: bool, apart: bool) -> Vec<String> {
    let (table, _) = players::players(1, Plain, |spec| spec);
    let sibling = service("sibling", move || Player {
        name: "sibling".to_owned(),
        table: Arc::clone(&table),
        kept: None,
    });
    let (address, (says, said)) = (sibling.address(), std::sync::mpsc::channel());
    let caller = service("caller", move || Caller {
        sibling: address.clone(),
        early,
        says: says.clone(),
    });
    let (caller, shop) = (caller.on::<Tick>(), Supervisor::one_for_one("shop"));
    let shop = if apart {
        shop.child(Supervisor::one_for_one("back").child(caller))
    } else {
        shop.child(caller)
    };
    let before = Instant::now();
    let board = here(shop.child(sibling)).await;
    board.settle().await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    end(&board).await;
    said.try_iter().collect()
}

#[test]
fn asking_a_sibling_whose_turn_to_start_has_not_come_fails_at_once() {
    let cycle = |path: &str| format!("Err(Cycle {{ path: {path:?}, .. }})");
    let path = "shop/caller -> shop/sibling -> shop -> shop/caller";
    assert_eq!(paused(call_from_below(true, false)), [cycle(path)]);
    let path = "shop/back/caller -> shop/sibling -> shop -> shop/back -> shop/back/caller";
    assert_eq!(paused(call_from_below(true, true)), [cycle(path)]);
}

#[test]
fn a_service_that_has_started_may_ask_a_sibling_that_is_about_to() {
    for apart in [false, true] {
        assert_eq!(paused(call_from_below(false, apart)), ["Ok(\"done\")"]);
    }
}
