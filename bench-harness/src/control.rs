//! The controller of a cell: warm-up until steady, the windows that count, the drain.
//!
//! One thread that wakes a few times a second; it moves the phases of [`drive`](crate::drive), samples
//! the broker and shows progress. Invariant: a window is as long as the clock says, and a run that
//! cannot go on ends with a sentence and with what was measured until then.

use crate::clock::{SECOND_NS, pause};
use crate::cost::counters::{Counters, Counting};
use crate::cost::noise::{Look, Noise};
use crate::cost::process::Sample;
use crate::drive::plan::{Plan, Shared, phase};
use crate::progress::Progress;
use crate::result::WarmUp;
use crate::statistics::steady::is_steady;
use crate::target::Target;
use std::sync::atomic::Ordering;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(50);
/// Seconds without an acknowledgement after which a load is given up.
const SILENCE_MAX_S: u64 = 15;
/// The same before the first one: large files may have to be made first.
const FIRST_LIMIT_S: u64 = 120;
/// How long deliveries may take after the last acknowledgement, beside a delay of their own.
const DRAIN_LIMIT_NS: u64 = 30 * SECOND_NS;
/// Below this much space on the stores' disk a run ends.
const FREE_BYTES_MIN: u64 = 2 << 30;

/// What the controller saw of one window.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    pub(crate) first: Option<Sample>,
    pub(crate) last: Option<Sample>,
    pub(crate) noise: Noise,
}

/// Everything that the controller hands over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Controlled {
    pub(crate) warm_up: WarmUp,
    /// By window, from 1 on.
    pub(crate) windows: Vec<Measured>,
    pub(crate) counters: Option<Counters>,
    pub(crate) backlog_messages: u64,
    pub(crate) caches_dropped: bool,
    /// Until the late group had read the backlog.
    pub(crate) caught_up_ns: Option<u64>,
    pub(crate) failure: Option<String>,
}

/// The state of one control.
pub(crate) struct Control<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) shared: &'a Shared,
    pub(crate) target: &'a mut Target,
    pub(crate) progress: &'a mut Progress,
    pub(crate) work: &'a std::path::Path,
    seen: Controlled,
}

impl<'a> Control<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        shared: &'a Shared,
        target: &'a mut Target,
        progress: &'a mut Progress,
        work: &'a std::path::Path,
    ) -> Self {
        Self {
            plan,
            shared,
            target,
            progress,
            work,
            seen: Controlled::default(),
        }
    }

    /// Warm-up, one window, counters, drain.
    pub(crate) fn load(mut self) -> Controlled {
        let ended = self.load_inner();
        self.close(ended)
    }

    fn load_inner(&mut self) -> Result<(), String> {
        self.warm_up()?;
        let params = &self.plan.params;
        let (seconds, stop) = (params.seconds, params.stop_consumer_seconds);
        self.window(1, seconds, stop)?;
        self.count()?;
        self.drain()
    }

    /// A backlog, a window without its reader and one with it.
    pub(crate) fn catch_up(mut self) -> Controlled {
        let ended = self.catch_up_inner();
        self.close(ended)
    }

    fn catch_up_inner(&mut self) -> Result<(), String> {
        let total = self.plan.messages_max;
        self.first_acknowledgement()?;
        self.progress.note("storing the backlog");
        while self.shared.acknowledged.load(Ordering::Relaxed) < total {
            self.tick()?;
        }
        self.seen.backlog_messages = total;
        self.warm_up()?;
        if self.plan.params.drop_caches {
            self.seen.caches_dropped = drop_caches();
        }
        let seconds = self.plan.params.seconds;
        self.window(1, seconds, 0)?;
        self.shared.late_may_read.store(true, Ordering::Release);
        let from = self.plan.clock.ns();
        self.begin_window(2)?;
        while self.plan.clock.ns() < from + seconds.max(CATCH_UP_MAX_S) * SECOND_NS {
            self.tick()?;
            if self.shared.received_late.load(Ordering::Relaxed) >= total {
                self.seen.caught_up_ns = Some(self.plan.clock.ns() - from);
                break;
            }
        }
        self.end_window();
        self.drain()
    }

    fn close(mut self, ended: Result<(), String>) -> Controlled {
        if let Err(why) = ended {
            if !self.seen.windows.is_empty() && self.shared.window() != 0 {
                // What was measured until now still counts.
                self.end_window();
            }
            self.seen.failure = Some(why);
        }
        self.shared.set_window(0);
        self.seen
    }

    fn warm_up(&mut self) -> Result<(), String> {
        let params = &self.plan.params;
        let (mut rates, mut last) = (Vec::new(), self.shared.acknowledged.load(Ordering::Relaxed));
        let idle =
            self.plan.rate < IDLE_RATE && !matches!(self.plan.mode, crate::scenario::Mode::Closed);
        self.first_acknowledgement()?;
        for second in 1..=params.warm_up_max_seconds {
            self.second("warming up", second, params.warm_up_max_seconds)?;
            let now = self.shared.acknowledged.load(Ordering::Relaxed);
            rates.push((now - last) as f64);
            last = now;
            let steady = is_steady(&rates, params.steady_seconds as usize);
            self.seen.warm_up = WarmUp {
                seconds: second as f64,
                steady,
            };
            if second >= params.warm_up_seconds && (steady || idle) {
                break;
            }
        }
        Ok(())
    }

    /// A broker that has just started may still be making its first files.
    fn first_acknowledgement(&mut self) -> Result<(), String> {
        let end = self.plan.clock.ns() + FIRST_LIMIT_S * SECOND_NS;
        self.progress.note("waiting for the first acknowledgement");
        while self.handled() == 0 && self.plan.connections > 0 {
            self.tick()?;
            if self.plan.clock.ns() > end {
                return Err(format!(
                    "nothing was acknowledged within {FIRST_LIMIT_S} s ({} errors so far)",
                    self.errors()
                ));
            }
        }
        Ok(())
    }

    fn errors(&self) -> u64 {
        self.shared.errors.load(Ordering::Relaxed)
    }

    fn window(&mut self, number: u32, seconds: u64, stop_consumer: u64) -> Result<(), String> {
        self.begin_window(number)?;
        let stop_from = seconds.saturating_sub(stop_consumer) / 2;
        for second in 1..=seconds {
            let stopped =
                stop_consumer > 0 && (stop_from..stop_from + stop_consumer).contains(&(second - 1));
            self.shared
                .consumer_stopped
                .store(stopped, Ordering::Relaxed);
            self.second("measuring", second, seconds)?;
        }
        self.end_window();
        Ok(())
    }

    fn begin_window(&mut self, number: u32) -> Result<(), String> {
        let first = self.sample()?;
        let look = Look::now();
        let from_ns = self.plan.clock.ns();
        self.shared.set_window(number);
        let noise = Noise::default();
        self.seen.windows.push(Measured {
            from_ns,
            to_ns: from_ns,
            first,
            last: None,
            noise,
        });
        self.progress.look = Some(look);
        Ok(())
    }

    fn end_window(&mut self) {
        self.shared.set_window(0);
        let to_ns = self.plan.clock.ns();
        let last = self.target.pid.and_then(|pid| Sample::of(pid).ok());
        let mut ours = self.target.pids.clone();
        ours.push(std::process::id());
        let noise = self
            .progress
            .look
            .take()
            .map(|first| Noise::between(&first, &Look::now(), &ours));
        if let Some(window) = self.seen.windows.last_mut() {
            window.to_ns = to_ns;
            window.last = last;
            window.noise = noise.unwrap_or_default();
        }
    }

    fn sample(&self) -> Result<Option<Sample>, String> {
        let sample = self.target.pid.map(Sample::of).transpose();
        sample.map_err(|error| format!("{error:#}"))
    }

    /// System calls and the like, under the same load.
    fn count(&mut self) -> Result<(), String> {
        let seconds = self.plan.params.counter_seconds;
        let (Some(pid), true) = (self.target.pid, seconds > 0) else {
            return Ok(());
        };
        let from = (self.plan.clock.ns(), self.handled());
        let counting = match &self.plan.params.profile {
            Some(file) => Counting::profile(pid, seconds, file),
            None => Counting::start(pid, seconds),
        };
        for second in 1..=seconds {
            self.second("counting system calls", second, seconds)?;
        }
        let (to, handled) = (self.plan.clock.ns(), self.handled());
        let elapsed = (to - from.0) as f64 / SECOND_NS as f64;
        // `perf` counts for its own seconds, the messages are those of ours: scaled to its.
        let messages = (handled - from.1) as f64 * seconds as f64 / elapsed;
        self.seen.counters = Some(counting.finish(messages as u64, seconds as f64));
        Ok(())
    }

    fn handled(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// No new sends; waits for answers and deliveries.
    fn drain(&mut self) -> Result<(), String> {
        self.shared.consumer_stopped.store(false, Ordering::Relaxed);
        self.shared.set_phase(phase::DRAIN);
        self.progress.note("waiting for answers and deliveries");
        let params = &self.plan.params;
        let delay_ns = crate::drive::consumer::delay_ns(params.delay_level);
        let limit_ns = DRAIN_LIMIT_NS + delay_ns + params.timeout_ms * 1_000_000;
        let end = self.plan.clock.ns() + limit_ns;
        // A thread publishes what is due a few times a second: one look may be old.
        let (mut quiet, mut before) = (0, 0);
        // A send that was answered with an error may be stored and delivered all the same: then the
        // count of deliveries tells less, and a longer silence is waited for.
        let enough = if self.errors() > 0 {
            QUIET_TICKS_OPEN
        } else {
            QUIET_TICKS
        };
        while self.plan.clock.ns() < end && quiet < enough {
            self.tick()?;
            let tail_groups = u64::from(self.plan.groups.min(self.plan.late_group));
            let received = self.shared.received.load(Ordering::Relaxed);
            let done = self.shared.due() == 0 && received >= self.handled() * tail_groups;
            quiet = if done && received == before {
                quiet + 1
            } else {
                0
            };
            before = received;
        }
        Ok(())
    }

    /// One second of the run, with a line of progress.
    fn second(&mut self, what: &str, second: u64, of: u64) -> Result<(), String> {
        let end = self.plan.clock.ns() + SECOND_NS;
        while self.plan.clock.ns() + TICK.as_nanos() as u64 <= end {
            self.tick()?;
        }
        pause(Duration::from_nanos(
            end.saturating_sub(self.plan.clock.ns()),
        ));
        let free = crate::machine::free_bytes(self.work).unwrap_or(u64::MAX);
        if free < FREE_BYTES_MIN {
            return Err(format!(
                "only {} MB are left on the disk of the stores: the run was ended",
                free >> 20
            ));
        }
        self.progress.second(self.shared, what, second, of);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), String> {
        pause(TICK);
        if self.shared.live.load(Ordering::Relaxed) == 0 && self.plan.connections > 0 {
            let why = self
                .shared
                .failure()
                .unwrap_or_else(|| "the broker closed all connections".to_owned());
            // The process may need a moment to be gone.
            pause(TICK);
            return Err(match self.target.require_running() {
                Ok(()) => why,
                Err(error) => format!("{why}; {}", first_line(&error)),
            });
        }
        if let Some(why) = self.shared.failure() {
            return Err(why);
        }
        self.target
            .require_running()
            .map_err(|error| first_line(&error))?;
        let now = self.plan.clock.ns();
        let handled = self.handled();
        // A broker that refuses answers: that is a result and no silence.
        let silent_ns = self.progress.silent_ns(handled + self.errors(), now);
        let expected_ns = (SECOND_NS as f64 / self.plan.rate.max(1e-3)) as u64;
        let idle_ok =
            !matches!(self.plan.mode, crate::scenario::Mode::Closed) && expected_ns > SECOND_NS;
        if handled > 0
            && silent_ns > SILENCE_MAX_S * SECOND_NS
            && !idle_ok
            && self.shared.phase() == phase::RUN
        {
            return Err(format!(
                "nothing was answered for {SILENCE_MAX_S} s ({} errors so far)",
                self.errors()
            ));
        }
        Ok(())
    }
}

/// What is wrong, without the log that follows it: that has its own place.
pub(crate) fn first_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches(':').to_owned()
}

/// False when it is not allowed.
pub(crate) fn drop_caches() -> bool {
    nix::unistd::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

const CATCH_UP_MAX_S: u64 = 300;
/// Below this rate a load is a pause with a heartbeat: nothing can be steady.
const IDLE_RATE: f64 = 10.0;
const QUIET_TICKS: u32 = 6;
const QUIET_TICKS_OPEN: u32 = 100;
