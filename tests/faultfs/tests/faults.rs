//! Each fault is asked for on the control socket and then looked for in the backing directory.
//!
//! Wants root and `/dev/fuse`; without them every test fails with the sentence that says so.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of a program: real threads, the real clock"
)]

use faultfs::trace::{self, What};
use faultfs::{Child, Control, MountOptions, clean_up, monotonic_ns};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PAGE: usize = 4_096;
/// `O_DIRECT` of Linux on x86-64.
const O_DIRECT: i32 = nix::fcntl::OFlag::O_DIRECT.bits();

struct World {
    dir: PathBuf,
    child: Option<Child>,
    control: Control,
}

impl World {
    fn new(name: &str) -> Self {
        Self::with(name, None, false)
    }

    fn with(name: &str, limit: Option<u64>, is_recorded: bool) -> Self {
        let dir = std::env::temp_dir().join(format!("faultfs-{name}-{}", std::process::id()));
        clean_up(&dir).unwrap();
        fs::create_dir_all(dir.join("backing/sub")).unwrap();
        let options = MountOptions {
            backing: dir.join("backing"),
            at: dir.join("mnt"),
            trace: is_recorded.then(|| dir.join("trace")),
            limit,
        };
        let binary = Path::new(env!("CARGO_BIN_EXE_faultfs"));
        let child = Child::start(binary, &options, &dir.join("control"));
        let child = child.unwrap_or_else(|error| panic!("{error}"));
        let control = child.control().unwrap();
        Self {
            dir,
            child: Some(child),
            control,
        }
    }

    fn ask(&mut self, line: &str) {
        self.control.command(line).unwrap();
    }

    fn above(&self, name: &str) -> PathBuf {
        self.dir.join("mnt").join(name)
    }

    fn below(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.join("backing").join(name)).unwrap()
    }

    /// A new file for direct I/O.
    fn direct(&self, name: &str) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(O_DIRECT)
            .open(self.above(name))
            .unwrap()
    }

    fn end(&mut self) {
        self.child.take().unwrap().end().unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.child.take());
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let left = mounts.contains(&*self.dir.to_string_lossy());
        if !std::thread::panicking() {
            assert!(!left, "a mount is left");
            fs::remove_dir_all(&self.dir).unwrap();
        }
    }
}

/// Pages for direct I/O, at an address that it takes.
fn with_pages<T>(count: usize, byte: u8, use_it: impl FnOnce(&[u8]) -> T) -> T {
    let memory = vec![byte; (count + 1) * PAGE];
    let skip = memory.as_ptr().align_offset(PAGE);
    use_it(&memory[skip..skip + count * PAGE])
}

fn write_page(file: &File, byte: u8, page: usize) -> io::Result<()> {
    with_pages(1, byte, |bytes| {
        file.write_all_at(bytes, (page * PAGE) as u64)
    })
}

#[test]
fn direct_writes_syncs_renames_and_lists_pass_through() {
    let mut world = World::new("pass");
    let file = world.direct("sub/a");
    write_page(&file, 7, 1).unwrap();
    file.sync_data().unwrap();
    fs::rename(world.above("sub/a"), world.above("b")).unwrap();
    write_page(&file, 8, 0).unwrap();
    let expected = [vec![8; PAGE], vec![7; PAGE]].concat();
    assert_eq!(world.below("b"), expected);
    assert_eq!(fs::read(world.above("b")).unwrap(), expected);
    assert_eq!(file.metadata().unwrap().len(), 2 * PAGE as u64);
    let names: Vec<_> = fs::read_dir(world.dir.join("mnt"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2);
    file.set_len(PAGE as u64).unwrap();
    assert_eq!(world.below("b").len(), PAGE);
    fs::remove_file(world.above("b")).unwrap();
    write_page(&file, 9, 0).expect("an open file outlives its name");
    assert_eq!(file.metadata().unwrap().len(), PAGE as u64);
    drop(file);
    fs::create_dir_all(world.above("sub/deep/er")).unwrap();
    fs::remove_dir(world.above("sub/deep/er")).unwrap();
    world.end();
}

#[test]
fn the_nth_write_and_the_nth_sync_fail_and_change_nothing() {
    let mut world = World::new("fail");
    let (file, other) = (world.direct("log"), world.direct("other"));
    world.ask("fail write log nth=2");
    let before = monotonic_ns();
    write_page(&file, 1, 0).unwrap();
    write_page(&other, 1, 0).unwrap();
    let error = write_page(&file, 2, 1).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5));
    write_page(&other, 2, 1).unwrap();
    assert_eq!(world.below("log").len(), PAGE);
    world.ask("fail sync log nth=1 times=2 errno=ENOSPC");
    for _ in 0..2 {
        let error = file.sync_data().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
    file.sync_data().unwrap();
    let injected = world.control.injected().unwrap();
    assert_eq!(injected.len(), 3);
    assert_eq!(injected[0].1, format!("Write {PAGE} log"));
    assert!(
        injected
            .iter()
            .all(|(at, _)| (before..monotonic_ns()).contains(at))
    );
    drop(file);
    drop(other);
    world.end();
}

#[test]
fn a_lost_a_torn_a_flipped_and_a_misdirected_write_are_answered_as_done() {
    let mut world = World::new("lie");
    let file = world.direct("f");
    for page in 0..8 {
        write_page(&file, 1, page).unwrap();
    }
    world.ask("lose write f");
    write_page(&file, 2, 0).unwrap();
    world.ask("clear");
    world.ask("tear write f sectors=3");
    write_page(&file, 3, 1).unwrap();
    world.ask("clear");
    world.ask("flip write f bit=17");
    write_page(&file, 0, 2).unwrap();
    world.ask("clear");
    world.ask("misdirect write f by=16384");
    write_page(&file, 5, 3).unwrap();
    let mut expected = vec![1; 8 * PAGE];
    expected[PAGE..PAGE + 3 * 512].fill(3);
    expected[2 * PAGE..3 * PAGE].fill(0);
    expected[2 * PAGE + 2] = 2;
    expected[7 * PAGE..].fill(5);
    assert!(world.below("f") == expected);
    drop(file);
    world.end();
}

#[test]
fn a_full_disk_refuses_until_space_is_given_or_made() {
    let mut world = World::with("full", Some(4 * PAGE as u64), false);
    let file = world.direct("f");
    with_pages(3, 1, |bytes| file.write_all_at(bytes, 0)).unwrap();
    let refused = with_pages(2, 2, |bytes| file.write_all_at(bytes, 3 * PAGE as u64));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::StorageFull);
    write_page(&file, 2, 0).expect("what is there may be written again");
    write_page(&file, 2, 3).unwrap();
    let stat = nix::sys::statvfs::statvfs(&world.above("")).unwrap();
    assert_eq!(stat.blocks() * stat.fragment_size(), 4 * PAGE as u64);
    assert_eq!(stat.blocks_available(), 0);
    assert!(write_page(&file, 2, 4).is_err());
    world.ask("limit 20480");
    write_page(&file, 2, 4).unwrap();
    let more = world.direct("g");
    assert!(nix::fcntl::fallocate(&more, nix::fcntl::FallocateFlags::empty(), 0, 4_096).is_err());
    fs::remove_file(world.above("f")).unwrap();
    assert!(
        write_page(&more, 3, 0).is_err(),
        "an open file keeps its space"
    );
    drop(file);
    let end = Instant::now() + Duration::from_secs(5);
    while write_page(&more, 3, 0).is_err() {
        assert!(Instant::now() < end, "a removed file gives its space back");
    }
    drop(more);
    world.end();
}

#[test]
fn a_stalled_file_waits_for_its_release_and_others_do_not() {
    let mut world = World::new("stall");
    let (file, other) = (world.direct("slow"), world.direct("fast"));
    // The kernel lets writes to one file go on at once only below its end.
    file.set_len(16 * PAGE as u64).unwrap();
    world.ask("stall any slow");
    let held: Vec<_> = (0..16)
        .map(|page| {
            let file = file.try_clone().unwrap();
            std::thread::spawn(move || {
                write_page(&file, 1, page).unwrap();
                monotonic_ns()
            })
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(10);
    while world.control.counter("held").unwrap() < 16 {
        assert!(Instant::now() < end, "not all sixteen writes are held");
    }
    write_page(&other, 2, 0).unwrap();
    other.sync_data().unwrap();
    let released = monotonic_ns();
    assert!(world.below("slow") == vec![0; 16 * PAGE]);
    world.ask("clear");
    for thread in held {
        assert!(thread.join().unwrap() > released);
    }
    assert!(world.below("slow") == vec![1; 16 * PAGE]);
    drop(file);
    drop(other);
    world.end();
}

#[test]
fn a_frozen_mount_hangs_and_goes_on() {
    let mut world = World::new("freeze");
    let file = world.direct("f");
    let child = world.child.as_ref().unwrap();
    child.freeze().unwrap();
    let thread = std::thread::spawn(move || write_page(&file, 1, 0));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!thread.is_finished());
    child.thaw().unwrap();
    thread.join().unwrap().unwrap();
    world.end();
}

#[test]
fn the_trace_tells_every_change_in_order_with_its_instants() {
    let mut world = World::with("trace", None, true);
    let file = world.direct("a");
    let before = monotonic_ns();
    write_page(&file, 7, 0).unwrap();
    write_page(&file, 0, 1).unwrap();
    file.sync_data().unwrap();
    let after = monotonic_ns();
    world.ask("fail write a");
    write_page(&file, 8, 2).unwrap_err();
    fs::rename(world.above("a"), world.above("sub/b")).unwrap();
    File::open(world.above("sub")).unwrap().sync_all().unwrap();
    world.ask("mark half way");
    file.set_len(100).unwrap();
    fs::remove_file(world.above("sub/b")).unwrap();
    drop(file);
    world.end();
    let events = trace::read(&world.dir.join("trace")).unwrap();
    let node = events
        .iter()
        .find_map(|event| match &event.what {
            What::Create { node, path } if path == "a" => Some(*node),
            _ => None,
        })
        .unwrap();
    let write = events
        .iter()
        .position(|event| matches!(event.what, What::Write { .. }))
        .unwrap();
    let (from, to) = ("a".to_owned(), "sub/b".to_owned());
    let expected = [
        What::Write {
            node,
            offset: 0,
            bytes: vec![7; PAGE],
        },
        What::Zeros {
            node,
            offset: PAGE as u64,
            len: PAGE as u64,
        },
        What::Sync { node },
        What::Rename { from, to },
        What::SyncDir {
            path: "sub".to_owned(),
        },
        What::Mark {
            text: "half way".to_owned(),
        },
        What::SetLen { node, len: 100 },
        What::Remove {
            path: "sub/b".to_owned(),
        },
    ];
    assert!(
        events[write..]
            .iter()
            .map(|event| &event.what)
            .eq(&expected)
    );
    for event in &events[write..write + 3] {
        assert!(before <= event.begin_ns && event.begin_ns <= event.end_ns);
        assert!(event.end_ns <= after);
    }
}

#[test]
fn a_mount_whose_process_was_killed_can_be_cleaned_up() {
    let mut world = World::new("kill");
    let at = world.dir.join("mnt");
    // A mount of the same place by hand, killed without a chance to clean up.
    world.end();
    let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_faultfs"))
        .arg("--backing")
        .arg(world.dir.join("backing"))
        .arg("--mount")
        .arg(&at)
        .arg("--control")
        .arg(world.dir.join("control"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while !at.join("sub").exists() {
        assert!(Instant::now() < end, "not mounted");
        std::thread::sleep(Duration::from_millis(5));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(
        clean_up(&world.dir).unwrap(),
        [fs::canonicalize(&world.dir).unwrap().join("mnt")]
    );
    assert!(fs::read_dir(&at).unwrap().next().is_none());
}
