//! Assembly: the only place that names every service of a shard.
//!
//! One `Services` per shard, made at boot and shared by its tasks. A capability owns its own state
//! and lives in its own module; this struct only holds them together. Invariant: nothing here
//! outlives the shard, and shard 0 alone has a control and a registrar that work.

use crate::client::{Asks, Clients};
use crate::conn::{ConnTable, LogBudget};
use crate::delay::Delay;
use crate::locks::QueueLocks;
use crate::pop::PopService;
use crate::pull::PullService;
use crate::register::Registrar;
use crate::reply::ReplyPort;
use crate::routes;
use crate::send::SendService;
use crate::settings::BrokerSettings;
use crate::stats::Stats;
use crate::topics::Topics;
use crate::transaction::Transactions;
use base::ShardId;
use rt::Rt;
use rt::sync::Latch;
use shard::{CallError, ConnId, Control, ReplyBatch, RequestBatch, Shard};
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

/// What the handlers of one shard work with.
pub(crate) struct Services<R: Rt> {
    pub(crate) settings: Arc<BrokerSettings>,
    pub(crate) shard: Rc<Shard<R>>,
    pub(crate) conns: ConnTable<R>,
    pub(crate) topics: Topics,
    pub(crate) send: SendService<R>,
    pub(crate) pull: PullService<R>,
    pub(crate) pop: PopService<R>,
    pub(crate) clients: Clients,
    /// Questions to the clients of this shard.
    pub(crate) asks: Asks,
    pub(crate) locks: QueueLocks,
    pub(crate) delay: Delay,
    pub(crate) transactions: Transactions,
    pub(crate) stats: Stats,
    pub(crate) registrar: Registrar<R>,
    pub(crate) bad_frames: LogBudget,
    pub(crate) stop: Rc<Latch>,
    /// When the broker was started, in milliseconds since the epoch.
    pub(crate) boot_timestamp_ms: i64,
    control: OnceCell<Rc<Control<R>>>,
}

impl<R: Rt> Services<R> {
    pub(crate) fn new(settings: Arc<BrokerSettings>, shard: Rc<Shard<R>>) -> Rc<Self> {
        let control = OnceCell::new();
        if shard.id() == ShardId::CONTROL {
            let _ = control.set(Control::new(Rc::clone(&shard)));
        }
        let rt = &shard.rt;
        let services = Rc::new(Self {
            conns: ConnTable::new(&settings.net, rt.shard_count()),
            topics: Topics::default(),
            send: SendService::new(&settings),
            pull: PullService::new(&settings.net),
            pop: PopService::new(&settings.pop),
            clients: Clients::new(settings.net.members_max, settings.net.groups_max),
            asks: Asks::default(),
            locks: QueueLocks::default(),
            delay: Delay::default(),
            transactions: Transactions::default(),
            stats: Stats::default(),
            registrar: Registrar::new(&settings),
            bad_frames: LogBudget::default(),
            stop: Rc::default(),
            boot_timestamp_ms: rt.now_ms(),
            control,
            settings,
            shard,
        });
        services.shard.install(Rc::clone(&services) as _);
        services
    }

    /// The writer of topics and groups.
    ///
    /// # Panics
    /// On another shard than shard 0.
    pub(crate) fn control(&self) -> Rc<Control<R>> {
        Rc::clone(self.control.get().expect("runs on shard 0"))
    }

    /// Runs `work` with the services of another shard, or of this one.
    ///
    /// # Errors
    /// When that shard has no room or has stopped.
    pub(crate) async fn call<V, F>(
        &self,
        to: ShardId,
        work: impl FnOnce(Rc<Self>) -> F + Send + 'static,
    ) -> Result<V, CallError>
    where
        V: Send + 'static,
        F: Future<Output = V> + 'static,
    {
        let run = move |shard: Rc<Shard<R>>| work(shard.services::<Self>());
        self.shard.lanes.call(to, run).await
    }

    /// The same for work that must happen: tries again while there is no room.
    ///
    /// # Errors
    /// When that shard has stopped.
    pub(crate) async fn call_until_done<V, F, W>(
        &self,
        to: ShardId,
        work: W,
    ) -> Result<V, CallError>
    where
        V: Send + 'static,
        F: Future<Output = V> + 'static,
        W: FnOnce(Rc<Self>) -> F + Clone + Send + 'static,
    {
        let run = move |shard: Rc<Shard<R>>| work(shard.services::<Self>());
        self.shard.lanes.call_until_done(to, run).await
    }

    /// Runs `work` on every shard and gives the answers in order of shard.
    ///
    /// # Errors
    /// When a shard has no room or has stopped.
    pub(crate) async fn gather<V, F, W>(&self, work: W) -> Result<Vec<V>, CallError>
    where
        V: Send + 'static,
        F: Future<Output = V> + 'static,
        W: FnOnce(Rc<Self>) -> F + Clone + Send + 'static,
    {
        let run = move |shard: Rc<Shard<R>>| work(shard.services::<Self>());
        self.shard.lanes.gather(run).await
    }

    /// Sends a frame that the broker starts to a client of any shard.
    pub(crate) fn push(&self, conn: ConnId, frame: Vec<u8>) {
        let batch = ReplyBatch {
            conn,
            bytes: frame,
            released: 0,
        };
        if conn.shard == self.shard.id() {
            self.deliver(&batch);
        } else {
            self.shard.lanes.reply(conn.shard, batch);
        }
    }

    fn deliver(&self, batch: &ReplyBatch) {
        if let Some(conn) = self.conns.find(batch.conn) {
            conn.port.release(batch.released);
            conn.port.put(&batch.bytes);
            conn.port.flush();
        }
    }
}

/// Receives from the lanes for the services of a shard.
pub(crate) struct LaneReceiver<R: Rt>(pub(crate) Rc<Services<R>>);

impl<R: Rt> shard::Receiver for LaneReceiver<R> {
    fn requests(&self, _from: ShardId, batch: RequestBatch) {
        let lanes = Rc::clone(&self.0.shard.lanes);
        let port = ReplyPort::there(batch.caller.conn, lanes);
        routes::run_batch(&self.0, &port, batch.caller, &batch.frames);
        port.flush();
    }

    fn replies(&self, batch: ReplyBatch) {
        self.0.deliver(&batch);
    }

    async fn room(&self) {
        let store = &self.0.shard.store;
        while !store.has_room() {
            store.wait_room().await;
        }
    }
}
