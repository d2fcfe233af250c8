//! Connections of one shard: accepting, reading whole frames, writing answers once per turn.
//!
//! Owned by the shard that accepted. A connection has one reading and one writing task and no
//! timer of its own: a sweep closes what is idle, half sent or not read. Invariant: no more is
//! read from a client whose answers fill its budget, and a frame is dispatched exactly once.

use crate::assemble::Services;
use crate::reply::ReplyPort;
use crate::routes;
use crate::settings::NetLimits;
use base::ShardId;
use remoting::frame::FrameBuffer;
use rt::sync::{Event, Gate, Latch};
use rt::{Class, Listener, Net, ReadHalf, Rt, Stream, WriteHalf};
use shard::{Caller, ConnId, RequestBatch};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// A connection of this shard.
pub(crate) struct Conn<R: Rt> {
    pub(crate) caller: Caller,
    pub(crate) port: Rc<ReplyPort<R>>,
    /// Groups that this connection has registered for, to be told when it ends.
    pub(crate) groups: RefCell<std::collections::BTreeSet<String>>,
    /// Whether frames went to other shards, which then may hold pulls of it.
    has_forwarded: Cell<bool>,
    room: Event,
    abort: Box<dyn Fn()>,
    last_read_us: Cell<u64>,
    partial_since_us: Cell<Option<u64>>,
    write_since_us: Cell<Option<u64>>,
}

impl<R: Rt> Conn<R> {
    /// Ends the connection; its tasks see it and clean up.
    pub(crate) fn close(&self) {
        (self.abort)();
    }
}

/// The connections of this shard.
pub(crate) struct ConnTable<R: Rt> {
    slots: RefCell<Vec<Slot<R>>>,
    free: RefCell<Vec<u32>>,
    count: Cell<usize>,
    count_max: usize,
    used: Cell<u64>,
    pub(crate) open: Rc<Gate>,
    refused: Cell<u64>,
}

struct Slot<R: Rt> {
    generation: u32,
    conn: Option<Rc<Conn<R>>>,
}

impl<R: Rt> ConnTable<R> {
    pub(crate) fn new(limits: &NetLimits, shard_count: u16) -> Self {
        Self {
            slots: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
            count_max: limits.connections_max.div_ceil(usize::from(shard_count)),
            used: Cell::new(0),
            open: Rc::default(),
            refused: Cell::new(0),
        }
    }

    /// The connection that `id` names, if it still stands.
    pub(crate) fn find(&self, id: ConnId) -> Option<Rc<Conn<R>>> {
        let slots = self.slots.borrow();
        let slot = slots.get(id.slot as usize)?;
        let conn = slot.conn.as_ref()?;
        (slot.generation == id.generation).then(|| Rc::clone(conn))
    }

    /// All connections.
    pub(crate) fn all(&self) -> Vec<Rc<Conn<R>>> {
        let slots = self.slots.borrow();
        slots.iter().filter_map(|slot| slot.conn.clone()).collect()
    }

    fn insert(
        &self,
        shard: ShardId,
        peer: SocketAddr,
        is_local_host: bool,
        abort: Box<dyn Fn()>,
        now_us: u64,
    ) -> Rc<Conn<R>> {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot {
                generation: 0,
                conn: None,
            });
            slots.len() as u32 - 1
        });
        let slot = &mut slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let id = ConnId {
            shard,
            slot: index,
            generation: slot.generation,
        };
        let conn = Rc::new(Conn {
            caller: Caller {
                conn: id,
                peer,
                is_local_host,
            },
            port: ReplyPort::here(id),
            groups: RefCell::default(),
            has_forwarded: Cell::new(false),
            room: Event::new(),
            abort,
            last_read_us: Cell::new(now_us),
            partial_since_us: Cell::new(None),
            write_since_us: Cell::new(None),
        });
        slot.conn = Some(Rc::clone(&conn));
        self.count.set(self.count.get() + 1);
        conn
    }

    fn remove(&self, id: ConnId) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(id.slot as usize) {
            slot.conn = None;
        }
        self.free.borrow_mut().push(id.slot);
        self.count.set(self.count.get() - 1);
    }
}

/// Accepts connections until `stop`; done when the listener is closed.
pub(crate) async fn accept<R: Rt>(
    services: Rc<Services<R>>,
    listener: <R::Net as Net>::Listener,
    stop: Rc<Latch>,
) {
    let rt = services.shard.rt.clone();
    let mut failed = 0_u64;
    while !stop.is_set() {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                if !stop.is_set() && failed.is_multiple_of(LOG_EVERY) {
                    tracing::warn!(%error, failed, "a connection could not be accepted");
                }
                failed += 1;
                rt.sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        failed = 0;
        if stop.is_set() {
            return;
        }
        let conns = &services.conns;
        if conns.count.get() >= conns.count_max {
            let refused = conns.refused.replace(conns.refused.get() + 1);
            if refused.is_multiple_of(LOG_EVERY) {
                let count_max = conns.count_max;
                tracing::warn!(
                    count_max,
                    refused,
                    "a connection was refused: the shard has too many"
                );
            }
            continue;
        }
        serve(&services, stream);
    }
}

fn serve<R: Rt>(services: &Rc<Services<R>>, stream: <R::Net as Net>::Stream) {
    let rt = &services.shard.rt;
    let (peer, local) = (stream.peer_addr(), stream.local_addr());
    let is_local_host = peer.ip().is_loopback() || peer.ip() == local.ip();
    let (read, write) = stream.split();
    let abort = write.aborter();
    let now_us = rt.monotonic_us();
    let conn = services
        .conns
        .insert(rt.shard(), peer, is_local_host, abort, now_us);
    let pass = services.conns.open.enter();
    let (reader, reading) = (Rc::clone(services), Rc::clone(&conn));
    rt.spawn(Class::Request, async move {
        read_frames(&reader, &reading, read).await;
        reading.port.close();
        reader.asks.connection_closed(reading.caller.conn);
        crate::client::connection_closed(&reader, &reading).await;
        crate::pull::connection_closed(&reader, reading.caller.conn, reading.has_forwarded.get());
        reader.conns.remove(reading.caller.conn);
        drop(pass);
    });
    let services = Rc::clone(services);
    rt.spawn(Class::Request, async move {
        write_answers(&services, &conn, write).await;
        conn.port.close();
        conn.room.notify();
        conn.close();
    });
}

/// Frames of one read on their way to their owners.
pub(crate) struct Outbound {
    batches: Vec<Vec<u8>>,
}

impl Outbound {
    /// Adds a whole frame, without its length word, for another shard.
    pub(crate) fn push(&mut self, to: ShardId, frame: &[u8]) {
        let batch = &mut self.batches[to.index()];
        batch.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        batch.extend_from_slice(frame);
    }
}

async fn read_frames<R: Rt>(
    services: &Rc<Services<R>>,
    conn: &Rc<Conn<R>>,
    mut read: <<R::Net as Net>::Stream as Stream>::Read,
) {
    let rt = &services.shard.rt;
    let mut frames = FrameBuffer::new(services.settings.net.frame_len_max);
    let mut outbound = Outbound {
        batches: vec![Vec::new(); usize::from(rt.shard_count())],
    };
    let mut want = READ_LEN_MIN;
    loop {
        let spare = frames.spare_mut(want);
        let spare_len = spare.len();
        let Ok(count) = read.read(spare).await else {
            return;
        };
        if count == 0 {
            return;
        }
        frames.filled(count);
        want = next_read_len(want, count, spare_len);
        conn.last_read_us.set(rt.monotonic_us());
        loop {
            match take_frames(services, conn, &mut frames, &mut outbound) {
                Taken::All => break,
                Taken::UntilFull => {
                    send_batches(services, conn, &mut outbound);
                    conn.port.flush();
                    if !wait_room(services, conn).await {
                        return;
                    }
                }
                Taken::Bad => return,
            }
        }
        conn.note_partial(frames.has_partial());
        frames.compact();
        send_batches(services, conn, &mut outbound);
        conn.port.flush();
        // A connection that always has more to read must not keep the log from being written.
        rt.yield_now().await;
    }
}

/// How far the frames of one read were taken.
enum Taken {
    All,
    /// There may be more, and no room.
    UntilFull,
    /// What came is no frame, or no command.
    Bad,
}

/// Takes whole frames as long as there is room. All of it is one moment for the store; answers leave
/// when it is over, since the task that writes them has to wait for this one.
fn take_frames<R: Rt>(
    services: &Rc<Services<R>>,
    conn: &Conn<R>,
    frames: &mut FrameBuffer,
    outbound: &mut Outbound,
) -> Taken {
    let _moment = services.shard.store.one_moment();
    loop {
        let frame = match frames.next_frame() {
            Ok(Some(range)) => {
                conn.partial_since_us.set(None);
                frames.bytes(range)
            }
            Ok(None) => return Taken::All,
            Err(error) => {
                log_bad_frame(services, conn, &error);
                return Taken::Bad;
            }
        };
        if let Err(error) = routes::accept(services, conn, frame, outbound) {
            log_bad_frame(services, conn, &error);
            return Taken::Bad;
        }
        if !has_room(services, conn) {
            return Taken::UntilFull;
        }
    }
}

impl<R: Rt> Conn<R> {
    fn note_partial(&self, has_partial: bool) {
        let since = self.partial_since_us.get();
        let now = self.last_read_us.get();
        self.partial_since_us
            .set(has_partial.then(|| since.unwrap_or(now)));
    }
}

fn next_read_len(want: usize, count: usize, spare_len: usize) -> usize {
    if count == spare_len {
        (want * 4).min(READ_LEN_MAX)
    } else if count * 8 < want {
        (want / 2).max(READ_LEN_MIN)
    } else {
        want
    }
}

fn has_room<R: Rt>(services: &Services<R>, conn: &Conn<R>) -> bool {
    let limits = &services.settings.net;
    let used = conn.port.used();
    used <= limits.connection_bytes_max
        && services.shard.store.has_room()
        && (used <= SMALL_USE || services.conns.used.get() <= limits.shard_bytes_max)
}

/// Waits until the connection may be read again; false when it has ended.
async fn wait_room<R: Rt>(services: &Services<R>, conn: &Conn<R>) -> bool {
    while !has_room(services, conn) {
        if conn.port.is_closed() {
            return false;
        }
        if services.shard.store.has_room() {
            conn.room.wait().await;
        } else {
            services.shard.store.wait_room().await;
        }
    }
    true
}

fn send_batches<R: Rt>(services: &Services<R>, conn: &Conn<R>, outbound: &mut Outbound) {
    for (index, batch) in outbound.batches.iter_mut().enumerate() {
        if batch.is_empty() {
            continue;
        }
        let to = ShardId::new(index as u16);
        let frames = std::mem::take(batch);
        let caller = conn.caller;
        let batch = RequestBatch { caller, frames };
        conn.has_forwarded.set(true);
        if let Err(batch) = services.shard.lanes.try_requests(to, batch) {
            routes::shed(conn, &batch.frames);
        }
    }
}

async fn write_answers<R: Rt>(
    services: &Services<R>,
    conn: &Conn<R>,
    mut write: <<R::Net as Net>::Stream as Stream>::Write,
) {
    let rt = &services.shard.rt;
    let used = &services.conns.used;
    let mut spare = Vec::new();
    loop {
        let seen = conn.port.flush_count();
        if !conn.port.has_written() {
            if conn.port.is_closed() {
                return;
            }
            conn.room.notify();
            conn.port.wait_written(seen).await;
            continue;
        }
        let bytes = conn.port.take_written(spare);
        used.set(used.get() + bytes.len() as u64);
        let mut written = Ok(());
        for part in bytes.chunks(WRITE_LEN_MAX) {
            // Each part has its own deadline, so that a slow client is not taken for a deaf one.
            conn.write_since_us.set(Some(rt.monotonic_us()));
            written = write.write_all(part).await;
            if written.is_err() {
                break;
            }
        }
        conn.write_since_us.set(None);
        used.set(used.get() - bytes.len() as u64);
        conn.room.notify();
        if written.is_err() {
            return;
        }
        spare = bytes;
        spare.clear();
        if spare.capacity() > WRITE_KEPT_MAX {
            spare = Vec::new();
        }
    }
}

/// Closes connections that are idle, that sent half a frame, or that do not read.
pub(crate) fn sweep<R: Rt>(services: &Services<R>) {
    let limits = &services.settings.net;
    let now_us = services.shard.rt.monotonic_us();
    let over = |since_us: u64, limit_ms: u64| now_us.saturating_sub(since_us) > limit_ms * 1_000;
    for conn in services.conns.all() {
        // Those that wait for room of the whole shard look again.
        conn.room.notify();
        let reason = if conn
            .partial_since_us
            .get()
            .is_some_and(|since| over(since, limits.frame_deadline_ms))
        {
            "half a frame was sent and no more"
        } else if conn
            .write_since_us
            .get()
            .is_some_and(|since| over(since, limits.write_deadline_ms))
        {
            "the client does not read its answers"
        } else if over(conn.last_read_us.get(), limits.idle_close_ms) {
            "idle"
        } else {
            continue;
        };
        if reason != "idle" && services.bad_frames.allows(now_us) {
            tracing::warn!(peer = %conn.caller.peer, reason, "connection closed");
        }
        conn.close();
    }
}

fn log_bad_frame<R: Rt>(services: &Services<R>, conn: &Conn<R>, error: &dyn std::fmt::Display) {
    if services.bad_frames.allows(services.shard.rt.monotonic_us()) {
        tracing::warn!(peer = %conn.caller.peer, %error, "bad frame, connection closed");
    }
}

/// Lets a few log lines per second pass.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    second: Cell<u64>,
    lines: Cell<u64>,
}

impl LogBudget {
    pub(crate) fn allows(&self, now_us: u64) -> bool {
        let second = now_us / 1_000_000;
        if self.second.replace(second) != second {
            self.lines.set(0);
        }
        self.lines.set(self.lines.get() + 1);
        self.lines.get() <= LOG_LINES_PER_SECOND
    }
}

const READ_LEN_MIN: usize = 4 << 10;
/// What is read, its answers and its records twice, in the log and its ring, all stay in a
/// processor's own cache.
const READ_LEN_MAX: usize = 128 << 10;
const WRITE_LEN_MAX: usize = 256 << 10;
/// Enough for the answers to a long read of short sends.
const WRITE_KEPT_MAX: usize = 128 << 10;
/// A connection that uses less is read even when all connections together use too much.
const SMALL_USE: u64 = 64 << 10;
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const LOG_EVERY: u64 = 100;
const LOG_LINES_PER_SECOND: u64 = 5;
