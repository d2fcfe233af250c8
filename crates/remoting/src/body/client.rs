//! Small bodies between broker and clients.
//!
//! Java: `GetConsumerListByGroupResponseBody`, `CheckClientRequestBody`.

use super::heartbeat::SubscriptionData;
use serde::{Deserialize, Serialize};

/// The answer to `GET_CONSUMER_LIST_BY_GROUP` (38).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetConsumerListByGroupResponseBody {
    /// The members' client ids.
    pub consumer_id_list: Vec<String>,
}

/// The body of `CHECK_CLIENT_CONFIG` (46).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientRequestBody {
    /// The client.
    pub client_id: String,
    /// Its group.
    pub group: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The subscription to check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}
