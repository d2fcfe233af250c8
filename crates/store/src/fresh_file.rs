//! A file that is written beside the name it will have.
//!
//! Used by those who write a whole file and rename it when it is durable. Invariant: what a crash left
//! under the name beside is gone first, so that the file begins empty.

use rt::{Disk, OpenMode};
use std::io;
use std::path::Path;

/// Makes the file, in place of one that an earlier life left there.
pub(crate) async fn fresh_file<D: Disk>(disk: &D, beside: &Path) -> io::Result<D::File> {
    match disk.remove(beside).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    disk.open(beside, OpenMode::CreateNew).await
}
