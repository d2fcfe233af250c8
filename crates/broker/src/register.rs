//! Registration with name servers: on start, on every change of topics, every interval, and the
//! farewell at the end.
//!
//! Owned by shard 0. Each name server has its own task and connection; a change waits for all of
//! them or for a deadline, so that a route is known before a producer is answered, and an absent
//! name server delays nobody for long. Java: `BrokerOuterAPI`.

use crate::assemble::Services;
use crate::settings::BrokerSettings;
use remoting::body::register_broker::RegisterBrokerBody;
use remoting::body::topic_config::TopicConfigSerializeWrapper;
use remoting::command::{SerializeType, decode, write_request};
use remoting::frame::FrameBuffer;
use remoting::header::EncodeHeader;
use remoting::header::namesrv::{RegisterBrokerRequestHeader, UnRegisterBrokerRequestHeader};
use remoting::{RequestCode, ResponseCode};
use rt::sync::Event;
use rt::{Class, Net, ReadHalf, Rt, Stream, WriteHalf};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The state of registration with every name server.
pub(crate) struct Registrar<R: Rt> {
    peers: Vec<Rc<Peer<R>>>,
    wanted: Event,
    progress: Event,
}

struct Peer<R: Rt> {
    address: SocketAddr,
    /// The registration that this name server has accepted or failed to accept last.
    done: Cell<u64>,
    is_registered: Cell<bool>,
    is_failing: Cell<bool>,
    connection: RefCell<Option<Connection<R>>>,
}

struct Connection<R: Rt> {
    read: <<R::Net as Net>::Stream as Stream>::Read,
    write: <<R::Net as Net>::Stream as Stream>::Write,
    frames: FrameBuffer,
    opaque: i32,
}

/// Why a name server was not told.
#[derive(Debug, thiserror::Error)]
enum RegisterError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the connection was closed")]
    Closed,
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    #[error("refused with code {code}: {remark}")]
    Refused { code: i32, remark: String },
}

impl<R: Rt> Registrar<R> {
    pub(crate) fn new(settings: &BrokerSettings) -> Self {
        let peer = |address: &SocketAddr| {
            Rc::new(Peer {
                address: *address,
                done: Cell::new(0),
                is_registered: Cell::new(false),
                is_failing: Cell::new(false),
                connection: RefCell::new(None),
            })
        };
        Self {
            peers: settings.name_servers.iter().map(peer).collect(),
            wanted: Event::new(),
            progress: Event::new(),
        }
    }

    /// Whether a name server has accepted the last registration.
    pub(crate) fn is_registered(&self) -> bool {
        self.peers.iter().any(|peer| peer.is_registered.get())
    }

    /// Registers the present topics with every name server. Done when each has accepted, failed,
    /// or is known to fail since before.
    pub(crate) async fn register_now(&self) {
        self.wanted.notify();
        let wanted = self.wanted.count();
        let is_done =
            |peer: &Rc<Peer<R>>| peer.done.get() >= wanted || peer.is_failing.get();
        while !self.peers.iter().all(is_done) {
            self.progress.wait().await;
        }
    }
}

impl<R: Rt> Registrar<R> {
    /// Says farewell to every name server.
    pub(crate) async fn unregister(&self) {
        self.wanted.notify();
        for peer in &self.peers {
            let wanted = self.wanted.count();
            while peer.done.get() < wanted && !peer.is_failing.get() {
                self.progress.wait().await;
            }
        }
    }
}

/// Starts one task per name server.
pub(crate) fn start<R: Rt>(services: &Rc<Services<R>>) {
    let rt = &services.shard.rt;
    for peer in &services.registrar.peers {
        let (services, peer) = (Rc::clone(services), Rc::clone(peer));
        rt.spawn(Class::Housekeeping, async move {
            keep_registered(&services, &peer).await;
        });
    }
    let services = Rc::clone(services);
    let interval = Duration::from_millis(services.settings.register_interval_ms.max(100));
    rt.spawn(Class::Housekeeping, async move {
        while !services.stop.is_set() {
            services.shard.rt.sleep(interval).await;
            services.registrar.wanted.notify();
        }
    });
}
