//! Disks that cannot be written: a read-only directory and a full file system.
//!
//! Runs as root: a small ext4 is mounted from a file. Where that is impossible the checks fail.

use crate::report::Report;
use anyhow::{Context, Result, bail, ensure};
use harness::programs::{Programs, STOP_LIMIT, Standalone};
use harness::server::pause;
use harness::wire::{Connection, Frame, SUCCESS};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SUITE: &str = "disk";
const TOPIC: &str = "Filling";
const IMAGE_BYTES: u64 = 256 << 20;
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
    let mount = Mount::new(&dir, "")?;
    let data = mount.at.join("data");
    fs::create_dir_all(&data)?;
    let options = programs.options(
        "cycles-conf",
        &[
            "flushDiskType=SYNC_FLUSH",
            "cleanFileForciblyEnable=false",
            "minFreeBytes=0",
            "diskSpaceWarningLevelRatio=90",
            "mappedFileSizeCommitLog=16777216",
        ],
    )?;
    let mut system = start_on(programs, &options, &data)?;
    let (namesrv, limit) = (system.namesrv.clone(), harness::programs::START_LIMIT);
    let cluster = harness::programs::CLUSTER;
    system.server.wait_route(&namesrv, cluster, limit)?;
    let mut connection = Connection::open(&system.broker)?;
    connection.create_topic(TOPIC, 1)?;
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
    system.server.wait_route(&namesrv, TOPIC, limit)?;
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

/// A mounted file system, taken off when dropped.
#[derive(Debug)]
struct Mount {
    at: PathBuf,
}

impl Mount {
    fn new(dir: &Path, options: &str) -> Result<Self> {
        let image = dir.join("image");
        if !image.exists() {
            File::create(&image)?.set_len(IMAGE_BYTES)?;
            tool(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        }
        let at = dir.join("mnt");
        fs::create_dir_all(&at)?;
        let mut mount = Command::new("mount");
        tool(
            mount
                .args(["-o", &format!("loop{options}")])
                .arg(&image)
                .arg(&at),
        )
        .context("the disk checks mount a file: run them as root")?;
        Ok(Self { at })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a broker under test may hold files for a moment longer.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn tool(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn read_only(programs: &Programs) -> Result<()> {
    let dir = programs.fresh_dir("read-only")?;
    // The file system itself is read-only: root may write anywhere else.
    drop(Mount::new(&dir, "")?);
    let mount = Mount::new(&dir, ",ro")?;
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

fn start_on(
    programs: &Programs,
    options: &harness::programs::StandaloneOptions,
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
    let mount = Mount::new(&dir, "")?;
    let data = mount.at.join("data");
    fs::create_dir_all(&data)?;
    let options = programs.options(
        "full-conf",
        &[
            "flushDiskType=SYNC_FLUSH",
            "cleanFileForciblyEnable=false",
            "minFreeBytes=0",
            "mappedFileSizeCommitLog=16777216",
        ],
    )?;
    let mut system = start_on(programs, &options, &data)?;
    let namesrv = system.namesrv.clone();
    system.server.wait_route(
        &namesrv,
        harness::programs::CLUSTER,
        harness::programs::START_LIMIT,
    )?;
    let mut connection = Connection::open(&system.broker)?;
    connection.create_topic(TOPIC, 1)?;
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
        .wait_route(&namesrv, TOPIC, harness::programs::START_LIMIT)
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
