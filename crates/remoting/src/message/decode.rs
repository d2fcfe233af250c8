//! Reading a unit.
//!
//! What must always hold: everything is borrowed, any bytes give a message or an error, and a unit
//! that reads is exactly as long as it says. Java: `MessageDecoder.decode`.

use super::layout::UNIT_LEN_MIN;
use super::{MAGIC_V1, MAGIC_V2, sys_flag};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A stored message, borrowed from its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredMessage<'a> {
    /// [`MAGIC_V1`] or [`MAGIC_V2`].
    pub magic: i32,
    /// CRC-32 of the body without its highest bit, as stored.
    pub body_crc: i32,
    /// The queue in the topic.
    pub queue_id: i32,
    /// The user's flag; opaque.
    pub flag: i32,
    /// The place in the queue.
    pub queue_offset: i64,
    /// The place in the log.
    pub phy_offset: i64,
    /// See [`sys_flag`].
    pub sys_flag: i32,
    /// By the producer's clock, in milliseconds since the epoch.
    pub born_timestamp_ms: i64,
    /// The producer's address.
    pub born_host: SocketAddr,
    /// By the broker's clock, in milliseconds since the epoch.
    pub store_timestamp_ms: i64,
    /// The broker's advertised address.
    pub store_host: SocketAddr,
    /// How often the message failed to be consumed.
    pub reconsume_times: i32,
    /// Of a committed transaction: the physical offset of its half message.
    pub prepared_transaction_offset: i64,
    /// As the producer sent it.
    pub body: &'a [u8],
    /// The topic.
    pub topic: &'a str,
    /// See [`properties`](super::properties).
    pub properties: &'a str,
}

impl StoredMessage<'_> {
    /// Whether the body is what was stored. Decoding does not look at it.
    pub fn body_crc_matches(&self) -> bool {
        (crc32fast::hash(self.body) & 0x7FFF_FFFF).cast_signed() == self.body_crc
    }
}

/// Bytes that are no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The unit ends inside a field.
    #[error("the unit ends inside its {0}")]
    Truncated(&'static str),
    /// The total size cannot be.
    #[error("a unit of {size} bytes where {available} are left")]
    Size {
        /// What the unit says, in bytes.
        size: i32,
        /// The bytes from its start on.
        available: usize,
    },
    /// Neither of the two magics.
    #[error("unknown magic {0:#x}")]
    Magic(i32),
    /// A length word is negative.
    #[error("negative length of the {0}")]
    Negative(&'static str),
    /// Text is no UTF-8.
    #[error("the {0} is no UTF-8")]
    Utf8(&'static str),
    /// A host's port is above 65,535.
    #[error("a host with port {0}")]
    Port(i32),
    /// Bytes follow the properties.
    #[error("{0} bytes follow the properties")]
    Trailing(usize),
}

/// Reads the unit at the start of `bytes`; gives its length too.
pub fn decode_message(bytes: &[u8]) -> Result<(StoredMessage<'_>, usize), MessageError> {
    let size = i32::from_be_bytes(Reader(bytes).take("total size")?);
    let unit = usize::try_from(size)
        .ok()
        .filter(|size| *size >= UNIT_LEN_MIN);
    let unit = unit.and_then(|size| bytes.get(..size));
    let unit = unit.ok_or(MessageError::Size {
        size,
        available: bytes.len(),
    })?;
    let mut rest = Reader(&unit[4..]);
    let magic = rest.i32("magic")?;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return Err(MessageError::Magic(magic));
    }
    let body_crc = rest.i32("body crc")?;
    let queue_id = rest.i32("queue id")?;
    let flag = rest.i32("flag")?;
    let queue_offset = rest.i64("queue offset")?;
    let phy_offset = rest.i64("physical offset")?;
    let sys_flag = rest.i32("system flag")?;
    let born_timestamp_ms = rest.i64("born timestamp")?;
    let born_host = rest.host(sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
    let store_timestamp_ms = rest.i64("store timestamp")?;
    let store_host = rest.host(sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
    let message = StoredMessage {
        magic,
        body_crc,
        queue_id,
        flag,
        queue_offset,
        phy_offset,
        sys_flag,
        born_timestamp_ms,
        born_host,
        store_timestamp_ms,
        store_host,
        reconsume_times: rest.i32("reconsume times")?,
        prepared_transaction_offset: rest.i64("transaction offset")?,
        body: rest.body()?,
        topic: rest.topic(magic)?,
        properties: rest.properties()?,
    };
    match rest.0.len() {
        0 => Ok((message, unit.len())),
        len => Err(MessageError::Trailing(len)),
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], MessageError> {
        let (word, rest) = self
            .0
            .split_first_chunk()
            .ok_or(MessageError::Truncated(what))?;
        self.0 = rest;
        Ok(*word)
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, MessageError> {
        self.take(what).map(i32::from_be_bytes)
    }

    fn i64(&mut self, what: &'static str) -> Result<i64, MessageError> {
        self.take(what).map(i64::from_be_bytes)
    }

    fn host(&mut self, is_v6: bool) -> Result<SocketAddr, MessageError> {
        let ip = if is_v6 {
            IpAddr::from(Ipv6Addr::from(self.take::<16>("host")?))
        } else {
            IpAddr::from(Ipv4Addr::from(self.take::<4>("host")?))
        };
        let port = self.i32("host")?;
        let port = u16::try_from(port).map_err(|_| MessageError::Port(port))?;
        Ok(SocketAddr::new(ip, port))
    }

    fn body(&mut self) -> Result<&'a [u8], MessageError> {
        let len = self.i32("body")?;
        let len = usize::try_from(len).map_err(|_| MessageError::Negative("body"))?;
        self.bytes(len, "body")
    }

    fn topic(&mut self, magic: i32) -> Result<&'a str, MessageError> {
        let len = if magic == MAGIC_V1 {
            i16::from(i8::from_be_bytes(self.take("topic")?))
        } else {
            i16::from_be_bytes(self.take("topic")?)
        };
        self.text(len, "topic")
    }

    fn properties(&mut self) -> Result<&'a str, MessageError> {
        let len = i16::from_be_bytes(self.take("properties")?);
        self.text(len, "properties")
    }

    fn text(&mut self, len: i16, what: &'static str) -> Result<&'a str, MessageError> {
        let len = usize::try_from(len).map_err(|_| MessageError::Negative(what))?;
        let bytes = self.bytes(len, what)?;
        std::str::from_utf8(bytes).map_err(|_| MessageError::Utf8(what))
    }

    fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], MessageError> {
        let split = self.0.split_at_checked(len);
        let (bytes, rest) = split.ok_or(MessageError::Truncated(what))?;
        self.0 = rest;
        Ok(bytes)
    }
}
