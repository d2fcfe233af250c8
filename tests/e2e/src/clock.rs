//! A real clock that was a year ahead, and is right again: what is stored lies in the future.
//!
//! The program runs with a library loaded before the system's (`LD_PRELOAD`), made with the system's
//! C compiler, that shifts `CLOCK_REALTIME` alone. What must always hold: the check fails where the
//! shift has no effect.

use crate::mounts::tool;
use crate::report::Report;
use anyhow::{Context, Result, ensure};
use harness::programs::{Programs, STOP_LIMIT};
use harness::server::pause;
use harness::wire::{Connection, SEND_MESSAGE_V2, SUCCESS};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SUITE: &str = "clock";
const TOPIC: &str = "Kept";
const YEAR_S: i64 = 365 * 24 * 3_600;
const COUNT: i64 = 20;
const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
const GET_EARLIEST_MSG_STORETIME: i32 = 32;
/// A delay of five seconds is over by then, also for a broker of a development build.
const DELIVERY_LIMIT: Duration = Duration::from_secs(15);

const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int answer = syscall(SYS_clock_gettime, clock, now);
    const char *shift = getenv("RINGMQ_E2E_SHIFT");
    if (answer == 0 && clock == CLOCK_REALTIME && shift) now->tv_sec += atol(shift);
    return answer;
}
"#;

pub(crate) fn run(report: &mut Report, programs: &Programs) {
    let name = "a_clock_that_fell_back_a_year_delays_nothing_and_removes_nothing";
    report.check(SUITE, name, || fell_back(programs));
}

fn shim(dir: &Path) -> Result<PathBuf> {
    let (source, library) = (dir.join("shift.c"), dir.join("shift.so"));
    fs::write(&source, SHIFT)?;
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source);
    tool(&mut compiler).context("the check wants a C compiler named cc")?;
    Ok(library)
}

fn now_ms() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64)
}

fn fell_back(programs: &Programs) -> Result<()> {
    let mut options = programs.options("clock", &["flushDiskType=SYNC_FLUSH"])?;
    options.environment = vec![
        ("LD_PRELOAD", shim(&options.dir)?.display().to_string()),
        ("RINGMQ_E2E_SHIFT", YEAR_S.to_string()),
    ];
    let system = programs.standalone(&options)?;
    let mut connection = Connection::open(&system.broker)?;
    connection.create_topic(TOPIC, 1)?;
    for number in 0..COUNT {
        connection.send(TOPIC, 0, &number.to_be_bytes())?;
    }
    send_delayed(&mut connection, b"late")?;
    let fields = [("topic", TOPIC), ("queueId", "0")];
    let stored = connection.call(GET_EARLIEST_MSG_STORETIME, &fields, &[])?;
    let ahead_ms = stored.expect(SUCCESS)?.number("timestamp")? - now_ms()?;
    ensure!(
        ahead_ms > YEAR_S * 900,
        "the clock is {ahead_ms} ms ahead: is the program linked statically?"
    );
    drop(connection);
    system.server.kill()?;

    options.environment.clear();
    let begin_ms = now_ms()?;
    let system = programs.standalone(&options)?;
    let mut connection = Connection::open(&system.broker)?;
    wait_for(&mut connection, COUNT, b"late")?;
    send_delayed(&mut connection, b"later")?;
    wait_for(&mut connection, COUNT + 1, b"later")?;
    let units = connection.pull_all(TOPIC, 0, 0)?;
    let bodies = units.iter().zip(0..COUNT);
    ensure!(
        units.len() as i64 == COUNT + 2 && bodies.clone().all(|(u, n)| u.body == n.to_be_bytes()),
        "{} messages are there",
        units.len()
    );
    // What was stored since the start is not left out by a search for it.
    let timestamp = begin_ms.to_string();
    let fields = [
        ("topic", TOPIC),
        ("queueId", "0"),
        ("timestamp", &timestamp),
    ];
    let found = connection.call(SEARCH_OFFSET_BY_TIMESTAMP, &fields, &[])?;
    let found = found.expect(SUCCESS)?.number("offset")?;
    ensure!(found <= COUNT, "the search gives {found}");
    drop(connection);
    system.server.terminate(STOP_LIMIT)
}

/// Delay level 2: five seconds.
fn send_delayed(connection: &mut Connection, body: &[u8]) -> Result<()> {
    let mut fields = harness::client::send_fields(TOPIC, "0");
    fields[8].1 = "DELAY\u{1}2\u{2}";
    connection
        .call(SEND_MESSAGE_V2, &fields, body)?
        .expect(SUCCESS)?;
    Ok(())
}

fn wait_for(connection: &mut Connection, offset: i64, body: &[u8]) -> Result<()> {
    let end = Instant::now() + DELIVERY_LIMIT;
    while connection.max_offset(TOPIC, 0)? <= offset {
        ensure!(Instant::now() < end, "{} did not come", body.escape_ascii());
        pause(50);
    }
    let pulled = connection.pull(TOPIC, 0, offset)?;
    ensure!(
        pulled.units.first().is_some_and(|unit| unit.body == body),
        "{pulled:?}"
    );
    Ok(())
}
