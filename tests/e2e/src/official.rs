//! The same client suites against the official programs, so that they test the protocol.

use crate::packages::Packages;
use crate::report::Report;
use crate::suites::{self, Target};
use anyhow::Result;
use harness::programs::CLUSTER;
use harness::server::{Server, free_port};
use std::fs;
use std::path::Path;
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(90);

/// Starts name server and broker 5.5.0 from their Maven artifacts and runs the client suites.
pub(crate) fn run(report: &mut Report, packages: &Packages, work: &Path) -> Result<()> {
    let dir = work
        .join("data")
        .join(harness::server::run_id())
        .join("official");
    fs::create_dir_all(&dir)?;
    let (namesrv_port, broker_port) = (free_port()?, free_port()?);
    let namesrv = format!("127.0.0.1:{namesrv_port}");
    let namesrv_conf = dir.join("namesrv.conf");
    fs::write(
        &namesrv_conf,
        format!(
            "listenPort={namesrv_port}\nkvConfigPath={0}/kv.json\nconfigStorePath={0}/namesrv.properties\n",
            dir.display()
        ),
    )?;
    let broker_conf = dir.join("broker.conf");
    fs::write(
        &broker_conf,
        format!(
            "brokerClusterName={CLUSTER}\nbrokerName=broker-a\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort={broker_port}\n\
             haListenPort={}\nnamesrvAddr={namesrv}\nstorePathRootDir={1}/store\nstorePathCommitLog={1}/store/commitlog\n\
             mappedFileSizeCommitLog=67108864\ndiskMaxUsedSpaceRatio=95\nenablePropertyFilter=true\ntransactionOpBatchInterval=100\n{2}\n",
            broker_port + 1,
            dir.display(),
            suites::TRANSACTION_KEYS.join("\n")
        ),
    )?;
    let mut java = packages.java(
        "official-5.5.0",
        &["-Xmx256m"],
        "org.apache.rocketmq.namesrv.NamesrvStartup",
    )?;
    java.arg("-c").arg(&namesrv_conf);
    let _namesrv = Server::start(java, "namesrv", &dir)?;
    let mut java = packages.java(
        "official-5.5.0",
        &["-Xmx768m", "-XX:MaxDirectMemorySize=512m"],
        "org.apache.rocketmq.broker.BrokerStartup",
    )?;
    java.arg("-c").arg(&broker_conf);
    let mut broker = Server::start(java, "broker", &dir)?;
    broker.wait_route(&namesrv, CLUSTER, START_LIMIT)?;
    let target = Target {
        namesrv,
        broker: format!("127.0.0.1:{broker_port}"),
    };
    suites::run_against(report, packages, &target)
}
