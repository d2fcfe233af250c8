//! A table of texts.
//!
//! Sorted by key; everything is text, numbers too. Java: `KVTable`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The answer to `GET_BROKER_RUNTIME_INFO` (28) and `GET_KVLIST_BY_NAMESPACE` (219).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// The texts.
    pub table: BTreeMap<String, String>,
}
