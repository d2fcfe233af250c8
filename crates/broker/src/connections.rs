//! Who is connected: requests 203, 204, 328 and 345.
//!
//! Members of a group live on the group's shard, where these requests run; the list of all
//! producers is gathered. What must always hold: an address is shown as `ip:port`, as Java's
//! tools print it. Answers to the connection requests of Java's `AdminBrokerProcessor`.

use crate::assemble::Services;
use crate::client::{ConsumerGroup, Member};
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::reply::Refusal;
use remoting::ResponseCode;
use remoting::body::connection::{Connection, ConsumerConnection, ProducerConnection};
use remoting::body::heartbeat::SubscriptionData;
use remoting::header::group::{
    GetConsumerConnectionListRequestHeader, GetProducerConnectionListRequestHeader,
    QuerySubscriptionByConsumerRequestHeader,
};
use rt::Rt;
use serde::Serialize;
use shard::CallError;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Why nobody is shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionsError {
    #[error("the consumer group[{0}] not online")]
    ConsumerOffline(String),
    #[error("the producer group[{0}] not exist")]
    NoProducer(String),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<ConnectionsError> for Refusal {
    fn from(error: ConnectionsError) -> Self {
        let code = match error {
            ConnectionsError::ConsumerOffline(_) => ResponseCode::ConsumerNotOnline,
            ConnectionsError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            ConnectionsError::NoProducer(_) | ConnectionsError::Call(_) => {
                ResponseCode::SystemError
            }
        };
        Self::new(code, error.to_string())
    }
}

/// `GET_CONSUMER_CONNECTION_LIST` (203); runs on the group's shard.
pub(crate) async fn consumers<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, GetConsumerConnectionListRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let name = request.header.consumer_group;
    let group = services.clients.consumer_group(name);
    let group = group.ok_or_else(|| ConnectionsError::ConsumerOffline(name.to_owned()))?;
    Ok(Answer::json(&shown(group)))
}

fn shown(group: ConsumerGroup) -> ConsumerConnection {
    let subscriptions = group.subscriptions.into_iter();
    ConsumerConnection {
        connection_set: group.members.iter().map(connection).collect(),
        subscription_table: subscriptions
            .map(|(topic, subscription)| (topic, subscription.data))
            .collect(),
        consume_type: group.consume_type,
        message_model: group.message_model,
        consume_from_where: group.consume_from_where,
    }
}

/// `GET_PRODUCER_CONNECTION_LIST` (204); runs on the group's shard.
pub(crate) async fn producers<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, GetProducerConnectionListRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let name = request.header.producer_group;
    let members = services.clients.producers(name);
    if members.is_empty() {
        return Err(ConnectionsError::NoProducer(name.to_owned()).into());
    }
    let connection_set = members.iter().map(connection).collect();
    Ok(Answer::json(&ProducerConnection { connection_set }))
}

fn connection(member: &Member) -> Connection {
    Connection {
        client_id: member.client_id.clone(),
        client_addr: member.peer.to_string(),
        language: member.language,
        version: member.version,
    }
}

/// Java `ProducerTableInfo`.
#[derive(Debug, Serialize)]
struct ProducerTable {
    data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// Java `ProducerInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProducerInfo {
    client_id: String,
    language: &'static str,
    last_update_timestamp: i64,
    #[serde(rename = "remoteIP")]
    remote_ip: String,
    version: i32,
}

/// `GET_ALL_PRODUCER_INFO` (328).
pub(crate) async fn all_producers<R: Rt>(
    services: &Rc<Services<R>>,
    _request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let parts = services
        .gather(|services: Rc<Services<R>>| async move {
            let rt = &services.shard.rt;
            let (now_ms, now_us) = (rt.now_ms(), rt.monotonic_us());
            let info = |member: Member| producer_info(member, now_ms, now_us);
            let groups = services.clients.producer_groups().into_iter();
            groups
                .map(|(name, members)| (name, members.into_iter().map(info).collect()))
                .collect::<Vec<(String, Vec<ProducerInfo>)>>()
        })
        .await
        .map_err(ConnectionsError::from)?;
    let data = parts.into_iter().flatten().collect();
    Ok(Answer::json(&ProducerTable { data }))
}

fn producer_info(member: Member, now_ms: i64, now_us: u64) -> ProducerInfo {
    let age_ms = now_us.saturating_sub(member.last_heartbeat_us) / 1_000;
    ProducerInfo {
        language: member.language.name(),
        last_update_timestamp: now_ms - age_ms.cast_signed(),
        // Java ProducerManager.getProducerTable prints the socket address with its slash.
        remote_ip: format!("/{}", member.peer),
        version: member.version,
        client_id: member.client_id,
    }
}

/// Java `QuerySubscriptionResponseBody`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueriedSubscription<'a> {
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_data: Option<SubscriptionData>,
    topic: &'a str,
}

/// `QUERY_SUBSCRIPTION_BY_CONSUMER` (345).
pub(crate) async fn subscription<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, QuerySubscriptionByConsumerRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let (group, topic) = (
        request.header.group,
        request.header.topic.unwrap_or_default(),
    );
    let online = services.clients.subscriptions(group);
    let subscription_data =
        online.and_then(|online| online.topics.get(topic).map(|found| found.data.clone()));
    Ok(Answer::json(&QueriedSubscription {
        group,
        subscription_data,
        topic,
    }))
}
