//! Routes: where a topic's queues are.
//!
//! Java: `TopicRouteData`, `BrokerData`, `QueueData`. Clients before 4.9.4 get the integer keys
//! without quotes; the others get standard JSON.

use super::dialect;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The body of the answer to `GET_ROUTEINFO_BY_TOPIC` (105), and of `REGISTER_TOPIC_IN_NAMESRV`
/// (217).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    /// The brokers that serve it.
    pub broker_datas: Vec<BrokerData>,
    /// Filter servers by broker address; obsolete.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// Of an ordered topic: `broker:queues;…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// Its queues on each broker.
    pub queue_datas: Vec<QueueData>,
    /// Of a static topic: its mapping by broker name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_by_broker: Option<BTreeMap<String, serde_json::Value>>,
}

impl TopicRouteData {
    /// As every JSON reader takes it.
    pub fn to_standard_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        dialect::to_standard_vec(self)
    }

    /// As clients before 4.9.4 expect it.
    pub fn to_fastjson(&self) -> Result<Vec<u8>, serde_json::Error> {
        dialect::to_vec(self)
    }
}

/// A broker group and its addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// By broker id: 0 is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    /// The group's name.
    pub broker_name: String,
    /// The cluster.
    pub cluster: String,
    /// Whether a slave may act as master.
    pub enable_acting_master: bool,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

/// A topic's queues on one broker group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    /// The group's name.
    pub broker_name: String,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// How many queues may be read.
    pub read_queue_nums: i32,
    /// Bits: 1 unit, 2 subscribed to by units.
    #[serde(alias = "topicSynFlag")]
    pub topic_sys_flag: i32,
    /// How many queues may be written.
    pub write_queue_nums: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of an official name server 5.5.0.
    const ROUTE: &str = r#"{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:25851"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":7,"readQueueNums":16,"topicSysFlag":0,"writeQueueNums":16}]}"#;

    #[test]
    fn a_route_reads_and_is_written_in_both_forms() {
        let bare = ROUTE.replace(r#"{"0":"#, "{0:");
        for text in [ROUTE, &bare] {
            let route: TopicRouteData = dialect::from_slice(text.as_bytes()).unwrap();
            assert_eq!(route.broker_datas[0].broker_addrs[&0], "127.0.0.1:25851");
            assert_eq!(
                String::from_utf8(route.to_standard_json().unwrap()).unwrap(),
                ROUTE
            );
            assert_eq!(
                String::from_utf8(route.to_fastjson().unwrap()).unwrap(),
                bare
            );
        }
    }
}
