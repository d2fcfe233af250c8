//! Transactions over the simulated network, on one shard and on three: what is committed comes once,
//! what is rolled back never, and producers are asked about the rest.

#![allow(clippy::unwrap_used, reason = "shared steps of tests")]

mod support;

use broker::BrokerSettings;
use remoting::RequestCode;
use remoting::message::{StoredMessage, decode_message, parse_offset_message_id, sys_flag};
use rt::Rt;
use sim::Crash;
use std::time::Duration;
use store::FlushMode;
use support::{Client, Cluster, Frame, bodies, messages, send_fields};

const SHARDS: [u16; 2] = [1, 3];
const COMMIT: &str = "8";
const ROLLBACK: &str = "12";
const UNKNOWN: &str = "0";

/// Where a half message lies, as its producer was told.
#[derive(Debug, Clone)]
struct Half {
    phy_offset: String,
    queue_offset: String,
    message_id: String,
}

impl Half {
    fn of(answer: &Frame) -> Self {
        assert_eq!(answer.code, 0, "{answer:?}");
        let (_, offset) = parse_offset_message_id(answer.field("msgId")).unwrap();
        Self {
            phy_offset: offset.to_string(),
            queue_offset: answer.field("queueOffset").to_owned(),
            message_id: answer.field("msgId").to_owned(),
        }
    }

    fn of_check(check: &Frame) -> Self {
        Self {
            phy_offset: check.field("commitLogOffset").to_owned(),
            queue_offset: check.field("tranStateTableOffset").to_owned(),
            message_id: check.field("offsetMsgId").to_owned(),
        }
    }
}

/// Sends a half message that was made now, with further properties.
async fn prepare(client: &Client, queue_id: &str, body: &[u8], more: &str) -> Frame {
    let now = client.sim().now_ms().to_string();
    let properties = format!(
        "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}TAGS\u{1}TagA\u{2}UNIQ_KEY\u{1}key\u{2}{more}"
    );
    let mut fields = send_fields("TopicTest", queue_id, &properties);
    fields.retain(|(name, _)| *name != "f" && *name != "g");
    fields.extend([("f", "4"), ("g", &*now)]);
    client.ask(RequestCode::SendMessageV2, &fields, body).await
}

fn end_fields<'a>(half: &'a Half, decision: &'a str, group: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("producerGroup", group),
        ("tranStateTableOffset", &*half.queue_offset),
        ("commitLogOffset", &*half.phy_offset),
        ("commitOrRollback", decision),
        ("fromTransactionCheck", "false"),
        ("msgId", "key"),
        ("transactionId", "key"),
    ]
}

async fn end(client: &Client, half: &Half, decision: &str) -> Frame {
    let fields = end_fields(half, decision, "pg");
    client.ask(RequestCode::EndTransaction, &fields, &[]).await
}

/// The same as the answer to a question.
async fn answer(client: &Client, half: &Half, decision: &str) -> Frame {
    let mut fields = end_fields(half, decision, "pg");
    fields.retain(|(name, _)| *name != "fromTransactionCheck");
    fields.push(("fromTransactionCheck", "true"));
    client.ask(RequestCode::EndTransaction, &fields, &[]).await
}

async fn heartbeat(client: &Client, client_id: &str) {
    let body = format!(
        r#"{{"clientID":"{client_id}","producerDataSet":[{{"groupName":"pg"}}],"consumerDataSet":[]}}"#
    );
    let answer = client.ask(RequestCode::HeartBeat, &[], body.as_bytes());
    assert_eq!(answer.await.code, 0);
}

async fn visible(client: &Client, queue_id: &str) -> Vec<Vec<u8>> {
    bodies(&client.pull("TopicTest", queue_id, 0, 0).await)
}

async fn wait(client: &Client, seconds: u64) {
    client.sim().sleep(Duration::from_secs(seconds)).await;
}

/// One figure of the broker.
async fn figure(client: &Client, key: &str) -> i64 {
    let answer = client
        .ask(RequestCode::GetBrokerRuntimeInfo, &[], &[])
        .await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    body["table"][key].as_str().unwrap().parse().unwrap()
}

fn quick(settings: &mut BrokerSettings) {
    settings.admin_access = broker::AdminAccess::Everyone;
    settings.transactions.timeout_ms = 2_000;
    settings.transactions.check_interval_ms = 1_000;
    settings.transactions.check_max = 3;
}

#[test]
fn a_half_message_is_seen_when_it_is_committed_and_once() {
    for (shards, flush) in [
        (1, FlushMode::Sync),
        (3, FlushMode::Sync),
        (3, FlushMode::Async),
    ] {
        let mut cluster = Cluster::new(1, shards, |settings| settings.store.flush = flush);
        cluster.start();
        cluster.client(|client| async move {
            for queue in ["0", "1", "2", "3"] {
                let prepared = prepare(&client, queue, b"half", "").await;
                let half = Half::of(&prepared);
                assert_eq!(prepared.field("queueId"), queue);
                assert_eq!(visible(&client, queue).await, [b""; 0]);
                let committed = end(&client, &half, COMMIT).await;
                assert_eq!((committed.code, &*committed.remark), (0, ""));
                let again = end(&client, &half, COMMIT).await;
                assert_eq!(again.code, 0);
                assert!(again.remark.contains("decided before"), "{again:?}");
                let pulled = client.pull("TopicTest", queue, 0, 0).await;
                let seen = messages(&pulled, |m| {
                    assert_eq!(m.prepared_transaction_offset.to_string(), half.phy_offset);
                    assert_eq!(
                        sys_flag::transaction(m.sys_flag),
                        sys_flag::TRANSACTION_COMMIT
                    );
                    (m.body.to_vec(), m.queue_offset, m.properties.to_owned())
                });
                let [(body, 0, properties)] = &seen[..] else {
                    panic!("{seen:?}")
                };
                assert_eq!(body, b"half");
                for pair in [
                    "TRAN_MSG\u{1}true",
                    "PGROUP\u{1}pg",
                    "REAL_TOPIC\u{1}TopicTest",
                    "__transactionId__\u{1}key",
                ] {
                    assert!(properties.contains(pair), "{pair} in {properties:?}");
                }
            }
            assert_eq!(figure(&client, "halfMessages").await, 0);
            assert_eq!(figure(&client, "transactionsCommitted").await, 4);
        });
    }
}

#[test]
fn the_first_decision_stands_whatever_follows_and_whatever_crashes() {
    for (shards, crash) in [(1, Crash::Kill), (3, Crash::Power), (3, Crash::Kill)] {
        let mut cluster = Cluster::new(2, shards, |settings| {
            settings.store.flush = FlushMode::Sync;
        });
        cluster.start();
        let halves = cluster.client(|client| async move {
            let committed = Half::of(&prepare(&client, "0", b"committed", "").await);
            let rolled_back = Half::of(&prepare(&client, "0", b"rolled back", "").await);
            let open = Half::of(&prepare(&client, "0", b"open", "").await);
            assert_eq!(end(&client, &committed, COMMIT).await.code, 0);
            assert_eq!(end(&client, &rolled_back, ROLLBACK).await.code, 0);
            assert_eq!(visible(&client, "0").await, [b"committed"]);
            [committed, rolled_back, open]
        });
        for life in 0..3 {
            cluster.crash(crash);
            cluster.start();
            let [committed, rolled_back, open] = halves.clone();
            cluster.client(move |client| async move {
                for half in [&committed, &rolled_back] {
                    for decision in [ROLLBACK, COMMIT] {
                        let late = end(&client, half, decision).await;
                        assert!(late.remark.contains("decided before"), "{late:?}");
                    }
                }
                let open_count = figure(&client, "halfMessages").await;
                assert_eq!(open_count, i64::from(life == 0));
                let ended = end(&client, &open, COMMIT).await;
                assert_eq!((ended.code, ended.remark.is_empty()), (0, life == 0));
                assert_eq!(visible(&client, "0").await, [&b"committed"[..], b"open"]);
            });
        }
    }
}

#[test]
fn a_start_after_an_orderly_stop_knows_what_is_open() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(3, shards, |_| {});
        cluster.start();
        let halves = cluster.client(|client| async move {
            let mut halves = Vec::new();
            for number in 0..500_u32 {
                let queue = (number % 4).to_string();
                let half = prepare(&client, &queue, &number.to_be_bytes(), "").await;
                halves.push(Half::of(&half));
            }
            for half in halves.iter().step_by(2) {
                end(&client, half, ROLLBACK).await;
            }
            halves
        });
        cluster.stop();
        cluster.restart_process();
        cluster.start();
        cluster.client(move |client| async move {
            assert_eq!(figure(&client, "halfMessages").await, 250);
            for half in &halves {
                assert_eq!(end(&client, half, COMMIT).await.code, 0);
            }
            assert_eq!(figure(&client, "halfMessages").await, 0);
            assert_eq!(figure(&client, "transactionsCommitted").await, 250);
        });
    }
}

#[test]
fn a_request_that_means_no_half_message_is_refused_with_the_official_words() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(4, shards, |_| {});
        cluster.start();
        cluster.client(|client| async move {
            let half = Half::of(&prepare(&client, "1", b"half", "").await);
            let plain = Half::of(&client.send("TopicTest", "1", b"plain").await);
            let fields = end_fields(&half, COMMIT, "another");
            let foreign = client.ask(RequestCode::EndTransaction, &fields, &[]).await;
            assert_eq!(
                (foreign.code, &*foreign.remark),
                (1, "The producer group wrong")
            );
            let mut wrong = half.clone();
            wrong.queue_offset = "77".to_owned();
            let refused = end(&client, &wrong, COMMIT).await;
            let words = "The transaction state table offset wrong";
            assert_eq!((refused.code, &*refused.remark), (1, words));
            for offset in ["-1", "0", "8", "4503599627370496", "9223372036854775807"] {
                let mut nowhere = half.clone();
                nowhere.phy_offset = offset.to_owned();
                for decision in [COMMIT, ROLLBACK] {
                    let refused = end(&client, &nowhere, decision).await;
                    let words = "Find prepared transaction message failed";
                    assert_eq!((refused.code, &*refused.remark), (1, words), "{offset}");
                }
            }
            let refused = end(&client, &plain, COMMIT).await;
            assert_eq!(
                (refused.code, &*refused.remark),
                (1, "The producer group wrong")
            );
            assert_eq!(visible(&client, "1").await, [b"plain"]);
            let fields = end_fields(&half, UNKNOWN, "pg");
            let (opaque, frame) = client.frame(RequestCode::EndTransaction, &fields, &[]);
            client.write(&frame).await;
            let silent = client.answer_within(opaque, Duration::from_secs(5)).await;
            assert!(silent.is_none(), "{silent:?}");
            assert_eq!(end(&client, &half, COMMIT).await.code, 0);
            assert_eq!(visible(&client, "1").await, [&b"plain"[..], b"half"]);
            let committed = client.pull("TopicTest", "1", 1, 0).await;
            let place = messages(&committed, |m| (m.phy_offset, m.queue_offset))[0];
            let mut not_half = half.clone();
            not_half.phy_offset = place.0.to_string();
            not_half.queue_offset = place.1.to_string();
            let refused = end(&client, &not_half, COMMIT).await;
            assert_eq!(refused.code, 1);
            assert!(refused.remark.starts_with("The commit log offset wrong"));
            assert_eq!(visible(&client, "1").await.len(), 2);
        });
    }
}

#[test]
fn nobody_can_pull_half_messages_and_no_route_leads_to_them() {
    let mut cluster = Cluster::new(5, 1, |_| {});
    cluster.start();
    cluster.client(|client| async move {
        prepare(&client, "0", b"half", "").await;
        let pulled = client.pull("RMQ_SYS_TRANS_HALF_TOPIC", "0", 0, 0).await;
        assert_eq!(pulled.code, 17);
        let sent = client.send("RMQ_SYS_TRANS_HALF_TOPIC", "0", b"no").await;
        assert_eq!(sent.code, 16);
        let topics = client.ask(RequestCode::GetAllTopicConfig, &[], &[]).await;
        assert!(!String::from_utf8_lossy(&topics.body).contains("TRANS_HALF"));
    });
}

#[test]
fn a_producer_is_asked_about_what_it_left_open() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(6, shards, quick);
        cluster.start();
        cluster.scene(|sim, address| async move {
            let gone = Client::connect(&sim, address).await;
            let (one, other) = (
                Client::connect(&sim, address).await,
                Client::connect(&sim, address).await,
            );
            let mut halves = Vec::new();
            for queue in ["0", "1", "2", "3"] {
                halves.push(Half::of(&prepare(&gone, queue, queue.as_bytes(), "").await));
            }
            gone.close();
            heartbeat(&one, "one").await;
            heartbeat(&other, "other").await;
            wait(&one, 1).await;
            assert!(one.take_requests().is_empty() && other.take_requests().is_empty());
            wait(&one, 3).await;
            let asked = [one.take_requests(), other.take_requests()];
            assert!(asked.iter().all(|requests| !requests.is_empty()), "in turn");
            for request in asked.iter().flatten() {
                assert_eq!(request.code, 39);
                assert_eq!(request.field("bname"), "broker-a");
                assert_eq!(request.field("msgId"), "key");
                assert_eq!(request.field("transactionId"), "key");
                let half = Half::of_check(request);
                let (message, _) = decode_message(&request.body).unwrap();
                check_unit(&message);
                let place = halves.iter().position(|h| h.phy_offset == half.phy_offset);
                assert_eq!(place.unwrap().to_string().as_bytes(), message.body);
                assert_eq!(half.message_id, halves[place.unwrap()].message_id);
                assert_eq!(answer(&one, &half, COMMIT).await.code, 0);
            }
            wait(&one, 5).await;
            assert!(one.take_requests().is_empty() && other.take_requests().is_empty());
            for queue in ["0", "1", "2", "3"] {
                assert_eq!(visible(&one, queue).await, [queue.as_bytes()]);
            }
            assert!(figure(&one, "transactionChecks").await >= 4);
        });
    }
}

fn check_unit(message: &StoredMessage<'_>) {
    assert_eq!(message.topic, "TopicTest");
    assert_eq!(message.queue_id.to_string().as_bytes(), message.body);
    assert_eq!(
        sys_flag::transaction(message.sys_flag),
        sys_flag::TRANSACTION_NOT
    );
    let checks = "TRANSACTION_CHECK_TIMES\u{1}";
    assert!(message.properties.contains(checks), "{message:?}");
}

#[test]
fn after_the_last_question_a_half_message_is_given_up_and_can_be_brought_back() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(7, shards, quick);
        cluster.start();
        cluster.client(move |client| async move {
            heartbeat(&client, "one").await;
            for queue in ["0", "1", "2"] {
                prepare(&client, queue, queue.as_bytes(), "").await;
            }
            wait(&client, 10).await;
            assert_eq!(client.take_requests().len(), 9, "three questions for each");
            assert_eq!(figure(&client, "halfMessages").await, 0);
            assert_eq!(figure(&client, "transactionsDiscarded").await, 3);
            let mut given_up = Vec::new();
            for queue in 0..shards {
                let topic = "TRANS_CHECK_MAX_TIME_TOPIC";
                let pulled = client.pull(topic, &queue.to_string(), 0, 0).await;
                given_up.extend(messages(&pulled, |m| {
                    let id = remoting::message::OffsetMessageId::new(m.store_host, m.phy_offset);
                    assert!(m.properties.contains("TRANSACTION_CHECK_TIMES\u{1}3"));
                    (m.body.to_vec(), id.as_str().to_owned())
                }));
            }
            given_up.sort();
            let found: Vec<&[u8]> = given_up.iter().map(|(body, _)| &body[..]).collect();
            assert_eq!(found, [b"0", b"1", b"2"]);
            let id = [("msgId", &*given_up[1].1)];
            let code = RequestCode::ResumeCheckHalfMessage;
            let resumed = client.ask(code, &id, &[]).await;
            assert_eq!(resumed.code, 0, "{resumed:?}");
            wait(&client, 2).await;
            let asked = client.take_requests();
            assert_eq!(asked[0].code, 39);
            let half = Half::of_check(&asked[0]);
            assert_eq!(answer(&client, &half, COMMIT).await.code, 0);
            assert_eq!(visible(&client, "1").await, [b"1"]);
            let plain = client.send("TopicTest", "0", b"plain").await;
            for id in [plain.field("msgId"), "nonsense", ""] {
                let refused = client.ask(code, &[("msgId", id)], &[]).await;
                assert_eq!(refused.code, 1, "{id}");
            }
        });
    }
}

#[test]
fn a_question_counts_only_when_there_was_somebody_to_be_asked() {
    let mut cluster = Cluster::new(8, 1, quick);
    cluster.start();
    let half = cluster.client(|client| async move {
        let half = Half::of(&prepare(&client, "0", b"half", "").await);
        wait(&client, 30).await;
        assert_eq!(figure(&client, "transactionChecks").await, 0);
        heartbeat(&client, "one").await;
        wait(&client, 1).await;
        assert_eq!(client.take_requests().len(), 1);
        half
    });
    cluster.crash(Crash::Kill);
    cluster.start();
    cluster.client(|client| async move {
        heartbeat(&client, "one").await;
        wait(&client, 30).await;
        let asked = client.take_requests();
        assert_eq!(asked.len(), 2, "one of three was asked before the crash");
        assert_eq!(Half::of_check(&asked[0]).phy_offset, half.phy_offset);
        assert_eq!(figure(&client, "transactionsDiscarded").await, 1);
    });
}

#[test]
fn a_message_may_ask_for_time_and_its_producer_must_keep_to_it() {
    let mut cluster = Cluster::new(9, 3, quick);
    cluster.start();
    cluster.client(|client| async move {
        heartbeat(&client, "one").await;
        let immunity = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}20\u{2}";
        let half = Half::of(&prepare(&client, "0", b"slow", immunity).await);
        let quick = Half::of(&prepare(&client, "0", b"in time", immunity).await);
        wait(&client, 19).await;
        assert!(client.take_requests().is_empty());
        assert_eq!(end(&client, &quick, COMMIT).await.code, 0);
        wait(&client, 2).await;
        let late = end(&client, &half, COMMIT).await;
        assert_eq!(late.code, 604);
        assert!(
            late.remark
                .contains("CHECK_IMMUNITY_TIME_IN_SECONDS allows 20000 ms")
        );
        assert_eq!(client.take_requests().len(), 1);
        assert_eq!(answer(&client, &half, COMMIT).await.code, 0);
        assert_eq!(visible(&client, "0").await, [&b"in time"[..], b"slow"]);
    });
}

#[test]
fn a_delay_begins_with_the_commit() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(10, shards, quick);
        cluster.start();
        cluster.client(|client| async move {
            let delay = "DELAY\u{1}2\u{2}";
            let half = Half::of(&prepare(&client, "2", b"later", delay).await);
            wait(&client, 10).await;
            assert_eq!(end(&client, &half, COMMIT).await.code, 0);
            wait(&client, 4).await;
            assert_eq!(visible(&client, "2").await, [b""; 0]);
            wait(&client, 2).await;
            assert_eq!(visible(&client, "2").await, [b"later"]);
            let again = end(&client, &half, COMMIT).await;
            assert!(again.remark.contains("decided before"));
            wait(&client, 10).await;
            assert_eq!(visible(&client, "2").await.len(), 1);
        });
    }
}

#[test]
fn transactions_are_refused_when_the_settings_say_so_or_too_many_wait() {
    let mut cluster = Cluster::new(11, 1, |settings| {
        settings.transactions.half_messages_max = 2;
    });
    cluster.start();
    cluster.client(|client| async move {
        let half = Half::of(&prepare(&client, "0", b"1", "").await);
        prepare(&client, "0", b"2", "").await;
        let refused = prepare(&client, "0", b"3", "").await;
        assert_eq!(refused.code, 2);
        assert!(refused.remark.contains("halfMessagesMax"), "{refused:?}");
        assert_eq!(client.send("TopicTest", "0", b"plain").await.code, 0);
        end(&client, &half, ROLLBACK).await;
        assert_eq!(prepare(&client, "0", b"3", "").await.code, 0);
    });
    let mut cluster = Cluster::new(12, 1, |settings| settings.transactions.rejects = true);
    cluster.start();
    cluster.client(|client| async move {
        let refused = prepare(&client, "0", b"1", "").await;
        assert_eq!(refused.code, 16);
        assert!(
            refused
                .remark
                .ends_with("sending transaction message is forbidden")
        );
    });
}

#[test]
fn a_half_message_of_any_legal_length_becomes_a_message() {
    let mut cluster = Cluster::new(13, 1, quick);
    cluster.start();
    cluster.client(|client| async move {
        heartbeat(&client, "one").await;
        let body = vec![7; 20 << 10];
        let half = Half::of(&prepare(&client, "0", &body, "").await);
        assert_eq!(end(&client, &half, COMMIT).await.code, 0);
        assert_eq!(visible(&client, "0").await, [body]);
        // The longest text of properties that is taken: one byte more is refused.
        let mut len = 32_000;
        let mut last = None;
        for step in [256, 16, 1] {
            loop {
                let filler = format!("f\u{1}{}\u{2}DELAY\u{1}1\u{2}", "x".repeat(len + step));
                let prepared = prepare(&client, "1", b"wide", &filler).await;
                if prepared.code != 0 {
                    assert_eq!(prepared.code, 13);
                    break;
                }
                len += step;
                last = Some(Half::of(&prepared));
            }
        }
        wait(&client, 4).await;
        let last = last.unwrap();
        let asked = client.take_requests();
        let asked = asked.iter().map(Half::of_check);
        assert!(
            asked
                .into_iter()
                .any(|half| half.phy_offset == last.phy_offset)
        );
        assert_eq!(answer(&client, &last, COMMIT).await.code, 0);
        wait(&client, 2).await;
        assert_eq!(visible(&client, "1").await, [b"wide"]);
    });
}

#[test]
fn a_half_message_that_is_not_in_memory_any_more_is_committed_all_the_same() {
    let mut cluster = Cluster::new(14, 1, |settings| {
        settings.store.tail_cache_bytes = 1 << 20;
    });
    cluster.start();
    cluster.client(|client| async move {
        let half = Half::of(&prepare(&client, "0", b"old", "").await);
        for _ in 0..64 {
            client.send("TopicTest", "1", &vec![1; 128 << 10]).await;
        }
        // Both come while the message is being read: one of them decides.
        let fields = end_fields(&half, COMMIT, "pg");
        let (one, mut frames) = client.frame(RequestCode::EndTransaction, &fields, &[]);
        let fields = end_fields(&half, ROLLBACK, "pg");
        let (other, frame) = client.frame(RequestCode::EndTransaction, &fields, &[]);
        frames.extend(frame);
        client.write(&frames).await;
        let answers = [client.answer(one).await, client.answer(other).await];
        assert!(answers.iter().all(|answer| answer.code == 0));
        let told = answers
            .iter()
            .filter(|a| a.remark.contains("decided before"));
        assert_eq!(told.count(), 1);
        assert_eq!(
            visible(&client, "0").await.len() as i64,
            figure(&client, "transactionsCommitted").await
        );
    });
}
