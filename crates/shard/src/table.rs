//! Tables of configuration that the whole broker shares: topics and subscription groups.
//!
//! Shard 0 owns the truth and publishes it to every shard as an immutable snapshot with a
//! version. Invariant: a published table never changes; a higher version is newer.

use base::HashMap;
use remoting::body::subscription_group::SubscriptionGroupConfig;
use remoting::body::topic_config::{DataVersion, TopicConfig};
use std::sync::Arc;

/// All topics of the broker.
pub type TopicTable = ConfigTable<TopicConfig>;
/// All subscription groups of the broker.
pub type GroupTable = ConfigTable<SubscriptionGroupConfig>;

/// One snapshot of a table.
#[derive(Debug)]
pub struct ConfigTable<T> {
    /// Counts the changes since this process started, from 1.
    pub version: u64,
    /// The version that name servers and tools compare.
    pub data_version: DataVersion,
    rows: HashMap<Arc<str>, Arc<T>>,
}

impl<T> Default for ConfigTable<T> {
    fn default() -> Self {
        Self {
            version: 0,
            data_version: DataVersion::default(),
            rows: HashMap::default(),
        }
    }
}

impl<T> ConfigTable<T> {
    /// The row of `name`.
    pub fn find(&self, name: &str) -> Option<&Arc<T>> {
        self.rows.get(name)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<T>)> {
        self.rows.iter().map(|(name, row)| (&**name, row))
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.rows.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    /// The table after a change: `row` in place of what stood under `name`, or nothing.
    #[must_use]
    pub fn with(&self, name: &str, row: Option<Arc<T>>, data_version: DataVersion) -> Self {
        let mut changed = Self {
            version: self.version,
            data_version: self.data_version.clone(),
            rows: self.rows.clone(),
        };
        changed.set(name, row, data_version);
        changed
    }

    /// The same in place, for a table that nobody has seen yet.
    pub(crate) fn set(&mut self, name: &str, row: Option<Arc<T>>, data_version: DataVersion) {
        match row {
            Some(row) => {
                self.rows.insert(name.into(), row);
            }
            None => {
                self.rows.remove(name);
            }
        }
        self.version += 1;
        self.data_version = data_version;
    }
}
