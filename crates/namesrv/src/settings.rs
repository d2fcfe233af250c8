//! What the name server is told at its start, and what may change while it runs.
//!
//! Owned by the caller of `serve`; the live half is owned by the server afterwards. What must
//! always hold: every bound is finite. Answers to Java's `NamesrvConfig` and, for the connection
//! bounds, `NettyServerConfig`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that the name server needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The file of the key-value configuration: `kvConfigPath`.
    pub kv_config_path: PathBuf,
    /// What may change while the server runs.
    pub live: Live,
    /// Other keys and values that tools are shown, as `key` and `value`: request 319.
    pub shown: Vec<(String, String)>,
    /// Bounds of connections.
    pub limits: Limits,
}

/// What may change while the server runs, by request 318.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Live {
    /// `orderMessageEnable`: routes carry the queues of ordered topics.
    pub order_message: bool,
    /// `returnOrderTopicConfigToBroker`: so do answers to registrations.
    pub return_order_topic_config_to_broker: bool,
    /// `supportActingMaster`: the lowest slave is shown as master of a group that lost its own.
    pub support_acting_master: bool,
    /// `enableAllTopicList`: request 206 is served.
    pub all_topic_list: bool,
    /// `enableTopicList`: requests 224 and 311 to 313 are served.
    pub topic_list: bool,
    /// `needWaitForService`: no routes are given until `wait_seconds_for_service` after the start.
    pub need_wait_for_service: bool,
    /// `waitSecondsForService`, in seconds from the start.
    pub wait_seconds_for_service: u32,
    /// `deleteTopicWithBrokerRegistration`: registrations remove the topics they do not name.
    pub delete_topic_with_broker_registration: bool,
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

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9_876)),
            kv_config_path: PathBuf::from("namesrv/kvConfig.json"),
            live: Live::default(),
            shown: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self {
            order_message: false,
            return_order_topic_config_to_broker: true,
            support_acting_master: false,
            all_topic_list: true,
            topic_list: true,
            need_wait_for_service: false,
            wait_seconds_for_service: 45,
            delete_topic_with_broker_registration: false,
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

impl Live {
    /// Every live key with its value, sorted.
    pub(crate) fn entries(&self) -> Vec<(&'static str, String)> {
        let mut live = self.clone();
        let keys = KEYS.iter();
        keys.map(|key| {
            (
                *key,
                live.field(key)
                    .map(|field| field.show())
                    .unwrap_or_default(),
            )
        })
        .collect()
    }

    /// Sets a live key from text; `None` when the key is not live, else whether the value fits.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Option<bool> {
        Some(match self.field(key)? {
            Field::Flag(flag) => value.parse().map(|parsed| *flag = parsed).is_ok(),
            Field::Number(number) => value.parse().map(|parsed| *number = parsed).is_ok(),
        })
    }

    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        Some(match key {
            "orderMessageEnable" => Field::Flag(&mut self.order_message),
            "returnOrderTopicConfigToBroker" => {
                Field::Flag(&mut self.return_order_topic_config_to_broker)
            }
            "supportActingMaster" => Field::Flag(&mut self.support_acting_master),
            "enableAllTopicList" => Field::Flag(&mut self.all_topic_list),
            "enableTopicList" => Field::Flag(&mut self.topic_list),
            "needWaitForService" => Field::Flag(&mut self.need_wait_for_service),
            "waitSecondsForService" => Field::Number(&mut self.wait_seconds_for_service),
            "deleteTopicWithBrokerRegistration" => {
                Field::Flag(&mut self.delete_topic_with_broker_registration)
            }
            _ => return None,
        })
    }
}

/// The live keys, sorted.
const KEYS: [&str; 8] = [
    "deleteTopicWithBrokerRegistration",
    "enableAllTopicList",
    "enableTopicList",
    "needWaitForService",
    "orderMessageEnable",
    "returnOrderTopicConfigToBroker",
    "supportActingMaster",
    "waitSecondsForService",
];

enum Field<'a> {
    Flag(&'a mut bool),
    Number(&'a mut u32),
}

impl Field<'_> {
    fn show(&self) -> String {
        match self {
            Self::Flag(flag) => flag.to_string(),
            Self::Number(number) => number.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_key_takes_the_value_it_shows_and_refuses_nonsense() {
        let mut live = Live::default();
        for (key, value) in Live::default().entries() {
            assert_eq!(live.set(key, &value), Some(true), "{key}");
            assert_eq!(live.set(key, "nonsense"), Some(false), "{key}");
        }
        assert_eq!(live, Live::default());
        assert_eq!(live.set("orderMessageEnable", "true"), Some(true));
        assert!(live.order_message);
        assert_eq!(live.set("kvConfigPath", "/tmp/x"), None);
    }
}
