//! A service that blocks its thread over note 1 until it is let go.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use callboard::prelude::*;
use callboard::{And, On, ServiceSpec};

use crate::support_lives::Note;

pub(crate) struct Blocker {
    at: Sender<()>,
    free: Arc<Mutex<Receiver<()>>>,
}

/// How a test knows that the service blocks, and lets it go.
pub(crate) struct Reins {
    pub(crate) blocks: Receiver<()>,
    pub(crate) release: Sender<()>,
}

type Spec = ServiceSpec<Blocker, And<On<Note>, callboard::Nothing>>;

pub(crate) fn blocker(name: &str) -> (Spec, Reins) {
    let (make, reins) = recipe();
    (service(name, make).on::<Note>(), reins)
}

/// One with an instance for each key.
pub(crate) fn blocker_per_key(name: &str) -> (Spec, Reins) {
    let (make, reins) = recipe();
    let spec = service(name, make.clone()).on::<Note>();
    (spec.per_key(move |_| make()), reins)
}

fn recipe() -> (impl Fn() -> Blocker + Clone + Send + Sync + 'static, Reins) {
    let ((at, blocks), (release, free)) = (channel(), channel());
    let free = Arc::new(Mutex::new(free));
    let make = move || Blocker {
        at: at.clone(),
        free: Arc::clone(&free),
    };
    (make, Reins { blocks, release })
}

impl Service for Blocker {}

impl Handle<Note> for Blocker {
    async fn handle(&mut self, note: &Note, _: &mut Context<Self>) -> Outcome {
        if note.id == 1 {
            self.at.send(())?;
            self.free.lock().unwrap().recv()?;
        }
        Ok(())
    }
}
