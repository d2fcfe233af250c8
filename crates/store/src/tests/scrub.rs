//! The scrub finds what nobody reads, slowly, and makes again what is derived.

use crate::testing::{append_waiting, body, open, read_numbers, settings, world};
use crate::{FlushMode, Settings};
use rt::{Disk, Rt};
use sim::{Crash, Host, World};
use std::path::{Path, PathBuf};
use std::time::Duration;

const COUNT: u64 = 600;
const RATE: u64 = 64 << 10;

fn scrubbing() -> Settings {
    Settings {
        scrub_bytes_per_second: RATE,
        ..settings(FlushMode::Sync)
    }
}

/// A store that closed in order.
fn closed() -> (World, Host, Vec<u64>) {
    closed_with(COUNT)
}

fn closed_with(count: u64) -> (World, Host, Vec<u64>) {
    let (world, host) = world(1);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let positions = host.block_on(0, |_| async move {
        let mut positions = Vec::new();
        for i in 0..count {
            let receipt = append_waiting(&store, "T", &body(i, 200)).await;
            positions.push(receipt.phy_offset.position().0);
        }
        store.close().await.unwrap();
        positions
    });
    host.crash(Crash::Power);
    (world, host, positions)
}

#[test]
fn a_pass_over_a_good_store_finds_nothing_and_keeps_to_its_rate() {
    let (world, host, positions) = closed();
    let (store, _) = open(&host, scrubbing());
    world.run_for(Duration::from_secs(61));
    let begin = store.stats().scrubbed_bytes;
    world.run_for(Duration::from_secs(1));
    let read = store.stats().scrubbed_bytes - begin;
    assert!(
        read <= 6 * RATE,
        "a piece may be longer than a second's worth: {read}"
    );
    world.run_for(Duration::from_mins(1));
    let stats = store.stats();
    assert_eq!(
        (stats.scrub_passes, stats.scrub_damaged, stats.damaged),
        (1, 0, 0)
    );
    assert!(
        stats.scrubbed_bytes > *positions.last().unwrap(),
        "all of it was read"
    );
    world.run_for(Duration::from_mins(30));
    assert_eq!(
        store.stats().scrubbed_bytes,
        stats.scrubbed_bytes,
        "then it rests"
    );
}

#[test]
fn damage_is_found_without_a_reader_and_pages_and_checkpoints_are_made_again() {
    let (world, host, positions) = closed();
    let segment = Path::new("/store/shard-000/commitlog").join(crate::layout::segment_name(0));
    for at in [positions[20] + 100, positions[20] + 101] {
        assert!(host.rot(&segment, at, 0x77));
    }
    let page = PathBuf::from("/store/shard-000/index/00000000");
    let good = host.peek(&page).unwrap();
    assert!(host.rot(&page, 700, 1));
    let (store, _) = open(&host, scrubbing());
    assert!(host.rot(Path::new("/store/shard-000/checkpoint-0"), 20, 1));
    world.run_for(Duration::from_mins(3));
    let stats = store.stats();
    assert_eq!(
        (stats.scrub_passes, stats.scrub_damaged),
        (1, 3),
        "{stats:?}"
    );
    assert_eq!(stats.scrub_repaired, 1);
    let now = host.peek(&page).unwrap();
    assert_eq!(now.len(), good.len());
    let store_again = {
        host.block_on(0, |_| async move { store.close().await.unwrap() });
        host.crash(Crash::Power);
        open(&host, settings(FlushMode::Sync)).0
    };
    let (numbers, stats) = host.block_on(0, |_| async move {
        (
            read_numbers(&store_again, "T", 0).await,
            store_again.stats(),
        )
    });
    assert!(numbers.len() as u64 >= COUNT - 1, "{}", numbers.len());
    assert!(stats.damaged <= 1, "the page is good again");
}

#[test]
fn a_closing_or_failing_store_is_not_held_up() {
    let (world, host, _) = closed();
    let (store, _) = open(&host, scrubbing());
    world.run_for(Duration::from_secs(62));
    host.block_on(0, |_| async move { store.close().await.unwrap() });
}

/// The place that is kept for the next start.
fn kept_place(host: &Host) -> u64 {
    let text = host.peek(Path::new("/store/shard-000/scrub")).unwrap();
    String::from_utf8(text).unwrap().trim().parse().unwrap()
}

#[test]
fn a_restart_goes_on_where_the_scrub_was_and_comes_back_to_the_rest() {
    // 256 s of this rate are a part of the log.
    const SLOW: u64 = 1 << 10;
    let slow = || Settings {
        scrub_bytes_per_second: SLOW,
        ..settings(FlushMode::Sync)
    };
    let (world, host, positions) = closed_with(4_000);
    let log_end = *positions.last().unwrap();
    assert!(log_end > 900 << 10, "{log_end}");
    let (store, _) = open(&host, slow());
    world.run_for(Duration::from_secs(61 + 400));
    let place = kept_place(&host);
    assert!(
        (256 << 10..log_end / 2).contains(&place),
        "{place} of {log_end}"
    );
    drop(store);
    host.crash(Crash::Power);
    // Damage behind the place is found by the pass after this one.
    for at in [positions[20] + 100, positions[20] + 101] {
        let segment = Path::new("/store/shard-000/commitlog").join(crate::layout::segment_name(0));
        assert!(host.rot(&segment, at, 0x77));
    }
    let (store, _) = open(&host, slow());
    let first = store.clone();
    while first.stats().scrub_passes == 0 {
        world.run_for(Duration::from_secs(10));
        assert!(first.stats().scrubbed_bytes < log_end, "it began anew");
    }
    let stats = store.stats();
    assert!(stats.scrubbed_bytes < log_end - place / 2, "{stats:?}");
    assert_eq!((stats.scrub_damaged, kept_place(&host)), (0, 0));
    while first.stats().scrub_passes == 1 {
        world.run_for(Duration::from_mins(1));
    }
    assert_eq!(store.stats().scrub_damaged, 1);
    // What is no number counts as the beginning.
    drop((store, first));
    host.crash(Crash::Kill);
    host.block_on(0, |sim| async move {
        let path = Path::new("/store/shard-000/scrub");
        sim.disk()
            .write_atomic(path, b"4711 and more")
            .await
            .unwrap();
    });
    let (store, _) = open(&host, slow());
    while store.stats().scrub_passes == 0 {
        world.run_for(Duration::from_mins(1));
    }
    assert!(
        store.stats().scrubbed_bytes > log_end,
        "{:?}",
        store.stats()
    );
}
