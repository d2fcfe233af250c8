//! Groups over the simulated network: membership and its news, retry, dead letters, locks.

mod support;

use remoting::RequestCode;
use rt::Rt;
use std::time::Duration;
use support::{Client, Cluster, bodies, messages, send_fields};

const SHARDS: [u16; 2] = [1, 3];

async fn members(client: &Client, group: &str) -> Vec<String> {
    let fields = [("consumerGroup", group)];
    let answer = client
        .ask(RequestCode::GetConsumerListByGroup, &fields, &[])
        .await;
    if answer.code != 0 {
        let expected = format!("no consumer for this group, {group}");
        assert_eq!((answer.code, answer.remark), (1, expected));
        return Vec::new();
    }
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    serde_json::from_value(body["consumerIdList"].clone()).expect("a list of ids")
}

/// Groups whose members were told of a change.
fn news(client: &Client) -> Vec<String> {
    let requests = client.take_requests();
    let changed = requests.iter().filter(|frame| frame.code == 40);
    changed
        .map(|frame| frame.field("consumerGroup").to_owned())
        .collect()
}

#[test]
fn a_newer_version_of_the_same_subscription_is_no_news() {
    let mut cluster = Cluster::new(7, 3, |_| {});
    cluster.start();
    cluster.scene(|sim, address| async move {
        let one = Client::connect(&sim, address).await;
        let two = Client::connect(&sim, address).await;
        one.heartbeat_of("c1", "g", "TopicTest", 1).await;
        two.heartbeat_of("c2", "g", "TopicTest", 1).await;
        let soon = Duration::from_millis(50);
        sim.sleep(soon).await;
        assert!(!news(&one).is_empty() && !news(&two).is_empty());
        one.heartbeat_of("c1", "g", "TopicTest", 2).await;
        sim.sleep(soon).await;
        assert_eq!((news(&one).len(), news(&two).len()), (0, 0));
        one.heartbeat_of("c1", "g", "Another", 3).await;
        sim.sleep(soon).await;
        assert_eq!(
            (news(&one), news(&two)),
            (vec!["g".to_owned()], vec!["g".to_owned()])
        );
    });
}

#[test]
fn members_are_told_at_once_when_one_joins_or_leaves() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(1, shards, |_| {});
        cluster.start();
        cluster.scene(|sim, address| async move {
            let one = Client::connect(&sim, address).await;
            let two = Client::connect(&sim, address).await;
            let three = Client::connect(&sim, address).await;
            for client in [&one, &two, &three] {
                assert_eq!(client.heartbeat("none", "other", "T").await.code, 0);
            }
            let soon = Duration::from_millis(50);
            sim.sleep(soon).await;
            for client in [&one, &two, &three] {
                news(client);
            }
            let answer = one.heartbeat("c1", "g", "TopicTest").await;
            assert_eq!(
                (answer.code, answer.field("IS_SUPPORT_HEART_BEAT_V2")),
                (0, "true")
            );
            sim.sleep(soon).await;
            assert_eq!(news(&one), ["g"], "the newcomer itself");
            two.heartbeat("c2", "g", "TopicTest").await;
            sim.sleep(soon).await;
            assert_eq!(
                (news(&one), news(&two)),
                (vec!["g".to_owned()], vec!["g".to_owned()])
            );
            assert_eq!(members(&three, "g").await, ["c1", "c2"]);
            two.heartbeat("c2", "g", "TopicTest").await;
            sim.sleep(soon).await;
            assert!(news(&one).is_empty(), "nothing has changed");
            let fields = [("clientID", "c1"), ("consumerGroup", "g")];
            one.ask(RequestCode::UnregisterClient, &fields, &[]).await;
            sim.sleep(soon).await;
            assert_eq!((news(&one), news(&two)), (vec![], vec!["g".to_owned()]));
            one.heartbeat("c1", "g", "TopicTest").await;
            sim.sleep(soon).await;
            news(&one);
            two.close();
            sim.sleep(soon).await;
            assert!(
                news(&one).contains(&"g".to_owned()),
                "a connection that ends"
            );
            assert_eq!(members(&three, "g").await, ["c1"]);
            one.close();
            sim.sleep(soon).await;
            assert!(members(&three, "g").await.is_empty());
        });
    }
}

#[test]
fn a_pull_without_subscription_uses_that_of_the_heartbeat() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(2, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            for queue in ["0", "1", "2"] {
                client.send("TopicTest", queue, b"x").await;
            }
            let pull = async |queue: &'static str, version: &'static str| {
                let fields = [
                    ("consumerGroup", "g"),
                    ("topic", "TopicTest"),
                    ("queueId", queue),
                    ("queueOffset", "0"),
                    ("maxMsgNums", "32"),
                    ("sysFlag", "2"),
                    ("commitOffset", "0"),
                    ("suspendTimeoutMillis", "1000"),
                    ("subVersion", version),
                ];
                client.ask(RequestCode::PullMessage, &fields, &[]).await
            };
            let early = pull("0", "1").await;
            let expected = (24, "the consumer's group info not exist");
            assert_eq!((early.code, &*early.remark), expected);
            client.heartbeat("c1", "g", "TopicTest").await;
            for queue in ["0", "1", "2"] {
                assert_eq!(bodies(&pull(queue, "1").await), [b"x"]);
            }
            assert_eq!(pull("0", "2").await.code, 25, "a newer subscription");
            client.heartbeat("c1", "g", "Other").await;
            assert_eq!(pull("0", "1").await.code, 24, "not subscribed any more");
        });
    }
}

#[test]
fn a_message_that_failed_comes_again_and_becomes_a_dead_letter_at_last() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(3, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            client.heartbeat("c1", "g", "TopicTest").await;
            let properties = "UNIQ_KEY\u{1}u1\u{2}TAGS\u{1}A\u{2}";
            let fields = send_fields("TopicTest", "1", properties);
            client
                .ask(RequestCode::SendMessageV2, &fields, b"bad")
                .await;
            let first = client.pull("TopicTest", "1", 0, 0).await;
            let place = messages(&first, |message| message.phy_offset)[0].to_string();
            let back = async |place: &str, level: &str, max: &str| {
                let fields = [
                    ("offset", place),
                    ("group", "g"),
                    ("delayLevel", level),
                    ("originTopic", "TopicTest"),
                    ("maxReconsumeTimes", max),
                ];
                client
                    .ask(RequestCode::ConsumerSendMsgBack, &fields, &[])
                    .await
            };
            assert_eq!(back(&place, "1", "16").await.code, 0);
            let again = client.pull("%RETRY%g", "0", 0, 5_000).await;
            let seen = messages(&again, |m| {
                let own = ["RETRY_TOPIC", "ORIGIN_MESSAGE_ID", "UNIQ_KEY", "TAGS"];
                let own = own.map(|key| remoting::message::properties::get(m.properties, key));
                (
                    m.reconsume_times,
                    m.phy_offset,
                    own.map(|v| v.map(str::to_owned)),
                )
            });
            let (times, place, [topic, origin, key, tag]) = seen[0].clone();
            assert_eq!((times, topic.as_deref()), (1, Some("TopicTest")));
            assert_eq!((key.as_deref(), tag.as_deref()), (Some("u1"), Some("A")));
            assert_eq!(origin.map(|id| id.len()), Some(32));
            assert_eq!(back(&place.to_string(), "0", "1").await.code, 0);
            let dead = client.pull("%DLQ%g", "0", 0, 5_000).await;
            assert_eq!(bodies(&dead), [b"bad"]);
            assert_eq!(back("1", "0", "16").await.code, 1, "no message lies there");
            let far = (7_i64 << 52).to_string();
            assert_eq!(
                back(&far, "0", "16").await.code,
                1,
                "no shard has that number"
            );
        });
    }
}

#[test]
fn a_resend_to_the_retry_topic_becomes_a_dead_letter_above_its_limit() {
    let mut cluster = Cluster::new(4, 3, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        client.heartbeat("c1", "g", "TopicTest").await;
        for (times, topic) in [("1", "%RETRY%g"), ("3", "%DLQ%g")] {
            let mut fields = send_fields("%RETRY%g", "0", "");
            fields.extend([("j", times), ("l", "2")]);
            let sent = client
                .ask(RequestCode::SendMessageV2, &fields, times.as_bytes())
                .await;
            assert_eq!(sent.code, 0, "{sent:?}");
            let pulled = client.pull(topic, "0", 0, 1_000).await;
            assert_eq!(bodies(&pulled), [times.as_bytes()]);
        }
    });
}

#[test]
fn a_new_group_begins_at_0_on_a_young_queue() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(5, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            client.send("TopicTest", "0", b"x").await;
            client.heartbeat("c1", "g", "TopicTest").await;
            for queue in ["0", "1"] {
                let fields = [
                    ("consumerGroup", "g"),
                    ("topic", "TopicTest"),
                    ("queueId", queue),
                ];
                let found = client
                    .ask(RequestCode::QueryConsumerOffset, &fields, &[])
                    .await;
                assert_eq!((found.code, found.field("offset")), (0, "0"));
                let mut strict = fields.to_vec();
                strict.push(("setZeroIfNotFound", "false"));
                let found = client
                    .ask(RequestCode::QueryConsumerOffset, &strict, &[])
                    .await;
                assert_eq!(found.code, 22);
            }
        });
    }
}

#[test]
fn queues_are_locked_by_one_client_of_a_group() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(6, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            let ask = async |code, id: &str| {
                let body = format!(
                    r#"{{"consumerGroup":"g","clientId":"{id}","mqSet":[{{"topic":"T","brokerName":"broker-a","queueId":1}}]}}"#
                );
                client.ask(code, &[], body.as_bytes()).await
            };
            let locked = async |id: &str| {
                let answer = ask(RequestCode::LockBatchMq, id).await;
                let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                body["lockOKMQSet"].as_array().unwrap().len()
            };
            assert_eq!((locked("a").await, locked("b").await), (1, 0));
            assert_eq!(ask(RequestCode::UnlockBatchMq, "a").await.code, 0);
            assert_eq!(locked("b").await, 1);
            client.sim().sleep(Duration::from_secs(61)).await;
            assert_eq!(locked("a").await, 1, "the lease ran out");
        });
    }
}
