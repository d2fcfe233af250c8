//! Probes: one producer per shard that sends without pause and notes when each send began and ended.
//!
//! Owned by a campaign that asks how a shard fares during a fault. Invariant: every send is in the
//! history like any other.

use crate::journal::{Journal, now_ns};
use crate::send::{Ending, Producer, SEND_TIMEOUT, Sums, Targets};
use anyhow::{Context, Result, anyhow};
use base::java_string_hash;
use harness::wire::Connection;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Probes are numbered from here.
const FIRST_NUMBER: u16 = 500;
const RECONNECT_PAUSE: Duration = Duration::from_millis(2);
/// After a refusal: a closed loop of refusals would only burn the processor.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);

/// One send of a probe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) ending: Ending,
}

/// The probe of one shard.
pub(crate) struct Probe {
    pub(crate) targets: Targets,
    sent: Arc<Mutex<Vec<Sent>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// A topic of one queue that lives on `shard`.
pub(crate) fn targets_on(shard: u16, shards: u16) -> Targets {
    let topic = (0..=u16::MAX)
        .map(|index| format!("Probe{shard}x{index}"))
        .find(|topic| java_string_hash(topic).rem_euclid(i32::from(shards)) == i32::from(shard));
    Targets {
        topics: topic.into_iter().collect(),
        queues: 1,
    }
}

impl Probe {
    /// Makes the topic and starts to send.
    pub(crate) fn start(shard: u16, shards: u16, address: &str, journal: &Journal) -> Result<Self> {
        let targets = targets_on(shard, shards);
        let mut connection = Connection::open(address)?;
        for topic in &targets.topics {
            connection.create_topic(topic, 1)?;
        }
        let (sent, stop) = (Arc::default(), Arc::default());
        let mut producer = Producer::new(
            FIRST_NUMBER + shard,
            journal,
            &targets,
            &Arc::new(Sums::default()),
        )?;
        let thread = {
            let (address, sent) = (address.to_owned(), Arc::clone(&sent));
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || run(&mut producer, &address, &sent, &stop))
        };
        Ok(Self {
            targets,
            sent,
            stop,
            thread: Some(thread),
        })
    }

    /// What was sent since the last call.
    pub(crate) fn take(&self) -> Result<Vec<Sent>> {
        let mut sent = self.sent.lock().map_err(|_| anyhow!("a probe panicked"))?;
        Ok(std::mem::take(&mut sent))
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the probe has ended")?;
        thread.join().map_err(|_| anyhow!("a probe panicked"))?
    }
}

fn run(
    producer: &mut Producer,
    address: &str,
    all: &Mutex<Vec<Sent>>,
    stop: &AtomicBool,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::open(address) else {
            std::thread::sleep(RECONNECT_PAUSE);
            continue;
        };
        connection.stream.set_read_timeout(Some(SEND_TIMEOUT))?;
        while !stop.load(Ordering::Relaxed) {
            let begin_ns = now_ns()?;
            let ending = producer.send_one(&mut connection)?;
            let sent = Sent {
                begin_ns,
                end_ns: now_ns()?,
                ending,
            };
            all.lock()
                .map_err(|_| anyhow!("a reader panicked"))?
                .push(sent);
            match ending {
                Ending::Acknowledged => {}
                Ending::Refused => std::thread::sleep(REFUSED_PAUSE),
                Ending::Lost => break,
            }
        }
    }
    Ok(())
}

/// How long the acknowledged sends took, us.
pub(crate) fn latencies_us(sent: &[Sent]) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    for send in sent {
        if send.ending == Ending::Acknowledged {
            histogram.record((send.end_ns - send.begin_ns) / 1_000)?;
        }
    }
    Ok(histogram)
}
