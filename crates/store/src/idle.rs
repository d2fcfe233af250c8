//! Gives memory back when nothing was appended for a while.
//!
//! Owned by the shard; a task that looks every few seconds. Most of the newest blocks leave memory,
//! spare buffers go, and the allocator returns what is free. Invariant: a block that is not written
//! stays, and nothing is given back while messages come.

use crate::store::Inner;
use crate::wait::first_of;
use rt::Rt;
use std::rc::Rc;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(4);
/// Looks without an append before memory goes.
const QUIET_LOOKS: u32 = 2;
/// What part of the tail cache stays.
const KEPT_PART: usize = 8;

/// Looks until the store closes.
pub(crate) async fn idle_task<R: Rt>(inner: Rc<Inner<R>>) {
    let (mut seen, mut quiet) = (0, 0);
    while !inner.closing.get() && inner.fenced.borrow().is_none() {
        first_of(inner.closed.wait(), inner.rt.sleep(LOOK_EVERY)).await;
        let appended = inner.log.borrow().appended();
        if std::mem::replace(&mut seen, appended) != appended {
            quiet = 0;
            continue;
        }
        quiet += 1;
        if quiet == QUIET_LOOKS {
            let keep = inner.settings.tail_cache_bytes / KEPT_PART;
            inner.log.borrow_mut().release_memory(keep);
            inner.rt.release_memory();
        }
    }
}
