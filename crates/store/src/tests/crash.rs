//! Crashes at any moment: what was acknowledged stays, what was given up stays away.

use crate::testing::{append, body, number, open, read_numbers, settings, world};
use crate::{FlushMode, ScanStart, Settings};
use base::LogPosition;
use rt::{Disk, File, IoBuf, OpenMode, Rt};
use sim::{Crash, DiskOp, Fault, Host, Rng, Rule, World};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// What one life promised: numbers appended and how many of them were acknowledged.
#[derive(Default)]
struct Promise {
    appended: Vec<u64>,
    ends: Vec<LogPosition>,
    acknowledged: usize,
}

fn promise_more(promise: &RefCell<Promise>, number: u64, end: LogPosition, durable: LogPosition) {
    promise.borrow_mut().appended.push(number);
    promise.borrow_mut().ends.push(end);
    note_durable(promise, durable);
}

fn note_durable(promise: &RefCell<Promise>, durable: LogPosition) {
    let mut promise = promise.borrow_mut();
    promise.acknowledged = promise.ends.partition_point(|end| *end <= durable);
}

/// Appends until the host crashes, numbering on from `first`.
fn live(world: &World, host: &Host, settings: Settings, rng: &mut Rng, first: u64) -> Promise {
    let promise = Rc::new(RefCell::new(Promise::default()));
    let opened = host.try_block_on(0, |sim| crate::ShardStore::open(sim, settings));
    let Ok(opened) = opened else {
        return Promise::default();
    };
    let (store, _) = opened.expect("the disk works");
    let lens: Vec<_> = (0..200).map(|_| rng.skewed(8, 6_000) as usize).collect();
    let pauses: Vec<_> = (0..200).map(|_| rng.one_in(4)).collect();
    let shared = Rc::clone(&promise);
    let appended = host.try_block_on(0, |_| async move {
        for (i, len) in lens.into_iter().enumerate() {
            store.wait_room().await;
            let number = first + i as u64;
            let receipt = append(&store, "T", &body(number, len)).expect("there is room");
            promise_more(&shared, number, receipt.end, store.durable());
            if pauses[i] {
                store
                    .wait_acknowledged(receipt.end)
                    .await
                    .expect("the disk works");
                note_durable(&shared, store.durable());
            }
        }
    });
    if appended.is_ok() {
        world.run_for(Duration::from_micros(rng.below(3_000)));
        host.crash(Crash::Power);
    }
    promise.take()
}

#[test]
fn a_durable_message_survives_every_crash_and_a_lost_one_stays_lost() {
    for seed in 0..120_u64 {
        let mut rng = Rng::for_subject(seed, "test");
        let (world, host) = world(seed);
        let mode = if rng.coin() {
            FlushMode::Sync
        } else {
            FlushMode::Async
        };
        // What is known to be there, and what may be.
        let mut known: Vec<u64> = Vec::new();
        let mut next = 0;
        for _ in 0..4 {
            if rng.coin() {
                host.crash_after(rng.below(3_000), Crash::Power);
            }
            let promise = live(&world, &host, settings(mode), &mut rng, next);
            next += 1_000;
            host.spare();
            // A crash in the middle of recovery must not matter either.
            while rng.one_in(3) {
                host.crash_after(rng.below(60), Crash::Power);
                let opened =
                    host.try_block_on(0, |sim| crate::ShardStore::open(sim, settings(mode)));
                if opened.is_ok() && host.spare() {
                    host.crash(Crash::Power);
                }
            }
            let (store, recovered) = open(&host, settings(mode));
            assert!(
                recovered.report.quarantined.is_empty(),
                "seed {seed}: {recovered:?}"
            );
            let found = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
            let mut expected = known.clone();
            expected.extend(&promise.appended);
            let least = known.len() + promise.acknowledged;
            assert!(
                found.len() >= least,
                "seed {seed}: {} of {least}",
                found.len()
            );
            assert_eq!(found[..], expected[..found.len()], "seed {seed}");
            known = found;
            host.crash(Crash::Power);
        }
    }
}

#[test]
fn recovery_twice_gives_the_same() {
    for seed in 0..20 {
        let mut rng = Rng::for_subject(seed, "twice");
        let (world, host) = world(seed);
        live(&world, &host, settings(FlushMode::Sync), &mut rng, 0);
        let (first, one) = open(&host, settings(FlushMode::Sync));
        drop(first);
        host.crash(Crash::Power);
        let (_store, two) = open(&host, settings(FlushMode::Sync));
        assert_eq!(one.report.end, two.report.end, "seed {seed}");
        assert_eq!(two.report.erased_bytes, 0, "seed {seed}");
        assert_eq!(one.report.messages, two.report.messages, "seed {seed}");
    }
}

#[test]
fn without_checkpoints_the_whole_log_is_read() {
    let (_world, host) = world(7);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move {
        for i in 0..900 {
            crate::testing::append_waiting(&store, "T", &body(i, 150)).await;
        }
        store.close().await.unwrap();
    });
    host.crash(Crash::Kill);
    for (path, len, _) in host.files() {
        if path.to_string_lossy().contains("checkpoint") {
            assert!(host.rot(&path, len / 2, 1));
        }
    }
    let (store, recovered) = open(&host, settings(FlushMode::Sync));
    assert_eq!(
        recovered.report.start,
        ScanStart::WholeLog { damaged: true }
    );
    assert_eq!(recovered.report.messages, 900);
    let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
    assert_eq!(numbers, (0..900).collect::<Vec<_>>());
    assert_eq!(number(&body(3, 8)), 3);
}

#[test]
fn a_block_beyond_a_hole_is_erased_and_never_comes_back() {
    let (world, host) = world(8);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let store = host.block_on(0, |_| async move {
        let end = append(&store, "T", &body(0, 64)).unwrap().end;
        store.wait_acknowledged(end).await.unwrap();
        store
    });
    // The next block never reaches the disk, the one after it does, and no sync completes.
    host.add_fault(Rule::nth(DiskOp::Write, "commitlog", 0, Fault::Lost));
    host.add_fault(Rule::always(
        DiskOp::Sync,
        "commitlog",
        Fault::StallMs(60_000),
    ));
    for number in [1, 2] {
        append(&store, "T", &body(number, 2_000)).unwrap();
        world.run_for(Duration::from_secs(2));
    }
    let stats = store.stats();
    assert!(stats.written >= stats.appended && stats.durable < stats.appended);
    host.clear_faults();
    host.crash(Crash::Kill);

    let (store, recovered) = open(&host, settings(FlushMode::Sync));
    assert!(recovered.report.quarantined.is_empty() && recovered.report.erased_bytes > 2_000);
    host.block_on(0, |_| async move {
        let end = append(&store, "T", &body(3, 2_000)).unwrap().end;
        store.wait_acknowledged(end).await.unwrap();
    });
    host.crash(Crash::Power);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
    assert_eq!(numbers, [0, 3]);
}

#[test]
fn blocks_of_an_older_generation_of_a_segment_do_not_count() {
    let (_world, host) = world(9);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move {
        let end = append(&store, "T", &body(0, 2_000)).unwrap().end;
        store.wait_acknowledged(end).await.unwrap();
    });
    host.crash(Crash::Power);
    // The segment is used again: it has a new header, and old blocks behind it.
    host.block_on(0, |sim| async move {
        let path = Path::new("/store/shard-000/commitlog").join(crate::layout::segment_name(0));
        let file = sim.disk().open(&path, OpenMode::ReadWrite).await.unwrap();
        let mut header =
            crate::segment::SegmentHeader::decode(&file.read_at(0, 512).await.unwrap());
        let header = header.as_mut().unwrap();
        header.generation += 50;
        let mut buf = sim.disk().alloc(512);
        header.encode(buf.as_bytes_mut());
        file.write_at(Rc::new(buf), 0).await.unwrap();
        file.datasync().await.unwrap();
    });
    let (store, recovered) = open(&host, settings(FlushMode::Sync));
    assert_eq!((recovered.report.messages, recovered.report.blocks), (0, 0));
    assert!(store.queues_present().is_empty());
    assert_eq!(recovered.report.end, LogPosition(512));
}

#[test]
fn names_of_a_start_that_was_killed_are_durable_after_the_next_one() {
    // One segment only: making another would sync the name of the first.
    let settings = Settings {
        segment_bytes: 4 << 20,
        ..settings(FlushMode::Sync)
    };
    for case in 0..400 {
        let (_world, host) = world(case);
        let polls = case % 100;
        host.crash_after(polls, Crash::Kill);
        let started = settings.clone();
        let first = host.try_block_on(0, |sim| crate::ShardStore::open(sim, started));
        if host.spare() {
            drop(first);
            host.crash(Crash::Kill);
        }
        let (store, _) = open(&host, settings.clone());
        host.block_on(0, |_| async move {
            let end = append(&store, "T", &body(1, 100)).unwrap().end;
            store.wait_acknowledged(end).await.unwrap();
        });
        host.crash(Crash::Power);
        let (store, _) = open(&host, settings.clone());
        let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
        assert_eq!(numbers, [1], "killed after {polls} polls, seed {case}");
    }
}
