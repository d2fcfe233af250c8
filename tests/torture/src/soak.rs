//! Campaign `soak`: weeks of use in minutes.
//!
//! Small messages without end, read as they come; segments of the log used again and again; topics
//! made and deleted, groups and connections that come and go. Every offset that a producer is told
//! and every body that a consumer reads is checked. Invariant: memory, file descriptors and latency
//! of a broker do not grow with what it has done.

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use harness::programs::{Programs, STOP_LIMIT, Standalone};
use harness::wire::{Connection, Frame, SEND_MESSAGE_V2, SUCCESS};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Options of `torture soak`.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// How long.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Fails when resident memory grows faster than this, in MiB an hour; 0 only reports. A short run
    /// has no slope worth a limit.
    #[arg(long, default_value_t = 0.0)]
    growth_max: f64,
    /// What an acknowledgement means to the broker.
    #[arg(long, default_value = "ASYNC_FLUSH", value_parser = ["SYNC_FLUSH", "ASYNC_FLUSH"])]
    flush: String,
}

const PRODUCERS: usize = 2;
const IN_FLIGHT: i32 = 64;
const PROBE: &str = "SoakProbe";
const DELETE_TOPIC_IN_BROKER: i32 = 215;
const PULL_NOT_FOUND: i32 = 19;
const PULL_OFFSET_MOVED: i32 = 21;
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
const TOPIC_PAUSE: Duration = Duration::from_millis(10);
const CONNECTION_PAUSE: Duration = Duration::from_millis(2);
const IDLE_PAUSE: Duration = Duration::from_millis(2);
/// Groups that the short connections belong to.
const GROUPS: u64 = 50;
/// Descriptors more at the end than after the first third: connections and segments that are open by
/// chance.
const FILES_SLACK: u64 = 24;

/// What was done.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    trimmed: AtomicU64,
    topics: AtomicU64,
    connections: AtomicU64,
}

/// One look at the broker.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at_s: f64,
    resident: u64,
    files: u64,
    send_us: u64,
}

type Threads = Vec<JoinHandle<Result<()>>>;

pub(crate) fn run(programs: &Programs, options: &Options) -> Result<()> {
    let flush = format!("flushDiskType={}", options.flush);
    let config = [
        flush.as_str(),
        "mappedFileSizeCommitLog=4194304",
        "maxMessageSize=65536",
        "maxStoreBytes=134217728",
        "scrubBytesPerSecond=16777216",
    ];
    let mut system = programs.standalone(&programs.options("soak", &config)?)?;
    let (stop, counts) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Counts::default()),
    );
    let threads = start(&system.broker, &stop, &counts);
    let samples = watch(&mut system, options, &threads, &counts);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow!("a client panicked"))?
            .context("a client")?;
    }
    judge(&samples?, &counts, options)?;
    system.server.terminate(STOP_LIMIT)
}

fn start(address: &str, stop: &Arc<AtomicBool>, counts: &Arc<Counts>) -> Threads {
    type Client = fn(&str, usize, &AtomicBool, &Counts) -> Result<()>;
    let mut clients: Vec<(usize, Client)> = vec![(0, topics), (0, connections)];
    for number in 0..PRODUCERS {
        clients.push((number, produce));
        clients.push((number, consume));
    }
    let threads = clients.into_iter().map(|(number, client)| {
        let (address, stop, counts) = (address.to_owned(), Arc::clone(stop), Arc::clone(counts));
        std::thread::spawn(move || client(&address, number, &stop, &counts))
    });
    threads.collect()
}

fn topic_of(number: usize) -> String {
    format!("Soak{number}")
}

/// Sends numbers; each must get the offset that it names.
fn produce(address: &str, number: usize, stop: &AtomicBool, counts: &Counts) -> Result<()> {
    let (topic, mut next) = (topic_of(number), 0_i64);
    let mut connection = Connection::open(address)?;
    connection.create_topic(&topic, 1)?;
    while !stop.load(Ordering::Relaxed) {
        let (mut frames, mut due) = (Vec::new(), BTreeMap::new());
        for offset in next..next + i64::from(IN_FLIGHT) {
            let opaque = connection.next_opaque();
            let fields = harness::client::send_fields(&topic, "0");
            let request = Frame::request(SEND_MESSAGE_V2, opaque, &fields, &offset.to_be_bytes());
            frames.extend_from_slice(&request.encode());
            due.insert(opaque, offset);
        }
        connection.stream.write_all(&frames)?;
        while !due.is_empty() {
            let answer = connection.read()?.expect(SUCCESS)?;
            let told = answer.number("queueOffset")?;
            let offset = due.remove(&answer.opaque).context("an answer to nothing")?;
            ensure!(
                told == offset,
                "{topic}: message {offset} is told offset {told}"
            );
        }
        next += i64::from(IN_FLIGHT);
        counts.sent.fetch_add(IN_FLIGHT as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads everything that retention has not taken; a body says its offset.
fn consume(address: &str, number: usize, stop: &AtomicBool, counts: &Counts) -> Result<()> {
    let (topic, mut next) = (topic_of(number), 0_i64);
    let mut connection = Connection::open(address)?;
    while connection.max_offset(&topic, 0).unwrap_or_default() == 0 {
        std::thread::sleep(IDLE_PAUSE);
    }
    loop {
        let is_end = stop.load(Ordering::Relaxed);
        let pulled = connection.pull(&topic, 0, next)?;
        match pulled.code {
            SUCCESS => {
                for (unit, offset) in pulled.units.iter().zip(next..) {
                    ensure!(
                        unit.body == offset.to_be_bytes(),
                        "{topic}: a wrong body at {offset}"
                    );
                }
                let count = pulled.units.len() as i64;
                ensure!(
                    next + count == pulled.next_offset,
                    "{topic}: {count} messages at {next}"
                );
                counts.received.fetch_add(count as u64, Ordering::Relaxed);
            }
            PULL_OFFSET_MOVED => {
                ensure!(pulled.next_offset == pulled.min_offset && pulled.min_offset > next);
                let trimmed = (pulled.next_offset - next) as u64;
                counts.trimmed.fetch_add(trimmed, Ordering::Relaxed);
            }
            PULL_NOT_FOUND if is_end => return Ok(()),
            PULL_NOT_FOUND => std::thread::sleep(IDLE_PAUSE),
            other => return Err(anyhow!("{topic}: a pull at {next} gives code {other}")),
        }
        next = pulled.next_offset;
    }
}

fn topics(address: &str, _number: usize, stop: &AtomicBool, counts: &Counts) -> Result<()> {
    let mut connection = Connection::open(address)?;
    while !stop.load(Ordering::Relaxed) {
        let number = counts.topics.fetch_add(1, Ordering::Relaxed);
        let topic = format!("Passing{number}");
        connection.create_topic(&topic, 4)?;
        connection.send(&topic, 0, b"passing")?;
        let deleted = connection.call(DELETE_TOPIC_IN_BROKER, &[("topic", &topic)], &[])?;
        deleted.expect(SUCCESS)?;
        std::thread::sleep(TOPIC_PAUSE);
    }
    Ok(())
}

fn connections(address: &str, _number: usize, stop: &AtomicBool, counts: &Counts) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let number = counts.connections.fetch_add(1, Ordering::Relaxed);
        let mut connection = Connection::open(address)?;
        connection.heartbeat(&format!("CID_soak{}", number % GROUPS), PROBE)?;
        std::thread::sleep(CONNECTION_PAUSE);
    }
    Ok(())
}

fn watch(
    system: &mut Standalone,
    options: &Options,
    threads: &Threads,
    counts: &Counts,
) -> Result<Vec<Sample>> {
    let (begun, mut samples, mut told) = (Instant::now(), Vec::new(), 0);
    let mut connection = Connection::open(&system.broker)?;
    connection.create_topic(PROBE, 1)?;
    while begun.elapsed() < Duration::from_secs(options.seconds) {
        std::thread::sleep(SAMPLE_EVERY);
        system.server.require_running()?;
        ensure!(
            !threads.iter().any(JoinHandle::is_finished),
            "a client ended too early"
        );
        let asked = Instant::now();
        connection.send(PROBE, 0, b"probe")?;
        let sample = Sample {
            at_s: begun.elapsed().as_secs_f64(),
            resident: system.server.resident_bytes()?,
            files: fs::read_dir(format!("/proc/{}/fd", system.server.id()))?.count() as u64,
            send_us: asked.elapsed().as_micros() as u64,
        };
        samples.push(sample);
        if begun.elapsed().as_secs() / 60 > told {
            told = begun.elapsed().as_secs() / 60;
            let sent = counts.sent.load(Ordering::Relaxed);
            let (mib, files) = (sample.resident >> 20, sample.files);
            println!("{told} min: {sent} sent, {mib} MiB resident, {files} descriptors");
        }
    }
    Ok(samples)
}

/// What is after a third of the time, when everything has its size.
fn judge(samples: &[Sample], counts: &Counts, options: &Options) -> Result<()> {
    let (early, late) = samples.split_at(samples.len() / 3);
    let points = late
        .iter()
        .map(|sample| (sample.at_s / 3_600.0, sample.resident as f64));
    let growth = slope(&points.collect::<Vec<_>>()) / f64::from(1 << 20);
    let most = |samples: &[Sample]| samples.iter().map(|sample| sample.files).max();
    let (files_early, files_late) = (most(early).unwrap_or(0), most(late).unwrap_or(0));
    let (first, second) = late.split_at(late.len() / 2);
    let (first_us, second_us) = (p99_us(first)?, p99_us(second)?);
    let last = samples.last().context("too short for a sample")?;
    let sum = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{} s under {}: {} sent, {} read, {} gone before they were read, {} topics made and deleted, {} connections; \
         resident {} MiB at the end, slope {growth:.1} MiB/h; descriptors {files_early}, then {files_late}; a send beside \
         the load p99 {first_us} us, then {second_us} us",
        options.seconds,
        options.flush,
        sum(&counts.sent),
        sum(&counts.received),
        sum(&counts.trimmed),
        sum(&counts.topics),
        sum(&counts.connections),
        last.resident >> 20,
    );
    ensure!(
        sum(&counts.received) > 0 && sum(&counts.topics) > 0,
        "nothing was done"
    );
    ensure!(files_late <= files_early + FILES_SLACK, "descriptors grow");
    let limit = options.growth_max;
    ensure!(
        limit == 0.0 || growth <= limit,
        "memory grows by more than {limit} MiB an hour"
    );
    Ok(())
}

fn p99_us(samples: &[Sample]) -> Result<u64> {
    let mut histogram = Histogram::<u64>::new(3)?;
    for sample in samples {
        histogram.record(sample.send_us)?;
    }
    Ok(histogram.value_at_quantile(0.99))
}

/// The slope of the line with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let rise: f64 = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum();
    let run: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if run > 0.0 { rise / run } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line_through_the_points() {
        let points: Vec<_> = (0..9)
            .map(|x| (f64::from(x), 3.0 * f64::from(x) - 7.0))
            .collect();
        assert!((slope(&points) - 3.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 5.0)]).abs() < 1e-9);
    }
}
