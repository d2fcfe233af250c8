//! The route table: which broker serves which queues of which topic, and at which addresses.
//!
//! Owned by the name server, changed only under its lock. It is a plain state machine: time and
//! connections are passed in, nothing is awaited. What must always hold: a broker is known exactly
//! as long as one of its addresses is live, every topic row names a known broker, and no topic is
//! empty; so a route never names a broker that cannot be reached. Clusters are not stored but
//! derived from the live addresses. Answers to Java's `RouteInfoManager`.

mod query;
#[cfg(test)]
mod tests;

pub(crate) use query::UnitTopics;

use base::HashMap;
use remoting::body::route::{BrokerData, QueueData};
use remoting::body::topic_config::{DataVersion, TopicConfig};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The id of a broker group's master. Source: Java `MixAll.MASTER_ID`.
pub(crate) const MASTER_ID: i64 = 0;

/// Permission bit: clients may read. Source: Java `PermName`.
const PERM_READ: i32 = 4;
/// Permission bit: clients may write. Source: Java `PermName`.
const PERM_WRITE: i32 = 2;

/// How long a broker lives without a sign when it names no time itself, in milliseconds.
/// Source: Java `RouteInfoManager.DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`.
const HEARTBEAT_TIMEOUT_MS: u64 = 120_000;

/// A connection to the name server, numbered from 1 as accepted, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Milliseconds of a monotonic clock, from the start of the name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

/// What of the table's behaviour is configurable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// `supportActingMaster`: show the lowest slave as master where a group has lost its own.
    pub(crate) support_acting_master: bool,
    /// `deleteTopicWithBrokerRegistration`: a registration also removes topics it does not name.
    pub(crate) delete_topic_with_registration: bool,
    /// Most live addresses.
    pub(crate) addresses_max: usize,
    /// Most topics.
    pub(crate) topics_max: usize,
}

/// One broker's registration: request 103 after decoding.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) cluster: String,
    pub(crate) address: String,
    pub(crate) broker_name: String,
    pub(crate) broker_id: i64,
    pub(crate) ha_address: String,
    pub(crate) zone_name: Option<String>,
    pub(crate) heartbeat_timeout_ms: Option<u64>,
    /// `None` from brokers before 5.0.
    pub(crate) enable_acting_master: Option<bool>,
    pub(crate) data_version: DataVersion,
    pub(crate) topics: Vec<TopicConfig>,
    pub(crate) filter_servers: Vec<String>,
    pub(crate) connection: ConnectionId,
}

/// What a registering slave is told about its master; empty for a master.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Where the master serves clients.
    pub(crate) master_address: Option<String>,
    /// Where the master serves its slaves.
    pub(crate) ha_address: Option<String>,
}

/// Why a registration is refused. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegisterError {
    /// A registration of one topic may only follow a whole one.
    #[error("register broker failed")]
    SingleTopicFirst,
    /// The table is full.
    #[error("the name server holds at most {limit} {what}")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

/// A live address: one broker process.
#[derive(Debug)]
struct Live {
    cluster: String,
    broker_name: String,
    ha_address: String,
    updated: Moment,
    timeout_ms: u64,
    data_version: DataVersion,
    filter_servers: Vec<String>,
    connection: ConnectionId,
}

/// See the module comment.
#[derive(Debug)]
pub(crate) struct RouteTable {
    options: Options,
    /// Topic, then broker name.
    topics: HashMap<String, BTreeMap<String, QueueData>>,
    /// By broker name; as it is shown to clients.
    brokers: BTreeMap<String, BrokerData>,
    /// By `ip:port`.
    live: BTreeMap<String, Live>,
}

impl RouteTable {
    /// An empty table.
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            topics: HashMap::default(),
            brokers: BTreeMap::new(),
            live: BTreeMap::new(),
        }
    }

    /// Changes what is configurable, from now on.
    pub(crate) fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// Takes a broker in, or renews it. Topics come from masters, and from the lowest slave of
    /// brokers that know acting masters; they are added and changed, not removed.
    pub(crate) fn register(
        &mut self,
        registration: Registration,
        now: Moment,
    ) -> Result<Registered, RegisterError> {
        self.check_room(&registration)?;
        if self.loses_to_holder(&registration) {
            tracing::warn!(
                broker = registration.broker_name,
                id = registration.broker_id,
                address = registration.address,
                "registration ignored: the holder of this id has a higher state version"
            );
            self.remove_address(&registration.address);
            return Ok(Registered::default());
        }
        self.leave_former_place(&registration);
        let first = self.take_place(&registration);
        let changed = first
            || self
                .live
                .get(&registration.address)
                .is_none_or(|live| live.data_version != registration.data_version);
        if self.brings_topics(&registration) {
            self.take_topics(&registration, changed);
        }
        let answer = self.master_of(&registration);
        self.keep_live(registration, now);
        Ok(answer)
    }

    /// Removes a broker that says goodbye. Done also when it was not known.
    pub(crate) fn unregister(&mut self, cluster: &str, address: &str) {
        if self.live_in(cluster, address).is_some() {
            self.remove_address(address);
        }
    }

    /// Removes the brokers that registered over a connection that is gone.
    pub(crate) fn connection_closed(&mut self, connection: ConnectionId) {
        let gone = self.addresses_where(|live| live.connection == connection);
        for address in gone {
            tracing::info!(address, "broker's connection is gone: unregistered");
            self.remove_address(&address);
        }
    }

    /// Removes the brokers that have been silent for too long and tells which connections theirs
    /// were.
    pub(crate) fn expire(&mut self, now: Moment) -> Vec<ConnectionId> {
        let silent =
            self.addresses_where(|live| live.updated.0.saturating_add(live.timeout_ms) < now.0);
        let mut connections = Vec::new();
        for address in silent {
            if let Some(live) = self.live.get(&address) {
                tracing::warn!(address, timeout_ms = live.timeout_ms, "broker expired");
                connections.push(live.connection);
            }
            self.remove_address(&address);
        }
        connections
    }

    /// The version of the topics that a broker last registered, which also is a sign of life.
    pub(crate) fn touch(
        &mut self,
        cluster: &str,
        address: &str,
        now: Moment,
    ) -> Option<&DataVersion> {
        let live = self.live.get_mut(address)?;
        if live.cluster != cluster {
            return None;
        }
        live.updated = now;
        Some(&live.data_version)
    }

    /// Takes the write permission from every topic of a broker, until its next changed
    /// registration; returns how many topics it has.
    pub(crate) fn wipe_write_perm(&mut self, broker_name: &str) -> i32 {
        self.change_perm(broker_name, |perm| perm & !PERM_WRITE)
    }

    /// Gives back read and write permission on every topic of a broker.
    pub(crate) fn add_write_perm(&mut self, broker_name: &str) -> i32 {
        self.change_perm(broker_name, |_| PERM_READ | PERM_WRITE)
    }

    /// Adds queues of one topic for brokers that are known; refused as a whole otherwise.
    pub(crate) fn register_topic(&mut self, topic: &str, queues: Vec<QueueData>) -> bool {
        let known = |queue: &QueueData| self.brokers.contains_key(&queue.broker_name);
        let room = self.topics.contains_key(topic) || self.topics.len() < self.options.topics_max;
        if queues.is_empty() || !room || !queues.iter().all(known) {
            return false;
        }
        let rows = self.topics.entry(topic.to_owned()).or_default();
        for queue in queues {
            rows.insert(queue.broker_name.clone(), queue);
        }
        true
    }

    /// Forgets a topic, in one cluster or (`None`) everywhere.
    pub(crate) fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            return;
        };
        let names = self.broker_names_of(cluster);
        if let Some(rows) = self.topics.get_mut(topic) {
            rows.retain(|broker, _| !names.contains(broker));
            if rows.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    fn live_in(&self, cluster: &str, address: &str) -> Option<&Live> {
        self.live
            .get(address)
            .filter(|live| live.cluster == cluster)
    }

    fn addresses_where(&self, matches: impl Fn(&Live) -> bool) -> Vec<String> {
        let matching = self.live.iter().filter(|(_, live)| matches(live));
        matching.map(|(address, _)| address.clone()).collect()
    }

    fn check_room(&self, new: &Registration) -> Result<(), RegisterError> {
        let holder = self.brokers.get(&new.broker_name);
        let id_known = holder.is_some_and(|data| data.broker_addrs.contains_key(&new.broker_id));
        // Java RouteInfoManager.registerBroker: a registration of one topic is only for a broker
        // that is already known.
        if !id_known && new.topics.len() == 1 {
            return Err(RegisterError::SingleTopicFirst);
        }
        if !self.live.contains_key(&new.address) && self.live.len() >= self.options.addresses_max {
            return Err(RegisterError::Full {
                what: "broker addresses",
                limit: self.options.addresses_max,
            });
        }
        let unknown = |topic: &&TopicConfig| !self.topics.contains_key(&topic.topic_name);
        let added = new.topics.iter().filter(unknown).count();
        if self.topics.len() + added > self.options.topics_max {
            return Err(RegisterError::Full {
                what: "topics",
                limit: self.options.topics_max,
            });
        }
        Ok(())
    }

    /// Whether another address holds this broker id and knows a newer state of the group.
    fn loses_to_holder(&self, new: &Registration) -> bool {
        let holder = self
            .brokers
            .get(&new.broker_name)
            .and_then(|data| data.broker_addrs.get(&new.broker_id))
            .filter(|address| **address != new.address);
        holder
            .and_then(|address| self.live.get(address))
            .is_some_and(|live| live.data_version.state_version > new.data_version.state_version)
    }

    /// A process has one place: the same address under another name, cluster or id gives that up.
    fn leave_former_place(&mut self, new: &Registration) {
        let Some(live) = self.live.get(&new.address) else {
            return;
        };
        if live.broker_name != new.broker_name || live.cluster != new.cluster {
            self.remove_address(&new.address);
        } else if let Some(data) = self.brokers.get_mut(&new.broker_name) {
            data.broker_addrs
                .retain(|id, address| *id == new.broker_id || *address != new.address);
        }
    }

    /// Puts the address at its id; tells whether nobody was there.
    fn take_place(&mut self, new: &Registration) -> bool {
        let data = self
            .brokers
            .entry(new.broker_name.clone())
            .or_insert_with(|| BrokerData {
                cluster: new.cluster.clone(),
                broker_name: new.broker_name.clone(),
                ..BrokerData::default()
            });
        data.enable_acting_master = new.enable_acting_master.unwrap_or(false);
        data.zone_name.clone_from(&new.zone_name);
        let former = data.broker_addrs.insert(new.broker_id, new.address.clone());
        match former {
            None => true,
            Some(address) if address == new.address => false,
            Some(address) => {
                self.live.remove(&address);
                false
            }
        }
    }

    fn brings_topics(&self, new: &Registration) -> bool {
        let lowest = self
            .brokers
            .get(&new.broker_name)
            .and_then(|data| data.broker_addrs.keys().next().copied());
        let is_prime_slave = new.enable_acting_master.is_some() && lowest == Some(new.broker_id);
        new.broker_id == MASTER_ID || is_prime_slave
    }

    fn take_topics(&mut self, new: &Registration, changed: bool) {
        if self.options.delete_topic_with_registration {
            self.drop_topics_not_in(new);
        }
        let acts_as_master =
            new.broker_id != MASTER_ID && new.enable_acting_master.unwrap_or(false);
        for topic in &new.topics {
            let rows = self.topics.entry(topic.topic_name.clone()).or_default();
            let perm = if acts_as_master {
                topic.perm & !PERM_WRITE
            } else {
                topic.perm
            };
            let row = || QueueData {
                broker_name: new.broker_name.clone(),
                read_queue_nums: topic.read_queue_nums,
                write_queue_nums: topic.write_queue_nums,
                perm,
                topic_sys_flag: topic.topic_sys_flag,
            };
            match rows.entry(new.broker_name.clone()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(row());
                }
                Entry::Occupied(mut occupied) if changed => {
                    occupied.insert(row());
                }
                Entry::Occupied(_) => {}
            }
        }
    }

    fn drop_topics_not_in(&mut self, new: &Registration) {
        let named: base::HashSet<&str> = new.topics.iter().map(|t| t.topic_name.as_str()).collect();
        self.topics.retain(|topic, rows| {
            if !named.contains(topic.as_str()) {
                rows.remove(&new.broker_name);
            }
            !rows.is_empty()
        });
    }

    fn master_of(&self, new: &Registration) -> Registered {
        if new.broker_id == MASTER_ID {
            return Registered::default();
        }
        let master = self
            .brokers
            .get(&new.broker_name)
            .and_then(|data| data.broker_addrs.get(&MASTER_ID));
        match master.and_then(|address| Some((address, self.live.get(address)?))) {
            Some((address, live)) => Registered {
                master_address: Some(address.clone()),
                ha_address: Some(live.ha_address.clone()),
            },
            None => Registered::default(),
        }
    }

    fn keep_live(&mut self, new: Registration, now: Moment) {
        let live = Live {
            cluster: new.cluster,
            broker_name: new.broker_name,
            ha_address: new.ha_address,
            updated: now,
            timeout_ms: new.heartbeat_timeout_ms.unwrap_or(HEARTBEAT_TIMEOUT_MS),
            data_version: new.data_version,
            filter_servers: new.filter_servers,
            connection: new.connection,
        };
        if let Some(former) = self.live.insert(new.address.clone(), live) {
            tracing::trace!(broker = former.broker_name, "broker renewed");
        } else {
            tracing::info!(
                address = new.address,
                id = new.broker_id,
                "new broker registered"
            );
        }
    }

    /// Takes an address out of the table, and with the last address of a broker its topics.
    fn remove_address(&mut self, address: &str) {
        let Some(live) = self.live.remove(address) else {
            return;
        };
        let name = live.broker_name;
        let Some(data) = self.brokers.get_mut(&name) else {
            return;
        };
        data.broker_addrs.retain(|_, held| held != address);
        if data.broker_addrs.is_empty() {
            self.brokers.remove(&name);
            self.topics.retain(|_, rows| {
                rows.remove(&name);
                !rows.is_empty()
            });
        } else if data.enable_acting_master && !data.broker_addrs.contains_key(&MASTER_ID) {
            self.wipe_write_perm(&name);
        }
    }

    fn change_perm(&mut self, broker_name: &str, change: impl Fn(i32) -> i32) -> i32 {
        let mut count = 0;
        for rows in self.topics.values_mut() {
            if let Some(row) = rows.get_mut(broker_name) {
                row.perm = change(row.perm);
                count += 1;
            }
        }
        count
    }
}
