//! Members of the groups that this shard owns.
//!
//! Owned by the shard of the group. A member is a connection; a group without members is
//! forgotten, its offsets stay. Invariant: the subscriptions of a group are those of the newest
//! heartbeat of any member. Java: `ConsumerManager`, `ConsumerGroupInfo`, `ProducerManager`.

use super::ClientError;
use super::publish::Publisher;
use super::unrecorded::Unrecorded;
use crate::assemble::Services;
use crate::subscription::{GroupSubscriptions, Subscription};
use base::HashMap;
use remoting::RequestCode;
use remoting::body::heartbeat::{ConsumeType, ConsumerData, MessageModel, SubscriptionData};
use remoting::command::{SerializeType, write_request};
use remoting::header::client::NotifyConsumerIdsChangedRequestHeader;
use remoting::language::LanguageCode;
use rt::Rt;
use shard::ConnId;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// One client of a group.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) conn: ConnId,
    pub(crate) peer: SocketAddr,
    pub(crate) client_id: String,
    pub(crate) language: LanguageCode,
    pub(crate) version: i32,
    /// Monotonic, on the group's shard.
    pub(crate) last_heartbeat_us: u64,
}

/// A consumer group with members.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerGroup {
    pub(crate) members: Vec<Member>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    pub(crate) consume_type: ConsumeType,
    pub(crate) message_model: MessageModel,
    pub(crate) consume_from_where: String,
    notifies: bool,
}

/// The groups of one shard, and what other shards have published of theirs.
#[derive(Debug)]
pub(crate) struct Clients {
    consumers: RefCell<BTreeMap<String, ConsumerGroup>>,
    producers: RefCell<BTreeMap<String, Vec<Member>>>,
    published: RefCell<HashMap<String, Arc<GroupSubscriptions>>>,
    pub(super) publisher: Publisher,
    /// Groups that are served although they are not recorded.
    pub(crate) unrecorded: Unrecorded,
    member_count: Cell<usize>,
    members_max: usize,
}

/// A member without a heartbeat for so long is gone, in microseconds.
const MEMBER_EXPIRY_US: u64 = 120_000_000;

impl Clients {
    pub(crate) fn new(members_max: usize, groups_max: usize) -> Self {
        Self {
            consumers: RefCell::default(),
            producers: RefCell::default(),
            published: RefCell::default(),
            publisher: Publisher::default(),
            unrecorded: Unrecorded::new(groups_max),
            member_count: Cell::new(0),
            members_max,
        }
    }

    /// What the group subscribes to, whichever shard owns it; `None` when it has no members.
    pub(crate) fn subscriptions(&self, group: &str) -> Option<Arc<GroupSubscriptions>> {
        self.published.borrow().get(group).cloned()
    }

    /// A group that this shard owns.
    pub(crate) fn consumer_group(&self, group: &str) -> Option<ConsumerGroup> {
        self.consumers.borrow().get(group).cloned()
    }

    /// The groups that this shard owns and that have members.
    pub(crate) fn consumer_groups(&self) -> Vec<String> {
        self.consumers.borrow().keys().cloned().collect()
    }

    /// The connection of a member of a group that this shard owns, the newest of that client id.
    pub(crate) fn consumer_conn(&self, group: &str, client_id: &str) -> Option<ConnId> {
        let consumers = self.consumers.borrow();
        let members = &consumers.get(group)?.members;
        let named = members.iter().filter(|m| m.client_id == client_id);
        named.max_by_key(|m| m.last_heartbeat_us).map(|m| m.conn)
    }

    /// The connection of a client that is a member of a producer group of this shard, and when it was
    /// last heard of; the newest.
    pub(crate) fn producer_conn(&self, client_id: &str) -> Option<(u64, ConnId)> {
        let producers = self.producers.borrow();
        let named = producers.values().flatten();
        let named = named.filter(|m| m.client_id == client_id);
        named
            .map(|m| (m.last_heartbeat_us, m.conn))
            .max_by_key(|(seen_us, _)| *seen_us)
    }

    /// The members of a producer group that this shard owns.
    pub(crate) fn producers(&self, group: &str) -> Vec<Member> {
        let producers = self.producers.borrow();
        producers.get(group).cloned().unwrap_or_default()
    }

    /// The producer groups that this shard owns.
    pub(crate) fn producer_groups(&self) -> Vec<(String, Vec<Member>)> {
        let producers = self.producers.borrow();
        producers
            .iter()
            .map(|(g, m)| (g.clone(), m.clone()))
            .collect()
    }

    /// The distinct client ids of a group that this shard owns, in the order they came.
    pub(crate) fn client_ids(&self, group: &str) -> Vec<String> {
        let consumers = self.consumers.borrow();
        let mut ids = Vec::new();
        for member in consumers.get(group).iter().flat_map(|g| &g.members) {
            if !ids.contains(&member.client_id) {
                ids.push(member.client_id.clone());
            }
        }
        ids
    }

    /// Takes a consumer's heartbeat: its member, its subscriptions. Whether the group still knows
    /// no subscription, so that the client must send a whole heartbeat.
    pub(super) async fn join<R: Rt>(
        &self,
        services: &Services<R>,
        mut member: Member,
        data: ConsumerData,
        without_subscriptions: bool,
        notifies: bool,
    ) -> Result<bool, ClientError> {
        member.last_heartbeat_us = services.shard.rt.monotonic_us();
        let name = data.group_name.clone();
        let (notifies, publishes, is_unknown) = {
            let mut consumers = self.consumers.borrow_mut();
            let group = consumers
                .entry(name.clone())
                .or_insert_with(|| ConsumerGroup {
                    members: Vec::new(),
                    subscriptions: BTreeMap::new(),
                    consume_type: data.consume_type,
                    message_model: data.message_model,
                    consume_from_where: data.consume_from_where.clone(),
                    notifies,
                });
            let is_new = self.place(&mut group.members, member)?;
            group.consume_type = data.consume_type;
            let is_changed = group.message_model != data.message_model;
            group.message_model = data.message_model;
            group.consume_from_where = data.consume_from_where;
            group.notifies = notifies;
            let mut resubscribed = Resubscribed::default();
            if !without_subscriptions {
                resubscribed = group.resubscribe(data.subscription_data_set);
            }
            let is_unknown = without_subscriptions && group.subscriptions.is_empty();
            let notifies = is_new || is_changed || resubscribed.topics_changed;
            (notifies, notifies || resubscribed.is_newer, is_unknown)
        };
        if publishes {
            self.publish(services, &name).await;
        }
        if notifies {
            self.notify(services, &name);
        }
        Ok(is_unknown)
    }

    pub(super) fn join_as_producer(
        &self,
        mut member: Member,
        group: &str,
        now_us: u64,
    ) -> Result<(), ClientError> {
        member.last_heartbeat_us = now_us;
        let mut producers = self.producers.borrow_mut();
        let members = producers.entry(group.to_owned()).or_default();
        self.place(members, member)?;
        Ok(())
    }

    /// Puts the member in its place; whether it is new.
    fn place(&self, members: &mut Vec<Member>, member: Member) -> Result<bool, ClientError> {
        if let Some(known) = members.iter_mut().find(|m| m.conn == member.conn) {
            let is_new = known.client_id != member.client_id;
            *known = member;
            return Ok(is_new);
        }
        if self.member_count.get() >= self.members_max {
            return Err(ClientError::TooManyMembers(self.members_max));
        }
        self.member_count.set(self.member_count.get() + 1);
        members.push(member);
        Ok(true)
    }

    /// Takes a connection out of a group, as consumer and as producer.
    pub(super) async fn leave<R: Rt>(&self, services: &Services<R>, conn: ConnId, group: &str) {
        let has_left = self.remove(conn, group);
        if has_left {
            self.publish(services, group).await;
            self.notify(services, group);
        }
    }

    fn remove(&self, conn: ConnId, name: &str) -> bool {
        let drop_from = |members: &mut Vec<Member>| {
            let before = members.len();
            members.retain(|member| member.conn != conn);
            let gone = before - members.len();
            self.member_count.set(self.member_count.get() - gone);
            gone > 0
        };
        let mut producers = self.producers.borrow_mut();
        if let Some(members) = producers.get_mut(name) {
            drop_from(members);
            if members.is_empty() {
                producers.remove(name);
            }
        }
        let mut consumers = self.consumers.borrow_mut();
        let Some(group) = consumers.get_mut(name) else {
            return false;
        };
        let has_left = drop_from(&mut group.members);
        if group.members.is_empty() {
            consumers.remove(name);
        }
        has_left
    }

    /// Groups and connections whose last heartbeat is too old.
    pub(super) fn expired(&self, now_us: u64) -> Vec<(String, ConnId)> {
        let is_old =
            |member: &&Member| now_us.saturating_sub(member.last_heartbeat_us) > MEMBER_EXPIRY_US;
        let mut expired = Vec::new();
        for (name, group) in self.consumers.borrow().iter() {
            let old = group.members.iter().filter(is_old);
            expired.extend(old.map(|member| (name.clone(), member.conn)));
        }
        for (name, members) in self.producers.borrow().iter() {
            let old = members.iter().filter(is_old);
            expired.extend(old.map(|member| (name.clone(), member.conn)));
        }
        expired
    }

    /// Takes what another shard, or this one, has published of a group.
    pub(super) fn adopt(&self, group: &str, subscriptions: Option<Arc<GroupSubscriptions>>) {
        let mut published = self.published.borrow_mut();
        match subscriptions {
            Some(subscriptions) => {
                published.insert(group.to_owned(), subscriptions);
            }
            None => {
                published.remove(group);
            }
        }
    }

    /// What is to be published of a group.
    pub(super) fn to_publish(&self, group: &str) -> Option<Arc<GroupSubscriptions>> {
        let consumers = self.consumers.borrow();
        let group = consumers.get(group)?;
        Some(Arc::new(GroupSubscriptions {
            topics: group.subscriptions.clone(),
            is_broadcast: group.message_model == MessageModel::Broadcasting,
        }))
    }

    /// Tells every member of a group that its members or subscriptions changed.
    fn notify<R: Rt>(&self, services: &Services<R>, name: &str) {
        let consumers = self.consumers.borrow();
        let Some(group) = consumers.get(name) else {
            return;
        };
        let is_broadcast = group.message_model == MessageModel::Broadcasting;
        if is_broadcast || !group.notifies || !services.settings.notifies_members {
            return;
        }
        let header = NotifyConsumerIdsChangedRequestHeader {
            consumer_group: name,
        };
        let code = RequestCode::NotifyConsumerIdsChanged as i32;
        let mut frame = Vec::new();
        write_request(&mut frame, SerializeType::Json, code, 0, true, &header, &[]);
        for member in &group.members {
            services.push(member.conn, frame.clone());
        }
    }
}

/// What a heartbeat changed in a group's subscriptions.
#[derive(Debug, Clone, Copy, Default)]
struct Resubscribed {
    /// A topic was added or dropped.
    topics_changed: bool,
    /// A subscription has a newer version.
    is_newer: bool,
}

impl ConsumerGroup {
    /// Replaces the subscriptions by those of the newest heartbeat.
    fn resubscribe(&mut self, newest: Vec<SubscriptionData>) -> Resubscribed {
        let newest: BTreeMap<String, SubscriptionData> = newest
            .into_iter()
            .map(|data| (data.topic.clone(), data))
            .collect();
        let before = self.subscriptions.len();
        self.subscriptions
            .retain(|topic, _| newest.contains_key(topic));
        let mut result = Resubscribed {
            topics_changed: self.subscriptions.len() != before,
            is_newer: false,
        };
        for (topic, data) in newest {
            match self.subscriptions.get_mut(&topic) {
                // Java ConsumerGroupInfo.updateSubscription: the larger version stays, and members
                // are told of topics only. Clients raise the version at every rebalance: telling
                // all members of that would make them rebalance again.
                Some(known) if data.sub_version > known.version => {
                    result.is_newer = true;
                    *known = Subscription::new(data, Some(known));
                }
                Some(_) => {}
                None => {
                    self.subscriptions
                        .insert(topic, Subscription::new(data, None));
                    result.topics_changed = true;
                }
            }
        }
        result
    }
}
