//! Who gets which queue, when clients let the broker decide; and whether a group pulls or pops.
//!
//! `QUERY_ASSIGNMENT` runs anywhere: the mode is asked of shard 0, the members of the shard of the
//! group, the queues of a name server, since other brokers have some too. Invariant: the same
//! members and queues give the same assignment. Java: `QueryAssignmentProcessor`.

use super::PopError;
use crate::assemble::Services;
use crate::client::ensure_group;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::names::RETRY_PREFIX;
use crate::register::route_of;
use crate::reply::Refusal;
use base::ShardId;
use remoting::ResponseCode;
use remoting::body::pop::{
    MessageQueueAssignment, MessageRequestMode, QueryAssignmentRequestBody,
    QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
};
use remoting::body::{MessageQueue, dialect};
use rt::Rt;
use std::collections::BTreeMap;
use std::rc::Rc;

/// `QUERY_ASSIGNMENT` (400).
pub(crate) async fn query_assignment<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let body: QueryAssignmentRequestBody =
        dialect::from_slice(request.command.body).map_err(|e| PopError::Body(e.to_string()))?;
    let mode = mode_of(services, &body.topic, &body.consumer_group).await?;
    let queues = assigned(services, &body, &mode).await?;
    let assignment = |message_queue| MessageQueueAssignment {
        attachments: BTreeMap::new(),
        message_queue,
        mode: mode.mode,
    };
    let assigned = queues.map(|queues| queues.into_iter().map(assignment).collect());
    Ok(Answer::json(&QueryAssignmentResponseBody {
        message_queue_assignments: assigned,
    }))
}

async fn mode_of<R: Rt>(
    services: &Rc<Services<R>>,
    topic: &str,
    group: &str,
) -> Result<SetMessageRequestModeRequestBody, PopError> {
    let (asked_topic, asked_group) = (topic.to_owned(), group.to_owned());
    let find = move |services: Rc<Services<R>>| async move {
        services.shard.modes.find(&asked_topic, &asked_group)
    };
    if let Some(known) = services.call(ShardId::CONTROL, find).await? {
        return Ok(known);
    }
    let settings = &services.settings.pop;
    // Java: messages that a puller has sent back are pulled.
    let pops = settings.pops_by_default && !topic.starts_with(RETRY_PREFIX);
    Ok(SetMessageRequestModeRequestBody {
        topic: topic.to_owned(),
        consumer_group: group.to_owned(),
        mode: if pops {
            MessageRequestMode::Pop
        } else {
            MessageRequestMode::Pull
        },
        pop_share_queue_num: if pops { settings.share_by_default } else { 0 },
    })
}

/// The client's queues; `None` tells it to keep what it has.
async fn assigned<R: Rt>(
    services: &Rc<Services<R>>,
    body: &QueryAssignmentRequestBody,
    mode: &SetMessageRequestModeRequestBody,
) -> Result<Option<Vec<MessageQueue>>, PopError> {
    let Some(queues) = queues_of(services, &body.topic).await else {
        return Ok(None);
    };
    if body.message_model == "BROADCASTING" {
        return Ok(Some(queues));
    }
    let owner = services.shard.owner_of_group(&body.consumer_group);
    let group = body.consumer_group.clone();
    let ids = move |services: Rc<Services<R>>| async move { services.clients.client_ids(&group) };
    let mut members = services.call(owner, ids).await?;
    members.sort();
    let Some(strategy) = Strategy::of(&body.strategy_name) else {
        return Ok(None);
    };
    if members.is_empty() || body.client_id.trim().is_empty() {
        return Ok(None);
    }
    let pops = mode.mode == MessageRequestMode::Pop;
    let share = mode.pop_share_queue_num;
    Ok(Some(if pops {
        for_pop(strategy, &body.client_id, &queues, &members, share)
    } else {
        strategy.allocate(&body.client_id, &queues, &members)
    }))
}

/// The queues of a topic that can be read, of all brokers, in order.
async fn queues_of<R: Rt>(services: &Rc<Services<R>>, topic: &str) -> Option<Vec<MessageQueue>> {
    let of = |broker: &str, count: i32| {
        let broker = broker.to_owned();
        let queue = move |id| MessageQueue::new(topic, &broker, id);
        (0..count.max(0)).map(queue).collect::<Vec<_>>()
    };
    let mut queues = if let Some(route) = route_of(services, topic).await {
        let readable = |data: &&remoting::body::route::QueueData| data.perm & READ != 0;
        let readable = route.queue_datas.iter().filter(readable);
        readable
            .flat_map(|data| of(&data.broker_name, data.read_queue_nums))
            .collect()
    } else {
        let handle = services.topics.find(&services.shard, topic)?;
        let count = if handle.is_readable() {
            handle.config.read_queue_nums
        } else {
            0
        };
        of(&services.settings.name, count)
    };
    queues.sort_by(|a: &MessageQueue, b| {
        (&a.broker_name, a.queue_id).cmp(&(&b.broker_name, b.queue_id))
    });
    Some(queues)
}

/// How queues are divided; the names are those of the clients' strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    Average,
    Circle,
}

impl Strategy {
    fn of(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Average),
            "AVG_BY_CIRCLE" => Some(Self::Circle),
            _ => None,
        }
    }

    /// Java `AllocateMessageQueueAveragely`, `AllocateMessageQueueAveragelyByCircle`.
    fn allocate(
        self,
        client: &str,
        queues: &[MessageQueue],
        members: &[String],
    ) -> Vec<MessageQueue> {
        let Some(index) = members.iter().position(|member| member == client) else {
            return Vec::new();
        };
        let (all, count) = (queues.len(), members.len());
        match self {
            Self::Circle => queues.iter().skip(index).step_by(count).cloned().collect(),
            Self::Average => {
                let more = all % count;
                let own = if all <= count {
                    usize::from(index < all)
                } else {
                    all / count + usize::from(index < more)
                };
                let start = index * (all / count) + index.min(more);
                queues.iter().skip(start).take(own).cloned().collect()
            }
        }
    }
}

/// Java `QueryAssignmentProcessor.allocate4Pop`.
fn for_pop(
    strategy: Strategy,
    client: &str,
    queues: &[MessageQueue],
    members: &[String],
    share: i32,
) -> Vec<MessageQueue> {
    let count = i32::try_from(members.len()).unwrap_or(i32::MAX);
    let mut own = if share <= 0 || share >= count - 1 {
        // Every client pops all queues: one entry for each broker stands for them.
        let all = |queue: &MessageQueue| MessageQueue::new(&queue.topic, &queue.broker_name, -1);
        queues.iter().map(all).collect()
    } else if members.len() <= queues.len() {
        let index = members.iter().position(|member| member == client);
        let others = index.into_iter().flat_map(|index| {
            let next = (0..=share as usize).map(move |step| (index + step) % members.len());
            next.flat_map(|at| strategy.allocate(&members[at], queues, members))
        });
        others.collect()
    } else {
        // More clients than queues: each gets one all the same.
        let index = members.iter().position(|member| member == client);
        let queue = index.map(|index| queues.get(index % queues.len().max(1)));
        queue.flatten().cloned().into_iter().collect::<Vec<_>>()
    };
    own.sort();
    own.dedup();
    own
}

/// `SET_MESSAGE_REQUEST_MODE` (401).
pub(crate) async fn set_mode<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let row: SetMessageRequestModeRequestBody =
        dialect::from_slice(request.command.body).map_err(|e| PopError::Body(e.to_string()))?;
    if row.topic.starts_with(RETRY_PREFIX) {
        let remark = "retry topic is not allowed to set mode";
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    if services.shard.topics().find(&row.topic).is_none() {
        let remark = format!("topic[{}] not exist", row.topic.escape_debug());
        return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
    }
    ensure_group(services, &row.consumer_group)
        .await
        .map_err(PopError::from)?;
    tracing::info!(?row, peer = %request.caller.peer, "set a message request mode");
    let set =
        move |services: Rc<Services<R>>| async move { services.control().put_mode(row).await };
    let called = services.call(ShardId::CONTROL, set).await;
    let set = called.map_err(PopError::from)?;
    set.map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))?;
    Ok(Answer::empty())
}

/// `PermName.PERM_READ`.
const READ: i32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(queues: &[MessageQueue]) -> Vec<(&str, i32)> {
        let name = |queue: &MessageQueue| queue.queue_id;
        queues
            .iter()
            .map(|queue| (queue.broker_name.as_str(), name(queue)))
            .collect()
    }

    fn queues(count: i32) -> Vec<MessageQueue> {
        (0..count)
            .map(|id| MessageQueue::new("T", "b", id))
            .collect()
    }

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("c{n}")).collect()
    }

    fn ids(queues: &[MessageQueue]) -> Vec<i32> {
        names(queues).into_iter().map(|(_, id)| id).collect()
    }

    #[test]
    fn averages_are_those_of_java() {
        let average = |client, all, count| {
            ids(&Strategy::Average.allocate(client, &queues(all), &members(count)))
        };
        assert_eq!(average("c0", 8, 3), [0, 1, 2]);
        assert_eq!(average("c1", 8, 3), [3, 4, 5]);
        assert_eq!(average("c2", 8, 3), [6, 7]);
        assert_eq!(average("c2", 2, 3), [] as [i32; 0]);
        assert_eq!(average("c1", 2, 3), [1]);
        assert_eq!(average("nobody", 8, 3), [] as [i32; 0]);
        let circle = Strategy::Circle.allocate("c1", &queues(8), &members(3));
        assert_eq!(ids(&circle), [1, 4, 7]);
    }

    #[test]
    fn poppers_share_all_or_the_queues_of_the_next() {
        let pop = |client, all, count, share| {
            let (queues, members) = (queues(all), members(count));
            ids(&for_pop(
                Strategy::Average,
                client,
                &queues,
                &members,
                share,
            ))
        };
        assert_eq!(pop("c0", 4, 3, 0), [-1]);
        assert_eq!(pop("c0", 4, 3, 2), [-1]);
        assert_eq!(pop("c3", 4, 4, 1), [0, 3]);
        assert_eq!(pop("c5", 4, 6, 1), [1]);
        assert_eq!(pop("nobody", 4, 4, 1), [] as [i32; 0]);
    }
}
