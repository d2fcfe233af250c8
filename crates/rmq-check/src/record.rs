//! One event of a history: 64 bytes, little-endian, whatever wrote it.
//!
//! `docs/testing.md` describes the bytes. What must always hold: encoding and decoding are each
//! other's inverse, and any 64 bytes decode to a record or to an error.

use crate::error::HistoryError;

/// Bytes of a record.
pub const RECORD_LEN: usize = 64;

/// The uid of a message whose body is none of this run's.
pub const FOREIGN: u64 = u64::MAX;

/// The body's own checksum did not match when it was read.
pub const FLAG_BODY_BAD: u8 = 1;
/// The producer waits for each answer before it sends again.
pub const FLAG_SYNC: u8 = 1 << 1;
/// The program ended because the campaign ended it.
pub const FLAG_EXPECTED: u8 = 1 << 2;

/// Packs producer and sequence number into a uid. A producer's number starts at 1, so that 0 means
/// no message.
pub const fn uid(producer: u16, sequence: u64) -> u64 {
    (producer as u64) << 48 | (sequence & SEQUENCE_MAX)
}

/// The largest sequence number of a producer.
pub const SEQUENCE_MAX: u64 = (1 << 48) - 1;

/// What a record says about its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It begins.
    Invoke = 1,
    /// It took effect.
    Ok = 2,
    /// It had no effect, and the other side promised so.
    Fail = 3,
    /// Nobody knows.
    Info = 4,
}

/// The operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Op {
    /// One message is sent. Invoke: wanted queue, digest, `aux` the timeout in ms. Ok: `offset`, `phy`.
    Send = 1,
    /// As [`Op::Send`], one record per message of a batch.
    SendBatch = 2,
    /// A consumer got a message: physical queue and `offset`, digest, `aux` its reconsume times.
    Deliver = 3,
    /// A listener begins with a message.
    ConsumeBegin = 4,
    /// A listener ended: `code` 0 success, 1 later, 2 suspend; `aux` the wished delay in ms;
    /// `offset` the reconsume times.
    ConsumeEnd = 5,
    /// A POP message is acknowledged.
    Ack = 6,
    /// A POP message is given back.
    Nack = 7,
    /// A POP message's invisible time is changed.
    ChangeInvisible = 8,
    /// A group commits `offset`.
    OffsetCommit = 9,
    /// A group asks for its offset: ok with `offset`, fail when it has none.
    OffsetQuery = 10,
    /// A queue is locked for a group.
    Lock = 11,
    /// A consumer takes over a queue.
    Assign = 12,
    /// A consumer gives a queue up.
    Revoke = 13,
    /// The decision of a local transaction.
    TxnLocal = 14,
    /// The answer to a transaction check.
    TxnCheck = 15,
    /// A transaction's end is sent.
    EndTxn = 16,
    /// Another admin request.
    Admin = 17,
    /// Invoke: a fault begins; ok: it is over. `aux` is a [`Fault`].
    Fault = 18,
    /// The broker process is started.
    BrokerStart = 19,
    /// It serves.
    BrokerReady = 20,
    /// It is gone; [`FLAG_EXPECTED`] when the campaign ended it, `aux` 1 for an end without warning.
    BrokerExit = 21,
    /// The closing dump found a message at `offset`.
    LogDump = 22,
    /// The closing dump of a queue begins: `offset` is its min, `aux` its max offset.
    DumpBegin = 23,
    /// The result of a full scan of the store.
    StoreVerify = 24,
    /// A queue's min (`offset`) and max (`aux`) are asked for.
    QueueBounds = 25,
    /// A group wants every message of a topic.
    Subscribe = 26,
    /// A group's offset is reset to `offset`.
    OffsetReset = 27,
    /// A group says that it has read a queue up to `offset`.
    Drained = 28,
    /// A message is fetched by its message id: `uid` is wanted, ok with what was found.
    View = 29,
    /// A message is looked up by its key; as [`Op::View`].
    QueryKey = 30,
    /// From now on queues of `topic` (0: of all) may be trimmed.
    Retention = 31,
    /// A limit of the run: `code` is a [`Setting`], `aux` its value.
    Setting = 32,
}

/// What an [`Op::Setting`] sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Setting {
    /// How far committed offsets may go back in a crash, in ns.
    OffsetWindowNs = 1,
    /// How often a message of `group` is consumed again before it becomes a dead letter.
    MaxReconsumeTimes = 2,
}

/// Kinds of faults, for the table of allowed codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// The process is killed.
    Kill = 1,
    /// Writes or syncs fail.
    Eio = 2,
    /// The disk is full.
    Enospc = 3,
    /// The disk stands still.
    Stall = 4,
    /// Bits flip.
    Rot = 5,
    /// The machine loses power.
    Power = 6,
    /// The broker is asked to stop.
    Stop = 7,
    /// Disturbed connections.
    Network = 8,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// `CLOCK_MONOTONIC` in ns.
    pub t_ns: u64,
    /// The message: see [`uid`]; 0 for none.
    pub uid: u64,
    /// An offset in the queue, or what the operation says; -1 for none.
    pub offset: i64,
    /// The physical offset in the message's id; -1 for none.
    pub phy: i64,
    /// By operation.
    pub aux: i64,
    /// Over topic, tags, keys, the uid property and the body; see [`crate::body::digest`].
    pub digest: u32,
    /// The response code; below 0: no answer, see [`crate::outcome`].
    pub code: i32,
    /// Who: one number per thread that does one thing after the other.
    pub proc: u16,
    /// The queue's number, [`NO_QUEUE`] for none.
    pub queue: u16,
    /// The topic, in the side table.
    pub topic: u16,
    /// The group, in the side table.
    pub group: u16,
    /// The broker group, in the side table.
    pub broker: u16,
    /// What is said about the operation.
    pub kind: Kind,
    /// The operation.
    pub op: Op,
    /// 1 for the first attempt to send this uid.
    pub attempt: u8,
    /// See the `FLAG_` constants.
    pub flags: u8,
    /// The replica that a dump was read from.
    pub node: u16,
}

/// No queue was chosen.
pub const NO_QUEUE: u16 = u16::MAX;

impl Record {
    /// A record with nothing but time, operation and kind.
    pub const fn new(t_ns: u64, op: Op, kind: Kind) -> Self {
        Self {
            t_ns,
            uid: 0,
            offset: -1,
            phy: -1,
            aux: 0,
            digest: 0,
            code: 0,
            proc: 0,
            queue: NO_QUEUE,
            topic: 0,
            group: 0,
            broker: 0,
            kind,
            op,
            attempt: 0,
            flags: 0,
            node: 0,
        }
    }

    /// The bytes as they are stored.
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut out = [0; RECORD_LEN];
        out[0..8].copy_from_slice(&self.t_ns.to_le_bytes());
        out[8..16].copy_from_slice(&self.uid.to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.phy.to_le_bytes());
        out[32..40].copy_from_slice(&self.aux.to_le_bytes());
        out[40..44].copy_from_slice(&self.digest.to_le_bytes());
        out[44..48].copy_from_slice(&self.code.to_le_bytes());
        for (at, word) in [
            (48, self.proc),
            (50, self.queue),
            (52, self.topic),
            (54, self.group),
            (56, self.broker),
            (62, self.node),
        ] {
            out[at..at + 2].copy_from_slice(&word.to_le_bytes());
        }
        out[58] = self.kind as u8;
        out[59] = self.op as u8;
        out[60] = self.attempt;
        out[61] = self.flags;
        out
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// An operation or a kind that does not exist.
    pub fn decode(bytes: &[u8; RECORD_LEN]) -> Result<Self, HistoryError> {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Ok(Self {
            t_ns: long(0),
            uid: long(8),
            offset: long(16).cast_signed(),
            phy: long(24).cast_signed(),
            aux: long(32).cast_signed(),
            digest: word(40),
            code: word(44).cast_signed(),
            proc: half(48),
            queue: half(50),
            topic: half(52),
            group: half(54),
            broker: half(56),
            kind: Kind::from_wire(bytes[58]).ok_or(HistoryError::Kind(bytes[58]))?,
            op: Op::from_wire(bytes[59]).ok_or(HistoryError::Op(bytes[59]))?,
            attempt: bytes[60],
            flags: bytes[61],
            node: half(62),
        })
    }

    /// The producer's number in the uid.
    pub const fn producer(&self) -> u16 {
        (self.uid >> 48) as u16
    }

    /// Whether this is the end of an operation.
    pub fn is_end(&self) -> bool {
        self.kind != Kind::Invoke
    }
}

impl Kind {
    fn from_wire(byte: u8) -> Option<Self> {
        [Self::Invoke, Self::Ok, Self::Fail, Self::Info]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

impl Op {
    /// Every operation, by its number from 1 on.
    pub const ALL: [Self; 32] = [
        Self::Send,
        Self::SendBatch,
        Self::Deliver,
        Self::ConsumeBegin,
        Self::ConsumeEnd,
        Self::Ack,
        Self::Nack,
        Self::ChangeInvisible,
        Self::OffsetCommit,
        Self::OffsetQuery,
        Self::Lock,
        Self::Assign,
        Self::Revoke,
        Self::TxnLocal,
        Self::TxnCheck,
        Self::EndTxn,
        Self::Admin,
        Self::Fault,
        Self::BrokerStart,
        Self::BrokerReady,
        Self::BrokerExit,
        Self::LogDump,
        Self::DumpBegin,
        Self::StoreVerify,
        Self::QueueBounds,
        Self::Subscribe,
        Self::OffsetReset,
        Self::Drained,
        Self::View,
        Self::QueryKey,
        Self::Retention,
        Self::Setting,
    ];

    fn from_wire(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_every_field_reads_back() {
        for (index, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, index + 1);
            for kind in [Kind::Invoke, Kind::Ok, Kind::Fail, Kind::Info] {
                let record = Record {
                    t_ns: 1,
                    uid: uid(2, 3),
                    offset: 4,
                    phy: -5,
                    aux: 6,
                    digest: 7,
                    code: -8,
                    proc: 9,
                    queue: 10,
                    topic: 11,
                    group: 12,
                    broker: 13,
                    kind,
                    op,
                    attempt: 14,
                    flags: 15,
                    node: 16,
                };
                assert_eq!(Record::decode(&record.encode()), Ok(record));
            }
        }
    }

    #[test]
    fn unknown_numbers_are_errors() {
        let mut bytes = Record::new(0, Op::Send, Kind::Ok).encode();
        bytes[58] = 0;
        assert_eq!(Record::decode(&bytes), Err(HistoryError::Kind(0)));
        bytes[58] = 1;
        bytes[59] = 33;
        assert_eq!(Record::decode(&bytes), Err(HistoryError::Op(33)));
    }
}
