//! Parked pulls: waking them by arrivals, answering them at their deadline, forgetting them with
//! their connection.
//!
//! Owned by the shard of the queue. Invariant: a pull is re-parked with its first deadline, so a
//! stream of messages that it filters out does not hold it for ever.

use super::plan::Plan;
use super::{Services, run};
use crate::names::SCHEDULE_TOPIC;
use crate::reply::{ReplyPort, ReplySlot};
use crate::send::flush_all;
use base::QueueId;
use rt::Rt;
use shard::first_of;
use std::rc::Rc;
use std::time::Duration;
use store::QueueRef;

/// A pull that waits.
pub(super) struct Parked<R: Rt> {
    pub(super) plan: Plan,
    pub(super) slot: ReplySlot<R>,
}

/// Wakes the pulls of queues in which messages have arrived. Runs as long as the shard.
pub(crate) async fn wake_arrived<R: Rt>(services: &Rc<Services<R>>) {
    let store = &services.shard.store;
    let levels = services.settings.delay_levels_ms.len() as u32;
    loop {
        let seen = store.arrived().count();
        let mut ports = Vec::new();
        for queue in store.take_arrivals() {
            for (deadline_us, parked) in services.pull.parked.take(queue) {
                resume(services, parked, Some(deadline_us), &mut ports);
            }
            crate::pop::arrived(services, queue);
            if is_schedule_queue(services, queue, levels) {
                services.delay.note_arrival();
            }
        }
        flush_all(ports);
        store.arrived().wait_past(seen).await;
    }
}

fn is_schedule_queue<R: Rt>(services: &Services<R>, queue: QueueRef, levels: u32) -> bool {
    let find = |level| services.shard.store.queue(SCHEDULE_TOPIC, QueueId(level));
    services.delay.has_messages() && (0..levels).any(|level| find(level) == Some(queue))
}

fn resume<R: Rt>(
    services: &Rc<Services<R>>,
    parked: Parked<R>,
    deadline_us: Option<u64>,
    ports: &mut Vec<Rc<ReplyPort<R>>>,
) {
    let port = parked.slot.port();
    if port.is_closed() {
        return;
    }
    if port.mark_dirty() {
        ports.push(Rc::clone(port));
    }
    run(services, parked.plan, parked.slot, deadline_us);
}

/// Answers pulls whose deadline has passed, after one more look. Runs as long as the shard.
pub(crate) async fn answer_overdue<R: Rt>(services: &Rc<Services<R>>) {
    let rt = &services.shard.rt;
    let parked = &services.pull.parked;
    loop {
        let seen = parked.earlier().count();
        let now_us = rt.monotonic_us();
        let mut ports = Vec::new();
        for (_, record) in parked.take_due(now_us) {
            resume(services, record, None, &mut ports);
        }
        flush_all(ports);
        let earlier = parked.earlier().wait_past(seen);
        match parked.next_deadline_us() {
            None => earlier.await,
            Some(deadline_us) => {
                let wait_us = deadline_us.saturating_sub(now_us).max(TIMER_STEP_US);
                first_of(earlier, rt.sleep(Duration::from_micros(wait_us))).await;
            }
        }
    }
}

/// Answers every parked pull, as the broker stops.
pub(crate) fn release_all<R: Rt>(services: &Rc<Services<R>>) {
    services.pull.is_stopping.set(true);
    let mut ports = Vec::new();
    for (_, record) in services.pull.parked.take_due(u64::MAX) {
        resume(services, record, None, &mut ports);
    }
    flush_all(ports);
}

/// Forgets the pulls of connections that have ended since the last sweep.
pub(crate) fn sweep<R: Rt>(services: &Rc<Services<R>>) {
    let closed = services.pull.closed.take();
    if closed.is_empty() {
        return;
    }
    services
        .pull
        .parked
        .retain(|parked| !closed.contains(&parked.slot.port().conn()));
}

/// Deadlines are answered in steps of this length at the finest.
const TIMER_STEP_US: u64 = 10_000;
