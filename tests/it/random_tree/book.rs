//! What should have happened so far, kept by everybody who plays.
//!
//! It is a model of its own: queues, attempts and outcomes are derived from what was published
//! and from what handlers saw, never from the board. What does not fit is noted as a fault, since
//! a panic inside a handler would only be one more panic for the board to survive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use callboard::{Fate, Overflow};

use super::plan::{Act, End, Mode, Plan, TOPICS};

/// One service's subscriptions to one event type, taken together.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) open: bool,
    /// Its end was asked for; events may still be accepted, that nobody will handle.
    pub(crate) ending: bool,
    /// It was ended at least once, by itself.
    pub(crate) ended: bool,
    /// Something was published meanwhile: its counts are no longer known to the last one.
    pub(crate) vague: bool,
    pub(crate) queue: VecDeque<u64>,
    /// Given back, and not yet taken up again.
    pub(crate) returned: VecDeque<u64>,
    pub(crate) accepted: u64,
    pub(crate) acknowledged: u64,
    pub(crate) dead: u64,
    pub(crate) shed: u64,
    pub(crate) undelivered: u64,
    pub(crate) retried: u64,
}

/// The delivery that a service is at: being handled, or to be tried again.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) topic: usize,
    pub(crate) event: u64,
    pub(crate) round: u32,
    tries: Vec<End>,
    pub(crate) running: bool,
}

/// What is known of one service.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    pub(crate) lanes: [Lane; TOPICS],
    pub(crate) current: Option<Current>,
    /// When the youngest of its first attempts was published.
    youngest: u64,
    rounds: BTreeMap<u64, u32>,
    pub(crate) lives: u32,
    pub(crate) letters: Letters,
    pub(crate) mourned: Vec<u64>,
}

/// Letters to one service.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    pub(crate) accepted: u64,
    pub(crate) begun: BTreeSet<u64>,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) given_up: u64,
    last_told: u64,
}

/// A delivery that is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finished {
    pub(crate) service: usize,
    pub(crate) topic: usize,
    pub(crate) event: u64,
    pub(crate) round: u32,
}

#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) plan: Plan,
    pub(crate) casts: Vec<Cast>,
    pub(crate) faults: Vec<String>,
    pub(crate) finished: BTreeMap<Finished, (bool, Vec<End>)>,
    pub(crate) fates: BTreeMap<(usize, u64), Fate>,
    pub(crate) published: [u64; TOPICS],
    /// When each event was published, counted from 1.
    seen: BTreeMap<u64, u64>,
    next_event: u64,
    next_letter: u64,
    trace: DefaultHasher,
    pub(crate) handled: u64,
    pub(crate) redriven: u64,
    /// The board is being shut down: who still hears what is published is no longer known.
    pub(crate) closing: bool,
    /// How an attempt ended could not be told.
    pub(crate) unsure: bool,
}

impl Book {
    pub(crate) fn new(plan: Plan) -> Self {
        let cast = |role: &super::plan::Role| Cast {
            lanes: role.on.map(|open| Lane {
                open,
                ..Lane::default()
            }),
            ..Cast::default()
        };
        Book {
            casts: plan.roles.iter().map(cast).collect(),
            plan,
            faults: Vec::new(),
            finished: BTreeMap::new(),
            fates: BTreeMap::new(),
            published: [0; TOPICS],
            seen: BTreeMap::new(),
            next_event: 0,
            next_letter: 0,
            trace: DefaultHasher::new(),
            handled: 0,
            redriven: 0,
            closing: false,
            unsure: false,
        }
    }

    /// Whether queues can be told exactly: not when subtrees end and come back by themselves.
    pub(crate) fn is_exact(&self) -> bool {
        self.plan.mode != Mode::GivingUp
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub(crate) fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    pub(crate) fn next_event(&mut self) -> Option<u64> {
        self.next_event += 1;
        (self.next_event <= self.plan.most_events).then_some(self.next_event)
    }

    pub(crate) fn next_letter(&mut self) -> u64 {
        self.next_letter += 1;
        self.next_letter
    }

    /// Whether a publisher must find room: `None` where that cannot be told.
    pub(crate) fn has_room(&self, topic: usize) -> Option<bool> {
        let lanes = || self.casts.iter().map(|cast| &cast.lanes[topic]);
        if !self.is_exact() || self.closing || lanes().any(|lane| lane.ending) {
            return None;
        }
        let roles = self.plan.roles.iter().map(|role| role.terms[topic]);
        let mut both = lanes().zip(roles);
        Some(both.all(|(lane, terms)| {
            !lane.open
                || terms.overflow == Overflow::DropOldest
                || lane.queue.len() < terms.capacity
        }))
    }

    /// An event was accepted.
    pub(crate) fn accept(&mut self, topic: usize, event: u64, room: Option<bool>) {
        if room == Some(false) {
            self.fault(format!(
                "event {event} was accepted where there was no room"
            ));
        }
        let at = self.seen.len() as u64 + 1;
        self.seen.insert(event, at);
        self.published[topic] += 1;
        (topic, event, "accepted").hash(&mut self.trace);
        for (service, cast) in self.casts.iter_mut().enumerate() {
            let lane = &mut cast.lanes[topic];
            lane.vague |= lane.ending || self.closing;
            if !lane.open {
                continue;
            }
            lane.accepted += 1;
            lane.queue.push_back(event);
            let terms = self.plan.roles[service].terms[topic];
            if terms.overflow == Overflow::DropOldest && lane.queue.len() > terms.capacity {
                lane.shed += 1;
                if let Some(passed) = lane.queue.pop_front() {
                    self.fates.insert((service, passed), Fate::Shed);
                }
            }
        }
    }

    /// An event was refused for want of room.
    pub(crate) fn refuse(&mut self, topic: usize, event: u64, room: Option<bool>) {
        (topic, event, "refused").hash(&mut self.trace);
        if room == Some(true) {
            self.fault(format!("event {event} was refused where there was room"));
        }
    }

    pub(crate) fn subscribe(&mut self, service: usize, topic: usize, made: bool) {
        let lane = &mut self.casts[service].lanes[topic];
        let expected = !lane.open;
        lane.open |= made;
        if made != expected && self.is_exact() {
            self.fault(format!("{service} subscribed to {topic}: {made}"));
        }
    }

    pub(crate) fn unsubscribe(&mut self, service: usize, topic: usize, ended: bool) {
        let cast = &mut self.casts[service];
        let lane = &mut cast.lanes[topic];
        let expected = lane.open;
        if ended {
            lane.open = false;
            lane.vague |= lane.ending;
            lane.ending = true;
            lane.ended = true;
            lane.undelivered += (lane.queue.len() + lane.returned.len()) as u64;
            for event in lane.queue.drain(..) {
                self.fates.insert((service, event), Fate::Undelivered);
            }
            lane.returned.clear();
            let waiting = |now: &mut Current| now.topic == topic && !now.running;
            if let Some(now) = cast.current.take_if(waiting) {
                lane.undelivered += 1;
                self.fates.insert((service, now.event), Fate::Undelivered);
            }
        }
        if ended != expected && self.is_exact() {
            self.fault(format!("{service} unsubscribed from {topic}: {ended}"));
        }
    }

    /// A service begins with something, so what it had asked for has been done.
    pub(crate) fn moves_on(&mut self, service: usize) {
        for lane in &mut self.casts[service].lanes {
            lane.ending = false;
        }
    }

    /// A handler begins: what it is to do.
    pub(crate) fn begin(
        &mut self,
        service: usize,
        topic: usize,
        event: u64,
        attempt: u32,
        redriven: bool,
    ) -> (Act, u32) {
        self.moves_on(service);
        self.handled += 1;
        (service, topic, event, attempt, redriven).hash(&mut self.trace);
        let place = format!("service {service}, topic {topic}, event {event}, attempt {attempt}");
        if !self.seen.contains_key(&event) {
            self.fault(format!("{place}: handled before it was accepted"));
        }
        let lenient = !self.is_exact();
        let cast = &mut self.casts[service];
        let same =
            |now: &Current| (now.topic, now.event, now.round > 0) == (topic, event, redriven);
        let mut current = match cast.current.take() {
            Some(now) if same(&now) => now,
            other => {
                let dropped = other.is_some() && !lenient;
                let fresh = self.take(service, topic, event, redriven);
                if dropped {
                    self.fault(format!("{place}: {other:?} was left for it"));
                }
                fresh
            }
        };
        let expected = u32::try_from(current.tries.len()).unwrap() + 1;
        if current.running || attempt != expected {
            self.fault(format!(
                "{place}: expected attempt {expected} of {current:?}"
            ));
        }
        if expected > 1 {
            self.casts[service].lanes[topic].retried += 1;
        }
        current.running = true;
        let round = current.round;
        self.casts[service].current = Some(current);
        (self.plan.act(service, event, round, attempt), round)
    }

    /// A delivery is taken out of its queue: the oldest of its topic, and none younger was before.
    fn take(&mut self, service: usize, topic: usize, event: u64, redriven: bool) -> Current {
        let lenient = !self.is_exact();
        let cast = &mut self.casts[service];
        let lane = &mut cast.lanes[topic];
        let mut fault = None;
        let mut round = 0;
        if redriven {
            match lane.returned.iter().position(|one| *one == event) {
                Some(index) => drop(lane.returned.remove(index)),
                None if lenient => {}
                None => fault = Some("was not given back"),
            }
            let rounds = cast.rounds.entry(event).or_default();
            *rounds += 1;
            round = *rounds;
        } else {
            let queued = lane.queue.iter().position(|one| *one == event);
            if let Some(index) = queued {
                lane.queue.drain(..=index);
            }
            if !lenient && queued.is_none() && lane.ended {
                fault = Some("was handled after its subscription had ended");
            } else if !lenient && queued != Some(0) {
                fault = Some("was not the oldest in its queue");
            }
            let at = self.seen.get(&event).copied().unwrap_or_default();
            if at <= cast.youngest {
                fault = Some("came after one that was published later");
            }
            cast.youngest = cast.youngest.max(at);
        }
        if let Some(fault) = fault {
            self.fault(format!(
                "service {service}, topic {topic}: event {event} {fault}"
            ));
        }
        Current {
            topic,
            event,
            round,
            tries: Vec::new(),
            running: false,
        }
    }

    /// A handler has ended, one way or another; what follows is this model's own verdict.
    pub(crate) fn end(&mut self, service: usize, end: End) {
        (service, end).hash(&mut self.trace);
        let Some(mut now) = self.casts[service].current.take() else {
            return self.fault(format!("service {service} ended nothing"));
        };
        now.running = false;
        let (most, _) = self.plan.rules(service, now.topic);
        if end != End::Interrupted {
            now.tries.push(end);
        }
        let lane = &mut self.casts[service].lanes[now.topic];
        let fate = match end {
            End::Done => Some(Fate::Acknowledged),
            End::Permanent => Some(Fate::DeadLettered),
            _ if now.tries.len() >= most as usize => Some(Fate::DeadLettered),
            // Its subscription ends before it can be tried again.
            _ if lane.ending => Some(Fate::Undelivered),
            _ => None,
        };
        let Some(fate) = fate else {
            self.casts[service].current = Some(now);
            return;
        };
        match fate {
            Fate::Acknowledged => lane.acknowledged += 1,
            Fate::DeadLettered => lane.dead += 1,
            _ => lane.undelivered += 1,
        }
        self.fates.entry((service, now.event)).or_insert(fate);
        if fate != Fate::Undelivered {
            self.finish(service, now, fate == Fate::Acknowledged);
        }
    }

    fn finish(&mut self, service: usize, now: Current, succeeded: bool) {
        let key = Finished {
            service,
            topic: now.topic,
            event: now.event,
            round: now.round,
        };
        let found = (succeeded, now.tries);
        let predicted = self.plan.predict(service, now.topic, now.event, now.round);
        if found != predicted {
            self.fault(format!("{key:?} ended as {found:?}, not as {predicted:?}"));
        }
        if self.finished.insert(key.clone(), found).is_some() {
            self.fault(format!("{key:?} ended twice"));
        }
    }

    /// A letter begins to be answered.
    pub(crate) fn begin_letter(&mut self, service: usize, letter: u64, told: bool) {
        self.moves_on(service);
        (service, letter, "letter").hash(&mut self.trace);
        let letters = &mut self.casts[service].letters;
        let again = !letters.begun.insert(letter);
        let late = told && letter <= letters.last_told;
        if told {
            letters.last_told = letter;
        }
        if again || late {
            self.fault(format!(
                "service {service}: letter {letter} again, or too late"
            ));
        }
    }

    /// What was open when the board ended is undelivered.
    pub(crate) fn close(&mut self) {
        for cast in &mut self.casts {
            let current = cast.current.take();
            for (topic, lane) in cast.lanes.iter_mut().enumerate() {
                let open = current.as_ref().is_some_and(|now| now.topic == topic);
                lane.undelivered += (lane.queue.len() + lane.returned.len()) as u64;
                lane.undelivered += u64::from(open);
                lane.queue.clear();
                lane.returned.clear();
                lane.open = false;
            }
        }
    }
}
