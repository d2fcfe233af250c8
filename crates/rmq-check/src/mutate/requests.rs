//! Mutators of requests and their answers, and of the broker's life.
//!
//! Invariant: as for all mutators, the history stays readable and in time order.

use super::{Events, is_acknowledgement, is_plain, is_send, same_queue};
use crate::outcome::CODE_CONNECTION_LOST;
use crate::record::{Kind, Op, Record};

const MESSAGE_ILLEGAL: i32 = 13;
const SYSTEM_ERROR: i32 = 1;
const QUERY_NOT_FOUND: i32 = 22;
const LATE_NS: u64 = 10_000_000_000;

fn is_lost(record: &Record) -> bool {
    is_send(record) && record.code == CODE_CONNECTION_LOST
}

pub(super) fn refuse(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        let attempts = events
            .records
            .iter()
            .filter(|r| r.uid == record.uid && is_send(r) && r.kind == Kind::Invoke)
            .count();
        let is_there = |r: &Record| r.uid == record.uid && r.op == Op::LogDump && is_plain(r);
        is_lost(record) && attempts == 1 && events.records.iter().any(is_there)
    })?;
    let record = &mut events.records[index];
    record.kind = Kind::Fail;
    record.code = MESSAGE_ILLEGAL;
    Some(())
}

pub(super) fn shrink(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        record.op == Op::QueueBounds
            && record.kind == Kind::Ok
            && events.records[..index.saturating_sub(1)]
                .iter()
                .any(|r| is_acknowledgement(r) && same_queue(r, record))
    })?;
    events.records[index].aux = 0;
    Some(())
}

pub(super) fn raise_min_early(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        record.op == Op::QueueBounds && record.kind == Kind::Ok
    })?;
    let told = *events.at(index);
    let dumped = events
        .records
        .iter()
        .find(|r| r.op == Op::DumpBegin && same_queue(r, &told))?
        .offset;
    events.records[index].offset = dumped + 1;
    Some(())
}

pub(super) fn change_phy(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| is_kept(events, index))?;
    events.records[index].phy += 4096;
    Some(())
}

pub(super) fn change_offset(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| is_kept(events, index))?;
    events.records[index].offset += 1;
    Some(())
}

/// Whether this acknowledges a message that the dump has.
fn is_kept(events: &Events<'_>, index: usize) -> bool {
    let record = events.at(index);
    is_acknowledgement(record)
        && events
            .records
            .iter()
            .any(|r| r.op == Op::LogDump && same_queue(r, record) && r.offset == record.offset)
}

pub(super) fn lose_look_up(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        matches!(record.op, Op::View | Op::QueryKey) && record.kind == Kind::Ok
    })?;
    let record = &mut events.records[index];
    record.kind = Kind::Fail;
    record.code = QUERY_NOT_FOUND;
    Some(())
}

pub(super) fn no_answer(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| is_acknowledgement(events.at(index)))?;
    events.records.remove(index);
    delay_from(events, index);
    Some(())
}

pub(super) fn late_answer(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| is_acknowledgement(events.at(index)))?;
    delay_from(events, index);
    Some(())
}

/// Everything from here on happens ten seconds later.
fn delay_from(events: &mut Events<'_>, index: usize) {
    for record in &mut events.records[index..] {
        record.t_ns += LATE_NS;
    }
}

pub(super) fn odd_code(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| is_lost(events.at(index)))?;
    events.records[index].code = SYSTEM_ERROR;
    Some(())
}

pub(super) fn end_by_itself(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| events.at(index).op == Op::BrokerExit)?;
    events.records[index].flags = 0;
    Some(())
}
