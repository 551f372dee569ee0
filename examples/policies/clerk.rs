//! A clerk who handles jobs as planned, and writes down what happens.

use std::sync::{Arc, Mutex, PoisonError};

use callboard::ServiceSpec;
use callboard::prelude::*;

/// Something to be done.
pub(crate) struct Job(pub(crate) u64);
impl Event for Job {
    const NAME: &'static str = "job";
    fn key(&self) -> callboard::Key {
        self.0.into()
    }
}

/// What is told of a job.
pub(crate) struct Told(pub(crate) u64);
impl Event for Told {
    const NAME: &'static str = "told";
}

/// Asks for twice the number.
pub(crate) struct Double(pub(crate) u64);
impl Message for Double {
    type Reply = u64;
}

/// How a job goes.
pub(crate) enum Plan {
    Work,
    Fail,
    Hang,
    Later,
    FailLater,
    HangLater,
}

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, text: impl Into<String>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(text.into());
    }

    /// All that was written down, as one line.
    pub(crate) fn take(&self) -> String {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *lines).join(", ")
    }
}

pub(crate) struct Clerk {
    log: Log,
    plan: fn(u64, u32) -> Plan,
}

impl Clerk {
    pub(crate) fn new(log: &Log, plan: fn(u64, u32) -> Plan) -> Self {
        let log = log.clone();
        Clerk { log, plan }
    }
}

/// Describes a clerk.
pub(crate) fn clerk(name: &str, log: &Log, plan: fn(u64, u32) -> Plan) -> ServiceSpec<Clerk> {
    let log = log.clone();
    service(name, move || Clerk::new(&log, plan))
}

impl Service for Clerk {}

impl Handle<Job> for Clerk {
    async fn handle(&mut self, job: &Job, cx: &mut Context<Self>) -> Outcome {
        let job = job.0;
        self.log.note(format!("job {job} begins"));
        match (self.plan)(job, cx.attempt()) {
            Plan::Work => work().await,
            Plan::Fail => {
                self.log.note(format!("job {job} fails"));
                return Err(Failure::new("declined"));
            }
            Plan::Hang => std::future::pending().await,
            Plan::Later => return self.later(job, work(), true, cx),
            Plan::FailLater => return self.later(job, work(), false, cx),
            Plan::HangLater => return self.later(job, std::future::pending(), true, cx),
        }
        self.log.note(format!("job {job} ends"));
        Ok(())
    }
}

impl Clerk {
    fn later(
        &self,
        job: u64,
        work: impl Future<Output = ()> + 'static,
        succeeds: bool,
        cx: &mut Context<Self>,
    ) -> Outcome {
        cx.later(work, async move |clerk: &mut Self, (), _| {
            if succeeds {
                clerk.log.note(format!("job {job} ends"));
                return Ok(());
            }
            clerk.log.note(format!("job {job} fails"));
            Err(Failure::new("declined"))
        });
        Ok(())
    }
}

impl Handle<Told> for Clerk {
    async fn handle(&mut self, told: &Told, _: &mut Context<Self>) -> Outcome {
        work().await;
        self.log.note(format!("told of {}", told.0));
        Ok(())
    }
}

impl Handle<DeadLetter> for Clerk {
    async fn handle(&mut self, letter: &DeadLetter, _: &mut Context<Self>) -> Outcome {
        let job = letter.downcast_ref::<Job>().map_or(0, |job| job.0);
        self.log.note(format!("job {job} is given up"));
        Ok(())
    }
}

impl Answer<Double> for Clerk {
    async fn answer(&mut self, double: Double, _: &mut Context<Self>) -> Outcome<u64> {
        work().await;
        self.log.note("answered");
        Ok(double.0 * 2)
    }
}

/// Takes a moment.
async fn work() {
    tokio::time::sleep(millis(10)).await;
}
