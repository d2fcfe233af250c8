//! Keys of the broker itself: who it is, where it registers, topics, groups, pulling.
//!
//! Owned by the broker. Names, meanings and defaults are those of Java's `BrokerConfig`; a doc
//! says so where ours differs.

use crate::spec::config;
use crate::value::{AddressList, BrokerRole, RequestMode};

config! {
    /// Keys of the broker itself.
    pub struct BrokerConfig {
        /// The cluster that the broker belongs to. It is also the name of a topic.
        "brokerClusterName" [Restart important] broker_cluster_name: String = "DefaultCluster".to_owned();
        /// The name of the broker group: a master and its slaves share it. Without the key,
        /// `ringmq broker` takes the host name, as Java does, and `ringmq standalone` this default.
        "brokerName" [Restart important] broker_name: String = "broker-a".to_owned();
        /// 0: the master. Masters use 0 whatever is written here, as in Java.
        "brokerId" [Restart important] broker_id: u64 = 0, in 0..=9_223_372_036_854_775_807;
        /// Only `ASYNC_MASTER` is served yet; the other two need replication and are refused.
        "brokerRole" [Restart important] broker_role: BrokerRole = BrokerRole::AsyncMaster;
        /// The name servers to register with: `host:port`, separated by `;`. The option `-n` and the
        /// environment variable `NAMESRV_ADDR` say the same; the file wins over the variable,
        /// the option wins over the file.
        "namesrvAddr" [Restart important] namesrv_addr: AddressList = AddressList::default();
        /// The port for clients. The port two below it is served as well (the "VIP channel").
        "listenPort" [Restart important] listen_port: u16 = 10_911, in 3..=65_535;
        /// The address that clients are told. Without the key: 127.0.0.1 in `standalone`, else the
        /// first address of this machine that is not a loopback, as in Java.
        "brokerIP1" [Restart important] broker_ip1: Option<String> = None;
        /// The address that slaves are told. Without the key: the same as `brokerIP1`.
        "brokerIP2" [Restart] broker_ip2: Option<String> = None;
        /// The port that slaves are told; nothing listens there yet. Without the key: one above
        /// `listenPort`.
        "haListenPort" [Restart] ha_listen_port: Option<u16> = None, in 1..=65_535;
        /// What clients may do: 4 read, 2 write, 6 both.
        "brokerPermission" [Restart] broker_permission: u32 = 6, in 0..=7;
        /// Whether a message for an unknown topic creates the topic.
        "autoCreateTopicEnable" [Restart important] auto_create_topic_enable: bool = true;
        /// Whether a consumer of an unknown group creates the group.
        "autoCreateSubscriptionGroup" [Restart important] auto_create_subscription_group: bool = true;
        /// Queues of `TBW102`, the template of automatically created topics.
        "defaultTopicQueueNums" [Restart] default_topic_queue_nums: u32 = 8, in 1..=65_536;
        /// Whether the cluster's name is a topic that can be auto-created from.
        "clusterTopicEnable" [Restart] cluster_topic_enable: bool = true;
        /// Whether the broker's name is a topic that can be auto-created from.
        "brokerTopicEnable" [Restart] broker_topic_enable: bool = true;
        /// Whether message traces of clients are stored, in the topic that `msgTraceTopicName` names.
        "traceTopicEnable" [Restart important] trace_topic_enable: bool = false;
        /// The topic of message traces.
        "msgTraceTopicName" [Restart important] msg_trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC".to_owned();
        /// Whether answers tell clients that tracing is on.
        "traceOn" [Restart] trace_on: bool = true;
        /// Whether replies to requests are stored, besides being handed to the client that asked.
        "storeReplyMessageEnable" [Restart] store_reply_message_enable: bool = true;
        /// The region that answers tell clients for their traces.
        "regionId" [Restart] region_id: String = "DefaultRegion".to_owned();
        /// Whether a pull that finds nothing waits at the broker as long as the client allows.
        /// When false it waits `shortPollingTimeMills`.
        "longPollingEnable" [Restart] long_polling_enable: bool = true;
        /// Whether consumers may filter by properties, with SQL92 expressions. Tags need no permission.
        "enablePropertyFilter" [Restart important] enable_property_filter: bool = false;
        /// How long a pull waits when `longPollingEnable` is false, in milliseconds.
        "shortPollingTimeMills" [Restart] short_polling_time_ms: u64 = 1_000, in 1..=60_000;
        /// How a group without a mode of its own gets messages, when its clients let the broker
        /// assign queues: `PULL` or `POP`.
        "defaultMessageRequestMode" [Restart] default_message_request_mode: RequestMode = RequestMode::Pull;
        /// With how many of the next clients a client shares queues, when the mode is `POP` by
        /// default. Below 1, all share all.
        "defaultPopShareQueueNum" [Restart] default_pop_share_queue_num: i64 = -1, in -1..=65_536;
        /// Most pops of one shard that wait for messages.
        "maxPopPollingSize" [Restart] max_pop_polling_size: usize = 100_000, in 1..=10_000_000;
        /// Most pops of one queue, or of all queues of a topic, and of one group, that wait.
        "popPollingSize" [Restart] pop_polling_size: usize = 1_024, in 1..=10_000_000;
        /// Most messages of a queue that a group has popped and not acknowledged; then it gets no
        /// more of it. Java asks only with `enablePopMessageThreshold`.
        "popInflightMessageThreshold" [Restart] pop_inflight_message_threshold: usize = 10_000, in 32..=10_000_000;
        /// The same for all queues and groups of one shard. Not in Java.
        "popInflightShardMax" [Restart] pop_inflight_shard_max: usize = 2_000_000, in 32..=100_000_000;
        /// Whether consumers of a group are told at once when its members change.
        "notifyConsumerIdsChangedEnable" [Restart] notify_consumer_ids_changed_enable: bool = true;
        /// Whether transactional messages are refused.
        "rejectTransactionMessage" [Restart] reject_transaction_message: bool = false;
        /// How long after a transactional message was made its producer is not asked how the
        /// transaction ended, in milliseconds. A message may ask for more with the property
        /// `CHECK_IMMUNITY_TIME_IN_SECONDS`.
        "transactionTimeOut" [Restart important] transaction_time_out_ms: u64 = 6_000, in 1..=86_400_000;
        /// How often a producer is asked how a transaction ended. After that the message goes to the
        /// topic `TRANS_CHECK_MAX_TIME_TOPIC`.
        "transactionCheckMax" [Restart important] transaction_check_max: u32 = 15, in 0..=1_000_000;
        /// Pause between two rounds of asking producers, in milliseconds.
        "transactionCheckInterval" [Restart important] transaction_check_interval_ms: u64 = 30_000, in 10..=86_400_000;
        /// Most undecided transactional messages of one shard, about 100 bytes of memory each. More
        /// are refused as busy. Not in Java.
        "halfMessagesMax" [Restart] half_messages_max: usize = 1_000_000, in 1..=100_000_000;
        /// How often the broker registers with its name servers, in milliseconds. As in Java, values
        /// below 10000 and above 60000 count as those.
        "registerNameServerPeriod" [Restart] register_name_server_period_ms: u64 = 30_000, in 1..=86_400_000;
        /// How often consumer offsets that moved are written to the log, in milliseconds. After a
        /// crash, offsets are at most this much behind.
        "flushConsumerOffsetInterval" [Restart] flush_consumer_offset_interval_ms: u64 = 5_000, in 10..=600_000;
        /// Whether clients on other machines may use requests of administration, such as creating
        /// topics. Without it only clients on this machine may; Java without ACL lets everybody.
        /// Not in Java.
        "adminOpen" [Restart important] admin_open: bool = false;
        /// Most topics of the broker. Not in Java.
        "topicsMax" [Restart] topics_max: usize = 100_000, in 64..=10_000_000;
        /// Most subscription groups of the broker. Not in Java.
        "groupsMax" [Restart] groups_max: usize = 100_000, in 64..=10_000_000;
        /// Most members of all groups of one shard. Not in Java.
        "membersMax" [Restart] members_max: usize = 200_000, in 1..=10_000_000;
    }
}
