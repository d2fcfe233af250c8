//! The name of a queue, as bodies carry it, often as the key of a map.
//!
//! Fields are written in alphabetical order, as fastjson does. Java: `common.message.MessageQueue`.

use serde::{Deserialize, Serialize};

/// A queue of a topic at a broker.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// The broker's name.
    pub broker_name: String,
    /// The queue's number in its topic.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

impl MessageQueue {
    /// Queue `queue_id` of `topic` at broker `broker_name`.
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> Self {
        Self { broker_name: broker_name.to_owned(), queue_id, topic: topic.to_owned() }
    }
}
