//! A disk that fails or stands still under one shard: its sends are told, the other shard goes on.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod support;

use remoting::RequestCode;
use rt::Rt;
use sim::{Crash, DiskOp, Fault, Rule, Sim};
use std::time::Duration;
use support::{Client, Cluster, Frame, bodies, send_fields};

const TOPIC: &str = "TopicTest";

/// A queue of each of two shards.
fn queues() -> [String; 2] {
    let on = |shard: u16| {
        let mut ids = 0..4;
        let found = ids.find(|id| base::owner_of(TOPIC, base::QueueId(*id), 2).as_u16() == shard);
        found.unwrap().to_string()
    };
    [on(0), on(1)]
}

fn cluster(seed: u64, flush: store::FlushMode) -> Cluster {
    let mut cluster = Cluster::new(seed, 2, |settings| {
        settings.store.flush = flush;
        settings.store.record_len_max = 64 << 10;
        settings.store.unflushed_bytes_max = 64 << 10;
    });
    cluster.start();
    cluster
}

async fn runtime_info(client: &Client) -> serde_json::Value {
    let answer = client
        .ask(RequestCode::GetBrokerRuntimeInfo, &[], &[])
        .await;
    assert_eq!(answer.code, 0, "{answer:?}");
    serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()["table"].take()
}

/// Sends one message and tells how long the answer took, in microseconds.
async fn timed(sim: &Sim, client: &Client, queue: &str) -> (Frame, u64) {
    let begin_us = sim.monotonic_us();
    let answer = client.send(TOPIC, queue, b"timed").await;
    (answer, sim.monotonic_us() - begin_us)
}

#[test]
fn a_failed_write_or_sync_fences_its_shard_and_the_other_goes_on() {
    for (seed, op) in [(1, DiskOp::Write), (2, DiskOp::Sync)] {
        let cluster = cluster(seed, store::FlushMode::Sync);
        let [broken, good] = queues();
        let (b, g) = (broken.clone(), good.clone());
        cluster.client(move |client| async move {
            for queue in [&b, &g] {
                assert_eq!(client.send(TOPIC, queue, b"before").await.code, 0);
            }
            // The group is made while the shard of topics and groups can still write.
            assert_eq!(bodies(&client.pull(TOPIC, &b, 0, 0).await), [b"before"]);
        });
        let rule = Rule::nth(op, "shard-000/commitlog/", 0, Fault::Eio);
        cluster.host.add_fault(rule);
        cluster.scene(move |sim, address| async move {
            let client = Client::connect(&sim, address).await;
            // The first meets the failure and may survive; the second meets the fence and does not.
            for code in [1, 14] {
                let (refused, took_us) = timed(&sim, &client, &broken).await;
                assert_eq!(refused.code, code, "{refused:?}");
                let remark = &refused.remark;
                for part in ["/store/shard-000/commitlog", "failed", "check the disk"] {
                    assert!(remark.contains(part), "{part} in {remark}");
                }
                assert!(took_us < 1_000_000, "answered at once: {took_us} us");
            }
            assert_eq!(client.send(TOPIC, &good, b"after").await.code, 0);
            let seen = bodies(&client.pull(TOPIC, &broken, 0, 0).await);
            assert_eq!(
                seen,
                [b"before"],
                "what was visible stays, nothing else is shown"
            );
            assert_eq!(bodies(&client.pull(TOPIC, &good, 0, 0).await).len(), 2);
            let table = runtime_info(&client).await;
            assert_eq!(table["shardsFenced"], "0");
            assert_eq!(table["brokerActive"], "false");
            let reason = table["shardFenced_0"].as_str().unwrap();
            assert!(reason.contains("/store/shard-000/commitlog"), "{reason}");
        });
    }
}

#[test]
fn a_shard_whose_disk_stands_still_answers_10_in_time_and_delays_nobody_else() {
    let cluster = cluster(3, store::FlushMode::Sync);
    // Its own slow moments would blur the comparison.
    cluster.host.shape_disk(|shape| shape.slow_one_in = 0);
    let [stalled, good] = queues();
    let host = cluster.host.clone();
    cluster.scene(move |sim, address| async move {
        let client = Client::connect(&sim, address).await;
        client.send(TOPIC, &stalled, b"before").await;
        let mut usual_us = Vec::new();
        for _ in 0..300 {
            usual_us.push(timed(&sim, &client, &good).await.1);
        }
        let stall = Fault::StallMs(60_000);
        host.add_fault(Rule::nth(DiskOp::Sync, "shard-000/commitlog/", 0, stall));
        let begin_us = sim.monotonic_us();
        let fields = send_fields(TOPIC, &stalled, "");
        let (opaque, frame) = client.frame(RequestCode::SendMessageV2, &fields, b"late");
        client.write(&frame).await;
        let mut meanwhile_us = Vec::new();
        for _ in 0..300 {
            let (answer, took_us) = timed(&sim, &client, &good).await;
            assert_eq!(answer.code, 0);
            meanwhile_us.push(took_us);
        }
        let late = client.answer(opaque).await;
        let took_ms = (sim.monotonic_us() - begin_us) / 1_000;
        assert_eq!(late.code, 10, "{late:?}");
        assert!((5_000..5_020).contains(&took_ms), "{took_ms} ms");
        usual_us.sort_unstable();
        meanwhile_us.sort_unstable();
        let (usual, now) = (usual_us[296], meanwhile_us[296]);
        assert!(now < 2 * usual, "99 of 100 took {usual} us, now {now} us");
        let table = runtime_info(&client).await;
        assert_eq!(table["shardsStalled"], "0");
        assert_eq!(table["brokerActive"], "true");
        // It recovers by itself, and what was answered with 10 is there.
        sim.sleep(Duration::from_mins(1)).await;
        assert_eq!(client.send(TOPIC, &stalled, b"again").await.code, 0);
        let seen = bodies(&client.pull(TOPIC, &stalled, 0, 0).await);
        assert_eq!(seen, [&b"before"[..], b"late", b"again"]);
        assert_eq!(runtime_info(&client).await["shardsStalled"], "none");
    });
}

#[test]
fn a_flood_of_sends_to_a_standing_disk_is_refused_and_its_neighbours_are_served() {
    let cluster = cluster(4, store::FlushMode::Sync);
    let [stalled, good] = queues();
    let host = cluster.host.clone();
    cluster.scene(move |sim, address| async move {
        // Connections are served by both shards.
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(Client::connect(&sim, address).await);
        }
        clients[0].send(TOPIC, &stalled, b"before").await;
        let stall = Fault::StallMs(60_000);
        host.add_fault(Rule::nth(DiskOp::Sync, "shard-000/commitlog/", 0, stall));
        let mut asked = Vec::new();
        for client in &clients {
            for _ in 0..40 {
                let fields = send_fields(TOPIC, &stalled, "");
                let code = RequestCode::SendMessageV2;
                let (opaque, frame) = client.frame(code, &fields, &[7; 2_000]);
                client.write(&frame).await;
                asked.push((client.clone(), opaque));
            }
        }
        sim.sleep(Duration::from_millis(1_200)).await;
        for client in &clients {
            let (answer, took_us) = timed(&sim, client, &good).await;
            assert_eq!(answer.code, 0);
            assert!(took_us < 200_000, "{took_us} us");
        }
        let (mut late, mut refused) = (0, 0);
        for (client, opaque) in asked {
            let answer = client.answer_within(opaque, Duration::from_secs(6)).await;
            match answer.expect("every send is answered").code {
                10 => late += 1,
                2 => refused += 1,
                code => panic!("code {code}"),
            }
        }
        assert!(late > 10 && refused > 10, "{late} late, {refused} refused");
    });
}

#[test]
fn under_asynchronous_flush_a_fenced_shard_keeps_showing_what_it_had_acknowledged() {
    let cluster = cluster(5, store::FlushMode::Async);
    let [broken, _] = queues();
    let rule = Rule::always(DiskOp::Write, "shard-000/commitlog/", Fault::Eio);
    let host = cluster.host.clone();
    cluster.scene(move |sim, address| async move {
        let client = Client::connect(&sim, address).await;
        client.send(TOPIC, &broken, b"one").await;
        client.pull(TOPIC, &broken, 0, 0).await;
        sim.sleep(Duration::from_secs(1)).await;
        host.add_fault(rule);
        assert_eq!(client.send(TOPIC, &broken, b"two").await.code, 0);
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(client.send(TOPIC, &broken, b"three").await.code, 14);
        let seen = bodies(&client.pull(TOPIC, &broken, 0, 0).await);
        assert_eq!(seen, [b"one", b"two"]);
    });
}

#[test]
fn what_a_fenced_shard_0_could_not_write_is_refused_again_when_it_is_asked_for_again() {
    let cluster = cluster(6, store::FlushMode::Sync);
    let [_, good] = queues();
    let queue = good.clone();
    let place = cluster.client(move |client| async move {
        assert_eq!(client.send(TOPIC, &queue, b"bad").await.code, 0);
        // The group is made by the pull, its retry topic is not.
        let pulled = client.pull(TOPIC, &queue, 0, 0).await;
        support::messages(&pulled, |message| message.phy_offset)[0]
    });
    let rule = Rule::always(DiskOp::Sync, "shard-000/commitlog/", Fault::Eio);
    cluster.host.add_fault(rule);
    cluster.client(move |client| async move {
        let place = place.to_string();
        for _ in 0..3 {
            let fields = [
                ("offset", place.as_str()),
                ("group", "cg"),
                ("delayLevel", "1"),
                ("maxReconsumeTimes", "16"),
            ];
            let code = RequestCode::ConsumerSendMsgBack;
            let answer = client.ask(code, &fields, &[]).await;
            assert_ne!(answer.code, 0, "its retry topic is gone after a restart");
        }
    });
}

/// A consumer group's life on a queue: it is known, reads, commits, and finds what it committed.
async fn consume(client: &Client, group: &str, queue: &str) {
    let beat = client.heartbeat("c1", group, TOPIC).await;
    assert_eq!(beat.code, 0, "{beat:?}");
    let fields = [("consumerGroup", group)];
    let members = client
        .ask(RequestCode::GetConsumerListByGroup, &fields, &[])
        .await;
    assert_eq!(members.code, 0, "{members:?}");
    let pull = [
        ("consumerGroup", group),
        ("topic", TOPIC),
        ("queueId", queue),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "0"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subVersion", "0"),
    ];
    let pulled = client.ask(RequestCode::PullMessage, &pull, &[]).await;
    assert_eq!(bodies(&pulled), [b"before"], "{pulled:?}");
    let commit = [
        ("consumerGroup", group),
        ("topic", TOPIC),
        ("queueId", queue),
        ("commitOffset", "1"),
    ];
    let committed = client
        .ask(RequestCode::UpdateConsumerOffset, &commit, &[])
        .await;
    assert_eq!(committed.code, 0, "{committed:?}");
    assert_eq!(committed_offset(client, group, queue).await, 1);
}

async fn committed_offset(client: &Client, group: &str, queue: &str) -> i64 {
    let query = [
        ("consumerGroup", group),
        ("topic", TOPIC),
        ("queueId", queue),
    ];
    let found = client
        .ask(RequestCode::QueryConsumerOffset, &query, &[])
        .await;
    assert_eq!(found.code, 0, "{found:?}");
    found.number("offset")
}

#[test]
fn old_and_new_groups_read_on_while_shard_0_cannot_record_them() {
    let mut cluster = cluster(7, store::FlushMode::Sync);
    let [broken, good] = queues();
    let host = cluster.host.clone();
    let (b, g) = (broken.clone(), good.clone());
    cluster.scene(move |sim, address| async move {
        let first = Client::connect(&sim, address).await;
        for queue in [&b, &g] {
            assert_eq!(first.send(TOPIC, queue, b"before").await.code, 0);
        }
        assert_eq!(first.heartbeat("c1", "old", TOPIC).await.code, 0);
        let rule = Rule::nth(DiskOp::Sync, "shard-000/commitlog/", 0, Fault::Eio);
        host.add_fault(rule);
        // The change that meets the failure is not acknowledged, and its group is served all the same.
        for number in 0..6 {
            // Connections are served by both shards.
            let client = Client::connect(&sim, address).await;
            for group in ["old", "young", &format!("young{number}")] {
                for queue in [&b, &g] {
                    consume(&client, group, queue).await;
                }
            }
            let first_pull = client.pull(TOPIC, &b, 0, 0).await;
            assert_eq!(
                bodies(&first_pull),
                [b"before"],
                "a pull without a heartbeat"
            );
        }
        assert_eq!(runtime_info(&first).await["shardsFenced"], "0");
        let refused = first.send("Another", "0", b"no topic").await;
        assert_eq!(refused.code, 1, "{refused:?}");
        // Offsets of the good shard are written within their interval.
        sim.sleep(Duration::from_secs(3)).await;
    });
    cluster.host.clear_faults();
    cluster.crash(Crash::Power);
    cluster.start();
    cluster.client(move |client| async move {
        for group in ["old", "young", "young3"] {
            assert_eq!(committed_offset(&client, group, &good).await, 1);
            consume(&client, group, &broken).await;
        }
        let groups = client
            .ask(RequestCode::GetAllSubscriptiongroupConfig, &[], &[])
            .await;
        let text = String::from_utf8(groups.body).unwrap();
        assert!(text.contains("\"young3\""), "it is recorded now: {text}");
    });
}
