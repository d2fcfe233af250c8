//! History files: a header of 64 bytes, then records; beside it `NAME.strings` with the side table.
//!
//! Header: `RMQHIST1`, record length `u32`, 0 `u32`, run `u64`, zeros; little-endian. A string is
//! `id u16 | len u16 | bytes`, ids counting from 1. Invariant: a string is written before the first
//! record that names it; a record or string that was cut off at the end of its file is passed over.

use crate::error::HistoryError;
use crate::record::{RECORD_LEN, Record};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"RMQHIST1";
const BUFFER_BYTES: usize = 1 << 18;

/// Topics, groups and brokers by number; 0 is the empty string.
#[derive(Debug, Clone)]
pub struct Strings {
    list: Vec<String>,
    ids: BTreeMap<String, u16>,
}

impl Default for Strings {
    fn default() -> Self {
        Self {
            list: vec![String::new()],
            ids: BTreeMap::from([(String::new(), 0)]),
        }
    }
}

impl Strings {
    /// The number of a string, given a new one when it is new.
    ///
    /// # Errors
    /// When there are too many.
    pub fn intern(&mut self, text: &str) -> Result<u16, HistoryError> {
        if let Some(id) = self.ids.get(text) {
            return Ok(*id);
        }
        let id = u16::try_from(self.list.len()).map_err(|_| HistoryError::TooManyStrings)?;
        self.list.push(text.to_owned());
        self.ids.insert(text.to_owned(), id);
        Ok(id)
    }

    /// The number of a string that is there.
    pub fn find(&self, text: &str) -> Option<u16> {
        self.ids.get(text).copied()
    }

    /// The string of a number; `?` for one that does not exist.
    pub fn text(&self, id: u16) -> &str {
        self.list.get(usize::from(id)).map_or("?", String::as_str)
    }

    /// How many there are, with the empty one.
    #[expect(
        clippy::len_without_is_empty,
        reason = "the empty string is always there"
    )]
    pub fn len(&self) -> usize {
        self.list.len()
    }
}

/// Writes one history. One process may share it behind a lock, in which the clock is read as well.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    records: BufWriter<File>,
    side: File,
    strings: Strings,
    last_ns: u64,
}

impl Writer {
    /// A new history of a run.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn create(path: &Path, run: u64) -> Result<Self, HistoryError> {
        let io = |error| HistoryError::Io {
            path: path.to_owned(),
            error,
        };
        let mut records = BufWriter::with_capacity(BUFFER_BYTES, File::create(path).map_err(io)?);
        let mut header = [0; RECORD_LEN];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&(RECORD_LEN as u32).to_le_bytes());
        header[16..24].copy_from_slice(&run.to_le_bytes());
        records.write_all(&header).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            records,
            side: File::create(strings_of(path)).map_err(io)?,
            strings: Strings::default(),
            last_ns: 0,
        })
    }

    /// The number of a string in this file.
    ///
    /// # Errors
    /// When the side table is full or cannot be written.
    pub fn string(&mut self, text: &str) -> Result<u16, HistoryError> {
        let before = self.strings.len();
        let id = self.strings.intern(text)?;
        if self.strings.len() > before {
            let len = u16::try_from(text.len()).map_err(|_| HistoryError::Strings {
                path: self.path.clone(),
                what: "a string longer than 65,535 bytes",
            })?;
            let mut entry = id.to_le_bytes().to_vec();
            entry.extend_from_slice(&len.to_le_bytes());
            entry.extend_from_slice(text.as_bytes());
            let path = &self.path;
            self.side
                .write_all(&entry)
                .map_err(|error| HistoryError::Io {
                    path: path.clone(),
                    error,
                })?;
        }
        Ok(id)
    }

    /// Appends a record.
    ///
    /// # Errors
    /// When the file cannot be written.
    ///
    /// # Panics
    /// When the record is older than the one before: the clock must be read under the writer's lock.
    pub fn append(&mut self, record: &Record) -> Result<(), HistoryError> {
        assert!(
            record.t_ns >= self.last_ns,
            "records are written in time order"
        );
        self.last_ns = record.t_ns;
        self.records
            .write_all(&record.encode())
            .map_err(|error| HistoryError::Io {
                path: self.path.clone(),
                error,
            })
    }

    /// Hands everything to the kernel.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), HistoryError> {
        self.records.flush().map_err(|error| HistoryError::Io {
            path: self.path.clone(),
            error,
        })
    }
}

fn strings_of(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".strings");
    name.into()
}

/// Reads one history from its beginning; strings are translated into a common table.
pub(crate) struct Reader {
    path: PathBuf,
    records: BufReader<File>,
    translate: Vec<u16>,
    index: u64,
    last_ns: u64,
    /// The run that the header names.
    pub(crate) run: u64,
}

impl Reader {
    pub(crate) fn open(path: &Path, common: &mut Strings) -> Result<Self, HistoryError> {
        let io = |error| HistoryError::Io {
            path: path.to_owned(),
            error,
        };
        let mut records = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(io)?);
        let mut header = [0; RECORD_LEN];
        records
            .read_exact(&mut header)
            .map_err(|_| HistoryError::Magic(path.to_owned()))?;
        if &header[..8] != MAGIC {
            return Err(HistoryError::Magic(path.to_owned()));
        }
        let len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if len as usize != RECORD_LEN {
            return Err(HistoryError::RecordLen {
                path: path.to_owned(),
                len,
            });
        }
        let mut run = [0; 8];
        run.copy_from_slice(&header[16..24]);
        let side = std::fs::read(strings_of(path)).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            records,
            translate: translate(path, &side, common)?,
            index: 0,
            last_ns: 0,
            run: u64::from_le_bytes(run),
        })
    }

    /// The next record; `None` at the end, also when the last one was cut off.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, HistoryError> {
        let mut bytes = [0; RECORD_LEN];
        match self.records.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => {
                return Err(HistoryError::Io {
                    path: self.path.clone(),
                    error,
                });
            }
        }
        let mut record = Record::decode(&bytes)?;
        if record.t_ns < self.last_ns {
            return Err(HistoryError::Order {
                path: self.path.clone(),
                index: self.index,
            });
        }
        self.last_ns = record.t_ns;
        for id in [&mut record.topic, &mut record.group, &mut record.broker] {
            *id = *self
                .translate
                .get(usize::from(*id))
                .ok_or(HistoryError::NoString {
                    path: self.path.clone(),
                    index: self.index,
                    id: *id,
                })?;
        }
        self.index += 1;
        Ok(Some(record))
    }
}

fn translate(path: &Path, side: &[u8], common: &mut Strings) -> Result<Vec<u16>, HistoryError> {
    let broken = |what| HistoryError::Strings {
        path: path.to_owned(),
        what,
    };
    let mut translate = vec![0];
    let mut rest = side;
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let id = u16::from_le_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let Some((text, after)) = after.split_at_checked(len) else {
            break;
        };
        if usize::from(id) != translate.len() {
            return Err(broken("the strings are not numbered from 1 on"));
        }
        let text = std::str::from_utf8(text).map_err(|_| broken("a string is no UTF-8"))?;
        translate.push(common.intern(text)?);
        rest = after;
    }
    Ok(translate)
}
