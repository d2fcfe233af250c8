//! Old segments go, and become new ones.

use crate::testing::{
    append_keyed, append_waiting, body, message_len, message_with, open, read_numbers, settings,
    world,
};
use crate::{FlushMode, GetStatus, ReadLimits, RecordKind, Retention, Settings};
use base::{QueueId, QueueOffset};
use sim::{Crash, Host, World};
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;

/// Segments go `hours` after they were left, at any hour.
fn keeping(hours: u64) -> Settings {
    Settings {
        retention: Retention {
            reserved_ms: (hours * HOUR_MS) as i64,
            delete_hours: (1 << 24) - 1,
            delete_interval_ms: 1,
            check_interval_ms: 30_000,
            ..Retention::default()
        },
        ..settings(FlushMode::Sync)
    }
}

fn pass(world: &World, hours: u64) {
    for _ in 0..hours {
        world.run_for(Duration::from_millis(HOUR_MS));
    }
}

/// Appends messages of some kilobytes with these numbers, durably.
fn fill(
    host: &Host,
    store: &crate::testing::Store,
    topic: &'static str,
    numbers: std::ops::Range<u64>,
) {
    let store = store.clone();
    host.block_on(0, |_| async move {
        let mut end = base::LogPosition(0);
        for number in numbers {
            end = append_waiting(&store, topic, &body(number, 3_000))
                .await
                .end;
        }
        store.wait_acknowledged(end).await.unwrap();
    });
}

fn names(host: &Host) -> Vec<String> {
    host.block_on(0, |sim| async move {
        use rt::{Disk, Rt};
        let dir = std::path::Path::new("/store/shard-000/commitlog");
        let list = sim.disk().list(dir).await.unwrap();
        list.into_iter().map(|entry| entry.name).collect()
    })
}

fn numbers(host: &Host, store: &crate::testing::Store, topic: &'static str) -> (i64, Vec<u64>) {
    let queue = store.queue(topic, QueueId(0)).expect("it is known");
    let min = store.min_offset(queue).0;
    let store = store.clone();
    let read = host.block_on(0, |_| async move { read_numbers(&store, topic, min).await });
    (min, read)
}

#[test]
fn segments_go_when_their_time_is_up_and_become_new_ones() {
    let (world, host) = world(1);
    let (store, _) = open(&host, keeping(72));
    fill(&host, &store, "T", 0..100);
    pass(&world, 71);
    assert_eq!(store.stats().segments_removed, 0);
    fill(&host, &store, "T", 100..200);
    pass(&world, 2);
    let stats = store.stats();
    assert!(stats.segments_removed >= 3, "{stats:?}");
    let (min, read) = numbers(&host, &store, "T");
    assert!(min > 60 && min <= 100, "{min}");
    assert_eq!(read, (min as u64..200).collect::<Vec<_>>());
    // The log goes on in the old files; the directory does not grow.
    let before = names(&host).len();
    for round in 2..12 {
        fill(&host, &store, "T", round * 100..round * 100 + 100);
        pass(&world, 80);
    }
    let stats = store.stats();
    assert!(stats.segments_recycled > 10, "{stats:?}");
    assert!(names(&host).len() <= before + 2, "{:?}", names(&host));
    let (min, read) = numbers(&host, &store, "T");
    assert_eq!(read, (min as u64..1_200).collect::<Vec<_>>());
}

#[test]
fn a_queue_whose_messages_are_gone_goes_on_at_its_next_offset() {
    let (world, host) = world(2);
    let (store, _) = open(&host, keeping(1));
    fill(&host, &store, "Old", 0..30);
    fill(&host, &store, "New", 0..60);
    pass(&world, 2);
    fill(&host, &store, "New", 60..90);
    pass(&world, 2);
    let old = store.queue("Old", QueueId(0)).unwrap();
    assert_eq!(store.min_offset(old), QueueOffset(30));
    assert_eq!(store.max_offset(old), QueueOffset(30));
    fill(&host, &store, "Old", 30..31);
    assert_eq!(numbers(&host, &store, "Old"), (30, vec![30]));
}

#[test]
fn an_offset_below_the_first_is_too_small_and_told_where_to_go() {
    let (world, host) = world(3);
    let (store, _) = open(&host, keeping(1));
    fill(&host, &store, "T", 0..100);
    pass(&world, 3);
    let queue = store.queue("T", QueueId(0)).unwrap();
    let min = store.min_offset(queue);
    assert!(min.0 > 0);
    let limits = ReadLimits {
        count_max: 5,
        bytes_max: 1 << 20,
        scan_max: 100,
    };
    let result = host.block_on(0, move |_| async move {
        let mut out = Vec::new();
        store
            .read(queue, QueueOffset(3), limits, &mut |_| true, &mut out)
            .await
            .unwrap()
    });
    assert_eq!(result.status, GetStatus::OffsetTooSmall);
    assert_eq!((result.next_offset, result.min), (min, min));
}

#[test]
fn a_wall_clock_that_jumps_a_year_ahead_takes_nothing_away() {
    let (world, host) = world(4);
    let (store, _) = open(&host, keeping(72));
    fill(&host, &store, "T", 0..100);
    pass(&world, 1);
    host.jump_wall_clock(365 * 24 * HOUR_MS as i64);
    pass(&world, 30);
    assert_eq!(store.stats().segments_removed, 0);
    // Nor does a start afterwards.
    let closing = store.clone();
    host.block_on(0, |_| async move { closing.close().await.unwrap() });
    drop(store);
    host.crash(Crash::Power);
    let (store, _) = open(&host, keeping(72));
    fill(&host, &store, "T", 100..101);
    pass(&world, 1);
    assert_eq!(store.stats().segments_removed, 0);
    pass(&world, 80);
    assert!(store.stats().segments_removed > 0);
}

#[test]
fn time_that_passes_while_the_store_is_closed_counts_later() {
    let (world, host) = world(5);
    let (store, _) = open(&host, keeping(10));
    fill(&host, &store, "T", 0..100);
    let closing = store.clone();
    host.block_on(0, |_| async move { closing.close().await.unwrap() });
    drop(store);
    host.crash(Crash::Power);
    pass(&world, 100);
    let (store, _) = open(&host, keeping(10));
    pass(&world, 3);
    assert_eq!(store.stats().segments_removed, 0);
    pass(&world, 4);
    assert!(store.stats().segments_removed > 0);
}

#[test]
fn nothing_goes_outside_the_hour_and_expired_segments_go_when_asked_for() {
    let (world, host) = world(6);
    let mut settings = keeping(1);
    settings.retention.delete_hours = 0;
    let (store, _) = open(&host, settings);
    fill(&host, &store, "T", 0..100);
    pass(&world, 5);
    assert_eq!(store.stats().segments_removed, 0);
    store.delete_expired_now();
    world.run_for(Duration::from_mins(1));
    assert!(store.stats().segments_removed >= 3);
    let (min, read) = numbers(&host, &store, "T");
    assert_eq!(read, (min as u64..100).collect::<Vec<_>>());
}

#[test]
fn too_large_a_log_loses_its_oldest_segments_whatever_their_age() {
    let (world, host) = world(7);
    let mut settings = keeping(72);
    settings.retention.store_bytes_max = 200 << 10;
    let (store, _) = open(&host, settings);
    for round in 0..20 {
        fill(&host, &store, "T", round * 20..round * 20 + 20);
        world.run_for(Duration::from_mins(1));
    }
    let stats = store.stats();
    assert!(stats.appended - stats.start <= 264 << 10, "{stats:?}");
    let (min, read) = numbers(&host, &store, "T");
    assert_eq!(read, (min as u64..400).collect::<Vec<_>>());
}

/// Bytes of files whose path has `part`.
fn bytes_of(host: &Host, part: &str) -> u64 {
    let files = host.files().into_iter();
    let wanted = files.filter(|file| file.0.to_string_lossy().contains(part));
    wanted.map(|file| file.1).sum()
}

#[test]
fn space_of_the_indexes_comes_back_with_the_log() {
    let (world, host) = world(8);
    let kept = Settings {
        // A file of the queue index holds two pages.
        index_file_pages: 2,
        ..keeping(1)
    };
    let (store, _) = open(&host, kept.clone());
    let sending = store.clone();
    host.block_on(0, |_| async move {
        for number in 0..6_000_u64 {
            append_keyed(&sending, number, 20).await;
        }
        sending.close().await.unwrap();
    });
    drop(store);
    host.crash(Crash::Power);
    let (keys, pages) = (bytes_of(&host, "/keys/"), bytes_of(&host, "/index/"));
    assert!(keys > 90_000 && pages > 100_000, "{keys} {pages}");
    let (store, _) = open(&host, kept);
    pass(&world, 3);
    // Checkpoints that name none of it.
    fill(&host, &store, "U", 0..150);
    pass(&world, 3);
    fill(&host, &store, "U", 150..300);
    pass(&world, 1);
    let (keys_now, pages_now) = (bytes_of(&host, "/keys/"), bytes_of(&host, "/index/"));
    assert!(keys_now < keys / 8, "{keys_now} of {keys}");
    assert!(pages_now <= 4 * 4_096, "{pages_now} of {pages}");
}

#[test]
fn a_run_most_of_whose_log_is_gone_is_written_again_without_that() {
    let (world, host) = world(9);
    let (store, _) = open(&host, keeping(2));
    let send = |store: &crate::testing::Store, numbers: std::ops::Range<u64>| {
        let store = store.clone();
        host.block_on(0, |_| async move {
            for number in numbers {
                let properties = format!("UNIQ_KEY\u{1}K{number}\u{2}");
                let bytes = body(number, 100);
                let len = message_len("T", &bytes) + properties.len();
                let queue = store.queue_or_create("T", QueueId(0));
                store.wait_room().await;
                let appended = store.append_with(queue, len, 7, |out, place| {
                    let message = message_with(place, "T", QueueId(0), &bytes, &properties);
                    out.copy_from_slice(&message);
                });
                appended.unwrap();
            }
        });
    };
    // Most of the log two hours before the rest, and one run over all of it.
    send(&store, 0..4_000);
    pass(&world, 1);
    send(&store, 4_000..5_000);
    let closing = store.clone();
    host.block_on(0, |_| async move { closing.close().await.unwrap() });
    drop(store);
    host.crash(Crash::Power);
    let before = bytes_of(&host, "/keys/");
    let (store, _) = open(&host, keeping(2));
    pass(&world, 1);
    world.run_for(Duration::from_mins(10));
    let stats = store.stats();
    assert!(stats.segments_removed > 3, "{stats:?}");
    let now = bytes_of(&host, "/keys/");
    // The run held the keys of 4,096 messages, 254 in a page.
    assert!(now + 12 * 4_096 < before, "{now} of {before}");
    let query = crate::KeyQuery {
        topic: "T",
        key: "K4900",
        kind: crate::KeyKind::Any,
        count_max: 9,
        bytes_max: 1 << 20,
        times_ms: (i64::MIN, i64::MAX),
    };
    let found = host.block_on(
        0,
        |_| async move { store.query_keys(&query).await.unwrap() },
    );
    assert_eq!(found.messages.len(), 1);
}

/// Metadata and offsets after both checkpoints were lost.
fn without_checkpoints(world: &World, host: &Host) {
    let (store, _) = open(host, keeping(1));
    store.append_record(RecordKind(5), b"topic").unwrap();
    fill(host, &store, "Old", 0..30);
    fill(host, &store, "T", 0..100);
    pass(world, 3);
    fill(host, &store, "T", 100..130);
    assert!(store.stats().segments_removed > 1);
    let closing = store.clone();
    host.block_on(0, |_| async move { closing.close().await.unwrap() });
    let (min, _) = numbers(host, &store, "T");
    drop(store);
    host.crash(Crash::Power);
    for slot in 0..2 {
        let path = format!("/store/shard-000/checkpoint-{slot}");
        assert!(host.rot(std::path::Path::new(&path), 20, 0xff));
    }
    let (store, recovered) = open(host, keeping(1));
    assert!(
        recovered
            .records
            .contains(&(RecordKind(5), b"topic".to_vec())),
        "{:?}",
        recovered.records
    );
    let old = store.queue("Old", QueueId(0)).expect("the log tells of it");
    assert_eq!(store.min_offset(old), QueueOffset(30));
    assert_eq!(store.max_offset(old), QueueOffset(30));
    let (first, read) = numbers(host, &store, "T");
    assert_eq!(first, min);
    assert_eq!(read, (first as u64..130).collect::<Vec<_>>());
}

#[test]
fn without_a_checkpoint_the_log_still_tells_metadata_and_offsets() {
    let (world, host) = world(9);
    without_checkpoints(&world, &host);
}

#[test]
fn a_crash_at_any_step_of_removing_and_recycling_loses_nothing_that_stays() {
    let mut removed = std::collections::BTreeMap::<u64, u32>::new();
    for polls in (1..1_200).step_by(7) {
        let (world, host) = world(polls);
        let (store, _) = open(&host, keeping(1));
        fill(&host, &store, "T", 0..150);
        world.run_for(Duration::from_secs(3_590));
        let seen = store.min_offset(store.queue("T", QueueId(0)).unwrap());
        let crash = if polls % 2 == 0 {
            Crash::Power
        } else {
            Crash::Kill
        };
        host.crash_after(polls, crash);
        let lived = host.try_block_on(0, {
            let store = store.clone();
            move |sim| async move {
                use rt::Rt;
                let mut end = base::LogPosition(0);
                for number in 150..260 {
                    end = append_waiting(&store, "T", &body(number, 3_000)).await.end;
                    sim.sleep(Duration::from_secs(1)).await;
                }
                store.wait_acknowledged(end).await.unwrap();
            }
        });
        *removed.entry(store.stats().segments_removed).or_default() += 1;
        let kept = store.acknowledged().0;
        let shown = store.min_offset(store.queue("T", QueueId(0)).unwrap());
        host.spare();
        drop(store);
        if lived.is_ok() {
            host.crash(crash);
        }
        let (store, recovered) = open(&host, keeping(1));
        assert!(recovered.report.quarantined.is_empty(), "{polls}");
        assert!(recovered.report.end.0 >= kept, "{polls}");
        let (min, read) = numbers(&host, &store, "T");
        assert!(QueueOffset(min) >= shown && shown >= seen, "{polls}: {min}");
        assert!(read.len() > 10, "{polls}");
        let expected = min as u64..min as u64 + read.len() as u64;
        assert_eq!(read, expected.collect::<Vec<_>>(), "{polls}");
        // It goes on.
        let next = min as u64 + read.len() as u64;
        fill(&host, &store, "T", next..next + 60);
        pass(&world, 2);
        let (min, read) = numbers(&host, &store, "T");
        let expected = min as u64..next + 60;
        assert_eq!(read, expected.collect::<Vec<_>>(), "{polls}");
    }
    assert!(
        removed.len() > 3,
        "crashes before, between and after: {removed:?}"
    );
}

#[test]
fn a_wall_clock_that_falls_back_a_year_keeps_segments_their_time_and_no_longer() {
    for restarts in [false, true] {
        let (world, host) = world(10);
        let (store, _) = open(&host, keeping(72));
        fill(&host, &store, "T", 0..100);
        pass(&world, 1);
        let year_ms = 365 * 24 * HOUR_MS as i64;
        host.jump_wall_clock(-year_ms);
        let store = if restarts {
            // What is stored is a year ahead of the clock of the next life.
            host.crash(Crash::Power);
            open(&host, keeping(72)).0
        } else {
            store
        };
        fill(&host, &store, "T", 100..200);
        pass(&world, 60);
        assert_eq!(store.stats().segments_removed, 0);
        pass(&world, 20);
        assert!(store.stats().segments_removed >= 3, "{:?}", store.stats());
        let (min, read) = numbers(&host, &store, "T");
        assert_eq!(read, (min as u64..200).collect::<Vec<_>>());
    }
}
