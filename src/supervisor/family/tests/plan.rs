//! Random histories: a tree, a budget, and what a faithful actor does to it.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy as Generate, prop_oneof},
    sample::select,
};

use super::*;

/// What the actor does next; `pick` chooses among the lives it can be done to.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Start,
    Ready {
        pick: usize,
    },
    FailStart {
        pick: usize,
        exit: Exit,
    },
    Exit {
        pick: usize,
        exit: Exit,
    },
    Obey {
        pick: usize,
    },
    Stale {
        pick: usize,
        back: u64,
        exit: Option<Exit>,
    },
    Stop,
    Kill,
    Wait {
        ms: u64,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) strategy: Strategy,
    pub(super) restarts: Vec<Restart>,
    pub(super) max: u32,
    pub(super) window_ms: u64,
    pub(super) deeds: Vec<Deed>,
}

fn exits() -> impl Generate<Value = Exit> {
    prop_oneof![
        2 => Just(Exit::Normal),
        1 => Just(Exit::Shutdown),
        4 => Just(failure()),
        1 => Just(Exit::Killed),
    ]
}

fn deeds() -> impl Generate<Value = Deed> {
    let pick = 0usize..6;
    prop_oneof![
        12 => pick.clone().prop_map(|pick| Deed::Ready { pick }),
        2 => (pick.clone(), exits()).prop_map(|(pick, exit)| Deed::FailStart { pick, exit }),
        6 => (pick.clone(), exits()).prop_map(|(pick, exit)| Deed::Exit { pick, exit }),
        8 => pick.clone().prop_map(|pick| Deed::Obey { pick }),
        3 => (pick, 0u64..3, proptest::option::of(exits()))
            .prop_map(|(pick, back, exit)| Deed::Stale { pick, back, exit }),
        1 => prop_oneof![8 => Just(Deed::Stop), 4 => Just(Deed::Kill), 4 => Just(Deed::Start)],
        6 => (0u64..40).prop_map(|ms| Deed::Wait { ms }),
    ]
}

pub(super) fn plans() -> impl Generate<Value = Plan> {
    let strategy = select(&[
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ]);
    let restart = prop_oneof![
        3 => Just(Restart::Permanent),
        2 => Just(Restart::Transient),
        1 => Just(Restart::Temporary),
    ];
    let early = prop_oneof![19 => Just(Deed::Start), 1 => Just(Deed::Stop)];
    let numbers = (0u32..5, 0u64..60);
    (
        strategy,
        vec(restart, 0..6),
        numbers,
        early,
        vec(deeds(), 0..80),
    )
        .prop_map(|(strategy, restarts, (max, window_ms), early, mut deeds)| {
            deeds.insert(0, early);
            Plan {
                strategy,
                restarts,
                max,
                window_ms,
                deeds,
            }
        })
}
