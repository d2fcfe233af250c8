//! kill -9 under load, again and again: after each restart everything acknowledged is there, in
//! order, once, at its offset; committed consumer offsets did not go back beyond their interval.

use crate::report::Report;
use anyhow::{Context, Result, ensure};
use harness::client::send_fields;
use harness::programs::{Programs, STOP_LIMIT, Standalone, StandaloneOptions};
use harness::server::pause;
use harness::wire::{Connection, Frame, SEND_MESSAGE_V2, SUCCESS};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SUITE: &str = "crash";
const TOPIC: &str = "Crashing";
const GROUP: &str = "CID_crash";
const QUEUES: i32 = 8;
const SENDERS: i32 = 4;
const IN_FLIGHT: usize = 16;
const LOAD_MS: u64 = 1200;
/// flushConsumerOffsetInterval of the broker under test.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const COMMIT_SLACK: Duration = Duration::from_millis(700);

/// Acknowledged: queue and queue offset → the body that was sent.
type Acknowledged = BTreeMap<(i32, i64), Vec<u8>>;

pub(crate) fn run(report: &mut Report, programs: &Programs, kills: u32) {
    if !report.wants(SUITE) {
        return;
    }
    for (flush, kills) in [("SYNC_FLUSH", kills), ("ASYNC_FLUSH", kills)] {
        let config = [
            format!("flushDiskType={flush}"),
            format!(
                "flushConsumerOffsetInterval={}",
                COMMIT_INTERVAL.as_millis()
            ),
            "mappedFileSizeCommitLog=67108864".to_owned(),
        ];
        let config: Vec<&str> = config.iter().map(String::as_str).collect();
        let mut world = match programs
            .options(&format!("crash-{flush}"), &config)
            .and_then(|options| World::new(programs, options))
        {
            Ok(world) => world,
            Err(error) => {
                report.line(SUITE, "the broker starts", Err(error));
                return;
            }
        };
        for round in 1..=kills {
            let name = format!("kill_{round}_of_{kills}_loses_nothing_acknowledged_under_{flush}");
            report.check(SUITE, &name, || world.round(programs, round));
        }
        report.check(
            SUITE,
            &format!("all_kills_together_lost_nothing_under_{flush}"),
            || {
                world.verify_all_again();
                world.verify()?;
                ensure!(!world.acknowledged.is_empty(), "nothing was acknowledged");
                println!(
                    "    {} messages acknowledged in all",
                    world.acknowledged.len()
                );
                world.end()
            },
        );
    }
}

struct World {
    options: StandaloneOptions,
    system: Option<Standalone>,
    acknowledged: Acknowledged,
    /// Per queue: everything before was verified in an earlier round.
    verified: Vec<i64>,
}

impl World {
    fn new(programs: &Programs, options: StandaloneOptions) -> Result<Self> {
        let system = programs.standalone(&options)?;
        Connection::open(&system.broker)?.create_topic(TOPIC, QUEUES as u32)?;
        Ok(Self {
            options,
            system: Some(system),
            acknowledged: Acknowledged::new(),
            verified: vec![0; QUEUES as usize],
        })
    }

    fn system(&self) -> Result<&Standalone> {
        self.system
            .as_ref()
            .context("the broker did not start again")
    }

    fn verify_all_again(&mut self) {
        self.verified.fill(0);
    }

    /// Load, kill, restart, verify.
    fn round(&mut self, programs: &Programs, round: u32) -> Result<()> {
        let broker = self.system()?.broker.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (broker, stop) = (broker.clone(), Arc::clone(&stop));
                std::thread::spawn(move || send_until_cut(&broker, sender, round, &stop))
            })
            .collect();
        let committer = {
            let (broker, stop) = (broker.clone(), Arc::clone(&stop));
            std::thread::spawn(move || commit_until_cut(&broker, round, &stop))
        };
        // A different moment in each round, so that kills fall into different phases.
        pause(LOAD_MS + u64::from(round * 137 % 500));
        let killed = Instant::now();
        self.system.take().context("no broker")?.server.kill()?;
        stop.store(true, Ordering::Relaxed);
        let sent = join_all(senders)?;
        ensure!(
            sent.len() > 100,
            "only {} acknowledged in this round",
            sent.len()
        );
        self.acknowledged.extend(sent);
        let commits = committer
            .join()
            .map_err(|_| anyhow::anyhow!("the committer panicked"))?;
        let start = Instant::now();
        self.system = Some(programs.standalone(&self.options)?);
        let restarted = start.elapsed();
        self.verify()?;
        self.verify_commits(&commits, killed)?;
        ensure!(
            restarted < Duration::from_secs(10),
            "the restart took {restarted:?}"
        );
        Ok(())
    }

    fn verify(&mut self) -> Result<()> {
        let mut connection = Connection::open(&self.system()?.broker)?;
        for queue in 0..QUEUES {
            let from = self.verified[queue as usize];
            let units = connection.pull_all(TOPIC, queue, from)?;
            let mut last: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
            for (unit, expected) in units.iter().zip(from..) {
                ensure!(
                    unit.queue_offset == expected,
                    "queue {queue}: offset {} where {expected} is due",
                    unit.queue_offset
                );
                // `sender round sequence`: grows within a queue, so nothing is there twice.
                let (source, sequence) = split_body(&unit.body)?;
                let previous = last.insert(source.to_vec(), sequence);
                ensure!(
                    previous.is_none_or(|previous| previous < sequence),
                    "queue {queue}, offset {expected}: {sequence} after {previous:?}"
                );
            }
            let wanted = self.acknowledged.range((queue, from)..(queue + 1, 0));
            for ((_, offset), body) in wanted {
                let found = units.get((offset - from) as usize);
                ensure!(
                    found.is_some_and(|unit| unit.body == *body),
                    "queue {queue}, offset {offset}: acknowledged `{}`, found {:?}",
                    String::from_utf8_lossy(&body[..24.min(body.len())]),
                    found.map(|unit| String::from_utf8_lossy(
                        &unit.body[..24.min(unit.body.len())]
                    )
                    .into_owned())
                );
            }
            self.verified[queue as usize] = from + units.len() as i64;
        }
        Ok(())
    }

    /// The stored offset is at least the last one committed an interval before the kill.
    fn verify_commits(&self, commits: &[(Instant, i64)], killed: Instant) -> Result<()> {
        let safe = killed
            .checked_sub(COMMIT_INTERVAL + COMMIT_SLACK)
            .context("time began just now")?;
        let least = commits
            .iter()
            .rev()
            .find(|(at, _)| *at <= safe)
            .map_or(0, |(_, offset)| *offset);
        let most = commits.last().map_or(0, |(_, offset)| *offset + 1);
        let mut connection = Connection::open(&self.system()?.broker)?;
        let found = connection.committed(GROUP, TOPIC, 0)?;
        ensure!(
            (least..=most).contains(&found),
            "the consumer offset is {found}, and between {least} and {most} is due"
        );
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.system
            .take()
            .context("no broker")?
            .server
            .terminate(STOP_LIMIT)
    }
}

fn join_all(senders: Vec<JoinHandle<Acknowledged>>) -> Result<Acknowledged> {
    let mut all = Acknowledged::new();
    for sender in senders {
        all.extend(
            sender
                .join()
                .map_err(|_| anyhow::anyhow!("a sender panicked"))?,
        );
    }
    Ok(all)
}

fn body_of(sender: i32, round: u32, sequence: u64) -> Vec<u8> {
    let mut body = format!("{sender}/{round} {sequence:012} ").into_bytes();
    body.resize(body.len() + (sequence as usize * 37) % 1500, b'.');
    body
}

fn split_body(body: &[u8]) -> Result<(&[u8], u64)> {
    let mut words = body.split(|byte| *byte == b' ');
    let source = words.next().unwrap_or_default();
    let sequence = std::str::from_utf8(words.next().context("a body of one word")?)?;
    Ok((source, sequence.parse()?))
}

/// Keeps requests in flight on one connection until it breaks; what was acknowledged.
fn send_until_cut(broker: &str, sender: i32, round: u32, stop: &AtomicBool) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    let Ok(mut connection) = Connection::open(broker) else {
        return acknowledged;
    };
    let mut waiting: BTreeMap<i32, (i32, Vec<u8>)> = BTreeMap::new();
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        while waiting.len() < IN_FLIGHT {
            // Two queues per sender, so that its order is seen in each.
            let queue = sender * 2 + (sequence % 2) as i32;
            let body = body_of(sender, round, sequence);
            sequence += 1;
            let opaque = connection.next_opaque();
            let text = queue.to_string();
            let frame = Frame::request(SEND_MESSAGE_V2, opaque, &send_fields(TOPIC, &text), &body);
            if connection.stream.write_all(&frame.encode()).is_err() {
                return acknowledged;
            }
            waiting.insert(opaque, (queue, body));
        }
        let Ok(answer) = connection.read() else {
            return acknowledged;
        };
        let Some((queue, body)) = waiting.remove(&answer.opaque) else {
            continue;
        };
        if answer.code == SUCCESS
            && let Ok(offset) = answer.number("queueOffset")
        {
            acknowledged.insert((queue, offset), body);
        }
    }
    acknowledged
}

/// Commits growing offsets of one group until the connection breaks; when each was answered.
fn commit_until_cut(broker: &str, round: u32, stop: &AtomicBool) -> Vec<(Instant, i64)> {
    let mut commits = Vec::new();
    let Ok(mut connection) = Connection::open(broker) else {
        return commits;
    };
    if connection.heartbeat(GROUP, TOPIC).is_err() {
        return commits;
    }
    let mut offset = i64::from(round) * 1_000_000;
    while !stop.load(Ordering::Relaxed) {
        offset += 1;
        if connection.commit(GROUP, TOPIC, 0, offset).is_err() {
            break;
        }
        commits.push((Instant::now(), offset));
        pause(10);
    }
    commits
}
