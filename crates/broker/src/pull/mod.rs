//! PULL: messages of a queue from an offset, or a parked record until there are some.
//!
//! Owned by the shard of the queue. A pull that finds its messages in memory is answered in the
//! reading loop; one that finds none parks and is woken by the arrival, without a task and without
//! a scan. Invariant: a parked pull is answered once: by messages, by its deadline, or by the end.
//! Java: `PullMessageProcessor`, `PullRequestHoldService`.

mod error;
mod parked;
mod plan;

pub(crate) use error::PullError;
pub(crate) use parked::{answer_overdue, release_all, sweep, wake_arrived};

use crate::assemble::Services;
use crate::client::ensure_group;
use crate::handler::InlineRequest;
use crate::reply::{Refusal, ReplySlot};
use crate::settings::NetLimits;
use base::ShardId;
use parked::Parked;
use plan::Plan;
use remoting::ResponseCode;
use remoting::command::decode;
use remoting::header::RemotingHeader;
use remoting::header::pull::{PullMessageRequestHeader, PullMessageResponseHeader};
use rt::{Class, Rt};
use shard::{Arrivals, Caller, ConnId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use store::{GetResult, GetStatus, QueueRef, TailRead};

/// What pulls of this shard share.
pub(crate) struct PullService<R: Rt> {
    parked: Arrivals<QueueRef, Parked<R>>,
    /// Connections that ended since the last sweep.
    closed: RefCell<BTreeSet<ConnId>>,
    body: RefCell<Vec<u8>>,
    is_stopping: Cell<bool>,
}

impl<R: Rt> PullService<R> {
    pub(crate) fn new(limits: &NetLimits) -> Self {
        Self {
            parked: Arrivals::new(limits.parked_pulls_max),
            closed: RefCell::default(),
            body: RefCell::default(),
            is_stopping: Cell::new(false),
        }
    }

    /// How many pulls are parked.
    pub(crate) fn parked_count(&self) -> usize {
        self.parked.len()
    }

    /// Notes that a connection has ended: its parked pulls are dropped at the next sweep.
    fn connection_closed(&self, conn: ConnId) {
        if !self.parked.is_empty() {
            self.closed.borrow_mut().insert(conn);
        }
    }
}

/// Forgets the parked pulls of a connection that has ended, on every shard that may have some.
pub(crate) fn connection_closed<R: Rt>(
    services: &Rc<Services<R>>,
    conn: ConnId,
    has_forwarded: bool,
) {
    services.pull.connection_closed(conn);
    services.pop.waits.connection_closed(conn);
    let shard = &services.shard;
    let is_needed = has_forwarded && !services.stop.is_set();
    for index in (0..shard.rt.shard_count()).filter(|_| is_needed) {
        let to = ShardId::new(index);
        if to == shard.id() {
            continue;
        }
        let services = Rc::clone(services);
        shard.rt.spawn(Class::Housekeeping, async move {
            let forget = move |services: Rc<Services<R>>| async move {
                services.pull.connection_closed(conn);
                services.pop.waits.connection_closed(conn);
            };
            // A shard that has stopped holds no pulls.
            let _ = services.call_until_done(to, forget).await;
        });
    }
}

/// `PULL_MESSAGE` (11) and `LITE_PULL_MESSAGE` (361).
pub(crate) fn pull_message<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, PullMessageRequestHeader<'_>, R>,
) {
    let InlineRequest {
        header,
        frame,
        caller,
        slot,
        ..
    } = request;
    match Plan::new(services, &header, caller) {
        Ok(plan) => start(services, plan, &header, slot),
        Err(PullError::UnknownGroup(_)) if services.settings.creates_groups => {
            create_group_and_pull(services, frame.to_vec(), caller, slot);
        }
        Err(error) => slot.refuse(&Refusal::from(error)),
    }
}

fn start<R: Rt>(
    services: &Rc<Services<R>>,
    plan: Plan,
    header: &PullMessageRequestHeader<'_>,
    slot: ReplySlot<R>,
) {
    plan::commit_offset(services, header);
    let hold_us = plan::hold_us(services, header);
    let deadline_us = hold_us.map(|hold| services.shard.rt.monotonic_us() + hold);
    run(services, plan, slot, deadline_us);
}

/// A group's first sign of life may be a pull: Java makes the group then.
fn create_group_and_pull<R: Rt>(
    services: &Rc<Services<R>>,
    frame: Vec<u8>,
    caller: Caller,
    slot: ReplySlot<R>,
) {
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    rt.spawn(Class::Request, async move {
        let Ok(command) = decode(&frame) else { return };
        let Ok(header) = PullMessageRequestHeader::decode(&command.fields) else {
            return;
        };
        let port = Rc::clone(slot.port());
        if let Err(error) = ensure_group(&services, header.consumer_group).await {
            slot.refuse(&Refusal::from(error));
        } else {
            match Plan::new(&services, &header, caller) {
                Ok(plan) => start(&services, plan, &header, slot),
                Err(error) => slot.refuse(&Refusal::from(error)),
            }
        }
        port.flush();
    });
}

/// Reads, then answers or parks. Reads from the disk go on as a task.
fn run<R: Rt>(
    services: &Rc<Services<R>>,
    plan: Plan,
    slot: ReplySlot<R>,
    deadline_us: Option<u64>,
) {
    let mut body = services.pull.body.take();
    body.clear();
    let mut accept = &plan.filter;
    let store = &services.shard.store;
    match store.read_tail(plan.queue, plan.from, plan.limits, &mut accept, &mut body) {
        TailRead::Done(result) => {
            finish(services, plan, slot, deadline_us, result, &body);
        }
        TailRead::NotInMemory => read_from_disk(services, plan, slot, deadline_us),
    }
    if body.capacity() > BODY_KEPT_MAX {
        body = Vec::new();
    }
    services.pull.body.replace(body);
}

fn read_from_disk<R: Rt>(
    services: &Rc<Services<R>>,
    plan: Plan,
    slot: ReplySlot<R>,
    deadline_us: Option<u64>,
) {
    let services = Rc::clone(services);
    let rt = services.shard.rt.clone();
    rt.spawn(Class::Request, async move {
        let port = Rc::clone(slot.port());
        let mut body = Vec::new();
        let filter = plan.filter.clone();
        let mut accept = &filter;
        // Meanwhile messages may arrive: the read sees all up to the instant it completes.
        let read = services
            .shard
            .store
            .read(plan.queue, plan.from, plan.limits, &mut accept, &mut body)
            .await;
        match read {
            Ok(result) => finish(&services, plan, slot, deadline_us, result, &body),
            Err(error) => slot.refuse(&Refusal::from(PullError::Read(error))),
        }
        port.flush();
    });
}

/// Answers, or parks a pull that found nothing and may wait.
fn finish<R: Rt>(
    services: &Rc<Services<R>>,
    mut plan: Plan,
    mut slot: ReplySlot<R>,
    deadline_us: Option<u64>,
    result: GetResult,
    body: &[u8],
) {
    let code = code_of(&result, plan.from.0);
    if code == ResponseCode::Success {
        let (messages, bytes) = (result.count as u64, result.bytes as u64);
        services.stats.pulled(&plan.rate_key, messages, bytes);
    } else {
        services.stats.missed();
    }
    // A parked pull sleeps on when what woke it does not pass its filter.
    let is_filtered = plan.was_parked
        && result.status == GetStatus::NoMatchedMessage
        && result.next_offset >= result.max;
    if is_filtered {
        plan.from = result.next_offset;
    }
    let found_nothing = code == ResponseCode::PullNotFound || is_filtered;
    let may_park = found_nothing && !services.pull.is_stopping.get();
    if let Some(deadline_us) = deadline_us
        && may_park
        && !slot.to().oneway
    {
        let queue = plan.queue;
        plan.was_parked = true;
        slot.release();
        let parked = Parked { plan, slot };
        let refused = services.pull.parked.park(queue, deadline_us, parked);
        // At the bound the pull is answered as if its time were over.
        let Err(parked) = refused else { return };
        slot = parked.slot;
        answer(&parked.plan, slot, code, &result, body);
        return;
    }
    answer(&plan, slot, code, &result, body);
}

fn answer<R: Rt>(
    plan: &Plan,
    slot: ReplySlot<R>,
    code: ResponseCode,
    result: &GetResult,
    body: &[u8],
) {
    let header = PullMessageResponseHeader {
        suggest_which_broker_id: 0,
        next_begin_offset: result.next_offset.0,
        min_offset: result.min.0,
        max_offset: result.max.0,
        topic_sys_flag: Some(plan.topic_sys_flag),
        group_sys_flag: Some(plan.group_sys_flag),
        ..PullMessageResponseHeader::default()
    };
    let body = if code == ResponseCode::Success {
        body
    } else {
        &[]
    };
    slot.send(code, Some(status_name(result.status)), &header, body);
}

/// Java `DefaultPullMessageResultHandler.composeResponseHeader`.
fn code_of(result: &GetResult, from: i64) -> ResponseCode {
    match result.status {
        GetStatus::Found => ResponseCode::Success,
        GetStatus::NoMatchedMessage | GetStatus::MessageWasRemoving => {
            ResponseCode::PullRetryImmediately
        }
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue if from != 0 => {
            ResponseCode::PullOffsetMoved
        }
        GetStatus::NoMatchedLogicQueue
        | GetStatus::NoMessageInQueue
        | GetStatus::OffsetFoundNull
        | GetStatus::OffsetOverflowOne => ResponseCode::PullNotFound,
        GetStatus::OffsetOverflowBadly | GetStatus::OffsetTooSmall => ResponseCode::PullOffsetMoved,
    }
}

/// Java's names of `GetMessageStatus`, which travel as the remark.
fn status_name(status: GetStatus) -> &'static str {
    match status {
        GetStatus::Found => "FOUND",
        GetStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        GetStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
        GetStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
        GetStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
        GetStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        GetStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        GetStatus::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
        GetStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
    }
}

const BODY_KEPT_MAX: usize = 1 << 20;
