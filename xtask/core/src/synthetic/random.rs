//! Numbers that look random and are the same on every machine: SplitMix64 (Steele, Lea and Flood, 2014).
//!
//! Chosen because it is a few lines, needs no state but one number, and a stream can begin anywhere: every record has its own.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of the thing with this number, under this seed.
    pub(super) fn of(seed: u64, number: u64) -> Self {
        Self(mix(seed).wrapping_add(mix(number ^ 0x5851_F42D_4C95_7F2D)))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `limit`, which is small: the bias of the multiplication does not matter here.
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        u32::try_from((u64::from(u32::try_from(self.next() >> 32).unwrap_or(0)) * u64::from(limit)) >> 32)
            .unwrap_or(0)
    }

    /// A number from `from` to `to`, both included.
    pub(super) fn between(&mut self, from: u32, to: u32) -> u32 {
        from + self.below(to - from + 1)
    }

    /// One of several things.
    pub(super) fn choose<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(u32::try_from(all.len()).unwrap_or(u32::MAX)) as usize]
    }
}

/// The output function of SplitMix64: one-to-one on 64 bits.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        // The first numbers of the reference implementation with the seed 1234567.
        let mut random = Random(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn numbers_stay_within_their_limits() {
        let mut random = Random::of(1, 2);
        let seen: std::collections::BTreeSet<u32> = (0..1_000).map(|_| random.between(3, 7)).collect();
        assert_eq!(seen, (3..=7).collect());
    }
}
