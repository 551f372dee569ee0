//! Starts and control verbs wait as well: a cycle through one of them is an error at once.

use std::sync::{Arc, OnceLock};

use callboard::prelude::*;
use callboard::{AskError, ChildError, ServiceSpec};
use tokio::time::Instant;

use crate::support_lives::{Log, end, here, paused, until};

/// What a clerk does in `started`, and when it is told to.
type Errand = for<'a> fn(
    &'a Clerk,
    &'a Context<Clerk>,
) -> std::pin::Pin<Box<dyn Future<Output = String> + 'a>>;

struct Clerk {
    others: Arc<OnceLock<Vec<Address<Clerk>>>>,
    log: Log,
    first: Option<Errand>,
}

impl Service for Clerk {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        if let Some(errand) = self.first {
            let said = errand(self, cx).await;
            self.log.say(said);
        }
        Ok(())
    }
}

struct Do(Errand);
impl Message for Do {
    type Reply = String;
}
impl Answer<Do> for Clerk {
    async fn answer(&mut self, Do(errand): Do, cx: &mut Context<Self>) -> Outcome<String> {
        Ok(errand(self, cx).await)
    }
}

struct Ping;
impl Message for Ping {
    type Reply = ();
}
impl Answer<Ping> for Clerk {
    async fn answer(&mut self, _: Ping, _: &mut Context<Self>) -> Outcome<()> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Office {
    others: Arc<OnceLock<Vec<Address<Clerk>>>>,
    log: Option<Log>,
}

impl Office {
    fn new() -> Self {
        Office {
            others: Arc::default(),
            log: Some(Log::new()),
        }
    }

    fn log(&self) -> Log {
        self.log.clone().unwrap()
    }

    fn clerk(&self, name: &str, first: Option<Errand>) -> ServiceSpec<Clerk> {
        let (others, log) = (Arc::clone(&self.others), self.log());
        service(name, move || Clerk {
            others: Arc::clone(&others),
            log: log.clone(),
            first,
        })
    }
}

impl Clerk {
    fn another(&self, name: &str) -> ServiceSpec<Clerk> {
        let (others, log) = (Arc::clone(&self.others), self.log.clone());
        service(name, move || Clerk {
            others: Arc::clone(&others),
            log: log.clone(),
            first: None,
        })
    }

    fn other(&self, index: usize) -> &Address<Clerk> {
        &self.others.get().unwrap()[index]
    }
}

fn outcome<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "done".to_owned())
}

#[test]
fn asking_a_later_sibling_while_starting_fails_at_once() {
    paused(async {
        let office = Office::new();
        let first = office.clerk(
            "d",
            Some(|clerk, cx| Box::pin(async { outcome(cx.ask(clerk.other(0), Ping).await) })),
        );
        let later = office.clerk("e", None);
        let _ = office.others.set(vec![later.address()]);
        let before = Instant::now();
        let board = here(Supervisor::one_for_one("shop").child(first).child(later)).await;
        let said = "a cycle of waits: shop/d -> shop/e -> shop -> shop/d";
        assert_eq!(office.log().lines(), [said]);
        assert_eq!(before.elapsed(), Duration::ZERO);
        end(&board).await;
    });
}

#[test]
fn asking_below_a_supervisor_whose_turn_has_not_come_fails_at_once() {
    paused(async {
        let office = Office::new();
        let first = office.clerk(
            "d",
            Some(|clerk, _| {
                // Through a plain address as well.
                Box::pin(async { outcome(clerk.other(0).ask(Ping).await) })
            }),
        );
        let deep = office.clerk("e", None);
        let _ = office.others.set(vec![deep.address()]);
        let left = Supervisor::one_for_one("left").child(first);
        let right = Supervisor::rest_for_one("right").child(deep);
        let board = here(Supervisor::one_for_one("shop").child(left).child(right)).await;
        let [said] = &*office.log().lines() else {
            panic!("{:?}", office.log().lines());
        };
        let path = "shop/left/d -> shop/right/e -> shop/right -> shop -> shop/left -> shop/left/d";
        assert_eq!(said, &format!("a cycle of waits: {path}"));
        end(&board).await;
    });
}

#[test]
fn asking_an_earlier_sibling_while_starting_is_no_cycle() {
    paused(async {
        let office = Office::new();
        let earlier = office.clerk("d", None);
        let _ = office.others.set(vec![earlier.address()]);
        let starting = office.clerk(
            "e",
            Some(|clerk, cx| Box::pin(async { outcome(cx.ask(clerk.other(0), Ping).await) })),
        );
        let board = here(
            Supervisor::one_for_all("shop")
                .child(earlier)
                .child(starting),
        )
        .await;
        assert_eq!(office.log().lines(), ["done"]);
        end(&board).await;
    });
}

#[test]
fn in_the_restart_of_a_group_a_later_sibling_is_waited_for_in_vain_as_well() {
    paused(async {
        let office = Office::new();
        let first = office.clerk(
            "d",
            Some(|clerk, cx| {
                Box::pin(async {
                    // The first time the sibling has not started, the second time it is stopped.
                    let asked = cx.ask(clerk.other(0), Ping).await;
                    assert!(matches!(asked, Err(AskError::Cycle { .. })));
                    outcome(asked)
                })
            }),
        );
        let later = office.clerk("e", None);
        let (d, e) = (first.address(), later.address());
        let _ = office.others.set(vec![e]);
        let board = here(Supervisor::one_for_all("shop").child(first).child(later)).await;
        assert!(matches!(d.ask(Do(BOOM)).await, Err(AskError::Crashed)));
        d.ask(Ping).await.unwrap();
        let said = "a cycle of waits: shop/d -> shop/e -> shop -> shop/d";
        assert_eq!(office.log().lines(), [said, said]);
        end(&board).await;
    });
}

/// Each of these would end, or wait for, whoever does it.
const OWN: [Errand; 5] = [
    |_, cx| Box::pin(async { outcome(Board::of(cx).unwrap().stop("shop/desk/d").await) }),
    |_, cx| Box::pin(async { outcome(Board::of(cx).unwrap().restart("shop/desk/d").await) }),
    |_, cx| Box::pin(async { outcome(Board::of(cx).unwrap().stop("shop/desk").await) }),
    |_, cx| Box::pin(async { outcome(Board::of(cx).unwrap().restart("shop/desk").await) }),
    |_, cx| {
        Box::pin(async {
            let desk = Board::of(cx).unwrap().supervisor("shop/desk").unwrap();
            outcome(desk.terminate_child("d").await)
        })
    },
];

#[test]
fn a_service_that_waits_for_its_own_end_hears_so_at_once() {
    paused(async {
        let office = Office::new();
        let clerk = office.clerk("d", None);
        let address = clerk.address();
        let desk = Supervisor::one_for_one("desk").child(clerk);
        let board = here(Supervisor::one_for_one("shop").child(desk)).await;
        let before = Instant::now();
        for errand in OWN {
            let said = address.ask(Do(errand)).await.unwrap();
            assert_eq!(said, "a cycle of waits: shop/desk/d -> shop/desk/d");
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(board.inspect("shop/desk/d").unwrap().life, 1);
        end(&board).await;
    });
}

#[test]
fn a_service_that_waits_for_its_board_to_settle_hears_so_at_once_and_may_restart_others() {
    paused(async {
        let office = Office::new();
        let (d, e) = (office.clerk("d", None), office.clerk("e", None));
        let address = d.address();
        let board = here(Supervisor::one_for_one("shop").child(d).child(e)).await;
        let before = Instant::now();
        let settle: Errand =
            |_, cx| Box::pin(async { outcome(Board::of(cx).unwrap().settle().await) });
        let inside = "a service cannot wait for its own board to settle: it would wait for itself";
        assert_eq!(address.ask(Do(settle)).await.unwrap(), inside);
        let restart: Errand =
            |_, cx| Box::pin(async { outcome(Board::of(cx).unwrap().restart("shop/e").await) });
        assert_eq!(address.ask(Do(restart)).await.unwrap(), "done");
        assert_eq!(board.inspect("shop/e").unwrap().life, 2);
        assert_eq!(before.elapsed(), Duration::ZERO);
        end(&board).await;
    });
}

#[test]
fn a_service_that_stops_one_who_asks_it_hears_so_at_once() {
    paused(async {
        let office = Office::new();
        let (d, e) = (office.clerk("d", None), office.clerk("e", None));
        let addresses = vec![d.address(), e.address()];
        let asker = addresses[1].clone();
        let _ = office.others.set(addresses);
        let board = here(Supervisor::one_for_one("shop").child(d).child(e)).await;
        // `e` asks `d`, which stops `e`.
        let said = asker.ask(Do(|clerk, cx| {
            Box::pin(async {
                let stop: Errand = |_, cx| {
                    Box::pin(async { outcome(Board::of(cx).unwrap().stop("shop/e").await) })
                };
                cx.ask(clerk.other(0), Do(stop)).await.unwrap()
            })
        }));
        let cycle = "a cycle of waits: shop/d -> shop/e -> shop/d";
        assert_eq!(said.await.unwrap(), cycle);
        end(&board).await;
    });
}

#[test]
fn a_child_that_asks_who_waits_for_its_start_hears_so_at_once() {
    paused(async {
        let office = Office::new();
        let clerk = office.clerk("d", None);
        let address = clerk.address();
        let _ = office.others.set(vec![clerk.address()]);
        let inner = office.clone();
        let made = Supervisor::dynamic("made", move |name: &'static str| {
            inner.clerk(
                name,
                Some(|clerk, cx| Box::pin(async { outcome(cx.ask(clerk.other(0), Ping).await) })),
            )
        });
        let board = here(Supervisor::one_for_one("shop").child(clerk).child(made)).await;
        let said = address.ask(Do(|_, cx| {
            Box::pin(async {
                let made = Board::of(cx).unwrap().supervisor("shop/made").unwrap();
                made.start_child_from("x").await.unwrap()
            })
        }));
        assert_eq!(said.await.unwrap(), "shop/made/x");
        let cycle = "a cycle of waits: shop/made/x -> shop/d -> shop/made -> shop/made/x";
        assert_eq!(office.log().lines(), [cycle]);
        // From outside nobody waits, so it may ask.
        let made = board.supervisor("shop/made").unwrap();
        made.start_child_from("y").await.unwrap();
        assert_eq!(office.log().lines(), [cycle, "done"]);
        let stopped = board.stop("shop/made/y").await;
        assert!(!matches!(stopped, Err(ChildError::Cycle { .. })));
        end(&board).await;
    });
}

/// Asks the first of the others, but only in a later life.
const ASKS_AGAIN: Errand = |clerk, cx| {
    Box::pin(async {
        if Board::of(cx).unwrap().inspect("shop/desk/b").unwrap().life == 1 {
            return "is there".to_owned();
        }
        outcome(cx.ask(clerk.other(0), Ping).await)
    })
};

/// A board with `shop/d`, and `shop/desk` with `b`, which asks `d` when it is restarted, and `c`.
async fn desk(office: &Office, desk: Supervisor) -> (Board, [Address<Clerk>; 2]) {
    let (d, b) = (office.clerk("d", None), office.clerk("b", Some(ASKS_AGAIN)));
    let addresses = [d.address(), b.address()];
    let _ = office.others.set(vec![d.address()]);
    let desk = desk.child(b).child(office.clerk("c", None));
    let board = here(Supervisor::one_for_one("shop").child(d).child(desk)).await;
    assert_eq!(office.log().lines(), ["is there"]);
    (board, addresses)
}

/// Waits until `b` has asked whoever does this.
async fn asked(cx: &Context<Clerk>) -> Board {
    let board = Board::of(cx).unwrap();
    until(|| board.inspect("shop/d").unwrap().mailbox.letters == 1).await;
    board
}

/// What `d` may wait for while `b` starts again and asks `d`.
const APART: [Errand; 6] = [
    |clerk, cx| {
        Box::pin(async {
            let desk = asked(cx).await.supervisor("shop/desk").unwrap();
            outcome(desk.start_child(clerk.another("e")).await)
        })
    },
    |_, cx| Box::pin(async { outcome(asked(cx).await.stop("shop/desk/c").await) }),
    |_, cx| Box::pin(async { outcome(asked(cx).await.restart("shop/desk/c").await) }),
    |_, cx| Box::pin(async { outcome(asked(cx).await.kill("shop/desk/c").await) }),
    |_, cx| {
        Box::pin(async {
            let desk = asked(cx).await.supervisor("shop/desk").unwrap();
            desk.terminate_child("c").await.unwrap();
            outcome(desk.restart_child("c").await)
        })
    },
    |_, cx| {
        Box::pin(async {
            let desk = asked(cx).await.supervisor("shop/desk").unwrap();
            desk.terminate_child("c").await.unwrap();
            outcome(desk.delete_child("c").await)
        })
    },
];

#[test]
fn a_sibling_that_starts_again_and_asks_back_is_not_what_is_waited_for() {
    for errand in APART {
        paused(async {
            let (office, before) = (Office::new(), Instant::now());
            let (board, [d, b]) = desk(&office, Supervisor::one_for_one("desk")).await;
            let crash = async {
                until(|| board.inspect("shop/d").unwrap().mailbox.letters_in_flight == 1).await;
                b.tell(Do(BOOM)).await.unwrap();
            };
            let (said, ()) = tokio::join!(d.ask(Do(errand)), crash);
            assert_eq!(said.unwrap(), "done");
            office.log().wait_for("done").await;
            assert_eq!(before.elapsed(), Duration::ZERO);
            assert_eq!(board.inspect("shop/desk/b").unwrap().life, 2);
            end(&board).await;
        });
    }
}

#[test]
fn a_sibling_may_ask_whoever_waits_for_another_to_be_made() {
    paused(async {
        let (office, before) = (Office::new(), Instant::now());
        let (d, inner) = (office.clerk("d", None), office.clone());
        let address = d.address();
        let _ = office.others.set(vec![d.address()]);
        let recipe = move |name: &'static str| {
            let first: Errand = match name {
                "b" => ASKS_AGAIN,
                _ => |_, _| {
                    Box::pin(async {
                        tokio::time::sleep(secs(1)).await;
                        "slowly".to_owned()
                    })
                },
            };
            inner.clerk(name, Some(first))
        };
        let made = Supervisor::dynamic("desk", recipe);
        let board = here(Supervisor::one_for_one("shop").child(d).child(made)).await;
        let desk = board.supervisor("shop/desk").unwrap();
        desk.start_child_from("b").await.unwrap();
        let crash = async {
            until(|| board.inspect("shop/desk/x").is_ok()).await;
            let b = board.service::<Clerk>("shop/desk/b").unwrap();
            b.tell(Do(BOOM)).await.unwrap();
        };
        let make: Errand = |_, cx| {
            Box::pin(async {
                let desk = Board::of(cx).unwrap().supervisor("shop/desk").unwrap();
                outcome(desk.start_child_from("x").await)
            })
        };
        let (said, ()) = tokio::join!(address.ask(Do(make)), crash);
        assert_eq!(said.unwrap(), "done");
        office.log().wait_for("done").await;
        assert_eq!(office.log().lines(), ["is there", "slowly", "done"]);
        assert_eq!(before.elapsed(), secs(1));
        end(&board).await;
    });
}

#[test]
fn one_that_starts_again_on_request_and_asks_whoever_requested_it_hears_so_at_once() {
    let restart: Errand =
        |_, cx| Box::pin(async { outcome(Board::of(cx).unwrap().restart("shop/desk/b").await) });
    let start: Errand = |_, cx| {
        Box::pin(async {
            let desk = Board::of(cx).unwrap().supervisor("shop/desk").unwrap();
            desk.terminate_child("b").await.unwrap();
            outcome(desk.restart_child("b").await)
        })
    };
    let table = [
        (restart, "shop/desk/b -> shop/d -> shop/desk/b"),
        (start, "shop/desk/b -> shop/d -> shop/desk -> shop/desk/b"),
    ];
    for (errand, path) in table {
        paused(async {
            let (office, before) = (Office::new(), Instant::now());
            let (board, [d, _]) = desk(&office, Supervisor::one_for_one("desk")).await;
            assert_eq!(d.ask(Do(errand)).await.unwrap(), "done");
            let cycle = format!("a cycle of waits: {path}");
            assert_eq!(office.log().lines(), ["is there", &cycle]);
            assert_eq!(before.elapsed(), Duration::ZERO);
            end(&board).await;
        });
    }
}

#[test]
fn where_children_start_in_order_a_sibling_that_asks_back_is_waited_for() {
    paused(async {
        let office = Office::new();
        let (board, [d, b]) = desk(&office, Supervisor::rest_for_one("desk")).await;
        let crash = async {
            until(|| board.inspect("shop/d").unwrap().mailbox.letters_in_flight == 1).await;
            b.tell(Do(BOOM)).await.unwrap();
        };
        let (said, ()) = tokio::join!(d.ask(Do(APART[0])), crash);
        let cycle = "a cycle of waits: shop/d -> shop/desk -> shop/desk/b -> shop/d";
        assert_eq!(said.unwrap(), cycle);
        office.log().wait_for("done").await;
        // What waits for no start is done all the same.
        let crash = async {
            until(|| board.inspect("shop/d").unwrap().mailbox.letters_in_flight == 1).await;
            b.tell(Do(BOOM)).await.unwrap();
        };
        let (said, ()) = tokio::join!(d.ask(Do(APART[3])), crash);
        assert_eq!(said.unwrap(), "done");
        end(&board).await;
    });
}

const BOOM: Errand = |_, _| Box::pin(async { crate::support_lives::boom() });
