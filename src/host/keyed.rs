//! One life of a per-key service: an instance for each key, made on demand.
//!
//! The host begins it in place of an ordinary life; it hands out what the mailbox has to the
//! instances, and settles what they report.
//!
//! Invariant: events of one key are handled one after the other, in their order; while one is out,
//! those behind it wait in their source, deferred.
//!
//! It bounds how many keys are at work, and how many instances are kept idle.

use std::any::TypeId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::rc::Rc;

use tokio::time::Instant;

use crate::clock::{deadline, within};
use crate::event::Key;
use crate::exit::Exit;
use crate::host::Borrowed;
use crate::host::guard::Kept;
use crate::host::instance::{Board, Orders};
use crate::host::life::{Life, ends_in_order, note_cut_off};
use crate::mailbox::Next;
use crate::service::errand::{Handed, LetterErrand, Tray};
use crate::service::inside::Task;
use crate::service::per_key::Keyed;
use crate::service::{Context, Deliver, Service, Work};

mod instances;
mod reports;

/// An instance, as its life sees it.
struct Instance<S: Service> {
    number: u64,
    orders: Rc<Orders<S>>,
    /// Dropped, it ends the instance.
    _task: Task,
    /// Since when it has had nothing to do.
    idle: Option<Instant>,
}

pub(super) struct KeyedLife<S: Service, L: Deliver<S>> {
    life: Life<S, L>,
    recipe: Borrowed<Keyed<S>>,
    instances: BTreeMap<Key, Instance<S>>,
    /// The idle ones, the longest first.
    idle: BTreeMap<(Instant, u64), Key>,
    /// The events that are out, by the number of their errand: their types.
    out: BTreeMap<u64, TypeId>,
    letters_out: BTreeSet<u64>,
    /// What has been handed out before its turn: an older event of its key, of another type, is
    /// not settled yet.
    early: BTreeMap<Key, Vec<Handed<S>>>,
    board: Rc<Board>,
    next: u64,
}

/// The instances go with the life, however that ends; what they have done, or not begun, does not.
impl<S: Service, L: Deliver<S>> Drop for KeyedLife<S, L> {
    fn drop(&mut self) {
        self.settle_unheard();
        self.recall();
        self.life.vitals.remove_all_instances();
    }
}

impl<S: Service, L: Deliver<S>> KeyedLife<S, L> {
    pub(super) fn new(life: Life<S, L>, recipe: Borrowed<Keyed<S>>) -> Self {
        let board = Board::new(life.inbox.bell.clone());
        KeyedLife {
            life,
            recipe,
            instances: BTreeMap::new(),
            idle: BTreeMap::new(),
            out: BTreeMap::new(),
            letters_out: BTreeSet::new(),
            early: BTreeMap::new(),
            board,
            next: 0,
        }
    }

    /// Lives. It has started at once: instances start when there is something for them.
    pub(super) async fn run(mut self, cx: Context<S>) -> Exit {
        let cx = Kept::new(cx);
        cx.control.rise();
        let exit = self.work(&cx).await;
        cx.control.seal(&exit);
        if ends_in_order(&exit) {
            // Instances may be at work whose handlers never return.
            let (clock, limit) = (self.life.pulse.clock.clone(), cx.control.farewell());
            let stopped = within(&clock, limit, self.stop_all(&exit, &cx)).await;
            if stopped.is_none() {
                note_cut_off(cx.path(), limit.unwrap_or_default());
            }
        }
        exit
    }

    async fn work(&mut self, cx: &Context<S>) -> Exit {
        loop {
            self.life.begin_turn(cx);
            while !self.life.pace.is_spent(&self.life.pulse.clock) {
                if self.life.is_ending(cx) {
                    return self.life.ending(cx);
                }
                if let Err(exit) = self.make_changes(cx) {
                    return exit;
                }
                if let Err(exit) = self.hear(cx) {
                    return exit;
                }
                if self.life.vitals.is_suspended() {
                    self.pause(cx).await;
                    continue;
                }
                self.go_on();
                self.retire_idle();
                let next = self.look(cx);
                let is_dry = next == Next::Nothing && !self.has_errands_out();
                if is_dry && cx.control.draining().is_some() {
                    return Exit::Shutdown;
                }
                match self.take_up(next, cx) {
                    Ok(true) => {}
                    Ok(false) => self.rest(next, cx).await,
                    Err(exit) => return exit,
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Changes subscriptions, as was asked for. What was early may have waited for one that ends.
    fn make_changes(&mut self, cx: &Context<S>) -> Result<(), Exit> {
        if !self.life.inbox.has_changes() {
            return Ok(());
        }
        self.life.make_changes();
        self.release_all(cx)
    }

    fn look(&mut self, cx: &Context<S>) -> Next {
        let is_full = self.room() == 0;
        self.life.mailbox.shut(is_full);
        let clock = &self.life.pulse.clock;
        let below = self.life.below(cx);
        self.life.mailbox.next_below(below, || clock.now())
    }

    fn has_errands_out(&self) -> bool {
        !(self.out.is_empty() && self.letters_out.is_empty())
    }

    /// How many more events may be out. What is early is not at work, and must not keep away what
    /// it waits for.
    fn room(&self) -> usize {
        let early: usize = self.early.values().map(Vec::len).sum();
        let at_once = self.recipe.terms.at_once.saturating_add(early);
        at_once.saturating_sub(self.out.len())
    }

    /// Has the instances begin nothing more, and waits for what they have begun.
    async fn pause(&mut self, cx: &Context<S>) {
        self.board.pause(true);
        self.recall();
        let board = Rc::clone(&self.board);
        self.life.pause(cx, || !board.is_empty()).await;
    }

    /// Has the instances go on after a pause, in which nobody was idle.
    fn go_on(&mut self) {
        if !self.board.pause(false) {
            return;
        }
        let now = self.life.pulse.clock.now();
        for ((_, number), key) in mem::take(&mut self.idle) {
            if let Some(instance) = self.instances.get_mut(&key) {
                instance.idle = Some(now);
                self.idle.insert((now, number), key);
            }
        }
        for instance in self.instances.values() {
            instance.orders.wake();
        }
    }

    async fn rest(&mut self, next: Next, cx: &Context<S>) {
        let idle = self.idle.keys().next();
        let retiring = idle.map(|(since, _)| deadline(*since, self.recipe.terms.idle));
        let due = match (next, retiring) {
            (Next::Later(due), Some(retiring)) => Next::Later(due.min(retiring)),
            (_, Some(retiring)) => Next::Later(retiring),
            (next, None) => next,
        };
        let board = Rc::clone(&self.board);
        self.life.rest(due, cx, || !board.is_empty()).await;
    }

    /// Hands out what is next. False if there is nothing to do now.
    fn take_up(&mut self, next: Next, cx: &Context<S>) -> Result<bool, Exit> {
        match next {
            Next::Events { source, until } => self.hand_out(source, Work::Events { until }, cx)?,
            Next::Held { source } => self.hand_out(source, Work::Held, cx)?,
            Next::Aside { source } => self.hand_out(source, Work::Aside, cx)?,
            Next::Letters { .. } => self.hand_out_letter(cx)?,
            Next::Later(_) | Next::Nothing => return Ok(false),
        }
        Ok(true)
    }

    fn hand_out(&mut self, source: usize, work: Work, cx: &Context<S>) -> Result<(), Exit> {
        let mut tray = Tray {
            out: Vec::new(),
            room: self.room(),
            next: &mut self.next,
            clock: &self.life.pulse.clock,
            pace: &mut self.life.pace,
            has_lapsed: false,
        };
        let mailbox = &mut *self.life.mailbox;
        let handed = match source.checked_sub(L::LEN) {
            None => mailbox.fixed.hand_out(source, work, &mut tray),
            Some(added) => match mailbox.added.get_mut(added) {
                Some(added) => added.hand_out(work, &mut tray),
                None => Ok(()),
            },
        };
        let (out, has_lapsed) = (tray.out, tray.has_lapsed);
        mailbox.note_waiting();
        // All of it, also if one of them ends the service: what is out is known to be out.
        let mut done = Ok(());
        for errand in out {
            done = done.and(self.send(errand, cx));
        }
        if let Err(ruling) = handed {
            done = done.and(self.carry_out(*ruling, None, cx));
        }
        if has_lapsed {
            done = done.and(self.release_all(cx));
        }
        done
    }

    fn hand_out_letter(&mut self, cx: &Context<S>) -> Result<(), Exit> {
        let Some(letter) = self.life.take_letter() else {
            return Ok(());
        };
        let errand = Box::new(LetterErrand(letter));
        self.next += 1;
        self.send(
            Handed {
                key: errand.key(),
                number: errand.0.number(),
                work: self.next,
                event: None,
                is_timed: false,
                errand,
            },
            cx,
        )
    }

    /// Sends an errand to the instance of its key, when its turn has come. Letters are not kept
    /// back: events may wait for long to be tried again.
    fn send(&mut self, errand: Handed<S>, cx: &Context<S>) -> Result<(), Exit> {
        match errand.event {
            Some(event) => {
                self.out.insert(errand.work, event);
            }
            None => {
                self.letters_out.insert(errand.work);
            }
        }
        if errand.event.is_none() || self.is_next(&errand) {
            let key = errand.key.clone();
            self.give(errand, cx)?;
            return self.release(&key, cx);
        }
        let early = self.early.entry(errand.key.clone());
        early.or_default().push(errand);
        Ok(())
    }

    /// Whether all older events of its key are settled, of whatever type.
    fn is_next(&mut self, errand: &Handed<S>) -> bool {
        let mut is_next = true;
        self.life.mailbox.each(|_, source| {
            let head = source.line_head(&errand.key);
            is_next = is_next && head.is_none_or(|head| head >= errand.number);
        });
        is_next
    }

    /// An event of this key is settled: it may be the turn of another; and of the next, if that
    /// is lost at once.
    fn release(&mut self, key: &Key, cx: &Context<S>) -> Result<(), Exit> {
        while let Some(first) = self.take_early(key) {
            self.give(first, cx)?;
        }
        Ok(())
    }

    /// Takes out what is next of this key, if that was handed out before its turn.
    fn take_early(&mut self, key: &Key) -> Option<Handed<S>> {
        let mut early = self.early.remove(key)?;
        early.retain(|errand| self.is_open(errand));
        early.sort_by_key(|errand| Reverse(errand.number));
        let is_next = early.last().is_some_and(|first| self.is_next(first));
        let first = if is_next { early.pop() } else { None };
        if !early.is_empty() {
            self.early.insert(key.clone(), early);
        }
        first
    }

    /// Whether it is still to be done: its subscription may have ended meanwhile.
    fn is_open(&mut self, errand: &Handed<S>) -> bool {
        let mailbox = &mut *self.life.mailbox;
        let source = errand.event.and_then(|event| mailbox.source_of(event));
        let is_open =
            source.and_then(|source| mailbox.with(source, |one| one.is_open(errand.work)));
        if is_open != Some(true) {
            self.out.remove(&errand.work);
        }
        is_open == Some(true)
    }

    fn release_all(&mut self, cx: &Context<S>) -> Result<(), Exit> {
        let keys: Vec<Key> = self.early.keys().cloned().collect();
        keys.iter().try_for_each(|key| self.release(key, cx))
    }

    /// Gives an errand to the instance of its key, which is made if there is none.
    fn give(&mut self, errand: Handed<S>, cx: &Context<S>) -> Result<(), Exit> {
        let Some(instance) = self.instances.get_mut(&errand.key) else {
            let key = errand.key.clone();
            return self.make(key, VecDeque::from([errand]), cx);
        };
        if let Some(since) = instance.idle.take() {
            self.idle.remove(&(since, instance.number));
        }
        instance.orders.add(errand);
        Ok(())
    }
}
