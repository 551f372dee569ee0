//! The board's one source of randomness.
//!
//! The board is given a seed; whoever needs chance takes a stream under its own name. It calls
//! only `fastrand`.
//!
//! Invariant: a stream depends on seed and name alone, not on who else took one, or when.
//!
//! It is not fit for secrets.

/// The seed of a board, from which every stream of random numbers is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dice {
    seed: u64,
}

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Takes any seed.
    pub(crate) fn any() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the seed itself, where nobody gave one"
        )]
        let seed = fastrand::u64(..);
        Self { seed }
    }

    pub(crate) fn seed(self) -> u64 {
        self.seed
    }

    /// Makes the stream of this name; the same name makes the same stream again.
    pub(crate) fn fork(&self, name: &str) -> fastrand::Rng {
        fastrand::Rng::with_seed(mixed(mixed(self.seed) ^ fnv1a(name)))
    }
}

/// A text as one word, the same in every run (FNV-1a).
pub(crate) const fn fnv1a(text: &str) -> u64 {
    let (mut hash, mut rest) = (0xcbf2_9ce4_8422_2325_u64, text.as_bytes());
    // A loop, and not a fold: it runs in the compiler as well.
    while let [first, others @ ..] = rest {
        hash = (hash ^ *first as u64).wrapping_mul(0x0000_0100_0000_01b3);
        rest = others;
    }
    hash
}

// The finalizer of SplitMix64: neighbouring seeds must not make neighbouring streams.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn rolls(dice: Dice, name: &str) -> Vec<u64> {
        let mut stream = dice.fork(name);
        (0..8).map(|_| stream.u64(..)).collect()
    }

    #[test]
    fn a_stream_depends_on_seed_and_name_alone() {
        let dice = Dice::new(7);
        let first = rolls(dice, "shop/accounts");
        rolls(dice, "shop/mailer");
        assert_eq!(rolls(dice, "shop/accounts"), first);
        assert_eq!(rolls(Dice::new(7), "shop/accounts"), first);
    }

    #[test]
    fn streams_of_different_seeds_or_names_differ() {
        let mut seen = HashSet::new();
        for seed in 0..100 {
            for name in ["", "a", "b", "ab", "ba"] {
                assert!(seen.insert(rolls(Dice::new(seed), name)));
            }
        }
    }

    #[test]
    fn names_are_hashed_as_published_for_fnv1a() {
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }
}
