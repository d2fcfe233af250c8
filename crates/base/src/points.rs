//! Assertions that stay on in every build, and places that a test must come to, counted.
//!
//! [`crate::always!`] asserts an invariant where data changes hands; when it is broken the program ends,
//! since nothing after that could be believed. [`crate::reached!`] marks a rare case. Both count how often they
//! were come by, per thread, at the cost of one addition. All names stand in one list, so that the
//! simulation can say which it never reached. Invariant: counting changes nothing else.

use std::cell::Cell;

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident: $sentence:literal,)*) => {
        /// A place in the program that is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Point {
            $(#[doc = $sentence] $name,)*
        }

        impl Point {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What must hold there, or what happened.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                }
            }
        }
    };
}

points! {
    // Invariants.
    PositionsOrdered: "log start <= durable <= written <= sealed",
    SyncCoversWritten: "a sync makes durable what was written when it began, and nothing else",
    WritesCountInOrder: "a write counts once all before it have completed",
    BlockInPreparedSpace: "a block is written where the segment was prepared",
    VisibleWithinQueue: "consumers see no more of a queue than it holds, and nothing trimmed",
    ShownIsDurable: "under synchronous flush a message is shown once its end is durable",
    FenceHolds: "a fenced shard acknowledges no more than when it was fenced",
    AnswerIsAcknowledged: "a send is answered with success once its end is acknowledged",
    BatchIsDense: "the messages of a batch have consecutive offsets",
    CheckpointIsDurable: "a checkpoint names nothing beyond the durable end of the log",
    CheckpointAdvances: "a checkpoint lies at or above the one before",
    RecoveredOffsetsDense: "a recovered message has the offset that its queue is at",
    RingContinues: "a block of the tail ring is written where the log ends",
    SegmentsFollow: "segments follow each other without a gap",
    GenerationIsNew: "a segment has a generation that no other one of the log has",
    TrimWithinCheckpoints: "a segment leaves the log only below both checkpoints",
    FirstOffsetGrows: "the first offset of a queue only grows, and never beyond what is visible",
    ReadMatchesUnit: "a message that is read is the one that the queue index means",
    ClosedIsDurable: "what a store holds when it is closed is durable",
    PublishedIsDurable: "topics and groups are published once their records are durable",
    // Rare cases.
    TailErased: "a torn tail was erased",
    DamageSkipped: "a damaged part of the log was stepped over",
    BitRepaired: "a block with one flipped bit was put right",
    RingReplayed: "messages came back from the tail ring",
    RingDamaged: "a tail ring could not be read",
    OlderCheckpoint: "recovery began at the older checkpoint",
    WholeLog: "recovery began at the start of the log",
    SegmentReused: "an old segment became a new one",
    SegmentGone: "an old segment left the log",
    FencedByWrite: "a failed write fenced the shard",
    FencedBySync: "a failed sync fenced the shard",
    FencedByPreparing: "a failed write ahead of the log fenced the shard",
    FencedByIndex: "a failed write of the queue index or a checkpoint fenced the shard",
    DiskFull: "the log could not grow",
    SpaceCameBack: "the log can grow again",
    AppendBusy: "a message was refused because too much waited",
    AppendNoSpace: "a message was refused because the disk was full",
    AppendFenced: "a message was refused because the shard was fenced",
    DiskStood: "a write or sync stood still beyond its limit",
    SendOverdue: "a send was answered before it was durable, because the disk was late",
    PageRebuilt: "a damaged page of the queue index was made again from the log",
    KeysAsked: "messages were asked for by key",
    KeyRunWritten: "a run of the key index was written",
}

thread_local! {
    static COUNTS: [Cell<u64>; Point::ALL.len()] = const { [const { Cell::new(0) }; Point::ALL.len()] };
}

/// Counts that this thread came by a place.
#[inline]
pub fn count(point: Point) {
    COUNTS.with(|counts| {
        let count = &counts[point as usize];
        count.set(count.get().wrapping_add(1));
    });
}

/// What this thread has counted since the last call, by the number of each place.
pub fn take_counts() -> Vec<u64> {
    COUNTS.with(|counts| counts.iter().map(|count| count.replace(0)).collect())
}

/// Asserts an invariant in every build and counts that it was looked at:
/// `base::always!(RingContinues, end == position)`, with words and numbers after that if they help.
///
/// # Panics
/// When it is broken.
#[macro_export]
macro_rules! always {
    ($point:ident, $holds:expr) => {{
        $crate::points::count($crate::points::Point::$point);
        assert!($holds, "{}", $crate::points::Point::$point.sentence());
    }};
    ($point:ident, $holds:expr, $($words:tt)+) => {{
        $crate::points::count($crate::points::Point::$point);
        assert!(
            $holds,
            "{}: {}",
            $crate::points::Point::$point.sentence(),
            format_args!($($words)+)
        );
    }};
}

/// Counts a rare case: `base::reached!(TailErased)`.
#[macro_export]
macro_rules! reached {
    ($point:ident) => {
        $crate::points::count($crate::points::Point::$point)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_come_by_is_counted_and_a_broken_invariant_ends_the_program() {
        take_counts();
        always!(RingContinues, true);
        always!(RingContinues, 1 < 2, "{} and {}", 1, 2);
        reached!(TailErased);
        let counts = take_counts();
        assert_eq!(counts[Point::RingContinues as usize], 2);
        assert_eq!(counts[Point::TailErased as usize], 1);
        assert_eq!(take_counts().iter().sum::<u64>(), 0);
        let broken = std::panic::catch_unwind(|| always!(RingContinues, 2 < 1, "{}", 7));
        let text = broken.unwrap_err().downcast::<String>().unwrap();
        assert!(text.ends_with("log ends: 7"), "{text}");
    }
}
