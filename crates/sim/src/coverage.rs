//! What was struck by which fault while the stores were busy with what, counted per thread.
//!
//! A fault counts for everything that a store of its host was busy with at that instant; for serving
//! only when there was nothing else. Invariant: counting draws nothing and changes nothing.

use base::activity::{Activity, turn, under_way};
use std::cell::RefCell;

/// Something that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Struck {
    /// The machine lost power.
    PowerCut,
    /// The process was killed.
    Kill,
    /// A read failed.
    ReadFailed,
    /// A write failed.
    WriteFailed,
    /// A write stored its first sectors only.
    WriteShort,
    /// A write was said to be done and was not.
    WriteLost,
    /// A write went elsewhere.
    WriteMisdirected,
    /// A sync failed.
    SyncFailed,
    /// A change of names or lengths failed.
    NameFailed,
    /// There was no room.
    NoRoom,
    /// An operation took long.
    Stalled,
    /// Stored bits changed.
    Rot,
    /// Bytes no longer passed in one direction.
    Cut,
    /// Connections were refused.
    Refused,
    /// Connections were reset.
    Reset,
    /// Connections went silent.
    HalfOpen,
    /// Bytes took longer.
    Slow,
    /// The wall clock jumped.
    ClockJumped,
}

impl Struck {
    /// All of them, by number.
    pub const ALL: [Self; 18] = [
        Self::PowerCut,
        Self::Kill,
        Self::ReadFailed,
        Self::WriteFailed,
        Self::WriteShort,
        Self::WriteLost,
        Self::WriteMisdirected,
        Self::SyncFailed,
        Self::NameFailed,
        Self::NoRoom,
        Self::Stalled,
        Self::Rot,
        Self::Cut,
        Self::Refused,
        Self::Reset,
        Self::HalfOpen,
        Self::Slow,
        Self::ClockJumped,
    ];
}

/// States of the table: every activity, and none at all.
pub const STATES: usize = Activity::ALL.len() + 1;

/// Counts by fault and by state; the last state is that no store was open.
pub type Strikes = [[u64; STATES]; Struck::ALL.len()];

thread_local! {
    static STRIKES: RefCell<Strikes> = const { RefCell::new([[0; STATES]; Struck::ALL.len()]) };
}

/// Counts a fault of a host.
pub(crate) fn note(struck: Struck, host: usize) {
    let busy = under_way(host);
    STRIKES.with_borrow_mut(|strikes| {
        let row = &mut strikes[struck as usize];
        let serves = Activity::Serve as usize;
        let mut others = 0;
        for (state, count) in busy.iter().enumerate() {
            if *count > 0 && state != serves {
                row[state] += 1;
                others += 1;
            }
        }
        if others == 0 {
            row[if busy[serves] > 0 { serves } else { STATES - 1 }] += 1;
        }
    });
}

/// Counts a fault of the host whose turn it is.
pub(crate) fn note_here(struck: Struck) {
    note(struck, turn());
}

/// What was counted on this thread since the last call.
pub fn take_strikes() -> Strikes {
    STRIKES.replace([[0; STATES]; Struck::ALL.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::activity::Busy;

    #[test]
    fn a_fault_counts_for_what_is_under_way() {
        take_strikes();
        base::activity::turn_to(5);
        note(Struck::Rot, 5);
        let serves = Busy::begin(Activity::Serve);
        note(Struck::Rot, 5);
        let scrubs = Busy::begin(Activity::Scrub);
        note(Struck::Rot, 5);
        drop((serves, scrubs));
        let row = take_strikes()[Struck::Rot as usize];
        assert_eq!(row[STATES - 1], 1);
        assert_eq!(row[Activity::Serve as usize], 1);
        assert_eq!(row[Activity::Scrub as usize], 1);
        assert_eq!(row.iter().sum::<u64>(), 3);
    }
}
