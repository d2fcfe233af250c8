//! All queues of a shard: by name, by reference, and what each knows of its units.
//!
//! Owned by the shard; nothing here waits. A queue without messages costs its name and some hundred
//! bytes. Invariant: a reference names one queue for ever; a slot that is used again has a new turn.

use super::pages::{Page, UNITS_PER_PAGE};
use super::{QueueRef, Unit, UnitBytes};
use base::{HashMap, QueueId};
use std::rc::Rc;

/// One queue.
pub(crate) struct Queue {
    pub(crate) topic: Rc<str>,
    pub(crate) id: QueueId,
    /// First offset that is there.
    pub(crate) min: i64,
    /// First offset that consumers do not see yet.
    pub(crate) visible: i64,
    /// First offset that is not taken.
    pub(crate) next: i64,
    /// Page of each full chunk that is kept; the last one ends where the tail's chunk begins.
    pub(crate) pages: Vec<u32>,
    /// Units of the newest offsets, up to `next`, none of them below the tail's chunk.
    pub(crate) tail: Vec<UnitBytes>,
    /// The first message that is kept lies at or above this position of the log.
    pub(crate) kept_from: u64,
    /// Whether it stands in the list of arrivals.
    pub(crate) arrived: bool,
}

/// Whether what is known of a queue fits together: first and next offset, pages and units.
pub(crate) fn fits_together(min: i64, next: i64, page_count: usize, unit_count: usize) -> bool {
    let per_page = UNITS_PER_PAGE as i64;
    let (page_count, unit_count) = (page_count as i64, unit_count as i64);
    let in_chunk = next.rem_euclid(per_page);
    let has_all = if page_count == 0 {
        next - unit_count <= min
    } else {
        unit_count == in_chunk && (next / per_page - page_count) * per_page <= min
    };
    0 <= min && min <= next && page_count <= next / per_page && unit_count <= in_chunk && has_all
}

/// Where a unit is.
pub(crate) enum UnitPlace {
    Here(Unit),
    InPage { page: u32, at: usize },
}

impl Queue {
    fn new(topic: Rc<str>, id: QueueId) -> Self {
        Self {
            topic,
            id,
            min: 0,
            visible: 0,
            next: 0,
            pages: Vec::new(),
            tail: Vec::new(),
            kept_from: 0,
            arrived: false,
        }
    }

    /// Adds the unit of the next offset. Gives the number of a chunk that became full; its units
    /// are the tail then.
    pub(crate) fn push(&mut self, unit: Unit) -> Option<i64> {
        if self.tail.len() == self.tail.capacity() {
            let more = self.tail.len().max(4).min(UNITS_PER_PAGE - self.tail.len());
            self.tail.reserve_exact(more);
        }
        self.tail.push(unit.encode());
        self.next += 1;
        if self.next % UNITS_PER_PAGE as i64 != 0 {
            return None;
        }
        // What was trimmed from the chunk is nobody's any more.
        let gone = UNITS_PER_PAGE - self.tail.len();
        self.tail
            .splice(0..0, std::iter::repeat_n(Unit::LOST.encode(), gone));
        Some(self.next / UNITS_PER_PAGE as i64 - 1)
    }

    /// The full tail chunk went into `page`.
    pub(crate) fn turn_page(&mut self, page: u32) {
        assert_eq!(self.tail.len(), UNITS_PER_PAGE);
        self.tail.clear();
        self.pages.push(page);
    }

    /// The first chunk that has a page, or that the tail belongs to when none has.
    pub(crate) fn first_chunk(&self) -> i64 {
        self.next / UNITS_PER_PAGE as i64 - self.pages.len() as i64
    }

    /// Offset of the first unit in the tail.
    pub(super) fn tail_start(&self) -> i64 {
        self.next - self.tail.len() as i64
    }

    /// Where the unit of `offset` is. The offset is at least `min` and below `next`.
    pub(crate) fn unit_place(&self, offset: i64) -> UnitPlace {
        assert!(self.min <= offset && offset < self.next);
        if let Ok(at) = usize::try_from(offset - self.tail_start()) {
            return UnitPlace::Here(Unit::decode(&self.tail[at]));
        }
        let chunk = offset / UNITS_PER_PAGE as i64 - self.first_chunk();
        let chunk = usize::try_from(chunk).expect("a chunk with an offset from min on is kept");
        UnitPlace::InPage {
            page: self.pages[chunk],
            at: offset as usize % UNITS_PER_PAGE,
        }
    }

    /// Forgets everything below `min`, which is at most `next`. Gives the pages that nobody needs
    /// any more.
    pub(crate) fn trim(&mut self, min: i64) -> Vec<u32> {
        if min <= self.min {
            return Vec::new();
        }
        assert!(min <= self.next);
        let chunk = min / UNITS_PER_PAGE as i64;
        let gone = (chunk - self.first_chunk()).clamp(0, self.pages.len() as i64);
        let pages = self.pages.drain(..gone as usize).collect();
        let gone = (min - self.tail_start()).clamp(0, self.tail.len() as i64);
        self.tail.drain(..gone as usize);
        if self.tail.is_empty() {
            self.tail = Vec::new();
        }
        self.min = min;
        pages
    }

    /// What ties a page to this queue.
    pub(crate) fn fingerprint(&self) -> u32 {
        Page::fingerprint(&self.topic, self.id)
    }
}

struct Slot {
    turn: u32,
    queue: Option<Queue>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct QueueTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Queues of a topic, by id.
    by_topic: HashMap<Rc<str>, Vec<(QueueId, QueueRef)>>,
}

impl QueueTable {
    pub(crate) fn find(&self, topic: &str, queue: QueueId) -> Option<QueueRef> {
        let queues = self.by_topic.get(topic)?;
        let index = queues.binary_search_by_key(&queue, |(id, _)| *id).ok()?;
        Some(queues[index].1)
    }

    pub(crate) fn find_or_create(&mut self, topic: &str, queue: QueueId) -> QueueRef {
        if let Some(found) = self.find(topic, queue) {
            return found;
        }
        let name = match self.by_topic.get_key_value(topic) {
            Some((name, _)) => Rc::clone(name),
            None => Rc::from(topic),
        };
        let reference = self.take_slot(Queue::new(Rc::clone(&name), queue));
        let queues = self.by_topic.entry(name).or_default();
        let index = queues.partition_point(|(id, _)| *id < queue);
        queues.insert(index, (queue, reference));
        reference
    }

    fn take_slot(&mut self, queue: Queue) -> QueueRef {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                turn: 0,
                queue: None,
            });
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.queue = Some(queue);
        QueueRef {
            slot,
            turn: entry.turn,
        }
    }

    /// Removes a queue.
    pub(crate) fn remove(&mut self, reference: QueueRef) -> Option<Queue> {
        self.get(reference)?;
        let slot = &mut self.slots[reference.slot as usize];
        let queue = slot.queue.take()?;
        slot.turn = slot.turn.wrapping_add(1);
        self.free.push(reference.slot);
        if let Some(queues) = self.by_topic.get_mut(&queue.topic) {
            queues.retain(|(_, other)| *other != reference);
            if queues.is_empty() {
                self.by_topic.remove(&queue.topic);
            }
        }
        Some(queue)
    }

    pub(crate) fn get(&self, reference: QueueRef) -> Option<&Queue> {
        let slot = self.slots.get(reference.slot as usize)?;
        slot.queue.as_ref().filter(|_| slot.turn == reference.turn)
    }

    pub(crate) fn get_mut(&mut self, reference: QueueRef) -> Option<&mut Queue> {
        let slot = self.slots.get_mut(reference.slot as usize)?;
        slot.queue.as_mut().filter(|_| slot.turn == reference.turn)
    }

    /// What each slot holds.
    pub(super) fn slots(&self) -> impl Iterator<Item = Option<&Queue>> {
        self.slots.iter().map(|slot| slot.queue.as_ref())
    }

    /// The queue that a slot holds.
    pub(super) fn in_slot(&self, slot: usize) -> Option<&Queue> {
        self.slots.get(slot)?.queue.as_ref()
    }

    /// All queues, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Queue> {
        self.slots.iter().filter_map(|slot| slot.queue.as_ref())
    }

    /// References to all queues.
    pub(crate) fn references(&self) -> Vec<QueueRef> {
        let slots = self.slots.iter().enumerate();
        let reference = |(slot, entry): (usize, &Slot)| {
            let turn = entry.turn;
            let slot = slot as u32;
            entry.queue.is_some().then_some(QueueRef { slot, turn })
        };
        slots.filter_map(reference).collect()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.slots.iter_mut().filter_map(|slot| slot.queue.as_mut())
    }

    /// How many queues there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_a_deleted_queue_finds_nothing_ever_again() {
        let mut table = QueueTable::default();
        let old = table.find_or_create("T", QueueId(3));
        assert_eq!(table.find_or_create("T", QueueId(3)), old);
        assert!(table.remove(old).is_some());
        assert!(table.find("T", QueueId(3)).is_none());
        let new = table.find_or_create("U", QueueId(0));
        assert_eq!(new.slot, old.slot);
        assert!(table.get(old).is_none() && table.remove(old).is_none());
        assert_eq!(table.get(new).unwrap().topic.as_ref(), "U");
        assert_eq!(table.len(), 1);
    }

    fn is_sound(queue: &Queue) -> bool {
        fits_together(queue.min, queue.next, queue.pages.len(), queue.tail.len())
    }

    fn filled(count: usize) -> Queue {
        let mut queue = Queue::new(Rc::from("T"), QueueId(0));
        fill(&mut queue, count);
        queue
    }

    fn fill(queue: &mut Queue, count: usize) {
        for _ in 0..count {
            let unit = Unit::new(512, 512 + 64, queue.next as u32 + 1, 0, 512);
            if let Some(chunk) = queue.push(unit) {
                queue.turn_page(chunk as u32 + 70);
            }
        }
    }

    #[test]
    fn what_is_kept_after_a_trim_is_found_where_it_was() {
        let count = 3 * UNITS_PER_PAGE + 50;
        for min in 1..=count as i64 {
            let mut queue = filled(count);
            let gone = queue.trim(min);
            assert!(is_sound(&queue), "{min}");
            assert_eq!(gone.len(), min as usize / UNITS_PER_PAGE);
            // It grows on as if nothing had happened.
            for _ in 0..2 {
                for offset in min..queue.next {
                    match queue.unit_place(offset) {
                        UnitPlace::Here(unit) => assert_eq!(i64::from(unit.len), offset + 1),
                        UnitPlace::InPage { page, at } => {
                            assert_eq!(page as usize, 70 + offset as usize / UNITS_PER_PAGE);
                            assert_eq!(at, offset as usize % UNITS_PER_PAGE);
                        }
                    }
                }
                fill(&mut queue, UNITS_PER_PAGE);
                assert!(is_sound(&queue), "{min}");
            }
        }
    }

    #[test]
    fn a_queue_whose_messages_are_all_gone_holds_no_memory_and_no_page() {
        let mut queue = filled(2 * UNITS_PER_PAGE + 7);
        assert_eq!(queue.trim(queue.next), [70, 71]);
        assert_eq!((queue.min, queue.tail.capacity()), (queue.next, 0));
        assert!(queue.pages.is_empty() && is_sound(&queue));
    }

    #[test]
    fn a_full_chunk_turns_into_a_page_and_the_next_one_begins_empty() {
        let mut table = QueueTable::default();
        let reference = table.find_or_create("T", QueueId(0));
        let queue = table.get_mut(reference).unwrap();
        for offset in 0..=UNITS_PER_PAGE * 2 {
            let unit = Unit::new(512, 512 + 64, offset as u32 + 1, 0, 512);
            if let Some(chunk) = queue.push(unit) {
                queue.turn_page(chunk as u32 + 70);
            }
        }
        assert_eq!(queue.pages, [70, 71]);
        assert_eq!(queue.tail.len(), 1);
        let last = UNITS_PER_PAGE as i64;
        assert!(
            matches!(queue.unit_place(last - 1), UnitPlace::InPage { page: 70, at } if at == UNITS_PER_PAGE - 1)
        );
        assert!(matches!(
            queue.unit_place(last),
            UnitPlace::InPage { page: 71, at: 0 }
        ));
        assert!(matches!(queue.unit_place(2 * last), UnitPlace::Here(unit) if unit.len == 407));
    }
}
