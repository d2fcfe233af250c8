//! TCP on the rings: listeners with one accept task each, and streams that two tasks may use.
//!
//! Owned by the shard that listens or connected. All shards listen on the same address with
//! `SO_REUSEPORT`; the kernel deals connections out by a hash of both ends, evenly for many
//! connections and by chance for few. Reads go straight into the caller's buffer in one `recv` of
//! any size. glommio's stream timeouts are never used: an abandoned read makes the next one time
//! out at once, and write timeouts double. Nor is its vectored write, which sends the first slice
//! only.

use crate::adopt;
use crate::engine::turn;
use crate::error::{StartError, plain};
use crate::once::shielded;
use crate::port;
use crate::task_queues::TaskQueues;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use rt::sync::Event;
use rt::{Class, Listener, Net, ReadHalf, Stream, WriteHalf};
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

/// The TCP of one shard.
#[derive(Debug, Clone)]
pub struct GlommioNet {
    queues: TaskQueues,
    open: Rc<Open>,
}

/// What is open on this shard, so that its end closes it: tasks that wait on a connection then end
/// by themselves, as nothing else would make them.
#[derive(Debug, Default)]
struct Open {
    doors: RefCell<Vec<Weak<Door>>>,
    streams: RefCell<Vec<Weak<RefCell<TcpStream>>>>,
    sweep_at_len: Cell<usize>,
}

/// A listening socket of one shard.
#[derive(Debug)]
pub struct GlommioListener {
    door: Rc<Door>,
    local: SocketAddr,
}

/// What a listener and its accept task share.
#[derive(Debug)]
struct Door {
    accepted: RefCell<VecDeque<io::Result<GlommioStream>>>,
    arrived: Event,
    taken: Event,
    closed: Cell<bool>,
    /// Whether a caller of accept was told that it is closed.
    told: Cell<bool>,
    /// A second descriptor of the listening socket: shutting it down ends a waiting accept.
    socket: Socket,
}

/// A connection, before it is split.
#[derive(Debug)]
pub struct GlommioStream {
    stream: Rc<RefCell<TcpStream>>,
    peer: SocketAddr,
    local: SocketAddr,
}

/// The reading end of a connection.
#[derive(Debug)]
pub struct GlommioRead {
    stream: Rc<RefCell<TcpStream>>,
    /// How many reads in a row have filled the caller's buffer.
    full_reads: u32,
}

/// The writing end of a connection.
#[derive(Debug)]
pub struct GlommioWrite(Rc<RefCell<TcpStream>>);

impl GlommioNet {
    pub(crate) fn new(queues: TaskQueues) -> Self {
        let open = Rc::default();
        Self { queues, open }
    }

    /// Stops listening everywhere and ends every connection of this shard.
    pub(crate) fn close_all(&self) {
        for door in self.open.doors.take().iter().filter_map(Weak::upgrade) {
            door.close();
        }
        for stream in self.open.streams.take().iter().filter_map(Weak::upgrade) {
            shut_down(&stream.borrow(), Shutdown::Both);
        }
    }
}

impl Open {
    fn add(&self, stream: &Rc<RefCell<TcpStream>>) {
        let mut streams = self.streams.borrow_mut();
        if streams.len() >= self.sweep_at_len.get() {
            streams.retain(|stream| stream.strong_count() > 0);
            self.sweep_at_len.set((2 * streams.len()).max(64));
        }
        streams.push(Rc::downgrade(stream));
    }
}

impl Net for GlommioNet {
    type Listener = GlommioListener;
    type Stream = GlommioStream;

    async fn listen(&self, address: SocketAddr) -> io::Result<GlommioListener> {
        let socket = listening_socket(address).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => {
                let owner = port::owner_of(address);
                let text = StartError::PortInUse { address, owner }.to_string();
                io::Error::new(ErrorKind::AddrInUse, text)
            }
            _ => error,
        })?;
        let door = Rc::new(Door {
            accepted: RefCell::new(VecDeque::new()),
            arrived: Event::new(),
            taken: Event::new(),
            closed: Cell::new(false),
            told: Cell::new(false),
            socket: socket.try_clone()?,
        });
        let listener = adopt::listener(socket);
        let local = listener.local_addr().map_err(plain)?;
        self.open.doors.borrow_mut().push(Rc::downgrade(&door));
        let task = accept_all(listener, Rc::clone(&door), Rc::clone(&self.open));
        self.queues.spawn(Class::Request, task);
        Ok(GlommioListener { door, local })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<GlommioStream> {
        let stream = shielded(TcpStream::connect_timeout(address, CONNECT_LIMIT));
        GlommioStream::new(stream.await.map_err(plain)?, &self.open)
    }
}

fn listening_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Without SO_REUSEADDR a restart would wait for the TIME_WAIT of the predecessor's connections.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// The one task that accepts, and does nothing else: a dropped accept loses the connection that
/// it was about to return, and a much-polled one overflows glommio's count of wakers.
async fn accept_all(listener: TcpListener, door: Rc<Door>, open: Rc<Open>) {
    while !door.closed.get() {
        let accepted = listener.accept().await;
        if door.closed.get() {
            break;
        }
        match accepted {
            // A connection that is gone already is no error of the listener.
            Ok(stream) => match GlommioStream::new(stream, &open) {
                Ok(stream) => door.accepted.borrow_mut().push_back(Ok(stream)),
                Err(_) => continue,
            },
            Err(error) => {
                door.accepted.borrow_mut().push_back(Err(plain(error)));
                // Out of descriptors, most likely: trying again at once would burn the core.
                glommio::timer::sleep(ACCEPT_PAUSE).await;
            }
        }
        door.arrived.notify();
        while door.accepted.borrow().len() >= ACCEPTED_MAX && !door.closed.get() {
            door.taken.wait().await;
        }
    }
}

impl Listener for GlommioListener {
    type Stream = GlommioStream;

    async fn accept(&self) -> io::Result<GlommioStream> {
        loop {
            let accepted = self.door.accepted.borrow_mut().pop_front();
            if let Some(accepted) = accepted {
                self.door.taken.notify();
                return accepted;
            }
            if self.door.closed.get() && !self.door.told.replace(true) {
                return Err(io::Error::new(
                    ErrorKind::NotConnected,
                    "the shard has stopped listening",
                ));
            }
            // Once told, for ever: a caller that tries again must not turn in circles.
            self.door.arrived.wait().await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Drop for GlommioListener {
    fn drop(&mut self) {
        self.door.close();
    }
}

impl Door {
    fn close(&self) {
        self.closed.set(true);
        // Best effort: the socket is closed in any case when the accept task ends.
        let _ = self.socket.shutdown(Shutdown::Both);
        self.accepted.borrow_mut().clear();
        self.taken.notify();
        self.arrived.notify();
    }
}

impl GlommioStream {
    fn new(stream: TcpStream, open: &Open) -> io::Result<Self> {
        // Replies are gathered into one write per turn; waiting for more would only delay them.
        stream.set_nodelay(true).map_err(plain)?;
        let (peer, local) = (stream.peer_addr(), stream.local_addr());
        let stream = Rc::new(RefCell::new(stream));
        open.add(&stream);
        Ok(Self {
            stream,
            peer: peer.map_err(plain)?,
            local: local.map_err(plain)?,
        })
    }
}

impl Stream for GlommioStream {
    type Read = GlommioRead;
    type Write = GlommioWrite;

    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn split(self) -> (GlommioRead, GlommioWrite) {
        let read = GlommioRead {
            stream: Rc::clone(&self.stream),
            full_reads: 0,
        };
        (read, GlommioWrite(self.stream))
    }
}

impl ReadHalf for GlommioRead {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.full_reads >= FULL_READS_MAX {
            // After a read that fills the buffer glommio tries the next at once, without a look at
            // the rings: a peer that sends without end would keep the shard from everything else.
            self.full_reads = 0;
            turn().await;
        }
        // The borrow lasts for one poll; glommio keeps one waker per direction.
        let stream = &self.stream;
        let n = poll_fn(|context| Pin::new(&mut *stream.borrow_mut()).poll_read(context, buf));
        let n = n.await?;
        self.full_reads = if n == buf.len() {
            self.full_reads + 1
        } else {
            0
        };
        Ok(n)
    }
}

impl WriteHalf for GlommioWrite {
    async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written =
                poll_fn(|context| Pin::new(&mut *self.0.borrow_mut()).poll_write(context, bytes))
                    .await?;
            if written == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
        }
        Ok(())
    }

    fn aborter(&self) -> Box<dyn Fn()> {
        let stream = Rc::downgrade(&self.0);
        Box::new(move || {
            if let Some(stream) = stream.upgrade() {
                shut_down(&stream.borrow(), Shutdown::Both);
            }
        })
    }
}

impl Drop for GlommioWrite {
    fn drop(&mut self) {
        // Closing alone would leave the end of the stream unsent until the reactor's next turn.
        shut_down(&self.0.borrow(), Shutdown::Write);
    }
}

/// glommio's shutdown is a system call in a future that is ready at its first poll. It fails when
/// the connection is gone, which is what the caller wants.
fn shut_down(stream: &TcpStream, how: Shutdown) {
    let mut context = Context::from_waker(Waker::noop());
    let _ = pin!(stream.shutdown(how)).poll(&mut context);
}

const FULL_READS_MAX: u32 = 4;
const BACKLOG: i32 = 4_096;
const ACCEPTED_MAX: usize = 128;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
