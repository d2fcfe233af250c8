//! Sending and pulling through the simulated network, on one shard and on three.

mod support;

use remoting::RequestCode;
use rt::Rt;
use sim::Crash;
use std::time::Duration;
use support::{Cluster, bodies, messages, send_fields};

const SHARDS: [u16; 2] = [1, 3];

#[test]
fn a_message_that_is_acknowledged_can_be_pulled_at_its_offset() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(1, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            for queue in ["0", "1", "2", "3"] {
                for n in 0..5_u8 {
                    let sent = client.send("TopicTest", queue, &[n; 10]).await;
                    assert_eq!(sent.code, 0, "{sent:?}");
                    assert_eq!(sent.number("queueOffset"), i64::from(n));
                    assert_eq!(sent.field("queueId"), queue);
                    assert_eq!(sent.field("msgId").len(), 32);
                    assert_eq!(sent.field("MSG_REGION"), "DefaultRegion");
                    assert_eq!(sent.field("TRACE_ON"), "true");
                }
                let pulled = client.pull("TopicTest", queue, 0, 0).await;
                assert_eq!((pulled.code, &*pulled.remark), (0, "FOUND"), "{pulled:?}");
                assert_eq!(pulled.number("nextBeginOffset"), 5);
                assert_eq!(pulled.number("minOffset"), 0);
                assert_eq!(pulled.number("maxOffset"), 5);
                let expected: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; 10]).collect();
                assert_eq!(bodies(&pulled), expected);
            }
        });
    }
}

#[test]
fn properties_are_stored_with_those_of_the_broker() {
    let mut cluster = Cluster::new(2, 1, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        for (sent, expected) in [
            (
                "TAGS\x01A\x02WAIT\x01true\x02UNIQ_KEY\x01u1",
                "TAGS\x01A\x02UNIQ_KEY\x01u1\x02",
            ),
            ("UNIQ_KEY\x01u2\x02", "UNIQ_KEY\x01u2\x02"),
        ] {
            let fields = send_fields("TopicTest", "0", sent);
            let answer = client.ask(RequestCode::SendMessageV2, &fields, b"x").await;
            assert!(answer.field("transactionId").starts_with('u'), "{answer:?}");
            let offset = answer.number("queueOffset");
            let pulled = client.pull("TopicTest", "0", offset, 0).await;
            let own =
                "MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02CLUSTER\x01DefaultCluster\x02";
            let stored = messages(&pulled, |m| m.properties.to_owned());
            assert_eq!(stored, [format!("{expected}{own}")]);
        }
    });
}

#[test]
fn pipelined_sends_to_queues_of_all_shards_are_all_answered_in_the_order_of_each_queue() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(3, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            client.send("TopicTest", "0", b"first").await;
            let mut bytes = Vec::new();
            let mut asked = Vec::new();
            for n in 0..400_u32 {
                let queue = (n % 4).to_string();
                let fields = send_fields("TopicTest", &queue, "");
                let body = n.to_be_bytes();
                let (opaque, frame) = client.frame(RequestCode::SendMessageV2, &fields, &body);
                bytes.extend_from_slice(&frame);
                asked.push((opaque, n));
            }
            client.write(&bytes).await;
            for (opaque, n) in asked {
                let answer = client.answer(opaque).await;
                let first = i64::from(n % 4 == 0);
                assert_eq!(answer.code, 0, "{answer:?}");
                assert_eq!(answer.number("queueOffset"), i64::from(n / 4) + first);
            }
        });
    }
}

#[test]
fn a_parked_pull_wakes_when_a_message_arrives_and_not_before() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(4, shards, |_| {});
        cluster.start();
        cluster.scene(|sim, address| async move {
            let consumer = support::Client::connect(&sim, address).await;
            let producer = support::Client::connect(&sim, address).await;
            for queue in ["0", "1", "2"] {
                producer.send("TopicTest", queue, b"old").await;
                let (opaque, frame) = consumer.pull_frame("TopicTest", queue, 1, 15_000, "*");
                consumer.write(&frame).await;
                let early = consumer.answer_within(opaque, Duration::from_secs(5)).await;
                assert!(early.is_none(), "{early:?}");
                let start = sim.monotonic_us();
                producer.send("TopicTest", queue, b"new").await;
                let woken = consumer.answer(opaque).await;
                assert_eq!(bodies(&woken), [b"new"]);
                assert!(
                    sim.monotonic_us() - start < 100_000,
                    "within a tenth of a second"
                );
            }
        });
    }
}

#[test]
fn a_parked_pull_is_answered_with_19_at_its_deadline() {
    let mut cluster = Cluster::new(5, 3, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        client.send("TopicTest", "0", b"old").await;
        let start = client.sim().monotonic_us();
        let answer = client.pull("TopicTest", "0", 1, 3_000).await;
        let waited_ms = (client.sim().monotonic_us() - start) / 1_000;
        assert_eq!((answer.code, answer.number("nextBeginOffset")), (19, 1));
        assert!((3_000..3_200).contains(&waited_ms), "{waited_ms}");
    });
}

#[test]
fn a_parked_pull_stays_while_its_filter_lets_nothing_through() {
    let mut cluster = Cluster::new(6, 1, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        client.send("TopicTest", "0", b"old").await;
        // The group's first pull makes the group.
        client.pull("TopicTest", "0", 0, 0).await;
        let (opaque, frame) = client.pull_frame("TopicTest", "0", 1, 20_000, "TagB");
        client.write(&frame).await;
        client.send("TopicTest", "0", b"tagged TagA").await;
        let early = client.answer_within(opaque, Duration::from_secs(1)).await;
        assert!(early.is_none(), "TagA does not pass: {early:?}");
    });
}

#[test]
fn offsets_outside_of_the_queue_are_answered_as_java_answers_them() {
    let mut cluster = Cluster::new(7, 3, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        for _ in 0..3 {
            client.send("TopicTest", "0", b"x").await;
        }
        // (queue, offset, code, next offset)
        for (queue, offset, code, next) in [
            ("0", 3, 19, 3),
            ("0", 4, 21, 3),
            ("0", i64::MAX, 21, 3),
            ("0", -1, 21, 0),
            ("0", i64::MIN, 21, 0),
            ("1", 0, 19, 0),
            ("1", 5, 21, 0),
        ] {
            let answer = client.pull("TopicTest", queue, offset, 0).await;
            assert_eq!(answer.code, code, "{queue} {offset} {answer:?}");
            assert_eq!(answer.number("nextBeginOffset"), next, "{queue} {offset}");
            for field in ["suggestWhichBrokerId", "minOffset", "maxOffset"] {
                assert!(!answer.field(field).is_empty(), "{field} {answer:?}");
            }
        }
    });
}

#[test]
fn a_delayed_message_comes_after_its_delay_and_once() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(8, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            client.send("TopicTest", "1", b"plain").await;
            let fields = send_fields("TopicTest", "1", "DELAY\x012\x02TAGS\x01A\x02");
            let sent = client
                .ask(RequestCode::SendMessageV2, &fields, b"late")
                .await;
            assert_eq!((sent.code, sent.field("queueId")), (0, "1"), "{sent:?}");
            let early = client.pull("TopicTest", "1", 1, 0).await;
            assert_eq!(early.code, 19);
            let start = client.sim().monotonic_us();
            let late = client.pull("TopicTest", "1", 1, 20_000).await;
            let waited_ms = (client.sim().monotonic_us() - start) / 1_000;
            assert_eq!(bodies(&late), [b"late"]);
            assert!((4_800..5_400).contains(&waited_ms), "{waited_ms}");
            let again = client.pull("TopicTest", "1", 2, 10_000).await;
            assert_eq!(again.code, 19, "delivered once");
        });
    }
}

#[test]
fn a_batch_becomes_messages_with_consecutive_offsets() {
    let mut cluster = Cluster::new(9, 3, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        let mut batch = Vec::new();
        for body in [b"one", b"two", b"six"] {
            let message = remoting::message::batch::BatchMessage {
                flag: 0,
                body,
                properties: "TAGS\x01A\x02",
            };
            remoting::message::batch::append(&mut batch, message);
        }
        let mut fields = send_fields("TopicTest", "2", "UNIQ_KEY\x01outer\x02");
        fields.push(("m", "true"));
        for (code, first) in [
            (RequestCode::SendBatchMessage, 0),
            (RequestCode::SendMessageV2, 3),
        ] {
            let sent = client.ask(code, &fields, &batch).await;
            assert_eq!(
                (sent.code, sent.number("queueOffset")),
                (0, first),
                "{sent:?}"
            );
            assert_eq!(sent.field("msgId").split(',').count(), 3);
        }
        let pulled = client.pull("TopicTest", "2", 0, 0).await;
        assert_eq!(
            bodies(&pulled),
            [b"one", b"two", b"six", b"one", b"two", b"six"]
        );
    });
}

#[test]
fn a_batch_with_one_bad_message_stores_none() {
    let mut cluster = Cluster::new(10, 1, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        client.send("TopicTest", "0", b"before").await;
        let too_long = format!("K\x01{}\x02", "v".repeat(32_700));
        let mut batch = Vec::new();
        for properties in ["TAGS\x01A\x02", "TAGS\x01A\x02", &*too_long] {
            let message = remoting::message::batch::BatchMessage {
                flag: 0,
                body: b"one",
                properties,
            };
            remoting::message::batch::append(&mut batch, message);
        }
        let mut fields = send_fields("TopicTest", "0", "");
        fields.push(("m", "true"));
        let sent = client
            .ask(RequestCode::SendBatchMessage, &fields, &batch)
            .await;
        assert_eq!(sent.code, 13, "{sent:?}");
        let pulled = client.pull("TopicTest", "0", 0, 0).await;
        assert_eq!(bodies(&pulled), [b"before"]);
    });
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_under_sync_flush() {
    for shards in SHARDS {
        for seed in 0..10 {
            let mut cluster = Cluster::new(seed, shards, |settings| {
                settings.store.flush = store::FlushMode::Sync;
            });
            cluster.start();
            let acknowledged = cluster.client(|client| async move {
                let mut last = [0; 4];
                for n in 0..60_u32 {
                    let queue = (n % 4).to_string();
                    let sent = client.send("TopicTest", &queue, &n.to_be_bytes()).await;
                    last[(n % 4) as usize] = sent.number("queueOffset");
                }
                let fields = [
                    ("consumerGroup", "TOOLS_CONSUMER"),
                    ("topic", "TopicTest"),
                    ("queueId", "1"),
                    ("commitOffset", "7"),
                ];
                let done = client
                    .ask(RequestCode::UpdateConsumerOffset, &fields, &[])
                    .await;
                assert_eq!(done.code, 0, "{done:?}");
                client.sim().sleep(Duration::from_secs(3)).await;
                last
            });
            cluster.crash(Crash::Power);
            cluster.start();
            cluster.client(move |client| async move {
                for (queue, last) in acknowledged.iter().enumerate() {
                    let pulled = client.pull("TopicTest", &queue.to_string(), 0, 0).await;
                    assert_eq!(pulled.number("maxOffset"), last + 1, "{pulled:?}");
                    assert_eq!(bodies(&pulled).len() as i64, last + 1);
                }
                let fields = [
                    ("consumerGroup", "TOOLS_CONSUMER"),
                    ("topic", "TopicTest"),
                    ("queueId", "1"),
                ];
                let found = client
                    .ask(RequestCode::QueryConsumerOffset, &fields, &[])
                    .await;
                assert_eq!(found.field("offset"), "7", "{found:?}");
            });
        }
    }
}

#[test]
fn delayed_messages_survive_crashes_and_come_once() {
    for shards in SHARDS {
        for seed in 0..5 {
            let mut cluster = Cluster::new(seed, shards, |settings| {
                settings.store.flush = store::FlushMode::Sync;
            });
            cluster.start();
            cluster.client(|client| async move {
                for queue in ["0", "1", "2", "3"] {
                    let fields = send_fields("TopicTest", queue, "DELAY\x012\x02");
                    let sent = client
                        .ask(RequestCode::SendMessageV2, &fields, b"late")
                        .await;
                    assert_eq!(sent.code, 0, "{sent:?}");
                }
                client.sim().sleep(Duration::from_secs(2)).await;
            });
            cluster.crash(Crash::Power);
            cluster.start();
            cluster.client(|client| async move {
                for queue in ["0", "1", "2", "3"] {
                    let late = client.pull("TopicTest", queue, 0, 10_000).await;
                    assert_eq!(bodies(&late), [b"late"], "{late:?}");
                }
                client.sim().sleep(Duration::from_secs(1)).await;
            });
            cluster.crash(Crash::Power);
            cluster.start();
            cluster.client(|client| async move {
                client.sim().sleep(Duration::from_secs(10)).await;
                for queue in ["0", "1", "2", "3"] {
                    let all = client.pull("TopicTest", queue, 0, 0).await;
                    assert_eq!(bodies(&all), [b"late"], "{all:?}");
                }
            });
        }
    }
}

#[test]
fn a_message_without_a_unique_key_gets_one() {
    let mut cluster = Cluster::new(12, 1, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        for properties in ["", "TAGS\x01A", "TAGS\x01A\x02", "WAIT\x01true"] {
            let fields = send_fields("TopicTest", "0", properties);
            let sent = client.ask(RequestCode::SendMessageV2, &fields, b"x").await;
            let pulled = client
                .pull("TopicTest", "0", sent.number("queueOffset"), 0)
                .await;
            let read = |m: &remoting::message::StoredMessage<'_>| {
                let get = |key| remoting::message::properties::get(m.properties, key);
                (
                    get("UNIQ_KEY").map(str::len),
                    get("TAGS").map(str::to_owned),
                )
            };
            let tag = properties.contains("TAGS").then(|| "A".to_owned());
            assert_eq!(messages(&pulled, read), [(Some(32), tag)], "{properties:?}");
        }
    });
}
