//! The program under test and how each of its roles is started.

use crate::server::{Server, free_port, route};
use anyhow::{Result, ensure};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Every broker registers a topic named after its cluster.
pub const CLUSTER: &str = "DefaultCluster";
/// How long a start may take.
pub const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a stop may take.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A file that marks a run's data as kept.
const KEPT: &str = "kept";

/// Where the binary is and where data goes.
#[derive(Debug)]
pub struct Programs {
    binary: PathBuf,
    data: PathBuf,
    serial: AtomicU32,
}

/// A running system with one name server and one broker.
#[derive(Debug)]
pub struct Standalone {
    /// The process.
    pub server: Server,
    /// The address of its name server.
    pub namesrv: String,
    /// The address of its broker.
    pub broker: String,
    /// Its directory: configuration, data, log.
    pub dir: PathBuf,
}

/// How to start a standalone system. `config` holds further lines of `broker.conf`.
#[derive(Debug, Clone)]
pub struct StandaloneOptions {
    /// Its directory: configuration, data, log.
    pub dir: PathBuf,
    /// The port of the name server.
    pub namesrv_port: u16,
    /// The port of the broker.
    pub broker_port: u16,
    /// How many shards.
    pub shards: u16,
    /// Further lines of broker.conf.
    pub config: Vec<String>,
    /// The user and group that it runs as, when not those of the caller.
    pub user: Option<u32>,
    /// Variables of its environment.
    pub environment: Vec<(&'static str, String)>,
}

/// Lines of broker.conf by which a test's messages stay, however full the machine's own disk is.
pub const KEEP_FILES: [&str; 3] = [
    "cleanFileForciblyEnable=false",
    "minFreeBytes=0",
    "diskSpaceWarningLevelRatio=100",
];

impl Programs {
    /// Removes the data of runs that are gone, but for those that were kept, and makes a directory
    /// for this one.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(binary: PathBuf, work: &Path) -> Result<Self> {
        let runs = work.join("data");
        let data = runs.join(crate::server::run_id());
        fs::create_dir_all(&data)?;
        for run in fs::read_dir(&runs)?.flatten() {
            let process = Path::new("/proc").join(run.file_name());
            if !process.exists() && !run.path().join(KEPT).exists() {
                fs::remove_dir_all(run.path())?;
            }
        }
        Ok(Self {
            binary,
            data,
            serial: AtomicU32::new(0),
        })
    }

    /// Lets no later run remove what this one wrote.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn keep_data(&self) -> Result<()> {
        Ok(fs::write(self.data.join(KEPT), "")?)
    }

    /// Removes what this run wrote.
    pub fn remove_data(&self) -> Result<()> {
        fs::remove_dir_all(&self.data)?;
        Ok(())
    }

    /// An error that tells how to build the program when it is missing.
    ///
    /// # Errors
    /// See above.
    pub fn require_binary(&self) -> Result<()> {
        ensure!(
            self.binary.is_file(),
            "{} is missing: cargo build --release --package ringmq",
            self.binary.display()
        );
        Ok(())
    }

    /// The program under test.
    pub fn ringmq(&self) -> Command {
        Command::new(&self.binary)
    }

    /// Where the program under test is.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A directory of its own, empty.
    pub fn fresh_dir(&self, name: &str) -> Result<PathBuf> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let dir = self.data.join(format!("{name}-{serial}"));
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Options of a new standalone system: free ports, two shards.
    ///
    /// # Errors
    /// When no ports are free.
    pub fn options(&self, name: &str, config: &[&str]) -> Result<StandaloneOptions> {
        Ok(StandaloneOptions {
            dir: self.fresh_dir(name)?,
            namesrv_port: free_port()?,
            broker_port: free_port()?,
            shards: 2,
            config: config.iter().map(|line| (*line).to_owned()).collect(),
            user: None,
            environment: Vec::new(),
        })
    }

    /// Starts a standalone system and waits until its broker is registered.
    pub fn standalone(&self, options: &StandaloneOptions) -> Result<Standalone> {
        let mut system = self.start_standalone(options)?;
        let namesrv = system.namesrv.clone();
        system.server.wait_route(&namesrv, CLUSTER, START_LIMIT)?;
        Ok(system)
    }

    /// As [`Self::standalone`], without waiting.
    pub fn start_standalone(&self, options: &StandaloneOptions) -> Result<Standalone> {
        let conf = options.dir.join("broker.conf");
        let mut lines = vec![format!("listenPort={}", options.broker_port)];
        let given = |key: &str| options.config.iter().any(|line| line.starts_with(key));
        let kept = KEEP_FILES
            .iter()
            .filter(|line| !given(line.split('=').next().unwrap_or(line)));
        lines.extend(kept.map(|line| (*line).to_owned()));
        lines.extend(options.config.iter().cloned());
        fs::write(&conf, lines.join("\n") + "\n")?;
        let mut command = self.ringmq();
        command.arg("standalone").arg("-c").arg(&conf);
        command.args(["--shards", &options.shards.to_string()]);
        command.args(["--namesrv-port", &options.namesrv_port.to_string()]);
        command.arg("--data").arg(options.dir.join("data"));
        command.envs(
            options
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        if let Some(user) = options.user {
            command.uid(user).gid(user);
        }
        Ok(Standalone {
            server: Server::start(command, "standalone", &options.dir)?,
            namesrv: format!("127.0.0.1:{}", options.namesrv_port),
            broker: format!("127.0.0.1:{}", options.broker_port),
            dir: options.dir.clone(),
        })
    }

    /// Starts `ringmq namesrv`; its address.
    pub fn namesrv(&self, name: &str) -> Result<(Server, String)> {
        let dir = self.fresh_dir(name)?;
        let port = free_port()?;
        let conf = dir.join("namesrv.conf");
        fs::write(
            &conf,
            format!(
                "listenPort={port}\nkvConfigPath={}\n",
                dir.join("kvConfig.json").display()
            ),
        )?;
        let mut command = self.ringmq();
        command.arg("namesrv").arg("-c").arg(&conf);
        Ok((
            Server::start(command, name, &dir)?,
            format!("127.0.0.1:{port}"),
        ))
    }

    /// Starts `ringmq broker -n … -c …`; its address.
    pub fn broker(&self, name: &str, namesrv: &str) -> Result<(Server, String)> {
        let dir = self.fresh_dir(name)?;
        let port = free_port()?;
        let conf = dir.join("broker.conf");
        fs::write(
            &conf,
            format!(
                "brokerClusterName={CLUSTER}\nbrokerName={name}\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort={port}\n\
                 shards=1\nstorePathRootDir={}\n{}\n",
                dir.join("store").display(),
                KEEP_FILES.join("\n")
            ),
        )?;
        let mut command = self.ringmq();
        command
            .arg("broker")
            .args(["-n", namesrv])
            .arg("-c")
            .arg(&conf);
        Ok((
            Server::start(command, name, &dir)?,
            format!("127.0.0.1:{port}"),
        ))
    }
}

impl Standalone {
    /// Brokers in the route of a topic.
    pub fn route(&self, topic: &str) -> Result<Vec<String>> {
        route(&self.namesrv, topic)
    }
}
