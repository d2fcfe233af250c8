//! Groups that are served although shard 0 could not record them.
//!
//! Owned by each shard for the requests it meets. A group that makes itself known has the default
//! configuration, so nothing is promised by serving it from memory: its offsets are the business of
//! the queues' shards, and its next sign of life after a restart makes it again. Invariants: a group
//! of the recorded table is never looked up here; there are at most `count_max`.

use base::HashMap;
use remoting::body::subscription_group::SubscriptionGroupConfig;
use std::cell::RefCell;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct Unrecorded {
    groups: RefCell<HashMap<String, Arc<SubscriptionGroupConfig>>>,
    count_max: usize,
}

impl Unrecorded {
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            groups: RefCell::default(),
            count_max,
        }
    }

    pub(crate) fn find(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.groups.borrow().get(group).map(Arc::clone)
    }

    /// Takes a group in; `None` when there are too many.
    pub(super) fn add(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if let Some(known) = self.find(group) {
            return Some(known);
        }
        let mut groups = self.groups.borrow_mut();
        if groups.len() >= self.count_max {
            return None;
        }
        let config = Arc::new(SubscriptionGroupConfig::new(group));
        groups.insert(group.to_owned(), Arc::clone(&config));
        Some(config)
    }

    /// The group is recorded now.
    pub(super) fn forget(&self, group: &str) {
        self.groups.borrow_mut().remove(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_most_so_many_and_a_recorded_group_makes_room() {
        let groups = Unrecorded::new(2);
        for name in ["a", "b", "a"] {
            assert_eq!(groups.add(name).unwrap().group_name, name);
        }
        assert!(groups.add("c").is_none() && groups.find("c").is_none());
        groups.forget("a");
        assert!(groups.find("a").is_none() && groups.add("c").is_some());
    }
}
