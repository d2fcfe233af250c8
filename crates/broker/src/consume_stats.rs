//! How far consumer groups are: requests 208, 300 and 343.
//!
//! Committed offsets lie on the shards of their queues and subscriptions on the shard of the
//! group; both are gathered and merged by pure functions. What must always hold: every readable
//! queue of a topic in the answer has one row, committed or not. Answers to Java's
//! `AdminBrokerProcessor.getConsumeStats`, `queryTopicConsumeByWho` and `queryTopicsByConsumer`.

use crate::assemble::Services;
use crate::handler::{Answer, TaskRequest};
use crate::reply::Refusal;
use crate::stats::{Kind, topic_at_group};
use base::{QueueId, QueueOffset};
use remoting::ResponseCode;
use remoting::body::MessageQueue;
use remoting::body::group_list::GroupList;
use remoting::body::stats::{ConsumeStats, OffsetWrapper};
use remoting::body::topic_list::TopicList;
use remoting::header::group::{
    GetConsumeStatsRequestHeader, QueryTopicConsumeByWhoRequestHeader,
    QueryTopicsByConsumerRequestHeader,
};
use rt::Rt;
use shard::CallError;
use std::collections::BTreeSet;
use std::rc::Rc;
use store::ReadError;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsumeStatsError {
    #[error("the log cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<ConsumeStatsError> for Refusal {
    fn from(error: ConsumeStatsError) -> Self {
        let code = match error {
            ConsumeStatsError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            ConsumeStatsError::Read(_) | ConsumeStatsError::Call(_) => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// `GET_CONSUME_STATS` (208).
pub(crate) async fn consume_stats<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, GetConsumeStatsRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let header = request.header;
    let group = header.consumer_group;
    let topics = wanted_topics(services, group, header.topic, header.topic_list).await?;
    let mut stats = ConsumeStats::default();
    for topic in topics {
        add_topic(services, group, &topic, &mut stats).await?;
    }
    Ok(Answer::body(stats.encode()))
}

/// Java `AdminBrokerProcessor.getTopicsForCollectingConsumeStats`: a list is taken as it is; else
/// the topic, or all that the group has offsets of, less what a group that is online does not
/// subscribe to.
async fn wanted_topics<R: Rt>(
    services: &Rc<Services<R>>,
    group: &str,
    topic: Option<&str>,
    list: Option<&str>,
) -> Result<BTreeSet<String>, ConsumeStatsError> {
    let listed = list
        .unwrap_or_default()
        .split(';')
        .filter(|topic| !topic.is_empty());
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    if !listed.is_empty() {
        return Ok(listed);
    }
    let mut topics = match topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => BTreeSet::from([topic.to_owned()]),
        None => topics_with_offsets(services, group).await?,
    };
    if let Some(subscribed) = services.clients.subscriptions(group)
        && !subscribed.topics.is_empty()
    {
        topics.retain(|topic| subscribed.topics.contains_key(topic));
    }
    Ok(topics)
}

/// Topics that a group has committed offsets of.
pub(crate) async fn topics_with_offsets<R: Rt>(
    services: &Rc<Services<R>>,
    group: &str,
) -> Result<BTreeSet<String>, CallError> {
    let group = group.to_owned();
    let parts = services
        .gather(move |services: Rc<Services<R>>| async move {
            let mut topics = BTreeSet::new();
            services.shard.offsets.for_each(|topic, name, _, _| {
                if name == group && !topics.contains(topic) {
                    topics.insert(topic.to_owned());
                }
            });
            topics
        })
        .await?;
    Ok(parts.into_iter().flatten().collect())
}

/// One readable queue on its shard.
struct QueueRow {
    queue_id: u32,
    broker_offset: i64,
    consumer_offset: i64,
    last_ms: i64,
}

async fn add_topic<R: Rt>(
    services: &Rc<Services<R>>,
    group: &str,
    topic: &str,
    stats: &mut ConsumeStats,
) -> Result<(), ConsumeStatsError> {
    let Some(config) = services.shard.topics().find(topic).cloned() else {
        return Ok(());
    };
    let count = config.read_queue_nums.max(0).cast_unsigned();
    let (group, name) = (group.to_owned(), topic.to_owned());
    let parts = services
        .gather(move |services: Rc<Services<R>>| async move {
            let rows = queue_rows(&services, &group, &name, count).await?;
            let key = topic_at_group(&name, &group);
            let rates = services.stats.item(Kind::GroupGetNums, &key);
            let tps = rates.map_or(0.0, |[minute, ..]| minute.tps);
            Ok::<_, ConsumeStatsError>((rows, tps))
        })
        .await?;
    for part in parts {
        let (rows, tps) = part?;
        stats.consume_tps += tps;
        for row in rows {
            let queue_id = row.queue_id.cast_signed();
            let queue = MessageQueue::new(topic, &services.settings.name, queue_id);
            let wrapper = OffsetWrapper {
                broker_offset: row.broker_offset,
                consumer_offset: row.consumer_offset,
                pull_offset: row.consumer_offset,
                last_timestamp: row.last_ms,
            };
            stats.offset_table.insert(queue, wrapper);
        }
    }
    Ok(())
}

/// The rows of the queues that this shard owns.
async fn queue_rows<R: Rt>(
    services: &Services<R>,
    group: &str,
    topic: &str,
    count: u32,
) -> Result<Vec<QueueRow>, ConsumeStatsError> {
    let (shard, store) = (&services.shard, &services.shard.store);
    let mut rows = Vec::new();
    for queue_id in (0..count).filter(|id| shard.owner_of(topic, *id) == shard.id()) {
        let queue = store.queue(topic, QueueId(queue_id));
        let broker_offset = queue.map_or(0, |queue| store.max_offset(queue).0);
        let consumer_offset = shard
            .offsets
            .find(topic, group, queue_id)
            .unwrap_or(0)
            .max(0);
        // The last message that was consumed tells how old the group's progress is.
        let last_ms = match queue {
            Some(queue) if consumer_offset > 0 => {
                let last = QueueOffset(consumer_offset - 1);
                store.store_timestamp_at(queue, last).await?.unwrap_or(0)
            }
            _ => 0,
        };
        rows.push(QueueRow {
            queue_id,
            broker_offset,
            consumer_offset,
            last_ms,
        });
    }
    Ok(rows)
}

/// `QUERY_TOPIC_CONSUME_BY_WHO` (300): groups that are online with the topic or have offsets of it.
pub(crate) async fn groups_of_topic<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, QueryTopicConsumeByWhoRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let topic = request.header.topic.to_owned();
    let parts = services
        .gather(move |services: Rc<Services<R>>| async move {
            let clients = &services.clients;
            let mut groups: BTreeSet<String> = clients.consumer_groups().into_iter().collect();
            groups.retain(|group| {
                let online = clients.subscriptions(group);
                online.is_some_and(|online| online.topics.contains_key(&topic))
            });
            services.shard.offsets.for_each(|name, group, _, _| {
                if name == topic && !groups.contains(group) {
                    groups.insert(group.to_owned());
                }
            });
            groups
        })
        .await
        .map_err(ConsumeStatsError::from)?;
    let group_list = parts.into_iter().flatten().collect();
    Ok(Answer::json(&GroupList { group_list }))
}

/// `QUERY_TOPICS_BY_CONSUMER` (343): topics that the group has offsets of.
pub(crate) async fn topics_of_group<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, QueryTopicsByConsumerRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let topics = topics_with_offsets(services, request.header.group).await;
    let topics = topics.map_err(ConsumeStatsError::from)?;
    Ok(Answer::json(&TopicList {
        topic_list: topics.into_iter().collect(),
        broker_addr: Some(services.settings.advertised().to_string()),
    }))
}
