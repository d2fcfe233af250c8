//! A shard's directory that is not as it was left: refused in words and unchanged, or opened with
//! all that is there.

use crate::testing::{append_waiting, body, open, read_numbers, settings, world};
use crate::{FlushMode, ScanStart, Settings, ShardStore};
use rt::{Disk, File, OpenMode, Rt};
use sim::{Crash, Host, Sim, World};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const COUNT: u64 = 700;
/// Of [`settings`].
const SEGMENT: u64 = 64 << 10;

/// A store of some segments that was closed in order, so that its checkpoint knows all.
fn closed(seed: u64) -> (World, Host, u64) {
    let (world, host) = world(seed);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let end = host.block_on(0, |_| async move {
        let mut end = 0;
        for i in 0..COUNT {
            let receipt = append_waiting(&store, "T", &body(i, 300)).await;
            end = receipt.end.0;
        }
        store.close().await.unwrap();
        end
    });
    host.crash(Crash::Power);
    assert!(end > 3 * SEGMENT, "{end}");
    (world, host, end)
}

fn segment(number: u64) -> PathBuf {
    let name = crate::layout::segment_name(number * SEGMENT);
    Path::new("/store/shard-000/commitlog").join(name)
}

fn checkpoint(slot: u8) -> PathBuf {
    PathBuf::from(format!("/store/shard-000/checkpoint-{slot}"))
}

fn on_disk<F: Future<Output = ()> + 'static>(host: &Host, change: impl FnOnce(Sim) -> F + 'static) {
    host.block_on(0, change);
}

fn remove(host: &Host, path: PathBuf) {
    on_disk(host, |sim| async move {
        sim.disk().remove(&path).await.unwrap();
    });
}

fn cut(host: &Host, path: PathBuf, len: u64) {
    on_disk(host, move |sim| async move {
        let file = sim.disk().open(&path, OpenMode::ReadWrite).await.unwrap();
        file.truncate(len).await.unwrap();
        file.datasync().await.unwrap();
    });
}

fn contents(host: &Host) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let paths = host.files().into_iter().map(|(path, ..)| path);
    paths.map(|path| (path.clone(), host.peek(&path))).collect()
}

/// The store is refused with these words, and no file has changed.
fn check_refused(host: &Host, expected: &[&str]) {
    let before = contents(host);
    let error = host.block_on(0, |sim| async move {
        let opened = ShardStore::open(sim, settings(FlushMode::Sync)).await;
        opened.map(drop).expect_err("it is refused").to_string()
    });
    for part in expected {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(contents(host) == before, "files changed: {error}");
}

/// The store opens; the numbers that can be read, and how many are reported as lost.
fn reopened(host: &Host) -> (Vec<u64>, u64, ScanStart) {
    let (store, recovered) = open(host, settings(FlushMode::Sync));
    let numbers = host.block_on(0, |_| async move {
        let numbers = read_numbers(&store, "T", 0).await;
        // It goes on at the next offset.
        let receipt = append_waiting(&store, "T", &body(COUNT, 300)).await;
        store.wait_acknowledged(receipt.end).await.unwrap();
        assert_eq!(receipt.queue_offset.0 as u64, COUNT);
        numbers
    });
    let report = recovered.report;
    (numbers, report.quarantined.len() as u64, report.start)
}

fn is_ascending_part(numbers: &[u64]) -> bool {
    numbers.is_sorted_by(|a, b| a < b) && numbers.iter().all(|number| *number < COUNT)
}

#[test]
fn a_log_that_lost_its_last_segments_is_refused_and_starts_when_they_are_back() {
    let (_world, host, end) = closed(1);
    let last = end / SEGMENT;
    let mut lost = Vec::new();
    for number in (2..=last).rev() {
        lost.push((segment(number), host.peek(&segment(number)).unwrap()));
        remove(&host, segment(number));
    }
    // Those that were prepared ahead may be there or not.
    for number in last + 1..last + 5 {
        if host.peek(&segment(number)).is_some() {
            remove(&host, segment(number));
        }
    }
    let ends_at = format!("the log ends at {:020}", 2 * SEGMENT);
    check_refused(&host, &[&ends_at, "safe up to", "restore them"]);
    on_disk(&host, |sim| async move {
        for (path, bytes) in lost {
            sim.disk().write_atomic(&path, &bytes).await.unwrap();
        }
    });
    assert_eq!(reopened(&host).0, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn a_log_without_any_segment_is_refused_when_the_checkpoint_knows_of_one() {
    let (_world, host, _) = closed(2);
    for (path, ..) in host.files() {
        if path.starts_with("/store/shard-000/commitlog") {
            remove(&host, path);
        }
    }
    check_refused(
        &host,
        &["the log ends at 00000000000000000000", "restore them"],
    );
}

#[test]
fn a_log_that_begins_behind_its_checkpoint_is_refused() {
    let (_world, host, _) = closed(3);
    // As if the checkpoint came from an older copy of the store: it begins at the log's start.
    let (_other_world, young) = world(3);
    let (store, _) = open(&young, settings(FlushMode::Sync));
    young.block_on(0, |_| async move { store.close().await.unwrap() });
    let old = young.peek(&checkpoint(0)).unwrap();
    on_disk(&host, |sim| async move {
        let disk = sim.disk();
        disk.write_atomic(&checkpoint(0), &old).await.unwrap();
        disk.remove(&checkpoint(1)).await.unwrap();
        disk.remove(&segment(0)).await.unwrap();
    });
    check_refused(
        &host,
        &["the log begins at 00000000000000065536", "restore them"],
    );
}

#[test]
fn a_segment_of_another_store_is_refused_and_left_as_it_is() {
    let (_world, host, _) = closed(4);
    let (_other_world, other, _) = closed(5);
    let bytes = other.peek(&segment(1)).unwrap();
    let own = host.peek(&segment(1)).unwrap();
    on_disk(&host, move |sim| async move {
        sim.disk().write_atomic(&segment(1), &bytes).await.unwrap();
    });
    check_refused(
        &host,
        &[
            "00000000000000065536",
            "of another store",
            "restore the right file",
        ],
    );
    on_disk(&host, move |sim| async move {
        sim.disk().write_atomic(&segment(1), &own).await.unwrap();
    });
    assert_eq!(reopened(&host).0, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn a_file_of_something_else_among_the_segments_is_refused_and_left_as_it_is() {
    let (_world, host, _) = closed(6);
    let numbers = 0..64;
    let next = numbers
        .clone()
        .find(|number| host.peek(&segment(*number)).is_none());
    let next = next.unwrap();
    // A file of a CommitLog of Apache RocketMQ begins with a length and its magic number.
    let foreign = [&[0, 0, 1, 0x2c, 0xda, 0xa3, 0x20, 0xa7], &[1; 4_088][..]].concat();
    on_disk(&host, move |sim| async move {
        sim.disk()
            .write_atomic(&segment(next), &foreign)
            .await
            .unwrap();
    });
    check_refused(&host, &["it is no segment of a store", "move it elsewhere"]);
    // One behind it that was being prepared stays as well.
    on_disk(&host, move |sim| async move {
        let ahead = segment(next + 1);
        sim.disk().write_atomic(&ahead, &[]).await.unwrap();
    });
    check_refused(&host, &["it is no segment of a store", "move it elsewhere"]);
    remove(&host, segment(next + 1));
    remove(&host, segment(next));
    assert_eq!(reopened(&host).0, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn a_truncated_or_empty_segment_costs_what_it_held_and_is_told() {
    for (seed, number, len) in [
        (7, 1, 0),
        (8, 1, 512),
        (9, 1, 33 << 10),
        (10, 0, 0),
        (11, 2, 700),
    ] {
        let (_world, host, _) = closed(seed);
        cut(&host, segment(number), len);
        let (numbers, quarantined, _) = reopened(&host);
        assert!(is_ascending_part(&numbers), "{numbers:?}");
        let lost = COUNT - numbers.len() as u64;
        // About 350 bytes each in a segment of 64 KiB.
        assert!(
            lost > 50 && lost < 200,
            "segment {number} cut to {len}: {lost} lost"
        );
        // Below its checkpoint recovery does not look; reads meet the damage there.
        assert!(quarantined <= 1);
    }
}

#[test]
fn the_end_of_the_last_segment_may_be_missing_and_nothing_is_given_twice() {
    let (_world, host, end) = closed(12);
    let last = end / SEGMENT;
    cut(&host, segment(last), (end % SEGMENT) / 2 / 512 * 512);
    let (numbers, ..) = reopened(&host);
    assert!(is_ascending_part(&numbers), "{numbers:?}");
    assert!(numbers.len() < COUNT as usize);
    host.crash(Crash::Power);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let again = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
    assert_eq!(again, [numbers, vec![COUNT]].concat());
}

#[test]
fn missing_checkpoints_cost_a_longer_scan_and_nothing_else() {
    for slots in [&[0_u8][..], &[1], &[0, 1]] {
        let (_world, host, _) = closed(13 + slots.len() as u64);
        for slot in slots {
            remove(&host, checkpoint(*slot));
        }
        let (numbers, quarantined, start) = reopened(&host);
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
        assert_eq!(quarantined, 0);
        let expected = match slots.len() {
            2 => ScanStart::WholeLog { damaged: false },
            _ => ScanStart::Checkpoint,
        };
        assert_eq!(start, expected);
    }
}

#[test]
fn empty_checkpoints_are_damaged_ones() {
    let (_world, host, _) = closed(20);
    for slot in [0, 1] {
        cut(&host, checkpoint(slot), 0);
    }
    let (numbers, _, start) = reopened(&host);
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    assert_eq!(start, ScanStart::WholeLog { damaged: true });
}

#[test]
fn what_is_before_a_gap_opens_once_the_rest_and_the_checkpoints_are_put_away() {
    let (_world, host, end) = closed(21);
    remove(&host, segment(1));
    check_refused(
        &host,
        &["segment 00000000000000065536 is missing", "restore it"],
    );
    for number in 2..end / SEGMENT + 5 {
        if host.peek(&segment(number)).is_some() {
            remove(&host, segment(number));
        }
    }
    for slot in [0, 1] {
        remove(&host, checkpoint(slot));
    }
    let quiet = Settings {
        scrub_bytes_per_second: 0,
        ..settings(FlushMode::Sync)
    };
    let (store, _) = open(&host, quiet);
    let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
    assert!(numbers.len() > 100 && numbers == (0..numbers.len() as u64).collect::<Vec<_>>());
}
