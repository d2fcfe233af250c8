//! The brokers that can be loaded: ours, Apache's, or one that runs already.
//!
//! A broker that the harness starts has a directory, ports and CPUs of its own and is gone, with its
//! store, when its value is dropped. Invariant: what it was started with is in the result.

mod apache;
mod process;
mod ringmq;

use crate::machine::Cpus;
use crate::result::BrokerInfo;
use crate::scenario::Params;
use anyhow::{Context, Result, bail, ensure};
use harness::wire::Connection;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `ringmq` or `ringmq:PATH`.
    Ringmq(Option<PathBuf>),
    /// `apache:5.5.0`, or `apache:5.5.0+tuned`.
    Apache { version: String, tuned: bool },
    /// `--address`: brokers, or a name server that tells them.
    Running(String, Option<u32>),
}

/// Versions whose broker and name server Maven Central has.
const APACHE: &[&str] = &["5.5.0", "4.9.7"];

impl Kind {
    /// Reads `--broker`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "ringmq" => Ok(Self::Ringmq(
                (!rest.is_empty()).then(|| PathBuf::from(rest)),
            )),
            "apache" => {
                let (version, tuned) = match rest.strip_suffix("+tuned") {
                    Some(version) => (version, true),
                    None => (rest, false),
                };
                ensure!(
                    APACHE.contains(&version),
                    "--broker {text}: there is apache:{}, each also with +tuned",
                    APACHE.join(" and apache:")
                );
                Ok(Self::Apache {
                    version: version.to_owned(),
                    tuned,
                })
            }
            _ => bail!(
                "--broker {text}: it is ringmq, ringmq:PATH, apache:5.5.0, apache:5.5.0+tuned or apache:4.9.7; \
                 a broker that runs already is given by --address HOST:PORT"
            ),
        }
    }

    /// As it was asked for.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Ringmq(None) => "ringmq".to_owned(),
            Self::Ringmq(Some(path)) => format!("ringmq:{}", path_label(path)),
            Self::Apache { version, tuned } => {
                format!("apache:{version}{}", if *tuned { "+tuned" } else { "" })
            }
            Self::Running(address, _) => address.clone(),
        }
    }

    /// What it needs that is not there, before anything is started.
    pub(crate) fn prepare(&self, places: &Places) -> Result<()> {
        match self {
            Self::Ringmq(path) => ringmq::program(path.as_deref()).map(|_| ()),
            Self::Apache { version, .. } => apache::install(version, places),
            Self::Running(address, _) => brokers_at(address).map(|_| ()),
        }
    }
}

/// The last two parts of a path, so that two builds can be told apart and no home is named.
fn path_label(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .rev()
        .take(2)
        .map(|c| c.as_os_str().to_string_lossy())
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Where things are and what is the same for all brokers of a run.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The checkout, for the Maven project of Apache's programs; not needed for others.
    pub(crate) root: PathBuf,
    /// Stores, logs, Maven's build.
    pub(crate) work: PathBuf,
    pub(crate) cpus: Cpus,
    /// Further lines of broker.conf for RingMQ.
    pub(crate) config: Vec<String>,
    pub(crate) java_heap: String,
}

/// A broker under load.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) brokers: Vec<SocketAddr>,
    pub(crate) info: BrokerInfo,
    /// The process whose cost is measured, and all processes that belong to the run.
    pub(crate) pid: Option<u32>,
    pub(crate) pids: Vec<u32>,
    started: Option<process::Started>,
}

impl Target {
    /// Starts a broker with an empty store, or finds the one that runs. A start is tried twice: between
    /// the choice of a port and its use another program may take it.
    pub(crate) fn start(kind: &Kind, places: &Places, params: &Params) -> Result<Self> {
        let target = Self::start_once(kind, places, params);
        let mut target = match (target, kind) {
            (Err(error), Kind::Ringmq(_) | Kind::Apache { .. }) => {
                eprintln!("{} did not start, once more: {error:#}", kind.label());
                Self::start_once(kind, places, params)?
            }
            (target, _) => target?,
        };
        target.info.label = kind.label();
        Ok(target)
    }

    fn start_once(kind: &Kind, places: &Places, params: &Params) -> Result<Self> {
        match kind {
            Kind::Ringmq(path) => ringmq::start(path.as_deref(), places, params),
            Kind::Apache { version, tuned } => apache::start(version, *tuned, places, params),
            Kind::Running(address, pid) => Ok(Self {
                brokers: brokers_at(address)?,
                info: BrokerInfo {
                    version: "running already".to_owned(),
                    ..BrokerInfo::default()
                },
                pid: *pid,
                pids: pid.iter().copied().collect(),
                started: None,
            }),
        }
    }

    /// An error with the end of its log when the process is gone.
    pub(crate) fn require_running(&mut self) -> Result<()> {
        match &mut self.started {
            Some(started) => started.server.require_running(),
            None => Ok(()),
        }
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        self.started
            .as_ref()
            .map(|started| started.server.log_tail())
            .unwrap_or_default()
    }

    /// Ends the process and starts it again on its store; from exec to the first answer, and how long
    /// an orderly stop took.
    pub(crate) fn restart(&mut self, kill: bool) -> Result<(Duration, Option<Duration>)> {
        let Some(started) = &mut self.started else {
            bail!("only a broker that the harness started can be started again");
        };
        let (ready, stop) = started.restart(kill)?;
        self.pids.retain(|pid| Some(*pid) != self.pid);
        self.pid = Some(started.server.id());
        self.pids.extend(self.pid);
        Ok((ready, stop))
    }

    /// A connection for single requests.
    pub(crate) fn admin(&self, broker: usize) -> Result<Connection> {
        Connection::open(&self.brokers[broker].to_string())
            .with_context(|| format!("no broker answers at {}", self.brokers[broker]))
    }
}

const GET_BROKER_CLUSTER_INFO: i32 = 106;

/// An address is a broker's, or a name server's, which tells its masters.
fn brokers_at(address: &str) -> Result<Vec<SocketAddr>> {
    let resolved = address
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .with_context(|| format!("`{address}` is no address: HOST:PORT is wanted"))?;
    let mut connection = Connection::open(address).with_context(|| {
        format!("no broker answers at {address}: is it running, and is this its port?")
    })?;
    let answer = connection
        .call(GET_BROKER_CLUSTER_INFO, &[], &[])
        .with_context(|| format!("{address} does not speak the protocol of RocketMQ"))?;
    if answer.code != 0 {
        return Ok(vec![resolved]);
    }
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let table = body["brokerAddrTable"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let masters: Vec<SocketAddr> = table
        .values()
        .filter_map(|broker| {
            broker["brokerAddrs"]["0"]
                .as_str()?
                .to_socket_addrs()
                .ok()?
                .next()
        })
        .collect();
    if masters.is_empty() {
        Ok(vec![resolved])
    } else {
        Ok(masters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_named_by_what_was_asked_for() {
        for text in [
            "ringmq",
            "apache:5.5.0",
            "apache:5.5.0+tuned",
            "apache:4.9.7",
        ] {
            assert_eq!(Kind::parse(text).unwrap().label(), text);
        }
        let path = Kind::parse("ringmq:/home/me/old/ringmq").unwrap();
        assert_eq!(path.label(), "ringmq:old/ringmq");
        for (text, part) in [
            ("apache:5.1", "there is apache:5.5.0 and"),
            ("kafka", "--address HOST:PORT"),
        ] {
            let error = Kind::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn an_address_where_nobody_listens_and_a_word_that_is_none_are_told() {
        let error = format!("{:#}", brokers_at("127.0.0.1:1").unwrap_err());
        assert!(
            error.contains("no broker answers at 127.0.0.1:1"),
            "{error}"
        );
        let error = format!("{:#}", brokers_at("nonsense").unwrap_err());
        assert!(error.contains("is no address"), "{error}");
    }
}
