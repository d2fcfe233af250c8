//! What people read: tables in the terminal and one page of HTML.
//!
//! Both are made from the same groups of results. Invariant: a cell that failed or is doubtful says so
//! wherever its figures stand.

mod charts;
mod html;
pub(crate) mod summary;
pub(crate) mod terminal;

use crate::result::{load_all, write_whole};
use crate::selftest;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Writes the page of a directory of results.
pub(crate) fn write(dir: &Path, html: Option<&Path>) -> Result<PathBuf> {
    let results = load_all(dir)?;
    let floor = selftest::Floor::load(dir);
    let page = html.map_or_else(|| dir.join("report.html"), Path::to_owned);
    write_whole(&page, html::page(&results, floor.as_ref()).as_bytes())?;
    Ok(page)
}
