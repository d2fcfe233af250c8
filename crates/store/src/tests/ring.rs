//! The tail ring: under `ASYNC_FLUSH` whatever was appended survives a kill at any instant.

use crate::testing::{Store, append, append_waiting, body, open, read_numbers, settings, world};
use crate::{AppendError, FlushMode, RecordKind, Settings, ShardStore};
use rt::SharedMap;
use sim::{Crash, DiskOp, Fault, Host, Rng, Rule};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const RING: &str = "/store/shard-000/tail-ring";

fn numbers_of(host: &Host, settings: Settings) -> (Vec<u64>, u64) {
    let (store, recovered) = open(host, settings);
    let ring_bytes = recovered.report.ring_bytes;
    let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
    (numbers, ring_bytes)
}

/// Appends until the host is killed. Everything whose append returned is in `appended`.
fn live_until_killed(
    host: &Host,
    settings: Settings,
    rng: &mut Rng,
    appended: &Rc<RefCell<Vec<u64>>>,
) {
    let lens: Vec<_> = (0..400).map(|_| rng.skewed(8, 20_000) as usize).collect();
    let pauses: Vec<_> = (0..400).map(|_| rng.below(6)).collect();
    let life = host.lives();
    let opened = host.try_block_on(0, |sim| ShardStore::open(sim, settings));
    let Ok(Ok((store, _))) = opened else { return };
    if host.lives() > life {
        return; // it was killed in the moment in which it was open
    }
    let appended = Rc::clone(appended);
    let killed = host.try_block_on(0, |sim| async move {
        for (len, pause) in lens.into_iter().zip(pauses) {
            let number = appended.borrow().len() as u64;
            append_waiting(&store, "T", &body(number, len)).await;
            appended.borrow_mut().push(number);
            if pause == 0 {
                rt::Rt::sleep(&sim, Duration::from_micros(700)).await;
            } else if pause == 1 {
                rt::Rt::yield_now(&sim).await;
            }
        }
    });
    if killed.is_ok() {
        host.crash(Crash::Kill);
    }
}

#[test]
fn what_was_appended_asynchronously_survives_a_kill_at_any_await() {
    let mut replayed = 0;
    for seed in 0..150_u64 {
        let mut rng = Rng::for_subject(seed, "ring");
        let (_world, host) = world(seed);
        let appended = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..4 {
            if !rng.one_in(5) {
                host.crash_after(rng.skewed(1, 3_000), Crash::Kill);
            }
            live_until_killed(&host, settings(FlushMode::Async), &mut rng, &appended);
            host.spare();
            // A kill or a power cut in the middle of recovery must not matter either: what is not
            // in the log is still in the ring.
            while rng.one_in(3) {
                host.crash_after(rng.below(80), Crash::Kill);
                let again = settings(FlushMode::Async);
                let opened = host.try_block_on(0, |sim| ShardStore::open(sim, again));
                if opened.is_ok() && host.spare() {
                    host.crash(Crash::Kill);
                }
            }
            let mode = if rng.one_in(4) {
                FlushMode::Sync
            } else {
                FlushMode::Async
            };
            let (found, ring_bytes) = numbers_of(&host, settings(mode));
            assert_eq!(found, *appended.borrow(), "seed {seed}");
            replayed += u64::from(ring_bytes > 0);
            host.crash(Crash::Kill);
        }
    }
    assert!(replayed > 150, "{replayed} lives left anything to the ring");
}

#[test]
fn records_of_one_moment_are_in_the_ring_when_it_is_over_and_a_kill_in_it_leaves_the_first_of_them()
{
    for stores in 0..60 {
        let (_world, host) = world(stores);
        let (store, _) = open(&host, settings(FlushMode::Async));
        append(&store, "T", &body(0, 100)).unwrap();
        let is_killed_inside = stores < 40;
        if is_killed_inside {
            host.limit_stores(stores);
        }
        let moment = store.one_moment();
        for number in 1..60 {
            append(&store, "T", &body(number, 100 + 20 * number as usize)).unwrap();
        }
        drop(moment);
        host.crash(Crash::Kill);
        let (found, _) = numbers_of(&host, settings(FlushMode::Async));
        let all: Vec<_> = (0..60).collect();
        assert_eq!(found[..], all[..found.len()], "{stores}");
        if is_killed_inside {
            assert!(!found.is_empty(), "{stores}");
        } else {
            assert_eq!(found.len(), 60, "{stores}");
        }
    }
}

#[test]
fn a_kill_between_two_stores_of_an_append_leaves_the_record_whole_or_away() {
    for before in [0, 1, 30] {
        let mut whole = 0;
        for stores in 0..8 {
            let (_world, host) = world(stores);
            let (store, _) = open(&host, settings(FlushMode::Async));
            for number in 0..before {
                append(&store, "T", &body(number, 100)).unwrap();
            }
            host.limit_stores(stores);
            append(&store, "T", &body(before, 100)).unwrap();
            append(&store, "T", &body(before + 1, 9_000)).unwrap();
            host.crash(Crash::Kill);
            let (found, _) = numbers_of(&host, settings(FlushMode::Async));
            let all: Vec<_> = (0..before + 2).collect();
            assert!(found.len() as u64 >= before, "{before} {stores}: {found:?}");
            assert_eq!(found[..], all[..found.len()], "{before} {stores}");
            whole += found.len() as u64 - before;
        }
        assert!(whole > 2, "the last stores are those that count");
    }
}

#[test]
fn long_records_metadata_and_segment_ends_are_replayed_where_they_were() {
    let (_world, host) = world(5);
    let (store, _) = open(&host, settings(FlushMode::Async));
    // Nothing reaches the log: its writes take an hour.
    host.add_fault(Rule::always(
        DiskOp::Write,
        "commitlog",
        Fault::StallMs(3_600_000),
    ));
    let mut ends = Vec::new();
    for number in 0..4_u64 {
        let len = [31_000, 300, 32_000, 3_000][number as usize];
        ends.push(append(&store, "T", &body(number, len)).unwrap());
    }
    let last = store.append_record(RecordKind(9), b"metadata").unwrap();
    assert!(
        last.0 > 65_536,
        "the log went on in another segment: {last:?}"
    );
    host.crash(Crash::Kill);
    host.clear_faults();
    let (store, recovered) = open(&host, settings(FlushMode::Async));
    assert_eq!(recovered.records, [(RecordKind(9), b"metadata".to_vec())]);
    assert!(recovered.report.end >= last && recovered.report.ring_bytes > 50_000);
    host.block_on(0, |_| async move {
        assert_eq!(read_numbers(&store, "T", 0).await, [0, 1, 2, 3]);
        for receipt in ends {
            let message = store.read_message(receipt.phy_offset).await.unwrap();
            assert_eq!(message.unwrap().len(), receipt.encoded_len);
        }
    });
    // It is in the log now: a power cut and a missing ring change nothing.
    host.crash(Crash::Power);
    let (found, ring_bytes) = numbers_of(&host, settings(FlushMode::Sync));
    assert_eq!((found.as_slice(), ring_bytes), ([0, 1, 2, 3].as_slice(), 0));
}

#[test]
fn a_full_ring_holds_producers_back_and_loses_nothing() {
    let (world, host) = world(6);
    let settings = Settings {
        unflushed_bytes_max: 1 << 20,
        ..settings(FlushMode::Async)
    };
    let (store, _) = open(&host, settings.clone());
    let stall = Fault::StallMs(30_000);
    host.add_fault(Rule::always(DiskOp::Write, "commitlog", stall));
    let mut accepted = 0;
    let refusal = loop {
        match append(&store, "T", &body(accepted, 900)) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refusal, AppendError::Busy { max, .. } if max < 200 << 10),
        "{refusal}"
    );
    assert!(!store.has_room() && accepted > 60);
    host.clear_faults();
    let (store2, settings2) = (store.clone(), settings.clone());
    host.block_on(0, |_| async move {
        for number in accepted..accepted + 200 {
            append_waiting(&store2, "T", &body(number, 900)).await;
        }
    });
    world.run_for(Duration::from_micros(1));
    host.crash(Crash::Kill);
    drop(store);
    let (found, _) = numbers_of(&host, settings2);
    assert_eq!(found, (0..accepted + 200).collect::<Vec<_>>());
}

/// One life that appends so many, and nothing of the last ones is in the log when it is killed.
fn killed_life(host: &Host, settings: Settings, from: u64, count: u64) {
    let (store, _) = open(host, settings);
    host.add_fault(Rule::always(
        DiskOp::Write,
        "commitlog",
        Fault::StallMs(3_600_000),
    ));
    for number in from..from + count {
        append(&store, "T", &body(number, 200)).unwrap();
    }
    host.crash(Crash::Kill);
    host.clear_faults();
}

#[test]
fn the_ring_may_change_its_length_and_the_mode_may_change_between_lives() {
    let (_world, host) = world(7);
    let of = |flush, block_bytes, ring| Settings {
        block_bytes,
        tail_ring_bytes: ring,
        ..settings(flush)
    };
    let lives = [
        of(FlushMode::Async, 4 << 10, 128 << 10),
        of(FlushMode::Async, 4 << 10, 512 << 10),
        of(FlushMode::Async, 8 << 10, 64 << 10),
        of(FlushMode::Async, 2 << 10, 256 << 10),
    ];
    let mut count = 0;
    for life in lives {
        killed_life(&host, life, count, 20);
        count += 20;
        if count % 40 == 0 {
            let (found, ring_bytes) = numbers_of(&host, settings(FlushMode::Sync));
            assert_eq!(found, (0..count).collect::<Vec<_>>());
            assert!(ring_bytes > 0 && host.peek(Path::new(RING)).is_none());
            host.crash(Crash::Kill);
        }
    }
}

#[test]
fn a_ring_that_is_missing_or_damaged_costs_its_records_and_the_store_opens() {
    for damage in [None, Some(3), Some(20), Some(4_096 + 20), Some(4_096 + 100)] {
        let (_world, host) = world(8);
        let first = Settings {
            block_bytes: 8 << 10,
            ..settings(FlushMode::Async)
        };
        let (store, _) = open(&host, first.clone());
        host.block_on(0, |_| async move {
            append_waiting(&store, "T", &body(0, 100)).await;
            store.close().await.unwrap();
        });
        host.crash(Crash::Kill);
        killed_life(&host, first.clone(), 1, 10);
        let path = Path::new(RING);
        host.block_on(0, move |sim| async move {
            let disk = rt::Rt::disk(&sim).clone();
            match damage {
                None => rt::Disk::remove(&disk, path).await.unwrap(),
                Some(at) => {
                    let len = rt::Disk::read_small(&disk, path, 1 << 30)
                        .await
                        .unwrap()
                        .len();
                    let map = rt::Disk::map_shared(&disk, path, len).await.unwrap();
                    let byte = map.load(at, 1)[0];
                    map.store(at, &[!byte]);
                }
            }
        });
        let (store, recovered) = open(&host, first.clone());
        assert_eq!(recovered.report.ring_bytes, 0, "{damage:?}");
        assert_eq!(
            recovered.report.is_ring_damaged,
            damage.is_some_and(|at| at < 4_096)
        );
        host.block_on(0, |_| async move {
            append_waiting(&store, "T", &body(50, 100)).await;
            assert_eq!(read_numbers(&store, "T", 0).await, [0, 50]);
        });
    }
}

#[test]
fn what_a_power_cut_made_the_log_give_up_never_comes_back_from_the_ring() {
    for seed in 0..60 {
        let (_world, host) = world(seed);
        killed_life(&host, settings(FlushMode::Async), 0, 5);
        let (store, _) = open(&host, settings(FlushMode::Async));
        for number in 5..40 {
            append(&store, "T", &body(number, 300)).unwrap();
        }
        drop(store);
        host.crash(Crash::Power);
        let (kept, _) = numbers_of(&host, settings(FlushMode::Async));
        assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>());
        host.crash(Crash::Power);
        // The next life writes other records of the same lengths at the same places.
        let (store, _) = open(&host, settings(FlushMode::Sync));
        let first = kept.len() as u64;
        let store2: Store = store.clone();
        host.block_on(0, |_| async move {
            for number in 0..7 {
                let end = append(&store2, "T", &body(1_000 + number, 300))
                    .unwrap()
                    .end;
                store2.wait_acknowledged(end).await.unwrap();
            }
        });
        host.crash(Crash::Power);
        let (found, _) = numbers_of(&host, settings(FlushMode::Async));
        let expected: Vec<_> = (0..first).chain(1_000..1_007).collect();
        assert_eq!(found, expected, "seed {seed}");
    }
}

#[test]
fn synchronous_shards_have_no_ring_and_a_full_disk_makes_one_synchronous() {
    let (_world, host) = world(9);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    assert!(host.peek(Path::new(RING)).is_none());
    host.block_on(0, |_| async move { store.close().await.unwrap() });
    host.crash(Crash::Kill);
    let used: u64 = host.files().iter().map(|file| file.1).sum();
    host.shape_disk(|shape| shape.capacity = used + (8 << 10));
    let (store, _) = open(&host, settings(FlushMode::Async));
    let receipt = append(&store, "T", &body(0, 64)).unwrap();
    assert!(
        store.acknowledged() < receipt.end,
        "acknowledged before it is durable"
    );
    host.block_on(0, |_| async move {
        store.wait_acknowledged(receipt.end).await.unwrap();
        assert!(store.durable() >= receipt.end);
    });
}
