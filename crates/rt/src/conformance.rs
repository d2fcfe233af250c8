//! What every engine must do alike: test bodies that run on the real one and on the simulation.
//!
//! Each function runs inside one shard and panics at the first difference. An engine's tests call
//! all of them, so that the simulated disk, clock, network and mesh are held to the kernel's.
//! Invariant: nothing here knows an engine; directories and addresses are given by the caller.

mod disk;
mod mesh;
mod net;
mod tasks;

pub use disk::{
    a_file_is_cut_and_extended, a_shared_map_keeps_every_store, disk,
    names_are_listed_renamed_and_removed, opening_follows_the_mode, room_is_reported,
    small_files_are_replaced_whole, writes_may_overlap_in_time, written_bytes_read_back,
};
pub use mesh::mesh_keeps_order;
pub use net::{
    a_closed_listener_refuses, a_peer_that_ended_its_side_still_gets_answers,
    an_aborted_stream_ends_a_stuck_write, net,
};
pub use tasks::{
    a_dropped_sleep_is_forgotten, a_value_passes_between_tasks, clocks_and_randomness_move, tasks,
    timers_complete_in_order, yielding_lets_the_others_run,
};

use std::io::{self, ErrorKind};

/// A deterministic pattern without short periods.
fn fill(bytes: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

#[track_caller]
fn ok<T>(result: io::Result<T>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error} ({:?})", error.kind()),
    }
}

#[track_caller]
fn kind(result: io::Result<()>) -> ErrorKind {
    match result {
        Ok(()) => panic!("this had to fail"),
        Err(error) => error.kind(),
    }
}
