//! A store directory in one small file: names, lengths, and the pieces that are not zeros,
//! compressed.
//!
//! For fixtures only, shared by the test that reads them and the one that writes them. Layout
//! before compression, numbers little-endian: for each file the length of its path (2), path,
//! length of the file (8), number of pieces (4), and for each piece its place (8), length (4),
//! bytes.

#![allow(dead_code, reason = "one test reads, the other writes")]

use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const GRAIN: usize = 512;

/// One file of a packed directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PackedFile {
    /// Path below the root.
    pub(crate) path: String,
    /// Length in bytes.
    pub(crate) len: u64,
    /// What is not zeros: place and bytes.
    pub(crate) pieces: Vec<(u64, Vec<u8>)>,
}

impl PackedFile {
    fn of(path: String, bytes: &[u8]) -> Self {
        let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
        for (index, grain) in bytes.chunks(GRAIN).enumerate() {
            if grain.iter().all(|byte| *byte == 0) {
                continue;
            }
            let at = (index * GRAIN) as u64;
            match pieces.last_mut() {
                Some((start, piece)) if *start + piece.len() as u64 == at => piece.extend(grain),
                _ => pieces.push((at, grain.to_vec())),
            }
        }
        Self {
            path,
            len: bytes.len() as u64,
            pieces,
        }
    }
}

/// Packs every file below `root` but the lock.
pub(crate) fn pack(root: &Path) -> Vec<u8> {
    let mut out = ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for path in files_below(root) {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        if name == "lock" {
            continue;
        }
        let file = PackedFile::of(name.to_owned(), &fs::read(&path).unwrap());
        out.write_all(&(file.path.len() as u16).to_le_bytes())
            .unwrap();
        out.write_all(file.path.as_bytes()).unwrap();
        out.write_all(&file.len.to_le_bytes()).unwrap();
        out.write_all(&(file.pieces.len() as u32).to_le_bytes())
            .unwrap();
        for (at, bytes) in &file.pieces {
            out.write_all(&at.to_le_bytes()).unwrap();
            out.write_all(&(bytes.len() as u32).to_le_bytes()).unwrap();
            out.write_all(bytes).unwrap();
        }
    }
    out.finish().unwrap()
}

/// The files of a pack, in order of their paths.
pub(crate) fn unpack(packed: &[u8]) -> Vec<PackedFile> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    let mut rest = bytes.as_slice();
    let mut take = |len: usize| {
        let (taken, after) = rest.split_at(len);
        rest = after;
        taken
    };
    let mut left = bytes.len();
    let mut files = Vec::new();
    while left > 0 {
        let path_len = usize::from(u16::from_le_bytes(take(2).try_into().unwrap()));
        let path = String::from_utf8(take(path_len).to_vec()).unwrap();
        let len = u64::from_le_bytes(take(8).try_into().unwrap());
        let count = u32::from_le_bytes(take(4).try_into().unwrap());
        left -= 14 + path_len;
        let mut pieces = Vec::new();
        for _ in 0..count {
            let at = u64::from_le_bytes(take(8).try_into().unwrap());
            let piece_len = u32::from_le_bytes(take(4).try_into().unwrap()) as usize;
            pieces.push((at, take(piece_len).to_vec()));
            left -= 12 + piece_len;
        }
        files.push(PackedFile { path, len, pieces });
    }
    files
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Messages of a fixture: topic, queue, how many in the clean one, and how many more in the one
/// whose process was killed.
pub(crate) const QUEUES: [(&str, u32, i64, i64); 6] = [
    ("Orders", 0, 450, 12),
    ("Orders", 1, 30, 12),
    ("Orders", 2, 30, 0),
    ("Orders", 3, 1, 1),
    ("Payments", 0, 60, 8),
    ("Late", 0, 0, 25),
];

/// The body of a message of a fixture: it tells its own place.
pub(crate) fn body(topic: &str, queue: u32, offset: i64) -> String {
    format!("{topic}/{queue}/{offset} says the fixture")
}

/// What the group of a fixture has committed for a queue with so many messages.
pub(crate) fn committed(count: i64) -> i64 {
    count / 2
}

/// The group that committed.
pub(crate) const GROUP: &str = "fixture_group";
