//! Queue locks of consumer groups that consume in order.
//!
//! Owned by the shard of the group. A lock is a lease of 60 seconds that its client renews.
//! Invariant: a queue of a group has one owner at most, and a lease that ran out has none.
//! Java: `RebalanceLockManager`.

use base::HashMap;
use remoting::body::MessageQueue;
use std::cell::RefCell;

/// The locks of this shard's groups.
#[derive(Debug, Default)]
pub(crate) struct QueueLocks {
    groups: RefCell<HashMap<String, HashMap<MessageQueue, Lease>>>,
}

#[derive(Debug)]
struct Lease {
    client_id: String,
    renewed_us: u64,
}

/// How long a lock lasts without being renewed, in microseconds.
pub(crate) const LEASE_US: u64 = 60_000_000;
/// Queues that a request may name.
pub(crate) const QUEUES_MAX: usize = 16_384;

impl QueueLocks {
    /// Locks what is free, expired or its own already, and gives what the client holds now.
    pub(crate) fn lock(
        &self,
        group: &str,
        client_id: &str,
        queues: Vec<MessageQueue>,
        now_us: u64,
    ) -> Vec<MessageQueue> {
        let mut groups = self.groups.borrow_mut();
        let leases = groups.entry(group.to_owned()).or_default();
        let mut held = Vec::with_capacity(queues.len());
        for queue in queues {
            let lease = leases.get(&queue);
            let is_free = lease.is_none_or(|lease| {
                lease.client_id == client_id || now_us.saturating_sub(lease.renewed_us) > LEASE_US
            });
            if is_free {
                let lease = Lease {
                    client_id: client_id.to_owned(),
                    renewed_us: now_us,
                };
                leases.insert(queue.clone(), lease);
                held.push(queue);
            }
        }
        held
    }

    /// Frees what the client holds; locks of others stay.
    pub(crate) fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.borrow_mut();
        let Some(leases) = groups.get_mut(group) else {
            return;
        };
        for queue in queues {
            if leases
                .get(queue)
                .is_some_and(|lease| lease.client_id == client_id)
            {
                leases.remove(queue);
            }
        }
    }

    /// Forgets leases that ran out.
    pub(crate) fn sweep(&self, now_us: u64) {
        self.groups.borrow_mut().retain(|_, leases| {
            leases.retain(|_, lease| now_us.saturating_sub(lease.renewed_us) <= LEASE_US);
            !leases.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue {
            topic: "T".to_owned(),
            broker_name: "b".to_owned(),
            queue_id: id,
        }
    }

    #[test]
    fn a_lock_is_held_by_one_client_until_it_is_freed_or_runs_out() {
        let locks = QueueLocks::default();
        let both = vec![queue(0), queue(1)];
        assert_eq!(locks.lock("g", "a", both.clone(), 0), both);
        assert_eq!(locks.lock("g", "b", both.clone(), 1), []);
        assert_eq!(locks.lock("h", "b", both.clone(), 1), both, "another group");
        locks.unlock("g", "b", &both);
        assert_eq!(locks.lock("g", "b", both.clone(), 1), [], "not its own");
        locks.unlock("g", "a", &both[..1]);
        assert_eq!(locks.lock("g", "b", both.clone(), 1), both[..1]);
        assert_eq!(locks.lock("g", "a", both.clone(), 50_000_000), both[1..]);
        assert_eq!(locks.lock("g", "b", both.clone(), LEASE_US + 2), both[..1]);
        assert_eq!(
            locks.lock("g", "b", both.clone(), 50_000_001 + LEASE_US),
            both
        );
    }
}
