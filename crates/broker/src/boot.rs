//! The life of one shard of the broker: open, serve, stop.
//!
//! Runs as the shard's main task. Order at the start: store, lanes, system topics, listeners,
//! registration; at the end the reverse, so that name servers forget the broker before it refuses.
//! Invariant: nobody is told that the broker is ready before every shard can answer.

use crate::assemble::{LaneReceiver, Services};
use crate::conn;
use crate::names;
use crate::settings::BrokerSettings;
use crate::{client, delay, pop, pull, register, send, stats, topics, transaction};
use base::ShardId;
use remoting::body::subscription_group::SubscriptionGroupConfig;
use rt::{Class, Disk, Net, Rt, Space};
use shard::{Lanes, Limits, Shard, ShardMessage};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::{RecoveryReport, ShardStore, StartSteps};

/// What a shard found and did when it started.
#[derive(Debug)]
pub struct BootReport {
    /// The shard.
    pub shard: ShardId,
    /// Where it listens.
    pub listening: Vec<SocketAddr>,
    /// What recovery of its log found.
    pub recovery: RecoveryReport,
    /// How long it took.
    pub steps: StartSteps,
    /// Room on its file system; `None` when the system does not tell.
    pub space: Option<Space>,
    /// Topics that the broker knows.
    pub topic_count: usize,
    /// Whether a name server has accepted the registration (shard 0).
    pub is_registered: bool,
}

/// Runs one shard until `stop` completes. `ready` is called once: when the shard serves, or with
/// a sentence that says why it does not.
///
/// # Errors
/// The same sentence, or why the end was not clean.
pub async fn run_shard<R: Rt>(
    rt: R,
    mesh: R::Mesh<ShardMessage>,
    settings: Arc<BrokerSettings>,
    ready: impl FnOnce(Result<BootReport, String>),
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let (services, report) = match start(rt, mesh, settings).await {
        Ok(started) => started,
        Err(reason) => {
            ready(Err(reason.clone()));
            return Err(reason);
        }
    };
    ready(Ok(report));
    stop.await;
    finish(&services).await
}

type Started<R> = (Rc<Services<R>>, BootReport);

async fn start<R: Rt>(
    rt: R,
    mesh: R::Mesh<ShardMessage>,
    settings: Arc<BrokerSettings>,
) -> Result<Started<R>, String> {
    let id = rt.shard();
    let mut store_settings = settings.store.clone();
    store_settings.shard = id;
    store_settings.shard_count = rt.shard_count();
    let dir = store_settings.dir.clone();
    let (store, recovered) = ShardStore::open(rt.clone(), store_settings)
        .await
        .map_err(|error| format!("shard {id}: {error}"))?;
    let recovery = recovered.report.clone();
    let mut watch = recovered.watch;
    let lanes = Lanes::new(rt.clone(), mesh, settings.net.calls_max);
    let limits = Limits {
        topics_max: settings.net.topics_max,
        groups_max: settings.net.groups_max,
        flush_consumer_offset_interval_ms: settings.flush_consumer_offset_interval_ms,
    };
    let shard = Shard::new(rt.clone(), store, &recovered.records, lanes, limits)
        .map_err(|error| format!("shard {id}: {error}"))?;
    let services = Services::new(settings, shard);
    let receiver = Rc::new(LaneReceiver(Rc::clone(&services)));
    let target = Rc::clone(&services.shard);
    services.shard.lanes.start(target, &receiver);
    let is_control = id == ShardId::CONTROL;
    if is_control {
        create_system_names(&services).await?;
    } else {
        services.shard.wait_adopted().await;
    }
    watch.lap("tables");
    let recovered = transaction::recover(&services).await;
    recovered.map_err(|error| format!("shard {id}: half messages: {error}"))?;
    watch.lap("half messages");
    spawn_tasks(&services);
    let listening = listen(&services).await?;
    if is_control {
        register::start(&services);
        services.registrar.register_now().await;
    }
    watch.lap("listen");
    let report = BootReport {
        shard: id,
        steps: watch.into_steps(),
        listening,
        recovery,
        space: rt.disk().space(&dir).await.ok(),
        topic_count: services.shard.topics().len(),
        is_registered: services.registrar.is_registered(),
    };
    Ok((services, report))
}

async fn create_system_names<R: Rt>(services: &Services<R>) -> Result<(), String> {
    let topics = topics::system_topics(&services.settings);
    let groups = names::SYSTEM_GROUPS
        .map(SubscriptionGroupConfig::new)
        .into();
    let added = services.control().add_missing(topics, groups).await;
    added.map_err(|error| format!("system topics: {error}"))
}

fn spawn_tasks<R: Rt>(services: &Rc<Services<R>>) {
    let rt = &services.shard.rt;
    let s = Rc::clone(services);
    rt.spawn(Class::Request, async move { send::release_held(&s).await });
    let s = Rc::clone(services);
    rt.spawn(Class::Dispatch, async move { pull::wake_arrived(&s).await });
    let s = Rc::clone(services);
    rt.spawn(
        Class::Dispatch,
        async move { pull::answer_overdue(&s).await },
    );
    let s = Rc::clone(services);
    rt.spawn(Class::Housekeeping, async move {
        s.shard.keep_writing_changes(&s.stop).await;
    });
    let s = Rc::clone(services);
    rt.spawn(Class::Request, async move {
        send::keep_answering_overdue(&s).await;
    });
    delay::start(services);
    transaction::start(services);
    let s = Rc::clone(services);
    rt.spawn(Class::Dispatch, async move { pop::keep_reviving(&s).await });
    let s = Rc::clone(services);
    rt.spawn(
        Class::Dispatch,
        async move { pop::answer_overdue(&s).await },
    );
    let s = Rc::clone(services);
    rt.spawn(Class::Housekeeping, async move {
        stats::keep_sampling(&s).await;
    });
    let s = Rc::clone(services);
    rt.spawn(Class::Housekeeping, async move { sweep(&s).await });
}

/// Looks at connections, deadlines and leases now and then.
async fn sweep<R: Rt>(services: &Rc<Services<R>>) {
    let interval = Duration::from_millis(services.settings.net.sweep_interval_ms);
    while !services.stop.is_set() {
        services.shard.rt.sleep(interval).await;
        conn::sweep(services);
        pull::sweep(services);
        pop::sweep(services);
        client::sweep(services);
        services.locks.sweep(services.shard.rt.monotonic_us());
    }
}

async fn listen<R: Rt>(services: &Rc<Services<R>>) -> Result<Vec<SocketAddr>, String> {
    use rt::Listener;
    let settings = &services.settings;
    let mut listening = Vec::new();
    for port in [settings.listen_port, settings.vip_port()] {
        let address = SocketAddr::new(settings.bind_ip, port);
        let listener = services.shard.rt.net().listen(address).await;
        let listener = listener.map_err(|error| format!("listen on {address}: {error}"))?;
        listening.push(listener.local_addr().unwrap_or(address));
        let (services, stop) = (Rc::clone(services), Rc::clone(&services.stop));
        let rt = services.shard.rt.clone();
        rt.spawn(Class::Request, conn::accept(services, listener, stop));
    }
    Ok(listening)
}

/// Stops: name servers forget the broker, connections end, everything is written.
async fn finish<R: Rt>(services: &Rc<Services<R>>) -> Result<(), String> {
    let shard = &services.shard;
    let step = |done: &str| tracing::debug!(shard = %shard.id(), done, "stopping");
    if shard.id() == ShardId::CONTROL {
        services.registrar.unregister().await;
        step("name servers were told");
    }
    services.stop.set();
    pull::release_all(services);
    pop::release_all(services);
    let deadline_us = shard.rt.monotonic_us() + STOP_WAIT_US;
    while services.send.held_count() > 0 && shard.rt.monotonic_us() < deadline_us {
        shard.rt.sleep(STOP_STEP).await;
    }
    // Answers that were released above still want a turn to be written.
    shard.rt.sleep(STOP_STEP).await;
    step("sends and pulls were answered");
    for conn in services.conns.all() {
        conn.close();
    }
    while services.conns.open.inside() > 0 && shard.rt.monotonic_us() < deadline_us {
        shard.rt.sleep(STOP_STEP).await;
    }
    step("connections were closed");
    let written = shard.write_changes().map_err(|error| error.to_string());
    let closed = shard.store.close().await;
    let closed = closed.map_err(|error| format!("shard {}: {error}", shard.id()));
    step("the store was closed");
    shard.lanes.close();
    written.and(closed)
}

const STOP_WAIT_US: u64 = 3_000_000;
const STOP_STEP: Duration = Duration::from_millis(10);
