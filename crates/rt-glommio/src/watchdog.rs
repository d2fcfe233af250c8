//! The watchdog: a thread outside the executors that ends the process when a shard stands still.
//!
//! Each executor has a slow ticker that counts up an atomic. It serves twice: it wakes an executor
//! that glommio parked although tasks could run, and it shows the watchdog that the shard moves. A
//! shard that stands still holds up clients that would fail over if the process were gone, so the
//! process aborts, loudly. Invariant: time is counted in the watchdog's own naps, so a process that
//! was suspended as a whole is not taken for a shard that hangs.

use base::ShardId;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The sign of life of one shard.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    beats: AtomicU64,
    watched: AtomicBool,
}

impl Heartbeat {
    /// Counts one beat, and lets the watchdog look from the first one on.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.watched.store(true, Ordering::Release);
    }

    /// The shard has ended: nothing more will come.
    pub(crate) fn rest(&self) {
        self.watched.store(false, Ordering::Release);
    }
}

/// The watching thread; ends when told to.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Starts watching. A shard may stand still for `limit`, give or take a tenth.
    pub(crate) fn start(hearts: Arc<[Heartbeat]>, limit: Duration) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let nap = (limit / NAPS_MAX).max(NAP_MIN);
        let thread = thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || watch(&hearts, &stopped, nap))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread.
    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // It has nothing to say: a panic in it was printed by the hook.
        let _ = self.thread.join();
    }
}

fn watch(hearts: &[Heartbeat], stop: &AtomicBool, nap: Duration) {
    let mut seen = vec![(0, 0); hearts.len()];
    loop {
        thread::park_timeout(nap);
        if stop.load(Ordering::Acquire) {
            return;
        }
        for (index, (heart, (beats, still))) in hearts.iter().zip(&mut seen).enumerate() {
            let now = heart.beats.load(Ordering::Relaxed);
            if now != *beats || !heart.watched.load(Ordering::Acquire) {
                (*beats, *still) = (now, 0);
                continue;
            }
            *still += 1;
            if *still >= NAPS_MAX {
                die(ShardId::new(index as u16), nap * NAPS_MAX);
            }
        }
    }
}

fn die(shard: ShardId, limit: Duration) -> ! {
    // Straight to the descriptor: a captured or locked standard error must not keep this back.
    let _ = writeln!(
        std::io::stderr(),
        "fatal: shard {shard} has not moved for {} s: a task on it computes without a pause or \
         waits in a system call, or its executor lost a wake-up. The process aborts, so that \
         clients turn to another broker; the next start recovers the log.",
        limit.as_secs_f32(),
    );
    std::process::abort();
}

const NAPS_MAX: u32 = 10;
/// Ten of them are longer than the slowest ticker takes for two beats.
const NAP_MIN: Duration = Duration::from_millis(150);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_that_beat_or_rest_are_left_alone() {
        let hearts: Arc<[Heartbeat]> = (0..3).map(|_| Heartbeat::default()).collect();
        hearts[1].beat();
        let dog = Watchdog::start(Arc::clone(&hearts), Duration::from_millis(500)).unwrap();
        for _ in 0..8 {
            hearts[0].beat();
            hearts[1].beat();
            thread::sleep(Duration::from_millis(100));
        }
        hearts[1].rest();
        for _ in 0..8 {
            hearts[0].beat();
            thread::sleep(Duration::from_millis(100));
        }
        dog.end();
    }
}
