//! Reading: the status table, limits, filters, time search, messages by physical offset.

use crate::testing::{
    LIMITS, append, append_to, append_waiting, bodies, body, number, open, read_once, settings,
    world,
};
use crate::{Boundary, FlushMode, GetStatus, ReadLimits, TailRead};
use base::{LogPosition, PhyOffset, QueueId, QueueOffset, ShardId};
use sim::Crash;

#[test]
fn the_status_of_a_read_is_that_of_java() {
    let (_world, host) = world(1);
    let (store, _) = open(&host, settings(FlushMode::Async));
    host.block_on(0, |_| async move {
        use GetStatus::{
            Found, NoMessageInQueue, OffsetOverflowBadly, OffsetOverflowOne, OffsetTooSmall,
        };
        for (from, status, next) in [(0, NoMessageInQueue, 0), (5, NoMessageInQueue, 0)] {
            let (result, _) = read_once(&store, "Empty", from, LIMITS).await;
            assert_eq!((result.status, result.next_offset.0), (status, next));
        }
        for i in 0..10 {
            append(&store, "T", &body(i, 64)).unwrap();
        }
        for (from, status, next) in [
            (0, Found, 10),
            (9, Found, 10),
            (10, OffsetOverflowOne, 10),
            (11, OffsetOverflowBadly, 10),
            (i64::MAX, OffsetOverflowBadly, 10),
            (-1, OffsetTooSmall, 0),
            (i64::MIN, OffsetTooSmall, 0),
        ] {
            let (result, _) = read_once(&store, "T", from, LIMITS).await;
            assert_eq!(
                (result.status, result.next_offset.0),
                (status, next),
                "from {from}"
            );
            assert_eq!((result.min.0, result.max.0), (0, 10));
        }
        let gone = store.queue("T", QueueId(0)).unwrap();
        store.delete_queue("T", QueueId(0)).unwrap();
        let read = store.read_tail(gone, QueueOffset(3), LIMITS, &mut |_| true, &mut Vec::new());
        let TailRead::Done(result) = read else {
            panic!("{read:?}")
        };
        assert_eq!(
            (result.status, result.next_offset.0),
            (GetStatus::NoMatchedLogicQueue, 0)
        );
    });
}

#[test]
fn limits_hold_and_one_message_is_always_given() {
    let (_world, host) = world(2);
    let (store, _) = open(&host, settings(FlushMode::Async));
    host.block_on(0, |_| async move {
        for i in 0..100 {
            append_to(&store, "T", QueueId(0), i as i64 % 2, &body(i, 100)).unwrap();
        }
        let len = crate::testing::message_len("T", &body(0, 100));
        for (count_max, bytes_max, expected) in [
            (7, 1 << 20, 7),
            (100, 3 * len, 3),
            (100, 3 * len - 1, 2),
            (100, 1, 1),
            (0, 0, 1),
        ] {
            let limits = ReadLimits {
                count_max,
                bytes_max,
                scan_max: 1_000,
            };
            let (result, out) = read_once(&store, "T", 0, limits).await;
            assert_eq!((result.count, bodies(&out).len()), (expected, expected));
            assert_eq!(result.next_offset.0, expected as i64);
        }
        let queue = store.queue("T", QueueId(0)).unwrap();
        let limits = ReadLimits {
            scan_max: 20,
            ..LIMITS
        };
        let mut out = Vec::new();
        let read = store.read_tail(queue, QueueOffset(0), limits, &mut |tag| tag == 1, &mut out);
        let TailRead::Done(result) = read else {
            panic!("{read:?}")
        };
        assert_eq!(
            (result.status, result.count, result.next_offset.0),
            (GetStatus::Found, 10, 20)
        );
        assert!(bodies(&out).iter().all(|body| number(body) % 2 == 1));
        let read = store.read_tail(queue, QueueOffset(0), limits, &mut |_| false, &mut out);
        let TailRead::Done(result) = read else {
            panic!("{read:?}")
        };
        assert_eq!(
            (result.status, result.next_offset.0),
            (GetStatus::NoMatchedMessage, 20)
        );
    });
}

#[test]
fn old_messages_are_not_in_memory_and_come_from_disk() {
    let (_world, host) = world(3);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move {
        for i in 0..1_500 {
            append_waiting(&store, if i % 3 == 0 { "T" } else { "U" }, &body(i, 120)).await;
        }
        let last = append_waiting(&store, "U", &body(0, 8)).await;
        store.wait_acknowledged(last.end).await.unwrap();
        let queue = store.queue("T", QueueId(0)).unwrap();
        let read = |from| {
            store.read_tail(
                queue,
                QueueOffset(from),
                LIMITS,
                &mut |_| true,
                &mut Vec::new(),
            )
        };
        assert_eq!(read(0), TailRead::NotInMemory);
        assert!(matches!(read(499), TailRead::Done(result) if result.count == 1));
        let mut next = 0;
        while next < 500 {
            let limits = ReadLimits {
                count_max: 32,
                ..LIMITS
            };
            let (result, out) = read_once(&store, "T", next, limits).await;
            for (i, body) in bodies(&out).iter().enumerate() {
                assert_eq!(number(body), (next as u64 + i as u64) * 3);
            }
            next = result.next_offset.0;
        }
        let reads = store.stats().cold_reads;
        assert!(reads < 100, "{reads} reads of the log for 500 messages");
        assert!(store.stats().tail_cache_bytes <= 36 << 10);
    });
}

#[test]
fn a_time_finds_the_first_or_last_message_around_it() {
    let (world, host) = world(4);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let mut times = Vec::new();
    for i in 0..700_u64 {
        let receipt = host.block_on(0, {
            let store = store.clone();
            move |_| async move { append_waiting(&store, "T", &body(i, 100)).await }
        });
        times.push(receipt.store_timestamp_ms);
        if i % 5 == 0 {
            world.run_for(std::time::Duration::from_millis(10));
        }
    }
    world.run_for(std::time::Duration::from_secs(1));
    host.block_on(0, |_| async move {
        let queue = store.queue("T", QueueId(0)).unwrap();
        let (first, last) = (times[0], *times.last().unwrap());
        for time in (first - 3..last + 4)
            .step_by(7)
            .chain([first, last, times[350]])
        {
            let lower = times.iter().position(|t| *t >= time).unwrap_or(700);
            let upper = times.iter().rposition(|t| *t <= time).unwrap_or(0);
            let found = store
                .offset_by_time(queue, time, Boundary::Lower)
                .await
                .unwrap();
            assert_eq!(found.0, lower as i64, "lower {}", time - first);
            let found = store
                .offset_by_time(queue, time, Boundary::Upper)
                .await
                .unwrap();
            assert_eq!(found.0, upper as i64, "upper {}", time - first);
        }
        let at = store
            .store_timestamp_at(queue, QueueOffset(350))
            .await
            .unwrap();
        assert_eq!(at, Some(times[350]));
        assert_eq!(
            store
                .store_timestamp_at(queue, QueueOffset(700))
                .await
                .unwrap(),
            None
        );
        let empty = store.queue_or_create("Empty", QueueId(0));
        let found = store
            .offset_by_time(empty, first, Boundary::Lower)
            .await
            .unwrap();
        assert_eq!(found, QueueOffset(0));
    });
}

#[test]
fn a_physical_offset_finds_its_message_and_nothing_else() {
    let (_world, host) = world(5);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move {
        let mut receipts = Vec::new();
        for i in 0..600 {
            let len = if i % 50 == 0 { 9_000 } else { 90 };
            receipts.push(append_waiting(&store, "T", &body(i, len)).await);
        }
        let unseen = append(&store, "T", &body(600, 90)).unwrap();
        assert_eq!(store.read_message(unseen.phy_offset).await.unwrap(), None);
        store.wait_acknowledged(unseen.end).await.unwrap();
        for (i, receipt) in receipts.iter().enumerate().step_by(7) {
            let message = store
                .read_message(receipt.phy_offset)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(message.len(), receipt.encoded_len);
            assert_eq!(number(&bodies(&message)[0]), i as u64);
            for off in [-1_i64, 1, 8] {
                let at = receipt.phy_offset.position().0.strict_add_signed(off);
                let at = PhyOffset::new(ShardId::new(0), LogPosition(at));
                assert_eq!(store.read_message(at).await.unwrap(), None);
            }
        }
        let beyond = PhyOffset::new(ShardId::new(0), LogPosition(1 << 50));
        assert_eq!(store.read_message(beyond).await.unwrap(), None);
        let other = PhyOffset::new(ShardId::new(1), receipts[0].phy_offset.position());
        assert_eq!(store.read_message(other).await.unwrap(), None);
    });
}

#[test]
fn a_small_message_after_an_oversized_one_is_found_by_its_physical_offset() {
    let (_world, host) = world(6);
    let settings = settings(FlushMode::Sync);
    let block_bytes = settings.block_bytes;
    let (store, _) = open(&host, settings.clone());
    let receipts = host.block_on(0, move |_| async move {
        // What the long one leaves of its last 512 bytes would hold the short one.
        let long = append(&store, "T", &body(0, 3 * block_bytes + 200)).unwrap();
        let short = append(&store, "T", &body(1, 16)).unwrap();
        store.wait_acknowledged(short.end).await.unwrap();
        [long, short]
    });
    host.crash(Crash::Power);
    let (store, _) = open(&host, settings);
    for receipt in receipts {
        let store = store.clone();
        let at = receipt.phy_offset;
        let found = host.block_on(0, move |_| async move { store.read_message(at).await });
        assert_eq!(
            found.unwrap().map(|unit| unit.len()),
            Some(receipt.encoded_len)
        );
    }
}

#[test]
fn a_time_after_the_clock_was_set_is_never_found_too_late() {
    const YEAR_MS: i64 = 365 * 24 * 3_600_000;
    for (jumps, seed) in [
        (&[-YEAR_MS][..], 1),
        (&[YEAR_MS, -YEAR_MS], 2),
        (&[YEAR_MS], 3),
    ] {
        let (world, host) = world(seed);
        let (store, _) = open(&host, settings(FlushMode::Sync));
        let mut times = Vec::new();
        for part in 0..=jumps.len() as u64 {
            for number in part * 50..part * 50 + 50 {
                let store = store.clone();
                times.push(host.block_on(0, move |_| async move {
                    let receipt = append_waiting(&store, "T", &body(number, 100)).await;
                    store.wait_acknowledged(receipt.end).await.unwrap();
                    receipt.store_timestamp_ms
                }));
                world.run_for(std::time::Duration::from_millis(100));
            }
            if let Some(by_ms) = jumps.get(part as usize) {
                host.jump_wall_clock(*by_ms);
            }
        }
        // Messages since the last change of the clock are in order of time.
        let since = jumps.len() * 50;
        let queue = store.queue("T", QueueId(0)).unwrap();
        for at in since..times.len() {
            let (time, store) = (times[at], store.clone());
            let found = host.block_on(0, move |_| async move {
                store
                    .offset_by_time(queue, time, crate::Boundary::Lower)
                    .await
                    .unwrap()
            });
            let first = times[since..]
                .iter()
                .position(|other| *other >= time)
                .unwrap()
                + since;
            assert!(found.0 as usize <= first, "{found:?} is behind {first}");
        }
    }
}
