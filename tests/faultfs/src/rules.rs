//! What is to go wrong: rules by operation and path, counted, and the log of what did.
//!
//! Shared by all threads of the mount behind one lock. Invariants: a rule counts only operations
//! that come after it was set; the first rule that is due decides; a held operation goes on when
//! its rule is gone.

use crate::clock::monotonic_ns;
use nix::errno::Errno;
use std::sync::{Condvar, Mutex, MutexGuard};

/// Injections that are kept; later ones are only counted.
const INJECTIONS_MAX: usize = 10_000;

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Reading of file content.
    Read,
    /// Writing, truncating and allocating of file content.
    Write,
    /// fsync and fdatasync, of files and directories.
    Sync,
    /// Creating, opening, renaming and removing.
    Name,
}

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It fails with this error and does nothing.
    Fail(Errno),
    /// A write is answered as done and is not.
    Lose,
    /// Of a write only the first so many sectors of 512 bytes reach the disk; answered as done.
    Tear {
        /// Sectors that are written.
        sectors: u64,
    },
    /// A write is done with this bit inverted.
    Flip {
        /// Counted from the first bit of the write, modulo its length.
        bit: u64,
    },
    /// A write lands so many bytes behind its place.
    Misdirect {
        /// Distance in bytes.
        by: u64,
    },
    /// It waits until the rule is gone, then is done.
    Stall,
}

/// An action and when it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What happens.
    pub action: Action,
    /// To which kind; any when none.
    pub op: Option<Op>,
    /// Part of the path below the mount; any when empty.
    pub pattern: String,
    /// The first operation that it happens to, from 1.
    pub nth: u64,
    /// To how many it happens.
    pub times: u64,
}

/// Something that was made to go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// When it was decided, ns.
    pub at_ns: u64,
    /// To which kind of operation.
    pub op: Op,
    /// What happened.
    pub action: Action,
    /// The path below the mount.
    pub path: String,
    /// Position in the file, 0 where there is none.
    pub offset: u64,
}

/// What was decided for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Do(Action),
    /// Wait for the end of the rule with this number.
    Hold(u64),
}

/// Counts of operations since the mount, by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
    pub(crate) names: u64,
    pub(crate) injected: u64,
    pub(crate) held: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Rules {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Armed>,
    next_number: u64,
    injections: Vec<Injection>,
    counts: Counts,
}

#[derive(Debug)]
struct Armed {
    number: u64,
    rule: Rule,
    seen: u64,
}

impl Rules {
    pub(crate) fn add(&self, rule: Rule) {
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        state.rules.push(Armed {
            number,
            rule,
            seen: 0,
        });
    }

    /// Forgets all rules; what is held goes on.
    pub(crate) fn clear(&self) {
        self.state().rules.clear();
        self.changed.notify_all();
    }

    pub(crate) fn decide(&self, op: Op, path: &str, offset: u64) -> Verdict {
        let mut state = self.state();
        let state = &mut *state;
        match op {
            Op::Read => state.counts.reads += 1,
            Op::Write => state.counts.writes += 1,
            Op::Sync => state.counts.syncs += 1,
            Op::Name => state.counts.names += 1,
        }
        let mut due = None;
        for armed in &mut state.rules {
            if armed.rule.concerns(op, path) {
                armed.seen += 1;
                if due.is_none() && armed.is_due() {
                    due = Some((armed.number, armed.rule.action));
                }
            }
        }
        let Some((number, action)) = due else {
            return Verdict::Pass;
        };
        state.counts.injected += 1;
        if state.injections.len() < INJECTIONS_MAX {
            state.injections.push(Injection {
                at_ns: monotonic_ns(),
                op,
                action,
                path: path.to_owned(),
                offset,
            });
        }
        match action {
            Action::Stall => Verdict::Hold(number),
            action => Verdict::Do(action),
        }
    }

    /// Waits until the rule is gone.
    pub(crate) fn hold(&self, number: u64) {
        let mut state = self.state();
        state.counts.held += 1;
        while state.rules.iter().any(|armed| armed.number == number) {
            state = self.changed.wait(state).expect("no holder panics");
        }
        state.counts.held -= 1;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(crate) fn injections(&self) -> Vec<Injection> {
        self.state().injections.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl Rule {
    /// A rule that happens once, to the first operation that matches.
    pub fn once(action: Action, op: Op, pattern: &str) -> Self {
        Self {
            action,
            op: Some(op),
            pattern: pattern.to_owned(),
            nth: 1,
            times: 1,
        }
    }

    fn concerns(&self, op: Op, path: &str) -> bool {
        self.op.is_none_or(|wanted| wanted == op) && path.contains(&self.pattern)
    }
}

impl Armed {
    fn is_due(&self) -> bool {
        self.seen >= self.rule.nth && self.seen - self.rule.nth < self.rule.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIO: Action = Action::Fail(Errno::EIO);

    #[test]
    fn only_the_nth_matching_operation_fails() {
        let rules = Rules::default();
        rules.add(Rule {
            nth: 2,
            ..Rule::once(EIO, Op::Write, "log/")
        });
        assert_eq!(rules.decide(Op::Write, "log/a", 0), Verdict::Pass);
        assert_eq!(rules.decide(Op::Write, "index/a", 0), Verdict::Pass);
        assert_eq!(rules.decide(Op::Sync, "log/a", 0), Verdict::Pass);
        assert_eq!(rules.decide(Op::Write, "log/b", 7), Verdict::Do(EIO));
        assert_eq!(rules.decide(Op::Write, "log/b", 8), Verdict::Pass);
        let injections = rules.injections();
        assert_eq!(injections.len(), 1);
        assert_eq!(
            (injections[0].path.as_str(), injections[0].offset),
            ("log/b", 7)
        );
    }

    #[test]
    fn what_is_held_goes_on_when_the_rules_are_cleared() {
        let rules = std::sync::Arc::new(Rules::default());
        rules.add(Rule::once(Action::Stall, Op::Write, ""));
        let Verdict::Hold(number) = rules.decide(Op::Write, "a", 0) else {
            panic!("not held");
        };
        let held = std::sync::Arc::clone(&rules);
        let thread = std::thread::spawn(move || held.hold(number));
        while rules.counts().held == 0 {
            std::thread::yield_now();
        }
        rules.clear();
        thread.join().unwrap();
        assert_eq!(rules.counts().held, 0);
    }
}
