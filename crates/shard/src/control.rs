//! What only shard 0 does: it changes topics and groups and makes every shard see the change.
//!
//! A change is a record of shard 0's log, synced whatever the flush mode, then a new snapshot, then
//! acknowledged by every shard; only then is it answered, so that a route leads to no shard that
//! does not know the topic. Changes that come together are synced and published together. Java:
//! `TopicConfigManager`, `SubscriptionGroupManager`.

use crate::core::Shard;
use crate::modes::Modes;
use crate::records::{self, kinds};
use crate::table::ConfigTable;
use base::{LogPosition, ShardId};
use remoting::body::pop::SetMessageRequestModeRequestBody;
use remoting::body::subscription_group::SubscriptionGroupConfig;
use remoting::body::topic_config::{DataVersion, TopicConfig};
use rt::sync::Event;
use rt::{Class, Rt};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Why a change of topics or groups did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The log of shard 0 refused or lost the record.
    #[error("the change could not be written: {0}")]
    Log(String),
    /// Too many topics or groups.
    #[error("the number of {what} has reached the limit of {count_max}")]
    TooMany {
        /// Topics or groups.
        what: &'static str,
        /// The bound.
        count_max: usize,
    },
}

/// The writer of topics and groups.
pub struct Control<R: Rt> {
    shard: Rc<Shard<R>>,
    /// End of the newest record of a change.
    written_end: Cell<LogPosition>,
    wanted: Cell<u64>,
    published: Cell<u64>,
    is_publishing: Cell<bool>,
    /// Why the newest change never becomes durable; a log that failed stays so until a restart.
    failed: RefCell<Option<String>>,
    progress: Event,
}

impl<R: Rt> Control<R> {
    /// Takes over the tables that shard 0 has recovered.
    pub fn new(shard: Rc<Shard<R>>) -> Rc<Self> {
        Rc::new(Self {
            shard,
            written_end: Cell::default(),
            wanted: Cell::new(0),
            published: Cell::new(0),
            is_publishing: Cell::new(false),
            failed: RefCell::default(),
            progress: Event::new(),
        })
    }

    /// The topics as they will be published next.
    pub fn topics(&self) -> Arc<ConfigTable<TopicConfig>> {
        self.shard.written_topics.borrow().clone()
    }

    /// The groups as they will be published next.
    pub fn groups(&self) -> Arc<ConfigTable<SubscriptionGroupConfig>> {
        self.shard.written_groups.borrow().clone()
    }

    /// Adds the topics and groups that are not there yet, as a broker's first start does. Done
    /// when every shard knows them; all are published together.
    ///
    /// # Errors
    /// When the log fails.
    pub async fn add_missing(
        self: &Rc<Self>,
        topics: Vec<TopicConfig>,
        groups: Vec<SubscriptionGroupConfig>,
    ) -> Result<(), ControlError> {
        for topic in topics {
            if self.topics().find(&topic.topic_name).is_none() {
                self.set_topic(topic)?;
            }
        }
        for group in groups {
            if self.groups().find(&group.group_name).is_none() {
                self.set_group(group)?;
            }
        }
        self.commit().await
    }

    /// Creates or replaces a topic. Done when its record survives a power cut and every shard
    /// knows it.
    ///
    /// # Errors
    /// When the log fails or there are too many topics.
    pub async fn put_topic(self: &Rc<Self>, config: TopicConfig) -> Result<(), ControlError> {
        let table = self.topics();
        let name = config.topic_name.clone();
        check_room(&table, &name, "topics", self.shard.limits.topics_max)?;
        self.set_topic(config)?;
        self.commit().await
    }

    /// Removes a topic; done as in [`Control::put_topic`].
    ///
    /// # Errors
    /// When the log fails.
    pub async fn remove_topic(self: &Rc<Self>, name: &str) -> Result<(), ControlError> {
        let table = self.topics();
        let version = self.next_version(&table.data_version);
        let payload = records::encode_row(&version, &Value::from(name));
        self.append(kinds::TOPIC_REMOVED, &payload)?;
        self.forget_modes(|topic, _| topic == name)?;
        self.shard
            .written_topics
            .replace(Arc::new(table.with(name, None, version)));
        self.commit().await
    }

    /// Creates or replaces a group; done as in [`Control::put_topic`].
    ///
    /// # Errors
    /// When the log fails or there are too many groups.
    pub async fn put_group(
        self: &Rc<Self>,
        config: SubscriptionGroupConfig,
    ) -> Result<(), ControlError> {
        let table = self.groups();
        let name = config.group_name.clone();
        check_room(&table, &name, "groups", self.shard.limits.groups_max)?;
        self.set_group(config)?;
        self.commit().await
    }

    /// Removes a group; done as in [`Control::put_topic`].
    ///
    /// # Errors
    /// When the log fails.
    pub async fn remove_group(self: &Rc<Self>, name: &str) -> Result<(), ControlError> {
        let table = self.groups();
        let version = self.next_version(&table.data_version);
        let payload = records::encode_row(&version, &Value::from(name));
        self.append(kinds::GROUP_REMOVED, &payload)?;
        self.forget_modes(|_, group| group == name)?;
        self.shard
            .written_groups
            .replace(Arc::new(table.with(name, None, version)));
        self.commit().await
    }

    /// Says how a group gets the messages of a topic. Done when that survives a power cut.
    ///
    /// # Errors
    /// When the log fails or there are too many such rows.
    pub async fn put_mode(
        self: &Rc<Self>,
        row: SetMessageRequestModeRequestBody,
    ) -> Result<(), ControlError> {
        let modes = &self.shard.modes;
        let count_max = self.shard.limits.groups_max;
        if modes.len() >= count_max && modes.find(&row.topic, &row.consumer_group).is_none() {
            let what = "message request modes";
            return Err(ControlError::TooMany { what, count_max });
        }
        self.append(kinds::REQUEST_MODE, &Modes::record(&row, true))?;
        modes.apply(row, true);
        let written = self.shard.store.wait_durable(self.written_end.get()).await;
        written.map_err(|error| ControlError::Log(error.to_string()))
    }

    /// Forgets what was said of topics and groups that match; the records go with those of the
    /// topic or group that is removed.
    fn forget_modes(&self, matches: impl Fn(&str, &str) -> bool) -> Result<(), ControlError> {
        for row in self.shard.modes.matching(matches) {
            self.append(kinds::REQUEST_MODE, &Modes::record(&row, false))?;
            self.shard.modes.apply(row, false);
        }
        Ok(())
    }

    /// Makes every shard see the present tables, among them what other requests are changing. Done
    /// when they survive a power cut and all shards have acknowledged.
    ///
    /// # Errors
    /// When the log failed: what was changed last may be gone after a restart.
    pub async fn publish(self: &Rc<Self>) -> Result<(), ControlError> {
        let wanted = self.wanted.get() + 1;
        self.wanted.set(wanted);
        if !self.is_publishing.replace(true) {
            let control = Rc::clone(self);
            let rt = self.shard.rt.clone();
            rt.spawn(Class::Request, async move { control.publish_all().await });
        }
        while self.published.get() < wanted {
            self.progress.wait().await;
        }
        match &*self.failed.borrow() {
            Some(reason) => Err(ControlError::Log(reason.clone())),
            None => Ok(()),
        }
    }

    fn set_topic(&self, config: TopicConfig) -> Result<(), ControlError> {
        let table = self.topics();
        let version = self.next_version(&table.data_version);
        let payload = records::encode_row(&version, &config);
        self.append(kinds::TOPIC, &payload)?;
        let name = config.topic_name.clone();
        let changed = table.with(&name, Some(Arc::new(config)), version);
        self.shard.written_topics.replace(Arc::new(changed));
        Ok(())
    }

    fn set_group(&self, config: SubscriptionGroupConfig) -> Result<(), ControlError> {
        let table = self.groups();
        let version = self.next_version(&table.data_version);
        let payload = records::encode_row(&version, &config);
        self.append(kinds::GROUP, &payload)?;
        let name = config.group_name.clone();
        let changed = table.with(&name, Some(Arc::new(config)), version);
        self.shard.written_groups.replace(Arc::new(changed));
        Ok(())
    }

    fn next_version(&self, current: &DataVersion) -> DataVersion {
        let mut next = current.clone();
        next.timestamp = self.shard.rt.now_ms();
        next.counter += 1;
        next
    }

    /// Writes a change; the table is changed by the caller at once, and only when this succeeds.
    fn append(&self, kind: u16, payload: &[u8]) -> Result<(), ControlError> {
        let end = self.shard.append_record(kind, payload);
        let end = end.map_err(|error| ControlError::Log(error.to_string()))?;
        self.written_end.set(end);
        Ok(())
    }

    /// Waits for what was appended, then publishes it.
    async fn commit(self: &Rc<Self>) -> Result<(), ControlError> {
        // The tables may have changed again while this waits: publication takes the newest.
        let written = self.shard.store.wait_durable(self.written_end.get()).await;
        written.map_err(|error| ControlError::Log(error.to_string()))?;
        self.publish().await
    }

    async fn publish_all(self: Rc<Self>) {
        while self.published.get() < self.wanted.get() {
            let wanted = self.wanted.get();
            let (topics, groups) = (self.topics(), self.groups());
            // A topic that a power cut may take back must not be used, whatever the flush mode:
            // messages that another shard's log keeps would be in a topic that nobody knows.
            let end = self.written_end.get();
            let written = self.shard.store.wait_durable(end);
            if let Err(error) = written.await {
                tracing::warn!(%error, "topics and groups stay as they were published last");
                self.failed.replace(Some(error.to_string()));
                self.published.set(wanted);
                self.progress.notify();
                continue;
            }
            base::always!(PublishedIsDurable, end <= self.shard.store.durable());
            for index in 0..self.shard.rt.shard_count() {
                let (topics, groups) = (Arc::clone(&topics), Arc::clone(&groups));
                let adopt = move |shard: Rc<Shard<R>>| async move { shard.adopt(topics, groups) };
                let to = ShardId::new(index);
                let called = self.shard.lanes.call_until_done(to, adopt).await;
                if let Err(error) = called {
                    tracing::warn!(%error, "a shard missed a change of topics or groups");
                }
            }
            self.published.set(wanted);
            self.progress.notify();
        }
        self.is_publishing.set(false);
    }
}

fn check_room<T>(
    table: &ConfigTable<T>,
    name: &str,
    what: &'static str,
    count_max: usize,
) -> Result<(), ControlError> {
    if table.find(name).is_none() && table.len() >= count_max {
        return Err(ControlError::TooMany { what, count_max });
    }
    Ok(())
}
