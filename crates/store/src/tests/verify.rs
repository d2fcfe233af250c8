//! The check of a store at rest agrees with what reads and recovery make of it.

use crate::testing::{append_waiting, body, open, settings, world};
use crate::verify::{Dumper, Source, VerifyError, Wanted, dump, verify};
use crate::{DumpedBlock, DumpedSegment, FindingKind, FlushMode, Settings, VerifyReport};
use remoting::message::StoredMessage;
use sim::{Crash, Host, World};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The files of a simulated host.
pub(super) struct Copy(BTreeMap<PathBuf, Vec<u8>>);

impl Copy {
    pub(super) fn of(host: &Host) -> Self {
        let paths = host.files().into_iter().map(|(path, ..)| path);
        let bytes = paths.map(|path| (path.clone(), host.peek(&path).expect("it is there")));
        Self(bytes.collect())
    }
}

impl Source for Copy {
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let inside = self.0.iter().filter(|(path, _)| path.parent() == Some(dir));
        let row = |(path, bytes): (&PathBuf, &Vec<u8>)| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, bytes.len() as u64)
        };
        Ok(inside.map(row).collect())
    }

    fn read(&self, path: &Path, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        let rest = bytes.get(position as usize..).unwrap_or(&[]);
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

const COUNT: u64 = 700;

fn small() -> Settings {
    Settings {
        // As production has it: one file of the index.
        index_file_pages: 16_384,
        checkpoint_bytes: 40 << 10,
        ..settings(FlushMode::Sync)
    }
}

/// A store with some segments and pages; the process was killed, or it closed.
fn filled(seed: u64, closes: bool) -> (World, Host, Vec<u64>) {
    let (world, host) = world(seed);
    let (store, _) = open(&host, small());
    let positions = host.block_on(0, move |_| async move {
        let mut positions = Vec::new();
        for i in 0..COUNT {
            let receipt = append_waiting(&store, "T", &body(i, 200)).await;
            positions.push(receipt.phy_offset.position().0);
            if i % 9 == 0 || i + 1 == COUNT {
                store.wait_acknowledged(receipt.end).await.unwrap();
            }
        }
        if closes {
            store.close().await.unwrap();
        }
        positions
    });
    host.crash(if closes { Crash::Power } else { Crash::Kill });
    (world, host, positions)
}

fn check(host: &Host) -> VerifyReport {
    verify(&Copy::of(host), Path::new("/store"), &mut |_| {}).unwrap()
}

fn kinds(report: &VerifyReport) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

fn segment(position: u64) -> (PathBuf, u64) {
    let start = position - position % (64 << 10);
    let path = PathBuf::from(format!("/store/shard-000/commitlog/{start:020}"));
    (path, position - start)
}

#[test]
fn a_good_store_is_sound_and_everything_in_it_is_counted() {
    for closes in [true, false] {
        let (_world, host, _) = filled(1, closes);
        let report = check(&host);
        assert!(report.is_sound(), "{:?}", report.findings);
        let shard = &report.shards[0];
        assert_eq!((shard.messages, shard.segments > 2), (COUNT, true));
        assert!(shard.index_pages > 0 && shard.blocks > 50 && shard.end > shard.durable / 2);
        let read: u64 = host
            .files()
            .iter()
            .filter(|f| f.0.to_string_lossy().contains("commitlog"))
            .map(|f| f.1)
            .sum();
        assert!(
            report.bytes_read >= read / 2,
            "{} of {read}",
            report.bytes_read
        );
    }
}

#[test]
fn each_damage_is_found_and_told_by_its_kind_and_place() {
    let (_world, host, positions) = filled(2, true);
    let (path, at) = segment(positions[300] + 120);
    assert!(host.rot(&path, at, 0x10));
    let report = check(&host);
    assert_eq!(kinds(&report), [FindingKind::FlippedBit]);
    assert_eq!(report.shards[0].messages, COUNT);
    assert!(host.rot(&path, at + 1, 0xFF));
    let report = check(&host);
    assert_eq!(kinds(&report), [FindingKind::Block]);
    let finding = &report.findings[0];
    assert!(
        finding.path == path && (finding.position..finding.position + finding.len).contains(&at)
    );
    assert!(
        finding.text.contains("messages in it are readable"),
        "{}",
        finding.text
    );
    assert!(report.shards[0].messages < COUNT && report.shards[0].messages > COUNT - 30);

    let index = PathBuf::from("/store/shard-000/index/00000000");
    assert!(host.rot(&index, 500, 1));
    assert!(host.rot(Path::new("/store/shard-000/checkpoint-0"), 30, 1));
    assert!(host.rot(Path::new("/store/layout"), 30, 1));
    assert!(host.rot(&segment(0).0, 9, 1));
    let found = kinds(&check(&host));
    for kind in [
        FindingKind::IndexPage,
        FindingKind::Checkpoint,
        FindingKind::Layout,
        FindingKind::SegmentHeader,
        FindingKind::Block,
    ] {
        assert!(found.contains(&kind), "{kind:?} in {found:?}");
    }
}

#[test]
fn a_torn_tail_is_no_damage_and_a_missing_segment_is() {
    let (_world, host, positions) = filled(3, false);
    let (path, at) = segment(*positions.last().unwrap() + 50);
    host.rot(&path, at, 0xFF);
    host.rot(&path, at + 9, 0xFF);
    let report = check(&host);
    assert!(report.is_sound(), "{:?}", report.findings);
    assert!(report.shards[0].tail_bytes > 0);
    let mut copy = Copy::of(&host);
    copy.0.remove(&segment(64 << 10).0);
    let report = verify(&copy, Path::new("/store"), &mut |_| {}).unwrap();
    assert!(kinds(&report).contains(&FindingKind::MissingSegment));
    copy.0.remove(Path::new("/store/layout"));
    let error = verify(&copy, Path::new("/store"), &mut |_| {}).unwrap_err();
    assert!(matches!(error, VerifyError::NotAStore(_)), "{error}");
}

#[derive(Default)]
struct Rows {
    segments: usize,
    blocks: Vec<u64>,
    offsets: Vec<i64>,
}

impl Dumper for Rows {
    fn segment(&mut self, _: &DumpedSegment) -> io::Result<()> {
        self.segments += 1;
        Ok(())
    }

    fn block(&mut self, block: &DumpedBlock) -> io::Result<()> {
        self.blocks.push(block.position);
        Ok(())
    }

    fn message(&mut self, message: &StoredMessage<'_>, tags_code: i64) -> io::Result<()> {
        assert!(tags_code == 7 && message.body_crc_matches());
        self.offsets.push(message.queue_offset);
        Ok(())
    }
}

#[test]
fn what_is_asked_for_is_shown_and_nothing_else() {
    let (_world, host, positions) = filled(4, true);
    let copy = Copy::of(&host);
    let all = Wanted {
        shard: None,
        segments: false,
        blocks: false,
        topic: None,
        queue: None,
        offsets: i64::MIN..i64::MAX,
        at: None,
        count_max: u64::MAX,
    };
    let show = |wanted: &Wanted| {
        let mut rows = Rows::default();
        let count = dump(&copy, Path::new("/store"), wanted, &mut rows).unwrap();
        assert_eq!(
            count as usize,
            rows.segments + rows.blocks.len() + rows.offsets.len()
        );
        rows
    };
    assert_eq!(show(&all).offsets, (0..COUNT as i64).collect::<Vec<_>>());
    let range = Wanted {
        offsets: 20..25,
        topic: Some("T".into()),
        ..all.clone()
    };
    assert_eq!(show(&range).offsets, [20, 21, 22, 23, 24]);
    let other = Wanted {
        topic: Some("U".into()),
        ..all.clone()
    };
    assert!(show(&other).offsets.is_empty());
    let at = base::PhyOffset::new(base::ShardId::new(0), base::LogPosition(positions[333]));
    let one = Wanted {
        at: Some(at),
        ..all.clone()
    };
    assert_eq!(show(&one).offsets, [333]);
    let block = show(&Wanted {
        blocks: true,
        ..one
    });
    assert!(block.blocks.len() == 1 && block.blocks[0] < positions[333]);
    assert!(
        show(&Wanted {
            segments: true,
            ..all.clone()
        })
        .segments
            > 2
    );
    assert_eq!(
        show(&Wanted {
            count_max: 3,
            ..all
        })
        .offsets,
        [0, 1, 2]
    );
}
