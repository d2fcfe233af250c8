//! Mutators of what groups get and commit.
//!
//! Invariant: as for all mutators, the history stays readable.

use super::{Events, is_acknowledgement, is_plain, same_queue, take_identity};
use crate::record::{FLAG_BODY_BAD, Kind, Op, Record};

fn is_delivery(record: &Record) -> bool {
    record.op == Op::Deliver && is_plain(record)
}

fn same_reader(a: &Record, b: &Record) -> bool {
    a.group == b.group && same_queue(a, b)
}

fn was_reset(events: &Events<'_>, of: &Record) -> bool {
    events
        .records
        .iter()
        .any(|r| r.op == Op::OffsetReset && same_reader(r, of))
}

fn min_in_dump(events: &Events<'_>, of: &Record) -> i64 {
    events
        .records
        .iter()
        .find(|r| r.op == Op::DumpBegin && same_queue(r, of))
        .map_or(0, |r| r.offset)
}

pub(super) fn starve(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        is_delivery(record)
            && !was_reset(events, record)
            && record.offset >= min_in_dump(events, record)
    })?;
    let lost = *events.at(index);
    events
        .records
        .retain(|r| r.op != Op::Deliver || !same_reader(r, &lost) || r.offset != lost.offset);
    Some(())
}

pub(super) fn change_body(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| is_delivery(events.at(index)))?;
    events.records[index].digest ^= 1;
    Some(())
}

pub(super) fn break_body(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| is_delivery(events.at(index)))?;
    events.records[index].flags |= FLAG_BODY_BAD;
    Some(())
}

pub(super) fn change_topic(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| is_delivery(events.at(index)))?;
    let record = &mut events.records[index];
    record.topic = 3 - record.topic;
    Some(())
}

pub(super) fn misread(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        is_delivery(record) && other_message(events, record).is_some() && is_acked(events, record)
    })?;
    let other = other_message(events, events.at(index))?;
    take_identity(&mut events.records[index], &other);
    Some(())
}

fn is_acked(events: &Events<'_>, of: &Record) -> bool {
    events
        .records
        .iter()
        .any(|r| is_acknowledgement(r) && r.uid == of.uid && r.offset == of.offset)
}

fn other_message(events: &Events<'_>, of: &Record) -> Option<Record> {
    let mut others = events.records.iter().filter(|r| {
        is_acknowledgement(r) && same_queue(r, of) && r.uid != of.uid && r.t_ns < of.t_ns
    });
    others.next().copied()
}

/// A commit that no crash, no reset and no smaller commit comes after, and the question behind it.
fn certain_commit(events: &Events<'_>, index: usize) -> bool {
    let query = events.at(index);
    if query.op != Op::OffsetQuery || query.kind != Kind::Ok || query.offset == 0 {
        return false;
    }
    let before = events.records[..index].iter().rev();
    let mut since = before.take_while(|r| {
        !(r.op == Op::BrokerExit || (r.op == Op::OffsetReset && same_reader(r, query)))
    });
    since.any(|r| {
        r.op == Op::OffsetCommit
            && r.kind == Kind::Ok
            && same_reader(r, query)
            && r.offset == query.offset
    })
}

pub(super) fn forget_commit(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(certain_commit)?;
    events.records[index].offset = 0;
    Some(())
}

pub(super) fn invent_commit(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        record.op == Op::OffsetQuery && record.kind == Kind::Ok
    })?;
    events.records[index].offset += 1_000_000;
    Some(())
}

pub(super) fn commit_beyond(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        record.op == Op::OffsetCommit && record.kind == Kind::Ok && is_plain(record)
    })?;
    let of = *events.at(index);
    for record in events.records[..=index].iter_mut().rev() {
        if record.op == Op::OffsetCommit && same_reader(record, &of) {
            record.offset += 1_000_000;
            if record.kind == Kind::Invoke {
                break;
            }
        }
    }
    Some(())
}

pub(super) fn skip(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| first_of_owner(events, index).is_some())?;
    let (first, next) = first_of_owner(events, index)?;
    let mut at = 0;
    events.records.retain(|_| {
        at += 1;
        !(first..next).contains(&(at - 1))
    });
    Some(())
}

/// Of a takeover: the first two deliveries of the new owner, when they lie next to each other.
fn first_of_owner(events: &Events<'_>, assign: usize) -> Option<(usize, usize)> {
    let taken = events.at(assign);
    if taken.op != Op::Assign || !is_plain(taken) {
        return None;
    }
    let reach = events.records.len().min(assign + 2_000);
    let mut first = None;
    for index in assign + 1..reach {
        let record = events.at(index);
        if !same_reader(record, taken) {
            continue;
        }
        match record.op {
            Op::Assign | Op::OffsetReset => return None,
            Op::Deliver => {
                let first = *first.get_or_insert(index);
                if index > first && events.at(first).offset < record.offset {
                    return (index == first + 1).then_some((first, index));
                }
            }
            _ => {}
        }
    }
    None
}

pub(super) fn leave_out_retry(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        record.op == Op::Deliver && record.aux == 2
    })?;
    let uid = events.at(index).uid;
    events.records.retain(|r| {
        let is_first_retry = match r.op {
            Op::Deliver => r.aux == 1,
            Op::ConsumeEnd => r.offset == 1,
            _ => false,
        };
        r.uid != uid || !is_first_retry
    });
    Some(())
}

pub(super) fn early_retry(events: &mut Events<'_>) -> Option<()> {
    let index = events.pick(|events, index| {
        let record = events.at(index);
        record.op == Op::Deliver && record.aux == 1
    })?;
    let again = *events.at(index);
    for record in events.records.iter_mut() {
        if record.op == Op::ConsumeEnd && record.uid == again.uid && record.offset == 0 {
            record.aux += 600_000;
        }
    }
    Some(())
}
