//! The heartbeat: what a client produces and consumes.
//!
//! Java: `HeartbeatData`, `ProducerData`, `ConsumerData`, `SubscriptionData`. The C++ client writes
//! enumerations as ordinals and leaves the expression's type out; the Go client quotes tag codes.

use super::lenient;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The body of `HEART_BEAT` (34).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// The client: address and instance.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// The groups that it consumes in.
    #[serde(deserialize_with = "lenient::or_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Of the subscriptions, from 5.0 on; 0 for none.
    pub heartbeat_fingerprint: i32,
    /// The groups that it produces in.
    #[serde(deserialize_with = "lenient::or_default")]
    pub producer_data_set: Vec<ProducerData>,
    /// Whether the subscriptions are left out because they have not changed.
    pub without_sub: bool,
}

/// A producer group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// The group.
    pub group_name: String,
}

/// A consumer group as one client sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Where a group without offsets begins, such as `CONSUME_FROM_LAST_OFFSET`.
    #[serde(deserialize_with = "consume_from_where")]
    pub consume_from_where: String,
    /// Who moves messages.
    pub consume_type: ConsumeType,
    /// The group.
    pub group_name: String,
    /// Who gets a message.
    pub message_model: MessageModel,
    /// What it subscribes to.
    #[serde(deserialize_with = "lenient::or_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Whether the consumer works in unit mode.
    pub unit_mode: bool,
}

/// A subscription to one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Obsolete.
    pub class_filter_mode: bool,
    /// The tags' codes; see [`tags_code`](crate::message::tags_code).
    #[serde(deserialize_with = "lenient::numbers")]
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`; absent means `TAG`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression_type: Option<String>,
    /// The expression.
    pub sub_string: String,
    /// When the client made it, in milliseconds since the epoch: a higher one is newer.
    #[serde(deserialize_with = "lenient::number")]
    pub sub_version: i64,
    /// The tags; empty for all.
    #[serde(deserialize_with = "lenient::or_default")]
    pub tags_set: Vec<String>,
    /// The topic.
    pub topic: String,
}

macro_rules! words {
    ($(#[$meta:meta])* $enum:ident { $($(#[$variant_meta:meta])* $name:ident = $java:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub enum $enum {
            $($(#[$variant_meta])* $name,)*
            /// A word that is not known here.
            #[default]
            Unknown,
        }

        impl $enum {
            /// Java's names by their ordinals.
            const NAMES: &'static [&'static str] = &[$($java),*];

            /// Java's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $java,)*
                    Self::Unknown => "UNKNOWN",
                }
            }
        }

        impl Serialize for $enum {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $enum {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = lenient::word(deserializer, Self::NAMES)?;
                Ok(match word.as_deref() {
                    $(Some($java) => Self::$name,)*
                    _ => Self::Unknown,
                })
            }
        }
    };
}

words! {
    /// Who moves messages. Java: `ConsumeType`.
    ConsumeType {
        /// The application pulls.
        Actively = "CONSUME_ACTIVELY",
        /// The client pulls and pushes to the application.
        Passively = "CONSUME_PASSIVELY",
        /// The broker gives messages out one by one.
        Pop = "CONSUME_POP",
    }
}

words! {
    /// Who gets a message. Java: `MessageModel`.
    MessageModel {
        /// Every member of the group.
        Broadcasting = "BROADCASTING",
        /// One member of the group.
        Clustering = "CLUSTERING",
        /// One member, which chose it.
        LiteSelective = "LITE_SELECTIVE",
    }
}

/// Java `ConsumeFromWhere`, by ordinal.
const CONSUME_FROM: [&str; 6] = [
    "CONSUME_FROM_LAST_OFFSET",
    "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
    "CONSUME_FROM_MIN_OFFSET",
    "CONSUME_FROM_MAX_OFFSET",
    "CONSUME_FROM_FIRST_OFFSET",
    "CONSUME_FROM_TIMESTAMP",
];

fn consume_from_where<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let word = lenient::word(deserializer, &CONSUME_FROM)?;
    Ok(word.unwrap_or_else(|| CONSUME_FROM[0].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::dialect;

    #[test]
    fn a_heartbeat_of_the_java_client_reads_and_is_written_the_same() {
        let text = r#"{"clientID":"192.0.2.2@one","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"CID","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,2598921],"expressionType":"TAG","subString":"TagA || TagC","subVersion":1795236435980,"tagsSet":["TagA","TagC"],"topic":"TopicTest"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}],"withoutSub":false}"#;
        let data: HeartbeatData = dialect::from_slice(text.as_bytes()).unwrap();
        assert_eq!(
            data.consumer_data_set[0].consume_type,
            ConsumeType::Passively
        );
        assert_eq!(serde_json::to_string(&data).unwrap(), text);
    }

    #[test]
    fn other_clients_write_ordinals_quoted_numbers_and_nulls() {
        let text = r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,
            "groupName":"g","messageModel":0,"subscriptionDataSet":[{"topic":"T","subString":"*",
            "codeSet":["65",66,"x",{}],"tagsSet":null,"subVersion":"17"}]}],"producerDataSet":null}"#;
        let data: HeartbeatData = dialect::from_slice(text.as_bytes()).unwrap();
        let consumer = &data.consumer_data_set[0];
        assert_eq!(consumer.consume_from_where, "CONSUME_FROM_FIRST_OFFSET");
        assert_eq!(consumer.consume_type, ConsumeType::Passively);
        assert_eq!(consumer.message_model, MessageModel::Broadcasting);
        let subscription = &consumer.subscription_data_set[0];
        assert_eq!(subscription.code_set, [65, 66]);
        assert_eq!(subscription.sub_version, 17);
        assert_eq!(subscription.expression_type, None);
    }

    #[test]
    fn unknown_words_make_no_heartbeat_unreadable() {
        let text = r#"{"consumerDataSet":[{"consumeType":"X","messageModel":99,"new":[]}]}"#;
        let data: HeartbeatData = dialect::from_slice(text.as_bytes()).unwrap();
        let consumer = &data.consumer_data_set[0];
        assert_eq!(consumer.consume_type, ConsumeType::Unknown);
        assert_eq!(consumer.message_model, MessageModel::Unknown);
        assert_eq!(consumer.consume_from_where, "");
    }
}
