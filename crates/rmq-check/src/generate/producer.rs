//! The model's producers: one request at a time, single or batch, answered, refused or lost.
//!
//! Invariant: a request that was refused is not in the log, one that was lost may be.

use super::broker::{Broker, RETRY, digest_of, name};
use super::{Pen, TIMEOUT_MS};
use crate::error::HistoryError;
use crate::outcome::CODE_CONNECTION_LOST;
use crate::record::{FLAG_SYNC, Kind, Op, uid};

const BATCH_LEN: u64 = 4;
const SYSTEM_BUSY: i32 = 2;

/// A request on its way.
struct InFlight {
    op: Op,
    queue: usize,
    /// uid and attempt.
    messages: Vec<(u64, u8)>,
    stored: Vec<(i64, i64)>,
}

pub(super) struct Producer {
    number: u16,
    next: u64,
    in_flight: Option<InFlight>,
    /// To be sent again: queue, uid, attempts so far.
    again: Vec<(usize, u64, u8)>,
}

impl Producer {
    pub(super) fn new(number: u16) -> Self {
        Self {
            number,
            next: 0,
            in_flight: None,
            again: Vec::new(),
        }
    }

    /// Goes one step on; how many messages were begun.
    pub(super) fn step(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &mut Broker,
    ) -> Result<u64, HistoryError> {
        let Some(flight) = &mut self.in_flight else {
            return self.begin(pen);
        };
        if flight.stored.is_empty() {
            match pen.draw.below(300) {
                0 => self.end(pen, broker, SYSTEM_BUSY)?,
                1 => self.end(pen, broker, CODE_CONNECTION_LOST)?,
                _ => flight.store(broker),
            }
        } else {
            let code = if pen.draw.one_in(300) {
                CODE_CONNECTION_LOST
            } else {
                0
            };
            self.end(pen, broker, code)?;
        }
        Ok(0)
    }

    /// The broker died: what is on its way may have been stored.
    pub(super) fn lose_connection(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &mut Broker,
    ) -> Result<(), HistoryError> {
        if let Some(flight) = &mut self.in_flight {
            if flight.stored.is_empty() && pen.draw.one_in(2) {
                flight.store(broker);
            }
            self.end(pen, broker, CODE_CONNECTION_LOST)?;
        }
        Ok(())
    }

    /// Ends what is on its way.
    pub(super) fn finish(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &mut Broker,
    ) -> Result<(), HistoryError> {
        while self.in_flight.is_some() {
            self.step(pen, broker)?;
        }
        Ok(())
    }

    fn begin(&mut self, pen: &mut Pen<'_>) -> Result<u64, HistoryError> {
        let mut flight = InFlight {
            op: Op::Send,
            queue: pen.draw.below(RETRY as u64) as usize,
            messages: Vec::new(),
            stored: Vec::new(),
        };
        if let Some((queue, uid, attempts)) = self.again.pop() {
            flight.queue = queue;
            flight.messages.push((uid, attempts + 1));
        } else {
            let count = if pen.draw.one_in(8) { BATCH_LEN } else { 1 };
            if count > 1 {
                flight.op = Op::SendBatch;
            }
            for _ in 0..count {
                flight.messages.push((uid(self.number, self.next), 1));
                self.next += 1;
            }
        }
        pen.write(flight.op, Kind::Invoke, |r| flight.fill(self.number, 0, r))?;
        for index in 1..flight.messages.len() {
            pen.write_at_once(flight.op, Kind::Invoke, |r| {
                flight.fill(self.number, index, r);
            })?;
        }
        let count = flight.messages.len() as u64;
        self.in_flight = Some(flight);
        Ok(count)
    }

    fn end(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &mut Broker,
        code: i32,
    ) -> Result<(), HistoryError> {
        let Some(flight) = self.in_flight.take() else {
            return Ok(());
        };
        let kind = crate::outcome::of_send(code);
        pen.t_ns += 1;
        for (index, (uid, attempts)) in flight.messages.iter().enumerate() {
            pen.write_at_once(flight.op, kind, |r| {
                flight.fill(self.number, index, r);
                r.code = code;
                r.aux = 0;
                if kind == Kind::Ok {
                    (r.offset, r.phy) = flight.stored[index];
                }
            })?;
            if kind == Kind::Ok {
                broker.acknowledged(flight.queue, flight.stored[index].0);
            } else if pen.draw.one_in(2) {
                self.again.push((flight.queue, *uid, *attempts));
            }
        }
        Ok(())
    }
}

impl InFlight {
    fn store(&mut self, broker: &mut Broker) {
        for (uid, _) in &self.messages {
            self.stored.push(broker.append(self.queue, *uid, 0));
        }
    }

    fn fill(&self, proc: u16, index: usize, record: &mut crate::record::Record) {
        let (uid, attempt) = self.messages[index];
        name(self.queue, record);
        record.proc = proc;
        record.uid = uid;
        record.attempt = attempt;
        record.digest = digest_of(uid);
        record.flags = FLAG_SYNC;
        record.aux = TIMEOUT_MS;
    }
}
