//! Services that begin to wait for each other at the same time, and those that answer and ask
//! back: `waits/mod.rs` and `Reply` of `service/letter.rs`, on the graph itself.
//!
//! Invariant: of those who close a ring exactly one is refused, in any schedule; nobody is
//! refused for a wait that is over; and nothing is left. A ring of which all wait shows as a
//! deadlock.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::waits::graph::{Graph, Node};

/// How a variant departs from the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Looks for a cycle, and notes the wait under the lock again.
    LookFirst,
    /// Looks only whether the other one waits for this one.
    LookNear,
    /// Notes the wait, looks, and leaves it when it is refused.
    LeaveRefused,
    /// Answers, and leaves it to the asker to end its wait.
    AnswerOnly,
}

/// One service: its wait, and what it says when it has done its work.
struct Member {
    node: Node,
    wait: Mutex<Option<u64>>,
    asked: Signal,
    done: Signal,
}

/// Something that has been said, to one who waits for it.
struct Signal {
    said: Mutex<bool>,
    heard: Condvar,
}

impl Signal {
    fn new() -> Self {
        Signal {
            said: Mutex::new(false),
            heard: Condvar::new(),
        }
    }

    fn say(&self) {
        *self.said.lock().unwrap() = true;
        self.heard.notify_one();
    }

    fn wait(&self) {
        let mut said = self.said.lock().unwrap();
        while !*said {
            said = self.heard.wait(said).unwrap();
        }
    }
}

struct Board {
    graph: Mutex<Graph>,
    members: Vec<Member>,
}

impl Board {
    fn new(count: usize) -> Arc<Self> {
        let mut graph = Graph::default();
        let members = (0..count).map(|index| Member {
            node: graph.enter(index.to_string().into()),
            wait: Mutex::new(None),
            asked: Signal::new(),
            done: Signal::new(),
        });
        let members = members.collect();
        Arc::new(Board {
            graph: Mutex::new(graph),
            members,
        })
    }

    /// Notes that one waits for another. False if that is refused.
    fn wait(&self, from: usize, to: usize, flaw: Flaw) -> bool {
        let (member, to) = (&self.members[from], self.members[to].node);
        let mut graph = self.graph.lock().unwrap();
        let way = graph.way(to, member.node);
        let is_cycle = way.is_some_and(|way| flaw != Flaw::LookNear || way.len() <= 2);
        if is_cycle && flaw != Flaw::LeaveRefused {
            return false;
        }
        if flaw == Flaw::LookFirst {
            drop(graph);
            graph = self.graph.lock().unwrap();
        }
        let wait = graph.add(member.node, [to].into_iter());
        *member.wait.lock().unwrap() = (!is_cycle).then_some(wait);
        !is_cycle
    }

    /// Ends the wait of this one, if there is one that has not ended.
    fn end(&self, from: usize) {
        let member = &self.members[from];
        let wait = member.wait.lock().unwrap().take();
        if let Some(wait) = wait {
            self.graph.lock().unwrap().end(member.node, wait);
        }
    }

    /// The work of this one is done: whoever asked for it hears so.
    fn answer(&self, asker: usize, by: usize, flaw: Flaw) {
        if flaw != Flaw::AnswerOnly {
            self.end(asker);
        }
        self.members[by].done.say();
    }

    fn is_empty(&self) -> bool {
        let graph = self.graph.lock().unwrap();
        let mut members = self.members.iter();
        members.all(|member| graph.degree(member.node) == 0)
    }
}

/// Each asks the next one, all at the same time. True if this one was refused.
fn ask_around(board: &Board, me: usize, flaw: Flaw) -> bool {
    let count = board.members.len();
    let (next, before) = ((me + 1) % count, (me + count - 1) % count);
    let waits = board.wait(me, next, flaw);
    if waits {
        board.members[next].done.wait();
        board.end(me);
    }
    board.answer(before, me, flaw);
    !waits
}

fn ring(count: usize, flaw: Flaw) {
    loom::model(move || {
        let board = Board::new(count);
        let others: Vec<_> = (1..count)
            .map(|me| {
                let board = Arc::clone(&board);
                thread::spawn(move || ask_around(&board, me, flaw))
            })
            .collect();
        let mut refused = usize::from(ask_around(&board, 0, flaw));
        for other in others {
            refused += usize::from(other.join().unwrap());
        }
        assert_eq!(refused, 1, "one of them is refused");
        assert!(board.is_empty(), "nothing is left");
    });
}

/// The first asks the second, which answers and asks back.
fn ask_back(flaw: Flaw) {
    loom::model(move || {
        let board = Board::new(2);
        let second = Arc::clone(&board);
        let second = thread::spawn(move || {
            second.members[1].asked.wait();
            second.answer(0, 1, flaw);
            assert!(second.wait(1, 0, flaw), "it was refused for no cycle");
            second.members[0].asked.say();
            second.members[0].done.wait();
            second.end(1);
        });
        assert!(board.wait(0, 1, flaw), "it was refused for no cycle");
        board.members[1].asked.say();
        board.members[1].done.wait();
        board.end(0);
        board.members[0].asked.wait();
        board.answer(1, 0, flaw);
        second.join().unwrap();
        assert!(board.is_empty(), "nothing is left");
    });
}

#[test]
fn one_of_two_that_ask_each_other_is_refused() {
    ring(2, Flaw::None);
}

#[test]
fn one_of_three_that_ask_around_is_refused() {
    ring(3, Flaw::None);
}

#[test]
fn whoever_has_answered_may_ask_back() {
    ask_back(Flaw::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn looking_before_noting_under_another_lock_is_caught() {
    ring(2, Flaw::LookFirst);
}

#[test]
#[should_panic(expected = "deadlock")]
fn looking_no_further_than_the_next_one_is_caught() {
    ring(3, Flaw::LookNear);
}

#[test]
#[should_panic(expected = "nothing is left")]
fn leaving_a_wait_that_was_refused_is_caught() {
    ring(2, Flaw::LeaveRefused);
}

#[test]
#[should_panic(expected = "refused for no cycle")]
fn leaving_it_to_the_asker_to_end_its_wait_is_caught() {
    ask_back(Flaw::AnswerOnly);
}
