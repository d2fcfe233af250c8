//! A disk that is full, fails or is slow.

use crate::testing::{append, append_waiting, body, open, read_numbers, settings, world};
use crate::{AppendError, FenceReason, FlushError, FlushMode, ShardStore};
use sim::{Crash, DiskOp, Fault, Rule};
use std::time::Duration;

#[test]
fn a_full_disk_is_refused_with_numbers_and_goes_on_when_there_is_space() {
    let (world, host) = world(1);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.add_fault(Rule::always(DiskOp::Write, "nothing", Fault::Enospc));
    host.shape_disk(|shape| shape.capacity = 400 << 10);
    let (accepted, refusal) = host.block_on(0, {
        let store = store.clone();
        move |_| async move {
            let mut accepted = 0_u64;
            loop {
                store.wait_room().await;
                match append(&store, "T", &body(accepted, 500)) {
                    Ok(receipt) => store.wait_acknowledged(receipt.end).await.unwrap(),
                    Err(error) => return (accepted, error),
                }
                accepted += 1;
                assert!(accepted < 10_000);
            }
        }
    });
    assert!(matches!(refusal, AppendError::NoSpace { .. }), "{refusal}");
    assert!(accepted > 50, "{accepted}");
    assert_eq!(store.fenced(), None);
    // Reads and internal records go on.
    store
        .append_record(crate::RecordKind(1), b"offset")
        .unwrap();
    host.shape_disk(|shape| shape.capacity = 100 << 20);
    world.run_for(Duration::from_secs(1));
    let numbers = host.block_on(0, |_| async move {
        append_waiting(&store, "T", &body(accepted, 500)).await;
        store.close().await.unwrap();
        read_numbers(&store, "T", 0).await
    });
    assert_eq!(numbers, (0..=accepted).collect::<Vec<_>>());
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_acknowledged() {
    for op in [DiskOp::Write, DiskOp::Sync] {
        let (_world, host) = world(2);
        let (store, _) = open(&host, settings(FlushMode::Sync));
        let kept = host.block_on(0, {
            let store = store.clone();
            move |_| async move {
                let receipt = append_waiting(&store, "T", &body(0, 64)).await;
                store.wait_acknowledged(receipt.end).await.unwrap();
                receipt.end
            }
        });
        host.add_fault(Rule::nth(op, "commitlog", 0, Fault::Eio));
        let store2 = store.clone();
        host.block_on(0, |_| async move {
            let receipt = append(&store2, "T", &body(1, 64)).unwrap();
            let error = store2.wait_acknowledged(receipt.end).await.unwrap_err();
            assert!(matches!(error, FlushError::Fenced(_)));
        });
        let reason = store.fenced().unwrap();
        match op {
            DiskOp::Write => assert!(matches!(reason, FenceReason::Write { .. })),
            _ => assert!(matches!(reason, FenceReason::Sync { .. })),
        }
        assert!(matches!(
            append(&store, "T", b"x"),
            Err(AppendError::Fenced(_))
        ));
        assert!(store.has_room(), "producers are told, not held back");
        assert!(store.acknowledged() >= kept);
        let numbers = host.block_on(0, {
            let store = store.clone();
            move |_| async move {
                assert!(store.close().await.is_err());
                read_numbers(&store, "T", 0).await
            }
        });
        assert_eq!(numbers, [0]);
        host.crash(Crash::Power);
        host.clear_faults();
        let (store, _) = open(&host, settings(FlushMode::Sync));
        let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
        assert_eq!(numbers[0], 0);
    }
}

#[test]
fn a_disk_that_stands_still_holds_producers_back_and_loses_nothing() {
    let (world, host) = world(3);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.add_fault(Rule::nth(
        DiskOp::Sync,
        "commitlog",
        0,
        Fault::StallMs(60_000),
    ));
    let mut accepted = 0;
    let refusal = loop {
        match append(&store, "T", &body(accepted, 500)) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        world.run_for(Duration::from_millis(1));
    };
    assert!(matches!(refusal, AppendError::Busy { .. }), "{refusal}");
    assert!(!store.has_room());
    let numbers = host.block_on(0, |_| async move {
        store.wait_room().await;
        store.close().await.unwrap();
        read_numbers(&store, "T", 0).await
    });
    assert_eq!(numbers, (0..accepted).collect::<Vec<_>>());
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_with_its_path() {
    let (_world, host) = world(4);
    host.add_fault(Rule::always(DiskOp::Write, "", Fault::Enospc));
    let error = host.block_on(0, |sim| async move {
        ShardStore::open(sim, settings(FlushMode::Sync))
            .await
            .unwrap_err()
    });
    assert!(error.to_string().contains("/store"), "{error}");
}

#[test]
fn producers_never_wait_for_ever_where_segments_are_short() {
    let (_world, host) = world(9);
    let mut settings = settings(FlushMode::Sync);
    settings.segment_bytes = 40 << 10;
    settings.segments_ahead = 1;
    let (store, _) = open(&host, settings);
    let written = host.try_block_on(0, |_| async move {
        for i in 0..200 {
            append_waiting(&store, "T", &body(i, 1_000 + i as usize * 97 % 20_000)).await;
        }
    });
    assert_eq!(written, Ok(()));
}
