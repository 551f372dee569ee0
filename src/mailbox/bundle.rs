//! A queue that keeps its items in bundles: of one type each, one item and as many as a KiB holds.
//!
//! Senders add to it under a lock; the reader takes all of it, and gives back the room of a bundle
//! that it has emptied. So an item takes no box of its own, and mostly no room that is new.
//!
//! Invariant: of what was queued a bundle on each side stays allocated, however much it was.
//!
//! It counts nothing.

use std::collections::VecDeque;
use std::iter;

use crate::panic::bury;

/// How many bytes of items a bundle has beside its first, at most, unless one alone has more:
/// enough to make a box for all of them cheap, and little to be kept by each service that was ever
/// sent something.
const BYTES: usize = 1_024;

/// How many bundles the queue keeps room for.
const KEPT: usize = 32;

/// A bundle whose type is not known here.
pub(crate) trait AnyBundle {
    /// One of the items, by itself.
    type Item;
    /// The number of the oldest item, if there is one.
    fn head(&self) -> Option<u64>;
    /// Takes out the oldest item.
    fn take(&mut self) -> Option<Self::Item>;
    /// Whether it may be kept when it is empty.
    fn is_small(&self) -> bool;
}

/// An item that is kept with others of its type, in bundles that are known as `B`.
pub(crate) trait Bundled<B: ?Sized>: Sized {
    fn wrap(bundle: Box<Bundle<Self>>) -> Box<B>;
    /// The bundle, if it is one of such items.
    fn among(bundle: &mut B) -> Option<&mut Bundle<Self>>;
    /// Takes its number.
    fn enter(&mut self, number: u64);
}

/// Items of one type, the oldest first.
#[derive(Debug)]
pub(crate) struct Bundle<T> {
    /// Mostly there is one, and it is here: then the box of the bundle is all it takes.
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Bundle<T> {
    /// How many it has at most, beside the first: a power of two, since its room is doubled as it
    /// grows.
    const MOST: usize = most(size_of::<T>());

    fn new() -> Self {
        Bundle {
            first: None,
            rest: VecDeque::new(),
        }
    }

    pub(crate) fn of(item: T) -> Box<Self> {
        let mut bundle = Bundle::new();
        bundle.first = Some(item);
        Box::new(bundle)
    }

    #[inline(always)]
    fn push(&mut self, item: T) {
        if self.is_empty() {
            self.first = Some(item);
        } else {
            if Self::MOST < 4 && self.rest.capacity() == 0 {
                // Else it would have room for 4 of them, and be too large to be kept.
                self.rest.reserve_exact(Self::MOST);
            }
            self.rest.push_back(item);
        }
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.rest.len() < Self::MOST
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn first(&self) -> Option<&T> {
        self.first.as_ref().or_else(|| self.rest.front())
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.first.take().or_else(|| self.rest.pop_front())
    }

    pub(crate) fn is_small(&self) -> bool {
        let room = size_of::<Option<T>>() + self.rest.capacity() * size_of::<T>();
        room <= 2 * BYTES
    }
}

impl<T> Drop for Bundle<T> {
    /// Mostly it is empty. What is left of a mailbox that was never closed is dropped guarded: two
    /// that panic in their `drop` must not abort the process.
    fn drop(&mut self) {
        bury(iter::from_fn(|| self.pop()));
    }
}

const fn most(size: usize) -> usize {
    let fit = BYTES.checked_div(size);
    let mut most = 1;
    while let Some(fit) = fit
        && most < 32
        && most * 2 <= fit
    {
        most *= 2;
    }
    most
}

/// The senders' side.
#[derive(Debug)]
pub(crate) struct Bundles<B: ?Sized> {
    /// How many items there are.
    len: usize,
    /// The bundle that is added to; it may be empty.
    last: Option<Box<B>>,
    /// Those before it, which are not.
    older: VecDeque<Box<B>>,
}

impl<B: ?Sized> Default for Bundles<B> {
    fn default() -> Self {
        Bundles {
            len: 0,
            last: None,
            older: VecDeque::new(),
        }
    }
}

impl<B: AnyBundle + ?Sized> Bundles<B> {
    /// Looks for its bundle twice, so that what begins one has no part of the item: it would have
    /// to be in memory, and could not be written out of registers where it stays.
    #[inline(always)]
    pub(crate) fn push<T: Bundled<B>>(&mut self, item: T) {
        let last = self.last.as_deref_mut().and_then(T::among);
        if !last.is_some_and(|last| last.has_room()) {
            self.begin::<T>();
        }
        if let Some(last) = self.last.as_deref_mut().and_then(T::among) {
            last.push(item);
            self.len += 1;
        }
    }

    /// Begins a bundle; with all the room that it may have after one of its like that is full.
    #[cold]
    fn begin<T: Bundled<B>>(&mut self) {
        let before = self.last.take().filter(|last| last.head().is_some());
        let mut next = Bundle::new();
        self.older.extend(before);
        let before = self.older.back_mut().and_then(|before| T::among(before));
        if before.is_some_and(|before| !before.has_room()) {
            next.rest.reserve_exact(Bundle::<T>::MOST);
        }
        self.last = Some(T::wrap(Box::new(next)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The reader's side: what it has taken.
#[derive(Debug)]
pub(crate) struct Taken<B: ?Sized> {
    /// How many items there are.
    len: usize,
    /// The bundle that is read; it is empty only if there are no items.
    front: Option<Box<B>>,
    /// Those after it, which are not.
    behind: VecDeque<Box<B>>,
}

impl<B: AnyBundle + ?Sized> Taken<B> {
    pub(crate) fn new() -> Self {
        Taken {
            len: 0,
            front: None,
            behind: VecDeque::new(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all there is in the queue, where nothing is left of what was taken before, and gives
    /// it the bundle that was read last; how many items it takes.
    pub(crate) fn take_from(&mut self, queue: &mut Bundles<B>) -> usize {
        debug_assert!(self.is_empty(), "what is in it would be read too late");
        std::mem::swap(&mut self.front, &mut queue.last);
        if !queue.older.is_empty() {
            std::mem::swap(&mut self.behind, &mut queue.older);
            self.behind.extend(self.front.take());
            self.front = self.behind.pop_front();
        }
        self.len = std::mem::take(&mut queue.len);
        self.len
    }

    /// The bundle with the oldest item.
    pub(crate) fn front(&self) -> Option<&B> {
        self.front.as_deref().filter(|_| self.len > 0)
    }

    /// Takes out the oldest item.
    pub(crate) fn pop(&mut self) -> Option<B::Item> {
        let bundle = self.front.as_mut()?;
        let item = bundle.take()?;
        let is_empty = bundle.head().is_none();
        self.note_popped(is_empty);
        Some(item)
    }

    /// Takes out the oldest item if it is of this type, and this is so.
    #[inline]
    pub(crate) fn pop_if<T: Bundled<B>>(
        &mut self,
        is_wanted: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let bundle = T::among(self.front.as_mut()?)?;
        if !is_wanted(bundle.first()?) {
            return None;
        }
        let item = bundle.pop();
        let is_empty = bundle.is_empty();
        self.note_popped(is_empty);
        item
    }

    #[inline]
    fn note_popped(&mut self, is_empty: bool) {
        self.len -= 1;
        if is_empty {
            self.move_up();
        }
    }

    /// The bundle that was read is empty.
    fn move_up(&mut self) {
        if self.len > 0 {
            self.front = self.behind.pop_front();
            return;
        }
        self.front.take_if(|front| !front.is_small());
        if self.behind.capacity() > KEPT {
            self.behind = VecDeque::new();
        }
    }

    /// Puts in front what was taken out, an item in a bundle.
    pub(crate) fn push_front(&mut self, bundle: Box<B>) {
        let before = self.front.replace(bundle).filter(|_| self.len > 0);
        if let Some(before) = before {
            self.behind.push_front(before);
        }
        self.len += 1;
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::any::Any;
    use std::fmt::Debug;

    use super::*;

    trait Thing: Any + Debug {
        fn number(&self) -> Option<u64>;
        fn room(&self) -> usize;
        fn pop(&mut self) -> Option<u64>;
    }

    impl<T: Into<u64> + Copy + Debug + 'static> Thing for Bundle<T> {
        fn number(&self) -> Option<u64> {
            self.first().map(|item| (*item).into())
        }

        fn room(&self) -> usize {
            self.rest.capacity()
        }

        fn pop(&mut self) -> Option<u64> {
            self.pop().map(Into::into)
        }
    }

    impl AnyBundle for dyn Thing {
        type Item = u64;

        fn head(&self) -> Option<u64> {
            self.number()
        }

        fn take(&mut self) -> Option<u64> {
            self.pop()
        }

        fn is_small(&self) -> bool {
            true
        }
    }

    impl<T: Into<u64> + Copy + Debug + 'static> Bundled<dyn Thing> for T {
        fn wrap(bundle: Box<Bundle<T>>) -> Box<dyn Thing> {
            bundle
        }

        fn among(bundle: &mut dyn Thing) -> Option<&mut Bundle<T>> {
            (bundle as &mut dyn Any).downcast_mut()
        }

        fn enter(&mut self, _: u64) {}
    }

    #[test]
    fn items_of_several_types_come_out_in_order_and_little_is_kept_of_many() {
        let (mut queue, mut taken) = (Bundles::<dyn Thing>::default(), Taken::new());
        for round in 0..3 {
            for item in 0..1_000_u32 {
                if item % 7 < 5 {
                    queue.push(item);
                } else {
                    queue.push(u64::from(item));
                }
            }
            assert_eq!(taken.take_from(&mut queue), 1_000);
            let all = iter::from_fn(|| taken.pop());
            assert!(all.eq(0..1_000), "in round {round}");
        }
        let kept = taken.behind.capacity() + queue.older.capacity();
        assert!(kept <= KEPT, "{kept}");
        let bundles = [taken.front, queue.last].into_iter().flatten();
        let kept: Vec<_> = bundles.map(|bundle| bundle.room()).collect();
        assert!(kept.iter().all(|room| *room <= 32), "{kept:?}");
    }

    #[test]
    fn one_item_at_a_time_takes_no_new_room() {
        let (mut queue, mut taken) = (Bundles::<dyn Thing>::default(), Taken::new());
        let mut places = Vec::new();
        for item in 0..10_u64 {
            queue.push(item);
            taken.take_from(&mut queue);
            places.push(std::ptr::from_ref(taken.front().unwrap()).addr());
            assert_eq!(taken.pop_if(|next: &u64| *next == item), Some(item));
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.len() <= 2, "{places:?}");
    }

    #[test]
    fn what_is_large_is_not_bundled() {
        assert_eq!(most(0), 1);
        assert_eq!(most(8), 32);
        assert_eq!(most(48), 16);
        assert_eq!(most(BYTES), 1);
        assert_eq!(most(64 * BYTES), 1);
    }
}
