//! One connection: keeps its share of sends in flight and measures each.
//!
//! Owned by one thread. A turn writes as many frames as answers arrived, in one write, and reads
//! whatever has come, so that system calls are per turn and not per message.

use crate::Load;
use crate::frames::{OPAQUE_MIN, Template};
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use remoting::command::decode;
use remoting::frame::{FRAME_LEN_MAX, FrameBuffer};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// When counting begins and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) counts_from: Instant,
    pub(crate) ends: Instant,
}

impl Clock {
    pub(crate) fn start(warm_up: Duration, counted: Duration) -> Self {
        let counts_from = now() + warm_up;
        Self {
            counts_from,
            ends: counts_from + counted,
        }
    }
}

/// What one connection saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Round trip of each send in the counted time, in nanoseconds.
    pub(crate) latency_ns: Histogram<u64>,
    /// Sends acknowledged with code 0 in the counted time.
    pub(crate) acknowledged: u64,
    /// The same from the first frame to the last.
    pub(crate) acknowledged_in_all: u64,
    /// Other codes, in all, with the first remark.
    pub(crate) errors: BTreeMap<i32, (u64, String)>,
}

const READ_BYTES: usize = 256 * 1024;
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Sends until the clock ends, then waits for the answers that are still due.
pub(crate) fn drive(
    broker: SocketAddr,
    load: &Load,
    index: usize,
    in_flight: usize,
    clock: Clock,
) -> Result<Seen> {
    if let Some(cpu) = load.cpu {
        let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
        anyhow::ensure!(pinned, "cannot pin to CPU {cpu}");
    }
    let stream = TcpStream::connect(broker).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    Sender::new(load, index, in_flight, stream)?.run(clock)
}

struct Sender {
    stream: TcpStream,
    templates: Vec<Template>,
    in_flight: usize,
    first_number: u64,
    sent: u64,
    answered: u64,
    sent_at: Vec<Instant>,
    seen: Seen,
}

impl Sender {
    fn new(load: &Load, index: usize, in_flight: usize, stream: TcpStream) -> Result<Self> {
        let born_ms = epoch_ms()?;
        let templates = (0..load.queues)
            .map(|queue| Template::send(load, queue.cast_signed(), born_ms))
            .collect::<Result<Vec<_>>>()?;
        let seen = Seen {
            latency_ns: Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?,
            acknowledged: 0,
            acknowledged_in_all: 0,
            errors: BTreeMap::new(),
        };
        Ok(Self {
            stream,
            templates,
            in_flight,
            first_number: (index as u64) << 40,
            sent: 0,
            answered: 0,
            sent_at: vec![now(); in_flight.next_power_of_two()],
            seen,
        })
    }

    fn run(mut self, clock: Clock) -> Result<Seen> {
        let mut frames = FrameBuffer::new(FRAME_LEN_MAX);
        let mut out = Vec::with_capacity(READ_BYTES);
        loop {
            let turn = now();
            if turn < clock.ends {
                self.fill(&mut out, turn);
                self.stream.write_all(&out).context("send")?;
                out.clear();
            }
            if self.sent == self.answered {
                return Ok(self.seen);
            }
            let spare = frames.spare_mut(READ_BYTES);
            let count = self.stream.read(spare).context("no answer")?;
            if count == 0 {
                bail!(
                    "the broker closed the connection, {} answers due",
                    self.sent - self.answered
                );
            }
            frames.filled(count);
            let arrived = now();
            while let Some(frame) = frames.next_frame()? {
                self.answer(frames.bytes(frame), arrived, clock)?;
            }
            frames.compact();
        }
    }

    fn fill(&mut self, out: &mut Vec<u8>, turn: Instant) {
        while self.sent - self.answered < self.in_flight as u64 {
            let template = &self.templates[(self.sent % self.templates.len() as u64) as usize];
            let opaque = OPAQUE_MIN + (self.sent % 1_000_000_000) as i32;
            template.write(out, opaque, self.first_number + self.sent);
            let slot = opaque as usize & (self.sent_at.len() - 1);
            self.sent_at[slot] = turn;
            self.sent += 1;
        }
    }

    fn answer(&mut self, frame: &[u8], arrived: Instant, clock: Clock) -> Result<()> {
        let command = decode(frame)?;
        self.answered += 1;
        let slot = command.opaque as usize & (self.sent_at.len() - 1);
        if command.code != 0 {
            let remark = command.remark.as_deref().unwrap_or_default().to_owned();
            self.seen
                .errors
                .entry(command.code)
                .or_insert((0, remark))
                .0 += 1;
            return Ok(());
        }
        self.seen.acknowledged_in_all += 1;
        if arrived >= clock.counts_from && arrived < clock.ends {
            self.seen.acknowledged += 1;
            let latency = arrived.duration_since(self.sent_at[slot]);
            self.seen
                .latency_ns
                .saturating_record(latency.as_nanos() as u64);
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a generator measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a generator measures real time")]
fn epoch_ms() -> Result<i64> {
    Ok(i64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}
