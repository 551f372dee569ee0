//! Where a number is kept among many.
//!
//! What is remembered to tell copies is looked up with it, once or twice for each event. It calls
//! the standard library's hasher for its seeds alone: that takes 230 instructions for a number,
//! this one less than 10.
//!
//! Invariant: its seeds are taken at random for each table, so nobody can know which numbers would
//! get into each other's way.
//!
//! It is for single numbers: a text is better served by the standard hasher.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes the hashers of one table.
#[derive(Clone, Debug)]
pub(super) struct Scatter {
    offset: u64,
    factor: u64,
}

/// The hash of what was written so far.
#[derive(Debug)]
pub(super) struct Scattered {
    hash: u64,
    factor: u64,
}

impl Default for Scatter {
    fn default() -> Self {
        let random = RandomState::new();
        Scatter {
            offset: random.hash_one(0),
            // Odd, so that no number is lost in the product.
            factor: random.hash_one(1) | 1,
        }
    }
}

impl BuildHasher for Scatter {
    type Hasher = Scattered;

    #[inline]
    fn build_hasher(&self) -> Scattered {
        Scattered {
            hash: self.offset,
            factor: self.factor,
        }
    }
}

impl Hasher for Scattered {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.hash = folded(self.hash ^ number, self.factor);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // Once more: numbers that differ in their highest bits alone may share the lowest so far.
        folded(self.hash, self.factor)
    }
}

/// A product, both halves in one: the upper depends on all bits, the lower loses no number.
#[inline]
fn folded(number: u64, factor: u64) -> u64 {
    let product = u128::from(number) * u128::from(factor);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// One as good as any, and one by which a single product has the lowest bits of many in common.
    const FACTORS: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0xbf58_476d_1ce0_0001];

    /// How many of 128 places are left empty by 1,024 numbers, told by 7 bits of their hashes.
    fn empty(factor: u64, step: u64, shift: u32) -> usize {
        let offset = 0x9e37_79b9_7f4a_7c15;
        let scatter = Scatter { offset, factor };
        let numbers = (0..1_024_u64).map(|number| number.wrapping_mul(step));
        let places = numbers.map(|number| scatter.hash_one(number) >> shift & 127);
        128 - places.collect::<HashSet<_>>().len()
    }

    #[test]
    fn numbers_that_are_alike_are_spread_over_all_places() {
        for factor in FACTORS {
            for step in [1_u64, 2, 64, 1_000, 1 << 20, 1 << 32, 1 << 54] {
                // The lowest bits tell where to look, the highest for what.
                for shift in [0, 57] {
                    let empty = empty(factor, step, shift);
                    // By chance it would be 1 in 25 times.
                    assert!(empty <= 8, "{empty} empty: {factor:x}, {step}, {shift}");
                }
            }
        }
    }

    #[test]
    fn each_table_has_seeds_of_its_own() {
        let [one, other] = [(); 2].map(|()| Scatter::default());
        assert_ne!(one.hash_one(7_u64), other.hash_one(7_u64));
        assert_eq!(one.hash_one(7_u64), one.clone().hash_one(7_u64));
    }
}
