//! A broker's process: started on its CPUs, in its cgroup if it has one, and ended with its store.
//!
//! Invariant: the directory goes when the value is dropped, after the process.

use crate::interrupt;
use anyhow::{Context, Result, anyhow, bail, ensure};
use harness::server::Server;
use harness::wire::Connection;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How a process is started, so that it can be started again.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) name: &'static str,
    pub(super) cpus: Vec<usize>,
    /// A cgroup's directory.
    pub(super) cgroup: Option<PathBuf>,
    pub(super) address: SocketAddr,
}

/// A running broker.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) server: Server,
    start: Start,
    /// A name server beside it.
    beside: Option<Server>,
    dir: Dir,
}

impl Started {
    pub(super) fn new(server: Server, start: Start, beside: Option<Server>, dir: Dir) -> Self {
        Self {
            server,
            start,
            beside,
            dir,
        }
    }

    /// Ends it and starts it again; until its first answer, and the time of an orderly stop.
    pub(super) fn restart(&mut self, kill_it: bool) -> Result<(Duration, Option<Duration>)> {
        let from = Instant::now();
        let signal = if kill_it {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        };
        kill(Pid::from_raw(self.server.id().cast_signed()), signal)?;
        self.server.wait(STOP_LIMIT)?;
        interrupt::forget_process(self.server.id());
        let stop = (!kill_it).then(|| from.elapsed());
        let from = Instant::now();
        self.server = self.start.spawn(&self.dir.0)?;
        wait_until_it_answers(&mut self.server, self.start.address)?;
        Ok((from.elapsed(), stop))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for server in self.beside.iter().chain([&self.server]) {
            interrupt::forget_process(server.id());
        }
    }
}

impl Start {
    /// Starts the process; its output goes to a log in `dir`.
    pub(super) fn spawn(&self, dir: &Path) -> Result<Server> {
        // A process has the CPUs and the cgroup of the thread that started it.
        let start = || {
            let mut set = CpuSet::new();
            for cpu in &self.cpus {
                set.set(*cpu).with_context(|| format!("CPU {cpu}"))?;
            }
            if !self.cpus.is_empty() {
                sched_setaffinity(Pid::from_raw(0), &set).context("cannot pin the broker")?;
            }
            let mut command = Command::new(&self.program);
            if let Some(cgroup) = &self.cgroup {
                let procs = cgroup.join("cgroup.procs");
                command = Command::new("sh");
                command
                    .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
                    .arg(procs)
                    .arg(&self.program);
            }
            command.args(&self.arguments).current_dir(dir);
            command.envs(
                self.variables
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str())),
            );
            let server = Server::start(command, self.name, dir)?;
            interrupt::know_process(server.id());
            Ok(server)
        };
        let started = std::thread::scope(|scope| scope.spawn(start).join());
        started.map_err(|_| anyhow!("starting the broker panicked"))?
    }
}

/// Waits until a broker answers a request.
pub(super) fn wait_until_it_answers(server: &mut Server, address: SocketAddr) -> Result<()> {
    const GET_BROKER_RUNTIME_INFO: i32 = 28;
    let end = Instant::now() + START_LIMIT;
    loop {
        server.require_running()?;
        let answer = Connection::open(&address.to_string())
            .and_then(|mut connection| connection.call(GET_BROKER_RUNTIME_INFO, &[], &[]));
        if answer.is_ok_and(|answer| answer.code == 0) {
            return Ok(());
        }
        if Instant::now() > end {
            bail!(
                "the broker does not answer at {address} within {START_LIMIT:?}:\n{}",
                server.log_tail()
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A cgroup with a limit of memory.
pub(super) fn cgroup(memory_mb: u64) -> Result<Option<PathBuf>> {
    if memory_mb == 0 {
        return Ok(None);
    }
    let dir = PathBuf::from(format!(
        "/sys/fs/cgroup/ringmq-bench-{}",
        std::process::id()
    ));
    fs::create_dir_all(&dir).context("a memory limit wants cgroup v2 and root")?;
    fs::write(
        dir.join("memory.max"),
        (memory_mb * 1024 * 1024).to_string(),
    )
    .context("a memory limit wants the memory controller of cgroup v2")?;
    Ok(Some(dir))
}

/// A directory that goes with its value.
#[derive(Debug)]
pub(super) struct Dir(pub(super) PathBuf);

impl Dir {
    /// Empty, below the work directory.
    pub(super) fn new(work: &Path, name: &str) -> Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = work.join(format!("{name}-{}-{serial}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let free = crate::machine::free_bytes(&dir)?;
        ensure!(
            free > FREE_BYTES_MIN,
            "only {} MB are free for a broker's store at {}: --work takes another place",
            free >> 20,
            work.display()
        );
        let dir = dir.canonicalize()?;
        interrupt::know_dir(&dir);
        Ok(Self(dir))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What cannot be removed is left for the user.
        let _ = fs::remove_dir_all(&self.0);
        interrupt::forget_dir(&self.0);
    }
}

const START_LIMIT: Duration = Duration::from_mins(2);
const STOP_LIMIT: Duration = Duration::from_mins(1);
const FREE_BYTES_MIN: u64 = 1 << 30;
