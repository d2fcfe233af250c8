//! Parked pulls: who waits for messages of a queue, until when.
//!
//! Owned by the shard of the queue. A parked pull is a record, not a task: an arrival takes the
//! records of its queue, one timer takes those whose deadline has passed. Nothing is scanned
//! (Java's `PullRequestHoldService` walks its table every five seconds). Invariant: a record is in
//! both maps or in none, and their number stays below the bound.

use base::HashMap;
use rt::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;

/// Parked records of type `P` by key `K` and deadline.
pub struct Arrivals<K, P> {
    parked: RefCell<HashMap<K, VecDeque<(ParkId, P)>>>,
    by_deadline: RefCell<BTreeMap<ParkId, K>>,
    next_sequence: Cell<u64>,
    count_max: usize,
    earlier: Event,
}

/// Deadline and number of a parked record, in the order of deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ParkId {
    deadline_us: u64,
    sequence: u64,
}

impl<K: Copy + Eq + Hash, P> Arrivals<K, P> {
    /// Room for `count_max` parked records.
    pub fn new(count_max: usize) -> Self {
        Self {
            parked: RefCell::default(),
            by_deadline: RefCell::default(),
            next_sequence: Cell::new(0),
            count_max,
            earlier: Event::new(),
        }
    }

    /// How many are parked.
    pub fn len(&self) -> usize {
        self.by_deadline.borrow().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Parks a record until its key is taken or `deadline_us` (monotonic) passes.
    ///
    /// # Errors
    /// Gives the record back when the bound is reached.
    pub fn park(&self, key: K, deadline_us: u64, record: P) -> Result<(), P> {
        if self.len() >= self.count_max {
            return Err(record);
        }
        let id = ParkId {
            deadline_us,
            sequence: self.next_sequence.replace(self.next_sequence.get() + 1),
        };
        let mut by_deadline = self.by_deadline.borrow_mut();
        let is_earliest = by_deadline.first_key_value().is_none_or(|(f, _)| id < *f);
        by_deadline.insert(id, key);
        self.parked
            .borrow_mut()
            .entry(key)
            .or_default()
            .push_back((id, record));
        if is_earliest {
            self.earlier.notify();
        }
        Ok(())
    }

    /// Takes everything parked on `key`, oldest first.
    pub fn take(&self, key: K) -> Vec<(u64, P)> {
        let Some(records) = self.parked.borrow_mut().remove(&key) else {
            return Vec::new();
        };
        let mut by_deadline = self.by_deadline.borrow_mut();
        let mut taken = Vec::with_capacity(records.len());
        for (id, record) in records {
            by_deadline.remove(&id);
            taken.push((id.deadline_us, record));
        }
        taken
    }

    /// Takes the oldest record of `key` that `is_wanted`, and drops those before it. Gives its
    /// deadline too.
    pub fn take_first(&self, key: K, is_wanted: impl Fn(&P) -> bool) -> Option<(u64, P)> {
        let mut parked = self.parked.borrow_mut();
        let records = parked.get_mut(&key)?;
        let mut found = None;
        while let Some((id, record)) = records.pop_front() {
            self.by_deadline.borrow_mut().remove(&id);
            if is_wanted(&record) {
                found = Some((id.deadline_us, record));
                break;
            }
        }
        if records.is_empty() {
            parked.remove(&key);
        }
        found
    }

    /// How many are parked on `key`.
    pub fn count_of(&self, key: K) -> usize {
        self.parked.borrow().get(&key).map_or(0, VecDeque::len)
    }

    /// Takes what is due at `now_us`.
    pub fn take_due(&self, now_us: u64) -> Vec<(K, P)> {
        let mut due = Vec::new();
        loop {
            let mut by_deadline = self.by_deadline.borrow_mut();
            let Some(first) = by_deadline.first_entry() else {
                break;
            };
            if first.key().deadline_us > now_us {
                break;
            }
            let (id, key) = first.remove_entry();
            let mut parked = self.parked.borrow_mut();
            let Some(records) = parked.get_mut(&key) else {
                continue;
            };
            if let Some(at) = records.iter().position(|(other, _)| *other == id) {
                due.extend(records.remove(at).map(|(_, record)| (key, record)));
            }
            if records.is_empty() {
                parked.remove(&key);
            }
        }
        due
    }

    /// When the next record is due (monotonic microseconds).
    pub fn next_deadline_us(&self) -> Option<u64> {
        let by_deadline = self.by_deadline.borrow();
        by_deadline.first_key_value().map(|(id, _)| id.deadline_us)
    }

    /// Happens when a record was parked that is due before all others.
    pub fn earlier(&self) -> &Event {
        &self.earlier
    }

    /// Drops the records that `keep` refuses, such as those of a closed connection.
    pub fn retain(&self, mut keep: impl FnMut(&P) -> bool) {
        let mut by_deadline = self.by_deadline.borrow_mut();
        self.parked.borrow_mut().retain(|_, records| {
            records.retain(|(id, record)| {
                let keeps = keep(record);
                if !keeps {
                    by_deadline.remove(id);
                }
                keeps
            });
            !records.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_takes_the_records_of_its_queue_only() {
        let arrivals = Arrivals::new(10);
        arrivals.park(1, 50, 'a').unwrap();
        arrivals.park(2, 40, 'b').unwrap();
        arrivals.park(1, 30, 'c').unwrap();
        assert_eq!(arrivals.take(1), [(50, 'a'), (30, 'c')]);
        assert_eq!(arrivals.len(), 1);
        assert_eq!(arrivals.next_deadline_us(), Some(40));
        assert_eq!(arrivals.take(1), []);
    }

    #[test]
    fn records_are_due_in_the_order_of_their_deadlines() {
        let arrivals = Arrivals::new(10);
        for (key, deadline_us, name) in [(1, 30, 'a'), (2, 10, 'b'), (1, 20, 'c')] {
            arrivals.park(key, deadline_us, name).unwrap();
        }
        assert_eq!(arrivals.take_due(9), []);
        assert_eq!(arrivals.take_due(20), [(2, 'b'), (1, 'c')]);
        assert_eq!(arrivals.take(1), [(30, 'a')]);
        assert!(arrivals.is_empty());
    }

    #[test]
    fn the_oldest_of_a_queue_is_taken_alone() {
        let arrivals = Arrivals::new(10);
        for (deadline_us, name) in [(9, 'a'), (8, 'b'), (7, 'c')] {
            arrivals.park(1, deadline_us, name).unwrap();
        }
        assert_eq!(arrivals.count_of(1), 3);
        let is_wanted = |name: &char| *name != 'a';
        assert_eq!(arrivals.take_first(1, is_wanted), Some((8, 'b')));
        assert_eq!(arrivals.count_of(1), 1);
        assert_eq!(arrivals.next_deadline_us(), Some(7));
        assert_eq!(arrivals.take_first(1, |_| false), None);
        assert!(arrivals.is_empty());
    }

    #[test]
    fn the_bound_refuses_one_more_and_closed_connections_make_room() {
        let arrivals = Arrivals::new(2);
        arrivals.park(1, 1, 'a').unwrap();
        arrivals.park(1, 2, 'b').unwrap();
        assert_eq!(arrivals.park(1, 3, 'c'), Err('c'));
        arrivals.retain(|record| *record == 'b');
        assert_eq!(arrivals.len(), 1);
        assert_eq!(arrivals.next_deadline_us(), Some(2));
        arrivals.park(1, 3, 'c').unwrap();
    }
}
