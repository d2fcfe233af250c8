//! Where answers go: a port per connection, here or on another shard, and a slot per request.
//!
//! Owned by the shard that runs the request. Answers gather in the port and leave together: one
//! write per turn, one message per batch. Invariant: every request that reserved room of its
//! connection's budget gives it back exactly once, answered or not.

use remoting::ResponseCode;
use remoting::command::{ReplyTo, write_response};
use remoting::header::{EncodeHeader, NoHeader};
use rt::Rt;
use rt::sync::Event;
use shard::{ConnId, Lanes, ReplyBatch};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The answers of one connection on their way out.
pub(crate) struct ReplyPort<R: Rt> {
    conn: ConnId,
    out: RefCell<Vec<u8>>,
    reserved: Cell<u64>,
    released: Cell<u64>,
    is_closed: Cell<bool>,
    is_dirty: Cell<bool>,
    way: Way<R>,
}

enum Way<R: Rt> {
    /// The connection is of this shard: its writer waits for this event.
    Here(Event),
    /// The connection is of another shard.
    There(Rc<Lanes<R>>),
}

impl<R: Rt> ReplyPort<R> {
    /// The port of a connection of this shard.
    pub(crate) fn here(conn: ConnId) -> Rc<Self> {
        Self::new(conn, Way::Here(Event::new()))
    }

    /// A port to a connection of another shard, for one batch of requests.
    pub(crate) fn there(conn: ConnId, lanes: Rc<Lanes<R>>) -> Rc<Self> {
        Self::new(conn, Way::There(lanes))
    }

    fn new(conn: ConnId, way: Way<R>) -> Rc<Self> {
        Rc::new(Self {
            conn,
            out: RefCell::default(),
            reserved: Cell::new(0),
            released: Cell::new(0),
            is_closed: Cell::new(false),
            is_dirty: Cell::new(false),
            way,
        })
    }

    /// The connection.
    pub(crate) fn conn(&self) -> ConnId {
        self.conn
    }

    /// Bytes that wait to be written or are promised to requests under way.
    pub(crate) fn used(&self) -> u64 {
        self.out.borrow().len() as u64 + self.reserved.get()
    }

    /// Promises room to a request.
    pub(crate) fn reserve(&self, cost: u64) {
        if matches!(self.way, Way::Here(_)) {
            self.reserved.set(self.reserved.get() + cost);
        }
    }

    /// Gives room back.
    pub(crate) fn release(&self, cost: u64) {
        match self.way {
            Way::Here(_) => self.reserved.set(self.reserved.get().saturating_sub(cost)),
            Way::There(_) => self.released.set(self.released.get() + cost),
        }
    }

    /// Puts whole frames that are already encoded.
    pub(crate) fn put(&self, frames: &[u8]) {
        if !self.is_closed.get() {
            self.out.borrow_mut().extend_from_slice(frames);
        }
    }

    /// Lets `write` append whole frames.
    pub(crate) fn write(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_closed.get() {
            write(&mut self.out.borrow_mut());
        }
    }

    /// Sends what has gathered on its way.
    pub(crate) fn flush(&self) {
        self.is_dirty.set(false);
        match &self.way {
            Way::Here(written) => written.notify(),
            Way::There(lanes) => {
                let bytes = self.out.take();
                let released = self.released.take();
                if bytes.is_empty() && released == 0 {
                    return;
                }
                let conn = self.conn;
                let batch = ReplyBatch {
                    conn,
                    bytes,
                    released,
                };
                lanes.reply(conn.shard, batch);
            }
        }
    }

    /// Notes that the port is to be flushed; whether it was not noted before.
    pub(crate) fn mark_dirty(&self) -> bool {
        !self.is_dirty.replace(true)
    }

    /// What has gathered, in exchange for an empty buffer.
    pub(crate) fn take_written(&self, empty: Vec<u8>) -> Vec<u8> {
        self.out.replace(empty)
    }

    /// Whether something has gathered.
    pub(crate) fn has_written(&self) -> bool {
        !self.out.borrow().is_empty()
    }

    /// Completes when something may have gathered since `seen`.
    pub(crate) async fn wait_written(&self, seen: u64) {
        if let Way::Here(written) = &self.way {
            written.wait_past(seen).await;
        }
    }

    /// How often the port was flushed.
    pub(crate) fn flush_count(&self) -> u64 {
        match &self.way {
            Way::Here(written) => written.count(),
            Way::There(_) => 0,
        }
    }

    /// Ends the port: later answers are dropped.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.out.take();
        self.flush();
    }

    /// Whether the connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
}

/// A request's claim to be answered once.
pub(crate) struct ReplySlot<R: Rt> {
    port: Rc<ReplyPort<R>>,
    to: ReplyTo,
    cost: u64,
}

impl<R: Rt> ReplySlot<R> {
    /// A claim that gives `cost` bytes of the connection's budget back at its end.
    pub(crate) fn new(port: Rc<ReplyPort<R>>, to: ReplyTo, cost: u64) -> Self {
        Self { port, to, cost }
    }

    /// Where the answer goes.
    pub(crate) fn port(&self) -> &Rc<ReplyPort<R>> {
        &self.port
    }

    /// Who asked.
    pub(crate) fn to(&self) -> ReplyTo {
        self.to
    }

    /// Leaves the answer, and the reserved room, to whoever was handed the request.
    pub(crate) fn hand_over(mut self) {
        self.cost = 0;
    }

    /// Gives the reserved room back early, as a parked pull does.
    pub(crate) fn release(&mut self) {
        self.port.release(std::mem::take(&mut self.cost));
    }

    /// Answers; the port is flushed by the caller, or later.
    pub(crate) fn send(
        self,
        code: ResponseCode,
        remark: Option<&str>,
        header: &impl EncodeHeader,
        body: &[u8],
    ) {
        if !self.to.oneway {
            self.port
                .write(|out| write_response(out, self.to, code as i32, remark, header, body));
        }
    }

    /// Answers and sends it on its way.
    pub(crate) fn send_now(
        self,
        code: ResponseCode,
        remark: Option<&str>,
        header: &impl EncodeHeader,
        body: &[u8],
    ) {
        let port = Rc::clone(&self.port);
        self.send(code, remark, header, body);
        port.flush();
    }

    /// Refuses.
    pub(crate) fn refuse(self, refusal: &Refusal) {
        self.send(refusal.code, Some(&refusal.remark), &NoHeader, &[]);
    }
}

impl<R: Rt> Drop for ReplySlot<R> {
    fn drop(&mut self) {
        self.port.release(self.cost);
    }
}

/// A code and a remark that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The protocol's code.
    pub code: ResponseCode,
    /// What the client's user reads.
    pub remark: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: ResponseCode, remark: impl Into<String>) -> Self {
        let remark = remark.into();
        Self { code, remark }
    }
}
