//! A broker on the simulation, and a client that speaks frames to it.
//!
//! Everything runs on virtual time in one thread. A test starts a broker of some shards, connects
//! clients from another host and looks at whole answers.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "shared steps of tests")]

use broker::{BootReport, BrokerSettings, ShardMessage, run_shard};
use remoting::RequestCode;
use remoting::command::{SerializeType, decode, write_request};
use remoting::frame::FrameBuffer;
use remoting::header::HeaderFields;
use rt::sync::{Event, Latch};
use rt::{Class, Net, ReadHalf, Rt, Stream, WriteHalf};
use sim::{Crash, Host, Sim, World};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A broker, and a host for its clients.
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) host: Host,
    pub(crate) clients: Host,
    pub(crate) settings: BrokerSettings,
    /// Messages that a lane of the mesh holds.
    pub(crate) lane_capacity: usize,
    shards: u16,
    stop: Rc<Latch>,
    ended: Rc<RefCell<Vec<Result<(), String>>>>,
}

impl Cluster {
    /// A broker of `shards` shards, not started; `change` may change its settings.
    pub(crate) fn new(seed: u64, shards: u16, change: impl FnOnce(&mut BrokerSettings)) -> Self {
        let world = World::new(seed);
        let host = world.host(shards);
        let clients = world.host(1);
        let mut settings = BrokerSettings::new(PathBuf::from("/store"), shards, host.ip());
        let id = base::ShardId::CONTROL;
        let small = store::Settings::small(PathBuf::from("/store"), id, shards);
        settings.store = store::Settings {
            segment_bytes: 16 << 20,
            record_len_max: (4 << 20) + (128 << 10),
            unflushed_bytes_max: 16 << 20,
            tail_cache_bytes: 8 << 20,
            ..small
        };
        settings.flush_consumer_offset_interval_ms = 1_000;
        change(&mut settings);
        Self {
            world,
            host,
            clients,
            settings,
            lane_capacity: 64,
            shards,
            stop: Rc::default(),
            ended: Rc::default(),
        }
    }

    /// Starts every shard and waits until all serve.
    pub(crate) fn start(&mut self) -> Vec<BootReport> {
        self.stop = Rc::default();
        self.ended = Rc::default();
        let settings = Arc::new(self.settings.clone());
        let reports: Rc<RefCell<Vec<BootReport>>> = Rc::default();
        let meshes = self.host.mesh::<ShardMessage>(self.lane_capacity);
        for (sim, mesh) in self.host.sims().into_iter().zip(meshes) {
            let (settings, reports) = (Arc::clone(&settings), Rc::clone(&reports));
            let (stop, ended) = (Rc::clone(&self.stop), Rc::clone(&self.ended));
            let ready = move |report: Result<BootReport, String>| {
                reports.borrow_mut().push(report.expect("the shard starts"));
            };
            let rt = sim.clone();
            sim.spawn(Class::Request, async move {
                let run = run_shard(rt, mesh, settings, ready, async move { stop.wait().await });
                let result = run.await;
                ended.borrow_mut().push(result);
            });
        }
        let count = usize::from(self.shards);
        let started = Rc::clone(&reports);
        assert!(
            self.world
                .run_until(move || started.borrow().len() == count)
        );
        reports.take()
    }

    /// Stops as SIGTERM does.
    pub(crate) fn stop(&mut self) {
        self.stop.set();
        let (ended, count) = (Rc::clone(&self.ended), usize::from(self.shards));
        assert!(self.world.run_until(move || ended.borrow().len() == count));
        assert!(self.ended.borrow().iter().all(Result::is_ok), "clean end");
    }

    /// Ends what a process leaves behind when it has stopped.
    pub(crate) fn restart_process(&mut self) {
        self.host.crash(Crash::Kill);
    }

    /// Kills the process, or cuts the power.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.host.crash(crash);
    }

    /// Runs `scene` with a fresh client.
    pub(crate) fn client<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        scene: impl FnOnce(Client) -> F + 'static,
    ) -> T {
        let address = self.address();
        self.clients.block_on(0, move |sim| async move {
            let client = Client::connect(&sim, address).await;
            scene(client).await
        })
    }

    /// Runs `scene` with the client host's runtime and the broker's address.
    pub(crate) fn scene<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        scene: impl FnOnce(Sim, SocketAddr) -> F + 'static,
    ) -> T {
        let address = self.address();
        self.clients.block_on(0, move |sim| scene(sim, address))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.ip(), self.settings.listen_port)
    }
}

/// An answer, or a request that the broker started.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) code: i32,
    pub(crate) opaque: i32,
    pub(crate) remark: String,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        self.field(name).parse().unwrap()
    }
}

/// A connection that speaks frames.
#[derive(Clone)]
pub(crate) struct Client(Rc<Inner>);

struct Inner {
    sim: Sim,
    write: RefCell<Option<<<sim::SimNet as Net>::Stream as Stream>::Write>>,
    answers: RefCell<BTreeMap<i32, Frame>>,
    order: RefCell<Vec<i32>>,
    requests: RefCell<Vec<Frame>>,
    arrived: Event,
    is_closed: Cell<bool>,
    opaque: Cell<i32>,
}

pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

impl Client {
    pub(crate) async fn connect(sim: &Sim, address: SocketAddr) -> Self {
        let stream = sim.net().connect(address).await.unwrap();
        let (mut read, write) = stream.split();
        let inner = Rc::new(Inner {
            sim: sim.clone(),
            write: RefCell::new(Some(write)),
            answers: RefCell::default(),
            order: RefCell::default(),
            requests: RefCell::default(),
            arrived: Event::new(),
            is_closed: Cell::new(false),
            opaque: Cell::new(0),
        });
        let reader = Rc::clone(&inner);
        sim.spawn(Class::Request, async move {
            let mut frames = FrameBuffer::new(remoting::frame::FRAME_LEN_MAX);
            loop {
                let count = read.read(frames.spare_mut(64 << 10)).await.unwrap_or(0);
                if count == 0 {
                    reader.is_closed.set(true);
                    reader.arrived.notify();
                    return;
                }
                frames.filled(count);
                while let Some(range) = frames.next_frame().unwrap() {
                    reader.take(frames.bytes(range));
                }
                frames.compact();
                reader.arrived.notify();
            }
        });
        Self(inner)
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&self, bytes: &[u8]) {
        let write = self.0.write.take();
        let mut write = write.expect("one writer at a time");
        // The broker may have closed: that shows in `is_closed`.
        let _ = write.write_all(bytes).await;
        self.0.write.replace(Some(write));
    }

    pub(crate) fn close(&self) {
        if let Some(write) = self.0.write.borrow().as_ref() {
            (write.aborter())();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed.get()
    }

    pub(crate) async fn wait_closed(&self) {
        while !self.is_closed() {
            self.0.arrived.wait().await;
        }
    }

    /// A frame with a number of its own, ready to be written.
    pub(crate) fn frame(
        &self,
        code: RequestCode,
        fields: Fields<'_>,
        body: &[u8],
    ) -> (i32, Vec<u8>) {
        let opaque = self.0.opaque.replace(self.0.opaque.get() + 1);
        let mut header = HeaderFields::default();
        for (name, value) in fields {
            header.push(*name, *value);
        }
        let mut out = Vec::new();
        let code = code as i32;
        write_request(
            &mut out,
            SerializeType::Json,
            code,
            opaque,
            false,
            &header,
            body,
        );
        (opaque, out)
    }

    /// Sends a request and waits for its answer, at most 60 seconds.
    pub(crate) async fn ask(&self, code: RequestCode, fields: Fields<'_>, body: &[u8]) -> Frame {
        let (opaque, frame) = self.frame(code, fields, body);
        self.write(&frame).await;
        self.answer(opaque).await
    }

    /// Waits for the answer to a request.
    pub(crate) async fn answer(&self, opaque: i32) -> Frame {
        self.answer_within(opaque, Duration::from_mins(1))
            .await
            .expect("an answer within a minute")
    }

    pub(crate) async fn answer_within(&self, opaque: i32, limit: Duration) -> Option<Frame> {
        let deadline_us = self.0.sim.monotonic_us() + limit.as_micros() as u64;
        loop {
            let answer = self.0.answers.borrow_mut().remove(&opaque);
            if answer.is_some() {
                return answer;
            }
            let left = deadline_us.saturating_sub(self.0.sim.monotonic_us());
            if left == 0 || self.is_closed() {
                return None;
            }
            let timer = self.0.sim.sleep(Duration::from_micros(left));
            shard::first_of(self.0.arrived.wait(), timer).await;
        }
    }

    /// Opaques of the answers in the order they came.
    pub(crate) fn order(&self) -> Vec<i32> {
        self.0.order.borrow().clone()
    }

    /// Requests that the broker has started, taken.
    pub(crate) fn take_requests(&self) -> Vec<Frame> {
        self.0.requests.take()
    }

    pub(crate) fn sim(&self) -> &Sim {
        &self.0.sim
    }
}

impl Inner {
    fn take(&self, bytes: &[u8]) {
        let command = decode(bytes).unwrap();
        let fields = command.fields.iter();
        let frame = Frame {
            code: command.code,
            opaque: command.opaque,
            remark: command.remark.as_deref().unwrap_or_default().to_owned(),
            fields: fields.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            body: command.body.to_vec(),
        };
        if command.is_response() {
            self.order.borrow_mut().push(frame.opaque);
            self.answers.borrow_mut().insert(frame.opaque, frame);
        } else {
            self.requests.borrow_mut().push(frame);
        }
    }
}

/// The short names of a send to a queue.
pub(crate) fn send_fields<'a>(
    topic: &'a str,
    queue_id: &'a str,
    properties: &'a str,
) -> Vec<(&'a str, &'a str)> {
    vec![
        ("a", "pg"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue_id),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
    ]
}

impl Client {
    /// Sends one message.
    pub(crate) async fn send(&self, topic: &str, queue_id: &str, body: &[u8]) -> Frame {
        let fields = send_fields(topic, queue_id, "TAGS\u{1}TagA\u{2}");
        self.ask(RequestCode::SendMessageV2, &fields, body).await
    }

    /// Pulls with a subscription of its own; `suspend_ms` above 0 may park.
    pub(crate) async fn pull(
        &self,
        topic: &str,
        queue_id: &str,
        offset: i64,
        suspend_ms: u64,
    ) -> Frame {
        let (opaque, frame) = self.pull_frame(topic, queue_id, offset, suspend_ms, "*");
        self.write(&frame).await;
        self.answer(opaque).await
    }

    pub(crate) fn pull_frame(
        &self,
        topic: &str,
        queue_id: &str,
        offset: i64,
        suspend_ms: u64,
        expression: &str,
    ) -> (i32, Vec<u8>) {
        let offset = offset.to_string();
        let suspend = suspend_ms.to_string();
        let flag = if suspend_ms > 0 { "6" } else { "4" };
        let fields = [
            ("consumerGroup", "cg"),
            ("topic", topic),
            ("queueId", queue_id),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", flag),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", &suspend),
            ("subscription", expression),
            ("subVersion", "0"),
        ];
        self.frame(RequestCode::PullMessage, &fields, &[])
    }

    /// A heartbeat as a consumer of one topic.
    pub(crate) async fn heartbeat(&self, client_id: &str, group: &str, topic: &str) -> Frame {
        self.heartbeat_of(client_id, group, topic, 1).await
    }

    /// The same with a version of its subscription.
    pub(crate) async fn heartbeat_of(
        &self,
        client_id: &str,
        group: &str,
        topic: &str,
        version: i64,
    ) -> Frame {
        let body = format!(
            r#"{{"clientID":"{client_id}","producerDataSet":[],"consumerDataSet":[{{"groupName":"{group}","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","unitMode":false,"subscriptionDataSet":[{{"topic":"{topic}","subString":"*","tagsSet":[],"codeSet":[],"subVersion":{version},"expressionType":"TAG"}}]}}]}}"#
        );
        self.ask(RequestCode::HeartBeat, &[], body.as_bytes()).await
    }
}

/// The bodies of the messages in a pull's answer.
pub(crate) fn bodies(answer: &Frame) -> Vec<Vec<u8>> {
    messages(answer, |message| message.body.to_vec())
}

/// What `see` gives of each message in a pull's answer.
pub(crate) fn messages<T>(
    answer: &Frame,
    see: impl Fn(&remoting::message::StoredMessage<'_>) -> T,
) -> Vec<T> {
    let mut rest = &answer.body[..];
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let (message, len) = remoting::message::decode_message(rest).unwrap();
        seen.push(see(&message));
        rest = &rest[len..];
    }
    seen
}
