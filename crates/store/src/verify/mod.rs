//! Checking and showing a store that nobody has open, over plain bytes: `ringmq store verify` and
//! `ringmq store dump`.
//!
//! Works without an engine, so it runs where `io_uring` is refused. Shares the decoders with
//! recovery, and draws the same line: what does not check out below a durable mark is damage, above
//! it is a torn tail that the next start erases. Invariant: nothing is written.

mod check;
mod derived;
mod dump;
mod walk;

pub use check::{Finding, FindingKind, ShardSummary, VerifyReport, verify};
pub use dump::{DumpedBlock, DumpedSegment, Dumper, Wanted, dump};

use crate::block::{BlockHeader, HEADER_LEN, Identity, u32_at};
use crate::checkpoint::Checkpoint;
use crate::layout::{Layout, ShardPaths, key_run_number, segment_start};
use crate::segment::{SEGMENT_HEADER_LEN, SegmentHeader};
use base::{LogPosition, ShardId};
use std::io;
use std::path::Path;

/// Plain reading of a directory.
pub trait Source {
    /// Names and lengths of the files in a directory, sorted; none when there is no directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>>;
    /// Fills `into` with bytes of a file from `position` on; gives how many there were.
    fn read(&self, path: &Path, position: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// Why a store cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is none.
    #[error("{0}")]
    NotAStore(String),
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl VerifyError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }
}

/// A segment as its file and header tell.
pub(crate) struct Segment {
    pub(crate) start: u64,
    /// Length of the file.
    pub(crate) len: u64,
    pub(crate) align: u64,
    pub(crate) header: Option<SegmentHeader>,
    /// From the header, or else from the first block.
    pub(crate) generation: u32,
}

/// A checkpoint file.
enum Saved {
    Missing,
    Damaged,
    Good(Checkpoint),
}

/// What is known of a shard before its log is read.
struct ShardFiles {
    shard: ShardId,
    paths: ShardPaths,
    segments: Vec<Segment>,
    checkpoints: [Saved; 2],
    secret: u32,
    /// How many pages a file of the index holds: all but the last file are full.
    pages_per_file: u32,
}

/// Reads the layout of a store. Tells whether one flipped bit was put right.
///
/// # Errors
/// It is none, or cannot be read.
pub fn read_layout<S: Source>(source: &S, root: &Path) -> Result<(Layout, bool), VerifyError> {
    let path = root.join("layout");
    let mut text = vec![0; 4_096];
    let len = match source.read(&path, 0, &mut text) {
        Ok(len) => len,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!(
                "{} is not a store: it has no file named layout",
                root.display()
            );
            return Err(VerifyError::NotAStore(text));
        }
        Err(source) => return Err(VerifyError::Io { path, source }),
    };
    let layout = Layout::read(&text[..len]);
    let layout = layout.and_then(|(layout, is_damaged)| {
        if layout.format_version == crate::FORMAT_VERSION {
            return Ok((layout, is_damaged));
        }
        let found = layout.format_version;
        Err(format!(
            "it has format version {found}, this program reads {}",
            crate::FORMAT_VERSION
        ))
    });
    layout.map_err(|reason| VerifyError::NotAStore(format!("{}: {reason}", path.display())))
}

/// How many bytes a check of a store reads, about.
///
/// # Errors
/// As [`read_layout`].
pub fn stored_bytes<S: Source>(source: &S, root: &Path) -> Result<u64, VerifyError> {
    let (layout, _) = read_layout(source, root)?;
    let mut bytes = 0;
    for number in 0..layout.shard_count {
        let paths = ShardPaths::new(root, ShardId::new(number));
        let dir = &paths.commit_log;
        let files = source.list(dir).map_err(VerifyError::io(dir))?;
        let segments = files
            .iter()
            .filter(|(name, _)| segment_start(name).is_some());
        bytes += segments.map(|(_, len)| len).sum::<u64>();
        let keys = source.list(&paths.keys);
        let keys = keys.map_err(VerifyError::io(&paths.keys))?;
        let runs = keys
            .iter()
            .filter(|(name, _)| key_run_number(name).is_some());
        bytes += runs.map(|(_, len)| len).sum::<u64>();
    }
    Ok(bytes)
}

/// Taken from the first file when there is a second one, which begins where it is full.
fn pages_per_file<S: Source>(source: &S, paths: &ShardPaths) -> Result<u32, VerifyError> {
    let files = source
        .list(&paths.index)
        .map_err(VerifyError::io(&paths.index))?;
    let names = files.iter().filter(|(name, _)| name.len() == 8);
    let mut lens = names.map(|(_, len)| *len);
    Ok(match (lens.next(), lens.next()) {
        (Some(first), Some(_)) => u32::try_from(first.div_ceil(4_096))
            .unwrap_or(u32::MAX)
            .max(1),
        _ => u32::MAX,
    })
}

impl ShardFiles {
    fn read<S: Source>(
        source: &S,
        root: &Path,
        layout: &Layout,
        shard: ShardId,
    ) -> Result<Self, VerifyError> {
        let paths = ShardPaths::new(root, shard);
        let dir = &paths.commit_log;
        let mut segments = Vec::new();
        for (name, len) in source.list(dir).map_err(VerifyError::io(dir))? {
            let Some(start) = segment_start(&name) else {
                continue;
            };
            let path = paths.segment(start);
            let mut head = [0; SEGMENT_HEADER_LEN];
            let got = source
                .read(&path, 0, &mut head)
                .map_err(VerifyError::io(&path))?;
            let header = SegmentHeader::decode(&head[..got]).filter(|h| h.start == start);
            let (align, generation) = (
                layout.block_align as u64,
                header.map_or(0, |h| h.generation),
            );
            segments.push(Segment {
                start,
                len,
                align,
                header,
                generation,
            });
        }
        let mut files = Self {
            shard,
            checkpoints: [Saved::Missing, Saved::Missing],
            segments,
            secret: 0,
            pages_per_file: pages_per_file(source, &paths)?,
            paths,
        };
        for slot in 0..2 {
            files.checkpoints[slot] = files.checkpoint(source, slot as u8)?;
        }
        files.secret = files.find_secret();
        for index in 0..files.segments.len() {
            if files.segments[index].header.is_none() {
                files.segments[index].generation = files.first_generation(source, index)?;
            }
        }
        Ok(files)
    }

    fn checkpoint<S: Source>(&self, source: &S, slot: u8) -> Result<Saved, VerifyError> {
        let path = self.paths.checkpoint(slot);
        let mut bytes = Vec::new();
        loop {
            let at = bytes.len();
            bytes.resize(at + (1 << 20), 0);
            let got = match source.read(&path, at as u64, &mut bytes[at..]) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::Missing),
                Err(source) => return Err(VerifyError::Io { path, source }),
            };
            bytes.truncate(at + got);
            if got < 1 << 20 || bytes.len() > crate::checkpoint::CHECKPOINT_LEN_MAX {
                let found = Checkpoint::decode(self.shard, &bytes);
                return Ok(found.map_or(Saved::Damaged, Saved::Good));
            }
        }
    }

    fn find_secret(&self) -> u32 {
        let from_checkpoint = self.newest_checkpoint().map(|newest| newest.head.secret);
        let mut headers = self.segments.iter().filter_map(|segment| segment.header);
        from_checkpoint
            .or(headers.next().map(|header| header.secret))
            .unwrap_or(0)
    }

    fn newest_checkpoint(&self) -> Option<&Checkpoint> {
        let found = self.checkpoints.iter().filter_map(|saved| match saved {
            Saved::Good(checkpoint) => Some(checkpoint),
            Saved::Missing | Saved::Damaged => None,
        });
        found.max_by_key(|checkpoint| checkpoint.head.sequence)
    }

    /// What recovery takes when a header is damaged: the generation that the first block tells.
    fn first_generation<S: Source>(&self, source: &S, index: usize) -> Result<u32, VerifyError> {
        let segment = &self.segments[index];
        let path = self.paths.segment(segment.start);
        let mut head = [0; HEADER_LEN];
        let got = source
            .read(&path, segment.align, &mut head)
            .map_err(VerifyError::io(&path))?;
        if got < HEADER_LEN {
            return Ok(0);
        }
        let (shard, generation) = (self.shard, u32_at(&head, 8));
        let identity = Identity {
            shard,
            generation,
            secret: self.secret,
        };
        let position = LogPosition(segment.start + segment.align);
        let header = BlockHeader::peek(identity, position, &head);
        Ok(header.map_or(0, |_| generation))
    }

    fn identity(&self, segment: &Segment) -> Identity {
        Identity {
            shard: self.shard,
            generation: segment.generation,
            secret: self.secret,
        }
    }
}
