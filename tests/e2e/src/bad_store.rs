//! Data directories that are not as a broker left them: each starts, or is refused with a sentence
//! that says what was found and what to do. Nothing that was valid is gone afterwards.
//!
//! The real program on real directories; some checks mount file systems and change users, so they
//! want root. What must always hold: a directory that was refused has the same files with the same
//! bytes as before.

use crate::disk::start_on;
use crate::mounts::{Mount, tool};
use crate::report::Report;
use anyhow::{Context, Result, ensure};
use harness::programs::{
    CLUSTER, Programs, START_LIMIT, STOP_LIMIT, Standalone, StandaloneOptions,
};
use harness::wire::Connection;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SUITE: &str = "bad-store";
const TOPIC: &str = "Kept";
const COUNT: usize = 400;
const BODY_LEN: usize = 32 << 10;
const SEGMENT_BYTES: u64 = 4 << 20;
/// More than there are in any of these stores.
const SEGMENTS_MAX: u64 = 64;
/// The user `nobody`.
const NOBODY: u32 = 65_534;
const CONFIG: [&str; 4] = [
    "flushDiskType=SYNC_FLUSH",
    "mappedFileSizeCommitLog=4194304",
    "maxMessageSize=262144",
    "checkpointBytes=2097152",
];

pub(crate) fn run(report: &mut Report, programs: &Programs) {
    let suite = SUITE;
    let name = "a_store_of_apache_rocketmq_is_refused_and_left_as_it_was";
    report.check(suite, name, || java_store(programs));
    let name = "a_directory_of_another_program_is_refused_and_left_as_it_was";
    report.check(suite, name, || other_program(programs));
    let name = "segments_and_checkpoints_that_are_not_as_they_were_are_refused_or_read_around";
    report.check(suite, name, || damaged(programs));
    let name = "files_of_another_user_are_refused_by_name_and_left_as_they_were";
    report.check(suite, name, || other_user(programs));
    let name = "memory_and_layers_of_a_container_start_with_a_warning_and_work";
    report.check(suite, name, || passing_file_systems(programs));
    let name = "a_second_process_changes_nothing_in_a_store_that_is_in_use";
    report.check(suite, name, || second_process(programs));
    let name = "what_a_killed_start_left_is_cleaned_up_and_nothing_else";
    report.check(suite, name, || stale_probes(programs));
}

/// Every file below a directory: owner, mode and bytes.
type Files = BTreeMap<PathBuf, (u32, u32, Vec<u8>)>;

fn files(dir: &Path) -> Result<Files> {
    let mut found = Files::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            if metadata.is_dir() {
                found.insert(path.clone(), (metadata.uid(), metadata.mode(), Vec::new()));
                open.push(path);
            } else {
                let bytes = fs::read(&path)?;
                found.insert(path, (metadata.uid(), metadata.mode(), bytes));
            }
        }
    }
    Ok(found)
}

/// What a start may touch in a store that it then refuses: who holds it, and the name server's own.
fn without_holder(mut files: Files) -> Files {
    files.retain(|path, _| {
        let name = path.file_name().unwrap_or_default();
        name != "lock" && !path.components().any(|part| part.as_os_str() == "namesrv")
    });
    files
}

fn require_same(before: &Files, after: &Files) -> Result<()> {
    for (path, was) in before {
        let is = after.get(path);
        ensure!(is.is_some(), "{} is gone", path.display());
        ensure!(is == Some(was), "{} has changed", path.display());
    }
    let fresh = after.keys().find(|path| !before.contains_key(*path));
    ensure!(fresh.is_none(), "{fresh:?} is new");
    Ok(())
}

/// The program does not start, says these words, and leaves the files.
fn refused(programs: &Programs, options: &StandaloneOptions, words: &[&str]) -> Result<()> {
    let data = options.dir.join("data");
    let before = without_holder(files(&data)?);
    let mut system = programs.start_standalone(options)?;
    let status = system.server.wait(STOP_LIMIT)?;
    let output = system.server.output();
    ensure!(!status.success(), "it ended with success");
    let said: Vec<&str> = output
        .lines()
        .filter(|l| l.starts_with("ringmq: "))
        .collect();
    ensure!(said.len() == 1, "not one last sentence:\n{output}");
    for word in words {
        ensure!(said[0].contains(word), "no `{word}` in: {}", said[0]);
    }
    require_same(&before, &without_holder(files(&data)?)).context(said[0].to_owned())
}

fn fresh(programs: &Programs, name: &str) -> Result<StandaloneOptions> {
    let mut options = programs.options(name, &CONFIG)?;
    options.shards = 1;
    Ok(options)
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().context("it has a directory")?)?;
    Ok(fs::write(path, bytes)?)
}

fn java_store(programs: &Programs) -> Result<()> {
    let options = fresh(programs, "java")?;
    let data = options.dir.join("data");
    let mut log = vec![0, 0, 1, 0x2c, 0xda, 0xa3, 0x20, 0xa7];
    log.resize(64 << 10, 7);
    for (name, bytes) in [
        ("abort", &b"4711"[..]),
        ("checkpoint", &[0; 4_096]),
        ("lock", b"lock"),
        ("commitlog/00000000000000000000", &log),
        ("consumequeue/TopicTest/0/00000000000000000000", &[1; 6_000]),
        ("config/topics.json", b"{\"topicConfigTable\":{}}"),
        ("config/consumerOffset.json", b"{\"offsetTable\":{}}"),
        ("index/20260102030405006", &[2; 500]),
    ] {
        write(&data, name, bytes)?;
    }
    // Also who holds it is Java's: not a byte may change.
    let before = files(&data)?;
    let words = [
        "a store of Apache RocketMQ",
        "nothing was changed",
        "choose another",
    ];
    refused(programs, &options, &words)?;
    require_same(&before, &files(&data)?)
}

fn other_program(programs: &Programs) -> Result<()> {
    let options = fresh(programs, "other")?;
    let data = options.dir.join("data");
    for name in ["PG_VERSION", "base/1/2601", "lock", ".hidden"] {
        write(&data, name, b"15\n")?;
    }
    let before = files(&data)?;
    refused(
        programs,
        &options,
        &["holds other files (PG_VERSION", "choose an empty"],
    )?;
    require_same(&before, &files(&data)?)?;
    let options = fresh(programs, "no-layout")?;
    write(
        &options.dir.join("data"),
        "shard-000/commitlog/00000000000000000000",
        b"x",
    )?;
    refused(
        programs,
        &options,
        &["no file named layout", "restore that file"],
    )
}

/// A store that was stopped in order, to be copied by each case.
struct Template {
    data: PathBuf,
    /// The segment of the last message.
    last: u64,
}

fn template(programs: &Programs) -> Result<Template> {
    let options = fresh(programs, "template")?;
    let system = programs.standalone(&options)?;
    let mut connection = Connection::open(&system.broker)?;
    connection.create_topic(TOPIC, 1)?;
    for number in 0..COUNT {
        connection.send(TOPIC, 0, &body(number))?;
    }
    let end = connection.pull(TOPIC, 0, COUNT as i64 - 1)?;
    let last = end.units.first().context("the last message")?.phy_offset as u64 / SEGMENT_BYTES;
    drop(connection);
    system.server.terminate(STOP_LIMIT)?;
    ensure!(last >= 3, "the log has {} segments", last + 1);
    let data = options.dir.join("data");
    Ok(Template { data, last })
}

fn body(number: usize) -> Vec<u8> {
    let mut body = vec![number as u8; BODY_LEN];
    body[..8].copy_from_slice(&(number as u64).to_be_bytes());
    body
}

impl Template {
    fn copy(&self, programs: &Programs, name: &str) -> Result<StandaloneOptions> {
        let options = fresh(programs, name)?;
        let to = options.dir.join("data");
        tool(Command::new("cp").arg("-a").arg(&self.data).arg(to))?;
        Ok(options)
    }
}

fn segment(data: &Path, number: u64) -> PathBuf {
    let name = format!("{:020}", number * SEGMENT_BYTES);
    data.join("shard-000/commitlog").join(name)
}

/// The first segment at or after a number that is not there.
fn free_number(data: &Path, from: u64) -> Result<u64> {
    let free = (from..from + SEGMENTS_MAX).find(|number| !segment(data, *number).exists());
    free.context("there is a free name")
}

fn cut(path: &Path, len: u64) -> Result<()> {
    Ok(File::options().write(true).open(path)?.set_len(len)?)
}

/// Removes segments from a number on.
fn remove_from(data: &Path, first: u64) -> Result<()> {
    for number in first..first + SEGMENTS_MAX {
        let path = segment(data, number);
        if path.exists() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn remove_checkpoints(data: &Path) -> Result<()> {
    for slot in 0..2 {
        fs::remove_file(data.join(format!("shard-000/checkpoint-{slot}")))?;
    }
    Ok(())
}

fn damaged(programs: &Programs) -> Result<()> {
    let kept = template(programs)?;
    without_parts(programs, &kept)?;
    with_damage(programs, &kept)
}

/// What is missing, or foreign, is refused.
fn without_parts(programs: &Programs, kept: &Template) -> Result<()> {
    let refuse = |name: &str, words: &[&str], deed: &dyn Fn(&Path) -> Result<()>| {
        let options = kept.copy(programs, name)?;
        deed(&options.dir.join("data"))?;
        refused(programs, &options, words).with_context(|| name.to_owned())
    };
    refuse(
        "middle-gone",
        &[
            "segment 00000000000004194304 is missing",
            "restore it from a copy",
        ],
        &|data| Ok(fs::remove_file(segment(data, 1))?),
    )?;
    refuse(
        "checkpoint-past-the-log",
        &[
            "the log ends at 00000000000008388608",
            "safe up to",
            "restore them",
        ],
        &|data| remove_from(data, 2),
    )?;
    refuse(
        "no-log",
        &["the log ends at 00000000000000000000", "restore them"],
        &|data| remove_from(data, 0),
    )?;
    refuse(
        "another-file",
        &["it is no segment of a store", "move it elsewhere"],
        &|data| {
            let next = free_number(data, kept.last)?;
            Ok(fs::write(
                segment(data, next),
                b"#!/bin/sh\necho no segment\n",
            )?)
        },
    )
}

/// What is short or empty is read around.
fn with_damage(programs: &Programs, kept: &Template) -> Result<()> {
    let last = kept.last;
    let starts =
        |name: &str, lost: std::ops::RangeInclusive<usize>, deed: &dyn Fn(&Path) -> Result<()>| {
            let options = kept.copy(programs, name)?;
            deed(&options.dir.join("data"))?;
            reads_around(programs, &options, last, lost).with_context(|| name.to_owned())
        };
    // A segment of 4 MiB holds at most 128 of them.
    starts("middle-cut", 50..=128, &|data| {
        cut(&segment(data, 1), 1 << 20)
    })?;
    starts("middle-empty", 100..=128, &|data| cut(&segment(data, 1), 0))?;
    starts("last-cut", 1..=128, &|data| {
        cut(&segment(data, last), 128 << 10)
    })?;
    starts("ahead-empty", 0..=0, &|data| {
        let ahead = free_number(data, last + 1)?;
        Ok(fs::write(segment(data, ahead), b"")?)
    })?;
    starts("no-checkpoint", 0..=0, &remove_checkpoints)?;
    starts("empty-checkpoints", 0..=0, &|data| {
        cut(&data.join("shard-000/checkpoint-0"), 0)?;
        cut(&data.join("shard-000/checkpoint-1"), 0)
    })?;
    starts("no-ring-no-index", 0..=0, &|data| {
        for name in ["index", "keys"] {
            fs::remove_dir_all(data.join("shard-000").join(name))?;
        }
        Ok(())
    })
}

/// It starts, gives what is there in order with the right bytes, goes on at the next offset, and
/// the segments before the last one are the same afterwards.
fn reads_around(
    programs: &Programs,
    options: &StandaloneOptions,
    last: u64,
    lost: std::ops::RangeInclusive<usize>,
) -> Result<()> {
    let data = options.dir.join("data");
    let before = files(&data.join("shard-000/commitlog"))?;
    let system = programs.standalone(options)?;
    let mut connection = Connection::open(&system.broker)?;
    let numbers = readable(&mut connection)?;
    let missing = COUNT - numbers.len();
    ensure!(lost.contains(&missing), "{missing} messages are lost");
    let next = connection.send(TOPIC, 0, &body(COUNT))?;
    ensure!(next == COUNT as i64, "the next offset is {next}");
    drop(connection);
    if missing > 0 {
        let told = system.server.output();
        ensure!(
            told.contains("damaged"),
            "not a word of the damage:\n{told}"
        );
    }
    system.server.terminate(STOP_LIMIT)?;
    let after = files(&data.join("shard-000/commitlog"))?;
    for number in 0..last {
        let path = segment(&data, number);
        // A short segment gets its length again; one that lost its header gets one. Nothing else.
        let was = &before.get(&path).context("it was there")?.2;
        let is = &after
            .get(&path)
            .with_context(|| format!("{} is gone", path.display()))?
            .2;
        let grown = is.strip_prefix(was.as_slice());
        let is_kept = grown.is_some_and(|grown| grown.iter().all(|byte| *byte == 0));
        ensure!(was.is_empty() || is_kept, "{} has changed", path.display());
    }
    Ok(())
}

/// The numbers of all messages that can be read; their bytes are right and their order is kept.
fn readable(connection: &mut Connection) -> Result<Vec<usize>> {
    let mut numbers = Vec::new();
    let (mut next, end) = (0, connection.max_offset(TOPIC, 0)?);
    while next < end {
        let pulled = connection.pull(TOPIC, 0, next)?;
        ensure!(
            pulled.next_offset > next,
            "a pull from {next} stays: {pulled:?}"
        );
        next = pulled.next_offset;
        for unit in pulled.units {
            let number = unit.queue_offset as usize;
            ensure!(
                unit.body == body(number),
                "offset {number} has another body"
            );
            ensure!(
                numbers.last().is_none_or(|last| *last < number),
                "order at {number}"
            );
            numbers.push(number);
        }
    }
    Ok(numbers)
}

fn other_user(programs: &Programs) -> Result<()> {
    let kept = template(programs)?;
    let words = ["belongs to user 0", "runs as user 65534", "chown -R 65534"];
    let mut options = kept.copy(programs, "other-user")?;
    options.user = Some(NOBODY);
    refused(programs, &options, &words)?;
    let mut options = kept.copy(programs, "other-user-of-one")?;
    options.user = Some(NOBODY);
    let data = options.dir.join("data");
    tool(Command::new("chown").args(["-R", "65534"]).arg(&data))?;
    let one = segment(&data, 1);
    let chown = |user: &str| tool(Command::new("chown").arg(user).arg(&one));
    chown("0")?;
    tool(Command::new("chmod").arg("600").arg(&one))?;
    refused(
        programs,
        &options,
        &[&[one.to_str().unwrap_or_default()], &words[..]].concat(),
    )?;
    chown("65534")?;
    let system = programs.standalone(&options)?;
    let numbers = readable(&mut Connection::open(&system.broker)?)?;
    ensure!(numbers.len() == COUNT, "{} messages", numbers.len());
    system.server.terminate(STOP_LIMIT)
}

fn passing_file_systems(programs: &Programs) -> Result<()> {
    type Make = fn(&Path) -> Result<Mount>;
    let cases: [(&str, Make, &str); 2] = [
        ("tmpfs", Mount::tmpfs, "which is memory"),
        ("overlay", Mount::overlay, "the layers of a container"),
    ];
    for (name, make, warning) in cases {
        let dir = programs.fresh_dir(name)?;
        let mount = make(&dir)?;
        let data = mount.at.join("data");
        fs::create_dir_all(&data)?;
        let options = fresh(programs, &format!("{name}-conf"))?;
        let mut system = serve(programs, &options, &data)?;
        let mut connection = Connection::open(&system.broker)?;
        connection.create_topic(TOPIC, 1)?;
        for number in 0..COUNT {
            connection.send(TOPIC, 0, &body(number))?;
        }
        drop(connection);
        let told = system.server.output();
        ensure!(told.contains(warning), "{name}: no warning in:\n{told}");
        system.server.kill()?;
        system = serve(programs, &options, &data)?;
        let numbers = readable(&mut Connection::open(&system.broker)?)?;
        ensure!(numbers.len() == COUNT, "{name}: {} messages", numbers.len());
        system.server.terminate(STOP_LIMIT)?;
    }
    Ok(())
}

fn serve(programs: &Programs, options: &StandaloneOptions, data: &Path) -> Result<Standalone> {
    let mut system = start_on(programs, options, data)?;
    let namesrv = system.namesrv.clone();
    system.server.wait_route(&namesrv, CLUSTER, START_LIMIT)?;
    Ok(system)
}

fn second_process(programs: &Programs) -> Result<()> {
    let options = fresh(programs, "held")?;
    let first = programs.standalone(&options)?;
    let mut connection = Connection::open(&first.broker)?;
    connection.create_topic(TOPIC, 1)?;
    connection.send(TOPIC, 0, &body(0))?;
    let names = |dir: &Path| -> Result<Vec<PathBuf>> { Ok(files(dir)?.into_keys().collect()) };
    let data = options.dir.join("data");
    let (held_by, before) = (fs::read(data.join("lock"))?, names(&data)?);
    let mut other = fresh(programs, "held-other")?;
    other.dir.clone_from(&options.dir);
    let mut second = programs.start_standalone(&other)?;
    let status = second.server.wait(STOP_LIMIT)?;
    let output = second.server.output();
    let said = format!("in use by another process (pid {})", first.server.id());
    ensure!(
        !status.success() && output.contains(&said),
        "no `{said}` in:\n{output}"
    );
    ensure!(
        fs::read(data.join("lock"))? == held_by,
        "the lock names another holder"
    );
    ensure!(names(&data)? == before, "files came or went");
    connection.send(TOPIC, 0, &body(1))?;
    ensure!(readable(&mut connection)? == [0, 1]);
    drop(connection);
    first.server.terminate(STOP_LIMIT)
}

fn stale_probes(programs: &Programs) -> Result<()> {
    let options = fresh(programs, "probes")?;
    programs
        .standalone(&options)?
        .server
        .terminate(STOP_LIMIT)?;
    let data = options.dir.join("data");
    for dir in [data.clone(), data.join("shard-000/commitlog")] {
        write(&dir, ".probe-4242-0", &[0x5a; 16_384])?;
        write(&dir, ".probe-x", b"kept")?;
    }
    programs
        .standalone(&options)?
        .server
        .terminate(STOP_LIMIT)?;
    for dir in [data.clone(), data.join("shard-000/commitlog")] {
        ensure!(
            !dir.join(".probe-4242-0").exists(),
            "an old probe file stays"
        );
        ensure!(
            dir.join(".probe-x").exists(),
            "a file of somebody else is gone"
        );
    }
    Ok(())
}
