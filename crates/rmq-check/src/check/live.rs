//! P15: requests end in time, the broker comes back, and codes are those of the fault.
//!
//! Every open request is kept by who asked and what. Invariant: a request that is open when the
//! history ends and had its time is a violation.

use super::report::{Findings, Focus, Property};
use crate::error::HistoryError;
use crate::record::{FLAG_EXPECTED, Fault, Kind, Op, Record};
use base::HashMap;

/// Beyond its own timeout a request may last so long, in ns.
const GRACE_NS: u64 = 1_000_000_000;
/// After a fault ended or the broker served again, so long until a send succeeds, in ns.
const HEAL_NS: u64 = 30_000_000_000;

/// Codes below 0 are those of the connection: see [`crate::outcome`].
const ALWAYS: &[i32] = &[0, 2];

/// What each fault may answer sends with, besides [`ALWAYS`].
const BY_FAULT: &[(Fault, &[i32])] = &[
    // 17: a topic that does not exist yet cannot be made.
    (Fault::Eio, &[1, 14, 17]),
    (Fault::Enospc, &[14, 17]),
    (Fault::Stall, &[10]),
    (Fault::Stop, &[14]),
    (Fault::Power, &[1, 14]),
];

/// What is open and what is to be expected.
#[derive(Debug, Default)]
pub(crate) struct Live {
    open: HashMap<(u16, u64, Op), (u64, u64)>,
    /// Fault and until when its codes may come; `u64::MAX` while it lasts.
    faults: Vec<(i64, u64)>,
    /// Since when a send must succeed, and whether one was tried.
    healing: Option<(u64, bool)>,
    last_ns: u64,
}

impl Live {
    /// Time passes.
    pub(crate) fn tick(&mut self, t_ns: u64, found: &mut Findings) {
        self.last_ns = t_ns;
        if let Some((since, tried)) = self.healing
            && t_ns > since + HEAL_NS
        {
            self.healing = None;
            if tried {
                let sentence = "no send succeeded for 30 s although nothing was wrong any more";
                found.add(Property::P15, Focus::Instant(since), sentence);
            }
        }
    }

    pub(crate) fn begin(&mut self, record: &Record) {
        let timeout_ns = record.aux.max(0).cast_unsigned() * 1_000_000;
        self.open.insert(key_of(record), (record.t_ns, timeout_ns));
        if let Some((_, tried)) = &mut self.healing
            && is_send(record.op)
        {
            *tried = true;
        }
    }

    pub(crate) fn end(
        &mut self,
        record: &Record,
        found: &mut Findings,
    ) -> Result<(), HistoryError> {
        let Some((since, timeout_ns)) = self.open.remove(&key_of(record)) else {
            return Err(HistoryError::Malformed {
                t_ns: record.t_ns,
                what: format!(
                    "{:?} of process {} ends and never began",
                    record.op, record.proc
                ),
            });
        };
        if timeout_ns > 0 && record.t_ns > since + timeout_ns + GRACE_NS {
            let sentence = format!(
                "{:?} took {} ms, its timeout is {} ms",
                record.op,
                (record.t_ns - since) / 1_000_000,
                timeout_ns / 1_000_000
            );
            found.add(Property::P15, focus(record), sentence);
        }
        if is_send(record.op) {
            if record.kind == Kind::Ok {
                self.healing = None;
            }
            self.judge_code(record, found);
        }
        Ok(())
    }

    fn judge_code(&self, record: &Record, found: &mut Findings) {
        let code = record.code;
        let of_fault = |(fault, until): &(i64, u64)| {
            record.t_ns <= *until
                && BY_FAULT
                    .iter()
                    .any(|(known, codes)| *known as i64 == *fault && codes.contains(&code))
        };
        if code >= 0 && !ALWAYS.contains(&code) && !self.faults.iter().any(of_fault) {
            let sentence = format!("a send is answered with code {code}, which no fault explains");
            found.add(Property::P15, focus(record), sentence);
        }
    }

    pub(crate) fn fault(&mut self, record: &Record) {
        if record.kind == Kind::Invoke {
            self.faults.push((record.aux, u64::MAX));
            self.healing = None;
            return;
        }
        for (fault, until) in &mut self.faults {
            if *fault == record.aux && *until == u64::MAX {
                *until = record.t_ns + HEAL_NS;
            }
        }
        if self.faults.iter().all(|(_, until)| *until != u64::MAX) {
            self.healing = Some((record.t_ns, false));
        }
    }

    pub(crate) fn broker(&mut self, record: &Record, found: &mut Findings) {
        match record.op {
            Op::BrokerReady if self.faults.iter().all(|(_, until)| *until != u64::MAX) => {
                self.healing = Some((record.t_ns, false));
            }
            Op::BrokerExit => {
                self.healing = None;
                if record.flags & FLAG_EXPECTED == 0 {
                    let sentence = "the broker ended by itself";
                    found.add(Property::P15, Focus::Instant(record.t_ns), sentence);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn close(&self, found: &mut Findings) {
        let mut open: Vec<_> = self.open.iter().collect();
        open.sort_unstable();
        for ((proc, uid, op), (since, timeout_ns)) in open {
            if *timeout_ns > 0 && self.last_ns > since + timeout_ns + GRACE_NS {
                let focus = if *uid == 0 {
                    Focus::Instant(*since)
                } else {
                    Focus::Uid(*uid)
                };
                let sentence = format!("{op:?} of process {proc} never ended");
                found.add(Property::P15, focus, sentence);
            }
        }
    }
}

fn key_of(record: &Record) -> (u16, u64, Op) {
    (record.proc, record.uid, record.op)
}

fn is_send(op: Op) -> bool {
    matches!(op, Op::Send | Op::SendBatch)
}

fn focus(record: &Record) -> Focus {
    if record.uid == 0 {
        Focus::Instant(record.t_ns)
    } else {
        Focus::Uid(record.uid)
    }
}
