//! How many bytes are allocated: the system's allocator, counted while somebody wants to know.
//!
//! The weighing of idle actors switches it on. It calls the system's allocator, and nothing else.
//!
//! Invariant: switched off, an allocation pays for one relaxed load. Crates that always count do so
//! with shared counters, which would slow down whoever allocates most.
//!
//! It keeps no statistics but the balance, and not by whom.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

struct Scales;

#[global_allocator]
static SCALES: Scales = Scales;
static COUNTING: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicIsize = AtomicIsize::new(0);

/// Begins to count.
pub fn start_counting() {
    BYTES.store(0, Relaxed);
    COUNTING.store(true, Relaxed);
}

/// Ends the counting: the bytes allocated since it began, less those freed.
pub fn stop_counting() -> isize {
    COUNTING.store(false, Relaxed);
    BYTES.load(Relaxed)
}

fn count(layout: Layout, sign: isize) {
    if COUNTING.load(Relaxed) {
        BYTES.fetch_add(sign * layout.size().cast_signed(), Relaxed);
    }
}

#[expect(
    unsafe_code,
    reason = "the trait is unsafe; both calls are handed on as they came"
)]
// SAFETY: every request goes to the system's allocator unchanged, and its answer comes back so.
unsafe impl GlobalAlloc for Scales {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout, 1);
        // SAFETY: what the caller promises us is what is promised here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(layout, -1);
        // SAFETY: `place` came from `alloc` above, hence from the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }
}
