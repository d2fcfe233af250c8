//! Where the queues of a topic begin and end, and how fast it fills: request 202.
//!
//! The figures of each queue are taken on the shards that hold it and merged by a pure function.
//! What must always hold: every queue of the topic is in the answer once, empty or not. Answers
//! to Java's `AdminBrokerProcessor.getTopicStatsInfo`.

use crate::assemble::Services;
use crate::handler::{Answer, TaskRequest};
use crate::reply::Refusal;
use crate::stats::Kind;
use base::{QueueId, QueueOffset};
use remoting::ResponseCode;
use remoting::body::MessageQueue;
use remoting::body::stats::{TopicOffset, TopicStatsTable};
use remoting::header::topic::GetTopicStatsInfoRequestHeader;
use rt::Rt;
use shard::CallError;
use std::collections::BTreeMap;
use std::rc::Rc;
use store::ReadError;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicStatsError {
    #[error("topic[{0}] not exist")]
    Unknown(String),
    #[error("the log cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<TopicStatsError> for Refusal {
    fn from(error: TopicStatsError) -> Self {
        let code = match error {
            TopicStatsError::Unknown(_) => ResponseCode::TopicNotExist,
            TopicStatsError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            TopicStatsError::Read(_) | TopicStatsError::Call(_) => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// Figures of one queue on one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QueueFigures {
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// When the last message was stored; 0 when there is none.
    pub(crate) last_ms: i64,
}

/// `GET_TOPIC_STATS_INFO` (202).
pub(crate) async fn topic_stats<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, GetTopicStatsInfoRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let table = collect(services, request.header.topic).await?;
    Ok(Answer::body(table.encode()))
}

async fn collect<R: Rt>(
    services: &Rc<Services<R>>,
    topic: &str,
) -> Result<TopicStatsTable, TopicStatsError> {
    let config = services.shard.topics().find(topic).cloned();
    let config = config.ok_or_else(|| TopicStatsError::Unknown(topic.to_owned()))?;
    let count = config
        .read_queue_nums
        .max(config.write_queue_nums)
        .max(0)
        .cast_unsigned();
    let name = topic.to_owned();
    let parts = services
        .gather(move |services: Rc<Services<R>>| async move {
            let figures = queue_figures(&services, &name, count).await?;
            let rates = services.stats.item(Kind::TopicPutNums, &name);
            let tps = rates.map_or(0.0, |[minute, ..]| minute.tps);
            Ok::<_, TopicStatsError>((figures, tps))
        })
        .await?;
    let mut all = Vec::with_capacity(parts.len());
    let mut topic_put_tps = 0.0;
    for part in parts {
        let (figures, tps) = part?;
        all.push(figures);
        topic_put_tps += tps;
    }
    let row = |(queue_id, figures): (u32, QueueFigures)| {
        let queue = MessageQueue::new(topic, &services.settings.name, queue_id.cast_signed());
        let offset = TopicOffset {
            min_offset: figures.min,
            max_offset: figures.max,
            last_update_timestamp: figures.last_ms,
        };
        (queue, offset)
    };
    Ok(TopicStatsTable {
        offset_table: merge(count, &all).into_iter().map(row).collect(),
        topic_put_tps,
    })
}

/// The figures of the queues of a topic that this shard holds.
async fn queue_figures<R: Rt>(
    services: &Services<R>,
    topic: &str,
    count: u32,
) -> Result<Vec<(u32, QueueFigures)>, TopicStatsError> {
    let store = &services.shard.store;
    let mut figures = Vec::new();
    for queue_id in 0..count {
        let Some(queue) = store.queue(topic, QueueId(queue_id)) else {
            continue;
        };
        let (min, max) = (store.min_offset(queue).0, store.max_offset(queue).0);
        let last_ms = if max > min {
            store
                .store_timestamp_at(queue, QueueOffset(max - 1))
                .await?
        } else {
            None
        };
        let last_ms = last_ms.unwrap_or(0);
        figures.push((queue_id, QueueFigures { min, max, last_ms }));
    }
    Ok(figures)
}

/// One row per queue. A queue lies on one shard, but for those of system topics, which have an
/// instance on every shard: these are shown as one.
fn merge(count: u32, parts: &[Vec<(u32, QueueFigures)>]) -> BTreeMap<u32, QueueFigures> {
    let empty = |queue_id| (queue_id, QueueFigures::default());
    let mut merged: BTreeMap<u32, QueueFigures> = (0..count).map(empty).collect();
    for (queue_id, figures) in parts.iter().flatten() {
        let row = merged.entry(*queue_id).or_default();
        row.min += figures.min;
        row.max += figures.max;
        row.last_ms = row.last_ms.max(figures.last_ms);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_is_shown_once_and_instances_of_one_queue_are_added() {
        let row = |min, max, last_ms| QueueFigures { min, max, last_ms };
        let parts = [
            vec![(0, row(0, 3, 50)), (2, row(1, 4, 60))],
            vec![(2, row(0, 1, 70))],
        ];
        let merged: Vec<_> = merge(4, &parts).into_iter().collect();
        assert_eq!(
            merged,
            [
                (0, row(0, 3, 50)),
                (1, row(0, 0, 0)),
                (2, row(1, 5, 70)),
                (3, row(0, 0, 0)),
            ]
        );
    }
}
