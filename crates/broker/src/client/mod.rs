//! Clients: heartbeats, farewells, who is in a group, and telling its members when that changes.
//!
//! A heartbeat is taken on the shard of its connection and forwarded once per group to the shard
//! that owns the group. Invariant: when a heartbeat is answered, every shard knows the group's
//! subscriptions and every member has been told of the change. A group that shard 0 cannot record,
//! because its disk failed, is served from memory. Java: `ClientManageProcessor`,
//! `ConsumerManageProcessor`.

mod ask;
mod group;
mod publish;
mod relay;
mod unrecorded;

pub(crate) use ask::{AskError, Asks, ask};
pub(crate) use group::{Clients, ConsumerGroup, Member};
pub(crate) use relay::{consume_directly, running_info};

use crate::assemble::Services;
use crate::conn::Conn;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::names::{self, RETRY_PREFIX};
use crate::reply::Refusal;
use crate::subscription::{FilterError, MessageFilter};
use crate::topics;
use base::ShardId;
use remoting::ResponseCode;
use remoting::body::client::{CheckClientRequestBody, GetConsumerListByGroupResponseBody};
use remoting::body::dialect;
use remoting::body::heartbeat::{ConsumerData, HeartbeatData};
use remoting::body::subscription_group::SubscriptionGroupConfig;
use remoting::header::client::{
    GetConsumerListByGroupRequestHeader, UnregisterClientRequestHeader,
};
use rt::Rt;
use shard::{CallError, ConnId, ControlError};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// What can go wrong with clients and groups.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the body cannot be read: {0}")]
    Body(String),
    #[error("no consumer for this group, {0}")]
    NoConsumer(String),
    #[error(
        "subscription group not exist, {0}, see https://rocketmq.apache.org/docs/bestPractice/06FAQ"
    )]
    UnknownGroup(String),
    #[error(transparent)]
    Name(#[from] names::NameError),
    #[error("The broker does not support consumer to filter message by {0}")]
    Filter(String),
    #[error(transparent)]
    Expression(FilterError),
    #[error("the number of group members of a shard has reached the limit of {0}")]
    TooManyMembers(usize),
    #[error(transparent)]
    Topic(#[from] topics::TopicError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::UnknownGroup(_) => ResponseCode::SubscriptionGroupNotExist,
            ClientError::Name(_) => ResponseCode::InvalidParameter,
            ClientError::Expression(_) => ResponseCode::SubscriptionParseFailed,
            ClientError::Call(_) | ClientError::TooManyMembers(_) => ResponseCode::SystemBusy,
            ClientError::Topic(topic) => return topic.into(),
            ClientError::Body(_)
            | ClientError::NoConsumer(_)
            | ClientError::Filter(_)
            | ClientError::Control(_) => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// `HEART_BEAT` (34).
pub(crate) async fn heartbeat<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let data: HeartbeatData = dialect::from_slice(request.command.body)
        .map_err(|error| ClientError::Body(error.to_string()))?;
    let member = Member {
        conn: request.caller.conn,
        peer: request.caller.peer,
        client_id: data.client_id,
        language: request.command.language,
        version: request.command.version,
        last_heartbeat_us: 0,
    };
    let without_subscriptions = data.without_sub;
    let mut is_sub_change = false;
    for consumer in data.consumer_data_set {
        let group = consumer.group_name.clone();
        let joined = join(services, member.clone(), consumer, without_subscriptions).await;
        match joined {
            Ok(is_unknown) => is_sub_change |= is_unknown,
            // Java ClientManageProcessor.heartBeat: a group that cannot be is left out in silence.
            Err(error @ (ClientError::UnknownGroup(_) | ClientError::Name(_))) => {
                tracing::debug!(group = %group.escape_debug(), %error, "group left out");
            }
            Err(error) => return Err(error.into()),
        }
    }
    for producer in data.producer_data_set {
        join_as_producer(services, member.clone(), producer.group_name).await?;
    }
    let answer = Answer::empty()
        .with_field("IS_SUPPORT_HEART_BEAT_V2", "true")
        .with_field(
            "IS_SUB_CHANGE",
            if is_sub_change { "true" } else { "false" },
        );
    Ok(answer)
}

/// Brings one consumer of a heartbeat to its group. Whether the group knows no subscription.
async fn join<R: Rt>(
    services: &Rc<Services<R>>,
    member: Member,
    data: ConsumerData,
    without_subscriptions: bool,
) -> Result<bool, ClientError> {
    let config = ensure_group(services, &data.group_name).await?;
    let retry_topic = format!("{RETRY_PREFIX}{}", data.group_name);
    if config.retry_queue_nums > 0 {
        let count = config.retry_queue_nums;
        match topics::ensure_retry_topic(services, &retry_topic, count).await {
            // Without it messages cannot be sent back, which is then refused; reading goes on.
            Err(topics::TopicError::Control(ControlError::Log(reason))) => {
                tracing::debug!(%retry_topic, reason, "a retry topic is not made");
            }
            made => made?,
        }
    }
    let Some(conn) = services.conns.find(member.conn) else {
        return Ok(false);
    };
    conn.groups.borrow_mut().insert(data.group_name.clone());
    let to = services.shard.owner_of_group(&data.group_name);
    let notifies = config.notify_consumer_ids_changed_enable;
    services
        .call(to, move |services| async move {
            services
                .clients
                .join(&services, member, data, without_subscriptions, notifies)
                .await
        })
        .await?
}

async fn join_as_producer<R: Rt>(
    services: &Rc<Services<R>>,
    member: Member,
    group: String,
) -> Result<(), ClientError> {
    let Some(conn) = services.conns.find(member.conn) else {
        return Ok(());
    };
    conn.groups.borrow_mut().insert(group.clone());
    let to = services.shard.owner_of_group(&group);
    let join = move |services: Rc<Services<R>>| async move {
        let now_us = services.shard.rt.monotonic_us();
        services.clients.join_as_producer(member, &group, now_us)
    };
    services.call(to, join).await?
}

/// The group's configuration; made when the settings allow it, and kept in memory alone while shard
/// 0 cannot write.
pub(crate) async fn ensure_group<R: Rt>(
    services: &Rc<Services<R>>,
    group: &str,
) -> Result<Arc<SubscriptionGroupConfig>, ClientError> {
    if let Some(config) = services.shard.groups().find(group) {
        return Ok(Arc::clone(config));
    }
    names::check_group(group)?;
    if !services.settings.creates_groups {
        return Err(ClientError::UnknownGroup(group.to_owned()));
    }
    let unrecorded = &services.clients.unrecorded;
    match record_group(services, group).await {
        Ok(()) => unrecorded.forget(group),
        Err(error @ ClientError::Control(ControlError::Log(_))) => {
            if unrecorded.find(group).is_none() {
                tracing::warn!(group, %error, "a group is served from memory");
            }
            return unrecorded.add(group).ok_or(error);
        }
        Err(error) => return Err(error),
    }
    let groups = services.shard.groups();
    let config = groups.find(group).map(Arc::clone);
    config.ok_or_else(|| ClientError::UnknownGroup(group.to_owned()))
}

/// Has shard 0 make the group. Done when every shard knows it.
async fn record_group<R: Rt>(services: &Rc<Services<R>>, group: &str) -> Result<(), ClientError> {
    let name = group.to_owned();
    let create = move |services: Rc<Services<R>>| async move {
        let control = services.control();
        if control.groups().find(&name).is_some() {
            return control.publish().await;
        }
        control.put_group(SubscriptionGroupConfig::new(&name)).await
    };
    Ok(services.call(ShardId::CONTROL, create).await??)
}

/// `UNREGISTER_CLIENT` (35).
pub(crate) async fn unregister<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, UnregisterClientRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let header = &request.header;
    let groups = [header.consumer_group, header.producer_group];
    for group in groups.into_iter().flatten().filter(|g| !g.is_empty()) {
        let conn = request.caller.conn;
        if let Some(conn) = services.conns.find(conn) {
            conn.groups.borrow_mut().remove(group);
        }
        leave(services, conn, group)
            .await
            .map_err(ClientError::from)?;
    }
    Ok(Answer::empty())
}

/// Takes a connection that has ended out of its groups.
pub(crate) async fn connection_closed<R: Rt>(services: &Rc<Services<R>>, conn: &Conn<R>) {
    if services.stop.is_set() {
        // All members leave: nobody is there to be told.
        return;
    }
    let groups: BTreeSet<String> = conn.groups.take();
    for group in groups {
        if leave(services, conn.caller.conn, &group).await.is_err() {
            return;
        }
    }
}

async fn leave<R: Rt>(
    services: &Rc<Services<R>>,
    conn: ConnId,
    group: &str,
) -> Result<(), CallError> {
    let to = services.shard.owner_of_group(group);
    let group = group.to_owned();
    let leave = move |services: Rc<Services<R>>| async move {
        services.clients.leave(&services, conn, &group).await;
    };
    services.call_until_done(to, leave).await
}

/// `GET_CONSUMER_LIST_BY_GROUP` (38).
pub(crate) async fn consumer_list<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, GetConsumerListByGroupRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let group = request.header.consumer_group;
    let ids = services.clients.client_ids(group);
    if ids.is_empty() {
        return Err(ClientError::NoConsumer(group.to_owned()).into());
    }
    let body = GetConsumerListByGroupResponseBody {
        consumer_id_list: ids,
    };
    Ok(Answer::json(&body))
}

/// `CHECK_CLIENT_CONFIG` (46): whether an expression can be used. Java:
/// `ClientManageProcessor.checkClientConfig`.
pub(crate) async fn check_config<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    if request.command.body.is_empty() {
        return Ok(Answer::empty());
    }
    let body: CheckClientRequestBody = dialect::from_slice(request.command.body)
        .map_err(|error| ClientError::Body(error.to_string()))?;
    let Some(data) = body.subscription_data else {
        return Ok(Answer::empty());
    };
    let kind = data.expression_type.as_deref();
    match MessageFilter::compile(kind, &data.sub_string) {
        // Java asks nothing of tags.
        Ok(MessageFilter::Tags(_)) | Err(FilterError::Tags(_)) => Ok(Answer::empty()),
        _ if !services.settings.filters_by_properties => {
            Err(ClientError::Filter(kind.unwrap_or_default().to_owned()).into())
        }
        Ok(MessageFilter::Properties(_)) => Ok(Answer::empty()),
        Err(error) => Err(ClientError::Expression(error).into()),
    }
}

/// Takes members out whose last heartbeat is too old.
pub(crate) fn sweep<R: Rt>(services: &Rc<Services<R>>) {
    let now_us = services.shard.rt.monotonic_us();
    for (group, conn) in services.clients.expired(now_us) {
        let services = Rc::clone(services);
        let rt = services.shard.rt.clone();
        rt.spawn(rt::Class::Housekeeping, async move {
            services.clients.leave(&services, conn, &group).await;
        });
    }
}
