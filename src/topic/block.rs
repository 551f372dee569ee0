//! A run of slots, each written once.
//!
//! The topic appends blocks and writes their slots; cursors and pins read them in place.
//!
//! Invariant: a slot, once written, never changes until the block is dropped, and a block does
//! not know its neighbours: holding one keeps no other.
//!
//! It does not know who has read it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::event::{Byline, Cause};
use crate::panic::guard;
use crate::sync::{Arc, WriteOnce};
use crate::topic::settlement::Settlement;

/// 64: enough to pay for the lock taken when a reader crosses into the next block, few enough
/// that a pinned event keeps little.
const SLOTS_MAX: usize = 64;
/// The first block of a topic; each next one doubles. Small for quiet topics with big events.
const SLOTS_MIN: usize = 4;
/// No block grows beyond this many bytes, so that big events are freed soon.
const BLOCK_BYTES: usize = 64 * 1024;

/// What is known of an event besides itself.
#[derive(Debug)]
pub(crate) struct Stamp {
    pub(crate) number: u64,
    /// Which of several workers handles it; 0 where no service has any.
    pub(crate) lane: u64,
    pub(crate) byline: Option<Byline>,
    pub(crate) span: Option<tracing::Id>,
    pub(crate) watch: Option<Arc<Settlement>>,
    /// When it was published, where somebody wants to know.
    pub(crate) at: Moment,
}

/// Nanoseconds since the board's start, plus one: half the size of an optional duration.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn new(since_start: Duration) -> Self {
        let nanos = u64::try_from(since_start.as_nanos());
        Moment(nanos.unwrap_or(u64::MAX - 1).saturating_add(1))
    }
}

impl Stamp {
    /// What was being handled when the event was published.
    #[inline]
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.byline.map(Byline::cause)
    }

    /// When the event was accepted, counted from the board's start, if that was noted.
    pub(crate) fn accepted(&self) -> Option<Duration> {
        self.at.0.checked_sub(1).map(Duration::from_nanos)
    }
}

/// One event and its stamp.
pub(crate) struct Slot<E> {
    pub(crate) stamp: Stamp,
    pub(crate) event: E,
}

/// Slots for the positions `start .. end`, one allocation for all of them. Clones are the same
/// block.
pub(crate) struct Block<E> {
    start: u64,
    slots: Arc<[Cell<E>]>,
}

/// Room for one slot.
struct Cell<E>(WriteOnce<Slot<E>>);

impl<E> Block<E> {
    /// The block that follows a block of `before` slots (0: the first of its topic).
    pub(crate) fn after(before: usize, start: u64) -> Self {
        let fitting = BLOCK_BYTES / size_of::<Cell<E>>().max(1);
        let most = fitting.clamp(1, SLOTS_MAX);
        let len = (before * 2).clamp(SLOTS_MIN, SLOTS_MAX).min(most);
        let slots = (0..len).map(|_| Cell(WriteOnce::new())).collect();
        Block { start, slots }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.slots.len() as u64
    }

    pub(crate) fn holds(&self, position: u64) -> bool {
        self.start <= position && position < self.end()
    }

    /// The slot at `position`, if it has been written.
    pub(crate) fn slot(&self, position: u64) -> Option<&Slot<E>> {
        self.cell(position)?.0.get()
    }

    fn cell(&self, position: u64) -> Option<&Cell<E>> {
        let index = position.checked_sub(self.start)?;
        self.slots.get(usize::try_from(index).ok()?)
    }

    /// The slots at these positions, as far as they are in this block and have been written.
    pub(crate) fn slots(&self, at: Range<u64>) -> impl Iterator<Item = &Slot<E>> {
        let index = |position: u64| usize::try_from(position.saturating_sub(self.start)).ok();
        let range = index(at.start).zip(index(at.end));
        let cells = range.and_then(|(from, to)| self.slots.get(from..to.min(self.slots.len())));
        cells
            .unwrap_or_default()
            .iter()
            .map_while(|cell| cell.0.get())
    }

    /// Writes what `make` returns at `position`. Only the holder of the topic's lock writes, each
    /// once. Made where it stays: moving it there took a tenth of a publish.
    #[inline]
    pub(crate) fn write(&self, position: u64, make: impl FnOnce() -> Slot<E>) {
        let mut written = false;
        if let Some(cell) = self.cell(position) {
            cell.0.write(|| {
                written = true;
                make()
            });
        }
        debug_assert!(written, "a slot is written once, inside its block");
    }
}

impl<E> fmt::Debug for Block<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}..{})", self.start, self.end())
    }
}

impl<E> Clone for Block<E> {
    fn clone(&self) -> Self {
        Block {
            start: self.start,
            slots: Arc::clone(&self.slots),
        }
    }
}

impl<E> Drop for Cell<E> {
    /// Drops the event guarded: a panicking `drop` of one event is nobody's failure, and two of
    /// them in one block must not abort the process.
    fn drop(&mut self) {
        if std::mem::needs_drop::<E>()
            && let Some(slot) = self.0.take()
        {
            let _ = guard(move || drop(slot));
        }
    }
}

/// Keeps one event readable: holds its block, and no other.
pub(crate) struct Pinned<E> {
    block: Block<E>,
    position: u64,
}

impl<E> Pinned<E> {
    /// Pins what is written at `position` of `block`.
    pub(crate) fn new(block: Block<E>, position: u64) -> Option<Self> {
        block.slot(position)?;
        Some(Pinned { block, position })
    }

    /// The slot that is pinned. `None` never happens: `new` has looked.
    pub(crate) fn slot(&self) -> Option<&Slot<E>> {
        self.block.slot(self.position)
    }
}

impl<E> Clone for Pinned<E> {
    fn clone(&self) -> Self {
        Pinned {
            block: self.block.clone(),
            position: self.position,
        }
    }
}

impl<E> fmt::Debug for Pinned<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({} in {:?})", self.position, self.block)
    }
}
