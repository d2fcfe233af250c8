//! What a pull may read: checks in Java's order, then queue, filter and limits.
//!
//! Owned by the shard of the queue. Invariant: a plan names a queue that exists in the topic's
//! present configuration. Java: `PullMessageProcessor.processRequest`.

use super::PullError;
use crate::assemble::Services;
use crate::stats::topic_at_group;
use crate::subscription::{FilterError, MessageFilter};
use base::QueueOffset;
use remoting::header::pull::{PullMessageRequestHeader, pull_sys_flag};
use rt::Rt;
use shard::Caller;
use shard::pops::PopKeyRef;
use std::rc::Rc;
use store::{QueueRef, ReadLimits};

/// A pull that passed the checks.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) queue: QueueRef,
    pub(super) from: QueueOffset,
    pub(super) filter: MessageFilter,
    pub(super) limits: ReadLimits,
    /// Whether the pull has been parked before.
    pub(super) was_parked: bool,
    pub(super) topic_sys_flag: i32,
    pub(super) group_sys_flag: i32,
    /// What the group's rate is counted under.
    pub(super) rate_key: String,
}

impl Plan {
    pub(super) fn new<R: Rt>(
        services: &Rc<Services<R>>,
        header: &PullMessageRequestHeader<'_>,
        caller: Caller,
    ) -> Result<Self, PullError> {
        let settings = &services.settings;
        if !settings.is_readable() {
            return Err(PullError::BrokerNotReadable(settings.name.clone()));
        }
        let (topic, group) = (header.topic, header.consumer_group);
        let groups = services.shard.groups();
        let unknown = || PullError::UnknownGroup(group.escape_debug().to_string());
        let in_memory;
        let config = if let Some(config) = groups.find(group) {
            config
        } else {
            in_memory = services.clients.unrecorded.find(group);
            in_memory.as_ref().ok_or_else(unknown)?
        };
        if !config.consume_enable {
            return Err(PullError::GroupDisabled(group.to_owned()));
        }
        let unknown = || PullError::UnknownTopic(topic.escape_debug().to_string());
        let handle = services.topics.find(&services.shard, topic);
        let handle = handle.ok_or_else(unknown)?;
        if !handle.is_readable() {
            return Err(PullError::TopicNotReadable(topic.to_owned()));
        }
        if header.queue_id < 0 || header.queue_id >= handle.config.read_queue_nums {
            return Err(PullError::QueueId {
                queue_id: header.queue_id,
                topic: topic.to_owned(),
                queue_count: handle.config.read_queue_nums,
                peer: caller.peer,
            });
        }
        let broadcasts = config.consume_broadcast_enable;
        let filter = filter(services, header, broadcasts)?;
        Ok(Self {
            queue: handle.queue(&services.shard, header.queue_id.cast_unsigned()),
            // A negative offset is before every message.
            from: QueueOffset(header.queue_offset),
            filter,
            limits: limits(services, header),
            was_parked: false,
            topic_sys_flag: handle.config.topic_sys_flag,
            group_sys_flag: config.group_sys_flag,
            rate_key: topic_at_group(topic, group),
        })
    }
}

fn limits<R: Rt>(services: &Services<R>, header: &PullMessageRequestHeader<'_>) -> ReadLimits {
    let settings = &services.settings;
    let wanted = usize::try_from(header.max_msg_nums).unwrap_or(0).max(1);
    let bytes = header.max_msg_bytes.filter(|bytes| *bytes > 0);
    let bytes = bytes.map_or(usize::MAX, |bytes| bytes as usize);
    let count_max = wanted.min(settings.transfer_count_max);
    ReadLimits {
        count_max,
        bytes_max: bytes.min(settings.transfer_bytes_max),
        // Java maxFilterMessageSize: 16,000 bytes of queue entries, 800 places.
        scan_max: SCAN_MAX.max(count_max * 20),
    }
}

fn filter<R: Rt>(
    services: &Services<R>,
    header: &PullMessageRequestHeader<'_>,
    may_broadcast: bool,
) -> Result<MessageFilter, PullError> {
    let filter = if header.sys_flag & pull_sys_flag::SUBSCRIPTION != 0 {
        let expression = header.subscription.unwrap_or_default();
        MessageFilter::compile(header.expression_type, expression).map_err(|error| match error {
            FilterError::Kind(kind) => PullError::Filter(kind),
            error => PullError::Expression(error),
        })?
    } else {
        filter_of_group(services, header, may_broadcast)?
    };
    if filter.is_by_properties() && !services.settings.filters_by_properties {
        return Err(PullError::Filter("SQL92".to_owned()));
    }
    Ok(filter)
}

/// What the group's heartbeats said.
fn filter_of_group<R: Rt>(
    services: &Services<R>,
    header: &PullMessageRequestHeader<'_>,
    may_broadcast: bool,
) -> Result<MessageFilter, PullError> {
    let group = services.clients.subscriptions(header.consumer_group);
    let group = group.ok_or(PullError::GroupOffline)?;
    if group.is_broadcast && !may_broadcast {
        return Err(PullError::Broadcast(header.consumer_group.to_owned()));
    }
    let subscription = group.topics.get(header.topic);
    let subscription = subscription.ok_or(PullError::NotSubscribed)?;
    if subscription.version < header.sub_version {
        return Err(PullError::OldSubscription);
    }
    subscription.filter.clone().map_err(|error| match error {
        FilterError::Kind(kind) => PullError::Filter(kind),
        error => PullError::NoFilter(error),
    })
}

/// Stores the offset that the request brings for its group, when it says so.
pub(super) fn commit_offset<R: Rt>(services: &Services<R>, header: &PullMessageRequestHeader<'_>) {
    if header.sys_flag & pull_sys_flag::COMMIT_OFFSET != 0 && header.commit_offset > 0 {
        let key = PopKeyRef {
            topic: header.topic,
            group: header.consumer_group,
            queue_id: header.queue_id.cast_unsigned(),
        };
        if let Err(error) = services.shard.commit_offset(key, header.commit_offset) {
            tracing::warn!(%error, "a group pops and pulls, and its offset is not reset");
        }
    }
}

/// How long the pull may be parked, in microseconds; `None` when it is answered at once.
pub(super) fn hold_us<R: Rt>(
    services: &Services<R>,
    header: &PullMessageRequestHeader<'_>,
) -> Option<u64> {
    if header.sys_flag & pull_sys_flag::SUSPEND == 0 {
        return None;
    }
    let settings = &services.settings;
    let wanted_ms = u64::try_from(header.suspend_timeout_millis).unwrap_or(0);
    let hold_ms = if settings.holds_pulls {
        wanted_ms
    } else {
        settings.short_polling_ms
    };
    Some(hold_ms.min(HOLD_MS_MAX) * 1_000)
}

const SCAN_MAX: usize = 800;
/// Nobody waits longer, whatever the request says.
const HOLD_MS_MAX: u64 = 600_000;
