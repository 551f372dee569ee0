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
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use tokio::time::Instant;

use crate::clock::deadline;
use crate::event::Key;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::host::Borrowed;
use crate::host::guard::Kept;
use crate::host::instance::{self, Birth, Board, Loss, News, Orders, What};
use crate::host::life::{Life, ends_in_order, suffer};
use crate::host::ruling;
use crate::mailbox::Next;
use crate::panic::guard;
use crate::policy::Trouble;
use crate::service::errand::{Ended, Handed, LetterErrand, Tray};
use crate::service::inside::Task;
use crate::service::per_key::Keyed;
use crate::service::{Context, Deliver, Fault, Service, Work};
use crate::topic::tally::Count;

/// An instance, as its life sees it.
struct Instance<S: Service> {
    number: u64,
    orders: Rc<Orders<S>>,
    /// Dropped, it ends the instance.
    _task: Task,
    /// Since when it has had nothing to do.
    idle: Option<Instant>,
}

pub(super) struct KeyedLife<S: Service, L> {
    life: Life<S, L>,
    recipe: Borrowed<Keyed<S>>,
    instances: BTreeMap<Key, Instance<S>>,
    /// The idle ones, the longest first.
    idle: BTreeMap<(Instant, u64), Key>,
    /// What is out, by its number: the event's type, or `None` for a letter.
    out: BTreeMap<u64, Option<TypeId>>,
    /// What has been handed out before its turn: an older event of its key, of another type, is
    /// not settled yet.
    early: BTreeMap<Key, Vec<Handed<S>>>,
    board: Rc<Board>,
    next: u64,
}

/// The instances go with the life, however that ends.
impl<S: Service, L> Drop for KeyedLife<S, L> {
    fn drop(&mut self) {
        self.life.vitals.note_instances(0);
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
            early: BTreeMap::new(),
            board,
            next: 0,
        }
    }

    /// Lives. `up` is called at once: instances start when there is something for them.
    pub(super) async fn run(mut self, cx: Context<S>, up: impl FnOnce()) -> Exit {
        let cx = Kept::new(cx);
        up();
        let exit = self.work(&cx).await;
        cx.control.seal(&exit);
        if ends_in_order(&exit) {
            self.stop_all(&exit, &cx).await;
        }
        exit
    }

    async fn work(&mut self, cx: &Context<S>) -> Exit {
        loop {
            self.life.begin_turn();
            while !self.life.pace.is_spent() {
                if let Some(exit) = self.life.ending(cx) {
                    return exit;
                }
                if let Err(exit) = self.make_changes(cx) {
                    return exit;
                }
                if let Err(exit) = self.hear(cx) {
                    return exit;
                }
                if self.life.vitals.is_suspended() {
                    self.life.pause(cx).await;
                    continue;
                }
                self.retire_idle();
                let next = self.look(cx);
                let is_dry = next == Next::Nothing && self.out.is_empty();
                if is_dry && cx.control.draining().is_some() {
                    return Exit::Shutdown;
                }
                match self.take_up(next, cx) {
                    Ok(true) => {}
                    Ok(false) => self.rest(next, cx).await,
                    Err(exit) => return exit,
                }
            }
            self.life.mailbox.announce_room();
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

    /// How many more may be out. What is early is not at work, and must not keep away what it
    /// waits for.
    fn room(&self) -> usize {
        let early: usize = self.early.values().map(Vec::len).sum();
        let at_once = self.recipe.terms.at_once + early;
        at_once.saturating_sub(self.out.len())
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
            Next::Letter => self.hand_out_letter(cx)?,
            Next::Later(_) | Next::Nothing => return Ok(false),
        }
        Ok(true)
    }

    fn hand_out(&mut self, source: usize, work: Work, cx: &Context<S>) -> Result<(), Exit> {
        if !self.life.pace.step(&self.life.pulse.clock) {
            return Ok(());
        }
        let mut tray = Tray {
            out: Vec::new(),
            room: self.room(),
            next: &mut self.next,
            clock: &self.life.pulse.clock,
        };
        let mailbox = &mut *self.life.mailbox;
        let handed = match source.checked_sub(L::LEN) {
            None => mailbox.fixed.hand_out(source, work, &mut tray),
            Some(added) => match mailbox.added.get_mut(added) {
                Some(added) => added.hand_out(work, &mut tray),
                None => Ok(()),
            },
        };
        let out = tray.out;
        mailbox.with(source, |source| source.announce_room());
        mailbox.note_waiting();
        for errand in out {
            self.send(errand, cx)?;
        }
        match handed {
            Ok(()) => Ok(()),
            Err(ruling) => {
                self.carry_out(*ruling, None, cx)?;
                self.release_all(cx)
            }
        }
    }

    fn hand_out_letter(&mut self, cx: &Context<S>) -> Result<(), Exit> {
        if !self.life.pace.step(&self.life.pulse.clock) {
            return Ok(());
        }
        let Some(envelope) = self.life.mailbox.letters.take(Count::InFlight) else {
            return Ok(());
        };
        self.life.mailbox.letters.announce_room();
        if envelope.letter.is_expired() {
            envelope.letter.abandon();
            self.count_letter(Count::Expired);
            return Ok(());
        }
        let errand = Box::new(LetterErrand(envelope));
        self.next += 1;
        self.send(
            Handed {
                key: errand.key(),
                number: errand.0.number,
                work: self.next,
                event: None,
                errand,
            },
            cx,
        )
    }

    fn count_letter(&self, end: Count) {
        let letters = &self.life.mailbox.letters;
        letters.shared.tally.shift(Count::InFlight, end);
    }

    /// Sends an errand to the instance of its key, when its turn has come. Letters are not kept
    /// back: events may wait for long to be tried again.
    fn send(&mut self, errand: Handed<S>, cx: &Context<S>) -> Result<(), Exit> {
        self.out.insert(errand.work, errand.event);
        if errand.event.is_none() || self.is_next(&errand) {
            return self.give(errand, cx);
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

    /// An event of this key is settled: it may be the turn of another.
    fn release(&mut self, key: &Key, cx: &Context<S>) -> Result<(), Exit> {
        let Some(mut early) = self.early.remove(key) else {
            return Ok(());
        };
        early.retain(|errand| self.is_open(errand));
        early.sort_by_key(|errand| Reverse(errand.number));
        if early.last().is_some_and(|first| self.is_next(first))
            && let Some(first) = early.pop()
        {
            self.give(first, cx)?;
        }
        if !early.is_empty() {
            self.early.insert(key.clone(), early);
        }
        Ok(())
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

    /// Makes the instance of a key, with what it has to do.
    fn make(
        &mut self,
        key: Key,
        errands: VecDeque<Handed<S>>,
        cx: &Context<S>,
    ) -> Result<(), Exit> {
        let service = match guard(|| (self.recipe.make)(&key)) {
            Ok(service) => service,
            Err(panic) => return self.lose(errands, Loss::Panicked(panic), cx),
        };
        self.next += 1;
        let (number, orders) = (self.next, Orders::new(errands));
        let birth = Birth {
            service,
            cx: cx.for_instance(),
            key: key.clone(),
            instance: number,
            orders: Rc::clone(&orders),
            board: Rc::clone(&self.board),
        };
        let instance = Instance {
            number,
            orders,
            _task: instance::begin(birth),
            idle: None,
        };
        self.instances.insert(key, instance);
        self.life.vitals.note_instances(self.instances.len());
        Ok(())
    }

    /// Settles what the instances have reported.
    fn hear(&mut self, cx: &Context<S>) -> Result<(), Exit> {
        while let Some(News {
            key,
            instance,
            what,
        }) = self.board.take()
        {
            match what {
                What::Ended { work, ended } => {
                    self.settle(work, ended, Some(&key), cx)?;
                    self.release(&key, cx)?;
                    self.note_idle(&key);
                }
                What::Gone(gone) => self.bury(key, instance, gone, cx)?,
            }
            self.life.mailbox.note_waiting();
        }
        Ok(())
    }

    /// Settles one errand. A verdict against the worker costs the instance of the key.
    fn settle(
        &mut self,
        work: u64,
        ended: Ended,
        key: Option<&Key>,
        cx: &Context<S>,
    ) -> Result<(), Exit> {
        let Some(event) = self.out.remove(&work) else {
            return Ok(());
        };
        if let Ended::Answered(failure) = ended {
            self.count_letter(if failure.is_some() {
                Count::Failed
            } else {
                Count::Done
            });
            if let Some((message, failure)) = failure {
                super::life::note_failed_letter(cx.path(), message, &failure);
            }
            return Ok(());
        }
        let Some(event) = event else {
            // A letter whose instance was lost: whoever asked has heard so.
            self.count_letter(Count::Failed);
            return Ok(());
        };
        let mailbox = &mut *self.life.mailbox;
        let source = mailbox.source_of(event);
        let mut is_back = |source| mailbox.with(source, |one| one.take_back(work)) == Some(true);
        let Some(source) = source.filter(|source| is_back(*source)) else {
            return Ok(());
        };
        match ended {
            Ended::Handled { late } => {
                self.life.mailbox.with(source, |one| one.finish(late));
                Ok(())
            }
            Ended::Failed(fault) => self.judge(fault, key, cx),
            Ended::FollowedUp(reason) => {
                let ruling = self.life.mailbox.with(source, |one| one.conclude(reason));
                match ruling.flatten() {
                    Some(ruling) => self.carry_out(ruling, key, cx),
                    None => Ok(()),
                }
            }
            Ended::Answered(_) => Ok(()),
        }
    }

    fn judge(&mut self, fault: Fault, key: Option<&Key>, cx: &Context<S>) -> Result<(), Exit> {
        let judged = self.life.judge(fault, cx);
        self.suffer(judged, key)
    }

    fn carry_out(
        &mut self,
        ruling: crate::mailbox::source::Ruling,
        key: Option<&Key>,
        cx: &Context<S>,
    ) -> Result<(), Exit> {
        let at = self.life.pulse.clock.since_start();
        let (trouble, failure) = (ruling.trouble, ruling.failure.clone());
        let consequence = ruling::carry_out(ruling, at, &cx.wall, &self.life.vitals);
        self.suffer(suffer(consequence, trouble, failure), key)
    }

    /// What ends a whole service ends it; what would restart one costs the instance of the key.
    fn suffer(&mut self, judged: Result<(), Exit>, key: Option<&Key>) -> Result<(), Exit> {
        match judged {
            Err(exit @ (Exit::Retired(_) | Exit::Fatal(_))) => Err(exit),
            Err(_) => {
                if let Some(instance) = key.and_then(|key| self.instances.get(key)) {
                    instance.orders.stop(Exit::Shutdown);
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// An instance is gone: what it was doing is judged, and what it had still to do goes to
    /// another.
    fn bury(
        &mut self,
        key: Key,
        number: u64,
        gone: Result<(), Loss>,
        cx: &Context<S>,
    ) -> Result<(), Exit> {
        let is_it = |instance: &Instance<S>| instance.number == number;
        if !self.instances.get(&key).is_some_and(is_it) {
            return Ok(());
        }
        let Some(instance) = self.instances.remove(&key) else {
            return Ok(());
        };
        self.life.vitals.note_instances(self.instances.len());
        if let Some(since) = instance.idle {
            self.idle.remove(&(since, number));
        }
        let mut errands = instance.orders.take_all();
        if let Err(loss) = gone {
            // One that did not start is charged to what it was made for.
            let current = instance.orders.current();
            let first = current.or_else(|| errands.pop_front().map(|errand| errand.work));
            tell_lost(&key, &loss, cx.path());
            if let Some(work) = first {
                self.settle(work, Ended::Failed(fault(loss)), None, cx)?;
            }
        }
        if !errands.is_empty() {
            self.make(key.clone(), errands, cx)?;
        }
        self.release(&key, cx)
    }

    /// There is no instance for these.
    fn lose(
        &mut self,
        errands: VecDeque<Handed<S>>,
        loss: Loss,
        cx: &Context<S>,
    ) -> Result<(), Exit> {
        let fault = fault(loss);
        for errand in errands {
            tracing::error!(
                target: "callboard::host",
                service = cx.path(), key = %errand.key,
                "no instance could be made for a key"
            );
            let copy = Fault {
                trouble: fault.trouble,
                failure: fault.failure.clone(),
                began: None,
            };
            self.settle(errand.work, Ended::Failed(copy), None, cx)?;
            self.release(&errand.key, cx)?;
        }
        Ok(())
    }

    fn note_idle(&mut self, key: &Key) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        if instance.idle.is_none() && instance.orders.is_idle() {
            let since = self.life.pulse.clock.now();
            instance.idle = Some(since);
            self.idle.insert((since, instance.number), key.clone());
        }
    }

    /// Ends instances that have been idle for long, and those that are too many.
    fn retire_idle(&mut self) {
        let terms = self.recipe.terms;
        while let Some((since, number)) = self.idle.keys().next().copied() {
            let is_over = || deadline(since, terms.idle) <= self.life.pulse.clock.now();
            if self.idle.len() <= terms.kept && !is_over() {
                return;
            }
            let Some(key) = self.idle.remove(&(since, number)) else {
                return;
            };
            let Some(instance) = self.instances.get_mut(&key) else {
                continue;
            };
            instance.idle = None;
            if instance.orders.is_idle() {
                instance.orders.stop(Exit::Normal);
            } else {
                // It has a timer: it is looked at again after its next errand, or here.
                let now = self.life.pulse.clock.now();
                instance.idle = Some(now);
                self.idle.insert((now, number), key);
                return;
            }
        }
    }

    /// Lets all instances finish what they are doing, and stops them in order.
    async fn stop_all(&mut self, exit: &Exit, cx: &Context<S>) {
        for errand in self.recall() {
            let (work, is_letter) = (errand.work, errand.event.is_none());
            errand.errand.abandon();
            if is_letter {
                self.out.remove(&work);
                self.count_letter(Count::Undelivered);
            }
        }
        for instance in self.instances.values() {
            instance.orders.stop(exit.clone());
        }
        self.life.mailbox.shut(true);
        while !self.instances.is_empty() {
            // The service ends already, whatever else is said against it.
            let _ = self.hear(cx);
            for instance in self.instances.values() {
                instance.orders.stop(exit.clone());
            }
            if self.instances.is_empty() {
                return;
            }
            let board = Rc::clone(&self.board);
            self.life.hear_of(|| !board.is_empty()).await;
        }
    }

    /// What no instance has begun.
    fn recall(&mut self) -> Vec<Handed<S>> {
        // Events, which are still open in their sources.
        self.early.clear();
        let orders = self.instances.values().map(|instance| &instance.orders);
        orders.flat_map(|orders| orders.take_all()).collect()
    }
}

fn fault(loss: Loss) -> Fault {
    let (trouble, failure) = match loss {
        Loss::Panicked(panic) => (Trouble::Crashed, Failure::from(panic)),
        Loss::Failed(failure) => (Trouble::Failed, failure),
    };
    Fault {
        trouble,
        failure,
        began: None,
    }
}

fn tell_lost(key: &Key, loss: &Loss, service: &str) {
    let failure = match loss {
        Loss::Panicked(panic) => panic.to_string(),
        Loss::Failed(failure) => failure.describe(),
    };
    tracing::error!(
        target: "callboard::host",
        service, %key, failure,
        "the instance of a key is lost"
    );
}
