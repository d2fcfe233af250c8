//! Headers of sending: `SEND_MESSAGE` (10), `SEND_MESSAGE_V2` (310), `SEND_BATCH_MESSAGE` (320),
//! the replies 324 and 325, and `RECALL_MESSAGE` (370).
//!
//! Code 10 and 324 use long names, the others single letters; both structs hold the same. What must
//! always hold: whether a request is a batch is told by `batch`, never by its code (the C++ client
//! sends batches as 310). Java: `SendMessageRequestHeader`, `SendMessageRequestHeaderV2`.

use super::RemotingHeader;

/// `SEND_MESSAGE_V2` (310), `SEND_BATCH_MESSAGE` (320) and `SEND_REPLY_MESSAGE_V2` (325).
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemotingHeader)]
pub struct SendMessageRequestHeaderV2<'a> {
    /// The producer's group.
    #[header(name = "a", route = Group)]
    pub producer_group: &'a str,
    /// The topic.
    #[header(name = "b", route = Topic)]
    pub topic: &'a str,
    /// The topic whose settings an automatically created topic takes over.
    #[header(name = "c")]
    pub default_topic: &'a str,
    /// How many queues an automatically created topic gets at most.
    #[header(name = "d")]
    pub default_topic_queue_nums: i32,
    /// The queue, or a negative number for any.
    #[header(name = "e", route = QueueId)]
    pub queue_id: i32,
    /// See [`sys_flag`](crate::message::sys_flag).
    #[header(name = "f")]
    pub sys_flag: i32,
    /// When the message was made, by the producer's clock, in milliseconds since the epoch.
    #[header(name = "g")]
    pub born_timestamp_ms: i64,
    /// The user's flag; opaque.
    #[header(name = "h")]
    pub flag: i32,
    /// See [`properties`](crate::message::properties).
    #[header(name = "i")]
    pub properties: Option<&'a str>,
    /// How often the message failed to be consumed.
    #[header(name = "j")]
    pub reconsume_times: Option<i32>,
    /// Whether the producer works in unit mode.
    #[header(name = "k")]
    pub unit_mode: Option<bool>,
    /// How often the message may fail before it becomes a dead letter.
    #[header(name = "l")]
    pub max_reconsume_times: Option<i32>,
    /// Whether the body holds several messages; see [`batch`](crate::message::batch).
    #[header(name = "m")]
    pub batch: Option<bool>,
    /// The broker that the producer chose.
    #[header(name = "n")]
    pub broker_name: Option<&'a str>,
}

/// `SEND_MESSAGE` (10) and `SEND_REPLY_MESSAGE` (324); fields as in
/// [`SendMessageRequestHeaderV2`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemotingHeader)]
pub struct SendMessageRequestHeader<'a> {
    /// The producer's group.
    #[header(route = Group)]
    pub producer_group: &'a str,
    /// The topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// The topic whose settings an automatically created topic takes over.
    pub default_topic: &'a str,
    /// How many queues an automatically created topic gets at most.
    pub default_topic_queue_nums: i32,
    /// The queue, or a negative number for any.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// See [`sys_flag`](crate::message::sys_flag).
    pub sys_flag: i32,
    /// When the message was made, by the producer's clock, in milliseconds since the epoch.
    #[header(name = "bornTimestamp")]
    pub born_timestamp_ms: i64,
    /// The user's flag; opaque.
    pub flag: i32,
    /// See [`properties`](crate::message::properties).
    pub properties: Option<&'a str>,
    /// How often the message failed to be consumed.
    pub reconsume_times: Option<i32>,
    /// Whether the producer works in unit mode.
    pub unit_mode: Option<bool>,
    /// How often the message may fail before it becomes a dead letter.
    pub max_reconsume_times: Option<i32>,
    /// Whether the body holds several messages.
    pub batch: Option<bool>,
    /// The broker that the producer chose.
    #[header(name = "bname")]
    pub broker_name: Option<&'a str>,
}

/// Java `SendMessageRequestHeaderV2.createSendMessageRequestHeaderV2`.
impl<'a> From<SendMessageRequestHeader<'a>> for SendMessageRequestHeaderV2<'a> {
    fn from(header: SendMessageRequestHeader<'a>) -> Self {
        Self {
            producer_group: header.producer_group,
            topic: header.topic,
            default_topic: header.default_topic,
            default_topic_queue_nums: header.default_topic_queue_nums,
            queue_id: header.queue_id,
            sys_flag: header.sys_flag,
            born_timestamp_ms: header.born_timestamp_ms,
            flag: header.flag,
            properties: header.properties,
            reconsume_times: header.reconsume_times,
            unit_mode: header.unit_mode,
            max_reconsume_times: header.max_reconsume_times,
            batch: header.batch,
            broker_name: header.broker_name,
        }
    }
}

/// The answer to each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct SendMessageResponseHeader<'a> {
    /// The offset message id; of a batch all of them, joined by commas.
    pub msg_id: &'a str,
    /// The queue that took the message.
    pub queue_id: i32,
    /// Its place there; of a batch the first.
    pub queue_offset: i64,
    /// The id by which a transaction is ended: the message's `UNIQ_KEY`.
    pub transaction_id: Option<&'a str>,
    /// The id of an inner batch.
    pub batch_uniq_id: Option<&'a str>,
    /// By which a delayed message can be recalled.
    pub recall_handle: Option<&'a str>,
    /// The broker's region. Source: Java `MessageConst.PROPERTY_MSG_REGION`.
    #[header(name = "MSG_REGION")]
    pub msg_region: Option<&'a str>,
    /// Whether clients shall trace. Source: Java `MessageConst.PROPERTY_TRACE_SWITCH`.
    #[header(name = "TRACE_ON")]
    pub trace_on: Option<bool>,
}

/// The header of a refused send: even then the region and the trace switch are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RemotingHeader)]
pub struct SendMessageRefusedHeader<'a> {
    /// The broker's region.
    #[header(name = "MSG_REGION")]
    pub msg_region: Option<&'a str>,
    /// Whether clients shall trace.
    #[header(name = "TRACE_ON")]
    pub trace_on: Option<bool>,
}

/// `PUSH_REPLY_MESSAGE_TO_CLIENT` (326), from broker to client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemotingHeader)]
pub struct ReplyMessageRequestHeader<'a> {
    /// The group of the producer that replies.
    pub producer_group: &'a str,
    /// The reply topic.
    #[header(route = Topic)]
    pub topic: &'a str,
    /// As the producer sent it.
    pub default_topic: &'a str,
    /// As the producer sent it.
    pub default_topic_queue_nums: i32,
    /// As the producer sent it.
    #[header(route = QueueId)]
    pub queue_id: i32,
    /// See [`sys_flag`](crate::message::sys_flag).
    pub sys_flag: i32,
    /// When the reply was made, in milliseconds since the epoch.
    #[header(name = "bornTimestamp")]
    pub born_timestamp_ms: i64,
    /// The user's flag; opaque.
    pub flag: i32,
    /// See [`properties`](crate::message::properties).
    pub properties: Option<&'a str>,
    /// How often the message failed to be consumed.
    pub reconsume_times: Option<i32>,
    /// Whether the producer works in unit mode.
    pub unit_mode: Option<bool>,
    /// The producer's `ip:port`.
    pub born_host: &'a str,
    /// The broker's `ip:port`.
    pub store_host: &'a str,
    /// When the broker took the reply, in milliseconds since the epoch.
    #[header(name = "storeTimestamp")]
    pub store_timestamp_ms: i64,
}

/// `RECALL_MESSAGE` (370).
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct RecallMessageRequestHeader {
    /// The producer's group.
    #[header(route = Group)]
    pub producer_group: Option<String>,
    /// The topic.
    #[header(route = Topic)]
    pub topic: String,
    /// What the answer to the send gave.
    pub recall_handle: String,
}

/// The answer to `RECALL_MESSAGE`.
#[derive(Debug, Clone, Default, PartialEq, Eq, RemotingHeader)]
pub struct RecallMessageResponseHeader {
    /// The recalled message's `UNIQ_KEY`.
    pub msg_id: String,
}
