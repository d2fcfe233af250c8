//! The start of the log moves: first offsets of queues, pages of their index, everything derived.
//!
//! Owned by the retention task. What has to move is found first, with reads; then everything moves
//! in one go. Invariant: the first message that a queue keeps is the first that lies in the log.

use super::spares::Spare;
use crate::consume_queue::pages::{Page, PageKey, UNITS_PER_PAGE};
use crate::consume_queue::{Queue, QueueRef, Unit, UnitPlace};
use crate::error::ReadError;
use crate::record::{RecordKind, push_kept_queue};
use crate::stats::add;
use crate::store::Inner;
use base::LogPosition;
use rt::Rt;
use std::io;

/// Payload length at which a record of kept queues is closed, in bytes.
const KEPT_RECORD_LEN: usize = 16 << 10;

/// How far a queue moves.
pub(super) struct Trim {
    queue: QueueRef,
    min: i64,
    /// Where its first message lies then.
    kept_from: u64,
}

enum Step {
    Done(Trim),
    NeedsPage(PageKey, i64),
    NoQueue,
}

impl<R: Rt> Inner<R> {
    /// What moves when the log starts at `start`.
    pub(super) async fn plan_trim(&self, start: u64) -> io::Result<Vec<Trim>> {
        let references = self.queues.borrow().references();
        let mut trims = Vec::new();
        for reference in references {
            let touched = |queue: &Queue| queue.kept_from < start && queue.min < queue.next;
            if self.queues.borrow().get(reference).is_some_and(touched) {
                let trim = self.find_first(reference, start).await;
                trims.extend(trim.map_err(io::Error::other)?);
            }
        }
        Ok(trims)
    }

    /// The first offset of a queue whose message lies at or above `start`.
    async fn find_first(&self, queue: QueueRef, start: u64) -> Result<Option<Trim>, ReadError> {
        let mut page: Option<(PageKey, Page)> = None;
        let mut from = 0;
        loop {
            match self.step(queue, start, from, page.as_ref()) {
                Step::Done(trim) => return Ok(Some(trim)),
                Step::NoQueue => return Ok(None),
                Step::NeedsPage(key, at) => {
                    from = at;
                    // Meanwhile the queue may grow or be deleted; its first offset stays.
                    page = Some((key, self.read_page(key).await?));
                    self.rt.yield_now().await;
                }
            }
        }
    }

    fn step(
        &self,
        reference: QueueRef,
        start: u64,
        from: i64,
        page: Option<&(PageKey, Page)>,
    ) -> Step {
        let queues = self.queues.borrow();
        let Some(queue) = queues.get(reference) else {
            return Step::NoQueue;
        };
        let pages = self.pages.borrow();
        let read = |number| {
            page.filter(|(key, _)| key.page == number)
                .map(|(_, page)| page)
        };
        let mut at = from.max(queue.min);
        while at < queue.next {
            let unit = match queue.unit_place(at) {
                UnitPlace::Here(unit) => unit,
                UnitPlace::InPage {
                    page: number,
                    at: index,
                } => {
                    let Some(page) = pages.get(number).or(read(number)) else {
                        let key = PageKey {
                            shard: self.settings.shard,
                            page: number,
                            queue: queue.fingerprint(),
                            chunk: at / UNITS_PER_PAGE as i64,
                        };
                        return Step::NeedsPage(key, at);
                    };
                    page.unit(index)
                }
            };
            if is_kept(&unit, start) {
                return Step::Done(Trim {
                    queue: reference,
                    min: at,
                    kept_from: unit.position,
                });
            }
            at += 1;
        }
        Step::Done(Trim {
            queue: reference,
            min: at,
            kept_from: start,
        })
    }

    /// Moves everything: from here on the log starts at `start`, where its second segment began.
    pub(super) fn trim(&self, start: u64, trims: Vec<Trim>) {
        let gone = self.log.borrow_mut().segments.pop_first();
        assert_eq!(gone.end, start, "segments go one by one");
        let whole = gone.zeroed_to == gone.end;
        let len = if whole { gone.end - gone.start } else { 0 };
        self.add_spare(Spare {
            start: gone.start,
            len,
        });
        self.apply_trims(trims);
        self.cold.borrow_mut().drop_below(start);
        // Runs of the key index that were about it may go.
        self.keys.tend_wanted.notify();
    }

    fn apply_trims(&self, trims: Vec<Trim>) {
        assert!(
            self.frozen.borrow().is_none(),
            "no checkpoint takes queues over meanwhile"
        );
        let mut queues = self.queues.borrow_mut();
        for trim in trims {
            if let Some(queue) = queues.get_mut(trim.queue) {
                let before = queue.min;
                let pages = queue.trim(trim.min);
                queue.kept_from = trim.kept_from;
                base::always!(
                    FirstOffsetGrows,
                    before <= queue.min && queue.min <= queue.visible
                );
                add(&self.counters.pages_trimmed, pages.len() as u64);
                self.pages.borrow_mut().give_back(&pages);
            }
        }
    }

    /// At the start: the log begins later than the queues know.
    pub(crate) async fn trim_to_start(&self) -> io::Result<()> {
        let start = self.log.borrow().segments.start();
        let trims = self.plan_trim(start).await?;
        self.apply_trims(trims);
        Ok(())
    }

    /// Has the log tell again what only checkpoints and what lies below `gone` tell: metadata, and
    /// how far each queue has come. Done when that is durable; false when there is no room for it.
    pub(super) async fn repeat_in_log(&self, gone: u64) -> bool {
        if self.retention.repeated_at.get() >= gone {
            return true;
        }
        let repeated_at = self.log.borrow().appended();
        let source = self.snapshot_source.borrow().clone();
        let records = source.map_or_else(|| self.carried.borrow().clone(), |source| source());
        let mut end = LogPosition(0);
        for (kind, payload) in records.into_iter().chain(self.kept_records()) {
            match self.append_repeated(kind, &payload) {
                Ok(position) => end = position,
                Err(_) => return false,
            }
        }
        let durable = self.wait_durable(end.0).await;
        if durable {
            self.retention.repeated_at.set(repeated_at);
        }
        durable
    }

    fn kept_records(&self) -> Vec<(RecordKind, Vec<u8>)> {
        let queues = self.queues.borrow();
        let mut records: Vec<(RecordKind, Vec<u8>)> = Vec::new();
        for queue in queues.iter().filter(|queue| queue.next > 0) {
            let fresh = records
                .last()
                .is_none_or(|(_, payload)| payload.len() > KEPT_RECORD_LEN);
            if fresh {
                records.push((RecordKind::QUEUES_KEPT, Vec::new()));
            }
            let (_, payload) = records.last_mut().expect("there is one");
            push_kept_queue(payload, &queue.topic, queue.id, queue.next);
        }
        records
    }
}

fn is_kept(unit: &Unit, start: u64) -> bool {
    !unit.is_lost() && unit.position >= start
}
