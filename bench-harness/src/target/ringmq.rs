//! RingMQ as a target: `ringmq standalone` with one shard for each of its CPUs.
//!
//! Invariant: nothing differs from the defaults but what the result shows.

use super::process::{Dir, Start, Started, cgroup, wait_until_it_answers};
use super::{Places, Target};
use crate::result::BrokerInfo;
use crate::scenario::{Flush, Params};
use anyhow::{Context, Result, ensure};
use harness::server::free_port;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The program: what was given, else the one beside this program, else the release build.
pub(super) fn program(given: Option<&Path>) -> Result<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|me| Some(me.parent()?.join("ringmq")));
    let built = PathBuf::from("target/release/ringmq");
    let candidates = match given {
        Some(path) => vec![path.to_owned()],
        None => beside.into_iter().chain([built]).collect(),
    };
    let found = candidates.iter().find(|path| path.is_file());
    let found = found.with_context(|| {
        let tried: Vec<_> = candidates
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        format!(
            "there is no ringmq at {}: cargo build --release, or --broker ringmq:PATH",
            tried.join(" or ")
        )
    })?;
    Ok(found.canonicalize()?)
}

pub(super) fn start(given: Option<&Path>, places: &Places, params: &Params) -> Result<Target> {
    let program = program(given)?;
    let dir = Dir::new(&places.work, "ringmq")?;
    let (port, namesrv_port) = (free_port()?, free_port()?);
    let flush = match params.flush {
        Flush::Async => "ASYNC_FLUSH",
        Flush::Sync => "SYNC_FLUSH",
    };
    let mut config = vec![format!("flushDiskType={flush}")];
    if params.store_mb > 0 {
        config.push(format!("maxStoreBytes={}", params.store_mb << 20));
    }
    config.extend(places.config.iter().cloned());
    let place = format!(
        "listenPort={port}\nbrokerIP1=127.0.0.1\nstorePathRootDir={}\n",
        dir.0.join("store").display()
    );
    fs::write(dir.0.join("broker.conf"), config.join("\n") + "\n" + &place)?;
    let cpus = &places.cpus.broker;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let arguments = [
        "standalone",
        "-c",
        "broker.conf",
        "--shards",
        &cpus.len().max(1).to_string(),
        "--namesrv-port",
        &namesrv_port.to_string(),
    ];
    let start = Start {
        arguments: arguments.map(str::to_owned).into(),
        variables: Vec::new(),
        name: "broker",
        cpus: cpus.clone(),
        cgroup: cgroup(params.memory_mb)?,
        address,
        program,
    };
    let from = Instant::now();
    let mut server = start.spawn(&dir.0)?;
    wait_until_it_answers(&mut server, address)?;
    config.push(format!("shards={}", cpus.len().max(1)));
    let info = BrokerInfo {
        version: version(&start.program)?,
        build: Some(format!(
            "crc32 {:08x}",
            crc32fast::hash(&fs::read(&start.program)?)
        )),
        config,
        cpus: cpus.clone(),
        start_ms: Some(from.elapsed().as_secs_f64() * 1e3),
        ..BrokerInfo::default()
    };
    let pid = server.id();
    Ok(Target {
        brokers: vec![address],
        info,
        pid: Some(pid),
        pids: vec![pid],
        started: Some(Started::new(server, start, None, dir)),
    })
}

fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    ensure!(
        output.status.success(),
        "{} --version fails: is it ringmq?",
        program.display()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
