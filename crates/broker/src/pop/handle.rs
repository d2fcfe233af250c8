//! The strings of popping: receipt handles, and the lists of offsets in an answer.
//!
//! Pure. A handle is eight words: `start popTime invisibleTime reviveQid retryFlag broker queueId
//! offset`; clients make it of the answer's lists, and the broker for messages of a retry topic.
//! Invariant: whatever a client sends reads as a handle or as an error. Java: `ExtraInfoUtil`.

use crate::names::RETRY_PREFIX;
use shard::pops::CheckId;
use std::fmt::Write as _;

/// Where an orderly pop is marked: Java `KeyBuilder.POP_ORDER_REVIVE_QUEUE`.
pub(super) const ORDER_QUEUE: i32 = 999;

/// What a receipt handle says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) id: CheckId,
    pub(super) revive_queue: i32,
    /// Which queue it was made for, where it says so.
    pub(super) queue_id: Option<i32>,
    /// Which message it was made for, where it says so.
    pub(super) offset: Option<i64>,
}

/// Why it is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandleError {
    #[error("the receipt handle has {0} of at least 4 words")]
    Short(usize),
    #[error("word {at} of the receipt handle is not a number: {word:?}")]
    Number {
        /// From 1 on.
        at: usize,
        /// Its first characters.
        word: String,
    },
}

impl Handle {
    /// Reads a handle.
    pub(super) fn parse(text: &str) -> Result<Self, HandleError> {
        let words: Vec<&str> = text.split(' ').take(WORDS).collect();
        if words.len() < 4 {
            return Err(HandleError::Short(words.len()));
        }
        let bad = |at: usize| HandleError::Number {
            at: at + 1,
            word: words[at].chars().take(32).collect(),
        };
        let number = |at: usize| words[at].parse::<i64>().map_err(|_| bad(at));
        let optional = |at: usize| (at < words.len()).then(|| number(at)).transpose();
        let queue_id = optional(6)?;
        number(2)?;
        Ok(Self {
            id: CheckId {
                start: number(0)?,
                pop_time_ms: number(1)?,
            },
            revive_queue: words[3].parse().map_err(|_| bad(3))?,
            queue_id: queue_id
                .map(|id| i32::try_from(id).map_err(|_| bad(6)))
                .transpose()?,
            offset: optional(7)?,
        })
    }

    pub(super) fn is_order(&self) -> bool {
        self.revive_queue == ORDER_QUEUE
    }
}

/// What a broker's own handle is made of.
pub(super) struct NewHandle<'a> {
    pub(super) id: CheckId,
    pub(super) invisible_ms: i64,
    pub(super) topic: &'a str,
    pub(super) broker: &'a str,
    pub(super) queue_id: i32,
    pub(super) offset: i64,
}

impl NewHandle<'_> {
    /// The handle of a message that was not popped in order.
    pub(super) fn text(&self) -> String {
        format!(
            "{} {} {} 0 {} {} {} {}",
            self.id.start,
            self.id.pop_time_ms,
            self.invisible_ms,
            retry_flag(self.topic),
            self.broker,
            self.queue_id,
            self.offset
        )
    }
}

/// `1` for messages of a retry topic, which clients must name when they acknowledge; else `0`.
pub(super) fn retry_flag(topic: &str) -> char {
    if topic.starts_with(RETRY_PREFIX) {
        '1'
    } else {
        '0'
    }
}

/// The lists of offsets of an answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) starts: String,
    pub(super) offsets: String,
    pub(super) order_counts: String,
}

impl Lists {
    /// Adds what was popped of one queue.
    pub(super) fn push(&mut self, topic: &str, queue_id: u32, start: i64, offsets: &[i64]) {
        let flag = retry_flag(topic);
        separate(&mut self.starts);
        separate(&mut self.offsets);
        // Writing to a string cannot fail.
        let _ = write!(self.starts, "{flag} {queue_id} {start}");
        let _ = write!(self.offsets, "{flag} {queue_id} ");
        for (at, offset) in offsets.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(self.offsets, "{comma}{offset}");
        }
    }

    /// Adds how often messages of a queue were popped in order before.
    pub(super) fn push_counts(&mut self, topic: &str, queue_id: u32, times: &[(i64, u32)]) {
        let flag = retry_flag(topic);
        for (offset, count) in times.iter().filter(|(_, count)| *count > 0) {
            separate(&mut self.order_counts);
            let _ = write!(self.order_counts, "{flag} qo{queue_id}%{offset} {count}");
        }
        // Clients before 5.1 read the least count by queue.
        let least = times.iter().map(|(_, count)| *count).min().unwrap_or(0);
        separate(&mut self.order_counts);
        let _ = write!(self.order_counts, "{flag} {queue_id} {least}");
    }

    /// Adds those of another shard.
    pub(super) fn append(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.starts, &other.starts),
            (&mut self.offsets, &other.offsets),
            (&mut self.order_counts, &other.order_counts),
        ] {
            if !from.is_empty() {
                separate(to);
                to.push_str(from);
            }
        }
    }
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(';');
    }
}

const WORDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_reads_back_and_garbage_is_told() {
        let id = CheckId {
            start: 5,
            pop_time_ms: 1_700,
        };
        let new = NewHandle {
            id,
            invisible_ms: 60_000,
            topic: "%RETRY%g_T",
            broker: "broker-a",
            queue_id: 3,
            offset: 9,
        };
        let text = new.text();
        assert_eq!(text, "5 1700 60000 0 1 broker-a 3 9");
        let handle = Handle::parse(&text).unwrap();
        assert_eq!((handle.id, handle.is_order()), (id, false));
        assert_eq!((handle.queue_id, handle.offset), (Some(3), Some(9)));
        assert!(Handle::parse("1 2 3 999").unwrap().is_order());
        for (text, part) in [
            ("", "has 1 of"),
            ("1 2 3", "has 3 of"),
            ("a 2 3 4", "word 1"),
            ("1 b 3 4", "word 2"),
            ("1 2 c 4", "word 3"),
            ("1 2 3 99999999999", "word 4"),
            ("1 2 3 4 0 b x 8", "word 7"),
            ("1 2 3 4 0 b 7 ", "word 8"),
        ] {
            let error = Handle::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn lists_are_written_as_java_reads_them() {
        let mut lists = Lists::default();
        lists.push("T", 0, 7, &[7, 9]);
        let mut other = Lists::default();
        other.push("%RETRY%g_T", 1, 3, &[3]);
        other.push_counts("T", 4, &[(10, 2), (11, 0)]);
        lists.append(&other);
        lists.append(&Lists::default());
        assert_eq!(lists.starts, "0 0 7;1 1 3");
        assert_eq!(lists.offsets, "0 0 7,9;1 1 3");
        assert_eq!(lists.order_counts, "0 qo4%10 2;0 4 0");
    }
}
