//! Messages by key and by id, through the simulated network, on one shard and on three.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use remoting::RequestCode;
use rt::Rt;
use sim::Crash;
use support::{Client, Cluster, Frame, bodies, send_fields};

const SHARDS: [u16; 2] = [1, 3];
const NOT_FOUND: &str = "can not find message, maybe time range not correct";

async fn send(client: &Client, topic: &str, queue: &str, keys: &str, body: &[u8]) -> Frame {
    let properties = format!("UNIQ_KEY\u{1}id-{}\u{2}KEYS\u{1}{keys}\u{2}", body[0]);
    let fields = send_fields(topic, queue, &properties);
    let sent = client.ask(RequestCode::SendMessageV2, &fields, body).await;
    assert_eq!(sent.code, 0, "{sent:?}");
    sent
}

async fn query(client: &Client, topic: &str, key: &str, max: &str, unique: &str) -> Frame {
    let fields = [
        ("topic", topic),
        ("key", key),
        ("maxNum", max),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9223372036854775807"),
        ("_UNIQUE_KEY_QUERY", unique),
    ];
    client.ask(RequestCode::QueryMessage, &fields, &[]).await
}

fn first_bytes(answer: &Frame) -> Vec<u8> {
    assert_eq!(answer.code, 0, "{answer:?}");
    bodies(answer).iter().map(|body| body[0]).collect()
}

#[test]
fn messages_of_all_queues_are_found_by_key_as_soon_as_they_are_acknowledged() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(1, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            for n in 0..20_u8 {
                let queue = (n % 4).to_string();
                let sent = send(
                    &client,
                    "TopicTest",
                    &queue,
                    &format!("k{} all", n % 3),
                    &[n; 9],
                )
                .await;
                client
                    .sim()
                    .sleep(std::time::Duration::from_millis(2))
                    .await;
                let found = query(&client, "TopicTest", &format!("id-{n}"), "1", "true").await;
                assert_eq!(first_bytes(&found), [n]);
                assert_eq!(found.number("indexLastUpdateTimestamp") > 0, sent.code == 0);
            }
            let all = query(&client, "TopicTest", "all", "64", "false").await;
            assert_eq!(
                first_bytes(&all),
                (0..20).collect::<Vec<_>>(),
                "oldest first"
            );
            let newest = query(&client, "TopicTest", "all", "3", "false").await;
            assert_eq!(first_bytes(&newest), [17, 18, 19]);
            let third = query(&client, "TopicTest", "k1", "64", "false").await;
            assert_eq!(first_bytes(&third), [1, 4, 7, 10, 13, 16, 19]);
        });
    }
}

#[test]
fn what_is_not_there_is_answered_as_the_official_broker_answers() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(2, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            send(&client, "TopicTest", "0", "k", &[1]).await;
            for (topic, key, max) in [
                ("TopicTest", "none", "8"),
                ("TopicTest", "", "8"),
                ("TopicTest", "k", "0"),
                ("TopicTest", "K", "8"),
                ("Unknown", "k", "8"),
                ("", "k", "8"),
            ] {
                let answer = query(&client, topic, key, max, "false").await;
                assert_eq!(
                    (answer.code, &*answer.remark),
                    (22, NOT_FOUND),
                    "{topic} {key} {max}"
                );
                assert_eq!(answer.number("indexLastUpdateTimestamp"), 0);
                assert_eq!(answer.number("indexLastUpdatePhyoffset"), 0);
            }
            let answer = query(&client, "TopicTest", "k", "2147483647", "false").await;
            assert_eq!(first_bytes(&answer), [1]);
            let answer = query(&client, "TopicTest", "k", "-1", "false").await;
            assert_eq!(
                (answer.code, &*answer.remark),
                (1, "maxNum is -1, it must not be negative")
            );
            let fields = [("topic", "TopicTest"), ("maxNum", "8")];
            let answer = client.ask(RequestCode::QueryMessage, &fields, &[]).await;
            assert_eq!(answer.code, 1, "{answer:?}");
            let times = [
                ("topic", "TopicTest"),
                ("key", "k"),
                ("maxNum", "8"),
                ("beginTimestamp", "9223372036854775807"),
                ("endTimestamp", "0"),
            ];
            let answer = client.ask(RequestCode::QueryMessage, &times, &[]).await;
            assert_eq!(answer.code, 22, "{answer:?}");
        });
    }
}

#[test]
fn a_key_counts_within_its_topic_and_a_unique_query_asks_for_the_unique_key_only() {
    let mut cluster = Cluster::new(3, 3, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        send(&client, "TopicA", "0", "same id-9", &[1]).await;
        send(&client, "TopicB", "0", "same", &[2]).await;
        send(&client, "TopicA", "1", "other", &[9]).await;
        assert_eq!(
            first_bytes(&query(&client, "TopicA", "same", "8", "false").await),
            [1]
        );
        assert_eq!(
            first_bytes(&query(&client, "TopicB", "same", "8", "false").await),
            [2]
        );
        assert_eq!(
            first_bytes(&query(&client, "TopicA", "id-9", "8", "true").await),
            [9]
        );
        let both = query(&client, "TopicA", "id-9", "8", "false").await;
        assert_eq!(first_bytes(&both).len(), 2);
        let words = query(&client, "TopicA", "same id-9", "8", "false").await;
        assert_eq!(words.code, 22);
    });
}

#[test]
fn keys_are_found_after_a_crash_and_those_of_a_deleted_topic_are_not() {
    for crash in [Crash::Power, Crash::Kill] {
        let mut cluster = Cluster::new(4, 3, |settings| {
            settings.admin_access = broker::AdminAccess::Everyone;
            settings.store.flush = store::FlushMode::Sync;
        });
        cluster.start();
        cluster.client(|client| async move {
            for n in 0..40_u8 {
                let topic = ["TopicA", "TopicB"][usize::from(n % 2)];
                send(&client, topic, &(n % 4).to_string(), "k", &[n]).await;
            }
        });
        cluster.crash(crash);
        cluster.start();
        cluster.client(|client| async move {
            let mut found = first_bytes(&query(&client, "TopicA", "k", "64", "false").await);
            found.sort_unstable();
            assert_eq!(found, (0..40).step_by(2).collect::<Vec<_>>());
            let fields = [("topic", "TopicA")];
            let deleted = client
                .ask(RequestCode::DeleteTopicInBroker, &fields, &[])
                .await;
            assert_eq!(deleted.code, 0, "{deleted:?}");
            assert_eq!(query(&client, "TopicA", "k", "64", "false").await.code, 22);
            let found = first_bytes(&query(&client, "TopicB", "k", "64", "false").await);
            assert_eq!(found.len(), 20);
        });
    }
}

#[test]
fn a_broker_without_the_index_says_so() {
    let mut cluster = Cluster::new(5, 1, |settings| settings.store.key_index = false);
    cluster.start();
    cluster.client(|client| async move {
        send(&client, "TopicTest", "0", "k", &[1]).await;
        let answer = query(&client, "TopicTest", "k", "8", "false").await;
        assert_eq!(answer.code, 22);
        assert!(
            answer.remark.ends_with("messageIndexEnable is false"),
            "{}",
            answer.remark
        );
    });
}

#[test]
fn a_message_is_viewed_by_its_place_and_a_wrong_place_is_refused_in_javas_words() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(6, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            send(&client, "TopicTest", "1", "k", &[7]).await;
            let found = query(&client, "TopicTest", "k", "8", "false").await;
            let place = support::messages(&found, |message| message.phy_offset)[0];
            let view = |offset: i64| {
                let client = client.clone();
                async move {
                    let offset = offset.to_string();
                    let fields = [("offset", &*offset), ("topic", "TopicTest")];
                    client.ask(RequestCode::ViewMessageById, &fields, &[]).await
                }
            };
            assert_eq!(first_bytes(&view(place).await), [7]);
            for wrong in [place + 1, place - 1, -1, 0, i64::MAX, i64::MIN, 1 << 50] {
                let answer = view(wrong).await;
                let remark = format!("can not find message by the offset, {wrong}");
                assert_eq!((answer.code, answer.remark), (1, remark));
            }
        });
    }
}
