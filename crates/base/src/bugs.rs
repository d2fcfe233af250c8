//! Bugs that a test puts into the program on purpose, to see whether the sweep finds them.
//!
//! Without the feature `seeded-bugs` [`crate::bug!`] is the constant `false`, so that its branches are not
//! compiled; [`COMPILED_IN`] lets a program that serves users refuse to be built with it. With the
//! feature one bug at a time is on, for one thread. Invariant: a bug that is off changes nothing.

/// A bug that can be switched on. `docs/testing.md` tells which of a broker's classic bugs each stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Under `SYNC_FLUSH` a send is answered when its record is written, before it is synced.
    AckBeforeSync,
    /// Recovery does not look into the tail ring, the second copy that an acknowledgement under
    /// `ASYNC_FLUSH` stands on.
    TailRingNotReplayed,
    /// Consumers see what is not durable.
    ExposeUndurable,
    /// Recovery takes the last block of the log for a torn one.
    DropTailBlock,
    /// Recovery cuts the log at a damaged block, also where it was durable.
    CutAtDamage,
    /// A failed or short write counts as a whole one.
    IgnoreFailedWrite,
    /// A failed sync is tried again.
    RetrySync,
    /// What lies beyond the end of the log is not erased.
    KeepStaleTail,
    /// The directory is not synced after a new segment was made in it.
    SegmentNameNotSynced,
    /// A message that failed too often becomes two dead letters.
    DeadLetterTwice,
    /// Delayed messages come a tick early.
    EarlyTimer,
    /// Every other message that is sent back is forgotten.
    ForgetRetry,
    /// A queue's lock is given to everybody.
    LockNotExclusive,
    /// The first message of a block takes the offset of its queue's last one again.
    ReuseQueueOffset,
    /// A send that finds no room on the disk is answered with success.
    SwallowEnospc,
    /// A failed sync counts as a good one.
    IgnoreFailedSync,
    /// The second half of a batch is not stored.
    HalfBatch,
    /// Of several commits in the log the first counts after a restart, not the last.
    CommitGoesBack,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::AckBeforeSync,
        Self::TailRingNotReplayed,
        Self::ExposeUndurable,
        Self::DropTailBlock,
        Self::CutAtDamage,
        Self::IgnoreFailedWrite,
        Self::RetrySync,
        Self::KeepStaleTail,
        Self::SegmentNameNotSynced,
        Self::DeadLetterTwice,
        Self::EarlyTimer,
        Self::ForgetRetry,
        Self::LockNotExclusive,
        Self::ReuseQueueOffset,
        Self::SwallowEnospc,
        Self::IgnoreFailedSync,
        Self::HalfBatch,
        Self::CommitGoesBack,
    ];
}

/// Whether this build can have bugs switched on.
pub const COMPILED_IN: bool = cfg!(feature = "seeded-bugs");

#[cfg(feature = "seeded-bugs")]
thread_local! {
    static ON: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches one bug on for this thread, or all off. Without the feature nothing happens.
pub fn switch(bug: Option<Bug>) {
    #[cfg(feature = "seeded-bugs")]
    ON.set(bug);
    #[cfg(not(feature = "seeded-bugs"))]
    let _ = bug;
}

/// Whether a bug is on for this thread.
#[cfg(feature = "seeded-bugs")]
pub fn is_on(bug: Bug) -> bool {
    ON.get() == Some(bug)
}

/// Whether a bug is on: never.
#[cfg(not(feature = "seeded-bugs"))]
pub const fn is_on(_bug: Bug) -> bool {
    false
}

/// Whether a seeded bug is on: `base::bug!(AckBeforeSync)`.
#[macro_export]
macro_rules! bug {
    ($name:ident) => {
        $crate::bugs::is_on($crate::bugs::Bug::$name)
    };
}
