//! One generator thread: an event loop over its share of the connections.
//!
//! A turn puts due sends into the out buffers, writes them, waits, and takes what has arrived, so that
//! system calls are per turn and not per message. Invariant: in an open loop a send that could not
//! leave in time is sent late and never skipped; its age counts from when it was due.

use super::consumer::Consumer;
use super::frames::PRODUCER_GROUP;
use super::link::Link;
use super::plan::{Plan, Shared, phase};
use super::producer::{Maker, Producer, SLOTS_MAX};
use super::seen::Seen;
use crate::clock::SECOND_NS;
use crate::scenario::Mode;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::sync::atomic::Ordering;
use std::time::Duration;

const TIMER: u64 = u64::MAX;
const EVENTS_MAX: usize = 1024;
/// The loop looks at the phase at least this often.
const WAIT_MAX_MS: u8 = 20;
const HOUSEKEEPING_NS: u64 = SECOND_NS / 5;
const HEARTBEAT_NS: u64 = 30 * SECOND_NS;
/// Sends that are put out in one turn of an open loop.
const BURST_MAX: usize = 512;
/// From so many connections on only the first of a group tells that it lives: each heartbeat of a new
/// client makes the broker tell all others.
const HEARTBEATS_MAX: usize = 256;

/// The state of one thread.
pub(crate) struct Thread<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    seen: Seen,
    epoll: Epoll,
    timer: TimerFd,
    maker: Maker<'a>,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    /// Sends in flight of each producer, in a closed loop.
    share: Vec<usize>,
    /// Whether what is stored before an open loop is stored.
    filled: bool,
    next_due_ns: u64,
    interval_ns: f64,
    turn: usize,
    reads_first_consumer: bool,
}

impl<'a> Thread<'a> {
    /// Connects the share of thread `index`.
    pub(crate) fn new(plan: &'a Plan, shared: &'a Shared, index: usize) -> Result<Self> {
        let threads = plan.threads();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let share = |number: u32| {
            let (all, count) = (plan.in_flight, plan.connections);
            (all / count + u32::from(number < all % count)) as usize
        };
        let (mut producers, mut shares) = (Vec::new(), Vec::new());
        for number in (0..plan.connections).filter(|n| *n as usize % threads == index) {
            let broker = number as usize % plan.brokers.len();
            let link = Link::connect(plan.brokers[broker], &epoll, producers.len() as u64)?;
            let slots = if plan.mode == Mode::Closed {
                share(number)
            } else {
                SLOTS_MAX
            };
            producers.push(Producer::new(
                link,
                number,
                broker,
                plan.queues_per_broker(),
                slots,
            ));
            shares.push(share(number));
        }
        let consumers = consumers(plan, &epoll, index, producers.len())?;
        shared
            .live
            .fetch_add(producers.len() as u32, Ordering::Relaxed);
        let interval_ns =
            SECOND_NS as f64 * f64::from(plan.params.batch) * threads as f64 / plan.rate.max(1e-3);
        Ok(Self {
            plan,
            shared,
            seen: Seen::new(
                plan.queues(),
                plan.connections as usize,
                plan.groups as usize,
            ),
            epoll,
            timer,
            maker: Maker::new(plan, index)?,
            producers,
            consumers,
            share: shares,
            filled: plan.messages_max == 0,
            next_due_ns: 0,
            interval_ns,
            turn: 0,
            reads_first_consumer: true,
        })
    }

    /// Runs until the controller says stop.
    pub(crate) fn run(mut self) -> Result<Seen> {
        let clock = self.plan.clock;
        let (mut next_housekeeping, mut next_heartbeat) = (0, 0);
        self.next_due_ns = clock.ns();
        let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
        loop {
            let start = clock.ns();
            let phase = self.shared.phase();
            let window = self.shared.window() as usize;
            if phase == phase::STOP {
                return Ok(self.seen);
            }
            if start >= next_heartbeat {
                next_heartbeat = start + HEARTBEAT_NS;
                self.heartbeats();
            }
            let sent = if phase == phase::RUN {
                self.send_due(start)?
            } else {
                0
            };
            self.follow_consumer_switch()?;
            for consumer in &mut self.consumers {
                consumer.go_on(self.plan, self.shared);
            }
            self.flush(window);
            let asleep_from = clock.ns();
            let count = self.wait(&mut events, sent > 0, asleep_from)?;
            let awake_from = clock.ns();
            for event in &events[..count] {
                self.take(*event, window)?;
            }
            if awake_from >= next_housekeeping {
                next_housekeeping = awake_from + HOUSEKEEPING_NS;
                self.expire(window);
            }
            let end = clock.ns();
            let idle = if self.plan.spins && sent == 0 && count == 0 {
                end - start
            } else {
                awake_from - asleep_from
            };
            let counts = &mut self.seen.windows[window];
            counts.turn_ns += end - start;
            counts.busy_ns += (end - start).saturating_sub(idle);
        }
    }

    /// Puts out what is due; how many frames.
    fn send_due(&mut self, now: u64) -> Result<usize> {
        let closed = self.plan.mode == Mode::Closed || !self.filled;
        if !closed {
            return self.send_open(now);
        }
        let mut sent = 0;
        let batch = i64::from(self.plan.params.batch);
        // Refused sends are made up for: what counts is what was acknowledged.
        let stored = self.shared.acknowledged.load(Ordering::Relaxed);
        let due: usize = self.producers.iter().map(|producer| producer.due).sum();
        let missing = self.plan.messages_max.saturating_sub(stored);
        let missing = missing.div_ceil(self.plan.threads() as u64);
        let mut missing = missing.cast_signed() - due as i64 * batch;
        for (producer, share) in self.producers.iter_mut().zip(&self.share) {
            while producer.due < *share && producer.can_send() && (self.filled || missing > 0) {
                producer.send(&mut self.maker, now, now)?;
                missing -= batch;
                sent += 1;
            }
        }
        // The open loop begins when the backlog has been acknowledged.
        if !self.filled && stored >= self.plan.messages_max && due == 0 {
            self.filled = true;
            self.next_due_ns = now;
        }
        Ok(sent)
    }

    fn send_open(&mut self, now: u64) -> Result<usize> {
        let mut sent = 0;
        while self.next_due_ns <= now && sent < BURST_MAX {
            let count = self.producers.len();
            let free = (0..count)
                .map(|step| (self.turn + step) % count)
                .find(|i| self.producers[*i].can_send());
            let Some(index) = free else { break };
            self.turn = index + 1;
            self.producers[index].send(&mut self.maker, self.next_due_ns, now)?;
            let distance = match self.plan.mode {
                Mode::Poisson => self.interval_ns * self.maker.random().exponential(),
                _ => self.interval_ns,
            };
            self.next_due_ns += distance as u64;
            sent += 1;
        }
        Ok(sent)
    }

    fn flush(&mut self, window: usize) {
        for producer in &mut self.producers {
            if producer.link.alive && producer.link.backlog() > 0 {
                let result = producer.link.flush(&self.epoll);
                if let Err(error) = result {
                    lost(
                        producer,
                        self.plan,
                        self.shared,
                        &self.epoll,
                        &mut self.seen,
                        window,
                        &error.to_string(),
                    );
                }
            }
        }
        for consumer in &mut self.consumers {
            if consumer.link.alive
                && consumer.link.backlog() > 0
                && consumer.link.flush(&self.epoll).is_err()
            {
                consumer.link.close(&self.epoll);
                self.shared
                    .fail("the broker ended a consumer's connection".to_owned());
            }
        }
    }

    /// Events that are there, or that come before something is due.
    fn wait(&mut self, events: &mut [EpollEvent], has_sent: bool, now: u64) -> Result<usize> {
        let open =
            self.filled && self.plan.mode != Mode::Closed && self.shared.phase() == phase::RUN;
        let sleeps_for = if open && !self.producers.is_empty() {
            self.next_due_ns.saturating_sub(now)
        } else {
            u64::MAX
        };
        let timeout = if self.plan.spins || sleeps_for == 0 && has_sent {
            EpollTimeout::ZERO
        } else {
            if sleeps_for < u64::from(WAIT_MAX_MS) * 1_000_000 {
                let after = TimeSpec::from_duration(Duration::from_nanos(sleeps_for.max(1)));
                self.timer
                    .set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?;
            }
            EpollTimeout::from(WAIT_MAX_MS)
        };
        match self.epoll.wait(events, timeout) {
            Ok(count) => Ok(count),
            Err(Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, event: EpollEvent, window: usize) -> Result<()> {
        let token = event.data();
        if token == TIMER {
            // Disarmed, so that it does not wake the next wait.
            return Ok(self.timer.unset()?);
        }
        let index = token as usize;
        if index < self.producers.len() {
            return self.take_from_producer(index, window);
        }
        let consumer = &mut self.consumers[index - self.producers.len()];
        if !consumer.link.alive {
            return Ok(());
        }
        if consumer.link.receive().unwrap_or(false) {
            return consumer.take_answers(self.plan, self.shared, &mut self.seen, window);
        }
        consumer.link.close(&self.epoll);
        self.shared
            .fail("the broker closed a consumer's connection".to_owned());
        Ok(())
    }

    fn take_from_producer(&mut self, index: usize, window: usize) -> Result<()> {
        let producer = &mut self.producers[index];
        if !producer.link.alive {
            return Ok(());
        }
        let why = match producer.link.receive() {
            Ok(true) => {
                return producer.take_answers(self.plan, self.shared, &mut self.seen, window);
            }
            Ok(false) => "closed".to_owned(),
            Err(error) => error.to_string(),
        };
        lost(
            producer,
            self.plan,
            self.shared,
            &self.epoll,
            &mut self.seen,
            window,
            &why,
        );
        Ok(())
    }

    fn expire(&mut self, window: usize) {
        let mut due = 0;
        for producer in &mut self.producers {
            producer.expire(self.plan, self.shared, &mut self.seen, window);
            due += producer.due as u64;
        }
        self.shared.set_due(self.maker.thread(), due);
    }

    fn heartbeats(&mut self) {
        for (index, producer) in self.producers.iter_mut().enumerate() {
            let body = format!(
                r#"{{"clientID":"bench-{}-p{}-{index}","producerDataSet":[{{"groupName":"{PRODUCER_GROUP}"}}],"consumerDataSet":[]}}"#,
                self.plan.run,
                self.maker.thread()
            );
            super::heartbeat(&mut producer.link.out, &body);
        }
        let all = self.consumers.len() <= HEARTBEATS_MAX;
        for (index, consumer) in self.consumers.iter_mut().enumerate() {
            if all || index == 0 {
                consumer.heartbeat(
                    self.plan,
                    &format!("bench-{}-c{}-{index}", self.plan.run, self.maker.thread()),
                );
            }
        }
    }

    /// Stops reading from the first consumer, or goes on.
    fn follow_consumer_switch(&mut self) -> Result<()> {
        let reads = !self.shared.consumer_stopped.load(Ordering::Relaxed);
        if reads != self.reads_first_consumer
            && let Some(consumer) = self.consumers.first_mut()
            && consumer.link.alive
        {
            self.reads_first_consumer = reads;
            consumer
                .link
                .listen(&self.epoll, reads)
                .context("a consumer that stands still")?;
        }
        Ok(())
    }
}

/// A producer's connection is gone: its sends are lost, and the run knows why.
fn lost(
    producer: &mut Producer,
    plan: &Plan,
    shared: &Shared,
    epoll: &Epoll,
    seen: &mut Seen,
    window: usize,
    why: &str,
) {
    producer.link.close(epoll);
    shared.fail(format!(
        "the broker ended a producer's connection in the middle ({why}) with {} sends under way",
        producer.due
    ));
    producer.lose(plan, shared, seen, window);
    shared.live.fetch_sub(1, Ordering::Relaxed);
}

/// The consumers of a thread: connection `c` of a group has every queue that `c` is in turn for.
fn consumers(
    plan: &Plan,
    epoll: &Epoll,
    thread: usize,
    first_token: usize,
) -> Result<Vec<Consumer>> {
    let (mut consumers, connections) = (Vec::new(), plan.params.consumer_connections as usize);
    for group in 0..plan.groups as usize {
        for connection in (0..connections).filter(|c| c % plan.threads() == thread) {
            let broker = connection % plan.brokers.len();
            let first = broker * plan.queues_per_broker();
            let within = connection / plan.brokers.len();
            let step = connections.div_ceil(plan.brokers.len());
            let queues: Vec<usize> = (within..plan.queues_per_broker())
                .step_by(step)
                .map(|queue| first + queue)
                .collect();
            let token = (first_token + consumers.len()) as u64;
            let link = Link::connect(plan.brokers[broker], epoll, token)?;
            let name = format!("bench-{}-g{group}", plan.run);
            consumers.push(Consumer::new(link, group, name, queues));
        }
    }
    Ok(consumers)
}
