//! What the name server is told at its start.
//!
//! Owned by the caller of `serve`. The keys themselves are declared in `config`, which also says
//! which of them may change while the server runs. What must always hold: every bound is finite.
//! Answers to Java's `NamesrvConfig` and, for the connection bounds, `NettyServerConfig`.

use config::NamesrvConfig;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that the name server needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The file of the key-value configuration.
    pub kv_config_path: PathBuf,
    /// The keys as they were configured; those that are live may change by request 318.
    pub config: NamesrvConfig,
    /// Bounds of connections.
    pub limits: Limits,
}

/// Bounds of connections and of what is kept.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections at a time; more are closed as soon as they are accepted.
    pub connections_max: usize,
    /// Longest frame, in bytes, not counting its length word.
    pub frame_len_max: usize,
    /// How long a connection may be silent.
    pub idle: Duration,
    /// How long the rest of a frame may take after its first byte.
    pub frame: Duration,
    /// How long a peer may take to accept an answer.
    pub write: Duration,
    /// Most bytes of unfinished frames, of all connections together.
    pub receive_bytes_max: usize,
    /// Most bytes of answers that peers have not accepted, of all connections together.
    pub reply_bytes_max: usize,
    /// Most broker addresses.
    pub addresses_max: usize,
    /// Most topics.
    pub topics_max: usize,
    /// Longest key-value configuration, in bytes of its file.
    pub kv_bytes_max: usize,
    /// How often silent brokers are looked for: `scanNotActiveBrokerInterval`.
    pub scan_interval: Duration,
}

impl Settings {
    /// Settings after configured keys. `kv_config_path` counts where the configuration names none.
    pub fn new(config: NamesrvConfig, kv_config_path: PathBuf) -> Self {
        let kv_config_path = config
            .kv_config_path
            .as_ref()
            .map_or(kv_config_path, PathBuf::from);
        let limits = Limits {
            connections_max: config.max_connections,
            idle: Duration::from_secs(config.server_channel_max_idle_time_seconds),
            frame: Duration::from_secs(config.frame_deadline_seconds),
            write: Duration::from_secs(config.write_deadline_seconds),
            scan_interval: Duration::from_millis(config.scan_not_active_broker_interval_ms),
            ..Limits::default()
        };
        Self {
            listen: SocketAddr::new(config.bind_address, config.listen_port),
            kv_config_path,
            config,
            limits,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            frame_len_max: remoting::frame::FRAME_LEN_MAX,
            idle: Duration::from_mins(2),
            frame: Duration::from_secs(10),
            write: Duration::from_secs(10),
            receive_bytes_max: 64 << 20,
            reply_bytes_max: 64 << 20,
            addresses_max: 10_000,
            topics_max: 1_000_000,
            kv_bytes_max: 16 << 20,
            scan_interval: Duration::from_secs(5),
        }
    }
}
