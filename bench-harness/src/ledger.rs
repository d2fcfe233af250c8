//! What a run must find again: every acknowledged offset, and what readers got.
//!
//! One bit for each message of a queue, so that the verdict is exact. Invariant: a message is lost when
//! it was acknowledged, lies in a range that was read, and was not among what was read.

use crate::body::Mark;

/// A set of small numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    /// False when it was there already.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let word = self.words.get((number / 64) as usize);
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// One above the highest.
    pub(crate) fn end(&self) -> u64 {
        let last = self.words.iter().rposition(|word| *word != 0);
        last.map_or(0, |at| {
            at as u64 * 64 + 64 - u64::from(self.words[at].leading_zeros())
        })
    }

    /// Adds another set; gives how many numbers were in both.
    fn unite(&mut self, other: &Self) -> u64 {
        let before = self.count + other.count;
        self.words
            .resize(self.words.len().max(other.words.len()), 0);
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.count = self
            .words
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        before - self.count
    }
}

/// Offsets that were acknowledged, by queue.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) queues: Vec<Bits>,
    /// Acknowledgements that named an offset a second time.
    pub(crate) twice: u64,
    /// Sends without an answer, or with one that leaves open whether the message is stored.
    pub(crate) unknown: u64,
}

impl Acknowledged {
    pub(crate) fn new(queues: usize) -> Self {
        Self {
            queues: vec![Bits::default(); queues],
            twice: 0,
            unknown: 0,
        }
    }

    pub(crate) fn add(&mut self, queue: usize, first_offset: u64, count: u64) {
        for offset in first_offset..first_offset + count {
            self.twice += u64::from(!self.queues[queue].insert(offset));
        }
    }

    pub(crate) fn unite(&mut self, other: &Self) {
        for (bits, more) in self.queues.iter_mut().zip(&other.queues) {
            self.twice += bits.unite(more);
        }
        self.twice += other.twice;
        self.unknown += other.unknown;
    }

    /// Acknowledged offsets of a queue from `from` on.
    pub(crate) fn count_from(&self, queue: usize, from: u64) -> u64 {
        let bits = &self.queues[queue];
        (from..bits.end())
            .filter(|offset| bits.contains(*offset))
            .count() as u64
    }

    #[cfg(test)]
    fn len(&self) -> u64 {
        self.queues.iter().map(Bits::len).sum()
    }
}

/// What one reader (a group, or the reading back) got.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    /// The number of the first queue that is looked at.
    first: usize,
    producers: usize,
    /// Offsets by queue.
    pub(crate) queues: Vec<Bits>,
    /// Numbers by queue and producer.
    numbers: Vec<Bits>,
    pub(crate) received: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
}

impl Delivered {
    pub(crate) fn new(queues: usize, producers: usize) -> Self {
        Self::from(0, queues, producers)
    }

    /// A reader of one queue.
    pub(crate) fn of_queue(queue: usize, producers: usize) -> Self {
        Self::from(queue, 1, producers)
    }

    fn from(first: usize, queues: usize, producers: usize) -> Self {
        Self {
            first,
            producers,
            queues: vec![Bits::default(); queues],
            numbers: vec![Bits::default(); queues * producers],
            received: 0,
            duplicated: 0,
            reordered: 0,
            corrupted: 0,
        }
    }

    /// A message as it came from a queue; `mark` is nothing when its body is damaged.
    pub(crate) fn add(&mut self, queue: usize, offset: u64, mark: Option<Mark>) {
        self.received += 1;
        let index = queue - self.first;
        let again = !self.queues[index].insert(offset);
        let Some(mark) = mark.filter(|mark| {
            mark.queue as usize == queue && (mark.producer as usize) < self.producers
        }) else {
            self.corrupted += 1;
            return;
        };
        let numbers = &mut self.numbers[index * self.producers + mark.producer as usize];
        let overtaken = mark.number < numbers.end();
        let new = numbers.insert(mark.number);
        self.duplicated += u64::from(again || !new);
        self.reordered += u64::from(new && overtaken);
    }

    /// Different messages.
    pub(crate) fn distinct(&self) -> u64 {
        self.numbers.iter().map(Bits::len).sum()
    }

    /// Acknowledged offsets of `from..to` of a queue that did not come.
    pub(crate) fn lost(
        &self,
        acknowledged: &Acknowledged,
        queue: usize,
        from: u64,
        to: u64,
    ) -> u64 {
        let (due, seen) = (
            &acknowledged.queues[queue],
            &self.queues[queue - self.first],
        );
        let to = to.min(due.end());
        (from..to)
            .filter(|offset| due.contains(*offset) && !seen.contains(*offset))
            .count() as u64
    }

    pub(crate) fn unite(&mut self, other: &Self) {
        for (bits, more) in self.queues.iter_mut().zip(&other.queues) {
            self.duplicated += bits.unite(more);
        }
        for (bits, more) in self.numbers.iter_mut().zip(&other.numbers) {
            bits.unite(more);
        }
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as a reader has it")]
    fn mark(queue: u32, number: u64) -> Option<Mark> {
        Some(Mark {
            run: 1,
            due_ns: 0,
            number,
            producer: 0,
            queue,
        })
    }

    #[test]
    fn bits_count_and_know_their_end() {
        let mut bits = Bits::default();
        assert_eq!((bits.len(), bits.end()), (0, 0));
        for (number, new) in [(0, true), (200, true), (200, false), (63, true)] {
            assert_eq!(bits.insert(number), new, "{number}");
        }
        assert_eq!((bits.len(), bits.end()), (3, 201));
        assert!(bits.contains(63) && !bits.contains(64) && !bits.contains(100_000));
    }

    #[test]
    fn what_was_acknowledged_and_not_read_is_lost_within_the_range_that_was_read() {
        let mut acknowledged = Acknowledged::new(2);
        acknowledged.add(0, 0, 10);
        acknowledged.add(1, 5, 1);
        let mut delivered = Delivered::new(2, 1);
        for offset in (0..10).filter(|offset| *offset != 3 && *offset != 8) {
            delivered.add(0, offset, mark(0, offset));
        }
        assert_eq!(delivered.lost(&acknowledged, 0, 0, 10), 2);
        assert_eq!(delivered.lost(&acknowledged, 0, 0, 8), 1);
        assert_eq!(delivered.lost(&acknowledged, 0, 9, u64::MAX), 0);
        assert_eq!(delivered.lost(&acknowledged, 1, 0, u64::MAX), 1);
        assert_eq!(acknowledged.count_from(0, 4), 6);
        assert_eq!(Delivered::of_queue(1, 1).lost(&acknowledged, 1, 0, 9), 1);
        assert_eq!((delivered.received, delivered.distinct()), (8, 8));
    }

    #[test]
    fn copies_late_ones_and_damage_are_told_apart() {
        let mut delivered = Delivered::new(1, 1);
        delivered.add(0, 0, mark(0, 0));
        delivered.add(0, 1, mark(0, 2));
        delivered.add(0, 2, mark(0, 1)); // overtaken
        delivered.add(0, 3, mark(0, 2)); // a copy at another offset
        delivered.add(0, 1, mark(0, 2)); // delivered again
        delivered.add(0, 4, None); // damaged
        delivered.add(0, 5, mark(7, 3)); // of another queue
        assert_eq!(
            (
                delivered.reordered,
                delivered.duplicated,
                delivered.corrupted
            ),
            (1, 2, 2)
        );
    }

    #[test]
    fn an_offset_that_two_threads_were_told_is_seen() {
        let (mut one, mut two) = (Acknowledged::new(1), Acknowledged::new(1));
        one.add(0, 0, 3);
        two.add(0, 2, 2);
        two.unknown = 4;
        one.unite(&two);
        assert_eq!((one.len(), one.twice, one.unknown), (4, 1, 4));
    }
}
