//! Starting, stopping and refusing to start: what a person sees of the process itself.

use crate::report::Report;
use anyhow::{Result, ensure};
use harness::programs::{Programs, START_LIMIT, STOP_LIMIT};
use harness::server::pause;
use harness::wire::{Connection, SUCCESS};
use std::fs;
use std::time::{Duration, Instant};

const SUITE: &str = "standalone";
const FIRST_SEND_LIMIT: Duration = Duration::from_secs(1);
const IDLE_BYTES_MAX: u64 = 64 << 20;
const IDLE_CPU_PERCENT_MAX: f64 = 1.0;

pub(crate) fn run(report: &mut Report, programs: &Programs) {
    report.check(
        SUITE,
        "the_first_lines_are_those_that_scripts_look_for",
        || boot_lines(programs),
    );
    report.check(
        SUITE,
        "a_send_is_acknowledged_within_a_second_of_the_start",
        || first_send(programs),
    );
    report.check(SUITE, "it_idles_in_little_memory_and_no_cpu", || {
        idle(programs)
    });
    report.check(
        SUITE,
        "sigterm_flushes_and_a_restart_finds_everything",
        || restart(programs),
    );
    report.check(
        SUITE,
        "a_second_process_on_the_same_data_is_refused",
        || second_process(programs),
    );
    report.check(SUITE, "a_port_in_use_is_named", || port_in_use(programs));
    report.check(
        SUITE,
        "another_number_of_shards_on_the_same_data_is_refused",
        || other_shards(programs),
    );
    report.check(
        SUITE,
        "a_misspelt_key_is_named_and_a_bad_value_refused",
        || bad_configuration(programs),
    );
}

fn boot_lines(programs: &Programs) -> Result<()> {
    let system = programs.standalone(&programs.options("boot", &[])?)?;
    let broker = format!(
        "{}] boot success. serializeType=JSON and name server is ",
        system.broker
    );
    let lines = [
        "The Name Server boot success. serializeType=JSON",
        "The broker[",
        &broker,
    ];
    // The route is there a moment before the lines are.
    let end = Instant::now() + Duration::from_secs(2);
    let mut output = system.server.output();
    while !lines.iter().all(|line| output.contains(line)) {
        ensure!(Instant::now() < end, "not all of {lines:?} in:\n{output}");
        pause(20);
        output = system.server.output();
    }
    system.server.terminate(STOP_LIMIT)
}

fn first_send(programs: &Programs) -> Result<()> {
    // The best of three: another process may hold the processors of a small machine for a while.
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let options = programs.options("first-send", &["flushDiskType=SYNC_FLUSH"])?;
        let start = Instant::now();
        let mut system = programs.start_standalone(&options)?;
        loop {
            system.server.require_running()?;
            let sent = Connection::open(&system.broker)
                .and_then(|mut connection| connection.send("TopicTest", 0, b"first"));
            if sent.is_ok() {
                break;
            }
            ensure!(start.elapsed() < START_LIMIT, "no send was acknowledged");
            pause(5);
        }
        best = best.min(start.elapsed());
        system.server.terminate(STOP_LIMIT)?;
        if best < FIRST_SEND_LIMIT {
            return Ok(());
        }
    }
    ensure!(
        best < FIRST_SEND_LIMIT,
        "the first acknowledgement came after {best:?}"
    );
    Ok(())
}

fn idle(programs: &Programs) -> Result<()> {
    let mut options = programs.options("idle", &[])?;
    options.shards = 1;
    let system = programs.standalone(&options)?;
    pause(2000);
    let ticks = cpu_ticks(system.server.id())?;
    let start = Instant::now();
    pause(5000);
    let used = cpu_ticks(system.server.id())? - ticks;
    // The kernel counts processor time in hundredths of a second.
    let percent = used as f64 / start.elapsed().as_secs_f64();
    let resident = system.server.resident_bytes()?;
    system.server.terminate(STOP_LIMIT)?;
    ensure!(
        resident <= IDLE_BYTES_MAX,
        "it holds {} MiB",
        resident >> 20
    );
    ensure!(
        percent <= IDLE_CPU_PERCENT_MAX,
        "it uses {percent:.2} % of a processor"
    );
    Ok(())
}

fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // utime and stime are fields 14 and 15; the name in field 2 may hold spaces.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

fn restart(programs: &Programs) -> Result<()> {
    let options = programs.options("restart", &[])?;
    let system = programs.standalone(&options)?;
    let mut connection = Connection::open(&system.broker)?;
    connection.create_topic("Kept", 2)?;
    for i in 0..200 {
        connection.send("Kept", i % 2, format!("kept {i}").as_bytes())?;
    }
    connection.heartbeat("CID_kept", "Kept")?;
    connection.commit("CID_kept", "Kept", 1, 42)?;
    drop(connection);
    system.server.terminate(STOP_LIMIT)?;
    let system = programs.standalone(&options)?;
    let mut connection = Connection::open(&system.broker)?;
    for queue in 0..2 {
        let units = connection.pull_all("Kept", queue, 0)?;
        ensure!(
            units.len() == 100,
            "queue {queue} has {} messages",
            units.len()
        );
        for (i, unit) in units.iter().enumerate() {
            let expected = format!("kept {}", i as i32 * 2 + queue);
            ensure!(
                unit.queue_offset == i as i64 && unit.body == expected.as_bytes(),
                "queue {queue}, offset {i}: {unit:?}"
            );
        }
    }
    let offset = connection.committed("CID_kept", "Kept", 1)?;
    ensure!(offset == 42, "the committed offset is {offset}");
    ensure!(!system.route("Kept")?.is_empty(), "the topic has no route");
    system.server.terminate(STOP_LIMIT)
}

fn second_process(programs: &Programs) -> Result<()> {
    let options = programs.options("second", &[])?;
    let first = programs.standalone(&options)?;
    let mut other = programs.options("second-other", &[])?;
    other.dir.clone_from(&options.dir);
    let mut second = programs.start_standalone(&other)?;
    let status = second.server.wait(STOP_LIMIT)?;
    let output = second.server.output();
    ensure!(!status.success(), "a second process ran on the same data");
    ensure!(
        output.contains("lock") || output.contains("in use"),
        "no word about the lock in:\n{output}"
    );
    let answer = Connection::open(&first.broker)?.try_send("TopicTest", 0, b"still here")?;
    ensure!(answer.code == SUCCESS, "the first one answers {answer:?}");
    first.server.terminate(STOP_LIMIT)
}

fn port_in_use(programs: &Programs) -> Result<()> {
    let first = programs.standalone(&programs.options("port", &[])?)?;
    let mut options = programs.options("port-other", &[])?;
    options.broker_port = first
        .broker
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .parse()?;
    let mut second = programs.start_standalone(&options)?;
    let status = second.server.wait(STOP_LIMIT)?;
    let output = second.server.output();
    ensure!(!status.success(), "two processes share a port");
    let port = options.broker_port.to_string();
    ensure!(
        output.contains(&port),
        "the port {port} is not named in:\n{output}"
    );
    first.server.terminate(STOP_LIMIT)
}

fn other_shards(programs: &Programs) -> Result<()> {
    let mut options = programs.options("shards", &[])?;
    programs
        .standalone(&options)?
        .server
        .terminate(STOP_LIMIT)?;
    options.shards = 3;
    let mut second = programs.start_standalone(&options)?;
    let status = second.server.wait(STOP_LIMIT)?;
    let output = second.server.output();
    ensure!(!status.success(), "two shards' data opened with three");
    ensure!(
        output.contains("shard"),
        "no word about shards in:\n{output}"
    );
    Ok(())
}

fn bad_configuration(programs: &Programs) -> Result<()> {
    // Java passes over unknown keys; here the nearest name is said.
    let typo = programs.standalone(&programs.options("typo", &["flushDiskTyp=SYNC_FLUSH"])?)?;
    let output = typo.server.output();
    ensure!(
        output.contains("flushDiskTyp\"") && output.contains("flushDiskType\""),
        "no nearest name in:\n{output}"
    );
    typo.server.terminate(STOP_LIMIT)?;
    let refused = |line: &str, words: &[&str]| -> Result<()> {
        let mut system = programs.start_standalone(&programs.options("config", &[line])?)?;
        let status = system.server.wait(STOP_LIMIT)?;
        let output = system.server.output();
        ensure!(!status.success(), "`{line}` was taken");
        for word in words {
            ensure!(output.contains(word), "no `{word}` in:\n{output}");
        }
        Ok(())
    };
    refused(
        "flushDiskType=SOMETIMES",
        &["flushDiskType", "SOMETIMES", "SYNC_FLUSH"],
    )?;
    refused("maxMessageSize=big", &["maxMessageSize", "big"])
}
