//! What stores are busy with, so that a simulated fault can say what it struck.
//!
//! Owned by whoever is busy, as a guard; rare, and a few instructions each. One thread may play several
//! machines: what begins belongs to the one whose turn it is, and ends with its guard or with the machine's
//! life, whichever comes first. Invariant: a guard of an earlier life ends nothing of a later one.

use std::cell::Cell;

/// Something that a store is busy with, or a state that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Activity {
    /// It opens: recovery, first segments.
    Start,
    /// It takes messages.
    Serve,
    /// A checkpoint or pages of the queue index are being written.
    Checkpoint,
    /// An old segment leaves the log.
    Retention,
    /// Stored bytes are read again.
    Scrub,
    /// Runs of the key index are written or merged.
    Keys,
    /// The log cannot grow.
    Full,
    /// The shard is fenced.
    Fenced,
    /// It closes.
    Stop,
}

const COUNT: usize = 9;

impl Activity {
    /// All of them, by number.
    pub const ALL: [Self; COUNT] = [
        Self::Start,
        Self::Serve,
        Self::Checkpoint,
        Self::Retention,
        Self::Scrub,
        Self::Keys,
        Self::Full,
        Self::Fenced,
        Self::Stop,
    ];
}

/// Machines that are told apart; those beyond share.
const MACHINES: usize = 8;

struct Machine {
    life: Cell<u32>,
    under_way: [Cell<u32>; COUNT],
}

thread_local! {
    static TURN: Cell<usize> = const { Cell::new(0) };
    static ALL: [Machine; MACHINES] = const {
        [const {
            Machine {
                life: Cell::new(0),
                under_way: [const { Cell::new(0) }; COUNT],
            }
        }; MACHINES]
    };
}

/// Somebody is busy for as long as this lives.
#[derive(Debug)]
pub struct Busy {
    activity: Activity,
    machine: usize,
    life: u32,
}

impl Busy {
    /// It begins, on the machine whose turn it is.
    pub fn begin(activity: Activity) -> Self {
        let machine = TURN.get();
        let life = ALL.with(|all| {
            let count = &all[machine].under_way[activity as usize];
            count.set(count.get() + 1);
            all[machine].life.get()
        });
        Self {
            activity,
            machine,
            life,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // A thread that ends has none any more.
        let _ = ALL.try_with(|all| {
            let machine = &all[self.machine];
            if machine.life.get() == self.life {
                let count = &machine.under_way[self.activity as usize];
                count.set(count.get() - 1);
            }
        });
    }
}

/// From now on it is the turn of this machine. Only a simulation has more than one.
pub fn turn_to(machine: usize) {
    TURN.set(machine % MACHINES);
}

/// The machine whose turn it is.
pub fn turn() -> usize {
    TURN.get()
}

/// A machine's life ends, and with it everything that it was busy with.
pub fn end_life(machine: usize) {
    ALL.with(|all| {
        let machine = &all[machine % MACHINES];
        machine.life.set(machine.life.get().wrapping_add(1));
        machine.under_way.iter().for_each(|count| count.set(0));
    });
}

/// How many stores of a machine are busy with each activity, by its number.
pub fn under_way(machine: usize) -> [u32; COUNT] {
    ALL.with(|all| {
        let machine = &all[machine % MACHINES];
        std::array::from_fn(|number| machine.under_way[number].get())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activity_is_under_way_until_its_last_guard_is_dropped() {
        turn_to(1);
        let one = Busy::begin(Activity::Scrub);
        let two = Busy::begin(Activity::Scrub);
        turn_to(2);
        let other = Busy::begin(Activity::Start);
        assert_eq!(under_way(1)[Activity::Scrub as usize], 2);
        drop(one);
        assert_eq!(under_way(1)[Activity::Scrub as usize], 1);
        assert_eq!(under_way(2)[Activity::Scrub as usize], 0);
        drop((two, other));
        assert_eq!((under_way(1), under_way(2)), ([0; COUNT], [0; COUNT]));
    }

    #[test]
    fn a_guard_of_an_earlier_life_ends_nothing_of_a_later_one() {
        turn_to(3);
        let before = Busy::begin(Activity::Serve);
        end_life(3);
        assert_eq!(under_way(3), [0; COUNT]);
        let after = Busy::begin(Activity::Serve);
        drop(before);
        assert_eq!(under_way(3)[Activity::Serve as usize], 1);
        drop(after);
        assert_eq!(under_way(3), [0; COUNT]);
    }
}
