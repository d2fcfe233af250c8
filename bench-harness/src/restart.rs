//! R1: a store of some size, the broker's end under load, and how long a start takes.
//!
//! Measured from exec to the port, to the first acknowledgement and to the last message of every
//! queue. Invariant: what was acknowledged before the end is there after the start.

use crate::body;
use crate::cell::Ground;
use crate::clock::Clock;
use crate::drive;
use crate::drive::frames::Form;
use crate::drive::plan::{Plan, Shared};
use crate::drive::seen::Seen;
use crate::progress::Progress;
use crate::result::{CellResult, Restart, Verified};
use crate::scenario::Mode;
use crate::target::Target;
use anyhow::{Context, Result, ensure};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(50);
const STORE_LIMIT: Duration = Duration::from_hours(2);

/// Stores, ends, starts, looks.
pub(crate) fn run(ground: Ground<'_>, target: &mut Target) -> Result<CellResult> {
    let plan = plan(ground, target)?;
    for topic in &plan.topics {
        target.admin(0)?.create_topic(topic, plan.params.queues)?;
    }
    let shared = Shared::new(plan.threads());
    let mut progress = Progress::new(format!(
        "{} on {}",
        ground.scenario.short_name(),
        target.info.label
    ));
    progress.note("storing messages");
    let wanted = (plan.params.backlog_mb as f64 * 1e6 / plan.params.mean_size()) as u64;
    let (seen, (ready, stop)) = drive::run(&plan, &shared, || {
        let end = Instant::now() + STORE_LIMIT;
        while shared.acknowledged.load(Ordering::Relaxed) < wanted {
            std::thread::sleep(TICK);
            target.require_running()?;
            if let Some(why) = shared.failure() {
                anyhow::bail!("{why}");
            }
            ensure!(
                Instant::now() < end,
                "the store was not full within {STORE_LIMIT:?}"
            );
        }
        progress.note("ending the broker under load and starting it again");
        target.restart(plan.params.kill)
    })?;
    let from = Instant::now();
    let mut admin = target.admin(0)?;
    admin.send(&plan.topics[0], 0, b"the first one after the start")?;
    let first = ready + from.elapsed();
    progress.note("looking at every queue");
    let verified = look(
        &plan,
        target,
        &seen,
        shared.acknowledged.load(Ordering::Relaxed),
    )?;
    let all = ready + from.elapsed();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let restart = Restart {
        backlog_messages: shared.acknowledged.load(Ordering::Relaxed),
        killed: plan.params.kill,
        stop_ms: stop.map(ms),
        port_ms: ms(ready),
        first_acknowledgement_ms: ms(first),
        all_queues_ms: ms(all),
    };
    drop(progress);
    let result = result(&plan, restart, verified);
    crate::report::terminal::cell(ground.scenario, &target.info.label, &result);
    Ok(result)
}

fn plan(ground: Ground<'_>, target: &Target) -> Result<Plan> {
    let params = ground.scenario.params.clone();
    let run = std::process::id().wrapping_mul(2_654_435_761);
    let largest = params
        .sizes
        .iter()
        .map(|(size, _)| *size)
        .max()
        .unwrap_or(0);
    let topics = (0..params.topics)
        .map(|index| format!("Bench_R1_{run:08x}_{index}"))
        .collect();
    let born_ms = chrono::Local::now().timestamp_millis();
    ensure!(params.sizes.len() == 1, "a restart has bodies of one size");
    Ok(Plan {
        clock: Clock::start(),
        run,
        brokers: target.brokers.iter().take(1).copied().collect(),
        topics,
        form: Form {
            codec: params.codec,
            batch: params.batch,
            delay_level: 0,
            born_ms,
        },
        mode: Mode::Closed,
        connections: params.connections[0],
        in_flight: params.in_flight[0],
        rate: 0.0,
        groups: 0,
        late_group: 0,
        cpus: ground.cpus.generator.clone(),
        spins: false,
        filler: body::filler(largest),
        sizes: None,
        skew: None,
        messages_max: 0,
        params,
    })
}

/// Every queue's last message, and that none that was acknowledged is behind its end.
fn look(plan: &Plan, target: &Target, seen: &Seen, acknowledged: u64) -> Result<Verified> {
    let mut verified = Verified {
        acknowledged,
        unknown: seen.acknowledged.unknown,
        offsets_told_twice: seen.acknowledged.twice,
        stored: Some(0),
        ..Verified::default()
    };
    let mut admin = target.admin(0)?;
    for queue in 0..plan.queues() {
        let (_, topic, id) = plan.queue(queue);
        let max = admin.max_offset(topic, id)?.cast_unsigned();
        verified.lost += seen.acknowledged.count_from(queue, max);
        verified.stored = verified.stored.map(|stored| stored + max);
        if max == 0 {
            continue;
        }
        let pulled = admin.pull(topic, id, max.cast_signed() - 1)?;
        let last = pulled
            .units
            .first()
            .with_context(|| format!("the last message of {topic}/{id} cannot be read"))?;
        verified.read += 1;
        let is_ours = body::read(&last.body, plan.run).is_some() || queue == 0;
        verified.corrupted += u64::from(!is_ours);
    }
    Ok(verified)
}

fn result(plan: &Plan, restart: Restart, verified: Verified) -> CellResult {
    let what = if restart.killed { "kill -9" } else { "stop" };
    CellResult {
        label: format!("{what}, {} MB", plan.params.backlog_mb),
        mode: "restart".to_owned(),
        connections: plan.connections,
        in_flight: Some(plan.in_flight),
        failure: verified.failure(),
        verified,
        restart: Some(restart),
        ..CellResult::empty()
    }
}
