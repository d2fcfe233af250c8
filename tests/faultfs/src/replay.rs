//! What a disk may hold after a power cut: a trace played to an instant, and states drawn from it.
//!
//! Owned by a campaign. What a sync covered is there; of what was written, truncated or named since,
//! any part may be: each write whole, not at all, or any of its 512-byte sectors, and the first so
//! many changes of names. A request that was under way counts as a write that was not synced.
//! Invariants: a sync covers only what was done before it began; syncing a file does not sync its
//! name.

use crate::trace::{Event, What};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const SECTOR_LEN: usize = 512;
const PAGE_LEN: usize = 4_096;

/// The content of a disk.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// A file's node, or none for a directory, by path.
    names: BTreeMap<String, Option<u64>>,
    files: BTreeMap<u64, Arc<Vec<u8>>>,
}

/// A trace at an instant.
#[derive(Debug)]
pub struct Replay<'a> {
    events: &'a [Event],
    /// How many events are done.
    at: usize,
    durable: Image,
    /// Changes of content that no sync covers, oldest first.
    content: Vec<&'a Event>,
    /// Changes of names that no sync covers, oldest first.
    names: Vec<&'a Event>,
}

impl<'a> Replay<'a> {
    /// The disk before the first event.
    pub fn new(events: &'a [Event]) -> Self {
        Self {
            events,
            at: 0,
            durable: Image::default(),
            content: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Plays on until `count` events are done.
    ///
    /// # Panics
    /// When more are done already, or the trace has fewer.
    pub fn advance_to(&mut self, count: usize) {
        assert!((self.at..=self.events.len()).contains(&count));
        while self.at < count {
            let event = &self.events[self.at];
            self.at += 1;
            self.take(event);
        }
    }

    /// The instant of this cut: what a client learned before may rest only on what is done. The
    /// trace's last event has no later one, so that there everything is done.
    pub fn cut_ns(&self) -> u64 {
        self.events
            .get(self.at)
            .map_or(u64::MAX, |event| event.end_ns)
    }

    /// How many changes no sync covers.
    pub fn open_changes(&self) -> usize {
        self.content.len() + self.names.len()
    }

    /// One of the states that the disk may be in. `draw` gives a number below its argument.
    pub fn state(&self, draw: &mut impl FnMut(u64) -> u64) -> Image {
        let mut image = self.durable.clone();
        let cut_ns = self.cut_ns();
        let under_way = self.events[self.at..]
            .iter()
            .take(UNDER_WAY_MAX)
            .filter(|event| event.begin_ns < cut_ns);
        let (mut content, mut names) = (self.content.clone(), self.names.clone());
        for event in under_way {
            match &event.what {
                What::Write { .. } | What::Zeros { .. } | What::SetLen { .. } => {
                    content.push(event);
                }
                what if is_name(what) => names.push(event),
                _ => {}
            }
        }
        let kept = draw(names.len() as u64 + 1) as usize;
        for event in &names[..kept] {
            image.rename(&event.what);
        }
        // Extremes are as likely as mixtures: nothing, everything, or each by itself.
        let mood = draw(6);
        for event in content {
            match mood {
                0 => {}
                1 => image.change(&event.what, &mut |_| true),
                2 => {
                    if draw(2) == 0 {
                        image.change(&event.what, &mut |_| true);
                    }
                }
                _ => match draw(3) {
                    0 => {}
                    1 => image.change(&event.what, &mut |_| true),
                    _ => image.change(&event.what, &mut |_| draw(2) == 0),
                },
            }
        }
        image
    }

    fn take(&mut self, event: &'a Event) {
        match &event.what {
            What::Write { .. } | What::Zeros { .. } | What::SetLen { .. } => {
                self.content.push(event);
            }
            What::Sync { node } => {
                let durable = &mut self.durable;
                self.content.retain(|change| {
                    let covered =
                        change.end_ns <= event.begin_ns && node_of(&change.what) == Some(*node);
                    if covered {
                        durable.change(&change.what, &mut |_| true);
                    }
                    !covered
                });
            }
            What::SyncDir { path } => {
                let concerns = |change: &&Event| {
                    change.end_ns <= event.begin_ns
                        && paths_of(&change.what)
                            .iter()
                            .any(|changed| parent(changed) == path)
                };
                // A journal: with a change of names, all before it are there.
                let last = self.names.iter().rposition(concerns);
                let covered = last.map_or(0, |last| last + 1);
                for change in self.names.drain(..covered) {
                    self.durable.rename(&change.what);
                }
            }
            What::Mark { .. } => {}
            what => {
                assert!(is_name(what));
                self.names.push(event);
            }
        }
    }
}

/// Requests that are under way at an instant are among so many that are done next.
const UNDER_WAY_MAX: usize = 1_000;

fn node_of(what: &What) -> Option<u64> {
    match what {
        What::Write { node, .. } | What::Zeros { node, .. } | What::SetLen { node, .. } => {
            Some(*node)
        }
        _ => None,
    }
}

fn is_name(what: &What) -> bool {
    !paths_of(what).is_empty()
}

fn paths_of(what: &What) -> Vec<&str> {
    match what {
        What::Create { path, .. } | What::MakeDir { path } | What::Remove { path } => vec![path],
        What::Rename { from, to } => vec![from, to],
        _ => Vec::new(),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Image {
    /// Applies a change of names. What lies below a directory moves with it.
    fn rename(&mut self, what: &What) {
        match what {
            What::Create { node, path } => {
                self.names.insert(path.clone(), Some(*node));
            }
            What::MakeDir { path } => {
                self.names.insert(path.clone(), None);
            }
            What::Remove { path } => {
                self.names.remove(path);
            }
            What::Rename { from, to } => {
                let below = format!("{from}/");
                let moved: Vec<_> = self
                    .names
                    .keys()
                    .filter(|name| *name == from || name.starts_with(&below))
                    .cloned()
                    .collect();
                for name in moved {
                    if let Some(node) = self.names.remove(&name) {
                        self.names
                            .insert(format!("{to}{}", &name[from.len()..]), node);
                    }
                }
            }
            _ => {}
        }
    }

    /// Applies a change of content; of a write only the sectors that are kept.
    fn change(&mut self, what: &What, keeps: &mut dyn FnMut(usize) -> bool) {
        let Some(node) = node_of(what) else {
            return;
        };
        let file = Arc::make_mut(self.files.entry(node).or_default());
        match what {
            What::SetLen { len, .. } => file.resize(*len as usize, 0),
            What::Write { offset, bytes, .. } => {
                for (index, sector) in bytes.chunks(SECTOR_LEN).enumerate() {
                    if keeps(index) {
                        let start = *offset as usize + index * SECTOR_LEN;
                        let end = start + sector.len();
                        file.resize(file.len().max(end), 0);
                        file[start..end].copy_from_slice(sector);
                    }
                }
            }
            What::Zeros { offset, len, .. } => {
                let (start, end) = (*offset as usize, (*offset + *len) as usize);
                for (index, at) in (start..end).step_by(SECTOR_LEN).enumerate() {
                    if keeps(index) {
                        let end = (at + SECTOR_LEN).min(end);
                        file.resize(file.len().max(end), 0);
                        file[at..end].fill(0);
                    }
                }
            }
            _ => {}
        }
    }

    /// Writes the content into a directory that is made anew.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write_to(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(dir)?;
        for (name, node) in &self.names {
            let path = dir.join(name);
            let Some(node) = node else {
                fs::create_dir_all(path)?;
                continue;
            };
            let file = File::create(path)?;
            let Some(bytes) = self.files.get(node) else {
                continue;
            };
            file.set_len(bytes.len() as u64)?;
            for (index, page) in bytes.chunks(PAGE_LEN).enumerate() {
                if page.iter().any(|byte| *byte != 0) {
                    file.write_all_at(page, (index * PAGE_LEN) as u64)?;
                }
            }
        }
        Ok(())
    }

    /// The content of a file, when there is one of that name.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        let node = (*self.names.get(path)?)?;
        Some(self.files.get(&node).map_or(&[], |bytes| bytes.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events one after the other, each taking one ns.
    fn events(whats: Vec<What>) -> Vec<Event> {
        let timed = whats.into_iter().enumerate().map(|(index, what)| Event {
            begin_ns: index as u64 * 2,
            end_ns: index as u64 * 2 + 1,
            what,
        });
        timed.collect()
    }

    fn create(node: u64, path: &str) -> What {
        What::Create {
            node,
            path: path.to_owned(),
        }
    }

    fn write(node: u64, byte: u8) -> What {
        What::Write {
            node,
            offset: 0,
            bytes: vec![byte; 2 * SECTOR_LEN],
        }
    }

    fn sync_dir(path: &str) -> What {
        What::SyncDir {
            path: path.to_owned(),
        }
    }

    /// Numbers that are not random, and reach every choice.
    fn draws(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed;
        move |bound| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        }
    }

    /// The first bytes of a file's sectors, in every state that may be.
    fn contents(replay: &Replay<'_>, path: &str) -> std::collections::BTreeSet<Option<Vec<u8>>> {
        (0..200)
            .map(|seed| {
                let image = replay.state(&mut draws(seed));
                let sectors = image.read(path)?.chunks(SECTOR_LEN);
                Some(sectors.map(|sector| sector[0]).collect())
            })
            .collect()
    }

    #[test]
    fn what_was_synced_is_there_and_of_the_rest_any_sectors() {
        let events = events(vec![
            create(2, "a"),
            sync_dir(""),
            write(2, 1),
            What::Sync { node: 2 },
            write(2, 2),
        ]);
        let mut replay = Replay::new(&events[..4]);
        replay.advance_to(4);
        assert_eq!(contents(&replay, "a"), [Some(vec![1, 1])].into());
        let mut replay = Replay::new(&events);
        replay.advance_to(5);
        let expected = [[1, 1], [1, 2], [2, 1], [2, 2]].map(|bytes| Some(bytes.to_vec()));
        assert_eq!(contents(&replay, "a"), expected.into());
    }

    #[test]
    fn a_name_needs_its_directory_synced() {
        let rename = What::Rename {
            from: "a".to_owned(),
            to: "b".to_owned(),
        };
        let events = events(vec![
            create(2, "a"),
            What::Sync { node: 2 },
            rename,
            sync_dir("elsewhere"),
            sync_dir(""),
        ]);
        let mut replay = Replay::new(&events);
        replay.advance_to(4);
        assert_eq!(contents(&replay, "a"), [None, Some(Vec::new())].into());
        assert_eq!(contents(&replay, "b"), [None, Some(Vec::new())].into());
        replay.advance_to(5);
        assert_eq!(contents(&replay, "a"), [None].into());
        assert_eq!(contents(&replay, "b"), [Some(Vec::new())].into());
    }

    #[test]
    fn a_sync_does_not_cover_a_write_that_ended_after_it_began() {
        let mut events = events(vec![create(2, "a"), sync_dir(""), write(2, 1)]);
        events.push(Event {
            begin_ns: 4,
            end_ns: 9,
            what: What::Sync { node: 2 },
        });
        let mut replay = Replay::new(&events);
        replay.advance_to(4);
        assert!(contents(&replay, "a").contains(&Some(Vec::new())));
        assert_eq!(replay.cut_ns(), u64::MAX);
        assert_eq!(replay.open_changes(), 1);
    }

    #[test]
    fn a_write_that_was_under_way_may_be_there() {
        let mut events = events(vec![create(2, "a"), sync_dir("")]);
        events.push(Event {
            begin_ns: 4,
            end_ns: 20,
            what: write(2, 1),
        });
        let mut replay = Replay::new(&events);
        replay.advance_to(2);
        assert_eq!(replay.cut_ns(), 20);
        assert!(contents(&replay, "a").len() > 1);
    }
}
