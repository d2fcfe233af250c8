//! A small remoting client of the tests' own: JSON headers, blocking sockets.
//!
//! It shares no code with the crates under test, so that an error in their codec cannot hide
//! itself. What must always hold: whatever a server sends gives a frame or an error, never a panic.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Request code of a pull.
pub const PULL_MESSAGE: i32 = 11;
/// Request code: a group asks for its offset.
pub const QUERY_CONSUMER_OFFSET: i32 = 14;
/// Request code: a group commits its offset.
pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
/// Request code: a topic is made or changed.
pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
/// Request code: the offset after a queue's last message.
pub const GET_MAX_OFFSET: i32 = 30;
/// Request code: the offset of a queue's first message.
pub const GET_MIN_OFFSET: i32 = 31;
/// Request code: messages by their key.
pub const QUERY_MESSAGE: i32 = 12;
/// Request code: a message by the offset in its message id.
pub const VIEW_MESSAGE_BY_ID: i32 = 33;
/// Request code of a heartbeat.
pub const HEART_BEAT: i32 = 34;
/// Request code: a producer ends a transaction.
pub const END_TRANSACTION: i32 = 37;
/// Request code: a topic's route.
pub const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
/// Request code of a send with short names.
pub const SEND_MESSAGE_V2: i32 = 310;

/// Request code of a batch.
pub const SEND_BATCH_MESSAGE: i32 = 320;

/// Response code: done.
pub const SUCCESS: i32 = 0;

/// 5.5.0: `MQVersion` ordinals grow by 20 per minor release, from 413 at 5.0.0.
const VERSION: i32 = 513;
const LIMIT: Duration = Duration::from_secs(20);
const FRAME_LEN_MAX: usize = 32 << 20;

/// A request or an answer.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// What is asked for, or how it went.
    pub code: i32,
    /// Bit 0: an answer.
    pub flag: i32,
    /// Chosen by the asking side, repeated by the answering side.
    pub opaque: i32,
    /// The error text of an answer.
    pub remark: String,
    /// The fields of the header.
    pub fields: BTreeMap<String, String>,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Frame {
    /// A request.
    pub fn request(code: i32, opaque: i32, fields: &[(&str, &str)], body: &[u8]) -> Self {
        let fields = fields
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Self {
            code,
            opaque,
            fields: fields.collect(),
            body: body.to_vec(),
            ..Self::default()
        }
    }

    /// The frame with its length word.
    pub fn encode(&self) -> Vec<u8> {
        let header = json!({
            "code": self.code, "language": "JAVA", "version": VERSION, "opaque": self.opaque,
            "flag": self.flag, "extFields": self.fields,
        });
        frame_of(&header.to_string().into_bytes(), &self.body)
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.len() >= 4, "a frame of {} bytes", bytes.len());
        let mark = u32::from_be_bytes(bytes[..4].try_into()?);
        ensure!(mark >> 24 == 0, "not a JSON header: mark {mark:#x}");
        let end = 4 + (mark & 0xFF_FFFF) as usize;
        ensure!(end <= bytes.len(), "the header is longer than the frame");
        let header: Value = serde_json::from_slice(&bytes[4..end])?;
        let number = |key: &str| header[key].as_i64().unwrap_or_default() as i32;
        let none = Map::new();
        let fields = header["extFields"].as_object().unwrap_or(&none);
        Ok(Self {
            code: number("code"),
            flag: number("flag"),
            opaque: number("opaque"),
            remark: header["remark"].as_str().unwrap_or_default().to_owned(),
            fields: fields
                .iter()
                .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
                .collect(),
            body: bytes[end..].to_vec(),
        })
    }

    /// A number in an answer's fields.
    pub fn number(&self, key: &str) -> Result<i64> {
        let text = self
            .fields
            .get(key)
            .with_context(|| format!("no field {key} in {self:?}"))?;
        text.parse()
            .with_context(|| format!("field {key} is {text}"))
    }

    /// The answer itself when it has this code.
    ///
    /// # Errors
    /// Any other code, with its remark.
    pub fn expect(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == code,
            "answer {} ({}) where {code} was due",
            self.code,
            self.remark
        );
        Ok(self)
    }
}

/// A whole frame of a JSON header and a body.
pub fn frame_of(header: &[u8], body: &[u8]) -> Vec<u8> {
    let total = 4 + header.len() + body.len();
    let mut out = Vec::with_capacity(4 + total);
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&(header.len() as u32).to_be_bytes());
    out.extend_from_slice(header);
    out.extend_from_slice(body);
    out
}

/// One connection; requests get their answers by opaque.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    opaque: i32,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(address: &str) -> Result<Self> {
        let address: SocketAddr = address
            .to_socket_addrs()?
            .next()
            .context("an address without a host")?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self { stream, opaque: 0 })
    }

    /// A request id of its own.
    pub fn next_opaque(&mut self) -> i32 {
        self.opaque += 1;
        self.opaque
    }

    /// Sends a request and waits for its answer, whatever its code.
    pub fn call(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Result<Frame> {
        let opaque = self.next_opaque();
        self.stream
            .write_all(&Frame::request(code, opaque, fields, body).encode())?;
        self.answer_to(opaque)
    }

    /// Reads until the answer to `opaque`; what the server asks meanwhile is passed over.
    pub fn answer_to(&mut self, opaque: i32) -> Result<Frame> {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            let frame = self.read()?;
            if frame.flag & 1 == 1 && frame.opaque == opaque {
                return Ok(frame);
            }
        }
        bail!("no answer within {LIMIT:?}")
    }

    /// The next frame from the server.
    pub fn read(&mut self) -> Result<Frame> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length <= FRAME_LEN_MAX, "a frame of {length} bytes");
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Frame::decode(&bytes)
    }

    /// True when the server closes within `limit`; whatever it sends before is passed over.
    pub fn is_closed_within(&mut self, limit: Duration) -> Result<bool> {
        let end = Instant::now() + limit;
        let mut sink = [0; 4096];
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.stream.read(&mut sink) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), std::io::ErrorKind::ConnectionReset) => {
                    return Ok(true);
                }
                Err(_) => break,
            }
        }
        Ok(false)
    }
}
