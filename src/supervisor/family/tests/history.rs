//! Random histories: a tree, a budget, and what a faithful actor does to it.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy as Generate, any, prop_oneof},
    sample::select,
};

use super::*;

/// What the actor does next; `pick` chooses among the children or lives it can be done to.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Start,
    Ready { pick: usize },
    FailStart { pick: usize, exit: Exit },
    Exit { pick: usize, exit: Exit },
    Obey { pick: usize },
    Rest { pick: usize },
    Stale { pick: usize, back: u64, what: Stale },
    Add { member: Member },
    Ask { pick: usize, what: Ask },
    Stop,
    Kill,
    Wait { ms: u64 },
}

/// A report about a life that is over, or is yet to come.
#[derive(Clone, Debug)]
pub(super) enum Stale {
    Ready,
    Exit(Exit),
    Rested,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    Terminate,
    Dismiss,
    Restart,
    Renew,
    Delete,
}

#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) plan: Plan,
    pub(super) members: Vec<Member>,
    pub(super) deeds: Vec<Deed>,
}

fn exits() -> impl Generate<Value = Exit> {
    prop_oneof![
        3 => Just(Exit::Normal),
        1 => Just(Exit::Shutdown),
        5 => Just(failure()),
        1 => Just(Exit::Killed),
        1 => Just(Exit::Retired(Failure::new("broken"))),
        1 => Just(Exit::Fatal(Failure::new("broken"))),
    ]
}

fn members() -> impl Generate<Value = Member> {
    let restart = prop_oneof![
        3 => Just(Permanent),
        2 => Just(Transient),
        1 => Just(Temporary),
    ];
    (restart, any::<bool>()).prop_map(|(restart, significant)| Member {
        significant,
        ..member(restart)
    })
}

fn reports() -> impl Generate<Value = Deed> {
    let pick = 0usize..8;
    let stale = prop_oneof![
        Just(Stale::Ready),
        exits().prop_map(Stale::Exit),
        Just(Stale::Rested)
    ];
    prop_oneof![
        14 => pick.clone().prop_map(|pick| Deed::Ready { pick }),
        2 => (pick.clone(), exits()).prop_map(|(pick, exit)| Deed::FailStart { pick, exit }),
        6 => (pick.clone(), exits()).prop_map(|(pick, exit)| Deed::Exit { pick, exit }),
        8 => pick.clone().prop_map(|pick| Deed::Obey { pick }),
        6 => pick.clone().prop_map(|pick| Deed::Rest { pick }),
        3 => (pick, 0u64..3, stale).prop_map(|(pick, back, what)| Deed::Stale {
            pick,
            back,
            what
        }),
    ]
}

fn requests() -> impl Generate<Value = Deed> {
    let ask = select(&[
        Ask::Terminate,
        Ask::Dismiss,
        Ask::Restart,
        Ask::Renew,
        Ask::Delete,
    ]);
    prop_oneof![
        1 => members().prop_map(|member| Deed::Add { member }),
        7 => (0usize..12, ask).prop_map(|(pick, what)| Deed::Ask { pick, what }),
    ]
}

fn deeds() -> impl Generate<Value = Deed> {
    prop_oneof![
        36 => reports(),
        10 => requests(),
        1 => prop_oneof![4 => Just(Deed::Stop), 2 => Just(Deed::Kill), 10 => Just(Deed::Start)],
        6 => (0u64..40).prop_map(|ms| Deed::Wait { ms }),
    ]
}

fn plans() -> impl Generate<Value = Plan> {
    let strategy = select(&[OneForOne, OneForAll, RestForOne]);
    let auto_shutdown = prop_oneof![
        2 => Just(AutoShutdown::Never),
        2 => Just(AutoShutdown::AnySignificant),
        2 => Just(AutoShutdown::AllSignificant),
    ];
    let stable_after = proptest::option::of((0u64..60).prop_map(Duration::from_millis));
    let is_dynamic = prop_oneof![3 => Just(false), 1 => Just(true)];
    let numbers = (0u32..7, 0u64..60);
    (strategy, auto_shutdown, stable_after, is_dynamic, numbers).prop_map(
        |(strategy, auto_shutdown, stable_after, dynamic, (max, window_ms))| Plan {
            window: Duration::from_millis(window_ms),
            auto_shutdown,
            stable_after,
            dynamic,
            ..plan(strategy, max)
        },
    )
}

pub(super) fn histories() -> impl Generate<Value = History> {
    let early = prop_oneof![19 => Just(Deed::Start), 1 => Just(Deed::Stop)];
    // Most families come up first: what happens only then is most of what there is.
    let rises = prop_oneof![2 => Just(0), 5 => Just(6)];
    let deeds = (early, rises, vec(deeds(), 0..120));
    let parts = (plans(), vec(members(), 0..6), deeds);
    parts.prop_map(|(plan, members, (early, rises, more))| {
        let mut deeds = vec![early];
        deeds.extend(vec![Deed::Ready { pick: 0 }; rises]);
        deeds.extend(more);
        History {
            plan,
            members,
            deeds,
        }
    })
}
