//! Tests of the name server over real sockets.

mod bad_peers;
mod requests;
mod support;
