//! Keys of the network: where to listen and what a connection may take.
//!
//! Owned by the broker. The first two are those of Java's `NettyServerConfig`, the others are ours:
//! each is a bound that keeps memory within a budget.

use crate::spec::config;
use std::net::{IpAddr, Ipv4Addr};

config! {
    /// Keys of the network.
    pub struct NetConfig {
        /// The address to listen on; 0.0.0.0 means all.
        "bindAddress" [Restart] bind_address: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        /// How long a connection may be silent, in seconds.
        "serverChannelMaxIdleTimeSeconds" [Restart] server_channel_max_idle_time_seconds: u64 = 120, in 1..=86_400;
        /// Most connections of the broker; more are closed as soon as they are accepted. Not in Java.
        "maxConnections" [Restart] max_connections: usize = 65_536, in 1..=1_000_000;
        /// Most bytes of answers that a client has not yet taken; its requests are read no further
        /// while there are so many. Not in Java.
        "connectionReplyBytesMax" [Restart] connection_reply_bytes_max: u64 = 8_388_608, in 65_536..=1_073_741_824;
        /// The same for all connections of one shard. Not in Java.
        "shardReplyBytesMax" [Restart] shard_reply_bytes_max: u64 = 268_435_456, in 1_048_576..=1_099_511_627_776;
        /// Most batches of requests that one shard has under way at others. Not in Java.
        "shardCallsMax" [Restart] shard_calls_max: usize = 16_384, in 16..=1_000_000;
        /// How long the rest of a request may take after its first byte, in seconds. Not in Java.
        "frameDeadlineSeconds" [Restart] frame_deadline_seconds: u64 = 10, in 1..=3_600;
        /// How long a client may take to accept an answer, in seconds. Not in Java.
        "writeDeadlineSeconds" [Restart] write_deadline_seconds: u64 = 10, in 1..=3_600;
        /// Most pulls of one shard that wait for messages; more are answered at once. Not in Java.
        "parkedPullsMax" [Restart] parked_pulls_max: usize = 100_000, in 1..=10_000_000;
    }
}
