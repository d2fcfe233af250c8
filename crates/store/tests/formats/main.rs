//! Stores that released versions of the program wrote: each must open, and every message read back.
//!
//! `format-N-clean.pack` was stopped in order; `format-N-killed.pack` is the same one after another
//! start, more messages and kill -9. The program wrote them (`cargo test -p ringmq --test program
//! -- --ignored writes_the_fixtures`); a new format version adds its two files, and those of older
//! versions stay as they are.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

#[path = "pack.rs"]
mod pack;

use base::{QueueId, QueueOffset, ShardId};
use pack::{PackedFile, QUEUES};
use remoting::message::decode_message;
use rt::{Disk, File, IoBuf, OpenMode, Rt};
use sim::{Crash, Host, Sim, World};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use store::{FORMAT_VERSION, GetStatus, ReadLimits, Recovered, ScanStart, Settings, ShardStore};

const SHARDS: u16 = 2;
const PIECE_LEN: usize = 4_096;

fn fixture(format: u16, how: &str) -> Vec<PackedFile> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let path = path.join(format!("format-{format}-{how}.pack"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes.len() < 200 << 10, "a fixture is small");
    pack::unpack(&bytes)
}

/// Puts a fixture on the disk of a simulated host, all of it durable.
fn placed(files: Vec<PackedFile>) -> (World, Host) {
    let world = World::new(1);
    let host = world.host(SHARDS);
    host.block_on(0, move |sim| async move {
        for file in files {
            place(sim.disk(), &Path::new("/store").join(&file.path), &file).await;
        }
    });
    host.crash(Crash::Power);
    (world, host)
}

async fn place<D: Disk>(disk: &D, path: &Path, file: &PackedFile) {
    let dir = path.parent().unwrap();
    disk.create_dir_all(dir).await.unwrap();
    if !file.len.is_multiple_of(PIECE_LEN as u64) {
        let mut bytes = vec![0; file.len as usize];
        for (at, piece) in &file.pieces {
            bytes[*at as usize..][..piece.len()].copy_from_slice(piece);
        }
        return disk.write_atomic(path, &bytes).await.unwrap();
    }
    let opened = disk.open(path, OpenMode::CreateNew).await.unwrap();
    opened.truncate(file.len).await.unwrap();
    for (at, piece) in &file.pieces {
        let mut buf = disk.alloc(piece.len());
        buf.as_bytes_mut().copy_from_slice(piece);
        opened.write_at(Rc::new(buf), *at).await.unwrap();
    }
    opened.datasync().await.unwrap();
    disk.sync_dir(dir).await.unwrap();
    for above in dir.ancestors().skip(1) {
        disk.sync_dir(above).await.unwrap();
    }
}

fn open(host: &Host, shard: u16) -> (ShardStore<Sim>, Recovered) {
    let dir = PathBuf::from("/store");
    let settings = Settings::new(dir, ShardId::new(shard), SHARDS);
    let settings = Settings {
        zero_ahead_bytes: 2 << 20,
        zero_step_bytes: 1 << 20,
        record_len_max: 192 << 10,
        segment_bytes: 8 << 20,
        ..settings
    };
    host.block_on(shard, |sim| async move {
        ShardStore::open(sim, settings).await.expect("it opens")
    })
}

/// Reads a queue to its end and compares every message with what was sent.
async fn check_queue(store: &ShardStore<Sim>, topic: &str, queue: u32, count: i64) {
    let reference = store.queue(topic, QueueId(queue)).unwrap();
    assert_eq!(store.min_offset(reference), QueueOffset(0));
    assert_eq!(
        store.max_offset(reference),
        QueueOffset(count),
        "{topic}/{queue}"
    );
    let limits = ReadLimits {
        count_max: 32,
        bytes_max: 1 << 20,
        scan_max: 100,
    };
    let mut next = 0;
    while next < count {
        let mut out = Vec::new();
        let result = store
            .read(
                reference,
                QueueOffset(next),
                limits,
                &mut |_| true,
                &mut out,
            )
            .await
            .unwrap();
        assert_eq!(result.status, GetStatus::Found);
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            let (message, len) = decode_message(rest).unwrap();
            assert!(message.body_crc_matches());
            assert_eq!((message.topic, message.queue_offset), (topic, next));
            assert_eq!(message.body, pack::body(topic, queue, next).as_bytes());
            let at = base::PhyOffset::from_wire(message.phy_offset).unwrap();
            let alone = store.read_message(at).await.unwrap().unwrap();
            assert_eq!(alone, rest[..len], "{topic}/{queue}/{next} by its id");
            rest = &rest[len..];
            next += 1;
        }
        assert_eq!(result.next_offset, QueueOffset(next));
    }
}

fn check(format: u16, how: &str, count_of: fn(i64, i64) -> i64, start: ScanStart) {
    let (_world, host) = placed(fixture(format, how));
    for shard in 0..SHARDS {
        let (store, recovered) = open(&host, shard);
        let report = &recovered.report;
        assert_eq!(report.start, start, "{format} {how} shard {shard}");
        assert!(report.quarantined.is_empty() && report.lost_messages == 0);
        assert!(
            !recovered.records.is_empty(),
            "topics and offsets are records"
        );
        host.block_on(shard, move |_| async move {
            for (topic, queue, before, after) in QUEUES {
                let count = count_of(before, after);
                if base::owner_of(topic, QueueId(queue), SHARDS).as_u16() == shard && count > 0 {
                    check_queue(&store, topic, queue, count).await;
                }
            }
            assert_eq!(store.stats().damaged, 0);
            store.close().await.unwrap();
        });
    }
}

#[test]
fn a_store_of_every_format_version_opens_and_every_message_reads_back() {
    for format in 1..=FORMAT_VERSION {
        check(format, "clean", |before, _| before, ScanStart::Checkpoint);
    }
}

#[test]
fn a_store_of_every_format_version_that_was_killed_opens_with_all_it_acknowledged() {
    for format in 1..=FORMAT_VERSION {
        check(
            format,
            "killed",
            |before, after| before + after,
            ScanStart::Checkpoint,
        );
    }
}
