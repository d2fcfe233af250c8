//! Bodies of commands: JSON objects of administration, membership and routing.
//!
//! Members are written sorted and nulls are left out, as Java does. What must always hold: whatever
//! comes from outside is read by [`dialect::from_slice`], and what is not understood is ignored.
//! Answers to Java's package `remoting.protocol.body`.

pub mod client;
pub mod cluster_info;
pub mod connection;
pub mod dialect;
pub mod group_list;
pub mod heartbeat;
pub mod kv_table;
mod lenient;
pub mod lock;
pub mod offsets;
pub mod pop;
pub mod register_broker;
pub mod route;
pub mod stats;
pub mod subscription_group;
pub mod topic_config;
pub mod topic_list;

use serde::{Deserialize, Serialize};
use std::io;

/// One queue of one broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// The broker.
    pub broker_name: String,
    /// The queue in the topic.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

impl MessageQueue {
    /// A queue.
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> Self {
        let (topic, broker_name) = (topic.to_owned(), broker_name.to_owned());
        Self {
            broker_name,
            queue_id,
            topic,
        }
    }
}

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is no JSON, or not of the expected form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is not even JSON as fastjson writes it.
    #[error("not valid JSON: {what} at byte {at}")]
    Dialect {
        /// What is wrong.
        what: &'static str,
        /// Where, in bytes from the start.
        at: usize,
    },
    /// It cannot be inflated.
    #[error("the body cannot be inflated: {0}")]
    Inflate(#[source] io::Error),
    /// It would inflate to more than allowed.
    #[error("the body inflates to more than {0} bytes")]
    InflatesTooFar(usize),
    /// A compressed registration is not of the expected form.
    #[error("the registration is malformed: {0}")]
    Registration(&'static str),
}
