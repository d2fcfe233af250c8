//! The generator: threads that load a broker by a plan, and what they saw.
//!
//! The controller (see [`crate::control`]) moves the phases; the threads only follow. Invariant: all
//! threads have connected before the first message is sent.

pub(crate) mod consumer;
pub(crate) mod frames;
pub(crate) mod link;
pub(crate) mod plan;
pub(crate) mod producer;
pub(crate) mod seen;
mod thread;

use anyhow::{Context, Result, anyhow, ensure};
use plan::{Plan, Shared, phase};
use remoting::command::{NoHeader, SerializeType, write_request};
use seen::Seen;
use std::sync::Barrier;
use thread::Thread;

const HEART_BEAT: i32 = 34;
/// Ids of heartbeats lie below those of pulls and sends.
const HEARTBEAT_OPAQUE: i32 = 1;

/// Runs the threads and, beside them, the controller; gives what all threads saw together.
pub(crate) fn run<T>(
    plan: &Plan,
    shared: &Shared,
    control: impl FnOnce() -> Result<T>,
) -> Result<(Seen, T)> {
    let ready = Barrier::new(plan.threads() + 1);
    std::thread::scope(|scope| {
        let ready = &ready;
        let threads: Vec<_> = (0..plan.threads())
            .map(|index| {
                scope.spawn(move || {
                    let thread = pin(plan, index).and_then(|()| Thread::new(plan, shared, index));
                    ready.wait();
                    let result = thread.and_then(thread::Thread::run);
                    if let Err(error) = &result {
                        shared.fail(format!("{error:#}"));
                    }
                    result
                })
            })
            .collect();
        ready.wait();
        let controlled = control();
        shared.set_phase(phase::STOP);
        let mut sum: Option<Seen> = None;
        for thread in threads {
            let seen = thread
                .join()
                .map_err(|_| anyhow!("a generator thread panicked"))??;
            match &mut sum {
                Some(sum) => sum.unite(&seen)?,
                None => sum = Some(seen),
            }
        }
        Ok((sum.context("there is at least one thread")?, controlled?))
    })
}

fn pin(plan: &Plan, index: usize) -> Result<()> {
    let Some(cpu) = plan.cpus.get(index) else {
        return Ok(());
    };
    let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: *cpu });
    ensure!(pinned, "cannot pin the generator to CPU {cpu}");
    Ok(())
}

/// Appends a heartbeat with this body.
fn heartbeat(out: &mut Vec<u8>, body: &str) {
    write_request(
        out,
        SerializeType::Json,
        HEART_BEAT,
        HEARTBEAT_OPAQUE,
        false,
        &NoHeader,
        body.as_bytes(),
    );
}
