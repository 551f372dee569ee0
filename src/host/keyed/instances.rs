//! The instances of a keyed life: made, given up, retired, stopped.
//!
//! The life calls it when there is something for a key, when one is gone, and at its end.
//!
//! Invariant: as many instances are idle as may be, and no more; what one had still to do when it
//! went goes to another.
//!
//! It settles nothing: that is the reports' part.

use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;

use super::{Instance, KeyedLife};
use crate::clock::deadline;
use crate::event::Key;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::host::instance::{self, Birth, Loss, Orders};
use crate::panic::guard;
use crate::policy::Trouble;
use crate::service::errand::{Ended, Handed};
use crate::service::{Context, Deliver, Fault, Service};

impl<S: Service, L: Deliver<S>> KeyedLife<S, L> {
    /// Makes the instance of a key, with what it has to do: the first of that for which it can be
    /// made, and what comes after.
    pub(super) fn make(
        &mut self,
        key: Key,
        mut errands: VecDeque<Handed<S>>,
        cx: &Context<S>,
    ) -> Result<(), Exit> {
        let service = loop {
            match guard(|| (self.recipe.make)(&key)) {
                Ok(service) => break service,
                Err(panic) => {
                    let lost = self.lose(errands.pop_front(), Loss::Panicked(panic), cx);
                    self.go_on_or_keep(lost, &key, &mut errands)?;
                }
            }
            if errands.is_empty() {
                return Ok(());
            }
        };
        self.next += 1;
        let (number, orders) = (self.next, Orders::new(errands));
        let birth = Birth {
            service,
            cx: cx.for_instance(self.life.vitals.add_instance(number)),
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
        Ok(())
    }

    /// An instance is gone: what it was doing is judged, and what it had still to do goes to
    /// another.
    pub(super) fn bury(
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
        self.life.vitals.remove_instance(number);
        if let Some(since) = instance.idle {
            self.idle.remove(&(since, number));
        }
        let (orders, mut errands) = (&instance.orders, instance.orders.take_all());
        let is_barren = !orders.has_begun() && !orders.is_stopping();
        let gone = match gone {
            Ok(()) if is_barren && !errands.is_empty() => Err(Loss::Failed(Failure::new(
                "its instance stopped itself before it began anything",
            ))),
            gone => gone,
        };
        if let Err(loss) = gone {
            let charged = match orders.current() {
                // Charged to what it was made for, which would make another for ever.
                None if !orders.has_begun() => {
                    errands.pop_front().map(|errand| (errand.lose(), None))
                }
                // What is only queued is not to blame.
                current => current,
            };
            tell_lost(&key, &loss, cx.path());
            if let Some(charged) = charged {
                let settled = self.settle(charged, Ended::Failed(fault(loss)), None, cx);
                self.go_on_or_keep(settled, &key, &mut errands)?;
            }
        }
        if !errands.is_empty() {
            self.make(key.clone(), errands, cx)?;
        }
        self.release(&key, cx)
    }

    /// If a loss ends the service, keeps what has not been begun, to be taken back: letters that
    /// were dropped here would have no end.
    fn go_on_or_keep(
        &mut self,
        settled: Result<(), Exit>,
        key: &Key,
        errands: &mut VecDeque<Handed<S>>,
    ) -> Result<(), Exit> {
        if settled.is_err() && !errands.is_empty() {
            let early = self.early.entry(key.clone());
            early.or_default().extend(errands.drain(..));
        }
        settled
    }

    /// There is no instance for this. Whoever gave it looks for what has waited for it.
    fn lose(&mut self, errand: Option<Handed<S>>, loss: Loss, cx: &Context<S>) -> Result<(), Exit> {
        let Some(errand) = errand else { return Ok(()) };
        tracing::error!(
            target: "callboard::host",
            service = cx.path(), key = %errand.key, failure = in_words(&loss),
            "no instance could be made for a key"
        );
        let charged = (errand.lose(), None);
        self.settle(charged, Ended::Failed(fault(loss)), None, cx)
    }

    pub(super) fn note_idle(&mut self, key: &Key) {
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
    pub(super) fn retire_idle(&mut self) {
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
            instance.orders.stop(Exit::Normal);
        }
    }

    /// Lets all instances finish what they are doing, and stops them in order.
    pub(super) async fn stop_all(&mut self, exit: &Exit, cx: &Context<S>) {
        self.recall();
        // None is made from now on: there is nothing left to be begun.
        for instance in self.instances.values() {
            instance.orders.stop(exit.clone());
        }
        self.life.mailbox.shut(true);
        loop {
            // The service ends already; but it may be to come back, and then not.
            if let Err(exit) = self.hear(cx)
                && cx.control.sealed().is_none()
            {
                cx.control.seal(&exit);
            }
            if self.instances.is_empty() {
                return;
            }
            let board = Rc::clone(&self.board);
            self.life.hear_of(|| !board.is_empty()).await;
        }
    }

    /// Takes back what no instance has begun: events are tried again, letters are queued.
    pub(super) fn recall(&mut self) {
        let mut errands: Vec<_> = mem::take(&mut self.early).into_values().flatten().collect();
        for instance in self.instances.values() {
            errands.extend(instance.orders.take_all());
        }
        let mut letters = Vec::new();
        for errand in errands {
            if let Some(letter) = errand.errand.into_letter() {
                self.letters_out.remove(&errand.work);
                letters.push(letter);
            } else if let Some(source) = self.take_back(errand.work) {
                self.put_back(source);
            }
        }
        letters.sort_by_key(|letter| letter.number());
        let letters = letters.into_iter().map(|letter| letter.into_mail());
        self.life.mailbox.letters.give_back(letters);
        self.life.mailbox.note_waiting();
        for key in self.instances.keys().cloned().collect::<Vec<_>>() {
            self.note_idle(&key);
        }
    }
}

fn fault(loss: Loss) -> Fault {
    match loss {
        Loss::Panicked(panic) => Fault::new(Trouble::Crashed, Failure::from(panic)),
        Loss::Failed(failure) => Fault::new(Trouble::Failed, failure),
    }
}

fn tell_lost(key: &Key, loss: &Loss, service: &str) {
    tracing::error!(
        target: "callboard::host",
        service, %key, failure = in_words(loss),
        "the instance of a key is lost"
    );
}

fn in_words(loss: &Loss) -> String {
    match loss {
        Loss::Panicked(panic) => panic.to_string(),
        Loss::Failed(failure) => failure.describe(),
    }
}
