//! How often the drivers did what they do for all tenants together; for
//! metrics, and nothing is decided by it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times that systemd was asked to read its unit files again.
    pub daemon_reloads: Tally,
    /// Times that nginx was asked to load its configuration again.
    pub nginx_reloads: Tally,
    /// Tests of nginx's configuration.
    pub nginx_tests: Tests,
}

/// How often something worked and how often it did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// It worked.
    pub ok: u64,
    /// It did not.
    pub failed: u64,
}

/// How tests of nginx's configuration ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tests {
    /// nginx accepts it.
    pub accepted: u64,
    /// nginx rejects it.
    pub rejected: u64,
    /// nginx gave no answer.
    pub failed: u64,
}

/// Counts what becomes a [`Tally`].
#[derive(Debug, Default)]
pub(crate) struct Counter {
    ok: AtomicU64,
    failed: AtomicU64,
}

impl Counter {
    pub(crate) fn count<T, E>(&self, result: &Result<T, E>) {
        let counter = if result.is_ok() {
            &self.ok
        } else {
            &self.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Tally {
        Tally {
            ok: self.ok.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// Counts what nginx was asked for.
#[derive(Debug, Default)]
pub(crate) struct NginxCounter {
    pub(crate) reloads: Counter,
    pub(crate) accepted: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl NginxCounter {
    pub(crate) fn tests(&self) -> Tests {
        Tests {
            accepted: self.accepted.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}
