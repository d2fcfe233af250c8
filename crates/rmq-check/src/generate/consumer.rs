//! The model's consumer groups: two members that own queues, commit, hand over and fail messages.
//!
//! Invariant: after a crash a group goes on at an offset that it committed, at most a window ago.

use super::broker::{Broker, DEAD, RETRY, digest_of, name};
use super::{Pen, RECONSUME_TIMES_MAX, RETRY_DELAY_MS, TIMEOUT_MS, WINDOW_NS};
use crate::draw::Draw;
use crate::error::HistoryError;
use crate::record::{Kind, Op, Record};
use std::collections::VecDeque;

const PULL_LEN: i64 = 4;
const LATER: i32 = 1;

/// Where a group is in one queue.
#[derive(Debug, Clone, Default)]
struct Place {
    next: i64,
    /// When each was committed.
    commits: Vec<(u64, i64)>,
    owner: u16,
}

impl Place {
    fn committed(&self) -> i64 {
        self.commits.last().map_or(0, |(_, offset)| *offset)
    }
}

pub(super) struct Group {
    id: u16,
    first_proc: u16,
    fails: bool,
    places: Vec<Place>,
    epoch: u16,
    /// Given back: when they are due, uid and times.
    delayed: VecDeque<(u64, u64, i64)>,
}

impl Group {
    pub(super) fn new(id: u16, first_proc: u16, fails: bool) -> Self {
        let queues = if fails { RETRY + 1 } else { RETRY };
        Self {
            id,
            first_proc,
            fails,
            places: vec![Place::default(); queues],
            epoch: 0,
            delayed: VecDeque::new(),
        }
    }

    fn fill(&self, queue: usize, record: &mut Record) {
        name(queue, record);
        record.group = self.id;
        record.proc = self.places[queue].owner;
        record.aux = TIMEOUT_MS;
    }

    /// Every queue changes hands.
    pub(super) fn rebalance(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &Broker,
    ) -> Result<(), HistoryError> {
        self.epoch += 1;
        for queue in 0..self.places.len() {
            self.places[queue].owner = self.first_proc + (self.epoch + queue as u16) % 2;
            self.take_over(pen, broker, queue)?;
        }
        Ok(())
    }

    fn take_over(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &Broker,
        queue: usize,
    ) -> Result<(), HistoryError> {
        pen.write(Op::Assign, Kind::Ok, |r| self.fill(queue, r))?;
        pen.write(Op::OffsetQuery, Kind::Invoke, |r| self.fill(queue, r))?;
        let told = self.places[queue].committed();
        let kind = if self.places[queue].commits.is_empty() {
            Kind::Fail
        } else {
            Kind::Ok
        };
        pen.write(Op::OffsetQuery, kind, |r| {
            self.fill(queue, r);
            r.offset = told;
        })?;
        self.places[queue].next = told;
        if told < broker.min(queue) {
            broker.bounds_of(pen, queue)?;
            self.places[queue].next = broker.min(queue);
        }
        Ok(())
    }

    pub(super) fn crash(&mut self, draw: &mut Draw, at: u64) {
        for place in &mut self.places {
            let kept = place
                .commits
                .iter()
                .filter(|(t_ns, _)| t_ns + WINDOW_NS < at)
                .count();
            let lost = draw.below((place.commits.len() - kept) as u64 + 1) as usize;
            place.commits.truncate(place.commits.len() - lost);
        }
    }

    /// An operator sets the group to some offset.
    pub(super) fn reset(&mut self, pen: &mut Pen<'_>, broker: &Broker) -> Result<(), HistoryError> {
        let queue = pen.draw.below(RETRY as u64) as usize;
        let (min, max) = (broker.min(queue), broker.max(queue));
        let offset = min + pen.draw.below((max - min) as u64 + 1) as i64;
        pen.write(Op::OffsetReset, Kind::Invoke, |r| {
            self.fill(queue, r);
            r.offset = offset;
        })?;
        let at = pen.write(Op::OffsetReset, Kind::Ok, |r| {
            self.fill(queue, r);
            r.offset = offset;
        })?;
        // A reset is written at once, so that no crash takes it back.
        self.places[queue].commits = vec![(at.saturating_sub(2 * WINDOW_NS), offset)];
        self.take_over(pen, broker, queue)
    }

    /// One pull of one queue; whether anything came.
    pub(super) fn step(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &mut Broker,
    ) -> Result<bool, HistoryError> {
        let queue = pen.draw.below(self.places.len() as u64) as usize;
        self.wake(pen.t_ns, broker);
        self.pull(pen, broker, queue)
    }

    fn wake(&mut self, t_ns: u64, broker: &mut Broker) {
        while let Some((due, uid, times)) = self.delayed.front().copied()
            && due <= t_ns
        {
            broker.append(RETRY, uid, times);
            self.delayed.pop_front();
        }
    }

    fn pull(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &mut Broker,
        queue: usize,
    ) -> Result<bool, HistoryError> {
        if self.places[queue].next < broker.min(queue) {
            broker.bounds_of(pen, queue)?;
            self.places[queue].next = broker.min(queue);
        }
        let from = self.places[queue].next;
        let to = broker.max(queue).min(from + PULL_LEN);
        if from == to {
            return Ok(false);
        }
        pen.t_ns += 1;
        for offset in from..to {
            let stored = broker.get(queue, offset);
            pen.write_at_once(Op::Deliver, Kind::Ok, |r| {
                self.fill(queue, r);
                r.uid = stored.uid;
                r.offset = offset;
                r.phy = stored.phy;
                r.digest = digest_of(stored.uid);
                r.aux = stored.times;
            })?;
        }
        for offset in from..to {
            let stored = broker.get(queue, offset);
            if self.fails && is_failing(stored.uid, stored.times) {
                self.give_back(pen, broker, queue, (stored.uid, stored.times))?;
            }
        }
        self.places[queue].next = to;
        self.commit(pen, queue)?;
        Ok(true)
    }

    fn commit(&mut self, pen: &mut Pen<'_>, queue: usize) -> Result<(), HistoryError> {
        let offset = self.places[queue].next;
        pen.write(Op::OffsetCommit, Kind::Invoke, |r| {
            self.fill(queue, r);
            r.offset = offset;
        })?;
        let at = pen.write(Op::OffsetCommit, Kind::Ok, |r| {
            self.fill(queue, r);
            r.offset = offset;
        })?;
        let commits = &mut self.places[queue].commits;
        commits.push((at, offset));
        if commits.len() > 4096 {
            commits.drain(..2048);
        }
        Ok(())
    }

    fn give_back(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &mut Broker,
        queue: usize,
        (uid, times): (u64, i64),
    ) -> Result<(), HistoryError> {
        let at = pen.write(Op::ConsumeEnd, Kind::Ok, |r| {
            self.fill(queue, r);
            r.uid = uid;
            r.code = LATER;
            r.offset = times;
            r.aux = RETRY_DELAY_MS;
        })?;
        if times >= RECONSUME_TIMES_MAX {
            broker.append(DEAD, uid, times + 1);
        } else {
            let due = at + RETRY_DELAY_MS as u64 * 1_000_000;
            self.delayed.push_back((due, uid, times + 1));
        }
        Ok(())
    }

    /// Reads every queue to its end and says so.
    pub(super) fn drain(
        &mut self,
        pen: &mut Pen<'_>,
        broker: &mut Broker,
    ) -> Result<(), HistoryError> {
        loop {
            let mut progress = false;
            for queue in 0..self.places.len() {
                progress |= self.pull(pen, broker, queue)?;
            }
            if let Some((due, ..)) = self.delayed.front() {
                pen.t_ns = pen.t_ns.max(*due);
                self.wake(pen.t_ns, broker);
            } else if !progress {
                break;
            }
        }
        for queue in 0..RETRY {
            pen.write(Op::Drained, Kind::Ok, |r| {
                self.fill(queue, r);
                r.offset = broker.max(queue);
            })?;
        }
        Ok(())
    }
}

/// One message in 40 fails once, one in 80 always.
const fn is_failing(uid: u64, times: i64) -> bool {
    let lot = digest_of(uid) % 80;
    lot == 0 || (lot == 1 && times == 0)
}
