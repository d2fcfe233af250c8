//! A failed write or sync, wherever it strikes: the shard is fenced, and nothing is promised that
//! the disk did not take.

use crate::testing::{Store, append, body, open, read_numbers, settings, world};
use crate::{FlushMode, ShardStore};
use base::LogPosition;
use sim::{Crash, DiskOp, Fault, Host, Rule, World};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const MESSAGES: u64 = 60;
/// Longest time of one operation of the simulated disk, in microseconds.
const DISK_US: u64 = 5_000;

struct Run {
    world: World,
    host: Host,
    store: Store,
    /// How many messages were appended, and how many of them acknowledged.
    appended: Rc<Cell<u64>>,
    acknowledged: Rc<Cell<u64>>,
}

/// Appends, some of it one by one and some in heaps, with operation `nth` failing; `None` when the
/// store did not open, with a sentence.
fn run(mode: FlushMode, op: DiskOp, fault: Fault, nth: u64) -> Option<Run> {
    let (world, host) = world(nth);
    host.shape_disk(|shape| {
        shape.transfer_us = (20, 100);
        shape.sync_us = (100, DISK_US);
        shape.slow_one_in = 0;
    });
    host.add_fault(Rule::nth(op, "", nth, fault));
    let opened = host.block_on(0, |sim| async move {
        ShardStore::open(sim, settings(mode)).await
    });
    let store = match opened {
        Ok((store, _)) => store,
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("/store"), "{text}");
            return None;
        }
    };
    let (appended, acknowledged) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let run = Run {
        world,
        host,
        store,
        appended,
        acknowledged,
    };
    run.produce();
    Some(run)
}

impl Run {
    fn produce(&self) {
        let store = self.store.clone();
        let (appended, acknowledged) = (Rc::clone(&self.appended), Rc::clone(&self.acknowledged));
        self.host.block_on(0, |_| async move {
            for number in 0..MESSAGES {
                store.wait_room().await;
                let Ok(receipt) = append(&store, "T", &body(number, 900)) else {
                    return;
                };
                appended.set(number + 1);
                let waits = number % 5 == 4;
                if waits && store.wait_acknowledged(receipt.end).await.is_err() {
                    return;
                }
                if store.acknowledged() >= receipt.end {
                    acknowledged.set(number + 1);
                }
            }
        });
    }
}

fn check(mode: FlushMode, op: DiskOp, fault: Fault, nth: u64) -> bool {
    let Some(run) = run(mode, op, fault, nth) else {
        return true;
    };
    let case = format!("{mode:?} {op:?} {fault:?} {nth}");
    let (world, host, store) = (run.world, run.host, run.store);
    // The rest of a heap is still on its way.
    let mut waited = 0;
    while host.faults_struck() > 0 && store.fenced().is_none() {
        world.run_for(Duration::from_micros(100));
        waited += 100;
        assert!(waited <= DISK_US + 10_000, "{case}: fenced within 10 ms");
    }
    let Some(reason) = store.fenced() else {
        return false;
    };
    assert!(reason.to_string().contains("/store/shard-000"), "{reason}");
    let durable = store.durable();
    // Nothing is written or synced any more, once what was under way is back.
    world.run_for(Duration::from_micros(2 * DISK_US));
    host.clear_faults();
    for op in [DiskOp::Write, DiskOp::Sync] {
        host.add_fault(Rule::always(op, "commitlog", Fault::StallMs(1)));
    }
    let struck = host.faults_struck();
    assert!(append(&store, "T", b"more").is_err(), "{case}");
    assert!(
        store.has_room(),
        "{case}: producers are told, not held back"
    );
    world.run_for(Duration::from_secs(5));
    assert_eq!(host.faults_struck(), struck, "{case}: no retry");
    assert_eq!(store.durable(), durable, "{case}");
    if mode == FlushMode::Sync {
        assert_eq!(store.acknowledged(), durable);
    }
    let (appended, acknowledged) = (run.appended.get(), run.acknowledged.get());
    let seen = host.block_on(0, {
        let store = store.clone();
        move |_| async move { read_numbers(&store, "T", 0).await }
    });
    // Under ASYNC_FLUSH an append is its own acknowledgement, and consumers keep seeing it.
    assert!(seen.len() as u64 >= acknowledged, "{case}: reads go on");
    assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>(), "{case}");
    host.block_on(
        0,
        move |_| async move { assert!(store.close().await.is_err()) },
    );
    host.crash(Crash::Power);
    host.clear_faults();
    let (store, _) = open(&host, settings(mode));
    let after = host.block_on(
        0,
        move |_| async move { read_numbers(&store, "T", 0).await },
    );
    assert_eq!(after, (0..after.len() as u64).collect::<Vec<_>>(), "{case}");
    assert!(after.len() as u64 <= appended, "{case}");
    if mode == FlushMode::Sync {
        assert!(after.len() >= seen.len(), "{case}: what was seen is there");
    }
    true
}

/// Fails operation 0, 1, 2 and so on, until a run is over before its turn comes.
fn sweep(mode: FlushMode, op: DiskOp, fault: Fault) {
    let struck = (0..1_000).take_while(|nth| check(mode, op, fault, *nth));
    let count = struck.count();
    assert!(
        (10..1_000).contains(&count),
        "{mode:?} {op:?}: {count} cases"
    );
}

#[test]
fn whichever_write_fails_the_shard_is_fenced_and_no_promise_is_broken() {
    for mode in [FlushMode::Sync, FlushMode::Async] {
        sweep(mode, DiskOp::Write, Fault::Eio);
        sweep(mode, DiskOp::Write, Fault::Short);
    }
}

#[test]
fn whichever_sync_fails_the_shard_is_fenced_and_it_is_not_tried_again() {
    for mode in [FlushMode::Sync, FlushMode::Async] {
        sweep(mode, DiskOp::Sync, Fault::Eio);
    }
}

#[test]
fn under_asynchronous_flush_consumers_keep_what_they_saw_before_the_fence() {
    let (world, host) = world(1);
    let (store, _) = open(&host, settings(FlushMode::Async));
    host.add_fault(Rule::always(DiskOp::Write, "commitlog/", Fault::Eio));
    let end = append(&store, "T", &body(0, 100)).unwrap().end;
    assert!(store.acknowledged() >= end && store.durable() < end);
    world.run_for(Duration::from_secs(1));
    assert!(store.fenced().is_some());
    assert_eq!(store.stats().fenced, 1);
    let seen = host.block_on(
        0,
        move |_| async move { read_numbers(&store, "T", 0).await },
    );
    assert_eq!(seen, [0]);
    assert!(end > LogPosition(0));
}

#[test]
fn a_disk_that_stands_still_is_noticed_and_so_is_its_return() {
    let (world, host) = world(2);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    // What is prepared after the start is synced by then.
    world.run_for(Duration::from_secs(1));
    let stall = Fault::StallMs(20_000);
    host.add_fault(Rule::nth(DiskOp::Sync, "commitlog", 0, stall));
    let end = append(&store, "T", &body(0, 100)).unwrap().end;
    world.run_for(Duration::from_millis(900));
    assert!(!store.is_stalled());
    // The write before the sync may have taken its time too.
    world.run_for(Duration::from_millis(500));
    assert!(store.is_stalled() && store.stats().stalled == 1);
    // What fits is taken, what does not is refused, and nobody is held back.
    let mut number = 1;
    let refusal = loop {
        match append(&store, "T", &body(number, 900)) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(
        refusal.to_string().contains("has not answered"),
        "{refusal}"
    );
    assert!(store.has_room() && store.acknowledged() < end);
    let stats = store.stats();
    assert!(
        stats.appended - stats.durable <= 256 << 10,
        "memory is bounded"
    );
    world.run_for(Duration::from_secs(20));
    assert!(!store.is_stalled() && store.stats().stalls == 1);
    let seen = host.block_on(0, move |_| async move {
        store.wait_room().await;
        let end = append(&store, "T", &body(number, 900)).unwrap().end;
        store.wait_acknowledged(end).await.unwrap();
        read_numbers(&store, "T", 0).await
    });
    assert_eq!(seen, (0..=number).collect::<Vec<_>>());
}
