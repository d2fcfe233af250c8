//! Apache RocketMQ as a target: name server and broker from their Maven artifacts.
//!
//! Default: the flags of `runbroker.sh` and `broker.conf` as delivered. Tuned: what its own
//! documentation and the goals of `docs/performance.md` recommend. A JVM on one CPU would choose the
//! serial collector and one thread of each kind, so it is told of two and of G1. Invariant: flags and
//! configuration are in the result.

use super::process::{Dir, Start, Started, wait_until_it_answers};
use super::{Places, Target};
use crate::interrupt;
use crate::result::BrokerInfo;
use crate::scenario::{Flush, Params};
use anyhow::{Context, Result};
use harness::java::{Java, MODULE_FLAGS};
use harness::programs::CLUSTER;
use harness::server::{Server, free_port};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const NAMESRV_FLAGS: &[&str] = &["-XX:+UseSerialGC", "-Xmx256m"];
/// Java `runbroker.sh` on a JDK from 9 on; the heap is `--java-heap`.
const BROKER_FLAGS: &[&str] = &[
    "-server",
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=16m",
    "-XX:G1ReservePercent=25",
    "-XX:InitiatingHeapOccupancyPercent=30",
    "-XX:SoftRefLRUPolicyMSPerMB=0",
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:+AlwaysPreTouch",
    "-XX:MaxDirectMemorySize=15g",
    "-XX:-UseLargePages",
];
const TUNED: &[&str] = &[
    "sendMessageThreadPoolNums=16",
    "useEpollNativeSelector=true",
    "osPageCacheBusyTimeOutMills=5000",
    "waitTimeMillsInSendQueue=5000",
    "maxTransferCountOnMessageInMemory=1000",
    "maxTransferCountOnMessageInDisk=1000",
];
const TUNED_SYNC: &[&str] = &["warmMapedFileEnable=true"];
const TUNED_ASYNC: &[&str] = &["transientStorePoolEnable=true", "transientStorePoolSize=3"];
const ROUTE_LIMIT: Duration = Duration::from_mins(2);

/// Fetches the artifacts, after looking for a JVM and Maven.
pub(super) fn install(version: &str, places: &Places) -> Result<()> {
    require(
        "java",
        "-version",
        "a JDK 17 (apt-get install openjdk-17-jdk-headless)",
    )?;
    require("mvn", "--version", "Maven (apt-get install maven)")?;
    eprintln!("fetching Apache RocketMQ {version} with Maven ...");
    java(places).install(Some(&module(version))).with_context(|| {
        format!("the artifacts of Apache RocketMQ {version} cannot be fetched; is Maven Central in reach?")
    })
}

fn require(program: &str, argument: &str, what: &str) -> Result<()> {
    Command::new(program)
        .arg(argument)
        .output()
        .map(|_| ())
        .with_context(|| {
            format!("{program} is missing: to start Apache RocketMQ the harness needs {what}")
        })
}

fn java(places: &Places) -> Java {
    Java::new(&places.root, &places.work)
}

fn module(version: &str) -> String {
    format!("official-{version}")
}

pub(super) fn start(
    version: &str,
    tuned: bool,
    places: &Places,
    params: &Params,
) -> Result<Target> {
    let dir = Dir::new(&places.work, "apache")?;
    let (port, namesrv_port) = (free_port()?, free_port()?);
    let namesrv = format!("127.0.0.1:{namesrv_port}");
    let namesrv_server = start_namesrv(version, places, &dir.0, namesrv_port)?;
    let config = config(tuned, params.flush);
    let place = format!(
        "namesrvAddr={namesrv}\nlistenPort={port}\nhaListenPort={}\nbrokerIP1=127.0.0.1\nstorePathRootDir={1}/store\n\
         storePathCommitLog={1}/store/commitlog\n",
        port + 1,
        dir.0.display()
    );
    fs::write(dir.0.join("broker.conf"), config.join("\n") + "\n" + &place)?;
    let flags = flags(places);
    let words: Vec<&str> = flags.iter().map(String::as_str).collect();
    let main = "org.apache.rocketmq.broker.BrokerStartup";
    let mut command = java(places).command_with(&module(version), &words, main)?;
    command.env("ROCKETMQ_HOME", home(&dir.0)?);
    let start = Start {
        program: command.get_program().into(),
        arguments: command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .chain(["-c".to_owned(), "broker.conf".to_owned()])
            .collect(),
        variables: command
            .get_envs()
            .filter_map(|(key, value)| {
                Some((key.to_str()?.to_owned(), value?.to_str()?.to_owned()))
            })
            .collect(),
        name: "broker",
        cpus: places.cpus.broker.clone(),
        cgroup: super::process::cgroup(params.memory_mb)?,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
    };
    let from = Instant::now();
    let mut server = start.spawn(&dir.0)?;
    wait_until_it_answers(&mut server, start.address)?;
    server.wait_route(&namesrv, CLUSTER, ROUTE_LIMIT)?;
    let info = BrokerInfo {
        version: format!("Apache RocketMQ {version}"),
        config,
        jvm_flags: flags,
        cpus: places.cpus.broker.clone(),
        start_ms: Some(from.elapsed().as_secs_f64() * 1e3),
        ..BrokerInfo::default()
    };
    let (pid, namesrv_pid) = (server.id(), namesrv_server.id());
    Ok(Target {
        brokers: vec![start.address],
        info,
        pid: Some(pid),
        pids: vec![pid, namesrv_pid],
        started: Some(Started::new(server, start, Some(namesrv_server), dir)),
    })
}

fn start_namesrv(version: &str, places: &Places, dir: &Path, port: u16) -> Result<Server> {
    let conf = dir.join("namesrv.conf");
    fs::write(
        &conf,
        format!(
            "listenPort={port}\nkvConfigPath={0}/kv.json\nconfigStorePath={0}/namesrv.properties\n",
            dir.display()
        ),
    )?;
    let flags: Vec<&str> = MODULE_FLAGS.iter().chain(NAMESRV_FLAGS).copied().collect();
    let mut java = java(places).command_with(
        &module(version),
        &flags,
        "org.apache.rocketmq.namesrv.NamesrvStartup",
    )?;
    java.arg("-c").arg(&conf).env("ROCKETMQ_HOME", home(dir)?);
    let server = Server::start(java, "namesrv", dir)?;
    interrupt::know_process(server.id());
    Ok(server)
}

/// What 4.9 reads its logging from: warnings go to the log of the run.
fn home(dir: &Path) -> Result<PathBuf> {
    const LOGGING: &str = r#"<configuration><appender name="out" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%d %p %t %m%n</pattern></encoder></appender>
<root level="WARN"><appender-ref ref="out"/></root></configuration>
"#;
    let home = dir.join("home");
    fs::create_dir_all(home.join("conf"))?;
    for name in ["broker", "namesrv"] {
        fs::write(home.join(format!("conf/logback_{name}.xml")), LOGGING)?;
    }
    Ok(home)
}

/// `broker.conf` as delivered, with the flush of the scenario.
fn config(tuned: bool, flush: Flush) -> Vec<String> {
    let flush_type = match flush {
        Flush::Async => "ASYNC_FLUSH",
        Flush::Sync => "SYNC_FLUSH",
    };
    let mut config = vec![
        format!("brokerClusterName={CLUSTER}"),
        "brokerName=broker-a".to_owned(),
        "brokerId=0".to_owned(),
        "deleteWhen=04".to_owned(),
        "fileReservedTime=48".to_owned(),
        "brokerRole=ASYNC_MASTER".to_owned(),
        format!("flushDiskType={flush_type}"),
    ];
    if tuned {
        let by_flush = if flush == Flush::Sync {
            TUNED_SYNC
        } else {
            TUNED_ASYNC
        };
        config.extend(TUNED.iter().chain(by_flush).map(|line| (*line).to_owned()));
    }
    config
}

fn flags(places: &Places) -> Vec<String> {
    let mut flags: Vec<String> = BROKER_FLAGS
        .iter()
        .chain(MODULE_FLAGS)
        .map(|flag| (*flag).to_owned())
        .collect();
    flags.push(format!("-Xms{}", places.java_heap));
    flags.push(format!("-Xmx{}", places.java_heap));
    if places.cpus.broker.len() == 1 {
        flags.push("-XX:ActiveProcessorCount=2".to_owned());
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuned_settings_depend_on_the_flush() {
        let has = |tuned, flush, line: &str| config(tuned, flush).iter().any(|l| l == line);
        assert!(has(true, Flush::Sync, "warmMapedFileEnable=true"));
        assert!(!has(true, Flush::Sync, "transientStorePoolEnable=true"));
        assert!(has(true, Flush::Async, "transientStorePoolEnable=true"));
        assert!(!has(false, Flush::Async, "sendMessageThreadPoolNums=16"));
        assert!(has(false, Flush::Sync, "flushDiskType=SYNC_FLUSH"));
    }

    #[test]
    fn a_program_that_is_missing_is_told_with_what_to_install() {
        let error = require("no-such-program", "-version", "a JDK 17 (apt-get ...)").unwrap_err();
        assert!(
            error.to_string().starts_with("no-such-program is missing"),
            "{error}"
        );
    }
}
