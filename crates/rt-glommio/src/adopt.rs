//! The only unsafe code: giving glommio a listening socket that we made ourselves.
//!
//! glommio's own `bind` sets `SO_REUSEPORT` but not `SO_REUSEADDR`, fixes the backlog at 1,024 and
//! keeps its descriptor to itself, so that a waiting accept could never be ended.
//! Invariant: a descriptor that goes in is owned by nobody else afterwards.

#![allow(
    unsafe_code,
    reason = "glommio adopts listening sockets by raw descriptor only"
)]

use glommio::net::TcpListener;
use socket2::Socket;
use std::os::fd::{FromRawFd, IntoRawFd};

/// Makes a listening socket one of glommio's. Must run on an executor.
pub(crate) fn listener(socket: Socket) -> TcpListener {
    // SAFETY: `into_raw_fd` gives up `socket`'s ownership of an open descriptor, so the listener
    // becomes its only owner and closes it exactly once, when it is dropped.
    unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) }
}
