//! The queues as they stood at one instant, taken over piece by piece while they go on.
//!
//! Owned by the checkpoint that is being written. What a queue had at the instant only gets more,
//! except where its tail turns into a page or it is deleted: whoever does that has it taken over
//! first. First offsets do not move meanwhile. Invariant: each queue is taken over once, as it was.

use super::{Queue, QueueRef, QueueTable};
use crate::checkpoint::put_queue;

/// See the module.
pub(crate) struct Frozen {
    /// By slot of the table; none where there was no queue with messages, or it is taken over.
    shapes: Vec<Option<Shape>>,
    next_slot: usize,
    count: u32,
    /// Queues that changed before their turn, as a checkpoint has them.
    early: Vec<u8>,
}

/// What a queue was.
struct Shape {
    min: i64,
    next: i64,
    pages: usize,
    tail: usize,
}

impl Frozen {
    /// All queues with messages, now.
    pub(crate) fn of(table: &QueueTable) -> Self {
        let shape = |queue: &Queue| Shape {
            min: queue.min,
            next: queue.next,
            pages: queue.pages.len(),
            tail: queue.tail.len(),
        };
        let has_messages = |queue: &&Queue| queue.next > 0;
        let slots = table.slots();
        let shapes: Vec<_> = slots
            .map(|queue| queue.filter(has_messages).map(shape))
            .collect();
        Self {
            count: shapes.iter().flatten().count() as u32,
            shapes,
            next_slot: 0,
            early: Vec::new(),
        }
    }

    /// How many queues there were.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// A queue is about to change otherwise than by growing: its tail is a full chunk that turns into
    /// a page, or it goes.
    pub(crate) fn keep(&mut self, reference: QueueRef, queue: &Queue) {
        let shape = self.shapes.get_mut(reference.slot as usize);
        if let Some(shape) = shape.and_then(Option::take) {
            shape.put(queue, &mut self.early);
        }
    }

    /// Adds queues to `out`, up to about `len` bytes. True when that were all.
    pub(crate) fn take(&mut self, table: &QueueTable, out: &mut Vec<u8>, len: usize) -> bool {
        out.append(&mut self.early);
        while out.len() < len {
            let Some(shape) = self.shapes.get_mut(self.next_slot) else {
                return true;
            };
            if let Some(shape) = shape.take() {
                let queue = table.in_slot(self.next_slot);
                let queue = queue.expect("a queue that goes is taken over before");
                shape.put(queue, out);
            }
            self.next_slot += 1;
        }
        false
    }
}

impl Shape {
    fn put(&self, queue: &Queue, out: &mut Vec<u8>) {
        let into = self.next - queue.tail_start();
        let to = usize::try_from(into).expect("the tail still holds what it held");
        assert!(self.tail <= to && to <= queue.tail.len() && queue.min == self.min);
        let (pages, tail) = (&queue.pages[..self.pages], &queue.tail[to - self.tail..to]);
        put_queue(out, queue, self.next, pages, tail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::UNITS_PER_PAGE;
    use super::*;
    use crate::checkpoint::{Checkpoint, CheckpointHead, put_end, put_head};
    use crate::consume_queue::{Unit, UnitBytes};
    use base::{QueueId, ShardId};

    const HEAD: CheckpointHead = CheckpointHead {
        shard: ShardId::new(1),
        sequence: 1,
        position: 0,
        durable: 0,
        secret: 1,
        window: 0,
    };

    fn grow(
        table: &mut QueueTable,
        mut frozen: Option<&mut Frozen>,
        reference: QueueRef,
        count: usize,
    ) {
        let queue = table.get_mut(reference).unwrap();
        for _ in 0..count {
            let unit = Unit::new(512, 600, queue.next as u32 + 1, 0, 512);
            if let Some(chunk) = queue.push(unit) {
                if let Some(frozen) = &mut frozen {
                    frozen.keep(reference, queue);
                }
                queue.turn_page(chunk as u32 + 70);
            }
        }
    }

    fn checkpoint(frozen: &mut Frozen, table: &QueueTable, piece: usize) -> Vec<u8> {
        let mut out = put_head(&HEAD, frozen.count());
        loop {
            let mut more = Vec::new();
            let done = frozen.take(table, &mut more, piece);
            out.extend(more);
            if done {
                break;
            }
        }
        put_end(&mut out, &[]);
        let sum = crc32fast::hash(&out);
        out.extend(sum.to_le_bytes());
        out
    }

    type Row = (String, i64, i64, Vec<u32>, Vec<UnitBytes>);

    fn rows(bytes: &[u8]) -> Vec<Row> {
        let read = Checkpoint::decode(HEAD.shard, bytes).unwrap();
        let rows = read.queues.into_iter();
        let mut rows: Vec<_> = rows
            .map(|q| (q.topic, q.min, q.next, q.pages, q.tail))
            .collect();
        rows.sort();
        rows
    }

    #[test]
    fn queues_are_taken_over_as_they_were_however_they_grow_and_go_meanwhile() {
        for held in [
            1,
            57,
            UNITS_PER_PAGE - 1,
            UNITS_PER_PAGE,
            2 * UNITS_PER_PAGE + 5,
        ] {
            for trimmed in [0, 1, held / 2, held] {
                let mut table = QueueTable::default();
                let names: Vec<String> = (0..6).map(|i| format!("T{i}")).collect();
                let all: Vec<_> = names
                    .iter()
                    .map(|name| table.find_or_create(name, QueueId(0)))
                    .collect();
                for reference in &all {
                    grow(&mut table, None, *reference, held);
                    table.get_mut(*reference).unwrap().trim(trimmed as i64);
                }
                let expected = rows(&checkpoint(&mut Frozen::of(&table), &table, 1 << 20));
                assert_eq!(expected.len(), 6);

                let mut frozen = Frozen::of(&table);
                let mut early = Vec::new();
                assert!(!frozen.take(&table, &mut early, 1), "one is taken over");
                for (reference, more) in all.iter().zip([1, 30, 203, 204, 700, 0]) {
                    grow(&mut table, Some(&mut frozen), *reference, more);
                }
                frozen.keep(all[5], table.get(all[5]).unwrap());
                table.remove(all[5]);
                let fresh = table.find_or_create("Fresh", QueueId(0));
                grow(&mut table, Some(&mut frozen), fresh, 300);
                let mut rest = Vec::new();
                loop {
                    let len = rest.len() + 1;
                    if frozen.take(&table, &mut rest, len) {
                        break;
                    }
                }
                let mut out = put_head(&HEAD, frozen.count());
                out.extend(early);
                out.extend(rest);
                put_end(&mut out, &[]);
                let sum = crc32fast::hash(&out);
                out.extend(sum.to_le_bytes());
                assert_eq!(rows(&out), expected, "{held} with {trimmed} gone");
            }
        }
    }
}
