//! Questions of clients and tools: routes, clusters, lists of topics.
//!
//! Each function reads the route table under its lock and writes the answer's body after it. What
//! must always hold: a successful route answer has a body, since clients take one for granted.
//! Answers to Java's `ClientRequestProcessor` and the reading half of `DefaultRequestProcessor`.

use super::{Answer, RequestError};
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::route_table::UnitTopics;
use crate::server::NameServer;
use remoting::body::cluster_info::{BrokerMemberGroup, GetBrokerMemberGroupResponseBody};
use remoting::body::topic_list::TopicList;
use remoting::command::Command;
use remoting::header::RemotingHeader;
use remoting::header::namesrv::{
    GetBrokerMemberGroupRequestHeader, GetRouteInfoRequestHeader, GetTopicsByClusterRequestHeader,
};

type Result = std::result::Result<Answer, RequestError>;

/// Clients from `V4_9_4` on read standard JSON; older ones get the integer keys unquoted, as Java
/// writes them (`ClientRequestProcessor.getRouteInfoByTopic`).
const VERSION_OF_STANDARD_JSON: i32 = 401;

/// `GET_ROUTEINFO_BY_TOPIC` (105).
pub(super) fn route(server: &NameServer, request: &Command<'_>) -> Result {
    let header = GetRouteInfoRequestHeader::decode(&request.fields)?;
    let config = server.config();
    let wait_ms = u64::from(config.wait_seconds_for_service) * 1_000;
    if config.need_wait_for_service && server.now().0 < wait_ms {
        return Err(RequestError::NotReady);
    }
    let found = server.table().route(&header.topic);
    let mut route = found.ok_or_else(|| RequestError::NoRoute(header.topic.clone()))?;
    if config.order_message_enable {
        let keys = server.kv().table();
        let queues = keys.value(ORDER_TOPIC_CONFIG, &header.topic);
        route.order_topic_conf = queues.map(str::to_owned);
    }
    let standard = request.version >= VERSION_OF_STANDARD_JSON
        || header.accept_standard_json_only.unwrap_or(false);
    Ok(Answer::of_body(if standard {
        route.to_standard_json()?
    } else {
        route.to_fastjson()?
    }))
}

/// `GET_BROKER_CLUSTER_INFO` (106).
pub(super) fn cluster_info(server: &NameServer) -> Result {
    let info = server.table().cluster_info();
    Ok(Answer::of_body(info.to_fastjson()?))
}

/// `GET_BROKER_MEMBER_GROUP` (901).
pub(super) fn member_group(server: &NameServer, request: &Command<'_>) -> Result {
    let header = GetBrokerMemberGroupRequestHeader::decode(&request.fields)?;
    let broker_addrs = server.table().member_addresses(&header.broker_name);
    let body = GetBrokerMemberGroupResponseBody {
        broker_member_group: BrokerMemberGroup {
            cluster: header.cluster_name,
            broker_name: header.broker_name,
            broker_addrs,
        },
    };
    Ok(Answer::of_body(body.to_fastjson()?))
}

/// `GET_ALL_TOPIC_LIST_FROM_NAMESERVER` (206).
pub(super) fn all_topics(server: &NameServer) -> Result {
    if !server.config().enable_all_topic_list {
        return Err(RequestError::Disabled);
    }
    let topics = server.table().topic_names();
    topic_list(topics, None)
}

/// `GET_TOPICS_BY_CLUSTER` (224).
pub(super) fn topics_of_cluster(server: &NameServer, request: &Command<'_>) -> Result {
    if !server.config().enable_topic_list {
        return Err(RequestError::Disabled);
    }
    let header = GetTopicsByClusterRequestHeader::decode(&request.fields)?;
    let topics = server.table().topic_names_of(&header.cluster);
    topic_list(topics, None)
}

/// `GET_SYSTEM_TOPIC_LIST_FROM_NS` (304).
pub(super) fn system_topics(server: &NameServer) -> Result {
    let (topics, address) = server.table().system_topic_names();
    topic_list(topics, address)
}

/// `GET_UNIT_TOPIC_LIST` (311), `GET_HAS_UNIT_SUB_TOPIC_LIST` (312) and
/// `GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST` (313).
pub(super) fn unit_topics(server: &NameServer, which: UnitTopics) -> Result {
    if !server.config().enable_topic_list {
        return Err(RequestError::Disabled);
    }
    let topics = server.table().unit_topic_names(which);
    topic_list(topics, None)
}

fn topic_list(topics: impl IntoIterator<Item = String>, broker_addr: Option<String>) -> Result {
    let topic_list = topics.into_iter().collect();
    let list = TopicList {
        topic_list,
        broker_addr,
    };
    Ok(Answer::of_body(serde_json::to_vec(&list)?))
}
