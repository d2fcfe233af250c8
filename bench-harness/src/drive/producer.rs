//! One producer connection: its sends, and what became of each.
//!
//! Owned by one thread. A send has a slot from its write to its answer, its timeout or the end of the
//! connection; its id names slot and generation, so that a late answer finds nobody. Invariant: each
//! send ends in exactly one count.

use super::frames::{BatchUnit, OPAQUE_MIN, Template};
use super::link::Link;
use super::plan::{Plan, Shared};
use super::seen::{LOST, Seen, TIMED_OUT};
use crate::body::{self, HEAD_LEN, Mark};
use crate::random::Random;
use anyhow::{Context, Result};
use remoting::command::decode;
use std::sync::atomic::Ordering;

const SLOT_BITS: u32 = 17;
const GENERATIONS: u32 = 1 << 13;
/// Unanswered sends of one connection in an open loop.
pub(crate) const SLOTS_MAX: usize = 1 << 16;

/// What all producers of a thread share to make a frame.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    plan: &'a Plan,
    thread: usize,
    templates: Vec<Option<Template>>,
    unit: Option<BatchUnit>,
    random: Random,
    turn: usize,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(plan: &'a Plan, thread: usize) -> Result<Self> {
        let size = plan.params.sizes[0].0;
        let unit = (plan.params.batch > 1)
            .then(|| BatchUnit::new(size))
            .transpose()?;
        Ok(Self {
            plan,
            thread,
            templates: vec![None; plan.queues()],
            unit,
            random: Random::new(u64::from(plan.run) << 8 | thread as u64),
            turn: 0,
        })
    }

    /// The number of its thread.
    pub(crate) fn thread(&self) -> usize {
        self.thread
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// A queue of a broker.
    fn pick_queue(&mut self, broker: usize) -> usize {
        let queues = self.plan.queues_per_broker();
        let within = if let Some(skew) = &self.plan.skew {
            skew.draw(&mut self.random)
        } else {
            self.turn += 1;
            self.turn % queues
        };
        broker * queues + within
    }

    fn pick_size(&mut self) -> usize {
        let sizes = &self.plan.params.sizes;
        let index = self
            .plan
            .sizes
            .as_ref()
            .map_or(0, |weights| weights.draw(&mut self.random));
        sizes[index].0
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    due_ns: u64,
    sent_ns: u64,
    queue: u32,
    generation: u32,
    is_live: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) link: Link,
    /// Its number among all producers of the run.
    number: u32,
    broker: usize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    slots_max: usize,
    pub(crate) due: usize,
    /// The next number of each of its broker's queues.
    numbers: Vec<u64>,
}

impl Producer {
    pub(crate) fn new(
        link: Link,
        number: u32,
        broker: usize,
        queues: usize,
        slots_max: usize,
    ) -> Self {
        Self {
            link,
            number,
            broker,
            slots: Vec::new(),
            free: Vec::new(),
            slots_max: slots_max.min(1 << SLOT_BITS),
            due: 0,
            numbers: vec![0; queues],
        }
    }

    pub(crate) fn can_send(&self) -> bool {
        self.link.alive && self.due < self.slots_max && self.link.backlog() < BACKLOG_MAX
    }

    /// Puts one frame into the out buffer.
    pub(crate) fn send(&mut self, maker: &mut Maker<'_>, due_ns: u64, now_ns: u64) -> Result<()> {
        let queue = maker.pick_queue(self.broker);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        let generation = (entry.generation + 1) % GENERATIONS;
        *entry = Slot {
            due_ns,
            sent_ns: now_ns,
            queue: queue as u32,
            generation,
            is_live: true,
        };
        self.due += 1;
        let opaque = OPAQUE_MIN + (generation << SLOT_BITS | slot).cast_signed();
        self.write(maker, queue, opaque, due_ns)
    }

    fn write(
        &mut self,
        maker: &mut Maker<'_>,
        queue: usize,
        opaque: i32,
        due_ns: u64,
    ) -> Result<()> {
        let plan = maker.plan;
        let size = maker.pick_size();
        if maker.templates[queue].is_none() {
            let (_, topic, id) = plan.queue(queue);
            maker.templates[queue] = Some(Template::send(plan.form, topic, id)?);
        }
        let template = maker.templates[queue].as_ref().context("it was made")?;
        let next = &mut self.numbers[queue % plan.queues_per_broker()];
        let filler = &plan.filler[..size - HEAD_LEN];
        let mut mark = Mark {
            run: plan.run,
            due_ns,
            number: *next,
            producer: self.number,
            queue: queue as u32,
        };
        *next += u64::from(plan.params.batch);
        let key = u64::from(self.number) << 48 | (queue as u64) << 32 | mark.number & 0xFFFF_FFFF;
        template.write(&mut self.link.out, opaque, key, |out| match &maker.unit {
            None => body::write(out, mark, filler),
            Some(unit) => {
                for index in 0..plan.params.batch {
                    unit.write(out, key + u64::from(index), |out| {
                        body::write(out, mark, filler);
                    });
                    mark.number += 1;
                }
            }
        });
        Ok(())
    }

    /// Takes the answers that have arrived.
    pub(crate) fn take_answers(
        &mut self,
        plan: &Plan,
        shared: &Shared,
        seen: &mut Seen,
        window: usize,
    ) -> Result<()> {
        let now = plan.clock.ns();
        let (mut acknowledged, mut errors) = (0, 0);
        while let Some(frame) = self.link.frames.next_frame()? {
            let answer = decode(self.link.frames.bytes(frame))?;
            // Requests of the broker, and answers to heartbeats.
            if !answer.is_response() || answer.opaque < OPAQUE_MIN {
                continue;
            }
            let id = (answer.opaque - OPAQUE_MIN).cast_unsigned();
            let (slot, generation) = (id & ((1 << SLOT_BITS) - 1), id >> SLOT_BITS);
            let Some(entry) = self.slots.get_mut(slot as usize) else {
                continue;
            };
            if !entry.is_live || entry.generation != generation {
                continue;
            }
            entry.is_live = false;
            let entry = *entry;
            self.free.push(slot);
            self.due -= 1;
            let batch = u64::from(plan.params.batch);
            if answer.code != 0 {
                let remark = answer.remark.as_deref().unwrap_or_default();
                seen.error(window, answer.code, remark, batch);
                seen.acknowledged.unknown += batch;
                errors += batch;
                continue;
            }
            let offset = answer
                .fields
                .get("queueOffset")
                .context("an acknowledgement without an offset")?;
            if plan.params.delay_level == 0 {
                seen.acknowledged
                    .add(entry.queue as usize, offset.parse()?, batch);
            }
            acknowledged += batch;
            note(seen, window, entry, now, batch);
        }
        self.link.frames.compact();
        if acknowledged + errors > 0 {
            let second = seen.second(now);
            second.acknowledged += acknowledged;
            second.errors += errors;
            shared
                .acknowledged
                .fetch_add(acknowledged, Ordering::Relaxed);
            shared.errors.fetch_add(errors, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives up sends that have waited too long.
    pub(crate) fn expire(&mut self, plan: &Plan, shared: &Shared, seen: &mut Seen, window: usize) {
        let now = plan.clock.ns();
        let limit_ns = plan.params.timeout_ms * 1_000_000;
        self.give_up(
            plan,
            shared,
            seen,
            window,
            TIMED_OUT,
            "no answer in time",
            |slot| now.saturating_sub(slot.sent_ns) > limit_ns,
        );
    }

    /// Gives up all sends: the connection is gone.
    pub(crate) fn lose(&mut self, plan: &Plan, shared: &Shared, seen: &mut Seen, window: usize) {
        self.give_up(
            plan,
            shared,
            seen,
            window,
            LOST,
            "the connection ended",
            |_| true,
        );
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one loop for both ends of a send without an answer"
    )]
    fn give_up(
        &mut self,
        plan: &Plan,
        shared: &Shared,
        seen: &mut Seen,
        window: usize,
        code: i32,
        remark: &str,
        is_over: impl Fn(&Slot) -> bool,
    ) {
        let (now, batch) = (plan.clock.ns(), u64::from(plan.params.batch));
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.is_live && is_over(slot) {
                slot.is_live = false;
                self.free.push(index as u32);
                self.due -= 1;
                seen.error(window, code, remark, batch);
                seen.acknowledged.unknown += batch;
                seen.windows[window]
                    .response
                    .saturating_record(now.saturating_sub(slot.due_ns));
                seen.second(now).errors += batch;
                shared.errors.fetch_add(batch, Ordering::Relaxed);
            }
        }
    }
}

/// Writes down a send that succeeded.
fn note(seen: &mut Seen, window: usize, slot: Slot, now: u64, batch: u64) {
    let response = now.saturating_sub(slot.due_ns);
    let counts = &mut seen.windows[window];
    counts.acknowledged += batch;
    counts.sends += 1;
    counts.response.saturating_record(response);
    counts
        .service
        .saturating_record(now.saturating_sub(slot.sent_ns));
    counts
        .lag
        .saturating_record(slot.sent_ns.saturating_sub(slot.due_ns));
    seen.second(now).response.saturating_record(response);
}

/// Bytes that a connection may hold back before no more is put in.
const BACKLOG_MAX: usize = 8 << 20;
