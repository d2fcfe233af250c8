//! Registration with name servers: on start, on every change of topics, every interval, and the
//! farewell at the end.
//!
//! Owned by shard 0. Each name server has its own task and connection; a change waits for all of
//! them or for a deadline, so that a route is known before a producer is answered, and an absent
//! name server delays nobody for long. Java: `BrokerOuterAPI`.

use crate::assemble::Services;
use crate::settings::BrokerSettings;
use remoting::body::dialect;
use remoting::body::register_broker::RegisterBrokerBody;
use remoting::body::route::TopicRouteData;
use remoting::body::topic_config::{TopicConfig, TopicConfigSerializeWrapper};
use remoting::command::{SerializeType, decode, write_request};
use remoting::frame::FrameBuffer;
use remoting::header::EncodeHeader;
use remoting::header::namesrv::{
    GetRouteInfoRequestHeader, RegisterBrokerRequestHeader, UnRegisterBrokerRequestHeader,
};
use remoting::{RequestCode, ResponseCode};
use rt::sync::Event;
use rt::{Class, Net, ReadHalf, Rt, Stream, WriteHalf};
use shard::first_of;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The state of registration with every name server.
pub(crate) struct Registrar<R: Rt> {
    peers: Vec<Rc<Peer<R>>>,
    wanted: Event,
    progress: Event,
    is_leaving: Cell<bool>,
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
            is_leaving: Cell::new(false),
        }
    }

    /// Whether a name server has accepted the last registration.
    pub(crate) fn is_registered(&self) -> bool {
        self.peers.iter().any(|peer| peer.is_registered.get())
    }

    /// Says farewell to every name server and registers no more.
    pub(crate) async fn unregister(&self) {
        self.is_leaving.set(true);
        self.register_now().await;
    }

    /// Registers the present topics with every name server. Done when each has accepted, failed,
    /// or is known to fail since before.
    pub(crate) async fn register_now(&self) {
        self.wanted.notify();
        let wanted = self.wanted.count();
        let is_done = |peer: &Rc<Peer<R>>| peer.done.get() >= wanted || peer.is_failing.get();
        while !self.peers.iter().all(is_done) {
            self.progress.wait().await;
        }
    }
}

/// The route of a topic as the first name server tells it that answers; `None` when none knows one.
pub(crate) async fn route_of<R: Rt>(
    services: &Rc<Services<R>>,
    topic: &str,
) -> Option<TopicRouteData> {
    for peer in &services.registrar.peers {
        // A connection of its own: the other one belongs to the peer's task.
        let asked = Peer {
            address: peer.address,
            done: Cell::new(0),
            is_registered: Cell::new(false),
            is_failing: Cell::new(false),
            connection: RefCell::new(None),
        };
        let header = GetRouteInfoRequestHeader {
            topic: topic.to_owned(),
            accept_standard_json_only: Some(true),
        };
        let code = RequestCode::GetRouteinfoByTopic;
        match exchange(services, &Rc::new(asked), code, &header, &[]).await {
            Ok(body) => return dialect::from_slice(&body).ok(),
            Err(RegisterError::Refused { .. }) => return None,
            Err(error) => tracing::debug!(address = %peer.address, %error, "no route told"),
        }
    }
    None
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

async fn keep_registered<R: Rt>(services: &Rc<Services<R>>, peer: &Rc<Peer<R>>) {
    let registrar = &services.registrar;
    loop {
        let wanted = registrar.wanted.count();
        let is_leaving = registrar.is_leaving.get();
        if peer.done.get() < wanted || peer.is_failing.get() {
            let told = if is_leaving {
                unregister(services, peer).await
            } else {
                register(services, peer).await
            };
            note(peer, &told);
            peer.is_registered.set(told.is_ok() && !is_leaving);
            peer.done.set(wanted);
            registrar.progress.notify();
        }
        if is_leaving {
            return;
        }
        let next = registrar.wanted.wait_past(wanted);
        if peer.is_failing.get() {
            first_of(next, services.shard.rt.sleep(RETRY_AFTER)).await;
        } else {
            next.await;
        }
    }
}

fn note<R: Rt>(peer: &Peer<R>, told: &Result<(), RegisterError>) {
    let address = peer.address;
    match told {
        Ok(()) if peer.is_failing.replace(false) => {
            tracing::info!(%address, "name server reached again");
        }
        Err(error) if !peer.is_failing.replace(true) => {
            tracing::warn!(%address, %error, "name server not told; it is tried again");
        }
        _ => {}
    }
    if told.is_err() {
        peer.connection.take();
    }
}

async fn register<R: Rt>(
    services: &Rc<Services<R>>,
    peer: &Rc<Peer<R>>,
) -> Result<(), RegisterError> {
    let settings = &services.settings;
    let body = registration_body(services);
    let header = RegisterBrokerRequestHeader {
        broker_name: settings.name.clone(),
        broker_addr: settings.advertised().to_string(),
        cluster_name: settings.cluster.clone(),
        ha_server_addr: settings.ha_address().to_string(),
        broker_id: settings.id,
        compressed: Some(false),
        body_crc32: Some((crc32fast::hash(&body) & 0x7FFF_FFFF) as i32),
        ..RegisterBrokerRequestHeader::default()
    };
    let code = RequestCode::RegisterBroker;
    exchange(services, peer, code, &header, &body)
        .await
        .map(drop)
}

async fn unregister<R: Rt>(
    services: &Rc<Services<R>>,
    peer: &Rc<Peer<R>>,
) -> Result<(), RegisterError> {
    let settings = &services.settings;
    let header = UnRegisterBrokerRequestHeader {
        broker_name: settings.name.clone(),
        broker_addr: settings.advertised().to_string(),
        cluster_name: settings.cluster.clone(),
        broker_id: settings.id,
    };
    let code = RequestCode::UnregisterBroker;
    exchange(services, peer, code, &header, &[]).await.map(drop)
}

fn registration_body<R: Rt>(services: &Services<R>) -> Vec<u8> {
    let topics = services.shard.topics();
    let permission = services.settings.permission;
    let row = |(name, config): (&str, &std::sync::Arc<TopicConfig>)| {
        let mut config = TopicConfig::clone(config);
        // Java BrokerController.doRegisterBrokerAll: a broker that may not read or write says so
        // by the permission of its topics.
        if permission & READ_WRITE != READ_WRITE {
            config.perm &= permission;
        }
        (name.to_owned(), config)
    };
    let wrapper = TopicConfigSerializeWrapper {
        topic_config_table: topics.iter().map(row).collect(),
        data_version: topics.data_version.clone(),
        ..TopicConfigSerializeWrapper::default()
    };
    let body = RegisterBrokerBody {
        topic_config_serialize_wrapper: wrapper,
        filter_server_list: Vec::new(),
    };
    serde_json::to_vec(&body).expect("plain data with text keys")
}

/// Sends a request and waits for the body of its answer, within the deadline.
async fn exchange<R: Rt>(
    services: &Rc<Services<R>>,
    peer: &Rc<Peer<R>>,
    code: RequestCode,
    header: &impl EncodeHeader,
    body: &[u8],
) -> Result<Vec<u8>, RegisterError> {
    if let Some(held) = peer.connection.take() {
        let told = exchange_on(services, peer, held, code, header, body).await;
        if !matches!(told, Err(RegisterError::Io(_) | RegisterError::Closed)) {
            return told;
        }
        // The name server may have been started anew since: one more try from the beginning.
    }
    let fresh = connect(&services.shard.rt, peer.address).await?;
    exchange_on(services, peer, fresh, code, header, body).await
}

async fn exchange_on<R: Rt>(
    services: &Rc<Services<R>>,
    peer: &Rc<Peer<R>>,
    mut connection: Connection<R>,
    code: RequestCode,
    header: &impl EncodeHeader,
    body: &[u8],
) -> Result<Vec<u8>, RegisterError> {
    let rt = &services.shard.rt;
    connection.opaque += 1;
    let (opaque, form) = (connection.opaque, SerializeType::Json);
    let mut frame = Vec::new();
    write_request(&mut frame, form, code as i32, opaque, false, header, body);
    let is_done = Rc::new(Cell::new(false));
    let (abort, done, timer) = (connection.write.aborter(), Rc::clone(&is_done), rt.clone());
    rt.spawn(Class::Housekeeping, async move {
        timer.sleep(EXCHANGE_DEADLINE).await;
        if !done.get() {
            abort();
        }
    });
    let answered = connection.exchange(&frame, opaque).await;
    is_done.set(true);
    let body = answered?;
    peer.connection.replace(Some(connection));
    Ok(body)
}

async fn connect<R: Rt>(rt: &R, address: SocketAddr) -> Result<Connection<R>, RegisterError> {
    let (read, write) = rt.net().connect(address).await?.split();
    let frames = FrameBuffer::new(remoting::frame::FRAME_LEN_MAX);
    Ok(Connection {
        read,
        write,
        frames,
        opaque: 0,
    })
}

impl<R: Rt> Connection<R> {
    async fn exchange(&mut self, frame: &[u8], opaque: i32) -> Result<Vec<u8>, RegisterError> {
        self.write.write_all(frame).await?;
        loop {
            let unreadable =
                |error: &dyn std::fmt::Display| RegisterError::Answer(error.to_string());
            let next = self
                .frames
                .next_frame()
                .map_err(|error| unreadable(&error))?;
            if let Some(range) = next {
                let answer =
                    decode(self.frames.bytes(range)).map_err(|error| unreadable(&error))?;
                if answer.opaque == opaque && answer.is_response() {
                    let (code, remark) = (answer.code, answer.remark.as_deref().unwrap_or(""));
                    return if code == ResponseCode::Success as i32 {
                        Ok(answer.body.to_vec())
                    } else {
                        Err(RegisterError::Refused {
                            code,
                            remark: remark.to_owned(),
                        })
                    };
                }
                continue;
            }
            self.frames.compact();
            let count = self.read.read(self.frames.spare_mut(READ_LEN)).await?;
            if count == 0 {
                return Err(RegisterError::Closed);
            }
            self.frames.filled(count);
        }
    }
}

const READ_WRITE: i32 = 6;
const READ_LEN: usize = 16 << 10;
/// How long a name server that was not told is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(3);
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(3);
