//! Writing a unit.
//!
//! Goes straight into the log's buffer: the length is known before, every field is written once, in
//! order. What must always hold: nothing is allocated, and the two host bits of the flag agree with
//! the hosts. Java: `MessageExtEncoder.encode`.

use super::layout::{HOST_V4_LEN, HOST_V6_LEN, UNIT_LEN_MIN};
use super::{MAGIC_V1, MAGIC_V2, PROPERTIES_LEN_MAX, TOPIC_LEN_MAX, TOPIC_LEN_MAX_V1, sys_flag};
use std::net::{IpAddr, SocketAddr};

/// Everything of a message but what the log gives it.
#[derive(Debug, Clone, Copy)]
pub struct MessageFields<'a> {
    /// At most [`TOPIC_LEN_MAX`] bytes.
    pub topic: &'a str,
    /// The queue in the topic.
    pub queue_id: i32,
    /// The user's flag; opaque.
    pub flag: i32,
    /// See [`sys_flag`]; the host bits are set here.
    pub sys_flag: i32,
    /// By the producer's clock, in milliseconds since the epoch.
    pub born_timestamp_ms: i64,
    /// The producer's address.
    pub born_host: SocketAddr,
    /// The broker's advertised address.
    pub store_host: SocketAddr,
    /// How often the message failed to be consumed.
    pub reconsume_times: i32,
    /// Of a committed transaction: the physical offset of its half message.
    pub prepared_transaction_offset: i64,
    /// As the producer sent it.
    pub body: &'a [u8],
    /// Pieces of the property text, at most [`PROPERTIES_LEN_MAX`] bytes together; stored one after
    /// the other as they are.
    pub properties: &'a [&'a [u8]],
}

impl MessageFields<'_> {
    /// The length of the unit in bytes.
    pub fn encoded_len(&self) -> usize {
        let topic_word = usize::from(!self.is_v1());
        UNIT_LEN_MIN - 2 * HOST_V4_LEN
            + host_len(self.born_host)
            + host_len(self.store_host)
            + self.body.len()
            + topic_word
            + self.topic.len()
            + self.properties_len()
    }

    /// Writes the unit.
    ///
    /// # Panics
    /// When `out` is not exactly [`encoded_len`](Self::encoded_len) bytes long, or a field is
    /// longer than its length word can tell.
    pub fn encode_into(
        &self,
        out: &mut [u8],
        queue_offset: i64,
        phy_offset: i64,
        store_timestamp_ms: i64,
    ) {
        let body_crc = crc32fast::hash(self.body) & 0x7FFF_FFFF;
        let total_size = length32(out.len(), "unit");
        let mut out = Writer(out);
        out.put(&total_size.to_be_bytes());
        out.put(&(if self.is_v1() { MAGIC_V1 } else { MAGIC_V2 }).to_be_bytes());
        out.put(&body_crc.to_be_bytes());
        out.put(&self.queue_id.to_be_bytes());
        out.put(&self.flag.to_be_bytes());
        out.put(&queue_offset.to_be_bytes());
        out.put(&phy_offset.to_be_bytes());
        out.put(&self.stored_sys_flag().to_be_bytes());
        out.put(&self.born_timestamp_ms.to_be_bytes());
        out.put_host(self.born_host);
        out.put(&store_timestamp_ms.to_be_bytes());
        out.put_host(self.store_host);
        out.put(&self.reconsume_times.to_be_bytes());
        out.put(&self.prepared_transaction_offset.to_be_bytes());
        out.put(&length32(self.body.len(), "body").to_be_bytes());
        out.put(self.body);
        self.put_topic(&mut out);
        self.put_properties(&mut out);
        assert!(
            out.0.is_empty(),
            "the unit is {} bytes shorter than its room",
            out.0.len()
        );
    }

    fn put_topic(&self, out: &mut Writer<'_>) {
        let len = self.topic.len();
        assert!(len <= TOPIC_LEN_MAX, "a topic of {len} bytes");
        if self.is_v1() {
            out.put(&[len as u8]);
        } else {
            out.put(&(len as u16).to_be_bytes());
        }
        out.put(self.topic.as_bytes());
    }

    fn put_properties(&self, out: &mut Writer<'_>) {
        let len = self.properties_len();
        assert!(len <= PROPERTIES_LEN_MAX, "properties of {len} bytes");
        out.put(&(len as u16).to_be_bytes());
        for piece in self.properties {
            out.put(piece);
        }
    }

    fn properties_len(&self) -> usize {
        self.properties.iter().map(|piece| piece.len()).sum()
    }

    fn is_v1(&self) -> bool {
        self.topic.len() <= TOPIC_LEN_MAX_V1
    }

    fn stored_sys_flag(&self) -> i32 {
        let mut flag = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            flag |= sys_flag::BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            flag |= sys_flag::STORE_HOST_V6;
        }
        flag
    }
}

fn host_len(host: SocketAddr) -> usize {
    if host.is_ipv4() {
        HOST_V4_LEN
    } else {
        HOST_V6_LEN
    }
}

fn length32(len: usize, what: &str) -> i32 {
    i32::try_from(len).unwrap_or_else(|_| panic!("a {what} of {len} bytes"))
}

/// The room that is left.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (room, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        room.copy_from_slice(bytes);
        self.0 = rest;
    }

    fn put_host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
        self.put(&i32::from(host.port()).to_be_bytes());
    }
}
