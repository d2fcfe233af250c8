//! Where events come from: files merged by time, or memory. Read from the start as often as needed.
//!
//! All processes of a run read one `CLOCK_MONOTONIC`, so that times compare. Invariant: events are
//! handed over in time order; memory is per file, not per event.

use crate::error::HistoryError;
use crate::file::{Reader, Strings};
use crate::record::Record;
use std::path::PathBuf;

/// A history that can be read again and again.
pub trait Source {
    /// Hands over every event in time order.
    ///
    /// # Errors
    /// The first thing that is wrong with the files, or that `each` says.
    fn for_each(
        &self,
        each: &mut dyn FnMut(&Record) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError>;

    /// The names of topics, groups and brokers.
    fn strings(&self) -> &Strings;
}

/// A history in memory.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// In time order.
    pub records: Vec<Record>,
    /// Their strings.
    pub strings: Strings,
}

impl Source for Memory {
    fn for_each(
        &self,
        each: &mut dyn FnMut(&Record) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        self.records.iter().try_for_each(each)
    }

    fn strings(&self) -> &Strings {
        &self.strings
    }
}

/// Histories of several processes, merged.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    strings: Strings,
}

impl Files {
    /// Opens the files and reads their headers and strings.
    ///
    /// # Errors
    /// A file that is no history, or of another run.
    pub fn open(paths: &[PathBuf]) -> Result<Self, HistoryError> {
        let mut strings = Strings::default();
        let mut run = None;
        for path in paths {
            let found = Reader::open(path, &mut strings)?.run;
            let wanted = *run.get_or_insert(found);
            if found != wanted {
                return Err(HistoryError::Run {
                    path: path.clone(),
                    found,
                    wanted,
                });
            }
        }
        Ok(Self {
            paths: paths.to_vec(),
            strings,
        })
    }
}

impl Source for Files {
    fn for_each(
        &self,
        each: &mut dyn FnMut(&Record) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        // Interning the same files in the same order gives the same numbers.
        let mut strings = Strings::default();
        let mut heads = Vec::new();
        for path in &self.paths {
            let mut reader = Reader::open(path, &mut strings)?;
            if let Some(first) = reader.next()? {
                heads.push((first, reader));
            }
        }
        while !heads.is_empty() {
            let earliest = (0..heads.len())
                .min_by_key(|index| heads[*index].0.t_ns)
                .unwrap_or_default();
            each(&heads[earliest].0)?;
            match heads[earliest].1.next()? {
                Some(record) => heads[earliest].0 = record,
                None => {
                    heads.remove(earliest);
                }
            }
        }
        Ok(())
    }

    fn strings(&self) -> &Strings {
        &self.strings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Writer;
    use crate::record::{Kind, Op};

    fn read(paths: &[PathBuf]) -> Result<Vec<(u64, String)>, HistoryError> {
        let files = Files::open(paths)?;
        let mut all = Vec::new();
        files.for_each(&mut |record| {
            all.push((record.t_ns, files.strings().text(record.topic).to_owned()));
            Ok(())
        })?;
        Ok(all)
    }

    fn write(name: &str, run: u64, events: &[(u64, &str)]) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("rmq-check-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(name);
        let mut writer = Writer::create(&path, run).unwrap();
        for (t_ns, topic) in events {
            let mut record = Record::new(*t_ns, Op::Send, Kind::Invoke);
            record.topic = writer.string(topic).unwrap();
            writer.append(&record).unwrap();
        }
        writer.flush().unwrap();
        path
    }

    #[test]
    fn histories_merge_by_time_and_their_strings_too() {
        let one = write("one", 5, &[(1, "a"), (4, "b"), (6, "a")]);
        let two = write("two", 5, &[(2, "b"), (3, "c"), (9, "a")]);
        let merged = read(&[one.clone(), two.clone()]).unwrap();
        let expected = [(1, "a"), (2, "b"), (3, "c"), (4, "b"), (6, "a"), (9, "a")];
        assert_eq!(merged, expected.map(|(t, s)| (t, s.to_owned())));
        // A last record or string that was cut off is passed over, wherever the cut is.
        let whole = std::fs::read(&two).unwrap();
        for cut in 1..64 {
            std::fs::write(&two, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(read(&[one.clone(), two.clone()]).unwrap().len(), 5);
        }
    }

    #[test]
    fn files_that_cannot_be_judged_together_are_errors() {
        let one = write("run-1", 1, &[(1, "a")]);
        let two = write("run-2", 2, &[(2, "a")]);
        assert!(matches!(
            read(&[one.clone(), two.clone()]),
            Err(HistoryError::Run { .. })
        ));
        std::fs::write(&two, b"something else").unwrap();
        assert!(matches!(read(&[two]), Err(HistoryError::Magic(_))));
        let mut side = one.clone().into_os_string();
        side.push(".strings");
        std::fs::write(side, b"").unwrap();
        assert!(matches!(read(&[one]), Err(HistoryError::NoString { .. })));
    }
}
