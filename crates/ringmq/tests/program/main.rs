//! The program as its users meet it: started, asked, stopped, refused.
//!
//! Ports 23100 to 23199. Each test has a directory of its own below the system's temporary one.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod commands;
mod fixtures;
mod refusals;
mod running;
mod store;
mod support;
