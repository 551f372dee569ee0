//! One life of a service, from its recipe to its end.

use super::*;

impl Reference {
    /// A life begins: its recipe is called, then `started`.
    pub(super) fn begin_life(&mut self, id: Id) {
        let job = self.nodes[id].sketch.job().unwrap();
        let now = self.now;
        let worker = &mut self.nodes[id].worker;
        // One that had ended for good hears what is published from now on.
        worker.open = true;
        (worker.doing, worker.stop, worker.drain) = (Doing::Starting, false, None);
        (worker.retires, worker.killer) = (false, None);
        if worker.recipes > 0 {
            worker.recipes -= 1;
            self.mark("a panic in a recipe");
            return self.die(id, End::Panicked, false);
        }
        worker.until = Some(now + job.start_ms);
        if job.start_ms == 0 {
            worker.until = None;
            self.be_done(id);
        }
    }

    /// What it was doing has taken its time.
    pub(super) fn be_done(&mut self, id: Id) {
        match self.nodes[id].worker.doing {
            Doing::Starting => self.end_start(id),
            Doing::HangingStart => self.die(id, End::TimedOut, false),
            Doing::Handling => self.end_handling(id),
            Doing::Stopping if self.nodes[id].worker.is_cut_off => {
                self.mark("a stopping that is cut off");
                let end = self.nodes[id].worker.end.clone();
                self.die(id, end, false);
            }
            Doing::Stopping => self.end_stop(id),
            Doing::Nothing | Doing::Resting => unreachable!(),
        }
    }

    pub(super) fn end_start(&mut self, id: Id) {
        let job = self.nodes[id].sketch.job().unwrap();
        let worker = &mut self.nodes[id].worker;
        match worker.starts.pop_front() {
            Some(StartDeed::Fail) => self.die(id, End::Failed, false),
            Some(StartDeed::Panic) => self.die(id, End::Panicked, false),
            Some(StartDeed::Hang) => {
                worker.doing = Doing::HangingStart;
                worker.until = Some(self.now + START_WAIT - job.start_ms);
            }
            None => {
                worker.doing = Doing::Resting;
                self.news.push_back(News::Started(id));
                self.work(id);
            }
        }
    }

    /// It looks for what it has to do: orders first, then timers, then events in their order.
    pub(super) fn work(&mut self, id: Id) {
        while self.nodes[id].worker.doing == Doing::Resting {
            let now = self.now;
            let worker = &mut self.nodes[id].worker;
            let ordered = worker.stop || (worker.drain.is_some() && worker.suspended);
            let next = worker.queue.front().copied();
            let below = worker.drain.unwrap_or(u64::MAX);
            let mut alarms = worker.alarms.clone();
            alarms.sort_unstable();
            if ordered {
                self.begin_stop(id, End::Shutdown);
            } else if worker.retires {
                self.begin_stop(id, End::Normal);
            } else if worker.suspended {
                return;
            } else if let Some((_, panics)) = alarms.first().filter(|(at, _)| *at <= now) {
                match panics {
                    true => self.die(id, End::Panicked, false),
                    false => self.begin_stop(id, End::Failed),
                }
            } else if let Some(item) = next.filter(|item| item.event < below) {
                self.handle(id, item);
            } else if worker.drain.is_some() {
                self.begin_stop(id, End::Shutdown);
            } else {
                return;
            }
        }
    }

    pub(super) fn handle(&mut self, id: Id, item: Item) {
        let now = self.now;
        let worker = &mut self.nodes[id].worker;
        worker.handled.push((item.event, item.attempt));
        worker.doing = Doing::Handling;
        worker.until = match item.deed {
            Deed::Nap(time) => Some(now + time),
            Deed::Panic { fuse, times } if item.attempt <= times => Some(now + fuse),
            Deed::Hang { times } if item.attempt <= times => return,
            Deed::Stop { fuse } => Some(now + fuse),
            Deed::Alarm { fuse, panics } => {
                worker.alarms.push((now + fuse, panics));
                None
            }
            Deed::Nothing | Deed::Panic { .. } | Deed::Hang { .. } => None,
        };
        if worker.until.is_none() {
            self.end_handling(id);
        }
    }

    pub(super) fn end_handling(&mut self, id: Id) {
        let worker = &mut self.nodes[id].worker;
        let item = *worker.queue.front().unwrap();
        match item.deed {
            Deed::Panic { times, .. } if item.attempt <= times => {
                return self.die(id, End::Panicked, true);
            }
            Deed::Stop { .. } => worker.retires = true,
            _ => {}
        }
        worker.queue.pop_front();
        worker.counts.acknowledged += 1;
        worker.doing = Doing::Resting;
        self.work(id);
    }

    pub(super) fn begin_stop(&mut self, id: Id, end: End) {
        let job = self.nodes[id].sketch.job().unwrap();
        let worker = &mut self.nodes[id].worker;
        let by_itself = end != End::Shutdown;
        (worker.doing, worker.end) = (Doing::Stopping, end);
        let limit = match job.shutdown {
            Shutdown::Kill => 5_000,
            timed => time(timed),
        };
        worker.farewell = by_itself.then_some(self.now + limit);
        worker.is_cut_off = by_itself && job.stop_ms > limit;
        worker.until = Some(self.now + job.stop_ms.min(if by_itself { limit } else { Ms::MAX }));
        if job.stop_ms == 0 {
            worker.until = None;
            self.end_stop(id);
        }
    }

    pub(super) fn end_stop(&mut self, id: Id) {
        let worker = &mut self.nodes[id].worker;
        let end = worker.end.clone();
        match worker.stops.pop_front() {
            None => self.die(id, end, false),
            Some(StopDeed::Panic) => {
                self.mark("a crash in stopping");
                self.die(id, End::Panicked, false);
            }
            Some(StopDeed::Hang) => {
                worker.until = worker.farewell;
                worker.is_cut_off = true;
                self.mark("a hang in stopping");
            }
        }
    }

    /// The life is over. An attempt counts only if the handler is to blame for it; else the event
    /// is in the mailbox again as if nobody had touched it.
    pub(super) fn die(&mut self, id: Id, end: End, blames_event: bool) {
        let job = self.nodes[id].sketch.job().unwrap();
        let worker = &mut self.nodes[id].worker;
        if worker.doing == Doing::Nothing {
            return;
        }
        if worker.doing == Doing::Handling
            && blames_event
            && let Some(item) = worker.queue.front_mut()
        {
            item.attempt += 1;
            if item.attempt > job.attempts {
                worker.queue.pop_front();
                worker.counts.dead += 1;
            }
        }
        let in_start = matches!(worker.doing, Doing::Starting | Doing::HangingStart);
        worker.doing = Doing::Nothing;
        (worker.until, worker.killer) = (None, None);
        (worker.farewell, worker.is_cut_off) = (None, false);
        worker.alarms.clear();
        if in_start && end.is_abnormal() && end != End::Killed {
            self.mark("a crash in started");
        }
        self.news.push_back(News::Ended(id, end));
    }

    pub(crate) fn counts(&self, id: Id) -> Counts {
        let worker = &self.nodes[id].worker;
        let in_flight = u64::from(worker.doing == Doing::Handling);
        Counts {
            waiting: worker.queue.len() as u64 - in_flight,
            in_flight,
            ..worker.counts
        }
    }
}
