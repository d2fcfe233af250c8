//! What a crash leaves: of files, of names, of tasks, of connections.

#![allow(clippy::unwrap_used, reason = "shared steps of the tests below")]

use rt::{Class, Disk, File, IoBuf, Net, OpenMode, ReadHalf, Rt, SharedMap, Stream, WriteHalf};
use sim::{Crash, DiskOp, Fault, Host, Rule, Sim, Stop, World};
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const SEEDS: u64 = 200;
const LOG: &str = "/data/log";

async fn write(file: &impl File<Buf = sim::SimBuf>, sim: &Sim, at: u64, len: usize, byte: u8) {
    let mut buf = sim.disk().alloc(len);
    buf.as_bytes_mut().fill(byte);
    file.write_at(Rc::new(buf), at).await.unwrap();
}

/// Makes the log with `len` synced bytes of value 1, its name durable.
async fn make_log(sim: &Sim, len: usize) -> sim::SimFile {
    let disk = sim.disk();
    disk.create_dir_all(Path::new("/data")).await.unwrap();
    let file = disk
        .open(Path::new(LOG), OpenMode::CreateNew)
        .await
        .unwrap();
    write(&file, sim, 0, len, 1).await;
    file.datasync().await.unwrap();
    disk.sync_dir(Path::new("/data")).await.unwrap();
    file
}

fn log_of(host: &Host) -> Vec<u8> {
    host.peek(Path::new(LOG)).expect("the name is durable")
}

/// Runs `scene` for many seeds and counts how often each of its answers comes.
fn outcomes(scene: impl Fn(&World, &Host) -> usize) -> Vec<u64> {
    let mut counts = vec![0; 4];
    for seed in 0..SEEDS {
        let world = World::new(seed);
        let host = world.host(1);
        counts[scene(&world, &host)] += 1;
    }
    counts
}

#[test]
fn synced_bytes_survive_every_power_cut() {
    outcomes(|_, host| {
        host.block_on(0, |sim| async move {
            let file = make_log(&sim, 4_096).await;
            write(&file, &sim, 1_024, 512, 2).await;
            file.datasync().await.unwrap();
        });
        host.crash(Crash::Power);
        let log = log_of(host);
        assert_eq!(log.len(), 4_096);
        assert!(log[..1_024].iter().all(|b| *b == 1));
        assert!(log[1_024..1_536].iter().all(|b| *b == 2));
        0
    });
}

#[test]
fn an_unsynced_write_is_lost_torn_or_kept() {
    let counts = outcomes(|_, host| {
        host.block_on(0, |sim| async move {
            let file = make_log(&sim, 4_096).await;
            write(&file, &sim, 0, 4_096, 2).await;
        });
        host.crash(Crash::Power);
        let log = log_of(host);
        let mut new = 0;
        for sector in log.chunks(512) {
            assert!(sector.iter().all(|b| *b == sector[0]), "a sector is whole");
            new += usize::from(sector[0] == 2);
        }
        match new {
            0 => 0,
            8 => 1,
            _ => 2,
        }
    });
    assert!(counts[..3].iter().all(|c| *c > SEEDS / 20), "{counts:?}");
}

#[test]
fn growth_without_a_sync_may_be_lost() {
    let counts = outcomes(|_, host| {
        host.block_on(0, |sim| async move {
            let file = make_log(&sim, 512).await;
            write(&file, &sim, 512, 512, 2).await;
        });
        host.crash(Crash::Power);
        usize::from(log_of(host).len() == 1_024)
    });
    assert!(counts[..2].iter().all(|c| *c > SEEDS / 10), "{counts:?}");
}

#[test]
fn a_killed_process_loses_no_completed_write() {
    outcomes(|_, host| {
        host.block_on(0, |sim| async move {
            let file = make_log(&sim, 512).await;
            write(&file, &sim, 0, 4_096, 2).await;
        });
        host.crash(Crash::Kill);
        assert_eq!(log_of(host), vec![2; 4_096]);
        0
    });
}

#[test]
fn a_name_is_durable_once_its_directory_was_synced_and_not_before() {
    let counts = outcomes(|_, host| {
        host.block_on(0, |sim| async move {
            make_log(&sim, 512).await;
            let disk = sim.disk();
            let (from, to) = (Path::new(LOG), Path::new("/data/renamed"));
            disk.rename(from, to).await.unwrap();
        });
        host.crash(Crash::Power);
        let names: Vec<_> = host.files().into_iter().map(|f| f.0).collect();
        assert_eq!(
            names.len(),
            1,
            "a rename moves, it neither copies nor loses"
        );
        usize::from(names[0] == Path::new(LOG))
    });
    assert!(counts[..2].iter().all(|c| *c > SEEDS / 10), "{counts:?}");
}

#[test]
fn an_atomic_write_leaves_the_old_or_the_new_content_at_every_instant() {
    let counts = outcomes(|world, host| {
        let path = Path::new("/data/small");
        host.block_on(0, |sim| async move {
            let disk = sim.disk();
            disk.create_dir_all(Path::new("/data")).await.unwrap();
            disk.write_atomic(path, &[1; 700]).await.unwrap();
        });
        host.crash_after(u64::from(world.now().subsec_nanos()) % 20, Crash::Power);
        let ended = host.try_block_on(0, |sim| async move {
            sim.disk().write_atomic(path, &[2; 900]).await.unwrap();
        });
        host.spare();
        let content = host.peek(path).expect("it never goes missing");
        assert!(content == [1; 700] || content == [2; 900]);
        if ended.is_ok() {
            assert_eq!(content, [2; 900]);
        }
        usize::from(content[0] == 2)
    });
    assert!(counts[..2].iter().all(|c| *c > 0), "{counts:?}");
}

#[test]
fn what_a_failed_sync_lost_no_later_sync_brings_back() {
    let counts = outcomes(|_, host| {
        host.add_fault(Rule::nth(DiskOp::Sync, "log", 1, Fault::Eio));
        host.block_on(0, |sim| async move {
            let file = make_log(&sim, 512).await;
            write(&file, &sim, 0, 512, 2).await;
            assert!(file.datasync().await.is_err());
            file.datasync().await.unwrap();
            assert_eq!(
                file.read_at(0, 1).await.unwrap(),
                [2],
                "a read still sees it"
            );
        });
        host.crash(Crash::Power);
        usize::from(log_of(host)[0] == 2)
    });
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
}

#[test]
fn scripted_faults_strike_the_operation_they_name() {
    let world = World::new(1);
    let host = world.host(1);
    host.block_on(0, |sim| async move { drop(make_log(&sim, 4_096).await) });
    let faults = [
        (Fault::Eio, None),
        (Fault::Enospc, Some(std::io::ErrorKind::StorageFull)),
        (Fault::Short, Some(std::io::ErrorKind::WriteZero)),
    ];
    for (fault, expected) in faults {
        host.add_fault(Rule::nth(DiskOp::Write, "log", 0, fault));
        let error = host.block_on(0, |sim| async move {
            let disk = sim.disk();
            let file = disk.open(Path::new(LOG), OpenMode::ReadWrite).await;
            let buf = Rc::new(disk.alloc(1_024));
            file.unwrap().write_at(buf, 0).await.unwrap_err()
        });
        assert!(
            expected.is_none_or(|kind| error.kind() == kind),
            "{error:?}"
        );
        host.clear_faults();
    }
    assert_eq!(host.faults_struck(), 3);
}

#[test]
fn a_lying_disk_loses_or_misplaces_writes_without_a_word() {
    let world = World::new(1);
    let host = world.host(1);
    host.add_fault(Rule::nth(DiskOp::Write, "log", 1, Fault::Lost));
    host.add_fault(Rule::nth(DiskOp::Write, "log", 1, Fault::Misdirected(2)));
    host.block_on(0, |sim| async move {
        let file = make_log(&sim, 4_096).await;
        write(&file, &sim, 0, 512, 2).await;
        write(&file, &sim, 0, 512, 3).await;
        let bytes = file.read_at(0, 4_096).await.unwrap();
        assert!(!bytes.contains(&2));
        assert_eq!(bytes.iter().position(|b| *b == 3), Some(1_024));
    });
    assert!(host.rot(Path::new(LOG), 7, 0x10));
    assert_eq!(log_of(&host)[7], 0x11);
}

#[test]
fn a_full_disk_refuses_and_has_room_again_after_a_removal() {
    let world = World::new(1);
    let host = world.host(1);
    host.shape_disk(|shape| shape.capacity = 8_192);
    host.block_on(0, |sim| async move {
        drop(make_log(&sim, 8_192).await);
        let disk = sim.disk();
        assert_eq!(disk.space(Path::new("/")).await.unwrap().available, 0);
        let other = Path::new("/data/other");
        let file = disk.open(other, OpenMode::CreateNew).await.unwrap();
        let full = file.write_at(Rc::new(disk.alloc(512)), 0).await;
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        disk.remove(Path::new(LOG)).await.unwrap();
        disk.sync_dir(Path::new("/data")).await.unwrap();
        file.write_at(Rc::new(disk.alloc(512)), 0).await.unwrap();
    });
}

#[test]
fn nothing_of_a_crashed_host_goes_on() {
    let world = World::new(3);
    let host = world.host(2);
    let ran = Rc::new(Cell::new(0));
    for sim in host.sims() {
        let ran = Rc::clone(&ran);
        let clock = sim.clone();
        sim.spawn(Class::Request, async move {
            loop {
                clock.sleep(Duration::from_millis(1)).await;
                ran.set(ran.get() + 1);
            }
        });
    }
    world.run_for(Duration::from_millis(100));
    assert!(ran.get() > 150);
    let stale = host.sim(0);
    host.crash(Crash::Kill);
    let before = ran.get();
    let late = Rc::clone(&ran);
    stale.spawn(Class::Request, async move { late.set(0) });
    world.run_for(Duration::from_millis(100));
    assert_eq!(ran.get(), before);
    assert_eq!(host.lives(), 2);
}

#[test]
fn a_planned_crash_ends_what_runs_on_the_host() {
    let world = World::new(3);
    let host = world.host(1);
    host.crash_after(10, Crash::Power);
    let stopped = host.try_block_on(0, |sim| async move {
        loop {
            sim.yield_now().await;
        }
    });
    assert_eq!(stopped, Err::<(), _>(Stop::Crashed));
    let stuck = host.try_block_on(0, |_| std::future::pending::<()>());
    assert_eq!(stuck, Err(Stop::Deadlock));
}

#[test]
fn a_peer_of_a_crashed_host_sees_its_connection_end() {
    for (seed, crash) in [(1, Crash::Kill), (2, Crash::Power)] {
        let world = World::new(seed);
        let (server, client) = (world.host(1), world.host(1));
        let address = SocketAddr::new(server.ip(), 10_911);
        let sim = server.sim(0);
        let net = sim.net().clone();
        sim.spawn(Class::Request, async move {
            use rt::Listener;
            let listener = net.listen(address).await.unwrap();
            let (mut read, mut write) = listener.accept().await.unwrap().split();
            let mut buf = [0; 16];
            let n = read.read(&mut buf).await.unwrap();
            write.write_all(&buf[..n]).await.unwrap();
            std::future::pending::<()>().await;
        });
        world.run_for(Duration::from_millis(10));
        let ended = Rc::new(Cell::new(false));
        let seen = Rc::clone(&ended);
        let sim = client.sim(0);
        let net = sim.net().clone();
        sim.spawn(Class::Request, async move {
            let (mut read, mut write) = net.connect(address).await.unwrap().split();
            write.write_all(b"x").await.unwrap();
            let mut buf = [0; 16];
            assert_eq!(read.read(&mut buf).await.unwrap(), 1);
            assert!(read.read(&mut buf).await.is_err());
            seen.set(true);
        });
        world.run_for(Duration::from_secs(1));
        assert!(!ended.get());
        server.crash(crash);
        world.run_for(Duration::from_secs(3));
        assert!(ended.get());
    }
}

#[test]
fn a_seed_replays_with_the_same_trace_and_another_has_another() {
    let trace = |seed| {
        let world = World::new(seed);
        let host = world.host(2);
        host.block_on(1, |sim| async move {
            let file = make_log(&sim, 4_096).await;
            for n in 0..20 {
                write(&file, &sim, sim.random_u64() % 8 * 512, 512, n).await;
            }
        });
        host.crash(Crash::Power);
        (world.trace_hash(), log_of(&host))
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5).0, trace(6).0);
}

const MAP_LEN: usize = 2 * 4_096;

/// A mapped file of two pages, all of it 1 and durable, then stored full of 2.
async fn store_over_a_synced_map(sim: &Sim) -> sim::SimMap {
    let disk = sim.disk();
    disk.create_dir_all(Path::new("/data")).await.unwrap();
    let map = disk.map_shared(Path::new(LOG), MAP_LEN).await.unwrap();
    map.store(0, &[1; MAP_LEN]);
    map.sync().await.unwrap();
    disk.sync_dir(Path::new("/data")).await.unwrap();
    map.store(0, &[2; MAP_LEN]);
    map
}

#[test]
fn a_killed_process_leaves_every_store_of_its_maps_and_none_after_its_end() {
    for left in [0, 1, 5_000, u64::MAX] {
        let world = World::new(left);
        let host = world.host(1);
        let map = host.block_on(0, |sim| async move { store_over_a_synced_map(&sim).await });
        host.limit_stores(left);
        map.store(7, &[3]);
        map.store(8, &[4]);
        host.crash(Crash::Kill);
        map.store(9, &[5]);
        let log = log_of(&host);
        let expected: [u8; 3] = match left {
            0 => [2, 2, 2],
            1 => [3, 2, 2],
            _ => [3, 4, 2],
        };
        assert_eq!(log[7..10], expected, "{left} stores left");
        assert!(log[10..].iter().all(|byte| *byte == 2));
    }
}

#[test]
fn a_power_cut_leaves_each_mapped_page_old_new_or_torn() {
    let seen = outcomes(|_, host| {
        host.block_on(
            0,
            |sim| async move { drop(store_over_a_synced_map(&sim).await) },
        );
        host.crash(Crash::Power);
        let log = log_of(host);
        assert_eq!(log.len(), MAP_LEN);
        let page = &log[..4_096];
        match (page.contains(&1), page.contains(&2)) {
            (true, false) => 0,
            (false, true) => 1,
            _ => 2,
        }
    });
    assert!(seen[..3].iter().all(|count| *count > 20), "{seen:?}");
}

#[test]
fn what_a_sync_of_a_map_covered_survives_every_power_cut() {
    outcomes(|_, host| {
        host.block_on(0, |sim| async move {
            let map = store_over_a_synced_map(&sim).await;
            map.sync().await.unwrap();
        });
        host.crash(Crash::Power);
        assert!(log_of(host).iter().all(|byte| *byte == 2));
        0
    });
}
