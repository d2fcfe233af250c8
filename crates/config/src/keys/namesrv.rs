//! Keys of the name server.
//!
//! Owned by the name server. Names, meanings and defaults are those of Java's `NamesrvConfig`;
//! `maxConnections` and the two deadlines are ours, as in the broker.

use crate::spec::config;
use std::net::{IpAddr, Ipv4Addr};

config! {
    /// Keys of the name server.
    pub struct NamesrvConfig {
        /// The port for clients and brokers.
        "listenPort" [Restart important] listen_port: u16 = 9_876, in 1..=65_535;
        /// The address to listen on; 0.0.0.0 means all.
        "bindAddress" [Restart] bind_address: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        /// The file of the key-value configuration. Without the key: `namesrv/kvConfig.json` in the
        /// data directory of `standalone`, else `$HOME/namesrv/kvConfig.json`.
        "kvConfigPath" [Restart] kv_config_path: Option<String> = None;
        /// Whether routes carry the queues of ordered topics.
        "orderMessageEnable" [Live] order_message_enable: bool = false;
        /// Whether answers to registrations carry them.
        "returnOrderTopicConfigToBroker" [Live] return_order_topic_config_to_broker: bool = true;
        /// Whether the lowest slave is shown as master of a group that lost its own.
        "supportActingMaster" [Live] support_acting_master: bool = false;
        /// Whether the list of all topics is served.
        "enableAllTopicList" [Live] enable_all_topic_list: bool = true;
        /// Whether lists of topics by cluster and kind are served.
        "enableTopicList" [Live] enable_topic_list: bool = true;
        /// Whether routes are given only `waitSecondsForService` after the start.
        "needWaitForService" [Live] need_wait_for_service: bool = false;
        /// How long that is, in seconds.
        "waitSecondsForService" [Live] wait_seconds_for_service: u32 = 45, in 0..=86_400;
        /// Whether a registration removes the topics that it does not name.
        "deleteTopicWithBrokerRegistration" [Live] delete_topic_with_broker_registration: bool = false;
        /// How often silent brokers are looked for, in milliseconds.
        "scanNotActiveBrokerInterval" [Restart] scan_not_active_broker_interval_ms: u64 = 5_000, in 10..=600_000;
        /// How long a connection may be silent, in seconds.
        "serverChannelMaxIdleTimeSeconds" [Restart] server_channel_max_idle_time_seconds: u64 = 120, in 1..=86_400;
        /// Most connections; more are closed as soon as they are accepted. Not in Java.
        "maxConnections" [Restart] max_connections: usize = 16_384, in 1..=1_000_000;
        /// How long the rest of a request may take after its first byte, in seconds. Not in Java.
        "frameDeadlineSeconds" [Restart] frame_deadline_seconds: u64 = 10, in 1..=3_600;
        /// How long a client may take to accept an answer, in seconds. Not in Java.
        "writeDeadlineSeconds" [Restart] write_deadline_seconds: u64 = 10, in 1..=3_600;
        /// The file that log lines are appended to, besides standard error. Empty: none. Not in Java.
        "logFile" [Restart] log_file: Option<String> = None;
    }
}
