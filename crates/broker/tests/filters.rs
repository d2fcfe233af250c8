//! SQL92 filters over the simulated network: what passes, what is refused, and when it is off.

mod support;

use remoting::RequestCode;
use rt::Rt;
use std::time::Duration;
use support::{Client, Cluster, Frame, bodies, send_fields};

const TOPIC: &str = "TopicTest";

/// Sends messages with the property `a` to queue 0, one for each text; the body is the text.
async fn send(client: &Client, values: &[&str]) {
    for value in values {
        let properties = format!("TAGS\u{1}TagA\u{2}a\u{1}{value}\u{2}");
        let fields = send_fields(TOPIC, "0", &properties);
        let sent = client.ask(RequestCode::SendMessageV2, &fields, value.as_bytes());
        assert_eq!(sent.await.code, 0);
    }
}

async fn pull(
    client: &Client,
    expression: &str,
    kind: &str,
    offset: i64,
    suspend_ms: u64,
) -> Frame {
    let (offset, suspend) = (offset.to_string(), suspend_ms.to_string());
    let fields = [
        ("consumerGroup", "cg"),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("queueOffset", &offset),
        ("maxMsgNums", "32"),
        ("sysFlag", if suspend_ms > 0 { "6" } else { "4" }),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", &suspend),
        ("subscription", expression),
        ("subVersion", "0"),
        ("expressionType", kind),
    ];
    client.ask(RequestCode::PullMessage, &fields, &[]).await
}

async fn check(client: &Client, expression: &str, kind: &str) -> (i32, String) {
    let body = format!(
        r#"{{"clientId":"c","group":"cg","subscriptionData":{{"topic":"{TOPIC}","subString":"{expression}","expressionType":"{kind}","subVersion":1}}}}"#
    );
    let answer = client.ask(RequestCode::CheckClientConfig, &[], body.as_bytes());
    let answer = answer.await;
    (answer.code, answer.remark)
}

fn cluster(shards: u16) -> Cluster {
    let mut cluster = Cluster::new(3, shards, |settings| settings.filters_by_properties = true);
    cluster.start();
    cluster
}

#[test]
fn a_pull_gives_what_its_expression_is_true_for() {
    for shards in [1, 3] {
        cluster(shards).scene(|sim, address| async move {
            let client = Client::connect(&sim, address).await;
            send(&client, &["0", "2", "zz", "7", ""]).await;
            for (expression, expected) in [
                ("a > 1", vec!["2", "7"]),
                ("a <> '2'", vec!["0", "zz", "7"]),
                ("a IS NULL", vec![""]),
                ("TRUE", vec!["0", "2", "zz", "7", ""]),
                ("TAGS = 'TagA' AND a IN ('0', 'zz')", vec!["0", "zz"]),
            ] {
                let answer = pull(&client, expression, "SQL92", 0, 0).await;
                assert_eq!(answer.code, 0, "{expression}: {}", answer.remark);
                let expected: Vec<Vec<u8>> = expected.into_iter().map(Into::into).collect();
                assert_eq!(bodies(&answer), expected, "{expression}");
                assert_eq!(answer.number("nextBeginOffset"), 5);
            }
            let nothing = pull(&client, "a > 7", "SQL92", 0, 0).await;
            assert_eq!((nothing.code, nothing.number("nextBeginOffset")), (20, 5));
        });
    }
}

#[test]
fn a_parked_pull_sleeps_on_when_what_arrives_does_not_match() {
    cluster(2).scene(|sim, address| async move {
        let client = Client::connect(&sim, address).await;
        send(&client, &["0"]).await;
        let other = Client::connect(&sim, address).await;
        let sender = sim.clone();
        sim.spawn(rt::Class::Request, async move {
            for value in ["1", "2", "5"] {
                sender.sleep(Duration::from_millis(100)).await;
                send(&other, &[value]).await;
            }
        });
        let before = sim.monotonic_us();
        let answer = pull(&client, "a = 5", "SQL92", 1, 15_000).await;
        assert_eq!(bodies(&answer), [b"5"]);
        assert!(sim.monotonic_us() - before >= 300_000);
    });
}

#[test]
fn an_expression_that_cannot_be_compiled_is_refused_with_the_reason() {
    cluster(1).scene(|sim, address| async move {
        let client = Client::connect(&sim, address).await;
        send(&client, &["0"]).await;
        let answer = pull(&client, "a > 'x'", "SQL92", 0, 0).await;
        let expected = "parse the consumer's subscription failed: Value ''x'' cannot be compared.";
        assert_eq!((answer.code, answer.remark.as_str()), (23, expected));
        assert_eq!(pull(&client, "a", "XPATH", 0, 0).await.code, 1);
        let deep = format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000));
        let answer = pull(&client, &deep, "SQL92", 0, 0).await;
        assert_eq!(answer.code, 23);
        assert!(
            answer.remark.contains("nested deeper than 100 levels"),
            "{}",
            answer.remark
        );

        assert_eq!(check(&client, "a > 1", "SQL92").await.0, 0);
        assert_eq!(check(&client, "||", "TAG").await.0, 0);
        let refused = check(&client, "a > 'x'", "SQL92").await;
        assert_eq!(refused, (23, "Value ''x'' cannot be compared.".to_owned()));
        assert_eq!(check(&client, "a", "XPATH").await.0, 23);
    });
}

#[test]
fn a_broker_with_filters_off_says_so() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.start();
    cluster.scene(|sim, address| async move {
        let client = Client::connect(&sim, address).await;
        send(&client, &["0"]).await;
        let refused = "The broker does not support consumer to filter message by SQL92";
        let answer = pull(&client, "a = 0", "SQL92", 0, 0).await;
        assert_eq!((answer.code, answer.remark.as_str()), (1, refused));
        assert_eq!(
            check(&client, "a = 0", "SQL92").await,
            (1, refused.to_owned())
        );
    });
}

#[test]
fn a_group_filters_by_what_its_heartbeat_said_and_a_broken_one_gets_27() {
    cluster(3).scene(|sim, address| async move {
        let client = Client::connect(&sim, address).await;
        send(&client, &["0", "5"]).await;
        for (version, expression, code, expected) in [
            (1, "a > 1", 0, vec![b"5".to_vec()]),
            (2, "a > 'x'", 27, Vec::new()),
            (3, "a < 1", 0, vec![b"0".to_vec()]),
        ] {
            let body = format!(
                r#"{{"clientID":"c1","producerDataSet":[],"consumerDataSet":[{{"groupName":"cg","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","unitMode":false,"subscriptionDataSet":[{{"topic":"{TOPIC}","subString":"{expression}","tagsSet":[],"codeSet":[],"subVersion":{version},"expressionType":"SQL92"}}]}}]}}"#
            );
            let beat = client.ask(RequestCode::HeartBeat, &[], body.as_bytes());
            assert_eq!(beat.await.code, 0);
            let version = version.to_string();
            let fields = [
                ("consumerGroup", "cg"),
                ("topic", TOPIC),
                ("queueId", "0"),
                ("queueOffset", "0"),
                ("maxMsgNums", "32"),
                ("sysFlag", "0"),
                ("commitOffset", "0"),
                ("suspendTimeoutMillis", "0"),
                ("subVersion", &version),
            ];
            let answer = client.ask(RequestCode::PullMessage, &fields, &[]).await;
            assert_eq!(answer.code, code, "{}", answer.remark);
            assert_eq!(bodies(&answer), expected);
        }
    });
}
