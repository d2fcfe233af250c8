//! After a cell: what the queues hold against what was acknowledged.
//!
//! Reads with the tests' own client, which shares no code with the generator's. Offsets tell how many
//! messages each queue has; bodies are read back from both ends, as many as the scenario allows.
//! Invariant: what is counted as lost was acknowledged, lies in a range that was read, and was not
//! there.

use crate::body;
use crate::drive::plan::Plan;
use crate::drive::seen::Seen;
use crate::ledger::Delivered;
use crate::result::Verified;
use crate::scenario::Verify;
use crate::target::Target;
use anyhow::{Context, Result};
use harness::wire::Connection;
use std::time::{Duration, Instant};

/// Consumers may see what was acknowledged a little later.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// What a queue holds is looked at for at most so many queues; the rest is consumed or not.
const QUEUES_MAX: usize = 20_000;

/// The verdict of a cell whose threads are done.
pub(crate) fn verify(
    plan: &Plan,
    target: &Target,
    seen: &Seen,
    acknowledged: u64,
) -> Result<Verified> {
    let mut verified = Verified {
        acknowledged,
        unknown: seen.acknowledged.unknown,
        offsets_told_twice: seen.acknowledged.twice,
        ..Verified::default()
    };
    for (group, delivered) in seen.delivered.iter().enumerate() {
        let is_late = group >= plan.late_group as usize;
        add_group(&mut verified, plan, seen, delivered, is_late);
    }
    if plan.params.verify == Verify::Read
        && plan.queues() <= QUEUES_MAX
        && plan.params.delay_level == 0
    {
        read_back(plan, target, seen, &mut verified)?;
    }
    Ok(verified)
}

fn add_group(
    verified: &mut Verified,
    plan: &Plan,
    seen: &Seen,
    delivered: &Delivered,
    is_late: bool,
) {
    verified.read += delivered.received;
    verified.duplicated += delivered.duplicated;
    verified.reordered += delivered.reordered;
    verified.corrupted += delivered.corrupted;
    if plan.params.delay_level > 0 {
        // A delayed message gets its offset when it is delivered: only numbers can be compared.
        verified.undelivered += verified.acknowledged.saturating_sub(delivered.distinct());
        return;
    }
    for queue in 0..plan.queues() {
        let end = delivered.queues[queue].end();
        verified.lost += delivered.lost(&seen.acknowledged, queue, 0, end);
        if !is_late {
            verified.undelivered += delivered.lost(&seen.acknowledged, queue, end, u64::MAX);
        }
    }
}

fn read_back(plan: &Plan, target: &Target, seen: &Seen, verified: &mut Verified) -> Result<()> {
    let mean = plan.params.mean_size();
    let budget =
        (plan.params.read_back_mb as f64 * 1e6 / mean) as u64 / plan.queues().max(1) as u64;
    // Consumers of the run have looked at every message already.
    let budget = if plan.groups.min(plan.late_group) > 0 {
        0
    } else {
        budget.max(1)
    };
    let mut stored = 0;
    for broker in 0..plan.brokers.len() {
        let mut connection = target
            .admin(broker)
            .context("reading back what was stored")?;
        let first = broker * plan.queues_per_broker();
        for queue in first..first + plan.queues_per_broker() {
            stored += read_queue(plan, &mut connection, seen, queue, budget, verified)?;
        }
    }
    verified.stored = Some(stored);
    Ok(())
}

fn read_queue(
    plan: &Plan,
    connection: &mut Connection,
    seen: &Seen,
    queue: usize,
    budget: u64,
    verified: &mut Verified,
) -> Result<u64> {
    let (_, topic, id) = plan.queue(queue);
    let due = seen.acknowledged.queues[queue].end();
    let min = connection.min_offset(topic, id)?.cast_unsigned();
    let limit = Instant::now() + SETTLE_LIMIT;
    let max = loop {
        let max = connection.max_offset(topic, id)?.cast_unsigned();
        if max >= due || Instant::now() > limit {
            break max;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // Behind the end of the queue nothing can be read.
    verified.lost += seen.acknowledged.count_from(queue, max.max(min));
    let half = budget.div_ceil(2);
    let mut ranges = vec![(min, max)];
    if budget == 0 {
        ranges.clear();
    } else if max - min > budget {
        ranges = vec![(min, min + half), (max - half, max)];
    }
    let mut delivered = Delivered::of_queue(queue, plan.connections as usize);
    for (from, to) in ranges {
        let mut next = from;
        while next < to {
            let pulled = connection.pull(topic, id, next.cast_signed())?;
            for unit in &pulled.units {
                let offset = unit.queue_offset.cast_unsigned();
                delivered.add(queue, offset, body::read(&unit.body, plan.run));
            }
            let after = pulled.next_offset.cast_unsigned();
            if pulled.units.is_empty() && after <= next {
                break;
            }
            next = after;
        }
        // Retention may have moved the queue's beginning meanwhile.
        let from = from.max(connection.min_offset(topic, id)?.cast_unsigned());
        verified.lost += delivered.lost(&seen.acknowledged, queue, from, to);
    }
    verified.read += delivered.received;
    verified.duplicated += delivered.duplicated;
    verified.reordered += delivered.reordered;
    verified.corrupted += delivered.corrupted;
    Ok(max - min)
}
