//! Findings and the verdict: which property, one sentence, the few events that show it.
//!
//! Invariant: every violation is counted; only the first few of each property keep their sentence.

use crate::error::HistoryError;
use crate::file::Strings;
use crate::record::{FOREIGN, NO_QUEUE, Op, Record, SEQUENCE_MAX};
use crate::source::Source;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// The properties that this checker judges. P9 to P11, P13 and P14 need events that no client
/// writes yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// No acknowledged message is lost, and every group gets each.
    P1,
    /// Nothing appears that was not sent, was refused, or is changed.
    P2,
    /// An offset means one message for ever.
    P3,
    /// Queues have no holes and never shrink.
    P4,
    /// Order of a producer and of real time.
    P5,
    /// Receipts say the truth.
    P6,
    /// No more copies than attempts.
    P7,
    /// Groups go forward, skip nothing and are not thrown back.
    P8,
    /// Retries come in order, not too early, and end in one dead letter.
    P12,
    /// Every request ends, the broker recovers, codes are those of the fault.
    P15,
}

impl Property {
    /// What it asks for.
    pub fn name(self) -> &'static str {
        match self {
            Self::P1 => "no acked loss",
            Self::P2 => "no phantom",
            Self::P3 => "offset agreement",
            Self::P4 => "dense queues",
            Self::P5 => "order",
            Self::P6 => "receipts",
            Self::P7 => "duplicates",
            Self::P8 => "group progress",
            Self::P12 => "retry and dead letters",
            Self::P15 => "liveness and truth",
        }
    }
}

/// Which events show a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Focus {
    Uid(u64),
    Place {
        topic: u16,
        queue: u16,
        offset: i64,
    },
    Group {
        group: u16,
        topic: u16,
        queue: u16,
        t_ns: u64,
    },
    Instant(u64),
}

/// One broken property.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// What happened, in a sentence.
    pub sentence: String,
    /// The events that show it, one line each.
    pub excerpt: Vec<String>,
    focus: Focus,
}

/// Sums of a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events read.
    pub events: u64,
    /// Messages that were sent.
    pub messages: u64,
    /// Of those: acknowledged.
    pub acknowledged: u64,
    /// Of those: neither acknowledged nor refused.
    pub unknown: u64,
    /// Messages that stand in the log more than once.
    pub repeated: u64,
    /// Messages that consumers got.
    pub delivered: u64,
    /// Ends of the broker without warning.
    pub crashes: u64,
    /// Commits below an earlier one, which clients asked for.
    pub commits_back: u64,
}

/// The verdict.
#[derive(Debug, Clone)]
pub struct Report {
    /// The first violations of each property.
    pub violations: Vec<Violation>,
    /// How many there are of each.
    pub counts: BTreeMap<Property, u64>,
    /// Sums of the history.
    pub totals: Totals,
}

/// What the judges write to.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    violations: Vec<Violation>,
    counts: BTreeMap<Property, u64>,
    pub(crate) totals: Totals,
}

const KEPT_PER_PROPERTY: u64 = 5;
const EXCERPT_LINES: usize = 40;
/// Around an instant or a group's event, in ns.
const NEIGHBOURHOOD_NS: u64 = 50_000_000;

impl Findings {
    pub(crate) fn add(&mut self, property: Property, focus: Focus, sentence: impl Into<String>) {
        let count = self.counts.entry(property).or_default();
        *count += 1;
        if *count <= KEPT_PER_PROPERTY {
            self.violations.push(Violation {
                property,
                sentence: sentence.into(),
                excerpt: Vec::new(),
                focus,
            });
        }
    }

    /// How many violations of a property there are so far.
    #[cfg(test)]
    pub(crate) fn count(&self, property: Property) -> u64 {
        self.counts.get(&property).copied().unwrap_or(0)
    }

    /// Reads the history once more for the events of each violation.
    pub(crate) fn close(mut self, source: &dyn Source) -> Result<Report, HistoryError> {
        if !self.violations.is_empty() {
            let strings = source.strings();
            source.for_each(&mut |record| {
                for violation in &mut self.violations {
                    if violation.excerpt.len() < EXCERPT_LINES && violation.focus.shows(record) {
                        violation.excerpt.push(line(record, strings));
                    }
                }
                Ok(())
            })?;
        }
        self.violations.sort_by_key(|violation| violation.property);
        Ok(Report {
            violations: self.violations,
            counts: self.counts,
            totals: self.totals,
        })
    }
}

impl Focus {
    fn shows(self, record: &Record) -> bool {
        let near = |t_ns: u64| record.t_ns.abs_diff(t_ns) <= NEIGHBOURHOOD_NS;
        match self {
            Self::Uid(uid) => record.uid == uid,
            Self::Place {
                topic,
                queue,
                offset,
            } => record.topic == topic && record.queue == queue && record.offset == offset,
            Self::Group {
                group,
                topic,
                queue,
                t_ns,
            } => {
                record.group == group
                    && record.topic == topic
                    && record.queue == queue
                    && near(t_ns)
            }
            Self::Instant(t_ns) => {
                record.t_ns == t_ns
                    || (near(t_ns) && matches!(record.op, Op::BrokerExit | Op::BrokerStart))
            }
        }
    }
}

fn line(record: &Record, strings: &Strings) -> String {
    use fmt::Write;
    let mut text = format!(
        "{:>14.6} s  proc {:<3} {:?} {:?}",
        record.t_ns as f64 / 1e9,
        record.proc,
        record.op,
        record.kind
    );
    let mut add = |arguments: fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = text.write_fmt(arguments);
    };
    if record.uid != 0 {
        add(format_args!(" {}", uid_text(record.uid)));
    }
    if record.group != 0 {
        add(format_args!(" {}", strings.text(record.group)));
    }
    if record.topic != 0 {
        add(format_args!(" {}", strings.text(record.topic)));
    }
    if record.queue != NO_QUEUE {
        add(format_args!("/{}", record.queue));
    }
    if record.offset >= 0 {
        add(format_args!(" offset {}", record.offset));
    }
    if record.phy >= 0 {
        add(format_args!(" at {:#x}", record.phy));
    }
    if record.code != 0 {
        add(format_args!(" code {}", record.code));
    }
    if record.aux != 0 {
        add(format_args!(" aux {}", record.aux));
    }
    if record.attempt > 1 {
        add(format_args!(" attempt {}", record.attempt));
    }
    text
}

/// `producer-sequence`, as in the KEYS of the message.
pub(crate) fn uid_text(uid: u64) -> String {
    if uid == FOREIGN {
        return "a message of nobody".to_owned();
    }
    format!("{}-{}", uid >> 48, uid & SEQUENCE_MAX)
}

impl Report {
    /// Whether every property holds.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether a property was found broken.
    pub fn broke(&self, property: Property) -> bool {
        self.counts.contains_key(&property)
    }

    /// The verdict for programs.
    pub fn to_json(&self) -> Value {
        let totals = &self.totals;
        let violations: Vec<_> = self
            .violations
            .iter()
            .map(|violation| {
                json!({
                    "property": format!("{:?}", violation.property),
                    "sentence": violation.sentence,
                    "events": violation.excerpt,
                })
            })
            .collect();
        let counts: BTreeMap<_, _> = self
            .counts
            .iter()
            .map(|(property, count)| (format!("{property:?}"), *count))
            .collect();
        json!({
            "clean": self.is_clean(),
            "counts": counts,
            "violations": violations,
            "events": totals.events,
            "messages": totals.messages,
            "acknowledged": totals.acknowledged,
            "unknown": totals.unknown,
            "repeated": totals.repeated,
            "delivered": totals.delivered,
            "crashes": totals.crashes,
            "commitsBack": totals.commits_back,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            let property = violation.property;
            writeln!(
                f,
                "{property:?} {}: {}",
                property.name(),
                violation.sentence
            )?;
            for line in &violation.excerpt {
                writeln!(f, "    {line}")?;
            }
        }
        for (property, count) in &self.counts {
            writeln!(f, "{property:?} {}: {count} violations", property.name())?;
        }
        let totals = &self.totals;
        write!(
            f,
            "{} events, {} messages: {} acknowledged, {} unknown, {} more than once; {} deliveries, \
             {} crashes: {}",
            totals.events,
            totals.messages,
            totals.acknowledged,
            totals.unknown,
            totals.repeated,
            totals.delivered,
            totals.crashes,
            if self.is_clean() {
                "0 violations"
            } else {
                "NOT CLEAN"
            }
        )
    }
}
