//! What the instances of a keyed life report, and what follows for their events.
//!
//! The life calls it between two looks at its mailbox.
//!
//! Invariant: each errand that was handed out is settled, or judged, once.
//!
//! It makes no instance: whoever is lost is replaced when there is something for its key.

use super::KeyedLife;
use crate::event::Key;
use crate::exit::Exit;
use crate::host::instance::{Current, News, What};
use crate::mailbox::source::Ruling;
use crate::service::errand::Ended;
use crate::service::{Context, Deliver, Fault, Service};
use crate::topic::tally::Count;

impl<S: Service, L: Deliver<S>> KeyedLife<S, L> {
    /// Settles what the instances have reported.
    pub(super) fn hear(&mut self, cx: &Context<S>) -> Result<(), Exit> {
        while let Some(News {
            key,
            instance,
            what,
        }) = self.board.take()
        {
            match what {
                What::Ended { current, ended } => {
                    let settled = self.settle(current, ended, Some(&key), cx);
                    if let Some(instance) = self.instances.get(&key) {
                        instance.orders.note_verdict();
                    }
                    settled?;
                    self.release(&key, cx)?;
                    self.note_idle(&key);
                }
                What::Free => self.note_idle(&key),
                What::Gone(gone) => self.bury(key, instance, gone, cx)?,
            }
            self.life.mailbox.note_waiting();
        }
        Ok(())
    }

    /// Settles one errand, that began then, if that matters. A verdict against the worker costs
    /// the instance of the key.
    pub(super) fn settle(
        &mut self,
        (work, began): Current,
        ended: Ended,
        key: Option<&Key>,
        cx: &Context<S>,
    ) -> Result<(), Exit> {
        if self.letters_out.remove(&work) {
            match ended {
                Ended::Answered(unanswered) => self.life.settle_letter(unanswered, cx),
                Ended::TooLate => self.life.count_letter(Count::Expired),
                // Its instance was lost: whoever asked has heard so.
                _ => self.life.count_letter(Count::Failed),
            }
            return Ok(());
        }
        let Some(source) = self.take_back(work) else {
            return Ok(());
        };
        if let Some(began) = began.filter(|_| !matches!(ended, Ended::TooLate)) {
            self.life.mailbox.with(source, |one| one.note_first(began));
        }
        match ended {
            Ended::Handled { late } => {
                self.life.mailbox.with(source, |one| one.finish(late));
                Ok(())
            }
            Ended::Failed(fault) => self.judge(fault, key, cx),
            // Its source sees that, too, and gives it up.
            Ended::TooLate => {
                self.put_back(source);
                Ok(())
            }
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

    /// Settles what was done and has been reported, though the life has ended before it heard so.
    /// What is to be judged is not: it was cut short with the life, as what is still being done.
    pub(super) fn settle_unheard(&mut self) {
        while let Some(news) = self.board.take() {
            let What::Ended {
                current: (work, _),
                ended,
            } = news.what
            else {
                continue;
            };
            if self.letters_out.remove(&work) {
                self.life.count_letter(match ended {
                    Ended::Answered(None) => Count::Done,
                    Ended::TooLate => Count::Expired,
                    _ => Count::Failed,
                });
                continue;
            }
            if ended.is_judged() {
                continue;
            }
            let Some(source) = self.take_back(work) else {
                continue;
            };
            match ended {
                Ended::Handled { late } => {
                    self.life.mailbox.with(source, |one| one.finish(late));
                }
                _ => self.put_back(source),
            }
        }
    }

    /// Takes an event back that was out, unless its subscription has ended meanwhile. Returns its
    /// source, in which it is in flight.
    pub(super) fn take_back(&mut self, work: u64) -> Option<usize> {
        let event = self.out.remove(&work)?;
        let mailbox = &mut *self.life.mailbox;
        let source = mailbox.source_of(event)?;
        let is_back = mailbox.with(source, |one| one.take_back(work))?;
        is_back.then_some(source)
    }

    /// What was taken back has not been begun, and waits as before.
    pub(super) fn put_back(&mut self, source: usize) {
        let now = self.life.pulse.clock.now();
        self.life.mailbox.with(source, |one| one.put_back(now));
    }

    pub(super) fn judge(
        &mut self,
        fault: Fault,
        key: Option<&Key>,
        cx: &Context<S>,
    ) -> Result<(), Exit> {
        let judged = self.life.judge(fault, cx);
        self.suffer(judged, key)
    }

    pub(super) fn carry_out(
        &mut self,
        ruling: Ruling,
        key: Option<&Key>,
        cx: &Context<S>,
    ) -> Result<(), Exit> {
        let carried_out = self.life.carry_out(ruling, cx);
        self.suffer(carried_out, key)
    }

    /// What ends a whole service ends it; what would restart one costs the instance of the key.
    pub(super) fn suffer(
        &mut self,
        judged: Result<(), Exit>,
        key: Option<&Key>,
    ) -> Result<(), Exit> {
        match judged {
            Err(exit @ (Exit::Retired(_) | Exit::Fatal(_))) => Err(exit),
            Err(exit) => {
                if let Some(instance) = key.and_then(|key| self.instances.get(key)) {
                    instance.orders.stop(exit);
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
