//! Tests of the whole store on the simulated disk.

mod bad_files;
mod checkpoints;
mod crash;
mod damage;
mod fence;
mod flips;
mod keys;
mod life;
mod reads;
mod retention;
mod ring;
mod scrub;
mod space;
mod verify;
mod verify_derived;
mod window;
