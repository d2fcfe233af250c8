//! Settings of the broker: plain numbers and names, already translated from configuration keys.
//!
//! Shared by all shards, immutable. Each field has one unit and one meaning; the store's own
//! settings stand in `store`. Invariant: nothing here changes while the broker runs.

use base::ShardId;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Who may use administration codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAccess {
    /// Clients on the broker's own machine.
    LocalHost,
    /// Every client.
    Everyone,
}

/// Settings of a broker.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the configuration that is on or off"
)]
pub struct BrokerSettings {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub name: String,
    /// `brokerId`; 0 is a master.
    pub id: i64,
    /// `brokerIP1`: the address that clients are told and that message ids carry.
    pub advertised_ip: IpAddr,
    /// `brokerIP2`: the address that replicas are told.
    pub ha_ip: IpAddr,
    /// `bindAddress`: where the ports listen.
    pub bind_ip: IpAddr,
    /// `listenPort`.
    pub listen_port: u16,
    /// `haListenPort`, as told to name servers.
    pub ha_port: u16,
    /// Name servers, as `host:port`, in the order of `namesrvAddr`. Names are resolved by whoever
    /// makes these settings.
    pub name_servers: Vec<SocketAddr>,
    /// How often the broker registers, in milliseconds (10,000 to 60,000 in production).
    pub register_interval_ms: u64,
    /// `brokerPermission`: 2 write, 4 read.
    pub permission: i32,
    /// `regionId`.
    pub region: String,
    /// `traceOn`.
    pub is_trace_on: bool,
    /// `storeReplyMessageEnable`.
    pub stores_replies: bool,
    /// `traceTopicEnable`.
    pub has_trace_topic: bool,
    /// `msgTraceTopicName`.
    pub trace_topic: String,
    /// `autoCreateTopicEnable`.
    pub creates_topics: bool,
    /// `autoCreateSubscriptionGroup`.
    pub creates_groups: bool,
    /// `clusterTopicEnable`.
    pub has_cluster_topic: bool,
    /// `brokerTopicEnable`.
    pub has_broker_topic: bool,
    /// `defaultTopicQueueNums`.
    pub default_queue_count: i32,
    /// `maxMessageSize`, in bytes of body.
    pub body_len_max: usize,
    /// `syncFlushTimeout`, in milliseconds.
    pub sync_flush_timeout_ms: u64,
    /// `longPollingEnable`.
    pub holds_pulls: bool,
    /// Whether consumers may filter by properties, with SQL92.
    pub filters_by_properties: bool,
    /// `shortPollingTimeMills`.
    pub short_polling_ms: u64,
    /// `maxTransferCountOnMessageInMemory`.
    pub transfer_count_max: usize,
    /// `maxTransferBytesOnMessageInMemory`.
    pub transfer_bytes_max: usize,
    /// `maxMsgsNumBatch`: most messages that a query by key gives.
    pub query_count_max: usize,
    /// `defaultQueryMaxNum`: how many messages a query by `UNIQ_KEY` gives.
    pub unique_query_count: usize,
    /// While a shard's log is not longer than this, in bytes, a queue that still has its first
    /// message counts as young: a new group begins at 0.
    pub young_log_bytes: u64,
    /// `notifyConsumerIdsChangedEnable`.
    pub notifies_members: bool,
    /// Bounds and defaults of popping.
    pub pop: PopSettings,
    /// `messageDelayLevel`, in milliseconds by level from 1.
    pub delay_levels_ms: Vec<u64>,
    /// How transactional messages are treated.
    pub transactions: TransactionSettings,
    /// `flushConsumerOffsetInterval`, in milliseconds.
    pub flush_consumer_offset_interval_ms: u64,
    /// Who may use administration codes.
    pub admin_access: AdminAccess,
    /// Every key of the configuration with its value, as tools are shown it.
    pub properties: Vec<(&'static str, String)>,
    /// Bounds of connections and lanes.
    pub net: NetLimits,
    /// The store of each shard is opened with a copy of this, with the shard filled in.
    pub store: store::Settings,
}

/// How transactional messages are treated.
#[derive(Debug, Clone)]
pub struct TransactionSettings {
    /// `rejectTransactionMessage`.
    pub rejects: bool,
    /// `transactionTimeOut`: producers are not asked earlier, in milliseconds.
    pub timeout_ms: u64,
    /// `transactionCheckMax`: how often a producer is asked.
    pub check_max: u32,
    /// `transactionCheckInterval`: pause between two rounds of asking, in milliseconds.
    pub check_interval_ms: u64,
    /// Most undecided half messages of one shard.
    pub half_messages_max: usize,
}

impl Default for TransactionSettings {
    fn default() -> Self {
        Self {
            rejects: false,
            timeout_ms: 6_000,
            check_max: 15,
            check_interval_ms: 30_000,
            half_messages_max: 1_000_000,
        }
    }
}

/// Bounds of connections and lanes of a broker.
#[derive(Debug, Clone)]
pub struct NetLimits {
    /// Longest frame, in bytes after its length word.
    pub frame_len_max: usize,
    /// Connections of the whole broker.
    pub connections_max: usize,
    /// Idle time after which a connection is closed, in milliseconds.
    pub idle_close_ms: u64,
    /// How long a frame may take from its first to its last byte, in milliseconds.
    pub frame_deadline_ms: u64,
    /// How long one write may take, in milliseconds; then the client does not read.
    pub write_deadline_ms: u64,
    /// Bytes of answers that may wait or be promised per connection before it is read no more.
    pub connection_bytes_max: u64,
    /// The same for all connections of a shard.
    pub shard_bytes_max: u64,
    /// Parked pulls per shard.
    pub parked_pulls_max: usize,
    /// Calls that one shard may have under way.
    pub calls_max: usize,
    /// Topics of the broker.
    pub topics_max: usize,
    /// Subscription groups of the broker.
    pub groups_max: usize,
    /// Members of all groups of one shard.
    pub members_max: usize,
    /// How often connections, deadlines and leases are looked at, in milliseconds.
    pub sweep_interval_ms: u64,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            frame_len_max: remoting::frame::FRAME_LEN_MAX,
            connections_max: 65_536,
            idle_close_ms: 120_000,
            frame_deadline_ms: 10_000,
            write_deadline_ms: 10_000,
            connection_bytes_max: 8 << 20,
            shard_bytes_max: 256 << 20,
            parked_pulls_max: 100_000,
            calls_max: 16_384,
            topics_max: 100_000,
            groups_max: 100_000,
            members_max: 200_000,
            sweep_interval_ms: 500,
        }
    }
}

/// Bounds and defaults of popping.
#[derive(Debug, Clone)]
pub struct PopSettings {
    /// `maxPopPollingSize`: pops that wait, of one shard.
    pub parked_max: usize,
    /// `popPollingSize`: of one queue and group.
    pub parked_queue_max: usize,
    /// `popInflightMessageThreshold`: messages popped and not acknowledged, of one queue and group.
    pub popped_max: usize,
    /// `popInflightShardMax`: of one shard.
    pub popped_shard_max: usize,
    /// `defaultMessageRequestMode`: whether groups pop without being told so.
    pub pops_by_default: bool,
    /// `defaultPopShareQueueNum`.
    pub share_by_default: i32,
}

impl Default for PopSettings {
    fn default() -> Self {
        Self {
            parked_max: 100_000,
            parked_queue_max: 1_024,
            popped_max: 10_000,
            popped_shard_max: 2_000_000,
            pops_by_default: false,
            share_by_default: -1,
        }
    }
}

impl BrokerSettings {
    /// Settings with the protocol's defaults, for a broker called `broker-a` that keeps its store
    /// in `dir` and tells clients `advertised_ip`.
    pub fn new(dir: PathBuf, shard_count: u16, advertised_ip: IpAddr) -> Self {
        Self {
            cluster: "DefaultCluster".to_owned(),
            name: "broker-a".to_owned(),
            id: 0,
            advertised_ip,
            ha_ip: advertised_ip,
            bind_ip: IpAddr::from([0, 0, 0, 0]),
            listen_port: 10_911,
            ha_port: 10_912,
            name_servers: Vec::new(),
            register_interval_ms: 30_000,
            permission: 6,
            region: "DefaultRegion".to_owned(),
            is_trace_on: true,
            stores_replies: true,
            has_trace_topic: false,
            trace_topic: "RMQ_SYS_TRACE_TOPIC".to_owned(),
            creates_topics: true,
            creates_groups: true,
            has_cluster_topic: true,
            has_broker_topic: true,
            default_queue_count: 8,
            body_len_max: 4 << 20,
            sync_flush_timeout_ms: 5_000,
            holds_pulls: true,
            filters_by_properties: false,
            short_polling_ms: 1_000,
            transfer_count_max: 32,
            transfer_bytes_max: 256 << 10,
            query_count_max: 64,
            unique_query_count: 32,
            young_log_bytes: 4 << 30,
            notifies_members: true,
            pop: PopSettings::default(),
            delay_levels_ms: DELAY_LEVELS_S.iter().map(|s| s * 1_000).collect(),
            transactions: TransactionSettings::default(),
            flush_consumer_offset_interval_ms: 5_000,
            admin_access: AdminAccess::LocalHost,
            properties: Vec::new(),
            net: NetLimits::default(),
            store: store::Settings::new(dir, ShardId::CONTROL, shard_count),
        }
    }

    /// The address that clients are told.
    pub fn advertised(&self) -> SocketAddr {
        SocketAddr::new(self.advertised_ip, self.listen_port)
    }

    /// The address that replicas are told.
    pub fn ha_address(&self) -> SocketAddr {
        SocketAddr::new(self.ha_ip, self.ha_port)
    }

    /// The second port, which clients call the VIP channel.
    pub fn vip_port(&self) -> u16 {
        self.listen_port.wrapping_sub(2)
    }

    /// Whether `permission` has the bit for writing.
    pub fn is_writable(&self) -> bool {
        self.permission & 2 != 0
    }

    /// Whether `permission` has the bit for reading.
    pub fn is_readable(&self) -> bool {
        self.permission & 4 != 0
    }
}

/// `1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h`.
const DELAY_LEVELS_S: [u64; 18] = [
    1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1_200, 1_800, 3_600, 7_200,
];
