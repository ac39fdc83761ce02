//! How long a key that failed waits before it is tried again.
//!
//! Exponential in the number of failures in a row, capped, and spread over the
//! upper half of the interval, so that a thousand keys that failed together do
//! not come back together. Pure but for its random numbers, whose seed can be
//! fixed.

use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;
use std::time::Duration;

/// The shape of the back-off.
#[derive(Clone, Debug, PartialEq)]
pub struct BackoffConfig {
    /// The longest wait after the first failure.
    pub base: Duration,
    /// How much longer each further wait is; below 1 counts as 1.
    pub factor: f64,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Default for BackoffConfig {
    /// 1 s, doubled each time, at most 5 minutes.
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_secs(300),
        }
    }
}

impl BackoffConfig {
    /// The upper bound of the wait after `failures` failures in a row.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.base.as_secs_f64() * self.factor.max(1.0).powi(doublings);
        // Also catches an infinite or unusable product.
        Duration::try_from_secs_f64(seconds).map_or(self.cap, |wait| wait.min(self.cap))
    }
}

/// The failures in a row of every key, and the waits that follow from them.
#[derive(Debug)]
pub struct Backoff<K> {
    config: BackoffConfig,
    failures: BTreeMap<K, u32>,
    rng: StdRng,
}

impl<K: Ord> Backoff<K> {
    /// No failures yet. With a seed the waits are the same in every run.
    pub fn new(config: BackoffConfig, seed: Option<u64>) -> Self {
        let rng = seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        Self {
            config,
            failures: BTreeMap::new(),
            rng,
        }
    }

    /// Counts a failure of `key` and says how long to wait: between half of
    /// the ceiling and the ceiling.
    pub fn fail(&mut self, key: K) -> Duration {
        let failures = self.failures.entry(key).or_insert(0);
        *failures = failures.saturating_add(1);
        let ceiling = self.config.ceiling(*failures);
        ceiling.mul_f64(self.rng.random_range(0.5..=1.0))
    }

    /// Forgets the failures of `key`.
    pub fn reset(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// The failures in a row of `key`.
    pub fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_from_one_second_to_five_minutes() {
        let config = BackoffConfig::default();
        let ceilings: Vec<_> = (1..=11).map(|n| config.ceiling(n).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(config.ceiling(u32::MAX), Duration::from_secs(300));
    }

    #[test]
    fn a_reset_starts_over_and_touches_no_other_key() {
        let mut backoff = Backoff::new(BackoffConfig::default(), Some(7));
        for _ in 0..6 {
            backoff.fail("a");
            backoff.fail("b");
        }
        backoff.reset(&"a");
        assert_eq!((backoff.failures(&"a"), backoff.failures(&"b")), (0, 6));
        assert!(backoff.fail("a") <= Duration::from_secs(1));
        assert!(backoff.fail("b") >= Duration::from_secs(32));
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_another_seed_others() {
        let waits = |seed| {
            let mut backoff = Backoff::new(BackoffConfig::default(), Some(seed));
            (0..20).map(|_| backoff.fail("a")).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    proptest! {
        #[test]
        fn every_wait_is_in_the_upper_half(seed: u64, count in 1..40_u32) {
            let config = BackoffConfig::default();
            let mut backoff = Backoff::new(config.clone(), Some(seed));
            for n in 1..=count {
                let (wait, ceiling) = (backoff.fail(()), config.ceiling(n));
                prop_assert!(wait <= ceiling && wait >= ceiling.mul_f64(0.499));
            }
        }
    }
}
