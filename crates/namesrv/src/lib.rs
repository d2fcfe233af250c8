//! The name server: tells clients which broker serves which queues.
//!
//! A conventional tokio program that runs where `io_uring` is forbidden: it links neither the
//! runtime seam nor an engine. Brokers register and stay known while they are heard of; name
//! servers do not talk to each other, each learns everything from the brokers. Everything is in
//! memory except the key-value configuration. What must always hold: a route never names a broker
//! without an address. Answers to Java's `namesrv` module.

mod budget;
mod connection;
mod kv;
mod machine;
mod requests;
mod route_table;
mod server;
mod settings;
#[cfg(test)]
mod testing;

pub use kv::KvError;
pub use machine::Machine;
pub use server::{ServeError, serve};
pub use settings::{Limits, Settings};
