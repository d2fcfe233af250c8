//! Bit rot: reported, stepped over, never delivered and never taken for a torn tail.

use crate::testing::LIMITS;
use crate::testing::{append_waiting, body, open, read_numbers, read_once, settings, world};
use crate::{Boundary, FlushMode, GetStatus, Settings};
use base::{QueueId, QueueOffset};
use sim::{Crash, Host, World};
use std::path::PathBuf;

const COUNT: u64 = 400;

/// A store with acknowledged messages, each in a block of its own, whose process was killed.
/// Gives the positions of the messages.
fn killed(seed: u64, settings: Settings) -> (World, Host, Vec<u64>) {
    let (world, host) = world(seed);
    let (store, _) = open(&host, settings);
    let positions = host.block_on(0, |_| async move {
        let mut positions = Vec::new();
        for i in 0..COUNT {
            let receipt = append_waiting(&store, "T", &body(i, 300)).await;
            store.wait_acknowledged(receipt.end).await.unwrap();
            positions.push(receipt.phy_offset.position().0);
        }
        positions
    });
    host.crash(Crash::Kill);
    (world, host, positions)
}

fn no_checkpoints() -> Settings {
    Settings {
        checkpoint_bytes: 1 << 40,
        ..settings(FlushMode::Sync)
    }
}

/// Damages more than the arithmetic of the block's checksum can put right.
fn rot(host: &Host, position: u64) {
    flip(host, position, 0x11);
    flip(host, position + 1, 0x08);
}

fn flip(host: &Host, position: u64, mask: u8) {
    let segment = position - position % (64 << 10);
    let path = PathBuf::from(format!("/store/shard-000/commitlog/{segment:020}"));
    assert!(
        host.rot(&path, position % (64 << 10), mask),
        "{} at {position}",
        path.display()
    );
}

#[test]
fn damage_below_the_durable_mark_is_reported_and_stepped_over() {
    for index in [0, 1, 57, 200, 398] {
        let (_world, host, positions) = killed(index, no_checkpoints());
        rot(&host, positions[index as usize] + 100);
        let (store, recovered) = open(&host, no_checkpoints());
        assert_eq!(recovered.report.quarantined.len(), 1, "message {index}");
        assert_eq!(recovered.report.lost_messages, 1);
        assert_eq!(recovered.report.erased_bytes, 0);
        let (result, numbers) = host.block_on(0, |_| async move {
            let only = crate::ReadLimits {
                scan_max: 1,
                ..LIMITS
            };
            let (result, _) = read_once(&store, "T", index as i64, only).await;
            (result, read_numbers(&store, "T", 0).await)
        });
        assert_eq!(result.status, GetStatus::MessageWasRemoving);
        assert_eq!(result.next_offset.0, index as i64 + 1);
        let expected: Vec<_> = (0..COUNT).filter(|n| *n != index).collect();
        assert_eq!(numbers, expected);
    }
}

#[test]
fn damage_is_still_known_after_more_messages_and_another_start() {
    let (_world, host, positions) = killed(3, no_checkpoints());
    rot(&host, positions[100] + 60);
    for round in 0..2 {
        let (store, _) = open(&host, settings(FlushMode::Sync));
        let numbers = host.block_on(0, |_| async move {
            append_waiting(&store, "T", &body(COUNT + round, 40)).await;
            store.close().await.unwrap();
            read_numbers(&store, "T", 0).await
        });
        assert_eq!(numbers.len() as u64, COUNT + round);
        assert!(!numbers.contains(&100));
        host.crash(Crash::Power);
    }
}

#[test]
fn a_block_that_rots_below_the_checkpoint_is_never_delivered() {
    let (_world, host, positions) = killed(4, settings(FlushMode::Sync));
    rot(&host, positions[20] + 200);
    let (store, recovered) = open(&host, settings(FlushMode::Sync));
    assert!(
        recovered.report.quarantined.is_empty(),
        "recovery does not read that far back"
    );
    let (numbers, damaged, message) = host.block_on(0, |_| async move {
        let numbers = read_numbers(&store, "T", 0).await;
        let at = base::PhyOffset::new(base::ShardId::new(0), base::LogPosition(positions[20]));
        (
            numbers,
            store.stats().damaged,
            store.read_message(at).await.unwrap(),
        )
    });
    assert_eq!(numbers, (0..COUNT).filter(|n| *n != 20).collect::<Vec<_>>());
    assert!(damaged > 0);
    assert_eq!(message, None);
}

#[test]
fn the_last_durable_block_is_damage_when_the_checkpoint_vouches_for_it() {
    let (_world, host, positions) = killed(5, no_checkpoints());
    let (store, _) = open(&host, no_checkpoints());
    host.block_on(0, |_| async move { store.close().await.unwrap() });
    host.crash(Crash::Power);
    rot(&host, *positions.last().unwrap() + 90);
    let (store, recovered) = open(&host, no_checkpoints());
    assert_eq!(recovered.report.erased_bytes, 0);
    let queue = store.queue("T", QueueId(0)).unwrap();
    assert_eq!(store.max_offset(queue).0, COUNT as i64);
    let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
    assert_eq!(numbers.len() as u64, COUNT - 1);
}

#[test]
fn a_damaged_segment_header_costs_nothing() {
    let (_world, host, positions) = killed(6, no_checkpoints());
    assert!(positions.last().unwrap() > &(128 << 10));
    for segment in [0, 64 << 10] {
        rot(&host, segment + 9);
    }
    let (store, recovered) = open(&host, no_checkpoints());
    assert!(recovered.report.quarantined.is_empty());
    let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn a_damaged_index_page_is_made_again_from_the_log() {
    let (_world, host, _) = killed(7, settings(FlushMode::Sync));
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move { store.close().await.unwrap() });
    host.crash(Crash::Power);
    assert!(host.rot(&PathBuf::from("/store/shard-000/index/00000000"), 900, 4));
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let (numbers, damaged) = host.block_on(0, |_| async move {
        (read_numbers(&store, "T", 0).await, store.stats().damaged)
    });
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    assert_eq!(damaged, 1);
}

#[test]
fn damaged_index_pages_of_a_queue_are_made_again_together_and_on_the_disk_too() {
    let settings = Settings {
        index_file_pages: 16_384,
        index_cache_bytes: 4_096,
        ..settings(FlushMode::Sync)
    };
    let (_world, host) = world(9);
    let (store, _) = open(&host, settings.clone());
    host.block_on(0, |_| async move {
        for i in 0..2_000 {
            append_waiting(&store, "T", &body(i, 20)).await;
            append_waiting(&store, "U", &body(i, 20)).await;
        }
        store.close().await.unwrap();
    });
    host.crash(Crash::Power);
    let index = PathBuf::from("/store/shard-000/index/00000000");
    let good = host.peek(&index).unwrap();
    let pages = good.len() as u64 / 4_096;
    assert!(pages >= 18, "{pages}");
    // The first, some in the middle, the last.
    for page in [0, 1, 5, 6, 7, 8, 9, 10, pages - 1] {
        assert!(host.rot(&index, page * 4_096 + 900, 4));
    }
    let (store, _) = open(&host, settings);
    let (read, damaged) = host.block_on(0, |_| async move {
        let read = [
            read_numbers(&store, "T", 0).await,
            read_numbers(&store, "U", 0).await,
        ];
        (read, store.stats().damaged)
    });
    let all: Vec<u64> = (0..2_000).collect();
    assert_eq!(read, [all.clone(), all]);
    assert_eq!(damaged, 9, "each is found once");
    assert!(
        host.peek(&index).unwrap() == good,
        "they are written back as they were"
    );
}

#[test]
fn a_missing_segment_in_the_middle_is_refused_by_name() {
    let (_world, host, _) = killed(8, no_checkpoints());
    host.block_on(0, |sim| async move {
        use rt::{Disk, Rt};
        let path = PathBuf::from(format!("/store/shard-000/commitlog/{:020}", 64 << 10));
        sim.disk().remove(&path).await.unwrap();
        let error = crate::ShardStore::open(sim, no_checkpoints())
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("00000000000000065536 is missing"),
            "{error}"
        );
    });
}

/// Store time of each message of queue 0, where it can be read.
async fn times(store: &crate::testing::Store, count: i64) -> Vec<Option<i64>> {
    let queue = store.queue("T", QueueId(0)).unwrap();
    let mut times = Vec::new();
    for offset in 0..count {
        let time = store.store_timestamp_at(queue, QueueOffset(offset));
        times.push(time.await.unwrap());
    }
    times
}

#[test]
fn a_time_is_found_beside_lost_messages_and_a_bound_is_never_too_late() {
    for (seed, lost) in [(1, 100..110), (2, 0..20), (3, 380..399), (4, 60..350)] {
        let (_world, host, positions) = killed(seed, no_checkpoints());
        for position in &positions[lost.clone()] {
            rot(&host, position + 100);
        }
        let (store, _) = open(&host, no_checkpoints());
        host.block_on(0, move |_| async move {
            let queue = store.queue("T", QueueId(0)).unwrap();
            let times = times(&store, COUNT as i64).await;
            let wanted: Vec<i64> = times.iter().flatten().copied().collect();
            for time in wanted.iter().step_by(17).flat_map(|time| [*time, time + 1]) {
                let lower = store.offset_by_time(queue, time, Boundary::Lower).await;
                let lower = lower.unwrap().0 as usize;
                let before = |at: usize| times[at].is_none_or(|other| other < time);
                assert!((0..lower).all(before), "{lost:?}: {lower} is too late");
                let after = (lower..times.len()).find(|at| times[*at].is_some());
                let exact = after.is_none_or(|at| !before(at));
                assert!(exact || lost.len() > 256, "{lost:?}: {lower} is too early");
            }
        });
    }
}
