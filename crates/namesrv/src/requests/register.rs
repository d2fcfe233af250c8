//! Requests of brokers: registration, goodbye, signs of life; and tools' changes of topics.
//!
//! Each function decodes, makes one call of the route table under its lock, and answers. What must
//! always hold: a body is taken apart before the lock is taken. Answers to the writing half of
//! Java's `DefaultRequestProcessor`.

use super::{Answer, AnswerHeader, RequestError};
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::route_table::{ConnectionId, Registration};
use crate::server::NameServer;
use remoting::body::dialect;
use remoting::body::register_broker::RegisterBrokerBody;
use remoting::body::route::TopicRouteData;
use remoting::body::topic_config::DataVersion;
use remoting::command::Command;
use remoting::header::RemotingHeader;
use remoting::header::namesrv::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader,
    BrokerHeartbeatRequestHeader, DeleteTopicFromNamesrvRequestHeader,
    QueryDataVersionRequestHeader, QueryDataVersionResponseHeader, RegisterBrokerRequestHeader,
    RegisterBrokerResponseHeader, RegisterTopicRequestHeader, UnRegisterBrokerRequestHeader,
    WipeWritePermOfBrokerRequestHeader, WipeWritePermOfBrokerResponseHeader,
};

type Result = std::result::Result<Answer, RequestError>;

/// The oldest broker that registers with a [`RegisterBrokerBody`]: `V3_0_11`. Before it the body was
/// the topic table alone.
const VERSION_OF_BODY: i32 = 37;

/// `REGISTER_BROKER` (103).
pub(super) fn register(server: &NameServer, from: ConnectionId, request: &Command<'_>) -> Result {
    let header = RegisterBrokerRequestHeader::decode(&request.fields)?;
    // Java DefaultRequestProcessor.checksum: 0 means that the broker computed none.
    let expected = header.body_crc32.unwrap_or(0);
    if expected != 0 && (crc32fast::hash(request.body) & 0x7FFF_FFFF) as i32 != expected {
        return Err(RequestError::Crc);
    }
    let body = if request.body.is_empty() {
        RegisterBrokerBody::default()
    } else if request.version < VERSION_OF_BODY {
        RegisterBrokerBody::decode_topics_only(request.body)?
    } else {
        let compressed = header.compressed.unwrap_or(false);
        RegisterBrokerBody::decode(request.body, compressed, request.version)?
    };
    let wrapper = body.topic_config_serialize_wrapper;
    let registration = Registration {
        cluster: header.cluster_name,
        address: header.broker_addr,
        broker_name: header.broker_name,
        broker_id: header.broker_id,
        ha_address: header.ha_server_addr,
        zone_name: request.fields.get("__ZONE_NAME").map(str::to_owned),
        heartbeat_timeout_ms: header
            .heartbeat_timeout_millis
            .and_then(|ms| ms.try_into().ok()),
        enable_acting_master: header.enable_acting_master,
        data_version: wrapper.data_version,
        topics: wrapper.topic_config_table.into_values().collect(),
        filter_servers: body.filter_server_list,
        connection: from,
    };
    let registered = server.table().register(registration, server.now())?;
    let mut answer = Answer::of_header(AnswerHeader::Registered(RegisterBrokerResponseHeader {
        ha_server_addr: registered.ha_address,
        master_addr: registered.master_address,
    }));
    if server.config().return_order_topic_config_to_broker
        && let Some(keys) = server.kv().table().namespace(ORDER_TOPIC_CONFIG)
    {
        answer.body = super::kv::table_body(keys)?;
    }
    Ok(answer)
}

/// `UNREGISTER_BROKER` (104).
pub(super) fn unregister(server: &NameServer, request: &Command<'_>) -> Result {
    let header = UnRegisterBrokerRequestHeader::decode(&request.fields)?;
    let mut table = server.table();
    table.unregister(&header.cluster_name, &header.broker_addr);
    Ok(Answer::default())
}

/// `QUERY_DATA_VERSION` (322): whether a broker's topics differ from what it registered last.
pub(super) fn data_version(server: &NameServer, request: &Command<'_>) -> Result {
    let header = QueryDataVersionRequestHeader::decode(&request.fields)?;
    let asked: DataVersion = dialect::from_slice(request.body)?;
    let now = server.now();
    let mut table = server.table();
    let held = table.touch(&header.cluster_name, &header.broker_addr, now);
    let changed = held.is_none_or(|held| *held != asked);
    let body = held.map(serde_json::to_vec).transpose()?;
    Ok(Answer {
        header: AnswerHeader::DataVersion(QueryDataVersionResponseHeader { changed }),
        body: body.unwrap_or_default(),
        error: None,
    })
}

/// `BROKER_HEARTBEAT` (904).
pub(super) fn heartbeat(server: &NameServer, request: &Command<'_>) -> Result {
    let header = BrokerHeartbeatRequestHeader::decode(&request.fields)?;
    let now = server.now();
    let mut table = server.table();
    table.touch(&header.cluster_name, &header.broker_addr, now);
    Ok(Answer::default())
}

/// `REGISTER_TOPIC_IN_NAMESRV` (217).
pub(super) fn topic(server: &NameServer, request: &Command<'_>) -> Result {
    let header = RegisterTopicRequestHeader::decode(&request.fields)?;
    let route: TopicRouteData = dialect::from_slice(request.body)?;
    let topic = header.topic;
    if !server.table().register_topic(&topic, route.queue_datas) {
        tracing::warn!(
            topic,
            "topic not registered: it names an unknown broker, or none"
        );
    }
    Ok(Answer::default())
}

/// `DELETE_TOPIC_IN_NAMESRV` (216).
pub(super) fn delete_topic(server: &NameServer, request: &Command<'_>) -> Result {
    let header = DeleteTopicFromNamesrvRequestHeader::decode(&request.fields)?;
    let cluster = header
        .cluster_name
        .as_deref()
        .filter(|name| !name.is_empty());
    server.table().delete_topic(&header.topic, cluster);
    Ok(Answer::default())
}

/// `WIPE_WRITE_PERM_OF_BROKER` (205).
pub(super) fn wipe_write_perm(server: &NameServer, request: &Command<'_>) -> Result {
    let header = WipeWritePermOfBrokerRequestHeader::decode(&request.fields)?;
    let wipe_topic_count = server.table().wipe_write_perm(&header.broker_name);
    tracing::info!(
        broker = header.broker_name,
        wipe_topic_count,
        "write permission wiped"
    );
    Ok(Answer::of_header(AnswerHeader::Wiped(
        WipeWritePermOfBrokerResponseHeader { wipe_topic_count },
    )))
}

/// `ADD_WRITE_PERM_OF_BROKER` (327).
pub(super) fn add_write_perm(server: &NameServer, request: &Command<'_>) -> Result {
    let header = AddWritePermOfBrokerRequestHeader::decode(&request.fields)?;
    let add_topic_count = server.table().add_write_perm(&header.broker_name);
    tracing::info!(
        broker = header.broker_name,
        add_topic_count,
        "write permission given"
    );
    Ok(Answer::of_header(AnswerHeader::Added(
        AddWritePermOfBrokerResponseHeader { add_topic_count },
    )))
}
