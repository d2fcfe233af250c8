//! `ringmq store` over small stores that the program wrote.

use crate::fixtures::place_format;
use crate::support::{Dir, Process, outcome, ringmq};
use nix::sys::signal::Signal;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

fn run(dir: &Dir, line: &str) -> (Option<i32>, String, String) {
    let arguments: Vec<&str> = line.split(' ').collect();
    outcome(ringmq(dir, &arguments))
}

fn segment(dir: &Dir, shard: u16) -> PathBuf {
    let log = dir.path().join(format!("store/shard-{shard:03}/commitlog"));
    log.join(format!("{:020}", 0))
}

/// Turns bits of a byte.
fn rot(path: &PathBuf, at: u64, mask: u8) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ mask], at).unwrap();
}

#[test]
fn verify_tells_a_sound_store_from_a_damaged_one_and_from_none() {
    for how in ["clean", "killed"] {
        let dir = Dir::new("verify");
        place_format(1, how, &dir.path().join("store"));
        let before = fs::read(segment(&dir, 0)).unwrap();
        let (code, out, errors) = run(&dir, "store verify store");
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
        assert!(
            out.contains("shard 1: ") && out.contains("\nsound: "),
            "{out}"
        );
        assert_eq!(fs::read(segment(&dir, 0)).unwrap(), before);

        rot(&segment(&dir, 0), 4_096 + 90, 1);
        let (code, out, errors) = run(&dir, "store verify --json store");
        assert_eq!(code, Some(1), "{out}");
        assert!(
            errors.contains("1 damaged places, 0 of them lose messages"),
            "{errors}"
        );
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["sound"], false);
        assert_eq!(report["findings"][0]["kind"], "flippedBit");
        assert_eq!(report["findings"][0]["position"], 4_096);
        assert_eq!(report["shards"].as_array().unwrap().len(), 2);
    }
    let dir = Dir::new("verify-none");
    let (code, out, errors) = run(&dir, "store verify .");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(errors.contains("is not a store"), "{errors}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is made"
    );
}

#[test]
fn a_store_that_a_broker_holds_is_refused_with_its_process() {
    let dir = Dir::new("verify-held");
    let line = "standalone --data store --listen-port 23182 --namesrv-port 23183";
    let arguments: Vec<&str> = line.split(' ').collect();
    let process = Process::start(ringmq(&dir, &arguments), "data");
    for line in ["store verify store", "store dump store"] {
        let (code, out, errors) = run(&dir, line);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{errors}");
        let pid = format!("(pid {}); stop it first", process.id());
        assert!(errors.contains(&pid), "{errors}");
    }
    assert_eq!(process.stop(Signal::SIGTERM).0, Some(0));
    assert_eq!(run(&dir, "store verify store").0, Some(0));
}

#[test]
fn dump_shows_segments_blocks_and_messages_for_people_and_programs() {
    let dir = Dir::new("dump");
    place_format(1, "killed", &dir.path().join("store"));
    let (code, out, _) = run(&dir, "store dump store --segments");
    assert_eq!(code, Some(0));
    assert!(
        out.contains("shard 1 segment 00000000000000000000: "),
        "{out}"
    );
    let (_, out, _) = run(&dir, "store dump store --blocks --shard 0 --count 3 --json");
    let rows: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((rows.len(), &rows[0]["position"]), (3, &4_096.into()));
    let line = "store dump store --topic Orders --queue 1 --from 40 --to 42 --body --json";
    let (_, out, _) = run(&dir, line);
    let rows: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 2, "{out}");
    assert_eq!(rows[0]["body"], "Orders/1/40 says the fixture");
    assert_eq!(rows[1]["properties"]["KEYS"], "key-41");
    let at = rows[1]["physicalOffset"].to_string();
    let (_, out, _) = run(&dir, &format!("store dump store --body --at {at}"));
    assert!(out.contains("Orders queue 1 offset 41 at "), "{out}");
    assert!(out.contains("    Orders/1/41 says the fixture"), "{out}");
    let (code, out, errors) = run(&dir, "store dump store --topic Nothing");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(errors.contains("nothing of that"), "{errors}");
}
