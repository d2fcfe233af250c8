//! What a power cut can cost is bounded in bytes and time, and so is what recovery reads.

use crate::testing::{append, append_waiting, body, open, read_numbers, settings, world};
use crate::{AppendError, FlushMode, Settings};
use sim::{Crash, DiskOp, Fault, Host, Rule};
use std::time::Duration;

/// Everything of the log that is synced stays so from now on; writes go on.
fn stall_syncs(host: &Host, ms: u64) {
    let stall = Fault::StallMs(ms);
    host.add_fault(Rule::always(DiskOp::Sync, "commitlog", stall));
}

#[test]
fn what_is_acknowledged_and_not_durable_never_exceeds_its_bytes() {
    let (world, host) = world(1);
    let settings = Settings {
        unsynced_ms_max: 600_000,
        stall_limit_ms: 600_000,
        segment_bytes: 8 << 20,
        zero_ahead_bytes: 4 << 20,
        zero_step_bytes: 1 << 20,
        ..settings(FlushMode::Async)
    };
    let max = settings.window();
    assert!(max < settings.zero_ahead_bytes, "the window is met first");
    let (store, _) = open(&host, settings);
    // Room is zeroed ahead before syncs stand still.
    world.run_for(Duration::from_secs(5));
    stall_syncs(&host, 60_000);
    let mut accepted = 0;
    let refusal = loop {
        match append(&store, "T", &body(accepted, 700)) {
            Ok(_) => accepted += 1,
            Err(error @ AppendError::Busy { max: at, .. }) if at == max => break error,
            Err(AppendError::Busy { .. }) => world.run_for(Duration::from_millis(5)),
            Err(other) => panic!("{other}"),
        }
        let stats = store.stats();
        assert!(stats.unsynced_bytes <= stats.unsynced_bytes_max);
        assert_eq!(
            stats.unsynced_bytes,
            stats.appended.saturating_sub(stats.durable)
        );
    };
    assert!(!store.has_room(), "{refusal}");
    assert!(store.stats().unsynced_bytes > max / 2);
    host.clear_faults();
    let numbers = host.block_on(0, |_| async move {
        append_waiting(&store, "T", &body(accepted, 700)).await;
        read_numbers(&store, "T", 0).await
    });
    assert_eq!(numbers, (0..=accepted).collect::<Vec<_>>());
}

#[test]
fn nothing_is_acknowledged_while_the_oldest_has_waited_too_long_for_its_sync() {
    let (world, host) = world(2);
    let settings = Settings {
        unsynced_ms_max: 500,
        stall_limit_ms: 600_000,
        ..settings(FlushMode::Async)
    };
    let (store, _) = open(&host, settings);
    world.run_for(Duration::from_secs(1));
    assert_eq!(
        (store.stats().unsynced_bytes, store.stats().unsynced_ms),
        (0, 0)
    );
    stall_syncs(&host, 10_000);
    append(&store, "T", &body(0, 100)).unwrap();
    world.run_for(Duration::from_millis(450));
    append(&store, "T", &body(1, 100)).unwrap();
    assert!(store.has_room() && store.stats().unsynced_ms >= 440);
    world.run_for(Duration::from_millis(100));
    let refused = append(&store, "T", &body(2, 100));
    assert!(
        matches!(refused, Err(AppendError::SyncLate { max_ms: 500, .. })),
        "{refused:?}"
    );
    assert!(!store.has_room());
    host.clear_faults();
    let numbers = host.block_on(0, |_| async move {
        append_waiting(&store, "T", &body(2, 100)).await;
        read_numbers(&store, "T", 0).await
    });
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn recovery_looks_no_further_than_the_window_that_is_on_disk() {
    let narrow = Settings {
        segment_bytes: 8 << 20,
        zero_ahead_bytes: 4 << 20,
        zero_step_bytes: 1 << 20,
        ..settings(FlushMode::Sync)
    };
    let wide = Settings {
        unsynced_bytes_max: 1 << 20,
        unflushed_bytes_max: 512 << 10,
        ..narrow.clone()
    };
    let (_world, host) = world(3);
    let (store, _) = open(&host, narrow.clone());
    host.block_on(0, |_| async move {
        append_waiting(&store, "T", &body(0, 100)).await;
        store.close().await.unwrap();
    });
    host.crash(Crash::Kill);
    for (life, crash) in [(&wide, Crash::Power), (&narrow, Crash::Power)] {
        let (store, recovered) = open(&host, life.clone());
        assert!(recovered.report.quarantined.is_empty());
        // Blocks as far ahead as may be: nothing is synced any more.
        stall_syncs(&host, 3_600_000);
        let mut number = 1_000;
        while append(&store, "U", &body(number, 3_000)).is_ok() {
            number += 1;
        }
        drop(store);
        host.crash(crash);
        host.clear_faults();
        // With other settings: what the disk tells counts.
        let (store, _) = open(&host, narrow.clone());
        let first = host.block_on(0, |_| async move {
            let end = append(&store, "T", &body(7, 3_000)).unwrap().end;
            store.wait_acknowledged(end).await.unwrap();
            let all = read_numbers(&store, "U", 0).await;
            store.close().await.unwrap();
            all
        });
        host.crash(Crash::Power);
        let (store, recovered) = open(&host, narrow.clone());
        assert_eq!(recovered.report.erased_bytes, 0);
        let again = host.block_on(0, |_| async move { read_numbers(&store, "U", 0).await });
        assert_eq!(again, first);
        host.crash(Crash::Kill);
    }
}
