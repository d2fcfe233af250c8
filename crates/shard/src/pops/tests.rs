//! Tests of what is popped: acknowledgements, times, replay.

use super::*;

const KEY: PopKeyRef<'static> = PopKeyRef {
    topic: "T",
    group: "g",
    queue_id: 1,
};

/// A state and every record that led to it.
#[derive(Default)]
struct Logged {
    pops: Pops,
    records: Vec<Vec<u8>>,
}

impl Logged {
    fn change(&mut self, ops: Vec<Op>) {
        self.records.push(Pops::record(KEY, &ops));
        for op in ops {
            self.pops.apply(KEY, op);
        }
    }

    fn take(&mut self, start: i64, pop_time_ms: i64, offsets: &[i64]) -> CheckId {
        let id = CheckId { start, pop_time_ms };
        let check = Check::new(start, pop_time_ms + 100, offsets);
        let next = offsets.last().unwrap() + 1;
        self.change(vec![Op::Take { id, check, next }]);
        id
    }

    fn ack(&mut self, id: CheckId, offset: i64) {
        let bits = 1 << self.pops.find(KEY, id, offset).expect("is popped");
        self.change(vec![Op::Clear { id, bits }]);
    }

    fn committed(&self) -> i64 {
        self.pops.place(KEY).unwrap().committed
    }
}

fn state(pops: &Pops) -> Vec<Vec<u8>> {
    let mut records = pops.records(1 << 20);
    records.sort();
    records
}

#[test]
fn the_committed_offset_is_the_first_that_is_not_acknowledged() {
    let mut logged = Logged::default();
    let first = logged.take(0, 10, &[0, 1, 2]);
    let second = logged.take(3, 11, &[3, 5]);
    assert_eq!(logged.committed(), 0);
    logged.ack(first, 1);
    assert_eq!(logged.committed(), 0);
    logged.ack(first, 0);
    assert_eq!(logged.committed(), 2);
    logged.ack(first, 2);
    assert_eq!(logged.committed(), 3);
    logged.ack(second, 3);
    assert_eq!(logged.committed(), 5);
    logged.ack(second, 5);
    assert_eq!(logged.committed(), 6);
    assert_eq!(logged.pops.count(), 0);
    assert_eq!(logged.pops.next_due_ms(), None);
}

#[test]
fn a_message_with_another_time_stays_before_what_came_later() {
    let mut logged = Logged::default();
    let id = logged.take(0, 10, &[0, 1, 2]);
    let next = 3;
    let later = CheckId {
        start: 1,
        pop_time_ms: 20,
    };
    let check = Check::new(1, 500, &[1]);
    logged.change(vec![
        Op::Clear { id, bits: 2 },
        Op::Take {
            id: later,
            check,
            next,
        },
    ]);
    assert_eq!(logged.pops.find(KEY, id, 1), None, "the old handle is over");
    logged.ack(id, 0);
    logged.ack(id, 2);
    assert_eq!(logged.committed(), 1);
    assert_eq!(logged.pops.next_due_ms(), Some(500));
    assert_eq!(logged.pops.due(499, 9).len(), 0);
    assert_eq!(logged.pops.due(500, 9).len(), 1);
    logged.ack(later, 1);
    assert_eq!(logged.committed(), 3);
}

#[test]
fn a_reset_forgets_what_was_popped_and_a_deletion_everything() {
    let mut logged = Logged::default();
    let id = logged.take(0, 10, &[0, 1]);
    logged.change(vec![Op::Reset { next: 7 }]);
    assert_eq!(logged.pops.find(KEY, id, 0), None);
    assert_eq!(logged.committed(), 7);
    assert_eq!((logged.pops.count(), logged.pops.next_due_ms()), (0, None));
    logged.change(vec![Op::Forget]);
    assert_eq!(logged.pops.place(KEY), None);
}

#[test]
fn a_replay_gives_the_same_and_again_when_the_end_is_replayed_twice() {
    let mut logged = Logged::default();
    let first = logged.take(0, 10, &[0, 1, 2]);
    logged.ack(first, 1);
    let second = logged.take(3, 11, &(3..35).collect::<Vec<_>>());
    logged.ack(second, 30);
    logged.change(vec![Op::Order(Some(Box::new(OrderLock {
        pop_time_ms: 5,
        attempt_id: "x".into(),
        messages: vec![OrderedMessage {
            offset: 40,
            visible_at_ms: 90,
            times: 1,
            is_acked: false,
        }],
    })))]);
    logged.ack(first, 0);
    logged.ack(first, 2);
    let expected = state(&logged.pops);
    let whole = Pops::default();
    for record in &logged.records {
        whole.replay(record).unwrap();
    }
    assert_eq!(state(&whole), expected);
    // A checkpoint holds a later state than its place in the log: records come twice.
    for again_from in 0..=logged.records.len() {
        let pops = Pops::default();
        for record in logged.pops.records(64) {
            pops.replay(&record).unwrap();
        }
        for record in &logged.records[again_from..] {
            pops.replay(record).unwrap();
        }
        assert_eq!(state(&pops), expected, "from {again_from}");
        assert_eq!(pops.count(), logged.pops.count(), "from {again_from}");
    }
}

#[test]
fn an_order_lock_lasts_until_all_are_acknowledged_or_its_time_is_over() {
    let message = |offset, is_acked| OrderedMessage {
        offset,
        visible_at_ms: 100 + offset,
        times: 0,
        is_acked,
    };
    let lock = |acked: [bool; 2]| OrderLock {
        messages: vec![message(1, acked[0]), message(2, acked[1])],
        ..OrderLock::default()
    };
    assert_eq!(lock([false, false]).locked_until_ms(50), Some(102));
    assert_eq!(lock([false, true]).locked_until_ms(50), Some(101));
    assert_eq!(lock([true, true]).locked_until_ms(50), None);
    assert_eq!(lock([false, false]).locked_until_ms(102), None);
}
