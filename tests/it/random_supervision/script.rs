//! What a seed decides besides the tree: what is done to it, and when.
//!
//! Steps are drawn while the reference plays them, so that they can be aimed at bad moments.

use fastrand::Rng;

use super::plan::{Gardener, Id, Kind, Ms, ROOT, SCRIBE, Sketch};
use super::reference::{Ask, Deed, Reference, StartDeed, Step, StopDeed};

/// A whole run.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) sketches: Vec<Sketch>,
    /// What is done before the start.
    pub(crate) first: Vec<Step>,
    /// What is done, and how long to wait after it.
    pub(crate) steps: Vec<(Step, Ms)>,
    /// The limit of the shutdown, or none if the board ends by itself.
    pub(crate) limit: Option<Ms>,
    /// What is to become of it.
    pub(crate) expected: Reference,
}

const STEPS: usize = 24;

impl Script {
    /// Draws a run; none if two causes met at a moment that cannot be left out.
    pub(crate) fn draw(seed: u64) -> Option<Self> {
        let mut dice = Rng::with_seed(seed);
        let sketches = Gardener::new(&mut dice).tree();
        let mut reference = Reference::new(sketches.clone());
        let first = spoilt_start(&mut reference, &mut dice);
        reference.start();
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            if reference.tie || reference.over.is_some() {
                break;
            }
            steps.extend(draw_step(&mut reference, &mut dice));
        }
        let limit = if reference.over.is_none() {
            Some(draw_end(&mut reference, &mut dice)?)
        } else {
            None
        };
        (!reference.tie).then_some(Script {
            sketches,
            first,
            steps,
            limit,
            expected: reference,
        })
    }
}

/// Now and then a tree does not come up.
fn spoilt_start(reference: &mut Reference, dice: &mut Rng) -> Vec<Step> {
    let mut first = Vec::new();
    if dice.u8(0..12) == 0
        && let Some(id) = pick(reference, dice, |_, _| true)
        && reference.is_service(id)
    {
        let step = match dice.u8(0..4) {
            0 => Step::SpoilRecipe(id),
            _ => Step::SpoilStart(id, start_deed(dice)),
        };
        reference.take(step.clone());
        first.push(step);
    }
    first
}

/// Plays a step that makes no tie, if one is found.
fn draw_step(reference: &mut Reference, dice: &mut Rng) -> Option<(Step, Ms)> {
    for _ in 0..8 {
        let step = draw_deed(reference, dice);
        let time = draw_wait(reference, dice);
        let mut tried = reference.clone();
        tried.take(step.clone());
        tried.wait(time);
        if !tried.tie {
            *reference = tried;
            return Some((step, time));
        }
    }
    None
}

fn draw_end(reference: &mut Reference, dice: &mut Rng) -> Option<Ms> {
    for _ in 0..20 {
        let quiet = reference.is_quiet();
        let next = reference.next_due().map_or(50, |next| next - reference.now);
        let limit = match quiet {
            true if dice.bool() => 60_000,
            true => dice.u64(1..200),
            false => dice.u64(0..next.clamp(1, 60)),
        };
        let mut tried = reference.clone();
        tried.shut_down(limit);
        if !tried.tie {
            *reference = tried;
            return Some(limit);
        }
    }
    None
}

fn draw_wait(reference: &Reference, dice: &mut Rng) -> Ms {
    let next = reference.next_due().map(|next| next - reference.now);
    match dice.u8(0..10) {
        0..5 => dice.u64(1..40),
        5 | 6 => next.unwrap_or(1).saturating_sub(1).clamp(1, 31_000),
        7 => next.unwrap_or(1) + 1,
        8 => dice.u64(1..500),
        _ => dice.u64(1..6_000),
    }
}

/// Half of the steps look for somebody next to where something goes on already.
fn draw_deed(reference: &Reference, dice: &mut Rng) -> Step {
    let aimed = dice.bool();
    let target = if aimed { aim(reference, dice) } else { None };
    let target = target.or_else(|| pick(reference, dice, |_, _| true));
    let Some(id) = target else {
        return Step::Publish(SCRIBE, Deed::Nothing);
    };
    match dice.u8(0..20) {
        0..9 if reference.is_service(id) => trouble(id, dice),
        9 | 10 => Step::Ask(Ask::Restart(id)),
        11 => Step::Ask(Ask::Stop(id)),
        12 => {
            let ended = pick(reference, dice, |one, id| {
                one.nodes[id].state == callboard::State::Closed
            });
            let id = ended.unwrap_or(id);
            match dice.u8(0..4) {
                0 => Step::Ask(Ask::Delete(id)),
                _ => Step::Ask(Ask::RestartChild(id)),
            }
        }
        13 => add(reference, dice),
        14 if reference.is_service(id) => Step::Suspend(id),
        15 | 16 => {
            let held = pick(reference, dice, |one, id| one.nodes[id].worker.suspended);
            held.map_or(Step::Publish(SCRIBE, Deed::Nothing), Step::Resume)
        }
        17 => Step::Publish(SCRIBE, Deed::Nothing),
        _ => Step::Ask(Ask::Kill(id)),
    }
}

fn trouble(id: Id, dice: &mut Rng) -> Step {
    let (fuse, times) = (dice.u64(1..25), dice.u32(1..4));
    let deed = match dice.u8(0..16) {
        0..5 => Deed::Panic { fuse, times },
        5 => Deed::Nap(dice.u64(1..400)),
        6 => Deed::Hang { times },
        7 => Deed::Stop { fuse },
        8 => Deed::Alarm {
            fuse,
            panics: dice.bool(),
        },
        9..12 => return Step::SpoilStart(id, start_deed(dice)),
        12 => return Step::SpoilRecipe(id),
        13 => return Step::SpoilStop(id, StopDeed::Hang),
        _ => return Step::SpoilStop(id, StopDeed::Panic),
    };
    Step::Publish(id, deed)
}

fn start_deed(dice: &mut Rng) -> StartDeed {
    match dice.u8(0..5) {
        0 => StartDeed::Hang,
        1 | 2 => StartDeed::Panic,
        _ => StartDeed::Fail,
    }
}

/// Somebody who is in trouble, or a sibling, or who is above.
fn aim(reference: &Reference, dice: &mut Rng) -> Option<Id> {
    let troubled = pick(reference, dice, Reference::is_in_trouble)?;
    let above = reference.nodes[troubled].sketch.above?;
    match dice.u8(0..6) {
        0 | 1 => Some(troubled),
        2 if above != ROOT => Some(above),
        _ => pick(reference, dice, |one, id| {
            one.nodes[id].sketch.above == Some(above) && one.is_alive(id)
        }),
    }
}

fn pick(
    reference: &Reference,
    dice: &mut Rng,
    fits: impl Fn(&Reference, Id) -> bool,
) -> Option<Id> {
    let fits = |id: &Id| !reference.nodes[*id].gone && fits(reference, *id);
    let all: Vec<Id> = (SCRIBE + 1..reference.nodes.len()).filter(fits).collect();
    (!all.is_empty()).then(|| all[dice.usize(0..all.len())])
}

fn add(reference: &Reference, dice: &mut Rng) -> Step {
    let supervisor = |one: &Reference, id: Id| !one.is_service(id);
    let dynamic = |one: &Reference, id: Id| supervisor(one, id) && one.rules(id).dynamic;
    let above = pick(reference, dice, dynamic).filter(|_| dice.bool());
    let above = above.or_else(|| pick(reference, dice, supervisor));
    let above = above.unwrap_or(ROOT);
    let rules = reference.rules(above);
    let name = format!("added{}", reference.nodes.len());
    let mut gardener = Gardener::new(dice);
    let job = gardener.job(rules.max_restarts);
    let sketch = gardener.child(above, rules, name, Kind::Service(job));
    Step::Ask(Ask::Add(sketch))
}
