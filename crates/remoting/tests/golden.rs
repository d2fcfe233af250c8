//! Recorded frames between official clients and official servers.
//!
//! `tests/golden` at the root of the repository holds one frame per file. Every one of them must
//! decode, be written again as the same header, and have a body that its own decoder reads. A
//! folder without frames fails: nothing is skipped.

#![expect(
    clippy::unwrap_used,
    reason = "the functions here are all parts of tests"
)]

use remoting::body::client::{CheckClientRequestBody, GetConsumerListByGroupResponseBody};
use remoting::body::cluster_info::ClusterInfo;
use remoting::body::dialect;
use remoting::body::heartbeat::HeartbeatData;
use remoting::body::kv_table::KvTable;
use remoting::body::lock::{LockBatchRequestBody, LockBatchResponseBody};
use remoting::body::register_broker::RegisterBrokerBody;
use remoting::body::route::TopicRouteData;
use remoting::body::stats::{ConsumeStats, TopicStatsTable};
use remoting::body::subscription_group::{SubscriptionGroupConfig, SubscriptionGroupWrapper};
use remoting::body::topic_config::{DataVersion, TopicConfig, TopicConfigSerializeWrapper};
use remoting::body::topic_list::TopicList;
use remoting::code::{RequestCode, ResponseCode};
use remoting::command::{self, Command, SerializeType};
use remoting::frame::{FRAME_LEN_MAX, FrameBuffer};
use remoting::header::{self, HeaderError, RemotingHeader};
use remoting::message::{batch, decode_message};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// How many frames there must be at least, so that a folder that lost most of them is noticed.
const FRAMES_MIN: usize = 300;

struct Golden {
    name: String,
    /// Of the request, even where this is the answer.
    code: RequestCode,
    is_response: bool,
    bytes: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// Names look like `310-send_message_v2-request-json-5.5.0.hex`.
fn golden_frames() -> Vec<Golden> {
    let mut frames = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("tests/golden is there") {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "hex") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let number: i32 = name
            .split('-')
            .next()
            .unwrap()
            .parse()
            .expect("a code comes first");
        frames.push(Golden {
            code: RequestCode::from_wire(number).expect("a code that is known"),
            is_response: name.contains("-response-"),
            bytes: from_hex(&std::fs::read_to_string(&path).unwrap()),
            name,
        });
    }
    frames.sort_by(|a, b| a.name.cmp(&b.name));
    frames
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn decoded(golden: &Golden) -> Command<'_> {
    command::decode(&golden.bytes[4..]).unwrap_or_else(|error| panic!("{}: {error}", golden.name))
}

#[test]
fn there_are_frames_of_both_forms_both_versions_and_both_directions() {
    let frames = golden_frames();
    assert!(
        frames.len() >= FRAMES_MIN,
        "only {} frames in {}",
        frames.len(),
        folder().display()
    );
    for part in [
        "-json-5.5.0",
        "-binary-5.5.0",
        "-json-4.9.7",
        "-binary-4.9.7",
    ] {
        for direction in ["-request-", "-response-"] {
            let is_there = |f: &&Golden| f.name.contains(part) && f.name.contains(direction);
            assert!(frames.iter().any(|f| is_there(&f)), "{direction} {part}");
        }
    }
}

#[test]
fn a_stream_of_all_frames_is_cut_where_they_end() {
    let frames = golden_frames();
    let stream: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.bytes.clone())
        .collect();
    let mut buffer = FrameBuffer::new(FRAME_LEN_MAX);
    let mut seen = frames.iter();
    for chunk in stream.chunks(1_447) {
        buffer.spare_mut(chunk.len())[..chunk.len()].copy_from_slice(chunk);
        buffer.filled(chunk.len());
        while let Some(place) = buffer.next_frame().unwrap() {
            assert_eq!(buffer.bytes(place), &seen.next().unwrap().bytes[4..]);
        }
        buffer.compact();
    }
    assert!(seen.next().is_none());
}

#[test]
fn every_frame_decodes_and_is_written_again_as_it_was() {
    for golden in golden_frames() {
        let command = decoded(&golden);
        assert_eq!(command.is_response(), golden.is_response, "{}", golden.name);
        if golden.is_response {
            assert!(
                ResponseCode::from_wire(command.code).is_some(),
                "{}",
                golden.name
            );
        } else {
            assert_eq!(command.code, golden.code.to_wire(), "{}", golden.name);
        }
        let mut again = Vec::new();
        command::write_command(&mut again, &command);
        match command.serialize {
            SerializeType::RocketMq => assert_eq!(again, golden.bytes, "{}", golden.name),
            SerializeType::Json => {
                assert_eq!(
                    json_header(&again),
                    json_header(&golden.bytes),
                    "{}",
                    golden.name
                );
                assert!(again.ends_with(command.body));
            }
        }
    }
}

/// A JSON header as a map. Java writes empty `extFields` where we write none.
fn json_header(frame: &[u8]) -> Value {
    let len = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&frame[8..8 + len]).unwrap();
    let members = header.as_object_mut().unwrap();
    if members
        .get("extFields")
        .is_some_and(|fields| fields.as_object().unwrap().is_empty())
    {
        members.remove("extFields");
    }
    header
}

/// Reads the typed header of a frame and compares what it writes with what came. Fields that every
/// request may carry and no struct declares are left out of the comparison.
macro_rules! check_header {
    ($golden:ident, $command:ident, $header:ty) => {{
        let header: Result<$header, HeaderError> = RemotingHeader::decode(&$command.fields);
        let header = header.unwrap_or_else(|error| panic!("{}: {error}", $golden.name));
        let mut out = Vec::new();
        command::write_request(&mut out, SerializeType::Json, 0, 0, false, &header, b"");
        let written = json_header(&out);
        for (name, value) in $command.fields.iter() {
            let declared = <$header>::FIELDS.iter().any(|spec| spec.name == name);
            if declared {
                assert_eq!(
                    written["extFields"][name], value,
                    "{}: {name}",
                    $golden.name
                );
            } else {
                assert!(
                    COMMON_FIELDS.contains(&name),
                    "{}: {name} is unknown",
                    $golden.name
                );
            }
        }
    }};
}

const COMMON_FIELDS: [&str; 8] = [
    "bname",
    "lo",
    "ns",
    "nsd",
    "oway",
    "ReqT",
    "_UNIQUE_KEY_QUERY",
    "topicSysFlag",
];

#[test]
fn every_request_of_a_served_code_has_the_header_that_is_declared() {
    use RequestCode as Code;
    use header::{admin, client, group, namesrv, offset, pull, query, send, topic};
    let mut checked = 0;
    for golden in golden_frames().iter().filter(|golden| !golden.is_response) {
        let command = decoded(golden);
        checked += 1;
        match golden.code {
            Code::SendMessage | Code::SendReplyMessage => {
                check_header!(golden, command, send::SendMessageRequestHeader<'_>);
            }
            Code::SendMessageV2 | Code::SendBatchMessage | Code::SendReplyMessageV2 => {
                check_header!(golden, command, send::SendMessageRequestHeaderV2<'_>);
            }
            Code::PullMessage | Code::LitePullMessage => {
                check_header!(golden, command, pull::PullMessageRequestHeader<'_>);
            }
            Code::QueryMessage => {
                check_header!(golden, command, query::QueryMessageRequestHeader<'_>);
            }
            Code::ViewMessageById => {
                check_header!(golden, command, query::ViewMessageRequestHeader<'_>);
            }
            Code::QueryConsumerOffset => {
                check_header!(
                    golden,
                    command,
                    offset::QueryConsumerOffsetRequestHeader<'_>
                );
            }
            Code::UpdateConsumerOffset => {
                check_header!(
                    golden,
                    command,
                    offset::UpdateConsumerOffsetRequestHeader<'_>
                );
            }
            Code::SearchOffsetByTimestamp => {
                check_header!(golden, command, offset::SearchOffsetRequestHeader<'_>);
            }
            Code::GetMaxOffset => {
                check_header!(golden, command, offset::GetMaxOffsetRequestHeader<'_>);
            }
            Code::GetMinOffset => {
                check_header!(golden, command, offset::GetMinOffsetRequestHeader<'_>);
            }
            Code::GetEarliestMsgStoretime => {
                check_header!(
                    golden,
                    command,
                    offset::GetEarliestMsgStoretimeRequestHeader<'_>
                );
            }
            Code::UpdateAndCreateTopic => {
                check_header!(golden, command, topic::CreateTopicRequestHeader);
            }
            Code::DeleteTopicInBroker => {
                check_header!(golden, command, topic::DeleteTopicRequestHeader<'_>);
            }
            Code::GetTopicConfig => {
                check_header!(golden, command, topic::GetTopicConfigRequestHeader<'_>);
            }
            Code::GetTopicStatsInfo => {
                check_header!(golden, command, topic::GetTopicStatsInfoRequestHeader<'_>);
            }
            Code::GetAllTopicConfig => {
                check_header!(golden, command, topic::GetAllTopicConfigRequestHeader<'_>);
            }
            Code::UnregisterClient => {
                check_header!(golden, command, client::UnregisterClientRequestHeader<'_>);
            }
            Code::ConsumerSendMsgBack => {
                check_header!(
                    golden,
                    command,
                    client::ConsumerSendMsgBackRequestHeader<'_>
                );
            }
            Code::EndTransaction => {
                check_header!(golden, command, client::EndTransactionRequestHeader<'_>);
            }
            Code::CheckTransactionState => {
                check_header!(
                    golden,
                    command,
                    client::CheckTransactionStateRequestHeader<'_>
                );
            }
            Code::GetConsumerListByGroup => {
                check_header!(
                    golden,
                    command,
                    client::GetConsumerListByGroupRequestHeader<'_>
                );
            }
            Code::NotifyConsumerIdsChanged => {
                check_header!(
                    golden,
                    command,
                    client::NotifyConsumerIdsChangedRequestHeader<'_>
                );
            }
            Code::GetConsumerRunningInfo => {
                check_header!(
                    golden,
                    command,
                    client::GetConsumerRunningInfoRequestHeader<'_>
                );
            }
            Code::GetConsumerConnectionList => {
                check_header!(
                    golden,
                    command,
                    group::GetConsumerConnectionListRequestHeader<'_>
                );
            }
            Code::GetProducerConnectionList => {
                check_header!(
                    golden,
                    command,
                    group::GetProducerConnectionListRequestHeader<'_>
                );
            }
            Code::GetConsumeStats => {
                check_header!(golden, command, group::GetConsumeStatsRequestHeader<'_>);
            }
            Code::DeleteSubscriptiongroup => {
                check_header!(
                    golden,
                    command,
                    group::DeleteSubscriptionGroupRequestHeader<'_>
                );
            }
            Code::QueryTopicConsumeByWho => {
                check_header!(
                    golden,
                    command,
                    group::QueryTopicConsumeByWhoRequestHeader<'_>
                );
            }
            Code::GetSubscriptiongroupConfig => {
                check_header!(
                    golden,
                    command,
                    group::GetSubscriptionGroupConfigRequestHeader<'_>
                );
            }
            Code::GetAllSubscriptiongroupConfig => {
                check_header!(
                    golden,
                    command,
                    group::GetAllSubscriptionGroupRequestHeader<'_>
                );
            }
            Code::InvokeBrokerToResetOffset | Code::ResetConsumerClientOffset => {
                check_header!(golden, command, group::ResetOffsetRequestHeader<'_>);
            }
            Code::ViewBrokerStatsData => {
                check_header!(golden, command, admin::ViewBrokerStatsDataRequestHeader<'_>);
            }
            Code::RegisterBroker => {
                check_header!(golden, command, namesrv::RegisterBrokerRequestHeader);
            }
            Code::UnregisterBroker => {
                check_header!(golden, command, namesrv::UnRegisterBrokerRequestHeader);
            }
            Code::QueryDataVersion => {
                check_header!(golden, command, namesrv::QueryDataVersionRequestHeader);
            }
            Code::BrokerHeartbeat => {
                check_header!(golden, command, namesrv::BrokerHeartbeatRequestHeader);
            }
            Code::GetRouteinfoByTopic => {
                check_header!(golden, command, namesrv::GetRouteInfoRequestHeader);
            }
            Code::GetTopicsByCluster => {
                check_header!(golden, command, namesrv::GetTopicsByClusterRequestHeader);
            }
            Code::GetBrokerMemberGroup => {
                check_header!(golden, command, namesrv::GetBrokerMemberGroupRequestHeader);
            }
            Code::RegisterTopicInNamesrv => {
                check_header!(golden, command, namesrv::RegisterTopicRequestHeader);
            }
            Code::DeleteTopicInNamesrv => {
                check_header!(
                    golden,
                    command,
                    namesrv::DeleteTopicFromNamesrvRequestHeader
                );
            }
            Code::WipeWritePermOfBroker => {
                check_header!(golden, command, namesrv::WipeWritePermOfBrokerRequestHeader);
            }
            Code::AddWritePermOfBroker => {
                check_header!(golden, command, namesrv::AddWritePermOfBrokerRequestHeader);
            }
            Code::PutKvConfig => check_header!(golden, command, namesrv::PutKvConfigRequestHeader),
            Code::GetKvConfig => check_header!(golden, command, namesrv::GetKvConfigRequestHeader),
            Code::DeleteKvConfig => {
                check_header!(golden, command, namesrv::DeleteKvConfigRequestHeader);
            }
            Code::GetKvlistByNamespace => {
                check_header!(golden, command, namesrv::GetKvListByNamespaceRequestHeader);
            }
            Code::RecallMessage => check_header!(golden, command, send::RecallMessageRequestHeader),
            _ => {
                let unknown = |(name, _): &(&str, &str)| !COMMON_FIELDS.contains(name);
                assert_eq!(command.fields.iter().find(unknown), None, "{}", golden.name);
                checked -= 1;
            }
        }
    }
    assert!(checked > FRAMES_MIN / 3, "only {checked} requests");
}

/// Reads a body and compares what it writes with what came, member by member.
fn check_body<T: DeserializeOwned + Serialize>(golden: &Golden, body: &[u8]) {
    let typed: T = dialect::from_slice(body).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
    let written = serde_json::to_value(&typed).unwrap();
    check_contains(&written, &dialect::from_slice(body).unwrap(), &golden.name);
}

/// Whether everything that came is in what is written; sets may have another order.
fn check_contains(written: &Value, came: &Value, place: &str) {
    match (written, came) {
        (Value::Object(written), Value::Object(came)) => {
            for (name, came) in came {
                let place = format!("{place}.{name}");
                let written = written
                    .get(name)
                    .unwrap_or_else(|| panic!("{place} is lost"));
                check_contains(written, came, &place);
            }
        }
        (Value::Array(written), Value::Array(came)) => {
            let sorted = |items: &[Value]| {
                let mut items: Vec<String> = items.iter().map(Value::to_string).collect();
                items.sort();
                items
            };
            if sorted(written) != sorted(came) {
                assert_eq!(written.len(), came.len(), "{place}");
                for (written, came) in written.iter().zip(came) {
                    check_contains(written, came, place);
                }
            }
        }
        _ => assert_eq!(written, came, "{place}"),
    }
}

fn check_units(golden: &Golden, mut units: &[u8]) {
    let mut count = 0;
    while !units.is_empty() {
        let decoded = decode_message(units);
        let (message, size) = decoded.unwrap_or_else(|e| panic!("{}: {e}", golden.name));
        assert!(message.body_crc_matches(), "{}", golden.name);
        let properties = [message.properties.as_bytes()];
        let fields = remoting::message::MessageFields {
            topic: message.topic,
            queue_id: message.queue_id,
            flag: message.flag,
            sys_flag: message.sys_flag,
            born_timestamp_ms: message.born_timestamp_ms,
            born_host: message.born_host,
            store_host: message.store_host,
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: message.prepared_transaction_offset,
            body: message.body,
            properties: &properties,
        };
        let mut again = vec![0; fields.encoded_len()];
        let (queue_offset, phy_offset) = (message.queue_offset, message.phy_offset);
        fields.encode_into(
            &mut again,
            queue_offset,
            phy_offset,
            message.store_timestamp_ms,
        );
        assert_eq!(again, &units[..size], "{}", golden.name);
        units = &units[size..];
        count += 1;
    }
    assert!(count > 0, "{}", golden.name);
}

#[test]
fn every_body_of_a_known_form_reads_and_loses_nothing() {
    let mut checked = 0;
    for golden in &golden_frames() {
        let command = decoded(golden);
        if command.body.is_empty() {
            continue;
        }
        checked += 1;
        if golden.is_response {
            check_answer(golden, command.body);
        } else {
            check_request(golden, &command);
        }
    }
    assert!(checked > FRAMES_MIN / 4, "only {checked} bodies");
}

fn check_request(golden: &Golden, command: &Command<'_>) {
    use RequestCode as Code;
    match golden.code {
        Code::HeartBeat => check_body::<HeartbeatData>(golden, command.body),
        Code::LockBatchMq | Code::UnlockBatchMq => {
            check_body::<LockBatchRequestBody>(golden, command.body);
        }
        Code::CheckClientConfig => check_body::<CheckClientRequestBody>(golden, command.body),
        Code::UpdateAndCreateSubscriptiongroup => {
            check_body::<SubscriptionGroupConfig>(golden, command.body);
        }
        Code::QueryDataVersion => check_body::<DataVersion>(golden, command.body),
        Code::RegisterTopicInNamesrv => check_body::<TopicRouteData>(golden, command.body),
        Code::RegisterBroker => {
            let compressed = command.fields.get("compressed") == Some("true");
            let body = RegisterBrokerBody::decode(command.body, compressed, command.version);
            let body = body.unwrap_or_else(|error| panic!("{}: {error}", golden.name));
            assert!(
                !body
                    .topic_config_serialize_wrapper
                    .topic_config_table
                    .is_empty()
            );
            if !compressed {
                check_body::<RegisterBrokerBody>(golden, command.body);
            }
        }
        Code::SendBatchMessage => {
            let messages: Result<Vec<_>, _> = batch::split(command.body).collect();
            assert!(messages.unwrap().len() > 1, "{}", golden.name);
        }
        Code::CheckTransactionState => check_units(golden, command.body),
        _ => {}
    }
}

fn check_answer(golden: &Golden, body: &[u8]) {
    use RequestCode as Code;
    match golden.code {
        Code::PullMessage | Code::LitePullMessage | Code::QueryMessage | Code::ViewMessageById => {
            check_units(golden, body);
        }
        Code::GetRouteinfoByTopic => check_body::<TopicRouteData>(golden, body),
        Code::GetBrokerClusterInfo => check_body::<ClusterInfo>(golden, body),
        Code::GetConsumerListByGroup => {
            check_body::<GetConsumerListByGroupResponseBody>(golden, body);
        }
        Code::LockBatchMq => check_body::<LockBatchResponseBody>(golden, body),
        Code::GetBrokerRuntimeInfo | Code::GetKvlistByNamespace | Code::RegisterBroker => {
            check_body::<KvTable>(golden, body);
        }
        Code::GetAllTopicListFromNameserver
        | Code::GetTopicsByCluster
        | Code::GetSystemTopicListFromNs
        | Code::GetSystemTopicListFromBroker => check_body::<TopicList>(golden, body),
        Code::GetAllTopicConfig => check_body::<TopicConfigSerializeWrapper>(golden, body),
        Code::GetTopicConfig => check_body::<TopicConfig>(golden, body),
        Code::GetAllSubscriptiongroupConfig => {
            check_body::<SubscriptionGroupWrapper>(golden, body);
        }
        Code::GetSubscriptiongroupConfig => check_body::<SubscriptionGroupConfig>(golden, body),
        Code::QueryDataVersion => check_body::<DataVersion>(golden, body),
        Code::GetTopicStatsInfo => {
            let table: TopicStatsTable = dialect::from_slice(body).unwrap();
            check_text(golden, &table.encode(), body);
        }
        Code::GetConsumeStats => {
            let stats: ConsumeStats = dialect::from_slice(body).unwrap();
            check_text(golden, &stats.encode(), body);
        }
        _ => {}
    }
}

/// Compares texts whose keys are objects.
fn check_text(golden: &Golden, written: &[u8], came: &[u8]) {
    let [written, came] = [written, came].map(|text| dialect::from_slice(text).unwrap());
    check_contains(&written, &came, &golden.name);
}
