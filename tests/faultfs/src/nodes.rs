//! Inodes: numbers for the kernel, paths below the backing directory, and open handles.
//!
//! Shared by all threads of the mount behind one lock. Numbers are never used again. Invariants:
//! a path has at most one node; a node without a path lives until its last handle is closed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const ROOT: u64 = 1;

/// An open file or directory.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) node: u64,
    pub(crate) file: File,
    /// What a directory held when it was opened: name, node and whether it is a directory.
    pub(crate) entries: Vec<(OsString, u64, bool)>,
}

#[derive(Debug)]
struct Node {
    path: Option<PathBuf>,
    handles: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Nodes {
    by_number: BTreeMap<u64, Node>,
    by_path: BTreeMap<PathBuf, u64>,
    handles: BTreeMap<u64, Arc<Handle>>,
    next: u64,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        let mut nodes = Self {
            by_number: BTreeMap::new(),
            by_path: BTreeMap::new(),
            handles: BTreeMap::new(),
            next: ROOT,
        };
        nodes.node_at(Path::new(""));
        nodes
    }

    /// The node of a path, made when it is new.
    pub(crate) fn node_at(&mut self, path: &Path) -> u64 {
        if let Some(number) = self.by_path.get(path) {
            return *number;
        }
        let number = self.fresh();
        self.by_path.insert(path.to_owned(), number);
        let node = Node {
            path: Some(path.to_owned()),
            handles: Vec::new(),
        };
        self.by_number.insert(number, node);
        number
    }

    /// The path of a node, below the backing directory; none when it was removed.
    pub(crate) fn path(&self, number: u64) -> Option<PathBuf> {
        self.by_number.get(&number)?.path.clone()
    }

    /// The path as rules see it.
    pub(crate) fn name(&self, number: u64) -> String {
        let path = self.path(number).unwrap_or_default();
        path.to_string_lossy().into_owned()
    }

    pub(crate) fn open(
        &mut self,
        node: u64,
        file: File,
        entries: Vec<(OsString, u64, bool)>,
    ) -> u64 {
        let number = self.fresh();
        if let Some(node) = self.by_number.get_mut(&node) {
            node.handles.push(number);
        }
        let handle = Handle {
            node,
            file,
            entries,
        };
        self.handles.insert(number, Arc::new(handle));
        number
    }

    pub(crate) fn handle(&self, number: u64) -> Option<Arc<Handle>> {
        self.handles.get(&number).cloned()
    }

    /// Any open handle of a node.
    pub(crate) fn any_handle(&self, node: u64) -> Option<Arc<Handle>> {
        self.handle(*self.by_number.get(&node)?.handles.first()?)
    }

    /// Closes a handle. Gives the node when nothing keeps it any more.
    pub(crate) fn close(&mut self, number: u64) -> Option<u64> {
        let handle = self.handles.remove(&number)?;
        let node = self.by_number.get_mut(&handle.node)?;
        node.handles.retain(|open| *open != number);
        let gone = node.path.is_none() && node.handles.is_empty();
        gone.then(|| {
            self.by_number.remove(&handle.node);
            handle.node
        })
    }

    /// Takes a path away. Gives the node when nothing keeps it any more.
    pub(crate) fn unlink(&mut self, path: &Path) -> Option<u64> {
        let number = self.by_path.remove(path)?;
        let node = self.by_number.get_mut(&number)?;
        node.path = None;
        let gone = node.handles.is_empty();
        gone.then(|| {
            self.by_number.remove(&number);
            number
        })
    }

    /// Moves a path and all below it. Gives the node that the target displaced, if it is gone.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Option<u64> {
        let displaced = self.unlink(to);
        let moved: Vec<PathBuf> = self
            .by_path
            .keys()
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for old in moved {
            let Some(number) = self.by_path.remove(&old) else {
                continue;
            };
            let below = old.strip_prefix(from).unwrap_or(Path::new(""));
            let new = if below.as_os_str().is_empty() {
                to.to_owned()
            } else {
                to.join(below)
            };
            if let Some(node) = self.by_number.get_mut(&number) {
                node.path = Some(new.clone());
            }
            self.by_path.insert(new, number);
        }
        displaced
    }

    fn fresh(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_moves_what_lies_below_and_displaces_the_target() {
        let mut nodes = Nodes::new();
        let file = nodes.node_at(Path::new("a/b"));
        let target = nodes.node_at(Path::new("c"));
        nodes.node_at(Path::new("a"));
        assert_eq!(nodes.rename(Path::new("a"), Path::new("c")), Some(target));
        assert_eq!(nodes.path(file), Some(PathBuf::from("c/b")));
        assert_eq!(nodes.node_at(Path::new("c/b")), file);
        assert_eq!(nodes.unlink(Path::new("c/b")), Some(file));
        assert_eq!(nodes.path(file), None);
    }
}
