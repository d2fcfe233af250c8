//! Fixtures of this crate's tests: a simulated host with one shard, and messages that tell their
//! own content.
//!
//! Invariant: the bytes of a message follow from its place, its topic and its number.

use crate::{
    AppendError, AppendReceipt, FlushMode, GetResult, MessagePlace, ReadLimits, Recovered,
    Settings, ShardStore,
};
use base::{QueueId, QueueOffset, ShardId};
use sim::{Host, Sim, World};
use std::path::PathBuf;

pub(crate) type Store = ShardStore<Sim>;

pub(crate) const LIMITS: ReadLimits = ReadLimits {
    count_max: 1_000,
    bytes_max: 1 << 20,
    scan_max: 10_000,
};

/// A world with one host of one shard.
pub(crate) fn world(seed: u64) -> (World, Host) {
    let world = World::new(seed);
    let host = world.host(1);
    host.shape_disk(|shape| shape.alignment = 512);
    (world, host)
}

pub(crate) fn settings(flush: FlushMode) -> Settings {
    Settings {
        flush,
        ..Settings::small(PathBuf::from("/store"), ShardId::new(0), 1)
    }
}

/// Opens the store of the host's present life.
pub(crate) fn open(host: &Host, settings: Settings) -> (Store, Recovered) {
    host.block_on(0, |sim| async move {
        ShardStore::open(sim, settings)
            .await
            .expect("the store opens")
    })
}

/// A stored message with two IPv4 hosts and no properties.
pub(crate) fn message(place: MessagePlace, topic: &str, queue: QueueId, body: &[u8]) -> Vec<u8> {
    message_with(place, topic, queue, body, "")
}

/// The same with properties.
pub(crate) fn message_with(
    place: MessagePlace,
    topic: &str,
    queue: QueueId,
    body: &[u8],
    properties: &str,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(((message_len(topic, body) + properties.len()) as u32).to_be_bytes());
    out.extend(0xDAA3_20A7_u32.to_be_bytes());
    out.extend((crc32fast::hash(body) & 0x7FFF_FFFF).to_be_bytes());
    out.extend(queue.0.to_be_bytes());
    out.extend(0_u32.to_be_bytes());
    out.extend(place.queue_offset.0.to_be_bytes());
    out.extend(place.phy_offset.to_wire().to_be_bytes());
    out.extend(0_u32.to_be_bytes());
    out.extend(place.store_timestamp_ms.to_be_bytes());
    out.extend([0; 8]);
    out.extend(place.store_timestamp_ms.to_be_bytes());
    out.extend([0; 8]);
    out.extend([0; 12]);
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(body);
    out.push(topic.len() as u8);
    out.extend(topic.as_bytes());
    out.extend((properties.len() as u16).to_be_bytes());
    out.extend(properties.as_bytes());
    out
}

pub(crate) fn message_len(topic: &str, body: &[u8]) -> usize {
    91 + body.len() + topic.len()
}

/// Appends to queue 0 of a topic.
pub(crate) fn append(
    store: &Store,
    topic: &str,
    body: &[u8],
) -> Result<AppendReceipt, AppendError> {
    append_to(store, topic, QueueId(0), 7, body)
}

pub(crate) fn append_to(
    store: &Store,
    topic: &str,
    queue: QueueId,
    tags_code: i64,
    body: &[u8],
) -> Result<AppendReceipt, AppendError> {
    let reference = store.queue_or_create(topic, queue);
    store.append_with(
        reference,
        message_len(topic, body),
        tags_code,
        |out, place| {
            out.copy_from_slice(&message(place, topic, queue, body));
        },
    )
}

/// Appends with patience: waits for room first.
pub(crate) async fn append_waiting(store: &Store, topic: &str, body: &[u8]) -> AppendReceipt {
    store.wait_room().await;
    append(store, topic, body).expect("there is room")
}

/// Appends a message of topic `T` with a unique key of its number, `len` bytes of body; waits for room first.
pub(crate) async fn append_keyed(store: &Store, number: u64, len: usize) {
    let properties = format!("UNIQ_KEY\u{1}K{number}\u{2}");
    let bytes = body(number, len);
    let len = message_len("T", &bytes) + properties.len();
    let queue = store.queue_or_create("T", QueueId(0));
    store.wait_room().await;
    let appended = store.append_with(queue, len, 7, |out, place| {
        let message = message_with(place, "T", QueueId(0), &bytes, &properties);
        out.copy_from_slice(&message);
    });
    appended.unwrap();
}

/// A body that says its number, `len` bytes long.
pub(crate) fn body(number: u64, len: usize) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(len.max(8), number as u8);
    body
}

/// Bodies of the messages that a read gave.
pub(crate) fn bodies(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while !bytes.is_empty() {
        let total = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
        let len = u32::from_be_bytes(*bytes[84..].first_chunk().unwrap()) as usize;
        bodies.push(bytes[88..88 + len].to_vec());
        bytes = &bytes[total..];
    }
    bodies
}

/// The number that a body tells.
pub(crate) fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(*body.first_chunk().unwrap())
}

/// Reads queue 0 of a topic from `from` to its end. Gives the numbers of the messages.
pub(crate) async fn read_numbers(store: &Store, topic: &str, from: i64) -> Vec<u64> {
    let Some(queue) = store.queue(topic, QueueId(0)) else {
        return Vec::new();
    };
    let mut numbers = Vec::new();
    let mut next = QueueOffset(from);
    while next < store.max_offset(queue) {
        let mut out = Vec::new();
        let result = store
            .read(queue, next, LIMITS, &mut |_| true, &mut out)
            .await
            .unwrap();
        assert!(result.next_offset > next, "{result:?}");
        let read = bodies(&out);
        assert_eq!(read.len(), result.count);
        numbers.extend(read.iter().map(|body| number(body)));
        next = result.next_offset;
    }
    numbers
}

/// One read of queue 0 of a topic.
pub(crate) async fn read_once(
    store: &Store,
    topic: &str,
    from: i64,
    limits: ReadLimits,
) -> (GetResult, Vec<u8>) {
    let queue = store.queue_or_create(topic, QueueId(0));
    let mut out = Vec::new();
    let result = store
        .read(queue, QueueOffset(from), limits, &mut |_| true, &mut out)
        .await
        .unwrap();
    (result, out)
}
