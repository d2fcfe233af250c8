//! P8, and P1 for groups: what each group has got of a queue, and where it says that it is.
//!
//! Of the commits, those that a crash may take back are kept apart from those that it may not: the
//! run says how long that is (`OffsetWindowNs`). Invariant: `low` is at most what the broker must
//! still know, `high` at least what anybody ever asked it to remember.

use super::queues::Queues;
use super::report::{Findings, Focus, Property, uid_text};
use crate::chunked::Chunked;
use crate::file::Strings;
use crate::record::{FLAG_EXPECTED, Kind, Record};
use base::HashMap;
use std::collections::VecDeque;

/// Commits kept apart, at most; older ones than the window are folded earlier.
const RECENT_MAX: usize = 256;

/// One group in one queue.
#[derive(Debug, Default)]
struct Reader {
    group: u16,
    queue: usize,
    delivered: Chunked<u64>,
    /// Not to be delivered any more: the group was set behind it.
    exempt_below: i64,
    stable: i64,
    recent: VecDeque<(u64, i64)>,
    high: i64,
    /// The largest commit that was answered.
    committed: i64,
    owners: Vec<Owner>,
}

/// A consumer that took the queue over.
#[derive(Debug, Clone, Copy)]
struct Owner {
    proc: u16,
    /// What it was told, if anybody knows.
    told: Option<i64>,
    /// What was committed for certain when it took over.
    low: i64,
    has_delivered: bool,
}

/// All groups in all queues.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    list: Vec<Reader>,
    index: HashMap<u64, usize>,
    /// The lower bound when a process asked, by process.
    asked: HashMap<u16, i64>,
    /// When a process began to commit, and what, by process.
    committing: HashMap<u16, (u64, i64)>,
    window_ns: u64,
    last_crash_ns: u64,
}

impl Reader {
    fn low(&self) -> i64 {
        let recent = self.recent.iter().map(|(_, offset)| *offset);
        recent.fold(self.stable, i64::max)
    }

    fn commit(&mut self, t_ns: u64, offset: i64, window_ns: u64) {
        self.recent.push_back((t_ns, offset));
        self.committed = self.committed.max(offset);
        while let Some((at, offset)) = self.recent.front().copied()
            && (at.saturating_add(window_ns) < t_ns)
        {
            self.stable = self.stable.max(offset);
            self.recent.pop_front();
        }
        if self.recent.len() > RECENT_MAX {
            // Neighbours are joined: the larger offset with the later time is bound by less.
            self.recent.remove(0);
        }
    }

    /// A crash: what was committed within the window may be forgotten.
    fn crash(&mut self, t_ns: u64, window_ns: u64) {
        while let Some((at, offset)) = self.recent.pop_front() {
            if at.saturating_add(window_ns) < t_ns {
                self.stable = self.stable.max(offset);
            }
        }
        self.bound_owners();
    }

    /// A client itself asks for less.
    fn lower(&mut self, offset: i64) {
        self.stable = self.stable.min(offset);
        for (_, recent) in &mut self.recent {
            *recent = (*recent).min(offset);
        }
        self.bound_owners();
    }

    fn bound_owners(&mut self) {
        let low = self.low();
        for owner in &mut self.owners {
            owner.low = owner.low.min(low);
        }
    }
}

impl Groups {
    pub(crate) fn set_window(&mut self, window_ns: i64) {
        self.window_ns = window_ns.max(0).cast_unsigned();
    }

    pub(crate) fn crash(&mut self, record: &Record) {
        if record.aux == 0 && record.flags & FLAG_EXPECTED != 0 {
            // Asked to stop: then every commit is written.
            return;
        }
        self.last_crash_ns = record.t_ns;
        for reader in &mut self.list {
            reader.crash(record.t_ns, self.window_ns);
        }
    }

    fn at(&mut self, record: &Record, queue: usize) -> &mut Reader {
        let key = u64::from(record.group) << 32 | queue as u64;
        let next = self.list.len();
        let index = *self.index.entry(key).or_insert(next);
        if index == next {
            self.list.push(Reader {
                group: record.group,
                queue,
                ..Reader::default()
            });
        }
        &mut self.list[index]
    }

    pub(crate) fn assign(&mut self, record: &Record, queue: usize) {
        let reader = self.at(record, queue);
        reader.owners.retain(|owner| owner.proc != record.proc);
        reader.owners.push(Owner {
            proc: record.proc,
            told: None,
            low: reader.low(),
            has_delivered: false,
        });
    }

    pub(crate) fn revoke(&mut self, record: &Record, queue: usize) {
        let reader = self.at(record, queue);
        reader.owners.retain(|owner| owner.proc != record.proc);
    }

    pub(crate) fn deliver(
        &mut self,
        record: &Record,
        queue: usize,
        queues: &Queues,
        strings: &Strings,
        found: &mut Findings,
    ) {
        let reader = self.at(record, queue);
        let offset = record.offset;
        *reader.delivered.at(offset.cast_unsigned() / 64) |= 1 << (offset % 64);
        let high = reader.high;
        let Some(owner) = reader.owners.iter_mut().find(|o| o.proc == record.proc) else {
            return;
        };
        let focus = focus(record);
        let start = owner.told.unwrap_or(high).max(queues.get(queue).min);
        if !owner.has_delivered && offset > start {
            let sentence = format!(
                "{} took {} over and got offset {offset} first, although {start} was due",
                strings.text(record.group),
                name(record, strings)
            );
            found.add(Property::P8, focus, sentence);
        }
        if offset < owner.low {
            let sentence = format!(
                "{} got offset {offset} of {} again, although {} was committed when it took over",
                strings.text(record.group),
                name(record, strings),
                owner.low
            );
            found.add(Property::P8, focus, sentence);
        }
        owner.has_delivered = true;
    }

    pub(crate) fn commit(&mut self, record: &Record, queue: usize, found: &mut Findings) {
        let window_ns = self.window_ns;
        let began = match record.kind {
            Kind::Invoke => {
                let begun = (record.t_ns, record.offset);
                self.committing.insert(record.proc, begun);
                None
            }
            _ => self.committing.remove(&record.proc),
        };
        // An answer that was read after the crash is of the broker that died.
        let is_lost = began.is_some_and(|(began, _)| began <= self.last_crash_ns);
        let reader = self.at(record, queue);
        // Two members may commit at once, as when a queue changes hands: the one that is answered
        // first need not be the one that the broker took last.
        if let Some((_, offset)) = began
            && offset < reader.low()
        {
            reader.lower(offset);
        }
        match record.kind {
            Kind::Invoke => {
                if record.offset < reader.low() {
                    reader.lower(record.offset);
                    found.totals.commits_back += 1;
                }
                reader.high = reader.high.max(record.offset);
            }
            Kind::Ok if is_lost => {}
            Kind::Ok => reader.commit(record.t_ns, record.offset, window_ns),
            Kind::Fail | Kind::Info => {}
        }
    }

    pub(crate) fn reset(&mut self, record: &Record, queue: usize) {
        let reader = self.at(record, queue);
        match record.kind {
            Kind::Invoke => {
                reader.lower(record.offset);
                reader.high = reader.high.max(record.offset);
                reader.exempt_below = reader.exempt_below.max(record.offset);
            }
            Kind::Ok => {
                reader.recent.clear();
                reader.stable = record.offset;
                reader.bound_owners();
            }
            Kind::Fail | Kind::Info => {}
        }
    }

    pub(crate) fn query(
        &mut self,
        record: &Record,
        queue: usize,
        strings: &Strings,
        found: &mut Findings,
    ) {
        if record.kind == Kind::Invoke {
            let low = self.at(record, queue).low();
            self.asked.insert(record.proc, low);
            return;
        }
        let Some(low) = self.asked.remove(&record.proc) else {
            return;
        };
        let reader = self.at(record, queue);
        let low = low.min(reader.low());
        let told = match record.kind {
            Kind::Ok => record.offset,
            Kind::Fail => 0,
            Kind::Invoke | Kind::Info => return,
        };
        let group = strings.text(record.group);
        let high = reader.high;
        let sentence = if told < low {
            format!(
                "{group} is told {told} for {}, although {low} was committed",
                name(record, strings)
            )
        } else if told > high {
            format!(
                "{group} is told {told} for {}, although nobody committed more than {high}",
                name(record, strings)
            )
        } else {
            String::new()
        };
        if !sentence.is_empty() {
            found.add(Property::P8, focus(record), sentence);
        }
        if let Some(owner) = reader.owners.iter_mut().find(|o| o.proc == record.proc) {
            owner.told = Some(told);
        }
    }

    /// The group says that it has read everything up to an offset.
    pub(crate) fn drained(
        &mut self,
        record: &Record,
        queue: usize,
        queues: &Queues,
        strings: &Strings,
        found: &mut Findings,
    ) {
        let reader = self.at(record, queue);
        let from = reader.exempt_below.max(queues.get(queue).min);
        for offset in from..record.offset {
            let at = offset.cast_unsigned();
            if reader.delivered.get(at / 64) >> (at % 64) & 1 == 1 {
                continue;
            }
            let uid = queues.message_at(queue, offset);
            let sentence = format!(
                "{} never got offset {offset} of {}: {}",
                strings.text(record.group),
                name(record, strings),
                uid_text(uid)
            );
            let focus = Focus::Place {
                topic: record.topic,
                queue: record.queue,
                offset,
            };
            found.add(Property::P1, focus, sentence);
        }
    }

    /// Nobody may have committed more than the queue holds.
    pub(crate) fn close(&self, queues: &Queues, strings: &Strings, found: &mut Findings) {
        for reader in &self.list {
            let queue = queues.get(reader.queue);
            let Some(dump) = queue.dump else {
                continue;
            };
            if reader.committed > dump.max {
                let sentence = format!(
                    "{} committed {} in {}/{}, which ends at {}",
                    strings.text(reader.group),
                    reader.committed,
                    strings.text(queue.topic),
                    queue.number,
                    dump.max
                );
                let focus = Focus::Place {
                    topic: queue.topic,
                    queue: queue.number,
                    offset: reader.committed,
                };
                found.add(Property::P8, focus, sentence);
            }
        }
    }
}

fn name(record: &Record, strings: &Strings) -> String {
    format!("{}/{}", strings.text(record.topic), record.queue)
}

fn focus(record: &Record) -> Focus {
    Focus::Group {
        group: record.group,
        topic: record.topic,
        queue: record.queue,
        t_ns: record.t_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Op;

    /// P8 violations after these commits and one question.
    fn check(events: &[(u16, Op, Kind, i64)]) -> u64 {
        let (mut groups, mut found) = (Groups::default(), Findings::default());
        let strings = Strings::default();
        let mut queues = Queues::default();
        for (at, (proc, op, kind, offset)) in events.iter().enumerate() {
            let mut record = Record::new(at as u64 + 1, *op, *kind);
            (record.proc, record.offset, record.queue) = (*proc, *offset, 0);
            let queue = queues.of(&record);
            match op {
                Op::OffsetCommit => groups.commit(&record, queue, &mut found),
                _ => groups.query(&record, queue, &strings, &mut found),
            }
        }
        found.count(Property::P8)
    }

    #[test]
    fn of_commits_that_overlap_either_may_be_the_one_that_counts() {
        use Kind::{Info, Invoke, Ok};
        use Op::{OffsetCommit as Commit, OffsetQuery as Query};
        let both = |late: Kind, told: i64| {
            check(&[
                (1, Commit, Invoke, 100),
                (2, Commit, Invoke, 120),
                (2, Commit, Ok, 120),
                (1, Commit, late, 100),
                (3, Query, Invoke, -1),
                (3, Query, Ok, told),
            ])
        };
        for late in [Ok, Info] {
            assert_eq!((both(late, 100), both(late, 120)), (0, 0));
            assert_eq!((both(late, 99), both(late, 121)), (1, 1));
        }
        let after = [
            (1, Commit, Invoke, 100),
            (1, Commit, Ok, 100),
            (2, Commit, Invoke, 120),
            (2, Commit, Ok, 120),
            (3, Query, Invoke, -1),
            (3, Query, Ok, 100),
        ];
        assert_eq!(check(&after), 1);
    }
}
