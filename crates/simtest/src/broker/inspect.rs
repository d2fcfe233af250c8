//! Looking at everything that a broker has: after each recovery, and at the end.
//!
//! Runs on a host of its own whose network never fails. Invariant: clients come back only after a
//! recovered broker was looked at, so that what a crash took is known before offsets are used again.

use super::client::{Client, NoAnswer};
use super::consume::{Pulled, pull};
use super::history::Reader;
use super::model::{Key, Loss, Topic};
use super::shared::Shared;
use remoting::header::RemotingHeader;
use remoting::header::offset::{GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader};
use remoting::{RequestCode, ResponseCode, SerializeType};
use rt::Rt;
use sim::Sim;
use std::rc::Rc;
use std::time::Duration;

/// Messages of one pull.
const BATCH: i32 = 32;
/// How often a busy broker is asked again.
const ASKED_MAX: u32 = 2_000;

/// Looks at every queue of a broker that has just recovered, and lets clients in. Gives the number
/// of messages that were read; `None` when the broker could not be read, for which there must be
/// an excuse.
pub(crate) async fn inspect(
    sim: Sim,
    shared: Rc<Shared>,
    broker: usize,
    loss: Option<Loss>,
) -> Option<u64> {
    let state = &shared.brokers[broker];
    let life = state.life();
    let Some(mut client) = connect(&sim, &shared, broker).await else {
        assert!(
            state.disk_trouble.get(),
            "a broker that serves does not let anybody in"
        );
        return None;
    };
    let mut read = 0;
    shared.model.borrow_mut().begin_recovery(broker, loss);
    for key in shared.keys(broker) {
        let found = match read_new(&mut client, &shared, key).await {
            Ok(found) => found,
            Err(why) => {
                shared.check_excused(broker, &client, why);
                return None;
            }
        };
        let Some((max, count)) = found else {
            let excused = state.disk_trouble.get() || !shared.shape.trouble.is_honest();
            assert!(excused, "{key:?} cannot be read");
            return None;
        };
        read += count;
        shared.model.borrow_mut().recovered(key, max);
    }
    shared.model.borrow_mut().settle(broker, life);
    Some(read)
}

pub(crate) async fn connect(sim: &Sim, shared: &Shared, broker: usize) -> Option<Client> {
    let state = &shared.brokers[broker];
    for _ in 0..ASKED_MAX {
        let life = state.life();
        let client = Client::connect(sim, state.address, SerializeType::Json, life).await;
        if client.is_some() && state.life() == life {
            return client;
        }
        sim.sleep(Duration::from_millis(2)).await;
    }
    None
}

/// Reads what is not known of a queue yet. Gives its length and how much was read.
async fn read_new(
    client: &mut Client,
    shared: &Shared,
    key: Key,
) -> Result<Option<(i64, u64)>, NoAnswer> {
    let Some(max) = max_offset(client, key).await? else {
        return Ok(None);
    };
    let mut from = shared.model.borrow().first_unknown(key);
    let first = from;
    while from < max {
        let Some(pulled) = pull_some(client, shared, key, from, Reader::Inspector).await? else {
            return Ok(None);
        };
        from = pulled.next;
    }
    // Delayed messages come while we look.
    let seen_to = if from > first { from } else { 0 };
    Ok(Some((max.max(seen_to), (from - first).max(0) as u64)))
}

pub(crate) async fn pull_some(
    client: &mut Client,
    shared: &Shared,
    key: Key,
    from: i64,
    reader: Reader,
) -> Result<Option<Pulled>, NoAnswer> {
    let clock = client.clock();
    for _ in 0..ASKED_MAX {
        let pulled = pull(client, shared, (key, reader), from, BATCH, 0).await?;
        if pulled.next > from {
            return Ok(Some(pulled));
        }
        let busy = ResponseCode::SystemBusy as i32;
        if !pulled.nothing.starts_with(&format!("{busy} ")) {
            let excused =
                shared.brokers[key.broker].disk_trouble.get() || !shared.shape.trouble.is_honest();
            assert!(excused, "{key:?} at {from}: nothing, {}", pulled.nothing);
            return Ok(None);
        }
        clock.sleep(Duration::from_millis(1)).await;
    }
    Ok(None)
}

/// The length of a queue; 0 when there is no such topic, `None` when the broker cannot say.
pub(crate) async fn max_offset(client: &mut Client, key: Key) -> Result<Option<i64>, NoAnswer> {
    let topic = key.topic.name();
    let header = GetMaxOffsetRequestHeader {
        topic: &topic,
        queue_id: key.queue,
        committed: None,
    };
    let clock = client.clock();
    for _ in 0..ASKED_MAX {
        let (code, max) = client
            .call(RequestCode::GetMaxOffset, &header, b"", |answer| {
                let header = GetMaxOffsetResponseHeader::decode(&answer.fields);
                (answer.code, header.ok().map(|header| header.offset))
            })
            .await?;
        if code == ResponseCode::Success as i32 {
            return Ok(max);
        }
        if code != ResponseCode::SystemBusy as i32 {
            return Ok(Some(0));
        }
        clock.sleep(Duration::from_millis(1)).await;
    }
    Ok(None)
}

/// Checks every queue of a broker from its beginning, and counts dead letters.
pub(crate) async fn check_all(sim: Sim, shared: Rc<Shared>, broker: usize) -> u64 {
    let client = connect(&sim, &shared, broker).await;
    let mut client = client.expect("the broker serves");
    let mut total = 0;
    for key in shared.keys(broker) {
        let found = read_new(&mut client, &shared, key).await;
        let found = found.unwrap_or_else(|why| panic!("the broker runs: {why:?}"));
        let Some((max, _)) = found else {
            assert!(!shared.shape.trouble.is_honest(), "{key:?} cannot be read");
            continue;
        };
        shared.model.borrow().check_dump(key, max);
        total += max.max(0) as u64;
    }
    for group in 0..shared.shape.consumers {
        let key = Key {
            broker,
            topic: Topic::Dead(group),
            queue: 0,
        };
        let count = max_offset(&mut client, key).await;
        let count = count.unwrap_or_else(|why| panic!("the broker runs: {why:?}"));
        shared
            .model
            .borrow()
            .check_dead(group, broker, count.unwrap_or(0) as u64);
    }
    total
}
