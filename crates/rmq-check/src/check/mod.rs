//! The checker: one pass over the events, a judge per property, a verdict.
//!
//! The judges keep their own state and know nothing of each other, except that all look up queues.
//! Invariant: a history is judged only when every event could be read; the harness's own errors are
//! errors, never violations.

mod groups;
mod live;
mod queues;
mod report;
mod retries;
mod sends;

pub use report::{Property, Report, Totals, Violation};

use crate::error::HistoryError;
use crate::file::Strings;
use crate::record::{FLAG_EXPECTED, FOREIGN, Kind, Op, Record, Setting};
use crate::source::Source;
use groups::Groups;
use live::Live;
use queues::Queues;
use report::Findings;
use retries::Retries;
use sends::{Sends, TopicKind};

/// Judges a history.
///
/// # Errors
/// When it cannot be read, or is none that a client could have written.
pub fn check(source: &dyn Source) -> Result<Report, HistoryError> {
    let mut judges = Judges::new(source.strings());
    source.for_each(&mut |record| judges.event(record))?;
    judges.close().close(source)
}

struct Judges<'a> {
    strings: &'a Strings,
    /// Of each string: what it is as a topic, and the group in its name.
    topics: Vec<(TopicKind, u16)>,
    found: Findings,
    sends: Sends,
    queues: Queues,
    groups: Groups,
    retries: Retries,
    live: Live,
}

impl<'a> Judges<'a> {
    fn new(strings: &'a Strings) -> Self {
        Self {
            strings,
            topics: (0..strings.len())
                .map(|id| topic_kind(strings, id as u16))
                .collect(),
            found: Findings::default(),
            sends: Sends::default(),
            queues: Queues::default(),
            groups: Groups::default(),
            retries: Retries::default(),
            live: Live::default(),
        }
    }

    fn event(&mut self, record: &Record) -> Result<(), HistoryError> {
        require_place(record)?;
        self.found.totals.events += 1;
        self.live.tick(record.t_ns, &mut self.found);
        if is_request(record.op) {
            if record.kind == Kind::Invoke {
                self.live.begin(record);
            } else {
                self.live.end(record, &mut self.found)?;
            }
        }
        match record.op {
            Op::Send | Op::SendBatch => return self.send(record),
            Op::Deliver => self.deliver(record),
            Op::LogDump => self.dump(record),
            Op::DumpBegin => {
                let (kind, group) = self.topics[usize::from(record.topic)];
                if kind == TopicKind::DeadLetters {
                    self.retries.dead_letters_are_dumped(group);
                }
                self.queues
                    .begin_dump(record, self.strings, &mut self.found);
            }
            Op::QueueBounds if record.kind == Kind::Invoke => self.queues.ask_bounds(record),
            Op::QueueBounds if record.kind == Kind::Ok => {
                self.queues.bounds(record, self.strings, &mut self.found);
            }
            Op::ConsumeEnd => self.retries.consumed(record),
            Op::View | Op::QueryKey if record.is_end() => {
                self.sends.looked_up(record, &mut self.found);
            }
            Op::Retention => self.queues.allow_trimming(record.topic),
            Op::Setting => self.setting(record),
            Op::Fault => self.live.fault(record),
            Op::BrokerStart | Op::BrokerReady | Op::BrokerExit => self.broker(record),
            _ => self.group(record),
        }
        Ok(())
    }

    fn send(&mut self, record: &Record) -> Result<(), HistoryError> {
        if record.kind == Kind::Invoke {
            return self.sends.invoke(record, &mut self.queues);
        }
        self.sends
            .end(record, &mut self.queues, self.strings, &mut self.found)
    }

    fn deliver(&mut self, record: &Record) {
        let queue = self.queues.of(record);
        let (kind, _) = self.topics[usize::from(record.topic)];
        self.found.totals.delivered += 1;
        self.sends
            .read(record, kind, queue, self.strings, &mut self.found);
        self.queues
            .place(queue, record, self.strings, &mut self.found);
        self.queues.reach(queue, record.offset);
        self.groups
            .deliver(record, queue, &self.queues, self.strings, &mut self.found);
        let retry = (kind == TopicKind::Retry).then_some(queue);
        self.retries
            .deliver(record, retry, self.strings, &mut self.found);
    }

    fn dump(&mut self, record: &Record) {
        let queue = self.queues.of(record);
        let (kind, group) = self.topics[usize::from(record.topic)];
        self.sends
            .read(record, kind, queue, self.strings, &mut self.found);
        self.queues
            .place(queue, record, self.strings, &mut self.found);
        let counts = self
            .queues
            .dumped(queue, record, self.strings, &mut self.found);
        match kind {
            TopicKind::Plain if counts && record.uid != FOREIGN => {
                self.sends.dumped(record, queue, &mut self.found);
            }
            TopicKind::DeadLetters if counts => self.retries.dead_letter(group, record),
            _ => {}
        }
    }

    fn group(&mut self, record: &Record) {
        if !matches!(
            record.op,
            Op::Assign
                | Op::Revoke
                | Op::OffsetCommit
                | Op::OffsetReset
                | Op::OffsetQuery
                | Op::Drained
        ) {
            return;
        }
        let queue = self.queues.of(record);
        let (strings, found) = (self.strings, &mut self.found);
        match record.op {
            Op::Assign => self.groups.assign(record, queue),
            Op::Revoke => self.groups.revoke(record, queue),
            Op::OffsetCommit => self.groups.commit(record, queue, found),
            Op::OffsetReset => self.groups.reset(record, queue),
            Op::OffsetQuery => self.groups.query(record, queue, strings, found),
            _ => self
                .groups
                .drained(record, queue, &self.queues, strings, found),
        }
    }

    fn setting(&mut self, record: &Record) {
        if record.code == Setting::OffsetWindowNs as i32 {
            self.groups.set_window(record.aux);
        } else if record.code == Setting::MaxReconsumeTimes as i32 {
            self.retries.set_max(record.group, record.aux);
        }
    }

    fn broker(&mut self, record: &Record) {
        self.live.broker(record, &mut self.found);
        if record.op == Op::BrokerExit {
            self.groups.crash(record);
            if record.aux != 0 || record.flags & FLAG_EXPECTED == 0 {
                self.found.totals.crashes += 1;
                self.retries.broker_died(record.t_ns);
            }
        }
    }

    fn close(mut self) -> Findings {
        self.queues.close(self.strings, &mut self.found);
        self.sends
            .close(&self.queues, self.strings, &mut self.found);
        self.groups
            .close(&self.queues, self.strings, &mut self.found);
        self.retries.close(self.strings, &mut self.found);
        self.live.close(&mut self.found);
        self.found
    }
}

fn topic_kind(strings: &Strings, id: u16) -> (TopicKind, u16) {
    let text = strings.text(id);
    for (prefix, kind) in [
        ("%RETRY%", TopicKind::Retry),
        ("%DLQ%", TopicKind::DeadLetters),
    ] {
        if let Some(group) = text.strip_prefix(prefix) {
            return (kind, strings.find(group).unwrap_or_default());
        }
    }
    (TopicKind::Plain, 0)
}

/// Reads need an offset, and everybody a uid that names a producer.
fn require_place(record: &Record) -> Result<(), HistoryError> {
    let needs_offset = match record.op {
        Op::Deliver | Op::LogDump | Op::DumpBegin | Op::Drained | Op::OffsetReset => true,
        Op::Send | Op::SendBatch | Op::QueueBounds | Op::OffsetQuery => record.kind == Kind::Ok,
        Op::OffsetCommit => record.kind != Kind::Info,
        _ => false,
    };
    let needs_uid = matches!(
        record.op,
        Op::Send | Op::SendBatch | Op::View | Op::QueryKey
    );
    let what = if needs_offset && record.offset < 0 {
        "no offset"
    } else if needs_uid && (record.producer() == 0 || record.uid == FOREIGN) {
        "no producer"
    } else {
        return Ok(());
    };
    Err(HistoryError::Malformed {
        t_ns: record.t_ns,
        what: format!("{:?} {:?} with {what}", record.op, record.kind),
    })
}

fn is_request(op: Op) -> bool {
    matches!(
        op,
        Op::Send
            | Op::SendBatch
            | Op::OffsetCommit
            | Op::OffsetQuery
            | Op::OffsetReset
            | Op::QueueBounds
            | Op::View
            | Op::QueryKey
    )
}
