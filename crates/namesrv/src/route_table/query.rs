//! Reading the route table: routes for clients, lists for tools.
//!
//! Each function is a pure view of the table at one moment. What must always hold: a route is
//! given only when it names at least one broker with an address; lists are sorted, so that answers
//! of several name servers can be compared. Answers to the reading half of `RouteInfoManager`.

use super::{MASTER_ID, PERM_WRITE, RouteTable};
use remoting::body::cluster_info::ClusterInfo;
use remoting::body::route::{BrokerData, QueueData, TopicRouteData};
use std::collections::{BTreeMap, BTreeSet};

/// Topics of this prefix are never shown with an acting master.
/// Source: Java `TopicValidator.SYNC_BROKER_MEMBER_GROUP_PREFIX`.
const SYNC_BROKER_MEMBER_GROUP_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// Topic flag: made for units. Source: Java `TopicSysFlag`.
const SYS_FLAG_UNIT: i32 = 1;
/// Topic flag: subscribed to by units. Source: Java `TopicSysFlag`.
const SYS_FLAG_UNIT_SUB: i32 = 2;

/// Which topics a list of unit topics holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitTopics {
    /// Those of units.
    Unit,
    /// Those that units subscribe to.
    Subscribed,
    /// Those that units subscribe to but that are of none.
    SubscribedOnly,
}

impl UnitTopics {
    fn holds(self, sys_flag: i32) -> bool {
        let unit = sys_flag & SYS_FLAG_UNIT != 0;
        let subscribed = sys_flag & SYS_FLAG_UNIT_SUB != 0;
        match self {
            Self::Unit => unit,
            Self::Subscribed => subscribed,
            Self::SubscribedOnly => subscribed && !unit,
        }
    }
}

impl RouteTable {
    /// Where a topic's queues are; `None` when nobody serves it.
    pub(crate) fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let rows = self.topics.get(topic)?;
        let mut route = TopicRouteData::default();
        for (broker_name, queue) in rows {
            let Some(data) = self.brokers.get(broker_name) else {
                continue;
            };
            for address in data.broker_addrs.values() {
                if let Some(live) = self.live.get(address)
                    && !live.filter_servers.is_empty()
                {
                    let servers = live.filter_servers.clone();
                    route.filter_server_table.insert(address.clone(), servers);
                }
            }
            let mut shown = data.clone();
            if self.options.support_acting_master
                && !topic.starts_with(SYNC_BROKER_MEMBER_GROUP_PREFIX)
            {
                show_acting_master(&mut shown, queue);
            }
            route.broker_datas.push(shown);
            route.queue_datas.push(queue.clone());
        }
        (!route.broker_datas.is_empty()).then_some(route)
    }

    /// Every broker and every cluster.
    pub(crate) fn cluster_info(&self) -> ClusterInfo {
        ClusterInfo {
            broker_addr_table: self.brokers.clone(),
            cluster_addr_table: self.clusters(),
        }
    }

    /// The addresses of one broker group, by broker id; empty when unknown.
    pub(crate) fn member_addresses(&self, broker_name: &str) -> BTreeMap<i64, String> {
        let data = self.brokers.get(broker_name);
        data.map(|data| data.broker_addrs.clone())
            .unwrap_or_default()
    }

    /// Names of all topics.
    pub(crate) fn topic_names(&self) -> BTreeSet<String> {
        self.topics.keys().cloned().collect()
    }

    /// Names of the topics that brokers of a cluster serve.
    pub(crate) fn topic_names_of(&self, cluster: &str) -> BTreeSet<String> {
        let names = self.broker_names_of(cluster);
        let served = |rows: &BTreeMap<String, QueueData>| rows.keys().any(|b| names.contains(b));
        let topics = self.topics.iter().filter(|(_, rows)| served(rows));
        topics.map(|(topic, _)| topic.clone()).collect()
    }

    /// Names of unit topics, judged by the first broker of each.
    pub(crate) fn unit_topic_names(&self, which: UnitTopics) -> BTreeSet<String> {
        let holds = |rows: &BTreeMap<String, QueueData>| {
            let first = rows.values().next();
            first.is_some_and(|queue| which.holds(queue.topic_sys_flag))
        };
        let topics = self.topics.iter().filter(|(_, rows)| holds(rows));
        topics.map(|(topic, _)| topic.clone()).collect()
    }

    /// Names of clusters and brokers, which are topics too, and some broker's address to ask for
    /// more.
    pub(crate) fn system_topic_names(&self) -> (Vec<String>, Option<String>) {
        let mut names = Vec::new();
        for (cluster, brokers) in self.clusters() {
            for name in std::iter::once(cluster).chain(brokers) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let first = self.brokers.values().next();
        let address = first.and_then(|data| data.broker_addrs.values().next());
        (names, address.cloned())
    }

    pub(super) fn broker_names_of(&self, cluster: &str) -> BTreeSet<String> {
        let of_cluster = self.live.values().filter(|live| live.cluster == cluster);
        of_cluster.map(|live| live.broker_name.clone()).collect()
    }

    fn clusters(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut clusters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for live in self.live.values() {
            let names = clusters.entry(live.cluster.clone()).or_default();
            names.insert(live.broker_name.clone());
        }
        clusters
    }
}

/// Java `RouteInfoManager.pickupTopicRouteData`: the lowest slave stands at id 0 when the group
/// has lost its master and the topic cannot be written.
fn show_acting_master(data: &mut BrokerData, queue: &QueueData) {
    let has_master = data.broker_addrs.contains_key(&MASTER_ID);
    if has_master || !data.enable_acting_master || queue.perm & PERM_WRITE != 0 {
        return;
    }
    if let Some((_, address)) = data.broker_addrs.pop_first() {
        data.broker_addrs.insert(MASTER_ID, address);
    }
}
