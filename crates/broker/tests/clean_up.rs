//! Cleaning that an operator asks for: 306 and 329 through the protocol.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod support;

use remoting::RequestCode;
use std::time::Duration;
use support::{Client, Cluster, bodies};

const HOUR_MS: i64 = 3_600_000;

/// A broker whose messages expire after an hour and whose hour of deletion never comes.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(1, 2, |settings| {
        settings.admin_access = broker::AdminAccess::Everyone;
        let store = &mut settings.store;
        store.record_len_max = 16 << 10;
        store.segment_bytes = 64 << 10;
        store.retention = store::Retention {
            reserved_ms: HOUR_MS,
            delete_hours: 0,
            delete_interval_ms: 1,
            check_interval_ms: 1_000,
            ..store::Retention::default()
        };
    });
    cluster.start();
    cluster
}

/// Sends so many messages to each queue, so that the logs of both shards grow.
async fn fill(client: &Client, topic: &str, count: usize) {
    for number in 0..4 * count {
        let queue = (number % 4).to_string();
        let sent = client.send(topic, &queue, &[7; 3_000]).await;
        assert_eq!(sent.code, 0, "{sent:?}");
    }
}

/// First and next offset of queue 1.
async fn bounds(client: &Client, topic: &str) -> (i64, i64) {
    let fields = [("topic", topic), ("queueId", "1")];
    let min = client.ask(RequestCode::GetMinOffset, &fields, &[]).await;
    let max = client.ask(RequestCode::GetMaxOffset, &fields, &[]).await;
    (min.number("offset"), max.number("offset"))
}

#[test]
fn expired_files_go_when_they_are_asked_to_and_queues_keep_their_next_offsets() {
    let cluster = cluster();
    cluster.client(|client| async move {
        fill(&client, "Old", 60).await;
        fill(&client, "New", 60).await;
    });
    cluster.world.run_for(Duration::from_hours(5));
    cluster.client(|client| async move {
        assert_eq!(
            bounds(&client, "Old").await,
            (0, 60),
            "the hour never comes"
        );
        // Young messages, which stay.
        fill(&client, "New", 40).await;
        let code = RequestCode::DeleteExpiredCommitlog;
        assert_eq!(client.ask(code, &[], &[]).await.code, 0);
    });
    cluster.world.run_for(Duration::from_mins(2));
    cluster.client(|client| async move {
        assert_eq!(bounds(&client, "Old").await, (60, 60));
        let (min, next) = bounds(&client, "New").await;
        assert!(min > 0 && min <= 60 && next == 100, "{min}..{next}");
        let code = RequestCode::CleanExpiredConsumequeue;
        assert_eq!(client.ask(code, &[], &[]).await.code, 0);
        // Java would forget the queue, and begin it again at 0 under its consumers' feet.
        assert_eq!(bounds(&client, "Old").await, (60, 60));
        assert_eq!(bounds(&client, "New").await, (min, next));
        let young = bodies(&client.pull("New", "1", 60, 0).await);
        assert!(!young.is_empty() && young.iter().all(|body| *body == [7; 3_000]));
        let sent = client.send("Old", "1", b"goes on").await;
        assert_eq!(sent.number("queueOffset"), 60, "{sent:?}");
    });
}
