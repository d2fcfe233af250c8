//! A disk that is full, fails or is slow.

use crate::testing::{Store, append, append_waiting, body, open, read_numbers, settings, world};
use crate::{AppendError, FenceReason, FlushError, FlushMode, ShardStore};
use sim::{Crash, DiskOp, Fault, Host, Rule};
use std::time::Duration;

/// Appends one durable message after the other; how many there were, and what ended it.
fn append_until_refused(host: &Host, store: &Store) -> (u64, AppendError) {
    let store = store.clone();
    host.block_on(0, move |_| async move {
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
    })
}

/// One message more is taken, and all are there.
fn takes_more_and_keeps_all(host: &Host, store: Store, accepted: u64) {
    let numbers = host.block_on(0, |_| async move {
        append_waiting(&store, "T", &body(accepted, 500)).await;
        store.close().await.unwrap();
        read_numbers(&store, "T", 0).await
    });
    assert_eq!(numbers, (0..=accepted).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_is_refused_with_numbers_and_goes_on_when_there_is_space() {
    let (world, host) = world(1);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.add_fault(Rule::always(DiskOp::Write, "nothing", Fault::Enospc));
    host.shape_disk(|shape| shape.capacity = 400 << 10);
    let (accepted, refusal) = append_until_refused(&host, &store);
    assert!(matches!(refusal, AppendError::NoSpace { .. }), "{refusal}");
    assert!(accepted > 50, "{accepted}");
    assert_eq!(store.fenced(), None);
    // Reads and internal records go on.
    store
        .append_record(crate::RecordKind(1), b"offset")
        .unwrap();
    host.shape_disk(|shape| shape.capacity = 100 << 20);
    world.run_for(Duration::from_secs(1));
    takes_more_and_keeps_all(&host, store, accepted);
}

#[test]
fn a_process_without_file_descriptors_refuses_in_words_and_goes_on_when_it_has_some() {
    let (world, host) = world(4);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.add_fault(Rule::always(DiskOp::Meta, "", Fault::Emfile));
    let (accepted, refusal) = append_until_refused(&host, &store);
    assert!(
        refusal.to_string().contains("too many open files"),
        "{refusal}"
    );
    // A checkpoint wants a file, too, and has been due for a while.
    world.run_for(Duration::from_secs(1));
    assert_eq!(store.fenced(), None);
    host.clear_faults();
    world.run_for(Duration::from_secs(1));
    takes_more_and_keeps_all(&host, store, accepted);
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

#[test]
fn messages_that_belong_together_are_taken_all_or_none_on_a_disk_that_fills() {
    let mut refusals = 0;
    for seed in 0..40 {
        let (_world, host) = world(seed);
        let (store, _) = open(&host, settings(FlushMode::Sync));
        host.shape_disk(|shape| shape.capacity = 300 << 10);
        let lens: Vec<usize> = (0..3 + seed % 9)
            .map(|i| (200 + 700 * ((seed + i) % 7)) as usize)
            .collect();
        let stored: Vec<usize> = lens
            .iter()
            .map(|len| crate::testing::message_len("T", &body(0, *len)))
            .collect();
        let (batches, refusal) = host.block_on(0, {
            let store = store.clone();
            move |_| async move {
                let mut batches = 0_u64;
                loop {
                    store.wait_room().await;
                    match store.check_room(&stored) {
                        Ok(()) => {
                            for (i, len) in lens.iter().enumerate() {
                                let number = batches * lens.len() as u64 + i as u64;
                                append(&store, "T", &body(number, *len)).expect("it has room");
                            }
                            batches += 1;
                        }
                        Err(AppendError::Busy { .. }) => store.wait_room().await,
                        Err(error) => return (batches * lens.len() as u64, error),
                    }
                    let end = store.stats().appended;
                    store
                        .wait_acknowledged(base::LogPosition(end))
                        .await
                        .unwrap();
                }
            }
        });
        assert!(matches!(refusal, AppendError::NoSpace(_)), "{refusal}");
        refusals += 1;
        let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
        assert_eq!(numbers, (0..batches).collect::<Vec<_>>());
    }
    assert_eq!(refusals, 40);
}

#[test]
fn above_the_warning_ratio_messages_are_refused_until_there_is_space_again() {
    let (world, host) = world(50);
    let settings = crate::Settings {
        retention: crate::Retention::default(),
        ..settings(FlushMode::Sync)
    };
    let (store, _) = open(&host, settings);
    let used: u64 = host.files().iter().map(|file| file.1).sum();
    host.shape_disk(|shape| shape.capacity = used + (100 << 20));
    world.run_for(Duration::from_secs(3));
    assert_eq!(store.shortage(), None);
    host.shape_disk(|shape| shape.capacity = used + used / 20);
    world.run_for(Duration::from_secs(3));
    let error = append(&store, "T", b"no").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("minFreeBytes") && text.contains("/store/shard-000"),
        "{text}"
    );
    assert!(store.has_room(), "producers are told, not held back");
    store
        .append_record(crate::RecordKind(1), b"offset")
        .unwrap();
    for _ in 0..20 {
        host.shape_disk(|shape| shape.capacity = used + (100 << 20));
        world.run_for(Duration::from_millis(900));
        append(&store, "T", b"yes").unwrap();
        host.shape_disk(|shape| shape.capacity = used + used / 20);
        world.run_for(Duration::from_millis(1_100));
        assert!(append(&store, "T", b"no").is_err());
    }
}
