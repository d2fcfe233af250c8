//! Mutators of what stands in the queues: lost, doubled, exchanged.
//!
//! Invariant: a dump that is to look whole stays whole, so that the intended property finds it.

use super::{Events, is_acknowledgement, is_dead_letter, is_plain, same_queue, take_identity};
use crate::record::{Kind, Op, Record, uid};

fn is_dumped(record: &Record) -> bool {
    record.op == Op::LogDump && is_plain(record)
}

/// Changes the max offset that the dump of a record's queue announces.
fn grow_dump(events: &mut Events<'_>, of: &Record, by: i64) -> Option<()> {
    let begin = events
        .records
        .iter_mut()
        .find(|r| r.op == Op::DumpBegin && same_queue(r, of))?;
    begin.aux += by;
    Some(())
}

fn is_last_of_queue(events: &Events<'_>, index: usize) -> bool {
    events
        .records
        .get(index + 1)
        .is_none_or(|next| next.op != Op::LogDump)
}

pub(super) fn lose_last(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        is_dumped(events.at(index))
            && is_last_of_queue(events, index)
            && events.is_simple(events.at(index).uid)
    })?;
    let lost = events.records.remove(index);
    grow_dump(events, &lost, -1)
}

pub(super) fn overwrite(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        is_dumped(events.at(index))
            && index > 0
            && is_dumped(events.at(index - 1))
            && events.is_simple(events.at(index).uid)
    })?;
    let other = *events.at(index - 1);
    take_identity(&mut events.records[index], &other);
    Some(())
}

pub(super) fn phantom(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| is_dumped(events.at(index)))?;
    events.records[index].uid = uid(999, 5);
    Some(())
}

pub(super) fn swap_neighbours(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        is_dumped(events.at(index))
            && index > 0
            && is_dumped(events.at(index - 1))
            && events.is_simple(events.at(index).uid)
            && events.is_simple(events.at(index - 1).uid)
    })?;
    let (a, b) = (*events.at(index - 1), *events.at(index));
    take_identity(&mut events.records[index - 1], &b);
    take_identity(&mut events.records[index], &a);
    Some(())
}

pub(super) fn hole(events: &mut Events<'_>) -> Option<()> {
    let index = events
        .pick(|events, index| is_dumped(events.at(index)) && !is_last_of_queue(events, index))?;
    events.records.remove(index);
    Some(())
}

pub(super) fn duplicate(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        is_dumped(events.at(index)) && events.is_simple(events.at(index).uid)
    })?;
    let mut last = index;
    while !is_last_of_queue(events, last) {
        last += 1;
    }
    let mut copy = *events.at(last);
    let original = *events.at(index);
    take_identity(&mut copy, &original);
    copy.offset += 1;
    copy.phy += 64;
    events.records.insert(last + 1, copy);
    grow_dump(events, &original, 1)
}

pub(super) fn die_twice(events: &mut Events<'_>) -> Option<()> {
    let last = *events.records.iter().rfind(|r| is_dead_letter(r))?;
    let index = events.pick(|events, index| {
        is_dead_letter(events.at(index)) && !dies_with_broker(events, events.at(index).uid)
    })?;
    let mut copy = *events.at(index);
    copy.offset = last.offset + 1;
    let after = events
        .records
        .iter()
        .rposition(is_dead_letter)
        .map(|last| last + 1)?;
    copy.t_ns = last.t_ns;
    events.records.insert(after, copy);
    grow_dump(events, &copy, 1)
}

/// Whether the broker died after the message was given back for the last time.
fn dies_with_broker(events: &Events<'_>, uid: u64) -> bool {
    let given_back = events
        .records
        .iter()
        .find(|r| r.op == Op::ConsumeEnd && r.uid == uid && r.offset >= 2)
        .map_or(0, |r| r.t_ns);
    events
        .records
        .iter()
        .any(|r| r.op == Op::BrokerExit && r.aux != 0 && r.t_ns >= given_back)
}

pub(super) fn lose_dead_letter(events: &mut Events<'_>) -> Option<()> {
    let last = events.records.iter().rposition(is_dead_letter)?;
    let uid = events.at(last).uid;
    let letters = events.records.iter().filter(|r| is_dead_letter(r));
    if letters.filter(|r| r.uid == uid).count() > 1 {
        return None;
    }
    let lost = events.records.remove(last);
    grow_dump(events, &lost, -1)
}

pub(super) fn swap_one_producer(events: &mut Events<'_>) -> Option<()> {
    swap(events, true)
}

pub(super) fn swap_two_producers(events: &mut Events<'_>) -> Option<()> {
    swap(events, false)
}

/// Two acknowledged messages of a queue change places everywhere, although the first was
/// acknowledged before the second was sent.
fn swap(events: &mut Events<'_>, same_producer: bool) -> Option<()> {
    let first = events.pick(|events, index| {
        let record = events.at(index);
        is_acknowledgement(record)
            && events.is_simple(record.uid)
            && later_of(events, index, same_producer).is_some()
    })?;
    let second = later_of(events, first, same_producer)?;
    let (a, b) = (*events.at(first), *events.at(second));
    (events.records[first].offset, events.records[first].phy) = (b.offset, b.phy);
    (events.records[second].offset, events.records[second].phy) = (a.offset, a.phy);
    for record in events.records.iter_mut() {
        let is_read = matches!(record.op, Op::Deliver | Op::LogDump);
        if !is_read || !same_queue(record, &a) {
            continue;
        }
        if record.uid == a.uid {
            take_identity(record, &b);
        } else if record.uid == b.uid {
            take_identity(record, &a);
        }
    }
    Some(())
}

/// The acknowledgement of a message of the same queue that was sent later.
fn later_of(events: &Events<'_>, first: usize, same_producer: bool) -> Option<usize> {
    let a = events.at(first);
    let reach = events.records.len().min(first + 400);
    let second = (first + 1..reach).find(|index| {
        let b = events.at(*index);
        is_acknowledgement(b)
            && same_queue(a, b)
            && (a.producer() == b.producer()) == same_producer
            && events.is_simple(b.uid)
            && events
                .records
                .iter()
                .any(|r| r.uid == b.uid && r.kind == Kind::Invoke && r.t_ns > a.t_ns)
    })?;
    Some(second)
}
