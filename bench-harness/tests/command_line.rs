//! What a user types wrong, or lacks: a sentence on standard error and an exit code that is not 0.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of one test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ringmq-bench-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bench(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-bench"));
    command.args(words).current_dir(dir);
    command
}

fn refused(mut command: Command, sentence: &str) {
    let output = command.output().unwrap();
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(sentence), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_wrong_name_is_answered_with_the_nearest_ones() {
    let dir = Dir::new("names");
    refused(
        bench(&dir.0, &["run", "P1-tptu"]),
        "did you mean P1-tput-128-async",
    );
    refused(bench(&dir.0, &["suite", "cor"]), "there is no scenario cor");
    refused(bench(&dir.0, &["run", "P1", "sise=5"]), "did you mean size");
    refused(
        bench(&dir.0, &["run", "P1", "--broker", "apache:6"]),
        "there is apache:5.5.0",
    );
    refused(bench(&dir.0, &["run", "T1"]), "it needs transactions");
    refused(
        bench(&dir.0, &["report", "nowhere"]),
        "there are no results at nowhere",
    );
    assert!(
        !dir.0.join("bench-results").exists(),
        "nothing is left of what never ran"
    );
}

#[test]
fn every_scenario_is_listed_with_what_it_needs() {
    let dir = Dir::new("list");
    let output = bench(&dir.0, &["list"]).output().unwrap();
    let text = said(&output);
    assert!(output.status.success());
    for name in [
        "P1-tput-128-async",
        "C2-catchup-cold",
        "H1-repl-sync",
        "needs replication",
    ] {
        assert!(text.contains(name), "{text}");
    }
    let one = said(&bench(&dir.0, &["list", "P4"]).output().unwrap());
    assert!(
        one.contains("flush = sync") && one.contains("256 in flight"),
        "{one}"
    );
}

#[test]
fn a_broker_that_nobody_reaches_is_told_with_its_address() {
    let dir = Dir::new("unreachable");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let sentence = format!("no broker answers at {address}");
    refused(
        bench(&dir.0, &["run", "P1", "--short", "--address", &address]),
        &sentence,
    );
}

#[test]
fn a_program_or_a_jvm_that_is_missing_is_told_with_what_to_do() {
    let dir = Dir::new("missing");
    let empty = dir.0.join("empty");
    fs::create_dir(&empty).unwrap();
    refused(
        bench(
            &dir.0,
            &["run", "P1", "--broker", "ringmq:./no-such-program"],
        ),
        "there is no ringmq at",
    );
    let mut without_java = bench(
        &dir.0,
        &["run", "P1", "--short", "--broker", "apache:5.5.0"],
    );
    without_java.env("PATH", &empty);
    refused(
        without_java,
        "java is missing: to start Apache RocketMQ the harness needs a JDK 17",
    );
}

#[test]
fn a_full_disk_for_results_is_told_and_what_is_there_stays() {
    let dir = Dir::new("full");
    let out = dir.0.join("bench-results");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("earlier.txt"), "kept").unwrap();
    // The file beside the place of the result leads to a device that is always full.
    symlink("/dev/full", out.join("selftest.json.part")).unwrap();
    let mut command = bench(&dir.0, &["selftest", "--short"]);
    command.env("PATH", "/usr/bin:/bin");
    refused(
        command,
        "cannot write the result bench-results/selftest.json (is the disk full?)",
    );
    assert_eq!(fs::read_to_string(out.join("earlier.txt")).unwrap(), "kept");
    assert!(!out.join("selftest.json").exists(), "half a result is none");
}

#[test]
fn a_directory_for_results_that_cannot_be_made_is_told_before_anything_runs() {
    let dir = Dir::new("file");
    fs::write(dir.0.join("taken"), "").unwrap();
    let words = ["selftest", "--short", "--out", "taken/results"];
    refused(
        bench(&dir.0, &words),
        "cannot make the directory for results",
    );
}
