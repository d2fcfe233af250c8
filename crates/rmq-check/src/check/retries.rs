//! P12: a message that fails comes again, later each time, and ends as one dead letter.
//!
//! Followed by group and uid, from the deliveries, the listeners' verdicts and the dump of
//! `%DLQ%group`. A broker that died may lead a client to give a message back twice: then more than
//! one dead letter is counted, not condemned. Java: `DefaultMQPushConsumerImpl.sendMessageBack`.

use super::report::{Findings, Focus, Property, uid_text};
use crate::file::Strings;
use crate::record::Record;
use base::{HashMap, HashSet};

/// A broker's death so long after a message was given back makes its answer doubtful, in ns.
const DOUBT_NS: u64 = 30_000_000_000;
/// Java's default of maxReconsumeTimes.
const MAX_TIMES_DEFAULT: i64 = 16;
/// Times are cut to whole milliseconds on the way, once by each side.
const EARLY_NS_MAX: u64 = 2_000_000;

/// One message that failed or came again in one group.
#[derive(Debug, Clone, Copy, Default)]
struct Story {
    /// Bit n: it was delivered with n reconsume times.
    times: u64,
    /// When it was first given back the last of its times, and the delay asked for.
    later_ns: u64,
    later_times: i64,
    delay_ns: u64,
    /// How often it was given back for the last time, and when first.
    last_laters: u32,
    last_later_ns: u64,
    dead: u32,
    is_doubtful: bool,
}

/// All such messages.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    stories: HashMap<(u16, u64), Story>,
    max_times: HashMap<u16, i64>,
    deaths_ns: Vec<u64>,
    /// Places of the retry topics, by group, queue and offset, that were delivered.
    places: HashSet<(u16, usize, i64)>,
    /// Groups whose dead letters are in the dump.
    dumped: Vec<u16>,
}

impl Retries {
    pub(crate) fn set_max(&mut self, group: u16, times: i64) {
        self.max_times.insert(group, times);
    }

    pub(crate) fn broker_died(&mut self, t_ns: u64) {
        self.deaths_ns.push(t_ns);
    }

    pub(crate) fn dead_letters_are_dumped(&mut self, group: u16) {
        self.dumped.push(group);
    }

    fn max_of(&self, group: u16) -> i64 {
        self.max_times
            .get(&group)
            .copied()
            .unwrap_or(MAX_TIMES_DEFAULT)
    }

    /// `queue` is the index of a retry topic's queue, `None` for any other. A client that cannot give
    /// a message back counts on by itself and delivers it again from the same place: only the first
    /// delivery of a place shows what the broker stored.
    pub(crate) fn deliver(
        &mut self,
        record: &Record,
        queue: Option<usize>,
        strings: &Strings,
        found: &mut Findings,
    ) {
        let times = record.aux;
        let key = (record.group, record.uid);
        let is_stored =
            queue.is_some_and(|queue| self.places.insert((record.group, queue, record.offset)));
        if times == 0 {
            if let Some(story) = self.stories.get_mut(&key) {
                story.times |= 1;
            }
            return;
        }
        let max = self.max_of(record.group);
        let group = strings.text(record.group);
        let name = uid_text(record.uid);
        let mut say = |sentence: String| found.add(Property::P12, Focus::Uid(record.uid), sentence);
        if is_stored && times > max {
            return say(format!(
                "{group} got {name} with {times} reconsume times, {max} are allowed"
            ));
        }
        if !(0..64).contains(&times) {
            return;
        }
        let story = self.stories.entry(key).or_default();
        if story.times >> times & 1 == 0 {
            if story.times >> (times - 1) & 1 == 0 {
                say(format!(
                    "{group} got {name} with {times} reconsume times and never with {}",
                    times - 1
                ));
            } else if story.later_times == times - 1
                && record.t_ns + EARLY_NS_MAX < story.later_ns + story.delay_ns
            {
                say(format!(
                    "{group} got {name} again after {} ms, {} ms were asked for",
                    record.t_ns.saturating_sub(story.later_ns) / 1_000_000,
                    story.delay_ns / 1_000_000
                ));
            }
            story.times |= 1 << times;
        }
    }

    /// A listener ended; only `RECONSUME_LATER` matters here.
    pub(crate) fn consumed(&mut self, record: &Record) {
        const LATER: i32 = 1;
        if record.code != LATER {
            return;
        }
        let max = self.max_of(record.group);
        let story = self.stories.entry((record.group, record.uid)).or_default();
        story.times |= 1 << record.offset.clamp(0, 63);
        // A message that is delivered twice is given back twice: the one that is due first counts.
        let delay_ns = record.aux.max(0).cast_unsigned() * 1_000_000;
        let is_next = story.later_ns == 0 || record.offset > story.later_times;
        let is_sooner = record.offset == story.later_times
            && record.t_ns + delay_ns < story.later_ns + story.delay_ns;
        if is_next || is_sooner {
            (story.later_ns, story.delay_ns) = (record.t_ns, delay_ns);
            story.later_times = record.offset;
        }
        if record.offset >= max {
            if story.last_laters == 0 {
                story.last_later_ns = record.t_ns;
            }
            story.last_laters += 1;
        }
    }

    pub(crate) fn dead_letter(&mut self, group: u16, record: &Record) {
        self.stories.entry((group, record.uid)).or_default().dead += 1;
    }

    pub(crate) fn close(&mut self, strings: &Strings, found: &mut Findings) {
        let mut all: Vec<_> = self.stories.drain().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        for ((group, uid), mut story) in all {
            if !self.dumped.contains(&group) {
                continue;
            }
            story.is_doubtful = self
                .deaths_ns
                .iter()
                .any(|death| (story.last_later_ns..story.last_later_ns + DOUBT_NS).contains(death));
            let name = uid_text(uid);
            let group = strings.text(group);
            let sentence = if story.last_laters > 0 && story.dead == 0 {
                format!("{name} failed for the last time in {group} and is no dead letter")
            } else if story.dead > 0 && story.last_laters == 0 {
                format!("{name} is a dead letter of {group} without its last failure")
            } else if story.dead > story.last_laters && !story.is_doubtful {
                format!(
                    "{name} is {} dead letters of {group} after {} last failures",
                    story.dead, story.last_laters
                )
            } else {
                continue;
            };
            found.add(Property::P12, Focus::Uid(uid), sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Kind, Op};
    use crate::source::Memory;

    /// Two failures of one delivery, after 0 and 100 ms, that ask for 2,000 and 50 ms.
    fn given_back_twice(again_ms: u64) -> u64 {
        let (mut retries, mut found) = (Retries::default(), Findings::default());
        let strings = Strings::default();
        for (t_ms, delay_ms) in [(1_000, 2_000), (1_100, 50)] {
            let mut later = Record::new(t_ms * 1_000_000, Op::ConsumeEnd, Kind::Ok);
            (later.uid, later.code, later.offset, later.aux) = (1 << 48 | 1, 1, 0, delay_ms);
            retries.consumed(&later);
        }
        let mut again = Record::new(again_ms * 1_000_000, Op::Deliver, Kind::Ok);
        (again.uid, again.aux, again.offset) = (1 << 48 | 1, 1, 0);
        retries.deliver(&again, Some(0), &strings, &mut found);
        let report = found.close(&Memory::default()).unwrap();
        report.counts.values().sum()
    }

    #[test]
    fn of_two_failures_of_one_delivery_the_one_that_is_due_first_counts() {
        assert_eq!(given_back_twice(1_150), 0);
        assert_eq!(given_back_twice(1_140), 1);
    }
}
