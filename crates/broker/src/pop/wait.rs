//! Pops that wait for messages, and who tells them.
//!
//! Owned by the shard where the request is served: that of the queue, or for a pop of all queues
//! that of the connection. A waiting pop is a record, not a task. A watch stands for a topic and a
//! group; it knows the queues of its shard, and which other shards want to be told when something
//! arrives in them. One signal wakes one pop, which wakes the next when it leaves messages behind.
//! Invariant: a pop parks only when no signal came since it began to look. Java:
//! `PopLongPollingService`.

use super::part::own_queues;
use super::{Wanted, notify, retry_topic_of, run};
use crate::assemble::Services;
use crate::reply::ReplySlot;
use crate::settings::PopSettings;
use crate::subscription::MessageFilter;
use base::{HashMap, ShardId};
use rt::{Class, Rt};
use shard::pops::PopKeyRef;
use shard::{Arrivals, ConnId, first_of};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::QueueRef;

/// The waiting pops of a shard.
pub(crate) struct Waits<R: Rt> {
    parked: Arrivals<WaitKey, Waiting<R>>,
    watches: RefCell<BTreeMap<Names, Rc<Watch>>>,
    by_queue: RefCell<HashMap<QueueRef, Vec<Watched>>>,
    next_number: Cell<u32>,
    /// Connections that ended since the last sweep.
    closed: RefCell<BTreeSet<ConnId>>,
    is_stopping: Cell<bool>,
}

/// Topic and group.
type Names = (Arc<str>, Arc<str>);
/// A watch and the id of the queue in its topic, or [`ANY_QUEUE`].
type Watched = (Rc<Watch>, i32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct WaitKey {
    watch: u32,
    queue_id: i32,
    kind: Kind,
}

/// What a request that waits wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Messages.
    Pop,
    /// Only to be told that there are some.
    Notify,
}

/// A request that waits.
pub(super) struct Waiting<R: Rt> {
    pub(super) wanted: Wanted,
    pub(super) kind: Kind,
    pub(super) slot: ReplySlot<R>,
}

/// A topic and a group on one shard.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) topic: Arc<str>,
    pub(super) group: Arc<str>,
    number: u32,
    /// How often something may have come.
    signals: Cell<u64>,
    /// Requests that look for messages now.
    looking: Cell<u32>,
    topics_version: Cell<Option<u64>>,
    queue_ids: RefCell<Vec<i32>>,
    listeners: RefCell<BTreeMap<ShardId, Listener>>,
    /// The last filter, which the next pop asks for again most of the time.
    filter: RefCell<Option<KnownFilter>>,
}

/// An expression, its type, and what it was compiled to.
type KnownFilter = (Box<str>, Box<str>, Arc<MessageFilter>);

/// Another shard that wants to be told.
#[derive(Debug, Default, Clone, Copy)]
struct Listener {
    /// How often it has said so, and when last.
    asked: u64,
    asked_us: u64,
    is_being_told: bool,
    again: bool,
}

impl Watch {
    /// The filter of an expression, compiled once while the same is asked for.
    pub(super) fn filter<E>(
        &self,
        (expression, kind): (&str, &str),
        compile: impl FnOnce() -> Result<MessageFilter, E>,
    ) -> Result<Arc<MessageFilter>, E> {
        if let Some((known, of_kind, filter)) = &*self.filter.borrow()
            && **known == *expression
            && **of_kind == *kind
        {
            return Ok(Arc::clone(filter));
        }
        let filter = Arc::new(compile()?);
        let known = (expression.into(), kind.into(), Arc::clone(&filter));
        self.filter.replace(Some(known));
        Ok(filter)
    }

    pub(super) fn signals(&self) -> u64 {
        self.signals.get()
    }

    pub(super) fn begin_look(&self) {
        self.looking.set(self.looking.get() + 1);
    }

    pub(super) fn end_look(&self) {
        self.looking.set(self.looking.get() - 1);
    }

    /// Has another shard told when something comes, until it does not want it any more.
    pub(super) fn add_listener(&self, shard: ShardId, now_us: u64) {
        let mut listeners = self.listeners.borrow_mut();
        let listener = listeners.entry(shard).or_default();
        listener.asked += 1;
        listener.asked_us = now_us;
    }
}

impl<R: Rt> Waits<R> {
    pub(super) fn new(settings: &PopSettings) -> Self {
        Self {
            parked: Arrivals::new(settings.parked_max),
            watches: RefCell::default(),
            by_queue: RefCell::default(),
            next_number: Cell::new(0),
            closed: RefCell::default(),
            is_stopping: Cell::new(false),
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Notes that a connection has ended: what it waits for is dropped at the next sweep.
    pub(crate) fn connection_closed(&self, conn: ConnId) {
        if !self.parked.is_empty() {
            self.closed.borrow_mut().insert(conn);
        }
    }

    fn take_one(&self, key: WaitKey) -> Option<(u64, Waiting<R>)> {
        let is_there = |waiting: &Waiting<R>| !waiting.slot.port().is_closed();
        self.parked.take_first(key, is_there)
    }

    fn count_of(&self, watch: &Watch, queue_id: i32, kind: Kind) -> usize {
        self.parked.count_of(WaitKey {
            watch: watch.number,
            queue_id,
            kind,
        })
    }

    fn has_waiting(&self, watch: &Watch) -> bool {
        let queue_ids = watch.queue_ids.borrow();
        let mut all = queue_ids.iter().copied().chain([ALL_QUEUES]);
        all.any(|id| {
            self.count_of(watch, id, Kind::Pop) + self.count_of(watch, id, Kind::Notify) > 0
        })
    }
}

/// The watch of a topic and a group, which knows the queues that this shard has now.
pub(super) fn watch<R: Rt>(services: &Services<R>, topic: &str, group: &str) -> Rc<Watch> {
    let waits = &services.pop.waits;
    let key = (Arc::from(topic), Arc::from(group));
    let known = waits.watches.borrow().get(&key).map(Rc::clone);
    let watch = known.unwrap_or_else(|| {
        let number = waits.next_number.get();
        waits.next_number.set(number.wrapping_add(1));
        let (topic, group) = key.clone();
        let watch = Rc::new(Watch {
            topic,
            group,
            number,
            signals: Cell::new(0),
            looking: Cell::new(0),
            topics_version: Cell::new(None),
            queue_ids: RefCell::default(),
            listeners: RefCell::default(),
            filter: RefCell::default(),
        });
        waits.watches.borrow_mut().insert(key, Rc::clone(&watch));
        watch
    });
    let version = services.shard.topics_version();
    if watch.topics_version.replace(Some(version)) != Some(version) {
        learn_queues(services, &watch);
    }
    watch
}

fn learn_queues<R: Rt>(services: &Services<R>, watch: &Rc<Watch>) {
    let waits = &services.pop.waits;
    forget_queues(waits, watch);
    let shard = &services.shard;
    let mut by_queue = waits.by_queue.borrow_mut();
    let mut queue_ids = watch.queue_ids.borrow_mut();
    queue_ids.clear();
    let retry = retry_topic_of(&watch.topic, &watch.group);
    for (name, is_retry) in [(&*watch.topic, false), (&*retry, true)] {
        let Some(topic) = services.topics.find(shard, name) else {
            continue;
        };
        for queue_id in own_queues(services, &topic) {
            let queue = topic.queue(shard, queue_id);
            let queue_id = if is_retry {
                ANY_QUEUE
            } else {
                queue_ids.push(queue_id.cast_signed());
                queue_id.cast_signed()
            };
            let watches = by_queue.entry(queue).or_default();
            watches.push((Rc::clone(watch), queue_id));
        }
    }
}

fn forget_queues<R: Rt>(waits: &Waits<R>, watch: &Watch) {
    waits.by_queue.borrow_mut().retain(|_, watches| {
        watches.retain(|(other, _)| other.number != watch.number);
        !watches.is_empty()
    });
}

/// Parks a request. Gives it back when too many wait already.
pub(super) fn park<R: Rt>(
    services: &Services<R>,
    waiting: Waiting<R>,
    deadline_us: u64,
) -> Result<(), Waiting<R>> {
    let waits = &services.pop.waits;
    let (watch, queue_id) = (
        &waiting.wanted.watch,
        waiting.wanted.queue_id.max(ALL_QUEUES),
    );
    if waits.count_of(watch, queue_id, waiting.kind) > services.settings.pop.parked_queue_max {
        return Err(waiting);
    }
    let key = WaitKey {
        watch: watch.number,
        queue_id,
        kind: waiting.kind,
    };
    waits.parked.park(key, deadline_us, waiting)
}

/// How many pops wait for a queue, or with an id below zero for all.
pub(super) fn waiting_count<R: Rt>(services: &Services<R>, watch: &Watch, queue_id: i32) -> usize {
    let queue_id = queue_id.max(ALL_QUEUES);
    services.pop.waits.count_of(watch, queue_id, Kind::Pop)
}

/// Tells whoever waits that messages can be read from a queue.
pub(crate) fn arrived<R: Rt>(services: &Rc<Services<R>>, queue: QueueRef) {
    let watches = services.pop.waits.by_queue.borrow().get(&queue).cloned();
    for (watch, queue_id) in watches.unwrap_or_default() {
        signal(services, &watch, queue_id);
    }
}

/// The same for a queue that a group can pop of again.
pub(crate) fn signal_queue<R: Rt>(services: &Rc<Services<R>>, key: PopKeyRef<'_>) {
    let known = (Arc::from(key.topic), Arc::from(key.group));
    let watch = services
        .pop
        .waits
        .watches
        .borrow()
        .get(&known)
        .map(Rc::clone);
    if let Some(watch) = watch {
        signal(services, &watch, key.queue_id.cast_signed());
    }
}

/// The same for the retry topic of a group.
pub(super) fn signal_retry<R: Rt>(services: &Rc<Services<R>>, topic: &str, group: &str) {
    let known = (Arc::from(topic), Arc::from(group));
    let watch = services
        .pop
        .waits
        .watches
        .borrow()
        .get(&known)
        .map(Rc::clone);
    if let Some(watch) = watch {
        signal(services, &watch, ANY_QUEUE);
    }
}

fn signal<R: Rt>(services: &Rc<Services<R>>, watch: &Rc<Watch>, queue_id: i32) {
    wake(services, watch, queue_id);
    let shards: Vec<ShardId> = watch.listeners.borrow().keys().copied().collect();
    for shard in shards {
        tell(services, watch, shard);
    }
}

/// Wakes one request of each kind that waits for this queue, and one that waits for all.
pub(super) fn wake<R: Rt>(services: &Rc<Services<R>>, watch: &Rc<Watch>, queue_id: i32) {
    let waits = &services.pop.waits;
    watch.signals.set(watch.signals.get() + 1);
    let ids: Vec<i32> = match queue_id {
        ANY_QUEUE => watch.queue_ids.borrow().clone(),
        ALL_QUEUES => Vec::new(),
        queue_id => vec![queue_id],
    };
    for kind in [Kind::Pop, Kind::Notify] {
        let number = watch.number;
        let key = |queue_id| WaitKey {
            watch: number,
            queue_id,
            kind,
        };
        let of_queue = ids.iter().find_map(|id| waits.take_one(key(*id)));
        let of_all = waits.take_one(key(ALL_QUEUES));
        for (deadline_us, waiting) in of_queue.into_iter().chain(of_all) {
            resume(services, waiting, Some(deadline_us));
        }
    }
}

fn resume<R: Rt>(services: &Rc<Services<R>>, waiting: Waiting<R>, deadline_us: Option<u64>) {
    let Waiting { wanted, kind, slot } = waiting;
    match kind {
        Kind::Pop => run(services, wanted, slot, deadline_us),
        Kind::Notify => notify::run(services, wanted, slot, deadline_us),
    }
}

/// Tells another shard, once at a time; it says whether it wants to be told again.
fn tell<R: Rt>(services: &Rc<Services<R>>, watch: &Rc<Watch>, shard: ShardId) {
    {
        let mut listeners = watch.listeners.borrow_mut();
        let Some(listener) = listeners.get_mut(&shard) else {
            return;
        };
        if listener.is_being_told {
            listener.again = true;
            return;
        }
        listener.is_being_told = true;
    }
    let (services, watch) = (Rc::clone(services), Rc::clone(watch));
    let rt = services.shard.rt.clone();
    rt.spawn(Class::Request, async move {
        loop {
            let asked = match watch.listeners.borrow_mut().get_mut(&shard) {
                Some(listener) => {
                    listener.again = false;
                    listener.asked
                }
                None => return,
            };
            let (topic, group) = (Arc::clone(&watch.topic), Arc::clone(&watch.group));
            let told = services
                .call_until_done(shard, move |services: Rc<Services<R>>| async move {
                    hear(&services, &topic, &group)
                });
            let is_wanted = told.await.unwrap_or(false);
            let mut listeners = watch.listeners.borrow_mut();
            let Some(listener) = listeners.get_mut(&shard) else {
                return;
            };
            if !is_wanted && listener.asked == asked {
                listeners.remove(&shard);
                return;
            }
            if !listener.again {
                listener.is_being_told = false;
                return;
            }
        }
    });
}

/// Another shard has messages. Whether anybody here still waits for more.
fn hear<R: Rt>(services: &Rc<Services<R>>, topic: &Arc<str>, group: &Arc<str>) -> bool {
    let waits = &services.pop.waits;
    let key = (Arc::clone(topic), Arc::clone(group));
    let Some(watch) = waits.watches.borrow().get(&key).map(Rc::clone) else {
        return false;
    };
    wake(services, &watch, ALL_QUEUES);
    watch.looking.get() > 0 || waits.has_waiting(&watch)
}

/// Answers requests whose deadline has passed. Runs as long as the shard.
pub(crate) async fn answer_overdue<R: Rt>(services: &Rc<Services<R>>) {
    let rt = &services.shard.rt;
    let parked = &services.pop.waits.parked;
    loop {
        let seen = parked.earlier().count();
        let now_us = rt.monotonic_us();
        for (_, waiting) in parked.take_due(now_us) {
            resume(services, waiting, None);
        }
        let earlier = parked.earlier().wait_past(seen);
        match parked.next_deadline_us() {
            None => earlier.await,
            Some(deadline_us) => {
                let wait_us = deadline_us.saturating_sub(now_us).max(TIMER_STEP_US);
                first_of(earlier, rt.sleep(Duration::from_micros(wait_us))).await;
            }
        }
    }
}

/// Answers every request that waits, as the broker stops.
pub(crate) fn release_all<R: Rt>(services: &Rc<Services<R>>) {
    let waits = &services.pop.waits;
    waits.is_stopping.set(true);
    for (_, waiting) in waits.parked.take_due(u64::MAX) {
        resume(services, waiting, None);
    }
}

/// Forgets requests of connections that have ended, and watches that nobody needs.
pub(crate) fn sweep<R: Rt>(services: &Rc<Services<R>>) {
    let waits = &services.pop.waits;
    let closed = waits.closed.take();
    if !closed.is_empty() {
        let is_open = |waiting: &Waiting<R>| !closed.contains(&waiting.slot.port().conn());
        waits.parked.retain(is_open);
    }
    let mut unused = Vec::new();
    let now_us = services.shard.rt.monotonic_us();
    // Whoever asked so long ago waits no more.
    let is_recent = |listener: &Listener| listener.asked_us + LISTEN_US > now_us;
    waits.watches.borrow_mut().retain(|_, watch| {
        watch
            .listeners
            .borrow_mut()
            .retain(|_, listener| is_recent(listener));
        let is_used = watch.looking.get() > 0
            || !watch.listeners.borrow().is_empty()
            || waits.has_waiting(watch);
        if !is_used {
            unused.push(Rc::clone(watch));
        }
        is_used
    });
    for watch in unused {
        forget_queues(waits, &watch);
    }
}

/// The queue id of a pop of all queues.
pub(super) const ALL_QUEUES: i32 = -1;
/// Messages that any pop of the topic may get, whatever its queue.
const ANY_QUEUE: i32 = -2;
/// Longer than any request waits.
const LISTEN_US: u64 = 660_000_000;
/// Deadlines are answered in steps of this length at the finest.
const TIMER_STEP_US: u64 = 10_000;
