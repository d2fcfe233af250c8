//! Clocks of other machines: one that was a year ahead and is right again, so that what is stored lies
//! in the future, and one that takes long to read, as on virtual machines without a usable counter.
//!
//! The program runs with a library loaded before the system's (`LD_PRELOAD`), made with the system's
//! C compiler, that shifts `CLOCK_REALTIME` or slows every look at a clock. What must always hold: a
//! check fails where the library has no effect.

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
/// Some of the slow clock devices of virtual machines take as long.
const SLOW_NS: i64 = 10_000;
const COUNT: i64 = 20;
const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
const GET_EARLIEST_MSG_STORETIME: i32 = 32;
/// A delay of five seconds is over by then, also for a broker of a development build.
const DELIVERY_LIMIT: Duration = Duration::from_secs(15);

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}
static long long ns(const struct timespec *time) { return time->tv_sec * 1000000000LL + time->tv_nsec; }
int clock_gettime(clockid_t clock, struct timespec *now) {
    struct timespec begun;
    int answer = syscall(SYS_clock_gettime, clock, now);
    long slow = number("RINGMQ_E2E_CLOCK_NS");
    begun = *now;
    while (answer == 0 && slow > 0 && ns(now) < ns(&begun) + slow) answer = syscall(SYS_clock_gettime, clock, now);
    if (answer == 0 && clock == CLOCK_REALTIME) now->tv_sec += number("RINGMQ_E2E_SHIFT");
    return answer;
}
"#;

pub(crate) fn run(report: &mut Report, programs: &Programs) {
    let name = "a_clock_that_fell_back_a_year_delays_nothing_and_removes_nothing";
    report.check(SUITE, name, || fell_back(programs));
    let name = "a_clock_that_takes_ten_microseconds_to_read_stops_nothing";
    report.check(SUITE, name, || slow(programs));
}

/// The variables that load the library, with what it is to do.
fn with_library(dir: &Path, name: &'static str, value: i64) -> Result<Vec<(&'static str, String)>> {
    let library = library(dir)?.display().to_string();
    Ok(vec![("LD_PRELOAD", library), (name, value.to_string())])
}

fn library(dir: &Path) -> Result<PathBuf> {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    fs::write(&source, LIBRARY)?;
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
    options.environment = with_library(&options.dir, "RINGMQ_E2E_SHIFT", YEAR_S)?;
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

fn slow(programs: &Programs) -> Result<()> {
    let mut options = programs.options("slow-clock", &["flushDiskType=SYNC_FLUSH"])?;
    options.environment = with_library(&options.dir, "RINGMQ_E2E_CLOCK_NS", SLOW_NS)?;
    let system = programs.standalone(&options)?;
    let mut connection = Connection::open(&system.broker)?;
    connection.create_topic(TOPIC, 1)?;
    for number in 0..COUNT {
        connection.send(TOPIC, 0, &number.to_be_bytes())?;
    }
    let units = connection.pull_all(TOPIC, 0, 0)?;
    ensure!(units.len() as i64 == COUNT, "{} messages", units.len());
    let maps = fs::read_to_string(format!("/proc/{}/maps", system.server.id()))?;
    ensure!(
        maps.contains("clock.so"),
        "is the program linked statically?"
    );
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
