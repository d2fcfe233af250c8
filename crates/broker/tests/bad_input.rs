//! Bad input: each is answered with the protocol's code and a remark that names the limit, or the
//! connection is closed, and nobody else notices.

mod support;

use remoting::RequestCode;
use rt::Rt;
use std::time::Duration;
use support::{Client, Cluster, send_fields};

/// Sends raw bytes on a connection of its own; the broker closes it and goes on serving others.
fn closes_on(bytes: &'static [u8], within: Duration) {
    let mut cluster = Cluster::new(1, 2, |_| {});
    cluster.start();
    cluster.scene(move |sim, address| async move {
        let bad = Client::connect(&sim, address).await;
        let good = Client::connect(&sim, address).await;
        let start = sim.monotonic_us();
        bad.write(bytes).await;
        bad.wait_closed().await;
        let waited = Duration::from_micros(sim.monotonic_us() - start);
        assert!(waited < within, "closed after {waited:?}");
        assert_eq!(good.send("TopicTest", "0", b"x").await.code, 0);
    });
}

const AT_ONCE: Duration = Duration::from_millis(100);

#[test]
fn a_frame_longer_than_the_limit_closes_the_connection() {
    closes_on(&[0x01, 0, 0, 1, 0, 0, 0, 2, b'{', b'}'], AT_ONCE);
    closes_on(&[0x7F, 0xFF, 0xFF, 0xFF], AT_ONCE);
}

#[test]
fn a_negative_or_tiny_length_closes_the_connection() {
    closes_on(&[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], AT_ONCE);
    closes_on(&[0, 0, 0, 2, 0, 0], AT_ONCE);
}

#[test]
fn a_header_longer_than_its_frame_closes_the_connection() {
    closes_on(&[0, 0, 0, 6, 0, 0, 0, 9, b'{', b'}'], AT_ONCE);
}

#[test]
fn an_unknown_serialize_type_closes_the_connection() {
    closes_on(&[0, 0, 0, 6, 7, 0, 0, 2, b'{', b'}'], AT_ONCE);
}

#[test]
fn invalid_json_closes_the_connection() {
    closes_on(&[0, 0, 0, 6, 0, 0, 0, 2, b'{', b'{'], AT_ONCE);
}

#[test]
fn half_a_frame_then_silence_closes_the_connection_after_its_deadline() {
    closes_on(&[0, 0, 1, 0, 0, 0], Duration::from_secs(12));
}

#[test]
fn a_frame_that_trickles_is_closed_by_its_first_byte_not_by_its_last() {
    let mut cluster = Cluster::new(2, 1, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        let start = client.sim().monotonic_us();
        client.write(&[0, 0, 1, 0]).await;
        while !client.is_closed() {
            client.sim().sleep(Duration::from_secs(1)).await;
            client.write(b" ").await;
        }
        let waited_ms = (client.sim().monotonic_us() - start) / 1_000;
        assert!((10_000..13_000).contains(&waited_ms), "{waited_ms}");
    });
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        let start = client.sim().monotonic_us();
        client.wait_closed().await;
        let waited_s = (client.sim().monotonic_us() - start) / 1_000_000;
        assert!((120..122).contains(&waited_s), "{waited_s}");
    });
}

#[test]
fn unknown_and_refused_codes_are_answered_with_3_and_a_remark() {
    let mut cluster = Cluster::new(4, 2, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        let refused = client.ask(RequestCode::AuthListUser, &[], &[]).await;
        assert_eq!(refused.code, 3);
        assert!(
            refused.remark.contains("access control"),
            "{}",
            refused.remark
        );
        let mut frame = Vec::new();
        let (form, header) = (remoting::SerializeType::Json, remoting::header::NoHeader);
        remoting::command::write_request(&mut frame, form, 9_999, 77, false, &header, &[]);
        client.write(&frame).await;
        let unknown = client.answer(77).await;
        assert_eq!(unknown.code, 3);
        assert_eq!(unknown.remark, " request type 9999 not supported");
    });
}

#[test]
fn illegal_names_are_refused_with_the_limit() {
    let mut cluster = Cluster::new(5, 3, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        let long = "a".repeat(300);
        for (topic, expected) in [
            ("", "blank"),
            ("../../etc/passwd", "illegal characters"),
            ("a\u{0}b", "illegal characters"),
            ("a b", "illegal characters"),
            (&*long, "127"),
        ] {
            let answer = client.send(topic, "0", b"x").await;
            assert_eq!(answer.code, 29, "{topic:?} {answer:?}");
            assert!(answer.remark.contains(expected), "{}", answer.remark);
            assert_eq!(answer.field("MSG_REGION"), "DefaultRegion");
        }
        for topic in [
            "SCHEDULE_TOPIC_XXXX",
            "SELF_TEST_TOPIC",
            "TRANS_CHECK_MAX_TIME_TOPIC",
        ] {
            let answer = client.send(topic, "0", b"x").await;
            assert_eq!(answer.code, 16, "{answer:?}");
            let expected = format!("Sending message to topic[{topic}] is forbidden.");
            assert_eq!(answer.remark, expected);
        }
        let joined = client.heartbeat("c1", "../g", "TopicTest").await;
        assert_eq!(joined.code, 0, "the group is left out in silence");
        let fields = [("consumerGroup", "../g")];
        let list = client
            .ask(RequestCode::GetConsumerListByGroup, &fields, &[])
            .await;
        assert_eq!(list.code, 1);
    });
}

#[test]
fn queue_ids_out_of_range_are_refused_with_the_range() {
    let mut cluster = Cluster::new(6, 3, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        assert_eq!(client.send("TopicTest", "0", b"x").await.code, 0);
        for queue in ["4", "5", "6", "2147483647"] {
            let answer = client.send("TopicTest", queue, b"x").await;
            assert_eq!(answer.code, 29, "{answer:?}");
            assert!(answer.remark.contains("queues 0 to 3"), "{}", answer.remark);
        }
        for queue in ["4", "2147483647", "-1"] {
            let answer = client.pull("TopicTest", queue, 0, 0).await;
            assert_eq!(answer.code, 29, "{answer:?}");
            assert!(
                answer.remark.contains("readQueueNums:[4]"),
                "{}",
                answer.remark
            );
        }
        for _ in 0..20 {
            let answer = client.send("TopicTest", "-1", b"x").await;
            assert_eq!(answer.code, 0, "the broker chooses: {answer:?}");
            assert!((0..4).contains(&answer.number("queueId")));
        }
        let answer = client.send("TopicTest", "x", b"x").await;
        assert_ne!(answer.code, 0);
    });
}

#[test]
fn a_body_above_the_limit_is_refused_with_13_and_the_limit() {
    let mut cluster = Cluster::new(7, 2, |settings| settings.body_len_max = 4_096);
    cluster.start();
    cluster.client(|client| async move {
        assert_eq!(client.send("TopicTest", "0", &vec![1; 4_096]).await.code, 0);
        for queue in ["0", "1"] {
            let answer = client.send("TopicTest", queue, &vec![1; 4_097]).await;
            assert_eq!(answer.code, 13);
            assert!(answer.remark.contains("4096B"), "{}", answer.remark);
        }
        let properties = format!("K\u{1}{}\u{2}", "v".repeat(32_700));
        let fields = send_fields("TopicTest", "0", &properties);
        let answer = client.ask(RequestCode::SendMessageV2, &fields, b"x").await;
        assert_eq!(answer.code, 13);
        assert!(answer.remark.contains("32KB"), "{}", answer.remark);
    });
}

#[test]
fn messages_that_are_not_supported_are_refused_so_that_nobody_retries() {
    let mut cluster = Cluster::new(8, 1, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        assert_eq!(client.send("TopicTest", "0", b"x").await.code, 0);
        let timer = "TIMER_DELAY_MS\u{1}5\u{2}";
        let fields = send_fields("TopicTest", "0", timer);
        let answer = client.ask(RequestCode::SendMessageV2, &fields, b"x").await;
        let expected = "timer messages are not supported yet";
        assert_eq!((answer.code, &*answer.remark), (13, expected));
        let mut batch = Vec::new();
        let half = remoting::message::batch::BatchMessage {
            flag: 0,
            body: b"x",
            properties: "TRAN_MSG\u{1}true\u{2}",
        };
        remoting::message::batch::append(&mut batch, half);
        let mut fields = send_fields("TopicTest", "0", "");
        fields.push(("m", "true"));
        let answer = client.ask(RequestCode::SendBatchMessage, &fields, &batch);
        let expected = "a batch cannot hold transactional messages";
        let answer = answer.await;
        assert_eq!((answer.code, &*answer.remark), (13, expected));
    });
}

#[test]
fn a_missing_field_is_named() {
    let mut cluster = Cluster::new(9, 2, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        client.send("TopicTest", "0", b"x").await;
        let fields = send_fields("TopicTest", "0", "");
        let without_time: Vec<_> = fields.iter().copied().filter(|f| f.0 != "g").collect();
        let answer = client
            .ask(RequestCode::SendMessageV2, &without_time, b"x")
            .await;
        assert_eq!(
            (answer.code, &*answer.remark),
            (1, "the custom field <g> is null")
        );
        let answer = client.ask(RequestCode::SendMessageV2, &[], b"x").await;
        assert_eq!(answer.code, 1, "{answer:?}");
    });
}

#[test]
fn an_unknown_topic_is_17_when_topics_are_not_created() {
    let mut cluster = Cluster::new(10, 2, |settings| settings.creates_topics = false);
    cluster.start();
    cluster.client(|client| async move {
        let answer = client.send("TopicTest", "0", b"x").await;
        assert_eq!(answer.code, 17);
        assert!(
            answer
                .remark
                .starts_with("topic[TopicTest] not exist, apply first please!")
        );
        let answer = client.pull("TopicTest", "0", 0, 0).await;
        assert_eq!(answer.code, 17, "{answer:?}");
    });
}

#[test]
fn a_client_that_never_reads_is_closed_and_memory_stays_within_its_budget() {
    let mut cluster = Cluster::new(11, 1, |settings| {
        settings.net.connection_bytes_max = 1 << 20;
    });
    cluster.start();
    cluster.scene(|sim, address| async move {
        use rt::{Net, Stream, WriteHalf};
        let good = Client::connect(&sim, address).await;
        good.send("TopicTest", "0", &vec![7; 60_000]).await;
        let deaf = sim.net().connect(address).await.unwrap();
        let (_unread, mut write) = deaf.split();
        let (_, pull) = good.pull_frame("TopicTest", "0", 0, 0, "*");
        let mut is_closed = false;
        for _ in 0..4_000 {
            if write.write_all(&pull).await.is_err() {
                is_closed = true;
                break;
            }
        }
        sim.sleep(Duration::from_secs(15)).await;
        is_closed |= write.write_all(&pull).await.is_err();
        assert!(is_closed, "the broker gave the connection up");
        assert_eq!(good.send("TopicTest", "0", b"x").await.code, 0);
    });
}

#[test]
fn connections_above_the_cap_are_refused_and_the_others_go_on() {
    let mut cluster = Cluster::new(12, 1, |settings| settings.net.connections_max = 50);
    cluster.start();
    cluster.scene(|sim, address| async move {
        let mut clients = Vec::new();
        for _ in 0..80 {
            clients.push(Client::connect(&sim, address).await);
        }
        sim.sleep(Duration::from_secs(1)).await;
        let open = clients.iter().filter(|client| !client.is_closed()).count();
        assert_eq!(open, 50);
        assert_eq!(clients[0].send("TopicTest", "0", b"x").await.code, 0);
        for client in clients.drain(1..) {
            client.close();
        }
        sim.sleep(Duration::from_secs(1)).await;
        let again = Client::connect(&sim, address).await;
        assert_eq!(
            again.send("TopicTest", "0", b"x").await.code,
            0,
            "room is free again"
        );
    });
}
