//! The server: listener, connections, the search for silent brokers, start and end.
//!
//! One task accepts and scans; each connection is a task of its own. The state that they share
//! lies in [`NameServer`] behind locks that are never held across an await. What must always hold:
//! no more connections than the limit, and a refused one costs nobody else anything. Answers to
//! Java's `NamesrvController`.

use crate::budget::Budget;
use crate::connection::{Budgets, Connection};
use crate::kv::{KvError, KvStore};
use crate::route_table::{ConnectionId, Moment, Options, RouteTable};
use crate::settings::{Limits, Settings};
use base::HashMap;
use config::NamesrvConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// How long connections may take to end when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long to rest when the system refuses to accept, for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Refused connections are logged at most this often.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Why the name server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Something else listens there.
    #[error(
        "cannot listen on {address}: the port is in use; stop the program that has it or set \
         listenPort"
    )]
    PortInUse {
        /// Where we wanted to listen.
        address: SocketAddr,
    },
    /// The system does not let us listen there.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The key-value configuration cannot be used.
    #[error(transparent)]
    Kv(#[from] KvError),
}

/// The state that connections share.
#[derive(Debug)]
pub(crate) struct NameServer {
    age: Age,
    limits: Limits,
    config: Mutex<NamesrvConfig>,
    table: Mutex<RouteTable>,
    kv: KvStore,
}

/// How old the server is.
#[derive(Debug)]
enum Age {
    /// It began then.
    Since(Instant),
    /// So many milliseconds, as it was told last.
    Told(AtomicU64),
}

/// Runs a name server until `shutdown` completes. `ready` is told where it listens, once it does.
///
/// # Errors
/// When it cannot start; a running server does not fail.
pub async fn serve(
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let server = Arc::new(NameServer::open(&settings)?);
    let listen_error = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortInUse {
            address: settings.listen,
        },
        _ => ServeError::Listen {
            address: settings.listen,
            error,
        },
    };
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(listen_error)?;
    ready(listener.local_addr().map_err(listen_error)?);
    Reception::new(server).run(listener, shutdown).await;
    Ok(())
}

impl NameServer {
    fn open(settings: &Settings) -> Result<Self, KvError> {
        Self::with_age(settings, Age::Since(Instant::now()))
    }

    /// A name server that is told the time.
    pub(crate) fn without_clock(settings: &Settings) -> Result<Self, KvError> {
        Self::with_age(settings, Age::Told(AtomicU64::new(0)))
    }

    fn with_age(settings: &Settings, age: Age) -> Result<Self, KvError> {
        let path = settings.kv_config_path.clone();
        let options = table_options(&settings.config, &settings.limits);
        Ok(Self {
            age,
            limits: settings.limits.clone(),
            config: Mutex::new(settings.config.clone()),
            table: Mutex::new(RouteTable::new(options)),
            kv: KvStore::open(path, settings.limits.kv_bytes_max)?,
        })
    }

    /// Bounds of connections.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The keys as they are now.
    pub(crate) fn config(&self) -> NamesrvConfig {
        unpoisoned(&self.config).clone()
    }

    /// Changes keys. The caller answers for their being live.
    pub(crate) fn set_config(&self, config: NamesrvConfig) {
        self.table()
            .set_options(table_options(&config, &self.limits));
        *unpoisoned(&self.config) = config;
    }

    /// The route table. The guard must not live across an await.
    pub(crate) fn table(&self) -> MutexGuard<'_, RouteTable> {
        unpoisoned(&self.table)
    }

    /// The key-value configuration.
    pub(crate) fn kv(&self) -> &KvStore {
        &self.kv
    }

    /// How long the server has been running.
    pub(crate) fn now(&self) -> Moment {
        match &self.age {
            Age::Since(started) => {
                let age = started.elapsed().as_millis();
                Moment(u64::try_from(age).unwrap_or(u64::MAX))
            }
            Age::Told(age_ms) => Moment(age_ms.load(Ordering::Relaxed)),
        }
    }

    /// Tells a server without a clock how old it is.
    pub(crate) fn set_age(&self, age_ms: u64) {
        if let Age::Told(told) = &self.age {
            told.store(age_ms, Ordering::Relaxed);
        }
    }

    /// Removes the brokers of a connection that has ended.
    pub(crate) fn connection_closed(&self, id: ConnectionId) {
        self.table().connection_closed(id);
    }
}

/// Accepts connections and keeps account of them.
#[derive(Debug)]
struct Reception {
    server: Arc<NameServer>,
    budgets: Budgets,
    tasks: JoinSet<ConnectionId>,
    /// Ends a connection when notified.
    closers: HashMap<ConnectionId, Arc<Notify>>,
    next_id: u64,
    refused: u64,
    refusal_logged: Option<Instant>,
}

impl Reception {
    fn new(server: Arc<NameServer>) -> Self {
        let budgets = Budgets {
            receive: Budget::new(server.limits.receive_bytes_max),
            reply: Budget::new(server.limits.reply_bytes_max),
        };
        Self {
            server,
            budgets,
            tasks: JoinSet::new(),
            closers: HashMap::default(),
            next_id: 1,
            refused: 0,
            refusal_logged: None,
        }
    }

    async fn run(mut self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut scan = interval(self.server.limits.scan_interval);
        scan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = scan.tick() => self.scan(),
                Some(ended) = self.tasks.join_next() => {
                    if let Ok(id) = ended {
                        self.closers.remove(&id);
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_REST).await;
                    }
                },
            }
        }
        drop(listener);
        self.stop().await;
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.closers.len() >= self.server.limits.connections_max {
            self.refuse(peer);
            return;
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "connection ended before it began");
            return;
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        let closer = Arc::new(Notify::new());
        self.closers.insert(id, Arc::clone(&closer));
        let connection = Connection::new(id, Arc::clone(&self.server), stream, &self.budgets);
        self.tasks.spawn(async move {
            tokio::select! {
                end = connection.serve() => {
                    if end.is_ordinary() {
                        tracing::debug!(%peer, "{end}");
                    } else {
                        tracing::warn!(%peer, "connection closed: {end}");
                    }
                }
                () = closer.notified() => {}
            }
            id
        });
    }

    fn refuse(&mut self, peer: SocketAddr) {
        self.refused += 1;
        let quiet = |logged: Instant| logged.elapsed() < REFUSAL_LOG_INTERVAL;
        if !self.refusal_logged.is_some_and(quiet) {
            let limit = self.server.limits.connections_max;
            let refused = std::mem::take(&mut self.refused);
            tracing::warn!(%peer, limit, refused, "connections refused: the limit is reached");
            self.refusal_logged = Some(Instant::now());
        }
    }

    fn scan(&mut self) {
        let silent = self.server.table().expire(self.server.now());
        for id in silent {
            if let Some(closer) = self.closers.get(&id) {
                closer.notify_one();
            }
        }
    }

    async fn stop(mut self) {
        for closer in self.closers.values() {
            closer.notify_one();
        }
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(STOP_GRACE, all_ended).await.is_err() {
            tracing::warn!("connections did not end in time and were cut off");
        }
    }
}

fn table_options(config: &NamesrvConfig, limits: &Limits) -> Options {
    Options {
        support_acting_master: config.support_acting_master,
        delete_topic_with_registration: config.delete_topic_with_broker_registration,
        addresses_max: limits.addresses_max,
        topics_max: limits.topics_max,
    }
}

/// A poisoned lock means that a connection's task has panicked. The state behind it is changed by
/// whole calls that keep its invariants, so the others go on.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
