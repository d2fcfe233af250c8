//! Who is connected.
//!
//! Java: `Connection`, `ConsumerConnection`, `ProducerConnection`.

use super::heartbeat::{ConsumeType, MessageModel, SubscriptionData};
use crate::language::LanguageCode;
use serde::Serialize;
use std::collections::BTreeMap;

/// One client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Its `ip:port`.
    pub client_addr: String,
    /// Its id.
    pub client_id: String,
    /// Its language.
    pub language: LanguageCode,
    /// Its version; see [`version_ordinal`](crate::language::version_ordinal).
    pub version: i32,
}

/// The answer to `GET_CONSUMER_CONNECTION_LIST` (203).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerConnection {
    /// The members.
    pub connection_set: Vec<Connection>,
    /// Where a group without offsets begins.
    pub consume_from_where: String,
    /// Who moves messages.
    pub consume_type: ConsumeType,
    /// Who gets a message.
    pub message_model: MessageModel,
    /// By topic.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// The answer to `GET_PRODUCER_CONNECTION_LIST` (204).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerConnection {
    /// The members.
    pub connection_set: Vec<Connection>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_written_as_java_writes_them() {
        let connection = Connection {
            client_addr: "127.0.0.1:45382".to_owned(),
            client_id: "192.0.2.2@producer".to_owned(),
            language: LanguageCode::Java,
            version: 513,
        };
        let body = ProducerConnection {
            connection_set: vec![connection],
        };
        let expected = r#"{"connectionSet":[{"clientAddr":"127.0.0.1:45382","clientId":"192.0.2.2@producer","language":"JAVA","version":513}]}"#;
        assert_eq!(serde_json::to_string(&body).unwrap(), expected);
    }
}
