//! How long a start after kill -9 takes, and a stop in order, with a store of a given size.
//!
//! Prints the figures: from the start of the process to the first `SEND_OK`, to the last message of
//! every queue, the memory of the broker when nobody asks anything, and from SIGTERM under load to
//! the end. What it checks are only limits that no machine should reach; the goals are 3 s, 5 s,
//! 100 MiB and 1 s, whatever the size. Invariant: the store is built through the protocol, by clients
//! that wait for their acknowledgements.

use crate::report::Report;
use anyhow::{Context, Result, ensure};
use harness::client::send_fields;
use harness::programs::{Programs, StandaloneOptions};
use harness::server::pause;
use harness::wire::{Connection, Frame, SEND_MESSAGE_V2, SUCCESS};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SUITE: &str = "restart";
const TOPIC: &str = "Restarting";
const IN_FLIGHT: usize = 64;
const BODY_LEN: usize = 8 << 10;
const LIMIT: Duration = Duration::from_secs(20);
/// How long nobody asks anything before memory is looked at, in milliseconds.
const IDLE_MS: u64 = 3_000;

/// The store that is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) megabytes: u64,
    pub(crate) queues: u32,
    pub(crate) kills: u32,
}

pub(crate) fn run(report: &mut Report, programs: &Programs, shape: Shape) {
    let size = shape.megabytes;
    let name = format!("a_store_of_{size}_MB_serves_again_soon_after_kill_9_and_stops_soon");
    report.check(SUITE, &name, || restart(programs, shape));
}

fn restart(programs: &Programs, shape: Shape) -> Result<()> {
    let (bytes, queues) = (shape.megabytes << 20, shape.queues);
    let options = programs.options(SUITE, &["flushDiskType=ASYNC_FLUSH"])?;
    let mut system = programs.standalone(&options)?;
    Connection::open(&system.broker)?.create_topic(TOPIC, queues)?;
    let mut load = Load::start(&system.broker, queues);
    while load.acknowledged() < bytes {
        pause(20);
        ensure!(
            load.is_alive(),
            "the senders ended before the store was full"
        );
    }
    let size = bytes_below(&options)?;
    println!("    store of {} MB on disk, {queues} queues", size >> 20);
    for _ in 0..shape.kills.max(1) {
        pause(1_000);
        system.server.kill()?;
        load.end();
        let start = Instant::now();
        system = programs.start_standalone(&options)?;
        first_send(&system.broker, start)?;
        let sent = start.elapsed();
        read_every_queue(&system.broker, queues)?;
        let read = start.elapsed();
        pause(IDLE_MS);
        println!(
            "    after kill -9: first SEND_OK after {} ms, all queues read after {} ms, idle with {} MiB",
            sent.as_millis(),
            read.as_millis(),
            system.server.resident_bytes()? >> 20
        );
        ensure!(read < LIMIT, "the start took {read:?}");
        load = Load::start(&system.broker, queues);
    }
    pause(1_000);
    let stop = Instant::now();
    system.server.terminate(LIMIT)?;
    let stopped = stop.elapsed();
    load.end();
    println!("    stop under load in {} ms", stopped.as_millis());
    Ok(())
}

/// Sends until an answer says that the message is stored.
fn first_send(broker: &str, start: Instant) -> Result<()> {
    while start.elapsed() < LIMIT {
        let sent = Connection::open(broker).and_then(|mut c| c.send(TOPIC, 0, b"first"));
        if sent.is_ok() {
            return Ok(());
        }
        pause(2);
    }
    anyhow::bail!("no message was taken within {LIMIT:?}")
}

fn read_every_queue(broker: &str, queues: u32) -> Result<()> {
    let mut connection = Connection::open(broker)?;
    for queue in 0..queues.cast_signed() {
        let end = connection.max_offset(TOPIC, queue)?;
        if end == 0 {
            continue;
        }
        let pulled = connection.pull(TOPIC, queue, end - 1)?;
        ensure!(
            pulled.code == SUCCESS && pulled.units.len() == 1,
            "the last message of queue {queue} gave code {}",
            pulled.code
        );
    }
    Ok(())
}

/// Senders that keep requests in flight until their connection breaks.
struct Load {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(broker: &str, queues: u32) -> Self {
        let (acknowledged, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let senders = (0..2)
            .map(|sender| {
                let (broker, bytes) = (broker.to_owned(), Arc::clone(&acknowledged));
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    // The connection breaks when the broker ends, as it shall.
                    let _ = send_until_cut(&broker, sender * queues / 2, queues, &bytes, &stop);
                })
            })
            .collect();
        Self {
            acknowledged,
            stop,
            senders,
        }
    }

    /// Bytes of bodies that were acknowledged.
    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn is_alive(&self) -> bool {
        self.senders.iter().all(|sender| !sender.is_finished())
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            let _ = sender.join();
        }
    }
}

fn send_until_cut(
    broker: &str,
    first: u32,
    queues: u32,
    bytes: &AtomicU64,
    stop: &AtomicBool,
) -> Result<()> {
    let mut connection = Connection::open(broker)?;
    let body = vec![b'.'; BODY_LEN];
    let mut waiting = 0;
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        while waiting < IN_FLIGHT {
            let (opaque, queue) = (connection.next_opaque(), (next % queues).to_string());
            let frame = Frame::request(SEND_MESSAGE_V2, opaque, &send_fields(TOPIC, &queue), &body);
            connection.stream.write_all(&frame.encode())?;
            waiting += 1;
            next = next.wrapping_add(1);
        }
        let answer = connection.read()?;
        waiting -= 1;
        if answer.code == SUCCESS {
            bytes.fetch_add(BODY_LEN as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Length of all segments, as far as they are written or prepared.
fn bytes_below(options: &StandaloneOptions) -> Result<u64> {
    let mut bytes = 0;
    for shard in 0..options.shards {
        let dir = options.dir.join(format!("data/shard-{shard:03}/commitlog"));
        for file in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            bytes += file?.metadata()?.len();
        }
    }
    Ok(bytes)
}
