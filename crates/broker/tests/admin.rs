//! What tools ask of the broker, through the simulated network, on one shard and on three.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use broker::AdminAccess;
use remoting::RequestCode;
use remoting::body::dialect;
use rt::Rt;
use serde_json::Value;
use sim::Crash;
use std::time::Duration;
use support::{Client, Cluster, Fields, Frame};

const SHARDS: [u16; 2] = [1, 3];

fn cluster(shards: u16) -> Cluster {
    let mut cluster = Cluster::new(7, shards, |settings| {
        settings.admin_access = AdminAccess::Everyone;
    });
    cluster.start();
    cluster
}

async fn create(client: &Client, topic: &str, queues: &str) -> Frame {
    let fields: Fields<'_> = &[
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
    ];
    client
        .ask(RequestCode::UpdateAndCreateTopic, fields, &[])
        .await
}

async fn of_topic(client: &Client, code: RequestCode, topic: &str) -> Frame {
    client.ask(code, &[("topic", topic)], &[]).await
}

/// An answer's body, object keys turned into text.
fn body(answer: &Frame) -> Value {
    assert_eq!(answer.code, 0, "{answer:?}");
    dialect::from_slice(&answer.body).unwrap()
}

/// A row of a table whose keys are queues.
fn row(table: &Value, queue_id: u32) -> &Value {
    let rows = table["offsetTable"].as_object().unwrap();
    let wanted = format!(r#""queueId":{queue_id},"#);
    let mut found = rows.iter().filter(|(key, _)| key.contains(&wanted));
    let (_, row) = found
        .next()
        .unwrap_or_else(|| panic!("queue {queue_id}: {table}"));
    assert!(found.next().is_none());
    row
}

#[test]
fn a_topic_is_created_shown_and_deleted_with_its_messages_for_good() {
    for shards in SHARDS {
        let mut cluster = cluster(shards);
        cluster.client(move |client| async move {
            assert_eq!(create(&client, "T", "6").await.code, 0);
            let config = body(&of_topic(&client, RequestCode::GetTopicConfig, "T").await);
            assert_eq!(config["readQueueNums"], 6);
            for queue in ["0", "1", "2", "5"] {
                assert_eq!(client.send("T", queue, b"x").await.code, 0);
            }
            let status = body(&of_topic(&client, RequestCode::GetTopicStatsInfo, "T").await);
            assert_eq!(status["offsetTable"].as_object().unwrap().len(), 6);
            for (queue, max) in [(0, 1), (1, 1), (2, 1), (3, 0), (4, 0), (5, 1)] {
                assert_eq!(row(&status, queue)["maxOffset"], max, "{shards} {queue}");
                assert_eq!(row(&status, queue)["minOffset"], 0);
                let stored = row(&status, queue)["lastUpdateTimestamp"].as_i64().unwrap();
                assert_eq!(stored > 0, max > 0);
            }
            let commit: Fields<'_> = &[
                ("consumerGroup", "g"),
                ("topic", "T"),
                ("queueId", "1"),
                ("commitOffset", "1"),
            ];
            client
                .ask(RequestCode::UpdateConsumerOffset, commit, &[])
                .await;
            let deleted = of_topic(&client, RequestCode::DeleteTopicInBroker, "T").await;
            assert_eq!(deleted.code, 0, "{deleted:?}");
            let gone = of_topic(&client, RequestCode::GetTopicStatsInfo, "T").await;
            assert_eq!((gone.code, &*gone.remark), (17, "topic[T] not exist"));
            let gone = of_topic(&client, RequestCode::GetTopicConfig, "T").await;
            assert_eq!(gone.remark, "No topic in this broker. topic: T");
        });
        cluster.stop();
        cluster.crash(Crash::Kill);
        cluster.start();
        cluster.client(move |client| async move {
            let gone = of_topic(&client, RequestCode::GetTopicConfig, "T").await;
            assert_eq!(gone.code, 17, "it stays deleted");
            assert_eq!(create(&client, "T", "6").await.code, 0);
            let status = body(&of_topic(&client, RequestCode::GetTopicStatsInfo, "T").await);
            assert_eq!(
                row(&status, 1)["maxOffset"],
                0,
                "old messages are gone: {shards}"
            );
            let groups = of_topic(&client, RequestCode::QueryTopicConsumeByWho, "T").await;
            assert_eq!(body(&groups)["groupList"].as_array().unwrap().len(), 0);
        });
    }
}

#[test]
fn names_and_numbers_that_cannot_be_are_refused_in_the_words_of_java() {
    let cluster = cluster(1);
    cluster.client(|client| async move {
        let long = "a".repeat(128);
        for (topic, remark) in [
            ("", "The specified topic is blank.".to_owned()),
            (
                "TBW102",
                "The topic[TBW102] is conflict with system topic.".to_owned(),
            ),
            (
                "DefaultCluster",
                "The topic[DefaultCluster] is conflict with system topic.".to_owned(),
            ),
            (
                "rmq_sys_x",
                "The topic[rmq_sys_x] is conflict with system topic.".to_owned(),
            ),
            (
                "../x",
                "The specified topic: ../x, contains illegal characters, allowing only \
                 ^[%|a-zA-Z0-9_-]+$"
                    .to_owned(),
            ),
            (
                &long,
                format!("The specified topic: {long}, is longer than topic max length: 127"),
            ),
        ] {
            let refused = create(&client, topic, "1").await;
            assert_eq!((refused.code, refused.remark), (29, remark));
        }
        for queues in ["-1", "65537", "2147483647"] {
            let refused = create(&client, "T", queues).await;
            assert_eq!(refused.code, 29, "{queues}");
            assert!(refused.remark.contains("0 to 65536"), "{}", refused.remark);
        }
        let system = of_topic(&client, RequestCode::DeleteTopicInBroker, "SELF_TEST_TOPIC").await;
        assert_eq!(system.code, 29, "{system:?}");
    });
}

#[test]
fn administration_is_closed_to_other_machines_and_looking_is_not() {
    let mut cluster = Cluster::new(7, 1, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        assert_eq!(create(&client, "T", "1").await.code, 16);
        for code in [
            RequestCode::UpdateBrokerConfig,
            RequestCode::GetBrokerConfig,
        ] {
            let refused = client.ask(code, &[], b"brokerName=x\n").await;
            assert_eq!(refused.code, 16, "{code:?}");
        }
        let info = client
            .ask(RequestCode::GetBrokerRuntimeInfo, &[], &[])
            .await;
        assert_eq!(body(&info)["table"]["brokerActive"], "true");
    });
}

#[test]
fn groups_are_created_shown_and_deleted() {
    for shards in SHARDS {
        let cluster = cluster(shards);
        cluster.client(|client| async move {
            let group = br#"{"groupName":"g","consumeEnable":true,"retryMaxTimes":3}"#;
            let code = RequestCode::UpdateAndCreateSubscriptiongroup;
            assert_eq!(client.ask(code, &[], group).await.code, 0);
            let one = RequestCode::GetSubscriptiongroupConfig;
            let shown = body(&client.ask(one, &[("group", "g")], &[]).await);
            assert_eq!(
                (&shown["retryMaxTimes"], &shown["retryQueueNums"]),
                (&3.into(), &1.into())
            );
            let all = RequestCode::GetAllSubscriptiongroupConfig;
            let table = body(&client.ask(all, &[], &[]).await);
            assert!(table["subscriptionGroupTable"]["g"].is_object());
            assert!(table["subscriptionGroupTable"]["TOOLS_CONSUMER"].is_object());
            let bad = client.ask(code, &[], br#"{"groupName":"../g"}"#).await;
            assert_eq!(bad.code, 29, "{bad:?}");
            let deleted = RequestCode::DeleteSubscriptiongroup;
            client.ask(deleted, &[("groupName", "g")], &[]).await;
            let gone = client.ask(one, &[("group", "g")], &[]).await;
            assert_eq!(gone.code, 26);
        });
    }
}

#[test]
fn progress_members_and_rates_of_a_group_are_shown() {
    for shards in SHARDS {
        let cluster = cluster(shards);
        cluster.client(move |client| async move {
            create(&client, "T", "4").await;
            client.heartbeat("c1", "cg", "T").await;
            for queue in ["0", "1", "2", "3"] {
                for _ in 0..3 {
                    client.send("T", queue, b"x").await;
                }
                client.pull("T", queue, 0, 0).await;
                let commit: Fields<'_> = &[
                    ("consumerGroup", "cg"),
                    ("topic", "T"),
                    ("queueId", queue),
                    ("commitOffset", "2"),
                ];
                client
                    .ask(RequestCode::UpdateConsumerOffset, commit, &[])
                    .await;
            }
            let group: Fields<'_> = &[("consumerGroup", "cg")];
            let stats = body(&client.ask(RequestCode::GetConsumeStats, group, &[]).await);
            for queue in 0..4 {
                let row = row(&stats, queue);
                assert_eq!(
                    (&row["brokerOffset"], &row["consumerOffset"]),
                    (&3.into(), &2.into())
                );
                assert!(row["lastTimestamp"].as_i64().unwrap() > 0);
            }
            let online = client
                .ask(RequestCode::GetConsumerConnectionList, group, &[])
                .await;
            let online = body(&online);
            assert_eq!(online["connectionSet"][0]["clientId"], "c1");
            assert_eq!(online["subscriptionTable"]["T"]["subString"], "*");
            let groups = of_topic(&client, RequestCode::QueryTopicConsumeByWho, "T").await;
            assert_eq!(body(&groups)["groupList"], serde_json::json!(["cg"]));
            let offline: Fields<'_> = &[("consumerGroup", "nobody")];
            let nobody = client
                .ask(RequestCode::GetConsumerConnectionList, offline, &[])
                .await;
            assert_eq!(nobody.code, 206);

            client.sim().sleep(Duration::from_secs(25)).await;
            let rate = |name, key| [("statsName", name), ("statsKey", key)];
            let code = RequestCode::ViewBrokerStatsData;
            let put = body(&client.ask(code, &rate("TOPIC_PUT_NUMS", "T"), &[]).await);
            assert_eq!(put["statsMinute"]["sum"], 12, "{shards} {put}");
            let got = body(&client.ask(code, &rate("GROUP_GET_NUMS", "T@cg"), &[]).await);
            assert_eq!(got["statsMinute"]["sum"], 12, "{shards} {got}");
            let none = client
                .ask(code, &rate("TOPIC_PUT_NUMS", "other"), &[])
                .await;
            assert_eq!(none.remark, "The stats <TOPIC_PUT_NUMS> <other> not exist");
            let info = client
                .ask(RequestCode::GetBrokerRuntimeInfo, &[], &[])
                .await;
            let info = body(&info);
            assert_eq!(info["table"]["msgPutTotalTodayNow"], "12");
            assert_eq!(info["table"]["msgGetTotalTodayNow"], "12");
            assert_eq!(
                info["table"]["getTotalTps"]
                    .as_str()
                    .unwrap()
                    .split(' ')
                    .count(),
                3
            );
        });
    }
}

#[test]
fn a_reset_moves_offsets_and_tells_members() {
    for shards in SHARDS {
        let cluster = cluster(shards);
        cluster.client(|client| async move {
            create(&client, "T", "3").await;
            client.heartbeat("c1", "cg", "T").await;
            for queue in ["0", "1", "2"] {
                client.send("T", queue, b"x").await;
            }
            client.take_requests();
            let to_end: Fields<'_> = &[
                ("topic", "T"),
                ("group", "cg"),
                ("timestamp", "-1"),
                ("isForce", "true"),
            ];
            let code = RequestCode::InvokeBrokerToResetOffset;
            let moved = body(&client.ask(code, to_end, &[]).await);
            for queue in 0..3 {
                assert_eq!(*row(&moved, queue), 1);
            }
            client.sim().sleep(Duration::from_millis(100)).await;
            let told = client.take_requests();
            let reset = RequestCode::ResetConsumerClientOffset as i32;
            assert_eq!(
                told.iter().filter(|frame| frame.code == reset).count(),
                1,
                "{told:?}"
            );
            let query: Fields<'_> = &[("consumerGroup", "cg"), ("topic", "T"), ("queueId", "2")];
            let offset = client
                .ask(RequestCode::QueryConsumerOffset, query, &[])
                .await;
            assert_eq!(offset.field("offset"), "1");
            let copy: Fields<'_> = &[
                ("srcGroup", "cg"),
                ("destGroup", "copy"),
                ("offline", "true"),
            ];
            assert_eq!(
                client
                    .ask(RequestCode::CloneGroupOffset, copy, &[])
                    .await
                    .code,
                0
            );
            let query: Fields<'_> = &[("consumerGroup", "copy"), ("topic", "T"), ("queueId", "0")];
            let offset = client
                .ask(RequestCode::QueryConsumerOffset, query, &[])
                .await;
            assert_eq!(offset.field("offset"), "1");
        });
    }
}
