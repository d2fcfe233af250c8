//! Producers of transactions: half messages, their ends, and answers to the broker's questions.
//!
//! How a transaction ends is drawn when it begins and told to the model, so that every producer of the
//! group answers a question alike. Property P10: a committed message comes once, all others never;
//! in the calm each ends in one way, and what nobody decides is given up.

use super::client::{Client, NoAnswer};
use super::inspect;
use super::model::{Begun, Ending, Key};
use super::produce::{ask, body_of, judge, uid_of};
use super::shared::Shared;
use remoting::command::{NoHeader, decode};
use remoting::header::RemotingHeader;
use remoting::header::client::{CheckTransactionStateRequestHeader, EndTransactionRequestHeader};
use remoting::header::pull::{PullMessageRequestHeader, pull_sys_flag};
use remoting::message::{decode_message, sys_flag};
use remoting::{Command, RequestCode, ResponseCode};
use rt::Rt;
use sim::{Rng, Sim};
use std::rc::Rc;
use std::time::Duration;

/// The producer group.
const GROUP: &str = "TransactionsOfSim";
/// Longest body.
const BODY_LEN_MAX: u64 = 2_000;
/// In the calm what was appended is on the disk after this.
const WRITTEN: Duration = Duration::from_secs(1);
/// In the calm everything is decided within so many milliseconds.
const DECIDED_MS: u64 = 30_000;

/// Where a half message lies.
#[derive(Debug, Clone, Copy)]
struct Half {
    phy_offset: i64,
    queue_offset: i64,
}

/// Heartbeats as a producer of transactions, if there are any.
pub(crate) async fn join(
    client: &mut Client,
    shared: &Shared,
    broker: usize,
) -> Result<(), NoAnswer> {
    if shared.shape.transaction_one_in == 0 {
        return Ok(());
    }
    let body = format!(
        r#"{{"clientID":"producer-of-sim","producerDataSet":[{{"groupName":"{GROUP}"}}],"consumerDataSet":[]}}"#
    );
    let view = |answer: &Command<'_>| answer.code;
    let heartbeat = RequestCode::HeartBeat;
    let answer = client.call(heartbeat, &NoHeader, body.as_bytes(), view);
    let code = answer.await?;
    let busy = code == ResponseCode::SystemBusy as i32;
    let excused = busy || shared.brokers[broker].disk_trouble.get();
    assert!(code == 0 || excused, "heartbeat answered with {code}");
    Ok(())
}

/// Sends a half message and mostly ends its transaction; answers what the broker has asked before.
pub(crate) async fn send(
    client: &mut Client,
    shared: &Shared,
    key: Key,
    producer: u64,
    rng: &mut Rng,
) -> Result<(), NoAnswer> {
    answer_questions(client, shared, key.broker).await?;
    let ending = *rng.pick(&[
        Ending::Commit,
        Ending::Commit,
        Ending::Rollback,
        Ending::Unknown,
    ]);
    let begun = Begun {
        key,
        producer,
        connection: client.since_us,
        life: client.life,
        at_ms: client.now_ms(),
        delay_ms: 0,
        ending,
    };
    let uid = shared.model.borrow_mut().begin_send(begun);
    let len_max = shared.shape.body_len_max.min(BODY_LEN_MAX);
    let body = body_of(uid, rng.skewed(8, len_max) as usize);
    {
        // It keeps numbers only: the second judge knows no transactions.
        let mut history = shared.history.borrow_mut();
        let bodies = std::slice::from_ref(&body);
        history.sends(client.now_ms(), (key, producer), &[uid], bodies);
    }
    let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}");
    let kind = (
        Some(properties.as_str()),
        sys_flag::TRANSACTION_PREPARED,
        None,
    );
    let answer = ask(client, shared, key, kind, &body).await?;
    if !judge(client, shared, key, &[uid], &answer) || rng.one_in(4) {
        return Ok(());
    }
    let half = Half {
        phy_offset: answer.phy_offset.expect("success gives an id"),
        queue_offset: answer.place.expect("success says where").1,
    };
    let is_decided = end(client, shared, key.broker, half, ending, false).await?;
    if is_decided && rng.one_in(4) {
        // Too late: the first decision stands.
        let other = *rng.pick(&[Ending::Commit, Ending::Rollback]);
        end(client, shared, key.broker, half, other, rng.coin()).await?;
    }
    Ok(())
}

/// Ends a transaction. Whether the broker says that it is decided.
async fn end(
    client: &mut Client,
    shared: &Shared,
    broker: usize,
    half: Half,
    ending: Ending,
    answers_check: bool,
) -> Result<bool, NoAnswer> {
    let decision = match ending {
        Ending::Commit => sys_flag::TRANSACTION_COMMIT,
        Ending::Rollback => sys_flag::TRANSACTION_ROLLBACK,
        // The broker answers nothing to this.
        Ending::Unknown | Ending::Plain => return Ok(false),
    };
    let header = EndTransactionRequestHeader {
        topic: None,
        producer_group: GROUP,
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: half.phy_offset,
        commit_or_rollback: decision,
        from_transaction_check: Some(answers_check),
        msg_id: "any",
        transaction_id: None,
    };
    let view = |answer: &Command<'_>| {
        let remark = answer.remark.as_deref().unwrap_or_default();
        (answer.code, remark.to_owned())
    };
    let code = RequestCode::EndTransaction;
    let (code, remark) = client.call(code, &header, b"", view).await?;
    let state = &shared.brokers[broker];
    match ResponseCode::from_wire(code) {
        Some(ResponseCode::Success) => return Ok(true),
        // Shed, or stored and not durable in time: open either way.
        Some(ResponseCode::SystemBusy | ResponseCode::FlushDiskTimeout) => {}
        _ => {
            let is_over = state.life() != client.life || !state.is_open.get();
            let excused = is_over || state.disk_trouble.get() || !shared.shape.trouble.is_honest();
            assert!(excused, "the end of a transaction: {code} {remark}");
        }
    }
    Ok(false)
}

/// Answers what the broker has asked.
async fn answer_questions(
    client: &mut Client,
    shared: &Shared,
    broker: usize,
) -> Result<(), NoAnswer> {
    for frame in client.take_asked() {
        let command = decode(&frame).expect("the broker writes whole commands");
        if command.code != RequestCode::CheckTransactionState as i32 {
            continue;
        }
        let header = CheckTransactionStateRequestHeader::decode(&command.fields);
        let header = header.expect("a question's header");
        let half = Half {
            phy_offset: header.commit_log_offset,
            queue_offset: header.tran_state_table_offset,
        };
        let (message, _) = decode_message(command.body).expect("a question has its message");
        let ending = shared.model.borrow().ending(uid_of(message.body));
        end(client, shared, broker, half, ending, true).await?;
    }
    Ok(())
}

/// Answers until nothing is undecided, which must come about in time.
pub(crate) async fn decide_all(sim: Sim, shared: Rc<Shared>, broker: usize, mut rng: Rng) {
    if shared.shape.transaction_one_in == 0 {
        return;
    }
    let end_ms = sim.monotonic_us() / 1_000 + DECIDED_MS;
    let pause = Duration::from_millis(shared.shape.check_interval_ms);
    let mut open = None;
    while open != Some(0) {
        let is_honest = shared.shape.trouble.is_honest();
        if sim.monotonic_us() / 1_000 >= end_ms {
            assert!(
                !is_honest,
                "{open:?} transactions are undecided {DECIDED_MS} ms after the last fault"
            );
            return;
        }
        let client = Client::to_broker(&sim, &shared, broker, &mut rng).await;
        let Some(mut client) = client else {
            continue;
        };
        while open != Some(0) && sim.monotonic_us() / 1_000 < end_ms {
            match decide_some(&mut client, &shared, broker, pause).await {
                Ok(count) => open = count,
                Err(why) => {
                    shared.check_excused(broker, &client, why);
                    break;
                }
            }
        }
    }
}

async fn decide_some(
    client: &mut Client,
    shared: &Shared,
    broker: usize,
    pause: Duration,
) -> Result<Option<u64>, NoAnswer> {
    join(client, shared, broker).await?;
    client.listen(pause).await?;
    answer_questions(client, shared, broker).await?;
    undecided(client).await
}

/// Reads the transactions that a broker gave up.
pub(crate) async fn read_given_up(sim: Sim, shared: Rc<Shared>, broker: usize) {
    if shared.shape.transaction_one_in == 0 {
        return;
    }
    // The last of them may still be on their way to the disk, and are not seen before.
    sim.sleep(WRITTEN).await;
    let client = inspect::connect(&sim, &shared, broker).await;
    let mut client = client.expect("the broker serves");
    for queue_id in 0..i32::from(shared.shape.shards) {
        let mut next = 0;
        loop {
            let uids = pull_given_up(&mut client, queue_id, next).await;
            let uids = uids.unwrap_or_else(|why| panic!("the broker runs: {why:?}"));
            next += uids.len() as i64;
            if uids.is_empty() {
                break;
            }
            let mut model = shared.model.borrow_mut();
            for uid in uids {
                model.gave_up(uid);
            }
        }
    }
}

async fn pull_given_up(
    client: &mut Client,
    queue_id: i32,
    queue_offset: i64,
) -> Result<Vec<u64>, NoAnswer> {
    let header = PullMessageRequestHeader {
        consumer_group: "PullersOfSim",
        topic: "TRANS_CHECK_MAX_TIME_TOPIC",
        queue_id,
        queue_offset,
        max_msg_nums: 32,
        sys_flag: pull_sys_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some("*"),
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_froward_client_id: None,
    };
    let view = |answer: &Command<'_>| {
        let (mut rest, mut uids) = (answer.body, Vec::new());
        while let Ok((message, len)) = decode_message(rest) {
            uids.push(uid_of(message.body));
            rest = &rest[len..];
        }
        uids
    };
    let code = RequestCode::PullMessage;
    client.call(code, &header, b"", view).await
}

/// Nothing is undecided after a start, for nothing was before.
pub(crate) async fn check_decided(sim: Sim, shared: Rc<Shared>, broker: usize) {
    if shared.shape.transaction_one_in == 0 || !shared.shape.trouble.is_honest() {
        return;
    }
    let client = inspect::connect(&sim, &shared, broker).await;
    let mut client = client.expect("the broker serves");
    let open = undecided(&mut client).await;
    let open = open.unwrap_or_else(|why| panic!("the broker runs: {why:?}"));
    assert_eq!(open, Some(0), "undecided transactions after a restart");
}

/// How many transactions the broker says to be undecided; `None` when it is busy.
async fn undecided(client: &mut Client) -> Result<Option<u64>, NoAnswer> {
    let view = |answer: &Command<'_>| {
        let body: serde_json::Value = serde_json::from_slice(answer.body).ok()?;
        body["table"]["halfMessages"].as_str()?.parse().ok()
    };
    let code = RequestCode::GetBrokerRuntimeInfo;
    client.call(code, &NoHeader, b"", view).await
}
