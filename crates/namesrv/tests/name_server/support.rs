//! A name server on a port of its own and a client that speaks raw frames, written without the
//! product's codec so that both cannot be wrong in the same way.

#![allow(clippy::unwrap_used, reason = "only tests call this")]

use config::NamesrvConfig;
use namesrv::{Settings, serve};
use serde_json::{Map, Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running name server. Stops when told to; its files are removed with its directory.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(mut settings: Settings) -> Self {
        settings.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (stop, stopped) = oneshot::channel();
        let (ready, listening) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            let tell = |address| ready.send(address).unwrap();
            serve(settings, tell, shutdown).await.unwrap();
        });
        Self {
            address: listening.await.unwrap(),
            stop: Some(stop),
            task,
        }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// A directory for one test, removed before use.
pub(crate) fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ringmq-namesrv-{}-{name}", std::process::id()));
    let _absent = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Settings whose files lie in a directory of the test.
pub(crate) fn settings(name: &str) -> Settings {
    Settings::new(
        NamesrvConfig::default(),
        directory(name).join("kvConfig.json"),
    )
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) header: Map<String, Value>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn code(&self) -> i64 {
        self.header["code"].as_i64().unwrap()
    }

    pub(crate) fn remark(&self) -> &str {
        self.header["remark"].as_str().unwrap()
    }

    pub(crate) fn ext(&self, name: &str) -> Option<&str> {
        self.header.get("extFields")?.get(name)?.as_str()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// What the client says its version is.
    pub(crate) version: i32,
    opaque: i32,
}

impl Client {
    pub(crate) async fn connect(server: &Server) -> Self {
        Self {
            stream: TcpStream::connect(server.address).await.unwrap(),
            version: 493,
            opaque: 0,
        }
    }

    pub(crate) async fn call(&mut self, code: i32, ext: Value, body: &[u8]) -> Answer {
        let sent = self.send(code, ext, body, 0).await;
        let answer = self.receive().await.expect("the server closed");
        assert_eq!(answer.header["opaque"], sent);
        assert_eq!(answer.header["flag"], 1);
        answer
    }

    pub(crate) async fn send(&mut self, code: i32, ext: Value, body: &[u8], flag: i32) -> i32 {
        self.opaque += 1;
        let header = json!({
            "code": code, "language": "JAVA", "version": self.version, "opaque": self.opaque,
            "flag": flag, "extFields": ext,
        });
        let header = header.to_string();
        let mut frame = Vec::new();
        frame.extend_from_slice(&((4 + header.len() + body.len()) as u32).to_be_bytes());
        frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(body);
        self.stream.write_all(&frame).await.unwrap();
        self.opaque
    }

    /// The next answer; `None` when the server has closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Answer> {
        let len = self.stream.read_u32().await.ok()? as usize;
        let mark = self.stream.read_u32().await.ok()?;
        assert_eq!(mark >> 24, 0, "a JSON request is answered in JSON");
        let mut rest = vec![0; len - 4];
        self.stream.read_exact(&mut rest).await.ok()?;
        let body = rest.split_off(mark as usize);
        let header = serde_json::from_slice(&rest).unwrap();
        Some(Answer { header, body })
    }

    /// Waits until the server closes; whatever it says meanwhile is ignored.
    pub(crate) async fn closed_within(&mut self, limit: Duration) -> bool {
        let mut rest = [0; 1_024];
        let all = async { while self.stream.read(&mut rest).await.unwrap_or(0) > 0 {} };
        tokio::time::timeout(limit, all).await.is_ok()
    }

    /// Registers a broker with topics of 4 queues; panics when refused.
    pub(crate) async fn register(&mut self, broker: &Broker, topics: &[&str]) -> Answer {
        let answer = self.try_register(broker, topics).await;
        assert_eq!(answer.code(), 0, "{answer:?}");
        answer
    }

    pub(crate) async fn try_register(&mut self, broker: &Broker, topics: &[&str]) -> Answer {
        let body = register_body(topics);
        self.call(103, broker.ext(), body.to_string().as_bytes())
            .await
    }

    pub(crate) async fn route(&mut self, topic: &str) -> Answer {
        self.call(105, json!({ "topic": topic }), b"").await
    }
}

/// What a broker says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    pub(crate) name: &'static str,
    pub(crate) id: i64,
    pub(crate) port: u16,
    pub(crate) timeout_ms: u64,
}

impl Broker {
    pub(crate) fn master(name: &'static str, port: u16) -> Self {
        Self {
            name,
            id: 0,
            port,
            timeout_ms: 120_000,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn ext(&self) -> Value {
        json!({
            "brokerName": self.name, "brokerAddr": self.address(), "clusterName": "C",
            "haServerAddr": format!("127.0.0.1:{}", self.port + 1),
            "brokerId": self.id.to_string(), "compressed": "false", "bodyCrc32": "0",
            "heartbeatTimeoutMillis": self.timeout_ms.to_string(), "enableActingMaster": "false",
        })
    }
}

/// The body of a registration, as a 5.x broker writes it.
pub(crate) fn register_body(topics: &[&str]) -> Value {
    let table: Map<String, Value> = topics
        .iter()
        .map(|topic| {
            let config = json!({
                "attributes": {}, "order": false, "perm": 6, "readQueueNums": 4,
                "topicFilterType": "SINGLE_TAG", "topicName": topic, "topicSysFlag": 0,
                "writeQueueNums": 4,
            });
            ((*topic).to_owned(), config)
        })
        .collect();
    json!({
        "filterServerList": [],
        "topicConfigSerializeWrapper": {
            "dataVersion": { "counter": 1, "stateVersion": 0, "timestamp": 5 },
            "mappingDataVersion": { "counter": 0, "stateVersion": 0, "timestamp": 5 },
            "topicConfigTable": table,
            "topicQueueMappingDetailMap": {},
            "topicQueueMappingInfoMap": {},
        },
    })
}

/// Tries until `check` holds, for at most 5 s.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..100 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 5 s: {what}");
}
