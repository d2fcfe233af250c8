//! What every engine must do alike: test bodies that run on the real one and on the simulation.
//!
//! Each function runs inside one shard and panics at the first difference. An engine's tests call
//! all of them, so that the simulated disk, clock, network and mesh are held to the kernel's.
//! Invariant: nothing here knows an engine; directories and addresses are given by the caller.

use crate::{
    Class, Disk, File, IoBuf, Lane, Listener, Mesh, Net, OpenMode, ReadHalf, Rt, Stream, WriteHalf,
    sync,
};
use base::ShardId;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Runs every disk body below `dir`, which is made when missing.
pub async fn disk<R: Rt>(rt: &R, dir: &Path) {
    ok(rt.disk().create_dir_all(dir).await, "create_dir_all");
    written_bytes_read_back(rt, &dir.join("written")).await;
    opening_follows_the_mode(rt, &dir.join("opening")).await;
    writes_may_overlap_in_time(rt, &dir.join("overlap")).await;
    a_file_is_cut_and_extended(rt, &dir.join("length")).await;
    names_are_listed_renamed_and_removed(rt, &dir.join("names")).await;
    small_files_are_replaced_whole(rt, &dir.join("small")).await;
    room_is_reported(rt, dir).await;
}

/// Aligned writes read back at any position and length; reads end at the end of the file.
pub async fn written_bytes_read_back<R: Rt>(rt: &R, dir: &Path) {
    let disk = rt.disk();
    ok(disk.create_dir_all(dir).await, "create_dir_all");
    let path = dir.join("log");
    let file = ok(disk.open(&path, OpenMode::CreateNew).await, "open");
    let align = file.alignment();
    assert!(align.is_power_of_two() && (512..=4_096).contains(&align));
    assert_eq!(ok(file.size().await, "size"), 0);
    assert!(ok(file.read_at(0, 100).await, "read an empty file").is_empty());

    let len = 4 * align;
    let mut buf = disk.alloc(len);
    assert_eq!(buf.as_bytes().len(), len);
    assert!(
        buf.as_bytes().iter().all(|b| *b == 0),
        "a buffer starts as zeros"
    );
    fill(buf.as_bytes_mut(), 1);
    let expected = buf.as_bytes().to_vec();
    ok(file.write_at(Rc::new(buf), 0).await, "write");
    assert_eq!(ok(file.size().await, "size"), len as u64);
    ok(file.datasync().await, "datasync");

    let cases = [
        (0, len),
        (1, 10),
        (align - 3, 7),
        (align, align),
        (len - 5, 5),
    ];
    for (position, want) in cases {
        let bytes = ok(file.read_at(position as u64, want).await, "read");
        assert_eq!(bytes, &expected[position..position + want]);
    }
    let tail = ok(file.read_at(len as u64 - 5, 100).await, "read at the end");
    assert_eq!(tail, &expected[len - 5..], "a read ends with the file");
    let past = ok(file.read_at(len as u64 + 7, 10).await, "read past the end");
    assert!(past.is_empty());
    let none = ok(file.read_at(3, 0).await, "read nothing");
    assert!(none.is_empty());

    let mut short = disk.alloc(2 * align);
    fill(short.as_bytes_mut(), 2);
    short.truncate(align);
    assert_eq!(short.as_bytes().len(), align);
    let second = short.as_bytes().to_vec();
    ok(
        file.write_at(Rc::new(short), align as u64).await,
        "overwrite",
    );
    let bytes = ok(file.read_at(0, len).await, "read");
    assert_eq!(&bytes[..align], &expected[..align]);
    assert_eq!(&bytes[align..2 * align], &second[..]);
    assert_eq!(&bytes[2 * align..], &expected[2 * align..]);
    ok(file.close().await, "close");
    let again = ok(disk.open(&path, OpenMode::Read).await, "open again");
    assert_eq!(ok(again.read_at(0, len).await, "read"), bytes);
    ok(again.close().await, "close");
}

/// `CreateNew` fails on what exists, the others on what does not.
pub async fn opening_follows_the_mode<R: Rt>(rt: &R, dir: &Path) {
    let disk = rt.disk();
    ok(disk.create_dir_all(dir).await, "create_dir_all");
    ok(disk.create_dir_all(dir).await, "create_dir_all again");
    let path = dir.join("a");
    for mode in [OpenMode::Read, OpenMode::ReadWrite] {
        let missing = disk.open(&path, mode).await;
        assert_eq!(kind(missing.map(|_| ())), ErrorKind::NotFound);
    }
    let file = ok(disk.open(&path, OpenMode::CreateNew).await, "create");
    let twice = disk.open(&path, OpenMode::CreateNew).await;
    assert_eq!(kind(twice.map(|_| ())), ErrorKind::AlreadyExists);
    let mut buf = disk.alloc(file.alignment());
    fill(buf.as_bytes_mut(), 3);
    ok(file.write_at(Rc::new(buf), 0).await, "write");
    ok(file.close().await, "close");
    let file = ok(disk.open(&path, OpenMode::ReadWrite).await, "open");
    assert_eq!(ok(file.size().await, "size"), file.alignment() as u64);
    ok(file.close().await, "close");
}

/// Several writes of one file may be on their way at once, from one shared buffer too.
pub async fn writes_may_overlap_in_time<R: Rt>(rt: &R, dir: &Path) {
    let disk = rt.disk();
    ok(disk.create_dir_all(dir).await, "create_dir_all");
    let file = ok(
        disk.open(&dir.join("f"), OpenMode::CreateNew).await,
        "create",
    );
    let file = Rc::new(file);
    let align = file.alignment();
    let mut buf = disk.alloc(align);
    fill(buf.as_bytes_mut(), 4);
    let buf = Rc::new(buf);
    let left = Rc::new(Cell::new(8));
    let done = Rc::new(sync::Event::new());
    for slot in 0..8u64 {
        let (file, buf) = (Rc::clone(&file), Rc::clone(&buf));
        let (left, done) = (Rc::clone(&left), Rc::clone(&done));
        rt.spawn(Class::Flush, async move {
            ok(file.write_at(buf, slot * align as u64).await, "write");
            left.set(left.get() - 1);
            done.notify();
        });
    }
    while left.get() > 0 {
        done.wait().await;
    }
    ok(file.datasync().await, "datasync");
    let bytes = ok(file.read_at(0, 8 * align).await, "read");
    for slot in bytes.chunks(align) {
        assert_eq!(slot, buf.as_bytes());
    }
}

/// Truncating cuts and extends with zeros; reserving room leaves the length alone.
pub async fn a_file_is_cut_and_extended<R: Rt>(rt: &R, dir: &Path) {
    let disk = rt.disk();
    ok(disk.create_dir_all(dir).await, "create_dir_all");
    let file = ok(
        disk.open(&dir.join("f"), OpenMode::CreateNew).await,
        "create",
    );
    let align = file.alignment();
    ok(file.allocate(64 * align as u64).await, "allocate");
    assert_eq!(ok(file.size().await, "size"), 0);
    let mut buf = disk.alloc(2 * align);
    fill(buf.as_bytes_mut(), 5);
    let expected = buf.as_bytes().to_vec();
    ok(file.write_at(Rc::new(buf), 0).await, "write");
    ok(file.truncate(align as u64).await, "cut");
    assert_eq!(ok(file.size().await, "size"), align as u64);
    ok(file.truncate(3 * align as u64).await, "extend");
    let bytes = ok(file.read_at(0, 4 * align).await, "read");
    assert_eq!(bytes.len(), 3 * align);
    assert_eq!(&bytes[..align], &expected[..align]);
    assert!(
        bytes[align..].iter().all(|b| *b == 0),
        "what was cut stays cut"
    );
    let mut far = disk.alloc(align);
    fill(far.as_bytes_mut(), 6);
    ok(
        file.write_at(Rc::new(far), 8 * align as u64).await,
        "write beyond the end",
    );
    let hole = ok(file.read_at(3 * align as u64, align).await, "read a hole");
    assert_eq!(hole, vec![0; align]);
    ok(file.close().await, "close");
}

/// Listing is sorted and tells kind and length; renaming replaces; removing removes.
pub async fn names_are_listed_renamed_and_removed<R: Rt>(rt: &R, dir: &Path) {
    let disk = rt.disk();
    let missing = disk.list(dir).await;
    assert_eq!(kind(missing.map(|_| ())), ErrorKind::NotFound);
    ok(disk.create_dir_all(&dir.join("sub/deeper")).await, "create");
    ok(disk.write_atomic(&dir.join("b"), b"bb").await, "write b");
    ok(disk.write_atomic(&dir.join("a"), b"a").await, "write a");
    let names = ok(disk.list(dir).await, "list");
    let seen: Vec<_> = names
        .iter()
        .map(|e| (e.name.as_str(), e.is_dir, e.len))
        .collect();
    assert_eq!(seen, [("a", false, 1), ("b", false, 2), ("sub", true, 0)]);

    ok(disk.rename(&dir.join("a"), &dir.join("b")).await, "rename");
    ok(disk.sync_dir(dir).await, "sync_dir");
    let bytes = ok(disk.read_small(&dir.join("b"), 10).await, "read");
    assert_eq!(bytes, b"a", "a rename replaces what was there");
    let gone = disk.rename(&dir.join("a"), &dir.join("c")).await;
    assert_eq!(kind(gone), ErrorKind::NotFound);
    ok(disk.remove(&dir.join("b")).await, "remove");
    let twice = disk.remove(&dir.join("b")).await;
    assert_eq!(kind(twice), ErrorKind::NotFound);
    let names = ok(disk.list(dir).await, "list");
    assert_eq!(names.len(), 1);
}

/// Small files are replaced whole and read with a bound.
pub async fn small_files_are_replaced_whole<R: Rt>(rt: &R, dir: &Path) {
    let disk = rt.disk();
    ok(disk.create_dir_all(dir).await, "create_dir_all");
    let path = dir.join("meta.json");
    let missing = disk.read_small(&path, 10).await;
    assert_eq!(kind(missing.map(|_| ())), ErrorKind::NotFound);
    for content in [&b"first, and longer"[..], b"second", b""] {
        ok(disk.write_atomic(&path, content).await, "write_atomic");
        let bytes = ok(disk.read_small(&path, 17).await, "read_small");
        assert_eq!(bytes, content);
    }
    ok(disk.write_atomic(&path, b"0123456789").await, "write");
    let long = disk.read_small(&path, 9).await;
    assert_eq!(kind(long.map(|_| ())), ErrorKind::InvalidData);
    let names = ok(disk.list(dir).await, "list");
    assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
}

/// Free room is known and within the size of the file system.
pub async fn room_is_reported<R: Rt>(rt: &R, dir: &Path) {
    let space = ok(rt.disk().space(dir).await, "space");
    assert!(space.total > 0 && space.available <= space.total);
}

/// Runs every body about time and tasks.
pub async fn tasks<R: Rt>(rt: &R) {
    timers_complete_in_order(rt).await;
    a_dropped_sleep_is_forgotten(rt).await;
    yielding_lets_the_others_run(rt).await;
    a_value_passes_between_tasks(rt).await;
    clocks_and_randomness_move(rt).await;
}

/// Sleeps end not before their time and in the order of their ends.
pub async fn timers_complete_in_order<R: Rt>(rt: &R) {
    let ended = Rc::new(RefCell::new(Vec::new()));
    let event = Rc::new(sync::Event::new());
    let begin = rt.monotonic_us();
    for ms in [30u64, 10, 20] {
        let (rt2, ended, event) = (rt.clone(), Rc::clone(&ended), Rc::clone(&event));
        rt.spawn(Class::Housekeeping, async move {
            rt2.sleep(Duration::from_millis(ms)).await;
            assert!(rt2.monotonic_us() - begin >= ms * 1_000, "slept too short");
            ended.borrow_mut().push(ms);
            event.notify();
        });
    }
    while ended.borrow().len() < 3 {
        event.wait().await;
    }
    assert_eq!(*ended.borrow(), [10, 20, 30]);
}

/// A sleep that is dropped wakes nobody and harms nothing.
pub async fn a_dropped_sleep_is_forgotten<R: Rt>(rt: &R) {
    for _ in 0..100 {
        let mut long = std::pin::pin!(rt.sleep(Duration::from_hours(1)));
        std::future::poll_fn(|context| {
            assert!(long.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }
    rt.sleep(Duration::from_millis(1)).await;
}

/// One yield gives every task that could run its turn.
pub async fn yielding_lets_the_others_run<R: Rt>(rt: &R) {
    let ran = Rc::new(Cell::new(0));
    let classes = [
        Class::Request,
        Class::Flush,
        Class::Dispatch,
        Class::Housekeeping,
    ];
    for class in classes {
        let ran = Rc::clone(&ran);
        rt.spawn(class, async move { ran.set(ran.get() + 1) });
    }
    // An engine may be interrupted in the middle of a turn, but not again and again.
    for _ in 0..3 {
        if ran.get() < classes.len() {
            rt.yield_now().await;
        }
    }
    assert_eq!(ran.get(), classes.len());
}

/// A slot hands a value from one task to another, and tells when it never will.
pub async fn a_value_passes_between_tasks<R: Rt>(rt: &R) {
    let (giver, taker) = sync::oneshot();
    let rt2 = rt.clone();
    rt.spawn(Class::Request, async move {
        rt2.sleep(Duration::from_millis(2)).await;
        giver.give(7);
    });
    assert_eq!(taker.take().await, Some(7));
    let (giver, taker) = sync::oneshot::<u8>();
    rt.spawn(Class::Flush, async move { drop(giver) });
    assert_eq!(taker.take().await, None);
}

/// The monotonic clock never goes back and random numbers differ.
pub async fn clocks_and_randomness_move<R: Rt>(rt: &R) {
    let (wall, begin) = (rt.now_ms(), rt.monotonic_us());
    assert!(wall > 0);
    rt.sleep(Duration::from_millis(3)).await;
    assert!(rt.monotonic_us() >= begin + 3_000);
    assert!(rt.now_ms() >= wall);
    let mut drawn: Vec<_> = (0..64).map(|_| rt.random_u64()).collect();
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 64);
}

/// Runs every network body; listens on `address`, whose port must be free (0 picks one).
pub async fn net<R: Rt>(rt: &R, address: SocketAddr) {
    a_peer_that_ended_its_side_still_gets_answers(rt, address).await;
    an_aborted_stream_ends_a_stuck_write(rt, address).await;
    a_closed_listener_refuses(rt, address).await;
}

/// Bytes come back in order; ending one direction leaves the other open.
pub async fn a_peer_that_ended_its_side_still_gets_answers<R: Rt>(rt: &R, address: SocketAddr) {
    let listener = ok(rt.net().listen(address).await, "listen");
    let address = ok(listener.local_addr(), "local_addr");
    rt.spawn(Class::Request, async move {
        let stream = ok(listener.accept().await, "accept");
        let (mut read, mut write) = stream.split();
        let mut all = Vec::new();
        let mut buf = vec![0; 65_536];
        loop {
            let n = ok(read.read(&mut buf).await, "read");
            if n == 0 {
                break;
            }
            all.extend_from_slice(&buf[..n]);
        }
        ok(write.write_all(&all).await, "write");
    });
    let stream = ok(rt.net().connect(address).await, "connect");
    assert_eq!(stream.peer_addr(), address);
    assert_ne!(stream.local_addr().port(), 0);
    let (mut read, mut write) = stream.split();
    let mut sent = vec![0; 100_000];
    fill(&mut sent, 9);
    ok(write.write_all(&sent).await, "write");
    drop(write); // ends the sending direction: the echo starts only after that
    let mut got = Vec::new();
    let mut buf = vec![0; 65_536];
    loop {
        let n = ok(read.read(&mut buf).await, "read");
        if n == 0 {
            break;
        }
        got.extend_from_slice(&buf[..n]);
    }
    assert_eq!(got, sent);
}

/// A write to a peer that never reads ends when the stream is aborted, and so does the read.
pub async fn an_aborted_stream_ends_a_stuck_write<R: Rt>(rt: &R, address: SocketAddr) {
    let listener = ok(rt.net().listen(address).await, "listen");
    let address = ok(listener.local_addr(), "local_addr");
    let peer = ok(rt.net().connect(address).await, "connect");
    let stream = ok(listener.accept().await, "accept");
    let (mut read, mut write) = stream.split();
    let abort = write.aborter();
    let (written, write_ended) = sync::oneshot();
    rt.spawn(Class::Request, async move {
        let chunk = vec![7; 1 << 20];
        let mut total = 0u64;
        while write.write_all(&chunk).await.is_ok() {
            total += chunk.len() as u64;
            assert!(total < 1 << 30, "nobody reads, yet every write completes");
        }
        written.give(());
    });
    let (ended, read_ended) = sync::oneshot();
    rt.spawn(Class::Request, async move {
        let mut buf = [0; 16];
        let end = read.read(&mut buf).await;
        assert!(matches!(end, Ok(0) | Err(_)), "read {end:?}");
        ended.give(());
    });
    rt.sleep(Duration::from_millis(200)).await;
    abort();
    abort();
    assert_eq!(write_ended.take().await, Some(()));
    assert_eq!(read_ended.take().await, Some(()));
    abort();
    drop(peer);
}

/// Once a listener is dropped nobody answers there any more.
pub async fn a_closed_listener_refuses<R: Rt>(rt: &R, address: SocketAddr) {
    let listener = ok(rt.net().listen(address).await, "listen");
    let address = ok(listener.local_addr(), "local_addr");
    drop(listener);
    rt.sleep(Duration::from_millis(50)).await;
    let refused = rt.net().connect(address).await;
    assert_eq!(kind(refused.map(|_| ())), ErrorKind::ConnectionRefused);
}

/// Every shard runs this at once: each sends `count` numbers to each other on both lanes and
/// receives as many, in order; then closes, and sees every peer close.
pub async fn mesh_keeps_order<R: Rt>(rt: &R, mesh: Rc<R::Mesh<u64>>, count: u64) {
    let peers: Vec<ShardId> = (0..rt.shard_count())
        .map(ShardId::new)
        .filter(|peer| *peer != rt.shard())
        .collect();
    let gate = Rc::new(sync::Gate::default());
    for peer in peers.iter().copied() {
        for lane in [Lane::Request, Lane::Reply] {
            let (pass, out, rt2) = (gate.enter(), Rc::clone(&mesh), rt.clone());
            rt.spawn(Class::Request, async move {
                for n in 0..count {
                    let sent = out.send(lane, peer, n).await;
                    assert!(sent.is_ok(), "the peer is there");
                    if n % 1_000 == 999 {
                        rt2.yield_now().await;
                    }
                }
                drop(pass);
            });
            let (pass, into) = (gate.enter(), Rc::clone(&mesh));
            rt.spawn(Class::Request, async move {
                for n in 0..count {
                    assert_eq!(into.recv(lane, peer).await, Some(n));
                }
                drop(pass);
            });
        }
    }
    gate.empty().await;
    mesh.close();
    for peer in peers {
        assert_eq!(mesh.recv(Lane::Request, peer).await, None);
        assert_eq!(mesh.recv(Lane::Reply, peer).await, None);
        assert_eq!(mesh.try_send(Lane::Request, peer, 1), Err(1));
    }
}

/// A deterministic pattern without short periods.
fn fill(bytes: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

#[track_caller]
fn ok<T>(result: io::Result<T>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error} ({:?})", error.kind()),
    }
}

#[track_caller]
fn kind(result: io::Result<()>) -> ErrorKind {
    match result {
        Ok(()) => panic!("this had to fail"),
        Err(error) => error.kind(),
    }
}
