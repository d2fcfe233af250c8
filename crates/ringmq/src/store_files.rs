//! Files of a store as plain bytes, for the sub-commands that need no engine.
//!
//! Long reads in order are made by a few threads ahead of the reader, past the page cache, so that
//! the disk always has some to do while the reader checks what came. Everything else is a
//! conventional read. Invariant: nothing is opened for writing, and memory is a few pieces.

use nix::libc;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Reads of at least so many bytes go through a file in order.
const AHEAD_FROM: usize = 1 << 20;
/// How many pieces are read at once, and how long one is.
const READERS: u64 = 4;
const PIECE_LEN: usize = 2 << 20;
/// What direct reads are aligned to.
const ALIGN: usize = 4_096;

/// See the module. Keeps the last file open.
#[derive(Debug, Default)]
pub(crate) struct Files {
    last: RefCell<Option<(PathBuf, File)>>,
    ahead: RefCell<Option<Ahead>>,
}

impl store::Source for Files {
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                names.push((
                    entry.file_name().to_string_lossy().into_owned(),
                    metadata.len(),
                ));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, path: &Path, position: u64, into: &mut [u8]) -> io::Result<usize> {
        if into.len() >= AHEAD_FROM {
            let mut ahead = self.ahead.borrow_mut();
            if ahead.as_ref().is_none_or(|a| !a.goes_on(path, position)) {
                *ahead = Some(Ahead::start(path, position)?);
            }
            let ahead = ahead.as_mut().expect("it was started");
            return ahead.take(into);
        }
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| known != path) {
            *last = Some((path.to_owned(), File::open(path)?));
        }
        match last.as_ref() {
            Some((_, file)) => fill(file, position, into, 1),
            None => Ok(0),
        }
    }
}

/// Reads as much as there is. A read that ends inside a step is the last of its file: with direct I/O
/// the next one would not be aligned.
fn fill(file: &File, position: u64, into: &mut [u8], step: usize) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() && filled.is_multiple_of(step) {
        match file.read_at(&mut into[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A file that is read from some place to its end.
#[derive(Debug)]
struct Ahead {
    path: PathBuf,
    /// Where the next read begins.
    next: u64,
    /// Of each reader: pieces in order, every `READERS`th of the file.
    pieces: Vec<Receiver<io::Result<Piece>>>,
    /// Which piece comes next.
    turn: u64,
    present: Piece,
}

/// Bytes of a file in memory that is aligned for direct reads.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Ahead {
    fn start(path: &Path, position: u64) -> io::Result<Self> {
        let file = Arc::new(open_direct(path)?);
        let begin = position - position % ALIGN as u64;
        let readers = (0..READERS).map(|reader| {
            let first = begin + reader * PIECE_LEN as u64;
            start_reader(Arc::clone(&file), first)
        });
        let mut ahead = Self {
            path: path.to_owned(),
            next: begin,
            pieces: readers.collect(),
            turn: 0,
            present: Piece::default(),
        };
        let mut skipped = vec![0; (position - begin) as usize];
        ahead.take(&mut skipped)?;
        ahead.next = position;
        Ok(ahead)
    }

    fn goes_on(&self, path: &Path, position: u64) -> bool {
        self.path == path && self.next == position
    }

    fn take(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            if self.present.from == self.present.to {
                let receiver = &self.pieces[(self.turn % READERS) as usize];
                let Ok(piece) = receiver.recv() else {
                    break;
                };
                self.turn += 1;
                self.present = piece?;
                if self.present.from == self.present.to {
                    break;
                }
            }
            let rest = &self.present.bytes[self.present.from..self.present.to];
            let len = rest.len().min(into.len() - filled);
            into[filled..filled + len].copy_from_slice(&rest[..len]);
            self.present.from += len;
            filled += len;
        }
        self.next += filled as u64;
        Ok(filled)
    }
}

/// A thread that ends when the file does, or when nobody takes its pieces any more.
#[expect(
    clippy::disallowed_methods,
    reason = "a program for people, outside of the engine"
)]
fn start_reader(file: Arc<File>, first: u64) -> Receiver<io::Result<Piece>> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || read_every(&file, first, &sender));
    receiver
}

/// Reads one piece in `READERS` until the end of the file.
fn read_every(file: &File, first: u64, sender: &SyncSender<io::Result<Piece>>) {
    let mut position = first;
    loop {
        let mut bytes = vec![0; PIECE_LEN + ALIGN];
        let from = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        let read = fill(file, position, &mut bytes[from..from + PIECE_LEN], ALIGN);
        let is_end = !matches!(read, Ok(PIECE_LEN));
        let piece = read.map(|len| Piece {
            bytes,
            from,
            to: from + len,
        });
        if sender.send(piece).is_err() || is_end {
            return;
        }
        position += READERS * PIECE_LEN as u64;
    }
}

/// Past the page cache where the file system can do that.
fn open_direct(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECT);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => File::open(path),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Source;

    #[test]
    fn what_is_read_ahead_is_what_the_file_holds_from_every_place() {
        let path = std::env::temp_dir().join(format!("ahead-{}", std::process::id()));
        for len in [0, 5, ALIGN, PIECE_LEN, 9 * PIECE_LEN + 4_097] {
            let content: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
            fs::write(&path, &content).unwrap();
            for begin in [0, 1, 4_096, PIECE_LEN, 3 * PIECE_LEN + 77] {
                let files = Files::default();
                let mut read = Vec::new();
                let mut into = vec![0; AHEAD_FROM + 333];
                loop {
                    let at = (begin + read.len()) as u64;
                    let got = files.read(&path, at, &mut into).unwrap();
                    read.extend_from_slice(&into[..got]);
                    if got < into.len() {
                        break;
                    }
                }
                assert!(read == content[begin.min(len)..], "{len} from {begin}");
            }
        }
        fs::remove_file(path).unwrap();
        let missing = Files::default().read(Path::new("/no/such"), 0, &mut vec![0; AHEAD_FROM]);
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
