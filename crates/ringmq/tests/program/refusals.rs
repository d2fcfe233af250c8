//! Starts that fail: one clear sentence, and an exit code that is not zero.

use crate::support::{Dir, Process, outcome, ringmq};
use nix::sys::signal::Signal;
use std::process::Command;

fn check(command: Command, code: i32, expected: &[&str]) {
    let (actual, out, errors) = outcome(command);
    assert_eq!((actual, out.as_str()), (Some(code), ""), "{errors}");
    for text in expected {
        assert!(errors.contains(text), "{text} is not in {errors}");
    }
}

#[test]
fn a_bad_file_is_refused_with_every_line_that_is_wrong() {
    let dir = Dir::new("bad-config");
    let conf = dir.file(
        "broker.conf",
        "listenPort=abc\n# fine\nflushDiskType=SOMETIMES\nenableDLegerCommitLog=true\n",
    );
    let expected = [
        "broker.conf, line 1: listenPort: \"abc\" is not a whole number from 3 to 65535",
        "broker.conf, line 3: flushDiskType: \"SOMETIMES\" is not SYNC_FLUSH or ASYNC_FLUSH",
        "broker.conf, line 4: enableDLegerCommitLog=true: DLedger groups are not served",
    ];
    check(ringmq(&dir, &["broker", "-c", &conf]), 1, &expected);
    check(ringmq(&dir, &["standalone", "-c", &conf]), 1, &expected);
    let missing = ringmq(&dir, &["namesrv", "-c", "missing.conf"]);
    check(
        missing,
        1,
        &["cannot read the configuration file missing.conf"],
    );
    check(
        ringmq(&dir, &["broker", "--shards", "0"]),
        1,
        &["shards: \"0\" is not auto or"],
    );
    check(
        ringmq(&dir, &["broker", "-n", "nowhere"]),
        253,
        &["namesrvAddr: \"nowhere\" is not"],
    );
    let unknown = ringmq(&dir, &["broker", "-n", "no.such.host.invalid:9876"]);
    check(unknown, 253, &["no.such.host.invalid:9876 cannot be found"]);
    let level = ringmq(&dir, &["broker", "--log-level", "a=b=c"]);
    check(level, 1, &["log level \"a=b=c\""]);
    assert!(!dir.path().join("store").exists(), "nothing was made");
}

#[test]
fn a_second_program_is_told_who_has_the_directory_and_the_ports() {
    let dir = Dir::new("taken");
    let standalone = |data: &str, listen: &str, namesrv: &str| {
        let arguments = [
            "standalone",
            "--data",
            data,
            "--listen-port",
            listen,
            "--namesrv-port",
            namesrv,
        ];
        ringmq(&dir, &arguments)
    };
    let first = Process::start(standalone("one", "23132", "23133"), "data");
    let owner = format!("process {} (", first.id());
    let holder = format!("in use by another process (pid {})", first.id());
    check(
        standalone("one", "23136", "23137"),
        1,
        &["one/lock", &holder],
    );
    check(
        standalone("two", "23132", "23137"),
        1,
        &["0.0.0.0:23132 is in use by", &owner],
    );
    check(
        standalone("two", "23134", "23137"),
        1,
        &["0.0.0.0:23132 is in use by", &owner],
    );
    check(
        standalone("two", "23136", "23133"),
        1,
        &["0.0.0.0:23133 is in use by", &owner],
    );
    let (code, errors) = first.stop(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{errors}");

    let mut other_count = standalone("one", "23132", "23133");
    other_count.args(["--shards", "2"]);
    check(
        other_count,
        1,
        &["made with 1 shard", "cannot be opened with 2"],
    );
    let again = Process::start(standalone("one", "23132", "23133"), "data");
    assert_eq!(again.stop(Signal::SIGTERM).0, Some(0));
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = Dir::new("bad-dir");
    dir.file("file", "");
    let data = |data: &str| {
        let arguments = [
            "standalone",
            "--data",
            data,
            "--listen-port",
            "23142",
            "--namesrv-port",
            "23143",
        ];
        ringmq(&dir, &arguments)
    };
    check(
        data("file/below"),
        1,
        &["file/below", "choose another directory"],
    );
    check(
        data("/proc/nothing"),
        1,
        &["/proc/nothing cannot be written"],
    );
    let mut homeless = ringmq(&dir, &["broker"]);
    homeless.env_remove("HOME");
    check(homeless, 1, &["HOME is not set"]);
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = Dir::new("foreign-dir");
    let start = |data: &str| {
        let line = format!("standalone --data {data} --listen-port 23192 --namesrv-port 23193");
        ringmq(&dir, &line.split(' ').collect::<Vec<_>>())
    };
    for (data, file, expected) in [
        ("pg", "PG_VERSION", "holds other files (PG_VERSION)"),
        ("lost", "shard-000", "no file named layout"),
    ] {
        std::fs::create_dir(dir.path().join(data)).unwrap();
        std::fs::write(dir.path().join(data).join(file), "15").unwrap();
        check(start(data), 1, &[data, expected]);
        let kept = std::fs::read(dir.path().join(data).join(file)).unwrap();
        assert_eq!(kept, b"15");
    }
    // Java holds its store with a file of the same name as ours.
    let java = dir.path().join("java");
    for name in ["commitlog", "consumequeue", "config"] {
        std::fs::create_dir_all(java.join(name)).unwrap();
    }
    for name in [
        "lock",
        "abort",
        "checkpoint",
        "commitlog/00000000000000000000",
    ] {
        std::fs::write(java.join(name), name).unwrap();
    }
    let expected = ["java", "a store of Apache RocketMQ", "nothing was changed"];
    check(start("java"), 1, &expected);
    for name in [
        "lock",
        "abort",
        "checkpoint",
        "commitlog/00000000000000000000",
    ] {
        let kept = std::fs::read_to_string(java.join(name)).unwrap();
        assert_eq!(kept, name);
    }
    assert_eq!(std::fs::read_dir(java).unwrap().count(), 6);
}

#[test]
fn a_probe_file_of_a_killed_start_is_removed_and_a_file_beside_it_stays() {
    let dir = Dir::new("stale-probe");
    let line = "standalone --data data --listen-port 23196 --namesrv-port 23197";
    let start = || ringmq(&dir, &line.split(' ').collect::<Vec<_>>());
    assert_eq!(
        Process::start(start(), "data").stop(Signal::SIGTERM).0,
        Some(0)
    );
    let log = dir.path().join("data/shard-000/commitlog");
    for at in [dir.path().join("data"), log.clone()] {
        std::fs::write(at.join(".probe-4242-0"), [0x5a; 16_384]).unwrap();
        std::fs::write(at.join(".probe-4242"), "somebody's").unwrap();
    }
    assert_eq!(
        Process::start(start(), "data").stop(Signal::SIGTERM).0,
        Some(0)
    );
    for at in [dir.path().join("data"), log] {
        assert!(!at.join(".probe-4242-0").exists() && at.join(".probe-4242").exists());
    }
}

#[test]
fn too_little_locked_memory_is_explained() {
    let dir = Dir::new("memlock");
    let limited = format!(
        "ulimit -l 64 && exec '{}' standalone \
         --listen-port 23152 --namesrv-port 23153",
        env!("CARGO_BIN_EXE_ringmq")
    );
    let shell = crate::support::program("/bin/sh".as_ref(), &dir, &["-c", &limited]);
    check(
        shell,
        1,
        &[
            "locked memory (RLIMIT_MEMLOCK) is 64 KiB",
            "LimitMEMLOCK=infinity",
        ],
    );
}
