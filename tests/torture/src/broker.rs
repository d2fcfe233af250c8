//! Supervising one broker: start on a directory, wait until it serves, kill -9, stop, start again.
//!
//! Every start, readiness and end is an event of the history, so that the checker can tell a wanted
//! end from a crash. Invariant: at most one process runs on the directory.

use crate::journal::Journal;
use crate::send::{Ending, Producer};
use anyhow::{Context, Result, ensure};
use harness::programs::KEEP_FILES;
use harness::server::{Server, free_port};
use harness::wire::Connection;
use rmq_check::record::{FLAG_EXPECTED, Kind, Op};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The name of the broker under test.
pub(crate) const BROKER_NAME: &str = "torture";
/// A start that takes longer is a failure.
const SERVING_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Between two attempts to connect to a broker that is starting.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// Where the broker is and how it is configured.
#[derive(Debug, Clone)]
pub(crate) struct BrokerOptions {
    pub(crate) binary: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) namesrv: String,
    /// Where the store is; `dir/store` unless a campaign mounts something of its own.
    pub(crate) store: PathBuf,
    pub(crate) shards: u16,
    /// Further lines of broker.conf.
    pub(crate) config: Vec<String>,
}

/// A broker that may run or not.
pub(crate) struct BrokerProcess {
    options: BrokerOptions,
    journal: Journal,
    port: u16,
    running: Option<(Server, Instant)>,
}

impl BrokerProcess {
    pub(crate) fn new(options: BrokerOptions, journal: &Journal) -> Result<Self> {
        let port = free_port()?;
        fs::create_dir_all(&options.dir)?;
        let mut lines = vec![
            "brokerClusterName=DefaultCluster".to_owned(),
            format!("brokerName={BROKER_NAME}"),
            "brokerId=0".to_owned(),
            "brokerIP1=127.0.0.1".to_owned(),
            format!("listenPort={port}"),
            format!("shards={}", options.shards),
            format!("storePathRootDir={}", options.store.display()),
        ];
        lines.extend(KEEP_FILES.map(str::to_owned));
        lines.extend(options.config.iter().cloned());
        fs::write(options.dir.join("broker.conf"), lines.join("\n") + "\n")?;
        Ok(Self {
            options,
            journal: journal.clone(),
            port,
            running: None,
        })
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Starts the process and does not wait.
    pub(crate) fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the broker is running already");
        self.journal
            .event(Op::BrokerStart, Kind::Ok, |_record| {})?;
        let mut command = Command::new(&self.options.binary);
        command
            .arg("broker")
            .args(["-n", &self.options.namesrv])
            .arg("-c")
            .arg(self.options.dir.join("broker.conf"));
        let started = Instant::now();
        let server = Server::start(command, "broker", &self.options.dir)?;
        self.running = Some((server, started));
        Ok(())
    }

    /// Sends with `probe` until the broker acknowledges; how long that is after the start. `None`
    /// when `until` came first.
    pub(crate) fn wait_serving(
        &mut self,
        probe: &mut Producer,
        until: Option<Instant>,
    ) -> Result<Option<Duration>> {
        let address = self.address();
        let (server, started) = self.running.as_mut().context("the broker does not run")?;
        let limit = *started + SERVING_LIMIT;
        loop {
            server.require_running()?;
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
            ensure!(
                Instant::now() < limit,
                "no acknowledgement within {SERVING_LIMIT:?} of the start; the broker wrote:\n{}",
                server.log_tail()
            );
            if let Ok(mut connection) = Connection::open(&address)
                && probe.send_one(&mut connection)? == Ending::Acknowledged
            {
                let took = started.elapsed();
                self.journal
                    .event(Op::BrokerReady, Kind::Ok, |_record| {})?;
                return Ok(Some(took));
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let (mut server, _) = self.running.take().context("the broker does not run")?;
        server.require_running()?;
        server.kill()?;
        // The process is gone: no request that begins after this event reached it.
        self.journal.event(Op::BrokerExit, Kind::Ok, |record| {
            record.flags = FLAG_EXPECTED;
            record.aux = 1;
        })
    }

    /// The process id.
    pub(crate) fn id(&self) -> Result<u32> {
        let (server, _) = self.running.as_ref().context("the broker does not run")?;
        Ok(server.id())
    }

    /// What the broker wrote in all its lives.
    pub(crate) fn output(&self) -> Result<String> {
        let (server, _) = self.running.as_ref().context("the broker does not run")?;
        Ok(server.output())
    }

    /// Waits until somebody else has ended it, which the campaign wanted.
    pub(crate) fn wait_ended(&mut self, limit: Duration) -> Result<()> {
        let (mut server, _) = self.running.take().context("the broker does not run")?;
        server.wait(limit)?;
        self.journal.event(Op::BrokerExit, Kind::Ok, |record| {
            record.flags = FLAG_EXPECTED;
            record.aux = 1;
        })
    }

    /// SIGTERM; how long the end took.
    pub(crate) fn stop(&mut self) -> Result<Duration> {
        let (server, _) = self.running.take().context("the broker does not run")?;
        let asked = Instant::now();
        server.terminate(STOP_LIMIT)?;
        self.journal.event(Op::BrokerExit, Kind::Ok, |record| {
            record.flags = FLAG_EXPECTED;
        })?;
        Ok(asked.elapsed())
    }

    /// An error with the end of its log when the broker ended by itself; the history says so too.
    pub(crate) fn require_running(&mut self) -> Result<()> {
        let (server, _) = self.running.as_mut().context("the broker does not run")?;
        let running = server.require_running();
        if running.is_err() {
            self.journal
                .event(Op::BrokerExit, Kind::Ok, |record| record.aux = 1)?;
            self.running = None;
        }
        running
    }
}
