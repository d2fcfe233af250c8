//! A list of groups.
//!
//! Sorted, so that the answers of several shards or brokers can be compared. Java: `GroupList`.

use serde::{Deserialize, Serialize};

/// The answer to `QUERY_TOPIC_CONSUME_BY_WHO` (300).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    /// The groups.
    pub group_list: std::collections::BTreeSet<String>,
}
