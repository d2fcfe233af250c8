//! The runtime seam in one thread, on virtual time, from one seed.
//!
//! A [`World`] holds hosts; a [`Host`] has shards, one faulty file system and an address; a
//! [`Sim`] is one shard's [`rt::Rt`]. Every choice (which task runs, how long an operation takes,
//! which unsynced sectors a crash keeps) is drawn from the world's seed, so that a seed replays
//! exactly. Invariant: nothing here reads a real clock or starts a thread, and only test programs
//! link it.

mod clock;
mod coverage;
mod disk;
mod executor;
mod faults;
mod file_system;
mod inode;
mod mesh;
mod network;
mod seed;
mod world;

pub use coverage::{STATES, Strikes, Struck, take_strikes};
pub use disk::{SimBuf, SimDisk, SimFile, SimMap};
pub use faults::{DiskOp, Fault, Rule};
pub use file_system::DiskShape;
pub use mesh::SimMesh;
pub use network::{SimListener, SimNet, SimRead, SimStream, SimWrite};
pub use seed::Rng;
pub use world::{Crash, Host, Sim, Stop, World};
