//! Network: TCP listeners and streams of one shard.
//!
//! Owned by the shard that accepted or connected. Reads hand over whatever has arrived, so that
//! one read serves many frames; writes take one gathered buffer. There are no timeouts here:
//! deadlines belong to who waits, and [`WriteHalf::aborter`] ends a stuck stream.

use std::io;
use std::net::SocketAddr;

/// TCP.
pub trait Net: Clone + 'static {
    /// A listening socket.
    type Listener: Listener<Stream = Self::Stream>;
    /// A connection.
    type Stream: Stream;

    /// Listens on `address`. Several shards may listen on the same one and share its connections.
    async fn listen(&self, address: SocketAddr) -> io::Result<Self::Listener>;
    /// Connects, giving up after a few seconds.
    async fn connect(&self, address: SocketAddr) -> io::Result<Self::Stream>;
}

/// A listening socket. Dropping it stops listening.
pub trait Listener: 'static {
    /// A connection.
    type Stream: Stream;

    /// The next connection. One task at a time may wait here.
    async fn accept(&self) -> io::Result<Self::Stream>;
    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A connection, before it is split.
pub trait Stream: 'static {
    /// Its reading end.
    type Read: ReadHalf;
    /// Its writing end.
    type Write: WriteHalf;

    /// The other side.
    fn peer_addr(&self) -> SocketAddr;
    /// This side.
    fn local_addr(&self) -> SocketAddr;
    /// Splits into ends that two tasks of the shard may use.
    fn split(self) -> (Self::Read, Self::Write);
}

/// The reading end of a connection.
pub trait ReadHalf: 'static {
    /// Fills a part of `buf` with what has arrived, waiting until something has.
    /// 0 means that the peer has closed.
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;
}

/// The writing end of a connection. Dropping it ends the sending direction: the peer reads 0 after
/// what was written, and this side may still read.
pub trait WriteHalf: 'static {
    /// Hands all of `bytes` to the kernel, waiting while its buffer is full.
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// A handle that can end the connection from another task: both ends fail or read 0 from then
    /// on, a waiting write too. Calling it again does nothing.
    fn aborter(&self) -> Box<dyn Fn()>;
}
