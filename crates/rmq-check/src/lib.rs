//! Was anything lost, invented, reordered or repeated? The checker of histories.
//!
//! Clients write what they ask and what they are answered ([`record`], [`file`]); at the end
//! somebody reads every queue from its first to its last message. [`check::check`] goes over all of it
//! once and says which properties were broken, with the events that show it. It knows nothing of
//! the broker's code: the crate links none of it. What must always hold: time and memory are linear
//! in the events, and a history that cannot be judged never counts as clean.

pub mod body;
pub mod check;
mod chunked;
pub mod draw;
pub mod error;
pub mod file;
pub mod generate;
pub mod mutate;
pub mod outcome;
pub mod record;
pub mod selftest;
pub mod source;
