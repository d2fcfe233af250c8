//! Lists of topics.
//!
//! Java: `TopicList`, `CreateTopicListRequestBody`.

use super::topic_config::TopicConfig;
use serde::{Deserialize, Serialize};

/// The answer to the many requests that ask for topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// Some broker to ask for more, where that makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The topics.
    pub topic_list: Vec<String>,
}

/// The body of `UPDATE_AND_CREATE_TOPIC_LIST` (18). Java: `CreateTopicListRequestBody`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateTopicListRequestBody {
    /// The topics.
    pub topic_config_list: Vec<TopicConfig>,
}
