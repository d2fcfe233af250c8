//! Mutators: each turns a clean history into one that breaks a known property.
//!
//! They are the checker's own test: what a broker could do wrong, done to the record of a run.
//! Invariant: a mutator either changes the history so that its property is broken, or says that
//! this history has nothing to change.

mod dumps;
mod groups;
mod requests;

use crate::check::Property;
use crate::draw::Draw;
use crate::record::{Kind, Op, Record};

/// A way to break a history.
#[derive(Clone, Copy)]
pub struct Mutator {
    /// What it does, in words.
    pub name: &'static str,
    /// What it breaks.
    pub property: Property,
    apply: fn(&mut Events<'_>) -> Option<()>,
}

impl Mutator {
    /// Changes the history; false when there is nothing to change.
    pub fn apply(&self, records: &mut Vec<Record>, seed: u64) -> bool {
        let mut events = Events {
            records,
            draw: Draw::new(seed),
        };
        (self.apply)(&mut events).is_some()
    }
}

/// A history under change.
struct Events<'a> {
    records: &'a mut Vec<Record>,
    draw: Draw,
}

/// Every mutator.
pub const MUTATORS: &[Mutator] = &[
    mutator(
        "the last acknowledged message of a queue is lost",
        Property::P1,
        dumps::lose_last,
    ),
    mutator(
        "a copy stands where an acknowledged message was",
        Property::P1,
        dumps::overwrite,
    ),
    mutator("a group never gets a message", Property::P1, groups::starve),
    mutator(
        "a message that nobody sent is there",
        Property::P2,
        dumps::phantom,
    ),
    mutator("a refused message is there", Property::P2, requests::refuse),
    mutator(
        "a body changes by one byte",
        Property::P2,
        groups::change_body,
    ),
    mutator(
        "a body's checksum does not match",
        Property::P2,
        groups::break_body,
    ),
    mutator(
        "a message comes out of another topic",
        Property::P2,
        groups::change_topic,
    ),
    mutator(
        "two neighbours change places in the dump",
        Property::P3,
        dumps::swap_neighbours,
    ),
    mutator(
        "a read gives another message for an offset",
        Property::P3,
        groups::misread,
    ),
    mutator("the dump has a hole", Property::P4, dumps::hole),
    mutator(
        "a queue's max offset shrinks",
        Property::P4,
        requests::shrink,
    ),
    mutator(
        "a queue's min offset goes back",
        Property::P4,
        requests::raise_min_early,
    ),
    mutator(
        "two messages of one producer change places",
        Property::P5,
        dumps::swap_one_producer,
    ),
    mutator(
        "two messages change places against real time",
        Property::P5,
        dumps::swap_two_producers,
    ),
    mutator(
        "a receipt has another message id",
        Property::P6,
        requests::change_phy,
    ),
    mutator(
        "a receipt has another offset",
        Property::P6,
        requests::change_offset,
    ),
    mutator(
        "a message is not found by its id or key",
        Property::P6,
        requests::lose_look_up,
    ),
    mutator("a message is stored twice", Property::P7, dumps::duplicate),
    mutator(
        "a group is told an older offset",
        Property::P8,
        groups::forget_commit,
    ),
    mutator(
        "a group is told more than was committed",
        Property::P8,
        groups::invent_commit,
    ),
    mutator(
        "a consumer that takes over skips messages",
        Property::P8,
        groups::skip,
    ),
    mutator(
        "a commit is accepted beyond the queue",
        Property::P8,
        groups::commit_beyond,
    ),
    mutator(
        "a retry is left out",
        Property::P12,
        groups::leave_out_retry,
    ),
    mutator(
        "a retry comes too early",
        Property::P12,
        groups::early_retry,
    ),
    mutator(
        "a message becomes two dead letters",
        Property::P12,
        dumps::die_twice,
    ),
    mutator(
        "a dead letter is missing",
        Property::P12,
        dumps::lose_dead_letter,
    ),
    mutator(
        "a request is never answered",
        Property::P15,
        requests::no_answer,
    ),
    mutator(
        "a request is answered too late",
        Property::P15,
        requests::late_answer,
    ),
    mutator(
        "a send is answered with a code that no fault explains",
        Property::P15,
        requests::odd_code,
    ),
    mutator(
        "the broker ends by itself",
        Property::P15,
        requests::end_by_itself,
    ),
];

const fn mutator(
    name: &'static str,
    property: Property,
    apply: fn(&mut Events<'_>) -> Option<()>,
) -> Mutator {
    Mutator {
        name,
        property,
        apply,
    }
}

impl Events<'_> {
    /// A record for which `wanted` holds, the first from a drawn place on.
    fn pick(&mut self, wanted: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let len = self.records.len();
        let from = self.draw.below(len as u64) as usize;
        (from..len)
            .chain(0..from)
            .find(|index| wanted(self, *index))
    }

    fn at(&self, index: usize) -> &Record {
        &self.records[index]
    }

    /// Whether the message was acknowledged by its only attempt.
    fn is_simple(&self, uid: u64) -> bool {
        let mut ends = self
            .records
            .iter()
            .filter(|r| r.uid == uid && is_send(r) && r.kind != Kind::Invoke);
        ends.next().is_some_and(|r| r.kind == Kind::Ok) && ends.next().is_none()
    }
}

fn is_send(record: &Record) -> bool {
    matches!(record.op, Op::Send | Op::SendBatch)
}

fn is_acknowledgement(record: &Record) -> bool {
    is_send(record) && record.kind == Kind::Ok
}

/// Plain topics have the numbers 1 and 2 in generated histories.
fn is_plain(record: &Record) -> bool {
    (1..=2).contains(&record.topic)
}

fn is_dead_letter(record: &Record) -> bool {
    record.op == Op::LogDump && record.topic == 6
}

fn same_queue(a: &Record, b: &Record) -> bool {
    (a.broker, a.topic, a.queue) == (b.broker, b.topic, b.queue)
}

/// The message that a record is about becomes that of another.
fn take_identity(record: &mut Record, other: &Record) {
    record.uid = other.uid;
    record.digest = other.digest;
}
