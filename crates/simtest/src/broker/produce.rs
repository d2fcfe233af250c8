//! Producers: single messages, batches, delayed ones and transactions, each answer held to the model
//! at once.
//!
//! A task keeps its own connection and makes a new one when that ends. Bodies follow from a
//! message's number, so that whoever reads one can check every byte.

use super::client::{Client, NoAnswer};
use super::model::{Begun, Ending, Key};
use super::shared::Shared;
use super::transact;
use remoting::header::RemotingHeader;
use remoting::header::send::{SendMessageRequestHeaderV2, SendMessageResponseHeader};
use remoting::message::batch::{self, BatchMessage};
use remoting::message::parse_offset_message_id;
use remoting::{RequestCode, ResponseCode};
use rt::Rt;
use sim::{Rng, Sim};
use std::rc::Rc;
use std::time::Duration;

/// Longest body in a batch, so that all together are below the broker's limit.
const BATCHED_LEN_MAX: u64 = 2_000;

/// Sends until the run stops.
pub(crate) async fn produce(sim: Sim, shared: Rc<Shared>, producer: u64, mut rng: Rng) {
    let pass = shared.working.enter();
    let broker = (producer % shared.shape.brokers) as usize;
    let mut left = shared.shape.messages_max;
    while !shared.stop.get() && left > 0 {
        let client = Client::to_broker(&sim, &shared, broker, &mut rng).await;
        let Some(mut client) = client else {
            continue;
        };
        if let Err(why) = transact::join(&mut client, &shared, broker).await {
            shared.check_excused(broker, &client, why);
            continue;
        }
        while !shared.stop.get() && left > 0 {
            left -= 1;
            let key = shared.draw_key(broker, &mut rng);
            let sent = if rng.one_in(shared.shape.transaction_one_in) {
                transact::send(&mut client, &shared, key, producer, &mut rng).await
            } else {
                let sent = send(&mut client, &shared, key, producer, &mut rng).await;
                sent.map(drop)
            };
            if let Err(why) = sent {
                shared.check_excused(broker, &client, why);
                break;
            }
            let us = rng.below(shared.shape.pause_us_max + 1);
            sim.sleep(Duration::from_micros(us)).await;
        }
    }
    drop(pass);
}

/// Sends one message, or a batch. Whether it was answered with success.
pub(crate) async fn send(
    client: &mut Client,
    shared: &Shared,
    key: Key,
    producer: u64,
    rng: &mut Rng,
) -> Result<bool, NoAnswer> {
    let shape = &shared.shape;
    let is_batch = rng.one_in(shape.batch_one_in);
    let level = if !is_batch && rng.one_in(shape.delay_one_in) {
        1 + rng.index(shape.delay_levels_ms.len())
    } else {
        0
    };
    let begun = Begun {
        key,
        producer,
        connection: client.since_us,
        life: client.life,
        at_ms: client.now_ms(),
        delay_ms: level
            .checked_sub(1)
            .map_or(0, |at| shape.delay_levels_ms[at]),
        ending: Ending::Plain,
    };
    let count = if is_batch { rng.between(1, 8) } else { 1 };
    let uids: Vec<u64> = {
        let mut model = shared.model.borrow_mut();
        (0..count).map(|_| model.begin_send(begun)).collect()
    };
    let len_max = if is_batch {
        shape.body_len_max.min(BATCHED_LEN_MAX)
    } else {
        shape.body_len_max
    };
    let mut draw_body = |uid: &u64| body_of(*uid, rng.skewed(8, len_max) as usize);
    let bodies: Vec<Vec<u8>> = uids.iter().map(&mut draw_body).collect();
    let mut body = Vec::new();
    if is_batch {
        for part in &bodies {
            batch::append(
                &mut body,
                BatchMessage {
                    flag: 0,
                    body: part,
                    properties: "",
                },
            );
        }
    } else {
        body.clone_from(&bodies[0]);
    }
    let now_ms = client.now_ms();
    {
        let mut history = shared.history.borrow_mut();
        history.sends(now_ms, (key, producer), &uids, &bodies);
    }
    let properties = (level > 0).then(|| format!("DELAY\u{1}{level}\u{2}"));
    let kind = (properties.as_deref(), 0, is_batch.then_some(true));
    let answer = ask(client, shared, key, kind, &body).await;
    let told = answer.as_ref().ok();
    let told = told.map(|answer| (answer.code, answer.place.map(|(_, offset)| offset)));
    let now_ms = client.now_ms();
    shared.history.borrow_mut().sent(now_ms, key, &uids, told);
    let answer = answer?;
    Ok(judge(client, shared, key, &uids, &answer))
}

/// What a send was answered.
pub(super) struct SendAnswer {
    pub(super) code: i32,
    /// Queue and offset.
    pub(super) place: Option<(i32, i64)>,
    pub(super) phy_offset: Option<i64>,
    pub(super) remark: String,
}

/// Sends, with properties, a system flag and the mark of a batch.
pub(super) async fn ask(
    client: &mut Client,
    shared: &Shared,
    key: Key,
    (properties, sys_flag, batch): (Option<&str>, i32, Option<bool>),
    body: &[u8],
) -> Result<SendAnswer, NoAnswer> {
    let topic = key.topic.name();
    let header = SendMessageRequestHeaderV2 {
        producer_group: "ProducersOfSim",
        topic: &topic,
        default_topic: "TBW102",
        default_topic_queue_nums: shared.shape.queues,
        queue_id: key.queue,
        sys_flag,
        born_timestamp_ms: 0,
        flag: 0,
        properties,
        reconsume_times: None,
        unit_mode: None,
        max_reconsume_times: None,
        batch,
        broker_name: None,
    };
    let code = if batch.is_some() {
        RequestCode::SendBatchMessage
    } else {
        RequestCode::SendMessageV2
    };
    let view = |answer: &remoting::Command<'_>| {
        let header = SendMessageResponseHeader::decode(&answer.fields).ok();
        SendAnswer {
            code: answer.code,
            phy_offset: header
                .as_ref()
                .and_then(|header| parse_offset_message_id(header.msg_id))
                .map(|(_, offset)| offset),
            place: header.map(|header| (header.queue_id, header.queue_offset)),
            remark: answer.remark.as_deref().unwrap_or_default().to_owned(),
        }
    };
    client.call(code, &header, body, view).await
}

/// Tells the model what an answer says.
pub(super) fn judge(
    client: &Client,
    shared: &Shared,
    key: Key,
    uids: &[u64],
    answer: &SendAnswer,
) -> bool {
    let state = &shared.brokers[key.broker];
    let mut model = shared.model.borrow_mut();
    match ResponseCode::from_wire(answer.code) {
        Some(ResponseCode::Success) => {
            let (queue, offset) = answer.place.expect("success says where");
            if shared.counts(key.broker, client) {
                for (uid, at) in uids.iter().zip(offset..) {
                    model.acknowledged(*uid, (queue, at), client.now_ms());
                }
            }
            return true;
        }
        // A full lane or log sheds what comes, and promises that nothing happened.
        Some(ResponseCode::SystemBusy) => {
            for uid in uids {
                model.refused(*uid);
            }
        }
        Some(ResponseCode::ServiceNotAvailable) if answer.remark.contains("disk full") => {
            assert!(
                state.disk_trouble.get(),
                "a disk with room was called full: {}",
                answer.remark
            );
            for uid in uids {
                model.refused(*uid);
            }
        }
        // Stored, and not durable in time: a slow disk leaves it open.
        Some(ResponseCode::FlushDiskTimeout) => {}
        _ => {
            let is_over = state.life() != client.life || !state.is_open.get();
            let excused = state.disk_trouble.get() || is_over;
            assert!(
                excused,
                "send answered with {}: {}",
                answer.code, answer.remark
            );
        }
    }
    false
}

/// The body of a message: its number, then bytes that follow from it, eight at a time.
pub(crate) fn body_of(uid: u64, len: usize) -> Vec<u8> {
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
pub(crate) fn uid_of(body: &[u8]) -> u64 {
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
