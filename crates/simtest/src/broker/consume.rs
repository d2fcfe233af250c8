//! Consumers: pulls, commits, heartbeats, locks, and messages that are sent back.
//!
//! Each consumer has a group of its own, of which it commits the offsets, and all are members of one
//! shared group, whose member list and locks are checked. Everything that an answer says goes to
//! the model at once.

use super::client::{Client, NoAnswer};
use super::history::Reader;
use super::model::{Key, Topic, group_name};
use super::produce::uid_of;
use super::shared::{Lock, Shared};
use remoting::body::lock::{LockBatchRequestBody, LockBatchResponseBody};
use remoting::body::{MessageQueue, dialect};
use remoting::command::NoHeader;
use remoting::header::RemotingHeader;
use remoting::header::client::{
    ConsumerSendMsgBackRequestHeader, GetConsumerListByGroupRequestHeader,
};
use remoting::header::offset::{
    QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use remoting::header::pull::{PullMessageRequestHeader, PullMessageResponseHeader, pull_sys_flag};
use remoting::message::decode_message;
use remoting::{Command, RequestCode, ResponseCode};
use rmq_check::record::{Kind, Op};
use rt::Rt;
use sim::{Rng, Sim};
use std::rc::Rc;
use std::time::Duration;

/// What a pull found, and where to go on.
pub(crate) struct Pulled {
    pub(crate) next: i64,
    /// Number, physical offset and failures of each message.
    pub(crate) messages: Vec<(u64, i64, i32)>,
    /// Code and remark of an answer without messages.
    pub(crate) nothing: String,
}

/// The longest lease of a lock that a client may rely on, in milliseconds.
const LEASE_MS: u64 = 60_000;

/// Pulls queues one after the other and commits what it saw.
pub(crate) async fn consume(sim: Sim, shared: Rc<Shared>, number: u64, mut rng: Rng) {
    let pass = shared.working.enter();
    while !shared.stop.get() {
        let broker = rng.below(shared.shape.brokers) as usize;
        let client = Client::to_broker(&sim, &shared, broker, &mut rng).await;
        let Some(mut client) = client else {
            continue;
        };
        let turns = rng.between(1, 40);
        let result = take_turns(
            &sim,
            &mut client,
            &shared,
            (number, broker),
            turns,
            &mut rng,
        )
        .await;
        if let Err(why) = result {
            shared.check_excused(broker, &client, why);
        }
    }
    drop(pass);
}

async fn take_turns(
    sim: &Sim,
    client: &mut Client,
    shared: &Shared,
    (number, broker): (u64, usize),
    turns: u64,
    rng: &mut Rng,
) -> Result<(), NoAnswer> {
    join(client, shared, number, broker).await?;
    for _ in 0..turns {
        if shared.stop.get() {
            break;
        }
        let keys = shared.keys(broker);
        let own = |key: &&Key| !matches!(key.topic, Topic::Retry(group) if group != number);
        let keys: Vec<Key> = keys.iter().filter(own).copied().collect();
        let key = *rng.pick(&keys);
        consume_once(client, shared, (number, key), rng).await?;
        if rng.one_in(4) {
            lock(client, shared, number, key).await?;
        }
        let us = rng.below(shared.shape.pause_us_max + 1);
        sim.sleep(Duration::from_micros(us)).await;
    }
    Ok(())
}

/// Heartbeats as a member of its own group and of the shared one; the answer to the next question
/// must name it.
pub(crate) async fn join(
    client: &mut Client,
    shared: &Shared,
    number: u64,
    broker: usize,
) -> Result<(), NoAnswer> {
    let member = |group: &str| {
        format!(
            r#"{{"groupName":"{group}","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","unitMode":false,"subscriptionDataSet":[{{"topic":"TopicOfSim0","subString":"*","tagsSet":[],"codeSet":[],"subVersion":1,"expressionType":"TAG"}}]}}"#
        )
    };
    let id = client_id(number);
    let body = format!(
        r#"{{"clientID":"{id}","producerDataSet":[],"consumerDataSet":[{},{}]}}"#,
        member(&group_name(number)),
        member(MEMBERS),
    );
    let code = client
        .call(
            RequestCode::HeartBeat,
            &NoHeader,
            body.as_bytes(),
            |answer| answer.code,
        )
        .await?;
    if code != ResponseCode::Success as i32 {
        let state = &shared.brokers[broker];
        let busy = code == ResponseCode::SystemBusy as i32;
        assert!(
            busy || state.disk_trouble.get(),
            "heartbeat answered with {code}"
        );
        return Ok(());
    }
    let header = GetConsumerListByGroupRequestHeader {
        consumer_group: MEMBERS,
    };
    let view = |answer: &Command<'_>| {
        (
            answer.code,
            String::from_utf8_lossy(answer.body).into_owned(),
        )
    };
    let (code, list) = client
        .call(RequestCode::GetConsumerListByGroup, &header, b"", view)
        .await?;
    let busy = code == ResponseCode::SystemBusy as i32;
    // A fenced shard makes no group, and Java answers heartbeats with success all the same.
    let excused = busy || shared.brokers[broker].disk_trouble.get();
    assert!(
        excused || list.contains(&id),
        "{id} is not among the members: {code} {list}"
    );
    Ok(())
}

const MEMBERS: &str = "MembersOfSim";

fn client_id(number: u64) -> String {
    format!("client-{number}-of-sim")
}

/// Asks for a queue of the shared group; nobody else may hold it.
async fn lock(client: &mut Client, shared: &Shared, number: u64, key: Key) -> Result<(), NoAnswer> {
    let asked_ms = client.now_ms();
    let queue = MessageQueue::new(&key.topic.name(), "any", key.queue);
    let body = LockBatchRequestBody {
        client_id: client_id(number),
        consumer_group: MEMBERS.to_owned(),
        mq_set: vec![queue],
        only_this_broker: true,
    };
    let body = serde_json::to_vec(&body).expect("plain data");
    let view = |answer: &Command<'_>| {
        let body = dialect::from_slice::<LockBatchResponseBody>(answer.body);
        body.is_ok_and(|body| !body.lock_ok_mq_set.is_empty())
    };
    let is_held = client
        .call(RequestCode::LockBatchMq, &NoHeader, &body, view)
        .await?;
    if !is_held {
        return Ok(());
    }
    let now_ms = client.now_ms();
    let lock = Lock {
        holder: number,
        asked_ms,
        life: client.life,
    };
    let before = shared.locks.borrow_mut().insert((0, key), lock);
    if let Some(other) = before
        && other.holder != number
        && other.life == client.life
    {
        let free_ms = other.asked_ms + LEASE_MS;
        assert!(
            now_ms >= free_ms,
            "{key:?} is locked by {} and by {number}",
            other.holder
        );
    }
    Ok(())
}

async fn consume_once(
    client: &mut Client,
    shared: &Shared,
    (number, key): (u64, Key),
    rng: &mut Rng,
) -> Result<(), NoAnswer> {
    let Some(found) = query_commit(client, shared, number, key).await? else {
        return Ok(());
    };
    let hold_ms = if rng.coin() {
        0
    } else {
        rng.below(2_000) as i64
    };
    let count = rng.between(1, 32) as i32;
    let reader = Reader::Group(number);
    let pulled = pull(client, shared, (key, reader), found, count, hold_ms).await?;
    for (uid, at, failures) in &pulled.messages {
        if rng.one_in(shared.shape.back_one_in) {
            send_back(client, shared, (number, key), (*uid, *at, *failures), rng).await?;
        }
    }
    if pulled.next > found {
        commit(client, shared, number, key, pulled.next).await?;
    }
    Ok(())
}

/// What the group has committed, 0 for nothing; `None` when the broker cannot say.
pub(crate) async fn query_commit(
    client: &mut Client,
    shared: &Shared,
    number: u64,
    key: Key,
) -> Result<Option<i64>, NoAnswer> {
    let (group, topic) = (group_name(number), key.topic.name());
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: &group,
        topic: &topic,
        queue_id: key.queue,
        set_zero_if_not_found: None,
    };
    let asks = |now_ms, kind, offset| {
        let mut history = shared.history.borrow_mut();
        history.offset(now_ms, (Op::OffsetQuery, kind), (number, key), offset);
    };
    asks(client.now_ms(), Kind::Invoke, -1);
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &header, b"", |answer| {
            let header = QueryConsumerOffsetResponseHeader::decode(&answer.fields);
            (answer.code, header.ok().map(|header| header.offset))
        })
        .await;
    match answer {
        Ok((0, Some(found))) => asks(client.now_ms(), Kind::Ok, found),
        Ok((code, _)) if code == ResponseCode::QueryNotFound as i32 => {
            asks(client.now_ms(), Kind::Fail, -1);
        }
        _ => asks(client.now_ms(), Kind::Info, -1),
    }
    let (code, found) = answer?;
    let found = match ResponseCode::from_wire(code) {
        Some(ResponseCode::Success) => found,
        Some(ResponseCode::SystemBusy) => return Ok(None),
        _ => None,
    };
    if shared.brokers[key.broker].life() == client.life {
        let now_ms = client.now_ms();
        shared
            .model
            .borrow_mut()
            .check_commit(number, key, now_ms, found);
    }
    Ok(Some(found.unwrap_or(0)))
}

/// Commits an offset. Whether it was taken.
pub(crate) async fn commit(
    client: &mut Client,
    shared: &Shared,
    number: u64,
    key: Key,
    next: i64,
) -> Result<bool, NoAnswer> {
    if shared.brokers[key.broker].life() != client.life {
        return Ok(false);
    }
    let (group, topic) = (group_name(number), key.topic.name());
    shared.model.borrow_mut().begin_commit(number, key, next);
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: &group,
        topic: &topic,
        queue_id: key.queue,
        commit_offset: next,
    };
    let asks = |now_ms, kind| {
        let mut history = shared.history.borrow_mut();
        history.offset(now_ms, (Op::OffsetCommit, kind), (number, key), next);
    };
    asks(client.now_ms(), Kind::Invoke);
    let answer = client
        .call(RequestCode::UpdateConsumerOffset, &header, b"", |a| a.code)
        .await;
    let is_success = answer == Ok(ResponseCode::Success as i32);
    let kind = if is_success { Kind::Ok } else { Kind::Info };
    asks(client.now_ms(), kind);
    let code = answer?;
    let done = code == ResponseCode::Success as i32;
    if done && shared.brokers[key.broker].life() == client.life {
        let now_ms = client.now_ms();
        shared
            .model
            .borrow_mut()
            .committed(number, key, now_ms, next);
    }
    Ok(done)
}

async fn send_back(
    client: &mut Client,
    shared: &Shared,
    (number, key): (u64, Key),
    (uid, at, failures): (u64, i64, i32),
    rng: &mut Rng,
) -> Result<(), NoAnswer> {
    if shared.brokers[key.broker].life() != client.life {
        return Ok(());
    }
    let level = 1 + rng.index(shared.shape.delay_levels_ms.len());
    let is_dead = failures >= FAILURES_MAX;
    let group = group_name(number);
    let header = ConsumerSendMsgBackRequestHeader {
        offset: at,
        group: &group,
        delay_level: level as i32,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: None,
        max_reconsume_times: Some(FAILURES_MAX),
    };
    let delay_ms = shared.shape.delay_levels_ms[level - 1];
    shared.history.borrow_mut().sends_back(
        client.now_ms(),
        (number, key),
        uid,
        (failures, delay_ms),
    );
    {
        let mut model = shared.model.borrow_mut();
        if is_dead {
            model.begin_dead(number, key.broker);
        } else {
            let due_ms = client.now_ms() + delay_ms;
            model.begin_back(number, key, uid, due_ms);
        }
    }
    let code = client
        .call(RequestCode::ConsumerSendMsgBack, &header, b"", |a| a.code)
        .await?;
    if code == ResponseCode::Success as i32 && shared.counts(key.broker, client) {
        let mut model = shared.model.borrow_mut();
        if is_dead {
            model.done_dead(number, key.broker);
        } else {
            model.done_back(number, key, uid);
        }
    }
    Ok(())
}

/// Failures after which a message becomes a dead letter.
const FAILURES_MAX: i32 = 1;

/// One pull.
pub(crate) async fn pull(
    client: &mut Client,
    shared: &Shared,
    (key, reader): (Key, Reader),
    from: i64,
    count_max: i32,
    hold_ms: i64,
) -> Result<Pulled, NoAnswer> {
    let suspend = if hold_ms > 0 {
        pull_sys_flag::SUSPEND
    } else {
        0
    };
    let topic = key.topic.name();
    let header = PullMessageRequestHeader {
        consumer_group: "PullersOfSim",
        topic: &topic,
        queue_id: key.queue,
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
    let (life, clock) = (client.life, client.clock());
    client
        .call(RequestCode::PullMessage, &header, b"", |answer| {
            let counts = shared.shape.is_sync || shared.brokers[key.broker].life() == life;
            check_pull(
                shared,
                (key, reader),
                from,
                counts,
                clock.monotonic_us() / 1_000,
                answer,
            )
        })
        .await
}

fn check_pull(
    shared: &Shared,
    (key, reader): (Key, Reader),
    from: i64,
    counts: bool,
    now_ms: u64,
    answer: &Command<'_>,
) -> Pulled {
    let mut pulled = Pulled {
        next: from,
        messages: Vec::new(),
        nothing: String::new(),
    };
    if answer.code != ResponseCode::Success as i32 || !counts {
        let empty = [
            ResponseCode::PullNotFound,
            ResponseCode::PullRetryImmediately,
            ResponseCode::PullOffsetMoved,
            ResponseCode::TopicNotExist,
            ResponseCode::SystemBusy,
            ResponseCode::SystemError, // a queue that the topic does not have yet
        ];
        let remark = answer.remark.as_deref().unwrap_or_default();
        pulled.nothing = format!("{} {remark}", answer.code);
        let known = empty.iter().any(|code| *code as i32 == answer.code);
        let excused =
            shared.brokers[key.broker].disk_trouble.get() || !shared.shape.trouble.is_honest();
        assert!(
            known || excused || !counts,
            "pull answered with {}",
            pulled.nothing
        );
        return pulled;
    }
    let header = PullMessageResponseHeader::decode(&answer.fields).expect("a pull's header");
    let is_honest = shared.shape.trouble.is_honest();
    let mut rest = answer.body;
    while !rest.is_empty() {
        let (message, len) = decode_message(rest).expect("whole messages");
        rest = &rest[len..];
        assert_eq!(message.topic, key.topic.name());
        assert_eq!(message.queue_id, key.queue);
        let offset = message.queue_offset;
        let follows = if is_honest {
            offset == pulled.next
        } else {
            offset >= pulled.next
        };
        assert!(follows, "offsets are dense: {offset} after {}", pulled.next);
        let uid = uid_of(message.body);
        shared.model.borrow_mut().seen(key, offset, uid, now_ms);
        let what = (uid, message.body, message.reconsume_times);
        let mut history = shared.history.borrow_mut();
        history.read(now_ms, reader, (key, offset), what);
        drop(history);
        let place = (uid, message.phy_offset, message.reconsume_times);
        pulled.messages.push(place);
        pulled.next = offset + 1;
    }
    assert!(pulled.next > from, "found means that there is something");
    if is_honest {
        assert_eq!(header.next_begin_offset, pulled.next);
        assert!(header.max_offset >= pulled.next);
    } else {
        pulled.next = pulled.next.max(header.next_begin_offset);
    }
    pulled
}
