//! Clusters and broker groups, as tools see them.
//!
//! Java: `ClusterInfo`, `BrokerMemberGroup`. Both are always written with bare integer keys.

use super::dialect;
use super::route::BrokerData;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The body of the answer to `GET_BROKER_CLUSTER_INFO` (106).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// Broker groups by name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Names of broker groups by cluster.
    pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
}

impl ClusterInfo {
    /// As Java writes it.
    pub fn to_fastjson(&self) -> Result<Vec<u8>, serde_json::Error> {
        dialect::to_vec(self)
    }
}

/// One broker group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    /// By broker id: 0 is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    /// The group's name.
    pub broker_name: String,
    /// The cluster.
    pub cluster: String,
}

/// The body of the answer to `GET_BROKER_MEMBER_GROUP` (901).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetBrokerMemberGroupResponseBody {
    /// The group.
    pub broker_member_group: BrokerMemberGroup,
}

impl GetBrokerMemberGroupResponseBody {
    /// As Java writes it.
    pub fn to_fastjson(&self) -> Result<Vec<u8>, serde_json::Error> {
        dialect::to_vec(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_official_answer_reads_and_is_written_the_same() {
        let text = r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"127.0.0.1:25851"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#;
        let info: ClusterInfo = dialect::from_slice(text.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(info.to_fastjson().unwrap()).unwrap(),
            text
        );
    }
}
