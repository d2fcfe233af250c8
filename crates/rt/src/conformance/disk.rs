//! What every disk must do alike: aligned writes, reads of any shape, names, small files.
//!
//! Owned by the caller, who gives a directory of its own. Invariant: durability is not judged here,
//! since a running machine cannot tell; the simulation's crash tests do.

use super::{fill, kind, ok};
use crate::{Class, Disk, File, IoBuf, OpenMode, Rt, SharedMap, sync};
use std::cell::Cell;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;

/// Runs every disk body below `dir`, which is made when missing.
pub async fn disk<R: Rt>(rt: &R, dir: &Path) {
    ok(rt.disk().create_dir_all(dir).await, "create_dir_all");
    written_bytes_read_back(rt, &dir.join("written")).await;
    opening_follows_the_mode(rt, &dir.join("opening")).await;
    writes_may_overlap_in_time(rt, &dir.join("overlap")).await;
    a_file_is_cut_and_extended(rt, &dir.join("length")).await;
    names_are_listed_renamed_and_removed(rt, &dir.join("names")).await;
    small_files_are_replaced_whole(rt, &dir.join("small")).await;
    a_shared_map_keeps_every_store(rt, &dir.join("map")).await;
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
    // Memory that held something else shows nothing of it.
    let copy = disk.alloc_copy(&expected[..10], len);
    assert_eq!(copy.as_bytes()[..10], expected[..10]);
    assert_eq!(copy.as_bytes()[10..], vec![0; len - 10]);

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

/// A mapped file holds what was stored as soon as it is stored, is found again under its name, and
/// changes its length without losing what fits.
pub async fn a_shared_map_keeps_every_store<R: Rt>(rt: &R, dir: &Path) {
    let disk = rt.disk();
    ok(disk.create_dir_all(dir).await, "create_dir_all");
    let path = dir.join("ring");
    let len = 3 * 4_096;
    let map = ok(disk.map_shared(&path, len).await, "map");
    assert_eq!(map.size(), len);
    assert_eq!(map.load(0, len), vec![0; len], "a new file is zeros");
    let mut expected = vec![0; len];
    fill(&mut expected[5_000..9_001], 7);
    map.store(5_000, &expected[5_000..9_001]);
    expected[16..24].copy_from_slice(&0x0102_0304_0506_0708_u64.to_le_bytes());
    map.store_word(16, 0x0102_0304_0506_0708);
    map.store(len, &[]);
    assert_eq!(map.load(0, len), expected);
    let seen = ok(disk.read_small(&path, len).await, "read_small");
    assert_eq!(seen, expected, "others see a store at once");
    drop(map);

    let map = ok(disk.map_shared(&path, len).await, "map again");
    assert_eq!(map.load(0, len), expected, "what was stored stays");
    map.store(len - 1, &[9]);
    expected[len - 1] = 9;
    ok(map.sync().await, "sync");
    drop(map);
    let map = ok(disk.map_shared(&path, 4 * 4_096).await, "map longer");
    assert_eq!(map.load(0, len), expected);
    assert_eq!(map.load(len, 4_096), vec![0; 4_096], "it grows with zeros");
    drop(map);
    let map = ok(disk.map_shared(&path, 8_192).await, "map shorter");
    assert_eq!(map.load(0, 8_192), &expected[..8_192]);
    drop(map);
    let names = ok(disk.list(dir).await, "list");
    assert_eq!((names.len(), names[0].len), (1, 8_192));
}
