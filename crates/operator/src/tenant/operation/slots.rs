//! How many tenants' operations run at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cb_core::types::TenantName;
use tokio::sync::mpsc;

/// The slots for operations. A tenant keeps its slot from the begin of an
/// operation to its end, over any number of passes.
#[derive(Debug)]
pub struct Slots {
    limit: usize,
    inner: Mutex<Inner>,
    /// Told of tenants whose turn it is.
    turn: mpsc::UnboundedSender<TenantName>,
}

#[derive(Debug, Default)]
struct Inner {
    holding: BTreeSet<TenantName>,
    /// In the order of their names, as everywhere.
    waiting: BTreeSet<TenantName>,
}

impl Slots {
    /// So many slots, at least one; and where to hear whose turn it is.
    #[must_use]
    pub fn new(limit: u16) -> (Self, mpsc::UnboundedReceiver<TenantName>) {
        let (turn, turns) = mpsc::unbounded_channel();
        let slots = Self {
            limit: usize::from(limit.max(1)),
            inner: Mutex::default(),
            turn,
        };
        (slots, turns)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot. If none is free the tenant waits, and is told when it is
    /// its turn.
    pub(super) fn take(&self, tenant: &TenantName) -> bool {
        let mut inner = self.lock();
        let free = inner.holding.contains(tenant) || inner.holding.len() < self.limit;
        if free {
            inner.waiting.remove(tenant);
            inner.holding.insert(tenant.clone());
        } else {
            inner.waiting.insert(tenant.clone());
        }
        free
    }

    /// Takes a slot for an operation that was begun before: it is not kept
    /// waiting with its services stopped.
    pub(super) fn take_back(&self, tenant: &TenantName) {
        self.lock().holding.insert(tenant.clone());
    }

    /// Gives a slot back, or a place in the queue.
    pub(super) fn release(&self, tenant: &TenantName) {
        let mut inner = self.lock();
        inner.holding.remove(tenant);
        inner.waiting.remove(tenant);
        let free = self.limit.saturating_sub(inner.holding.len());
        // Those who are told may not want it any more, so they stay in line
        // until they take it or give it up.
        for next in inner.waiting.iter().take(free) {
            // The receiver is gone only when the operator stops.
            let _ = self.turn.send(next.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_are_told_in_the_order_of_their_names() {
        let (slots, mut turns) = Slots::new(1);
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<TenantName>().unwrap());
        assert!(slots.take(&b) && slots.take(&b));
        assert!(!slots.take(&c) && !slots.take(&a));
        slots.release(&b);
        assert_eq!(turns.try_recv().unwrap(), a);
        assert!(turns.try_recv().is_err());
        assert!(slots.take(&a) && !slots.take(&c));
        slots.take_back(&b);
        slots.release(&a);
        assert!(turns.try_recv().is_err(), "b has the only slot");
        slots.release(&b);
        assert_eq!(turns.try_recv().unwrap(), c);
    }
}
