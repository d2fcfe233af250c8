//! Bits of a message's system flag.
//!
//! The broker sets the two host bits from the actual addresses; all others come from the producer.
//! Source: Java `MessageSysFlag`.

/// The client has compressed the body.
pub const COMPRESSED: i32 = 1;
/// The topic's messages have several tags.
pub const MULTI_TAGS: i32 = 1 << 1;
/// No transaction.
pub const TRANSACTION_NOT: i32 = 0;
/// A half message.
pub const TRANSACTION_PREPARED: i32 = 1 << 2;
/// Committed, or the request to commit.
pub const TRANSACTION_COMMIT: i32 = 2 << 2;
/// Rolled back, or the request to roll back.
pub const TRANSACTION_ROLLBACK: i32 = 3 << 2;
/// The bits of the transaction.
pub const TRANSACTION_MASK: i32 = 3 << 2;
/// The born host has an IPv6 address.
pub const BORN_HOST_V6: i32 = 1 << 4;
/// The store host has an IPv6 address.
pub const STORE_HOST_V6: i32 = 1 << 5;
/// An inner batch, which the client takes apart.
pub const NEED_UNWRAP: i32 = 1 << 6;
/// The unit holds several messages.
pub const INNER_BATCH: i32 = 1 << 7;
/// The compression's kind: 0 and 3 zlib, 1 LZ4, 2 Zstandard, in these three bits.
pub const COMPRESSION_MASK: i32 = 7 << 8;

/// The transaction state in a flag.
pub const fn transaction(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_MASK
}

/// The flag with another transaction state.
#[must_use]
pub const fn with_transaction(sys_flag: i32, state: i32) -> i32 {
    (sys_flag & !TRANSACTION_MASK) | (state & TRANSACTION_MASK)
}
