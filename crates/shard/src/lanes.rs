//! This shard's ends of the mesh: calls with answers, batches of frames, and replies that always
//! find room.
//!
//! Owned by the shard. Invariant (no deadlock): a request lane is only ever tried, never awaited,
//! and whoever drains a reply lane waits for nothing. A reply that finds its lane full is kept in
//! a list that one task per peer sends; admission of requests bounds that list.

use crate::message::{Job, JobFuture, ReplyBatch, RequestBatch, ShardMessage};
use base::{HashMap, ShardId};
use rt::sync::{Event, Giver, oneshot};
use rt::{Class, Lane, Mesh, Rt};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Why a call to another shard gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Its request lane is full.
    #[error("shard {shard} has no room for more requests")]
    Busy {
        /// The shard that was called.
        shard: ShardId,
    },
    /// It has stopped.
    #[error("shard {shard} has stopped")]
    Stopped {
        /// The shard that was called.
        shard: ShardId,
    },
}

/// What a shard does with the messages that others send it.
pub trait Receiver: 'static {
    /// Runs frames of a connection of another shard.
    fn requests(&self, from: ShardId, batch: RequestBatch);
    /// Hands answers to a connection of this shard.
    fn replies(&self, batch: ReplyBatch);
    /// Completes when more frames may be run; the request lane fills meanwhile.
    fn room(&self) -> impl Future<Output = ()>;
}

/// The lanes of one shard.
pub struct Lanes<R: Rt> {
    rt: R,
    mesh: R::Mesh<ShardMessage>,
    next_call: Cell<u64>,
    calls: RefCell<HashMap<u64, Waiting>>,
    calls_max: usize,
    waiting_replies: Vec<PeerReplies>,
    target: RefCell<Option<Rc<dyn Any>>>,
}

/// Who was called, and where the answer goes.
type Waiting = (ShardId, Giver<Box<dyn Any + Send>>);

#[derive(Default)]
struct PeerReplies {
    waiting: RefCell<VecDeque<ShardMessage>>,
    arrived: Event,
    /// The peer has closed its ends.
    is_gone: Cell<bool>,
}

impl<R: Rt> Lanes<R> {
    /// The lanes of the shard of `rt`; at most `calls_max` calls wait for an answer at once.
    pub fn new(rt: R, mesh: R::Mesh<ShardMessage>, calls_max: usize) -> Rc<Self> {
        let peers = usize::from(rt.shard_count());
        Rc::new(Self {
            mesh,
            next_call: Cell::new(0),
            calls: RefCell::default(),
            calls_max,
            waiting_replies: (0..peers).map(|_| PeerReplies::default()).collect(),
            target: RefCell::default(),
            rt,
        })
    }

    /// Begins to receive: calls run against `target`, frames and answers go to `receiver`.
    pub fn start(self: &Rc<Self>, target: Rc<dyn Any>, receiver: &Rc<impl Receiver>) {
        self.target.replace(Some(target));
        for index in 0..self.rt.shard_count() {
            let peer = ShardId::new(index);
            if peer == self.rt.shard() {
                continue;
            }
            let (lanes, to) = (Rc::clone(self), Rc::clone(receiver));
            self.rt.spawn(Class::Request, async move {
                lanes.receive_requests(peer, &*to).await;
            });
            let (lanes, to) = (Rc::clone(self), Rc::clone(receiver));
            self.rt.spawn(Class::Request, async move {
                lanes.receive_replies(peer, &*to).await;
            });
            let lanes = Rc::clone(self);
            self.rt.spawn(Class::Request, async move {
                lanes.send_waiting_replies(peer).await;
            });
        }
    }

    /// Sends frames to their owner.
    ///
    /// # Errors
    /// Gives them back when the lane is full or the shard has stopped.
    pub fn try_requests(&self, to: ShardId, batch: RequestBatch) -> Result<(), RequestBatch> {
        let sent = self
            .mesh
            .try_send(Lane::Request, to, ShardMessage::Requests(batch));
        match sent {
            Err(ShardMessage::Requests(batch)) => Err(batch),
            _ => Ok(()),
        }
    }

    /// Sends answers to the shard that holds the connection. Never waits, never refuses.
    pub fn reply(&self, to: ShardId, batch: ReplyBatch) {
        self.send_reply(to, ShardMessage::Replies(batch));
    }

    /// Runs `work` on another shard, or here, and gives what it returns.
    ///
    /// `T` is the type of the target that was given to [`Lanes::start`] on that shard.
    ///
    /// # Errors
    /// [`CallError::Busy`] when the lane is full: nothing has happened then.
    /// [`CallError::Stopped`] when the shard stopped: the work may have happened.
    pub async fn call<T, V, F>(
        &self,
        to: ShardId,
        work: impl FnOnce(Rc<T>) -> F + Send + 'static,
    ) -> Result<V, CallError>
    where
        T: 'static,
        V: Send + 'static,
        F: Future<Output = V> + 'static,
    {
        if to == self.rt.shard() {
            let target = self.target.borrow().clone();
            let target = target.ok_or(CallError::Stopped { shard: to })?;
            let target = target.downcast::<T>().expect("one target type per broker");
            return Ok(work(target).await);
        }
        if self.waiting_replies[to.index()].is_gone.get() {
            return Err(CallError::Stopped { shard: to });
        }
        if self.calls.borrow().len() >= self.calls_max {
            return Err(CallError::Busy { shard: to });
        }
        let job: Job = Box::new(move |target| {
            let target = target.downcast::<T>().expect("one target type per broker");
            let future = work(target);
            Box::pin(async move { Box::new(future.await) as Box<dyn Any + Send> }) as JobFuture
        });
        let id = self.next_call.replace(self.next_call.get() + 1);
        let (giver, taker) = oneshot();
        self.calls.borrow_mut().insert(id, (to, giver));
        let sent = self
            .mesh
            .try_send(Lane::Request, to, ShardMessage::Call { id, job });
        if sent.is_err() {
            self.calls.borrow_mut().remove(&id);
            return Err(CallError::Busy { shard: to });
        }
        let value = taker.take().await;
        let value = value.ok_or(CallError::Stopped { shard: to })?;
        Ok(*value.downcast::<V>().expect("a job returns its own type"))
    }

    /// Like [`Lanes::call`], trying again while the lane is full. Work that must happen, such as
    /// a snapshot or the end of a connection, goes this way.
    ///
    /// # Errors
    /// [`CallError::Stopped`] when the shard stopped.
    pub async fn call_until_done<T, V, F, W>(&self, to: ShardId, work: W) -> Result<V, CallError>
    where
        T: 'static,
        V: Send + 'static,
        F: Future<Output = V> + 'static,
        W: FnOnce(Rc<T>) -> F + Clone + Send + 'static,
    {
        loop {
            match self.call(to, work.clone()).await {
                Err(CallError::Busy { .. }) => self.rt.sleep(RETRY_AFTER).await,
                other => return other,
            }
        }
    }

    /// Runs `work` on every shard, this one included, and gives the answers in order of shard.
    ///
    /// # Errors
    /// The first shard that is busy or stopped.
    pub async fn gather<T, V, F, W>(&self, work: W) -> Result<Vec<V>, CallError>
    where
        T: 'static,
        V: Send + 'static,
        F: Future<Output = V> + 'static,
        W: FnOnce(Rc<T>) -> F + Clone + Send + 'static,
    {
        let mut values = Vec::with_capacity(usize::from(self.rt.shard_count()));
        for index in 0..self.rt.shard_count() {
            values.push(self.call(ShardId::new(index), work.clone()).await?);
        }
        Ok(values)
    }

    /// Ends the lanes: calls under way fail, peers see the end.
    pub fn close(&self) {
        self.mesh.close();
        for peer in &self.waiting_replies {
            peer.arrived.notify();
        }
        self.calls.take();
        self.target.take();
    }

    fn send_reply(&self, to: ShardId, message: ShardMessage) {
        let peer = &self.waiting_replies[to.index()];
        if !peer.waiting.borrow().is_empty() {
            peer.waiting.borrow_mut().push_back(message);
            return;
        }
        if let Err(message) = self.mesh.try_send(Lane::Reply, to, message) {
            peer.waiting.borrow_mut().push_back(message);
            peer.arrived.notify();
        }
    }

    async fn send_waiting_replies(&self, to: ShardId) {
        let peer = &self.waiting_replies[to.index()];
        loop {
            let seen = peer.arrived.count();
            loop {
                // The front stays in the list while it waits, so that later ones queue behind it.
                let front = peer
                    .waiting
                    .borrow_mut()
                    .front_mut()
                    .map(|front| std::mem::replace(front, ShardMessage::empty()));
                let Some(front) = front else { break };
                let sent = self.mesh.send(Lane::Reply, to, front).await;
                peer.waiting.borrow_mut().pop_front();
                if sent.is_err() {
                    peer.waiting.borrow_mut().clear();
                    return;
                }
            }
            if self.target.borrow().is_none() {
                return;
            }
            peer.arrived.wait_past(seen).await;
        }
    }

    async fn receive_requests(self: &Rc<Self>, from: ShardId, to: &impl Receiver) {
        while let Some(message) = self.mesh.recv(Lane::Request, from).await {
            match message {
                ShardMessage::Requests(batch) => {
                    to.room().await;
                    to.requests(from, batch);
                    self.rt.yield_now().await;
                }
                ShardMessage::Call { id, job } => self.run(from, id, job),
                other => tracing::error!(?other, %from, "on the wrong lane"),
            }
        }
    }

    fn run(self: &Rc<Self>, from: ShardId, id: u64, job: Job) {
        let Some(target) = self.target.borrow().clone() else {
            return;
        };
        let future = job(target);
        let lanes = Rc::clone(self);
        self.rt.spawn(Class::Request, async move {
            let value = future.await;
            lanes.send_reply(from, ShardMessage::Return { id, value });
        });
    }

    async fn receive_replies(&self, from: ShardId, to: &impl Receiver) {
        while let Some(message) = self.mesh.recv(Lane::Reply, from).await {
            match message {
                ShardMessage::Replies(batch) => to.replies(batch),
                ShardMessage::Return { id, value } => {
                    let call = self.calls.borrow_mut().remove(&id);
                    if let Some((_, giver)) = call {
                        giver.give(value);
                    }
                }
                other => tracing::error!(?other, %from, "on the wrong lane"),
            }
        }
        // The peer is gone: dropping the givers ends the calls that wait for it.
        self.waiting_replies[from.index()].is_gone.set(true);
        self.calls
            .borrow_mut()
            .retain(|_, (shard, _)| *shard != from);
    }
}

impl ShardMessage {
    fn empty() -> Self {
        Self::Return {
            id: u64::MAX,
            value: Box::new(()),
        }
    }
}

const RETRY_AFTER: Duration = Duration::from_millis(1);
