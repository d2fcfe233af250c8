//! Unsafe code, with `map` the only one: giving glommio a listening socket that we made ourselves.
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

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::{LocalExecutorBuilder, Placement};
    use socket2::{Domain, Type};
    use std::net::SocketAddr;

    fn listening(address: SocketAddr) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(1).unwrap();
        socket
    }

    #[test]
    fn an_adopted_socket_is_closed_once_with_its_listener() {
        let address: SocketAddr = "127.0.0.1:21110".parse().unwrap();
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(1 << 20)
            .make()
            .unwrap();
        executor.run(async {
            for _ in 0..3 {
                let listener = listener(listening(address));
                assert_eq!(listener.local_addr().unwrap(), address);
                // A second owner would close this one's number, or leave the port taken.
                let other = std::fs::File::open("/proc/self/status").unwrap();
                drop(listener);
                assert!(other.metadata().is_ok());
            }
        });
        drop(listening(address));
    }
}
