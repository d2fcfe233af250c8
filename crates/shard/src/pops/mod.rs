//! What groups have popped of this shard's queues and not acknowledged: who has which message,
//! until when.
//!
//! Owned by the shard of the queue. A pop leaves one check of up to 32 messages; an acknowledgement
//! clears a bit of it. Every change is a record of the log first and takes effect then, so that a
//! replay gives the same state. Invariant: a message before a group's next offset is either in a
//! check or done with; the committed offset is the first one that is not done with. Java:
//! `PopBufferMergeService`, `PopConsumerCache`, `ConsumerOrderInfoManager`.

mod op;

pub use op::{ATTEMPT_LEN_MAX, Check, CheckId, Op, OrderLock, OrderedMessage, POP_COUNT_MAX};

use base::HashMap;
use op::{Reader, Record};
use rt::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// A queue as one group sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct PopKey {
    /// The topic.
    pub topic: Box<str>,
    /// The group.
    pub group: Box<str>,
    /// The queue.
    pub queue_id: u32,
}

/// The same, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PopKeyRef<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The group.
    pub group: &'a str,
    /// The queue.
    pub queue_id: u32,
}

impl PopKey {
    /// Borrows it.
    pub fn by_ref(&self) -> PopKeyRef<'_> {
        PopKeyRef {
            topic: &self.topic,
            group: &self.group,
            queue_id: self.queue_id,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key(Rc<PopKey>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.by_ref().hash(state);
    }
}

impl hashbrown::Equivalent<Key> for PopKeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.0.by_ref()
    }
}

/// Everything that is popped of this shard's queues.
#[derive(Debug, Default)]
pub struct Pops {
    queues: RefCell<HashMap<Key, PopQueue>>,
    due: RefCell<BTreeMap<DueId, Due>>,
    next_sequence: Cell<u64>,
    count: Cell<usize>,
    earlier: Event,
}

#[derive(Debug, Default)]
struct PopQueue {
    next: i64,
    checks: BTreeMap<CheckId, (Check, DueId)>,
    /// Messages in the checks.
    count: usize,
    order: Option<(Box<OrderLock>, DueId)>,
    is_read: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct DueId {
    at_ms: i64,
    sequence: u64,
}

/// What happens when a time is over.
#[derive(Debug, Clone)]
pub enum Due {
    /// The messages of a check come again.
    Check(Rc<PopKey>, CheckId),
    /// The lock of an orderly pop ends.
    Order(Rc<PopKey>),
}

/// Where a group stands in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PopPlace {
    /// The next offset to pop.
    pub next: i64,
    /// The first offset that is not done with.
    pub committed: i64,
    /// How many messages are popped and not acknowledged.
    pub count: usize,
    /// Somebody reads the queue for the group from the disk.
    pub is_read: bool,
}

impl PopQueue {
    fn committed(&self) -> i64 {
        let mut first = self.next;
        for (id, (check, _)) in &self.checks {
            if id.start >= first {
                break;
            }
            first = first.min(check.first_left(id.start));
        }
        first
    }
}

impl Pops {
    /// How many messages are popped and not acknowledged, of all queues.
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Where a group stands in a queue; `None` when it never popped of it.
    pub fn place(&self, key: PopKeyRef<'_>) -> Option<PopPlace> {
        let queues = self.queues.borrow();
        let queue = queues.get(&key)?;
        Some(PopPlace {
            next: queue.next,
            committed: queue.committed(),
            count: queue.count,
            is_read: queue.is_read,
        })
    }

    /// Notes that somebody reads a queue for a group, or has ended to.
    pub fn set_read(&self, key: PopKeyRef<'_>, is_read: bool) {
        if let Some(queue) = self.queues.borrow_mut().get_mut(&key) {
            queue.is_read = is_read;
        }
    }

    /// Moves the next offset over messages that the group's filter does not let through. It is no
    /// record: after a restart they are looked at again.
    pub fn pass_over(&self, key: PopKeyRef<'_>, next: i64) {
        if let Some(queue) = self.queues.borrow_mut().get_mut(&key) {
            queue.next = queue.next.max(next);
        }
    }

    /// The bit of a message that is popped under this check and not acknowledged.
    pub fn find(&self, key: PopKeyRef<'_>, id: CheckId, offset: i64) -> Option<u32> {
        let queues = self.queues.borrow();
        let (check, _) = queues.get(&key)?.checks.get(&id)?;
        let index = check.index_of(id.start, offset)?;
        (check.left & (1 << index) != 0).then_some(index)
    }

    /// What is left of a check.
    pub fn check(&self, key: PopKeyRef<'_>, id: CheckId) -> Option<Check> {
        let queues = self.queues.borrow();
        let (check, _) = queues.get(&key)?.checks.get(&id)?;
        Some(check.clone())
    }

    /// The last orderly pop of a queue.
    pub fn order(&self, key: PopKeyRef<'_>) -> Option<OrderLock> {
        let queues = self.queues.borrow();
        let (lock, _) = queues.get(&key)?.order.as_ref()?;
        Some(OrderLock::clone(lock))
    }

    /// The record of changes of a queue, to be appended before [`Pops::apply`].
    pub fn record(key: PopKeyRef<'_>, ops: &[Op]) -> Vec<u8> {
        let mut record = Record::new(key.topic, key.group, key.queue_id);
        for op in ops {
            record.push(op);
        }
        record.into_bytes()
    }

    /// Makes a change that is in the log.
    pub fn apply(&self, key: PopKeyRef<'_>, op: Op) {
        let mut queues = self.queues.borrow_mut();
        if matches!(op, Op::Forget) {
            if let Some(queue) = queues.remove(&key) {
                self.drop_all(&queue);
            }
            return;
        }
        let owned = if let Some((known, _)) = queues.get_key_value(&key) {
            Rc::clone(&known.0)
        } else {
            let owned = Rc::new(PopKey {
                topic: key.topic.into(),
                group: key.group.into(),
                queue_id: key.queue_id,
            });
            queues.insert(Key(Rc::clone(&owned)), PopQueue::default());
            owned
        };
        let queue = queues.get_mut(&key).expect("inserted above");
        match op {
            Op::Forget => unreachable!("done above"),
            Op::Reset { next } => {
                self.drop_all(queue);
                let is_read = queue.is_read;
                *queue = PopQueue {
                    next,
                    is_read,
                    ..PopQueue::default()
                };
            }
            Op::Take { id, check, next } => {
                queue.next = next;
                let due = self.add_due(check.visible_at_ms, Due::Check(owned, id));
                let count = check.left.count_ones() as usize;
                self.add(queue, count);
                if let Some((old, due)) = queue.checks.insert(id, (check, due)) {
                    self.due.borrow_mut().remove(&due);
                    self.subtract(queue, old.left.count_ones() as usize);
                }
            }
            Op::Clear { id, bits } => self.clear(queue, id, bits),
            Op::Order(lock) => {
                if let Some((_, due)) = queue.order.take() {
                    self.due.borrow_mut().remove(&due);
                }
                queue.order = lock.map(|lock| {
                    let times = lock.messages.iter().filter(|message| !message.is_acked);
                    let at_ms = times.map(|message| message.visible_at_ms).max();
                    let due = at_ms.map(|at_ms| self.add_due(at_ms, Due::Order(owned)));
                    (lock, due.unwrap_or_default())
                });
            }
        }
    }

    fn clear(&self, queue: &mut PopQueue, id: CheckId, bits: u32) {
        let Some((check, due)) = queue.checks.get_mut(&id) else {
            return;
        };
        let cleared = (check.left & bits).count_ones() as usize;
        check.left &= !bits;
        let (is_empty, due) = (check.left == 0, *due);
        self.subtract(queue, cleared);
        if is_empty {
            queue.checks.remove(&id);
            self.due.borrow_mut().remove(&due);
        }
    }

    fn add(&self, queue: &mut PopQueue, count: usize) {
        queue.count += count;
        self.count.set(self.count.get() + count);
    }

    fn subtract(&self, queue: &mut PopQueue, count: usize) {
        queue.count -= count;
        self.count.set(self.count.get() - count);
    }

    fn drop_all(&self, queue: &PopQueue) {
        let mut due = self.due.borrow_mut();
        for (_, id) in queue.checks.values() {
            due.remove(id);
        }
        if let Some((_, id)) = &queue.order {
            due.remove(id);
        }
        self.count.set(self.count.get() - queue.count);
    }

    fn add_due(&self, at_ms: i64, what: Due) -> DueId {
        // From 1 on: the id of nothing is 0.
        let sequence = self.next_sequence.get() + 1;
        self.next_sequence.set(sequence);
        let id = DueId { at_ms, sequence };
        let mut due = self.due.borrow_mut();
        let is_earliest = due.first_key_value().is_none_or(|(first, _)| id < *first);
        due.insert(id, what);
        if is_earliest {
            self.earlier.notify();
        }
        id
    }

    /// What is due at `now_ms`, the earliest first, up to `count_max`.
    pub fn due(&self, now_ms: i64, count_max: usize) -> Vec<Due> {
        let due = self.due.borrow();
        let is_due = |(id, _): &(&DueId, &Due)| id.at_ms <= now_ms;
        let first = due.iter().take_while(is_due).take(count_max);
        first.map(|(_, what)| what.clone()).collect()
    }

    /// When the next time is over, in milliseconds since the epoch.
    pub fn next_due_ms(&self) -> Option<i64> {
        let due = self.due.borrow();
        due.first_key_value().map(|(id, _)| id.at_ms)
    }

    /// Takes the end of an order lock out of what is due; the lock stays for its counts.
    pub fn order_is_over(&self, key: PopKeyRef<'_>) {
        if let Some(queue) = self.queues.borrow_mut().get_mut(&key)
            && let Some((_, due)) = &mut queue.order
        {
            self.due.borrow_mut().remove(due);
        }
    }

    /// Happens when something became due before all else.
    pub fn earlier(&self) -> &Event {
        &self.earlier
    }

    /// The queues whose topic and group match.
    pub fn matching(&self, matches: impl Fn(&str, &str) -> bool) -> Vec<Rc<PopKey>> {
        let queues = self.queues.borrow();
        let keys = queues.keys().map(|key| &key.0);
        let keys = keys.filter(|key| matches(&key.topic, &key.group));
        keys.map(Rc::clone).collect()
    }

    /// Calls `see` with each queue and its committed offset.
    pub fn for_each_committed(&self, mut see: impl FnMut(PopKeyRef<'_>, PopPlace)) {
        for (key, queue) in self.queues.borrow().iter() {
            let place = PopPlace {
                next: queue.next,
                committed: queue.committed(),
                count: queue.count,
                is_read: queue.is_read,
            };
            see(key.0.by_ref(), place);
        }
    }

    /// Everything, as log records of about `len_max` bytes at most.
    pub fn records(&self, len_max: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for (key, queue) in self.queues.borrow().iter() {
            let begin = || Record::new(&key.0.topic, &key.0.group, key.0.queue_id);
            let mut record = begin();
            record.push(&Op::Reset { next: queue.next });
            if let Some((lock, _)) = &queue.order {
                record.push(&Op::Order(Some(lock.clone())));
            }
            for (id, (check, _)) in &queue.checks {
                if record.len() >= len_max {
                    all.push(std::mem::replace(&mut record, begin()).into_bytes());
                }
                let (id, check, next) = (*id, check.clone(), queue.next);
                record.push(&Op::Take { id, check, next });
            }
            all.push(record.into_bytes());
        }
        all
    }

    /// Takes a record in; `None` when it cannot be read to its end.
    pub fn replay(&self, bytes: &[u8]) -> Option<()> {
        let (topic, group, queue_id, mut ops) = Reader::open(bytes)?;
        let key = PopKeyRef {
            topic,
            group,
            queue_id,
        };
        while !ops.is_at_end() {
            self.apply(key, ops.next_op()?);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
