//! The broker's shards inside this process: start them, tell them to stop, wait for their end.
//!
//! Starting and joining block, so both happen on threads for blocking work while the main thread
//! goes on to hear signals. Invariant: the store's lock is held as long as a shard runs.

use crate::data_dir;
use crate::failure::{Failure, Outcome};
use broker::{BootReport, BrokerSettings};
use rt_glommio::{Running, StopHandle};
use std::sync::{Arc, mpsc};
use store::RootLock;
use tokio::task::{JoinHandle, spawn_blocking};

/// Shards that serve.
#[derive(Debug)]
pub(crate) struct Shards {
    /// The CPU of each shard.
    pub(crate) cpus: Vec<usize>,
    /// What each shard found, in order of shard.
    pub(crate) reports: Vec<BootReport>,
    notes: Vec<String>,
    stop: StopHandle,
    ended: JoinHandle<Outcome>,
}

impl Shards {
    /// Starts all shards in a directory that [`claim`] has taken and waits until they serve.
    ///
    /// # Errors
    /// Why they do not.
    pub(crate) async fn start(
        options: rt_glommio::Options,
        settings: BrokerSettings,
        lock: RootLock,
    ) -> Outcome<Self> {
        let started = spawn_blocking(move || start(&options, settings, lock)).await;
        let (running, reports, lock) =
            started.map_err(|error| Failure::new(format!("the start failed: {error}")))??;
        Ok(Self {
            cpus: running.cpus().to_vec(),
            reports,
            notes: running.notes().to_vec(),
            stop: running.stop_handle(),
            ended: spawn_blocking(move || {
                let ended = running.join().map_err(Failure::from);
                drop(lock);
                ended
            }),
        })
    }

    /// Logs what was found at the start.
    pub(crate) fn tell(&self) {
        for note in &self.notes {
            tracing::warn!("{note}");
        }
        for report in &self.reports {
            let recovery = &report.recovery;
            tracing::info!(
                shard = %report.shard,
                start = ?recovery.start,
                log_end = %recovery.end,
                messages_replayed = recovery.messages,
                torn_tail_bytes = recovery.erased_bytes,
                topics = report.topic_count,
                took_ms = report.steps.total().as_millis(),
                steps = %report.steps,
                "shard serves"
            );
            if recovery.lost_messages > 0 || !recovery.quarantined.is_empty() {
                tracing::error!(
                    shard = %report.shard,
                    messages = recovery.lost_messages,
                    places = ?recovery.quarantined,
                    "the disk has damaged what was safe: these places of the log cannot be read and are \
                     kept as they are"
                );
            }
        }
    }

    /// Orders all shards to stop.
    pub(crate) fn stop(&self) {
        self.stop.stop();
    }

    /// Waits until all shards have ended. Dropping the future is allowed.
    ///
    /// # Errors
    /// What the first shard that failed said.
    pub(crate) async fn ended(&mut self) -> Outcome {
        match (&mut self.ended).await {
            Ok(ended) => ended,
            Err(error) => Err(Failure::new(format!("the shards failed: {error}"))),
        }
    }
}

type Started = (Running, Vec<BootReport>, RootLock);

/// Checks that everything is there and takes the store's directory, before any part starts.
///
/// # Errors
/// Another process has the directory or a port, `io_uring` is refused, the store was made with
/// another number of shards, and so on.
pub(crate) fn claim(options: &rt_glommio::Options, store: &store::Settings) -> Outcome<RootLock> {
    rt_glommio::ensure_io_uring()?;
    rt_glommio::ensure_memlock()?;
    // Each shard looks at the layout again; here the sentence needs no shard's name before it.
    let lock = data_dir::claim(store)?;
    for address in &options.listen {
        rt_glommio::ensure_port_free(*address)?;
    }
    Ok(lock)
}

fn start(
    options: &rt_glommio::Options,
    settings: BrokerSettings,
    lock: RootLock,
) -> Outcome<Started> {
    let settings = Arc::new(settings);
    let (reporter, reports) = mpsc::channel();
    let running = rt_glommio::run(options, move |rt, mesh, ready, stop| async move {
        let tell = move |boot: Result<BootReport, String>| {
            // A failure is what run_shard returns, too.
            if let Ok(report) = boot {
                // Sent before the engine hears of it, so that nobody looks for it too early.
                let _ = reporter.send(report);
                ready.report();
            }
        };
        let stopped = async move { stop.stopped().await };
        broker::run_shard(rt, mesh, settings, tell, stopped).await
    })?;
    let mut reports: Vec<BootReport> = reports.try_iter().collect();
    reports.sort_by_key(|report| report.shard);
    Ok((running, reports, lock))
}
