//! Requests over real sockets: what brokers, clients and tools are answered.

use crate::support::{Answer, Broker, Client, Server, eventually, register_body, settings};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_registered_topic_has_a_route_and_an_unknown_one_code_17() {
    let server = Server::start(settings("route")).await;
    let mut client = Client::connect(&server).await;
    client
        .register(&Broker::master("broker-a", 10_911), &["T", "U"])
        .await;
    let answer = client.route("T").await;
    assert_eq!(answer.code(), 0);
    assert_eq!(
        answer.text(),
        concat!(
            r#"{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"broker-a","#,
            r#""cluster":"C","enableActingMaster":false}],"filterServerTable":{},"#,
            r#""queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"#,
            r#""topicSysFlag":0,"writeQueueNums":4}]}"#
        ),
        "the bytes of the official name server 5.5.0"
    );
    let unknown = client.route("nobody").await;
    assert_eq!(unknown.code(), 17);
    assert_eq!(
        unknown.remark(),
        "No topic route info in name server for the topic: nobody\nSee \
         https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    );
    server.stop().await;
}

#[tokio::test]
async fn integer_keys_are_unquoted_for_old_clients_that_do_not_ask_otherwise() {
    let server = Server::start(settings("quoting")).await;
    let mut client = Client::connect(&server).await;
    client
        .register(&Broker::master("a", 10_911), &["T", "U"])
        .await;
    client.version = 400;
    let old = client.route("T").await;
    assert!(
        old.text().contains(r#"{0:"127.0.0.1:10911"}"#),
        "{}",
        old.text()
    );
    let ext = json!({ "topic": "T", "acceptStandardJsonOnly": "true" });
    let asked = client.call(105, ext, b"").await;
    assert!(asked.text().contains(r#"{"0":"127.0.0.1:10911"}"#));
    client.version = 401;
    let new = client.route("T").await;
    assert!(new.text().contains(r#"{"0":"127.0.0.1:10911"}"#));
    let cluster = client.call(106, json!({}), b"").await;
    assert!(cluster.text().contains(r#"{0:"127.0.0.1:10911"}"#));
    server.stop().await;
}

#[tokio::test]
async fn two_brokers_share_a_topic_until_one_connection_closes() {
    let server = Server::start(settings("two-brokers")).await;
    let mut a = Client::connect(&server).await;
    let mut b = Client::connect(&server).await;
    a.register(&Broker::master("a", 10_911), &["T", "U"]).await;
    b.register(&Broker::master("b", 10_921), &["T", "V"]).await;
    let route = a.route("T").await.json();
    assert_eq!(route["brokerDatas"].as_array().unwrap().len(), 2);
    assert_eq!(route["queueDatas"].as_array().unwrap().len(), 2);
    let cluster = a.call(106, json!({}), b"").await;
    assert!(
        cluster
            .text()
            .contains(r#""clusterAddrTable":{"C":["a","b"]}"#)
    );
    drop(b);
    let a = tokio::sync::Mutex::new(a);
    eventually("the route has one broker", || async {
        let route = a.lock().await.route("T").await.json();
        route["brokerDatas"].as_array().unwrap().len() == 1
    })
    .await;
    let mut a = a.into_inner();
    assert_eq!(a.route("V").await.code(), 17);
    assert_eq!(a.route("U").await.code(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_silent_broker_expires_and_its_connection_is_closed() {
    let mut settings = settings("expiry");
    settings.limits.scan_interval = Duration::from_millis(20);
    let server = Server::start(settings).await;
    let mut silent = Client::connect(&server).await;
    let mut client = Client::connect(&server).await;
    let mut broker = Broker::master("a", 10_911);
    broker.timeout_ms = 150;
    silent.register(&broker, &["T", "U"]).await;
    assert_eq!(client.route("T").await.code(), 0);
    assert!(silent.closed_within(Duration::from_secs(5)).await);
    assert_eq!(client.route("T").await.code(), 17);
    server.stop().await;
}

#[tokio::test]
async fn a_slave_is_told_its_master() {
    let server = Server::start(settings("slave")).await;
    let mut client = Client::connect(&server).await;
    let master = client
        .register(&Broker::master("a", 10_911), &["T", "U"])
        .await;
    assert_eq!(master.ext("masterAddr"), None);
    let mut slave = Broker::master("a", 10_921);
    slave.id = 1;
    let answer = client.register(&slave, &["T", "U"]).await;
    assert_eq!(answer.ext("masterAddr"), Some("127.0.0.1:10911"));
    assert_eq!(answer.ext("haServerAddr"), Some("127.0.0.1:10912"));
    let route = client.route("T").await.json();
    let addresses = &route["brokerDatas"][0]["brokerAddrs"];
    assert_eq!(
        *addresses,
        json!({ "0": "127.0.0.1:10911", "1": "127.0.0.1:10921" })
    );
    let group = json!({ "clusterName": "C", "brokerName": "a" });
    let members = client.call(901, group, b"").await;
    assert!(
        members
            .text()
            .contains(r#"{0:"127.0.0.1:10911",1:"127.0.0.1:10921"}"#)
    );
    server.stop().await;
}

#[tokio::test]
async fn a_broker_says_goodbye_and_asks_for_its_version() {
    let server = Server::start(settings("goodbye")).await;
    let mut client = Client::connect(&server).await;
    let broker = Broker::master("a", 10_911);
    let same = br#"{"counter":1,"stateVersion":0,"timestamp":5}"#;
    let before = client.call(322, broker.ext(), same).await;
    assert_eq!(before.ext("changed"), Some("true"));
    assert!(before.body.is_empty());
    client.register(&broker, &["T", "U"]).await;
    let unchanged = client.call(322, broker.ext(), same).await;
    assert_eq!(unchanged.ext("changed"), Some("false"));
    assert_eq!(
        unchanged.json(),
        json!({ "counter": 1, "stateVersion": 0, "timestamp": 5 })
    );
    let other = br#"{"counter":2,"stateVersion":0,"timestamp":5}"#;
    let changed = client.call(322, broker.ext(), other).await;
    assert_eq!(changed.ext("changed"), Some("true"));
    assert_eq!(client.call(104, broker.ext(), b"").await.code(), 0);
    assert_eq!(client.route("T").await.code(), 17);
    server.stop().await;
}

#[tokio::test]
async fn a_registration_must_match_its_checksum_and_know_more_than_one_topic() {
    let server = Server::start(settings("checksum")).await;
    let mut client = Client::connect(&server).await;
    let broker = Broker::master("a", 10_911);
    let body = register_body(&["T", "U"]).to_string();
    let mut ext = broker.ext();
    ext["bodyCrc32"] = json!("1");
    let refused = client.call(103, ext.clone(), body.as_bytes()).await;
    assert_eq!((refused.code(), refused.remark()), (1, "crc32 not match"));
    let crc = crc32fast::hash(body.as_bytes()) & 0x7FFF_FFFF;
    ext["bodyCrc32"] = json!(crc.to_string());
    let taken = client.call(103, ext, body.as_bytes()).await;
    assert_eq!(taken.code(), 0, "{taken:?}");
    let single = client
        .try_register(&Broker::master("b", 10_921), &["T"])
        .await;
    assert_eq!(
        (single.code(), single.remark()),
        (1, "register broker failed")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_compressed_registration_is_understood() {
    let server = Server::start(settings("compressed")).await;
    let mut client = Client::connect(&server).await;
    let mut ext = Broker::master("a", 10_911).ext();
    ext["compressed"] = json!("true");
    let answer = client.call(103, ext.clone(), &compressed_body()).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    let route = client.route("T").await.json();
    assert_eq!(route["queueDatas"][0]["readQueueNums"], 3);
    assert_eq!(route["queueDatas"][0]["writeQueueNums"], 5);
    assert_eq!(route["queueDatas"][0]["perm"], 6);
    let broken = client.call(103, ext, &compressed_body()[..20]).await;
    assert_eq!(broken.code(), 1);
    server.stop().await;
}

fn compressed_body() -> Vec<u8> {
    use std::io::Write;
    let mut plain = Vec::new();
    let mut text = |text: &str| {
        plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
        plain.extend_from_slice(text.as_bytes());
        plain.len()
    };
    let count_at = text(r#"{"counter":1,"stateVersion":0,"timestamp":5}"#);
    text(r"T 3 5 6 SINGLE_TAG {}");
    text(r"U 4 4 6 SINGLE_TAG {}");
    text("[]");
    plain.splice(count_at..count_at, 2_u32.to_be_bytes());
    plain.extend_from_slice(&0_u32.to_be_bytes());
    let level = flate2::Compression::best();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
    encoder.write_all(&plain).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

#[tokio::test]
async fn lists_of_topics_are_given_or_disabled() {
    let server = Server::start(settings("lists")).await;
    let mut client = Client::connect(&server).await;
    client
        .register(&Broker::master("a", 10_911), &["T", "U"])
        .await;
    let list = |answer: &Answer| answer.json()["topicList"].clone();
    let all = client.call(206, json!({}), b"").await;
    assert_eq!(list(&all), json!(["T", "U"]));
    assert_eq!(all.text(), r#"{"topicList":["T","U"]}"#);
    let of_cluster = client.call(224, json!({ "cluster": "C" }), b"").await;
    assert_eq!(list(&of_cluster), json!(["T", "U"]));
    let unknown = client.call(224, json!({ "cluster": "D" }), b"").await;
    assert_eq!((unknown.code(), list(&unknown)), (0, json!([])));
    let system = client.call(304, json!({}), b"").await;
    assert_eq!(system.json()["brokerAddr"], "127.0.0.1:10911");
    assert_eq!(list(&system), json!(["C", "a"]));
    for code in [311, 312, 313] {
        let unit = client.call(code, json!({}), b"").await;
        assert_eq!((unit.code(), list(&unit)), (0, json!([])), "{code}");
    }
    let off = b"enableAllTopicList=false\nenableTopicList=false\n";
    assert_eq!(client.call(318, json!({}), off).await.code(), 0);
    for code in [206, 224, 311, 312, 313] {
        let refused = client.call(code, json!({ "cluster": "C" }), b"").await;
        assert_eq!((refused.code(), refused.remark()), (1, "disable"), "{code}");
    }
    server.stop().await;
}

#[tokio::test]
async fn tools_change_permissions_and_delete_topics() {
    let server = Server::start(settings("tools")).await;
    let mut client = Client::connect(&server).await;
    client
        .register(&Broker::master("a", 10_911), &["T", "U"])
        .await;
    let name = json!({ "brokerName": "a" });
    let wiped = client.call(205, name.clone(), b"").await;
    assert_eq!(wiped.ext("wipeTopicCount"), Some("2"));
    assert_eq!(client.route("T").await.json()["queueDatas"][0]["perm"], 4);
    let added = client.call(327, name, b"").await;
    assert_eq!(added.ext("addTopicCount"), Some("2"));
    assert_eq!(client.route("T").await.json()["queueDatas"][0]["perm"], 6);
    let single = json!({ "queueDatas": [{
        "brokerName": "a", "perm": 6, "readQueueNums": 1, "writeQueueNums": 1, "topicSysFlag": 0,
    }] });
    let body = single.to_string();
    let registered = client
        .call(217, json!({ "topic": "N" }), body.as_bytes())
        .await;
    assert_eq!(registered.code(), 0);
    assert_eq!(client.route("N").await.code(), 0);
    let elsewhere = json!({ "topic": "T", "clusterName": "D" });
    assert_eq!(client.call(216, elsewhere, b"").await.code(), 0);
    assert_eq!(client.route("T").await.code(), 0);
    assert_eq!(
        client.call(216, json!({ "topic": "T" }), b"").await.code(),
        0
    );
    assert_eq!(client.route("T").await.code(), 17);
    server.stop().await;
}

#[tokio::test]
async fn a_key_survives_a_restart_and_a_deleted_one_stays_deleted() {
    let settings = settings("kv-restart");
    let server = Server::start(settings.clone()).await;
    let mut client = Client::connect(&server).await;
    let item = |key: &str| json!({ "namespace": "ORDER_TOPIC_CONFIG", "key": key, "value": "a:4" });
    for key in ["T1", "T2"] {
        assert_eq!(client.call(100, item(key), b"").await.code(), 0);
    }
    assert_eq!(client.call(102, item("T2"), b"").await.code(), 0);
    server.stop().await;
    let file = std::fs::read_to_string(&settings.kv_config_path).unwrap();
    assert_eq!(
        file,
        r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T1":"a:4"}}}"#
    );

    let server = Server::start(settings).await;
    let mut client = Client::connect(&server).await;
    let value = client.call(101, item("T1"), b"").await;
    assert_eq!((value.code(), value.ext("value")), (0, Some("a:4")));
    let gone = client.call(101, item("T2"), b"").await;
    assert_eq!(gone.code(), 22);
    assert_eq!(
        gone.remark(),
        "No config item, Namespace: ORDER_TOPIC_CONFIG Key: T2"
    );
    let table = client.call(219, item(""), b"").await;
    assert_eq!(table.text(), r#"{"table":{"T1":"a:4"}}"#);
    let none = client.call(219, json!({ "namespace": "n" }), b"").await;
    assert_eq!(
        (none.code(), none.remark()),
        (22, "No config item, Namespace: n")
    );
    server.stop().await;
}

#[tokio::test]
async fn queues_of_ordered_topics_reach_brokers_and_where_enabled_clients() {
    let server = Server::start(settings("ordered")).await;
    let mut client = Client::connect(&server).await;
    let item = json!({ "namespace": "ORDER_TOPIC_CONFIG", "key": "T", "value": "a:4" });
    client.call(100, item, b"").await;
    let broker = Broker::master("a", 10_911);
    let registered = client.register(&broker, &["T", "U"]).await;
    assert_eq!(registered.text(), r#"{"table":{"T":"a:4"}}"#);
    assert_eq!(
        client.route("T").await.json()["orderTopicConf"],
        Value::Null
    );
    client
        .call(318, json!({}), b"orderMessageEnable=true")
        .await;
    assert_eq!(client.route("T").await.json()["orderTopicConf"], "a:4");
    client
        .call(318, json!({}), b"returnOrderTopicConfigToBroker=false")
        .await;
    assert!(client.register(&broker, &["T", "U"]).await.body.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn only_live_keys_can_be_configured_and_one_bad_line_changes_nothing() {
    let server = Server::start(settings("config")).await;
    let mut client = Client::connect(&server).await;
    for (body, code) in [
        (
            b"enableTopicList=false\nkvConfigPath=/tmp/evil\n".as_slice(),
            16,
        ),
        (b"enableTopicList=false\nconfigStorePath=/tmp/evil\n", 16),
        (
            b"enableTopicList=false\nrocketmqHome=/tmp;touch /tmp/evil\n",
            16,
        ),
        (b"enableTopicList=false\nlistenPort=1\n", 16),
        (b"enableTopicList=false\nneedWaitForService=maybe\n", 1),
        (b"enableTopicList=false\nno value\n", 1),
        (b"\xff\xfe", 1),
    ] {
        let answer = client.call(318, json!({}), body).await;
        assert_eq!(answer.code(), code, "{}", String::from_utf8_lossy(body));
    }
    let shown = client.call(319, json!({}), b"").await;
    let lines: Vec<&str> = shown.text().lines().collect();
    assert!(lines.contains(&"enableTopicList=true"), "{lines:?}");
    assert!(lines.contains(&"listenPort=9876"), "{lines:?}");
    assert!(lines.is_sorted());
    let changed = client
        .call(318, json!({}), b"# by hand\nneedWaitForService = true\n")
        .await;
    assert_eq!(changed.code(), 0);
    let early = client.route("T").await;
    assert_eq!((early.code(), early.remark()), (1, "name server not ready"));
    server.stop().await;
}

/// Flag of a request that wants no answer.
const ONE_WAY: i32 = 2;
/// Flag of an answer.
const RESPONSE: i32 = 1;

#[tokio::test]
async fn unknown_codes_get_code_3_and_one_way_requests_nothing() {
    let server = Server::start(settings("unknown-codes")).await;
    let mut client = Client::connect(&server).await;
    for code in [9_999, 310, -1, i32::MAX] {
        let answer = client.call(code, json!({}), b"").await;
        assert_eq!(answer.code(), 3);
        let expected = format!(" request type {code} not supported");
        assert_eq!(answer.remark(), expected);
    }
    client.send(9_999, json!({}), b"", ONE_WAY).await;
    client
        .send(105, json!({ "topic": "T" }), b"", RESPONSE)
        .await;
    assert_eq!(
        client.route("T").await.code(),
        17,
        "only this one is answered"
    );
    server.stop().await;
}
