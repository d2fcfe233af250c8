//! One cell on one broker: the plan, the run, and what its figures say.
//!
//! Each cell has topics of its own, so that its queues begin empty. Invariant: whatever is wrong with
//! the messages is a failure of the cell.

use crate::clock::Clock;
use crate::control::Control;
use crate::drive;
use crate::drive::frames::Form;
use crate::drive::plan::{Plan, Shared};
use crate::figures;
use crate::machine::Cpus;
use crate::progress::Progress;
use crate::random::Weighted;
use crate::result::CellResult;
use crate::scenario::{Cell, Kind, Mode, Poll, Rate, Scenario};
use crate::target::Target;
use crate::verify::verify;
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where and how cells run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) cpus: &'a Cpus,
    pub(crate) work: &'a Path,
    /// Tells the topics of one cell from those of all others on the same broker.
    pub(crate) serial: u32,
}

/// Runs a cell whose rate is known.
pub(crate) fn run(
    ground: Ground<'_>,
    target: &mut Target,
    cell: Cell,
    rate: f64,
    label: &str,
) -> Result<CellResult> {
    let params = &ground.scenario.params;
    let plan = plan(ground, target, cell, rate)?;
    create_topics(&plan, target)?;
    let shared = Shared::new(plan.threads());
    let title = format!(
        "{} on {}, {label}",
        ground.scenario.short_name(),
        target.info.label
    );
    let mut progress = Progress::new(title);
    let catch_up = params.kind == Kind::CatchUp;
    let (seen, controlled) = drive::run(&plan, &shared, || {
        let control = Control::new(&plan, &shared, target, &mut progress, ground.work);
        Ok(if catch_up {
            control.catch_up()
        } else {
            control.load()
        })
    })?;
    drop(progress);
    let counted = if catch_up { 2 } else { 1 };
    let mut result = figures::of(&plan, &seen, &controlled, counted, label);
    let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
    result.failure.clone_from(&controlled.failure);
    match verify(&plan, target, &seen, acknowledged) {
        Ok(verified) => {
            result.failure = result.failure.or(verified.failure());
            result.verified = verified;
        }
        Err(error) => {
            result.verified.acknowledged = acknowledged;
            let why = format!("what was stored could not be looked at: {error:#}");
            result.failure.get_or_insert(why);
        }
    }
    if result.failure.is_none() {
        result.failure = figures::excess(&result, &plan.params);
    }
    if catch_up {
        figures::add_catch_up(&mut result, &plan, &seen, &controlled);
    }
    Ok(result)
}

fn plan(ground: Ground<'_>, target: &Target, cell: Cell, rate: f64) -> Result<Plan> {
    let params = ground.scenario.params.clone();
    let born_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let run = (born_ms as u32)
        .wrapping_mul(31)
        .wrapping_add(ground.serial);
    let topics = (0..params.topics)
        .map(|index| format!("Bench_{}_{run:08x}_{index}", ground.scenario.short_name()))
        .collect();
    let largest = params
        .sizes
        .iter()
        .map(|(size, _)| *size)
        .max()
        .unwrap_or(0);
    let weights = params.sizes.iter().map(|(_, weight)| f64::from(*weight));
    let catch_up = params.kind == Kind::CatchUp;
    let open = cell.mode != Mode::Closed;
    let spins = match params.poll {
        Poll::Spin => true,
        Poll::Block => false,
        Poll::Auto => {
            open && ground.cpus.are_apart() && params.consumer_connections < SPIN_CONNECTIONS_MAX
        }
    };
    let mut plan = Plan {
        clock: Clock::start(),
        run,
        brokers: target.brokers.clone(),
        topics,
        form: Form {
            codec: params.codec,
            batch: params.batch,
            delay_level: params.delay_level,
            born_ms,
        },
        mode: cell.mode,
        connections: cell.connections,
        in_flight: cell.in_flight.max(cell.connections),
        rate,
        groups: params.groups + u32::from(catch_up),
        late_group: params.groups,
        cpus: ground.cpus.generator.clone(),
        spins,
        filler: crate::body::filler(largest),
        sizes: (params.sizes.len() > 1).then(|| Weighted::new(weights)),
        skew: None,
        messages_max: 0,
        params,
    };
    if plan.params.zipf > 0.0 {
        plan.skew = Some(Weighted::zipf(plan.queues_per_broker(), plan.params.zipf));
    }
    if catch_up {
        let messages = (plan.params.backlog_mb as f64 * 1e6 / plan.params.mean_size()) as u64;
        let unit = u64::from(plan.params.batch) * plan.threads() as u64;
        plan.messages_max = messages.next_multiple_of(unit);
    }
    Ok(plan)
}

/// More connections than this are not looked after by spinning.
const SPIN_CONNECTIONS_MAX: u32 = 512;

fn create_topics(plan: &Plan, target: &Target) -> Result<()> {
    for broker in 0..plan.brokers.len() {
        let mut admin = target.admin(broker)?;
        for topic in &plan.topics {
            admin
                .create_topic(topic, plan.params.queues)
                .with_context(|| format!("cannot make topic {topic}"))?;
        }
    }
    Ok(())
}

/// Messages a second of a rate whose knee is known.
pub(crate) fn rate_of(rate: Rate, knee: Option<f64>) -> Option<f64> {
    match rate {
        Rate::PerSecond(rate) => Some(rate),
        Rate::OfKnee(share) => knee.map(|knee| knee * share),
    }
}
