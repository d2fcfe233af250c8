//! Append, acknowledge, close and open again.

use crate::testing::{append, append_waiting, body, open, read_numbers, settings, world};
use crate::{AppendError, FlushMode, RecordKind, ScanStart, ShardStore};
use base::{LogPosition, PhyOffset, QueueId, QueueOffset, ShardId};
use sim::Crash;
use std::time::Duration;

const MODES: [FlushMode; 2] = [FlushMode::Sync, FlushMode::Async];

#[test]
fn what_was_appended_is_there_after_closing() {
    for mode in MODES {
        let (_world, host) = world(1);
        let (store, recovered) = open(&host, settings(mode));
        assert_eq!(recovered.report.start, ScanStart::Empty);
        host.block_on(0, |_| async move {
            for number in 0..700 {
                let receipt = append_waiting(&store, "T", &body(number, 200)).await;
                assert_eq!(receipt.queue_offset, QueueOffset(number as i64));
            }
            store.close().await.unwrap();
            assert_eq!(append(&store, "T", b"x"), Err(AppendError::Closed));
        });
        host.crash(Crash::Kill);
        let (store, recovered) = open(&host, settings(mode));
        assert_eq!(recovered.report.start, ScanStart::Checkpoint);
        assert_eq!(
            recovered.report.messages, 0,
            "the checkpoint covers everything"
        );
        let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
        assert_eq!(numbers, (0..700).collect::<Vec<_>>());
    }
}

#[test]
fn a_synchronous_message_is_seen_when_it_is_acknowledged_and_not_before() {
    let (_world, host) = world(2);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move {
        let receipt = append(&store, "T", &body(0, 64)).unwrap();
        let queue = store.queue("T", QueueId(0)).unwrap();
        assert_eq!(store.max_offset(queue), QueueOffset(0));
        assert!(store.take_arrivals().is_empty());
        store.wait_acknowledged(receipt.end).await.unwrap();
        assert!(store.durable() >= receipt.end);
        assert_eq!(store.max_offset(queue), QueueOffset(1));
        assert_eq!(store.take_arrivals(), [queue]);
        assert!(store.take_arrivals().is_empty());
    });
}

#[test]
fn an_asynchronous_message_is_seen_at_once_and_synced_within_the_interval() {
    let (world, host) = world(3);
    let (store, _) = open(&host, settings(FlushMode::Async));
    let receipt = append(&store, "T", &body(0, 64)).unwrap();
    let queue = store.queue("T", QueueId(0)).unwrap();
    assert_eq!(store.max_offset(queue), QueueOffset(1));
    assert!(store.acknowledged() >= receipt.end && store.durable() < receipt.end);
    world.run_for(Duration::from_millis(500));
    assert!(store.durable() >= receipt.end);
}

#[test]
fn one_sync_answers_everybody_who_was_written_before_it() {
    let (_world, host) = world(4);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let before = store.stats().syncs;
    let after = host.block_on(0, |_| async move {
        let ends: Vec<_> = (0..100)
            .map(|i| append(&store, "T", &body(i, 64)).unwrap().end)
            .collect();
        store
            .wait_acknowledged(*ends.last().unwrap())
            .await
            .unwrap();
        store.stats().syncs
    });
    // At most one for each of the blocks that hold the hundred.
    assert!(after - before <= 6, "{} syncs", after - before);
}

#[test]
fn metadata_comes_back_in_order_from_snapshot_and_log() {
    let (_world, host) = world(5);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    store.set_snapshot_source(Box::new(|| vec![(RecordKind(1), b"snapshot".to_vec())]));
    host.block_on(0, |_| async move {
        store.append_record(RecordKind(1), b"before").unwrap();
        store.close().await.unwrap();
    });
    host.crash(Crash::Kill);
    let (store, recovered) = open(&host, settings(FlushMode::Sync));
    assert_eq!(recovered.records, [(RecordKind(1), b"snapshot".to_vec())]);
    host.block_on(0, |_| async move {
        store.append_record(RecordKind(2), b"one").unwrap();
        let end = store.append_record(RecordKind(1), b"two").unwrap();
        store.wait_acknowledged(end).await.unwrap();
    });
    host.crash(Crash::Power);
    let (_, recovered) = open(&host, settings(FlushMode::Sync));
    let payloads: Vec<_> = recovered
        .records
        .iter()
        .map(|(_, p)| p.as_slice())
        .collect();
    assert_eq!(payloads, [b"snapshot".as_slice(), b"one", b"two"]);
}

#[test]
fn a_deleted_queue_starts_again_at_zero_also_after_a_crash() {
    let (_world, host) = world(6);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move {
        for number in 0..300 {
            append_waiting(&store, "T", &body(number, 100)).await;
        }
        let old = store.queue("T", QueueId(0)).unwrap();
        store.delete_queue("T", QueueId(0)).unwrap().unwrap();
        assert_eq!(store.delete_queue("T", QueueId(0)), Ok(None));
        let stale = store.append_with(old, 100, 0, |_, _| {});
        assert_eq!(stale, Err(AppendError::QueueGone));
        let receipt = append_waiting(&store, "T", &body(900, 100)).await;
        assert_eq!(receipt.queue_offset, QueueOffset(0));
        store.wait_acknowledged(receipt.end).await.unwrap();
    });
    host.crash(Crash::Power);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let numbers = host.block_on(0, |_| async move { read_numbers(&store, "T", 0).await });
    assert_eq!(numbers, [900]);
}

#[test]
fn a_record_longer_than_a_block_gets_a_block_of_its_own() {
    let (_world, host) = world(7);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let numbers = host.block_on(0, |_| async move {
        for number in 0..40 {
            let len = if number % 3 == 0 { 20_000 } else { 50 };
            append_waiting(&store, "T", &body(number, len)).await;
        }
        let too_long = append(&store, "T", &vec![0; 40_000]);
        assert!(matches!(
            too_long,
            Err(AppendError::TooLong { max: 32_768, .. })
        ));
        store.close().await.unwrap();
        read_numbers(&store, "T", 0).await
    });
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
}

#[test]
fn a_store_of_another_shard_count_is_refused() {
    let (_world, host) = world(8);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move { store.close().await.unwrap() });
    let other = crate::Settings {
        shard_count: 2,
        ..settings(FlushMode::Sync)
    };
    let error = host.block_on(0, |sim| async move {
        ShardStore::open(sim, other).await.unwrap_err()
    });
    assert!(error.to_string().contains("made with 1 shards"), "{error}");
}

#[test]
fn many_queues_with_few_messages_write_no_page() {
    let (_world, host) = world(9);
    let (store, _) = open(&host, settings(FlushMode::Async));
    host.block_on(0, |_| async move {
        for queue in 0..2_000 {
            store.wait_room().await;
            crate::testing::append_to(&store, "T", QueueId(queue), 0, &body(1, 8)).unwrap();
        }
        store.close().await.unwrap();
        assert_eq!(
            (store.stats().pages_written, store.stats().queues),
            (0, 2_000)
        );
    });
    host.crash(Crash::Power);
    let (store, _) = open(&host, settings(FlushMode::Async));
    assert_eq!(store.queues_present().len(), 2_000);
    assert_eq!(store.topics_present().len(), 1);
}

#[test]
fn a_message_of_the_codec_reads_back_as_it_was_given() {
    let (_world, host) = world(10);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let host_v4 = "127.0.0.1:10911".parse().unwrap();
    let (topic, body) = (
        "a-topic-of-more-than-127-bytes".repeat(6),
        b"hello".to_vec(),
    );
    for topic in [topic.as_str(), "TopicTest"] {
        let fields = remoting::message::MessageFields {
            topic,
            queue_id: 3,
            flag: 1,
            sys_flag: 0,
            born_timestamp_ms: 17,
            born_host: "[::1]:5".parse().unwrap(),
            store_host: host_v4,
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &[b"TAGS\x01TagA"],
        };
        let queue = store.queue_or_create(topic, QueueId(3));
        let receipt = store.append(queue, &fields, 2_598_919).unwrap();
        let store2 = store.clone();
        let read = host.block_on(0, |_| async move {
            store2.wait_acknowledged(receipt.end).await.unwrap();
            store2
                .read_message(receipt.phy_offset)
                .await
                .unwrap()
                .unwrap()
        });
        let (message, len) = remoting::message::decode_message(&read).unwrap();
        assert_eq!(len, receipt.encoded_len);
        assert_eq!((message.topic, message.body), (topic, body.as_slice()));
        assert_eq!(message.store_timestamp_ms, receipt.store_timestamp_ms);
    }
    host.crash(Crash::Power);
    let (store, recovered) = open(&host, settings(FlushMode::Sync));
    assert_eq!(recovered.report.messages, 2);
    let queue = store.queue(&topic, QueueId(3)).unwrap();
    assert_eq!(store.max_offset(queue), QueueOffset(1));
}

#[test]
fn a_message_that_names_its_half_message_decides_it_after_every_crash() {
    let (_world, host) = world(12);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    let half = |number| PhyOffset::new(ShardId::CONTROL, LogPosition(number));
    let fields = |number: u64| remoting::message::MessageFields {
        topic: "TopicTest",
        queue_id: 3,
        flag: 0,
        sys_flag: 8,
        born_timestamp_ms: 17,
        born_host: "[::1]:5".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: half(number).to_wire(),
        body: b"committed",
        properties: &[],
    };
    let queue = store.queue_or_create("TopicTest", QueueId(3));
    let mut end = LogPosition(0);
    for number in 0..3 {
        // Number 0 is how messages say that they decide nothing.
        end = store.append(queue, &fields(number), 0).unwrap().end;
    }
    let known = host.block_on(0, |_| async move {
        store.wait_acknowledged(end).await.unwrap();
        store.index_entries(queue, QueueOffset(1)).await.unwrap()
    });
    assert_eq!(known.len(), 2);
    for life in 0..3 {
        host.crash(Crash::Power);
        let (store, recovered) = open(&host, settings(FlushMode::Sync));
        let decided: Vec<u8> = recovered
            .records
            .iter()
            .filter(|(kind, _)| *kind == RecordKind::HALF_MESSAGES_DECIDED)
            .flat_map(|(_, offsets)| offsets.clone())
            .collect();
        let expected = [half(1), half(2)].map(|half| half.to_wire().to_le_bytes());
        assert_eq!(decided, expected.concat(), "life {life}");
        if life == 1 {
            // The checkpoint at the end takes over what no source has taken.
            host.block_on(0, |_| async move { store.close().await.unwrap() });
        }
    }
}

#[test]
fn metadata_outlives_checkpoints_that_come_before_its_source() {
    let (_world, host) = world(11);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move {
        store.append_record(RecordKind(1), b"one").unwrap();
        store.close().await.unwrap();
    });
    for life in 0..3 {
        host.crash(Crash::Kill);
        let (store, recovered) = open(&host, settings(FlushMode::Sync));
        assert_eq!(recovered.records.len(), 1 + life);
        host.block_on(0, |_| async move {
            store.append_record(RecordKind(2), b"more").unwrap();
            for number in 0..1_000 {
                append_waiting(&store, "T", &body(number, 200)).await;
            }
            store.close().await.unwrap();
            assert!(store.stats().checkpoints > 1);
        });
    }
}

#[test]
fn a_store_that_rests_holds_little_memory_and_everything_stays_readable() {
    let (world, host) = world(77);
    let settings = settings(FlushMode::Sync);
    let keep = settings.tail_cache_bytes as u64 / 8;
    let (store, _) = open(&host, settings);
    let sending = store.clone();
    host.block_on(0, |_| async move {
        for number in 0..200 {
            append_waiting(&sending, "T", &body(number, 300)).await;
        }
    });
    world.run_for(std::time::Duration::from_secs(3));
    assert!(store.stats().tail_cache_bytes > 2 * keep);
    world.run_for(std::time::Duration::from_secs(20));
    assert!(store.stats().tail_cache_bytes <= keep);
    let numbers = host.block_on(0, |_| async move {
        let end = append_waiting(&store, "T", &body(200, 300)).await.end;
        store.wait_acknowledged(end).await.unwrap();
        read_numbers(&store, "T", 0).await
    });
    assert_eq!(numbers, (0..=200).collect::<Vec<_>>());
}
