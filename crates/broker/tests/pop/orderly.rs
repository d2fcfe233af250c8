//! Orderly pops: a queue is locked until all of it is acknowledged.

use super::*;

#[test]
fn an_orderly_pop_locks_its_queue_until_all_is_acknowledged() {
    let ask = Ask {
        queue: 0,
        count: 2,
        order: true,
        ..ASK
    };
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.client(move |client| async move {
                for n in 0..4 {
                    send(&client, "0", &n.to_string()).await;
                }
                let tried = Ask {
                    attempt: "try-1",
                    ..ask
                };
                let first = popped(&tried.pop(&client).await);
                assert_eq!(first.len(), 2);
                assert_eq!(ask.pop(&client).await.code, 210, "the queue is locked");
                let same = tried.pop(&client).await;
                assert_eq!(popped(&same).len(), 2, "the same attempt gets the same");
                let first = popped(&same);
                assert_eq!(first[0].ack(&client).await.remark, "");
                assert_eq!(committed(&client, TOPIC, 0).await, 1);
                assert_eq!(ask.pop(&client).await.code, 210, "one is left");
                let waits = Ask {
                    poll_ms: 30_000,
                    ..ask
                };
                let (opaque, frame) = waits.frame(&client);
                client.write(&frame).await;
                client.sim().sleep(Duration::from_secs(1)).await;
                assert_eq!(first[1].ack(&client).await.remark, "");
                let answer = client.answer_within(opaque, Duration::from_secs(1)).await;
                let answer = answer.expect("the last acknowledgement frees the queue");
                let second = popped(&answer);
                assert_eq!(second[0].body, b"2");
                assert_eq!(answer.field("orderCountInfo"), "0 0 0");
                let (opaque, frame) = waits.frame(&client);
                client.write(&frame).await;
                let answer = client.answer_within(opaque, Duration::from_secs(12)).await;
                let answer = answer.expect("its time is over");
                assert_eq!(popped(&answer)[0].body, b"2", "it begins again");
                assert_eq!(answer.field("orderCountInfo"), "0 qo0%2 1;0 qo0%3 1;0 0 1");
                let stale = second[0].ack(&client).await;
                assert_eq!((stale.code, stale.remark.is_empty()), (0, false));
                let mut third = popped(&answer);
                let changed = third[0].change(&client, 1_000).await;
                assert_eq!(changed.code, 0, "{changed:?}");
            });
        },
    );
}

#[test]
fn a_lock_of_an_orderly_pop_survives_a_crash() {
    let ask = Ask {
        queue: 0,
        count: 2,
        order: true,
        ..ASK
    };
    let mut cluster = Cluster::new(9, 3, |_| {});
    cluster.start();
    let first = cluster.client(move |client| async move {
        for n in 0..3 {
            send(&client, "0", &n.to_string()).await;
        }
        let first = popped(&ask.pop(&client).await);
        assert_eq!(first[0].ack(&client).await.remark, "");
        first
    });
    cluster.crash(Crash::Kill);
    cluster.start();
    cluster.client(move |client| async move {
        assert_eq!(ask.pop(&client).await.code, 210, "it is locked still");
        assert_eq!(first[1].ack(&client).await.remark, "");
        assert_eq!(popped(&ask.pop(&client).await)[0].body, b"2");
    });
}
