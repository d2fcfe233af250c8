//! Clean histories from a seed: a small model of a broker, its clients, and everything that may
//! rightly happen to them.
//!
//! Crashes, unknown outcomes, retries, batches, rebalances, reset offsets, trimmed queues, dead
//! letters. Invariant: what is generated breaks no property; what the checker says of it beyond that
//! is a false alarm.

mod broker;
mod consumer;
mod producer;

use crate::draw::Draw;
use crate::error::HistoryError;
use crate::file::Strings;
use crate::record::{FLAG_EXPECTED, Kind, Op, Record, Setting};
use broker::Broker;
use consumer::Group;
use producer::Producer;

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Where everything random comes from.
    pub seed: u64,
    /// Messages, about.
    pub messages: u64,
}

/// Takes the events as they happen.
pub type Sink<'a> = dyn FnMut(&Record) -> Result<(), HistoryError> + 'a;

/// Time, chance and the way out.
struct Pen<'a> {
    t_ns: u64,
    draw: Draw,
    sink: &'a mut Sink<'a>,
}

impl Pen<'_> {
    /// Writes an event a little later than the one before.
    fn write(
        &mut self,
        op: Op,
        kind: Kind,
        fill: impl FnOnce(&mut Record),
    ) -> Result<u64, HistoryError> {
        self.t_ns += 1 + self.draw.below(STEP_NS);
        self.write_at_once(op, kind, fill)
    }

    /// Writes an event of the same instant.
    fn write_at_once(
        &mut self,
        op: Op,
        kind: Kind,
        fill: impl FnOnce(&mut Record),
    ) -> Result<u64, HistoryError> {
        let mut record = Record::new(self.t_ns, op, kind);
        fill(&mut record);
        (self.sink)(&record)?;
        Ok(self.t_ns)
    }
}

/// Between two events, at most.
const STEP_NS: u64 = 100_000;
/// The timeout of a request.
const TIMEOUT_MS: i64 = 5_000;
/// Commits so old survive a crash.
const WINDOW_NS: u64 = 20_000_000;
const PLAIN_TOPICS: [&str; 2] = ["TopicA", "TopicB"];
const QUEUES: u16 = 3;
const GROUPS: [&str; 2] = ["CID_one", "CID_two"];
const RETRY_TOPIC: &str = "%RETRY%CID_one";
const DLQ_TOPIC: &str = "%DLQ%CID_one";
/// Of the first group, the only one whose messages fail.
const RECONSUME_TIMES_MAX: i64 = 2;
const RETRY_DELAY_MS: i64 = 40;
const PRODUCERS: u16 = 6;

/// The strings of every generated history.
///
/// # Errors
/// Never; a table of a few strings has room.
pub fn strings() -> Result<Strings, HistoryError> {
    let mut strings = Strings::default();
    for text in PLAIN_TOPICS
        .iter()
        .chain(&GROUPS)
        .chain(&[RETRY_TOPIC, DLQ_TOPIC])
    {
        strings.intern(text)?;
    }
    Ok(strings)
}

/// Plays a history into `sink`.
///
/// # Errors
/// What the sink says.
pub fn generate<'a>(shape: Shape, sink: &'a mut Sink<'a>) -> Result<(), HistoryError> {
    let mut draw = Draw::new(shape.seed);
    let crash_one_in = if draw.one_in(3) { u64::MAX } else { 2_500 };
    let trims = draw.one_in(2);
    let mut pen = Pen {
        t_ns: 1_000_000_000,
        draw,
        sink,
    };
    let mut broker = Broker::new();
    let mut producers: Vec<_> = (1..=PRODUCERS).map(Producer::new).collect();
    let mut groups = [Group::new(3, 100, true), Group::new(4, 200, false)];
    begin(&mut pen, trims)?;
    let mut left = shape.messages;
    for group in &mut groups {
        group.rebalance(&mut pen, &broker)?;
    }
    while left > 0 {
        let producer = pen.draw.below(producers.len() as u64) as usize;
        match pen.draw.below(20) {
            0..13 => left = left.saturating_sub(producers[producer].step(&mut pen, &mut broker)?),
            13..19 => {
                let group = pen.draw.below(2) as usize;
                groups[group].step(&mut pen, &mut broker)?;
            }
            _ => {
                if trims && pen.draw.one_in(40) {
                    broker.trim(&mut pen.draw);
                }
                seldom(&mut pen, &mut broker, &mut groups)?;
            }
        }
        if pen.draw.one_in(crash_one_in) {
            crash(&mut pen, &mut broker, &mut producers, &mut groups)?;
        }
    }
    for producer in &mut producers {
        producer.finish(&mut pen, &mut broker)?;
    }
    for group in &mut groups {
        group.drain(&mut pen, &mut broker)?;
    }
    broker.dump(&mut pen)?;
    pen.write(Op::BrokerExit, Kind::Ok, |r| r.flags = FLAG_EXPECTED)?;
    Ok(())
}

fn begin(pen: &mut Pen<'_>, trims: bool) -> Result<(), HistoryError> {
    pen.write(Op::BrokerStart, Kind::Ok, |_| {})?;
    pen.write(Op::BrokerReady, Kind::Ok, |_| {})?;
    pen.write(Op::Setting, Kind::Ok, |r| {
        r.code = Setting::OffsetWindowNs as i32;
        r.aux = WINDOW_NS as i64;
    })?;
    pen.write(Op::Setting, Kind::Ok, |r| {
        r.code = Setting::MaxReconsumeTimes as i32;
        r.group = 3;
        r.aux = RECONSUME_TIMES_MAX;
    })?;
    if trims {
        pen.write(Op::Retention, Kind::Ok, |_| {})?;
    }
    Ok(())
}

fn seldom(
    pen: &mut Pen<'_>,
    broker: &mut Broker,
    groups: &mut [Group; 2],
) -> Result<(), HistoryError> {
    let group = pen.draw.below(2) as usize;
    match pen.draw.below(40) {
        0 => groups[group].rebalance(pen, broker),
        1 => groups[group].reset(pen, broker),
        2..15 => broker.tell_bounds(pen),
        15..25 => broker.look_up(pen),
        _ => Ok(()),
    }
}

fn crash(
    pen: &mut Pen<'_>,
    broker: &mut Broker,
    producers: &mut [Producer],
    groups: &mut [Group; 2],
) -> Result<(), HistoryError> {
    let at = pen.write(Op::BrokerExit, Kind::Ok, |r| {
        r.flags = FLAG_EXPECTED;
        r.aux = 1;
    })?;
    for producer in producers {
        producer.lose_connection(pen, broker)?;
    }
    for group in &mut *groups {
        group.crash(&mut pen.draw, at);
    }
    pen.write(Op::BrokerStart, Kind::Ok, |_| {})?;
    pen.t_ns += 50_000_000;
    pen.write(Op::BrokerReady, Kind::Ok, |_| {})?;
    for group in groups {
        group.rebalance(pen, broker)?;
    }
    Ok(())
}
