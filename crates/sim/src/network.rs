//! The network: TCP streams between hosts, in memory, with delays, half close and resets.
//!
//! Owned by the world. A direction of a stream is a pipe of chunks that arrive in order, each
//! some time after it was written; a read may give less than has arrived. A partition holds
//! chunks back, in both directions or one; a stream may be reset, or go silent without a word (half
//! open); a crash of a host resets its streams. Invariant: bytes arrive in order, once, unchanged,
//! or not at all.

use crate::clock::Clock;
use crate::seed::Rng;
use crate::world::{Crash, Life, ip_of};
use rt::sync::Event;
use rt::{Listener, Net, ReadHalf, Stream, WriteHalf};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

/// All connections of a world.
pub(crate) struct Network {
    clock: Rc<Clock>,
    rng: RefCell<Rng>,
    /// From whom no bytes reach whom.
    cut: RefCell<BTreeSet<(usize, usize)>>,
    /// Hosts that refuse every connection.
    refusing: RefCell<BTreeSet<usize>>,
    /// Longest extra time of a chunk from or to a host, in nanoseconds.
    slow: RefCell<BTreeMap<usize, u64>>,
    listeners: RefCell<Vec<Rc<Backlog>>>,
    pipes: RefCell<Vec<Weak<Pipe>>>,
    next_port: Cell<u16>,
}

struct Backlog {
    address: SocketAddr,
    host: usize,
    life: u64,
    waiting: RefCell<VecDeque<SimStream>>,
    closed: Cell<bool>,
    event: Event,
}

/// One direction of a stream.
struct Pipe {
    from: usize,
    to: usize,
    delay_ns: (u64, u64),
    chunks: RefCell<VecDeque<Chunk>>,
    /// How many chunks at the front have arrived.
    arrived: Cell<usize>,
    last_arrival_ns: Cell<u64>,
    /// Bytes written and not yet read.
    held: Cell<usize>,
    capacity: usize,
    writer_gone: Cell<bool>,
    reader_gone: Cell<bool>,
    broken: Cell<bool>,
    /// An end is on a crashed host: nothing more is sent, not even an end.
    frozen: Cell<bool>,
    /// Nothing arrives any more, and nobody is told.
    silent: Cell<bool>,
    for_reader: Event,
    for_writer: Event,
}

/// Bytes, or the end of the stream when empty.
struct Chunk {
    bytes: Vec<u8>,
    read: usize,
}

/// The network of one shard.
#[derive(Clone)]
pub struct SimNet {
    life: Life,
}

/// A listening socket.
pub struct SimListener {
    backlog: Rc<Backlog>,
    network: Weak<Network>,
}

/// A connection, before it is split.
pub struct SimStream {
    local: SocketAddr,
    peer: SocketAddr,
    read: SimRead,
    write: SimWrite,
}

/// The reading end of a connection.
pub struct SimRead {
    pipe: Rc<Pipe>,
    network: Rc<Network>,
}

/// The writing end of a connection.
pub struct SimWrite {
    pipe: Rc<Pipe>,
    back: Rc<Pipe>,
    network: Rc<Network>,
}

/// How long a connect waits for an answer, in nanoseconds.
const CONNECT_MAX_NS: u64 = 3_000_000_000;
/// How often a held-back chunk is tried again, in nanoseconds.
const RETRY_NS: u64 = 200_000_000;
/// Longest piece of a write, in bytes.
const CHUNK_MAX: u64 = 65_536;

impl Network {
    pub(crate) fn new(clock: Rc<Clock>, rng: Rng) -> Rc<Self> {
        Rc::new(Self {
            clock,
            rng: RefCell::new(rng),
            cut: RefCell::default(),
            refusing: RefCell::default(),
            slow: RefCell::default(),
            listeners: RefCell::default(),
            pipes: RefCell::default(),
            next_port: Cell::new(32_768),
        })
    }

    /// Holds back, or lets through, what `from` sends to `to`.
    pub(crate) fn cut_way(&self, from: usize, to: usize, cut: bool) {
        if cut {
            self.cut.borrow_mut().insert((from, to));
        } else {
            self.cut.borrow_mut().remove(&(from, to));
        }
    }

    pub(crate) fn refuse(&self, host: usize, refuses: bool) {
        if refuses {
            self.refusing.borrow_mut().insert(host);
        } else {
            self.refusing.borrow_mut().remove(&host);
        }
    }

    pub(crate) fn slow_down(&self, host: usize, extra_ns_max: u64) {
        if extra_ns_max > 0 {
            self.slow.borrow_mut().insert(host, extra_ns_max);
        } else {
            self.slow.borrow_mut().remove(&host);
        }
    }

    /// Resets every stream of a host, as a middle box that forgets does.
    pub(crate) fn reset(&self, host: usize) {
        for pipe in self.pipes_of(host) {
            pipe.break_off();
        }
    }

    /// Makes a drawn half of a host's streams silent, both directions of a stream on its own.
    pub(crate) fn half_open(&self, host: usize) {
        for pipe in self.pipes_of(host) {
            if self.rng.borrow_mut().coin() {
                pipe.silent.set(true);
            }
        }
    }

    fn pipes_of(&self, host: usize) -> Vec<Rc<Pipe>> {
        let mut pipes = self.pipes.borrow_mut();
        pipes.retain(|pipe| pipe.strong_count() > 0);
        let all = pipes.iter().filter_map(Weak::upgrade);
        all.filter(|pipe| pipe.from == host || pipe.to == host)
            .collect()
    }

    /// Streams of a crashed host are reset: at once when the process was killed, some time later
    /// when the machine went dark.
    pub(crate) fn host_crashed(self: &Rc<Self>, host: usize, crash: Crash) {
        let pipes = self.pipes_of(host);
        for pipe in &pipes {
            pipe.frozen.set(true);
        }
        let closed: Vec<Rc<Backlog>> = {
            let mut listeners = self.listeners.borrow_mut();
            listeners.extract_if(.., |b| b.host == host).collect()
        };
        for backlog in closed {
            backlog.closed.set(true);
            drop(backlog.waiting.take());
        }
        for pipe in pipes {
            let delay_ns = match crash {
                Crash::Kill => self
                    .rng
                    .borrow_mut()
                    .between(pipe.delay_ns.0, pipe.delay_ns.1),
                Crash::Power => self.rng.borrow_mut().below(2_000_000_000),
            };
            self.clock.after(delay_ns, move || pipe.break_off());
        }
    }

    pub(crate) fn clear(&self) {
        // What is dropped may run code that looks at these lists.
        drop(self.listeners.take());
        drop(self.pipes.take());
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.borrow().contains(&(from, to))
    }

    fn extra_ns(&self, pipe: &Pipe) -> u64 {
        let slow = self.slow.borrow();
        if slow.is_empty() {
            return 0;
        }
        let of = |host: usize| slow.get(&host).copied().unwrap_or(0);
        self.rng
            .borrow_mut()
            .below(of(pipe.from).max(of(pipe.to)) + 1)
    }

    fn free_port(&self) -> u16 {
        let port = self.next_port.get();
        self.next_port.set(port.checked_add(1).unwrap_or(32_768));
        port
    }

    fn pipe(&self, from: usize, to: usize, delay_ns: (u64, u64)) -> Rc<Pipe> {
        let capacity = self.rng.borrow_mut().skewed(4_096, 1 << 20) as usize;
        let pipe = Rc::new(Pipe {
            from,
            to,
            delay_ns,
            chunks: RefCell::default(),
            arrived: Cell::new(0),
            last_arrival_ns: Cell::new(0),
            held: Cell::new(0),
            capacity,
            writer_gone: Cell::new(false),
            reader_gone: Cell::new(false),
            broken: Cell::new(false),
            frozen: Cell::new(false),
            silent: Cell::new(false),
            for_reader: Event::new(),
            for_writer: Event::new(),
        });
        self.pipes.borrow_mut().push(Rc::downgrade(&pipe));
        pipe
    }

    /// Both ends of a new stream, the connecting one first.
    fn stream(
        self: &Rc<Self>,
        from: (usize, SocketAddr),
        to: (usize, SocketAddr),
    ) -> [SimStream; 2] {
        let delay_ns = {
            let mut rng = self.rng.borrow_mut();
            let low = rng.skewed(5_000, 200_000);
            (low, low + rng.skewed(1_000, 2_000_000))
        };
        let there = self.pipe(from.0, to.0, delay_ns);
        let back = self.pipe(to.0, from.0, delay_ns);
        let end = |local, peer, read: &Rc<Pipe>, write: &Rc<Pipe>| SimStream {
            local,
            peer,
            read: SimRead {
                pipe: Rc::clone(read),
                network: Rc::clone(self),
            },
            write: SimWrite {
                pipe: Rc::clone(write),
                back: Rc::clone(read),
                network: Rc::clone(self),
            },
        };
        [
            end(from.1, to.1, &back, &there),
            end(to.1, from.1, &there, &back),
        ]
    }

    fn send(self: &Rc<Self>, pipe: &Rc<Pipe>, bytes: Vec<u8>) {
        pipe.held.set(pipe.held.get() + bytes.len());
        pipe.chunks.borrow_mut().push_back(Chunk { bytes, read: 0 });
        let (low, high) = pipe.delay_ns;
        let now_ns = self.clock.now_ns();
        let extra_ns = self.extra_ns(pipe);
        let delay_ns = self.rng.borrow_mut().between(low, high) + extra_ns;
        let arrival_ns = pipe.last_arrival_ns.get().max(now_ns + delay_ns);
        pipe.last_arrival_ns.set(arrival_ns);
        self.arrive(Rc::clone(pipe), arrival_ns - now_ns);
    }

    fn arrive(self: &Rc<Self>, pipe: Rc<Pipe>, delay_ns: u64) {
        let network = Rc::downgrade(self);
        self.clock.after(delay_ns, move || {
            let Some(network) = network.upgrade() else {
                return;
            };
            if network.is_cut(pipe.from, pipe.to) {
                network.arrive(pipe, RETRY_NS);
                return;
            }
            if pipe.silent.get() {
                return;
            }
            pipe.arrived.set(pipe.arrived.get() + 1);
            pipe.for_reader.notify();
        });
    }

    fn backlog_at(&self, address: SocketAddr, host: usize) -> Option<Rc<Backlog>> {
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|backlog| !backlog.closed.get());
        let fits = |b: &&Rc<Backlog>| {
            let ip = b.address.ip();
            let here = ip == address.ip() && (!ip.is_loopback() || b.host == host);
            let any = ip.is_unspecified()
                && (address.ip() == ip_of(b.host) || address.ip().is_loopback() && b.host == host);
            b.address.port() == address.port() && (here || any)
        };
        let listening: Vec<_> = listeners.iter().filter(fits).cloned().collect();
        if listening.is_empty() {
            return None;
        }
        let choice = self.rng.borrow_mut().index(listening.len());
        Some(Rc::clone(&listening[choice]))
    }
}

impl Pipe {
    fn break_off(&self) {
        self.broken.set(true);
        self.for_reader.notify();
        self.for_writer.notify();
    }
}

impl SimNet {
    pub(crate) fn new(life: Life) -> Self {
        Self { life }
    }
}

impl Net for SimNet {
    type Listener = SimListener;
    type Stream = SimStream;

    async fn listen(&self, address: SocketAddr) -> Result<SimListener> {
        let network = &self.life.core.network;
        let host = self.life.host.index;
        let mut address = address;
        if address.port() == 0 {
            address.set_port(network.free_port());
        }
        let taken = network.listeners.borrow().iter().any(|b| {
            let same_host = b.host == host && b.life == self.life.number();
            b.address == address
                && !b.closed.get()
                && !same_host
                && !address.ip().is_unspecified()
                && !address.ip().is_loopback()
        });
        if taken {
            return Err(Error::from(ErrorKind::AddrInUse));
        }
        let backlog = Rc::new(Backlog {
            address,
            host,
            life: self.life.number(),
            waiting: RefCell::default(),
            closed: Cell::new(false),
            event: Event::new(),
        });
        network.listeners.borrow_mut().push(Rc::clone(&backlog));
        Ok(SimListener {
            backlog,
            network: Rc::downgrade(network),
        })
    }

    async fn connect(&self, address: SocketAddr) -> Result<SimStream> {
        let network = Rc::clone(&self.life.core.network);
        let host = self.life.host.index;
        let delay_ns = network.rng.borrow_mut().between(20_000, 2_000_000);
        self.life.perform(delay_ns, || ()).await;
        let Some(backlog) = network.backlog_at(address, host) else {
            return Err(Error::from(ErrorKind::ConnectionRefused));
        };
        if network.refusing.borrow().contains(&backlog.host) {
            return Err(Error::from(ErrorKind::ConnectionRefused));
        }
        if network.is_cut(host, backlog.host) || network.is_cut(backlog.host, host) {
            self.life.perform(CONNECT_MAX_NS, || ()).await;
            return Err(Error::from(ErrorKind::TimedOut));
        }
        let ip = if address.ip().is_loopback() {
            address.ip()
        } else {
            ip_of(host)
        };
        let local = SocketAddr::new(ip, network.free_port());
        let [near, far] = network.stream((host, local), (backlog.host, address));
        backlog.waiting.borrow_mut().push_back(far);
        backlog.event.notify();
        Ok(near)
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&self) -> Result<SimStream> {
        loop {
            let seen = self.backlog.event.count();
            let next = self.backlog.waiting.borrow_mut().pop_front();
            if let Some(stream) = next {
                return Ok(stream);
            }
            self.backlog.event.wait_past(seen).await;
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.backlog.address)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.backlog.closed.set(true);
        drop(self.backlog.waiting.take());
        if let Some(network) = self.network.upgrade()
            && let Ok(mut listeners) = network.listeners.try_borrow_mut()
        {
            listeners.retain(|backlog| !Rc::ptr_eq(backlog, &self.backlog));
        }
    }
}

impl Stream for SimStream {
    type Read = SimRead;
    type Write = SimWrite;

    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn split(self) -> (SimRead, SimWrite) {
        (self.read, self.write)
    }
}

impl SimRead {
    /// Copies what has arrived; `None` when nothing has.
    fn take(&self, buf: &mut [u8]) -> Option<usize> {
        if self.pipe.arrived.get() == 0 {
            return None;
        }
        let mut chunks = self.pipe.chunks.borrow_mut();
        let mut filled = 0;
        while self.pipe.arrived.get() > 0 && filled < buf.len() {
            let Some(chunk) = chunks.front_mut() else {
                break;
            };
            if chunk.bytes.is_empty() {
                break; // the end stays
            }
            let part = (chunk.bytes.len() - chunk.read).min(buf.len() - filled);
            buf[filled..filled + part].copy_from_slice(&chunk.bytes[chunk.read..chunk.read + part]);
            filled += part;
            chunk.read += part;
            if chunk.read == chunk.bytes.len() {
                chunks.pop_front();
                self.pipe.arrived.set(self.pipe.arrived.get() - 1);
            }
        }
        self.pipe.held.set(self.pipe.held.get() - filled);
        self.pipe.for_writer.notify();
        Some(filled)
    }
}

impl ReadHalf for SimRead {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let len = {
            // Now and then a read gives less than has arrived.
            let mut rng = self.network.rng.borrow_mut();
            let short = rng.one_in(8) && buf.len() > 1;
            if short {
                rng.between(1, buf.len() as u64) as usize
            } else {
                buf.len()
            }
        };
        loop {
            let seen = self.pipe.for_reader.count();
            if self.pipe.broken.get() {
                return Err(Error::from(ErrorKind::ConnectionReset));
            }
            if let Some(filled) = self.take(&mut buf[..len]) {
                return Ok(filled);
            }
            self.pipe.for_reader.wait_past(seen).await;
        }
    }
}

impl Drop for SimRead {
    fn drop(&mut self) {
        if !self.pipe.frozen.get() {
            self.pipe.reader_gone.set(true);
            self.pipe.for_writer.notify();
        }
    }
}

impl WriteHalf for SimWrite {
    async fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            let seen = self.pipe.for_writer.count();
            if self.pipe.broken.get() || self.pipe.reader_gone.get() {
                return Err(Error::from(ErrorKind::BrokenPipe));
            }
            let room = self.pipe.capacity.saturating_sub(self.pipe.held.get());
            if room == 0 {
                self.pipe.for_writer.wait_past(seen).await;
                continue;
            }
            let piece = self.network.rng.borrow_mut().skewed(1_024, CHUNK_MAX) as usize;
            let (chunk, rest) = left.split_at(piece.min(room).min(left.len()));
            self.network.send(&self.pipe, chunk.to_vec());
            left = rest;
        }
        Ok(())
    }

    fn aborter(&self) -> Box<dyn Fn()> {
        let (one, other) = (Rc::clone(&self.pipe), Rc::clone(&self.back));
        Box::new(move || {
            one.break_off();
            other.break_off();
        })
    }
}

impl Drop for SimWrite {
    fn drop(&mut self) {
        self.pipe.writer_gone.set(true);
        if !self.pipe.broken.get() && !self.pipe.frozen.get() {
            self.network.send(&self.pipe, Vec::new());
        }
    }
}
