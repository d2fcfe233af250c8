//! The record of everything that changed the disk, and its reader.
//!
//! Written by the mount in the order in which operations were completed, before their answer is
//! sent; read by whoever replays. Invariants: `end_ns` never goes back from record to record; an
//! operation that failed is not recorded; a record that the end of the file cuts off is not read.
//!
//! Numbers are little-endian: length of the rest (4), kind (1), begin and end (8, 8), two numbers
//! (8, 8), length of the path (2), the path, the bytes.

use crate::clock::monotonic_ns;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

/// A record: what was done, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When the request came, ns.
    pub begin_ns: u64,
    /// When it was done, before it was answered, ns.
    pub end_ns: u64,
    /// What was done.
    pub what: What,
}

/// A change, or a sync. Files are named by their node, which a rename does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A name for a new file.
    Create {
        /// The file.
        node: u64,
        /// Its path below the mount.
        path: String,
    },
    /// A new directory.
    MakeDir {
        /// Its path.
        path: String,
    },
    /// Bytes at a position.
    Write {
        /// The file.
        node: u64,
        /// Where, bytes.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Zeros at a position.
    Zeros {
        /// The file.
        node: u64,
        /// Where, bytes.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// A new length, by truncation or allocation.
    SetLen {
        /// The file.
        node: u64,
        /// Its length from now on.
        len: u64,
    },
    /// A new path; what was there is gone.
    Rename {
        /// The old path.
        from: String,
        /// The new one.
        to: String,
    },
    /// A path is gone, of a file or a directory.
    Remove {
        /// Which.
        path: String,
    },
    /// fsync or fdatasync of a file.
    Sync {
        /// The file.
        node: u64,
    },
    /// fsync of a directory.
    SyncDir {
        /// Its path; empty for the top.
        path: String,
    },
    /// A line of the campaign.
    Mark {
        /// What it said.
        text: String,
    },
}

/// Writes records.
#[derive(Debug)]
pub(crate) struct Writer {
    out: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Writer {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            out: BufWriter::with_capacity(1 << 20, File::create(path)?),
            failed: None,
        })
    }

    /// Adds a record that ends now. An error is kept and told by [`Writer::finish`].
    pub(crate) fn add(&mut self, begin_ns: u64, what: &What) {
        if self.failed.is_none() {
            let end_ns = monotonic_ns();
            self.failed = put(&mut self.out, begin_ns, end_ns, what).err();
        }
    }

    /// Hands everything to the kernel.
    ///
    /// # Errors
    /// What was wrong with any record since the start.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }
}

fn put(out: &mut impl Write, begin_ns: u64, end_ns: u64, what: &What) -> io::Result<()> {
    let none: &[u8] = &[];
    let (kind, a, b, text, bytes) = match what {
        What::Create { node, path } => (1u8, *node, 0, path.as_str(), none),
        What::MakeDir { path } => (2, 0, 0, path.as_str(), none),
        What::Write {
            node,
            offset,
            bytes,
        } => (3, *node, *offset, "", bytes.as_slice()),
        What::Zeros { node, offset, len } => {
            let len = len.to_le_bytes();
            return put_raw(out, [begin_ns, end_ns, *node, *offset], 4, "", &len);
        }
        What::SetLen { node, len } => (5, *node, *len, "", none),
        What::Rename { from, to } => (6, 0, 0, from.as_str(), to.as_bytes()),
        What::Remove { path } => (7, 0, 0, path.as_str(), none),
        What::Sync { node } => (8, *node, 0, "", none),
        What::SyncDir { path } => (9, 0, 0, path.as_str(), none),
        What::Mark { text } => (10, 0, 0, "", text.as_bytes()),
    };
    put_raw(out, [begin_ns, end_ns, a, b], kind, text, bytes)
}

fn put_raw(
    out: &mut impl Write,
    numbers: [u64; 4],
    kind: u8,
    text: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let text_len =
        u16::try_from(text.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let len = FIXED_LEN + text.len() + bytes.len();
    let len = u32::try_from(len).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&[kind])?;
    for number in numbers {
        out.write_all(&number.to_le_bytes())?;
    }
    out.write_all(&text_len.to_le_bytes())?;
    out.write_all(text.as_bytes())?;
    out.write_all(bytes)
}

/// Kind, four numbers and the length of the path.
const FIXED_LEN: usize = 1 + 4 * 8 + 2;
const RECORD_LEN_MAX: usize = 64 << 20;

/// All records of a trace, in order.
///
/// # Errors
/// The file cannot be read, or a record is not one.
pub fn read(path: &Path) -> io::Result<Vec<Event>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut events = Vec::new();
    loop {
        let mut len = [0; 4];
        let mut record = Vec::new();
        let whole = file.read_exact(&mut len).and_then(|()| {
            let len = u32::from_le_bytes(len) as usize;
            if !(FIXED_LEN..=RECORD_LEN_MAX).contains(&len) {
                return Err(wrong("a record's length", events.len()));
            }
            record.resize(len, 0);
            file.read_exact(&mut record)
        });
        match whole {
            Ok(()) => events.push(take(&record).ok_or_else(|| wrong("a record", events.len()))?),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(events),
            Err(error) => return Err(error),
        }
    }
}

fn wrong(what: &str, index: usize) -> io::Error {
    let message = format!("{what} at number {index} of the trace is not one");
    io::Error::new(ErrorKind::InvalidData, message)
}

fn take(record: &[u8]) -> Option<Event> {
    let number = |index: usize| {
        let bytes = record.get(1 + index * 8..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let text_len = u16::from_le_bytes(*record.get(FIXED_LEN - 2..)?.first_chunk()?) as usize;
    let path = String::from_utf8(record.get(FIXED_LEN..FIXED_LEN + text_len)?.to_vec()).ok()?;
    let bytes = record.get(FIXED_LEN + text_len..)?;
    let (node, b) = (number(2)?, number(3)?);
    let what = match *record.first()? {
        1 => What::Create { node, path },
        2 => What::MakeDir { path },
        3 => What::Write {
            node,
            offset: b,
            bytes: bytes.to_vec(),
        },
        4 => What::Zeros {
            node,
            offset: b,
            len: u64::from_le_bytes(*bytes.first_chunk()?),
        },
        5 => What::SetLen { node, len: b },
        6 => What::Rename {
            from: path,
            to: String::from_utf8(bytes.to_vec()).ok()?,
        },
        7 => What::Remove { path },
        8 => What::Sync { node },
        9 => What::SyncDir { path },
        10 => What::Mark {
            text: String::from_utf8(bytes.to_vec()).ok()?,
        },
        _ => return None,
    };
    Some(Event {
        begin_ns: number(0)?,
        end_ns: number(1)?,
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_read_and_a_cut_record_is_not() {
        let path = std::env::temp_dir().join(format!("faultfs-trace-{}", std::process::id()));
        let whats = [
            What::Create {
                node: 5,
                path: "a/b".to_owned(),
            },
            What::Write {
                node: 5,
                offset: 512,
                bytes: vec![7; 600],
            },
            What::Zeros {
                node: 5,
                offset: 4_096,
                len: 1 << 20,
            },
            What::SetLen { node: 5, len: 9 },
            What::Rename {
                from: "a/b".to_owned(),
                to: "a/c".to_owned(),
            },
            What::Sync { node: 5 },
            What::SyncDir {
                path: String::new(),
            },
            What::Remove {
                path: "a/c".to_owned(),
            },
            What::Mark {
                text: "end".to_owned(),
            },
        ];
        let mut writer = Writer::create(&path).unwrap();
        for what in &whats {
            writer.add(3, what);
        }
        writer.finish().unwrap();
        let events = read(&path).unwrap();
        assert!(events.iter().map(|event| &event.what).eq(&whats));
        assert!(events.is_sorted_by_key(|event| event.end_ns));
        let len = std::fs::metadata(&path).unwrap().len();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(len - 1)
            .unwrap();
        assert_eq!(read(&path).unwrap().len(), whats.len() - 1);
        std::fs::remove_file(&path).unwrap();
    }
}
