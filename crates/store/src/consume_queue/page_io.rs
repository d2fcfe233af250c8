//! Writes and reads pages of the queue index in their shared files.
//!
//! Owned by the shard. Neighbouring pages go out in one write. Invariant: a page file is named by a
//! number and holds a fixed count of pages; its length says nothing.

use super::pages::{PAGE_LEN, Page};
use crate::layout::{ShardPaths, index_file_number};
use base::HashMap;
use rt::{Disk, File, IoBuf, OpenMode};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::io;
use std::rc::Rc;

const PAGES_PER_WRITE_MAX: usize = 64;

/// The open files of a shard's queue index.
pub(crate) struct PageFiles<D: Disk> {
    disk: D,
    paths: ShardPaths,
    pages_per_file: u32,
    files: RefCell<HashMap<u32, Rc<D::File>>>,
    /// No file has this number or a higher one, once that was looked at.
    end: Cell<u32>,
}

impl<D: Disk> PageFiles<D> {
    pub(crate) fn new(disk: D, paths: ShardPaths, pages_per_file: u32) -> Self {
        Self {
            disk,
            paths,
            pages_per_file,
            files: RefCell::default(),
            end: Cell::new(u32::MAX),
        }
    }

    /// Writes pages, which are in the order of their numbers. `written` is called for each that is
    /// written. Nothing is durable before [`Self::sync`].
    pub(crate) async fn write(
        &self,
        pages: &[(u32, Page)],
        mut written: impl FnMut(u32),
    ) -> io::Result<()> {
        let mut rest = pages;
        while let Some((first, _)) = rest.first() {
            let run = self.run_len(rest);
            let file = self.file(first / self.pages_per_file, true).await?;
            let mut buf = self.disk.alloc(run * PAGE_LEN);
            for (slot, (_, page)) in buf.as_bytes_mut().chunks_exact_mut(PAGE_LEN).zip(rest) {
                slot.copy_from_slice(page.bytes());
            }
            let position = u64::from(first % self.pages_per_file) * PAGE_LEN as u64;
            file.write_at(Rc::new(buf), position).await?;
            rest[..run].iter().for_each(|(page, _)| written(*page));
            rest = &rest[run..];
        }
        Ok(())
    }

    /// How many of the first pages follow each other in one file.
    fn run_len(&self, pages: &[(u32, Page)]) -> usize {
        let first = pages[0].0;
        let in_file = (self.pages_per_file - first % self.pages_per_file) as usize;
        let follows = |(i, (page, _)): &(usize, &(u32, Page))| *page == first + *i as u32;
        let run = pages.iter().enumerate().take_while(follows).count();
        run.min(in_file).min(PAGES_PER_WRITE_MAX)
    }

    /// Makes everything written durable.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        let files: Vec<_> = self.files.borrow().values().cloned().collect();
        for file in files {
            file.datasync().await?;
        }
        Ok(())
    }

    /// Bytes of one page; shorter when it was never written.
    pub(crate) async fn read(&self, page: u32) -> io::Result<Vec<u8>> {
        match self.file(page / self.pages_per_file, false).await {
            Ok(file) => {
                let position = u64::from(page % self.pages_per_file) * PAGE_LEN as u64;
                file.read_at(position, PAGE_LEN).await
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes the files that hold nothing but pages from `page_end` on, which nothing on disk names.
    pub(crate) async fn cut(&self, page_end: u32) -> io::Result<()> {
        let end = page_end.div_ceil(self.pages_per_file);
        if end >= self.end.get() {
            return Ok(());
        }
        let names = self.disk.list(&self.paths.index).await?;
        let numbers = names
            .iter()
            .filter_map(|entry| index_file_number(&entry.name));
        let mut gone: Vec<u32> = numbers.filter(|number| *number >= end).collect();
        // The last one first: whatever a crash leaves, all files but the last are full.
        gone.sort_unstable_by_key(|number| Reverse(*number));
        for number in gone {
            self.files.borrow_mut().remove(&number);
            self.disk.remove(&self.paths.index_file(number)).await?;
        }
        self.end.set(end);
        Ok(())
    }

    async fn file(&self, number: u32, create: bool) -> io::Result<Rc<D::File>> {
        if let Some(file) = self.files.borrow().get(&number) {
            return Ok(Rc::clone(file));
        }
        let path = self.paths.index_file(number);
        let opened = match self.disk.open(&path, OpenMode::ReadWrite).await {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                let file = self.disk.open(&path, OpenMode::CreateNew).await?;
                self.disk.sync_dir(&self.paths.index).await?;
                self.end.set(self.end.get().max(number + 1));
                file
            }
            other => other?,
        };
        // Another task may have opened it meanwhile; both handles mean the same file.
        let mut files = self.files.borrow_mut();
        Ok(Rc::clone(
            files.entry(number).or_insert_with(|| Rc::new(opened)),
        ))
    }
}
