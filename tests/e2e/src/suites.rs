//! The real clients: each suite is a program that prints `PASS name ms` or `FAIL name reason`.
//!
//! What must always hold: a suite that runs fewer or more checks than it should is a failure, and
//! so is one that does not end.

use crate::packages::Packages;
use crate::report::Report;
use anyhow::{Result, anyhow, ensure};
use harness::programs::{Programs, STOP_LIMIT};
use harness::server::{RUN_VARIABLE, Server, run_id};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) const NAMES: &[&str] = &[
    "quickstart",
    "java-5.5.0",
    "java-4.9.8",
    "java-4.8.0",
    "java-5.5.0-binary-headers",
    "mqadmin-5.5.0",
    "pop-java-5.5.0",
    "go-2.1.2",
    "python-0.4.4",
    "node-ali-ons",
    crate::cluster::JAVA_SUITE,
];

/// How the system under test asks producers of transactions; the checks of transactions rely on it.
pub(crate) const TRANSACTION_KEYS: [&str; 3] = [
    "transactionTimeOut=1000",
    "transactionCheckInterval=2000",
    "transactionCheckMax=3",
];
const JAVA_CHECKS: usize = 44;
const MQADMIN_CHECKS: usize = 28;
const POP_CHECKS: usize = 10;
const GO_CHECKS: usize = 7;
const PYTHON_CHECKS: usize = 6;
const NODE_CHECKS: usize = 4;
const SUITE_LIMIT: Duration = Duration::from_mins(4);
const QUICKSTART_MESSAGES: usize = 1000;

/// Where a suite finds the system.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) namesrv: String,
    pub(crate) broker: String,
}

/// Runs every client against one standalone system with two shards.
pub(crate) fn run(report: &mut Report, packages: &Packages, programs: &Programs) -> Result<()> {
    let mut keys = vec!["enablePropertyFilter=true"];
    keys.extend(TRANSACTION_KEYS);
    let options = programs.options("clients", &keys)?;
    let system = programs.standalone(&options)?;
    let target = Target {
        namesrv: system.namesrv.clone(),
        broker: system.broker.clone(),
    };
    run_against(report, packages, &target)?;
    report.check(
        "quickstart",
        "the_broker_stops_cleanly_after_all_clients",
        || system.server.terminate(STOP_LIMIT),
    );
    Ok(())
}

/// Runs every client against a system that is up.
pub(crate) fn run_against(report: &mut Report, packages: &Packages, target: &Target) -> Result<()> {
    report.check(
        "quickstart",
        "the_unmodified_examples_send_and_receive_a_thousand",
        || quickstart(packages, target),
    );
    for version in ["5.5.0", "4.9.8", "4.8.0"] {
        let java = packages.java(&format!("client-{version}"), &[], "ringmq.e2e.Suite")?;
        suite(
            report,
            &format!("java-{version}"),
            java,
            target,
            JAVA_CHECKS,
        );
    }
    let java = packages.java(
        "client-5.5.0",
        &["-Drocketmq.serialize.type=ROCKETMQ"],
        "ringmq.e2e.Suite",
    )?;
    suite(
        report,
        "java-5.5.0-binary-headers",
        java,
        target,
        JAVA_CHECKS,
    );
    let admin = packages.java("official-5.5.0", &[], "ringmq.e2e.admin.AdminSuite")?;
    suite(report, "mqadmin-5.5.0", admin, target, MQADMIN_CHECKS);
    let pop = packages.java("official-5.5.0", &[], "ringmq.e2e.admin.PopSuite")?;
    suite(report, "pop-java-5.5.0", pop, target, POP_CHECKS);
    suite(report, "go-2.1.2", packages.go(), target, GO_CHECKS);
    suite(
        report,
        "python-0.4.4",
        packages.python(),
        target,
        PYTHON_CHECKS,
    );
    suite(report, "node-ali-ons", packages.node(), target, NODE_CHECKS);
    Ok(())
}

fn suite(report: &mut Report, name: &str, command: Command, target: &Target, expected: usize) {
    if !report.wants(name) {
        return;
    }
    let mut command = command;
    let wanted = report.wanted_check().to_owned();
    if !wanted.is_empty() {
        if name.starts_with("java") {
            command.arg("--only");
        }
        command.arg(&wanted);
    }
    let mut ran = 0;
    let ended = lines_of(command, target, |line| {
        let mut words = line.splitn(3, ' ');
        let kind = words.next().unwrap_or_default();
        let check = words.next().unwrap_or_default().to_owned();
        let rest = words.next().unwrap_or_default().to_owned();
        match kind {
            "PASS" => report.line(name, &check, Ok(rest.parse().unwrap_or_default())),
            "FAIL" => report.line(name, &check, Err(anyhow!("{rest}"))),
            _ => return,
        }
        ran += 1;
    });
    if let Err(error) = ended {
        report.line(name, "the suite ends by itself", Err(error));
    }
    if wanted.is_empty() && ran != expected {
        let error = anyhow!("{ran} checks ran, {expected} should have");
        report.line(name, "every check of the suite ran", Err(error));
    }
}

/// Runs a program and hands its lines over as they come; an error when it does not end in time.
pub(crate) fn lines_of(
    mut command: Command,
    target: &Target,
    mut line: impl FnMut(&str),
) -> Result<()> {
    command
        .env("NAMESRV_ADDR", &target.namesrv)
        .env("BROKER_ADDR", &target.broker)
        .env(RUN_VARIABLE, run_id())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .map_err(|e| anyhow!("cannot start {command:?}: {e}"))?;
    let out = child
        .stdout
        .take()
        .ok_or_else(|| anyhow!("stdout is piped"))?;
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for text in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + SUITE_LIMIT;
    let timed_out = loop {
        let left = end.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left) {
            Ok(text) => line(&text),
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
            Err(mpsc::RecvTimeoutError::Timeout) => break true,
        }
    };
    if timed_out {
        child.kill()?;
    }
    child.wait()?;
    // The reader ends with the pipe.
    let _ = reader.join();
    ensure!(!timed_out, "it was still running after {SUITE_LIMIT:?}");
    Ok(())
}

/// `org.apache.rocketmq.example.quickstart.Producer` and `Consumer`, as they are.
fn quickstart(packages: &Packages, target: &Target) -> Result<()> {
    let example = |class: &str| {
        packages.java(
            "official-5.5.0",
            &[],
            &format!("org.apache.rocketmq.example.quickstart.{class}"),
        )
    };
    let mut sent = 0;
    let mut other = Vec::new();
    lines_of(example("Producer")?, target, |line| {
        if line.contains("sendStatus=SEND_OK") {
            sent += 1;
        } else {
            other.push(line.to_owned());
        }
    })?;
    ensure!(
        sent == QUICKSTART_MESSAGES,
        "the producer printed SEND_OK {sent} times; also: {other:?}"
    );
    let dir = std::env::temp_dir().join(format!("ringmq-e2e-{}", run_id()));
    let mut command = example("Consumer")?;
    command.env("NAMESRV_ADDR", &target.namesrv);
    let consumer = Server::start(command, "consumer", &dir)?;
    let received = || consumer.output().matches("Receive New Messages").count();
    let end = Instant::now() + Duration::from_mins(1);
    while received() < QUICKSTART_MESSAGES && Instant::now() < end {
        harness::server::pause(100);
    }
    harness::server::pause(500);
    let count = received();
    drop(consumer);
    std::fs::remove_dir_all(&dir)?;
    ensure!(
        count == QUICKSTART_MESSAGES,
        "the consumer received {count} messages"
    );
    Ok(())
}
