//! The full check of a store.
//!
//! Reads every block and index page once, in order. Invariant: a finding is something that an
//! earlier acknowledgement relied on and that cannot be read any more as it was; a torn tail, unused
//! room and what a start puts right by itself are counted, not found fault with.

use super::walk::{self, Hole, Visit, WalkedBlock};
use super::{Saved, Segment, ShardFiles, Source, VerifyError, read_layout};
use crate::consume_queue::pages::{PAGE_LEN, Page, PageKey, UNITS_PER_PAGE};
use crate::record::{self, Record, RecordKind, TAG_LEN};
use crate::salvage::is_proven;
use base::{HashMap, ShardId};
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What is wrong with a place of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// A part of the log that was durable is no block any more.
    Block,
    /// A block with one flipped bit, which reads put right in memory.
    FlippedBit,
    /// A message in a good block that does not match its own marks.
    Message,
    /// A segment between two others is not there.
    MissingSegment,
    /// A segment's header, which a start replaces.
    SegmentHeader,
    /// A page of the queue index, which is made again from the log.
    IndexPage,
    /// A run of the key index, which is made again from the log.
    KeyRun,
    /// The tail ring of a store that was not closed in order.
    TailRing,
    /// A checkpoint, without which a start reads more.
    Checkpoint,
    /// Offsets of a queue that no message in the log has.
    Offsets,
    /// The file that says what the store was made with.
    Layout,
}

impl FindingKind {
    /// The word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::FlippedBit => "flippedBit",
            Self::Message => "message",
            Self::MissingSegment => "missingSegment",
            Self::SegmentHeader => "segmentHeader",
            Self::IndexPage => "indexPage",
            Self::KeyRun => "keyRun",
            Self::TailRing => "tailRing",
            Self::Checkpoint => "checkpoint",
            Self::Offsets => "offsets",
            Self::Layout => "layout",
        }
    }

    /// Whether messages are lost by it. Everything else the broker puts right or works around.
    pub fn loses_messages(self) -> bool {
        matches!(
            self,
            Self::Block | Self::Message | Self::MissingSegment | Self::Offsets | Self::TailRing
        )
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// The shard.
    pub shard: u16,
    /// The file.
    pub path: PathBuf,
    /// Where in the file, in bytes.
    pub position: u64,
    /// How much, in bytes.
    pub len: u64,
    /// A sentence.
    pub text: String,
}

/// What was seen of one shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardSummary {
    /// The shard.
    pub shard: u16,
    /// Segments.
    pub segments: u64,
    /// Good blocks.
    pub blocks: u64,
    /// Messages in them.
    pub messages: u64,
    /// Internal records in them.
    pub records: u64,
    /// Good pages of the queue index.
    pub index_pages: u64,
    /// Good pages of the key index.
    pub key_pages: u64,
    /// Good blocks that only the tail ring holds, which the next start brings into the log.
    pub ring_blocks: u64,
    /// Records in them.
    pub ring_records: u64,
    /// Where the log starts.
    pub start: u64,
    /// Where the last good block ends.
    pub end: u64,
    /// Everything before was durable, as far as anything tells.
    pub durable: u64,
    /// Bytes behind the durable position that are no block: a torn tail, which the next start
    /// erases, or what a segment held before it was used again.
    pub tail_bytes: u64,
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Version of the format.
    pub format_version: u16,
    /// One per shard.
    pub shards: Vec<ShardSummary>,
    /// What is wrong, in order of shard and place.
    pub findings: Vec<Finding>,
    /// Bytes that were read.
    pub bytes_read: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks a whole store. `progress` is told how many bytes more were read.
///
/// # Errors
/// The directory is no store of this format, or a file cannot be read.
pub fn verify<S: Source>(
    source: &S,
    root: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<VerifyReport, VerifyError> {
    let (layout, layout_is_damaged) = read_layout(source, root)?;
    let mut report = VerifyReport {
        format_version: layout.format_version,
        ..VerifyReport::default()
    };
    if layout_is_damaged {
        report.findings.push(Finding {
            kind: FindingKind::Layout,
            shard: 0,
            path: root.join("layout"),
            position: 0,
            len: 0,
            text: "the file has one flipped bit; it is read as it was".to_owned(),
        });
    }
    for number in 0..layout.shard_count {
        let files = ShardFiles::read(source, root, &layout, ShardId::new(number))?;
        let mut check = Check::new(&files, progress);
        check.checkpoints();
        check.segments(source)?;
        check.index(source)?;
        check.tail_ring(source)?;
        check.key_index(source)?;
        let Check {
            summary,
            mut findings,
            bytes_read,
            ..
        } = check;
        findings.sort_by(|a, b| (&a.path, a.position).cmp(&(&b.path, b.position)));
        report.shards.push(summary);
        report.findings.extend(findings);
        report.bytes_read += bytes_read;
    }
    Ok(report)
}

pub(super) struct Check<'a> {
    pub(super) files: &'a ShardFiles,
    progress: &'a mut dyn FnMut(u64),
    pub(super) summary: ShardSummary,
    findings: Vec<Finding>,
    holes: Vec<Hole>,
    /// Next offset of each queue by the log, by topic.
    queues: HashMap<String, HashMap<u32, i64>>,
    bytes_read: u64,
    path: PathBuf,
    segment_start: u64,
    segment_end: u64,
}

impl<'a> Check<'a> {
    fn new(files: &'a ShardFiles, progress: &'a mut dyn FnMut(u64)) -> Self {
        let newest = files.newest_checkpoint();
        let summary = ShardSummary {
            shard: files.shard.as_u16(),
            segments: files.segments.len() as u64,
            start: files.segments.first().map_or(0, |segment| segment.start),
            durable: newest.map_or(0, |checkpoint| checkpoint.head.durable),
            ..ShardSummary::default()
        };
        Self {
            files,
            progress,
            summary,
            findings: Vec::new(),
            holes: Vec::new(),
            queues: HashMap::default(),
            bytes_read: 0,
            path: PathBuf::new(),
            segment_start: 0,
            segment_end: 0,
        }
    }

    pub(super) fn find(
        &mut self,
        kind: FindingKind,
        path: &Path,
        position: u64,
        len: u64,
        text: String,
    ) {
        let (shard, path) = (self.files.shard.as_u16(), path.to_owned());
        self.findings.push(Finding {
            kind,
            shard,
            path,
            position,
            len,
            text,
        });
    }

    fn checkpoints(&mut self) {
        for slot in 0..2 {
            if matches!(self.files.checkpoints[slot], Saved::Damaged) {
                let path = self.files.paths.checkpoint(slot as u8);
                let text = "the checkpoint is damaged; a start reads more of the log".to_owned();
                self.find(FindingKind::Checkpoint, &path, 0, 0, text);
            }
        }
    }

    fn segments<S: Source>(&mut self, source: &S) -> Result<(), VerifyError> {
        let files = self.files;
        let headers = files.segments.iter().filter_map(|segment| segment.header);
        let len = headers.map(|header| header.segment_bytes).next();
        for (index, segment) in files.segments.iter().enumerate() {
            let path = files.paths.segment(segment.start);
            let before = index
                .checked_sub(1)
                .map(|before| files.segments[before].start);
            if let (Some(before), Some(len)) = (before, len)
                && before + len < segment.start
            {
                let (from, missing) = (before + len, segment.start - before - len);
                let text =
                    format!("{missing} bytes of the log from position {from} on are not there");
                let gone = files.paths.segment(from);
                self.find(FindingKind::MissingSegment, &gone, 0, missing, text);
            }
            (self.segment_start, self.path) = (segment.start, path.clone());
            self.segment_end = segment.start + segment.len;
            let identity = files.identity(segment);
            let walked = walk::segment(source, &path, segment, identity, self);
            let _never_stops = walked.map_err(VerifyError::io(&path))?;
            self.header(segment, &path);
        }
        self.judge_holes();
        Ok(())
    }

    /// A segment that was being prepared has no header yet, and no block.
    fn header(&mut self, segment: &Segment, path: &Path) {
        let has_blocks = self.summary.end > segment.start;
        if segment.header.is_none() && has_blocks {
            let text = "the header is damaged; a start replaces it".to_owned();
            self.find(FindingKind::SegmentHeader, path, 0, 44, text);
        }
    }

    /// What lies below the mark is damage, the rest was never durable.
    fn judge_holes(&mut self) {
        let mark = self.summary.durable;
        for hole in std::mem::take(&mut self.holes) {
            if hole.from >= mark {
                self.summary.tail_bytes += if hole.is_zero { 0 } else { hole.to - hole.from };
                continue;
            }
            let to = hole.to.min(mark);
            let (start, end) = (hole.from, to);
            let holder = self.files.segments.iter().rfind(|s| s.start <= start);
            let segment = holder.map_or(0, |segment| segment.start);
            let path = self.files.paths.segment(segment);
            let mut text = format!("log positions {start} to {end} were durable and are no block");
            if hole.proven > 0 {
                let _infallible = write!(text, "; {} messages in it are readable", hole.proven);
            }
            self.find(
                FindingKind::Block,
                &path,
                start - segment,
                end - start,
                text,
            );
        }
    }

    fn message(&mut self, position: u64, unit: &[u8]) {
        self.summary.messages += 1;
        if !is_proven(position, unit) {
            let text =
                format!("the message at log position {position} does not match its own marks");
            let path = self.path.clone();
            let at = position - self.segment_start;
            self.find(FindingKind::Message, &path, at, unit.len() as u64, text);
            return;
        }
        let Some(head) = record::message_head(unit) else {
            return;
        };
        let (id, next) = (head.queue_id.0, head.queue_offset.0 + 1);
        if let Some(queues) = self.queues.get_mut(head.topic) {
            queues.insert(id, next);
        } else {
            let queues = [(id, next)].into_iter().collect();
            self.queues.insert(head.topic.to_owned(), queues);
        }
    }

    fn index<S: Source>(&mut self, source: &S) -> Result<(), VerifyError> {
        let Some(checkpoint) = self.files.newest_checkpoint() else {
            return Ok(());
        };
        let mut bytes = vec![0; PAGE_LEN];
        for queue in &checkpoint.queues {
            let fingerprint = Page::fingerprint(&queue.topic, queue.queue);
            for (chunk, page) in queue.pages.iter().enumerate() {
                let chunk = chunk as i64;
                let is_trimmed = (chunk + 1) * UNITS_PER_PAGE as i64 <= queue.min;
                if is_trimmed {
                    continue;
                }
                let key = PageKey {
                    shard: self.files.shard,
                    page: *page,
                    queue: fingerprint,
                    chunk,
                };
                self.page(source, key, &queue.topic, queue.queue.0, &mut bytes)?;
            }
            let known = self
                .queues
                .get(&queue.topic)
                .and_then(|q| q.get(&queue.queue.0));
            let found = known.copied().unwrap_or(queue.min);
            if found < queue.next && self.findings.iter().all(|f| !f.kind.loses_messages()) {
                let text = format!(
                    "queue {} of {} ends at offset {}, in the log at {found}",
                    queue.queue.0, queue.topic, queue.next
                );
                let path = self.files.paths.commit_log.clone();
                self.find(FindingKind::Offsets, &path, 0, 0, text);
            }
        }
        Ok(())
    }

    fn page<S: Source>(
        &mut self,
        source: &S,
        key: PageKey,
        topic: &str,
        queue: u32,
        bytes: &mut [u8],
    ) -> Result<(), VerifyError> {
        let (path, position) = index_page(self.files, key.page);
        let got = match source.read(&path, position, bytes) {
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(VerifyError::io(&path)(error)),
        };
        Visit::read(self, got as u64);
        if Page::decode(key, &bytes[..got]).is_some() {
            self.summary.index_pages += 1;
        } else {
            let text = format!(
                "page {} of the queue index, chunk {} of queue {queue} of {topic}, is damaged; it is \
                 made again from the log",
                key.page, key.chunk
            );
            self.find(
                FindingKind::IndexPage,
                &path,
                position,
                PAGE_LEN as u64,
                text,
            );
        }
        Ok(())
    }
}

/// File and place of a page of the queue index.
fn index_page(files: &ShardFiles, page: u32) -> (PathBuf, u64) {
    let per_file = files.pages_per_file;
    let position = u64::from(page % per_file) * PAGE_LEN as u64;
    (files.paths.index_file(page / per_file), position)
}

impl Visit for Check<'_> {
    fn block(&mut self, block: &WalkedBlock<'_>) -> ControlFlow<()> {
        let header = &block.header;
        let position = header.position.0;
        self.summary.blocks += 1;
        self.summary.durable = self.summary.durable.max(header.durable_before.0);
        self.summary.end = header.end();
        if block.repaired {
            let text = format!("the block at log position {position} has one flipped bit");
            let (path, at) = (self.path.clone(), position - self.segment_start);
            let len = u64::from(header.block_len);
            self.find(FindingKind::FlippedBit, &path, at, len, text);
        }
        let mut at = 0;
        while let Some((record, len)) = block.payload.get(at..).and_then(record::first) {
            match record {
                Record::Message { unit, .. } => {
                    let place = position + (crate::block::HEADER_LEN + at + TAG_LEN) as u64;
                    self.message(place, unit);
                }
                Record::Internal { kind, payload } => {
                    self.summary.records += 1;
                    if kind == RecordKind::QUEUE_DELETED
                        && let Some((topic, id)) = record::deleted_queue(payload)
                        && let Some(queues) = self.queues.get_mut(topic)
                    {
                        queues.remove(&id.0);
                    }
                }
            }
            at += len;
        }
        ControlFlow::Continue(())
    }

    fn hole(&mut self, hole: Hole) {
        self.holes.push(hole);
    }

    fn read(&mut self, bytes: u64) {
        self.bytes_read += bytes;
        if bytes > 0 {
            (self.progress)(bytes);
        }
    }
}
