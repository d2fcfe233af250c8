//! What is on disk of the key index when a shard opens.
//!
//! Reads one page of each run, so the time does not depend on the log's length. Whatever is no run
//! of this store, covers log that is not there, or is covered by a merged run, is removed: the index
//! is derived, and the task that tends it makes again what is missing. Invariant: the runs that are
//! kept do not overlap and end at or before the end of the log.

use super::Loaded;
use super::run::Run;
use crate::layout::{ShardPaths, key_run_number};
use crate::settings::Settings;
use rt::Disk;
use std::cmp::Reverse;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// How many times the distance between two runs a start follows at once; what is farther away is
/// read slowly, while queries are answered.
const FOLLOW_DISTANCES: u64 = 4;

/// Opens the runs of a shard whose log lies in `start..end`, all of it durable.
pub(crate) async fn load<D: Disk>(
    disk: &D,
    settings: &Settings,
    paths: &ShardPaths,
    secret: u32,
    start: u64,
    end: u64,
) -> Loaded<D::File> {
    let mut loaded = Loaded {
        runs: Vec::new(),
        next_number: 0,
        follow_from: end,
    };
    if !settings.key_index {
        return loaded;
    }
    let names = match disk.list(&paths.keys).await {
        Ok(names) => names,
        Err(error) => {
            tracing::error!(path = %paths.keys.display(), %error, "the key index is made again");
            return loaded;
        }
    };
    let mut runs = Vec::new();
    for entry in names.iter().filter(|entry| !entry.is_dir) {
        let Some(number) = key_run_number(&entry.name) else {
            if entry.name.ends_with(ShardPaths::KEY_RUN_BESIDE) {
                remove(disk, &paths.keys.join(&entry.name)).await;
            }
            continue;
        };
        loaded.next_number = loaded.next_number.max(number + 1);
        let path = paths.key_run(number);
        match Run::open(disk, settings.shard, secret, number, path.clone()).await {
            Ok(Some(run)) if run.head.to <= end && start < run.head.to => runs.push(run),
            Ok(Some(run)) if run.head.to <= start => remove(disk, &path).await,
            Ok(_) => {
                tracing::error!(path = %path.display(), "not a run of this key index, or damaged: removed and made again");
                remove(disk, &path).await;
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a run of the key index cannot be read: removed and made again");
                remove(disk, &path).await;
            }
        }
    }
    // A merged run comes before those that it covers.
    runs.sort_by_key(|run| (run.head.from, Reverse(run.head.to)));
    let mut covered = 0;
    for run in runs {
        if run.head.from < covered {
            remove(disk, &run.path).await;
        } else {
            covered = run.head.to;
            loaded.runs.push(Rc::new(run));
        }
    }
    let distance = FOLLOW_DISTANCES * settings.checkpoint_bytes;
    if end - covered.max(start) <= distance {
        loaded.follow_from = covered.max(start);
    }
    loaded
}

async fn remove<D: Disk>(disk: &D, path: &Path) {
    match disk.remove(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a file of the key index stays");
        }
        _ => {}
    }
}
