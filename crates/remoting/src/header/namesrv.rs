//! Headers of the name server: registration, routes, key-value configuration.
//!
//! They own their text: nothing here is on the path of a message. Java: package
//! `remoting.protocol.header.namesrv`.

use super::RemotingHeader;

/// `REGISTER_BROKER` (103).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct RegisterBrokerRequestHeader {
    /// The broker's name.
    pub broker_name: String,
    /// The broker's `ip:port`.
    pub broker_addr: String,
    /// The cluster.
    pub cluster_name: String,
    /// Where the broker serves its slaves.
    pub ha_server_addr: String,
    /// The broker's id in its group: 0 is the master.
    pub broker_id: i64,
    /// After how long without a sign the broker is gone, in milliseconds.
    pub heartbeat_timeout_millis: Option<i64>,
    /// Whether a slave may act as master; absent before 5.0.
    pub enable_acting_master: Option<bool>,
    /// Whether the body is compressed.
    pub compressed: Option<bool>,
    /// CRC-32 of the body without its highest bit; 0 if none was computed.
    pub body_crc32: Option<i32>,
}

/// The answer to 103; empty for a master.
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct RegisterBrokerResponseHeader {
    /// Where the master serves its slaves.
    pub ha_server_addr: Option<String>,
    /// Where the master serves clients.
    pub master_addr: Option<String>,
}

/// `UNREGISTER_BROKER` (104).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct UnRegisterBrokerRequestHeader {
    /// The broker's name.
    pub broker_name: String,
    /// The broker's `ip:port`.
    pub broker_addr: String,
    /// The cluster.
    pub cluster_name: String,
    /// The broker's id in its group: 0 is the master.
    pub broker_id: i64,
}

/// `QUERY_DATA_VERSION` (322).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryDataVersionRequestHeader {
    /// The broker's name.
    pub broker_name: String,
    /// The broker's `ip:port`.
    pub broker_addr: String,
    /// The cluster.
    pub cluster_name: String,
    /// The broker's id in its group: 0 is the master.
    pub broker_id: i64,
}

/// The answer to 322.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct QueryDataVersionResponseHeader {
    /// Whether the name server has another version.
    pub changed: bool,
}

/// `BROKER_HEARTBEAT` (904).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct BrokerHeartbeatRequestHeader {
    /// The cluster.
    pub cluster_name: String,
    /// The broker's `ip:port`.
    pub broker_addr: String,
    /// The broker's name.
    pub broker_name: String,
    /// The broker's id in its group: 0 is the master.
    pub broker_id: Option<i64>,
    /// For the controller.
    pub epoch: Option<i32>,
    /// For the controller.
    pub max_offset: Option<i64>,
    /// For the controller.
    pub confirm_offset: Option<i64>,
    /// After how long without a sign the broker is gone, in milliseconds. The spelling is Java's.
    pub heartbeat_timeout_mills: Option<i64>,
    /// For the controller.
    pub election_priority: Option<i32>,
}

/// `GET_ROUTEINFO_BY_TOPIC` (105).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetRouteInfoRequestHeader {
    /// The topic.
    pub topic: String,
    /// Whether integer keys must be quoted.
    pub accept_standard_json_only: Option<bool>,
}

/// `GET_TOPICS_BY_CLUSTER` (224).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetTopicsByClusterRequestHeader {
    /// The cluster.
    pub cluster: String,
}

/// `GET_BROKER_MEMBER_GROUP` (901).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetBrokerMemberGroupRequestHeader {
    /// The cluster.
    pub cluster_name: String,
    /// The broker's name.
    pub broker_name: String,
}

/// `REGISTER_TOPIC_IN_NAMESRV` (217).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct RegisterTopicRequestHeader {
    /// The topic.
    pub topic: String,
}

/// `DELETE_TOPIC_IN_NAMESRV` (216).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct DeleteTopicFromNamesrvRequestHeader {
    /// The topic.
    pub topic: String,
    /// The only cluster to delete it in.
    pub cluster_name: Option<String>,
}

/// `WIPE_WRITE_PERM_OF_BROKER` (205).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct WipeWritePermOfBrokerRequestHeader {
    /// The broker's name.
    pub broker_name: String,
}

/// The answer to 205.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct WipeWritePermOfBrokerResponseHeader {
    /// How many topics lost the permission.
    pub wipe_topic_count: i32,
}

/// `ADD_WRITE_PERM_OF_BROKER` (327).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct AddWritePermOfBrokerRequestHeader {
    /// The broker's name.
    pub broker_name: String,
}

/// The answer to 327.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct AddWritePermOfBrokerResponseHeader {
    /// How many topics were given the permission.
    pub add_topic_count: i32,
}

/// `PUT_KV_CONFIG` (100). Java: `PutKVConfigRequestHeader`.
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct PutKvConfigRequestHeader {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// `GET_KV_CONFIG` (101). Java: `GetKVConfigRequestHeader`.
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetKvConfigRequestHeader {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
}

/// The answer to 101. Java: `GetKVConfigResponseHeader`.
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetKvConfigResponseHeader {
    /// The value.
    pub value: Option<String>,
}

/// `DELETE_KV_CONFIG` (102). Java: `DeleteKVConfigRequestHeader`.
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct DeleteKvConfigRequestHeader {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
}

/// `GET_KVLIST_BY_NAMESPACE` (219). Java: `GetKVListByNamespaceRequestHeader`.
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct GetKvListByNamespaceRequestHeader {
    /// The namespace.
    pub namespace: String,
}
