//! Transactions: half messages, their ends, and asking producers that sent none.
//!
//! Owned by the shard of the queue that a half message is meant for. Sends bring half messages
//! (`send::half`), `END_TRANSACTION` decides them (`end`), a task asks about those that nobody
//! decided (`check`), a tool can bring one back that was given up (`resume`). Invariant: every half
//! message ends in exactly one of: its message, a rollback, `TRANS_CHECK_MAX_TIME_TOPIC`, or an
//! error in the log file and a count. Java: `TransactionalMessageServiceImpl`.

mod check;
mod end;
mod resume;

pub(crate) use check::start;
pub(crate) use end::end_transaction;
pub(crate) use resume::resume_check;

use crate::assemble::Services;
use crate::names::HALF_TOPIC;
use base::{PhyOffset, QueueId};
use rt::Rt;
use shard::{HalfMessage, kinds};
use std::cell::{Cell, RefCell};
use store::{AppendError, AppendReceipt, ReadError, ReadLimits, TailRead};

/// What the transactions of one shard share.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// Room for the half message that is being decided.
    unit: RefCell<Vec<u8>>,
    /// Counts questions to producers of groups of this shard, so that they take turns.
    turn: Cell<usize>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    committed: Cell<u64>,
    rolled_back: Cell<u64>,
    checks: Cell<u64>,
    discarded: Cell<u64>,
    lost: Cell<u64>,
}

/// What became of half messages since the start, and how many wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Undecided now.
    pub(crate) undecided: u64,
    /// How long the oldest of them has waited, as far as its producer's clock is right, in
    /// milliseconds.
    pub(crate) oldest_ms: u64,
    pub(crate) committed: u64,
    pub(crate) rolled_back: u64,
    /// Questions to producers.
    pub(crate) checks: u64,
    /// Moved to `TRANS_CHECK_MAX_TIME_TOPIC`.
    pub(crate) discarded: u64,
    /// Could not be read any more.
    pub(crate) lost: u64,
}

impl Figures {
    /// The figures of two shards together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            undecided: self.undecided + other.undecided,
            oldest_ms: self.oldest_ms.max(other.oldest_ms),
            committed: self.committed + other.committed,
            rolled_back: self.rolled_back + other.rolled_back,
            checks: self.checks + other.checks,
            discarded: self.discarded + other.discarded,
            lost: self.lost + other.lost,
        }
    }
}

/// The figures of one shard.
pub(crate) fn figures<R: Rt>(services: &Services<R>) -> Figures {
    let (shard, counts) = (&services.shard, &services.transactions.counts);
    let timeout_ms = services.settings.transactions.timeout_ms.cast_signed();
    let waited_ms = shard.halves.oldest_due_ms().map_or(0, |due_ms| {
        shard.rt.now_ms() - due_ms.saturating_sub(timeout_ms)
    });
    Figures {
        undecided: shard.halves.len() as u64,
        oldest_ms: waited_ms.max(0).cast_unsigned(),
        committed: counts.committed.get(),
        rolled_back: counts.rolled_back.get(),
        checks: counts.checks.get(),
        discarded: counts.discarded.get(),
        lost: counts.lost.get(),
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Ends recovery of the shard's undecided half messages, before anything is appended.
///
/// # Errors
/// The index of the half queue cannot be read.
pub(crate) async fn recover<R: Rt>(services: &Services<R>) -> Result<(), ReadError> {
    let (store, halves) = (&services.shard.store, &services.shard.halves);
    let mut found = Vec::new();
    if let Some(queue) = store.queue(HALF_TOPIC, QueueId(0)) {
        found = store.index_entries(queue, halves.known_to()).await?;
    }
    let found = found.iter();
    halves.recovered(found.map(|entry| (entry.phy_offset, entry.queue_offset, entry.tags_code)));
    Ok(())
}

/// What a read of a half message gave.
enum Found {
    Unit,
    /// It is not in memory.
    NotInMemory,
    /// It cannot be seen yet.
    NotVisible,
    /// It was lost to damage, or went with the oldest part of the log.
    Gone,
}

impl Found {
    fn of(read: &store::GetResult) -> Self {
        use store::GetStatus::{
            Found, MessageWasRemoving, NoMatchedLogicQueue, NoMatchedMessage, NoMessageInQueue,
            OffsetFoundNull, OffsetOverflowBadly, OffsetOverflowOne, OffsetTooSmall,
        };
        match read.status {
            Found => Self::Unit,
            // A queue of which nothing can be seen yet looks like one that never had a message.
            OffsetOverflowOne | OffsetOverflowBadly | NoMessageInQueue | NoMatchedMessage => {
                Self::NotVisible
            }
            MessageWasRemoving | OffsetFoundNull | OffsetTooSmall | NoMatchedLogicQueue => {
                Self::Gone
            }
        }
    }
}

/// Reads a half message that is in memory.
fn read_tail<R: Rt>(services: &Services<R>, half: HalfMessage, out: &mut Vec<u8>) -> Found {
    let store = &services.shard.store;
    let Some(queue) = store.queue(HALF_TOPIC, QueueId(0)) else {
        return Found::Gone;
    };
    match store.read_tail(queue, half.queue_offset, ONE, &mut |_| true, out) {
        TailRead::Done(read) => Found::of(&read),
        TailRead::NotInMemory => Found::NotInMemory,
    }
}

/// Reads a half message from wherever it lies.
async fn read<R: Rt>(
    services: &Services<R>,
    half: HalfMessage,
    out: &mut Vec<u8>,
) -> Result<Found, ReadError> {
    let store = &services.shard.store;
    let Some(queue) = store.queue(HALF_TOPIC, QueueId(0)) else {
        return Ok(Found::Gone);
    };
    let mut any = |_| true;
    let read = store.read(queue, half.queue_offset, ONE, &mut any, out);
    Ok(Found::of(&read.await?))
}

/// Decides a half message that leaves no message behind.
fn decide_by_record<R: Rt>(
    services: &Services<R>,
    at: PhyOffset,
    half: HalfMessage,
) -> Result<AppendReceipt, AppendError> {
    let payload = at.to_wire().to_le_bytes();
    let end = services
        .shard
        .append_record(kinds::HALF_MESSAGES_DECIDED, &payload)?;
    services.shard.halves.decide(at);
    Ok(AppendReceipt {
        phy_offset: at,
        queue_offset: half.queue_offset,
        store_timestamp_ms: 0,
        end,
        encoded_len: 0,
    })
}

const ONE: ReadLimits = ReadLimits {
    count_max: 1,
    bytes_max: 1,
    scan_max: 1,
};
