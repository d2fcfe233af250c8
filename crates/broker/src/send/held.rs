//! Answers that wait until the log has what they acknowledge.
//!
//! Owned by the shard: one list in log order for all connections, one wake per group commit, one
//! flush per connection. Invariant: an answer of success leaves only when the log's acknowledged
//! position has passed its message. Java: `GroupCommitService`, without a future per message.

use super::{SendError, SentIds, flush_all, refuse, write_answer};
use crate::assemble::Services;
use crate::reply::{ReplyPort, ReplySlot};
use base::LogPosition;
use remoting::ResponseCode;
use remoting::header::NoHeader;
use remoting::message::OffsetMessageId;
use rt::Rt;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use store::{AppendReceipt, FlushError};

/// One answer to a send.
pub(super) struct Held<R: Rt> {
    slot: ReplySlot<R>,
    receipt: AppendReceipt,
    queue_id: i32,
    /// Short keys, as every client makes them, take no memory of their own.
    uniq_key: SmallVec<[u8; 40]>,
    /// Of a batch: the message ids.
    batch_ids: Option<Box<str>>,
    /// It ends a transaction: the answer tells nothing.
    is_end: bool,
    since_us: u64,
}

impl<R: Rt> Held<R> {
    pub(super) fn new(
        slot: ReplySlot<R>,
        receipt: AppendReceipt,
        queue_id: i32,
        uniq_key: Option<&str>,
    ) -> Self {
        Self {
            slot,
            receipt,
            queue_id,
            uniq_key: SmallVec::from_slice(uniq_key.unwrap_or_default().as_bytes()),
            batch_ids: None,
            is_end: false,
            since_us: 0,
        }
    }

    /// The answer to a batch: its ids, and the end of its last message.
    pub(super) fn batch(mut self, ids: String, end: LogPosition) -> Self {
        self.batch_ids = Some(ids.into());
        self.receipt.end = end;
        self
    }

    pub(super) fn end(&self) -> LogPosition {
        self.receipt.end
    }

    pub(super) fn answer(self, services: &Services<R>, code: ResponseCode, remark: Option<&str>) {
        if self.is_end {
            self.slot.send(code, remark, &NoHeader, &[]);
            return;
        }
        let id = OffsetMessageId::new(services.send.store_host, self.receipt.phy_offset.to_wire());
        let uniq_key = std::str::from_utf8(&self.uniq_key).unwrap_or_default();
        let ids = SentIds {
            msg_id: self.batch_ids.as_deref().unwrap_or(id.as_str()),
            queue_id: self.queue_id,
            queue_offset: self.receipt.queue_offset.0,
            uniq_key: (!uniq_key.is_empty()).then_some(uniq_key),
        };
        write_answer(services, self.slot, code, remark, &ids);
    }
}

/// Tells who ended a transaction that this is so, once the log has what `receipt` tells of.
pub(crate) fn answer_end<R: Rt>(
    services: &Services<R>,
    slot: ReplySlot<R>,
    receipt: AppendReceipt,
) {
    if slot.to().oneway {
        return;
    }
    let mut held = Held::new(slot, receipt, 0, None);
    held.is_end = true;
    super::answer_when_written(services, held, true);
}

/// The answers that wait, in the order of the log.
pub(super) struct HeldSends<R: Rt>(RefCell<VecDeque<Held<R>>>);

impl<R: Rt> Default for HeldSends<R> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<R: Rt> HeldSends<R> {
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(super) fn push(&self, services: &Services<R>, mut held: Held<R>) {
        held.since_us = services.shard.store.moment_us();
        self.0.borrow_mut().push_back(held);
    }

    /// Since when the oldest answer waits.
    fn first_since_us(&self) -> Option<u64> {
        self.0.borrow().front().map(|held| held.since_us)
    }

    fn pop_if(&self, is_due: impl FnOnce(&Held<R>) -> bool) -> Option<Held<R>> {
        let mut held = self.0.borrow_mut();
        if held.front().is_some_and(is_due) {
            held.pop_front()
        } else {
            None
        }
    }
}

/// Releases answers whenever the log moves. Runs until the broker stops and nothing waits.
pub(crate) async fn release_held<R: Rt>(services: &Rc<Services<R>>) {
    let store = &services.shard.store;
    loop {
        let seen = store.progress().count();
        let acknowledged = store.acknowledged();
        let mut ports = Vec::new();
        while let Some(held) = services.send.held.pop_if(|held| held.end() <= acknowledged) {
            base::always!(AnswerIsAcknowledged, held.end() <= store.acknowledged());
            note_port(&mut ports, &held.slot);
            held.answer(services, ResponseCode::Success, None);
        }
        if let Some(reason) = store.fenced() {
            while let Some(held) = services.send.held.pop_if(|_| true) {
                note_port(&mut ports, &held.slot);
                let error = FlushError::Fenced(reason.clone());
                refuse(services, held.slot, SendError::Flush(error));
            }
        }
        flush_all(ports);
        store.progress().wait_past(seen).await;
    }
}

/// Answers what the log does not take in time, at its time, until the broker stops. One timer for
/// all: what begins to wait later is due later.
pub(crate) async fn keep_answering_overdue<R: Rt>(services: &Rc<Services<R>>) {
    let limit_us = services.settings.sync_flush_timeout_ms * 1_000;
    let rt = &services.shard.rt;
    while !services.stop.is_set() {
        let now_us = rt.monotonic_us();
        let since_us = services.send.held.first_since_us().unwrap_or(now_us);
        let rest_us = (since_us + limit_us).saturating_sub(now_us);
        rt.sleep(Duration::from_micros(rest_us.max(1))).await;
        answer_overdue(services);
    }
}

/// Answers what is overdue: the message is stored, and may or may not last.
fn answer_overdue<R: Rt>(services: &Services<R>) {
    let now_us = services.shard.rt.monotonic_us();
    let limit_us = services.settings.sync_flush_timeout_ms * 1_000;
    let is_overdue = |held: &Held<R>| now_us.saturating_sub(held.since_us) >= limit_us;
    let mut ports = Vec::new();
    while let Some(held) = services.send.held.pop_if(is_overdue) {
        base::reached!(SendOverdue);
        note_port(&mut ports, &held.slot);
        held.answer(services, ResponseCode::FlushDiskTimeout, None);
    }
    flush_all(ports);
}

fn note_port<R: Rt>(ports: &mut Vec<Rc<ReplyPort<R>>>, slot: &ReplySlot<R>) {
    if slot.port().mark_dirty() {
        ports.push(Rc::clone(slot.port()));
    }
}
