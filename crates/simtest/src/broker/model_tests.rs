//! What the model accepts and what it objects to, by small histories.
//!
//! Owned by `model`. Each test is one property: a history without a fault passes, and the same
//! history with one thing wrong does not, so that no property is one that cannot fail.

use super::*;

const KEY: Key = Key {
    broker: 0,
    topic: Topic::Plain(0),
    queue: 2,
};

fn begin(model: &mut Model, delay_ms: u64) -> u64 {
    begin_over(model, 1, delay_ms)
}

fn begin_over(model: &mut Model, connection: u64, delay_ms: u64) -> u64 {
    model.begin_send(begun(connection, delay_ms, Ending::Plain))
}

fn begin_transaction(model: &mut Model, ending: Ending) -> u64 {
    model.begin_send(begun(1, 0, ending))
}

fn begun(connection: u64, delay_ms: u64, ending: Ending) -> Begun {
    Begun {
        key: KEY,
        producer: 1,
        connection,
        life: 1,
        at_ms: 5,
        delay_ms,
        ending,
    }
}

/// Whether the model objects to what `history` tells it.
fn objects(history: impl FnOnce(&mut Model)) -> bool {
    let mut model = Model::new(true, true);
    let told = std::panic::AssertUnwindSafe(|| history(&mut model));
    std::panic::catch_unwind(told).is_err()
}

#[test]
fn a_history_without_a_fault_is_accepted() {
    assert!(!objects(|model| {
        let (one, two) = (begin(model, 0), begin(model, 0));
        model.acknowledged(one, (2, 0), 7);
        model.seen(KEY, 1, two, 8); // sent, never answered
        model.check_dump(KEY, 2);
        model.check_all_came();
    }));
}

#[test]
fn a_transaction_that_comes_twice_never_or_without_commit_is_noticed() {
    let committed = |model: &mut Model, places: &[i64]| {
        let uid = begin_transaction(model, Ending::Commit);
        model.acknowledged(uid, (0, 17), 7);
        for offset in places {
            model.seen(KEY, *offset, uid, 8);
        }
        model.check_all_came();
    };
    assert!(!objects(|model| committed(model, &[3])));
    assert!(objects(|model| committed(model, &[])));
    assert!(objects(|model| committed(model, &[3, 4])));
    for (ending, given_up, is_seen, is_right) in [
        (Ending::Rollback, 0, false, true),
        (Ending::Rollback, 1, false, true),
        (Ending::Rollback, 0, true, false),
        (Ending::Unknown, 1, false, true),
        (Ending::Unknown, 0, false, false),
        (Ending::Unknown, 2, false, false),
        (Ending::Unknown, 0, true, false),
        (Ending::Commit, 1, false, true),
        (Ending::Commit, 1, true, false),
    ] {
        let ends = |model: &mut Model| {
            let uid = begin_transaction(model, ending);
            model.acknowledged(uid, (0, 17), 7);
            (0..given_up).for_each(|_| model.gave_up(uid));
            if is_seen {
                model.seen(KEY, 0, uid, 8);
            }
            model.check_all_came();
        };
        assert_eq!(!objects(ends), is_right, "{ending:?} {given_up} {is_seen}");
    }
}

#[test]
fn a_lost_a_moved_a_doubled_and_an_unknown_message_are_noticed() {
    let lost = |model: &mut Model| {
        let one = begin(model, 0);
        model.acknowledged(one, (2, 0), 7);
        model.recovered(KEY, 0);
    };
    let moved = |model: &mut Model| {
        let one = begin(model, 0);
        model.acknowledged(one, (2, 0), 7);
        model.seen(KEY, 1, one, 8);
    };
    let refused = |model: &mut Model| {
        let one = begin(model, 0);
        model.refused(one);
        model.seen(KEY, 0, one, 8);
    };
    assert!(objects(lost) && objects(moved) && objects(refused));
    assert!(objects(|model| model.seen(KEY, 0, 7, 8)));
}

#[test]
fn what_a_recovery_did_not_find_may_not_come_later() {
    assert!(objects(|model| {
        let one = begin(model, 0);
        model.settle(0, 2);
        model.seen(KEY, 0, one, 8);
    }));
}

#[test]
fn a_power_cut_may_take_only_what_is_young() {
    let history = |kept_until_ms| {
        objects(|model| {
            let one = begin(model, 0);
            model.acknowledged(one, (2, 0), 70);
            model.begin_recovery(0, Some(Loss { kept_until_ms }));
            model.recovered(KEY, 0);
        })
    };
    assert_eq!([60, 80].map(history), [false, true]);
}

#[test]
fn messages_of_one_producer_out_of_order_and_holes_are_noticed() {
    assert!(objects(|model| {
        let (one, two) = (begin(model, 0), begin(model, 0));
        model.seen(KEY, 0, two, 8);
        model.seen(KEY, 1, one, 8);
        model.check_dump(KEY, 2);
    }));
    assert!(objects(|model| model.check_dump(KEY, 1)));
}

#[test]
fn a_message_without_an_answer_may_come_after_those_of_the_next_connection() {
    let history = |is_answered: bool| {
        objects(|model| {
            let (one, two) = (begin(model, 0), begin_over(model, 2, 0));
            model.acknowledged(two, (2, 0), 8);
            if is_answered {
                model.acknowledged(one, (2, 1), 9);
            }
            model.seen(KEY, 1, one, 9);
            model.check_dump(KEY, 2);
        })
    };
    assert!(!history(false) && history(true));
}

#[test]
fn a_delayed_message_that_comes_early_twice_or_never_is_noticed() {
    assert!(objects(|model| {
        let one = begin(model, 100);
        model.seen(KEY, 0, one, 50);
    }));
    let coming = |times: i64| {
        objects(|model| {
            let one = begin(model, 100);
            model.acknowledged(one, (0, 3), 7);
            (0..times).for_each(|offset| model.seen(KEY, offset, one, 110));
            model.check_all_came();
        })
    };
    assert_eq!([0, 1, 2].map(coming), [true, false, true]);
}

#[test]
fn dead_letters_are_counted() {
    let history = |count| {
        objects(|model| {
            model.begin_dead(3, 0);
            model.done_dead(3, 0);
            model.begin_dead(3, 0);
            model.check_dead(3, 0, count);
        })
    };
    assert_eq!([0, 1, 2, 3].map(history), [true, false, false, true]);
}

#[test]
fn a_commit_that_goes_back_beyond_its_interval_is_noticed() {
    let history = |found| {
        objects(|model| {
            model.begin_commit(3, KEY, 9);
            model.committed(3, KEY, 100, 5);
            model.committed(3, KEY, 900, 9);
            model.crashed(0, 500);
            model.check_commit(3, KEY, 1_000, Some(found));
        })
    };
    assert_eq!([4, 5, 9, 10].map(history), [true, false, false, true]);
}

#[test]
fn a_copy_that_was_sent_back_may_outlive_its_message_and_nothing_else_may() {
    const RETRY: Key = Key {
        broker: 0,
        topic: Topic::Retry(0),
        queue: 0,
    };
    let history = |is_sent_back: bool, key: Key| {
        objects(|model| {
            let one = begin(model, 0);
            model.acknowledged(one, (2, 0), 70);
            if is_sent_back {
                model.begin_back(0, KEY, one, 75);
            }
            model.begin_recovery(0, Some(Loss { kept_until_ms: 0 }));
            model.recovered(KEY, 0);
            model.settle(0, 2);
            model.seen(key, 0, one, 80);
        })
    };
    assert!(!history(true, RETRY));
    assert!(history(true, KEY) && history(false, RETRY) && history(false, KEY));
}
