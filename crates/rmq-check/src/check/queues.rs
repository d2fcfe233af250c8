//! P3 and P4: what stands where in each queue, and how far the queue reaches.
//!
//! Every read of any kind is noted by its offset. Invariant: a slot keeps the first message that
//! was seen there, so that each later change shows.

use super::report::{Findings, Focus, Property, uid_text};
use crate::chunked::Chunked;
use crate::file::Strings;
use crate::record::Record;
use base::HashMap;

/// What is known of one queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) topic: u16,
    pub(crate) number: u16,
    slots: Chunked<u64>,
    /// The offset after the last one that was acknowledged or delivered.
    pub(crate) reached: i64,
    /// The largest min offset that was seen.
    pub(crate) min: i64,
    pub(crate) dump: Option<Dump>,
}

/// The closing dump of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dump {
    pub(crate) min: i64,
    pub(crate) max: i64,
    next: i64,
    /// The first dump counts copies; those of other replicas only agree with it.
    pub(crate) counts: bool,
}

/// All queues, by broker group, topic and number.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    list: Vec<Queue>,
    index: HashMap<u64, usize>,
    last: Option<(u64, usize)>,
    /// Queue and its reach when its bounds were asked for, by process.
    asked: HashMap<u16, (i64, i64)>,
    trimmed_topics: Vec<u16>,
}

impl Queues {
    /// The index of the record's queue.
    pub(crate) fn of(&mut self, record: &Record) -> usize {
        let key = u64::from(record.broker) << 32
            | u64::from(record.topic) << 16
            | u64::from(record.queue);
        if let Some((last, index)) = self.last
            && last == key
        {
            return index;
        }
        let next = self.list.len();
        let index = *self.index.entry(key).or_insert(next);
        if index == next {
            self.list.push(Queue {
                topic: record.topic,
                number: record.queue,
                ..Queue::default()
            });
        }
        self.last = Some((key, index));
        index
    }

    pub(crate) fn get(&self, index: usize) -> &Queue {
        &self.list[index]
    }

    /// The message at an offset; 0 for none that was seen.
    pub(crate) fn message_at(&self, index: usize, offset: i64) -> u64 {
        self.list[index].slots.get(offset.cast_unsigned())
    }

    /// Notes that a message stands at the record's offset.
    pub(crate) fn place(
        &mut self,
        index: usize,
        record: &Record,
        strings: &Strings,
        found: &mut Findings,
    ) {
        let queue = &mut self.list[index];
        let slot = queue.slots.at(record.offset.cast_unsigned());
        if *slot == 0 {
            *slot = record.uid;
        } else if *slot != record.uid {
            let sentence = format!(
                "{}/{} offset {} is {} and was {}",
                strings.text(queue.topic),
                queue.number,
                record.offset,
                uid_text(record.uid),
                uid_text(*slot)
            );
            found.add(Property::P3, place_of(record), sentence);
        }
    }

    /// Notes that the queue reaches beyond an offset: it was acknowledged or delivered.
    pub(crate) fn reach(&mut self, index: usize, offset: i64) {
        let queue = &mut self.list[index];
        queue.reached = queue.reached.max(offset.saturating_add(1));
    }

    pub(crate) fn allow_trimming(&mut self, topic: u16) {
        self.trimmed_topics.push(topic);
    }

    fn may_be_trimmed(&self, topic: u16) -> bool {
        self.trimmed_topics.iter().any(|t| *t == 0 || *t == topic)
    }

    pub(crate) fn ask_bounds(&mut self, record: &Record) {
        let index = self.of(record);
        let queue = &self.list[index];
        self.asked.insert(record.proc, (queue.min, queue.reached));
    }

    /// Min and max offset as somebody was told.
    pub(crate) fn bounds(&mut self, record: &Record, strings: &Strings, found: &mut Findings) {
        let index = self.of(record);
        let Some((min, reached)) = self.asked.remove(&record.proc) else {
            return;
        };
        self.judge_bounds(index, record, (min, reached), strings, found);
    }

    fn judge_bounds(
        &mut self,
        index: usize,
        record: &Record,
        (min, reached): (i64, i64),
        strings: &Strings,
        found: &mut Findings,
    ) {
        let may_be_trimmed = self.may_be_trimmed(record.topic);
        let queue = &mut self.list[index];
        let name = format!("{}/{}", strings.text(queue.topic), queue.number);
        let mut say = |sentence: String| {
            let focus = Focus::Place {
                topic: record.topic,
                queue: record.queue,
                offset: record.offset,
            };
            found.add(Property::P4, focus, sentence);
        };
        if record.offset < min {
            say(format!(
                "{name} begins at {} and began at {min} before",
                record.offset
            ));
        }
        if record.aux < reached {
            say(format!(
                "{name} ends at {} although offset {} was acknowledged or delivered",
                record.aux,
                reached - 1
            ));
        }
        if record.offset > 0 && !may_be_trimmed {
            say(format!(
                "{name} begins at {} although nothing was to be trimmed",
                record.offset
            ));
        }
        queue.min = queue.min.max(record.offset);
    }

    pub(crate) fn begin_dump(&mut self, record: &Record, strings: &Strings, found: &mut Findings) {
        let index = self.of(record);
        self.end_dump(index, strings, found);
        let (min, reached) = (self.list[index].min, self.list[index].reached);
        self.judge_bounds(index, record, (min, reached), strings, found);
        let queue = &mut self.list[index];
        queue.dump = Some(Dump {
            min: record.offset,
            max: record.aux,
            next: record.offset,
            counts: queue.dump.is_none(),
        });
    }

    /// Notes a dumped message; whether its copies count.
    pub(crate) fn dumped(
        &mut self,
        index: usize,
        record: &Record,
        strings: &Strings,
        found: &mut Findings,
    ) -> bool {
        let queue = &mut self.list[index];
        let name = (queue.topic, queue.number);
        let Some(dump) = &mut queue.dump else {
            return true;
        };
        if record.offset != dump.next {
            let sentence = format!(
                "the dump of {}/{} has offset {} where {} is due",
                strings.text(name.0),
                name.1,
                record.offset,
                dump.next
            );
            found.add(Property::P4, place_of(record), sentence);
        }
        dump.next = record.offset.saturating_add(1);
        dump.counts
    }

    fn end_dump(&self, index: usize, strings: &Strings, found: &mut Findings) {
        let queue = &self.list[index];
        let Some(dump) = queue.dump else {
            return;
        };
        if dump.next != dump.max {
            let focus = Focus::Place {
                topic: queue.topic,
                queue: queue.number,
                offset: dump.min,
            };
            let sentence = format!(
                "the dump of {}/{} ends at {}, its max offset is {}",
                strings.text(queue.topic),
                queue.number,
                dump.next,
                dump.max
            );
            found.add(Property::P4, focus, sentence);
        }
    }

    /// Judges the dumps that ended with the history.
    pub(crate) fn close(&self, strings: &Strings, found: &mut Findings) {
        for index in 0..self.list.len() {
            self.end_dump(index, strings, found);
        }
    }
}

fn place_of(record: &Record) -> Focus {
    Focus::Place {
        topic: record.topic,
        queue: record.queue,
        offset: record.offset,
    }
}
