//! How the process dies on purpose: a shard that panics or stands still takes it down, loudly.
//!
//! Each test starts this program again as a child, which does the deed.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use base::ShardId;
use rt::Rt;
use rt_glommio::{GlommioMesh, Options, run};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::time::Duration;

const DEED: &str = "RT_GLOMMIO_TEST_DEED";

fn child(deed: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    Command::new(program)
        .args(["--exact", "the_child_does_its_deed"])
        .env(DEED, deed)
        .output()
        .unwrap()
}

#[test]
fn the_child_does_its_deed() {
    let Ok(deed) = std::env::var(DEED) else {
        return; // not a child: the other tests start it
    };
    let mut options = Options::new(2);
    options.stall_limit = Some(Duration::from_millis(1_500));
    let running = run(&options, |rt, _: GlommioMesh<()>, ready, stop| async move {
        ready.report();
        rt.sleep(Duration::from_millis(20)).await;
        if rt.shard() == ShardId::new(1) {
            match deed.as_str() {
                "panic" => panic!("on purpose"),
                "stall" => std::thread::sleep(Duration::from_mins(1)),
                other => return Err(format!("no such deed: {other}")),
            }
        }
        stop.stopped().await;
        Ok(())
    });
    let running = running.unwrap_or_else(|error| panic!("{error}"));
    running.join().unwrap();
}

fn check(deed: &str, expected: &[&str]) {
    let output = child(deed);
    let said = String::from_utf8_lossy(&output.stderr);
    let aborted = nix::libc::SIGABRT;
    assert_eq!(output.status.signal(), Some(aborted), "{said}");
    for part in expected {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn too_little_locked_memory_is_refused_in_words() {
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -l 256 && exec \"$0\" \"$@\""])
        .arg(program)
        .args(["--exact", "the_child_does_its_deed", "--nocapture"])
        .env(DEED, "start")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("(RLIMIT_MEMLOCK) is 256 KiB, and at least 512 KiB"),
        "{said}"
    );
}

#[test]
fn a_panic_on_a_shard_aborts_the_process_and_names_the_place() {
    check(
        "panic",
        &["fatal: shard 1 panicked", "tests/death.rs", "on purpose"],
    );
}

#[test]
fn a_shard_that_stands_still_aborts_the_process_and_is_named() {
    check("stall", &["fatal: shard 1 has not moved for 1.5 s"]);
}
