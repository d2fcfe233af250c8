//! One connection to a broker: bytes out, frames in, never blocking.
//!
//! Owned by one thread. Invariant: what was not taken by the socket is kept and written when it can
//! be, in order.

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use remoting::frame::{FRAME_LEN_MAX, FrameBuffer};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const READ_BYTES: usize = 256 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const TRIES: u32 = 3;

/// A socket with its buffers.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    token: u64,
    pub(crate) frames: FrameBuffer,
    pub(crate) out: Vec<u8>,
    written: usize,
    waits_to_write: bool,
    pub(crate) alive: bool,
}

impl Link {
    /// Connects and registers; `token` comes back with its events.
    pub(crate) fn connect(address: SocketAddr, epoll: &Epoll, token: u64) -> Result<Self> {
        let stream = connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        Ok(Self {
            stream,
            token,
            frames: FrameBuffer::new(FRAME_LEN_MAX),
            out: Vec::new(),
            written: 0,
            waits_to_write: false,
            alive: true,
        })
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn flush(&mut self, epoll: &Epoll) -> Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        let all = self.written == self.out.len();
        if all {
            self.out.clear();
            self.written = 0;
        }
        if self.waits_to_write == all {
            self.waits_to_write = !all;
            self.listen(epoll, true)?;
        }
        Ok(())
    }

    /// Bytes that the socket has not taken.
    pub(crate) fn backlog(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether arriving bytes wake the thread.
    pub(crate) fn listen(&mut self, epoll: &Epoll, reads: bool) -> Result<()> {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, reads);
        flags.set(EpollFlags::EPOLLOUT, self.waits_to_write);
        Ok(epoll.modify(&self.stream, &mut EpollEvent::new(flags, self.token))?)
    }

    /// Reads once; false when the broker has closed.
    pub(crate) fn receive(&mut self) -> Result<bool> {
        match self.stream.read(self.frames.spare_mut(READ_BYTES)) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.frames.filled(count);
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Ok(true)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// No more events come.
    pub(crate) fn close(&mut self, epoll: &Epoll) {
        self.alive = false;
        // It may be gone already.
        let _ = epoll.delete(&self.stream);
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// A listener that is full for a moment refuses; thousands of connections may see that.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let mut tried = 1;
    loop {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(_) if tried < TRIES => crate::clock::pause(Duration::from_millis(100)),
            Err(e) => {
                return Err(e)
                    .with_context(|| format!("cannot connect to the broker at {address}"));
            }
        }
        tried += 1;
    }
}
