//! A broker that does nothing: it answers each send with the next offset and keeps no message.
//!
//! What the generator reaches against it is the generator's own ceiling, and its times are the floor of
//! every measurement. One thread, one event loop, like the generator. For tests it can end its
//! connections after some answers, or refuse. Invariant: it never answers what it did not read.

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use remoting::command::{Command, NoHeader, decode, write_response};
use remoting::frame::{FRAME_LEN_MAX, FrameBuffer};
use remoting::header::send::SendMessageResponseHeader;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// What it does wrong, for tests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Closes everything after so many answers to sends.
    pub(crate) ends_after: Option<u64>,
    /// Refuses every n-th send with this code.
    pub(crate) refuses: Option<(u64, i32)>,
}

/// A running sink; it ends with its value.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const LISTENER: u64 = u64::MAX;
const READ_BYTES: usize = 256 * 1024;
const WAIT_MS: u8 = 20;

impl Sink {
    /// Starts it, on one CPU when one is given.
    pub(crate) fn start(cpu: Option<usize>, spins: bool, faults: Faults) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ends);
        let thread = std::thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || {
                if let Some(id) = cpu {
                    core_affinity::set_for_current(core_affinity::CoreId { id });
                }
                let served =
                    Server::new(listener, faults).and_then(|server| server.serve(&flag, spins));
                if let Err(error) = served {
                    eprintln!("the server that does nothing ended: {error:#}");
                }
            })?;
        Ok(Self {
            address,
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic is not ours.
            let _ = thread.join();
        }
    }
}

struct Peer {
    stream: TcpStream,
    frames: FrameBuffer,
    out: Vec<u8>,
}

struct Server {
    listener: TcpListener,
    epoll: Epoll,
    peers: BTreeMap<u64, Peer>,
    offsets: BTreeMap<String, Vec<i64>>,
    faults: Faults,
    answered: u64,
}

impl Server {
    fn new(listener: TcpListener, faults: Faults) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self {
            listener,
            epoll,
            peers: BTreeMap::new(),
            offsets: BTreeMap::new(),
            faults,
            answered: 0,
        })
    }

    fn serve(mut self, ends: &AtomicBool, spins: bool) -> Result<()> {
        let mut events = vec![EpollEvent::empty(); 256];
        let mut next = 0;
        while !ends.load(Ordering::Relaxed) {
            let timeout = if spins {
                EpollTimeout::ZERO
            } else {
                EpollTimeout::from(WAIT_MS)
            };
            let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
            for event in &events[..count] {
                if event.data() == LISTENER {
                    self.accept(&mut next)?;
                } else if !self.turn(event.data())? {
                    self.peers.remove(&event.data());
                }
            }
            if self
                .faults
                .ends_after
                .is_some_and(|limit| self.answered >= limit)
            {
                return Ok(());
            }
        }
        Ok(())
    }

    fn accept(&mut self, next: &mut u64) -> Result<()> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.epoll.add(
            &stream,
            EpollEvent::new(
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET,
                *next,
            ),
        )?;
        self.peers.insert(
            *next,
            Peer {
                stream,
                frames: FrameBuffer::new(FRAME_LEN_MAX),
                out: Vec::new(),
            },
        );
        *next += 1;
        Ok(())
    }

    /// Reads and answers until there is no more; false when the peer is gone.
    fn turn(&mut self, id: u64) -> Result<bool> {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(true);
        };
        loop {
            let read = match peer.stream.read(peer.frames.spare_mut(READ_BYTES)) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return Ok(false),
            };
            peer.frames.filled(read);
            while let Some(frame) = peer.frames.next_frame()? {
                let request = decode(peer.frames.bytes(frame))?;
                answer(
                    &request,
                    &mut peer.out,
                    &mut self.offsets,
                    &mut self.answered,
                    self.faults,
                )?;
            }
            peer.frames.compact();
            while !peer.out.is_empty() {
                match peer.stream.write(&peer.out) {
                    Ok(count) => drop(peer.out.drain(..count)),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return Ok(false),
                }
            }
            if read < READ_BYTES {
                return Ok(true);
            }
        }
    }
}

/// Request codes that it knows. Source: Java `RequestCode`.
mod code {
    pub(super) const GET_MAX_OFFSET: i32 = 30;
    pub(super) const GET_MIN_OFFSET: i32 = 31;
    pub(super) const GET_BROKER_CLUSTER_INFO: i32 = 106;
    pub(super) const SEND_MESSAGE_V2: i32 = 310;
    pub(super) const SEND_BATCH_MESSAGE: i32 = 320;
}
const NOT_SUPPORTED: i32 = 3;

fn answer(
    request: &Command<'_>,
    out: &mut Vec<u8>,
    offsets: &mut BTreeMap<String, Vec<i64>>,
    answered: &mut u64,
    faults: Faults,
) -> Result<()> {
    let to = request.reply_to();
    match request.code {
        code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => {
            *answered += 1;
            if let Some((each, code)) = faults.refuses
                && answered.is_multiple_of(each)
            {
                write_response(out, to, code, Some("refused by the test"), &NoHeader, b"");
                return Ok(());
            }
            let topic = request.fields.get("b").context("a send without a topic")?;
            let queue: usize = request
                .fields
                .get("e")
                .context("a send without a queue")?
                .parse()?;
            let count = if request.code == code::SEND_BATCH_MESSAGE {
                remoting::message::batch::split(request.body).count() as i64
            } else {
                1
            };
            if !offsets.contains_key(topic) {
                offsets.insert(topic.to_owned(), Vec::new());
            }
            let queues = offsets.get_mut(topic).context("it is there")?;
            queues.resize(queues.len().max(queue + 1), 0);
            let header = SendMessageResponseHeader {
                msg_id: "7F00000100002A9F0000000000000000",
                queue_id: queue as i32,
                queue_offset: queues[queue],
                ..SendMessageResponseHeader::default()
            };
            queues[queue] += count;
            write_response(out, to, 0, None, &header, b"");
        }
        code::GET_MAX_OFFSET | code::GET_MIN_OFFSET => {
            let topic = request.fields.get("topic").unwrap_or_default();
            let queue: usize = request.fields.get("queueId").unwrap_or("0").parse()?;
            let end = offsets
                .get(topic)
                .and_then(|queues| queues.get(queue))
                .copied()
                .unwrap_or(0);
            // It keeps nothing: its queues begin where they end.
            let header =
                remoting::header::offset::QueryConsumerOffsetResponseHeader { offset: end };
            write_response(out, to, 0, None, &header, b"");
        }
        code::GET_BROKER_CLUSTER_INFO => {
            write_response(
                out,
                to,
                NOT_SUPPORTED,
                Some("not a name server"),
                &NoHeader,
                b"",
            );
        }
        _ => write_response(out, to, 0, None, &NoHeader, b""),
    }
    Ok(())
}
