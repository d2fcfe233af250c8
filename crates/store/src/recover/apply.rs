//! What blocks and checkpoints say, applied to queues, pages and metadata.
//!
//! Part of recovery. Invariant: units stay dense; an offset whose message is lost to damage has a
//! unit that says so.

use super::State;
use crate::block::HEADER_LEN;
use crate::checkpoint::Checkpoint;
use crate::consume_queue::pages::Pages;
use crate::consume_queue::{QueueRef, Unit};
use crate::record::{self, MessageHead, Record, RecordKind, TAG_LEN};
use crate::settings::Settings;
use base::{LogPosition, QueueId};
use rt::Disk;

/// Takes over a checkpoint.
pub(super) fn checkpoint<D: Disk>(
    state: &mut State<D>,
    checkpoint: Checkpoint,
    settings: &Settings,
) {
    let mut used = Vec::new();
    for saved in checkpoint.queues {
        let reference = state.queues.find_or_create(&saved.topic, saved.queue);
        let queue = state.queues.get_mut(reference).expect("just made");
        used.extend_from_slice(&saved.pages);
        queue.min = saved.min;
        queue.next = saved.next;
        queue.pages = saved.pages;
        queue.tail = saved.tail;
    }
    state.pages = Pages::new(&used, settings.index_cache_bytes);
    for (kind, payload) in checkpoint.records {
        if kind == RecordKind::RETENTION {
            state.retention = Some(payload);
        } else if kind < RecordKind::RESERVED {
            state.records.push((kind, payload));
        }
    }
}

/// Takes over the records of a good block.
pub(super) fn block<D: Disk>(
    state: &mut State<D>,
    settings: &Settings,
    block: u64,
    payload: &[u8],
) {
    let mut at = 0;
    while let Some((record, len)) = payload.get(at..).and_then(record::first) {
        let position = block + (HEADER_LEN + at + TAG_LEN) as u64;
        match record {
            Record::Message { tags_code, unit } => {
                let head = record::message_head(unit)
                    .filter(|head| head.phy_offset.position().0 == position);
                if let Some(head) = head {
                    let align = settings.block_align;
                    let len = unit.len() as u32;
                    let place = Unit::new(block, position, len, tags_code, align);
                    message(state, settings, &head, place);
                    state.report.messages += 1;
                    note_decided(state, unit);
                }
            }
            Record::Internal {
                kind: RecordKind::QUEUE_DELETED,
                payload,
            } => {
                let found = record::deleted_queue(payload)
                    .and_then(|(topic, queue)| state.queues.find(topic, queue));
                if let Some(reference) = found {
                    remove(state, reference);
                }
            }
            Record::Internal {
                kind: RecordKind::QUEUES_KEPT,
                payload,
            } => {
                for (topic, queue, next) in record::kept_queues(payload) {
                    kept_queue(state, settings, topic, queue, next);
                }
            }
            Record::Internal { kind, payload } => {
                state.records.push((kind, payload.to_vec()));
                state.report.records += 1;
            }
        }
        at += len;
        state.report.records_end = LogPosition(block + (HEADER_LEN + at) as u64);
    }
}

/// Takes over the messages of a damaged block that are proven good.
pub(super) fn proven<D: Disk>(
    state: &mut State<D>,
    settings: &Settings,
    block: u64,
    bytes: &[u8],
    proven: &[u64],
) {
    for position in proven {
        let at = (position - block) as usize - TAG_LEN;
        let found = bytes.get(at..).and_then(record::first);
        let Some((Record::Message { tags_code, unit }, _)) = found else {
            continue;
        };
        if let Some(head) = record::message_head(unit) {
            let align = settings.block_align;
            let place = Unit::new(block, *position, unit.len() as u32, tags_code, align);
            message(state, settings, &head, place);
            state.report.messages += 1;
            note_decided(state, unit);
        }
    }
}

/// A message that decides a half message is the record of that decision, too: there is no instant
/// between the two.
fn note_decided<D: Disk>(state: &mut State<D>, unit: &[u8]) {
    let Some(half) = record::prepared_offset(unit) else {
        return;
    };
    let offset = half.to_wire().to_le_bytes();
    let kind = RecordKind::HALF_MESSAGES_DECIDED;
    match state.records.last_mut().filter(|last| last.0 == kind) {
        Some((_, offsets)) => offsets.extend(offset),
        None => state.records.push((kind, offset.to_vec())),
    }
}

fn message<D: Disk>(state: &mut State<D>, settings: &Settings, head: &MessageHead<'_>, unit: Unit) {
    let mut reference = queue_from(state, head.topic, head.queue_id, head.queue_offset.0);
    let next = state.queues.get(reference).expect("just found").next;
    if head.queue_offset.0 < next {
        // The record of the queue's deletion lies in a damaged part.
        remove(state, reference);
        reference = state.queues.find_or_create(head.topic, head.queue_id);
        state.report.restarted_queues += 1;
    }
    while state.queues.get(reference).expect("just found").next < head.queue_offset.0 {
        push(state, settings, reference, Unit::LOST);
        state.report.lost_messages += 1;
    }
    let next = state.queues.get(reference).expect("just found").next;
    base::always!(RecoveredOffsetsDense, next == head.queue_offset.0);
    push(state, settings, reference, unit);
}

/// A queue had come so far, at least, when the log told it again.
fn kept_queue<D: Disk>(
    state: &mut State<D>,
    settings: &Settings,
    topic: &str,
    queue: QueueId,
    next: i64,
) {
    let reference = queue_from(state, topic, queue, next);
    while state.queues.get(reference).expect("just found").next < next {
        push(state, settings, reference, Unit::LOST);
        state.report.lost_messages += 1;
    }
}

/// A queue that is known, or one that begins: at 0, or at `offset` when what came before may have
/// gone with the oldest segments and no checkpoint tells of it.
fn queue_from<D: Disk>(state: &mut State<D>, topic: &str, queue: QueueId, offset: i64) -> QueueRef {
    let reference = state.queues.find_or_create(topic, queue);
    let blank = state.checkpoint_sequence == 0 && state.segments.start() > 0;
    let entry = state.queues.get_mut(reference).expect("just found");
    if blank && entry.next == 0 {
        (entry.min, entry.next) = (offset, offset);
    }
    reference
}

fn push<D: Disk>(state: &mut State<D>, settings: &Settings, reference: QueueRef, unit: Unit) {
    let queue = state
        .queues
        .get_mut(reference)
        .expect("the caller found it");
    if let Some(chunk) = queue.push(unit) {
        let page = state
            .pages
            .add(settings.shard, queue.fingerprint(), chunk, &queue.tail);
        queue.turn_page(page);
    }
}

fn remove<D: Disk>(state: &mut State<D>, reference: QueueRef) {
    if let Some(gone) = state.queues.remove(reference) {
        state.pages.give_back(&gone.pages);
    }
}
