//! Pressure: lanes and the log are full, and still every request is answered once.

mod support;

use remoting::RequestCode;
use rt::Rt;
use std::time::Duration;
use support::{Client, Cluster, bodies, send_fields};

const CONNECTIONS: usize = 20;
const SENDS: usize = 40;

#[test]
fn a_full_lane_sheds_with_2_and_every_request_is_answered_once() {
    let mut all_shed = 0;
    for seed in 0..5 {
        let mut cluster = Cluster::new(seed, 3, |settings| {
            settings.store.flush = store::FlushMode::Sync;
            settings.store.record_len_max = 64 << 10;
            settings.store.unflushed_bytes_max = 64 << 10;
        });
        cluster.lane_capacity = 2;
        cluster.start();
        all_shed += cluster.scene(|sim, address| async move {
            let mut clients = Vec::new();
            for _ in 0..CONNECTIONS {
                clients.push(Client::connect(&sim, address).await);
            }
            while clients[0].send("TopicTest", "0", b"first").await.code != 0 {}
            let mut asked = Vec::new();
            for (index, client) in clients.iter().enumerate() {
                for n in 0..SENDS {
                    let queue = ((index + n) % 4).to_string();
                    let fields = send_fields("TopicTest", &queue, "");
                    let body = vec![n as u8; 2_000];
                    let code = RequestCode::SendMessageV2;
                    let (opaque, frame) = client.frame(code, &fields, &body);
                    // One write per send: each becomes a batch of its own.
                    client.write(&frame).await;
                    asked.push((index, opaque));
                }
            }
            let (mut taken, mut shed) = (1, 0);
            for (index, opaque) in asked {
                let answer = clients[index].answer(opaque).await;
                match answer.code {
                    0 => taken += 1,
                    2 => shed += 1,
                    _ => panic!("{answer:?}"),
                }
            }
            assert_eq!(taken + shed, 1 + CONNECTIONS * SENDS);
            let mut stored = 0;
            for queue in ["0", "1", "2", "3"] {
                let fields = [("topic", "TopicTest"), ("queueId", queue)];
                let answer = clients[0]
                    .ask(RequestCode::GetMaxOffset, &fields, &[])
                    .await;
                stored += answer.number("offset") as usize;
            }
            assert_eq!(
                stored, taken,
                "what was shed is not stored, what was taken is"
            );
            shed
        });
    }
    assert!(all_shed > 0, "the lanes were full at some time");
}

#[test]
fn answers_come_in_the_order_of_the_queue_on_each_connection() {
    for seed in 0..5 {
        let mut cluster = Cluster::new(seed, 3, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            client.send("TopicTest", "0", b"first").await;
            let mut opaques = vec![Vec::new(); 4];
            let mut bytes = Vec::new();
            for n in 0..200_usize {
                let queue = n % 4;
                let fields = send_fields("TopicTest", ["0", "1", "2", "3"][queue], "");
                let (opaque, frame) = client.frame(RequestCode::SendMessageV2, &fields, b"x");
                bytes.extend_from_slice(&frame);
                opaques[queue].push(opaque);
            }
            client.write(&bytes).await;
            for opaque in opaques.iter().flatten() {
                client.answer(*opaque).await;
            }
            let order = client.order();
            for queue in &opaques {
                let of_queue = order.iter().filter(|opaque| queue.contains(opaque));
                assert!(of_queue.eq(queue), "in the order they were asked");
            }
        });
    }
}

#[test]
fn parked_pulls_of_a_connection_that_ended_are_forgotten() {
    let mut cluster = Cluster::new(1, 3, |settings| settings.net.parked_pulls_max = 10);
    cluster.start();
    cluster.scene(|sim, address| async move {
        let client = Client::connect(&sim, address).await;
        for queue in ["0", "1", "2", "3"] {
            client.send("TopicTest", queue, b"x").await;
            client.pull("TopicTest", queue, 0, 0).await;
        }
        let leaving = Client::connect(&sim, address).await;
        for queue in ["0", "1", "2", "3"] {
            for _ in 0..10 {
                let (_, frame) = leaving.pull_frame("TopicTest", queue, 1, 600_000, "*");
                leaving.write(&frame).await;
            }
        }
        sim.sleep(Duration::from_secs(1)).await;
        let refused = client.pull("TopicTest", "0", 1, 30_000).await;
        assert_eq!(
            refused.code, 19,
            "answered at once, there is no room to park"
        );
        leaving.close();
        sim.sleep(Duration::from_secs(2)).await;
        for queue in ["0", "1", "2", "3"] {
            let (opaque, frame) = client.pull_frame("TopicTest", queue, 1, 30_000, "*");
            client.write(&frame).await;
            let early = client.answer_within(opaque, Duration::from_secs(1)).await;
            assert!(early.is_none(), "there is room again: {early:?}");
            client.send("TopicTest", queue, b"new").await;
            assert_eq!(bodies(&client.answer(opaque).await), [b"new"]);
        }
    });
}

#[test]
fn a_clean_stop_answers_parked_pulls_and_keeps_everything() {
    let mut cluster = Cluster::new(2, 3, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        for queue in ["0", "1", "2", "3"] {
            client.send("TopicTest", queue, b"kept").await;
        }
        let (_, frame) = client.pull_frame("TopicTest", "0", 1, 600_000, "*");
        client.write(&frame).await;
    });
    cluster.stop();
    cluster.restart_process();
    cluster.start();
    cluster.client(|client| async move {
        for queue in ["0", "1", "2", "3"] {
            assert_eq!(
                bodies(&client.pull("TopicTest", queue, 0, 0).await),
                [b"kept"]
            );
        }
    });
}
