//! The plan of a broker seed: what goes wrong, where and when.
//!
//! Entries are independent, so that a minimiser may leave any of them out. A seed has one kind of
//! trouble with its disks at most, since each kind allows the broker another loss; crashes, network and
//! clock join every kind.

use super::shape::Shape;
use sim::{DiskOp, Fault, Rng, Rule};

/// What goes wrong with the disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// Reads, writes, syncs and names fail or stall.
    Failing,
    /// The file system is full for a while.
    Full,
    /// Stored bytes change while nobody looks.
    Rot,
    /// The disk loses writes, or puts them elsewhere, and says they are done.
    Lying,
}

impl Trouble {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        *rng.pick(&[
            Self::None,
            Self::None,
            Self::None,
            Self::Failing,
            Self::Failing,
            Self::Full,
            Self::Rot,
            Self::Lying,
        ])
    }

    /// Whether what was acknowledged must be there: not on a disk that changes what it was given.
    pub(crate) fn is_honest(self) -> bool {
        !matches!(self, Self::Rot | Self::Lying)
    }
}

/// Which two sides a cut network divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A host of clients, by number.
    Clients(usize),
    /// A name server, by number.
    NameServer(usize),
}

/// One thing that happens to a broker.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// It crashes after so many more task polls.
    Crash {
        broker: usize,
        is_power: bool,
        polls: u64,
    },
    /// It stops in order and starts again.
    Stop { broker: usize },
    /// A name server forgets everything.
    NameServerRestart { number: usize },
    /// A disk fault by rule.
    Disk { broker: usize, rule: Rule },
    /// Its file system is full for a while.
    Full { broker: usize, ms: u64 },
    /// Bits of a stored byte flip at its next crash.
    Rot { broker: usize },
    /// No bytes pass for a while, or in one direction only.
    Cut {
        broker: usize,
        side: Side,
        one_way: bool,
        ms: u64,
    },
    /// New connections are refused for a while.
    Refuse { broker: usize, ms: u64 },
    /// All connections are reset.
    Reset { broker: usize },
    /// Connections go silent and nobody is told.
    HalfOpen { broker: usize },
    /// Bytes take longer for a while.
    Slow { broker: usize, us: u64, ms: u64 },
    /// The wall clock jumps.
    Clock { broker: usize, by_ms: i64 },
}

/// When something happens.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// Its number in what the seed draws.
    pub(crate) number: usize,
    /// Since the clients began, in milliseconds.
    pub(crate) at_ms: u64,
    /// What.
    pub(crate) what: Happening,
}

impl Happening {
    pub(crate) fn broker(&self) -> usize {
        match self {
            Self::Crash { broker, .. }
            | Self::Stop { broker }
            | Self::Disk { broker, .. }
            | Self::Full { broker, .. }
            | Self::Rot { broker }
            | Self::Cut { broker, .. }
            | Self::Refuse { broker, .. }
            | Self::Reset { broker }
            | Self::HalfOpen { broker }
            | Self::Slow { broker, .. }
            | Self::Clock { broker, .. } => *broker,
            Self::NameServerRestart { .. } => 0,
        }
    }
}

const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

/// Draws everything that goes wrong, in order of time.
pub(crate) fn draw_plan(rng: &mut Rng, shape: &Shape) -> Vec<Planned> {
    let mut plan = Vec::new();
    let mut add = |rng: &mut Rng, count: u64, draw: &dyn Fn(&mut Rng, usize) -> Happening| {
        for _ in 0..count {
            let broker = rng.below(shape.brokers) as usize;
            let at_ms = rng.below(shape.storm_ms);
            let what = draw(rng, broker);
            plan.push(Planned {
                number: 0,
                at_ms,
                what,
            });
        }
    };
    let crashes = rng.below(4);
    add(rng, crashes, &draw_crash);
    let stops = u64::from(rng.one_in(4));
    add(rng, stops, &|_, broker| Happening::Stop { broker });
    // Half of the seeds have a network that works, so that every delay is the broker's own.
    let net = if rng.coin() { rng.between(1, 4) } else { 0 };
    add(rng, net, &|rng, broker| draw_net(rng, broker, shape));
    let clocks = if rng.one_in(3) { rng.between(1, 2) } else { 0 };
    add(rng, clocks, &|rng, broker| {
        let by_ms = rng.skewed(1, YEAR_MS) as i64;
        let by_ms = if rng.coin() { by_ms } else { -by_ms };
        Happening::Clock { broker, by_ms }
    });
    let disks = rng.between(1, 4);
    match shape.trouble {
        Trouble::None => {}
        Trouble::Failing => add(rng, disks, &draw_failing),
        Trouble::Full => add(rng, disks.min(2), &|rng, broker| {
            let ms = rng.skewed(10, 2_000);
            Happening::Full { broker, ms }
        }),
        Trouble::Rot => add(rng, disks, &|_, broker| Happening::Rot { broker }),
        Trouble::Lying => add(rng, disks, &draw_lying),
    }
    plan.sort_by_key(|planned| planned.at_ms);
    for (number, planned) in plan.iter_mut().enumerate() {
        planned.number = number;
    }
    plan
}

fn draw_crash(rng: &mut Rng, broker: usize) -> Happening {
    let polls = rng.below(400);
    let is_power = rng.coin();
    Happening::Crash {
        broker,
        is_power,
        polls,
    }
}

fn draw_net(rng: &mut Rng, broker: usize, shape: &Shape) -> Happening {
    let ms = rng.skewed(1, 2_000);
    match rng.below(7) {
        0 => {
            let side = if shape.name_servers > 0 && rng.coin() {
                Side::NameServer(rng.below(shape.name_servers) as usize)
            } else {
                Side::Clients(rng.below(2) as usize)
            };
            let one_way = rng.one_in(3);
            Happening::Cut {
                broker,
                side,
                one_way,
                ms,
            }
        }
        1 => Happening::Refuse { broker, ms },
        2 => Happening::Reset { broker },
        3 => Happening::HalfOpen { broker },
        4 if shape.name_servers > 0 => {
            let number = rng.below(shape.name_servers) as usize;
            Happening::NameServerRestart { number }
        }
        _ => {
            let us = rng.skewed(100, 500_000);
            Happening::Slow { broker, us, ms }
        }
    }
}

const PLACES: [&str; 6] = [
    "commitlog",
    "commitlog",
    "commitlog",
    "index",
    "checkpoint",
    "",
];

fn draw_failing(rng: &mut Rng, broker: usize) -> Happening {
    let op = *rng.pick(&[
        DiskOp::Write,
        DiskOp::Sync,
        DiskOp::Sync,
        DiskOp::Meta,
        DiskOp::Read,
    ]);
    let fault = match (op, rng.below(4)) {
        (_, 0) => Fault::StallMs(rng.skewed(1, 20_000)),
        (DiskOp::Write, 1) => Fault::Short,
        (DiskOp::Write, 2) => Fault::Enospc,
        _ => Fault::Eio,
    };
    let rule = Rule::nth(op, rng.pick::<&str>(&PLACES), rng.skewed(1, 30) - 1, fault);
    Happening::Disk { broker, rule }
}

fn draw_lying(rng: &mut Rng, broker: usize) -> Happening {
    let units = rng.between(1, 40) as i64 - 20;
    let fault = *rng.pick(&[Fault::Lost, Fault::Misdirected(units)]);
    let rule = Rule::nth(
        DiskOp::Write,
        rng.pick::<&str>(&PLACES),
        rng.skewed(1, 30) - 1,
        fault,
    );
    Happening::Disk { broker, rule }
}
