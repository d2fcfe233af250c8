//! What recovery makes of a damaged block below the durable mark.
//!
//! Part of recovery. The block is left as it is on the disk; what `salvage` proves good goes into
//! the queues as if nothing had happened. Invariant: a torn tail never comes here.

use super::State;
use super::apply;
use super::scan::Scanner;
use crate::block::HEADER_LEN;
use crate::salvage::{Salvaged, salvage};
use crate::settings::Settings;
use rt::Disk;
use std::io;

/// Takes what is left of the block at `position`; good blocks go on at `to`. Gives where the log
/// goes on when the block is whole but for one bit.
pub(super) async fn take<D: Disk>(
    scanner: &mut Scanner,
    settings: &Settings,
    state: &mut State<D>,
    position: u64,
    to: u64,
) -> io::Result<Option<u64>> {
    let len_max = (settings.record_len_max + 2 * settings.block_bytes) as u64;
    let len = (to - position).min(len_max) as usize;
    let identity = scanner.identity_at(&state.segments, position);
    let bytes = scanner.bytes(&state.segments, position, len).await?;
    match salvage(identity, position, bytes) {
        Salvaged::Whole(header, block) if header.end() <= to => {
            tracing::error!(shard = %settings.shard, position, "log block with one flipped bit, read as it was");
            apply::block(state, settings, position, &block[HEADER_LEN..]);
            state.report.repaired += 1;
            state.report.blocks += 1;
            Ok(Some(if header.end_of_segment {
                scanner.segment_end(position)
            } else {
                header.end()
            }))
        }
        Salvaged::Whole(..) => Ok(None),
        Salvaged::Parts(proven) => {
            let bytes = bytes.to_vec();
            apply::proven(state, settings, position, &bytes, &proven);
            Ok(None)
        }
    }
}
