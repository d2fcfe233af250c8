//! `ringmq store`: looks at a data directory that no broker has open.
//!
//! `verify` reads everything and says what is damaged; `dump` shows segments, blocks and messages.
//! Invariant: nothing is written, and a directory that a process holds is refused with its id.

use crate::args::{StoreCommand, StoreDump, StoreVerify};
use crate::failure::{Failure, Outcome};
use crate::progress::Progress;
use crate::store_files::Files;
use base::PhyOffset;
use remoting::message::{StoredMessage, properties};
use serde_json::{Value, json};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use store::{DumpedBlock, DumpedSegment, Dumper, VerifyError, VerifyReport, Wanted};

/// The store cannot be looked at; 1 is for damage.
const CODE_NOT_LOOKED_AT: u8 = 2;

/// Runs a sub-command of `store`.
///
/// # Errors
/// Code 1: damage was found. Code 2: the directory is no store, is in use or cannot be read.
pub(crate) fn run(command: &StoreCommand) -> Outcome {
    match command {
        StoreCommand::Verify(arguments) => verify(arguments),
        StoreCommand::Dump(arguments) => dump(arguments),
    }
}

fn not_looked_at(error: impl std::fmt::Display) -> Failure {
    Failure::with_code(error, CODE_NOT_LOOKED_AT)
}

fn hold(dir: &Path) -> Outcome<Option<store::RootLock>> {
    store::lock_root_for_reading(dir).map_err(|error| {
        let text = format!("{error}; stop it first: what it writes cannot be checked meanwhile");
        not_looked_at(text)
    })
}

fn verify(arguments: &StoreVerify) -> Outcome {
    let dir = &arguments.dir;
    let _lock = hold(dir)?;
    let files = Files::default();
    let total = store::stored_bytes(&files, dir).map_err(not_looked_at)?;
    let mut progress = Progress::new(total, arguments.no_progress);
    let report = store::verify(&files, dir, &mut |bytes| progress.add(bytes));
    let seconds = progress.end();
    let report = report.map_err(not_looked_at)?;
    let text = if arguments.json {
        format!("{:#}\n", json_of(&report, seconds))
    } else {
        text_of(&report, seconds)
    };
    crate::boot_lines::print(&text)?;
    if report.is_sound() {
        return Ok(());
    }
    let losses = report.findings.iter().filter(|f| f.kind.loses_messages());
    let (all, losses) = (report.findings.len(), losses.count());
    let text = format!(
        "{}: {all} damaged places, {losses} of them lose messages",
        dir.display()
    );
    Err(Failure::new(text))
}

fn text_of(report: &VerifyReport, seconds: f64) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for finding in &report.findings {
        let kind = finding.kind.name();
        let (path, at) = (finding.path.display(), finding.position);
        let _ = writeln!(text, "{kind}: {path} at {at}: {}", finding.text);
    }
    for shard in &report.shards {
        let _ = writeln!(
            text,
            "shard {}: {} segments, {} blocks, {} messages, {} records, {} index pages, {} key pages; \
             log {} to {}, durable to {}; {} bytes of torn tail, {} records in the tail ring only",
            shard.shard,
            shard.segments,
            shard.blocks,
            shard.messages,
            shard.records,
            shard.index_pages,
            shard.key_pages,
            shard.start,
            shard.end,
            shard.durable,
            shard.tail_bytes,
            shard.ring_records
        );
    }
    let mebibytes = report.bytes_read as f64 / f64::from(1 << 20);
    let rate = mebibytes / seconds.max(0.001);
    let sound = if report.is_sound() {
        "sound"
    } else {
        "damaged"
    };
    let _ = writeln!(
        text,
        "{sound}: {mebibytes:.0} MiB in {seconds:.1} s, {rate:.0} MiB/s"
    );
    text
}

fn json_of(report: &VerifyReport, seconds: f64) -> Value {
    let shard = |s: &store::ShardSummary| {
        json!({
            "shard": s.shard, "segments": s.segments, "blocks": s.blocks, "messages": s.messages,
            "records": s.records, "indexPages": s.index_pages, "keyPages": s.key_pages,
            "start": s.start, "end": s.end, "durable": s.durable, "tailBytes": s.tail_bytes,
            "ringBlocks": s.ring_blocks, "ringRecords": s.ring_records,
        })
    };
    let finding = |f: &store::Finding| {
        json!({
            "kind": f.kind.name(), "losesMessages": f.kind.loses_messages(), "shard": f.shard,
            "path": f.path.display().to_string(), "position": f.position, "length": f.len,
            "text": f.text,
        })
    };
    json!({
        "formatVersion": report.format_version,
        "sound": report.is_sound(),
        "bytesRead": report.bytes_read,
        "seconds": seconds,
        "shards": report.shards.iter().map(shard).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn dump(arguments: &StoreDump) -> Outcome {
    let _lock = hold(&arguments.dir)?;
    let at = match arguments.at.map(PhyOffset::from_wire) {
        Some(None) => return Err(not_looked_at("--at: a physical offset is not negative")),
        Some(at) => at,
        None => None,
    };
    let wanted = Wanted {
        shard: arguments.shard,
        segments: arguments.segments,
        blocks: arguments.blocks,
        topic: arguments.topic.clone(),
        queue: arguments.queue,
        offsets: arguments.from.unwrap_or(i64::MIN)..arguments.to.unwrap_or(i64::MAX),
        at,
        count_max: arguments.count,
    };
    let out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut printer = Printer {
        out,
        json: arguments.json,
        body: arguments.body,
    };
    let rows = store::dump(&Files::default(), &arguments.dir, &wanted, &mut printer);
    let flushed = printer.out.flush();
    match rows {
        // Who reads the first rows and goes wants no more.
        Err(VerifyError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(not_looked_at(error)),
        Ok(0) => Err(Failure::new("nothing of that is in the store")),
        Ok(_) if flushed.is_err() => Ok(()),
        Ok(_) => Ok(()),
    }
}

struct Printer<W> {
    out: W,
    json: bool,
    body: bool,
}

impl<W: Write> Dumper for Printer<W> {
    fn segment(&mut self, s: &DumpedSegment) -> io::Result<()> {
        if self.json {
            let row = json!({
                "shard": s.shard, "start": s.start, "fileLength": s.file_len,
                "generation": s.generation, "headerGood": s.has_header,
            });
            return writeln!(self.out, "{row}");
        }
        let header = if s.has_header {
            ""
        } else {
            ", header damaged or missing"
        };
        writeln!(
            self.out,
            "shard {} segment {:020}: {} bytes, generation {}{header}",
            s.shard, s.start, s.file_len, s.generation
        )
    }

    fn block(&mut self, b: &DumpedBlock) -> io::Result<()> {
        if self.json {
            let row = json!({
                "shard": b.shard, "position": b.position, "length": b.len,
                "payloadLength": b.payload_len, "records": b.records,
                "durableBefore": b.durable_before, "sealedMs": b.sealed_ms,
                "endOfSegment": b.end_of_segment, "flippedBit": b.has_flipped_bit,
            });
            return writeln!(self.out, "{row}");
        }
        let flipped = if b.has_flipped_bit {
            ", one flipped bit"
        } else {
            ""
        };
        let end = if b.end_of_segment {
            ", ends its segment"
        } else {
            ""
        };
        writeln!(
            self.out,
            "shard {} block {}: {} bytes, {} records of {} bytes, durable before {}{end}{flipped}",
            b.shard, b.position, b.len, b.records, b.payload_len, b.durable_before
        )
    }

    fn message(&mut self, m: &StoredMessage<'_>, tags_code: i64) -> io::Result<()> {
        let body = String::from_utf8_lossy(m.body);
        if self.json {
            let list = properties::iter(m.properties);
            let list: serde_json::Map<String, Value> = list
                .map(|(key, value)| (key.to_owned(), value.into()))
                .collect();
            let mut row = json!({
                "topic": m.topic, "queueId": m.queue_id, "queueOffset": m.queue_offset,
                "physicalOffset": m.phy_offset, "storeTimestampMs": m.store_timestamp_ms,
                "bornTimestampMs": m.born_timestamp_ms, "bornHost": m.born_host.to_string(),
                "flag": m.flag, "sysFlag": m.sys_flag, "reconsumeTimes": m.reconsume_times,
                "tagsCode": tags_code, "bodyLength": m.body.len(),
                "bodyGood": m.body_crc_matches(), "properties": list,
            });
            if self.body {
                row["body"] = body.into();
            }
            return writeln!(self.out, "{row}");
        }
        let shown = properties::iter(m.properties).map(|(key, value)| format!(" {key}={value}"));
        let shown: String = shown.collect::<String>().escape_debug().to_string();
        writeln!(
            self.out,
            "{} queue {} offset {} at {}: stored {} ms, {} bytes{shown}",
            m.topic.escape_debug(),
            m.queue_id,
            m.queue_offset,
            m.phy_offset,
            m.store_timestamp_ms,
            m.body.len()
        )?;
        if self.body {
            writeln!(self.out, "    {}", body.escape_debug())?;
        }
        Ok(())
    }
}
