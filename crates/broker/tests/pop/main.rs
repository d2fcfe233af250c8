//! POP: messages are handed out, acknowledged, given back, and come again, also after a crash.

mod orderly;
mod refusals;
#[path = "../support/mod.rs"]
mod support;

use remoting::RequestCode;
use rt::Rt;
use sim::{Crash, Sim};
use std::net::SocketAddr;
use std::time::Duration;
use support::{Client, Cluster, Frame, bodies, messages};

const TOPIC: &str = "TopicTest";
const GROUP: &str = "popGroup";

/// How a pop is asked.
#[derive(Clone, Copy)]
struct Ask {
    queue: i32,
    count: i32,
    invisible_ms: i64,
    poll_ms: i64,
    exp: &'static str,
    order: bool,
    attempt: &'static str,
}

const ASK: Ask = Ask {
    queue: -1,
    count: 32,
    invisible_ms: 10_000,
    poll_ms: 0,
    exp: "",
    order: false,
    attempt: "",
};

impl Ask {
    fn frame(self, client: &Client) -> (i32, Vec<u8>) {
        let now = client.sim().now_ms().to_string();
        let (queue, count) = (self.queue.to_string(), self.count.to_string());
        let (invisible, poll) = (self.invisible_ms.to_string(), self.poll_ms.to_string());
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", &queue),
            ("maxMsgNums", &count),
            ("invisibleTime", &invisible),
            ("pollTime", &poll),
            ("bornTime", &now),
            ("initMode", "0"),
            ("expType", "TAG"),
            ("exp", self.exp),
            ("order", if self.order { "true" } else { "false" }),
            ("attemptId", self.attempt),
        ];
        client.frame(RequestCode::PopMessage, &fields, &[])
    }

    async fn pop(self, client: &Client) -> Frame {
        let (opaque, frame) = self.frame(client);
        client.write(&frame).await;
        client.answer(opaque).await
    }
}

/// A popped message as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Popped {
    topic: String,
    queue: i32,
    offset: i64,
    times: i32,
    body: Vec<u8>,
    handle: String,
    properties: String,
}

/// Reads the answer as the Java client does.
fn popped(answer: &Frame) -> Vec<Popped> {
    let starts: Vec<&str> = answer.field("startOffsetInfo").split(';').collect();
    let lists: Vec<&str> = answer.field("msgOffsetInfo").split(';').collect();
    messages(answer, |message| {
        let property = remoting::message::properties::get(message.properties, "POP_CK");
        let handle = property.map_or_else(
            || {
                let prefix = format!("0 {} ", message.queue_id);
                let start = starts.iter().find_map(|s| s.strip_prefix(prefix.as_str()));
                let list = lists.iter().find_map(|s| s.strip_prefix(prefix.as_str()));
                let offset = message.queue_offset.to_string();
                assert!(
                    list.expect("listed").split(',').any(|o| *o == offset),
                    "{lists:?}"
                );
                format!(
                    "{} {} {} {} 0 broker-a {} {offset}",
                    start.expect("listed"),
                    answer.field("popTime"),
                    answer.field("invisibleTime"),
                    answer.field("reviveQid"),
                    message.queue_id,
                )
            },
            str::to_owned,
        );
        assert_eq!(message.topic, TOPIC);
        let is_retry = handle.split(' ').nth(4) == Some("1");
        let topic = if is_retry {
            format!("%RETRY%{GROUP}_{TOPIC}")
        } else {
            TOPIC.to_owned()
        };
        Popped {
            topic,
            queue: message.queue_id,
            offset: message.queue_offset,
            times: message.reconsume_times,
            body: message.body.to_vec(),
            handle,
            properties: message.properties.to_owned(),
        }
    })
}

impl Popped {
    async fn tell(&self, client: &Client, code: RequestCode, invisible_ms: i64) -> Frame {
        let (queue, offset) = (self.queue.to_string(), self.offset.to_string());
        let invisible = invisible_ms.to_string();
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", &self.topic),
            ("queueId", &queue),
            ("extraInfo", &self.handle),
            ("offset", &offset),
            ("invisibleTime", &invisible),
        ];
        client.ask(code, &fields, &[]).await
    }

    async fn ack(&self, client: &Client) -> Frame {
        self.tell(client, RequestCode::AckMessage, 0).await
    }

    /// Gives the message back for a time; the handle is the new one then.
    async fn change(&mut self, client: &Client, invisible_ms: i64) -> Frame {
        let code = RequestCode::ChangeMessageInvisibletime;
        let answer = self.tell(client, code, invisible_ms).await;
        let flag = self.handle.split(' ').nth(4).expect("8 words").to_owned();
        self.handle = format!(
            "{} {} {} {} {flag} broker-a {} {}",
            self.offset,
            answer.field("popTime"),
            answer.field("invisibleTime"),
            answer.field("reviveQid"),
            self.queue,
            self.offset
        );
        answer
    }
}

async fn pop_all(client: &Client, ask: Ask) -> Vec<Popped> {
    let mut all = Vec::new();
    loop {
        let answer = ask.pop(client).await;
        if answer.code == 210 {
            return all;
        }
        assert_eq!(answer.code, 0, "{answer:?}");
        all.extend(popped(&answer));
    }
}

async fn send(client: &Client, queue: &str, body: &str) {
    // Group commits and topics that begin take their time.
    while client.send(TOPIC, queue, body.as_bytes()).await.code != 0 {}
}

async fn committed(client: &Client, topic: &str, queue: i32) -> i64 {
    let queue = queue.to_string();
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", topic),
        ("queueId", &*queue),
    ];
    let answer = client
        .ask(RequestCode::QueryConsumerOffset, &fields, &[])
        .await;
    answer.number("offset")
}

fn on_shards(
    shards: &[u16],
    change: impl Fn(&mut broker::BrokerSettings) + Copy,
    mut test: impl FnMut(&mut Cluster),
) {
    for (seed, count) in shards.iter().enumerate() {
        let mut cluster = Cluster::new(seed as u64, *count, |settings| {
            settings.admin_access = broker::AdminAccess::Everyone;
            change(settings);
        });
        cluster.start();
        test(&mut cluster);
    }
}

#[test]
fn every_message_is_popped_once_and_an_acknowledged_one_never_again() {
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.client(|client| async move {
                for n in 0..40 {
                    send(&client, &(n % 4).to_string(), &n.to_string()).await;
                }
                let all = pop_all(&client, ASK).await;
                let mut bodies: Vec<_> = all.iter().map(|message| message.body.clone()).collect();
                bodies.sort();
                bodies.dedup();
                assert_eq!((all.len(), bodies.len()), (40, 40));
                assert_eq!(
                    committed(&client, TOPIC, 0).await,
                    0,
                    "nothing is acknowledged"
                );
                for message in &all {
                    let answer = message.ack(&client).await;
                    assert_eq!((answer.code, &*answer.remark), (0, ""));
                }
                for queue in 0..4 {
                    assert_eq!(committed(&client, TOPIC, queue).await, 10);
                }
                client.sim().sleep(Duration::from_secs(30)).await;
                assert_eq!(pop_all(&client, ASK).await, []);
                let again = all[0].ack(&client).await;
                assert_eq!(again.code, 0);
                assert!(
                    again.remark.contains("acknowledged already"),
                    "{}",
                    again.remark
                );
            });
        },
    );
}

#[test]
fn what_is_not_acknowledged_comes_again_after_its_time_with_its_count() {
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.client(|client| async move {
                for queue in 0..4 {
                    send(&client, &queue.to_string(), &queue.to_string()).await;
                }
                let first = pop_all(&client, ASK).await;
                assert_eq!(first.len(), 4);
                first[0].ack(&client).await;
                client.sim().sleep(Duration::from_millis(9_500)).await;
                assert_eq!(pop_all(&client, ASK).await, [], "not before its time");
                client.sim().sleep(Duration::from_secs(2)).await;
                for times in 1..4 {
                    let again = pop_all(&client, ASK).await;
                    assert_eq!(again.len(), 3);
                    for message in &again {
                        assert_eq!(message.times, times);
                        assert_ne!(message.body, first[0].body);
                        let properties = &message.properties;
                        for name in ["1ST_POP_TIME", "RETRY_TOPIC", "POP_CK"] {
                            let found = remoting::message::properties::get(properties, name);
                            assert!(found.is_some(), "{name}: {properties:?}");
                        }
                    }
                    if times == 3 {
                        for message in again {
                            assert_eq!(message.ack(&client).await.remark, "");
                        }
                    }
                    client.sim().sleep(Duration::from_secs(11)).await;
                }
                assert_eq!(pop_all(&client, ASK).await, []);
                for queue in 0..4 {
                    assert_eq!(committed(&client, TOPIC, queue).await, 1);
                }
            });
        },
    );
}

#[test]
fn after_the_maximum_there_is_one_dead_letter() {
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.client(|client| async move {
            client.heartbeat("c1", GROUP, TOPIC).await;
            let group = format!(
                r#"{{"groupName":"{GROUP}","consumeEnable":true,"retryQueueNums":1,"retryMaxTimes":2}}"#
            );
            let code = RequestCode::UpdateAndCreateSubscriptiongroup;
            assert_eq!(client.ask(code, &[], group.as_bytes()).await.code, 0);
            send(&client, "0", "dies").await;
            let ask = Ask { invisible_ms: 1_000, ..ASK };
            for times in 0..=2 {
                let all = pop_all(&client, ask).await;
                assert_eq!(all.iter().map(|m| m.times).collect::<Vec<_>>(), [times]);
                client.sim().sleep(Duration::from_secs(2)).await;
            }
            client.sim().sleep(Duration::from_secs(5)).await;
            assert_eq!(pop_all(&client, ask).await, []);
            let dead = client.pull(&format!("%DLQ%{GROUP}"), "0", 0, 0).await;
            assert_eq!(bodies(&dead), [b"dies"]);
        });
        },
    );
}

#[test]
fn a_changed_time_counts_and_the_old_handle_is_over() {
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.client(|client| async move {
                send(&client, "1", "x").await;
                let old = pop_all(&client, ASK).await.remove(0);
                let mut message = old.clone();
                let answer = message.change(&client, 30_000).await;
                assert_eq!((answer.code, answer.number("invisibleTime")), (0, 30_000));
                let gone = old.ack(&client).await;
                assert_eq!(gone.code, 0);
                assert!(
                    !gone.remark.is_empty(),
                    "the old handle acknowledges nothing"
                );
                client.sim().sleep(Duration::from_secs(29)).await;
                assert_eq!(pop_all(&client, ASK).await, []);
                let answer = message.change(&client, 0).await;
                assert_eq!(answer.code, 0);
                client.sim().sleep(Duration::from_secs(1)).await;
                let again = pop_all(&client, ASK).await;
                assert_eq!(again.iter().map(|m| m.times).collect::<Vec<_>>(), [1]);
                assert_eq!(again[0].ack(&client).await.remark, "");
            });
        },
    );
}

#[test]
fn what_is_popped_and_acknowledged_survives_a_crash() {
    for (seed, crash) in [(1, Crash::Kill), (2, Crash::Power), (3, Crash::Kill)] {
        for flush in [store::FlushMode::Sync, store::FlushMode::Async] {
            if flush == store::FlushMode::Async && crash == Crash::Power {
                continue;
            }
            let mut cluster = Cluster::new(seed, 3, |settings| settings.store.flush = flush);
            cluster.start();
            let (acked, left) = cluster.client(|client| async move {
                for n in 0..20 {
                    send(&client, &(n % 4).to_string(), &n.to_string()).await;
                }
                let mut all = pop_all(&client, ASK).await;
                assert_eq!(all.len(), 20);
                let mut left = all.split_off(10);
                for message in &all {
                    assert_eq!(message.ack(&client).await.remark, "");
                }
                assert_eq!(left[0].change(&client, 60_000).await.code, 0);
                (all, left)
            });
            cluster.crash(crash);
            cluster.start();
            cluster.client(move |client| async move {
                assert_eq!(
                    pop_all(&client, ASK).await,
                    [],
                    "it is invisible, or done with"
                );
                client.sim().sleep(Duration::from_secs(12)).await;
                let again = pop_all(&client, ASK).await;
                let mut bodies: Vec<_> = again.iter().map(|m| m.body.clone()).collect();
                let mut expected: Vec<_> = left[1..].iter().map(|m| m.body.clone()).collect();
                bodies.sort();
                expected.sort();
                assert_eq!(bodies, expected);
                assert!(again.iter().all(|message| message.times == 1));
                for message in again.iter().chain(&left[..1]) {
                    assert_eq!(message.ack(&client).await.remark, "", "handles are good");
                }
                for message in acked {
                    assert!(!message.ack(&client).await.remark.is_empty());
                }
                client.sim().sleep(Duration::from_mins(1)).await;
                assert_eq!(pop_all(&client, ASK).await, []);
                for queue in 0..4 {
                    assert_eq!(committed(&client, TOPIC, queue).await, 5);
                }
            });
        }
    }
}

#[test]
fn a_pop_waits_for_messages_of_any_shard() {
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.scene(|sim, address| async move {
                let producer = Client::connect(&sim, address).await;
                send(&producer, "0", "first").await;
                for _ in 0..3 {
                    // Connections go to the shards in turn.
                    let client = Client::connect(&sim, address).await;
                    for message in pop_all(&client, ASK).await {
                        message.ack(&client).await;
                    }
                    for (queue, of) in [(-1, 0), (-1, 1), (-1, 2), (-1, 3), (2, 2)] {
                        let ask = Ask {
                            queue,
                            poll_ms: 20_000,
                            ..ASK
                        };
                        let (opaque, frame) = ask.frame(&client);
                        client.write(&frame).await;
                        let early = client.answer_within(opaque, Duration::from_secs(5)).await;
                        assert!(early.is_none(), "{early:?}");
                        send(&producer, &of.to_string(), "new").await;
                        let answer = client.answer_within(opaque, Duration::from_secs(1)).await;
                        let answer = answer.expect("it is woken");
                        let all = popped(&answer);
                        assert_eq!(all.len(), 1);
                        all[0].ack(&client).await;
                    }
                    let ask = Ask {
                        poll_ms: 3_000,
                        ..ASK
                    };
                    let begun = sim.now_ms();
                    let answer = ask.pop(&client).await;
                    assert_eq!((answer.code, &*answer.remark), (210, "NO_MESSAGE_IN_QUEUE"));
                    assert!((3_000..3_500).contains(&(sim.now_ms() - begun)));
                }
            });
        },
    );
}

#[test]
fn waiting_pops_share_what_comes_and_one_is_woken_by_a_retry() {
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.scene(|sim, address| async move {
                let producer = Client::connect(&sim, address).await;
                send(&producer, "0", "a").await;
                let mut waiting = Vec::new();
                for _ in 0..4 {
                    let client = Client::connect(&sim, address).await;
                    let ask = Ask {
                        count: 1,
                        poll_ms: 60_000,
                        ..ASK
                    };
                    let (opaque, frame) = ask.frame(&client);
                    client.write(&frame).await;
                    waiting.push((client, opaque));
                    sim.sleep(Duration::from_millis(100)).await;
                }
                for queue in ["1", "1"] {
                    send(&producer, queue, "b").await;
                }
                sim.sleep(Duration::from_secs(1)).await;
                let (mut got, mut left) = (0, Vec::new());
                for (client, opaque) in &waiting {
                    let answer = client
                        .answer_within(*opaque, Duration::from_millis(1))
                        .await;
                    match answer {
                        Some(answer) => got += popped(&answer).len(),
                        None => left.push((client, *opaque)),
                    }
                }
                assert_eq!(got, 3, "one pop per message, one waits on");
                sim.sleep(Duration::from_secs(12)).await;
                let (client, opaque) = left.pop().unwrap();
                let answer = client.answer_within(opaque, Duration::from_secs(1)).await;
                let answer = answer.expect("a retry wakes it");
                assert_eq!(popped(&answer)[0].times, 1);
            });
        },
    );
}

#[test]
fn a_batch_acknowledges_messages_of_many_queues() {
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.client(|client| async move {
            for n in 0..8 {
                send(&client, &(n % 4).to_string(), &n.to_string()).await;
            }
            let answer = ASK.pop(&client).await;
            let all = popped(&answer);
            assert_eq!(all.len(), 8);
            let acks: Vec<String> = (0..4)
                .map(|queue| {
                    let bits = if queue == 3 { "AQ==" } else { "Aw==" };
                    format!(
                        r#"{{"c":"{GROUP}","t":"{TOPIC}","r":"0","so":0,"q":{queue},"rq":0,"pt":{},"it":10000,"b":"{bits}"}}"#,
                        answer.field("popTime")
                    )
                })
                .collect();
            let body = format!(r#"{{"brokerName":"broker-a","acks":[{}]}}"#, acks.join(","));
            let code = RequestCode::BatchAckMessage;
            assert_eq!(client.ask(code, &[], body.as_bytes()).await.code, 0);
            client.sim().sleep(Duration::from_secs(12)).await;
            let again = pop_all(&client, ASK).await;
            assert_eq!(again.len(), 1, "one bit was not set");
            assert_eq!(again[0].body, b"7");
        });
        },
    );
}

#[test]
fn a_notification_tells_of_messages_without_taking_them() {
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.scene(|sim: Sim, address: SocketAddr| async move {
                let client = Client::connect(&sim, address).await;
                let other = Client::connect(&sim, address).await;
                send(&client, "0", "x").await;
                ASK.pop(&client).await;
                let now = sim.now_ms().to_string();
                let fields = |poll| {
                    [
                        ("consumerGroup", GROUP),
                        ("topic", TOPIC),
                        ("queueId", "-1"),
                        ("pollTime", poll),
                        ("bornTime", "0"),
                    ]
                };
                let _ = now;
                let code = RequestCode::Notification;
                let none = client.ask(code, &fields("0"), &[]).await;
                assert_eq!((none.code, none.field("hasMsg")), (0, "false"));
                let (opaque, frame) = client.frame(code, &fields("20000"), &[]);
                client.write(&frame).await;
                sim.sleep(Duration::from_secs(1)).await;
                send(&other, "3", "new").await;
                let told = client.answer_within(opaque, Duration::from_secs(1)).await;
                assert_eq!(told.expect("it is told").field("hasMsg"), "true");
                assert_eq!(popped(&ASK.pop(&client).await)[0].body, b"new");
                let waits = Ask {
                    poll_ms: 10_000,
                    ..ASK
                };
                client.write(&waits.frame(&client).1).await;
                sim.sleep(Duration::from_secs(1)).await;
                let fields = [
                    ("consumerGroup", GROUP),
                    ("topic", TOPIC),
                    ("queueId", "-1"),
                ];
                let info = other.ask(RequestCode::PollingInfo, &fields, &[]).await;
                assert_eq!(info.field("pollingNum"), "1");
            });
        },
    );
}

#[test]
fn filters_count_and_a_reset_begins_again() {
    on_shards(
        &[1, 3],
        |_| {},
        |cluster| {
            cluster.client(|client| async move {
                for n in 0..900 {
                    let tag = if n == 850 {
                        "TAGS\u{1}wanted\u{2}"
                    } else {
                        "TAGS\u{1}other\u{2}"
                    };
                    let fields = support::send_fields(TOPIC, "0", tag);
                    let body = n.to_string();
                    while client
                        .ask(RequestCode::SendMessageV2, &fields, body.as_bytes())
                        .await
                        .code
                        != 0
                    {}
                }
                let ask = Ask {
                    exp: "wanted",
                    poll_ms: 100,
                    ..ASK
                };
                let found = popped(&ask.pop(&client).await);
                assert_eq!(
                    found.iter().map(|m| m.body.clone()).collect::<Vec<_>>(),
                    [b"850"]
                );
                assert_eq!(found[0].ack(&client).await.remark, "");
                assert_eq!(ask.pop(&client).await.code, 210);
                assert_eq!(
                    committed(&client, TOPIC, 0).await,
                    900,
                    "passed over is done with"
                );
                let fields = [
                    ("topic", TOPIC),
                    ("group", GROUP),
                    ("timestamp", "0"),
                    ("isForce", "true"),
                ];
                let reset = client
                    .ask(RequestCode::InvokeBrokerToResetOffset, &fields, &[])
                    .await;
                assert_eq!(reset.code, 0, "{reset:?}");
                let again = popped(&ask.pop(&client).await);
                assert_eq!(
                    again.iter().map(|m| m.body.clone()).collect::<Vec<_>>(),
                    [b"850"]
                );
            });
        },
    );
}

#[test]
fn a_deleted_topic_forgets_what_was_popped() {
    on_shards(
        &[3],
        |_| {},
        |cluster| {
            cluster.client(|client| async move {
                send(&client, "0", "old").await;
                assert_eq!(pop_all(&client, ASK).await.len(), 1);
                let fields = [("topic", TOPIC)];
                let code = RequestCode::DeleteTopicInBroker;
                assert_eq!(client.ask(code, &fields, &[]).await.code, 0);
                send(&client, "0", "new").await;
                let all = pop_all(&client, ASK).await;
                assert_eq!(
                    all.iter().map(|m| m.body.clone()).collect::<Vec<_>>(),
                    [b"new"]
                );
                client.sim().sleep(Duration::from_secs(12)).await;
                let again = pop_all(&client, ASK).await;
                assert_eq!(
                    again.iter().map(|m| m.body.clone()).collect::<Vec<_>>(),
                    [b"new"]
                );
            });
        },
    );
}

#[test]
fn a_group_gets_no_more_than_its_share_until_it_acknowledges() {
    let change = |settings: &mut broker::BrokerSettings| settings.pop.popped_max = 32;
    on_shards(&[3], change, |cluster| {
        cluster.client(|client| async move {
            for n in 0..40 {
                send(&client, "0", &n.to_string()).await;
            }
            let first = pop_all(&client, ASK).await;
            assert_eq!(first.len(), 32);
            let waits = Ask {
                poll_ms: 5_000,
                ..ASK
            };
            let (opaque, frame) = waits.frame(&client);
            client.write(&frame).await;
            client.sim().sleep(Duration::from_secs(1)).await;
            assert_eq!(first[0].ack(&client).await.remark, "");
            let more = client.answer_within(opaque, Duration::from_secs(1)).await;
            assert!(!popped(&more.expect("there is room again")).is_empty());
        });
    });
}

#[test]
fn the_mode_of_a_group_decides_who_gets_which_queue_and_survives_a_crash() {
    let mut cluster = Cluster::new(7, 3, |settings| {
        settings.admin_access = broker::AdminAccess::Everyone;
    });
    cluster.start();
    let query = format!(
        r#"{{"topic":"{TOPIC}","consumerGroup":"{GROUP}","clientId":"c1","strategyName":"AVG","messageModel":"CLUSTERING"}}"#
    );
    let asked = query.clone();
    cluster.client(move |client| async move {
        let set = |topic: &str, group: &str| {
            format!(r#"{{"topic":"{topic}","consumerGroup":"{group}","mode":"POP","popShareQueueNum":0}}"#)
        };
        let code = RequestCode::SetMessageRequestMode;
        let early = client.ask(code, &[], set(TOPIC, GROUP).as_bytes()).await;
        assert_eq!(early.code, 17);
        send(&client, "0", "x").await;
        client.heartbeat("c1", GROUP, TOPIC).await;
        let retry = client.ask(code, &[], set("%RETRY%g", GROUP).as_bytes()).await;
        assert_eq!(retry.code, 16);
        let query = RequestCode::QueryAssignment;
        let pulls = client.ask(query, &[], asked.as_bytes()).await;
        let text = String::from_utf8(pulls.body).unwrap();
        assert_eq!(text.matches(r#""mode":"PULL""#).count(), 4, "{text}");
        let done = client.ask(code, &[], set(TOPIC, GROUP).as_bytes()).await;
        assert_eq!(done.code, 0, "{done:?}");
        let garbage = client.ask(code, &[], b"{").await;
        assert_eq!(garbage.code, 1);
    });
    cluster.crash(Crash::Power);
    cluster.start();
    cluster.client(move |client| async move {
        let code = RequestCode::QueryAssignment;
        let nobody = client.ask(code, &[], query.as_bytes()).await;
        assert_eq!(nobody.body, b"{}", "a client without a heartbeat keeps what it has");
        client.heartbeat("c1", GROUP, TOPIC).await;
        let pops = client.ask(code, &[], query.as_bytes()).await;
        let expected = format!(
            r#"{{"messageQueueAssignments":[{{"attachments":{{}},"messageQueue":{{"brokerName":"broker-a","queueId":-1,"topic":"{TOPIC}"}},"mode":"POP"}}]}}"#
        );
        assert_eq!(String::from_utf8(pops.body).unwrap(), expected);
    });
}
