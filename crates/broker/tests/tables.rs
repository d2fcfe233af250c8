//! Topics and groups under `ASYNC_FLUSH`: they are durable before anybody may rely on them.
//!
//! Their records lie in the log of shard 0, messages in those of other shards. A power cut takes
//! each log's end by itself, so that a record which waited for its log's next sync would leave messages of
//! a topic that nobody knows.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod support;

use broker::AdminAccess;
use remoting::RequestCode;
use sim::Crash;
use support::{Client, Cluster};

/// Each draws anew what a power cut keeps.
const SEEDS: std::ops::Range<u64> = 0..12;
const TOPIC: &str = "TopicTest";

/// Three shards that sync once a minute unless somebody asks for it.
fn cluster(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, 3, |settings| {
        settings.store.flush = store::FlushMode::Async;
        settings.store.async_flush_interval_ms = 60_000;
        settings.admin_access = AdminAccess::Everyone;
    });
    cluster.start();
    cluster
}

async fn topic_code(client: &Client, topic: &str) -> i32 {
    let fields = [("topic", topic)];
    client
        .ask(RequestCode::GetTopicConfig, &fields, &[])
        .await
        .code
}

async fn has_group(client: &Client, group: &str) -> bool {
    let code = RequestCode::GetAllSubscriptiongroupConfig;
    let all = client.ask(code, &[], &[]).await;
    assert_eq!(all.code, 0);
    String::from_utf8(all.body)
        .unwrap()
        .contains(&format!("\"{group}\""))
}

#[test]
fn a_topic_made_by_its_first_message_survives_a_power_cut_once_that_is_answered() {
    for seed in SEEDS {
        let mut cluster = cluster(seed);
        cluster.client(|client| async move {
            for queue in ["0", "1", "2"] {
                assert_eq!(client.send(TOPIC, queue, b"first").await.code, 0);
            }
        });
        cluster.crash(Crash::Power);
        cluster.start();
        let code = cluster.client(|client| async move { topic_code(&client, TOPIC).await });
        assert_eq!(code, 0, "seed {seed}: the topic is gone");
    }
}

#[test]
fn a_group_and_its_retry_topic_survive_a_power_cut_once_the_heartbeat_is_answered() {
    for seed in SEEDS {
        let mut cluster = cluster(seed);
        cluster.client(|client| async move {
            assert_eq!(client.heartbeat("c1", "young", TOPIC).await.code, 0);
        });
        cluster.crash(Crash::Power);
        cluster.start();
        cluster.client(move |client| async move {
            assert!(has_group(&client, "young").await, "seed {seed}");
            assert_eq!(topic_code(&client, "%RETRY%young").await, 0, "seed {seed}");
        });
    }
}

#[test]
fn a_deleted_topic_leaves_no_message_behind_for_the_next_of_its_name() {
    for seed in SEEDS {
        let mut cluster = cluster(seed);
        cluster.client(|client| async move {
            for queue in ["0", "1", "2"] {
                assert_eq!(client.send(TOPIC, queue, b"old").await.code, 0);
            }
        });
        // Everything so far is durable: only the deletion is young.
        cluster.stop();
        cluster.restart_process();
        cluster.start();
        cluster.client(|client| async move {
            let fields = [("topic", TOPIC)];
            let code = RequestCode::DeleteTopicInBroker;
            assert_eq!(client.ask(code, &fields, &[]).await.code, 0);
        });
        cluster.crash(Crash::Power);
        cluster.start();
        cluster.client(move |client| async move {
            assert_ne!(topic_code(&client, TOPIC).await, 0, "seed {seed}");
            for queue in ["0", "1", "2"] {
                let sent = client.send(TOPIC, queue, b"new").await;
                let at = (sent.code, sent.number("queueOffset"));
                assert_eq!(at, (0, 0), "seed {seed}: queue {queue} begins at 0 again");
            }
        });
    }
}

#[test]
fn a_deleted_group_does_not_come_back_with_the_power() {
    for seed in SEEDS {
        let mut cluster = cluster(seed);
        cluster.client(|client| async move {
            assert_eq!(client.heartbeat("c1", "gone", TOPIC).await.code, 0);
        });
        cluster.stop();
        cluster.restart_process();
        cluster.start();
        cluster.client(|client| async move {
            let fields = [("groupName", "gone"), ("cleanOffset", "true")];
            let code = RequestCode::DeleteSubscriptiongroup;
            assert_eq!(client.ask(code, &fields, &[]).await.code, 0);
        });
        cluster.crash(Crash::Power);
        cluster.start();
        let is_there = cluster.client(|client| async move { has_group(&client, "gone").await });
        assert!(!is_there, "seed {seed}");
    }
}
