//! Starting the broker on one made-up store after the other.
//!
//! Owned by a campaign that makes many stores. Every start has a fresh log and the same port.
//! Invariant: at most one process runs, and it is gone before the next store is made.

use anyhow::{Context, Result, ensure};
use harness::programs::{KEEP_FILES, Programs};
use harness::server::{Server, free_port};
use harness::wire::{Connection, GET_MAX_OFFSET};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Shards of the stores.
const SHARDS: u16 = 2;
const START_LIMIT: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// Where stores are made and how the broker is started on them.
pub(crate) struct Starter {
    binary: PathBuf,
    dir: PathBuf,
    /// Where a store's file system is made.
    pub(crate) disk: PathBuf,
    port: u16,
}

impl Starter {
    /// `config` are lines of broker.conf. The store is `dir/disk/store`.
    pub(crate) fn new(programs: &Programs, dir: &Path, config: &[String]) -> Result<Self> {
        let (port, disk) = (free_port()?, dir.join("disk"));
        let mut lines = vec![
            "brokerIP1=127.0.0.1".to_owned(),
            format!("listenPort={port}"),
            format!("shards={SHARDS}"),
            format!("storePathRootDir={}", disk.join("store").display()),
        ];
        lines.extend(KEEP_FILES.map(str::to_owned));
        lines.extend_from_slice(config);
        fs::write(dir.join("broker.conf"), lines.join("\n") + "\n")?;
        Ok(Self {
            binary: programs.binary().to_owned(),
            dir: dir.to_owned(),
            disk,
            port,
        })
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts, and waits until the broker answers. That it takes a connection is not enough: while it
    /// tries whether its port is free, it takes one and drops it.
    pub(crate) fn start(&self) -> Result<Server> {
        match fs::remove_file(self.dir.join("broker.log")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut command = Command::new(&self.binary);
        command
            .arg("broker")
            .arg("-c")
            .arg(self.dir.join("broker.conf"));
        let mut server = Server::start(command, "broker", &self.dir)?;
        let end = Instant::now() + START_LIMIT;
        while self.ask().is_err() {
            server.require_running().context("it does not start")?;
            ensure!(Instant::now() < end, "not serving within {START_LIMIT:?}");
            std::thread::sleep(RETRY_PAUSE);
        }
        Ok(server)
    }

    fn ask(&self) -> Result<()> {
        let fields = [("topic", "TBW102"), ("queueId", "0")];
        Connection::open(&self.address())?.call(GET_MAX_OFFSET, &fields, &[])?;
        Ok(())
    }
}

/// A directory for many stores: in memory where there is /dev/shm, else below `dir`.
pub(crate) fn stores_dir(wanted: Option<&PathBuf>, dir: &Path) -> Result<PathBuf> {
    let memory = Path::new("/dev/shm");
    let dir = match wanted {
        Some(dir) => dir.clone(),
        None if memory.is_dir() => memory.join(format!("torture-{}", std::process::id())),
        None => dir.join("stores"),
    };
    fs::create_dir_all(&dir)?;
    Ok(dir)
}
