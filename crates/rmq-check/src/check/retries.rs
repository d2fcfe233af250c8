//! P12: a message that fails comes again, later each time, and ends as one dead letter.
//!
//! Followed by group and uid, from the deliveries, the listeners' verdicts and the dump of
//! `%DLQ%group`. A broker that died may lead a client to give a message back twice: then more than
//! one dead letter is counted, not condemned. A client that cannot give a message back counts on by
//! itself; the broker knows the count of its copy alone, so that only the failure of a copy that is
//! stored with the last count calls for a dead letter. Java: `DefaultMQPushConsumerImpl.sendMessageBack`,
//! `ConsumeMessageConcurrentlyService.processConsumeResult`.

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
    /// Bit n: a copy of the retry topic is stored with n reconsume times.
    stored: u64,
    /// When it was first given back the last of its times, and the delay asked for.
    later_ns: u64,
    later_times: i64,
    delay_ns: u64,
    /// How often it was given back for the last time, and when first; counts of the client included.
    last_laters: u32,
    last_later_ns: u64,
    /// One of them was of a copy that is stored with that count.
    must_die: bool,
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

impl Story {
    /// Whether the broker stored a copy with so many reconsume times. A message begins with 0.
    const fn is_stored(&self, times: i64) -> bool {
        times == 0 || (times > 0 && times < 64 && self.stored >> times & 1 == 1)
    }
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
        story.stored |= u64::from(is_stored) << times;
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
            let is_stored = story.is_stored(record.offset);
            if story.last_laters == 0 || (is_stored && !story.must_die) {
                story.last_later_ns = record.t_ns;
            }
            story.last_laters += 1;
            story.must_die |= is_stored;
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
            let sentence = if story.must_die && story.dead == 0 {
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

    const GROUP: u16 = 1;
    const UID: u64 = 1 << 48 | 1;

    /// A message that fails each time it is delivered, with at most 2 reconsume times. `steps` are
    /// the index of the retry topic's queue or none, the offset there, and the reconsume times.
    fn complaints(steps: &[(Option<usize>, i64, i64)], dead_count: usize) -> u64 {
        let (mut retries, mut found) = (Retries::default(), Findings::default());
        let mut strings = Strings::default();
        strings.intern("").unwrap();
        assert_eq!(strings.intern("CID_java").unwrap(), GROUP);
        retries.set_max(GROUP, 2);
        for (step, (queue, offset, times)) in (1..).zip(steps) {
            let t_ns = step * 5_000_000_000;
            let mut got = Record::new(t_ns, Op::Deliver, Kind::Ok);
            (got.uid, got.group, got.offset, got.aux) = (UID, GROUP, *offset, *times);
            retries.deliver(&got, *queue, &strings, &mut found);
            let mut later = Record::new(t_ns + 1, Op::ConsumeEnd, Kind::Ok);
            (later.uid, later.group, later.code) = (UID, GROUP, 1);
            (later.offset, later.aux) = (*times, 1_000);
            retries.consumed(&later);
        }
        retries.dead_letters_are_dumped(GROUP);
        for _ in 0..dead_count {
            let mut letter = Record::new(0, Op::LogDump, Kind::Ok);
            letter.uid = UID;
            retries.dead_letter(GROUP, &letter);
        }
        retries.close(&strings, &mut found);
        let report = found.close(&Memory::default()).unwrap();
        report.counts.values().sum()
    }

    /// The client cannot give the message back and delivers it from its first place up to 11 times.
    fn counted_by_the_client() -> Vec<(Option<usize>, i64, i64)> {
        (0..=11).map(|times| (None, 70, times)).collect()
    }

    #[test]
    fn what_the_client_counts_by_itself_calls_for_no_dead_letter_and_allows_one() {
        let mut steps = counted_by_the_client();
        assert_eq!((complaints(&steps, 0), complaints(&steps, 1)), (0, 0));
        // Given back at last: the broker goes on from the count of its copy.
        steps.push((Some(9), 5, 1));
        assert_eq!(complaints(&steps, 0), 0);
        // From a copy of the retry topic the client counts on as well.
        steps.extend([(Some(9), 5, 2), (Some(9), 5, 3)]);
        assert_eq!((complaints(&steps, 0), complaints(&steps, 1)), (0, 0));
    }

    #[test]
    fn a_copy_that_is_stored_with_the_last_count_must_become_a_dead_letter() {
        let copies = [(Some(9), 5, 1), (Some(9), 6, 2)];
        let mut steps = counted_by_the_client();
        steps.extend(copies);
        assert_eq!((complaints(&steps, 0), complaints(&steps, 1)), (1, 0));
        let mut steps = vec![(None, 70, 0)];
        steps.extend(copies);
        assert_eq!((complaints(&steps, 0), complaints(&steps, 1)), (1, 0));
        assert_eq!(complaints(&steps, 2), 1);
        // The send-back of that copy failed for a while.
        steps.extend([(Some(9), 6, 3), (Some(9), 6, 4)]);
        assert_eq!((complaints(&steps, 0), complaints(&steps, 1)), (1, 0));
    }

    #[test]
    fn of_two_failures_of_one_delivery_the_one_that_is_due_first_counts() {
        assert_eq!(given_back_twice(1_150), 0);
        assert_eq!(given_back_twice(1_140), 1);
    }
}
