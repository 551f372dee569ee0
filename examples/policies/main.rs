//! What a service is concerned with, each handled synchronously (wait before going on) and
//! asynchronously (go on, hear of it later): `cargo run --example policies`.
//!
//! Each line is a small board of its own: a clerk handles job 1 and then job 2, and what is
//! printed is what the clerk, and whoever hears of it, wrote down in that order.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it is a program, and prints what it saw"
)]

mod clerk;

use callboard::prelude::*;
use callboard::{Fate, Reason};

use clerk::{Clerk, Double, Job, Log, Plan, Told, clerk};

type Seen = Result<String, Box<dyn std::error::Error>>;

/// A clerk under this policy, and a listener who hears what the clerk tells, on one thread.
fn office(log: &Log, plan: fn(u64, u32) -> Plan, policy: Policy) -> Supervisor {
    let listener = clerk("listener", log, |_, _| Plan::Work);
    let listener = listener.on::<Told>().on::<DeadLetter>();
    let spec = clerk("clerk", log, plan).on::<Job>().policy(policy);
    let office = Supervisor::one_for_one("office");
    Supervisor::one_for_one("house").child(office.child(listener).child(spec))
}

/// Publishes both jobs and tells what was written down until all was settled.
async fn both(root: Supervisor, log: &Log) -> Seen {
    let board = Board::start(root)?;
    board.publish_all([Job(1), Job(2)]).await?;
    board.settle().await?;
    let seen = log.take();
    let report = board.shutdown(secs(5)).await;
    assert_eq!(report.ledger.gap(), 0, "{report}");
    Ok(seen)
}

async fn jobs(plan: fn(u64, u32) -> Plan, policy: Policy) -> Seen {
    let log = Log::default();
    both(office(&log, plan, policy), &log).await
}

async fn ask() -> Seen {
    let spec = clerk("clerk", &Log::default(), |_, _| Plan::Work);
    let address = spec.address();
    let board = Board::start(Supervisor::one_for_one("office").child(spec))?;
    let answer = address.ask(Double(21)).await?;
    board.shutdown(secs(5)).await;
    Ok(format!("asked for twice 21, and waited for {answer}"))
}

async fn tell() -> Seen {
    let log = Log::default();
    let spec = clerk("clerk", &log, |_, _| Plan::Work);
    let address = spec.address();
    let board = Board::start(Supervisor::one_for_one("office").child(spec))?;
    address.tell(Double(21)).await?;
    log.note("went on");
    board.settle().await?;
    board.shutdown(secs(5)).await;
    Ok(log.take())
}

async fn parallel() -> Seen {
    let log = Log::default();
    let root = Supervisor::one_for_one("office");
    both(
        root.child(
            clerk("clerk", &log, |_, _| Plan::Work)
                .on::<Job>()
                .workers(2),
        ),
        &log,
    )
    .await
}

async fn per_key() -> Seen {
    let log = Log::default();
    let instance = log.clone();
    let spec = clerk("clerk", &log, |_, _| Plan::Work)
        .on::<Job>()
        .per_key(move |_| Clerk::new(&instance, |_, _| Plan::Work));
    both(Supervisor::one_for_one("office").child(spec), &log).await
}

async fn told(waited: bool) -> Seen {
    let log = Log::default();
    let board = Board::start(office(&log, |_, _| Plan::Work, Policy::new()))?;
    if waited {
        let settled = board.publish(Job(1)).settled().await?;
        assert!(settled.iter().all(|one| one.fate == Fate::Acknowledged));
    } else {
        board.publish(Job(1)).await?;
    }
    log.note("went on");
    board.settle().await?;
    board.shutdown(secs(5)).await;
    Ok(log.take())
}

fn once() -> Policy {
    Policy::new().retry(Retry::never())
}

fn twice() -> Retry {
    Retry::fixed(millis(20)).attempts(2)
}

fn compensate() -> OnFailure {
    OnFailure::discard().publish(|job: &Job, _: &Failure| Told(job.0))
}

fn announce() -> OnSuccess {
    OnSuccess::acknowledge().publish(|_: &Clerk, job: &Job| Told(job.0))
}

/// An event that is given up at last, and why.
async fn given_up(plan: fn(u64, u32) -> Plan) -> Seen {
    let log = Log::default();
    let board = Board::start(office(&log, plan, once()))?;
    board.publish_all([Job(1), Job(2)]).await?;
    board.settle().await?;
    let reasons: Vec<_> = board
        .dead_letters()
        .iter()
        .map(|one| one.reason())
        .collect();
    assert_eq!(reasons, [Reason::AttemptsUsedUp]);
    board.shutdown(secs(5)).await;
    Ok(log.take())
}

fn first_fails(job: u64, attempt: u32) -> Plan {
    if (job, attempt) == (1, 1) {
        Plan::Fail
    } else {
        Plan::Work
    }
}

fn first_fails_later(job: u64, _: u32) -> Plan {
    if job == 1 {
        Plan::FailLater
    } else {
        Plan::Work
    }
}

fn first_hangs(job: u64, _: u32) -> Plan {
    if job == 1 { Plan::Hang } else { Plan::Work }
}

fn first_hangs_later(job: u64, _: u32) -> Plan {
    if job == 1 {
        Plan::HangLater
    } else {
        Plan::Work
    }
}

fn print(concern: &str, how: &str, seen: Seen) -> Result<(), Box<dyn std::error::Error>> {
    println!("{concern:<16} {how:<34} {}", seen?);
    Ok(())
}

async fn ways_of_working() -> Result<(), Box<dyn std::error::Error>> {
    let works = |_, _| Plan::Work;
    print("communication", "ask", ask().await)?;
    print("", "tell", tell().await)?;
    print(
        "processing",
        "one after the other",
        jobs(works, once()).await,
    )?;
    print("", ".workers(2)", parallel().await)?;
    print("", ".per_key(..)", per_key().await)?;
    let not_yet = String::from("a log on disk or an engine: not yet");
    print("storage", "in memory", Ok(not_yet))?;
    print(
        "result",
        "the handler is awaited",
        jobs(works, once()).await,
    )?;
    print("", "cx.later(..)", jobs(|_, _| Plan::Later, once()).await)?;
    print("telling", "publish(..).settled().await", told(true).await)?;
    print("", "publish(..).await", told(false).await)
}

async fn ways_of_failing() -> Result<(), Box<dyn std::error::Error>> {
    let judged = given_up(first_fails).await;
    print("error", "judged before the next event", judged)?;
    let judged = given_up(first_fails_later).await;
    print("", "judged when the later work ends", judged)?;
    let in_place = Policy::new().retry(twice());
    print("retry", "in place", jobs(first_fails, in_place).await)?;
    let deferred = Policy::new().retry(twice().deferred());
    print("", ".deferred()", jobs(first_fails, deferred).await)?;
    let hurry = || once().timeout(millis(40));
    let cancelled = jobs(first_hangs, hurry()).await;
    print("timeout", "the handler is cancelled", cancelled)?;
    let cancelled = jobs(first_hangs_later, hurry()).await;
    print("", "later work is cancelled", cancelled)
}

async fn ways_of_following_up() -> Result<(), Box<dyn std::error::Error>> {
    let works = |_, _| Plan::Work;
    for (concern, how, then) in [
        (
            "failure policy",
            ".publish(..).waited()",
            compensate().waited(),
        ),
        ("", ".publish(..)", compensate()),
    ] {
        print(concern, how, jobs(first_fails, once().failure(then)).await)?;
    }
    for (concern, how, then) in [
        (
            "success policy",
            ".publish(..).waited()",
            announce().waited(),
        ),
        ("", ".publish(..)", announce()),
    ] {
        print(concern, how, jobs(works, once().success(then)).await)?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ways_of_working().await?;
    ways_of_failing().await?;
    ways_of_following_up().await
}
