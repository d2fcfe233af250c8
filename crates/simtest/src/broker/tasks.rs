//! The clients of a broker run: producers, consumers, and the dump at the end.
//!
//! Each task keeps its own connection and makes a new one when the broker crashes. Everything that
//! an answer says goes to the model at once.

use super::Shape;
use super::client::{Client, NoAnswer};
use super::model::{Key, Model};
use remoting::header::RemotingHeader;
use remoting::header::offset::{
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, UpdateConsumerOffsetRequestHeader,
};
use remoting::header::pull::{PullMessageRequestHeader, PullMessageResponseHeader, pull_sys_flag};
use remoting::header::send::{SendMessageRequestHeaderV2, SendMessageResponseHeader};
use remoting::message::decode_message;
use remoting::{Command, RequestCode, ResponseCode, SerializeType};
use rt::Rt;
use rt::sync::Gate;
use sim::{Rng, Sim};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// What the clients of one run share.
pub(crate) struct Shared {
    pub(crate) shape: Shape,
    pub(crate) model: RefCell<Model>,
    /// Set when the clients shall end.
    pub(crate) stop: Cell<bool>,
    /// How often the broker crashed.
    pub(crate) crashes: Cell<u64>,
    pub(crate) working: Rc<Gate>,
    /// Code and remark of the last pull that gave nothing.
    pub(crate) last_empty: RefCell<String>,
}

/// Messages of one dump's pull.
const DUMP_BATCH: i32 = 32;

/// Sends until the run stops.
pub(crate) async fn produce(
    sim: Sim,
    address: SocketAddr,
    shared: Rc<Shared>,
    producer: u64,
    mut rng: Rng,
) {
    let pass = shared.working.enter();
    let serialize = draw_form(&mut rng);
    while !shared.stop.get() {
        let Some(mut client) = Client::connect(&sim, address, serialize).await else {
            sim.sleep(Duration::from_millis(5)).await;
            continue;
        };
        let begun_with = shared.crashes.get();
        while !shared.stop.get() {
            let sent = send(&mut client, &shared, producer, &mut rng).await;
            if let Err(why) = sent {
                shared.check_crashed(why, begun_with);
                break;
            }
            let us = rng.below(shared.shape.pause_us_max + 1);
            sim.sleep(Duration::from_micros(us)).await;
        }
    }
    drop(pass);
}

async fn send(
    client: &mut Client,
    shared: &Shared,
    producer: u64,
    rng: &mut Rng,
) -> Result<(), NoAnswer> {
    let key = shared.draw_key(rng);
    let uid = shared.model.borrow_mut().begin_send(&key, producer);
    let body = body_of(uid, rng.skewed(8, shared.shape.body_len_max) as usize);
    let header = SendMessageRequestHeaderV2 {
        producer_group: "ProducersOfSim",
        topic: &key.0,
        default_topic: "TBW102",
        default_topic_queue_nums: shared.shape.queues,
        queue_id: key.1,
        sys_flag: 0,
        born_timestamp_ms: 0,
        flag: 0,
        properties: None,
        reconsume_times: None,
        unit_mode: None,
        max_reconsume_times: None,
        batch: None,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::SendMessageV2, &header, &body, |answer| {
            let header = SendMessageResponseHeader::decode(&answer.fields);
            let place = header.ok().map(|h| (h.queue_id, h.queue_offset));
            (
                answer.code,
                place,
                answer.remark.as_deref().map(str::to_owned),
            )
        })
        .await?;
    match answer {
        (code, Some((queue, offset)), _) if code == ResponseCode::Success as i32 => {
            let mut model = shared.model.borrow_mut();
            model.acknowledged(uid, queue, offset);
        }
        // A full lane sheds what comes, and promises that nothing happened.
        (code, _, _) if code == ResponseCode::SystemBusy as i32 => {
            shared.model.borrow_mut().refused(uid);
        }
        (code, _, remark) => {
            // The disk never fails here; only a slow one may leave it open.
            let timeout = code == ResponseCode::FlushDiskTimeout as i32;
            assert!(timeout, "send answered with {code}: {remark:?}");
        }
    }
    Ok(())
}

/// Pulls queues one after the other and commits what it saw.
pub(crate) async fn consume(
    sim: Sim,
    address: SocketAddr,
    shared: Rc<Shared>,
    number: u64,
    mut rng: Rng,
) {
    let pass = shared.working.enter();
    let group = format!("GroupOfSim{number}");
    let serialize = draw_form(&mut rng);
    while !shared.stop.get() {
        let Some(mut client) = Client::connect(&sim, address, serialize).await else {
            sim.sleep(Duration::from_millis(5)).await;
            continue;
        };
        let begun_with = shared.crashes.get();
        while !shared.stop.get() {
            let key = shared.draw_key(&mut rng);
            let done = consume_once(&sim, &mut client, &shared, (&group, &key), &mut rng).await;
            if let Err(why) = done {
                shared.check_crashed(why, begun_with);
                break;
            }
        }
    }
    drop(pass);
}

async fn consume_once(
    sim: &Sim,
    client: &mut Client,
    shared: &Shared,
    (group, key): (&str, &Key),
    rng: &mut Rng,
) -> Result<(), NoAnswer> {
    let crashes = shared.crashes.get();
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: group,
        topic: &key.0,
        queue_id: key.1,
        set_zero_if_not_found: None,
    };
    let found = client
        .call(RequestCode::QueryConsumerOffset, &header, b"", |answer| {
            let header = QueryConsumerOffsetResponseHeader::decode(&answer.fields);
            let known = answer.code == ResponseCode::Success as i32;
            header.ok().filter(|_| known).map(|header| header.offset)
        })
        .await?;
    if shared.crashes.get() == crashes {
        let now_ms = sim.monotonic_us() / 1_000;
        let mut model = shared.model.borrow_mut();
        model.check_commit(group, key, now_ms, found);
    }
    let from = found.unwrap_or(0);
    let hold_ms = if rng.coin() {
        0
    } else {
        rng.below(2_000) as i64
    };
    let next = pull(
        client,
        shared,
        key,
        from,
        rng.between(1, 64) as i32,
        hold_ms,
    )
    .await?;
    if next > from {
        shared.model.borrow_mut().begin_commit(group, key, next);
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group,
            topic: &key.0,
            queue_id: key.1,
            commit_offset: next,
        };
        let code = client
            .call(RequestCode::UpdateConsumerOffset, &header, b"", |a| a.code)
            .await?;
        if code == ResponseCode::Success as i32 && shared.crashes.get() == crashes {
            let now_ms = sim.monotonic_us() / 1_000;
            let mut model = shared.model.borrow_mut();
            model.committed(group, key, now_ms, next);
        }
    }
    sim.sleep(Duration::from_micros(rng.below(5_000))).await;
    Ok(())
}

/// One pull. Gives where to go on.
async fn pull(
    client: &mut Client,
    shared: &Shared,
    key: &Key,
    from: i64,
    count_max: i32,
    hold_ms: i64,
) -> Result<i64, NoAnswer> {
    let suspend = if hold_ms > 0 {
        pull_sys_flag::SUSPEND
    } else {
        0
    };
    let header = PullMessageRequestHeader {
        consumer_group: "PullersOfSim",
        topic: &key.0,
        queue_id: key.1,
        queue_offset: from,
        max_msg_nums: count_max,
        sys_flag: pull_sys_flag::SUBSCRIPTION | suspend,
        commit_offset: 0,
        suspend_timeout_millis: hold_ms,
        subscription: Some("*"),
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_froward_client_id: None,
    };
    client
        .call(RequestCode::PullMessage, &header, b"", |answer| {
            check_pull(shared, key, from, answer)
        })
        .await
}

fn check_pull(shared: &Shared, key: &Key, from: i64, answer: &Command<'_>) -> i64 {
    let empty = [
        ResponseCode::PullNotFound as i32,
        ResponseCode::PullRetryImmediately as i32,
        ResponseCode::PullOffsetMoved as i32,
        ResponseCode::TopicNotExist as i32,
        ResponseCode::SystemError as i32, // a queue that the topic does not have yet
    ];
    if empty.contains(&answer.code) {
        let remark = answer.remark.as_deref().unwrap_or_default();
        shared
            .last_empty
            .replace(format!("{} {remark}", answer.code));
        return from;
    }
    assert_eq!(
        answer.code,
        ResponseCode::Success as i32,
        "{:?}",
        answer.remark
    );
    let header = PullMessageResponseHeader::decode(&answer.fields).expect("a pull's header");
    let mut next = from;
    let mut rest = answer.body;
    while !rest.is_empty() {
        let (message, len) = decode_message(rest).expect("whole messages");
        rest = &rest[len..];
        assert_eq!(message.topic, key.0);
        assert_eq!(message.queue_id, key.1);
        assert_eq!(message.queue_offset, next, "offsets are dense");
        let uid = uid_of(message.body);
        shared.model.borrow_mut().seen(key, next, uid);
        next += 1;
    }
    assert!(next > from, "found means that there is something");
    assert_eq!(header.next_begin_offset, next);
    assert!(header.max_offset >= next);
    next
}

/// Reads everything that is there and compares. Gives the number of messages.
pub(crate) async fn dump(sim: Sim, address: SocketAddr, shared: Rc<Shared>) -> u64 {
    let mut client = Client::connect(&sim, address, SerializeType::Json)
        .await
        .expect("the broker serves");
    let keys = shared.model.borrow().keys();
    let mut total = 0;
    for key in keys {
        let header = GetMaxOffsetRequestHeader {
            topic: &key.0,
            queue_id: key.1,
            committed: None,
        };
        let max = client
            .call(RequestCode::GetMaxOffset, &header, b"", |answer| {
                let header = GetMaxOffsetResponseHeader::decode(&answer.fields);
                header.expect("an offset").offset
            })
            .await
            .expect("the broker runs");
        let mut uids = Vec::new();
        while (uids.len() as i64) < max {
            let from = uids.len() as i64;
            let next = pull(&mut client, &shared, &key, from, DUMP_BATCH, 0)
                .await
                .expect("the broker runs");
            let answer = shared.last_empty.borrow();
            assert!(next > from, "{key:?} at {from} of {max}: nothing, {answer}");
            let model = shared.model.borrow();
            uids.extend((from..next).map(|offset| model.uid_at(&key, offset)));
        }
        shared.model.borrow().check_dump(&key, 0, &uids);
        total += uids.len() as u64;
    }
    total
}

impl Shared {
    fn draw_key(&self, rng: &mut Rng) -> Key {
        let topic = format!("TopicOfSim{}", rng.below(self.shape.topics));
        (topic, rng.below(self.shape.queues as u64) as i32)
    }

    /// A connection ends, and an answer is missing, only when the broker crashed.
    fn check_crashed(&self, why: NoAnswer, begun_with: u64) {
        let crashed = self.crashes.get() > begun_with;
        assert!(crashed, "no answer from a broker that runs: {why:?}");
    }
}

fn draw_form(rng: &mut Rng) -> SerializeType {
    *rng.pick(&[SerializeType::Json, SerializeType::RocketMq])
}

/// The body of a message: its number, then bytes that follow from it, eight at a time.
fn body_of(uid: u64, len: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(len.max(8) + 8);
    body.extend_from_slice(&uid.to_be_bytes());
    let mut state = uid;
    while body.len() < len {
        state = next_word(state);
        body.extend_from_slice(&state.to_le_bytes());
    }
    body.truncate(len.max(8));
    body
}

/// The number of a message, once its whole body is what the number says.
fn uid_of(body: &[u8]) -> u64 {
    let (head, rest) = body.split_first_chunk().expect("a body of ours");
    let uid = u64::from_be_bytes(*head);
    let mut state = uid;
    for part in rest.chunks(8) {
        state = next_word(state);
        let word = state.to_le_bytes();
        assert_eq!(part, &word[..part.len()], "wrong bytes in message {uid}");
    }
    uid
}

fn next_word(state: u64) -> u64 {
    (state ^ 0x2545_f491_4f6c_dd1d)
        .wrapping_mul(0x5851_f42d_4c95_7f2d)
        .rotate_left(23)
}
