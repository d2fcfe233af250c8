//! Power cuts under `ASYNC_FLUSH`, which may cost the last moments, and nothing else.
//!
//! Every cut has a store and a history of its own: what is lost leaves its offsets to later
//! messages, which one history could not hold. Invariant: what is lost of a queue is its end, and
//! was acknowledged within the stated time before the cut.

use crate::dump;
use crate::image::Image;
use crate::journal::now_ns;
use crate::power::fault;
use crate::world::{Load, World};
use anyhow::{Result, ensure};
use harness::programs::Programs;
use rmq_check::draw::Draw;
use rmq_check::record::{Kind, Op};
use rmq_check::source::{Files, Source};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const LOAD_MS_MIN: u64 = 700;
const LOAD_MS_MAX: u64 = 1_500;

/// What cuts cost.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
    /// How long before the cut the oldest loss was acknowledged, ms.
    pub(crate) oldest_ms: u64,
}

/// One cut. `bound_ms` is what it may cost.
pub(crate) fn cut_once(
    programs: &Programs,
    image: &mut Image,
    draw: &mut Draw,
    (number, bound_ms): (u32, u64),
    cost: &mut Cost,
) -> Result<()> {
    let load = Load {
        consumers: 0,
        ..Load::default()
    };
    let config = [
        "flushDiskType=ASYNC_FLUSH".to_owned(),
        "mappedFileSizeCommitLog=16777216".to_owned(),
    ];
    let dir = programs.fresh_dir("power-async")?;
    let store = image.path().join(format!("store-{number}"));
    let run = 0xA90_0000_0000 | u64::from(number);
    let mut world = World::with_store(programs, dir, store.clone(), run, &config, &load)?;
    let result = (|| {
        world.broker.wait_serving(&mut world.probe, None)?;
        world.start_load()?;
        let load_ms = LOAD_MS_MIN + draw.below(LOAD_MS_MAX - LOAD_MS_MIN);
        std::thread::sleep(Duration::from_millis(load_ms));
        world.require_clients()?;
        fault(&world, Kind::Invoke)?;
        let cut_ns = now_ns()?;
        image.cut()?;
        world.broker.kill()?;
        world.stop_producers()?;
        image.unmount()?;
        image.mount()?;
        world.broker.start()?;
        world.broker.wait_serving(&mut world.probe, None)?;
        dump::dump(&world.journal, &world.broker.address(), &load.targets)?;
        world.broker.kill()?;
        world.journal.flush()?;
        judge(&world.histories(), cut_ns, bound_ms, cost)
    })();
    if result.is_err() {
        println!("{}", world.how_to_look());
    }
    drop(world);
    std::fs::remove_dir_all(store)?;
    result
}

/// Offset, instant and message.
type Acknowledged = (i64, u64, u64);

fn judge(histories: &[PathBuf], cut_ns: u64, bound_ms: u64, cost: &mut Cost) -> Result<()> {
    let files = Files::open(histories)?;
    // By topic and queue: what was acknowledged, and what was found.
    let mut acknowledged: BTreeMap<(u16, u16), Vec<Acknowledged>> = BTreeMap::new();
    let mut found = BTreeMap::new();
    let probe = files.strings().find("Probe");
    files.for_each(&mut |record| {
        let place = (record.topic, record.queue);
        match (record.op, record.kind) {
            (Op::Send | Op::SendBatch, Kind::Ok)
                if record.t_ns < cut_ns && Some(record.topic) != probe =>
            {
                let queue = acknowledged.entry(place).or_default();
                queue.push((record.offset, record.t_ns, record.uid));
            }
            (Op::LogDump, _) => {
                found.insert((place, record.offset), record.uid);
            }
            _ => {}
        }
        Ok(())
    })?;
    for (place, mut sends) in acknowledged {
        sends.sort_unstable();
        let is_found = |(offset, _, uid): &Acknowledged| found.get(&(place, *offset)) == Some(uid);
        let kept = sends.iter().take_while(|send| is_found(send)).count();
        let lost = &sends[kept..];
        ensure!(
            !lost.iter().any(is_found),
            "queue {} of topic {} lost offset {} and has a later one",
            place.1,
            files.strings().text(place.0),
            lost[0].0
        );
        cost.acknowledged += sends.len() as u64;
        cost.lost += lost.len() as u64;
        if let Some(oldest_ns) = lost.iter().map(|(_, t_ns, _)| t_ns).min() {
            let oldest_ms = (cut_ns - oldest_ns) / 1_000_000;
            ensure!(
                oldest_ms <= bound_ms,
                "a message is lost that was acknowledged {oldest_ms} ms before the cut"
            );
            cost.oldest_ms = cost.oldest_ms.max(oldest_ms);
        }
    }
    Ok(())
}
