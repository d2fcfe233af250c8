//! A wall clock that jumps by a year while the broker runs, and one that is a year behind what is
//! stored: nobody waits a year, and nothing goes.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod support;

use remoting::RequestCode;
use rt::Rt;
use sim::Crash;
use std::time::Duration;
use support::{Client, Cluster, bodies, send_fields};

const TOPIC: &str = "TopicTest";
const YEAR_MS: i64 = 365 * 24 * 3_600_000;

/// Sends a message of delay level 2, five seconds.
async fn send_delayed(client: &Client, body: &[u8]) {
    let fields = send_fields(TOPIC, "1", "DELAY\x012\x02");
    let sent = client.ask(RequestCode::SendMessageV2, &fields, body).await;
    assert_eq!(sent.code, 0, "{sent:?}");
}

/// Waits for the message at an offset of queue 1; its body, and how long it took in seconds.
async fn wait_for(client: &Client, offset: i64) -> (Vec<Vec<u8>>, u64) {
    let begin_us = client.sim().monotonic_us();
    let pulled = client.pull(TOPIC, "1", offset, 15_000).await;
    let took_us = client.sim().monotonic_us() - begin_us;
    (bodies(&pulled), took_us / 1_000_000)
}

/// The offset that a search by time gives on queue 1.
async fn search(client: &Client, timestamp_ms: i64) -> i64 {
    let timestamp = timestamp_ms.to_string();
    let fields = [
        ("topic", TOPIC),
        ("queueId", "1"),
        ("timestamp", &timestamp),
    ];
    let found = client
        .ask(RequestCode::SearchOffsetByTimestamp, &fields, &[])
        .await;
    assert_eq!(found.code, 0, "{found:?}");
    found.number("offset")
}

#[test]
fn a_clock_that_jumps_back_a_year_keeps_no_delayed_message_back_and_takes_no_message_away() {
    for (by_ms, restarts) in [
        (-YEAR_MS, false),
        (-YEAR_MS, true),
        (YEAR_MS, false),
        (YEAR_MS, true),
    ] {
        let mut cluster = Cluster::new(1, 2, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            assert_eq!(client.send(TOPIC, "1", b"before").await.code, 0);
            assert_eq!(client.heartbeat("c1", "cg", TOPIC).await.code, 0);
            send_delayed(&client, b"late").await;
        });
        if restarts {
            // A kill keeps what was acknowledged, whatever the flush mode.
            cluster.crash(Crash::Kill);
            cluster.host.jump_wall_clock(by_ms);
            cluster.start();
        } else {
            cluster.host.jump_wall_clock(by_ms);
        }
        let host = cluster.host.clone();
        cluster.client(move |client| async move {
            // What was stored by the other clock comes after its delay at the latest.
            let (late, took_s) = wait_for(&client, 1).await;
            assert_eq!(late, [b"late"]);
            assert!(took_s <= 10, "{took_s} s");
            let now_ms = host.sim(0).now_ms();
            send_delayed(&client, b"later").await;
            let (later, took_s) = wait_for(&client, 2).await;
            assert_eq!(later, [b"later"]);
            assert!((4..=10).contains(&took_s), "{took_s} s");
            assert_eq!(client.send(TOPIC, "1", b"after").await.code, 0);
            // A search never leaves out what was stored since the time that it is asked for.
            assert!(search(&client, now_ms).await <= 2);
            assert!(search(&client, 0).await == 0);
            assert!(search(&client, now_ms + 2 * YEAR_MS).await <= 4);
            assert_eq!(client.heartbeat("c1", "cg", TOPIC).await.code, 0);
            let commit = [
                ("consumerGroup", "cg"),
                ("topic", TOPIC),
                ("queueId", "1"),
                ("commitOffset", "3"),
            ];
            let committed = client
                .ask(RequestCode::UpdateConsumerOffset, &commit, &[])
                .await;
            assert_eq!(committed.code, 0);
        });
        // Members expire by the monotonic clock, and retention by its own.
        cluster.world.run_for(Duration::from_mins(5));
        cluster.client(|client| async move {
            let all = bodies(&client.pull(TOPIC, "1", 0, 0).await);
            assert_eq!(all, [&b"before"[..], b"late", b"later", b"after"]);
        });
    }
}
