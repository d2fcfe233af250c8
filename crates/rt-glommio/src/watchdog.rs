//! The watchdog: a thread outside the executors that ends the process when a shard stands still.
//!
//! Each executor has a slow ticker that counts up an atomic. It serves twice: it wakes an executor
//! that glommio parked although tasks could run, and it shows the watchdog that the shard moves. A
//! shard that stands still holds up clients that would fail over if the process were gone, so the
//! process aborts, loudly. Invariants: time is counted in the watchdog's own naps, so a process that
//! was suspended as a whole is not taken for a shard that hangs; and time in which the shard's thread
//! was ready and got no processor does not count, so neither is one on a machine with too much to do.

use base::ShardId;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The sign of life of one shard.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    beats: AtomicU64,
    watched: AtomicBool,
    /// The shard's thread, as the kernel numbers it; 0 before it says so.
    thread: AtomicI32,
}

impl Heartbeat {
    /// The shard runs on the calling thread.
    pub(crate) fn on_this_thread(&self) {
        let thread = nix::unistd::gettid().as_raw();
        self.thread.store(thread, Ordering::Relaxed);
    }

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
    let mut seen = vec![Standing::default(); hearts.len()];
    loop {
        thread::park_timeout(nap);
        if stop.load(Ordering::Acquire) {
            return;
        }
        for (index, (heart, standing)) in hearts.iter().zip(&mut seen).enumerate() {
            let starved = starved_for(heart.thread.load(Ordering::Relaxed));
            let beats = heart.beats.load(Ordering::Relaxed);
            let is_watched = heart.watched.load(Ordering::Acquire);
            let limit = nap * NAPS_MAX;
            if standing.look(beats, is_watched, starved, nap) >= limit {
                die(ShardId::new(index as u16), limit);
            }
        }
    }
}

/// What the watchdog knows of one shard.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    beats: u64,
    starved: Duration,
    stood: Duration,
}

impl Standing {
    /// After a nap: how long the shard has stood still although its thread could run. `starved` is
    /// how long its thread has ever waited for a processor.
    fn look(&mut self, beats: u64, is_watched: bool, starved: Duration, nap: Duration) -> Duration {
        let waited = starved.saturating_sub(self.starved);
        self.starved = starved;
        if beats != self.beats || !is_watched {
            self.beats = beats;
            self.stood = Duration::ZERO;
        } else {
            self.stood += nap.saturating_sub(waited);
        }
        self.stood
    }
}

/// How long a thread of this process has been ready to run and had no processor, by the second
/// number of its schedstat; zero where the kernel does not count that.
fn starved_for(thread: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"));
    let text = text.unwrap_or_default();
    let waited_ns = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(waited_ns.unwrap_or(0))
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

    #[test]
    fn time_in_which_the_thread_got_no_processor_does_not_count_as_standing_still() {
        let nap = Duration::from_millis(200);
        let ms = Duration::from_millis;
        let mut standing = Standing::default();
        assert_eq!(standing.look(1, true, ms(0), nap), ms(0));
        // It hangs, in a loop or in a system call, on an idle machine.
        for naps in 1..=10 {
            assert_eq!(standing.look(1, true, ms(0), nap), nap * naps);
        }
        assert_eq!(standing.look(2, true, ms(0), nap), ms(0), "it moves again");
        // It could run for a tenth of the time.
        for naps in 1..=10 {
            let stood = standing.look(2, true, ms(180) * naps, nap);
            assert_eq!(stood, ms(20) * naps);
        }
        // What was waited before a beat is not taken off later.
        standing.look(3, true, ms(5_000), nap);
        assert_eq!(standing.look(3, true, ms(5_000), nap), nap);
        assert_eq!(
            standing.look(3, false, ms(5_000), nap),
            ms(0),
            "it has ended"
        );
    }

    #[test]
    fn a_thread_that_shares_its_processor_with_a_busy_one_is_seen_to_wait() {
        use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
        use nix::unistd::Pid;
        const TURNS_MAX: u32 = 1_000_000;
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let cpu = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        let mut one = CpuSet::new();
        one.set(cpu.unwrap()).unwrap();
        let busy = || {
            let heart = Heartbeat::default();
            heart.on_this_thread();
            sched_setaffinity(Pid::from_raw(0), &one).unwrap();
            let me = heart.thread.load(Ordering::Relaxed);
            let mut turns = 0_u32;
            while starved_for(me).is_zero() && turns < TURNS_MAX {
                turns += 1;
            }
            starved_for(me)
        };
        let (first, second) = thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(busy));
            let [first, second] = threads.map(|thread| thread.join().unwrap());
            (first, second)
        });
        assert!(first > Duration::ZERO && second > Duration::ZERO);
        assert_eq!(starved_for(-1), Duration::ZERO);
    }
}
