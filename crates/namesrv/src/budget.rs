//! A byte budget that all connections share.
//!
//! Owned by the name server; each connection holds a [`Charge`] for what it keeps in memory. What
//! must always hold: the charges never sum to more than the limit, and a dropped charge is given
//! back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// See the module comment.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    held: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            held: AtomicUsize::new(0),
        })
    }

    /// An empty charge on this budget.
    pub(crate) fn charge(self: &Arc<Self>) -> Charge {
        Charge {
            budget: Arc::clone(self),
            held: 0,
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let grown = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .is_ok()
    }
}

/// What one connection holds of a budget, in bytes.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    held: usize,
}

impl Charge {
    /// Holds `bytes` from now on, instead of what was held. `false` when that exceeds the budget;
    /// nothing has changed then.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        if bytes > self.held {
            if !self.budget.take(bytes - self.held) {
                return false;
            }
        } else {
            self.budget
                .held
                .fetch_sub(self.held - bytes, Ordering::Relaxed);
        }
        self.held = bytes;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_never_exceed_the_budget_and_are_given_back() {
        let budget = Budget::new(10);
        let mut one = budget.charge();
        let mut two = budget.charge();
        assert!(one.hold(7));
        assert!(!two.hold(4));
        assert!(two.hold(3));
        assert!(!two.hold(usize::MAX));
        assert!(one.hold(1));
        assert!(two.hold(9));
        drop(two);
        assert!(one.hold(10));
    }
}
