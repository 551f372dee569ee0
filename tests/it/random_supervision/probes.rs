//! The services of a run, what they write down, and the tree they form.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use callboard::prelude::*;
use callboard::{And, Change, Child, Lifecycle, Nothing, On, ServiceSpec};
use tokio::time::sleep;

use super::plan::{Id, Job, Kind, ROOT, SCRIBE, Sketch};
use super::reference::{Deed, Line, StartDeed, StopDeed};
use crate::support_lives::boom;

/// What one service is told to do beforehand, and what it did.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) starts: VecDeque<StartDeed>,
    pub(crate) stops: VecDeque<StopDeed>,
    pub(crate) recipes: u32,
    pub(crate) handled: Vec<(u64, u32)>,
    /// How many lives it has at this moment.
    lives: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) pages: BTreeMap<String, Page>,
    pub(crate) lines: Vec<Line>,
    /// What must not happen and did.
    pub(crate) faults: Vec<String>,
}

pub(crate) type Shared = Arc<Mutex<Book>>;

pub(crate) fn open(book: &Shared) -> MutexGuard<'_, Book> {
    // A run that fails does so while it holds the book, and its services are dropped after it.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    pub(crate) fn page(&mut self, path: &str) -> &mut Page {
        self.pages.entry(path.to_owned()).or_default()
    }
}

/// An event for all, which means a deed for one.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) id: u64,
    pub(crate) to: String,
    pub(crate) deed: Deed,
}

impl Event for Word {
    const NAME: &'static str = "word";
}

pub(crate) struct Probe {
    book: Shared,
    path: String,
    job: Job,
}

type ProbeSpec = ServiceSpec<Probe, And<On<Word>, Nothing>>;

fn probe(book: &Shared, path: &str, sketch: &Sketch, job: Job) -> ProbeSpec {
    let (book, path) = (Arc::clone(book), path.to_owned());
    let recipe = move || Probe::new(&book, &path, job);
    let spec = service(sketch.name.clone(), recipe)
        .on::<Word>()
        .policy(Policy::new().retry(Retry::fixed(Duration::ZERO).attempts(job.attempts)))
        .restart(sketch.restart)
        .shutdown(job.shutdown);
    if sketch.significant {
        spec.significant()
    } else {
        spec
    }
}

impl Probe {
    fn new(book: &Shared, path: &str, job: Job) -> Self {
        let mut open = open(book);
        let page = open.page(path);
        if page.recipes > 0 {
            page.recipes -= 1;
            drop(open);
            boom();
        }
        page.lives += 1;
        if page.lives > 1 {
            open.faults.push(format!("{path} has two lives at once"));
        }
        Probe {
            book: Arc::clone(book),
            path: path.to_owned(),
            job,
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        open(&self.book).page(&self.path).lives -= 1;
    }
}

impl Service for Probe {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        sleep(millis(self.job.start_ms)).await;
        let deed = open(&self.book).page(&self.path).starts.pop_front();
        match deed {
            None => Ok(()),
            Some(StartDeed::Fail) => Err(Failure::new("no")),
            Some(StartDeed::Panic) => boom(),
            Some(StartDeed::Hang) => pending().await,
        }
    }

    async fn stopping(&mut self, _: &Exit, _: &mut Context<Self>) {
        if self.job.stop_ms > 0 {
            sleep(millis(self.job.stop_ms)).await;
        }
        let deed = open(&self.book).page(&self.path).stops.pop_front();
        match deed {
            None => {}
            Some(StopDeed::Panic) => boom(),
            Some(StopDeed::Hang) => pending().await,
        }
    }
}

impl Handle<Word> for Probe {
    async fn handle(&mut self, word: &Word, cx: &mut Context<Self>) -> Outcome {
        let attempt = cx.attempt();
        let handled = (word.id, attempt);
        open(&self.book).page(&self.path).handled.push(handled);
        if word.to != self.path {
            return Ok(());
        }
        match word.deed {
            Deed::Nap(time) => sleep(millis(time)).await,
            Deed::Panic { fuse, times } if attempt <= times => {
                sleep(millis(fuse)).await;
                boom()
            }
            Deed::Hang { times } if attempt <= times => pending().await,
            Deed::Stop { fuse } => {
                sleep(millis(fuse)).await;
                cx.stop();
            }
            Deed::Alarm { fuse, panics: true } => {
                cx.after(millis(fuse), async |_, _| boom());
            }
            Deed::Alarm { fuse, .. } => {
                cx.after(millis(fuse), async |_, _| Err(Failure::new("no")));
            }
            Deed::Nothing | Deed::Panic { .. } | Deed::Hang { .. } => {}
        }
        Ok(())
    }
}

/// Writes down what it is told of the others.
struct Scribe(Shared);

impl Service for Scribe {}

impl Handle<Lifecycle> for Scribe {
    async fn handle(&mut self, news: &Lifecycle, _: &mut Context<Self>) -> Outcome {
        let line = Line {
            at: u64::try_from(news.at().as_millis()).unwrap(),
            path: news.path().to_owned(),
            life: news.life(),
            change: Change::to_string(news.change()),
        };
        let mut book = open(&self.0);
        if !news.at().subsec_nanos().is_multiple_of(1_000_000) {
            book.faults
                .push(format!("not a whole time: {:?}", news.at()));
        }
        book.lines.push(line);
        Ok(())
    }
}

fn scribe(book: &Shared) -> Child {
    let book = Arc::clone(book);
    service("scribe", move || Scribe(Arc::clone(&book)))
        .on::<Lifecycle>()
        .policy(Policy::new().retry(Retry::never()))
        .into()
}

/// Makes the tree of these sketches.
pub(crate) fn tree(sketches: &[Sketch], book: &Shared) -> Supervisor {
    supervisor(sketches, ROOT, "root", book)
}

fn supervisor(sketches: &[Sketch], id: Id, path: &str, book: &Shared) -> Supervisor {
    let mut made = bare(&sketches[id], path, book);
    for child in 0..sketches.len() {
        if sketches[child].above != Some(id) {
            continue;
        }
        let below = format!("{path}/{}", sketches[child].name);
        made = match &sketches[child].kind {
            _ if child == SCRIBE => made.child(scribe(book)),
            Kind::Service(_) => made.child(added(&sketches[child], path, book)),
            Kind::Supervisor(_) => made.child(supervisor(sketches, child, &below, book)),
        };
    }
    made
}

/// A supervisor without children.
fn bare(sketch: &Sketch, path: &str, book: &Shared) -> Supervisor {
    let rules = sketch.rules().unwrap();
    let name = sketch.name.clone();
    let made = match rules.strategy {
        _ if rules.dynamic => {
            let (path, book) = (path.to_owned(), Arc::clone(book));
            Supervisor::dynamic(name, move |sketch: Sketch| added(&sketch, &path, &book))
        }
        callboard::Strategy::OneForAll => Supervisor::one_for_all(name),
        callboard::Strategy::RestForOne => Supervisor::rest_for_one(name),
        _ => Supervisor::one_for_one(name),
    };
    let made = made
        .max_restarts(rules.max_restarts, millis(rules.window_ms))
        .restart(sketch.restart)
        .auto_shutdown(rules.auto_shutdown);
    let made = match rules.shutdown {
        Some(how) => made.shutdown(how),
        None => made,
    };
    let made = match rules.pause {
        Some(pause) => made.backoff(pause.backoff(), millis(pause.stable_ms)),
        None => made,
    };
    if sketch.significant {
        made.significant()
    } else {
        made
    }
}

/// A child without children, below this path.
pub(crate) fn added(sketch: &Sketch, above: &str, book: &Shared) -> Child {
    let path = format!("{above}/{}", sketch.name);
    match sketch.kind {
        Kind::Service(job) => probe(book, &path, sketch, job).into(),
        Kind::Supervisor(_) => bare(sketch, &path, book).into(),
    }
}
