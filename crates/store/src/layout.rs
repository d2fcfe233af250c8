//! Names on disk, and the layout file that says what a store was made with.
//!
//! Owned by the store. `<root>/layout` is written once; a store made with another format version,
//! shard count or alignment is refused with one sentence. Invariant: no topic or group name is
//! ever part of a path; every path is a fixed word or a number.

use base::ShardId;
use rt::{Disk, Rt};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of everything below the root.
pub const FORMAT_VERSION: u16 = 1;
const LAYOUT_NAME: &str = "layout";
const LAYOUT_LEN_MAX: usize = 4_096;
/// How long and how often a shard waits for the first one to make the layout.
const WAIT_MS: u64 = 10;
const WAITS_MAX: u32 = 1_000;
const FIRST_LINE: &str = "ringmq store";

/// What a store was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// [`FORMAT_VERSION`] of the program that made it.
    pub format_version: u16,
    /// How many shards it has.
    pub shard_count: u16,
    /// Alignment of log blocks, in bytes.
    pub block_align: usize,
}

/// Why a store's layout is refused.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Made by another format.
    #[error(
        "{path}: the store has format version {found}, this program reads version {wanted}; start \
         the program that made it, or use another directory"
    )]
    Version {
        /// The layout file.
        path: PathBuf,
        /// What it says.
        found: u16,
        /// What this program reads.
        wanted: u16,
    },
    /// Made with another number of shards.
    #[error(
        "{path}: the store was made with {found} shards and cannot be opened with {wanted}; \
         start with shards={found} or use another directory"
    )]
    ShardCount {
        /// The layout file.
        path: PathBuf,
        /// What it says.
        found: u16,
        /// What was asked for.
        wanted: u16,
    },
    /// A directory that something else lives in, or a store that lost its layout.
    #[error("{dir}: {reason}")]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// What was found and what to do.
        reason: String,
    },
    /// Not a layout file, or damaged.
    #[error(
        "{path}: not a layout file of a store: {reason}; restore that file from a copy of the store"
    )]
    Damaged {
        /// The layout file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk failed.
    #[error("{path}: {source}")]
    Io {
        /// The layout file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Layout {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}\nformatVersion={}\nshardCount={}\nblockAlign={}\n",
            self.format_version, self.shard_count, self.block_align
        );
        let sum = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "crc32={sum:08x}");
        text
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
        if text.lines().next() != Some(FIRST_LINE) {
            return Err(format!("the first line is not \"{FIRST_LINE}\""));
        }
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .ok_or_else(|| format!("{key} is missing"))
        };
        let number = |key: &str| {
            value(key)?
                .parse::<u32>()
                .map_err(|_| format!("{key} is not a number"))
        };
        let small =
            |key: &str| u16::try_from(number(key)?).map_err(|_| format!("{key} is out of range"));
        let layout = Self {
            format_version: small("formatVersion")?,
            shard_count: small("shardCount")?,
            block_align: number("blockAlign")? as usize,
        };
        if layout.format_version == FORMAT_VERSION && layout.to_text() != text {
            return Err("its checksum does not match".to_owned());
        }
        Ok(layout)
    }

    /// The same, with one flipped bit put right. Tells whether there was one.
    ///
    /// # Errors
    /// As [`Layout::parse`].
    pub(crate) fn read(text: &[u8]) -> Result<(Self, bool), String> {
        let parsed = Self::parse(text);
        let is_ours = parsed
            .as_ref()
            .is_ok_and(|l| l.format_version == FORMAT_VERSION);
        if is_ours || text.len() > 256 {
            return parsed.map(|layout| (layout, false));
        }
        let mut text = text.to_vec();
        for bit in 0..text.len() * 8 {
            text[bit / 8] ^= 1 << (bit % 8);
            let layout = Self::parse(&text).ok();
            if let Some(layout) = layout.filter(|layout| layout.format_version == FORMAT_VERSION) {
                return Ok((layout, true));
            }
            text[bit / 8] ^= 1 << (bit % 8);
        }
        parsed.map(|layout| (layout, false))
    }

    /// Reads what is there and checks it against what is wanted.
    fn check(text: &[u8], path: &Path, wanted: &Self) -> Result<Self, LayoutError> {
        let (found, is_repaired) = Self::read(text).map_err(|reason| LayoutError::Damaged {
            path: path.to_owned(),
            reason,
        })?;
        if is_repaired {
            tracing::error!(path = %path.display(), "the file has one flipped bit, read as it was");
        }
        found.accept(path, wanted)
    }

    /// Checks what is there against what is wanted. The alignment is taken from the store.
    fn accept(self, path: &Path, wanted: &Self) -> Result<Self, LayoutError> {
        if self.format_version != wanted.format_version {
            return Err(LayoutError::Version {
                path: path.to_owned(),
                found: self.format_version,
                wanted: wanted.format_version,
            });
        }
        if self.shard_count != wanted.shard_count {
            return Err(LayoutError::ShardCount {
                path: path.to_owned(),
                found: self.shard_count,
                wanted: wanted.shard_count,
            });
        }
        if !self.block_align.is_power_of_two() || !(512..=4_096).contains(&self.block_align) {
            return Err(LayoutError::Damaged {
                path: path.to_owned(),
                reason: format!("block alignment {} is not one", self.block_align),
            });
        }
        Ok(self)
    }

    fn wanted(shard_count: u16, block_align: usize) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            shard_count,
            block_align,
        }
    }
}

/// Looks whether the root directory can become, or is, a store of this shape. Changes nothing, so
/// that it may be asked before the [`crate::RootLock`] is taken.
///
/// # Errors
/// As [`prepare_root`].
pub fn inspect_root(root: &Path, shard_count: u16, block_align: usize) -> Result<(), LayoutError> {
    found_layout(root, &Layout::wanted(shard_count, block_align)).map(|_| ())
}

/// The layout that is there, checked; `None` when a new store may be made here.
fn found_layout(root: &Path, wanted: &Layout) -> Result<Option<Layout>, LayoutError> {
    let path = root.join(LAYOUT_NAME);
    let failed = |source| LayoutError::Io {
        path: path.clone(),
        source,
    };
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match std::fs::read(&path) {
        Ok(text) => Layout::check(&text, &path, wanted).map(Some),
        Err(error) if is_missing(&error) => {
            let names = match std::fs::read_dir(root) {
                Err(error) if is_missing(&error) => return Ok(None),
                names => names.map_err(failed)?,
            };
            let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            match foreign(&names.collect::<Vec<_>>()) {
                Some(reason) => Err(LayoutError::Foreign {
                    dir: root.to_owned(),
                    reason,
                }),
                None => Ok(None),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes the root directory and its layout file, or checks the one that is there. For programs:
/// to be called once, under the [`crate::RootLock`], before any shard opens.
///
/// # Errors
/// The store was made with another version or shard count, or the directory cannot be used.
pub fn prepare_root(
    root: &Path,
    shard_count: u16,
    block_align: usize,
) -> Result<Layout, LayoutError> {
    let path = root.join(LAYOUT_NAME);
    let failed = |source| LayoutError::Io {
        path: path.clone(),
        source,
    };
    let wanted = Layout::wanted(shard_count, block_align);
    if let Some(layout) = found_layout(root, &wanted)? {
        return Ok(layout);
    }
    let write = || {
        std::fs::create_dir_all(root)?;
        let fresh = root.join("layout.new");
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(wanted.to_text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)?;
        std::fs::File::open(root)?.sync_all()
    };
    write().map_err(failed)?;
    Ok(wanted)
}

/// Why a directory without a layout is no place for a new store. Nothing of it is touched.
fn foreign(names: &[String]) -> Option<String> {
    let has = |wanted: &dyn Fn(&str) -> bool| names.iter().any(|name| wanted(name));
    if has(&|name| name.starts_with("shard-")) {
        return Some(
            "there are shards of a store and no file named layout, without which they are not \
             opened; restore that file from a copy of the store"
                .to_owned(),
        );
    }
    if has(&|name| name == "commitlog") && has(&|name| name == "consumequeue" || name == "config") {
        return Some(
            "it holds a store of Apache RocketMQ, whose files are not read; nothing was changed; \
             choose another directory"
                .to_owned(),
        );
    }
    let is_ours = |name: &str| {
        ["lock", "layout.new", "namesrv", "lost+found", "logs"].contains(&name)
            || name.starts_with('.')
            || Path::new(name)
                .extension()
                .is_some_and(|end| end == "log" || end == "conf")
    };
    let others: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !is_ours(name))
        .collect();
    let first = others
        .iter()
        .take(3)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    (!others.is_empty()).then(|| {
        format!(
            "it is no store and holds other files ({first}); nothing was changed; choose an empty \
             directory"
        )
    })
}

/// The same through the runtime seam.
///
/// # Errors
/// As [`prepare_root`].
pub async fn prepare_root_on<D: Disk>(
    disk: &D,
    root: &Path,
    shard_count: u16,
    block_align: usize,
) -> Result<Layout, LayoutError> {
    let path = root.join(LAYOUT_NAME);
    let failed = |source| LayoutError::Io {
        path: path.clone(),
        source,
    };
    let wanted = Layout::wanted(shard_count, block_align);
    match disk.read_small(&path, LAYOUT_LEN_MAX).await {
        Ok(text) => Layout::check(&text, &path, &wanted),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.create_dir_all(root).await.map_err(failed)?;
            let text = wanted.to_text();
            disk.write_atomic(&path, text.as_bytes())
                .await
                .map_err(failed)?;
            Ok(wanted)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The same for a shard that opens: the first shard makes the layout, the others wait for it.
pub(crate) async fn prepare_root_of<R: Rt>(
    rt: &R,
    root: &Path,
    shard_count: u16,
    block_align: usize,
) -> Result<Layout, LayoutError> {
    let path = root.join(LAYOUT_NAME);
    for _ in 0..WAITS_MAX {
        let found = rt.disk().read_small(&path, LAYOUT_LEN_MAX).await;
        let missing = found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if rt.shard() == ShardId::CONTROL || !missing {
            break;
        }
        rt.sleep(Duration::from_millis(WAIT_MS)).await;
    }
    prepare_root_on(rt.disk(), root, shard_count, block_align).await
}

/// Paths of one shard.
#[derive(Debug, Clone)]
pub(crate) struct ShardPaths {
    pub(crate) shard: PathBuf,
    pub(crate) commit_log: PathBuf,
    pub(crate) index: PathBuf,
    pub(crate) keys: PathBuf,
}

impl ShardPaths {
    pub(crate) fn new(root: &Path, shard: ShardId) -> Self {
        let shard = root.join(format!("shard-{:03}", shard.as_u16()));
        Self {
            commit_log: shard.join("commitlog"),
            index: shard.join("index"),
            keys: shard.join("keys"),
            shard,
        }
    }

    pub(crate) fn segment(&self, start: u64) -> PathBuf {
        self.commit_log.join(segment_name(start))
    }

    /// A segment that is no longer part of the log and waits to be used again.
    pub(crate) fn spare(&self, start: u64) -> PathBuf {
        self.commit_log.join(spare_name(start))
    }

    pub(crate) fn index_file(&self, number: u32) -> PathBuf {
        self.index.join(format!("{number:08}"))
    }

    pub(crate) fn tail_ring(&self) -> PathBuf {
        self.shard.join("tail-ring")
    }

    /// Ends the name of a run of the key index that is being written.
    pub(crate) const KEY_RUN_BESIDE: &str = ".new";

    pub(crate) fn key_run(&self, number: u64) -> PathBuf {
        self.keys.join(format!("{number:020}"))
    }

    pub(crate) fn key_run_beside(&self, number: u64) -> PathBuf {
        self.keys
            .join(format!("{number:020}{}", Self::KEY_RUN_BESIDE))
    }

    pub(crate) fn checkpoint(&self, slot: u8) -> PathBuf {
        self.shard.join(format!("checkpoint-{slot}"))
    }

    pub(crate) fn checkpoint_beside(&self, slot: u8) -> PathBuf {
        self.shard.join(format!("checkpoint-{slot}.new"))
    }
}

/// A segment is named by the position of its first byte, in 20 digits.
pub(crate) fn segment_name(start: u64) -> String {
    format!("{start:020}")
}

/// The number of a run of the key index that its name tells.
pub(crate) fn key_run_number(name: &str) -> Option<u64> {
    number_of(name)
}

/// The number that a name of a file of the queue index tells.
pub(crate) fn index_file_number(name: &str) -> Option<u32> {
    let is_one = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| is_one)
}

/// The position that a segment's name tells.
pub(crate) fn segment_start(name: &str) -> Option<u64> {
    number_of(name)
}

/// A number in 20 digits.
fn number_of(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
}

const SPARE_PREFIX: &str = "spare-";

/// A spare is named by the position that its first byte had.
fn spare_name(start: u64) -> String {
    format!("{SPARE_PREFIX}{}", segment_name(start))
}

/// The position that a spare's name tells.
pub(crate) fn spare_start(name: &str) -> Option<u64> {
    segment_start(name.strip_prefix(SPARE_PREFIX)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_reads_back_and_a_changed_one_is_refused() {
        let layout = Layout {
            format_version: 1,
            shard_count: 2,
            block_align: 4_096,
        };
        let text = layout.to_text();
        assert_eq!(Layout::parse(text.as_bytes()), Ok(layout));
        for at in 0..text.len() {
            assert!(
                Layout::parse(&text.as_bytes()[..at]).is_err(),
                "cut at {at}"
            );
        }
        assert!(Layout::parse(text.replace("shardCount=2", "shardCount=3").as_bytes()).is_err());
    }

    #[test]
    fn any_single_flipped_bit_of_a_layout_is_put_right() {
        let layout = Layout {
            format_version: 1,
            shard_count: 2,
            block_align: 4_096,
        };
        let text = layout.to_text();
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone().into_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Layout::read(&flipped), Ok((layout, true)), "bit {bit}");
        }
        assert!(Layout::read(b"another file").is_err());
        let newer = Layout {
            format_version: 3,
            ..layout
        };
        assert_eq!(Layout::read(newer.to_text().as_bytes()), Ok((newer, false)));
    }

    #[test]
    fn a_directory_of_something_else_is_refused_with_what_was_found() {
        let check = |names: &[&str], expected: Option<&str>| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = foreign(&names);
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            let text = found.unwrap_or_default();
            assert!(text.contains(expected.unwrap_or_default()), "{text}");
        };
        check(&["lock", "namesrv", "lost+found", "broker.log"], None);
        check(&[], None);
        check(&["lock", "shard-000"], Some("no file named layout"));
        check(
            &["commitlog", "consumequeue", "abort"],
            Some("Apache RocketMQ"),
        );
        check(
            &["lock", "PG_VERSION", "base"],
            Some("other files (PG_VERSION, base)"),
        );
    }

    #[test]
    fn another_shard_count_or_version_is_refused_with_a_sentence() {
        let made = Layout {
            format_version: 1,
            shard_count: 4,
            block_align: 512,
        };
        let path = Path::new("/data/layout");
        let error = made.accept(path, &Layout::wanted(2, 512)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/data/layout: the store was made with 4 shards and cannot be opened with 2; \
             start with shards=4 or use another directory"
        );
        let newer = Layout {
            format_version: 9,
            ..made
        };
        let error = newer.accept(path, &Layout::wanted(4, 512)).unwrap_err();
        assert!(error.to_string().contains("format version 9"));
    }

    #[test]
    fn the_alignment_is_that_of_the_store() {
        let made = Layout {
            format_version: 1,
            shard_count: 4,
            block_align: 512,
        };
        let layout = made
            .accept(Path::new("l"), &Layout::wanted(4, 4_096))
            .unwrap();
        assert_eq!(layout.block_align, 512);
    }

    #[test]
    fn segments_are_named_by_their_first_position() {
        assert_eq!(segment_name(1 << 30), "00000000001073741824");
        assert_eq!(segment_start("00000000001073741824"), Some(1 << 30));
        for name in ["", "1", "0000000000107374182x", "99999999999999999999"] {
            assert_eq!(segment_start(name), None, "{name}");
        }
    }
}
