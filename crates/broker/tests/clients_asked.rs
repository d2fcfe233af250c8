//! What the broker asks of clients: replies handed to those who asked, a consumer's running state,
//! a message consumed on demand.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod support;

use remoting::RequestCode;
use remoting::command::{ReplyTo, SerializeType, write_response};
use remoting::header::NoHeader;
use remoting::language::LanguageCode;
use rt::Rt;
use std::time::Duration;
use support::{Client, Cluster, Frame, send_fields};

const SHARDS: [u16; 2] = [1, 3];
const REPLY_TOPIC: &str = "DefaultCluster_REPLY_TOPIC";

/// Waits for a request of the broker with this code.
async fn question(client: &Client, code: i32) -> Frame {
    for _ in 0..1_000 {
        let mut requests = client.take_requests();
        if let Some(index) = requests.iter().position(|frame| frame.code == code) {
            return requests.swap_remove(index);
        }
        client.sim().sleep(Duration::from_millis(1)).await;
    }
    panic!("the broker did not ask for {code}");
}

async fn reply(client: &Client, opaque: i32, code: i32, remark: Option<&str>, body: &[u8]) {
    let to = ReplyTo {
        opaque,
        version: 0,
        language: LanguageCode::Java,
        oneway: false,
        serialize: SerializeType::Json,
    };
    let mut frame = Vec::new();
    write_response(&mut frame, to, code, remark, &NoHeader, body);
    client.write(&frame).await;
}

async fn join_as_producer(client: &Client, client_id: &str) {
    let body = format!(
        "{{\"clientID\":\"{client_id}\",\"producerDataSet\":[{{\"groupName\":\"PG\"}}],\
         \"consumerDataSet\":[]}}"
    );
    let code = RequestCode::HeartBeat;
    assert_eq!(client.ask(code, &[], body.as_bytes()).await.code, 0);
}

/// Sends a reply with these properties.
async fn send_reply(client: &Client, properties: &str) -> Frame {
    let fields = send_fields(REPLY_TOPIC, "0", properties);
    let code = RequestCode::SendReplyMessageV2;
    client.ask(code, &fields, b"the reply").await
}

async fn stored_replies(client: &Client) -> i64 {
    let fields = [("topic", REPLY_TOPIC), ("queueId", "0")];
    let code = RequestCode::GetMaxOffset;
    client.ask(code, &fields, &[]).await.number("offset")
}

#[test]
fn a_reply_reaches_the_client_that_asked_and_is_stored() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(11, shards, |_| {});
        cluster.start();
        cluster.scene(|sim, address| async move {
            let asking = Client::connect(&sim, address).await;
            join_as_producer(&asking, "asking").await;
            let replying = Client::connect(&sim, address).await;
            let properties = "CORRELATION_ID\u{1}c1\u{2}REPLY_TO_CLIENT\u{1}asking\u{2}";
            let sender = replying.clone();
            let (giver, taker) = rt::sync::oneshot();
            sim.spawn(rt::Class::Request, async move {
                giver.give(send_reply(&sender, properties).await);
            });
            let pushed = question(&asking, 326).await;
            assert_eq!(pushed.body, b"the reply");
            assert_eq!(pushed.field("topic"), REPLY_TOPIC);
            let told = pushed.field("properties");
            assert!(told.contains("CORRELATION_ID\u{1}c1") && told.contains("PUSH_REPLY_TIME"));
            reply(&asking, pushed.opaque, 0, None, &[]).await;
            let answer = taker.take().await.unwrap();
            assert_eq!((answer.code, answer.number("queueOffset")), (0, 0));
            assert_eq!(stored_replies(&replying).await, 1);
        });
    }
}

#[test]
fn a_reply_that_nobody_takes_is_told_and_stored() {
    let mut cluster = Cluster::new(12, 2, |_| {});
    cluster.start();
    cluster.scene(|sim, address| async move {
        let client = Client::connect(&sim, address).await;
        let gone = send_reply(&client, "REPLY_TO_CLIENT\u{1}nobody\u{2}").await;
        let expected = "push reply message fail, channel of <nobody> not found.";
        assert_eq!((gone.code, gone.remark.as_str()), (1, expected));
        let nameless = send_reply(&client, "KEYS\u{1}k\u{2}").await;
        let expected = "reply message properties[REPLY_TO_CLIENT] is null";
        assert_eq!((nameless.code, nameless.remark.as_str()), (1, expected));
        assert_eq!(nameless.number("queueOffset"), 1);
        assert_eq!(stored_replies(&client).await, 2);
    });
}

#[test]
fn a_consumer_tells_a_tool_of_itself() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(13, shards, |_| {});
        cluster.start();
        cluster.scene(|sim, address| async move {
            let consumer = Client::connect(&sim, address).await;
            consumer.heartbeat("c1", "g", "TopicTest").await;
            let tool = Client::connect(&sim, address).await;
            let fields = [
                ("consumerGroup", "g"),
                ("clientId", "c1"),
                ("jstackEnable", "true"),
            ];
            let asker = tool.clone();
            let (giver, taker) = rt::sync::oneshot();
            sim.spawn(rt::Class::Request, async move {
                let code = RequestCode::GetConsumerRunningInfo;
                giver.give(asker.ask(code, &fields, &[]).await);
            });
            let asked = question(&consumer, 307).await;
            assert_eq!(
                (asked.field("clientId"), asked.field("jstackEnable")),
                ("c1", "true")
            );
            // A stranger's answer to the same question counts for nothing.
            reply(&tool, asked.opaque, 0, None, b"forged").await;
            sim.sleep(Duration::from_millis(100)).await;
            reply(&consumer, asked.opaque, 0, None, b"{\"properties\":{}}").await;
            let answer = taker.take().await.unwrap();
            assert_eq!(
                (answer.code, answer.body.as_slice()),
                (0, b"{\"properties\":{}}".as_slice())
            );
        });
    }
}

#[test]
fn a_consumer_that_does_not_answer_or_leaves_is_told_to_the_tool() {
    let mut cluster = Cluster::new(14, 2, |_| {});
    cluster.start();
    cluster.scene(|sim, address| async move {
        let consumer = Client::connect(&sim, address).await;
        consumer.heartbeat("c1", "g", "TopicTest").await;
        let tool = Client::connect(&sim, address).await;
        let code = RequestCode::GetConsumerRunningInfo;
        let unknown = [("consumerGroup", "g"), ("clientId", "c2")];
        let answer = tool.ask(code, &unknown, &[]).await;
        assert_eq!(
            (answer.code, answer.remark.as_str()),
            (1, "The Consumer <g> <c2> not online")
        );
        let fields = [("consumerGroup", "g"), ("clientId", "c1")];
        let opaque = tool.frame(code, &fields, &[]);
        tool.write(&opaque.1).await;
        let late = tool
            .answer_within(opaque.0, Duration::from_secs(11))
            .await
            .unwrap();
        assert_eq!(late.code, 207);
        assert!(
            late.remark.starts_with("consumer <g> <c1> Timeout"),
            "{}",
            late.remark
        );
        let opaque = tool.frame(code, &fields, &[]);
        tool.write(&opaque.1).await;
        question(&consumer, 307).await;
        consumer.close();
        let gone = tool
            .answer_within(opaque.0, Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(gone.code, 1);
    });
}

#[test]
fn a_message_is_consumed_on_demand_by_the_client_that_is_named() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(15, shards, |settings| {
            settings.admin_access = broker::AdminAccess::Everyone;
        });
        cluster.start();
        cluster.scene(|sim, address| async move {
            let consumer = Client::connect(&sim, address).await;
            consumer.heartbeat("c1", "g", "TopicTest").await;
            let sent = consumer.send("TopicTest", "2", b"again").await;
            let id = sent.field("msgId").to_owned();
            let tool = Client::connect(&sim, address).await;
            let asker = tool.clone();
            let (giver, taker) = rt::sync::oneshot();
            sim.spawn(rt::Class::Request, async move {
                let code = RequestCode::ConsumeMessageDirectly;
                let fields = [
                    ("consumerGroup", "g"),
                    ("clientId", "c1"),
                    ("msgId", id.as_str()),
                ];
                giver.give(asker.ask(code, &fields, &[]).await);
            });
            let asked = question(&consumer, 309).await;
            assert!(asked.body.windows(5).any(|part| part == b"again"));
            assert!(!asked.field("brokerName").is_empty());
            reply(
                &consumer,
                asked.opaque,
                0,
                None,
                b"{\"consumeResult\":\"CR_SUCCESS\"}",
            )
            .await;
            assert_eq!(taker.take().await.unwrap().code, 0);
            let fields = [
                ("consumerGroup", "g"),
                ("clientId", "c1"),
                ("msgId", "no id"),
            ];
            let code = RequestCode::ConsumeMessageDirectly;
            assert_eq!(tool.ask(code, &fields, &[]).await.code, 1);
        });
    }
}
