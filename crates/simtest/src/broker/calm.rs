//! The calm after the storm: nothing fails any more, and everything must come right in time.
//!
//! Runs on a host whose network never fails. What must hold within a stated virtual time: every
//! queue takes a message, every group reads and commits to the end, every name server knows every
//! topic.

use super::client::{Client, NoAnswer};
use super::consume::{commit, join, pull, query_commit};
use super::history::Reader;
use super::inspect::max_offset;
use super::model::{Key, Topic};
use super::produce;
use super::shape::{NAME_SERVER_PORT, broker_name};
use super::shared::Shared;
use remoting::header::namesrv::GetRouteInfoRequestHeader;
use remoting::{RequestCode, SerializeType};
use rmq_check::record::{Kind, Op};
use rt::Rt;
use sim::{Rng, Sim};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// Time until every queue takes messages and every group is at its end, in milliseconds.
const CONVERGE_MS: u64 = 30_000;
/// A registration may be delayed by so much beyond its interval, in milliseconds.
const REGISTER_SLACK_MS: u64 = 15_000;
/// The number of the producer that tries every queue.
const PROBE: u64 = 1_000;

/// Every queue takes a message.
pub(crate) async fn try_every_queue(sim: Sim, shared: Rc<Shared>, broker: usize, mut rng: Rng) {
    let end_ms = now_ms(&sim) + CONVERGE_MS;
    let mut client = None;
    for key in shared.keys(broker) {
        if !matches!(key.topic, Topic::Plain(_)) {
            continue;
        }
        loop {
            assert!(
                now_ms(&sim) < end_ms,
                "{key:?} takes no message {CONVERGE_MS} ms after the last fault"
            );
            if client.is_none() {
                client = Client::to_broker(&sim, &shared, broker, &mut rng).await;
            }
            let Some(open) = client.as_mut() else {
                continue;
            };
            match produce::send(open, &shared, key, PROBE, &mut rng).await {
                Ok(true) => break,
                Ok(false) => sim.sleep(Duration::from_millis(10)).await,
                Err(why) => {
                    shared.check_excused(broker, open, why);
                    client = None;
                }
            }
        }
    }
}

/// Every group reads every queue to its end and commits it; the lag is 0 then.
pub(crate) async fn drain(sim: Sim, shared: Rc<Shared>, broker: usize, mut rng: Rng) {
    let end_ms = now_ms(&sim) + CONVERGE_MS;
    for group in 0..shared.shape.consumers {
        for key in shared.keys(broker) {
            if matches!(key.topic, Topic::Retry(other) if other != group) {
                continue;
            }
            let mut last = String::new();
            loop {
                assert!(
                    now_ms(&sim) < end_ms,
                    "group {group} of {key:?} is not at its end after {CONVERGE_MS} ms: {last}"
                );
                let client = Client::to_broker(&sim, &shared, broker, &mut rng).await;
                let Some(mut client) = client else {
                    continue;
                };
                match drain_one(&mut client, &shared, group, key, &mut last).await {
                    Ok(true) => break,
                    Ok(false) => sim.sleep(Duration::from_millis(10)).await,
                    Err(why) => {
                        last = format!("{why:?}");
                        shared.check_excused(broker, &client, why);
                    }
                }
            }
        }
    }
}

/// Whether a group is at the end of a queue.
async fn drain_one(
    client: &mut Client,
    shared: &Shared,
    group: u64,
    key: Key,
    last: &mut String,
) -> Result<bool, NoAnswer> {
    let Some(max) = max_offset(client, key).await? else {
        "no maximum".clone_into(last);
        return Ok(false);
    };
    let Some(committed) = query_commit(client, shared, group, key).await? else {
        "no commit".clone_into(last);
        return Ok(false);
    };
    let is_honest = shared.shape.trouble.is_honest();
    join(client, shared, group, key.broker).await?;
    assert!(
        committed <= max || !is_honest,
        "{key:?}: committed {committed} of {max}"
    );
    let mut next = committed;
    while next < max {
        let pulled = pull(client, shared, (key, Reader::Group(group)), next, 32, 0).await?;
        if pulled.next <= next {
            *last = format!("at {next} of {max}: {}", pulled.nothing);
            if is_honest {
                return Ok(false);
            }
            next = max; // what is there is damaged
        } else {
            next = pulled.next;
        }
    }
    *last = format!("committing {next} of {max} after {committed}");
    let is_done = next == committed || commit(client, shared, group, key, next).await?;
    if is_done {
        let what = (Op::Drained, Kind::Ok);
        let mut history = shared.history.borrow_mut();
        history.offset(client.now_ms(), what, (group, key), next);
    }
    Ok(is_done)
}

/// A name server tells the route of every topic that exists.
pub(crate) async fn check_routes(sim: Sim, shared: Rc<Shared>, name_server: IpAddr) {
    let wait_ms = shared.shape.register_interval_ms + REGISTER_SLACK_MS;
    let end_ms = now_ms(&sim) + wait_ms;
    let address = SocketAddr::new(name_server, NAME_SERVER_PORT);
    for number in 0..shared.shape.topics {
        let topic = Topic::Plain(number).name();
        loop {
            let told = ask_route(&sim, address, &topic).await;
            let knows = |broker: usize| {
                let address = shared.brokers[broker].address.to_string();
                told.contains(&broker_name(broker)) && told.contains(&address)
            };
            if (0..shared.brokers.len()).all(knows) {
                break;
            }
            assert!(
                now_ms(&sim) < end_ms,
                "{topic} has no route at {address} after {wait_ms} ms: {told}"
            );
            sim.sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn ask_route(sim: &Sim, address: SocketAddr, topic: &str) -> String {
    let Some(mut client) = Client::connect(sim, address, SerializeType::Json, 0).await else {
        return "no connection".to_owned();
    };
    let header = GetRouteInfoRequestHeader {
        topic: topic.to_owned(),
        ..Default::default()
    };
    let text = client
        .call(RequestCode::GetRouteinfoByTopic, &header, b"", |answer| {
            String::from_utf8_lossy(answer.body).into_owned()
        })
        .await;
    text.unwrap_or_else(|why| format!("{why:?}"))
}

fn now_ms(sim: &Sim) -> u64 {
    sim.monotonic_us() / 1_000
}
