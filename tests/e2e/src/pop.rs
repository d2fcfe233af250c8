//! POP over kill -9 of a real broker: what was acknowledged does not come again, what was popped and
//! not acknowledged does, once its time is over.

use crate::report::Report;
use anyhow::{Context, Result, ensure};
use harness::client::{Unit, units};
use harness::programs::{Programs, STOP_LIMIT};
use harness::server::pause;
use harness::wire::{Connection, Frame, SUCCESS};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

const SUITE: &str = "pop-crash";
const TOPIC: &str = "Popping";
const GROUP: &str = "CID_pop_crash";
const QUEUES: i32 = 8;
const MESSAGES: usize = 200;
const INVISIBLE_MS: u64 = 6_000;
const POP_MESSAGE: i32 = 200_050;
const ACK_MESSAGE: i32 = 200_051;
const POLLING_TIMEOUT: i32 = 210;

pub(crate) fn run(report: &mut Report, programs: &Programs) {
    if !report.wants(SUITE) {
        return;
    }
    for flush in ["SYNC_FLUSH", "ASYNC_FLUSH"] {
        let name = format!("a_kill_neither_loses_nor_repeats_what_was_popped_under_{flush}");
        report.check(SUITE, &name, || kill_between(programs, flush));
    }
}

fn kill_between(programs: &Programs, flush: &str) -> Result<()> {
    let config = format!("flushDiskType={flush}");
    let options = programs.options(&format!("pop-{flush}"), &[&config])?;
    let system = programs.standalone(&options)?;
    let mut client = Connection::open(&system.broker)?;
    client.create_topic(TOPIC, QUEUES as u32)?;
    for number in 0..MESSAGES {
        let queue = number as i32 % QUEUES;
        client.send(TOPIC, queue, format!("{number}").as_bytes())?;
    }
    let popped = pop_all(&mut client)?;
    ensure!(popped.len() == MESSAGES, "{} were popped", popped.len());
    let (acked, left) = popped.split_at(MESSAGES / 2);
    for message in acked {
        let answer = message.ack(&mut client)?;
        ensure!(answer.remark.is_empty(), "{}", answer.remark);
    }
    let since = Instant::now();
    system.server.kill()?;
    let system = programs.standalone(&options)?;
    let mut client = Connection::open(&system.broker)?;
    let early = pop_all(&mut client)?;
    let is_early = since.elapsed() < Duration::from_millis(INVISIBLE_MS / 2);
    ensure!(early.is_empty() || !is_early, "{} came early", early.len());
    let mut again = early;
    let end = Instant::now() + Duration::from_secs(30);
    while again.len() < left.len() && Instant::now() < end {
        pause(200);
        again.extend(pop_all(&mut client)?);
    }
    for message in &again {
        message.ack(&mut client)?;
    }
    let bodies = |messages: &[Popped]| -> BTreeSet<Vec<u8>> {
        let bodies = messages.iter().map(|message| message.body.clone());
        bodies.collect()
    };
    ensure!(again.len() == left.len(), "{} came again", again.len());
    ensure!(bodies(&again) == bodies(left), "others came again");
    ensure!(
        again.iter().all(|message| message.is_retry),
        "as first tries"
    );
    pause(INVISIBLE_MS + 1_000);
    let late = pop_all(&mut client)?;
    ensure!(late.is_empty(), "{} came after all", late.len());
    system.server.terminate(STOP_LIMIT)
}

/// A message with its handle.
struct Popped {
    body: Vec<u8>,
    queue: i32,
    offset: i64,
    handle: String,
    is_retry: bool,
}

impl Popped {
    fn ack(&self, client: &mut Connection) -> Result<Frame> {
        let (queue, offset) = (self.queue.to_string(), self.offset.to_string());
        let retry = format!("%RETRY%{GROUP}_{TOPIC}");
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", if self.is_retry { &retry } else { TOPIC }),
            ("queueId", &queue),
            ("extraInfo", &self.handle),
            ("offset", &offset),
        ];
        client.call(ACK_MESSAGE, &fields, &[])?.expect(SUCCESS)
    }
}

/// Pops until there is nothing.
fn pop_all(client: &mut Connection) -> Result<Vec<Popped>> {
    let mut all = Vec::new();
    loop {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let (now, invisible) = (now.as_millis().to_string(), INVISIBLE_MS.to_string());
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", "-1"),
            ("maxMsgNums", "32"),
            ("invisibleTime", &invisible),
            ("pollTime", "0"),
            ("bornTime", &now),
            ("initMode", "0"),
        ];
        let answer = client.call(POP_MESSAGE, &fields, &[])?;
        if answer.code == POLLING_TIMEOUT {
            return Ok(all);
        }
        let answer = answer.expect(SUCCESS)?;
        for unit in units(&answer.body)? {
            all.push(popped(&answer, &unit)?);
        }
    }
}

fn popped(answer: &Frame, unit: &Unit) -> Result<Popped> {
    let field = |name: &str| answer.fields.get(name).cloned().unwrap_or_default();
    let own = unit.property("POP_CK").map(str::to_owned);
    let is_retry = own.is_some();
    let handle = if let Some(own) = own {
        own
    } else {
        let prefix = format!("0 {} ", unit.queue_id);
        let starts = field("startOffsetInfo");
        let start = starts
            .split(';')
            .find_map(|start| start.strip_prefix(&prefix));
        let start = start.context("the queue is not in startOffsetInfo")?;
        let (time, invisible) = (field("popTime"), field("invisibleTime"));
        let revive = field("reviveQid");
        format!(
            "{start} {time} {invisible} {revive} 0 broker-a {} {}",
            unit.queue_id, unit.queue_offset
        )
    };
    Ok(Popped {
        body: unit.body.clone(),
        queue: unit.queue_id,
        offset: unit.queue_offset,
        handle,
        is_retry,
    })
}
