//! The runtime seam on glommio: one executor per shard, pinned to a core, on `io_uring`.
//!
//! [`run`] starts the shards and hands each a [`Glommio`] (its `rt::Rt`), its ends of the mesh, and
//! the means to say "ready" and to learn of "stop". Everything that glommio 0.9 does in a
//! surprising way is met here, beside the code that meets it, so that nothing above needs to know.
//! Invariant: no `RocketMQ` logic here, and unsafe code only in `adopt.rs`, `heap.rs`
//! and `map.rs`.

mod adopt;
mod buf;
mod disk;
mod engine;
mod error;
mod executor;
mod file_system;
mod heap;
mod life;
mod map;
mod mesh;
mod net;
mod once;
mod placement;
mod port;
mod preflight;
mod probe;
mod task_queues;
mod watchdog;

pub use buf::GlommioBuf;
pub use disk::{GlommioDisk, GlommioFile};
pub use engine::Glommio;
pub use error::{ShardError, StartError};
pub use executor::{Options, Running, run};
pub use life::{Ready, StopHandle, StopSignal};
pub use map::GlommioMap;
pub use mesh::GlommioMesh;
pub use net::{GlommioListener, GlommioNet, GlommioRead, GlommioStream, GlommioWrite};
pub use placement::{allowed_cpus, place};
pub use port::{Owner, ensure_port_free};
pub use preflight::{ensure_direct_io, ensure_io_uring, ensure_memlock};
pub use probe::remove_stale as remove_stale_probes;
