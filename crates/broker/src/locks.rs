//! Queue locks of consumer groups that consume in order.
//!
//! Owned by the shard of the group. A lock is a lease of 60 seconds that its client renews.
//! Invariant: a queue of a group has one owner at most, and a lease that ran out has none.
//! Java: `RebalanceLockManager`.

use crate::assemble::Services;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::reply::Refusal;
use base::HashMap;
use remoting::ResponseCode;
use remoting::body::MessageQueue;
use remoting::body::dialect;
use remoting::body::lock::{LockBatchRequestBody, LockBatchResponseBody};
use rt::Rt;
use shard::CallError;
use std::cell::RefCell;
use std::rc::Rc;

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
                base::bug!(LockNotExclusive)
                    || lease.client_id == client_id
                    || now_us.saturating_sub(lease.renewed_us) > LEASE_US
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

/// Why queues were not locked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("the body cannot be read: {0}")]
    Body(String),
    #[error("{count} queues are named, at most {QUEUES_MAX} may be")]
    TooMany { count: usize },
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<LockError> for Refusal {
    fn from(error: LockError) -> Self {
        let code = match error {
            LockError::Body(_) => ResponseCode::SystemError,
            LockError::TooMany { .. } => ResponseCode::InvalidParameter,
            LockError::Call(_) => ResponseCode::SystemBusy,
        };
        Self::new(code, error.to_string())
    }
}

/// `LOCK_BATCH_MQ` (41). The group stands in the body, so the accepting shard passes it on.
pub(crate) async fn lock_queues<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let body: LockBatchRequestBody = dialect::from_slice(request.command.body)
        .map_err(|error| LockError::Body(error.to_string()))?;
    check_count(body.mq_set.len())?;
    let to = services.shard.owner_of_group(&body.consumer_group);
    let lock = move |services: Rc<Services<R>>| async move {
        let now_us = services.shard.rt.monotonic_us();
        let locks = &services.locks;
        locks.lock(&body.consumer_group, &body.client_id, body.mq_set, now_us)
    };
    let held = services.call(to, lock).await.map_err(LockError::from)?;
    let body = LockBatchResponseBody {
        lock_ok_mq_set: held,
    };
    Ok(Answer::json(&body))
}

/// `UNLOCK_BATCH_MQ` (42).
pub(crate) async fn unlock_queues<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let body: LockBatchRequestBody = dialect::from_slice(request.command.body)
        .map_err(|error| LockError::Body(error.to_string()))?;
    check_count(body.mq_set.len())?;
    let to = services.shard.owner_of_group(&body.consumer_group);
    let unlock = move |services: Rc<Services<R>>| async move {
        let locks = &services.locks;
        locks.unlock(&body.consumer_group, &body.client_id, &body.mq_set);
    };
    services.call(to, unlock).await.map_err(LockError::from)?;
    Ok(Answer::empty())
}

fn check_count(count: usize) -> Result<(), LockError> {
    if count > QUEUES_MAX {
        return Err(LockError::TooMany { count });
    }
    Ok(())
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
