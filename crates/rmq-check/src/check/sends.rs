//! P1, P2, P5, P6 and P7: each message from its first attempt to the closing dump.
//!
//! Real-time order is kept by one number per message: how far its queue was known to reach when it
//! was first sent. Invariant: state is a few words per message, found by its uid.

use super::queues::Queues;
use super::report::{Findings, Focus, Property, uid_text};
use crate::chunked::Chunked;
use crate::error::HistoryError;
use crate::file::Strings;
use crate::outcome;
use crate::record::{FLAG_BODY_BAD, FLAG_SYNC, FOREIGN, Kind, NO_QUEUE, Record, SEQUENCE_MAX};
use base::HashMap;

/// What is known of one message.
#[derive(Debug, Clone, Copy)]
struct Message {
    /// Of the acknowledgement, -1 before.
    offset: i64,
    phy: i64,
    /// It must stand at this offset or behind it.
    floor: i64,
    digest: u32,
    /// Index of its queue, [`u32::MAX`] for any.
    queue: u32,
    topic: u16,
    attempts: u8,
    fails: u8,
    copies: u8,
    state: u8,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            offset: -1,
            phy: -1,
            floor: 0,
            digest: 0,
            queue: u32::MAX,
            topic: 0,
            attempts: 0,
            fails: 0,
            copies: 0,
            state: 0,
        }
    }
}

const SYNC: u8 = 1;
const SEEN: u8 = 1 << 1;
/// The dump has it where its acknowledgement said.
const IN_PLACE: u8 = 1 << 2;

/// What a topic's name makes of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopicKind {
    Plain,
    /// `%RETRY%group`.
    Retry,
    /// `%DLQ%group`.
    DeadLetters,
}

/// All messages.
#[derive(Debug, Default)]
pub(crate) struct Sends {
    messages: Chunked<Message>,
    /// In the dump: the last sequence number of a queue and producer.
    last: HashMap<(u32, u16), u64>,
}

impl Sends {
    pub(crate) fn invoke(
        &mut self,
        record: &Record,
        queues: &mut Queues,
    ) -> Result<(), HistoryError> {
        let queue = (record.queue != NO_QUEUE).then(|| queues.of(record));
        let message = self.messages.at(record.uid);
        if message.attempts == 0 {
            message.digest = record.digest;
            message.topic = record.topic;
            if let Some(queue) = queue {
                message.queue = queue as u32;
                message.floor = queues.get(queue).reached;
            }
            if record.flags & FLAG_SYNC != 0 {
                message.state |= SYNC;
            }
        } else if message.digest != record.digest {
            return Err(malformed(record, "is sent again with other bytes"));
        }
        message.attempts = message.attempts.saturating_add(1);
        Ok(())
    }

    pub(crate) fn end(
        &mut self,
        record: &Record,
        queues: &mut Queues,
        strings: &Strings,
        found: &mut Findings,
    ) -> Result<(), HistoryError> {
        if outcome::of_send(record.code) != record.kind {
            return Err(malformed(record, "has a code of another outcome"));
        }
        let message = self.messages.at(record.uid);
        if message.attempts == 0 {
            return Err(malformed(record, "ends before it began"));
        }
        match record.kind {
            Kind::Fail => message.fails = message.fails.saturating_add(1),
            Kind::Ok => {
                let queue = queues.of(record);
                (message.offset, message.phy) = (record.offset, record.phy);
                message.queue = queue as u32;
                if record.offset < message.floor {
                    found.add(
                        Property::P5,
                        Focus::Uid(record.uid),
                        before_its_time(record, message),
                    );
                }
                queues.place(queue, record, strings, found);
                queues.reach(queue, record.offset);
            }
            Kind::Invoke | Kind::Info => {}
        }
        Ok(())
    }

    /// A consumer or a dump has the message.
    pub(crate) fn read(
        &mut self,
        record: &Record,
        kind: TopicKind,
        queue: usize,
        strings: &Strings,
        found: &mut Findings,
    ) {
        let focus = Focus::Uid(record.uid);
        let mut phantom = |what: &str| {
            let sentence = format!(
                "{} in {}/{} at offset {} {what}",
                uid_text(record.uid),
                strings.text(record.topic),
                record.queue,
                record.offset
            );
            let focus = if record.uid == FOREIGN {
                Focus::Place {
                    topic: record.topic,
                    queue: record.queue,
                    offset: record.offset,
                }
            } else {
                focus
            };
            found.add(Property::P2, focus, sentence);
        };
        if record.uid == FOREIGN || record.uid == 0 {
            return phantom("has a body that nobody sent");
        }
        let message = self.messages.at(record.uid);
        if message.attempts == 0 {
            return phantom("was never sent before");
        }
        message.state |= SEEN;
        if record.flags & FLAG_BODY_BAD != 0 {
            phantom("has a body whose checksum does not match");
        } else if record.digest != message.digest {
            phantom("differs from what was sent: topic, tags, keys, property or body");
        }
        if kind != TopicKind::Plain {
            return;
        }
        if record.topic != message.topic {
            return phantom(&format!("was sent to {}", strings.text(message.topic)));
        }
        if message.queue != u32::MAX && message.queue != queue as u32 {
            return phantom("was sent to another queue");
        }
        if record.offset < message.floor {
            found.add(Property::P5, focus, before_its_time(record, message));
        }
    }

    /// The dump has the message in its own topic.
    pub(crate) fn dumped(&mut self, record: &Record, queue: usize, found: &mut Findings) {
        let message = self.messages.at(record.uid);
        message.copies = message.copies.saturating_add(1);
        if message.offset == record.offset {
            message.state |= IN_PLACE;
            if message.phy >= 0 && record.phy >= 0 && message.phy != record.phy {
                let sentence = format!(
                    "{} has the message id of {:#x} and stands at {:#x}",
                    uid_text(record.uid),
                    message.phy,
                    record.phy
                );
                found.add(Property::P6, Focus::Uid(record.uid), sentence);
            }
            if message.attempts == 1 && message.state & SYNC != 0 {
                let sequence = record.uid & SEQUENCE_MAX;
                let last = self.last.entry((queue as u32, record.producer()));
                let last = last.or_insert(sequence);
                if sequence < *last {
                    let sentence = format!(
                        "{} stands behind number {last} of the same producer",
                        uid_text(record.uid)
                    );
                    found.add(Property::P5, Focus::Uid(record.uid), sentence);
                }
                *last = sequence.max(*last);
            }
        }
    }

    /// A message was asked for by its id or key: found or not.
    pub(crate) fn looked_up(&mut self, record: &Record, found: &mut Findings) {
        let message = self.messages.get(record.uid);
        let focus = Focus::Uid(record.uid);
        let name = uid_text(record.uid);
        match record.kind {
            Kind::Fail if message.offset >= 0 => {
                let sentence =
                    format!("{name} was acknowledged and is not found ({:?})", record.op);
                found.add(Property::P6, focus, sentence);
            }
            Kind::Ok if record.digest != message.digest => {
                let sentence = format!("{name} is asked for and something else comes");
                found.add(Property::P6, focus, sentence);
            }
            _ => {}
        }
    }

    /// The judgement over every message, after the dump.
    pub(crate) fn close(&self, queues: &Queues, strings: &Strings, found: &mut Findings) {
        for (uid, message) in self.messages.iter() {
            if message.attempts == 0 {
                continue;
            }
            found.totals.messages += 1;
            found.totals.repeated += u64::from(message.copies > 1);
            if message.offset >= 0 {
                found.totals.acknowledged += 1;
                judge_loss(uid, message, queues, strings, found);
            } else if message.fails < message.attempts {
                found.totals.unknown += 1;
            }
            if message.fails == message.attempts && message.state & SEEN != 0 {
                let sentence = format!("{} was refused each time and is there", uid_text(uid));
                found.add(Property::P2, Focus::Uid(uid), sentence);
            } else if message.copies > message.attempts.saturating_sub(message.fails) {
                let sentence = format!(
                    "{} is there {} times after {} attempts, {} of them refused",
                    uid_text(uid),
                    message.copies,
                    message.attempts,
                    message.fails
                );
                found.add(Property::P7, Focus::Uid(uid), sentence);
            }
        }
    }
}

fn judge_loss(
    uid: u64,
    message: &Message,
    queues: &Queues,
    strings: &Strings,
    found: &mut Findings,
) {
    if message.state & IN_PLACE != 0 {
        return;
    }
    let queue = queues.get(message.queue as usize);
    let name = format!("{}/{}", strings.text(queue.topic), queue.number);
    let who = uid_text(uid);
    let (property, sentence) = match queue.dump {
        None => (
            Property::P1,
            format!("{who} was acknowledged in {name}, which is not in the dump"),
        ),
        // Whether it may be gone was judged where the queue's min offset was read.
        Some(dump) if message.offset < dump.min => return,
        Some(_) if message.copies > 0 => (
            Property::P6,
            format!(
                "{who} was acknowledged at offset {} of {name} and stands elsewhere",
                message.offset
            ),
        ),
        Some(_) => (
            Property::P1,
            format!(
                "{who} was acknowledged at offset {} of {name} and is lost",
                message.offset
            ),
        ),
    };
    found.add(property, Focus::Uid(uid), sentence);
}

fn before_its_time(record: &Record, message: &Message) -> String {
    format!(
        "{} stands at offset {} although offset {} was known before it was sent",
        uid_text(record.uid),
        record.offset,
        message.floor - 1
    )
}

fn malformed(record: &Record, what: &str) -> HistoryError {
    HistoryError::Malformed {
        t_ns: record.t_ns,
        what: format!("{} {what}", uid_text(record.uid)),
    }
}
