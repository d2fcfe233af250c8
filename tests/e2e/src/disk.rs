//! Disks that cannot be written: a read-only directory and a full file system.
//!
//! Runs as root: a small ext4 is mounted from a file. Where that is impossible the checks fail.

use crate::mounts::{Mount, tool};
use crate::report::Report;
use anyhow::{Context, Result, bail, ensure};
use harness::programs::{
    CLUSTER, Programs, START_LIMIT, STOP_LIMIT, Standalone, StandaloneOptions,
};
use harness::server::pause;
use harness::wire::{Connection, Frame, SUCCESS};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SUITE: &str = "disk";
const TOPIC: &str = "Filling";
/// How a broker on a small disk is configured: nothing is removed to make room.
const SMALL_DISK: [&str; 4] = [
    "flushDiskType=SYNC_FLUSH",
    "cleanFileForciblyEnable=false",
    "minFreeBytes=0",
    "mappedFileSizeCommitLog=16777216",
];
const BODY_LEN: usize = 64 << 10;
/// What the ballast leaves.
const LEFT_BYTES: u64 = 4 << 20;
/// A broker looks at the disk every second.
const REFUSAL_LIMIT: Duration = Duration::from_secs(10);
const RESUME_LIMIT: Duration = Duration::from_secs(1);
const SERVICE_NOT_AVAILABLE: i32 = 14;
const DELETE_TOPIC: i32 = 215;
/// The group of [`Connection::pull`], which makes it.
const GROUP: &str = "CID_e2e";
/// More than the image holds.
const SENDS_MAX: usize = 8192;

pub(crate) fn run(report: &mut Report, programs: &Programs, cycle_count: u32) {
    report.check(
        SUITE,
        "a_read_only_data_directory_is_refused_in_words",
        || read_only(programs),
    );
    report.check(
        SUITE,
        "a_full_disk_refuses_sends_and_loses_nothing_acknowledged",
        || full(programs),
    );
    report.check(
        SUITE,
        "a_disk_that_is_full_and_free_again_is_told_and_used_within_a_second",
        || cycles(programs, cycle_count),
    );
}

/// A full disk comes and goes: messages are refused in words, the rest goes on, and so do messages
/// within a second.
fn cycles(programs: &Programs, count: u32) -> Result<()> {
    let dir = programs.fresh_dir("cycles")?;
    let mount = Mount::ext4(&dir, "")?;
    let data = mount.at.join("data");
    fs::create_dir_all(&data)?;
    let mut options = programs.options("cycles-conf", &SMALL_DISK)?;
    options
        .config
        .push("diskSpaceWarningLevelRatio=90".to_owned());
    let (mut system, mut connection) = serving_on(programs, &options, &data)?;
    connection.pull(TOPIC, 0, 0)?;
    let mut acknowledged = 0;
    for cycle in 0..count {
        let ballast = mount.at.join("ballast");
        fill(&mount.at, &ballast)?;
        let refusal = send_until(
            &mut connection,
            &mut acknowledged,
            REFUSAL_LIMIT,
            |answer| answer.code != SUCCESS,
        )?;
        let remark = &refusal.remark;
        let told = remark.contains("commitlog") && remark.contains("used ");
        ensure!(
            refusal.code == SERVICE_NOT_AVAILABLE && told && remark.contains("limit "),
            "cycle {cycle}: the refusal is {refusal:?}"
        );
        // Everything else goes on.
        connection.commit(GROUP, TOPIC, 0, acknowledged)?;
        let committed = connection.committed(GROUP, TOPIC, 0)?;
        ensure!(committed == acknowledged, "{committed} of {acknowledged}");
        ensure!(connection.max_offset(TOPIC, 0)? == acknowledged);
        connection.pull(TOPIC, 0, acknowledged - 1)?;
        let passing = format!("Passing{cycle}");
        connection.create_topic(&passing, 1)?;
        connection
            .call(DELETE_TOPIC, &[("topic", &passing)], &[])?
            .expect(SUCCESS)?;
        fs::remove_file(&ballast)?;
        send_until(&mut connection, &mut acknowledged, RESUME_LIMIT, |answer| {
            answer.code == SUCCESS
        })
        .with_context(|| format!("cycle {cycle}: not taken again within a second"))?;
    }
    verify(&mut connection, acknowledged)?;
    system.server.require_running()?;
    drop(connection);
    system.server.kill()?;
    let mut system = start_on(programs, &options, &data)?;
    let namesrv = system.namesrv.clone();
    system.server.wait_route(&namesrv, TOPIC, START_LIMIT)?;
    verify(&mut Connection::open(&system.broker)?, acknowledged)
}

/// Takes what is left of the file system at `at`, but for a little.
fn fill(at: &Path, ballast: &Path) -> Result<()> {
    let output = Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(at)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let left: u64 = text.lines().last().unwrap_or_default().trim().parse()?;
    let taken = left.saturating_sub(LEFT_BYTES).to_string();
    tool(Command::new("fallocate").args(["-l", &taken]).arg(ballast))
}

/// Sends until an answer is as wanted; counts those that were taken.
fn send_until(
    connection: &mut Connection,
    acknowledged: &mut i64,
    limit: Duration,
    wanted: impl Fn(&Frame) -> bool,
) -> Result<Frame> {
    let begin = Instant::now();
    loop {
        let body = acknowledged.to_be_bytes();
        let answer = connection.try_send(TOPIC, 0, &body)?;
        if answer.code == SUCCESS {
            *acknowledged += 1;
        }
        if wanted(&answer) {
            return Ok(answer);
        }
        ensure!(begin.elapsed() < limit, "still {answer:?}");
        pause(10);
    }
}

fn read_only(programs: &Programs) -> Result<()> {
    let dir = programs.fresh_dir("read-only")?;
    // The file system itself is read-only: root may write anywhere else.
    drop(Mount::ext4(&dir, "")?);
    let mount = Mount::ext4(&dir, ",ro")?;
    let options = programs.options("read-only-conf", &[])?;
    let mut system = start_on(programs, &options, &mount.at.join("data"))?;
    let status = system.server.wait(STOP_LIMIT)?;
    let output = system.server.output();
    ensure!(!status.success(), "it runs on a read-only file system");
    ensure!(
        output.to_lowercase().contains("read-only") && output.contains("data"),
        "no plain words in:\n{output}"
    );
    Ok(())
}

/// A broker that serves from a directory on the small disk, with a topic of one queue.
fn serving_on(
    programs: &Programs,
    options: &StandaloneOptions,
    data: &Path,
) -> Result<(Standalone, Connection)> {
    let mut system = start_on(programs, options, data)?;
    let namesrv = system.namesrv.clone();
    system.server.wait_route(&namesrv, CLUSTER, START_LIMIT)?;
    let mut connection = Connection::open(&system.broker)?;
    connection.create_topic(TOPIC, 1)?;
    Ok((system, connection))
}

pub(crate) fn start_on(
    programs: &Programs,
    options: &StandaloneOptions,
    data: &Path,
) -> Result<Standalone> {
    // The data directory becomes a link to the mounted one.
    let link = options.dir.join("data");
    if !link.exists() && fs::symlink_metadata(&link).is_err() {
        std::os::unix::fs::symlink(data, &link)?;
    }
    programs.start_standalone(options)
}

fn full(programs: &Programs) -> Result<()> {
    let dir = programs.fresh_dir("full")?;
    let mount = Mount::ext4(&dir, "")?;
    let data = mount.at.join("data");
    fs::create_dir_all(&data)?;
    let options = programs.options("full-conf", &SMALL_DISK)?;
    let (mut system, mut connection) = serving_on(programs, &options, &data)?;
    let mut acknowledged = 0i64;
    let mut refusal = None;
    for i in 0..SENDS_MAX {
        let mut body = vec![b'.'; BODY_LEN];
        body[..8].copy_from_slice(&(i as u64).to_be_bytes());
        let answer = connection.try_send(TOPIC, 0, &body)?;
        if answer.code != SUCCESS {
            refusal = Some(answer);
            break;
        }
        ensure!(
            answer.number("queueOffset")? == acknowledged,
            "send {i}: {answer:?}"
        );
        acknowledged += 1;
    }
    let Some(refusal) = refusal else {
        bail!("{acknowledged} sends of 64 KiB fit on 256 MiB");
    };
    ensure!(
        refusal.code == SERVICE_NOT_AVAILABLE && refusal.remark.contains("disk full"),
        "the refusal is {refusal:?}"
    );
    pause(500);
    // What was acknowledged is there, and another request is still answered.
    verify(&mut connection, acknowledged)?;
    system.server.require_running()?;
    drop(connection);
    system.server.kill()?;
    let mut system = start_on(programs, &options, &data)?;
    let namesrv = system.namesrv.clone();
    if system
        .server
        .wait_route(&namesrv, TOPIC, START_LIMIT)
        .is_err()
    {
        bail!(
            "it does not start on a full disk:\n{}",
            system.server.log_tail()
        );
    }
    verify(&mut Connection::open(&system.broker)?, acknowledged)?;
    drop(system);
    drop(mount);
    Ok(())
}

fn verify(connection: &mut Connection, acknowledged: i64) -> Result<()> {
    let units = connection.pull_all(TOPIC, 0, 0)?;
    ensure!(
        units.len() as i64 >= acknowledged,
        "{} of {acknowledged} acknowledged messages are there",
        units.len()
    );
    for (i, unit) in units.iter().enumerate().take(acknowledged as usize) {
        ensure!(
            unit.queue_offset == i as i64 && unit.body[..8] == (i as u64).to_be_bytes(),
            "offset {i} holds another message"
        );
    }
    Ok(())
}
